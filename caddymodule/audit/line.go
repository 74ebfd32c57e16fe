package audit

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap/zapcore"
)

// A Line is an event as the trail has it. Its fields are in the order in which they are written and
// hashed. Absent fields are empty.
type Line struct {
	Version int    `json:"v"`
	Chain   string `json:"chain"`
	Seq     uint64 `json:"seq"`
	Time    string `json:"time"`
	Event   string `json:"event"`
	Outcome string `json:"outcome"`
	Reason  string `json:"reason,omitempty"`
	// Begun is the seq of the line that announced a change, in a strict trail.
	Begun        uint64   `json:"begun,omitempty"`
	Actor        string   `json:"actor,omitempty"`
	ActorSource  string   `json:"actor_source,omitempty"`
	Client       string   `json:"client,omitempty"`
	Site         string   `json:"site,omitempty"`
	Consumer     string   `json:"consumer,omitempty"`
	User         string   `json:"user,omitempty"`
	Token        string   `json:"token,omitempty"`
	RequestToken string   `json:"request_token,omitempty"`
	Permission   string   `json:"permission,omitempty"`
	Context      string   `json:"context,omitempty"`
	Expires      string   `json:"expires,omitempty"`
	Count        int      `json:"count,omitempty"`
	Changes      []Change `json:"changes,omitempty"`
	Trace        string   `json:"trace_id,omitempty"`
	// Prev is the hash of the line before in the chain. In the first line of a chain, it is the hash
	// of the last line that the process before it had told the store.
	Prev string `json:"prev,omitempty"`
	Hash string `json:"hash"`
}

// newLine returns the line of an event, as far as the event tells.
func newLine(e *Event, at time.Time) *Line {
	l := &Line{
		Version:      Schema,
		Time:         Time(at),
		Event:        string(e.Name),
		Outcome:      string(e.Outcome),
		Reason:       e.Reason,
		Actor:        e.Actor,
		ActorSource:  e.ActorSource,
		Client:       e.Client,
		Site:         e.Site,
		Consumer:     e.Consumer,
		User:         e.User,
		Token:        e.Token,
		RequestToken: e.RequestToken,
		Permission:   e.Permission,
		Context:      e.Context,
		Expires:      Time(e.Expires),
		Count:        e.Count,
		Trace:        e.Trace,
	}
	if l.Outcome == "" {
		l.Outcome = string(Done)
	}
	if e.begun != nil {
		l.Begun = e.begun.seq
	}
	for _, text := range l.texts() {
		*text = readable(*text)
	}
	for _, c := range e.Changes {
		l.Changes = append(l.Changes, Change{readable(c.Field), readable(c.From), readable(c.To)})
	}
	return l
}

// texts are the fields that others than the trail write.
func (l *Line) texts() []*string {
	return []*string{
		&l.Event, &l.Outcome, &l.Reason, &l.Actor, &l.ActorSource, &l.Client, &l.Site, &l.Consumer,
		&l.User, &l.Token, &l.RequestToken, &l.Permission, &l.Context, &l.Expires, &l.Trace,
	}
}

// readable makes a text valid UTF-8, so that JSON gives back what was hashed, and not endless.
func readable(s string) string {
	const most = 4096
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// sum returns the hash of the line: HMAC-SHA256 over its fields except the hash, each with its
// length before it.
func (l *Line) sum(key []byte) string {
	mac := hmac.New(sha256.New, key)
	write := func(s string) {
		mac.Write(binary.BigEndian.AppendUint32(nil, uint32(len(s))))
		mac.Write([]byte(s))
	}
	number := func(n uint64) { write(strconv.FormatUint(n, 10)) }
	write(strconv.Itoa(l.Version))
	write(l.Chain)
	number(l.Seq)
	for _, s := range []string{l.Time, l.Event, l.Outcome, l.Reason} {
		write(s)
	}
	number(l.Begun)
	for _, s := range []string{
		l.Actor, l.ActorSource, l.Client, l.Site, l.Consumer, l.User, l.Token, l.RequestToken,
		l.Permission, l.Context, l.Expires,
	} {
		write(s)
	}
	write(strconv.Itoa(l.Count))
	number(uint64(len(l.Changes)))
	for _, c := range l.Changes {
		write(c.Field)
		write(c.From)
		write(c.To)
	}
	write(l.Trace)
	write(l.Prev)
	return hex.EncodeToString(mac.Sum(nil))
}

// JSON returns the line as JSON, with a line end.
func (l *Line) JSON() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(l); err != nil {
		return nil, fmt.Errorf("encode an audit line: %w", err)
	}
	return b.Bytes(), nil
}

// MarshalLogObject adds the fields of the line to a log entry.
func (l *Line) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddInt("v", l.Version)
	enc.AddString("chain", l.Chain)
	enc.AddUint64("seq", l.Seq)
	text := func(name, value string) {
		if value != "" {
			enc.AddString(name, value)
		}
	}
	text("time", l.Time)
	text("event", l.Event)
	text("outcome", l.Outcome)
	text("reason", l.Reason)
	if l.Begun != 0 {
		enc.AddUint64("begun", l.Begun)
	}
	text("actor", l.Actor)
	text("actor_source", l.ActorSource)
	text("client", l.Client)
	text("site", l.Site)
	text("consumer", l.Consumer)
	text("user", l.User)
	text("token", l.Token)
	text("request_token", l.RequestToken)
	text("permission", l.Permission)
	text("context", l.Context)
	text("expires", l.Expires)
	if l.Count != 0 {
		enc.AddInt("count", l.Count)
	}
	if len(l.Changes) > 0 {
		if err := enc.AddArray("changes", changes(l.Changes)); err != nil {
			return err
		}
	}
	text("trace_id", l.Trace)
	text("prev", l.Prev)
	text("hash", l.Hash)
	return nil
}

type changes []Change

// MarshalLogArray adds the changes to an array.
func (c changes) MarshalLogArray(enc zapcore.ArrayEncoder) error {
	for _, change := range c {
		if err := enc.AppendObject(change); err != nil {
			return err
		}
	}
	return nil
}

// MarshalLogObject adds the fields of the change.
func (c Change) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddString("field", c.Field)
	if c.From != "" {
		enc.AddString("from", c.From)
	}
	if c.To != "" {
		enc.AddString("to", c.To)
	}
	return nil
}

// parseLine reads a line of a log. It returns nil for a line that is none of a trail. The line may
// have more before its JSON, as Caddy's console format has, and more fields in it.
func parseLine(text []byte) *Line {
	start := bytes.IndexByte(text, '{')
	if start < 0 {
		return nil
	}
	var l Line
	if json.Unmarshal(text[start:], &l) != nil || l.Version == 0 || l.Chain == "" || l.Hash == "" {
		return nil
	}
	return &l
}
