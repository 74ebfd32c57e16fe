// Package badgerstore is the default store, `oauth1.stores.badger`: a directory of its own, locked
// by one process.
//
// It imports packages tokenstore, keyring, record, sealing and usednonce, and Badger. Only module.go imports Caddy, to
// register the guest module. The directory holds a Badger database, `tokens`; the ledger of
// acknowledged versions; and the log of nonces, `nonces`, which belongs to package noncelog. Every
// commit of the database is synced to disk before it is acknowledged.
//
//	store.go          Open, Close, and the door that every call comes through
//	database.go       Badger's options, its errors in words, its log lines; the transaction that
//	                  readers share; what happens after a failed write
//	examine.go        what the database must hold, looked at before Badger opens it;
//	                  ledger.go: what was acknowledged
//	keys.go           keys and indexes as bytes; the values are package record's
//	sealed.go         values and names as they are stored with a Sealer
//	rewrap.go         which keys are in use, and how values get another one
//	consumers.go requesttokens.go accesstokens.go    the methods of the Store
//	requestcounts.go  how many request tokens there are, and when they are to be removed
//	selfregistered.go the consumers that nobody added, and when they are forgotten
//	removals.go       what is revoked but still on disk; how it is removed, and what has ended
//	reclaim.go        how what was removed leaves Badger's files
//	cache.go          what every API request reads, decoded
//	kept.go           what the app keeps by name
//	stats.go          how much is in it
//	snapshot.go       what is in it at one moment, for a backup and for another store
//	measure.go        figures for monitoring, which need no counting
//	transfer.go       what is moved to another store, and what was moved here
//	generation.go     notices that the directory was copied back or moved
//	noncekeeper.go    the state of the nonce log, in the database
//	module.go         the Caddy module
//	noncelog/         the used nonces: memory, log, segments; it knows nothing of Badger
//	internal/batch/   group commit: concurrent calls share one transaction, and so one fsync
//	internal/disk/    free space, durable names
//	internal/disktest/    helpers that the tests of this package and of noncelog share
//
// The way of a change: the door (store.go) -> gate, shared -> lock of the key -> read -> the rule
// (tokenstore's transition.go) -> commit (internal/batch) -> cache. A revocation of many tokens
// holds the gate alone while it commits one mark; removals.go removes the tokens later. A reader of
// a token loads the marks first, and then checks whether one hides the token.
//
// Upgrade and downgrade. Everything that is stored has the version of its kind: a consumer, a
// request token, an access token, its last use, the state of the nonce log (package record says how
// these change), a segment of the nonce log and its counts (package noncelog). A program reads
// every version from 1 to its own, and writes its own; nothing is converted when the store is
// opened. A program refuses a record of a later version with an error that names its kind and both
// versions, and every other record works. A segment of a later version is not an error: timestamps
// up to now and a window are refused, as after damage, and the log goes on in the older form. So to
// go back, stop the newer program cleanly and start the older one, with a backup made before.
// testdata/stores holds stores of every format, which oldstores_test.go opens.
package badgerstore
