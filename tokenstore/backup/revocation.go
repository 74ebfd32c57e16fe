package backup

import (
	"slices"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// What a Revocation tells.
const (
	// TokenRevoked: one access token was removed. Token, and User and Consumer where known.
	TokenRevoked = "token_revoked"
	// GrantsRevoked: all grants of User, of Consumer, or of the one to the other were removed.
	GrantsRevoked = "grants_revoked"
	// ConsumerDeleted: Consumer was removed with its tokens.
	ConsumerDeleted = "consumer_deleted"
	// ConsumerChanged: Consumer has other settings, and is disabled or not, as Disabled says.
	ConsumerChanged = "consumer_changed"
	// ConsumerRotated: Consumer has another secret or public key.
	ConsumerRotated = "consumer_rotated"
	// BackupBegun: a backup with the ID was begun. What follows may be missing in it.
	BackupBegun = "backup_begun"
)

// A Revocation is an entry of the journal. It holds no secret.
type Revocation struct {
	Time     time.Time `json:"time"`
	Op       string    `json:"op"`
	Token    string    `json:"token,omitempty"`
	User     string    `json:"user,omitempty"`
	Consumer string    `json:"consumer,omitempty"`
	Disabled bool      `json:"disabled,omitempty"`
	Backup   string    `json:"backup,omitempty"`
}

// Margin is how much the clocks of replicas may differ. A revocation counts for a backup that was
// begun so much later, and for tokens that were made so much later. So a user who grants again
// within it may have to do that once more after a restore.
const Margin = time.Minute

// Revocations are what was revoked since a backup was begun. Add fills them.
type Revocations struct {
	tokens map[string]time.Time
	// grants are the revocations by user and consumer; one of them may be empty. of are those of
	// single tokens: the request token that the grant came from must not come back either.
	grants, of map[tokenstore.Filter]time.Time
	deleted    map[string]time.Time
	disabled   map[string]bool
	rotated    map[string]time.Time
	changed    map[string]time.Time
	// Count is how many count for the backup.
	Count int
}

// Add adds a journal's entries that count for a backup.
func (r *Revocations) Add(h Header, journal []Revocation) {
	if r.tokens == nil {
		*r = Revocations{
			tokens: make(map[string]time.Time), grants: make(map[tokenstore.Filter]time.Time),
			of: make(map[tokenstore.Filter]time.Time), deleted: make(map[string]time.Time),
			disabled: make(map[string]bool), rotated: make(map[string]time.Time), changed: make(map[string]time.Time),
		}
	}
	begun := slices.IndexFunc(journal, func(e Revocation) bool { return e.Op == BackupBegun && e.Backup == h.ID })
	for i, e := range journal {
		// After the mark whatever the clock said; before it, or without one, by the clock.
		if (begun < 0 || i < begun) && e.Time.Before(h.Time.Add(-Margin)) {
			continue
		}
		switch e.Op {
		case TokenRevoked:
			later(r.tokens, e.Token, e.Time)
			if e.User != "" || e.Consumer != "" {
				later(r.of, tokenstore.Filter{User: e.User, Consumer: e.Consumer}, e.Time)
			}
		case GrantsRevoked:
			later(r.grants, tokenstore.Filter{User: e.User, Consumer: e.Consumer}, e.Time)
		case ConsumerDeleted:
			later(r.deleted, e.Consumer, e.Time)
		case ConsumerChanged:
			if before, ok := r.changed[e.Consumer]; !ok || !e.Time.Before(before) {
				r.disabled[e.Consumer] = e.Disabled
			}
			later(r.changed, e.Consumer, e.Time)
		case ConsumerRotated:
			later(r.rotated, e.Consumer, e.Time)
		default:
			continue
		}
		r.Count++
	}
}

// later keeps the latest time of a key.
func later[K comparable](m map[K]time.Time, key K, at time.Time) {
	if before, ok := m[key]; !ok || at.After(before) {
		m[key] = at
	}
}

// hits reports whether something that was made at a time was there when m's key was revoked.
func hits[K comparable](m map[K]time.Time, key K, made time.Time) bool {
	at, ok := m[key]
	return ok && made.Before(at.Add(Margin))
}

func (r *Revocations) grantRevoked(user, consumer string, made time.Time) bool {
	return hits(r.grants, tokenstore.Filter{User: user, Consumer: consumer}, made) ||
		user != "" && hits(r.grants, tokenstore.Filter{User: user}, made) ||
		hits(r.grants, tokenstore.Filter{Consumer: consumer}, made) ||
		hits(r.deleted, consumer, made)
}

// What Apply may say about a record, for people to read.
const (
	// Revoked: it must not be restored.
	Revoked = "revoked"
	// Disabled: it was disabled.
	Disabled = "disabled"
	// Rotated: it has the secret or the key from before, and so it is restored as disabled.
	Rotated = "rotated"
	// Changed: it has the settings from before.
	Changed = "changed"
)

// Apply returns what is to be restored of a record, and what happened to it since: one of the words
// above, or empty.
func (r *Revocations) Apply(rec any) (restored any, fate string) {
	switch rec := rec.(type) {
	case *tokenstore.AccessToken:
		if hits(r.tokens, rec.Key, rec.Created) || r.grantRevoked(rec.User, rec.Consumer, rec.Created) {
			return nil, Revoked
		}
	case *tokenstore.RequestToken:
		user := ""
		if rec.Review != nil {
			user = rec.Review.User
		}
		if r.grantRevoked(user, rec.Consumer, rec.Created) ||
			user != "" && hits(r.of, tokenstore.Filter{User: user, Consumer: rec.Consumer}, rec.Created) {
			return nil, Revoked
		}
	case *tokenstore.Consumer:
		switch {
		case hits(r.deleted, rec.Key, rec.Created):
			return nil, Revoked
		case hits(r.rotated, rec.Key, rec.Created):
			return disabled(rec), Rotated
		case hits(r.changed, rec.Key, rec.Created) && r.disabled[rec.Key] && !rec.Disabled:
			return disabled(rec), Disabled
		case hits(r.changed, rec.Key, rec.Created):
			return rec, Changed
		}
	}
	return rec, ""
}

func disabled(c *tokenstore.Consumer) *tokenstore.Consumer {
	c = c.Clone()
	c.Disabled = true
	return c
}
