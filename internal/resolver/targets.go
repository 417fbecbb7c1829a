package resolver

import (
	"bytes"
	"net/netip"
	"slices"
	"time"

	"port53/internal/wire"
)

// A target is one name server of a zone.
type target struct {
	name   []byte // in lower case
	addrs  []netip.Addr
	spare  []netip.Addr // that its parent gave although the name is not the parent's to answer for
	looked bool         // its name was looked up
	again  bool         // its name was looked up for what else it has
}

// moreAddresses finds more addresses of the name servers of c, one server at a time, and
// reports whether there are any. What costs least comes first:
//
//   - where a server's name lies in the zone itself, its address is glue (RFC 1034, section
//     4.2.1), and the parent is asked for it if it left it out of the referral;
//   - any other server without an address that can be used is looked up;
//   - a server whose addresses are of no use is looked up for others than those of the
//     referral, and of the other family;
//   - what the referral says of names in other zones is tried last, to reach this
//     delegation and for nothing else.
//
// DNS64 name servers of one delegation and five failures are the most (NXNSAttack), and ten
// failures of all delegations of one question (CAMP).
func (t *task) moreAddresses(c *cut) bool {
	if c.route != nil {
		return false
	}
	if brief := t.brief; brief == 0 && slices.ContainsFunc(c.targets, func(g target) bool { return len(g.spare) > 0 }) {
		t.brief = spareTime
		defer func() { t.brief = brief }()
	}
	for _, find := range [...]func(*cut, *target) (found, tried bool){t.askParent, t.lookTarget, t.lookAgain} {
		for i := range c.targets {
			if c.glueless >= t.s.Limits.Glueless || c.dead >= maxDeadTargets || t.b.vain >= maxVain {
				return t.spares(c)
			}
			before := t.b.packets
			found, tried := find(c, &c.targets[i])
			if found {
				c.glueless++
				return true
			}
			if tried && t.b.packets < before { // a circle costs nothing, nor what is known to be dead
				c.glueless++
				c.dead++
				t.b.vain++
			}
		}
	}
	return t.spares(c)
}

// spareTime is how long servers are waited for that may have an address of a name server, where
// the referral has one.
const spareTime = time.Second

// reachable reports whether a server has an address that can be used.
func (t *task) reachable(g *target) bool {
	for _, a := range g.addrs {
		if t.usable(a.Unmap(), false) {
			return true
		}
	}
	return false
}

// holds reports whether the address of a server is glue: its name lies in the zone, which nobody
// can ask without it.
func (c *cut) holds(g *target) bool { return len(c.zone) > 1 && wire.Subdomain(g.name, c.zone) }

// lookTarget looks up a server that has no address.
func (t *task) lookTarget(c *cut, g *target) (found, tried bool) {
	if g.looked || t.reachable(g) || c.holds(g) {
		return false, false
	}
	g.looked = true
	return t.target(c, g, false), true
}

// lookAgain looks up what other addresses a server has.
func (t *task) lookAgain(c *cut, g *target) (found, tried bool) {
	if g.again || len(g.addrs) == 0 || len(c.zone) == 1 || c.holds(g) {
		return false, false
	}
	g.again = true
	return t.target(c, g, true), true
}

// spares takes the addresses that are tried last.
func (t *task) spares(c *cut) (found bool) {
	for i := range c.targets {
		g := &c.targets[i]
		found = found || len(g.spare) > 0
		g.addrs, g.spare = append(g.addrs, g.spare...), nil
	}
	return found
}

