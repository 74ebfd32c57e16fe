// Package refusal says why a request is refused: what the client is told, and under which name the
// operator finds it.
//
//	refusal.go   the table of all refusals, those of the pages too, and what can be added to one: a
//	             value, a cause, keys
//	safe.go      text of clients, made fit for answers and error pages
//
// Whoever judges a request returns a *Problem. Only package caddymodule answers with it. The texts
// that people read are in the catalogues of package pages, by the key that is here. The package
// knows package oauth1, whose errors it translates, and neither Caddy nor a store.
package refusal
