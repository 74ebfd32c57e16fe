package redisstore

import (
	options "flag"
	"os"
	"slices"
	"strings"
	"testing"
)

// parallelTests is how many tests run at once, if -parallel does not say it: they mostly wait for the
// first seconds of an epoch, and for servers that were killed.
const parallelTests = "4"

func TestMain(m *testing.M) {
	options.Parse()
	said := slices.ContainsFunc(os.Args[1:], func(arg string) bool {
		return strings.HasPrefix(strings.TrimLeft(arg, "-"), "test.parallel")
	})
	if !said {
		if err := options.Set("test.parallel", parallelTests); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}
