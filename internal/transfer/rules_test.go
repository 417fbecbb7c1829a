package transfer_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/dnstest"
	"port53/internal/exchange"
	"port53/internal/transfer"
	"port53/internal/tsig"
	"port53/internal/wire"
	"port53/internal/zone"
)

// at returns a name below the zone's.
func at(label string) []byte { return slices.Concat([]byte{byte(len(label))}, []byte(label), apex) }

// soa returns the SOA record of a version, whose data the last octet tells apart.
func soa(serial uint32, last byte) []byte {
	numbers := binary.BigEndian.AppendUint32(nil, serial)
	numbers = append(numbers, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, last)
	return zone.AppendRecord(nil, apex, wire.TypeSOA, 3600, slices.Concat(at("ns"), at("admin"), numbers))
}

// a returns an address record.
func a(owner []byte, last byte) []byte {
	return zone.AppendRecord(nil, owner, wire.TypeA, 60, []byte{192, 0, 2, last})
}

var ns = zone.AppendRecord(nil, apex, wire.TypeNS, 60, at("ns"))

// whole is the version with the serial, as AXFR has it, without the closing SOA record.
func whole(serial uint32) [][]byte { return [][]byte{soa(serial, 4), ns, a(at("ns"), 1)} }

// one returns whole as a message has it, with its closing SOA record.
func one(serial uint32) message { return message{records: append(whole(serial), soa(serial, 4))} }

// A message is one of a reply.
type message struct {
	records [][]byte                // of the answer section
	change  func(msg []byte) []byte // before it is sent; nil: as it is
	options []byte                  // of OPT; nil: there is none
}

func (m message) pack(query []byte) []byte {
	var q wire.Message
	q.Parse(query)
	msg := wire.AppendQuery(nil, q.ID, wire.FlagQR|wire.FlagAA, q.Name, q.Type)
	for _, r := range m.records {
		msg = append(msg, r...)
	}
	binary.BigEndian.PutUint16(msg[6:], uint16(len(m.records)))
	if m.options != nil {
		msg = wire.AppendOPT(msg, 1232, false, m.options)
		msg[11] = 1
	}
	if m.change != nil {
		msg = m.change(msg)
	}
	return msg
}

// A scripted primary sends the same messages to each question of a type.
type scripted struct {
	replies map[wire.Type][]message
	asked   []wire.Type
	queries []wire.Message
}

func (s *scripted) dial(_ context.Context, network string, _ netip.AddrPort) (net.Conn, error) {
	return dialReply(network, func(query []byte, t wire.Type) (list [][]byte) {
		s.asked = append(s.asked, t)
		var q wire.Message
		q.Parse(query)
		s.queries = append(s.queries, q)
		for _, m := range s.replies[t] {
			list = append(list, m.pack(query))
		}
		return list
	})
}

func withoutQuestion(msg []byte) []byte {
	end := wire.HeaderLen + len(apex) + 4
	msg = append(msg[:wire.HeaderLen:wire.HeaderLen], msg[end:]...)
	msg[5] = 0
	return msg
}

// patched returns a change that flips bits of an octet.
func patched(at int, bits byte) func(msg []byte) []byte {
	return func(msg []byte) []byte { msg[at] ^= bits; return msg }
}

