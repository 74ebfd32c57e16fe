package faults

import (
	"math/rand/v2"
	"net/http"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// liveConsumer adds a consumer and its token, uses them, and takes the consumer's right away.
func (x *trial) liveConsumer(l *life) {
	secret, newSecret := "secret of "+l.name, "new secret of "+l.name
	l.access = oauth1.Signer{
		ConsumerKey: l.name, ConsumerSecret: secret, Token: "token-" + l.name, TokenSecret: secret,
	}
	consumer := adminapi.NewConsumer{Key: l.name, Secret: &secret}
	consumer.Name = l.name
	token := adminapi.NewToken{
		Consumer: l.name, Key: l.access.Token, Secret: &secret,
		Grant: adminapi.Grant{User: l.name, Permission: "READ_PUBLIC"},
	}
	if !x.add(l, adminapi.ConsumersPath, consumer) || !x.add(l, adminapi.TokensPath, token) {
		return
	}
	path := adminapi.ResourcePath(adminapi.ConsumersPath, l.name, "")
	how := rand.IntN(3)
	x.useUntil(l, func(s *sidecar) error {
		switch how {
		case 0:
			return s.call(http.MethodPatch, path, map[string]bool{"disabled": true}, nil)
		case 1:
			rotate := adminapi.ResourcePath(adminapi.ConsumersPath, l.name, adminapi.ActionRotate)
			return s.call(http.MethodPost, rotate, adminapi.Rotation{Secret: &newSecret}, nil)
		}
		return s.call(http.MethodDelete, path, nil, nil)
	})
}

// add adds something by the admin API of any sidecar. It tries again until that is there.
func (x *trial) add(l *life, path string, body any) bool {
	for {
		err := x.sidecars[x.some(1)[0]].call(http.MethodPost, path, body, nil)
		switch code := status(err); {
		case err == nil, code == http.StatusConflict: // an earlier try may have done it
			return true
		case code != 0 && code < http.StatusInternalServerError:
			l.broken = "its consumer is gone: " + err.Error()
			return false
		case !x.pause(retryInterval):
			return false
		}
	}
}
