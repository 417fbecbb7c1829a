package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"port53/internal/wire"
)

// Expose is the contract of who may do what, which nothing else in the file goes beyond.
//
// In one piece: it has a field for each key of the file, as the reference lists them.
type Expose struct {
	AskInterfaces        []string
	Ask                  []netip.Prefix `yaml:"ask" who:"true" lone:"true" beside:"interface=AskInterfaces" default:"" quiet:"true"`
	RecurseInterfaces    []string
	Recurse              []netip.Prefix `yaml:"recurse" who:"true" lone:"true" beside:"interface=RecurseInterfaces" default:"" quiet:"true"`
	TransferKeys         [][]byte
	TransferRemotes      []string
	TransferCertificates []string
	Transfer             []netip.Prefix `yaml:"transfer" who:"true" lone:"true" beside:"remote=TransferRemotes key=TransferKeys certificate=TransferCertificates" default:"" quiet:"true"`
	UpdateKeys           [][]byte
	UpdateRemotes        []string
	UpdateCertificates   []string
	Update               []netip.Prefix `yaml:"update" who:"true" lone:"true" beside:"remote=UpdateRemotes key=UpdateKeys certificate=UpdateCertificates" default:"" quiet:"true"`
	NotifyKeys           [][]byte
	NotifyRemotes        []string
	NotifyCertificates   []string
	Notify               []netip.Prefix `yaml:"notify" who:"true" lone:"true" beside:"remote=NotifyRemotes key=NotifyKeys certificate=NotifyCertificates" default:"" quiet:"true"`
	Control              []netip.Prefix `yaml:"control" who:"true" lone:"true" default:"" quiet:"true"`
	Scrape               []netip.Prefix `yaml:"scrape" who:"true" lone:"true" default:"" quiet:"true"`

	said map[string]Place // by key
}

// A Place is where a file says something.
type Place struct {
	File      string `json:"file"`
	Line, Col int
}

// String returns the place as errors have it.
func (p Place) String() string { return fmt.Sprintf("%s:%d:%d", printable(p.File), p.Line, p.Col) }

// PlaceOf reports whether the contract has something of a key, such as ask, and where.
func (e *Expose) PlaceOf(key string) (Place, bool) {
	p, ok := e.said[key]
	return p, ok
}

// Any reports whether there is a contract.
func (e *Expose) Any() bool { return len(e.said) > 0 }

// DeniesQueries tells that the contract lets nobody ask, but the servers that zones are exchanged with.
func (c *Config) DeniesQueries() bool {
	_, said := c.Expose.said["ask"]
	return said && len(c.Expose.Ask)+len(c.Expose.AskInterfaces) == 0
}

// exposeKeys are the keys of the contract.
var exposeKeys = []string{"ask", "recurse", "transfer", "update", "notify", "control", "scrape"}

// everyAddress is what everybody stands for.
var everyAddress = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}

// whoWord returns the networks that everybody and nobody stand for in a list of who may do something.
func (d *decoder) whoWord(k *key, text string, at position) (list []netip.Prefix, ok bool) {
	switch {
	case !k.who:
	case text == "everybody":
		return everyAddress, true
	case text == "nobody":
		d.nobody = append(d.nobody, whoSaid{k.path, d.mark(at)})
		return nil, true
	}
	return nil, false
}

// A whoSaid is a place where a list of the contract says nobody.
type whoSaid struct {
	path string
	at   position
}

// peers returns the keys and remotes of a list of the contract.
func (e *Expose) peers(key string) (networks []netip.Prefix, keys [][]byte, remotes []string) {
	switch key {
	case "transfer":
		return e.Transfer, e.TransferKeys, e.TransferRemotes
	case "update":
		return e.Update, e.UpdateKeys, e.UpdateRemotes
	case "notify":
		return e.Notify, e.NotifyKeys, e.NotifyRemotes
	}
	return nil, nil, nil
}

// Certificates returns the holders of certificates in such a list, by name.
func (e *Expose) Certificates(key string) []string {
	switch key {
	case "transfer":
		return e.TransferCertificates
	case "update":
		return e.UpdateCertificates
	case "notify":
		return e.NotifyCertificates
	}
	return nil
}

