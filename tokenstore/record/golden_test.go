package record

import (
	_ "embed"
	"encoding/hex"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

//go:embed testdata/golden.txt
var golden string

// TestGoldenRecords: a record of any program is read, with the fields that it has. This program
// writes the last line of each kind.
func TestGoldenRecords(t *testing.T) {
	last := make(map[string][]byte)
	for line := range strings.Lines(golden) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		columns := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(columns) != 4 {
			t.Fatalf("a line of %d columns: %q", len(columns), line)
		}
		fields, err := strconv.Atoi(columns[2])
		if err != nil {
			t.Fatal(err)
		}
		b, err := hex.DecodeString(columns[3])
		if err != nil {
			t.Fatal(err)
		}
		last[columns[0]+", "+columns[1]] = b
		for _, k := range kinds {
			if k.kind != columns[0] || columns[1] != "full" && columns[1] != "empty" {
				continue
			}
			got, err := k.decode(b)
			if err != nil {
				t.Errorf("%s: %v", line, err)
				continue
			}
			set := setFields(got)
			if len(set) != fields {
				t.Errorf("%s: read with %d fields that are set: %+v", line, len(set), got)
			}
			full := setFields(k.full)
			for name, value := range set {
				if !reflect.DeepEqual(value, full[name]) {
					t.Errorf("%s: %s is read as %+v, want %+v", line, name, value, full[name])
				}
			}
		}
	}
	for _, k := range kinds {
		for i, name := range []string{"full", "empty"} {
			want, ok := last[k.kind+", "+name]
			if got := k.encode(k.values[i]); (ok || name == "full") && string(got) != string(want) {
				t.Errorf("%s, %s: the last line has\n%x, and this is written:\n%x", k.kind, name, want, got)
			}
		}
	}
}

// setFields returns the fields of a value that are not zero, by name.
func setFields(v any) map[string]any {
	set := make(map[string]any)
	if at, ok := v.(*time.Time); ok {
		if !at.IsZero() {
			set["time"] = *at
		}
		return set
	}
	s := reflect.ValueOf(v).Elem()
	for i := range s.NumField() {
		if f := s.Field(i); !f.IsZero() {
			set[s.Type().Field(i).Name] = f.Interface()
		}
	}
	return set
}
