package api

import (
	"fmt"
	"slices"
	"strings"

	"port53/internal/authority"
	"port53/internal/grant"
	"port53/internal/store"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zones"
)

// A change is what a request wants of one set.
type change struct {
	kind     string // REPLACE, DELETE, EXTEND or PRUNE
	owner    []byte
	t        wire.Type
	ttl      uint32
	records  []record
	comments []comment
	sets     bool // it has records
	says     bool // it has comments
}

func (c *change) text() string {
	return "RRset " + wire.NameText(c.owner) + " IN " + c.t.String()
}

// exclusive reports whether a name has one record of a type at most.
func exclusive(t wire.Type) bool {
	return t == wire.TypeCNAME || t == wire.TypeDNAME || t == wire.TypeSOA
}

// readChange reads one set of a request. create says that the zone is being made: there is no kind of
// change then.
func (c *call) readChange(apex []byte, d document, create bool) (*change, error) {
	ch := &change{kind: "REPLACE"}
	if !create {
		kind, err := d.text("changetype")
		if err != nil {
			return nil, err
		}
		ch.kind = strings.ToUpper(kind)
	}
	text, err := d.text("name")
	if err != nil {
		return nil, err
	}
	if ch.owner, err = nameOf(text); err != nil {
		return nil, err
	}
	if err := plainName(ch.owner); err != nil {
		return nil, err
	}
	ch.owner = wire.Lower(nil, ch.owner)
	typ, err := d.text("type")
	if err != nil {
		return nil, err
	}
	known := false
	if ch.t, known = wire.ParseType(typ); !known || ch.t.IsMeta() {
		return nil, invalid("RRset " + text + " IN " + typ + ": unknown type given")
	}
	switch {
	case ch.kind == "DELETE":
		if !wire.Subdomain(ch.owner, apex) {
			return nil, invalid(ch.text() + ": Name is out of zone")
		}
		return ch, nil
	case ch.kind != "REPLACE" && ch.kind != "EXTEND" && ch.kind != "PRUNE":
		return nil, invalid("Changetype not understood")
	case !wire.Subdomain(ch.owner, apex):
		return nil, invalid(ch.text() + ": Name is out of zone")
	}
	records, sets := d.objects("records")
	comments, says := d.objects("comments")
	if ch.sets, ch.says = sets, says; !sets && !says {
		return nil, invalid("No change for " + ch.text())
	}
	if sets && (len(records) > 0 || !create) {
		if err := ch.readRecords(d, records); err != nil {
			return nil, err
		}
	}
	for _, one := range comments {
		m := comment{ModifiedAt: c.now.Unix()}
		if m.Content, err = one.text("content"); err != nil {
			return nil, err
		}
		if m.Account, err = one.text("account"); err != nil {
			return nil, err
		}
		if at, err := one.number("modified_at"); err == nil {
			m.ModifiedAt = at
		}
		ch.comments = append(ch.comments, m)
	}
	return ch, nil
}

// maxTTL is the longest that there is (RFC 2181, section 8).
const maxTTL = 1<<31 - 1

func (c *change) readRecords(d document, list []document) error {
	n, err := d.number("ttl")
	if err != nil && (c.kind != "PRUNE" || len(list) == 0) {
		return err
	}
	if n < 0 || n > maxTTL {
		return invalid(fmt.Sprintf("%s: a TTL is between 0 and %d (RFC 2181, section 8)", c.text(), maxTTL))
	}
	c.ttl = uint32(n)
	for _, one := range list {
		var r record
		content, err := one.text("content")
		if err != nil {
			return err
		}
		r.Disabled, _ = one.flag("disabled")
		if ptr, _ := one.flag("set-ptr"); ptr {
			return invalid("set-ptr is not there: change the reverse zone by a request of its own")
		}
		if r.data, err = parseContent(c.owner, c.t, content); err != nil {
			return err
		}
		r.Content = contentOf(c.t, r.data)
		c.records = append(c.records, r)
	}
	if exclusive(c.t) && len(c.records) > 1 {
		return invalid(c.text() + " has more than one record")
	}
	if r := repeated(c.t, c.records); r != nil {
		return invalid("Duplicate record in " + c.text() + " with content \"" + shortContent(r.Content) + "\"")
	}
	return nil
}

// repeated returns a record that is there before in a list, or nil. A request has room for very many.
func repeated(t wire.Type, list []record) *record {
	seen := make(map[string]bool, len(list))
	for i := range list {
		key := list[i].key(t)
		if seen[key] {
			return &list[i]
		}
		seen[key] = true
	}
	return nil
}

// key tells a record of a type from others: case counts but in those names in which it does not.
func (r *record) key(t wire.Type) string { return string(wire.AppendCanonical(nil, t, r.data)) }

// without returns a list without those that another has.
func without(t wire.Type, list, gone []record) []record {
	has := make(map[string]bool, len(gone))
	for i := range gone {
		has[gone[i].key(t)] = true
	}
	return slices.DeleteFunc(list, func(r record) bool { return has[r.key(t)] })
}

