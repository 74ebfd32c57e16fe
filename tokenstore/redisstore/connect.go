package redisstore

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

const (
	// retryEvery is the time between two attempts to reach the servers at first. A client that has
	// reached them once connects again by itself.
	retryEvery = time.Second
	// checkEvery is the time between two checks whose result goes to the log.
	checkEvery = 10 * time.Second
	// topologyEvery is how often the client asks which server is the master. A failover that nobody
	// announced is seen after that time.
	topologyEvery = time.Second
	// bufferSize is what each connection has to read, and to write. The client's default is eight
	// times as much.
	bufferSize = 64 << 10
	// flushDelay is how long calls wait for others at most, before they are sent together.
	flushDelay = 100 * time.Microsecond
	// handshakeFailed begins the error of a TLS handshake that had no answer, or a wrong one.
	handshakeFailed = "TLS handshake"
	// clientName is what CLIENT LIST shows.
	clientName = "caddy-oauth1"
)

// A link is the way to the servers. It makes the client, and makes it anew where the client can't
// help itself: as long as no server has ever answered, and when the configuration changes.
type link struct {
	// probes are names of keys that check may write, one in each slice.
	probes []string
	// invalidated gets the names of keys that somebody changed; nil: any key may have changed.
	// It must be fast.
	invalidated func(keys []string)
	logger      *zap.Logger

	options atomic.Pointer[Options]
	current atomic.Pointer[rueidis.Client]
	// missing is true if there is no client that was made with the options, and cause is the reason.
	missing atomic.Bool
	cause   atomic.Pointer[error]

	mu     sync.Mutex // of configure and close
	closed bool
	wake   chan struct{} // lets watch look whether a client is missing
	stop   context.CancelFunc
	// running are the goroutine that watches, and clients that are being closed.
	running sync.WaitGroup
}

// connect makes the link. It fails if the servers can be reached but not used. If they can't be
// reached, the link tries again by itself.
func connect(o Options, invalidated func(keys []string)) (*link, error) {
	l := &link{probes: probes(o.Prefix), invalidated: invalidated, logger: o.Logger, wake: make(chan struct{}, 1)}
	l.options.Store(&o)
	client, err := l.dial(o)
	if isMisconfiguration(err) {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	var problem string
	if client == nil {
		l.missing.Store(true)
		l.cause.Store(&err)
		problem = err.Error()
		l.logger.Warn("out of reach: requests are refused until a server answers", zap.Error(err))
	} else {
		l.current.Store(&client)
		if err = l.examine(ctx, client, o); isMisconfiguration(err) {
			l.close()
			return nil, err
		} else if err != nil {
			problem = err.Error()
			l.logger.Warn("not ready", zap.Error(err))
		}
	}
	l.running.Go(func() { l.watch(ctx, problem) })
	return l, nil
}

// client returns the client, or the error that there is none yet.
func (l *link) client() (rueidis.Client, error) {
	if c := l.current.Load(); c != nil {
		return *c, nil
	}
	return nil, &tokenstore.LaterError{
		After: retryEvery,
		Err:   fmt.Errorf("not connected yet: %w", *l.cause.Load()),
	}
}

// watch connects if the link is not connected yet, and logs when a check has another result than
// the one before. problem is what the log has already.
func (l *link) watch(ctx context.Context, problem string) {
	for {
		every := checkEvery
		if l.missing.Load() {
			every = retryEvery
		}
		timer := time.NewTimer(every)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-l.wake:
			timer.Stop()
		case <-timer.C:
		}
		err := l.tryAgain()
		if err == nil {
			err = l.check(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && problem != "":
			problem = ""
			l.logger.Info("ready")
		case err != nil && err.Error() != problem:
			problem = err.Error()
			l.logger.Error("not ready", zap.Error(err))
		}
	}
}

// tryAgain makes a client if there is none, or none with the current options.
func (l *link) tryAgain() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || !l.missing.Load() {
		return nil
	}
	o := *l.options.Load()
	client, err := l.dial(o)
	if err != nil {
		l.cause.Store(&err)
		return err
	}
	l.use(client, o)
	return nil
}

