package audit

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
)

// A Verifier finds out whether lines were removed, swapped, changed or added. It is given the lines
// in the order in which they were written, of all files together.
type Verifier struct {
	key    []byte
	chains map[string]*chain
	order  []string
	report Report
	line   int
}

type chain struct {
	first, last uint64
	prev        string
	// continues and ended are what the first line says of the chain before.
	continues string
	ended     uint64
	line      int // of its first line
}

// A Report is what a Verifier found.
type Report struct {
	// Lines is how many lines of trails there were.
	Lines int `json:"lines"`
	// Chains are the chains that the lines belong to, in the order of their first lines.
	Chains []ChainReport `json:"chains"`
	// Problems are the faults, at most MaxProblems.
	Problems []Problem `json:"problems"`
	// More is how many problems are not listed.
	More int `json:"more,omitempty"`
}

// A ChainReport tells which lines of a chain there were.
type ChainReport struct {
	Chain string `json:"chain"`
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
}

// A Problem is a fault in the trail.
type Problem struct {
	// Line is the number of the line, counted from 1 over all files; 0 if the fault is what is
	// missing at the end.
	Line int    `json:"line"`
	Text string `json:"text"`
}

// MaxProblems is how many problems a report lists.
const MaxProblems = 100

// maxLine is the longest line that is read, in bytes.
const maxLine = 4 << 20

// NewVerifier returns a Verifier for the trails of a store.
func NewVerifier(key []byte) *Verifier {
	return &Verifier{key: key, chains: make(map[string]*chain)}
}

// Read verifies all lines of a file.
func (v *Verifier) Read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	for lines.Scan() {
		v.Line(lines.Bytes())
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("line %d is longer than %d bytes", v.line+1, maxLine)
	}
	return lines.Err()
}

// Line verifies a line. Lines that belong to no trail are passed over: a log may hold others.
func (v *Verifier) Line(text []byte) {
	v.line++
	l := parseLine(bytes.TrimSpace(text))
	if l == nil {
		return
	}
	v.report.Lines++
	if l.Version > Schema {
		v.fault(v.line, "its version %d is newer than this program", l.Version)
		return
	}
	if !hmac.Equal([]byte(l.sum(v.key)), []byte(l.Hash)) {
		v.fault(v.line, "seq %d of chain %s was changed or added: its hash is wrong", l.Seq, l.Chain)
		return
	}
	c := v.chains[l.Chain]
	if c == nil {
		c = &chain{first: l.Seq, last: l.Seq, prev: l.Hash, line: v.line}
		v.chains[l.Chain] = c
		v.order = append(v.order, l.Chain)
		if l.Seq == 1 && len(l.Changes) == 1 && l.Changes[0].Field == continuesField {
			c.continues = l.Changes[0].From
			c.ended, _ = strconv.ParseUint(l.Changes[0].To, 10, 64)
		}
		return
	}
	switch {
	case l.Seq <= c.last:
		v.fault(v.line, "seq %d of chain %s comes after seq %d: lines were swapped, or added again",
			l.Seq, l.Chain, c.last)
		return
	case l.Seq > c.last+1:
		v.fault(v.line, "seq %s of chain %s %s missing", span(c.last+1, l.Seq-1), l.Chain, isAre(c.last+1, l.Seq-1))
	case l.Prev != c.prev:
		v.fault(v.line, "seq %d of chain %s does not follow the line before it", l.Seq, l.Chain)
	}
	c.last, c.prev = l.Seq, l.Hash
}

// End returns what was found. The heads are what the store knew before the lines were read. If the
// lines are a part of the trail, what is missing before their first and after their last one is no
// problem.
func (v *Verifier) End(heads []Head, part bool) Report {
	ends := make(map[string]uint64)
	for _, h := range heads {
		ends[h.Chain] = h.Seq
	}
	for _, name := range v.order {
		c := v.chains[name]
		if c.continues != "" {
			ends[c.continues] = max(ends[c.continues], c.ended)
		}
		if c.first > 1 && !part {
			v.fault(c.line, "seq %s of chain %s %s missing: give all files, or --part",
				span(1, c.first-1), name, isAre(1, c.first-1))
		}
	}
	if !part {
		for _, name := range slices.Sorted(maps.Keys(ends)) {
			c, end := v.chains[name], ends[name]
			switch {
			case c == nil:
				v.fault(0, "chain %s is missing, with %d lines: give all files, or --part", name, end)
			case c.last < end:
				v.fault(0, "seq %s of chain %s %s missing at its end: give all files, or --part",
					span(c.last+1, end), name, isAre(c.last+1, end))
			}
		}
	}
	for _, name := range v.order {
		c := v.chains[name]
		v.report.Chains = append(v.report.Chains, ChainReport{name, c.first, c.last})
	}
	return v.report
}

func (v *Verifier) fault(line int, format string, args ...any) {
	if len(v.report.Problems) == MaxProblems {
		v.report.More++
		return
	}
	v.report.Problems = append(v.report.Problems, Problem{line, fmt.Sprintf(format, args...)})
}

func span(from, to uint64) string {
	if from == to {
		return strconv.FormatUint(from, 10)
	}
	return fmt.Sprintf("%d to %d", from, to)
}

func isAre(from, to uint64) string {
	if from == to {
		return "is"
	}
	return "are"
}
