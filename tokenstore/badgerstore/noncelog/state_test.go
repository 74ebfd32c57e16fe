package noncelog

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"reflect"
	"strings"
	"testing"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
)

func someState() logState {
	return logState{floor: none, ceiling: 7, window: 8, boot: "b", clean: true, counts: 9,
		segments: []segmentRecord{{7, 3}, {8, openSegment}}}
}

func stateWithChecksum(body []byte) []byte {
	return binary.BigEndian.AppendUint32(body, crc32.Checksum(body, castagnoli))
}

// TestGoldenStates: the states of every program are read, and this program still writes the same
// bytes.
func TestGoldenStates(t *testing.T) {
	earlier := someState()
	earlier.counts, earlier.segments = 0, nil
	for _, c := range []struct {
		name   string
		state  logState
		bytes  string
		writes bool
	}{
		{"today's", someState(), "01ffffffffffffffffff010e1002620212040e0610017a923ff7", true},
		{"before the segments were listed", earlier, "01ffffffffffffffffff010e100262026e6b4ffc", false},
	} {
		b, err := hex.DecodeString(c.bytes)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := stateKind.Decode(b); err != nil || !reflect.DeepEqual(*got, c.state) {
			t.Errorf("%s: read as %+v, %v; want %+v", c.name, got, err, c.state)
		}
		if got := stateKind.Encode(&c.state); c.writes && string(got) != string(b) {
			t.Errorf("%s: written as\n%x, want\n%x", c.name, got, b)
		}
	}
}

// The state can be given a field or a version of its own.
func TestStatesOfOtherPrograms(t *testing.T) {
	want := someState()
	b := stateKind.Encode(&want)
	body := b[:len(b)-4]
	added := stateWithChecksum(append(append([]byte(nil), body...), 2, 0xff, 2, 1))
	if got, err := stateKind.Decode(added); err != nil || !reflect.DeepEqual(*got, want) {
		t.Errorf("fields that were added: got %+v, %v; want %+v", got, err, want)
	}
	for _, v := range []byte{2, 0xff, 0} {
		_, err := stateKind.Decode(stateWithChecksum(append([]byte{v}, body[1:]...)))
		want := fmt.Sprintf("a state of the nonce log of a version that this program does not know: "+
			"version %d, and it knows 1 to 1", v)
		if !errors.Is(err, record.ErrVersion) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if _, err := stateKind.Decode(stateWithChecksum(body[:1:1])); !errors.Is(err, record.ErrDamaged) {
		t.Errorf("no fields: got %v, want %v", err, record.ErrDamaged)
	}
}

// FuzzState gives the decoder bytes that pass the checksum. It refuses the bytes or reads a state;
// a state that was read is the same after it is written and read again.
func FuzzState(f *testing.F) {
	early := logState{floor: none, ceiling: 1_800_000_000, window: 301, boot: "b", clean: true}
	for _, s := range []logState{someState(), early, {}} {
		b := stateKind.Encode(&s)
		f.Add(b[:len(b)-4])
	}
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := stateKind.Decode(stateWithChecksum(body))
		if err != nil {
			return
		}
		if again, err := stateKind.Decode(stateKind.Encode(s)); err != nil || !reflect.DeepEqual(again, s) {
			t.Errorf("%+v became %+v, %v", s, again, err)
		}
	})
}
