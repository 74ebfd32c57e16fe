package caddymodule

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// maxObserved is how many consumers are observed. Later ones are not.
const maxObserved = 10_000

// observations are what sites with the option observe saw of known consumers. They belong to the
// process, like the metrics, so a reload does not end them. Their words come from fixed lists.
type observations struct {
	mu   sync.Mutex
	seen map[string]*adminapi.Observed
}

var observed observations

// note counts a request. The reason is empty if it would have been accepted.
func (o *observations) note(consumer, method, place, reason string, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	seen := o.seen[consumer]
	if seen == nil {
		if len(o.seen) >= maxObserved {
			return
		}
		if o.seen == nil {
			o.seen = make(map[string]*adminapi.Observed)
		}
		seen = &adminapi.Observed{
			SignatureMethods: make(map[string]int64),
			Places:           make(map[string]int64),
			Refusals:         make(map[string]int64),
		}
		o.seen[consumer] = seen
	}
	if !slices.Contains(oauth1.SignatureMethods, method) {
		method = "other"
	}
	seen.Requests++
	seen.LastSeen = adminapi.ShownTime(now)
	seen.SignatureMethods[method]++
	seen.Places[place]++
	if reason != "" {
		seen.Refusals[reason]++
	}
}

// of returns what was seen of a consumer, or nil.
func (o *observations) of(consumer string) *adminapi.Observed {
	o.mu.Lock()
	defer o.mu.Unlock()
	seen := o.seen[consumer]
	if seen == nil {
		return nil
	}
	shown := *seen
	shown.SignatureMethods = maps.Clone(seen.SignatureMethods)
	shown.Places = maps.Clone(seen.Places)
	shown.Refusals = maps.Clone(seen.Refusals)
	return &shown
}
