package faults

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// A life is that of one token: requested, reviewed, exchanged at all sidecars at the same time,
// used, revoked. Or it is that of a consumer and its token: both added through the admin API, used,
// and the consumer disabled, rotated or deleted. Its times are nanoseconds since the start of the
// trial.
type life struct {
	name       string // of the user or consumer
	access     oauth1.Signer
	begin, end int64
	revoked    int64 // when it was acknowledged that the token may do nothing any more

	mu        sync.Mutex
	exchanges []op
	uses      []op
	broken    string // what must not happen unless the store lost data
}

func (l *life) exchanged(o op) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.exchanges = append(l.exchanges, o)
}

// answerLost reports whether an exchange may have succeeded whose answer did not come: its sidecar was
// killed or cut off before it could send it. The request token is used then for all others.
func (l *life) answerLost() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.exchanges, func(o op) bool {
		return o.outcome == lost && !strings.Contains(o.note, "dial tcp") // it was sent
	})
}

func (l *life) used(o op) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.uses = append(l.uses, o)
}

const (
	requestTokenPath = "/+request-token"
	accessTokenPath  = "/+access-token"
	retryInterval    = 300 * time.Millisecond
	usedTokenText    = "was used already"
)

// liveOn lives one life after the other.
func (x *trial) liveOn(prefix string, number int, live func(*life)) {
	for i := 0; x.pause(100 * time.Millisecond); i++ {
		l := &life{name: fmt.Sprintf("%s-%d-%d", prefix, number, i), begin: x.now()}
		live(l)
		l.end = x.now()
		x.mu.Lock()
		x.lives = append(x.lives, l)
		x.mu.Unlock()
	}
}

func (x *trial) liveToken(l *life) {
	request, ok := x.request(x.twoLegged(rand.IntN(consumerCount)))
	if ok && x.review(l, request) && x.exchange(l, request) {
		how := rand.IntN(3)
		x.useUntil(l, func(s *sidecar) error { return x.revoke(s, l, how) })
	}
}

// form asks an endpoint for a token, at one sidecar.
func (x *trial) form(sidecar int, path string, signer oauth1.Signer) (oauth1.Signer, answer) {
	a := x.sidecars[sidecar].do("POST", path, sign(x.t, &signer, "POST", path))
	if a.outcome == accepted {
		values, err := url.ParseQuery(a.text)
		if err != nil {
			x.t.Errorf("%s: %v", path, err)
		}
		signer.Token, signer.TokenSecret = values.Get("oauth_token"), values.Get("oauth_token_secret")
	}
	return signer, a
}

// request gets a request token. It tries again until it has one.
func (x *trial) request(signer oauth1.Signer) (oauth1.Signer, bool) {
	for {
		token, a := x.form(x.some(1)[0], requestTokenPath, signer)
		if a.outcome == accepted {
			return token, true
		}
		if a.outcome != later && a.outcome != lost {
			x.t.Errorf("request token: %d %s", a.status, a.text)
		}
		if !x.pause(retryInterval) {
			return token, false
		}
	}
}

func (x *trial) review(l *life, request oauth1.Signer) bool {
	body := adminapi.Review{Grant: adminapi.Grant{User: l.name, Permission: "READ_PUBLIC"}}
	path := adminapi.ResourcePath(adminapi.RequestTokensPath, request.Token, adminapi.ActionReview)
	for {
		err := x.sidecars[x.some(1)[0]].call(http.MethodPost, path, body, nil)
		switch code := status(err); {
		case err == nil:
			return true
		case code == http.StatusNotFound:
			l.broken = "the request token was gone before its review"
			return false
		case code != 0 && code < 500:
			x.t.Errorf("review: %d %v", code, err)
			return false
		case !x.pause(retryInterval):
			return false
		}
	}
}

// exchange exchanges a request token at all sidecars at the same time, until one of them gives the
// access token, and once more then.
func (x *trial) exchange(l *life, request oauth1.Signer) bool {
	for {
		round := make([]op, len(x.sidecars))
		var wg sync.WaitGroup
		for i := range x.sidecars {
			wg.Go(func() {
				call := x.now()
				token, a := x.form(i, accessTokenPath, request)
				o := op{sidecar: i, call: call, ret: x.now(), outcome: a.outcome, note: a.text}
				switch {
				case a.outcome == accepted:
					o.note = token.Token
					l.mu.Lock()
					l.access = token
					l.mu.Unlock()
				case strings.Contains(a.text, usedTokenText):
					o.outcome = used
				case a.outcome != later && a.outcome != lost:
					x.t.Errorf("exchange: %d %s", a.status, a.text)
				}
				round[i] = o
				l.exchanged(o)
			})
		}
		wg.Wait()
		if l.access.Token != "" {
			return true
		}
		if !slices.ContainsFunc(round, func(o op) bool { return o.outcome != used }) {
			if !l.answerLost() {
				l.broken = "the request token is used, and nobody has got the access token"
			}
			return false
		}
		if !x.pause(retryInterval) {
			return false
		}
	}
}

