package zones

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"port53/internal/policy"
	"port53/internal/store"
	"port53/internal/tsig"
	"port53/internal/wire"
	"port53/internal/zone"
)

// A Template says how the members of a catalog are served: as secondary zones.
type Template struct {
	Primaries   []netip.AddrPort
	Secondaries []netip.AddrPort
	Notify      []netip.AddrPort
	Transfer    []netip.Prefix
	Keys        map[netip.AddrPort]*tsig.Key // as in Source
	TransferBy  []policy.Rule                // likewise
	Key         *tsig.Key
	Insecure    bool
	Groups      map[string]*Template // of members with such a group; the rest is served as the template itself
}

// maxMembers bounds the members of one catalog.
const maxMembers = 1_000_000

// A member is one zone that a catalog names.
type member struct {
	label string // unique, in the catalog
	apex  []byte // in lower case
	group string
	owner []byte // the catalog that it may change to (RFC 9432, section 4.4.1), in lower case; nil: none
}

// readCatalog returns the members of a catalog, at most so many, in the order of its records. A catalog
// that is broken is not to be acted on at all (RFC 9432, section 5.1).
func readCatalog(z *zone.Zone, most int) ([]member, error) {
	var list []member
	index := map[string]int{}
	at := func(label string) *member {
		i, ok := index[label]
		if !ok {
			i = len(list)
			index[label] = i
			list = append(list, member{label: label})
		}
		return &list[i]
	}
	names := map[string]bool{}
	versions := 0
	var bad error
	broken := func(format string, args ...any) bool {
		bad = fmt.Errorf("the catalog zone is broken and ignored: "+format, args...)
		return false
	}
	z.Each(func(owner []byte, t wire.Type, _ uint32, data []byte) bool {
		labels := relativeLabels(owner, z.ApexLabels())
		switch {
		case len(labels) == 1 && labels[0] == "version" && t == wire.TypeTXT:
			if versions++; versions > 1 || firstText(data) != "2" || len(data) != 2 {
				return broken("it has not the version 2, and only that")
			}
		case len(labels) == 2 && labels[1] == "zones" && t == wire.TypePTR:
			m := at(labels[0])
			name := wire.Lower(nil, data)
			if m.apex != nil || names[string(name)] {
				return broken("%s stands there twice", wire.AppendName(nil, name))
			}
			if len(list) > most {
				return broken("it has more than %d members", most)
			}
			m.apex, names[string(name)] = name, true
		case len(labels) == 3 && labels[2] == "zones" && labels[0] == "group" && t == wire.TypeTXT:
			if m := at(labels[1]); m.group == "" {
				m.group = firstText(data) // of several, the first that is known to us would do as well
			}
		case len(labels) == 3 && labels[2] == "zones" && labels[0] == "coo" && t == wire.TypePTR:
			at(labels[1]).owner = wire.Lower(nil, data)
		}
		return true
	})
	if bad == nil && versions == 0 {
		broken("it says no version")
	}
	if bad != nil {
		return nil, bad
	}
	return slices.DeleteFunc(list, func(m member) bool { return m.apex == nil }), nil
}

// relativeLabels returns the labels of a name, in lower case, without the last ones.
func relativeLabels(name []byte, last int) []string {
	var labels []string
	for at := 0; name[at] != 0; at += int(name[at]) + 1 {
		labels = append(labels, strings.ToLower(string(name[at+1:at+1+int(name[at])])))
	}
	return labels[:max(0, len(labels)-last)]
}

// firstText returns the first string of a TXT record.
func firstText(data []byte) string { return string(data[1 : 1+int(data[0])]) }

