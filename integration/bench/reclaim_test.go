package main

import (
	"reflect"
	"slices"
	"testing"
)

func TestGivings(t *testing.T) {
	t.Parallel()
	two, one, other, none := []string{"1", "2"}, []string{"2"}, []string{"2", "3"}, []string(nil)
	for _, c := range []struct {
		name   string
		states [][]string // the files before each slice, and after the last
		want   []span
		gaps   []span
	}{
		{"nothing goes", [][]string{two, two, two}, nil, []span{{0, 2}}},
		{"a slice before and one after", [][]string{two, two, two, one, one, one, one}, []span{{1, 4}}, []span{{0, 1}, {4, 6}}},
		{"one goes while another comes", [][]string{two, two, other, other, other}, []span{{0, 3}}, []span{{0, 0}, {3, 4}}},
		{"two that touch are one", [][]string{two, two, one, one, none, none, none}, []span{{0, 5}}, []span{{0, 0}, {5, 6}}},
		{"two", [][]string{two, two, one, one, one, one, none, none}, []span{{0, 3}, {4, 7}}, []span{{0, 0}, {3, 4}, {7, 7}}},
		{"what comes is not given back", [][]string{one, other, other}, nil, []span{{0, 2}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r reclaim
			for _, files := range c.states {
				r.states = append(r.states, state{files: files})
			}
			got := r.givings()
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
			if gaps := r.gaps(got); !reflect.DeepEqual(gaps, c.gaps) {
				t.Errorf("gaps %v, want %v", gaps, c.gaps)
			}
		})
	}
}

func TestPieces(t *testing.T) {
	t.Parallel()
	got := pieces([]span{{0, 2}, {10, 17}})
	if want := []span{{10, 13}, {13, 16}}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestWithin(t *testing.T) {
	t.Parallel()
	const ms = 1e6
	delays := [][]int64{{9 * ms, 1 * ms}, {8 * ms}, {7 * ms, 3 * ms}, {6 * ms}, {70 * ms}}
	if got := within(delays, []span{{0, 1}, {2, 4}, {4, 5}}, 1); !slices.Equal(got, []float64{9, 7, 70}) {
		t.Errorf("got %v, want the longest of each", got)
	}
}
