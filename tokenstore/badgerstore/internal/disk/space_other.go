//go:build !(linux || darwin || freebsd)

package disk

import (
	"math"
)

// Free returns no limit, because these systems have no common call for it. A full disk ends the
// process.
func Free(string) (uint64, error) { return math.MaxUint64, nil }
