package event

import (
	"bytes"
	"net/netip"

	"port53/internal/wire"
)

// A Filter says which records of queries somebody wants to see. What is not said fits all.
type Filter struct {
	Name     []byte       // in wire form and lower case: it, and what is below it
	Client   netip.Prefix // in which the client is
	Rcode    *wire.Rcode
	Type     wire.Type
	Path     *Path
	Problems bool // those alone
}

// Wants returns what of the records fit in the first place.
func (f *Filter) Wants() Wants {
	if f.Problems {
		return Problems
	}
	return Answers
}

// Matches reports whether a record of a query is one of those.
func (f *Filter) Matches(r *Record) bool {
	switch {
	case r.Kind != Client,
		f.Problems && !r.Problem(),
		f.Client.IsValid() && !f.Client.Contains(r.Remote.Addr().Unmap()),
		f.Rcode != nil && (*f.Rcode != r.Rcode || r.Outcome >= Dropped),
		f.Type != 0 && f.Type != r.Type,
		f.Path != nil && *f.Path != r.Path:
		return false
	}
	return f.Name == nil || below(r.Name, f.Name)
}

// below reports whether a name is another one, or below it.
func below(name, top []byte) bool {
	for len(name) > len(top) && name[0] != 0 && int(name[0]) < len(name) {
		name = name[1+int(name[0]):]
	}
	return bytes.Equal(name, top)
}

// ParsePath returns the path that a word names.
func ParsePath(text string) (Path, bool) {
	for p := range PathCount {
		if p.String() == text {
			return p, true
		}
	}
	return 0, false
}
