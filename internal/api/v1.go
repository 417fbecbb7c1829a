package api

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"port53/internal/authority"
	"port53/internal/grant"
	"port53/internal/top"
	"port53/internal/why"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zones"
)

// An operation is what the document of the API says of a route.
type operation struct {
	Summary string
	In, Out any      // values of the types of the body and of the answer; nil: there is none
	Query   []string // parameters, each "name: what it is"
	Status  int      // of the answer; 0: 200
	Stream  string   // the media type of an answer that is no JSON
}

// ownRoutes are the paths of the API at /v1.
// In one piece: it is the table of them.
func ownRoutes() []route {
	with := func(r route, o operation) route {
		r.doc = &o
		return r
	}
	return append([]route{
		with(at("GET", "/v1", ownRoot), operation{Summary: "Who asks, and what they may do", Out: whoami{}}),
		with(at("GET", "/v1/openapi.json", ownDocument), operation{Summary: "This document", Stream: "application/json"}),
		with(at("GET", "/v1/status", ownStatus), operation{Summary: "The server as a whole", Out: ServerStatus{}}),
		with(
			at("GET", "/v1/settings", ownSettings),
			operation{Summary: "The configuration in effect, and where each value comes from", Out: []Setting{}},
		),
		with(at("GET", "/v1/statistics", ownStatistics), operation{Summary: "All counters, as the metrics have them", Out: []Statistic{}}),
		with(
			at("GET", "/v1/events", ownEvents),
			operation{Summary: "What happens, as it does (server-sent events)", Stream: "text/event-stream"},
		),
		with(at("GET", "/v1/top", ownTop), operation{
			Summary: "Who asks most, and for what",
			Out:     top.Report{},
			Query: []string{
				"window: recent (the last five to ten seconds, unless given) or all (top.keep at least)",
				"limit: rows of each kind at most, 20 unless given",
			},
		}),
		with(at("GET", "/v1/tunnels", ownTunnels), operation{
			Summary: "Clients that are taken to move data through DNS, the latest first, and why",
			Out:     top.TunnelReport{},
		}),
		with(at("GET", "/v1/queries", ownQueries), operation{
			Summary: "Queries as they are answered (server-sent events): query has one of them, lost how many were left out so far",
			Stream:  "text/event-stream",
			Query: []string{
				"name: of this name and those below it",
				"client: of this address or network",
				"rcode: with this response code",
				"type: of this type",
				"path: answered from there: zone, names, builtin, cache, stale, miss, policy, manager or server",
				"problems: those alone that are refused, failed, limited, stale, blocked or dropped",
			},
		}),
		with(at("GET", "/v1/why", ownWhyAll), operation{
			Summary: "Why answers were as they were: the problems that are remembered, the newest first",
			Out:     []why.Report{},
			Query:   whyParameters(),
		}),
		with(at("GET", "/v1/why/*", ownWhy), operation{
			Summary: "Why an answer was as it was, by its id or the name that was asked for, the newest first",
			Out:     []why.Report{},
			Query:   whyParameters(),
		}),
		with(at("GET", "/v1/zones", ownZones), operation{
			Summary: "The zones, in the order of their names",
			Out:     zoneList{},
			Query: []string{
				"after: the id that the last answer ended with",
				"offset: zones that are left out, instead; they are in the order of the alphabet then",
				"limit: zones at most, 1000 unless given",
				"q: a pattern that names fit, with * and ?",
				"role: primary or secondary alone",
			},
		}),
		with(at("GET", "/v1/zones/*", ownZone), operation{Summary: "A zone, without its records", Out: zoneStatus{}}),
		with(at("GET", "/v1/zones/*/records", ownRecords), operation{
			Summary: "The sets of a zone, in its order; ETag is its version",
			Out:     recordList{},
			Query: []string{
				"offset: sets that are left out",
				"limit: sets at most, 1000 unless given",
				"sort: name, to have up to 100,000 sets in the order of their names",
				"at: the serial or the time of an earlier version",
				"name: of this name alone",
				"type: of this type alone",
				"q: a pattern that names or contents fit",
			},
		}),
		with(at("PATCH", "/v1/zones/*/records", ownEdit), operation{
			Summary: "Change sets of a zone, all or none; If-Match refuses if it has changed meanwhile", In: editRequest{}, Out: edited{},
		}),
		with(
			at("POST", "/v1/zones/*/plan", ownPlan),
			operation{Summary: "What changes would do, and what follows of it; nothing is changed", In: editRequest{}, Out: planned{}},
		),
		with(
			at("GET", "/v1/zones/*/history", ownHistory),
			operation{
				Summary: "The changes that are known, the newest first",
				Out:     historyList{},
				Query:   []string{"limit: changes at most, 100 unless given"},
			},
		),
		with(at("POST", "/v1/zones/*/undo", ownUndo), operation{
			Summary: "Give a zone the content that it had, with a newer serial", In: undoRequest{}, Out: edited{},
		}),
		with(
			at("GET", "/v1/keys", ownKeys),
			operation{Summary: "The keys of transfers and updates, without their secrets", Out: []ownKey{}},
		),
		with(at("GET", "/v1/zones/*/keys", ownZoneKeys), operation{Summary: "The DNSSEC keys of a zone", Out: []pdnsCryptokey{}}),
	}, operatorRoutes()...)
}

