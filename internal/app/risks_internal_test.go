package app

import (
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"port53/internal/config"
	"port53/internal/netif"
)

// The rows of the table of docs/EXPOSURE.md, each with a configuration that has the risk and no other. %s is the
// role; a file that is named is there.
var riskCases = map[string]struct {
	yaml string
	has  string            // the address of this machine
	mode map[string]uint32 // of files, if not 0640
}{
	"recursion for everybody, or for a network of more than one owner": {yaml: "resolver: {allow: [0.0.0.0/0]}\n"},
	"recursion for a public network, without rate limiting":            {yaml: "resolver: {allow: [198.51.100.0/24]}\npolicy: {rate_limit: {enabled: false}}\n"},
	"no rate limiting at a public address":                             {yaml: "listen: [198.51.100.53]\npolicy: {rate_limit: {enabled: false}}\nfirewall: {manage: true}\n"},
	"a public address is served":                                       {yaml: "listen: [198.51.100.53]\n"},
	"every address is served, and one is public":                       {yaml: "listen: [0.0.0.0]\n", has: "198.51.100.53/24"},
	"every address is served, and none is public":                      {yaml: "listen: [\"[::]:53\"]\n", has: "fd00::53/64"},
	"transfers without a key":                                          {yaml: "zones: [{name: test, file: test.zone, allow_transfer: [192.0.2.0/24]}]\n"},
	"transfers without a key to a public network larger than a site's": {yaml: "zones: [{name: test, file: test.zone, allow_transfer: [198.0.0.0/15], insecure: true}]\n"},
	"a secondary zone comes from a public address without a key":       {yaml: "zones: [{name: test, primaries: [198.51.100.1], insecure: true}]\n"},
	"updates without a key":                                            {yaml: "zones: [{name: test, file: test.zone, updates: [{names: [\"*\"]}]}]\n"},
	"the API without TLS on an address other than loopback":            {yaml: "listen: [127.0.0.1]\napi: {listen: 192.0.2.53}\n"},
	"the API without TLS there, because `api.expose` is set":           {yaml: "listen: [127.0.0.1]\napi: {listen: 192.0.2.53, expose: true}\n"},
	"the API without TLS there, because `expose.control` is set":       {yaml: "listen: [127.0.0.1]\napi: {listen: 192.0.2.53}\nexpose: {control: 192.0.2.0/24}\n"},
	"the file of a key that every user can read":                       {yaml: "keys: [{name: k, secret_file: secret}]\n", mode: map[string]uint32{"secret": 0o644}},
	"a secret in a configuration that every user can read":             {yaml: "keys: [{name: k, secret: MTIzNDU2Nzg5MDEyMzQ1Ng==}]\n", mode: map[string]uint32{"port53.yaml": 0o644}},
	"a DNSSEC key that every user can read":                            {mode: map[string]uint32{"state/keys/test/K.private": 0o644}},
	"a configuration that every user can write":                        {mode: map[string]uint32{"port53.yaml": 0o646}},
	"a state directory that every user can write":                      {mode: map[string]uint32{"state": 0o757}},
}

// TestRisks makes each risk of the table of docs/EXPOSURE.md in each role: what the table says comes of it, at the
// start as in config check, and a row has a case and a case a row.
func TestRisks(t *testing.T) {
	text, err := os.ReadFile("../../docs/EXPOSURE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "## At start")
	var roles []string
	rows := 0
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 6 || strings.HasPrefix(cells[0], " ---") {
			if strings.HasPrefix(line, "## ") {
				break
			}
			continue
		}
		for i := range cells {
			cells[i] = strings.Trim(cells[i], " `")
		}
		if roles == nil {
			roles = cells[1:5]
			continue
		}
		rows++
		if _, ok := riskCases[cells[0]]; !ok {
			t.Errorf("docs/EXPOSURE.md has %q, and no case has", cells[0])
			continue
		}
		for i, role := range roles {
			t.Run(cells[0]+"/"+role, func(t *testing.T) { checkRisk(t, cells[0], role, cells[i+1]) })
		}
	}
	if rows != len(riskCases) {
		t.Errorf("%d rows for %d cases", rows, len(riskCases))
	}
}

