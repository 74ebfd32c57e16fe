package redisstore

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore/redislab"
)

// TestNoAnswer: the error of a server that does not answer names it, in one line.
func TestNoAnswer(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(testing.TB, redislab.Options) *redislab.Lab{
		"one server": redislab.Single, "Cluster": redislab.Cluster,
	} {
		t.Run(name, func(t *testing.T) {
			lab := start(t, redislab.Options{NodeTimeout: time.Minute})
			o := optionsFor(lab)
			l := connectTo(t, o, nil)
			silent := lab.Nodes[0]
			silent.Stop(t)
			defer silent.Continue(t)
			err := l.check(t.Context())
			if err == nil || !strings.Contains(err.Error(), silent.Address()) || !strings.Contains(err.Error(), "no answer") {
				t.Errorf("a frozen server: %v", err)
			}
		})
	}
}

// TestErrorsAreOneLine: what fails in all slices is said once.
func TestErrorsAreOneLine(t *testing.T) {
	t.Parallel()
	lab := redislab.Single(t, redislab.Options{})
	s := openTest(t, quickOptions(lab, 0))
	awaitReady(t, s)
	lab.Nodes[0].Kill()
	used := make(map[string]time.Time)
	for i := range 100 {
		used["token"+strconv.Itoa(i)] = time.Now()
	}
	user := tokenstore.Filter{User: "u"}
	for name, call := range map[string]func() error{
		"count":  func() error { _, err := s.CountAccessTokens(t.Context(), user); return err },
		"both":   func() error { _, err := s.Revoke(t.Context(), tokenstore.Filter{User: "u", Consumer: "c"}); return err },
		"revoke": func() error { _, err := s.Revoke(t.Context(), user); return err },
		"touch":  func() error { return s.Touch(t.Context(), used) },
		"stats":  func() error { _, err := s.Stats(t.Context()); return err },
	} {
		if err := call(); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
