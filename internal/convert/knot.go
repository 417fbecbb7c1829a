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
	if c.files++; c.files > maxFiles {
		return nil, from.fail("more than %d files are included", maxFiles)
	}
	text, err := readFile(path)
	if err != nil {
		if from != nil {
			return nil, from.fail("%v", err)
		}
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

func (c *converter) knot(path string) error {
	top, err := c.knotFile(path, nil)
	if err != nil {
		return err
	}
	items := map[string]map[string]*stmt{}
	for _, s := range top {
		id := ""
		if i := find(s.block, "id"); i != nil {
			id = i.arg(1)
		}
		if items[s.name()] == nil {
			items[s.name()] = map[string]*stmt{}
		}
		items[s.name()][id] = s
		if a, k := find(s.block, "algorithm"), find(s.block, "secret"); s.name() == "key" && a != nil && k != nil {
			c.key(s, id, a.arg(1), k.arg(1))
		}
	}
	for _, s := range top {
		switch s.name() {
		case "server":
			if e := find(s.block, "automatic-acl"); e != nil {
				c.auto = e.arg(1) == "on"
			}
			for _, e := range s.block {
				switch e.name() {
				case "listen":
					for _, a := range e.args() {
						addr, port, _ := strings.Cut(a, "@")
						if _, err := netip.ParseAddr(addr); err != nil {
							c.note(e, NotTaken, "only addresses can be listened on")
							continue
						}
						c.listen(addr, port)
					}
					c.note(e, Taken, "")
				default:
					c.other(e, knotOwn)
				}
			}
		case "zone":
			if len(s.block) > 0 {
				c.knotZone(s, items)
			}
		case "key", "remote", "acl", "template":
			if len(s.block) > 0 && s.name() != "key" {
				c.note(s, Taken, "")
			}
		case "log", "database", "control", "statistics":
			c.note(s, Changed, "port53 has its own: log, state_dir, control and metrics")
		default:
			c.note(s, NotTaken, "port53 has nothing like it")
		}
	}
	return nil
}

func (c *converter) knotZone(s *stmt, items map[string]map[string]*stmt) {
	template := "default"
	if t := find(s.block, "template"); t != nil {
		template = t.arg(1)
	}
	block := s.block
	if t := items["template"][template]; t != nil {
		block = append(slices.Clone(t.block), block...)
	} else if template != "default" {
		c.note(s, NotTaken, "there is no template "+template)
	}
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
	for _, e := range block {
		if find(block, e.name()) != e {
			continue // the zone says otherwise than its template
		}
		switch e.name() {
		case "domain", "id", "template", "storage", "file":
			c.note(e, Taken, "")
		case "master", "notify":
			to := c.knotRemotes(e, z, items)
			if e.name() == "notify" {
				if c.auto {
					z.secondaries = to
				} else {
					z.notify = to
				}
			} else if z.primaries = to; len(to) == 0 {
				z.file = ""
			}
			c.note(e, Taken, "")
		case "acl":
			for _, id := range e.args() {
				if a := items["acl"][id]; a != nil {
					c.knotACL(a, z)
				} else {
					c.note(e, NotTaken, "there is no acl "+id)
				}
			}
		case "semantic-checks", "journal-content", "zonefile-sync", "zonefile-load", "journal-max-usage":
			c.note(e, Changed, "zones are always checked, and what changes them is in a journal in state_dir")
		default:
			c.note(e, NotTaken, "port53 has nothing like it for a zone")
		}
	}
	if z.blocked {
		z.allowTransfer = nil
	}
	c.addZone(s, z)
}

func (c *converter) knotRemotes(e *stmt, z *zone, items map[string]map[string]*stmt) []string {
	var to []string
	for _, id := range e.args() {
		r := items["remote"][id]
		if r == nil {
			c.note(e, NotTaken, "there is no remote "+id)
			continue
		}
		if k := find(r.block, "key"); k != nil && !c.sign(k, z, k.arg(1)) {
			continue
		}
		address := find(r.block, "address")
		if address == nil {
			c.note(r, NotTaken, "remote "+id+" has no address")
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

// knotACL takes what a rule allows: transfers from addresses, with a key or without,
// and updates with a key.
func (c *converter) knotACL(a *stmt, z *zone) {
	get := func(name string) []string {
		if e := find(a.block, name); e != nil {
			return e.args()
		}
		return nil
	}
	for _, e := range a.block {
		switch e.name() {
		case "id", "address", "key", "action":
		case "deny":
			if e.arg(1) != "off" {
				c.note(e, NotTaken, "exceptions are not known: nobody may have zone "+z.name)
				z.blocked = true
				return
			}
		default:
			c.note(e, NotTaken, "the rule is left out, for it says more than addresses and keys")
			return
		}
	}
	for _, action := range get("action") {
		switch action {
		case "transfer":
			if keys := get("key"); len(keys) > 0 && !c.sign(a, z, keys[0]) {
				continue
			}
			nets := get("address")
			if len(nets) == 0 {
				nets = []string{"0.0.0.0/0", "::/0"}
			}
			for _, n := range nets {
				if network(n) {
					z.allowTransfer = append(z.allowTransfer, n)
				} else {
					c.note(a, NotTaken, n+" is no network")
				}
			}
		case "update":
			if len(get("key")) == 0 || len(get("address")) > 0 {
				c.note(a, NotTaken, "updates are granted to keys, from any address")
			}
			if len(get("address")) == 0 {
				for _, k := range get("key") {
					c.grant(a, z, grant{k, []string{"*"}, nil})
				}
			}
		case "notify":
			c.note(a, Changed, "primaries are heard when they tell of changes, and nobody else")
		default:
			c.note(a, NotTaken, "there is nothing like "+action)
		}
	}
}
