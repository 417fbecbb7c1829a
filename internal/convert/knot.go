package convert

import (
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
)

// knotFile reads the part of YAML that Knot does: sections, lists of items, and in
// them a value or a list for each name.
func (c *converter) knotFile(path string, from *word) ([]*stmt, error) {
	text, err := c.readFile(path, from)
	if err != nil {
		return nil, err
	}
	var (
		top     []*stmt
		section word
	)
	for n, line := range strings.Split(text, "\n") {
		words, err := lineWords(path, n+1, line)
		if err != nil {
			return nil, err
		}
		words = slices.DeleteFunc(words, func(w word) bool { return !w.quoted && strings.Contains("[],", w.text) && w.text != "" })
		if len(words) == 0 {
			continue
		}
		w := words[0]
		dash := w.text == "-" && !w.quoted
		if dash {
			if words = words[1:]; len(words) == 0 {
				return nil, w.fail("nothing follows -")
			}
		}
		name, isName := strings.CutSuffix(words[0].text, ":")
		isName = isName && !words[0].quoted && attribute.MatchString(words[0].text)
		words[0].text = name
		switch {
		case isName && w.col == 1 && !dash && name == "include":
			files, _ := filepath.Glob(zoneFile(words[len(words)-1].text, "", filepath.Dir(path)))
			if len(files) == 0 {
				return nil, w.fail("there is no file to include")
			}
			for _, f := range files {
				more, err := c.knotFile(f, &w)
				if err != nil {
					return nil, err
				}
				top = append(top, more...)
			}
		case isName && w.col == 1 && !dash:
			section = words[0]
			top = append(top, &stmt{words: []word{section}})
		case section.text == "":
			return nil, w.fail("%s stands in no section", words[0].text)
		case isName && dash:
			top = append(top, &stmt{words: []word{section}, block: []*stmt{{words: words}}})
		case isName:
			s := top[len(top)-1]
			s.block = append(s.block, &stmt{words: words})
		default: // an element of a list, or a line that goes on
			s := top[len(top)-1]
			if len(s.block) == 0 {
				return nil, w.fail("%s is the value of nothing", w.text)
			}
			last := s.block[len(s.block)-1]
			if !dash {
				return nil, w.fail("expected a name and a colon, found %s", w.text)
			}
			last.words = append(last.words, words...)
		}
	}
	return top, nil
}

// A knot is a knot.conf as it is read: the items of each section by their identifiers.
type knot struct {
	*converter
	items map[string]map[string]*stmt
	auto  bool // automatic-acl: who is told of changes may transfer
}

func readKnot(c *converter, path string) error {
	top, err := c.knotFile(path, nil)
	if err != nil {
		return err
	}
	k := &knot{converter: c, items: map[string]map[string]*stmt{}}
	for _, s := range top {
		s.block = c.vet(s.block, knotKinds(), knotInstead())
		id := ""
		if i := find(s.block, "id"); i != nil {
			id = i.arg(1)
		} else if len(s.block) > 0 {
			id = s.block[0].arg(1)
		}
		if k.items[s.name()] == nil {
			k.items[s.name()] = map[string]*stmt{}
		}
		k.items[s.name()][id] = s
		if a, secret := find(s.block, "algorithm"), find(s.block, "secret"); s.name() == "key" && secret != nil {
			algorithm := ""
			if a != nil {
				algorithm = a.arg(1)
			}
			c.key(s, id, algorithm, secret.arg(1))
		}
	}
	for _, s := range top {
		switch s.name() {
		case "server":
			k.server(s)
		case "zone":
			if len(s.block) > 0 {
				k.zone(s)
			}
		case "key", "remote", "remotes", "acl", "template":
			if len(s.block) > 0 && s.name() != "key" {
				c.note(s, Converted, "")
			}
		case "log", "database", "control", "statistics", "xdp":
			c.note(s, Changed, "port53 has its own: log, state_dir, control and metrics")
		case "policy":
			c.note(s, Changed, "what of it counts here is in dnssec_policies, for the zones that are signed by it")
		case "submission":
			c.note(s, Changed, "all servers of the parent are asked for its DS records: parent.check in a policy names others")
		case "keystore":
			c.note(s, Planned, "keys in hardware are not supported; those in PEM are taken by port53 zone keys import")
		case "mod-rrl":
			k.rates(s)
		default:
			if len(s.block) > 0 {
				c.note(s, Unsupported, "port53 has nothing like it")
			}
		}
	}
	return nil
}

