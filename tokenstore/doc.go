// Package tokenstore is the model of an OAuth 1.0a provider, and the interface of its stores:
// consumers, request tokens and their reviews, access tokens, and the nonces that were used.
//
// It knows neither OAuth's wire format (see package oauth1) nor Caddy. The stores are its
// sub-packages; each keeps its values as the bytes of package record, and passes the suite in
// storetest:
//
//	model.go        Consumer, RequestToken, Review, AccessToken, Nonce: plain records
//	transition.go   the rules of a review and of an exchange, in one place for all stores
//	store.go        the Store interface, its limits and the sentinel errors
//	module.go       what a store's Caddy module must do, and may do: how to write another store
//	transfer.go     what moves from one store to another, or into a backup: the optional
//	                Transferrer, Snapshotter, Finder and Adopter
//	measure.go      what a store may tell for monitoring: Measurer, Failer, SyncWatcher
//	sealer.go       what encrypts a store: the Sealer, and the optional KeyUser and Rewrapper
//	key.go          new keys and secrets, from crypto/rand
//
// integration/imports_test.go holds the list of imports that each of these packages may have.
//
// Records that a Store returns are shared: never write to them. To change one, change a copy and
// give that back.
package tokenstore
