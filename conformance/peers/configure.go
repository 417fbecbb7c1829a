package peers

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// configure writes the configuration of a server into file and returns the
// command that runs it in the foreground.
func configure(kind, file string, o Options) ([]string, error) {
	binary := o.Binary
	if binary == "" {
		var err error
		if binary, err = Find(kind); err != nil {
			return nil, err
		}
	}
	var text string
	args := []string{binary}
	host, port := o.Addr.Addr().String(), o.Addr.Port()
	switch kind {
	case Port53:
		text, args = port53Config(o), append(args, "serve", "--config", file)
	case NSD:
		args = append(args, "-d", "-c", file)
		text = fmt.Sprintf(`server:
  ip-address: %s@%d
  username: ""
  chroot: ""
  pidfile: ""
  database: ""
  zonesdir: "/"
  xfrdfile: "%s/xfrd.state"
  xfrdir: "%[3]s"
  zonelistfile: "%[3]s/zone.list"
  server-count: 1
  reuseport: yes
  tcp-count: 2000
  tcp-query-count: 0
  ipv4-edns-size: %d
  ipv6-edns-size: %[4]d
  minimal-responses: yes
  rrl-ratelimit: 0
remote-control:
  control-enable: no
`, host, port, o.Dir, MaxUDP)
		for _, z := range o.Zones {
			text += fmt.Sprintf("zone:\n  name: \"%s\"\n  zonefile: \"%s\"\n", z.Name, z.File)
		}
	case Knot:
		args = append(args, "-c", file)
		text = fmt.Sprintf(`server:
  listen: %s@%d
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
  tcp-max-clients: 2000
  udp-max-payload: %d
  rundir: %s
database:
  storage: %[4]s
log:
  - target: stderr
    any: warning
template:
  - id: default
    semantic-checks: off
    zonefile-load: whole
    journal-content: none
zone:
`, host, port, MaxUDP, o.Dir)
		for _, z := range o.Zones {
			text += fmt.Sprintf("  - domain: \"%s\"\n    file: \"%s\"\n", z.Name, z.File)
		}
	case BIND:
		args = append(args, "-f", "-n", "1", "-c", file)
		limits, err := bindLimits(binary)
		if err != nil {
			return nil, err
		}
		text = fmt.Sprintf(`options {
  directory "%s"; managed-keys-directory "%[1]s"; pid-file none; session-keyfile none;
  listen-on port %[3]d { %[2]s; }; listen-on-v6 { none; };
  recursion no; notify no; allow-query { any; }; allow-transfer { none; };
  minimal-responses yes; minimal-any yes; zero-no-soa-ttl no; edns-udp-size %[4]d; max-udp-size %[4]d; tcp-clients 2000;
  dnssec-validation no; check-integrity no; %s
};
controls {};
`, o.Dir, host, port, MaxUDP, limits)
		for _, z := range o.Zones {
			text += fmt.Sprintf("zone \"%s\" { type primary; file \"%s\"; check-names ignore; };\n", strings.ReplaceAll(z.Name, `\`, `\\`), z.File)
		}
	case PDNS:
		zones := ""
		for _, z := range o.Zones {
			zones += fmt.Sprintf("zone \"%s\" { type native; file \"%s\"; };\n", z.Name, z.File)
		}
		named := filepath.Join(o.Dir, "named.conf")
		if err := os.WriteFile(named, []byte(zones), 0o644); err != nil {
			return nil, err
		}
		// PowerDNS wants its configuration in a folder, under a name of its choosing.
		file = filepath.Join(o.Dir, "pdns.conf")
		args = append(args, "--config-dir="+o.Dir)
		text = fmt.Sprintf("launch=bind\nbind-config=%s\nlocal-address=%s\nlocal-port=%d\nsocket-dir=%s\nreceiver-threads=1\nreuseport=yes\n"+
			"setuid=\nsetgid=\ndaemon=no\nguardian=no\ndistributor-threads=1\nudp-truncation-threshold=%d\n", named, host, port, o.Dir, MaxUDP)
	default:
		return nil, fmt.Errorf("no server is called %s: port53, nsd, knot, bind and pdns are", kind)
	}
	return args, os.WriteFile(file, []byte(text), 0o644)
}

// port53Config writes YAML whose strings are JSON's, of which YAML is a
// superset.
func port53Config(o Options) string {
	quote := func(s string) string {
		b, err := json.Marshal(s)
		if err != nil {
			panic(err) // a string always marshals
		}
		return string(b)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "role: authoritative\nlisten: [%s]\nstate_dir: %s\n", quote(o.Addr.String()), quote(filepath.Join(o.Dir, "state")))
	if len(o.Zones) > 0 {
		b.WriteString("zones:\n")
	}
	for _, z := range o.Zones {
		fmt.Fprintf(&b, "  - {name: %s, file: %s}\n", quote(z.Name), quote(z.File))
	}
	b.WriteString("metrics: {listen: off}\n") // several may run at once
	if o.Config == "" {
		b.WriteString("policy: {rate_limit: {enabled: false}}\n")
	}
	b.WriteString(o.Config)
	return b.String()
}

var bindOption = regexp.MustCompile(`max-records-per-type`)

// bindLimits lifts BIND's bounds on the size of RRsets and nodes where it has
// them: releases differ, so its own checker is asked.
func bindLimits(named string) (string, error) {
	check := filepath.Join(filepath.Dir(named), "named-checkconf")
	if _, err := os.Stat(check); err != nil {
		if check, err = exec.LookPath("named-checkconf"); err != nil {
			return "", nil
		}
	}
	cmd := exec.Command(check, "/dev/stdin")
	cmd.Stdin = strings.NewReader("options { max-records-per-type 0; max-types-per-name 0; };\n")
	out, err := cmd.CombinedOutput()
	if err != nil && bindOption.Match(out) {
		return "", nil
	}
	return "max-records-per-type 0; max-types-per-name 0;", nil
}
