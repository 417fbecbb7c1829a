package app

import (
	"net/netip"
	"slices"

	"port53/internal/config"
	"port53/internal/grant"
	"port53/internal/policy"
	"port53/internal/transfer"
	"port53/internal/tsig"
	"port53/internal/wire"
	"port53/internal/zones"
)

// keyRing returns the keys of c.
func keyRing(c *config.Config) *tsig.Ring {
	keys := make([]tsig.Key, 0, len(c.Keys))
	for _, k := range c.Keys {
		if algorithm, ok := tsig.ParseAlgorithm(k.Algorithm); ok {
			keys = append(keys, tsig.Key{Name: k.Name, Algorithm: algorithm, Secret: k.Octets})
		}
	}
	return tsig.NewRing(keys...)
}

func bounds(c *config.Config) zones.Bounds {
	t := c.Transfers
	return zones.Bounds{Out: t.MaxOut, OutPeer: t.MaxOutPeer, In: t.MaxIn, Memory: int64(t.MaxMemory)}
}

// transferPeers returns the servers that zones are exchanged with. Networks of
// allow_transfer are not among them: they may be as wide as a key makes safe.
func transferPeers(c *config.Config) []netip.Prefix {
	var list []netip.Prefix
	for i := range c.Zones {
		z := &c.Zones[i]
		list = append(list, peersOf(z.Primaries, z.Secondaries, z.Members.Primaries, z.Members.Secondaries)...)
	}
	return list
}

// peerAddrs returns the addresses of single servers that zones are exchanged with.
func peerAddrs(c *config.Config) []netip.Addr {
	list := transferPeers(c)
	for i := range c.Zones {
		z := &c.Zones[i]
		list = append(list, peersOf(z.Notify, z.Members.Notify)...)
		for _, more := range [][]netip.Prefix{z.AllowTransfer, z.TransferAlone, z.AllowNotify, z.Members.AllowTransfer} {
			list = append(list, more...)
		}
		for _, name := range slices.Concat(z.TransferRemotes, z.Members.TransferRemotes) {
			if r := c.Remote(name); r != nil {
				list = append(list, peersOf(r.Addresses)...)
			}
		}
	}
	for i := range c.Remotes {
		list = append(list, peersOf(c.Remotes[i].Addresses)...)
	}
	addrs := make([]netip.Addr, 0, len(list))
	for _, n := range list {
		if n.IsSingleIP() {
			addrs = append(addrs, n.Addr())
		}
	}
	return addrs
}

// A sourcer makes the sources of the zones of a configuration.
type sourcer struct {
	config *config.Config
	room   signingRoom
	ring   *tsig.Ring
	table  grant.Table
	sealed map[netip.AddrPort]*transfer.TLS
	views  [][]string // of each zone; nil: there are no views
}

func newSourcer(c *config.Config, room signingRoom) *sourcer {
	return &sourcer{c, room, keyRing(c), holders(c), sealedServers(c), c.ZoneViews()}
}

// source returns where the zone at index i comes from, but for what other zones say of it.
func (o *sourcer) source(i int) zones.Source {
	c, z := o.config, &o.config.Zones[i]
	s := zones.Source{
		Apex:          z.Name,
		File:          z.File,
		Generate:      c.ZoneLimits.Generate,
		MaxRecords:    c.ZoneLimits.Records,
		MaxSize:       int64(c.ZoneLimits.Size),
		Primaries:     z.Primaries,
		Secondaries:   z.Secondaries,
		Notify:        z.Notify,
		Transfer:      z.AllowTransfer,
		Query:         z.AllowQuery,
		TransferKeys:  z.TransferKeys,
		TransferAlone: z.TransferAlone,
		Insecure:      z.Insecure,
		Updates:       grants(z),
		Next:          serials(z.Serial),
		Order:         order(c, z.RRsetOrder),
		Place:         c.ZoneFile(i),
		Added:         c.Added(i),
		Keys:          serverKeys(o.ring, z.Keyed),
		TransferBy:    remoteRules(c, z.TSIG, z.Insecure, z.TransferRemotes),
		TLS:           o.sealed,
		AllowNotify:   z.AllowNotify,
		Forward:       z.Forward,
		Policy:        c.IsPolicy(z),
		Produces:      z.Catalog == "produce",
		Qualifier:     z.Qualifier(),
	}
	if o.views != nil {
		s.Views = o.views[i]
	}
	s.Stored = z.Stored
	addRights(&s, o.table)
	if signed(c, z) {
		s.Signer = newZoneSigner(c, z, o.room)
	}
	if len(z.TSIG) > 0 {
		s.Key, s.AlsoKeys = o.ring.Key(z.TSIG[0]), z.TSIG[1:]
	}
	if z.Catalog == "consume" {
		s.Consumes = members(c, o.ring, z)
	}
	return s
}

