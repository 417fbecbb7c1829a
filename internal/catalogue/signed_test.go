package catalogue_test

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"time"

	"port53/internal/check"
	"port53/internal/dnssec"
	"port53/internal/wire"
)

// keys are those of the root and of the zone, made once.
var keys = sync.OnceValue(func() [2]*dnssec.Signer {
	var out [2]*dnssec.Signer
	for i, z := range [][]byte{wire.Root, zone} {
		s, err := dnssec.GenerateKey(z, dnssec.ECDSAP256, 0x101)
		if err != nil {
			panic(err)
		}
		out[i] = s
	}
	return out
})

// anchors are what the tests' root is trusted by.
func anchors() []check.Anchor {
	ds, _ := dnssec.AppendDS(nil, wire.Root, keys()[0].Key.Data, dnssec.DigestSHA256)
	return []check.Anchor{{Owner: wire.Root, DS: ds}}
}

// signing is how a zone is signed, and what is wrong with it. Its zero value is right:
// compact denial of existence (RFC 9824).
type signing struct {
	by       map[int]*dnssec.Signer                      // of the server with this number; absent: the zone's
	keys     [][]byte                                    // more of them
	ds       func(ds []byte) [][]byte                    // in place of the right one
	valid    time.Duration                               // from now; 0: a week
	since    time.Duration                               // before now; 0: an hour
	unproven bool                                        // nothing says that there is no DS
	denial   func(m *wire.Message, a *answer) bool       // in place of the compact one
	mangle   func(t wire.Type, data []byte)              // changes what was signed
	unsigned func(owner []byte, t wire.Type) (skip bool) // leaves sets unsigned
}

// signed has the root and the zone of a script signed.
func signed(s script, o signing) script {
	return func(m *wire.Message, server int, tcp bool) answer {
		a := s(m, server, tcp)
		if m.Class != wire.ClassIN || m.Opcode != 0 || a.rc != 0 && a.rc != wire.NXDomain || a.silent {
			return a
		}
		k := keys()[min(server, 1)]
		if other := o.by[server]; other != nil {
			k = other
		}
		add := func(t wire.Type, data ...[]byte) {
			a.rc, a.rr = 0, nil
			for _, d := range data {
				a.rr = append(a.rr, wire.Record{Owner: m.Name, Type: t, TTL: 3600, Data: d})
			}
		}
		switch {
		case m.Type == wire.TypeDNSKEY && wire.EqualFold(m.Name, k.Zone):
			all := [][]byte{k.Key.Data}
			if server > 0 {
				all = append(all, o.keys...)
			}
			add(wire.TypeDNSKEY, all...)
		case server == 0 && m.Type == wire.TypeDS && wire.EqualFold(m.Name, zone):
			ds, _ := dnssec.AppendDS(nil, zone, keys()[1].Key.Data, dnssec.DigestSHA256)
			list := [][]byte{ds}
			if o.ds != nil {
				list = o.ds(ds)
			}
			add(wire.TypeDS, list...)
			if len(list) == 0 && !o.unproven {
				types := []byte{0, 6, 0x20, 0, 0, 0, 0, 3} // NS, RRSIG, NSEC
				a.rr = []wire.Record{{Owner: zone, Type: wire.TypeNSEC, Section: wire.Authority, TTL: 3600, Data: slices.Concat([]byte{1, 0}, zone, types)}}
			}
		case server > 0 && !slices.ContainsFunc(a.rr, func(r wire.Record) bool { return r.Section == wire.Answer }):
			if o.denial == nil || !o.denial(m, &a) {
				a.rc, a.rr = 0, slices.DeleteFunc(a.rr, func(r wire.Record) bool { return r.Type == wire.TypeNSEC })
				types := []byte{0, 6, 0, 0, 0, 0, 0, 3} // RRSIG, NSEC
				a.rr = append(a.rr, wire.Record{Owner: wire.Lower(nil, m.Name), Type: wire.TypeNSEC, Section: wire.Authority, TTL: 3600, Data: slices.Concat([]byte{1, 0}, wire.Lower(nil, m.Name), types)})
				if m.Type == wire.TypeNSEC {
					a.rr[len(a.rr)-1].Section = wire.Answer
				}
			}
		}
		if m.DO && a.flags&wire.FlagAA != 0 {
			a.rr = append(a.rr, sigs(k, a.rr, o)...)
		}
		return a
	}
}

func sigs(k *dnssec.Signer, list []wire.Record, o signing) []wire.Record {
	since, valid := o.since, o.valid
	if since == 0 {
		since = time.Hour
	}
	if valid == 0 {
		valid = 7 * 24 * time.Hour
	}
	now := time.Now()
	var out []wire.Record
	done := map[string]bool{}
	for _, r := range list {
		id := strings.ToLower(string(r.Owner)) + r.Type.String()
		if r.Section == wire.Additional || done[id] || o.unsigned != nil && o.unsigned(r.Owner, r.Type) || r.Type == wire.TypeRRSIG {
			continue
		}
		done[id] = true
		set := &wire.RRset{Owner: wire.Lower(nil, r.Owner), Type: r.Type, TTL: r.TTL}
		for _, x := range list {
			if x.Type == r.Type && wire.EqualFold(x.Owner, r.Owner) {
				set.Data = append(set.Data, x.Data)
			}
		}
		slices.SortFunc(set.Data, bytes.Compare)
		sig, err := k.Sign(set, uint32(now.Add(-since).Unix()), uint32(now.Add(valid).Unix()))
		if err != nil {
			panic(err)
		}
		if o.mangle != nil {
			o.mangle(r.Type, sig)
		}
		out = append(out, wire.Record{Owner: r.Owner, Type: wire.TypeRRSIG, Section: r.Section, TTL: r.TTL, Data: sig})
	}
	return out
}

