package signer_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"port53/internal/signer"
	"port53/internal/wire"
	"port53/internal/zone"
)

// TestStageStray: single records of a signed zone do not keep a zone from being signed, nor does an export of what
// was signed here; neither is in what is served but as it was made.
func TestStageStray(t *testing.T) {
	const sig = "13 2 60 20300101000000 20200101000000 1 example. AAAA"
	for what, more := range map[string]string{
		"NSEC":                     "y.www 60 NSEC example. NSEC RRSIG\n",
		"NSEC at the apex":         "@ 60 NSEC www SOA NS\n",
		"NSEC and a signature":     "y.www 60 NSEC example. NSEC RRSIG\ny.www 60 RRSIG NSEC " + sig + "\n",
		"NSEC3":                    "@ 60 NSEC3PARAM 1 0 0 -\n0p9mhaveqvm6t7vbl5lop2u3t2rp3tom 60 NSEC3 1 0 0 - 2t7b4g4vsa5smi47k61mv5bv1a22bojr A\n",
		"a signature":              "www 60 RRSIG A " + sig + "\n",
		"a signature over the SOA": "@ 60 RRSIG SOA " + sig + "\n@ 60 NSEC www SOA NS\n",
	} {
		s := newStage(t, false, signer.NSEC)
		have := at(t, s, nil, load(t, "example.", small), now)
		v := at(t, s, have.Zone, load(t, "example.", small+more), now)
		if d := zone.Diff(have.Zone, v.Zone); d != nil {
			t.Errorf("%s: what is served has changed: %d records went and %d came", what, recordsOf(d.Removed), recordsOf(d.Added))
		}
		again := at(t, s, v.Zone, v.Zone, now)
		if d := zone.Diff(v.Zone, again.Zone); d != nil {
			t.Errorf("%s: of an export comes another zone", what)
		}
	}
}

func recordsOf(list []byte) (n int) {
	_ = zone.EachRecord(list, func([]byte, wire.Type, uint32, []byte) bool { n++; return true })
	return n
}

// TestTry: what the records of a zone are to blame for is told before, and no key is made for that; the error of
// signing is the same one.
func TestTry(t *testing.T) {
	const ds = "DS 1 13 2 0102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F20\n"
	foreign := newKey(t, "example.", 13, true)
	many := ""
	for i := range 1100 {
		many += fmt.Sprintf("h%d 60 A 192.0.2.1\n", i)
	}
	for what, more := range map[string]string{
		"nothing":                     "",
		"DS without NS":               "www 60 A 192.0.2.1\nwww 60 " + ds,
		"DS without NS, many names":   many + "www 60 A 192.0.2.1\nwww 60 " + ds,
		"DS below a delegation":       "sub 60 NS ns.sub\nns.sub 60 A 192.0.2.2\nsub 60 " + ds + "x.sub 60 NS ns.sub\nx.sub 60 " + ds,
		"below a delegation, many":    many + "sub 60 NS ns.sub\nns.sub 60 A 192.0.2.2\nx.sub 60 " + ds,
		"a key of another algorithm":  "@ 60 DNSKEY " + string(wire.AppendRdataText(nil, wire.TypeDNSKEY, foreign.DNSKEY)) + "\n",
		"many names, and all is well": many,
	} {
		s := newStage(t, false, signer.NSEC)
		have := at(t, s, nil, load(t, "example.", small), now)
		plain := load(t, "example.", small+more)
		tried := s.Try(context.Background(), 1, have.Zone, plain, now)
		_, err := s.Sign(context.Background(), 1, have.Zone, plain, now)
		if (tried == nil) != (err == nil) || err != nil && (!errors.Is(err, signer.ErrContent) || err.Error() != tried.Error()) {
			t.Errorf("%s: tried: %v; signed: %v", what, tried, err)
		}
		if keys, _, _ := signer.ReadKeys(s.Dir, s.Zone); len(keys) != 1 {
			t.Errorf("%s: %d keys", what, len(keys))
		}
	}
	s := newStage(t, false, signer.NSEC)
	if err := s.Try(context.Background(), 1, nil, load(t, "example.", small), now); err != nil {
		t.Error(err)
	}
	if keys, _, _ := signer.ReadKeys(s.Dir, s.Zone); len(keys) > 0 {
		t.Error("a trial has made keys")
	}
	from := newStage(t, false, signer.NSEC)
	at(t, from, nil, load(t, "example.", small), now)
	s.From = from.Dir
	if err := s.Try(context.Background(), 1, nil, load(t, "example.", small), now); err != nil {
		t.Error(err)
	}
	if keys, _, _ := signer.ReadKeys(s.Dir, s.Zone); len(keys) > 0 {
		t.Error("a trial has taken keys over")
	}
}
