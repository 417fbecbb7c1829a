package app

import (
	"bytes"
	"maps"
	"slices"
	"sync"
	"time"

	"port53/internal/signer"
	"port53/internal/wire"
	"port53/internal/zone"
)

// signals are what zones that are signed here ask their parents for, by the names of their servers:
// where such a name is in another zone that is signed here, that has a copy of the zone's CDS and
// CDNSKEY records, which a parent can trust that has no DS records of the zone yet (RFC 9615).
type signals struct {
	mu      sync.Mutex
	since   time.Time
	zones   map[string]*signal // by the zones' keys; nil: the zone asks for nothing
	dirty   map[string]bool    // zones that have to be signed again, since what they copy has changed
	settled bool               // all zones have been signed that could be
	waiting map[string]bool    // zones with copies of others that nothing is known of yet

	// What copies the versions have that were served when zones were first signed, by the zones' keys:
	// until all is settled. A zone is searched for them once: it can be large.
	served map[string][]zone.Record
}

// A signal is what one zone asks for.
type signal struct {
	apex    []byte
	of      string   // the view that tells it from others of its name
	servers [][]byte // in lower case
	sets    []zone.Record
}

// settleTime is how long after a start copies stay of zones that nothing is known of yet: they were
// not signed again so far.
const settleTime = 5 * time.Minute

func newSignals() *signals {
	return &signals{
		since: time.Now(), zones: map[string]*signal{}, dirty: map[string]bool{}, waiting: map[string]bool{},
		served: map[string][]zone.Record{},
	}
}

// signalOf returns what a version asks for, or nil. To have DS records removed is not asked for this
// way.
func signalOf(apex []byte, of string, z *zone.Zone) *signal {
	var u zone.Unpacked
	s := &signal{apex: apex, of: of}
	for i, t := range [...]wire.Type{wire.TypeCDS, wire.TypeCDNSKEY} {
		if !z.UnpackType(&u, z.Root(), t) {
			continue
		}
		for _, d := range u.Data {
			if algorithm := 2 + i; d[algorithm] == 0 { // in both types
				return nil
			}
			s.sets = append(s.sets, zone.Record{Type: t, TTL: u.TTL, Data: bytes.Clone(d)})
		}
	}
	if s.sets == nil || !z.UnpackType(&u, z.Root(), wire.TypeNS) {
		return nil
	}
	for _, d := range u.Data {
		if name := wire.Lower(nil, d); !wire.Subdomain(name, apex) { // its own zone could not vouch for it
			s.servers = append(s.servers, name)
		}
	}
	if s.servers == nil {
		return nil
	}
	return s
}

func (s *signal) same(o *signal) bool {
	if s == nil || o == nil {
		return s == o
	}
	return slices.EqualFunc(s.servers, o.servers, bytes.Equal) && slices.EqualFunc(s.sets, o.sets, func(a, b zone.Record) bool {
		return a.Type == b.Type && a.TTL == b.TTL && bytes.Equal(a.Data, b.Data)
	})
}

// take takes in what a version of a zone asks for.
func (l *signals) take(key []byte, s *signal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old, known := l.zones[string(key)]
	l.zones[string(key)] = s
	if known && old.same(s) {
		return
	}
	for _, one := range []*signal{old, s} {
		if one == nil {
			continue
		}
		for _, name := range one.servers {
			l.dirty[one.of+"\x00"+string(name)] = true
		}
	}
}

// due returns the keys of those zones, of some that are signed here, that have to be signed again.
func (l *signals) due(signers map[string]*zoneSigner) (keys []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.settled && time.Since(l.since) > settleTime {
		l.settled, l.served = true, nil
		for _, s := range signers {
			if l.waiting[string(s.key)] {
				keys = append(keys, string(s.key))
			}
		}
	}
	if len(l.dirty) == 0 {
		return keys
	}
	for _, s := range signers {
		for name := range l.dirty {
			if of, server, _ := bytes.Cut([]byte(name), []byte{0}); s.home == string(of) && wire.Subdomain(server, s.stage.Zone) {
				keys = append(keys, string(s.key))
				break
			}
		}
	}
	clear(l.dirty)
	slices.Sort(keys)
	return slices.Compact(keys)
}

// signalName returns the name below which a zone's server has the records of another zone, or nil if
// there can be none (RFC 9615, section 4.1).
func signalName(apex, server []byte) []byte {
	name := slices.Concat([]byte("\x07_dsboot"), apex[:len(apex)-1], []byte("\x07_signal"), server)
	if len(name) > wire.MaxName || len(apex) == 1 {
		return nil
	}
	return name
}

