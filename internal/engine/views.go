package engine

import (
	"errors"
	"math/bits"
	"net/netip"

	"port53/internal/filter"
	"port53/internal/policy"
	"port53/internal/rpz"
	"port53/internal/server"
	"port53/internal/wire"
	"port53/internal/zone"
)

// A View is the names as some clients see them: which zones there are, what answers for names
// outside of them, and who may ask. A [Generation] is the view of all whom no other matches. It is
// immutable but for the versions of zones. Views that do not differ in a part share it: a zone of
// several views is one, and so is the cache of those whose recursion is the same.
type View struct {
	Name      string         // as configured; empty: there are no views
	Slot      uint8          // of its counters
	Zones     *zone.View     // nil: none
	Access    *policy.Access // who may ask, and have names resolved; nil: everyone
	Recursion *Recursion     // what answers for names outside of the zones; nil: nobody
	Policy    *filter.Policy // which of the generation's rules count for its clients; nil: none
	RPZ       *rpz.Policy    // response policy zones that count for them; nil: none
}

// filled returns the view with defaults for what is not said.
func (v View) filled() View {
	if v.Zones == nil {
		v.Zones = &zone.View{}
	}
	if v.Access == nil {
		v.Access = everyone
	}
	return v
}

// MaxViews is how many views there may be beside that of all others: a bit each, and one for it.
const MaxViews = policy.MaxSets - 1

// A Match is whose view a view is: of clients that fit Clients, or sign with one of ClientKeys; that
// do not sign with one of ExceptKeys; that ask at one of Listen; and that sign with one of Keys. What
// is empty fits everybody.
type Match struct {
	Clients    policy.ACLOptions
	ClientKeys [][]byte // names of keys, in lower case
	ExceptKeys [][]byte
	Listen     []netip.AddrPort // port 0: any
	Keys       [][]byte
}

// Views choose the view of a client: the first that matches it. They are immutable, and look a client
// up once, however many they are.
type Views struct {
	list    []View
	sets    *policy.Sets
	anybody uint64 // views that fit clients of all addresses
	keyed   uint64 // views for clients that sign with some key
	keys    []viewKey
	places  []viewPlace
	everyAt uint64 // views that fit whatever address was asked
}

// A viewKey is what signing with one key does.
type viewKey struct {
	name   []byte // in lower case
	clears uint64 // views that it keeps its holder out of
	lets   uint64 // views that its holder is in from wherever
	needed uint64 // views that it is a key of
}

// A viewPlace is an address that views are of.
type viewPlace struct {
	at netip.AddrPort
	in uint64
}

// NewViews returns views, each with whom it is for, in the order in which they are tried. They are at
// most [MaxViews].
func NewViews(list []View, match []Match) (*Views, error) {
	if len(list) > MaxViews || len(list) != len(match) {
		return nil, errors.New("engine: more views than there can be, or not a match for each")
	}
	v := &Views{list: make([]View, len(list))}
	clients := make([]policy.ACLOptions, len(list))
	for i := range list {
		v.list[i] = list[i].filled()
		m, bit := &match[i], uint64(1)<<i
		clients[i] = m.Clients
		if len(m.Clients.Allow) == 0 && len(m.ClientKeys) > 0 {
			clients[i].Deny = everywhere // nobody for his address alone
		} else if len(m.Clients.Allow)+len(m.Clients.Deny) == 0 {
			v.anybody |= bit // also one whose address is not known
		}
		for _, name := range m.ClientKeys {
			v.key(name).lets |= bit
		}
		for _, name := range m.ExceptKeys {
			v.key(name).clears |= bit
		}
		for _, name := range m.Keys {
			v.key(name).needed |= bit
			v.keyed |= bit
		}
		for _, at := range m.Listen {
			v.places = append(v.places, viewPlace{at, bit})
		}
		if len(m.Listen) == 0 {
			v.everyAt |= bit
		}
	}
	var err error
	v.sets, err = policy.NewSets(clients)
	return v, err
}

// everywhere is all addresses.
var everywhere = []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}

// key returns what is known of the key of a name, for it to be added to.
func (v *Views) key(name []byte) *viewKey {
	for i := range v.keys {
		if string(v.keys[i].name) == string(name) {
			return &v.keys[i]
		}
	}
	v.keys = append(v.keys, viewKey{name: name})
	return &v.keys[len(v.keys)-1]
}

// choose returns the view of a client that asks, or nil if it is in none. key is the name, in wire form,
// of the key that it signs with; nil: it does not sign. A signature that is not good is refused in all
// views, so that it need not be verified before.
func (v *Views) choose(peer *server.Peer, key []byte) *View {
	in := v.sets.Of(peer.Remote.Addr()) | v.anybody
	needed := v.keyed
	if key != nil && len(v.keys) > 0 {
		in, needed = v.signed(in, key)
	}
	in &^= needed
	at := v.everyAt
	for i := range v.places {
		if p := &v.places[i]; p.at.Addr() == peer.Local && (p.at.Port() == 0 || p.at.Port() == peer.LocalPort) {
			at |= p.in
		}
	}
	if i := bits.TrailingZeros64(in & at); i < len(v.list) {
		return &v.list[i]
	}
	return nil
}

// signed returns which views a client is in who signs with a key, if it is in those by its address, and
// which it is not in for want of another key.
func (v *Views) signed(in uint64, key []byte) (now, needed uint64) {
	needed = v.keyed
	n, err := wire.CheckName(key)
	if err != nil {
		return in, needed
	}
	for i := range v.keys {
		if k := &v.keys[i]; wire.EqualFold(key[:n], k.name) {
			return (in | k.lets) &^ k.clears, needed &^ k.needed
		}
	}
	return in, needed
}

// view returns the view of a client that asks, as choose finds it.
func (g *Generation) view(peer *server.Peer, key []byte) *View {
	if g.Views != nil {
		if v := g.Views.choose(peer, key); v != nil {
			return v
		}
	}
	return &g.View
}

// A last is which view the client of the last unsigned query has, whom the next is often of.
type last struct {
	gen           *Generation
	remote, local netip.Addr
	port          uint16 // of local
	view          *View
}

// chosen is view, for the query in hand.
func (w *worker) chosen(g *Generation, peer *server.Peer, key []byte) *View {
	l := &w.last
	if key != nil {
		return g.view(peer, key)
	}
	if remote := peer.Remote.Addr(); l.gen != g || l.remote != remote || l.local != peer.Local || l.port != peer.LocalPort {
		*l = last{gen: g, remote: remote, local: peer.Local, port: peer.LocalPort, view: g.view(peer, nil)}
	}
	return l.view
}

// ViewFor returns the view of a client that asks at local, and signs with key if that is not nil.
func (g *Generation) ViewFor(client netip.Addr, local netip.AddrPort, key []byte) *View {
	return g.view(&server.Peer{Remote: netip.AddrPortFrom(client, 0), Local: local.Addr(), LocalPort: local.Port()}, key)
}

// EachView calls f with every view, in the order in which they are tried, that of all others last.
func (g *Generation) EachView(f func(v *View)) {
	if g.Views != nil {
		for i := range g.Views.list {
			f(&g.Views.list[i])
		}
	}
	f(&g.View)
}

// ViewByName returns the view of a name, or nil.
func (g *Generation) ViewByName(name string) (found *View) {
	g.EachView(func(v *View) {
		if v.Name == name {
			found = v
		}
	})
	return found
}
