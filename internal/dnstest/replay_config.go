package dnstest

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"port53/internal/dnssec"
	"port53/internal/wire"
	"port53/internal/zonefile"
)

// replayIgnored are settings that make no difference to what is compared, or that say what
// port53 does anyway.
var replayIgnored = []string{
	"server",
	"target-fetch-policy",
	"trust-anchor-signaling",
	"minimal-responses",
	"fake-sha1",
	"fake-dsa",
	"rrset-roundrobin",
	"ede",
	"log-time-ascii",
	"log-servfail",
	"verbosity",
	"ede-serve-expired",
	"harden-referral-path",
	"harden-algo-downgrade",
	"harden-glue",
	"harden-below-nxdomain",
	"harden-large-queries",
	"outbound-msg-retry",
	"num-queries-per-thread",
	"msg-cache-slabs",
	"val-nsec3-keysize-iterations",
	"prefetch-key",
	"stub-prime",
	"hide-trustanchor",
	"local-zone-default",
	"unblock-lan-zones",
	"root-key-sentinel",
	"max-sent-count",
	"val-clean-additional",
	"discard-timeout",
	"wait-limit",
	"wait-limit-cookie",
	"infra-keep-probing",
	"do-tcp",
	"iter-scrub-ns",
	"iter-scrub-cname",
	"max-global-quota",
	"msg-cache-size",
	"rrset-cache-size",
	"hide-identity",
	"hide-version",
	"directory",
}

// specialZones are some of those that Unbound answers for itself (RFC 6303, RFC 6761).
var specialZones = []string{
	"10.in-addr.arpa.",
	"16.172.in-addr.arpa.",
	"168.192.in-addr.arpa.",
	"127.in-addr.arpa.",
	"254.169.in-addr.arpa.",
}

// caseless are the zones that Knot Resolver's module "workarounds" asks for in lower case.
var caseless = []string{"avqs.mcafee.com.", "avts.mcafee.com."}

// A replayConfig gathers what the settings of a file come to.
type replayConfig struct {
	r        *replay
	lines    []string // settings of the subject
	hints    []string // addresses
	anchors  []zonefile.Record
	validate bool
	stale    bool
	date     string

	zone    string // of the clause that is read
	kind    string // stub or forward
	servers []string
	first   bool
	tcp     bool
}

func (c *replayConfig) cannot(format string, args ...any) {
	if c.r.unplayable == "" {
		c.r.unplayable = fmt.Sprintf(format, args...)
	}
}

func (c *replayConfig) set(format string, args ...any) {
	c.lines = append(c.lines, fmt.Sprintf(format, args...))
}

// setup reads the settings of a file, puts today's keys into it, and returns what a subject
// is made from, without its network.
func (r *replay) setup(now time.Time) (*Setup, error) {
	c := &replayConfig{r: r, validate: true}
	c.set("iterations 150") // as both had it
	if r.deckard {
		c.set("minimise off")
	} else {
		c.set("mix-case off") // its servers answer in the spelling that the file has
		c.set("cookies off")
		c.set("stale off")
		c.set("prefetch off")
		for _, z := range specialZones {
			if !slices.ContainsFunc(r.config, func(l configLine) bool { return l.key == "local-zone" || l.key == "unblock-lan-zones" }) {
				c.set("builtin %s", z)
			}
		}
	}
	for _, l := range r.config {
		if err := c.setting(l.key, l.value); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", r.file, l.key, err)
		}
	}
	c.flush()
	if c.stale && !slices.ContainsFunc(r.config, func(l configLine) bool { return l.key == "serve-expired-client-timeout" }) {
		c.set("stale-wait 1ms") // before a server can have answered
	}
	anchors, err := r.rekey(c.anchors)
	if err != nil {
		return nil, err
	}
	s := &Setup{}
	if c.validate {
		c.unusable(anchors)
		for _, a := range anchors {
			s.Anchors += fmt.Sprintf("%s 3600 IN %v %s\n", wire.AppendName(nil, a.Owner), a.Type, wire.AppendRdataText(nil, a.Type, a.Data))
		}
	}
	s.Hints = ". 3600 NS root-of-the-replay.invalid.\n"
	if len(c.hints) == 0 {
		c.hints = []string{"192.0.2.254"} // nobody: all is forwarded
	}
	for _, h := range c.hints {
		s.Hints += "root-of-the-replay.invalid. 3600 " + addressType(h) + " " + h + "\n"
	}
	if err := c.clock(now); err != nil {
		return nil, fmt.Errorf("%s: %w", r.file, err)
	}
	s.read(r.file, c.lines)
	s.common()
	return s, nil
}

