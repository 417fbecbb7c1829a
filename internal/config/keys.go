package config

import (
	"embed"
	"fmt"
	"path"
	"reflect"
	"strings"
	"sync"
)

// What the keys of the file mean is text, in one file for each Go file that has keys.
//
//go:embed keys
var keyFiles embed.FS

// A description is what is said of one key.
type description struct {
	doc   string
	why   string // the reason of the default
	unset string // what holds where the file does not set the key, if the default's text does not tell it
	value string // what a value looks like, if its form does not tell it
}

// descriptions has what is said of each key, by the type of its section and its name:
// "Zone.name". It is read once and never changed.
var descriptions = sync.OnceValue(func() map[string]*description {
	of := map[string]*description{}
	files, err := keyFiles.ReadDir("keys")
	if err != nil {
		panic(err) // it is embedded
	}
	for _, f := range files {
		text, err := keyFiles.ReadFile(path.Join("keys", f.Name()))
		if err == nil {
			err = readDescriptions(of, f.Name(), string(text))
		}
		if err != nil {
			panic(err) // every test fails of it
		}
	}
	return of
})

// readDescriptions reads a file of descriptions. A line at the margin is the key, "Section.key", the
// lines below it, each indented, one sentence each. A line that is indented twice goes on with
// the one before. One that begins with "why: " says the reason of the default; "default: " is what the reference
// has for the default, and "value: " for the value, where what is made of the tags would mislead.
func readDescriptions(of map[string]*description, file, text string) error {
	var d *description
	var to *string
	for n, line := range strings.Split(text, "\n") {
		at := fmt.Sprintf("%s:%d", file, n+1)
		sentence, indented := strings.CutPrefix(line, "\t")
		more, goesOn := strings.CutPrefix(sentence, "\t")
		switch {
		case line == "":
			d = nil
		case !indented:
			if of[line] != nil {
				return fmt.Errorf("%s: %s is described twice", at, line)
			}
			d = &description{}
			of[line], to = d, &d.doc
		case d == nil:
			return fmt.Errorf("%s: expected a key at the margin", at)
		default:
			for word, field := range map[string]*string{"why: ": &d.why, "default: ": &d.unset, "value: ": &d.value} {
				if rest, ok := strings.CutPrefix(sentence, word); ok {
					sentence, to = rest, field
				}
			}
			if goesOn {
				sentence = more
			}
			if *to != "" {
				*to += " "
			}
			*to += sentence
		}
	}
	return nil
}

// describedBy returns what is said of a key, by the struct that has its field.
func describedBy(section reflect.Type, f reflect.StructField) *description {
	owner := section
	for _, i := range f.Index[:len(f.Index)-1] {
		owner = owner.Field(i).Type
	}
	name := owner.Name() + "." + f.Tag.Get("yaml")
	d := descriptions()[name]
	if d == nil {
		panic("config: " + name + " is not described in keys")
	}
	return d
}