// TestOrderOfWhole has zones come whole, in order and not (RFC 5936, section 2.2).
func TestOrderOfWhole(t *testing.T) {
	head, tail := message{records: whole(7)[:2]}, message{records: [][]byte{a(at("ns"), 1), soa(7, 4)}}
	changed := func(m message, change func([]byte) []byte) message { m.change = change; return m }
	for what, c := range map[string]struct {
		messages []message
		want     string // in the error; empty: it is taken
	}{
		"one message":                      {[]message{one(7)}, ""},
		"two":                              {[]message{head, tail}, ""},
		"two, the second bare":             {[]message{head, changed(tail, withoutQuestion)}, ""},
		"a bare one first":                 {[]message{changed(head, withoutQuestion), tail}, "message 1"},
		"a second with another ID":         {[]message{head, changed(tail, patched(1, 1))}, "message 2 is not a reply"},
		"a bare second with another ID":    {[]message{head, changed(tail, func(m []byte) []byte { return patched(0, 1)(withoutQuestion(m)) })}, "message 2 is not a reply"},
		"a second that is a question":      {[]message{head, changed(tail, patched(2, 0x80))}, "message 2 is not a reply"},
		"a second that answers another":    {[]message{head, changed(tail, patched(14, 1))}, "message 2 answers another question"},
		"a second that is cut off":         {[]message{head, changed(tail, func(m []byte) []byte { return m[:len(m)-1] })}, "message 2 is not a reply"},
		"an error in the second":           {[]message{head, changed(tail, patched(3, byte(wire.ServFail)))}, "SERVFAIL"},
		"no end":                           {[]message{head}, "ends after 1 messages"},
		"another record first":             {[]message{{records: whole(7)[1:]}}, "does not begin with a SOA record"},
		"another SOA at the end":           {[]message{{records: append(whole(7), soa(8, 4))}}, "ends with another SOA record"},
		"the end's data are other":         {[]message{{records: append(whole(7), soa(7, 5))}}, "ends with another SOA record"},
		"a record after the end":           {[]message{{records: append(whole(7), soa(7, 4), a(at("x"), 1))}}, "records follow the last"},
		"a zone that cannot be served":     {[]message{{records: [][]byte{soa(7, 4), a(at("ns"), 1), soa(7, 4)}}}, "the zone cannot be served"},
		"nothing":                          {[]message{{}}, "ends after 1 messages"},
		"records of the other sections":    {[]message{changed(one(7), func(m []byte) []byte { m[7], m[9] = 0, m[7]; return m })}, "ends after 1 messages"},
		"a length of less than a header":   {[]message{changed(one(7), func(m []byte) []byte { return m[:11] })}, "not in order"},
		"a length of nothing":              {[]message{changed(one(7), func(m []byte) []byte { return nil })}, "not in order"},
		"an answer without records, first": {[]message{{}, one(7)}, ""},
	} {
		s := &scripted{replies: map[wire.Type][]message{wire.TypeAXFR: c.messages}}
		client := transfer.Client{Dial: s.dial}
		r, err := client.Fetch(t.Context(), transfer.Primary{}, apex, nil, dnstest.Seed)
		switch {
		case c.want != "" && (r != nil || err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %+v %v, want %q", what, r, err, c.want)
		case c.want == "" && (err != nil || !slices.Equal(contents(r.Zone), contents(build(t, whole(7))))):
			t.Errorf("%s: %v", what, err)
		}
		if !slices.Equal(s.asked, []wire.Type{wire.TypeAXFR}) {
			t.Errorf("%s: asked for %v", what, s.asked)
		}
	}
}

// build makes a version of records.
func build(t *testing.T, records [][]byte) *zone.Zone {
	t.Helper()
	b := zone.NewBuilder(apex, dnstest.Seed)
	if err := zone.EachRecord(slices.Concat(records...), func(owner []byte, typ wire.Type, ttl uint32, data []byte) bool {
		b.Add(&zone.Record{Owner: owner, Type: typ, TTL: ttl, Data: data})
		return true
	}); err != nil {
		t.Fatal(err)
	}
	z, problems := b.Build()
	if z == nil {
		t.Fatal(problems)
	}
	return z
}

// TestOrderOfDifferences has differences that fit the version at hand, and some that do not:
// then the zone is fetched whole (RFC 1995, section 4). Nothing comes of a reply that
// breaks off.
func TestOrderOfDifferences(t *testing.T) {
	x, y := a(at("x"), 8), a(at("y"), 9)
	ixfr, both := []wire.Type{wire.TypeIXFR}, []wire.Type{wire.TypeIXFR, wire.TypeAXFR}
	for what, c := range map[string]struct {
		records [][]byte
		asked   []wire.Type
		serial  uint32 // 0: no new version
		more    [][]byte
		want    string // in the error
	}{
		"one":                        {[][]byte{soa(2, 4), soa(1, 4), soa(2, 4), x, soa(2, 4)}, ixfr, 2, [][]byte{x}, ""},
		"two":                        {[][]byte{soa(3, 4), soa(1, 4), soa(2, 4), x, soa(2, 4), x, soa(3, 4), y, soa(3, 4)}, ixfr, 3, [][]byte{y}, ""},
		"nothing newer":              {[][]byte{soa(1, 4)}, ixfr, 0, nil, ""},
		"something older":            {[][]byte{soa(1<<32-1, 4)}, ixfr, 0, nil, ""},
		"the whole":                  {append(whole(5), x, soa(5, 4)), ixfr, 5, [][]byte{x}, ""},
		"it ends one short":          {[][]byte{soa(3, 4), soa(1, 4), soa(2, 4), x, soa(3, 4)}, both, 9, nil, ""},
		"it begins elsewhere":        {[][]byte{soa(3, 4), soa(2, 4), soa(3, 4), x, soa(3, 4)}, both, 9, nil, ""},
		"one is missing":             {[][]byte{soa(4, 4), soa(1, 4), soa(2, 4), x, soa(3, 4), soa(4, 4), y, soa(4, 4)}, both, 9, nil, ""},
		"it leads back":              {[][]byte{soa(2, 4), soa(1, 4), soa(0, 4), x, soa(0, 4), soa(2, 4), soa(2, 4)}, both, 9, nil, ""},
		"it leads nowhere":           {[][]byte{soa(2, 4), soa(1, 4), soa(1, 4), x, soa(1, 4), soa(2, 4), soa(2, 4)}, both, 9, nil, ""},
		"it removes what is not":     {[][]byte{soa(2, 4), soa(1, 4), x, soa(2, 4), y, soa(2, 4)}, both, 9, nil, ""},
		"the SOA record alone":       {[][]byte{soa(2, 4)}, both, 9, nil, ""},
		"it ends with other data":    {[][]byte{soa(2, 4), soa(1, 4), soa(2, 4), x, soa(2, 5)}, ixfr, 0, nil, "before its last record"},
		"it ends among removed":      {[][]byte{soa(2, 4), soa(1, 4)}, ixfr, 0, nil, "before its last record"},
		"it ends among added":        {[][]byte{soa(2, 4), soa(1, 4), soa(2, 4), x}, ixfr, 0, nil, "before its last record"},
		"the SOA record twice":       {[][]byte{soa(2, 4), soa(2, 4)}, ixfr, 0, nil, "the zone cannot be served"},
		"a record after the last":    {[][]byte{soa(2, 4), soa(1, 4), soa(2, 4), x, soa(2, 4), y}, ixfr, 0, nil, "records follow the last"},
		"a record after the one SOA": {[][]byte{soa(1, 4), x}, ixfr, 0, nil, "records follow the last"},
	} {
		s := &scripted{replies: map[wire.Type][]message{wire.TypeIXFR: {{records: c.records}}, wire.TypeAXFR: {one(9)}}}
		client := transfer.Client{Dial: s.dial}
		r, err := client.Fetch(t.Context(), transfer.Primary{}, apex, build(t, whole(1)), dnstest.Seed)
		switch {
		case !slices.Equal(s.asked, c.asked):
			t.Errorf("%s: asked for %v, want %v: %v", what, s.asked, c.asked, err)
		case c.want != "":
			if r != nil || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %+v %v, want %q", what, r, err, c.want)
			}
		case err != nil:
			t.Errorf("%s: %v", what, err)
		case c.serial == 0:
			if r.Zone != nil {
				t.Errorf("%s: serial %d", what, r.Zone.Serial())
			}
		case !slices.Equal(contents(r.Zone), contents(build(t, append(whole(c.serial), c.more...)))):
			t.Errorf("%s: %q", what, contents(r.Zone))
		}
	}
	// The SOA record alone is an answer if it is all that comes.
	s := &scripted{replies: map[wire.Type][]message{wire.TypeIXFR: {{records: [][]byte{soa(2, 4)}}, {}}}}
	if _, err := (&transfer.Client{Dial: s.dial}).Fetch(t.Context(), transfer.Primary{}, apex, build(t, whole(1)), dnstest.Seed); !errors.Is(err, transfer.ErrWrong) || !slices.Equal(s.asked, ixfr) {
		t.Errorf("%v, asked for %v", err, s.asked)
	}
	// Neither IXFR nor AXFR: the second refusal counts.
	refuse := message{change: patched(3, byte(wire.Refused))}
	s = &scripted{replies: map[wire.Type][]message{wire.TypeIXFR: {refuse}, wire.TypeAXFR: {refuse}}}
	client := transfer.Client{Dial: s.dial}
	var refused *transfer.RefusedError
	if _, err := client.Fetch(t.Context(), transfer.Primary{}, apex, build(t, whole(1)), dnstest.Seed); !errors.As(err, &refused) || refused.Rcode != wire.Refused || !slices.Equal(s.asked, both) {
		t.Errorf("%v, asked for %v", err, s.asked)
	}
}

