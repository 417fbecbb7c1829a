package catalogue

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"port53/internal/check"
	"port53/internal/finding"
	"port53/internal/wire"
)

// The groups of the catalogue that this package's cat_ files hold.
const (
	GroupServer    finding.Group = "Authoritative"
	GroupZone      finding.Group = "Delegation and zone content"
	GroupDNSSEC    finding.Group = "DNSSEC"
	GroupResolver  finding.Group = "Resolver"
	GroupEncrypted finding.Group = "Encrypted and neighbours"
)

// What the checks of servers judge by.
const (
	anyMax     = 700  // octets of an answer to ANY that one RRset may need (RFC 8482, section 4.1)
	ampWarn    = 20   // times the octets of the question
	ampFail    = 35   // the same; above it the server is worth an attacker's while
	udpMax     = 1232 // octets of a datagram that is never fragmented (DNS Flag Day 2020)
	emptyTC    = 100  // octets of a header, a long question and OPT
	rrlRate    = 200  // questions a second: ten times what one resolver asks for one name
	rrlCount   = 400  // two seconds of them
	rrlShare   = 60   // percent of answers below which a limit is at work
	idleGood   = 30 * time.Second
	idleMax    = 60 * time.Second
	slowSteps  = 15  // octets of SRV-TCP-SLOW, one a second: five times what a question may take
	idleConns  = 200 // connections held open by the check of the connection limit
	badPackets = 12
)

func soaQuery(r *check.Run) check.Query { return check.Query{Name: r.Apex(), Type: wire.TypeSOA} }

// elsewhere is a name that no server is authoritative for but those of the
// reserved zone itself (RFC 6761, section 6.5).
func elsewhere(*check.Run) check.Query {
	return check.Query{Name: mustName("www.example.com"), Type: wire.TypeA, Flags: wire.FlagRD}
}

