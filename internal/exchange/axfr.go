package exchange

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
	t := &Transfer{Server: server, At: time.Now()}
	end := ending{ixfr: q.Type == wire.TypeIXFR}
	patience := rt.timeout()
	fail := func(err error) (*Transfer, error) {
		if ctx.Err() != nil {
			return t, context.Cause(ctx)
		}
		if IsTimeout(err) {
			err = &timeoutError{after: patience}
		}
		return t, &NoReplyError{[]Attempt{{Server: server, TCP: true, Err: err, Transport: rt.Transport}}}
	}
	s, err := rt.dialer().Stream(ctx, server)
	if err != nil {
		return fail(err)
	}
	defer s.Close()
	if s.Limit = rt.Octets; s.Limit == 0 {
		s.Limit = maxTransfer
	}
	query := q.Append(nil, q.id(), nil)
	var v Verifier
	if rt.Sign != nil {
		query, v = rt.Sign(query)
	}
	if err := s.Send(ctx, query, time.Now().Add(patience)); err != nil {
		return fail(err)
	}
	patience = max(transferIO, patience)
	for {
		msg, err := s.Next(ctx, time.Now().Add(patience))
		if err != nil {
			return fail(err)
		}
		r := &Reply{Question: q, Sent: query, Raw: bytes.Clone(msg), Server: server, TCP: true, At: t.At, RTT: time.Since(t.At)}
		r.Fault = r.Message.Parse(r.Raw)
		t.Messages++
		t.Octets += int64(len(msg))
		t.Took, t.Last = r.RTT, r
		if v != nil {
			r.TSIG, r.Unverified = true, v.Verify(r.Raw, time.Now())
			if r.Unverified != nil {
				return t, nil // nothing of it is believed
			}
		}
		fits := Match(query, msg) >= NoQuestion || t.Messages > 1 && Continues(query, msg)
		if !fits || r.Fault != 0 || r.Message.Rcode != wire.NoError {
			return t, nil
		}
		if over := t.take(r, &end, handle); over {
			if v != nil {
				r.Unverified = v.Done()
				t.Whole = t.Whole && r.Unverified == nil
			}
			return t, nil
		}
	}
}

// take hands out the records of one message, and reports whether the transfer is over.
func (t *Transfer) take(r *Reply, end *ending, handle func(*wire.Record)) (over bool) {
	for i := range r.Message.Records {
		rr := &r.Message.Records[i]
		if rr.Section != wire.Answer {
			continue
		}
		if !end.begins(rr) {
			return true
		}
		t.Records++
		handle(rr)
		if t.Whole = end.reached(rr); t.Whole {
			return true
		}
	}
	if t.Records == 1 && end.ixfr {
		t.Whole = true // there is nothing newer (RFC 1995, section 2)
	}
	return t.Whole || t.Records == 0 // which is neither a zone nor an error
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

// begins reports whether a transfer may go on with rr: its first record is an SOA.
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
