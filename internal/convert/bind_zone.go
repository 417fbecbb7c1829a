package convert

import (
	"path/filepath"
	"strings"
)

// bindZoneOwn are options of a zone that port53 has its own way for, or no need of.
const bindZoneOwn = `check-names check-dup-records check-mx check-mx-cname check-integrity check-sibling check-spf check-srv-cname
	check-svcb check-wildcard dialup dnssec-update-mode ixfr-from-differences journal key-directory masterfile-format
	masterfile-style max-ixfr-ratio max-journal-size max-records max-records-per-type max-types-per-name max-refresh-time
	max-retry-time max-transfer-idle-in max-transfer-idle-out max-transfer-time-in max-transfer-time-out max-zone-ttl
	min-refresh-time min-retry-time multi-master notify-delay notify-source notify-source-v6 notify-to-soa
	parental-agents provide-ixfr request-expire request-ixfr send-report-channel sig-validity-interval transfer-source
	transfer-source-v6 try-tcp-refresh update-check-ksk use-alt-transfer-source zero-no-soa-ttl zone-statistics`

// inherited returns what the zone says of an option, or else the view or the options.
func (b *bind) inherited(s *stmt, name ...string) *stmt {
	if own := find(s.block, name...); own != nil {
		return own
	}
	return find(b.options, name...)
}

// signs returns what has BIND sign a zone, or nil.
func (b *bind) signs(s *stmt) *stmt {
	if p := b.inherited(s, "dnssec-policy"); p != nil && p.arg(1) != "none" {
		return p
	}
	if p := b.inherited(s, "auto-dnssec"); p != nil && p.arg(1) != "off" {
		return p
	}
	if p := b.inherited(s, "inline-signing"); p != nil && yes(p.arg(1)) {
		return p
	}
	return nil
}

// zone takes a zone, or says why not.
// In one piece: it is one statement, clause by clause.
func (b *bind) zone(s *stmt) {
	z := &zone{name: domain(s.arg(1))}
	if f := find(s.block, "file"); f != nil {
		if z.file = f.arg(1); !filepath.IsAbs(z.file) {
			z.file = filepath.Join(b.dir, z.file)
		}
	}
	if of := find(s.block, "in-view"); of != nil && b.view != nil {
		b.sharedZone(s, of)
		return
	}
	kind := ""
	if k := find(s.block, "type"); k != nil {
		kind = k.arg(1)
	}
	if class := s.arg(2); class != "" && !strings.EqualFold(class, "in") {
		b.note(s, Unsupported, "only zones of class IN are served")
		return
	}
	switch kind {
	case "primary", "master":
		if z.file == "" {
			b.note(s, Unsupported, "the zone has no file")
			return
		}
	case "secondary", "slave":
		if !b.primariesOf(s, z) {
			return
		}
	case "mirror":
		b.note(s, Changed, "names are resolved by asking the zone's servers: it is not kept here as a whole")
		return
	case "hint":
		b.note(s, Changed, "the root's servers are built in: resolver.root_hints names others")
		return
	case "forward", "stub", "static-stub":
		b.route(s, kind, z.name)
		return
	default:
		b.note(s, Unsupported, "port53 has no zones of type "+kind)
		return
	}
	if p := b.signs(s); p != nil && !b.takeSigning(s, p, z) {
		b.note(
			s,
			Unsupported,
			"BIND signs it ("+strings.Join(
				p.args(),
				" ",
			)+"), and here it would be served without signatures, which validators refuse if its parent has a DS record",
		)
		return
	}
	if f := b.inherited(s, "masterfile-format"); f != nil && f.arg(1) != "text" && len(z.primaries) == 0 {
		b.note(s, Unsupported, "its file is not text: named-compilezone -f raw -F text makes it so")
		return
	}
	if q := find(s.block, "allow-query"); q != nil {
		if z.query = b.clients(q).nets; z.query == nil {
			z.query = netset{}
		}
		b.note(q, Converted, "")
	}
	if t := b.inherited(s, "allow-transfer"); t != nil {
		b.transferTo(t, z)
	}
	if n := b.inherited(s, "also-notify"); n != nil {
		z.notify, _ = b.servers(n, 0)
	}
	if n := b.inherited(s, "notify"); n != nil && (n.arg(1) == "no" || n.arg(1) == "false") {
		z.notify = nil
	}
	if find(s.block, "allow-update", "update-policy") == nil && len(z.primaries) == 0 {
		if u := find(b.options, "allow-update"); u != nil {
			b.updates(u, z)
		}
	}
	for _, e := range s.block {
		b.zoneOption(e, z)
	}
	b.addZone(s, z)
}

// primariesOf reads where a secondary zone is fetched from.
func (b *bind) primariesOf(s *stmt, z *zone) bool {
	var keys []string
	from := find(s.block, "masters", "primaries")
	if from != nil {
		if l := b.lists[from.arg(1)]; l != nil && len(from.block) == 0 {
			from = l
		}
		z.primaries, keys = b.servers(from, 0)
	}
	for _, k := range keys {
		if !b.sign(from, z, k) {
			b.note(s, Unsupported, "it would be fetched without the key that it was fetched with")
			return false
		}
	}
	if len(z.primaries) == 0 {
		b.note(s, Unsupported, "the zone has no primaries that could be taken")
		return false
	}
	return true
}

