package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"port53/internal/grant"
	"port53/internal/wire"
	"port53/internal/zones"
)

// What people who look after a server want beside its zones: what is filtered, who did what, whether all
// is well, and how it was a while ago.

// An Operator is the server, as far as people look after it. What it returns is sent as JSON.
type Operator interface {
	// Filters tells of the lists that answers are filtered by; UpdateLists reads them again, and fetches
	// those that have a URL: that of the name, or all if it is empty. PauseFilters lets all answers pass
	// for a time; 0 ends that. TestFilter tells what becomes of a question of a client.
	Filters() (any, error)
	UpdateFilters(ctx context.Context, by, name string) (any, error)
	PauseFilters(by string, d time.Duration) (any, error)
	TestFilter(name, typ, client string) (any, error)

	// Signing tells of the keys of a zone that is signed here, and of what their next step waits for.
	Signing(zone []byte) (any, error)

	// RollKey begins to roll a key of a zone that is signed here: a new one is made, and takes its place
	// step by step. force has that done though a roll is under way. It returns what Signing does.
	RollKey(ctx context.Context, by string, zone []byte, tag uint16, force bool) (any, error)

	// AuditLog are the last things that were done, the newest first.
	AuditLog(limit int) []AuditEntry

	// Check looks at the server itself, or at a zone of ours, as a stranger would. It returns the
	// report as port53 check --json writes it.
	Check(ctx context.Context, zone []byte) (json.RawMessage, error)
}

// An AuditEntry is something that was done, or refused, as the audit has it.
//
// In one piece: it is the form of the JSON.
type AuditEntry struct {
	At      time.Time `json:"at"`
	What    string    `json:"what"`
	Outcome string    `json:"outcome"`
	Zone    string    `json:"zone,omitempty"`
	Peer    string    `json:"peer,omitempty"`
	Key     string    `json:"key,omitempty"`
	Holder  string    `json:"certificate,omitempty"` // of a client certificate
	By      string    `json:"by,omitempty"`
	Text    string    `json:"text,omitempty"`
	From    uint32    `json:"serial_before,omitempty"`
	To      uint32    `json:"serial,omitempty"`
	Added   int       `json:"added,omitempty"`
	Removed int       `json:"removed,omitempty"`
	Octets  int       `json:"octets,omitempty"`
	Reason  string    `json:"reason,omitempty"`
}

// operatorRoutes are the paths of what an [Operator] does.
func operatorRoutes() []route {
	with := func(r route, o operation) route {
		r.doc = &o
		return r
	}
	whatever := map[string]any{}
	return []route{
		with(at("GET", "/v1/series", ownSeries), operation{Summary: "How much was asked and answered in the last hour", Out: Series{}}),
		with(
			at("GET", "/v1/audit", ownAudit),
			operation{
				Summary: "What was done and refused, the newest first",
				Out:     []AuditEntry{},
				Query:   []string{"limit: lines at most, 200 unless given"},
			},
		),
		with(at("GET", "/v1/filters", ownFilters), operation{Summary: "The lists that answers are filtered by", Out: whatever}),
		with(
			at("POST", "/v1/filters/update", ownUpdateFilters),
			operation{Summary: "Read lists again, and fetch those that have a URL", In: listRequest{}, Out: whatever},
		),
		with(
			at("POST", "/v1/filters/pause", ownPauseFilters),
			operation{Summary: "Let all answers pass for so many minutes; 0 ends that", In: pauseRequest{}, Out: whatever},
		),
		with(at("GET", "/v1/filters/test", ownTestFilter), operation{
			Summary: "What becomes of a question of a client", Out: whatever,
			Query: []string{"name: the name asked for", "type: A unless given", "client: the client's address, 127.0.0.1 unless given"},
		}),
		with(
			at("GET", "/v1/checks", ownChecks),
			operation{Summary: "The last checks, the newest first, without their reports", Out: []checked{}},
		),
		with(
			at("POST", "/v1/checks", ownCheck),
			operation{
				Summary: "Begin to look at the server, or at a zone of ours, as a stranger would",
				In:      checkRequest{},
				Out:     checked{},
				Status:  http.StatusAccepted,
			},
		),
		with(at("GET", "/v1/checks/*", ownCheckReport), operation{Summary: "A check, with its report once it is done", Out: checked{}}),
		with(
			at("GET", "/v1/zones/*/signing", ownSigning),
			operation{Summary: "The states of a zone's DNSSEC keys, and what their next step waits for", Out: whatever},
		),
		with(
			at("POST", "/v1/zones/*/keys/*/roll", ownRoll),
			operation{
				Summary: "Begin to roll a DNSSEC key, which is named by its tag: a new one is made, and takes its place step by step",
				In:      rollRequest{},
				Out:     whatever,
			},
		),
		with(
			at("POST", "/v1/zones/*/notify", ownNotify),
			operation{Summary: "Tell those who follow the zone of its version", Status: http.StatusNoContent},
		),
		with(
			at("POST", "/v1/zones/*/refresh", ownRefresh),
			operation{Summary: "Ask the primaries for a newer version", Status: http.StatusNoContent},
		),
	}
}

