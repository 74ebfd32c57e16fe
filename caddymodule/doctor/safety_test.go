package doctor

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/doctor/doctortest"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// largeForm returns a form of about n bytes.
func largeForm(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "name%d=value+%d%%20%s&", i%700, i, strings.Repeat("x", 160))
	}
	return strings.TrimSuffix(b.String(), "&")
}

// usual are the keys of the tests' server.
var usual = doctortest.Usual()

var random = flag.Int("random", 200, "how many random signatures TestNothingIsNamedFalsely makes")

// TestNothingIsNamedFalsely: wrong secrets, requests that were changed on their way, and other
// people's keys are no mistake that has a name.
func TestNothingIsNamedFalsely(t *testing.T) {
	t.Parallel()
	const least = 100
	r := rand.New(rand.NewPCG(1, 2))
	word := func() string { return fmt.Sprintf("%x", r.Uint64())[:4+r.IntN(8)] }
	methods := []string{"HMAC-SHA1", "HMAC-SHA256", "RSA-SHA256", "PLAINTEXT"}
	made := 0
	for ; made < *random && (made < least || t.Context().Err() == nil); made++ {
		method := methods[made%len(methods)]
		c := newClient(method)
		c.Path, c.Form = "/"+word()+"/"+word(), ""
		c.Query = fmt.Sprintf("%s=%s+%s&%s=%%2B%s", word(), word(), word(), word(), word())
		c.Set("oauth_nonce", word())
		what := "another secret"
		switch r.IntN(4) {
		case 0:
			c.ConsumerSecret, c.PrivateKey = word()+word(), 2
		case 1:
			what = "another token's secret"
			c.TokenSecret, c.PrivateKey = word()+word(), 2
		case 2:
			what = "the secrets of somebody else"
			c.ConsumerSecret, c.TokenSecret, c.PrivateKey = word()+word(), word()+word(), 2
		case 3:
			what = "a request that was changed"
			if method == "PLAINTEXT" { // covers no request
				c.Key = func(a, b string) string { return doctortest.Percent(a) + "&" + doctortest.Percent(b) + word() }
				break
			}
			signed := c.Query
			c.Query = strings.Replace(signed, "+", word(), 1)
			c.Params = func(p []doctortest.Param) []doctortest.Param {
				sent := c.Query
				c.Query = signed
				defer func() { c.Query = sent }()
				return append(slices.Clone(c.OAuth), c.SentParams()...)
			}
		}
		d := Diagnose(t.Context(), seenOf(t, c))
		if len(d.Mistakes) > 0 || d.Valid || d.ClientBaseString != "" || !strings.HasPrefix(d.Text(), NoMistake) {
			t.Fatalf("%s, %s: says %q %q", method, what, d.Names(), d.Text())
		}
		if want := method == "RSA-SHA256" && what == "a request that was changed"; d.RightKey != want {
			t.Fatalf("%s, %s: the key is the right one: %t", method, what, d.RightKey)
		}
	}
	t.Logf("%d requests", made)
}

// TestSecretsAreNotShown: nobody finds the secrets of a client that sends them as parameters in what is
// said of its request, after a Hider. The right signature is never said.
func TestSecretsAreNotShown(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"HMAC-SHA1", "PLAINTEXT", "HMAC-SHA256"} {
		c := newClient(method)
		c.Query = "consumer_secret=" + doctortest.Percent(usual.ConsumerSecret) + "&token_secret=" + doctortest.Percent(usual.TokenSecret)
		c.Path = "/" + doctortest.Percent(usual.ConsumerSecret)
		c.SignedURL = "http://" + c.Host + c.Path
		if method == "PLAINTEXT" {
			c.ConsumerSecret, c.TokenSecret = c.TokenSecret, c.ConsumerSecret
		}
		seen := seenOf(t, c)
		d := Diagnose(t.Context(), seen)
		if len(d.Mistakes) != 1 {
			t.Errorf("%s: names %q", method, d.Names())
		}
		right := *c
		right.SignedURL, right.ConsumerSecret, right.TokenSecret = "", usual.ConsumerSecret, usual.TokenSecret
		if all := fmt.Sprintf("%+v %s", d, d.Text()); strings.Contains(all, right.SignatureText()) {
			t.Errorf("%s: shows the right signature: %s", method, all)
		}
		hider := seen.Keys.Hider()
		hidden := hider.Diagnosis(&d)
		all := fmt.Sprintf("%+v %s %s %s", hidden, hidden.Text(), hider.BaseString(d.BaseString),
			hider.BaseString(d.ClientBaseString))
		for _, secret := range []string{usual.ConsumerSecret, usual.TokenSecret} {
			for _, text := range []string{secret, doctortest.Percent(secret), doctortest.Percent(doctortest.Percent(secret))} {
				if strings.Contains(all, text) {
					t.Errorf("%s: shows %q in %s", method, text, all)
				}
			}
		}
		if text := fmt.Sprintf("%v %+v %#v %s %d", seen.Keys, seen.Keys, seen.Keys, seen.Keys, seen.Keys); strings.Contains(text, "s3cret") {
			t.Error("keys show their secrets:", text)
		}
	}
}

