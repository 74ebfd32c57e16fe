package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// cookbook has the test of each recipe of docs/cookbook.md, by the recipe's heading. The recipes
// are loaded exactly as they stand in the file.
var cookbook = map[string]func(t *testing.T, recipe string){
	"Everybody reads, signed requests write": tryOpenReads,
	"An admin area for named consumers":      tryAdminArea,
	"Tenants by context":                     tryTenants,
	"Behind a load balancer that ends TLS":   tryLoadBalancer,
	"The pages behind a login by Authelia":   tryAuthelia,
	"CORS: Caddy answers the browser":        tryCORSOfCaddy,
	"CORS: the API answers the browser":      tryCORSOfTheAPI,
	"CORS: the token endpoints as well":      tryCORSOfTheEndpoints,
	"Refusals in the access log":             tryAccessLog,
	"Refusals in the words of X":             tryX,
	"Refusals in the words of Magento":       tryMagento,
	"Refusals in the words of MediaWiki":     tryMediaWiki,
}

func TestCookbook(t *testing.T) {
	recipes := fencedBlocks(t, "caddyfile")
	for heading, try := range cookbook {
		t.Run(heading, func(t *testing.T) {
			if recipes[heading] == "" {
				t.Fatal("docs/cookbook.md has no such recipe")
			}
			try(t, recipes[heading])
		})
	}
	for heading := range recipes {
		if cookbook[heading] == nil {
			t.Errorf("nothing tries the recipe %q", heading)
		}
	}
}

// fencedBlocks returns the code blocks of a language in docs/cookbook.md, by the headings above
// them.
func fencedBlocks(t *testing.T, language string) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../docs/cookbook.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := make(map[string]string)
	heading, block, inside := "", "", ""
	for line := range strings.Lines(string(text)) {
		name, isHeading := strings.CutPrefix(line, "## ")
		fence, isFence := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "```")
		switch {
		case isFence && inside == "":
			inside, block = fence, ""
		case isFence:
			if inside == language {
				if blocks[heading] != "" {
					t.Errorf("%q has two blocks of %s", heading, language)
				}
				blocks[heading] = block
			}
			inside = ""
		case inside != "":
			block += line
		case isHeading:
			heading = strings.TrimSpace(name)
		}
	}
	if inside != "" {
		t.Errorf("the last block under %q has no end", heading)
	}
	return blocks
}

// startRecipe starts a server whose site is the recipe in front of the upstream. It adds oauth1 if
// the recipe does not have it.
func startRecipe(t *testing.T, recipe, upstream string) *server {
	t.Helper()
	if !strings.Contains(recipe, "oauth1\n") && !strings.Contains(recipe, "oauth1 {") {
		recipe += "\noauth1\n"
	}
	s := ownSite(t, "forward_auth /before/* 127.0.0.1:1 {\n\turi /\n}\n"+recipe+"\nreverse_proxy {{.Upstream}}")
	s.App = demoApp + "max_request_tokens 3\n"
	return startServer(t, s, upstream)
}

// tokenEndpoints are the paths of a recipe's site.
type tokenEndpoints struct{ request, access string }

var (
	ownEndpoints       = tokenEndpoints{"/+request-token", "/+access-token"}
	mediaWikiEndpoints = tokenEndpoints{
		"/w/index.php?title=Special%3AOAuth%2Finitiate", "/w/index.php?title=Special:OAuth/token",
	}
)

