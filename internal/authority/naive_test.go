package authority_test

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"port53/internal/authority"
	"port53/internal/wire"
	"port53/internal/zone"
)

// A naive server answers from a list of records, by the words of RFC 1034, section
// 4.3.2, and knows nothing of how messages are compressed: what it says must come of a
// question is compared with what comes.
type naive struct {
	apex    string
	nodes   map[string]map[wire.Type]*rrset // by owner in lower case, empty non-terminals too
	negTTL  uint32
	signed  bool
	largest int // octets of the largest NSEC set with its signatures
}

// An rrset is one set, and the signatures that cover it.
type rrset struct {
	owner      string // in wire form, in lower case
	t          wire.Type
	ttl        uint32
	data, sigs []string // in canonical form
	seen       map[string]bool
}

// An outcome is what must come of a question.
type outcome struct {
	rcode      wire.Rcode
	aa         bool
	sections   [3][]string // lines, the additional section's for what may not be left out
	optional   []string    // of the additional section
	octets     int         // of the message without the optional part, with no name compressed
	all        int         // with it
	additional int         // names whose addresses were looked for
	undefined  bool        // all of the optional part may be left out
}

// parent returns a name without its first label.
func parent(name string) string { return name[1+int(name[0]):] }

func below(name, ancestor string) bool {
	for ; len(name) > len(ancestor); name = parent(name) {
		if parent(name) == ancestor {
			return true
		}
	}
	return false
}

func (n *naive) add(owner string, t wire.Type, ttl uint32, data []byte) {
	low := strings.ToLower(owner)
	for at := low; ; at = parent(at) {
		if n.nodes[at] == nil {
			n.nodes[at] = map[wire.Type]*rrset{}
		}
		if at == n.apex {
			break
		}
	}
	covered := t
	if t == wire.TypeRRSIG {
		covered = wire.Covered(data)
	}
	s := n.nodes[low][covered]
	if s == nil {
		s = &rrset{owner: low, t: covered, ttl: ttl, seen: map[string]bool{}}
		n.nodes[low][covered] = s
	}
	same := string(wire.AppendCanonical(nil, t, data)) // RFC 4034, section 6.3
	if s.seen[same] {
		return
	}
	s.seen[same] = true
	if t == wire.TypeRRSIG {
		s.sigs = append(s.sigs, canonical(t, data))
	} else {
		s.data = append(s.data, canonical(t, data))
	}
}

// canonical returns data with all its names in lower case: how a name is spelled may
// change when it is compressed.
func canonical(t wire.Type, data []byte) string {
	data = bytes.Clone(data)
	for _, at := range wire.NamesIn(t, data, nil) {
		part := data[at.Off : at.Off+at.Len]
		copy(part, wire.Lower(nil, part))
	}
	return string(data)
}

func line(owner string, t wire.Type, ttl uint32, data string) string {
	return fmt.Sprintf("%s %s %d %x", wire.AppendName(nil, []byte(owner)), t, ttl, data)
}

// put adds a set to a section of o: its signatures too if sigs.
func (o *outcome) put(section wire.Section, s *rrset, owner string, ttl uint32, sigs, required bool) {
	var lines []string
	size := 0
	for _, d := range s.data {
		lines = append(lines, line(owner, s.t, ttl, d))
		size += len(owner) + 10 + len(d)
	}
	if sigs {
		for _, d := range s.sigs {
			lines = append(lines, line(owner, wire.TypeRRSIG, ttl, d))
			size += len(owner) + 10 + len(d)
		}
	}
	o.all += size
	if required {
		o.octets += size
		o.sections[section] = append(o.sections[section], lines...)
	} else {
		o.optional = append(o.optional, lines...)
	}
}

