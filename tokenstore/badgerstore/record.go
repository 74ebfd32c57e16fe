package badgerstore

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// A record is a version, its fields one after the other, and a CRC-32C of all before it. Strings begin with their
// length; a time is seconds since 1970 and nanoseconds. A field is added by a new version, which reads the old one.
const recordVersion = 1

var (
	errDamaged = errors.New("damaged record")
	errVersion = errors.New("record of a version that this program does not know")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

type encoder struct{ b []byte }

func newEncoder() *encoder { return &encoder{b: append(make([]byte, 0, 320), recordVersion)} }

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
	err error
}

func newDecoder(b []byte) *decoder {
	if len(b) < 5 {
		return &decoder{err: errDamaged}
	}
	body, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return &decoder{err: errDamaged}
	}
	if body[0] != recordVersion {
		return &decoder{err: errVersion}
	}
	return &decoder{s: string(body[1:])} // the one copy; every field is a part of it
}

func (d *decoder) fail() {
	d.s = ""
	if d.err == nil {
		d.err = errDamaged
	}
}

func (d *decoder) int() int64 {
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
	sec, nsec := d.int(), d.int()
	if nsec < 0 || nsec >= 1e9 {
		d.fail()
		return time.Time{}
	}
	return time.Unix(sec, nsec).UTC()
}

func (d *decoder) finish() error {
	if d.err == nil && d.s != "" {
		d.err = errDamaged
	}
	return d.err
}

func encodeConsumer(c *tokenstore.Consumer) []byte {
	e := newEncoder()
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
	return e.finish()
}

func decodeConsumer(b []byte) (*tokenstore.Consumer, error) {
	d := newDecoder(b)
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
	if err := d.finish(); err != nil {
		return nil, err
	}
	return c, nil
}

func encodeRequestToken(t *tokenstore.RequestToken) []byte {
	e := newEncoder()
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
	d := newDecoder(b)
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
	if err := d.finish(); err != nil {
		return nil, err
	}
	return t, nil
}

func encodeAccessToken(t *tokenstore.AccessToken) []byte {
	e := newEncoder()
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
	d := newDecoder(b)
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
	if err := d.finish(); err != nil {
		return nil, err
	}
	return t, nil
}
