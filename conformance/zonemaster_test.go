package conformance_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"port53/conformance/netns"
	"port53/conformance/peers"
	"port53/conformance/zonegen"
)

// The settings of the laboratory beside Zonemaster.
const (
	envWhole = "PORT53_ZONEMASTER"       // whole: all zones; else a sample, for Zonemaster takes seconds for each
	envTable = "PORT53_ZONEMASTER_TABLE" // the file that the table of its cases is written to, as internal/catalogue/zonemaster.txt
)

// wrongZones are zones whose delegation, records or servers are wrong in one way.
func wrongZones() []unusual {
	silent := func(_, _ *dns.Msg, _ bool) bool { return false }
	code := func(rc int) mangler {
		return func(_, m *dns.Msg, _ bool) bool { m.Rcode, m.Answer, m.Ns = rc, nil, nil; return true }
	}
	only := func(t uint16, how mangler) mangler {
		return func(q, m *dns.Msg, tcp bool) bool {
			return len(q.Question) != 1 || q.Question[0].Qtype != t || how(q, m, tcp)
		}
	}
	return []unusual{
		{name: "w-refused", says: code(dns.RcodeRefused)},
		{name: "w-servfail", says: code(dns.RcodeServerFailure)},
		{name: "w-silent", says: silent},
		{name: "w-noaa", says: func(_, m *dns.Msg, _ bool) bool { m.Authoritative = false; return true }},
		{name: "w-nosoa", says: only(dns.TypeSOA, func(_, m *dns.Msg, _ bool) bool { m.Answer = nil; return true })},
		{name: "w-nons", says: only(dns.TypeNS, func(_, m *dns.Msg, _ bool) bool { m.Answer = nil; return true })},
		{name: "w-tcp", says: func(_, _ *dns.Msg, tcp bool) bool { return !tcp }},
		{name: "w-udp", says: func(_, _ *dns.Msg, tcp bool) bool { return tcp }},
		{name: "w-edns", first: func(q *dns.Msg, _ bool) *dns.Msg {
			if q.IsEdns0() == nil {
				return nil
			}
			return new(dns.Msg).SetRcodeFormatError(q)
		}},
		{name: "w-upward", says: func(_, m *dns.Msg, _ bool) bool {
			m.Answer, m.Authoritative = nil, false
			m.Ns = []dns.RR{&dns.NS{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: 60}, Ns: "a.root."}}
			return true
		}},
		{name: "w-ra", says: func(_, m *dns.Msg, _ bool) bool { m.RecursionAvailable = true; return true }},
		{name: "w-lower", says: func(_, m *dns.Msg, _ bool) bool {
			for i := range m.Question {
				m.Question[i].Name = strings.ToLower(m.Question[i].Name)
			}
			return true
		}},
		{name: "w-onens", records: less(plainRecords, "@ NS ns2"), above: "@ NS ns1\nns1 A $1\n"},
		{name: "w-noglue", records: less(plainRecords, "ns2")},
		{name: "w-glue", above: "@ NS ns1\n@ NS ns2\nns1 A $1\nns2 A 5.9.9.9\n"},
		{name: "w-gluemore", above: "@ NS ns1\n@ NS ns2\nns1 A $1\nns1 A 5.9.9.9\nns2 A $2\n"},
		{name: "w-nsalias", records: less(plainRecords, "ns2") + "ns2 CNAME ns1\n"},
		{name: "w-nsgone", records: "+@ NS ns3\n", above: "@ NS ns1\n@ NS ns2\nns1 A $1\nns2 A $2\n@ NS ns3.gone.zone.\n"},
		{name: "w-nsmore", records: "+@ NS ns3\nns3 A 5.9.9.9\n"},
		{name: "w-nsless", above: "@ NS ns1\n@ NS ns2\n@ NS ns3\nns1 A $1\nns2 A $2\nns3 A 5.9.9.9\n"},
		{name: "w-nsother", above: "@ NS ns8\n@ NS ns9\nns8 A $1\nns9 A $2\n"},
		{name: "w-private", records: strings.Replace(plainRecords, "ns2 A $2", "ns2 A 192.168.0.1", 1), above: "@ NS ns1\n@ NS ns2\nns1 A $1\nns2 A 192.168.0.1\n"},
		{name: "w-mxalias", records: less(plainRecords, "mail") + "mail CNAME www\n"},
		{name: "w-mxgone", records: less(plainRecords, "mail")},
		{name: "w-mxaddress", records: less(plainRecords, "@ MX") + "@ MX 10 5.9.0.25\n"},
		{name: "w-soarname", records: strings.Replace(plainRecords, "SOA ns1 host", "SOA ns1 host\\@x", 1)},
		{name: "w-soatimes", records: strings.Replace(plainRecords, "14400 3600 1209600 3600", "60 3600 600 1", 1)},
		{name: "w-soaalias", records: strings.Replace(plainRecords, "SOA ns1", "SOA blog", 1) + "blog CNAME www\n"},
		{name: "w-spftwo", records: "+@ TXT \"v=spf1 a -all\"\n"},
		{name: "w-spfbad", records: less(plainRecords, "@ TXT") + "@ TXT \"v=spf1 ipx:1 -all\"\n"},
		{name: "w-underscore", records: less(plainRecords, "ns2", "@ NS ns2") + "@ NS ns_2\nns_2 A $2\n", above: "@ NS ns1\n@ NS ns_2\nns1 A $1\nns_2 A $2\n"},
	}
}