func ownAudit(c *call) error {
	if err := c.server(grant.Admin); err != nil {
		return err
	}
	limit, err := c.limitOf("limit", 200, maxPage)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, append([]AuditEntry{}, c.host.AuditLog(limit)...))
}

// told sends what an operator tells.
func (c *call) told(v any, err error) error {
	if err != nil {
		return &problem{status: http.StatusConflict, text: err.Error()}
	}
	return c.json(http.StatusOK, v)
}

func ownFilters(c *call) error {
	if err := c.server(grant.Read); err != nil {
		return err
	}
	return c.told(c.host.Filters())
}

// A listRequest names a list; empty: all.
type listRequest struct {
	List string `json:"list,omitempty"`
}

func ownUpdateFilters(c *call) error {
	if err := c.server(grant.Admin); err != nil {
		return err
	}
	var r listRequest
	if err := c.read(&r); err != nil {
		return err
	}
	return c.told(c.host.UpdateFilters(c.r.Context(), c.by(), r.List))
}

// A pauseRequest says for how long nothing is filtered.
type pauseRequest struct {
	Minutes int `json:"minutes"`
}

func ownPauseFilters(c *call) error {
	if err := c.server(grant.Admin); err != nil {
		return err
	}
	var r pauseRequest
	if err := c.read(&r); err != nil {
		return err
	}
	if r.Minutes < 0 || r.Minutes > 24*60 {
		return &problem{status: http.StatusUnprocessableEntity, text: "a pause has 0 to 1440 minutes"}
	}
	return c.told(c.host.PauseFilters(c.by(), time.Duration(r.Minutes)*time.Minute))
}

func ownTestFilter(c *call) error {
	if err := c.server(grant.Read); err != nil {
		return err
	}
	q := c.r.URL.Query()
	typ := strings.ToUpper(q.Get("type"))
	if typ == "" {
		typ = "A"
	}
	return c.told(c.host.TestFilter(q.Get("name"), typ, q.Get("client")))
}

// signing returns the zone of the path, if the caller may see its keys.
func (c *call) signing() (zones.Snapshot, error) {
	v, err := c.find(c.params[0])
	if err == nil && !c.holder.MayAny(grant.Sign, v.Apex, c.now) {
		err = forbidden(c.credential() + " may not see keys of zone " + wire.NameText(v.Apex))
	}
	return v, err
}

func ownSigning(c *call) error {
	v, err := c.signing()
	if err != nil {
		return err
	}
	return c.told(c.host.Signing(v.Key))
}

// A rollRequest says how a key is rolled. It may be left out.
type rollRequest struct {
	Force bool `json:"force,omitempty"` // even if a roll is under way
}

