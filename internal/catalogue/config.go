package catalogue

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"port53/internal/check"
	"port53/internal/config"
	"port53/internal/finding"
	"port53/internal/wire"
)

// GroupConfig is the checks of a configuration, which need no network.
const GroupConfig finding.Group = "Configuration"

// What the checks of configurations judge by.
const (
	transferBits4 = 24                  // a network of which all are taken for secondaries
	transferBits6 = 48                  // the same
	anchorMax     = 30 * 24 * time.Hour // for which a zone may go without validation (RFC 7646, section 2)
	clientsMax    = 100                 // connections of one address: NAT of a building
	connIdleMax   = 60 * time.Second    // as SRV-TCP-IDLE
	packetsMax    = 500                 // sent for one question: four times the default
	signaturesMax = 128                 // the same
	hashesMax     = 5000                // the same
)

// audited is a configuration under audit.
type audited struct {
	c    *config.Config
	line map[string]int // of the settings that the file has
	out  []finding.Finding
}

// find notes that something is wrong with a setting.
func (a *audited) find(s finding.State, sev finding.Severity, key, format string, args ...any) {
	a.out = append(a.out, finding.Finding{State: s, Severity: sev, Key: key, Detail: key + ": " + fmt.Sprintf(format, args...), Line: a.line[key]})
}

// audit makes a Run of a judgement on the configuration.
func audit(judge func(a *audited)) func(context.Context, *check.Run) []finding.Finding {
	return func(_ context.Context, r *check.Run) []finding.Finding {
		if r.Config == nil {
			return finding.Unmeasured(finding.Evidence{Command: "port53 check --config FILE"}, errors.New("there is no configuration"))
		}
		file := r.Config.File()
		ev := finding.Evidence{Command: "port53 config show --config '" + strings.ReplaceAll(file, "'", `'\''`) + "'"}
		a := &audited{c: r.Config, line: map[string]int{}}
		for _, s := range r.Config.Effective() {
			if i := strings.LastIndexByte(s.Origin, ':'); i >= 0 && s.Origin != config.OriginDefault {
				a.line[s.Key], _ = strconv.Atoi(s.Origin[i+1:])
			}
		}
		judge(a)
		if len(a.out) == 0 {
			a.out = []finding.Finding{{State: finding.Pass}}
		}
		for i := range a.out {
			a.out[i].File, a.out[i].Evidence = file, ev
		}
		return a.out
	}
}

// public tells whether a network has addresses of strangers.
func public(p netip.Prefix) bool {
	a := p.Addr()
	return !a.IsPrivate() && !a.IsLoopback() && !a.IsLinkLocalUnicast() || p.Bits() == 0
}

// wide tells whether a network is more than a few servers.
func wide(p netip.Prefix) bool {
	if p.Addr().Is4() {
		return p.Bits() < transferBits4
	}
	return p.Bits() < transferBits6
}

