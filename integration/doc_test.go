// Package integration tests the real binary: cmd/caddy-oauth1 in a process of its own, with real
// upstreams, real OAuth clients and real faults. The tests do not look inside the server. They see
// only its answers, its log and its admin API.
//
//	harness_test.go       builds and starts the binary; its admin API; a client for its site
//	signing_test.go       a small, simple reader of RFC 5849, independent of the code under test
//	upstream_test.go      the server behind the site: it records the requests that reach it
//	page_test.go          a user of the authorize page, without a browser
//	browser_test.go       the pages in a real browser: every way through them, and attacks;
//	                      browser_tab_test.go: its tabs
//	browser_look_test.go  how they look there, and whether everybody can read them: axe-core,
//	                      keyboard, branding, screenshots
//	attack_*_test.go      requests of hostile clients, over raw sockets
//	badday_*_test.go      crashes, power cuts, full disks
//	walk_test.go          the exchange walk, by hand
//	proxies_test.go       a proxy in front that removes a prefix or the port
//	manual_test.go        every command of README.md and docs/, exactly as it stands there;
//	                      manual_lessons_test.go has the details of each page,
//	                      manual_install_test.go those of docs/install.md
//	cookbook_test.go      every recipe of docs/cookbook.md, exactly as it stands there;
//	                      cookbook_policies_test.go has the recipes for policies and logins,
//	                      cookbook_cors_test.go those for browsers, in a browser
//	passthrough_test.go   accepted requests reach the upstream as in plain Caddy;
//	                      forwarded_test.go: with the identity, and without the credentials
//	migration_test.go     import over a kill -9, two providers at once, observe
//	mistakes_test.go      each mistake that the doctor knows, made by a client, and named
//	diagnosis_test.go     what real clients do wrong, in real life's circumstances
//	crash_test.go         kill -9
//	log_test.go           no secret in the log
//	imports_test.go       the packages that each package may import
//	redis_test.go         all these tests, with Redis for the stores of the sites
//	sidecars_test.go      three processes on one Redis, behind a load balancer
//	faults/               several sidecars on Redis, through the faults of servers and networks
//	reload_test.go        reloads under load, validate beside a running server, two servers on one
//	                      directory
//	interop_test.go       common parts of the foreign clients: how they are run, the awkward requests
//	matrix_test.go        the matrix: every foreign client with every signature method, as
//	                      docs/clients.md shows it
//	matrix_*_test.go      its clients, a file for each family; matrix_page_test.go: docs/clients.md
//	wire_test.go          the bytes that the clients really send
//	launchpadlib_test.go  requestsoauthlib_test.go  nodeoauth_test.go  dghubble_test.go:
//	                      one client each
//	launchpad_test.go     a small Launchpad for launchpadlib to talk to
//	clients/              the drivers of the clients that are not written in Go
//
// To add a client to the matrix, write a driver in clients/ that reads a matrixRun and prints a
// matrixResult (see clients/python/oauthlib_driver.py), and a row in the table of its family. Run
// the row. Add a fault to the row only after the bytes on the wire show that the client causes it.
// Then write docs/clients.md with -update.
//
// A test that needs a missing program is skipped, and says which. With CI=true in the environment
// it fails instead. With -suite-on-redis=usual, TestSuiteOnRedis runs the tests again on Redis,
// without the slow ones; with -suite-on-redis=all, those too. With INTEGRATION_REDIS=host:port any
// test has its stores on that server, as TestSuiteOnRedis prepared it. INTEGRATION_RACE=1 builds
// the binary with the race detector. `go test -short` runs nothing here.
package integration