// refusals returns requests that a recipe's site refuses, by their faults.
func (srv *server) refusals(t *testing.T, at tokenEndpoints) map[string]*http.Request {
	t.Helper()
	now := strconv.FormatInt(time.Now().Unix(), 10)
	reader := signer{
		Consumer: demoKey, Secret: demoSecret, Token: srv.issue(t, demoKey, "salgado", "READ_PUBLIC", nil),
	}
	client := signer{Consumer: demoKey, Secret: demoSecret}
	once := reader
	once.Nonce, once.Timestamp = newNonce(), now
	want(t, "a good request", srv.mustDo(t, once.sign(t, srv.request("GET", "/x", nil), "")), http.StatusOK, "")
	srv.mustAdmin(t, "POST", "/oauth1/consumers", object{"key": "off", "secret": "s"})
	srv.mustAdmin(t, "PATCH", "/oauth1/consumers/off", object{"disabled": true})

	requests := map[string]*http.Request{
		"no credentials":       srv.request("GET", "/x", nil),
		"an unknown method":    srv.request("GET", "/x?oauth_consumer_key=x&oauth_signature_method=MD5", nil),
		"no signature":         srv.request("GET", "/x?oauth_consumer_key=x&oauth_signature_method=HMAC-SHA1", nil),
		"a nonce twice":        srv.request("GET", "/x?oauth_nonce=1&oauth_nonce=2", nil),
		"endpoint: nothing":    srv.request("POST", at.request, nil),
		"endpoint: the method": srv.request("PUT", at.request, nil),
	}
	for name, c := range map[string]struct {
		from         signer
		method, path string
		change       func(*signer)
	}{
		"the signature":  {reader, "GET", "/x", func(s *signer) { s.Secret = "wrong" }},
		"the consumer":   {reader, "GET", "/x", func(s *signer) { s.Consumer = `no"bo\dy&` }},
		"it is disabled": {client, "GET", "/x", func(s *signer) { s.Consumer, s.Secret = "off", "s" }},
		"no token":       {client, "GET", "/x", func(*signer) {}},
		"the token":      {reader, "GET", "/x", func(s *signer) { s.Token.Key = `no"ne` }},
		"the timestamp":  {reader, "GET", "/x", func(s *signer) { s.Timestamp = "1" }},
		"the nonce":      {once, "GET", "/x", func(*signer) {}},
		"the permission": {reader, "POST", "/x", func(*signer) {}},

		"endpoint: the signature": {client, "POST", at.request, func(s *signer) { s.Secret = "wrong" }},
		"endpoint: the consumer":  {client, "POST", at.request, func(s *signer) { s.Consumer = "none" }},
		"endpoint: the timestamp": {client, "POST", at.request, func(s *signer) { s.Timestamp = "1" }},
		"endpoint: the callback": {client, "POST", at.request, func(s *signer) {
			s.Extra = []pair{{"oauth_callback", "nowhere"}}
		}},
		"endpoint: the token": {reader, "POST", at.access, func(s *signer) { s.Token.Key = "none" }},
		"endpoint: the verifier": {client, "POST", at.access, func(s *signer) {
			s.Token, s.Extra = srv.reviewed(t, at, client), []pair{{"oauth_verifier", "wrong"}}
		}},
	} {
		s := c.from
		c.change(&s)
		requests[name] = s.sign(t, srv.request(c.method, c.path, nil), "")
	}
	return requests
}