// TestLimitsOfRecords has as many records as may be, and one more: a zone's own, and twice as
// many of differences, which remove and add.
func TestLimitsOfRecords(t *testing.T) {
	differences := [][]byte{soa(2, 4), soa(1, 4), soa(2, 4), a(at("x"), 1), a(at("y"), 1), soa(2, 4)}
	for _, c := range []struct {
		what    string
		records [][]byte
		have    *zone.Zone
		limit   int
		fits    bool
	}{
		{"a zone", append(whole(2), soa(2, 4)), nil, 3, true},
		{"a zone", append(whole(2), soa(2, 4)), nil, 2, false},
		{"differences", differences, build(t, whole(1)), 3, true},
		{"differences", differences, build(t, whole(1)), 2, false},
	} {
		m := []message{{records: c.records}}
		s := &scripted{replies: map[wire.Type][]message{wire.TypeIXFR: m, wire.TypeAXFR: m}}
		client := transfer.Client{Dial: s.dial, Limits: transfer.Limits{Records: c.limit}}
		_, err := client.Fetch(t.Context(), transfer.Primary{}, apex, c.have, dnstest.Seed)
		if (err == nil) != c.fits || err != nil && !errors.Is(err, transfer.ErrTooLarge) || len(s.asked) != 1 {
			t.Errorf("%s, at most %d: %v", c.what, c.limit, err)
		}
	}
}

// TestLimitOfOctets has a zone take as many octets as it may without compression, which are
// more than on the wire, and one more.
func TestLimitOfOctets(t *testing.T) {
	records, octets := whole(7), 0
	for _, r := range append(whole(7), soa(7, 4)) {
		octets += len(r)
	}
	for n := range 100 {
		records = append(records, []byte{0xC0, wire.HeaderLen, 0, byte(wire.TypeA), 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, byte(n)})
		octets += len(apex) + 10 + 4
	}
	for less, fits := range []bool{true, false} {
		s := &scripted{replies: map[wire.Type][]message{wire.TypeAXFR: {{records: append(slices.Clone(records), soa(7, 4))}}}}
		client := transfer.Client{Dial: s.dial, Limits: transfer.Limits{Octets: int64(octets - less)}}
		_, err := client.Fetch(t.Context(), transfer.Primary{}, apex, nil, dnstest.Seed)
		if (err == nil) != fits || err != nil && (!errors.Is(err, transfer.ErrTooLarge) || !strings.Contains(err.Error(), "uncompressed")) {
			t.Errorf("%d octets of %d: %v", octets, octets-less, err)
		}
	}
}

// TestDefaultLimitOfTime has a primary that sends a little now and then, and never all.
func TestDefaultLimitOfTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := transfer.Client{Dial: func(_ context.Context, _ string, _ netip.AddrPort) (net.Conn, error) {
			here, there := net.Pipe()
			go func() {
				defer there.Close()
				q := make([]byte, wire.MaxMessage)
				n, err := there.Read(q) // its length goes with it
				for m := (message{records: whole(7)[:1]}); err == nil; m.records = [][]byte{a(at("x"), 1)} {
					msg := m.pack(q[2:n])
					_, err = there.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...))
					time.Sleep(29 * time.Second)
				}
			}()
			return here, nil
		}}
		begin := time.Now()
		_, err := client.Fetch(t.Context(), transfer.Primary{}, apex, nil, dnstest.Seed)
		if took := time.Since(begin); !errors.Is(err, context.DeadlineExceeded) || took != 2*time.Hour {
			t.Errorf("%v after %v, want two hours", err, took)
		}
		time.Sleep(time.Hour) // the other side's end
	})
}

// TestNoEDNS has a primary that knows no EDNS: it is asked for the zone without (RFC 6891,
// section 7), and one that refuses is not asked again.
func TestNoEDNS(t *testing.T) {
	for rcode, asked := range map[wire.Rcode]int{wire.FormErr: 2, wire.NotImp: 2, wire.Refused: 1} {
		var queries []wire.Message
		client := transfer.Client{Dial: func(_ context.Context, network string, _ netip.AddrPort) (net.Conn, error) {
			return dialReply(network, func(q []byte, _ wire.Type) [][]byte {
				var m wire.Message
				if m.Parse(bytes.Clone(q)) != 0 {
					t.Error("the question cannot be read")
				}
				queries = append(queries, m)
				return [][]byte{wire.AppendQuery(nil, m.ID, wire.FlagQR|uint16(rcode), m.Name, m.Type)}
			})
		}}
		_, err := client.Fetch(t.Context(), transfer.Primary{}, apex, nil, dnstest.Seed)
		var refused *transfer.RefusedError
		if !errors.As(err, &refused) || len(queries) != asked || asked == 2 && (!queries[0].EDNS || queries[1].EDNS) {
			t.Errorf("%s: %v, %+v", rcode, err, queries)
		}
	}
}

