package dnstest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"port53/internal/lab"
	"port53/internal/wire"
)

// A Subject is a resolver under test.
type Subject interface {
	// Ask answers a client's query. It returns nil if the client gets no reply, and
	// when ctx ends.
	Ask(ctx context.Context, query []byte, from netip.AddrPort, tcp bool) []byte
	// Close ends all of the subject's goroutines.
	Close()
}

// A Reloader is a Subject whose settings can change while it works.
type Reloader interface {
	Apply(*Setup) error
}

// A Flusher is a Subject whose cache can be emptied, of one name or of all at and
// below it.
type Flusher interface {
	Flush(name []byte, tree bool)
}

// A Dumper is a Subject whose cache outlives it.
type Dumper interface {
	Dump(io.Writer) error
	Load(io.Reader) error
}

// A Route sends the names at and below a zone to servers of its own.
type Route struct {
	Zone    []byte // in lower case
	Servers []netip.AddrPort
	Forward bool // the servers are resolvers; else they have the zone
	First   bool // what they do not answer is iterated
	TCP     bool
}

// A Setup is what a Subject is made from. Settings that the file does not have are
// the subject's to choose.
type Setup struct {
	Net      *lab.Net
	Hints    string // the root's servers, as a master file
	Anchors  string // trust anchors, as a master file; empty: none
	Validate bool
	Routes   []Route
	Log      *slog.Logger // of what an operator is told; nil: nobody is

	values []setting
}

// NewSetup returns what a Subject in a world is made from, with the settings of these lines.
func NewSetup(w *lab.World, settings ...string) *Setup {
	s := &Setup{Net: w.Net, Hints: w.Hints(), Anchors: w.Anchors()}
	s.read("", settings)
	s.common()
	return s
}

// read adds the settings of lines.
func (s *Setup) read(at string, lines []string) {
	for _, l := range lines {
		if f := strings.Fields(l); len(f) > 0 && l[0] != '#' {
			s.values = append(s.values, setting{at: at, key: f[0], words: f[1:]})
		}
	}
}

// A setting is one line of a section "settings", or of a step "set".
type setting struct {
	at    string // file:line
	key   string
	words []string
	used  bool
	bad   string // what was expected
}

func (s *Setup) find(key, want string) *setting {
	var found *setting
	for i := range s.values {
		if v := &s.values[i]; v.key == key {
			v.used, v.bad = true, ""
			found = v
		}
	}
	if found != nil && len(found.words) != 1 {
		found.bad = want
		return nil
	}
	return found
}

// Has reports whether the setting key is there.
func (s *Setup) Has(key string) bool {
	for i := range s.values {
		if s.values[i].key == key {
			s.values[i].used = true
			return true
		}
	}
	return false
}

// Bool returns the value of a setting that is on or off.
func (s *Setup) Bool(key string, otherwise bool) bool {
	v := s.find(key, "on or off")
	if v == nil {
		return otherwise
	}
	switch v.words[0] {
	case "on":
		return true
	case "off":
		return false
	}
	v.bad = "on or off"
	return otherwise
}

// Int returns the value of a setting that is a number.
func (s *Setup) Int(key string, otherwise int) int {
	v := s.find(key, "a number")
	if v == nil {
		return otherwise
	}
	n, err := strconv.Atoi(v.words[0])
	if err != nil {
		v.bad = "a number"
		return otherwise
	}
	return n
}

// Duration returns the value of a setting such as 30s.
func (s *Setup) Duration(key string, otherwise time.Duration) time.Duration {
	v := s.find(key, "a duration such as 30s")
	if v == nil {
		return otherwise
	}
	d, err := time.ParseDuration(v.words[0])
	if err != nil {
		v.bad = "a duration such as 30s"
		return otherwise
	}
	return d
}

// Time returns the value of a setting such as 2020-10-20T00:00:00Z, or the zero time.
func (s *Setup) Time(key string) time.Time {
	v := s.find(key, "a time such as 2020-10-20T00:00:00Z")
	if v == nil {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, v.words[0])
	if err != nil {
		v.bad = "a time such as 2020-10-20T00:00:00Z"
	}
	return at
}

// Text returns the one word that a setting has.
func (s *Setup) Text(key, otherwise string) string {
	v := s.find(key, "one word")
	if v == nil {
		return otherwise
	}
	return v.words[0]
}

// Words returns the words of each setting of this key.
func (s *Setup) Words(key string) [][]string {
	var all [][]string
	for i := range s.values {
		if v := &s.values[i]; v.key == key {
			v.used = true
			all = append(all, v.words)
		}
	}
	return all
}

// Fault makes the scenario fail: the setting key has a value that the subject cannot
// take, and should have been what is wanted.
func (s *Setup) Fault(key, wanted string) {
	for i := range s.values {
		if s.values[i].key == key {
			s.values[i].bad = wanted
		}
	}
}

// common reads the settings that every subject has, again.
func (s *Setup) common() {
	s.Validate = s.Bool("validate", s.Anchors != "")
	s.Routes = nil
	for _, key := range [...]string{"forward", "stub"} {
		for i := range s.values {
			v := &s.values[i]
			if v.key != key {
				continue
			}
			v.used = true
			if err := s.route(v); err != nil {
				v.bad = err.Error()
			}
		}
	}
}

func (s *Setup) route(v *setting) error {
	if len(v.words) < 2 {
		return fmt.Errorf("a zone and an address")
	}
	zone, err := wire.ParseName(v.words[0])
	if err != nil {
		return fmt.Errorf("a zone: %w", err)
	}
	r := Route{Zone: wire.Lower(nil, zone), Forward: v.key == "forward"}
	for _, w := range v.words[1:] {
		switch {
		case w == "first" && r.Forward:
			r.First = true
		case w == "none" && r.Forward: // an exception
		case w == "tcp":
			r.TCP = true
		default:
			a, err := addrPort(w)
			if err != nil {
				return fmt.Errorf("addresses, first and tcp: %w", err)
			}
			r.Servers = append(r.Servers, a)
		}
	}
	s.Routes = append(s.Routes, r)
	return nil
}

// faults returns what is wrong with the settings, once the subject has read them.
// Settings that it has not read are wrong if all have to be.
func (s *Setup) faults(all bool) error {
	for _, v := range s.values {
		switch {
		case v.bad != "":
			return fmt.Errorf("%s: setting %q is %q; want %s", v.at, v.key, strings.Join(v.words, " "), v.bad)
		case all && !v.used:
			return fmt.Errorf("%s: setting %q is not known to the subject", v.at, v.key)
		}
	}
	return nil
}

func addrPort(s string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(a, 53), nil
	}
	return netip.ParseAddrPort(s)
}
