package conformance_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"port53/conformance/zonegen"
)

// An unusual is a set-up of a zone that is sound, though it is not what most have. In its texts
// $1 and $2 are the addresses of its two servers.
type unusual struct {
	name    string
	records string // in place of plainRecords; "+" before it: beside them
	above   string // in place of the usual delegation, relative to the zone
	signed  func(s *zonegen.Signing) error
	second  func(s *zonegen.Signing) error // of the second server alone (RFC 8901)
	ds      func(keys []*zonegen.Key) []*zonegen.Key
	apex    bool                                // it is insecure though it is signed: no DS
	says    func(q, m *dns.Msg, tcp bool) bool  // how both servers answer
	first   func(q *dns.Msg, tcp bool) *dns.Msg // what they answer without looking; nil: nothing of it
	four    bool                                // without IPv6, though the servers have it
	six     bool                                // with IPv6 alone
}

const plainRecords = `@ SOA ns1 host 2026112901 14400 3600 1209600 3600
@ NS ns1
@ NS ns2
ns1 A $1
ns2 A $2
@ A 5.9.0.80
@ MX 10 mail
@ TXT "v=spf1 mx -all"
_dmarc TXT "v=DMARC1; p=reject"
@ CAA 0 issue "ca.example.net"
www A 5.9.0.80
mail A 5.9.0.25
`

// noMail is what a zone has that sends none, and gets none.
const noMail = "@ MX 0 .\n@ TXT \"v=spf1 -all\"\n_dmarc TXT \"v=DMARC1; p=reject\"\n@ CAA 0 issue \";\"\n"

// without returns records without the lines that begin with one of some words.
func less(text string, begins ...string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !slices.ContainsFunc(begins, func(w string) bool { return strings.HasPrefix(line, w) }) {
			b.WriteString(line)
		}
	}
	return b.String()
}

// keyed signs with keys of flags and algorithms, and says how.
func keyed(how func(s *zonegen.Signing), of ...int) func(*zonegen.Signing) error {
	return func(s *zonegen.Signing) (err error) {
		s.Keys, err = newKeys(s.Origin, of)
		if err == nil && how != nil {
			how(s)
		}
		return err
	}
}