// A whoami is who asks.
type whoami struct {
	Name   string       `json:"name"`
	Kind   string       `json:"kind"`
	Admin  bool         `json:"admin"` // of the server
	Grants []grantShown `json:"grants"`
}

// A grantShown is one grant of who asks.
type grantShown struct {
	AllZones bool      `json:"all_zones"`
	Names    []string  `json:"names"`
	Types    []string  `json:"types"`
	Verbs    []string  `json:"verbs"`
	Until    time.Time `json:"until,omitzero"`
}

func ownRoot(c *call) error {
	w := whoami{Name: c.holder.Name, Kind: c.holder.Kind.String(), Admin: c.holder.MayServer(grant.Admin, c.now), Grants: []grantShown{}}
	for i := range c.holder.Grants {
		g := &c.holder.Grants[i]
		s := grantShown{
			AllZones: g.Zones.All,
			Names:    g.Names,
			Types:    []string{},
			Verbs:    strings.Split(g.Verbs.String(), ","),
			Until:    g.Until,
		}
		for _, t := range g.Types {
			s.Types = append(s.Types, t.String())
		}
		w.Grants = append(w.Grants, s)
	}
	return c.json(http.StatusOK, w)
}

func ownStatus(c *call) error {
	if err := c.server(grant.Read); err != nil {
		return err
	}
	return c.json(http.StatusOK, c.host.Server())
}

func ownSettings(c *call) error {
	if err := c.server(grant.Admin); err != nil {
		return err
	}
	return c.json(http.StatusOK, append([]Setting{}, c.host.Settings()...))
}

func ownStatistics(c *call) error {
	if err := c.server(grant.Read); err != nil {
		return err
	}
	return c.json(http.StatusOK, append([]Statistic{}, c.host.Statistics()...))
}

// An ownKey is a key of transfers and updates, as far as others may know.
type ownKey struct {
	Name      string `json:"name"`
	Algorithm string `json:"algorithm"`
	Place     string `json:"configured_at,omitempty"`
}

func ownKeys(c *call) error {
	if err := c.server(grant.Admin); err != nil {
		return err
	}
	list := []ownKey{}
	for _, k := range c.host.TSIGKeys() {
		list = append(list, ownKey{k.Name, k.Algorithm, k.Place})
	}
	return c.json(http.StatusOK, list)
}

func ownZoneKeys(c *call) error {
	_, keys, err := c.keys(c.params[0])
	if err != nil {
		return err
	}
	list := []pdnsCryptokey{}
	for i := range keys {
		list = append(list, shownKey(&keys[i], false))
	}
	return c.json(http.StatusOK, list)
}

// A zoneStatus is a zone as a whole.
type zoneStatus struct {
	ID string `json:"id"` // in the paths of the API
	zones.Status
	Kind     string              `json:"kind"`
	Account  string              `json:"account,omitempty"`
	Metadata map[string][]string `json:"metadata,omitempty"`        // for who administers the zone
	Unsigned uint32              `json:"unsigned_serial,omitempty"` // of a zone that is signed here
	Editable bool                `json:"editable"`                  // whoever may change it can do so here
}

func (c *call) statusOf(v *zones.Snapshot) zoneStatus {
	info := infoOf(notesOf(v.Zone))
	s := zoneStatus{ID: zoneID(v.Key), Status: v.Status, Kind: kindOf(v, &info), Account: info.Account}
	if c.admin(v.Apex) == nil { // as at /api, where metadata says who may have the zone
		s.Metadata = info.Metadata
	}
	s.Editable = v.Zone != nil && v.Status.Role != "secondary" && !v.Status.Frozen && !(v.Zone.Signed() && v.Served == v.Zone)
	if v.Status.Signing != nil {
		s.Unsigned = serialOf(v.Zone)
	}
	return s
}