// cutAbove returns the delegation at or above name, or the DNAME above it: the one next
// to the apex.
func (n *naive) cutAbove(name string) (at string, cut, found bool) {
	var path []string
	for at := name; at != n.apex; at = parent(at) {
		path = append(path, at)
	}
	path = append(path, n.apex)
	slices.Reverse(path)
	for i, at := range path {
		node := n.nodes[at]
		switch {
		case node == nil:
			return "", false, false
		case i > 0 && node[wire.TypeNS] != nil:
			return at, true, true
		case node[wire.TypeDNAME] != nil && at != name:
			return at, false, true
		}
	}
	return "", false, false
}

// occluded reports whether a name is below a delegation or a DNAME.
func (n *naive) occluded(name string) bool {
	for at := name; at != n.apex; {
		at = parent(at)
		if node := n.nodes[at]; node != nil && (node[wire.TypeDNAME] != nil || at != n.apex && node[wire.TypeNS] != nil) {
			return true
		}
	}
	return false
}

func (n *naive) isCut(name string) bool {
	return name != n.apex && n.nodes[name] != nil && n.nodes[name][wire.TypeNS] != nil
}

const links = 16 // of a chain of aliases

func (n *naive) answer(name string, t wire.Type, do bool) *outcome {
	do = do && n.signed
	o := &outcome{aa: true, octets: wire.HeaderLen + len(name) + 4}
	o.all = o.octets
	name = strings.ToLower(name)
	visited := []string{name}
	dnames := map[string]bool{}
	for {
		at, cut, found := n.cutAbove(name)
		switch {
		case found && cut && !(at == name && t == wire.TypeDS):
			n.referral(o, at, do, len(visited) == 1)
			return o
		case found && !cut:
			d := n.nodes[at][wire.TypeDNAME]
			if !dnames[at] {
				dnames[at] = true
				o.put(wire.Answer, d, at, d.ttl, do, true)
			}
			left := name[:len(name)-len(at)]
			if len(left)+len(d.data[0]) > wire.MaxName {
				o.rcode = wire.YXDomain
				return o
			}
			target := left + d.data[0]
			o.put(wire.Answer, &rrset{t: wire.TypeCNAME, data: []string{target}}, name, d.ttl, false, true)
			if t == wire.TypeCNAME || !n.follow(&visited, target) {
				return o
			}
			name = target
			continue
		}
		node := n.nodes[name]
		if node == nil {
			encloser := name
			for n.nodes[encloser] == nil {
				encloser = parent(encloser)
			}
			if node = n.nodes["\x01*"+encloser]; node == nil {
				o.rcode = wire.NXDomain
				n.soa(o, do)
				return o
			}
		}
		if alias := node[wire.TypeCNAME]; alias != nil && t != wire.TypeCNAME && t != wire.TypeNSEC {
			o.put(wire.Answer, alias, name, alias.ttl, do, true)
			if !n.follow(&visited, alias.data[0]) {
				return o
			}
			name = alias.data[0]
			continue
		}
		s := node[t]
		if s == nil {
			n.soa(o, do)
			return o
		}
		o.put(wire.Answer, s, name, s.ttl, do, true)
		n.additional(o, s, name, do)
		o.undefined = s.t == wire.TypeNS && s.owner != name // RFC 4592, section 4.2
		return o
	}
}

func (n *naive) follow(visited *[]string, target string) bool {
	if target != n.apex && !below(target, n.apex) || len(*visited) > links || slices.Contains(*visited, target) {
		return false
	}
	*visited = append(*visited, target)
	return true
}

func (n *naive) soa(o *outcome, do bool) {
	s := n.nodes[n.apex][wire.TypeSOA]
	o.put(wire.Authority, s, n.apex, min(s.ttl, n.negTTL), do, true)
}

func (n *naive) referral(o *outcome, cut string, do, first bool) {
	o.aa = !first
	ns := n.nodes[cut][wire.TypeNS]
	o.put(wire.Authority, ns, cut, ns.ttl, false, true)
	if ds := n.nodes[cut][wire.TypeDS]; do && ds != nil {
		o.put(wire.Authority, ds, cut, ds.ttl, true, true)
	}
	for _, server := range ns.data {
		if n.nodes[server] == nil {
			continue
		}
		o.additional++
		n.addresses(o, server, server, do && !n.occluded(server) && !n.isCut(server), server == cut || below(server, cut))
	}
}

