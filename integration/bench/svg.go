package main

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// A canvas collects the elements of an SVG picture.
type canvas struct {
	strings.Builder
	width, height float64
}

// style has colours for light and for dark pages.
const style = `<style>
text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; fill: #1f2328 }
.title { font-size: 16px; font-weight: 600 } .head { font-weight: 600 } .note { font-size: 11px; fill: #59636e } .ours { font-weight: 600 }
.grid { stroke: #d1d9e0; stroke-width: 1 } .one { stroke: #59636e; stroke-width: 1; stroke-dasharray: 4 3 }
.bar { fill: #9aa4af } .beside { fill: #d8b26a } .us { fill: #1a7f6b }
.value { paint-order: stroke; stroke: #fff; stroke-width: 4px }
.line { fill: none; stroke-width: 2 }
.a { stroke: #1a7f6b } .b { stroke: #b35900 } .fa { fill: #1a7f6b } .fb { fill: #b35900 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .note { fill: #9198a1 } .grid { stroke: #3d444d } .one { stroke: #9198a1 }
.value { stroke: #0d1117 } .bar { fill: #6e7681 } .beside { fill: #9e7b35 } .us, .fa { fill: #3fb99f } .a { stroke: #3fb99f } .b { stroke: #f0883e } .fb { fill: #f0883e }
}
</style>
`

func (c *canvas) text(x, y float64, class, anchor, s string) {
	fmt.Fprintf(c, `<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">%s</text>`+"\n", x, y, class, anchor, html.EscapeString(s))
}

func (c *canvas) line(x1, y1, x2, y2 float64, class string) {
	fmt.Fprintf(c, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="%s"/>`+"\n", x1, y1, x2, y2, class)
}

func (c *canvas) rect(x, y, width, height float64, class string) {
	fmt.Fprintf(c, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" class="%s"/>`+"\n", x, y, width, height, class)
}

func (c *canvas) circle(x, y float64, class string) {
	fmt.Fprintf(c, `<circle cx="%.1f" cy="%.1f" r="3.5" class="%s"/>`+"\n", x, y, class)
}

// document is the whole file. Screen readers read the title.
func (c *canvas) document(title string) string {
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %[1]g %[2]g" width="%[1]g" height="%[2]g" role="img">`+
		"\n<title>%[3]s</title>\n%[4]s%[5]s</svg>\n", c.width, c.height, html.EscapeString(title), style, c.String())
}

// svg draws two bars for each peer: requests a second, and CPU a request. The second one includes
// the CPU of the processes that the proxy asks.
func (c *comparison) svg(e environment) string {
	const (
		width, labels, top, row, bar = 960.0, 350.0, 76.0, 26.0, 15.0
		rateLeft, rateWidth          = labels + 10, 210.0
		cpuLeft, cpuWidth            = 640.0, 250.0
	)
	title := "What authentication costs, against plain reverse_proxy"
	p := canvas{width: width, height: top + row*float64(len(c.peers)) + 46}
	base := c.base()
	most := 1.0
	for _, peer := range c.peers {
		most = max(most, against(c.runs[peer.name], base, totalAgainstProxy).Center)
	}
	fastest := 1.0
	for _, peer := range c.peers {
		fastest = max(fastest, against(c.runs[peer.name], base, result.rate).Center)
	}
	p.text(16, 26, "title", "start", title)
	p.text(rateLeft, 54, "head", "start", "requests a second")
	p.text(cpuLeft, 54, "head", "start", "CPU a request")
	p.rect(cpuLeft+130, 45, 10, 10, "bar")
	p.text(cpuLeft+144, 54, "note", "start", "proxy")
	p.rect(cpuLeft+182, 45, 10, 10, "beside")
	p.text(cpuLeft+196, 54, "note", "start", "what it asks")
	bottom := top + row*float64(len(c.peers)) - 4
	for _, x := range []float64{rateLeft + (rateWidth-40)/fastest, cpuLeft + (cpuWidth-10)/most} {
		p.line(x, top-8, x, bottom, "one")
	}
	for i, peer := range c.peers {
		y := top + row*float64(i)
		runs := c.runs[peer.name]
		rate := against(runs, base, result.rate)
		proxy := against(runs, base, result.proxyCPU).Center
		total := against(runs, base, totalAgainstProxy).Center
		class, labelClass := "bar", ""
		if peer.ours {
			class, labelClass = "us", "ours"
		}
		p.text(labels, y+12, labelClass, "end", peer.label)
		scale := (rateWidth - 40) / fastest
		p.rect(rateLeft, y, rate.Center*scale, bar, class)
		p.text(rateLeft+rate.Center*scale+5, y+12, "value "+labelClass, "start", fmt.Sprintf("%.2f", rate.Center))
		scale = (cpuWidth - 10) / most
		p.rect(cpuLeft, y, proxy*scale, bar, class)
		p.rect(cpuLeft+proxy*scale, y, (total-proxy)*scale, bar, "beside")
		p.text(cpuLeft+total*scale+5, y+12, "value "+labelClass, "start", fmt.Sprintf("%.2f", total))
	}
	p.text(16, bottom+24, "note", "start", e.machine)
	p.text(16, bottom+40, "note", "start", e.versions+"; "+e.date+"; medians of "+fmt.Sprint(len(base))+" interleaved rounds")
	return p.document(title)
}

// totalAgainstProxy is all CPU of a peer. The baseline has only its proxy's CPU, so the ratio is
// one to that.
func totalAgainstProxy(r result) float64 { return r.totalCPU() }

