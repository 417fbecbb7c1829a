package conformance_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"port53/conformance/netns"
	"port53/conformance/peers"
	"port53/conformance/zonegen"
)

// The places of a laboratory whose addresses are like those of the Internet.
const (
	labRoot   = "5.0.0.1"
	labFirst  = "5.1.0.1"  // Knot, with the zone as it should be
	labSecond = "6.2.0.1"  // another, with one fault
	labBehind = "10.9.2.1" // BIND, which the second is in truth
	labAsker  = "10.9.3.1" // Unbound, which knows the second server alone
)

const signedZone = `@ SOA ns1 host 1 14400 3600 604800 3600
@ NS ns1
@ NS ns2
ns1 A 5.1.0.1
ns2 A 6.2.0.1
@ A 5.1.0.80
@ MX 10 mail
@ TXT "v=spf1 mx -all"
_dmarc TXT "v=DMARC1; p=reject"
@ CAA 0 issue "ca.example.net"
www A 5.1.0.80
mail A 5.1.0.25
blog CNAME www
old DNAME www
sub NS ns.sub
sub DS 12345 13 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
ns.sub A 5.1.0.1
dev NS ns.dev
ns.dev A 5.1.0.1
`

// A broken is a signed zone whose second server has it with one fault.
type broken struct {
	name    string
	records string                                          // beside those of signedZone
	nsec3   bool                                            // else NSEC
	keys    []int                                           // flags and algorithm, two numbers for each; nil: a KSK and a ZSK
	change  func(f *forge, list []dns.RR) ([]dns.RR, error) // of what the second server has
	mangle  mangler                                         // of what it says
	ds      func(*dns.DS)                                   // of what the zone above has
	ask     []string                                        // beside what is asked of each: "name type"
}

// A forge is what a wrong version of a zone is made with.
type forge struct {
	*zonegen.Signing
	plain []dns.RR // without DNSSEC
}

// that selects records.
type that func(dns.RR) bool

// sigOf selects signatures over a type of a name; a name of "" is any, a type of 0 too.
func (f *forge) sigOf(name string, t uint16) that {
	return func(rr dns.RR) bool {
		s, ok := rr.(*dns.RRSIG)
		return ok && (t == 0 || s.TypeCovered == t) && (name == "" || dns.CanonicalName(s.Hdr.Name) == f.full(name))
	}
}

// setOf selects records of a name and type.
func (f *forge) setOf(name string, t uint16) that {
	return func(rr dns.RR) bool {
		return rr.Header().Rrtype == t && (name == "" || dns.CanonicalName(rr.Header().Name) == f.full(name))
	}
}

func (f *forge) full(name string) string {
	if name == "@" {
		return f.Origin
	}
	return name + "." + f.Origin
}

// without leaves records out.
func without(list []dns.RR, which that) ([]dns.RR, error) {
	out := slices.DeleteFunc(slices.Clone(list), which)
	if len(out) == len(list) {
		return nil, fmt.Errorf("there is nothing to leave out")
	}
	return out, nil
}

// changed replaces records by changed copies.
func changed[T dns.RR](list []dns.RR, which that, how func(T)) ([]dns.RR, error) {
	out, n := slices.Clone(list), 0
	for i, rr := range out {
		if which(rr) {
			c, ok := dns.Copy(rr).(T)
			if !ok {
				continue
			}
			how(c)
			out[i], n = c, n+1
		}
	}
	if n == 0 {
		return nil, fmt.Errorf("there is nothing to change")
	}
	return out, nil
}

// again replaces the signatures over sets by those of another time.
func (f *forge) again(list []dns.RR, which that, from, until time.Duration) ([]dns.RR, error) {
	return changed(list, which, func(s *dns.RRSIG) {
		at := *f.Signing
		at.From, at.Until = time.Now().Add(from), time.Now().Add(until)
		sigs, err := at.Signatures(slices.DeleteFunc(slices.Clone(list), func(rr dns.RR) bool {
			return rr.Header().Rrtype != s.TypeCovered || !strings.EqualFold(rr.Header().Name, s.Hdr.Name)
		}))
		if err != nil {
			panic(err)
		}
		for _, x := range sigs {
			if x.(*dns.RRSIG).KeyTag == s.KeyTag {
				*s = *x.(*dns.RRSIG)
			}
		}
	})
}

// afresh signs the plain zone in another way.
func (f *forge) afresh(how func(*zonegen.Signing) error) ([]dns.RR, error) {
	s := *f.Signing
	if err := how(&s); err != nil {
		return nil, err
	}
	return s.Sign(f.plain)
}

