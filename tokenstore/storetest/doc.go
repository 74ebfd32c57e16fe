// Package storetest tests the rules that every tokenstore.Store must follow. Run tests any store;
// RunDurable tests one that can be opened again. A store's own tests add what is special to it,
// such as the sizes of its limits.
//
//	storetest.go       Run, RunDurable, the clock, helpers
//	consumers.go tokens.go limits.go revoke.go selfregistered.go nonces.go durable.go    the cases
package storetest
