package integration

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func nodeOAuth(t *testing.T) []string {
	t.Helper()
	node := requireProgram(t, "node")
	if _, err := os.Stat(filepath.Join("clients", "node", "node_modules", "oauth")); err != nil {
		missing(t, "the npm package oauth is not installed: run npm ci in integration/clients/node")
	}
	return []string{node, filepath.Join("clients", "node", "driver.js")}
}

func TestNodeOAuthSignsAwkwardRequests(t *testing.T) {
	program := nodeOAuth(t)
	client := foreignClient{
		wrong: map[string]string{
			"repeated parameters":                   "it signs a=1&a=2 as a[0]=1&a[1]=2",
			"repeated parameters, already in order": "it signs a=1&a=2 as a[0]=1&a[1]=2",
			"a form and a query":                    "where the form and the query share a name, it signs only the query's",
			"a form written by hand":                "it signs only forms that it encodes itself",
		},
		unable: map[string]string{
			"JSON by PATCH": "it has no PATCH",
		},
	}
	client.send = func(t *testing.T, origin, method string, s secrets, requests []awkward) []sent {
		args := credentials(method, s)
		maps.Copy(args, object{"do": "requests", "root": origin + "/", "version": "1.0", "requests": requests})
		var got []sent
		drive(t, program, args, noQuestions(t), &got)
		return got
	}
	signsAwkwardRequests(t, client, "HMAC-SHA1", "HMAC-SHA256", "RSA-SHA1", "PLAINTEXT")
}

func TestNodeOAuthFollowsTheThreeLeggedFlow(t *testing.T) {
	program := nodeOAuth(t)
	up := newUpstream(t)
	srv := startServer(t, site{OAuth1: "signature_methods HMAC-SHA1 HMAC-SHA256 PLAINTEXT"}, up.URL)
	for _, c := range []struct{ name, method, callback, version string }{
		{"with a callback", "HMAC-SHA1", "https://client.example/ready?a=b%20c", "1.0"},
		{"with oob", "HMAC-SHA256", "oob", "1.0"},
		{"with PLAINTEXT", "PLAINTEXT", "https://client.example/ready", "1.0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			followsTheFlow(t, srv, up, program, object{
				"method": c.method, "callback": c.callback, "version": c.version, "consumer": demoKey, "consumer_secret": demoSecret,
			})
		})
	}
}

// The version in its README's example is not one of RFC 5849, section 3.1.
func TestNodeOAuthsOwnVersionIsRefused(t *testing.T) {
	srv := startServer(t, site{Handler: "respond ok"}, "")
	err := tryDrive(t, nodeOAuth(t), object{
		"do": "flow", "root": srv.origin() + "/", "method": "HMAC-SHA1", "callback": "oob", "version": "1.0A",
		"consumer": demoKey, "consumer_secret": demoSecret,
	}, noQuestions(t), &flow{})
	if err == nil || !strings.Contains(err.Error(), `oauth_version: not "1.0".`) {
		t.Errorf("%v, want a refusal that names the version", err)
	}
}
