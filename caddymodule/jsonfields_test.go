package caddymodule

import (
	"encoding/json"
	"testing"
)

func TestRepeatedField(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{}`: "", `[]`: "", `null`: "", `"a"`: "", ``: "", `{"a":`: "", `}`: "", `{"a":1}]`: "",
		`{"a":1,"b":"a"}`:                            "",
		`{"a":"a","b":["a","a"]}`:                    "",
		`{"a":{"b":1},"b":{"b":1}}`:                  "",
		`[{"a":1},{"a":1}]`:                          "",
		`{"a":1,"a":1}`:                              "a",
		`{"a":1,"A":1}`:                              "A",
		`{"a":1,"\u0061":1}`:                         "a",
		`{"a":{},"a":1}`:                             "a",
		`{"a":[{}],"a":1}`:                           "a",
		`{"two_legged":{"user":"a","User":"b"}}`:     "User",
		`{"a":[1,{"k":null,"\u212a":true}],"b":1.5}`: "\u212a",
		`{"s":1}{"s":1}`:                             "",
	} {
		if got := repeatedField([]byte(text)); got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

// FuzzRepeatedField: foldedName returns a struct field's name exactly if encoding/json reads the
// value into that field.
func FuzzRepeatedField(f *testing.F) {
	for _, seed := range []string{"user", "USER", "u\u017fer", "\u212aey", "", "\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		text, err := json.Marshal(map[string]string{name: "x"})
		if err != nil {
			return
		}
		var into struct {
			User string `json:"user"`
			Key  string `json:"key"`
		}
		if err := json.Unmarshal(text, &into); err != nil {
			t.Fatal(err)
		}
		folded := foldedName(name)
		if (into.User == "x") != (folded == "user") || (into.Key == "x") != (folded == "key") {
			t.Errorf("%q is folded to %q, and read as %+v", name, folded, into)
		}
	})
}
