package app

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"port53/internal/console"
	"port53/internal/server"
	"port53/internal/telemetry"
	"port53/internal/wire"
	"port53/internal/zones"
)

// A Status is what the server tells of itself over the control socket.
type Status struct {
	Uptime       string              `json:"uptime"`
	Listen       []netip.AddrPort    `json:"listen"`
	Encrypted    []EncryptedListener `json:"encrypted,omitempty"`
	Certificates []Certificate       `json:"certificates,omitempty"` // the one for all clients first
	Config       string              `json:"config"`
	Reloaded     time.Time           `json:"reloaded"`
	Healthy      bool                `json:"last_reload_succeeded"`
	Sandbox      Sandbox             `json:"sandbox"`
	Terms        []Term              `json:"contract"`
	Proof        *Proof              `json:"proof,omitempty"` // nil: nobody has told of one
	Views        []string            `json:"views,omitempty"` // in the order in which they are tried
	Zones        []zones.Status      `json:"zones"`
}

// An EncryptedListener is an address where something is served over TLS or QUIC.
type EncryptedListener struct {
	Address   netip.AddrPort `json:"address"`
	Transport string         `json:"transport"`
}

// A Certificate is what clients are shown.
type Certificate struct {
	Names   []string  `json:"names"` // and addresses
	Expires time.Time `json:"expires"`
	Days    int       `json:"days"` // that are left; negative: it has expired
}

// sealed returns where something is served over TLS or QUIC, and the certificates that are shown.
func (a *App) sealed(now time.Time) (at []EncryptedListener, shown []Certificate) {
	if a.encryption == nil {
		return nil, nil
	}
	for _, l := range a.server.Encrypted() {
		over := map[server.Transport]string{
			server.DoT: "DNS over TLS",
			server.DoH: "DNS over HTTPS",
			server.DoQ: "DNS over QUIC",
		}[l.Transport]
		if l.Transport == server.DoH && l.QUIC {
			over = "DNS over HTTP/3"
		}
		at = append(at, EncryptedListener{l.Addr, over})
	}
	for _, c := range a.encryption.keeper.Certificates() {
		days := int(math.Floor(c.NotAfter.Sub(now).Hours() / 24))
		shown = append(shown, Certificate{Names: c.Names, Expires: c.NotAfter, Days: days})
	}
	return at, shown
}

// Status implements [console.Admin]. It waits for no reload.
func (a *App) Status(name, view string) (any, error) {
	g := a.current.Load()
	s := Status{
		Uptime: time.Since(a.started).Round(time.Second).String(), Listen: a.server.Addrs(),
		Config: g.config.File(), Reloaded: g.applied, Healthy: a.reloads.healthy(), Zones: a.manager.Status(),
	}
	s.Encrypted, s.Certificates = a.sealed(time.Now())
	s.Sandbox = a.sandbox
	s.Proof = a.proof.last.Load()
	s.Terms, _ = Terms(g.config) // interfaces that cannot be read were told of
	s.Views = g.config.ViewNames()
	if view != "" && !slices.Contains(s.Views, view) {
		return nil, fmt.Errorf("there is no view %s", view)
	}
	if name == "" && view == "" {
		return s, nil
	}
	s.Zones = slices.DeleteFunc(s.Zones, func(z zones.Status) bool {
		return name != "" && z.Name != name || view != "" && !slices.Contains(z.Views, view)
	})
	if len(s.Zones) == 0 && name != "" {
		return nil, fmt.Errorf("zone %s is not served here", name)
	}
	return s, nil
}

// commanded tells the audit of a command of the control socket.
func (a *App) commanded(by console.Caller, command, zone string, err error) {
	act := telemetry.AuditRecord{Operation: telemetry.Commanded, By: by.String(), Text: command}
	if apex, nameErr := wire.ParseName(zone); zone != "" && nameErr == nil {
		act.Zone = apex
	}
	if err != nil {
		act.Outcome, act.Reason = telemetry.Refused, err.Error()
	}
	a.audit.Record(&act)
}

// Zone implements [console.Admin].
func (a *App) Zone(action, name, view string) (result any, err error) {
	apex, err := a.zoneKey(name, view)
	if err != nil {
		return nil, err
	}
	switch action {
	case "refresh":
		err = a.manager.Refresh(apex, false)
	case "retransfer":
		err = a.manager.Refresh(apex, true)
	case "notify":
		err = a.manager.Announce(apex)
	case "sync":
		err = a.manager.Sync(apex)
	case "freeze":
		err = a.manager.Freeze(apex)
	case "thaw":
		result, err = a.manager.Thaw(a.ctx, apex)
	default:
		err = errors.New("unknown zone command")
	}
	if err != nil {
		return nil, fmt.Errorf("zone %s: %w", name, err)
	}
	return result, nil
}

// Export implements [console.Admin].
func (a *App) Export(name, view string, w io.Writer) error {
	apex, err := a.zoneKey(name, view)
	if err != nil {
		return err
	}
	if err := a.manager.Export(apex, w); err != nil {
		return fmt.Errorf("zone %s: %w", name, err)
	}
	return nil
}

// Changes implements [console.Admin].
func (a *App) Changes(name, view, since string) (any, error) {
	apex, err := a.zoneKey(name, view)
	if err != nil {
		return nil, err
	}
	var list []zones.Change
	switch since {
	case "":
		list, err = a.manager.Since(apex, nil)
	case "file":
		list, err = a.manager.AgainstFile(apex)
	default:
		n, parseErr := strconv.ParseUint(since, 10, 32)
		if parseErr != nil {
			return nil, fmt.Errorf("%s is not a serial number", since)
		}
		serial := uint32(n)
		list, err = a.manager.Since(apex, &serial)
	}
	if err != nil {
		return nil, fmt.Errorf("zone %s: %w", name, err)
	}
	return list, nil
}
