//go:build unix

package doctor

import (
	"testing"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/doctor/doctortest"
)

// BenchmarkDiagnose is the cost of a signature that no mistake explains: everything is tried. Its
// request has all kinds of parameters, so that no alternative is left out; the plain one is what
// most APIs get, and the last ones are made to cost much.
func BenchmarkDiagnose(b *testing.B) {
	for _, method := range []string{"HMAC-SHA1", "HMAC-SHA256", "RSA-SHA256", "PLAINTEXT"} {
		b.Run(method, func(b *testing.B) { benchmarkOf(b, seenOf(b, strange(newClient(method)))) })
	}
	b.Run("plain", func(b *testing.B) {
		c := strange(newClient("HMAC-SHA1"))
		c.Path, c.Query, c.Form = "/v1/items", "page=2&size=10", ""
		benchmarkOf(b, seenOf(b, c))
	})
	for _, h := range hostile {
		for _, method := range []string{"HMAC-SHA1", "HMAC-SHA256", "RSA-SHA256"} {
			b.Run(h.name+"/"+method, func(b *testing.B) { benchmarkOf(b, seenOf(b, h.client(method))) })
		}
	}
}

func benchmarkOf(b *testing.B, c *Case) {
	b.ReportAllocs()
	report := doctortest.ReportCPU(b)
	for b.Loop() {
		d := Diagnose(b.Context(), c)
		if len(d.Mistakes) > 0 || d.Valid {
			b.Fatal("named something: ", d.Names())
		}
	}
	report()
}

// BenchmarkHide is the cost of looking for secrets in base strings that are made to cost much.
func BenchmarkHide(b *testing.B) {
	keys := hidingKeys()
	for name, text := range hostileTexts {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			report := doctortest.ReportCPU(b)
			for b.Loop() {
				keys.Hider().BaseString(text)
			}
			report()
		})
	}
}