// serverChecks returns the checks of one authoritative server.
func serverChecks() []*check.Check {
	transfer := map[check.Product]string{
		"":        "Allow transfers to your secondaries only, by TSIG key.",
		"bind":    `zone "ZONE" { allow-transfer { key "xfr"; }; };`,
		"nsd":     "provide-xfr: 192.0.2.2 xfr-key",
		"knot":    "acl: [{id: xfr, key: xfr, action: transfer}]",
		"pdns":    "allow-axfr-ips=127.0.0.0/8,::1 and pdnsutil activate-tsig-key ZONE xfr primary",
		"coredns": "transfer { to 192.0.2.2 }",
		"msdns":   "dnscmd /ZoneResetSecondaries ZONE /SecureList 192.0.2.2",
		"dnsmasq": "auth-sec-servers=ns2.example.net and auth-peer=192.0.2.2",
		"port53":  "zones[].allow_transfer: name keys or your secondaries only",
	}
	rrl := map[check.Product]string{
		"":       "Turn response rate limiting on, with truncated slips.",
		"bind":   "rate-limit { responses-per-second 20; slip 2; };",
		"nsd":    "rrl-ratelimit: 200 and rrl-slip: 2",
		"knot":   "mod-rrl: [{id: default, rate-limit: 50, slip: 2}] and template: [{id: default, global-module: mod-rrl/default}]",
		"pdns":   "Put dnsdist before it: setMaxQPSIPRule or dynBlockRulesGroup():setQueryRate(50, 10, \"flood\", 60).",
		"msdns":  "Set-DnsServerResponseRateLimiting -Mode Enable -TruncateRate 2",
		"port53": "policy: {rate_limit: {enabled: true}}",
	}
	size := map[check.Product]string{
		"":     "Send at most 1232 octets over UDP and answer ANY with one RRset.",
		"bind": "minimal-any yes; minimal-responses yes; max-udp-size 1232;", "nsd": "refuse-any: yes, minimal-responses: yes, ipv4-edns-size: 1232, ipv6-edns-size: 1232",
		"knot": "server: udp-max-payload: 1232", "pdns": "any-to-tcp=yes and udp-truncation-threshold=1232", "unbound": "deny-any: yes and max-udp-size: 1232", "coredns": "any and bufsize 1232",
		"dnsmasq": "edns-packet-max=1232", "port53": "These are the defaults: see edns.udp_size.",
	}
	recursion := map[check.Product]string{
		"": "Turn recursion off on authoritative servers.", "bind": "recursion no; allow-query-cache { none; };",
		"pdns": "Upgrade to 4.1 or later (no recursor= setting).", "knot": "Remove mod-dnsproxy.", "dnsmasq": "auth-server with no upstream: no-resolv",
		"coredns": "Remove forward from this server block.", "msdns": "Set-DnsServerRecursion -Enable $false", "unbound": "access-control: 0.0.0.0/0 refuse", "port53": "role: authoritative",
	}
	update := map[check.Product]string{
		"": "Allow dynamic updates by TSIG key and policy only.", "bind": `update-policy { grant "ddns" zonesub ANY; }; in place of allow-update { any; };`,
		"knot": "acl: [{id: ddns, key: ddns, action: update}]", "pdns": "dnsupdate=no, or allow-dnsupdate-from= with pdnsutil set-meta ZONE TSIG-ALLOW-DNSUPDATE ddns", "msdns": "Set-DnsServerPrimaryZone ZONE -DynamicUpdate Secure", "port53": "zones[].updates: grant by key, names and types",
	}
	notify := map[check.Product]string{"": "Take NOTIFY from the primaries only.", "bind": "allow-notify { 192.0.2.1; };", "nsd": "allow-notify: 192.0.2.1 xfr-key", "knot": "acl: [{id: n, address: 192.0.2.1, action: notify}]", "pdns": "allow-notify-from=192.0.2.1/32", "msdns": "dnscmd /ZoneResetSecondaries ZONE /NotifyList 192.0.2.2", "port53": "zones[].primaries: NOTIFY is taken from these"}
	cookies := map[check.Product]string{"": "Turn DNS cookies on, with one secret for all servers behind an address.", "bind": "answer-cookie yes; cookie-algorithm siphash24;", "nsd": "answer-cookie: yes", "knot": "mod-cookies", "unbound": "answer-cookie: yes", "pdns": "edns-cookie-secret=HEX", "port53": "edns: {cookies: true}"}
	tcp := map[check.Product]string{"": "Set the idle time of TCP connections to about ten seconds and limit connections a client.", "bind": "tcp-idle-timeout 100; tcp-initial-timeout 30; tcp-clients 150;", "nsd": "tcp-timeout: 10, tcp-count: 200", "knot": "server: tcp-idle-timeout: 10s, tcp-io-timeout: 500", "pdns": "tcp-idle-timeout=5, max-tcp-connections-per-client=20", "unbound": "tcp-idle-timeout: 10000, ip-connection-limit: 0.0.0.0/0 20", "dnsmasq": "max-tcp-connections=20", "port53": "tcp: {idle: 10s, per_client: 20}"}
	generic := map[check.Product]string{"": "Upgrade the server, and look for a middlebox before it that rewrites or drops DNS."}

	list := []*check.Check{
		{
			Check: finding.Check{ID: "SRV-AA", Title: "answers with authority", Severity: finding.SevHigh, Sent: "Asks for the zone's SOA without recursion. A server that is delegated to and not authoritative is lame: some questions of resolvers fail, others are slow.", Judged: "AA and the SOA: pass. No AA, REFUSED, SERVFAIL: fail.", Advice: map[check.Product]string{"": "Load the zone on this server or take it out of the NS set.", "bind": "rndc zonestatus ZONE; named-checkzone ZONE FILE", "nsd": "nsd-control zonestatus ZONE", "knot": "knotc zone-status ZONE", "pdns": "pdnsutil check-zone ZONE", "port53": "port53 zone check FILE"}, Refs: []string{"RFC 1034", "RFC 1912"}},
			Needs: check.Needs{Authority: true},
			Run: single(soaQuery, func(r *check.Run, m *check.Reply) (finding.State, string) {
				if len(r.Zone) == 0 {
					return finding.Skipped, "no zone is known to be served here"
				}
				if m.Rcode == wire.NoError && m.Flags&wire.FlagAA != 0 && len(m.Answers(r.Zone, wire.TypeSOA)) == 1 {
					return finding.Pass, "the SOA comes with AA"
				}
				return finding.Fail, fmt.Sprintf("lame: %s, AA %t, %d SOA", m.Rcode, m.Flags&wire.FlagAA != 0, len(m.Answers(r.Zone, wire.TypeSOA)))
			}),
		},
		{
			Check: finding.Check{ID: "SRV-REC", Title: "does not recurse for others", Severity: finding.SevCritical, Sent: "Asks with RD for a name of somebody else. An authoritative server that recurses amplifies attacks and can be poisoned.", Judged: "An answer or RA: fail; from a neighbour of the server: warn. Else: pass.", Advice: recursion, Refs: []string{"RFC 5358", "CVE-2008-1447"}},
			Needs: check.Needs{Authority: true},
			Run:   runRecursion,
		},
		{
			Check: finding.Check{ID: "SRV-UPREF", Title: "gives no upward referrals", Severity: finding.SevMedium, Sent: "Asks for a name outside of all zones. A referral to the root helps nobody but amplifies.", Judged: "NS of a zone above in the authority section: warn.", Advice: map[check.Product]string{"": "Answer REFUSED for what is not served.", "bind": "Remove the hint zone of the root; allow-query-cache { none; };", "pdns": "Remove send-root-referral."}, Refs: []string{"RFC 8499"}},
			Needs: check.Needs{Authority: true},
			Run: single(func(*check.Run) check.Query { return check.Query{Name: mustName("www.example.com"), Type: wire.TypeA} }, func(_ *check.Run, m *check.Reply) (finding.State, string) {
				for _, rr := range m.In(wire.Authority, wire.TypeNS) {
					if len(rr.Owner) == 1 {
						return finding.Warn, fmt.Sprintf("a referral to the root of %d octets", len(m.Raw))
					}
				}
				return finding.Pass, m.Rcode.String()
			}),
		},
		{
			Check: finding.Check{ID: "SRV-AXFR", Title: "keeps the zone to itself", Severity: finding.SevHigh, Sent: "Asks for the whole zone over TCP from where the check runs. Who gets it knows every host.", Judged: "The first SOA arrives: fail.", Advice: transfer, Refs: []string{"RFC 5936"}},
			Needs: check.Needs{Authority: true},
			Run:   transferRun(wire.TypeAXFR),
		},
		{
			Check: finding.Check{ID: "SRV-IXFR", Title: "keeps the zone's changes to itself", Severity: finding.SevHigh, Sent: "Asks for the differences since the serial before, which servers without them answer with the whole zone.", Judged: "More than one record of the zone arrives: fail. The SOA alone tells nothing.", Advice: transfer, Refs: []string{"RFC 1995"}},
			Needs: check.Needs{Authority: true},
			Run:   transferRun(wire.TypeIXFR),
		},
		{
			Check: finding.Check{ID: "SRV-AXFRUDP", Title: "refuses AXFR over UDP", Severity: finding.SevLow, Sent: "AXFR over UDP is not defined.", Judged: "FORMERR, REFUSED, NOTIMP, NOTAUTH or an empty answer: pass. Records: warn.", Advice: generic, Refs: []string{"RFC 5936, section 4.2"}},
			Needs: check.Needs{Authority: true},
			Run:   runAXFRUDP,
		},
		{
			Check: finding.Check{ID: "SRV-UPDATE", Title: "refuses updates from strangers", Severity: finding.SevCritical, Mode: finding.Active, Sent: "Sends an UPDATE with a prerequisite that cannot hold, so that nothing changes. A server that gets as far as the prerequisite would have taken the update.", Judged: "NXRRSET, NXDOMAIN, YXRRSET, YXDOMAIN, NOERROR: fail. REFUSED, NOTAUTH, NOTIMP, FORMERR: pass.", Advice: update, Refs: []string{"RFC 2136, section 3.2", "RFC 3007"}},
			Needs: check.Needs{Authority: true, Cost: check.CostWaits},
			Run:   runUpdate,
		},
		{
			Check: finding.Check{ID: "SRV-NOTIFY", Title: "refuses NOTIFY from strangers", Severity: finding.SevMedium, Mode: finding.Active, Sent: "Sends NOTIFY for the zone. A server that takes it from anyone can be made to ask its primary all the time.", Judged: "NOERROR: warn. REFUSED, NOTAUTH, NOTIMP: pass.", Advice: notify, Refs: []string{"RFC 1996, section 3.10"}},
			Needs: check.Needs{Authority: true, Cost: check.CostWaits},
			Run: single(func(r *check.Run) check.Query {
				return check.Query{Name: r.Apex(), Type: wire.TypeSOA, Opcode: wire.OpcodeNotify, Flags: wire.FlagAA}
			}, func(_ *check.Run, m *check.Reply) (finding.State, string) {
				if m.Rcode == wire.NoError && m.Opcode == wire.OpcodeNotify {
					return finding.Warn, "NOTIFY is accepted from here"
				}
				return finding.Pass, m.Rcode.String()
			}),
		},
		{
			Check: finding.Check{ID: "SRV-ANY", Title: "answers ANY with little", Severity: finding.SevHigh, Sent: "Asks ANY with a size of 4096 and DO, the question that reflection attacks like best.", Judged: "More than 700 octets: fail.", Advice: size, Refs: []string{"RFC 8482", "CERT TA13-088A"}},
			Needs: check.Needs{Authority: true},
			Run: single(func(r *check.Run) check.Query {
				return check.Query{Name: r.Apex(), Type: wire.TypeANY, EDNS: &check.EDNS{Size: 4096, DO: true}}
			}, func(_ *check.Run, m *check.Reply) (finding.State, string) {
				if len(m.Raw) > anyMax {
					return finding.Fail, fmt.Sprintf("%d octets", len(m.Raw))
				}
				return finding.Pass, fmt.Sprintf("%d octets", len(m.Raw))
			}),
		},
		{
			Check: finding.Check{ID: "SRV-AMP", Title: "amplifies little", Severity: finding.SevHigh, Sent: "Asks the eight questions with the largest answers and compares octets.", Judged: "The worst answer above 35 times its question or 1232 octets: fail; above 20 times: warn.", Advice: size, Refs: []string{"RFC 5358", "RFC 8482"}},
			Run:   runAmp,
		},
		{
			Check: finding.Check{ID: "SRV-TCSIZE", Title: "truncates to nothing", Severity: finding.SevLow, Sent: "Asks without EDNS for large sets. A truncated answer is thrown away by the client: what is in it only amplifies.", Judged: "TC with more than 100 octets: warn.", Advice: map[check.Product]string{"": "Send header, question and OPT only when truncating.", "bind": "minimal-responses yes;", "knot": "Load mod-rrl.", "port53": "Nothing to set."}, Refs: []string{"RFC 2181, section 9"}},
			Run:   runTCSize,
		},
		{
			Check: finding.Check{ID: "SRV-RRL", Title: "limits the rate of answers", Severity: finding.SevHigh, Mode: finding.Active, Sent: "Sends one question 200 times a second for two seconds, as a reflection attack would, and then as many names that do not exist.", Judged: "Under 60 % answered, or truncated ones among the answers, is a limit: pass. Of equal questions only: warn. None: fail.", Advice: rrl, Refs: []string{"ISC-TN-2012-1", "RFC 5358"}},
			Needs: check.Needs{Authority: true, Cost: check.CostWaits},
			Run:   runRRL,
		},
		{
			Check: finding.Check{ID: "SRV-RRLSLIP", Title: "lets victims through its rate limit", Severity: finding.SevLow, Mode: finding.Active, Sent: "From the same flood: a limit without truncated answers shuts out the one whose address was forged.", Judged: "Limited without any TC: warn.", Advice: rrl, Refs: []string{"ISC-TN-2012-1"}},
			Needs: check.Needs{Authority: true, Cost: check.CostWaits},
			Run:   runSlip,
		},
		{
			Check: finding.Check{ID: "SRV-COOKIE", Title: "has DNS cookies", Severity: finding.SevMedium, Sent: "Sends client cookies and looks at what comes back.", Judged: "No server cookie, or a bad length that is not FORMERR: warn. The same server cookie for two clients: fail.", Advice: cookies, Refs: []string{"RFC 7873", "RFC 9018"}},
			Run:   runCookie,
		},
		{
			Check: finding.Check{ID: "SRV-8906", Title: "answers what it does not know", Severity: finding.SevMedium, Sent: "Asks for an unknown type, an unknown opcode and with odd flags. Silence makes resolvers wait and retry.", Judged: "Each is answered: NOERROR or NXDOMAIN for the type and flags, NOTIMP for the opcode.", Advice: generic, Refs: []string{"RFC 8906"}},
			Run:   run8906,
		},
		{
			Check: finding.Check{ID: "SRV-TCP-PIPE", Title: "answers questions in a row", Severity: finding.SevLow, Sent: "Writes ten questions into one TCP connection at once.", Judged: "All answered: pass. Fewer: warn.", Advice: tcp, Refs: []string{"RFC 7766, section 6.2.1.1"}},
			Run:   runPipe,
		},
		{
			Check: finding.Check{ID: "SRV-TCP-IDLE", Title: "closes idle connections in time", Severity: finding.SevLow, Mode: finding.Active, Sent: "Asks once over TCP and then waits.", Judged: "Closed after 2 to 30 s: pass. At once, or not within 60 s: warn.", Advice: tcp, Refs: []string{"RFC 7766, section 6.2.3"}},
			Needs: check.Needs{Cost: check.CostWaits},
			Run:   runIdle,
		},
		{
			Check: finding.Check{ID: "SRV-TCP-CAP", Title: "limits connections a client", Severity: finding.SevHigh, Mode: finding.Intrusive, Sent: "Holds 200 idle connections and asks from another address, where this machine has one.", Judged: "The other address is not answered: fail.", Advice: tcp, Refs: []string{"RFC 7766, section 6.2.2"}},
			Needs: check.Needs{Cost: check.CostWaits},
			Run:   runCap,
		},
		{
			Check: finding.Check{ID: "SRV-TCP-SLOW", Title: "does not wait for slow questions", Severity: finding.SevMedium, Mode: finding.Intrusive, Sent: "Writes one octet a second into a TCP connection.", Judged: "Still open after 15 s: warn.", Advice: tcp, Refs: []string{"RFC 7766, section 10"}},
			Needs: check.Needs{Cost: check.CostWaits},
			Run:   runSlow,
		},
		{
			Check: finding.Check{ID: "SRV-CASE", Title: "keeps the case of the question", Severity: finding.SevLow, Sent: "Asks in mixed case. Resolvers compare it as a second secret.", Judged: "Another spelling in the reply: warn.", Advice: generic, Refs: []string{"RFC 4343"}},
			Run:   runCase,
		},
		{
			Check: finding.Check{ID: "SRV-FRAG", Title: "sends no datagrams that must be fragmented", Severity: finding.SevMedium, Sent: "Asks for DNSKEY with a size of 4096. Fragments can be forged without knowing port or ID.", Judged: "A datagram above 1232 octets: warn.", Advice: size, Refs: []string{"RFC 9715", "CVE-2025-59024"}},
			Run: single(func(r *check.Run) check.Query {
				return check.Query{Name: r.Apex(), Type: wire.TypeDNSKEY, EDNS: &check.EDNS{Size: 4096, DO: true}}
			}, func(_ *check.Run, m *check.Reply) (finding.State, string) {
				if len(m.Raw) > udpMax {
					return finding.Warn, fmt.Sprintf("a datagram of %d octets", len(m.Raw))
				}
				return finding.Pass, fmt.Sprintf("%d octets", len(m.Raw))
			}),
		},
		{
			Check: finding.Check{ID: "SRV-BADPKT", Title: "stands malformed packets", Severity: finding.SevHigh, Mode: finding.Active, Sent: "Sends twelve malformed datagrams and asks afterwards whether the server lives.", Judged: "An answer to a response, a NOERROR with data to nonsense, or a dead server: fail. Silence and FORMERR: pass.", Advice: generic, Refs: []string{"RFC 9619", "CVE-2024-2169"}},
			Needs: check.Needs{Cost: check.CostWaits},
			Run:   runBad,
		},
	}
	for _, c := range list {
		c.Group, c.Scope = GroupServer, check.ScopeServer
	}
	return append(list, ednsChecks()...)
}

