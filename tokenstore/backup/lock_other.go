//go:build !(linux || darwin || freebsd)

package backup

import "os"

// lock does nothing: these systems have no common call for it.
func lock(*os.File) error { return nil }
