package command

import (
	"strings"
	"testing"
	"time"
)

// TestCompletionIsQuick: without a server that answers, a shell does not hang.
func TestCompletionIsQuick(t *testing.T) {
	begun := time.Now()
	out, err := runCobra("", "__complete", "oauth1", "consumer", "show", "--address", "127.0.0.1:1", "")
	if err != nil || !strings.HasPrefix(out, ":4\n") || time.Since(begun) > completionPatience+time.Second {
		t.Errorf("%v: %v\n%s", time.Since(begun), err, out)
	}
}
