package caddymodule

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/doctor"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// TestTokensRevokedTogetherAreRemembered: those of a user, and those of a removed consumer.
func TestTokensRevokedTogetherAreRemembered(t *testing.T) {
	s := newTestSite(t, "diagnoses 10 10", "")
	if err := s.store().CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "app", Secret: "s"}); err != nil {
		t.Fatal(err)
	}
	var keys []string
	for i := range 2 * mostKeysNoted {
		token := &tokenstore.AccessToken{Key: fmt.Sprintf("t%03d", i), Secret: "s", Consumer: "app", User: "many", Permission: "READ_PUBLIC"}
		if err := s.store().CreateAccessToken(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, token.Key)
	}
	alone := s.grant("app", "one", "READ_PUBLIC")
	if n, err := s.app.revokeGrants(t.Context(), s.store(), tokenstore.Filter{User: "many"}); n != len(keys) || err != nil {
		t.Fatal(n, err)
	}
	known := 0
	for _, key := range keys {
		if s.app.diagnoser.past.whatBecame(key).found == doctor.FoundRevokedToken {
			known++
		}
	}
	if known != mostKeysNoted {
		t.Errorf("%d tokens are remembered, not %d", known, mostKeysNoted)
	}
	if s.app.diagnoser.past.whatBecame(alone.Key).found != doctor.FoundNothing {
		t.Error("a token that is there counts as revoked")
	}
	if err := s.app.deleteConsumer(t.Context(), s.store(), "app"); err != nil {
		t.Fatal(err)
	}
	if s.app.diagnoser.past.whatBecame(alone.Key).found != doctor.FoundRevokedToken {
		t.Error("a token of a removed consumer is not remembered")
	}
}

// A forgetter is a store that forgets consumers when it is told to.
type forgetter struct {
	tokenstore.Store
	forgotten func(keys []string)
}

func (f *forgetter) OnForgotten(call func(keys []string)) { f.forgotten = call }

// TestForgottenConsumersAreRemembered: the operator reads that a self-registered consumer was
// removed.
func TestForgottenConsumersAreRemembered(t *testing.T) {
	s := newTestSite(t, "diagnoses 10 10", "")
	store, trail := &forgetter{Store: s.store()}, new(trailOfStore)
	if _, err := trail.open(t.Context(), s.app, store); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(trail.close)
	store.forgotten([]string{"gone"})
	if got := s.app.diagnoser.past.whatBecame("gone").found; got != doctor.FoundRemovedConsumer {
		t.Errorf("remembers %v", got)
	}
}

// TestFormerKeys: those that the doctor may name are the ones that no longer verify.
func TestFormerKeys(t *testing.T) {
	s := newTestSite(t, "diagnoses 10 10", "")
	now := s.clock
	rotated := func(secret, previous string, expires time.Time) *tokenstore.Consumer {
		return &tokenstore.Consumer{Key: "app", Secret: secret, PreviousSecret: previous, PreviousSecretExpires: expires}
	}
	for _, c := range []struct {
		name           string
		consumer       *tokenstore.Consumer
		former         string // as the process remembers it
		previous, hide string
	}{
		{"never rotated", rotated("a", "", time.Time{}), "", "", ""},
		{"rotated in this process", rotated("b", "", time.Time{}), "a", "a", ""},
		{"rotated back", rotated("a", "", time.Time{}), "a", "", ""},
		{"rotated with an overlap that is over", rotated("b", "a", now), "a", "a", ""},
		{"rotated with an overlap", rotated("b", "a", now.Add(time.Hour)), "a", "", "a"},
		{"rotated by another process", rotated("b", "a", now), "", "a", ""},
	} {
		s.app.diagnoser.past = new(past)
		if c.former != "" {
			s.app.diagnoser.replaced(rotated(c.former, "", time.Time{}), rotated("c", "", time.Time{}))
		}
		keys := s.app.keysOf(c.consumer, "", "", now)
		if keys.PreviousSecret != c.previous || strings.Join(keys.Others, " ") != c.hide {
			t.Errorf("%s: previous %q, hidden %q", c.name, keys.PreviousSecret, keys.Others)
		}
	}
}