// reviewed returns a request token that a user has granted. Nobody has its verifier.
func (srv *server) reviewed(t *testing.T, at tokenEndpoints, client signer) token {
	t.Helper()
	client.Extra = []pair{{"oauth_callback", "oob"}}
	got := srv.mustDo(t, client.sign(t, srv.request("POST", at.request, nil), ""))
	tok, err := parseToken(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	srv.review(t, tok.Key, "salgado", "READ_PUBLIC", nil)
	return tok
}

// wantRefusals sends all the refusals, and checks the status, type and body of each answer.
func (srv *server) wantRefusals(
	t *testing.T, at tokenEndpoints, contentType string, answers map[string]reply,
) {
	t.Helper()
	requests := srv.refusals(t, at)
	for name, answer := range answers {
		if requests[name] == nil {
			t.Fatalf("there is no refusal %q", name)
		}
		got := srv.mustDo(t, requests[name])
		want(t, name, got, answer.Status, answer.Body)
		if gotType := got.Header.Get("Content-Type"); gotType != contentType {
			t.Errorf("%s: Content-Type %q", name, gotType)
		}
	}
}

// wantTooMany checks the answer to a request that may be sent again later.
func (srv *server) wantTooMany(t *testing.T, at tokenEndpoints, body string) {
	t.Helper()
	client := signer{Consumer: demoKey, Secret: demoSecret}
	var got reply
	for range 4 {
		got = srv.mustDo(t, client.sign(t, srv.request("POST", at.request, nil), ""))
	}
	want(t, "too many", got, http.StatusServiceUnavailable, body)
	if got.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

// wantOthersAlone checks that the recipe's error routes leave errors of other handlers and of the
// API unchanged.
func (srv *server) wantOthersAlone(t *testing.T, up *upstream) {
	t.Helper()
	got := srv.mustDo(t, srv.request("GET", "/before/x", nil))
	if got.Status != http.StatusBadGateway || got.Body != "" {
		t.Errorf("a handler before fails: %d %q, want an empty 502", got.Status, got.Body)
	}
	tok := srv.issue(t, demoKey, "salgado", "READ_PUBLIC", nil)
	s := signer{Consumer: demoKey, Secret: demoSecret, Token: tok}
	up.Close()
	got = srv.mustDo(t, s.sign(t, srv.request("GET", "/x", nil), ""))
	if got.Status != http.StatusBadGateway || got.Body != "" {
		t.Errorf("the API is down: %d %q, want an empty 502", got.Status, got.Body)
	}
}

const callbackOfX = "Callback URL not approved for this client application. " +
	"Approved callback URLs can be adjusted in your application settings"

func tryX(t *testing.T, recipe string) {
	up := newUpstream(t)
	srv := startRecipe(t, recipe, up.URL)
	answers := make(map[string]reply)
	for name, c := range map[string]struct {
		status, code int
		message      string
	}{
		"no credentials":          {400, 215, "Bad Authentication data."},
		"no token":                {400, 215, "Bad Authentication data."},
		"an unknown method":       {400, 215, "Bad Authentication data."},
		"no signature":            {400, 215, "Bad Authentication data."},
		"a nonce twice":           {400, 215, "Bad Authentication data."},
		"the signature":           {401, 32, "Could not authenticate you."},
		"the consumer":            {401, 32, "Could not authenticate you."},
		"the nonce":               {401, 32, "Could not authenticate you."},
		"it is disabled":          {401, 416, "Invalid / suspended application"},
		"the token":               {401, 89, "Invalid or expired token."},
		"the timestamp":           {401, 135, "Timestamp out of bounds."},
		"the permission":          {403, 220, "Your credentials do not allow access to this resource."},
		"endpoint: nothing":       {400, 215, "Bad Authentication data."},
		"endpoint: the method":    {405, 32, "Could not authenticate you."},
		"endpoint: the signature": {401, 32, "Could not authenticate you."},
		"endpoint: the consumer":  {401, 32, "Could not authenticate you."},
		"endpoint: the timestamp": {401, 135, "Timestamp out of bounds."},
		"endpoint: the callback":  {403, 415, callbackOfX},
		"endpoint: the token":     {401, 89, "Invalid or expired token."},
		"endpoint: the verifier":  {401, 32, "Could not authenticate you."},
	} {
		type xError struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		}
		body, err := json.Marshal(map[string][]xError{"errors": {{c.code, c.message}}})
		if err != nil {
			t.Fatal(err)
		}
		answers[name] = reply{Status: c.status, Body: string(body)}
	}
	srv.wantRefusals(t, ownEndpoints, "application/json; charset=utf-8", answers)
	srv.wantTooMany(t, ownEndpoints, `{"errors":[{"code":130,"message":"Over capacity"}]}`)
	srv.wantOthersAlone(t, up)
}

func tryMagento(t *testing.T, recipe string) {
	up := newUpstream(t)
	srv := startRecipe(t, recipe, up.URL)
	answers := make(map[string]reply)
	for name, c := range map[string]struct {
		status  int
		problem string
	}{
		"no credentials":          {400, "parameter_absent&oauth_parameters_absent=oauth_consumer_key"},
		"no token":                {400, "parameter_absent&oauth_parameters_absent=oauth_token"},
		"an unknown method":       {400, "signature_method_rejected"},
		"no signature":            {400, "parameter_absent&oauth_parameters_absent=oauth_signature"},
		"a nonce twice":           {400, "parameter_rejected&oauth_parameters_rejected=oauth_nonce"},
		"the signature":           {401, "signature_invalid"},
		"the consumer":            {401, "consumer_key_rejected"},
		"it is disabled":          {401, "consumer_key_rejected"},
		"the token":               {401, "token_rejected"},
		"the timestamp":           {400, "timestamp_refused"},
		"the nonce":               {401, "nonce_used"},
		"the permission":          {401, "permission_denied"},
		"endpoint: nothing":       {400, "parameter_absent&oauth_parameters_absent=oauth_consumer_key"},
		"endpoint: the method":    {405, "method_not_allowed"},
		"endpoint: the signature": {401, "signature_invalid"},
		"endpoint: the consumer":  {401, "consumer_key_rejected"},
		"endpoint: the timestamp": {400, "timestamp_refused"},
		"endpoint: the callback":  {400, "parameter_rejected&oauth_parameters_rejected=oauth_callback"},
		"endpoint: the token":     {401, "token_rejected"},
		"endpoint: the verifier":  {401, "verifier_invalid"},
	} {
		answers[name] = reply{Status: c.status, Body: "oauth_problem=" + c.problem}
	}
	srv.wantRefusals(t, ownEndpoints, formType, answers)
	srv.wantTooMany(t, ownEndpoints, "oauth_problem=consumer_key_refused")
	srv.wantOthersAlone(t, up)
}

func tryMediaWiki(t *testing.T, recipe string) {
	up := newUpstream(t)
	srv := startRecipe(t, recipe, up.URL)
	texts := make(map[string]reply)
	for name, text := range map[string]string{
		"endpoint: nothing":       "No consumer key specified.",
		"endpoint: the method":    "Method not allowed.",
		"endpoint: the signature": "Invalid signature",
		"endpoint: the consumer":  "Invalid consumer",
		"endpoint: the timestamp": "Expired timestamp",
		"endpoint: the callback":  "oauth_callback: it is not an absolute URL.",
		"endpoint: the token":     "Invalid token: none",
		"endpoint: the verifier":  "Invalid OAuth verifier.",
	} {
		texts[name] = reply{Status: 200, Body: "Error: An error occurred in the OAuth protocol: " + text}
	}
	srv.wantRefusals(t, mediaWikiEndpoints, "text/plain; charset=utf-8", texts)
	got := srv.mustDo(t, srv.request("POST", mediaWikiEndpoints.request, nil))
	if got.Header.Get("WWW-Authenticate") != "" || got.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("a refusal with status 200 has the headers %v", got.Header)
	}
	srv.mustAdmin(t, "DELETE", "/oauth1/consumers/off", nil)

	objects := make(map[string]reply)
	for name, c := range map[string][2]string{
		"no credentials": {"mwoauth-invalid-authorization", "OAuth credentials required."},
		"a nonce twice":  {"mwoauth-invalid-authorization", "oauth_nonce: sent twice."},
		"the signature":  {"mwoauth-invalid-authorization", "Invalid signature"},
		"the consumer":   {"mwoauth-invalid-authorization", "Invalid consumer"},
		"it is disabled": {"mwoauth-invalid-authorization", "Disabled consumer (off)."},
		"the token":      {"mwoauth-invalid-authorization", "Invalid token: no’ne"},
		"the timestamp":  {"mwoauth-invalid-authorization", "Expired timestamp"},
		"the nonce":      {"mwoauth-invalid-authorization", "Nonce already used"},
		"the permission": {"permissiondenied", "This request needs the permission WRITE_PUBLIC."},
	} {
		info := c[1]
		if c[0] != "permissiondenied" {
			info = "The authorization headers in your request are not valid: " + info
		}
		type mwError struct {
			Code string `json:"code"`
			Info string `json:"info"`
		}
		body, err := json.Marshal(map[string]mwError{"error": {c[0], info}})
		if err != nil {
			t.Fatal(err)
		}
		objects[name] = reply{Status: 200, Body: string(body)}
	}
	srv.wantRefusals(t, mediaWikiEndpoints, "application/json; charset=utf-8", objects)
	srv.wantTooMany(t, mediaWikiEndpoints,
		"Too many request tokens are waiting for this consumer. Try again later.")
	srv.wantOthersAlone(t, up)
}

