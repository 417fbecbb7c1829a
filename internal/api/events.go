package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"port53/internal/grant"
	"port53/internal/wire"
)

// A happened is something that has happened through the API.
type happened struct {
	ID   uint64    `json:"id"`
	At   time.Time `json:"at"`
	Kind string    `json:"kind"` // zone, zone added, zone removed
	Zone string    `json:"zone,omitempty"`
	By   string    `json:"by,omitempty"`
	From uint32    `json:"from,omitempty"` // serials
	To   uint32    `json:"to,omitempty"`

	apex []byte
}

// Bounds of those who follow events.
const (
	maxFollowers = 64
	maxBehind    = 256 // events that one may be behind; then it is told that some are missing
	pingTime     = 15 * time.Second
)

// A hub gives events to those who follow them. Nobody waits for a follower.
type hub struct {
	mu        sync.Mutex
	last      uint64
	followers map[chan happened]struct{}
}

func newHub() *hub { return &hub{followers: map[chan happened]struct{}{}} }

func (h *hub) tell(e happened) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last++
	e.ID, e.At = h.last, time.Now().UTC()
	for f := range h.followers {
		select {
		case f <- e:
		default: // its IDs say that it has missed one
		}
	}
}

func (h *hub) follow() (chan happened, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.followers) >= maxFollowers {
		return nil, false
	}
	f := make(chan happened, maxBehind)
	h.followers[f] = struct{}{}
	return f, true
}

func (h *hub) leave(f chan happened) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.followers, f)
}

// ownEvents sends events as they happen (server-sent events), of the zones that the caller may see.
func ownEvents(c *call) error {
	f, ok := c.events.follow()
	if !ok {
		return &problem{status: http.StatusServiceUnavailable, text: "too many follow the events"}
	}
	defer c.events.leave(f)
	control := http.NewResponseController(c.w)
	_ = control.SetReadDeadline(time.Time{})
	c.w.Header().Set("Content-Type", "text/event-stream")
	_, _ = c.w.Write([]byte(": hello\n\n"))
	_ = control.Flush()
	ping := time.NewTicker(pingTime)
	defer ping.Stop()
	for {
		var err error
		select {
		case <-c.r.Context().Done():
			return nil
		case <-ping.C:
			_, err = c.w.Write([]byte(": here\n\n"))
		case e := <-f:
			h := c.again() // what it may do may have changed
			if h == nil || e.apex != nil && !h.May(grant.Read, e.apex, e.apex, wire.TypeSOA, time.Now()) {
				if h == nil {
					return nil // it was revoked
				}
				continue
			}
			text, _ := json.Marshal(e) // it has texts and numbers alone
			_, err = fmt.Fprintf(c.w, "id: %d\nevent: %s\ndata: %s\n\n", e.ID, e.Kind, text)
		}
		_ = control.SetWriteDeadline(time.Now().Add(pingTime))
		if err == nil {
			err = control.Flush()
		}
		if err != nil {
			return nil
		}
	}
}