func runRecursion(ctx context.Context, r *check.Run) []finding.Finding {
	out := single(elsewhere, func(_ *check.Run, m *check.Reply) (finding.State, string) {
		if len(m.Records) > 0 && len(m.In(wire.Answer, wire.TypeA))+len(m.In(wire.Answer, wire.TypeCNAME)) > 0 && m.Flags&wire.FlagAA == 0 {
			return finding.Fail, "it answered for www.example.com: open recursion"
		}
		if m.Flags&wire.FlagRA != 0 && m.Rcode != wire.Refused {
			return finding.Fail, "RA is set: recursion is offered"
		}
		return finding.Pass, "no recursion: " + m.Rcode.String()
	})(ctx, r)
	if f := &out[0]; f.State == finding.Fail && inside(r) {
		f.State, f.Severity = finding.Warn, finding.SevMedium
		f.Detail += ", to a neighbour at least; ask from outside, or say --as-stranger"
	}
	return out
}

func runAXFRUDP(ctx context.Context, r *check.Run) []finding.Finding {
	q := check.Query{Name: r.Apex(), Type: wire.TypeAXFR}
	out := single(func(*check.Run) check.Query { return q }, func(_ *check.Run, m *check.Reply) (finding.State, string) {
		switch m.Rcode {
		case wire.FormErr, wire.Refused, wire.NotImp, wire.NotAuth:
			return finding.Pass, m.Rcode.String()
		}
		if m.Flags&wire.FlagTC != 0 && len(m.Records) == 0 {
			return finding.Pass, "truncated to nothing"
		}
		return finding.Warn, fmt.Sprintf("%s with %d records", m.Rcode, len(m.Records))
	})(ctx, r)
	for i := range out {
		out[i].Evidence.Command = datagramCommand(r, q.Bytes()) // dig asks for AXFR over TCP, whatever it is told
	}
	return out
}

