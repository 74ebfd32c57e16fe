package redisstore

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/sealing"
)

// With a Sealer, the records in envelopes are encrypted, and the names of users and consumers in the
// keys of indexes, counts and marks are hashed. The head of an envelope stays clear, since scripts
// read it.

// sealed returns a record as it stands in an envelope. key is that of the consumer or token.
func sealed[T any](s *Store, kind record.Kind[T], key string, v *T) string {
	return string(s.sealing.Load().Seal(kind.Name, key, kind.Encode(v)))
}

// secretName is the kind and the name that the secret has when it is encrypted.
const secretName = "secret of the store"

func (s *Store) sealedSecret(secret [32]byte) string {
	return string(s.sealing.Load().Seal(secretName, "", secret[:]))
}

// openSecret reads what sealedSecret returned.
func (s *Store) openSecret(stored string) (secret [32]byte, err error) {
	now := s.sealing.Load()
	clear := []byte(stored)
	if len(stored) != len(secret) || now.AllSealed() {
		if clear, err = now.Open(secretName, "", []byte(stored)); err != nil {
			return secret, fmt.Errorf("redis: the store's secret: %w", err)
		}
	}
	if copy(secret[:], clear) != len(secret) || len(clear) != len(secret) {
		return secret, fmt.Errorf("redis: the secret has %d bytes", len(clear))
	}
	return secret, nil
}

// nameKinds are the kinds of the names by which indexes are made.
var nameKinds = map[string]string{
	kindTokensOfConsumer:   "consumer",
	kindRequestsOfConsumer: "consumer",
	kindTokensOfUser:       "user",
	kindRequestsOfUser:     "user",
}

// names returns what may stand for a name, what is written now first.
func (s *Store) names(kind, name string) []string {
	now := s.sealing.Load()
	if now == nil {
		return []string{name}
	}
	all := now.Names(kind, name)
	texts := make([]string, len(all))
	for i, n := range all {
		texts[i] = n.Text
		if n.Hashed {
			texts[i] = hashedMark + base64.RawURLEncoding.EncodeToString([]byte(n.Text))
		}
	}
	return texts
}

// hashedMark stands before a hashed name.
const hashedMark = "\x00"

// namedKeys returns the keys of an index that may hold what belongs to a name, that to write first.
// For an index of no name they are one.
func (s *Store) namedKeys(kind string, sl slice, name string) []string {
	of, ok := nameKinds[kind]
	if !ok {
		return []string{s.key(kind, sl, name)}
	}
	keys := s.names(of, name)
	for i := range keys {
		keys[i] = s.key(kind, sl, keys[i])
	}
	return keys
}

// addName adds a token to the index of a name. Where it stands under the name's hash with an old
// key, or under the name itself, it is removed.
func (s *Store) addName(w *write, kind, name, token string) {
	keys := s.namedKeys(kind, w.slice, name)
	if indexed(kind) {
		w.index(s, keys[0], token)
	} else {
		w.do("ZADD", keys[0], "0", token)
	}
	s.removeFrom(w, kind, keys[1:], token)
}

// removeName removes a token from the index of a name.
func (s *Store) removeName(w *write, kind, name, token string) {
	s.removeFrom(w, kind, s.namedKeys(kind, w.slice, name), token)
}

func (s *Store) removeFrom(w *write, kind string, keys []string, token string) {
	for _, key := range keys {
		if indexed(kind) {
			w.unindex(s, key, token)
		} else {
			w.do("ZREM", key, token)
		}
	}
}

// suffixes tell the lists of dead tokens apart that one revocation has, one for each name that
// names returns.
func (s *Store) suffixes() []string {
	now := s.sealing.Load()
	var all []string
	for _, id := range now.IDs() {
		all = append(all, ":"+id)
	}
	if !now.AllSealed() {
		all = append(all, "")
	}
	return all
}

// noteKeys looks whether the store's keys are those that it has used, and notes the primary one. It
// must have succeeded before anything is encrypted.
func (s *Store) noteKeys(ctx context.Context) error {
	s.noting.Lock()
	defer s.noting.Unlock()
	if s.noted.Load() {
		return nil
	}
	next, err := s.begin(ctx, s.sealing.Load().Sealer())
	if err != nil {
		return err
	}
	s.sealing.Store(next)
	s.noted.Store(true)
	return nil
}

// useKeys goes on with another Sealer, if that has the keys that are in use.
func (s *Store) useKeys(ctx context.Context, sealer tokenstore.Sealer) error {
	s.noting.Lock()
	defer s.noting.Unlock()
	if s.sealing.Load() == nil && sealer == nil {
		return nil
	}
	next, err := s.begin(ctx, sealer)
	var later *tokenstore.LaterError
	if errors.As(err, &later) { // the next call looks again
		s.sealing.Store(sealing.New(sealer, nil))
		s.noted.Store(false)
		return nil
	}
	if err == nil {
		s.sealing.Store(next)
		s.noted.Store(true)
	}
	return err
}

// begin returns how the store keeps what it has with a Sealer, whose primary key it notes. A store
// without a Sealer must have no note.
func (s *Store) begin(ctx context.Context, sealer tokenstore.Sealer) (begun *sealing.Sealing, err error) {
	key := s.key(kindKeys, secretSlice, "")
	err = again(ctx, func() (bool, error) {
		v, err := s.read(ctx, secretSlice, key, s.key(kindSecret, secretSlice, ""))
		if err != nil {
			return false, err
		}
		note, err := sealing.ReadNote(sealer, []byte(v.values[0]))
		if err != nil || sealer == nil {
			return true, err
		}
		if note == nil && (v.values[1] == "" || v.values[1] == incompleteMark) {
			note = &sealing.Note{AllSealed: true}
		}
		var missing []string
		if note != nil {
			if missing, err = note.Missing(sealer); err != nil {
				return false, err
			}
		}
		if len(missing) > 0 {
			use, err := s.recordsByKey(ctx)
			if err != nil {
				return false, err
			}
			if err := sealing.InUse(missing, use); err != nil {
				return false, err
			}
		}
		next, differs := note.Begin(sealer, missing)
		if differs || v.values[0] == "" {
			w := newWrite(secretSlice, nil)
			w.require(key, v.values[0])
			w.do("SET", key, string(next.Encode(sealer)))
			if done, err := s.commit(ctx, w); !done || err != nil {
				return false, err
			}
		}
		begun = sealing.New(sealer, next)
		return true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("redis: the store's keys: %w", err)
	}
	return begun, nil
}
