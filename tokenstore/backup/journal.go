package backup

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
)

// A Journal is a file of revocations: a line for each, which is on disk before Append returns. It
// lies outside the store, so that it is there when the store is lost. One process writes to it.
//
// A line is the CRC-32C of its JSON in eight hexadecimal digits, a space, the JSON, and a line feed.
// The first line is a JournalHeader.
type Journal struct {
	path string

	mu sync.Mutex
	// file is the file at path. It is nil if that was replaced and could not be opened: see replace.
	file   *os.File
	size   int64 // of what is whole
	header JournalHeader
	closed bool
	order  uint64 // the last that NextOrder returned
}

// A JournalHeader says what a journal is of.
type JournalHeader struct {
	Format int `json:"oauth1_revocations"`
	// Store is the store: see StoreID.
	Store string `json:"store"`
	// Since is from when on the journal is complete.
	Since time.Time `json:"since"`
	// Whole: nothing was ever removed from the journal. Its Caddy revoked nothing before Since, or
	// that is in another journal. The journals of earlier programs don't say so.
	Whole bool `json:"whole,omitempty"`
	// Pruned is the last entry that Prune removed. It removed all entries before that one too.
	Pruned *Revocation `json:"pruned,omitempty"`
}

// A JournalFile is a journal that was read.
type JournalFile struct {
	JournalHeader
	Revocations []Revocation
	// size is where the whole lines end.
	size int64
}

// Covers reports whether everything is in the journal that this process revoked since the backup
// was begun. A backup that says at its restore that it is still to come was begun by a wrong clock:
// then its mark alone counts.
func (j *JournalFile) Covers(h Header, now time.Time) bool {
	return !h.Time.After(now) && !j.Since.After(h.Time) || markOf(h, j.Revocations) >= 0
}

// Shortened reports whether Prune may have removed what was revoked since the backup, and the copies
// of a journal don't have it together. A copy counts if it covers the backup, if it is whole, or if
// another one that counts has all that was removed from it.
func Shortened(h Header, copies []*JournalFile, now time.Time) bool {
	rest, count := slices.Clone(copies), []*JournalFile(nil)
	for len(rest) > 0 {
		next := slices.IndexFunc(rest, func(j *JournalFile) bool {
			return j.Whole || j.Covers(h, now) || slices.ContainsFunc(count, j.continues)
		})
		if next < 0 {
			return true
		}
		count = append(count, rest[next])
		rest = slices.Delete(rest, next, next+1)
	}
	return false
}

// continues reports whether another copy has the last entry that was removed from this one. All that
// was removed stood before it.
func (j *JournalFile) continues(other *JournalFile) bool {
	return j.Pruned != nil && slices.ContainsFunc(other.Revocations, j.Pruned.equal)
}

// markOf returns where a journal has a backup's mark, or -1.
func markOf(h Header, journal []Revocation) int {
	return slices.IndexFunc(journal, func(e Revocation) bool { return e.Op == BackupBegun && e.Backup == h.ID })
}

const (
	journalFormat = 1
	journalPrefix = "revocations-"
	journalSuffix = ".journal"
	// DamagedSuffix is added to the name of a journal that can't be read.
	DamagedSuffix = ".damaged"
)

// ErrJournalDamaged: a line of a journal is not what was written.
var ErrJournalDamaged = errors.New("the journal of revocations is damaged")

// ErrOtherStore: a journal is of another store.
var ErrOtherStore = errors.New("the journal of revocations is of another store")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// JournalName is the name of a replica's journal, without a directory.
func JournalName(replica string) string {
	clean := []rune(replica)
	for i, r := range clean {
		ok := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '_'
		if !ok {
			clean[i] = '_'
		}
	}
	return journalPrefix + string(clean) + journalSuffix
}

// Journals returns the paths of the journals in a directory.
func Journals(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, e := range entries {
		if ok, _ := filepath.Match(journalPrefix+"*"+journalSuffix, e.Name()); ok {
			all = append(all, filepath.Join(dir, e.Name()))
		}
	}
	return all, nil
}

// Damaged returns the paths of the journals that were renamed because they could not be read, and
// that the one at the path has replaced.
func Damaged(path string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	var all []string
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), filepath.Base(path)+".")
		if at, damaged := strings.CutSuffix(rest, DamagedSuffix); ok && damaged {
			if _, err := time.Parse(nameTime, at); err == nil {
				all = append(all, filepath.Join(filepath.Dir(path), e.Name()))
			}
		}
	}
	return all, nil
}

