package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"port53/internal/event"
	"port53/internal/grant"
	"port53/internal/wire"
)

// ErrFollowed is why somebody cannot follow the queries: too many do.
var ErrFollowed = errors.New("too many follow the queries")

// A Query is one query and what became of it.
//
// In one piece: it is a document with a field for each thing that can be told of a query.
type Query struct {
	Time      time.Time `json:"time"`
	Client    string    `json:"client"`
	Transport string    `json:"transport"`
	View      string    `json:"view,omitempty"`
	ID        uint16    `json:"id"`
	Name      string    `json:"name"` // empty: it could not be read
	Type      string    `json:"type"`
	Class     string    `json:"class"`
	Rcode     string    `json:"rcode"` // empty: there was no reply
	Outcome   string    `json:"fate"`  // replied, slipped, or dropped: and why
	Flags     []string  `json:"flags"` // of the reply
	EDE       *uint16   `json:"ede,omitempty"`
	Size      int       `json:"size"` // octets of the query
	Reply     int       `json:"reply"`
	Micros    *int64    `json:"latency_us,omitempty"` // missing: not measured
	Path      string    `json:"path"`
	List      string    `json:"list,omitempty"` // that has the rule by which it was answered
	Line      uint32    `json:"line,omitempty"`
	Why       string    `json:"why,omitempty"` // the id by which /v1/why tells more
}

// followPace is how often those who follow queries are sent what has come.
const followPace = 100 * time.Millisecond

func ownTunnels(c *call) error {
	if err := c.server(grant.Admin); err != nil {
		return err
	}
	return c.json(http.StatusOK, c.host.Tunnels())
}

func ownTop(c *call) error {
	if err := c.server(grant.Admin); err != nil {
		return err
	}
	limit, err := c.limitOf("limit", 20, 1000)
	if err != nil {
		return err
	}
	recent := true
	switch window := c.r.URL.Query().Get("window"); window {
	case "", "recent":
	case "all":
		recent = false
	default:
		return &problem{status: http.StatusBadRequest, text: "window is recent or all"}
	}
	r, err := c.host.Top(recent, limit)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, r)
}

// filterOf reads which queries a request wants.
func (c *call) filterOf() (f event.Filter, err error) {
	bad := func(text string) (event.Filter, error) {
		return f, &problem{status: http.StatusBadRequest, text: text}
	}
	q := c.r.URL.Query()
	if text := q.Get("name"); text != "" {
		name, err := wire.ParseName(text)
		if err != nil {
			return bad("name is not a name: " + err.Error())
		}
		f.Name = wire.Lower(nil, name)
	}
	if text := q.Get("client"); text != "" {
		if f.Client, err = netip.ParsePrefix(text); err != nil {
			a, err := netip.ParseAddr(text)
			if err != nil {
				return bad("client is an address, or a network such as 10.0.0.0/8")
			}
			f.Client = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())
		}
	}
	if text := q.Get("rcode"); text != "" {
		found := false
		for n := range wire.Rcode(25) {
			if strings.EqualFold(n.String(), text) {
				f.Rcode, found = &n, true
			}
		}
		if !found {
			return bad("rcode is one such as NOERROR, NXDOMAIN or SERVFAIL")
		}
	}
	if text := q.Get("type"); text != "" {
		typ, ok := wire.ParseType(strings.ToUpper(text))
		if !ok {
			return bad("type is one such as A, AAAA or HTTPS")
		}
		f.Type = typ
	}
	if text := q.Get("path"); text != "" {
		path, ok := event.ParsePath(text)
		if !ok {
			return bad("path is zone, names, builtin, cache, stale, miss, policy, manager or server")
		}
		f.Path = &path
	}
	f.Problems = q.Has("problems")
	return f, nil
}

// ownQueries sends queries as they are answered (server-sent events), those that fit what the request
// says.
func ownQueries(c *call) error {
	if err := c.server(grant.Admin); err != nil {
		return err
	}
	f, err := c.filterOf()
	if err != nil {
		return err
	}
	queries, lost, stop, err := c.host.Follow(f)
	if errors.Is(err, ErrFollowed) {
		return &problem{status: http.StatusServiceUnavailable, text: err.Error()}
	}
	if err != nil {
		return err
	}
	defer stop()
	control := http.NewResponseController(c.w)
	_ = control.SetReadDeadline(time.Time{})
	c.w.Header().Set("Content-Type", "text/event-stream")
	_, _ = c.w.Write([]byte(": hello\n\n"))
	_ = control.Flush()
	tick := time.NewTicker(followPace)
	defer tick.Stop()
	told, quiet := uint64(0), time.Now()
	for {
		select {
		case <-c.r.Context().Done():
			return nil
		case <-tick.C:
		}
		if c.local == "" {
			h := c.again() // what it may do may have changed
			if h == nil || !h.MayServer(grant.Admin, time.Now()) {
				return nil
			}
		}
		var text []byte
		for more := true; more; {
			select {
			case q := <-queries:
				line, _ := json.Marshal(q) // it has texts and numbers alone
				text = fmt.Appendf(text, "event: query\ndata: %s\n\n", line)
			default:
				more = false
			}
		}
		if n := lost(); n > told {
			told = n
			text = fmt.Appendf(text, "event: lost\ndata: {\"lost\":%d}\n\n", n)
		}
		switch {
		case len(text) > 0:
			quiet = time.Now()
		case time.Since(quiet) > pingTime:
			text, quiet = []byte(": here\n\n"), time.Now()
		default:
			continue
		}
		_ = control.SetWriteDeadline(time.Now().Add(pingTime))
		if _, err := c.w.Write(text); err != nil {
			return nil
		}
		if err := control.Flush(); err != nil {
			return nil
		}
	}
}
