package integration

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// npmClient returns the command line of a driver in clients/node, for a row of the matrix.
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

// bracketed is the fault of npm's oauth with a repeated name.
var bracketed = fault{
	why:    "It signs `a=1&a=2` of a query as `a[0]=1&a[1]=2`, and sends `a=1&a=2`.",
	remedy: "Use each name once, or name them `a[0]` and `a[1]` yourself.",
}

// cutOff is request's fault: its Content-Length is that of the form alone.
var cutOff = fault{
	why: "It counts the form for Content-Length before it adds the OAuth parameters, so that they are " +
		"cut off.",
	remedy: "Leave `transport_method` at its default, header.",
	shows: func(seen []*exchange) error {
		if len(seen) != 1 || bytes.Contains(seen[0].body, []byte("oauth_")) ||
			seen[0].status != http.StatusUnauthorized {
			return fmt.Errorf("%d requests, none or the first of which has OAuth parameters", len(seen))
		}
		return nil
	},
}

// oneLevel is request's fault with names that contain brackets.
var oneLevel = fault{
	why:    "It signs `user[tags][]=1` of a form as `user[tags]=1`, and sends `user[tags][]=1`.",
	remedy: "Use one pair of brackets at most, and none that is empty, or send JSON.",
}

// tokenTwice is the fault of twitter-api-v2's login().
const tokenTwice = "`login()` sends oauth_token in the header and once more in the form, and signs it once."

// unencodedHash is the fault of mastercard-oauth1-signer: a base64 text of a SHA-256 ends in =.
var unencodedHash = fault{
	why: "It puts oauth_body_hash into the signature base string as it is, not percent-encoded.",
	remedy: "Add two lines: `const { getBodyHash } = oauth` and " +
		"`oauth.getBodyHash = (body) => encodeURIComponent(getBodyHash(body))`.",
}

// Faults of axios-oauth-1.0a: it hashes every body that it can't write as JSON. It does so with
// forms, too, because it does not find axios 1's Content-Type.
var (
	formHash = fault{
		why:    "It does not sign a form, and sends the body hash of `{}` for `URLSearchParams`.",
		remedy: "Send the form as text, `String(params)`, whose hash covers it.",
		shows:  wrongBodyHash,
	}
	multipartHash = fault{
		why:    "It sends the body hash of `{}` for `FormData`.",
		remedy: "Set `includeBodyHash: false` for it.",
		shows:  wrongBodyHash,
	}
)

func wrongBodyHash(seen []*exchange) error {
	if len(seen) != 1 || !bytes.Contains(seen[0].answer, []byte("Invalid body hash.")) {
		return fmt.Errorf("%d requests, none with a wrong body hash", len(seen))
	}
	return nil
}

// queryTwice is the fault of @woocommerce/woocommerce-rest-api.
var queryTwice = fault{
	why: "It sends each parameter of a query twice, and signs it once.",
	remedy: "Set `axiosConfig: { paramsSerializer: { serialize } }`, where `serialize` writes only the " +
		"parameters that begin with oauth_.",
}

const (
	aLaunch      = "It sends the form of a launch, with the OAuth parameters in it."
	launchesOnly = "It sends launches and outcomes only."
	magentoOnly  = "It sends search criteria and JSON only."
	noFileName   = "It sends the file without its name."
	jiraOnly     = "It sends Jira's own requests only."
	noForms      = "It signs no forms."
	lastValue    = "It sends only the last of several values of a name."

	xOnly = "Its URLs are X's: a plugin with `onBeforeRequestConfig({ params })` changes `params.url`, " +
		"and sets `params.forceParseMode` to `url` for the two token URLs."
)

