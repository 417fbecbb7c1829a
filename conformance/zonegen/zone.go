// Package zonegen makes the zones that servers are compared on: an imitation of
// the root zone, and hostile zones that gather what is rare elsewhere, unsigned
// and signed in every way that a server must serve. The same seed gives the
// same records; only keys and signatures differ between runs.
//
// A [Zone] is a list of records with absolute names. [Zone.Write] writes it as
// a master file with one record on each line; [Sign] has BIND's tools sign it.
package zonegen

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A Record is one record in presentation form; its names are absolute.
type Record struct {
	Owner string
	TTL   int
	Type  string
	Data  string
}

// A Zone is a zone that was made up here.
type Zone struct {
	Origin  string
	Mode    Mode
	Records []Record
	File    string // where it was written, signed if Mode says so
	// Extra names that questions should be asked for, beside those of the records.
	Extra []string
	// Refused are the peers that do not load the zone.
	Refused []string
}

// New returns a zone with an SOA, two name servers and their addresses.
func New(origin string, mode Mode) *Zone {
	z := &Zone{Origin: origin, Mode: mode}
	z.Add("@", "SOA", "ns1.@ hostmaster.@ 2026010101 7200 3600 1209600 300")
	z.Add("@", "NS", "ns1.@")
	z.Add("@", "NS", "ns2.@")
	z.Add("ns1", "A", "192.0.2.1")
	z.Add("ns1", "AAAA", "2001:db8::1")
	z.Add("ns2", "A", "192.0.2.2")
	return z
}

// defaultTTL is the TTL of a record that names none.
const defaultTTL = 3600

// Add adds a record. The owner is relative to the origin, or @, unless it ends
// with an unescaped dot. In the data, a word that is @ or ends in ".@" is
// completed with the origin.
func (z *Zone) Add(owner, typ, data string) { z.AddTTL(owner, defaultTTL, typ, data) }

// AddTTL is [Zone.Add] with a TTL.
func (z *Zone) AddTTL(owner string, ttl int, typ, data string) {
	if typ != "TXT" {
		words := strings.Split(data, " ")
		for i, w := range words {
			if w == "@" || strings.HasSuffix(w, ".@") {
				words[i] = z.Abs(strings.TrimSuffix(strings.TrimSuffix(w, "@"), "."))
			}
		}
		data = strings.Join(words, " ")
	}
	z.Records = append(z.Records, Record{z.Abs(owner), ttl, typ, data})
}

// Abs returns the absolute form of a name that is relative to the origin; the
// empty name and @ stand for the origin itself.
func (z *Zone) Abs(name string) string {
	switch {
	case name == "" || name == "@":
		return z.Origin
	case strings.HasSuffix(name, ".") && !strings.HasSuffix(name, `\.`):
		return name
	case z.Origin == ".":
		return name + "."
	}
	return name + "." + z.Origin
}

// Names returns the owners of the records, each once, in the order of their
// first record, then the extra names.
func (z *Zone) Names() []string {
	var names []string
	seen := map[string]bool{}
	for _, r := range z.Records {
		if !seen[r.Owner] {
			seen[r.Owner] = true
			names = append(names, r.Owner)
		}
	}
	for _, n := range z.Extra {
		if !seen[n] {
			seen[n] = true
			names = append(names, n)
		}
	}
	return names
}

// Types returns the types of the records at each owner.
func (z *Zone) Types() map[string][]string {
	types := map[string][]string{}
	for _, r := range z.Records {
		types[r.Owner] = append(types[r.Owner], r.Type)
	}
	return types
}

// Write writes the records into a file below dir and, where the mode says so,
// has it signed there; File is the result, in a form that every server reads.
func (z *Zone) Write(dir string) error {
	plain := filepath.Join(dir, fileName(z.Origin)+".zone")
	f, err := os.Create(plain)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	for _, r := range z.Records {
		fmt.Fprintf(w, "%s %d IN %s %s\n", r.Owner, r.TTL, r.Type, r.Data)
	}
	if err := w.Flush(); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	z.File = filepath.Join(dir, fileName(z.Origin)+".common")
	if z.Mode == Plain {
		return normalize(plain, z.File)
	}
	signed := plain + ".signed"
	if err := Sign(z.Origin, z.Mode, plain, signed); err != nil {
		return err
	}
	return normalize(signed, z.File)
}

// fileName turns a zone's name into a file's.
func fileName(origin string) string {
	if origin == "." {
		return "root"
	}
	return strings.TrimSuffix(origin, ".")
}
