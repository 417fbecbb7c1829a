package lab

import (
	_ "embed"
	"fmt"
	"strings"
)

//go:embed internet.txtar
var internet []byte

// A Trial is a name of the [Internet] to ask for, what a validating resolver answers,
// and what that shows.
type Trial struct {
	Name, Type string
	Want       string // such as "NXDOMAIN, AD" or "SERVFAIL, EDE 7"
	Shows      string // with Want in brackets
}

// Internet returns a small internet: a signed root, top-level domains and zones of
// every kind, good and broken, on servers near and far; and the names to try. Its
// signatures are valid from now on for some weeks.
func Internet() (*World, []Trial, error) {
	comment, sections := Split("internet.txtar", internet)
	w := NewWorld(Options{Seed: 53})
	if err := w.Put(sections...); err != nil {
		return nil, nil, fmt.Errorf("laboratory: %w", err)
	}
	var trials []Trial
	for i, line := range comment {
		line, isTrial := strings.CutPrefix(line, "try ")
		if !isTrial {
			continue
		}
		question, rest, _ := strings.Cut(line, " = ")
		want, shows, ok := strings.Cut(rest, " : ")
		name, typ, _ := strings.Cut(question, " ")
		if !ok {
			return nil, nil, fmt.Errorf("laboratory: internet.txtar:%d: want: try NAME TYPE = ANSWER : WHAT IT SHOWS", i+1)
		}
		trials = append(trials, Trial{name, typ, want, shows + " (" + want + ")"})
	}
	return w, trials, nil
}
