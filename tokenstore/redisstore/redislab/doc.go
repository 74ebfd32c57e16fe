// Package redislab starts real Redis servers for tests: one server, a master with replicas under
// Sentinel, or a Cluster. The tests can kill, freeze, restart, promote and move them.
//
// It imports nothing of this module. Production code must not import it.
//
//	lab.go       Single, Sentinel and Cluster, and what all three have in common
//	options.go   what a test can choose, and the configuration file that comes of it
//	node.go      one server: its process, its commands, its faults
//	sentinel.go  a master, its replicas and their sentinels
//	cluster.go   a Cluster: slots, replicas, failover, migration of a slot
//	tls.go       a certificate authority for one test
//	clock.go     servers with a wrong clock
//	resp.go      the protocol, as far as the tests need it
//	process_*.go servers end with the test binary, also when that is killed
//
// A lab's own commands go through a Unix socket of each server, as a user of their own. So they
// work while the server is cut off from the network, under TLS, and when the default user has no
// rights.
//
// Where redis-server is not installed the tests that need it are skipped; with CI=true in the
// environment they fail.
package redislab
