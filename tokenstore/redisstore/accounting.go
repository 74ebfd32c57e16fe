package redisstore

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
)

// The limits of request tokens and of self-registered consumers are counted in one hash slot of
// their own, so that one script can compare all of them. What is counted may be lost in a failover;
// then more is allowed for a while.
const (
	countAll      = "all" // request tokens, with the time when they are removed
	countSelf     = "self"
	countWaiting  = "waiting:"   // of a consumer, with the time when they wait no longer
	countStored   = "stored:"    // of a consumer, with the time when they are removed
	registered    = "registered" // self-registered consumers without an access token, with the time when they are forgotten
	registeredOld = "granted"    // those that have or had one, with the time when that is looked at
)

func (s *Store) account(rest string) string { return s.prefix + ":a{a}:" + rest }

// accounts returns the keys that may count what is a consumer's, that to write first.
func (s *Store) accounts(kind, consumer string) []string {
	keys := s.names("consumer", consumer)
	for i := range keys {
		keys[i] = s.account(kind + keys[i])
	}
	return keys
}

// forgetAfter is how long a self-registered consumer stays without an access token.
const forgetAfter = 24 * time.Hour

// A reservation is what reserve counts.
type reservation struct {
	request  *tokenstore.RequestToken // nil for none
	consumer string
	self     bool // the consumer registered itself
	register bool // it registers itself now
	dry      bool // only look whether there is room
	// unlimited counts it, whatever the limits.
	unlimited bool
}

// reserve counts a request token, a consumer, or both. ErrTooMany, ErrTooManyInAll,
// ErrTooManyConsumers.
func (s *Store) reserve(ctx context.Context, r reservation) error {
	limits, ofSelfRegistered, selfRegistered := *s.limits.Load(), tokenstore.MaxSelfRegisteredRequests, tokenstore.MaxSelfRegistered
	now := s.clock()
	var key, waits, removed string
	weight := 0
	if r.request != nil {
		key, weight = r.request.Key, weightOf(r.request)
		waits = milliseconds(r.request.Expires)
		removed = milliseconds(r.request.Expires.Add(tokenstore.RequestRetention))
	}
	self := r.self || r.register
	ofConsumer := limits.RequestTokensOfConsumer
	if self {
		ofConsumer = min(ofConsumer, tokenstore.MaxWaiting)
	}
	if r.unlimited {
		const none = math.MaxInt32
		limits.RequestTokens, ofConsumer, ofSelfRegistered, selfRegistered = none, none, none, none
	}
	answer, err := s.run(ctx, reserveScript, []string{
		s.account(countAll), s.accounts(countWaiting, r.consumer)[0], s.accounts(countStored, r.consumer)[0],
		s.account(countSelf), s.account(registered),
	}, []string{
		milliseconds(now), key, strconv.Itoa(weight), waits, removed,
		strconv.Itoa(limits.RequestTokens), strconv.Itoa(ofConsumer), strconv.Itoa(tokenstore.StoredForWaiting * ofConsumer),
		strconv.Itoa(ofSelfRegistered), flag(self), flag(r.register), r.consumer,
		milliseconds(now.Add(forgetAfter)), strconv.Itoa(selfRegistered), flag(r.dry),
	})
	if err != nil {
		return err
	}
	switch text, err := answer.ToString(); text {
	case "ok":
		return nil
	case "consumer":
		return tokenstore.ErrTooMany
	case "all":
		return tokenstore.ErrTooManyInAll
	case "consumers":
		return tokenstore.ErrTooManyConsumers
	default:
		return unexpected("reserve.lua", err)
	}
}

func flag(b bool) string {
	if b {
		return "1"
	}
	return ""
}

// weightOf returns as how many a request token counts.
func weightOf(t *tokenstore.RequestToken) int {
	return 1 + len(record.RequestToken.Encode(t))/tokenstore.RequestTokenSize
}

// members are the names under which a request token is counted.
func members(t *tokenstore.RequestToken) []string {
	bare := *t
	bare.Review, bare.VerifierFailures = nil, 0 // it was counted without
	names := make([]string, weightOf(&bare))
	for i := range names {
		names[i] = t.Key + "\x00" + strconv.Itoa(1+i)
	}
	return names
}

// waitsNoLonger counts a request token no longer among those that wait.
func (s *Store) waitsNoLonger(ctx context.Context, t *tokenstore.RequestToken) {
	s.count(ctx, func(b rueidis.Builder) (commands []rueidis.Completed) {
		for _, key := range s.accounts(countWaiting, t.Consumer) {
			commands = append(commands, b.Zrem().Key(key).Member(members(t)...).Build())
		}
		return commands
	})
}

// removed counts request tokens no longer.
func (s *Store) removed(ctx context.Context, tokens ...*tokenstore.RequestToken) {
	s.count(ctx, func(b rueidis.Builder) (commands []rueidis.Completed) {
		for _, t := range tokens {
			commands = append(commands, s.uncounting(b, t.Consumer, members(t))...)
		}
		return commands
	})
}