// TestQuestions looks at what a primary is asked (RFC 1995, section 3; RFC 7314, section 2).
func TestQuestions(t *testing.T) {
	expire := []byte{0, wire.OptionExpire, 0, 4, 0, 0, 0, 9}
	first := message{records: whole(7)[:2], options: expire}
	rest := message{records: append(whole(7)[2:], soa(7, 4)), options: []byte{}}
	s := &scripted{replies: map[wire.Type][]message{wire.TypeAXFR: {first, rest}, wire.TypeIXFR: {first, rest}, wire.TypeSOA: {first}}}
	client := transfer.Client{Dial: s.dial}
	if r, err := client.Fetch(t.Context(), transfer.Primary{}, apex, nil, dnstest.Seed); err != nil || r.Expire != 9*time.Second {
		t.Fatal(r, err)
	}
	r, err := client.Fetch(t.Context(), transfer.Primary{}, apex, build(t, whole(5)), dnstest.Seed)
	if err != nil || r.Expire != 9*time.Second {
		t.Errorf("%v, EXPIRE %v", err, r.Expire)
	}
	serial, left, err := client.Serial(t.Context(), transfer.Primary{}, apex)
	if err != nil || serial != 7 || left != 9*time.Second {
		t.Errorf("%v, serial %d, EXPIRE %v", err, serial, left)
	}
	if len(s.queries) != 3 {
		t.Fatalf("%d questions", len(s.queries))
	}
	axfr, ixfr, soaQuery := &s.queries[0], &s.queries[1], &s.queries[2]
	if _, ok := axfr.Option(wire.OptionExpire); !ok || len(axfr.Records) != 0 {
		t.Errorf("AXFR: %+v", axfr)
	}
	if _, ok := ixfr.Option(wire.OptionExpire); !ok || len(ixfr.Records) != 1 || ixfr.Records[0].Section != wire.Authority || zone.SerialOf(ixfr.Records[0].Data) != 5 {
		t.Errorf("IXFR: %+v", ixfr)
	}
	if _, ok := soaQuery.Option(wire.OptionExpire); !ok || len(soaQuery.Records) != 0 {
		t.Errorf("SOA: %+v", soaQuery)
	}
	// A time of another length than four octets is none.
	for n := range 8 {
		s.replies[wire.TypeSOA] = []message{{records: whole(7)[:1], options: append([]byte{0, wire.OptionExpire, 0, byte(n)}, make([]byte, n)...)}}
		s.replies[wire.TypeSOA][0].options = append(s.replies[wire.TypeSOA][0].options[:4:4], bytes.Repeat([]byte{1}, n)...)
		if _, left, err := client.Serial(t.Context(), transfer.Primary{}, apex); err != nil || (left != 0) != (n == 4) {
			t.Errorf("%d octets: %v, EXPIRE %v", n, err, left)
		}
	}
}

// TestSerials has replies to the question for the SOA record, right and wrong.
func TestSerials(t *testing.T) {
	other := zone.AppendRecord(nil, at("sub"), wire.TypeSOA, 60, soa(8, 4)[len(apex)+10:])
	chaos := soa(8, 4)
	chaos[len(apex)+3] = byte(wire.ClassCH)
	for what, c := range map[string]struct {
		m    message
		udp  bool // it comes over UDP, and another serial over TCP
		want string
		over int // datagrams sent
	}{
		"over TCP":              {message{records: [][]byte{soa(7, 4)}}, false, "", 0},
		"over UDP":              {message{records: [][]byte{soa(7, 4)}}, true, "", 1},
		"after others":          {message{records: [][]byte{ns, other, chaos, soa(7, 4)}}, true, "", 1},
		"of another name":       {message{records: [][]byte{other}}, false, "no SOA record for the zone", 0},
		"of another class":      {message{records: [][]byte{chaos}}, false, "no SOA record for the zone", 0},
		"no SOA record":         {message{records: [][]byte{ns}}, false, "no SOA record for the zone", 0},
		"in another section":    {message{records: [][]byte{soa(7, 4)}, change: func(m []byte) []byte { m[7], m[9] = 0, 1; return m }}, false, "no SOA record for the zone", 0},
		"not authoritative":     {message{records: [][]byte{soa(7, 4)}, change: patched(2, 4)}, false, "not authoritative", 0},
		"an error":              {message{records: [][]byte{soa(7, 4)}, change: patched(3, byte(wire.NotAuth))}, false, "NOTAUTH", 0},
		"an error over UDP":     {message{change: patched(3, byte(wire.NotAuth))}, true, "NOTAUTH", 1},
		"cut off over UDP":      {message{records: [][]byte{soa(9, 4)}, change: patched(2, 2)}, true, "", 2},
		"not the zone over UDP": {message{records: [][]byte{soa(9, 4)}, change: patched(2, 4)}, true, "", 2},
	} {
		s := &scripted{replies: map[wire.Type][]message{wire.TypeSOA: {c.m}}}
		datagrams := 0
		udp := dialUDP(func(q []byte) [][]byte { datagrams++; return [][]byte{c.m.pack(q)} })
		if c.udp {
			s.replies[wire.TypeSOA] = []message{{records: [][]byte{soa(7, 4)}}}
		}
		client := transfer.Client{Dial: func(ctx context.Context, network string, addr netip.AddrPort) (net.Conn, error) {
			if network == "udp" && c.udp {
				return udp(ctx, network, addr)
			}
			return s.dial(ctx, network, addr)
		}}
		serial, _, err := client.Serial(t.Context(), transfer.Primary{}, apex)
		if c.want == "" && (err != nil || serial != 7) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) || datagrams != c.over {
			t.Errorf("%s: serial %d, %v, %d datagrams, want %d", what, serial, err, datagrams, c.over)
		}
	}
	// A key that the server refuses is refused over TCP too: it is not asked for.
	stranger := tsig.Key{Name: key.Name, Algorithm: key.Algorithm, Secret: []byte("another secret..")}
	datagrams := 0
	client := transfer.Client{Dial: dialUDP(func(q []byte) [][]byte { datagrams++; return [][]byte{says(t, q, 7, &stranger)} })}
	synctest.Test(t, func(t *testing.T) {
		if _, _, err := client.Serial(t.Context(), transfer.Primary{Key: &key}, apex); !errors.Is(err, tsig.ErrRefused) || datagrams != 1 {
			t.Errorf("%v after %d datagrams", err, datagrams)
		}
	})
}