func (n *naive) addresses(o *outcome, node, name string, do, required bool) {
	for _, t := range []wire.Type{wire.TypeA, wire.TypeAAAA} {
		if s := n.nodes[node][t]; s != nil {
			o.put(wire.Additional, s, name, s.ttl, do, required)
		}
	}
}

// additional is RFC 1035, section 3.3; RFC 2782; RFC 9460, section 4.1.
func (n *naive) additional(o *outcome, s *rrset, name string, do bool) {
	var done []string
	for _, d := range s.data {
		target, as := "", ""
		switch s.t {
		case wire.TypeNS:
			target = d
		case wire.TypeMX:
			target = d[2:]
		case wire.TypeSRV:
			target = d[6:]
		case wire.TypeSVCB, wire.TypeHTTPS:
			target = d[2 : 2+nameLen(d[2:])]
			if target == "\x00" && d[0]|d[1] == 0 {
				continue
			}
			if target == "\x00" {
				target, as = s.owner, name
			}
		default:
			return
		}
		if n.nodes[target] == nil {
			continue
		}
		o.additional++
		if slices.Contains(done, target) {
			continue
		}
		done = append(done, target)
		hidden := n.occluded(target) || n.isCut(target)
		if hidden && s.t != wire.TypeNS {
			continue
		}
		n.addresses(o, target, cmp.Or(as, target), do && !hidden, false)
	}
}

func nameLen(name string) int {
	i := 0
	for name[i] != 0 {
		i += 1 + int(name[i])
	}
	return i + 1
}

// A maker makes zones at random in which all names are made of few labels, so that
// questions, owners and targets have much in common.
type maker struct {
	rnd    *rand.Rand
	apex   string
	names  []string // that may have records
	signed bool
}

func (m *maker) pick(list ...string) string { return list[m.rnd.IntN(len(list))] }

// name returns a name at or below the apex, the deeper the rarer.
func (m *maker) name(labels ...string) string {
	name := m.apex
	for m.rnd.IntN(4) > 0 && len(name) < 180 {
		name = m.label(m.pick(labels...)) + name
	}
	return name
}

func (m *maker) label(text string) string { return string(rune(len(text))) + text }

// target returns what a record may refer to.
func (m *maker) target() string {
	switch m.rnd.IntN(12) {
	case 0:
		return m.label(m.pick("a", "v", "ns")) + "\x03net\x00"
	case 1:
		return m.mix(m.label(m.pick("a", "v", "new")) + m.pick(m.names...))
	default:
		return m.mix(m.pick(m.names...))
	}
}

// mix returns a name with some letters in upper case.
func (m *maker) mix(name string) string {
	if m.rnd.IntN(4) > 0 || len(name) > wire.MaxName {
		return name
	}
	b := []byte(name)
	for i := 0; b[i] != 0; i += 1 + int(b[i]) {
		for j := range b[i+1 : i+1+int(b[i])] {
			if m.rnd.IntN(3) == 0 {
				b[i+1+j] = strings.ToUpper(string(b[i+1+j]))[0]
			}
		}
	}
	return string(b)
}

// A record of a zone that is made.
type record struct {
	owner string
	t     wire.Type
	data  []byte
}