func (k *knot) server(s *stmt) {
	if e := find(s.block, "automatic-acl"); e != nil {
		k.auto = yes(e.arg(1))
	}
	for _, e := range s.block {
		switch e.name() {
		case "listen":
			for _, a := range e.args() {
				addr, port, _ := strings.Cut(a, "@")
				if _, err := netip.ParseAddr(addr); err != nil {
					k.note(e, Unsupported, "only addresses can be listened on")
					continue
				}
				k.listen(addr, port)
			}
			k.note(e, Converted, "")
		case "identity", "version", "nsid":
			path := map[string]string{"identity": "hostname", "version": "version", "nsid": "nsid"}[e.name()]
			if e.arg(1) != "" {
				k.take(e, "identity."+path, quote(e.arg(1)))
			}
		case "answer-rotation":
			if yes(e.arg(1)) {
				k.out.order("cyclic")
			}
			k.note(e, Converted, "")
		case "tcp-max-clients":
			k.take(e, "tcp.max_connections", e.arg(1))
		case "listen-xdp", "listen-quic", "listen-tls", "cert-file", "key-file":
			k.note(e, Planned, "only UDP and TCP are served yet")
		default:
			k.other(e, knotOwn)
		}
	}
}

func (k *knot) rates(s *stmt) {
	for _, e := range s.block {
		switch e.name() {
		case "rate-limit":
			k.take(e, "policy.rate_limit.per_second", e.arg(1)+"/s")
		case "slip":
			k.take(e, "policy.rate_limit.slip", e.arg(1))
		default:
			k.note(e, Changed, "port53 has its own limits: policy.rate_limit")
		}
	}
}

// block returns what a zone and its template say, the zone last.
func (k *knot) block(s *stmt) []*stmt {
	template := "default"
	if t := find(s.block, "template"); t != nil {
		template = t.arg(1)
	}
	if t := k.items["template"][template]; t != nil {
		return append(slices.Clone(t.block), s.block...)
	} else if template != "default" {
		k.note(s, Unsupported, "there is no template "+template)
	}
	return s.block
}

// unlike says why a zone would be served otherwise than it was, or "".
func (k *knot) unlike(block []*stmt) string {
	if e := find(block, "catalog-role"); e != nil && (e.arg(1) == "interpret" || e.arg(1) == "generate") {
		return "write catalog: consume or produce, and members, yourself"
	}
	if e := find(block, "module"); e != nil {
		for _, m := range e.args() {
			switch {
			case strings.HasPrefix(m, "mod-onlinesign"):
				return "Knot signs its answers (mod-onlinesign), and here it would be served without signatures"
			case strings.HasPrefix(m, "mod-queryacl"):
				return "who may ask is said by a module: write allow_query at the zone"
			}
		}
	}
	return ""
}

// zone …
// In one piece: it is a table of options and what becomes of each.
func (k *knot) zone(s *stmt) {
	block := k.block(s)
	z := &zone{file: "%s.zone"}
	dir := "/var/lib/knot"
	if e := find(block, "storage"); e != nil {
		dir = e.arg(1)
	}
	if e := find(block, "file"); e != nil {
		z.file = e.arg(1)
	}
	if e := find(block, "domain"); e != nil {
		z.name = domain(e.arg(1))
	}
	z.file = zoneFile(z.file, z.name, dir)
	if why := k.unlike(block); why != "" {
		k.note(s, Unsupported, why)
		k.note(find(s.block, "domain"), Unsupported, why)
		return
	}
	if e := find(block, "dnssec-signing"); e != nil && yes(e.arg(1)) && !k.signing(s, block, z) {
		return
	}
	var transfer []aclRule
	for _, e := range block {
		if find(block, e.name()) != e {
			continue // the zone says otherwise than its template
		}
		switch e.name() {
		case "domain", "id", "template", "storage", "file", "dnssec-signing", "dnssec-policy", "catalog-role":
			k.note(e, Converted, "")
		case "master":
			if z.primaries = k.remotes(e, z); len(z.primaries) == 0 {
				z.file = ""
			}
			k.note(e, Converted, "")
		case "notify":
			if to := k.remotes(e, z); k.auto {
				z.secondaries = to
			} else {
				z.notify = to
			}
			k.note(e, Converted, "")
		case "acl":
			for _, id := range e.args() {
				if a := k.items["acl"][id]; a != nil {
					transfer = append(transfer, k.acl(a, z)...)
				} else {
					k.note(e, Unsupported, "there is no acl "+id)
				}
			}
		case "serial-policy":
			if z.serial = e.arg(1); z.serial != "unixtime" {
				z.serial = ""
			}
			k.note(e, Converted, "")
		case "semantic-checks",
			"journal-content",
			"zonefile-sync",
			"zonefile-load",
			"journal-max-usage",
			"journal-max-depth",
			"zone-max-size",
			"adjust-threads",
			"ixfr-benevolent",
			"ixfr-by-one",
			"refresh-min-interval",
			"refresh-max-interval",
			"retry-min-interval",
			"retry-max-interval",
			"expire-min-interval",
			"expire-max-interval":
			k.note(e, Changed, "zones are always checked, and what changes them is in a journal in state_dir")
		case "module":
			for _, m := range e.args() {
				if !strings.HasPrefix(m, "mod-stats") && !strings.HasPrefix(m, "mod-rrl") && !strings.HasPrefix(m, "mod-cookies") {
					k.note(e, Unsupported, "answers are those of the zone alone")
				}
			}
			k.note(e, Changed, "port53 has its own: policy.rate_limit, edns.cookies, metrics")
		default:
			k.note(e, Unsupported, "port53 has nothing like it for a zone")
		}
	}
	// Who has no key to sign with needs none, whatever the zone is fetched with.
	z.alone = firstMatch(slices.DeleteFunc(slices.Clone(transfer), func(r aclRule) bool { return r.keyed }))
	z.transfer = firstMatch(slices.DeleteFunc(transfer, func(r aclRule) bool { return !r.keyed && !r.deny }))
	k.addZone(s, z)
}

