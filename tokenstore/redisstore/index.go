package redisstore

import (
	"context"
	_ "embed"

	"github.com/redis/rueidis"
)

// The indexes of access tokens, of all and by consumer, are the greater part of a large store. They
// are kept as scripts/index.lua says, and only the scripts know how.

var (
	//go:embed scripts/index.lua
	indexSource string
	//go:embed scripts/range.lua
	rangeSource string
	//go:embed scripts/count.lua
	countSource string

	rangeScript = newScript(indexSource + rangeSource)
	countScript = newScript(indexSource + countSource)
)

// indexed reports whether a kind of index is kept as scripts/index.lua says.
func indexed(kind string) bool { return kind == kindTokens || kind == kindTokensOfConsumer }

// index adds a key to an index of access tokens, which is no member yet or one already.
func (w *write) index(s *Store, index, key string) {
	w.do("INDEX", index, s.leaves[w.slice], key)
}

// unindex removes keys from an index.
func (w *write) unindex(s *Store, index string, keys ...string) {
	w.do("UNINDEX", index, append([]string{s.leaves[w.slice]}, keys...)...)
}

// A lookAt is an index of a slice.
type lookAt struct {
	slice slice
	index string
}

// ranges reads n keys after a given one from each of some indexes, all at once. Every sorted set
// whose scores are 0 is such an index.
func (s *Store) ranges(ctx context.Context, indexes []lookAt, after []string, n int) ([][]string, error) {
	args := make([][]string, len(indexes))
	for i := range indexes {
		args[i] = []string{after[i], integer(int64(n))}
	}
	answers, err := s.ask(ctx, rangeScript, indexes, args)
	if err != nil {
		return nil, err
	}
	found := make([][]string, len(indexes))
	for i, answer := range answers {
		if found[i], err = answer.AsStrSlice(); err != nil {
			return nil, unexpected("range.lua", err)
		}
	}
	return found, nil
}

// rangeOf is ranges for one index.
func (s *Store) rangeOf(ctx context.Context, index lookAt, after string, n int) ([]string, error) {
	found, err := s.ranges(ctx, []lookAt{index}, []string{after}, n)
	if err != nil {
		return nil, err
	}
	return found[0], nil
}

// sizes returns how many keys some indexes have together.
func (s *Store) sizes(ctx context.Context, indexes []lookAt) (int, error) {
	answers, err := s.ask(ctx, countScript, indexes, make([][]string, len(indexes)))
	if err != nil {
		return 0, err
	}
	total := 0
	for _, answer := range answers {
		n, err := answer.AsInt64()
		if err != nil {
			return 0, unexpected("count.lua", err)
		}
		total += int(n)
	}
	return total, nil
}

// ask runs a script that only reads for each of some indexes.
func (s *Store) ask(ctx context.Context, sc *script, indexes []lookAt, args [][]string) ([]rueidis.RedisMessage, error) {
	c, err := s.link.client()
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, s.timeout())
	defer cancel()
	keys := func(i int) []string { return []string{indexes[i].index, s.leaves[indexes[i].slice]} }
	commands := make([]rueidis.Completed, len(indexes))
	for i := range indexes {
		commands[i] = sc.command(c.B(), true, keys(i), args[i])
	}
	answers := make([]rueidis.RedisMessage, len(indexes))
	for i, result := range c.DoMulti(limited, commands...) {
		if answers[i], err = result.ToMessage(); err == nil {
			continue
		}
		if _, answered := rueidis.IsRedisErr(err); !answered {
			return nil, s.explain(limited, err)
		}
		// The server does not have the script, or can't answer yet.
		if answers[i], err = s.run(ctx, sc, keys(i), args[i]); err != nil {
			return nil, err
		}
	}
	return answers, nil
}
