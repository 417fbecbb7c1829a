package engine_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/dnstest"
	"port53/internal/engine"
	"port53/internal/policy"
	"port53/internal/server"
	"port53/internal/tsig"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zones"
)

// A manager writes down what it is handed, and does nothing.
type manager struct {
	handed []string // what, by whose key, over what
	here   bool     // zones are, for NOTIFY
}

func (m *manager) take(what string, r *zones.Request) {
	over := "TCP"
	if r.UDP {
		over = "UDP"
	}
	m.handed = append(m.handed, fmt.Sprintf("%s %s of %q over %s", what, wire.AppendName(nil, r.Entry.Apex), r.Key, over))
}

func (m *manager) Transfer(r *zones.Request, reply func([]byte) error) {
	m.take("transfer", r)
	_ = reply(r.Message)
}

func (m *manager) Notify(r *zones.Request) bool {
	m.take("notify", r)
	return m.here
}

func (m *manager) Update(r *zones.Request) (wire.Rcode, []byte) {
	m.take("update", r)
	return wire.YXDomain, nil
}

// A client keeps what it is sent later.
type client struct{ replies [][]byte }

func (c *client) Reply(m []byte) error {
	c.replies = append(c.replies, slices.Clone(m))
	return nil
}
func (c *client) Stream(m []byte) error { return c.Reply(m) }
func (c *client) Close()                {}