func ownRoll(c *call) error {
	v, err := c.find(c.params[0])
	if err != nil {
		return err
	}
	if !c.holder.MayAny(grant.Sign, v.Apex, c.now) {
		return forbidden(c.credential() + " may not roll keys of zone " + wire.NameText(v.Apex))
	}
	tag, err := strconv.ParseUint(c.params[1], 10, 16)
	if err != nil || tag == 0 {
		return notFound()
	}
	var in rollRequest
	if c.r.ContentLength != 0 {
		if err := c.read(&in); err != nil {
			return err
		}
	}
	return c.told(c.host.RollKey(c.r.Context(), c.by(), v.Key, uint16(tag), in.Force))
}

// with does something with the zone of the path that the caller may have it do.
func (c *call) with(want grant.Verbs, do func(key []byte) error) error {
	v, err := c.find(c.params[0])
	if err != nil {
		return err
	}
	if !c.holder.MayAny(want, v.Apex, c.now) {
		return forbidden(c.credential() + " has no grant of " + want.String() + " for zone " + wire.NameText(v.Apex))
	}
	if err := do(v.Key); err != nil {
		return &problem{status: http.StatusConflict, text: err.Error()}
	}
	return c.none()
}

func ownNotify(c *call) error { return c.with(grant.Notify, c.zones.Announce) }

func ownRefresh(c *call) error {
	return c.with(grant.Notify, func(key []byte) error { return c.zones.Refresh(key, false) })
}

// Bounds of checks. A check asks others: one at a time, by those who may do all, about what is ours.
const (
	maxChecked = 20
	checkTime  = 5 * time.Minute
)

// A checkRequest says what to look at.
type checkRequest struct {
	Target string `json:"target"` // self, or a zone that is served here
}

// A checked is a check, and what came of it.
type checked struct {
	ID      int             `json:"id"`
	Target  string          `json:"target"`
	By      string          `json:"by"`
	Started time.Time       `json:"started"`
	Seconds float64         `json:"seconds"`
	Done    bool            `json:"done"`
	Problem string          `json:"problem,omitempty"`
	Report  json.RawMessage `json:"report,omitempty"` // as port53 check --json has it

	apex []byte
}

// checkList is the checks that were made, the newest last.
type checkList struct {
	mu   sync.Mutex
	last int
	list []*checked
}

// begin makes a check, unless one is under way.
func (l *checkList) begin(n *checked) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.list) > 0 && !l.list[len(l.list)-1].Done {
		return false
	}
	l.last++
	n.ID = l.last
	l.list = append(l.list[max(0, len(l.list)-maxChecked+1):], n)
	return true
}

func (l *checkList) end(n *checked, report json.RawMessage, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n.Done, n.Report, n.Seconds = true, report, time.Since(n.Started).Seconds()
	if err != nil {
		n.Problem = err.Error()
	}
}

// all returns copies, the newest first.
func (l *checkList) all() []checked {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := []checked{}
	for _, n := range slices.Backward(l.list) {
		one := *n
		if !one.Done {
			one.Seconds = time.Since(one.Started).Seconds()
		}
		list = append(list, one)
	}
	return list
}

func ownCheck(c *call) error {
	if err := c.server(grant.Admin); err != nil {
		return err
	}
	var r checkRequest
	if err := c.read(&r); err != nil {
		return err
	}
	n := &checked{Target: r.Target, By: c.by(), Started: time.Now().UTC()}
	if r.Target != "self" {
		v, err := c.find(r.Target)
		if err != nil {
			return &problem{status: http.StatusUnprocessableEntity, text: "a target is self, or a zone that is served here"}
		}
		n.apex, n.Target = v.Apex, wire.NameText(v.Apex)
	}
	if !c.checks.begin(n) {
		return &problem{status: http.StatusConflict, text: "a check is under way: one at a time"}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.r.Context()), checkTime)
	go func() {
		defer cancel()
		report, err := c.host.Check(ctx, n.apex)
		c.checks.end(n, report, err)
	}()
	return c.json(http.StatusAccepted, c.checks.all()[0])
}

func ownChecks(c *call) error {
	if err := c.server(grant.Admin); err != nil {
		return err
	}
	list := c.checks.all()
	for i := range list {
		list[i].Report = nil
	}
	return c.json(http.StatusOK, list)
}

