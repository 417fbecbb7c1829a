package oracle

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"port53/internal/wire"
)

// readRecord reads the record at msg[off:] as package wire does it.
func readRecord(msg []byte, off int) (record, int, error) {
	owner, n, bad := wire.AppendExpanded(nil, msg, off)
	if bad != 0 {
		return record{}, 0, bad
	}
	off += n
	if off+10 > len(msg) {
		return record{}, 0, wire.ShortRecord
	}
	r := record{owner: string(owner), typ: binary.BigEndian.Uint16(msg[off:]), ttl: binary.BigEndian.Uint32(msg[off+4:])}
	size := int(binary.BigEndian.Uint16(msg[off+8:]))
	data, err := wire.Expand(msg, off+10, size, wire.Type(r.typ), nil)
	r.data = string(data)
	return r, off + 10 + size, err
}

// TestMessages reads messages that the oracle wrote, names compressed where it
// compresses them.
func TestMessages(t *testing.T) {
	r := rand.New(rand.NewPCG(53, 54))
	all := samples(t)
	names := []string{"example.", "www.example.", "a.b.c.www.example.", "Example.", ".", `x\.y.example.`}
	for range 300 {
		m := new(dns.Msg)
		m.SetQuestion(names[r.IntN(len(names))], dns.TypeANY)
		m.Response = true
		m.Compress = true
		var want []record
		for range r.IntN(30) {
			s := all[r.IntN(len(all))]
			if !theyKnow(s.t) || theyCannotRead(s.t, s.data) != "" || theyCannotHold(s.t, s.data) != "" {
				continue
			}
			owner := names[r.IntN(len(names))]
			text := owner + " 1 IN " + s.t.String() + " " + ourText(s.t, s.data)
			rr, err := dns.NewRR(text)
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			m.Answer = append(m.Answer, rr)
			name, err := wire.ParseName(owner)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, record{string(name), uint16(s.t), 1, string(s.data)})
		}
		msg, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		_, n, bad := wire.AppendExpanded(nil, msg, wire.HeaderLen)
		if bad != 0 {
			t.Fatal(bad)
		}
		off := wire.HeaderLen + n + 4
		for _, w := range want {
			var got record
			if got, off, err = readRecord(msg, off); err != nil {
				t.Fatalf("%s: %v\n%X", w, err, msg)
			}
			// A name written before in other case may stand for it.
			if !sameRecord(got, w) {
				t.Fatalf("got %s\nwant %s", got, w)
			}
		}
		if off != len(msg) {
			t.Fatalf("%d octets are left of\n%s", len(msg)-off, m)
		}
	}
}

func sameRecord(a, b record) bool {
	canonical := func(r record) string {
		return string(wire.AppendCanonical(nil, wire.Type(r.typ), []byte(r.data)))
	}
	return wire.EqualFold([]byte(a.owner), []byte(b.owner)) && a.typ == b.typ && a.ttl == b.ttl && strings.EqualFold(canonical(a), canonical(b))
}

// TestQueries parses queries that the oracle wrote.
func TestQueries(t *testing.T) {
	r := rand.New(rand.NewPCG(53, 55))
	var q wire.Query
	for range 2000 {
		m := new(dns.Msg)
		name := randomName(r)
		m.SetQuestion(string(wire.AppendName(nil, name)), uint16(r.Uint32()))
		m.Question[0].Qclass = uint16(r.Uint32())
		m.Id = uint16(r.Uint32())
		m.RecursionDesired, m.CheckingDisabled, m.AuthenticatedData = r.IntN(2) == 0, r.IntN(2) == 0, r.IntN(2) == 0
		edns, do, cookie := r.IntN(2) == 0, r.IntN(2) == 0, ""
		size := uint16(r.Uint32())
		if edns {
			m.SetEdns0(size, do)
			opt := m.IsEdns0()
			if r.IntN(2) == 0 {
				cookie = "0102030405060708"
				opt.Option = append(opt.Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: cookie})
			}
			if r.IntN(2) == 0 {
				opt.Option = append(opt.Option, &dns.EDNS0_NSID{Code: dns.EDNS0NSID})
			}
		}
		msg, err := m.Pack()
		if err != nil {
			t.Fatalf("%s: %v", m, err)
		}
		if bad := q.Parse(msg); bad != 0 {
			t.Fatalf("%s: %v", m, bad)
		}
		flags := q.Flags
		if q.ID != m.Id || flags&wire.FlagRD != 0 != m.RecursionDesired || flags&wire.FlagCD != 0 != m.CheckingDisabled || flags&wire.FlagAD != 0 != m.AuthenticatedData ||
			uint16(q.Type) != m.Question[0].Qtype || uint16(q.Class) != m.Question[0].Qclass || !bytes.Equal(q.Name.Name(), wire.Lower(nil, name)) ||
			q.EDNS != edns || edns && (q.DO != do || q.UDPSize != size) || (cookie != "") != (len(q.Cookie) == 8) {
			t.Fatalf("%s was read as %+v", m, q)
		}
	}
}

