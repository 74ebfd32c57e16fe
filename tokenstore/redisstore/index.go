package redisstore

import (
	"cmp"
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

// A server is busy with the indexes of one call for a few milliseconds at most, however large they are:
// it looks at so many leaves of so many indexes before it goes on with other requests.
const (
	leavesAtOnce  = 256
	indexesAtOnce = 8
)

// sizes returns how many keys some indexes have together. What changes meanwhile may be counted or not.
func (s *Store) sizes(ctx context.Context, indexes []lookAt) (int, error) {
	total := 0
	after := make([]string, len(indexes))
	for len(indexes) > 0 {
		n := min(len(indexes), indexesAtOnce)
		args := make([][]string, n)
		for i := range args {
			args[i] = []string{after[i], integer(leavesAtOnce)}
		}
		answers, err := s.ask(ctx, countScript, indexes[:n], args)
		if err != nil {
			return 0, err
		}
		var unfinished []lookAt
		var ends []string
		for i, answer := range answers {
			parts, err := answer.ToArray()
			if err != nil || len(parts) != 2 {
				return 0, unexpected("count.lua", err)
			}
			keys, err1 := parts[0].AsInt64()
			end, err2 := parts[1].ToString()
			if err := cmp.Or(err1, err2); err != nil {
				return 0, unexpected("count.lua", err)
			}
			total += int(keys)
			if end != "" {
				unfinished, ends = append(unfinished, indexes[i]), append(ends, end)
			}
		}
		indexes, after = append(unfinished, indexes[n:]...), append(ends, after[n:]...)
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
