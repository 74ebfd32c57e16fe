package integration

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/doctor"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/doctor/doctortest"
)

// Each mistake that a signature can have comes to the program over the network, and the program
// names it.

// notOverTheWire are mistakes that no request to a site can have, and why.
var notOverTheWire = map[string]string{
	"the host of base_url": "a site with a base_url expects that host itself; only the command explain can meet " +
		"another one, where one of several sites on an address has a base_url",
}

// A clinic is the program with a site of each kind that the mistakes take for granted, and the
// consumers and tokens that they sign with.
type clinic struct {
	*server
	ports     map[siteKind]string
	conns     map[string]*wrongConn
	consumers map[string]doctortest.Server // the keys, by what the server must know
	nonce     int
	seen      time.Time // of the latest diagnosis that was read
}

type wrongConn struct {
	net.Conn
	answers *bufio.Reader
}

// A siteKind is what a mistake takes for granted of its site.
type siteKind struct {
	tls                      bool
	baseURL, rewrittenTarget string
}

func siteOf(c *doctortest.Client) siteKind {
	return siteKind{c.Scheme == "https", c.Server.BaseURL, c.Server.RewrittenTarget}
}

func newClinic(t *testing.T) *clinic {
	t.Helper()
	c := &clinic{
		ports:     make(map[siteKind]string),
		conns:     make(map[string]*wrongConn),
		consumers: make(map[string]doctortest.Server),
	}
	s := site{
		App:     demoApp + "diagnoses 1000 1000",
		Global:  "auto_https off",
		Address: "http://:{{.Port}}",
		OAuth1:  "explain_refusals consumers explained-*",
		Handler: "respond ok",
	}
	for _, m := range doctortest.Mistakes {
		client := doctortest.NewClient("HMAC-SHA1", doctortest.Usual())
		m.Wrong(client)
		made := siteOf(client)
		if _, there := c.ports[made]; there {
			continue
		}
		port := freePort(t)
		c.ports[made] = port
		address, before, more := "http://:"+port, "", ""
		if made.tls {
			address, before = "https://:"+port, "tls {{.Dir}}/cert.pem {{.Dir}}/key.pem\n"
		}
		if made.baseURL != "" {
			more = "base_url " + made.baseURL
		}
		if made.rewrittenTarget != "" {
			before += "rewrite * " + made.rewrittenTarget + "\n"
		}
		s.More += fmt.Sprintf("%s {\n%sroute {\noauth1 {\nexplain_refusals consumers explained-*\n%s\n}\nrespond ok\n}\n}\n",
			address, before, more)
	}
	c.server = newServer(t, s, "")
	c.writeCertificate(t)
	c.start()
	t.Cleanup(func() {
		for _, conn := range c.conns {
			conn.Close()
		}
	})
	return c
}

// writeCertificate makes the sites' certificate, and its key.
func (c *clinic) writeCertificate(t *testing.T) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"api.example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: cert}, "key.pem": {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(filepath.Join(c.dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// mistaken makes a client that makes a mistake, and the server what the mistake takes for granted.
// kind begins the key of the consumer.
func (c *clinic) mistaken(t *testing.T, kind, method string, m *doctortest.Mistake) *doctortest.Client {
	t.Helper()
	imagined := doctortest.NewClient(method, doctortest.Usual())
	m.Wrong(imagined)
	known := c.knowing(t, kind, imagined.Server, m.Want == "request-token-secret")
	client := doctortest.NewClient(method, known)
	c.nonce++
	client.Set("oauth_nonce", fmt.Sprintf("n+o/n=ce%d", c.nonce))
	client.Set("oauth_timestamp", strconv.FormatInt(time.Now().Unix(), 10))
	m.Wrong(client)
	return client
}

