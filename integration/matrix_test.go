package integration

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// The matrix: OAuth 1.0a clients that other people wrote, each in every signature method and every place for the OAuth
// parameters that it has. Each gets a token by its own three legs, then sends the same few requests. What they send is
// read off the wire and judged twice, by the naive reader of RFC 5849 in signing_test.go and by the server. A client's
// own faults are claimed in its table, and each claim has to come true. docs/clients.md is written from these tables.

// families are the clients by the language that they are written in, in the order of docs/clients.md.
var families = [][]matrixClient{
	pythonClients,
	npmClients,
	goClients,
}

// A matrixClient is a row of the matrix.
type matrixClient struct {
	name string
	from string // where the tests have it from: "Debian python3-tweepy", "npm oauth", "Go"
	what string // what people use it for, in a few words

	setup string // what its user has to know to use it with this server

	// legs are the ways in which it can get a token: "callback", "oob", or "polling" as Launchpad's clients do. Where
	// there are none its users bring a token along, or sign without one (twoLegged).
	legs       []string
	twoLegged  bool
	methods    []string
	placements []string // "header", "query", "body"

	site      func(t *testing.T) site // what its site needs
	endpoints endpoints               // its paths, where it has its own: a provider's
	consumer  object                  // what its consumer needs, beside a key and a secret

	// program is the command line of its driver (see clients/), or skips the test where it is not installed. A client
	// written in Go is driven by drive instead.
	program func(t *testing.T) []string
	drive   func(t *testing.T, run matrixRun, ask asking) (matrixResult, error)

	// The keys of these are cases, or more precisely METHOD CASE, PLACEMENT CASE, METHOD PLACEMENT CASE.
	// A case is the name of a request, or of a way to get a token, or * for all of them.
	faults  map[string]fault  // what it does wrong
	differs map[string]string // what it sends instead of what was asked for, and rightly so
	unable  map[string]string // what it has no way to do
}

// A fault is something that a client does wrong, by RFC 5849.
type fault struct {
	why    string // what it does wrong
	remedy string // what a team can do about it
	// shows looks at the requests for what is claimed. Where it is nil, the claim is that the signature is wrong.
	shows func([]*exchange) error
}

// An asking is how a driver asks the test to do what a user does in a browser.
type asking func(what string, asked object) object

// A matrixRun is what a driver is told.
type matrixRun struct {
	Do   string `json:"do"` // "matrix"
	Root string `json:"root"`
	// Endpoints are the full URLs; most are Root and a word.
	Endpoints      endpoints       `json:"endpoints"`
	Method         string          `json:"method"`
	Placement      string          `json:"placement"`
	Legs           string          `json:"legs"`     // "callback", "oob", "polling", or "" where the token is given
	Callback       string          `json:"callback"` // a URL, "oob", or ""
	Consumer       string          `json:"consumer"`
	ConsumerSecret string          `json:"consumer_secret"`
	RSAKey         string          `json:"rsa_key"`
	Token          string          `json:"token"`
	Secret         string          `json:"secret"`
	Dir            string          `json:"dir"` // for its files
	Requests       []matrixRequest `json:"requests"`
}

type endpoints struct {
	RequestToken string `json:"request_token"`
	Authorize    string `json:"authorize"`
	AccessToken  string `json:"access_token"`
}

// A matrixRequest is a request that every client is to send.
type matrixRequest struct {
	Name        string      `json:"name"`
	Kind        string      `json:"kind"` // how it is sent: "query", "form", "json", "multipart", "upload"
	Method      string      `json:"method"`
	URL         string      `json:"url"`
	Query       [][2]string `json:"query"` // what stands in the URL's query, decoded
	Form        [][2]string `json:"form"`  // for the client to encode
	Body        string      `json:"body"`
	BodyFile    string      `json:"body_file"` // the path of a file that holds the body
	ContentType string      `json:"content_type"`
	Files       [][4]string `json:"files"` // field, file name, content type, text
}

// A matrixResult is what a driver says at its end. What it says of the answers is checked against the wire.
type matrixResult struct {
	Confirmed string       `json:"confirmed"` // oauth_callback_confirmed, where the client tells
	Token     string       `json:"token"`
	Secret    string       `json:"secret"`
	Sent      []matrixSent `json:"sent"`
}

