package zonegen

import (
	"cmp"
	"crypto"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// A Key is a key of a zone that is signed here, and not by a program: so that it can be signed
// wrongly, or by several.
type Key struct {
	*dns.DNSKEY
	private crypto.Signer
	Passive bool // it is published, and signs nothing
}

// NewKey makes a key. Flags are 257 for one that signs keys, 256 for one that signs all else.
func NewKey(origin string, flags uint16, algorithm uint8) (*Key, error) {
	k := &Key{DNSKEY: &dns.DNSKEY{
		Hdr:   dns.RR_Header{Name: origin, Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 3600},
		Flags: flags, Protocol: 3, Algorithm: algorithm,
	}}
	bits := 256
	switch algorithm {
	case dns.RSASHA256, dns.RSASHA512, dns.RSASHA1:
		bits = 2048
	case dns.ECDSAP384SHA384:
		bits = 384
	}
	private, err := k.Generate(bits)
	if err != nil {
		return nil, err
	}
	k.private = private.(crypto.Signer)
	return k, nil
}

// A Signing is how a zone is signed.
type Signing struct {
	Origin string
	Keys   []*Key
	Also   []*dns.DNSKEY // keys of other signers (RFC 8901), published as well
	NSEC3  bool          // else NSEC
	OptOut bool
	From   time.Time // when the signatures begin and end
	Until  time.Time
}

// Records reads records of a zone from master-file text.
func Records(origin, text string) ([]dns.RR, error) {
	var out []dns.RR
	zp := dns.NewZoneParser(strings.NewReader(text), origin, "")
	zp.SetDefaultTTL(3600)
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		out = append(out, rr)
	}
	return out, zp.Err()
}

// WriteRecords writes a zone, one record a line.
func WriteRecords(file string, list []dns.RR) error {
	var b strings.Builder
	for _, rr := range list {
		fmt.Fprintln(&b, strings.Replace(rr.String(), "\tCLASS1\t", "\tIN\t", 1)) // as types are written that are not known
	}
	return os.WriteFile(file, []byte(b.String()), 0o644)
}

// A set is the records of a name and a type.
type set struct {
	name string
	t    uint16
}

// Sign returns the records with keys, proofs and signatures.
func (s *Signing) Sign(list []dns.RR) ([]dns.RR, error) {
	out := slices.Clone(list)
	for _, k := range s.Keys {
		out = append(out, k.DNSKEY)
	}
	for _, k := range s.Also {
		out = append(out, k)
	}
	if s.NSEC3 {
		out = append(out, &dns.NSEC3PARAM{Hdr: header(s.Origin, dns.TypeNSEC3PARAM, 0), Hash: dns.SHA1})
	}
	out = append(out, s.chain(out)...)
	sets := map[set][]dns.RR{}
	var order []set
	for _, rr := range out {
		at := set{strings.ToLower(rr.Header().Name), rr.Header().Rrtype}
		if sets[at] == nil {
			order = append(order, at)
		}
		sets[at] = append(sets[at], rr)
	}
	cuts := s.cuts(out)
	for _, at := range order {
		if s.glue(cuts, at.name) || slices.Contains(cuts, at.name) && at.t != dns.TypeDS && at.t != dns.TypeNSEC {
			continue
		}
		sigs, err := s.Signatures(sets[at])
		if err != nil {
			return nil, err
		}
		out = append(out, sigs...)
	}
	return out, nil
}

