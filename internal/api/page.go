package api

import (
	"net/http"
	"slices"
	"strings"

	"port53/internal/grant"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zones"
)

// maxSorted is how many sets are brought into the order of their names; of more, a page has them as the zone
// does.
const maxSorted = 100_000

// A recordList is a part of the sets of a zone.
type recordList struct {
	Zone   string  `json:"zone"`
	Serial uint32  `json:"serial"`
	Total  int     `json:"total"` // sets that fit
	Offset int     `json:"offset"`
	Sorted bool    `json:"sorted"` // by name, as was asked for
	Sets   []rrset `json:"sets"`
}

// A pager finds a part of the sets of a version that fit, and makes text of no others than it has to.
type pager struct {
	z     *zone.Zone
	name  []byte    // in lower case; nil: any
	typ   wire.Type // 0: any
	match func(text string) bool
	may   func(owner []byte, t wire.Type) bool // nil: all may be read
}

// newPager returns what finds the sets that a request is about.
func (c *call) newPager(v *zones.Snapshot, z *zone.Zone) (*pager, error) {
	q := c.r.URL.Query()
	p := &pager{z: z}
	if text := q.Get("name"); text != "" {
		name, err := wire.ParseName(strings.TrimSuffix(text, ".") + ".")
		if err != nil {
			return nil, &problem{status: http.StatusBadRequest, text: "name is not a name"}
		}
		p.name = wire.Lower(nil, name)
	}
	if text := q.Get("type"); text != "" {
		t, ok := wire.ParseType(strings.ToUpper(text))
		if !ok {
			return nil, &problem{status: http.StatusBadRequest, text: "type is not a record type"}
		}
		p.typ = t
	}
	if text := q.Get("q"); text != "" {
		p.match = like(text)
	}
	if !c.holder.MayWholeZone(grant.Read, v.Apex, c.now) {
		p.may = func(owner []byte, t wire.Type) bool { return c.may(grant.Read, v.Apex, wire.Lower(nil, owner), t) }
	}
	return p, nil
}

// each calls f with each set that fits, by what makes it whole, until f returns false.
func (p *pager) each(f func(owner func() []byte, whole func() *rrset) bool) {
	notes := p.z.Notes()
	more := true
	p.z.EachSet(func(n zone.Node, set *zone.RRset) bool {
		var name []byte
		owner := func() []byte {
			if name == nil {
				name = p.z.AppendName(nil, n)
			}
			return name
		}
		types := [2]wire.Type{set.Type, wire.TypeRRSIG}
		for _, t := range types[:1+min(1, set.Sigs)] {
			whole := func() *rrset { return p.served(n, set, owner(), t, notes) }
			if more = !p.fits(owner, t, whole) || f(owner, whole); !more {
				return false
			}
		}
		return true
	})
	if more && notes.Len() > 0 {
		p.rest(notes, f)
	}
}

// fits reports whether a set is one of those that are asked for.
func (p *pager) fits(owner func() []byte, t wire.Type, whole func() *rrset) bool {
	if p.typ != 0 && t != p.typ || p.name != nil && string(wire.Lower(nil, owner())) != string(p.name) ||
		p.may != nil && !p.may(owner(), t) {
		return false
	}
	if p.match == nil || p.match(strings.TrimSuffix(wire.NameText(owner()), ".")) {
		return true
	}
	return slices.ContainsFunc(whole().Records, func(r record) bool { return p.match(r.Content) })
}

// served returns a set of which something is served.
func (p *pager) served(n zone.Node, set *zone.RRset, owner []byte, t wire.Type, notes *zone.Notes) *rrset {
	s := newRRset(owner, t)
	p.z.EachRecord(n, set, func(_ []byte, of wire.Type, ttl uint32, data []byte) bool {
		if of != t {
			return true
		}
		if data = slices.Clone(data); len(s.Records) == 0 || ttl < s.TTL {
			s.TTL = ttl
		}
		s.Records = append(s.Records, record{Content: contentOf(t, data), data: data})
		return true
	})
	if notes.Len() > 0 {
		s.complete(setInfoOf(notes, owner, t))
	}
	return s
}

