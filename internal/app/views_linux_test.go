package app_test

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"port53/internal/app"
	"port53/internal/config"
	"port53/internal/dnstest"
	"port53/internal/lab"
	"port53/internal/store"
	"port53/internal/tsig"
	"port53/internal/wire"
)

// says returns a zone whose name www says something.
func says(what string, serial int) string {
	return fmt.Sprintf("$TTL 60\n@ SOA ns.example. h.example. %d 7200 3600 1209600 300\n@ NS ns.example.\nwww TXT %q\n", serial, what)
}

// as sends a message from an address, at one of the server's, and returns the reply; nil: there is none.
func (r *running) as(network string, from netip.Addr, at netip.AddrPort, msg []byte) []byte {
	r.Helper()
	var local net.Addr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	if network == "udp" {
		local = net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	d := net.Dialer{LocalAddr: local, Timeout: patience}
	c, err := d.Dial(network, at.String())
	if err != nil {
		r.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if network == "tcp" {
		msg = append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)
	}
	if _, err := c.Write(msg); err != nil {
		r.Fatal(err)
	}
	reply := make([]byte, 65535)
	if network == "tcp" {
		if _, err := io.ReadFull(c, reply[:2]); err != nil {
			return nil
		}
		reply = reply[:binary.BigEndian.Uint16(reply)]
		if _, err := io.ReadFull(c, reply); err != nil {
			return nil
		}
		return reply
	}
	n, err := c.Read(reply)
	if err != nil {
		return nil
	}
	return reply[:n]
}

// told returns what a reply comes to: the text of its first TXT record, its first address, or its rcode.
func told(reply []byte) string {
	var m wire.Message
	if m.Parse(reply) != 0 {
		return "no reply"
	}
	for _, rec := range m.Records {
		switch {
		case rec.Section == wire.Answer && rec.Type == wire.TypeTXT:
			return string(rec.Data[1:])
		case rec.Section == wire.Answer && rec.Type == wire.TypeA:
			return netip.AddrFrom4([4]byte(rec.Data)).String()
		}
	}
	return m.Rcode.String()
}

// asked is a question of a client that signs with a key, or with none.
func (r *running) asked(network, from string, at int, key *tsig.Key, line string) string {
	r.Helper()
	msg := dnstest.ParseQuestion(r, line).Message()
	if key != nil {
		msg = sign(key, msg, time.Now())
	}
	return told(r.as(network, netip.MustParseAddr(from), r.Addrs()[at], msg))
}

const viewsYAML = `role: authoritative
listen: ["127.0.0.1:0", "127.0.0.9:0"]
state_dir: state
metrics: {listen: off}
` + keysYAML + `
networks:
  - {name: near, list: [127.0.1.0/24]}
  - {name: odd, list: [127.0.1.8/29, 127.0.3.3]}
views:
  - {name: signed, match: {key: xfr}}
  - {name: either, match: {clients: [near, {key: ddns}], except: [127.0.1.8/29]}}
  - {name: ninth, match: {listen: 127.0.0.9, except: [{key: ddns}]}}
  - {name: all-of, match: {clients: [odd], listen: [127.0.0.1]}}
zones:
  - {name: test, file: rest.zone}
  - {name: test, file: signed.zone, views: [signed], allow_transfer: [{key: xfr}], updates: [{key: xfr, names: ["*"]}]}
  - {name: test, file: either.zone, views: [either, all-of]}
  - {name: shared.test, file: shared.zone}
  - {name: hidden.test, file: hidden.zone, views: ninth}
`

// serveViews serves the zones of viewsYAML.
func serveViews(t *testing.T, log io.Writer) *running {
	t.Helper()
	r := &running{T: t, dir: t.TempDir()}
	for _, name := range []string{"rest", "signed", "either", "shared", "hidden"} {
		r.write(name+".zone", says(name, 1))
	}
	r.write("port53.yaml", viewsYAML)
	if err := r.serve(log); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestViews asks as clients of many kinds, over UDP and TCP: each gets what the first view has that
// fits its address, the address that it asks and the key that it signs with.
func TestViews(t *testing.T) {
	r := serveViews(t, io.Discard)
	cases := 0
	for _, from := range []string{"127.0.0.1", "127.0.1.1", "127.0.1.9", "127.0.3.3"} {
		for at := range 2 {
			for _, key := range []*tsig.Key{nil, &xfr, &ddns} {
				view := "default"
				near, excepted := strings.HasPrefix(from, "127.0.1."), from == "127.0.1.9"
				switch {
				case key == &xfr:
					view = "signed"
				case key == &ddns, near && !excepted:
					view = "either"
				case at == 1:
					view = "ninth"
				case excepted || from == "127.0.3.3":
					view = "all-of"
				}
				want := map[string]string{
					"www.test. TXT":        map[string]string{"signed": "signed", "either": "either", "all-of": "either"}[view],
					"www.shared.test. TXT": "shared",
					"www.hidden.test. TXT": map[string]string{"ninth": "hidden"}[view],
				}
				if want["www.test. TXT"] == "" {
					want["www.test. TXT"] = "rest"
				}
				if want["www.hidden.test. TXT"] == "" {
					want["www.hidden.test. TXT"] = "NXDOMAIN" // of test
				}
				for _, line := range slices.Sorted(maps.Keys(want)) {
					for _, network := range []string{"udp", "tcp"} {
						cases++
						if got := r.asked(network, from, at, key, line); got != want[line] {
							t.Errorf("%s from %s at %v with key %v (view %s): %s: %s, want %s", network, from, r.Addrs()[at], key, view, line, got, want[line])
						}
					}
				}
				name := ""
				if key != nil {
					name = string(wire.AppendName(nil, key.Name))
				}
				if v, err := r.ViewOf(from, r.Addrs()[at].String(), name); err != nil || v.(*app.ViewOf).View != view {
					t.Errorf("from %s at %v with key %q: view %+v %v, want %s", from, r.Addrs()[at], name, v, err, view)
				}
			}
		}
	}
	if cases < 100 {
		t.Errorf("%d cases", cases)
	}
	// A key that is not good opens nothing, whatever view it names.
	if got := r.asked("udp", "127.0.0.1", 0, &wrong, "www.test. TXT"); got != "NOTAUTH" {
		t.Errorf("with a wrong secret: %s", got)
	}
}

// TestViewsOfZones transfers, updates and looks after zones of one name: each is the view's.
func TestViewsOfZones(t *testing.T) {
	logs := &lockedBuffer{}
	r := serveViews(t, logs)
	client := netip.MustParseAddr("127.0.0.1")
	axfr := func() []byte { return wire.AppendQuery(nil, 7, 0, dnstest.Name(t, "test."), wire.TypeAXFR) }
	if reply := r.as("tcp", client, r.Addrs()[0], sign(&xfr, axfr(), time.Now())); !strings.Contains(string(reply), "signed") {
		t.Errorf("transfer in the view that may have it: %q", reply)
	}
	for what, c := range map[string]struct {
		from string
		key  *tsig.Key
	}{"no key": {"127.0.0.1", nil}, "another view": {"127.0.1.1", &ddns}} {
		msg := axfr()
		if c.key != nil {
			msg = sign(c.key, msg, time.Now())
		}
		if got := told(r.as("tcp", netip.MustParseAddr(c.from), r.Addrs()[0], msg)); got != "REFUSED" {
			t.Errorf("transfer with %s: %s", what, got)
		}
	}
	if got := told(r.as("tcp", client, r.Addrs()[0], sign(&xfr, update(8, "added"), time.Now()))); got != "NOERROR" {
		t.Errorf("update in the view that takes it: %s", got)
	}
	if got := told(r.as("tcp", client, r.Addrs()[0], sign(&ddns, update(9, "other"), time.Now()))); got != "REFUSED" {
		t.Errorf("update in another view: %s", got)
	}
	for _, c := range []struct {
		key  *tsig.Key
		want string
	}{{&xfr, "192.0.2.7"}, {nil, "NXDOMAIN"}, {&ddns, "NXDOMAIN"}} {
		if got := r.asked("udp", "127.0.0.1", 0, c.key, "added.test. A"); got != c.want {
			t.Errorf("what was added, with %v: %s, want %s", c.key, got, c.want)
		}
	}
	if !strings.Contains(logs.String(), `"audit: update accepted" zone=test. view=signed`) {
		t.Errorf("the audit does not name the view:\n%s", logs.String())
	}

	// Commands want to know which zone is meant.
	if _, err := r.Zone("sync", "test.", ""); err == nil || !strings.Contains(err.Error(), "--view") {
		t.Errorf("a command on one of three zones: %v", err)
	}
	if _, err := r.Zone("sync", "test.", "signed"); err != nil || !strings.Contains(r.read("signed.zone"), "added") || strings.Contains(r.read("either.zone"), "added") {
		t.Errorf("sync of one of them: %v", err)
	}
	if st, err := r.Status("test.", ""); err != nil || len(st.(app.Status).Zones) != 3 {
		t.Errorf("status of all of them: %+v %v", st, err)
	}
	if st, err := r.Status("test.", "all-of"); err != nil || len(st.(app.Status).Zones) != 1 || st.(app.Status).Zones[0].View != "either" {
		t.Errorf("status of one that two views see: %+v %v", st, err)
	}
	if st, err := r.Status("", "default"); err != nil || len(st.(app.Status).Zones) != 2 {
		t.Errorf("zones of the default view: %+v %v", st, err)
	}
	if _, err := r.Status("", "none"); err == nil {
		t.Error("a view that there is not has a status")
	}

	// What was acknowledged is there after a restart, in its view alone.
	r.write("signed.zone", says("signed", 1))
	r.end()
	if err := r.serve(io.Discard); err != nil {
		t.Fatal(err)
	}
	if got := r.asked("udp", "127.0.0.1", 0, &xfr, "added.test. A"); got != "192.0.2.7" {
		t.Errorf("after a restart: %s", got)
	}
	if got := r.asked("udp", "127.0.0.1", 0, nil, "added.test. A"); got != "NXDOMAIN" {
		t.Errorf("after a restart, in another view: %s", got)
	}
	if _, err := os.Stat(filepath.Join(r.dir, "state", "zones", "test@signed")); err != nil {
		t.Error(err)
	}
}

// TestViewsReload moves clients between views, adds and removes views, and breaks a zone of one.
func TestViewsReload(t *testing.T) {
	r := serveViews(t, io.Discard)
	listen := fmt.Sprintf("listen: [%q, %q]", r.Addrs()[0].String(), r.Addrs()[1].String())
	reload := func(text string) error {
		t.Helper()
		r.write("port53.yaml", strings.Replace(text, `listen: ["127.0.0.1:0", "127.0.0.9:0"]`, listen, 1))
		_, err := r.Reload(context.Background())
		return err
	}
	want := func(from, what string) {
		t.Helper()
		for _, network := range []string{"udp", "tcp"} {
			if got := r.asked(network, from, 0, nil, "www.test. TXT"); got != what {
				t.Errorf("%s from %s: %s, want %s", network, from, got, what)
			}
		}
	}
	want("127.0.1.1", "either")
	moved := strings.Replace(viewsYAML, "list: [127.0.1.0/24]", "list: [127.0.5.0/24]", 1)
	if err := reload(moved); err != nil {
		t.Fatal(err)
	}
	want("127.0.1.1", "rest")
	want("127.0.5.1", "either")

	added := strings.Replace(moved, "views:\n", "views:\n  - {name: new, match: {clients: [127.0.5.1]}}\n", 1) + "  - {name: test, file: new.zone, views: [new]}\n"
	r.write("new.zone", says("new", 1))
	if err := reload(added); err != nil {
		t.Fatal(err)
	}
	want("127.0.5.1", "new")
	want("127.0.5.2", "either")

	r.write("either.zone", "not a zone file")
	r.write("new.zone", says("newer", 2))
	if err := reload(added); err == nil {
		t.Error("a broken zone is no error")
	}
	want("127.0.5.1", "newer")
	want("127.0.5.2", "either") // the version before

	r.write("either.zone", says("mended", 2))
	if err := reload(moved); err != nil {
		t.Fatal(err)
	}
	want("127.0.5.1", "mended")

	// A view that is wrong changes nothing.
	if err := reload(strings.Replace(moved, "views: [signed]", "views: [sigend]", 1)); err == nil {
		t.Error("a view that there is not is no error")
	}
	want("127.0.5.1", "mended")

	bare := "role: authoritative\nlisten: [\"127.0.0.1:0\", \"127.0.0.9:0\"]\nstate_dir: state\nmetrics: {listen: off}\n" + keysYAML + "zones: [{name: test, file: rest.zone}]\n"
	if err := reload(bare); err != nil {
		t.Fatal(err)
	}
	want("127.0.5.1", "rest")
	if err := reload(viewsYAML); err != nil {
		t.Fatal(err)
	}
	want("127.0.1.1", "mended")
	want("127.0.5.1", "rest")
}

// TestViewsAdopt gives a zone that was updated to a view: what is kept of it goes with it, unless two
// could have it.
func TestViewsAdopt(t *testing.T) {
	plain := "role: authoritative\nlisten: [\"127.0.0.1:0\"]\nstate_dir: state\nmetrics: {listen: off}\n" + keysYAML
	grant := `updates: [{key: xfr, names: ["*"]}]`
	for _, c := range []struct {
		name, views, want string
	}{
		{"one", "views: [{name: in, match: {clients: [127.0.0.1]}}]\nzones:\n  - {name: test, file: a.zone, views: in, " + grant + "}\n", "192.0.2.7"},
		{"back", "zones:\n  - {name: test, file: a.zone, " + grant + "}\n", "192.0.2.7"},
		{"beside", "views: [{name: in, match: {clients: [127.0.0.1]}}]\nzones:\n  - {name: test, file: b.zone}\n  - {name: test, file: a.zone, views: in, " + grant + "}\n", "NXDOMAIN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &running{T: t, dir: t.TempDir()}
			r.write("a.zone", says("a", 1))
			r.write("b.zone", says("b", 1))
			r.write("port53.yaml", plain+"zones:\n  - {name: test, file: a.zone, "+grant+"}\n")
			if err := r.serve(io.Discard); err != nil {
				t.Fatal(err)
			}
			if got := told(r.as("tcp", netip.MustParseAddr("127.0.0.1"), r.Addrs()[0], sign(&xfr, update(8, "added"), time.Now()))); got != "NOERROR" {
				t.Fatalf("update: %s", got)
			}
			r.end()
			r.write("port53.yaml", plain+c.views)
			if err := r.serve(io.Discard); err != nil {
				t.Fatal(err)
			}
			if got := r.asked("udp", "127.0.0.1", 0, nil, "added.test. A"); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

const partsYAML = `role: internal-resolver
listen: ["127.0.0.1:0"]
state_dir: state
metrics: {listen: off}
resolver:
  validation: false
  allow: [127.0.0.0/8]
  forward: [{zone: ., to: [192.0.2.1]}]
views:
  - {name: policy-only, match: {clients: [127.0.1.0/24]}, policy: {deny: [127.0.1.66]}, resolver: {allow: [127.0.1.1]}}
  - {name: second, match: {clients: [127.0.2.0/24]}, resolver: {forward: [{zone: ., to: [192.0.2.2]}]}}
  - {name: third, match: {clients: [127.0.3.0/24]}, resolver: {forward: [{zone: ., to: [192.0.2.3]}, {zone: two.example, to: [192.0.2.2]}]}}
  - {name: none, match: {clients: [127.0.4.0/24]}, resolver: {recursion: false}}
  - {name: again, match: {clients: [127.0.5.0/24]}, resolver: {forward: [{zone: ., to: [192.0.2.2]}]}}
`

// TestViewsOfCache asks at random, as clients of views with other forwarders, for few names, again and
// again: nobody gets what another view has learned, and those who are resolved for alike are asked for once.
func TestViewsOfCache(t *testing.T) {
	net := lab.NewNet(lab.Options{Seed: 53})
	for n := byte(1); n <= 4; n++ {
		net.Handle(netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, n}), 53), forwarder(n))
	}
	r := startResolver(t, net, partsYAML)
	r.T = t
	answer := func(from, line string) string {
		t.Helper()
		return r.asked([]string{"udp", "tcp"}[len(line)%2], from, 0, nil, line)
	}
	random := rand.New(rand.NewPCG(53, 1))
	for i := range 400 {
		view := random.IntN(5)
		from := []string{"127.0.0.1", "127.0.1.1", "127.0.2.1", "127.0.3.1", "127.0.5.1"}[view]
		zone := []string{"one.example", "two.example"}[random.IntN(2)]
		want := []string{"198.51.100.1", "198.51.100.1", "198.51.100.2", "198.51.100.3", "198.51.100.2"}[view]
		if view == 3 && zone == "two.example" {
			want = "198.51.100.2"
		}
		if got := answer(from, fmt.Sprintf("n%d.%s. A +rd", random.IntN(8), zone)); got != want {
			t.Fatalf("question %d of view %d for %s: %s, want %s", i, view, zone, got, want)
		}
	}
	for from, want := range map[string]string{"127.0.1.66": "REFUSED", "127.0.1.2": "REFUSED", "127.0.4.1": "REFUSED"} {
		if got := answer(from, "n1.one.example. A +rd"); got != want {
			t.Errorf("from %s: %s", from, got)
		}
	}
	asked := map[byte]int{}
	for _, p := range net.Packets() {
		if to := p.To.Addr().As4(); p.To.Port() == 53 {
			asked[to[3]]++
		}
	}
	if asked[1] != 16 || asked[2] != 24 || asked[3] != 8 {
		t.Errorf("questions to the forwarders: %v; the views that are resolved for alike are to share them", asked)
	}

	// Explained as each view gets it, and moved to another by a reload.
	for view, want := range map[string]string{"second": "192.0.2.2:53", "": "192.0.2.1:53"} {
		if got, err := r.Explain("x.one.example", "A", view, false, false); err != nil || !strings.Contains(fmt.Sprint(got), want) {
			t.Errorf("explained for view %q: %v %v", view, got, err)
		}
	}
	listen := fmt.Sprintf("%q", r.Addrs()[0].String())
	r.write("port53.yaml", strings.Replace(strings.Replace(partsYAML, `"127.0.0.1:0"`, listen, 1), "to: [192.0.2.3]", "to: [192.0.2.4]", 1))
	if _, err := r.Reload(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := answer("127.0.3.1", "n1.one.example. A +rd"); got != "198.51.100.4" {
		t.Errorf("after the forwarder changed: %s", got)
	}
	if got := answer("127.0.2.1", "n1.one.example. A +rd"); got != "198.51.100.2" {
		t.Errorf("in another view: %s", got)
	}
	r.write("port53.yaml", strings.Replace(strings.Replace(partsYAML, `"127.0.0.1:0"`, listen, 1), "127.0.3.0/24", "127.0.2.0/25, 127.0.3.0/24", 1))
	if _, err := r.Reload(context.Background()); err == nil {
		if got := answer("127.0.2.1", "n1.one.example. A +rd"); got != "198.51.100.2" {
			t.Errorf("the first view that fits: %s", got)
		}
	} else {
		t.Error(err)
	}
}

// authority answers every question for an address as the server of all names: with an address of its own,
// that there is no such name, or not at all.
func authority(addr byte, rcode wire.Rcode) lab.Handler {
	return func(query []byte, _ netip.AddrPort, _ bool) []byte {
		var q wire.Query
		if q.Parse(query) != 0 {
			return nil
		}
		var b wire.Builder
		b.Start(make([]byte, 512), 512, 0, &q)
		b.SetFlags(wire.FlagAA)
		b.SetRcode(rcode)
		if rr := []byte{0xC0, 12, 0, 1, 0, 1, 0, 0, 1, 0, 0, 4, 198, 51, 100, addr}; rcode == wire.NoError && q.Type == wire.TypeA {
			copy(b.Grow(wire.Answer, len(rr), 1), rr)
		} else if rcode != wire.ServFail {
			rr := append([]byte{0, 0, 6, 0, 1, 0, 0, 0, 60, 0, 22, 0, 0}, make([]byte, 20)...)
			rr[len(rr)-1] = 60
			copy(b.Grow(wire.Authority, len(rr), 1), rr)
		}
		return b.Finish(nil, 0)
	}
}

// TestViewsOfRoots asks at the same time as clients of views with roots of their own, one of which has other
// addresses, one no names and one no answers: neither records nor denials nor failures of one are another's,
// nor does anybody wait for a question of another view.
func TestViewsOfRoots(t *testing.T) {
	net := lab.NewNet(lab.Options{Seed: 53})
	text := "role: internal-resolver\nlisten: [\"127.0.0.1:0\"]\nstate_dir: state\nmetrics: {listen: off}\n" +
		"resolver: {validation: false, allow: [127.0.0.0/8], root_hints: r1.hints}\nviews:\n"
	want := map[string]string{"127.0.1.1": "198.51.100.1", "127.0.2.1": "198.51.100.2", "127.0.3.1": "NXDOMAIN", "127.0.4.1": "SERVFAIL"}
	r := &running{T: t, dir: t.TempDir(), reload: make(chan os.Signal, 1), done: make(chan error, 1)}
	for n := byte(1); n <= 4; n++ {
		at := netip.AddrFrom4([4]byte{192, 0, 2, n})
		net.Handle(netip.AddrPortFrom(at, 53), authority(n, []wire.Rcode{0, 0, wire.NXDomain, wire.ServFail}[n-1]))
		net.SetLink(at, lab.Link{RTT: 2 * time.Millisecond})
		r.write(fmt.Sprintf("r%d.hints", n), fmt.Sprintf(". 3600 NS root.test.\nroot.test. 3600 A %v\n", at))
		text += fmt.Sprintf("  - {name: v%d, match: {clients: [127.0.%d.0/24]}, resolver: {root_hints: r%d.hints}}\n", n, n, n)
	}
	r.run(net, text)
	var wg sync.WaitGroup
	for from, what := range want {
		for worker := range 2 {
			wg.Go(func() {
				for i := range 60 {
					if got := r.asked("udp", from, 0, nil, fmt.Sprintf("n%d.example. A +rd", (i+30*worker)%60)); got != what {
						t.Errorf("from %s, question %d: %s, want %s", from, i, got, what)
					}
				}
			})
		}
	}
	wg.Wait()
}

// TestViewsDocument serves each configuration of docs/VIEWS.md, with addresses of this machine in the place
// of those of the document, and asks what stands below it.
func TestViewsDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/VIEWS.md")
	if err != nil {
		t.Fatal(err)
	}
	recipes := regexp.MustCompile("(?s)```yaml\n(.*?)```\n\n```\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(recipes) < 4 || len(recipes) != strings.Count(string(text), "```yaml") {
		t.Fatalf("%d recipes with questions", len(recipes))
	}
	here := strings.NewReplacer("10.0.0.0/8", "127.10.0.0/15", "10.9.0.0/16", "127.11.9.0/24", "10.9.0.1", "127.11.9.1", "10.9.2.3", "127.11.9.3",
		"10.8.0.0/16", "127.11.8.0/24", "10.8.0.1", "127.11.8.1", "10.1.2.3", "127.10.2.3", "203.0.113.7", "127.0.0.7", "[192.0.2.53, 10.0.0.53]",
		`["127.0.0.1:0", "127.10.0.53:0"]`, "[192.0.2.53]", `["127.0.0.1:0"]`, "listen: 10.0.0.53", "listen: 127.10.0.53")
	net := lab.NewNet(lab.Options{Seed: 53})
	for n := byte(1); n <= 2; n++ {
		net.Handle(netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, n}), 53), forwarder(n))
	}
	asked := 0
	for _, recipe := range recipes {
		r := &running{T: t, dir: t.TempDir(), reload: make(chan os.Signal, 1), done: make(chan error, 1)}
		for name, addr := range map[string]string{"office": "10.0.0.80", "public": "192.0.2.80", "intranet": "10.0.0.81", "shared": "192.0.2.82"} {
			r.write(name+".zone", "$TTL 60\n@ SOA ns.example. h.example. 1 2 3 4 5\n@ NS ns.example.\nwww A "+addr+"\n")
		}
		keys := map[string]*tsig.Key{}
		for name, key := range map[string]tsig.Key{"xfr-inside": xfr, "xfr-outside": ddns} {
			if err := os.MkdirAll(filepath.Join(r.dir, "keys"), 0o755); err != nil {
				t.Fatal(err)
			}
			r.write("keys/"+name, base64.StdEncoding.EncodeToString(key.Secret))
			if err := os.Chmod(filepath.Join(r.dir, "keys", name), 0o600); err != nil {
				t.Fatal(err)
			}
			key.Name = dnstest.Name(t, name+".")
			keys[name] = &key
		}
		unsigned := strings.Replace(recipe[1], "\nresolver:\n", "\nresolver:\n  validation: false\n", 1) // as the forwarders are
		r.run(net, here.Replace(unsigned)+"state_dir: state\nmetrics: {listen: off}\n")
		for line := range strings.Lines(recipe[2]) {
			question, want, _ := strings.Cut(strings.TrimSpace(line), ": ")
			words := strings.Fields(question)
			from, rest, at := here.Replace(words[0]), words[1:], 0
			if rest[0] == "@10.0.0.53" {
				at = 1
			}
			rest = slices.DeleteFunc(rest, func(w string) bool { return strings.HasPrefix(w, "@") })
			key := keys[rest[0]]
			if key != nil {
				rest = rest[1:]
			}
			for _, network := range []string{"udp", "tcp"} {
				asked++
				if got := r.asked(network, from, at, key, rest[0]+". "+rest[1]+" +rd"); got != want {
					t.Errorf("%s: %s over %s: %s\n%s", question, want, network, got, recipe[1])
				}
			}
		}
	}
	if asked < 38 {
		t.Errorf("%d questions", asked)
	}
}

// TestViewsSigned signs zones of views: one that was signed before keeps its keys, another of its name
// has others.
func TestViewsSigned(t *testing.T) {
	r := &running{T: t, dir: t.TempDir()}
	r.write("a.zone", says("a", 1))
	r.write("b.zone", says("b", 1))
	plain := "role: authoritative\nlisten: [\"127.0.0.1:0\"]\nstate_dir: state\nmetrics: {listen: off}\n"
	keyOf := func(from string) string {
		t.Helper()
		var m wire.Message
		msg := dnstest.ParseQuestion(t, "test. DNSKEY").Message()
		if m.Parse(r.as("tcp", netip.MustParseAddr(from), r.Addrs()[0], msg)) != 0 || len(m.Records) == 0 || m.Records[0].Type != wire.TypeDNSKEY {
			t.Fatalf("from %s: no key: %+v", from, m)
		}
		return string(m.Records[0].Data)
	}
	r.write("port53.yaml", plain+"zones:\n  - {name: test, file: a.zone, dnssec: {sign: true}}\n")
	if err := r.serve(io.Discard); err != nil {
		t.Fatal(err)
	}
	before := keyOf("127.0.0.1")
	r.end()
	r.write("port53.yaml", plain+"views: [{name: in, match: {clients: [127.0.1.1]}}]\nzones:\n"+
		"  - {name: test, file: a.zone, views: default, dnssec: {sign: true}}\n  - {name: test, file: b.zone, views: in, dnssec: {sign: true}}\n")
	for range 2 {
		if err := r.serve(io.Discard); err != nil {
			t.Fatal(err)
		}
		if keyOf("127.0.0.1") != before {
			t.Error("a zone that was given a view has another key than its parent knows")
		}
		if keyOf("127.0.1.1") == before {
			t.Error("zones of two views share a key")
		}
		r.end()
	}
}

// TestViewsFirewall lets through who may ask in any view, and nobody whom all of them deny.
func TestViewsFirewall(t *testing.T) {
	c, err := config.Parse("port53.yaml", []byte(`role: internal-resolver
listen: [192.0.2.53]
policy: {deny: [10.1.1.1, 10.2.2.2]}
resolver: {allow: [10.1.0.0/16]}
views:
  - {name: a, match: {clients: [10.2.0.0/16]}, resolver: {allow: [10.2.0.0/16]}, policy: {deny: [10.1.1.1]}}
`))
	if err != nil {
		t.Fatal(err)
	}
	plan, err := app.FirewallPlan(c)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(plan.Allow, plan.Deny, plan.Everybody); got != "[10.1.0.0/16 10.2.0.0/16] [10.1.1.1/32] false" {
		t.Error(got)
	}
	if c, err = config.Parse("port53.yaml", []byte("role: authoritative\nlisten: [192.0.2.53]\npolicy: {allow: [10.0.0.0/8]}\nviews: [{name: a, match: {key: k}, policy: {allow: []}}]\n"+
		"keys: [{name: k, secret: MDEyMzQ1Njc4OWFiY2RlZg==}]\nzones: [{name: test, file: a.zone}]\n")); err != nil {
		t.Fatal(err)
	}
	if plan, err = app.FirewallPlan(c); err != nil || !plan.Everybody {
		t.Errorf("a view that everybody may ask in: %+v %v", plan, err)
	}
}

// TestViewsKeys keeps names of directories apart that zones of one name have.
func TestViewsKeys(t *testing.T) {
	key := store.Key([]byte("\x04TEST\x00"), "in")
	if string(store.Apex(key)) != "\x04test\x00" || string(key) != "\x04test\x00in" {
		t.Errorf("%q", key)
	}
}
