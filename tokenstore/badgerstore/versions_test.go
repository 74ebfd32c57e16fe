package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
)

// setVersion is a record of another version.
func setVersion(record []byte, version byte) []byte {
	b := append([]byte{version}, record[1:len(record)-4]...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// A consumer record of a later version, or a damaged one, affects only that consumer. The store
// opens and logs it once, and idle consumers are still forgotten.
func TestOneConsumerThatCannotBeRead(t *testing.T) {
	for name, harm := range map[string]func([]byte) []byte{
		"a later version": func(b []byte) []byte { return setVersion(b, 2) },
		"damage":          func(b []byte) []byte { b[3] ^= 1; return b },
	} {
		t.Run(name, func(t *testing.T) {
			core, logs := observer.New(zap.WarnLevel)
			o := Options{Path: t.TempDir(), Logger: zap.New(core)}
			s, err := Open(o)
			if err != nil {
				t.Fatal(err)
			}
			for _, key := range []string{"a", "b", "c"} {
				consumer := &tokenstore.Consumer{Key: key, SelfRegistered: key != "b"}
				if err := s.CreateConsumer(t.Context(), consumer); err != nil {
					t.Fatal(err)
				}
				token := &tokenstore.RequestToken{Key: "r" + key, Consumer: key, Expires: time.Now().Add(time.Hour)}
				if err := s.CreateRequestToken(t.Context(), token); err != nil {
					t.Fatal(err)
				}
			}
			var c change
			for _, key := range []string{"a", "c"} {
				value := record.Consumer.Encode(&tokenstore.Consumer{Key: key, SelfRegistered: true})
				c.put(recordKey(prefixConsumer, key), harm(value), 0)
			}
			if err := s.tokens.commit(c); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = openTest(t, o)
			if _, err := s.Consumer(t.Context(), "b"); err != nil {
				t.Error(err)
			}
			if _, err := s.Consumer(t.Context(), "a"); !record.Unreadable(err) {
				t.Errorf("the unreadable consumer: %v", err)
			}
			if logs.Len() != 1 {
				t.Errorf("logged %v, want one line", logs.All())
			}
			if err := s.findIdle(time.Now(), nil); err != nil {
				t.Error(err)
			}
			if err := s.forgetConsumers([]string{"a"}, time.Now().Add(1000*time.Hour)); err != nil {
				t.Error(err)
			}
		})
	}
}

// A revoked token of a later version does not stop the removal of other revoked tokens, whose space
// is reclaimed. The mark that hides it stays, for the program that can read it.
func TestRemovalPassesOverALaterVersion(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	o := Options{Path: t.TempDir(), Logger: zap.New(core)}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	put := func(key, user string, version byte) {
		t.Helper()
		token := &tokenstore.AccessToken{Key: key, Consumer: "k", User: user}
		var c change
		putAccessToken(&c, token)
		c.put(recordKey(prefixAccessToken, key), setVersion(record.AccessToken.Encode(token), version), 0)
		if err := s.tokens.commit(c); err != nil {
			t.Fatal(err)
		}
	}
	put("later", "u1", 2)
	for i := range 3 {
		put(fmt.Sprint("t", i), fmt.Sprint("u", i), 1)
	}
	for i := range 3 {
		if _, err := s.Revoke(t.Context(), tokenstore.Filter{User: fmt.Sprint("u", i)}); err != nil {
			t.Fatal(err)
		}
	}
	put("later, and not revoked", "u2", 2)
	wait := func() {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			said := logs.FilterMessageSnippet("stays on disk").Len()
			if p := s.revocations.pending(); p != nil && len(*p) == 1 && said > 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("marks:", s.revocations.pending())
			}
		}
		if m, ok := (*s.revocations.pending())[tokenstore.Filter{User: "u1"}]; !ok || m.version == 0 {
			t.Error("the mark that hides a token is gone")
		}
	}
	wait()
	if err := s.tokens.view(func(txn *reader) error {
		for i := range 3 {
			_, err := txn.Get(recordKey(prefixAccessToken, fmt.Sprint("t", i)))
			if !errors.Is(err, badger.ErrKeyNotFound) {
				t.Errorf("token %d: %v", i, err)
			}
		}
		_, err := txn.Get(recordKey(prefixAccessToken, "later"))
		return err
	}); err != nil {
		t.Error(err)
	}
	for range 3 {
		s.revocations.wake()
		time.Sleep(20 * time.Millisecond)
	}
	if n := logs.FilterMessageSnippet("stays on disk").Len(); n != 1 {
		t.Errorf("said %d times, want once", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if len(s.revocations.working()) > 0 {
		t.Error("the disk space of removed tokens is not reclaimed")
	}
	logs.TakeAll()
	s = openTest(t, o)
	wait()
}
