package doctor

import (
	"strings"
	"testing"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/doctor/doctortest"
)

// TestEachMistakeIsNamed: a client with one of the mistakes, or a usual pair, is told exactly that.
func TestEachMistakeIsNamed(t *testing.T) {
	t.Parallel()
	for _, m := range doctortest.Mistakes {
		for _, method := range []string{"HMAC-SHA1", "HMAC-SHA256", "RSA-SHA256"} {
			if !m.Makes(method) {
				continue
			}
			t.Run(m.Name+"/"+method, func(t *testing.T) {
				t.Parallel()
				client := newClient(method)
				m.Wrong(client)
				d := Diagnose(t.Context(), seenOf(t, client))
				if got := described(d.Mistakes); got != m.Want || d.Valid != (m.Want == "") || d.Cut {
					t.Errorf("says %q, want %q; valid %t, cut %t\nserver %s\nclient %s\nfound  %s",
						got, m.Want, d.Valid, d.Cut, d.BaseString, client.BaseString(), d.ClientBaseString)
				}
				checkText(t, client, &d)
			})
		}
	}
}

func checkText(t *testing.T, c *doctortest.Client, d *Diagnosis) {
	t.Helper()
	text, consumer := d.Text(), c.Server.ConsumerSecret
	for _, bad := range []string{"{", "  ", consumer, c.Server.TokenSecret, doctortest.Percent(consumer)} {
		if strings.Contains(text, bad) {
			t.Errorf("the text holds %q: %s", bad, text)
		}
	}
}
