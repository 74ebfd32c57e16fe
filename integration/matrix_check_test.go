package integration

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

// The checks of a client's run in the matrix: how it got its token, and the results of its
// requests.

// isAt reports whether the request is for an endpoint, which may depend on its query.
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

// judged has the simple reader of RFC 5849 judge the request.
func (x *exchange) judged(s secrets) error {
	r := x.Request
	if r.Header.Get("Content-Type") == "" && bytes.Contains(x.body, []byte("oauth_consumer_key=")) {
		// Launchpad's clients: the server reads a POST without a Content-Type as a form.
		r = r.Clone(r.Context())
		r.Header.Set("Content-Type", formType)
	}
	err := judge(r, x.body, s)
	if err != nil && strings.Contains(r.Header.Get("Authorization"), "oauth_body_hash=") {
		// Mastercard's client: a form is covered by its hash, and not signed as a form.
		r = r.Clone(r.Context())
		r.Header.Del("Content-Type")
		err = judge(r, x.body, s)
	}
	return err
}

// judgeLegs judges the requests to the endpoints. It returns them, the token that was given at the
// end, and whether the callback was confirmed.
func (w *walk) judgeLegs(t *testing.T) (seen []*exchange, granted token, confirmed bool) {
	t.Helper()
	s := w.secrets
	for _, x := range w.exchanges {
		switch {
		case x.isAt(w.run.Endpoints.RequestToken):
			s.token = ""
			x.wrong = x.judged(s)
			seen = append(seen, x)
			if x.status == http.StatusOK {
				confirmed = bytes.Contains(x.answer, []byte("oauth_callback_confirmed=true"))
				s.token = readToken(t, x.answer).Secret
			}
		case x.isAt(w.run.Endpoints.AccessToken):
			x.wrong = x.judged(s)
			seen = append(seen, x)
			if x.status == http.StatusOK {
				granted = readToken(t, x.answer)
			}
		}
	}
	return seen, granted, confirmed
}

// checkFailedLegs checks that the client got no token because of the claimed fault.
func (w *walk) checkFailedLegs(t *testing.T, f fault) {
	t.Run(w.run.Legs, func(t *testing.T) {
		if w.err == nil {
			t.Errorf("the client was said to fail (%s), and got a token", f.why)
		}
		seen, _, _ := w.judgeLegs(t)
		f.check(t, seen)
	})
}

// checkLegs checks how the client got its token. If forgiven, it may sign wrongly on the way.
func (w *walk) checkLegs(t *testing.T, forgiven bool) bool {
	return t.Run(w.run.Legs, func(t *testing.T) {
		seen, granted, confirmed := w.judgeLegs(t)
		rightly := true
		for _, x := range seen {
			rightly = rightly && x.wrong == nil
			if x.wrong != nil && !forgiven {
				t.Errorf("the judge says of %s %s: %v", x.Method, x.RequestURI, x.wrong)
			}
		}
		if rightly && forgiven {
			t.Error("the client was said to sign wrongly, and the judge says that it does not")
		}
		if w.err != nil {
			for _, x := range seen {
				t.Logf("%s %s: %d %s", x.Method, x.RequestURI, x.status, x.answer)
			}
			t.Fatal(w.err)
		}
		if has := (token{w.result.Token, w.result.Secret}); has != granted || has.Key == "" {
			t.Errorf("the server gave the token %v, the client has %v", granted, has)
		}
		if want := w.run.Legs != "polling"; confirmed != want {
			t.Errorf("oauth_callback_confirmed %v, want %v", confirmed, want)
		}
		if c := w.result.Confirmed; c != "" && c != "true" {
			t.Errorf("the client read oauth_callback_confirmed %q", c)
		}
	})
}

// readToken reads a token in either of the endpoints' formats.
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

