package integration

import (
	"net/http"
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
