package conformance_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"port53/conformance/peers"
)

// A keyHolder is a server that signs a zone, and leaves its keys behind.
type keyHolder struct {
	kind string
	// prepare writes a configuration for child.test, whose plain zone is in child.zone, and returns the
	// server's command, and that of the import after it has stopped.
	prepare func(h *handedOver) (command []string, imports func() (args []string, stdin string))
	rolling bool // it has a ZSK that was published for a roll
}

// A handedOver is a zone on its way from one server to another.
type handedOver struct {
	*testing.T
	dir    string
	addr   netip.AddrPort // of both, one after the other
	binary string         // of port53
}

func (h *handedOver) run(stdin, program string, args ...string) string {
	h.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		missing(h.T, err)
	}
	c := exec.Command(path, args...)
	c.Dir, c.Stdin = h.dir, strings.NewReader(stdin)
	out, err := c.CombinedOutput()
	if err != nil {
		h.Fatalf("%s %s: %v: %s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (h *handedOver) put(name, format string, args ...any) string {
	return put(h.T, filepath.Join(h.dir, name), format, args...)
}

// keys returns the DNSKEY set that is served, empty if none is.
func (h *handedOver) keys() (list []string) {
	h.Helper()
	text := h.run("", "dig", "@"+h.addr.Addr().String(), "-p", fmt.Sprint(h.addr.Port()), "+short", "+tries=2", "+time=5", "child.test", "DNSKEY")
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 3 && f[1] == "3" {
			list = append(list, f[0]+" "+f[2]+" "+strings.Join(f[3:], ""))
		}
	}
	slices.Sort(list)
	return list
}

func keyHolders() []keyHolder {
	return []keyHolder{
		{kind: peers.BIND, prepare: func(h *handedOver) ([]string, func() ([]string, string)) {
			h.put("named.conf", "options { directory %q; managed-keys-directory %[1]q; pid-file none; session-keyfile none; listen-on port %d { %s; }; listen-on-v6 { none; }; recursion no; notify no; };\ncontrols { };\n"+
				"dnssec-policy quick { keys { ksk lifetime unlimited algorithm ecdsap256sha256; zsk lifetime unlimited algorithm ecdsap256sha256; }; dnskey-ttl 1; max-zone-ttl 1; };\n"+
				"zone child.test { type primary; file \"child.zone\"; dnssec-policy quick; inline-signing yes; };\n", h.dir, h.addr.Port(), h.addr.Addr())
			return []string{"-f", "-n", "1", "-c", filepath.Join(h.dir, "named.conf")},
				func() ([]string, string) { return []string{h.dir}, "" }
		}},
		{kind: peers.Knot, rolling: true, prepare: func(h *handedOver) ([]string, func() ([]string, string)) {
			conf := h.put("knot.conf", "server:\n    listen: %s@%d\n    rundir: %s\ndatabase:\n    storage: %[3]s\npolicy:\n  - id: p\n    algorithm: ecdsap256sha256\n    dnskey-ttl: 1\n    zsk-lifetime: 0\n"+
				"zone:\n  - domain: child.test\n    storage: %[3]s\n    file: child.zone\n    zonefile-sync: -1\n    zonefile-load: difference-no-serial\n    journal-content: all\n    dnssec-signing: on\n    dnssec-policy: p\n", h.addr.Addr(), h.addr.Port(), h.dir)
			keymgr := func(args ...string) string { return h.run("", "keymgr", append([]string{"-c", conf}, args...)...) }
			for _, attributes := range [][]string{{"ksk=yes"}, {"ksk=no"}, {"ksk=no", "publish=+0", "ready=+1y", "active=+1y"}} {
				keymgr(append([]string{"child.test", "generate", "algorithm=13"}, attributes...)...)
			}
			return []string{"-c", conf}, func() ([]string, string) {
				return []string{"--dnskey-ttl", "1s", "--pem", filepath.Join(h.dir, "keys", "keys"), "-"}, keymgr("-j", "child.test", "list")
			}
		}},
		{kind: peers.PDNS, prepare: func(h *handedOver) ([]string, func() ([]string, string)) {
			schema, err := os.ReadFile("/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql")
			if err != nil {
				missing(h.T, err)
			}
			db := filepath.Join(h.dir, "p.db")
			h.run(string(schema), "sqlite3", db)
			h.put("pdns.conf", "launch=gsqlite3\ngsqlite3-database=%s\ngsqlite3-dnssec=yes\nlocal-address=%s\nlocal-port=%d\nsocket-dir=%s\nsetuid=\nsetgid=\nsecurity-poll-suffix=\nquery-local-address=127.0.0.1\ngsqlite3-pragma-synchronous=0\n",
				db, h.addr.Addr(), h.addr.Port(), h.dir)
			for _, args := range [][]string{
				{"load-zone", "child.test", filepath.Join(h.dir, "child.zone")},
				{"add-zone-key", "child.test", "ksk", "active", "ecdsa256"},
				{"add-zone-key", "child.test", "zsk", "active", "ecdsa256"},
				{"rectify-zone", "child.test"},
			} {
				h.run("", "pdnsutil", append([]string{"--config-dir=" + h.dir}, args...)...)
			}
			return []string{"--config-dir=" + h.dir, "--daemon=no", "--guardian=no", "--disable-syslog"},
				func() ([]string, string) { return []string{"--dnskey-ttl", "1s", db}, "" }
		}},
	}
}

