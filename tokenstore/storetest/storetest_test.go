package storetest_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/storetest"
)

// stale is the promise of the replicas in these tests.
const stale = 300 * time.Millisecond

func openBadger(t *testing.T, clock func() time.Time) tokenstore.Store {
	t.Helper()
	s, err := badgerstore.Open(badgerstore.Options{Path: t.TempDir(), Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// replicasOf returns an Opener whose calls all open a handle of one store.
func replicasOf(handle func(tokenstore.Store) tokenstore.Store) func(*testing.T) storetest.Opener {
	return func(*testing.T) storetest.Opener {
		var shared tokenstore.Store
		return func(t *testing.T, clock func() time.Time) tokenstore.Store {
			if shared == nil {
				shared = openBadger(t, clock)
			}
			return handle(shared)
		}
	}
}

// A replica is one of several handles of a store. It keeps what it read for a while, whatever the
// others change.
type replica struct {
	tokenstore.Store
	keeps   time.Duration
	extends bool // by each read: a fault

	mu     sync.Mutex
	kept   map[string]kept
	writes int
}

type kept struct {
	value any
	err   error
	until time.Time
}

func newReplica(s tokenstore.Store, keeps time.Duration) *replica {
	return &replica{Store: s, keeps: keeps, kept: make(map[string]kept)}
}

// read returns what is kept, or what find finds.
func (r *replica) read(key string, find func() (any, error)) (any, error) {
	now := time.Now()
	r.mu.Lock()
	found, writes := r.kept[key], r.writes
	if now.Before(found.until) {
		if r.extends {
			found.until = now.Add(r.keeps)
			r.kept[key] = found
		}
		r.mu.Unlock()
		return found.value, found.err
	}
	r.mu.Unlock()
	value, err := find()
	if err != nil && !errors.Is(err, tokenstore.ErrNotFound) {
		return value, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.writes == writes {
		r.kept[key] = kept{value, err, now.Add(r.keeps)}
	}
	return value, err
}

// wrote forgets what is kept, after a write of this replica's own.
func (r *replica) wrote() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writes++
	clear(r.kept)
}

func (r *replica) Consumer(ctx context.Context, key string) (*tokenstore.Consumer, error) {
	v, err := r.read("consumer "+key, func() (any, error) { return r.Store.Consumer(ctx, key) })
	return v.(*tokenstore.Consumer), err
}

func (r *replica) AccessToken(ctx context.Context, key string) (*tokenstore.AccessToken, error) {
	v, err := r.read("access token "+key, func() (any, error) { return r.Store.AccessToken(ctx, key) })
	return v.(*tokenstore.AccessToken), err
}

func (r *replica) RequestToken(ctx context.Context, key string) (*tokenstore.RequestToken, error) {
	v, err := r.read("request token "+key, func() (any, error) { return r.Store.RequestToken(ctx, key) })
	return v.(*tokenstore.RequestToken), err
}

func (r *replica) CreateConsumer(ctx context.Context, c *tokenstore.Consumer) error {
	defer r.wrote()
	return r.Store.CreateConsumer(ctx, c)
}

func (r *replica) UpdateConsumer(
	ctx context.Context, key string, change func(*tokenstore.Consumer) error,
) (*tokenstore.Consumer, error) {
	defer r.wrote()
	return r.Store.UpdateConsumer(ctx, key, change)
}

func (r *replica) DeleteConsumer(ctx context.Context, key string) error {
	defer r.wrote()
	return r.Store.DeleteConsumer(ctx, key)
}

func (r *replica) CreateRequestToken(ctx context.Context, t *tokenstore.RequestToken) error {
	defer r.wrote()
	return r.Store.CreateRequestToken(ctx, t)
}

func (r *replica) RegisterConsumer(
	ctx context.Context, c *tokenstore.Consumer, t *tokenstore.RequestToken,
) error {
	defer r.wrote()
	return r.Store.RegisterConsumer(ctx, c, t)
}

func (r *replica) Review(
	ctx context.Context, key string, review tokenstore.Review,
) (*tokenstore.RequestToken, error) {
	defer r.wrote()
	return r.Store.Review(ctx, key, review)
}

func (r *replica) Exchange(ctx context.Context, key, verifier string) (*tokenstore.AccessToken, error) {
	defer r.wrote()
	return r.Store.Exchange(ctx, key, verifier)
}

// UseNonce looks at the token as it is stored.
func (r *replica) UseNonce(ctx context.Context, n tokenstore.Nonce) error {
	if n.AccessToken != nil {
		if _, err := r.Store.AccessToken(ctx, n.AccessToken.Key); err != nil {
			return err
		}
	}
	return r.Store.UseNonce(ctx, n)
}

func (r *replica) CreateAccessToken(ctx context.Context, t *tokenstore.AccessToken) error {
	defer r.wrote()
	return r.Store.CreateAccessToken(ctx, t)
}

func (r *replica) RevokeToken(ctx context.Context, key string) error {
	defer r.wrote()
	return r.Store.RevokeToken(ctx, key)
}

func (r *replica) Revoke(ctx context.Context, f tokenstore.Filter) (int, error) {
	defer r.wrote()
	return r.Store.Revoke(ctx, f)
}

// Close leaves the shared store open.
func (r *replica) Close() error { return nil }

// finder is a store that finds a consumer and a token in one step.
type finder struct{ tokenstore.Store }

func (f finder) Credentials(
	ctx context.Context, consumer, token string,
) (*tokenstore.Consumer, *tokenstore.AccessToken, error) {
	c, err := f.Consumer(ctx, consumer)
	if err != nil && !errors.Is(err, tokenstore.ErrNotFound) {
		return nil, nil, err
	}
	a, err := f.AccessToken(ctx, token)
	if err != nil && !errors.Is(err, tokenstore.ErrNotFound) {
		return nil, nil, err
	}
	return c, a, nil
}

// optimistic is a store that runs a change of a consumer again when another update came first.
type optimistic struct {
	tokenstore.Store
	reuses bool // the copy of the run before: a fault
}

func (o optimistic) UpdateConsumer(
	ctx context.Context, key string, change func(*tokenstore.Consumer) error,
) (*tokenstore.Consumer, error) {
	changed := errors.New("changed meanwhile")
	var next *tokenstore.Consumer
	for {
		read, err := o.Consumer(ctx, key)
		if err != nil {
			return nil, err
		}
		if next == nil || !o.reuses {
			next = read.Clone()
		}
		if err := change(next); err != nil {
			return nil, err
		}
		got, err := o.Store.UpdateConsumer(ctx, key, func(c *tokenstore.Consumer) error {
			if !reflect.DeepEqual(c, read) {
				return changed
			}
			*c = *next
			return nil
		})
		if !errors.Is(err, changed) {
			return got, err
		}
	}
}

// TestCapabilities runs the suite with stores that do what Badger does not: they find two records
// in one step, and run changes twice.
func TestCapabilities(t *testing.T) {
	storetest.RunFew(t, func(t *testing.T, clock func() time.Time) tokenstore.Store {
		return finder{optimistic{Store: openBadger(t, clock)}}
	})
}

func TestReplicas(t *testing.T) {
	t.Run("which see everything at once", func(t *testing.T) {
		storetest.RunReplicas(t, storetest.Replicas{Fresh: replicasOf(func(s tokenstore.Store) tokenstore.Store {
			return newReplica(s, 0)
		})})
	})
	t.Run("with caches", func(t *testing.T) {
		storetest.RunReplicas(t, storetest.Replicas{
			Fresh: replicasOf(func(s tokenstore.Store) tokenstore.Store {
				return finder{newReplica(s, stale/2)}
			}),
			Stale: stale,
		})
	})
}

// split is a store whose Credentials has a cache of its own.
type split struct {
	tokenstore.Store
	tokenstore.CredentialFinder
}

// lonely is a replica that keeps its nonces to itself.
type lonely struct {
	*replica
	nonces tokenstore.Store
}

func (l lonely) UseNonce(ctx context.Context, n tokenstore.Nonce) error {
	return l.nonces.UseNonce(ctx, n)
}

// trusting is a replica that does not look at the token of a nonce.
type trusting struct{ *replica }

func (r trusting) UseNonce(ctx context.Context, n tokenstore.Nonce) error {
	return r.Store.UseNonce(ctx, n)
}

// blocking is a store that removes tokens one after the other, while others wait.
type blocking struct {
	tokenstore.Store
	mu *sync.RWMutex
}

func (b blocking) Revoke(ctx context.Context, f tokenstore.Filter) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, err := b.Store.Revoke(ctx, f)
	time.Sleep(time.Duration(n) * time.Millisecond)
	return n, err
}

func (b blocking) CreateAccessToken(ctx context.Context, t *tokenstore.AccessToken) error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.Store.CreateAccessToken(ctx, t)
}

// mistaken is a store whose Credentials returns an error for a consumer that is not there.
type mistaken struct{ finder }

func (m mistaken) Credentials(
	ctx context.Context, consumer, token string,
) (*tokenstore.Consumer, *tokenstore.AccessToken, error) {
	c, err := m.Consumer(ctx, consumer)
	if err != nil {
		return nil, nil, err
	}
	a, err := m.AccessToken(ctx, token)
	return c, a, err
}

// faults are stores that break one promise each, and a test that must find it.
var faults = map[string]struct {
	run   func(t *testing.T)
	found string
}{
	"stale for too long": {func(t *testing.T) {
		runReplicas(t, func(s tokenstore.Store) tokenstore.Store { return newReplica(s, 3*stale) })
	}, "a revoked token is seen by another replica"},
	"stale while it is read": {func(t *testing.T) {
		runReplicas(t, func(s tokenstore.Store) tokenstore.Store {
			r := newReplica(s, stale/2)
			r.extends = true
			return r
		})
	}, "a disabled consumer is seen by another replica"},
	"stale in one step": {func(t *testing.T) {
		runReplicas(t, func(s tokenstore.Store) tokenstore.Store {
			return split{newReplica(s, 0), finder{newReplica(s, 3*stale)}}
		})
	}, "a rotated secret is seen by another replica"},
	"nonces of one replica": {func(t *testing.T) {
		runReplicas(t, func(s tokenstore.Store) tokenstore.Store {
			return lonely{newReplica(s, 0), openBadger(t, time.Now)}
		})
	}, "a nonce is used once by all replicas"},
	"a token of one replica": {func(t *testing.T) {
		runReplicas(t, func(s tokenstore.Store) tokenstore.Store { return trusting{newReplica(s, 0)} })
	}, "a token that another replica revoked can't be used with a nonce, at once"},
	"a change made twice": {func(t *testing.T) {
		storetest.Run(t, func(t *testing.T, clock func() time.Time) tokenstore.Store {
			return optimistic{openBadger(t, clock), true}
		})
	}, "a change that another update interrupts is made to what that update left"},
	"a removal that others wait for": {func(t *testing.T) {
		storetest.Run(t, func(t *testing.T, clock func() time.Time) tokenstore.Store {
			return blocking{openBadger(t, clock), new(sync.RWMutex)}
		})
	}, "the revocation of many tokens of a user delays no other call"},
	"one error for two records": {func(t *testing.T) {
		storetest.Run(t, func(t *testing.T, clock func() time.Time) tokenstore.Store {
			return mistaken{finder{openBadger(t, clock)}}
		})
	}, "both credentials in one step/each of a consumer and a token is found without the other"},
}

func runReplicas(t *testing.T, handle func(tokenstore.Store) tokenstore.Store) {
	storetest.RunReplicas(t, storetest.Replicas{Fresh: replicasOf(handle), Stale: stale})
}

// faultEnv names the fault of the store that TestFault runs the suite with.
const faultEnv = "STORETEST_FAULT"

func TestFault(t *testing.T) {
	name := os.Getenv(faultEnv)
	if name == "" {
		t.Skip("it is to fail, in a process of TestFaultsAreFound")
	}
	faults[name].run(t)
}

// TestFaultsAreFound: the suite fails with a store that has a fault, in the test that is named.
func TestFaultsAreFound(t *testing.T) {
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := "TestFault/" + strings.ReplaceAll(fault.found, " ", "_")
			only := "^" + strings.ReplaceAll(regexp.QuoteMeta(path), "/", "$/^") + "$"
			cmd := exec.Command(os.Args[0], "-test.run="+only)
			cmd.Env = append(os.Environ(), faultEnv+"="+name)
			out, err := cmd.CombinedOutput()
			if err == nil || !bytes.Contains(out, []byte("--- FAIL: "+path+" (")) {
				t.Errorf("%s did not fail (%v)\n%s", path, err, out)
			}
		})
	}
}
