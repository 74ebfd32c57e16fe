package main

import (
	"fmt"
	"math"
	"slices"

	"golang.org/x/perf/benchmath"
)

// quantile is the q-quantile of sorted delays, between the nearest two.
func quantile(sorted []int64, q float64) int64 {
	if len(sorted) == 0 {
		return 0
	}
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + int64((at-float64(i))*float64(sorted[i+1]-sorted[i]))
}

// confidence is the least level of the intervals. Five values can't reach 0.95, and -reclaim has
// five. The intervals of 9 and of 15 rounds are the same for both levels.
const confidence = 0.9

// plusMinus explains the intervals in a report.
const plusMinus = "± the distance to the farther end of the median's 90% confidence interval"

// A figure sums up several measurements: their median and its confidence interval. Fewer than five
// have an infinite interval.
type figure struct{ benchmath.Summary }

func figureOf(values []float64) figure {
	sorted := slices.Clone(values) // NewSample sorts them
	sample := benchmath.NewSample(sorted, &benchmath.DefaultThresholds)
	return figure{benchmath.AssumeNothing.Summary(sample, confidence)}
}

// exactly is the figure of a value that was measured once.
func exactly(value float64) figure {
	return figure{benchmath.Summary{Center: value, Lo: value, Hi: value}}
}

// bounded reports whether the interval is finite.
func (f figure) bounded() bool { return !math.IsInf(f.Lo, 0) && !math.IsInf(f.Hi, 0) }

func (f figure) ratio() string { return f.text(2) }

// text writes the figure with so many decimals.
func (f figure) text(decimals int) string {
	if !f.bounded() {
		return fmt.Sprintf("%.*f ± ∞", decimals, f.Center)
	}
	return fmt.Sprintf("%.*f ± %.*f", decimals, f.Center, decimals, max(f.Hi-f.Center, f.Center-f.Lo))
}

// measure is the figure of f over runs.
func measure(runs []result, f func(result) float64) figure {
	values := make([]float64, len(runs))
	for i, r := range runs {
		values[i] = f(r)
	}
	return figureOf(values)
}

// against is the figure of the ratios of f, each run against the base of its own round.
func against(runs, base []result, f func(result) float64) figure {
	values := make([]float64, len(runs))
	for i := range runs {
		values[i] = f(runs[i]) / f(base[i])
	}
	return figureOf(values)
}