// target looks up the addresses of a name server, of one family or of all, and tells
// whether any are new.
func (t *task) target(c *cut, g *target, all bool) bool {
	key := targetKey{t.hash(g.name)}
	if t.r.dead.has(key) {
		if t.noting {
			t.noteNoAddress(c, g, false)
		}
		return false
	}
	before := len(g.addrs)
	spent, circle := false, false
	defer t.unvalidated()()
	for _, typ := range [...]wire.Type{wire.TypeA, wire.TypeAAAA} {
		if typ == wire.TypeA && !t.s.IPv4 || typ == wire.TypeAAAA && (!t.s.IPv6 || len(g.addrs) > before && !all) {
			continue
		}
		if t.busy(g.name, typ) {
			spent, circle = true, true // whoever asked first may still succeed
			continue
		}
		l := t.below(g.name, typ) // not validated: a wrong address leads to answers that do not validate
		for n := 0; l.kind == foundAlias && n < maxTargetHops && !t.busy(l.target, typ); n++ {
			l = t.below(l.target, typ)
		}
		if l.kind == foundNXDomain {
			break
		}
		if l.fail != nil && l.fail.now {
			spent = true
		}
		if l.kind == foundAnswer {
			g.add(l.set)
		}
	}
	t.fromDelegation(g)
	if len(g.addrs) == 0 && t.noting {
		t.noteNoAddress(c, g, circle)
	}
	if len(g.addrs) == 0 && !spent {
		t.r.dead.put(key, time.Now().Add(targetFailTime), maxLame)
	}
	return len(g.addrs) > before
}

// fromDelegation takes the addresses that the delegation of a name server's own zone has for
// it. Its zone is reached by them, whatever the zone says itself.
func (t *task) fromDelegation(g *target) {
	_, partition := t.place(g.name, wire.TypeA)
	for zone := g.name; len(zone) > 1; zone = wire.Parent(zone) {
		up := t.cachedCut(partition, zone)
		for i := 0; up != nil && i < len(up.targets); i++ {
			if own := &up.targets[i]; bytes.Equal(own.name, g.name) {
				g.addAll(own.addrs)
			}
		}
	}
}

// add takes the addresses of a set that are not there yet.
func (g *target) add(set *wire.RRset) {
	for _, d := range set.Data[:min(len(set.Data), maxPerName)] {
		if a, ok := netip.AddrFromSlice(d); ok {
			g.addAll([]netip.Addr{a})
		}
	}
}

func (g *target) addAll(addrs []netip.Addr) {
	for _, a := range addrs {
		if !slices.Contains(g.addrs, a) {
			g.addrs = append(g.addrs, a)
		}
	}
}

// askParent asks the servers of the zone above for the addresses of a server of c whose
// name lies in c. Their answer reaches c's servers, for as long as the delegation lives, and is
// used for nothing else.
func (t *task) askParent(c *cut, g *target) (found, tried bool) {
	if t.reachable(g) || c.local || !c.holds(g) || slices.Contains(t.above, string(g.name)) {
		return false, false
	}
	t.above = append(t.above, string(g.name)) // once for a client's question: looking up may lead back here
	t.depth++
	defer func() { t.depth-- }()
	if t.depth > t.s.Limits.Depth {
		return false, false
	}
	before, referred := len(g.addrs), false
	for _, typ := range [...]wire.Type{wire.TypeA, wire.TypeAAAA} {
		if typ == wire.TypeA && !t.s.IPv4 || typ == wire.TypeAAAA && (!t.s.IPv6 || len(g.addrs) > before || referred) {
			continue
		}
		up := t.cutAbove(wire.Parent(c.zone), 0)
		f, fail := t.ask(up, g.name, typ, true)
		for n := 0; fail == nil && f.kind == foundAlias && n < maxTargetHops && wire.Subdomain(f.target, c.zone); n++ {
			f, fail = t.ask(up, f.target, typ, true)
		}
		switch {
		case fail != nil:
		case f.kind == foundAnswer && f.set.Type == typ:
			g.add(f.set)
		case f.kind == foundReferral: // which has those of both families
			g.addrs, referred = append(g.addrs, f.addresses(g.name)...), true
		}
	}
	if found = t.reachable(g); found && c.expires > t.unix() {
		t.keepCut(c, uint32(c.expires-t.unix()))
	}
	return found, true
}
