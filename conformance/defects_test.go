package conformance_test

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"

	"port53/conformance/zonegen"
)

// A defect is one way to be broken. A server that has it asks the good one, and does what
// the functions say with the question and the reply; those that are nil do nothing.
//
// In one piece: it has a field for each way to be broken.
type defect struct {
	name    string
	lies    bool   // what it says is data of its own: either may be believed
	signed  bool   // there is a signed zone too, whose good server has to be found
	glue    string // none, wrong, v6: what the delegation says of its address
	noTCP   bool   // connections are refused
	noUDP   bool   // so are datagrams
	hang    bool   // connections are taken, and nothing comes back
	delay   func() time.Duration
	drop    func(q *dns.Msg, tcp bool) bool
	instead func(q *dns.Msg, tcp bool) *dns.Msg // of what the good server says; nil: that
	spoil   func(q, r *dns.Msg, tcp bool)
	octets  func(reply []byte) [][]byte // datagrams
	records func(*zonegen.Zone)
	addr    netip.Addr
}

// wait is a defect of its own: slow.
func wait(d time.Duration) func() time.Duration { return func() time.Duration { return d } }

// says answers everything that fits with a response code.
func says(rcode int, fits func(q *dns.Msg) bool) func(*dns.Msg, bool) *dns.Msg {
	return func(q *dns.Msg, _ bool) *dns.Msg {
		if !fits(q) {
			return nil
		}
		r := new(dns.Msg)
		return r.SetRcode(q, rcode)
	}
}

func everything(*dns.Msg) bool { return true }

func ofType(types ...uint16) func(*dns.Msg) bool {
	return func(q *dns.Msg) bool {
		for _, t := range types {
			if q.Question[0].Qtype == t {
				return true
			}
		}
		return false
	}
}

func withEDNS(q *dns.Msg) bool { return q.IsEdns0() != nil }

func withCookie(q *dns.Msg) bool { return cookieIn(q) != nil }

func cookieIn(m *dns.Msg) *dns.EDNS0_COOKIE {
	if o := m.IsEdns0(); o != nil {
		for _, e := range o.Option {
			if c, ok := e.(*dns.EDNS0_COOKIE); ok {
				return c
			}
		}
	}
	return nil
}

// withCookieOf gives a reply a cookie.
func withCookieOf(q, r *dns.Msg, edit func(cookie []byte)) {
	c := cookieIn(q)
	if c == nil || len(c.Cookie) < 16 {
		return
	}
	b, err := hex.DecodeString(c.Cookie[:16])
	if err != nil {
		return
	}
	b = append(b, "server-1"...)
	if edit != nil {
		edit(b)
	}
	o := r.IsEdns0()
	if o == nil {
		o = &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT, Class: 1232}}
		r.Extra = append(r.Extra, o)
	}
	o.Option = append(o.Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: hex.EncodeToString(b)})
}

func leftOf(list []dns.RR, types ...uint16) (kept []dns.RR) {
	for _, rr := range list {
		gone := false
		for _, t := range types {
			sig, isSig := rr.(*dns.RRSIG)
			gone = gone || rr.Header().Rrtype == t || isSig && sig.TypeCovered == t
		}
		if !gone {
			kept = append(kept, rr)
		}
	}
	return kept
}

func noOPT(r *dns.Msg) { r.Extra = leftOf(r.Extra, dns.TypeOPT) }

func rrOf(text string) dns.RR {
	rr, err := dns.NewRR(text)
	if err != nil {
		panic(err)
	}
	return rr
}

// referral is a reply that refers to servers of a zone.
func referral(q *dns.Msg, zone, server string) *dns.Msg {
	r := new(dns.Msg).SetReply(q)
	r.Ns = []dns.RR{rrOf(zone + " 3600 NS " + server)}
	return r
}

// labZone is the zone of the laboratory that a name lies in.
func labZone(name string) string {
	labels := dns.SplitDomainName(name)
	if len(labels) < 2 {
		return "lab."
	}
	return strings.ToLower(strings.Join(labels[len(labels)-2:], ".")) + "."
}

func mixed(name string) bool { return name != strings.ToLower(name) }

