package main

import (
	"fmt"
	"strings"
)

// A peer is a program that is compared with others.
type peer struct {
	name  string // for -peers
	label string // for the table
	ours  bool
	start func(l *lab) (*target, error)
}

// plainSigned is a second baseline. It gets the same requests as oauth1.
const plainSigned = "plain-signed"

// peers are in the order of the table. The first is the baseline of all ratios.
var peers = []peer{
	{"plain", "reverse_proxy alone", false, startPlain},
	{plainSigned, "reverse_proxy alone, signed requests", false, startPlainSigned},
	{"oauth1", "oauth1, HMAC-SHA256", true, startOAuth1("oauth1", "sync off", "HMAC-SHA256")},
	{"oauth1-sync", "oauth1, HMAC-SHA256, sync on", true, startOAuth1("oauth1-sync", "sync on", "HMAC-SHA256")},
	{"oauth1-rsa", "oauth1, RSA-SHA256 (2048 bits)", true, startOAuth1RSA},
	{"oauth1-plaintext", "oauth1, PLAINTEXT", true, startOAuth1("oauth1-plaintext", "sync off", "PLAINTEXT")},
	{"basic_auth", "basic_auth, bcrypt, hash cached", false, startBasicAuth},
	{"jwt-hs256", "jwt_auth, HS256", false, startJWT("jwt-hs256")},
	{"jwt-rs256", "jwt_auth, RS256 (2048 bits)", false, startJWT("jwt-rs256")},
	{"forward_auth-200", "forward_auth to a server that says 200", false, startForwardAuth200},
	{"forward_auth-go", "forward_auth to a Go OAuth 1 verifier", false, startForwardAuthGo},
	{"forward_auth-python", "forward_auth to oauthlib, gunicorn", false, startForwardAuthPython},
	{"nginx-go", "nginx auth_request to a Go OAuth 1 verifier", false, startNginx},
	{"oauth_reverse_proxy", "oauth_reverse_proxy (npm), no replay check", false, startNode},
}

// choose returns the peers with the names, and always the baseline.
func choose(peers []peer, names string) ([]peer, error) {
	if names == "" {
		return peers, nil
	}
	wanted := map[string]bool{peers[0].name: true}
	for name := range strings.SplitSeq(names, ",") {
		wanted[name] = true
	}
	var chosen []peer
	for _, p := range peers {
		if wanted[p.name] {
			chosen = append(chosen, p)
			delete(wanted, p.name)
		}
	}
	for name := range wanted {
		return nil, fmt.Errorf("peer %q: there is none of that name", name)
	}
	return chosen, nil
}

func startPlain(l *lab) (*target, error) { return l.startCaddy("plain", site{}, nobody) }

func startPlainSigned(l *lab) (*target, error) {
	return l.startCaddy(plainSigned, site{}, ignored(signed("HMAC-SHA256")))
}

const (
	// directive is the handler with its defaults.
	directive = "oauth1 {\n\t\tinsecure_plaintext_over_http\n\t}"
	anyApp    = "timestamp_window 5m"
)

func startOAuth1(name, store, method string) func(*lab) (*target, error) {
	return func(l *lab) (*target, error) {
		t, err := l.startCaddy(name, site{app: anyApp, store: store, before: directive}, signed(method))
		if err != nil {
			return nil, err
		}
		return t, t.introduce(l.tokens, nil)
	}
}

func startOAuth1RSA(l *lab) (*target, error) {
	t, err := l.startCaddy("oauth1-rsa", site{app: anyApp, before: directive}, signedRSA(l.rsa.key))
	if err != nil {
		return nil, err
	}
	return t, t.introduce(l.tokens, &l.rsa)
}

// passUser sends the user to the upstream, as oauth1 does without an option.
const passUser = "header_up X-OAuth-User {http.auth.user.id}"

func startBasicAuth(l *lab) (*target, error) {
	hash, err := l.hashPassword()
	if err != nil {
		return nil, fmt.Errorf("hash a password: %w", err)
	}
	return l.startCaddy("basic_auth", site{
		before: "basic_auth {\n\t\t" + userName(0) + " " + hash + "\n\t}",
		pass:   passUser,
	}, basic)
}

// forwardAuth is a directive that asks an auth server, which answers with the user.
func forwardAuth(addr string) string {
	return "forward_auth " + addr + " {\n\t\turi /verify\n\t\tcopy_headers X-OAuth-User\n\t\timport transport\n\t}"
}

func startForwardAuth200(l *lab) (*target, error) {
	p, addr, err := l.startRole("allow")
	if err != nil {
		return nil, err
	}
	sent := signed("HMAC-SHA256")
	t, err := l.startCaddy("forward_auth-200", site{before: forwardAuth(addr)}, func(host string, i int) (string, string, error) {
		authorization, _, err := sent(host, i)
		return authorization, alwaysAllowedAsUser, err
	})
	if err != nil {
		return nil, err
	}
	t.beside = []*process{p}
	return t, nil
}

func startForwardAuthGo(l *lab) (*target, error) {
	p, addr, err := l.startRole("verify", fmt.Sprint(l.tokens))
	if err != nil {
		return nil, err
	}
	t, err := l.startCaddy("forward_auth-go", site{before: forwardAuth(addr)}, signed("HMAC-SHA256"))
	if err != nil {
		return nil, err
	}
	t.beside = []*process{p}
	return t, nil
}
