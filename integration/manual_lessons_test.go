package integration

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore/redislab"
)

// How each page of the manual is tried: its preconditions, replacements for steps that a test can't
// do like a reader, and the expected results.

var lessons = map[string]lesson{
	"README.md":          {begin: beginWithExample, instead: insteadInReadme, end: endOfReadme},
	"docs/quickstart.md": {begin: beginQuickStart, instead: insteadInQuickStart, end: endOfQuickStart},
	"docs/policies.md":   {begin: beginPolicies},
	"docs/protocol.md":   {begin: beginProtocol},
	"docs/operating.md":  {begin: beginOperating, end: endOfOperating},
	"docs/encryption.md": {begin: beginEncryption, end: endOfEncryption, instead: map[string]func(*reader, string){
		"redis-cli BGREWRITEAOF": (*reader).isKnown,
	}},
	"docs/audit.md": {begin: beginAudit, instead: map[string]func(*reader, string){
		"caddy-oauth1 oauth1 audit verify --offline --config Caddyfile audit.log": func(r *reader, block string) {
			r.stop()
			r.run(block)
		},
	}},
	"docs/monitoring.md":  {begin: beginMonitoring},
	"docs/migration.md":   {begin: beginMigration, end: endOfMigration},
	"docs/install.md":     {instead: insteadOfInstalling},
	"docs/performance.md": {instead: insteadOfMeasuring},
	"SECURITY.md":         {instead: map[string]func(*reader, string){badDays: (*reader).isKnown}},
}

// beginAudit starts a site whose audit trail has a file of its own, and changes something.
func beginAudit(r *reader) {
	r.write("Caddyfile", r.here("{\n\tadmin localhost:2019\n\tlog audit {\n\t\tinclude oauth1.audit\n"+
		"\t\toutput file "+r.dir+"/audit.log\n\t}\n}\nhttp://localhost:8080 {\n\toauth1\n}\n"))
	r.start("caddy-oauth1 run")
	r.run("caddy-oauth1 oauth1 consumer add app")
}

// beginMonitoring starts a site with a probe.
func beginMonitoring(r *reader) {
	r.write("Caddyfile", r.here("{\n\tadmin localhost:2019\n}\nhttp://127.0.0.1:"+r.ports["api.example.com"]+
		" {\n\toauth1_health /healthz\n\toauth1\n}\n"))
	r.start("caddy-oauth1 run")
}

// site writes the README's Caddyfile, for an API of the test's own.
func (r *reader) site() {
	r.Helper()
	r.up = newUpstream(r.T)
	hash := strings.TrimSpace(r.shellOutput("echo secret | caddy-oauth1 hash-password"))
	for _, b := range fences(r.T, "../README.md") {
		if b.language == "caddyfile" {
			r.write("Caddyfile", strings.NewReplacer(
				"api.example.com", "http://127.0.0.1:"+r.ports["api.example.com"],
				"localhost:9000", strings.TrimPrefix(r.up.URL, "http://"), "$2a$14$...", hash,
			).Replace(b.text))
			return
		}
	}
	r.Fatal("README.md has no Caddyfile")
}

// signed sends a signed request to the reader's site, and returns the user that the API saw.
func (r *reader) signed(consumer, secret, key, keySecret string) string {
	r.Helper()
	r.up.take()
	url := "http://127.0.0.1:" + r.ports["api.example.com"] + "/photos"
	r.run(fmt.Sprintf(`curl --fail %s -H "$(printf '%%s\n' '%s' '%s' |
		caddy-oauth1 oauth1 sign GET %s --consumer '%s' --token '%s')"`,
		url, secret, keySecret, url, consumer, key))
	return r.up.last(r.T).Header.Get("X-OAuth-User")
}

// isKnown is for commands that take too long: it checks that their files, packages, flags and
// variables exist.
func (r *reader) isKnown(block string) {
	r.Helper()
	for _, path := range regexp.MustCompile(`\./[\w/-]+`).FindAllString(block, -1) {
		if _, err := os.Stat(filepath.Join("..", path)); err != nil {
			r.Errorf("%s: %v", block, err)
		}
	}
	for _, name := range regexp.MustCompile(`[A-Z]+_[A-Z]+`).FindAllString(block, -1) {
		search := exec.Command("grep", "-rl", `os.Getenv("`+name+`")`, ".")
		if out, err := search.CombinedOutput(); err != nil {
			r.Errorf("nothing reads %s: %v %s", name, err, out)
		}
	}
}