// remotes returns the addresses of remotes, whose keys sign the zone's transfers.
func (k *knot) remotes(e *stmt, z *zone) []string {
	var to []string
	ids := e.args()
	for i := 0; i < len(ids) && len(ids) < maxFiles; i++ {
		id := ids[i]
		r := k.items["remote"][id]
		if group := k.items["remotes"][id]; r == nil && group != nil {
			if m := find(group.block, "remote"); m != nil {
				ids = append(ids, m.args()...)
			}
			continue
		}
		if r == nil {
			k.note(e, Unsupported, "there is no remote "+id)
			continue
		}
		if key := find(r.block, "key"); key != nil && !k.sign(key, z, key.arg(1)) {
			continue
		}
		address := find(r.block, "address")
		if address == nil {
			k.note(r, Unsupported, "remote "+id+" has no address")
			continue
		}
		for _, text := range address.args() {
			addr, port, _ := strings.Cut(text, "@")
			if a, err := netip.ParseAddr(addr); err == nil {
				to = append(to, server(a, port))
			}
		}
	}
	return to
}

// acl takes what a rule allows, and returns what it says of transfers: Knot takes the first
// rule that matches.
func (k *knot) acl(a *stmt, z *zone) []aclRule {
	get := func(name string) []string {
		if e := find(a.block, name); e != nil {
			return e.args()
		}
		return nil
	}
	nets := allAddresses()
	if list := get("address"); len(list) > 0 {
		nets = nil
		for _, text := range list {
			n, ok := nsdSpec(text)
			if !ok {
				k.note(a, Unsupported, text+" is no network")
			}
			nets = nets.union(n)
		}
	}
	keys, actions := get("key"), get("action")
	for _, id := range get("remote") {
		r := k.items["remote"][id]
		if r == nil {
			k.note(a, Unsupported, "there is no remote "+id)
			return nil
		}
		if len(get("address")) == 0 && id == get("remote")[0] {
			nets = nil
		}
		if e := find(r.block, "address"); e != nil {
			for _, text := range e.args() {
				n, _ := nsdSpec(text)
				nets = nets.union(n)
			}
		}
		if e := find(r.block, "key"); e != nil {
			keys = append(keys, e.arg(1))
		}
	}
	g := grant{names: []string{"*"}}
	for _, e := range a.block {
		switch e.name() {
		case "id", "address", "key", "action", "remote":
		case "deny":
			if yes(e.arg(1)) {
				k.note(a, Converted, "")
				if len(actions) == 0 || slices.Contains(actions, "transfer") {
					return []aclRule{{nets: nets, deny: true}}
				}
				return nil
			}
		case "update-type":
			g.types = e.args()
		default:
			k.note(e, Unsupported, "the rule is left out, for it says more than addresses and keys")
			return nil
		}
	}
	return k.actions(a, z, actions, keys, nets, g)
}

func (k *knot) actions(a *stmt, z *zone, actions, keys []string, nets netset, g grant) (rules []aclRule) {
	for _, action := range actions {
		switch action {
		case "transfer":
			signed := len(keys) == 0
			for _, key := range keys {
				signed = k.sign(a, z, key) || signed
			}
			if signed {
				rules = append(rules, aclRule{nets: nets, keyed: len(keys) > 0})
			}
		case "update":
			if len(keys) == 0 || !nets.equal(allAddresses()) {
				k.note(a, Unsupported, "updates are granted to keys, from any address")
				continue
			}
			for _, key := range keys {
				g.key = key
				k.grant(a, z, g)
			}
		case "notify":
			z.allowNotify = z.allowNotify.union(nets)
			k.note(a, Converted, "")
		case "query":
			k.note(a, Unsupported, "write allow_query at the zone")
		default:
			k.note(a, Unsupported, "there is nothing like "+action)
		}
	}
	return rules
}
