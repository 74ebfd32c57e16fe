package sealing

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/keyring"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
)

// A Note is what a store keeps about its keys. It is written before the first value that a key
// encrypts, and is encrypted itself.
type Note struct {
	// Keys are those that a value of the store may be encrypted with.
	Keys []NotedKey
	// AllSealed says that no value is clear.
	AllSealed bool
}

// A NotedKey is a key's id, and an envelope that only this key opens.
type NotedKey struct{ ID, Proof string }

var noteKind = record.Kind[Note]{
	Name:    "note of the keys",
	Version: 1,
	Fields: func(f *record.Fields, n *Note) {
		record.List(f, &n.Keys, func(f *record.Fields, k *NotedKey) {
			f.Text(&k.ID)
			f.Text(&k.Proof)
		})
		f.Bool(&n.AllSealed)
		f.Required()
	},
}

// The kinds and names of what is encrypted here.
const (
	noteName  = "keys"
	proofKind = "proof of a key"
)

// ReadNote reads the note of a store, nil if there is none. Its error says what the configuration
// lacks.
func ReadNote(sealer tokenstore.Sealer, stored []byte) (*Note, error) {
	if len(stored) == 0 {
		return nil, nil
	}
	id, sealed := keyring.SealedWith(stored)
	if !sealed {
		return nil, fmt.Errorf("the note of its keys: %w", record.ErrDamaged)
	}
	if sealer == nil {
		return nil, fmt.Errorf("it is encrypted with key %q, and the configuration has no `keys`: "+
			"add that key", id)
	}
	value, err := sealer.Open(noteKind.Name, noteName, stored)
	switch {
	case errors.Is(err, keyring.ErrUnknownKey):
		return nil, fmt.Errorf("it is encrypted with key %q, which is not among the `keys` of the configuration (%s): "+
			"add it there as old", id, quoted(sealer.IDs()))
	case err != nil:
		return nil, wrongKey(id)
	}
	n, err := noteKind.Decode(value)
	if err != nil {
		return nil, fmt.Errorf("the note of its keys: %w", err)
	}
	return n, nil
}

func wrongKey(id string) error {
	return fmt.Errorf("key %q is not the key that it was encrypted with: give that one, or restore a backup "+
		"if the store is damaged", id)
}

// Missing returns the ids of the noted keys that are not in the ring. It returns an error if a key
// in the ring has an id of the note, and is not that key.
func (n *Note) Missing(sealer tokenstore.Sealer) (missing []string, err error) {
	ids := sealer.IDs()
	for _, k := range n.Keys {
		if !slices.Contains(ids, k.ID) {
			missing = append(missing, k.ID)
			continue
		}
		if _, err := sealer.Open(proofKind, k.ID, []byte(k.Proof)); err != nil {
			return nil, wrongKey(k.ID)
		}
	}
	return missing, nil
}

// Begin returns the note before the primary key of a ring is used, without the keys that are not in
// use, and whether it differs. n may be nil: then nothing is noted yet.
func (n *Note) Begin(sealer tokenstore.Sealer, unused []string) (next *Note, differs bool) {
	next = new(Note)
	if n != nil {
		next.AllSealed = n.AllSealed
		for _, k := range n.Keys {
			if !slices.Contains(unused, k.ID) {
				next.Keys = append(next.Keys, k)
			}
		}
		differs = len(next.Keys) < len(n.Keys)
	}
	primary := sealer.IDs()[0]
	if slices.ContainsFunc(next.Keys, func(k NotedKey) bool { return k.ID == primary }) {
		return next, differs
	}
	next.Keys = append(next.Keys, prove(sealer, primary))
	return next, true
}

// Done returns the note of a store that has nothing but what the primary key has encrypted.
func Done(sealer tokenstore.Sealer) *Note {
	return &Note{Keys: []NotedKey{prove(sealer, sealer.IDs()[0])}, AllSealed: true}
}

func prove(sealer tokenstore.Sealer, primary string) NotedKey {
	return NotedKey{primary, string(sealer.Seal(proofKind, primary, nil))}
}

// Encode returns the note as it is stored.
func (n *Note) Encode(sealer tokenstore.Sealer) []byte {
	return sealer.Seal(noteKind.Name, noteName, noteKind.Encode(n))
}

// InUse is the error of keys that are missing, and that records are encrypted with; nil if none is.
func InUse(missing []string, use map[string]int64) error {
	var parts []string
	for _, id := range missing {
		if n := use[id]; n > 0 {
			parts = append(parts, fmt.Sprintf("key %q with %d records", id, n))
		}
	}
	if len(parts) == 0 {
		return nil
	}
	return fmt.Errorf("the configuration lacks a key that is in use: %s: add it to `keys` as old, "+
		"run `oauth1 keys rewrap`, and remove it then", strings.Join(parts, ", "))
}

func quoted(ids []string) string {
	var b strings.Builder
	for i, id := range ids {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q", id)
	}
	return b.String()
}
