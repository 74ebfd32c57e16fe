package command

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// A progress tells how far a long command is: at a terminal with a bar that moves, elsewhere with a
// line every few seconds. A command that is done sooner prints none.
type progress struct {
	out     io.Writer
	bar     bool
	whole   int64 // 0 if it is not known
	what    string
	began   time.Time
	shown   time.Time
	drawn   bool
	now     func() time.Time
	padding int
}

// reportEvery is how often a line says how far a command is, and redrawEvery how often a bar moves.
const (
	reportEvery = 5 * time.Second
	redrawEvery = 200 * time.Millisecond
)

// newProgress begins. The whole is in the unit of `part` in tell; 0 means that it is not known.
func newProgress(out io.Writer, whole int64, what string) *progress {
	file, ok := out.(*os.File)
	p := &progress{
		out: out, whole: whole, what: what, now: time.Now,
		bar: ok && term.IsTerminal(int(file.Fd())),
	}
	p.began = p.now()
	p.shown = p.began
	return p
}

// tell says that so much of the whole is done, in so many steps.
func (p *progress) tell(part int64, steps int) {
	now, every := p.now(), reportEvery
	if p.bar {
		every = redrawEvery
	}
	if now.Sub(p.shown) < every {
		return
	}
	p.shown = now
	text := fmt.Sprintf("%d %s, %.0f a second", steps, p.what, float64(steps)/now.Sub(p.began).Seconds())
	if p.whole > 0 {
		text = fmt.Sprintf("%3d%%  %s", min(100, part*100/p.whole), text)
	}
	if !p.bar {
		fmt.Fprintln(p.out, strings.TrimSpace(text))
		return
	}
	if p.whole > 0 {
		const width = 30
		full := int(min(width, part*width/p.whole))
		text = "[" + strings.Repeat("#", full) + strings.Repeat(".", width-full) + "] " + text
	}
	padded := text + strings.Repeat(" ", max(0, p.padding-len(text)))
	p.padding, p.drawn = len(text), true
	fmt.Fprint(p.out, "\r"+padded)
}

// end leaves the bar as it is, on a line of its own.
func (p *progress) end() {
	if p.drawn {
		fmt.Fprintln(p.out)
		p.drawn = false
	}
}