// knowing adds a consumer with a token. Its secrets are the usual ones, but for those that the
// server makes itself when a token is exchanged.
func (c *clinic) knowing(t *testing.T, kind string, s doctortest.Server, exchanged bool) doctortest.Server {
	t.Helper()
	wanted := fmt.Sprint(kind, s.ConsumerSecret, s.RSA, s.Methods, exchanged)
	if known, there := c.consumers[wanted]; there {
		return known
	}
	known := doctortest.Usual()
	known.ConsumerKey = fmt.Sprint(kind, "-", len(c.consumers))
	known.Token += known.ConsumerKey
	consumer, path := object{"key": known.ConsumerKey}, "/oauth1/consumers/"+known.ConsumerKey
	if len(s.Methods) > 0 {
		consumer["signature_methods"] = s.Methods
	}
	if s.RSA {
		consumer["rsa_public_key"] = publicPEM(t, doctortest.Keys()[1])
	} else {
		consumer["secret"] = s.PreviousSecret
	}
	c.mustAdmin(t, "POST", "/oauth1/consumers", consumer)
	if s.RSA {
		c.mustAdmin(t, "PATCH", path, object{"rsa_public_key": publicPEM(t, doctortest.Keys()[0])})
	} else {
		c.mustAdmin(t, "POST", path+"/rotate", object{"secret": s.ConsumerSecret})
	}
	if exchanged {
		request := c.endpoint(t, "/+request-token", plaintext(known.ConsumerKey, s.ConsumerSecret, token{}))
		c.review(t, request.Key, "salgado", "WRITE_PRIVATE", nil)
		access := c.endpoint(t, "/+access-token", plaintext(known.ConsumerKey, s.ConsumerSecret, request))
		known.Token, known.TokenSecret, known.RequestTokenSecret = access.Key, access.Secret, request.Secret
	} else {
		c.issue(t, known.ConsumerKey, "salgado", "WRITE_PRIVATE", object{"key": known.Token, "secret": known.TokenSecret})
	}
	c.consumers[wanted] = known
	return known
}

// endpoint gets a token from an endpoint.
func (c *clinic) endpoint(t *testing.T, path string, pairs []pair) token {
	t.Helper()
	req := c.request("POST", path, strings.NewReader(form(pairs)))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer := c.mustDo(t, req)
	tok, err := parseToken(answer.Body)
	if err != nil || answer.Status != http.StatusOK {
		t.Fatalf("%s: %d %v", path, answer.Status, err)
	}
	return tok
}

// send sends a client's request, byte for byte, to the site that it takes for granted.
func (c *clinic) send(t *testing.T, client *doctortest.Client) (status int, answer string) {
	t.Helper()
	made := siteOf(client)
	port := c.ports[made]
	conn := c.conns[port]
	if conn == nil {
		plain, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			t.Fatal(err)
		}
		conn = &wrongConn{Conn: plain}
		if made.tls {
			conn.Conn = tls.Client(plain, &tls.Config{ServerName: "api.example.com", InsecureSkipVerify: true})
		}
		conn.answers = bufio.NewReader(conn)
		c.conns[port] = conn
	}
	body := client.Form + client.Body
	target := client.Path
	if client.Query != "" {
		target += "?" + client.Query
	}
	var request strings.Builder
	fmt.Fprintf(&request, "%s %s HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n",
		client.Method, target, client.Host, client.Authorization(), client.ContentType, len(body))
	if client.ForwardedHost != "" {
		request.WriteString("X-Forwarded-Host: " + client.ForwardedHost + "\r\n")
	}
	request.WriteString("Accept: application/json\r\n\r\n" + body)
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, request.String()); err != nil {
		t.Fatal(err)
	}
	status, text, err := readAnswer(conn.answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	return status, string(text)
}

// A shownDiagnosis is what the admin API has about a refused request.
type shownDiagnosis struct {
	Time             time.Time `json:"time"`
	Mistakes         []string  `json:"mistakes"`
	Diagnosis        string    `json:"diagnosis"`
	BaseString       string    `json:"base_string"`
	ClientBaseString string    `json:"client_base_string"`
	Reason           string    `json:"reason"`
}

