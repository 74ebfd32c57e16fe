package caddymodule

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// MetricsOptions say which metrics there are beside the usual ones.
type MetricsOptions struct {
	// The consumers whose requests have a metric of their own,
	// `caddy_oauth1_consumer_requests_total`, by key or by a pattern such as `ops-*`. Default: all
	// that an operator registered.
	Consumers []string `json:"consumers,omitempty"`

	// How many consumers that no key names may have such a metric: the first whose signature is
	// verified, until they are removed by the admin API or the process ends. The others are counted
	// together, as `_other`. A consumer that registered itself is always among the others.
	// Default: 50.
	Limit int `json:"limit,omitempty"`
}

const (
	defaultConsumerLimit = 50
	mostConsumerLimit    = 10_000
	// otherConsumers stands for all consumers without a metric of their own.
	otherConsumers = "_other"
)

func (o *MetricsOptions) validate() error {
	if o.Limit < 0 || o.Limit > mostConsumerLimit {
		return fmt.Errorf("metrics: limit %d: must be from 1 to %d", o.Limit, mostConsumerLimit)
	}
	for _, pattern := range o.Consumers {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			return fmt.Errorf("metrics: consumers %q: is neither a key nor a pattern", pattern)
		}
	}
	return nil
}

// unmarshalMetrics reads the option metrics of the app.
func (a *App) unmarshalMetrics(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	o, seen := new(MetricsOptions), make(options)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := seen.first(d); err != nil {
			return err
		}
		switch option := d.Val(); option {
		case "consumers":
			if err := textsOption(d, &o.Consumers); err != nil {
				return err
			}
		case "limit":
			var text string
			if err := textOption(d, &text); err != nil {
				return err
			}
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 || n > mostConsumerLimit {
				return d.Errf("metrics: limit %q: must be a number from 1 to %d", text, mostConsumerLimit)
			}
			o.Limit = n
		default:
			return d.Errf("metrics: unknown option %q", option)
		}
	}
	if len(seen) == 0 {
		return d.Err("metrics: needs consumers, limit, or both")
	}
	if err := o.validate(); err != nil {
		return d.WrapErr(err)
	}
	a.Metrics = o
	return nil
}

var consumerRequestsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
	Namespace: "caddy", Subsystem: "oauth1", Name: "consumer_requests_total",
	Help: "Counter of signed API requests by consumer, if the option metrics asks for it, and by result: accepted or refused. Of a refused request the consumer is not proved.",
}, []string{"consumer", "result"})

// consumerMetrics count the requests of some consumers. The consumers that have a metric belong to
// the process: a reload gives no room for more.
type consumerMetrics struct {
	keys     map[string]bool // have a metric in any case
	patterns []string        // if there are any, no other consumer has a metric
	limit    int
	other    consumerCounters
}

type consumerCounters struct{ accepted, refused prometheus.Counter }

// labelled holds the consumers that have a metric. Requests only read it.
var labelled struct {
	atomic.Pointer[map[string]consumerCounters]
	mu     sync.Mutex
	earned map[string]bool // those that no key named when they got it
}

func newConsumerMetrics(o *MetricsOptions) *consumerMetrics {
	m := &consumerMetrics{keys: make(map[string]bool), limit: o.Limit, other: countersOf(otherConsumers)}
	for _, pattern := range o.Consumers {
		if strings.ContainsAny(pattern, `*?[\`) {
			m.patterns = append(m.patterns, pattern)
			continue
		}
		m.keys[pattern] = true
	}
	labelled.mu.Lock()
	defer labelled.mu.Unlock()
	for key := range m.keys {
		label(key)
	}
	return m
}

// labelOf is the label of a consumer. Keys that could be taken for all other consumers, such as _other,
// get one more underscore.
func labelOf(key string) string {
	if before, ok := strings.CutSuffix(key, otherConsumers); ok && strings.Trim(before, "_") == "" {
		key = "_" + key
	}
	return strings.ToValidUTF8(key, "\uFFFD")
}

func countersOf(label string) consumerCounters {
	return consumerCounters{
		accepted: consumerRequestsTotal.WithLabelValues(label, resultAccepted),
		refused:  consumerRequestsTotal.WithLabelValues(label, "refused"),
	}
}

// label gives a consumer a metric. The lock of labelled is held.
func label(key string) consumerCounters {
	if counters, ok := counters(key); ok {
		return counters
	}
	next := make(map[string]consumerCounters)
	if now := labelled.Load(); now != nil {
		next = maps.Clone(*now)
	}
	next[key] = countersOf(labelOf(key))
	labelled.Store(&next)
	return next[key]
}

func counters(key string) (consumerCounters, bool) {
	now := labelled.Load()
	if now == nil {
		return consumerCounters{}, false
	}
	c, ok := (*now)[key]
	return c, ok
}

// accepted counts a request that the consumer signed.
func (m *consumerMetrics) accepted(c *tokenstore.Consumer) {
	found, ok := counters(c.Key)
	if !ok || !m.selects(c.Key) {
		found = m.earn(c)
	}
	found.accepted.Inc()
}

// refused counts a request that names the consumer, which may not have signed it. So it earns no
// metric.
func (m *consumerMetrics) refused(key string) {
	found, ok := counters(key)
	if !ok || !m.selects(key) {
		found = m.other
	}
	found.refused.Inc()
}

// earn gives a consumer a metric if there is room.
func (m *consumerMetrics) earn(c *tokenstore.Consumer) consumerCounters {
	if c.Key == "" || c.SelfRegistered || !m.selects(c.Key) { // some anonymous requests have no consumer
		return m.other
	}
	labelled.mu.Lock()
	defer labelled.mu.Unlock()
	if found, ok := counters(c.Key); ok {
		return found
	}
	if len(labelled.earned) >= m.limit {
		return m.other
	}
	if labelled.earned == nil {
		labelled.earned = make(map[string]bool)
	}
	labelled.earned[c.Key] = true
	return label(c.Key)
}

// removed ends the metric that a consumer had earned, which makes room for another. It may be nil.
func (m *consumerMetrics) removed(key string) {
	labelled.mu.Lock()
	defer labelled.mu.Unlock()
	if !labelled.earned[key] {
		return
	}
	delete(labelled.earned, key)
	if m != nil && m.keys[key] {
		return
	}
	next := maps.Clone(*labelled.Load())
	delete(next, key)
	labelled.Store(&next)
	consumerRequestsTotal.DeletePartialMatch(prometheus.Labels{"consumer": labelOf(key)})
}

// selects reports whether the consumer may have a metric.
func (m *consumerMetrics) selects(key string) bool {
	if m.keys[key] || len(m.keys)+len(m.patterns) == 0 {
		return true
	}
	return slices.ContainsFunc(m.patterns, func(pattern string) bool {
		ok, _ := path.Match(pattern, key)
		return ok
	})
}

// provisionMetrics registers the metrics with the configuration's registry.
func (a *App) provisionMetrics(registry *prometheus.Registry) (err error) {
	if a.metrics, err = newMetrics(registry); err != nil {
		return err
	}
	a.metrics.now = func() time.Time { return a.now() }
	if a.Metrics == nil {
		return nil
	}
	if a.Metrics.Limit == 0 {
		a.Metrics.Limit = defaultConsumerLimit
	}
	if err := a.Metrics.validate(); err != nil {
		return err
	}
	a.metrics.consumers = newConsumerMetrics(a.Metrics)
	return nil
}
