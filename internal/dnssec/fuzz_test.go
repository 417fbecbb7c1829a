package dnssec_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"port53/internal/dnssec"
	"port53/internal/wire"
)

func FuzzDenial(f *testing.F) {
	f.Add([]byte("\x01a\x07example\x00"), []byte("\x01c\x07example\x00\x00\x01\x40"), []byte("\x01b\x07example\x00"), 1)
	f.Add([]byte("\x20"+"0p9mhaveqvm6t7vbl5lop2u3t2rp3tom"+"\x07example\x00"),
		[]byte("\x01\x01\x00\x0c\x04\xaa\xbb\xcc\xdd\x14abcdefghijklmnopqrst\x00\x01\x40"), []byte("\x01b\x07example\x00"), 1)
	f.Add([]byte("\x07example\x00"), []byte("\x00\x10\x11\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), []byte("\x00"), -1)
	f.Fuzz(func(t *testing.T, owner, rdata, q []byte, labels int) {
		for _, b := range [][]byte{owner, q} {
			if n, err := wire.CheckName(b); err != nil || n != len(b) {
				return
			}
		}
		for _, zone := range []string{"example.", "."} {
			d := &dnssec.Denial{Zone: name(t, zone)}
			d.AddNSEC(owner, rdata)
			d.AddNSEC3(owner, rdata)
			w := &dnssec.Work{Hashes: 400}
			p, nx := d.NXDomain(q, w)
			_, no := d.NoData(q, wire.TypeA, w)
			_, ds := d.NoDS(q, w)
			_, wild := d.Wildcard(q, labels, w)
			if bytes.Equal(wire.Lower(nil, owner), wire.Lower(nil, q)) && (nx == 0 && !p.NXName && !p.Insecure || wild == 0 && !p.Insecure) {
				t.Fatalf("%x proves that it does not exist itself", owner)
			}
			if !wire.Subdomain(q, d.Zone) && (nx == 0 || no == 0 || ds == 0 || wild == 0) {
				t.Fatalf("%x is not in %s, and something of it is proven", q, zone)
			}
			if w.Hashes < 0 {
				t.Fatalf("%d hashes left", w.Hashes)
			}
		}
	})
}

func FuzzVerify(f *testing.F) {
	f.Add([]byte("\x01a\x07example\x00"), uint16(wire.TypeMX), []byte("\x00\x0a\x01b\x07example\x00"), []byte("\x00\x0f\x0f\x02"), []byte("\x01\x00\x03\x0f"), []byte("sig"))
	f.Add([]byte("\x01*\x07example\x00"), uint16(wire.TypeSOA), []byte{}, []byte("\x00\x06\x08\x01\x00\x00\x00\x00\xff"), []byte("\x01\x00\x03\x08\x03\x01\x00\x01\xff"), []byte{})
	f.Fuzz(func(t *testing.T, owner []byte, typ uint16, rdata, head, dnskey, signature []byte) {
		if n, err := wire.CheckName(owner); err != nil || n != len(owner) {
			return
		}
		k, ok := dnssec.ParseKey(dnskey)
		if _, made := dnssec.AppendDS(nil, owner, dnskey, dnssec.DigestSHA256); ok != made && len(dnskey) < 5 {
			t.Fatalf("a key of %d octets", len(dnskey))
		}
		dnssec.MatchDS(rdata, owner, dnskey)
		// As the input has it, and with the fields that lead further.
		raw := append(append(bytes.Clone(head), owner...), signature...)
		fit := append(append(make([]byte, 18, 18+len(owner)+len(signature)), owner...), signature...)
		copy(fit, head)
		binary.BigEndian.PutUint16(fit, typ)
		fit[2] = k.Algorithm
		binary.BigEndian.PutUint32(fit[8:], now+100)
		binary.BigEndian.PutUint32(fit[12:], now-100)
		binary.BigEndian.PutUint16(fit[16:], k.Tag)
		s := &wire.RRset{Owner: wire.Lower(nil, owner), Type: wire.Type(typ), Data: [][]byte{rdata, dnskey, rdata}, Sigs: [][]byte{rdata, raw, fit}}
		w := work()
		if _, why := dnssec.Verify(s, s.Owner, []dnssec.Key{k, k}, clock, w); why == 0 {
			t.Fatalf("a signature is good that nobody made")
		}
		if w.Signatures < 29 || w.Failures < 0 {
			t.Fatalf("%+v left", w)
		}
	})
}
