//go:build !linux

package noncelog

import (
	"os"
)

// reserve only sets the file's size: these systems have no common call that reserves space.
func reserve(f *os.File, size int64) (reserved bool, err error) { return false, f.Truncate(size) }

func mapPages(f *os.File, _ int64) (pages, error) { return &written{f}, nil }

func mapFile(*os.File, int64) ([]byte, error) { return nil, nil }

func unmapFile([]byte) error { return nil }