func unusualZones() []unusual {
	const (
		ecdsa = int(dns.ECDSAP256SHA256)
		p384  = int(dns.ECDSAP384SHA384)
		ed    = int(dns.ED25519)
		rsa   = int(dns.RSASHA256)
	)
	nsec3 := func(s *zonegen.Signing) { s.NSEC3 = true }
	optOut := func(s *zonegen.Signing) { s.NSEC3, s.OptOut = true, true }
	passive := func(list ...int) func(*zonegen.Signing) {
		return func(s *zonegen.Signing) {
			for _, i := range list {
				s.Keys[i].Passive = true
			}
		}
	}
	keysOf := func(list ...int) func([]*zonegen.Key) []*zonegen.Key {
		return func(keys []*zonegen.Key) (out []*zonegen.Key) {
			for _, i := range list {
				out = append(out, keys[i])
			}
			return out
		}
	}
	var out []unusual
	for _, a := range []int{rsa, int(dns.RSASHA512), ecdsa, p384, ed} {
		name := strings.ToLower(dns.AlgorithmToString[uint8(a)])
		out = append(out,
			unusual{name: name + "nsec", signed: keyed(nil, 257, a, 256, a)},
			unusual{name: name + "nsec3", signed: keyed(nsec3, 257, a, 256, a)},
			unusual{name: name + "csk", signed: keyed(nsec3, 257, a)},
		)
	}
	out = append(out,
		unusual{name: "optout", records: "+dev NS ns.dev\nns.dev A $1\nshop NS ns.shop\nns.shop A $2\n", signed: keyed(optOut, 257, ecdsa, 256, ecdsa)},
		unusual{name: "zsknew", signed: keyed(passive(2), 257, ecdsa, 256, ecdsa, 256, ecdsa)},
		unusual{name: "zskold", signed: keyed(passive(1), 257, ecdsa, 256, ecdsa, 256, ecdsa)},
		unusual{name: "zskboth", signed: keyed(nsec3, 257, ecdsa, 256, ecdsa, 256, ecdsa)},
		unusual{name: "kskboth", signed: keyed(nil, 257, ecdsa, 256, ecdsa, 257, ecdsa)},
		unusual{name: "kskbothds", signed: keyed(nsec3, 257, ecdsa, 256, ecdsa, 257, ecdsa), ds: keysOf(0, 2)},
		unusual{name: "ksknewds", signed: keyed(nil, 257, ecdsa, 256, ecdsa, 257, ecdsa), ds: keysOf(2)},
		unusual{name: "ksksoon", signed: keyed(passive(2), 257, ecdsa, 256, ecdsa, 257, ecdsa)},
		unusual{name: "csknew", signed: keyed(nil, 257, ecdsa, 257, ecdsa), ds: keysOf(0, 1)},
		unusual{name: "algorithmboth", signed: keyed(nil, 257, rsa, 256, rsa, 257, ecdsa, 256, ecdsa)},
		unusual{name: "algorithmds", signed: keyed(nsec3, 257, rsa, 256, rsa, 257, ecdsa, 256, ecdsa), ds: keysOf(0, 2)},
		unusual{name: "algorithmnew", signed: keyed(nil, 257, rsa, 256, rsa, 257, ecdsa, 256, ecdsa), ds: keysOf(2)},
		unusual{name: "edroll", signed: keyed(nsec3, 257, ed, 256, ed, 257, ecdsa, 256, ecdsa), ds: keysOf(0, 2)},
		unusual{name: "notyet", signed: keyed(nil, 257, ecdsa, 256, ecdsa), apex: true},
		unusual{name: "notyet3", signed: keyed(nsec3, 257, ecdsa, 256, ecdsa), apex: true},
		unusual{name: "goinginsecure", records: "+@ CDS 0 0 0 00\n@ CDNSKEY 0 3 0 AA==\n", signed: keyed(nil, 257, ecdsa, 256, ecdsa), apex: true},
		unusual{name: "twosigners", signed: keyed(nil, 257, ecdsa, 256, ecdsa), second: keyed(nil, 257, ecdsa, 256, ecdsa)},
		unusual{name: "twosigners3", signed: keyed(nsec3, 257, ecdsa, 256, ecdsa), second: keyed(nsec3, 257, ecdsa, 256, ecdsa)},
		unusual{name: "signersdiffer", signed: keyed(nil, 257, ecdsa, 256, ecdsa), second: keyed(nsec3, 257, ecdsa, 256, ecdsa)},
		unusual{name: "wildsigned", records: "+* A 5.9.0.81\n", signed: keyed(nil, 257, ecdsa, 256, ecdsa)},
		unusual{name: "wildsigned3", records: "+* A 5.9.0.81\n*.dev TXT any\n", signed: keyed(nsec3, 257, ecdsa, 256, ecdsa)},
		unusual{name: "wildcname", records: "+* CNAME www\n", signed: keyed(nil, 257, ecdsa, 256, ecdsa)},
		unusual{name: "wildcname3", records: "+* CNAME www\n", signed: keyed(nsec3, 257, ecdsa, 256, ecdsa)},
		unusual{name: "dname", records: "+old DNAME new\nx.new A 5.9.0.82\n", signed: keyed(nil, 257, ecdsa, 256, ecdsa)},
		unusual{name: "dnameapex", records: strings.Replace(less(plainRecords, "www", "_dmarc", "mail", "ns", "@ MX", "@ NS"), "SOA ns1", "SOA ns1.hosts.zone.", 1) + "@ NS ns1.hosts.zone.\n@ NS ns2.hosts.zone.\n@ DNAME hosts.zone.\n@ MX 10 mail.hosts.zone.\n", above: "@ NS ns1.hosts.zone.\n@ NS ns2.hosts.zone.\n", signed: keyed(nil, 257, ecdsa, 256, ecdsa)},
		unusual{name: "empties", records: "+a.b.c.d A 5.9.0.83\n", signed: keyed(nil, 257, ecdsa, 256, ecdsa)},
		unusual{name: "empties3", records: "+a.b.c.d A 5.9.0.83\n", signed: keyed(nsec3, 257, ecdsa, 256, ecdsa)},
		unusual{name: "delegates", records: "+dev NS ns.dev\nns.dev A $1\n", signed: keyed(nil, 257, ecdsa, 256, ecdsa)},
	)
	return slices.Concat(out, unusualRecords(), unusualServers())
}