// TestHandedToTheManager has messages that want something of a zone as a whole: the manager
// is handed those alone whose sender may have it, by address, key and time of signing.
func TestHandedToTheManager(t *testing.T) {
	key := func(name string, secret byte) *tsig.Key {
		return &tsig.Key{Name: dnstest.Name(t, name), Algorithm: tsig.HMACSHA256, Secret: slices.Repeat([]byte{secret}, 32)}
	}
	xfr, ddns := key("xfr.", 1), key("ddns.", 2)
	forged, stranger := key("xfr.", 3), key("stranger.", 4)
	friends := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	access := &policy.Access{
		Transfer: []policy.Rule{{Networks: friends, Key: xfr.Name}},
		Notify:   []policy.Rule{{Networks: friends, Unsigned: true}},
		Updates:  []policy.Grant{{Key: ddns.Name, Names: []policy.Pattern{{Name: dnstest.Name(t, "example."), Below: true}}}},
	}
	const update, notify = uint16(wire.OpcodeUpdate) << 11, uint16(wire.OpcodeNotify)<<11 | wire.FlagAA
	for what, c := range map[string]struct {
		from   string
		flags  uint16
		name   string
		typ    wire.Type
		key    *tsig.Key
		late   time.Duration // after it was signed
		udp    bool
		gone   bool // the manager knows nothing of the zone
		handed string
		rcode  wire.Rcode
	}{
		"a transfer":                     {from: "192.0.2.1", name: "example.", typ: wire.TypeAXFR, key: xfr, handed: `transfer example. of "\x03xfr\x00" over TCP`, rcode: wire.NoError},
		"differences over UDP":           {from: "192.0.2.1", name: "example.", typ: wire.TypeIXFR, key: xfr, udp: true, handed: `transfer example. of "\x03xfr\x00" over UDP`, rcode: wire.NoError},
		"a transfer, unsigned":           {from: "192.0.2.1", name: "example.", typ: wire.TypeAXFR, rcode: wire.Refused},
		"a transfer, from elsewhere":     {from: "198.51.100.1", name: "example.", typ: wire.TypeAXFR, key: xfr, rcode: wire.Refused},
		"a transfer, by another key":     {from: "192.0.2.1", name: "example.", typ: wire.TypeAXFR, key: ddns, rcode: wire.Refused},
		"a transfer, forged":             {from: "192.0.2.1", name: "example.", typ: wire.TypeAXFR, key: forged, rcode: wire.NotAuth},
		"a transfer, of an unknown key":  {from: "192.0.2.1", name: "example.", typ: wire.TypeAXFR, key: stranger, rcode: wire.NotAuth},
		"a transfer, late":               {from: "192.0.2.1", name: "example.", typ: wire.TypeAXFR, key: xfr, late: 301 * time.Second, rcode: wire.NotAuth},
		"a transfer, of no zone's apex":  {from: "192.0.2.1", name: "www.example.", typ: wire.TypeAXFR, key: xfr, rcode: wire.NotAuth},
		"a transfer of a zone of nobody": {from: "192.0.2.1", name: "closed.", typ: wire.TypeAXFR, key: xfr, rcode: wire.Refused},
		"a notification":                 {from: "192.0.2.1", flags: notify, name: "example.", typ: wire.TypeSOA, udp: true, handed: `notify example. of "" over UDP`, rcode: wire.NoError},
		"a notification in vain":         {from: "192.0.2.1", flags: notify, name: "example.", typ: wire.TypeSOA, gone: true, handed: `notify example. of "" over TCP`, rcode: wire.NotAuth},
		"a notification from elsewhere":  {from: "198.51.100.1", flags: notify, name: "example.", typ: wire.TypeSOA, rcode: wire.Refused},
		"a notification of no zone":      {from: "192.0.2.1", flags: notify, name: "www.example.", typ: wire.TypeSOA, rcode: wire.NotAuth},
		"a notification, forged":         {from: "192.0.2.1", flags: notify, name: "example.", typ: wire.TypeSOA, key: forged, rcode: wire.NotAuth},
		"an update":                      {from: "198.51.100.1", flags: update, name: "example.", typ: wire.TypeSOA, key: ddns, handed: `update example. of "\x04ddns\x00" over TCP`, rcode: wire.YXDomain},
		"an update, unsigned":            {from: "192.0.2.1", flags: update, name: "example.", typ: wire.TypeSOA, rcode: wire.Refused},
		"an update, by another key":      {from: "192.0.2.1", flags: update, name: "example.", typ: wire.TypeSOA, key: xfr, rcode: wire.Refused},
		"an update, of an unknown key":   {from: "192.0.2.1", flags: update, name: "example.", typ: wire.TypeSOA, key: stranger, rcode: wire.NotAuth},
		"an update, late":                {from: "192.0.2.1", flags: update, name: "example.", typ: wire.TypeSOA, key: ddns, late: 301 * time.Second, rcode: wire.NotAuth},
		"an update of no zone":           {from: "192.0.2.1", flags: update, name: "www.example.", typ: wire.TypeSOA, key: ddns, rcode: wire.NotAuth},
		"an update of no zone, unsigned": {from: "192.0.2.1", flags: update, name: "other.", typ: wire.TypeSOA, rcode: wire.NotAuth},
		"an update for the primary":      {from: "192.0.2.1", flags: update, name: "secondary.", typ: wire.TypeSOA, key: stranger, handed: `update secondary. of "" over TCP`, rcode: wire.YXDomain},
		"one for the primary, unsigned":  {from: "192.0.2.1", flags: update, name: "secondary.", typ: wire.TypeSOA, rcode: wire.Refused},
		"a query, forged":                {from: "192.0.2.1", name: "www.example.", typ: wire.TypeA, key: forged, rcode: wire.NotAuth},
		"a query of an unknown key":      {from: "192.0.2.1", name: "www.example.", typ: wire.TypeA, key: stranger, rcode: wire.NotAuth},
		"a signed query":                 {from: "198.51.100.1", name: "www.example.", typ: wire.TypeA, key: xfr, rcode: wire.NoError},
	} {
		synctest.Test(t, func(t *testing.T) {
			m, to := &manager{here: !c.gone}, &client{}
			zones := zone.NewView(dnstest.Seed).With(
				zone.Change{Apex: dnstest.Name(t, "example."), Access: access, Zone: dnstest.Zone(t, "example.", exampleZone)},
				zone.Change{Apex: dnstest.Name(t, "secondary."), Access: &policy.Access{Forward: true}, Zone: dnstest.Zone(t, "secondary.", otherZone)},
				zone.Change{Apex: dnstest.Name(t, "closed."), Zone: dnstest.Zone(t, "closed.", otherZone)},
			)
			w := engine.New(engine.Options{PropagatePanics: true}, engine.Generation{View: engine.View{Zones: zones}, Manager: m, Keys: tsig.NewRing(*xfr, *ddns)}).NewWorker()
			peer := server.Peer{Remote: netip.AddrPortFrom(netip.MustParseAddr(c.from), 4000), Transport: server.TCP}
			if c.udp {
				peer.Transport = server.UDP
			}
			peer.Later = func(*server.Peer) (server.Responder, error) { return to, nil }
			msg := wire.AppendQuery(nil, 53, c.flags, dnstest.Name(t, c.name), c.typ)
			if c.key != nil {
				msg, _ = tsig.SignRequest(c.key, msg, time.Now().Add(-c.late))
			}
			reply := make([]byte, wire.MaxMessage)
			if n := w.Handle(msg, &peer, 1, reply); n != server.Pending {
				to.replies = append(to.replies, reply[:n])
			}
			synctest.Wait()
			if len(to.replies) != 1 || wire.Rcode(to.replies[0][3]&15) != c.rcode {
				t.Fatalf("%s: the replies are %x, want %v", what, to.replies, c.rcode)
			}
			if n := to.replies[0][7]; c.rcode != wire.NoError && n != 0 {
				t.Errorf("%s: %d records go with %v", what, n, c.rcode)
			}
			want := []string{}
			if c.handed != "" {
				want = append(want, c.handed)
			}
			if !slices.Equal(m.handed, want) {
				t.Errorf("%s: handed on %q, want %q", what, m.handed, want)
			}
		})
	}
}