// TestNamesOfParametersHoldNoSecret: a client may put its secret into the name of a parameter.
func TestNamesOfParametersHoldNoSecret(t *testing.T) {
	t.Parallel()
	c := newClient("HMAC-SHA1")
	name := "oauth_" + usual.TokenSecret
	c.OAuth = append(c.OAuth, doctortest.Param{Name: name, Value: "1"})
	c.Params = func(p []doctortest.Param) []doctortest.Param {
		return slices.DeleteFunc(p, func(p doctortest.Param) bool { return p.Name == name })
	}
	seen := seenOf(t, c)
	d := Diagnose(t.Context(), seen)
	hidden := seen.Keys.Hider().Diagnosis(&d)
	if text := fmt.Sprintf("%+v", hidden); hidden.Names() != oauthLeftOut || strings.Contains(text, usual.TokenSecret) {
		t.Errorf("%q: %s", hidden.Names(), text)
	}
}

// TestLimits: a search ends at its limits, and says so; the right signature is known all the same.
func TestLimits(t *testing.T) {
	t.Parallel()
	wrong := newClient("HMAC-SHA1")
	wrong.ConsumerSecret = "another secret"
	seen := seenOf(t, wrong)
	for _, limits := range []Limits{{Signatures: 1}, {Signatures: 50}, {Bytes: 1}, {Bytes: 20_000}} {
		seen.Limits = limits
		if d := Diagnose(t.Context(), seen); !d.Cut || len(d.Mistakes) > 0 || !strings.Contains(d.Text(), cutText) {
			t.Errorf("%+v: %+v", limits, d)
		}
	}
	seen.Limits = Limits{}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if d := Diagnose(done, seen); !d.Cut {
		t.Errorf("a context that is done: %+v", d)
	}
	right := seenOf(t, newClient("HMAC-SHA1"))
	right.Limits = Limits{Signatures: 1, Bytes: 1}
	if d := Diagnose(t.Context(), right); !d.Valid {
		t.Errorf("right: %+v", d)
	}
}

// TestLargeRequests: a request as large as a server reads is compared with fewer alternatives, and
// with those that matter most.
func TestLargeRequests(t *testing.T) {
	t.Parallel()
	for name, wrong := range map[string]func(*doctortest.Client){
		"scheme":                func(c *doctortest.Client) { c.SignedURL = "http://" + c.Host + c.Path },
		"token-secret-left-out": func(c *doctortest.Client) { c.TokenSecret = "" },
	} {
		c := newClient("HMAC-SHA256")
		c.Form = largeForm(200 << 10)
		wrong(c)
		if d := Diagnose(t.Context(), seenOf(t, c)); d.Names() != name {
			t.Errorf("says %q, want %q; cut %t", d.Names(), name, d.Cut)
		}
	}
}

// strange signs another URL, with secrets that the server does not know.
func strange(c *doctortest.Client) *doctortest.Client {
	c.ConsumerSecret, c.TokenSecret, c.SignedURL = "another secret", "and another", "https://elsewhere.example.com/"
	return c
}

// A hostileRequest is made to cost the doctor much: anybody who knows the key of a consumer can send
// it.
type hostileRequest struct {
	name, form, body string
	more             func(*doctortest.Client)
}

func (h hostileRequest) client(method string) *doctortest.Client {
	c := strange(doctortest.NewClient(method, usual))
	if c.Form = h.form; h.body != "" {
		c.Body, c.ContentType = h.body, "multipart/form-data; boundary=B"
	}
	if h.more != nil {
		h.more(c)
	}
	return c
}

var hostile = []hostileRequest{
	{name: "form of 4 KiB", form: largeForm(4 << 10)},
	{name: "form of 16 KiB", form: largeForm(16 << 10)},
	{name: "form of 256 KiB", form: largeForm(256 << 10)}, // the largest that the server looks into
	{name: "form of 1 MiB", form: largeForm(1 << 20)},
	{name: "form of 1000 parameters", form: strings.Repeat("%41=%41&", 1000)},
	{name: "form of 10000 parameters", form: strings.Repeat("%41=%41&", 5000) + strings.Repeat("b+&", 4900)},
	{name: "form of one value", form: "a=" + strings.Repeat("%2B", 80_000)},
	{name: "body as a form", body: largeForm(60 << 10)},
	{name: "body as a form of 30000 parameters", body: strings.Repeat("a&", 30_000)},
	{name: "body of JSON with one name", body: "{" + strings.Repeat(`"a":1,`, 9000) + `"a":1}`},
	{name: "body of JSON with 5000 names", body: jsonOfNames(5000)},
	{name: "body of bytes", body: strings.Repeat("\xff", 60<<10)},
	{name: "body of 1000 parts", body: strings.Repeat(
		"--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n", 1000) + "--B--\r\n"},
	{name: "path of 200 KB", more: func(c *doctortest.Client) { c.Path = strings.Repeat("/%2fa%20B", 22_000) }},
	{name: "path of 7 KB", more: func(c *doctortest.Client) { c.Path = strings.Repeat("/%2fa%20B", 800) }},
	{name: "X-Forwarded-Host of 200 KB", more: func(c *doctortest.Client) { c.ForwardedHost = strings.Repeat("a.", 100_000) }},
	{name: "realm of 200 KB", more: func(c *doctortest.Client) { c.Realm = strings.Repeat("a%", 100_000) }},
	{name: "boundary of 200 KB", body: "x", more: func(c *doctortest.Client) {
		c.ContentType += strings.Repeat(`; a="b"`, 30_000)
	}},
	{name: "form of accents", form: "a=" + strings.Repeat("%CC%81", 1500)},
	{name: "2000 oauth_ parameters", more: func(c *doctortest.Client) {
		for i := range 2000 {
			c.OAuth = append(c.OAuth, doctortest.Param{Name: fmt.Sprint("oauth_", i), Value: "%"})
		}
	}},
}