// Signatures signs one set with all keys that sign such.
func (s *Signing) Signatures(list []dns.RR) ([]dns.RR, error) {
	keys := list[0].Header().Rrtype == dns.TypeDNSKEY
	lone := map[uint8]bool{} // algorithms with keys of one kind only, which sign all
	for _, a := range s.Keys {
		lone[a.Algorithm] = !slices.ContainsFunc(s.Keys, func(b *Key) bool { return !b.Passive && b.Algorithm == a.Algorithm && b.Flags&1 != a.Flags&1 })
	}
	var out []dns.RR
	for _, k := range s.Keys {
		if k.Passive || !lone[k.Algorithm] && keys != (k.Flags&1 != 0) {
			continue
		}
		sig := &dns.RRSIG{
			Hdr: header(list[0].Header().Name, dns.TypeRRSIG, list[0].Header().Ttl), KeyTag: k.KeyTag(), SignerName: s.Origin, Algorithm: k.Algorithm,
			Inception: uint32(s.From.Unix()), Expiration: uint32(s.Until.Unix()),
		}
		if err := sig.Sign(k.private, list); err != nil {
			return nil, err
		}
		out = append(out, sig)
	}
	return out, nil
}

func header(name string, t uint16, ttl uint32) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: t, Class: dns.ClassINET, Ttl: ttl}
}

// cuts returns where the zone delegates.
func (s *Signing) cuts(list []dns.RR) []string {
	var out []string
	for _, rr := range list {
		if name := strings.ToLower(rr.Header().Name); rr.Header().Rrtype == dns.TypeNS && name != s.Origin && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// glue reports whether a name is below a delegation.
func (s *Signing) glue(cuts []string, name string) bool {
	return slices.ContainsFunc(cuts, func(cut string) bool { return name != cut && dns.IsSubDomain(cut, name) })
}

// chain returns the NSEC or NSEC3 records.
func (s *Signing) chain(list []dns.RR) []dns.RR {
	types := map[string][]uint16{}
	cuts := s.cuts(list)
	for _, rr := range list {
		name, t := strings.ToLower(rr.Header().Name), rr.Header().Rrtype
		if s.glue(cuts, name) || slices.Contains(cuts, name) && t != dns.TypeNS && t != dns.TypeDS {
			continue
		}
		if !slices.Contains(types[name], t) {
			types[name] = append(types[name], t)
		}
		for up := name; s.NSEC3 && up != s.Origin && dns.IsSubDomain(s.Origin, up); { // empty non-terminals
			i, end := dns.NextLabel(up, 0)
			if end {
				break
			}
			if up = up[i:]; types[up] == nil {
				types[up] = []uint16{}
			}
		}
	}
	if s.OptOut {
		for _, cut := range cuts {
			if !slices.Contains(types[cut], dns.TypeDS) {
				delete(types, cut)
			}
		}
	}
	bitmap := func(name string) []uint16 {
		b := slices.Clone(types[name])
		if !s.NSEC3 {
			b = append(b, dns.TypeNSEC)
		}
		if len(b) > 0 && (!slices.Contains(cuts, name) || !s.NSEC3 || slices.Contains(b, dns.TypeDS)) {
			b = append(b, dns.TypeRRSIG)
		}
		slices.Sort(b)
		return b
	}
	var names []string
	for name := range types {
		names = append(names, name)
	}
	var out []dns.RR
	if !s.NSEC3 {
		slices.SortFunc(names, canonical)
		for i, name := range names {
			out = append(out, &dns.NSEC{Hdr: header(name, dns.TypeNSEC, 3600), NextDomain: names[(i+1)%len(names)], TypeBitMap: bitmap(name)})
		}
		return out
	}
	hash := func(name string) string { return dns.HashName(name, dns.SHA1, 0, "") }
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(hash(a), hash(b)) })
	for i, name := range names {
		n := &dns.NSEC3{
			Hdr: header(strings.ToLower(hash(name))+"."+s.Origin, dns.TypeNSEC3, 3600), Hash: dns.SHA1, HashLength: 20,
			NextDomain: hash(names[(i+1)%len(names)]), TypeBitMap: bitmap(name),
		}
		if s.OptOut {
			n.Flags = 1
		}
		out = append(out, n)
	}
	return out
}

// canonical compares names (RFC 4034, section 6.1).
func canonical(a, b string) int {
	x, y := dns.SplitDomainName(a), dns.SplitDomainName(b)
	slices.Reverse(x)
	slices.Reverse(y)
	return slices.Compare(x, y)
}