// OpenJournal opens the journal of a store, and makes one if there is none. If the file is damaged,
// it is renamed, and damage says so: the journal that is returned begins now.
func OpenJournal(path, store string, now time.Time) (j *Journal, damage, err error) {
	defer func() {
		if err != nil {
			j, err = nil, fmt.Errorf("open the journal of revocations %q: %w", path, err)
		}
	}()
	j = &Journal{path: path}
	fresh := JournalHeader{Format: journalFormat, Store: store, Since: now, Whole: true}
	f, err := openLocked(path)
	if errors.Is(err, fs.ErrNotExist) {
		return j, nil, j.replace(fresh, nil)
	}
	if err != nil {
		return nil, nil, err
	}
	err = j.take(f, store)
	if err != nil {
		defer f.Close()
	}
	if !errors.Is(err, ErrJournalDamaged) {
		return j, nil, err
	}
	aside := path + "." + now.UTC().Format(nameTime) + DamagedSuffix
	damage = fmt.Errorf("%w: it was renamed to %q", err, aside)
	if err := os.Rename(path, aside); err != nil {
		return nil, nil, err
	}
	return j, damage, j.replace(fresh, nil)
}

// openFile is a variable for tests.
var openFile = os.OpenFile

// openLocked opens the file of a journal for this process alone.
func openLocked(path string) (*os.File, error) {
	f, err := openFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if err := lock(f); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("another process uses it: give each Caddy a path of its own: %w", err)
	}
	return f, nil
}

// take goes on with a file that was just opened, if it is a journal of the store.
func (j *Journal) take(f *os.File, store string) error {
	text, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	read, err := parseJournal(text)
	if err != nil {
		return err
	}
	if read.Store != store {
		return fmt.Errorf("%w: give each store a path of its own", ErrOtherStore)
	}
	if err := syncDir(filepath.Dir(j.path)); err != nil { // replace may have made the name, and no more
		return err
	}
	taken := Journal{file: f, size: read.size}
	if err := taken.cut(); err != nil {
		return err
	}
	j.file, j.size, j.header = f, read.size, read.JournalHeader
	for _, e := range read.Revocations {
		j.order = max(j.order, e.Order)
	}
	return nil
}

// NextOrder returns the Order of a change that the store is about to make. It is above that of all
// changes before, also of those that earlier processes wrote.
func (j *Journal) NextOrder() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.order++
	return j.order
}

// open opens the file at the path, and goes on with it.
func (j *Journal) open() error {
	f, err := openLocked(j.path)
	if err != nil {
		return err
	}
	if err := j.take(f, j.header.Store); err != nil {
		return errors.Join(err, f.Close())
	}
	return nil
}

// replace writes a new file with these entries, and goes on with it. Whatever fails, nothing is
// written from then on to a file that has lost its name: nobody would find it there.
func (j *Journal) replace(h JournalHeader, entries []Revocation) error {
	text, err := appendLine(nil, h)
	for _, e := range entries {
		if err == nil {
			text, err = appendLine(text, e)
		}
	}
	if err != nil {
		return err
	}
	old := j.file
	err = WriteFile(j.path, true, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	}, nil)
	if err != nil && (old == nil || !errors.Is(j.inPlace(), errReplaced)) {
		return err // there is no new file
	}
	j.file, j.header = nil, h
	if err == nil {
		err = j.open()
	}
	if old != nil {
		err = errors.Join(err, old.Close())
	}
	return err
}

// errReplaced: somebody put another file in the place of a journal.
var errReplaced = errors.New("another file is in its place since it was opened: put the journal back, " +
	"or move that file away, and it is written anew")

// inPlace reports whether the open file is still the one at the path.
func (j *Journal) inPlace() error {
	open, err := j.file.Stat()
	if err != nil {
		return err
	}
	there, err := os.Stat(j.path)
	if err == nil && !os.SameFile(open, there) {
		return errReplaced
	}
	return err
}

