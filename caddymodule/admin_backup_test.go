package caddymodule

import (
	"crypto/tls"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/backup"
)

// TestAdminBackup: the answer is a whole backup; with a recipient it is encrypted, and a wrong
// recipient is not repeated if it is an identity.
func TestAdminBackup(t *testing.T) {
	a := newTestAdmin(t, "")
	a.must("POST", "/oauth1/consumers", `{"key":"a","secret":"s"}`)
	w := a.call("GET", "/oauth1/backup", "")
	if _, n, err := backup.Verify(w.Body); w.Code != 200 || err != nil || n.Consumers < 1 {
		t.Errorf("%d: %+v, %v", w.Code, n, err)
	}
	const recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
	w = a.call("GET", "/oauth1/backup?recipient="+recipient, "")
	if _, _, err := backup.Verify(w.Body); w.Code != 200 || !errors.Is(err, backup.ErrEncrypted) {
		t.Errorf("with a recipient: %d, %v", w.Code, err)
	}
	for query, want := range map[string]string{
		"recipient=AGE-SECRET-KEY-1QQQ": "is not an age recipient",
		"recipient=":                    "is not an age recipient",
		"recipients=" + recipient:       "unknown query parameter",
	} {
		w := a.call("GET", "/oauth1/backup?"+query, "")
		if body := w.Body.String(); w.Code != 400 || !strings.Contains(body, want) || strings.Contains(body, "1QQQ") {
			t.Errorf("%s: %d %s", query, w.Code, body)
		}
	}
	for _, method := range []string{"GET", "HEAD"} { // remote administration is over TLS
		r := httptest.NewRequest(method, "/oauth1/backup?recipient="+recipient, nil)
		r.TLS = &tls.ConnectionState{}
		w := httptest.NewRecorder()
		if a.ServeHTTP(w, r); w.Code != 403 {
			t.Errorf("%s over TLS: %d", method, w.Code)
		}
	}
	if w := a.call("HEAD", "/oauth1/backup", ""); w.Code != 200 || w.Body.Len() > 0 {
		t.Errorf("HEAD: %d, %d bytes", w.Code, w.Body.Len())
	}
}
