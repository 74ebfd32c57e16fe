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

	mu     sync.Mutex
	file   *os.File
	size   int64 // of what is whole
	header JournalHeader
}

// A JournalHeader says what a journal is of.
type JournalHeader struct {
	Format int `json:"oauth1_revocations"`
	// Store is the store: see StoreID.
	Store string `json:"store"`
	// Since is from when on the journal is complete.
	Since time.Time `json:"since"`
}

// A JournalFile is a journal that was read.
type JournalFile struct {
	JournalHeader
	Revocations []Revocation
	// size is where the whole lines end.
	size int64
}

// Covers reports whether everything is in the journal that this process revoked since the backup
// was begun.
func (j *JournalFile) Covers(h Header) bool {
	return !j.Since.After(h.Time) || slices.ContainsFunc(j.Revocations, func(e Revocation) bool {
		return e.Op == BackupBegun && e.Backup == h.ID
	})
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

// OpenJournal opens the journal of a store, and makes one if there is none. If the file is damaged,
// it is renamed, and damage says so: the journal that is returned begins now.
func OpenJournal(path, store string, now time.Time) (j *Journal, damage, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("open the journal of revocations %q: %w", path, err)
		}
	}()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		j, err = makeJournal(path, JournalHeader{journalFormat, store, now}, nil)
		return j, nil, err
	}
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil || damage != nil {
			_ = f.Close()
		}
	}()
	if err := lock(f); err != nil {
		return nil, nil, fmt.Errorf("another process uses it: give each Caddy a path of its own: %w", err)
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return nil, nil, err
	}
	read, err := parseJournal(text)
	switch {
	case errors.Is(err, ErrJournalDamaged):
		aside := path + "." + now.UTC().Format(nameTime) + DamagedSuffix
		damage = fmt.Errorf("%w: it was renamed to %q", err, aside)
		if err := os.Rename(path, aside); err != nil {
			return nil, nil, err
		}
		j, err = makeJournal(path, JournalHeader{journalFormat, store, now}, nil)
		return j, damage, err
	case err != nil:
		return nil, nil, err
	case read.Store != store:
		return nil, nil, fmt.Errorf("%w: give each store a path of its own", ErrOtherStore)
	}
	j = &Journal{path: path, file: f, size: read.size, header: read.JournalHeader}
	return j, nil, j.cut()
}

// makeJournal writes a new file.
func makeJournal(path string, h JournalHeader, entries []Revocation) (*Journal, error) {
	text, err := appendLine(nil, h)
	for _, e := range entries {
		if err == nil {
			text, err = appendLine(text, e)
		}
	}
	if err != nil {
		return nil, err
	}
	if err := WriteFile(path, true, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	}, nil); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if err := lock(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Journal{path: path, file: f, size: int64(len(text)), header: h}, nil
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
	line, err := appendLine(nil, e)
	if err == nil {
		err = j.cut()
	}
	if err == nil {
		_, err = j.file.Write(line)
	}
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		_ = j.cut() // the next call does it again
		return fmt.Errorf("write to the journal of revocations %q: %w", j.path, err)
	}
	j.size += int64(len(line))
	return nil
}

// Prune forgets what no backup from the given one on needs. The backup's time is that of its name;
// its ID may be empty.
func (j *Journal) Prune(oldest time.Time) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	text, err := os.ReadFile(j.path)
	if err != nil {
		return err
	}
	read, err := parseJournal(text)
	if err != nil {
		return fmt.Errorf("%q: %w", j.path, err)
	}
	cut := oldest.Add(-2 * Margin)
	// The first mark from then on: what stands behind it is kept, whatever its time is.
	mark := slices.IndexFunc(read.Revocations, func(e Revocation) bool {
		return e.Op == BackupBegun && !e.Time.Before(cut)
	})
	var kept []Revocation
	for i, e := range read.Revocations {
		if !e.Time.Before(cut) || mark >= 0 && i >= mark {
			kept = append(kept, e)
		}
	}
	if len(kept) == len(read.Revocations) {
		return nil
	}
	h := read.JournalHeader
	if h.Since.Before(cut) {
		h.Since = cut
	}
	next, err := makeJournal(j.path, h, kept)
	if err != nil {
		return err
	}
	old := j.file
	j.file, j.size, j.header = next.file, next.size, h
	return old.Close()
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
