package api

import (
	"net/http"
	"time"

	"port53/internal/event"
	"port53/internal/grant"
	"port53/internal/why"
	"port53/internal/wire"
)

// whyParameters are those of the routes that tell why.
func whyParameters() []string {
	return []string{
		"type: of this type alone",
		"client: of this address or network alone",
		"since: how long ago at most, such as 1h, or a moment",
		"limit: reports at most, 20 unless given",
	}
}

func ownWhyAll(c *call) error { return c.why(why.Question{}) }

func ownWhy(c *call) error {
	text := c.params[0]
	var q why.Question
	if id, ok := event.ParseID(text); ok {
		q.ID = id
		return c.why(q)
	}
	name, err := wire.ParseName(text)
	if err != nil {
		return &problem{status: http.StatusBadRequest, text: "that is neither an id of eight characters nor a name: " + err.Error()}
	}
	q.Name = wire.Lower(nil, name)
	return c.why(q)
}

// why answers a question, with what the request says besides.
func (c *call) why(q why.Question) error {
	if err := c.server(grant.Admin); err != nil {
		return err
	}
	f, err := c.filterOf()
	if err != nil {
		return err
	}
	q.Type, q.Client = f.Type, f.Client
	if q.Limit, err = c.limitOf("limit", 20, 100); err != nil {
		return err
	}
	if text := c.r.URL.Query().Get("since"); text != "" {
		if d, err := time.ParseDuration(text); err == nil && d >= 0 {
			q.Since = c.now.Add(-d)
		} else if q.Since, err = time.Parse(time.RFC3339, text); err != nil {
			return &problem{
				status: http.StatusBadRequest,
				text:   "since is a duration such as 1h30m, or a moment such as 2026-01-31T12:00:00Z",
			}
		}
	}
	reports, err := c.host.Why(q)
	if err != nil {
		return err
	}
	if q.ID != 0 && len(reports) == 0 {
		return &problem{
			status: http.StatusNotFound,
			text:   "nothing is remembered by that id: it is too long ago, or of another server, or it was never given",
		}
	}
	return c.json(http.StatusOK, reports)
}
