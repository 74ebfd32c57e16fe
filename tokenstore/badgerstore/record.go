package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// A record is the version of its kind, its fields one after the other, and a CRC-32C of all before it. Strings begin
// with their length; a time is seconds since 1970 and nanoseconds.
//
// A field is added at the end, and needs no new version: a reader takes a field that is missing as zero, and passes over
// those that it does not know. When an older program changes such a record it writes it without the field. A field
// that must not be lost like that raises the version of its kind, so that older programs refuse the record.

// A kind is what a record is of.
type kind struct {
	name string
	// version is what is written. All from 1 to it can be read.
	version byte
}

var (
	kindConsumer     = kind{"consumer", 1}
	kindRequestToken = kind{"request token", 1}
	kindAccessToken  = kind{"access token", 1}
	kindLastUsed     = kind{"last use of an access token", 1}
	kindNonceState   = kind{"state of the nonce log", 1}
)

var (
	errDamaged = errors.New("damaged record")
	errVersion = errors.New("of a version that this program does not know")
	errEnded   = errors.New("the record has no more fields")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// unreadable reports whether the record is there, and of no use to this program.
func unreadable(err error) bool { return errors.Is(err, errVersion) || errors.Is(err, errDamaged) }

type encoder struct{ b []byte }

func newEncoder(k kind) *encoder { return &encoder{b: append(make([]byte, 0, 320), k.version)} }

func (e *encoder) int(n int64) { e.b = binary.AppendVarint(e.b, n) }

func (e *encoder) bool(v bool) {
	var n int64
	if v {
		n = 1
	}
	e.int(n)
}

func (e *encoder) string(s string) {
	e.int(int64(len(s)))
	e.b = append(e.b, s...)
}

func (e *encoder) strings(list []string) {
	e.int(int64(len(list)))
	for _, s := range list {
		e.string(s)
	}
}

func (e *encoder) time(t time.Time) {
	e.int(t.Unix())
	e.int(int64(t.Nanosecond()))
}

func (e *encoder) finish() []byte {
	return binary.BigEndian.AppendUint32(e.b, crc32.Checksum(e.b, castagnoli))
}

// A decoder reads what an encoder wrote. After its first error it returns zero values.
type decoder struct {
	s   string
	err error // errEnded is none yet
}

func newDecoder(k kind, b []byte) *decoder {
	if len(b) < 5 {
		return &decoder{err: errDamaged}
	}
	body, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return &decoder{err: errDamaged}
	}
	if v := body[0]; v == 0 || v > k.version {
		return &decoder{err: fmt.Errorf("a %s %w: version %d, and it knows 1 to %d: run the program that wrote it, or a newer one",
			k.name, errVersion, v, k.version)}
	}
	return &decoder{s: string(body[1:])} // the one copy; every field is a part of it
}

func (d *decoder) fail() {
	d.s = ""
	if d.err == nil || d.err == errEnded {
		d.err = errDamaged
	}
}

// ended reports whether the record has no more fields.
func (d *decoder) ended() bool {
	if d.s != "" {
		return false
	}
	if d.err == nil {
		d.err = errEnded
	}
	return true
}

// required says that a record has the fields up to here, or is damaged. Those after it were added later.
func (d *decoder) required() {
	if d.err == errEnded {
		d.fail()
	}
}

func (d *decoder) int() int64 {
	if d.ended() {
		return 0
	}
	var u uint64
	for i := 0; i < len(d.s) && i < binary.MaxVarintLen64; i++ {
		c := d.s[i]
		u |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			d.s = d.s[i+1:]
			return int64(u>>1) ^ -int64(u&1)
		}
	}
	d.fail()
	return 0
}

func (d *decoder) bool() bool { return d.int() != 0 }

func (d *decoder) string() string {
	n := d.int()
	if n < 0 || n > int64(len(d.s)) {
		d.fail()
		return ""
	}
	s := d.s[:n]
	d.s = d.s[n:]
	return s
}

func (d *decoder) strings() []string {
	n := d.int()
	if n < 0 || n > int64(len(d.s)) { // each has a byte at least
		d.fail()
		return nil
	}
	if n == 0 {
		return nil
	}
	list := make([]string, 0, n)
	for range n {
		list = append(list, d.string())
	}
	return list
}

func (d *decoder) time() time.Time {
	if d.ended() {
		return time.Time{}
	}
	sec, nsec := d.int(), d.int()
	if nsec < 0 || nsec >= 1e9 {
		d.fail()
		return time.Time{}
	}
	return time.Unix(sec, nsec).UTC()
}

