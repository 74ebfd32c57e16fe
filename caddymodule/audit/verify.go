package audit

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/hmac"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
)

// A Verifier finds out whether lines were removed, swapped, changed or added. It is given the lines
// of all files. Those of a chain must be in order within a file. The files may be in any order, and
// take turns: a trail that went to another file and back has its lines in both.
type Verifier struct {
	// Separator is a line by which Read knows that another file begins. It is no line of a file, so
	// it must be one that nobody can guess who writes the files. nil: it is all one file.
	Separator []byte

	key    []byte
	chains map[string]*chain
	order  []string
	report Report
	line   int
	file   int
}

// A chain is what was read of it: stretches of lines without a gap.
type chain struct {
	stretches []stretch // the last one goes on
	file      int       // of the last line
	// continues and ended are what the first line says of the chain before.
	continues string
	ended     uint64
}

type stretch struct {
	first, last uint64
	prev, hash  string // of the line before the first one; of the last one
	line        int    // of the first one
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

const (
	// maxLine is the longest line that is read, in bytes.
	maxLine = 4 << 20
	// maxStretches is how many stretches of a chain are remembered. Gaps beyond that are problems, even
	// if the lines come in a later file.
	maxStretches = 10_000
)

// NewVerifier returns a Verifier for the trails of a store.
func NewVerifier(key []byte) *Verifier {
	return &Verifier{key: key, chains: make(map[string]*chain)}
}

// Read verifies all lines of a file, or of several with the separator between them.
func (v *Verifier) Read(r io.Reader) error {
	lines := bufio.NewReaderSize(r, 64<<10)
	for {
		text, long, err := readLine(lines)
		switch {
		case err != nil && err != io.EOF:
			return err
		case long:
			v.line++
			v.fault(v.line, "the line is longer than %d bytes, and was not read", maxLine)
		case len(text) == 0 && err != nil:
		case v.Separator != nil && bytes.Equal(bytes.TrimSpace(text), v.Separator):
			v.NextFile()
		default:
			v.Line(text)
		}
		if err != nil {
			return nil
		}
	}
}

// readLine reads a line. Of one that is too long it returns nothing.
func readLine(r *bufio.Reader) (text []byte, long bool, err error) {
	for {
		part, err := r.ReadSlice('\n')
		if long = long || len(text)+len(part) > maxLine; long {
			text = nil
		} else {
			text = append(text, part...)
		}
		if err != bufio.ErrBufferFull {
			return text, long, err
		}
	}
}

// NextFile begins another file.
func (v *Verifier) NextFile() { v.file++ }

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
		c = new(chain)
		v.chains[l.Chain] = c
		v.order = append(v.order, l.Chain)
	}
	if l.Seq == 1 && len(l.Changes) == 1 && l.Changes[0].Field == continuesField {
		c.continues = l.Changes[0].From
		c.ended, _ = strconv.ParseUint(l.Changes[0].To, 10, 64)
	}
	next := stretch{first: l.Seq, last: l.Seq, prev: l.Prev, hash: l.Hash, line: v.line}
	if len(c.stretches) == 0 || c.file != v.file && len(c.stretches) < maxStretches {
		c.stretches, c.file = append(c.stretches, next), v.file
		return
	}
	now := &c.stretches[len(c.stretches)-1]
	switch {
	case l.Seq <= now.last:
		v.fault(v.line, "seq %d of chain %s comes after seq %d: lines were swapped, or added again",
			l.Seq, l.Chain, now.last)
		return
	case l.Seq > now.last+1 && len(c.stretches) < maxStretches: // they may be in another file
		c.stretches = append(c.stretches, next)
		return
	}
	v.join(l.Chain, now, next)
}

// join adds a stretch to the one before it.
func (v *Verifier) join(chain string, before *stretch, next stretch) {
	switch {
	case next.first <= before.last:
		last := min(next.last, before.last)
		v.fault(next.line, "seq %s of chain %s %s there twice",
			span(next.first, last), chain, isAre(next.first, last))
		if next.last <= before.last {
			return
		}
	case next.first > before.last+1:
		v.fault(next.line, "seq %s of chain %s %s missing",
			span(before.last+1, next.first-1), chain, isAre(before.last+1, next.first-1))
	case next.prev != before.hash:
		v.fault(next.line, "seq %d of chain %s does not follow the line before it", next.first, chain)
	}
	before.last, before.hash = next.last, next.hash
}

// whole returns the chain as one stretch, and tells what is wrong with it.
func (v *Verifier) whole(name string) stretch {
	all := v.chains[name].stretches
	slices.SortStableFunc(all, func(a, b stretch) int { return cmp.Compare(a.first, b.first) })
	whole := all[0]
	for _, next := range all[1:] {
		v.join(name, &whole, next)
	}
	return whole
}

// End returns what was found. The heads are what the store knew before the lines were read. If the
// lines are a part of the trail, what is missing before their first and after their last one is no
// problem.
func (v *Verifier) End(heads []Head, part bool) Report {
	ends := make(map[string]uint64)
	for _, h := range heads {
		ends[h.Chain] = h.Seq
	}
	chains := make(map[string]stretch)
	for _, name := range v.order {
		c, whole := v.chains[name], v.whole(name)
		chains[name] = whole
		v.report.Chains = append(v.report.Chains, ChainReport{name, whole.first, whole.last})
		if c.continues != "" {
			ends[c.continues] = max(ends[c.continues], c.ended)
		}
		if whole.first > 1 && !part {
			v.fault(whole.line, "seq %s of chain %s %s missing: give all files, or --part",
				span(1, whole.first-1), name, isAre(1, whole.first-1))
		}
	}
	if !part {
		for _, name := range slices.Sorted(maps.Keys(ends)) {
			c, end := chains[name], ends[name]
			switch {
			case c.last == 0:
				v.fault(0, "chain %s is missing, with %d lines: give all files, or --part", name, end)
			case c.last < end:
				v.fault(0, "seq %s of chain %s %s missing at its end: give all files, or --part",
					span(c.last+1, end), name, isAre(c.last+1, end))
			}
		}
	}
	slices.SortStableFunc(v.report.Problems, func(a, b Problem) int { // what is missing at the end last
		return cmp.Compare(uint(a.Line)-1, uint(b.Line)-1) // 0 is the greatest
	})
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