// TestForwardedAsItIs has a message be given on as its sender signed it, whatever key there
// is for the server.
func TestForwardedAsItIs(t *testing.T) {
	update := wire.AppendQuery(nil, 0x1234, uint16(wire.OpcodeUpdate)<<11, apex, wire.TypeSOA)
	var got []byte
	client := transfer.Client{Dial: func(_ context.Context, network string, _ netip.AddrPort) (net.Conn, error) {
		return dialReply(network, func(q []byte, _ wire.Type) [][]byte {
			got = bytes.Clone(q)
			return [][]byte{patched(2, 0x80)(bytes.Clone(q))}
		})
	}}
	reply, err := client.Forward(t.Context(), transfer.Primary{Key: &key}, update)
	if err != nil || !bytes.Equal(got, update) || !bytes.Equal(reply, patched(2, 0x80)(bytes.Clone(update))) {
		t.Errorf("%x became %x, and the reply is %x, %v", update, got, reply, err)
	}
	refused := errors.New("nobody is there")
	client.Dial = func(context.Context, string, netip.AddrPort) (net.Conn, error) { return nil, refused }
	if _, err := client.Forward(t.Context(), transfer.Primary{}, update); !errors.Is(err, refused) {
		t.Error(err)
	}
}

// TestBrokenStreams has connections end within a message, and others that bring nothing but
// replies to something else.
func TestBrokenStreams(t *testing.T) {
	for _, octets := range []int{0, 1, 2, 20} {
		client := transfer.Client{Dial: func(_ context.Context, _ string, _ netip.AddrPort) (net.Conn, error) {
			here, there := net.Pipe()
			go func() {
				defer there.Close()
				q := make([]byte, wire.MaxMessage)
				_, _ = there.Read(q)
				_, _ = there.Write(append([]byte{0, 100}, q[2:]...)[:octets])
			}()
			return here, nil
		}}
		_, err := client.Fetch(t.Context(), transfer.Primary{}, apex, nil, dnstest.Seed)
		if !errors.Is(err, transfer.ErrWrong) || !strings.Contains(err.Error(), "it ends after 0 messages") {
			t.Errorf("%d octets: %v", octets, err)
		}
	}
	client := transfer.Client{Dial: func(_ context.Context, network string, _ netip.AddrPort) (net.Conn, error) {
		return dialReply(network, func(q []byte, _ wire.Type) [][]byte {
			return slices.Repeat([][]byte{patched(0, 1)(patched(2, 0x80)(bytes.Clone(q)))}, exchange.MaxUnwanted)
		})
	}}
	update := wire.AppendQuery(nil, 0x1234, uint16(wire.OpcodeUpdate)<<11, apex, wire.TypeSOA)
	if _, err := client.Forward(t.Context(), transfer.Primary{}, update); !errors.Is(err, transfer.ErrWrong) || !errors.Is(err, exchange.ErrFlooded) {
		t.Error(err)
	}
}

// TestNotifyOnce has a server that answers a NOTIFY, does not, or answers an error.
func TestNotifyOnce(t *testing.T) {
	z := build(t, whole(7))
	for what, c := range map[string]struct {
		rcode  wire.Rcode
		answer bool
		ends   int // seconds
		ok     bool
	}{
		"at once": {0, true, 0, true},
		"never":   {0, false, 2, false},
		"refused": {wire.Refused, true, 0, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			var sent []int
			client := transfer.Client{Dial: dialUDP(func(q []byte) [][]byte {
				sent = append(sent, int(time.Since(begin)/time.Second))
				var m wire.Message
				if m.Parse(q) != 0 || m.Opcode != wire.OpcodeNotify || m.Flags&wire.FlagAA == 0 || m.Type != wire.TypeSOA || !bytes.Equal(m.Name, apex) ||
					len(m.Records) != 1 || m.Records[0].Section != wire.Answer || zone.SerialOf(m.Records[0].Data) != 7 {
					t.Errorf("%s: the NOTIFY is %+v", what, m)
				}
				if !c.answer {
					return nil
				}
				return [][]byte{patched(3, byte(c.rcode))(says(t, q, 7, nil))}
			})}
			err := client.Notify(t.Context(), transfer.Primary{}, transfer.NotifyMessage(z), 2*time.Second)
			synctest.Wait()
			if took := time.Since(begin); (err == nil) != c.ok || !slices.Equal(sent, []int{0}) || took != time.Duration(c.ends)*time.Second {
				t.Errorf("%s: %v after %v, sent after %v s", what, err, took, sent)
			}
			var refused *transfer.RefusedError
			if c.rcode != 0 && (!errors.As(err, &refused) || refused.Rcode != c.rcode) {
				t.Errorf("%s: %v", what, err)
			}
		})
	}
}

// TestCancelled has the caller give up, as a wrong signature has been seen, within a wait,
// and between two: nothing is sent after that, and the error is the caller's.
func TestCancelled(t *testing.T) {
	stranger := tsig.Key{Name: key.Name, Algorithm: key.Algorithm, Secret: []byte("another secret..")}
	for what, call := range map[string]func(ctx context.Context, c *transfer.Client, p transfer.Primary) error{
		"Notify": func(ctx context.Context, c *transfer.Client, p transfer.Primary) error {
			return c.Notify(ctx, p, transfer.NotifyMessage(build(t, whole(7))), 2*time.Second)
		},
		"Serial": func(ctx context.Context, c *transfer.Client, p transfer.Primary) error {
			_, _, err := c.Serial(ctx, p, apex)
			return err
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
			defer cancel()
			datagrams := 0
			client := transfer.Client{Dial: dialUDP(func(q []byte) [][]byte { datagrams++; return [][]byte{says(t, q, 7, &stranger)} })}
			begin := time.Now()
			err := call(ctx, &client, transfer.Primary{Key: &key})
			synctest.Wait()
			if !errors.Is(err, context.DeadlineExceeded) || datagrams != 1 || time.Since(begin) != time.Second/2 {
				t.Errorf("%s: %v after %v and %d datagrams", what, err, time.Since(begin), datagrams)
			}
		})
	}
}

