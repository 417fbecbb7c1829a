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
	a.out = append(
		a.out,
		finding.Finding{State: s, Severity: sev, Key: key, Detail: key + ": " + fmt.Sprintf(format, args...), Line: a.line[key]},
	)
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

// public reports whether a network has addresses of strangers.
func public(p netip.Prefix) bool {
	a := p.Addr()
	return !a.IsPrivate() && !a.IsLoopback() && !a.IsLinkLocalUnicast() || p.Bits() == 0
}

// wide reports whether a network is more than a few servers.
func wide(p netip.Prefix) bool {
	if p.Addr().Is4() {
		return p.Bits() < transferBits4
	}
	return p.Bits() < transferBits6
}

// configChecks returns the checks of a configuration of this program.
func configChecks() []*check.Check {
	return described(GroupConfig, check.ScopeConfig, "config.txt", []*check.Check{
		{Check: finding.Check{ID: "CONF-OPEN", Severity: finding.SevCritical}, Run: audit(confOpen)},
		{Check: finding.Check{ID: "CONF-LISTEN", Severity: finding.SevMedium}, Run: audit(confListen)},
		{Check: finding.Check{ID: "CONF-XFR", Severity: finding.SevHigh}, Run: audit(confTransfer)},
		{Check: finding.Check{ID: "CONF-TSIG", Severity: finding.SevMedium}, Run: audit(confTSIG)},
		{Check: finding.Check{ID: "CONF-KEY", Severity: finding.SevHigh}, Run: audit(confKeys)},
		{Check: finding.Check{ID: "CONF-UPDATE", Severity: finding.SevMedium}, Run: audit(confUpdates)},
		{Check: finding.Check{ID: "CONF-RRL", Severity: finding.SevHigh}, Run: audit(confRRL)},
		{Check: finding.Check{ID: "CONF-VALID", Severity: finding.SevHigh}, Run: audit(confValidation)},
		{Check: finding.Check{ID: "CONF-FORGE", Severity: finding.SevMedium}, Run: audit(confForge)},
		{Check: finding.Check{ID: "CONF-SIZE", Severity: finding.SevMedium}, Run: audit(confSize)},
		{Check: finding.Check{ID: "CONF-COOKIE", Severity: finding.SevMedium}, Run: audit(confCookies)},
		{Check: finding.Check{ID: "CONF-IDENT", Severity: finding.SevLow}, Run: audit(confIdentity)},
		{Check: finding.Check{ID: "CONF-METRICS", Severity: finding.SevMedium}, Run: audit(confMetrics)},
		{Check: finding.Check{ID: "CONF-CONTROL", Severity: finding.SevMedium}, Run: audit(confControl)},
		{Check: finding.Check{ID: "CONF-TCP", Severity: finding.SevLow}, Run: audit(confTCP)},
		{Check: finding.Check{ID: "CONF-LIMITS", Severity: finding.SevMedium}, Run: audit(confLimits)},
		{Check: finding.Check{ID: "CONF-LOG", Severity: finding.SevLow}, Run: audit(confLog)},
	})
}

func confOpen(a *audited) {
	if !a.c.Recurses() {
		return
	}
	if a.c.Role == config.RolePublicResolver && len(a.c.Resolver.Allow)+len(a.c.Resolver.AllowInterfaces) == 0 {
		a.find(
			finding.Info,
			0,
			"role",
			"it resolves for everyone, which is what it is for: CONF-RRL is what keeps it from attacking others",
		)
		return
	}
	clients, left, err := a.c.RecursionClients()
	if err != nil {
		a.find(finding.Unknown, 0, "resolver.allow", "%v", err)
	}
	for _, p := range left {
		a.find(
			finding.Info,
			0,
			"resolver.allow",
			"%v, a network of this machine, is not private: its clients are served only if it is listed",
			p,
		)
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
		for _, p := range z.TransferAlone {
			if p.Bits() == 0 {
				a.find(
					finding.Fail,
					0,
					fmt.Sprintf("zones[%d].allow_transfer", i),
					"everybody may have %s whole, without a key",
					wire.NameText(z.Name),
				)
			} else if wide(p) {
				a.find(
					finding.Warn,
					0,
					fmt.Sprintf("zones[%d].allow_transfer", i),
					"all of %v may have %s whole, without a key",
					p,
					wire.NameText(z.Name),
				)
			}
		}
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
		if z := &a.c.Zones[i]; z.Unsigned() {
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

// readable reports whether others may read a file.
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
			if mode, bad := readable(a.c.FileOf("keys.secret", i)); bad {
				a.find(finding.Fail, 0, inline, "the secret of %s is in a file that everybody can read (%v)", wire.NameText(k.Name), mode)
			} else {
				a.find(
					finding.Warn,
					finding.SevLow,
					inline,
					"the secret of %s is in the configuration, which is copied and shown: secret_file is safer",
					wire.NameText(k.Name),
				)
			}
		} else if mode, bad := readable(k.SecretFile); bad {
			a.find(finding.Fail, 0, fmt.Sprintf("keys[%d].secret_file", i), "everybody can read %s (%v)", k.SecretFile, mode)
		}
		if n := len(k.Octets); n > 0 && n < hashLen(k.Algorithm)/2 {
			a.find(
				finding.Warn,
				finding.SevMedium,
				fmt.Sprintf("keys[%d].name", i),
				"the secret of %s has %d octets; %s is made for %d",
				wire.NameText(k.Name),
				n,
				k.Algorithm,
				hashLen(k.Algorithm),
			)
		}
	}
}

