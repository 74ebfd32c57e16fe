package caddymodule

import (
	"context"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"math"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// CWE-208: unknown keys must not be told from known ones by time. Every request, whoever it names, looks up a consumer and
// a token, and verifies one signature: that is what is counted here, by a store that counts, and by a signature
// that matches where the decoy's secret was used.
func TestUnknownKeysCostTheWorkOfKnownOnes(t *testing.T) {
	site := newTestSite(t, "consumer known {\n\tsecret s\n}", "insecure_plaintext_over_http")
	if err := site.store().CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "stored", Secret: "s", Created: site.clock}); err != nil {
		t.Fatal(err)
	}
	token, other := site.grant("stored", "alice", "READ_PUBLIC"), site.grant("known", "alice", "READ_PUBLIC")
	counter := &countingStore{Store: site.store()}
	site.app.store = counter
	for _, c := range []struct{ consumer, token, reason string }{
		{"stored", token.Key, "Invalid signature."},
		{"stored", "unknown", "Unknown access token (unknown)."},
		{"stored", other.Key, "Unknown access token (" + other.Key + ")."},
		{"unknown", token.Key, "Unknown consumer (unknown)."},
		{"unknown", "unknown", "Unknown consumer (unknown)."},
	} {
		for _, method := range []string{"HMAC-SHA1", "HMAC-SHA256", "PLAINTEXT"} {
			*counter = countingStore{Store: counter.Store}
			wrong := oauth1.Signer{ConsumerKey: c.consumer, ConsumerSecret: "wrong", Token: c.token, TokenSecret: "wrong", SignatureMethod: method}
			w, upstream := site.serve(site.sign(wrong, "GET", "http://api.test/x", ""))
			if upstream != nil || w.Code != http.StatusUnauthorized || w.Body.String() != c.reason {
				t.Errorf("%v: %d %s", c, w.Code, w.Body)
			}
			if counter.consumers != 1 || counter.tokens != 1 || counter.nonces != 0 {
				t.Errorf("%v: looked up %d consumers and %d tokens, and used %d nonces; want 1, 1 and 0", c, counter.consumers, counter.tokens, counter.nonces)
			}
		}
		// Who knew the decoy's secret would learn that it verifies, and still be refused for the right reason.
		if c.consumer == "unknown" {
			s := &signed{params: oauth1.Params{SignatureMethod: plaintext, Signature: site.handler.decoy.secret + "&"}}
			if !site.handler.verified(s, nil, "") {
				t.Error("an unknown consumer's signature is not verified with the decoy")
			}
		}
	}
}

