package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

var (
	// ErrDamaged: the bytes are not what Encode returned.
	ErrDamaged = errors.New("damaged record")
	// ErrVersion: the record, or a file that a store keeps beside its records, has a later version.
	ErrVersion = errors.New("of a version that this program does not know")
	// ErrKey: the record is encrypted with a key that this program was not given.
	ErrKey = errors.New("encrypted with a key that is not configured")
)

// Unreadable reports whether err says that a record exists but can't be read by this program.
func Unreadable(err error) bool { return Elsewhere(err) || errors.Is(err, ErrDamaged) }

// Elsewhere reports whether err says that a record is whole, but that only another program, or one
// with another configuration, can read it.
func Elsewhere(err error) bool { return errors.Is(err, ErrVersion) || errors.Is(err, ErrKey) }

// A Kind is a type of record. A store that keeps more than tokenstore's values gives them a Kind of
// its own.
type Kind[T any] struct {
	// Name is the kind's name in errors.
	Name string
	// Version is the version that is written. All versions from 1 to it can be read.
	Version byte
	// Fields calls one method of f for each field of v, always in the same order. It must not write
	// to v itself: v is shared while it is encoded.
	Fields func(f *Fields, v *T)
}

// Encode returns v as a record. It only reads v.
func (k Kind[T]) Encode(v *T) []byte {
	f := &Fields{written: append(make([]byte, 0, 320), k.Version)}
	k.Fields(f, v)
	return binary.BigEndian.AppendUint32(f.written, crc32.Checksum(f.written, castagnoli))
}

// Decode returns the value that Encode was given. The result keeps nothing of b. Its errors are
// ErrDamaged and ErrVersion.
func (k Kind[T]) Decode(b []byte) (*T, error) {
	if len(b) < 1+checksumSize {
		return nil, ErrDamaged
	}
	body, sum := b[:len(b)-checksumSize], binary.BigEndian.Uint32(b[len(b)-checksumSize:])
	if crc32.Checksum(body, castagnoli) != sum {
		return nil, ErrDamaged
	}
	if v := body[0]; v == 0 || v > k.Version {
		return nil, fmt.Errorf("a %s %w: version %d, and it knows 1 to %d: "+
			"run the program that wrote it, or a newer one", k.Name, ErrVersion, v, k.Version)
	}
	f := &Fields{reads: true, rest: string(body[1:])} // the one copy; every text is a part of it
	v := new(T)
	k.Fields(f, v)
	if f.err != nil {
		return nil, f.err
	}
	return v, nil // the rest is fields of a later program
}

const checksumSize = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Fields writes the fields of a value, or reads them into it. After its first error it reads zero
// values.
type Fields struct {
	written []byte

	reads  bool
	rest   string
	missed bool // a field was not there
	err    error
}

// Required says that every record has the fields before it: without one of them it is damaged. The
// fields after it were added later.
func (f *Fields) Required() {
	if f.missed {
		f.fail()
	}
}

func (f *Fields) fail() {
	f.rest = ""
	f.err = ErrDamaged
}

// ended reports whether the record that is read has no more fields.
func (f *Fields) ended() bool {
	if f.rest != "" {
		return false
	}
	f.missed = true
	return true
}

// Int is an integer. (It is no method, since methods have no type parameters.)
func Int[N ~int | ~int64 | ~uint64](f *Fields, n *N) {
	if f.reads {
		*n = N(f.int())
		return
	}
	f.written = binary.AppendVarint(f.written, int64(*n))
}

func (f *Fields) int() int64 {
	if f.ended() {
		return 0
	}
	var u uint64
	for i := 0; i < len(f.rest) && i < binary.MaxVarintLen64; i++ {
		c := f.rest[i]
		u |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			f.rest = f.rest[i+1:]
			return int64(u>>1) ^ -int64(u&1)
		}
	}
	f.fail()
	return 0
}

// Bool is a flag.
func (f *Fields) Bool(b *bool) {
	if f.reads {
		*b = f.int() != 0
		return
	}
	f.flag(*b)
}

func (f *Fields) flag(b bool) {
	n := 0
	if b {
		n = 1
	}
	Int(f, &n)
}

// Text is a string of any bytes.
func (f *Fields) Text(s *string) {
	if f.reads {
		*s = f.text()
		return
	}
	n := len(*s)
	Int(f, &n)
	f.written = append(f.written, *s...)
}

func (f *Fields) text() string {
	n := f.int()
	if n < 0 || n > int64(len(f.rest)) {
		f.fail()
		return ""
	}
	s := f.rest[:n]
	f.rest = f.rest[n:]
	return s
}

// Texts is a list of strings.
func (f *Fields) Texts(list *[]string) { List(f, list, (*Fields).Text) }

// List is a list, by the fields of an element. An empty one is read as nil.
func List[E any](f *Fields, list *[]E, fields func(*Fields, *E)) {
	if !f.reads {
		n := len(*list)
		Int(f, &n)
		for i := range *list {
			fields(f, &(*list)[i])
		}
		return
	}
	n := f.int()
	if n < 0 || n > int64(len(f.rest)) { // each takes a byte at least
		f.fail()
		return
	}
	if n == 0 {
		return
	}
	*list = make([]E, n)
	for i := range *list {
		fields(f, &(*list)[i])
	}
}

// Optional is a value that may be nil, by its fields.
func Optional[T any](f *Fields, v **T, fields func(*Fields, *T)) {
	there := *v != nil
	f.Bool(&there)
	if !there {
		return
	}
	if f.reads {
		*v = new(T)
	}
	fields(f, *v)
}

// Time is a time, to the nanosecond, in UTC when it is read.
func (f *Fields) Time(t *time.Time) {
	if f.reads {
		*t = f.time()
		return
	}
	sec, nsec := t.Unix(), t.Nanosecond()
	Int(f, &sec)
	Int(f, &nsec)
}

func (f *Fields) time() time.Time {
	if f.ended() {
		return time.Time{}
	}
	sec, nsec := f.int(), f.int()
	if nsec < 0 || nsec >= 1e9 {
		f.fail()
		return time.Time{}
	}
	return time.Unix(sec, nsec).UTC()
}
