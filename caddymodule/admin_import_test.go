package caddymodule

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// importing sends lines with options, and returns their results.
func (a *testAdmin) importing(options string, lines ...string) []adminapi.ImportResult {
	a.t.Helper()
	w := a.call("POST", adminapi.ImportPath, `{`+options+`"lines":[`+strings.Join(lines, ",")+`]}`)
	var answer adminapi.Imported
	if err := json.Unmarshal(w.Body.Bytes(), &answer); w.Code != http.StatusOK || err != nil {
		a.t.Fatalf("%d %s", w.Code, w.Body)
	}
	if len(answer.Results) != len(lines) {
		a.t.Fatalf("%d results of %d lines", len(answer.Results), len(lines))
	}
	return answer.Results
}

const (
	lineApp   = `{"kind":"consumer","key":"app","secret":"canary-1","name":"App","created":"2019-03-01T08:00:00Z"}`
	lineToken = `{"kind":"access_token","key":"t","secret":"canary-2","consumer":"app","user":"salgado",` +
		`"permission":"READ_PUBLIC","created":"2019-03-02","expires":"2099-01-01T00:00:00Z","last_used":"2026-01-01"}`
)

// with returns a line with some fields changed; an empty text removes the field.
func with(line string, changes map[string]string) string {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(line), &fields); err != nil {
		panic(err)
	}
	for name, value := range changes {
		if fields[name] = json.RawMessage(value); value == "" {
			delete(fields, name)
		}
	}
	text, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func TestImportKeepsEverything(t *testing.T) {
	a := newTestAdmin(t, "access_token_lifetime 1h")
	rsa := with(lineApp, map[string]string{"key": `"rsa"`, "secret": "", "rsa_public_key": jsonText(t, testPublicKey(t))})
	full := `{"kind":"consumer","key":"full","secret":"canary-3","previous_secret":"canary-4",
		"previous_secret_expires":"2099-01-01","name":"Full","homepage":"https://a.example/","contact":"a@b.example",
		"signature_methods":["HMAC-SHA1"],"callbacks":["https://a.example/x"],"callbacks_ignore_query":true,
		"default_callback":true,"permissions":["READ_PUBLIC","WRITE_PUBLIC"],
		"two_legged":{"user":"u","permission":"READ_PUBLIC"},"expires":"2099-05-01","disabled":true,
		"created":"2011-01-01T00:00:00.5Z"}`
	// A token may stand before its consumer in one call, and live longer than new ones.
	for n, result := range a.importing("", lineToken, lineApp, rsa, full) {
		if result != outcome(adminapi.OutcomeAdded) {
			t.Errorf("line %d: %+v", n+1, result)
		}
	}
	at := func(text string) time.Time {
		parsed, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	token, err := a.store().AccessToken(t.Context(), "t")
	want := tokenstore.AccessToken{
		Key: "t", Secret: "canary-2", Consumer: "app", User: "salgado", Permission: "READ_PUBLIC",
		Created: at("2019-03-02T00:00:00Z"), Expires: at("2099-01-01T00:00:00Z"), LastUsed: at("2026-01-01T00:00:00Z"),
	}
	if err != nil || *token != want {
		t.Errorf("the token: %+v, %v", token, err)
	}
	got, err := a.store().Consumer(t.Context(), "full")
	if err != nil || got.Secret != "canary-3" || got.PreviousSecret != "canary-4" || !got.Disabled ||
		!got.Created.Equal(at("2011-01-01T00:00:00.5Z")) || !got.Expires.Equal(at("2099-05-01T00:00:00Z")) ||
		got.TwoLegged == nil || !got.DefaultCallback {
		t.Errorf("the consumer: %+v, %v", got, err)
	}
	for _, log := range a.logs.All() {
		if text := fmt.Sprint(log.Message, log.ContextMap()); strings.Contains(text, "canary") {
			t.Errorf("a secret is in the log: %s", text)
		}
	}
}

func TestImportAgain(t *testing.T) {
	a := newTestAdmin(t, declaredConsumers)
	a.importing("", lineApp, lineToken)
	otherApp := with(lineApp, map[string]string{"secret": `"canary-x"`, "homepage": `"https://x.example/"`})
	otherToken := with(lineToken, map[string]string{"user": `"alice"`})
	for _, c := range []struct {
		name, options, line, want string
	}{
		{"the same consumer", "", lineApp, "unchanged"},
		{"the same token", "", lineToken, "unchanged"},
		{"no time of creation is no difference", "", with(lineToken, map[string]string{"created": ""}), "unchanged"},
		{"nor is another last use", "", with(lineToken, map[string]string{"last_used": `"2026-02-01"`}), "unchanged"},
		{"another consumer stays", "", otherApp, "conflict the store has the consumer with another homepage, secret"},
		{"another token stays", "", otherToken, "conflict the store has the access token with another user"},
		{"and did", "", lineApp, "unchanged"},
		{"update, tried", `"update":true,"dry_run":true,`, otherToken, "updated"},
		{"which changes nothing", "", lineToken, "unchanged"},
		{"update of a consumer", `"update":true,`, otherApp, "updated"},
		{"update of a token", `"update":true,`, otherToken, "updated"},
		{"both are there", "", otherToken, "unchanged"},
		{"both are there", "", otherApp, "unchanged"},
		{"a declared consumer", `"update":true,`, with(lineApp, map[string]string{"key": `"ci-bot"`}),
			"conflict the consumer is declared in Caddy's configuration; remove it from there, or from the file"},
		{"a token of a declared consumer", "", with(lineToken, map[string]string{"key": `"t2"`, "consumer": `"ci-bot"`}), "added"},
	} {
		got := a.importing(c.options, c.line)[0]
		if text := strings.TrimSpace(got.Outcome + " " + got.Problem); text != c.want {
			t.Errorf("%s: %q, want %q", c.name, text, c.want)
		}
	}
}

func TestImportRefusesLines(t *testing.T) {
	a := newTestAdmin(t, declaredConsumers)
	a.importing("", lineApp, `{"kind":"consumer","key":"nosecret","secret":""}`)
	long := jsonText(t, strings.Repeat("k", 256))
	for _, c := range []struct {
		name, line string
		change     map[string]string
		options    string
		want       string
	}{
		{"an undeclared level", lineToken, map[string]string{"permission": `"EDIT"`}, "",
			"permission: is not declared; it must be one of READ_PUBLIC, "},
		{"a level that the consumer may not have", lineToken,
			map[string]string{"consumer": `"limited"`, "permission": `"WRITE_PUBLIC"`}, "",
			"permission: the consumer may not be granted it"},
		{"an unknown consumer", lineToken, map[string]string{"consumer": `"nobody"`}, "",
			"consumer: not found; import it before its tokens"},
		{"a key that is too long", lineToken, map[string]string{"key": long}, "", "key: is longer than 255 bytes"},
		{"no secret", lineToken, map[string]string{"secret": ""}, "", "secret: is missing"},
		{"an empty secret", lineToken, map[string]string{"secret": `""`}, "", "secret: is empty"},
		{"two empty secrets", lineToken, map[string]string{"secret": `""`, "consumer": `"nosecret"`},
			`"allow_empty_token_secrets":true,`, "secret: is empty, and so is the consumer's"},
		{"a secret with a line end", lineToken, map[string]string{"secret": `"canary\n"`}, "", "secret: holds a line end"},
		{"an unknown field", lineToken, map[string]string{"scope": `"x"`}, "", `unknown field "scope"`},
		{"a field of the wrong type", lineToken, map[string]string{"user": `7`}, "", `field "user": a JSON number`},
		{"an empty field", lineToken, map[string]string{"context": `""`}, "", `field "context": is empty`},
		{"a user that is no header value", lineToken, map[string]string{"user": `"a\u0001"`}, "", "user: holds a control"},
		{"a time of another database", lineToken, map[string]string{"created": `"2019-03-02 10:00:00"`}, "",
			"created: must be a time"},
		{"a kind that there is not", lineToken, map[string]string{"kind": `"grant"`}, "", "kind: must be"},
		{"a callback that is refused", lineApp, map[string]string{"callbacks": `["javascript:x"]`}, "", "callback"},
		{"a consumer without a secret", lineApp, map[string]string{"secret": ""}, "", "secret: is missing"},
		{"a previous secret without an end", lineApp, map[string]string{"previous_secret": `"canary"`}, "",
			"previous_secret and previous_secret_expires: give both"},
		{"a field twice", lineApp[:len(lineApp)-1] + `,"name":"Other"}`, nil, "", `field "name": is there twice`},
		{"no object", `["canary"]`, nil, "", "is not a JSON object with a kind and a key"},
	} {
		line := c.line
		if c.change != nil {
			line = with(line, c.change)
		}
		for _, dry := range []string{"", `"dry_run":true,`} {
			got := a.importing(c.options+dry, line)[0]
			if got.Outcome != adminapi.OutcomeRefused || !strings.HasPrefix(got.Problem, c.want) ||
				strings.Contains(got.Problem, "canary") {
				t.Errorf("%s %s: %+v, want %q", c.name, dry, got, c.want)
			}
		}
	}
	got := a.importing(`"allow_empty_token_secrets":true,`, with(lineToken, map[string]string{"secret": `""`}))[0]
	if got != outcome(adminapi.OutcomeAdded) {
		t.Errorf("an empty secret that is allowed: %+v", got)
	}
	got = a.importing("", with(lineToken, map[string]string{"key": `"old"`, "expires": `"2020-01-01"`}))[0]
	if got != outcome(adminapi.OutcomeExpired) {
		t.Errorf("a token that has ended: %+v", got)
	}
}

// TestImportSaysNoValues: a file with a shifted column has a secret in any field. Whatever field it is, and
// however it is wrong there, no report has the secret. The key is said where it is the fault.
func TestImportSaysNoValues(t *testing.T) {
	a := newTestAdmin(t, declaredConsumers)
	a.importing("", lineApp)
	full := with(lineApp, map[string]string{"key": `"full"`, "callbacks": `["https://a.example/x"]`,
		"two_legged": `{"user":"u","permission":"READ_PUBLIC"}`})
	fields := make(map[string][]string) // of each line
	for line, of := range map[string]any{lineToken: adminapi.TokenLine{}, full: adminapi.ConsumerLine{}} {
		for _, field := range jsonNames(reflect.TypeOf(of)) {
			if field != "kind" && field != "key" {
				fields[line] = append(fields[line], field)
			}
		}
	}
	if len(fields[lineToken]) < 8 || len(fields[full]) < 16 {
		t.Fatalf("%v", fields)
	}
	saysField := regexp.MustCompile(`^[a-z_ ]+: |^field "|another [a-z]|^has a secret and an rsa`)
	refused := 0
	for line, names := range fields {
		for _, name := range names {
			for _, value := range []string{
				`"topsecret"`, `"topsecret\n"`, `"topsecret\u0000\"é\\"`, `" topsecret"`, `"http://topsecret:x"`,
				`"javascript:topsecret"`, `"https://topsecret*/"`, `"https://topsecret@a/?topsecret#"`,
				`"topsecret@topsecret"`, `"<topsecret>"`, `"` + strings.Repeat("topsecret", 300) + `"`,
				`"-----BEGIN PUBLIC KEY-----\ntopsecret\n-----END PUBLIC KEY-----\n"`,
			} {
				for _, value := range []string{
					value, "[" + value + "]", `{"user":` + value + `,"permission":"READ_PUBLIC"}`,
					`{"user":"u","permission":` + value + `}`,
				} {
					result := a.importing(`"dry_run":true,`, with(line, map[string]string{name: value}))[0]
					if strings.Contains(result.Problem, "topsecret") {
						t.Errorf("%s: %s: says %s", name, value, result.Problem)
					}
					if result.Outcome == adminapi.OutcomeRefused {
						refused++
					}
					if result.Problem != "" && !saysField.MatchString(result.Problem) {
						t.Errorf("%s: %s: does not say the field: %s", name, value, result.Problem)
					}
				}
			}
		}
	}
	if refused < 500 {
		t.Errorf("%d lines are refused only", refused)
	}
	w := a.call("POST", adminapi.ImportPath, `{"dry_run":true,"known":[`+
		with(full, map[string]string{"homepage": `"topsecret"`})+`],"lines":[`+lineToken+`]}`)
	said := w.Body.String()
	if w.Code != 400 || strings.Contains(said, "topsecret") || !strings.Contains(said, "homepage: must be") {
		t.Errorf("a known consumer: %d %s", w.Code, w.Body)
	}
	got := a.importing("", with(lineApp, map[string]string{"key": `"app\n"`}))[0]
	if !strings.Contains(got.Problem, `key "app\n"`) {
		t.Errorf("a key: %+v", got)
	}
}

// jsonNames returns the names that the fields of a struct have in JSON, those of embedded ones too.
func jsonNames(of reflect.Type) (names []string) {
	for i := range of.NumField() {
		if field := of.Field(i); field.Anonymous {
			names = append(names, jsonNames(field.Type)...)
		} else if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" {
			names = append(names, name)
		}
	}
	return names
}