// datagramCommand returns the command that sends octets as they are.
func datagramCommand(r *check.Run, msg []byte) string {
	var b strings.Builder
	for _, x := range msg {
		fmt.Fprintf(&b, "\\%03o", x)
	}
	return fmt.Sprintf("printf '%s' | nc -u -w 2 %s %d | xxd", b.String(), r.Server.Addr.Addr(), r.Server.Addr.Port())
}

// inside tells whether the server is on this machine or on an inner network, where
// what it does for the one who asks tells nothing of strangers.
func inside(r *check.Run) bool {
	a := r.Server.Addr.Addr()
	return !r.Options.Stranger && (a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast())
}

// transferRun returns the check of AXFR or IXFR over TCP.
func transferRun(t wire.Type) func(context.Context, *check.Run) []finding.Finding {
	return func(ctx context.Context, r *check.Run) []finding.Finding {
		ev := finding.Evidence{N: 1, Command: check.Dig(r.Server, check.Query{Name: r.Apex(), Type: t}) + " +tcp"}
		if len(r.Zone) == 0 {
			return finding.Unmeasured(ev, fmt.Errorf("no zone is known: %w", finding.ErrInapplicable))
		}
		msg := check.Question(0, r.Zone, t)
		if t == wire.TypeIXFR {
			m, err := r.Ask(ctx, soaQuery(r))
			if err != nil {
				return finding.Unmeasured(ev, err)
			}
			soa := m.Answers(r.Zone, wire.TypeSOA)
			if len(soa) == 0 || len(soa[0]) < 22 {
				return finding.Verdict(finding.Unknown, ev, "no SOA to take a serial from")
			}
			data := bytes.Clone(soa[0])
			serial := data[len(data)-20:]
			binary.BigEndian.PutUint32(serial, binary.BigEndian.Uint32(serial)-1)
			ev.Command = fmt.Sprintf("dig @%s -p %d -t IXFR=%d -q %s +tcp", r.Server.Addr.Addr(), r.Server.Addr.Port(), binary.BigEndian.Uint32(serial), check.ShellName(r.Zone))
			msg = append(msg, r.Zone...)
			msg = binary.BigEndian.AppendUint16(msg, uint16(wire.TypeSOA))
			msg = append(msg, 0, 1, 0, 0, 0, 0)
			msg = append(binary.BigEndian.AppendUint16(msg, uint16(len(data))), data...)
			msg[9] = 1
		}
		ev.Sent = msg
		c, err := r.DialTCP(ctx)
		if err != nil {
			return finding.Unmeasured(ev, err)
		}
		defer c.Close()
		if _, err := c.Write(check.Framed(msg)); err != nil {
			return finding.Unmeasured(ev, err)
		}
		raw, err := check.ReadFramed(c, r.Patience())
		if err != nil {
			if check.TimedOut(err) {
				return finding.Unmeasured(ev, err)
			}
			return finding.Verdict(finding.Pass, ev, "the connection was closed without an answer")
		}
		ev.Received = raw
		if len(raw) < wire.HeaderLen || !bytes.Equal(raw[:2], msg[:2]) || raw[2]&0x80 == 0 {
			return finding.Unmeasured(ev, errors.New("a reply that does not fit the question"))
		}
		s, detail := judgeTransfer(raw, r.Zone, t)
		return finding.Verdict(s, ev, "%s", detail)
	}
}

