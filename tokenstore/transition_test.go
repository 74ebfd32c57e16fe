package tokenstore

import (
	"errors"
	"reflect"
	"testing"
	"time"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func TestWithReview(t *testing.T) {
	review := Review{User: "alice", Permission: "READ_PUBLIC", Time: now}
	for name, c := range map[string]struct {
		token RequestToken
		want  error
	}{
		"a waiting token is reviewed":              {RequestToken{Expires: now.Add(1)}, nil},
		"at its end it is expired":                 {RequestToken{Expires: now}, ErrExpired},
		"a token is reviewed once":                 {RequestToken{Expires: now.Add(1), Review: &Review{User: "bob", Permission: "READ_PUBLIC"}}, ErrAlreadyReviewed},
		"reviewed comes before expired":            {RequestToken{Expires: now, Review: &review}, ErrAlreadyReviewed},
		"a refusal is a review":                    {RequestToken{Expires: now.Add(1), Review: &Review{Permission: Unauthorized}}, ErrAlreadyReviewed},
		"a token without an end is one that ended": {RequestToken{}, ErrExpired},
	} {
		t.Run(name, func(t *testing.T) {
			before := c.token
			got, err := c.token.WithReview(review, now)
			if !errors.Is(err, c.want) {
				t.Fatalf("got error %v, want %v", err, c.want)
			}
			if !reflect.DeepEqual(c.token, before) {
				t.Error("the token was written to")
			}
			if err == nil && (*got.Review != review || !got.Expires.Equal(before.Expires)) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// The same answer of the same user leaves the token unchanged. Every other answer is refused.
func TestWithReviewAgain(t *testing.T) {
	first := Review{User: "alice", Permission: "READ_PUBLIC", Context: "c", Verifier: "first", Time: now,
		Expires: now.Add(time.Hour)}
	later := now.Add(20 * time.Millisecond)
	answer := func(change func(*Review)) Review {
		r := first
		r.Verifier, r.Time, r.Expires = "second", later, later.Add(time.Hour)
		change(&r)
		return r
	}
	for name, c := range map[string]struct {
		first  Review
		second Review
		want   error
	}{
		"the same, a moment later":           {first, answer(func(*Review) {}), nil},
		"the same refusal":                   {Review{User: "alice", Permission: Unauthorized, Time: now}, Review{User: "alice", Permission: Unauthorized, Time: later}, nil},
		"for ever, both times":               {Review{User: "alice", Permission: "P", Time: now}, Review{User: "alice", Permission: "P", Time: later}, nil},
		"another user":                       {first, answer(func(r *Review) { r.User = "bob" }), ErrAlreadyReviewed},
		"another level":                      {first, answer(func(r *Review) { r.Permission = "WRITE_PUBLIC" }), ErrAlreadyReviewed},
		"a refusal after a grant":            {first, answer(func(r *Review) { r.Permission = Unauthorized }), ErrAlreadyReviewed},
		"another context":                    {first, answer(func(r *Review) { r.Context = "d" }), ErrAlreadyReviewed},
		"another lifetime":                   {first, answer(func(r *Review) { r.Expires = later.Add(2 * time.Hour) }), ErrAlreadyReviewed},
		"for ever, after a while":            {first, answer(func(r *Review) { r.Expires = time.Time{} }), ErrAlreadyReviewed},
		"an end at once is not for ever":     {Review{User: "a", Time: now, Expires: now}, Review{User: "a", Time: now}, ErrAlreadyReviewed},
		"for a while, where it was for ever": {answer(func(r *Review) { r.Expires = time.Time{} }), first, ErrAlreadyReviewed},
	} {
		t.Run(name, func(t *testing.T) {
			token := &RequestToken{Key: "k", Expires: now.Add(time.Hour), Review: &c.first}
			got, err := token.WithReview(c.second, later)
			if !errors.Is(err, c.want) {
				t.Fatalf("got error %v, want %v", err, c.want)
			}
			if err == nil && (got != token || got.Review.Verifier != c.first.Verifier) {
				t.Errorf("got %+v, want the token as it was", got)
			}
			if _, err := token.WithReview(c.second, token.Expires); !errors.Is(err, ErrAlreadyReviewed) {
				t.Errorf("when it has expired: got error %v, want %v", err, ErrAlreadyReviewed)
			}
		})
	}
}

func TestExchange(t *testing.T) {
	granted := &Review{User: "alice", Permission: "READ_PUBLIC", Context: "c", Expires: now.Add(time.Hour)}
	verified := &Review{User: "alice", Permission: "READ_PUBLIC", Verifier: "right"}
	later := now.Add(time.Minute)
	for name, c := range map[string]struct {
		token    RequestToken
		verifier string
		want     error
	}{
		"a granted token is exchanged":                    {RequestToken{Review: granted, Expires: later}, "", nil},
		"Launchpad's flow has no verifier":                {RequestToken{Review: granted, Expires: later}, "whatever", nil},
		"OAuth Core 1.0a 6.3.1: with the right verifier":  {RequestToken{Callback: "oob", Review: verified, Expires: later}, "right", nil},
		"OAuth Core 1.0a 6.3.1: not with a wrong one":     {RequestToken{Callback: "oob", Review: verified, Expires: later}, "wrong", ErrVerifier},
		"OAuth Core 1.0a 6.3.1: nor without one":          {RequestToken{Callback: "oob", Review: verified, Expires: later}, "", ErrVerifier},
		"a callback named at the page: with its verifier": {RequestToken{Review: verified, Expires: later}, "right", nil},
		"a callback named at the page: not without it":    {RequestToken{Review: verified, Expires: later}, "", ErrVerifier},
		"a token that waits is not reviewed":              {RequestToken{Expires: later}, "", ErrNotReviewed},
		"a token that waited too long is not reviewed":    {RequestToken{Expires: now}, "", ErrNotReviewed},
		"a refused token is refused":                      {RequestToken{Review: &Review{Permission: Unauthorized}, Expires: later}, "", ErrRefused},
		"refused comes before expired":                    {RequestToken{Review: &Review{Permission: Unauthorized}, Expires: now}, "", ErrRefused},
		"refused comes before a wrong verifier":           {RequestToken{Callback: "oob", Review: &Review{Permission: Unauthorized}, Expires: later}, "", ErrRefused},
		"at its end it is expired":                        {RequestToken{Review: granted, Expires: now}, "", ErrExpired},
		"expired comes before a wrong verifier":           {RequestToken{Callback: "oob", Review: verified, Expires: now}, "wrong", ErrExpired},
		"a verifier is not matched by its beginning":      {RequestToken{Callback: "oob", Review: verified, Expires: later}, "righ", ErrVerifier},
	} {
		t.Run(name, func(t *testing.T) {
			c.token.Consumer = "k"
			got, err := c.token.Exchange(c.verifier, "key", "secret", now)
			if !errors.Is(err, c.want) {
				t.Fatalf("got error %v, want %v", err, c.want)
			}
			if err != nil {
				return
			}
			r := c.token.Review
			want := &AccessToken{Key: "key", Secret: "secret", Consumer: "k", User: r.User, Permission: r.Permission,
				Context: r.Context, Created: now, Expires: r.Expires}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestWithVerifierFailure(t *testing.T) {
	first := &RequestToken{Key: "k"}
	token := first
	for i := 1; i < MaxVerifierFailures; i++ {
		if token = token.WithVerifierFailure(); token == nil || token.VerifierFailures != i || token.Key != "k" {
			t.Fatalf("after %d: got %+v", i, token)
		}
	}
	if token.WithVerifierFailure() != nil {
		t.Errorf("failure %d does not end the token", MaxVerifierFailures)
	}
	if first.VerifierFailures != 0 {
		t.Error("the token was written to")
	}
}

func TestAccessTokenExpired(t *testing.T) {
	for name, c := range map[string]struct {
		expires time.Time
		want    bool
	}{
		"never":         {time.Time{}, false},
		"later":         {now.Add(1), false},
		"at this time":  {now, true},
		"in the past":   {now.Add(-1), true},
		"another zone":  {now.Add(1).In(time.FixedZone("", 3600)), false},
		"before 1970":   {time.Unix(-1, 0), true},
		"the year 9999": {time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := (&AccessToken{Expires: c.expires}).Expired(now); got != c.want {
				t.Errorf("got %t, want %t", got, c.want)
			}
		})
	}
}
