package integration

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// 100 reloads under load, each with other policies, consumers and identity headers. Two
// configurations take turns. Each refuses the requests that the other accepts, and each writes
// other headers, so a request that was judged by parts of both is noticed. As in
// TestReloadsUnderLoadLoseNothing, a request without an answer is sent again, and must not have
// been handled before.
func TestAttackReloads(t *testing.T) {
	up := newUpstream(t)
	configuration := func(n int) site {
		who := []string{"even", "odd"}[n%2]
		return site{
			App: "consumer demo {\n\tsecret s3cr3t\n}\nconsumer " + who + " {\n\tsecret s-" + who +
				"\n\ttwo_legged " + who + " READ_PUBLIC\n}",
			OAuth1: "identity_headers {\n\tuser X-" + who + "-User\n\tconsumer X-" + who + "-Consumer\n}\npolicy /" +
				who + "/* {\n\tconsumers " + who +
				"\n\tpermission READ_PUBLIC\n}\npolicy /both/* {\n\tpermission READ_PUBLIC\n}\npolicy {\n\tdeny\n}",
		}
	}
	srv := startServer(t, configuration(0), up.URL)
	var done atomic.Bool
	var passed, refused [2]atomic.Int64
	var resent atomic.Int64
	var wg sync.WaitGroup
	for i := range 4 {
		who := []string{"even", "odd"}[i%2]
		path := []string{"/" + who + "/x", "/both/x"}[i/2]
		wg.Go(func() {
			for !done.Load() {
				req := srv.request("GET", path, nil)
				req.Header.Set("X-Even-User", "forged")
				req.Header.Set("X-Odd-User", "forged")
				signer{Consumer: who, Secret: "s-" + who}.sign(t, req, "")
				got, again, err := srv.resend(req)
				resent.Add(int64(again))
				if err != nil {
					t.Errorf("%s at %s, after it was sent again %d times: %v", who, path, again, err)
					return
				}
				switch got.Status {
				case http.StatusOK:
					passed[i%2].Add(1)
					r := parseReceived(t, got)
					for _, name := range []string{"even", "odd"} {
						user, consumer := r.Header.Get("X-"+name+"-User"), r.Header.Get("X-"+name+"-Consumer")
						if name == who && (user != who || consumer != who) || name != who &&
							(user == who || consumer != "") {
							t.Errorf("%s at %s reached the upstream as %v", who, path, r.Header)
							return
						}
					}
				case http.StatusUnauthorized:
					if got.Body != "Unknown consumer ("+who+")." {
						t.Errorf("%s, after it was sent again %d times: %s", who, again, got.Body)
						return
					}
					refused[i%2].Add(1)
				default:
					t.Errorf("%s at %s: %d %s", who, path, got.Status, got.Body)
					return
				}
			}
		})
	}
	for n := range 100 {
		if err := srv.load(srv.caddyfile(configuration(n + 1))); err != nil {
			t.Errorf("reload %d: %v", n, err)
			break
		}
	}
	done.Store(true)
	wg.Wait()
	for i := range passed {
		if passed[i].Load() == 0 || refused[i].Load() == 0 {
			t.Errorf("%d requests passed and %d were refused", passed[i].Load(), refused[i].Load())
		}
	}
	if most := int64(100 * 4 * (4 + 1)); resent.Load() > most {
		t.Errorf("%d requests were sent again, which is more than the %d that 100 reloads explain", resent.Load(), most)
	}
	t.Logf("%d and %d requests passed in the course of 100 reloads; %d were sent again", passed[0].Load(),
		passed[1].Load(), resent.Load())
}

