//go:build !(linux || darwin || freebsd)

package disk

import (
	"io/fs"
	"math"
)

// Free returns no limit, because these systems have no common call for it. A full disk ends the
// process.
func Free(string) (uint64, error) { return math.MaxUint64, nil }

// allocated returns the size of a file.
func allocated(info fs.FileInfo) int64 { return info.Size() }
