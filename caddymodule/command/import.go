package command

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
)

func importCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import <file>",
		Short: "Brings consumers and access tokens along from another provider",
		Long: `
Adds the consumers and access tokens of a file to the running Caddy, with the
keys and secrets that they have. No client notices. - is standard input.

Each line of the file is a JSON object:

  {"kind":"consumer","key":"printer","secret":"s3cr3t","name":"Photo printer"}
  {"kind":"access_token","key":"t1","secret":"s4cr4t","consumer":"printer",
   "user":"salgado","permission":"READ_PUBLIC","created":"2019-03-01T08:00:00Z"}

(Each on one line.) A consumer stands before its tokens. Its other fields are
those of the admin API: homepage, contact, rsa_public_key, signature_methods,
callbacks, callbacks_ignore_query, default_callback, permissions, two_legged,
expires, disabled; and created, previous_secret, previous_secret_expires,
self_registered. A token also has context, expires and last_used. A token
without expires lives until it is revoked.

Try it with --dry-run first: it changes nothing, and reports every line that
would be refused. The same file can be imported again: what is there already is
unchanged. So after an interruption give the same command again. What the store
has with other values is a conflict, and stays as it is; --update replaces it.
An access token that has ended is left out.

A token that was revoked here comes back with another import of its line.

The command prints how much it imported, and the numbers of the lines that it
could not import; then it ends with exit code 4. Of a line it prints its key at
most, and no other value: one that is in a wrong field may be a secret.`,
		Example: `  $ caddy oauth1 import consumers.jsonl --dry-run
  $ caddy oauth1 import consumers.jsonl
  $ ./export-from-wiki | caddy oauth1 import -`,
	}
	flags := cmd.Flags()
	flags.Bool("dry-run", false, "Change nothing, and report what would happen")
	flags.Bool("update", false, "Replace what the store has with other values")
	flags.Bool("allow-empty-token-secrets", false, "Import access tokens with an empty secret")
	return managing(cmd, cobra.ExactArgs(1), runImport)
}

// runImport imports the file that the argument names.
func runImport(s *session, args []string) error {
	in, size, err := openLines(s, args[0])
	if err != nil {
		return err
	}
	defer in.Close()
	ctx, stop := signal.NotifyContext(s.cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	i := &fileImport{
		session: s,
		options: adminapi.Import{
			DryRun:                 s.flag("dry-run") == "true",
			Update:                 s.flag("update") == "true",
			AllowEmptyTokenSecrets: s.flag("allow-empty-token-secrets") == "true",
		},
		progress: newProgress(s.cmd.ErrOrStderr(), size, "lines"),
		first:    make(map[lineID]int),
		known:    make(map[string]json.RawMessage),
		room:     make(chan struct{}, batchesAtOnce),
		done:     importSummary{Outcomes: make(map[string]map[string]int)},
	}
	i.done.DryRun = i.options.DryRun
	err = i.run(ctx, in)
	i.progress.end()
	if err != nil {
		return fmt.Errorf("%w; %s. To go on, give the same command again", err, i.stopped())
	}
	return i.summarize()
}

// openLines opens a file, or standard input for -. The size is 0 if it is not known.
func openLines(s *session, name string) (in io.ReadCloser, size int64, err error) {
	if name == "-" {
		return io.NopCloser(s.cmd.InOrStdin()), 0, nil
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, 0, misused("%w", err)
	}
	if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
		size = info.Size()
	}
	return file, size, nil
}

const (
	// batchesAtOnce is how many calls are under way: one is read while the server works on others.
	batchesAtOnce = 4
	// storePatience is how long a store that is out of reach is waited for.
	storePatience = time.Minute
)

// A lineID is what may be in a file once.
type lineID struct{ kind, key string }

// A fileImport is the import of one file.
type fileImport struct {
	*session
	options  adminapi.Import
	progress *progress
	batch    importBatch
	first    map[lineID]int             // the lines that have each consumer and token
	known    map[string]json.RawMessage // the consumers of a dry run

	room    chan struct{}
	sending sync.WaitGroup
	mu      sync.Mutex // protects what follows
	done    importSummary
	failed  error
	bytes   int64
}

// An importBatch is the lines of one call.
type importBatch struct {
	lines     []json.RawMessage
	ids       []lineID
	numbers   []int
	consumers map[string]bool // of the tokens, in a dry run
	declares  bool            // has consumers
	size      int
	bytes     int64 // of the file
}

// An importSummary is what the command prints.
type importSummary struct {
	DryRun bool `json:"dry_run,omitempty"`
	Lines  int  `json:"lines"`
	// Outcomes are how many lines of each kind had which outcome.
	Outcomes map[string]map[string]int `json:"outcomes"`
	Problems []lineProblem             `json:"problems"`
}