func confUpdates(a *audited) {
	for i := range a.c.Zones {
		for j, g := range a.c.Zones[i].Updates {
			if slices.Contains(g.Names, "*") && len(g.Types) == 0 {
				a.find(
					finding.Warn,
					0,
					fmt.Sprintf("zones[%d].updates[%d].names", i, j),
					"the key %s may change all of %s",
					wire.NameText(g.Key),
					wire.NameText(a.c.Zones[i].Name),
				)
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
		if n.Until.IsZero() {
			a.find(
				finding.Warn,
				finding.SevLow,
				fmt.Sprintf("resolver.negative_trust_anchors[%d].name", i),
				"%s is never validated",
				wire.NameText(n.Name),
			)
		}
		if left := time.Until(n.Until); left > anchorMax {
			a.find(
				finding.Warn,
				finding.SevMedium,
				fmt.Sprintf("resolver.negative_trust_anchors[%d].until", i),
				"%s is not validated for %d more days",
				wire.NameText(n.Name),
				int(left.Hours()/24),
			)
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
			if ip := to.Addr.Addr(); to.Scheme == "" && wire.EqualFold(f.Zone, wire.Root) && public(netip.PrefixFrom(ip, ip.BitLen())) {
				a.find(finding.Info, 0, fmt.Sprintf("resolver.forward[%d].to", i), "all queries go to %v unencrypted", to)
			}
		}
	}
}

func confSize(a *audited) {
	if n := a.c.EDNS.UDPSize; n > udpMax {
		a.find(finding.Warn, 0, "edns.udp_size", "%d octets may be cut into fragments, which can be forged", n)
	}
}

func confCookies(a *audited) {
	if !a.c.EDNS.Cookies {
		a.find(finding.Warn, 0, "edns.cookies", "real clients cannot be told from forged ones")
	}
}

func confIdentity(a *audited) {
	if v := a.c.Identity.Version; v != "" {
		a.find(finding.Warn, 0, "identity.version", "%q tells attackers which faults to try", v)
	}
	if v := a.c.Identity.Hostname; v != "" {
		a.find(finding.Info, 0, "identity.hostname", "%q", v)
	}
}

func confMetrics(a *audited) {
	if m := a.c.Metrics; m.Listen.IsValid() && !m.Listen.Addr().IsLoopback() {
		a.find(finding.Warn, 0, "metrics.listen", "%v has no password, and tells what is asked for", m.Listen)
	}
}

func confControl(a *audited) {
	for _, dir := range []string{"/tmp/", "/var/tmp/", "/dev/shm/"} {
		if strings.HasPrefix(a.c.Control.Socket, dir) && strings.Count(a.c.Control.Socket, "/") == strings.Count(dir, "/") {
			a.find(
				finding.Warn,
				0,
				"control.socket",
				"others can put a socket of their own at %s before the server does",
				a.c.Control.Socket,
			)
		}
	}
}

func confTCP(a *audited) {
	if t := a.c.TCP; t.PerClient > clientsMax {
		a.find(finding.Warn, 0, "tcp.per_client", "one address may hold %d connections", t.PerClient)
	}
	if t := a.c.TCP; t.Idle > connIdleMax {
		a.find(finding.Warn, 0, "tcp.idle", "an idle connection stays for %v", t.Idle)
	}
}

func confLimits(a *audited) {
	if !a.c.Recurses() {
		return
	}
	l := a.c.Resolver.Limits
	for _, x := range []struct {
		key      string
		got, max int
	}{
		{"packets", l.Packets, packetsMax},
		{"signatures", l.Signatures, signaturesMax},
		{"nsec3_hashes", l.NSEC3Hashes, hashesMax},
		{"nsec3_iterations", l.NSEC3Iterations, 150},
	} {
		if x.got > x.max {
			a.find(finding.Warn, 0, "resolver.limits."+x.key, "%d is more than any answer needs", x.got)
		}
	}
}

func confLog(a *audited) {
	if a.c.Log.Queries != "off" && a.c.Recurses() {
		a.find(finding.Info, 0, "log.queries", "every question is kept, with who asked")
	}
}
