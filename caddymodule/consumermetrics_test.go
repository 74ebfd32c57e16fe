package caddymodule

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// byConsumer returns the values of the counter of each consumer, by "consumer result".
func byConsumer(t *testing.T) map[string]float64 {
	t.Helper()
	counts := make(map[string]float64)
	families, err := newCounted(t).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "caddy_oauth1_consumer_requests_total" {
			continue
		}
		for _, m := range family.GetMetric() {
			counts[m.GetLabel()[0].GetValue()+" "+m.GetLabel()[1].GetValue()] = m.GetCounter().GetValue()
		}
	}
	return counts
}

// forgetLabels gives the test a process of its own: no consumer has earned a metric.
func forgetLabels(t *testing.T) {
	t.Helper()
	labelled.Store(nil)
	labelled.earned = nil
	consumerRequestsTotal.Reset()
	t.Cleanup(func() {
		labelled.Store(nil)
		labelled.earned = nil
		consumerRequestsTotal.Reset()
	})
}

// TestNoConsumerMetricsUnlessAskedFor: without the option, no metric has a consumer's key.
func TestNoConsumerMetricsUnlessAskedFor(t *testing.T) {
	forgetLabels(t)
	s := newTestSite(t, demoConsumer, "")
	token := s.grant("demo", "alice", "WRITE_PRIVATE")
	s.signedAs("demo", "demo-secret", token)
	if got := byConsumer(t); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

// TestHostileKeysMakeNoSeries: neither do keys that nobody registered, nor known keys with a wrong
// signature.
func TestHostileKeysMakeNoSeries(t *testing.T) {
	forgetLabels(t)
	s := newTestSite(t, demoConsumer+"consumer other {\n secret o\n}\nmetrics {\n limit 50\n}", "")
	token := s.grant("demo", "alice", "WRITE_PRIVATE")
	if !s.signedAs("demo", "demo-secret", token) {
		t.Fatal("a right signature was refused")
	}
	for i := range 10_000 {
		s.signedAs(fmt.Sprintf("hostile%d", i), "x", token)
	}
	s.signedAs("other", "wrong", token)
	want := map[string]float64{"demo accepted": 1, "demo refused": 0, "_other accepted": 0, "_other refused": 10_001}
	if got := byConsumer(t); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestTheFirstConsumersHaveMetrics: which consumers have a metric of their own, after one accepted
// request of each of a1, b1, b2, b3 and a self-registered one.
func TestTheFirstConsumersHaveMetrics(t *testing.T) {
	for _, c := range []struct{ name, options, want string }{
		{"all, up to the limit", "limit 2", "_other a1 b1"},
		{"a key has one before its first request", "consumers zero", "_other zero"},
		{"a key needs no room", "consumers b3 b*\n limit 1", "_other b1 b3"},
		{"a pattern", "consumers b*", "_other b1 b2 b3"},
		{"a self-registered one if a key names it", "consumers self", "_other self"},
	} {
		t.Run(c.name, func(t *testing.T) {
			forgetLabels(t)
			s := newTestSite(t, "metrics {\n "+c.options+"\n}", "")
			for _, key := range []string{"a1", "b1", "b2", "b3", "self"} {
				s.app.metrics.consumers.accepted(&tokenstore.Consumer{Key: key, SelfRegistered: key == "self"})
			}
			if got := labels(t); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// TestAReloadGivesNoRoomForMoreConsumers: the limit is that of the process.
func TestAReloadGivesNoRoomForMoreConsumers(t *testing.T) {
	forgetLabels(t)
	for i := range 5 {
		m := newConsumerMetrics(&MetricsOptions{Limit: 2})
		m.accepted(&tokenstore.Consumer{Key: fmt.Sprint("c", i)})
	}
	if got, want := labels(t), "_other c0 c1"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestARemovedConsumerMakesRoom: by the admin API. One that a key names keeps its metric.
func TestARemovedConsumerMakesRoom(t *testing.T) {
	forgetLabels(t)
	a := newTestAdmin(t, "metrics {\n limit 2\n}")
	m := a.app.metrics.consumers
	add := func(keys ...string) {
		t.Helper()
		for _, key := range keys {
			c := &tokenstore.Consumer{Key: key, Secret: "s"}
			if err := a.store().CreateConsumer(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			m.accepted(c)
		}
	}
	add("c0", "c1", "c2")
	if w := a.call("DELETE", "/oauth1/consumers/c0", ""); w.Code != 204 {
		t.Fatal(w.Code)
	}
	if got, want := labels(t), "_other c1"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	m.refused("c0") // a request that was under way
	add("c3", "c4")
	if w := a.call("DELETE", "/oauth1/consumers/c2", ""); w.Code != 204 { // it had none
		t.Fatal(w.Code)
	}
	if got, want := labels(t), "_other c1 c3"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	m = newConsumerMetrics(&MetricsOptions{Consumers: []string{"c1"}, Limit: 2})
	m.removed("c1")
	m.removed("c1")
	m.accepted(&tokenstore.Consumer{Key: "c1"})
	if got := byConsumer(t)["c1 accepted"]; got != 2 {
		t.Errorf("a named one: %v", byConsumer(t))
	}
	(*consumerMetrics)(nil).removed("c3")
	if got, want := labels(t), "_other c1"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestNoConsumerIsTheOthers: whatever its key is, a consumer's requests are not counted as those of the
// others, nor as another consumer's.
func TestNoConsumerIsTheOthers(t *testing.T) {
	forgetLabels(t)
	m := newConsumerMetrics(&MetricsOptions{Limit: 5})
	for _, key := range []string{"_other", "__other", "___other", "x_other", "other"} {
		m.accepted(&tokenstore.Consumer{Key: key})
	}
	m.refused("nobody")
	want := map[string]float64{"_other accepted": 0, "_other refused": 1}
	for _, label := range []string{"__other", "___other", "____other", "x_other", "other"} {
		want[label+" accepted"], want[label+" refused"] = 1, 0
	}
	if got := byConsumer(t); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// labels returns the consumers that have a metric.
func labels(t *testing.T) string {
	t.Helper()
	names := make(map[string]bool)
	for name := range byConsumer(t) {
		key, _, _ := strings.Cut(name, " ")
		names[key] = true
	}
	return strings.Join(slices.Sorted(maps.Keys(names)), " ")
}

// signedAs sends a signed request, and reports whether it came to the upstream.
func (s *testSite) signedAs(consumer, secret string, token *tokenstore.AccessToken) bool {
	s.t.Helper()
	signer := oauth1.Signer{ConsumerKey: consumer, ConsumerSecret: secret, Token: token.Key, TokenSecret: token.Secret}
	_, upstream := s.serve(s.sign(signer, "GET", "http://api.test/x", ""))
	return upstream != nil
}