type matrixSent struct {
	Name   string `json:"name"`
	Status int    `json:"status"`
	Body   string `json:"body"`
	Error  string `json:"error"` // "unable: ..." where the client has no way to send it
	// Path is where it was sent, if the client chooses that itself.
	Path string `json:"path"`
}

const matrixCallback = "http://client.example/ready?x=1"

// matrixRequests returns what is sent, to an origin. The upload is in a file.
func matrixRequests(origin, upload string) []matrixRequest {
	return []matrixRequest{
		{Name: "query", Kind: "query", Method: "GET", URL: origin + "/items/query?q=a%20b%2Bc&u=%C3%BC&empty=&z=1%2F2",
			Query: [][2]string{{"q", "a b+c"}, {"u", "ü"}, {"empty", ""}, {"z", "1/2"}}},
		{Name: "repeated", Kind: "query", Method: "GET", URL: origin + "/items/repeated?tag=b%20c&tag=a&id=1&tag=",
			Query: [][2]string{{"tag", "b c"}, {"tag", "a"}, {"id", "1"}, {"tag", ""}}},
		{Name: "form", Kind: "form", Method: "POST", URL: origin + "/items/form",
			Form: [][2]string{{"a", "b & c=d+e/ü~!*'()"}, {"b", ""}}},
		{Name: "brackets", Kind: "form", Method: "POST", URL: origin + "/items/brackets", // as PHP and Rails name fields
			Form: [][2]string{{"user[name]", "a b"}, {"user[tags][]", "1"}}},
		{Name: "json", Kind: "json", Method: "POST", URL: origin + "/items/json", Body: `{"a":"b&c=d","ü":1}`, ContentType: "application/json"},
		{Name: "multipart", Kind: "multipart", Method: "POST", URL: origin + "/items/multipart", Form: [][2]string{{"note", "b & c=d"}},
			Files: [][4]string{{"file", "notes.txt", "text/plain", "one & two=3\nü\n"}}},
		{Name: "upload", Kind: "upload", Method: "POST", URL: origin + "/items/upload", BodyFile: upload, ContentType: "image/jpeg"},
	}
}

// uploadBytes begin as a JPEG does, and hold every byte.
func uploadBytes() []byte {
	b := []byte{0xFF, 0xD8, 0x00}
	for i := range 100_000 {
		b = append(b, byte(i), byte(i>>8))
	}
	return b[:100_000]
}

var everyMethod = []string{"HMAC-SHA1", "HMAC-SHA256", "HMAC-SHA512", "RSA-SHA1", "RSA-SHA256", "RSA-SHA512", "PLAINTEXT"}

func TestClients(t *testing.T) {
	t.Cleanup(func() { checkClientsPage(t) }) // after the clients, which run in parallel
	upload := filepath.Join(t.TempDir(), "photo.jpg")
	if err := os.WriteFile(upload, uploadBytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, client := range family {
			t.Run(client.name, func(t *testing.T) {
				t.Parallel()
				m := &matrix{client: client, upload: upload}
				m.run(t)
			})
		}
	}
}

// A matrix is the run of one client.
type matrix struct {
	client  matrixClient
	upload  string // path of the file
	up      *upstream
	srv     *server
	program []string
	used    map[string]bool // the claims that came true
}

func (m *matrix) run(t *testing.T) {
	c := m.client
	if c.program != nil {
		m.program = c.program(t)
	}
	m.used = map[string]bool{}
	m.up = newUpstream(t)
	var s site
	if c.site != nil {
		s = c.site(t)
	}
	s.OAuth1 = "signature_methods " + strings.Join(everyMethod, " ") + "\n" + s.OAuth1
	if e := c.endpoints; e != (endpoints{}) {
		s.OAuth1 += fmt.Sprintf("\nendpoints {\n request_token %s\n authorize %s\n access_token %s\n}\n", e.RequestToken, e.Authorize, e.AccessToken)
	}
	m.srv = startServer(t, s, m.up.URL)
	m.addConsumer(t, "matrix", object{"secret": demoSecret})
	m.addConsumer(t, "matrix-rsa", object{"rsa_public_key": publicPEM(t, testKey())})

	for i, method := range c.methods {
		for j, placement := range c.placements {
			t.Run(method+" "+placement, func(t *testing.T) {
				// Every way to get a token is tried once, and one of them everywhere.
				legs := c.legs[:min(1, len(c.legs))]
				if i == 0 && j == 0 {
					legs = c.legs
				}
				if len(legs) == 0 {
					legs = []string{""}
				}
				for _, way := range legs {
					m.walk(t, method, placement, way, way == legs[0])
				}
			})
		}
	}
	for _, key := range slices.Concat(slices.Collect(maps.Keys(c.faults)), slices.Collect(maps.Keys(c.differs)), slices.Collect(maps.Keys(c.unable))) {
		if !m.used[key] && !t.Failed() && !t.Skipped() {
			t.Errorf("the claim about %q was never tried", key)
		}
	}
}