// Peers returns who may do something that zones and keys have a say in, transfer, update or notify: from
// networks, by keys, and as remotes. said is false if the contract leaves it to them.
func (e *Expose) Peers(key string) (networks []netip.Prefix, keys [][]byte, remotes []string, said bool) {
	networks, keys, remotes = e.peers(key)
	_, said = e.said[key]
	return networks, keys, remotes, said
}

// place is a position for people.
func (d *decoder) place(at position) Place {
	at = d.mark(at)
	return Place{d.files[at.file-1].name, at.line, at.col}
}

// seeAlso is the other place of a contradiction.
func (d *decoder) seeAlso(path string) string {
	at, _ := d.at(path)
	return " (see " + d.place(at).String() + ")"
}

// deriveExpose gives the keys that the contract stands for what it says, where they say nothing
// themselves. It comes before views inherit them.
func (d *decoder) deriveExpose() {
	e := &d.config.Expose
	for _, key := range exposeKeys {
		if at, set := d.at("expose." + key); set {
			if e.said == nil {
				e.said = map[string]Place{}
			}
			e.said[key] = d.place(at)
		}
	}
	if len(e.said) == 0 || len(d.errs) > 0 {
		return
	}
	d.checkWords()
	c := d.config
	for _, l := range []struct {
		from, to         string
		list, into       *[]netip.Prefix
		interfaces, also *[]string
	}{
		{"expose.ask", "policy.allow", &e.Ask, &c.Policy.Allow, &e.AskInterfaces, &c.Policy.AllowInterfaces},
		{"expose.recurse", "resolver.allow", &e.Recurse, &c.Resolver.Allow, &e.RecurseInterfaces, &c.Resolver.AllowInterfaces},
	} {
		_, said := d.at(l.from)
		_, set := d.at(l.to)
		if !said || set || l.to == "resolver.allow" && !c.Recurses() {
			continue
		}
		if everyone(*l.list) && !c.Internal() {
			continue // which is what the key's default comes to
		}
		*l.into, *l.also = *l.list, *l.interfaces
		d.carry(l.from, l.to)
	}
	if _, set := d.at("control.socket"); !set && d.saysNobody("control") {
		c.Control.Socket = ""
	}
	if _, set := d.at("metrics.listen"); !set && d.saysNobody("scrape") {
		c.Metrics.Listen = netip.AddrPort{}
	}
	d.deriveTransfers()
}

// everyone reports whether a list has all addresses.
func everyone(list []netip.Prefix) bool {
	return slices.Contains(list, everyAddress[0]) && slices.Contains(list, everyAddress[1])
}

// saysNobody reports whether the contract has nobody do something.
func (d *decoder) saysNobody(key string) bool {
	return slices.ContainsFunc(d.nobody, func(w whoSaid) bool { return w.path == "expose."+key })
}

// carry has what is derived from a key stand where that key does.
func (d *decoder) carry(from, to string) {
	f, t := place{key: d.table.find(from).id}, place{key: d.table.find(to).id}
	d.cols[t], d.items[t], d.config.origins[t] = d.cols[f], d.items[f], d.config.origins[f]
}

// checkWords reports lists of the contract that say nothing, and two things.
func (d *decoder) checkWords() {
	e := &d.config.Expose
	for _, key := range exposeKeys {
		at, set := d.at("expose." + key)
		if !set {
			continue
		}
		networks, keys, remotes := e.peers(key)
		n := len(networks) + len(keys) + len(remotes) + len(e.Certificates(key))
		switch key {
		case "ask":
			n = len(e.Ask) + len(e.AskInterfaces)
		case "recurse":
			n = len(e.Recurse) + len(e.RecurseInterfaces)
		case "control":
			n = len(e.Control)
		case "scrape":
			n = len(e.Scrape)
		}
		switch none := d.saysNobody(key); {
		case none && n > 0:
			d.fail(at, "expose."+key+": \"nobody\" is listed together with others", "remove \"nobody\", or the others")
		case !none && n == 0:
			hint := `to exclude everyone, write "nobody"`
			if d.config.Recurses() && (key == "ask" || key == "recurse") {
				hint = "list those who may"
			}
			d.fail(at, "expose."+key+": expected at least one entry, found an empty list", hint)
		}
	}
}

