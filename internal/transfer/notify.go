package transfer

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"time"

	"port53/internal/wire"
	"port53/internal/zone"
)

// A NOTIFY is sent again after two seconds, and each time after twice as long, five
// times in all (RFC 1996, section 3.6 asks for 60 s and less on a fast network; BIND
// sends five).
const (
	notifyTries = 5
	notifyWait  = 2 * time.Second
)

// Notify tells a server that the zone has changed (RFC 1996), and returns when it has
// answered, or after the last try.
func (c *Client) Notify(ctx context.Context, to Primary, z *zone.Zone) error {
	var id [2]byte
	_, _ = rand.Read(id[:]) // it never fails
	ttl, soa := z.SOA()
	msg := wire.AppendQuery(nil, binary.BigEndian.Uint16(id[:]), uint16(wire.OpcodeNotify)<<11|wire.FlagAA, z.Apex(), wire.TypeSOA)
	msg = zone.AppendRecord(msg, z.Apex(), wire.TypeSOA, ttl, soa)
	msg[7] = 1
	wait := notifyWait
	var err error
	for range notifyTries {
		if err = c.notify(ctx, to, msg, wait); err == nil || ctx.Err() != nil {
			return err
		}
		wait *= 2
	}
	return err
}

func (c *Client) notify(ctx context.Context, to Primary, msg []byte, wait time.Duration) error {
	deadline := time.Now().Add(wait)
	m, err := c.askUDP(ctx, to, msg, deadline)
	if err == nil && m.Rcode != wire.NoError {
		err = fmt.Errorf("NOTIFY: %w", &RefusedError{m.Rcode})
	}
	if err != nil {
		return pause(ctx, deadline, err)
	}
	return nil
}

// pause waits until the deadline, so that a server that is not up yet is asked again
// later, and returns err.
func pause(ctx context.Context, deadline time.Time, err error) error {
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return err
}