func TestImportDryRunChangesNothing(t *testing.T) {
	a := newTestAdmin(t, "")
	for range 2 {
		results := a.importing(`"dry_run":true,`, lineToken, lineApp)
		if !slices.Equal(results, []adminapi.ImportResult{outcome("added"), outcome("added")}) {
			t.Errorf("%+v", results)
		}
	}
	results := a.importing(`"dry_run":true,"known":[`+lineApp+`],`, lineToken)
	if results[0] != outcome("added") {
		t.Errorf("a token whose consumer stands earlier in the file: %+v", results)
	}
	if page, _, err := a.store().Consumers(t.Context(), "", 10); err != nil || len(page) > 0 {
		t.Errorf("the store has %d consumers: %v", len(page), err)
	}
}

func TestImportRefusesBodies(t *testing.T) {
	a := newTestAdmin(t, "")
	many := strings.Repeat(lineApp+",", adminapi.MaxImportLines) + lineApp
	for name, c := range map[string]struct {
		path, body, want string
		status           int
	}{
		"no lines":       {adminapi.ImportPath, `{"lines":[]}`, "lines", 400},
		"too many lines": {adminapi.ImportPath, `{"lines":[` + many + `]}`, "at most 1000", 400},
		"known for real": {adminapi.ImportPath, `{"known":[` + lineApp + `],"lines":[` + lineApp + `]}`, "known", 400},
		"too long":       {adminapi.ImportPath, strings.Repeat(" ", maxImportBody+1), "larger than", 413},
		"another kind":   {adminapi.ExportPath, `{"kind":"request_token"}`, "kind", 400},
		"no kind":        {adminapi.ExportPath, `{}`, "kind", 400},
	} {
		w := a.call("POST", c.path, c.body)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

// TestExportNeedsTheLocalEndpointForSecrets: remote administration, which is over TLS, gets none.
func TestExportNeedsTheLocalEndpointForSecrets(t *testing.T) {
	a := newTestAdmin(t, "")
	a.importing("", lineApp, lineToken)
	export := func(body string, remote bool) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", adminapi.ExportPath, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		if remote {
			r.TLS = &tls.ConnectionState{}
		}
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		return w
	}
	for _, kind := range []string{"consumer", "access_token"} {
		plain, secrets := `{"kind":"`+kind+`"}`, `{"kind":"`+kind+`","secrets":true}`
		for _, remote := range []bool{false, true} {
			if w := export(plain, remote); w.Code != 200 || strings.Contains(w.Body.String(), "canary") {
				t.Errorf("without secrets: %d %s", w.Code, w.Body)
			}
		}
		if w := export(secrets, false); w.Code != 200 || !strings.Contains(w.Body.String(), "canary") {
			t.Errorf("with secrets: %d %s", w.Code, w.Body)
		}
		if w := export(secrets, true); w.Code != http.StatusForbidden || strings.Contains(w.Body.String(), "canary") {
			t.Errorf("with secrets, from elsewhere: %d %s", w.Code, w.Body)
		}
	}
}
