package adminapi

// A SignedRequest is a request as its client sent it, for the question what is wrong with it.
type SignedRequest struct {
	Method string `json:"method"`
	// URL is the public URL, percent-encoded, with its query.
	URL string `json:"url"`
	// Authorization is the value of the header; left out if the parameters are elsewhere.
	Authorization string `json:"authorization,omitempty"`
	// Form is the body, if it is a form.
	Form string `json:"form,omitempty"`
	// Consumer and Token are the keys that should have signed; Token is left out if there is none.
	Consumer string `json:"consumer"`
	Token    string `json:"token,omitempty"`
}

// An Explanation is what is wrong with a request.
type Explanation struct {
	// Valid says that the signature is right.
	Valid bool `json:"valid"`
	// Mistakes are the names of what the client did wrong, and Diagnosis says it for people.
	Mistakes  []string `json:"mistakes"`
	Diagnosis string   `json:"diagnosis"`
	// BaseString is the one that the server computes; empty with PLAINTEXT. ClientBaseString is the
	// one that the client signed, if that is another and the mistakes tell. Both hold what the
	// request holds, secrets too.
	BaseString       string `json:"base_string,omitempty"`
	ClientBaseString string `json:"client_base_string,omitempty"`
	// Policy says in a few lines what the policies decide about the request, if the signature is
	// right and the timestamp is new.
	Policy string `json:"policy"`
}
