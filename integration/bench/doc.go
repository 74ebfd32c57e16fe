// Command bench measures what authentication costs. All peers stand in front of the same trivial
// upstream: the oauth1 handler, plain reverse_proxy, and the alternatives to oauth1.
//
//	go run ./integration/bench [-quick] [-peers plain,oauth1,...] [-out FILE.md] [-svg FILE.svg]
//	go run ./integration/bench -redis [-quick] [-peers plain,oauth1-redis,...] [-out FILE.md] [-svg FILE.svg]
//	go run ./integration/bench -redis -replicas [-quick] [-out FILE.md] [-svg FILE.svg]
//	go run ./integration/bench -redis -flows [-quick] [-out FILE.md]
//	go run ./integration/bench -growth [-quick] [-out FILE.md] [-svg FILE.svg]
//	go run ./integration/bench -flows [-quick] [-out FILE.md]
//	go run ./integration/bench -reclaim [-quick] [-out FILE.md]
//
// Every peer is a process of its own. A round runs the peers one after the other in a random order,
// with the same number of requests each. Two processes of one program differ by several percent for
// as long as they live, so all are started anew after a third of the rounds (see -processes).
// Requests are signed before the clock starts. Every answer is checked: its status, and the user
// that the upstream was told. A wrong answer ends the benchmark.
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
//   - "req/s" against plain: what a client sees on a full machine. The client's own work is in both
//     numbers, so this ratio moves less than that of CPU.
//   - "proxy CPU" a request: user and system time of the proxy's process, from /proc. This is the
//     price, and the figure that other machines disturb least.
//   - "CPU beside": the cost of a request in processes that the proxy asks, such as a verifier or
//     an auth server.
//   - The CPU that a proxy uses after its last run, without requests, stands below the table, so
//     that no work is hidden there.
//   - p50 and p99 are latencies at a load that fills the machine. They show queueing more than
//     work.
//
// The baseline carries no credentials. "plain-signed" gets the same signed requests as oauth1, and
// nothing reads the signatures. Its difference to the baseline is the price of some 350 bytes of
// header, and the difference of oauth1 to it is the price of verification. The report has both.
//
// The JWT peers get one token of each user again and again, as clients use such tokens. They verify
// its signature and its times with every request. A JWT lacks the rest: nothing detects that it is
// sent twice, and nothing can revoke it.
//
// # Redis
//
// With -redis the peers are those that keep nonces in Redis. The servers have the configuration of
// docs/replicas.md and run on the same cores; their CPU stands beside, that of all six of a Cluster.
// Each peer has servers of its own, which are new: the first requests wait until the floor of the
// first epoch has passed. forward_auth asks the same verifier as without Redis. It sets a key for
// each nonce, and would forget nonces in a failover. The timeout of the store is longer than the
// default, since a refusal would end the benchmark.
//
// With -replicas, a rising number of sidecars shares one server, each number a server of its own.
// The client opens its connections to all of them in turn. As many processes of plain reverse_proxy
// stand beside, so that what more processes cost on the same cores is not taken for a cost of Redis.
//
// # Growth
//
// The second mode shows whether the cost stays the same while things grow: stored tokens (used in a
// Zipf distribution), live nonces, connections, policies. Each size is interleaved with plain
// reverse_proxy. A process that ends by kill -9 fills the stores, so the time to the first verified
// answer is that of a start after a crash.
//
// # Flows
//
// The third mode runs many three-legged flows at the same time: request token, page, review, access
// token. Each answer is checked before the next request. Three of the four are on disk before they
// are answered, so the disk is measured too: -dir selects it. There is no peer, and no ratio. The
// client signs and reads on the same cores while the clock runs. All access tokens are used at the
// end.
//
// # Giving back
//
// In the fourth mode, a store full of live nonces removes them as they expire, while requests come
// at a steady rate well below what fills the machine. It shows whether requests wait for that: the
// delays around the moments when files of nonces were removed stand beside those before, between
// and after. Plain reverse_proxy has the same load at the same time: where its delays grow too, the
// machine was busy. GOMAXPROCS=1 in the environment shows a container with one processor.
//
// # Files
//
//	main.go        flags, and the choice of the mode
//	compare.go     the rounds of the first mode
//	growth.go      the second mode; fill.go: how stores are filled
//	redis.go       the peers on Redis, and its servers
//	replicas.go    a rising number of sidecars
//	flows.go       the third mode; walk.go: one flow
//	reclaim.go     the fourth mode
//	peers.go       the peers; helpers.go: those that are more than a Caddyfile
//	jwt.go         the JWT peers; jwt: their Caddy, a Go module of its own
//	roles.go       the upstream, the auth server and the verifier: this program in other processes
//	lab.go         the folder, processes, ports; caddy.go: a Caddy in it, and its admin API
//	credentials.go consumers and tokens, computed from their number
//	requests.go    requests, signed and written out
//	load.go        the load generator
//	proc.go        /proc: CPU time, memory, the machine
//	stats.go       figures; report.go: tables; svg.go: plots
package main
