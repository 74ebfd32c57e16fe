package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// TestEveryCallOfTheStoreIsMeasured: a method that is added to the interface has to be added to
// meteredStore, or to this list.
func TestEveryCallOfTheStoreIsMeasured(t *testing.T) {
	var passed []string
	for method := range reflect.TypeFor[tokenstore.Store]().Methods() {
		own, ok := reflect.TypeFor[*meteredStore]().MethodByName(method.Name)
		if !ok {
			t.Fatal(method.Name)
		}
		// The compiler generates the methods of embedded fields.
		file, _ := runtime.FuncForPC(own.Func.Pointer()).FileLine(own.Func.Pointer())
		if filepath.Base(file) != "storemeter.go" {
			passed = append(passed, method.Name)
		}
	}
	if want := []string{
		// Of the admin API.
		"Consumers", "CountAccessTokens", "CreateAccessToken", "CreateConsumer", "DeleteConsumer", "LastUsed", "UpdateConsumer",
		// Of the app.
		"Close", "Secret", "SetLimits",
	}; !slices.Equal(passed, slices.Sorted(slices.Values(want))) {
		t.Errorf("%q are not measured, want %q", passed, want)
	}
}

// TestStoreErrors: an answer of the store is no error of it, and neither is a client that has gone.
func TestStoreErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		want float64
	}{
		{nil, 0},
		{tokenstore.ErrNonceUsed, 0},
		{tokenstore.ErrTokenNoncesFull, 0},
		{fmt.Errorf("token: %w", tokenstore.ErrNotFound), 0},
		{tokenstore.ErrClosed, 0},
		{context.Canceled, 0},
		{errors.New("connection refused"), 1},
		{context.DeadlineExceeded, 1},
		{&tokenstore.LaterError{Err: errors.New("a new epoch")}, 1},
	} {
		store := metered(&failingNonces{err: c.err})
		before := errorsOf("use_nonce")
		if err := store.UseNonce(t.Context(), tokenstore.Nonce{}); !errors.Is(err, c.err) {
			t.Errorf("%v became %v", c.err, err)
		}
		if more := errorsOf("use_nonce") - before; more != c.want {
			t.Errorf("%v: counted %v, want %v", c.err, more, c.want)
		}
	}
}

// TestMeteredStoreKeepsTheFinder: a store that finds both records in one step is still asked once.
func TestMeteredStoreKeepsTheFinder(t *testing.T) {
	s := newTestSite(t, "", "")
	plain, err := s.app.openMetered(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := plain.(tokenstore.CredentialFinder); ok {
		t.Error("the default store has become a CredentialFinder")
	}
	if _, ok := metered(&finder{}).(tokenstore.CredentialFinder); !ok {
		t.Error("a CredentialFinder has lost its method")
	}
}

type finder struct{ tokenstore.Store }

func (*finder) Credentials(context.Context, string, string) (*tokenstore.Consumer, *tokenstore.AccessToken, error) {
	return nil, nil, nil
}

// errorsOf returns how many errors of an operation are counted.
func errorsOf(op string) (n float64) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(storeErrors)
	families, err := registry.Gather()
	if err != nil {
		panic(err)
	}
	for _, m := range families[0].GetMetric() {
		if m.GetLabel()[0].GetValue() == op {
			n = m.GetCounter().GetValue()
		}
	}
	return n
}
