package app_test

import (
	"os"
	"strings"
	"testing"

	"port53/internal/app"
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
alias.example CNAME garden.test.
*.star.example CNAME *.garden.test.
`)
	r.write("two.zone", soaOf("1")+"24.0.100.51.198.rpz-ip CNAME .\nlate.example CNAME rpz-passthru.\n32.9.0.0.127.rpz-client-ip CNAME *.\n")
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
			"alias.example. A +rd":     "alias.example. 30 CNAME garden.test.",
			"www.star.example. A +rd":  "CNAME www.star.example.garden.test.",
			"www.other.example. A +rd": "NXDOMAIN", // by its address
			"late.example. A +rd":      answered,
		} {
			if got := r.ask("udp", line); !strings.Contains(got, want) {
				t.Errorf("%s: %q, want %q", line, got, want)
			}
		}
	}
	check()
	if got := r.ask("udp", "one.rpz. SOA +rd"); strings.Contains(got, "ns.one.rpz") {
		t.Errorf("a client is answered from a policy zone: %q", got)
	}
	if got := r.ask("udp", "nx. A +rd"); !strings.Contains(got, "one.rpz. 30 SOA") {
		t.Errorf("the policy's SOA record: %q", got)
	}
	if got := r.ask("udp", "alias.example. A +rd"); !strings.Contains(got, "garden.test. 30 A "+answered) {
		t.Errorf("what an alias leads to: %q", got)
	}
	for _, c := range [][2]string{{"x.nx", "nxdomain one.rpz. qname *.nx.one.rpz."}, {"late.example", "passthru two.rpz. qname late.example.two.rpz."}} {
		v, err := r.TestFilter(c[0], "A", "127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		f := v.(app.FilterTested)
		if got := strings.Join([]string{f.Action, f.List, f.Cause, f.Rule}, " "); got != c[1] {
			t.Errorf("%s: %q, want %q", c[0], got, c[1])
		}
	}
	if v, err := r.TestFilter("nx", "A", "127.0.0.8"); err != nil || v.(app.FilterTested).Action != "log" {
		t.Errorf("in a view that only counts: %+v, %v", v, err)
	}
	if v, err := r.TestFilter("www.test", "A", "127.0.0.9"); err != nil || v.(app.FilterTested).Action != "nodata" {
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
