package zonegen

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// Random returns a small zone that the seed draws: hosts, wildcards at any depth, empty
// non-terminals, aliases and DNAMEs that lead anywhere, and cuts, with and without DS, whose
// servers are the cut itself, names below it, below another cut or elsewhere, now and then
// more than 32 of them. Labels are few, so that names share them with one another, with the
// origin and with what is asked; their case changes from record to record. Servers agree
// that such a zone is to be loaded: nothing stands beside a CNAME or below a DNAME.
func Random(seed uint64, origin string, mode Mode) *Zone {
	d := &drawing{r: rand.New(rand.NewPCG(seed, 77)), z: &Zone{Origin: origin, Mode: mode}, kinds: map[string]kind{"": apex}}
	d.apex()
	for range 2 + d.r.IntN(12) {
		d.name()
	}
	slices.Sort(d.order)
	for _, name := range slices.Compact(d.order) {
		d.fill(name)
	}
	return d.z
}

// What stands at a name of a random zone.
type kind int

const (
	apex kind = iota
	host
	alias
	dname
	cut
	below // a cut: glue, or what nobody sees
)

// A drawing is a zone that is being drawn. Names are relative to the origin.
type drawing struct {
	r     *rand.Rand
	z     *Zone
	kinds map[string]kind
	order []string
}

var randomLabels = []string{"a", "a", "b", "b", "c", "v", "ns", "ns1", "www", "x-y", "test", "zz"}

func (d *drawing) label() string { return randomLabels[d.r.IntN(len(randomLabels))] }

// odds is true n times of a hundred.
func (d *drawing) odds(n int) bool { return d.r.IntN(100) < n }

// some returns one of the names that there are, the apex too.
func (d *drawing) some() string {
	if len(d.order) == 0 || d.odds(15) {
		return ""
	}
	return d.order[d.r.IntN(len(d.order))]
}

func join(label, name string) string {
	if name == "" {
		return label
	}
	return label + "." + name
}

// cover returns what stands at the closest name above one that ends its zone's authority.
func (d *drawing) cover(name string) kind {
	for {
		_, above, ok := strings.Cut(name, ".")
		if !ok {
			return apex
		}
		if k, ok := d.kinds[above]; ok && k >= dname {
			return k
		}
		name = above
	}
}

// name draws one more name and what stands there.
func (d *drawing) name() {
	name := d.some()
	// In signed zones, questions about names below a wildcard have Knot 3.2 loop, and never
	// answer again.
	leaf := d.z.Mode != Plain
	if leaf && strings.Contains(name, "*") {
		return
	}
	for range 1 + d.r.IntN(2)*d.r.IntN(3) { // names in between are empty non-terminals
		label := d.label()
		if d.odds(18) {
			label = "*"
		}
		if name = join(label, name); leaf && label == "*" {
			break
		}
	}
	if _, ok := d.kinds[name]; ok || strings.Count(name, ".") > 6 || d.kinds[name] == dname {
		return
	}
	k := host
	switch over := d.cover(name); {
	case over == dname:
		return
	case over >= cut:
		k = below
	case d.odds(20):
		k = alias
	case strings.HasPrefix(name, "*."), name == "*": // a cut or a DNAME there is nobody's
	case d.odds(35):
		k = cut
	case d.odds(12):
		k = dname
	}
	if k == dname && slices.ContainsFunc(d.order, func(other string) bool { return strings.HasSuffix(other, "."+name) }) {
		k = host
	}
	d.kinds[name] = k
	d.order = append(d.order, name)
}

// target draws a name that something leads to: one that is there, below one, beside one, or
// outside the zone.
func (d *drawing) target() string {
	switch name := d.some(); {
	case d.odds(10):
		return "www.outside.example."
	case d.odds(25):
		return d.abs(join(d.label(), name))
	case d.odds(10):
		return d.abs(join(d.label(), join(d.label(), name)))
	default:
		return d.abs(strings.ReplaceAll(name, "*", d.label()))
	}
}

