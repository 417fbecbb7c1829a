package check_test

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"port53/internal/check"
	"port53/internal/wire"
)

func name(s string) []byte {
	n, err := wire.ParseName(s)
	if err != nil {
		panic(err)
	}
	return n
}

// TestProbeReply has a question for each kind of name that the probe's zone has.
func TestProbeReply(t *testing.T) {
	p := check.NewProbe(name("Probe.test"))
	victim := hex.EncodeToString(name("v.example"))
	from := netip.MustParseAddrPort("192.0.2.7:5300")
	for _, c := range []struct {
		name string
		t    wire.Type
		want string // rcode, then the records: section, owner, type
		n    int    // replies
	}{
		{"probe.test", wire.TypeNS, "NOERROR 0 probe.test. NS", 1},
		{"probe.test", wire.TypeMX, "NOERROR 1 probe.test. SOA", 1},
		{"elsewhere.test", wire.TypeA, "REFUSED", 1},
		{"x.probe.test", wire.TypeA, "NOERROR 0 x.probe.test. A", 1},
		{"X.Probe.Test", wire.TypeTXT, "NOERROR 0 x.probe.test. TXT", 1},
		{"x.probe.test", wire.TypeAAAA, "NOERROR 1 probe.test. SOA", 1},
		{"000.r.chain.probe.test", wire.TypeA, "NOERROR 0 000.r.chain.probe.test. CNAME", 1},
		{"050.r.chain.probe.test", wire.TypeA, "NOERROR 1 probe.test. SOA", 1},
		{"r.nxns.probe.test", wire.TypeA, "NOERROR" + strings.Repeat(" 1 r.nxns.probe.test. NS", 100), 1},
		{"t7.nxt.probe.test", wire.TypeA, "NXDOMAIN 1 probe.test. SOA", 1},
		{"r.reb.probe.test", wire.TypeA, "NOERROR 0 r.reb.probe.test. A", 1},
		{"0." + victim + ".bail.probe.test", wire.TypeA, "NOERROR 0 OWNER A 2 v.example. A", 1},
		{"1." + victim + ".bail.probe.test", wire.TypeA, "NOERROR 0 OWNER A 0 v.example. A", 1},
		{"2." + victim + ".bail.probe.test", wire.TypeA, "NOERROR 0 OWNER A 1 v.example. NS", 1},
		{"3." + victim + ".bail.probe.test", wire.TypeA, "NOERROR 0 OWNER CNAME 0 v.example. A", 1},
		{"4." + victim + ".bail.probe.test", wire.TypeA, "NOERROR 0 OWNER A 1 example. NS 2 v.example. A", 1},
		{"5." + victim + ".bail.probe.test", wire.TypeA, "NOERROR 0 OWNER A 0 example. DNAME", 1},
		{"0.zz.bail.probe.test", wire.TypeA, "NOERROR 0 0.zz.bail.probe.test. A", 1},
		{"r.near.probe.test", wire.TypeA, "NOERROR 0 r.near.probe.test. A", 1 + check.ProbeMisses},
	} {
		msg := wire.AppendQuery(nil, 0x5353, 0, name(c.name), c.t)
		got := p.Reply(msg, from, false)
		if len(got) != c.n {
			t.Errorf("%s %s: %d replies, want %d", c.name, c.t, len(got), c.n)
			continue
		}
		var m wire.Message
		if bad := m.Parse(got[len(got)-1]); bad != 0 || m.ID != 0x5353 {
			t.Errorf("%s %s: %v, ID %x", c.name, c.t, bad, m.ID)
		}
		text := m.Rcode.String()
		for _, r := range m.Records {
			text += fmt.Sprintf(" %d %s %s", r.Section, wire.NameText(r.Owner), r.Type)
		}
		if want := strings.ReplaceAll(c.want, "OWNER", c.name+"."); text != want {
			t.Errorf("%s %s: %s, want %s", c.name, c.t, text, want)
		}
	}
	// What came is remembered as it was spelled, and where it came from.
	seen := p.Below(name("x.probe.test"))
	if len(seen) != 3 || string(seen[1].Name) != string(name("X.Probe.Test")) || seen[0].From != from {
		t.Errorf("%+v", seen)
	}
	// Over TCP nothing stands before the reply, and what is no question has none.
	if got := p.Reply(wire.AppendQuery(nil, 1, 0, name("r.near.probe.test"), wire.TypeA), from, true); len(got) != 1 {
		t.Errorf("%d replies over TCP", len(got))
	}
	if got := p.Reply(wire.AppendQuery(nil, 1, wire.FlagQR, name("x.probe.test"), wire.TypeA), from, false); got != nil {
		t.Errorf("a reply is answered by %x", got)
	}
}
