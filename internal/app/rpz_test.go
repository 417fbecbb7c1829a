package app_test

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"port53/internal/app"
	"port53/internal/wire"
)

func soaOf(serial string) string {
	return "$TTL 300\n@ SOA ns h " + serial + " 2h 1h 2w 5m\n@ NS ns\nns A 192.0.2.53\n"
}

// Policy zones of files: what they do, what a view has in their place, and that nobody is answered from
// them. A reload whose file is broken goes on with the version before.
func TestRPZ(t *testing.T) {
	r := &running{T: t, dir: t.TempDir(), reload: make(chan os.Signal, 1), done: make(chan error, 1)}
	r.write("one.zone", soaOf("1")+`nx CNAME .
*.nx CNAME .
good.nx CNAME rpz-passthru.
nodata.example CNAME *.
local.example A 192.0.2.80
local.example TXT "walled"
alias.example CNAME garden.net.
*.star.example CNAME *.garden.net.
`)
	r.write("two.zone", soaOf("1")+"24.0.100.51.198.rpz-ip CNAME .\nlate.example CNAME rpz-passthru.\n32.9.0.0.127.rpz-client-ip CNAME *.\n@ NS lost\n")
	text := filterYAML + `zones:
  - {name: one.rpz, file: one.zone}
  - {name: two.rpz, file: two.zone}
policy:
  rpz:
    - {zone: one.rpz, max_ttl: 30s, reason: filtered}
    - {zone: two.rpz}
views:
  - {name: lab, match: {clients: [127.0.0.8]}, policy: {rpz: [{zone: one.rpz, answer: log}]}}
`
	r.run(filterNet(), text)
	check := func() {
		t.Helper()
		for line, want := range map[string]string{
			"nx. A +rd":                "NXDOMAIN",
			"x.y.nx. A +rd":            "NXDOMAIN",
			"good.nx. A +rd":           answered, // what passes by one zone is not looked for in others
			"nodata.example. A +rd":    "NOERROR",
			"local.example. A +rd":     "local.example. 30 A 192.0.2.80",
			"local.example. TXT +rd":   "walled",
			"alias.example. A +rd":     "alias.example. 30 CNAME garden.net.",
			"www.star.example. A +rd":  "CNAME www.star.example.garden.net.",
			"www.other.example. A +rd": "NXDOMAIN", // by its address
			"late.example. A +rd":      answered,
		} {
			if got := r.ask("udp", line); !strings.Contains(got, want) {
				t.Errorf("%s: %q, want %q", line, got, want)
			}
		}
	}
	check()
	if z, ok := r.standing()["two.rpz."]; !ok || len(z.Problems) > 0 {
		t.Errorf("its name server has no address, which nobody needs: %v, %+v", ok, z.Problems)
	}
	if got := r.ask("udp", "one.rpz. SOA +rd"); strings.Contains(got, "ns.one.rpz") {
		t.Errorf("a client is answered from a policy zone: %q", got)
	}
	if got := r.ask("udp", "nx. A +rd"); !strings.Contains(got, "one.rpz. 30 SOA") {
		t.Errorf("the policy's SOA record: %q", got)
	}
	if got := r.ask("udp", "alias.example. A +rd"); !strings.Contains(got, "garden.net. 30 A "+answered) {
		t.Errorf("what an alias leads to: %q", got)
	}
	for _, c := range [][2]string{{"x.nx", "nxdomain one.rpz. qname *.nx.one.rpz."}, {"late.example", "passthru two.rpz. qname late.example.two.rpz."}} {
		v, err := r.TestFilter(c[0], "A", "127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		f := v.(app.FilterTestResult)
		if got := strings.Join([]string{f.Action, f.List, f.Cause, f.Rule}, " "); got != c[1] || !f.Zone || f.Later {
			t.Errorf("%s: %q, want %q", c[0], got, c[1])
		}
	}
	if v, err := r.TestFilter("nx", "A", "127.0.0.8"); err != nil || v.(app.FilterTestResult).Action != "log" {
		t.Errorf("in a view that only counts: %+v, %v", v, err)
	}
	for name, want := range map[string]bool{"never-asked.example": true, "late.example": false, "x.nx": false} {
		if v, err := r.TestFilter(name, "A", "127.0.0.1"); err != nil || v.(app.FilterTestResult).Later != want {
			t.Errorf("%s, of which the answer is not known: %+v, %v", name, v, err)
		}
	}
	if v, err := r.TestFilter("alias.example", "A", "127.0.0.1"); err != nil || v.(app.FilterTestResult).Target != "garden.net." {
		t.Errorf("an alias: %+v, %v", v, err)
	}
	if v, err := r.TestFilter("www.elsewhere.example", "A", "127.0.0.9"); err != nil || v.(app.FilterTestResult).Action != "nodata" {
		t.Errorf("by the client: %+v, %v", v, err)
	}

	r.write("one.zone", soaOf("2")+"nx CNAME\n")
	if _, err := r.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "one.rpz") {
		t.Errorf("a broken policy zone: %v", err)
	}
	check()
	r.write("one.zone", soaOf("3")+"other CNAME .\n")
	if _, err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.want("other. A +rd", "NXDOMAIN")
	r.write("port53.yaml", filterYAML)
	if _, err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.want("other. A +rd", answered)
}

