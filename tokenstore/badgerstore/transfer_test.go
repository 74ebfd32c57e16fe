package badgerstore

import (
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/storetest"
)

func TestStoreTransfer(t *testing.T) {
	fresh := func(key []byte) func(t *testing.T) storetest.Opener {
		return func(t *testing.T) storetest.Opener {
			path := t.TempDir()
			return func(t *testing.T, clock func() time.Time) tokenstore.Store {
				return openTest(t, Options{Path: path, Clock: clock, EncryptionKey: key})
			}
		}
	}
	storetest.RunTransfer(t, fresh(nil), fresh(make([]byte, 32)))
}

// An export is whole or fails.
func TestExportOfARecordThatCannotBeRead(t *testing.T) {
	s := openTest(t, Options{})
	var c change
	c.put(recordKey(prefixAccessToken, "t"), []byte("nonsense"), 0)
	if err := s.tokens.commit(c); err != nil {
		t.Fatal(err)
	}
	var last error
	for _, err := range s.Export(t.Context()) {
		last = err
	}
	if !record.Unreadable(last) {
		t.Errorf("got %v", last)
	}
}
