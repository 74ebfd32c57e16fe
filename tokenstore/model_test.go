package tokenstore

import (
	"reflect"
	"testing"
	"time"
)

// TestCloneOfAConsumer: a change of any field of the clone does not change the original.
func TestCloneOfAConsumer(t *testing.T) {
	var c Consumer
	fields := reflect.ValueOf(&c).Elem()
	for i := range fields.NumField() {
		name := fields.Type().Field(i).Name
		switch f := fields.Field(i); f.Interface().(type) {
		case string:
			f.SetString(name)
		case bool:
			f.SetBool(true)
		case time.Time:
			f.Set(reflect.ValueOf(time.Unix(int64(i), 0)))
		case []string:
			f.Set(reflect.ValueOf([]string{name}))
		case *TwoLegged:
			f.Set(reflect.ValueOf(&TwoLegged{User: "u", Permission: "p"}))
		default:
			t.Fatalf("%s: this test does not know the type %s", name, f.Type())
		}
	}
	clone := c.Clone()
	if !reflect.DeepEqual(*clone, c) {
		t.Errorf("got %+v, want %+v", *clone, c)
	}
	cloned := reflect.ValueOf(clone).Elem()
	for i := range fields.NumField() {
		switch f := fields.Field(i); f.Kind() {
		case reflect.Slice, reflect.Pointer, reflect.Map:
			if f.Pointer() == cloned.Field(i).Pointer() {
				t.Errorf("%s is shared with the clone", fields.Type().Field(i).Name)
			}
		}
	}
}
