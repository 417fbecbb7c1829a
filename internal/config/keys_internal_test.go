package config

import (
	"reflect"
	"strings"
	"testing"
)

// TestDescriptions fails if something is described that is no key, or a text is not as
// readDescriptions says. (A key that nobody describes stops every test of the package.)
func TestDescriptions(t *testing.T) {
	unused := map[string]bool{}
	for name := range descriptions() {
		unused[name] = true
	}
	var walk func(typ reflect.Type)
	walk = func(typ reflect.Type) {
		for typ.Kind() == reflect.Slice || typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || typ.PkgPath() != reflect.TypeFor[Config]().PkgPath() {
			return
		}
		for i := range typ.NumField() {
			f := typ.Field(i)
			if key, ok := f.Tag.Lookup("yaml"); ok {
				delete(unused, typ.Name()+"."+key)
			}
			if f.Tag.Get("yaml") != "" || f.Anonymous {
				walk(f.Type)
			}
		}
	}
	walk(reflect.TypeFor[Config]())
	for name := range unused {
		t.Errorf("%s is described and is not a key", name)
	}
	for name, text := range map[string]string{
		"twice":    "Zone.name\n\tA.\n\nZone.name\n\tB.\n",
		"no key":   "\tA.\n",
		"no key 2": "Zone.name\n\tA.\n\n\tB.\n",
	} {
		if err := readDescriptions(map[string]*description{}, "f", text); err == nil || !strings.Contains(err.Error(), "f:") {
			t.Errorf("%s: %v", name, err)
		}
	}
	of := map[string]*description{}
	err := readDescriptions(of, "f", "Zone.name\n\tA b\n\t\tc.\n\tD.\n\twhy: E\n\t\tf.\n\tdefault: G\n\tvalue: H\n")
	if err != nil || *of["Zone.name"] != (description{"A b c. D.", "E f.", "G", "H"}) {
		t.Errorf("%+v %v", of["Zone.name"], err)
	}
}
