package api

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"port53/internal/authority"
	"port53/internal/store"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zonefile"
	"port53/internal/zones"
)

// nameOf reads a name that has to be written in full, with its last dot.
func nameOf(text string) ([]byte, error) {
	if !strings.HasSuffix(text, ".") || strings.HasPrefix(text, ".") && text != "." {
		return nil, invalid("DNS Name '" + text + "' is not canonical")
	}
	name, err := wire.ParseName(text)
	if err != nil {
		return nil, invalid("Unable to parse DNS Name '" + text + "': " + err.Error())
	}
	return name, nil
}

// plainName refuses names that no host, zone or service has.
func plainName(name []byte) error {
	text := wire.NameText(name)
	for _, r := range strings.TrimPrefix(text, "*.") {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_/.-", r)) {
			return invalid("Name '" + text + "' contains unsupported characters")
		}
	}
	return nil
}

// zoneID returns a zone's name as URLs of PowerDNS have it.
//
// A zone of which there are several has behind it a dot and what tells it from the others, such as a view.
func zoneID(key []byte) string {
	apex := store.Apex(key)
	text := wire.NameText(apex)
	if len(key) > len(apex) {
		text += "." + string(key[len(apex):])
	}
	if text == "." {
		return "=2E"
	}
	var b strings.Builder
	for _, c := range []byte(text) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	return b.String()
}

// parseZoneID reads what URLs have: a name with or without its last dot, some octets of it written as
// =XX. It returns the key of the zone.
func parseZoneID(id string) ([]byte, error) {
	var text []byte
	for i := 0; i < len(id); i++ {
		if id[i] != '=' {
			text = append(text, id[i])
			continue
		}
		var c byte
		if i+2 >= len(id) {
			return nil, notFound()
		}
		if _, err := fmt.Sscanf(id[i+1:i+3], "%02x", &c); err != nil {
			return nil, notFound()
		}
		text, i = append(text, c), i+2
	}
	name, of, _ := strings.Cut(string(text), "..")
	apex, err := wire.ParseName(name)
	if err != nil || len(text) == 0 {
		return nil, notFound()
	}
	return store.Key(apex, of), nil
}

// contentOf returns a record's data as texts have it, in the form that PowerDNS writes where there are
// several: clients compare texts.
func contentOf(t wire.Type, data []byte) string {
	text := string(wire.AppendRdataText(nil, t, data))
	switch t {
	case wire.TypeDS, wire.TypeCDS, wire.TypeZONEMD, wire.TypeSSHFP, wire.TypeTLSA, wire.TypeSMIMEA:
		return strings.ToLower(text)
	case wire.TypeLOC:
		words := strings.Fields(text)
		for i, w := range words {
			if m, metres := strings.CutSuffix(w, "m"); metres && !strings.Contains(m, ".") {
				words[i] = m + ".00m"
			}
		}
		return strings.Join(words, " ")
	}
	return text
}

// shortContent is how PowerDNS keeps a record, and names it in its complaints: names are without their last
// dot.
func shortContent(content string) string {
	if strings.Contains(content, `"`) {
		return content
	}
	words := strings.Split(content, " ")
	for i, w := range words {
		if len(w) > 1 {
			words[i] = strings.TrimSuffix(w, ".")
		}
	}
	return strings.Join(words, " ")
}

