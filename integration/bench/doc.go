// Command bench measures what authentication costs, in front of the same trivial upstream: the oauth1 handler beside
// plain reverse_proxy and what people use in its place.
//
//	go run ./integration/bench [-quick] [-peers plain,oauth1,...] [-out FILE.md] [-svg FILE.svg]
//	go run ./integration/bench -growth [-quick] [-out FILE.md] [-svg FILE.svg]
//	go run ./integration/bench -flows [-quick] [-out FILE.md]
//	go run ./integration/bench -reclaim [-quick] [-out FILE.md]
//
// Every peer is a process of its own. A round runs each of them once, one after the other, with the same number of
// requests, and each round in an order of its own. After a third of the rounds (see -processes) all are started anew, since
// two processes of one program differ by several percent for as long as they live. Requests are signed before the clock runs. Every
// answer is checked, by its status and by the user whom the upstream was told; one that is wrong ends the benchmark.
//
// # How to read the result
//
// Only ratios mean anything. The client, the proxy and the upstream share the machine's cores, so
// requests a second depend on all three, on the machine, and on its other work. A ratio is taken
// within a round, against plain reverse_proxy a few seconds earlier or later. The report shows the
// median of all rounds. Behind ± is the distance to the farther end of the median's confidence
// interval, which golang.org/x/perf/benchmath computes without any assumption about the
// distribution; fewer than five rounds give ∞. Rounds of the same processes resemble each other, so
// the interval is rather too small than too large. Two rows that differ by less than that do not
// differ.
//
//   - "req/s" against plain: what a client sees on a machine that is full. The client's own work is in it on both
//     sides, so it moves less than CPU does.
//   - "proxy CPU" a request: user and system time of the proxy's process, from /proc. This is what is paid for, and
//     the figure that is least disturbed by neighbours.
//   - "CPU beside" is what the request cost in processes that the proxy asked: a verifier, an auth server.
//   - What a proxy does after its last run, when nobody asks it, is told below the table, lest work be hidden there.
//   - p50 and p99 are latencies at a load that fills the machine: queueing more than work.
//
// The baseline carries no credentials at all. "plain-signed" hands the same signed requests through, which nobody
// reads: the difference is the price of some 350 bytes of header, and what oauth1 needs beside it is the price of
// verifying them. Both are told.
//
// The JWT peers send one token a user again and again, as such tokens are used, and every one is verified by its signature and
// its times. What a JWT has not got is the rest: nothing remembers that it was sent, and nothing can revoke it.
//
// # Growth
//
// The second mode asks whether cost stays where it is as things grow: stored tokens (reached by a Zipf distribution),
// live nonces, connections, policies. Each size is measured interleaved with plain reverse_proxy. Stores are filled by
// a process that is ended by kill -9, so the time to the first verified answer is that of a start after a crash.
//
// # Flows
//
// The third mode goes through three-legged flows, many at the same time: request token, page, review, access token, each
// checked before the next is sent. Three of them are on disk before they are answered, so the disk is measured too: give -dir a
// folder on the one that is meant. There is nothing to compare with, and no ratio. The client signs and reads while the
// clock runs, on the same cores. In the end all access tokens are used.
//
// # Giving back
//
// In the fourth mode a store that was filled with live nonces forgets them while requests come, at a steady rate well
// below what fills the machine. It asks whether anybody waits for that: the delays around the moments when files of the
// nonces went stand beside those before, between and after. Plain reverse_proxy has the same load at the same time: where
// its delays grow too, it is the machine that was busy. With GOMAXPROCS=1 in the environment it shows what a container
// with one processor has.
//
// # Files
//
//	main.go        flags, and which mode
//	compare.go     the rounds of the first mode
//	growth.go      the second mode; fill.go: how stores are filled
//	flows.go       the third mode; walk.go: one flow
//	reclaim.go     the fourth mode
//	peers.go       what is compared; helpers.go: the peers that are more than a Caddyfile
//	jwt.go         the JWT peers; jwt: their Caddy, a Go module of its own
//	roles.go       the upstream, the auth server and the verifier: this program again, in other processes
//	lab.go         a folder, processes, ports; caddy.go: a Caddy in it, and its admin API
//	credentials.go consumers and tokens, computed from their number; requests.go: requests, signed and spelt out
//	load.go        the load generator
//	proc.go        /proc: CPU time, memory, the machine
//	stats.go report.go svg.go    figures, tables, plots
package main
