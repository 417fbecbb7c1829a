package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"port53/internal/config"
	"port53/internal/engine"
	"port53/internal/keeper"
	"port53/internal/store"
	"port53/internal/tsig"
	"port53/internal/wire"
)

// keyRing returns the keys of c.
func keyRing(c *config.Config) *tsig.Ring {
	keys := make([]tsig.Key, 0, len(c.Keys))
	for _, k := range c.Keys {
		if algorithm, ok := tsig.ParseAlgorithm(k.Algorithm); ok {
			keys = append(keys, tsig.Key{Name: k.Name, Algorithm: algorithm, Secret: k.Octets})
		}
	}
	return tsig.NewRing(keys...)
}

func bounds(c *config.Config) keeper.Bounds {
	t := c.Transfers
	return keeper.Bounds{Out: t.MaxOut, OutPeer: t.MaxOutPeer, In: t.MaxIn}
}

// startKeeper makes the keeper.
func (a *App) startKeeper(c *config.Config) {
	a.keeper = keeper.New(a.set, a.log, keeper.Options{Bounds: bounds(c), Dir: store.Open(filepath.Join(c.StateDir, "zones"))})
}

// transferPeers returns the servers that zones are exchanged with. Networks of
// allow_transfer are not among them: they may be as wide as a key makes safe.
func transferPeers(c *config.Config) []netip.Prefix {
	var list []netip.Prefix
	for i := range c.Zones {
		z := &c.Zones[i]
		for _, a := range slices.Concat(z.Primaries, z.Secondaries, z.Members.Primaries, z.Members.Secondaries) {
			list = append(list, netip.PrefixFrom(a.Addr(), a.Addr().BitLen()))
		}
	}
	return list
}

// zoneKeeper is the [engine.Keeper] of an App.
type zoneKeeper struct{ *App }

// Extended DNS Errors (RFC 8914, section 4).
const (
	edeNone             = -1
	edeProhibited       = 18
	edeNotAuthoritative = 20
)

func peerOf(r *engine.Request) keeper.Peer { return keeper.Peer{Addr: r.Client, Key: r.Key} }

// Allows implements [engine.Keeper].
func (z zoneKeeper) Allows(r *engine.Request) (wire.Rcode, int) {
	allowed := false
	switch r.Op {
	case engine.OpTransfer:
		allowed = z.keeper.MayTransfer(r.Apex, peerOf(r))
	case engine.OpNotify:
		allowed = z.keeper.MayNotify(r.Apex, peerOf(r))
	case engine.OpUpdate:
		if r.Context != nil && z.keeper.Forwards(r.Apex) {
			r.Op = engine.OpForward
			return wire.NoError, edeNone
		}
		if r.Context != nil && r.Context.Error != wire.NoError {
			return wire.NotAuth, edeNone
		}
		allowed = z.keeper.MayUpdate(r.Apex, peerOf(r))
	}
	if !allowed {
		return wire.Refused, edeProhibited
	}
	return wire.NoError, edeNone
}

// Transfer implements [engine.Keeper].
func (z zoneKeeper) Transfer(r *engine.Request, reply func([]byte) error) {
	z.keeper.Send(r.Message, r.Zone, peerOf(r), r.UDP, r.UDPSize, r.Context, reply)
}

// Notify implements [engine.Keeper].
func (z zoneKeeper) Notify(r *engine.Request) (wire.Rcode, int) {
	if !z.keeper.Notified(r.Apex, peerOf(r)) {
		return wire.NotAuth, edeNotAuthoritative
	}
	return wire.NoError, edeNone
}

