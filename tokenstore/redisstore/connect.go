package redisstore

import (
	"context"

	"github.com/redis/rueidis"
)

type link struct{ c rueidis.Client }

func connect(o Options, invalidated func(keys []string)) (*link, error) {
	c, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress:           o.Addresses,
		ConnWriteTimeout:      o.Timeout,
		DisableCache:          false,
		ClientTrackingOptions: []string{"BCAST", "PREFIX", o.Prefix + ":" + kindToken + "{", "PREFIX", o.Prefix + ":" + kindConsumer + "{"},
		OnInvalidations: func(messages []rueidis.RedisMessage) {
			if messages == nil {
				invalidated(nil)
				return
			}
			keys := make([]string, 0, len(messages))
			for i := range messages {
				if key, err := messages[i].ToString(); err == nil {
					keys = append(keys, key)
				}
			}
			invalidated(keys)
		},
	})
	if err != nil {
		return nil, err
	}
	return &link{c}, nil
}

func (l *link) client() (rueidis.Client, error) { return l.c, nil }
func (l *link) check(context.Context) error     { return nil }
func (l *link) close()                          { l.c.Close() }
