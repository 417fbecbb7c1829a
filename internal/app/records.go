package app

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"port53/internal/console"
	"port53/internal/store"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zonefile"
	"port53/internal/zones"
)

// maxChanged is the most records that one command changes.
const maxChanged = 10000

// A recordChange is what a command changed.
type recordChange []zones.Change

// Note is what the audit has of it.
func (c recordChange) Note() string {
	if len(c) == 0 {
		return "nothing changed"
	}
	return fmt.Sprintf(
		"serial %d to %d, %d added, %d removed",
		c[0].From,
		c[0].To,
		len(c[0].Added)-1,
		len(c[0].Removed)-1,
	) // without the SOA
}

// Records implements [console.Admin].
func (a *App) Records(by console.Caller, action, name, view, text string) (any, error) {
	key, err := a.zoneKey(name, view)
	if err != nil {
		return nil, err
	}
	apex := store.Apex(key)
	var message *wire.Message
	if action == "remove" {
		message, err = removal(apex, text)
	} else {
		message, err = addition(apex, text, action == "set")
	}
	var list []zones.Change
	if err == nil {
		list, err = a.manager.Change(key, message, by.String())
	}
	if err != nil {
		return nil, fmt.Errorf("zone %s: %w", name, err)
	}
	if v, ok := a.manager.Snapshot(key); ok && v.Zone != nil {
		if err := ignored(v.Zone, message, action, len(list) > 0); err != nil {
			return recordChange(list), fmt.Errorf("zone %s: %w", name, err)
		}
	}
	return recordChange(list), nil
}

// ignored returns what of an update a zone does not have: updates leave out, without a word, what cannot be
// (RFC 2136, section 3.4.2.2). changed says that the update changed something.
func ignored(z *zone.Zone, message *wire.Message, action string, changed bool) error {
	for i := range message.Records {
		r := &message.Records[i]
		if r.Class == wire.ClassANY && action == "set" {
			continue // what comes in its place counts
		}
		split := wire.SplitName{}
		split.Set(r.Owner)
		n := z.Lookup(&split)
		apex := wire.EqualFold(r.Owner, z.Apex())
		var set zone.Unpacked
		has := n != 0 && r.Type != wire.TypeANY && z.UnpackType(&set, n, r.Type)
		if r.Class == wire.ClassIN || r.Class == wire.ClassNONE {
			has = has && slices.ContainsFunc(set.Data, func(data []byte) bool { return sameData(r, data, changed) })
		}
		what := wire.NameText(r.Owner) + " " + r.Type.String()
		switch {
		case r.Class == wire.ClassIN && !has:
			return errors.New(what + " was not added: " + whyNotAdded(z, n, r.Type))
		case r.Class == wire.ClassIN:
		case apex && (has && (r.Type == wire.TypeSOA || r.Type == wire.TypeNS) || r.Type == wire.TypeANY && !changed):
			return errors.New(what + " was not removed: a zone's SOA record and its last NS record cannot be removed")
		case has:
			return errors.New(what + " was not removed")
		}
	}
	return nil
}

// sameData reports whether a record of an update has the data of a zone's. The serial of a SOA record rises with
// what was changed.
func sameData(r *wire.Record, data []byte, changed bool) bool {
	want := r.Data
	if r.Type == wire.TypeSOA && changed {
		want = zone.WithSerial(want, zone.SerialOf(data))
	}
	return strings.EqualFold(string(wire.AppendRdataText(nil, r.Type, want)), string(wire.AppendRdataText(nil, r.Type, data)))
}

// whyNotAdded returns why an update leaves out a record of a type at a node of a zone.
func whyNotAdded(z *zone.Zone, n zone.Node, t wire.Type) string {
	switch {
	case t == wire.TypeSOA:
		return "the serial of a new SOA record has to be newer than the zone's"
	case t == wire.TypeCNAME:
		return "the name has other records, beside which there is no CNAME record: remove them first"
	case n != 0 && z.HasCNAME(n):
		return "the name has a CNAME record, beside which there are no others: remove it first"
	}
	return "the zone does not take it"
}

// newUpdate returns an update of a zone that changes nothing yet.
func newUpdate(apex []byte) *wire.Message {
	return &wire.Message{Opcode: wire.OpcodeUpdate, HasQuestion: true, Name: apex, Type: wire.TypeSOA, Class: wire.ClassIN}
}

// addition returns the update that adds records, as a zone file has them; with set in place of
// the sets that they are of.
func addition(apex []byte, text string, set bool) (*wire.Message, error) {
	message := newUpdate(apex)
	taken := map[string]bool{}
	var added []wire.Record
	_, err := zonefile.Read(
		strings.NewReader(text),
		zonefile.Options{Origin: apex, Name: "records", MaxRecords: maxChanged},
		func(r *zonefile.Record) error {
			owner := append([]byte{}, r.Owner...)
			key := string(wire.Lower(nil, owner)) + r.Type.String()
			if set && !taken[key] {
				taken[key] = true
				message.Records = append(
					message.Records,
					wire.Record{Owner: owner, Type: r.Type, Class: wire.ClassANY, Section: wire.Authority},
				)
			}
			added = append(added, wire.Record{
				Owner: owner, Type: r.Type, Class: wire.ClassIN, Section: wire.Authority, TTL: r.TTL, Data: append([]byte{}, r.Data...),
			})
			return nil
		},
	)
	if err == nil && len(added) == 0 {
		err = errors.New("no record given")
	}
	message.Records = append(message.Records, added...)
	return message, err
}

// nameIn reads a name as a zone file has it: @ is the apex, and what has no last dot is in
// the zone.
func nameIn(text string, apex []byte) ([]byte, error) {
	switch {
	case text == "@":
		return apex, nil
	case strings.HasSuffix(text, "."):
		return wire.ParseName(text)
	}
	return wire.ParseName(text + "." + strings.TrimPrefix(string(wire.AppendName(nil, apex)), "."))
}

// removal returns the update that takes records away: of each line, all of a name, one type of
// it, or one record.
func removal(apex []byte, text string) (*wire.Message, error) {
	message := newUpdate(apex)
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if len(words) > 2 {
			one, err := addition(apex, words[0]+" 0 "+strings.Join(words[1:], " ")+"\n", false)
			if err != nil {
				return nil, err
			}
			for _, r := range one.Records {
				r.Class, r.TTL = wire.ClassNONE, 0
				message.Records = append(message.Records, r)
			}
			continue
		}
		owner, err := nameIn(words[0], apex)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", words[0], err)
		}
		t := wire.TypeANY
		if len(words) == 2 {
			var ok bool
			if t, ok = wire.ParseType(words[1]); !ok {
				return nil, fmt.Errorf("%q is not a record type", words[1])
			}
		}
		message.Records = append(message.Records, wire.Record{Owner: owner, Type: t, Class: wire.ClassANY, Section: wire.Authority})
	}
	if len(message.Records) == 0 {
		return nil, errors.New("no name given")
	}
	return message, nil
}
