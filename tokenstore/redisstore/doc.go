// Package redisstore is tokenstore's store for several replicas: it keeps consumers, tokens and
// nonces in Redis (from 7.0 on) or Valkey (from 8 on): one server, Sentinel, or Cluster.
//
// It knows package tokenstore, its records, keys and used nonces, the client rueidis, and of Caddy
// what a guest module needs. It must never import caddymodule or another store.
//
//	module.go         the Caddy module oauth1.stores.redis
//	options.go        what a store is opened with
//	connect.go        the connections, and what is wrong with the servers
//	store.go          Store: Open, Close, Check, Secret
//	slices.go         the 64 slices of the data, and the names of keys
//	scripts/          what is executed in the servers; each file says what it takes and returns
//	run.go            calls of scripts, with or without waiting for replicas
//	fence.go          epoch, floor and ceiling of a slice: why no nonce is accepted twice
//	nonces.go         UseNonce
//	ahead.go          nonces with timestamps that lie further ahead than the lease
//	quota.go          how many nonces of one consumer are accepted
//	slicedata.go      reading a slice, and writing to it if nothing has changed since
//	envelope.go       the values of keys; marks
//	sealed.go         records and names as they are stored with a Sealer
//	rewrap.go         which keys are in use, and how records get another one
//	index.go          the ordered indexes of access tokens
//	cache.go          what was read, for a second at most
//	consumers.go, accesstokens.go, requesttokens.go, lists.go, revoke.go: the methods of Store
//	credentials.go    both records of a signed request in one step
//	accounting.go     the limits of request tokens and of self-registered consumers
//	snapshot.go       what is in it, for a backup, while it is used
//	export.go         what is moved to another store; import.go: what was moved here
//	forget.go         a self-registered consumer that is forgotten while it gets an access token
//	kept.go           what the app keeps by name
//	stats.go          how much is stored; measure.go: figures of this process, for monitoring
//	sweep.go          what every process removes in the background
//	redislab/         real servers for tests
//
// # The way of a nonce
//
// UseNonce computes the slice of the token and calls accept.lua there, in one round trip. The script
// compares the slice's epoch with the server's, the access token's version with the one that the
// request was verified with, and the timestamp with floor and ceiling. Then it adds the nonce to the
// hash of its second. Only if the epoch is new or the ceiling too low, UseNonce calls raise.
//
// # The way of a record
//
// A method reads the keys of one slice (read.lua), computes what follows, and writes that if nothing
// has changed (write.lua); else it begins again. What belongs together lies in one slice: an access
// token, its nonces and its indexes, and the request token that it was exchanged for. So every
// change is one script, and a failover keeps all of it or nothing. It is acknowledged when as many
// replicas as the options demand have it. An error says that nobody knows.
package redisstore
