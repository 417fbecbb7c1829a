package lab

import (
	_ "embed"
	"fmt"
	"strings"
)

//go:embed internet.txtar
var internet []byte

// A Trial is a name of the [Internet] to ask for, and what it shows.
type Trial struct {
	Name, Type string
	Shows      string
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
	for _, line := range comment {
		question, shows, ok := strings.Cut(strings.TrimPrefix(line, "try "), " : ")
		name, typ, _ := strings.Cut(question, " ")
		if ok && strings.HasPrefix(line, "try ") {
			trials = append(trials, Trial{name, typ, shows})
		}
	}
	return w, trials, nil
}