// ready sees to it that what is written to the open file is found at the path.
func (j *Journal) ready() error {
	if j.closed {
		return os.ErrClosed
	}
	if j.file == nil {
		return j.open()
	}
	err := j.inPlace()
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// It was moved away, or removed. The open file still has it all.
	text := make([]byte, j.size)
	if _, err := j.file.ReadAt(text, 0); err != nil {
		return err
	}
	read, err := parseJournal(text)
	if err != nil {
		return err
	}
	return j.replace(read.JournalHeader, read.Revocations)
}

// cut removes what a write left that did not end.
func (j *Journal) cut() error {
	if err := j.file.Truncate(j.size); err != nil {
		return err
	}
	_, err := j.file.Seek(j.size, io.SeekStart)
	return err
}

// Append writes a revocation. When it returns nil, the revocation is on disk.
func (j *Journal) Append(e Revocation) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.append(e); err != nil {
		return fmt.Errorf("write to the journal of revocations %q: %w", j.path, err)
	}
	return nil
}

func (j *Journal) append(e Revocation) error {
	line, err := appendLine(nil, e)
	if err == nil {
		err = j.ready()
	}
	if err != nil {
		return err
	}
	err = j.cut()
	if err == nil {
		_, err = j.file.Write(line)
	}
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		_ = j.cut() // the next call does it again
		return err
	}
	j.size += int64(len(line))
	return nil
}

// Prune forgets what no backup from the given one on needs. oldest is the time in that one's name.
func (j *Journal) Prune(oldest time.Time) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.ready(); err != nil {
		return fmt.Errorf("%q: %w", j.path, err)
	}
	text, err := os.ReadFile(j.path)
	if err != nil {
		return err
	}
	read, err := parseJournal(text)
	if err != nil {
		return fmt.Errorf("%q: %w", j.path, err)
	}
	cut := oldest.Add(-2 * Margin)
	// What stands behind the first entry from then on is kept, whatever its time is.
	removed := slices.IndexFunc(read.Revocations, func(e Revocation) bool { return !e.Time.Before(cut) })
	if removed < 0 {
		removed = len(read.Revocations)
	}
	if removed == 0 {
		return nil
	}
	h := read.JournalHeader
	h.Whole, h.Pruned = false, &read.Revocations[removed-1]
	if h.Since.Before(cut) {
		h.Since = cut
	}
	return j.replace(h, read.Revocations[removed:])
}

// Header says what the journal is of.
func (j *Journal) Header() JournalHeader {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.header
}

// Close ends the journal.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
	if j.file == nil {
		return nil
	}
	return j.file.Close()
}

// ReadJournal reads a journal. A last line that was being written is left out: nobody was told that
// its revocation was done.
func ReadJournal(path string) (*JournalFile, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	j, err := parseJournal(text)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", path, err)
	}
	return j, nil
}

func appendLine(text []byte, v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	text = fmt.Appendf(text, "%08x ", crc32.Checksum(b, castagnoli))
	return append(append(text, b...), '\n'), nil
}

func parseJournal(text []byte) (*JournalFile, error) {
	j := &JournalFile{}
	for number := 1; len(text) > 0; number++ {
		line, rest, whole := bytes.Cut(text, []byte("\n"))
		if !whole && number > 1 { // a write that did not end
			break
		}
		sum, body, ok := bytes.Cut(line, []byte(" "))
		want, err := strconv.ParseUint(string(sum), 16, 32)
		if !ok || !whole || len(sum) != 8 || err != nil || crc32.Checksum(body, castagnoli) != uint32(want) {
			return nil, fmt.Errorf("%w in line %d", ErrJournalDamaged, number)
		}
		var into any = &j.JournalHeader
		if number > 1 {
			j.Revocations = append(j.Revocations, Revocation{})
			into = &j.Revocations[len(j.Revocations)-1]
		}
		if err := json.Unmarshal(body, into); err != nil {
			return nil, fmt.Errorf("%w in line %d: %w", ErrJournalDamaged, number, err)
		}
		if number == 1 && j.Format > journalFormat {
			return nil, fmt.Errorf("a journal %w: version %d, and it knows 1 to %d: "+
				"run the program that wrote it, or a newer one", record.ErrVersion, j.Format, journalFormat)
		}
		if number == 1 && j.Format < 1 {
			return nil, fmt.Errorf("%w: it has no header", ErrJournalDamaged)
		}
		j.size += int64(len(line)) + 1
		text = rest
	}
	if j.Format == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrJournalDamaged)
	}
	return j, nil
}
