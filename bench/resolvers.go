package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"port53/conformance/netns"
	"port53/conformance/peers"
)

// The resolvers that port53 is compared with, beside peers.BIND.
const (
	dnsmasq = "dnsmasq"
	unbound = "unbound"
	pdnsRec = "pdns-recursor"
	kresd   = "knot-resolver"
)

// resolverPrograms is the executable of each, as Debian installs it.
var resolverPrograms = map[string]string{pdnsRec: "pdns_recursor", kresd: "kresd"}

// roomForCache is the memory that every resolver may use for its cache: enough
// for all that is asked, so that none evicts and none is rewarded for it.
const (
	roomForCache   = 2 << 30
	roomForEntries = 4_000_000 // where a server counts entries
)

// A source is where a resolver gets its answers.
type source struct {
	forward netip.AddrPort // this server alone, if valid
	hints   string         // else a file of root hints
	anchors *anchors       // validate by these; nil: validate nothing
	entries int            // for a cache whose room is taken when it starts: no more than is needed
	more    string         // of port53's configuration
	secured *secured       // and what else it serves; nil: nothing
}

// anchors are the trust anchor of a root zone, in the forms that servers read.
type anchors struct {
	file   string // of a DNSKEY record
	dnskey string // flags, protocol, algorithm and the key in base64
	ds     string // tag, algorithm, digest type and digest
}

// configureResolver writes the configuration of a resolver into its folder and
// returns the command that runs it in the foreground. fast is a folder in memory
// for a cache that is a file.
func configureResolver(kind, binary, dir, fast string, addr netip.AddrPort, from source) ([]string, error) {
	write := func(name, text string) (string, error) {
		file := filepath.Join(dir, name)
		return file, os.WriteFile(file, []byte(text), 0o644)
	}
	host, port := addr.Addr(), addr.Port()
	forwarder := from.forward.Addr()
	switch kind {
	case peers.Port53:
		file, err := write("port53.yaml", port53Resolver(dir, addr, from))
		return []string{binary, "serve", "--config", file}, err
	case dnsproxy:
		return dnsproxyCommand(binary, addr, from), nil
	case dnsdist:
		file, err := write("dnsdist.conf", dnsdistConfig(addr, from))
		return []string{binary, "--supervised", "--disable-syslog", "-C", file}, err
	case dnsmasq:
		return []string{
			binary, "--keep-in-foreground", "--conf-file=/dev/null", "--log-facility=-", "--user=root", "--group=root", "--pid-file=",
			"--no-resolv", "--no-hosts", "--bind-interfaces", fmt.Sprintf("--listen-address=%s", host), fmt.Sprintf("--port=%d", port),
			fmt.Sprintf("--server=%s#%d", forwarder, from.forward.Port()), "--dns-forward-max=1000",
			"--max-cache-ttl=86400", fmt.Sprintf("--cache-size=%d", from.entries),
		}, nil
	case unbound:
		modules, source := "iterator", fmt.Sprintf("forward-zone:\n  name: \".\"\n  forward-addr: %s@%d\n", forwarder, from.forward.Port())
		roots := ""
		if !from.forward.IsValid() {
			source, roots = "", fmt.Sprintf("  root-hints: %q\n", from.hints)
		}
		if from.anchors != nil {
			modules, roots = "validator iterator", roots+fmt.Sprintf("  trust-anchor-file: %q\n", from.anchors.file)
		}
		if from.secured != nil {
			roots += unboundSecured(host, from.secured)
		}
		file, err := write("unbound.conf", fmt.Sprintf(`server:
  interface: %s@%d
  port: %[2]d
  num-threads: 1
  username: ""
  chroot: ""
  pidfile: ""
  directory: %[3]q
  use-syslog: no
  module-config: %[4]q
  do-not-query-localhost: no
  do-ip6: no
  access-control: 0.0.0.0/0 allow
  msg-cache-size: %[5]d
  rrset-cache-size: %[5]d
  key-cache-size: 64m
  outgoing-range: 4096
  num-queries-per-thread: 2048
  minimal-responses: yes
%[6]sremote-control:
  control-enable: no
%[7]s`, host, port, dir, modules, int64(roomForCache/2), roots, source))
		return []string{binary, "-d", "-c", file}, err
	case peers.BIND:
		source, validate := fmt.Sprintf("forward only; forwarders { %s port %d; };", forwarder, from.forward.Port()), "no"
		zones := ""
		if !from.forward.IsValid() {
			source, zones = "", fmt.Sprintf("zone \".\" { type hint; file %q; };\n", from.hints)
		}
		if from.anchors != nil {
			f := strings.Fields(from.anchors.dnskey)
			validate = "yes"
			zones += fmt.Sprintf("trust-anchors { . static-key %s %s %s %q; };\n", f[0], f[1], f[2], f[3])
		}
		if from.secured != nil {
			options, outside := bindSecured(host, from.secured)
			source, zones = source+" "+options, zones+outside
		}
		file, err := write("named.conf", fmt.Sprintf(`options {
  directory %[1]q; managed-keys-directory %[1]q; pid-file none; session-keyfile none;
  listen-on port %[3]d { %[2]s; }; listen-on-v6 { none; };
  recursion yes; allow-query { any; }; allow-recursion { any; }; recursive-clients 10000;
  minimal-responses yes; dnssec-validation %[4]s; max-cache-size unlimited; %[5]s
};
controls {};
%[6]s`, dir, host, port, validate, source, zones))
		return []string{binary, "-4", "-f", "-n", "1", "-c", file}, err
	case pdnsRec:
		source, validate := fmt.Sprintf("forward-zones-recurse=.=%s:%d\n", forwarder, from.forward.Port()), "off"
		if !from.forward.IsValid() {
			source = fmt.Sprintf("hint-file=%s\n", from.hints)
		}
		if from.anchors != nil {
			lua, err := write("recursor.lua", fmt.Sprintf("clearTA()\naddTA('.', '%s')\n", from.anchors.ds))
			if err != nil {
				return nil, err
			}
			validate, source = "validate", source+"lua-config-file="+lua+"\n"
		}
		// It wants its configuration in a folder, under a name of its choosing.
		_, err := write("recursor.conf", fmt.Sprintf(`local-address=%s
local-port=%d
socket-dir=%s
threads=1
pdns-distributes-queries=no
dnssec=%s
allow-from=0.0.0.0/0
dont-query=
query-local-address=0.0.0.0
setuid=
setgid=
daemon=no
quiet=yes
security-poll-suffix=
server-down-max-fails=0
max-cache-entries=%d
max-packetcache-entries=%[5]d
%s`, host, port, dir, validate, roomForEntries, source))
		return []string{binary, "--config-dir=" + dir}, err
	case kresd:
		text := fmt.Sprintf("log_level('crit')\nnet.listen('%s', %d)\nnet.ipv6 = false\ncache.open(%d, 'lmdb://%s')\n", host, port, int64(roomForCache), fast)
		if from.forward.IsValid() {
			text += fmt.Sprintf("policy.add(policy.all(policy.FORWARD('%s@%d')))\n", forwarder, from.forward.Port())
		} else {
			text += fmt.Sprintf("modules.load('hints')\nhints.root_file('%s')\n", from.hints)
		}
		text += "trust_anchors.remove('.')\n"
		if from.anchors != nil {
			text += fmt.Sprintf("modules.unload('ta_update')\nmodules.unload('ta_signal_query')\ntrust_anchors.add('. 3600 IN DS %s')\n", from.anchors.ds)
		}
		file, err := write("kresd.conf", text)
		return []string{binary, "-n", "-q", "-c", file, dir}, err
	}
	return nil, fmt.Errorf("no resolver is called %s", kind)
}

