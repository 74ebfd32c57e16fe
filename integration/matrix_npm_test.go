package integration

import (
	"os"
	"path/filepath"
	"testing"
)

// npmClient is the command line of a driver in clients/node, for a row of the matrix.
func npmClient(pkg, driver string, args ...string) func(t *testing.T) []string {
	return func(t *testing.T) []string {
		t.Helper()
		node := requireProgram(t, "node")
		if _, err := os.Stat(filepath.Join("clients", "node", "node_modules", pkg)); err != nil {
			missing(t, "the npm package "+pkg+" is not installed: run npm ci in integration/clients/node")
		}
		return append([]string{node, filepath.Join("clients", "node", driver)}, args...)
	}
}

var npmClients = []matrixClient{
	{
		name: "oauth", from: "npm oauth", what: "any API, and what stands on it, such as passport-oauth1",
		legs: []string{"callback", "oob"}, placements: []string{"header"},
		methods: []string{"HMAC-SHA1", "HMAC-SHA256", "RSA-SHA1", "PLAINTEXT"},
		program: npmClient("oauth", "driver.js"),
	},
	{
		name: "oauth-1.0a with axios", from: "npm oauth-1.0a, axios", what: "any API, in Node.js and in browsers",
		legs: []string{"callback", "oob"}, methods: everyMethod, placements: []string{"header", "query", "body"},
		program: npmClient("oauth-1.0a", "oauth-1.0a.js", "axios"),
	},
	{
		name: "oauth-1.0a with node's http", from: "npm oauth-1.0a", what: "any API, in Node.js",
		legs: []string{"callback", "oob"}, methods: everyMethod, placements: []string{"header", "query", "body"},
		program: npmClient("oauth-1.0a", "oauth-1.0a.js", "http"),
	},
	{
		name: "passport-oauth1", from: "npm passport-oauth1", what: "logins of web sites, with Express",
		legs: []string{"callback"}, placements: []string{"header"},
		methods: []string{"HMAC-SHA1", "RSA-SHA1", "PLAINTEXT"},
		program: npmClient("passport-oauth1", "passport.js"),
	},
	{
		name: "request", from: "npm request", what: "any API; deprecated, and in many programs",
		legs: []string{"callback", "oob"}, placements: []string{"header", "query", "body"},
		methods: []string{"HMAC-SHA1", "HMAC-SHA256", "RSA-SHA1", "PLAINTEXT"},
		program: npmClient("request", "request.js"),
	},
	{
		name: "twitter-api-v2", from: "npm twitter-api-v2", what: "X, Twitter",
		legs: []string{"callback", "oob"}, methods: []string{"HMAC-SHA1"}, placements: []string{"header"},
		program: npmClient("twitter-api-v2", "twitter.js"),
	},
	{
		name: "Postman", from: "npm postman-runtime", what: "Postman and Newman",
		legs: []string{"callback", "oob"}, methods: everyMethod, placements: []string{"header", "query", "body"},
		program: npmClient("postman-runtime", "postman.js"),
	},
	{
		name: "Postman with body hashes", from: "npm postman-runtime", what: "Postman and Newman",
		legs: []string{"callback"}, placements: []string{"header", "query", "body"},
		methods: []string{"HMAC-SHA1", "HMAC-SHA256", "HMAC-SHA512", "RSA-SHA1", "RSA-SHA256", "RSA-SHA512"},
		program: npmClient("postman-runtime", "postman.js", "body-hash"),
	},
	{
		name: "mastercard-oauth1-signer", from: "npm mastercard-oauth1-signer", what: "Mastercard's APIs",
		twoLegged: true, methods: []string{"RSA-SHA256"}, placements: []string{"header"},
		program: npmClient("mastercard-oauth1-signer", "mastercard.js"),
	},
	{
		name: "ims-lti", from: "npm ims-lti", what: "LTI 1.1 launches and outcomes",
		twoLegged: true, methods: []string{"HMAC-SHA1"}, placements: []string{"header"},
		program: npmClient("ims-lti", "lti.js"),
	},
	{
		name: "magento-api-rest", from: "npm magento-api-rest", what: "Magento's REST API",
		methods: []string{"HMAC-SHA1", "HMAC-SHA256"}, placements: []string{"header"},
		program: npmClient("magento-api-rest", "magento.js"),
	},
}
