package parent_test

import (
	"net/netip"
	"strings"
	"sync"
	"testing"

	"port53/internal/chain"
	"port53/internal/dnstest"
	"port53/internal/wire"
)

// TestNotifyCDS finds where a parent wants to be told of CDS records, by the DSYNC records of the child's own
// name, or of all (RFC 9859, section 4.1), and sends NOTIFY there. Records of another type or scheme are none,
// and a parent without any is told nothing.
func TestNotifyCDS(t *testing.T) {
	for what, c := range map[string]struct {
		dsync string // records of the parent
		zone  string
		port  uint16
		told  string // whom; empty: nobody
		fails string // error
		rcode wire.Rcode
	}{
		"of the child":       {"child._dsync DSYNC CDS NOTIFY 5301 scan\n", "child.test.", 5301, "scan.test. (192.0.2.7:5301)", "", wire.NoError},
		"of all":             {"*._dsync DSYNC CDS NOTIFY 5302 scan\n", "child.test.", 5302, "scan.test. (192.0.2.7:5302)", "", wire.NoError},
		"right above":        {"_dsync DSYNC CDS NOTIFY 5303 scan\n", "child.test.", 5303, "scan.test. (192.0.2.7:5303)", "", wire.NoError},
		"two labels below":   {"a.b._dsync DSYNC CDS NOTIFY 5304 scan\n", "a.b.test.", 5304, "scan.test. (192.0.2.7:5304)", "", wire.NoError},
		"none":               {"", "child.test.", 53, "", "", wire.NoError},
		"another type":       {"child._dsync DSYNC CSYNC NOTIFY 53 scan\n", "child.test.", 53, "", "", wire.NoError},
		"another scheme":     {"child._dsync DSYNC CDS 2 53 scan\n", "child.test.", 53, "", "", wire.NoError},
		"it refuses":         {"child._dsync DSYNC CDS NOTIFY 53 scan\n", "child.test.", 53, "", "REFUSED", wire.Refused},
		"nobody is there":    {"child._dsync DSYNC CDS NOTIFY 54 scan\n", "child.test.", 53, "", "connection refused", wire.NoError},
		"no such target":     {"child._dsync DSYNC CDS NOTIFY 53 nowhere\n", "child.test.", 53, "", "", wire.NoError},
		"beside CSYNC":       {"child._dsync DSYNC CSYNC NOTIFY 53 scan\nchild._dsync DSYNC CDS NOTIFY 5305 scan\n", "child.test.", 5305, "scan.test. (192.0.2.7:5305)", "", wire.NoError},
		"unknown delegation": {"child._dsync DSYNC CDS NOTIFY 53 scan\n", "other.test.", 53, "", "not delegated", wire.NoError},
	} {
		t.Run(what, func(t *testing.T) {
			root := dnstest.Zone(t, ".", "$TTL 300\n@ SOA ns. admin. 1 7200 3600 1209600 300\n@ NS ns.\nns. A 192.0.2.1\ntest. NS ns.test.\nns.test. A 192.0.2.2\n")
			test := dnstest.Zone(t, "test.", strings.ReplaceAll(above, "192.0.2.1", "192.0.2.2")+"a.b NS ns.child\nscan A 192.0.2.7\n"+c.dsync)
			var mu sync.Mutex
			var got []byte
			h := hosts{"192.0.2.1:53": serving(root), "192.0.2.2:53": serving(test)}
			h[netip.AddrPortFrom(netip.MustParseAddr("192.0.2.7"), c.port).String()] = func(message []byte) []byte {
				mu.Lock()
				defer mu.Unlock()
				got = message
				return failing(c.rcode)(message)
			}
			l := h.looker()
			l.Roots = []chain.Server{{Name: dnstest.Name(t, "ns."), Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}}
			told, err := l.NotifyCDS(t.Context(), dnstest.Name(t, c.zone))
			if told != c.told || (c.fails == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.fails) {
				t.Errorf("told %q, %v", told, err)
			}
			if c.told == "" && c.rcode == wire.NoError {
				if got != nil {
					t.Errorf("somebody was told: %x", got)
				}
				return
			}
			var m wire.Message
			if bad := m.Parse(got); bad != 0 || m.Opcode != wire.OpcodeNotify || m.Type != wire.TypeCDS || m.Flags&wire.FlagAA == 0 || !wire.EqualFold(m.Name, dnstest.Name(t, c.zone)) {
				t.Errorf("the message: %v, %+v", bad, m)
			}
		})
	}
}