// TestRequests reads questions for zones, and what is none (RFC 1995, section 3).
func TestRequests(t *testing.T) {
	question := func(typ wire.Type, authority ...[]byte) []byte {
		m := wire.AppendQuery(nil, 1, 0, apex, typ)
		for _, r := range authority {
			m = append(m, r...)
		}
		m[9] = byte(len(authority))
		return m
	}
	answer := question(wire.TypeIXFR, soa(5, 4))
	answer[7], answer[9] = 1, 0
	chaos := soa(5, 4)
	chaos[len(apex)+3] = byte(wire.ClassCH)
	two := question(wire.TypeAXFR)
	two[5] = 2
	two = append(two, two[wire.HeaderLen:]...)
	below := zone.AppendRecord(nil, at("sub"), wire.TypeSOA, 60, soa(8, 4)[len(apex)+10:])
	for what, c := range map[string]struct {
		msg    []byte
		serial uint32
		ok     bool
	}{
		"AXFR":                          {question(wire.TypeAXFR), 0, true},
		"IXFR":                          {question(wire.TypeIXFR, soa(5, 4)), 5, true},
		"IXFR, after other records":     {question(wire.TypeIXFR, ns, below, chaos, soa(5, 4)), 5, true},
		"IXFR without a version":        {question(wire.TypeIXFR), 0, false},
		"IXFR, its version an answer":   {answer, 0, false},
		"IXFR with another's version":   {question(wire.TypeIXFR, below), 0, false},
		"IXFR with an SOA of class CH":  {question(wire.TypeIXFR, chaos), 0, false},
		"IXFR with another record":      {question(wire.TypeIXFR, ns), 0, false},
		"a question for something else": {question(wire.TypeSOA, soa(5, 4)), 0, false},
		"two questions":                 {two, 0, false},
		"no question":                   {make([]byte, wire.HeaderLen), 0, false},
		"half of one":                   {question(wire.TypeAXFR)[:20], 0, false},
		"half of a record":              {question(wire.TypeIXFR, soa(5, 4))[:60], 0, false},
	} {
		if r, err := transfer.ParseRequest(c.msg); (err == nil) != c.ok || err == nil && r.Serial != c.serial {
			t.Errorf("%s: %+v %v", what, r, err)
		}
	}
}

// sent returns the messages of a reply.
func sent(t *testing.T, query []byte, o transfer.Outgoing) (list [][]byte) {
	t.Helper()
	r, err := transfer.ParseRequest(query)
	if err != nil {
		t.Fatal(err)
	}
	if err := transfer.Send(r, o, func(m []byte) error { list = append(list, bytes.Clone(m)); return nil }); err != nil {
		t.Fatal(err)
	}
	return list
}

// asking returns a question with the client's version, and OPT if it takes so many octets.
func asking(typ wire.Type, serial uint32, size int) []byte {
	m := wire.AppendQuery(nil, 0x1234, wire.FlagRD, apex, typ)
	if typ == wire.TypeIXFR {
		m = append(m, soa(serial, 4)...)
		m[9] = 1
	}
	if size > 0 {
		m = wire.AppendOPT(m, uint16(size), false, []byte{0, wire.OptionExpire, 0, 0})
		m[11] = 1
	}
	return m
}

// TestShapeOfMessages looks at each message of a zone that takes several (RFC 5936, section
// 2.2): the question stands in the first, OPT too, flags and ID are in all, and each is as
// large as it may be.
func TestShapeOfMessages(t *testing.T) {
	z := version(t, 7, 1500, "")
	for _, secret := range []*tsig.Key{nil, &key} {
		for _, typ := range []wire.Type{wire.TypeAXFR, wire.TypeIXFR} {
			query, left := asking(typ, 5, 4096), uint32(77)
			o := transfer.Outgoing{Zone: z, Expire: &left, UDPSize: 1400}
			var v *tsig.Verifier
			if secret != nil {
				query, v = tsig.SignRequest(secret, query, time.Now())
				c, rcode := tsig.Verify(tsig.NewRing(*secret), query, time.Now())
				if rcode != wire.NoError {
					t.Fatal(rcode)
				}
				o.Stream = c.Stream()
			}
			list := sent(t, query, o)
			records := 0
			for i, raw := range list {
				var m wire.Message
				if bad := m.Parse(raw); bad != 0 {
					t.Fatalf("message %d: %v", i, bad)
				}
				if v != nil {
					if err := v.Verify(raw, time.Now()); err != nil {
						t.Fatalf("message %d: %v", i, err)
					}
				}
				records += len(m.Records)
				if v != nil {
					records--
				}
				if m.ID != 0x1234 || m.Flags != wire.FlagQR|wire.FlagAA|wire.FlagRD || m.HasQuestion != (i == 0) || m.EDNS != (i == 0) {
					t.Errorf("message %d: %+v", i, m)
				}
				if d, _ := m.Option(wire.OptionExpire); i == 0 && (m.UDPSize != 1400 || !bytes.Equal(d, []byte{0, 0, 0, 77})) {
					t.Errorf("OPT has size %d, EXPIRE %v", m.UDPSize, d)
				}
				if n := bytes.Count(raw, apex); n != 1 && (i < len(list)-1 || n > 2) { // the closing SOA record has it too
					t.Errorf("message %d has the zone's name %d times", i, n)
				}
				if i < len(list)-1 && len(raw) < wire.MaxMessage-400 {
					t.Errorf("message %d has %d octets", i, len(raw))
				}
			}
			if records != z.Records()+1 || len(list) < 3 {
				t.Errorf("%d records in %d messages, want %d", records, len(list), z.Records()+1)
			}
		}
	}
	// EXPIRE is for who asks for it, where it is known; OPT for who has it.
	left := uint32(77)
	for _, c := range []struct {
		size   int
		expire *uint32
		want   bool
	}{{0, &left, false}, {4096, nil, false}, {4096, &left, true}} {
		var m wire.Message
		bad := m.Parse(sent(t, asking(wire.TypeIXFR, 7, c.size), transfer.Outgoing{Zone: z, Expire: c.expire})[0])
		if _, ok := m.Option(wire.OptionExpire); bad != 0 || ok != c.want || m.EDNS != (c.size > 0) || c.size > 0 && m.UDPSize != 512 {
			t.Errorf("size %d, EXPIRE known: %v: %+v", c.size, c.expire != nil, m)
		}
	}
}

