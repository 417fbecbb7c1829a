package conformance_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"port53/conformance/peers"
	"port53/conformance/probe"
)

// An imported is a configuration of another server, of whose zones port53 has to give the
// same answers when it has imported it.
type imported struct {
	name, kind string
	// write writes the configuration for an address into a folder, and returns its main
	// file and the zones that it has.
	write func(t *testing.T, dir string, addr netip.AddrPort) (file string, zones []string)
}

// The name servers of a zone are not added to answers (the others can be told so too).
const importedZone = "$TTL 300\n@ SOA ns hostmaster 7 3600 600 86400 60\n@ NS ns\nns A 192.0.2.1\nwww AAAA 2001:db8::1\n*.wild TXT x\nalias CNAME www\nsub NS ns.sub\nns.sub A 192.0.2.77\n"

func put(t *testing.T, file, format string, args ...any) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, fmt.Appendf(nil, format, args...), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// zoneFiles writes so many zones below a folder, in files of an ending.
func zoneFiles(t *testing.T, dir, above, ending string, n int) (names []string) {
	t.Helper()
	for i := range n {
		name := fmt.Sprintf("zone%d.%s", i, above)
		put(t, filepath.Join(dir, name+ending), "%s", importedZone)
		names = append(names, name)
	}
	return names
}

