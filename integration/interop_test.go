package integration

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Foreign clients sign as their documentation says. Each request is judged twice: by the simple
// reader of RFC 5849 in signing_test.go, and then by the server. If a client signs a request
// wrongly, its table says so and why, and the server must refuse it. The server does not adapt to a
// client's mistake.

// An awkward request is one that clients and servers often read differently.
type awkward struct {
	Name        string      `json:"name"`
	Method      string      `json:"method"`
	URI         string      `json:"-"`
	URL         string      `json:"url"`
	Form        [][2]string `json:"form"` // for the client to encode
	Body        string      `json:"body"`
	ContentType string      `json:"content_type"`
	essential   bool        // also run by tests that skip the others to save time
}

const formType = "application/x-www-form-urlencoded"

var awkwardRequests = []awkward{
	{Name: "nothing special", Method: "GET", URI: "/items"},
	{Name: "the root", Method: "GET", URI: "/"},
	{Name: "repeated parameters", Method: "GET", URI: "/items?a=2&a=1&a=2&b=1", essential: true},
	{Name: "repeated parameters, already in order", Method: "GET", URI: "/items?a=1&a=2"},
	{Name: "an empty value", Method: "GET", URI: "/items?a=&b=1"},
	{Name: "a name without a value", Method: "GET", URI: "/items?a&b=1"},
	{Name: "an empty name", Method: "GET", URI: "/items?=a&b=1"},
	{Name: "a question mark and no query", Method: "GET", URI: "/items?"},
	{Name: "+ in the query", Method: "GET", URI: "/items?q=a+b"},
	{Name: "%20 in the query", Method: "GET", URI: "/items?q=a%20b"},
	{Name: "%2B in the query", Method: "GET", URI: "/items?q=a%2Bb"},
	{Name: "%20 in the path", Method: "GET", URI: "/a%20b/c"},
	{Name: "+ in the path", Method: "GET", URI: "/a+b/c"},
	{Name: "UTF-8 in the query", Method: "GET", URI: "/items?n=%C3%BC%E2%98%83&%C3%A4=1", essential: true},
	{Name: "UTF-8 in the path", Method: "GET", URI: "/%C3%BCber/%E2%98%83"},
	{Name: "an encoded slash in the path", Method: "GET", URI: "/files/a%2Fb/c", essential: true},
	{Name: "escapes in lower case", Method: "GET", URI: "/files/a%2fb?v=%c3%bc"},
	{Name: "reserved characters in the path", Method: "GET", URI: "/a;v=1/(b)/!$&'*,=:@"},
	{Name: "encoded reserved characters in the path", Method: "GET", URI: "/%21%24%26%27%28%29%2A%2B%2C%3B%3D%3A%40"},
	{Name: "reserved characters in the query", Method: "GET", URI: "/items?q=!*'():@,/?$"},
	{Name: "encoded reserved characters in the query", Method: "GET", URI: "/items?q=%21%2A%27%28%29%3B%3A%40%26%3D%2B%24%2C%2F%3F%25%23%5B%5D", essential: true},
	{Name: "a semicolon in the query", Method: "GET", URI: "/items?a=1;b=2&c=3"},
	{Name: "encoded unreserved characters", Method: "GET", URI: "/%7Eme?q=%7E%2D%61"},
	{Name: "an escape that is escaped", Method: "GET", URI: "/50%2525?q=100%2525"},
	{Name: "names in the order of their encoded form", Method: "GET", URI: "/items?a1=v&a%2B=w&a%20=x&A=y&a=z&%C3%A4=u"},
	{Name: "two slashes in the path", Method: "GET", URI: "/a//b"},
	{Name: "dots in the path", Method: "GET", URI: "/a/./b/../c"},
	{Name: "DELETE", Method: "DELETE", URI: "/items/1?why=a%20b"},
	{Name: "POST of nothing", Method: "POST", URI: "/items?a=1"},
	{Name: "a form", Method: "POST", URI: "/items", Form: [][2]string{{"b", "2"}, {"a", "1"}}},
	{Name: "a form with an empty value", Method: "POST", URI: "/items", Form: [][2]string{{"b", ""}, {"a", "1"}}},
	{Name: "a form with repeated names", Method: "POST", URI: "/items", Form: [][2]string{{"b", "2"}, {"b", "1"}, {"b", ""}}},
	{Name: "a form with reserved characters", Method: "POST", URI: "/items", Form: [][2]string{{"q&=", "a b+c&d=e/?#[]@$,;:~!*'()"}, {"p", "100%"}}, essential: true},
	{Name: "a form with UTF-8", Method: "POST", URI: "/items", Form: [][2]string{{"größe", "ü☃𝄞"}}},
	{Name: "a form and a query", Method: "POST", URI: "/items?b=1&c=3", Form: [][2]string{{"b", "2"}, {"a", "0"}}},
	{Name: "a form by PUT", Method: "PUT", URI: "/items/1", Form: [][2]string{{"b", "2"}, {"a", "1"}}},
	{Name: "a form written by hand", Method: "POST", URI: "/items", Body: "c2&a3=2+q%20r&a3=", ContentType: formType},
	{Name: "JSON", Method: "POST", URI: "/items", Body: `{"a":"b&c=d","ü":1}`, ContentType: "application/json", essential: true},
	{Name: "JSON by PUT", Method: "PUT", URI: "/items/1?x=y", Body: `{"a":1}`, ContentType: "application/json"},
	{Name: "JSON by PATCH", Method: "PATCH", URI: "/items/1", Body: `{"a":1}`, ContentType: "application/json"},
	{Name: "text that looks like a form", Method: "POST", URI: "/items", Body: "a=1&b=2", ContentType: "text/plain"},
}

