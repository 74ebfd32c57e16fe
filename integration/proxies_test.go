package integration

import (
	"errors"
	"net/http"
	"strings"
	"testing"
)

// TestBehindAProxy: the signed URL if a real proxy in front removes a prefix, or the port from
// Host.
func TestBehindAProxy(t *testing.T) {
	for _, proxy := range []struct {
		name, global, oauth1, front string
		requests                    [][3]string // the method, the client's request, the upstream's request
	}{
		{
			"a prefix", "", "base_url http://127.0.0.1:{{.Front}}/api/v1",
			"handle_path /api/v1* {\n reverse_proxy 127.0.0.1:{{.Port}}\n}",
			[][3]string{
				{"GET", "/api/v1/photos?size=a%20b", "/photos?size=a%20b"},
				{"GET", "/api/v1/a%2Fb", "/a%2Fb"},
				{"GET", "/api/v1", "/"},
				{"POST", "/api/v1/", "/"},
			},
		},
		{
			"the port in X-Forwarded-Port", "servers {\n trusted_proxies static 127.0.0.0/8\n}", "",
			"reverse_proxy 127.0.0.1:{{.Port}} {\n header_up Host {http.request.host}\n header_up -X-Forwarded-Host\n" +
				" header_up X-Forwarded-Port {http.request.port}\n}",
			[][3]string{{"GET", "/photos?size=a%20b", "/photos?size=a%20b"}},
		},
		{
			"the port in X-Forwarded-Port, the host in X-Forwarded-Host",
			"servers {\n trusted_proxies static 127.0.0.0/8\n}", "",
			"reverse_proxy 127.0.0.1:{{.Port}} {\n header_up X-Forwarded-Host {http.request.host}\n" +
				" header_up X-Forwarded-Port {http.request.port}\n}",
			[][3]string{{"GET", "/photos", "/photos"}},
		},
	} {
		t.Run(proxy.name, func(t *testing.T) {
			up := newUpstream(t)
			front := freePort(t)
			srv := startServer(t, site{
				Vars:   map[string]string{"Front": front},
				Global: proxy.global,
				OAuth1: proxy.oauth1,
				More:   "http://127.0.0.1:{{.Front}} {\n" + proxy.front + "\n}",
			}, up.URL)
			signs := signer{
				Consumer: demoKey, Secret: demoSecret, Token: srv.issue(t, demoKey, "salgado", "WRITE_PRIVATE", nil),
			}
			for _, c := range proxy.requests {
				req, err := http.NewRequest(c[0], "http://127.0.0.1:"+front+c[1], nil)
				if err != nil {
					t.Fatal(err)
				}
				up.take()
				resp, err := http.DefaultClient.Do(signs.sign(t, req, ""))
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				reached := up.take()
				if resp.StatusCode != http.StatusOK || len(reached) != 1 || reached[0].URI != c[2] ||
					reached[0].Header.Get("X-OAuth-User") != "salgado" {
					t.Errorf("%s %s: %d, and the upstream got %v", c[0], c[1], resp.StatusCode, reached)
				}
			}
		})
	}
}

// TestAddressesThatAreNotWhatTheySeem: it is said, once, if clients can choose their address, or if
// a matcher sees the address of a proxy.
func TestAddressesThatAreNotWhatTheySeem(t *testing.T) {
	t.Parallel()
	const (
		chosen = "clients can choose the address"
		proxy  = "looks at remote_ip"
		trusts = "trusted_proxies static 127.0.0.0/8\n"
	)
	// An attacker at 203.0.113.9 writes the first address, and the proxy adds the second.
	appended, replaced := "10.1.1.1, 203.0.113.9", "203.0.113.9"
	byClient := "@lan client_ip 10.0.0.0/8\npolicy @lan {\n anonymous\n}\npolicy {\n permission READ_PUBLIC\n}"
	byPeer := "@lan remote_ip 127.0.0.0/8\npolicy @lan {\n anonymous\n}\npolicy {\n permission READ_PUBLIC\n}"
	for _, test := range []struct {
		name, server, site, forwarded string
		status                        int
		said                          string
	}{
		{"a proxy that appends", trusts, byClient, appended, 200, chosen},
		{"a proxy that appends, strict", trusts + "trusted_proxies_strict\n", byClient, appended, 401, ""},
		{"a proxy that replaces", trusts, byClient, replaced, 401, ""},
		{"another header", trusts + "client_ip_headers X-Real-IP\n", byClient, appended, 401, ""},
		{"nobody is trusted", "", byClient, appended, 401, ""},
		{"the address of the proxy", trusts + "trusted_proxies_strict\n", byPeer, appended, 200, proxy},
		{"no proxy", "", byPeer, appended, 200, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			matcher, policies, _ := strings.Cut(test.site, "\n")
			global := ""
			if test.server != "" {
				global = "servers {\n" + test.server + "}"
			}
			srv := startServer(t, site{Global: global, Before: matcher, OAuth1: policies, Handler: "respond ok"}, "")
			for range 3 {
				req := srv.request("GET", "/x", nil)
				req.Header.Set("X-Forwarded-For", test.forwarded)
				if err := srv.mustDo(t, req).is(test.status, ""); err != nil {
					t.Error(err)
				}
			}
			srv.waitUntil("the warning", func() error {
				if !strings.Contains(srv.log.String(), test.said) {
					return errors.New("is not said")
				}
				return nil
			})
			log := srv.log.String()
			for _, text := range []string{chosen, proxy} {
				want := 0
				if text == test.said {
					want = 1
				}
				if n := strings.Count(log, text); n != want {
					t.Errorf("%q is said %d times, not %d", text, n, want)
				}
			}
		})
	}
}