// That a signature is verified for those who are not there, too, shows when to verify it takes long: an unknown consumer's, and one
// that has no RSA key, is verified with the decoy's, which is a very large one here.
func TestUnknownKeysAreVerified(t *testing.T) {
	site := newTestSite(t, "consumer known {\n\tsecret s\n}", "")
	token := site.grant("known", "alice", "READ_PUBLIC")
	took := func(consumer, token string, bits int) time.Duration {
		t.Helper()
		modulus := new(big.Int).SetBit(big.NewInt(1), bits-1, 1)
		site.handler.decoy.rsa = &rsa.PublicKey{N: modulus, E: 65537}
		best := time.Hour
		for range 20 {
			r := httptest.NewRequest("GET", "http://api.test/x", nil)
			r.Header.Set("Authorization", fmt.Sprintf(`OAuth oauth_consumer_key="%s", oauth_token="%s", oauth_signature_method="RSA-SHA256", oauth_timestamp="%d", oauth_nonce="n", oauth_signature="%s"`,
				consumer, token, site.clock.Unix(), url.QueryEscape(base64.StdEncoding.EncodeToString(make([]byte, bits/8)))))
			start := time.Now()
			w, upstream := site.serve(r)
			best = min(best, time.Since(start))
			if w.Code != http.StatusUnauthorized || upstream != nil {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
		}
		return best
	}
	for _, c := range [][2]string{{"unknown", token.Key}, {"unknown", "unknown"}, {"known", "unknown"}, {"known", token.Key}} {
		small, large := took(c[0], c[1], 1024), took(c[0], c[1], 16384)
		if large < 20*small {
			t.Errorf("consumer %s, token %s: %v with a small decoy, %v with a large one: no signature was verified", c[0], c[1], small, large)
		}
		t.Logf("consumer %s, token %s: %v and %v", c[0], c[1], small, large)
	}
}

type countingStore struct {
	tokenstore.Store
	consumers, tokens, nonces int
}

func (s *countingStore) Consumer(ctx context.Context, key string) (*tokenstore.Consumer, error) {
	s.consumers++
	return s.Store.Consumer(ctx, key)
}

func (s *countingStore) AccessToken(ctx context.Context, key string) (*tokenstore.AccessToken, error) {
	s.tokens++
	return s.Store.AccessToken(ctx, key)
}

func (s *countingStore) UseNonce(ctx context.Context, n tokenstore.Nonce) error {
	s.nonces++
	return s.Store.UseNonce(ctx, n)
}

// The statistical test, by hand, on a machine that does nothing else:
//
//	TIMING=100000 go test ./caddymodule -run TestTimingByHand -v
//
// It sends bad signatures for known and unknown consumers and tokens in turns, and gives the medians, and Welch's t
// between the lower halves of the first and each other: beyond 10 in several runs on end there is a difference that a
// patient attacker on the same machine could see. There is one of about a microsecond: the store's cache holds what is
// known, and not what is not.
func TestTimingByHand(t *testing.T) {
	var rounds int
	if fmt.Sscan(os.Getenv("TIMING"), &rounds); rounds == 0 {
		t.Skip("TIMING is not set")
	}
	site := newTestSite(t, "", "")
	if err := site.store().CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "known000", Secret: tokenstore.NewSecret(), Created: site.clock}); err != nil {
		t.Fatal(err)
	}
	token := site.grant("known000", "alice", "READ_PUBLIC")
	cases := [][2]string{{"known000", token.Key}, {"known000", tokenstore.NewKey()}, {"unknown0", token.Key}, {"unknown0", tokenstore.NewKey()}}
	times := make([][]float64, len(cases))
	for range rounds {
		for i, c := range cases {
			r := site.sign(oauth1.Signer{ConsumerKey: c[0], ConsumerSecret: "wrong", Token: c[1], SignatureMethod: "HMAC-SHA1"}, "GET", "http://api.test/x", "")
			site.inRequest(r, func(r *http.Request, _ *caddy.Replacer) {
				start := time.Now()
				site.handler.authenticate(r)
				times[i] = append(times[i], float64(time.Since(start)))
			})
		}
	}
	var means, variances []float64
	for i, c := range cases {
		slices.Sort(times[i])
		half := times[i][:rounds/2]
		mean, variance := 0.0, 0.0
		for _, x := range half {
			mean += x / float64(len(half))
		}
		for _, x := range half {
			variance += (x - mean) * (x - mean) / float64(len(half))
		}
		means, variances = append(means, mean), append(variances, variance/float64(len(half)))
		t.Logf("%v: median %.0f ns, mean of the lower half %.0f ns, t %.1f", c, times[i][rounds/2], mean, (means[i]-means[0])/math.Sqrt(variances[i]+variances[0]))
	}
}

// What upstreams may take a path for.
func TestReadings(t *testing.T) {
	for target, want := range map[string][]string{
		"/a/b":               nil,
		"/.well-known/x":     nil,
		"/a%20b/~c/+d;":      {"/a b/~c/+d"},
		"/open/..;/admin":    {"/admin", "/open/:../admin"},
		"/admin/../open":     {"/open", "/admin/:../open"},
		"/admin//../open":    {"/admin/open", "/admin//:../open"},
		`/open/..\admin`:     {"/open/../admin", "/admin"},
		"/open/%252e%252e/a": {"/open/../a", "/a"},
		"//open/admin":       {"/admin"},
		"/open%2Fadmin":      {"/open%2fadmin"},
		"/open%00/../x":      {"/open"},
	} {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			t.Fatal(err)
		}
		got := readPath(u)
		if got[0] != u.Path {
			t.Errorf("%s: the first reading is %s", target, got[0])
		}
		for _, path := range want {
			if !slices.Contains(got, path) {
				t.Errorf("%s: %q, without %s", target, got, path)
			}
		}
		if want == nil && len(got) != 1 {
			t.Errorf("%s: %q", target, got)
		}
	}
	hostile := &url.URL{Path: "/" + strings.Repeat("%25", 1000) + "2e/..;/../" + strings.Repeat("../;", 1000)}
	start := time.Now()
	if got := readPath(hostile); len(got) > mostReadings+len(pathReaders) {
		t.Errorf("%d readings", len(got))
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("it took %v", took)
	}
}
