package command

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
)

func auditVerifyCommand(stores Stores) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify <file...>",
		Short: "Finds lines of the audit trail that were removed, swapped, changed or added",
		Long: `
Verifies the hashes of the audit trail in log files, or in the files of a strict
trail. Give all files, in any order. Lines that belong to no trail are passed
over. The exit code is 0 if nothing is wrong.

The running Caddy verifies the lines, because the key of the hashes never leaves
it. With --offline the command opens the store of --config itself, while no
Caddy uses it.

If some files of the trail are not given, use --part. Then lines that are
missing before the first and after the last one are not found.

The last second of a process that was killed can be cut off unnoticed.`,
		Example: `  $ caddy oauth1 audit verify audit.log.2 audit.log.1 audit.log
  $ caddy oauth1 audit verify --offline --config Caddyfile audit.log`,
	}
	managing(cmd, cobra.MinimumNArgs(1), func(s *session, names []string) error {
		files, err := openAll(names)
		if err != nil {
			return err
		}
		defer files.close()
		var report audit.Report
		part := s.flag("part") == "true"
		if s.flag("offline") == "true" {
			report, err = verifyOffline(s, stores, files, part)
		} else {
			report, err = verifyOnline(s, files, part)
		}
		if err != nil {
			return err
		}
		return showReport(s, files, report)
	})
	cmd.Flags().Bool("part", false, "The files are only a part of the trail")
	cmd.Flags().Bool("offline", false, "Open the store of --config, which no Caddy may use")
	return cmd
}

// verifyOnline lets the running Caddy verify the files. It asks for the ends of the chains first:
// what is written later is no fault.
func verifyOnline(s *session, files logFiles, part bool) (report audit.Report, err error) {
	var known adminapi.Audit
	if err := s.call(http.MethodGet, adminapi.AuditPath, nil, &known); err != nil {
		return report, err
	}
	separator := rand.Text()
	first, err := json.Marshal(adminapi.AuditKnown{Heads: known.Heads, Part: part, Separator: separator})
	if err != nil {
		return report, err
	}
	body, sent := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := sent.Write(append(first, '\n'))
		if err == nil {
			err = files.copy(sent, separator)
		}
		sent.CloseWithError(err)
	}()
	err = s.api.Post(s.cmd.Context(), adminapi.AuditVerifyPath, "application/x-ndjson", body, &report)
	_ = body.Close() // the answer may come before everything was sent
	<-done
	return report, apiError(err)
}

func verifyOffline(
	s *session, stores Stores, files logFiles, part bool,
) (report audit.Report, err error) {
	if s.flag("config") == "" {
		return report, misused("--offline needs --config")
	}
	config, _, _, err := caddycmd.LoadConfig(s.flag("config"), s.flag("adapter"))
	if err != nil {
		return report, fmt.Errorf("--config: %w", err)
	}
	return stores.VerifyAudit(s.cmd.Context(), config, part, func(v *audit.Verifier) error {
		body, sent := io.Pipe()
		done := make(chan struct{})
		separator := rand.Text()
		v.Separator = []byte(separator)
		go func() {
			defer close(done)
			sent.CloseWithError(files.copy(sent, separator))
		}()
		err := v.Read(body)
		_ = body.Close()
		<-done
		return err
	})
}

var errAudit = errors.New("the audit trail is not whole")

// showReport prints the report, with the file and line of each problem.
func showReport(s *session, files logFiles, r audit.Report) error {
	if err := s.show(r, []shownRow{
		{"Lines", strconv.Itoa(r.Lines)},
		{"Chains", strconv.Itoa(len(r.Chains))},
	}); err != nil {
		return err
	}
	for _, p := range r.Problems {
		fmt.Fprintf(s.cmd.ErrOrStderr(), "%s%s\n", files.at(p.Line), p.Text)
	}
	if r.More > 0 {
		fmt.Fprintf(s.cmd.ErrOrStderr(), "and %d more\n", r.More)
	}
	switch {
	case len(r.Problems) > 0:
		return errAudit
	case r.Lines == 0:
		return errors.New("the files have no line of an audit trail")
	}
	return nil
}

// logFiles are the files of a trail.
type logFiles []*logFile

type logFile struct {
	file  *os.File
	lines int // after copy
}

func openAll(names []string) (logFiles, error) {
	var all logFiles
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			all.close()
			return nil, misuse(err)
		}
		all = append(all, &logFile{file: f})
	}
	return all, nil
}

func (l logFiles) close() {
	for _, f := range l {
		f.file.Close()
	}
}

// copy writes all files to w, each with a line end, and the separator between them in a line of its
// own.
func (l logFiles) copy(w io.Writer, separator string) error {
	buffer := make([]byte, 64<<10)
	for i, f := range l {
		if i > 0 {
			if _, err := io.WriteString(w, separator+"\n"); err != nil {
				return err
			}
		}
		last := byte('\n')
		for {
			n, err := f.file.Read(buffer)
			for _, b := range buffer[:n] {
				if b == '\n' {
					f.lines++
				}
			}
			if n > 0 {
				last = buffer[n-1]
				if _, err := w.Write(buffer[:n]); err != nil {
					return err
				}
			}
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
		}
		if last != '\n' {
			f.lines++
			if _, err := w.Write([]byte{'\n'}); err != nil {
				return err
			}
		}
	}
	return nil
}

// at returns the place of a line, for a message.
func (l logFiles) at(line int) string {
	if line == 0 {
		return ""
	}
	for _, f := range l {
		if line <= f.lines {
			return fmt.Sprintf("%s:%d: ", f.file.Name(), line)
		}
		line -= f.lines
	}
	return ""
}
