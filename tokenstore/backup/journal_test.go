package backup

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"reflect"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

func journalAt(t *testing.T, path string, now time.Time) *Journal {
	t.Helper()
	j, damage, err := OpenJournal(path, "store", now)
	if err != nil || damage != nil {
		t.Fatal(err, damage)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func appendTo(t *testing.T, j *Journal, entries ...Revocation) {
	t.Helper()
	for _, e := range entries {
		if err := j.Append(e); err != nil {
			t.Fatal(err)
		}
	}
}

func after(d time.Duration) time.Time { return begun.Add(d) }

func TestJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), JournalName("a host"))
	j := journalAt(t, path, begun)
	entries := []Revocation{
		{Time: after(1), Op: TokenRevoked, Token: "t", User: "u", Consumer: "c"},
		{Time: after(2), Op: ConsumerDeleted, Consumer: "c\n"},
	}
	appendTo(t, j, entries...)
	if _, _, err := OpenJournal(path, "store", begun); err == nil {
		t.Error("two processes write to it")
	}
	j.Close()
	if _, _, err := OpenJournal(path, "other", begun); !errors.Is(err, ErrOtherStore) {
		t.Errorf("of another store: %v", err)
	}
	j = journalAt(t, path, after(time.Hour))
	entries = append(entries, Revocation{Time: after(3), Op: GrantsRevoked, User: "u"})
	appendTo(t, j, entries[2])
	got, err := ReadJournal(path)
	if err != nil || !reflect.DeepEqual(got.Revocations, entries) || !got.Since.Equal(begun) || got.Store != "store" {
		t.Errorf("got %+v, %v", got, err)
	}
	if all, err := Journals(filepath.Dir(path)); err != nil || len(all) != 1 || filepath.Base(all[0]) != "revocations-a_host.journal" {
		t.Errorf("got %q, %v", all, err)
	}
}