func flip(text string) string {
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		panic(err)
	}
	b[len(b)/2] ^= 1
	return base64.StdEncoding.EncodeToString(b)
}

// brokenZones are the zones. What is wrong with a signature is tried over each kind of set: a
// resolver asks for all of them.
func brokenZones() []broken {
	const past, ahead = -60 * 24 * time.Hour, 10 * 24 * time.Hour
	kinds := []struct {
		name string
		t    uint16
	}{
		{"@", dns.TypeSOA},
		{"@", dns.TypeNS},
		{"@", dns.TypeDNSKEY},
		{"@", dns.TypeA},
		{"@", dns.TypeMX},
		{"@", dns.TypeTXT},
		{"@", dns.TypeCAA},
		{"www", dns.TypeA},
		{"ns1", dns.TypeA},
		{"_dmarc", dns.TypeTXT},
		{"blog", dns.TypeCNAME},
		{"sub", dns.TypeDS},
		{"", dns.TypeNSEC},
		{"", dns.TypeNSEC3},
	}
	var out []broken
	add := func(b broken) {
		b.name = fmt.Sprintf("b%d-%s", len(out), b.name)
		out = append(out, b)
	}
	for i, k := range kinds {
		on := strings.ToLower(strings.Trim(k.name, "_@") + dns.TypeToString[k.t])
		nsec3 := k.t == dns.TypeNSEC3 || k.t != dns.TypeNSEC && i%2 == 1
		for name, change := range map[string]func(f *forge, list []dns.RR) ([]dns.RR, error){
			"expired": func(f *forge, list []dns.RR) ([]dns.RR, error) {
				return f.again(list, f.sigOf(k.name, k.t), past, -3*24*time.Hour)
			},
			"stripped": func(f *forge, list []dns.RR) ([]dns.RR, error) { return without(list, f.sigOf(k.name, k.t)) },
			"altered": func(f *forge, list []dns.RR) ([]dns.RR, error) {
				return changed(list, f.sigOf(k.name, k.t), func(s *dns.RRSIG) { s.Signature = flip(s.Signature) })
			},
		} {
			add(broken{name: name + "-" + on, nsec3: nsec3, change: change})
		}
		if i%3 == 0 {
			add(broken{name: "keytag-" + on, nsec3: nsec3, change: func(f *forge, list []dns.RR) ([]dns.RR, error) {
				return changed(list, f.sigOf(k.name, k.t), func(s *dns.RRSIG) { s.KeyTag++ })
			}})
			add(broken{name: "future-" + on, nsec3: nsec3, change: func(f *forge, list []dns.RR) ([]dns.RR, error) {
				return f.again(list, f.sigOf(k.name, k.t), 24*time.Hour, ahead)
			}})
			add(broken{name: "signer-" + on, nsec3: nsec3, change: func(f *forge, list []dns.RR) ([]dns.RR, error) {
				return changed(list, f.sigOf(k.name, k.t), func(s *dns.RRSIG) { s.SignerName = "zone." })
			}})
		}
	}
	for _, x := range slices.Concat(brokenData(), brokenProofs(), brokenKeys(), brokenWays()) {
		add(x)
	}
	return out
}

