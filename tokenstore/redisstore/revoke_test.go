package redisstore

import (
	"strconv"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore/redislab"
)

// TestRevocationMakesRoomAtOnce: revoked request tokens don't count, also while they are not
// removed.
func TestRevocationMakesRoomAtOnce(t *testing.T) {
	t.Parallel()
	s := openTest(t, testOptions(redislab.Single(t, redislab.Options{}), 0))
	s.patience = 0
	awaitReady(t, s)
	const limit = 100
	s.SetLimits(tokenstore.Limits{RequestTokensOfConsumer: limit})
	for round := range 6 {
		for i := range limit {
			token := &tokenstore.RequestToken{Key: strconv.Itoa(round) + "." + strconv.Itoa(i), Consumer: "k",
				Created: time.Now(), Expires: time.Now().Add(time.Hour)}
			if err := s.CreateRequestToken(t.Context(), token); err != nil {
				t.Fatalf("token %d after %d revocations: %v", i, round, err)
			}
		}
		if _, err := s.Revoke(t.Context(), tokenstore.Filter{Consumer: "k"}); err != nil {
			t.Fatal(err)
		}
	}
}