// A wholeLab is many zones on many servers below one root.
type wholeLab struct {
	ns             *netns.Namespace
	bin            string
	hints, anchors string
	dir            string
	zones          []string
	servers        int
	root           []dns.RR
	served         [allGroups][]peers.Zone      // by group of servers
	manners        map[string]map[string]manner // by address and zone
	behind         map[string]int               // the group that an address is of
}

// The groups: the first and the second copies of zones, on servers of two kinds each.
const (
	groupKnot = iota
	groupBIND
	groupNSD
	groupPort53
	groupPDNS
	allGroups
)

func groupAddress(g int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, byte(g + 1), 1}), 53)
}

func newWholeLab(t *testing.T) *wholeLab {
	t.Helper()
	for _, program := range []string{"ip", "named", "nsd", "knotd", "pdns_server"} {
		if _, err := peers.Find(program); err != nil {
			missing(t, err)
		}
	}
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	ns, err := netns.New()
	if err != nil {
		missing(t, err)
	}
	t.Cleanup(ns.Close)
	for _, args := range []string{"route add local 5.0.0.0/8 dev lo", "route add local 6.0.0.0/8 dev lo"} {
		output(t, ns.Do, "ip", strings.Fields(args)...)
	}
	for g := range allGroups {
		output(t, ns.Do, "ip", "address", "add", groupAddress(g).Addr().String()+"/32", "dev", "lo")
	}
	l := &wholeLab{ns: ns, bin: bin, dir: t.TempDir(), manners: map[string]map[string]manner{}, behind: map[string]int{}}
	if l.root, err = zonegen.Records(".", ". 3600 SOA a.root. host. 1 14400 3600 604800 3600\n. 3600 NS a.root.\na.root. 3600 A "+labRoot+"\n"); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *wholeLab) put(t *testing.T, name string, list []dns.RR) string {
	t.Helper()
	file := filepath.Join(l.dir, name)
	if err := zonegen.WriteRecords(file, list); err != nil {
		t.Fatal(err)
	}
	return file
}

// add has the zone served at addresses, by groups that stand behind them.
func (l *wholeLab) add(t *testing.T, origin string, above []dns.RR, copies [2][]dns.RR, groups [2]int, addresses [2]string, how manner) {
	t.Helper()
	l.zones = append(l.zones, origin)
	l.root = append(l.root, above...)
	for i, list := range copies {
		if list != nil {
			l.served[groups[i]] = append(l.served[groups[i]], peers.Zone{Name: origin, File: l.put(t, fmt.Sprintf("%s%d", origin, i), list)})
		}
		if addresses[i] == "" {
			continue
		}
		if l.manners[addresses[i]] == nil {
			l.manners[addresses[i]] = map[string]manner{}
			l.behind[addresses[i]] = groups[i]
		}
		l.manners[addresses[i]][origin] = how
	}
}

