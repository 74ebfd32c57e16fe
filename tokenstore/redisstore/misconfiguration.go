package redisstore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"syscall"

	"github.com/redis/rueidis"
)

// A misconfiguration is an error that does not go away by itself: an operator must change
// something.
type misconfiguration struct{ err error }

func (e *misconfiguration) Error() string { return e.err.Error() }
func (e *misconfiguration) Unwrap() error { return e.err }

// misconfigured returns a misconfiguration.
func misconfigured(format string, args ...any) error {
	return &misconfiguration{fmt.Errorf(format, args...)}
}

func isMisconfiguration(err error) bool {
	var m *misconfiguration
	return errors.As(err, &m)
}

// needsPassword reports whether a server answered that it has not been given a password.
func needsPassword(err error) bool {
	reply, ok := rueidis.IsRedisErr(err)
	return ok && strings.HasPrefix(reply.Error(), "NOAUTH")
}

// advice is what an operator can do about a server's reply.
var advice = []struct{ reply, advice string }{
	{"WRONGPASS", "username or password is wrong, or the user is disabled"},
	{"NOAUTH", "the server asks for a password: set password, and username if it is not the default user"},
	{"without any password configured", "the server has no password: remove password, or set one at the server"},
	{"NOPERM", "the user lacks a right"},
	{"can't run this command", "the user lacks a right"},
	{"can't access at least one of the keys", "the user lacks a right"},
	{"DENIED", "the server is in protected mode: give it a password, or let it bind to this address"},
	{"SELECT is not allowed in cluster mode", "a Cluster has db 0 only: remove db"},
	{"DB index is out of range", "the server has no db of that number"},
	{"cluster support disabled", "several addresses are nodes of a Cluster, and this is none: set one address, or sentinel"},
	{"No such master with that name", "the Sentinels watch no master of that name"},
	{"unknown command 'SENTINEL'", "this is a server and no Sentinel: set address in place of sentinel"},
	{"unknown command", "the server is too old, or forbids the command: Redis 7.0 or Valkey 8 is needed"},
	{"unknown subcommand", "the server is too old, or forbids the command: Redis 7.0 or Valkey 8 is needed"},
	{"Unknown subcommand", "the server is too old, or forbids the command: Redis 7.0 or Valkey 8 is needed"},
}

// explain returns an error that says in one line what is wrong, and what to do. It is a
// misconfiguration if time does not mend it.
func explain(err error, o Options) error {
	if err == nil || isMisconfiguration(err) {
		return err
	}
	text := oneLine(err)
	if reply, ok := rueidis.IsRedisErr(err); ok || errors.Is(err, rueidis.ErrNoCache) {
		if ok {
			text = oneLine(reply)
		}
		for _, a := range advice {
			if strings.Contains(text, a.reply) {
				return misconfigured("%s (%s)", a.advice, text)
			}
		}
		if errors.Is(err, rueidis.ErrNoCache) {
			return misconfigured("the server has no RESP3, or no client tracking: Redis 7.0 or Valkey 8 is needed (%s)", text)
		}
		return errors.New(text)
	}
	if e, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return misconfigured("tls: the server's certificate is of an unknown authority: name its file in tls (%v)", e)
	}
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		return misconfigured("tls: the server's certificate is for other names: set server_name to one of them (%s)", oneLine(e))
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		return misconfigured("tls: the server's certificate is not valid (%s)", oneLine(e))
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return misconfigured("tls: the server does not speak TLS at this port (%s)", text)
	}
	if strings.Contains(text, "remote error: tls:") { // crypto/tls has no type for it
		return misconfigured("tls: the server refuses the connection: it may want another certificate of ours (%s)", text)
	}
	if text == context.DeadlineExceeded.Error() {
		return errors.New("no answer in time")
	}
	// What follows may also be a server that is about to start or to end.
	if o.TLS == nil && errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("%s; it may speak TLS only, then set tls", text)
	}
	if strings.Contains(text, handshakeFailed) && errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s; it may not speak TLS at this port", text)
	}
	return errors.New(text)
}

// ownAddress is our side of a connection, in an error of package net.
var ownAddress = regexp.MustCompile(`\btcp \S+->`)

// oneLine returns the text of an error without line breaks, and without what differs from one
// connection to the next.
func oneLine(err error) string {
	return ownAddress.ReplaceAllString(strings.Join(strings.Fields(err.Error()), " "), "tcp ")
}
