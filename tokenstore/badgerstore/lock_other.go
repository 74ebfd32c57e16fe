//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package badgerstore

import "strings"

// lockDirectory leaves the lock to Badger, which locks in another way on these systems.
func lockDirectory(string) (unlock func() error, err error) { return func() error { return nil }, nil }

// lockedElsewhere reports whether a process has the lock. Badger's error for it has no type, only
// this text.
func lockedElsewhere(_ string, err error) bool {
	return strings.Contains(err.Error(), "Another process is using this Badger database")
}
