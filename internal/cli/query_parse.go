package cli

import (
	"fmt"
	"strings"

	"port53/internal/wire"
)

// A commandLine is what a command line asks for.
type commandLine struct {
	askings []*asking
	base    *asking // what holds for all names
	batch   string  // file of command lines; "" if none
	help    bool
	version bool
}

// A lineReader goes through the words of one command line.
type lineReader struct {
	*queryParser
	line    commandLine
	base    *asking   // holds for every name that follows
	current []*asking // what options apply to: base, or the questions about the last name
	rest    []string
	literal bool // behind --: nothing is an option
}

// parse reads args as dig does: what stands before the first name holds for all
// names, what stands behind a name for that name. A type stands before or behind its
// name; several types are several questions. base is what holds before args.
func (p *queryParser) parse(base asking, args []string) (*commandLine, error) {
	base = base.clone()
	r := lineReader{queryParser: p, base: &base, current: []*asking{&base}, rest: args}
	r.line.base = &base
	for len(r.rest) > 0 && !r.line.help && !r.line.version {
		if err := r.next(); err != nil {
			return nil, err
		}
	}
	if len(r.line.askings) == 0 && r.line.batch == "" {
		// As dig: the root's servers, or what was asked of the root.
		r.add()
		if a := r.current[0]; !a.typed {
			a.q.Type = wire.TypeNS
		}
	}
	return &r.line, nil
}

// add begins the questions about another name.
func (r *lineReader) add() {
	a := r.base.clone()
	a.own = false
	r.line.askings = append(r.line.askings, &a)
	r.current = []*asking{&a}
}

// take returns the next word, which belongs to the option before.
func (r *lineReader) take(option, want string) (string, error) {
	if len(r.rest) == 0 {
		return "", fmt.Errorf("%s needs %s", option, want)
	}
	arg := r.rest[0]
	r.rest = r.rest[1:]
	return arg, nil
}

func (r *lineReader) next() error {
	arg, _ := r.take("", "")
	switch {
	case r.literal || len(arg) < 2:
		return r.word(arg)
	case arg == "--":
		r.literal = true
		return nil
	case arg[0] == '@':
		return r.apply(r.long["server"], "@", arg[1:], true, true)
	case arg[0] == '+':
		name, value, has := strings.Cut(arg[1:], "=")
		o, on, err := r.plusOption(strings.ToLower(name))
		if err != nil {
			return err
		}
		return r.apply(o, "+"+name, value, has, on)
	case strings.HasPrefix(arg, "--"):
		return r.ownFlag(arg)
	case arg[0] == '-':
		return r.shortFlag(arg)
	}
	return r.word(arg)
}

func (r *lineReader) ownFlag(arg string) error {
	name, value, has := strings.Cut(arg[2:], "=")
	switch name {
	case "help":
		r.line.help = true
		return nil
	case "batch":
		return r.batch("--batch", value, has)
	}
	o, on, err := r.longOption(name)
	if err != nil {
		return err
	}
	if on && !has && o.arg != "" && !o.optional() {
		has = true
		if value, err = r.take("--"+name, o.arg); err != nil {
			return err
		}
	}
	return r.apply(o, "--"+name, value, has, on)
}

func (r *lineReader) shortFlag(arg string) error {
	switch arg[1] {
	case 'h':
		r.line.help = true
		return nil
	case 'v':
		r.line.version = true
		return nil
	case 'f':
		return r.batch("-f", arg[2:], len(arg) > 2)
	}
	if name, value, has := strings.Cut(arg[1:], "="); has {
		if o := r.nslookup(name); o != nil {
			return r.apply(o, "-"+name, value, true, true)
		}
	}
	o := r.short[arg[1]]
	if o == nil || o.arg == "" && len(arg) > 2 {
		return fmt.Errorf("%s: there is no such flag", arg)
	}
	if o.arg == "" {
		return r.apply(o, arg, "", false, true)
	}
	value, err := arg[2:], error(nil)
	if value == "" {
		value, err = r.take(arg, o.arg)
	}
	if err != nil {
		return err
	}
	return r.apply(o, arg[:2], value, true, true)
}

// nslookup returns the option that nslookup writes as -NAME=VALUE, or nil.
func (r *lineReader) nslookup(name string) *queryOption {
	long := map[string]string{
		"type": "type", "querytype": "type", "query": "type", "q": "type", "class": "class",
		"cl": "class", "port": "port", "timeout": "timeout", "retry": "tries", "domain": "domain",
	}[name]
	return r.long[long]
}

func (r *lineReader) batch(name, value string, has bool) (err error) {
	if !has {
		value, err = r.take(name, "FILE")
	}
	r.line.batch = value
	return err
}

// apply sets an option, of the base or of all questions about the last name. One
// that brings a name begins a question; a second type is one.
func (r *lineReader) apply(o *queryOption, name, value string, has, on bool) error {
	switch {
	case o.long == "name" || o.long == "reverse":
		r.add()
	case o.long == "type" && r.current[0].named && r.current[0].own:
		return o.apply(r.again(), name, value, has, on)
	}
	for _, a := range r.current {
		if err := o.apply(a, name, value, has, on); err != nil {
			return err
		}
	}
	return nil
}

// again adds another question about the same name.
func (r *lineReader) again() *asking {
	a := r.current[0].clone()
	r.line.askings = append(r.line.askings, &a)
	r.current = append(r.current, &a)
	return &a
}

// word takes a type, a class or a name.
func (r *lineReader) word(arg string) error {
	first := r.current[0]
	if t, serial, ok := parseQueryType(arg); ok && !r.literal && (first.named || !first.typed) {
		a := first
		if first.named && first.own {
			a = r.again()
		}
		a.q.Type, a.q.Serial, a.typed, a.own = t, serial, true, true
		return nil
	}
	if c, ok := wire.ParseClass(arg); ok && !r.literal {
		for _, a := range r.current {
			a.q.Class = c
		}
		return nil
	}
	r.add()
	if first.named && !r.literal && len(arg) <= maxMnemonic && !strings.ContainsFunc(arg, notMnemonic) {
		r.current[0].notType = arg
	}
	return setName(r.current[0], arg, true)
}

// maxMnemonic is the length of the longest mnemonic of a type, NSEC3PARAM.
const maxMnemonic = 10

// notMnemonic reports whether no mnemonic of a type has a character.
func notMnemonic(c rune) bool {
	return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-')
}