// counted returns the names under which request tokens of a consumer are counted.
func (s *Store) counted(ctx context.Context, consumer string) []string {
	c, err := s.link.client()
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, s.timeout())
		defer cancel()
		var names []string
		for _, key := range s.accounts(countStored, consumer) {
			var some []string
			some, err = c.Do(ctx, c.B().Zrange().Key(key).Min("0").Max("-1").Build()).AsStrSlice()
			if err != nil {
				break
			}
			names = append(names, some...)
		}
		if err == nil {
			return names
		}
	}
	s.complain("can't read how many request tokens a consumer has", err)
	return nil
}

// uncount counts the request tokens of a consumer no longer that have these names. After a
// revocation it leaves room for new ones at once, however long the removal takes.
func (s *Store) uncount(ctx context.Context, consumer string, names []string) {
	for some := range slices.Chunk(names, removedAtOnce) {
		s.count(ctx, func(b rueidis.Builder) []rueidis.Completed {
			return s.uncounting(b, consumer, some)
		})
	}
}

func (s *Store) uncounting(b rueidis.Builder, consumer string, names []string) (commands []rueidis.Completed) {
	keys := append(s.accounts(countWaiting, consumer), s.accounts(countStored, consumer)...)
	for _, key := range append(keys, s.account(countAll), s.account(countSelf)) {
		commands = append(commands, b.Zrem().Key(key).Member(names...).Build())
	}
	return commands
}

// granted notes that a consumer has an access token, which matters if it registered itself.
func (s *Store) granted(ctx context.Context, consumer string) {
	const script = "if redis.call('ZREM', KEYS[1], ARGV[1]) == 1 then redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1]) end return 1"
	s.count(ctx, func(b rueidis.Builder) []rueidis.Completed {
		return []rueidis.Completed{b.Eval().Script(script).Numkeys(2).
			Key(s.account(registered), s.account(registeredOld)).
			Arg(consumer, milliseconds(s.clock().Add(forgetAfter))).Build()}
	})
}

// ended notes that a consumer has lost an access token.
func (s *Store) ended(ctx context.Context, consumer string, when time.Time) {
	s.lookAtConsumer(ctx, consumer, when.Add(forgetAfter))
}

// lookAtConsumer sets when it is looked at whether a self-registered consumer has an access token.
func (s *Store) lookAtConsumer(ctx context.Context, consumer string, when time.Time) {
	s.count(ctx, func(b rueidis.Builder) []rueidis.Completed {
		return []rueidis.Completed{b.Zadd().Key(s.account(registeredOld)).Xx().
			ScoreMember().ScoreMember(float64(when.UnixMilli()), consumer).Build()}
	})
}

// forgetRegistration counts a consumer no longer among the self-registered ones.
func (s *Store) forgetRegistration(ctx context.Context, consumer string) {
	s.count(ctx, func(b rueidis.Builder) []rueidis.Completed {
		return []rueidis.Completed{
			b.Zrem().Key(s.account(registered)).Member(consumer).Build(),
			b.Zrem().Key(s.account(registeredOld)).Member(consumer).Build(),
		}
	})
}

// adopted counts a consumer and its request tokens no longer as self-registered.
func (s *Store) adopted(ctx context.Context, consumer string) {
	s.forgetRegistration(ctx, consumer)
	s.count(ctx, func(b rueidis.Builder) []rueidis.Completed {
		keys := append([]string{s.account(countSelf)}, s.accounts(countStored, consumer)...)
		return []rueidis.Completed{b.Zdiffstore().Destination(keys[0]).Numkeys(int64(len(keys))).Key(keys...).Build()}
	})
}

// abandoned counts a consumer and its request tokens as self-registered from now on.
func (s *Store) abandoned(ctx context.Context, consumer string) {
	keys := append([]string{s.account(countSelf)}, s.accounts(countStored, consumer)...)
	s.count(ctx, func(b rueidis.Builder) []rueidis.Completed {
		return []rueidis.Completed{
			b.Zadd().Key(s.account(registeredOld)).ScoreMember().
				ScoreMember(float64(s.clock().Add(forgetAfter).UnixMilli()), consumer).Build(),
			b.Zunionstore().Destination(keys[0]).Numkeys(int64(len(keys))).Key(keys...).AggregateMax().Build(),
		}
	})
}

// count changes what is counted. What fails here is mended by time: everything that is counted has
// an end.
func (s *Store) count(ctx context.Context, commands func(rueidis.Builder) []rueidis.Completed) {
	c, err := s.link.client()
	if err == nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.timeout())
		defer cancel()
		for _, answer := range c.DoMulti(ctx, commands(c.B())...) {
			err = cmp.Or(err, answer.Error())
		}
	}
	if err != nil {
		s.complain("can't count request tokens and self-registered consumers", err)
	}
}
