// Package record encodes tokenstore's values as bytes: versioned by kind, with a checksum, and with
// fields that can be added. All stores and backups share it, so that each can read the records of
// every other.
//
// It knows package tokenstore and nothing else: no store, no database, not Caddy.
//
//	values.go     the kinds: Consumer, RequestToken, AccessToken, LastUsed, UsedNonces. Each has one
//	              list of fields, which writes and reads them.
//	encoding.go   Kind, Encode and Decode; Fields, which a list of fields is made of; the errors
//
// A store writes
//
//	value := record.Consumer.Encode(c)
//
// and reads
//
//	c, err := record.Consumer.Decode(value)
//
// and may have kinds of its own: see Kind.
//
// # Bytes
//
// A record is the version of its kind (one byte), its fields one after the other, and a CRC-32C
// (big-endian) of all before it. An integer is a varint of encoding/binary, in zigzag; a bool is 0
// or 1; a text begins with its length in bytes; a list begins with the number of its elements; a
// time is two integers, the seconds since 1970 and the nanoseconds; an optional value is a bool,
// and its fields where that is true. testdata/golden.txt holds a record of every kind, as each
// program wrote it.
//
// # Changes
//
// A field is added at the end, after Required, and needs no new version. A program reads a field
// that is missing as zero, and skips those that it does not know. When an older program changes
// such a record, it writes the record without the field.
//
// A field that must not be lost like that raises the version of its kind. A program reads every
// version from 1 to its own, and writes its own. It refuses a later one with ErrVersion, whose text
// names the kind and both versions. A store treats such a record as one that can't be read
// (Unreadable), and goes on with all others.
package record
