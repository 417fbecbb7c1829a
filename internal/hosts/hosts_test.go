package hosts_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"port53/internal/dnstest"
	"port53/internal/hosts"
	"port53/internal/wire"
)

func name(t testing.TB, s string) []byte {
	t.Helper()
	n, err := wire.ParseName(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// answer returns what a table says to a question, "-" if it says nothing.
func answer(t testing.TB, table *hosts.Table, owner string, typ wire.Type) string {
	t.Helper()
	var split wire.SplitName
	split.Set(name(t, owner))
	m, ok := table.Find(&split)
	if !ok {
		return "-"
	}
	var q wire.Query
	msg := dnstest.Question{Name: name(t, owner), Type: typ, Class: wire.ClassIN}.Message()
	if q.Parse(msg) != 0 {
		t.Fatal("the question does not parse")
	}
	var b wire.Builder
	b.Start(make([]byte, 4096), 4096, 0, &q)
	m.Host.Append(&b, typ, q.Name.Len()-m.Owner)
	text, err := dnstest.Format(b.Finish(nil, 0))
	if err != nil {
		t.Fatal(err)
	}
	_, records, _ := strings.Cut(text, "\n")
	return strings.TrimSpace(records)
}

var now = time.Unix(1_800_000_000, 0)

// Names, subtrees, files and the domain, each with what it says of types that it has and has not.
func TestNames(t *testing.T) {
	file := write(t, `# a comment
127.0.0.1 localhost
127.0.1.1 router.home.arpa router
192.168.1.7	printer  printer-old # bare, and an alias
fd00::7 printer
192.168.1.8 mail.example.net
0.0.0.0 ads.example
192.168.1.99 nas.home.arpa
nonsense here
`)
	r := hosts.Read(&hosts.Sources{
		Names: []hosts.Name{
			{Name: name(t, "nas.home.arpa"), Addrs: []netip.Addr{netip.MustParseAddr("192.168.1.5"), netip.MustParseAddr("fd00::5")}},
			{Name: name(t, "*.lab.home.arpa"), Addrs: []netip.Addr{netip.MustParseAddr("192.168.1.9")}},
			{Name: name(t, "x.y.home.arpa"), Addrs: []netip.Addr{netip.MustParseAddr("192.168.1.10")}},
		},
		Files: []string{file}, Domain: name(t, "home.arpa"), Authoritative: true,
	}, now)
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], `:9: "nonsense" is not an address`) {
		t.Errorf("notes: %q", r.Notes)
	}
	const soa = "localhost. nobody.invalid. 1 3600 1200 604800 60"
	for _, c := range []struct {
		name string
		typ  wire.Type
		want string
	}{
		{"nas.home.arpa", wire.TypeA, "ANSWER\nnas.home.arpa. 60 A 192.168.1.5"},
		{"NAS.home.ARPA", wire.TypeAAAA, "fd00::5"},
		{"nas.home.arpa", wire.TypeMX, "AUTHORITY\nnas.home.arpa. 60 SOA " + soa},
		{"5.1.168.192.in-addr.arpa", wire.TypePTR, "PTR nas.home.arpa."},
		{"5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa", wire.TypePTR, "PTR nas.home.arpa."},
		{"99.1.168.192.in-addr.arpa", wire.TypePTR, "PTR nas.home.arpa."},
		{"a.lab.home.arpa", wire.TypeA, "a.lab.home.arpa. 60 A 192.168.1.9"},
		{"a.b.c.lab.home.arpa", wire.TypeA, "192.168.1.9"},
		{"a.lab.home.arpa", wire.TypeAAAA, "AUTHORITY\nlab.home.arpa. 60 SOA"},
		{"lab.home.arpa", wire.TypeA, "AUTHORITY\nhome.arpa. 60 SOA"},
		{"9.1.168.192.in-addr.arpa", wire.TypePTR, "-"},
		{"y.home.arpa", wire.TypeA, "AUTHORITY\nhome.arpa. 60 SOA"},
		{"printer", wire.TypeA, "192.168.1.7"},
		{"printer.home.arpa", wire.TypeAAAA, "fd00::7"},
		{"printer-old.home.arpa", wire.TypeA, "192.168.1.7"},
		{"7.1.168.192.in-addr.arpa", wire.TypePTR, "PTR printer.home.arpa."},
		{"router.home.arpa", wire.TypeA, "AUTHORITY\nhome.arpa. 60 SOA"},
		{"mail.example.net", wire.TypeA, "192.168.1.8"},
		{"example.net", wire.TypeA, "-"},
		{"ads.example", wire.TypeA, "0.0.0.0"},
		{"x.ads.example", wire.TypeA, "-"},
		{"localhost", wire.TypeA, "-"},
	} {
		if got := answer(t, r.Table, c.name, c.typ); got != c.want && (c.want == "-" || !strings.Contains(got, c.want)) {
			t.Errorf("%s %v: got\n%s\nwant\n%s", c.name, c.typ, got, c.want)
		}
	}
	// Whether a name of the domain exists.
	for owner, there := range map[string]bool{"y.home.arpa": true, "lab.home.arpa": true, "z.home.arpa": false, "a.y.home.arpa": false} {
		var split wire.SplitName
		split.Set(name(t, owner))
		if m, ok := r.Table.Find(&split); !ok || (m.Host != nil) != there {
			t.Errorf("%s: exists %v, want %v", owner, m.Host != nil, there)
		}
	}
}

