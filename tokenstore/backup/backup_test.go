package backup

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
)

var begun = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)

func header() Header {
	return Header{ID: "id", Product: "v1", Store: StoreID([32]byte{1}), Time: begun, Window: 5 * time.Minute}
}

// small is one record of each kind.
var small = []any{
	&tokenstore.StoreState{Secret: [32]byte{1, 2}, Floor: 77},
	&tokenstore.Consumer{Key: "c", Secret: "s", Created: begun},
	&tokenstore.RequestToken{Key: "r", Secret: "s", Consumer: "c", Created: begun, Expires: begun.Add(time.Hour)},
	&tokenstore.AccessToken{Key: "t", Secret: "s", Consumer: "c", User: "u", Permission: "READ_PUBLIC", Created: begun},
}

func write(t testing.TB, out io.Writer, records []any, recipients ...age.Recipient) {
	t.Helper()
	w, err := NewWriter(out, header(), recipients...)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if err := w.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func bytesOf(t testing.TB, recipients ...age.Recipient) []byte {
	var b bytes.Buffer
	write(t, &b, small, recipients...)
	return b.Bytes()
}

func TestWhatWasWrittenIsRead(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		file []byte
		ids  []age.Identity
	}{"clear": {bytesOf(t), nil}, "encrypted": {bytesOf(t, id.Recipient()), []age.Identity{id}}} {
		t.Run(name, func(t *testing.T) {
			r, err := NewReader(bytes.NewReader(c.file), c.ids...)
			if err != nil {
				t.Fatal(err)
			}
			want := header()
			if c.ids != nil {
				want.Recipients = id.Recipient().String()
			}
			if r.Header != want {
				t.Errorf("got %+v, want %+v", r.Header, want)
			}
			var got []any
			for rec, err := range r.Records() {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, rec)
			}
			if !reflect.DeepEqual(got, small) {
				t.Errorf("got %+v", got)
			}
			if name == "encrypted" {
				var b bytes.Buffer
				w, err := NewWriter(&b, header(), id.Recipient())
				if err == nil {
					err = errors.Join(w.Add(small[0]), w.Close())
				}
				if err != nil {
					t.Fatal(err)
				}
				if _, _, err := Verify(&b, w.Identity()); err != nil {
					t.Errorf("who wrote it can't verify it: %v", err)
				}
			}
			if r.Counts() != (Counts{1, 1, 1}) {
				t.Errorf("counts %+v", r.Counts())
			}
		})
	}
}