// rest goes on with the sets of which nothing is served.
func (p *pager) rest(notes *zone.Notes, f func(owner func() []byte, whole func() *rrset) bool) {
	var keys []string
	notes.Each(func(key, _ string) bool {
		if owner, t, ok := parseSetNote(key); ok && key != zoneNote {
			if _, served := typesAt(p.z, owner)[t]; !served {
				keys = append(keys, key)
			}
		}
		return true
	})
	slices.Sort(keys)
	for _, key := range keys {
		name, t, _ := parseSetNote(key)
		info := parseSetInfo(notes.Get(key))
		if spelled, err := wire.ParseName(info.Owner); err == nil && info.Owner != "" {
			name = spelled
		}
		owner := func() []byte { return name }
		whole := func() *rrset {
			s := newRRset(name, t)
			s.complete(info)
			return s
		}
		if p.fits(owner, t, whole) && !f(owner, whole) {
			return
		}
	}
}

// page fills in the part of the sets behind offset, and how many fit.
func (p *pager) page(list *recordList, limit int, sorted bool) {
	var names []string // by which all are sorted
	p.each(func(owner func() []byte, whole func() *rrset) bool {
		switch {
		case sorted && list.Total < maxSorted:
			names = append(names, sortKey(owner()))
		case sorted:
			sorted, names = false, nil
		}
		if !sorted && list.Total >= list.Offset && len(list.Sets) < limit {
			list.Sets = append(list.Sets, *whole())
		}
		list.Total++
		return true
	})
	if list.Sorted = sorted; sorted {
		p.pick(list, limit, names)
		return
	}
	if len(list.Sets) < limit && list.Offset+len(list.Sets) < list.Total {
		p.again(list, limit) // what was left out while they were to be sorted
	}
}

// again fills in the part of too many sets to sort.
func (p *pager) again(list *recordList, limit int) {
	i := 0
	list.Sets = list.Sets[:0]
	p.each(func(_ func() []byte, whole func() *rrset) bool {
		if i >= list.Offset {
			list.Sets = append(list.Sets, *whole())
		}
		i++
		return len(list.Sets) < limit
	})
}

// pick fills in the part of sets that are sorted by names, which are in the order of the zone.
func (p *pager) pick(list *recordList, limit int, names []string) {
	order := make([]int, len(names))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return strings.Compare(names[a], names[b]) })
	from := min(list.Offset, len(order))
	order = order[from:min(from+limit, len(order))]
	places := make(map[int]int, len(order))
	for to, i := range order {
		places[i] = to
	}
	list.Sets = make([]rrset, len(order))
	i, left := 0, len(order)
	p.each(func(_ func() []byte, whole func() *rrset) bool {
		if to, wanted := places[i]; wanted {
			list.Sets[to] = *whole()
			left--
		}
		i++
		return left > 0
	})
}

// sortKey returns what names are compared by: labels from the last to the first (RFC 4034, section 6.1).
func sortKey(name []byte) string {
	var labels [][]byte
	for name = wire.Lower(nil, name); len(name) > 1; name = name[1+name[0]:] {
		labels = append(labels, name[1:1+name[0]])
	}
	var key strings.Builder
	for _, l := range slices.Backward(labels) {
		for _, b := range l {
			if b <= 1 {
				key.WriteByte(1)
				b++
			}
			key.WriteByte(b)
		}
		key.WriteByte(0) // a label that is the beginning of another comes before it
	}
	return key.String()
}

// sendRecords sends sets of a version of a zone.
func (c *call) sendRecords(v *zones.Snapshot, version *zone.Zone, offset, limit int) error {
	list := recordList{Zone: wire.NameText(v.Apex), Serial: serialOf(version), Offset: offset, Sets: []rrset{}}
	if version != nil {
		p, err := c.newPager(v, version)
		if err != nil {
			return err
		}
		p.page(&list, limit, c.r.URL.Query().Get("sort") == "name")
	}
	c.w.Header().Set("ETag", tagOf(version))
	return c.json(http.StatusOK, list)
}