// imports are the configurations that Debian's packages bring, and larger ones.
func imports() []imported {
	return []imported{
		{"debian", peers.BIND, func(t *testing.T, dir string, addr netip.AddrPort) (string, []string) {
			options := fmt.Sprintf("options { directory %q; managed-keys-directory %[1]q; pid-file none; session-keyfile none; listen-on port %d { %s; }; listen-on-v6 { none; }; recursion no; minimal-responses yes; zero-no-soa-ttl no; };\ncontrols { };\n", dir, addr.Port(), addr.Addr())
			return put(t, dir+"/named.conf", "%sinclude \"/etc/bind/named.conf.local\";\ninclude \"/etc/bind/named.conf.default-zones\";\n", options),
				[]string{"localhost", "127.in-addr.arpa", "0.in-addr.arpa", "255.in-addr.arpa"}
		}},
		{"hosting", peers.BIND, func(t *testing.T, dir string, addr netip.AddrPort) (string, []string) {
			names := zoneFiles(t, dir+"/data", "hosting.test", ".db", 40)
			put(t, dir+"/keys.conf", "key \"xfr.hosting\" {\n\talgorithm hmac-sha256;\n\tsecret %q;\n};\n", xferSecret)
			var zones strings.Builder
			for i, name := range names {
				fmt.Fprintf(&zones, "zone %q IN {\n  type master; // as it was called\n  file \"data/%[1]s.db\";\n", name)
				switch i % 3 {
				case 1:
					zones.WriteString("  allow-transfer { key xfr.hosting; };\n  also-notify { 127.0.0.1 port 5399 key xfr.hosting; };\n")
				case 2:
					zones.WriteString("  allow-query { any; }; /* everybody */\n  notify no;\n")
				}
				zones.WriteString("};\n")
			}
			put(t, dir+"/zones.conf", "%s", zones.String())
			return put(t, dir+"/named.conf", "acl partners { 192.0.2.0/24; !192.0.2.66; 2001:db8::/32; };\noptions {\n  directory %q; managed-keys-directory %[1]q; pid-file none; session-keyfile none;\n  listen-on port %d { %s; }; listen-on-v6 { none; };\n  recursion no; allow-transfer { none; }; notify no; minimal-responses yes; zero-no-soa-ttl no; version \"none\"; # hidden\n};\ncontrols { };\nlogging { category lame-servers { null; }; };\ninclude \"keys.conf\";\ninclude %q;\n", dir, addr.Port(), addr.Addr(), dir+"/zones.conf"), names
		}},
		{"campus", peers.BIND, func(t *testing.T, dir string, addr netip.AddrPort) (string, []string) {
			names := zoneFiles(t, dir+"/pri", "campus.test", "", 30)
			for i := range 16 {
				name := fmt.Sprintf("%d.20.10.in-addr.arpa", i)
				put(t, dir+"/pri/"+name, "%s", importedZone)
				names = append(names, name)
			}
			var zones strings.Builder
			for _, name := range names {
				fmt.Fprintf(&zones, "zone \"%s\" { type primary; file \"pri/%[1]s\"; allow-transfer { 192.0.2.7; key campus; }; allow-update { key campus; }; };\n", name)
			}
			return put(t, dir+"/named.conf", "key campus { algorithm \"hmac-sha512\"; secret %q; };\nprimaries others { 192.0.2.8 key campus; 192.0.2.9 port 5353 key campus; };\noptions { directory %q; managed-keys-directory %[2]q; pid-file none; session-keyfile none; listen-on port %d { %s; }; listen-on-v6 { none; }; recursion no; notify no; minimal-responses yes; zero-no-soa-ttl no; allow-query { 127.0.0.0/8; 10.0.0.0/8; }; };\ncontrols { };\n%s", xferSecret, dir, addr.Port(), addr.Addr(), zones.String()), names
		}},
		{"nested", peers.BIND, func(t *testing.T, dir string, addr netip.AddrPort) (string, []string) {
			// Files that include files, of the configuration and of the zones.
			names := []string{}
			for i := range 20 {
				name := fmt.Sprintf("n%d.nested.test", i)
				names = append(names, name)
				put(t, dir+"/"+name, "$TTL 300\n@ SOA ns hostmaster 7 3600 600 86400 60\n@ NS ns\n$INCLUDE common/hosts\n$ORIGIN sub.%s.\nwww A 192.0.2.5\n", name)
				put(t, dir+"/conf.d/"+name+".conf", "zone \"%s\" { type master; file \"%[1]s\"; };\n", name)
			}
			put(t, dir+"/common/hosts", "ns A 192.0.2.1\nwww AAAA 2001:db8::1\nalias CNAME www\n")
			list := ""
			for _, name := range names {
				list += fmt.Sprintf("include %q;\n", dir+"/conf.d/"+name+".conf")
			}
			put(t, dir+"/all.conf", "// every zone has a file of its own\n%s", list)
			return put(t, dir+"/named.conf", "options { directory %q; managed-keys-directory %[1]q; pid-file none; session-keyfile none; listen-on port %d { %s; }; listen-on-v6 { none; }; recursion no; notify no; minimal-responses yes; zero-no-soa-ttl no; };\ncontrols { };\ninclude \"all.conf\";\n", dir, addr.Port(), addr.Addr()), names
		}},
		{"debian", peers.NSD, func(t *testing.T, dir string, addr netip.AddrPort) (string, []string) {
			names := zoneFiles(t, dir, "nsd.test", ".zone", 1)
			return put(t, dir+"/nsd.conf", "include: \"/etc/nsd/nsd.conf\"\nserver:\n%sremote-control:\n  control-enable: no\nzone:\n  name: %s\n  zonefile: %[2]s.zone\n", nsdBasics(dir, addr), names[0]), names
		}},
		{"patterns", peers.NSD, func(t *testing.T, dir string, addr netip.AddrPort) (string, []string) {
			names := zoneFiles(t, dir+"/z", "patterns.test", ".zone", 80)
			var zones strings.Builder
			for i, name := range names {
				pattern := []string{"shared", "quiet"}[i%2]
				fmt.Fprintf(&zones, "zone:\n\tname: \"%s\"\n\tinclude-pattern: \"%s\"\n", name, pattern)
			}
			put(t, dir+"/zones.conf", "%s", zones.String())
			return put(t, dir+"/nsd.conf", "server:\n%sremote-control:\n  control-enable: no\nkey:\n  name: \"xfr\"\n  algorithm: hmac-sha256\n  secret: %q\npattern:\n  name: \"quiet\"\n  zonefile: \"z/%%s.zone\"\npattern:\n  name: \"shared\"\n  include-pattern: \"quiet\"\n  notify: 127.0.0.1@5399 xfr\n  provide-xfr: 127.0.0.1 xfr\n  provide-xfr: 192.0.2.0/24 xfr\ninclude: \"%[3]s/zones.conf\"\n", nsdBasics(dir, addr), xferSecret, dir), names
		}},
		{"debian", peers.Knot, func(t *testing.T, dir string, addr netip.AddrPort) (string, []string) {
			names := zoneFiles(t, dir, "knot.test", ".zone", 1)
			shipped, err := os.ReadFile("/etc/knot/knot.conf")
			if err != nil {
				missing(t, err)
			}
			// Its listener, user and folders are the system's.
			text := regexp.MustCompile(`(?m)^\s*(listen|rundir|user|storage):.*$`).ReplaceAllString(string(shipped), "")
			text = strings.Replace(text, "server:", fmt.Sprintf("server:\n    rundir: %s\n    listen: %s@%d", dir, addr.Addr(), addr.Port()), 1)
			text = strings.Replace(text, "database:", "database:\n    storage: "+dir, 1)
			text = strings.Replace(text, "template:\n  - id: default", "template:\n  - id: default\n    storage: "+dir, 1)
			if strings.Contains(text, "\nzone:") {
				text = strings.Replace(text, "\nzone:", fmt.Sprintf("\nzone:\n  - domain: %s\n    file: %[1]s.zone\n", names[0]), 1)
			} else {
				text += fmt.Sprintf("\nzone:\n  - domain: %s\n    file: %[1]s.zone\n", names[0])
			}
			return put(t, dir+"/knot.conf", "%s", text), names
		}},
		{"templates", peers.Knot, func(t *testing.T, dir string, addr netip.AddrPort) (string, []string) {
			names := zoneFiles(t, dir+"/z", "templates.test", ".zone", 80)
			var zones strings.Builder
			zones.WriteString("zone:\n")
			for i, name := range names {
				fmt.Fprintf(&zones, "  - domain: %s\n", name)
				if i%2 == 1 {
					zones.WriteString("    template: shared\n")
				}
			}
			put(t, dir+"/zones.conf", "%s", zones.String())
			return put(t, dir+"/knot.conf", "server:\n    listen: %s@%d\n    rundir: %s\ndatabase:\n    storage: %[3]s\nlog:\n  - target: stderr\n    any: warning\nkey:\n  - id: xfr\n    algorithm: hmac-sha256\n    secret: %[4]s\nremote:\n  - id: other\n    address: [ 127.0.0.1@5399 ]\n    key: xfr\nacl:\n  - id: give\n    address: [ 127.0.0.1, 192.0.2.0/24 ]\n    key: xfr\n    action: transfer\n  - id: change\n    key: xfr\n    action: update\ntemplate:\n  - id: default\n    storage: %[3]s/z\n    file: \"%%s.zone\"\n    semantic-checks: on\n  - id: shared\n    storage: %[3]s/z\n    file: \"%%s.zone\"\n    notify: other\n    acl: [ give, change ]\ninclude: %[3]s/zones.conf\n", addr.Addr(), addr.Port(), dir, xferSecret), names
		}},
	}
}