func jsonOfNames(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"n%d":%d`, i, i)
	}
	return "{" + b.String()[1:] + "}"
}

// TestHostileRequestsCostLittle: what a request takes is bounded. The benchmark tells the time, which
// a test can't; this is the memory that is made, of which the time consists mostly.
func TestHostileRequestsCostLittle(t *testing.T) {
	const most = 8 << 20
	for _, h := range hostile {
		for _, method := range []string{"HMAC-SHA256", "RSA-SHA256"} {
			seen := seenOf(t, h.client(method))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			d := Diagnose(t.Context(), seen)
			runtime.ReadMemStats(&after)
			if made := after.TotalAlloc - before.TotalAlloc; made > most || len(d.Mistakes) > 0 {
				t.Errorf("%s, %s: %d bytes are made, at most %d should be; names %q", h.name, method, made, most, d.Names())
			}
		}
	}
}

// FuzzDiagnose: no request makes the doctor panic, name a mistake twice, or name one for a right
// signature, and the same request has the same diagnosis.
func FuzzDiagnose(f *testing.F) {
	right := newClient("HMAC-SHA1")
	f.Add("HMAC-SHA1", right.SignatureText(), "POST", "https", "api.example.com", "/a%2Fb", "a=1&b", "c=d", "text/plain", "/x?y", "https://b/c")
	f.Add("HMAC-SHA256", "", "get", "http", "[::1]:80", "", "&&=&%", `{"a":1}`, "multipart/form-data; boundary=B", "", "//")
	f.Add("PLAINTEXT", "a&b", "GET", "wss", "@", "/%", "oauth_token=x", "--B\r\n", "application/x-www-form-urlencoded", "?", "%")
	f.Add("RSA-SHA1", strings.Repeat("A", 344), "GET", "https", "h", "/", "", "", "", "", "")
	f.Fuzz(func(t *testing.T, method, signature, verb, scheme, host, path, query, body, contentType, target, baseURL string) {
		header := `OAuth oauth_consumer_key="k",oauth_token="t",oauth_nonce="n",oauth_timestamp="1",oauth_version="1.0",` +
			`oauth_signature_method="` + doctortest.Percent(method) + `",oauth_signature="` + doctortest.Percent(signature) + `"`
		r := oauth1.Request{Method: verb, Scheme: scheme, Host: host, Path: path, Query: query}
		if isFormType(contentType) {
			r.Form = []byte(body)
		}
		params, err := oauth1.Parse([]string{header}, query, r.Form)
		if err != nil {
			t.Skip()
		}
		c := &Case{
			Request: r, Params: params, Host: host, ForwardedHost: host + ":80", SentPath: path,
			RewrittenTarget: target, BaseURL: baseURL, Body: []byte(body), ContentType: contentType,
			Keys:   Keys{ConsumerSecret: "consumer secret", TokenSecret: "dG9rZW4=", PreviousSecret: "old"},
			Limits: Limits{Signatures: 3000, Bytes: 1 << 20},
		}
		if strings.HasPrefix(method, "RSA") {
			c.Keys = Keys{PublicKey: doctortest.Keys()[0].Public()}
		}
		d := Diagnose(t.Context(), c)
		if again := Diagnose(t.Context(), c); !reflect.DeepEqual(d, again) {
			t.Errorf("%+v, then %+v", d, again)
		}
		verified := oauth1.Verify(&r, &params, &oauth1.Key{ConsumerSecret: c.Keys.ConsumerSecret,
			TokenSecret: c.Keys.TokenSecret, Public: c.Keys.PublicKey}) == nil
		if d.Valid != verified || d.Valid && len(d.Mistakes) > 0 || len(d.Mistakes) > mostMistakes {
			t.Errorf("verified %t: %+v", verified, d)
		}
		for _, m := range d.Mistakes {
			if !slices.Contains(Names(), m.Name) {
				t.Errorf("%q is not in the list", m.Name)
			}
		}
		if text := d.Text(); strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("the text is not printable: %q", text)
		}
	})
}