// brokenData are zones whose data is not what was signed.
func brokenData() []broken {
	return []broken{
		{name: "mx", change: func(f *forge, list []dns.RR) ([]dns.RR, error) {
			return changed(list, f.setOf("@", dns.TypeMX), func(m *dns.MX) { m.Preference = 20 })
		}},
		{name: "txt", nsec3: true, change: func(f *forge, list []dns.RR) ([]dns.RR, error) {
			return changed(list, f.setOf("@", dns.TypeTXT), func(m *dns.TXT) { m.Txt = []string{"v=spf1 -all"} })
		}},
		{name: "address", change: func(f *forge, list []dns.RR) ([]dns.RR, error) {
			return changed(list, f.setOf("www", dns.TypeA), func(m *dns.A) { m.A = []byte{5, 1, 0, 81} })
		}},
		{name: "ns", nsec3: true, change: func(f *forge, list []dns.RR) ([]dns.RR, error) {
			return without(list, func(rr dns.RR) bool { n, ok := rr.(*dns.NS); return ok && n.Ns == f.full("ns2") })
		}},
		{name: "serial", change: func(f *forge, list []dns.RR) ([]dns.RR, error) {
			return changed(list, f.setOf("@", dns.TypeSOA), func(m *dns.SOA) { m.Minttl = 1800 })
		}},
		{name: "cname", change: func(f *forge, list []dns.RR) ([]dns.RR, error) {
			return changed(list, f.setOf("blog", dns.TypeCNAME), func(m *dns.CNAME) { m.Target = f.full("mail") })
		}},
		{name: "cnamesig", nsec3: true, change: func(f *forge, list []dns.RR) ([]dns.RR, error) { return without(list, f.sigOf("blog", dns.TypeCNAME)) }},
		{name: "dnamesig", ask: []string{"x.old A"}, change: func(f *forge, list []dns.RR) ([]dns.RR, error) { return without(list, f.sigOf("old", dns.TypeDNAME)) }},
		{name: "apexdname", records: "deep DNAME www\n", ask: []string{"x.deep A"}, change: func(f *forge, list []dns.RR) ([]dns.RR, error) {
			return changed(list, f.sigOf("deep", dns.TypeDNAME), func(s *dns.RRSIG) { s.Signature = flip(s.Signature) })
		}},
		{name: "ds", change: func(f *forge, list []dns.RR) ([]dns.RR, error) {
			return changed(list, f.setOf("sub", dns.TypeDS), func(m *dns.DS) { m.KeyTag++ })
		}},
		{name: "stale", change: func(f *forge, _ []dns.RR) ([]dns.RR, error) {
			return f.afresh(func(s *zonegen.Signing) error {
				s.From, s.Until = time.Now().Add(-60*24*time.Hour), time.Now().Add(-3*24*time.Hour)
				return nil
			})
		}},
		{name: "stalekeys", nsec3: true, change: func(f *forge, _ []dns.RR) ([]dns.RR, error) {
			return f.afresh(func(s *zonegen.Signing) (err error) {
				s.Keys, err = newKeys(s.Origin, nil)
				return err
			})
		}},
		{name: "unsigned", change: func(f *forge, _ []dns.RR) ([]dns.RR, error) { return f.plain, nil }},
		{name: "unsigned3", nsec3: true, change: func(f *forge, _ []dns.RR) ([]dns.RR, error) { return f.plain, nil }},
		{name: "wildcard", records: "* TXT \"any\"\n", ask: []string{"some TXT"}, change: func(f *forge, list []dns.RR) ([]dns.RR, error) {
			return without(list, f.sigOf("*", dns.TypeTXT))
		}},
		{name: "wildaddress", nsec3: true, records: "* A 5.1.0.81\n", ask: []string{"some A"}, change: func(f *forge, list []dns.RR) ([]dns.RR, error) {
			return changed(list, f.setOf("*", dns.TypeA), func(m *dns.A) { m.A = []byte{5, 1, 0, 82} })
		}},
		{name: "wildexpired", nsec3: true, records: "* A 5.1.0.81\n", ask: []string{"some A"}, change: func(f *forge, list []dns.RR) ([]dns.RR, error) {
			return f.again(list, f.sigOf("*", dns.TypeA), -60*24*time.Hour, -3*24*time.Hour)
		}},
	}
}