// isInCI is for commands that build and test everything: .ci/run has them.
func (r *reader) isInCI(block string) {
	r.Helper()
	script, err := os.ReadFile("../.ci/run")
	if err != nil {
		r.Fatal(err)
	}
	for _, want := range regexp.MustCompile(`go test .*|--with \S+`).FindAllString(block, -1) {
		if !strings.Contains(string(script), want) {
			r.Errorf(".ci/run has no %s", want)
		}
	}
}

const (
	wholeTest   = "go test -race -timeout 30m ./..."
	goBuild     = "go build ./cmd/caddy-oauth1"
	xcaddyBuild = `GOPROXY="$(go env GOPROXY | cut -d, -f1)|file://$(go env GOMODCACHE)/cache/download" \`
	badDays     = "BADDAY_ROUNDS=20 BADDAY_LARGE=1 go test -v -timeout 1h -run BadDay ./integration"
)

func beginWithExample(r *reader) {
	example, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		r.Fatal(err)
	}
	r.write("Caddyfile.example", r.here(string(example)))
}

var insteadInReadme = map[string]func(*reader, string){
	// The harness has built the same binary. The reader's next step is the site.
	goBuild: func(r *reader, block string) {
		r.stop()
		r.site()
		r.start("caddy-oauth1 run")
	},
	wholeTest: (*reader).isInCI,
}

func endOfReadme(r *reader) {
	secret := field(r.T, r.run("caddy-oauth1 oauth1 consumer rotate printer"), "Secret")
	issued := r.run("caddy-oauth1 oauth1 token issue --consumer printer --user salgado " +
		"--permission READ_PUBLIC")
	key, keySecret := field(r.T, issued, "Key"), field(r.T, issued, "Secret")
	if user := r.signed("printer", secret, key, keySecret); user != "salgado" {
		r.Errorf("the API saw %q", user)
	}
}

// field returns a line of a command's output.
func field(t *testing.T, text, name string) string {
	t.Helper()
	match := regexp.MustCompile(`(?m)^` + name + `:\s+(\S+)$`).FindStringSubmatch(text)
	if match == nil {
		t.Fatalf("it has no %s:\n%s", name, text)
	}
	return match[1]
}

func beginQuickStart(r *reader) {
	beginWithExample(r)
	r.start("caddy-oauth1 run --config Caddyfile.example")
}

var insteadInQuickStart = map[string]func(*reader, string){
	"read -r VERIFIER": func(r *reader, block string) {
		r.stdin = r.approve(strings.TrimSpace(r.run(`echo "$KEY"`))) + "\n"
		r.run(block)
		r.stdin = ""
	},
	xcaddyBuild: (*reader).isInCI,
	"caddy-oauth1 hash-password": func(r *reader, block string) { // for the README's site
		r.stdin = "secret\n"
		if hash := r.run(block); !strings.HasPrefix(hash, "$2a$") {
			r.Errorf("%s: %q", block, hash)
		}
		r.stdin = ""
		r.run("caddy-oauth1 oauth1 consumer add printer")
		r.stop()
		r.site()
	},
}

// approve approves at the page as the demo's user, and returns the verifier.
func (r *reader) approve(key string) string {
	r.Helper()
	origin := "http://" + r.here("localhost:8080")
	address := origin + "/+authorize-token?oauth_token=" + key
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	ask := func(method, address, body string) (string, *http.Response) {
		req, err := http.NewRequest(method, address, strings.NewReader(body))
		if err != nil {
			r.Fatal(err)
		}
		req.SetBasicAuth("demo", "demo")
		req.Header.Set("Content-Type", formType)
		req.Header.Set("Origin", origin)
		resp, err := client.Do(req)
		if err != nil {
			r.Fatal(err)
		}
		defer resp.Body.Close()
		var b bytes.Buffer
		if _, err := b.ReadFrom(resp.Body); err != nil {
			r.Fatal(err)
		}
		return b.String(), resp
	}
	page, _ := ask("GET", address, "")
	answer, resp := ask("POST", address, fillIn(page, "READ_PUBLIC").Encode())
	next, err := resp.Location()
	if err != nil {
		r.Fatalf("%v: %s", err, answer)
	}
	last, _ := ask("GET", next.String(), "")
	verifier := regexp.MustCompile(`id="verifier"[^>]*>([^<]+)<`).FindStringSubmatch(last)
	if verifier == nil {
		r.Fatalf("the last page has no verifier: %s", last)
	}
	return verifier[1]
}

func endOfQuickStart(r *reader) {
	if got := r.run("caddy-oauth1 oauth1 token list --user salgado"); !strings.Contains(got, "printer") {
		r.Errorf("the tokens: %s", got)
	}
}

func beginPolicies(r *reader) {
	for _, b := range fences(r.T, "../docs/policies.md") {
		if b.language == "caddyfile" {
			r.write("Caddyfile", "api.example.com {\n"+b.text+"reverse_proxy localhost:9000\n}\n")
			return
		}
	}
	r.Fatal("docs/policies.md has no policies")
}

func beginProtocol(r *reader) {
	r.site()
	r.start("caddy-oauth1 run")
}

func beginOperating(r *reader) {
	requireProgram(r.T, "openssl")
	r.site()
	text, err := os.ReadFile(filepath.Join(r.dir, "Caddyfile"))
	if err != nil {
		r.Fatal(err)
	}
	r.write("Caddyfile", r.here("{\n\toauth1 {\n\t\tstore badger /var/lib/caddy/oauth1\n"+
		"\t\tconsumer demo {\n\t\t\tsecret secret\n\t\t\ttwo_legged demo READ_PUBLIC\n\t\t}\n"+
		"\t}\n}\n")+string(text))
	r.start("caddy-oauth1 run")
	address := "http://127.0.0.1:" + r.ports["api.example.com"] + "/"
	r.run(fmt.Sprintf(`curl --fail %[1]s -H "$(echo secret |
		caddy-oauth1 oauth1 sign GET %[1]s --consumer demo)"`, address))
}