// A lineProblem is a line that was not imported.
type lineProblem struct {
	Line    int    `json:"line"`
	Kind    string `json:"kind,omitempty"`
	Key     string `json:"key,omitempty"`
	Outcome string `json:"outcome"`
	Problem string `json:"problem"`
}

func (i *fileImport) run(ctx context.Context, in io.Reader) error {
	defer i.sending.Wait()
	lines := bufio.NewReaderSize(in, 1<<16)
	for number := 1; ; number++ {
		line, length, err := readLine(lines)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading line %d: %w", number, err)
		}
		if length == 0 && err != nil {
			break
		}
		if err := i.add(ctx, number, line, length); err != nil {
			return err
		}
	}
	if err := i.send(ctx); err != nil {
		return err
	}
	i.sending.Wait()
	return i.failure()
}

// readLine reads a line without its end. Of a line that is too long it returns the beginning, which
// is too long as well. The length is that of the whole line, with its end.
func readLine(in *bufio.Reader) (line []byte, length int, err error) {
	for {
		part, err := in.ReadSlice('\n')
		length += len(part)
		if room := adminapi.MaxLine + 1 - len(line); room > 0 {
			line = append(line, part[:min(room, len(part))]...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return bytes.TrimRight(line, "\r\n"), length, err
		}
	}
}

// add takes a line into the batch, or notes why it can't be imported.
func (i *fileImport) add(ctx context.Context, number int, line []byte, length int) error {
	b := &i.batch
	b.bytes += int64(length)
	if number == 1 {
		line = bytes.TrimPrefix(line, []byte("\ufeff"))
	}
	if len(bytes.TrimSpace(line)) == 0 {
		return nil
	}
	kind, key, err := adminapi.IdentifyLine(line)
	id := lineID{kind, key}
	if first := i.first[id]; err == nil && first > 0 {
		err = fmt.Errorf("is there already in line %d", first)
	}
	i.mu.Lock()
	i.done.Lines++
	if err != nil {
		i.note(number, id, adminapi.ImportResult{Outcome: adminapi.OutcomeRefused, Problem: err.Error()})
	}
	i.mu.Unlock()
	if err != nil {
		return nil
	}
	i.first[id] = number
	if kind == adminapi.KindConsumer {
		b.declares = true
		if i.options.DryRun {
			i.known[key] = line
		}
	} else if i.options.DryRun {
		i.need(consumerOfLine(line))
	}
	b.lines, b.ids, b.numbers = append(b.lines, line), append(b.ids, id), append(b.numbers, number)
	b.size += len(line)
	if len(b.lines) < adminapi.MaxImportLines && b.size < adminapi.MaxImport-adminapi.MaxLine {
		return nil
	}
	return i.send(ctx)
}

// need notes that a token of the batch needs a consumer, whose line a dry run sends along.
func (i *fileImport) need(consumer string) {
	b := &i.batch
	if b.consumers[consumer] {
		return
	}
	if b.consumers == nil {
		b.consumers = make(map[string]bool)
	}
	b.consumers[consumer] = true
	b.size += len(i.known[consumer])
}

func consumerOfLine(line []byte) string {
	var token struct {
		Consumer string `json:"consumer"`
	}
	_ = json.Unmarshal(line, &token) // the server says what is wrong
	return token.Consumer
}

// send sends the batch in the background. Tokens need their consumers, so a batch with consumers is
// alone under way.
func (i *fileImport) send(ctx context.Context) error {
	b := i.batch
	i.batch = importBatch{}
	if len(b.lines) == 0 {
		return i.failure()
	}
	if b.declares {
		i.sending.Wait()
	}
	select {
	case i.room <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := i.failure(); err != nil {
		return err
	}
	body := i.options
	body.Lines = b.lines
	for consumer := range b.consumers {
		if line, ok := i.known[consumer]; ok {
			body.Known = append(body.Known, line)
		}
	}
	i.sending.Go(func() {
		defer func() { <-i.room }()
		var answer adminapi.Imported
		err := i.patiently(ctx, &body, &answer)
		if err == nil && len(answer.Results) != len(b.lines) {
			err = errors.New("the admin API's answer has another number of lines")
		}
		i.mu.Lock()
		defer i.mu.Unlock()
		if err != nil {
			i.failed = errors.Join(i.failed, err)
			return
		}
		for n, result := range answer.Results {
			i.note(b.numbers[n], b.ids[n], result)
		}
		i.bytes += b.bytes
		i.progress.tell(i.bytes, i.done.Lines)
	})
	if b.declares {
		i.sending.Wait()
	}
	return nil
}

// patiently sends a batch until the store could take it: the same lines again change nothing.
func (i *fileImport) patiently(ctx context.Context, body *adminapi.Import, answer *adminapi.Imported) error {
	until := time.Now().Add(storePatience)
	for {
		*answer = adminapi.Imported{}
		err := i.api.Do(ctx, http.MethodPost, adminapi.ImportPath, body, answer)
		var said *adminapi.Error
		if !errors.As(err, &said) || said.Status != http.StatusServiceUnavailable || time.Now().After(until) {
			return apiError(err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// note counts the result of a line. The lock is held.
func (i *fileImport) note(number int, id lineID, result adminapi.ImportResult) {
	if i.done.Outcomes[result.Outcome] == nil {
		i.done.Outcomes[result.Outcome] = make(map[string]int)
	}
	kind := id.kind
	if kind == "" {
		kind = "other"
	}
	i.done.Outcomes[result.Outcome][kind]++
	if result.Problem != "" {
		i.done.Problems = append(i.done.Problems,
			lineProblem{number, id.kind, id.key, result.Outcome, result.Problem})
	}
}

func (i *fileImport) failure() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.failed
}

// stopped tells how far an import came that did not end.
func (i *fileImport) stopped() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	n := 0
	for _, kinds := range i.done.Outcomes {
		for _, count := range kinds {
			n += count
		}
	}
	return plural(n, "line") + " " + were(n) + " worked through"
}

// outcomes are those that are shown, in order.
var outcomes = []struct{ name, heading, dry string }{
	{adminapi.OutcomeAdded, "Added", "Would be added"},
	{adminapi.OutcomeUpdated, "Updated", "Would be updated"},
	{adminapi.OutcomeUnchanged, "Unchanged", "Unchanged"},
	{adminapi.OutcomeExpired, "Left out, ended", "Left out, ended"},
	{adminapi.OutcomeConflict, "Conflicts", "Conflicts"},
	{adminapi.OutcomeRefused, "Refused", "Refused"},
}

// summarize prints what became of the lines.
func (i *fileImport) summarize() error {
	sum := &i.done
	slices.SortFunc(sum.Problems, func(a, b lineProblem) int { return a.Line - b.Line })
	if sum.Problems == nil {
		sum.Problems = []lineProblem{}
	}
	rows := []shownRow{{"Lines", fmt.Sprint(sum.Lines)}}
	for _, o := range outcomes {
		heading := o.heading
		if sum.DryRun {
			heading = o.dry
		}
		rows = append(rows, shownRow{heading, kindsText(sum.Outcomes[o.name])})
	}
	if i.flag("json") != "true" {
		i.sayProblems(sum.Problems)
	}
	if err := i.show(sum, rows); err != nil {
		return err
	}
	if n := len(sum.Problems); n > 0 {
		verb := were(n) + " not imported"
		if sum.DryRun {
			verb = "would not be imported"
		}
		return &exitError{fmt.Errorf("%s %s", plural(n, "line"), verb), exitRefused}
	}
	return nil
}

// kindsText is a count of each kind; empty for none.
func kindsText(kinds map[string]int) string {
	text := ""
	for _, kind := range []struct{ name, word string }{
		{adminapi.KindConsumer, "consumer"},
		{adminapi.KindAccessToken, "access token"},
		{"other", "other line"},
	} {
		if n := kinds[kind.name]; n > 0 {
			if text != "" {
				text += ", "
			}
			text += plural(n, kind.word)
		}
	}
	return text
}

const (
	shownProblems = 50 // different ones
	shownNumbers  = 20 // of lines with the same problem
)

// sayProblems prints each problem once, with the numbers of its lines.
func (i *fileImport) sayProblems(problems []lineProblem) {
	var order []string
	lines := make(map[string][]int)
	for _, p := range problems {
		if lines[p.Problem] == nil {
			order = append(order, p.Problem)
		}
		lines[p.Problem] = append(lines[p.Problem], p.Line)
	}
	for n, problem := range order {
		if n == shownProblems {
			i.say("... and %s; --json shows all", plural(len(order)-n, "other problem"))
			break
		}
		i.say("%s", onScreen(problem))
		numbers := lines[problem]
		text := "    line"
		if len(numbers) > 1 {
			text += "s"
		}
		for k, number := range numbers[:min(len(numbers), shownNumbers)] {
			if k > 0 {
				text += ","
			}
			text += fmt.Sprintf(" %d", number)
		}
		if more := len(numbers) - shownNumbers; more > 0 {
			text += fmt.Sprintf(" and %d more; --json shows all", more)
		}
		i.say("%s", text)
	}
	if len(order) > 0 {
		i.say("")
	}
}
