package adminapi

import "time"

// A Token is an access token as the API shows it: without its secret.
type Token struct {
	Key        string    `json:"key"`
	Consumer   string    `json:"consumer"`
	User       string    `json:"user"`
	Permission string    `json:"permission"`
	Context    string    `json:"context,omitempty"`
	Created    time.Time `json:"created"`
	Expires    time.Time `json:"expires,omitzero"`
	LastUsed   time.Time `json:"last_used,omitzero"`
}

// A TokenWithSecret is the one answer that holds a token's secret: to the call that issued it.
type TokenWithSecret struct {
	Token
	Secret string `json:"secret"`
}

// Never is the lifetime of a grant that lasts until it is revoked.
const Never = "never"

// A Grant is the access that a user gives to a consumer. Without a lifetime it lasts as long as the
// app's access_token_lifetime allows; a longer one is an error, and so is Never if the app has a
// limit.
type Grant struct {
	User       string `json:"user"`
	Permission string `json:"permission"`
	Context    string `json:"context,omitempty"`
	Lifetime   string `json:"lifetime,omitempty"`
}

// A NewToken is the body that issues an access token without a request token. With a secret it is
// brought along from another provider, and lives as long as the body says, whatever the app's
// access_token_lifetime: without a lifetime and an expires until it is revoked, as it did there.
type NewToken struct {
	Consumer string  `json:"consumer"`
	Key      string  `json:"key,omitempty"`
	Secret   *string `json:"secret,omitempty"`
	// Expires is an RFC 3339 time, or a date, in place of a lifetime.
	Expires string `json:"expires,omitempty"`
	Grant
}

// A Revocation is the body that revokes all access tokens of a user, of a consumer, or of the user
// for the consumer. An empty user or consumer is an error; it does not stand for everybody.
type Revocation struct {
	User     *string `json:"user,omitempty"`
	Consumer *string `json:"consumer,omitempty"`
	// DryRun revokes nothing, and tells how many there are.
	DryRun bool `json:"dry_run,omitempty"`
}

// Revoked says how many access tokens were revoked, or with DryRun how many match.
type Revoked struct {
	Revoked  int  `json:"revoked"`
	Matching *int `json:"matching,omitempty"`
}