func tryAccessLog(t *testing.T, recipe string) {
	up := newUpstream(t)
	srv := startRecipe(t, recipe, up.URL)
	line := func(send *http.Request) object {
		t.Helper()
		before := len(srv.log.String())
		srv.mustDo(t, send)
		var entry object
		srv.waitUntil("the request is logged", func() error {
			for line := range strings.Lines(srv.log.String()[before:]) {
				if strings.Contains(line, `"logger":"http.log.access`) {
					return json.Unmarshal([]byte(line), &entry)
				}
			}
			return os.ErrNotExist
		})
		return entry
	}
	requests := srv.refusals(t, ownEndpoints)
	for name, c := range map[string][3]any{
		"the token":              {"token_unknown", "demo", "no’ne"},
		"the consumer":           {"consumer_unknown", "no’bo?dy?", nil},
		"the permission":         {"policy_permission", "demo", nil},
		"no credentials":         {"credentials_required", "", ""},
		"endpoint: the consumer": {"consumer_unknown", "none", ""},
		"endpoint: the token":    {"token_unknown", "demo", "none"},
	} {
		entry := line(requests[name])
		if entry["oauth_refusal"] != c[0] || entry["oauth_refused_consumer"] != c[1] ||
			c[2] != nil && entry["oauth_refused_token"] != c[2] {
			t.Errorf("%s is logged as %v", name, entry)
		}
	}
	tok := srv.issue(t, demoKey, "salgado", "READ_PUBLIC", nil)
	passed := signer{Consumer: demoKey, Secret: demoSecret, Token: tok}
	entry := line(passed.sign(t, srv.request("GET", "/x", nil), ""))
	if entry["oauth_refused_consumer"] != "" || entry["oauth_refused_token"] != "" {
		t.Errorf("an accepted request is logged as %v", entry)
	}
}

