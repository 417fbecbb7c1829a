package keeper

import (
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"port53/internal/authority"
	"port53/internal/wire"
	"port53/internal/zone"
)

// A Grant lets the owner of a key change some of a zone.
type Grant struct {
	Key   []byte      // its name in lower case
	Names []Pattern   // of these names
	Types []wire.Type // records of these types; none: of all
}

// A Pattern is a name, or all names below one.
type Pattern struct {
	Name  []byte // in lower case
	Below bool
}

// ParsePattern reads a name, *.name for all below it, or * for all of the zone.
func ParsePattern(text string, apex []byte) ([]Pattern, error) {
	lower := wire.Lower(nil, apex)
	if text == "*" {
		return []Pattern{{lower, false}, {lower, true}}, nil
	}
	name, err := wire.ParseName(text)
	if err != nil {
		return nil, err
	}
	name = wire.Lower(nil, name)
	if name[0] == 1 && name[1] == '*' {
		return []Pattern{{name[2:], true}}, nil
	}
	return []Pattern{{name, false}}, nil
}

func (p *Pattern) has(name []byte) bool {
	if p.Below {
		return len(name) > len(p.Name) && wire.Subdomain(name, p.Name)
	}
	return string(name) == string(p.Name)
}

// may tells whether the owner of a key may change the records of a type at a name in
// lower case. Type ANY is all of them.
func (s *Source) may(key, name []byte, t wire.Type) bool {
	return slices.ContainsFunc(s.Updates, func(g Grant) bool {
		return key != nil && string(g.Key) == string(key) && (len(g.Types) == 0 || slices.Contains(g.Types, t)) &&
			slices.ContainsFunc(g.Names, func(p Pattern) bool { return p.has(name) })
	})
}

// MayUpdate tells whether the peer may change anything of the zone.
func (k *Keeper) MayUpdate(apex []byte, p Peer) bool {
	s := k.source(apex)
	return s != nil && p.Key != nil && slices.ContainsFunc(s.Updates, func(g Grant) bool { return string(g.Key) == string(p.Key) })
}

// An update is a message that waits to be carried out.
type update struct {
	message *wire.Message
	key     []byte
	rcode   wire.Rcode
	why     string
	done    chan struct{}
}

// Update carries out an update message (RFC 2136) by a peer who may change some of the
// zone. When it returns NoError, what changed is durable and served.
func (k *Keeper) Update(apex, msg []byte, p Peer) wire.Rcode {
	u := &update{message: &wire.Message{}, key: p.Key, done: make(chan struct{})}
	if u.message.Parse(msg) != 0 {
		return wire.FormErr
	}
	k.state.Lock()
	z := k.find(apex)
	if z == nil || z.zone == nil || len(z.source.Primaries) > 0 {
		k.state.Unlock()
		return wire.NotAuth
	}
	if z.frozen {
		k.state.Unlock()
		return wire.Refused
	}
	z.updates = append(z.updates, u)
	lead := !z.updating
	z.updating = true
	k.state.Unlock()
	if lead {
		k.carryOut(z)
	}
	<-u.done
	if u.rcode != wire.NoError {
		k.log.Info("update refused", "zone", z.name(), "peer", p.Addr.String(), "rcode", u.rcode.String(), "problem", u.why)
	}
	return u.rcode
}

// carryOut works on what waits until nothing does. All that waits at one time is one
// version, and one write to disk.
func (k *Keeper) carryOut(z *kept) {
	for {
		z.mu.Lock() // no reload may replace the zone meanwhile
		k.state.Lock()
		batch := z.updates
		z.updates = nil
		refuse, why := wire.NoError, ""
		switch {
		case len(batch) == 0:
			z.updating = false
			k.state.Unlock()
			z.mu.Unlock()
			return
		case z.gone:
			refuse, why = wire.NotAuth, "the zone is no longer served"
		case z.frozen:
			refuse, why = wire.Refused, "the zone is frozen"
		}
		k.state.Unlock()
		if refuse == wire.NoError {
			k.contained(z, func() { k.apply(z, z.source, z.zone, batch) }, func() { refuse, why = wire.ServFail, "an error in port53" })
		}
		z.mu.Unlock()
		for _, u := range batch {
			if refuse != wire.NoError {
				u.rcode, u.why = refuse, why
			}
			close(u.done)
		}
	}
}

