package redisstore

import (
	"time"

	"go.uber.org/zap"
)

// skew is how far the clocks of servers may be apart that take over from one another.
const skew = time.Second

// Options are the settings of a store.
type Options struct {
	Addresses []string
	Prefix    string
	Replicas  int
	Timeout   time.Duration
	Lead      time.Duration
	MaxStale  time.Duration
	Logger    *zap.Logger

	clock    func() time.Time // for tests
	sabotage sabotage         // for tests
}

// sabotage takes out parts of the fence, to show that tests find out.
type sabotage struct {
	noFence bool // nonces are accepted whatever the epoch is
	noWait  bool // nothing waits for replicas
}
