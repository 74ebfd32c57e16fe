package record

import (
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// Consumer is the kind of a consumer.
var Consumer = Kind[tokenstore.Consumer]{"consumer", 1, consumer}

func consumer(f *Fields, c *tokenstore.Consumer) {
	f.Text(&c.Key)
	f.Text(&c.Name)
	f.Text(&c.Homepage)
	f.Text(&c.Secret)
	f.Text(&c.PreviousSecret)
	f.Time(&c.PreviousSecretExpires)
	f.Text(&c.RSAPublicKey)
	f.Texts(&c.SignatureMethods)
	f.Texts(&c.Callbacks)
	f.Texts(&c.Permissions)
	Optional(f, &c.TwoLegged, func(f *Fields, t *tokenstore.TwoLegged) {
		f.Text(&t.User)
		f.Text(&t.Permission)
	})
	f.Bool(&c.Disabled)
	f.Bool(&c.SelfRegistered)
	f.Time(&c.Created)
	f.Time(&c.Expires)
	f.Required()
	f.Bool(&c.CallbacksIgnoreQuery)
	f.Bool(&c.DefaultCallback)
	f.Text(&c.Contact)
}

// RequestToken is the kind of a request token.
var RequestToken = Kind[tokenstore.RequestToken]{"request token", 1, requestToken}

func requestToken(f *Fields, t *tokenstore.RequestToken) {
	f.Text(&t.Key)
	f.Text(&t.Secret)
	f.Text(&t.Consumer)
	f.Text(&t.Callback)
	f.Time(&t.Created)
	f.Time(&t.Expires)
	Optional(f, &t.Review, func(f *Fields, r *tokenstore.Review) {
		f.Text(&r.User)
		f.Text(&r.Permission)
		f.Text(&r.Context)
		f.Text(&r.Verifier)
		f.Time(&r.Time)
		f.Time(&r.Expires)
	})
	Int(f, &t.VerifierFailures)
	f.Required()
}

// AccessToken is the kind of an access token.
var AccessToken = Kind[tokenstore.AccessToken]{"access token", 1, accessToken}

func accessToken(f *Fields, t *tokenstore.AccessToken) {
	f.Text(&t.Key)
	f.Text(&t.Secret)
	f.Text(&t.Consumer)
	f.Text(&t.User)
	f.Text(&t.Permission)
	f.Text(&t.Context)
	f.Time(&t.Created)
	f.Time(&t.Expires)
	f.Time(&t.LastUsed)
	f.Required()
}

// LastUsed is the kind of the time when an access token was last used. A store may keep it beside
// the token, because it is written often.
var LastUsed = Kind[time.Time]{"last use of an access token", 1, lastUsed}

func lastUsed(f *Fields, t *time.Time) {
	f.Time(t)
	f.Required()
}

// UsedNonces is the kind of the nonces that another store accepted. A store keeps them while they
// have not expired.
var UsedNonces = Kind[tokenstore.UsedNonces]{"list of used nonces", 1, usedNonces}

func usedNonces(f *Fields, u *tokenstore.UsedNonces) {
	f.Text(&u.Key)
	f.Text(&u.Digests)
	Int(f, &u.Expires)
	f.Required()
}