func checkRisk(t *testing.T, name, role, want string) {
	c := riskCases[name]
	dir := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o750), os.WriteFile(path, []byte(text), 0o640), os.Chmod(path, 0o640)); err != nil {
			t.Fatal(err)
		}
	}
	yaml := "role: " + role + "\nstate_dir: state\n" + c.yaml
	if !strings.Contains(yaml, "zones:") {
		yaml += "zones: [{name: test, file: test.zone}]\n"
	}
	if !strings.Contains(yaml, "listen:") && !strings.Contains(yaml, "rate_limit") {
		yaml += "listen: [127.0.0.1]\n"
	}
	write("port53.yaml", yaml)
	write("test.zone", "test. 300 SOA a. b. 1 2 3 4 5\ntest. 300 NS a.\n")
	write("secret", "MTIzNDU2Nzg5MDEyMzQ1Ng==\n")
	write("state/keys/test/K.private", "")
	for name, mode := range c.mode {
		if err := os.Chmod(filepath.Join(dir, name), os.FileMode(mode)); err != nil {
			t.Fatal(err)
		}
	}
	all := []netif.Address{{Interface: "lo", Prefix: netip.MustParsePrefix("127.0.0.1/8")}}
	if c.has != "" {
		all = append(all, netif.Address{Interface: "eth0", Prefix: netip.MustParsePrefix(c.has)})
	}
	conf, err := config.Load(filepath.Join(dir, "port53.yaml"))
	got, why := "-", ""
	if err != nil {
		got, why = "error", err.Error()
	} else if list := risks(conf, all); len(list) > 0 {
		got, why = "warning", strings.Join(list, "\n")
		if len(list) > 1 {
			t.Errorf("more than one risk: %s", why)
		}
	}
	if got != want {
		t.Errorf("%s, want %s: %s", got, want, why)
	}
}

// TestStatedRisks: what the configuration states is meant, and is no risk.
func TestStatedRisks(t *testing.T) {
	for _, yaml := range []string{
		"zones: [{name: test, file: test.zone, allow_transfer: [{address: 0.0.0.0/0}]}]\nexpose: {transfer: everybody}\n",
		"zones: [{name: test, file: test.zone, allow_transfer: [198.51.100.0/24], insecure: true}]\n",
		"zones: [{name: test, primaries: [10.0.0.1], insecure: true}]\n",
	} {
		c, err := config.Parse("port53.yaml", []byte("role: authoritative\n"+yaml))
		if err != nil {
			t.Fatal(err)
		}
		if list := risks(c, nil); len(list) > 0 {
			t.Errorf("%s: %v", yaml, list)
		}
	}
}

// TestRisksTold has a server log each risk once, and again if it comes back; config check has it among its notes.
func TestRisksTold(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "port53.yaml")
	if err := os.WriteFile(file, []byte("role: internal-resolver\nlisten: [\"0.0.0.0:0\"]\nmetrics: {listen: off}\ncontrol: {socket: off}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	checked, err := Check(t.Context(), c, false)
	if err != nil || !strings.Contains(strings.Join(checked.Notes, "\n"), "is served at 0.0.0.0:0") {
		t.Errorf("config check: %v, %+v", err, checked)
	}
	var log strings.Builder
	a := &App{log: slog.New(slog.NewTextHandler(&log, nil))}
	for _, list := range [][]netif.Address{nil, nil, {{Prefix: netip.MustParsePrefix("198.51.100.1/24")}}, nil} {
		a.tellRisks(c, list)
	}
	if n := strings.Count(log.String(), "exposed more"); n != 3 {
		t.Errorf("%d lines for a risk, another, and the first again:\n%s", n, log.String())
	}
}
