package doctor

import "time"

// NonceCase is a nonce that was refused because it was used before.
type NonceCase struct {
	// Now is when the request came, and Used when the nonce was used first; zero if not known.
	Now, Used time.Time
	// Address is the client's address, and UsedAddress that of the first request; "" if not known.
	Address, UsedAddress string
}

// Nonce says how a nonce came to be used twice.
func Nonce(c *NonceCase) Diagnosis {
	m := Mistake{Name: nonceRepeated, Signed: "some time"}
	if c.Used.IsZero() {
		return mistaken(m)
	}
	age := max(0, c.Now.Sub(c.Used))
	m.Signed = duration(int64(age / time.Second))
	switch {
	case c.Address != "" && c.UsedAddress != "" && c.Address != c.UsedAddress:
		m.Name = nonceOtherAddress
	case age <= retryWithin:
		m.Name = nonceRetry
	}
	return mistaken(m)
}

// retryWithin is how soon the same nonce of the same client is taken for a retry: the timeouts of
// HTTP clients are not longer.
const retryWithin = 2 * time.Minute
