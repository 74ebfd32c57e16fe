package adminapi

import "time"

// A Diagnosis is a refused request, and what its client did wrong.
type Diagnosis struct {
	// Time is when the request came. No two have the same.
	Time time.Time `json:"time"`
	// Client is the address of the client.
	Client string `json:"client,omitempty"`
	// Consumer and Token are the keys that the request named. Nothing proves them.
	Consumer string `json:"consumer"`
	Token    string `json:"token,omitempty"`
	// Method and URL are what the server takes for signed. The URL has no OAuth parameters.
	Method string `json:"method"`
	URL    string `json:"url"`
	// Endpoint, Reason and Refusal are the endpoint as in the metrics, the reason as in the logs,
	// and the text of the refusal.
	Endpoint string `json:"endpoint"`
	Reason   string `json:"reason"`
	Refusal  string `json:"refusal"`
	// Mistakes are the names of the mistakes that explain the request; docs/debugging.md lists them.
	Mistakes []string `json:"mistakes"`
	// Diagnosis says what is wrong and what to do; empty if the refusal says it all.
	Diagnosis string `json:"diagnosis,omitempty"`
	// BaseString is the signature base string as the server computes it, without the values of a
	// form and of oauth_verifier, and without secrets; empty with PLAINTEXT.
	BaseString string `json:"base_string,omitempty"`
	// ClientBaseString is the one that the client signed, if the mistakes tell. A request with a
	// form, or with a secret among its parameters, has none here.
	ClientBaseString string `json:"client_base_string,omitempty"`
}

// When is the time of the request.
func (d Diagnosis) When() time.Time { return d.Time }

// Diagnoses are the latest refused requests, the oldest first.
type Diagnoses struct {
	Items []Diagnosis `json:"items"`
}