// diagnoses waits for the explanations of the next n refused requests.
func (c *clinic) diagnoses(t *testing.T, n int) []shownDiagnosis {
	t.Helper()
	var answer struct {
		Items []shownDiagnosis `json:"items"`
	}
	c.waitUntil(fmt.Sprintf("%d requests are explained", n), func() error {
		since := url.QueryEscape(c.seen.Format(time.RFC3339Nano))
		resp, err := http.Get("http://127.0.0.1:" + c.admin + "/oauth1/diagnoses?since=" + since)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
			return err
		}
		if len(answer.Items) < n {
			return fmt.Errorf("%d are", len(answer.Items))
		}
		return nil
	})
	if len(answer.Items) != n {
		t.Fatalf("%d requests are explained, not %d", len(answer.Items), n)
	}
	c.seen = answer.Items[n-1].Time
	return answer.Items
}

// namesOf are the names of the mistakes that are wanted, and their parameters.
func namesOf(want string) (names, parameters []string) {
	for one := range strings.SplitSeq(want, "+") {
		name, parameter, _ := strings.Cut(one, " ")
		names = append(names, name)
		if parameter != "" {
			parameters = append(parameters, parameter)
		}
	}
	return names, parameters
}

// hidden are the texts that a request must leave nowhere.
func hidden(c *doctortest.Client) []string {
	texts := []string{c.Server.ConsumerSecret, c.Server.PreviousSecret, c.Server.TokenSecret, c.Server.RequestTokenSecret,
		c.SignatureText()}
	for _, text := range slices.Clone(texts) {
		texts = append(texts, doctortest.Percent(text), doctortest.Percent(doctortest.Percent(text)))
	}
	return texts
}

