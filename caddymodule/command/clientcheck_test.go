package command

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
)

// TestClientCheck: what is ticked off, what is shown of a refused request, and how it ends.
func TestClientCheck(t *testing.T) {
	at := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	off, right := int64(90), int64(2)
	pass := func(n int, p adminapi.Pass) adminapi.Pass {
		p.Time, p.URL, p.Consumer = at.Add(time.Duration(n)*time.Second), "http://h/x", "app"
		if p.SignatureMethod == "" {
			p.SignatureMethod = "HMAC-SHA1"
		}
		return p
	}
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == adminapi.DiagnosesPath {
			answer := adminapi.Diagnoses{}
			if asked == 2 {
				answer.Items = []adminapi.Diagnosis{{
					Time: at, Method: "POST", URL: "http://h/x", Reason: "signature_invalid", Refusal: "Invalid signature.", Diagnosis: "The form.",
				}}
			}
			_ = json.NewEncoder(w).Encode(answer)
			return
		}
		asked++
		answer := adminapi.Passes{}
		switch asked {
		case 1: // from an earlier run
			answer.Items = []adminapi.Pass{pass(0, adminapi.Pass{Method: "GET", Query: true, ClockOff: &right})}
		case 2:
			if r.URL.Query().Get("since") != "2026-11-26T12:00:00Z" {
				t.Errorf("asked %s", r.URL)
			}
			answer.Items = []adminapi.Pass{pass(1, adminapi.Pass{Method: "POST", Form: true, SignatureMethod: "PLAINTEXT", ClockOff: &off})}
		default:
			answer.Items = []adminapi.Pass{
				pass(2, adminapi.Pass{Method: "GET", Query: true, Repeated: true, ClockOff: &right}),
				pass(3, adminapi.Pass{Method: "POST", JSON: true}),
				pass(4, adminapi.Pass{Method: "GET", NonASCII: true}),
				pass(5, adminapi.Pass{Method: "GET"}),
			}
		}
		_ = json.NewEncoder(w).Encode(answer)
	}))
	defer server.Close()
	out, err := runCommand("", "client-check", "--consumer", "app", "--address", strings.TrimPrefix(server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(out, "5 requests with new nonces\n")
	const want = `refused  POST http://h/x
  Invalid signature.
  The form.
passed   POST http://h/x
  right:  a POST with a form (1 of 8)
  beware: PLAINTEXT proves nothing about the request: use HMAC or RSA
  beware: the client's clock is 90 seconds off: set it by NTP
passed   GET http://h/x
  right:  a GET with a query (2 of 8)
  right:  a parameter that is sent twice (3 of 8)
  right:  a signature other than PLAINTEXT (4 of 8)
  right:  a clock that is right, to 30 seconds (5 of 8)
passed   POST http://h/x
  right:  a JSON body (6 of 8)
passed   GET http://h/x
  right:  a name or a value that is not ASCII (7 of 8)
passed   GET http://h/x
  right:  5 requests with new nonces (8 of 8)
All is right.
`
	if after != want {
		t.Errorf("prints\n%s", out)
	}
	c := &clientCheck{colour: true}
	if got := c.paint("32", "word"); got != "\x1b[32mword\x1b[0m" {
		t.Errorf("%q", got)
	}
}