// FuzzQuery holds that a query that we answer is one to the oracle as well, with the
// same question and the same EDNS.
func FuzzQuery(f *testing.F) {
	for _, edns := range []bool{false, true} {
		m := new(dns.Msg)
		m.SetQuestion("www.example.", dns.TypeA)
		if edns {
			m.SetEdns0(1232, true)
		}
		msg, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(msg)
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		var q wire.Query
		if q.Parse(msg) != 0 || !q.HasQuestion {
			return
		}
		var m dns.Msg
		err := m.Unpack(msg)
		if errors.Is(err, dns.ErrBuf) || len(m.Question) != 1 {
			if len(m.Question) != 1 {
				t.Fatalf("%d questions: %v", len(m.Question), err)
			}
		}
		name, err := wire.ParseName(m.Question[0].Name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(wire.Lower(nil, name), q.Name.Name()) || m.Question[0].Qtype != uint16(q.Type) || m.Question[0].Qclass != uint16(q.Class) || m.Id != q.ID {
			t.Fatalf("question %s, theirs %s", wire.AppendName(nil, q.Name.Name()), m.Question[0].String())
		}
		if opt := m.IsEdns0(); opt != nil && (!q.EDNS || opt.Do() != q.DO || opt.UDPSize() != q.UDPSize || opt.Version() != q.Version) {
			t.Fatalf("EDNS %+v, theirs %s", q, opt)
		}
	})
}

// FuzzMessage holds that a record that we read out of a message is the one that the
// oracle reads.
func FuzzMessage(f *testing.F) {
	for _, s := range samples(f) {
		msg := []byte("\x03www\x07example\x00\xc0\x00")
		msg = binary.BigEndian.AppendUint16(msg, uint16(s.t))
		msg = append(msg, 0, 1, 0, 0, 0, 1)
		msg = binary.BigEndian.AppendUint16(msg, uint16(len(s.data)))
		f.Add(append(msg, s.data...), 13)
	}
	f.Fuzz(func(t *testing.T, msg []byte, off int) {
		if off < 0 || off >= len(msg) {
			return
		}
		ours, end, err := readRecord(msg, off)
		typ := wire.Type(ours.typ)
		if err != nil || typ.IsMeta() || !theyKnow(typ) || theyCannotHold(typ, []byte(ours.data)) != "" || len(ours.data) == 0 {
			return
		}
		rr, n, err := dns.UnpackRR(msg, off)
		if err != nil {
			t.Fatalf("%s: they refuse: %v", ours, err)
		}
		data, err := theirPack(rr)
		if err != nil {
			t.Fatalf("%s: they cannot pack it: %v", ours, err)
		}
		owner, err := wire.ParseName(rr.Header().Name)
		if err != nil {
			t.Fatal(err)
		}
		theirs := record{string(owner), rr.Header().Rrtype, rr.Header().Ttl, string(data)}
		if ours != theirs || n != end {
			t.Fatalf("ours   %s (to %d)\ntheirs %s (to %d)", ours, end, theirs, n)
		}
	})
}
