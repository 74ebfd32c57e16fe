package audit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// stuck is a Sink that hangs from hang to goOn.
type stuck struct {
	memory
	hangs atomic.Pointer[chan struct{}]
}

func (s *stuck) hang() {
	hangs := make(chan struct{})
	s.hangs.Store(&hangs)
}

func (s *stuck) goOn() { close(*s.hangs.Load()) }

func (s *stuck) Write(lines []*Line) error {
	if hangs := s.hangs.Load(); hangs != nil {
		<-*hangs
	}
	return s.memory.Write(lines)
}

// texts returns "event outcome begun" of the lines after the first one.
func texts(lines [][]byte) (all []string) {
	for _, text := range lines[1:] {
		l := parseLine(text)
		all = append(all, fmt.Sprint(l.Event, " ", l.Outcome, " ", l.Begun))
	}
	return all
}

// hanging runs a test with a trail whose sink hangs. The test is given a function that returns what
// was written after the sink went on.
func hanging(t *testing.T, strict bool, test func(t *testing.T, trail *Trail, goOn func() []string)) (failures int64) {
	synctest.Test(t, func(t *testing.T) {
		s, k := &stuck{memory: memory{strict: strict}}, new(kept)
		trail, failed := open(s, k, nil)
		s.hang()
		test(t, trail, func() []string {
			s.goOn()
			trail.Close()
			if r := verify(s.lines, k.heads(t), false); len(r.Problems) > 0 || r.Lines != len(s.lines) {
				t.Errorf("%+v", r)
			}
			return texts(s.lines)
		})
		failures = failed.Load()
	})
	return failures
}

// took fails unless the call takes as long as it should.
func took(t *testing.T, want time.Duration, call func()) {
	t.Helper()
	begin := time.Now()
	if call(); time.Since(begin) != want {
		t.Errorf("it took %v, want %v", time.Since(begin), want)
	}
}

func TestCountedTrailThatHangsDelaysOneChangeAlone(t *testing.T) {
	t.Parallel()
	failures := hanging(t, false, func(t *testing.T, trail *Trail, goOn func() []string) {
		for i, wait := range []time.Duration{Patience, 0, 0} {
			took(t, wait, func() {
				if err := trail.Tell(&Event{Name: AccessTokenRevoked}); err != nil {
					t.Errorf("number %d: a counted trail refuses a change: %v", i, err)
				}
			})
		}
		const line = "access_token.revoked done 0"
		if got := goOn(); !slices.Equal(got, []string{line, line, line}) {
			t.Errorf("written later: %q", got)
		}
	})
	if failures != 3 {
		t.Errorf("%d failures were told, want 3", failures)
	}
}

// slow is a Sink that takes three seconds for each call.
type slow struct{ memory }

func (s *slow) Write(lines []*Line) error {
	time.Sleep(3 * time.Second)
	return s.memory.Write(lines)
}

// TestSlowTrailIsNotOneThatHangs: a line that comes during a write has the whole patience too.
func TestSlowTrailIsNotOneThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, k := &slow{memory{strict: true}}, new(kept)
		trail, failures := open(s, k, nil)
		defer trail.Close()
		var first sync.WaitGroup
		first.Go(func() {
			if err := trail.Begin(&Event{Name: ConsumerAdded}, false); err != nil {
				t.Errorf("the first: %v", err)
			}
		})
		time.Sleep(2 * time.Second)
		took(t, 4*time.Second, func() { // until the second write ends
			if err := trail.Begin(&Event{Name: ConsumerAdded}, false); err != nil {
				t.Errorf("the second: %v", err)
			}
		})
		first.Wait()
		if n := failures.Load(); n != 0 {
			t.Errorf("%d failures were told", n)
		}
	})
}

func TestStrictTrailThatHangsRefusesInTime(t *testing.T) {
	t.Parallel()
	failures := hanging(t, true, func(t *testing.T, trail *Trail, goOn func() []string) {
		for i, wait := range []time.Duration{Patience, 0} {
			took(t, wait, func() {
				if err := trail.Begin(&Event{Name: ConsumerAdded}, false); err == nil {
					t.Errorf("number %d: a change may begin that is not announced", i)
				}
			})
		}
		// The first was on its way to the disk already. Nobody must take it for a change.
		want := []string{"consumer.added begun 0", "consumer.added failed 2"}
		if got := goOn(); !slices.Equal(got, want) {
			t.Errorf("written later: %q, want %q", got, want)
		}
	})
	if failures != 2 {
		t.Errorf("%d failures were told, want 2", failures)
	}
}