// deriveTransfers has zones that say of nobody that they may be transferred be for those of the contract.
func (d *decoder) deriveTransfers() {
	e := &d.config.Expose
	if _, said := e.said["transfer"]; !said {
		return
	}
	for i := range d.config.Zones {
		z := &d.config.Zones[i]
		if z.Transfers() {
			continue
		}
		z.TransferKeys, z.TransferRemotes = slices.Clone(e.TransferKeys), slices.Clone(e.TransferRemotes)
		if len(z.TSIG) > 0 {
			z.AllowTransfer = slices.Clone(e.Transfer)
		}
	}
}

// checkExpose reports what goes beyond the contract, with both places.
func (d *decoder) checkExpose() {
	c, e := d.config, &d.config.Expose
	if len(e.said) == 0 {
		return
	}
	d.checkExposeKeys()
	if at, said := d.at("expose.recurse"); said && !c.Recurses() && !d.saysNobody("recurse") {
		d.fail(
			at,
			"expose.recurse: an authoritative server resolves for nobody"+d.seeAlso("role"),
			`write "nobody", or choose role: internal-resolver`,
		)
	}
	for _, key := range []string{"ask", "recurse"} {
		if at, said := d.at("expose." + key); said && c.Recurses() && d.saysNobody(key) {
			d.fail(
				at,
				fmt.Sprintf(
					"expose.%s: the value is \"nobody\", but role %s is there to resolve names for clients%s",
					key,
					c.Role,
					d.seeAlso("role"),
				),
				"list those who may, or choose role: authoritative",
			)
		}
	}
	d.within("ask", "policy.allow", 0, "policy.allow", c.Policy.Allow, c.Policy.AllowInterfaces)
	d.within("recurse", "resolver.allow", 0, "resolver.allow", c.Resolver.Allow, c.Resolver.AllowInterfaces)
	d.within("ask", "expose.recurse", 0, "expose.recurse", e.Recurse, e.RecurseInterfaces)
	for i := range c.Views {
		v, what := &c.Views[i], "view "+quote(c.Views[i].Name)+": "
		d.within("ask", "views.policy.allow", int32(i), what+"policy.allow", v.Policy.Allow, v.Policy.AllowInterfaces)
		d.within("recurse", "views.resolver.allow", int32(i), what+"resolver.allow", v.Resolver.Allow, v.Resolver.AllowInterfaces)
	}
	for i := range c.Zones {
		z, what := &c.Zones[i], "zone "+quote(nameText(c.Zones[i].Name))+": "
		d.within("ask", "zones.allow_query", int32(i), what+"allow_query", z.AllowQuery, nil)
		d.checkExposed(i, what)
	}
	d.checkExposeGrants()
	d.checkDoors()
}

// checkExposeKeys reports keys of the contract that are not there.
func (d *decoder) checkExposeKeys() {
	e := &d.config.Expose
	for name, list := range map[string][][]byte{"transfer": e.TransferKeys, "update": e.UpdateKeys, "notify": e.NotifyKeys} {
		for i, key := range list {
			list[i] = wire.Lower(nil, key)
			if !slices.ContainsFunc(d.config.Keys, func(k Key) bool { return wire.EqualFold(k.Name, key) }) {
				at, _ := d.at("expose." + name)
				d.noKey(at, "expose."+name+": ", key)
			}
		}
	}
	for _, key := range []string{"transfer", "update", "notify"} {
		for _, name := range e.Certificates(key) {
			if !slices.ContainsFunc(d.config.ClientCertificates, func(k ClientCertificate) bool { return k.Name == name }) {
				at, _ := d.at("expose." + key)
				d.fail(at, "expose."+key+": there is no client certificate "+quote(name), "define it in client_certificates")
			}
		}
	}
}

