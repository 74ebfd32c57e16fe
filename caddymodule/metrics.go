package caddymodule

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
)

// metrics counts the decisions. The counters belong to the process and not to one configuration, so
// a reload does not reset them. Their labels come from fixed lists; no value of a client becomes a
// label. (consumermetrics.go has the exception that an operator may ask for.)
type metrics struct {
	requests *prometheus.CounterVec
	// The counters of accepted API requests, looked up once.
	apiAccepted, apiAnonymous prometheus.Counter
	verified                  map[string]prometheus.Counter // by signature method
	consumers                 *consumerMetrics              // nil: no metric has the label consumer
	now                       func() time.Time              // the app's clock
}

const (
	resultAccepted  = "accepted"
	resultAnonymous = "anonymous"
	resultEndpoint  = "endpoint" // of endpointObserved
)

var (
	requestsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy",
		Subsystem: "oauth1",
		Name:      "requests_total",
		Help:      "Counter of requests judged, by endpoint (api: every request that is for the upstream; observed: requests that observe passed on) and by result: accepted, anonymous, or the reason of the refusal.",
	}, []string{"endpoint", "result"})

	verificationsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy",
		Subsystem: "oauth1",
		Name:      "verifications_total",
		Help:      "Counter of signed requests to the API and to the consumers' endpoints, by signature method (other: unknown or absent) and by result: accepted, or the reason of the refusal. Policies come later.",
	}, []string{"method", "result"})

	verificationSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: "caddy",
		Subsystem: "oauth1",
		Name:      "verification_duration_seconds",
		Help:      "How long it takes to verify an API request once it has arrived. Of accepted requests, at most 1000 a second are measured.",
		Buckets:   []float64{.000005, .00001, .000025, .00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
	})

	timestampOffset = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: "caddy",
		Subsystem: "oauth1",
		Name:      "timestamp_offset_seconds",
		Help:      "How far ahead of the server's clock the timestamps of accepted API requests are. At most 1000 requests a second are measured.",
		Buckets:   []float64{-300, -120, -60, -30, -10, -5, -2, -1, 0, 1, 2, 5, 10, 30, 60, 120, 300},
	})

	buildInfo = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace:   "caddy",
		Subsystem:   "oauth1",
		Name:        "build_info",
		Help:        "Always 1. The labels tell which program runs.",
		ConstLabels: buildLabels(),
	}, func() float64 { return 1 })
)

// What became of the backups of the option backup.
var (
	backupLastSuccess = prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "caddy",
		Subsystem: "oauth1",
		Name:      "backup_last_success_timestamp_seconds",
		Help:      "When the last scheduled backup that was made and verified was begun, in seconds since 1970; 0: none yet.",
	})
	backupFailures = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "caddy",
		Subsystem: "oauth1",
		Name:      "backup_failures_total",
		Help:      "Counter of scheduled backups that could not be made.",
	})
)

// collectors are all metrics of this process.
var collectors = []prometheus.Collector{
	requestsTotal, verificationsTotal, verificationSeconds, timestampOffset, buildInfo,
	storeSeconds, storeErrors, &storesWatched, consumerRequestsTotal, backupLastSuccess, backupFailures,
	auditFailures, mistakesTotal, undiagnosedTotal,
}

// newMetrics registers the metrics with the registry of a configuration.
func newMetrics(registry *prometheus.Registry) (*metrics, error) {
	for _, c := range collectors {
		if err := registry.Register(c); err != nil {
			if already := (prometheus.AlreadyRegisteredError{}); !errors.As(err, &already) {
				return nil, fmt.Errorf("registering metrics: %w", err)
			}
		}
	}
	m := &metrics{
		requests:     requestsTotal,
		apiAccepted:  requestsTotal.WithLabelValues(endpointAPI, resultAccepted),
		apiAnonymous: requestsTotal.WithLabelValues(endpointAPI, resultAnonymous),
		verified:     make(map[string]prometheus.Counter),
		now:          time.Now,
	}
	// A rate needs a value from before the first event.
	for endpoint, reasons := range map[string][]string{
		endpointAPI: {refusal.Store.Reason, refusal.NoncesFull.Reason, refusal.TokenNonces.Reason},
		endpointRequestToken: {refusal.Store.Reason, refusal.EndpointNonces.Reason,
			refusal.TooManyWaiting.Reason, refusal.TooManyConsumers.Reason},
	} {
		for _, reason := range reasons {
			requestsTotal.WithLabelValues(endpoint, reason)
		}
	}
	for _, method := range oauth1.SignatureMethods {
		m.verified[method] = verificationsTotal.WithLabelValues(method, resultAccepted)
	}
	return m, nil
}

// buildLabels returns the version of this module, as the program's build has it.
func buildLabels() prometheus.Labels {
	labels := prometheus.Labels{"version": "unknown", "revision": "unknown", "goversion": runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return labels
	}
	const path = "github.com/caddy-oauth1/caddy-oauth1"
	for _, module := range append(slices.Clone(info.Deps), &info.Main) {
		if module.Path == path && module.Version != "" {
			labels["version"] = strings.Trim(module.Version, "()")
		}
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" && info.Main.Path == path {
			labels["revision"] = setting.Value
		}
	}
	return labels
}

func (m *metrics) passed(anonymous bool) {
	if anonymous {
		m.apiAnonymous.Inc()
		return
	}
	m.apiAccepted.Inc()
}

func (m *metrics) answered(endpoint string) {
	m.requests.WithLabelValues(endpoint, resultAccepted).Inc()
}

func (m *metrics) refused(endpoint, reason string) {
	m.requests.WithLabelValues(endpoint, reason).Inc()
}

// judged counts a signed request, and measures it if it is forwarded. reason is that of its refusal.
// Once signature and nonce are good, the verification counts as accepted, whatever refuses the
// request later. s is nil if the request was not read.
func (m *metrics) judged(endpoint string, s *signed, reason string) {
	if s == nil || s.params.Source == oauth1.SourceNone {
		return
	}
	counter, known := m.verified[s.params.SignatureMethod]
	switch {
	case s.verified == nil:
		method := "other"
		if known {
			method = s.params.SignatureMethod
		}
		verificationsTotal.WithLabelValues(method, reason).Inc()
	case known:
		counter.Inc()
	}
	if endpoint != endpointAPI {
		return
	}
	if reason == "" {
		m.measure(s.now, s.timestamp)
	}
	switch {
	case m.consumers == nil:
	case reason == "":
		m.consumers.accepted(s.verified)
	default:
		m.consumers.refused(s.params.ConsumerKey)
	}
}

// measured is when a request was measured last, in nanoseconds since 1970.
var measured atomic.Int64

// measuredApart is the shortest time between two accepted requests that are measured: so a busy
// server saves the time that it takes to measure.
const measuredApart = time.Millisecond

// measure measures an accepted request of the API that had arrived then, unless another one was
// measured shortly before. A timestamp of 0 was not judged.
func (m *metrics) measure(arrived time.Time, timestamp int64) {
	at, last := arrived.UnixNano(), measured.Load()
	if apart := at - last; apart >= 0 && apart < int64(measuredApart) || !measured.CompareAndSwap(last, at) {
		return
	}
	verificationSeconds.Observe(m.now().Sub(arrived).Seconds())
	if timestamp != 0 {
		timestampOffset.Observe(float64(timestamp) - float64(at)/1e9)
	}
}
