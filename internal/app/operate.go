package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"port53/internal/api"
	"port53/internal/catalogue"
	"port53/internal/check"
	"port53/internal/finding"
	"port53/internal/report"
	"port53/internal/resolver"
	"port53/internal/store"
	"port53/internal/wire"
)

// Filters implements [api.Operator].
func (h apiHost) Filters() (any, error) {
	v, err := h.FilterLists()
	if errors.Is(err, errNoLists) {
		return FilterStatus{Lists: []ListStatus{}}, nil
	}
	return v, err
}

// UpdateFilters implements [api.Operator].
func (h apiHost) UpdateFilters(ctx context.Context, by, name string) (any, error) {
	h.did(by, nil, "filter/update")
	return h.UpdateLists(ctx, name)
}

// PauseFilters implements [api.Operator].
func (h apiHost) PauseFilters(by string, d time.Duration) (any, error) {
	v, err := h.App.PauseFilters(d)
	if err == nil {
		h.did(by, nil, "filter/pause: "+d.String())
	}
	return v, err
}

// Signing implements [api.Operator].
func (h apiHost) Signing(zone []byte) (any, error) {
	name, view := nameAndView(zone)
	return h.App.Keys(name, view)
}

// RollKey implements [api.Operator].
func (h apiHost) RollKey(ctx context.Context, by string, zone []byte, tag uint16, force bool) (any, error) {
	name, view := nameAndView(zone)
	command, err := json.Marshal(KeysCommand{Action: "roll", Tag: tag, Force: force})
	if err != nil {
		return nil, err
	}
	v, err := h.ChangeKeys(ctx, name, view, command)
	if err == nil {
		h.did(by, store.Apex(zone), fmt.Sprintf("keys/roll: %d", tag))
	}
	return v, err
}

// nameAndView returns what commands know a zone by.
func nameAndView(key []byte) (name, view string) {
	apex := store.Apex(key)
	return wire.NameText(apex), string(key[len(apex):])
}

// AuditLog implements [api.Operator].
func (h apiHost) AuditLog(limit int) []api.AuditEntry {
	var list []api.AuditEntry
	for _, l := range h.audit.Recent(limit) {
		list = append(list, api.AuditEntry(l))
	}
	return list
}

// Check implements [api.Operator]. What may be looked at is the server itself at its own addresses, or a zone
// that is served here; a zone's servers are found as a stranger finds them, from the root down, and only
// what is polite is asked.
func (h apiHost) Check(ctx context.Context, zone []byte) (json.RawMessage, error) {
	g := h.current.Load()
	o := &check.Options{Port: 53, Timeout: 2 * time.Second, Limiter: check.NewLimiter()}
	hints, err := resolver.LoadHints(g.config.Resolver.RootHints)
	if err != nil {
		return nil, err
	}
	for _, r := range hints {
		for _, a := range r.Addrs {
			o.Roots = append(o.Roots, finding.Server{Addr: netip.AddrPortFrom(a, 53), Name: r.Name})
		}
	}
	subject, list := "this server", []finding.Target{}
	if zone != nil {
		subject = wire.NameText(zone)
		list = append(list, finding.Target{Text: subject, Zone: zone})
	} else {
		if file := g.config.File(); file != "" {
			o.Config = g.config
			list = append(list, finding.Target{Text: file, Config: file})
		}
		for _, a := range h.server.Addrs() {
			t := ownTarget(a)
			if len(g.config.Zones) > 0 && !g.config.Recurses() {
				t.Zone = g.config.Zones[0].Name
			}
			list = append(list, t)
		}
	}
	var rules []*finding.Check
	for _, c := range catalogue.All() {
		rules = append(rules, &c.Check)
	}
	var out bytes.Buffer
	w := report.New(report.JSON, &out, report.Options{
		All: true, Subject: subject, Version: programVersion(), Rules: rules, Interrupted: func() bool { return ctx.Err() != nil },
	})
	for _, t := range list {
		if err := w.Write(check.Examine(ctx, t, o, catalogue.All(), func(int, int) {})); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// ownTarget returns one of our addresses as it is asked from this machine.
func ownTarget(a netip.AddrPort) finding.Target {
	text := a.String()
	if a.Addr().IsUnspecified() {
		loopback := netip.IPv6Loopback()
		if a.Addr().Is4() {
			loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		a = netip.AddrPortFrom(loopback, a.Port())
	}
	return finding.Target{Text: text, Server: finding.Server{Addr: a}}
}
