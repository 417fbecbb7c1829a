package conformance_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"port53/conformance/peers"
)

// A catalogSide is a server that makes a catalog of zones, or serves what one names.
type catalogSide struct {
	kind        string
	dir         string
	addr, other netip.AddrPort
	produces    bool
	members     []string // of a producer; the zone grouped.test is in the group special
	server      *peers.Server
}

const catalogZone = "cat.test"

// write writes the configuration, and what belongs to it.
func (s *catalogSide) write(t *testing.T) (command []string) {
	t.Helper()
	put := func(name, text string) string {
		file := filepath.Join(s.dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	for _, m := range s.members {
		put(m+".zone", "$TTL 60\n@ SOA ns.invalid. admin.invalid. 1 3600 600 86400 60\n@ NS ns.invalid.\nwww A 192.0.2.80\n")
	}
	host, port, peer, peerPort := s.addr.Addr(), s.addr.Port(), s.other.Addr(), s.other.Port()
	var b strings.Builder
	add := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	binary := subjectBinary(t, s.kind)
	switch s.kind {
	case peers.Port53:
		add("role: authoritative\nlisten: [%q]\nstate_dir: %s/state\nmetrics: {listen: off}\nkeys: [{name: xfr, secret: %s}]\nzones:\n", s.addr, s.dir, xferSecret)
		if s.produces {
			add("  - {name: %s, catalog: produce, secondaries: [%q], tsig: xfr}\n", catalogZone, s.other)
			for _, m := range s.members {
				group := ""
				if m == "grouped.test" {
					group = ", group: special"
				}
				add("  - {name: %s, file: %[1]s.zone, secondaries: [%q], tsig: xfr, in_catalog: %s%s}\n", m, s.other, catalogZone, group)
			}
		} else {
			add("  - {name: %s, primaries: [%q], tsig: xfr, catalog: consume}\n", catalogZone, s.other)
		}
		return []string{binary, "serve", "--config", put("port53.yaml", b.String())}
	case peers.BIND:
		add("key xfr { algorithm hmac-sha256; secret %q; };\ncontrols {};\nserver %s { keys xfr; };\n", xferSecret, peer)
		add("options { directory %q; managed-keys-directory %[1]q; pid-file none; session-keyfile none; listen-on port %d { %s; }; listen-on-v6 { none; };\n  recursion no; dnssec-validation no; notify-delay 0; serial-query-rate 100; allow-new-zones yes;\n", s.dir, port, host)
		if !s.produces {
			add("  catalog-zones { zone %q default-primaries { %s port %d key xfr; } in-memory yes min-update-interval 0; };\n};\nzone %[1]q { type secondary; file \"cat.db\"; primaries { %[2]s port %[3]d key xfr; }; notify no; };\n", catalogZone, peer, peerPort)
			return []string{binary, "-f", "-n", "1", "-c", put("named.conf", b.String())}
		}
		add("};\n")
		for _, m := range append([]string{catalogZone}, s.members...) {
			add("zone %q { type primary; file \"%[1]s.zone\"; notify explicit; also-notify { %s port %d key xfr; }; allow-transfer { key xfr; }; };\n", m, peer, peerPort)
		}
		catalog := fmt.Sprintf("$TTL 0\n@ SOA invalid. invalid. %d 3600 600 86400 0\n@ NS invalid.\nversion TXT \"2\"\n", uint32(time.Now().UnixMilli()/10))
		for _, m := range s.members {
			catalog += fmt.Sprintf("id-%s.zones PTR %s.\n", strings.TrimSuffix(m, ".test"), m)
			if m == "grouped.test" {
				catalog += "group.id-grouped.zones TXT special\n"
			}
		}
		put(catalogZone+".zone", catalog)
		return []string{binary, "-f", "-n", "1", "-c", put("named.conf", b.String())}
	case peers.Knot:
		add("server:\n  listen: %s@%d\n  rundir: %s\n  background-workers: 1\ndatabase:\n  storage: %[3]s\nlog:\n  - target: stderr\n    any: info\nkey:\n  - id: xfr\n    algorithm: hmac-sha256\n    secret: %[4]s\nremote:\n  - id: other\n    address: %[5]s@%[6]d\n    key: xfr\nacl:\n  - id: all\n    address: 127.0.0.1\n    key: xfr\n    action: [transfer, notify]\n",
			host, port, s.dir, xferSecret, peer, peerPort)
		if !s.produces {
			add("template:\n  - id: member\n    master: other\n    acl: all\n    storage: %s\n    zonefile-sync: -1\nzone:\n  - domain: %s\n    master: other\n    acl: all\n    storage: %[1]s\n    zonefile-sync: -1\n    catalog-role: interpret\n    catalog-template: member\n", s.dir, catalogZone)
			return []string{binary, "-c", put("knot.conf", b.String())}
		}
		add("zone:\n  - domain: %s\n    storage: %s\n    acl: all\n    notify: other\n    catalog-role: generate\n    zonefile-sync: -1\n", catalogZone, s.dir)
		for _, m := range s.members {
			add("  - domain: %s\n    storage: %s\n    file: %[1]s.zone\n    acl: all\n    notify: other\n    zonefile-sync: -1\n    catalog-role: member\n    catalog-zone: %[3]s\n", m, s.dir, catalogZone)
			if m == "grouped.test" {
				add("    catalog-group: special\n")
			}
		}
		return []string{binary, "-c", put("knot.conf", b.String())}
	}
	t.Fatalf("%s has no catalogs here", s.kind)
	return nil
}

func (s *catalogSide) start(t *testing.T) {
	t.Helper()
	var err error
	s.server, err = peers.Start(context.Background(), s.kind, peers.Options{Dir: s.dir, Addr: s.addr, Command: s.write(t), Unready: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.server.Stop)
}

// await waits until the server answers for zones, and for others not.
func (s *catalogSide) await(t *testing.T, served, refused []string) {
	t.Helper()
	c := dns.Client{Timeout: 200 * time.Millisecond}
	wrong := ""
	for began := time.Now(); time.Since(began) < 20*time.Second; time.Sleep(20 * time.Millisecond) {
		wrong = ""
		for i, name := range append(append([]string{}, served...), refused...) {
			r, _, err := c.Exchange(new(dns.Msg).SetQuestion("www."+name+".", dns.TypeA), s.addr.String())
			if got := err == nil && r.Rcode == dns.RcodeSuccess && len(r.Answer) == 1; got != (i < len(served)) {
				wrong = fmt.Sprintf("%s: %v %v", name, r, err)
			}
		}
		if wrong == "" {
			return
		}
	}
	t.Fatalf("%s: %s\n%s", s.kind, wrong, s.server.Tail())
}

// TestCatalogs has port53 make catalogs that BIND and Knot follow, and follow theirs:
// zones that are added are served, and zones that leave are not.
func TestCatalogs(t *testing.T) {
	for _, pair := range [][2]string{{peers.Port53, peers.BIND}, {peers.Port53, peers.Knot}, {peers.Port53, peers.Port53}, {peers.BIND, peers.Port53}, {peers.Knot, peers.Port53}} {
		t.Run(pair[0]+"-to-"+pair[1], func(t *testing.T) {
			ports := [2]netip.AddrPort{freeAddr(t), freeAddr(t)}
			producer := &catalogSide{kind: pair[0], dir: t.TempDir(), addr: ports[0], other: ports[1], produces: true, members: []string{"one.test", "grouped.test"}}
			consumer := &catalogSide{kind: pair[1], dir: t.TempDir(), addr: ports[1], other: ports[0]}
			producer.start(t)
			producer.await(t, producer.members, nil)
			consumer.start(t)
			consumer.await(t, producer.members, []string{"two.test"})
			producer.members = []string{"two.test", "grouped.test"}
			producer.write(t)
			if err := producer.server.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			producer.await(t, producer.members, nil)
			consumer.await(t, producer.members, []string{"one.test"})
		})
	}
}
