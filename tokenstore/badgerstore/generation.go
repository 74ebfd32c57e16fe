package badgerstore

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore/internal/disk"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
)

// A generation is kept twice: in the database, and in a file outside the store's directory. Each
// time the store is opened or closed, its count is raised, inside first. So the two are equal, or
// the one inside is one ahead if the process ended in between. A directory that was copied back has
// an older one; a directory that was moved to a place without the file has one alone.
//
// For a new store the file is made first, with count 0. So a count above 0 outside means that there
// was one inside.
type generation struct {
	id    [16]byte
	count int64
}

const (
	// GenerationSuffix is added to the path of a store for the default of Options.Generation.
	GenerationSuffix = ".generation"

	generationMagic = "oauth1 generation\n"
)

var generationKind = record.Kind[generation]{
	Name:    "generation of a store",
	Version: 1,
	Fields: func(f *record.Fields, g *generation) {
		id := string(g.id[:])
		f.Text(&id)
		record.Int(f, &g.count)
		f.Required()
		copy(g.id[:], id)
	},
}

// generations are the two of a store.
type generations struct {
	tokens *database
	path   string // of the one outside
	now    generation
}

// loadGenerations compares the two. If they differ, the error is a *CopiedError.
func loadGenerations(tokens *database, path string) (*generations, error) {
	g := &generations{tokens: tokens, path: path}
	inside, err := g.inside()
	if err != nil {
		return nil, err
	}
	outside, err := readGeneration(path)
	if err != nil {
		return g, err
	}
	switch {
	case inside == nil && outside == nil:
		g.now = newGeneration()
		if err := g.write(g.now); err != nil { // count 0
			return nil, err
		}
	case inside == nil && outside.count == 0: // the process ended in between
		g.now = *outside
	case inside == nil:
		return g, &CopiedError{path, "the store is new, or older than its generation"}
	case outside == nil:
		return g, &CopiedError{path, "the file with the store's generation is missing"}
	case inside.id != outside.id:
		return g, &CopiedError{path, "the generation is of another store"}
	case inside.count == outside.count:
		g.now = *inside
	case inside.count == outside.count+1:
		// The file is caught up with before the next step, so that the two never differ by two, however
		// often a process ends in between or can't write the file.
		g.now = *inside
		if err := g.write(g.now); err != nil {
			return nil, err
		}
	case inside.count < outside.count:
		return g, &CopiedError{path, fmt.Sprintf("the store was last used %d openings and closings later", outside.count-inside.count)}
	default:
		return g, &CopiedError{path, "the file with the store's generation is an older copy"}
	}
	return g, nil
}

// A CopiedError is the error of a store whose generations differ.
type CopiedError struct{ path, reason string }

func (e *CopiedError) Error() string {
	return fmt.Sprintf("%v (%s; see %q). In an older copy, tokens that were revoked since are valid again, "+
		"and requests that were accepted since would be accepted again. "+
		"Put the right directory back, or restore a backup with `oauth1 restore`. "+
		"To use this one as it is, run `oauth1 store adopt --config <config>`: "+
		"it refuses all requests for one timestamp_window",
		tokenstore.ErrCopied, e.reason, e.path)
}

// Unwrap says what kind of error it is.
func (e *CopiedError) Unwrap() error { return tokenstore.ErrCopied }

func newGeneration() (g generation) {
	rand.Read(g.id[:])
	return g
}

// inside returns the generation in the database, or nil.
func (g *generations) inside() (found *generation, err error) {
	err = g.tokens.view(func(txn *reader) error {
		return get(txn, []byte{prefixGeneration}, func(v []byte) (err error) {
			found, err = generationKind.Decode(v)
			return err
		})
	})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the store's generation: %w", err)
	}
	return found, nil
}

// raise raises both.
func (g *generations) raise() error {
	next := g.now
	next.count++
	var c change
	c.put([]byte{prefixGeneration}, generationKind.Encode(&next), 0)
	c.frees = true // on a nearly full disk a store can be opened
	if err := g.tokens.commit(c); err != nil {
		return fmt.Errorf("write the store's generation: %w", err)
	}
	g.now = next
	return g.write(next)
}

// renew begins anew, for a directory that is known to be a copy.
func (g *generations) renew() error {
	g.now = newGeneration()
	return g.write(g.now)
}

// write writes the one outside.
func (g *generations) write(next generation) error {
	if err := writeGeneration(g.path, next); err != nil {
		return fmt.Errorf("write the store's generation, which is kept outside its directory "+
			"(name another place with the option generation of the store): %w", err)
	}
	return nil
}

// readGeneration returns nil if there is no file.
func readGeneration(path string) (*generation, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the store's generation: %w", err)
	}
	text, ok := bytes.CutPrefix(b, []byte(generationMagic))
	if !ok {
		return nil, fmt.Errorf("%q is not the generation of a store: name another file with the option generation of the store", path)
	}
	value := make([]byte, hex.DecodedLen(len(bytes.TrimSpace(text))))
	if _, err := hex.Decode(value, bytes.TrimSpace(text)); err != nil {
		return nil, &CopiedError{path, "the file with the store's generation is damaged"}
	}
	g, err := generationKind.Decode(value)
	if errors.Is(err, record.ErrDamaged) {
		return nil, &CopiedError{path, "the file with the store's generation is damaged"}
	}
	return g, err
}

func writeGeneration(path string, g generation) error {
	f, err := os.OpenFile(path+unfinishedSuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s%x\n", generationMagic, generationKind.Encode(&g))
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+unfinishedSuffix, path); err != nil {
		return err
	}
	return disk.SyncDir(filepath.Dir(path))
}

// adopt makes the directory the store that is used from now on, and refuses all timestamps up to the
// floor. What is kept with it is there before the directory is the one that is used.
func (s *Store) adopt(floor int64, keep *tokenstore.Kept) error {
	if err := s.nonces.Refuse(floor); err != nil {
		return err
	}
	if keep != nil {
		var c change
		c.keep(keep.Name, keep.Value)
		if err := s.tokens.commit(c); err != nil {
			return err
		}
	}
	if s.incomplete() == nil { // else Import sets the origin
		secret, err := s.secretOfPages()
		if err != nil {
			return err
		}
		next := &origin{secret: secret, floor: floor}
		if o := s.origin.Load(); o != nil {
			next.floor, next.used = max(floor, o.floor), o.used
		}
		if err := s.putOrigin(next); err != nil {
			return err
		}
	}
	return s.generations.renew()
}
