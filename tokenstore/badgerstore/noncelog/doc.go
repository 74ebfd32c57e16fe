// Package noncelog remembers used nonces: in memory, where each is looked up, and in an append log,
// from which memory is restored. A database commit for each nonce would cost twenty times as much.
//
// It imports package tokenstore for the Nonce and the errors, usednonce for the digests, and package
// record, which encodes its state. It must not import Badger or Caddy: the store gives it a directory, a secret, and a Keeper
// for the one small record that must be durable beside the log.
//
//	log.go        Open, Use, Maintain, Close: the way of a nonce, and what is forgotten when
//	set.go        the nonces in memory, and how many each consumer and token has
//	journal.go    the log on disk: segments are made, filled, synced, loaded and removed
//	segment*.go   one file of it: its bytes, and how they are written on which system
//	counts.go     how many records a segment must have, so that a missing one is noticed
//	state.go      what is durable beside the log
//	restore.go    what Open loads, and what an end that was not clean may have cost
//	transfer.go   what another store must know of the nonces to take over
//
// The way of a nonce: Use -> digest (log.go) -> the set decides -> the journal keeps it ->
// accepted. With Options.Sync, or with a timestamp above the ceiling, it is synced before that.
//
// The floor and the ceiling are timestamps. All nonces below the floor are forgotten, and refused
// for that reason. All nonces above the ceiling are on disk. So after a power cut the ceiling
// becomes the floor, and no used nonce is accepted.
//
// No goroutine holds a processor for long: what is done for many nonces or files rests in between.
package noncelog
