package caddymodule

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/doctor"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// refusedRequest is what is kept of a refused request until it is explained. Nothing of it changes
// any more: the request itself may not be read after its answer.
type refusedRequest struct {
	signed   *signed
	tooLarge bool // it is too large to be explained: its form and its query are not kept
	problem  *refusal.Problem
	endpoint string
	now      time.Time // when it came

	client, trace  string
	host           string // as it was sent
	forwardedHost  string
	forwardedProto string
	baseURL        string
	sentPath       string
	rewritten      string // the URI that the upstream would have got, if it is another one
	body           []byte // a body that the signature does not cover, if it is held anyway
	contentType    string
}

// explicable reports whether a refused request was read and names a consumer, and the refusal is
// about the request.
func explicable(s *signed, p *refusal.Problem) bool {
	return s != nil && s.params.ConsumerKey != "" && s.request.Method != "" &&
		p.Kind != refusal.KindStore && p.Kind != refusal.KindStopping
}

// refusedRequest keeps a request that is explicable; else it returns nil.
func (h *Handler) refusedRequest(r *http.Request, endpoint string, s *signed, p *refusal.Problem) *refusedRequest {
	if !explicable(s, p) {
		return nil
	}
	_, target := originalTarget(r)
	kept := *s // so that the original stays on the stack
	body := s.hashedForm
	if kept.hashedForm = nil; len(body) > mostBodyRead {
		body = nil // the doctor looks at no more
	}
	tooLarge := sizeOf(r, s) > mostDiagnosed
	if tooLarge {
		kept.request.Form, kept.request.Query, body = nil, "", nil
	}
	q := &refusedRequest{
		signed:         &kept,
		tooLarge:       tooLarge,
		problem:        p,
		endpoint:       endpoint,
		now:            s.now,
		host:           r.Host,
		forwardedHost:  lastValue(r.Header["X-Forwarded-Host"]),
		forwardedProto: lastValue(r.Header["X-Forwarded-Proto"]),
		body:           body,
		contentType:    r.Header.Get("Content-Type"),
	}
	if q.now.IsZero() { // refused before it was read to its end
		q.now = h.app.now()
	}
	q.client, q.trace = clientOf(r), traceOf(r)
	if h.baseURL != nil {
		q.baseURL = h.baseURL.String()
		q.sentPath, _ = oauth1.SplitTarget(target)
	}
	if uri := r.URL.RequestURI(); uri != target {
		q.rewritten = uri
	}
	return q
}

// sizeOf is how large the parts of a request are that are explained.
func sizeOf(r *http.Request, s *signed) int {
	size := len(s.request.Form) + len(s.request.Query) + len(s.request.Path) + len(r.URL.Path) + len(r.URL.RawQuery)
	for _, name := range []string{"Authorization", "Content-Type", "X-Forwarded-Host"} {
		for _, field := range r.Header[name] {
			size += len(field)
		}
	}
	return size
}

// doctorCase is the request as the doctor gets it.
func (q *refusedRequest) doctorCase(keys doctor.Keys) *doctor.Case {
	return &doctor.Case{
		Request:         q.signed.request,
		Params:          q.signed.params,
		Host:            q.host,
		ForwardedHost:   q.forwardedHost,
		ForwardedProto:  q.forwardedProto,
		BaseURL:         q.baseURL,
		SentPath:        q.sentPath,
		RewrittenTarget: q.rewritten,
		Body:            q.body,
		ContentType:     q.contentType,
		Keys:            keys,
	}
}

// keysOf returns the keys that should have signed a request at a time. Either of them may be nil.
func (a *App) keysOf(c *tokenstore.Consumer, tokenSecret, requestTokenSecret string, now time.Time) doctor.Keys {
	keys := doctor.Keys{TokenSecret: tokenSecret, RequestTokenSecret: requestTokenSecret}
	if c == nil {
		return keys
	}
	keys.ConsumerSecret, keys.Methods = c.Secret, c.SignatureMethods
	if c.RSAPublicKey != "" {
		if key, err := a.pemKeys.get(c.RSAPublicKey); err == nil {
			keys.PublicKey = key
		}
	}
	former := a.diagnoser.past.formerKeys(c.Key)
	previous := cmp.Or(c.PreviousSecret, former.secret)
	switch {
	case c.PreviousSecret != "" && now.Before(c.PreviousSecretExpires): // it verifies
		keys.Others = []string{previous}
	case previous != c.Secret:
		keys.PreviousSecret = previous
	}
	if former.rsaPublicKey != "" && former.rsaPublicKey != c.RSAPublicKey {
		if key, err := a.pemKeys.get(former.rsaPublicKey); err == nil {
			keys.OtherPublicKeys = append(keys.OtherPublicKeys, key)
		}
	}
	return keys
}

// The most bytes of a text that is kept for the operator.
const (
	mostShownURL        = 2 << 10
	mostShownBaseString = 16 << 10
)

