package dnssec_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"port53/internal/dnssec"
	"port53/internal/wire"
)

// A model is a zone as RFC 1034, section 4.3.2, and RFC 4592 see it, without DNSSEC:
// what proofs say has to agree with it.
type model map[string][]wire.Type // by names in text, below "example."

// randomModel makes a zone of few labels, so that names meet. What would lie below a
// delegation or a DNAME is not part of it.
func randomModel(r *rand.Rand) model {
	labels := []string{"a", "b", "c", "*"}
	kinds := [][]wire.Type{
		{wire.TypeA}, {wire.TypeTXT}, {wire.TypeA, wire.TypeTXT}, {wire.TypeCNAME}, {wire.TypeNS}, {wire.TypeNS, wire.TypeDS}, {wire.TypeDNAME},
	}
	m := model{"example.": {wire.TypeSOA, wire.TypeNS}}
	for range 1 + r.IntN(8) {
		n := "example."
		for range 1 + r.IntN(4) {
			n = labels[r.IntN(len(labels))] + "." + n
		}
		most := len(kinds)
		if strings.HasPrefix(n, "*") {
			most = 4 // RFC 4592, section 4: others below a wildcard mean nothing certain
		}
		m[n] = kinds[r.IntN(most)]
	}
	for n := range m {
		for a := n; a != "example."; {
			_, a, _ = strings.Cut(a, ".")
			if a != "example." && (slices.Contains(m[a], wire.TypeNS) || slices.Contains(m[a], wire.TypeDNAME)) {
				delete(m, n)
			}
		}
	}
	return m
}

// fate is what becomes of a question for a name.
type fate struct {
	elsewhere bool        // below a delegation or a DNAME: the zone has nothing to say
	exists    bool        // has records, or is an empty non-terminal
	expanded  bool        // does not exist, but a wildcard stands for it
	types     []wire.Type // its own, or the wildcard's
	encloser  string      // the closest, if it does not exist
}

func (m model) fate(n string) (f fate) {
	for a := n; a != "example."; {
		_, a, _ = strings.Cut(a, ".")
		if a != "example." && (slices.Contains(m[a], wire.TypeNS) || slices.Contains(m[a], wire.TypeDNAME)) {
			f.elsewhere = true
		}
	}
	if f.exists = m.exists(n); f.exists {
		f.types = m[n]
		return f
	}
	for f.encloser = n; !m.exists(f.encloser); {
		_, f.encloser, _ = strings.Cut(f.encloser, ".")
	}
	if star := "*." + f.encloser; m.exists(star) {
		f.expanded, f.types = true, m[star]
	}
	return f
}

func (m model) exists(n string) bool {
	for other := range m {
		if other == n || strings.HasSuffix(other, "."+n) {
			return true
		}
	}
	return false
}

func (f *fate) nxdomain() bool { return !f.elsewhere && !f.exists && !f.expanded }

func (f *fate) nodata(typ wire.Type) bool {
	if f.elsewhere || !f.exists && !f.expanded || slices.Contains(f.types, typ) || slices.Contains(f.types, wire.TypeCNAME) {
		return false
	}
	cut := slices.Contains(f.types, wire.TypeNS) && !slices.Contains(f.types, wire.TypeSOA)
	if typ == wire.TypeDS {
		return !slices.Contains(f.types, wire.TypeSOA)
	}
	return !cut
}

