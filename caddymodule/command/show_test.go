package command

// Cobra keeps what commands register in variables of its own, so the tests that build commands are
// not parallel.

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestLinesThatNobodyReads: a secret has exactly one line. The list that a loop reads from the same
// standard input is not a secret.
func TestLinesThatNobodyReads(t *testing.T) {
	sign := []string{"sign", "GET", "http://api.example.com/", "--consumer", "key"}
	for name, c := range map[string]struct {
		stdin string
		args  []string
		want  string
	}{
		"two lines for one secret":    {"a\nb", sign, "has more lines after the consumer secret"},
		"three lines for two secrets": {"a\nb\nc\n", append(sign, "--token", "t"), "has more lines after the token secret"},
		"one behind an empty line":    {"a\n\nc\n", sign, "has more lines after the consumer secret"},
		"a consumer's":                {"a\nb\n", []string{"consumer", "add", "--secret-stdin"}, "has more lines after the secret"},
		"a token's": {"a\nb\n", []string{"token", "issue", "--consumer", "c", "--user", "u", "--permission", "P",
			"--secret-stdin"}, "has more lines after the secret"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := runCommand(c.stdin, c.args...)
			if ExitCode(err) != exitUsage || !strings.Contains(err.Error(), c.want) || strings.Contains(out, "OAuth") {
				t.Errorf("got %v, %q", err, out)
			}
		})
	}
}

// noReader is a standard input that must not be read, because it may never end.
type noReader struct{ t *testing.T }

func (r noReader) Read([]byte) (int, error) {
	r.t.Error("standard input is read")
	return 0, io.EOF
}

func TestNoSecretReadsNothing(t *testing.T) {
	args := []string{"sign", "GET", "http://api.example.com/", "--consumer", "key", "--no-secret"}
	if _, err := runCommandWith(noReader{t}, args...); err != nil {
		t.Error(err)
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	broken := writeFile(t, "no key")
	for name, args := range map[string][]string{
		"an RSA public key":      {"consumer", "add", "--rsa-public-key", "/nowhere"},
		"a changed one":          {"consumer", "update", "c", "--rsa-public-key", "/nowhere"},
		"a private key":          {"sign", "GET", "http://x/", "--consumer", "c", "--private-key", "/nowhere"},
		"one that is no key":     {"sign", "GET", "http://x/", "--consumer", "c", "--private-key", broken},
		"a client's base string": {"explain", "GET", "http://x/?oauth_consumer_key=k&oauth_signature_method=PLAINTEXT&oauth_signature=s", "--base-string", "/nowhere"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := runCommand("", args...); ExitCode(err) != exitUsage {
				t.Errorf("exit code %d: %v", ExitCode(err), err)
			}
		})
	}
}

// fullDisk accepts room bytes, and then fails.
type fullDisk struct{ room int }

func (d *fullDisk) Write(text []byte) (int, error) {
	if len(text) > d.room {
		return 0, errFull
	}
	d.room -= len(text)
	return len(text), nil
}

var errFull = errors.New("no space left on device")

// TestOutputThatIsNotWritten: output that could not be written completely is an error.
func TestOutputThatIsNotWritten(t *testing.T) {
	const signed = "http://x/?oauth_consumer_key=k&oauth_signature_method=PLAINTEXT&oauth_signature=s"
	refused := errors.New("refused")
	for name, c := range map[string]struct {
		room int
		args []string
	}{
		"sign":            {0, []string{"oauth1", "sign", "GET", "http://x/", "--consumer", "c", "--no-secret"}},
		"explain":         {0, []string{"oauth1", "explain", "GET", signed}},
		"half of explain": {60, []string{"oauth1", "explain", "GET", signed}},
		"version":         {0, []string{"version"}},
		"a refusal":       {0, []string{"oauth1", "refuse"}},
	} {
		t.Run(name, func(t *testing.T) {
			root := &cobra.Command{Use: "caddy", SilenceUsage: true, SilenceErrors: true}
			oauth1 := &cobra.Command{Use: "oauth1"}
			oauth1.AddCommand(&cobra.Command{Use: "refuse", RunE: func(cmd *cobra.Command, _ []string) error {
				cmd.Print("why")
				_, _ = io.WriteString(cmd.OutOrStdout(), "why")
				return misuse(refused)
			}})
			Build(oauth1, Policies{}, Stores{})
			root.AddCommand(oauth1, &cobra.Command{Use: "version", Run: func(*cobra.Command, []string) {}})
			root.SetOut(&fullDisk{c.room})
			root.SetErr(io.Discard)
			root.SetArgs(c.args)
			err := root.Execute()
			if !errors.Is(err, errFull) {
				t.Errorf("got %v", err)
			}
			if name == "what is refused" && (!errors.Is(err, refused) || ExitCode(err) != exitUsage) {
				t.Errorf("got %v, exit code %d", err, ExitCode(err))
			}
		})
	}
}

// TestKeysOnScreen: a key with invisible characters is quoted, so that it can't look like another
// key.
func TestKeysOnScreen(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]string{
		"demo":                            "demo",
		"System-wide: Ubuntu (caf\u00e9)": "System-wide: Ubuntu (caf\u00e9)",
		"demo\u200b":                      `"demo\u200b"`,
		"\u202eomed":                      `"\u202eomed"`,
		"de\u3164mo":                      `"de\u3164mo"`,
		`demo\u200b`:                      `"demo\\u200b"`,
		`"demo"`:                          `"\"demo\""`,
	} {
		if got := keyOnScreen(key); got != want {
			t.Errorf("%+q: got %s, want %s", key, got, want)
		}
	}
}
