package redisstore

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/rueidis"
)

// closing is a client that closes its connections to a server that does not answer: it neither gives
// a connection nor takes one back until that is done.
type closing struct {
	rueidis.Client
	gives bool
	done  chan struct{}
}

func (c *closing) Dedicated(do func(rueidis.DedicatedClient) error) error {
	if !c.gives {
		<-c.done
	}
	err := do(nil)
	<-c.done
	return err
}

// TestNoCallWaitsForConnectionsThatAreClosed: after a failover, calls end with their timeout though
// connections to the former master are still being closed.
func TestNoCallWaitsForConnectionsThatAreClosed(t *testing.T) {
	t.Parallel()
	failure := errors.New("failure")
	for name, c := range map[string]struct {
		gives bool
		fails error
		want  error
	}{
		"the answer is there, and the connection is not taken back": {true, nil, nil},
		"the call failed, and the connection is not taken back":     {true, failure, failure},
		"there is no connection":                                    {false, nil, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := &closing{gives: c.gives, done: make(chan struct{})}
			defer close(client.done)
			patience := time.Minute
			if errors.Is(c.want, context.DeadlineExceeded) {
				patience = 10 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			answer, err := dedicated(ctx, client, func(rueidis.DedicatedClient) (string, error) { return "answer", c.fails })
			if !errors.Is(err, c.want) || err == nil && answer != "answer" {
				t.Errorf("got %q, %v; want %v", answer, err, c.want)
			}
		})
	}
}
