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
	ErrIncomplete = errors.New("the store holds a part of a copy that did not end: copy again")
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
	// Import stores what Export of another store returned. ErrNotEmpty.
	//
	// Until it has returned without an error, and until another Import has after an error, Secret
	// and Check return ErrIncomplete, so that no server starts with the store. Import begins by
	// removing what such an import left. No other call may be under way, in any process.
	Import(ctx context.Context, records iter.Seq2[any, error]) error
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