// sources returns where the zones of c come from.
func sources(c *config.Config, room signingRoom) []zones.Source {
	made := newSourcer(c, room)
	all := make([]zones.Source, len(c.Zones))
	listed := map[string][]zones.Listed{}
	for i := range c.Zones {
		all[i] = made.source(i)
		if z := &c.Zones[i]; z.InCatalog != nil {
			key := string(wire.Lower(nil, z.InCatalog))
			listed[key] = append(listed[key], zones.Listed{Apex: z.Name, Group: z.Group})
		}
	}
	for _, i := range provesIn(c) {
		all[i].Changes = true
	}
	for i := range all {
		if all[i].Produces {
			all[i].Listed = listed[string(wire.Lower(nil, all[i].Apex))]
		}
	}
	return all
}

// serverKeys returns the keys of servers that have one of their own.
func serverKeys(ring *tsig.Ring, keyed []config.KeyedServer) map[netip.AddrPort]*tsig.Key {
	if len(keyed) == 0 {
		return nil
	}
	all := make(map[netip.AddrPort]*tsig.Key, len(keyed))
	for _, s := range keyed {
		if key := ring.Key(s.Key); key != nil && all[s.Addr] == nil {
			all[s.Addr] = key
		}
	}
	return all
}

// remoteRules returns the rules by which remotes may transfer a zone: from their addresses, and
// signed with their key. One without a key and without TLS signs as the zone says: with one of its
// keys or, if it has none and is insecure, not at all.
func remoteRules(c *config.Config, keys [][]byte, insecure bool, names []string) []policy.Rule {
	var rules []policy.Rule
	for _, name := range names {
		r := c.Remote(name)
		if r == nil {
			continue
		}
		from := peersOf(r.Addresses)
		if len(r.TSIG) > 1 {
			rules = append(rules, policy.Rule{Networks: from, Key: wire.Lower(nil, r.TSIG)})
			continue
		}
		if r.TLS.Set() {
			for i, a := range r.Addresses {
				rules = append(rules, policy.Rule{Networks: from[i : i+1], Client: peerAt(r, a.Addr())})
			}
			continue
		}
		for _, key := range keys {
			rules = append(rules, policy.Rule{Networks: from, Key: key})
		}
		if len(keys) == 0 && insecure {
			rules = append(rules, policy.Rule{Networks: from, Unsigned: true})
		}
	}
	return rules
}

// members returns how the zones are served that the catalog z names.
func members(c *config.Config, ring *tsig.Ring, z *config.Zone) *zones.Template {
	m := &z.Members
	keysOf := func(own []byte, otherwise [][]byte) [][]byte {
		if own == nil {
			return otherwise
		}
		return [][]byte{own}
	}
	keys := keysOf(m.TSIG, z.TSIG)
	t := &zones.Template{
		Primaries: m.Primaries, Secondaries: m.Secondaries, Notify: m.Notify, Transfer: m.AllowTransfer,
		Keys: serverKeys(ring, m.Keyed), TransferBy: remoteRules(c, keys, z.Insecure, m.TransferRemotes),
		Key: ring.Key(m.TSIG), Insecure: m.TSIG == nil && z.Insecure, Groups: map[string]*zones.Template{},
	}
	for _, g := range m.Groups {
		group := &zones.Template{
			Primaries: g.Primaries, Secondaries: g.Secondaries, Notify: g.Notify, Transfer: g.AllowTransfer,
			Keys:       serverKeys(ring, g.Keyed),
			TransferBy: remoteRules(c, keysOf(g.TSIG, keys), z.Insecure, g.TransferRemotes),
			Key:        ring.Key(g.TSIG), Insecure: t.Insecure && g.TSIG == nil,
		}
		if g.TSIG == nil {
			group.Key = t.Key
		}
		if len(group.Primaries) == 0 {
			group.Primaries = t.Primaries
			group.Keys = serverKeys(ring, slices.Concat(g.Keyed, m.Keyed))
		}
		t.Groups[g.Name] = group
	}
	return t
}

// grants returns who may change a zone. What it reads was checked before.
func grants(z *config.Zone) []policy.Grant {
	var list []policy.Grant
	for _, u := range z.Updates {
		g := policy.Grant{Key: wire.Lower(nil, u.Key)}
		for _, text := range u.Names {
			if p, err := policy.ParsePattern(text, z.Name); err == nil {
				g.Names = append(g.Names, p...)
			}
		}
		for _, text := range u.Types {
			if t, ok := wire.ParseType(text); ok {
				g.Types = append(g.Types, t)
			}
		}
		list = append(list, g)
	}
	return list
}

// order returns the order of records that a zone has, which may be the server's.
func order(c *config.Config, text string) wire.Order {
	o, ok := wire.ParseOrder(text)
	if !ok {
		o, _ = wire.ParseOrder(c.RRsetOrder)
	}
	return o
}

// serials returns what gives the serial that follows one.
func serials(policy string) func(uint32) uint32 {
	switch policy {
	case "date":
		return zones.Date
	case "unixtime":
		return zones.UnixTime
	}
	return nil
}
