package wire_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"port53/internal/wire"
	"port53/internal/zonefile"
)

// referral is an answer with names compressed in owners and in data, and OPT.
const referral = "\x12\x34\x84\x03\x00\x01\x00\x00\x00\x01\x00\x02" +
	"\x03WwW\x07example\x00\x00\x01\x00\x01" +
	"\xC0\x10\x00\x02\x00\x01\x80\x00\x00\x01\x00\x05\x02ns\xC0\x10" +
	"\xC0\x29\x00\x01\x00\x01\x00\x00\x0E\x10\x00\x04\xC0\x00\x02\x35" +
	"\x00\x00\x29\x04\xD0\x01\x00\x80\x00\x00\x08\x00\x0A\x00\x00\x00\x0F\x00\x00"

func TestMessage(t *testing.T) {
	var m wire.Message
	if bad := m.Parse([]byte(referral)); bad != 0 {
		t.Fatal(bad)
	}
	if m.ID != 0x1234 || m.Flags != 0x8403 || m.Rcode != 0x13 || !m.HasQuestion || m.Type != wire.TypeA || m.Class != wire.ClassIN {
		t.Errorf("header or question: %+v", m)
	}
	if got := string(m.Name); got != "\x03WwW\x07example\x00" {
		t.Errorf("name %q", got)
	}
	want := []wire.Record{
		{Owner: []byte("\x07example\x00"), Type: wire.TypeNS, Class: wire.ClassIN, Section: wire.Authority, TTL: 0, Data: []byte("\x02ns\x07example\x00")},
		{Owner: []byte("\x02ns\x07example\x00"), Type: wire.TypeA, Class: wire.ClassIN, Section: wire.Additional, TTL: 3600, Data: []byte{192, 0, 2, 53}},
	}
	if len(m.Records) != len(want) {
		t.Fatalf("%d records, want %d", len(m.Records), len(want))
	}
	for i, r := range m.Records {
		w := want[i]
		if !bytes.Equal(r.Owner, w.Owner) || r.Type != w.Type || r.Class != w.Class || r.Section != w.Section || r.TTL != w.TTL || !bytes.Equal(r.Data, w.Data) {
			t.Errorf("record %d: %+v, want %+v", i, r, w)
		}
	}
	if !m.EDNS || !m.DO || m.UDPSize != 1232 {
		t.Errorf("OPT: %+v", m)
	}
	if data, ok := m.Option(wire.OptionEDE); !ok || len(data) != 0 {
		t.Errorf("option EDE: %v %v", data, ok)
	}
	if _, ok := m.Option(wire.OptionNSID); ok {
		t.Error("an option that is not there was found")
	}
}

// TestMessagePrefixes cuts a message at each octet: none but the whole is good.
func TestMessagePrefixes(t *testing.T) {
	var m wire.Message
	for n := range len(referral) {
		if bad := m.Parse([]byte(referral[:n])); bad == 0 {
			t.Errorf("%d octets of %d are taken for a message", n, len(referral))
		}
	}
}

// TestMessageExpansion has a message whose names would take megabytes.
func TestMessageExpansion(t *testing.T) {
	long := bytes.Repeat(append([]byte{49}, make([]byte, 49)...), 5)
	msg := append(wire.AppendQuery(nil, 1, wire.FlagQR, append(long, 0), wire.TypeA)[:12], append(long, 0, 0, 1, 0, 1)...)
	records := 0
	for len(msg)+12 < 65535 {
		msg = append(msg, 0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0)
		records++
	}
	msg[6], msg[7] = byte(records>>8), byte(records)
	var m wire.Message
	if bad := m.Parse(msg); bad == 0 {
		t.Errorf("%d names of 251 octets were expanded", records)
	}
}

func TestBitmapHas(t *testing.T) {
	bitmap := []byte{0, 6, 0x40, 0x01, 0, 0, 0, 0x03, 4, 27, 36: 0x20}
	for _, c := range []struct {
		t    wire.Type
		want bool
	}{{wire.TypeA, true}, {wire.TypeMX, true}, {wire.TypeRRSIG, true}, {wire.TypeNSEC, true}, {wire.TypeNS, false}, {1234, true}, {1235, false}, {0x3000, false}} {
		if got := wire.BitmapHas(bitmap, c.t); got != c.want {
			t.Errorf("%v: %v, want %v", c.t, got, c.want)
		}
	}
	if wire.BitmapHas([]byte{0, 9, 0xFF}, wire.TypeA) {
		t.Error("a bit map that is cut off was read")
	}
}

func TestCloneRRset(t *testing.T) {
	owner := []byte("\x01a\x00")
	s := &wire.RRset{Owner: owner, Type: wire.TypeA, TTL: 5, Data: [][]byte{{1, 2, 3, 4}}, Sigs: [][]byte{{0, 1}}}
	c := s.Clone()
	owner[1], s.Data[0][0], s.Sigs[0][0] = 'b', 9, 9
	if string(c.Owner) != "\x01a\x00" || !c.Has([]byte{1, 2, 3, 4}) || c.Has([]byte{1}) || wire.Covered(c.Sigs[0]) != wire.TypeA || c.TTL != 5 {
		t.Errorf("clone %+v shares memory", c)
	}
}

func FuzzMessage(f *testing.F) {
	f.Add([]byte(referral))
	var m wire.Message
	f.Fuzz(func(t *testing.T, msg []byte) {
		if m.Parse(msg) != 0 {
			return
		}
		for _, r := range m.Records {
			if n, err := wire.CheckName(r.Owner); err != nil || n != len(r.Owner) {
				t.Fatalf("owner %x: %v", r.Owner, err)
			}
			_ = wire.AppendRdataText(nil, r.Type, r.Data)
		}
	})
}

func BenchmarkMessage(b *testing.B) {
	var m wire.Message
	b.ReportAllocs()
	for b.Loop() {
		m.Parse([]byte(referral))
	}
}

// TestLargeTTL has a TTL whose first bit is set: received it is 0 (RFC 2181, section 8),
// and written by a person it is a mistake.
func TestLargeTTL(t *testing.T) {
	for ttl, want := range map[uint32]uint32{0: 0, 1<<31 - 1: 1<<31 - 1, 1 << 31: 0, 1<<32 - 1: 0} {
		for _, opcode := range []wire.Opcode{wire.OpcodeQuery, wire.OpcodeUpdate} {
			msg := wire.AppendQuery(nil, 1, uint16(opcode)<<11, []byte("\x01a\x00"), wire.TypeSOA)
			msg = binary.BigEndian.AppendUint32(append(msg, 0xC0, 12, 0, 1, 0, 1), ttl)
			msg = append(msg, 0, 4, 192, 0, 2, 1)
			msg[7] = 1
			var m wire.Message
			if bad := m.Parse(msg); bad != 0 || m.Records[0].TTL != want {
				t.Errorf("TTL %d, opcode %s: %v %+v", ttl, opcode, bad, m.Records)
			}
		}
		_, err := zonefile.Read(strings.NewReader(fmt.Sprintf("a %d A 192.0.2.1\n", ttl)), zonefile.Options{Origin: wire.Root, Name: "text"},
			func(*zonefile.Record) error { return nil })
		if (err == nil) != (ttl < 1<<31) {
			t.Errorf("TTL %d in a file: %v", ttl, err)
		}
	}
}
