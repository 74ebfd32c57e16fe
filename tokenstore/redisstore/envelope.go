package redisstore

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
)

// An envelope is what a key of a consumer or token holds: a head of fixed size, which scripts read
// too, and a record.
//
//	0   version: 8 random bytes, which differ for each record that was made for the key
//	8   stamp: a time. Of an access token, when it was last used; of a deleted consumer, when it was
//	    forgotten, if that is not certain yet
//	16  revision of the slice when the record was made, or reviewed
//	24  state, one byte
//	25  of an exchanged request token: the claim of a call that exchanges it (8 zero bytes: none);
//	    the length of the access token's key, one byte, and the key
//	..  the record
type envelope struct {
	version  string
	stamp    time.Time // zero: never
	revision uint64
	state    byte
	claim    string // if the state is stateExchanged: 8 random bytes of a call, or empty
	access   string // likewise: the key of the access token
	record   string // as sealed returned it
}

// The states of an envelope.
const (
	stateThere     = 0
	stateExchanged = 1 // of a request token: there is the access token, which may not be acknowledged
	stateDeleted   = 2 // of a consumer: it is gone, and its tokens are being removed
)

const headSize = 25

const noClaim = "\x00\x00\x00\x00\x00\x00\x00\x00"

func newVersion() string {
	var b [8]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return string(b[:])
}

// stampBytes writes a time so that later ones compare higher.
func stampBytes(t time.Time) string {
	var b [8]byte
	if !t.IsZero() {
		binary.BigEndian.PutUint64(b[:], uint64(max(0, t.UnixNano())))
	}
	return string(b[:])
}

func (e *envelope) encode() string {
	var b strings.Builder
	b.Grow(headSize + 9 + len(e.access) + len(e.record))
	b.WriteString(e.version)
	b.WriteString(stampBytes(e.stamp))
	var revision [8]byte
	binary.BigEndian.PutUint64(revision[:], e.revision)
	b.Write(revision[:])
	b.WriteByte(e.state)
	if e.state == stateExchanged {
		b.WriteString(cmp.Or(e.claim, noClaim))
		b.WriteByte(byte(len(e.access)))
		b.WriteString(e.access)
	}
	b.WriteString(e.record)
	return b.String()
}

// open reads an envelope. The error is record.ErrDamaged.
func open(value string) (*envelope, error) {
	if len(value) < headSize {
		return nil, fmt.Errorf("%w: %d bytes", record.ErrDamaged, len(value))
	}
	e := &envelope{
		version:  value[:8],
		revision: binary.BigEndian.Uint64([]byte(value[16:24])),
		state:    value[24],
		record:   value[headSize:],
	}
	if n := binary.BigEndian.Uint64([]byte(value[8:16])); n != 0 {
		e.stamp = time.Unix(0, int64(n)).UTC()
	}
	if e.state == stateExchanged {
		rest := e.record
		if len(rest) < 9 || len(rest) < 9+int(rest[8]) {
			return nil, fmt.Errorf("%w: no access token", record.ErrDamaged)
		}
		if rest[:8] != noClaim {
			e.claim = rest[:8]
		}
		n := 9 + int(rest[8])
		e.access, e.record = rest[9:n], rest[n:]
	}
	return e, nil
}

// A stored record is what was read for a key: the value itself, for the condition of a later write,
// and what stands in it.
type stored[T any] struct {
	value string
	envelope
	is *T
}

// decode reads the value of a consumer's or token's key; nil if there is none. The record of an
// access token need not have its key.
func decode[T any](s *Store, kind record.Kind[T], key, value string) (*stored[T], error) {
	if value == "" {
		return nil, nil
	}
	e, err := open(value)
	if err != nil {
		return nil, fmt.Errorf("redis: %s: %w", kind.Name, err)
	}
	clear, err := s.sealing.Load().Open(kind.Name, key, []byte(e.record))
	if err != nil {
		return nil, fmt.Errorf("redis: %s: %w", kind.Name, err)
	}
	is, err := kind.Decode(clear)
	if err != nil {
		return nil, fmt.Errorf("redis: %s: %w", kind.Name, err)
	}
	if t, ok := any(is).(*tokenstore.AccessToken); ok {
		t.Key = key
	}
	return &stored[T]{value, *e, is}, nil
}

// Marks are the bulk revocations of a slice that are not finished, with their revisions: what is of
// a mark's consumer or user and not of a later revision is revoked.
type marks map[string]uint64

func markOf(f tokenstore.Filter) string {
	switch {
	case f.User == "":
		return "c" + f.Consumer
	case f.Consumer == "":
		return "u" + f.User
	}
	return fmt.Sprintf("b%d:%s%s", len(f.User), f.User, f.Consumer)
}

// revoked reports whether a mark revokes what is of a revision, a consumer and a user.
func (s *Store) revoked(m marks, revision uint64, consumer, user string) bool {
	if len(m) == 0 {
		return false
	}
	of := func(f tokenstore.Filter) bool {
		for _, name := range s.names("revocation", markOf(f)) {
			if mark, ok := m[name]; ok && revision < mark {
				return true
			}
		}
		return false
	}
	return of(tokenstore.Filter{Consumer: consumer}) ||
		user != "" && (of(tokenstore.Filter{User: user}) || of(tokenstore.Filter{User: user, Consumer: consumer}))
}
