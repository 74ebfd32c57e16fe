package badgerstore

import (
	"encoding/binary"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/sealing"
)

// With a Sealer, the database encrypts values on their way to Badger, and hashes the names in the
// keys of indexes. All other files of this package see clear values, and make keys of clear names.
//
// A key with a hashed name has hashedMark where one with a clear name has the length of that.

// sealedKinds are the kinds of keys whose values are encrypted. All other values are times and
// counts.
var sealedKinds = []byte{
	prefixConsumer, prefixRequestToken, prefixAccessToken, prefixUsedNonces, prefixNonceState, prefixSecret,
	prefixOrigin, prefixRevocation, prefixKept,
}

// nameKinds are the kinds of the names that indexes have, by the kind of the index's keys.
var nameKinds = map[byte]string{
	prefixTokenOfUser:       "user",
	prefixRequestOfUser:     "user",
	prefixTokenOfConsumer:   "consumer",
	prefixRequestOfConsumer: "consumer",
	prefixRevocation:        "revocation",
}

// hashedMark stands before a hashed name, where a clear one has its length. It is no length that
// binary.AppendUvarint writes.
const hashedMark = "\x80\x00"

// namedKinds are the indexes whose entries rewrapNames writes again. A mark of a revocation is gone
// as soon as its tokens are.
var namedKinds = []byte{prefixTokenOfUser, prefixTokenOfConsumer, prefixRequestOfConsumer, prefixRequestOfUser}

var isSealed, isNamed = func() (sealed, named [256]bool) {
	for _, kind := range sealedKinds {
		sealed[kind] = true
	}
	for kind := range nameKinds {
		named[kind] = true
	}
	return sealed, named
}()

// A reader is a read transaction, and how the values are kept that it reads.
type reader struct {
	*badger.Txn
	sealing *sealing.Sealing
}

// An entry is an item whose value is clear.
type entry struct {
	*badger.Item
	sealing *sealing.Sealing
}

// Value calls f with the value, which is valid during the call only.
func (e *entry) Value(f func([]byte) error) error {
	return e.Item.Value(func(v []byte) error {
		key := e.Key()
		if !isSealed[key[0]] || isClear(e.sealing, key, v) {
			return f(v)
		}
		clear, err := e.sealing.Open(string(key[:1]), string(key[1:]), v)
		if err != nil {
			return err
		}
		return f(clear)
	})
}

// isClear reports whether a value is certainly clear, and may be. A secret may look as if it were
// encrypted, but then it has another length.
func isClear(s *sealing.Sealing, key, v []byte) bool {
	return key[0] == prefixSecret && len(v) == secretSize && !s.AllSealed()
}

const secretSize = 32

// names returns the keys that may be in the database for a key that is made of clear names, the one
// that is written now first.
func names(s *sealing.Sealing, key []byte) [][]byte {
	if s == nil || !isNamed[key[0]] || isHashed(key) {
		return [][]byte{key}
	}
	name, rest, ok := cutName(key)
	if !ok {
		return [][]byte{key}
	}
	if key[0] == prefixRevocation {
		name, rest = key[1:], nil // both of its names
	}
	var all [][]byte
	for _, n := range s.Names(nameKinds[key[0]], string(name)) {
		if !n.Hashed {
			all = append(all, key)
			continue
		}
		b := make([]byte, 0, 1+len(hashedMark)+len(n.Text)+len(rest))
		b = append(append(append(append(b, key[0]), hashedMark...), n.Text...), rest...)
		all = append(all, b)
	}
	return all
}

// names is the function of that name, with how values are kept now.
func (d *database) names(key []byte) [][]byte { return names(d.sealing.Load(), key) }

// isHashed reports whether the name in a key of an index is hashed.
func isHashed(key []byte) bool {
	return len(key) > len(hashedMark) && string(key[1:1+len(hashedMark)]) == hashedMark
}

// cutName cuts the key of an index into its clear name and what follows.
func cutName(key []byte) (name, rest []byte, ok bool) {
	n, used := binary.Uvarint(key[1:])
	if used <= 0 || uint64(len(key)-1-used) < n {
		return nil, nil, false
	}
	rest = key[1+used:]
	return rest[:n], rest[n:], true
}

// sealed returns the change as it is written.
func sealed(s *sealing.Sealing, c change) change {
	if s == nil {
		return c
	}
	out := change{frees: c.frees}
	for _, o := range c.ops {
		all := names(s, o.entry.Key)
		switch {
		case o.remove:
			for _, key := range all {
				out.remove(key)
			}
			continue
		case len(all) > 1: // it may be there with a name of before
			for _, key := range all[1:] {
				out.remove(key)
			}
		}
		value := o.entry.Value
		if o.entry.Key[0] == prefixRevocation { // its names can't be had from the key
			value = append(value[:len(value):len(value)], o.entry.Key...)
		}
		key := all[0]
		if isSealed[key[0]] {
			value = s.Seal(string(key[:1]), string(key[1:]), value)
		}
		out.put(key, value, o.entry.ExpiresAt)
	}
	out.frees = c.frees
	return out
}

// revocation returns the clear key of a mark, and its time.
func revocation(key, value []byte) (clear []byte, at []byte, err error) {
	if isHashed(key) && len(value) > 8 {
		key, value = value[8:], value[:8]
	}
	if len(value) != 8 || isHashed(key) {
		return nil, nil, record.ErrDamaged
	}
	return key, value, nil
}

// scanNamed is scan for the part of an index that belongs to one or more names, or for the whole of
// one kind: f gets what follows the name in each key, in the order of that.
func scanNamed(txn *reader, prefix, after []byte, values bool, f func(item *entry, rest []byte) (bool, error)) error {
	prefixes := names(txn.sealing, prefix)
	if len(prefixes) == 1 {
		return scan(txn, prefixes[0], after, values, func(item *entry) (bool, error) {
			return f(item, item.Key()[len(prefixes[0]):])
		})
	}
	var its []*badger.Iterator
	defer func() {
		for _, it := range its {
			it.Close()
		}
	}()
	rest := func(i int) []byte { return its[i].Item().Key()[len(prefixes[i]):] }
	for i, p := range prefixes {
		o := badger.DefaultIteratorOptions
		o.Prefix, o.PrefetchValues = p, values
		its = append(its, txn.NewIterator(o))
		its[i].Seek(append(p[:len(p):len(p)], after...))
		if its[i].Valid() && len(after) > 0 && string(rest(i)) == string(after) {
			its[i].Next()
		}
	}
	for {
		first := -1
		for i, it := range its {
			if it.Valid() && (first < 0 || string(rest(i)) < string(rest(first))) {
				first = i
			}
		}
		if first < 0 {
			return nil
		}
		if more, err := f(&entry{its[first].Item(), txn.sealing}, rest(first)); err != nil || !more {
			return err
		}
		its[first].Next()
	}
}