func ownCheckReport(c *call) error {
	if err := c.server(grant.Admin); err != nil {
		return err
	}
	id, err := strconv.Atoi(c.params[0])
	for _, n := range c.checks.all() {
		if err == nil && n.ID == id {
			return c.json(http.StatusOK, n)
		}
	}
	return notFound()
}

// Bounds of what is remembered of how much was asked.
const (
	sampleTime = 5 * time.Second
	maxSamples = 720 // an hour
)

// A Series is how much was asked and answered: for each moment the counts since the one before.
type Series struct {
	Step   float64     `json:"step_seconds"`
	At     []int64     `json:"at"`     // seconds since 1970
	Names  []string    `json:"names"`  // of the columns
	Values [][]float64 `json:"values"` // a column for each name
}

// seriesNames are the columns of a series, and the counters that each is the sum of.
var seriesNames = []struct{ name, prefix string }{
	{"queries", "port53_queries_total{"},
	{"noerror", `port53_replies_total{rcode="NOERROR"}`},
	{"nxdomain", `port53_replies_total{rcode="NXDOMAIN"}`},
	{"servfail", `port53_replies_total{rcode="SERVFAIL"}`},
	{"refused", `port53_replies_total{rcode="REFUSED"}`},
	{"replies", "port53_replies_total{"},
	{"hit", `port53_cache_lookups_total{outcome="hit"}`},
	{"lookups", "port53_cache_lookups_total{"},
	{"blocked", "port53_filter_answers_total{"},
	{"time", "port53_query_duration_seconds_sum"},
	{"timed", "port53_query_duration_seconds_count"},
	{"dropped", "port53_dropped_total{"},
}

// A seriesLog remembers how much was asked.
type seriesLog struct {
	mu   sync.Mutex
	last []float64
	at   []int64
	rows [][]float64
}

// add takes the counters of a moment.
func (l *seriesLog) add(now time.Time, counters []Statistic) {
	sums := make([]float64, len(seriesNames))
	for _, s := range counters {
		for i := range seriesNames {
			if n := &seriesNames[i]; strings.HasPrefix(s.Name, n.prefix) &&
				(n.name != "blocked" || strings.Contains(s.Name, `outcome="blocked"`)) {
				sums[i] += s.Value
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last != nil {
		row := make([]float64, len(sums))
		for i := range sums {
			row[i] = max(0, sums[i]-l.last[i])
		}
		if len(l.at) >= maxSamples {
			l.at, l.rows = slices.Delete(l.at, 0, 1), slices.Delete(l.rows, 0, 1)
		}
		l.at, l.rows = append(l.at, now.Unix()), append(l.rows, row)
	}
	l.last = sums
}

func (l *seriesLog) series() Series {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Series{Step: sampleTime.Seconds(), At: append([]int64{}, l.at...), Names: []string{}, Values: [][]float64{}}
	for i := range seriesNames {
		column := make([]float64, len(l.rows))
		for j, row := range l.rows {
			column[j] = row[i]
		}
		s.Names, s.Values = append(s.Names, seriesNames[i].name), append(s.Values, column)
	}
	return s
}

// Sample remembers how much is asked, until ctx ends.
func (s *Server) Sample(ctx context.Context) {
	tick := time.NewTicker(sampleTime)
	defer tick.Stop()
	s.series.add(time.Now(), s.host.Statistics())
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			s.series.add(now, s.host.Statistics())
		}
	}
}

func ownSeries(c *call) error {
	if err := c.server(grant.Read); err != nil {
		return err
	}
	s := c.series.series()
	if text := c.r.URL.Query().Get("since"); text != "" {
		since, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return &problem{status: http.StatusBadRequest, text: fmt.Sprintf("since is not a number of seconds: %q", text)}
		}
		i, _ := slices.BinarySearch(s.At, since+1)
		s.At = s.At[i:]
		for j := range s.Values {
			s.Values[j] = s.Values[j][i:]
		}
	}
	return c.json(http.StatusOK, s)
}
