package api

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"port53/internal/grant"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zones"
)

// A planned is what changes would do.
type planned struct {
	Zone    string   `json:"zone"`
	Serial  uint32   `json:"serial"` // that the plan was made for: show it in If-Match to carry it out
	Next    uint32   `json:"next_serial"`
	Removed []string `json:"removed"` // records, as a zone file has them
	Added   []string `json:"added"`
	Accepts bool     `json:"accepted"` // the server would carry it out
	Follows []follow `json:"follows"`
	Caches  int64    `json:"caches_keep_old_seconds"` // at most, and where negative answers were kept
}

// A follow is something that follows of a change.
type follow struct {
	Level string `json:"level"` // error, warning or note
	Kind  string `json:"kind"`  // refused, dangling, lame, ds, cache
	Name  string `json:"name"`
	Text  string `json:"text"`
}

// ownPlan tells what changes would do.
func ownPlan(c *call) error {
	v, changes, err := c.changesAsked()
	if err != nil {
		return err
	}
	plan, err := c.matching(c.planned(v.Apex, changes))
	if err != nil {
		return err
	}
	t, err := c.zones.DryRun(v.Key, plan)
	if err != nil {
		return err
	}
	p := c.planOf(&v, &t)
	if !c.holder.MayWholeZone(grant.Read, v.Apex, c.now) { // what follows at other names says that there are such
		p.Follows = slices.DeleteFunc(p.Follows, func(f follow) bool {
			return f.Name != p.Zone &&
				!slices.ContainsFunc(changes, func(ch *change) bool { return strings.EqualFold(wire.NameText(ch.owner), f.Name) })
		})
	}
	c.w.Header().Set("ETag", tagOf(t.Before))
	return c.json(http.StatusOK, p)
}

// planOf tells of what was tried, and of what is removed by it as far as the caller may read that.
func (c *call) planOf(v *zones.Snapshot, t *zones.DryRunResult) planned {
	readable := func(owner []byte, t wire.Type) bool { return c.may(grant.Read, v.Apex, wire.Lower(nil, owner), t) }
	all := func([]byte, wire.Type) bool { return true }
	p := planned{
		Zone: wire.NameText(v.Apex), Serial: t.Delta.From, Next: t.Delta.To, Removed: linesOf(t.Delta.Removed, readable),
		Added: linesOf(t.Delta.Added, all), Accepts: t.After != nil, Follows: []follow{},
	}
	for _, text := range t.Problems {
		f := follow{"warning", "zone", p.Zone, text}
		if t.After == nil {
			f.Level, f.Kind = "error", "refused"
		}
		p.Follows = append(p.Follows, f)
	}
	if t.After != nil {
		e := &effects{before: t.Before, after: t.After, signed: v.Status.Signing != nil}
		e.touch(t.Delta)
		e.judge()
		p.Follows, p.Caches = append(p.Follows, e.follows...), e.cached
	}
	return p
}

// linesOf returns the records of a list that are to be told of, as zone files have them.
func linesOf(list []byte, told func(owner []byte, t wire.Type) bool) []string {
	lines := []string{}
	_ = zone.EachRecord(list, func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		if !told(owner, t) {
			return true
		}
		lines = append(lines, fmt.Sprintf("%s %d IN %s %s", wire.AppendName(nil, owner), ttl, t, wire.AppendRdataText(nil, t, data)))
		return true
	})
	return lines
}

// Effects are what follows of a change.
type effects struct {
	before, after *zone.Zone
	signed        bool                // the zone is signed here
	touched       map[string]struct{} // names, in lower case
	types         map[string]map[wire.Type]bool
	follows       []follow
	cached        int64
}

// maxFollows is how many things are told that follow of one change.
const maxFollows = 200

func (e *effects) say(level, kind string, name []byte, format string, args ...any) {
	if len(e.follows) < maxFollows {
		e.follows = append(e.follows, follow{level, kind, wire.NameText(name), fmt.Sprintf(format, args...)})
	}
}

// touch notes the names and sets that a difference changes.
func (e *effects) touch(d *zone.Delta) {
	e.touched, e.types = map[string]struct{}{}, map[string]map[wire.Type]bool{}
	for _, list := range [][]byte{d.Removed, d.Added} {
		_ = zone.EachRecord(list, func(owner []byte, t wire.Type, _ uint32, _ []byte) bool {
			key := string(wire.Lower(nil, owner))
			e.touched[key] = struct{}{}
			if e.types[key] == nil {
				e.types[key] = map[wire.Type]bool{}
			}
			e.types[key][t] = true
			return true
		})
	}
}

// types returns the types that a version has at a name, with the TTL of each.
func typesAt(z *zone.Zone, name []byte) map[wire.Type]uint32 {
	all := map[wire.Type]uint32{}
	z.EachAt(name, func(_ []byte, t wire.Type, ttl uint32, _ []byte) bool {
		all[t] = ttl
		return true
	})
	return all
}

