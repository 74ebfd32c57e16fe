// Package integration tests the real binary: cmd/caddy-oauth1 in a process of its own, with real
// upstreams, real OAuth clients and real faults. The tests do not look inside the server. They see
// only its answers, its log and its admin API.
//
//	harness_test.go       builds and starts the binary; its admin API; a client for its site
//	signing_test.go       a small, naive reading of RFC 5849, independent of the code under test
//	upstream_test.go      what stands behind the site: it records what reaches it
//	page_test.go          a user of the authorize page, without a browser
//	browser_test.go       the pages in a real browser: every way through them, and attacks
//	browser_look_test.go  how they look there, and whether everybody can read them: axe-core, keyboard, branding, screenshots
//	attack_*_test.go      what hostile clients send, over raw sockets; badday_*_test.go: crashes, power cuts, full disks
//	walk_test.go          the exchange walk, by hand
//	proxies_test.go       a proxy in front that takes a prefix or the port away
//	manual_test.go        every command of README.md and docs/, as it stands there; manual_lessons_test.go
//	                      is about each page
//	cookbook_test.go      every recipe of docs/cookbook.md, as it stands there: cookbook_policies_test.go has those
//	                      for policies and logins, cookbook_cors_test.go those for browsers, in one
//	passthrough_test.go   what is not refused reaches the upstream as in plain Caddy
//	crash_test.go         kill -9
//	log_test.go           no secret in the log
//	imports_test.go       which package may import which
//	reload_test.go        reloads under load, validate beside a running server, two servers on one directory
//	interop_test.go       what the foreign clients have in common: how they are run, the awkward requests
//	matrix_test.go        the matrix: every foreign client by every signature method, as docs/clients.md shows it
//	matrix_*_test.go      its clients, a file for each family; wire_test.go: what they really send;
//	                      matrix_page_test.go: docs/clients.md
//	launchpadlib_test.go  requestsoauthlib_test.go  nodeoauth_test.go  dghubble_test.go     one a client
//	launchpad_test.go     a small Launchpad for launchpadlib to talk to
//	clients/              the drivers of the clients that are not written in Go
//
// To add a client to the matrix, write a driver in clients/ that reads a matrixRun and prints a
// matrixResult (see clients/python/oauthlib_driver.py), and a row in the table of its family. Run
// the row. Add a fault to the row only after the bytes on the wire show that the client causes it.
// Then write docs/clients.md with -update.
//
// A test that needs a missing program is skipped, and says which. With CI=true in the environment
// it fails instead. INTEGRATION_RACE=1 builds the binary with the race detector. `go test -short`
// runs nothing here.
package integration
