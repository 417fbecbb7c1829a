package query

import (
	"bytes"
	"context"
	"net/netip"
	"time"

	"port53/internal/wire"
)

// Bounds of a zone transfer.
const (
	maxTransfer = 1 << 30          // octets: SECURITY's bound of a zone
	transferIO  = 60 * time.Second // without a message, unless the route allows longer
)

// A Transfer is what a zone transfer came to.
type Transfer struct {
	Server   netip.AddrPort
	Messages int
	Records  int
	Octets   int64
	Took     time.Duration
	At       time.Time
	Last     *Reply // the last message: its response code tells why there is no zone
	Whole    bool   // the closing SOA record came
}

// Transfer asks for AXFR or IXFR over TCP (RFC 5936, section 2.2; RFC 1995, section
// 4) and hands out each record in its order, up to the closing SOA record. It ends
// early, without an error, with a message whose response code is not NOERROR.
func (rt *Route) Transfer(ctx context.Context, server netip.AddrPort, q *Question, handle func(*wire.Record)) (*Transfer, error) {
	id := randomID(q)
	query := q.Append(nil, id, nil)
	t := &Transfer{Server: server, At: time.Now()}
	c, err := rt.dial(ctx, server, true, rt.timeout())
	if err != nil {
		if isTimeout(err) {
			err = &errTimeout{after: rt.timeout()}
		}
		return t, &Unanswered{[]Attempt{{server, true, err}}}
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := write(c, query, true); err != nil {
		return t, &Unanswered{[]Attempt{{server, true, err}}}
	}
	end := ending{ixfr: q.Type == wire.TypeIXFR}
	patience := max(transferIO, rt.timeout())
	buf := make([]byte, wire.MaxMessage)
	for t.Octets < maxTransfer {
		if ctx.Err() != nil {
			return t, context.Cause(ctx)
		}
		if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return t, err
		}
		n, err := read(c, buf, true)
		if ctx.Err() != nil {
			return t, context.Cause(ctx)
		}
		if err != nil {
			if isTimeout(err) {
				err = &errTimeout{after: patience}
			}
			return t, &Unanswered{[]Attempt{{server, true, err}}}
		}
		r := &Reply{Question: q, Sent: query, Raw: bytes.Clone(buf[:n]), Server: server, TCP: true, At: t.At, RTT: time.Since(t.At)}
		r.Fault = r.Message.Parse(r.Raw)
		t.Messages++
		t.Octets += int64(n)
		t.Took, t.Last = r.RTT, r
		// Messages after the first may leave the question out (RFC 5936, section 2.2.2).
		good := len(r.Raw) >= wire.HeaderLen && be16(r.Raw) == id && (answers(&r.Message, r.Raw, query, q) || t.Messages > 1 && be16(r.Raw[4:]) == 0)
		if !good || r.Fault != 0 || r.Message.Rcode != wire.NoError {
			return t, nil
		}
		for i := range r.Message.Records {
			rr := &r.Message.Records[i]
			if rr.Section != wire.Answer {
				continue
			}
			if !end.begins(rr) {
				return t, nil
			}
			t.Records++
			handle(rr)
			if t.Whole = end.reached(rr); t.Whole {
				return t, nil
			}
		}
		switch {
		case t.Records == 0:
			return t, nil // neither a zone nor an error
		case t.Records == 1 && end.ixfr:
			t.Whole = true // there is nothing newer (RFC 1995, section 2)
			return t, nil
		}
	}
	return t, nil
}

// An ending knows when a transfer is over: with the second SOA record of AXFR, and
// with the third that has the new serial of IXFR; an IXFR of one record, or one that
// is a whole zone, ends as AXFR does (RFC 1995, section 4).
type ending struct {
	ixfr   bool
	first  []byte // data of the first SOA record
	count  int    // SOA records with the first one's serial
	others bool   // an IXFR brings differences: its second record is an SOA
	n      int
}

// begins tells whether a transfer may go on with rr: its first record is an SOA.
func (e *ending) begins(rr *wire.Record) bool {
	return e.first != nil || rr.Type == wire.TypeSOA && len(rr.Data) >= 20
}

func (e *ending) reached(rr *wire.Record) bool {
	e.n++
	if rr.Type != wire.TypeSOA || len(rr.Data) < 20 {
		return false
	}
	serial := rr.Data[len(rr.Data)-20 : len(rr.Data)-16]
	if e.first == nil {
		e.first = bytes.Clone(serial)
	}
	same := bytes.Equal(serial, e.first)
	if e.n == 2 && e.ixfr && !same {
		e.others = true
	}
	if same {
		e.count++
	}
	if e.others {
		return e.count == 3
	}
	return e.count == 2
}