// unusualRecords are zones without signatures whose records are seldom.
func unusualRecords() []unusual {
	thirteen, glue := "", ""
	for i := range 13 {
		thirteen += fmt.Sprintf("@ NS ns%d\n", i+1)
		glue += fmt.Sprintf("ns%d A $%d\n", i+1, i%2+1)
	}
	var texts, addresses strings.Builder
	for i := range 30 {
		fmt.Fprintf(&texts, "many TXT \"%d %s\"\n", i, strings.Repeat("x", 200))
		fmt.Fprintf(&addresses, "www A 5.9.1.%d\n", i+1)
	}
	return []unusual{
		{name: "plain"},
		{name: "hosts", records: "+"},
		{name: "nullmx", records: less(plainRecords, "@ MX", "@ TXT", "mail", "_dmarc", "@ CAA") + noMail},
		{name: "thirteen", records: less(plainRecords, "ns", "@ NS") + thirteen + glue, above: thirteen + glue},
		{name: "glueless", records: less(plainRecords, "ns", "@ NS") + "@ NS ns1.hosts.zone.\n@ NS ns2.hosts.zone.\n", above: "@ NS ns1.hosts.zone.\n@ NS ns2.hosts.zone.\n"},
		{name: "halfglue", records: less(plainRecords, "ns2", "@ NS ns2") + "@ NS ns2.hosts.zone.\n", above: "@ NS ns1\nns1 A $1\n@ NS ns2.hosts.zone.\n"},
		{name: "hidden", records: strings.Replace(plainRecords, "SOA ns1", "SOA hidden", 1) + "hidden A 5.9.0.99\n"},
		{name: "hiddenoutside", records: strings.Replace(plainRecords, "SOA ns1", "SOA ns1.hosts.zone.", 1)},
		{name: "dates", records: strings.Replace(plainRecords, "2026112901", "1764400000", 1)},
		{name: "zero", records: strings.Replace(plainRecords, "2026112901", "0", 1)},
		{name: "wrapped", records: strings.Replace(plainRecords, "2026112901", "4294967295", 1)},
		{name: "bare", records: less(plainRecords, "@ A", "www", "mail", "@ MX", "@ TXT", "_dmarc", "@ CAA") + noMail},
		{name: "aliases", records: less(plainRecords, "www") + "www CNAME a\na CNAME b\nb CNAME c\nc A 5.9.0.80\nblog CNAME www\nshop CNAME blog\nftp CNAME shop\n"},
		{name: "outalias", records: "+blog CNAME www.plain.zone.\n"},
		{name: "wild", records: "+* A 5.9.0.81\n"},
		{name: "wildtext", records: "+* TXT any\n"},
		{name: "wildalias", records: "+* CNAME www\n"},
		{name: "wildmail", records: "+* MX 10 mail\n"},
		{name: "dnameplain", records: "+old DNAME plain.zone.\n"},
		{name: "https", records: "+@ HTTPS 1 . alpn=h2,h3 ipv4hint=5.9.0.80\nwww HTTPS 1 . alpn=h2\n"},
		{name: "httpsalias", records: "+@ HTTPS 0 www\n"},
		{name: "svcb", records: "+_dns SVCB 1 www alpn=dot\n"},
		{name: "tlsa", records: "+_25._tcp.mail TLSA 3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n"},
		{name: "caawild", records: less(plainRecords, "@ CAA") + "@ CAA 0 issue \";\"\n@ CAA 0 issuewild \"ca.example.net\"\n@ CAA 0 iodef \"mailto:x@plain.zone\"\n"},
		{name: "srv", records: "+_sip._tcp SRV 10 10 5060 www\n_imap._tcp SRV 0 0 0 .\n"},
		{name: "naptr", records: "+@ NAPTR 100 10 \"s\" \"SIP+D2T\" \"\" _sip._tcp\n_sip._tcp SRV 0 0 5060 www\n"},
		{name: "sshfp", records: "+www SSHFP 4 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\nwww LOC 52 22 23 N 4 53 32 E -2m\n"},
		{name: "unknowntype", records: "+www TYPE65400 \\# 3 010203\n"},
		{name: "large", records: "+" + texts.String()},
		{name: "manyaddresses", records: less(plainRecords, "www") + addresses.String()},
		{name: "spfredirect", records: less(plainRecords, "@ TXT") + "@ TXT \"v=spf1 redirect=_spf.plain.zone\"\n"},
		{name: "spfmacro", records: less(plainRecords, "@ TXT") + "@ TXT \"v=spf1 ip4:5.9.0.0/24 exists:%{i}._spf.plain.zone -all\"\n"},
		{name: "twotexts", records: "+@ TXT \"a text\" \" in parts\"\n@ TXT \"site-verification=0123456789\"\n"},
		{name: "underscores", records: "+_x._y TXT z\nwww_old A 5.9.0.84\n"},
		{name: "xn--mnchen-3ya"},
		{name: "deep", records: "+a.b.c.d.e.f.g A 5.9.0.85\n"},
		{name: "mailout", records: less(plainRecords, "@ MX", "mail") + "@ MX 10 mail.plain.zone.\n@ MX 20 mail.hosts.zone.\n"},
		{name: "mailself", records: less(plainRecords, "@ MX", "mail") + "@ MX 10 @\n"},
		{name: "shortttl", records: less(plainRecords, "www") + "www 30 A 5.9.0.80\n"},
		{name: "dualstack", records: "+www AAAA 2a0b::80\nmail AAAA 2a0b::25\n"},
		{name: "txtdkim", records: "+sel._domainkey TXT \"v=DKIM1; k=ed25519; p=MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\"\n"},
		{name: "mtasts", records: "+_mta-sts TXT \"v=STSv1; id=1\"\nmta-sts A 5.9.0.86\n_smtp._tls TXT \"v=TLSRPTv1; rua=mailto:x@plain.zone\"\n"},
	}
}