// TestTheHeaderOfAnOlderProgram: it names no recipients.
func TestTheHeaderOfAnOlderProgram(t *testing.T) {
	older := record.Kind[Header]{Name: headerKind.Name, Version: headerKind.Version, Fields: func(f *record.Fields, h *Header) {
		f.Text(&h.ID)
		f.Text(&h.Product)
		f.Text(&h.Store)
		f.Time(&h.Time)
		record.Int(f, &h.Window)
	}}
	h := header()
	if got, err := headerKind.Decode(older.Encode(&h)); err != nil || *got != h {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestUsedNoncesAreLeftOut(t *testing.T) {
	var b bytes.Buffer
	write(t, &b, []any{small[0], &tokenstore.UsedNonces{Digests: "secret digests"}})
	if _, _, err := Verify(&b); err != nil || strings.Contains(b.String(), "digests") {
		t.Errorf("got %v", err)
	}
}

func TestABackupBeginsWithItsState(t *testing.T) {
	w, _ := NewWriter(io.Discard, header())
	if w.Add(small[1]) == nil || w.Close() == nil || w.Add("text") == nil {
		t.Error("accepted")
	}
	if err := w.Add(small[0]); err != nil || w.Add(small[0]) == nil {
		t.Error("two states")
	}
}

// TestEveryTruncationIsFound: of a clear file and of an encrypted one.
func TestEveryTruncationIsFound(t *testing.T) {
	id, _ := age.GenerateX25519Identity()
	for _, file := range [][]byte{bytesOf(t), bytesOf(t, id.Recipient())} {
		for n := range len(file) {
			if _, _, err := Verify(bytes.NewReader(file[:n]), id); err == nil {
				t.Errorf("cut at %d of %d: it is a backup", n, len(file))
			}
		}
		if _, _, err := Verify(bytes.NewReader(append(file, 0)), id); err == nil {
			t.Error("one byte more: it is a backup")
		}
	}
}

func TestEveryFlippedBitIsFound(t *testing.T) {
	file := bytesOf(t)
	for i := range file {
		for bit := range 8 {
			file[i] ^= 1 << bit
			if _, _, err := Verify(bytes.NewReader(file)); err == nil {
				t.Errorf("bit %d of byte %d: it is a backup", bit, i)
			}
			file[i] ^= 1 << bit
		}
	}
	if _, _, err := Verify(bytes.NewReader(file)); err != nil {
		t.Fatal(err)
	}
}

func TestErrorsSayWhatIsWrong(t *testing.T) {
	file := bytesOf(t)
	id, _ := age.GenerateX25519Identity()
	other, _ := age.GenerateX25519Identity()
	newer := bytes.Clone(file)
	newer[headSize-1]++
	for name, c := range map[string]struct {
		file []byte
		want error
	}{
		"nothing":                {nil, ErrNotBackup},
		"something else":         {[]byte("a text of some length"), ErrNotBackup},
		"the end is missing":     {file[:len(file)-1], ErrTruncated},
		"a record is missing":    {file[:len(file)/2], ErrTruncated},
		"a later version":        {newer, record.ErrVersion},
		"encrypted":              {bytesOf(t, id.Recipient()), ErrEncrypted},
		"two, one after another": {append(bytes.Clone(file), file...), ErrDamaged},
	} {
		if _, _, err := Verify(bytes.NewReader(c.file)); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	if _, _, err := Verify(bytes.NewReader(bytesOf(t, id.Recipient())), other); err == nil {
		t.Error("another identity reads it")
	}
	if _, err := ParseRecipients([]string{id.String()}); err == nil || strings.Contains(err.Error(), id.String()) {
		t.Errorf("an identity as recipient: %v", err)
	}
	if got, err := ParseRecipients([]string{id.Recipient().String(), other.Recipient().String()}); err != nil || len(got) != 2 {
		t.Errorf("recipients: %v, %v", got, err)
	}
}

func TestAFileIsWholeOrNotThere(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "b")
	broken := errors.New("broken")
	good := func(w io.Writer) error { write(t, w, small); return nil }
	if err := WriteFile(path, false, func(w io.Writer) error { _, _ = w.Write([]byte("a")); return broken }, nil); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if err := WriteFile(path, false, good, func(string) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("left: %v", entries)
	}
	if err := os.WriteFile(path+UnfinishedSuffix, []byte("left by kill -9, and longer than the backup"+strings.Repeat(".", 1<<20)), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(path, false, good, nil); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, _, err := Verify(f); err != nil {
		t.Error(err)
	}
	if info, _ := f.Stat(); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if err := WriteFile(path, false, good, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a file that is there: %v", err)
	}
}

func TestNamesOfBackups(t *testing.T) {
	if got := FileName(begun.In(time.FixedZone("", 3600))); got != "oauth1-20260102T030405Z.backup" {
		t.Errorf("got %s", got)
	}
	for name, ok := range map[string]bool{
		"oauth1-20260102T030405Z.backup": true, "oauth1-20260102T030405Z.backup.unfinished": false,
		"oauth1-2026.backup": false, "other.backup": false, "oauth1-20260132T030405Z.backup": false,
	} {
		if _, got := TimeOfName(name); got != ok {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// FuzzRead: what can be read as a backup is what a Writer writes.
func FuzzRead(f *testing.F) {
	f.Add(bytesOf(f))
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := NewReader(bytes.NewReader(file))
		if err != nil {
			return
		}
		var again bytes.Buffer
		w, err := NewWriter(&again, r.Header)
		if err != nil {
			t.Fatal(err)
		}
		for rec, err := range r.Records() {
			if err != nil {
				return
			}
			if err := w.Add(rec); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if _, counts, err := Verify(&again); err != nil || counts != r.Counts() {
			t.Errorf("written again: %v", err)
		}
	})
}