// use puts a client into the place of the one before. The caller holds mu.
func (l *link) use(client rueidis.Client, o Options) {
	old := l.current.Swap(&client)
	l.missing.Store(false)
	if old != nil {
		l.running.Go(func() {
			time.Sleep(2 * o.Timeout) // for the calls under way
			(*old).Close()
		})
		l.invalidated(nil)
	}
}

// configure goes on with other options. It fails, and changes nothing, if the servers can be
// reached but not used with them.
func (l *link) configure(o Options) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return tokenstore.ErrClosed
	}
	if l.options.Load().sameConnection(o) {
		l.options.Store(&o)
		return nil
	}
	client, err := l.dial(o)
	if err == nil {
		if err = l.examine(context.Background(), client, o); isMisconfiguration(err) {
			client.Close()
		} else {
			err = nil
		}
	}
	switch {
	case isMisconfiguration(err):
		return err
	case err != nil:
		// The client that there is goes on as long as it can.
		l.options.Store(&o)
		l.cause.Store(&err)
		l.missing.Store(true)
		select {
		case l.wake <- struct{}{}:
		default: // it is awake
		}
		l.logger.Warn("out of reach with the new configuration", zap.Error(err))
	default:
		l.options.Store(&o)
		l.use(client, o)
	}
	return nil
}

// close ends the link. Closing twice is not an error.
func (l *link) close() {
	l.stop()
	l.mu.Lock()
	closed := l.closed
	l.closed = true
	l.mu.Unlock()
	if closed {
		return
	}
	l.running.Wait()
	if c := l.current.Load(); c != nil {
		(*c).Close()
	}
}

// clients are two clients of the same servers in one.
//
// When a dedicated connection on which invalidations may arrive is given back, rueidis sends PING,
// and panics if the answer is MISCONF: a server that can't write to its disk would end the process.
// So dedicated connections are those of a second client that hears of no invalidations, and that
// sends nothing while a connection is idle, which would change how rueidis reads it.
type clients struct {
	rueidis.Client
	quiet rueidis.Client
}

func (c *clients) Dedicated(f func(rueidis.DedicatedClient) error) error { return c.quiet.Dedicated(f) }
func (c *clients) Dedicate() (rueidis.DedicatedClient, func())           { return c.quiet.Dedicate() }
func (c *clients) Nodes() map[string]rueidis.Client                      { return c.quiet.Nodes() }

func (c *clients) Close() {
	c.Client.Close()
	c.quiet.Close()
}

// dial makes the clients. Its errors say what to do.
func (l *link) dial(o Options) (rueidis.Client, error) {
	hearing, err := l.dialClient(o, clientOption(o, l.changed))
	if err != nil {
		return nil, err
	}
	option := clientOption(o, nil)
	option.ClientTrackingOptions, option.DisableCache = nil, true
	option.Dialer.KeepAlive = -1 // not those to Sentinels: a dead one must be noticed
	quiet, err := l.dialClient(o, option)
	if err != nil {
		hearing.Close()
		return nil, err
	}
	return &clients{hearing, quiet}, nil
}

func (l *link) dialClient(o Options, option rueidis.ClientOption) (rueidis.Client, error) {
	client, err := rueidis.NewClient(option)
	if o.SentinelMaster != "" && o.Password != "" && needsPassword(err) {
		// Most Sentinels have no password, and refuse one. The others share that of the servers.
		option.Sentinel.Username, option.Sentinel.Password = o.Username, o.Password
		client, err = rueidis.NewClient(option)
	}
	if o.TLS != nil && broken(err) {
		option.DialCtxFn = dialAndListen
		client, err = rueidis.NewClient(option)
		if err == nil {
			client.Close()
			option.DialCtxFn = dialServer
			client, err = rueidis.NewClient(option)
		}
	}
	if err != nil {
		return nil, explain(err, o)
	}
	return client, nil
}

// broken reports whether the other side closed a connection.
func broken(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF)
}

