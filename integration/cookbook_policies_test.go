package integration

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// The cookbook's recipes for policies and logins.

// A grantee is the sender of a request to a recipe's site.
type grantee struct {
	consumer, permission string // without a consumer the request is not signed
	context              string
}

// A judged request passes, or gets another status.
type judged struct {
	name         string
	from         grantee
	method, path string
	status       int
}

// wantJudged sends requests to a recipe's site, and checks whether they pass.
func wantJudged(t *testing.T, recipe string, cases []judged) {
	t.Helper()
	up := newUpstream(t)
	srv := startRecipe(t, recipe, up.URL)
	for _, key := range []string{"ops-1", "ci-bot"} {
		srv.mustAdmin(t, "POST", "/oauth1/consumers", object{"key": key, "secret": demoSecret})
	}
	for _, c := range cases {
		req := srv.request(c.method, c.path, nil)
		if c.from.consumer != "" {
			more := object{}
			if c.from.context != "" {
				more["context"] = c.from.context
			}
			tok := srv.issue(t, c.from.consumer, "salgado", c.from.permission, more)
			req = signer{Consumer: c.from.consumer, Secret: demoSecret, Token: tok}.sign(t, req, "")
		}
		up.take()
		if got := srv.mustDo(t, req); got.Status != c.status {
			t.Errorf("%s: %d %s, want %d", c.name, got.Status, got.Body, c.status)
		}
		if seen := len(up.take()) > 0; seen != (c.status == http.StatusOK) {
			t.Errorf("%s: the upstream saw it: %t", c.name, seen)
		}
	}
}

// by is a grant without a context.
func by(consumer, permission string) grantee {
	return grantee{consumer: consumer, permission: permission}
}

func tryOpenReads(t *testing.T, recipe string) {
	wantJudged(t, recipe, []judged{
		{"anybody reads", grantee{}, "GET", "/x", 200},
		{"anybody asks for the methods", grantee{}, "OPTIONS", "/x", 200},
		{"an unsigned write", grantee{}, "POST", "/x", 401},
		{"a reader's token writes nothing", by(demoKey, "READ_PUBLIC"), "POST", "/x", 403},
		{"a writer's does", by(demoKey, "WRITE_PUBLIC"), "POST", "/x", 200},
	})
}

func tryAdminArea(t *testing.T, recipe string) {
	wantJudged(t, recipe, []judged{
		{"a consumer by pattern", by("ops-1", "WRITE_PRIVATE"), "GET", "/admin/x", 200},
		{"a consumer by name", by("ci-bot", "WRITE_PRIVATE"), "POST", "/admin/x", 200},
		{"another consumer", by(demoKey, "WRITE_PRIVATE"), "GET", "/admin/x", 403},
		{"a lower level", by("ops-1", "WRITE_PUBLIC"), "GET", "/admin/x", 403},
		{"elsewhere another consumer passes", by(demoKey, "READ_PUBLIC"), "GET", "/x", 200},
		{"elsewhere a reader writes nothing", by(demoKey, "READ_PUBLIC"), "POST", "/x", 403},
	})
}

func tryTenants(t *testing.T, recipe string) {
	reader := func(context string) grantee {
		return grantee{consumer: demoKey, permission: "READ_PRIVATE", context: context}
	}
	wantJudged(t, recipe, []judged{
		{"a token of the project", reader("one"), "GET", "/projects/one/x", 200},
		{"a token of another one", reader("one"), "GET", "/projects/two/x", 403},
		{"a token without a context", reader(""), "GET", "/projects/two/x", 200},
		{"a reader writes nothing", reader("one"), "POST", "/projects/one/x", 403},
		{"a path outside the projects", reader("one"), "GET", "/x", 403},
	})
}

// tryLoadBalancer sends requests as the trusted load balancer, and as an untrusted one.
func tryLoadBalancer(t *testing.T, recipe string) {
	for _, c := range []struct {
		name, trusted string
		tls           int // the status of PLAINTEXT, which needs TLS by the load balancer's word
	}{
		{"trusted", "127.0.0.0/8", http.StatusOK},
		{"not trusted", "10.0.0.0/8", http.StatusBadRequest},
	} {
		t.Run(c.name, func(t *testing.T) {
			up := newUpstream(t)
			global, own, ok := strings.Cut(strings.TrimPrefix(recipe, "{\n"), "\n}\n")
			if !ok {
				t.Fatalf("the recipe has no global options:\n%s", recipe)
			}
			s := ownSite(t, "")
			s.Global = strings.Replace(global, "10.0.0.0/8", c.trusted, 1)
			s.More = strings.NewReplacer("http://:8080", "http://:{{.Port}}",
				"localhost:9000", "{{.Upstream}}").Replace(own)
			srv := startServer(t, s, up.URL)
			tok := srv.issue(t, demoKey, "salgado", "READ_PUBLIC", nil)
			send := func(method string, s signer) reply {
				req, err := http.NewRequest("GET", "https://api.example.com/x", nil)
				if err != nil {
					t.Fatal(err)
				}
				if method == "PLAINTEXT" {
					req.Header.Set("Authorization", authorization(plaintext(demoKey, demoSecret, tok)))
				} else {
					s.sign(t, req, "")
				}
				req.URL.Scheme, req.URL.Host, req.Host = "http", "127.0.0.1:"+srv.port, "10.0.0.1:8080"
				req.Header.Set("X-Forwarded-Proto", "https")
				return srv.mustDo(t, req)
			}
			got := send("HMAC-SHA1", signer{Consumer: demoKey, Secret: demoSecret, Token: tok})
			want(t, "signed for base_url", got, http.StatusOK, "")
			if got := send("PLAINTEXT", signer{}); got.Status != c.tls {
				t.Errorf("PLAINTEXT: %d %s, want %d", got.Status, got.Body, c.tls)
			}
		})
	}
}

// tryAuthelia puts a login in Authelia's place, which knows a session by its cookie.
func tryAuthelia(t *testing.T, recipe string) {
	login := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/authz/forward-auth" {
			t.Errorf("the login was asked for %s", r.URL)
		}
		if cookie, err := r.Cookie("session"); err != nil || cookie.Value != "salgado" {
			http.Redirect(w, r, "https://login.example.com/", http.StatusFound)
			return
		}
		w.Header().Set("Remote-User", "salgado")
	}))
	t.Cleanup(login.Close)
	up := newUpstream(t)
	srv := startRecipe(t, strings.Replace(recipe, "authelia:9091", login.Listener.Addr().String(), 1), up.URL)

	req := srv.request("GET", "/+oauth-tokens", nil)
	req.Header.Set("Remote-User", "mallory")
	if got := srv.mustDo(t, req); got.Status != http.StatusFound ||
		got.Header.Get("Location") != "https://login.example.com/" {
		t.Errorf("no session: %d %s, want a redirect to the login", got.Status, got.Body)
	}
	req = srv.request("GET", "/+oauth-tokens", nil)
	req.Header.Set("Remote-User", "mallory")
	req.Header.Set("Cookie", "session=salgado")
	got := srv.mustDo(t, req)
	if got.Status != http.StatusOK || !strings.Contains(got.Body, "salgado") ||
		strings.Contains(got.Body, "mallory") {
		t.Errorf("a session: %d %s, want the page of salgado", got.Status, got.Body)
	}
}
