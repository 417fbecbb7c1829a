package signer_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"port53/internal/dnssec"
	"port53/internal/signer"
	"port53/internal/wire"
	"port53/internal/zone"
)

// TestKeyFileUnreadable has a private key be something that cannot be read as a file.
func TestKeyFileUnreadable(t *testing.T) {
	dir := t.TempDir()
	k := newKey(t, "example.", dnssec.ED25519, true)
	if err := k.Write(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(k.File + ".private"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(k.File+".private", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, problems, err := signer.ReadKeys(dir, k.Zone); err != nil || len(problems) != 1 || !strings.Contains(problems[0].Error(), k.File+".private: not a key file: not a regular file") {
		t.Errorf("%v, %v", problems, err)
	}
}

// TestVerifyTwoKeysOfOneTag has another key of the same tag and algorithm be published: both are tried, and the
// zone is good.
func TestVerifyTwoKeysOfOneTag(t *testing.T) {
	k := newKey(t, "example.", dnssec.ED25519, true)
	other := slices.Clone(k.DNSKEY)
	copy(other[4:], k.DNSKEY[6:8]) // two words change places: the sum is the same (RFC 4034, appendix B)
	copy(other[6:], k.DNSKEY[4:6])
	if dnssec.KeyTag(other) != k.Tag() || string(other) == string(k.DNSKEY) {
		t.Fatalf("%x and %x", other, k.DNSKEY)
	}
	text := "@ 60 SOA ns a 1 1 1 1 1\n@ 60 NS ns\n@ 3600 DNSKEY " + string(wire.AppendRdataText(nil, wire.TypeDNSKEY, other)) + "\n"
	records, _ := sign(t, load(t, "example.", text), []*signer.Key{k}, signer.Policy{}, signer.SignOptions{})
	z := build(t, name(t, "example."), records)
	var u zone.Unpacked
	if z.UnpackType(&u, z.Root(), wire.TypeDNSKEY); len(u.Data) != 2 {
		t.Fatalf("%d keys", len(u.Data))
	}
	if v := verify(t, z, signer.VerifyOptions{DS: dsOf([]*signer.Key{k})}); !v.Good() {
		t.Errorf("%v", v.Faults)
	}
}

// TestUnknownDigestAtParent has a DS record with a digest that nobody here can compute stand for the old key:
// it may be what a validator goes by, and the key stays until the record is gone. What is waited for is told
// with the server's name.
func TestUnknownDigestAtParent(t *testing.T) {
	s, plain := newStage(t, false, signer.NSEC), load(t, "example.", everyKind)
	v := at(t, s, nil, plain, now)
	old := dsOfZone(v.Zone)
	unknown := append(slices.Clone(old[0][:3]), 200, 1, 2, 3, 4)
	clock := now
	live := func(days int, ds func() [][]byte) {
		t.Helper()
		for range days {
			clock = clock.Add(24 * time.Hour)
			sight := here(v.Zone, clock)
			sight.Parent[0].DS = ds()
			if _, err := s.Observe(sight); err != nil {
				t.Fatal(err)
			}
			v = at(t, s, v.Zone, plain, clock)
		}
	}
	live(10, func() [][]byte { return old })
	if err := s.Roll(signer.Roll{}, clock); err != nil {
		t.Fatal(err)
	}
	live(10, func() [][]byte { return old })
	var next [][]byte
	for _, ds := range dsOfZone(v.Zone) {
		if string(ds) != string(old[0]) {
			next = append(next, ds)
		}
	}
	live(40, func() [][]byte { return append(slices.Clone(next), unknown) })
	if got := dsOfZone(v.Zone); len(next) != 1 || len(got) != 2 {
		t.Errorf("the old key left, and a DS record may be of it: %d keys", len(got))
	}
	if w := strings.Join(v.Lifecycle.Waits(&s.Policy.Lifecycle), "\n"); !strings.Contains(w, "its DS record is not on all parent servers yet: parent") {
		t.Errorf("waits for %q", w)
	}
	live(30, func() [][]byte { return next })
	if got := dsOfZone(v.Zone); len(got) != 1 {
		t.Errorf("the old key is there still: %s", v.Lifecycle.Waits(&s.Policy.Lifecycle))
	}
}

// TestForeignCDS has a CDS record in the zone be of no key: it is not published, since a parent that acts on it
// would make the zone bogus.
func TestForeignCDS(t *testing.T) {
	s := newStage(t, false, signer.NSEC)
	plain := load(t, "example.", everyKind+"@ 60 CDS 4711 13 2 0102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F20\n")
	const want = "CDS: it asks for a DS record of a key that does not sign the DNSKEY set: the zone would be bogus"
	if _, err := s.Sign(context.Background(), 1, nil, plain, now); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}

// TestStatesNotWritten has the states of keys not be written, as on a full disk: nothing new is served, the
// error names the file, and it goes on when there is room.
func TestStatesNotWritten(t *testing.T) {
	s, plain := newStage(t, false, signer.NSEC), load(t, "example.", everyKind)
	v := at(t, s, nil, plain, now)
	blocked := filepath.Join(s.Dir, "states.json.new")
	if err := os.MkdirAll(filepath.Join(blocked, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.Roll(signer.Roll{Force: true}, now.Add(days)); err == nil || !strings.Contains(err.Error(), "states.json.new") {
		t.Errorf("a roll began without its state: %v", err)
	}
	if _, err := s.Sign(context.Background(), 1, v.Zone, plain, now.Add(10*days)); err == nil || !strings.Contains(err.Error(), "states.json.new") {
		t.Errorf("signed without its state: %v", err)
	}
	if err := os.RemoveAll(blocked); err != nil {
		t.Fatal(err)
	}
	at(t, s, v.Zone, plain, now.Add(10*days))
}
