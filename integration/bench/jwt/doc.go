// Command jwt is a Caddy with its standard modules and a provider of JWT authentication, the peer of the benchmark that
// verifies bearer tokens. The provider is as short as such providers are, and leaves the work to lestrrat-go/jwx.
//
// It is a Go module of its own, so that the product's does not require jwx. Its Caddy has to be of the product's version: the
// benchmark leaves it out otherwise.
//
//	main.go       the command
//	provider.go   the provider
//	caddyfile.go  its directive, jwt_auth
package main
