package caddymodule

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/doctor"
)

// past is what the process remembers to explain refused requests: what ended, and how far the
// clocks of consumers were off. It is bounded, and only helps explanations: no decision depends on
// it.
type past struct {
	mu     sync.Mutex
	ended  remembered[ending]
	clocks remembered[[]time.Duration]
	// clocked is len(clocks), for forwarded requests.
	clocked atomic.Int32
}

// ending is a key that is no longer in the store.
type ending struct {
	found doctor.Found
	// requestSecret is, for an access token, the secret of the request token that became it. Clients
	// sign with the wrong one of the two.
	requestSecret string
}

const (
	// mostRemembered is how many keys are remembered of each kind.
	mostRemembered = 1000
	// mostClocks is how many timestamps of a consumer are compared.
	mostClocks = 8
)

// note remembers what a change has ended.
func (p *past) note(e *audit.Event) {
	found, key := doctor.FoundNothing, ""
	switch e.Name {
	case audit.AccessTokenRevoked:
		found, key = doctor.FoundRevokedToken, e.Token
	case audit.AccessTokenExpired:
		found, key = doctor.FoundExpiredToken, e.Token
	case audit.RequestTokenExchanged:
		found, key = doctor.FoundExchangedToken, e.RequestToken
	case audit.ConsumerRemoved, audit.ConsumerForgotten:
		found, key = doctor.FoundRemovedConsumer, e.Consumer
	}
	if key == "" || len(key) > maxText {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended.set(key, ending{found: found})
}

// exchanged remembers the secret of the request token that became an access token.
func (p *past) exchanged(accessToken, requestSecret string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended.set(accessToken, ending{requestSecret: requestSecret})
}

// whatBecame returns what is remembered of a key.
func (p *past) whatBecame(key string) ending {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended.values[key]
}

// refusedClock remembers how far a refused timestamp of a consumer was off, and returns those
// before it.
func (p *past) refusedClock(consumer string, off time.Duration) []time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	earlier := p.clocks.values[consumer]
	all := append(earlier[max(0, len(earlier)-mostClocks+1):len(earlier):len(earlier)], off)
	p.clocks.set(consumer, all)
	p.clocked.Store(int32(len(p.clocks.values)))
	return earlier
}

// goodClock forgets how far the timestamps of a consumer were off: one of them was right. It is
// called for each forwarded request, and costs nothing unless some clock is remembered.
func (p *past) goodClock(consumer string) {
	if p.clocked.Load() == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clocks.remove(consumer)
	p.clocked.Store(int32(len(p.clocks.values)))
}

// remembered holds values by key, and forgets the oldest of them.
type remembered[V any] struct {
	values map[string]V
	order  []string // the keys, the oldest first
}

func (m *remembered[V]) set(key string, value V) {
	if m.values == nil {
		m.values = make(map[string]V)
	}
	if _, ok := m.values[key]; !ok {
		if len(m.order) >= mostRemembered {
			delete(m.values, m.order[0])
			m.order = slices.Delete(m.order, 0, 1)
		}
		m.order = append(m.order, key)
	}
	m.values[key] = value
}

func (m *remembered[V]) remove(key string) {
	if _, ok := m.values[key]; !ok {
		return
	}
	delete(m.values, key)
	i := slices.Index(m.order, key)
	m.order = slices.Delete(m.order, i, i+1)
}