// zone returns a zone, compiled and naive.
func (m *maker) zone(t *testing.T) (*zone.Zone, *naive) {
	labels := []string{"a", "b", "v", "ns", "v", "a", strings.Repeat("l", 1+m.rnd.IntN(63))}
	m.apex = ""
	for range m.rnd.IntN(4) {
		m.apex = m.label(m.pick(labels[:6]...)) + m.apex
	}
	m.apex += "\x00"
	m.names = []string{m.apex}
	for range 3 + m.rnd.IntN(20) {
		m.names = append(m.names, m.name(labels...))
	}
	for range m.rnd.IntN(4) {
		m.names = append(m.names, "\x01*"+m.pick(m.names...))
	}
	slices.Sort(m.names)
	m.names = slices.Compact(m.names)
	m.rnd.Shuffle(len(m.names), func(i, j int) { m.names[i], m.names[j] = m.names[j], m.names[i] })
	m.signed = m.rnd.IntN(3) == 0

	many := 0 // how many records a large set has
	if m.rnd.IntN(4) == 0 {
		many = []int{33, 60, 256, 400, 1200}[m.rnd.IntN(5)]
	}
	var records []record
	add := func(owner string, t wire.Type, data []byte) {
		if len(owner) <= wire.MaxName {
			records = append(records, record{owner, t, data})
		}
	}
	hosts := func(owner string, n int) {
		for range 1 + m.rnd.IntN(n) {
			if m.rnd.IntN(3) > 0 {
				add(owner, wire.TypeA, []byte{192, 0, 2, byte(m.rnd.Uint32())})
			} else {
				add(owner, wire.TypeAAAA, append(make([]byte, 15), byte(m.rnd.Uint32())))
			}
		}
	}
	set := func(n int, f func(target string)) {
		for range 1 + m.rnd.IntN(3) {
			if target := m.target(); len(target) <= wire.MaxName {
				f(target)
			}
		}
		if n > 0 && m.rnd.IntN(3) == 0 {
			under := m.pick(m.names...)
			pad := m.label(strings.Repeat("p", 1+m.rnd.IntN(62)))
			for i := range n {
				server := m.label(fmt.Sprintf("s%d", i)) + under
				if m.rnd.IntN(3) == 0 {
					server = m.label(fmt.Sprintf("s%d", i)) + pad + under
				}
				if len(server) > wire.MaxName {
					continue
				}
				f(server)
				if m.rnd.IntN(4) > 0 {
					hosts(server, 2)
				}
			}
		}
	}
	soa := append([]byte(m.target()+m.pick(m.names...)), binary.BigEndian.AppendUint32(make([]byte, 16), uint32(m.rnd.IntN(100)))...)
	for len(soa) > 300 {
		soa = append([]byte(m.apex+m.apex), make([]byte, 20)...)
	}
	add(m.apex, wire.TypeSOA, soa)
	set(0, func(target string) { add(m.apex, wire.TypeNS, []byte(target)) })
	add(m.apex, wire.TypeNS, []byte("\x01z\x03net\x00"))
	for _, owner := range m.names {
		kind := m.rnd.IntN(10)
		if owner == m.apex {
			kind = 5 + m.rnd.IntN(5)
		}
		owner = m.mix(owner)
		switch {
		case kind < 3:
			set(many, func(target string) { add(owner, wire.TypeNS, []byte(target)) })
			if m.rnd.IntN(2) == 0 {
				hosts(owner, 10)
			}
			if m.signed && m.rnd.IntN(2) == 0 {
				add(owner, wire.TypeDS, append([]byte{0, 1, 13, 2}, make([]byte, 32)...))
			}
		case kind < 5:
			if target := m.target(); len(target) <= wire.MaxName {
				add(owner, wire.TypeCNAME, []byte(target))
			}
		case kind == 5 && m.rnd.IntN(2) == 0:
			if target := m.target(); len(target) <= wire.MaxName {
				add(owner, wire.TypeDNAME, []byte(target))
			}
		default:
			hosts(owner, 3)
			if m.rnd.IntN(2) == 0 {
				set(many, func(target string) { add(owner, wire.TypeMX, append([]byte{1, byte(m.rnd.IntN(256))}, target...)) })
			}
			if m.rnd.IntN(4) == 0 {
				set(many, func(target string) { add(owner, wire.TypeSRV, append([]byte{0, 0, 0, 0, 0, 1}, target...)) })
			}
			if m.rnd.IntN(4) == 0 {
				set(0, func(target string) {
					if m.rnd.IntN(3) == 0 {
						target = "\x00"
					}
					add(owner, wire.TypeHTTPS, append([]byte{0, byte(m.rnd.IntN(2))}, target...))
				})
			}
			if m.rnd.IntN(6) == 0 {
				for i := range 3 + m.rnd.IntN(70) {
					add(owner, wire.TypeTXT, append([]byte{255, byte(i)}, bytes.Repeat([]byte{'t'}, 254)...))
				}
			}
			if m.rnd.IntN(6) == 0 {
				set(many, func(target string) { add(owner, wire.TypePTR, []byte(target)) })
			}
		}
	}
	if m.rnd.IntN(3) == 0 { // a chain, in part through a DNAME
		chain := m.pick(m.names...)
		for i := range 2 + m.rnd.IntN(links) {
			next := m.label(fmt.Sprintf("c%d", i+1))
			if pad := strings.Repeat("k", 1+m.rnd.IntN(60)); m.rnd.IntN(2) == 0 {
				next += m.label(pad)
			}
			target := next + chain
			switch m.rnd.IntN(16) {
			case 0:
				target = m.target()
			case 1:
				add(m.label(fmt.Sprintf("d%d", i))+m.apex, wire.TypeDNAME, []byte(chain))
				target = next + m.label(fmt.Sprintf("d%d", i)) + m.apex
			}
			if len(target) <= wire.MaxName {
				add(m.label(fmt.Sprintf("c%d", i))+chain, wire.TypeCNAME, []byte(target))
			}
			if i == 0 {
				m.names = append(m.names, m.label("c0")+chain, m.label("c0")+chain)
			}
			if len(next)+len(chain) <= wire.MaxName && strings.HasPrefix(target, next) {
				chain = next[1+int(next[0]):] + chain
			}
		}
	}
	return m.compile(t, records)
}

