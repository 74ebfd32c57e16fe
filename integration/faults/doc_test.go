// Package faults tests several sidecars on one store in the manner of Jepsen: three processes of the
// real binary and real Redis servers, each in a network namespace of its own; clients that record
// what they got; nemeses that kill, freeze, cut off and roll back the servers meanwhile; and a
// checker of the histories (porcupine).
//
//	faults_test.go       the tests: which topology meets which nemeses; the tests of the test
//	nemesis_test.go      the nemeses
//	trial_test.go        one run: servers, sidecars and clients; how soon requests pass again
//	nonces_test.go       clients that send a signed request to several sidecars, and again later
//	lives_test.go        clients that get a token, exchange it at all sidecars, use it and revoke it
//	consumers_test.go    clients of consumers that are added, and then disabled, rotated or deleted
//	histories_test.go    what a history must be like
//	sidecar_test.go      a sidecar, and what its answers mean
//	recommended_test.go  the configuration and the user's rights that the manual has
//	network_test.go      namespaces, and how they are cut
//	build_test.go        the binary, and variants of it that are built from changed sources
//	toy_test.go          a sidecar that remembers nonces without a fence
//
// With FAULTS_MINUTES=0 in the environment each nemesis comes once; with 60 they come in random order
// for an hour; without it the trials are skipped. Only root may make namespaces: for others the tests
// are skipped, and with CI=true in the environment they fail.
package faults
