package main

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestWrongStepsAreFound(t *testing.T) {
	t.Parallel()
	type step struct {
		status         int
		location, body string
	}
	right := map[string]step{
		"POST /+request-token":   {200, "", "oauth_token=k&oauth_token_secret=s&oauth_callback_confirmed=true"},
		"GET /+authorize-token":  {200, "", `<input type="hidden" name="csrf" value="c">`},
		"POST /+authorize-token": {303, flowCallback + "?oauth_token=k&oauth_verifier=v", ""},
		"POST /+access-token":    {200, "", "oauth_token=K&oauth_token_secret=S"},
	}
	for _, c := range []struct {
		name string
		step string // the step with the wrong answer
		got  step
	}{
		{"a request token that is refused", "POST /+request-token", step{401, "", "Invalid signature."}},
		{"a request token without a secret", "POST /+request-token", step{200, "", "oauth_token=k&oauth_callback_confirmed=true"}},
		{"a request token without its callback", "POST /+request-token", step{200, "", "oauth_token=k&oauth_token_secret=s"}},
		{"a page for nobody", "GET /+authorize-token", step{401, "", ""}},
		{"a page without its form", "GET /+authorize-token", step{200, "", "<p>This request was answered already"}},
		{"a review that is refused", "POST /+authorize-token", step{403, "", ""}},
		{"a review that leads elsewhere", "POST /+authorize-token", step{303, "?done=WRITE_PRIVATE&oauth_token=k&oauth_verifier=v", ""}},
		{"a review of another token", "POST /+authorize-token", step{303, flowCallback + "?oauth_token=x&oauth_verifier=v", ""}},
		{"a review without a verifier", "POST /+authorize-token", step{303, flowCallback + "?oauth_token=k", ""}},
		{"an access token that is refused", "POST /+access-token", step{401, "", ""}},
		{"an access token without a key", "POST /+access-token", step{200, "", "oauth_token_secret=S"}},
		{"nothing", "", step{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			answers := maps.Clone(right)
			answers[c.step] = c.got
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				a := answers[r.Method+" "+r.URL.Path]
				if a.location != "" {
					w.Header().Set("Location", a.location)
				}
				w.WriteHeader(a.status)
				io.WriteString(w, a.body)
			}))
			defer server.Close()
			addr := strings.TrimPrefix(server.URL, "http://")
			_, err := drive(t.Context(), []string{addr}, 1, 1, func(client *client, _ int) error {
				w := walk{client: client, host: addr, consumer: hmacConsumer(0), user: "alice"}
				token, err := w.through()
				if err == nil && (token.Key != "K" || token.Secret != "S" || token.User != "alice") {
					t.Errorf("got %+v", token)
				}
				return err
			})
			if (err == nil) != (c.step == "") || err != nil && !strings.Contains(err.Error(), c.step) {
				t.Errorf("got %v, want an error of %q", err, c.step)
			}
		})
	}
}
