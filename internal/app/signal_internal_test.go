package app

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/dnssec"
	"port53/internal/signer"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zonefile"
)

func zoneOf(t *testing.T, apex, text string) *zone.Zone {
	t.Helper()
	name, err := wire.ParseName(apex)
	if err != nil {
		t.Fatal(err)
	}
	b := zone.NewBuilder(name, 1)
	var r zone.Record
	if _, err := zonefile.Read(strings.NewReader(text), zonefile.Options{Origin: name, Name: "zone"}, func(z *zonefile.Record) error {
		r.Owner, r.Type, r.TTL, r.Data = z.Owner, z.Type, z.TTL, z.Data
		b.Add(&r)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	z, problems := b.Build()
	if z == nil {
		t.Fatal(problems)
	}
	return z
}

func signerOf(t *testing.T, l *signals, apex, home string) *zoneSigner {
	name, err := wire.ParseName(apex)
	if err != nil {
		t.Fatal(err)
	}
	return &zoneSigner{key: append(bytes.Clone(name), home...), home: home, signal: true, signals: l, stage: signer.Stage{
		Zone: name, Dir: t.TempDir() + "/keys",
		Policy: signer.StagePolicy{Algorithm: dnssec.ED25519, Valid: 14 * 24 * time.Hour, Refresh: 5 * 24 * time.Hour, Before: time.Hour},
	}}
}

// copies returns the owners of the CDS and CDNSKEY records of a zone that are not at its apex.
func copies(z *zone.Zone) (list []string) {
	z.Each(func(owner []byte, typ wire.Type, _ uint32, _ []byte) bool {
		if (typ == wire.TypeCDS || typ == wire.TypeCDNSKEY) && !wire.EqualFold(owner, z.Apex()) {
			list = append(list, typ.String()+" "+wire.NameText(owner))
		}
		return true
	})
	slices.Sort(list)
	return list
}

const hostText = "$TTL 60\n@ SOA ns1 admin 1 7200 3600 1209600 60\n@ NS ns1\nns1 A 192.0.2.1\nsub NS ns.sub\nns.sub A 192.0.2.2\nhand._signal.ns1 TXT x\n"

// childText asks for DS records, or that they be removed.
func childText(what string) string {
	return "$TTL 60\n@ SOA ns1.host. admin 1 7200 3600 1209600 60\n@ NS ns1.host.\n@ NS ns.sub.host.\n@ NS own\n@ NS ns.other.\nown A 192.0.2.3\n" + what
}

const (
	asks    = "@ CDS 4711 13 2 5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A\n@ CDNSKEY 257 3 13 AAAA\n"
	removes = "@ CDS 0 0 0 00\n@ CDNSKEY 0 3 0 AA==\n"
)

// TestSignals has what a zone asks for be copied into the zone of its server: nowhere else, signed,
// as long as it asks, over a restart too, and not out of another view.
func TestSignals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newSignals()
		host, other := signerOf(t, l, "host.", ""), signerOf(t, l, "host.", "inside")
		all := map[string]*zoneSigner{string(host.key): host, string(other.key): other}
		plain := zoneOf(t, "host.", hostText)
		var have *zone.Zone
		sign := func(s *zoneSigner) []string {
			t.Helper()
			v, err := s.Sign(t.Context(), 1, have, plain, nil)
			if err != nil {
				t.Fatal(err)
			}
			if verdict, err := signer.Verify(v.Zone, signer.VerifyOptions{Now: time.Now()}); err != nil || !verdict.Good() {
				t.Fatal(err, verdict)
			}
			have = v.Zone
			return copies(v.Zone)
		}
		child := []byte("\x05child\x03com\x00")
		take := func(l *signals, text string) { l.take(child, signalOf(child, "", zoneOf(t, "child.com.", text))) }
		if got := sign(host); got != nil {
			t.Errorf("before anybody asks: %v", got)
		}
		take(l, childText(asks))
		if due := l.due(all); !slices.Equal(due, []string{string(host.key)}) {
			t.Errorf("to be signed again: %q", due)
		}
		want := []string{"CDNSKEY _dsboot.child.com._signal.ns1.host.", "CDS _dsboot.child.com._signal.ns1.host."}
		if got := sign(host); !slices.Equal(got, want) {
			t.Errorf("copies %v; want %v", got, want)
		}
		served := have
		if have = nil; len(sign(other)) != 0 {
			t.Error("another view has copies")
		}
		take(l, childText(asks))
		if due := l.due(all); due != nil {
			t.Errorf("nothing has changed, and is to be signed again: %q", due)
		}

		// A restart: the copies stay until the zone is known, or does not come.
		have, host.signals = served, newSignals()
		l = host.signals
		if got := sign(host); !slices.Equal(got, want) || have != served {
			t.Errorf("after a restart: %v", got)
		}
		time.Sleep(settleTime + time.Second)
		if due := l.due(all); !slices.Equal(due, []string{string(host.key)}) {
			t.Errorf("five minutes after a restart: %q", due)
		}
		if got := sign(host); got != nil {
			t.Errorf("of a zone that is gone: %v", got)
		}
		take(l, childText(asks))
		l.due(all)
		sign(host)
		for _, text := range []string{"", removes} {
			take(l, childText(asks))
			take(l, childText(text))
			if due := l.due(all); !slices.Equal(due, []string{string(host.key)}) {
				t.Errorf("%q: to be signed again: %q", text, due)
			}
			if got := sign(host); got != nil {
				t.Errorf("%q: copies %v", text, got)
			}
		}
	})
}