// members returns the sources of all zones that the catalogs among sources name, as they
// are served now. m.loading is held.
func (m *Manager) members(sources []Source) []Source {
	var catalogs []*Source
	for i := range sources {
		if sources[i].Consumes != nil {
			catalogs = append(catalogs, &sources[i])
		}
	}
	if catalogs == nil {
		return nil
	}
	taken := make(map[string]bool, len(sources))
	for i := range sources {
		taken[sources[i].key()] = true
	}
	var order []string
	claims := map[string][]claim{}
	for _, s := range catalogs {
		key := s.key()
		z := m.find([]byte(key))
		if z == nil || z.past.Load() == nil {
			continue
		}
		list, err := readCatalog(z.past.Load().zone, maxMembers)
		if err != nil {
			m.log.Error("catalog not used", "zone", z.name(), "error", err.Error())
			list = m.former(key)
		}
		for _, member := range list {
			name := string(store.Key(member.apex, s.Qualifier))
			if taken[name] {
				m.log.Warn(
					"a member of a catalog zone is also in the configuration, which takes precedence",
					"catalog",
					z.name(),
					"zone",
					string(wire.AppendName(nil, member.apex)),
				)
				continue
			}
			if claims[name] == nil {
				order = append(order, name)
			}
			claims[name] = append(claims[name], claim{s, member})
		}
	}
	all := make([]Source, 0, len(order))
	for _, name := range order {
		c := m.owner(name, claims[name])
		all = append(all, c.catalog.memberSource(c.member))
	}
	return all
}

// A claim is a catalog's word that a zone is its member.
type claim struct {
	catalog *Source
	member  member
}

// owner returns whose member a zone is that several catalogs name: that of the first, but
// one that is served stays its catalog's until that gives it to another by name (RFC 9432,
// section 4.4.1). m.loading is held.
func (m *Manager) owner(name string, claims []claim) claim {
	z := m.find([]byte(name))
	if z == nil || z.source.Member == "" {
		return claims[0]
	}
	owner := claims[0]
	for _, c := range claims {
		if !bytes.Equal(c.catalog.Apex, z.source.Catalog) {
			continue
		}
		owner = c
		for _, heir := range claims {
			if c.member.owner != nil && bytes.Equal(wire.Lower(nil, heir.catalog.Apex), c.member.owner) {
				owner = heir
			}
		}
	}
	return owner
}

// former returns what a catalog named before, as it is served. m.loading is held.
func (m *Manager) former(key string) []member {
	var list []member
	for _, z := range m.all() {
		if s := z.source; s.Member != "" && string(store.Key(s.Catalog, s.Qualifier)) == key {
			list = append(list, member{label: s.Member, apex: z.apex(), group: s.Group})
		}
	}
	return list
}

// memberSource returns where a member of the catalog comes from: from the catalog's own
// primaries, unless its template has others.
func (s *Source) memberSource(m member) Source {
	t := s.Consumes
	if group := t.Groups[m.group]; group != nil {
		t = group
	}
	member := Source{
		TLS: s.TLS, Apex: m.apex, Views: s.Views, Qualifier: s.Qualifier, Order: s.Order, MaxRecords: s.MaxRecords, MaxSize: s.MaxSize,
		Primaries: t.Primaries, Secondaries: t.Secondaries, Notify: t.Notify, Transfer: t.Transfer,
		Keys: t.Keys, TransferBy: t.TransferBy, Key: t.Key, Insecure: t.Insecure, Catalog: s.Apex, Member: m.label, Group: m.group,
	}
	if len(member.Primaries) == 0 {
		member.Primaries, member.Keys = s.Primaries, maps.Clone(t.Keys)
		for _, a := range s.Primaries {
			if key := s.Keys[a]; key != nil && member.Keys[a] == nil {
				if member.Keys == nil {
					member.Keys = map[netip.AddrPort]*tsig.Key{}
				}
				member.Keys[a] = key
			}
		}
	}
	if member.Key == nil && !member.Insecure {
		member.Key, member.AlsoKeys, member.Insecure = s.Key, s.AlsoKeys, s.Insecure
	}
	return member
}

// unknown reports whether sources are not what is served of members. m.loading is held.
func (m *Manager) unknown(sources []Source) bool {
	served := 0
	for _, z := range m.all() {
		if z.source.Member != "" {
			served++
		}
	}
	return served != len(sources) || slices.ContainsFunc(sources, func(s Source) bool {
		z := m.find([]byte(s.key()))
		return z == nil || z.source.Member != s.Member
	})
}

