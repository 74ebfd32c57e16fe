//go:build unix

package redisstore

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore/redislab"
)

// BenchmarkUseNonceAllocations has one goroutine that uses nonces of one token: what a nonce
// allocates, without what calls share.
func BenchmarkUseNonceAllocations(b *testing.B) {
	s := openTest(b, benchOptions(redislab.Single(b, redislab.Options{}), 0))
	awaitReady(b, s)
	access := accessOf("c", "u", "token")
	ctx := context.Background()
	if err := s.CreateAccessToken(ctx, access); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		t, err := s.AccessToken(ctx, "token")
		if err != nil {
			b.Fatal(err)
		}
		now := time.Now().Unix()
		if err := s.UseNonce(ctx, tokenstore.Nonce{
			Consumer: "c", Token: "token", Value: strconv.Itoa(i), AccessToken: t,
			Timestamp: now, Expires: time.Unix(now+301, 0),
		}); err != nil {
			b.Fatal(err)
		}
	}
}