// TestRecordsOfDifferences has records of all forms be added, as differences: each comes as
// it was, and names that were there before are pointers (RFC 1035, section 4.1.4).
func TestRecordsOfDifferences(t *testing.T) {
	old := version(t, 6, 500, "")
	deep := bytes.Repeat([]byte("\x01x"), 127-2) // with the zone's two, as many labels as there may be
	deep = append(deep[:255-len(apex)-1-(255-len(apex)-1)%2], apex...)
	records := [][]byte{
		zone.AppendRecord(nil, at("a"), wire.TypeA, 0x01020304, []byte{192, 0, 2, 1}),
		zone.AppendRecord(nil, at("cut"), wire.TypeNS, 0x7F000001, at("ns")),
		zone.AppendRecord(nil, at("alias"), wire.TypeCNAME, 0x10000, at("a")),
		zone.AppendRecord(nil, at("ptr"), wire.TypePTR, 0x100, at("Host7")),
		zone.AppendRecord(nil, at("mail"), wire.TypeMX, 1, slices.Concat([]byte{1, 2}, at("mail"))),
		zone.AppendRecord(nil, at("srv"), wire.TypeSRV, 0, slices.Concat([]byte{0, 1, 0, 2, 0, 3}, at("a"))), // not compressed
		zone.AppendRecord(nil, at("far"), wire.TypeMX, 2, []byte("\x00\x01\x05other\x05place\x00")),
		zone.AppendRecord(nil, deep, wire.TypeA, 3, []byte{192, 0, 2, 2}),
		zone.AppendRecord(nil, at("own"), 65280, 4, []byte{1, 2, 3}),
		a(at("qzoigcmn"), 1), // names with one and the same hash
		a(at("ognhvzay"), 2),
		a(slices.Concat([]byte("\x01x"), at("qzoigcmn")), 3),
		a(slices.Concat([]byte("\x01x"), at("ognhvzay")), 4),
	}
	var lines []string
	d := &zone.Delta{From: 6, To: 7, Removed: soa(6, 4), Added: slices.Concat(append([][]byte{soa(7, 4)}, records...)...)}
	now, problems := old.Apply(zone.Diff(old, version(t, 7, 500, "")))
	if now == nil {
		t.Fatal(problems)
	}
	list := sent(t, asking(wire.TypeIXFR, 6, 0), transfer.Outgoing{Zone: now, History: func(uint32) []*zone.Delta { return []*zone.Delta{d} }})
	var m wire.Message
	if bad := m.Parse(list[0]); bad != 0 || len(list) != 1 {
		t.Fatalf("%v, %d messages", bad, len(list))
	}
	for _, r := range m.Records {
		lines = append(lines, string(zone.AppendRecord(nil, r.Owner, r.Type, r.TTL, r.Data)))
	}
	if got, want := strings.Join(lines[1:len(lines)-1], ""), string(slices.Concat(d.Removed, d.Added)); got != want {
		t.Errorf("the differences are\n%x, want\n%x", got, want)
	}
	// The zone's name is in the question, and in SRV.
	for name, want := range map[string]int{string(apex): 2, "\x04mail": 1, "\x05admin": 1} {
		if n := bytes.Count(list[0], []byte(name)); n != want {
			t.Errorf("%q is there %d times, want %d", name, n, want)
		}
	}
	// What is no difference is not sent as one.
	r, err := transfer.ParseRequest(asking(wire.TypeIXFR, 6, 0))
	if err != nil {
		t.Fatal(err)
	}
	d.Added = d.Added[:len(d.Added)-1]
	if err := transfer.Send(r, transfer.Outgoing{Zone: now, History: func(uint32) []*zone.Delta { return []*zone.Delta{d} }}, func([]byte) error { return nil }); err == nil {
		t.Error("half a record was sent")
	}
}

// TestSizesOverUDP has differences of every size around the largest datagram: they are sent
// whole if they fit, to the octet, and otherwise the SOA record alone, so that the client
// asks over TCP (RFC 1995, section 2).
func TestSizesOverUDP(t *testing.T) {
	old, left := build(t, whole(1)), uint32(77)
	for _, c := range []struct {
		client, ours int // what each takes over UDP; the client's 0: no OPT
		key          *tsig.Key
		limit        int
	}{
		{0, 1232, nil, 512}, {300, 1232, nil, 512}, {900, 1232, nil, 900}, {4096, 1232, nil, 1232}, {4096, 0, nil, 512}, {900, 1232, &key, 900}, {0, 1232, &key, 512},
	} {
		largest, whole512 := 0, 0
		for n := c.limit - 420; n < c.limit; n++ {
			text := bytes.Repeat([]byte{'x'}, n)
			var data []byte
			for ; len(text) > 0; text = text[min(len(text), 250):] {
				part := text[:min(len(text), 250)]
				data = append(append(data, byte(len(part))), part...)
			}
			now := build(t, append(whole(2), zone.AppendRecord(nil, at("x"), wire.TypeTXT, 60, data)))
			d := zone.Diff(old, now)
			query := asking(wire.TypeIXFR, 1, c.client)
			o := transfer.Outgoing{Zone: now, UDP: true, UDPSize: c.ours, Expire: &left, History: func(uint32) []*zone.Delta { return []*zone.Delta{d} }}
			if c.key != nil {
				query, _ = tsig.SignRequest(c.key, query, time.Now())
				context, _ := tsig.Verify(tsig.NewRing(*c.key), query, time.Now())
				o.Stream = context.Stream()
			}
			list := sent(t, query, o)
			var m wire.Message
			if bad := m.Parse(list[0]); bad != 0 || len(list) != 1 || len(list[0]) > c.limit {
				t.Fatalf("%+v, %d octets of text: %v, %d messages, the first of %d octets", c, n, bad, len(list), len(list[0]))
			}
			answers := slices.DeleteFunc(slices.Clone(m.Records), func(r wire.Record) bool { return r.Section != wire.Answer })
			switch {
			case len(answers) == 5:
				largest = max(largest, len(list[0]))
				whole512 = n
			case len(answers) != 1 || largest == 0:
				t.Fatalf("%+v, %d octets of text: %d records", c, n, len(answers))
			}
		}
		slack := 0
		if c.key != nil {
			slack = 6 // kept for the time that goes with BADTIME
		}
		if largest < c.limit-slack-1 || whole512 >= c.limit {
			t.Errorf("%+v: the largest has %d octets", c, largest)
		}
	}
}

