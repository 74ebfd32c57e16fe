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
		"a token is reviewed once":                 {RequestToken{Expires: now.Add(1), Review: &review}, ErrAlreadyReviewed},
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

func TestExchange(t *testing.T) {
	granted := &Review{User: "alice", Permission: "READ_PUBLIC", Context: "c", Expires: now.Add(time.Hour)}
	verified := &Review{User: "alice", Permission: "READ_PUBLIC", Verifier: "right"}
	later := now.Add(time.Minute)
	for name, c := range map[string]struct {
		token    RequestToken
		verifier string
		want     error
	}{
		"a granted token is exchanged":                     {RequestToken{Review: granted, Expires: later}, "", nil},
		"Launchpad's flow has no verifier":                 {RequestToken{Review: granted, Expires: later}, "whatever", nil},
		"OAuth Core 1.0a 6.3.1: with the right verifier":   {RequestToken{Callback: "oob", Review: verified, Expires: later}, "right", nil},
		"OAuth Core 1.0a 6.3.1: not with a wrong one":      {RequestToken{Callback: "oob", Review: verified, Expires: later}, "wrong", ErrVerifier},
		"OAuth Core 1.0a 6.3.1: nor without one":           {RequestToken{Callback: "oob", Review: verified, Expires: later}, "", ErrVerifier},
		"a callback named at the page: with its verifier":  {RequestToken{Review: verified, Expires: later}, "right", nil},
		"a callback named at the page: not without it":     {RequestToken{Review: verified, Expires: later}, "", ErrVerifier},
		"a token that waits is not reviewed":               {RequestToken{Expires: later}, "", ErrNotReviewed},
		"a token that waited too long is not reviewed":     {RequestToken{Expires: now}, "", ErrNotReviewed},
		"a refused token is refused":                       {RequestToken{Review: &Review{Permission: Unauthorized}, Expires: later}, "", ErrRefused},
		"refused comes before expired":                     {RequestToken{Review: &Review{Permission: Unauthorized}, Expires: now}, "", ErrRefused},
		"refused comes before a wrong verifier":            {RequestToken{Callback: "oob", Review: &Review{Permission: Unauthorized}, Expires: later}, "", ErrRefused},
		"at its end it is expired":                         {RequestToken{Review: granted, Expires: now}, "", ErrExpired},
		"expired comes before a wrong verifier":            {RequestToken{Callback: "oob", Review: verified, Expires: now}, "wrong", ErrExpired},
		"a verifier is not matched by what it begins with": {RequestToken{Callback: "oob", Review: verified, Expires: later}, "righ", ErrVerifier},
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