var npmClients = []matrixClient{
	{
		name: "oauth", from: "npm oauth", what: "any API",
		legs: []string{"callback", "oob"}, placements: []string{"header"},
		methods: []string{"HMAC-SHA1", "HMAC-SHA256", "RSA-SHA1", "PLAINTEXT"},
		program: npmClient("oauth", "driver.js"),
		setup:   "Its README passes the version 1.0A, which is refused: pass 1.0.",
		faults: map[string]fault{
			"HMAC-SHA1 repeated": bracketed, "HMAC-SHA256 repeated": bracketed, "RSA-SHA1 repeated": bracketed,
		},
	},
	{
		name: "oauth-1.0a with axios", from: "npm oauth-1.0a, axios", what: "any API",
		legs: []string{"callback", "oob"}, methods: everyMethod, placements: []string{"header", "query", "body"},
		program: npmClient("oauth-1.0a", "oauth-1.0a.js", "axios"),
	},
	{
		name: "oauth-1.0a with node's http", from: "npm oauth-1.0a", what: "any API",
		legs: []string{"callback", "oob"}, methods: everyMethod, placements: []string{"header", "query", "body"},
		program: npmClient("oauth-1.0a", "oauth-1.0a.js", "http"),
	},
	{
		name: "axios-oauth-1.0a", from: "npm axios-oauth-1.0a", what: "any API",
		legs: []string{"callback", "oob"}, placements: []string{"header"},
		methods: []string{"HMAC-SHA1", "HMAC-SHA256"},
		program: npmClient("axios-oauth-1.0a", "axios-oauth-1.0a.js"),
		faults:  map[string]fault{"form": formHash, "brackets": formHash, "multipart": multipartHash},
	},
	{
		name: "axios-oauth-1.0a, as footnoted", from: "npm axios-oauth-1.0a", what: "any API",
		legs: []string{"callback"}, placements: []string{"header"},
		methods: []string{"HMAC-SHA1", "HMAC-SHA256"},
		program: npmClient("axios-oauth-1.0a", "axios-oauth-1.0a.js", "helped"),
	},
	{
		name: "passport-oauth1", from: "npm passport-oauth1", what: "logins of web sites, with Express",
		legs: []string{"callback"}, placements: []string{"header"},
		methods: []string{"HMAC-SHA1", "RSA-SHA1", "PLAINTEXT"},
		program: npmClient("passport-oauth1", "passport.js"),
		faults:  map[string]fault{"HMAC-SHA1 repeated": bracketed, "RSA-SHA1 repeated": bracketed},
	},
	{
		name: "request", from: "npm request", what: "any API; deprecated, and still in many programs",
		legs: []string{"callback", "oob"}, placements: []string{"header", "query", "body"},
		methods: []string{"HMAC-SHA1", "HMAC-SHA256", "RSA-SHA1", "PLAINTEXT"},
		program: npmClient("request", "request.js"),
		faults: map[string]fault{
			"HMAC-SHA1 brackets": oneLevel, "HMAC-SHA256 brackets": oneLevel, "RSA-SHA1 brackets": oneLevel,
			"body form": cutOff, "body brackets": cutOff,
		},
	},
	{
		name: "twitter-api-v2", from: "npm twitter-api-v2", what: "X (Twitter)", setup: xOnly,
		legs: []string{"callback", "oob"}, methods: []string{"HMAC-SHA1"}, placements: []string{"header"},
		program:  npmClient("twitter-api-v2", "twitter.js"),
		forgiven: map[string]string{"callback": tokenTwice, "oob": tokenTwice},
		differs:  map[string]string{"repeated": lastValue, "multipart": noFileName},
	},
	{
		name: "Postman", from: "npm postman-runtime", what: "trying out any API; Newman",
		legs: []string{"callback", "oob"}, methods: everyMethod, placements: []string{"header", "query", "body"},
		program: npmClient("postman-runtime", "postman.js"),
	},
	{
		name: "Postman with body hashes", from: "npm postman-runtime", what: "trying out any API; Newman",
		legs: []string{"callback"}, placements: []string{"header"}, methods: everyMethod[:6],
		program: npmClient("postman-runtime", "postman.js", "body-hash"),
	},
	{
		name: "mastercard-oauth1-signer", from: "npm mastercard-oauth1-signer", what: "Mastercard's APIs",
		twoLegged: true, methods: []string{"RSA-SHA256"}, placements: []string{"header"},
		program: npmClient("mastercard-oauth1-signer", "mastercard.js"),
		faults:  everywhere(unencodedHash),
	},
	{
		name: "mastercard-oauth1-signer, as footnoted", from: "npm mastercard-oauth1-signer",
		what:      "Mastercard's APIs",
		twoLegged: true, methods: []string{"RSA-SHA256"}, placements: []string{"header"},
		program: npmClient("mastercard-oauth1-signer", "mastercard.js", "helped"),
	},
	{
		name: "ims-lti", from: "npm ims-lti", what: "LTI 1.1, launches and outcomes",
		twoLegged: true, methods: []string{"HMAC-SHA1"}, placements: []string{"header"},
		program: npmClient("ims-lti", "lti.js"),
		setup: "It signs a launch wrongly where one name is another with a digit after it, as `custom_x` and " +
			"`custom_x1`; and cuts off the XML of an outcome that is not ASCII.",
		differs: map[string]string{
			"form": aLaunch, "brackets": aLaunch,
			"json": "It sends the XML of an outcome, with a body hash.",
		},
		unable: map[string]string{
			"query": launchesOnly, "repeated": launchesOnly, "multipart": launchesOnly, "upload": launchesOnly,
		},
	},
	{
		name: "jira-client", from: "npm jira-client", what: "Jira",
		methods: []string{"HMAC-SHA1", "RSA-SHA1"}, placements: []string{"header"},
		program: npmClient("jira-client", "jira.js"),
		differs: map[string]string{
			"query": "It sends a search for users.", "multipart": "It sends the file alone.",
		},
		unable: map[string]string{
			"repeated": jiraOnly, "form": jiraOnly, "brackets": jiraOnly, "upload": jiraOnly,
		},
	},
	{
		name: "netsuite-rest", from: "npm netsuite-rest", what: "NetSuite",
		methods: []string{"HMAC-SHA256"}, placements: []string{"header"},
		program: npmClient("netsuite-rest", "netsuite.js"),
		unable:  map[string]string{"form": noForms, "brackets": noForms},
	},
	{
		name: "woocommerce-rest-api", from: "npm @woocommerce/woocommerce-rest-api", what: "WooCommerce",
		twoLegged: true, methods: []string{"HMAC-SHA256"}, placements: []string{"query"},
		program: npmClient("@woocommerce/woocommerce-rest-api", "woocommerce.js"),
		faults:  map[string]fault{"query": queryTwice, "repeated": queryTwice},
		unable: map[string]string{
			"form": jsonOnly, "brackets": jsonOnly, "multipart": jsonOnly, "upload": jsonOnly,
		},
	},
	{
		name: "woocommerce-rest-api, as footnoted", from: "npm @woocommerce/woocommerce-rest-api",
		what: "WooCommerce", twoLegged: true, methods: []string{"HMAC-SHA256"}, placements: []string{"query"},
		program: npmClient("@woocommerce/woocommerce-rest-api", "woocommerce.js", "helped"),
		differs: map[string]string{"repeated": "It sends a list as `tag[0]=…&tag[1]=…`."},
		unable: map[string]string{
			"form": jsonOnly, "brackets": jsonOnly, "multipart": jsonOnly, "upload": jsonOnly,
		},
	},
	{
		name: "magento-api-rest", from: "npm magento-api-rest", what: "Magento",
		methods: []string{"HMAC-SHA1", "HMAC-SHA256"}, placements: []string{"header"},
		program: npmClient("magento-api-rest", "magento.js"),
		differs: map[string]string{"query": "It sends Magento's search criteria."},
		unable: map[string]string{
			"repeated": magentoOnly, "form": magentoOnly, "brackets": magentoOnly,
			"multipart": magentoOnly, "upload": magentoOnly,
		},
	},
}

