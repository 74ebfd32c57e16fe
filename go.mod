module github.com/caddy-oauth1/caddy-oauth1

go 1.26.0
