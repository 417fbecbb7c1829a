package signer_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"port53/internal/dnssec"
	"port53/internal/signer"
	"port53/internal/wire"
	"port53/internal/zone"
)

// TestForeignKeysThroughRolls has a zone with a second signer (RFC 8901, model 2), whose keys and CDS
// record are in the plain zone, roll its ZSK and its KSK: they are in each version, signed, and never
// taken for ones of ours.
func TestForeignKeysThroughRolls(t *testing.T) {
	s := newStage(t, true, signer.NSEC)
	other, data := newKey(t, "example.", dnssec.ED25519, true), newKey(t, "example.", dnssec.ED25519, false)
	ds, _ := other.DS(dnssec.DigestSHA256)
	text := everyKind
	for _, k := range []*signer.Key{other, data} {
		text += fmt.Sprintf("@ TYPE48 \\# %d %s\n", len(k.DNSKEY), hex.EncodeToString(k.DNSKEY))
	}
	plain := load(t, "example.", text+fmt.Sprintf("@ TYPE59 \\# %d %s\n", len(ds), hex.EncodeToString(ds)))
	has := func(z *zone.Zone, typ wire.Type, data []byte) bool {
		var u zone.Unpacked
		return z.UnpackType(&u, z.Root(), typ) && slices.ContainsFunc(u.Data, func(d []byte) bool { return string(d) == string(data) })
	}
	v := at(t, s, nil, plain, now)
	first := fmt.Sprint(v.Keys)
	var parentHas [][]byte // it reads CDS records
	when := now
	for step := range 150 {
		when = when.Add(6 * days / 24)
		sight := here(v.Zone, when)
		var u zone.Unpacked
		if v.Zone.UnpackType(&u, v.Zone.Root(), wire.TypeCDS); len(u.Data) > 1 { // the other's alone would leave us out
			parentHas = nil
			for _, d := range u.Data {
				parentHas = append(parentHas, bytes.Clone(d))
			}
		}
		sight.Parent[0].DS = parentHas
		if _, err := s.Observe(sight); err != nil {
			t.Fatal(err)
		}
		switch step {
		case 20:
			if err := s.Roll(signer.Roll{}, when); err != nil {
				t.Fatal(err)
			}
		}
		v = at(t, s, v.Zone, plain, when)
		if !has(v.Zone, wire.TypeDNSKEY, other.DNSKEY) || !has(v.Zone, wire.TypeDNSKEY, data.DNSKEY) || !has(v.Zone, wire.TypeCDS, ds) {
			t.Fatalf("step %d: a key of the other signer is gone", step)
		}
		for _, k := range v.Keys {
			if strings.HasPrefix(k, fmt.Sprintf("%d ", other.Tag())) || strings.HasPrefix(k, fmt.Sprintf("%d ", data.Tag())) {
				t.Fatalf("step %d: a key of the other signer counts as one of ours: %v", step, v.Keys)
			}
		}
	}
	if len(parentHas) != 2 {
		t.Errorf("the parent has %d DS records; want one of each signer", len(parentHas))
	}
	if last := fmt.Sprint(v.Keys); last == first || len(v.Keys) != 2 {
		t.Errorf("the keys were to be rolled: %v, then %v", first, v.Keys)
	}
}
