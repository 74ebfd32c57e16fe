// Command caddy-oauth1 is Caddy with its standard modules and the OAuth 1.0a provider. xcaddy
// builds the same program.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-oauth1/caddy-oauth1/caddymodule"
)

func main() {
	caddycmd.Main()
}
