package lab

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zonefile"
)

// A World is hosts and zones on a Net, put there as sections of a text describe
// them:
//
//	-- zone example. 192.0.2.1 2001:db8::1 --
//	! signed nsec3
//	www A 192.0.2.80
//	-- host 192.0.2.1 rtt=20ms --
//
// A zone is master-file text, and lines with an exclamation mark that say how it is
// signed and what is wrong with it. What the text leaves out is made: a SOA, NS
// records and addresses for the servers of the heading, and in the zone above the
// delegation, its glue and its DS. A host is made by each address of a zone's
// heading, with or without a section of its own.
//
// A World is for one goroutine, but its Net is for many.
type World struct {
	Net *Net
	Now func() time.Time // when zones are signed; nil: time.Now

	sections []*Section // of zones and hosts, in force
	hosts    map[netip.AddrPort]*host
	zones    []*plan
	order    []netip.AddrPort
}

// A plan is a zone on its way from a section to its servers.
type plan struct {
	at      *Section
	apex    []byte // in lower case
	name    string
	servers []netip.AddrPort
	orders  []order
	records []Record // as the text has them, and what was made
	signing *Signing // nil: unsigned

	delegated [][]byte // zones below whose delegation was made

	zone   *zone.Zone
	single *zone.View // holds zone alone
}

// An order is a line of a zone that begins with an exclamation mark.
type order struct {
	line  int
	words []string
}

// seed is the seed of all zones of laboratories: nobody attacks them through it.
const seed wire.Seed = 53

// NewWorld returns a world without hosts on a new Net.
func NewWorld(o Options) *World {
	return &World{Net: NewNet(o), hosts: map[netip.AddrPort]*host{}}
}

// Put adds the zones and hosts of sections, in the place of those that have the same
// heading but for options, and builds and publishes everything again. The error has
// the form file:line: what is wrong; then nothing has changed that can be asked.
func (w *World) Put(sections ...Section) error {
	next := slices.Clone(w.sections)
	for i := range sections {
		s := &sections[i]
		if s.Kind != "zone" && s.Kind != "host" {
			return s.Errorf(-1, "section %q is not known here", s.Kind)
		}
		if len(s.Args) == 0 {
			return s.Errorf(-1, "%s without a name", s.Kind)
		}
		for j := range i {
			if sections[j].Key() == s.Key() {
				return s.Errorf(-1, "%s stands twice, first at %s", s.Key(), sections[j].At(-1))
			}
		}
		at := slices.IndexFunc(next, func(o *Section) bool { return o.Key() == s.Key() })
		switch {
		case s.removed() && at < 0:
			return s.Errorf(-1, "there is no %s to be removed", s.Key())
		case s.removed():
			next = slices.Delete(next, at, at+1)
		case at >= 0:
			next[at] = s
		default:
			next = append(next, s)
		}
	}
	before := *w
	w.sections, w.zones = next, nil
	if err := w.build(); err != nil {
		*w = before
		return err
	}
	return nil
}

// Key tells which section is replaced by which: the heading of a zone, and of a host
// the address.
func (s *Section) Key() string {
	args := s.Args
	if s.Kind != "zone" && len(args) > 1 {
		args = args[:1]
	}
	return strings.Join(append([]string{s.Kind}, args...), " ")
}

// removed reports whether the section takes away the one with its heading.
func (s *Section) removed() bool {
	return slices.ContainsFunc(s.Body, func(l string) bool { return strings.Join(strings.Fields(l), " ") == "! removed" })
}