// Awkward credentials: every character that matters for percent-encoding.
const (
	awkwardKey         = "app/1 & co=100%+~"
	awkwardSecret      = "s3cr&t=/?#+ %25~'\"!*()"
	awkwardToken       = "tok-_.~123"
	awkwardTokenSecret = "&t0k3n= +%2B/~*'"
)

// A sent is a client's result of a request: the answer, or the reason why it could not send it.
type sent struct {
	Name      string `json:"name"`
	Placement string `json:"placement"`
	Status    int    `json:"status"`
	Body      string `json:"body"`
	Error     string `json:"error"`
}

// A foreignClient can sign requests.
type foreignClient struct {
	// send sends the requests to the origin, signed with the method.
	send func(t *testing.T, origin, method string, s secrets, requests []awkward) []sent
	// wrong maps the requests that the client signs wrongly to the reasons: by name, or by
	// placement and name.
	wrong map[string]string
	// unable maps the requests that it cannot send at all to the reasons.
	unable map[string]string
}

// signsAwkwardRequests has the client send the awkward requests, first to the judge, then to the
// server.
func signsAwkwardRequests(t *testing.T, client foreignClient, methods ...string) {
	up := newUpstream(t)
	srv := startServer(t, site{
		OAuth1: "signature_methods HMAC-SHA1 HMAC-SHA256 HMAC-SHA512 RSA-SHA1 RSA-SHA256 RSA-SHA512 PLAINTEXT",
	}, up.URL)
	key := testKey()
	srv.mustAdmin(t, "POST", "/oauth1/consumers", object{"key": awkwardKey, "name": "Awkward", "secret": awkwardSecret})
	srv.mustAdmin(t, "POST", "/oauth1/consumers",
		object{"key": awkwardKey + " RSA", "name": "Awkward RSA", "rsa_public_key": publicPEM(t, key)})
	shared := srv.mustAdmin(t, "POST", "/oauth1/tokens", object{
		"consumer": awkwardKey, "user": "salgado", "permission": "WRITE_PRIVATE", "key": awkwardToken, "secret": awkwardTokenSecret,
	})
	rsaToken := srv.mustAdmin(t, "POST", "/oauth1/tokens", object{
		"consumer": awkwardKey + " RSA", "user": "salgado", "permission": "WRITE_PRIVATE", "key": awkwardToken + "RSA", "secret": awkwardTokenSecret,
	})
	if shared["key"] != awkwardToken || rsaToken["key"] != awkwardToken+"RSA" {
		t.Fatalf("the admin API made other tokens: %v, %v", shared["key"], rsaToken["key"])
	}

	for _, method := range methods {
		t.Run(method, func(t *testing.T) {
			s := secrets{consumer: awkwardSecret, token: awkwardTokenSecret, key: key}
			court := newJudge(t, s)
			judged := client.send(t, court.URL, method, s, withOrigin(court.URL))
			up.take()
			answered := client.send(t, srv.origin(), method, s, withOrigin(srv.origin()))
			reached := map[string]received{}
			for _, r := range up.take() {
				reached[r.Header.Get("X-Case")] = r
			}
			if len(judged) != len(answered) {
				t.Fatalf("%d answers from the judge, %d from the server", len(judged), len(answered))
			}
			for i, got := range answered {
				id := strings.TrimPrefix(got.Placement+": "+got.Name, ": ")
				t.Run(id, func(t *testing.T) {
					if why := client.unable[got.Name]; why != "" {
						if got.Error == "" {
							t.Errorf("the client was said to be unable (%s), and did it", why)
						}
						return
					}
					if got.Error != "" {
						t.Fatalf("the client could not: %s", got.Error)
					}
					why := client.wrong[got.Name]
					if why == "" {
						why = client.wrong[id]
					}
					if why != "" && method != "PLAINTEXT" { // PLAINTEXT does not cover the request
						if judged[i].Status != http.StatusUnauthorized {
							t.Errorf("the client was said to sign wrongly (%s), and the judge says it did not", why)
						}
						if got.Status != http.StatusUnauthorized || !strings.HasPrefix(got.Body, "Invalid signature.") {
							t.Errorf("%d %s, want 401 Invalid signature.: the client signs wrongly (%s)", got.Status,
								got.Body, why)
						}
						return
					}
					if judged[i].Status != http.StatusOK {
						t.Fatalf("the judge says the client signed wrongly: %s", judged[i].Body)
					}
					if got.Status != http.StatusOK {
						t.Fatalf("%d %s, want 200", got.Status, got.Body)
					}
					as, is := court.heard(id), reached[id]
					if want := withoutCredentials(as.URI); is.URI != want {
						t.Errorf("the client sent %s, the upstream got %s", want, is.URI)
					}
					if !bytes.Equal(is.Body, as.Body) && got.Placement != "BODY" { // there each signature differs
						t.Errorf("the client sent %q, the upstream got %q", as.Body, is.Body)
					}
				})
			}
		})
	}
}