// judgeTransfer judges the first message of a transfer.
func judgeTransfer(raw, zone []byte, t wire.Type) (finding.State, string) {
	var m check.Reply
	bad := m.Parse(raw)
	n := 0
	for _, rr := range m.Records {
		if rr.Section == wire.Answer {
			n++
		}
	}
	switch {
	case bad != 0 && len(m.Answers(zone, wire.TypeSOA)) == 0:
		return finding.Unknown, "could not be measured: " + check.Malformed(bad).Error()
	case m.Rcode != wire.NoError || n == 0:
		return finding.Pass, m.Rcode.String()
	case t == wire.TypeIXFR && n == 1:
		return finding.Pass, "the SOA alone"
	case len(m.Answers(zone, wire.TypeSOA)) > 0:
		return finding.Fail, fmt.Sprintf("the zone is given to strangers: %d records in the first message", n)
	}
	return finding.Unknown, "an answer without the zone's SOA"
}

func runUpdate(ctx context.Context, r *check.Run) []finding.Finding {
	if len(r.Zone) == 0 {
		return finding.Unmeasured(finding.Evidence{}, fmt.Errorf("no zone is known: %w", finding.ErrInapplicable))
	}
	// The prerequisite: a name of 80 random bits exists (RFC 2136, section 2.4.4).
	name := check.Below(randomLabel(), r.Zone)
	msg := check.Question(uint16(wire.OpcodeUpdate)<<11, r.Zone, wire.TypeSOA)
	msg = append(msg, name...)
	msg = binary.BigEndian.AppendUint16(msg, uint16(wire.TypeANY))
	msg = binary.BigEndian.AppendUint16(msg, uint16(wire.ClassANY))
	msg = append(msg, 0, 0, 0, 0, 0, 0)
	msg[7] = 1
	ev := finding.Evidence{Sent: msg, N: 1, Command: fmt.Sprintf("printf 'server %s %d\\nzone %s\\nprereq yxdomain %s\\nsend\\n' | nsupdate", r.Server.Addr.Addr(), r.Server.Addr.Port(), wire.NameText(r.Zone), wire.NameText(name))}
	raw, err := datagram(ctx, r, msg)
	if err != nil {
		return finding.Unmeasured(ev, err)
	}
	ev.Received = raw
	var m wire.Message
	m.Parse(raw)
	switch m.Rcode {
	case wire.NXDomain, wire.NXRRSet, wire.YXDomain, wire.YXRRSet, wire.NoError:
		return finding.Verdict(finding.Fail, ev, "updates are taken from here: %s", m.Rcode)
	case wire.Refused, wire.NotAuth, wire.NotImp, wire.FormErr:
		return finding.Verdict(finding.Pass, ev, "%s", m.Rcode)
	}
	return finding.Verdict(finding.Unknown, ev, "%s", m.Rcode)
}

