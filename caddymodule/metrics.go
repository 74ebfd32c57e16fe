package caddymodule

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/doctor"
)

// metrics counts the decisions. The counters belong to the process and not to one configuration, so
// a reload does not reset them. Their labels come from fixed lists; no value of a client becomes a
// label.
type metrics struct {
	requests, mistakes *prometheus.CounterVec
	undiagnosed        prometheus.Counter
	// The two counters of accepted API requests, looked up once.
	apiAccepted, apiAnonymous prometheus.Counter
}

const (
	resultAccepted  = "accepted"
	resultAnonymous = "anonymous"
)

var requestsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
	Namespace: "caddy",
	Subsystem: "oauth1",
	Name:      "requests_total",
	Help:      "Counter of requests judged, by endpoint (api: every request that is for the upstream) and by result: accepted, anonymous, or the reason of the refusal.",
}, []string{"endpoint", "result"})

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

var mistakesTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
	Namespace: "caddy",
	Subsystem: "oauth1",
	Name:      "mistakes_total",
	Help:      "Counter of the mistakes that explain refused requests, by name; unexplained: a wrong signature that no mistake explains. Only explained requests count: see the option diagnoses.",
}, []string{"mistake"})

var undiagnosedTotal = prometheus.NewCounter(prometheus.CounterOpts{
	Namespace: "caddy",
	Subsystem: "oauth1",
	Name:      "undiagnosed_total",
	Help:      "Counter of refused requests that were not explained, because they were above the limits of the option diagnoses.",
})

// newMetrics registers the counters with the registry of a configuration.
func newMetrics(registry *prometheus.Registry) (*metrics, error) {
	for _, collector := range []prometheus.Collector{
		requestsTotal, mistakesTotal, undiagnosedTotal, backupLastSuccess, backupFailures,
	} {
		if err := registry.Register(collector); err != nil {
			if already := (prometheus.AlreadyRegisteredError{}); !errors.As(err, &already) {
				return nil, fmt.Errorf("registering metrics: %w", err)
			}
		}
	}
	return &metrics{
		requests:     requestsTotal,
		mistakes:     mistakesTotal,
		undiagnosed:  undiagnosedTotal,
		apiAccepted:  requestsTotal.WithLabelValues(endpointAPI, resultAccepted),
		apiAnonymous: requestsTotal.WithLabelValues(endpointAPI, resultAnonymous),
	}, nil
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

// mistaken counts the mistakes of a diagnosis. Their names are a fixed list.
func (m *metrics) mistaken(d *doctor.Diagnosis) {
	if len(d.Mistakes) == 0 {
		m.mistakes.WithLabelValues(unexplained).Inc()
	}
	for _, mistake := range d.Mistakes {
		m.mistakes.WithLabelValues(mistake.Name).Inc()
	}
}