// TestWorthOfDifferences has a history that does not lead from the client's version to
// ours, or is longer than the zone: that is sent whole.
func TestWorthOfDifferences(t *testing.T) {
	var hosts [][]byte
	for n := range 50 {
		hosts = append(hosts, a(at(fmt.Sprintf("host%d", n)), 1))
	}
	of := func(serial uint32, more ...[]byte) *zone.Zone {
		return build(t, slices.Concat(whole(serial), hosts, more))
	}
	versions := []*zone.Zone{of(1), of(2, a(at("x"), 1)), of(3, a(at("x"), 1), a(at("y"), 1))}
	d12, d23 := zone.Diff(versions[0], versions[1]), zone.Diff(versions[1], versions[2])
	long := &zone.Delta{From: 1, To: 3, Removed: soa(1, 4), Added: slices.Concat(append([][]byte{soa(3, 4)}, slices.Repeat([][]byte{a(at("z"), 1)}, 500)...)...)}
	zoneRecords := versions[2].Records() + 1
	for what, c := range map[string]struct {
		history []*zone.Delta
		exact   bool
		records int
	}{
		"two differences":           {[]*zone.Delta{d12, d23}, false, 2 + 6},
		"two that become one":       {[]*zone.Delta{d12, d23}, true, 2 + 4},
		"none":                      {nil, false, zoneRecords},
		"none, exact":               {nil, true, zoneRecords},
		"from another version":      {[]*zone.Delta{d23}, false, zoneRecords},
		"to another version":        {[]*zone.Delta{d12}, false, zoneRecords},
		"larger than the zone":      {[]*zone.Delta{long}, false, zoneRecords},
		"that do not follow, exact": {[]*zone.Delta{d12, {From: 9, To: 3, Removed: d23.Removed, Added: d23.Added}}, true, 2 + 6},
	} {
		for _, history := range []func(uint32) []*zone.Delta{func(uint32) []*zone.Delta { return c.history }, nil} {
			want := c.records
			if history == nil {
				want = zoneRecords
			}
			var m wire.Message
			if bad := m.Parse(sent(t, asking(wire.TypeIXFR, 1, 0), transfer.Outgoing{Zone: versions[2], History: history, Exact: c.exact})[0]); bad != 0 || len(m.Records) != want {
				t.Errorf("%s, known: %v: %d records, want %d", what, history != nil, len(m.Records), want)
			}
		}
	}
}

// TestRefusalsOfSend has a connection that breaks, and a record that fits into no message:
// nothing is sent after either, and the error is said.
func TestRefusalsOfSend(t *testing.T) {
	broken := errors.New("the connection is broken")
	z := version(t, 7, 3000, "")
	old := version(t, 6, 3000, "more 60 A 192.0.2.1\n")
	for _, typ := range []wire.Type{wire.TypeAXFR, wire.TypeIXFR} {
		d := zone.Diff(old, z)
		for range 12 {
			d.Added = append(d.Added, d.Added...)
		}
		r, err := transfer.ParseRequest(asking(typ, 6, 0))
		if err != nil {
			t.Fatal(err)
		}
		for fails := range 2 {
			calls := 0
			err = transfer.Send(r, transfer.Outgoing{Zone: z, History: func(uint32) []*zone.Delta { return []*zone.Delta{d} }}, func([]byte) error {
				if calls++; calls > fails {
					return broken
				}
				return nil
			})
			if !errors.Is(err, broken) || calls != fails+1 {
				t.Errorf("%v: %v after %d calls", typ, err, calls)
			}
		}
	}
	for _, c := range []struct {
		octets int // of data
		fits   bool
	}{
		{wire.MaxMessage - wire.HeaderLen - len(at("x")) - 10, true}, // as in a message without the question
		{wire.MaxMessage - wire.HeaderLen - len(at("x")) - 10 + 1, false},
	} {
		large := build(t, append(whole(7), zone.AppendRecord(nil, at("x"), wire.TypeNULL, 60, make([]byte, c.octets))))
		r, err := transfer.ParseRequest(asking(wire.TypeAXFR, 0, 0))
		if err != nil {
			t.Fatal(err)
		}
		records := 0
		err = transfer.Send(r, transfer.Outgoing{Zone: large}, func(m []byte) error {
			n := int(binary.BigEndian.Uint16(m[6:]))
			if n == 0 || len(m) > wire.MaxMessage {
				return fmt.Errorf("%d records, %d octets", n, len(m))
			}
			records += n
			return nil
		})
		if (err == nil) != c.fits || (records == large.Records()+1) != c.fits || err != nil && !strings.Contains(err.Error(), "x.example.test. is too large") {
			t.Errorf("a record with %d octets: %d records of %d, %v", c.octets, records, large.Records()+1, err)
		}
	}
}
