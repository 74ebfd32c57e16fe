package backup

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	namePrefix = "oauth1-"
	nameTime   = "20060102T150405Z"
	nameSuffix = ".backup"
)

// UnfinishedNames is a pattern of the files that are left when the writing of a backup with a name
// of FileName is interrupted.
const UnfinishedNames = namePrefix + "*" + nameSuffix + UnfinishedSuffix

// FileName is the name of a backup that was begun at a time, without a directory.
func FileName(at time.Time) string { return namePrefix + at.UTC().Format(nameTime) + nameSuffix }

// TimeOfName returns the time in a name that FileName made.
func TimeOfName(name string) (time.Time, bool) {
	rest, ok := strings.CutPrefix(name, namePrefix)
	if !ok {
		return time.Time{}, false
	}
	if rest, ok = strings.CutSuffix(rest, nameSuffix); !ok {
		return time.Time{}, false
	}
	at, err := time.Parse(nameTime, rest)
	return at, err == nil && FileName(at) == name
}

// A Kept is a backup in a directory.
type Kept struct {
	Path string
	Time time.Time
}

// List returns the backups in a directory that have names by FileName, the oldest first.
func List(dir string) (all []Kept, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if at, ok := TimeOfName(e.Name()); ok && e.Type().IsRegular() {
			all = append(all, Kept{filepath.Join(dir, e.Name()), at})
		}
	}
	slices.SortFunc(all, func(a, b Kept) int { return a.Time.Compare(b.Time) })
	return all, nil
}