// parseContent reads a record's data. It has to be written as [contentOf] writes it, but for the case of
// letters: what is short of a dot or of quotes is more often wrong than meant.
func parseContent(owner []byte, t wire.Type, content string) ([]byte, error) {
	where := "Record " + wire.NameText(owner) + "/" + t.String() + " '" + content + "': "
	fail := func(text string) ([]byte, error) { return nil, invalid(where + text) }
	if t == wire.TypeAAAA {
		a, err := netip.ParseAddr(content)
		if err != nil || !a.Is6() || a.Zone() != "" || strings.Contains(content, ".") {
			return fail("Invalid IPv6 address")
		}
		b := a.As16()
		return b[:], nil
	}
	if strings.ContainsAny(content, "\r\n\x00") {
		return fail("it is more than one line")
	}
	if len(content) == 0 {
		return fail("Parsing record content: it is empty")
	}
	data, err := dataOf(wire.Root, t, content)
	if err != nil {
		return fail("Parsing record content: " + err.Error())
	}
	text := contentOf(t, data)
	switch t {
	case wire.TypeSVCB, wire.TypeHTTPS, wire.TypeLOC: // they are written in more ways than one
		elsewhere, err := dataOf([]byte("\x01x\x00"), t, content)
		if err != nil || bytes.Equal(elsewhere, data) {
			return data, nil
		}
	}
	if !strings.EqualFold(text, content) && !strings.HasPrefix(content, `\#`) {
		return fail("Not in expected format (parsed as '" + text + "')")
	}
	return data, nil
}

// dataOf reads data as a zone file has it.
func dataOf(origin []byte, t wire.Type, content string) (data []byte, err error) {
	line := ". 0 IN " + t.String() + " " + content + "\n"
	_, err = zonefile.Read(
		strings.NewReader(line),
		zonefile.Options{Origin: origin, Name: "content", MaxRecords: 1},
		func(r *zonefile.Record) error {
			data = bytes.Clone(r.Data)
			return nil
		},
	)
	if err == nil && data == nil {
		err = invalid("there is no data")
	}
	if err != nil {
		text := err.Error()
		if _, rest, ok := strings.Cut(text, ": "); ok && strings.HasPrefix(text, "content:") {
			text = rest
		}
		return nil, invalid(text)
	}
	return data, nil
}

// A record is one of a set, served or not.
type record struct {
	Content  string `json:"content"`
	Disabled bool   `json:"disabled"`

	data []byte
}

// An rrset is a set of records as the API shows it, with what is said of it.
type rrset struct {
	Name     string    `json:"name"`
	Type     string    `json:"type"`
	TTL      uint32    `json:"ttl"`
	Records  []record  `json:"records"`
	Comments []comment `json:"comments"`

	owner []byte
	t     wire.Type
}

func newRRset(owner []byte, t wire.Type) *rrset {
	return &rrset{Name: wire.NameText(owner), Type: t.String(), Records: []record{}, Comments: []comment{}, owner: owner, t: t}
}

// complete adds what is noted of a set to what is served of it.
func (s *rrset) complete(info setInfo) {
	for i, d := range info.Disabled {
		if len(s.Records) == 0 && i == 0 || d.TTL < s.TTL {
			s.TTL = d.TTL
		}
		s.Records = append(s.Records, record{Content: contentOf(s.t, d.Data), Disabled: true, data: d.Data})
	}
	s.Comments = append(s.Comments, info.Comments...)
}

// eachRRset calls f with the sets of a version, in its order, then with those of which nothing is served,
// until f returns false. f may keep them.
func eachRRset(z *zone.Zone, f func(*rrset) bool) {
	notes := z.Notes()
	told := map[string]bool{}
	var at *rrset
	done := false
	flush := func() {
		if at != nil && !done {
			if notes.Len() > 0 {
				key := setNote(at.owner, at.t)
				if text := notes.Get(key); text != "" {
					told[key] = true
					at.complete(parseSetInfo(text))
				}
			}
			done = !f(at)
		}
		at = nil
	}
	z.Each(func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		if at == nil || at.t != t || !bytes.Equal(at.owner, owner) {
			flush()
			at = newRRset(bytes.Clone(owner), t)
			at.TTL = ttl
		}
		at.TTL = min(at.TTL, ttl)
		data = bytes.Clone(data)
		at.Records = append(at.Records, record{Content: contentOf(t, data), data: data})
		return !done
	})
	flush()
	if done || notes.Len() == 0 {
		return
	}
	var rest []string
	notes.Each(func(key, _ string) bool {
		if !told[key] && key != zoneNote {
			rest = append(rest, key)
		}
		return true
	})
	slices.Sort(rest)
	for _, key := range rest {
		owner, t, ok := parseSetNote(key)
		if !ok {
			continue
		}
		info := parseSetInfo(notes.Get(key))
		if spelled, err := wire.ParseName(info.Owner); err == nil && info.Owner != "" {
			owner = spelled
		}
		s := newRRset(owner, t)
		if s.complete(info); !f(s) {
			return
		}
	}
}