// finish returns what was wrong. What is left are fields of a later program.
func (d *decoder) finish() error {
	if d.err == errEnded {
		return nil
	}
	return d.err
}

func encodeConsumer(c *tokenstore.Consumer) []byte {
	e := newEncoder(kindConsumer)
	e.string(c.Key)
	e.string(c.Name)
	e.string(c.Homepage)
	e.string(c.Secret)
	e.string(c.PreviousSecret)
	e.time(c.PreviousSecretExpires)
	e.string(c.RSAPublicKey)
	e.strings(c.SignatureMethods)
	e.strings(c.Callbacks)
	e.strings(c.Permissions)
	e.bool(c.TwoLegged != nil)
	if c.TwoLegged != nil {
		e.string(c.TwoLegged.User)
		e.string(c.TwoLegged.Permission)
	}
	e.bool(c.Disabled)
	e.bool(c.SelfRegistered)
	e.time(c.Created)
	e.time(c.Expires)
	e.bool(c.CallbacksIgnoreQuery)
	e.bool(c.DefaultCallback)
	e.string(c.Contact)
	return e.finish()
}

func decodeConsumer(b []byte) (*tokenstore.Consumer, error) {
	d := newDecoder(kindConsumer, b)
	c := &tokenstore.Consumer{
		Key:                   d.string(),
		Name:                  d.string(),
		Homepage:              d.string(),
		Secret:                d.string(),
		PreviousSecret:        d.string(),
		PreviousSecretExpires: d.time(),
		RSAPublicKey:          d.string(),
		SignatureMethods:      d.strings(),
		Callbacks:             d.strings(),
		Permissions:           d.strings(),
	}
	if d.bool() {
		c.TwoLegged = &tokenstore.TwoLegged{User: d.string(), Permission: d.string()}
	}
	c.Disabled = d.bool()
	c.SelfRegistered = d.bool()
	c.Created = d.time()
	c.Expires = d.time()
	d.required()
	c.CallbacksIgnoreQuery = d.bool()
	c.DefaultCallback = d.bool()
	c.Contact = d.string()
	if err := d.finish(); err != nil {
		return nil, err
	}
	return c, nil
}

func encodeRequestToken(t *tokenstore.RequestToken) []byte {
	e := newEncoder(kindRequestToken)
	e.string(t.Key)
	e.string(t.Secret)
	e.string(t.Consumer)
	e.string(t.Callback)
	e.time(t.Created)
	e.time(t.Expires)
	e.bool(t.Review != nil)
	if r := t.Review; r != nil {
		e.string(r.User)
		e.string(r.Permission)
		e.string(r.Context)
		e.string(r.Verifier)
		e.time(r.Time)
		e.time(r.Expires)
	}
	e.int(int64(t.VerifierFailures))
	return e.finish()
}

func decodeRequestToken(b []byte) (*tokenstore.RequestToken, error) {
	d := newDecoder(kindRequestToken, b)
	t := &tokenstore.RequestToken{
		Key:      d.string(),
		Secret:   d.string(),
		Consumer: d.string(),
		Callback: d.string(),
		Created:  d.time(),
		Expires:  d.time(),
	}
	if d.bool() {
		t.Review = &tokenstore.Review{
			User:       d.string(),
			Permission: d.string(),
			Context:    d.string(),
			Verifier:   d.string(),
			Time:       d.time(),
			Expires:    d.time(),
		}
	}
	t.VerifierFailures = int(d.int())
	d.required()
	if err := d.finish(); err != nil {
		return nil, err
	}
	return t, nil
}

func encodeAccessToken(t *tokenstore.AccessToken) []byte {
	e := newEncoder(kindAccessToken)
	e.string(t.Key)
	e.string(t.Secret)
	e.string(t.Consumer)
	e.string(t.User)
	e.string(t.Permission)
	e.string(t.Context)
	e.time(t.Created)
	e.time(t.Expires)
	e.time(t.LastUsed)
	return e.finish()
}

func decodeAccessToken(b []byte) (*tokenstore.AccessToken, error) {
	d := newDecoder(kindAccessToken, b)
	t := &tokenstore.AccessToken{
		Key:        d.string(),
		Secret:     d.string(),
		Consumer:   d.string(),
		User:       d.string(),
		Permission: d.string(),
		Context:    d.string(),
		Created:    d.time(),
		Expires:    d.time(),
		LastUsed:   d.time(),
	}
	d.required()
	if err := d.finish(); err != nil {
		return nil, err
	}
	return t, nil
}