const ttl = 60

// compile leaves out what may not stand beside, or below, what came before, signs the
// rest, and makes the zone.
func (m *maker) compile(t *testing.T, records []record) (*zone.Zone, *naive) {
	n := &naive{apex: m.apex, nodes: map[string]map[wire.Type]*rrset{}, signed: m.signed}
	b := zone.NewBuilder([]byte(m.apex), 53)
	has := map[string][]wire.Type{}
	dname := map[string]bool{}
	for _, r := range records {
		if r.t == wire.TypeDNAME {
			dname[strings.ToLower(r.owner)] = true
		}
	}
	add := func(r record) {
		b.Add(&zone.Record{Owner: []byte(r.owner), Type: r.t, TTL: ttl, Data: r.data})
		n.add(r.owner, r.t, ttl, r.data)
	}
next:
	for _, r := range records {
		low := strings.ToLower(r.owner)
		for at := low; at != m.apex; {
			if at = parent(at); dname[at] {
				continue next
			}
		}
		single := r.t == wire.TypeCNAME || r.t == wire.TypeDNAME
		for _, other := range has[low] {
			if other == wire.TypeCNAME || r.t == wire.TypeCNAME || single && other == r.t ||
				dname[low] && low != m.apex && (r.t == wire.TypeNS || other == wire.TypeNS) {
				continue next
			}
		}
		if dname[low] && r.t == wire.TypeCNAME {
			continue
		}
		has[low] = append(has[low], r.t)
		if r.t == wire.TypeSOA {
			n.negTTL = binary.BigEndian.Uint32(r.data[len(r.data)-4:])
		}
		add(r)
	}
	if m.signed {
		m.sign(n, add)
	}
	z, problems := b.Build()
	if z == nil {
		t.Fatalf("%v", problems)
	}
	return z, n
}

