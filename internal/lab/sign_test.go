package lab_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"port53/internal/dnssec"
	"port53/internal/lab"
	"port53/internal/wire"
)

// signedZone is a zone with all that signing must get right: delegations with and
// without DS, glue, names below a DNAME, wildcards and empty non-terminals.
const signedZone = `
-- zone . 192.0.2.1 --
! signed
-- zone example. 192.0.2.2 --
! signed %s
www A 198.51.100.80
www A 198.51.100.81
Mail MX 10 mx.EXAMPLE.
a.b.c TXT "deep"
*.wild TXT "any"
moved DNAME www
plain NS ns.plain
ns.plain A 192.0.2.7
-- zone secure.example. 192.0.2.3 --
! signed
`

// rrsets returns the sets of a reply's answer and authority, each with its
// signatures.
func rrsets(m *wire.Message) []*wire.RRset {
	var sets []*wire.RRset
	find := func(owner []byte, t wire.Type) *wire.RRset {
		owner = wire.Lower(nil, owner)
		for _, s := range sets {
			if bytes.Equal(s.Owner, owner) && s.Type == t {
				return s
			}
		}
		sets = append(sets, &wire.RRset{Owner: owner, Type: t})
		return sets[len(sets)-1]
	}
	for i := range m.Records {
		r := &m.Records[i]
		switch {
		case r.Section == wire.Additional:
		case r.Type == wire.TypeRRSIG:
			s := find(r.Owner, wire.Covered(r.Data))
			s.Sigs = append(s.Sigs, r.Data)
		default:
			s := find(r.Owner, r.Type)
			s.TTL = r.TTL
			s.Data = append(s.Data, r.Data)
		}
	}
	return sets
}

// keysOf returns the keys of a zone, as its server has them.
func keysOf(t testing.TB, w *lab.World, server, zone string) []dnssec.Key {
	t.Helper()
	m := ask(t, w, server, zone+" DNSKEY +do +tcp")
	var keys []dnssec.Key
	for i := range m.Records {
		if k, ok := dnssec.ParseKey(m.Records[i].Data); ok && m.Records[i].Type == wire.TypeDNSKEY {
			keys = append(keys, k)
		}
	}
	return keys
}

func plenty() *dnssec.Work { return &dnssec.Work{Signatures: 1000, Failures: 1000, Hashes: 1 << 30} }

// verify checks the sets of a reply and returns their reasons, 0 if good, by owner
// and type. The delegation's own NS is not signed, and left out.
func verify(t testing.TB, m *wire.Message, zone string, keys []dnssec.Key) map[string]dnssec.Reason {
	t.Helper()
	apex, err := wire.ParseName(zone)
	if err != nil {
		t.Fatal(err)
	}
	reasons := map[string]dnssec.Reason{}
	for _, s := range rrsets(m) {
		if s.Type == wire.TypeNS && m.Flags&wire.FlagAA == 0 {
			continue
		}
		_, why := dnssec.Verify(s, apex, keys, time.Now(), plenty())
		reasons[fmt.Sprintf("%s %v", wire.AppendName(nil, s.Owner), s.Type)] = why
	}
	return reasons
}

// What Sign signs is good by package dnssec, with each algorithm and each way to
// deny, and each denial is proven.
func TestSigned(t *testing.T) {
	for _, words := range []string{
		"", "csk", "alg=8", "alg=10", "alg=14", "alg=15", "alg=13,15", "nsec3", "nsec3 iterations=7 salt=c0ffee alg=15", "optout", "publish=next alg=15",
	} {
		t.Run(words, func(t *testing.T) {
			w := newWorld(t, fmt.Sprintf(signedZone, words))
			keys := keysOf(t, w, "192.0.2.2", "example.")
			apex := []byte("\x07example\x00")
			for _, q := range []string{
				"example. SOA", "example. NS", "example. DNSKEY", "www.example. A", "mail.example. MX", "x.wild.example. TXT", "moved.example. DNAME",
				"secure.example. DS", "plain.example. DS", "x.plain.example. A", "x.secure.example. A", "no.example. A", "b.c.example. A", "www.example. AAAA", "a.no.wild.example. A",
			} {
				m := ask(t, w, "192.0.2.2", q+" +do +tcp")
				for set, why := range verify(t, m, "example.", keys) {
					if why != 0 {
						t.Errorf("%s: %s: %v", q, set, why)
					}
				}
				var d dnssec.Denial
				d.Zone = apex
				for _, s := range rrsets(m) {
					switch s.Type {
					case wire.TypeNSEC:
						d.AddNSEC(s.Owner, s.Data[0])
					case wire.TypeNSEC3:
						d.AddNSEC3(s.Owner, s.Data[0])
					}
				}
				name := wire.Lower(nil, m.Name)
				var why dnssec.Reason
				switch q {
				case "plain.example. DS", "x.plain.example. A":
					_, why = d.NoDS([]byte("\x05plain\x07example\x00"), plenty())
				case "no.example. A":
					_, why = d.NXDomain(name, plenty())
				case "b.c.example. A", "www.example. AAAA", "a.no.wild.example. A":
					_, why = d.NoData(name, m.Type, plenty())
				case "x.wild.example. TXT":
					_, why = d.Wildcard(name, 2, plenty())
				}
				if why != 0 {
					t.Errorf("%s: the proof is not good: %v\n%s", q, why, words)
				}
			}
			// The DS above fits a key of the zone below.
			m := ask(t, w, "192.0.2.2", "secure.example. DS +do")
			below := ask(t, w, "192.0.2.3", "secure.example. DNSKEY +do")
			if len(m.Records) == 0 || !slices.ContainsFunc(below.Records, func(r wire.Record) bool {
				return r.Type == wire.TypeDNSKEY && dnssec.MatchDS(m.Records[0].Data, below.Name, r.Data)
			}) {
				t.Error("the DS of secure.example. fits none of its keys")
			}
			if a := w.Anchors(); !strings.HasPrefix(a, ".\t172800\tIN\tDS\t") || strings.Count(a, "\n") != 1 {
				t.Errorf("anchors: %s", a)
			}
		})
	}
}