// datagram sends octets as they are and returns the first reply; three tries.
func datagram(ctx context.Context, r *check.Run, msg []byte) ([]byte, error) {
	c, err := r.DialUDP(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	buf := make([]byte, wire.MaxMessage)
	for range 3 {
		if _, err = c.Write(msg); err != nil {
			return nil, err
		}
		if err = c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			return nil, err
		}
		var n int
		if n, err = c.Read(buf); err == nil && n >= wire.HeaderLen && bytes.Equal(buf[:2], msg[:2]) {
			return buf[:n], nil
		}
	}
	if err == nil {
		err = fmt.Errorf("only replies that fit nothing came")
	}
	return nil, err
}

func runAmp(ctx context.Context, r *check.Run) []finding.Finding {
	z, e := r.Apex(), &check.EDNS{Size: 4096, DO: true}
	var worst float64
	var most, heard int
	var ev finding.Evidence
	var last error
	for _, q := range []check.Query{
		{Name: z, Type: wire.TypeANY, EDNS: e},
		{Name: z, Type: wire.TypeDNSKEY, EDNS: e},
		{Name: z, Type: wire.TypeTXT, EDNS: e},
		{Name: z, Type: wire.TypeNS, EDNS: e},
		{Name: z, Type: wire.TypeMX, EDNS: e},
		{Name: check.Below(randomLabel(), z), Type: wire.TypeA, EDNS: e},
		{Name: z, Type: wire.TypeRRSIG, EDNS: e},
		{Name: mustName("version.bind"), Type: wire.TypeTXT, Class: wire.ClassCH, EDNS: e},
	} {
		m, err := r.Ask(ctx, q)
		if err != nil {
			last, ev.Command = err, check.Dig(r.Server, q)
			continue
		}
		heard++
		sent := wire.HeaderLen + len(q.Name) + 4 + 11
		if f := float64(len(m.Raw)) / float64(sent); f > worst {
			worst, most, ev = f, len(m.Raw), seen(r.Server, q, m)
		}
	}
	ev.N = heard
	// With IPv4, UDP and Ethernet headers of 42 octets on both sides.
	wireFactor := float64(most+42) / (float64(most)/max(worst, 1) + 42)
	switch {
	case worst > ampFail || most > udpMax:
		return finding.Verdict(finding.Fail, ev, "up to %d octets: %.1f times the question, %.1f with headers", most, worst, wireFactor)
	case worst > ampWarn:
		return finding.Verdict(finding.Warn, ev, "up to %d octets: %.1f times the question, %.1f with headers", most, worst, wireFactor)
	case last != nil:
		return finding.Unmeasured(ev, last)
	}
	return finding.Verdict(finding.Pass, ev, "at most %d octets: %.1f times the question", most, worst)
}

