package parent_test

import (
	"context"
	"encoding/binary"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"port53/internal/chain"
	"port53/internal/dnssec"
	"port53/internal/dnstest"
	"port53/internal/parent"
	"port53/internal/signer"
	"port53/internal/wire"
	"port53/internal/zone"
)

// signed returns a zone signed with a new key, and DS records of that, as text and as data.
func signed(t *testing.T, apex, text string) (z *zone.Zone, dsText string, ds [][]byte) {
	t.Helper()
	s := &signer.Stage{Zone: dnstest.Name(t, apex), Dir: filepath.Join(t.TempDir(), "keys"), Policy: signer.StagePolicy{
		Algorithm: dnssec.ED25519, Valid: 14 * 24 * time.Hour, Refresh: 5 * 24 * time.Hour, Before: time.Hour,
	}}
	v, err := s.Sign(context.Background(), 1, nil, dnstest.Zone(t, apex, text), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	keys, _, err := s.EntryKeys(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	data, _ := keys[0].DS(dnssec.DigestSHA256)
	return v.Zone, string(wire.AppendRdataText(nil, wire.TypeDS, data)), [][]byte{data}
}

const (
	oneDS   = "child 172800 DS 4711 13 2 5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A\n"
	otherDS = "child 172800 DS 4712 13 2 5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A\n"
)

// TestLookValidates has servers of a signed parent, and who answers in their place: what they say counts if it is
// the parent's by its signatures, be it DS records or that there is none. A TTL that was made shorter is not
// believed. Of a parent that is proven to be unsigned all is believed.
func TestLookValidates(t *testing.T) {
	test := strings.ReplaceAll(above, "192.0.2.1", "192.0.2.2") + "@ NS ns2\nns2 A 192.0.2.3\n"
	good, testDS, _ := signed(t, "test.", test+oneDS)
	none, noneDS, _ := signed(t, "test.", test)
	forged := dnstest.Zone(t, "test.", test+otherDS)
	forgedSigned, _, _ := signed(t, "test.", test+otherDS)
	below := "test. NS ns.test.\ntest. NS ns2.test.\nns.test. A 192.0.2.2\nns2.test. A 192.0.2.3\n"
	above := "$TTL 300\n@ SOA ns. admin. 1 7200 3600 1209600 300\n@ NS ns.\nns. A 192.0.2.1\n" + below
	short := func(query []byte) []byte { // TTLs of a second
		reply := serving(good)(query)
		for i := 4; i+10 < len(reply); i++ {
			if binary.BigEndian.Uint32(reply[i:]) == 172800 && binary.BigEndian.Uint16(reply[i-4:]) == uint16(wire.TypeDS) && binary.BigEndian.Uint16(reply[i-2:]) == 1 {
				binary.BigEndian.PutUint32(reply[i:], 1)
			}
		}
		return reply
	}
	for what, c := range map[string]struct {
		ds      string // of the parent in the root zone
		second  func([]byte) []byte
		first   *zone.Zone
		tag     uint16 // that the second server is believed to have
		trouble string
	}{
		"the same":             {testDS, serving(good), good, 4711, ""},
		"no DS, proven":        {noneDS, serving(none), none, 0, ""},
		"unsigned, another DS": {testDS, serving(forged), good, 0, "there is no signature, and the zone test. is signed"},
		"another key's":        {testDS, serving(forgedSigned), good, 0, "cannot be validated"},
		"no DS, without proof": {testDS, serving(dnstest.Zone(t, "test.", test)), good, 0, "there is no DS record of this name is not proven"},
		"a TTL made shorter":   {testDS, short, good, 4711, ""},
		"an unsigned parent":   {"", serving(forged), dnstest.Zone(t, "test.", test+oneDS), 4712, ""},
	} {
		root := above
		if c.ds != "" {
			root += "test. DS " + c.ds + "\n"
		}
		z, _, anchor := signed(t, ".", root)
		h := hosts{"192.0.2.1:53": serving(z), "192.0.2.2:53": serving(c.first), "192.0.2.3:53": c.second}
		l := h.looker()
		l.Roots = []chain.Server{{Name: dnstest.Name(t, "ns."), Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}}
		l.Anchors = []chain.Anchor{{Zone: wire.Root, DS: anchor}}
		s := l.Check(t.Context(), &parent.Target{Zone: dnstest.Name(t, "child.test.")})
		if len(s.Parent) != 2 {
			t.Fatalf("%s: %+v", what, s.Parent)
		}
		for _, p := range s.Parent {
			if !strings.HasPrefix(p.Server, "ns2") {
				if p.Error != "" {
					t.Errorf("%s: the honest server: %+v", what, p)
				}
				continue
			}
			tag := uint16(0)
			if len(p.DS) == 1 {
				tag = binary.BigEndian.Uint16(p.DS[0])
			}
			if tag != c.tag || (c.trouble == "") != (p.Error == "") || !strings.Contains(p.Error, c.trouble) || tag == 4711 && p.TTL < 172800 {
				t.Errorf("%s: %+v", what, p)
			}
		}
	}
}