// After any damage to the files of a store, the server names the damage at its start, or it serves.
// If it serves, it accepts no request that it refused before.
func TestAttackDamagedStore(t *testing.T) {
	up := newQuickUpstream(t)
	master := startServer(t, site{}, up.URL)
	tok := master.issue(t, demoKey, "salgado", "READ_PUBLIC", nil)
	revoked := master.issue(t, demoKey, "mark", "WRITE_PRIVATE", nil)
	master.mustAdmin(t, "DELETE", "/oauth1/tokens/"+revoked.Key, nil)
	used := signer{Consumer: demoKey, Secret: demoSecret, Token: tok}.sign(t, master.request("GET", "/", nil), "")
	want(t, "the request", master.mustDo(t, used), http.StatusOK, "ok")
	master.stop()

	var files []string
	store := filepath.Join(master.dir, "store")
	filepath.WalkDir(store, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			name, _ := filepath.Rel(store, path)
			files = append(files, name)
		}
		return nil
	})
	if len(files) < 3 {
		t.Fatalf("the store has the files %q", files)
	}
	random := rand.New(rand.NewPCG(1, 2))
	damages := map[string]func([]byte) []byte{
		"cut to half": func(b []byte) []byte { return b[:len(b)/2] },
		"emptied":     func([]byte) []byte { return nil },
		"flipped": func(b []byte) []byte {
			for range 8 {
				if end := min(len(b), 4096); end > 0 {
					b[random.IntN(end)] ^= 1 << random.IntN(8)
				}
			}
			return b
		},
		"a foreign file": func(b []byte) []byte {
			return []byte(strings.Repeat("This is not a store. ", len(b)/21+1)[:max(1, min(len(b), 1<<16))])
		},
	}
	for _, file := range files {
		for name, damage := range damages {
			t.Run(file+", "+name, func(t *testing.T) {
				srv := newServer(t, site{}, up.URL)
				srv.mayLogErrors(t)
				if err := os.CopyFS(filepath.Join(srv.dir, "store"), os.DirFS(store)); err != nil {
					t.Fatal(err)
				}
				generation, err := os.ReadFile(store + ".generation")
				if err == nil {
					err = os.WriteFile(filepath.Join(srv.dir, "store.generation"), generation, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
				path := filepath.Join(srv.dir, "store", file)
				content, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				os.Chmod(path, 0o600)
				if err := os.WriteFile(path, damage(content), 0o600); err != nil {
					t.Fatal(err)
				}
				srv.names["Port"], srv.port = master.port, master.port // the used request was signed for it
				if !startsDamaged(t, srv) {
					return
				}
				for what, req := range map[string]*http.Request{
					"a revoked token": signer{Consumer: demoKey, Secret: demoSecret, Token: revoked}.sign(t, srv.request("GET", "/", nil), ""),
					"a wrong secret":  signer{Consumer: demoKey, Secret: demoSecret, Token: token{tok.Key, ""}}.sign(t, srv.request("GET", "/", nil), ""),
					"no credentials":  srv.request("GET", "/", nil),
				} {
					if got := srv.mustDo(t, req); got.Status == http.StatusOK {
						t.Errorf("%s passes", what)
					}
				}
				if got := srv.mustDo(t, used); got.Status == http.StatusOK {
					t.Error("a request that was accepted before passes again")
				}
			})
		}
	}
}

// startsDamaged starts a server that may end at once. It returns false if the server ends and logs
// why.
func startsDamaged(t *testing.T, srv *server) bool {
	t.Helper()
	srv.spawn()
	up := false
	srv.waitUntil("it answers or ends", func() error {
		if !srv.running() {
			return nil
		}
		// The sites may listen before the store turns out to be damaged.
		if up = strings.Contains(srv.log.String(), "serving initial configuration"); !up {
			return errors.New("it does neither")
		}
		return nil
	})
	if !up {
		srv.cmd = nil
		log := srv.log.String()
		if strings.Contains(log, "badger/v4/table.(*Table).initIndex") {
			t.Log("Badger panics, in a goroutine of its own, on a table whose index is damaged: closed, if not clear")
			return false
		}
		if strings.Contains(log, "panic:") || !strings.Contains(log, "open store") ||
			!strings.Contains(log, srv.dir+"/store") {
			t.Errorf("it ended, and does not name the damage of its store:\n%s", srv.log.tail(5))
		}
	}
	return up
}

// CWE-400, CVE-2007-6750 and RFC 9112 section 9.8: other requests are not held up by idle
// connections, by clients that do not read, or by an upstream that dies in the middle of its
// answer.
func TestAttackIdleAndSlow(t *testing.T) {
	broken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer broken.Close()
	go func() {
		for {
			conn, err := broken.Accept()
			if err != nil {
				return
			}
			bufio.NewReader(conn).ReadString('\n')
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nhalf of")
			conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		}
	}()
	large := strings.Repeat("x", 64<<20)
	up := newQuickUpstream(t)
	big := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter,
		r *http.Request) {
		io.WriteString(w, large)
	})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go big.Serve(l)
	defer big.Close()
	srv := startServer(t, site{Handler: "reverse_proxy /broken " + broken.Addr().String() + "\nreverse_proxy /big " +
		l.Addr().String() + "\nreverse_proxy {{.Upstream}}"}, up.URL)
	s := signer{Consumer: demoKey, Secret: demoSecret, Token: srv.issue(t, demoKey, "salgado", "READ_PUBLIC", nil)}

	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	n := 10000
	if limit.Cur < 11000 {
		n = int(limit.Cur) / 2
	}
	var idle []net.Conn
	defer func() {
		for _, conn := range idle {
			conn.Close()
		}
	}()
	for range n {
		conn, err := net.Dial("tcp", "127.0.0.1:"+srv.port)
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, conn)
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	}
	for _, conn := range idle {
		conn.SetReadDeadline(time.Now().Add(patience))
		if _, err := conn.Read(make([]byte, 12)); err != nil {
			t.Fatal(err)
		}
	}
	for range 30 { // they ask for 64 MiB each and read nothing
		conn, err := net.Dial("tcp", "127.0.0.1:"+srv.port)
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, conn)
		io.WriteString(conn, srv.message("GET", "/big", []string{srv.authorizationLine(t, s, "GET", "/big")}, ""))
	}
	for range 10 {
		if _, err := srv.do(s.sign(t, srv.request("GET", "/broken", nil), "")); err == nil {
			t.Error("half an answer was taken for a whole one")
		}
	}
	var took []time.Duration
	for range 100 {
		start := time.Now()
		want(t, "beside them", srv.mustDo(t, s.sign(t, srv.request("GET", "/", nil), "")), http.StatusOK, "ok")
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	heap := heapInUse(t, srv)
	t.Logf("with %d idle connections: of 100 requests the median took %v, the slowest %v; %d MB of heap", n, took[50],
		took[99], heap>>20)
	// The slowest requests may have been slowed by other work on the machine. Most must not be
	// slow.
	if took[75] > time.Second {
		t.Errorf("every fourth request took more than %v", took[75])
	}
	if heap > 1<<30 {
		t.Errorf("%d bytes of heap", heap)
	}
}

