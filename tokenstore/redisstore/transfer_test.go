package redisstore

import (
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore/redislab"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/storetest"
)

func testTransfer(t *testing.T, lab *redislab.Lab, replicas int) {
	ready := readyOptions(t, lab, replicas, 40)
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
	testTransfer(t, redislab.Single(t, redislab.Options{}), 0)
}

func TestTransferCluster(t *testing.T) {
	testTransfer(t, redislab.Cluster(t, redislab.Options{}), 1)
}
