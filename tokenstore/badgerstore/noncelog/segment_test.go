package noncelog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"slices"
	"testing"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
)

// segmentBytes is a segment of three records in four places: the second record was not finished.
func segmentBytes(serial, key uint64) []byte {
	h := encodeHeader(segmentVersion, 4, serial, key)
	b := append(h[:], make([]byte, 4*recordSize)...)
	for i, n := range []loggedNonce{{digest: digest{1}, timestamp: 1}, {digest: digest{2}}, {digest: digest{3}, expires: 7, consumer: 9, token: 5}} {
		r := b[segmentHeader+i*recordSize:]
		if sum := encodeNonce(r, int64(i), serial, n); i != 1 {
			binary.LittleEndian.PutUint32(r[recordSize-4:], sum)
		}
	}
	return b
}

func TestDecodeSegment(t *testing.T) {
	good := segmentBytes(5, 6)
	edit := func(f func(b []byte)) []byte {
		b := bytes.Clone(good)
		f(b)
		return b
	}
	header := func(f func(b []byte)) []byte {
		return edit(func(b []byte) {
			f(b)
			binary.LittleEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
		})
	}
	place := func(i int) int { return segmentHeader + i*recordSize }
	for _, c := range []struct {
		name    string
		b       []byte
		digests []byte
		taken   int
		err     error
	}{
		{"a record that was not finished does not count", good, []byte{1, 3}, 3, nil},
		{"nothing but a header", edit(func(b []byte) { clear(b[segmentHeader:]) }), nil, 0, nil},
		{"longer than its header says", append(bytes.Clone(good), 1), []byte{1, 3}, 3, nil},
		{"a flipped bit in a digest", edit(func(b []byte) { b[place(0)] ^= 1 }), []byte{3}, 3, errDamaged},
		{"a flipped bit in a checksum", edit(func(b []byte) { b[place(3)-1] ^= 0x80 }), []byte{1}, 3, errDamaged},
		{"garbage in the middle", edit(func(b []byte) { copy(b[place(1):place(2)], bytes.Repeat([]byte{0xa5}, recordSize)) }), []byte{1, 3}, 3, errDamaged},
		{"a record in another's place", edit(func(b []byte) { copy(b[place(3):], b[place(2):place(3)]) }), []byte{1, 3}, 4, errDamaged},
		{"truncated", good[:len(good)-1], []byte{1, 3}, 3, errDamaged},
		{"truncated to its header", good[:segmentHeader], nil, 0, errDamaged},
		{"truncated in its header", good[:segmentHeader-1], nil, 0, errDamaged},
		{"empty", nil, nil, 0, errDamaged},
		{"zeros", make([]byte, len(good)), nil, 0, errDamaged},
		{"a foreign file", []byte("%PDF-1.7 and what else there is in such a file, which is no few bytes"), nil, 0, errDamaged},
		{"a flipped bit in the header", edit(func(b []byte) { b[40] ^= 1 }), nil, 0, errDamaged},
		{"another segment's bytes", segmentBytes(4, 6), nil, 0, errDamaged},
		{"another store's segment", segmentBytes(5, 7), []byte{1, 3}, 3, errDamaged},
		{"more records than there can be", header(func(b []byte) { b[15] = 0xff }), nil, 0, errDamaged},
		{"a version to come", header(func(b []byte) { b[8] = segmentVersion + 1 }), nil, 0, record.ErrVersion},
		{"a version to come is damage", header(func(b []byte) { b[8] = segmentVersion + 1 }), nil, 0, errDamaged},
		{"no version", header(func(b []byte) { b[8] = 0 }), nil, 0, errDamaged},
		{"another magic", header(func(b []byte) { b[0]++ }), nil, 0, errDamaged},
	} {
		t.Run(c.name, func(t *testing.T) {
			var digests []byte
			info, err := decodeSegment(c.b, 5, 6, func(n loggedNonce) { digests = append(digests, n.digest[0]) })
			if !errors.Is(err, c.err) || info.taken != c.taken || info.records != len(digests) ||
				!slices.Equal(digests, c.digests) {
				t.Errorf("got %v, %d taken, %v; want %v, %d taken, %v", digests, info.taken, err, c.digests, c.taken,
					c.err)
			}
		})
	}
}