// abs returns the absolute form of a name, with letters in either case.
func (d *drawing) abs(name string) string {
	b := []byte(d.z.Abs(name))
	if d.odds(70) {
		return string(b)
	}
	for i, c := range b {
		if c >= 'a' && c <= 'z' && d.odds(50) {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

func (d *drawing) add(name, typ, data string) {
	r := Record{d.abs(name), 300, typ, data}
	if !slices.ContainsFunc(d.z.Records, func(o Record) bool {
		return strings.EqualFold(o.Owner, r.Owner) && o.Type == r.Type && strings.EqualFold(o.Data, r.Data)
	}) {
		d.z.Records = append(d.z.Records, r)
	}
}

func (d *drawing) address() string { return fmt.Sprintf("192.0.2.%d", d.r.IntN(256)) }

func (d *drawing) address6() string { return fmt.Sprintf("2001:db8::%x", 1+d.r.IntN(65535)) }

func (d *drawing) apex() {
	d.add("", "SOA", d.target()+" hostmaster.outside.example. 1 7200 3600 1209600 300")
	for range 1 + d.r.IntN(3) {
		if d.odds(25) {
			d.add("", "NS", "ns.outside.example.")
			continue
		}
		server := []string{"", d.label()}[d.r.IntN(2)]
		d.add("", "NS", d.abs(server))
		d.add(server, "A", d.address()) // BIND wants one
		if server != "" && d.kinds[server] == apex {
			d.kinds[server] = host
			d.order = append(d.order, server)
		}
	}
	if d.odds(60) {
		d.add("", "A", d.address())
	}
	if d.odds(40) {
		d.add("", "MX", "10 "+d.target())
	}
}

// fill gives a name its records.
func (d *drawing) fill(name string) {
	switch d.kinds[name] {
	case alias:
		d.add(name, "CNAME", d.target())
	case dname:
		d.add(name, "DNAME", d.target())
		if d.odds(30) {
			d.add(name, "A", d.address())
		}
	case cut:
		d.delegate(name)
	case below:
		if d.odds(20) && !strings.HasPrefix(name, "*") {
			d.add(name, "NS", d.abs(join(d.label(), name))) // a cut below a cut
		}
		d.host(name)
	default:
		d.host(name)
	}
}

func (d *drawing) host(name string) {
	for range 1 + d.r.IntN(3) {
		switch d.r.IntN(7) {
		case 0, 1:
			for range 1 + d.r.IntN(3)*d.r.IntN(2) {
				d.add(name, "A", d.address())
			}
		case 2:
			d.add(name, "AAAA", d.address6())
		case 3:
			d.add(name, "TXT", `"`+Word(d.r, 1+d.r.IntN(30))+`"`)
		case 4:
			d.add(name, "MX", fmt.Sprintf("%d %s", d.r.IntN(100), d.target()))
		case 5:
			d.add(name, "SRV", "1 2 53 "+d.target())
		case 6:
			d.add(name, "CAA", `0 issue "ca.example"`)
		}
	}
}

// delegate makes a name a cut.
func (d *drawing) delegate(name string) {
	servers := 1 + d.r.IntN(3)
	switch {
	case d.odds(6):
		servers = 33 + d.r.IntN(12)
	case d.odds(10):
		servers = 13
	}
	glue := func(server string) {
		if k, ok := d.kinds[server]; ok && (k == alias || k == dname) {
			return
		}
		if d.cover(join("x", server)) < cut || d.odds(8) { // not below a cut, or forgotten
			return
		}
		if d.odds(85) {
			d.add(server, "A", d.address())
		}
		if d.odds(40) {
			d.add(server, "AAAA", d.address6())
		}
	}
	for n := range servers {
		var server string
		switch {
		case servers > 3 && d.odds(90): // many, all below it
			server = join(fmt.Sprintf("%s%d", d.label(), n), name)
		case d.odds(20):
			server = name // the cut itself
		case d.odds(50):
			server = join(d.label(), name)
		case d.odds(30):
			server = join(d.label(), join(d.label(), name))
		case d.odds(50):
			server = strings.ReplaceAll(d.some(), "*", "s")
		case d.odds(50):
			server = join(d.label(), strings.ReplaceAll(d.some(), "*", "s"))
		default:
			d.add(name, "NS", "ns.outside.example.")
			continue
		}
		d.add(name, "NS", d.abs(server))
		glue(server)
	}
	for range d.r.IntN(2) * (1 + d.r.IntN(2)) {
		d.add(name, "DS", fmt.Sprintf("%d 13 2 %s", d.r.IntN(65536), Hex(d.r, 32)))
	}
}