// sign adds signatures of a size chosen at random and an NSEC chain.
func (m *maker) sign(n *naive, add func(record)) {
	var owners []string
	for owner, node := range n.nodes {
		if len(node) > 0 && !n.occluded(owner) {
			owners = append(owners, owner)
		}
	}
	slices.SortFunc(owners, func(a, b string) int {
		return bytes.Compare(wire.AppendSortKey(nil, []byte(a), 0), wire.AppendSortKey(nil, []byte(b), 0))
	})
	size := 1 + m.rnd.IntN([]int{100, 600, 4000}[m.rnd.IntN(3)])
	for i, owner := range owners {
		next := owners[(i+1)%len(owners)]
		var types []wire.Type
		for t := range n.nodes[owner] {
			types = append(types, t)
		}
		slices.Sort(types)
		add(record{owner, wire.TypeNSEC, append([]byte(next), 0, 1, 0x40)})
		for _, t := range append(types, wire.TypeNSEC) {
			if n.isCut(owner) && t != wire.TypeDS && t != wire.TypeNSEC {
				continue
			}
			sig := binary.BigEndian.AppendUint16(nil, uint16(t))
			sig = append(sig, make([]byte, 16)...)
			sig = append(append(sig, n.apex...), make([]byte, size)...)
			add(record{owner, wire.TypeRRSIG, sig})
		}
		n.largest = max(n.largest, 2*(len(owner)+10)+len(next)+3+18+len(n.apex)+size)
	}
}

// proofs is at most how many NSEC records one answer has.
const proofs = links + 4

var naiveZones = flag.Int("zones", 250, "how many zones TestNaive makes")

// TestNaive asks zones made at random, and compares each reply with what the naive server
// says must come: all records in their sections, each once; TC alone where they do not
// fit even with the names that could have been compressed spelled out; and whole sets of
// the additional section left out only for want of room.
func TestNaive(t *testing.T) {
	zones := uint64(*naiveZones)
	var b wire.Builder
	var r authority.Responder // one for all, as a worker has it
	buf := make([]byte, wire.MaxMessage)
	var replies, truncated, far, shared, large, dropped int
	for seed := range zones {
		m := &maker{rnd: rand.New(rand.NewPCG(53, seed))}
		z, n := m.zone(t)
		for range 60 {
			name := m.mix(m.pick(m.names...))
			for m.rnd.IntN(2) == 0 {
				name = m.label(m.pick("a", "b", "v", "ns", "s1", "s34", strings.Repeat("q", 1+m.rnd.IntN(63)))) + name
			}
			if len(name) > wire.MaxName {
				continue
			}
			typ := []wire.Type{
				wire.TypeA, wire.TypeA, wire.TypeAAAA, wire.TypeNS, wire.TypeMX, wire.TypeSRV,
				wire.TypeHTTPS, wire.TypeTXT, wire.TypePTR, wire.TypeDS, wire.TypeSOA, wire.TypeCNAME,
			}[m.rnd.IntN(12)]
			do := m.rnd.IntN(2) == 0
			want := n.answer(name, typ, do)
			limit := []int{wire.MinUDP, 1232, 4096, wire.MaxMessage, wire.MaxMessage}[m.rnd.IntN(5)]
			if want.all > wire.MaxPointer && m.rnd.IntN(4) > 0 {
				limit = wire.MaxMessage
			}
			msg := wire.AppendQuery(nil, 1, 0, []byte(name), typ)
			if do {
				msg[11] = 1
				msg = wire.AppendOPT(msg, 4096, true, nil)
			}
			var q wire.Query
			if bad := q.Parse(msg); bad != 0 {
				t.Fatal(bad)
			}
			b.Start(buf, limit, 0, &q)
			result := r.Answer(z, &q, &b)
			reply := b.Finish(nil, 0)
			replies++
			if err := compare(reply, limit, result, want, n); err != nil {
				t.Fatalf("zone %d, %s, question %s %s do=%v in %d octets: %v\n%s", seed,
					wire.AppendName(nil, []byte(m.apex)), wire.AppendName(nil, []byte(name)), typ, do, limit, err, want)
			}
			switch {
			case result.Truncated:
				truncated++
			case len(reply) > wire.MaxPointer:
				far++
			}
			if !result.Truncated && want.additional > 32 {
				large++
			}
			if want.all > limit && !result.Truncated {
				dropped++
			}
			if result.Kind == authority.Referral && bytes.Contains(reply[:min(len(reply), 600)], []byte{0, 2, 0xC0, wire.HeaderLen}) {
				shared++ // a server that is only a pointer to the question
			}
		}
	}
	t.Logf("%d replies: %d truncated, %d above 16 KiB, %d with more than 32 targets, %d with a server that is a pointer to the question, %d for which all is too much",
		replies, truncated, far, large, shared, dropped)
	for what, count := range map[string]int{"truncated": truncated, "above 16 KiB": far, "with many targets": large, "shared": shared, "too much": dropped} {
		if count*2000 < replies {
			t.Errorf("only %d of %d replies are %s", count, replies, what)
		}
	}
}