// FuzzDecodeSegment: a file with any content is read safely, and each record that is read equals
// the record that would be written.
func FuzzDecodeSegment(f *testing.F) {
	f.Add(segmentBytes(5, 6), true)
	f.Add(segmentBytes(5, 6)[:100], false)
	f.Add([]byte{}, true)
	f.Fuzz(func(t *testing.T, b []byte, repair bool) {
		if len(b) > 8 && b[8] == 1 {
			return // these records have another form today
		}
		if len(b) >= segmentHeader && repair {
			h := encodeHeader(segmentVersion, uint32(len(b)-segmentHeader)/recordSize, 5, 6)
			b = append(h[:], b[segmentHeader:]...)
		}
		records, place := 0, int64(0)
		info, err := decodeSegment(b, 5, 6, func(n loggedNonce) {
			records++
			var r [recordSize]byte
			for places := int64(len(b)-segmentHeader) / recordSize; ; place++ { // records come in the order of their places
				if place == places {
					t.Fatalf("%+v differs from the bytes", n)
				}
				binary.LittleEndian.PutUint32(r[recordSize-4:], encodeNonce(r[:], place, 5, n))
				if bytes.Equal(r[:], b[segmentHeader+place*recordSize:][:recordSize]) {
					place++
					return
				}
			}
		})
		if records > info.taken || err == nil && info.taken > info.capacity || err == nil && len(b) < segmentHeader+
			info.capacity*recordSize {
			t.Errorf("%d records, %d taken of %d, in %d bytes (%v)", records, info.taken, info.capacity, len(b), err)
		}
	})
}

// Both kinds of pages write the same bytes.
func TestPagesAreAlike(t *testing.T) {
	n := loggedNonce{digest: digest{1, 2, 3}, consumer: 4, token: 8, timestamp: 5, expires: 6}
	var files [2][]byte
	for i, mapped := range []bool{true, false} {
		path := t.TempDir() + "/f"
		reserved, err := makeFile(path, segmentSize, encodeHeader(segmentVersion, segmentRecords, 7, 8))
		if err != nil {
			t.Fatal(err)
		}
		p, err := openPages(path, reserved && mapped)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(p.put(0, 7, n), p.put(segmentRecords-1, 7, n), p.sync(), p.close()); err != nil {
			t.Fatal(err)
		}
		if files[i], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("they are not")
	}
}

// The timestamp in a record of version 1 is a minute. With buckets of any width, the nonce is found
// where it is looked up, and kept for as long as before.
func TestNoncesOfVersion1(t *testing.T) {
	const bucket, window = 30_000_000, 300
	stored := loggedNonce{expires: uint32(bucket*v1BucketWidth + v1BucketWidth - 1 + window)}
	for _, width := range []int64{1, 7, 30, 60, 61, 90, 3600} {
		kept := make(map[int64]int64) // bucket of that width -> when it expires
		v1Nonces(stored, bucket, width, func(n loggedNonce) {
			b := int64(n.timestamp) / width
			kept[b] = max(kept[b], int64(n.expires)+b*width+width-1-int64(n.timestamp))
		})
		for timestamp := int64(bucket * v1BucketWidth); timestamp < (bucket+1)*v1BucketWidth; timestamp++ {
			if kept[timestamp/width] < timestamp+window {
				t.Errorf("width %d: timestamp %d is kept until %d, want %d", width, timestamp, kept[timestamp/width],
					timestamp+window)
			}
		}
	}
	none := 0
	v1Nonces(stored, -5, 60, func(loggedNonce) { none++ })
	if none > 0 {
		t.Errorf("%d nonces from before 1970", none)
	}
}
