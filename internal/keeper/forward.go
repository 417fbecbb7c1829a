package keeper

import (
	"context"
	"encoding/binary"
	"time"

	"port53/internal/transfer"
	"port53/internal/wire"
)

// Forwards tells whether updates of a zone go to its primaries.
func (k *Keeper) Forwards(apex []byte) bool {
	s := k.source(apex)
	return s != nil && s.Forward && len(s.Primaries) > 0
}

// forwardTime is how long the primaries of a zone have to answer an update: as long as a
// client waits that was told nothing.
const forwardTime = 10 * time.Second

// Forward gives an update to the primaries of a zone, one after the other until one has
// it, and returns its reply, or nil (RFC 2136, section 6). The message goes as it came: its
// signature is for the primary to judge, and the reply's for the client.
func (k *Keeper) Forward(apex, msg []byte, p Peer) []byte {
	s := k.source(apex)
	if s == nil || !k.forwards.begin(p.Addr.Addr()) {
		return nil
	}
	defer k.forwards.end(p.Addr.Addr())
	ctx, cancel := context.WithTimeout(context.Background(), forwardTime)
	defer cancel()
	for _, addr := range s.Primaries {
		reply, err := k.client.Forward(ctx, transfer.Primary{Addr: addr}, msg)
		if err == nil {
			return reply
		}
		k.log.Warn("an update was not forwarded", "zone", string(wire.AppendName(nil, apex)), "peer", p.Addr.String(), "server", addr.String(), "problem", err.Error())
	}
	return nil
}

// Expire returns for how many seconds a zone may be served on without its primary
// (RFC 7314, section 2): what is left of a secondary's time, and all of it at a primary.
func (k *Keeper) Expire(apex []byte) (seconds uint32, ok bool) {
	k.state.Lock()
	defer k.state.Unlock()
	z := k.find(apex)
	if z == nil || z.zone == nil {
		return 0, false
	}
	if len(z.source.Primaries) == 0 {
		_, soa := z.zone.SOA()
		return binary.BigEndian.Uint32(soa[len(soa)-8:]), true
	}
	left := time.Until(z.checked.Add(z.expire))
	return uint32(max(0, left/time.Second)), true
}