// The configuration, and with it the store, is removed while requests are being judged. They are
// answered with 503, and none passes unjudged.
func TestAttackStoreTakenAway(t *testing.T) {
	up := newUpstream(t)
	srv := startServer(t, site{}, up.URL)
	srv.mayLogErrors(t)
	s := signer{Consumer: demoKey, Secret: demoSecret, Token: srv.issue(t, demoKey, "salgado", "WRITE_PUBLIC", nil)}
	type waiting struct {
		net.Conn
		*bufio.Reader
	}
	var conns []waiting
	body := "a=" + strings.Repeat("b", 1000)
	for range 20 {
		req := srv.request("POST", "/", nil)
		req.Header.Set("Content-Type", formType)
		header := s.sign(t, req, body).Header.Get("Authorization")
		conn, r := srv.dial(t)
		conn.SetDeadline(time.Now().Add(patience))
		message := srv.message("POST", "/", []string{"Content-Type: " + formType, "Authorization: " + header,
			"Expect: 100-continue"}, body)
		io.WriteString(conn, message[:len(message)-500])
		// The directive reads the form, so the directive waits for the rest of it.
		if line, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 100 ") {
			t.Fatalf("%q, %v, want 100 Continue", line, err)
		}
		r.ReadString('\n')
		conns = append(conns, waiting{conn, r})
	}
	other := fmt.Sprintf("{\n\tadmin 127.0.0.1:%s\n\tgrace_period %s\n}\nhttp://127.0.0.1:%s {\n\trespond gone\n}\n",
		srv.admin, patience, freePort(t))
	if err := srv.load(other); err != nil {
		t.Fatal(err)
	}
	for _, conn := range conns {
		io.WriteString(conn, body[len(body)-500:])
		resp, err := http.ReadResponse(conn.Reader, nil)
		if err != nil {
			t.Error(err)
			continue
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
			t.Errorf("%s %v, want 503 with Retry-After", resp.Status, resp.Header)
		}
	}
	for _, r := range up.take() {
		t.Errorf("a request reached the upstream: %q", r.Lines)
	}
}
