package signer_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/authority"
	"port53/internal/chain"
	"port53/internal/dnssec"
	"port53/internal/signer"
	"port53/internal/wire"
	"port53/internal/zone"
)

// compact returns a zone that is signed by a policy with compact denial, and its keys.
func compact(t testing.TB, o *signer.Online, alg uint8, text string) (*zone.Zone, *dnssec.Zone) {
	t.Helper()
	s := &signer.Stage{
		Zone: name(t, "example."), Dir: t.TempDir() + "/keys", Online: o,
		Policy: signer.StagePolicy{Algorithm: alg, Denial: signer.Compact, Valid: 14 * days, Refresh: 5 * days, Before: time.Hour},
	}
	v, err := s.Sign(t.Context(), 1, nil, load(t, "example.", text), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if same, err := s.Sign(t.Context(), 1, v.Zone, load(t, "example.", text), time.Now()); err != nil || same.Zone != v.Zone {
		t.Fatalf("signed again: %v", err)
	}
	var u zone.Unpacked
	if v.Zone.Signed() || !v.Zone.UnpackType(&u, v.Zone.Root(), wire.TypeDNSKEY) {
		t.Fatal("the zone has proofs, or no keys")
	}
	trusted := &dnssec.Zone{Name: name(t, "example.")}
	for _, d := range u.Data {
		k, _ := dnssec.ParseKey(bytes.Clone(d))
		trusted.Keys = append(trusted.Keys, k)
	}
	return v.Zone, trusted
}

// A client asks a zone, with DO and the flags that it has.
type client struct {
	responder authority.Responder
	query     wire.Query
	builder   wire.Builder
	room      [4096]byte
}

func (c *client) ask(t testing.TB, z *zone.Zone, owner string, typ wire.Type, flags byte) (*wire.Message, authority.Result) {
	t.Helper()
	result := c.answer(t, z, query(t, owner, typ, flags))
	m := &wire.Message{}
	if bad := m.Parse(bytes.Clone(c.builder.Finish(nil, 0))); bad != 0 {
		t.Fatal(bad)
	}
	return m, result
}

func (c *client) answer(t testing.TB, z *zone.Zone, msg []byte) authority.Result {
	if bad := c.query.Parse(msg); bad != 0 {
		t.Fatalf("query %x: %v", msg, bad)
	}
	c.builder.Start(c.room[:], len(c.room), 0, &c.query)
	return c.responder.Answer(z, &c.query, &c.builder)
}

func query(t testing.TB, owner string, typ wire.Type, flags byte) []byte {
	t.Helper()
	msg := append([]byte{0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1}, name(t, owner)...)
	msg = append(msg, byte(typ>>8), byte(typ), 0, 1)
	return append(msg, 0, 0, 41, 4, 208, 0, 0, flags, 0, 0, 0)
}

// count returns how many records a section has.
func count(m *wire.Message, section wire.Section) (n int) {
	for i := range m.Records {
		if m.Records[i].Section == section {
			n++
		}
	}
	return n
}

const (
	flagDO = 0x80
	flagCO = 0x40
)

// TestCompactDenial has answers of every kind judged as a validator does: names that are not there,
// empty non-terminals, wildcards and what they lack, delegations, and names too long to have one below.
func TestCompactDenial(t *testing.T) {
	z, trusted := compact(t, signer.NewOnline(1<<20, 100000), dnssec.ED25519, everyKind)
	label := func(n int, c string) string { return string(bytes.Repeat([]byte(c), n)) }
	// 255 and 254 octets, which have no room for a label below.
	long := label(63, "a") + "." + label(63, "b") + "." + label(63, "c") + "." + label(53, "d") + ".example."
	full := label(63, "a") + "." + label(63, "b") + "." + label(63, "c") + "." + label(52, "d") + ".example."
	var c client
	for _, q := range []struct {
		name   string
		t      wire.Type
		nxname bool
		types  []wire.Type // in the bit map; nil: that of a name that is not there
	}{
		{"nothing.c.example.", wire.TypeA, true, nil},
		{"x.ns.example.", wire.TypeTXT, true, nil},
		{"x.y.z.ns.example.", wire.TypeDS, true, nil},
		{"x.ns.example.", wire.TypeANY, true, nil},
		{"ns.example.", wire.TypeTXT, false, []wire.Type{1, 28, 46, 47}},
		{"NS.Example.", wire.TypeTXT, false, []wire.Type{1, 28, 46, 47}},
		{"b.c.example.", wire.TypeA, false, []wire.Type{46, 47}},
		{"ent.example.", wire.TypeA, false, []wire.Type{46, 47}},
		{"any.wild.example.", wire.TypeA, false, []wire.Type{16, 46, 47}},
		{"*.any.wild.example.", wire.TypeA, false, []wire.Type{16, 46, 47}},
		{"*.wild.example.", wire.TypeA, false, []wire.Type{16, 46, 47}},
		{"insecure.example.", wire.TypeDS, false, []wire.Type{2, 46, 47}},
		{"odd.example.", wire.TypeA, false, []wire.Type{46, 47, 65400}},
		{long + "", wire.TypeA, false, []wire.Type{15, 46, 47}},
		{full, wire.TypeA, false, []wire.Type{15, 46, 47}},
	} {
		m, result := c.ask(t, z, q.name, q.t, flagDO)
		work := dnssec.Work{Signatures: 10, Failures: 10, Hashes: 10}
		sets, proof, why := trusted.VerifyNegative(wire.Lower(nil, name(t, q.name)), q.t, false, chain.Sets(m, wire.Authority), time.Now(), &work)
		if why != 0 || m.Rcode != wire.NoError || proof.NXName != q.nxname || (result.Kind == authority.NXDomain) != q.nxname {
			t.Errorf("%s %v: %v, rcode %v, kind %v, NXNAME %v", q.name, q.t, why, m.Rcode, result.Kind, proof.NXName)
			continue
		}
		types := q.types
		if q.nxname {
			types = []wire.Type{46, 47, 128}
		}
		nsec := sets[len(sets)-1]
		n, _ := wire.CheckName(nsec.Data[0])
		if got := wire.BitmapTypes(nil, nsec.Data[0][n:]); fmt.Sprint(got) != fmt.Sprint(types) || len(sets) != 2 {
			t.Errorf("%s %v: the bit map has %v; want %v", q.name, q.t, got, types)
		}
		// The next name is right behind: nothing else is denied.
		if len(q.name) < 200 && !bytes.Equal(nsec.Data[0][:n], append([]byte{1, 0}, wire.Lower(nil, name(t, q.name))...)) {
			t.Errorf("%s: the next name is %s", q.name, wire.AppendName(nil, nsec.Data[0][:n]))
		}
	}
	m, _ := c.ask(t, z, "x.insecure.example.", wire.TypeA, flagDO)
	work := dnssec.Work{Signatures: 10, Failures: 10, Hashes: 10}
	if _, proof, why := trusted.VerifyNegative(name(t, "insecure.example."), wire.TypeDS, false, chain.Sets(m, wire.Authority), time.Now(), &work); why != 0 || !proof.Delegation {
		t.Errorf("the delegation: %v, %+v", why, proof)
	}
}

// TestCompactRcode has names that are not there be NXDOMAIN for clients without DNSSEC, and for those
// that set CO beside DO.
func TestCompactRcode(t *testing.T) {
	z, _ := compact(t, signer.NewOnline(1<<20, 100000), dnssec.ED25519, everyKind)
	var c client
	for flags, want := range map[byte]wire.Rcode{0: wire.NXDomain, flagDO: wire.NoError, flagDO | flagCO: wire.NXDomain} {
		if m, result := c.ask(t, z, "x.ns.example.", wire.TypeA, flags); m.Rcode != want || result.Kind != authority.NXDomain {
			t.Errorf("flags %x: %v, want %v", flags, m.Rcode, want)
		}
		if m, _ := c.ask(t, z, "ns.example.", wire.TypeTXT, flags); m.Rcode != wire.NoError {
			t.Errorf("flags %x, no data: %v", flags, m.Rcode)
		}
	}
}

// TestCompactWildcard has sets made from wildcards be signed as those of the name that was asked for,
// and NSEC records and signatures that are asked for answered with.
func TestCompactWildcard(t *testing.T) {
	z, trusted := compact(t, signer.NewOnline(1<<20, 100000), dnssec.ED25519, everyKind+"*.alias CNAME mail\n")
	var c client
	for _, q := range []struct {
		name    string
		t, want wire.Type
	}{
		{"any.wild.example.", wire.TypeTXT, wire.TypeTXT},
		{"*.b.wild.example.", wire.TypeTXT, wire.TypeTXT},
		{"x.alias.example.", wire.TypeA, wire.TypeCNAME},
		{"x.ns.example.", wire.TypeNSEC, wire.TypeNSEC},
		{"ns.example.", wire.TypeNSEC, wire.TypeNSEC},
		{"b.c.example.", wire.TypeNSEC, wire.TypeNSEC},
		{"ns.example.", wire.TypeA, wire.TypeA},
	} {
		m, _ := c.ask(t, z, q.name, q.t, flagDO)
		sets := chain.Sets(m, wire.Answer)
		if len(sets) == 0 || sets[0].Type != q.want {
			t.Errorf("%s %v: %v", q.name, q.t, sets)
			continue
		}
		for _, s := range sets {
			v, why := dnssec.Verify(s, trusted.Name, trusted.Keys, time.Now(), &dnssec.Work{Signatures: 10, Failures: 10})
			if why != 0 || v.Wildcard {
				t.Errorf("%s %v: %v: %v, from a wildcard %v", q.name, q.t, s.Type, why, v.Wildcard)
			}
		}
		if n := count(m, wire.Authority); n != 0 {
			t.Errorf("%s %v: %d records of proof", q.name, q.t, n)
		}
	}
	for _, owner := range []string{"x.ns.example.", "b.c.example.", "any.wild.example.", "ns.example."} {
		if m, _ := c.ask(t, z, owner, wire.TypeRRSIG, flagDO); count(m, wire.Answer) != 1 {
			t.Errorf("%s RRSIG: %d records", owner, count(m, wire.Answer))
		}
	}
}

// TestOnlineRate has more names asked for than may be signed for: unverified clients have half a
// second's signatures and verified ones the other half, what is known is answered for, and a second
// later it goes on.
func TestOnlineRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate = 100
		z, _ := compact(t, signer.NewOnline(1<<20, rate), dnssec.ED25519, everyKind)
		var c client
		asked := func(kind string) (n int) {
			for i := range 3 * rate {
				m, result := c.ask(t, z, fmt.Sprintf("%s%d.ns.example.", kind, i), wire.TypeA, flagDO)
				if !result.Busy {
					n++
				} else if m.Flags&wire.FlagTC == 0 || count(m, wire.Authority) != 0 {
					t.Fatalf("flags %x", m.Flags)
				}
			}
			return n
		}
		if n := asked("a"); n != rate/2 {
			t.Errorf("unverified: %d", n)
		}
		c.responder.Verified = true
		if n := asked("b"); n != rate/2 {
			t.Errorf("verified: %d", n)
		}
		if _, result := c.ask(t, z, "a0.ns.example.", wire.TypeA, flagDO); result.Busy {
			t.Error("a signature that is known was not served")
		}
		time.Sleep(time.Second)
		if n := asked("c"); n != rate {
			t.Errorf("a second later: %d", n)
		}
		// An old signature is made again while it has as much left as others.
		time.Sleep(10 * days)
		m, _ := c.ask(t, z, "a0.ns.example.", wire.TypeA, flagDO)
		for _, s := range chain.Sets(m, wire.Authority) {
			if s.Type == wire.TypeNSEC && time.Unix(int64(binary.BigEndian.Uint32(s.Sigs[0][8:])), 0).Before(time.Now().Add(13*days)) {
				t.Error("a signature older than it may be")
			}
		}
	})
}