// useUntil uses a token at all sidecars, ends its right to be used, and goes on using it.
func (x *trial) useUntil(l *life, end func(*sidecar) error) {
	plain := l.access
	plain.SignatureMethod = "PLAINTEXT"
	x.pause(time.Second) // until every replica must know it
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range x.sidecars {
		wg.Go(func() {
			for n := 0; ; n++ {
				signer := l.access
				if n%3 == 2 { // without a nonce, so that only the cache's age counts
					signer = plain
				}
				l.used(x.send(x.newSigned(signer, 0), i))
				select {
				case <-stop:
					return
				case <-time.After(200 * time.Millisecond):
				}
			}
		})
	}
	defer wg.Wait()
	defer close(stop)
	if !x.pause(500*time.Millisecond + rand.N(4*time.Second)) {
		return
	}
	for l.revoked == 0 {
		call := x.now()
		err := end(x.sidecars[x.some(1)[0]])
		o := op{call: call, ret: x.now(), outcome: accepted, note: revokeNote}
		switch code := status(err); {
		case err == nil, code == http.StatusNotFound: // an earlier try may have done it
			l.revoked = o.ret
		case code != 0 && code < 500:
			x.t.Errorf("end of %s: %d %v", l.name, code, err)
			return
		default:
			o.outcome = later
		}
		l.used(o)
		if l.revoked == 0 && !x.pause(retryInterval) {
			return
		}
	}
	x.pause(4 * time.Second)
}

// revoke revokes a token in one of the ways that there are.
func (x *trial) revoke(s *sidecar, l *life, how int) error {
	body := adminapi.Revocation{User: &l.name}
	switch how {
	case 0:
		path := adminapi.ResourcePath(adminapi.TokensPath, l.access.Token, "")
		return s.call(http.MethodDelete, path, nil, nil)
	case 1:
		body.Consumer = &l.access.ConsumerKey
	}
	return s.call(http.MethodPost, adminapi.RevokePath, body, nil)
}

// useRevoked uses every revoked token once more, at the end.
func (x *trial) useRevoked() {
	for _, l := range x.lives {
		if l.revoked != 0 {
			l.used(x.send(x.newSigned(l.access, 0), x.some(1)[0]))
		}
	}
}

// checkLives returns the histories of tokens that broke a promise. A token that lived while data
// were lost has one promise left: there was one access token.
func (x *trial) checkLives() (wrong []string) {
	var got, revoked, spared, again int
	for _, l := range x.lives {
		var why []string
		if !linearizable(exchangeModel, l.exchanges) {
			why = append(why, "two access tokens")
		}
		times := 0
		for _, o := range l.exchanges {
			if o.outcome == accepted {
				times++
			}
		}
		got += min(times, 1)
		again += max(times-1, 0)
		if x.lostData(l.begin, l.end) {
			spared++
		} else {
			if l.broken != "" {
				why = append(why, l.broken)
			}
			if !linearizable(revocationModel, stale(l.relevant())) {
				why = append(why, "revoked and alive, or lost")
			}
			if l.revoked != 0 {
				revoked++
			}
		}
		if len(why) > 0 {
			wrong = append(wrong, x.describe(l, strings.Join(why, "; ")))
		}
	}
	x.t.Logf("tokens: %d, of which %d exchanged (%d answered more than once), %d revoked, %d of a time of lost data; %d wrong",
		len(x.lives), got, again, revoked, spared, len(wrong))
	return wrong
}

// relevant are the uses without the answers that an unacknowledged revocation explains.
func (l *life) relevant() (ops []op) {
	tried := int64(never)
	for _, o := range l.uses {
		if o.note == revokeNote {
			tried = min(tried, o.call)
		}
	}
	for _, o := range l.uses {
		if o.outcome != gone || o.ret < tried {
			ops = append(ops, o)
		}
	}
	return ops
}

func (x *trial) describe(l *life, why string) string {
	text := fmt.Sprintf("%s, token %s: %s", l.name, l.access.Token, why)
	for _, o := range l.exchanges {
		text += "\n\texchange " + o.String() + x.during(o)
	}
	for _, o := range l.uses {
		text += "\n\tuse " + o.String() + x.during(o)
	}
	return text
}
