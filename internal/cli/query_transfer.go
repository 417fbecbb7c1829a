package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"

	"port53/internal/query"
	"port53/internal/wire"
)

// A transferLine is one line of a transfer as JSON: a record, or the end.
type transferLine struct {
	*query.RecordReport
	End *transferEnd `json:"transfer,omitempty"`
}

type transferEnd struct {
	Schema   int    `json:"schema"`
	Zone     string `json:"zone"`
	Server   string `json:"server"`
	Whole    bool   `json:"whole"`
	Rcode    string `json:"rcode,omitempty"`
	Error    string `json:"error,omitempty"`
	Records  int    `json:"records"`
	Messages int    `json:"messages"`
	Octets   int64  `json:"octets"`
	Took     int64  `json:"took_us"`
}

// transfer prints a zone as it comes.
func (s *streams) transfer(ctx context.Context, a *asking, servers []netip.AddrPort) int {
	w := bufio.NewWriter(s.out)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	n := 0
	print := func(rr *wire.Record) {
		n++
		switch {
		case a.asJSON:
			r := query.ReportRecord(rr)
			_ = enc.Encode(transferLine{RecordReport: &r})
		case a.asYAML:
			if n == 1 {
				_, _ = w.Write(query.AppendYAMLTransfer(nil, servers[0]))
			}
			_, _ = w.Write(a.style.AppendYAMLRecord(nil, rr))
		case rr.Type == wire.TypeSOA && n > 1 && a.style.OneSOA:
		default:
			_, _ = w.Write(a.style.AppendRecord(nil, rr))
		}
	}
	q := a.q
	q.EDNS, q.Flags = false, 0 // as every secondary asks
	t, err := a.route.Transfer(ctx, servers[0], &q, print)
	why, rcode := "", ""
	switch {
	case t.Last != nil && t.Last.Message.Rcode != wire.NoError:
		rcode = t.Last.Message.Rcode.String()
		why = "the server answered " + rcode
		if t.Last.Message.Rcode == wire.Refused || t.Last.Message.Rcode == wire.NotAuth {
			why += ": it does not have the zone, or does not give it to you"
		}
	case err != nil:
		why = err.Error()
	case t.Last != nil && t.Last.Unverified != nil:
		why = "the signature is not good: " + t.Last.Unverified.Error()
	case !t.Whole && t.Last != nil && t.Last.Fault != 0:
		why = "a malformed message: " + t.Last.Fault.String()
	case !t.Whole:
		why = "the server did not send a zone"
	}
	switch {
	case a.asJSON:
		_ = enc.Encode(transferLine{End: &transferEnd{
			query.Schema, query.NameText(a.q.Name), t.Server.String(), t.Whole, rcode, why,
			t.Records, t.Messages, t.Octets, t.Took.Microseconds(),
		}})
	case a.style.Stats && !a.asYAML:
		fmt.Fprintf(
			w,
			";; Query time: %d msec\n;; SERVER: %v#%d(%v) (TCP)\n",
			t.Took.Milliseconds(),
			t.Server.Addr(),
			t.Server.Port(),
			t.Server.Addr(),
		)
		fmt.Fprintf(w, ";; XFR size: %d records (messages %d, bytes %d)\n\n", t.Records, t.Messages, t.Octets)
	}
	if w.Flush() != nil {
		return exitUsage
	}
	if t.Whole || ctx.Err() != nil {
		return exitOK // what interrupted is said by the caller
	}
	s.complain("", "%s: %s", a.subject(), why)
	return exitFindings
}
