package caddymodule

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/doctor"
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

// countMistakes counts the mistakes of a diagnosis. Their names are a fixed list.
func countMistakes(d *doctor.Diagnosis) {
	if len(d.Mistakes) == 0 {
		mistakesTotal.WithLabelValues(unexplained).Inc()
	}
	for _, mistake := range d.Mistakes {
		mistakesTotal.WithLabelValues(mistake.Name).Inc()
	}
}