func (m *matrix) addConsumer(t *testing.T, key string, more object) {
	t.Helper()
	consumer := object{"key": key, "name": m.client.name}
	maps.Copy(consumer, m.client.consumer)
	if consumer["secret"] == nil || more["rsa_public_key"] != nil {
		delete(consumer, "secret")
		maps.Copy(consumer, more)
	}
	if m.client.twoLegged {
		consumer["two_legged"] = object{"user": "salgado", "permission": "WRITE_PRIVATE"}
	}
	m.srv.mustAdmin(t, "POST", "/oauth1/consumers", consumer)
}

// walk has the client get a token in one way and, unless it was there before, send the requests with it.
func (m *matrix) walk(t *testing.T, method, placement, legs string, send bool) {
	c := m.client
	w := newWire(t, m.srv)
	paths := c.endpoints
	if paths == (endpoints{}) {
		paths = endpoints{"/+request-token", "/+authorize-token", "/+access-token"}
	}
	run := matrixRun{
		Do: "matrix", Root: w.origin() + "/", Method: method, Placement: placement, Legs: legs, Consumer: "matrix", Dir: t.TempDir(),
		Endpoints: endpoints{w.origin() + paths.RequestToken, w.origin() + paths.Authorize, w.origin() + paths.AccessToken},
		Requests:  []matrixRequest{},
	}
	s := secrets{key: testKey()}
	if strings.HasPrefix(method, "RSA-") {
		run.Consumer, run.RSAKey = "matrix-rsa", privatePEM(testKey())
	} else {
		run.ConsumerSecret = demoSecret
		if own, ok := c.consumer["secret"].(string); ok {
			run.ConsumerSecret = own
		}
		s.consumer = run.ConsumerSecret
	}
	switch legs {
	case "callback":
		run.Callback = matrixCallback
	case "oob":
		run.Callback = "oob"
	case "":
		if !c.twoLegged {
			tok := m.srv.issue(t, run.Consumer, "salgado", "WRITE_PRIVATE", nil)
			run.Token, run.Secret = tok.Key, tok.Secret
		}
	}
	if send {
		for _, r := range matrixRequests(w.origin(), m.upload) {
			if placement != "body" || r.Form != nil && r.Files == nil { // no other body takes parameters
				run.Requests = append(run.Requests, r)
			}
		}
	}

	m.up.take()
	result, err := m.drive(t, run, func(what string, asked object) object {
		if what != "authorize" {
			t.Errorf("the client asked to %s: %v", what, asked)
			return object{}
		}
		address, _ := asked["url"].(string)
		approved := m.srv.approve(t, strings.Replace(address, w.origin(), m.srv.origin(), 1), "salgado", "WRITE_PRIVATE")
		if approved.Redirect != "" {
			return object{"redirect": approved.Redirect}
		}
		return object{"verifier": approved.Verifier}
	})
	exchanges := w.exchanges(t)
	got := token{run.Token, run.Secret}
	if legs != "" {
		if _, claimed := claim(m, c.faults, run, legs); claimed {
			m.checkFailedLegs(t, run, exchanges, err, s)
			if send { // with a token that it need not get
				m.walk(t, method, placement, "", true)
			}
			return
		}
		if got = m.checkLegs(t, run, exchanges, result, err, s); got.Key == "" {
			return
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	s.token = got.Secret
	m.checkRequests(t, run, exchanges, result, s)
}

func (m *matrix) drive(t *testing.T, run matrixRun, ask asking) (result matrixResult, err error) {
	if m.client.drive != nil {
		return m.client.drive(t, run, ask)
	}
	err = tryDrive(t, m.program, run, ask, &result)
	return result, err
}

// claim looks up what a table of the client says of a case, the most precise key first.
func claim[V any](m *matrix, table map[string]V, run matrixRun, name string) (v V, ok bool) {
	both := run.Method + " " + run.Placement
	for _, key := range []string{
		both + " " + name, run.Placement + " " + name, run.Method + " " + name,
		both + " *", run.Placement + " *", run.Method + " *", name,
	} {
		if v, ok = table[key]; ok {
			m.used[key] = true
			return v, true
		}
	}
	return v, false
}

// isAt reports whether the request is for an endpoint, which may be told by its query.
func (x *exchange) isAt(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil || u.Path != x.URL.Path {
		return false
	}
	query := x.URL.Query()
	for name, values := range u.Query() {
		if !slices.Equal(query[name], values) {
			return false
		}
	}
	return true
}

// judged has the naive reader of RFC 5849 judge the request.
func (x *exchange) judged(s secrets) error {
	r := x.Request
	if r.Header.Get("Content-Type") == "" && bytes.Contains(x.body, []byte("oauth_consumer_key=")) {
		// Launchpad's clients: the server reads such a body as the form that it is.
		r = r.Clone(r.Context())
		r.Header.Set("Content-Type", formType)
	}
	err := judge(r, x.body, s)
	if err != nil && strings.Contains(r.Header.Get("Authorization"), "oauth_body_hash=") {
		// Mastercard's clients: a form is covered by its hash, and not signed as a form.
		r = r.Clone(r.Context())
		r.Header.Del("Content-Type")
		err = judge(r, x.body, s)
	}
	return err
}

// judgeLegs has the requests to the endpoints judged, and returns them with the token that was given at the end.
func judgeLegs(t *testing.T, run matrixRun, exchanges []*exchange, s secrets) (seen []*exchange, granted token, confirmed bool) {
	t.Helper()
	for _, x := range exchanges {
		switch {
		case x.isAt(run.Endpoints.RequestToken):
			x.wrong = x.judged(secrets{consumer: s.consumer, key: s.key})
			seen = append(seen, x)
			if x.status == http.StatusOK {
				confirmed = bytes.Contains(x.answer, []byte("oauth_callback_confirmed=true"))
				s.token = readToken(t, x.answer).Secret
			}
		case x.isAt(run.Endpoints.AccessToken):
			x.wrong = x.judged(s)
			seen = append(seen, x)
			if x.status == http.StatusOK {
				granted = readToken(t, x.answer)
			}
		}
	}
	return seen, granted, confirmed
}

// checkFailedLegs checks that the client got no token, by the fault that it is said to have.
func (m *matrix) checkFailedLegs(t *testing.T, run matrixRun, exchanges []*exchange, failed error, s secrets) {
	t.Run(run.Legs, func(t *testing.T) {
		f, _ := claim(m, m.client.faults, run, run.Legs)
		if failed == nil {
			t.Errorf("the client was said to fail (%s), and got a token", f.why)
		}
		seen, _, _ := judgeLegs(t, run, exchanges, s)
		f.check(t, seen)
	})
}

// checkLegs checks how the client got its token, and returns it, or none where something was wrong.
func (m *matrix) checkLegs(t *testing.T, run matrixRun, exchanges []*exchange, result matrixResult, failed error, s secrets) (granted token) {
	t.Run(run.Legs, func(t *testing.T) {
		seen, given, confirmed := judgeLegs(t, run, exchanges, s)
		for _, x := range seen {
			if x.wrong != nil {
				t.Errorf("the judge says of %s %s: %v", x.Method, x.RequestURI, x.wrong)
			}
		}
		if failed != nil {
			for _, x := range seen {
				t.Logf("%s %s: %d %s", x.Method, x.RequestURI, x.status, x.answer)
			}
			t.Fatal(failed)
		}
		if given.Key == "" || given != (token{result.Token, result.Secret}) {
			t.Errorf("the server gave the token %v, the client has %s, %s", given, result.Token, result.Secret)
		}
		if want := run.Legs != "polling"; confirmed != want {
			t.Errorf("oauth_callback_confirmed %v, want %v", confirmed, want)
		}
		if result.Confirmed != "" && result.Confirmed != "true" {
			t.Errorf("the client read oauth_callback_confirmed %q", result.Confirmed)
		}
		if !t.Failed() {
			granted = given
		}
	})
	return granted
}

// readToken reads a token in either of the forms that the endpoints answer in.
func readToken(t *testing.T, answer []byte) token {
	t.Helper()
	var values struct {
		Key    string `json:"oauth_token"`
		Secret string `json:"oauth_token_secret"`
	}
	if json.Unmarshal(answer, &values) == nil {
		return token{values.Key, values.Secret}
	}
	tok, err := parseToken(string(answer))
	if err != nil {
		t.Error(err)
	}
	return tok
}

// check checks that the client does what it is said to do wrong.
func (f fault) check(t *testing.T, seen []*exchange) {
	t.Helper()
	if f.shows != nil {
		if err := f.shows(seen); err != nil {
			t.Errorf("the client was said to be wrong (%s), but: %v", f.why, err)
		}
		return
	}
	wrong := slices.ContainsFunc(seen, func(x *exchange) bool {
		return x.wrong != nil && (x.status == http.StatusUnauthorized || x.status == http.StatusBadRequest)
	})
	if !wrong {
		t.Errorf("the client was said to sign wrongly (%s), and neither the judge nor the server found that", f.why)
	}
	for _, x := range seen {
		if x.wrong != nil && x.status/100 == 2 {
			t.Errorf("%s %s: %d, and the judge says: %v", x.Method, x.RequestURI, x.status, x.wrong)
		}
	}
}

// checkRequests checks what came of the requests.
func (m *matrix) checkRequests(t *testing.T, run matrixRun, exchanges []*exchange, result matrixResult, s secrets) {
	reached := m.up.take()
	for _, r := range run.Requests {
		t.Run(r.Name, func(t *testing.T) {
			i := slices.IndexFunc(result.Sent, func(sent matrixSent) bool { return sent.Name == r.Name })
			if i < 0 {
				t.Fatalf("the driver says nothing of it")
			}
			sent := result.Sent[i]
			if why, claimed := claim(m, m.client.unable, run, r.Name); claimed {
				if !strings.HasPrefix(sent.Error, "unable: ") {
					t.Errorf("the client was said to be unable (%s), and did it: %+v", why, sent)
				}
				return
			}
			path := cmp.Or(sent.Path, mustParse(t, r.URL).Path)
			var seen []*exchange
			for _, x := range exchanges {
				if x.URL.Path == path {
					x.wrong = x.judged(s)
					seen = append(seen, x)
				}
			}
			if f, claimed := claim(m, m.client.faults, run, r.Name); claimed {
				f.check(t, seen)
				return
			}
			if len(seen) == 0 {
				t.Fatalf("nothing was sent to %s: %+v", path, sent)
			}
			x := seen[len(seen)-1]
			if x.wrong != nil {
				t.Errorf("the judge says that the client signed wrongly: %v", x.wrong)
			}
			if x.status != http.StatusOK {
				t.Fatalf("the server answered %d %s", x.status, x.answer)
			}
			if sent.Error != "" || sent.Status != 0 && sent.Status != x.status {
				t.Errorf("the server answered %d, and the client says %+v", x.status, sent)
			}
			j := slices.IndexFunc(reached, func(is received) bool { return mustParse(t, is.URI).Path == path })
			if j < 0 {
				t.Fatal("it did not reach the upstream")
			}
			checkPassed(t, x, reached[j])
			err := r.isSentBy(x)
			if what, claimed := claim(m, m.client.differs, run, r.Name); claimed {
				if err == nil {
					t.Errorf("the client was said to send something else (%s), and did not", what)
				}
			} else if err != nil {
				t.Errorf("the client did not send what it was to send: %v", err)
			}
		})
	}
}

// checkPassed checks that the upstream got the request as the client sent it, without its credentials, and with the user.
func checkPassed(t *testing.T, x *exchange, is received) {
	t.Helper()
	if want := withoutCredentials(x.RequestURI); is.Method != x.Method || is.URI != want {
		t.Errorf("the client sent %s %s, the upstream got %s %s", x.Method, want, is.Method, is.URI)
	}
	if !bytes.Equal(is.Body, x.body) {
		t.Errorf("the client sent %.200q, the upstream got %.200q", x.body, is.Body)
	}
	if sent, got := x.Header.Values("Content-Type"), is.Header.Values("Content-Type"); !slices.Equal(sent, got) {
		t.Errorf("the client sent the type %q, the upstream got %q", sent, got)
	}
	if got := is.Header.Values("X-OAuth-User"); !slices.Equal(got, []string{"salgado"}) || is.Header.Get("Authorization") != "" {
		t.Errorf("the upstream got the user %q and Authorization %q", got, is.Header.Get("Authorization"))
	}
}

// isSentBy says where the exchange is not the request.
func (r matrixRequest) isSentBy(x *exchange) error {
	if x.Method != r.Method {
		return fmt.Errorf("method %s", x.Method)
	}
	query, err := ownPairs(x.URL.RawQuery)
	if err != nil {
		return err
	}
	if !samePairs(query, r.Query) {
		return fmt.Errorf("query %v, want %v", query, r.Query)
	}
	contentType, params, err := mime.ParseMediaType(cmp.Or(x.Header.Get("Content-Type"), "none/none"))
	if err != nil {
		return err
	}
	switch {
	case r.Files != nil:
		return r.isMultipart(x.body, contentType, params["boundary"])
	case r.Form != nil:
		got, err := ownPairs(string(x.body))
		if err != nil {
			return err
		}
		if contentType != formType || !samePairs(got, r.Form) {
			return fmt.Errorf("%s %v, want %v", contentType, got, r.Form)
		}
	case r.BodyFile != "":
		want, err := os.ReadFile(r.BodyFile)
		if err != nil {
			return err
		}
		if contentType != r.ContentType || !bytes.Equal(x.body, want) {
			return fmt.Errorf("%d bytes of %s, want %d of %s", len(x.body), contentType, len(want), r.ContentType)
		}
	case r.Body != "": // JSON
		var got, want any
		if err := errors.Join(json.Unmarshal(x.body, &got), json.Unmarshal([]byte(r.Body), &want)); err != nil {
			return err
		}
		if contentType != r.ContentType || !reflect.DeepEqual(got, want) {
			return fmt.Errorf("%s %s, want %s", contentType, x.body, r.Body)
		}
	}
	return nil
}

// isMultipart says where a body is not the request's form and files.
func (r matrixRequest) isMultipart(body []byte, contentType, boundary string) error {
	if contentType != "multipart/form-data" {
		return fmt.Errorf("it is %s", contentType)
	}
	form, err := multipart.NewReader(bytes.NewReader(body), boundary).ReadForm(1 << 20)
	if err != nil {
		return err
	}
	for _, p := range r.Form {
		if got := form.Value[p[0]]; !slices.Equal(got, []string{p[1]}) {
			return fmt.Errorf("field %s: %q, want %q", p[0], got, p[1])
		}
	}
	for _, want := range r.Files {
		headers := form.File[want[0]]
		if len(headers) != 1 {
			return fmt.Errorf("%d files %s", len(headers), want[0])
		}
		f, err := headers[0].Open()
		if err != nil {
			return err
		}
		text, err := io.ReadAll(f)
		if err != nil || headers[0].Filename != want[1] || string(text) != want[3] {
			return fmt.Errorf("file %s: %q %q %w", want[0], headers[0].Filename, text, err)
		}
	}
	return nil
}

// ownPairs are the parameters of a query or form without the protocol's.
func ownPairs(s string) ([]pair, error) {
	pairs, err := formPairs(s)
	return slices.DeleteFunc(pairs, func(p pair) bool { return strings.HasPrefix(p.name, "oauth_") }), err
}

// samePairs compares parameters in whatever order they are.
func samePairs(got []pair, want [][2]string) bool {
	var a, b []string
	for _, p := range got {
		a = append(a, escape(p.name)+"="+escape(p.value))
	}
	for _, p := range want {
		b = append(b, escape(p[0])+"="+escape(p[1]))
	}
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}
