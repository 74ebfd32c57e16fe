package backup

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"filippo.io/age"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// A Writer writes a backup. Without Close it is not whole.
type Writer struct {
	out    io.Writer
	sealed io.WriteCloser // of age; nil: not encrypted
	sum    hash.Hash
	counts Counts
	state  bool
	frame  []byte
	key    *capture
}

// NewWriter begins a backup, which is encrypted if there are recipients.
func NewWriter(out io.Writer, h Header, recipients ...age.Recipient) (*Writer, error) {
	w := &Writer{out: out, sum: sha256.New()}
	h.Recipients = named(recipients)
	if len(recipients) > 0 {
		recipients, w.key = captured(recipients)
		sealed, err := age.Encrypt(out, recipients...)
		if err != nil {
			return nil, fmt.Errorf("encrypt the backup: %w", err)
		}
		w.out, w.sealed = sealed, sealed
	}
	head := binary.BigEndian.AppendUint32([]byte(magic), formatVersion)
	if err := w.write(head); err != nil {
		return nil, err
	}
	return w, w.add(&h)
}

// Add writes what a tokenstore.Snapshotter returns. The *StoreState comes first. *UsedNonces are
// left out: who restores a backup refuses the timestamps of all nonces that may have been used.
func (w *Writer) Add(r any) error {
	switch r.(type) {
	case *tokenstore.UsedNonces:
		return nil
	case *tokenstore.StoreState:
		if w.state {
			return errors.New("back up two states of one store")
		}
		w.state = true
	case *tokenstore.Consumer, *tokenstore.RequestToken, *tokenstore.AccessToken:
		if !w.state {
			return errors.New("back up a store without its state")
		}
	default:
		return fmt.Errorf("back up a %T", r)
	}
	w.counts.add(r)
	return w.add(r)
}

func (w *Writer) add(r any) error {
	kind, content, err := encode(r)
	if err != nil {
		return err
	}
	if len(content) > maxFrame {
		return fmt.Errorf("back up a record of %d bytes: the most is %d", len(content), maxFrame)
	}
	w.frame = append(w.frame[:0], kind)
	w.frame = binary.BigEndian.AppendUint32(w.frame, uint32(len(content)))
	w.frame = append(w.frame, content...)
	return w.write(w.frame)
}

func (w *Writer) write(b []byte) error {
	w.sum.Write(b)
	_, err := w.out.Write(b)
	return err
}

// Close writes the trailer. It does not close what is written to.
func (w *Writer) Close() error {
	if !w.state {
		return errors.New("back up a store without its state")
	}
	if err := w.add(&w.counts); err != nil {
		return err
	}
	if _, err := w.out.Write(w.sum.Sum(nil)); err != nil {
		return err
	}
	if w.sealed != nil {
		return w.sealed.Close()
	}
	return nil
}

// Counts are what was added so far.
func (w *Writer) Counts() Counts { return w.counts }

// ParseRecipients reads age recipients, such as age1..., each of which can read what is encrypted.
func ParseRecipients(texts []string) (all []age.Recipient, err error) {
	for _, text := range texts {
		one, err := age.ParseRecipients(strings.NewReader(text))
		if err != nil || len(one) != 1 { // age's error repeats the line, which may be an identity
			return nil, fmt.Errorf("recipient %q: is not an age recipient (age1...)", shown(text))
		}
		all = append(all, one...)
	}
	return all, nil
}

// named returns the recipients as ParseRecipients reads them.
func named(recipients []age.Recipient) string {
	var texts []string
	for _, r := range recipients {
		if s, ok := r.(fmt.Stringer); ok {
			texts = append(texts, s.String())
		}
	}
	return strings.Join(texts, " ")
}

// shown is a text that may be in an error: never an identity, which somebody may have confused with
// a recipient.
func shown(text string) string {
	if strings.Contains(strings.ToUpper(text), "SECRET") {
		return "AGE-SECRET-KEY-..."
	}
	if len(text) > 80 {
		return text[:80] + "..."
	}
	return text
}
