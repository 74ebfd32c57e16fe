package audit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

var testKey = Key([32]byte{1, 2, 3})

// memory is a Sink that can fail.
type memory struct {
	mu     sync.Mutex
	lines  [][]byte
	strict bool
	fails  bool
}

func (m *memory) Strict() bool { return m.strict }

func (m *memory) Write(lines []*Line) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails {
		return errors.New("disk full")
	}
	for _, l := range lines {
		text, err := l.JSON()
		if err != nil {
			return err
		}
		m.lines = append(m.lines, text)
	}
	return nil
}

func (m *memory) fail(fails bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fails = fails
}

// kept is what a store keeps.
type kept struct {
	mu   sync.Mutex
	head []byte
}

func (k *kept) keep(head []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.head = head
	return nil
}

func (k *kept) heads(t *testing.T) []Head {
	t.Helper()
	head, err := ParseHead(k.head)
	if err != nil {
		t.Fatal(err)
	}
	return []Head{head}
}

func open(s Sink, k *kept, before *Head) (t *Trail, failures *atomic.Int64) {
	failures = new(atomic.Int64)
	return Open(Options{
		Key: testKey, Sink: s, Keep: k.keep, Before: before, Now: time.Now,
		Failed: func(error) { failures.Add(1) },
	}), failures
}

func verify(lines [][]byte, heads []Head, part bool) Report {
	v := NewVerifier(testKey)
	for _, l := range lines {
		v.Line(l)
	}
	return v.End(heads, part)
}

// twoRuns returns the lines of a process and of the one after it, and the last head.
func twoRuns(t *testing.T) ([][]byte, []Head) {
	t.Helper()
	var s memory
	var k kept
	for run := range 2 {
		var before *Head
		if run > 0 {
			before = &k.heads(t)[0]
		}
		trail, _ := open(&s, &k, before)
		for i := range 4 {
			if err := trail.Tell(&Event{
				Name: ConsumerChanged, Actor: "operator", Consumer: fmt.Sprint("c", i), Count: i,
				Changes: []Change{{"name", "a\xff", "<b>&"}}, Expires: time.Unix(1e9, 5),
			}); err != nil {
				t.Fatal(err)
			}
		}
		trail.Close()
	}
	return s.lines, k.heads(t)
}

func TestWholeTrailIsVerified(t *testing.T) {
	t.Parallel()
	lines, heads := twoRuns(t)
	r := verify(lines, heads, false)
	if len(r.Problems) > 0 || r.Lines != 10 || len(r.Chains) != 2 || r.Chains[1].Last != 5 {
		t.Errorf("%+v", r)
	}
}

func TestTamperedTrailIsFound(t *testing.T) {
	t.Parallel()
	lines, heads := twoRuns(t)
	edit := func(from, to string) func([][]byte) [][]byte {
		return func(l [][]byte) [][]byte {
			l[3] = bytes.Replace(l[3], []byte(from), []byte(to), 1)
			return l
		}
	}
	for name, tamper := range map[string]func([][]byte) [][]byte{
		"a line is removed":                   func(l [][]byte) [][]byte { return slices.Delete(l, 3, 4) },
		"the first line is removed":           func(l [][]byte) [][]byte { return l[1:] },
		"the last line is removed":            func(l [][]byte) [][]byte { return l[:9] },
		"the last line of a run is removed":   func(l [][]byte) [][]byte { return slices.Delete(l, 4, 5) },
		"the first line of a run is removed":  func(l [][]byte) [][]byte { return slices.Delete(l, 5, 6) },
		"the first run is removed":            func(l [][]byte) [][]byte { return l[5:] },
		"the last run is removed":             func(l [][]byte) [][]byte { return l[:5] },
		"two lines are swapped":               func(l [][]byte) [][]byte { l[2], l[3] = l[3], l[2]; return l },
		"a line is there twice":               func(l [][]byte) [][]byte { return slices.Insert(l, 4, l[3]) },
		"a text is changed":                   edit(`"operator"`, `"nobody"`),
		"a change is changed":                 edit(`<b>`, `<i>`),
		"a number is changed":                 edit(`"count":2`, `"count":3`),
		"a time is changed":                   edit(`2001-09-09`, `2002-09-09`),
		"a field is removed":                  edit(`"actor":"operator",`, ``),
		"a field is added":                    edit(`"actor"`, `"token":"t","actor"`),
		"a field is moved to another":         edit(`"actor":`, `"client":`),
		"a line becomes unreadable":           edit(`"hash"`, `"hush"`),
		"a line goes over to another chain":   func(l [][]byte) [][]byte { l[3] = l[8]; return l },
		"all lines are of another store":      func(l [][]byte) [][]byte { return foreign(t, len(l)) },
		"a hash is replaced by the one after": func(l [][]byte) [][]byte { l[3] = rehash(l[3], l[4]); return l },
	} {
		t.Run(name, func(t *testing.T) {
			copied := make([][]byte, len(lines))
			for i := range lines {
				copied[i] = bytes.Clone(lines[i])
			}
			if r := verify(tamper(copied), heads, false); len(r.Problems) == 0 {
				t.Error("nothing was found")
			}
		})
	}
}