// brokenProofs are zones whose denials do not prove what they should.
func brokenProofs() []broken {
	bits := func(add ...uint16) func(f *forge, list []dns.RR) ([]dns.RR, error) {
		// A denial that is signed, and says that there is what is not.
		return func(f *forge, list []dns.RR) ([]dns.RR, error) {
			return f.resigned(list, func(rr dns.RR) bool {
				switch n := rr.(type) {
				case *dns.NSEC:
					n.TypeBitMap = merge(n.TypeBitMap, add)
				case *dns.NSEC3:
					n.TypeBitMap = merge(n.TypeBitMap, add)
				default:
					return false
				}
				return true
			})
		}
	}
	return []broken{
		{name: "nonsec", change: func(f *forge, list []dns.RR) ([]dns.RR, error) { return without(list, f.all(dns.TypeNSEC)) }},
		{name: "nonsec3", nsec3: true, change: func(f *forge, list []dns.RR) ([]dns.RR, error) { return without(list, f.all(dns.TypeNSEC3)) }},
		{name: "noapex", change: func(f *forge, list []dns.RR) ([]dns.RR, error) {
			return without(list, func(rr dns.RR) bool { return f.setOf("@", dns.TypeNSEC)(rr) || f.sigOf("@", dns.TypeNSEC)(rr) })
		}},
		{name: "nowww", change: func(f *forge, list []dns.RR) ([]dns.RR, error) {
			return without(list, func(rr dns.RR) bool { return f.setOf("www", dns.TypeNSEC)(rr) || f.sigOf("www", dns.TypeNSEC)(rr) })
		}},
		{name: "noapex3", nsec3: true, change: func(f *forge, list []dns.RR) ([]dns.RR, error) {
			return without(list, func(rr dns.RR) bool { return f.hashed("@", rr) })
		}},
		{name: "bitmap", change: bits(dns.TypeAAAA, dns.TypeHTTPS)},
		{name: "bitmap3", nsec3: true, change: bits(dns.TypeAAAA, dns.TypeHTTPS)},
		{name: "bitalias", change: bits(dns.TypeCNAME)},
		{name: "bitcut3", nsec3: true, change: func(f *forge, list []dns.RR) ([]dns.RR, error) {
			return f.resigned(list, func(rr dns.RR) bool {
				n, ok := rr.(*dns.NSEC3)
				if ok && f.hashed("@", rr) {
					n.TypeBitMap = slices.DeleteFunc(n.TypeBitMap, func(t uint16) bool { return t == dns.TypeSOA })
				}
				return ok && f.hashed("@", rr)
			})
		}},
		{name: "iterations", nsec3: true, change: func(f *forge, list []dns.RR) ([]dns.RR, error) {
			return f.resigned(list, func(rr dns.RR) bool {
				n, ok := rr.(*dns.NSEC3)
				if ok {
					n.Iterations = 5
				}
				return ok
			})
		}},
		{name: "salt", nsec3: true, change: func(f *forge, list []dns.RR) ([]dns.RR, error) {
			return f.resigned(list, func(rr dns.RR) bool {
				n, ok := rr.(*dns.NSEC3)
				if ok {
					n.Salt, n.SaltLength = "aabb", 2
				}
				return ok
			})
		}},
		{name: "hash2", nsec3: true, change: func(f *forge, list []dns.RR) ([]dns.RR, error) {
			return f.resigned(list, func(rr dns.RR) bool {
				n, ok := rr.(*dns.NSEC3)
				if ok {
					n.NextDomain = dns.HashName("nobody."+f.Origin, dns.SHA1, 0, "")
				}
				return ok
			})
		}},
		{name: "wildproof", records: "* A 5.1.0.81\n", ask: []string{"some A"}, mangle: leaveOut(dns.TypeA, dns.TypeNSEC)},
		{name: "wildproof3", nsec3: true, records: "* A 5.1.0.81\n", ask: []string{"some A"}, mangle: leaveOut(dns.TypeA, dns.TypeNSEC3)},
		{name: "wildnodata3", nsec3: true, records: "* A 5.1.0.81\n", ask: []string{"some TXT"}, change: func(f *forge, list []dns.RR) ([]dns.RR, error) {
			return without(list, func(rr dns.RR) bool { return f.hashed("*", rr) })
		}},
		{name: "nods3", nsec3: true, ask: []string{"dev DS"}, change: func(f *forge, list []dns.RR) ([]dns.RR, error) {
			return without(list, func(rr dns.RR) bool { return f.hashed("dev", rr) })
		}},
	}
}

