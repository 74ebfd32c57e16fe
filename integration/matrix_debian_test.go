package integration

import (
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// scriptClient returns the command line of a driver in a scripting language. It skips the test if
// the probe fails.
func scriptClient(folder, driver, interpreter string, probe ...string) func(t *testing.T) []string {
	return func(t *testing.T) []string {
		t.Helper()
		program := requireProgram(t, interpreter)
		if err := exec.Command(program, probe...).Run(); err != nil {
			missing(t, fmt.Sprintf("what %s needs is not there: %s %q: %v", driver, program, probe, err))
		}
		return []string{program, filepath.Join("clients", folder, driver)}
	}
}

func rubyClient(driver, library string) func(t *testing.T) []string {
	return scriptClient("ruby", driver, "ruby", "-e", "require '"+library+"'")
}

func perlClient(driver, module string) func(t *testing.T) []string {
	return scriptClient("perl", driver, "perl", "-M"+module, "-e", "1")
}

// builtClient builds a driver with libraries that pkg-config knows, and returns its command line.
func builtClient(folder, driver, compiler string, libraries ...string) func(t *testing.T) []string {
	return func(t *testing.T) []string {
		t.Helper()
		cc := requireProgram(t, compiler)
		args := append([]string{"--cflags", "--libs"}, libraries...)
		flags, err := exec.Command(requireProgram(t, "pkg-config"), args...).Output()
		if err != nil {
			missing(t, fmt.Sprintf("the libraries %v are not there for developers: %v", libraries, err))
		}
		program := filepath.Join(t.TempDir(), "driver")
		args = append([]string{"-fPIC", "-o", program, filepath.Join("clients", folder, driver)},
			strings.Fields(string(flags))...)
		if out, err := exec.Command(cc, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %q: %v\n%s", cc, args, err, out)
		}
		return []string{program}
	}
}

// javaClient builds a driver in Java with Debian's jars, and returns its command line.
func javaClient(class string, jars ...string) func(t *testing.T) []string {
	return func(t *testing.T) []string {
		t.Helper()
		javac, java, dir := requireProgram(t, "javac"), requireProgram(t, "java"), t.TempDir()
		path := dir
		for _, jar := range jars {
			file := filepath.Join("/usr/share/java", jar+".jar")
			if _, err := os.Stat(file); err != nil {
				missing(t, "a jar is not installed: "+err.Error())
			}
			path += ":" + file
		}
		sources := filepath.Join("clients", "java")
		source := filepath.Join(sources, class+".java")
		args := []string{"-d", dir, "-cp", path, "-sourcepath", sources, source}
		if out, err := exec.Command(javac, args...).CombinedOutput(); err != nil {
			t.Fatalf("javac: %v\n%s", err, out)
		}
		return []string{java, "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", path, class}
	}
}

// whereSigned claims a fault for all methods except PLAINTEXT, which does not cover the request.
func whereSigned(methods []string, name string, f fault) map[string]fault {
	faults := map[string]fault{}
	for _, method := range methods {
		faults[method+" "+name] = f
	}
	return faults
}

// hashesNothing looks for the hash of an empty body on a request that has a body.
func hashesNothing(seen []*exchange) error {
	hash := sha1.Sum(nil)
	empty := base64.StdEncoding.EncodeToString(hash[:])
	for _, x := range seen {
		pairs, err := requestPairs(x.Request, x.URL.RawQuery, nil)
		if err != nil {
			return err
		}
		hashed := slices.Contains(pairs, pair{"oauth_body_hash", empty})
		if len(x.body) == 0 || !hashed || x.status != http.StatusUnauthorized {
			return fmt.Errorf("%d %s for %d bytes, signed with %v", x.status, x.answer, len(x.body), pairs)
		}
	}
	if len(seen) == 0 {
		return errors.New("nothing was sent")
	}
	return nil
}

// Faults of several clients, and their remedies.
const (
	useOnce      = "Use each name once; most APIs take a list in one value."
	onlyTheFirst = "It sends only the first of several values of a name."
	formInQuery  = "Its `to_url` puts the form into the query."
	longerNames  = "It signs wrongly where a name begins with another and goes on with a digit, `-`, `.` " +
		"or `[`, as `a` and `a2`."
)

var (
	unsortedValues = fault{
		why:    "It does not sort the values of a name that is repeated.",
		remedy: useOnce,
	}
	encodedTwice = fault{
		why:    "It encodes what is not ASCII twice before it signs.",
		remedy: "Keep to ASCII in queries and forms, or send JSON.",
	}
	unsignedForm = fault{
		why:    "It does not sign the form.",
		remedy: "Sign with Net::OAuth itself, which takes the form as `extra_params`; or send JSON.",
	}
	// hashOfNothing is a fault of Ruby's oauth: it does not see some bodies, and hashes an empty
	// one.
	hashOfNothing = fault{
		why:    "It makes the body hash of nothing where Net::HTTP makes the body, by `set_form`.",
		remedy: "Give it the body as a string.",
		shows:  hashesNothing,
	}
)

// debianClients are the clients in Debian's packages, except Python's.
var debianClients = []matrixClient{
	{
		name: "Ruby oauth", from: "Debian ruby-oauth", what: "any API, with Ruby's Net::HTTP",
		legs: []string{"callback", "oob"}, placements: []string{"header", "query", "body"},
		methods: []string{"HMAC-SHA1", "RSA-SHA1", "PLAINTEXT"},
		program: rubyClient("oauth_driver.rb", "oauth"),
		faults:  whereSigned([]string{"HMAC-SHA1", "RSA-SHA1"}, "multipart", hashOfNothing),
	},
	{
		name: "OmniAuth", from: "Debian ruby-omniauth-oauth",
		what: "logins of Rails and Rack applications",
		legs: []string{"callback"}, placements: []string{"header", "query"},
		methods: []string{"HMAC-SHA1"},
		program: rubyClient("omniauth_driver.rb", "omniauth-oauth"),
		faults:  map[string]fault{"multipart": hashOfNothing},
	},
	{
		name: "Ruby simple_oauth", from: "Debian ruby-simple-oauth",
		what: "any API; what the gem twitter and Faraday sign with",
		legs: []string{"callback", "oob"}, placements: []string{"header"},
		methods: []string{"HMAC-SHA1", "RSA-SHA1", "PLAINTEXT"},
		program: rubyClient("simple_oauth_driver.rb", "simple_oauth"),
	},
	{
		name: "Net::OAuth", from: "Debian libnet-oauth-perl", what: "any API, with Perl's LWP",
		setup: longerNames,
		legs:  []string{"callback", "oob"}, placements: []string{"header", "query", "body"},
		methods: []string{"HMAC-SHA1", "HMAC-SHA256", "RSA-SHA1", "PLAINTEXT"},
		program: perlClient("net_oauth_driver.pl", "Net::OAuth"),
		faults: whereSigned([]string{"HMAC-SHA1", "HMAC-SHA256", "RSA-SHA1"}, "header repeated", fault{
			why:    "It signs only the first of several values of a name.",
			remedy: useOnce,
		}),
		differs: map[string]string{"query repeated": onlyTheFirst},
		unable:  map[string]string{"query form": formInQuery, "query brackets": formInQuery},
	},
	{
		name: "Net::OAuth::Client", from: "Debian libnet-oauth-perl", what: "web applications in Perl",
		setup: longerNames,
		legs:  []string{"callback", "oob", "polling"}, placements: []string{"query"},
		methods: []string{"HMAC-SHA1"},
		program: perlClient("net_oauth_client_driver.pl", "Net::OAuth::Client"),
		faults:  map[string]fault{"form": unsignedForm, "brackets": unsignedForm},
		differs: map[string]string{"repeated": onlyTheFirst},
	},
	{
		name: "Net::Twitter", from: "Debian libnet-twitter-perl", what: "X (Twitter)",
		setup: "Its options `oauth_urls` and `apiurl` take the addresses, `ssl => 0` leaves http be. " +
			longerNames,
		legs: []string{"callback", "oob"}, placements: []string{"header"},
		methods: []string{"HMAC-SHA1"},
		program: perlClient("net_twitter_driver.pl", "Net::Twitter"),
		differs: map[string]string{"json": "Its JSON is what X's `create_media_metadata` takes."},
		unable: map[string]string{
			"repeated": "It takes parameters as a hash, which holds a name once.",
			"upload":   "X takes a photo as multipart only.",
		},
	},
	{
		name: "WWW::OAuth", from: "Debian libwww-oauth-perl",
		what: "any API, with Perl's LWP, HTTP::Tiny or Mojolicious",
		legs: []string{"callback", "oob"}, placements: []string{"header"},
		methods: []string{"HMAC-SHA1", "HMAC-SHA256", "RSA-SHA1", "PLAINTEXT"},
		program: perlClient("www_oauth_driver.pl", "WWW::OAuth"),
	},
	{
		name: "LWP::Authen::OAuth", from: "Debian liblwp-authen-oauth-perl",
		what: "any API, with Perl's LWP",
		legs: []string{"callback", "oob"}, placements: []string{"header"},
		methods: []string{"HMAC-SHA1"},
		program: perlClient("lwp_authen_oauth_driver.pl", "LWP::Authen::OAuth"),
		faults: map[string]fault{
			"query": encodedTwice, "form": encodedTwice,
			"repeated": unsortedValues,
		},
	},
	{
		name: "PHP OAuth", from: "Debian php-oauth", what: "any API, with PHP's extension (PECL)",
		legs: []string{"callback", "oob"}, placements: []string{"header", "query", "body"},
		methods: []string{"HMAC-SHA1", "HMAC-SHA256", "RSA-SHA1", "PLAINTEXT"},
		program: scriptClient("php", "oauth_driver.php", "php", "-r", "new OAuth('key', 'secret');"),
		faults: whereSigned([]string{"HMAC-SHA1", "HMAC-SHA256", "RSA-SHA1"}, "repeated", fault{
			why:    "It signs only the last of several values of a name, be it `q` or `q[]`.",
			remedy: useOnce,
		}),
	},
	{
		name: "Signpost", from: "Debian liboauth-signpost-java",
		what: "any API, in Java with Apache's HttpClient",
		legs: []string{"callback", "oob"}, placements: []string{"header"},
		methods: []string{"HMAC-SHA1", "PLAINTEXT"},
		program: javaClient("SignpostDriver",
			"signpost-core", "signpost-commonshttp4", "httpclient", "httpcore", "httpmime",
			"commons-logging", "commons-codec", "gson"),
	},
	{
		name: "Google's OAuth client", from: "Debian libgoogle-oauth-client-java",
		what: "any API, in Java; Jira, as Atlassian shows it",
		legs: []string{"callback", "oob"}, placements: []string{"header"},
		methods: []string{"HMAC-SHA1", "HMAC-SHA256", "RSA-SHA1"},
		program: javaClient("GoogleDriver",
			"google-oauth-client", "google-http-client", "opencensus-api", "opencensus-contrib-http-util",
			"grpc-context", "guava", "gson"),
	},
	{
		name: "liboauth", from: "Debian liboauth-dev", what: "any API, in C with libcurl",
		setup: "It takes + in a path for a blank: write the endpoints' addresses with `%2B`, as " +
			"`/%2Brequest-token`. Debian's build takes an RSA key as PKCS #8 only.",
		legs: []string{"callback", "oob"}, placements: []string{"header", "query", "body"},
		methods: []string{"HMAC-SHA1", "RSA-SHA1", "PLAINTEXT"},
		program: builtClient("c", "liboauth_driver.c", "cc", "oauth", "libcurl", "jansson"),
	},
	{
		name: "Qt QOAuth1", from: "Debian qt6-networkauth-dev", what: "desktop programs with Qt",
		setup: "It signs a path wrongly that holds an escape, such as `%20`.",
		legs:  []string{"callback", "oob"}, placements: []string{"header"},
		methods: []string{"HMAC-SHA1", "PLAINTEXT"},
		program: builtClient("qt", "qoauth1_driver.cpp", "g++", "Qt6NetworkAuth"),
		faults: map[string]fault{
			"HMAC-SHA1 repeated": unsortedValues,
			"HMAC-SHA1 form": {
				why: "It sends + in a form's value as it is, which stands for a blank, and signs a plus.",
				remedy: "Where a value may hold one, encode the form yourself and have it signed by " +
					"`prepareRequest`.",
			},
		},
		differs: map[string]string{
			"PLAINTEXT form": "It sends + in a form's value as it is, which stands for a blank.",
		},
	},
	{
		name: "curl", from: "Debian curl, openssl, jq",
		what: "by hand: a shell script that signs with openssl",
		legs: []string{"callback", "oob"}, placements: []string{"header", "query", "body"},
		methods: everyMethod, program: curlClient,
	},
}

func curlClient(t *testing.T) []string {
	t.Helper()
	for _, name := range []string{"curl", "jq", "openssl"} {
		requireProgram(t, name)
	}
	return []string{requireProgram(t, "bash"), filepath.Join("clients", "curl", "curl_driver.sh")}
}

// Faults that the requests of the matrix don't show, but the notes of its page mention.
func TestClientsFaultsWithOtherRequests(t *testing.T) {
	const sortsPairs = "it sorts NAME=VALUE, where RFC 5849 sorts the names, so that a2 comes before a"
	digits := [][2]string{{"a", "1"}, {"a2", "1"}}
	for _, c := range []struct {
		client, uri, why string
		query            [][2]string
	}{
		{"Net::OAuth", "/items?a=1&a2=1", sortsPairs, digits},
		{"Net::OAuth", "/items?a=1&a%5Bb%5D=1", sortsPairs, [][2]string{{"a", "1"}, {"a[b]", "1"}}},
		{"Net::OAuth::Client", "/items?a=1&a2=1", sortsPairs, digits},
		{"Net::Twitter", "", sortsPairs, digits},
		{"PHP OAuth", "/items?q[]=1&q[]=2", "it signs only the last", nil},
		{"Qt QOAuth1", "/a%20b", "it signs the path decoded", nil},
	} {
		t.Run(c.client+" "+c.uri, func(t *testing.T) {
			t.Parallel()
			i := slices.IndexFunc(debianClients, func(d matrixClient) bool { return d.name == c.client })
			program := debianClients[i].program(t)
			srv := startServer(t, site{OAuth1: "signature_methods HMAC-SHA1", Handler: "respond ok"}, "")
			w := newWire(t, srv)
			tok := srv.issue(t, demoKey, "salgado", "WRITE_PRIVATE", nil)
			run := matrixRun{
				Root: w.origin() + "/", Method: "HMAC-SHA1", Placement: debianClients[i].placements[0],
				Consumer: demoKey, ConsumerSecret: demoSecret, Token: tok.Key, Secret: tok.Secret,
				Requests: []matrixRequest{{
					Name: "query", Kind: "query", Method: "GET", URL: w.origin() + c.uri, Query: c.query,
				}},
			}
			var result matrixResult
			if err := tryDrive(t, program, run, noQuestions(t), &result); err != nil {
				t.Fatal(err)
			}
			seen := w.exchanges()
			if len(seen) != 1 {
				t.Fatalf("%d requests, and the driver says %+v", len(seen), result)
			}
			x := seen[0]
			x.wrong = x.judged(secrets{consumer: demoSecret, token: tok.Secret})
			fault{why: c.why}.check(t, seen)
		})
	}
}