// unusable finds trust anchors that nothing can be validated by, with which port53 does not start.
func (c *replayConfig) unusable(anchors []zonefile.Record) {
	for _, a := range anchors {
		if a.Type != wire.TypeDS || len(a.Data) < 5 || dnssec.SupportedAlgorithm(a.Data[2]) {
			continue
		}
		if !slices.ContainsFunc(anchors, func(b zonefile.Record) bool {
			return wire.EqualFold(a.Owner, b.Owner) && (b.Type != wire.TypeDS || dnssec.SupportedAlgorithm(b.Data[2]))
		}) {
			c.cannot("no trust anchor of %s can be used, and with such a one nothing starts", wire.NameText(a.Owner))
		}
	}
}

func addressType(s string) string {
	if strings.Contains(s, ":") {
		return "AAAA"
	}
	return "A"
}

// clock sets the time at which signatures are valid. Deckard's goes on from there.
func (c *replayConfig) clock(now time.Time) error {
	if c.date == "" {
		return nil
	}
	if c.date == "-1" { // whenever
		c.date = fmt.Sprint(c.r.signed() + 1)
	}
	at, err := time.Parse("20060102150405", c.date)
	if err != nil {
		var seconds int64
		if _, err := fmt.Sscan(c.date, &seconds); err != nil || seconds <= 0 {
			c.cannot("the time is %s", c.date)
			return nil
		}
		at = time.Unix(seconds, 0).UTC()
	}
	if c.r.deckard {
		c.set("clock %s", at.Sub(now))
	} else {
		c.set("validation-time %s", at.Format(time.RFC3339))
	}
	return nil
}

// signed returns when the last signature of the file becomes valid.
func (r *replay) signed() (last uint32) {
	for _, e := range r.entries() {
		for _, records := range e.sections {
			for i := range records {
				if r := &records[i]; r.Type == wire.TypeRRSIG && len(r.Data) > 18 {
					last = max(last, binary.BigEndian.Uint32(r.Data[12:]))
				}
			}
		}
	}
	return last
}

// flush ends a clause.
func (c *replayConfig) flush() {
	kind, zone, servers := c.kind, c.zone, c.servers
	if kind == "" {
		return
	}
	c.kind, c.zone, c.servers = "", "", nil
	switch {
	case kind == "stub" && zone == ".":
		c.hints = append(c.hints, servers...)
	case len(servers) == 0 && kind == "forward":
		c.set("forward %s none", zone)
	default:
		words := append([]string{kind, zone}, servers...)
		if c.first {
			words = append(words, "first")
		}
		if c.tcp {
			words = append(words, "tcp")
		}
		c.set("%s", strings.Join(words, " "))
	}
	c.first, c.tcp = false, false
}

func (c *replayConfig) anchor(text string) error {
	_, err := zonefile.Read(
		strings.NewReader(text+"\n"),
		zonefile.Options{Origin: wire.Root, Name: "trust-anchor", DefaultTTL: 3600},
		func(r *zonefile.Record) error {
			c.anchors = append(c.anchors, zonefile.Record{Owner: slices.Clone(r.Owner), Type: r.Type, Data: slices.Clone(r.Data)})
			return nil
		},
	)
	return err
}

// onOff is how the subject's settings say yes and no.
func onOff(value string) string {
	if value == "yes" || value == "on" || value == "true" {
		return "on"
	}
	return "off"
}

// address reads an address, which Unbound writes with the port behind an @.
func (c *replayConfig) address(value string) string {
	host, port, ok := strings.Cut(value, "@")
	a, err := netip.ParseAddr(host)
	if err != nil {
		c.cannot("address %s", value)
		return value
	}
	if ok && port != "53" {
		return netip.MustParseAddrPort(a.String() + ":" + port).String()
	}
	return a.String()
}