func endOfOperating(r *reader) {
	r.run("caddy-oauth1 oauth1 consumer show printer")
	r.run("test -s lib/oauth1.key")
}

// beginEncryption starts a server whose key is there already.
func beginEncryption(r *reader) {
	requireProgram(r.T, "openssl")
	r.site()
	text, err := os.ReadFile(filepath.Join(r.dir, "Caddyfile"))
	if err != nil {
		r.Fatal(err)
	}
	r.write("first-key", strings.Repeat("0f", 32)+"\n")
	r.write("Caddyfile", "{\n\toauth1 {\n\t\tkeys {\n\t\t\tprimary k1 {file."+
		filepath.Join(r.dir, "first-key")+"}\n\t\t}\n\t}\n}\n"+string(text))
	r.start("caddy-oauth1 run")
}

func endOfEncryption(r *reader) {
	r.run("test -s lib/oauth1-k1")
	r.run("caddy-oauth1 oauth1 keys status | grep -q refused")
}

func beginMigration(r *reader) {
	requireProgram(r.T, "python3")
	r.site()
	r.start("caddy-oauth1 run")
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		r.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		r.Fatal(err)
	}
	r.write("ci-bot.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})))
	r.write("one-app.secret", "onesecret\n")
	r.write("onekey.secret", "onetokensecret\n")
	r.write("clients.jsonl", `{"kind":"consumer","key":"old-app","secret":"oldsecret","name":"Old client","created":"2019-03-01"}
{"kind":"access_token","key":"oldkey","secret":"oldtokensecret","consumer":"old-app","user":"salgado","permission":"READ_PUBLIC"}
{"kind":"access_token","key":"other","secret":"othersecret","consumer":"old-app","user":"ana","permission":"WRITE_PUBLIC"}`)
	for _, b := range fences(r.T, "../docs/migration.md") {
		if b.language == "py" {
			r.write("mediawiki.py", b.text)
		}
	}
	r.write("wiki.key", "wikikey\n")
	r.write("consumers.tsv", "7\twikiapp\tstored\t\tWiki app\thttps://app.example/\t1\t1\t20190301080000\n"+
		"8\tproposed\tx\t\tNot yet\t\t0\t0\t20190301080000\n")
	r.write("tokens.tsv", "7\twikitoken\tstoredtoo\tSalgado\t20200301080000\n8\tother\tx\tAna\t20200301080000\n")
	text, err := os.ReadFile(filepath.Join(r.dir, "Caddyfile"))
	if err != nil {
		r.Fatal(err)
	}
	lab := redislab.Single(r.T, redislab.Options{})
	r.write("Caddyfile.redis", "{\n\toauth1 {\n\t\tstore redis {\n\t\t\treplicas 0\n\t\t\taddress "+
		strings.Join(lab.Addresses(), " ")+"\n\t\t}\n\t}\n}\n"+string(text))
}

