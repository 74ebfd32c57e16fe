package tokenstore

import "time"

// A Measurer is a Store that knows figures about itself, for monitoring.
type Measurer interface {
	// Measure returns what the store knows now. It is called every few seconds, also while the
	// store is closed or has failed. It reads no record and waits for no server.
	Measure() Measures
}

// Measures are figures of a store. One that the store can't have is nil.
type Measures struct {
	// Size is how many bytes the store takes on its disk, and Free how many more it could take.
	Size, Free *int64
	// Nonces are the nonces that are remembered, and NonceConsumerMax those of the consumer that
	// has most of them. NonceLimit is how many one consumer may have.
	Nonces, NonceConsumerMax, NonceLimit *int64
	// NonceFloor is the timestamp, in seconds since 1970, below which every nonce is refused.
	NonceFloor *int64
	// Caches are how the store's caches of records are used.
	Caches []CacheUse
}

// A CacheUse is how often a record was found in a cache, and how often it was not, since the store
// was opened.
type CacheUse struct {
	// Name is the kind of record, in the plural: consumers, access_tokens.
	Name         string
	Hits, Misses uint64
}

// A Failer is a Store that, after some errors, does nothing until it is opened again.
type Failer interface {
	// Failed returns that error, or nil. It takes no time.
	Failed() error
}

// A SyncWatcher is a Store that waits for its disk to keep nonces.
type SyncWatcher interface {
	// WatchSyncs has f called after each sync of nonces, with the time that it took, from now on
	// and in place of an earlier f. Several calls may happen at the same time.
	WatchSyncs(f func(took time.Duration))
}