// svg draws a small plot for each series, one of memory and one of start times.
func (g *growth) svg(e environment) string {
	return drawPanels("oauth1, HMAC-SHA256, as things grow", g.panels(), e)
}

// drawPanels draws small plots, three in a row.
func drawPanels(title string, panels []panel, e environment) string {
	const width, height, columns = 320.0, 250.0, 3
	rows := (len(panels) + columns - 1) / columns
	c := canvas{width: width*columns + 20, height: 48 + height*float64(rows) + 40}
	c.text(16, 26, "title", "start", title)
	for i, p := range panels {
		p.draw(&c, 10+width*float64(i%columns), 40+height*float64(i/columns), width, height)
	}
	c.text(16, c.height-26, "note", "start", e.machine)
	c.text(16, c.height-10, "note", "start", e.versions+"; "+e.date)
	return c.document(title)
}

// A panel is a small plot of up to two lines over a logarithmic axis.
type panel struct {
	title string
	names [2]string
	lines [2][]dot
	one   bool // a line at 1
}

type dot struct {
	x int
	figure
}

func (g *growth) panels() []panel {
	var all []panel
	for _, s := range g.series() {
		p := panel{title: s.name, names: [2]string{"CPU against plain", "req/s against plain"}, one: true}
		for _, point := range s.points {
			p.lines[0] = append(p.lines[0], dot{point.size, point.cpu})
			p.lines[1] = append(p.lines[1], dot{point.size, point.rate})
		}
		all = append(all, p)
	}
	memory := panel{title: "anonymous memory, MB", names: [2]string{"stored tokens", "live nonces"}}
	start := panel{title: "start after kill -9, s", names: memory.names}
	for i, points := range [...][]point{g.tokens, g.nonces} {
		for _, p := range points {
			memory.lines[i] = append(memory.lines[i], dot{p.size, exactly(megabytes(p.memory))})
			start.lines[i] = append(start.lines[i], dot{p.size, exactly(p.start.Seconds())})
		}
	}
	all = append(all, memory, start)
	drawn := all[:0]
	for _, p := range all {
		if len(p.lines[0])+len(p.lines[1]) > 0 {
			drawn = append(drawn, p)
		}
	}
	return drawn
}

func (p *panel) draw(c *canvas, left, top, width, height float64) {
	const padLeft, padRight, padTop, padBottom = 44, 20, 52, 30
	x0, x1 := left+padLeft, left+width-padRight
	y0, y1 := top+height-padBottom, top+padTop
	low, high, most := math.Inf(1), math.Inf(-1), 0.0
	smallest := math.MaxInt
	for _, line := range p.lines {
		for _, d := range line {
			most = max(most, d.Center)
			if d.bounded() {
				most = max(most, d.Hi)
			}
			if d.x > 0 {
				smallest = min(smallest, d.x)
			}
		}
	}
	// The axis is logarithmic, and 0 is one step to the left of the smallest value.
	place := func(n int) float64 {
		if n == 0 {
			return math.Log10(float64(smallest)) - 1
		}
		return math.Log10(float64(n))
	}
	for _, line := range p.lines {
		for _, d := range line {
			low, high = min(low, place(d.x)), max(high, place(d.x))
		}
	}
	step := niceStep(most / 3)
	ceiling := step * math.Ceil(most/step*1.02)
	atX := func(n int) float64 {
		if high == low {
			return (x0 + x1) / 2
		}
		return x0 + (x1-x0)*(place(n)-low)/(high-low)
	}
	atY := func(v float64) float64 { return y0 + (y1-y0)*v/ceiling }

	c.text(x0, top+16, "head", "start", p.title)
	c.rect(x0, top+25, 10, 10, "fa")
	c.text(x0+14, top+34, "note", "start", p.names[0])
	c.rect(x0+126, top+25, 10, 10, "fb")
	c.text(x0+140, top+34, "note", "start", p.names[1])
	for v := 0.0; v <= ceiling*1.001; v += step {
		c.line(x0, atY(v), x1, atY(v), "grid")
		c.text(x0-6, atY(v)+4, "note", "end", fmt.Sprintf("%g", math.Round(v*1000)/1000))
	}
	if p.one {
		c.line(x0, atY(1), x1, atY(1), "one")
	}
	var labels []float64
	for i, line := range p.lines {
		class := [...]string{"a", "b"}[i]
		var points strings.Builder
		for _, d := range line {
			fmt.Fprintf(&points, "%.1f,%.1f ", atX(d.x), atY(d.Center))
		}
		fmt.Fprintf(c, `<polyline points="%s" class="line %s"/>`+"\n", strings.TrimSpace(points.String()), class)
		for _, d := range line {
			if d.bounded() {
				c.line(atX(d.x), atY(max(0, d.Lo)), atX(d.x), atY(d.Hi), class)
			}
			c.circle(atX(d.x), atY(d.Center), "f"+class)
			near := func(x float64) bool { return math.Abs(x-atX(d.x)) < labelWidth }
			if !slices.ContainsFunc(labels, near) {
				labels = append(labels, atX(d.x))
				c.text(atX(d.x), y0+18, "note", "middle", count(d.x))
			}
		}
	}
}

// labelWidth is the width of a number below the axis.
const labelWidth = 32

// niceStep is the next larger of 1, 2 and 5 times a power of ten.
func niceStep(v float64) float64 {
	if v <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5, 10} {
		if m*power >= v {
			return m * power
		}
	}
	return 10 * power
}
