package doctor

import (
	"strings"
)

// Diagnosis is what is wrong with a request.
type Diagnosis struct {
	// Mistakes are what the client did wrong: one mistake, two that were made together, or none if
	// nothing that the doctor knows explains the request.
	Mistakes []Mistake
	// Valid says that the signature is right. There is nothing to explain then.
	Valid bool
	// Cut says that a limit ended the search before everything was tried.
	Cut bool
	// RightKey says that the signature was made with the consumer's RSA key, whatever was signed.
	RightKey bool

	// BaseString is the signature base string as the server computes it. It holds everything that
	// the client sent in the query and the form, and so whatever secret is among that: show it to
	// that client, or to an operator after a Hider, and do not log it. It is empty with PLAINTEXT,
	// which signs none, and for other refusals.
	BaseString string
	// ClientBaseString is the base string that the client signed. It is empty if the mistakes do not
	// tell, or if it is the same.
	ClientBaseString string
}

// NoMistake is the text of a wrong signature that no mistake explains.
const NoMistake = "No known mistake explains this signature: the secret is another one, " +
	"or the request was changed on its way."

const (
	validText    = "The signature is right."
	rightKeyText = " It was made with this consumer's private key, so the request differs, not the key."
	cutText      = " The request is too large to try everything."
)

// Text says for people what is wrong and what to do, in a few sentences. It holds no signature, and of
// what the client sent only what explains the mistake, in printable characters.
func (d *Diagnosis) Text() string {
	var b strings.Builder
	switch {
	case d.Valid:
		return validText
	case len(d.Mistakes) == 0:
		b.WriteString(NoMistake)
		if d.RightKey {
			b.WriteString(rightKeyText)
		}
		if d.Cut {
			b.WriteString(cutText)
		}
	}
	for i, m := range d.Mistakes {
		if i > 0 {
			b.WriteString(" And: ")
		}
		b.WriteString(m.Text())
		b.WriteByte(' ')
		b.WriteString(m.Advice())
	}
	return b.String()
}

// Names returns the names of the mistakes, joined by "+", or "" if there are none.
func (d *Diagnosis) Names() string {
	names := make([]string, len(d.Mistakes))
	for i, m := range d.Mistakes {
		names[i] = m.Name
	}
	return strings.Join(names, "+")
}