// within reports networks and interfaces of a list that are not within those of the contract.
func (d *decoder) within(key, path string, index int32, what string, list []netip.Prefix, interfaces []string) {
	e := &d.config.Expose
	if _, said := e.said[key]; !said {
		return
	}
	at, set := d.atIndex(path, index)
	if !set {
		return
	}
	most, also := e.Ask, e.AskInterfaces
	if key == "recurse" {
		most, also = e.Recurse, e.RecurseInterfaces
	}
	remedy := "add it to expose." + key + ", or remove it here"
	for i, n := range list {
		if !within(most, n) {
			d.fail(
				d.item(path, index, i),
				fmt.Sprintf("%s[%d]: %s goes beyond expose.%s%s", what, i, n, key, d.seeAlso("expose."+key)),
				remedy,
			)
		}
	}
	for _, name := range interfaces {
		if !slices.Contains(also, name) && !everyone(most) {
			d.fail(
				at,
				fmt.Sprintf("%s: {interface: %s} goes beyond expose.%s%s", what, name, key, d.seeAlso("expose."+key)),
				remedy,
			)
		}
	}
}

// letsPeer reports whether the contract lets a peer do something who comes from n and signs with one of
// keys; nil: with none.
func (e *Expose) letsPeer(c *Config, key string, n netip.Prefix, keys [][]byte) bool {
	networks, names, remotes := e.peers(key)
	if n.IsValid() && within(networks, n) {
		return true
	}
	all := len(keys) > 0
	for _, k := range keys {
		all = all && slices.ContainsFunc(names, func(name []byte) bool { return wire.EqualFold(name, k) })
	}
	if all || !n.IsValid() && len(networks) > 0 { // the networks bound from where a key counts
		return true
	}
	for _, name := range remotes {
		if r := c.Remote(name); r != nil {
			if slices.ContainsFunc(r.Addresses, func(a netip.AddrPort) bool { return n == hostOf(a) }) ||
				len(r.TSIG) > 1 && len(keys) == 1 && wire.EqualFold(r.TSIG, keys[0]) {
				return true
			}
		}
	}
	return false
}

func hostOf(a netip.AddrPort) netip.Prefix {
	host := a.Addr().WithZone("")
	return netip.PrefixFrom(host, host.BitLen())
}

// checkExposed reports what a zone gives away beyond the contract.
func (d *decoder) checkExposed(i int, what string) {
	c, e, z := d.config, &d.config.Expose, &d.config.Zones[i]
	beyond := func(op, path, who string) {
		at, set := d.atIndex("zones."+path, int32(i))
		if !set {
			at = d.zones[i]
		}
		d.fail(
			at,
			fmt.Sprintf("%s%s: %s is not in expose.%s%s", what, path, who, op, d.seeAlso("expose."+op)),
			"add it there, or remove it here",
		)
	}
	if _, said := e.said["transfer"]; said {
		for _, s := range slices.Concat(z.Secondaries, z.Members.Secondaries) {
			keys := z.TSIG
			if own := z.KeyOf(s); own != nil {
				keys = [][]byte{own}
			}
			if !e.letsPeer(c, "transfer", hostOf(s), keys) {
				beyond("transfer", "secondaries", s.Addr().String())
			}
		}
		for _, n := range slices.Concat(z.AllowTransfer, z.Members.AllowTransfer) {
			if !e.letsPeer(c, "transfer", n, z.TSIG) {
				beyond("transfer", "allow_transfer", networkText(n))
			}
		}
		for _, n := range z.TransferAlone {
			if !e.letsPeer(c, "transfer", n, nil) {
				beyond("transfer", "allow_transfer", "{address: "+networkText(n)+"}")
			}
		}
		for _, k := range z.TransferKeys {
			if !e.letsPeer(c, "transfer", netip.Prefix{}, [][]byte{k}) {
				beyond("transfer", "allow_transfer", "{key: "+nameText(k)+"}")
			}
		}
		for _, name := range slices.Concat(z.TransferRemotes, z.Members.TransferRemotes) {
			if r := c.Remote(name); r != nil && !slices.Contains(e.TransferRemotes, name) {
				for _, a := range r.Addresses {
					if !e.letsPeer(c, "transfer", hostOf(a), z.TSIG) {
						beyond("transfer", "allow_transfer", "remote "+name)
						break
					}
				}
			}
		}
	}
	if _, said := e.said["update"]; said {
		for _, g := range z.Updates {
			if !e.letsPeer(c, "update", netip.Prefix{}, [][]byte{g.Key}) {
				beyond("update", "updates", "key "+quote(nameText(g.Key)))
			}
		}
		if z.Forward && d.saysNobody("update") {
			beyond("update", "forward_updates", "whoever signs")
		}
	}
	if _, said := e.said["notify"]; said {
		for _, n := range z.AllowNotify {
			if !e.letsPeer(c, "notify", n, z.TSIG) {
				beyond("notify", "allow_notify", networkText(n))
			}
		}
	}
}