// configChecks returns the checks of a configuration of this program.
func configChecks() []*check.Check {
	advice := func(text string) map[check.Product]string { return map[check.Product]string{"": text, "port53": text} }
	list := []*check.Check{
		{
			Check: finding.Check{ID: "CONF-OPEN", Title: "strangers have no names resolved", Severity: finding.SevCritical, Sent: "Looks at the role and at resolver.allow. From outside: RES-OPEN.", Judged: "A network of strangers in resolver.allow outside the role public-resolver: fail. The role public-resolver without a list: info.", Advice: advice("resolver: {allow: [192.0.2.0/24]} with your own networks only"), Refs: []string{"RFC 5358"}},
			Run:   audit(confOpen),
		},
		{
			Check: finding.Check{ID: "CONF-LISTEN", Title: "an inner server listens inside", Severity: finding.SevMedium, Sent: "Looks at the addresses that are served.", Judged: "A role for known networks listens on all addresses, or on a public one: warn.", Advice: advice("listen: the addresses of the inner networks, one by one"), Refs: []string{"CWE-1327"}},
			Run:   audit(confListen),
		},
		{
			Check: finding.Check{ID: "CONF-XFR", Title: "zones are transferred to few", Severity: finding.SevHigh, Sent: "Looks at allow_transfer of each zone. From outside: SRV-AXFR.", Judged: "All addresses: fail. A network of more than a /24 or /48 without a key: warn.", Advice: advice("zones[].allow_transfer: the addresses of the secondaries, and zones[].tsig: a key"), Refs: []string{"RFC 5936, section 5"}},
			Run:   audit(confTransfer),
		},
		{
			Check: finding.Check{ID: "CONF-TSIG", Title: "transfers are signed", Severity: finding.SevMedium, Sent: "Looks for keys of zones that are sent or fetched.", Judged: "A zone with secondaries or primaries and no key: warn.", Advice: advice("keys: [{name: xfr, secret_file: keys/xfr}], and tsig: xfr at the zone and at the other side"), Refs: []string{"RFC 8945"}},
			Run:   audit(confTSIG),
		},
		{
			Check: finding.Check{ID: "CONF-KEY", Title: "keys are strong and kept from others", Severity: finding.SevHigh, Sent: "Looks at the length of secrets, and who may read the files that have them.", Judged: "A secret that others can read: fail. One in the configuration, or shorter than the hash: warn.", Advice: advice("openssl rand -base64 32 > keys/NAME; chmod 600 keys/NAME; secret_file: keys/NAME"), Refs: []string{"RFC 8945, section 10", "CWE-732"}},
			Run:   audit(confKeys),
		},
		{
			Check: finding.Check{ID: "CONF-UPDATE", Title: "keys change little", Severity: finding.SevMedium, Sent: "Looks at what each grant allows. From outside: SRV-UPDATE.", Judged: "A grant of all names and all types: warn.", Advice: advice("zones[].updates: [{key: NAME, names: [host.example.com], types: [A, AAAA]}]"), Refs: []string{"RFC 3007"}},
			Run:   audit(confUpdates),
		},
		{
			Check: finding.Check{ID: "CONF-RRL", Title: "replies are limited", Severity: finding.SevHigh, Sent: "Looks at response rate limiting. From outside: SRV-RRL and SRV-RRLSLIP.", Judged: "Off, or only logged, where strangers ask: fail. No slip: warn. Strangers exempt: warn.", Advice: advice("policy: {rate_limit: {enabled: true, slip: 2}}"), Refs: []string{"ISC-TN-2012-1", "RFC 5358"}},
			Run:   audit(confRRL),
		},
		{
			Check: finding.Check{ID: "CONF-VALID", Title: "answers are validated", Severity: finding.SevHigh, Sent: "Looks at validation, its clock and its exceptions. From outside: RES-VALID.", Judged: "Off, or at a fixed time: fail. A zone without validation for over 30 days: warn.", Advice: advice("Remove resolver.validation and resolver.validation_time; give negative_trust_anchors an end that is near."), Refs: []string{"RFC 4035", "RFC 7646"}},
			Run:   audit(confValidation),
		},
		{
			Check: finding.Check{ID: "CONF-FORGE", Title: "answers are hard to forge", Severity: finding.SevMedium, Sent: "Looks at what makes forging hard for a resolver. From outside: RES-0X20, RES-QMIN and RES-REBIND.", Judged: "0x20, query name minimisation or the filter of private addresses off: warn.", Advice: advice("Remove case_randomization, qname_minimization and rebinding: they are on unless they are set."), Refs: []string{"RFC 5452", "RFC 9156"}},
			Run:   audit(confForge),
		},
		{
			Check: finding.Check{ID: "CONF-SIZE", Title: "datagrams are never fragmented", Severity: finding.SevMedium, Sent: "Looks at the size of datagrams. From outside: SRV-FRAG and RES-BUFSIZE.", Judged: "Above 1232 octets: warn.", Advice: advice("Remove edns.udp_size: it is 1232."), Refs: []string{"RFC 9715"}},
			Run: audit(func(a *audited) {
				if n := a.c.EDNS.UDPSize; n > udpMax {
					a.find(finding.Warn, 0, "edns.udp_size", "%d octets may be cut into fragments, which can be forged", n)
				}
			}),
		},
		{
			Check: finding.Check{ID: "CONF-COOKIE", Title: "cookies are answered", Severity: finding.SevMedium, Sent: "Looks at DNS cookies. From outside: SRV-COOKIE.", Judged: "Off: warn.", Advice: advice("Remove edns.cookies: they are on."), Refs: []string{"RFC 9018"}},
			Run: audit(func(a *audited) {
				if !a.c.EDNS.Cookies {
					a.find(finding.Warn, 0, "edns.cookies", "real clients cannot be told from forged ones")
				}
			}),
		},
		{
			Check: finding.Check{ID: "CONF-IDENT", Title: "the server tells nothing of itself", Severity: finding.SevLow, Sent: "Looks at version and host names that anyone can ask for. From outside: ID-VERSION.", Judged: "A version: warn. A name of the host: info.", Advice: advice("Remove identity.version: it is hidden."), Refs: []string{"RFC 4892", "CWE-200"}},
			Run: audit(func(a *audited) {
				if v := a.c.Identity.Version; v != "" {
					a.find(finding.Warn, 0, "identity.version", "%q tells attackers which faults to try", v)
				}
				if v := a.c.Identity.Hostname; v != "" {
					a.find(finding.Info, 0, "identity.hostname", "%q", v)
				}
			}),
		},
		{
			Check: finding.Check{ID: "CONF-METRICS", Title: "counters are for this machine", Severity: finding.SevMedium, Sent: "Looks where the counters can be read.", Judged: "On another address than loopback: warn.", Advice: advice("metrics: {listen: 127.0.0.1:9153}, or a firewall rule for the machine that collects them"), Refs: []string{"CWE-200"}},
			Run: audit(func(a *audited) {
				if m := a.c.Metrics; m.Listen.IsValid() && !m.Listen.Addr().IsLoopback() {
					a.find(finding.Warn, 0, "metrics.listen", "%v has no password, and tells what is asked for", m.Listen)
				}
			}),
		},
		{
			Check: finding.Check{ID: "CONF-CONTROL", Title: "the control socket is nobody else's", Severity: finding.SevMedium, Sent: "Looks where the control socket is.", Judged: "In a folder that everybody can write to: warn.", Advice: advice("control: {socket: /run/port53/control.sock}"), Refs: []string{"CWE-379"}},
			Run: audit(func(a *audited) {
				for _, dir := range []string{"/tmp/", "/var/tmp/", "/dev/shm/"} {
					if strings.HasPrefix(a.c.Control.Socket, dir) && strings.Count(a.c.Control.Socket, "/") == strings.Count(dir, "/") {
						a.find(finding.Warn, 0, "control.socket", "others can put a socket of their own at %s before the server does", a.c.Control.Socket)
					}
				}
			}),
		},
		{
			Check: finding.Check{ID: "CONF-TCP", Title: "connections are bounded", Severity: finding.SevLow, Sent: "Looks at the bounds of connections. From outside: SRV-TCP-CAP, SRV-TCP-IDLE and SRV-TCP-SLOW.", Judged: "Over 100 of one address, or idle for over a minute: warn.", Advice: advice("Remove tcp.per_client and tcp.idle: they are 20 and 10s."), Refs: []string{"RFC 7766, section 6.2"}},
			Run: audit(func(a *audited) {
				if t := a.c.TCP; t.PerClient > clientsMax {
					a.find(finding.Warn, 0, "tcp.per_client", "one address may hold %d connections", t.PerClient)
				}
				if t := a.c.TCP; t.Idle > connIdleMax {
					a.find(finding.Warn, 0, "tcp.idle", "an idle connection stays for %v", t.Idle)
				}
			}),
		},
		{
			Check: finding.Check{ID: "CONF-LIMITS", Title: "one question makes little work", Severity: finding.SevMedium, Sent: "Looks at the bounds of the resolver's work. From outside: RES-NXNS, RES-CHAIN and RES-NSEC3LIM.", Judged: "Several times the default: warn.", Advice: advice("Remove resolver.limits: each default has a reason, which port53 config reference tells."), Refs: []string{"CVE-2020-12662", "CVE-2023-50387", "CVE-2023-50868"}},
			Run: audit(func(a *audited) {
				if !a.c.Recurses() {
					return
				}
				l := a.c.Resolver.Limits
				for _, x := range []struct {
					key      string
					got, max int
				}{{"packets", l.Packets, packetsMax}, {"signatures", l.Signatures, signaturesMax}, {"nsec3_hashes", l.NSEC3Hashes, hashesMax}, {"nsec3_iterations", l.NSEC3Iterations, 150}} {
					if x.got > x.max {
						a.find(finding.Warn, 0, "resolver.limits."+x.key, "%d is more than any answer needs", x.got)
					}
				}
			}),
		},
		{
			Check: finding.Check{ID: "CONF-LOG", Title: "what people ask is not kept", Severity: finding.SevLow, Sent: "Looks whether queries are logged.", Judged: "Queries of known people are logged: info.", Advice: advice("Remove log.queries, or tell those whose questions are kept."), Refs: []string{"RFC 9076"}},
			Run: audit(func(a *audited) {
				if a.c.Log.Queries != "off" && a.c.Recurses() {
					a.find(finding.Info, 0, "log.queries", "every question is kept, with who asked")
				}
			}),
		},
	}
	for _, c := range list {
		c.Group, c.Scope = GroupConfig, check.ScopeConfig
	}
	return list
}