// view is the request and its explanation, as the operator sees it. It holds no signature, no
// secret, no verifier, and no value of a form.
func (q *refusedRequest) view(c *doctor.Case, d *doctor.Diagnosis) adminapi.Diagnosis {
	s, hider := q.signed, c.Keys.Hider()
	v := adminapi.Diagnosis{
		Time:     q.now,
		Client:   q.client,
		Consumer: refusal.Printable(s.params.ConsumerKey),
		Token:    refusal.Printable(hider.Text(s.params.Token)),
		Method:   refusal.Printable(s.request.Method),
		URL:      shownURL(hider, urlWithoutCredentials(&s.request)),
		Endpoint: q.endpoint,
		Reason:   q.problem.Reason,
		Refusal:  shownRefusal(hider, q.problem),
		Mistakes: []string{},
	}
	if d != nil {
		hidden := hider.Diagnosis(d)
		v.Diagnosis = hidden.Text()
		for _, m := range hidden.Mistakes {
			v.Mistakes = append(v.Mistakes, m.Name)
		}
	}
	if s.plaintext() || q.tooLarge {
		return v
	}
	open, names := q.baseString(d), hiddenNames(s)
	shown := cut(open, 4*mostShownBaseString, func(s string) int { return strings.LastIndex(s, "%26") })
	shown = hider.BaseString(hideValues(shown, names))
	v.BaseString = shortened(shown, mostShownBaseString)
	// Values and secrets can be anywhere in the client's own base string, in any encoding.
	if d != nil && len(names) == 0 && shown == open && q.body == nil &&
		hider.Text(d.ClientBaseString) == d.ClientBaseString {
		v.ClientBaseString = shortened(d.ClientBaseString, mostShownBaseString)
	}
	return v
}

// baseString is the signature base string, or "". The doctor has made it mostly.
func (q *refusedRequest) baseString(d *doctor.Diagnosis) string {
	if d != nil && d.BaseString != "" {
		return d.BaseString
	}
	text, err := q.signed.request.AppendBaseString(nil, &q.signed.params)
	if err != nil {
		return ""
	}
	return string(text)
}

// shownURL is a URL or its path without secrets, and not too long.
func shownURL(hider *doctor.Hider, text string) string {
	const mostHidden = 8 * mostShownURL // looking for secrets takes its time
	text = cut(text, mostHidden, func(s string) int { return strings.LastIndexAny(s, "/?&") + 1 })
	return shortened(hider.URL(text), mostShownURL)
}

// shownRefusal is the text of a refusal without secrets. A client may have sent one as a key, which
// stands in brackets.
func shownRefusal(hider *doctor.Hider, p *refusal.Problem) string {
	if hider.Text(p.Text) == p.Text {
		return p.Text
	}
	said, _, _ := strings.Cut(p.Text, " (")
	return hider.Text(said)
}

// cut shortens a text to a number of bytes, at the end of a parameter or a segment: half a secret is
// not known as one.
func cut(text string, most int, lastEnd func(string) int) string {
	if len(text) <= most {
		return text
	}
	return text[:max(0, lastEnd(text[:most]))] + "..."
}

// urlWithoutCredentials is the URL that the server takes for the signed one, without the OAuth
// parameters.
func urlWithoutCredentials(r *oauth1.Request) string {
	u := r.Scheme + "://" + r.Host + r.Path
	if query := oauth1.StripQuery(r.Query); query != "" {
		u += "?" + query
	}
	return u
}

// hiddenNames are the names of the form's parameters, whose values an operator does not see: they
// may be passwords.
func hiddenNames(s *signed) map[string]bool {
	names := make(map[string]bool)
	for pair := range strings.SplitSeq(string(s.request.Form), "&") {
		name, _, _ := strings.Cut(pair, "=")
		name, err := oauth1.Decode(strings.ReplaceAll(name, "+", " "))
		if err == nil && pair != "" && !strings.HasPrefix(name, "oauth_") {
			names[name] = true
		}
	}
	return names
}

// shownProtocolParams are the protocol parameters whose values an operator sees. The verifier is
// a credential, and any other may be a secret: some clients send theirs.
var shownProtocolParams = []string{
	"oauth_consumer_key", "oauth_token", "oauth_nonce", "oauth_timestamp", "oauth_signature_method",
	"oauth_version", "oauth_callback", "oauth_body_hash",
}

// hideValues replaces the values of parameters in a base string that this server made: those of the
// names, and of other protocol parameters than the usual.
func hideValues(text string, names map[string]bool) string {
	cut := strings.LastIndexByte(text, '&') + 1
	params := strings.Split(text[cut:], "%26")
	for i, param := range params {
		encoded, _, _ := strings.Cut(param, "%3D")
		name, err := oauth1.Decode(encoded)
		if err == nil {
			name, err = oauth1.Decode(name)
		}
		unknown := strings.HasPrefix(name, "oauth_") && !slices.Contains(shownProtocolParams, name)
		if err != nil || unknown || names[name] {
			params[i] = encoded + "%3D***"
		}
	}
	return text[:cut] + strings.Join(params, "%26")
}

func shortened(text string, most int) string {
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}