// brokenKeys are zones whose keys do not fit.
func brokenKeys() []broken {
	key := func(how func(k *dns.DNSKEY)) func(f *forge, list []dns.RR) ([]dns.RR, error) {
		return func(f *forge, list []dns.RR) ([]dns.RR, error) {
			return changed(list, f.setOf("@", dns.TypeDNSKEY), func(k *dns.DNSKEY) {
				if k.Flags == 256 {
					how(k)
				}
			})
		}
	}
	drop := func(flags uint16) func(f *forge, list []dns.RR) ([]dns.RR, error) {
		return func(f *forge, list []dns.RR) ([]dns.RR, error) {
			return without(list, func(rr dns.RR) bool { k, ok := rr.(*dns.DNSKEY); return ok && k.Flags == flags })
		}
	}
	return []broken{
		{name: "nokeys", change: func(f *forge, list []dns.RR) ([]dns.RR, error) { return without(list, f.setOf("@", dns.TypeDNSKEY)) }},
		{name: "nozsk", change: drop(256)},
		{name: "noksk", nsec3: true, change: drop(257)},
		{name: "zsksigned", change: func(f *forge, list []dns.RR) ([]dns.RR, error) {
			// A set without the key that signs, with a good signature over what is left.
			rest, err := drop(256)(f, list)
			if err != nil {
				return nil, err
			}
			return f.again(rest, f.sigOf("@", dns.TypeDNSKEY), -time.Hour, 10*24*time.Hour)
		}},
		{name: "keychanged", nsec3: true, change: key(func(k *dns.DNSKEY) { k.PublicKey = flip(k.PublicKey) })},
		{name: "protocol", change: key(func(k *dns.DNSKEY) { k.Protocol = 2 })},
		{name: "nozone", nsec3: true, change: key(func(k *dns.DNSKEY) { k.Flags = 0 })},
		{name: "algorithm", change: key(func(k *dns.DNSKEY) { k.Algorithm = dns.ECDSAP384SHA384 })},
		{name: "downgrade", nsec3: true, change: func(f *forge, _ []dns.RR) ([]dns.RR, error) {
			return f.afresh(func(s *zonegen.Signing) (err error) {
				s.Keys, err = newKeys(s.Origin, []int{257, int(dns.RSASHA256)})
				return err
			})
		}},
		{name: "otheralgorithm", change: func(f *forge, _ []dns.RR) ([]dns.RR, error) {
			return f.afresh(func(s *zonegen.Signing) (err error) {
				s.Keys, err = newKeys(s.Origin, []int{257, int(dns.ED25519), 256, int(dns.ED25519)})
				return err
			})
		}},
		{name: "newksk", change: func(f *forge, _ []dns.RR) ([]dns.RR, error) {
			// A roll that nobody told the zone above of.
			return f.afresh(func(s *zonegen.Signing) error {
				k, err := newKeys(s.Origin, []int{257, int(dns.ECDSAP256SHA256)})
				s.Keys = append(k, s.Keys[1:]...)
				return err
			})
		}},
		{name: "dsdigest", ds: func(d *dns.DS) { d.Digest = "00" + d.Digest[2:] }},
		{name: "dstag", nsec3: true, ds: func(d *dns.DS) { d.KeyTag++ }},
		{name: "dsalgorithm", ds: func(d *dns.DS) { d.Algorithm = dns.ECDSAP384SHA384 }},
	}
}

// leaveOut leaves records of a type, and their signatures, out of replies to a type of question;
// 0 is all.
func leaveOut(asked, t uint16) mangler {
	return func(q, m *dns.Msg, _ bool) bool {
		if asked != 0 && (len(q.Question) != 1 || q.Question[0].Qtype != asked) {
			return true
		}
		bad := func(rr dns.RR) bool {
			s, ok := rr.(*dns.RRSIG)
			return rr.Header().Rrtype == t || ok && s.TypeCovered == t
		}
		m.Answer, m.Ns = slices.DeleteFunc(m.Answer, bad), slices.DeleteFunc(m.Ns, bad)
		return true
	}
}

// brokenWays are zones whose second server does wrong with what is right.
func brokenWays() []broken {
	bare := leaveOut(0, dns.TypeRRSIG)
	udp := func(how mangler) mangler {
		return func(q, m *dns.Msg, tcp bool) bool { return tcp || how(q, m, tcp) }
	}
	tcp := func(how mangler) mangler {
		return func(q, m *dns.Msg, tcp bool) bool { return !tcp || how(q, m, tcp) }
	}
	truncated := func(q, m *dns.Msg, tcp bool) bool {
		if !tcp {
			m.Answer, m.Ns, m.Truncated = nil, nil, true
			return true
		}
		return bare(q, m, tcp)
	}
	emptyNames := func(q, m *dns.Msg, _ bool) bool {
		if len(q.Question) == 1 && q.Question[0].Qtype == dns.TypeAAAA {
			m.Rcode, m.Answer = dns.RcodeNameError, nil
		}
		return true
	}
	return []broken{
		{name: "udpbare", mangle: udp(bare)},
		{name: "allbare", nsec3: true, mangle: bare},
		{name: "tcpbare", mangle: truncated},
		{name: "tcponly", nsec3: true, mangle: tcp(bare)},
		{name: "tcpnsec", mangle: func(q, m *dns.Msg, over bool) bool {
			return truncatedUnless(over, m) || leaveOut(0, dns.TypeNSEC)(q, m, over)
		}},
		{name: "nsecstripped", mangle: leaveOut(0, dns.TypeNSEC)},
		{name: "nsec3stripped", nsec3: true, mangle: leaveOut(0, dns.TypeNSEC3)},
		{name: "aaaa", mangle: emptyNames},
		{name: "aaaa3", nsec3: true, mangle: emptyNames},
		{name: "forged", mangle: func(q, m *dns.Msg, _ bool) bool {
			for _, rr := range m.Answer {
				if a, ok := rr.(*dns.A); ok {
					a.A = []byte{6, 6, 6, 6}
				}
			}
			return true
		}},
		{name: "dsdropped", ask: []string{"sub DS"}, mangle: leaveOut(dns.TypeDS, dns.TypeDS)},
		{name: "keyless", nsec3: true, mangle: leaveOut(dns.TypeDNSKEY, dns.TypeDNSKEY)},
		{name: "nodata", mangle: func(q, m *dns.Msg, _ bool) bool {
			if m.Rcode == dns.RcodeNameError {
				m.Rcode, m.Ns = dns.RcodeSuccess, slices.DeleteFunc(m.Ns, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeNSEC })
			}
			return true
		}},
	}
}