// checkExposeGrants reports grants of keys and certificates that the contract does not let do what they
// say. Those that a running server has granted are refused as they are used.
func (d *decoder) checkExposeGrants() {
	c, e := d.config, &d.config.Expose
	check := func(at position, what, entry string, grants []Right, lets func(op string) bool) {
		for _, g := range grants {
			for verb, op := range map[string]string{"change": "update", "notify": "notify"} {
				if _, said := e.said[op]; said && slices.Contains(g.Verbs, verb) && !lets(op) {
					d.fail(
						at,
						fmt.Sprintf("%s: grants: it may %s, and is not in expose.%s%s", what, verb, op, d.seeAlso("expose."+op)),
						"add "+entry+" there, or take the verb away",
					)
				}
			}
		}
	}
	for i := range c.Keys {
		k := &c.Keys[i]
		if c.KeyGranted(i) {
			continue
		}
		name := nameText(k.Name)
		check(d.keyAt("keys.grants", i), "key "+quote(name), "{key: "+name+"}", k.Grants,
			func(op string) bool { return e.letsPeer(c, op, netip.Prefix{}, [][]byte{k.Name}) })
	}
	for i := range c.ClientCertificates {
		k := &c.ClientCertificates[i]
		if c.CertificateGranted(i) {
			continue
		}
		at, _ := d.atIndex("client_certificates.name", int32(i))
		check(at, "client certificate "+quote(k.Name), "{certificate: "+k.Name+"}", k.Grants, func(op string) bool {
			networks, _, _ := e.peers(op)
			return len(networks) > 0 || slices.Contains(e.Certificates(op), k.Name) // networks bound from where it counts
		})
	}
}

// checkDoors reports an API and metrics that the contract does not have, or has for somebody who never gets
// there.
func (d *decoder) checkDoors() {
	c, e := d.config, &d.config.Expose
	if _, said := e.said["control"]; said {
		api, set := d.at("api.listen")
		switch socket, written := d.at("control.socket"); {
		case d.saysNobody("control") && written && c.Control.Socket != "":
			d.fail(
				socket,
				`control.socket: expose.control says "nobody"`+d.seeAlso("expose.control"),
				"remove it, or leave expose.control out",
			)
		case d.saysNobody("control") && c.API.Listen.IsValid():
			d.fail(api, `api.listen: expose.control says "nobody"`+d.seeAlso("expose.control"),
				"remove it, or list those who may reach it there")
		case !d.saysNobody("control") && !set:
			at, _ := d.at("expose.control")
			d.fail(
				at,
				"expose.control: there is no API that could be reached (api.listen has its default)",
				"write api: {listen: ADDRESS}, or leave expose.control out",
			)
		default:
			d.checkReached("control", "api.listen", c.API.Listen, e.Control)
		}
	}
	if _, said := e.said["scrape"]; said {
		if at, written := d.at("metrics.listen"); d.saysNobody("scrape") && written && c.Metrics.Listen.IsValid() {
			d.fail(at, `metrics.listen: expose.scrape says "nobody"`+d.seeAlso("expose.scrape"),
				"write off, or list those who may read them there")
			return
		}
		d.checkReached("scrape", "metrics.listen", c.Metrics.Listen, e.Scrape)
	}
}

// checkReached reports networks that never reach an address of loopback.
func (d *decoder) checkReached(key, path string, at netip.AddrPort, who []netip.Prefix) {
	if !at.IsValid() || !at.Addr().IsLoopback() {
		return
	}
	for i, n := range who {
		if !within(loopback(), n) {
			d.fail(
				d.item("expose."+key, 0, i),
				fmt.Sprintf("expose.%s[%d]: no address of %s can reach %s%s", key, i, n, at, d.seen(path, position{})),
				"write "+strings.Replace(path, ".", ": {", 1)+": ADDRESS}, or remove it here",
			)
			return
		}
	}
}

// networkText is a network as people write it.
func networkText(n netip.Prefix) string {
	if n.IsSingleIP() {
		return n.Addr().String()
	}
	return n.String()
}
