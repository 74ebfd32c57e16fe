// Package storetest is what every tokenstore.Store must do, as tests: Run for any store, RunDurable
// for one that can be opened again. A store's own tests add what only it has, such as its limits'
// sizes.
//
//	storetest.go       Run, RunDurable, the clock, helpers
//	consumers.go tokens.go limits.go revoke.go selfregistered.go nonces.go durable.go    the cases
package storetest