// resolves reports whether a version has an answer at a name: records, a wildcard's, or somebody else's
// below a cut.
func resolves(z *zone.Zone, name []byte) bool {
	var split wire.SplitName
	split.Set(name)
	place := z.Search(&split)
	if place.Cut || place.DNAME || len(typesAt(z, name)) > 0 {
		return true
	}
	for above := name; len(above) > len(z.Apex()); {
		above = wire.Parent(above)
		if len(typesAt(z, append([]byte("\x01*"), above...))) > 0 {
			return true
		}
		if len(typesAt(z, above)) > 0 {
			return false // it is the closest encloser, and a wildcard further up does not count
		}
	}
	return false
}

// addressed reports whether a version has an address at a name, which is that of a server of cut: below
// that it is glue.
func addressed(z *zone.Zone, name, cut []byte) bool {
	at := typesAt(z, name)
	_, v4 := at[wire.TypeA]
	_, v6 := at[wire.TypeAAAA]
	_, alias := at[wire.TypeCNAME]
	if len(cut) > len(z.Apex()) && wire.Subdomain(name, cut) {
		return v4 || v6
	}
	return v4 || v6 || alias || len(at) == 0 && resolves(z, name)
}

// judge finds what follows.
func (e *effects) judge() {
	e.caches()
	apex := e.after.Apex()
	// Names that lead to others of the zone: those that lead nowhere now, and did not before or are new.
	e.after.Each(func(owner []byte, t wire.Type, _ uint32, data []byte) bool {
		key := string(wire.Lower(nil, owner))
		for _, n := range wire.NamesIn(t, data, nil) {
			target := wire.Lower(nil, targetOf(data, n))
			if !wire.Subdomain(target, apex) || t == wire.TypeSOA || t == wire.TypeRRSIG || t == wire.TypeNSEC || len(target) == 1 {
				continue
			}
			_, mine := e.touched[key]
			if _, its := e.touched[string(target)]; !mine && !its {
				continue
			}
			switch {
			case t == wire.TypeNS && !addressed(e.after, target, []byte(key)) && (mine || addressed(e.before, target, []byte(key))):
				e.say(
					"error",
					"lame",
					owner,
					"its name server %s has no address in the zone: who is sent there finds nobody",
					wire.NameText(target),
				)
			case t != wire.TypeNS && !resolves(e.after, target) && (mine || resolves(e.before, target)):
				e.say("warning", "dangling", owner, "its %s leads to %s, which does not exist", t, wire.NameText(target))
			}
		}
		return len(e.follows) < maxFollows
	})
	for key := range e.touched {
		e.delegation([]byte(key), apex)
	}
	slices.SortFunc(e.follows, func(a, b follow) int {
		rank := map[string]int{"error": 0, "warning": 1, "note": 2}
		if a.Level != b.Level {
			return rank[a.Level] - rank[b.Level]
		}
		return slices.Compare([]string{a.Name, a.Kind, a.Text}, []string{b.Name, b.Kind, b.Text})
	})
}

// targetOf returns a name in data.
func targetOf(data []byte, n wire.NameAt) []byte { return data[n.Off : n.Off+n.Len] }

// delegation judges what is said of a zone below, or of this one's keys.
func (e *effects) delegation(name, apex []byte) {
	was, now := typesAt(e.before, name), typesAt(e.after, name)
	_, ns := now[wire.TypeNS]
	_, ds := now[wire.TypeDS]
	_, hadDS := was[wire.TypeDS]
	_, hadNS := was[wire.TypeNS]
	if string(name) == string(apex) {
		if e.types[string(name)][wire.TypeNS] {
			e.say("note", "ds", name, "the parent zone has NS records of its own, which are not changed by this")
		}
		if e.types[string(name)][wire.TypeDNSKEY] {
			e.say("warning", "ds", name, "the parent's DS records have to point at one of the new keys, or the zone is bogus")
		}
		return
	}
	switch {
	case ds && !ns:
		e.say("error", "ds", name, "it has DS records and no NS records: they mean nothing, and were meant for a delegation")
	case e.types[string(name)][wire.TypeDS] && ds && hadNS:
		e.say("warning", "ds", name, "the zone below is bogus for who validates, unless a key of it fits the new DS records")
	case hadDS && !ds && ns:
		e.say("warning", "ds", name, "the delegation is not secure any more")
	case ns && !hadNS && !ds && (e.signed || e.after.Signed()):
		e.say("note", "ds", name, "the delegation has no DS records: the zone below is not secure")
	}
	if ns && !hadNS {
		e.hidden(name)
	}
}

