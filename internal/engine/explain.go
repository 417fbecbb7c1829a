package engine

import (
	"bytes"
	"net/netip"
	"time"

	"port53/internal/event"
	"port53/internal/policy"
	"port53/internal/server"
	"port53/internal/telemetry"
	"port53/internal/wire"
)

// A SourceKind is what an answer comes from.
type SourceKind string

// The kinds. A refusal comes from none.
const (
	FromZone     SourceKind = "zone"     // a zone that is served
	FromNames    SourceKind = "names"    // the names of machines
	FromBuiltin  SourceKind = "builtin"  // a name that is built in
	FromFilter   SourceKind = "filter"   // a rule that is about the name
	FromResolver SourceKind = "resolver" // the cache, or other servers
)

// A Source is where the answer to a question comes from.
type Source struct {
	Kind  SourceKind // "": it is refused, or cannot be served
	Owner []byte     // the zone or name that has it, in lower case; nil with FromResolver and FromFilter
	Text  string     // with FromFilter, the rule and what it does
	Reply []byte     // nil with FromResolver
}

// tell notes where the answer in hand comes from: FromZone, FromNames or FromBuiltin.
func (w *worker) tell(kind SourceKind, owner []byte) {
	switch kind {
	case FromZone:
		w.path = event.Zone
	case FromNames:
		w.path = event.Names
	case FromBuiltin:
		w.path = event.Builtin
	}
	if w.source != nil {
		w.source.Kind, w.source.Owner = kind, bytes.Clone(owner)
	}
}

// Explain says where the answer to a question comes from in a view of the generation that serves, nil
// for that of all others, to a client that may ask everything, by the way that the questions of clients
// go. Nothing is counted, logged or asked of others.
func (e *Engine) Explain(view *View, name []byte, typ wire.Type, do, cd bool) Source {
	flags := wire.FlagRD
	if cd {
		flags |= wire.FlagCD
	}
	msg := wire.AppendOPT(wire.AppendQuery(nil, 0, flags, name, typ), wire.MaxMessage, do, nil)
	msg[11] = 1 // OPT

	g := *e.now.Load()
	if view != nil {
		g.View = *view
	}
	g.Views, g.Access, g.Limits.Rates = nil, &policy.Access{}, nil
	apart := &Engine{log: e.log, contained: e.contained}
	apart.now.Store(&g)
	source := &Source{}
	w := &worker{
		engine: apart, record: &telemetry.Worker{}, telling: telling{events: apart.newEvents()},
		writers: writers{order: newOrderer()}, source: source,
	}
	peer := server.Peer{Remote: netip.AddrPortFrom(netip.IPv6Loopback(), 0), Transport: server.TCP}
	reply := make([]byte, wire.MaxMessage)
	if n := w.Handle(msg, &peer, time.Now().UnixNano(), reply); n > 0 {
		source.Reply = bytes.Clone(reply[:n])
	}
	return *source
}