func nsdBasics(dir string, addr netip.AddrPort) string {
	return fmt.Sprintf("  ip-address: %s@%d\n  username: \"\"\n  chroot: \"\"\n  pidfile: \"\"\n  database: \"\"\n  zonesdir: %q\n  xfrdfile: \"%[3]s/xfrd.state\"\n  xfrdir: %[3]q\n  zonelistfile: \"%[3]s/zone.list\"\n  server-count: 1\n  rrl-ratelimit: 0\n  minimal-responses: yes\n", addr.Addr(), addr.Port(), dir)
}

var importedListen = regexp.MustCompile(`(?m)^listen: .*$`)

// TestImport shows that port53 with an imported configuration answers as the server
// that the configuration was written for.
func TestImport(t *testing.T) {
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range imports() {
		t.Run(c.kind+"-"+c.name, func(t *testing.T) {
			dir := t.TempDir()
			addr := freeAddr(t)
			file, names := c.write(t, dir, addr)
			command := map[string][]string{peers.BIND: {"-f", "-n", "1", "-c", file}, peers.NSD: {"-d", "-c", file}, peers.Knot: {"-c", file}}[c.kind]
			peer, err := peers.Start(context.Background(), c.kind, peers.Options{Dir: dir, Addr: addr, Command: append([]string{subjectBinary(t, c.kind)}, command...), Unready: true})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(peer.Stop)
			cmd := exec.Command(bin, "import", "--from", c.kind, file)
			var told strings.Builder
			cmd.Stderr = &told
			out, err := cmd.Output()
			if len(out) == 0 {
				t.Fatalf("%v\n%s", err, told.String())
			}
			if n := strings.Count(string(out), "  - name: "); n < len(names) {
				t.Fatalf("%d zones are imported, not %d:\n%s\n%s", n, len(names), out, told.String())
			}
			free, state := freeAddr(t), t.TempDir()
			text := importedListen.ReplaceAllString(string(out), fmt.Sprintf("listen: [%q]", free.String()))
			conf := put(t, filepath.Join(state, "port53.yaml"), "%s\nstate_dir: %q\nmetrics: {listen: off}\n", text, state)
			if err := os.Chmod(conf, 0o600); err != nil {
				t.Fatal(err)
			}
			ours, err := peers.Start(context.Background(), peers.Port53, peers.Options{Dir: state, Addr: free, Command: []string{bin, "serve", "--config", conf}, Unready: true})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(ours.Stop)
			var zones []peers.Zone
			var questions []asked
			for _, name := range names {
				zones = append(zones, peers.Zone{Name: name + "."})
				zone, err := probe.Name(name + ".")
				if err != nil {
					t.Fatal(err)
				}
				for _, label := range []string{"", "www.", "alias.", "a.wild.", "none.", "x.sub."} {
					owner, err := probe.Name(label + name + ".")
					if err != nil {
						t.Fatal(err)
					}
					for _, qtype := range []uint16{1, 6, 15, 16} { // A, SOA, MX, TXT
						questions = append(questions, asked{Question: probe.Question{Name: owner, Type: qtype, ID: 53}, zone: string(zone)})
					}
				}
			}
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			for _, s := range []*peers.Server{peer, ours} {
				if err := s.Ready(ctx, zones); err != nil {
					t.Fatalf("%v\n%s\n%s", err, s.Tail(), out)
				}
			}
			differential(t, ours, []*peers.Server{peer}, questions)
			t.Logf("%d zones, %d questions", len(names), len(questions))
		})
	}
}
