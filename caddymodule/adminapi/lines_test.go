package adminapi

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// TestLinesKeepEveryField: what the model has comes back from its line. A new field of the model
// fails here until it has its place.
func TestLinesKeepEveryField(t *testing.T) {
	t.Parallel()
	at := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	consumer := &tokenstore.Consumer{TwoLegged: &tokenstore.TwoLegged{User: "u", Permission: "p"}}
	token := new(tokenstore.AccessToken)
	for _, record := range []any{consumer, token} {
		fields := reflect.ValueOf(record).Elem()
		for n := range fields.NumField() {
			switch field := fields.Field(n); field.Interface().(type) {
			case string:
				field.SetString(fields.Type().Field(n).Name)
			case bool:
				field.SetBool(true)
			case []string:
				field.Set(reflect.ValueOf([]string{"a", "b"}))
			case time.Time:
				field.Set(reflect.ValueOf(at))
			case *tokenstore.TwoLegged:
			default:
				t.Fatalf("%s has a type that this test does not know", fields.Type().Field(n).Name)
			}
		}
	}
	consumer.RSAPublicKey = "" // beside a secret
	var consumerLine ConsumerLine
	var tokenLine TokenLine
	again(t, NewConsumerLine(consumer, true), &consumerLine)
	again(t, NewTokenLine(token, true), &tokenLine)
	if got, err := consumerLine.Consumer(); err != nil || !reflect.DeepEqual(got, consumer) {
		t.Errorf("%v\n got %+v\nwant %+v", err, got, consumer)
	}
	if got, err := tokenLine.Token(); err != nil || !reflect.DeepEqual(got, token) {
		t.Errorf("%v\n got %+v\nwant %+v", err, got, token)
	}
	for _, line := range []any{NewConsumerLine(consumer, false), NewTokenLine(token, false)} {
		if text, err := json.Marshal(line); err != nil || strings.Contains(string(text), "Secret") {
			t.Errorf("without secrets: %s, %v", text, err)
		}
	}
}

func again(t *testing.T, line, into any) {
	t.Helper()
	text, err := json.Marshal(line)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}

func TestIdentifyLine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ line, kind, key, failure string }{
		{`{"kind":"consumer","key":"a","secret":"canary"}`, "consumer", "a", ""},
		{` {"key":"b","kind":"access_token"} `, "access_token", "b", ""},
		{`{"kind":"consumer","key":"a"} {}`, "", "", "JSON object"},
		{`{"kind":"canary","key":"a"}`, "", "", "kind: must be"},
		{`{"key":"a"}`, "", "", "kind: is missing"},
		{`{"kind":"consumer"}`, "", "", "key: is missing or empty"},
		{`{"kind":"consumer","key":""}`, "", "", "key: is missing or empty"},
		{`{"kind":"consumer","key":7}`, "", "", "JSON object"},
		{`null`, "", "", "kind: is missing"},
		{``, "", "", "JSON object"},
		{"{\"kind\":\"consumer\",\"key\":\"\xff\"}", "", "", "UTF-8"},
		{`{"kind":"consumer","key":"` + strings.Repeat("a", MaxLine) + `"}`, "", "", "longer than"},
	} {
		kind, key, err := IdentifyLine([]byte(c.line))
		switch {
		case c.failure == "" && (err != nil || kind != c.kind || key != c.key),
			c.failure != "" && (err == nil || !strings.Contains(err.Error(), c.failure)):
			t.Errorf("%.60s: %q, %q, %v", c.line, kind, key, err)
		case err != nil && strings.Contains(err.Error(), "canary"):
			t.Errorf("%.60s: %v", c.line, err)
		}
	}
}

func FuzzLines(f *testing.F) {
	f.Add(`{"kind":"consumer","key":"a","secret":"s","expires":"2027-01-31"}`)
	f.Add(`{"kind":"access_token","key":"a","created":"2027-01-31T00:00:00.5+02:00"}`)
	f.Fuzz(func(t *testing.T, text string) {
		kind, key, err := IdentifyLine([]byte(text))
		if err != nil {
			return
		}
		var consumer ConsumerLine
		var token TokenLine
		switch {
		case kind == KindConsumer && json.Unmarshal([]byte(text), &consumer) == nil:
			if consumer.Key != key {
				t.Errorf("key %q and %q", key, consumer.Key)
			}
			if c, err := consumer.Consumer(); err == nil {
				line := NewConsumerLine(c, true)
				if next, err := line.Consumer(); err != nil || !next.Created.Equal(c.Created) {
					t.Errorf("%v: %+v", err, line)
				}
			}
		case kind == KindAccessToken && json.Unmarshal([]byte(text), &token) == nil:
			if k, err := token.Token(); err == nil {
				line := NewTokenLine(k, true)
				if next, err := line.Token(); err != nil || !next.Expires.Equal(k.Expires) {
					t.Errorf("%v: %+v", err, line)
				}
			}
		}
	})
}