// TestDeclaredConsumersHaveFormerKeys: the secret in the configuration before is a former one.
func TestDeclaredConsumersHaveFormerKeys(t *testing.T) {
	t.Parallel()
	d := newDiagnoser(&Diagnoses{PerSecond: 1, PerSecondOfConsumer: 1})
	for _, secret := range []string{"a", "b", "b"} {
		d.configured(map[string]*tokenstore.Consumer{"app": {Key: "app", Secret: secret}})
	}
	if got := d.past.formerKeys("app").secret; got != "a" {
		t.Errorf("remembers %q", got)
	}
	d.off = true
	d.configured(map[string]*tokenstore.Consumer{"app": {Key: "app", Secret: "c"}})
	d.replaced(&tokenstore.Consumer{Key: "app", Secret: "x"}, &tokenstore.Consumer{Key: "app"})
	d.revoked([]string{"t"})
	d.exchanged("t", "s")
	d.changed(&audit.Event{Name: audit.AccessTokenRevoked, Token: "t"})
	if got := d.past.formerKeys("app").secret; got != "" || len(d.past.ended.values) > 0 {
		t.Errorf("off, and remembers %q, %v", got, d.past.ended.values)
	}
}

// TestWhatIsRememberedSurvivesAReload: the next configuration with the same store knows it.
func TestWhatIsRememberedSurvivesAReload(t *testing.T) {
	t.Parallel()
	shared := &pooledStore{past: new(past), nonces: newSeenNonces()}
	before, after := newDiagnoser(new(Diagnoses)), newDiagnoser(new(Diagnoses))
	before.remember(shared)
	before.changed(&audit.Event{Name: audit.AccessTokenRevoked, Token: "t"})
	after.remember(shared)
	if after.past.whatBecame("t").found != doctor.FoundRevokedToken || after.nonces != before.nonces {
		t.Error("forgotten")
	}
}

// TestDiagnosesOffForgets: what the configuration before remembered, and what it would add while it
// ends.
func TestDiagnosesOffForgets(t *testing.T) {
	t.Parallel()
	shared := &pooledStore{past: new(past), nonces: newSeenNonces()}
	start := func(o *Diagnoses, secret string) *diagnoser {
		d := newDiagnoser(o)
		d.remember(shared)
		d.configured(map[string]*tokenstore.Consumer{"app": {Key: "app", Secret: secret}})
		return d
	}
	remembered := func() string {
		p := shared.past
		return fmt.Sprint(p.formerKeys("app").secret, " ", p.whatBecame("t").requestSecret, " ", len(p.clocks.values), " ", p.declared["app"] != nil)
	}
	fill := func(d *diagnoser) {
		d.exchanged("t", "s")
		d.past.refusedClock("app", time.Hour)
	}
	start(new(Diagnoses), "a")
	before := start(new(Diagnoses), "b")
	fill(before)
	if got, want := remembered(), "a s 1 true"; got != want {
		t.Errorf("remembers %q, want %q", got, want)
	}
	start(&Diagnoses{Off: true}, "c")
	fill(before)
	before.replaced(&tokenstore.Consumer{Key: "app", Secret: "x"}, &tokenstore.Consumer{Key: "app"})
	if got, want := remembered(), "  0 false"; got != want {
		t.Errorf("off, and remembers %q, want %q", got, want)
	}
	fill(start(new(Diagnoses), "d"))
	if got, want := remembered(), " s 1 true"; got != want {
		t.Errorf("on again, and remembers %q, want %q", got, want)
	}
}

// TestClocksAtOnce: accepted and refused requests remember and forget at the same time.
func TestClocksAtOnce(t *testing.T) {
	t.Parallel()
	var p past
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for i := range 500 {
				consumer := fmt.Sprint("late", i%7)
				if worker%2 == 0 {
					p.refusedClock(consumer, time.Hour)
				} else {
					p.goodClock(consumer)
				}
			}
		})
	}
	all.Wait()
	for i := range 7 {
		p.goodClock(fmt.Sprint("late", i))
	}
	if left := len(*p.clocked.Load()); left > 0 || len(p.clocks.values) > 0 || len(p.clocks.order) > 0 {
		t.Errorf("%d clocks are left, %v, %v", left, p.clocks.values, p.clocks.order)
	}
}

// BenchmarkGoodClock is what an accepted request pays while the clock of another consumer is known
// to be wrong.
func BenchmarkGoodClock(b *testing.B) {
	p := new(past)
	for i := range mostRemembered {
		p.refusedClock(fmt.Sprint("late", i), time.Hour)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			p.goodClock("app")
		}
	})
}