// TestModel asks proofs of random zones. With all the records that a server has, what is
// so can be proven; with any of them, what is not so cannot. Under opt-out, proofs that
// are marked may be wrong, and only those.
func TestModel(t *testing.T) {
	r := rand.New(rand.NewPCG(4035, 5155))
	labels := []string{"a", "b", "c", "d", "*"}
	zones := 400
	if testing.Short() || raceEnabled {
		zones = 40
	}
	proven := map[string]int{}
	for range zones {
		m := randomModel(r)
		plain := nsecChainOf(t, m)
		hashed := [2]map[string][]byte{nsec3ChainOf(t, m, 0, false), nsec3ChainOf(t, m, 0, true)}
		for range 25 {
			text := "example."
			for range r.IntN(5) {
				text = labels[r.IntN(len(labels))] + "." + text
			}
			f, n := m.fate(text), name(t, text)
			owners := matching(t, plain, n)
			judge := func(kind string, d *dnssec.Denial, all bool) {
				marked := func(p dnssec.Proof) bool { return p.OptOut && strings.Contains(kind, "opt-out") }
				p, why := d.NXDomain(n, work())
				if good := f.nxdomain(); why == 0 && !good && !marked(p) || why != 0 && good && all {
					t.Errorf("%s: NXDOMAIN of %s: %+v %v, want %v; zone %v", kind, text, p, why, good, m)
				} else if why == 0 {
					proven[kind+" NXDOMAIN"]++
					if !p.OptOut && !bytes.Equal(p.ClosestEncloser, name(t, f.encloser)) {
						t.Errorf("%s: encloser of %s: %s, want %s; zone %v", kind, text, wire.AppendName(nil, p.ClosestEncloser), f.encloser, m)
					}
				}
				for _, typ := range []wire.Type{wire.TypeA, wire.TypeTXT, wire.TypeDS, wire.TypeANY} {
					p, why := d.NoData(n, typ, work())
					good := f.nodata(typ)
					if typ == wire.TypeANY {
						good = good && len(f.types) == 0
					}
					if why == 0 && !good && !marked(p) || why != 0 && good && all {
						t.Errorf("%s: no %v at %s: %+v %v, want %v; zone %v", kind, typ, text, p, why, good, m)
					} else if why == 0 {
						proven[kind+" NODATA"]++
					}
					cut := f.exists && slices.Contains(f.types, wire.TypeNS) && !slices.Contains(f.types, wire.TypeSOA)
					if why == 0 && !p.OptOut && p.Delegation != cut {
						t.Errorf("%s: %s is a delegation: %v, want %v; zone %v", kind, text, p.Delegation, cut, m)
					}
				}
				for count := range wire.LabelCount(n) + 1 {
					p, why := d.Wildcard(n, count, work())
					good := !f.elsewhere && !f.exists && wire.LabelCount(name(t, f.encloser)) == count
					// In NSEC3, that the wildcard was signed shows that its parent is there and
					// above a cut (RFC 5155, section 8.8); the proof is of what is below.
					likely := good || strings.HasPrefix(kind, "NSEC3") && !f.exists && !m.exists(lastLabels(text, count+1))
					if why == 0 && !likely && !marked(p) || why != 0 && good && all {
						t.Errorf("%s: %s from a wildcard of %d labels: %+v %v, want %v; zone %v", kind, text, count, p, why, good, m)
					} else if why == 0 {
						proven[kind+" wildcard"]++
					}
				}
			}
			if len(owners) <= 8 {
				judge("NSEC", denialOf(t, plain, owners), true)
			}
			var some []string
			for owner := range plain {
				if r.IntN(2) == 0 {
					some = append(some, owner)
				}
			}
			judge("NSEC in part", denialOf(t, plain, some), false)
			for i, chain := range hashed {
				kind := []string{"NSEC3", "NSEC3 with opt-out"}[i]
				judge(kind, denial3(t, chain, 0, n), i == 0 && wire.LabelCount(n) <= 4)
				d := &dnssec.Denial{Zone: name(t, "example.")}
				for owner, data := range chain {
					if r.IntN(2) == 0 {
						d.AddNSEC3([]byte(owner), data)
					}
				}
				judge(kind+" in part", d, false)
			}
		}
		if t.Failed() {
			return
		}
	}
	for kind, n := range proven {
		if n < zones/8 {
			t.Errorf("%s was proven %d times only", kind, n)
		}
	}
	if len(proven) != 18 {
		t.Errorf("proven: %v", proven)
	}
}

// lastLabels returns the last labels of a name in text.
func lastLabels(n string, labels int) string {
	parts := strings.Split(strings.TrimSuffix(n, "."), ".")
	return strings.Join(parts[max(len(parts)-labels, 0):], ".") + "."
}