func confOpen(a *audited) {
	if !a.c.Recurses() {
		return
	}
	if a.c.Role == config.RolePublicResolver && len(a.c.Resolver.Allow) == 0 {
		a.find(finding.Info, 0, "role", "it resolves for everyone, which is what it is for: CONF-RRL is what keeps it from attacking others")
		return
	}
	clients, left, err := a.c.RecursionClients()
	if err != nil {
		a.find(finding.Unknown, 0, "resolver.allow", "%v", err)
	}
	for _, p := range left {
		a.find(finding.Info, 0, "resolver.allow", "%v, a network of this machine, is not private: its clients are served only if it is listed", p)
	}
	for _, p := range clients {
		if public(p) && wide(p) {
			state := finding.Fail
			if p.Bits() > 8 {
				state = finding.Warn
			}
			a.find(state, 0, "resolver.allow", "%v has strangers in it", p)
		}
	}
}

func confListen(a *audited) {
	if !a.c.Internal() {
		return
	}
	for _, l := range a.c.Listen {
		switch ip := l.Addr(); {
		case ip.IsUnspecified():
			a.find(finding.Warn, 0, "listen", "%v is every address of this machine, those towards strangers too", l)
		case public(netip.PrefixFrom(ip, ip.BitLen())):
			a.find(finding.Warn, 0, "listen", "%v is an address that strangers reach", l)
		}
	}
}

