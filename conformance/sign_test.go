package conformance_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"port53/conformance/peers"
	"port53/conformance/zonegen"
)

// Programs that say whether a signed zone file is good.
var zoneJudges = []struct {
	program string
	args    func(origin, file string) []string
	// blind tells of zones that the program does not judge.
	blind func(z *signCase) bool
}{
	{"dnssec-verify", func(origin, file string) []string { return []string{"-q", "-z", "-o", origin, file} }, nil},
	{"ldns-verify-zone", func(_, file string) []string { return []string{"-V0", file} }, ldnsBlind},
	{"kzonecheck", func(origin, file string) []string { return []string{"-d", "on", "-o", origin, file} }, nil},
}

// ldnsBlind tells of what ldns 1.8.3 goes round and round in, whoever has signed it: a digest in
// a zone with NSEC3 and glue.
func ldnsBlind(z *signCase) bool {
	return slices.Contains(z.flags, "--zonemd") && (slices.Contains(z.flags, "--nsec3") || slices.Contains(z.flags, "--opt-out"))
}

// judgeTime is how long one judge may take for a small zone.
const judgeTime = 2 * time.Minute

// runJudge runs a program that judges a zone file, and reports whether it accepts it.
func runJudge(t *testing.T, path string, args ...string) (good bool, said string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), judgeTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || ctx.Err() != nil) {
		t.Fatalf("%s: %v", path, errors.Join(err, ctx.Err()))
	}
	return err == nil, string(bytes.TrimSpace(out))
}

// findJudges returns the paths of the judges.
func findJudges(t *testing.T) []string {
	t.Helper()
	var paths []string
	for _, j := range zoneJudges {
		path, err := peers.Find(j.program)
		if err != nil {
			missing(t, err)
		}
		paths = append(paths, path)
	}
	return paths
}

// A signCase is a zone and a way in which it is signed.
type signCase struct {
	zone  *zonegen.Zone
	keys  []string // of zone keys new, each time
	flags []string // of zone sign
}

// delegated returns a zone of many delegations, with and without DS, and below empty
// non-terminals: what opt-out is for.
func delegated(names int) *zonegen.Zone {
	z := zonegen.New("delegated.test.", zonegen.Plain)
	for i := range names {
		at := fmt.Sprintf("d%05d", i*7919%100003)
		if i%5 == 0 {
			at += fmt.Sprintf(".in%d.ent", i%7)
		}
		z.Add(at, "NS", "ns1."+at+".@")
		z.Add("ns1."+at, "A", "192.0.2.1")
		if i%3 == 0 {
			z.Add(at, "DS", "4711 13 2 "+strings.Repeat("5A", 32))
		}
	}
	return z
}

// wide returns a zone of many names with addresses.
func wide(names int) *zonegen.Zone {
	z := zonegen.New("wide.test.", zonegen.Plain)
	for i := range names {
		z.Add(fmt.Sprintf("host%07d", i*7919%1000003), "A", fmt.Sprintf("10.%d.%d.%d", i>>16&255, i>>8&255, i&255))
	}
	return z
}

// signNames is how many names the large zones have: CONFORMANCE_SCALE makes it more, to a
// million with 500.
const signNames = 2000

// signCases returns the zones, each in every way of denial, and the kinds of keys in turn.
func signCases(t *testing.T) []*signCase {
	n := scale(t, signNames)
	zones := []*zonegen.Zone{wide(n), delegated(n), zonegen.Root(seed(t), 300, zonegen.Plain)}
	for _, z := range zonegen.Hostile() {
		if z.Mode == zonegen.Plain {
			zones = append(zones, z)
		}
	}
	one := &zonegen.Zone{Origin: "one.test.", Mode: zonegen.Plain}
	one.Add("@", "SOA", "ns.example.net. hostmaster.example.net. 1 7200 3600 1209600 300")
	one.Add("@", "NS", "ns.example.net.")
	zones = append(zones, one)
	keys := [][]string{{""}, {"--split"}, {"--split --algorithm ed25519"}, {"--algorithm ecdsap384sha384"}, {"", "--algorithm ed25519"}, {"--split --algorithm rsasha256"}}
	denials := [][]string{nil, {"--nsec3"}, {"--opt-out"}, {"--zonemd"}, {"--nsec3", "--zonemd"}}
	var list []*signCase
	for i, z := range zones {
		for k, flags := range denials {
			kind := keys[(i+k)%len(keys)]
			if len(z.Records) > 1000 {
				kind = keys[k%2] // the others are slow
			}
			list = append(list, &signCase{z, kind, flags})
		}
	}
	return list
}

