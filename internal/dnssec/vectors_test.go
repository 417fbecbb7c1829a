package dnssec_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"port53/internal/dnssec"
	"port53/internal/wire"
	"port53/internal/zonefile"
)

// sets reads a zone file into sets with their signatures.
func sets(t testing.TB, text []byte) []*wire.RRset {
	t.Helper()
	var all []*wire.RRset
	find := map[string]*wire.RRset{}
	_, err := zonefile.Read(bytes.NewReader(text), zonefile.Options{Origin: wire.Root}, func(r *zonefile.Record) error {
		typ := r.Type
		if typ == wire.TypeRRSIG {
			typ = wire.Covered(r.Data)
		}
		owner := wire.Lower(nil, r.Owner)
		k := string(owner) + typ.String()
		s := find[k]
		if s == nil {
			s = &wire.RRset{Owner: owner, Type: typ, TTL: r.TTL}
			find[k] = s
			all = append(all, s)
		}
		if r.Type == wire.TypeRRSIG {
			s.Sigs = append(s.Sigs, bytes.Clone(r.Data))
		} else {
			s.Data = append(s.Data, bytes.Clone(r.Data))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// one returns the set of a type.
func one(t testing.TB, all []*wire.RRset, typ wire.Type) *wire.RRset {
	t.Helper()
	for _, s := range all {
		if s.Type == typ {
			return s
		}
	}
	t.Fatalf("no %v", typ)
	return nil
}

// The examples of RFC 6605, section 6, of RFC 8080, section 6, as corrected by
// erratum 4935, and of RFC 5702, section 6.2.
var vectors = []struct {
	what, text string
	private    string // what the key is made of, in base64
	at         string
	same       bool // signing again gives the same signature
}{
	{"RFC 6605, section 6.1", `
example.net. 3600 IN DNSKEY 257 3 13 GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edbkrSqQpF64cYbcB7wNcP+e+MAnLr+Wi9xMWyQLc8NAA==
example.net. 3600 IN DS 55648 13 2 b4c8c1fe2e7477127b27115656ad6256f424625bf5c1e2770ce6d6e37df61d17
www.example.net. 3600 IN A 192.0.2.1
www.example.net. 3600 IN RRSIG A 13 3 3600 20100909100439 20100812100439 55648 example.net. qx6wLYqmh+l9oCKTN6qIc+bw6ya+KJ8oMz0YP107epXAyGmt+3SNruPFKG7tZoLBLlUzGGus7ZwmwWep666VCw==
`, "GU6SnQ/Ou+xC5RumuIUIuJZteXT2z0O/ok1s38Et6mQ=", "2010-08-20", false},
	{"RFC 6605, section 6.2", `
example.net. 3600 IN DNSKEY 257 3 14 xKYaNhWdGOfJ+nPrL8/arkwf2EY3MDJ+SErKivBVSum1w/egsXvSADtNJhyem5RCOpgQ6K8X1DRSEkrbYQ+OB+v8/uX45NBwY8rp65F6Glur8I/mlVNgF6W/qTI37m40
example.net. 3600 IN DS 10771 14 4 72d7b62976ce06438e9c0bf319013cf801f09ecc84b8d7e9495f27e305c6a9b0563a9b5f4d288405c3008a946df983d6
www.example.net. 3600 IN A 192.0.2.1
www.example.net. 3600 IN RRSIG A 14 3 3600 20100909102025 20100812102025 10771 example.net. /L5hDKIvGDyI1fcARX3z65qrmPsVz73QD1Mr5CEqOiLP95hxQouuroGCeZOvzFaxsT8Glr74hbavRKayJNuydCuzWTSSPdz7wnqXL5bdcJzusdnI0RSMROxxwGipWcJm
`, "WURgWHCcYIYUPWgeLmiPY2DJJk02vgrmTfitxgqcL4vwW7BOrbawVmVe0d9V94SR", "2010-08-20", false},
	{"RFC 8080, section 6.1", `
example.com. 3600 IN DNSKEY 257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=
example.com. 3600 IN DS 3613 15 2 3aa5ab37efce57f737fc1627013fee07bdf241bd10f3b1964ab55c78e79a304b
example.com. 3600 IN MX 10 mail.example.com.
example.com. 3600 IN RRSIG MX 15 2 3600 20150819220000 20150729220000 3613 example.com. oL9krJun7xfBOIWcGHi7mag5/hdZrKWw15jPGrHpjQeRAvTdszaPD+QLs3fx8A4M3e23mRZ9VrbpMngwcrqNAg==
`, "ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI=", "2015-08-01", true},
	{"RFC 8080, section 6.1, the second", `
example.com. 3600 IN DNSKEY 257 3 15 zPnZ/QwEe7S8C5SPz2OfS5RR40ATk2/rYnE9xHIEijs=
example.com. 3600 IN DS 35217 15 2 401781b934e392de492ec77ae2e15d70f6575a1c0bc59c5275c04ebe80c6614c
example.com. 3600 IN MX 10 mail.example.com.
example.com. 3600 IN RRSIG MX 15 2 3600 20150819220000 20150729220000 35217 example.com. zXQ0bkYgQTEFyfLyi9QoiY6D8ZdYo4wyUhVioYZXFdT410QPRITQSqJSnzQoSm5poJ7gD7AQR0O7KuI5k2pcBg==
`, "DSSF3o0s0f+ElWzj9E/Osxw8hLpk55chkmx0LYN5WiY=", "2015-08-01", true},
	{"RFC 8080, section 6.2", `
example.com. 3600 IN DNSKEY 257 3 16 3kgROaDjrh0H2iuixWBrc8g2EpBBLCdGzHmn+G2MpTPhpj/OiBVHHSfPodx1FYYUcJKm1MDpJtIA
example.com. 3600 IN DS 9713 16 2 6ccf18d5bc5d7fc2fceb1d59d17321402f2aa8d368048db93dd811f5cb2b19c7
example.com. 3600 IN MX 10 mail.example.com.
example.com. 3600 IN RRSIG MX 16 2 3600 20150819220000 20150729220000 9713 example.com. 3cPAHkmlnxcDHMyg7vFC34l0blBhuG1qpwLmjInI8w1CMB29FkEAIJUA0amxWndkmnBZ6SKiwZSAxGILn/NBtOXft0+Gj7FSvOKxE/07+4RQvE581N3Aj/JtIyaiYVdnYtyMWbSNyGEY2213WKsJlwEA
`, "", "2015-08-01", true},
	{"RFC 8080, section 6.2, the second", `
example.com. 3600 IN DNSKEY 257 3 16 kkreGWoccSDmUBGAe7+zsbG6ZAFQp+syPmYUurBRQc3tDjeMCJcVMRDmgcNLp5HlHAMy12VoISsA
example.com. 3600 IN DS 38353 16 2 645ff078b3568f5852b70cb60e8e696cc77b75bfaaffc118cf79cbda1ba28af4
example.com. 3600 IN MX 10 mail.example.com.
example.com. 3600 IN RRSIG MX 16 2 3600 20150819220000 20150729220000 38353 example.com. E1/oLjSGIbmLny/4fcgM1z4oL6aqo+izT3urCyHyvEp4Sp8Syg1eI+lJ57CSnZqjJP41O/9l4m0AsQ4f7qI1gVnML8vWWiyW2KXhT9kuAICUSxv5OWbf81Rq7Yu60npabODB0QFPb/rkW3kUZmQ0YQUA
`, "", "2015-08-01", true},
	{"RFC 5702, section 6.2", `
example.net. 3600 IN DNSKEY 256 3 10 AwEAAdHoNTOW+et86KuJOWRDp1pndvwb6Y83nSVXXyLA3DLroROUkN6X0O6pnWnjJQujX/AyhqFDxj13tOnD9u/1kTg7cV6rklMrZDtJCQ5PCl/D7QNPsgVsMu1J2Q8gpMpztNFLpPBz1bWXjDtaR7ZQBlZ3PFY12ZTSncorffcGmhOL
www.example.net. 3600 IN A 192.0.2.91
www.example.net. 3600 IN RRSIG A 10 3 3600 20300101000000 20000101000000 3740 example.net. tsb4wnjRUDnB1BUi+t6TMTXThjVnG+eCkWqjvvjhzQL1d0YRoOe0CbxrVDYd0xDtsuJRaeUw1ep94PzEWzr0iGYgZBWm/zpq+9fOuagYJRfDqfReKBzMweOLDiNa8iP5g9vMhpuv6OPlvpXwm9Sa9ZXIbNl1MBGk0fthPgxdDLw=
`, "", "2020-01-01", true},
}

func TestVectors(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.what, func(t *testing.T) {
			at, err := time.Parse(time.DateOnly, v.at)
			if err != nil {
				t.Fatal(err)
			}
			all := sets(t, []byte(v.text))
			key := one(t, all, wire.TypeDNSKEY)
			k, ok := dnssec.ParseKey(key.Data[0])
			if !ok {
				t.Fatal("no key")
			}
			s := all[len(all)-1]
			if strings.Contains(v.text, " DS ") {
				ds := one(t, all, wire.TypeDS).Data[0]
				made, ok := dnssec.AppendDS(nil, key.Owner, key.Data[0], ds[3])
				if !ok || !bytes.Equal(made, ds) || !dnssec.MatchDS(ds, key.Owner, key.Data[0]) {
					t.Errorf("DS %x, want %x", made, ds)
				}
			}
			if _, why := dnssec.Verify(s, key.Owner, []dnssec.Key{k}, at, work()); why != 0 {
				t.Errorf("signature: %v", why)
			}
			if v.private == "" {
				return
			}
			signer, err := dnssec.NewSigner(key.Owner, k.Algorithm, k.Flags, private(t, k.Algorithm, v.private))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(signer.Key.Data, k.Data) {
				t.Errorf("the private key's public half is %x, want %x", signer.Key.Data, k.Data)
			}
			sig := s.Sigs[0]
			again, err := signer.Sign(s, binary.BigEndian.Uint32(sig[12:]), binary.BigEndian.Uint32(sig[8:]))
			if err != nil {
				t.Fatal(err)
			}
			if v.same && !bytes.Equal(again, sig) {
				t.Errorf("signed again:\n%x, want\n%x", again, sig)
			}
			s.Sigs = [][]byte{again}
			if _, why := dnssec.Verify(s, key.Owner, []dnssec.Key{k}, at, work()); why != 0 {
				t.Errorf("signed again: %v", why)
			}
		})
	}
}

func private(t *testing.T, alg uint8, text string) crypto.Signer {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	curve := elliptic.P256()
	switch alg {
	case dnssec.ED25519:
		return ed25519.NewKeyFromSeed(b)
	case dnssec.ECDSAP384:
		curve = elliptic.P384()
	}
	k, err := ecdsa.ParseRawPrivateKey(curve, b)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestShortRSA has the example of RFC 5702, section 6.1: it is right, and its key of 512
// bits is refused.
func TestShortRSA(t *testing.T) {
	all := sets(t, []byte(`
example.net. 3600 IN DNSKEY 256 3 8 AwEAAcFcGsaxxdgiuuGmCkVImy4h99CqT7jwY3pexPGcnUFtR2Fh36BponcwtkZ4cAgtvd4Qs8PkxUdp6p/DlUmObdk=
www.example.net. 3600 IN A 192.0.2.91
www.example.net. 3600 IN RRSIG A 8 3 3600 20300101000000 20000101000000 9033 example.net. kRCOH6u7l0QGy9qpC9l1sLncJcOKFLJ7GhiUOibu4teYp5VE9RncriShZNz85mwlMgNEacFYK/lPtPiVYP4bwg==
`))
	k, ok := dnssec.ParseKey(all[0].Data[0])
	if !ok || k.Tag != 9033 {
		t.Fatalf("key %v with tag %d", ok, k.Tag)
	}
	w := work()
	at := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	if _, why := dnssec.Verify(all[1], all[0].Owner, []dnssec.Key{k}, at, w); why != dnssec.BadSignature || w.Signatures != 32 {
		t.Errorf("%v after %d verifications", why, 32-w.Signatures)
	}
}

// sha1Prefix is what stands before a SHA-1 digest in an RSA signature (RFC 3110,
// section 3).
var sha1Prefix = []byte{0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2B, 0x0E, 0x03, 0x02, 0x1A, 0x05, 0x00, 0x04, 0x14}

// checkSHA1 verifies a signature of algorithm 5 or 7, by the book and by nothing else:
// that is only for the canonical form of old examples.
func checkSHA1(dnskey, data, signature []byte) bool {
	b := dnskey[4:]
	e := new(big.Int).SetBytes(b[1 : 1+int(b[0])])
	n := new(big.Int).SetBytes(b[1+int(b[0]):])
	size := (n.BitLen() + 7) / 8
	m := new(big.Int).Exp(new(big.Int).SetBytes(signature), e, n).FillBytes(make([]byte, size))
	sum := sha1.Sum(data)
	tail := append(append([]byte{0}, sha1Prefix...), sum[:]...)
	want := append([]byte{0, 1}, bytes.Repeat([]byte{0xFF}, size-2-len(tail))...)
	return bytes.Equal(m, append(want, tail...))
}

// TestExampleZones checks the canonical form of each signed set of RFC 4035, appendix A,
// and RFC 5155, appendix A, against the signatures there, and of one made from a
// wildcard. Their algorithms use SHA-1 and make the zones insecure today.
func TestExampleZones(t *testing.T) {
	for file, want := range map[string]int{"rfc4035.zone": 28, "rfc5155.zone": 31} {
		text, err := os.ReadFile("testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		all := sets(t, text)
		keys := map[uint16][]byte{}
		var parsed []dnssec.Key
		for _, d := range one(t, all, wire.TypeDNSKEY).Data {
			keys[dnssec.KeyTag(d)] = d
			k, ok := dnssec.ParseKey(d)
			if !ok {
				t.Fatal("no key")
			}
			parsed = append(parsed, k)
		}
		good := 0
		check := func(s *wire.RRset) {
			for _, sig := range s.Sigs {
				data, signature := dnssec.SignedData(s, sig)
				if key := keys[uint16(sig[16])<<8|uint16(sig[17])]; key == nil || !checkSHA1(key, data, signature) {
					t.Errorf("%s: %s %v is not what was signed", file, wire.AppendName(nil, s.Owner), s.Type)
					continue
				}
				good++
			}
			at := time.Date(2006, 1, 1, 0, 0, 0, 0, time.UTC)
			if file == "rfc4035.zone" {
				at = time.Date(2004, 5, 1, 0, 0, 0, 0, time.UTC)
			}
			if _, why := dnssec.Verify(s, name(t, "example."), parsed, at, work()); len(s.Sigs) > 0 && why != dnssec.UnsupportedAlgorithm {
				t.Errorf("%s: %s %v: %v", file, wire.AppendName(nil, s.Owner), s.Type, why)
			}
		}
		for _, s := range all {
			check(s)
			if bytes.Equal(s.Owner, name(t, "*.w.example.")) && s.Type == wire.TypeMX {
				made := s.Clone()
				made.Owner = name(t, "a.z.w.example.") // RFC 4035, appendix B.6; RFC 5155, appendix B.4
				check(made)
			}
		}
		if good != want {
			t.Errorf("%s: %d signatures are good, want %d", file, good, want)
		}
	}
}

// TestExampleResponses has the proofs of RFC 4035, appendix B, and RFC 5155, appendix B:
// the records by the names that own them, and each is needed unless the RFC sends it for
// another reason.
func TestExampleResponses(t *testing.T) {
	for _, c := range []struct {
		what    string
		file    string
		records string
		ask     func(d *dnssec.Denial, n []byte, w *dnssec.Work) (dnssec.Proof, dnssec.Reason)
		name    string
		want    dnssec.Proof
	}{
		{"4035 B.2 name error", "rfc4035.zone", "b.example. example.", nxdomain, "ml.example.", dnssec.Proof{ClosestEncloser: name(t, "example.")}},
		{"4035 B.3 no data", "rfc4035.zone", "ns1.example.", nodata(wire.TypeMX), "ns1.example.", dnssec.Proof{}},
		{"4035 B.5 unsigned zone", "rfc4035.zone", "b.example.", nodata(wire.TypeDS), "b.example.", dnssec.Proof{Delegation: true}},
		{"4035 B.6 wildcard", "rfc4035.zone", "x.y.w.example.", wild(2), "a.z.w.example.", dnssec.Proof{ClosestEncloser: name(t, "w.example.")}},
		{"4035 B.7 wildcard no data", "rfc4035.zone", "x.y.w.example. *.w.example.", nodata(wire.TypeAAAA), "a.z.w.example.", dnssec.Proof{ClosestEncloser: name(t, "w.example.")}},
		{
			"5155 B.1 name error", "rfc5155.zone", "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom.example. b4um86eghhds6nea196smvmlo4ors995.example. 35mthgpgcu1qg68fab165klnsnk3dpvl.example.",
			nxdomain, "a.c.x.w.example.",
			dnssec.Proof{ClosestEncloser: name(t, "x.w.example."), OptOut: true},
		},
		{"5155 B.2 no data", "rfc5155.zone", "2t7b4g4vsa5smi47k61mv5bv1a22bojr.example.", nodata(wire.TypeMX), "ns1.example.", dnssec.Proof{}},
		{"5155 B.2.1 empty non-terminal", "rfc5155.zone", "ji6neoaepv8b5o6k4ev33abha8ht9fgc.example.", nodata(wire.TypeA), "y.w.example.", dnssec.Proof{}},
		{
			"5155 B.3 opt-out", "rfc5155.zone", "35mthgpgcu1qg68fab165klnsnk3dpvl.example. 0p9mhaveqvm6t7vbl5lop2u3t2rp3tom.example.",
			nodata(wire.TypeDS), "c.example.",
			dnssec.Proof{ClosestEncloser: name(t, "example."), OptOut: true},
		},
		{"5155 B.4 wildcard", "rfc5155.zone", "q04jkcevqvmu85r014c7dkba38o0ji5r.example.", wild(2), "a.z.w.example.", dnssec.Proof{ClosestEncloser: name(t, "w.example."), OptOut: true}},
		{
			"5155 B.5 wildcard no data", "rfc5155.zone", "k8udemvp1j2f7eg6jebps17vp3n8i58h.example. q04jkcevqvmu85r014c7dkba38o0ji5r.example. r53bq7cc2uvmubfu5ocmm6pers9tk9en.example.",
			nodata(wire.TypeAAAA), "a.z.w.example.",
			dnssec.Proof{ClosestEncloser: name(t, "w.example."), OptOut: true},
		},
	} {
		text, err := os.ReadFile("testdata/" + c.file)
		if err != nil {
			t.Fatal(err)
		}
		all := sets(t, text)
		owners := strings.Fields(c.records)
		without := func(left int) *dnssec.Denial {
			d := &dnssec.Denial{Zone: name(t, "example.")}
			for i, owner := range owners {
				for _, s := range all {
					if i == left || !bytes.Equal(s.Owner, name(t, owner)) {
						continue
					}
					switch s.Type {
					case wire.TypeNSEC:
						d.AddNSEC(s.Owner, s.Data[0])
					case wire.TypeNSEC3:
						d.AddNSEC3(s.Owner, s.Data[0])
					}
				}
			}
			return d
		}
		p, why := c.ask(without(-1), name(t, c.name), work())
		if why != 0 || !bytes.Equal(p.ClosestEncloser, c.want.ClosestEncloser) || p.OptOut != c.want.OptOut || p.Delegation != c.want.Delegation {
			t.Errorf("RFC %s: %+v %v, want %+v", c.what, p, why, c.want)
		}
		for i := range owners {
			p, why := c.ask(without(i), name(t, c.name), work())
			// Under opt-out, what is missing may be an unsigned delegation: such a proof is
			// marked as one that proves little.
			if why == 0 && !p.OptOut {
				t.Errorf("RFC %s: proven without %s", c.what, owners[i])
			}
		}
	}
	// RFC 4035, appendix B.8, and RFC 5155, appendix B.6: the child has no say about DS.
	for file, owner := range map[string]string{"rfc4035.zone": "example.", "rfc5155.zone": "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom.example."} {
		text, err := os.ReadFile("testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		d := &dnssec.Denial{Zone: name(t, "example.")}
		for _, s := range sets(t, text) {
			if bytes.Equal(s.Owner, name(t, owner)) && s.Type == wire.TypeNSEC {
				d.AddNSEC(s.Owner, s.Data[0])
			} else if bytes.Equal(s.Owner, name(t, owner)) && s.Type == wire.TypeNSEC3 {
				d.AddNSEC3(s.Owner, s.Data[0])
			}
		}
		if _, why := d.NoDS(name(t, "example."), work()); why != dnssec.BadProof {
			t.Errorf("%s: DS of the apex: %v", file, why)
		}
		if _, why := d.NoData(name(t, "example."), wire.TypeA, work()); why != 0 {
			t.Errorf("%s: A of the apex: %v", file, why)
		}
	}
}

func nxdomain(d *dnssec.Denial, n []byte, w *dnssec.Work) (dnssec.Proof, dnssec.Reason) {
	return d.NXDomain(n, w)
}

func nodata(typ wire.Type) func(*dnssec.Denial, []byte, *dnssec.Work) (dnssec.Proof, dnssec.Reason) {
	return func(d *dnssec.Denial, n []byte, w *dnssec.Work) (dnssec.Proof, dnssec.Reason) {
		return d.NoData(n, typ, w)
	}
}

func wild(labels int) func(*dnssec.Denial, []byte, *dnssec.Work) (dnssec.Proof, dnssec.Reason) {
	return func(d *dnssec.Denial, n []byte, w *dnssec.Work) (dnssec.Proof, dnssec.Reason) {
		return d.Wildcard(n, labels, w)
	}
}
