package parent_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"port53/internal/authority"
	"port53/internal/chain"
	"port53/internal/dnstest"
	"port53/internal/exchange"
	"port53/internal/parent"
	"port53/internal/tsig"
	"port53/internal/wire"
	"port53/internal/zone"
)

// hosts answer, by their addresses; all others take no connections.
type hosts map[string]func(query []byte) []byte

func (h hosts) looker() *parent.Checker {
	return &parent.Checker{IPv4: true, Dialer: exchange.Dialer{Dial: func(_ context.Context, network string, to netip.AddrPort) (net.Conn, error) {
		answer := h[to.String()]
		if answer == nil {
			return nil, errors.New("connection refused")
		}
		here, there := net.Pipe()
		go func() {
			defer there.Close()
			for datagram := make([]byte, 4096); network == "udp"; {
				n, err := there.Read(datagram)
				if err != nil {
					return
				}
				if _, err := there.Write(answer(datagram[:n])); err != nil {
					return
				}
			}
			var size [2]byte
			for {
				if _, err := io.ReadFull(there, size[:]); err != nil {
					return
				}
				query := make([]byte, binary.BigEndian.Uint16(size[:]))
				if _, err := io.ReadFull(there, query); err != nil {
					return
				}
				reply := answer(query)
				if _, err := there.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)); err != nil {
					return
				}
			}
		}()
		return here, nil
	}}}
}

// serving answers from a zone.
func serving(z *zone.Zone) func([]byte) []byte {
	return func(query []byte) []byte {
		var q wire.Query
		var b wire.Builder
		var r authority.Responder
		if q.Parse(query) != 0 {
			return nil
		}
		b.Start(make([]byte, 4096), 4096, 0, &q)
		r.Answer(z, &q, &b)
		return b.Finish(nil, 0)
	}
}

// failing answers with an rcode.
func failing(rcode wire.Rcode) func([]byte) []byte {
	return func(query []byte) []byte {
		reply := bytes.Clone(query[:wire.HeaderLen])
		reply[2], reply[3] = reply[2]|0x80, byte(rcode)
		end, _ := wire.CheckName(query[wire.HeaderLen:])
		reply = append(reply, query[wire.HeaderLen:wire.HeaderLen+end+4]...)
		copy(reply[4:], []byte{0, 1, 0, 0, 0, 0, 0, 0})
		return reply
	}
}

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

const above = "$TTL 300\n@ SOA ns admin 1 7200 3600 1209600 300\n@ NS ns\nns A 192.0.2.1\nchild NS ns.child\nns.child A 192.0.2.9\n"

// TestLook has servers of the parent that have DS records, others, none, refuse and are away, and servers
// of the zone alike: each is told of for itself.
func TestLook(t *testing.T) {
	ds := func(tag string) *zone.Zone {
		return dnstest.Zone(t, "test.", above+"child 60 DS "+tag+" 13 2 5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A\n")
	}
	child := dnstest.Zone(t, "child.test.", "$TTL 300\n@ SOA ns admin 77 7200 3600 1209600 300\n@ NS ns\nns A 192.0.2.9\n@ DNSKEY 257 3 13 AAAA\n@ NSEC ns SOA NS\n"+
		"@ RRSIG SOA 13 2 300 20300101000000 20200101000000 4711 child.test. AAAA\n")
	h := hosts{
		"192.0.2.1:53": serving(ds("4711")), "192.0.2.2:53": serving(ds("4712")), "192.0.2.3:53": serving(dnstest.Zone(t, "test.", above)),
		"192.0.2.4:53": failing(wire.Refused),
		"192.0.2.9:53": serving(child), "192.0.2.10:53": failing(wire.ServFail), "192.0.2.11:53": serving(dnstest.Zone(t, "test.", above)),
	}
	target := &parent.Target{Zone: dnstest.Name(t, "child.test.")}
	for _, a := range []string{"192.0.2.1:53", "192.0.2.2:53", "192.0.2.3:53", "192.0.2.4:53", "192.0.2.5:53"} {
		target.Parent = append(target.Parent, addr(a))
	}
	for _, a := range []string{"192.0.2.9:53", "192.0.2.10:53", "192.0.2.11:53", "192.0.2.12:53"} {
		target.Servers = append(target.Servers, addr(a))
	}
	s := h.looker().Check(t.Context(), target)
	for i, want := range []struct {
		tag     uint16
		trouble string
	}{{4711, ""}, {4712, ""}, {0, ""}, {0, "REFUSED"}, {0, "refused"}} {
		p := s.Parent[i]
		if want.tag != 0 && (len(p.DS) != 1 || binary.BigEndian.Uint16(p.DS[0]) != want.tag || p.TTL != 60) || want.tag == 0 && len(p.DS) != 0 ||
			(want.trouble == "") != (p.Error == "") || !strings.Contains(p.Error, want.trouble) || p.At.IsZero() != (want.trouble != "") {
			t.Errorf("%s: %+v", target.Parent[i], p)
		}
	}
	if z := s.Zone[0]; z.Error != "" || z.Serial != 77 || len(z.Keys) != 1 || len(z.Sigs) != 1 {
		t.Errorf("the zone's server: %+v", z)
	}
	for i, trouble := range []string{"SERVFAIL", "does not have the zone", "refused"} {
		if z := s.Zone[1+i]; !strings.Contains(z.Error, trouble) || z.Keys != nil {
			t.Errorf("%s: %+v", target.Servers[1+i], z)
		}
	}
}