// A zoneList is a part of the zones.
type zoneList struct {
	Zones []zoneStatus `json:"zones"`
	More  bool         `json:"more"`  // there are more behind these: ask for those after the last
	Total int          `json:"total"` // that fit, wherever the part begins
}

// limitOf returns a number of the query, between 0 and most.
func (c *call) limitOf(name string, usual, most int) (int, error) {
	text := c.r.URL.Query().Get(name)
	if text == "" {
		return usual, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > most {
		return 0, &problem{status: http.StatusBadRequest, text: fmt.Sprintf("%s is a number between 0 and %d", name, most)}
	}
	return n, nil
}

const (
	usualPage = 1000
	maxPage   = 10_000
)

func ownZones(c *call) error {
	limit, err := c.limitOf("limit", usualPage, maxPage)
	if err != nil {
		return err
	}
	q := c.r.URL.Query()
	var after []byte
	if text := q.Get("after"); text != "" {
		if after, err = parseZoneID(text); err != nil {
			return &problem{status: http.StatusBadRequest, text: "after is not a zone"}
		}
	}
	fits := like("*")
	if text := q.Get("q"); text != "" {
		fits = like(text)
	}
	offset, err := c.limitOf("offset", 0, 1<<31-1)
	if err != nil {
		return err
	}
	list := zoneList{Zones: []zoneStatus{}}
	type named struct{ name, key string }
	paged := q.Has("offset") // people look at them: in the order of the alphabet
	var found []named
	role := q.Get("role")
	c.zones.List(func(b *zones.Summary) bool {
		if !c.sees(b.Apex()) || !fits(strings.TrimSuffix(wire.NameText(b.Apex()), ".")) ||
			role != "" && (role == "secondary") != b.Secondary {
			return true
		}
		list.Total++
		switch {
		case paged:
			found = append(found, named{wire.NameText(b.Apex()), string(b.Key)})
		case string(b.Key) <= string(after):
		case len(list.Zones) == limit:
			list.More = true
		default:
			if v, ok := c.zones.Snapshot(b.Key); ok {
				list.Zones = append(list.Zones, c.statusOf(&v))
			}
		}
		return true
	})
	slices.SortFunc(found, func(a, b named) int { return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.key, b.key)) })
	for _, one := range found[min(offset, len(found)):min(offset+limit, len(found))] {
		if v, ok := c.zones.Snapshot([]byte(one.key)); ok {
			list.Zones = append(list.Zones, c.statusOf(&v))
		}
	}
	list.More = list.More || offset+limit < len(found)
	return c.json(http.StatusOK, list)
}

func ownZone(c *call) error {
	v, err := c.find(c.params[0])
	if err != nil {
		return err
	}
	c.w.Header().Set("ETag", tagOf(v.Zone))
	return c.json(http.StatusOK, c.statusOf(&v))
}

// tagOf returns what tells a version from others: its serial, and how many notes it has.
func tagOf(z *zone.Zone) string {
	if z == nil {
		return `"0"`
	}
	return fmt.Sprintf(`"%d"`, z.Serial())
}

func ownRecords(c *call) error {
	v, err := c.find(c.params[0])
	if err != nil {
		return err
	}
	limit, err := c.limitOf("limit", usualPage, maxPage)
	if err != nil {
		return err
	}
	offset, err := c.limitOf("offset", 0, 1<<31-1)
	if err != nil {
		return err
	}
	version := v.Zone
	if text := c.r.URL.Query().Get("at"); text != "" {
		point, err := pointOf(text)
		if err != nil {
			return err
		}
		if version, err = c.zones.At(v.Key, point); err != nil {
			return &problem{status: http.StatusNotFound, text: err.Error()}
		}
	}
	return c.sendRecords(&v, version, offset, limit)
}

// An editRequest is what is to become of sets of a zone.
type editRequest struct {
	Changes []editSet `json:"changes"`
}

// An editSet is what is to become of one set. Without records and comments it goes.
type editSet struct {
	Change   string       `json:"change"` // replace, delete, extend or prune
	Name     string       `json:"name"`   // in full, with its last dot
	Type     string       `json:"type"`
	TTL      *int64       `json:"ttl,omitempty"`
	Records  []editRecord `json:"records,omitempty"`
	Comments []comment    `json:"comments,omitempty"`
}