// TestEachMistakeIsNamedByTheProgram: a client with one of the mistakes, or a usual pair, is told
// exactly that, and the operator too.
func TestEachMistakeIsNamedByTheProgram(t *testing.T) {
	c := newClinic(t)
	counted := make(map[string]int)
	secrets := make(map[string]bool)
	for _, method := range []string{"HMAC-SHA1", "HMAC-SHA256", "RSA-SHA256"} {
		sent, used := 0, c.cpuTime(t)
		for i := range doctortest.Mistakes {
			m := &doctortest.Mistakes[i]
			if !m.Makes(method) || notOverTheWire[m.Name] != "" {
				continue
			}
			t.Run(method+"/"+m.Name, func(t *testing.T) {
				client := c.mistaken(t, "explained", method, m)
				for _, secret := range hidden(client) {
					secrets[secret] = true
				}
				status, answer := c.send(t, client)
				sent++
				if m.Want == "" {
					if status != http.StatusOK || answer != "ok" {
						t.Fatalf("a right request: %d %s", status, answer)
					}
					return
				}
				var told struct {
					Problem  string   `json:"oauth_problem"`
					Advice   string   `json:"oauth_problem_advice"`
					Mistakes []string `json:"mistakes"`
					Base     string   `json:"client_base_string"`
				}
				if err := json.Unmarshal([]byte(answer), &told); err != nil || status != http.StatusUnauthorized {
					t.Fatalf("%d, %v: %s", status, err, answer)
				}
				names, parameters := namesOf(m.Want)
				shown := c.diagnoses(t, 1)[0]
				if !slices.Equal(shown.Mistakes, names) || !slices.Equal(told.Mistakes, names) {
					t.Fatalf("the operator reads %q, the client %q, want %q; the server has %s\nthe client   %s",
						shown.Mistakes, told.Mistakes, names, shown.BaseString, client.BaseString())
				}
				for _, name := range names {
					counted[name]++
				}
				for _, parameter := range parameters {
					if !strings.Contains(shown.Diagnosis, parameter) {
						t.Errorf("does not name %s: %s", parameter, shown.Diagnosis)
					}
				}
				if told.Base != "" && told.Base != client.BaseString() {
					t.Errorf("shows the client's base string as\n%s, but it is\n%s", told.Base, client.BaseString())
				}
				all := answer + fmt.Sprint(shown)
				for _, secret := range hidden(client) {
					if strings.Contains(all, secret) {
						t.Errorf("%q is shown: %s", secret, all)
					}
				}
			})
		}
		if sent > 0 {
			t.Logf("%s: %d requests took %v of CPU each", method, sent, (c.cpuTime(t)-used)/time.Duration(sent))
		}
	}
	c.checkCounts(t, counted)
	for secret := range secrets {
		if strings.Contains(c.log.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

// TestTheOperatorReadsWhatClientsDoNot: a consumer that no site explains refusals to is refused in
// the same words whatever it does wrong. The operator reads the mistakes a little later.
func TestTheOperatorReadsWhatClientsDoNot(t *testing.T) {
	c := newClinic(t)
	for _, method := range []string{"HMAC-SHA1", "RSA-SHA256"} {
		var wanted, hide []string
		for i := 1; i < len(doctortest.Mistakes); i += 6 {
			m := &doctortest.Mistakes[i]
			if !m.Makes(method) || notOverTheWire[m.Name] != "" {
				continue
			}
			client := c.mistaken(t, "quiet", method, m)
			if client.Body != "" {
				continue // nobody reads a body that no signature covers
			}
			hide = append(hide, hidden(client)...)
			status, answer := c.send(t, client)
			if want := `{"error":"Invalid signature.","oauth_problem":"signature_invalid"}`; status != http.StatusUnauthorized ||
				strings.TrimSpace(answer) != want {
				t.Errorf("%s: %d %s", m.Name, status, answer)
			}
			wanted = append(wanted, m.Want)
			if len(wanted) == 15 { // what waits in the queue is bounded
				break
			}
		}
		for i, shown := range c.diagnoses(t, len(wanted)) {
			if names, _ := namesOf(wanted[i]); !slices.Equal(shown.Mistakes, names) {
				t.Errorf("the operator reads %q, want %q", shown.Mistakes, names)
			}
			for _, secret := range hide {
				if strings.Contains(fmt.Sprint(shown), secret) {
					t.Errorf("%q is shown: %+v", secret, shown)
				}
			}
		}
	}
}

// TestClocksNoncesAndKeysAreExplained: what is wrong with a timestamp, a nonce, or the name of a key,
// as the program says it.
func TestClocksNoncesAndKeysAreExplained(t *testing.T) {
	c := newClinic(t)
	var reached []string
	check := func(t *testing.T, want string) {
		t.Helper()
		shown := c.diagnoses(t, 1)[0]
		if !slices.Equal(shown.Mistakes, []string{want}) {
			t.Errorf("the operator reads %q of %q, want %s", shown.Mistakes, shown.Reason, want)
		}
		reached = append(reached, want)
	}
	refused := func(t *testing.T, req *http.Request, want string) {
		t.Helper()
		status := http.StatusUnauthorized
		if want == "timestamp-not-seconds" {
			status = http.StatusBadRequest
		}
		if err := c.mustDo(t, req).is(status, ""); err != nil {
			t.Error(err)
		}
		check(t, want)
	}
	add := func(t *testing.T, key string) {
		t.Helper()
		c.mustAdmin(t, "POST", "/oauth1/consumers", object{"key": key, "secret": key + " secret"})
	}
	signed := func(t *testing.T, consumer string, tok token, change func(*signer)) *http.Request {
		s := signer{Consumer: consumer, Secret: consumer + " secret", Token: tok}
		if change != nil {
			change(&s)
		}
		return s.sign(t, c.request("GET", "/items", nil), "")
	}
	at := func(off time.Duration, unit int64) func(*signer) {
		return func(s *signer) { s.Timestamp = strconv.FormatInt(time.Now().Add(off).UnixNano()/unit, 10) }
	}
	for i, clock := range []struct {
		name, want string
		set        func(*signer)
	}{
		{"milliseconds", "timestamp-unit", at(0, 1e6)},
		{"microseconds", "timestamp-unit", at(0, 1e3)},
		{"nanoseconds", "timestamp-unit", at(0, 1)},
		{"a date", "timestamp-not-seconds", func(s *signer) { s.Timestamp = time.Now().Format(time.RFC3339) }},
		{"local time in New York", "timestamp-local-time", at(-5*time.Hour, 1e9)},
		{"local time in India", "timestamp-local-time", at(330*time.Minute, 1e9)},
		{"twenty minutes off", "timestamp-off", at(-20*time.Minute, 1e9)},
	} {
		t.Run(clock.name, func(t *testing.T) {
			key := fmt.Sprint("clock", i)
			add(t, key)
			refused(t, signed(t, key, token{}, clock.set), clock.want)
		})
	}
	t.Run("always twenty minutes off", func(t *testing.T) {
		add(t, "late")
		for range 3 {
			refused(t, signed(t, "late", token{}, at(-20*time.Minute, 1e9)), "timestamp-off")
		}
		refused(t, signed(t, "late", token{}, at(-20*time.Minute, 1e9)), "clock-always-off")
	})
	add(t, "app")
	add(t, "other")
	grant := func(consumer, user string) token { return c.issue(t, consumer, user, "WRITE_PRIVATE", nil) }
	good := grant("app", "salgado")
	accepted := func(t *testing.T, req *http.Request) {
		t.Helper()
		if err := c.mustDo(t, req).is(http.StatusOK, "ok"); err != nil {
			t.Error(err)
		}
	}
	t.Run("a nonce again", func(t *testing.T) {
		once := signed(t, "app", good, nil)
		accepted(t, once)
		refused(t, once.Clone(t.Context()), "nonce-sent-again")
	})
	t.Run("a nonce again, after a reload", func(t *testing.T) {
		once := signed(t, "app", good, nil)
		accepted(t, once)
		if err := c.load(c.caddyfile(c.site)); err != nil {
			t.Fatal(err)
		}
		refused(t, once.Clone(t.Context()), "nonce-sent-again")
	})
	t.Run("a nonce again, from another address", func(t *testing.T) {
		elsewhere := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
		client := &http.Client{Transport: &http.Transport{DialContext: elsewhere.DialContext}, Timeout: patience}
		defer client.CloseIdleConnections()
		once := signed(t, "app", good, nil)
		resp, err := client.Do(once.Clone(t.Context()))
		if err != nil {
			missing(t, "the address 127.0.0.2")
		}
		resp.Body.Close()
		refused(t, once, "nonce-other-address")
	})
	t.Run("a nonce again, after a restart", func(t *testing.T) {
		once := signed(t, "app", good, nil)
		accepted(t, once)
		c.stop()
		c.client.CloseIdleConnections()
		c.start()
		refused(t, once.Clone(t.Context()), "nonce-repeated")
	})

	key := func(name, want, consumer string, tok token) {
		t.Helper()
		t.Run(name, func(t *testing.T) { refused(t, signed(t, consumer, tok, nil), want) })
	}
	as := func(key string) token { return token{key, good.Secret} }
	request := func() token { return c.endpoint(t, "/+request-token", plaintext("app", "app secret", token{})) }
	key("a request token", "key-is-request-token", "app", request())
	exchanged := request()
	c.review(t, exchanged.Key, "salgado", "WRITE_PRIVATE", nil)
	access := c.endpoint(t, "/+access-token", plaintext("app", "app secret", exchanged))
	key("an exchanged request token", "key-is-exchanged", "app", exchanged)
	t.Run("the secret of the request token", func(t *testing.T) {
		refused(t, signed(t, "app", token{access.Key, exchanged.Secret}, nil), "request-token-secret")
	})
	expired := c.issue(t, "app", "salgado", "WRITE_PRIVATE", object{"lifetime": "1s"})
	time.Sleep(1100 * time.Millisecond) // the token's lifetime
	key("an expired token", "key-is-expired", "app", expired)
	key("the token of another consumer", "key-of-another-consumer", "app", grant("other", "salgado"))
	key("a consumer key as a token", "key-is-consumer-key", "app", as("other"))
	key("a token as a consumer key", "key-is-token", good.Key, token{})
	key("a token with a line end", "key-with-blanks", "app", as(good.Key+"\n"))
	key("a token in quotes", "key-with-quotes", "app", as(`"`+good.Key+`"`))
	key("a consumer key in capitals", "key-in-other-case", "APP", good)
	key("a consumer key with a blank", "key-with-blanks", " app", good)
	key("a consumer key that is encoded twice", "key-encoded-twice", "%61pp", good)

	one := grant("app", "revoked alone")
	c.mustAdmin(t, "DELETE", "/oauth1/tokens/"+one.Key, nil)
	key("a revoked token", "key-is-revoked", "app", one)
	together := []token{grant("app", "revoked together"), grant("app", "revoked together")}
	c.mustAdmin(t, "POST", "/oauth1/revoke", object{"user": "revoked together"})
	for i, tok := range together {
		key(fmt.Sprint("a token of a user whose grants were revoked, ", i), "key-is-revoked", "app", tok)
	}
	add(t, "leaving")
	lost := grant("leaving", "salgado")
	c.mustAdmin(t, "DELETE", "/oauth1/consumers/leaving", nil)
	key("a removed consumer", "key-is-removed", "leaving", lost)
	add(t, "leaving")
	key("a token from before its consumer was removed", "key-is-revoked", "leaving", lost)

	// With the mistakes of signatures, these are all that there are.
	for _, m := range doctortest.Mistakes {
		names, _ := namesOf(m.Want)
		reached = append(reached, names...)
	}
	for _, name := range doctor.Names() {
		if !slices.Contains(reached, name) {
			t.Errorf("nothing leads to %s", name)
		}
	}
}

// TestExplainKnowsTheBaseURL: a request to the own address of a site with a base_url is judged by that,
// in an explanation too.
func TestExplainKnowsTheBaseURL(t *testing.T) {
	c := newClinic(t)
	c.mustAdmin(t, "POST", "/oauth1/consumers", object{"key": "app", "secret": "app secret"})
	port := c.ports[siteKind{true, "https://api.example.com", ""}]
	if port == "" {
		t.Fatal("no mistake takes a base_url for granted")
	}
	internal := "https://internal:" + port + "/items"
	for address, mistakes := range map[string]string{
		"https://api.example.com/items": "[]",
		internal:                        "[host-header]",
		"http://api.example.com/items":  "[scheme]",
	} {
		req, err := http.NewRequest("GET", address, nil)
		if err != nil {
			t.Fatal(err)
		}
		s := signer{Consumer: "app", Secret: "app secret"}
		answer := c.mustAdmin(t, "POST", "/oauth1/explain", object{
			"method": "GET", "url": internal, "consumer": "app",
			"authorization": s.sign(t, req, "").Header.Get("Authorization"),
		})
		if got := fmt.Sprint(answer["mistakes"]); got != mistakes || answer["valid"] != (mistakes == "[]") {
			t.Errorf("signed for %s: %v", address, answer)
		}
	}
}

// checkCounts compares the metric and the log with what was sent.
func (c *clinic) checkCounts(t *testing.T, counted map[string]int) {
	t.Helper()
	if len(counted) < 45 {
		t.Errorf("%d mistakes were named only", len(counted))
	}
	text, err := c.metrics()
	if err != nil {
		t.Fatal(err)
	}
	log := c.log.String()
	for name, n := range counted {
		if line := fmt.Sprintf("\ncaddy_oauth1_mistakes_total{mistake=%q} %d\n", name, n); !strings.Contains(text, line) {
			t.Errorf("the metrics lack %s", line)
		}
		if !strings.Contains(log, `"oauth_diagnosis":"`+name) && !strings.Contains(log, "+"+name+`"`) {
			t.Errorf("the log does not say %s", name)
		}
	}
}

// cpuTime is the CPU time that the server has used; 0 where the system does not tell.
func (c *clinic) cpuTime(t *testing.T) time.Duration {
	t.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	ticks := 0
	for _, field := range fields[11:13] { // utime and stime, in hundredths of a second
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