// TestSignedZones signs zones of every kind in every way, and has them judged by BIND, ldns, Knot
// and port53 itself.
func TestSignedZones(t *testing.T) {
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	paths := findJudges(t)
	dir := t.TempDir()
	cases, accepted := signCases(t), map[string]int{}
	for i, c := range cases {
		name := fmt.Sprintf("%s %s %s", c.zone.Origin, strings.Join(c.keys, "+"), strings.Join(c.flags, " "))
		at := filepath.Join(dir, fmt.Sprint(i))
		if err := os.Mkdir(at, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := c.zone.Write(at); err != nil {
			t.Fatal(err)
		}
		port53 := func(args ...string) (bool, string) { return runJudge(t, bin, append([]string{"zone"}, args...)...) }
		keys, signed := filepath.Join(at, "keys"), filepath.Join(at, "signed")
		for _, k := range c.keys {
			if good, said := port53(append([]string{"keys", "new", "--dir", keys, c.zone.Origin}, strings.Fields(k)...)...); !good {
				t.Fatalf("%s: %s", name, said)
			}
		}
		args := append([]string{"sign", "--keys", keys, "--origin", c.zone.Origin, "-o", signed, c.zone.File}, c.flags...)
		if good, said := port53(args...); !good {
			t.Errorf("%s: not signed: %s", name, said)
			continue
		}
		if good, said := port53("verify", "--origin", c.zone.Origin, signed); !good {
			t.Errorf("%s: zone verify: %s", name, said)
		}
		for j, judge := range zoneJudges {
			if judge.blind != nil && judge.blind(c) {
				continue
			}
			good, said := runJudge(t, paths[j], judge.args(c.zone.Origin, signed)...)
			switch {
			case good:
				accepted[judge.program]++
			case c.refusedAnyway(t, j, paths[j], keys, at):
				first, _, _ := strings.Cut(said, "\n")
				t.Logf("%s: %s refuses what BIND signs as well: %s", name, judge.program, first)
			default:
				t.Errorf("%s: %s: %s", name, judge.program, said)
			}
		}
		os.RemoveAll(at)
	}
	t.Logf("%d zones, accepted by %v", len(cases), accepted)
	for _, judge := range zoneJudges {
		if accepted[judge.program] < len(cases)/2 {
			t.Errorf("%s has accepted %d of %d zones: it is no judge", judge.program, accepted[judge.program], len(cases))
		}
	}
}

// refusedAnyway reports whether a judge refuses the zone too if BIND signs it with the same keys,
// or cannot: such are contents and mixtures of keys that a judge does not bear.
func (c *signCase) refusedAnyway(t *testing.T, judge int, path, keys, dir string) bool {
	signer, err := zonegen.Signer()
	if err != nil {
		missing(t, err)
	}
	out := filepath.Join(dir, "bind")
	args := []string{"-S", "-K", keys, "-d", dir, "-o", c.zone.Origin, "-f", out, "-P"}
	if !strings.Contains(c.keys[0], "--split") {
		args = append(args, "-z")
	}
	switch {
	case slices.Contains(c.flags, "--opt-out"):
		args = append(args, "-3", "-", "-A")
	case slices.Contains(c.flags, "--nsec3"):
		args = append(args, "-3", "-")
	}
	if good, said := runJudge(t, signer, append(args, c.zone.File)...); !good {
		t.Logf("%s: dnssec-signzone: %s", c.zone.Origin, said)
		return true
	}
	good, _ := runJudge(t, path, zoneJudges[judge].args(c.zone.Origin, out)...)
	return !good
}

// moreBroken are faults that concern a zone as a whole, beside those that a resolver finds.
func moreBroken() []broken {
	return []broken{
		{name: "gluesigned", records: "cut NS ns.cut\nns.cut A 192.0.2.1\n", change: func(f *forge, list []dns.RR) ([]dns.RR, error) {
			sigs, err := f.Signatures(slices.DeleteFunc(slices.Clone(list), func(rr dns.RR) bool { return !f.setOf("ns.cut", dns.TypeA)(rr) }))
			return append(slices.Clone(list), sigs...), err
		}},
		{name: "cutsigned", records: "cut NS ns.cut\nns.cut A 192.0.2.1\n", change: func(f *forge, list []dns.RR) ([]dns.RR, error) {
			sigs, err := f.Signatures(slices.DeleteFunc(slices.Clone(list), func(rr dns.RR) bool { return !f.setOf("cut", dns.TypeNS)(rr) }))
			return append(slices.Clone(list), sigs...), err
		}},
		{name: "newname", change: func(f *forge, list []dns.RR) ([]dns.RR, error) {
			more, err := zonegen.Records(f.Origin, "fresh A 192.0.2.1\n")
			if err != nil {
				return nil, err
			}
			sigs, err := f.Signatures(more)
			return append(append(slices.Clone(list), more...), sigs...), err
		}},
		{name: "newname3", nsec3: true, change: func(f *forge, list []dns.RR) ([]dns.RR, error) {
			more, err := zonegen.Records(f.Origin, "fresh A 192.0.2.1\n")
			if err != nil {
				return nil, err
			}
			sigs, err := f.Signatures(more)
			return append(append(slices.Clone(list), more...), sigs...), err
		}},
		{name: "noparam", nsec3: true, change: func(f *forge, list []dns.RR) ([]dns.RR, error) {
			return without(list, func(rr dns.RR) bool {
				return f.setOf("@", dns.TypeNSEC3PARAM)(rr) || f.sigOf("@", dns.TypeNSEC3PARAM)(rr)
			})
		}},
		{name: "ttl", change: func(f *forge, list []dns.RR) ([]dns.RR, error) {
			return changed(list, f.sigOf("www", dns.TypeA), func(s *dns.RRSIG) { s.OrigTtl = 60 })
		}},
		{name: "labels", change: func(f *forge, list []dns.RR) ([]dns.RR, error) {
			return changed(list, f.sigOf("www", dns.TypeA), func(s *dns.RRSIG) { s.Labels-- })
		}},
		{name: "gone", nsec3: true, change: func(f *forge, list []dns.RR) ([]dns.RR, error) {
			return without(list, func(rr dns.RR) bool { return f.setOf("www", dns.TypeA)(rr) || f.sigOf("www", dns.TypeA)(rr) })
		}},
		{name: "secondalgorithm", change: func(f *forge, list []dns.RR) ([]dns.RR, error) {
			k, err := newKeys(f.Origin, []int{257, int(dns.ED25519)})
			if err != nil {
				return nil, err
			}
			return f.afresh(func(s *zonegen.Signing) error { s.Also = append(s.Also, k[0].DNSKEY); return nil })
		}},
	}
}

// TestBrokenZonesRefused has zones with one fault each judged by BIND, ldns and Knot: what one of
// them refuses, port53 zone verify refuses, with the DS record of the good zone.
func TestBrokenZonesRefused(t *testing.T) {
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	paths := findJudges(t)
	dir := t.TempDir()
	tried, refused, alone := 0, 0, 0
	for i, b := range slices.Concat(brokenZones(), moreBroken()) {
		origin := fmt.Sprintf("z%d.test.", i)
		f, good, bad := b.made(t, origin)
		ds := f.Keys[0].ToDS(dns.SHA256)
		if b.ds != nil {
			b.ds(ds)
		}
		file, parent := filepath.Join(dir, "zone"), filepath.Join(dir, "ds")
		verdict := func(list []dns.RR, by *dns.DS) (judges []string, ours bool, said string) {
			if err := errors.Join(zonegen.WriteRecords(file, list), zonegen.WriteRecords(parent, []dns.RR{by})); err != nil {
				t.Fatal(err)
			}
			for j, judge := range zoneJudges {
				if good, _ := runJudge(t, paths[j], judge.args(origin, file)...); !good {
					judges = append(judges, judge.program)
				}
			}
			ours, said = runJudge(t, bin, "zone", "verify", "--origin", origin, "--ds", parent, file)
			return judges, ours, said
		}
		if i%10 == 0 {
			if judges, ours, said := verdict(good, f.Keys[0].ToDS(dns.SHA256)); len(judges) > 0 || !ours {
				t.Errorf("%s: the good zone is refused by %v, port53: %s", b.name, judges, said)
			}
		}
		if b.change == nil && b.ds == nil {
			continue // its servers are at fault, and the zone is good
		}
		tried++
		judges, ours, said := verdict(bad, ds)
		switch {
		case len(judges) > 0 && ours:
			t.Errorf("%s: %v refuse it, and port53 does not: %s", b.name, judges, said)
		case len(judges) > 0:
			refused++
		case !ours:
			alone++
		default:
			t.Logf("%s: nobody refuses it", b.name)
		}
	}
	t.Logf("%d zones: %d refused by BIND, ldns or Knot, %d by port53 alone", tried, refused, alone)
	if tried < 100 || refused < 80 {
		t.Errorf("%d zones, of which the others refuse %d: want 100 and 80", tried, refused)
	}
}