func endOfMigration(r *reader) {
	for _, c := range []struct{ key, secret, user string }{
		{"oldkey", "oldtokensecret", "salgado"}, {"other", "othersecret", "ana"},
	} {
		if user := r.signed("old-app", "oldsecret", c.key, c.secret); user != c.user {
			r.Errorf("the API saw %q, want %q", user, c.user)
		}
	}
	if user := r.signed("one-app", "onesecret", "onekey", "onetokensecret"); user != "salgado" {
		r.Errorf("the API saw %q, want salgado", user)
	}
	onTheWire := func(stored string) string { // MediaWiki: hash_hmac('sha1', $stored, $wgOAuthSecretKey)
		mac := hmac.New(sha1.New, []byte("wikikey"))
		mac.Write([]byte(stored))
		return hex.EncodeToString(mac.Sum(nil))
	}
	if user := r.signed("wikiapp", onTheWire("stored"), "wikitoken", onTheWire("storedtoo")); user != "Salgado" {
		r.Errorf("the API saw %q, want Salgado", user)
	}
}

var insteadOfMeasuring = map[string]func(*reader, string){
	"go run ./integration/bench":                                                             (*reader).isABenchmark,
	"go run ./integration/bench -growth":                                                     (*reader).isABenchmark,
	"go run ./integration/bench -flows":                                                      (*reader).isABenchmark,
	"go run ./integration/bench -reclaim":                                                    (*reader).isABenchmark,
	"go run ./integration/bench -redis":                                                      (*reader).isABenchmark,
	"go run ./integration/bench -redis -replicas":                                            (*reader).isABenchmark,
	"go run ./integration/bench -redis -flows":                                               (*reader).isABenchmark,
	"go test -run '^$' -bench . ./tokenstore/redisstore":                                     (*reader).hasBenchmarks,
	"go test -run '^$' -bench . ./caddymodule ./caddymodule/oauth1 ./tokenstore/badgerstore": (*reader).hasBenchmarks,
}

// hasBenchmarks checks that each of the folders has some.
func (r *reader) hasBenchmarks(block string) {
	r.Helper()
	r.isKnown(block)
	for _, folder := range regexp.MustCompile(`\./[\w/]+`).FindAllString(block, -1) {
		files, err := filepath.Glob(filepath.Join("..", folder, "*_test.go"))
		if err != nil {
			r.Fatal(err)
		}
		if !slices.ContainsFunc(files, func(file string) bool {
			text, err := os.ReadFile(file)
			return err == nil && bytes.Contains(text, []byte("\nfunc Benchmark"))
		}) {
			r.Errorf("%s has no benchmark", folder)
		}
	}
}

// benchmarkHelp returns the benchmark's help on its flags.
var benchmarkHelp = sync.OnceValue(func() string {
	help, _ := exec.Command("go", "run", "./bench", "-h").CombinedOutput()
	return string(help)
})

// isABenchmark checks the flags of a benchmark that takes too long.
func (r *reader) isABenchmark(block string) {
	r.Helper()
	help := benchmarkHelp()
	if !strings.Contains(help, "Usage") {
		r.Errorf("%s: the benchmark has no help:\n%s", block, help)
	}
	for word := range strings.FieldsSeq(block) {
		if strings.HasPrefix(word, "-") && !strings.Contains(help, "  "+word+"\n") {
			r.Errorf("%s: the benchmark has no flag %s:\n%s", block, word, help)
		}
	}
}
