package caddymodule

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestAdminRefusesWhatIsNoSingleObject: a body that was cut off or joined wrongly is refused; its
// first object is not used.
func TestAdminRefusesWhatIsNoSingleObject(t *testing.T) {
	a := newTestAdmin(t, "")
	a.must("POST", "/oauth1/consumers", `{"key":"app"}`)
	for _, body := range []string{`{"name":"x"}}`, `{"name":"x"}]`, `{"name":"x"},`, `{"name":"x"} x`, `{"name":"x"}null`, `null`, ` null `, `true`, `"x"`, `1`} {
		for _, call := range [][2]string{{"POST", "/oauth1/consumers"}, {"PATCH", "/oauth1/consumers/app"}, {"POST", "/oauth1/consumers/app/rotate"}} {
			if w := a.call(call[0], call[1], body); w.Code != 400 {
				t.Errorf("%s %s %s: got %d %s", call[0], call[1], body, w.Code, w.Body)
			}
		}
	}
	if shown := a.must("GET", "/oauth1/consumers", ""); len(shown["items"].([]any)) != 1 {
		t.Errorf("there are %v", shown)
	}
	for _, body := range []string{`{"name":"x"}`, " \r\n{\"name\":\"x\"}\n"} {
		a.must("PATCH", "/oauth1/consumers/app", body)
	}
}

// TestAdminContentTypes: a browser sends text/plain, with any parameters, to any site without a
// preflight request.
func TestAdminContentTypes(t *testing.T) {
	a := newTestAdmin(t, "")
	a.must("POST", "/oauth1/consumers", `{"key":"app"}`)
	for contentType, want := range map[string]int{
		"application/json":                   200,
		"Application/JSON; charset=utf-8":    200,
		"application/merge-patch+json":       200, // RFC 7396 section 4
		"":                                   415,
		"text/plain;a=/json":                 415,
		"text/plain; a=\"application/json\"": 415,
		"application/x-www-form-urlencoded":  415,
		"application/jsonx":                  415,
		"/json":                              415,
	} {
		r := httptest.NewRequest("PATCH", "/oauth1/consumers/app", strings.NewReader(`{"name":"x"}`))
		r.Header.Set("Content-Type", contentType)
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%s: got %d %s, want %d", contentType, w.Code, w.Body, want)
		}
	}
}

// TestAdminLifetimeOfNothing: no lifetime means the app's limit, or no limit. A lifetime of 0 is
// therefore refused, because the caller means something else.
func TestAdminLifetimeOfNothing(t *testing.T) {
	a := newTestAdmin(t, "")
	a.must("POST", "/oauth1/consumers", `{"key":"app"}`)
	a.requestToken("waiting", "app", "")
	for _, lifetime := range []string{"0", "0s", "-0s", "0d", "-1h"} {
		grant := `{"consumer":"app","user":"u","permission":"READ_PUBLIC","lifetime":"` + lifetime + `"}`
		if w := a.call("POST", "/oauth1/tokens", grant); w.Code != 400 || !strings.Contains(w.Body.String(), `lifetime \"`+lifetime) {
			t.Errorf("a token for %s: %d %s", lifetime, w.Code, w.Body)
		}
		grant = strings.Replace(grant, `"consumer":"app",`, "", 1)
		if w := a.call("POST", "/oauth1/request-tokens/waiting/review", grant); w.Code != 400 {
			t.Errorf("a review for %s: %d %s", lifetime, w.Code, w.Body)
		}
	}
	a.must("POST", "/oauth1/consumers/app/rotate", `{"overlap":"0s"}`) // no overlap
}