// TestOnlineBudget has 50 times the signatures made that there is room for, by several at a time: the
// octets are kept to.
func TestOnlineBudget(t *testing.T) {
	const budget = 256 << 10
	o := signer.NewOnline(budget, 1000000)
	z, trusted := compact(t, o, dnssec.ED25519, everyKind)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			var c client
			c.responder.Verified = true
			for i := range 10000 {
				m, result := c.ask(t, z, fmt.Sprintf("n%d-%d.ns.example.", g, i), wire.TypeA, flagDO)
				if result.Busy {
					continue
				}
				if i%1000 == 0 {
					work := dnssec.Work{Signatures: 10, Failures: 10, Hashes: 10}
					if _, _, why := trusted.VerifyNegative(name(t, fmt.Sprintf("n%d-%d.ns.example.", g, i)), wire.TypeA, false, chain.Sets(m, wire.Authority), time.Now(), &work); why != 0 {
						t.Error(why)
					}
				}
			}
		})
	}
	wg.Wait()
	if n := o.Octets(); n > budget || n < budget/2 {
		t.Errorf("%d octets are kept; the budget is %d", n, budget)
	}
}

// TestOnlineAllocatesNothing has an answer whose signature is known cost no memory.
func TestOnlineAllocatesNothing(t *testing.T) {
	z, _ := compact(t, signer.NewOnline(1<<20, 1000), dnssec.ED25519, everyKind)
	var c client
	for _, owner := range []string{"x.mail.example.", "mail.example.", "any.wild.example."} {
		msg := query(t, owner, wire.TypeTXT, flagDO)
		c.answer(t, z, msg)
		if n := testing.AllocsPerRun(100, func() { c.answer(t, z, msg) }); n != 0 {
			t.Errorf("%s: %v allocations", owner, n)
		}
	}
}