// Each fault is the fault that it says, and nothing else is.
func TestFaults(t *testing.T) {
	tests := []struct {
		words, fault string // words of "signed"; the order
		question     string
		want         dnssec.Reason // of the set in question
	}{
		{"", "expired www A", "www A", dnssec.Expired},
		{"", "early www A", "www A", dnssec.NotYetValid},
		{"", "valid www A -10d -1d", "www A", dnssec.Expired},
		{"", "valid www A -10d 1h", "www A", 0},
		{"", "foreign www A", "www A", dnssec.NoKey},
		{"", "signed-by www A other", "www A", dnssec.NoKey},
		{"publish=other", "signed-by www A other", "www A", 0},
		{"", "signer www A other.", "www A", dnssec.WrongSigner},
		{"", "labels www A 0", "www A", dnssec.WrongSigner}, // fewer than the zone has
		{"", "labels www A 1", "www A", 0},                  // as if made from *.example.
		{"", "labels www A 3", "www A", dnssec.WrongSigner},
		{"", "algorithm www A 15", "www A", dnssec.NoKey},
		{"", "algorithm www A 253", "www A", dnssec.UnsupportedAlgorithm},
		{"", "replace www A 198.51.100.1", "www A", 0},
		{"", "alter www A 198.51.100.1", "www A", dnssec.BadSignature},
		{"", "corrupt www A", "www A", dnssec.BadSignature},
		{"alg=8", "corrupt www A", "www A", dnssec.BadSignature},
		{"alg=15", "corrupt * *", "www A", dnssec.BadSignature},
		{"", "unsigned www A", "www A", dnssec.NoSignature},
		{"", "add x TXT more", "x TXT", 0},
		{"", "ttl www A 99999", "www A", 0},
		{"", "unsigned www NSEC", "www AAAA", dnssec.NoSignature},
		{"nsec3", "unsigned www NSEC3", "www AAAA", dnssec.NoSignature},
		{"", "drop @ DNSKEY", "www A", dnssec.NoKey},
		{"alg=5", "ttl www A 3600", "www A", dnssec.UnsupportedAlgorithm},
		{"alg=17", "ttl www A 3600", "www A", dnssec.UnsupportedAlgorithm},
		{"nozonebit", "ttl www A 3600", "www A", dnssec.NoKey},
		{"from=-90d until=-30d", "ttl www A 3600", "www A", dnssec.Expired},
	}
	for _, test := range tests {
		t.Run(test.words+" "+test.fault, func(t *testing.T) {
			w := newWorld(t, strings.Replace(fmt.Sprintf(signedZone, test.words), "www A", "! "+test.fault+"\nwww A", 1))
			keys := keysOf(t, w, "192.0.2.2", "example.")
			name, typ, _ := strings.Cut(test.question, " ")
			m := ask(t, w, "192.0.2.2", name+".example. "+typ+" +do")
			found := false
			for set, why := range verify(t, m, "example.", keys) {
				isIt := strings.HasPrefix(set, name+".example. "+typ) || strings.Contains(set, " NSEC")
				found = found || isIt
				if isIt && why != test.want && !(test.want == dnssec.NoKey && why == dnssec.NoZoneKey) {
					t.Errorf("%s: got %v, want %v", set, why, test.want)
				}
			}
			if !found {
				t.Errorf("not answered: %s", words(m))
			}
			whole := strings.Contains(test.fault, "*") || test.words != "" && test.want != 0 && test.words != "alg=8" && test.words != "nsec3" || strings.Contains(test.fault, "DNSKEY")
			if whole {
				return
			}
			for set, why := range verify(t, ask(t, w, "192.0.2.2", "mail.example. MX +do"), "example.", keys) {
				if why != 0 {
					t.Errorf("%s is not good either: %v", set, why)
				}
			}
		})
	}
}