// TestAdminExpiryCanBeWrittenAgain: every later change reads the stored expiry again.
func TestAdminExpiryCanBeWrittenAgain(t *testing.T) {
	a := newTestAdmin(t, "")
	for _, expires := range []string{"9999-12-31", "9999-12-31T23:59:59Z"} {
		a.must("POST", "/oauth1/consumers", `{"key":"`+expires+`","expires":"`+expires+`"}`)
		a.must("PATCH", "/oauth1/consumers/"+expires, `{"disabled":true}`)
	}
	const late = "9999-12-31T23:59:59-23:59" // year 10000 in UTC: RFC 3339 can't write it
	if w := a.call("POST", "/oauth1/consumers", `{"key":"late","expires":"`+late+`"}`); w.Code != 400 {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

// TestAdminPatchMergesObjects: an object in a patch changes only the members that it names (RFC
// 7396 section 2).
func TestAdminPatchMergesObjects(t *testing.T) {
	a := newTestAdmin(t, "")
	a.must("POST", "/oauth1/consumers", `{"key":"app","two_legged":{"user":"alice","permission":"READ_PUBLIC"}}`)
	for _, step := range []struct{ patch, want string }{
		{`{"two_legged":{"permission":"WRITE_PUBLIC"}}`, `"two_legged":{"user":"alice","permission":"WRITE_PUBLIC"}`},
		{`{"Two_Legged":{"User":"bob"}}`, `"two_legged":{"user":"bob","permission":"WRITE_PUBLIC"}`},
		{`{"two_legged":{}}`, `"two_legged":{"user":"bob","permission":"WRITE_PUBLIC"}`},
		{`{"two_legged":{"user":"carol","permission":"READ_PUBLIC"}}`, `"two_legged":{"user":"carol","permission":"READ_PUBLIC"}`},
	} {
		if w := a.call("PATCH", "/oauth1/consumers/app", step.patch); w.Code != 200 || !strings.Contains(w.Body.String(), step.want) {
			t.Errorf("%s: got %d %s, want %s", step.patch, w.Code, w.Body, step.want)
		}
	}
	if w := a.call("PATCH", "/oauth1/consumers/app", `{"two_legged":{"user":null}}`); w.Code != 400 {
		t.Errorf("without a user: %d %s", w.Code, w.Body)
	}
	a.must("PATCH", "/oauth1/consumers/app", `{"two_legged":null}`)
	if w := a.call("PATCH", "/oauth1/consumers/app", `{"two_legged":{"user":"dave"}}`); w.Code != 400 {
		t.Errorf("without a permission: %d %s", w.Code, w.Body)
	}
}

// TestAdminEmptyFiltersSelectNothing: a script with an unset variable must not revoke or list
// everybody's grants.
func TestAdminEmptyFiltersSelectNothing(t *testing.T) {
	a := newTestAdmin(t, "")
	a.must("POST", "/oauth1/consumers", `{"key":"app"}`)
	a.must("POST", "/oauth1/tokens", `{"consumer":"app","user":"alice","permission":"READ_PUBLIC"}`)
	run := a.commandRunner()
	for _, body := range []string{`{"user":"","consumer":"app"}`, `{"user":"alice","consumer":""}`, `{"user":""}`} {
		if w := a.call("POST", "/oauth1/revoke", body); w.Code != 400 || !strings.Contains(w.Body.String(), "is empty") {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
	}
	for _, query := range []string{"user=", "consumer=&user=alice"} {
		if w := a.call("GET", "/oauth1/tokens?"+query, ""); w.Code != 400 || !strings.Contains(w.Body.String(), "is empty") {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
	for _, args := range [][]string{
		{"revoke", "--user", "", "--consumer", "app"}, {"revoke", "--user", "alice", "--consumer", ""},
		{"token", "list", "--user", ""}, {"token", "list", "--user", "alice", "--consumer", ""},
	} {
		if out, err := run("", args...); err == nil || !strings.Contains(err.Error(), "is empty") {
			t.Errorf("%q: %v\n%s", args, err, out)
		}
	}
	if w := a.call("POST", "/oauth1/revoke", `{"user":"alice","consumer":null}`); strings.TrimSpace(w.Body.String()) != `{"revoked":1}` {
		t.Errorf("null is no filter: %d %s", w.Code, w.Body)
	}
}

// TestAdminEmptyFieldsAreRefused: a script with an unset variable must not get a random key, or a
// consumer that never expires or may be granted everything. An absent field, or null, has its
// default.
func TestAdminEmptyFieldsAreRefused(t *testing.T) {
	a := newTestAdmin(t, "")
	a.must("POST", "/oauth1/consumers", `{"key":"app"}`)
	a.requestToken("waiting", "app", "")
	const grant = `"user":"u","permission":"READ_PUBLIC"`
	for _, c := range []struct{ method, target, body, field string }{
		{"POST", "/oauth1/consumers", `{"key":""}`, "key"},
		{"POST", "/oauth1/consumers", `{"Key":""}`, "key"},
		{"POST", "/oauth1/consumers", `{"name":""}`, "name"},
		{"POST", "/oauth1/consumers", `{"expires":""}`, "expires"},
		{"POST", "/oauth1/consumers", `{"rsa_public_key":""}`, "rsa_public_key"},
		{"POST", "/oauth1/consumers", `{"callbacks":[]}`, "callbacks"},
		{"POST", "/oauth1/consumers", `{"permissions":[ ]}`, "permissions"},
		{"POST", "/oauth1/consumers", `{"signature_methods":[]}`, "signature_methods"},
		{"PATCH", "/oauth1/consumers/app", `{"expires":""}`, "expires"},
		{"PATCH", "/oauth1/consumers/app", `{"permissions":[]}`, "permissions"},
		{"POST", "/oauth1/consumers/app/rotate", `{"overlap":""}`, "overlap"},
		{"POST", "/oauth1/tokens", `{"consumer":"app","key":"",` + grant + `}`, "key"},
		{"POST", "/oauth1/tokens", `{"consumer":"app","lifetime":"",` + grant + `}`, "lifetime"},
		{"POST", "/oauth1/tokens", `{"consumer":"app","expires":"",` + grant + `}`, "expires"},
		{"POST", "/oauth1/tokens", `{"consumer":"app","context":"",` + grant + `}`, "context"},
		{"POST", "/oauth1/request-tokens/waiting/review", `{"lifetime":"",` + grant + `}`, "lifetime"},
	} {
		if w := a.call(c.method, c.target, c.body); w.Code != 400 ||
			!strings.Contains(w.Body.String(), `field \"`+c.field+`\": is empty`) {
			t.Errorf("%s %s %s: got %d %s", c.method, c.target, c.body, w.Code, w.Body)
		}
	}
	if shown := a.must("GET", "/oauth1/consumers", ""); len(shown["items"].([]any)) != 1 {
		t.Errorf("there are %v", shown)
	}
	made := a.must("POST", "/oauth1/consumers",
		`{"key":null,"expires":null,"permissions":null,"callbacks":null}`)
	if key, _ := made["key"].(string); len(key) != 20 {
		t.Errorf("null is no key: %v", made)
	}
	a.must("POST", "/oauth1/consumers", `{"key":"bare","secret":""}`)
}

// TestAdminExpiryInThePast: an end in the past is a wrong date and is refused; to end a consumer
// now, disable it. A consumer that has expired since can be changed.
func TestAdminExpiryInThePast(t *testing.T) {
	a := newTestAdmin(t, "")
	for _, expires := range []string{"2020-01-31", a.clock.Format(time.RFC3339)} {
		if w := a.call("POST", "/oauth1/consumers", `{"expires":"`+expires+`"}`); w.Code != 400 ||
			!strings.Contains(w.Body.String(), "is in the past") {
			t.Errorf("%s: got %d %s", expires, w.Code, w.Body)
		}
	}
	a.must("POST", "/oauth1/consumers",
		`{"key":"app","expires":"`+a.clock.Add(time.Minute).Format(time.RFC3339)+`"}`)
	a.clock = a.clock.Add(time.Hour)
	a.must("PATCH", "/oauth1/consumers/app", `{"name":"ended"}`)
	if w := a.call("PATCH", "/oauth1/consumers/app", `{"expires":"2020-01-31"}`); w.Code != 400 ||
		!strings.Contains(w.Body.String(), "is in the past") {
		t.Errorf("changed: got %d %s", w.Code, w.Body)
	}
	a.must("PATCH", "/oauth1/consumers/app", `{"expires":null}`)
}

// TestKeysThatAreNoNames: clients and proxies remove . and .. from a path, so such a key can't be
// reached.
func TestKeysThatAreNoNames(t *testing.T) {
	a := newTestAdmin(t, "registration open")
	a.must("POST", "/oauth1/consumers", `{"key":"app"}`)
	for _, key := range []string{".", ".."} {
		for target, body := range map[string]string{
			"/oauth1/consumers": `{"key":"` + key + `"}`,
			"/oauth1/tokens": `{"key":"` + key +
				`","consumer":"app","user":"u","permission":"READ_PUBLIC"}`,
		} {
			if w := a.call("POST", target, body); w.Code != 400 ||
				!strings.Contains(w.Body.String(), "can't stand in the path") {
				t.Errorf("%s %s: got %d %s", target, body, w.Code, w.Body)
			}
		}
		if w, _ := a.serve(plain("/+request-token", key, "", "", "")); w.Code == 200 {
			t.Errorf("%s registered itself: %s", key, w.Body)
		}
		if _, err := provisionTestSite(t, "consumer "+key+" {\nsecret s\n}", ""); err == nil {
			t.Errorf("%s can be declared", key)
		}
	}
}

func TestAdminRevocationDryRun(t *testing.T) {
	a := newTestAdmin(t, "")
	a.must("POST", "/oauth1/consumers", `{"key":"app"}`)
	for range 3 {
		a.must("POST", "/oauth1/tokens", `{"consumer":"app","user":"alice","permission":"READ_PUBLIC"}`)
	}
	for _, c := range [][2]string{
		{`{"user":"alice","dry_run":true}`, `{"revoked":0,"matching":3}`},
		{`{"user":"bob","dry_run":true}`, `{"revoked":0,"matching":0}`},
		{`{"consumer":"app","user":"alice"}`, `{"revoked":3}`},
		{`{"consumer":"app","dry_run":true}`, `{"revoked":0,"matching":0}`},
	} {
		if w := a.call("POST", "/oauth1/revoke", c[0]); w.Code != 200 ||
			strings.TrimSpace(w.Body.String()) != c[1] {
			t.Errorf("%s: got %d %s, want %s", c[0], w.Code, w.Body, c[1])
		}
	}
	if w := a.call("POST", "/oauth1/revoke", `{"dry_run":true}`); w.Code != 400 {
		t.Errorf("of everybody: %d %s", w.Code, w.Body)
	}
}

// TestRevokeOfAnUnknownConsumer: revoking nothing is an error if the key is unknown. The tokens of
// a removed consumer are revoked.
func TestRevokeOfAnUnknownConsumer(t *testing.T) {
	a := newTestAdmin(t, "consumer declared {\n secret s\n}")
	a.seed()
	a.grant("ghost", "alice", "READ_PUBLIC")
	for _, c := range []struct {
		body   string
		status int
		want   string
	}{
		{`{"consumer":"ap"}`, 404, `consumer \"ap\": not found`},
		{`{"consumer":"ap","dry_run":true}`, 404, `consumer \"ap\": not found`},
		{`{"consumer":"ap","user":"salgado"}`, 404, `consumer \"ap\": not found`},
		{`{"consumer":"declared"}`, 200, `{"revoked":0}`},
		{`{"consumer":"rsa"}`, 200, `{"revoked":0}`},
		{`{"user":"nobody"}`, 200, `{"revoked":0}`},
		{`{"consumer":"ghost","dry_run":true}`, 200, `"matching":1`},
		{`{"consumer":"ghost"}`, 200, `{"revoked":1}`},
		{`{"consumer":"ghost"}`, 404, "not found"},
	} {
		w := a.call("POST", "/oauth1/revoke", c.body)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s: %d %s, want %d %s", c.body, w.Code, w.Body, c.status, c.want)
		}
	}
}

// TestGrantWithoutALevel: the error calls an absent permission missing, and not unknown.
func TestGrantWithoutALevel(t *testing.T) {
	a := newTestAdmin(t, "")
	a.seed()
	for target, body := range map[string]string{
		"/oauth1/tokens":                        `{"consumer":"app","user":"alice"}`,
		"/oauth1/request-tokens/waiting/review": `{"user":"alice"}`,
	} {
		w := a.call("POST", target, body)
		if w.Code != 400 || !strings.Contains(w.Body.String(), "permission: is missing") {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
}

// TestAdminRevokesNothingOfTooLongNames: the mistake is the caller's, and not the store's.
func TestAdminRevokesNothingOfTooLongNames(t *testing.T) {
	a := newTestAdmin(t, "")
	for _, length := range []int{maxText + 1, 70_000} {
		long := strings.Repeat("x", length)
		for _, body := range []string{
			`{"user":"` + long + `"}`,
			`{"consumer":"` + long + `"}`,
			`{"user":"` + long + `","dry_run":true}`,
		} {
			w := a.call("POST", "/oauth1/revoke", body)
			if w.Code != 400 || !strings.Contains(w.Body.String(), "is longer than 255 bytes") {
				t.Errorf("%.30s: got %d %.100s", body, w.Code, w.Body)
			}
		}
	}
	a.must("POST", "/oauth1/revoke", `{"user":"`+strings.Repeat("x", maxText)+`"}`)
}
