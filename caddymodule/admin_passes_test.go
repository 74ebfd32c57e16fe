package caddymodule

import (
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// TestPassesOfAWatchedConsumer: what is kept of its requests, and that nobody else's are.
func TestPassesOfAWatchedConsumer(t *testing.T) {
	s := newTestSite(t, "consumer watched-1 {\n secret s\n two_legged robot WRITE_PUBLIC\n}\nconsumer unwatched {\n secret s\n two_legged robot WRITE_PUBLIC\n}", "")
	send := func(consumer, method, target, form string, more func(*http.Request)) {
		t.Helper()
		r := s.sign(oauth1.Signer{ConsumerKey: consumer, ConsumerSecret: "s", SignatureMethod: "HMAC-SHA1"}, method, target, form)
		if more != nil {
			more(r)
		}
		if w, upstream := s.serve(r); upstream == nil {
			t.Fatalf("%s %s: %d %s", method, target, w.Code, w.Body)
		}
	}
	list := func(query string) []adminapi.Pass {
		t.Helper()
		call := &adminCall{Request: httptest.NewRequest("GET", "/oauth1/passes?"+query, nil), app: s.app, store: s.store()}
		_, answer, err := call.listPasses()
		if err != nil {
			t.Fatal(err)
		}
		return answer.(adminapi.Passes).Items
	}
	send("watched-1", "GET", "http://api.test/before", "", nil)
	if got := list("consumer=watched-1"); len(got) != 0 {
		t.Fatalf("%+v", got)
	}
	for _, c := range []struct {
		method, target, form string
		json                 bool
		want                 adminapi.Pass
	}{
		{"GET", "http://api.test/a?q=1", "", false, adminapi.Pass{URL: "http://api.test/a?q=1", Query: true}},
		{"GET", "http://api.test/a", "", false, adminapi.Pass{URL: "http://api.test/a"}},
		{"POST", "http://api.test/a", "password=x", false, adminapi.Pass{URL: "http://api.test/a", Form: true}},
		{"POST", "http://api.test/a?a=1", "a=2", false, adminapi.Pass{URL: "http://api.test/a?a=1", Query: true, Form: true, Repeated: true}},
		{"GET", "http://api.test/caf%C3%A9", "", false, adminapi.Pass{URL: "http://api.test/caf%C3%A9", NonASCII: true}},
		{"POST", "http://api.test/a", "", true, adminapi.Pass{URL: "http://api.test/a", JSON: true}},
	} {
		before := list("consumer=watched-1")
		send("unwatched", c.method, c.target, c.form, nil)
		send("watched-1", c.method, c.target, c.form, func(r *http.Request) {
			if c.json {
				setBody(r, `{"a":1}`)
				r.Header.Set("Content-Type", "application/json")
			}
		})
		all := list("consumer=watched-1")
		got := all[len(all)-1]
		if len(all) != len(before)+1 || got.ClockOff == nil || *got.ClockOff != 0 || !got.Time.After(time.Now().Add(-time.Minute)) {
			t.Fatalf("%+v", all)
		}
		want := c.want
		want.Time, want.ClockOff, want.Consumer, want.Method, want.SignatureMethod = got.Time, got.ClockOff, "watched-1", c.method, "HMAC-SHA1"
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s %s %s: %+v", c.method, c.target, c.form, got)
		}
		if len(all) > 1 {
			if rest := list("consumer=watched-1&since=" + all[len(all)-2].Time.Format(time.RFC3339Nano)); len(rest) != 1 {
				t.Errorf("%d are after the last but one", len(rest))
			}
		}
	}
	for _, query := range []string{"", "consumer=nobody", "consumer=watched-1&since=x", "user=x"} {
		call := &adminCall{Request: httptest.NewRequest("GET", "/oauth1/passes?"+query, nil), app: s.app, store: s.store()}
		if _, _, err := call.listPasses(); err == nil {
			t.Errorf("%q is accepted", query)
		}
	}
}

// TestAWatchEnds: nothing is kept of a consumer that nobody asks about, and there is a limit.
func TestAWatchEnds(t *testing.T) {
	t.Parallel()
	var w passWatch
	now := time.Now()
	for i := range mostWatched {
		if !w.watch(string(rune('a'+i)), now) {
			t.Fatalf("no room for number %d", i)
		}
	}
	if w.watch("one more", now) || !w.watch("a", now.Add(watchFor/2)) {
		t.Error("the limit is wrong")
	}
	w.all = []adminapi.Pass{{Consumer: "a"}}
	if !w.watch("one more", now.Add(watchFor+1)) || w.watched.Load() != 2 || len(w.all) != 1 {
		t.Errorf("%d are watched", w.watched.Load())
	}
	w.forget(now.Add(3 * watchFor))
	if w.watched.Load() != 0 || w.all != nil {
		t.Error("something is kept")
	}
}