func runTCSize(ctx context.Context, r *check.Run) []finding.Finding {
	seenTC, heard := false, 0
	var ev finding.Evidence
	var last error
	for _, t := range []wire.Type{wire.TypeDNSKEY, wire.TypeTXT, wire.TypeANY} {
		q := check.Query{Name: r.Apex(), Type: t, EDNS: &check.EDNS{Size: 512, DO: true}}
		m, err := r.Ask(ctx, q)
		if err != nil {
			last, ev.Command = err, check.Dig(r.Server, q)
			continue
		}
		heard++
		ev = seen(r.Server, q, m)
		if m.Flags&wire.FlagTC == 0 {
			continue
		}
		seenTC = true
		if len(m.Raw) > emptyTC+len(r.Zone) {
			return finding.Verdict(finding.Warn, ev, "a truncated reply of %d octets", len(m.Raw))
		}
	}
	switch {
	case last != nil:
		return finding.Unmeasured(ev, last)
	case !seenTC:
		return finding.Verdict(finding.Pass, ev, "nothing had to be truncated in %d replies", heard)
	}
	return finding.Verdict(finding.Pass, ev, "truncated replies are empty")
}

func runCookie(ctx context.Context, r *check.Run) []finding.Finding {
	get := func(cookie []byte) (*check.Reply, []byte, check.Query, error) {
		q := check.Query{Name: r.Apex(), Type: wire.TypeSOA, EDNS: &check.EDNS{Size: check.EDNSSize, Options: check.EDNSOption(wire.OptionCookie, cookie)}}
		m, err := r.Ask(ctx, q)
		if err != nil {
			return nil, nil, q, err
		}
		c, _ := m.Option(wire.OptionCookie)
		return m, c, q, nil
	}
	one, two := randomBytes(8), randomBytes(8)
	m1, c1, q, err := get(one)
	if err != nil {
		return finding.Unmeasured(finding.Evidence{Command: check.Dig(r.Server, q)}, err)
	}
	ev := seen(r.Server, q, m1)
	if len(c1) < 16 || !bytes.Equal(c1[:8], one) {
		return finding.Verdict(finding.Warn, ev, "no server cookie")
	}
	_, c2, q, err := get(two)
	if err != nil {
		return finding.Unmeasured(finding.Evidence{Command: check.Dig(r.Server, q)}, err)
	}
	if len(c2) >= 16 && bytes.Equal(c1[8:], c2[8:]) {
		return finding.Verdict(finding.Fail, ev, "two clients got the same server cookie: it can be forged")
	}
	for _, n := range []int{7, 17, 41} {
		// 17 is a length that is allowed, of a cookie that is wrong.
		m, _, q, err := get(randomBytes(n))
		if err != nil {
			return finding.Unmeasured(finding.Evidence{Command: check.Dig(r.Server, q)}, err)
		}
		if n != 17 && m.Rcode != wire.FormErr {
			return finding.Verdict(finding.Warn, seen(r.Server, q, m), "a cookie of %d octets is answered %s, not FORMERR", n, m.Rcode)
		}
	}
	return finding.Verdict(finding.Pass, ev, "a server cookie of %d octets", len(c1)-8)
}