// truncatedUnless empties a reply over UDP, and reports whether it has.
func truncatedUnless(tcp bool, m *dns.Msg) bool {
	if tcp {
		return false
	}
	m.Answer, m.Ns, m.Truncated = nil, nil, true
	return true
}

// all selects records of a type and their signatures.
func (f *forge) all(t uint16) that {
	return func(rr dns.RR) bool { return f.setOf("", t)(rr) || f.sigOf("", t)(rr) }
}

// hashed reports whether a record is the NSEC3 of a name, or its signature.
func (f *forge) hashed(name string, rr dns.RR) bool {
	t := rr.Header().Rrtype
	if s, ok := rr.(*dns.RRSIG); ok {
		t = s.TypeCovered
	}
	return t == dns.TypeNSEC3 && strings.EqualFold(dns.SplitDomainName(rr.Header().Name)[0], dns.HashName(f.full(name), dns.SHA1, 0, ""))
}

// resigned changes records and signs them as they are then.
func (f *forge) resigned(list []dns.RR, change func(dns.RR) bool) ([]dns.RR, error) {
	out := make([]dns.RR, len(list))
	for i, rr := range list {
		out[i] = dns.Copy(rr)
		change(out[i])
	}
	return f.again(out, func(rr dns.RR) bool {
		s, ok := rr.(*dns.RRSIG)
		return ok && (s.TypeCovered == dns.TypeNSEC || s.TypeCovered == dns.TypeNSEC3)
	}, -time.Hour, 10*24*time.Hour)
}

func merge(a, b []uint16) []uint16 {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}

// newKeys makes keys of flags and algorithms; nil is a KSK and a ZSK.
func newKeys(origin string, of []int) ([]*zonegen.Key, error) {
	if of == nil {
		of = []int{257, int(dns.ECDSAP256SHA256), 256, int(dns.ECDSAP256SHA256)}
	}
	var out []*zonegen.Key
	for i := 0; i < len(of); i += 2 {
		k, err := zonegen.NewKey(origin, uint16(of[i]), uint8(of[i+1]))
		if err != nil {
			return nil, err
		}
		out = append(out, k)
	}
	return out, nil
}

// A bogusLab is the zones with one fault each, served, and an Unbound that knows their second
// server alone.
type bogusLab struct {
	ns             *netns.Namespace
	bin            string
	hints, anchors string
	list           []broken
}

