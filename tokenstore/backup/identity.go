package backup

import (
	"bytes"

	"filippo.io/age"
)

// A capture is a recipient that keeps the key of the file that is encrypted for it.
type capture struct {
	age.Recipient
	key []byte
}

// captured puts a capture in the place of the first recipient.
func captured(recipients []age.Recipient) ([]age.Recipient, *capture) {
	c := &capture{Recipient: recipients[0]}
	return append([]age.Recipient{c}, recipients[1:]...), c
}

// Wrap encrypts the key for the recipient.
func (c *capture) Wrap(key []byte) ([]*age.Stanza, error) {
	c.key = bytes.Clone(key)
	return c.Recipient.Wrap(key)
}

// WrapWithLabels does so, and tells with which other recipients it may stand in a file.
func (c *capture) WrapWithLabels(key []byte) ([]*age.Stanza, []string, error) {
	if labelled, ok := c.Recipient.(age.RecipientWithLabels); ok {
		c.key = bytes.Clone(key)
		return labelled.WrapWithLabels(key)
	}
	stanzas, err := c.Wrap(key)
	return stanzas, nil, err
}

// Identity returns an identity that can read this one backup, and is nowhere in it: to verify what
// was written. It is nil if the backup is not encrypted.
func (w *Writer) Identity() age.Identity {
	if w.key == nil {
		return nil
	}
	return age.NewInjectedFileKeyIdentity(w.key.key)
}
