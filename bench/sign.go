package main

import (
	"bufio"
	"crypto"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// A signer is the one key of a zone, which signs both its keys and the rest.
type signer struct {
	key     *dns.DNSKEY
	private crypto.Signer
	from    uint32 // when signatures begin and end to be valid
	until   uint32
}

// zoneTTL is the TTL of all that resolvers are to keep while they are measured.
const zoneTTL = 86400

// newSigner makes a key for a zone: ECDSA P-256, which new zones are to use (RFC
// 8624, section 3.1).
func newSigner(zone string) (*signer, error) {
	s := &signer{key: &dns.DNSKEY{
		Hdr:   dns.RR_Header{Name: zone, Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: zoneTTL},
		Flags: dns.ZONE | dns.SEP, Protocol: 3, Algorithm: dns.ECDSAP256SHA256,
	}}
	var private crypto.PrivateKey
	for s.key.KeyTag() == 0 || private == nil { // the library signs with no such key
		var err error
		if private, err = s.key.Generate(256); err != nil {
			return nil, err
		}
	}
	now := time.Now()
	s.private = private.(crypto.Signer) // ECDSA's are
	s.from, s.until = uint32(now.Add(-time.Hour).Unix()), uint32(now.AddDate(0, 1, 0).Unix())
	return s, nil
}

// ds returns the DS set for the zone's parent.
func (s *signer) ds() []dns.RR { return []dns.RR{s.key.ToDS(dns.SHA256)} }

// A node is an owner name with its sets.
type node struct {
	name string
	sets [][]dns.RR
	cut  bool // a delegation: only DS is signed
	glue bool // below a delegation: nothing is
}

// writeZone writes a master file of nodes, which stand in canonical order (RFC
// 4034, section 6.1), the apex first. With a signer it adds the key, signatures
// and NSEC.
func writeZone(file string, nodes []node, s *signer) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	write := func(rr dns.RR) {
		w.WriteString(rr.String())
		w.WriteByte('\n')
	}
	var chain []string
	for _, n := range nodes {
		if !n.glue {
			chain = append(chain, n.name)
		}
	}
	owner := 0
	for i, n := range nodes {
		sets := n.sets
		if s != nil && !n.glue {
			if i == 0 {
				sets = append(slices.Clip(sets), []dns.RR{s.key})
			}
			owner++
			sets = append(slices.Clip(sets), []dns.RR{nsec(n.name, chain[owner%len(chain)], sets)})
		}
		for _, set := range sets {
			for _, rr := range set {
				write(rr)
			}
			if typ := set[0].Header().Rrtype; s == nil || n.glue || n.cut && typ != dns.TypeDS && typ != dns.TypeNSEC {
				continue
			}
			sig := &dns.RRSIG{
				Hdr:       dns.RR_Header{Ttl: set[0].Header().Ttl},
				Algorithm: s.key.Algorithm, SignerName: s.key.Hdr.Name, KeyTag: s.key.KeyTag(), Inception: s.from, Expiration: s.until,
			}
			if err := sig.Sign(s.private, set); err != nil {
				return err
			}
			write(sig)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

// nsec returns the NSEC record of a name with sets.
func nsec(name, next string, sets [][]dns.RR) *dns.NSEC {
	types := []uint16{dns.TypeRRSIG, dns.TypeNSEC}
	for _, set := range sets {
		types = append(types, set[0].Header().Rrtype)
	}
	slices.Sort(types)
	return &dns.NSEC{
		Hdr:        dns.RR_Header{Name: name, Rrtype: dns.TypeNSEC, Class: dns.ClassINET, Ttl: negativeTTL},
		NextDomain: next, TypeBitMap: types,
	}
}

// negativeTTL is the TTL of what does not exist.
const negativeTTL = 300

// newAnchors writes the trust anchor of the root zone that s signs into a file.
func newAnchors(file string, s *signer) (*anchors, error) {
	data := func(rr dns.RR) string { return strings.TrimPrefix(rr.String(), rr.Header().String()) }
	a := &anchors{file: file, dnskey: data(s.key), ds: data(s.ds()[0])}
	return a, os.WriteFile(file, []byte(s.key.String()+"\n"), 0o644)
}
