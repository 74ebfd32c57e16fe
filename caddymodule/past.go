package caddymodule

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/doctor"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// past is what the process remembers to explain refused requests: what ended, the keys that
// consumers had before, and how far their clocks were off. All configurations with the same store
// share it. It is bounded, and only helps explanations: no decision depends on it.
type past struct {
	mu       sync.Mutex
	off      bool // the last configuration remembers nothing
	ended    remembered[ending]
	replaced remembered[formerKeys]
	clocks   remembered[[]time.Duration]
	// clocked are the keys of clocks, for forwarded requests, which take no lock. It is replaced, and
	// never changed.
	clocked atomic.Pointer[map[string]struct{}]
	// declared are the consumers of the last configuration.
	declared map[string]*tokenstore.Consumer
}

// ending is a key that is no longer in the store.
type ending struct {
	found doctor.Found
	// requestSecret is, for an access token, the secret of the request token that became it. Clients
	// sign with the wrong one of the two.
	requestSecret string
}

// formerKeys are the keys that a consumer had before the present one. They verify nothing.
type formerKeys struct{ secret, rsaPublicKey string }

const (
	// mostRemembered is how many keys are remembered of each kind.
	mostRemembered = 1000
	// mostClocks is how many timestamps of a consumer are compared.
	mostClocks = 8
)

// keep says whether anything is remembered from now on. If not, what was is forgotten.
func (p *past) keep(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.off = !on; p.off {
		p.ended, p.replaced, p.clocks = remembered[ending]{}, remembered[formerKeys]{}, remembered[[]time.Duration]{}
		p.declared = nil
		p.showClocks()
	}
}

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
	p.end(key, ending{found: found})
}

// end remembers what became of a key. The lock is held.
func (p *past) end(key string, e ending) {
	if !p.off {
		p.ended.set(key, e)
	}
}

// revoked remembers access tokens that were revoked together.
func (p *past) revoked(keys []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, key := range keys {
		p.end(key, ending{found: doctor.FoundRevokedToken})
	}
}

// changed remembers the keys that a consumer had before a change.
func (p *past) changed(before, after *tokenstore.Consumer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changedLocked(before, after)
}

func (p *past) changedLocked(before, after *tokenstore.Consumer) {
	former, different := p.replaced.values[before.Key], false
	if before.Secret != "" && before.Secret != after.Secret {
		former.secret, different = before.Secret, true
	}
	if before.RSAPublicKey != "" && before.RSAPublicKey != after.RSAPublicKey {
		former.rsaPublicKey, different = before.RSAPublicKey, true
	}
	if different && !p.off {
		p.replaced.set(before.Key, former)
	}
}

// configured compares the declared consumers with those of the configuration before.
func (p *past) configured(declared map[string]*tokenstore.Consumer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, before := range p.declared {
		if after := declared[key]; after != nil {
			p.changedLocked(before, after)
		}
	}
	p.declared = declared
}

// formerKeys returns the keys that a consumer had before.
func (p *past) formerKeys(consumer string) formerKeys {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.replaced.values[consumer]
}

// exchanged remembers the secret of the request token that became an access token.
func (p *past) exchanged(accessToken, requestSecret string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end(accessToken, ending{requestSecret: requestSecret})
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
	if !p.off && p.clocks.set(consumer, all) {
		p.showClocks()
	}
	return earlier
}

// goodClock forgets how far the timestamps of a consumer were off: one of them was right. It is
// called for each forwarded request, and takes a lock only if the consumer's clock is remembered.
func (p *past) goodClock(consumer string) {
	clocked := p.clocked.Load()
	if clocked == nil {
		return
	}
	if _, ok := (*clocked)[consumer]; !ok {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.clocks.remove(consumer) {
		p.showClocks()
	}
}

// showClocks lets forwarded requests know whose clocks are remembered.
func (p *past) showClocks() {
	clocked := make(map[string]struct{}, len(p.clocks.values))
	for key := range p.clocks.values {
		clocked[key] = struct{}{}
	}
	p.clocked.Store(&clocked)
}

// remembered holds values by key, and forgets the oldest of them.
type remembered[V any] struct {
	values map[string]V
	order  []string // the keys, the oldest first
}

// set keeps a value, and reports whether there was none for the key.
func (m *remembered[V]) set(key string, value V) (added bool) {
	if m.values == nil {
		m.values = make(map[string]V)
	}
	if _, ok := m.values[key]; !ok {
		added = true
		if len(m.order) >= mostRemembered {
			delete(m.values, m.order[0])
			m.order = slices.Delete(m.order, 0, 1)
		}
		m.order = append(m.order, key)
	}
	m.values[key] = value
	return added
}

// remove reports whether there was a value.
func (m *remembered[V]) remove(key string) bool {
	if _, ok := m.values[key]; !ok {
		return false
	}
	delete(m.values, key)
	i := slices.Index(m.order, key)
	m.order = slices.Delete(m.order, i, i+1)
	return true
}
