package doctor

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/doctor/doctortest"
)

// shapes are secrets that differ in everything that the search looks at.
var shapes = []string{
	"s3cret", "", "deadbeef", "c2VjcmV0", "a%41b", "%zz", "needs encoding&", " blank", "blank\n", "null",
	"dpf43f3p2l4k3l03", "nnch734d00sl2jdk", "consumer", "token", strings.Repeat("long ", 100),
}

// TestDiagnosesTellNothingOfSecrets: a signature that no alternative makes has the same diagnosis, after
// the same work, whatever the secrets are, and whether the request holds them. A request that is cut
// to the limits then tells nothing either.
func TestDiagnosesTellNothingOfSecrets(t *testing.T) {
	t.Parallel()
	var all []Keys
	for _, shape := range shapes {
		for _, field := range []func(*Keys) *string{
			func(k *Keys) *string { return &k.ConsumerSecret },
			func(k *Keys) *string { return &k.TokenSecret },
			func(k *Keys) *string { return &k.PreviousSecret },
			func(k *Keys) *string { return &k.RequestTokenSecret },
		} {
			keys := Keys{ConsumerSecret: "a", TokenSecret: "b", PreviousSecret: "c", RequestTokenSecret: "d"}
			*field(&keys) = shape
			all = append(all, keys)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	one := func() string { return shapes[r.IntN(len(shapes))] }
	for range 20 {
		all = append(all, Keys{ConsumerSecret: one(), TokenSecret: one(), PreviousSecret: one(),
			RequestTokenSecret: one(), Others: []string{one()}})
	}
	query := ""
	for _, shape := range shapes {
		query += "&" + doctortest.Percent(shape) + "=" + doctortest.Percent(shape)
	}
	for name, change := range map[string]func(*doctortest.Client){
		"with a token":    func(*doctortest.Client) {},
		"without a token": func(c *doctortest.Client) { c.Set("oauth_token", "") },
		"a large form":    func(c *doctortest.Client) { c.Form = largeForm(60 << 10) },
		"PLAINTEXT":       func(c *doctortest.Client) { c.Key = func(a, b string) string { return "none&at all" } },
		"signed in hex":   func(*doctortest.Client) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			method := "HMAC-SHA1"
			if name == "PLAINTEXT" {
				method = name
			}
			c := strange(newClient(method))
			c.Query += query
			change(c)
			seen := seenOf(t, c)
			if name == "signed in hex" { // the form of the signature is a mistake of its own
				seen.Params.Signature = strings.Repeat("0a", 20)
			}
			first := ""
			for i := range all {
				if seen.Keys = all[i]; seen.Params.Token == "" {
					seen.Keys.TokenSecret, seen.Keys.RequestTokenSecret = "", ""
				}
				text, err := seen.Request.AppendBaseString(nil, &seen.Params)
				if err != nil {
					t.Fatal(err)
				}
				s := newSearch(t.Context(), seen, text)
				if s.valid() {
					t.Fatalf("%d: is valid", i)
				}
				s.run()
				if len(s.mistakes) > 0 || s.signed != nil {
					t.Fatalf("%d: %+v", i, s.mistakes)
				}
				mistakes := make([]int, len(s.keys)) // of each key
				for k := range s.keys {
					mistakes[k] = len(s.keys[k].mistakes)
				}
				got := fmt.Sprintf("%d signatures and %d bytes left, cut %t, keys with %v mistakes",
					s.signatures, s.bytes, s.cut, mistakes)
				if first == "" {
					first = got
				}
				if got != first {
					t.Fatalf("number %d: %s\nnumber 0: %s", i, got, first)
				}
			}
		})
	}
}

// TestVoidKeysMatchNothing: a form that the secrets don't have is no mistake of their client.
func TestVoidKeysMatchNothing(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"HMAC-SHA1", "PLAINTEXT"} {
		c := newClient(method)
		c.Key = func(_, token string) string { return "&" + doctortest.Percent(token) }
		seen := seenOf(t, c)
		seen.Keys.PreviousSecret = "" // the same text, with another name
		if d := Diagnose(t.Context(), seen); d.Names() != consumerSecretLeftOut {
			t.Errorf("%s: an absent secret is named: %q", method, d.Names())
		}
	}
}
