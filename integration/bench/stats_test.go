package main

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		sorted []int64
		q      float64
		want   int64
	}{
		{"of none", nil, 0.5, 0},
		{"of one", []int64{7}, 0.99, 7},
		{"the median of an odd number", []int64{1, 2, 9}, 0.5, 2},
		{"the median of an even number", []int64{1, 2, 4, 9}, 0.5, 3},
		{"the upper quartile", []int64{10, 20, 31}, 0.75, 25},
		{"between two", []int64{0, 1000}, 0.99, 990},
		{"the largest", []int64{1, 2, 3}, 1, 3},
	} {
		if got := quantile(c.sorted, c.q); got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
	}
}

func TestFigureOf(t *testing.T) {
	t.Parallel()
	values := []float64{5, 1, 100, 3, 4, 7, 6, 2, 8} // an outlier moves neither end
	got := figureOf(values)
	// The interval from the 2nd to the 8th of 9 values has the level 1 - 2*(1+9)/2^9 = 0.96.
	if got.Center != 5 || got.Lo != 2 || got.Hi != 8 {
		t.Errorf("got %+v, want 5, from 2 to 8", got)
	}
	if values[0] != 5 {
		t.Error("the values were sorted in place")
	}
}

func TestFigureText(t *testing.T) {
	t.Parallel()
	for want, values := range map[string][]float64{
		"2.00 ± 7.00": {1, 2, 2, 3, 9}, // the interval of five is all of them
		"3.00 ± 0.00": {3, 3, 3, 3, 3},
		"1.50 ± ∞":    {1, 2, 3, 1},
		"1.00 ± ∞":    {1},
	} {
		if got := figureOf(values).ratio(); got != want {
			t.Errorf("%v: got %q, want %q", values, got, want)
		}
	}
	if got, want := exactly(7).text(0), "7 ± 0"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAgainstComparesWithinARound(t *testing.T) {
	t.Parallel()
	run := func(elapsed time.Duration) result { return result{requests: 100, elapsed: elapsed} }
	// The machine is three times as slow in every second round. The peer has half of the base's
	// speed in each round.
	var base, runs []result
	for range 3 {
		base = append(base, run(time.Second), run(3*time.Second))
		runs = append(runs, run(2*time.Second), run(6*time.Second))
	}
	if got, want := against(runs, base, result.rate).ratio(), "0.50 ± 0.00"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestPanelOfFewRounds: a plot of figures without an interval has no infinite coordinates.
func TestPanelOfFewRounds(t *testing.T) {
	t.Parallel()
	few, many := figureOf([]float64{1, 2}), figureOf([]float64{1, 2, 3, 4, 5, 6})
	p := panel{lines: [2][]dot{{{1, few}, {10, many}}}}
	var c canvas
	p.draw(&c, 0, 0, 320, 250)
	picture := c.String()
	for _, bad := range []string{"Inf", "NaN"} {
		if strings.Contains(picture, bad) {
			t.Errorf("%s in %s", bad, picture)
		}
	}
	if got := strings.Count(picture, `class="a"`); got != 1 {
		t.Errorf("%d intervals are drawn, want the one of six rounds", got)
	}
}

func TestNiceStep(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]float64{0: 1, 0.03: 0.05, 0.4: 0.5, 1: 1, 1.1: 2, 33: 50, 70: 100} {
		if got := niceStep(v); math.Abs(got-want) > 1e-9 {
			t.Errorf("%v: got %v, want %v", v, got, want)
		}
	}
}

func TestCount(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{0: "0", 32: "32", 1000: "1 k", 1234: "1234", 2500: "2.5 k", 1_000_000: "1 M", 10_000_000: "10 M"} {
		if got := count(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
}
