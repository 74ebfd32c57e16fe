package main

import (
	"math"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		sorted []float64
		q      float64
		want   float64
	}{
		{"of none", nil, 0.5, 0},
		{"of one", []float64{7}, 0.99, 7},
		{"the median of an odd number", []float64{1, 2, 9}, 0.5, 2},
		{"the median of an even number", []float64{1, 2, 4, 9}, 0.5, 3},
		{"the lower quartile", []float64{1, 2, 3, 4, 5}, 0.25, 2},
		{"between two", []float64{0, 10}, 0.99, 9.9},
		{"the largest", []float64{1, 2, 3}, 1, 3},
	} {
		if got := quantile(c.sorted, c.q); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
	if got := quantile([]int64{10, 20, 31}, 0.75); got != 25 {
		t.Errorf("of integers: got %d, want 25", got)
	}
}

func TestFigureOf(t *testing.T) {
	t.Parallel()
	values := []float64{5, 1, 100, 3, 4} // one outlier moves neither
	if got := figureOf(values); got != (figure{median: 4, spread: 1}) {
		t.Errorf("got %+v", got)
	}
	if values[0] != 5 {
		t.Error("the values were sorted in place")
	}
}

func TestAgainstComparesWithinARound(t *testing.T) {
	t.Parallel()
	run := func(requests int, elapsed time.Duration) result { return result{requests: requests, elapsed: elapsed} }
	// The machine is three times as slow in the second round; the peer has half of the base's speed in each.
	base := []result{run(100, time.Second), run(100, 3*time.Second), run(100, time.Second)}
	runs := []result{run(100, 2*time.Second), run(100, 6*time.Second), run(100, 2*time.Second)}
	if got := against(runs, base, result.rate); got != (figure{median: 0.5}) {
		t.Errorf("got %+v, want 0.5", got)
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
