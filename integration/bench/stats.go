package main

import (
	"cmp"
	"slices"
)

// quantile is the q-quantile of sorted values, between the nearest two.
func quantile[T int64 | float64](sorted []T, q float64) T {
	if len(sorted) == 0 {
		return 0
	}
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + T((at-float64(i))*float64(sorted[i+1]-sorted[i]))
}

// A figure is what several rounds measured: their median, and half of the distance between the quartiles.
type figure struct{ median, spread float64 }

func figureOf(values []float64) figure {
	sorted := slices.SortedFunc(slices.Values(values), cmp.Compare)
	return figure{
		median: quantile(sorted, 0.5),
		spread: (quantile(sorted, 0.75) - quantile(sorted, 0.25)) / 2,
	}
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