// defects are the ways to be broken.
//
// In one piece: it is a table.
var defects = []defect{
	{name: "silent", signed: true, drop: func(*dns.Msg, bool) bool { return true }},
	{name: "slow03", delay: wait(300 * time.Millisecond)},
	{name: "slow07", delay: wait(700 * time.Millisecond)},
	{name: "slow1", delay: wait(time.Second)},
	{name: "slow15", delay: wait(1500 * time.Millisecond)},
	{name: "slow2", delay: wait(2 * time.Second)},
	{name: "slow3", delay: wait(3 * time.Second)},
	{name: "jitter", delay: func() time.Duration { return rand.N(800 * time.Millisecond) }},
	{name: "loss", drop: func(_ *dns.Msg, tcp bool) bool { return !tcp && rand.IntN(3) == 0 }},
	{name: "closed", signed: true, noUDP: true, noTCP: true},
	{name: "onlytcp", noUDP: true},
	{name: "refused", signed: true, instead: says(dns.RcodeRefused, everything)},
	{name: "servfail", signed: true, instead: says(dns.RcodeServerFailure, everything)},
	{name: "notauth", instead: says(dns.RcodeNotAuth, everything)},
	{name: "notimp", instead: says(dns.RcodeNotImplemented, everything)},
	{name: "formerr", instead: says(dns.RcodeFormatError, everything)},
	{name: "nxall", instead: func(q *dns.Msg, _ bool) *dns.Msg {
		r := new(dns.Msg).SetRcode(q, dns.RcodeRefused)
		r.Authoritative = true
		return r
	}},
	{name: "noaaaa", instead: says(dns.RcodeRefused, ofType(dns.TypeAAAA))},
	{name: "aaaafail", instead: says(dns.RcodeServerFailure, ofType(dns.TypeAAAA, dns.TypeHTTPS))},
	{name: "aaaadrop", drop: func(q *dns.Msg, _ bool) bool { return ofType(dns.TypeAAAA, dns.TypeHTTPS)(q) }},
	{name: "nomx", instead: says(dns.RcodeNotImplemented, ofType(dns.TypeMX, dns.TypeTXT))},
	{name: "aaaaup", instead: func(q *dns.Msg, _ bool) *dns.Msg {
		if !ofType(dns.TypeAAAA, dns.TypeHTTPS)(q) {
			return nil
		}
		return referral(q, ".", "ns1.")
	}},
	{name: "aaaaempty", instead: func(q *dns.Msg, _ bool) *dns.Msg {
		if !ofType(dns.TypeAAAA, dns.TypeHTTPS)(q) {
			return nil
		}
		return new(dns.Msg).SetReply(q)
	}},
	{name: "upward", signed: true, instead: func(q *dns.Msg, _ bool) *dns.Msg { return referral(q, ".", "ns1.") }},
	{name: "itself", instead: func(q *dns.Msg, _ bool) *dns.Msg {
		z := labZone(q.Question[0].Name)
		return referral(q, z, "ns1."+z)
	}},
	{name: "empty", lies: true, signed: true, instead: func(q *dns.Msg, _ bool) *dns.Msg { return new(dns.Msg).SetReply(q) }},
	{name: "eformerr", instead: says(dns.RcodeFormatError, withEDNS), spoil: func(_, r *dns.Msg, _ bool) { noOPT(r) }},
	{name: "ebare", instead: func(q *dns.Msg, _ bool) *dns.Msg {
		if !withEDNS(q) {
			return nil
		}
		r := new(dns.Msg).SetRcode(q, dns.RcodeFormatError)
		r.Question = nil
		return r
	}},
	{name: "enotimp", instead: says(dns.RcodeNotImplemented, withEDNS)},
	{name: "eservfail", instead: says(dns.RcodeServerFailure, withEDNS)},
	{name: "ebadvers", instead: func(q *dns.Msg, _ bool) *dns.Msg {
		if !withEDNS(q) {
			return nil
		}
		r := new(dns.Msg).SetRcode(q, dns.RcodeBadVers)
		r.SetEdns0(1232, false)
		return r
	}},
	{name: "edrop", drop: func(q *dns.Msg, _ bool) bool { return withEDNS(q) }},
	{name: "eignore", signed: true, spoil: func(_, r *dns.Msg, _ bool) { noOPT(r) }},
	{name: "enodo", signed: true, spoil: func(_, r *dns.Msg, _ bool) {
		r.Answer = leftOf(r.Answer, dns.TypeRRSIG)
		r.Ns = leftOf(r.Ns, dns.TypeRRSIG, dns.TypeNSEC)
	}},
	{name: "egarbled", octets: func(b []byte) [][]byte {
		var m dns.Msg
		if m.Unpack(b) != nil {
			return [][]byte{b}
		}
		noOPT(&m)
		b, _ = m.Pack()
		binary.BigEndian.PutUint16(b[10:], binary.BigEndian.Uint16(b[10:])+1)
		return [][]byte{append(b, 0, 0, 41, 4, 0xD0, 0, 0, 0, 0, 0, 9, 0, 10, 0, 40, 1)} // an option longer than OPT
	}},
	{name: "eversion", spoil: func(_, r *dns.Msg, _ bool) {
		if o := r.IsEdns0(); o != nil {
			o.SetVersion(1)
		}
	}},
	{name: "cookiedrop", drop: func(q *dns.Msg, tcp bool) bool { return !tcp && withCookie(q) }},
	{name: "cookieform", instead: says(dns.RcodeFormatError, withCookie)},
	{name: "cookiewrong", spoil: func(q, r *dns.Msg, _ bool) { withCookieOf(q, r, func(b []byte) { b[0] ^= 0xFF }) }},
	{name: "cookienew", spoil: func(q, r *dns.Msg, _ bool) {
		withCookieOf(q, r, func(b []byte) { binary.BigEndian.PutUint64(b[8:], rand.Uint64()) })
	}},
	{name: "badcookie", instead: func(q *dns.Msg, tcp bool) *dns.Msg {
		if tcp || !withCookie(q) {
			return nil
		}
		r := new(dns.Msg).SetRcode(q, dns.RcodeBadCookie)
		r.SetEdns0(1232, false)
		withCookieOf(q, r, nil)
		return r
	}},
	{name: "lower", spoil: func(_, r *dns.Msg, _ bool) { r.Question[0].Name = strings.ToLower(r.Question[0].Name) }},
	{name: "upper", spoil: func(_, r *dns.Msg, _ bool) { r.Question[0].Name = strings.ToUpper(r.Question[0].Name) }},
	{name: "caserefuse", instead: says(dns.RcodeRefused, func(q *dns.Msg) bool { return mixed(q.Question[0].Name) })},
	{name: "casenx", instead: func(q *dns.Msg, _ bool) *dns.Msg {
		if !mixed(q.Question[0].Name) {
			return nil
		}
		r := new(dns.Msg).SetRcode(q, dns.RcodeNameError)
		r.Authoritative = true
		z := labZone(q.Question[0].Name)
		r.Ns = []dns.RR{rrOf(z + " 3600 SOA ns1." + z + " hostmaster." + z + " 1 7200 3600 1209600 300")}
		return r
	}},
	{name: "tc", spoil: func(_, r *dns.Msg, tcp bool) { cut(r, tcp) }},
	{name: "tcclosed", signed: true, noTCP: true, spoil: func(_, r *dns.Msg, tcp bool) { cut(r, tcp) }},
	{name: "tchang", hang: true, spoil: func(_, r *dns.Msg, tcp bool) { cut(r, tcp) }},
	{name: "tctcp", signed: true, spoil: func(_, r *dns.Msg, _ bool) { cut(r, false) }},
	{name: "noaa", spoil: func(_, r *dns.Msg, _ bool) { r.Authoritative = false }},
	{name: "ra", spoil: func(_, r *dns.Msg, _ bool) { r.Authoritative, r.RecursionAvailable = false, true }},
	{name: "more", spoil: func(_, r *dns.Msg, _ bool) {
		r.Answer = append(r.Answer, rrOf("www.elsewhere.lab. 3600 A 203.0.113.66"))
		r.Ns = append(r.Ns, rrOf("elsewhere.lab. 3600 NS ns.evil.lab."))
		r.Extra = append([]dns.RR{rrOf("ns.evil.lab. 3600 A 203.0.113.66")}, r.Extra...)
	}},
	{name: "wrongid", octets: func(b []byte) [][]byte {
		wrong := append([]byte(nil), b...)
		wrong[0] ^= 0x55
		return [][]byte{wrong, b}
	}},
	{name: "wrongname", octets: func(b []byte) [][]byte {
		wrong := append([]byte(nil), b...)
		if len(wrong) > 13 {
			wrong[13] = 'z'
		}
		return [][]byte{wrong, b}
	}},
	{name: "twice", octets: func(b []byte) [][]byte { return [][]byte{b, b} }},
	{name: "half", octets: func(b []byte) [][]byte { return [][]byte{b[:len(b)/2]} }},
	{name: "behind", octets: func(b []byte) [][]byte { return [][]byte{append(append([]byte(nil), b...), 0, 0, 0, 0)} }},
	{name: "noqr", signed: true, spoil: func(_, r *dns.Msg, _ bool) { r.Response = false }},
	{name: "noquestion", spoil: func(_, r *dns.Msg, _ bool) { r.Question = nil }},
	{name: "reverse", spoil: func(_, r *dns.Msg, _ bool) {
		for i, j := 0, len(r.Answer)-1; i < j; i, j = i+1, j-1 {
			r.Answer[i], r.Answer[j] = r.Answer[j], r.Answer[i]
		}
	}},
	{name: "ttl0", spoil: func(_, r *dns.Msg, _ bool) {
		for _, rr := range append(append([]dns.RR(nil), r.Answer...), r.Ns...) {
			rr.Header().Ttl = 0
		}
	}},
	{name: "ent", spoil: func(_, r *dns.Msg, _ bool) {
		if len(r.Answer) == 0 && strings.HasPrefix(strings.ToLower(r.Question[0].Name), "ent.") {
			r.Rcode = dns.RcodeNameError
		}
	}},
	{name: "partref", instead: func(q *dns.Msg, _ bool) *dns.Msg {
		if n := strings.ToLower(q.Question[0].Name); strings.HasPrefix(n, "b.") || strings.HasPrefix(n, "ent.") {
			return new(dns.Msg).SetRcode(q, dns.RcodeRefused)
		}
		return nil
	}},
	{name: "partnx", instead: func(q *dns.Msg, _ bool) *dns.Msg {
		n := strings.ToLower(q.Question[0].Name)
		if !strings.HasPrefix(n, "b.") && !strings.HasPrefix(n, "ent.") {
			return nil
		}
		r := new(dns.Msg).SetRcode(q, dns.RcodeNameError)
		r.Authoritative = true
		z := labZone(n)
		r.Ns = []dns.RR{rrOf(z + " 3600 SOA ns1." + z + " hostmaster." + z + " 1 7200 3600 1209600 300")}
		return r
	}},
	{name: "partdrop", drop: func(q *dns.Msg, _ bool) bool {
		n := strings.ToLower(q.Question[0].Name)
		return strings.HasPrefix(n, "b.") || strings.HasPrefix(n, "ent.")
	}},
	{name: "nokey", signed: true, instead: says(dns.RcodeServerFailure, ofType(dns.TypeDNSKEY, dns.TypeDS))},
	{name: "badkey", signed: true, spoil: func(_, r *dns.Msg, _ bool) { spoilSignatures(r, dns.TypeDNSKEY) }},
	{name: "badsig", signed: true, spoil: func(_, r *dns.Msg, _ bool) { spoilSignatures(r, 0) }},
	{name: "old", signed: true, spoil: func(_, r *dns.Msg, _ bool) {
		for _, rr := range append(append([]dns.RR(nil), r.Answer...), r.Ns...) {
			if sig, ok := rr.(*dns.RRSIG); ok {
				sig.Expiration = uint32(time.Now().Add(-24 * time.Hour).Unix())
			}
		}
	}},
	{name: "nonsec", signed: true, spoil: func(_, r *dns.Msg, _ bool) { r.Ns = leftOf(r.Ns, dns.TypeNSEC) }},
	{name: "stale", lies: true, signed: true, instead: says(dns.RcodeNameError, func(q *dns.Msg) bool { return strings.HasPrefix(strings.ToLower(q.Question[0].Name), "text.") })},
	{name: "large", lies: true, spoil: func(q, r *dns.Msg, _ bool) {
		if len(r.Answer) > 0 && q.Question[0].Qtype == dns.TypeTXT {
			for i := range 8 { // more than the good server has, and more than fits
				text := strings.Repeat(string(rune('a'+i)), 250)
				r.Answer = append(r.Answer, rrOf(q.Question[0].Name+" 3600 TXT "+text))
			}
		}
	}},
	{name: "noglue", glue: "none"},
	{name: "badglue", glue: "wrong"},
	{name: "onlyv6", glue: "v6"},
	{name: "apexalias", lies: true, records: func(z *zonegen.Zone) { z.Add("@", "TXT", `"beside"`) }, instead: func(q *dns.Msg, _ bool) *dns.Msg {
		if z := labZone(q.Question[0].Name); strings.EqualFold(q.Question[0].Name, z) && ofType(dns.TypeMX, dns.TypeA)(q) {
			r := new(dns.Msg).SetReply(q)
			r.Authoritative = true
			r.Answer = []dns.RR{rrOf(z + " 3600 CNAME www." + z)}
			return r
		}
		return nil
	}},
	{name: "deadns", records: func(z *zonegen.Zone) { z.Add("@", "NS", "nothing.nowhere.lab.") }},
}

// cut makes a reply of UDP one that is cut off.
func cut(r *dns.Msg, tcp bool) {
	if !tcp {
		r.Truncated = true
		r.Answer, r.Ns = nil, nil
	}
}

// spoilSignatures makes the signatures of a type wrong; 0 is all types.
func spoilSignatures(r *dns.Msg, covered uint16) {
	for _, rr := range append(append([]dns.RR(nil), r.Answer...), r.Ns...) {
		if sig, ok := rr.(*dns.RRSIG); ok && (covered == 0 || sig.TypeCovered == covered) {
			sig.Signature = "AAAA" + sig.Signature[4:]
		}
	}
}
