package doctor

import (
	"crypto"
	"net/url"
	"strings"
	"testing"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/doctor/doctortest"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// newClient returns a client that makes no mistake, of the usual server.
func newClient(signatureMethod string) *doctortest.Client {
	return doctortest.NewClient(signatureMethod, doctortest.Usual())
}

// seenOf is a client's request as its server sees it.
func seenOf(t testing.TB, c *doctortest.Client) *Case {
	t.Helper()
	r := oauth1.Request{Method: c.Method, Scheme: c.Scheme, Host: c.Host, Path: c.Path, Query: c.Query}
	if c.Form != "" {
		r.Form = []byte(c.Form)
	}
	params, err := oauth1.Parse([]string{c.Authorization()}, r.Query, r.Form)
	if err != nil {
		t.Fatalf("%v: %s", err, c.Authorization())
	}
	s := &c.Server
	if s.BaseURL != "" {
		base, err := url.Parse(s.BaseURL)
		if err != nil {
			t.Fatal(err)
		}
		r.Scheme, r.Host, r.Path = base.Scheme, base.Host, base.Path+r.Path
	}
	seen := &Case{
		Request: r, Params: params, Host: c.Host, ForwardedHost: c.ForwardedHost,
		BaseURL: s.BaseURL + s.OtherBaseURL, SentPath: c.Path, RewrittenTarget: s.RewrittenTarget,
		Body: []byte(c.Body), ContentType: c.ContentType,
		Keys: Keys{ConsumerSecret: s.ConsumerSecret, PreviousSecret: s.PreviousSecret, Methods: s.Methods},
	}
	if params.Token != "" {
		seen.Keys.TokenSecret, seen.Keys.RequestTokenSecret = s.TokenSecret, s.RequestTokenSecret
	}
	if s.RSA {
		keys := doctortest.Keys()
		seen.Keys = Keys{
			PublicKey: keys[0].Public(), OtherPublicKeys: []crypto.PublicKey{keys[1].Public()}, Methods: s.Methods,
		}
	}
	return seen
}

// described joins the names of the mistakes with their parameters.
func described(mistakes []Mistake) string {
	var list []string
	for _, m := range mistakes {
		list = append(list, strings.TrimSpace(m.Name+" "+m.Parameter))
	}
	return strings.Join(list, "+")
}
