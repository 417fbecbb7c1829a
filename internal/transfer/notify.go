package transfer

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"port53/internal/wire"
	"port53/internal/zone"
)

// NotifyMessage returns the message that says which version of a zone is served (RFC 1996), but
// for its ID.
func NotifyMessage(z *zone.Zone) []byte {
	ttl, soa := z.SOA()
	msg := wire.AppendQuery(nil, 0, uint16(wire.OpcodeNotify)<<11|wire.FlagAA, z.Apex(), wire.TypeSOA)
	msg = zone.AppendRecord(msg, z.Apex(), wire.TypeSOA, ttl, soa)
	msg[7] = 1
	return msg
}

// Notify sends a server the notice of a version, once, and returns when it has answered, or
// has not in the time it is given. notice is not modified.
func (c *Client) Notify(ctx context.Context, to Primary, notice []byte, wait time.Duration) error {
	msg := bytes.Clone(notice)
	_, _ = rand.Read(msg[:2]) // it never fails
	ask := c.askUDP
	if to.TLS != nil {
		ask = c.askTLS
	}
	m, err := ask(ctx, to, msg, time.Now().Add(wait))
	if err == nil && m.Rcode != wire.NoError {
		err = fmt.Errorf("NOTIFY: %w", &RefusedError{m.Rcode})
	}
	return err
}