// port53Resolver writes YAML whose strings are JSON's, of which YAML is a
// superset.
func port53Resolver(dir string, addr netip.AddrPort, from source) string {
	quote := func(s string) string {
		b, err := json.Marshal(s)
		if err != nil {
			panic(err) // a string always marshals
		}
		return string(b)
	}
	allow := "127.0.0.0/8"
	if from.secured != nil { // clients come from many networks
		allow = fmt.Sprintf("%s, %s", addr.Addr(), netns.Many)
		from.more += port53Secured(addr.Addr(), from.secured)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "role: internal-resolver\nlisten: [%s]\nstate_dir: %s\nmetrics: {listen: off}\n", quote(addr.String()), quote(filepath.Join(dir, "state")))
	fmt.Fprintf(&b, "resolver:\n  allow: [%s]\n  do_not_query: []\n  ipv6: false\n  validation: %v\n  cache: {size: %dMiB}\n", allow, from.anchors != nil, roomForCache>>20)
	if from.forward.IsValid() {
		fmt.Fprintf(&b, "  forward: [{zone: \".\", to: [%s], only: true}]\n", quote(from.forward.String()))
	} else {
		fmt.Fprintf(&b, "  root_hints: %s\n", quote(from.hints))
	}
	if from.anchors != nil {
		fmt.Fprintf(&b, "  trust_anchors: %s\n", quote(from.anchors.file))
	}
	b.WriteString(from.more)
	return b.String()
}
