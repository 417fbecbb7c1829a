package check_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"

	"port53/internal/wire"
)

// A reply is what a server of a network answers to one question.
type reply struct {
	rcode   wire.Rcode
	flags   uint16
	records []wire.Record
}

// A network is servers by their addresses, as check.Lab has it. Nobody is at other addresses.
type network map[string]func(m *wire.Message) reply

// dial connects to a server, which answers each question that comes over the connection.
func (n network) dial(_ context.Context, transport, address string) (net.Conn, error) {
	s := n[address]
	if s == nil {
		return nil, errors.New("connection refused")
	}
	ours, theirs := net.Pipe()
	go func() {
		defer theirs.Close()
		buf := make([]byte, wire.MaxMessage)
		for {
			var q []byte
			if transport == "tcp" {
				if _, err := io.ReadFull(theirs, buf[:2]); err != nil {
					return
				}
				q = buf[:binary.BigEndian.Uint16(buf)]
				if _, err := io.ReadFull(theirs, q); err != nil {
					return
				}
			} else {
				k, err := theirs.Read(buf) // a pipe keeps what one write wrote together
				if err != nil {
					return
				}
				q = buf[:k]
			}
			var m wire.Message
			if m.Parse(q) != 0 {
				return
			}
			b := encoded(&m, s(&m))
			if transport == "tcp" {
				b = append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
			}
			if _, err := theirs.Write(b); err != nil {
				return
			}
		}
	}()
	return ours, nil
}

func encoded(m *wire.Message, r reply) []byte {
	b := wire.AppendQuery(nil, m.ID, wire.FlagQR|m.Flags&wire.FlagRD|r.flags|uint16(r.rcode), m.Name, m.Type)
	for _, x := range r.records {
		b = append(b, x.Owner...)
		b = binary.BigEndian.AppendUint16(b, uint16(x.Type))
		b = append(b, 0, 1, 0, 0, 14, 16)
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(x.Data))), x.Data...)
		b[7+2*int(x.Section)]++
	}
	if m.EDNS {
		b = wire.AppendOPT(b, 1232, m.DO, nil)
		b[11]++
	}
	return b
}

func record(s wire.Section, owner string, t wire.Type, data []byte) wire.Record {
	return wire.Record{Owner: name(owner), Type: t, Section: s, Data: data}
}

func addr(s string) []byte { return netip.MustParseAddr(s).AsSlice() }

// internet is a root at 192.0.2.1, the servers of example.test at 192.0.2.2 and 192.0.2.3, and
// a resolver that knows that zone alone at 192.0.2.9.
func internet(t *testing.T) network {
	t.Helper()
	zone := name("example.test")
	both := []wire.Record{record(wire.Answer, "example.test", wire.TypeNS, name("ns1.example.test")), record(wire.Answer, "example.test", wire.TypeNS, name("ns2.example.test"))}
	hosts := []wire.Record{record(wire.Answer, "ns1.example.test", wire.TypeA, addr("192.0.2.2")), record(wire.Answer, "ns2.example.test", wire.TypeA, addr("192.0.2.3"))}
	in := func(s wire.Section, list ...wire.Record) (out []wire.Record) {
		for _, r := range list {
			r.Section = s
			out = append(out, r)
		}
		return out
	}
	root := func(m *wire.Message) reply {
		switch {
		case wire.Subdomain(m.Name, zone) && m.Type != wire.TypeDS:
			return reply{records: append(in(wire.Authority, both...), in(wire.Additional, hosts...)...)}
		case !wire.Subdomain(m.Name, name("test")):
			return reply{rcode: wire.NXDomain, flags: wire.FlagAA}
		}
		return reply{flags: wire.FlagAA}
	}
	server := func(m *wire.Message) reply {
		r := reply{flags: wire.FlagAA}
		exists := false
		for _, x := range append(both, hosts...) {
			if wire.EqualFold(x.Owner, m.Name) {
				exists = true
				if x.Type == m.Type {
					r.records = append(r.records, x)
				}
			}
		}
		if !exists {
			r.rcode = wire.NXDomain
		}
		return r
	}
	resolver := func(m *wire.Message) reply {
		if m.Flags&wire.FlagRD == 0 || !wire.Subdomain(m.Name, zone) {
			return reply{rcode: wire.ServFail}
		}
		r := server(m)
		r.flags = wire.FlagRA
		return r
	}
	return network{"192.0.2.1:53": root, "192.0.2.2:53": server, "192.0.2.3:53": server, "192.0.2.9:53": resolver}
}
