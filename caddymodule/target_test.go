package caddymodule

import (
	"net/http/httptest"
	"testing"
)

// TestAdmit: a request without a plain target or method is refused before the endpoints and the
// directive's own matcher.
func TestAdmit(t *testing.T) {
	site := newTestSiteWith(t, "@api path /v1/*", "policy @api {\n anonymous\n}")
	for name, test := range map[string]struct {
		method, target, proto, protocol string
		reason                          string
	}{
		"a path":                               {"GET", "/v1/x", "HTTP/1.1", "", ""},
		"an opaque URL":                        {"GET", "mail:v1/x", "HTTP/1.1", "", "target_invalid"},
		"a tunnel":                             {"CONNECT", "h:80", "HTTP/1.1", "", "target_invalid"},
		"a tunnel by path":                     {"CONNECT", "/v1/x", "HTTP/1.1", "", "method_invalid"},
		"a tunnel over HTTP/2":                 {"CONNECT", "/v1/x", "HTTP/2.0", "", "method_invalid"},
		"a WebSocket over HTTP/1.1":            {"CONNECT", "/v1/x", "HTTP/1.1", "websocket", "method_invalid"},
		"a WebSocket over HTTP/2":              {"CONNECT", "/v1/x", "HTTP/2.0", "websocket", ""},
		"another protocol over HTTP/2":         {"CONNECT", "/v1/x", "HTTP/2.0", "connect-udp", "method_invalid"},
		"a WebSocket over HTTP/3":              {"CONNECT", "/v1/x", "websocket", "", ""},
		"a method in lower case":               {"get", "/v1/x", "HTTP/1.1", "", "method_invalid"},
		"a method with a letter of lower case": {"GEt", "/v1/x", "HTTP/1.1", "", "method_invalid"},
		"at an endpoint":                       {"post", "/+request-token", "HTTP/1.1", "", "method_invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "http://api.test/v1/x", nil)
			r.Method, r.RequestURI, r.Proto = test.method, test.target, test.proto
			r.ProtoMajor = map[string]int{"HTTP/1.1": 1, "HTTP/2.0": 2, "websocket": 3}[test.proto]
			if test.protocol != "" {
				r.Header[":protocol"] = []string{test.protocol}
			}
			w, upstream := site.serve(r)
			if (upstream == nil) != (test.reason != "") || (test.reason != "") != (w.Code == 400) {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			if upstream != nil && (upstream.Method != test.method || upstream.placeholders.ReplaceAll("{http.request.method}", "") != test.method) {
				t.Errorf("the upstream gets %s", upstream.Method)
			}
		})
	}
}
