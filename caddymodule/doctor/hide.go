package doctor

import (
	"slices"
	"strings"
)

// A Hider makes texts of a client fit for an operator: it replaces what holds a secret. Some clients
// send their secrets as parameters.
//
// Its results tell whether a text holds a secret, so they must not reach the sender of the text,
// who would find out a secret by guessing. It hides a whole value where a part of it is a secret, so
// that nobody reads in what is left where it was.
type Hider struct {
	secrets []string // folded, as they stand and fully decoded
}

// hiddenText stands for what is hidden.
const hiddenText = "***"

// leastSecret is the length of the shortest secret that is hidden. A shorter text is found by chance.
const leastSecret = 4

// Hider returns the one that knows all secrets of the keys.
func (k *Keys) Hider() *Hider {
	h := new(Hider)
	for _, secret := range append([]string{
		k.ConsumerSecret, k.PreviousSecret, k.TokenSecret, k.RequestTokenSecret,
	}, k.Others...) {
		secret = strings.TrimSpace(secret) // a client may leave out a line end
		for _, text := range []string{foldPlus(secret), foldPlus(decodeAll(secret))} {
			if len(text) >= leastSecret && !slices.Contains(h.secrets, text) {
				h.secrets = append(h.secrets, text)
			}
		}
	}
	return h
}

// foldPlus makes a plus sign and a blank the same: a + that a client did not encode was read as a
// blank.
func foldPlus(text string) string { return strings.ReplaceAll(text, "+", " ") }

// holds reports whether a text has a secret in it, as it stands or percent-encoded, however often
// and in whatever manner.
func (h *Hider) holds(text string) bool {
	if len(text) < leastSecret || len(h.secrets) == 0 {
		return false
	}
	const stages = 3 // then all others at once
	for stage := 0; ; stage++ {
		folded := foldPlus(text)
		for _, secret := range h.secrets {
			if strings.Contains(folded, secret) {
				return true
			}
		}
		decoded := decodeAll(text)
		if stage < stages {
			decoded = DecodeEach(text)
		}
		if len(decoded) == len(text) {
			return false
		}
		text = decoded
	}
}

// Text hides the whole of a text that holds a secret.
func (h *Hider) Text(text string) string {
	if h.holds(text) {
		return hiddenText
	}
	return text
}

// URL hides segments of the path, names and values of the query, of a URL or a part of it. If a
// secret extends over several of them, it hides all.
func (h *Hider) URL(text string) string {
	if !h.holds(text) {
		return text
	}
	path, query, hasQuery := strings.Cut(text, "?")
	origin := 0
	if i := strings.Index(path, "://"); i >= 0 {
		origin = i + len("://")
		if slash := strings.IndexByte(path[origin:], '/'); slash >= 0 {
			origin += slash
		} else {
			origin = len(path)
		}
	}
	text = h.Text(path[:origin]) + h.pieces(path[origin:], "/")
	if hasQuery {
		text += "?" + h.params(query, "&", "=")
	}
	return h.Text(text)
}

// BaseString is URL for a signature base string.
func (h *Hider) BaseString(text string) string {
	if !h.holds(text) {
		return text
	}
	parts := strings.SplitN(text, "&", 3)
	if len(parts) != 3 {
		return hiddenText
	}
	parts[1], parts[2] = h.pieces(parts[1], "%2F"), h.params(parts[2], "%26", "%3D")
	return h.Text(strings.Join(parts, "&"))
}

// Diagnosis hides the secrets in what a diagnosis says of its mistakes. It leaves out the base
// strings, which may be long.
func (h *Hider) Diagnosis(d *Diagnosis) *Diagnosis {
	hidden := *d
	hidden.BaseString, hidden.ClientBaseString = "", ""
	hidden.Mistakes = slices.Clone(d.Mistakes)
	for i := range hidden.Mistakes {
		m := &hidden.Mistakes[i]
		m.Parameter, m.Signed, m.Expected = h.Text(m.Parameter), h.URL(m.Signed), h.URL(m.Expected)
	}
	return &hidden
}

// pieces hides the pieces of a text that a separator joins; all if none of them holds a secret alone.
func (h *Hider) pieces(text, separator string) string {
	list := strings.Split(text, separator)
	for i := range list {
		list[i] = h.Text(list[i])
	}
	if joined := strings.Join(list, separator); !h.holds(joined) {
		return joined
	}
	if strings.HasPrefix(text, separator) {
		return separator + hiddenText
	}
	return hiddenText
}

// params hides names and values of parameters.
func (h *Hider) params(text, and, equals string) string {
	list := strings.Split(text, and)
	for i, param := range list {
		if !h.holds(param) {
			continue
		}
		name, value, found := strings.Cut(param, equals)
		if name = h.Text(name); found {
			name += equals + h.Text(value)
		}
		list[i] = h.Text(name)
	}
	return h.Text(strings.Join(list, and))
}

// DecodeEach decodes each percent-encoded byte of a text once. It leaves what is malformed.
func DecodeEach(text string) string {
	if strings.IndexByte(text, '%') < 0 {
		return text
	}
	decoded := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if c, ok := encodedByte(text[i:]); ok {
			decoded = append(decoded, c)
			i += 2
			continue
		}
		decoded = append(decoded, text[i])
	}
	return string(decoded)
}

// decodeAll does what DecodeEach does until nothing changes any more. It takes one pass: no two
// encoded bytes overlap, so their order does not matter.
func decodeAll(text string) string {
	if strings.IndexByte(text, '%') < 0 {
		return text
	}
	decoded := make([]byte, 0, len(text))
	for i := range len(text) {
		decoded = append(decoded, text[i])
		for n := len(decoded) - 3; n >= 0; n = len(decoded) - 3 {
			c, ok := encodedByte(decoded[n:])
			if !ok {
				break
			}
			decoded = append(decoded[:n], c)
		}
	}
	return string(decoded)
}

// encodedByte returns the byte that the beginning of a text stands for.
func encodedByte[T string | []byte](text T) (c byte, ok bool) {
	if len(text) < 3 || text[0] != '%' {
		return 0, false
	}
	high, ok1 := hexDigit(text[1])
	low, ok2 := hexDigit(text[2])
	return high<<4 | low, ok1 && ok2
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
