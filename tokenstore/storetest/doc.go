// Package storetest tests what every tokenstore.Store must do: Run tests any store, RunDurable one
// that can be opened again. A store's own tests add its specialties, such as the sizes of its
// limits.
//
//	storetest.go       Run, RunDurable, the clock, helpers
//	consumers.go tokens.go limits.go revoke.go selfregistered.go nonces.go durable.go    the cases
package storetest