func confTransfer(a *audited) {
	for i := range a.c.Zones {
		z := &a.c.Zones[i]
		for _, p := range z.AllowTransfer {
			key := fmt.Sprintf("zones[%d].allow_transfer", i)
			switch {
			case p.Bits() == 0:
				a.find(finding.Fail, 0, key, "everybody may have %s whole", wire.NameText(z.Name))
			case wide(p) && z.TSIG == nil:
				a.find(finding.Warn, 0, key, "all of %v may have %s whole, without a key", p, wire.NameText(z.Name))
			}
		}
	}
}

func confTSIG(a *audited) {
	for i := range a.c.Zones {
		if z := &a.c.Zones[i]; z.TSIG == nil && (z.Transfers() || len(z.Primaries) > 0) {
			key := fmt.Sprintf("zones[%d].insecure", i)
			a.find(finding.Warn, 0, key, "%s is transferred without a key: whoever is on the way can change it", wire.NameText(z.Name))
		}
	}
}

// hashLen returns the octets of an algorithm's hash, below which a secret is the weaker
// part (RFC 2104, section 3).
func hashLen(algorithm string) int {
	switch algorithm {
	case "hmac-sha224":
		return 28
	case "hmac-sha384":
		return 48
	case "hmac-sha512":
		return 64
	}
	return 32
}

// readable tells whether others may read a file.
func readable(path string) (fs.FileMode, bool) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, false
	}
	return info.Mode().Perm(), info.Mode().Perm()&0o004 != 0
}

