package signer_test

import (
	"crypto"
	"io"
	"strings"
	"testing"

	"port53/internal/dnssec"
	"port53/internal/signer"
)

// A badKey signs wrongly from a certain signature on, as broken memory or hardware would.
type badKey struct {
	crypto.Signer
	good int
}

// Sign implements [crypto.Signer].
func (k *badKey) Sign(random io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	sig, err := k.Signer.Sign(random, digest, o)
	if k.good--; k.good < 0 && err == nil {
		sig[len(sig)-1] ^= 1
	}
	return sig, err
}

// TestBadSignatureIsFound has a key make wrong signatures: the zone is not signed.
func TestBadSignatureIsFound(t *testing.T) {
	for _, alg := range []uint8{dnssec.ECDSAP256, dnssec.ED25519} {
		for _, good := range []int{0, 1, 20} {
			k := newKey(t, "example.", alg, true)
			k.Private = &badKey{k.Private, good}
			_, err := signer.Sign(load(t, "example.", everyKind), []*signer.Key{k}, signer.Policy{}, signer.SignOptions{Now: now, Workers: 1}, func([]byte) error { return nil })
			if err == nil || !strings.Contains(err.Error(), "does not verify") {
				t.Errorf("algorithm %d, %d good ones: got error %v", alg, good, err)
			}
		}
	}
}

// TestTagsDiffer makes keys beside ones that have almost all tags: none has one of these.
func TestTagsDiffer(t *testing.T) {
	made := newKey(t, "example.", dnssec.ED25519, true)
	taken := map[uint16]bool{}
	var others []*signer.Key
	for range 300 { // a tag in 220 or so, revoked ones counted
		k := newKey(t, "example.", dnssec.ED25519, true, others...)
		if taken[k.Tag()] {
			t.Fatalf("tag %d twice", k.Tag())
		}
		taken[k.Tag()] = true
		others = append(others, k)
	}
	// One with every tag but a few: 16 tries cannot find one, and say so.
	var all []*signer.Key
	for tag := range 1 << 16 {
		k := &signer.Key{Zone: made.Zone, DNSKEY: append([]byte(nil), made.DNSKEY...)}
		k.DNSKEY[4], k.DNSKEY[5] = byte(tag>>8), byte(tag)
		all = append(all, k)
	}
	if _, err := signer.NewKey(made.Zone, dnssec.ED25519, true, now, all); err == nil || !strings.Contains(err.Error(), "no key with a tag of its own") {
		t.Errorf("where all tags are taken: %v", err)
	}
}