// withoutCredentials removes the protocol parameters from a query, and leaves the rest unchanged.
func withoutCredentials(uri string) string {
	path, query, ok := strings.Cut(uri, "?")
	kept := slices.DeleteFunc(strings.Split(query, "&"), func(p string) bool { return strings.HasPrefix(p, "oauth_") })
	if !ok || len(kept) == 0 {
		return path
	}
	return path + "?" + strings.Join(kept, "&")
}

// credentials returns a driver's arguments for the awkward consumer and its token.
func credentials(method string, s secrets) object {
	args := object{"method": method, "consumer": awkwardKey, "consumer_secret": s.consumer, "token": awkwardToken,
		"secret": s.token}
	if strings.HasPrefix(method, "RSA-") {
		args["consumer"] = awkwardKey + " RSA"
		args["token"] = awkwardToken + "RSA"
		args["rsa_key"] = privatePEM(s.key)
	}
	return args
}

func withOrigin(origin string) []awkward {
	var requests []awkward
	for _, r := range awkwardRequests {
		r.URL = origin + r.URI
		requests = append(requests, r)
	}
	return requests
}

// A court judges requests, and remembers the verdicts by the X-Case header.
type court struct {
	*httptest.Server
	mu    sync.Mutex
	cases map[string]received
}

func newJudge(t *testing.T, s secrets) *court {
	t.Helper()
	c := &court{cases: map[string]received{}}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := readBody(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		c.mu.Lock()
		c.cases[r.Header.Get("X-Case")] = received{URI: r.RequestURI, Body: body}
		c.mu.Unlock()
		if err := judge(r, body, s); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		fmt.Fprintln(w, "ok")
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *court) heard(name string) received {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cases[name]
}

var testKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func privatePEM(key *rsa.PrivateKey) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
}

func publicPEM(t testing.TB, key *rsa.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// drive runs a driver of a foreign client with the arguments, answers its questions, and decodes
// its result.
func drive(t *testing.T, program []string, args any, answer func(what string, asked object) object, result any) {
	t.Helper()
	if err := tryDrive(t, program, args, answer, result); err != nil {
		t.Fatal(err)
	}
}

// tryDrive is drive for a client that may fail.
func tryDrive(t *testing.T, program []string, args any, answer func(what string, asked object) object, result any) error {
	t.Helper()
	text, err := json.Marshal(args)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program[0], slices.Concat(program[1:], []string{string(text)})...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "PYTHONDONTWRITEBYTECODE=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 16<<20)
	finished := false
	for lines.Scan() {
		var line struct {
			Ask    string
			Result json.RawMessage
		}
		var asked object
		if json.Unmarshal(lines.Bytes(), &line) != nil || json.Unmarshal(lines.Bytes(), &asked) != nil {
			continue // libraries may print text
		}
		if line.Ask != "" {
			reply, err := json.Marshal(answer(line.Ask, asked))
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(in, "%s\n", reply)
			continue
		}
		if err := json.Unmarshal(line.Result, result); err != nil {
			t.Fatalf("%s: %v: %s", program, err, line.Result)
		}
		finished = true
	}
	in.Close()
	if err := cmd.Wait(); err != nil || !finished {
		return fmt.Errorf("%s: %w\n%s", program, cmp.Or(err, errors.New("no result")), stderr.String())
	}
	return nil
}

// noQuestions is the answer function of a test whose driver must not ask.
func noQuestions(t *testing.T) func(string, object) object {
	return func(what string, asked object) object {
		t.Errorf("the client asked to %s: %v", what, asked)
		return object{}
	}
}

// python returns the command line of a Python driver. It skips the test if the module is missing.
func python(t *testing.T, driver, module string) []string {
	t.Helper()
	for _, program := range []string{"/usr/bin/python3", "python3"} { // only the first has Debian's modules
		if exec.Command(program, "-c", "import "+module).Run() == nil {
			return []string{program, filepath.Join("clients", "python", driver)}
		}
	}
	missing(t, "the Python module "+module+" is not installed")
	return nil
}