func run8906(ctx context.Context, r *check.Run) []finding.Finding {
	var wrong []string
	var ev finding.Evidence
	silent, refuses := 0, false
	cases := []struct {
		what string
		q    check.Query
		want []wire.Rcode
	}{
		{"type 1000", check.Query{Name: r.Apex(), Type: 1000}, []wire.Rcode{wire.NoError}},
		{"opcode 15", check.Query{Name: r.Apex(), Type: wire.TypeSOA, Opcode: 15}, []wire.Rcode{wire.NotImp}},
		{"flag AD", check.Query{Name: r.Apex(), Type: wire.TypeSOA, Flags: wire.FlagAD}, []wire.Rcode{wire.NoError}},
		{"flag CD", check.Query{Name: r.Apex(), Type: wire.TypeSOA, Flags: wire.FlagCD}, []wire.Rcode{wire.NoError}},
		{"flag Z", check.Query{Name: r.Apex(), Type: wire.TypeSOA, Flags: 1 << 6}, []wire.Rcode{wire.NoError}},
		{"flag RD", check.Query{Name: r.Apex(), Type: wire.TypeSOA, Flags: wire.FlagRD}, []wire.Rcode{wire.NoError}},
		{"class 999", check.Query{Name: r.Apex(), Type: wire.TypeSOA, Class: 999}, []wire.Rcode{wire.Refused, wire.NotImp, wire.NotAuth, wire.FormErr, wire.ServFail}},
	}
	for _, c := range cases {
		m, err := r.Ask(ctx, c.q)
		if err == nil && m.Bad != 0 {
			ev = seen(r.Server, c.q, m)
			wrong = append(wrong, fmt.Sprintf("%s: %v", c.what, check.Malformed(m.Bad)))
			continue
		}
		if err != nil {
			silent++
			ev = finding.Evidence{Command: check.Dig(r.Server, c.q)}
			wrong = append(wrong, c.what+": no answer")
			continue
		}
		// Who is refused for a plain question may be refused for all.
		refuses = refuses || m.Rcode == wire.Refused && c.q.Opcode == 0
		ok := m.Rcode == wire.Refused && (c.q.Opcode == 0 || refuses)
		for _, w := range c.want {
			ok = ok || m.Rcode == w
		}
		if !ok {
			ev = seen(r.Server, c.q, m)
			wrong = append(wrong, fmt.Sprintf("%s: %s", c.what, m.Rcode))
		}
	}
	ev.N = len(cases)
	switch {
	case silent == len(cases):
		return finding.Verdict(finding.Unknown, ev, "could not be measured: nothing is answered")
	case len(wrong) > 0:
		return finding.Verdict(finding.Warn, ev, "%q", wrong)
	}
	ev.Command = check.Dig(r.Server, cases[0].q)
	return finding.Verdict(finding.Pass, ev, "all %d are answered rightly", len(cases))
}

func runCase(ctx context.Context, r *check.Run) []finding.Finding {
	name := bytes.Clone(check.Below("pOrT53cHeCk", r.Apex()))
	for i, b := range name {
		if i%2 == 0 && 'a' <= b && b <= 'z' {
			name[i] = b - 'a' + 'A'
		}
	}
	return single(func(*check.Run) check.Query { return check.Query{Name: name, Type: wire.TypeA} }, func(_ *check.Run, m *check.Reply) (finding.State, string) {
		switch {
		case !m.HasQuestion && m.Rcode == wire.Refused:
			return finding.Skipped, "the server refuses who asks from here, and leaves the question out"
		case !m.HasQuestion:
			return finding.Warn, "the reply has no question"
		case !bytes.Equal(m.Name, name):
			return finding.Warn, "the question came back in another case"
		}
		return finding.Pass, "the case is kept"
	})(ctx, r)
}

// malformed returns packets that no server may answer as if they were questions.
func malformed(name []byte) [badPackets][]byte {
	good := func() []byte { return check.Question(0, name, wire.TypeSOA) }
	set := func(at int, v uint16) []byte {
		q := good()
		binary.BigEndian.PutUint16(q[at:], v)
		return q
	}
	q := good()
	loop := append(bytes.Clone(q[:wire.HeaderLen]), 0xC0, wire.HeaderLen, 0, 1, 0, 1)
	return [badPackets][]byte{
		set(4, 0)[:wire.HeaderLen], append(set(4, 2), q[wire.HeaderLen:]...), loop, q[:len(q)-3], set(2, wire.FlagQR), set(2, wire.FlagQR|wire.FlagAA),
		set(4, 65535), set(6, 65535), set(8, 65535), set(10, 65535), q[:7], append(bytes.Clone(q[:wire.HeaderLen]), 0x7F, 'x', 0, 0, 1, 0, 1),
	}
}

func runBad(ctx context.Context, r *check.Run) []finding.Finding {
	ev := finding.Evidence{N: badPackets, Command: fmt.Sprintf("printf '\\0\\1\\200\\0\\0\\1\\0\\0\\0\\0\\0\\0\\0\\0\\6\\0\\1' | nc -u -w1 %s %d | xxd", r.Server.Addr.Addr(), r.Server.Addr.Port())}
	if _, err := r.Ask(ctx, soaQuery(r)); err != nil {
		return finding.Unmeasured(ev, err)
	}
	var wrong []string
	for i, p := range malformed(r.Apex()) {
		c, err := r.DialUDP(ctx)
		if err != nil {
			return finding.Unmeasured(ev, err)
		}
		_, _ = c.Write(p)
		_ = c.SetReadDeadline(time.Now().Add(150 * time.Millisecond))
		buf := make([]byte, wire.MaxMessage)
		n, err := c.Read(buf)
		c.Close()
		if err != nil || n < wire.HeaderLen {
			continue
		}
		isResponse := len(p) >= 4 && p[2]&0x80 != 0
		data := binary.BigEndian.Uint16(buf[6:]) > 0 && buf[3]&15 == 0 && i != 7 && i != 8 && i != 9
		if isResponse || data {
			wrong = append(wrong, fmt.Sprintf("packet %d is answered", i+1))
			ev.Sent, ev.Received = p, buf[:n]
		}
	}
	if _, err := r.Ask(ctx, soaQuery(r)); err != nil {
		return finding.Verdict(finding.Fail, ev, "the server does not answer any more: %v", err)
	}
	if len(wrong) > 0 {
		return finding.Verdict(finding.Fail, ev, "%q", wrong)
	}
	return finding.Verdict(finding.Pass, ev, "none of %d is answered as if it were right", badPackets)
}
