package integration

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// A preflight needs no signature, so hostile clients disguise requests as preflights. None of them
// gets an identity, reaches a route that is not open to everybody, or passes unverified OAuth
// parameters on: over HTTP/1.1 and HTTP/2, with keep_authorization and without.
func TestAttackPreflights(t *testing.T) {
	for _, keep := range []string{"", "keep_authorization"} {
		t.Run(keep, func(t *testing.T) { attackPreflights(t, keep) })
	}
}

func attackPreflights(t *testing.T, keep string) {
	up := newUpstream(t)
	srv := startServer(t, ownSite(t, `
@preflight {
	method OPTIONS
	header Origin *
	header Access-Control-Request-Method *
}
oauth1 {
	insecure_plaintext_over_http
	`+keep+`
	policy /private/* {
		permission READ_PUBLIC
	}
	policy @preflight {
		anonymous
	}
	policy {
		permission READ_PUBLIC
	}
}
reverse_proxy {{.Upstream}}
`), up.URL)
	tok := srv.issue(t, demoKey, "salgado", "WRITE_PRIVATE", nil)
	signed := form(plaintext(demoKey, demoSecret, tok))
	credentials := authorization(plaintext(demoKey, demoSecret, tok))
	forged := []string{"X-OAuth-User: root", "x_oauth_user: root", "X.OAuth.Consumer: demo"}
	const origin, asks = "Origin: https://app.test", "Access-Control-Request-Method: PUT"
	cors := func(more ...string) []string { return append(more, origin, asks) }

	for _, test := range []struct {
		name, method, target string
		lines                []string
		body                 string
		status               int    // 200: the request reaches the API
		user                 string // the user that it acts for there
	}{
		{"plain", "OPTIONS", "/x", cors(), "", 200, ""},
		{"with the credentials of another request", "OPTIONS", "/x?a=1&" + signed, cors(), "", 200, ""},
		{"with keys alone", "OPTIONS", "/x?oauth_consumer_key=demo&oauth_token=" + tok.Key, cors(), "", 200, ""},
		{"with a name that is escaped", "OPTIONS", "/x?%6fauth_token=" + tok.Key, cors(), "", 200, ""},
		{"with a forged identity", "OPTIONS", "/x?" + signed, cors(forged...), "", 200, ""},
		{"with identity trailers", "OPTIONS", "/x?" + signed,
			cors("Trailer: X-OAuth-User", "Transfer-Encoding: chunked"),
			"1\r\na\r\n0\r\nX-OAuth-User: root\r\n\r\n", 200, ""},
		{"with a body that is no form for us", "OPTIONS", "/x?" + signed, cors(), signed, 200, ""},
		{"an absolute target", "OPTIONS", srv.origin() + "/x?" + signed, cors(), "", 200, ""},

		{"signed in the header", "OPTIONS", "/x", cors("Authorization: " + credentials), "", 200, "salgado"},
		{"signed, without Origin", "OPTIONS", "/x?" + signed, []string{asks}, "", 200, "salgado"},

		{"a closed path", "OPTIONS", "/private/x?" + signed, cors(), "", 401, ""},
		{"Origin is for the next hop alone", "OPTIONS", "/x?" + signed, cors("Connection: Origin"), "", 401, ""},
		{"another method", "GET", "/x", cors(), "", 401, ""},
		{"another method, in lower case", "options", "/x", cors(), "", 400, ""},
		{"an override of the method", "OPTIONS", "/x", cors("X-HTTP-Method-Override: DELETE"), "", 401, ""},
		{"a preflight by override", "DELETE", "/x", cors("X-HTTP-Method-Override: OPTIONS"), "", 401, ""},
		{"the same with a signature", "DELETE", "/x?oauth_token=" + tok.Key,
			cors("X_HTTP.Method-Override: OPTIONS"), "", 400, ""},
		{"a bad signature in the header", "OPTIONS", "/x",
			cors(strings.Replace("Authorization: "+credentials, "s3cr3t", "s3cret", 1)), "", 401, ""},
		{"both", "OPTIONS", "/x?" + signed, cors("Authorization: " + credentials), "", 400, ""},
		{"of an endpoint", "OPTIONS", "/+request-token?" + signed, cors(), "", 405, ""},
		{"of a page", "OPTIONS", "/+oauth-tokens", cors(), "", 405, ""},
	} {
		check := func(t *testing.T, got reply) {
			t.Helper()
			if got.Status != test.status {
				t.Errorf("%d %q, want %d", got.Status, brief(got.Body), test.status)
			}
			if test.status != http.StatusOK {
				wantUnseen(t, up, test.name)
				return
			}
			seen := up.last(t)
			if user := seen.Header.Get("X-Oauth-User"); user != test.user {
				t.Errorf("it acts for %q, want %q", user, test.user)
			}
			if lines := identityLines(seen); test.user == "" && len(lines) > 0 {
				t.Errorf("the API gets %q", lines)
			}
			if test.user == "" && strings.Contains(seen.URI+strings.Join(seen.Lines, "\n"), "auth_") {
				t.Errorf("the API gets credentials: %s %q", seen.URI, seen.Lines)
			}
		}
		t.Run(test.name+", HTTP/1.1", func(t *testing.T) {
			check(t, srv.raw(t, srv.message(test.method, test.target, test.lines, test.body)))
		})
		hopByHop := slices.Contains(test.lines, "Connection: Origin")
		if !strings.HasPrefix(test.target, "/") || test.body != "" || hopByHop {
			continue // HTTP/2 has no such thing
		}
		t.Run(test.name+", HTTP/2", func(t *testing.T) {
			var fields []string
			for _, line := range test.lines {
				name, value, _ := strings.Cut(line, ": ")
				fields = append(fields, strings.ToLower(name), value)
			}
			got, err := srv.h2(t, h2Message{fields: srv.h2Fields(test.method, test.target, fields...)})
			if err != nil {
				t.Fatal(err)
			}
			check(t, got)
		})
	}
}