// changed hears which keys somebody changed.
func (l *link) changed(messages []rueidis.RedisMessage) {
	if messages == nil {
		l.invalidated(nil)
		return
	}
	keys := make([]string, 0, len(messages))
	for _, m := range messages {
		if key, err := m.ToString(); err == nil {
			keys = append(keys, key)
		}
	}
	l.invalidated(keys)
}

// dialServer connects to a server. It is the client's own way, with an error that tells a server
// that can't be reached from one that does not answer in TLS.
func dialServer(ctx context.Context, address string, dialer *net.Dialer, config *tls.Config) (net.Conn, error) {
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil || config == nil {
		return conn, err
	}
	if config.ServerName == "" {
		config = config.Clone()
		config.ServerName, _, _ = net.SplitHostPort(address)
	}
	ctx, cancel := context.WithTimeout(ctx, dialer.Timeout)
	defer cancel()
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("server %s: %s: %w", address, handshakeFailed, err)
	}
	return secure, nil
}

// dialAndListen is dialServer, and then listens for a moment. A server that refuses our certificate
// says so after the handshake, and closes the connection; if we write meanwhile, its words are lost.
func dialAndListen(ctx context.Context, address string, dialer *net.Dialer, config *tls.Config) (net.Conn, error) {
	conn, err := dialServer(ctx, address, dialer, config)
	if err != nil {
		return nil, err
	}
	conn.SetReadDeadline(time.Now().Add(dialer.Timeout))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		conn.Close()
		return nil, fmt.Errorf("server %s: %w", address, cmp.Or(err, io.ErrUnexpectedEOF))
	}
	return conn, conn.SetReadDeadline(time.Time{})
}

// clientOption returns the client's options.
//
// A call ends with its context, whatever the server does, with these exceptions: a call that needs
// a new connection may wait for Dialer.Timeout, and a call that finds 1,024 others before it on a
// connection waits until one of them has its reply, or until the connection is given up. That takes
// two intervals of KeepAlive, in which nothing arrives, and ConnWriteTimeout for the answer to a
// PING.
func clientOption(o Options, changed func([]rueidis.RedisMessage)) rueidis.ClientOption {
	dialer := net.Dialer{Timeout: o.Timeout, KeepAlive: o.Timeout / 4}
	return rueidis.ClientOption{
		InitAddress: o.Addresses,
		Username:    o.Username,
		Password:    o.Password,
		SelectDB:    o.DB,
		TLSConfig:   o.TLS,
		DialCtxFn:   dialServer,
		ClientName:  clientName,
		// CLIENT SETINFO would need one more right, and older servers don't have it.
		ClientSetInfo: rueidis.DisableClientSetInfo,

		Dialer:              dialer,
		ConnWriteTimeout:    o.Timeout,
		ReadBufferEachConn:  bufferSize,
		WriteBufferEachConn: bufferSize,
		BlockingPoolCleanup: time.Minute,
		BlockingPoolMinSize: 1,

		Sentinel: rueidis.SentinelOption{
			Dialer:                  dialer,
			TLSConfig:               o.TLS,
			MasterSet:               o.SentinelMaster,
			ClientName:              clientName,
			TopologyRefreshInterval: topologyEvery,
		},
		ClusterOption: rueidis.ClusterOption{
			ShardsRefreshInterval: topologyEvery,
			MaxMovedRedirections:  5,
		},

		// One connection to a server takes all calls, and the calls of a moment go out together. Under
		// load this costs both sides a tenth less than more connections without the pause, and a
		// call that is alone does not wait.
		PipelineMultiplex: -1,
		MaxFlushDelay:     flushDelay,

		// Every connection hears of every change of a token or a consumer, whoever made it; if the
		// connection breaks, it hears nil. So whatever was read through a connection is heard of
		// for as long as it is there.
		ClientTrackingOptions: []string{
			"BCAST", "PREFIX", o.Prefix + ":" + kindToken + "{", "PREFIX", o.Prefix + ":" + kindConsumer + "{",
		},
		OnInvalidations: changed,
		// The cache of the client itself stays empty.
		CacheSizeEachConn: 1,
	}
}
