package resolver_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"

	"port53/internal/dnssec"
	"port53/internal/lab"
	"port53/internal/wire"
)

// An oracle knows what is true in a world, by its zones alone: it asks no server, and
// verifies nothing.
type oracle struct {
	world *lab.World
	zones map[string]*status // by name in lower case
}

// A status is what is known of a zone by its text.
type status struct {
	secure bool
	optOut bool
	old    bool                     // there is but an edition that has expired
	hash   func(name []byte) []byte // nil: no NSEC3
}

func newOracle(w *lab.World, sections []lab.Section) *oracle {
	o := &oracle{world: w, zones: map[string]*status{}}
	var apexes [][]byte
	for i := range sections {
		s := &sections[i]
		name, err := wire.ParseName(s.Args[0])
		if s.Kind != "zone" || err != nil || o.zones[string(name)] != nil {
			continue // a second section is an old edition
		}
		z := &status{}
		signed, vouched, anchor := false, true, len(name) == 1
		for _, l := range s.Body {
			f := strings.Fields(l)
			switch {
			case len(f) < 2 || f[0] != "!":
			case f[1] == "signed":
				signed = !strings.Contains(l, "alg=5")
				z.old = strings.Contains(l, "until=") || strings.Contains(l, "former")
				z.nsec3(f[2:])
			case f[1] == "ds":
				vouched = false
			case f[1] == "anchor":
				anchor = true
			}
		}
		z.secure = signed && (anchor || vouched) // if the zone above is, which comes below
		if anchor {
			vouched = false
		}
		if vouched {
			apexes = append(apexes, name)
		}
		o.zones[string(name)] = z
	}
	if z := o.zones["\x00"]; z == nil {
		o.zones["\x00"] = &status{old: true} // nobody finds anything
	}
	slices.SortFunc(apexes, func(a, b []byte) int { return len(a) - len(b) })
	for _, name := range apexes {
		z := o.zones[string(name)]
		z.secure = z.secure && o.holder(wire.Parent(name)).secure
	}
	return o
}

// nsec3 reads the words behind "signed".
func (z *status) nsec3(words []string) {
	var salt []byte
	iterations := uint16(0)
	three := false
	for _, w := range words {
		switch key, value, _ := strings.Cut(w, "="); key {
		case "nsec3":
			three = true
		case "optout":
			three, z.optOut = true, true
		case "salt":
			salt = []byte{0xab}
		case "iterations":
			iterations = uint16(value[0] - '0')
		}
	}
	if three {
		z.hash = func(name []byte) []byte { return dnssec.HashName(nil, name, iterations, salt) }
	}
}

// holder returns the zone that holds a name.
func (o *oracle) holder(name []byte) *status {
	for n := name; ; n = wire.Parent(n) {
		if z := o.zones[string(n)]; z != nil {
			return z
		}
		if len(n) == 1 {
			return &status{}
		}
	}
}

func withDO(query []byte) []byte {
	query = wire.AppendOPT(query, 1232, true, nil)
	binary.BigEndian.PutUint16(query[10:], 1)
	return query
}

// recordText is a record without what a client may not compare.
func recordText(r *wire.Record) string {
	data := wire.AppendCanonical(nil, r.Type, r.Data)
	return string(wire.AppendName(nil, wire.Lower(nil, r.Owner))) + " " + r.Type.String() + " " + string(wire.AppendRdataText(nil, r.Type, data))
}

// recordsOf returns the records of a reply's answer section, each once.
func recordsOf(m *wire.Message) []string {
	var list []string
	for i := range m.Records {
		if r := &m.Records[i]; r.Section == wire.Answer && r.Type != wire.TypeRRSIG {
			list = append(list, recordText(r))
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// truth returns the true answer to a question.
func (o *oracle) truth(name, typ string) *answer {
	n, _ := wire.ParseName(name)
	t, _ := wire.ParseType(typ)
	var m wire.Message
	if m.Parse(o.world.Resolve(withDO(wire.AppendQuery(nil, 1, wire.FlagRD, n, t)))) != 0 {
		return &answer{rcode: wire.ServFail}
	}
	a := &answer{rcode: m.Rcode, secure: true, records: recordsOf(&m)}
	at := wire.Lower(nil, n)
	for range 20 {
		link := o.link(&m, at, t)
		a.secure = a.secure && link.secure
		if a.secure {
			a.vouched = append(a.vouched, link.records...)
		}
		if link.target == nil {
			break
		}
		at = link.target
	}
	return a
}

// A truthLink is one link of a true answer.
type truthLink struct {
	secure  bool
	records []string
	target  []byte // nil: the last
}

// link returns what the answer section has for a name.
func (o *oracle) link(m *wire.Message, at []byte, t wire.Type) truthLink {
	var own, alias, rename []string
	var target, owner []byte
	for i := range m.Records {
		r := &m.Records[i]
		if r.Section != wire.Answer {
			continue
		}
		switch name := wire.Lower(nil, r.Owner); {
		case r.Type == t && bytes.Equal(name, at):
			own = append(own, recordText(r))
		case r.Type == wire.TypeCNAME && bytes.Equal(name, at):
			alias, target = append(alias, recordText(r)), wire.Lower(nil, r.Data)
		case r.Type == wire.TypeDNAME && len(name) < len(at) && wire.Subdomain(at, name):
			rename, owner = append(rename, recordText(r)), name
		}
	}
	zone := o.holder(dnssec.ParentSide(at, t))
	switch {
	case rename != nil:
		return truthLink{o.holder(owner).secure, append(rename, alias...), target}
	case own != nil:
		return truthLink{zone.secure && !(zone.optOut && wild(m, at)), own, nil}
	case alias != nil:
		return truthLink{zone.secure && !(zone.optOut && wild(m, at)), alias, target}
	}
	// Opt-out proves of no name that has no hash of its own that it is not delegated (RFC
	// 5155, sections 6 and 9.2).
	return truthLink{secure: zone.secure && (!zone.optOut || m.Rcode == wire.NoError && zone.hashed(m, at))}
}

// wild reports whether the answer for a name was made from a wildcard.
func wild(m *wire.Message, at []byte) bool {
	return slices.ContainsFunc(m.Records, func(r wire.Record) bool {
		return r.Type == wire.TypeRRSIG && r.Section == wire.Answer && wire.EqualFold(r.Owner, at) && int(r.Data[3]) < wire.LabelCount(at)-star(at)
	})
}

// star is 1 for a wildcard's own name, whose asterisk no signature counts.
func star(name []byte) int {
	if name[0] == 1 && name[1] == '*' {
		return 1
	}
	return 0
}

// hashed reports whether a negative reply has the NSEC3 record of a name.
func (z *status) hashed(m *wire.Message, name []byte) bool {
	label := strings.ToLower(wire.Base32Hex.EncodeToString(z.hash(name)))
	return slices.ContainsFunc(m.Records, func(r wire.Record) bool {
		return r.Type == wire.TypeNSEC3 && strings.EqualFold(string(r.Owner[1:1+r.Owner[0]]), label)
	})
}