// TestLookFromRoot finds the parent's servers from the root down, and does not take a DS set from one that
// is not authoritative for it.
func TestLookFromRoot(t *testing.T) {
	root := dnstest.Zone(t, ".", "$TTL 300\n@ SOA ns. admin. 1 7200 3600 1209600 300\n@ NS ns.\nns. A 192.0.2.1\ntest. NS ns.test.\ntest. NS lame.test.\n"+
		"ns.test. A 192.0.2.2\nlame.test. A 192.0.2.3\n")
	test := dnstest.Zone(t, "test.", strings.ReplaceAll(above, "192.0.2.1", "192.0.2.2")+"@ NS lame\nlame A 192.0.2.3\n"+
		"child 60 DS 4711 13 2 5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A\n")
	lame := func(query []byte) []byte {
		reply := serving(test)(query)
		reply[2] &^= 4 // AA
		return reply
	}
	h := hosts{"192.0.2.1:53": serving(root), "192.0.2.2:53": serving(test), "192.0.2.3:53": lame}
	l := h.looker()
	target := &parent.Target{Zone: dnstest.Name(t, "child.test.")}
	if s := l.Check(t.Context(), target); len(s.Parent) != 1 || !strings.Contains(s.Parent[0].Error, "cannot be found") {
		t.Errorf("without a root: %+v", s.Parent)
	}
	l.Roots = []chain.Server{{Name: dnstest.Name(t, "ns."), Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}}
	s := l.Check(t.Context(), target)
	for _, p := range s.Parent {
		if lame := strings.HasPrefix(p.Server, "lame"); lame != (len(p.DS) == 0) || lame != strings.Contains(p.Error, "not authoritative") {
			t.Errorf("%+v", p)
		}
	}
	if len(s.Parent) != 2 {
		t.Errorf("the parent's servers: %+v", s.Parent)
	}
}

// TestPush has the DS records of a zone be replaced by an update that is signed, and says what the server
// says.
func TestPush(t *testing.T) {
	key := &tsig.Key{Name: dnstest.Name(t, "up."), Algorithm: tsig.HMACSHA256, Secret: []byte("0123456789abcdef0123456789abcdef")}
	var mu sync.Mutex
	var update []byte
	base := serving(dnstest.Zone(t, "test.", above))
	rcode := wire.NoError
	h := hosts{"192.0.2.1:53": func(query []byte) []byte {
		mu.Lock()
		defer mu.Unlock()
		if query[2]>>3&15 != byte(wire.OpcodeUpdate) {
			return base(query)
		}
		update = query
		return failing(rcode)(query)
	}}
	ds := [][]byte{{1, 2, 13, 2, 3}, {4, 5, 13, 2, 6}}
	push := func(key *tsig.Key) error {
		return h.looker().Push(t.Context(), dnstest.Name(t, "child.test."), addr("192.0.2.1:53"), key, ds, 60)
	}
	if err := push(nil); err != nil {
		t.Fatal(err)
	}
	var m wire.Message
	if bad := m.Parse(update); bad != 0 || m.Opcode != wire.OpcodeUpdate {
		t.Fatalf("%v: %x", bad, update)
	}
	if !bytes.Contains(update, append(dnstest.Name(t, "test."), 0, 6, 0, 1)) || len(m.Records) != 3 || m.Records[0].Class != wire.ClassANY || m.Records[0].Type != wire.TypeDS ||
		!bytes.Equal(m.Records[2].Data, ds[1]) || m.Records[2].TTL != 60 {
		t.Errorf("the update: %+v", m.Records)
	}
	rcode = wire.Refused
	if err := push(nil); err == nil || !strings.Contains(err.Error(), "REFUSED") {
		t.Errorf("refused: %v", err)
	}
	rcode = wire.NoError
	if err := push(key); err == nil {
		t.Error("a reply without a signature was believed, where the question had one")
	}
	if !bytes.Contains(update, []byte("hmac-sha256")) {
		t.Error("the update is not signed")
	}
}
