package integration

import (
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The matrix: OAuth 1.0a clients that other people wrote, each with all its signature methods and
// places for the OAuth parameters. Each gets a token through its own three legs, and then sends the
// same few requests. They are read from the wire and judged twice: by the simple reader of RFC 5849
// in signing_test.go, and by the server. A client's own faults are claimed in its table, and each
// claim must be true. docs/clients.md is written from these tables.

// families are the clients by their programming languages, in the order of docs/clients.md.
var families = []struct {
	name    string
	clients []matrixClient
}{
	{"Python", pythonClients},
	{"JavaScript", npmClients},
	{"Go", goClients},
	{"Ruby, Perl, PHP, Java, C, C++, and by hand", debianClients},
}

// A matrixClient is a row of the matrix.
type matrixClient struct {
	name string
	from string // the source of the tests' copy: "Debian python3-tweepy", "npm oauth", "Go"
	what string // the use of the client, in a few words

	setup string // hints for users of the client with this server

	// legs are the ways in which it can get a token: "callback", "oob", or "polling" like
	// Launchpad's clients. Without any, its users bring a token along, or sign without one
	// (twoLegged).
	legs       []string
	twoLegged  bool
	methods    []string
	placements []string // "header", "query", "body"

	site      func(t *testing.T) site // the site that it needs
	endpoints endpoints               // its paths, if it has its own, those of a provider
	consumer  object                  // the settings that its consumer needs, beside a key and a secret

	// program returns the command line of its driver (see clients/), or skips the test if the
	// client is not installed. A client written in Go is driven by drive instead.
	program func(t *testing.T) []string
	drive   func(t *testing.T, run matrixRun, ask asking) (matrixResult, error)

	// The keys of these maps are cases, or more precisely METHOD CASE, PLACEMENT CASE, METHOD
	// PLACEMENT CASE. A case is the name of a request, or of a way to get a token, or * for all of
	// them.
	faults   map[string]fault  // faults for which the server refuses it
	forgiven map[string]string // wrong signatures that the server accepts
	differs  map[string]string // correct deviations from the requested request
	unable   map[string]string // requests that it can't send
}

// A fault is a client's mistake by RFC 5849.
type fault struct {
	why    string // a description of the mistake
	remedy string // what a team can do about it
	// shows looks for the fault in the requests. If it is nil, the fault is a wrong signature.
	shows func([]*exchange) error
}

// An asking is how a driver asks the test to act as a user with a browser.
type asking func(what string, asked object) object

// A matrixRun has a driver's instructions.
type matrixRun struct {
	Do   string `json:"do"` // "matrix"
	Root string `json:"root"`
	// Endpoints are the full URLs; most are Root and a word.
	Endpoints      endpoints       `json:"endpoints"`
	Method         string          `json:"method"`
	Placement      string          `json:"placement"`
	Legs           string          `json:"legs"`     // "callback", "oob", "polling"; "" if the token is given
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
	Query       [][2]string `json:"query"` // the parameters of the URL's query, decoded
	Form        [][2]string `json:"form"`  // for the client to encode
	Body        string      `json:"body"`
	BodyFile    string      `json:"body_file"` // the path of a file that holds the body
	ContentType string      `json:"content_type"`
	Files       [][4]string `json:"files"` // field, file name, content type, text
}

// A matrixResult is the result that a driver prints. Its answers are compared with the wire.
type matrixResult struct {
	Confirmed string       `json:"confirmed"` // oauth_callback_confirmed, if the client shows it
	Token     string       `json:"token"`
	Secret    string       `json:"secret"`
	Sent      []matrixSent `json:"sent"`
}

type matrixSent struct {
	Name   string `json:"name"`
	Status int    `json:"status"`
	Body   string `json:"body"`
	Error  string `json:"error"` // "unable: ..." where the client has no way to send it
	// Path is the request's path, if the client chooses it itself.
	Path string `json:"path"`
}

const matrixCallback = "http://client.example/ready?x=1"

// matrixRequests returns the requests, to an origin. The upload is in a file.
func matrixRequests(origin, upload string) []matrixRequest {
	return []matrixRequest{
		{
			Name: "query", Kind: "query", Method: "GET",
			URL:   origin + "/items/query?q=a%20b%2Bc&u=%C3%BC&empty=&z=1%2F2",
			Query: [][2]string{{"q", "a b+c"}, {"u", "ü"}, {"empty", ""}, {"z", "1/2"}},
		},
		{
			Name: "repeated", Kind: "query", Method: "GET",
			URL:   origin + "/items/repeated?tag=b%20c&tag=a&id=1&tag=&tag=d", // in no sorted order
			Query: [][2]string{{"tag", "b c"}, {"tag", "a"}, {"id", "1"}, {"tag", ""}, {"tag", "d"}},
		},
		{
			Name: "form", Kind: "form", Method: "POST", URL: origin + "/items/form",
			Form: [][2]string{{"a", "b & c=d+e/ü~!*'()"}, {"b", ""}},
		},
		{
			Name: "brackets", Kind: "form", Method: "POST", URL: origin + "/items/brackets",
			Form: [][2]string{{"user[name]", "a b"}, {"user[tags][]", "1"}}, // in the style of PHP and Rails
		},
		{
			Name: "json", Kind: "json", Method: "POST", URL: origin + "/items/json",
			Body: `{"a":"b&c=d","ü":1}`, ContentType: "application/json",
		},
		{
			Name: "multipart", Kind: "multipart", Method: "POST", URL: origin + "/items/multipart",
			Form:  [][2]string{{"note", "b & c=d"}},
			Files: [][4]string{{"file", "notes.txt", "text/plain", "one & two=3\nü\n"}},
		},
		{
			Name: "upload", Kind: "upload", Method: "POST", URL: origin + "/items/upload",
			BodyFile: upload, ContentType: "image/jpeg",
		},
	}
}

// fits reports whether the request can have the OAuth parameters in that place: of the bodies, only
// a form can.
func (r matrixRequest) fits(placement string) bool { return placement != "body" || r.Kind == "form" }

// uploadBytes begins like a JPEG, and contains every byte.
func uploadBytes() []byte {
	b := []byte{0xFF, 0xD8, 0x00}
	for i := range 100_000 {
		b = append(b, byte(i), byte(i>>8))
	}
	return b[:100_000]
}

var everyMethod = []string{
	"HMAC-SHA1", "HMAC-SHA256", "HMAC-SHA512", "RSA-SHA1", "RSA-SHA256", "RSA-SHA512", "PLAINTEXT",
}

func TestClients(t *testing.T) {
	t.Cleanup(func() { checkClientsPage(t) }) // after the clients, which run in parallel
	upload := filepath.Join(t.TempDir(), "photo.jpg")
	if err := os.WriteFile(upload, uploadBytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, client := range family.clients {
			t.Run(client.name, func(t *testing.T) {
				t.Parallel()
				m := &matrix{client: client, upload: upload, used: map[string]bool{}}
				m.start(t)
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
	used    map[string]bool // the claims that were looked up
}

// start starts the client's server, and registers it as a consumer with a secret and as one with a
// key.
func (m *matrix) start(t *testing.T) {
	c := m.client
	if c.program != nil {
		m.program = c.program(t)
	}
	m.up = newUpstream(t)
	var s site
	if c.site != nil {
		s = c.site(t)
	}
	s.OAuth1 = "signature_methods " + strings.Join(everyMethod, " ") + "\n" + s.OAuth1
	if c.endpoints != (endpoints{}) {
		s.OAuth1 += c.endpoints.block()
	}
	m.srv = startServer(t, s, m.up.URL)
	for key, credentials := range map[string]object{
		"matrix":     {"secret": m.secret()},
		"matrix-rsa": {"rsa_public_key": publicPEM(t, testKey())},
	} {
		consumer := object{"key": key, "name": c.name}
		maps.Copy(consumer, c.consumer)
		delete(consumer, "secret")
		maps.Copy(consumer, credentials)
		if c.twoLegged {
			consumer["two_legged"] = object{"user": "salgado", "permission": "WRITE_PRIVATE"}
		}
		m.srv.mustAdmin(t, "POST", "/oauth1/consumers", consumer)
	}
}

// secret returns the consumer's secret.
func (m *matrix) secret() string {
	if own, ok := m.client.consumer["secret"].(string); ok {
		return own
	}
	return demoSecret
}

// block returns the option of the Caddyfile.
func (e endpoints) block() string {
	return fmt.Sprintf("\nendpoints {\n\trequest_token %s\n\tauthorize %s\n\taccess_token %s\n}\n",
		e.RequestToken, e.Authorize, e.AccessToken)
}

func (m *matrix) run(t *testing.T) {
	c := m.client
	legs := c.legs
	if len(legs) == 0 {
		legs = []string{""}
	}
	walked := 0
	for _, method := range c.methods {
		for _, placement := range c.placements {
			t.Run(method+" "+placement, func(t *testing.T) {
				m.walk(t, m.plan(t, method, placement, legs[0], true))
				// The other ways to get a token are tried once.
				if method == c.methods[0] && placement == c.placements[0] {
					for _, other := range legs[1:] {
						m.walk(t, m.plan(t, method, placement, other, false))
					}
				}
				walked++
			})
		}
	}
	if walked < len(c.methods)*len(c.placements) {
		return // the tests that were selected may leave some out
	}
	for _, claims := range []iter.Seq[string]{
		maps.Keys(c.faults), maps.Keys(c.forgiven), maps.Keys(c.differs), maps.Keys(c.unable),
	} {
		for key := range claims {
			if !m.used[key] {
				t.Errorf("the claim about %q was never tried", key)
			}
		}
	}
}

// A walk is one run of a client's driver: its instructions and its results.
type walk struct {
	run       matrixRun
	secrets   secrets // of the consumer, and of the token where it was given
	wire      *wire
	exchanges []*exchange
	result    matrixResult
	err       error
}

// plan makes a run in which the client gets a token in that way and, if send is set, sends the
// requests.
func (m *matrix) plan(t *testing.T, method, placement, legs string, send bool) *walk {
	wire := newWire(t, m.srv)
	origin, paths := wire.origin(), m.client.endpoints
	if paths == (endpoints{}) {
		paths = endpoints{"/+request-token", "/+authorize-token", "/+access-token"}
	}
	w := &walk{wire: wire, secrets: secrets{key: testKey()}, run: matrixRun{
		Do: "matrix", Root: origin + "/", Dir: t.TempDir(), Method: method, Placement: placement, Legs: legs,
		Endpoints: endpoints{origin + paths.RequestToken, origin + paths.Authorize, origin + paths.AccessToken},
		Consumer:  "matrix",
		Requests:  []matrixRequest{},
	}}
	if strings.HasPrefix(method, "RSA-") {
		w.run.Consumer, w.run.RSAKey = "matrix-rsa", privatePEM(testKey())
	} else {
		w.run.ConsumerSecret, w.secrets.consumer = m.secret(), m.secret()
	}
	switch {
	case legs == "callback":
		w.run.Callback = matrixCallback
	case legs == "oob":
		w.run.Callback = "oob"
	case legs == "" && !m.client.twoLegged:
		tok := m.srv.issue(t, w.run.Consumer, "salgado", "WRITE_PRIVATE", nil)
		w.run.Token, w.run.Secret, w.secrets.token = tok.Key, tok.Secret, tok.Secret
	}
	if send {
		for _, r := range matrixRequests(origin, m.upload) {
			if r.fits(placement) {
				w.run.Requests = append(w.run.Requests, r)
			}
		}
	}
	return w
}

// walk runs the driver and checks the results.
func (m *matrix) walk(t *testing.T, w *walk) {
	m.up.take()
	m.drive(t, w)
	w.exchanges = w.wire.exchanges()
	if w.run.Legs != "" {
		if f, claimed := claim(m, m.client.faults, w.run, w.run.Legs); claimed {
			w.checkFailedLegs(t, f)
			if len(w.run.Requests) > 0 { // they are sent with a given token then
				m.walk(t, m.plan(t, w.run.Method, w.run.Placement, "", true))
			}
			return
		}
		_, forgiven := claim(m, m.client.forgiven, w.run, w.run.Legs)
		if !w.checkLegs(t, forgiven) {
			return
		}
		w.secrets.token = w.result.Secret
	}
	if w.err != nil {
		t.Fatal(w.err)
	}
	m.checkRequests(t, w)
}

// drive runs the client, with a user who approves.
func (m *matrix) drive(t *testing.T, w *walk) {
	ask := func(what string, asked object) object {
		if what != "authorize" {
			t.Errorf("the client asked to %s: %v", what, asked)
			return object{}
		}
		address, _ := asked["url"].(string)
		address = strings.Replace(address, w.wire.origin(), m.srv.origin(), 1)
		approved := m.srv.approve(t, address, "salgado", "WRITE_PRIVATE")
		if approved.Redirect != "" {
			return object{"redirect": approved.Redirect}
		}
		return object{"verifier": approved.Verifier}
	}
	if m.client.drive != nil {
		w.result, w.err = m.client.drive(t, w.run, ask)
	} else {
		w.err = tryDrive(t, m.program, w.run, ask, &w.result)
	}
}

// claim looks up the client's claim about a case, the most precise key first.
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