func newBogusLab(t *testing.T, list []broken) *bogusLab {
	t.Helper()
	for _, program := range []string{"ip", "named", "nsd", "knotd", "unbound"} {
		if _, err := peers.Find(program); err != nil {
			missing(t, err)
		}
	}
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	ns, err := netns.New()
	if err != nil {
		missing(t, err)
	}
	t.Cleanup(ns.Close)
	for _, args := range []string{"route add local 5.0.0.0/8 dev lo", "route add local 6.0.0.0/8 dev lo", "address add " + labFirst + "/32 dev lo", "address add " + labBehind + "/32 dev lo"} {
		output(t, ns.Do, "ip", strings.Fields(args)...)
	}
	dir := t.TempDir()
	put := func(name string, list []dns.RR) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := zonegen.WriteRecords(file, list); err != nil {
			t.Fatal(err)
		}
		return file
	}
	root, err := zonegen.Records(".", ". 3600 SOA a.root. host. 1 14400 3600 604800 3600\n. 3600 NS a.root.\na.root. 3600 A "+labRoot+"\n")
	if err != nil {
		t.Fatal(err)
	}
	var first, second []peers.Zone
	mangle := map[string]manner{}
	stubs := ""
	for _, b := range list {
		origin := b.name + ".zone."
		f, good, bad := b.made(t, origin)
		first = append(first, peers.Zone{Name: origin, File: put(b.name+".good", good)})
		second = append(second, peers.Zone{Name: origin, File: put(b.name+".bad", bad)})
		mangle[origin] = manner{then: b.mangle}
		above, err := zonegen.Records(".", fmt.Sprintf("%[1]s NS ns1.%[1]s\n%[1]s NS ns2.%[1]s\nns1.%[1]s A %[2]s\nns2.%[1]s A %[3]s\n", origin, labFirst, labSecond))
		if err != nil {
			t.Fatal(err)
		}
		ds := f.Keys[0].ToDS(dns.SHA256)
		if b.ds != nil {
			b.ds(ds)
		}
		root = append(append(root, above...), ds)
		stubs += fmt.Sprintf("stub-zone:\n  name: %s\n  stub-addr: %s\n", origin, labSecond)
	}
	keys, err := newKeys(".", nil)
	if err != nil {
		t.Fatal(err)
	}
	signedRoot, err := (&zonegen.Signing{Origin: ".", Keys: keys, From: time.Now().Add(-time.Hour), Until: time.Now().Add(20 * 24 * time.Hour)}).Sign(root)
	if err != nil {
		t.Fatal(err)
	}
	start(t, peers.NSD, peers.Options{Addr: netip.MustParseAddrPort(labRoot + ":53"), Zones: []peers.Zone{{Name: ".", File: put("root", signedRoot)}}, Run: ns.Do})
	start(t, peers.Knot, peers.Options{Addr: netip.MustParseAddrPort(labFirst + ":53"), Zones: first, Run: ns.Do})
	// BIND serves whatever is in a file; NSD 4.6 ends itself at some of these zones.
	behind := start(t, peers.BIND, peers.Options{Addr: netip.MustParseAddrPort(labBehind + ":53"), Zones: second, Run: ns.Do, Unready: true})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the second server printed:\n%s", behind.Tail())
		}
	})
	beside(t, ns.Do, netip.MustParseAddrPort(labSecond+":53"), netip.MustParseAddrPort(labBehind+":53"), mangle)
	lab := &bogusLab{ns: ns, bin: bin, list: list, hints: filepath.Join(dir, "hints"), anchors: put("anchors", []dns.RR{keys[0].DNSKEY})}
	if err := os.WriteFile(lab.hints, []byte(". 3600 NS a.root.\na.root. 3600 A "+labRoot+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	lab.unbound(t, dir, stubs)
	return lab
}

// made returns the zone as it should be, and as the second server has it.
func (b *broken) made(t *testing.T, origin string) (f *forge, good, bad []dns.RR) {
	t.Helper()
	plain, err := zonegen.Records(origin, signedZone+b.records)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := newKeys(origin, b.keys)
	if err != nil {
		t.Fatal(err)
	}
	f = &forge{plain: plain, Signing: &zonegen.Signing{
		Origin: origin, Keys: keys, NSEC3: b.nsec3, From: time.Now().Add(-time.Hour), Until: time.Now().Add(20 * 24 * time.Hour),
	}}
	if good, err = f.Sign(plain); err != nil {
		t.Fatal(err)
	}
	if bad = good; b.change != nil {
		if bad, err = b.change(f, good); err != nil {
			t.Fatalf("%s: %v", b.name, err)
		}
	}
	return f, good, bad
}

// unbound starts Unbound, which validates, and asks the second server for all zones.
func (l *bogusLab) unbound(t *testing.T, dir, stubs string) {
	t.Helper()
	path, err := peers.Find("unbound")
	if err != nil {
		missing(t, err)
	}
	file := filepath.Join(dir, "unbound.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, `server:
  interface: %s
  access-control: 0.0.0.0/0 allow
  username: ""
  chroot: ""
  pidfile: ""
  directory: %q
  root-hints: %q
  trust-anchor-file: %q
  do-not-query-localhost: no
  qname-minimisation: no
  aggressive-nsec: no
  val-log-level: 2
  use-syslog: no
remote-control:
  control-enable: no
%s`, labAsker, dir, l.hints, l.anchors, stubs), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-d", "-c", file)
	if err := l.ns.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for end := time.Now().Add(startTimeout); ; time.Sleep(50 * time.Millisecond) {
		if m, err := l.resolve(".", dns.TypeSOA, false); err == nil && m.AuthenticatedData {
			return
		}
		if time.Now().After(end) {
			t.Fatal("unbound does not answer")
		}
	}
}

// resolve asks Unbound.
func (l *bogusLab) resolve(name string, t uint16, cd bool) (m *dns.Msg, err error) {
	q := new(dns.Msg).SetQuestion(name, t)
	q.CheckingDisabled, q.AuthenticatedData = cd, true
	err = l.ns.Do(func() error {
		c := &dns.Client{Timeout: 10 * time.Second}
		if m, _, err = c.Exchange(q, labAsker+":53"); err == nil && m.Truncated {
			c.Net = "tcp"
			m, _, err = c.Exchange(q, labAsker+":53")
		}
		return err
	})
	return m, err
}

// bogus returns the questions that Unbound calls bogus.
func (l *bogusLab) bogus(t *testing.T, b *broken) []string {
	t.Helper()
	var out []string
	for _, q := range append([]string{
		"@ SOA", "@ NS", "@ DNSKEY", "@ A", "@ AAAA", "@ MX", "@ TXT", "@ CAA", "@ HTTPS", "www A", "www AAAA", "ns1 A", "_dmarc TXT", "blog A", "nobody A", "sub DS",
	}, b.ask...) {
		name, typ, _ := strings.Cut(q, " ")
		full := name + "." + b.name + ".zone."
		if name == "@" {
			full = b.name + ".zone."
		}
		m, err := l.resolve(full, dns.StringToType[typ], false)
		if err != nil {
			t.Fatalf("%s: %v", q, err)
		}
		if m.Rcode != dns.RcodeServerFailure {
			continue
		}
		if m, err := l.resolve(full, dns.StringToType[typ], true); err == nil && m.Rcode != dns.RcodeServerFailure {
			out = append(out, q)
		}
	}
	return out
}

// TestBogusAtOneServer has signed zones with one fault each at one of two servers. What a validating
// Unbound that may ask that server alone calls bogus, check fails, whatever the other server says;
// and it fails none of those that it has no fault to find in.
func TestBogusAtOneServer(t *testing.T) {
	list := append([]broken{{name: "sound"}, {name: "sound3", nsec3: true}, {name: "soundwild", nsec3: true, records: "* A 5.1.0.81\n"}}, brokenZones()...)
	if n := scale(t, len(list)); n < len(list) {
		list = list[:n]
	}
	l := newBogusLab(t, list)
	var names []string
	for _, b := range list {
		names = append(names, b.name+".zone.")
	}
	file := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(file, []byte(strings.Join(names, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	look := func(args ...string) map[string][]finding {
		t.Helper()
		var d struct {
			Reports []struct {
				Target string
				Checks []finding
			}
		}
		text := output(t, l.ns.Do, l.bin, slices.Concat([]string{"check", "--roots", l.hints, "--anchors", l.anchors, "--json", "--only", zoneChecks(t, l.ns.Do, l.bin)}, args)...)
		if err := json.Unmarshal([]byte(text), &d); err != nil {
			t.Fatal(err)
		}
		reports := map[string][]finding{}
		for _, r := range d.Reports {
			reports[r.Target] = r.Checks
		}
		return reports
	}
	reports := look("--file", file)
	t.Logf("%d zones checked in %v", len(list), time.Since(began).Round(time.Millisecond))
	called := 0
	for _, b := range list {
		bogus := l.bogus(t, &b)
		of := func(state string) (list []string) {
			for _, f := range reports[b.name+".zone."] {
				if f.State == state {
					list = append(list, f.ID+": "+f.Detail)
				}
			}
			return list
		}
		failed := of("fail")
		if unknown := of("unknown"); len(bogus) > 0 && len(failed) == 0 && len(unknown) > 0 {
			// A hundred zones at the same time were too much for the machine, and check says so.
			t.Logf("%s: once more, alone, since it could not measure %v", b.name, unknown)
			maps.Copy(reports, look(b.name+".zone."))
			failed = of("fail")
		}
		switch {
		case reports[b.name+".zone."] == nil:
			t.Errorf("%s: no report", b.name)
		case len(bogus) > 0:
			if called++; len(failed) == 0 {
				t.Errorf("%s: Unbound calls bogus: %s; check fails nothing", b.name, strings.Join(bogus, ", "))
			}
		case strings.HasPrefix(b.name, "sound"):
			if len(failed) > 0 {
				t.Errorf("%s: Unbound calls nothing bogus; check fails %v", b.name, failed)
			}
		default:
			t.Logf("%s: Unbound calls nothing bogus; check fails %v", b.name, failed)
		}
	}
	t.Logf("Unbound calls %d of %d zones bogus", called, len(list))
	if called < 90 {
		t.Error("that are too few to tell anything")
	}
}