// TestForeignKeys has BIND, Knot DNS and PowerDNS sign a zone, takes their keys over, and serves the same
// DNSKEY set; all keys are rolled then. At no time does a validator refuse an answer.
func TestForeignKeys(t *testing.T) {
	for _, holder := range keyHolders() {
		t.Run(holder.kind, func(t *testing.T) {
			t.Parallel()
			h := &handedOver{T: t, dir: t.TempDir(), addr: freeAddr(t), binary: subjectBinary(t, peers.Port53)}
			h.put("child.zone", "$TTL 1\n@ SOA ns.test. admin.test. 1 7200 3600 1209600 1\n@ NS ns.test.\nwww A 192.0.2.1\n")
			command, imports := holder.prepare(h)
			before := h.served(holder.kind, command)
			args, stdin := imports()
			file := len(args) - 1
			h.run(stdin, h.binary, slices.Concat([]string{"zone", "keys", "import", "--dir", "taken"}, args[:file], []string{"child.test"}, args[file:])...)
			h.goesOn(before, holder.rolling)
		})
	}
}

// served has the other server sign the zone, and returns the DNSKEY set that it served until it stopped.
func (h *handedOver) served(kind string, command []string) (keys []string) {
	h.Helper()
	peer, err := peers.Start(context.Background(), kind, peers.Options{Dir: h.dir, Addr: h.addr, Command: append([]string{subjectBinary(h.T, kind)}, command...), Unready: true})
	if err != nil {
		h.Fatal(err)
	}
	defer peer.Stop()
	for range 100 {
		time.Sleep(50 * time.Millisecond)
		c := exec.Command("dig", "@"+h.addr.Addr().String(), "-p", fmt.Sprint(h.addr.Port()), "+short", "+tries=1", "+time=1", "child.test", "DNSKEY")
		if out, err := c.Output(); err == nil && strings.Count(string(out), " 3 13 ") > 1 {
			return h.keys()
		}
	}
	h.Fatalf("%s does not sign: %s", kind, peer.Tail())
	return nil
}

