package integration

import (
	"bytes"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	dghubble "github.com/dghubble/oauth1"
	mrjones "github.com/mrjones/oauth"
)

var goClients = []matrixClient{
	{
		name: "dghubble/oauth1", from: "Go", what: "any API, with net/http",
		legs: []string{"callback", "oob"}, placements: []string{"header"},
		methods: []string{"HMAC-SHA1", "HMAC-SHA256", "RSA-SHA1"},
		drive:   driveDghubble,
		faults: map[string]fault{
			"repeated": {
				why:    "It signs only the first of several values of a name.",
				remedy: "Use each name once; most APIs take a list in one value.",
			},
		},
	},
	{
		name: "mrjones/oauth", from: "Go", what: "any API, with net/http",
		legs: []string{"callback", "oob"}, placements: []string{"header"},
		methods: []string{"HMAC-SHA1", "HMAC-SHA256", "RSA-SHA1", "RSA-SHA256"},
		drive:   driveMrjones,
		faults: map[string]fault{
			"brackets": {
				why:    "It signs the names of parameters as they are, not percent-encoded.",
				remedy: "Keep to names of letters, digits, `-`, `.`, `_` and `~`, or send JSON.",
			},
		},
	},
	{
		name: "gomodule/oauth1", from: "Debian golang-github-gomodule-oauth1-dev", what: "any API, with net/http",
		legs: []string{"callback", "oob"}, placements: []string{"header", "query", "body"},
		methods: []string{"HMAC-SHA1", "RSA-SHA1", "PLAINTEXT"},
		program: gopathClient("gomodule.go", "github.com/gomodule/oauth1"),
		unable: map[string]string{
			"query form": signFormOnly, "query brackets": signFormOnly, "query json": signFormOnly,
			"query multipart": signFormOnly, "query upload": signFormOnly,
		},
	},
}

const signFormOnly = "Its `SignForm` signs what is sent in one place."

// gopathClient builds a driver of a package that Debian has for GOPATH, and no module proxy has.
func gopathClient(driver, pkg string) func(t *testing.T) []string {
	return func(t *testing.T) []string {
		t.Helper()
		const gopath = "/usr/share/gocode"
		if _, err := os.Stat(filepath.Join(gopath, "src", pkg)); err != nil {
			missing(t, "the Go package "+pkg+" is not installed in "+gopath)
		}
		program := filepath.Join(t.TempDir(), "driver")
		cmd := exec.Command("go", "build", "-o", program, filepath.Join("clients", "gopath", driver))
		cmd.Env = append(os.Environ(), "GO111MODULE=off", "GOFLAGS=", "GOPATH="+gopath)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", cmd, err, out)
		}
		return []string{program}
	}
}

// netRequest makes a request of the matrix like a program with net/http.
func (r matrixRequest) netRequest() (*http.Request, error) {
	var body io.Reader
	contentType := r.ContentType
	switch {
	case r.Files != nil:
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		for _, p := range r.Form {
			w.WriteField(p[0], p[1])
		}
		for _, f := range r.Files {
			part, err := w.CreateFormFile(f[0], f[1])
			if err != nil {
				return nil, err
			}
			io.WriteString(part, f[3])
		}
		w.Close()
		body, contentType = &b, w.FormDataContentType()
	case r.Form != nil:
		body, contentType = strings.NewReader(r.values().Encode()), formType
	case r.BodyFile != "":
		b, err := os.ReadFile(r.BodyFile)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	case r.Body != "":
		body = strings.NewReader(r.Body)
	}
	req, err := http.NewRequest(r.Method, r.URL, body)
	if err == nil && contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	return req, err
}

// values returns the form as url.Values.
func (r matrixRequest) values() url.Values {
	v := url.Values{}
	for _, p := range r.Form {
		v.Add(p[0], p[1])
	}
	return v
}

// sendBy sends the requests of a run with a signing client of net/http.
func sendBy(client *http.Client, run matrixRun) []matrixSent {
	var all []matrixSent
	for _, r := range run.Requests {
		one := matrixSent{Name: r.Name}
		if err := one.send(client, r); err != nil {
			one.Error = err.Error()
		}
		all = append(all, one)
	}
	return all
}

func (s *matrixSent) send(client *http.Client, r matrixRequest) error {
	req, err := r.netRequest()
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	s.Status, s.Body = resp.StatusCode, string(text)
	return err
}

// verifier returns the verifier in the user's answer: the typed code, or a part of the callback's
// URL.
func verifier(answer object) (string, error) {
	redirect, ok := answer["redirect"].(string)
	if !ok {
		code, _ := answer["verifier"].(string)
		return code, nil
	}
	u, err := url.Parse(redirect)
	if err != nil {
		return "", err
	}
	return u.Query().Get("oauth_verifier"), nil
}

func driveDghubble(t *testing.T, run matrixRun, ask asking) (result matrixResult, err error) {
	config := &dghubble.Config{
		ConsumerKey: run.Consumer,
		CallbackURL: run.Callback,
		Endpoint: dghubble.Endpoint{
			RequestTokenURL: run.Endpoints.RequestToken,
			AuthorizeURL:    run.Endpoints.Authorize,
			AccessTokenURL:  run.Endpoints.AccessToken,
		},
		Signer: dghubbleSigner(run.Method, secrets{consumer: run.ConsumerSecret, key: testKey()}),
	}
	result.Token, result.Secret = run.Token, run.Secret
	if run.Legs != "" {
		requestToken, requestSecret, err := config.RequestToken()
		if err != nil {
			return result, err
		}
		address, err := config.AuthorizationURL(requestToken)
		if err != nil {
			return result, err
		}
		code, err := verifier(ask("authorize", object{"request_token": requestToken, "url": address.String()}))
		if err != nil {
			return result, err
		}
		if result.Token, result.Secret, err = config.AccessToken(requestToken, requestSecret, code); err != nil {
			return result, err
		}
	}
	tok := dghubble.NewToken(result.Token, result.Secret)
	result.Sent = sendBy(config.Client(t.Context(), tok), run)
	return result, nil
}

func driveMrjones(t *testing.T, run matrixRun, ask asking) (result matrixResult, err error) {
	provider := mrjones.ServiceProvider{
		RequestTokenUrl:   run.Endpoints.RequestToken,
		AuthorizeTokenUrl: run.Endpoints.Authorize,
		AccessTokenUrl:    run.Endpoints.AccessToken,
	}
	kind, hash, _ := strings.Cut(run.Method, "-")
	consumer := mrjones.NewCustomConsumer(run.Consumer, run.ConsumerSecret, hashes[hash], provider, nil)
	if kind == "RSA" {
		consumer = mrjones.NewCustomRSAConsumer(run.Consumer, testKey(), hashes[hash], provider, nil)
	}
	tok := &mrjones.AccessToken{Token: run.Token, Secret: run.Secret}
	if run.Legs != "" {
		requestToken, address, err := consumer.GetRequestTokenAndUrl(run.Callback)
		if err != nil {
			return result, err
		}
		code, err := verifier(ask("authorize", object{"request_token": requestToken.Token, "url": address}))
		if err != nil {
			return result, err
		}
		if tok, err = consumer.AuthorizeToken(requestToken, code); err != nil {
			return result, err
		}
	}
	client, err := consumer.MakeHttpClient(tok)
	if err != nil {
		return result, err
	}
	return matrixResult{Token: tok.Token, Secret: tok.Secret, Sent: sendBy(client, run)}, nil
}