// hostsAddresses are those of ns1.hosts.zone and ns2.hosts.zone, which serve zones without glue.
var hostsAddresses = [2]string{"5.200.0.1", "6.200.0.1"}

// unusual adds a zone of unusualZones or wrongZones.
func (l *wholeLab) unusual(t *testing.T, n int, u *unusual) {
	t.Helper()
	origin := u.name + ".zone."
	records := u.records
	switch {
	case records == "":
		records = plainRecords
	case records[0] == '+':
		records = plainRecords + records[1:]
	}
	addresses := [2]string{fmt.Sprintf("5.10.%d.1", n), fmt.Sprintf("6.10.%d.1", n)}
	groups := [2]int{[]int{groupKnot, groupNSD}[n%2], []int{groupBIND, groupPort53}[n/2%2]}
	if u.name == "hosts" {
		addresses = hostsAddresses
	}
	if u.name == "plain" {
		records += "_spf TXT \"v=spf1 ip4:5.9.0.0/24 -all\"\n"
	}
	for i, host := range []string{"ns1.hosts.zone.", "ns2.hosts.zone."} {
		if u.name == "hosts" || strings.Contains(records, "@ NS "+host) {
			addresses[i], groups[i] = hostsAddresses[i], []int{groupKnot, groupBIND}[i]
		}
	}
	above := u.above
	if above == "" {
		above = "@ NS ns1\n@ NS ns2\nns1 A $1\nns2 A $2\n"
	}
	if u.four {
		// Addresses that this machine has no way to.
		records, above = records+"ns1 AAAA 2a0c::1\nns2 AAAA 2a0c::2\n", above+"ns1 AAAA 2a0c::1\nns2 AAAA 2a0c::2\n"
	}
	if u.six {
		addresses = [2]string{fmt.Sprintf("2a0b::%x:1", n), fmt.Sprintf("2a0b::%x:2", n)}
		six := strings.NewReplacer("A $1", "AAAA $1", "A $2", "AAAA $2")
		records, above = six.Replace(records), six.Replace(above)
		for _, a := range addresses {
			output(t, l.ns.Do, "ip", "address", "add", a+"/128", "dev", "lo", "nodad")
		}
	}
	read := func(text string) []dns.RR {
		list, err := zonegen.Records(origin, strings.NewReplacer("$13", addresses[0], "$1", addresses[0], "$2", addresses[1]).Replace(text))
		if err != nil {
			t.Fatalf("%s: %v", u.name, err)
		}
		return list
	}
	list, up := read(records), read(above)
	copies := [2][]dns.RR{list, list}
	if u.signed != nil {
		copies, up = u.sign(t, origin, list, up)
	}
	l.add(t, origin, up, copies, groups, addresses, manner{u.first, u.says})
}

// sign returns both copies of a signed zone, and what the zone above has.
func (u *unusual) sign(t *testing.T, origin string, list, up []dns.RR) (copies [2][]dns.RR, above []dns.RR) {
	t.Helper()
	var both [2]*zonegen.Signing
	for i, how := range []func(*zonegen.Signing) error{u.signed, u.second} {
		both[i] = &zonegen.Signing{Origin: origin, From: time.Now().Add(-time.Hour), Until: time.Now().Add(20 * 24 * time.Hour)}
		if how == nil {
			both[i] = both[0]
		} else if err := how(both[i]); err != nil {
			t.Fatal(err)
		}
	}
	keys := both[0].Keys
	ds := keys[:1]
	if u.second != nil {
		for i := range both {
			for _, k := range both[1-i].Keys {
				both[i].Also = append(both[i].Also, k.DNSKEY)
			}
		}
		ds = []*zonegen.Key{keys[0], both[1].Keys[0]}
	}
	if u.ds != nil {
		ds = u.ds(keys)
	}
	for i := range both {
		var err error
		if copies[i], err = both[i].Sign(list); err != nil {
			t.Fatal(err)
		}
	}
	if !u.apex {
		for _, k := range ds {
			up = append(up, k.ToDS(dns.SHA256))
		}
	}
	return copies, up
}