// Update implements [engine.Keeper].
func (z zoneKeeper) Update(r *engine.Request) (wire.Rcode, int) {
	outcome, again := z.replays.Begin(r.Context, r.Client, r.UDP, time.Now())
	switch {
	case !again:
		rcode := wire.ServFail
		defer func() { outcome.Done(rcode) }() // after a fault too
		rcode = z.keeper.Update(r.Apex, r.Message, peerOf(r))
		return rcode, edeNone
	case outcome != nil:
		return outcome.Wait(), edeNone // the reply to the first was lost
	}
	z.log.Warn("an update came twice: it was sent again by somebody else, or by a client that signs carelessly", "peer", r.Client.String())
	r.Context.Replayed()
	return wire.NotAuth, edeNone
}

// Forward implements [engine.Keeper].
func (z zoneKeeper) Forward(r *engine.Request) []byte {
	return z.keeper.Forward(r.Apex, r.Message, peerOf(r))
}

// Expire implements [engine.Keeper].
func (z zoneKeeper) Expire(apex []byte) (uint32, bool) { return z.keeper.Expire(apex) }

// Zone implements [console.Admin].
func (a *App) Zone(action, name string) error {
	apex, err := wire.ParseName(name)
	if err != nil {
		return fmt.Errorf("zone %s: %w", name, err)
	}
	apex = wire.Lower(nil, apex)
	switch action {
	case "refresh":
		err = a.keeper.Refresh(apex, false)
	case "retransfer":
		err = a.keeper.Refresh(apex, true)
	case "notify":
		err = a.keeper.Tell(apex)
	case "sync":
		err = a.keeper.Sync(apex)
	case "freeze":
		if err = a.keeper.Freeze(apex, true); err == nil {
			err = a.keeper.Sync(apex)
		}
	case "thaw":
		if err = a.keeper.Freeze(apex, false); err == nil {
			_, err = a.Reload(context.Background())
		}
	default:
		err = errors.New("nothing of that name can be done with a zone")
	}
	if err != nil {
		return fmt.Errorf("zone %s: %w", name, err)
	}
	return nil
}

// Export implements [console.Admin].
func (a *App) Export(name string, w io.Writer) error {
	apex, err := wire.ParseName(name)
	if err != nil {
		return fmt.Errorf("zone %s: %w", name, err)
	}
	entry := a.set.View().Get(wire.Lower(nil, apex))
	if entry == nil || entry.Zone == nil {
		return fmt.Errorf("zone %s is not served here", name)
	}
	return keeper.WriteZone(w, entry.Zone)
}

// Changes implements [console.Admin].
func (a *App) Changes(name, since string) (any, error) {
	apex, err := wire.ParseName(name)
	if err != nil {
		return nil, fmt.Errorf("zone %s: %w", name, err)
	}
	apex = wire.Lower(nil, apex)
	var list []keeper.Change
	switch since {
	case "":
		list, err = a.keeper.Since(apex, nil)
	case "file":
		list, err = a.keeper.AgainstFile(apex)
	default:
		n, parseErr := strconv.ParseUint(since, 10, 32)
		if parseErr != nil {
			return nil, fmt.Errorf("%s is no serial", since)
		}
		serial := uint32(n)
		list, err = a.keeper.Since(apex, &serial)
	}
	if err != nil {
		return nil, fmt.Errorf("zone %s: %w", name, err)
	}
	return list, nil
}

// grants returns who may change a zone. What it reads was checked before.
func grants(z *config.Zone) []keeper.Grant {
	var list []keeper.Grant
	for _, u := range z.Updates {
		g := keeper.Grant{Key: wire.Lower(nil, u.Key)}
		for _, text := range u.Names {
			if p, err := keeper.ParsePattern(text, z.Name); err == nil {
				g.Names = append(g.Names, p...)
			}
		}
		for _, text := range u.Types {
			if t, ok := wire.ParseType(text); ok {
				g.Types = append(g.Types, t)
			}
		}
		list = append(list, g)
	}
	return list
}

// serials returns what gives the serial that follows one.
func serials(policy string) func(uint32) uint32 {
	switch policy {
	case "date":
		return keeper.Date
	case "unixtime":
		return keeper.UnixTime
	}
	return nil
}