// The three DHCP servers' files, in each of which two clients hold leases, and others do not any
// more, have none of the names they want, or want one that others have.
func TestLeases(t *testing.T) {
	in, past := now.Add(time.Hour).Unix(), now.Add(-time.Hour).Unix()
	day := func(at int64) string { return time.Unix(at, 0).UTC().Format("2006/01/02 15:04:05") }
	for kind, text := range map[string]string{
		"dnsmasq": fmt.Sprintf(`%d 02:00:00:00:00:01 192.168.1.20 laptop 01:02
0 02:00:00:00:00:02 192.168.1.21 phone.home.arpa *
%d 02:00:00:00:00:03 192.168.1.22 gone *
%d 02:00:00:00:00:04 192.168.1.23 * *
%d 02:00:00:00:00:05 192.168.1.24 wpad *
%d 02:00:00:00:00:05 192.168.1.25 www.bank.example *
%d 02:00:00:00:00:05 192.168.1.26 ns1 *
duid 00:01
%d 1 fd00::20 laptop 00:01
`, in, past, in, in, in, in, in),
		"kea": fmt.Sprintf(`address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context,pool_id
192.168.1.20,02:00:00:00:00:01,,3600,%d,1,0,0,old-name,0,,0
192.168.1.20,02:00:00:00:00:01,,3600,%d,1,0,0,laptop,0,,0
192.168.1.21,02:00:00:00:00:02,,4294967295,0,1,0,0,phone.home.arpa.,0,,0
192.168.1.22,02:00:00:00:00:03,,3600,%d,1,0,0,gone,0,,0
192.168.1.22,02:00:00:00:00:03,,0,%d,1,0,0,gone,0,,0
192.168.1.24,02:00:00:00:00:05,,3600,%d,1,0,0,wpad,0,,0
192.168.1.25,02:00:00:00:00:05,,3600,%d,1,0,0,www.bank.example,0,,0
192.168.1.26,02:00:00:00:00:05,,3600,%d,1,0,0,ns1,0,,0
`, in, in, in, in, in, in, in),
		"isc": `# The format of this file is documented in the dhcpd.leases(5) manual page.
lease 192.168.1.20 {
  starts 4 2026/01/01 00:00:00;
  ends 4 ` + day(in) + `;
  binding state active;
  client-hostname "laptop";
}
lease 192.168.1.21 {
  ends never;
  binding state active;
  set ddns-fwd-name = "phone.home.arpa";
}
lease 192.168.1.22 { 
  ends 4 ` + day(in) + `;
  binding state active;
  client-hostname "gone";
}
lease 192.168.1.22 {
  ends 4 ` + day(past) + `;
  binding state free;
  client-hostname "gone";
}
lease 192.168.1.24 {
  ends epoch ` + fmt.Sprint(in) + `; # comment
  binding state active;
  client-hostname "wpad";
}
lease 192.168.1.26 {
  ends 4 ` + day(in) + `;
  binding state active;
  client-hostname "ns1";
}
`,
	} {
		t.Run(kind, func(t *testing.T) {
			s := &hosts.Sources{
				Leases: []hosts.LeaseFile{{Path: write(t, text)}}, Domain: name(t, "home.arpa"), Authoritative: true,
				Reserved: func(n []byte) bool { return string(n) == string(name(t, "ns1.home.arpa")) },
			}
			r := hosts.Read(s, now)
			for owner, want := range map[string]string{
				"laptop.home.arpa": "192.168.1.20", "laptop": "192.168.1.20", "phone.home.arpa": "192.168.1.21", "gone.home.arpa": "SOA",
				"gone": "-", "wpad": "-", "wpad.home.arpa": "SOA", "www.bank.example": "-", "old-name.home.arpa": "SOA", "ns1.home.arpa": "SOA",
			} {
				if got := answer(t, r.Table, owner, wire.TypeA); got != want && (want == "-" || !strings.Contains(got, want)) {
					t.Errorf("%s: got %q, want %q", owner, got, want)
				}
			}
			if got := answer(t, r.Table, "20.1.168.192.in-addr.arpa", wire.TypePTR); !strings.Contains(got, "PTR laptop.home.arpa.") {
				t.Errorf("reverse: %q", got)
			}
			if !r.Expires.Equal(time.Unix(in, 0)) || r.Changed(now) || !r.Changed(time.Unix(in, 0)) {
				t.Errorf("expires %v, want %v", r.Expires, time.Unix(in, 0))
			}
			if got := answer(t, hosts.Read(s, time.Unix(in, 0)).Table, "laptop.home.arpa", wire.TypeA); !strings.Contains(got, "SOA") {
				t.Errorf("after its end: %q", got)
			}
		})
	}
}