// TestKeyThatIsNotKnown has an update come with the name of a key that another view is for, and that is
// not known here: whoever may not ask at all has nothing handed on to the primary by that.
func TestKeyThatIsNotKnown(t *testing.T) {
	key := &tsig.Key{Name: dnstest.Name(t, "inside."), Algorithm: tsig.HMACSHA256, Secret: slices.Repeat([]byte{1}, 32)}
	for from, want := range map[string]wire.Rcode{"203.0.113.7": wire.Refused, "10.0.0.1": wire.YXDomain} {
		synctest.Test(t, func(t *testing.T) {
			acl, err := policy.NewACL(policy.ACLOptions{Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
			if err != nil {
				t.Fatal(err)
			}
			zones := zone.NewView(dnstest.Seed).With(
				zone.Change{Apex: dnstest.Name(t, "secondary."), Access: &policy.Access{Forward: true}, Zone: dnstest.Zone(t, "secondary.", otherZone)},
			)
			views, err := engine.NewViews([]engine.View{{Name: "inside", Zones: zones}}, []engine.Match{{ClientKeys: [][]byte{key.Name}}})
			if err != nil {
				t.Fatal(err)
			}
			m, to := &manager{here: true}, &client{}
			g := engine.Generation{View: engine.View{Zones: zones, Access: &policy.Access{Query: acl}}, Views: views, Manager: m, Keys: tsig.NewRing()}
			w := engine.New(engine.Options{PropagatePanics: true}, g).NewWorker()
			peer := server.Peer{Remote: netip.AddrPortFrom(netip.MustParseAddr(from), 4000), Transport: server.TCP}
			peer.Later = func(*server.Peer) (server.Responder, error) { return to, nil }
			msg, _ := tsig.SignRequest(key, wire.AppendQuery(nil, 53, uint16(wire.OpcodeUpdate)<<11, dnstest.Name(t, "secondary."), wire.TypeSOA), time.Now())
			reply := make([]byte, wire.MaxMessage)
			if n := w.Handle(msg, &peer, 1, reply); n != server.Pending {
				to.replies = append(to.replies, reply[:n])
			}
			synctest.Wait()
			if len(to.replies) != 1 || wire.Rcode(to.replies[0][3]&15) != want || len(m.handed) != map[wire.Rcode]int{wire.YXDomain: 1}[want] {
				t.Errorf("%s: replies %x, handed on %q, want %v", from, to.replies, m.handed, want)
			}
		})
	}
}

// TestAcknowledgementsAreLimited has more notifications come over UDP from an address that may
// be forged than the rate limit lets answers go out: all of them count, and the answers are
// limited. Those that are signed are not, nor those over TCP.
func TestAcknowledgementsAreLimited(t *testing.T) {
	key := &tsig.Key{Name: dnstest.Name(t, "xfr."), Algorithm: tsig.HMACSHA256, Secret: slices.Repeat([]byte{1}, 32)}
	friends := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	access := &policy.Access{Notify: []policy.Rule{{Networks: friends, Unsigned: true}}, Forward: true}
	const total = 100
	for what, c := range map[string]struct {
		opcode    wire.Opcode
		transport server.Transport
		signed    bool
		least     int // answers
		most      int
	}{
		"notifications":                 {wire.OpcodeNotify, server.UDP, false, 5, 30},
		"notifications that are signed": {wire.OpcodeNotify, server.UDP, true, total, total},
		"notifications over TCP":        {wire.OpcodeNotify, server.TCP, false, total, total},
	} {
		synctest.Test(t, func(t *testing.T) {
			rates, err := policy.NewRateLimiter(policy.RateOptions{PerSecond: 1, Burst: 10})
			if err != nil {
				t.Fatal(err)
			}
			m, to := &manager{here: true}, &client{}
			view := zone.NewView(dnstest.Seed).With(zone.Change{Apex: dnstest.Name(t, "example."), Access: access, Zone: dnstest.Zone(t, "example.", exampleZone)})
			w := engine.New(engine.Options{PropagatePanics: true}, engine.Generation{
				View: engine.View{Zones: view}, Manager: m, Keys: tsig.NewRing(*key), Limits: engine.Limits{Rates: rates},
			}).NewWorker()
			peer := server.Peer{Remote: netip.MustParseAddrPort("192.0.2.1:4000"), Transport: c.transport}
			peer.Later = func(*server.Peer) (server.Responder, error) { return to, nil }
			for i := range total {
				msg := wire.AppendQuery(nil, uint16(i), uint16(c.opcode)<<11|wire.FlagAA, dnstest.Name(t, "example."), wire.TypeSOA)
				if c.signed {
					msg, _ = tsig.SignRequest(key, msg, time.Now())
				}
				w.Handle(msg, &peer, 1, make([]byte, wire.MaxMessage))
				synctest.Wait()
			}
			if len(m.handed) != total || len(to.replies) < c.least || len(to.replies) > c.most {
				t.Errorf("%s: %d were heeded, and %d acknowledged, want %d to %d", what, len(m.handed), len(to.replies), c.least, c.most)
			}
			for _, r := range to.replies {
				if wire.Rcode(r[3]&15) != wire.NoError || r[2]&2 != 0 {
					t.Errorf("%s: acknowledged with % x", what, r[:4])
				}
			}
		})
	}
}