// everywhere is a fault that all requests of a client have.
func everywhere(f fault) map[string]fault {
	all := map[string]fault{}
	for _, r := range matrixRequests("", "") {
		all[r.Name] = f
	}
	return all
}

// The faults in the notes of ims-lti's row.
func TestIMSLTIsOwnFaults(t *testing.T) {
	program := npmClient("ims-lti", "lti.js")(t)
	srv := startServer(t, site{
		App:     "consumer demo {\n\tsecret s3cr3t\n\ttwo_legged salgado WRITE_PRIVATE\n}\n",
		Handler: "respond ok",
	}, "")
	court := newJudge(t, secrets{consumer: demoSecret})
	for _, c := range []struct {
		name, kind, source string
		form               [][2]string
		judged, status     int
		body               string
	}{
		{"a launch", "form", "", [][2]string{{"x", "1"}, {"x_1", "2"}}, 200, 200, "ok"},
		{"a launch with a name that is another and a digit", "form", "", [][2]string{{"x", "1"}, {"x1", "2"}},
			401, 401, "Invalid signature."},
		{"an outcome", "json", "a&b", nil, 200, 200, ""},
		{"an outcome that is not ASCII", "json", "ü", nil, 200, 401, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			send := func(origin string) matrixSent {
				t.Helper()
				r := matrixRequest{Name: c.name, Kind: c.kind, Method: "POST", URL: origin + "/lti", Form: c.form}
				var result matrixResult
				drive(t, program, object{
					"do": "matrix", "consumer": demoKey, "consumer_secret": demoSecret, "source": c.source,
					"requests": []matrixRequest{r},
				}, noQuestions(t), &result)
				return result.Sent[0]
			}
			if got := send(court.URL); got.Status != c.judged {
				t.Errorf("the judge: %d %s%s, want %d", got.Status, got.Body, got.Error, c.judged)
			}
			got := send(srv.origin())
			if got.Status != c.status || strings.TrimSpace(got.Body) != c.body {
				t.Errorf("the server: %d %q %s, want %d %q", got.Status, got.Body, got.Error, c.status, c.body)
			}
		})
	}
}