// serve starts all servers.
func (l *wholeLab) serve(t *testing.T) {
	t.Helper()
	keys, err := newKeys(".", nil)
	if err != nil {
		t.Fatal(err)
	}
	root, err := (&zonegen.Signing{Origin: ".", Keys: keys, From: time.Now().Add(-time.Hour), Until: time.Now().Add(20 * 24 * time.Hour)}).Sign(l.root)
	if err != nil {
		t.Fatal(err)
	}
	start(t, peers.NSD, peers.Options{Addr: netip.MustParseAddrPort(labRoot + ":53"), Zones: []peers.Zone{{Name: ".", File: l.put(t, "root", root)}}, Run: l.ns.Do})
	for g, kind := range []string{peers.Knot, peers.BIND, peers.NSD, peers.Port53, peers.PDNS} {
		if l.served[g] == nil {
			continue
		}
		start(t, kind, peers.Options{Addr: groupAddress(g), Zones: l.served[g], Run: l.ns.Do, Unready: g == groupBIND})
	}
	for address, manners := range l.manners {
		beside(t, l.ns.Do, netip.AddrPortFrom(netip.MustParseAddr(address), 53), groupAddress(l.behind[address]), manners)
		l.servers++
	}
	l.hints, l.anchors = filepath.Join(l.dir, "hints"), l.put(t, "anchors", []dns.RR{keys[0].DNSKEY})
	if err := os.WriteFile(l.hints, []byte(". 3600 NS a.root.\na.root. 3600 A "+labRoot+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// check returns what port53 check finds in zones and at their servers, by zone.
func (l *wholeLab) check(t *testing.T, zones []string, args ...string) map[string][]finding {
	t.Helper()
	file := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(file, []byte(strings.Join(zones, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	text := output(t, l.ns.Do, l.bin, append([]string{"check", "--file", file, "--roots", l.hints, "--anchors", l.anchors, "--json"}, args...)...)
	var d struct {
		Reports []struct {
			Target string
			Checks []finding
		}
	}
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	out := map[string][]finding{}
	for _, r := range d.Reports {
		zone, _, _ := strings.Cut(r.Target, " at ")
		out[zone] = append(out[zone], r.Checks...)
	}
	return out
}

// TestUnusualSetups has zones that are sound, each in a way that few are: none is failed.
func TestUnusualSetups(t *testing.T) {
	l := newWholeLab(t)
	list := unusualZones()
	for i := range list {
		l.unusual(t, i, &list[i])
	}
	l.serve(t)
	began := time.Now()
	found := l.check(t, l.zones)
	t.Logf("%d zones on %d servers in %v", len(list), l.servers, time.Since(began).Round(time.Millisecond))
	// Those who answer here are proxies of servers: what they do beside the zone is not the zone's.
	failed := func(zone string) (out []string) {
		for _, f := range found[zone] {
			if f.State == "fail" && (f.Severity == "high" || f.Severity == "critical" || !strings.HasPrefix(f.ID, "SRV-")) {
				out = append(out, fmt.Sprintf("%s %s: %s", f.Severity, f.ID, f.Detail))
			}
		}
		return out
	}
	var again []string
	for _, zone := range l.zones {
		if len(failed(zone)) > 0 {
			again = append(again, zone)
		}
	}
	// Hundreds of servers in one process, on a busy machine, may be late: who is so is looked at beside few others.
	for some := range slices.Chunk(again, 4) {
		maps.Copy(found, l.check(t, some))
	}
	for _, zone := range l.zones {
		if len(found[zone]) < 20 {
			t.Errorf("%s: %d findings", zone, len(found[zone]))
		}
		for _, text := range failed(zone) {
			t.Errorf("%s: %s", zone, text)
		}
	}
	if len(list) < 80 {
		t.Errorf("%d zones", len(list))
	}
}

// A mastered is what Zonemaster says of a zone.
type mastered struct {
	Level, Testcase, Tag string
}

// TestBesideZonemaster has Zonemaster and check look at the same zones, right and wrong. Where
// Zonemaster finds an error, the check that docs/CHECKS.md has for its test case finds something as
// well, or the table says why not.
func TestBesideZonemaster(t *testing.T) {
	if _, err := peers.Find("zonemaster-cli"); err != nil {
		t.Skipf("missing: %v", err)
	}
	l := newWholeLab(t)
	list := slices.DeleteFunc(slices.Concat(unusualZones(), wrongZones()), func(u unusual) bool { return u.six }) // Zonemaster is to use IPv4 alone
	for i := range list {
		l.unusual(t, i, &list[i])
	}
	for _, b := range brokenZones() {
		origin := b.name + ".zone."
		f, good, bad := b.made(t, origin)
		ds := f.Keys[0].ToDS(dns.SHA256)
		if b.ds != nil {
			b.ds(ds)
		}
		above, err := zonegen.Records(".", fmt.Sprintf("%[1]s NS ns1.%[1]s\n%[1]s NS ns2.%[1]s\nns1.%[1]s A %[2]s\nns2.%[1]s A %[3]s\n", origin, labFirst, labSecond))
		if err != nil {
			t.Fatal(err)
		}
		l.add(t, origin, append(above, ds), [2][]dns.RR{good, bad}, [2]int{groupKnot, groupBIND}, [2]string{labFirst, labSecond}, manner{then: b.mangle})
		l.manners[labFirst][origin] = manner{}
	}
	l.serve(t)
	zones := l.zones
	if os.Getenv(envWhole) != "whole" {
		zones = nil
		for i, z := range l.zones {
			if i%16 == 3 {
				zones = append(zones, z)
			}
		}
	}
	began := time.Now()
	said := l.zonemaster(t, zones)
	t.Logf("Zonemaster: %d of %d zones on %d servers in %v", len(zones), len(l.zones), l.servers, time.Since(began).Round(time.Second))
	began = time.Now()
	found := l.check(t, zones)
	t.Logf("check: %v", time.Since(began).Round(time.Second))
	judgeZonemaster(t, said, found)
}

// zonemaster asks Zonemaster about zones, some at a time.
func (l *wholeLab) zonemaster(t *testing.T, zones []string) map[string][]mastered {
	t.Helper()
	out := map[string][]mastered{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, 4)
	for _, z := range zones {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			text := output(t, l.ns.Do, "zonemaster-cli", "--hints", l.hints, "--no-ipv6", "--json", "--level", "ERROR", z)
			var list []mastered
			if err := json.Unmarshal([]byte(text), &list); err != nil {
				t.Errorf("%s: %v: %.200s", z, err, text)
			}
			mu.Lock()
			defer mu.Unlock()
			out[z] = list
		})
	}
	wg.Wait()
	return out
}

// A tableRow is what the table has of a test case.
type tableRow struct{ check, why string }

// zonemasterTable reads the table of docs/CHECKS.md.
func zonemasterTable(t *testing.T) map[string]tableRow {
	t.Helper()
	f, err := os.Open("../docs/CHECKS.md")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := map[string]tableRow{}
	within := false
	for s := bufio.NewScanner(f); s.Scan(); {
		if strings.HasPrefix(s.Text(), "## ") {
			within = s.Text() == "## Zonemaster"
		}
		if cells := strings.Split(s.Text(), "|"); within && len(cells) == 7 && strings.ToUpper(cells[1]) == cells[1] && !strings.HasPrefix(cells[1], "-") {
			out[strings.TrimSpace(cells[1])] = tableRow{strings.TrimSpace(cells[2]), strings.TrimSpace(cells[5])}
		}
	}
	return out
}

// agreeing returns the checks that find something in the zones in which a case finds an error: those
// that the table has, and of the others as few as there have to be. Checks that find something in
// most zones, whatever is wrong with them, do not count, and where the table says why something is not
// found nothing is looked for.
func agreeing(zones []string, has []string, bad map[string][]string, explained bool) (ids []string, seen int) {
	common := map[string]int{}
	for _, list := range bad {
		for _, id := range list {
			common[id]++
		}
	}
	left := slices.Clone(zones)
	take := func(id string) int {
		n := len(left)
		left = slices.DeleteFunc(left, func(z string) bool { return slices.Contains(bad[z], id) })
		return n - len(left)
	}
	for _, id := range has {
		if take(id) > 0 {
			ids = append(ids, id)
		}
	}
	for len(left) > 0 && !explained {
		best, most := "", 0
		for _, id := range slices.Sorted(maps.Keys(common)) {
			n := 0
			for _, z := range left {
				if slices.Contains(bad[z], id) {
					n++
				}
			}
			if n > most && 10*common[id] < 6*len(bad) {
				best, most = id, n
			}
		}
		if most == 0 {
			break
		}
		take(best)
		ids = append(ids, best)
	}
	return ids, len(zones) - len(left)
}

// judgeZonemaster compares what both found, and writes what the table is made of.
func judgeZonemaster(t *testing.T, said map[string][]mastered, found map[string][]finding) {
	t.Helper()
	table := zonemasterTable(t)
	bad := map[string][]string{} // what finds something, or cannot say that nothing is wrong
	where, tags := map[string][]string{}, map[string][]string{}
	for _, zone := range slices.Sorted(maps.Keys(said)) {
		bad[zone] = []string{}
		for _, f := range found[zone] {
			if (f.State == "fail" || f.State == "warn" || f.State == "unknown") && !slices.Contains(bad[zone], f.ID) {
				bad[zone] = append(bad[zone], f.ID)
			}
		}
		for _, m := range said[zone] {
			name := strings.ToUpper(m.Testcase)
			if m.Level != "ERROR" && m.Level != "CRITICAL" || name == "" || name == "UNSPECIFIED" { // that it stops
				continue
			}
			if !slices.Contains(where[name], zone) {
				where[name] = append(where[name], zone)
			}
			if !slices.Contains(tags[name+zone], m.Tag) {
				tags[name+zone] = append(tags[name+zone], m.Tag)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(where)) {
		row := table[name]
		has := strings.Split(row.check, ", ")
		agreed := 0
		for _, zone := range where[name] {
			switch {
			case slices.ContainsFunc(has, func(id string) bool { return slices.Contains(bad[zone], id) }):
				agreed++
			case row.why == "":
				t.Errorf("%s: Zonemaster finds %s %v, and %s nothing; check finds %v", zone, name, tags[name+zone], row.check, bad[zone])
			}
		}
		t.Logf("%s: an error in %d zones; %s see %d", name, len(where[name]), row.check, agreed)
	}
	if len(where) == 0 {
		t.Error("Zonemaster finds nothing: is it run rightly?")
	}
	if file := os.Getenv(envTable); file != "" {
		writeTable(t, file, table, where, bad)
	}
}

// writeTable writes the table of test cases as internal/catalogue/zonemaster.txt has it.
func writeTable(t *testing.T, file string, table map[string]tableRow, where, bad map[string][]string) {
	t.Helper()
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(table)) {
		row := table[name]
		has := strings.Split(row.check, ", ")
		ids, seen := agreeing(where[name], has, bad, row.why != "")
		if len(ids) == 0 {
			ids = has
		}
		fmt.Fprintf(&b, "%s\t%s\t%d\t%d\t%s\n", name, strings.Join(ids, ", "), len(where[name]), seen, row.why)
	}
	if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