func confKeys(a *audited) {
	for i := range a.c.Keys {
		k := &a.c.Keys[i]
		inline := fmt.Sprintf("keys[%d].secret", i)
		if k.Secret != "" {
			if mode, bad := readable(a.c.File()); bad {
				a.find(finding.Fail, 0, inline, "the secret of %s is in a file that everybody can read (%v)", wire.NameText(k.Name), mode)
			} else {
				a.find(finding.Warn, finding.SevLow, inline, "the secret of %s is in the configuration, which is copied and shown: secret_file is safer", wire.NameText(k.Name))
			}
		} else if mode, bad := readable(k.SecretFile); bad {
			a.find(finding.Fail, 0, fmt.Sprintf("keys[%d].secret_file", i), "everybody can read %s (%v)", k.SecretFile, mode)
		}
		if n := len(k.Octets); n > 0 && n < hashLen(k.Algorithm)/2 {
			a.find(finding.Warn, finding.SevMedium, fmt.Sprintf("keys[%d].name", i), "the secret of %s has %d octets; %s is made for %d", wire.NameText(k.Name), n, k.Algorithm, hashLen(k.Algorithm))
		}
	}
}

func confUpdates(a *audited) {
	for i := range a.c.Zones {
		for j, g := range a.c.Zones[i].Updates {
			if slices.Contains(g.Names, "*") && len(g.Types) == 0 {
				a.find(finding.Warn, 0, fmt.Sprintf("zones[%d].updates[%d].names", i, j), "the key %s may change all of %s", wire.NameText(g.Key), wire.NameText(a.c.Zones[i].Name))
			}
		}
	}
}

func confRRL(a *audited) {
	r := a.c.Policy.RateLimit
	if a.c.Internal() && !r.Enabled {
		return // known networks only
	}
	switch {
	case !r.Enabled:
		a.find(finding.Fail, 0, "policy.rate_limit.enabled", "the server attacks whoever others name as the sender")
	case r.LogOnly:
		a.find(finding.Fail, 0, "policy.rate_limit.log_only", "it limits nothing")
	case r.Slip == 0:
		a.find(finding.Warn, finding.SevLow, "policy.rate_limit.slip", "a client whose address is forged gets no answer at all")
	}
	for _, p := range r.Exempt {
		if public(p) && wide(p) {
			a.find(finding.Warn, finding.SevMedium, "policy.rate_limit.exempt", "all of %v can be attacked through this server", p)
		}
	}
}

func confValidation(a *audited) {
	if !a.c.Recurses() {
		return
	}
	r := &a.c.Resolver
	if !r.Validation {
		a.find(finding.Fail, 0, "resolver.validation", "what is forged is believed")
	}
	if !r.ValidationTime.IsZero() {
		a.find(finding.Fail, 0, "resolver.validation_time", "signatures are judged at %v for ever", r.ValidationTime.Format(time.DateOnly))
	}
	for i, n := range r.NegativeTrustAnchors {
		if left := time.Until(n.Until); left > anchorMax {
			a.find(finding.Warn, finding.SevMedium, fmt.Sprintf("resolver.negative_trust_anchors[%d].until", i), "%s is not validated for %d more days", wire.NameText(n.Name), int(left.Hours()/24))
		}
	}
}

func confForge(a *audited) {
	if !a.c.Recurses() {
		return
	}
	r := &a.c.Resolver
	if !r.CaseRandomization {
		a.find(finding.Warn, finding.SevLow, "resolver.case_randomization", "forgers need not guess the case")
	}
	if r.QNAMEMinimization == "off" {
		a.find(finding.Warn, finding.SevLow, "resolver.qname_minimization", "each server is told the whole name")
	}
	if !r.FiltersPrivate() && r.RootHints == "" {
		a.find(finding.Warn, 0, "resolver.rebinding", "a stranger's name can lead a browser to machines behind the firewall")
	}
	for i, f := range r.Forward {
		for _, to := range f.To {
			if wire.EqualFold(f.Zone, wire.Root) && public(netip.PrefixFrom(to.Addr(), to.Addr().BitLen())) {
				a.find(finding.Info, 0, fmt.Sprintf("resolver.forward[%d].to", i), "all questions go to %v, in the clear", to)
			}
		}
	}
}