// serialAfter returns the serial that follows one, as SOA-EDIT-API of PowerDNS says. It is newer always:
// secondaries would not follow otherwise.
func serialAfter(kind, edit string, serial uint32, now time.Time) uint32 {
	next := serial + 1
	date := func() uint32 {
		y, m, d := now.Date()
		return uint32(y*1000000 + int(m)*10000 + d*100 + 1)
	}
	switch strings.ToUpper(kind) {
	case "INCREASE", "OFF", "":
		return next
	case "EPOCH":
		next = uint32(now.Unix())
	case "SOA-EDIT", "SOA-EDIT-INCREASE":
		if strings.EqualFold(edit, "EPOCH") {
			next = uint32(now.Unix())
		} else if strings.HasPrefix(strings.ToUpper(edit), "INCEPTION") {
			next = date()
		}
	default:
		next = date()
	}
	if !zone.Newer(next, serial) {
		return serial + 1
	}
	return next
}

// setOf returns the records of a set that are served, for the zone manager.
func (s *rrset) set() authority.Set {
	set := authority.Set{Owner: s.owner, Type: s.t, TTL: s.TTL}
	for _, r := range s.Records {
		if !r.Disabled {
			set.Data = append(set.Data, r.data)
		}
	}
	return set
}

// info returns what is noted of a set.
func (s *rrset) info() setInfo {
	info := setInfo{Comments: s.Comments}
	for _, r := range s.Records {
		if r.Disabled {
			info.Disabled = append(info.Disabled, disabledOne{s.TTL, r.data})
		}
	}
	return info
}

// currentRRset returns a set as a plan finds it.
func currentRRset(now *authority.Updater, notes *zone.Notes, owner []byte, t wire.Type) *rrset {
	had := now.Set(owner, t)
	s := newRRset(owner, t)
	s.TTL = had.TTL
	for _, data := range had.Data {
		s.Records = append(s.Records, record{Content: contentOf(t, data), data: data})
	}
	s.complete(setInfoOf(notes, owner, t))
	return s
}

// find returns a zone that the caller may see something of.
func (c *call) find(id string) (zones.Snapshot, error) {
	key, err := parseZoneID(id)
	if err != nil {
		return zones.Snapshot{}, err
	}
	if q := c.r.URL.Query(); q.Has("view") {
		if key, err = c.inView(key, q.Get("view")); err != nil {
			return zones.Snapshot{}, err
		}
	}
	v, ok := c.zones.Snapshot(key)
	if !ok || !c.sees(v.Apex) {
		return v, notFound()
	}
	return v, nil
}

// inView returns the key of the zone that a view sees; with view empty it has to be the only one of its name. The
// key that is asked for is of that zone, or says no more than its name.
func (c *call) inView(asked []byte, view string) ([]byte, error) {
	apex := store.Apex(asked)
	if !c.sees(apex) {
		return nil, notFound()
	}
	key, err := c.zones.Key(apex, view)
	var several *zones.SeveralError
	switch {
	case errors.As(err, &several) && c.local == "":
		return nil, invalid("the zone exists in several views: choose one with ?view=, of " + strings.Join(several.Views, ", "))
	case errors.As(err, &several):
		return nil, invalid(err.Error())
	case err != nil:
		return nil, &problem{status: http.StatusNotFound, text: err.Error()}
	case len(asked) > len(apex) && !bytes.Equal(asked, key):
		return nil, invalid("the id of the zone says another view than ?view=: leave one of them out")
	}
	return key, nil
}