func TestStrictTrailThatHangsOwesWhatIsNeeded(t *testing.T) {
	t.Parallel()
	hanging(t, true, func(t *testing.T, trail *Trail, goOn func() []string) {
		event := &Event{Name: AccessTokenRevoked}
		took(t, Patience, func() {
			if trail.Begin(event, true) == nil || trail.Tell(event) == nil {
				t.Error("a line is acknowledged that is not written")
			}
		})
		want := []string{"access_token.revoked begun 0", "access_token.revoked done 2"}
		if got := goOn(); !slices.Equal(got, want) {
			t.Errorf("written later: %q, want %q", got, want)
		}
	})
}

func TestTrailThatHangsCountsWhatItLoses(t *testing.T) {
	t.Parallel()
	failures := hanging(t, false, func(t *testing.T, trail *Trail, goOn func() []string) {
		for range maxOwed + 1 + 3 { // one of them is on its way
			_ = trail.Tell(&Event{Name: AccessTokenRevoked})
		}
		got := goOn()
		if n := len(got); n != maxOwed+2 || got[n-1] != "audit.lost done 0" {
			t.Errorf("%d lines, the last %q", n, got[n-1])
		}
	})
	if failures != maxOwed+4 {
		t.Errorf("%d failures were told, want %d", failures, maxOwed+4)
	}
}

func TestTrailThatHangsIsClosedInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, k := new(stuck), new(kept)
		trail, _ := open(s, k, nil)
		s.hang()
		defer s.goOn()
		took(t, Patience, func() { _ = trail.Tell(&Event{Name: ConsumerAdded}) })
		took(t, Patience, trail.Close)
		took(t, Patience, func() {
			if trail.Release(func() error { return nil }) == nil {
				t.Error("the sink is released while it is written")
			}
		})
	})
}

// A line that announced a change and was not written has no number that another line could name.
func TestLineThatWasNotAnnouncedNamesNone(t *testing.T) {
	t.Parallel()
	s, k := &memory{strict: true}, new(kept)
	trail, _ := open(s, k, nil)
	event := &Event{Name: AccessTokenRevoked}
	s.fail(true)
	if err := trail.Begin(event, true); err == nil {
		t.Error("announced to a full disk")
	}
	s.fail(false)
	if err := trail.Tell(event); err != nil {
		t.Error(err)
	}
	trail.Close()
	if got := texts(s.lines); !slices.Equal(got, []string{"access_token.revoked done 0"}) {
		t.Errorf("%q", got)
	}
}

// An endedFile is a File that refuses lines after its end: File itself would open again.
type endedFile struct {
	*File
	ended chan struct{}
}

func (f *endedFile) Write(lines []*Line) error {
	select {
	case <-f.ended:
		return errors.New("the file is closed already")
	default:
		return f.File.Write(lines)
	}
}

func (f *endedFile) end() error {
	close(f.ended)
	return f.Close()
}

// TestReloadsWhileLinesAreWritten: another configuration has a File of its own for the same path.
// Under the race detector it also shows that none is closed while it is written.
func TestReloadsWhileLinesAreWritten(t *testing.T) {
	t.Parallel()
	const writers, each = 8, 40
	path := filepath.Join(t.TempDir(), "audit.log")
	newFile := func() *endedFile {
		file, err := NewFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return &endedFile{file, make(chan struct{})}
	}
	file, k := newFile(), new(kept)
	trail, failures := open(file, k, nil)
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := range each {
				if err := trail.Tell(&Event{Name: AccessTokenRevoked, User: fmt.Sprint(w), Count: i + 1}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	written := make(chan struct{})
	go func() { writing.Wait(); close(written) }()
	for reloads := true; reloads; {
		select {
		case <-written:
			reloads = false
		default:
		}
		next := newFile()
		trail.Use(next)
		if err := trail.Release(file.end); err != nil {
			t.Error(err)
		}
		file = next
	}
	trail.Close()
	if err := file.end(); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	v, last := NewVerifier(testKey), make(map[string]int)
	for line := range bytes.Lines(text) {
		v.Line(line)
		if l := parseLine(line); l.User != "" {
			if l.Count != last[l.User]+1 {
				t.Errorf("writer %s: line %d comes after %d", l.User, l.Count, last[l.User])
			}
			last[l.User] = l.Count
		}
	}
	if r := v.End(k.heads(t), false); len(r.Problems) > 0 || r.Lines != writers*each+1 || failures.Load() != 0 {
		t.Errorf("%+v, %d failures", r, failures.Load())
	}
}
