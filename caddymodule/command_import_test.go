package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/command"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// TestExportAndImport: an import of an export gives the same store.
func TestExportAndImport(t *testing.T) {
	from := newTestAdmin(t, "")
	from.seed()
	lines := make([]string, 0, 1500)
	for n := range 1500 {
		lines = append(lines, fmt.Sprintf(`{"kind":"access_token","key":"t%d","secret":"canary-%d","consumer":"app",`+
			`"user":"u%d","permission":"READ_PUBLIC","context":"c","created":"2020-01-01T00:00:00.123456789Z"}`, n, n, n))
	}
	run := from.commandRunner()
	if out, err := run(strings.Join(lines, "\n"), "import", "-"); err != nil || !strings.Contains(squeezed(out), "Added: 1500 access tokens") {
		t.Fatalf("%v\n%s", err, out)
	}
	file := filepath.Join(t.TempDir(), "out.jsonl")
	out, err := run("", "export", "--with-secrets", "--output", file)
	if err != nil || !strings.Contains(out, "Warning") || !strings.Contains(out, "Exported: 3 consumers, 1501 access tokens") ||
		strings.Contains(out, "canary") {
		t.Fatalf("%v\n%s", err, out)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := run("", "export", "--output", file); command.ExitCode(err) != 2 {
		t.Errorf("over a file that is there: %v", err)
	}

	to := newTestAdmin(t, "")
	run = to.commandRunner()
	for _, want := range []string{"Added: 3 consumers, 1501 access tokens", "Unchanged: 3 consumers, 1501 access tokens"} {
		if out, err := run("", "import", file); err != nil || !strings.Contains(squeezed(out), want) {
			t.Fatalf("%v, want %s\n%s", err, want, out)
		}
	}
	again, err := run("", "export", "--with-secrets")
	text, failed := os.ReadFile(file)
	if err != nil || failed != nil || !strings.Contains(again, string(text)) {
		t.Errorf("the second export differs: %v, %v", err, failed)
	}
	plain, err := run("", "export")
	if err != nil || strings.Contains(plain, "canary") {
		t.Errorf("an export without secrets: %v\n%.300s", err, plain)
	}
	got, err := to.store().AccessToken(t.Context(), "t7")
	if err != nil || got.Created.Nanosecond() != 123456789 {
		t.Errorf("%+v, %v", got, err)
	}
}

// brokenStore gives no access tokens.
type brokenStore struct{ tokenstore.Store }

func (brokenStore) AccessTokens(context.Context, tokenstore.Filter, string, int) ([]*tokenstore.AccessToken, string, error) {
	return nil, "", errors.New("broken")
}

// TestAnExportThatBreaksOff: it leaves no file that could be taken for a whole one.
func TestAnExportThatBreaksOff(t *testing.T) {
	a := newTestAdmin(t, "")
	a.seed()
	whole := a.app.store
	a.app.store = brokenStore{whole}
	t.Cleanup(func() { a.app.store = whole })
	dir := t.TempDir()
	if out, err := a.commandRunner()("", "export", "--with-secrets", "--output", filepath.Join(dir, "out.jsonl")); err == nil {
		t.Errorf("it ended well: %s", out)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("it left %v, %v", left, err)
	}
}

// interruptedStore interrupts the process when it is asked for access tokens for the first time, and
// answers when the caller has gone, or after a while.
type interruptedStore struct {
	tokenstore.Store
	interrupted atomic.Bool
}

func (s *interruptedStore) AccessTokens(
	ctx context.Context, f tokenstore.Filter, after string, limit int,
) ([]*tokenstore.AccessToken, string, error) {
	if !s.interrupted.CompareAndSwap(false, true) {
		return s.Store.AccessTokens(ctx, f, after, limit)
	}
	process, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = process.Signal(os.Interrupt)
	}
	if err != nil {
		return nil, "", err
	}
	select {
	case <-ctx.Done():
		return nil, "", ctx.Err()
	case <-time.After(10 * time.Second):
		return s.Store.AccessTokens(context.Background(), f, after, limit)
	}
}

// TestAnExportThatIsInterrupted: it leaves no file either, so it can be repeated.
func TestAnExportThatIsInterrupted(t *testing.T) {
	seen := make(chan os.Signal, 1)
	signal.Notify(seen, os.Interrupt) // so that the test goes on, whatever the command does
	defer signal.Stop(seen)
	a := newTestAdmin(t, "")
	a.seed()
	a.app.store = &interruptedStore{Store: a.app.store}
	file := filepath.Join(t.TempDir(), "out.jsonl")
	run := a.commandRunner()
	if out, err := run("", "export", "--output", file); err == nil {
		t.Errorf("it ended well: %s", out)
	}
	if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) > 0 {
		t.Errorf("it left %v, %v", left, err)
	}
	if out, err := run("", "export", "--output", file); err != nil {
		t.Errorf("the repeat: %v\n%s", err, out)
	}
}

// writingStore makes a file when it is asked for access tokens.
type writingStore struct {
	tokenstore.Store
	file string
}