// TestFilesOfATrail: the trail went to one file, to another, and back to the first. Whichever file is
// given first, it is whole, and whatever is missing, twice or swapped within a file is found.
func TestFilesOfATrail(t *testing.T) {
	t.Parallel()
	lines, heads := twoRuns(t)
	join := func(parts ...[][]byte) []byte { return slices.Concat(slices.Concat(parts...)...) }
	swapped := slices.Clone(lines)
	swapped[1], swapped[2] = lines[2], lines[1]
	for name, c := range map[string]struct {
		files [][]byte
		want  string
	}{
		"back and forth":           {[][]byte{join(lines[:2], lines[3:4], lines[7:]), join(lines[2:3], lines[4:7])}, ""},
		"the other one first":      {[][]byte{join(lines[2:3], lines[4:7]), join(lines[:2], lines[3:4], lines[7:])}, ""},
		"the newest first":         {[][]byte{join(lines[6:]), join(lines[3:6]), join(lines[:3])}, ""},
		"three, with other lines":  {[][]byte{join(lines[:3]), []byte("another line\n\n"), join(lines[3:])}, ""},
		"a line is in no file":     {[][]byte{join(lines[:2], lines[4:]), join(lines[2:3])}, "seq 4 of chain"},
		"a line is in both":        {[][]byte{join(lines[:2], lines[3:]), join(lines[2:4])}, "there twice"},
		"a file is given twice":    {[][]byte{join(lines), join(lines)}, "there twice"},
		"swapped in a file":        {[][]byte{join(swapped[:4]), join(swapped[4:])}, "swapped"},
		"the first line is gone":   {[][]byte{join(lines[3:]), join(lines[1:3])}, "seq 1 of chain"},
		"the last one of a run is": {[][]byte{join(lines[5:]), join(lines[:4])}, "missing at its end"},
		"a separator in a file": {[][]byte{join(lines[:2], lines[3:4], [][]byte{[]byte("guessed\n")}, lines[2:3], lines[4:])},
			"swapped"},
	} {
		v := NewVerifier(testKey)
		v.Separator = []byte("separator")
		if err := v.Read(bytes.NewReader(bytes.Join(c.files, []byte("separator\n")))); err != nil {
			t.Fatal(err)
		}
		r := v.End(heads, false)
		if c.want == "" && (len(r.Problems) > 0 || r.Lines != 10 || r.Chains[0].First != 1 || r.Chains[0].Last != 5) ||
			c.want != "" && !strings.Contains(fmt.Sprint(r.Problems), c.want) {
			t.Errorf("%s: got %+v, want %q", name, r, c.want)
		}
		if n := bytes.Count(slices.Concat(c.files...), []byte("\n")); v.line != n {
			t.Errorf("%s: %d lines, want %d", name, v.line, n)
		}
	}
}

// TestManyGaps: each is found, though the first ones alone are remembered.
func TestManyGaps(t *testing.T) {
	t.Parallel()
	v := NewVerifier(testKey)
	const n = 2 * maxStretches
	for i := range uint64(n) {
		l := &Line{Version: Schema, Chain: "c", Seq: 2*i + 1}
		l.Hash = l.sum(testKey)
		text, err := l.JSON()
		if err != nil {
			t.Fatal(err)
		}
		v.Line(text)
	}
	if kept := len(v.chains["c"].stretches); kept > maxStretches {
		t.Errorf("%d stretches are remembered", kept)
	}
	if r := v.End(nil, false); len(r.Problems)+r.More != n-1 {
		t.Errorf("%d problems, want %d", len(r.Problems)+r.More, n-1)
	}
}

// TestALineThatIsTooLong: it is a problem, and those after it are verified with their numbers.
func TestALineThatIsTooLong(t *testing.T) {
	t.Parallel()
	lines, heads := twoRuns(t)
	long := bytes.Repeat([]byte("x"), maxLine+1)
	for name, c := range map[string]struct {
		text []byte
		want []int
	}{
		"between":              {slices.Concat(lines[0], long, []byte("\n"), slices.Concat(lines[1:]...)), []int{2}},
		"at the end, not over": {slices.Concat(slices.Concat(lines...), long), []int{11}},
		"two, and a gap":       {slices.Concat(long, []byte("\n"), long, []byte("\n"), lines[0], slices.Concat(lines[2:]...)), []int{1, 2, 4}},
		"as long as allowed":   {slices.Concat(slices.Concat(lines...), long[:maxLine-1], []byte("\n")), nil},
	} {
		v := NewVerifier(testKey)
		if err := v.Read(bytes.NewReader(c.text)); err != nil {
			t.Fatal(err)
		}
		var got []int
		r := v.End(heads, false)
		for _, p := range r.Problems {
			got = append(got, p.Line)
		}
		if !slices.Equal(got, c.want) || r.Lines < 9 {
			t.Errorf("%s: %+v, want problems in lines %v", name, r, c.want)
		}
	}
}

