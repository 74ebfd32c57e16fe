package backup

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"os"

	"filippo.io/age"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
)

// A Reader reads a backup once, from its beginning to its end.
type Reader struct {
	// Header is known from the beginning. Like the records, it may be wrong until Records has come
	// to the end without an error.
	Header Header
	// Encrypted tells whether age has encrypted the file.
	Encrypted bool

	in     *bufio.Reader
	sum    hash.Hash
	counts Counts
}

// NewReader begins to read a backup. An encrypted one needs an identity.
func NewReader(in io.Reader, identities ...age.Identity) (*Reader, error) {
	r := &Reader{in: bufio.NewReaderSize(in, 64<<10), sum: sha256.New()}
	if start, _ := r.in.Peek(len(ageMagic)); string(start) == ageMagic {
		if len(identities) == 0 {
			return nil, ErrEncrypted
		}
		clear, err := age.Decrypt(r.in, identities...)
		if err != nil {
			return nil, fmt.Errorf("decrypt the backup: %w", err)
		}
		r.Encrypted, r.in = true, bufio.NewReaderSize(clear, 64<<10)
	}
	head := make([]byte, headSize)
	switch err := r.read(head); {
	case errors.Is(err, ErrTruncated):
		return nil, ErrNotBackup
	case err != nil:
		return nil, err
	case string(head[:len(magic)]) != magic:
		return nil, ErrNotBackup
	}
	if v := binary.BigEndian.Uint32(head[len(magic):]); v != formatVersion {
		return nil, fmt.Errorf("a backup %w: version %d, and it knows 1 to %d: "+
			"run the program that wrote it, or a newer one", record.ErrVersion, v, formatVersion)
	}
	first, err := r.next()
	if err != nil {
		return nil, err
	}
	h, ok := first.(*Header)
	if !ok {
		return nil, fmt.Errorf("%w: it has no header", ErrDamaged)
	}
	r.Header = *h
	return r, nil
}

// Records returns what Writer.Add was given, in the same order. An error is the last. Only when they
// have ended without one they are known to be what was written.
func (r *Reader) Records() iter.Seq2[any, error] {
	return func(yield func(any, error) bool) {
		for n := 0; ; n++ {
			next, err := r.next()
			if err != nil {
				yield(nil, err)
				return
			}
			_, isState := next.(*tokenstore.StoreState)
			switch said := next.(type) {
			case *Header:
				yield(nil, fmt.Errorf("%w: it has two headers", ErrDamaged))
				return
			case *Counts:
				if err := r.end(n, said); err != nil {
					yield(nil, err)
				}
				return
			}
			if isState != (n == 0) {
				yield(nil, fmt.Errorf("%w: the state of the store is not where it belongs", ErrDamaged))
				return
			}
			r.counts.add(next)
			if !yield(next, nil) {
				return
			}
		}
	}
}

// end checks the trailer.
func (r *Reader) end(records int, said *Counts) error {
	want := r.sum.Sum(nil)
	got := make([]byte, len(want))
	if err := r.read(got); err != nil {
		return err
	}
	switch {
	case !bytes.Equal(got, want):
		return fmt.Errorf("%w: its checksum is wrong", ErrDamaged)
	case records == 0 || *said != r.counts:
		return fmt.Errorf("%w: its trailer counts other records", ErrDamaged)
	}
	switch _, err := r.in.ReadByte(); {
	case err == nil:
		return fmt.Errorf("%w: something follows its end", ErrDamaged)
	case !errors.Is(err, io.EOF):
		return readError(err)
	}
	return nil
}

// Counts are what was read so far.
func (r *Reader) Counts() Counts { return r.counts }

// next returns the record of the next frame.
func (r *Reader) next() (any, error) {
	var head [frameSize]byte
	if err := r.read(head[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size > maxFrame {
		return nil, fmt.Errorf("%w: a frame of %d bytes", ErrDamaged, size)
	}
	content := make([]byte, size)
	if err := r.read(content); err != nil {
		return nil, err
	}
	return decode(head[0], content)
}

func (r *Reader) read(b []byte) error {
	if _, err := io.ReadFull(r.in, b); err != nil {
		return readError(err)
	}
	r.sum.Write(b)
	return nil
}

// readError tells an end that came too early, and damage to what is encrypted, from a disk that
// fails.
func readError(err error) error {
	var failed *os.PathError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ErrTruncated
	case errors.As(err, &failed):
		return err
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err) // of age: a chunk is not authentic
}

// Verify reads a backup to its end, and returns what it is of and what it holds. Without an error
// every byte is what was written.
func Verify(in io.Reader, identities ...age.Identity) (Header, Counts, error) {
	r, err := NewReader(in, identities...)
	if err != nil {
		return Header{}, Counts{}, err
	}
	for _, err := range r.Records() {
		if err != nil {
			return r.Header, r.counts, err
		}
	}
	return r.Header, r.counts, nil
}

// ReadIdentities reads a file of age identities, as age-keygen writes it. Its errors show none.
func ReadIdentities(path string) ([]age.Identity, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all, err := age.ParseIdentities(f)
	if err != nil {
		return nil, fmt.Errorf("%q holds no age identity that can be read", path)
	}
	return all, nil
}