// setting reads one line.
//
// In one piece: it is a table of settings and what each is to port53.
func (c *replayConfig) setting(key, value string) error {
	switch key {
	case "stub-zone", "forward-zone":
		c.flush()
		c.kind, _, _ = strings.Cut(key, "-")
	case "name":
		c.zone = value
	case "stub-addr", "forward-addr":
		switch a := c.address(value); {
		case c.r.deckard && key == "stub-addr":
			c.hints = append(c.hints, a)
		case c.r.deckard:
			c.set("forward . %s", a)
		default:
			c.servers = append(c.servers, a)
		}
	case "forward-first":
		c.first = value == "yes"
	case "trust-anchor":
		return c.anchor(value)
	case "val-override-date", "val-override-timestamp":
		c.date = value
	case "domain-insecure":
		c.set("negative-anchor %s", value)
	case "qname-minimisation", "query-minimization", "minimization":
		c.r.minimised = c.r.deckard && onOff(value) == "on"
		c.set("minimise %s", map[string]string{"on": "relaxed", "off": "off"}[onOff(value)])
	case "use-caps-for-id":
		c.set("mix-case %s", onOff(value))
	case "prefetch":
		c.set("prefetch %s", onOff(value))
	case "serve-expired":
		c.stale = onOff(value) == "on"
		c.r.expired = c.stale
		c.set("stale %s", onOff(value))
		c.set("stale-keep 24h")
	case "serve-expired-client-timeout":
		c.set("stale-wait %sms", value)
	case "serve-expired-ttl":
		c.set("stale-keep %ss", value)
	case "cache-max-ttl":
		c.set("max-ttl %ss", value)
	case "cache-min-ttl":
		c.set("min-ttl %ss", value)
	case "cache-max-negative-ttl":
		c.set("max-negative-ttl %ss", value)
	case "aggressive-nsec":
		c.set("aggressive %s", onOff(value))
	case "do-ip6":
		c.set("ipv6 %s", onOff(value))
	case "do-ip4":
		c.set("ipv4 %s", onOff(value))
	case "do-not-query-localhost":
		if onOff(value) == "on" {
			c.set("do-not-query 127.0.0.0/8")
		}
	case "do-not-query-address":
		c.set("do-not-query %s", value)
	case "module-config":
		c.validate = strings.Contains(value, "validator")
		for w := range strings.FieldsSeq(value) {
			if w == "dns64" {
				continue
			}
			if w != "validator" && w != "iterator" {
				c.cannot("module %s", w)
			}
		}
	case "access-control":
		switch f := strings.Fields(value); {
		case strings.Contains(value, "snoop"):
			c.r.snooping = true
		case len(f) == 2 && f[0] == "127.0.0.0/8" && f[1] == "refuse":
			c.set("allow 192.0.2.0/24")
		}
	case "private-address":
		c.set("rebinding on")
	case "private-domain":
		c.set("private %s", value)
	case "features":
		c.feature(value)
	case "feature-list":
		c.policy(value)
	case "serve-expired-reply-ttl":
		seconds, err := strconv.ParseUint(value, 10, 32)
		c.r.staleTTL = uint32(seconds)
		return err
	case "nsid":
		c.set("nsid %s", strings.ReplaceAll(value, " ", "_"))
	case "dns64-prefix":
		c.set("dns64 %s", value)
	case "stub-name":
	default:
		if !slices.Contains(replayIgnored, key) {
			c.cannot("setting %s", key)
		}
	}
	return nil
}

// feature reads a setting of Deckard alone.
func (c *replayConfig) feature(value string) {
	key, value, _ := strings.Cut(value, "=")
	value = strings.TrimSpace(value)
	switch strings.TrimSpace(key) {
	case "min_ttl":
		c.set("min-ttl %ss", value)
	case "max_ttl":
		c.set("max-ttl %ss", value)
	case "workarounds":
		for _, zone := range caseless {
			c.set("exception zone=%s case", zone)
		}
	case "dns64_prefix":
		c.set("dns64 %s/96", value)
	default:
		c.cannot("feature %s", key)
	}
}

// policy reads a policy of Knot Resolver: names that are forwarded. It has others.
func (c *replayConfig) policy(value string) {
	f := strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(`=:.,'\"(){} `, r) })
	at := slices.Index(f, "FORWARD")
	if !strings.Contains(value, "policy.suffix(policy.FORWARD('") || at < 0 {
		c.cannot("setting feature-list")
		return
	}
	quoted := strings.Split(value, "'")
	if len(quoted) < 4 {
		c.cannot("setting feature-list")
		return
	}
	c.set("forward %s. %s", quoted[3], quoted[1])
}
