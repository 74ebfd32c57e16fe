package redisstore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// TestQuotaForgets: a nonce counts until it expires, and not much longer; nothing is left then.
func TestQuotaForgets(t *testing.T) {
	q := quota{limit: 3}
	now := int64(1_000_000)
	use := func(consumer string) error {
		return q.add(tokenstore.Nonce{Consumer: consumer, Expires: time.Unix(now+300, 0)}, now)
	}
	for i := range 3 {
		if err := use("k"); err != nil {
			t.Fatalf("nonce %d: %v", i, err)
		}
	}
	for _, later := range []int64{0, 100, 299} {
		now = 1_000_000 + later
		if err := use("k"); !errors.Is(err, tokenstore.ErrNoncesFull) {
			t.Errorf("after %d seconds: %v", later, err)
		}
		if err := use("other"); later == 0 && err != nil {
			t.Errorf("another consumer: %v", err)
		}
	}
	now = 1_000_000 + 300 + 2*quotaStep
	if err := use("k"); err != nil {
		t.Errorf("when they have expired: %v", err)
	}
}

// TestQuotaIsEmptyAtTheEnd: whatever is added, taken back and expires, in any order, nothing is
// counted afterwards, and nothing kept.
func TestQuotaIsEmptyAtTheEnd(t *testing.T) {
	q := quota{limit: 50}
	rng := rand.New(rand.NewPCG(1, 2))
	now := int64(1_000_000)
	var live []tokenstore.Nonce
	full := 0
	for range 100_000 {
		n := tokenstore.Nonce{
			Consumer: fmt.Sprint("k", rng.IntN(20)), Expires: time.Unix(now+rng.Int64N(600)-5, 0),
			Endpoint: rng.IntN(5) == 0,
		}
		if rng.IntN(2) == 0 {
			n.Token = fmt.Sprint("t", rng.IntN(3))
		}
		switch rng.IntN(4) {
		case 0:
			if len(live) > 0 {
				i := rng.IntN(len(live))
				q.remove(live[i])
				live[i] = live[len(live)-1]
				live = live[:len(live)-1]
			}
		case 1:
			now += rng.Int64N(3)
		default:
			if q.add(n, now) == nil {
				live = append(live, n)
			} else {
				full++
			}
		}
	}
	if full < 1000 || len(live) < 1000 {
		t.Errorf("%d were refused and %d are left: the test proves nothing", full, len(live))
	}
	for i := range 20 {
		consumer := fmt.Sprint("k", i)
		p := q.part(consumer)
		p.mu.Lock()
		p.expire((now + 10_000) / quotaStep)
		if c := p.consumers[consumer]; c != nil || len(p.ending) != 0 {
			t.Errorf("%s: %+v is left, %d steps", consumer, c, len(p.ending))
		}
		p.mu.Unlock()
	}
}

// TestLiveNonces: what a quota counts, for monitoring.
func TestLiveNonces(t *testing.T) {
	q := &quota{limit: 100}
	now := time.Now()
	for i, consumer := range []string{"a", "a", "b"} {
		n := tokenstore.Nonce{Consumer: consumer, Value: fmt.Sprint(i), Expires: now.Add(time.Minute)}
		if err := q.add(n, now.Unix()); err != nil {
			t.Fatal(err)
		}
	}
	if all, most := q.live(now.Unix()); all != 3 || most != 2 {
		t.Errorf("%d nonces, of one consumer %d; want 3, 2", all, most)
	}
	if all, most := q.live(now.Add(2 * time.Minute).Unix()); all != 0 || most != 0 {
		t.Errorf("when they have expired: %d nonces, of one consumer %d", all, most)
	}
}