func rehash(line, other []byte) []byte {
	return append(line[:bytes.Index(line, []byte(`"hash"`))], other[bytes.Index(other, []byte(`"hash"`)):]...)
}

func foreign(t *testing.T, n int) [][]byte {
	var s memory
	trail := Open(Options{Key: Key([32]byte{9}), Sink: &s, Now: time.Now, Failed: func(err error) { t.Error(err) }})
	for range n {
		_ = trail.Tell(&Event{Name: ConsumerAdded})
	}
	trail.Close()
	return s.lines
}

func TestPartOfATrail(t *testing.T) {
	t.Parallel()
	lines, heads := twoRuns(t)
	if r := verify(lines[2:7], heads, true); len(r.Problems) > 0 || r.Lines != 5 {
		t.Errorf("a part: %+v", r)
	}
	if r := verify(slices.Delete(slices.Clone(lines[2:9]), 1, 2), heads, true); len(r.Problems) == 0 {
		t.Error("a part with a gap: nothing was found")
	}
}

// Several processes write to one log.
func TestChainsDoNotMix(t *testing.T) {
	t.Parallel()
	var s memory
	var k [3]kept
	var all sync.WaitGroup
	var heads []Head
	for i := range k {
		trail, _ := open(&s, &k[i], nil)
		all.Go(func() {
			for range 20 {
				_ = trail.Tell(&Event{Name: AccessTokenRevoked})
			}
			trail.Close()
		})
	}
	all.Wait()
	for i := range k {
		heads = append(heads, k[i].heads(t)...)
	}
	if r := verify(s.lines, heads, false); len(r.Problems) > 0 || len(r.Chains) != 3 || r.Lines != 63 {
		t.Errorf("%+v", r)
	}
}

// What was done while a strict trail could not be written is written later, in the same chain. What
// was only announced is not.
func TestStrictTrailOwesWhatWasDone(t *testing.T) {
	t.Parallel()
	s, k := &memory{strict: true}, new(kept)
	trail, failures := open(s, k, nil)
	s.fail(true)
	if err := trail.Begin(&Event{Name: ConsumerAdded}, false); err == nil {
		t.Error("a change may begin that can't be written")
	}
	if err := trail.Tell(&Event{Name: AccessTokenRevoked}); err == nil {
		t.Error("a line is acknowledged that can't be written")
	}
	s.fail(false)
	if err := trail.Tell(&Event{Name: ConsumerChanged}); err != nil {
		t.Fatal(err)
	}
	trail.Close()
	text := string(bytes.Join(s.lines, nil))
	if strings.Contains(text, string(ConsumerAdded)) || !strings.Contains(text, string(AccessTokenRevoked)) {
		t.Errorf("the trail: %s", text)
	}
	if r := verify(s.lines, k.heads(t), false); len(r.Problems) > 0 || r.Lines != 3 {
		t.Errorf("%+v", r)
	}
	if n := failures.Load(); n != 2 {
		t.Errorf("%d failures were told, want 2", n)
	}
}