// A policy zone that is fetched from a primary: by TSIG, after NOTIFY, by IXFR; who may transfer it is its
// own to say, and after a restart without the primary it is there.
func TestRPZTransfer(t *testing.T) {
	primary := startZones(t, "  - {name: test, file: test.zone, allow_transfer: [127.0.0.1], tsig: xfr}\n")
	rules := ""
	for i := range 100 {
		rules += fmt.Sprintf("n%d CNAME .\n*.n%d CNAME .\n", i, i)
	}
	change := func(serial int, more string) {
		t.Helper()
		primary.write("test.zone", soaOf(strconv.Itoa(serial))+rules+more)
		if _, err := primary.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	change(2, "bad CNAME .\n")
	r := &running{T: t, dir: t.TempDir(), reload: make(chan os.Signal, 1), done: make(chan error, 1)}
	at := primary.Addrs()[0].String()
	r.write("port53.yaml", fmt.Sprintf(`role: internal-resolver
listen: ["127.0.0.1:0"]
state_dir: state
metrics: {listen: off}
%sresolver: {validation: false, allow: [127.0.0.0/8], forward: [{zone: ., to: [%q], only: true}]}
zones: [{name: test, primaries: [%q], tsig: xfr, secondaries: [127.0.0.7]}]
policy: {rpz: [{zone: test}]}
`, keysYAML, at, at))
	if err := r.serve(io.Discard); err != nil {
		t.Fatal(err)
	}
	r.eventually("bad. A +rd", "NXDOMAIN")
	r.want("x.n7. A +rd", "NXDOMAIN")
	r.want("good. A +rd", "SERVFAIL") // the primary resolves nothing

	if reply := r.exchange("127.0.0.9:0", message(5, wire.OpcodeNotify, wire.TypeSOA)); wire.Rcode(reply[3]&15) != wire.Refused {
		t.Errorf("a stranger's NOTIFY: %v", wire.Rcode(reply[3]&15))
	}
	change(3, "good CNAME .\n*.good CNAME .\n")
	if reply := r.exchange("127.0.0.1:0", message(6, wire.OpcodeNotify, wire.TypeSOA)); wire.Rcode(reply[3]&15) != wire.NoError {
		t.Errorf("the primary's NOTIFY: %v", wire.Rcode(reply[3]&15))
	}
	r.eventually("x.good. A +rd", "NXDOMAIN")
	r.want("bad. A +rd", "SERVFAIL")
	until(t, "the second version", func() string { return r.trouble("test.") }, func() bool { return r.serial("test.") == 3 })
	st, err := r.Status("test.", "")
	if err != nil {
		t.Fatal(err)
	}
	if z := st.(app.Status).Zones[0]; z.Serial != 3 || z.History == 0 || z.Role != "secondary" {
		t.Errorf("it did not come by IXFR: %+v", z)
	}

	axfr := func() []byte { return message(7, wire.OpcodeQuery, wire.TypeAXFR) }
	if reply := r.exchange("127.0.0.7:0", sign(&xfr, axfr(), time.Now())); wire.Rcode(reply[3]&15) != wire.NoError || len(reply) < 1000 {
		t.Errorf("a transfer to one who may: %v, %d octets", wire.Rcode(reply[3]&15), len(reply))
	}
	if reply := r.exchange("127.0.0.7:0", axfr()); wire.Rcode(reply[3]&15) != wire.Refused {
		t.Errorf("a transfer without a signature: %v", wire.Rcode(reply[3]&15))
	}

	primary.end()
	r.end()
	if err := r.serve(io.Discard); err != nil {
		t.Fatal(err)
	}
	r.want("x.good. A +rd", "NXDOMAIN")
}