// route takes a zone whose names are asked of others.
func (b *bind) route(s *stmt, kind, name string) {
	if kind == "forward" {
		if f := find(s.block, "forwarders"); f == nil {
			s.block = append(
				s.block,
				&stmt{words: []word{{text: "forwarders", file: s.words[0].file, line: s.words[0].line, col: s.words[0].col}}},
			)
		}
		before := len(b.out.forward)
		b.forwarders(s.block, name, s)
		if len(b.out.forward) > before {
			b.note(s, Converted, "")
		} else {
			b.note(s, Unsupported, "names of the zone are asked of nobody else")
		}
		for _, e := range s.block {
			if e.name() == "forward" {
				b.note(e, Converted, "")
			}
		}
		return
	}
	list := find(s.block, "masters", "primaries", "server-addresses")
	var to []string
	if list != nil {
		to, _ = b.servers(list, 0)
	}
	if len(to) == 0 {
		b.note(s, Unsupported, "the zone has no servers that could be taken")
		return
	}
	b.addRoute(&b.out.stub, route{from: s, zone: name, to: to})
	b.note(s, Converted, "")
}

// zoneOption takes what a zone that is served says.
func (b *bind) zoneOption(e *stmt, z *zone) {
	switch e.name() {
	case "allow-transfer", "allow-query": // said before
	case "type", "file", "masters", "primaries", "also-notify", "dnssec-policy", "auto-dnssec", "inline-signing":
		b.note(e, Converted, "")
	case "notify":
		b.notifies(e)
	case "allow-notify":
		z.allowNotify = b.clients(e).nets
		b.note(e, Converted, "")
	case "allow-update", "update-policy":
		b.updates(e, z)
	case "allow-update-forwarding":
		z.forwardUpdates = len(e.block) > 0 && e.block[0].arg(0) != "none"
		b.note(e, Changed, "updates go on to the primaries if they are signed")
	case "serial-update-method":
		if z.serial = e.arg(1); z.serial != "date" && z.serial != "unixtime" {
			z.serial = ""
		}
		b.note(e, Converted, "")
	case "forwarders":
		if len(e.block) == 0 {
			b.note(e, Converted, "") // what is delegated from a zone that is here is asked of its name servers
		} else {
			b.note(e, Unsupported,
				"names that the zone delegates are asked of the name servers that it names: list them in resolver.forward")
		}
	case "forward":
		b.note(e, Converted, "")
	default:
		if b.other(e, bindZoneOwn); e.name() == "transfer-source" || e.name() == "notify-source" {
			b.note(e, Changed, "the system chooses the address")
		}
	}
}

// updates takes who may change a zone.
func (b *bind) updates(e *stmt, z *zone) {
	if e.name() == "update-policy" {
		switch {
		case find(e.block, "deny") != nil:
			b.note(e, Unsupported, "denials are not known, and without them the grants would allow more")
		case len(e.block) == 0:
			b.note(e, Unsupported, "the key that BIND makes for this machine is not here: add a key, and updates of it")
		}
		if find(e.block, "deny") == nil {
			for _, g := range e.block {
				b.updateGrant(g, z)
			}
			b.note(e, Converted, "")
		}
		return
	}
	acl := b.match(e, 0)
	b.note(e, Converted, "")
	if len(acl.nets) > 0 {
		b.note(e, Unsupported, "nobody changes a zone by an address alone: give the client a key")
	}
	for name, nets := range acl.keys {
		if !nets.equal(allAddresses()) {
			b.note(e, Unsupported, "updates are granted to keys from any address: "+name+" is left out")
			continue
		}
		b.grant(e, z, grant{name, []string{"*"}, nil})
	}
}

// updateGrant reads grant KEY RULE [NAME] TYPES.
func (b *bind) updateGrant(s *stmt, z *zone) {
	const least = 3
	if s.name() != "grant" || len(s.words) < least {
		b.note(s, Unsupported, "only grants are known")
		return
	}
	name, types := domain(s.arg(3)), s.words[least:]
	var names []string
	switch s.arg(2) {
	case "zonesub":
		names = []string{"*"}
	case "name":
		names, types = []string{name}, s.words[min(least+1, len(s.words)):]
	case "subdomain":
		names, types = []string{name, "*." + name}, s.words[min(least+1, len(s.words)):]
	default:
		b.note(s, Unsupported, "of the rules, name, subdomain and zonesub are known")
		return
	}
	g := grant{s.arg(1), names, nil}
	for _, t := range types {
		if strings.EqualFold(t.text, "any") {
			g.types = nil
			break
		}
		g.types = append(g.types, strings.ToUpper(t.text))
	}
	b.grant(s, z, g)
}
