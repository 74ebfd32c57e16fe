package badgerstore

import (
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/keyring"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/storetest"
)

func openTest(t testing.TB, o Options) *Store {
	t.Helper()
	if o.Path == "" {
		o.Path = t.TempDir()
	}
	s, err := Open(o)
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

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T, clock func() time.Time) tokenstore.Store {
		return openTest(t, Options{Clock: clock})
	})
}

func TestStoreIsDurable(t *testing.T) {
	storetest.RunDurable(t, func(t *testing.T) storetest.Opener {
		path := t.TempDir()
		return func(t *testing.T, clock func() time.Time) tokenstore.Store {
			return openTest(t, Options{Path: path, Clock: clock})
		}
	})
}

// TestStoreReplicas is skipped: one process has the store alone.
func TestStoreReplicas(t *testing.T) { storetest.RunReplicas(t, storetest.Replicas{}) }

func TestStoreEncrypted(t *testing.T) {
	storetest.RunDurable(t, func(t *testing.T) storetest.Opener {
		path := t.TempDir()
		return func(t *testing.T, clock func() time.Time) tokenstore.Store {
			return openTest(t, Options{Path: path, Clock: clock, Sync: true, EncryptionKey: make([]byte, 32)})
		}
	})
}

// testRing is a ring of keys that are made of their ids. The first is the primary one.
func testRing(t testing.TB, ids ...string) *keyring.Ring {
	t.Helper()
	var keys []keyring.Key
	for _, id := range ids {
		keys = append(keys, keyring.Key{ID: id, Secret: sha256.Sum256([]byte(id))})
	}
	r, err := keyring.New(keys[0], keys[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestStoreWithKeys(t *testing.T) {
	storetest.RunFew(t, func(t *testing.T, clock func() time.Time) tokenstore.Store {
		return openTest(t, Options{Clock: clock, Sealer: testRing(t, "k1")})
	})
}

// A store that was clear, and has an old key too, looks in three places for each name.
func TestStoreWithKeysIsDurable(t *testing.T) {
	for name, ids := range map[string][][]string{
		"keys from the first start on": {{"k1"}, {"k1"}, {"k1"}},
		"keys are added and changed":   {nil, {"k1"}, {"k2", "k1"}},
	} {
		t.Run(name, func(t *testing.T) {
			storetest.RunDurable(t, func(t *testing.T) storetest.Opener {
				path, opened := t.TempDir(), 0
				return func(t *testing.T, clock func() time.Time) tokenstore.Store {
					o := Options{Path: path, Clock: clock}
					if keys := ids[min(opened, len(ids)-1)]; keys != nil {
						o.Sealer = testRing(t, keys...)
					}
					opened++
					return openTest(t, o)
				}
			})
		})
	}
}

func TestStoreLimitsNonces(t *testing.T) {
	storetest.RunNonceLimit(t, func(t *testing.T, clock func() time.Time, limit int) tokenstore.Store {
		return openTest(t, Options{Clock: clock, MaxNonces: limit})
	})
}

// A failed store refuses every call, also for records in its cache.
func TestAFailedStoreRefusesWhatIsCached(t *testing.T) {
	s := openTest(t, Options{})
	ctx := t.Context()
	if err := s.CreateConsumer(ctx, &tokenstore.Consumer{Key: "k"}); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateAccessToken(ctx, &tokenstore.AccessToken{Key: "t", Consumer: "k", User: "u"}); err != nil {
		t.Fatal(err)
	}
	read := func() (errs []error) {
		_, err := s.Consumer(ctx, "k")
		errs = append(errs, err)
		_, err = s.AccessToken(ctx, "t")
		errs = append(errs, err)
		return append(errs, s.UseNonce(ctx, windowNonce(time.Now().Unix(), "n")))
	}
	read()
	damage := errors.New("a table is damaged")
	s.tokens.failed.Store(&damage)
	for i, err := range read() {
		if err == nil {
			t.Errorf("%s passes", []string{"consumer", "access token", "nonce"}[i])
		}
	}
}