// apply returns a set as the change leaves it.
func (c *change) apply(had *rrset) (*rrset, error) {
	s := newRRset(c.owner, c.t)
	s.TTL, s.Records, s.Comments = had.TTL, slices.Clone(had.Records), slices.Clone(had.Comments)
	switch c.kind {
	case "DELETE":
		s.Records, s.Comments, s.TTL = nil, nil, 0
	case "REPLACE":
		if c.sets {
			s.Records, s.TTL = c.records, c.ttl
		}
	case "EXTEND":
		s.Records = append(without(c.t, s.Records, c.records), c.records...)
		if c.sets && len(c.records) > 0 {
			s.TTL = c.ttl
		}
	case "PRUNE":
		s.Records = without(c.t, s.Records, c.records)
	}
	if c.says {
		s.Comments = c.comments
	}
	if exclusive(c.t) && len(s.Records) > 1 {
		return nil, invalid(c.text() + " has more than one record")
	}
	return s, nil
}

// planned returns the plan that carries out changes, all or none.
func (c *call) planned(apex []byte, changes []*change) zones.Plan {
	return func(now *authority.Updater, notes *zone.Notes) (zones.Changes, error) {
		var plan zones.Changes
		info := infoOf(notes)
		serial := now.Serial()
		left := map[string]map[wire.Type]bool{} // the types that names have then
		for _, ch := range changes {
			s, err := ch.apply(currentRRset(now, notes, ch.owner, ch.t))
			if err != nil {
				return plan, err
			}
			key := string(wire.Lower(nil, ch.owner))
			if left[key] == nil {
				left[key] = map[wire.Type]bool{}
				for _, t := range now.Types(ch.owner) {
					left[key][t] = true
				}
			}
			set := s.set()
			if left[key][ch.t] = len(set.Data) > 0; ch.t == wire.TypeSOA {
				switch {
				case key != string(wire.Lower(nil, apex)):
					return plan, invalid(ch.text() + ": SOA records are at the zone's own name")
				case len(set.Data) == 0:
					return plan, invalid(ch.text() + ": a zone without one cannot be served")
				}
				if given := zone.SerialOf(set.Data[0]); zone.Newer(given, serial) {
					serial = given
				}
			}
			plan.Sets = append(plan.Sets, set)
			si := s.info()
			plan.Notes = append(plan.Notes, si.note(ch.owner, ch.t))
		}
		for _, ch := range changes {
			types := left[string(wire.Lower(nil, ch.owner))]
			if err := ch.clash(types); err != nil {
				return plan, err
			}
		}
		switch {
		case info.SOAEditAPI != "":
			plan.Serial = serialAfter(info.SOAEditAPI, info.SOAEdit, serial, c.now)
		case serial != now.Serial() || len(changes) == 0:
			plan.Serial = serial // as it was given; else by the zone's own rule
		}
		return plan, nil
	}
}

// clash reports whether a set that was changed cannot stand beside others of its name. Proofs can
// (RFC 4034, section 4); who may write such is for the zone to say.
func (c *change) clash(types map[wire.Type]bool) error {
	if c.kind == "DELETE" || !types[c.t] {
		return nil
	}
	for t, there := range types {
		if there && t != c.t && (t == wire.TypeCNAME || c.t == wire.TypeCNAME) && !authority.Proof(t) && !authority.Proof(c.t) {
			return invalid(c.text() + ": Conflicts with pre-existing RRset")
		}
	}
	return nil
}

// pdnsPatch changes sets of a zone.
func pdnsPatch(c *call) error {
	v, err := c.find(c.params[1])
	if err != nil {
		return err
	}
	d, err := c.document()
	if err != nil {
		return err
	}
	list, there := d.objects("rrsets")
	if !there {
		return invalid("No rrsets given in update request")
	}
	changes, err := c.readChanges(v.Apex, list)
	if err != nil {
		return err
	}
	if len(changes) == 0 && !c.holder.MayAny(grant.Change, v.Apex, c.now) {
		return forbidden(c.credential() + " may not change zone " + wire.NameText(v.Apex))
	}
	if _, err := c.edit(v.Key, c.planned(v.Apex, changes)); err != nil {
		return err
	}
	return c.none()
}

// readChanges reads the sets of a request, each of which the caller may change.
func (c *call) readChanges(apex []byte, list []document) ([]*change, error) {
	changes := make([]*change, 0, len(list))
	seen := map[string]bool{}
	for _, one := range list {
		ch, err := c.readChange(apex, one, false)
		if err != nil {
			return nil, err
		}
		key := setNote(ch.owner, ch.t) + ch.kind
		if seen[key] {
			return nil, invalid("Duplicate " + ch.text() + " with changetype: " + ch.kind)
		}
		seen[key] = true
		if !c.may(grant.Change, apex, wire.Lower(nil, ch.owner), ch.t) {
			return nil, forbidden(c.credential() + " may not change " + ch.t.String() + " of " + wire.NameText(ch.owner))
		}
		changes = append(changes, ch)
	}
	// What goes does so first: a REPLACE beside a DELETE of the same set is what stays.
	slices.SortStableFunc(changes, func(a, b *change) int {
		rank := func(c *change) int {
			if c.kind == "DELETE" {
				return 0
			}
			return 1
		}
		return rank(a) - rank(b)
	})
	return changes, nil
}

// edit carries out a plan, and has those told who follow the events.
func (c *call) edit(key []byte, plan zones.Plan) (zones.EditResult, error) {
	e, err := c.zones.Edit(key, c.by(), plan)
	if err == nil {
		apex := store.Apex(key)
		c.events.tell(happened{Kind: "zone", Zone: wire.NameText(apex), By: c.by(), From: e.From, To: e.To, apex: apex})
	}
	return e, err
}
