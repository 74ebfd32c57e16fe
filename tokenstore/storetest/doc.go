// Package storetest tests the rules that every tokenstore.Store must follow. Run tests any store, and
// RunFew one that Run has tested with other servers or keys; RunDurable tests one that can be opened
// again, RunNonceLimit one that limits the nonces of a consumer, RunReplicas one that several
// processes share, and RunTransfer one whose content can be moved. A store's own tests add what is
// special to it, such as the sizes of its limits.
//
//	storetest.go     Run, RunFew, RunDurable, the clock, helpers
//	replicas.go      RunReplicas, and what one replica sees of another's changes
//	transfer.go      RunTransfer: moving what is in one store to another
//	credentials.go   the cases of stores with the capability tokenstore.CredentialFinder
//	kept.go          the case of stores with the capability tokenstore.Keeper
//	many.go          the cases that make thousands of records
//	consumers.go tokens.go limits.go revoke.go selfregistered.go nonces.go durable.go
//	                 the other cases
//
// Its own test shows that stores with faults fail.
package storetest
