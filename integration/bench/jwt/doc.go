// Command jwt is a Caddy with its standard modules and a provider of JWT authentication. It is the
// peer of the benchmark that verifies bearer tokens. The provider is short; lestrrat-go/jwx does
// the work.
//
// It is a Go module of its own, so that the product's module does not require jwx. The benchmark
// skips it if its Caddy has another version than the product's.
//
//	main.go       the command
//	provider.go   the provider
//	caddyfile.go  its directive, jwt_auth
package main