// catalogChanged makes the members of catalogs what is served. A member that comes begins again (RFC 9432, section
// 5.1): what is kept under its name was left by one that went while the server was killed.
func (m *Manager) catalogChanged() {
	m.loading.Lock()
	defer m.loading.Unlock()
	sources := m.set.configured
	if _, err := m.load(m.ctx, slices.Concat(sources, m.members(sources)), true, m.set.publish); err != nil {
		m.log.Warn("a catalog zone was not applied", "error", err.Error())
	}
}

// What a catalog made here has beside its members: nobody resolves names in it
// (RFC 9432, section 4.1).
const (
	catalogTTL     = 0
	catalogRefresh = 3600
	catalogRetry   = 600
	catalogExpire  = 2147483646 // that of secondaries that were cut off is better than none
	labelLen       = 8          // octets of a unique label, random
)

// A catalogOrigin is the [Origin] of a catalog that is made here, of the zones that name it.
type catalogOrigin struct {
	apex   []byte
	listed []Listed
}

// Candidate implements [Origin]: a member keeps its label from version to version.
func (o *catalogOrigin) Candidate(_ context.Context, known Known) (*Candidate, error) {
	labels := map[string]string{} // of those it has already
	serial := uint32(time.Now().Unix())
	if known.Zone != nil {
		list, err := readCatalog(known.Zone, maxMembers)
		if err != nil {
			return nil, fmt.Errorf("the catalog cannot be made: %w", err)
		}
		for _, m := range list {
			labels[string(m.apex)] = m.label
		}
		serial = known.Zone.Serial()
	}
	version, err := o.make(labels, serial, known.Seed)
	if err == nil && known.Zone != nil {
		if zone.Diff(known.Zone, version) == nil {
			return &Candidate{Zone: known.Zone}, nil
		}
		version, err = o.make(labels, UnixTime(serial), known.Seed)
	}
	if err != nil {
		return nil, fmt.Errorf("the catalog cannot be made: %w", err)
	}
	return &Candidate{Zone: version, Deltas: deltasOf(known.Zone, version)}, nil
}

// Continues implements [Origin].
func (o *catalogOrigin) Continues(prior Origin) bool {
	_, ok := prior.(*catalogOrigin)
	return ok
}

// Traits implements [Origin]: the labels are the members' identities, and have to last.
func (o *catalogOrigin) Traits() Traits { return Traits{Kept: true} }

// make compiles the catalog with the labels that are known, and new ones entered.
func (o *catalogOrigin) make(labels map[string]string, serial uint32, seed wire.Seed) (*zone.Zone, error) {
	invalid := []byte("\x07invalid\x00") // RFC 9432, section 4.1
	soa := slices.Concat(invalid, invalid)
	for _, n := range []uint32{serial, catalogRefresh, catalogRetry, catalogExpire, 0} {
		soa = binary.BigEndian.AppendUint32(soa, n)
	}
	b := zone.NewBuilder(o.apex, seed)
	long := false
	add := func(t wire.Type, data []byte, above ...string) {
		var owner []byte
		for _, label := range above {
			owner = append(append(owner, byte(len(label))), label...)
		}
		if owner = append(owner, o.apex...); len(owner) > wire.MaxName {
			long = true // nobody could read the catalog
			return
		}
		b.Add(&zone.Record{Owner: owner, Type: t, TTL: catalogTTL, Data: data})
	}
	add(wire.TypeSOA, soa)
	add(wire.TypeNS, invalid)
	add(wire.TypeTXT, []byte("\x012"), "version")
	for _, m := range o.listed {
		key := string(wire.Lower(nil, m.Apex))
		if labels[key] == "" {
			var random [labelLen]byte
			_, _ = rand.Read(random[:]) // it never fails
			labels[key] = hex.EncodeToString(random[:])
		}
		add(wire.TypePTR, wire.Lower(nil, m.Apex), labels[key], "zones")
		if m.Group != "" {
			add(wire.TypeTXT, append([]byte{byte(len(m.Group))}, m.Group...), "group", labels[key], "zones")
		}
	}
	if long {
		return nil, errors.New("its name is so long that those of its members would have more than 255 octets")
	}
	z, problems := b.Build()
	if z == nil {
		return nil, fmt.Errorf("%v", problems)
	}
	return z, nil
}