// check checks that the client has the claimed fault.
func (f fault) check(t *testing.T, seen []*exchange) {
	t.Helper()
	if len(seen) == 0 {
		t.Errorf("the client was said to be wrong (%s), and sent nothing", f.why)
		return
	}
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

// checkRequests checks the results of the requests.
func (m *matrix) checkRequests(t *testing.T, w *walk) {
	reached := m.up.take()
	for _, r := range w.run.Requests {
		unable, isUnable := claim(m, m.client.unable, w.run, r.Name)
		f, isWrong := claim(m, m.client.faults, w.run, r.Name)
		differs, isOther := claim(m, m.client.differs, w.run, r.Name)
		why, isForgiven := claim(m, m.client.forgiven, w.run, r.Name)
		t.Run(r.Name, func(t *testing.T) {
			sent, seen, path := w.sent(t, r)
			switch {
			case isUnable:
				if !strings.HasPrefix(sent.Error, "unable: ") {
					t.Errorf("the client was said to be unable (%s), and did it: %+v", unable, sent)
				}
				return
			case isWrong:
				f.check(t, seen)
				return
			case len(seen) == 0:
				t.Fatalf("nothing was sent to %s: %+v", path, sent)
			}
			x := seen[len(seen)-1]
			if x.wrong != nil && !isForgiven {
				t.Errorf("the judge says that the client signed wrongly: %v", x.wrong)
			}
			if x.wrong == nil && isForgiven {
				t.Errorf("the client was said to sign wrongly (%s), and the judge says that it does not", why)
			}
			if x.status != http.StatusOK {
				t.Fatalf("the server answered %d %s", x.status, x.answer)
			}
			if sent.Error != "" || sent.Status != 0 && sent.Status != x.status {
				t.Errorf("the server answered %d, and the client says %+v", x.status, sent)
			}
			i := slices.IndexFunc(reached, func(is received) bool { return mustParse(t, is.URI).Path == path })
			if i < 0 {
				t.Fatal("it did not reach the upstream")
			}
			checkPassed(t, x, reached[i])
			err := r.isSentBy(x)
			if isOther && err == nil {
				t.Errorf("the client was said to send something else (%s), and did not", differs)
			}
			if !isOther && err != nil {
				t.Errorf("the client sent another request: %v", err)
			}
		})
	}
}

// sent returns the driver's result of a request, the judged exchanges on the wire, and the
// request's path.
func (w *walk) sent(t *testing.T, r matrixRequest) (sent matrixSent, seen []*exchange, path string) {
	t.Helper()
	i := slices.IndexFunc(w.result.Sent, func(sent matrixSent) bool { return sent.Name == r.Name })
	if i < 0 {
		t.Fatal("the driver says nothing of it")
	}
	sent = w.result.Sent[i]
	path = cmp.Or(sent.Path, mustParse(t, r.URL).Path)
	for _, x := range w.exchanges {
		if x.URL.Path == path {
			x.wrong = x.judged(w.secrets)
			seen = append(seen, x)
		}
	}
	return sent, seen, path
}

// checkPassed checks that the upstream got the request as the client sent it, without its
// credentials, and with the user.
func checkPassed(t *testing.T, x *exchange, is received) {
	t.Helper()
	if want := withoutCredentials(x.RequestURI); is.Method != x.Method || is.URI != want {
		t.Errorf("the client sent %s %s, the upstream got %s %s", x.Method, want, is.Method, is.URI)
	}
	if !bytes.Equal(is.Body, x.body) {
		t.Errorf("the client sent %.200q, the upstream got %.200q", x.body, is.Body)
	}
	if was, got := x.Header.Values("Content-Type"), is.Header.Values("Content-Type"); !slices.Equal(was, got) {
		t.Errorf("the client sent the type %q, the upstream got %q", was, got)
	}
	if got := is.Header.Values("X-OAuth-User"); !slices.Equal(got, []string{"salgado"}) {
		t.Errorf("the upstream got the user %q, want salgado", got)
	}
	if got := is.Header.Get("Authorization"); got != "" {
		t.Errorf("the upstream got Authorization: %s", got)
	}
}

// isSentBy returns an error that names the difference between the request and the exchange.
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

// isMultipart returns an error if a body is not the request's form and files.
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

// ownPairs returns the parameters of a query or form without the protocol's.
func ownPairs(s string) ([]pair, error) {
	pairs, err := formPairs(s)
	return slices.DeleteFunc(pairs, func(p pair) bool { return strings.HasPrefix(p.name, "oauth_") }), err
}

// samePairs compares parameters, ignoring their order.
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

// A row of the matrix relies on these checks. They notice each of the requests if it is sent as
// another one.
func TestTheMatrixSeesWhatIsNotSent(t *testing.T) {
	t.Parallel()
	photo := filepath.Join(t.TempDir(), "photo.jpg")
	if err := os.WriteFile(photo, []byte{0xFF, 0xD8, 0}, 0o600); err != nil {
		t.Fatal(err)
	}
	requests := map[string]matrixRequest{}
	for _, r := range matrixRequests("http://x", photo) {
		requests[r.Name] = r
	}
	const parts = "multipart/form-data; boundary=b"
	body := func(note, name, text string) string {
		const part = "--b\r\nContent-Disposition: form-data; name="
		return part + "note\r\n\r\n" + note + "\r\n" +
			part + "file; filename=" + name + "\r\n\r\n" + text + "\r\n--b--\r\n"
	}
	const text = "one & two=3\nü\n"
	for _, c := range []struct {
		rule, name, method, query, contentType, body string
		same                                         bool
	}{
		{"a query", "query", "GET", "z=1/2&u=ü&empty&q=a+b%2Bc", "", "", true},
		{"a query with OAuth parameters", "query", "GET", "z=1/2&u=ü&empty&q=a+b%2Bc&oauth_token=t", "", "", true},
		{"a query with a + for a plus", "query", "GET", "q=a+b+c&u=ü&empty=&z=1/2", "", "", false},
		{"a query without its empty value", "query", "GET", "q=a+b%2Bc&u=ü&z=1/2", "", "", false},
		{"a query by POST", "query", "POST", "q=a+b%2Bc&u=ü&empty=&z=1/2", "", "", false},
		{"repeated names", "repeated", "GET", "id=1&tag=a&tag=d&tag=b%20c&tag=", "", "", true},
		{"a name once", "repeated", "GET", "id=1&tag=d", "", "", false},
		{"a form", "form", "POST", "", formType + "; charset=utf-8", "b=&a=b%20%26%20c%3Dd%2Be%2Fü~!*'()", true},
		{"a form of another type", "form", "POST", "", "text/plain", "b=&a=b%20%26%20c%3Dd%2Be%2Fü~!*'()", false},
		{"a form in the query", "form", "POST", "b=&a=b%20%26%20c%3Dd%2Be%2Fü~!*'()", formType, "", false},
		{"a form that is cut off", "form", "POST", "", formType, "a=b%20%26%20c%3Dd", false},
		{"brackets", "brackets", "POST", "", formType, "user%5Bname%5D=a+b&user[tags][]=1", true},
		{"no brackets", "brackets", "POST", "", formType, "user.name=a+b&user.tags=1", false},
		{"JSON", "json", "POST", "", "application/json; charset=utf-8", "{\"\\u00fc\": 1, \"a\": \"b&c=d\"}", true},
		{"other JSON", "json", "POST", "", "application/json", `{"a":"b&c=d","ü":"1"}`, false},
		{"a form for JSON", "json", "POST", "", formType, "a=b&c=d", false},
		{"multipart", "multipart", "POST", "", parts, body("b & c=d", "notes.txt", text), true},
		{"multipart without its field", "multipart", "POST", "", parts, body("", "notes.txt", text), false},
		{"multipart with another name", "multipart", "POST", "", parts, body("b & c=d", "x", text), false},
		{"multipart with another text", "multipart", "POST", "", parts, body("b & c=d", "notes.txt", ""), false},
		{"an upload", "upload", "POST", "", "image/jpeg", "\xff\xd8\x00", true},
		{"an upload as UTF-8", "upload", "POST", "", "image/jpeg", "ÿØ\x00", false},
		{"an upload of another type", "upload", "POST", "", "application/octet-stream", "\xff\xd8\x00", false},
	} {
		t.Run(c.rule, func(t *testing.T) {
			req := &http.Request{Method: c.method, URL: &url.URL{Path: "/", RawQuery: c.query}, Header: http.Header{}}
			if c.contentType != "" {
				req.Header.Set("Content-Type", c.contentType)
			}
			err := requests[c.name].isSentBy(&exchange{Request: req, body: []byte(c.body)})
			if (err == nil) != c.same {
				t.Errorf("%v, want the same: %v", err, c.same)
			}
		})
	}
}