// with returns a zone with the copies that belong to it. have is what it is served as; nil: nothing.
func (l *signals) with(s *zoneSigner, seed wire.Seed, have, plain *zone.Zone) *zone.Zone {
	extra := l.records(s, plain)
	l.mu.Lock()
	settled := l.settled
	l.mu.Unlock()
	if !settled {
		extra = append(extra, l.kept(s, have, plain, extra)...)
	}
	if len(extra) == 0 {
		return plain
	}
	b := zone.NewBuilder(plain.Name(), seed)
	b.Expect(plain.Names() + len(extra))
	var r zone.Record
	plain.Each(func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		r.Owner, r.Type, r.TTL, r.Data = owner, t, ttl, data
		b.Add(&r)
		return true
	})
	for i := range extra {
		b.Add(&extra[i])
	}
	if z, _ := b.Build(); z != nil {
		return z
	}
	return plain // it is not worth the zone
}

// records returns the copies that are for a zone.
func (l *signals) records(s *zoneSigner, plain *zone.Zone) (list []zone.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(l.zones)) {
		one := l.zones[key]
		if one == nil || one.of != s.home {
			continue
		}
		for _, server := range one.servers {
			name := signalName(one.apex, server)
			if name == nil || !wire.Subdomain(server, plain.Apex()) || elsewhere(plain, name) {
				continue
			}
			for _, r := range one.sets {
				r.Owner = name
				list = append(list, r)
			}
		}
	}
	return list
}

// elsewhere reports whether a name is not the zone's: there is a delegation or a DNAME above it, or it
// has records already, which somebody wrote by hand.
func elsewhere(z *zone.Zone, name []byte) bool {
	var split wire.SplitName
	split.Set(name)
	p := z.Search(&split)
	return p.Cut || p.DNAME || p.Exact && !z.Empty(p.Node)
}

// kept returns the copies of zones that nothing is known of since the start, which a zone has for what it
// was served as when it was first signed. have is what it is served as; nil: nothing.
func (l *signals) kept(s *zoneSigner, have, plain *zone.Zone, extra []zone.Record) (list []zone.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.settled {
		return nil
	}
	served, searched := l.served[string(s.key)]
	if !searched {
		served = copiesOf(have, plain)
		l.served[string(s.key)] = served
	}
	for _, r := range served {
		apex := append(bytes.Clone(r.Owner[8:bytes.Index(r.Owner, []byte("\x07_signal"))]), 0)
		known := slices.ContainsFunc(slices.Collect(maps.Keys(l.zones)), func(key string) bool {
			return bytes.HasPrefix([]byte(key), apex)
		})
		made := slices.ContainsFunc(extra, func(o zone.Record) bool { return bytes.Equal(o.Owner, r.Owner) })
		if !known && !made && !elsewhere(plain, r.Owner) {
			list = append(list, r)
		}
	}
	if list != nil {
		l.waiting[string(s.key)] = true
	}
	return list
}

// copiesOf returns the copies of other zones' records that a version has; nil: none. What plain, which was
// not signed here, has by itself is somebody's own.
func copiesOf(have, plain *zone.Zone) (list []zone.Record) {
	if have == nil {
		return nil
	}
	have.Each(func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		if (t == wire.TypeCDS || t == wire.TypeCDNSKEY) && bytes.HasPrefix(owner, []byte("\x07_dsboot")) &&
			bytes.Contains(owner, []byte("\x07_signal")) && !elsewhere(plain, owner) {
			list = append(list, zone.Record{Owner: bytes.Clone(owner), Type: t, TTL: ttl, Data: bytes.Clone(data)})
		}
		return true
	})
	return list
}

// refreshSignals signs those zones again whose copies have changed.
func (a *App) refreshSignals(signers map[string]*zoneSigner) {
	for _, key := range a.signing.signals.due(signers) {
		if err := a.manager.Resign([]byte(key)); err != nil {
			apex := wire.NameText(signers[key].stage.Zone)
			a.log.Error("a zone cannot be signed again for the CDS records of others", "zone", apex, "error", err.Error())
		}
	}
}

// signaled returns a zone with its copies of what others ask for.
func (s *zoneSigner) signaled(seed wire.Seed, have, plain *zone.Zone) *zone.Zone {
	if s.signals == nil || plain.Signed() {
		return plain
	}
	return s.signals.with(s, seed, have, plain)
}

// tell has others copy what a version asks for.
func (s *zoneSigner) tell(v *signer.Version) {
	if s.signals == nil {
		return
	}
	var one *signal
	if s.signal {
		one = signalOf(s.stage.Zone, s.home, v.Zone)
	}
	s.signals.take(s.key, one)
}
