package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwt"
)

func init() {
	caddy.RegisterModule(new(Provider))
}

// Provider accepts a request whose bearer token is a JWT that one fixed key signed, and that is
// valid now (`exp`, `nbf`). The user is its `sub`.
type Provider struct {
	// The signature algorithm, HS256 or RS256. The algorithm in the token is ignored.
	Algorithm string `json:"algorithm"`

	// The secret of HS256, or the public key of RS256 as PEM.
	Key string `json:"key"`

	verify jwt.ParseOption
}

// CaddyModule returns the Caddy module information.
func (*Provider) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.authentication.providers.jwt",
		New: func() caddy.Module { return new(Provider) },
	}
}

// Provision reads the key.
func (p *Provider) Provision(caddy.Context) error {
	if p.Key == "" {
		return errors.New("no key")
	}
	switch p.Algorithm {
	case "HS256":
		p.verify = jwt.WithKey(jwa.HS256(), []byte(p.Key))
	case "RS256":
		block, _ := pem.Decode([]byte(p.Key))
		if block == nil {
			return errors.New("key: not PEM")
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return fmt.Errorf("key: %w", err)
		}
		p.verify = jwt.WithKey(jwa.RS256(), key)
	default:
		return fmt.Errorf("algorithm %q: neither HS256 nor RS256", p.Algorithm)
	}
	return nil
}

// Authenticate implements caddyauth.Authenticator.
func (p *Provider) Authenticate(w http.ResponseWriter, r *http.Request) (caddyauth.User, bool, error) {
	user, err := p.user(r)
	if err != nil {
		w.Header().Set("WWW-Authenticate", "Bearer")
		// No error: Caddy would log it as one, and clients can cause it.
		return caddyauth.User{}, false, nil
	}
	return caddyauth.User{ID: user}, true, nil
}

func (p *Provider) user(r *http.Request) (string, error) {
	scheme, text, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", errors.New("no bearer token")
	}
	token, err := jwt.ParseString(text, p.verify, jwt.WithValidate(true))
	if err != nil {
		return "", err
	}
	user, ok := token.Subject()
	if !ok || user == "" {
		return "", errors.New("no subject")
	}
	return user, nil
}

// Interface guards
var (
	_ caddy.Provisioner       = (*Provider)(nil)
	_ caddyauth.Authenticator = (*Provider)(nil)
)
