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
	// Made and Order are of a change of a consumer. Of changes that are made at once, the later one
	// may be written first. Made is when the store was about to make it, and Order its place among
	// the changes in this journal, as the store made them: see Journal.NextOrder. Zero in entries of
	// earlier programs: then Time and the place of the line count.
	Made  time.Time `json:"made,omitzero"`
	Order uint64    `json:"order,omitempty"`
}

// made returns when a change was made.
func (e Revocation) made() time.Time {
	if e.Made.IsZero() {
		return e.Time
	}
	return e.Made
}

// equal reports whether two entries, both read from a file, are the same one.
func (e Revocation) equal(other Revocation) bool {
	for _, t := range []*time.Time{&e.Time, &e.Made, &other.Time, &other.Made} {
		*t = t.UTC()
	}
	return e == other
}

// Margin is how much the clocks of replicas may differ. A revocation counts for a backup that was
// begun so much later.
const Margin = time.Minute

// Revocations are what was revoked since a backup was begun. Add fills them. They hit whatever is in
// the backup, also what says that it was made later: its time may be an import's, or of a clock that
// was wrong. So what was granted again while the backup was read has to be granted once more.
type Revocations struct {
	tokens map[string]bool
	// grants are the revocations by user and consumer; one of them may be empty. of are those of
	// single tokens: the request token that the grant came from must not come back either.
	grants, of map[tokenstore.Filter]bool
	deleted    map[string]bool
	rotated    map[string]bool
	// changed has the last change of each consumer in each journal.
	changed map[string][]Revocation
	// Count is how many count for the backup.
	Count int
}

// Add adds a journal's entries that count for a backup, which is restored now. If the backup says
// that it is still to come, its time says nothing: a journal without its mark counts as a whole.
func (r *Revocations) Add(h Header, journal []Revocation, now time.Time) {
	if r.tokens == nil {
		*r = Revocations{
			tokens: make(map[string]bool), grants: make(map[tokenstore.Filter]bool),
			of: make(map[tokenstore.Filter]bool), deleted: make(map[string]bool),
			rotated: make(map[string]bool), changed: make(map[string][]Revocation),
		}
	}
	mark := markOf(h, journal)
	last := make(map[string]Revocation) // not by time: the clock may have been set back
	for i, e := range journal {
		// After the mark whatever the clock said; before it, or without one, by the clock.
		byClock := i < mark || mark < 0 && !h.Time.After(now)
		if byClock && e.Time.Before(h.Time.Add(-Margin)) {
			continue
		}
		switch e.Op {
		case TokenRevoked:
			r.tokens[e.Token] = true
			if e.User != "" || e.Consumer != "" {
				r.of[tokenstore.Filter{User: e.User, Consumer: e.Consumer}] = true
			}
		case GrantsRevoked:
			r.grants[tokenstore.Filter{User: e.User, Consumer: e.Consumer}] = true
		case ConsumerDeleted:
			r.deleted[e.Consumer] = true
		case ConsumerChanged:
			if e.Order == 0 || e.Order > last[e.Consumer].Order {
				last[e.Consumer] = e
			}
		case ConsumerRotated:
			r.rotated[e.Consumer] = true
		default:
			continue
		}
		r.Count++
	}
	for consumer, e := range last {
		r.changed[consumer] = append(r.changed[consumer], e)
	}
}

// disabled reports whether the last change of a consumer left it disabled. Of changes in several
// journals, those within the margin count as one, which disabled it if one of them did.
func (r *Revocations) disabled(consumer string) bool {
	var newest time.Time
	for _, e := range r.changed[consumer] {
		if e.made().After(newest) {
			newest = e.made()
		}
	}
	return slices.ContainsFunc(r.changed[consumer], func(e Revocation) bool {
		return e.Disabled && !e.made().Before(newest.Add(-Margin))
	})
}

func (r *Revocations) grantRevoked(user, consumer string) bool {
	return r.grants[tokenstore.Filter{User: user, Consumer: consumer}] ||
		user != "" && r.grants[tokenstore.Filter{User: user}] ||
		r.grants[tokenstore.Filter{Consumer: consumer}] ||
		r.deleted[consumer]
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
		if r.tokens[rec.Key] || r.grantRevoked(rec.User, rec.Consumer) {
			return nil, Revoked
		}
	case *tokenstore.RequestToken:
		user := ""
		if rec.Review != nil {
			user = rec.Review.User
		}
		if r.grantRevoked(user, rec.Consumer) ||
			user != "" && r.of[tokenstore.Filter{User: user, Consumer: rec.Consumer}] {
			return nil, Revoked
		}
	case *tokenstore.Consumer:
		_, changed := r.changed[rec.Key]
		switch {
		case r.deleted[rec.Key]:
			return nil, Revoked
		case r.rotated[rec.Key]:
			return disabled(rec), Rotated
		case changed && r.disabled(rec.Key) && !rec.Disabled:
			return disabled(rec), Disabled
		case changed:
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