func TestFileIsRotatedByRenaming(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	file, err := NewFile(path)
	if err != nil {
		t.Fatal(err)
	}
	k := new(kept)
	trail, _ := open(file, k, nil)
	for i := range 3 {
		if err := trail.Tell(&Event{Name: ConsumerAdded}); err != nil {
			t.Fatal(err)
		}
		if i < 2 {
			if err := os.Rename(path, fmt.Sprint(path, i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	trail.Close()
	v := NewVerifier(testKey)
	for _, name := range []string{path + "0", path + "1", path} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Read(bytes.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	if r := v.End(k.heads(t), false); len(r.Problems) > 0 || r.Lines != 4 {
		t.Errorf("%+v", r)
	}
}

// A line that a crash cut short is passed over, and does not spoil the next one.
func TestFileWithACutLine(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(path, []byte(`{"v":1,"chain":"x`), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := NewFile(path)
	if err != nil {
		t.Fatal(err)
	}
	k := new(kept)
	trail, _ := open(file, k, nil)
	trail.Close()
	text, _ := os.ReadFile(path)
	if r := verify(bytes.Split(text, []byte("\n")), k.heads(t), false); len(r.Problems) > 0 || r.Lines != 1 {
		t.Errorf("%+v: %s", r, text)
	}
}

// A line in Caddy's log has the same fields, in its JSON and in its console format.
func TestLogLinesAreVerified(t *testing.T) {
	t.Parallel()
	for name, encoder := range map[string]zapcore.Encoder{
		"json":    zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()),
		"console": zapcore.NewConsoleEncoder(zap.NewProductionEncoderConfig()),
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			logger := zap.New(zapcore.NewCore(encoder, zapcore.AddSync(&out), zap.InfoLevel)).Named("oauth1.audit")
			k := new(kept)
			trail, failures := open(Log{logger}, k, nil)
			_ = trail.Tell(&Event{
				Name: ConsumerChanged, Consumer: "a \"b\" \xff <é>", Count: 7, Trace: "t",
				Changes: []Change{{"callbacks", "", `["https://x/?a&b"]`}, {Field: "name", From: "n"}},
			})
			logger.Info("another line")
			trail.Close()
			if r := verify(bytes.Split(out.Bytes(), []byte("\n")), k.heads(t), false); len(r.Problems) > 0 || r.Lines != 2 {
				t.Errorf("%+v: %s", r, out.String())
			}
			if n := failures.Load(); n != 0 {
				t.Errorf("%d failures", n)
			}
		})
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("disk full") }
func (fullDisk) Sync() error               { return nil }

func TestLogThatFailsIsNoticed(t *testing.T) {
	t.Parallel()
	encoder := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
	for name, level := range map[string]zapcore.Level{"can't be written": zap.InfoLevel, "takes errors only": zap.ErrorLevel} {
		t.Run(name, func(t *testing.T) {
			trail, failures := open(Log{zap.New(zapcore.NewCore(encoder, fullDisk{}, level))}, new(kept), nil)
			if err := trail.Tell(&Event{Name: ConsumerAdded}); err != nil {
				t.Errorf("a counted trail refuses a change: %v", err)
			}
			trail.Close()
			if n := failures.Load(); n != 2 {
				t.Errorf("%d failures, want 2", n)
			}
		})
	}
}

// TestWrittenTrailStaysGenuine verifies a trail that an earlier build wrote with testKey, a version 1:
// trails are kept for years.
func TestWrittenTrailStaysGenuine(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(writtenTrail)
	if err != nil {
		t.Fatal(err)
	}
	v := NewVerifier(testKey)
	if err := v.Read(bytes.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	if r := v.End(nil, true); len(r.Problems) > 0 || r.Lines != 2 {
		t.Errorf("%+v", r)
	}
}

const writtenTrail = "testdata/trail.jsonl"

func FuzzVerify(f *testing.F) {
	// The lines must be the same in each process of the fuzzer: what it tries is made by one of them.
	written, err := os.ReadFile(writtenTrail)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(written)
	f.Add([]byte("text\t{\"v\":1,\"chain\":\"c\",\"seq\":1,\"hash\":\"00\"}\n"))
	genuine := make(map[string]bool)
	for l := range bytes.Lines(written) {
		genuine[parseLine(l).Hash] = true
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		v := NewVerifier(testKey)
		if err := v.Read(bytes.NewReader(text)); err != nil {
			return
		}
		r := v.End(nil, true)
		if len(r.Problems)+r.More > 0 {
			return
		}
		// Lines without a fault have hashes that the trail has made.
		for _, l := range bytes.Split(text, []byte("\n")) {
			if parsed := parseLine(bytes.TrimSpace(l)); parsed != nil && !genuine[parsed.Hash] {
				t.Errorf("a forged line passes: %s", l)
			}
		}
	})
}

// TestParts: changes that are too many for a line come in several, none of which is long, and none
// is lost.
func TestParts(t *testing.T) {
	var all []Change
	for i := range 10_000 {
		all = append(all, Change{Field: fmt.Sprint("consumer ", i), From: strings.Repeat("x", i), To: "\x00"})
	}
	var joined []Change
	n := 0
	for part := range Parts(all) {
		n++
		joined = append(joined, part...)
		l := newLine(&Event{Name: ConfigurationLoaded, Changes: part}, time.Now())
		if text, err := l.JSON(); err != nil || len(text) > maxLine/2 {
			t.Errorf("a line of %d bytes, %v", len(text), err)
		}
	}
	if n < 2 || !slices.Equal(joined, all) {
		t.Errorf("%d parts with %d changes", n, len(joined))
	}
	n = 0
	for part := range Parts(nil) {
		n++
		if len(part) > 0 {
			t.Errorf("got %v", part)
		}
	}
	if n != 1 {
		t.Errorf("no changes are %d parts, want 1", n)
	}
}