// hidden says which names a new delegation takes away.
func (e *effects) hidden(cut []byte) {
	count := 0
	e.before.Each(func(owner []byte, t wire.Type, _ uint32, _ []byte) bool {
		if len(owner) > len(cut) && wire.Subdomain(wire.Lower(nil, owner), cut) && t != wire.TypeA && t != wire.TypeAAAA {
			count++
		}
		return count < maxFollows
	})
	if count > 0 {
		e.say("warning", "lame", cut, "%d records below it are not served any more: they belong to the new delegation", count)
	}
}

// caches tells how long others keep what was: sets for their TTL, and that there was nothing for as long
// as the SOA record says (RFC 2308, section 5).
func (e *effects) caches() {
	ttl, soa := e.before.SOA()
	negative := int64(min(ttl, minimumOf(soa)))
	for key, types := range e.types {
		was := typesAt(e.before, []byte(key))
		for t := range types {
			if t == wire.TypeSOA {
				continue
			}
			keep := negative
			if had, there := was[t]; there {
				keep = int64(had)
			}
			e.cached = max(e.cached, keep)
		}
	}
	if e.cached > 0 {
		e.say("note", "cache", e.after.Apex(), "resolvers may keep the old data for %s", roundTime(time.Duration(e.cached)*time.Second))
	}
}

// minimumOf returns the last number of good SOA data.
func minimumOf(soa []byte) uint32 {
	b := soa[len(soa)-4:]
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// A historyList is the changes of a zone that are known.
type historyList struct {
	Zone    string          `json:"zone"`
	Serial  uint32          `json:"serial"` // now
	Changes []historyChange `json:"changes"`
}

// A historyChange is one change. Removed and Added are records as zone files have them.
type historyChange struct {
	From    uint32    `json:"from"`
	To      uint32    `json:"to"`
	At      time.Time `json:"at,omitzero"`
	By      string    `json:"by,omitempty"`
	Removed []string  `json:"removed"`
	Added   []string  `json:"added"`
	Notes   int       `json:"notes"` // comments, disabled records and the like that changed
}

func ownHistory(c *call) error {
	v, err := c.find(c.params[0])
	if err != nil {
		return err
	}
	if !c.holder.MayWholeZone(grant.Read, v.Apex, c.now) {
		return forbidden(c.credential() + " may not read the whole of zone " + wire.NameText(v.Apex))
	}
	limit, err := c.limitOf("limit", 100, maxPage)
	if err != nil {
		return err
	}
	deltas, err := c.zones.History(v.Key)
	if err != nil {
		return err
	}
	all := func([]byte, wire.Type) bool { return true }
	list := historyList{Zone: wire.NameText(v.Apex), Serial: serialOf(v.Zone), Changes: []historyChange{}}
	for _, d := range slices.Backward(deltas) {
		if len(list.Changes) == limit {
			break
		}
		list.Changes = append(list.Changes, historyChange{
			From: d.From, To: d.To, At: d.At, By: d.By, Removed: linesOf(d.Removed, all), Added: linesOf(d.Added, all), Notes: len(d.Notes),
		})
	}
	return c.json(http.StatusOK, list)
}

// An undoRequest says which version's content a zone is to have: that with a serial, that at a moment, or
// if it says neither the one before the last change.
type undoRequest struct {
	Serial *uint32 `json:"serial,omitempty"`
	At     string  `json:"at,omitempty"`
}

// pointOf reads a serial or a moment.
func pointOf(text string) (zones.VersionRef, error) {
	if n, err := strconv.ParseUint(text, 10, 32); err == nil {
		serial := uint32(n)
		return zones.VersionRef{Serial: &serial}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return zones.VersionRef{}, &problem{status: http.StatusBadRequest, text: "write a serial, or a time such as 2026-11-30T12:00:00Z"}
	}
	return zones.VersionRef{Time: at}, nil
}

func ownUndo(c *call) error {
	v, err := c.find(c.params[0])
	if err != nil {
		return err
	}
	if !c.holder.MayWholeZone(grant.Change, v.Apex, c.now) {
		return forbidden(c.credential() + " may not change the whole of zone " + wire.NameText(v.Apex))
	}
	var request undoRequest
	if err := c.read(&request); err != nil {
		return err
	}
	point := zones.VersionRef{Serial: request.Serial}
	if request.At != "" {
		if point, err = pointOf(request.At); err != nil {
			return err
		}
	}
	fits, err := c.versions()
	if err != nil {
		return err
	}
	e, err := c.zones.Undo(v.Key, c.by(), point, fits)
	if err != nil {
		if errors.Is(err, zones.ErrVersion) {
			return &problem{status: http.StatusPreconditionFailed, text: err.Error()}
		}
		return err
	}
	c.events.tell(happened{Kind: "zone", Zone: wire.NameText(v.Apex), By: c.by(), From: e.From, To: e.To, apex: v.Apex})
	c.w.Header().Set("ETag", tagOf(e.Zone))
	return c.json(http.StatusOK, edited{wire.NameText(v.Apex), e.From, e.To})
}

// roundTime returns a time as people write it: 1h, not 1h0m0s.
func roundTime(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