// An editRecord is one record, as a zone file has its data.
type editRecord struct {
	Content  string `json:"content"`
	Disabled bool   `json:"disabled,omitempty"`
}

// An edited is what came of a request.
type edited struct {
	Zone string `json:"zone"`
	From uint32 `json:"from"` // serials
	To   uint32 `json:"to"`
}

// read decodes the body of a request into v, and refuses what v does not have.
func (c *call) read(v any) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return &problem{status: http.StatusBadRequest, text: "the body is not as the document of the API says: " + err.Error()}
	}
	return nil
}

// changesOf returns the changes of a request, each of which the caller may make.
func (c *call) changesOf(apex []byte, list []editSet) ([]*change, error) {
	docs := make([]document, len(list))
	for i, e := range list {
		d := document{"name": e.Name, "type": e.Type, "changetype": e.Change}
		if e.TTL != nil {
			d["ttl"] = json.Number(strconv.FormatInt(*e.TTL, 10))
		}
		if e.Records != nil {
			records := []any{}
			for _, r := range e.Records {
				records = append(records, map[string]any{"content": r.Content, "disabled": r.Disabled})
			}
			d["records"] = records
		}
		if e.Comments != nil {
			comments := []any{}
			for _, m := range e.Comments {
				one := map[string]any{"content": m.Content, "account": m.Account}
				if m.ModifiedAt > 0 {
					one["modified_at"] = json.Number(strconv.FormatInt(m.ModifiedAt, 10))
				}
				comments = append(comments, one)
			}
			d["comments"] = comments
		}
		docs[i] = d
	}
	return c.readChanges(apex, docs)
}

// matching returns a plan that is refused if the version is another than those that the request is for.
func (c *call) matching(plan zones.Plan) (zones.Plan, error) {
	fits, err := c.versions()
	if err != nil || fits == nil {
		return plan, err
	}
	return func(now *authority.Updater, notes *zone.Notes) (zones.Changes, error) {
		if !fits(now.Serial()) {
			text := fmt.Sprintf(`the zone has changed: its version is "%d"`, now.Serial())
			return zones.Changes{}, &problem{status: http.StatusPreconditionFailed, text: text}
		}
		return plan(now, notes)
	}, nil
}

// versions returns what tells the versions that If-Match names, nil if it says nothing or that any will do. It may
// be there several times, and each name several versions; weak ones are never the same (RFC 9110, section
// 13.1.1).
func (c *call) versions() (fits func(serial uint32) bool, err error) {
	lines := c.r.Header.Values("If-Match")
	rest := strings.Join(lines, ",")
	if len(lines) == 0 || strings.TrimSpace(rest) == "*" {
		return nil, nil
	}
	tags := map[string]bool{}
	for {
		if rest = strings.TrimLeft(rest, " \t,"); rest == "" {
			break
		}
		tag, weak := strings.CutPrefix(rest, "W/")
		end := strings.IndexByte(tag[min(1, len(tag)):], '"') + 2
		if tag == "" || tag[0] != '"' || end < 2 || end < len(tag) && !strings.ContainsRune(" \t,", rune(tag[end])) {
			text := `If-Match is not an ETag of the zone, such as "7", nor a list of such`
			return nil, &problem{status: http.StatusBadRequest, text: text}
		}
		if rest = tag[end:]; !weak {
			tags[tag[:end]] = true
		}
	}
	return func(serial uint32) bool { return tags[fmt.Sprintf(`"%d"`, serial)] }, nil
}

// changesAsked returns the zone of a request, and the changes to it that the request is about: at
// least one.
func (c *call) changesAsked() (zones.Snapshot, []*change, error) {
	v, err := c.find(c.params[0])
	if err != nil {
		return v, nil, err
	}
	var request editRequest
	if err := c.read(&request); err != nil {
		return v, nil, err
	}
	changes, err := c.changesOf(v.Apex, request.Changes)
	if err == nil && len(changes) == 0 {
		err = invalid("there is no change")
	}
	return v, changes, err
}

func ownEdit(c *call) error {
	v, changes, err := c.changesAsked()
	if err != nil {
		return err
	}
	plan, err := c.matching(c.planned(v.Apex, changes))
	if err != nil {
		return err
	}
	e, err := c.edit(v.Key, plan)
	if err != nil {
		return err
	}
	c.w.Header().Set("ETag", tagOf(e.Zone))
	return c.json(http.StatusOK, edited{wire.NameText(v.Apex), e.From, e.To})
}