// unusualServers are zones whose servers answer as few do.
func unusualServers() []unusual {
	badCookie := func(q *dns.Msg, tcp bool) *dns.Msg {
		o := q.IsEdns0()
		if tcp || o == nil {
			return nil
		}
		for _, x := range o.Option {
			if c, ok := x.(*dns.EDNS0_COOKIE); ok {
				if len(c.Cookie) == 16+16 && strings.HasSuffix(c.Cookie, "5353535353535353") {
					return nil
				}
				m := new(dns.Msg).SetRcode(q, dns.RcodeBadCookie)
				m.SetEdns0(1232, o.Do())
				m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: c.Cookie[:16] + "5353535353535353"})
				return m
			}
		}
		return nil
	}
	needsCookie := func(q *dns.Msg, tcp bool) *dns.Msg {
		if m := badCookie(q, tcp); m != nil || tcp {
			return m
		}
		if o := q.IsEdns0(); o != nil && slices.ContainsFunc(o.Option, func(x dns.EDNS0) bool { return x.Option() == dns.EDNS0COOKIE }) {
			return nil
		}
		m := new(dns.Msg).SetReply(q)
		m.Truncated = true
		if o := q.IsEdns0(); o != nil {
			m.SetEdns0(1232, o.Do())
		}
		return m
	}
	var asked atomic.Int64
	limited := func(q *dns.Msg, tcp bool) *dns.Msg {
		if tcp || q.Opcode != dns.OpcodeQuery || asked.Add(1)%2 == 0 {
			return nil
		}
		m := new(dns.Msg).SetReply(q)
		m.Truncated = true
		if o := q.IsEdns0(); o != nil {
			m.SetEdns0(1232, o.Do())
		}
		return m
	}
	shuffled := func(_, m *dns.Msg, _ bool) bool {
		rand.Shuffle(len(m.Answer), func(i, j int) { m.Answer[i], m.Answer[j] = m.Answer[j], m.Answer[i] })
		return true
	}
	var turn atomic.Int64
	chosen := func(_, m *dns.Msg, _ bool) bool {
		for _, rr := range m.Answer {
			if a, ok := rr.(*dns.A); ok && strings.HasPrefix(a.Hdr.Name, "www.") {
				a.Hdr.Ttl, a.A = 60, net.IPv4(5, 9, 2, byte(turn.Add(1)%20)+1)
			}
		}
		return true
	}
	slow := func(d time.Duration) func(_, _ *dns.Msg, _ bool) bool {
		return func(_, _ *dns.Msg, _ bool) bool { time.Sleep(d); return true }
	}
	return []unusual{
		{name: "cookies", first: badCookie},
		{name: "cookiesneeded", first: needsCookie},
		{name: "limited", first: limited},
		{name: "shuffled", records: "+www A 5.9.0.81\nwww A 5.9.0.82\nwww A 5.9.0.83\n", says: shuffled},
		{name: "chosen", says: chosen},
		{name: "slow", says: slow(150 * time.Millisecond)},
		{name: "noany", says: func(q, m *dns.Msg, _ bool) bool {
			if len(q.Question) == 1 && q.Question[0].Qtype == dns.TypeANY {
				m.Answer = []dns.RR{&dns.HINFO{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeHINFO, Class: dns.ClassINET, Ttl: 3600}, Cpu: "RFC8482"}}
			}
			return true
		}},
		{name: "talkative", says: func(q, m *dns.Msg, _ bool) bool {
			if len(m.Answer) > 0 && len(q.Question) == 1 && q.Question[0].Qtype != dns.TypeNS && len(m.Ns) == 0 && m.Rcode == dns.RcodeSuccess {
				m.Ns = []dns.RR{&dns.NS{Hdr: dns.RR_Header{Name: "talkative.zone.", Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: 3600}, Ns: "ns1.talkative.zone."}}
			}
			return true
		}},
		{name: "smallbuffer", says: func(q, m *dns.Msg, _ bool) bool {
			if o := m.IsEdns0(); o != nil {
				o.SetUDPSize(512)
			}
			return true
		}},
		{name: "withnsid", says: func(q, m *dns.Msg, _ bool) bool {
			if o := m.IsEdns0(); o != nil {
				o.Option = append(o.Option, &dns.EDNS0_EDE{InfoCode: 0, ExtraText: "nothing"})
			}
			return true
		}},
		{name: "withoutsix", four: true},
		{name: "sixonly", six: true},
	}
}
