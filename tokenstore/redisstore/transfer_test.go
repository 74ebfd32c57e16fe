package redisstore

import (
	"errors"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore/redislab"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/storetest"
)

func testTransfer(t *testing.T, lab *redislab.Lab, replicas int) {
	ready := readyOptions(t, lab, replicas, 60)
	redis := func(t *testing.T) storetest.Opener {
		o := ready()
		return func(t *testing.T, clock func() time.Time) tokenstore.Store {
			o.clock = clock
			return openTest(t, o)
		}
	}
	badger := func(t *testing.T) storetest.Opener {
		path := t.TempDir()
		return func(t *testing.T, clock func() time.Time) tokenstore.Store {
			s, err := badgerstore.Open(badgerstore.Options{Path: path, Clock: clock})
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
	}
	t.Run("Badger to Redis", func(t *testing.T) { storetest.RunTransfer(t, badger, redis) })
	t.Run("Redis to Badger", func(t *testing.T) { storetest.RunTransfer(t, redis, badger) })
	t.Run("Redis to Redis", func(t *testing.T) { storetest.RunTransfer(t, redis, redis) })
}

func TestTransferOneServer(t *testing.T) {
	t.Parallel()
	testTransfer(t, redislab.Single(t, redislab.Options{}), 0)
}

func TestTransferCluster(t *testing.T) {
	t.Parallel()
	testTransfer(t, redislab.Cluster(t, calm), 1)
}

// What an export reads belongs together only if nothing was changed meanwhile.
func TestAPausedStore(t *testing.T) {
	t.Parallel()
	lab := redislab.Single(t, redislab.Options{})
	s := openTest(t, testOptions(lab, 0))
	awaitReady(t, s)
	ctx := t.Context()
	if err := s.CreateAccessToken(ctx, &tokenstore.AccessToken{Key: "t", Consumer: "k", User: "u"}); err != nil {
		t.Fatal(err)
	}
	floor, err := s.pause(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	var later *tokenstore.LaterError
	at := time.Unix(floor, 0)
	for name, err := range map[string]error{
		"a change":                    s.CreateConsumer(ctx, &tokenstore.Consumer{Key: "k"}),
		"a nonce":                     s.UseNonce(ctx, tokenstore.Nonce{Consumer: "k", Value: "n", Timestamp: floor, Expires: at.Add(time.Minute)}),
		"a nonce whose clock is fast": s.UseNonce(ctx, tokenstore.Nonce{Consumer: "k", Value: "n", Timestamp: floor + 60, Expires: at.Add(2 * time.Minute)}),
	} {
		if !errors.As(err, &later) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := s.AccessToken(ctx, "t"); err != nil {
		t.Errorf("reading: %v", err)
	}
	if _, err := s.pause(ctx, floor); err != nil {
		t.Errorf("a pause that goes on: %v", err)
	}
	c, err := s.link.client()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Do(ctx, c.B().Hset().Key(s.key(kindState, 5, "")).FieldValue().FieldValue("floor", "1").Build()).Error(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.pause(ctx, floor); !errors.Is(err, errChanged) {
		t.Errorf("a pause with a gap: got %v", err)
	}
}

// An export is whole or fails.
func TestExportOfARecordThatCannotBeRead(t *testing.T) {
	t.Parallel()
	lab := redislab.Single(t, redislab.Options{})
	s := openTest(t, testOptions(lab, 0))
	awaitReady(t, s)
	ctx := t.Context()
	if err := s.CreateAccessToken(ctx, &tokenstore.AccessToken{Key: "t", Consumer: "k", User: "u"}); err != nil {
		t.Fatal(err)
	}
	c, err := s.link.client()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Do(ctx, c.B().Set().Key(s.key(kindToken, sliceOf("t"), "t")).Value("nonsense").Build()).Error(); err != nil {
		t.Fatal(err)
	}
	var last error
	for _, err := range s.Export(ctx) {
		last = err
	}
	if !record.Unreadable(last) {
		t.Errorf("got %v", last)
	}
}

// A full memory may be the reason to move.
func TestExportOfAFullStore(t *testing.T) {
	t.Parallel()
	lab := redislab.Single(t, redislab.Options{})
	s := openTest(t, testOptions(lab, 0))
	awaitReady(t, s)
	ctx := t.Context()
	secret, err := s.Secret(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CreateAccessToken(ctx, &tokenstore.AccessToken{Key: "t", Consumer: "k", User: "u"}); err != nil {
		t.Fatal(err)
	}
	lab.Masters()[0].Must(t, "CONFIG", "SET", "maxmemory", "1")
	tokens := 0
	for r, err := range s.Export(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		switch r := r.(type) {
		case *tokenstore.StoreState:
			if r.Secret != secret {
				t.Error("the secret is another one")
			}
		case *tokenstore.AccessToken:
			tokens++
		}
	}
	if tokens != 1 {
		t.Errorf("%d tokens", tokens)
	}
}

// TestAnImportWaitsForANearFloor: when it has ended, the timestamps of now are above the floor.
func TestAnImportWaitsForANearFloor(t *testing.T) {
	t.Parallel()
	s := openTest(t, testOptions(redislab.Single(t, redislab.Options{}), 0))
	floor := time.Now().Unix()
	if err := s.Import(t.Context(), func(yield func(any, error) bool) {
		floor = time.Now().Unix() + 2
		yield(&tokenstore.StoreState{Floor: floor}, nil)
	}); err != nil {
		t.Fatal(err)
	}
	if now := time.Now().Unix(); now <= floor {
		t.Errorf("it ended %d seconds too early", floor-now+1)
	}
}