// TestATornTailOfAJournal: whatever of the last line is missing, the lines before it are there, and
// the next one follows them.
func TestATornTailOfAJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	j := journalAt(t, path, begun)
	first := Revocation{Time: after(1), Op: TokenRevoked, Token: "first"}
	appendTo(t, j, first)
	whole, _ := os.ReadFile(path)
	appendTo(t, j, Revocation{Time: after(2), Op: TokenRevoked, Token: "second"})
	j.Close()
	both, _ := os.ReadFile(path)
	for n := len(whole); n < len(both); n++ {
		if err := os.WriteFile(path, both[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := ReadJournal(path)
		if err != nil || !reflect.DeepEqual(got.Revocations, []Revocation{first}) {
			t.Fatalf("cut at %d: %+v, %v", n, got, err)
		}
		j := journalAt(t, path, begun)
		third := Revocation{Time: after(3), Op: TokenRevoked, Token: "third"}
		appendTo(t, j, third)
		j.Close()
		got, err = ReadJournal(path)
		if err != nil || !reflect.DeepEqual(got.Revocations, []Revocation{first, third}) {
			t.Fatalf("cut at %d and continued: %+v, %v", n, got, err)
		}
	}
}

// TestDamageToAJournalIsFound: each bit of each line.
func TestDamageToAJournalIsFound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	j := journalAt(t, path, begun)
	appendTo(t, j, Revocation{Time: after(1), Op: TokenRevoked, Token: "a"}, Revocation{Time: after(2), Op: TokenRevoked, Token: "b"})
	j.Close()
	text, _ := os.ReadFile(path)
	good, _ := parseJournal(text)
	last := bytes.LastIndexByte(text[:len(text)-1], '\n')
	for i := range text {
		for bit := range 8 {
			text[i] ^= 1 << bit
			got, err := parseJournal(text)
			text[i] ^= 1 << bit
			if i == len(text)-1 { // without its end the last line looks as if it were being written
				continue
			}
			if err == nil && !(i > last && reflect.DeepEqual(got.Revocations, good.Revocations[:1])) && !reflect.DeepEqual(got, good) {
				t.Errorf("bit %d of byte %d: got %+v", bit, i, got)
			}
		}
	}

	text[len(text)/2] ^= 1
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadJournal(path); !errors.Is(err, ErrJournalDamaged) {
		t.Errorf("got %v", err)
	}
	j, damage, err := OpenJournal(path, "store", after(time.Hour))
	if err != nil || !errors.Is(damage, ErrJournalDamaged) {
		t.Fatalf("got %v, %v", damage, err)
	}
	defer j.Close()
	if kept, _ := filepath.Glob(path + ".*" + DamagedSuffix); len(kept) != 1 {
		t.Error("the damaged file is gone")
	}
	if got, err := ReadJournal(path); err != nil || !got.Since.Equal(after(time.Hour)) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestPrune(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	j := journalAt(t, path, begun)
	back := Revocation{Time: after(time.Hour), Op: TokenRevoked, Token: "while the clock was wrong"}
	entries := []Revocation{
		{Time: after(time.Hour), Op: TokenRevoked, Token: "old"},
		{Time: after(48 * time.Hour), Op: BackupBegun, Backup: "b"},
		back,
		{Time: after(50 * time.Hour), Op: TokenRevoked, Token: "new"},
	}
	appendTo(t, j, entries...)
	if err := j.Prune(after(48 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	more := Revocation{Time: after(51 * time.Hour), Op: TokenRevoked, Token: "more"}
	appendTo(t, j, more)
	got, err := ReadJournal(path)
	if err != nil || !reflect.DeepEqual(got.Revocations, append(entries[1:], more)) {
		t.Errorf("got %+v, %v", got, err)
	}
	if got.Whole || got.Pruned == nil || !got.Pruned.equal(entries[0]) {
		t.Errorf("it says that %v was removed, and whole: %v", got.Pruned, got.Whole)
	}
	if h := (Header{Time: after(48 * time.Hour)}); !got.Covers(h, after(72*time.Hour)) {
		t.Error("it does not cover the oldest backup that is kept")
	}
	if h := (Header{Time: after(24 * time.Hour)}); got.Covers(h, after(72*time.Hour)) {
		t.Error("it covers a backup that is gone")
	}
	if _, _, err := OpenJournal(path, "store", begun); err == nil {
		t.Error("it is not locked any more")
	}
}

// TestPruneRemovesABeginning: what was written after an entry that is kept is kept, whatever its time
// is, so that the last entry that was removed tells of all.
func TestPruneRemovesABeginning(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	j := journalAt(t, path, begun)
	if got, err := ReadJournal(path); err != nil || !got.Whole || got.Pruned != nil {
		t.Errorf("a new one: got %+v, %v", got, err)
	}
	entry := func(hours int, token string) Revocation {
		return Revocation{Time: after(time.Duration(hours) * time.Hour), Op: TokenRevoked, Token: token}
	}
	entries := []Revocation{
		entry(1, "1"), entry(2, "2"), entry(49, "ahead"), entry(3, "3"), entry(50, "50"),
	}
	appendTo(t, j, entries...)
	for _, c := range []struct{ hours, removed int }{{1, 0}, {2, 1}, {49, 2}, {50, 4}, {51, 5}, {90, 5}} {
		if err := j.Prune(after(time.Duration(c.hours) * time.Hour)); err != nil {
			t.Fatal(err)
		}
		got, err := ReadJournal(path)
		if err != nil || len(got.Revocations) != len(entries)-c.removed || got.Whole != (c.removed == 0) {
			t.Errorf("%d hours: got %+v, %v", c.hours, got, err)
		}
		if c.removed > 0 && !got.Pruned.equal(entries[c.removed-1]) {
			t.Errorf("%d hours: the last one removed is %+v", c.hours, got.Pruned)
		}
	}
}

// TestAJournalOfAnEarlierProgram: it does not say whether it is whole. It counts where it covers the
// backup, and is gone on with.
func TestAJournalOfAnEarlierProgram(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	var text []byte
	for _, body := range []string{
		`{"oauth1_revocations":1,"store":"store","since":"2026-01-02T00:00:00Z"}`,
		`{"time":"2026-01-03T00:00:00Z","op":"token_revoked","token":"t"}`,
	} {
		text = fmt.Appendf(text, "%08x %s\n", crc32.Checksum([]byte(body), castagnoli), body)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	day := func(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }
	j, damage, err := OpenJournal(path, "store", day(4))
	if err != nil || damage != nil {
		t.Fatal(err, damage)
	}
	defer j.Close()
	for range 2 {
		got, err := ReadJournal(path)
		if err != nil || len(got.Revocations) == 0 {
			t.Fatalf("got %+v, %v", got, err)
		}
		copies := []*JournalFile{got}
		if Shortened(Header{Time: day(2)}, copies, day(5)) {
			t.Error("it does not count for a backup that it covers")
		}
		if !Shortened(Header{Time: day(1)}, copies, day(5)) {
			t.Error("it counts as whole")
		}
		appendTo(t, j, Revocation{Time: day(4), Op: TokenRevoked, Token: "u"})
	}
}

// TestPruneThatCanNotOpenTheNewFile: nothing is acknowledged that was written to the file that lost
// its name, and the journal goes on when the new file can be opened.
func TestPruneThatCanNotOpenTheNewFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	j := journalAt(t, path, begun)
	kept := Revocation{Time: after(50 * time.Hour), Op: TokenRevoked, Token: "kept"}
	appendTo(t, j, Revocation{Time: after(time.Hour), Op: TokenRevoked, Token: "old"}, kept)
	defer func() { openFile = os.OpenFile }()
	openFile = func(string, int, os.FileMode) (*os.File, error) { return nil, syscall.EMFILE }
	if err := j.Prune(after(48 * time.Hour)); !errors.Is(err, syscall.EMFILE) {
		t.Fatalf("got %v", err)
	}
	more := Revocation{Time: after(51 * time.Hour), Op: TokenRevoked, Token: "more"}
	if err := j.Append(more); !errors.Is(err, syscall.EMFILE) {
		t.Errorf("the file is not open: %v", err)
	}
	openFile = os.OpenFile
	appendTo(t, j, more)
	got, err := ReadJournal(path)
	if err != nil || !reflect.DeepEqual(got.Revocations, []Revocation{kept, more}) || got.Since.Equal(begun) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, _, err := OpenJournal(path, "store", begun); err == nil {
		t.Error("it is not locked any more")
	}
}

// TestAJournalThatIsMovedAway: it is written anew, with what it held. Another file in its place is
// left alone, and nothing is acknowledged.
func TestAJournalThatIsMovedAway(t *testing.T) {
	dir := t.TempDir()
	path, aside := filepath.Join(dir, "j"), filepath.Join(dir, "aside")
	j := journalAt(t, path, begun)
	var entries []Revocation
	for i, away := range []func(string) error{
		os.Remove, func(name string) error { return os.Rename(name, aside) },
	} {
		e := Revocation{Time: after(time.Duration(2 * i)), Op: TokenRevoked, Token: "before"}
		appendTo(t, j, e)
		if err := away(path); err != nil {
			t.Fatal(err)
		}
		more := Revocation{Time: after(time.Duration(2*i + 1)), Op: TokenRevoked, Token: "after"}
		appendTo(t, j, more)
		entries = append(entries, e, more)
		got, err := ReadJournal(path)
		if err != nil || !reflect.DeepEqual(got.Revocations, entries) || !got.Since.Equal(begun) {
			t.Errorf("%d: got %+v, %v", i, got, err)
		}
	}

	text, _ := os.ReadFile(path)
	if err := errors.Join(os.Rename(path, aside), os.WriteFile(path, text, 0o600)); err != nil {
		t.Fatal(err)
	}
	lost := Revocation{Time: after(9), Op: TokenRevoked, Token: "unacknowledged"}
	if err := j.Append(lost); !errors.Is(err, errReplaced) {
		t.Errorf("got %v", err)
	}
	if err := j.Prune(after(48 * time.Hour)); !errors.Is(err, errReplaced) {
		t.Errorf("got %v", err)
	}
	if now, _ := os.ReadFile(path); !bytes.Equal(now, text) {
		t.Error("the other file was written to")
	}
	if err := os.Rename(aside, path); err != nil {
		t.Fatal(err)
	}
	appendTo(t, j, lost)
	if got, err := ReadJournal(path); err != nil || !reflect.DeepEqual(got.Revocations, append(entries, lost)) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestWhatTheJournalRemoves(t *testing.T) {
	h := Header{ID: "b", Time: begun}
	old, young := begun.Add(-time.Hour), begun.Add(24*time.Hour)
	token := func(key, user, consumer string, created time.Time) *tokenstore.AccessToken {
		return &tokenstore.AccessToken{Key: key, User: user, Consumer: consumer, Created: created}
	}
	request := func(user, consumer string) *tokenstore.RequestToken {
		r := &tokenstore.RequestToken{Key: "r", Consumer: consumer, Created: old}
		if user != "" {
			r.Review = &tokenstore.Review{User: user, Permission: "READ_PUBLIC"}
		}
		return r
	}
	consumer, future := &tokenstore.Consumer{Key: "c", Created: old}, &tokenstore.Consumer{Key: "c", Created: young}
	for name, c := range map[string]struct {
		journal []Revocation
		record  any
		want    string
	}{
		"nothing was revoked":               {nil, token("t", "u", "c", old), ""},
		"a token":                           {[]Revocation{{Time: after(1), Op: TokenRevoked, Token: "t"}}, token("t", "u", "c", old), Revoked},
		"another token":                     {[]Revocation{{Time: after(1), Op: TokenRevoked, Token: "x", User: "u", Consumer: "c"}}, token("t", "u", "c", old), ""},
		"long before the backup":            {[]Revocation{{Time: after(-time.Hour), Op: TokenRevoked, Token: "t"}}, token("t", "u", "c", old.Add(-time.Hour)), ""},
		"a moment before, by another clock": {[]Revocation{{Time: after(-time.Second), Op: TokenRevoked, Token: "t"}}, token("t", "u", "c", old), Revoked},
		"after the mark, by a wrong clock":  {[]Revocation{{Time: after(0), Op: BackupBegun, Backup: "b"}, {Time: after(-30 * time.Minute), Op: TokenRevoked, Token: "t"}}, token("t", "u", "c", old), Revoked},
		"a user of a token from tomorrow":   {[]Revocation{{Time: after(1), Op: GrantsRevoked, User: "u"}}, token("t", "u", "c", young), Revoked},
		"a token from tomorrow":             {[]Revocation{{Time: after(1), Op: TokenRevoked, Token: "t"}}, token("t", "u", "c", young), Revoked},
		"a deleted consumer from tomorrow":  {[]Revocation{{Time: after(1), Op: ConsumerDeleted, Consumer: "c"}}, future, Revoked},
		"a disabled one from tomorrow":      {[]Revocation{{Time: after(1), Op: ConsumerChanged, Consumer: "c", Disabled: true}}, future, Disabled},
		"a rotated one from tomorrow":       {[]Revocation{{Time: after(1), Op: ConsumerRotated, Consumer: "c"}}, future, Rotated},
		"a user":                            {[]Revocation{{Time: after(1), Op: GrantsRevoked, User: "u"}}, token("t", "u", "c", old), Revoked},
		"another user":                      {[]Revocation{{Time: after(1), Op: GrantsRevoked, User: "x"}}, token("t", "u", "c", old), ""},
		"a consumer":                        {[]Revocation{{Time: after(1), Op: GrantsRevoked, Consumer: "c"}}, token("t", "u", "c", old), Revoked},
		"a user's grants to a consumer":     {[]Revocation{{Time: after(1), Op: GrantsRevoked, User: "u", Consumer: "c"}}, token("t", "u", "c", old), Revoked},
		"to another consumer":               {[]Revocation{{Time: after(1), Op: GrantsRevoked, User: "u", Consumer: "x"}}, token("t", "u", "c", old), ""},
		"a token of a deleted consumer":     {[]Revocation{{Time: after(1), Op: ConsumerDeleted, Consumer: "c"}}, token("t", "u", "c", old), Revoked},
		"a reviewed request token":          {[]Revocation{{Time: after(1), Op: GrantsRevoked, User: "u"}}, request("u", "c"), Revoked},
		"the request of a revoked token":    {[]Revocation{{Time: after(1), Op: TokenRevoked, Token: "t", User: "u", Consumer: "c"}}, request("u", "c"), Revoked},
		"a waiting request token":           {[]Revocation{{Time: after(1), Op: GrantsRevoked, User: "u"}}, request("", "c"), ""},
		"a request token of a consumer":     {[]Revocation{{Time: after(1), Op: GrantsRevoked, Consumer: "c"}}, request("", "c"), Revoked},
		"a deleted consumer":                {[]Revocation{{Time: after(1), Op: ConsumerDeleted, Consumer: "c"}}, consumer, Revoked},
		"a disabled consumer":               {[]Revocation{{Time: after(1), Op: ConsumerChanged, Consumer: "c", Disabled: true}}, consumer, Disabled},
		"disabled and enabled":              {[]Revocation{{Time: after(1), Op: ConsumerChanged, Consumer: "c", Disabled: true}, {Time: after(2), Op: ConsumerChanged, Consumer: "c"}}, consumer, Changed},
		"a rotated consumer":                {[]Revocation{{Time: after(1), Op: ConsumerRotated, Consumer: "c"}, {Time: after(2), Op: ConsumerChanged, Consumer: "c"}}, consumer, Rotated},
	} {
		var r Revocations
		r.Add(h, c.journal, young)
		got, fate := r.Apply(c.record)
		if fate != c.want || (got == nil) != (c.want == Revoked) {
			t.Errorf("%s: got %v %q, want %q", name, got, fate, c.want)
		}
		if restored, ok := got.(*tokenstore.Consumer); ok && restored.Disabled != (fate == Disabled || fate == Rotated) {
			t.Errorf("%s: disabled: %v", name, restored.Disabled)
		}
	}
	if consumer.Disabled {
		t.Error("the record was changed")
	}
}

// TestTheLastChangeOfAConsumer: in one journal it is the last line, whatever the clock said; of
// several journals it is the newest, and within the margin the one that disabled.
func TestTheLastChangeOfAConsumer(t *testing.T) {
	change := func(at time.Duration, disabled bool) Revocation {
		return Revocation{Time: after(at), Op: ConsumerChanged, Consumer: "c", Disabled: disabled}
	}
	made := func(made time.Duration, order uint64, told time.Duration, disabled bool) Revocation {
		e := change(told, disabled)
		e.Made, e.Order = after(made), order
		return e
	}
	for name, c := range map[string]struct {
		journals [][]Revocation
		want     string
	}{
		"disabled after the clock was set back": {[][]Revocation{{change(10*time.Minute, false), change(6*time.Minute, true)}}, Disabled},
		"enabled after the clock was set back":  {[][]Revocation{{change(10*time.Minute, true), change(6*time.Minute, false)}}, Changed},
		"disabled later by another Caddy":       {[][]Revocation{{change(time.Minute, false)}, {change(3*time.Minute, true)}}, Disabled},
		"enabled later by another Caddy":        {[][]Revocation{{change(3*time.Minute, false)}, {change(time.Minute, true)}}, Changed},
		"disabled last, and told first":         {[][]Revocation{{made(2, 2, 3, true), made(1, 1, 4, false)}}, Disabled},
		"enabled last, and told first":          {[][]Revocation{{made(2, 2, 3, false), made(1, 1, 4, true)}}, Changed},
		"disabled by an earlier program":        {[][]Revocation{{made(1, 7, 1, false), change(2, true)}}, Disabled},
		"disabled after an earlier program":     {[][]Revocation{{change(1, false), made(2, 1, 2, true)}}, Disabled},
		"enabled before by another Caddy, and told long after": {[][]Revocation{
			{made(time.Minute, 1, 10*time.Minute, false)}, {made(3*time.Minute, 1, 3*time.Minute, true)},
		}, Disabled},
		"enabled within the margin":           {[][]Revocation{{change(2*time.Minute, false)}, {change(time.Minute, true)}}, Disabled},
		"enabled by two, and disabled before": {[][]Revocation{{change(1, true)}, {change(time.Minute, false)}, {change(2*time.Minute, false)}}, Changed},
	} {
		var r Revocations
		for _, journal := range c.journals {
			r.Add(Header{Time: begun}, journal, after(time.Hour))
		}
		if _, fate := r.Apply(&tokenstore.Consumer{Key: "c"}); fate != c.want {
			t.Errorf("%s: got %q, want %q", name, fate, c.want)
		}
	}
}

// TestABackupOfAClockThatWasAhead: its time says nothing, so a journal with its mark counts from
// there on, and any other one as a whole.
func TestABackupOfAClockThatWasAhead(t *testing.T) {
	h, now := Header{ID: "b", Time: begun.Add(9 * 365 * 24 * time.Hour)}, after(time.Hour)
	revoked := Revocation{Time: after(1), Op: TokenRevoked, Token: "t"}
	for name, c := range map[string]struct {
		journal []Revocation
		covers  bool
		want    string
	}{
		"without the mark": {[]Revocation{revoked}, false, Revoked},
		"after the mark":   {[]Revocation{{Time: h.Time, Op: BackupBegun, Backup: "b"}, revoked}, true, Revoked},
		"before the mark":  {[]Revocation{revoked, {Time: h.Time, Op: BackupBegun, Backup: "b"}}, true, ""},
	} {
		j := &JournalFile{JournalHeader: JournalHeader{Since: begun}, Revocations: c.journal}
		if got := j.Covers(h, now); got != c.covers {
			t.Errorf("%s: it covers the backup: %v", name, got)
		}
		var r Revocations
		r.Add(h, j.Revocations, now)
		if _, fate := r.Apply(&tokenstore.AccessToken{Key: "t"}); fate != c.want {
			t.Errorf("%s: the token: got %q, want %q", name, fate, c.want)
		}
	}
}

// TestTheOrderOfChanges: it goes on after a restart and a pruning.
func TestTheOrderOfChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	j := journalAt(t, path, begun)
	old := Revocation{Time: after(1), Op: TokenRevoked, Token: "old"}
	e := Revocation{Time: after(50 * time.Hour), Op: ConsumerChanged, Consumer: "c", Order: j.NextOrder()}
	later := j.NextOrder()
	appendTo(t, j, old, e)
	if err := j.Prune(after(48 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	if next := j.NextOrder(); next <= later {
		t.Errorf("after it was pruned: %d, want more than %d", next, later)
	}
	j.Close()
	j = journalAt(t, path, begun)
	defer j.Close()
	if next := j.NextOrder(); next <= e.Order {
		t.Errorf("after a restart: %d, want more than %d", next, e.Order)
	}
}

func FuzzJournal(f *testing.F) {
	line, _ := appendLine(nil, JournalHeader{Format: journalFormat, Store: "s", Since: begun})
	f.Add(line)
	two, _ := appendLine(line, Revocation{Time: begun, Op: TokenRevoked, Token: "t"})
	f.Add(two)
	f.Fuzz(func(t *testing.T, text []byte) {
		j, err := parseJournal(text)
		if err != nil {
			return
		}
		if j.size > int64(len(text)) {
			t.Fatalf("%d bytes of %d", j.size, len(text))
		}
		again, err := parseJournal(text[:j.size])
		if err != nil || !reflect.DeepEqual(again, j) {
			t.Errorf("the whole lines alone: %+v, %v", again, err)
		}
	})
}