// Configure changes a host by words as in its heading, such as "rtt=200ms" or "up".
func (w *World) Configure(addr string, words ...string) error {
	at, err := addrPort(addr)
	if err != nil {
		return err
	}
	h := w.hosts[at]
	if h == nil {
		return fmt.Errorf("no host has the address %s", addr)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.configure(words); err != nil {
		return err
	}
	w.Net.SetLink(at.Addr(), h.link)
	return nil
}

// Calm ends the scripts of all hosts: from now on they answer what their zones say.
func (w *World) Calm() {
	for _, h := range w.hosts {
		h.mu.Lock()
		h.rules = nil
		h.mu.Unlock()
	}
}

func (w *World) now() time.Time {
	if w.Now == nil {
		return time.Now()
	}
	return w.Now()
}

// build makes everything from the sections.
func (w *World) build() error {
	hosts := map[netip.AddrPort]*host{}
	var order []netip.AddrPort
	need := func(at netip.AddrPort) *host {
		h := hosts[at]
		if h == nil {
			h = &host{at: at, world: w, zones: zone.NewView(seed), manners: manners{rcode: -1}}
			hosts[at] = h
			order = append(order, at)
		}
		return h
	}
	for _, s := range w.sections {
		switch s.Kind {
		case "zone":
			p, err := w.plan(s)
			if err != nil {
				return err
			}
			w.zones = append(w.zones, p)
			for _, at := range p.servers {
				need(at)
			}
		case "host":
			at, err := addrPort(s.Args[0])
			if err != nil {
				return s.Errorf(-1, "%w", err)
			}
			h := need(at)
			h.section = s
			if err := h.configure(s.Args[1:]); err != nil {
				return s.Errorf(-1, "%w", err)
			}
			if h.rules, err = parseScript(s); err != nil {
				return err
			}
		}
	}
	for at, h := range hosts {
		// Who is described as before is as it has become since.
		if old := w.hosts[at]; old != nil && old.section == h.section {
			old.mu.Lock()
			h.manners, h.link = old.manners, old.link
			for i, r := range old.rules { // with what is left of their times
				again := *r
				h.rules[i] = &again
			}
			old.mu.Unlock()
		}
	}
	w.delegate()
	for _, p := range w.zones {
		if err := w.compile(p); err != nil {
			return err
		}
	}
	// From here on nothing fails.
	for _, p := range w.zones {
		for _, at := range p.servers {
			hosts[at].zones = hosts[at].zones.With(zone.Change{Apex: p.apex, Zone: p.zone})
		}
	}
	for _, at := range w.order {
		if hosts[at] == nil {
			w.Net.Respond(at, nil)
		}
	}
	for _, at := range order {
		h := hosts[at]
		w.Net.SetLink(at.Addr(), h.link)
		w.Net.Respond(at, h.respond)
	}
	w.hosts, w.order = hosts, order
	return nil
}

// plan reads the section of a zone.
func (w *World) plan(s *Section) (*plan, error) {
	apex, err := wire.ParseName(s.Args[0])
	if err != nil {
		return nil, s.Errorf(-1, "zone %q: %w", s.Args[0], err)
	}
	p := &plan{at: s, apex: wire.Lower(nil, apex)}
	p.name = string(wire.AppendName(nil, p.apex))
	for _, a := range s.Args[1:] {
		at, err := addrPort(a)
		if err != nil {
			return nil, s.Errorf(-1, "%w", err)
		}
		p.servers = append(p.servers, at)
	}
	lines := slices.Clone(s.Body)
	for i, line := range lines {
		if words := strings.Fields(line); len(words) > 0 && words[0][0] == '!' {
			if words[0] = words[0][1:]; words[0] == "" {
				words = words[1:]
			}
			if len(words) == 0 {
				return nil, s.Errorf(i, "nothing behind the exclamation mark")
			}
			p.orders = append(p.orders, order{i, words})
			lines[i] = ""
		}
	}
	if p.records, err = readRecords(s.File, s.Line+1, lines, apex); err != nil {
		return nil, err
	}
	if err := p.signings(w.now()); err != nil {
		return nil, err
	}
	p.complete()
	return p, nil
}

// has reports whether the zone has a record of type t at owner, in lower case.
func (p *plan) has(owner []byte, t wire.Type) bool {
	return slices.ContainsFunc(p.records, func(r Record) bool { return r.Type == t && wire.EqualFold(r.Owner, owner) })
}

// order returns the words behind the first order of this name.
func (p *plan) order(name string) (words []string, ok bool) {
	for _, o := range p.orders {
		if o.words[0] == name {
			return o.words[1:], true
		}
	}
	return nil, false
}

// child returns label.apex.
func child(label string, apex []byte) []byte {
	return append(append([]byte{byte(len(label))}, label...), apex...)
}

// complete adds the SOA and the name servers that the text left out.
func (p *plan) complete() {
	first := child("ns1", p.apex)
	if !p.has(p.apex, wire.TypeNS) {
		for i, at := range p.servers {
			name := child(fmt.Sprintf("ns%d", i+1), p.apex)
			p.records = append(p.records, Record{p.apex, wire.TypeNS, defaultTTL, name})
			t := wire.TypeA
			if at.Addr().Is6() {
				t = wire.TypeAAAA
			}
			if !p.has(name, t) {
				p.records = append(p.records, Record{name, t, defaultTTL, at.Addr().AsSlice()})
			}
		}
	}
	if !p.has(p.apex, wire.TypeSOA) {
		for i := range p.records {
			if r := &p.records[i]; r.Type == wire.TypeNS && wire.EqualFold(r.Owner, p.apex) {
				first = r.Data
				break
			}
		}
		data := append(bytes.Clone(first), child("admin", p.apex)...)
		for _, n := range [...]uint32{1, 7200, 3600, 1209600, 300} { // serial, refresh, retry, expire, minimum
			data = append(data, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
		}
		p.records = append(p.records, Record{p.apex, wire.TypeSOA, defaultTTL, data})
	}
}

// delegate adds to each zone the delegations to the zones below it that its text
// left out, with glue and DS.
func (w *World) delegate() {
	for _, c := range w.zones {
		if len(c.apex) == 1 {
			continue
		}
		parents := w.parents(c.apex)
		_, orphan := c.order("orphan")
		glue, _ := c.order("glue")
		for _, p := range parents {
			// A zone of which there are two editions is delegated by the first.
			if !orphan && (!p.has(c.apex, wire.TypeNS) || p.made(c.apex)) {
				w.delegation(p, c, !slices.Contains(glue, "none"))
			}
			if p.signing != nil && c.signing != nil && p.has(c.apex, wire.TypeNS) && !p.has(c.apex, wire.TypeDS) {
				for _, ds := range c.signing.ds {
					p.records = append(p.records, Record{c.apex, wire.TypeDS, defaultTTL, ds})
				}
			}
		}
	}
}

// made reports whether the delegation of child in p was made, and may grow.
func (p *plan) made(child []byte) bool {
	return slices.ContainsFunc(p.delegated, func(n []byte) bool { return bytes.Equal(n, child) })
}

// parents returns the editions of the closest zone above a name.
func (w *World) parents(apex []byte) []*plan {
	var found []*plan
	longest := 0
	for _, p := range w.zones {
		if len(p.apex) >= len(apex) || !wire.Subdomain(apex, p.apex) {
			continue
		}
		switch {
		case len(p.apex) > longest:
			longest, found = len(p.apex), append(found[:0], p)
		case len(p.apex) == longest:
			found = append(found, p)
		}
	}
	return found
}

// delegation adds the NS records of c and their glue to p.
func (w *World) delegation(p, c *plan, glue bool) {
	if !p.made(c.apex) {
		p.delegated = append(p.delegated, c.apex)
	}
	add := func(r Record) {
		if !slices.ContainsFunc(p.records, func(o Record) bool {
			return o.Type == r.Type && wire.EqualFold(o.Owner, r.Owner) && bytes.Equal(o.Data, r.Data)
		}) {
			p.records = append(p.records, r)
		}
	}
	for _, r := range slices.Clone(c.records) {
		if r.Type != wire.TypeNS || !wire.EqualFold(r.Owner, c.apex) {
			continue
		}
		add(Record{c.apex, wire.TypeNS, r.TTL, r.Data})
		if !glue || !wire.Subdomain(r.Data, c.apex) {
			continue
		}
		for _, a := range slices.Clone(c.records) {
			if (a.Type == wire.TypeA || a.Type == wire.TypeAAAA) && wire.EqualFold(a.Owner, r.Data) {
				add(a)
			}
		}
	}
}

// compile signs a zone and makes it ready to be served.
func (w *World) compile(p *plan) error {
	records := p.records
	if p.signing != nil {
		signed, err := Sign(p.apex, records, p.signing)
		if err != nil {
			return p.at.Errorf(-1, "%w", err)
		}
		records = signed
	}
	b := zone.NewBuilder(p.apex, seed)
	for i := range records {
		r := &records[i]
		b.Add(&zone.Record{Owner: r.Owner, Type: r.Type, TTL: r.TTL, Data: r.Data})
	}
	z, problems := b.Build()
	if z == nil {
		var errs []error
		for _, problem := range problems {
			if !problem.Warning {
				errs = append(errs, p.at.Errorf(-1, "zone %s: %s", p.name, problem))
			}
		}
		return errors.Join(errs...)
	}
	p.zone = z
	p.single = zone.NewView(seed).With(zone.Change{Apex: p.apex, Zone: z})
	return nil
}

// Hints returns the servers of the root as a master file, or of a server that does
// not exist if the laboratory has no root zone.
func (w *World) Hints() string {
	var text []byte
	for _, p := range w.zones {
		if len(p.apex) > 1 {
			continue
		}
		for _, r := range p.records {
			if r.Type == wire.TypeNS && len(r.Owner) == 1 {
				text = zonefile.AppendRecord(text, r.Owner, 3600000, r.Type, r.Data)
			}
		}
		for _, r := range p.records {
			if (r.Type == wire.TypeA || r.Type == wire.TypeAAAA) && p.serves(r.Owner) {
				text = zonefile.AppendRecord(text, r.Owner, 3600000, r.Type, r.Data)
			}
		}
		break
	}
	if text == nil {
		return ". 3600000 NS no.root.\nno.root. 3600000 A 192.0.2.254\n"
	}
	return string(text)
}

// serves reports whether a name is one of the zone's own servers.
func (p *plan) serves(name []byte) bool {
	return slices.ContainsFunc(p.records, func(r Record) bool {
		return r.Type == wire.TypeNS && wire.EqualFold(r.Owner, p.apex) && wire.EqualFold(r.Data, name)
	})
}

// Anchors returns trust anchors as a master file of DS records: the root's if it is
// signed, and those of zones that ask for it by "! anchor". It is empty if there are
// none.
func (w *World) Anchors() string {
	var text []byte
	seen := map[string]bool{}
	for _, p := range w.zones {
		_, asked := p.order("anchor")
		if p.signing == nil || seen[p.name] || len(p.apex) > 1 && !asked {
			continue
		}
		seen[p.name] = true
		for _, ds := range p.signing.anchors {
			text = zonefile.AppendRecord(text, p.apex, 172800, wire.TypeDS, ds)
		}
	}
	return string(text)
}

// ZoneText returns a zone as it is served, as a master file: the edition that the
// first of its servers has. It is empty if there is no such zone.
func (w *World) ZoneText(name string) string {
	for _, p := range w.zones {
		if p.name != name {
			continue
		}
		var soa, rest []byte
		p.zone.Each(func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
			if t == wire.TypeSOA {
				soa = zonefile.AppendRecord(soa, owner, ttl, t, data)
			} else {
				rest = zonefile.AppendRecord(rest, owner, ttl, t, data)
			}
			return true
		})
		return string(soa) + string(rest)
	}
	return ""
}