// TestSignalsByHand has records that somebody wrote where copies of others stand: they are what he says,
// beside copies too, and none comes back that he took out.
func TestSignalsByHand(t *testing.T) {
	l := newSignals()
	host := signerOf(t, l, "host.", "")
	const byHand = "_dsboot.hand.com._signal.ns1 CDS 4711 13 2 5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A\n"
	with, without := zoneOf(t, "host.", hostText+byHand), zoneOf(t, "host.", hostText)
	served, err := host.Sign(t.Context(), 1, nil, with, nil)
	if err != nil {
		t.Fatal(err)
	}
	first := served
	host.signals = newSignals()
	for i, plain := range []*zone.Zone{with, without} {
		v, err := host.Sign(t.Context(), 1, served.Zone, plain, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := copies(v.Zone), copies(plain); !slices.Equal(got, want) {
			t.Errorf("version %d: %v, want %v", i, got, want)
		}
		served = v
	}

	// What another zone's copy was may be written by hand later.
	host.signals = newSignals()
	for _, plain := range []*zone.Zone{without, zoneOf(t, "host.", hostText+strings.ReplaceAll(byHand, "4711", "4712"))} {
		v, err := host.Sign(t.Context(), 1, first.Zone, plain, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := copies(v.Zone); len(got) != 1 {
			t.Errorf("a copy, and then what is written by hand: %v, want one record", got)
		}
	}
}

// TestSignalsInLargeZone has a zone be searched for copies once after a start, and not for each change.
func TestSignalsInLargeZone(t *testing.T) {
	var text strings.Builder
	text.WriteString(hostText)
	for i := range 2000 {
		fmt.Fprintf(&text, "n%d A 192.0.2.1\n", i)
	}
	l, plain := newSignals(), zoneOf(t, "host.", text.String())
	host := signerOf(t, l, "host.", "")
	have := plain
	if n := testing.AllocsPerRun(1, func() { l.with(host, 1, have, plain) }); n > 100 { // the run before it searches
		t.Errorf("%v allocations for a zone that was searched already", n)
	}
}

// TestSignalNameTooLong has a name that would be longer than names may be left out.
func TestSignalNameTooLong(t *testing.T) {
	long := bytes.Repeat([]byte("\x3faaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), 3)
	if n := signalName(append(long, 0), []byte("\x03ns1\x3f"+strings.Repeat("h", 63)+"\x00")); n != nil {
		t.Errorf("%d octets", len(n))
	}
	if n := signalName([]byte("\x05child\x00"), []byte("\x02ns\x00")); string(n) != "\x07_dsboot\x05child\x07_signal\x02ns\x00" {
		t.Errorf("%q", n)
	}
}
