package audit

import (
	"iter"
	"time"
)

// Schema is the version of the events and their fields. A field that is added does not change it; a
// field or an event that gets another meaning does.
const Schema = 1

// A Name names an event. Names are stable: programs that read the trail may rely on them.
type Name string

// The events.
const (
	ConsumerAdded          Name = "consumer.added"
	ConsumerChanged        Name = "consumer.changed"
	ConsumerRotated        Name = "consumer.secret_rotated"
	ConsumerDisabled       Name = "consumer.disabled"
	ConsumerEnabled        Name = "consumer.enabled"
	ConsumerRemoved        Name = "consumer.removed"
	ConsumerSelfRegistered Name = "consumer.self_registered"
	ConsumerForgotten      Name = "consumer.forgotten"

	RequestTokenIssued         Name = "request_token.issued"
	RequestTokenGranted        Name = "request_token.granted"
	RequestTokenRefused        Name = "request_token.refused"
	RequestTokenExchanged      Name = "request_token.exchanged"
	RequestTokenVerifierFailed Name = "request_token.verifier_failed"

	AccessTokenIssued   Name = "access_token.issued"
	AccessTokenImported Name = "access_token.imported"
	AccessTokenRevoked  Name = "access_token.revoked"
	AccessTokenExpired  Name = "access_token.expired"
	GrantsRevoked       Name = "grants.revoked"

	AdminRefused        Name = "admin.refused"
	ConfigurationLoaded Name = "configuration.loaded"

	// Started: a process begins a chain.
	Started Name = "audit.started"
	// Lost: lines of a strict trail could not be written, and were too many to be kept until they
	// could. Count tells how many.
	Lost Name = "audit.lost"

	// KeyRotated: the configuration has another primary key than the one before it.
	KeyRotated    Name = "key.rotated"
	KeyRewrapped  Name = "key.rewrapped"
	BackupMade    Name = "backup.made"
	StoreExported Name = "store.exported"

	// Commands did these without a server. The next one that starts tells them.
	StoreRestored Name = "store.restored"
	StoreAdopted  Name = "store.adopted"
	StoreImported Name = "store.imported"
)

// An Outcome tells whether what the event names was done.
type Outcome string

// The outcomes.
const (
	// Done: it was done.
	Done Outcome = "done"
	// Begun: it is about to be done. Only a strict trail has such lines, one before each change.
	Begun Outcome = "begun"
	// Failed: it was begun, and then not done.
	Failed Outcome = "failed"
	// Refused: somebody asked for it, and it was refused.
	Refused Outcome = "refused"
	// Repeated: it had been done before, and nothing changed. Only a strict trail has such lines:
	// one was begun.
	Repeated Outcome = "repeated"
)

// The sources of an actor's name.
const (
	// ActorUser is the user who was logged in at a page.
	ActorUser = "user"
	// ActorTLS is the subject of the client certificate at Caddy's remote admin endpoint.
	ActorTLS = "tls"
	// ActorClaimed is a name that the caller of the admin API sent. Nothing proves it.
	ActorClaimed = "claimed"
	// ActorConsumer is the consumer that signed the request.
	ActorConsumer = "consumer"
	// ActorServer is the program itself.
	ActorServer = "server"
)

// An Event is one thing that happened. It never holds a secret, a signature or a verifier. Fields
// that an event has no use for are empty.
type Event struct {
	Name    Name
	Outcome Outcome // empty means Done
	// Time is when it happened; zero means now.
	Time time.Time
	// Reason is why it failed or was refused.
	Reason string
	// Actor is who did it, and ActorSource how that is known.
	Actor, ActorSource string
	// Client is the address that the request came from.
	Client string
	// Site is the public host of the site that answered.
	Site string

	// The keys of what it was done to.
	Consumer, User, Token, RequestToken string
	Permission, Context                 string
	// Expires is the end of the token or of the consumer; zero means never.
	Expires time.Time
	// Count is how many things it was done to, if there are several.
	Count int
	// Changes are the settings that got another value.
	Changes []Change
	// Trace is the id of the request's trace.
	Trace string

	begun *item // the line by which Begin announced it
}

// A Change is a setting that got another value. Both values are as JSON has them, but texts are
// without quotes. An empty value is the default.
type Change struct {
	Field string `json:"field"`
	From  string `json:"from,omitempty"`
	To    string `json:"to,omitempty"`
}

// maxPart is how many bytes the texts of a part have, about.
const maxPart = 64 << 10

// Parts splits changes that are too many for one line. There is one part at least.
func Parts(changes []Change) iter.Seq[[]Change] {
	return func(yield func([]Change) bool) {
		from, size := 0, 0
		for i, c := range changes {
			next := len(readable(c.Field)) + len(readable(c.From)) + len(readable(c.To))
			if i > from && size+next > maxPart {
				if !yield(changes[from:i]) {
					return
				}
				from, size = i, 0
			}
			size += next
		}
		yield(changes[from:])
	}
}

// Time writes a time as the trail has it: RFC 3339, in UTC. Zero is empty.
func Time(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