// readBy sends a refused request with a foreign client, and returns the error that the client
// reports.
func (srv *server) readBy(t *testing.T, client string, s signer) string {
	t.Helper()
	var got struct {
		Text  string
		Codes []int
	}
	drive(t, python(t, "refused_driver.py", client), object{
		"client": client, "root": srv.origin() + "/", "consumer": s.Consumer, "consumer_secret": s.Secret,
		"token": s.Token.Key, "secret": s.Token.Secret,
	}, noQuestions(t), &got)
	return fmt.Sprint(got.Codes, " ", got.Text)
}

// TestCookbookClients: clients of X and MediaWiki understand the recipes' answers.
func TestCookbookClients(t *testing.T) {
	recipes := fencedBlocks(t, "caddyfile")
	up := newUpstream(t)
	t.Run("tweepy", func(t *testing.T) {
		python(t, "refused_driver.py", "tweepy")
		srv := startRecipe(t, recipes["Refusals in the words of X"], up.URL)
		unknown := signer{Consumer: demoKey, Secret: demoSecret, Token: token{"none", "x"}}
		wrong := unknown
		wrong.Token = srv.issue(t, demoKey, "salgado", "READ_PUBLIC", nil)
		wrong.Secret = "wrong"
		for want, s := range map[string]signer{
			"[89] Unauthorized: Invalid or expired token.":   unknown,
			"[32] Unauthorized: Could not authenticate you.": wrong,
		} {
			if got := srv.readBy(t, "tweepy", s); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	})
	t.Run("mwoauth", func(t *testing.T) {
		python(t, "refused_driver.py", "mwoauth")
		srv := startRecipe(t, recipes["Refusals in the words of MediaWiki"], up.URL)
		const protocol = "[] An error occurred in the OAuth protocol: "
		for want, s := range map[string]signer{
			protocol + "Invalid signature": {Consumer: demoKey, Secret: "wrong"},
			protocol + "Invalid consumer":  {Consumer: "nobody", Secret: "x"},
		} {
			if got := srv.readBy(t, "mwoauth", s); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	})
}
