//go:build !linux

package redislab

import (
	"errors"
	"os"
	"os/exec"
)

// StartBound starts a process. On Linux it is killed when the test binary ends, however that ends.
func StartBound(cmd *exec.Cmd) error { return cmd.Start() }

func freeze(*os.Process) error { return errors.ErrUnsupported }
func thaw(*os.Process) error   { return errors.ErrUnsupported }
