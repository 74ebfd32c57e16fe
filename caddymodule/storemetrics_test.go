package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// figuredStore is a store whose figures the test decides.
type figuredStore struct {
	tokenstore.Store
	stats    []tokenstore.Stat
	took     time.Duration
	counted  int
	measures tokenstore.Measures
}

func (s *figuredStore) Stats(context.Context) ([]tokenstore.Stat, error) {
	s.counted++
	time.Sleep(s.took)
	return s.stats, nil
}

func (s *figuredStore) Measure() tokenstore.Measures { return s.measures }
func (s *figuredStore) Failed() error                { return errors.New("failed") }

// figures returns the metrics of a collector, as "name{label} value", except those of the
// configuration.
func figures(t *testing.T, c *storeCollector) []string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, family := range families {
		for _, m := range family.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			if slices.Contains(labels, "declared") {
				continue
			}
			value := m.GetGauge().GetValue() + m.GetCounter().GetValue()
			lines = append(lines, fmt.Sprintf("%s{%s} %v",
				strings.TrimPrefix(family.GetName(), "caddy_oauth1_"), strings.Join(labels, " "), value))
		}
	}
	return lines
}

// TestStoreFigures: a figure that the store does not have is absent.
func TestStoreFigures(t *testing.T) {
	var c storeCollector
	if got := figures(t, &c); len(got) != 0 {
		t.Errorf("without a store: %q", got)
	}
	bare := c.watch(struct{ tokenstore.Store }{})
	if got := figures(t, &c); len(got) != 0 {
		t.Errorf("a store that tells nothing: %q", got)
	}
	store := &figuredStore{measures: tokenstore.Measures{
		Nonces: new(int64(7)), Free: new(int64(0)),
		Caches: []tokenstore.CacheUse{{Name: "consumers", Hits: 3, Misses: 1}},
	}}
	w := c.watch(store)
	w.counted([]tokenstore.Stat{
		{Name: "access_tokens", Value: 5}, {Name: "consumers", Value: 4}, {Name: "unknown", Value: 3},
		{Name: "request_tokens", Value: 3, Parts: []tokenstore.Stat{{Name: "waiting", Value: 2}, {Name: "expired", Value: 1}}},
	})
	want := []string{
		"access_tokens{} 5",
		"cache_requests_total{consumers hit} 3", "cache_requests_total{consumers miss} 1",
		"consumers{stored} 4",
		"nonces{} 7",
		"request_tokens{expired} 1", "request_tokens{waiting} 2",
		"store_failed{} 1", "store_free_bytes{} 0",
	}
	if got := figures(t, &c); !slices.Equal(got, want) {
		t.Errorf("got\n%q, want\n%q", got, want)
	}
	c.forget(w)
	if got := figures(t, &c); len(got) != 0 {
		t.Errorf("after the store was closed, the one before it tells: %q", got)
	}
	c.forget(bare)
}

// TestCountingTakesLittleTime: a store that counts for ten seconds is counted every thousand.
func TestCountingTakesLittleTime(t *testing.T) {
	for took, most := range map[time.Duration]int{0: 120, 10 * time.Second: 3} {
		synctest.Test(t, func(t *testing.T) {
			store := &figuredStore{took: took}
			w := new(storeCollector).watch(store)
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			w.count(ctx, took)
			if store.counted > most || store.counted < most-1 {
				t.Errorf("a count of %v: %d counts in an hour, want %d", took, store.counted, most)
			}
		})
	}
}

// TestStatNamesAreMetrics: the kinds of which Stat's comment tells are the ones that become metrics.
func TestStatNamesAreMetrics(t *testing.T) {
	s := newTestSite(t, "", "")
	stats, err := s.app.store.(tokenstore.Statter).Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, stat := range stats {
		names[stat.Name] = true
	}
	if got := slices.Sorted(maps.Keys(names)); !slices.Equal(got, []string{"access_tokens", "consumers", "nonces", "request_tokens"}) {
		t.Errorf("%q", got)
	}
}