// contained runs f. A fault in it is one zone's, and not the end of the server: it is
// logged, and otherwise runs.
func (k *Keeper) contained(z *kept, f, otherwise func()) {
	defer func() {
		if fault := recover(); fault != nil {
			k.log.Error("an error in port53: please report it", "zone", z.name(), "fault", fmt.Sprint(fault), "stack", string(debug.Stack()))
			otherwise()
		}
	}()
	f()
}

// apply carries out a batch on a version, all that can be. The zone is locked.
func (k *Keeper) apply(z *kept, source *Source, version *zone.Zone, batch []*update) {
	next := source.Next
	if next == nil {
		next = func(serial uint32) uint32 { return serial + 1 }
	}
	if version.Signed() {
		for _, u := range batch {
			u.rcode, u.why = wire.Refused, "the zone was signed elsewhere: what is changed would have no signature"
		}
		return
	}
	updater := authority.NewUpdater(version)
	var deltas []*zone.Delta
	for _, u := range batch {
		var d *zone.Delta
		d, u.rcode, u.why = updater.Update(u.message, func(owner []byte, t wire.Type) bool { return source.may(u.key, owner, t) }, next)
		if d != nil {
			deltas = append(deltas, d)
		}
	}
	if len(deltas) == 0 {
		return
	}
	now, problems := version.Apply(deltas...)
	if now == nil && len(batch) > 1 {
		// One of them makes a zone that cannot be served: each by itself, then.
		for _, u := range batch {
			k.apply(z, source, z.zone, []*update{u})
		}
		return
	}
	var err error
	switch {
	case now == nil:
		err = fmt.Errorf("the zone could not be served then: %v", problems)
	default:
		err = k.write(z, version, now, deltas)
	}
	if err != nil {
		for _, u := range batch {
			if u.rcode == wire.NoError {
				u.rcode, u.why = wire.ServFail, err.Error()
				if now == nil {
					u.rcode = wire.Refused
				}
			}
		}
		return
	}
	k.state.Lock()
	defer k.state.Unlock()
	z.zone, z.loaded = now, time.Now()
	z.history.add(now, deltas...)
	k.set.Publish(zone.Change{Apex: source.Apex, Zone: now})
	k.tellOthers(z)
}

// write makes differences durable. The first time, the version that they change is
// written as well.
func (k *Keeper) write(z *kept, version, now *zone.Zone, deltas []*zone.Delta) error {
	if z.disk == nil {
		if k.disk == nil {
			return nil
		}
		z.disk = k.disk.Zone([]byte(z.key))
		if err := z.disk.Save(version, false); err != nil {
			z.disk = nil
			return err
		}
	}
	if err := z.disk.Append(deltas...); err != nil {
		return err
	}
	if z.disk.Full() {
		if err := z.disk.Save(now, true); err != nil {
			k.log.Warn("the journal of a zone could not be shortened", "zone", z.name(), "problem", err.Error())
		}
	}
	return nil
}

// Date returns the serial that follows one by date: as 2026112300, or one more.
func Date(serial uint32) uint32 {
	y, m, d := time.Now().UTC().Date()
	if today := uint32(y*1000000 + int(m)*10000 + d*100); zone.Newer(today, serial) {
		return today
	}
	return serial + 1
}

// UnixTime returns the serial that follows one by the clock: the seconds since 1970, or
// one more.
func UnixTime(serial uint32) uint32 {
	if now := uint32(time.Now().Unix()); zone.Newer(now, serial) {
		return now
	}
	return serial + 1
}
