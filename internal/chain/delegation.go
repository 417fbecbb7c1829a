package chain

import (
	"context"
	"fmt"

	"port53/internal/exchange"
	"port53/internal/wire"
)

// A Delegation is a zone as the zone above it shows it.
type Delegation struct {
	Zone    []byte          // in lower case
	Above   []byte          // the zone above; nil of the root
	Parents []Server        // of the zone above
	Servers []Server        // of the zone, as the zone above names them
	DS      *exchange.Reply // what the servers of the zone above say of its DS records; nil if they say nothing
}

// Delegations returns the zones from the root down to zone, the root first. The zone
// itself is the last one, and it is an error if the zone above it does not delegate it. Of
// servers without glue the addresses are looked up.
func (w *Walk) Delegations(ctx context.Context, zone []byte) ([]Delegation, error) {
	list := []Delegation{{Zone: wire.Root, Servers: w.known[string(wire.Root)]}}
	zone = wire.Lower(nil, zone)
	for n := 1; n <= wire.LabelCount(zone); n++ {
		name := zone
		for wire.LabelCount(name) > n {
			name = wire.Parent(name)
		}
		up := &list[len(list)-1]
		step, err := w.askZone(ctx, up.Zone, up.Servers, name, wire.TypeNS, 0)
		if err != nil {
			return nil, err
		}
		servers := w.named(step, name)
		if len(servers) == 0 {
			if len(name) == len(zone) {
				return nil, fmt.Errorf(
					"%s is not delegated: %v by the servers of %s",
					wire.NameText(name),
					step.Reply.Message.Rcode,
					wire.NameText(up.Zone),
				)
			}
			continue
		}
		d := Delegation{Zone: name, Above: up.Zone, Parents: up.Servers, Servers: servers}
		ds, err := w.askZone(ctx, up.Zone, up.Servers, name, wire.TypeDS, 0)
		switch {
		case err == nil:
			d.DS = ds.Reply
		case ctx.Err() != nil:
			return nil, err
		}
		for i := range servers {
			s := &servers[i]
			if len(s.Addrs) > 0 {
				continue
			}
			if s.Addrs, err = w.addresses(ctx, s.Name, 1); err != nil {
				return nil, err
			}
		}
		w.known[string(name)] = servers
		list = append(list, d)
	}
	return list, nil
}

// named returns the servers that a step's reply names for a zone: a referral, or an answer
// where the same server has both zones.
func (w *Walk) named(step *Step, zone []byte) []Server {
	switch step.Kind {
	case StepKind(Referred):
		if wire.EqualFold(step.Child, zone) {
			return step.Servers
		}
	case StepKind(Answered):
		answer := *step
		answer.Child, answer.Servers = zone, nil
		w.takeReferral(&answer, &step.Reply.Message, wire.Answer)
		return answer.Servers
	}
	return nil
}
