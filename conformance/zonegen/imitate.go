package zonegen

import (
	"cmp"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// Imitate does what [Zone.Write] does, with signatures that nobody could verify: servers
// serve them as they are, and of thousands of zones each takes a millisecond. The chains of
// NSEC and NSEC3 records are what they have to be. [Salted] is as [NSEC3].
func (z *Zone) Imitate(dir string) error {
	var list []dns.RR
	for _, r := range z.Records {
		rr, err := dns.NewRR(fmt.Sprintf("%s %d IN %s %s", r.Owner, r.TTL, r.Type, r.Data))
		if err != nil {
			return err
		}
		list = append(list, rr)
	}
	if z.Mode != Plain {
		list = append(list, z.imitation(list)...)
	}
	var b strings.Builder
	for _, rr := range list {
		line, err := commonForm(rr)
		if err != nil {
			return fmt.Errorf("%s: %w", rr, err)
		}
		b.WriteString(line + "\n")
	}
	z.File = filepath.Join(dir, fileName(z.Origin)+".common")
	return os.WriteFile(z.File, []byte(b.String()), 0o644)
}

// A signedName is a name of a zone that its signer looks at.
type signedName struct {
	name  string // in lower case
	types map[uint16][]dns.RR
	cut   bool
}

// imitation returns the records that a signer adds to a zone.
func (z *Zone) imitation(list []dns.RR) []dns.RR {
	origin := strings.ToLower(z.Origin)
	key := &dns.DNSKEY{
		Hdr: dns.RR_Header{Name: origin, Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 300}, Flags: 257, Protocol: 3,
		Algorithm: dns.ECDSAP256SHA256, PublicKey: base64.StdEncoding.EncodeToString(octets64(origin)),
	}
	added := []dns.RR{key}
	if z.Mode != NSEC {
		added = append(added, &dns.NSEC3PARAM{Hdr: dns.RR_Header{Name: origin, Rrtype: dns.TypeNSEC3PARAM, Class: dns.ClassINET}, Hash: 1})
	}
	names := authoritative(origin, append(slices.Clone(list), added...))
	var out []dns.RR
	if z.Mode == NSEC {
		out = nsecChain(names)
	} else {
		out = nsec3Chain(origin, names, z.Mode == OptOut)
	}
	sign := func(set []dns.RR) {
		h := set[0].Header()
		out = append(out, &dns.RRSIG{
			Hdr: dns.RR_Header{Name: h.Name, Rrtype: dns.TypeRRSIG, Class: dns.ClassINET, Ttl: h.Ttl}, TypeCovered: h.Rrtype,
			Algorithm: dns.ECDSAP256SHA256, Labels: uint8(dns.CountLabel(strings.TrimPrefix(h.Name, "*."))), OrigTtl: h.Ttl,
			Inception: 1577836800, Expiration: 2208988800, KeyTag: key.KeyTag(), SignerName: origin,
			Signature: base64.StdEncoding.EncodeToString(octets64(fmt.Sprint(h.Name, h.Rrtype))),
		})
	}
	for _, rr := range slices.Clone(out) {
		sign([]dns.RR{rr})
	}
	for _, n := range names {
		for t, set := range n.types {
			if !n.cut || t == dns.TypeDS {
				sign(set)
			}
		}
	}
	return append(added, out...)
}

func octets64(of string) []byte {
	sum := sha512.Sum512([]byte(of))
	return sum[:]
}

// authoritative returns the names of a zone that are not below a cut, in canonical order.
func authoritative(origin string, list []dns.RR) []*signedName {
	at := map[string]*signedName{}
	for _, rr := range list {
		name := strings.ToLower(rr.Header().Name)
		n := at[name]
		if n == nil {
			n = &signedName{name: name, types: map[uint16][]dns.RR{}}
			at[name] = n
		}
		n.types[rr.Header().Rrtype] = append(n.types[rr.Header().Rrtype], rr)
		n.cut = n.cut || rr.Header().Rrtype == dns.TypeNS && name != origin
	}
	var names []*signedName
	for name, n := range at {
		hidden := false
		for above := name; above != origin; {
			_, above, _ = strings.Cut(above, ".")
			hidden = hidden || at[above] != nil && at[above].cut
		}
		if !hidden {
			names = append(names, n)
		}
	}
	slices.SortFunc(names, func(a, b *signedName) int { return compareNames(a.name, b.name) })
	return names
}

// compareNames compares names in canonical order (RFC 4034, section 6.1).
func compareNames(a, b string) int {
	x, y := dns.SplitDomainName(a), dns.SplitDomainName(b)
	slices.Reverse(x)
	slices.Reverse(y)
	return slices.Compare(x, y)
}

// bitmap returns the types that a proof names.
func (n *signedName) bitmap(more ...uint16) []uint16 {
	for t := range n.types {
		if !n.cut || t == dns.TypeNS || t == dns.TypeDS {
			more = append(more, t)
		}
	}
	slices.Sort(more)
	return more
}

func nsecChain(names []*signedName) (out []dns.RR) {
	for i, n := range names {
		out = append(out, &dns.NSEC{
			Hdr:        dns.RR_Header{Name: n.name, Rrtype: dns.TypeNSEC, Class: dns.ClassINET, Ttl: 300},
			NextDomain: names[(i+1)%len(names)].name, TypeBitMap: n.bitmap(dns.TypeRRSIG, dns.TypeNSEC),
		})
	}
	return out
}

// nsec3Chain has a record for each name and each empty non-terminal above one (RFC 5155,
// section 7.1); with opt-out, insecure cuts have none. An empty non-terminal above one has
// its record all the same, as it may: without it, servers differ in what encloses a name.
func nsec3Chain(origin string, names []*signedName, optOut bool) (out []dns.RR) {
	bitmaps := map[string][]uint16{}
	for _, n := range names {
		insecure := n.cut && n.types[dns.TypeDS] == nil
		more := []uint16{dns.TypeRRSIG}
		if insecure {
			more = nil
		}
		if !insecure || !optOut {
			bitmaps[n.name] = n.bitmap(more...)
		}
		for above := n.name; above != origin; {
			_, above, _ = strings.Cut(above, ".")
			if _, ok := bitmaps[above]; !ok {
				bitmaps[above] = nil
			}
		}
	}
	type entry struct {
		hash string
		name string
	}
	var chain []entry
	for name := range bitmaps {
		chain = append(chain, entry{dns.HashName(name, dns.SHA1, 0, ""), name})
	}
	slices.SortFunc(chain, func(a, b entry) int { return cmp.Compare(a.hash, b.hash) })
	flags := uint8(0)
	if optOut {
		flags = 1
	}
	for i, e := range chain {
		out = append(out, &dns.NSEC3{
			Hdr:  dns.RR_Header{Name: strings.ToLower(e.hash) + "." + origin, Rrtype: dns.TypeNSEC3, Class: dns.ClassINET, Ttl: 300},
			Hash: 1, Flags: flags, HashLength: 20, NextDomain: chain[(i+1)%len(chain)].hash, TypeBitMap: bitmaps[e.name],
		})
	}
	return out
}
