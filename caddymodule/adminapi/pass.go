package adminapi

import "time"

// A Pass is a request of a watched consumer that was let through to the upstream.
type Pass struct {
	// Time is when the request came. No two have the same.
	Time     time.Time `json:"time"`
	Consumer string    `json:"consumer"`
	Method   string    `json:"method"`
	// URL has no OAuth parameters and no secrets. It is empty if the store could not tell them.
	URL             string `json:"url"`
	SignatureMethod string `json:"signature_method"`
	// What the request had: parameters in its query, a signed form, a JSON body, a name or a value
	// that is not ASCII, a name that was sent twice.
	Query    bool `json:"query"`
	Form     bool `json:"form"`
	JSON     bool `json:"json"`
	NonASCII bool `json:"non_ascii"`
	Repeated bool `json:"repeated"`
	// ClockOff is how far the client's clock was off, in seconds: positive if it was ahead. It is
	// nil if the request had no timestamp.
	ClockOff *int64 `json:"clock_off,omitempty"`
}

// When is the time of the request.
func (p Pass) When() time.Time { return p.Time }

// Passes are the latest passed requests of watched consumers, the oldest first.
type Passes struct {
	Items []Pass `json:"items"`
}
