package caddymodule

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// storeCollector tells the figures of the store that was opened last. A figure that the store does
// not have is no metric. No scrape waits for the store.
type storeCollector struct {
	mu      sync.Mutex
	watches []*storeWatch // of the open stores, the newest last
}

// storesWatched is the collector of this process.
var storesWatched storeCollector

const (
	// measuredEvery is the time between two looks at a store's figures.
	measuredEvery = 10 * time.Second
	// countedEvery is the shortest time between the end of a count and the next one. After a long
	// count it is longer, so that counting takes at most one part of countedShare of all time.
	countedEvery = 30 * time.Second
	countedShare = 100
)

// A storeWatch has the last figures of an open store.
type storeWatch struct {
	store    tokenstore.Store
	mu       sync.Mutex
	measures tokenstore.Measures
	stats    []tokenstore.Stat
	records  map[string]int64 // by the id of the key that encrypts them; nil without keys
}

func storeDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName("caddy", "oauth1", name), help, labels, nil)
}

var (
	descConsumers = storeDesc("consumers",
		"Consumers: declared in the configuration, stored, or idle (registered themselves, without an access token).", "kind")
	descAccessTokens  = storeDesc("access_tokens", "Access tokens in the store, revoked ones until they leave the disk.")
	descRequestTokens = storeDesc("request_tokens", "Request tokens in the store, by state.", "state")
	descNonces        = storeDesc("nonces", "Nonces that are remembered.")
	descNonceLimit    = storeDesc("nonce_limit", "How many nonces of one consumer are remembered at most.")
	descNonceMost     = storeDesc("nonce_consumer_max", "How many nonces the consumer has that has most of them.")
	descNonceFloor    = storeDesc("nonce_floor_timestamp_seconds", "The oauth_timestamp below which every request is refused.")
	descStoreSize     = storeDesc("store_size_bytes", "Bytes that the store takes on its disk.")
	descStoreFree     = storeDesc("store_free_bytes", "Bytes that are free on the store's disk.")
	descStoreFailed   = storeDesc("store_failed", "1 if the store does nothing until it is opened again, else 0.")
	descRecords       = storeDesc("encryption_records",
		"Records in the store, by the id of the key that encrypts them; an empty id is what is clear.", "key_id")
	descCache = storeDesc("cache_requests_total", "Counter of look-ups in the store's caches.", "cache", "result")

	syncSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: "caddy", Subsystem: "oauth1", Name: "nonce_sync_duration_seconds",
		Help:    "How long the disk takes to keep a batch of nonces.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
	})
)

// Describe sends the descriptions of all figures.
func (c *storeCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descConsumers, descAccessTokens, descRequestTokens, descNonces, descNonceLimit,
		descNonceMost, descNonceFloor, descStoreSize, descStoreFree, descStoreFailed, descRecords, descCache} {
		ch <- d
	}
	syncSeconds.Describe(ch)
}

// Collect sends the figures that there are.
func (c *storeCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(value), labels...)
	}
	if app := appsStarted.started(); app != nil {
		gauge(descConsumers, int64(len(app.declared)), "declared")
	}
	w := c.newest()
	if w == nil {
		return
	}
	if f, ok := w.store.(tokenstore.Failer); ok {
		failed := int64(0)
		if f.Failed() != nil {
			failed = 1
		}
		gauge(descStoreFailed, failed)
	}
	if _, ok := w.store.(tokenstore.SyncWatcher); ok {
		syncSeconds.Collect(ch)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, stat := range w.stats {
		switch {
		case stat.Name == "access_tokens":
			gauge(descAccessTokens, stat.Value)
		case stat.Name == "consumers":
			eachPart(stat, "stored", func(part string, n int64) { gauge(descConsumers, n, part) })
		case stat.Name == "request_tokens":
			eachPart(stat, "waiting", func(part string, n int64) { gauge(descRequestTokens, n, part) })
		}
	}
	for _, figure := range []struct {
		desc  *prometheus.Desc
		value *int64
	}{
		{descNonces, w.measures.Nonces}, {descNonceLimit, w.measures.NonceLimit},
		{descNonceMost, w.measures.NonceConsumerMax}, {descNonceFloor, w.measures.NonceFloor},
		{descStoreSize, w.measures.Size}, {descStoreFree, w.measures.Free},
	} {
		if figure.value != nil {
			gauge(figure.desc, *figure.value)
		}
	}
	for id, n := range w.records {
		gauge(descRecords, n, id)
	}
	for _, cache := range w.measures.Caches {
		for result, n := range map[string]uint64{"hit": cache.Hits, "miss": cache.Misses} {
			ch <- prometheus.MustNewConstMetric(descCache, prometheus.CounterValue, float64(n), cache.Name, result)
		}
	}
}

// eachPart calls f with the parts of a count, or with the whole if the store does not divide it.
func eachPart(stat tokenstore.Stat, whole string, f func(part string, n int64)) {
	if len(stat.Parts) == 0 {
		f(whole, stat.Value)
	}
	for _, part := range stat.Parts {
		f(part.Name, part.Value)
	}
}

func (c *storeCollector) newest() *storeWatch {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.watches); n > 0 {
		return c.watches[n-1]
	}
	return nil
}

// watch begins to watch a store that was opened. The figures come with measure and count.
func (c *storeCollector) watch(store tokenstore.Store) *storeWatch {
	w := &storeWatch{store: store}
	if s, ok := store.(tokenstore.SyncWatcher); ok {
		s.WatchSyncs(func(took time.Duration) { syncSeconds.Observe(took.Seconds()) })
	}
	w.look()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watches = append(c.watches, w)
	return w
}

// forget ends the figures of a store that is being closed.
func (c *storeCollector) forget(w *storeWatch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, other := range c.watches {
		if other == w {
			c.watches = append(c.watches[:i:i], c.watches[i+1:]...)
			return
		}
	}
}

// look takes the figures that need no counting.
func (w *storeWatch) look() {
	if m, ok := w.store.(tokenstore.Measurer); ok {
		measures := m.Measure()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.measures = measures
	}
}

// counted takes the figures of a count. Those that an error left out are unknown, and no metrics.
func (w *storeWatch) counted(stats []tokenstore.Stat) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats = stats
}

// measure looks at the store periodically until the context ends.
func (w *storeWatch) measure(ctx context.Context) {
	for sleep(ctx, measuredEvery) {
		w.look()
	}
}

// count counts what is in the store periodically until the context ends. The first count took so
// long.
func (w *storeWatch) count(ctx context.Context, took time.Duration) {
	s, ok := w.store.(tokenstore.Statter)
	if !ok {
		return
	}
	took += w.countKeys(ctx)
	for sleep(ctx, max(countedEvery, countedShare*took)) {
		begin := time.Now()
		stats, _ := s.Stats(ctx) // what is out of reach is in store_errors_total and in the log already
		if ctx.Err() != nil {
			return
		}
		w.counted(stats)
		took = time.Since(begin) + w.countKeys(ctx)
	}
}

// countKeys counts the records of each key, if the store has keys, and returns how long it took.
// After an error the last count stands.
func (w *storeWatch) countKeys(ctx context.Context) time.Duration {
	begin := time.Now()
	use, err := keyUse(ctx, w.store)
	if err != nil {
		return time.Since(begin)
	}
	var records map[string]int64
	if use != nil {
		records = use.Records
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.records = records
	return time.Since(begin)
}

// sleep reports whether the time has passed before the context ended.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
