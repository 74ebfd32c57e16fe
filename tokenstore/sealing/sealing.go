// Package sealing is what stores have in common that encrypt their values: which values are clear
// and may be, which keys were used, and what the errors say.
//
// It knows tokenstore, its records and the envelopes of package keyring; no store, no database, not
// Caddy.
//
//	sealing.go  Sealing: values and names on their way to a store and back
//	note.go     Note: what a store keeps about its keys
package sealing

import (
	"errors"
	"fmt"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/keyring"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
)

// A Sealing is how a store keeps its values. It does not change. A nil Sealing keeps them clear.
type Sealing struct {
	sealer  tokenstore.Sealer
	primary string
	// allSealed refuses what is clear.
	allSealed bool
}

// New returns how a store keeps its values that has the note.
func New(sealer tokenstore.Sealer, note *Note) *Sealing {
	if sealer == nil {
		return nil
	}
	return &Sealing{sealer, sealer.IDs()[0], note != nil && note.AllSealed}
}

// AllSealed reports whether what is clear is refused.
func (s *Sealing) AllSealed() bool { return s != nil && s.allSealed }

// Primary returns the id of the key that encrypts; empty if none does.
func (s *Sealing) Primary() string {
	if s == nil {
		return ""
	}
	return s.primary
}

// IDs returns the ids of all keys, the primary's first.
func (s *Sealing) IDs() []string {
	if s == nil {
		return nil
	}
	return s.sealer.IDs()
}

// Sealer returns what New got.
func (s *Sealing) Sealer() tokenstore.Sealer {
	if s == nil {
		return nil
	}
	return s.sealer
}

// Current reports whether a value is as Seal would return it now.
func (s *Sealing) Current(value []byte) bool {
	id, _ := keyring.SealedWith(value)
	return id == s.Primary()
}

// Seal returns a value as it is stored.
func (s *Sealing) Seal(kind, name string, value []byte) []byte {
	if s == nil {
		return value
	}
	return s.sealer.Seal(kind, name, value)
}

// Open returns a value that Seal was given. Its errors are record.ErrDamaged and record.ErrKey.
func (s *Sealing) Open(kind, name string, stored []byte) ([]byte, error) {
	id, sealed := keyring.SealedWith(stored)
	switch {
	case !sealed && s.AllSealed():
		return nil, fmt.Errorf("%w: it is clear, in a store where everything is encrypted", record.ErrDamaged)
	case !sealed:
		return stored, nil
	case s == nil:
		return nil, fmt.Errorf("%w: key %q, and there are no keys", record.ErrKey, id)
	}
	value, err := s.sealer.Open(kind, name, stored)
	switch {
	case err == nil:
		return value, nil
	case errors.Is(err, keyring.ErrUnknownKey):
		return nil, fmt.Errorf("%w: key %q", record.ErrKey, id)
	}
	return nil, fmt.Errorf("%w: encrypted with key %q: %w", record.ErrDamaged, id, err)
}

// Names returns what may stand in an index for a name of a kind: what is written now first, and then
// what was written with older keys. The last one may be clear.
func (s *Sealing) Names(kind, name string) []Name {
	if s == nil {
		return []Name{{Text: name}}
	}
	hashes := s.sealer.Names(kind, name)
	names := make([]Name, 0, len(hashes)+1)
	for _, hash := range hashes {
		names = append(names, Name{hash, true})
	}
	if !s.allSealed {
		names = append(names, Name{Text: name})
	}
	return names
}

// A Name stands in an index.
type Name struct {
	Text string
	// Hashed says that Text is a keyed hash.
	Hashed bool
}