func (o *outcome) String() string {
	s := fmt.Sprintf("want %d aa=%v, %d octets, %d with all", o.rcode, o.aa, o.octets, o.all)
	for i, lines := range o.sections {
		s += fmt.Sprintf("\nsection %d\n%s", i, strings.Join(lines[:min(len(lines), 9)], "\n"))
	}
	return s + "\noptional\n" + strings.Join(o.optional[:min(len(o.optional), 9)], "\n")
}

// compare returns in what a reply differs from what must come.
func compare(reply []byte, limit int, result authority.Result, want *outcome, n *naive) error {
	var m wire.Message
	if bad := m.Parse(reply); bad == wire.TooManyRecords && want.all > 8*wire.MaxMessage {
		return nil // too much for our own reader
	} else if bad != 0 {
		return fmt.Errorf("cannot be read: %v", bad)
	}
	if len(reply) > limit {
		return fmt.Errorf("%d octets", len(reply))
	}
	if tc := m.Flags&wire.FlagTC != 0; tc || result.Truncated {
		proofs := proofs * n.largest
		switch {
		case !tc || !result.Truncated || len(m.Records) > 0:
			return fmt.Errorf("truncated: %v, %v with %d records", tc, result.Truncated, len(m.Records))
		case want.octets+proofs <= limit:
			return fmt.Errorf("truncated, though %d octets would do", want.octets)
		}
		return nil
	}
	if aa := m.Flags&wire.FlagAA != 0; m.Rcode != want.rcode || aa != want.aa {
		return fmt.Errorf("%v, aa=%v", m.Rcode, aa)
	}
	var got [3][]string
	for i := range m.Records {
		r := &m.Records[i]
		if n.signed && r.Section == wire.Authority && (r.Type == wire.TypeNSEC || r.Type == wire.TypeRRSIG && wire.Covered(r.Data) == wire.TypeNSEC) {
			continue
		}
		got[r.Section] = append(got[r.Section], line(strings.ToLower(string(r.Owner)), r.Type, r.TTL, canonical(r.Type, r.Data)))
	}
	for section, lines := range want.sections {
		have := got[section]
		rest := slices.Clone(have)
		for _, l := range lines {
			i := slices.Index(rest, l)
			if i < 0 {
				return fmt.Errorf("section %d lacks %s, has\n%s", section, l, strings.Join(have, "\n"))
			}
			rest = slices.Delete(rest, i, i+1)
		}
		if section == int(wire.Additional) {
			may := slices.Clone(want.optional)
			for _, l := range rest {
				i := slices.Index(may, l)
				if i < 0 {
					return fmt.Errorf("additional section has %s", l)
				}
				may = slices.Delete(may, i, i+1)
			}
			if len(may) > 0 && want.all+proofs*n.largest <= limit && want.additional <= 32 && !want.undefined {
				return fmt.Errorf("additional section lacks %s", may[0])
			}
			rest = nil
		}
		if len(rest) > 0 {
			return fmt.Errorf("section %d has %s", section, rest[0])
		}
	}
	return nil
}
