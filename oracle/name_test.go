package oracle

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/miekg/dns"

	"port53/internal/wire"
)

func compareNames(t *testing.T, text string) {
	t.Helper()
	ours, err := wire.ParseName(text)
	buf := make([]byte, 512)
	n, err2 := dns.PackDomainName(dns.Fqdn(text), buf, 0, nil, false)
	if err != nil {
		return // it packs some that are none, such as a..b
	}
	if err2 != nil || !bytes.Equal(ours, buf[:n]) {
		t.Fatalf("%q: ours %X, theirs %X (%v)", text, ours, buf[:n], err2)
	}
	theirs, _, err2 := dns.UnpackDomainName(ours, 0)
	if err2 != nil {
		t.Fatalf("%q: they refuse %X: %v", text, ours, err2)
	}
	if again, err := wire.ParseName(theirs); err != nil || !bytes.Equal(again, ours) {
		t.Fatalf("%q (theirs): ours %X (%v), was %X", theirs, again, err, ours)
	}
}

func TestNames(t *testing.T) {
	r := rand.New(rand.NewPCG(53, 56))
	for range 5000 {
		compareNames(t, string(wire.AppendName(nil, randomName(r))))
	}
}

func FuzzName(f *testing.F) {
	for _, s := range []string{".", "a.b", `\000.\"`, "a..", `a\1`, "ü.", `a\.`, `\`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) { compareNames(t, text) })
}
