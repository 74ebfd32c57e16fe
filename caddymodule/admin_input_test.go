package caddymodule

import (
	"net/http/httptest"
	"strings"
	"testing"
)

// TestAdminRefusesWhatIsNoSingleObject: a body that was cut or joined wrongly must not be taken for what it begins with.
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

// TestAdminContentTypes: a browser sends text/plain, with any parameters, from any site without asking first.
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