// goesOn serves the zone with the keys that were taken over, and rolls them.
func (h *handedOver) goesOn(before []string, rolling bool) {
	h.Helper()
	ds := ""
	for line := range strings.Lines(h.run("", h.binary, "zone", "ds", "--dir", "taken", "child.test")) {
		ds += strings.Replace(line, "child.test.", "child", 1)
	}
	h.put("test.zone", "$TTL 1\n@ SOA ns admin 1 7200 3600 1209600 1\n@ NS ns\nns A 127.0.0.1\nchild NS ns\n%s", ds)
	h.put("child.zone", "$TTL 1\n@ SOA ns.test. admin.test. 1000 7200 3600 1209600 1\n@ NS ns.test.\nwww A 192.0.2.1\n")
	h.put("port53.yaml", `role: authoritative
listen: ["%[1]s"]
control: {socket: control.sock}
metrics: {listen: off}
state_dir: state
user: ""
keys: [{name: up, secret: MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY=}]
dnssec_policies: [{name: quick, watch: self, dnskey_ttl: 1s, propagation: 0s, parent: {check: ["%[1]s"], ds_ttl: 1s, propagation: 0s, push: {to: ["%[1]s"], tsig: up}}}]
zones:
  - {name: test, file: test.zone, dnssec: {sign: true}, updates: [{key: up, names: ["*"], types: [DS]}]}
  - {name: child.test, file: child.zone, dnssec: {policy: quick, keys_from: taken}}
`, h.addr)
	ours, err := peers.Start(context.Background(), peers.Port53, peers.Options{Dir: h.dir, Addr: h.addr, Command: []string{h.binary, "serve", "--config", filepath.Join(h.dir, "port53.yaml")}, Unready: true})
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(ours.Stop)
	if err := h.answers(); err != nil {
		h.Fatalf("%v\n%s", err, ours.Tail())
	}
	for line := range strings.Lines(h.run("", h.binary, "zone", "export", "--config", "port53.yaml", "test")) {
		if f := strings.Fields(line); len(f) > 4 && f[3] == "DNSKEY" {
			h.put("anchor", "trust-anchors { test. static-key %s %s %s \"%s\"; };\n", f[4], f[5], f[6], strings.Join(f[7:], ""))
		}
	}
	if after := h.keys(); !slices.Equal(before, after) {
		h.Errorf("the DNSKEY set was\n%s\nand is\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
	steps := 0
	settled := func(what string, done func(keys []string) bool) {
		h.Helper()
		for began := time.Now(); ; time.Sleep(300 * time.Millisecond) {
			h.validate(what)
			h.run("", h.binary, "zone", "keys", "look", "--config", "port53.yaml", "child.test")
			if steps++; done(h.keys()) {
				return
			}
			if time.Since(began) > 40*time.Second {
				h.Fatalf("%s does not end: %s", what, h.run("", h.binary, "zone", "keys", "--config", "port53.yaml", "child.test"))
			}
		}
	}
	if rolling {
		settled("the other server's roll", func(keys []string) bool { return len(keys) == len(before)-1 })
	}
	settled("the first steps", func([]string) bool {
		text := h.run("", h.binary, "zone", "keys", "--config", "port53.yaml", "child.test")
		return !strings.Contains(text, "rumoured") && !strings.Contains(text, "unretentive")
	})
	h.run("", h.binary, "zone", "keys", "roll", "--config", "port53.yaml", "child.test")
	settled("the roll", func(keys []string) bool {
		return len(keys) > 0 && !slices.ContainsFunc(keys, func(k string) bool { return slices.Contains(before, k) })
	})
	h.Logf("%d keys, %d looks", len(before), steps)
}

// answers waits until the server answers for the zone.
func (h *handedOver) answers() error {
	var said string
	for range 200 {
		out, err := exec.Command("dig", "@"+h.addr.Addr().String(), "-p", fmt.Sprint(h.addr.Port()), "+short", "+tries=1", "+time=1", "child.test", "SOA").CombinedOutput()
		if said = string(out); err == nil && strings.HasPrefix(said, "ns.test.") {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("no answer: %s", said)
}

// validate has delv validate a record and a proof that one is absent, from the parent's key down.
func (h *handedOver) validate(when string) {
	h.Helper()
	for _, q := range [][2]string{{"www.child.test", "; fully validated"}, {"none.child.test", "; negative response, fully validated"}} {
		out := h.run("", "delv", "@"+h.addr.Addr().String(), "-p", fmt.Sprint(h.addr.Port()), "-a", "anchor", "+root=test", q[0], "A")
		if !strings.Contains(out, q[1]) {
			h.Fatalf("%s: %s: %s", when, q[0], out)
		}
	}
}
