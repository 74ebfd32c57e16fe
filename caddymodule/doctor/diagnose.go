package doctor

import (
	"context"
	"slices"
	"strings"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// Diagnose finds the mistake that leads to the signature that came.
//
// The search is bounded by the case's limits, and ends early when ctx is done. The same case has
// always the same result, unless ctx ended it. A mistake is named only if its signature, compared
// as a whole and in constant time, is the one that came. Two mistakes that lead to the same
// signature cannot be told apart; the likelier one is named.
//
// It reads the case, and keeps nothing of it.
func Diagnose(ctx context.Context, c *Case) Diagnosis {
	var d Diagnosis
	method := c.Params.SignatureMethod
	if method != oauth1.Plaintext {
		text, err := c.Request.AppendBaseString(nil, &c.Params)
		if err != nil {
			return d
		}
		d.BaseString = string(text)
	}
	if m, wrong := c.notAccepted(); wrong {
		d.Mistakes = []Mistake{m}
		return d
	}
	d.Valid = c.valid()
	return d
}

// notAccepted reports that the consumer may not use its signature method.
func (c *Case) notAccepted() (Mistake, bool) {
	method := c.Params.SignatureMethod
	kind := oauth1.PublicKeyKind(c.Keys.PublicKey)
	accepted := c.Keys.Methods
	if len(accepted) == 0 {
		accepted = oauth1.SignatureMethods
	}
	var usable []string
	for _, m := range accepted {
		if oauth1.KeyKindOf(m) == kind {
			usable = append(usable, m)
		}
	}
	if slices.Contains(usable, method) {
		return Mistake{}, false
	}
	return Mistake{Name: methodNotAccepted, Signed: method, Expected: either(usable)}, true
}

// either joins words as a choice.
func either(words []string) string {
	switch n := len(words); n {
	case 0:
		return "another consumer"
	case 1:
		return words[0]
	default:
		return strings.Join(words[:n-1], ", ") + " or " + words[n-1]
	}
}

// valid reports whether the signature is right. A form that oauth_body_hash covers may be signed as
// parameters too.
func (c *Case) valid() bool {
	key := oauth1.Key{
		ConsumerSecret: c.Keys.ConsumerSecret,
		TokenSecret:    c.Keys.TokenSecret,
		Public:         c.Keys.PublicKey,
	}
	if oauth1.Verify(&c.Request, &c.Params, &key) == nil {
		return true
	}
	if !c.hashedForm() {
		return false
	}
	withForm := c.Request
	withForm.Form = c.Body
	return oauth1.Verify(&withForm, &c.Params, &key) == nil
}

// hashedForm reports whether the body is a form that oauth_body_hash covers.
func (c *Case) hashedForm() bool {
	return c.Params.HasBodyHash && c.Request.Form == nil && len(c.Body) > 0 && isFormType(c.ContentType)
}