// What stands in the configuration comes before files, and files before leases, whatever they say.
func TestRank(t *testing.T) {
	lease := "0 02:00:00:00:00:01 192.168.1.20 nas *\n0 02:00:00:00:00:01 192.168.1.21 printer *\n"
	r := hosts.Read(&hosts.Sources{
		Names:  []hosts.Name{{Name: name(t, "nas.home.arpa"), Addrs: []netip.Addr{netip.MustParseAddr("192.168.1.5")}}},
		Files:  []string{write(t, "192.168.1.7 printer nas.home.arpa\n")},
		Leases: []hosts.LeaseFile{{Path: write(t, lease)}}, Domain: name(t, "home.arpa"),
	}, now)
	for owner, want := range map[string]string{"nas.home.arpa": "192.168.1.5", "printer.home.arpa": "192.168.1.7", "printer": "192.168.1.7"} {
		if got := answer(t, r.Table, owner, wire.TypeA); !strings.HasSuffix(got, "A "+want) || strings.Count(got, " A ") != 1 {
			t.Errorf("%s: got %q, want %s alone", owner, got, want)
		}
	}
}

// Files that are large, no files, not there, or replaced.
func TestFiles(t *testing.T) {
	path := write(t, "192.0.2.1 a.example\n")
	s := &hosts.Sources{Files: []string{path}}
	r := hosts.Read(s, now)
	if r.Changed(now) || r.Failed || r.Table.Len() != 1 {
		t.Fatalf("%d names, %q", r.Table.Len(), r.Notes)
	}
	if err := os.WriteFile(path+".new", []byte("192.0.2.2 a.example\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	if !r.Changed(now) {
		t.Error("another file in its place is not seen")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if r = hosts.Read(s, now); !r.Failed || r.Table.Len() != 0 {
		t.Errorf("a missing file: failed %v", r.Failed)
	}
	if r := hosts.Read(&hosts.Sources{Files: []string{t.TempDir()}}, now); !r.Failed {
		t.Error("a directory is read")
	}
	if r := hosts.Read(&hosts.Sources{Files: []string{write(t, strings.Repeat("#\n", hosts.MaxFile/2+1))}}, now); !r.Failed {
		t.Error("a file of more than MaxFile is read")
	}
	var many strings.Builder
	for i := range hosts.MaxNames + 1 {
		fmt.Fprintf(&many, "192.0.2.1 h%d.example\n", i)
	}
	if r := hosts.Read(&hosts.Sources{Files: []string{write(t, many.String())}}, now); r.Table.Len() != hosts.MaxNames || len(r.Notes) != 1 {
		t.Errorf("%d names, notes %q", r.Table.Len(), r.Notes)
	}
}

// Looking a name up allocates nothing, in a table and without one.
func TestFindAllocatesNothing(t *testing.T) {
	r := hosts.Read(&hosts.Sources{Names: []hosts.Name{{Name: name(t, "*.lab.example"), Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}}}, now)
	var split wire.SplitName
	split.Set(name(t, "a.b.lab.example"))
	for _, table := range []*hosts.Table{nil, r.Table} {
		if n := testing.AllocsPerRun(100, func() { table.Find(&split) }); n != 0 {
			t.Errorf("%d names: %v allocations", table.Len(), n)
		}
	}
}

func FuzzLeases(f *testing.F) {
	f.Add([]byte("lease 192.0.2.1 {\n ends never;\n}\n"))
	f.Add([]byte("address,hostname\n192.0.2.1,x\n"))
	f.Add([]byte("0 x 192.0.2.1 a *\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, format := range []hosts.Format{hosts.Auto, hosts.Dnsmasq, hosts.Kea, hosts.ISC} {
			hosts.Read(&hosts.Sources{Leases: []hosts.LeaseFile{{Path: write(t, string(text)), Format: format}}, Domain: []byte("\x01x\x00")}, now)
		}
	})
}