// sameTag returns a key with the tag of another: its sum does not change when two words
// change places (RFC 4034, appendix B).
func sameTag(key []byte) []byte {
	k := slices.Clone(key)
	for i := 4; i+4 <= len(k); i += 2 {
		if !bytes.Equal(k[i:i+2], k[i+2:i+4]) {
			k[i], k[i+1], k[i+2], k[i+3] = k[i+2], k[i+3], k[i], k[i+1]
			return k
		}
	}
	return k
}

// trial is a server that a check must fail at, and one that it must pass.
type trial struct{ bad, good script }

// trials are those that need more than one changed answer.
func trials() map[string]trial {
	right := signed(good, signing{})
	weak := append([]byte{1, 1, 3, 5, 3, 1, 0, 1}, bytes.Repeat([]byte{0x81}, 128)...)
	long := func(n byte) []byte {
		return append([]byte{1, 1, 3, 8, 3, 1, 0, 1}, bytes.Repeat([]byte{0x80 | n}, 384)...)
	}
	own, _ := dnssec.AppendDS(nil, zone, keys()[1].Key.Data, dnssec.DigestSHA256)
	strange := func() []byte {
		d := slices.Clone(own)
		d[len(d)-1] ^= 1
		return d
	}
	// The root delegates to others than ns1 and ns2, without glue.
	delegates := func(from map[string][]string) script {
		return func(m *wire.Message, server int, tcp bool) answer {
			for z, ns := range from {
				if server == 0 && wire.Subdomain(m.Name, name(z)) && m.Type != wire.TypeDS {
					var a answer
					for _, n := range ns {
						a.rr = append(a.rr, rr(wire.Authority, z, wire.TypeNS, 60, name(n)))
					}
					return a
				}
			}
			a := good(m, server, tcp)
			if server == 0 && a.rc == wire.NXDomain {
				a.rr = []wire.Record{rr(wire.Authority, ".", wire.TypeSOA, 60, soa(1))}
			}
			return a
		}
	}
	nsec := func(m *wire.Message, a *answer) bool { // the names as they are, in their order
		owner, next := zone, name("ns1.example.test")
		if bytes.HasPrefix(m.Name, []byte("\x03ns1")) {
			owner, next = next, zone
		}
		section := wire.Authority
		if m.Type == wire.TypeNSEC {
			section = wire.Answer
		}
		a.rr = append(a.rr, wire.Record{Owner: owner, Type: wire.TypeNSEC, Section: section, TTL: 60, Data: slices.Concat(next, []byte{0, 6, 0x40, 0, 0, 0, 0, 3})})
		return true
	}
	svcb := func(data []byte) script { return gives(wire.TypeSVCB, data) }
	return map[string]trial{
		"DNSSEC-CHAIN": {signed(good, signing{mangle: func(_ wire.Type, sig []byte) { sig[len(sig)-1] ^= 1 }}), right},
		"DNSSEC-DSMISS": {signed(good, signing{ds: func(ds []byte) [][]byte {
			other := slices.Clone(ds)
			other[len(other)-1] ^= 1
			return [][]byte{other}
		}}), right},
		"DNSSEC-ALG":    {signed(good, signing{keys: [][]byte{weak}}), right},
		"DNSSEC-EXP":    {signed(good, signing{since: 48 * time.Hour, valid: -time.Hour}), right},
		"DNSSEC-NSEC3":  {signed(gives(wire.TypeNSEC3PARAM, []byte{1, 0, 0, 99, 0}), signing{}), right},
		"DNSSEC-WALK":   {signed(good, signing{denial: nsec}), right},
		"DNSSEC-TAGS":   {signed(good, signing{keys: [][]byte{sameTag(keys()[1].Key.Data)}}), right},
		"DNSSEC-CDS":    {signed(gives(wire.TypeCDS, strange()), signing{}), signed(gives(wire.TypeCDS, own), signing{})},
		"DNSSEC-ALGSIG": {signed(good, signing{keys: [][]byte{long(1)}}), right},
		"DNSSEC-NX":     {signed(good, signing{denial: func(*wire.Message, *answer) bool { return true }}), right},
		"DNSSEC-SIZE":   {signed(good, signing{keys: [][]byte{long(1), long(2), long(3), long(4)}}), right},
		"DEL-2NS":       {delegates(map[string][]string{"example.test": {"ns1.example.test"}}), good},
		"DEL-DANGLE-NS": {delegates(map[string][]string{"example.test": {"ns1.example.test", "ns.not-registered"}}), good},
		"DEL-CYCLE":     {delegates(map[string][]string{"example.test": {"ns.other.test"}, "other.test": {"ns.example.test"}}), good},
		"DDR":           {svcb(append([]byte{0, 1}, name("dns.example.test")...)), svcb(slices.Concat([]byte{0, 1}, name("dns.example.test"), []byte{0, 1, 0, 4, 3, 'd', 'o', 't'}))},
	}
}
