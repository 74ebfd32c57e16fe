package tokenstore

import "context"

// A Sealer encrypts the values of a store, and hashes the names in its indexes. It is a ring of
// keys: the primary one encrypts, and all decrypt. Package keyring has one. A store without a Sealer
// keeps everything clear.
type Sealer interface {
	// Seal encrypts a value with the primary key, for a record of a kind and with a name.
	Seal(kind, name string, value []byte) []byte
	// Open returns what Seal got for the same kind and name, with any key of the ring.
	Open(kind, name string, sealed []byte) ([]byte, error)
	// Names returns what a name of a kind is hashed to with each key, the primary's first.
	Names(kind, name string) []string
	// IDs returns the ids of the keys, the primary's first.
	IDs() []string
}

// A KeyUser is a Module whose Store can encrypt what it keeps. Its Store is a Rewrapper.
//
// The store notes which keys it has used. It does not open, and Configure fails, if one of them is
// in use and not in the Sealer.
type KeyUser interface {
	// UseKeys says with which keys Open opens a store, and which ones Configure gives to it. It is
	// called before both, and not called if there are none.
	UseKeys(Sealer)
}

// A Rewrapper is a Store that encrypts what it keeps with a Sealer.
type Rewrapper interface {
	// KeyUse counts the records by the keys that they are encrypted with. It takes as long as Stats
	// of a Statter, and is as exact.
	KeyUse(ctx context.Context) (*KeyUse, error)
	// Rewrap encrypts some of the records that are clear, or encrypted with an old key, with the
	// primary one. It begins with an empty `after`, and goes on with the Next that it returned, for
	// some seconds at most each time. It may be begun again at any time. Other calls go on
	// meanwhile.
	Rewrap(ctx context.Context, after string) (Rewrapped, error)
}

// KeyUse says with which keys the records of a store are encrypted.
type KeyUse struct {
	// Primary is the id of the primary key; empty if the store has no keys.
	Primary string
	// Records are how many records each key of the ring has encrypted, by its id; 0 too. What is
	// clear counts under the empty id, which is always there.
	Records map[string]int64
	// AllSealed says that the store accepts nothing clear any more.
	AllSealed bool
}

// Rewrapped is what a call of Rewrap did.
type Rewrapped struct {
	// Looked is how many records it looked at, and Changed how many of them it encrypted.
	Looked, Changed int64
	// Waiting is how many it left because they are revoked or over, and about to be removed.
	Waiting int64
	// Unreadable is how many it left because they are damaged, or of a later program.
	Unreadable int64
	// Next is what the next call takes; empty at the end. When all are encrypted with the primary
	// key at the end, the store accepts nothing clear any more, and no file of it has a value or a
	// name that was clear before, or encrypted with an old key.
	Next string
	// Stage says in a few words what the next call does.
	Stage string
	// Complete says, at the end, that all of this is done.
	Complete bool
}
