package tokenstore

import (
	"context"
	"errors"
	"iter"
)

var (
	// ErrNotEmpty: a store holds something already, so nothing can be imported into it.
	ErrNotEmpty = errors.New("the store is not empty")
	// ErrIncomplete: an import into the store did not end. It can be begun again.
	ErrIncomplete = errors.New("the store holds a part of a copy or a restore that did not end: give that command again")
	// ErrCopied: a store was copied back or moved, so that revoked tokens may be valid in it.
	ErrCopied = errors.New("the store was copied back, moved or replaced")
)

// A Transferrer is a Store whose content can be moved to another one, of any kind.
type Transferrer interface {
	// Export returns everything that must be in the other store for clients to notice nothing:
	// one *StoreState first, then each *Consumer, *RequestToken and *AccessToken, the latter with
	// its last use, and *UsedNonces. What cannot be read is an error.
	//
	// Nothing may change meanwhile. A store that several processes share refuses their changes and
	// nonces until some seconds after the end.
	Export(ctx context.Context) iter.Seq2[any, error]
	// Import stores what Export of another store returned. ErrNotEmpty. There may be *Kept among it:
	// a store that is a Keeper keeps them from its end on, and not if it does not end.
	//
	// Until it has returned without an error, and until another Import has after an error, Secret
	// and Check return ErrIncomplete, so that no server starts with the store. Import begins by
	// removing what such an import left. No other call may be under way, in any process.
	Import(ctx context.Context, records iter.Seq2[any, error]) error
}

// A Snapshotter is a Store whose content can be written down while it is used.
type Snapshotter interface {
	// Snapshot returns what Export returns, in the same order, perhaps without *UsedNonces. It holds
	// up no other call, Close neither, even if the caller takes its time with each record; when the
	// store is closed, it ends with ErrClosed. What cannot be read is an error.
	//
	// Every change that was acknowledged before the call is in it. Of a change during the call, all
	// is in it or nothing if the store is one process's own; a store that several processes share
	// may show the parts of different moments.
	Snapshot(ctx context.Context) iter.Seq2[any, error]
}

// A Finder is a Module that knows whether its store is there before Open makes it. Commands that only
// read a store ask it.
type Finder interface {
	Exists() (bool, error)
}

// An Adopter is a Module that notices that its store was copied back or moved, so that Open fails
// with ErrCopied. What was used or revoked after the copy was made is unknown to such a store.
type Adopter interface {
	// Adopt opens the store nevertheless, as the one that is used from now on. All timestamps up to
	// the floor are refused from then on. With empty, a store that holds something stays as it is:
	// ErrNotEmpty. It keeps what keep says, if it is not nil, before it can be used.
	Adopt(floor int64, empty bool, keep *Kept) (Store, error)
}

// A Kept is a value that a Keeper keeps by its name.
type Kept struct {
	Name  string
	Value []byte
}

// A StoreState is what a store has once.
type StoreState struct {
	Secret [32]byte
	// Floor is a timestamp. Nonces of timestamps up to it may have been used, and must be refused
	// by the other store. The nonces above it that were used are in UsedNonces.
	Floor int64
}

// UsedNonces are nonces that another store accepted, with timestamps above StoreState.Floor. Only
// clients whose clocks are ahead have any. Package usednonce tells whether a nonce is among them.
type UsedNonces struct {
	// Key is the key of the digests. Empty means that they have none.
	Key string
	// Digests are one after the other.
	Digests string
	// Expires is when none of them needs to be remembered any more, in seconds since 1970.
	Expires int64
}
