package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

var update = flag.Bool("update", false, "write the golden files anew")

func adapt(text string) ([]byte, error) {
	adapted, _, err := caddyfile.Adapter{ServerType: httpcaddyfile.ServerType{}}.Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	return adapted, err
}

// TestCaddyfileToJSON compares with testdata/caddyfile: a Caddyfile, a line, and its JSON.
func TestCaddyfileToJSON(t *testing.T) {
	const line = "----------\n"
	files, err := filepath.Glob("testdata/caddyfile/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			golden, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, want, _ := strings.Cut(string(golden), line)
			adapted, err := adapt(input)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if err := json.Indent(&got, adapted, "", "\t"); err != nil {
				t.Fatal(err)
			}
			got.WriteByte('\n')
			if *update {
				if err := os.WriteFile(file, []byte(input+line+got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got.String() != want {
				t.Errorf("got:\n%s\nwant:\n%s", got.String(), want)
			}
		})
	}
}

// TestCaddyfileErrors: the error for every mistake is one line with the value and its position.
func TestCaddyfileErrors(t *testing.T) {
	for _, test := range []struct{ global, directive, want string }{
		{"nonsense", "", `oauth1: unknown option "nonsense", at Caddyfile:3`},
		{"store", "", `wrong argument count or unexpected line ending after 'store', at Caddyfile:3`},
		{"store papyrus", "", `store "papyrus": there is no such store, at Caddyfile:3`},
		{"request_token_lifetime 2h\nrequest_token_lifetime 3h", "", `request_token_lifetime: given twice, at Caddyfile:4`},
		{"request_token_lifetime soon", "", `request_token_lifetime "soon": must be a duration such as 90s, 5m, 2h or 7d, at Caddyfile:3`},
		{"request_token_lifetime -1h", "", `request_token_lifetime "-1h": must be positive, at Caddyfile:3`},
		{"request_token_lifetime", "", `request_token_lifetime: wants one argument, at Caddyfile:3`},
		{"request_token_lifetime 1h 2h", "", `request_token_lifetime: wants one argument, at Caddyfile:3`},
		{"access_token_lifetime sometimes", "", `access_token_lifetime "sometimes": must be a duration such as 90s, 5m, 2h or 7d, at Caddyfile:3`},
		{"metrics", "", `metrics: needs consumers, limit, or both, at Caddyfile:3`},
		{"metrics all", "", `wrong argument count or unexpected line ending after 'all', at Caddyfile:3`},
		{"metrics {\n\tlimit 0\n}", "", `metrics: limit "0": must be a number from 1 to 10000, at Caddyfile:4`},
		{"metrics {\n\tlimit 20000\n}", "", `metrics: limit "20000": must be a number from 1 to 10000, at Caddyfile:4`},
		{"metrics {\n\tlimit 1\n\tlimit 2\n}", "", `limit: given twice, at Caddyfile:5`},
		{"metrics {\n\tusers alice\n}", "", `metrics: unknown option "users", at Caddyfile:4`},
		{"metrics {\n\tconsumers a[\n}", "", `metrics: consumers "a[": is neither a key nor a pattern, at Caddyfile:5`},
		{"backup", "", `backup: path is missing, at Caddyfile:3`},
		{"backup a b", "", `backup: wants a path, or a block, at Caddyfile:3`},
		{"backup a {\npath b\n}", "", `path: given twice, at Caddyfile:4`},
		{"backup a {\nkeep 0\n}", "", `keep "0": must be a number from 1 on, at Caddyfile:4`},
		{"backup a {\nevery never\n}", "", `every "never": must be a duration such as 90s, 5m, 2h or 7d, at Caddyfile:4`},
		{"backup a {\nrecipients\n}", "", `recipients: wants at least one argument, at Caddyfile:4`},
		{"backup a {\nplace b\n}", "", `backup: unknown option "place", at Caddyfile:4`},
		{"diagnoses", "", `diagnoses: wants off, or how many a second, and optionally how many of one consumer, at Caddyfile:3`},
		{"diagnoses off 2", "", `diagnoses "off": must be off or a number from 1 to 1000, at Caddyfile:3`},
		{"diagnoses 2000", "", `diagnoses "2000": must be off or a number from 1 to 1000, at Caddyfile:3`},
		{"diagnoses 2 3", "", `diagnoses 3 of one consumer: must be a number from 1 to 2, at Caddyfile:3`},
		{"max_request_tokens", "", `max_request_tokens: wants a limit for each consumer, and optionally a limit for all together, at Caddyfile:3`},
		{"max_request_tokens 1 2 3", "", `max_request_tokens: wants a limit for each consumer, and optionally a limit for all together, at Caddyfile:3`},
		{"max_request_tokens 0", "", `max_request_tokens "0": must be a number from 1 to 2147483647, at Caddyfile:3`},
		{"max_request_tokens 10 many", "", `max_request_tokens "many": must be a number from 1 to 2147483647, at Caddyfile:3`},
		{"max_request_tokens 10 9", "", `max_request_tokens "9": must be at least the 10 of one consumer, at Caddyfile:3`},
		{"max_request_tokens 10\nmax_request_tokens 10", "", `max_request_tokens: given twice, at Caddyfile:4`},
		{"registration ajar", "", `registration "ajar": must be closed or open, at Caddyfile:3`},
		{"consumer", "", `consumer: wants one argument, at Caddyfile:3`},
		{"consumer a {\n secret x\n}\nconsumer a {\n secret y\n}", "", `consumer "a": declared twice, at Caddyfile:6`},
		{"consumer a {\n colour red\n}", "", `consumer "a": unknown option "colour", at Caddyfile:4`},
		{"consumer a {\n secret x\n secret y\n}", "", `secret: given twice, at Caddyfile:5`},
		{"consumer a {\n secret \"\"\n}", "", `secret: is empty, at Caddyfile:4`},
		{"consumer a {\n signature_methods ROT13\n}", "", `signature_methods "ROT13": must be one of HMAC-SHA1, HMAC-SHA256, HMAC-SHA512, RSA-SHA1, RSA-SHA256, RSA-SHA512, PLAINTEXT, at Caddyfile:4`},
		{"consumer a {\n two_legged alice\n}", "", `two_legged: wants a user and a permission, at Caddyfile:4`},
		{"keys", "", `keys: there is no primary key, at Caddyfile:3`},
		{"keys k1", "", `keys takes a block, and nothing before it, at Caddyfile:3`},
		{"keys {\n secret k1 hidden\n}", "", `keys: unknown option: it has primary and old, at Caddyfile:4`},
		{"keys {\n primary k1\n}", "", `keys: primary wants an id, and a key of 32 bytes, at Caddyfile:4`},
		{"keys {\n primary k1 hid den\n}", "", `keys: primary wants an id, and a key of 32 bytes, at Caddyfile:4`},
		{"keys {\n old k1 hidden\n}", "", `keys: there is no primary key, at Caddyfile:5`},
		{"keys {\n primary k1 hidden\n primary k2 hidden\n}", "", `keys: primary is given twice: the one that encrypted before is old now, at Caddyfile:5`},
		{"permission", "", `permission: wants a name, and optionally a title, at Caddyfile:3`},
		{"permission A {\n implies B\n}", "", `permission "A": implies "B", which is not declared, at Caddyfile:3`},
		{"permission A {\n implies B\n}\npermission B {\n implies A\n}", "", `permission "A": implies itself, by way of "B", at Caddyfile:3`},
		{"permission A\npermission A\npermission B", "", `permission "A": declared twice, at Caddyfile:4`},
		{"permission UNAUTHORIZED", "", `permission "UNAUTHORIZED": the name stands for a refusal and can't be declared, at Caddyfile:3`},
		{"permission \"A B\"", "", `permission "A B": must be one word of printable ASCII, at Caddyfile:3`},
		{"permission A {\n colour red\n}", "", `permission "A": unknown option "colour", at Caddyfile:4`},
		{"permission A {\n description x\n description y\n}", "", `description: given twice, at Caddyfile:5`},
		{"permission A {\n description\n}", "", `description: wants one argument, at Caddyfile:4`},
		{"permission A {\n implies\n}", "", `implies: wants at least one argument, at Caddyfile:4`},
		{"permission A b c", "", `permission: wants a name, and optionally a title, at Caddyfile:3`},
		{"registration", "", `registration: wants one argument, at Caddyfile:3`},
		{"registration {\n open\n}", "", `registration: wants one argument, at Caddyfile:3`},
		{"timestamp_window 5m {\n x\n}", "", `a block is not allowed here, at Caddyfile:3`},
		{"timestamp_window 0s", "", `timestamp_window "0s": must be positive, at Caddyfile:3`},
		{"access_token_lifetime", "", `access_token_lifetime: wants one argument, at Caddyfile:3`},
		{"access_token_lifetime never ever", "", `access_token_lifetime: wants one argument, at Caddyfile:3`},
		{"store badger /a /b", "", `store badger takes one path, but "/b" follows it, at Caddyfile:3`},
		{"consumer a {\n signature_methods\n}", "", `signature_methods: wants at least one argument, at Caddyfile:4`},
		{"consumer a {\n permissions A \"\"\n}", "", `permissions: an argument is empty, at Caddyfile:4`},
		{"consumer a {\n callbacks\n}", "", `callbacks: wants at least one argument, at Caddyfile:4`},
		{"consumer a {\n permissions\n}", "", `permissions: wants at least one argument, at Caddyfile:4`},
		{"consumer a {\n two_legged\n}", "", `two_legged: wants a user and a permission, at Caddyfile:4`},
		{"consumer a b {\n}", "", `consumer: wants one argument, at Caddyfile:3`},
		{"consumer a {\n secret s t\n}", "", `secret: wants one argument, at Caddyfile:4`},

		{"", "realm", `realm: wants one argument, at Caddyfile:8`},
		{"", "realm a {\n b\n}", `a block is not allowed here, at Caddyfile:8`},
		{"", "base_url", `base_url: wants one argument, at Caddyfile:8`},
		{"", "base_url api.test", `base_url "api.test": must begin with http:// or https://, at Caddyfile:8`},
		{"", "base_url https://api.test/a/../b", `base_url "https://api.test/a/../b": its path holds a dot segment, at Caddyfile:8`},
		{"", "base_url https://api.test/a//b", `base_url "https://api.test/a//b": its path holds an empty segment, at Caddyfile:8`},
		{"", "base_url https://:8443", `base_url "https://:8443": must be an origin such as https://api.example.com, at Caddyfile:8`},
		{"", "base_url https://api.test?", `base_url "https://api.test?": must be an origin such as https://api.example.com, at Caddyfile:8`},
		{"", "paths", `paths: wants one argument, at Caddyfile:8`},
		{"", "paths loose", `paths "loose": must be strict or as_sent, at Caddyfile:8`},
		{"", "upgrades", `upgrades: wants at least one argument, at Caddyfile:8`},
		{"", "upgrades websocket a/b/c", `upgrades "a/b/c": must be a protocol such as websocket or SPDY/3.1, at Caddyfile:8`},
		{"", "user", `user: wants one argument, at Caddyfile:8`},
		{"", "signature_methods", `signature_methods: wants at least one argument, at Caddyfile:8`},
		{"", "permissions", `permissions: wants at least one argument, at Caddyfile:8`},
		{"", "insecure_plaintext_over_http on", `insecure_plaintext_over_http: takes no argument, got "on", at Caddyfile:8`},
		{"", "require_body_hash on", `require_body_hash: takes no argument, got "on", at Caddyfile:8`},
		{"", "keep_authorization on", `keep_authorization: takes no argument, got "on", at Caddyfile:8`},
		{"", "require_callback\nrequire_callback", `require_callback: given twice, at Caddyfile:9`},
		{"", "explain_refusals all", `explain_refusals: wants nothing, or: consumers <pattern...>, at Caddyfile:8`},
		{"", "explain_refusals consumers", `explain_refusals: wants nothing, or: consumers <pattern...>, at Caddyfile:8`},
		{"", "explain_refusals consumers [", `explain_refusals consumers "[": syntax error in pattern, at Caddyfile:8`},
		{"", "max_form_body 0", `max_form_body "0": must be a size such as 512KiB or 4MiB, at Caddyfile:8`},
		{"", "max_form_body", `max_form_body: wants one argument, at Caddyfile:8`},
		{"", "endpoints", `endpoints: is empty, at Caddyfile:8`},
		{"", "endpoints off now", `endpoints "now": must be off, or a block of paths, at Caddyfile:8`},
		{"", "endpoints {\n authorize\n}", `authorize: wants one argument, at Caddyfile:9`},
		{"", "endpoints {\n authorize oauth\n}", `endpoints: path "oauth": must begin with a slash, at Caddyfile:9`},
		{"", "identity_headers {\n}", `identity_headers: is empty, at Caddyfile:9`},
		{"", "identity_headers {\n user \"a b\"\n}", `identity_headers "a b": is not a header name, at Caddyfile:9`},
		{"", "identity_headers {\n user Content_Length\n}", `identity_headers "Content_Length": has a meaning of its own in HTTP, at Caddyfile:9`},
		{"", "identity_headers X-User", `identity_headers: takes a block, and not "X-User", at Caddyfile:8`},
		{"", "pages {\n favicon x\n}", `pages: unknown option "favicon", at Caddyfile:9`},
		{"", "pages {\n language klingon\n}", `pages: language "klingon": must be one of en, de, fr, es, pt-BR, ja, zh-Hans, ar, at Caddyfile:9`},
		{"", "pages {\n language de fr\n}", `language: wants one argument, at Caddyfile:9`},
		{"", "pages {\n default_permission READ_MINDS\n}", `pages: default_permission "READ_MINDS": is not declared, at Caddyfile:9`},
		{"", "pages {\n default_permission UNAUTHORIZED\n}", `pages: default_permission "UNAUTHORIZED": is not declared, at Caddyfile:9`},
		{"", "pages {\n default_permission DESKTOP_INTEGRATION\n}", `pages: default_permission "DESKTOP_INTEGRATION": is never offered beside others, at Caddyfile:9`},
		{"", "pages {\n default_lifetime 3h\n}", `pages: default_lifetime "3h": is not offered; must be one of 1h, 1d, 7d or never, at Caddyfile:9`},
		{"", "pages {\n default_lifetime soon\n}", `pages: default_lifetime "soon": is not offered; must be one of 1h, 1d, 7d or never, at Caddyfile:9`},
		{"", "pages {\n default_lifetime 0s\n}", `pages: default_lifetime "0s": is not offered; must be one of 1h, 1d, 7d or never, at Caddyfile:9`},
		{"", "pages {\n default_lifetime 1d\n default_lifetime 1h\n}", `default_lifetime: given twice, at Caddyfile:10`},
		{"", "pages x", `pages: takes a block, and not "x", at Caddyfile:8`},
		{"", "policy {\n anonymous yes\n}", `anonymous: takes no argument, got "yes", at Caddyfile:9`},
		{"", "policy {\n deny all\n}", `deny: takes no argument, got "all", at Caddyfile:9`},
		{"", "policy {\n deny\n deny\n}", `deny: given twice, at Caddyfile:10`},
		{"", "policy {\n consumers\n}", `consumers: wants at least one argument, at Caddyfile:9`},
		{"", "policy {\n consumers a\n consumers b\n}", `consumers: given twice, at Caddyfile:10`},
		{"", "policy {\n users\n}", `users: wants at least one argument, at Caddyfile:9`},
		{"", "policy {\n users {\n alice\n }\n}", `users: wants at least one argument, at Caddyfile:9`},
		{"", "policy {\n context\n}", `context: wants one argument, at Caddyfile:9`},
		{"", "policy {\n permission\n}", `permission: wants a level; methods that need it may stand before it, at Caddyfile:9`},
		{"", "policy {\n permission GET READ_PUBLIC {\n x\n }\n}", `a block is not allowed here, at Caddyfile:9`},
		{"permission A", "policy {\n users alice\n}", `policy: needs a permission, because the default READ_PUBLIC is not declared, at Caddyfile:10`},
		{"permission A", "realm x", `oauth1: needs a policy, because the default READ_PUBLIC is not declared, at Caddyfile:9`},
		{"permission READ_PUBLIC", "realm x", `oauth1: needs a policy, because the default WRITE_PUBLIC is not declared, at Caddyfile:9`},
		{"", "permissions READ_PUBLIC\npolicy {\n permission WRITE_PUBLIC\n}", `permission "WRITE_PUBLIC": no permission that the site offers allows it, at Caddyfile:10`},
		{"", "policy {\n permission WRITE_PUBLIC\n}\npermissions READ_PUBLIC", `permission "WRITE_PUBLIC": no permission that the site offers allows it, at Caddyfile:11`},

		{"", "nonsense", `oauth1: unknown option "nonsense", at Caddyfile:8`},
		{"", "realm a\nrealm b", `realm: given twice, at Caddyfile:9`},
		{"", "signature_methods HMAC-MD5", `signature_methods "HMAC-MD5": must be one of`},
		{"", "signature_methods HMAC-SHA1 HMAC-SHA1", `signature_methods "HMAC-SHA1": given twice, at Caddyfile:8`},
		{"", "require_callback yes", `require_callback: takes no argument, got "yes", at Caddyfile:8`},
		{"", "endpoints on", `endpoints "on": must be off, or a block of paths, at Caddyfile:8`},
		{"", "endpoints {\n login /x\n}", `endpoints: unknown option "login", at Caddyfile:9`},
		{"", "max_form_body huge", `max_form_body "huge": must be a size such as 512KiB or 4MiB, at Caddyfile:8`},
		{"", "permissions READ_MINDS", `permission "READ_MINDS": is not declared, at Caddyfile:8`},
		{"", "identity_headers {\n shoe X-Shoe\n}", `identity_headers: unknown option "shoe", at Caddyfile:9`},
		{"", "identity_headers {\n user X-A\n user X-B\n}", `user: given twice, at Caddyfile:10`},
		{"", "policy @nobody {\n deny\n}", `unrecognized matcher name: @nobody, at Caddyfile:8`},
		{"", "policy admin {\n deny\n}", `policy "admin": must be a path that begins with a slash, or the name of a matcher that begins with @, at Caddyfile:8`},
		{"", "policy /a /b {\n deny\n}", `policy "/b": only one matcher is allowed, at Caddyfile:8`},
		{"", "policy {\n shrug\n}", `policy: unknown option "shrug", at Caddyfile:9`},
		{"", "policy {\n deny\n}\npolicy /x {\n anonymous\n}", `policy /x: can never be reached, because policy 1 decides all its requests; the first match wins, at Caddyfile:11`},
		{"", "policy /api/* {\n anonymous\n}\npolicy /api/admin/* {\n deny\n}", `policy /api/admin/*: can never be reached, because policy 1 decides all its requests; the first match wins, at Caddyfile:11`},
		{"", "policy /* {\n anonymous\n}\npolicy {\n deny\n}", `policy: can never be reached, because policy 1 decides all its requests; the first match wins, at Caddyfile:11`},
		{"", "policy policy {\n deny\n}", `policy "policy": must be a path`},
		{"", "policy {\n permission GET,POST READ_PUBLIC\n}", `permission "READ_PUBLIC": "GET,POST" is not a method, at Caddyfile:9`},
		{"", "policy {\n permission * READ_PUBLIC\n}", `permission "READ_PUBLIC": "*" is not a method, at Caddyfile:9`},
		{"", "policy {\n permission READ_PUBLIC WRITE_PUBLIC\n}", `permission "WRITE_PUBLIC": "READ_PUBLIC" is a permission, where methods are expected, at Caddyfile:9`},
		{"", "policy {\n permission GET GET READ_PUBLIC\n}", `permission "READ_PUBLIC": method GET is given twice, at Caddyfile:9`},
		{"", "policy {\n permission get READ_PUBLIC\n permission GET WRITE_PUBLIC\n}", `permission "WRITE_PUBLIC": method GET is given twice, at Caddyfile:10`},
		{"", "policy {\n anonymous\n users alice\n}", `anonymous lets everybody through: nothing else may stand beside it, at Caddyfile:10`},
		{"", "policy {\n deny\n permission READ_PUBLIC\n}", `deny refuses everybody: nothing else may stand beside it, at Caddyfile:10`},
		{"", "policy {\n consumers [\n}", `consumers "[": is not a pattern, at Caddyfile:9`},
		{"", "policy {\n permission READ_MINDS\n}", `permission "READ_MINDS": is not declared, at Caddyfile:9`},
		{"", "policy {\n permission GET READ_PUBLIC\n permission GET WRITE_PUBLIC\n}", `permission "WRITE_PUBLIC": method GET is given twice, at Caddyfile:10`},
		{"", "policy {\n permission READ_PUBLIC\n permission WRITE_PUBLIC\n}", `permission "WRITE_PUBLIC": another permission already stands for every other method, at Caddyfile:10`},
	} {
		t.Run(test.want, func(t *testing.T) {
			_, err := adapt("{\n\toauth1 {\n" + test.global + "\n\t}\n}\n" + siteOf(test.directive))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v", err)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
		})
	}
	for text, want := range map[string]string{
		"{\n oauth1 on\n}\n":                    "wrong argument count or unexpected line ending after 'on', at Caddyfile:2",
		"http://api.test {\n oauth1 on\n}\n":    "wrong argument count or unexpected line ending after 'on', at Caddyfile:2",
		"http://api.test {\n oauth1 /a /b\n}\n": "wrong argument count or unexpected line ending after '/b', at Caddyfile:2",
	} {
		if _, err := adapt(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := adapt("{\n oauth1\n oauth1\n}\n"); err == nil || !strings.Contains(err.Error(), "given twice") {
		t.Errorf("the global option twice: %v", err)
	}
}

// siteOf returns a site whose directive has the options, from line 8 on without global options.
func siteOf(directive string) string {
	if directive == "" {
		return "http://api.test {\n\toauth1\n}\n"
	}
	return "http://api.test {\n\toauth1 {\n" + directive + "\n\t}\n}\n"
}

// TestProvisionErrors: errors that only a start can find name the value, and a consumer's line.
func TestProvisionErrors(t *testing.T) {
	t.Setenv("EMPTY_SECRET", "")
	for _, test := range []struct{ global, directive, want string }{
		{"consumer a {\n secret {env.NO_SUCH_SECRET}\n}", "", `consumer "a": secret "{env.NO_SUCH_SECRET}": `},
		{"consumer a {\n secret {env.EMPTY_SECRET}\n}", "", `, at Caddyfile:5`},
		{"consumer a {\n name A\n}", "", `consumer "a": needs a secret or an rsa_public_key, at Caddyfile:5`},
		{"consumer a {\n rsa_public_key {file.no-such.pem}\n}", "", `consumer "a": rsa_public_key "{file.no-such.pem}": `},
		{"consumer a {\n rsa_public_key nonsense\n}", "", `consumer "a": rsa_public_key: `},
		{"consumer a {\n secret s\n rsa_public_key x\n}", "", `has a secret and an rsa_public_key`},
		{"consumer a {\n secret s\n permissions READ_MINDS\n}", "", `consumer "a": permission "READ_MINDS": is not declared, at Caddyfile:5`},
		{"consumer a {\n secret s\n callbacks https://a.test*\n}", "", `callbacks "https://a.test*": a * is allowed only in the path, after a slash`},
		{"consumer a {\n secret s\n expires tomorrow\n}", "", `expires "tomorrow": must be a time`},
		{"consumer a {\n secret s\n contact nobody\n}", "",
			`contact "nobody": must be an e-mail address, or an http or https URL`},
		{"consumer a {\n secret s\n homepage javascript:alert(1)\n}", "", `homepage "javascript:alert(1)": must be an http or https URL`},
		{"consumer a {\n secret s\n signature_methods RSA-SHA1\n}", "", `signature_methods "RSA-SHA1": the consumer has no key for it`},
		{"timestamp_window 1ms", "", `timestamp_window 1ms: must be from a second to ten years`},
		{"timestamp_window 29200d", "", `timestamp_window 700800h0m0s: must be from a second to ten years`},
		{"consumer a {\n secret abc{def}ghi\n}", "", `consumer "a": secret: holds a placeholder that is unknown or empty (a brace that is part of it needs a \ before it), at Caddyfile:5`},
		{"consumer a {\n secret s\n two_legged {env.NO_SUCH_USER} READ_PUBLIC\n}", "", `consumer "a": two_legged "{env.NO_SUCH_USER}": `},
		{"consumer a {\n secret s\n two_legged alice READ_MINDS\n}", "", `consumer "a": permission "READ_MINDS": is not declared, at Caddyfile:5`},
		{"consumer a {\n secret s\n permissions READ_PUBLIC\n two_legged alice WRITE_PUBLIC\n}", "", `two_legged: permission "WRITE_PUBLIC" is not among the consumer's permissions, at Caddyfile:5`},
		{"consumer a {\n secret s\n two_legged \" alice\" READ_PUBLIC\n}", "", `two_legged user " alice": begins or ends with a space, at Caddyfile:5`},
		{"consumer a {\n secret s\n callbacks {env.NO_SUCH_URL}\n}", "", `consumer "a": callbacks "{env.NO_SUCH_URL}": `},
		{"consumer a {\n secret s\n expires {env.NO_SUCH_TIME}\n}", "", `consumer "a": expires "{env.NO_SUCH_TIME}": `},
		{"consumer \" a\" {\n secret s\n}", "", `key " a": begins or ends with a space, at Caddyfile:5`},
		{"", "base_url {env.NO_SUCH_URL}", `base_url "{env.NO_SUCH_URL}": `},
		{"", "endpoints {\n authorize /+access-token\n}", `endpoints: one request could mean both "/+access-token" and "/+access-token"`},
		{"", "endpoints {\n authorize oauth\n}", `endpoints: path "oauth": must begin with a slash`},
		{"", "endpoints {\n authorize /w?a=1\n access_token /w?b=1\n}", `one request could mean both "/w?a=1" and "/w?b=1"`},
		{"", "endpoints {\n authorize /w\n access_token /w?b=1\n}", `one request could mean both "/w" and "/w?b=1"`},
		{"", "endpoints {\n authorize /w?oauth_token=1\n}", `its query must not hold oauth_token, which has a meaning there`},
		{"", "endpoints {\n authorize /w?a=1&a=2\n}", `its query must hold a once`},
		{"", "endpoints {\n authorize /w?a=%zz\n}", `its query is malformed`},
		{"", "endpoints {\n authorize /w#a\n}", `holds a fragment`},
		{"", "identity_headers {\n user \"a b\"\n}", `identity_headers "a b": is not a header name`},
		{"", "identity_headers {\n user Content_Length\n}", `has a meaning of its own in HTTP`},
		{"", "identity_headers {\n user X-OAuth_Token\n}", `used twice`},
		{"", "permissions READ_PUBLIC WRITE_PUBLIC\npages {\n default_permission READ_PRIVATE\n}", `pages: default_permission "READ_PRIVATE": is not among the permissions of the site`},
		{"", "pages {\n default_permission READ_PRIVATE\n}\npermissions READ_PUBLIC WRITE_PUBLIC", `pages: default_permission "READ_PRIVATE": is not among the permissions of the site`},
		{"access_token_lifetime 48h", "pages {\n default_lifetime 7d\n}", `pages: default_lifetime "7d": is longer than access_token_lifetime 48h0m0s allows`},
		{"", "pages {\n language {env.NO_SUCH_LANGUAGE}\n}", `pages: language "{env.NO_SUCH_LANGUAGE}": `},
	} {
		t.Run(strings.NewReplacer("{", "", "}", "").Replace(test.want), func(t *testing.T) {
			_, err := provisionTestSite(t, test.global, test.directive)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestExampleCaddyfile: the example is a valid configuration, and all its modules load.
func TestExampleCaddyfile(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	text, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	adapted, err := adapt(string(text))
	if err != nil {
		t.Fatal(err)
	}
	var config caddy.Config
	if err := json.Unmarshal(adapted, &config); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&config); err != nil {
		t.Error(err)
	}
}

func FuzzCaddyfile(f *testing.F) {
	files, _ := filepath.Glob("testdata/caddyfile/*.txt")
	for _, file := range files {
		if golden, err := os.ReadFile(file); err == nil {
			input, _, _ := strings.Cut(string(golden), "----------\n")
			f.Add(input)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "import") {
			t.Skip("reads other files")
		}
		adapted, err := adapt(text)
		if err == nil && !json.Valid(adapted) {
			t.Errorf("invalid JSON: %s", adapted)
		}
	})
}

// TestJSONErrors: a JSON configuration is checked as strictly as a Caddyfile.
func TestJSONErrors(t *testing.T) {
	for _, test := range []struct{ app, handler, want string }{
		{`{"request_token_lifetime": -1}`, `{}`, `request_token_lifetime -1ns: must be positive`},
		{`{"access_token_lifetime": -1}`, `{}`, `access_token_lifetime -1ns: must be positive, or 0 for never`},
		{`{"timestamp_window": 1000}`, `{}`, `timestamp_window 1µs: must be from a second to ten years`},
		{`{"max_request_tokens_of_consumer": -1}`, `{}`, `max_request_tokens_of_consumer -1: must be positive`},
		{`{"backup": {}}`, `{}`, `backup: path is missing`},
		{`{"backup": {"path": "a", "every": 1}}`, `{}`, `backup: every 1ns: must be at least 1m0s`},
		{`{"backup": {"path": "a", "keep": -1}}`, `{}`, `backup: keep -1: must be at least 1`},
		{`{"backup": {"path": "a", "recipients": ["AGE-SECRET-KEY-1X"]}}`, `{}`, `backup: recipient "AGE-SECRET-KEY-...": is not an age recipient`},
		{`{"max_request_tokens": 5}`, `{}`, `max_request_tokens 5: must be at least the 10000 of one consumer`},
		{`{"registration": "ajar"}`, `{}`, `registration "ajar": must be closed or open`},
		{`{"store": {"module": "papyrus"}}`, `{}`, `unknown module: oauth1.stores.papyrus`},
		{`{"consumers": [{"key": "a", "secret": "s"}, {"key": "a", "secret": "t"}]}`, `{}`, `consumer "a": declared twice`},
		{`{"consumers": [{"secret": "s"}]}`, `{}`, `consumer "": key: is empty`},
		{`{"consumers": [{"key": "a", "secret": "s", "signature_methods": ["ROT13"]}]}`, `{}`, `signature_methods "ROT13": must be one of`},
		{`{"permissions": [{"name": "A", "implies": ["A"]}]}`, `{}`, `permission "A": implies itself, by way of "A"`},
		{`{"permissions": [{"name": "A"}]}`, `{}`, `policy 1: needs a permission, because the default READ_PUBLIC is not declared`},
		{`{}`, `{"signature_methods": ["ROT13"]}`, `signature_methods "ROT13": must be one of`},
		{`{}`, `{"permissions": ["READ_MINDS"]}`, `permission "READ_MINDS": is not declared`},
		{`{}`, `{"max_form_body": -1}`, `max_form_body -1: must be positive`},
		{`{}`, `{"paths": "loose"}`, `paths "loose": must be strict or as_sent`},
		{`{}`, `{"paths": "as_sent", "match": [{"vars": {"a": ["b"]}}]}`, `paths as_sent: the directive's matcher depends on vars a, `},
		{`{}`, `{"paths": "as_sent", "policies": [{"match": [{"vars": {"a": ["b"]}}], "deny": true}]}`, `paths as_sent: policy 1 depends on vars a, `},
		{`{}`, `{"upgrades": ["a b"]}`, `upgrades "a b": must be a protocol`},
		{`{}`, `{"match": [{"no_such": 1}]}`, `loading matchers: `},
		{`{}`, `{"pages": {"language": "tlh"}}`, `pages: language "tlh": must be one of en, de, fr, es, pt-BR, ja, zh-Hans, ar`},
		{`{}`, `{"pages": {"default_permission": "READ_MINDS"}}`, `pages: default_permission "READ_MINDS": is not declared`},
		{`{}`, `{"pages": {"default_permission": "DESKTOP_INTEGRATION"}}`, `pages: default_permission "DESKTOP_INTEGRATION": is never offered beside others`},
		{`{}`, `{"pages": {"default_lifetime": "30d"}}`, `pages: default_lifetime "30d": is not offered`},
		{`{"access_token_lifetime": 3600000000000}`, `{"pages": {"default_lifetime": "1d"}}`, `pages: default_lifetime "1d": is longer than access_token_lifetime 1h0m0s allows`},
		{`{}`, `{"base_url": "ftp://x"}`, `base_url "ftp://x": must begin with http:// or https://`},
		{`{}`, `{"base_url": "https://x\u007f"}`, `base_url "https://x\x7f": `},
		{`{}`, `{"endpoints": {"authorize": "oauth"}}`, `endpoints: path "oauth": must begin with a slash`},
		{`{}`, `{"identity_headers": {"user": "a b"}}`, `identity_headers "a b": is not a header name`},
		{`{}`, `{"identity_headers": {"user": "cookie"}}`, `identity_headers "Cookie": has a meaning of its own in HTTP`},
		{`{}`, `{"policies": [{"match": [{"no_such": 1}]}]}`, `policy 1: loading matchers: `},
		{`{}`, `{"policies": [{"deny": true, "users": ["a"]}]}`, `policy 1: deny refuses everybody: nothing else may stand beside it`},
		{`{}`, `{"policies": [{"anonymous": true, "deny": true}]}`, `policy 1: anonymous lets everybody through: nothing else may stand beside it`},
		{`{}`, `{"policies": [{"consumers": ["["]}]}`, `policy 1: consumers "[": is not a pattern`},
		{`{}`, `{"policies": [{"permissions": [{"methods": ["get"], "permission": "READ_PUBLIC"}]}]}`, `policy 1: permission "READ_PUBLIC": "get" is not a method`},
		{`{}`, `{"policies": [{"match": [{"path": ["/a*"]}], "deny": true}, {"match": [{"path": ["/ab"]}], "anonymous": true}]}`, `policy 2: can never be reached, because policy 1 decides all its requests`},
		{`{}`, `{"policies": [{"match": [{}], "deny": true}, {"anonymous": true}]}`, `policy 2: can never be reached, because policy 1 decides all its requests`},
		{`{}`, `{"permissions": ["READ_PUBLIC"], "policies": [{"permissions": [{"permission": "WRITE_PUBLIC"}]}]}`, `policy 1: permission "WRITE_PUBLIC": no permission that the site offers allows it`},
	} {
		t.Run(test.want, func(t *testing.T) {
			t.Setenv("XDG_DATA_HOME", t.TempDir())
			ctx, err := caddy.ProvisionContext(&caddy.Config{
				Admin:   &caddy.AdminConfig{Disabled: true},
				AppsRaw: caddy.ModuleMap{"oauth1": json.RawMessage(test.app)},
			})
			if err == nil {
				var cancel context.CancelFunc
				ctx, cancel = caddy.NewContext(ctx)
				defer cancel()
				_, err = ctx.LoadModuleByID("http.handlers.oauth1", json.RawMessage(test.handler))
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestConsumerPlaceholders: all texts of a consumer may hold placeholders.
func TestConsumerPlaceholders(t *testing.T) {
	for name, value := range map[string]string{"T_NAME": "A", "T_SECRET": "s", "T_USER": "alice", "T_LEVEL": "READ_PUBLIC", "T_URL": "https://a.test", "T_TIME": "2040-01-02", "T_METHOD": "HMAC-SHA256"} {
		t.Setenv(name, value)
	}
	site, err := provisionTestSite(t, "consumer a-{env.T_NAME} {\n name {env.T_NAME}\n homepage {env.T_URL}/\n contact {env.T_URL}\n secret {env.T_SECRET}\n callbacks {env.T_URL}/* x:y\n"+
		"permissions {env.T_LEVEL}\n two_legged {env.T_USER} {env.T_LEVEL}\n expires {env.T_TIME}\n signature_methods HMAC-SHA256\n}", "")
	if err != nil {
		t.Fatal(err)
	}
	want := &tokenstore.Consumer{
		Key: "a-A", Name: "A", Homepage: "https://a.test/", Contact: "https://a.test", Secret: "s", SignatureMethods: []string{"HMAC-SHA256"}, Callbacks: []string{"https://a.test/*", "x:y"},
		Permissions: []string{"READ_PUBLIC"}, TwoLegged: &tokenstore.TwoLegged{User: "alice", Permission: "READ_PUBLIC"}, Expires: time.Date(2040, 1, 2, 0, 0, 0, 0, time.UTC),
	}
	if got := site.app.declared["a-A"]; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}