// DS records are as they were ordered.
func TestDSOrders(t *testing.T) {
	for _, test := range [][2]string{
		{"", "good"},
		{"! ds none", ""},
		{"! ds wrong", "bad"},
		{"! ds tag", "bad"},
		{"! ds digest=1,2,4", "good good good"},
		{"! ds digest=77", "bad"},
		{"! ds alg=77", "bad"},
		{"! ds key=other", "bad"},
		{"! ds good\n! ds wrong", "good bad"},
	} {
		w := newWorld(t, "-- zone . 192.0.2.1 --\n! signed\n-- zone example. 192.0.2.2 --\n! signed\n"+test[0]+"\n")
		keys := ask(t, w, "192.0.2.2", "example. DNSKEY +do")
		var got []string
		for _, s := range rrsets(ask(t, w, "192.0.2.1", "example. DS +do")) {
			if s.Type != wire.TypeDS {
				continue
			}
			for _, ds := range s.Data {
				kind := "bad"
				if slices.ContainsFunc(keys.Records, func(r wire.Record) bool {
					return r.Type == wire.TypeDNSKEY && dnssec.MatchDS(ds, s.Owner, r.Data)
				}) {
					kind = "good"
				}
				got = append(got, kind)
			}
		}
		slices.Sort(got)
		slices.Reverse(got)
		if strings.Join(got, " ") != test[1] {
			t.Errorf("%q: got %q, want %q", test[0], got, test[1])
		}
	}
}

// KeyTrap makes keys of one tag, and signatures that are all wrong.
func TestKeyTrap(t *testing.T) {
	w := newWorld(t, "-- zone example. 192.0.2.2 --\n! signed alg=8\n! keytrap www A 100 100\nwww A 192.0.2.80\n")
	count := map[uint16]int{}
	for _, k := range keysOf(t, w, "192.0.2.2", "example.") {
		count[k.Tag]++
	}
	most := 0
	for _, n := range count {
		most = max(most, n)
	}
	if most != 101 {
		t.Errorf("%d keys have one tag, want 101", most)
	}
	for _, s := range rrsets(ask(t, w, "192.0.2.2", "www.example. A +do +tcp")) {
		if len(s.Sigs) != 100 {
			t.Errorf("%d signatures, want 100", len(s.Sigs))
		}
	}
}

// A reply of a script can be signed as the zone would.
func TestScriptSigns(t *testing.T) {
	w := newWorld(t, "-- zone example. 192.0.2.2 --\n! signed\n-- host 192.0.2.2 --\nwhen www.example. A\n  reply NOERROR aa sign=example.\n  answer\n  @ A 192.0.2.66\n")
	got := verify(t, ask(t, w, "192.0.2.2", "www.example. A +do"), "example.", keysOf(t, w, "192.0.2.2", "example."))
	if why, ok := got["www.example. A"]; !ok || why != 0 {
		t.Errorf("got %v", got)
	}
}

// Keys are the same in every run.
func TestKeysAreMadeFromNames(t *testing.T) {
	tags := map[uint8]uint16{}
	for _, alg := range []uint8{8, 10, 13, 14, 15, 250} {
		a, err := lab.NewKey("example. ksk", alg, 257)
		if err != nil {
			t.Fatal(err)
		}
		b, err := lab.NewKey("example. ksk", alg, 257)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a.DNSKEY, b.DNSKEY) {
			t.Errorf("algorithm %d: two keys of one name differ", alg)
		}
		tags[alg] = a.Tag
	}
	if tags[13] != 32293 || tags[15] == tags[13] {
		t.Errorf("tags are %v; they must never change, since trust anchors are written down", tags)
	}
}

// The forwarder of a laboratory gives proofs with its answers.
func TestResolverHost(t *testing.T) {
	w := newWorld(t, fmt.Sprintf(signedZone, "")+"-- host 192.0.2.9 resolver --\n")
	keys := keysOf(t, w, "192.0.2.2", "example.")
	m := ask(t, w, "192.0.2.9", "x.wild.example. TXT +do +rd")
	got := verify(t, m, "example.", keys)
	if len(got) != 2 {
		t.Errorf("got %v, want the answer and its proof: %s", got, words(m))
	}
	for set, why := range got {
		if why != 0 {
			t.Errorf("%s: %v", set, why)
		}
	}
	if got := w.Net.Counts(netip.MustParseAddr("192.0.2.9")); got.Queries != 1 {
		t.Errorf("counted %+v", got)
	}
}