func (s writingStore) AccessTokens(
	ctx context.Context, f tokenstore.Filter, after string, limit int,
) ([]*tokenstore.AccessToken, string, error) {
	if err := os.WriteFile(s.file, []byte("other"), 0o600); err != nil {
		return nil, "", err
	}
	return s.Store.AccessTokens(ctx, f, after, limit)
}

// TestAnExportReplacesNoFile: not one that was made while it was written either.
func TestAnExportReplacesNoFile(t *testing.T) {
	a := newTestAdmin(t, "")
	a.seed()
	whole, file := a.app.store, filepath.Join(t.TempDir(), "out.jsonl")
	a.app.store = writingStore{whole, file}
	t.Cleanup(func() { a.app.store = whole })
	if out, err := a.commandRunner()("", "export", "--output", file); err == nil {
		t.Errorf("it ended well: %s", out)
	}
	left, err := os.ReadDir(filepath.Dir(file))
	if text, failed := os.ReadFile(file); string(text) != "other" || failed != nil || err != nil || len(left) != 1 {
		t.Errorf("left %v, with %q, %v, %v", left, text, failed, err)
	}
}

func TestImportReports(t *testing.T) {
	a := newTestAdmin(t, "")
	run := a.commandRunner()
	file := writeFile(t, "\ufeff"+strings.Join([]string{
		lineApp,
		"",
		lineToken,
		strings.Replace(lineToken, "READ_PUBLIC", "EDIT", 1), // its key is there already
		strings.Replace(lineToken, `"t"`, `"t2"`, 1),
		strings.Replace(strings.Replace(lineToken, `"t"`, `"t3"`, 1), "READ_PUBLIC", "EDIT", 1),
		strings.Replace(strings.Replace(lineToken, `"t"`, `"t4"`, 1), "READ_PUBLIC", "EDIT", 1),
		`{"kind":"access_token","secret":"canary`,
		`{"kind":"consumer","key":"` + strings.Repeat("x", 200_000) + `"}`,
		"\xff",
	}, "\r\n"))
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"import", file, "--dry-run"}, []string{"Would be added: 1 consumer, 2 access tokens", "5 lines would not"}},
		{[]string{"import", file}, []string{"Added: 1 consumer, 2 access tokens", "6 lines were not"}},
		{[]string{"import", file}, []string{"Unchanged: 1 consumer, 2 access tokens", "6 lines were not"}},
	} {
		out, err := run("", c.args...)
		text := squeezed(out) + fmt.Sprint(err)
		for _, want := range append(c.want[:1], "lines 6, 7", "is there already in line 3\n line 4\n",
			"a kind and a key\n line 8\n", "is longer than 131072 bytes\n line 9\n", "is not UTF-8\n line 10\n",
			"Refused: 3 access tokens, 3 other lines", "Lines: 9", "6 lines w") {
			if !strings.Contains(text, want) {
				t.Errorf("%v: no %q", c.args, want)
			}
		}
		if command.ExitCode(err) != 4 || strings.Contains(text, "canary") || t.Failed() {
			t.Fatalf("%v: exit code %d\n%s", c.args, command.ExitCode(err), text)
		}
	}
	for line, want := range map[string]string{
		strings.Replace(lineToken, "READ_PUBLIC", "canary-permission", 1): "1 line was not imported",
		strings.Replace(lineToken, "2099-01-01T00:00:00Z", "canary", 1) + "\n" +
			strings.Replace(lineApp, `"name":`, `"signature_methods":["canary"],"name":`, 1): "2 lines were not imported",
	} {
		for _, flag := range []string{"--json=false", "--json"} {
			out, err := run(line, "import", "-", flag)
			if text := out + fmt.Sprint(err); !strings.Contains(text, want) || strings.Contains(text, "canary") {
				t.Errorf("%s: no %q, or a value: %s", flag, want, text)
			}
		}
	}
	if out, _ := run("", "import", file, "--json"); !strings.Contains(out, `"line": 9`) || strings.Contains(out, "canary") {
		t.Errorf("as JSON:\n%.500s", out)
	}
}

// TestImportWaitsForItsConsumers: the tokens of a large file find the consumers that stand before.
func TestImportWaitsForItsConsumers(t *testing.T) {
	a := newTestAdmin(t, "")
	var file strings.Builder
	for n := range 2500 {
		fmt.Fprintf(&file, `{"kind":"consumer","key":"c%d","secret":"s"}`+"\n", n)
	}
	for n := range 2500 {
		fmt.Fprintf(&file, `{"kind":"access_token","key":"t%d","secret":"s","consumer":"c%d","user":"u","permission":"READ_PUBLIC"}`+"\n", n, n)
	}
	for _, args := range [][]string{{"import", "-", "--dry-run"}, {"import", "-"}} {
		out, err := a.commandRunner()(file.String(), args...)
		if err != nil || !strings.Contains(squeezed(out), "dded: 2500 consumers, 2500 access tokens") {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	n, err := a.store().CountAccessTokens(t.Context(), tokenstore.Filter{User: "u"})
	if err != nil || n != 2500 {
		t.Errorf("%d tokens, %v", n, err)
	}
}
