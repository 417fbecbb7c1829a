package conformance_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"port53/conformance/peers"
	"port53/conformance/probe"
	"port53/conformance/zonegen"
)

// envZones is how many zones TestRandomZones draws; randomZones unless set.
const envZones = "PORT53_ZONES"

const (
	randomZones     = 400
	randomBatch     = 1000 // zones that each server has at the same time
	randomPart      = 20   // zones that are asked for together: what is lost where a peer hangs
	randomQuestions = 14   // of each zone
)

// TestRandomZones compares the servers on zones that are drawn at random, a third each
// unsigned, with NSEC and with NSEC3, half of these with opt-out. Knot 3.2 goes into a loop
// over some wildcards; it is started again then, and these zones do not count.
func TestRandomZones(t *testing.T) {
	zones := randomZones
	if s := os.Getenv(envZones); s != "" {
		var err error
		if zones, err = strconv.Atoi(s); err != nil {
			t.Fatalf("%s: %v", envZones, err)
		}
	}
	from := seed(t)
	var sum tally
	refused := map[string]int{}
	for at := 0; at < zones; at += randomBatch {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			sum.add(compareRandom(t, from<<32+uint64(at), min(randomBatch, zones-at), refused))
		})
	}
	t.Logf("%d zones: %+v; not loaded, or hung: %v", zones, sum, refused)
}

// compareRandom compares the servers on so many zones.
func compareRandom(t *testing.T, seed uint64, n int, refused map[string]int) tally {
	dir := t.TempDir()
	zones := make([]*zonegen.Zone, n)
	for i := range zones {
		r := rand.New(rand.NewPCG(seed+uint64(i), 78))
		origin := fmt.Sprintf("Z%d.test.", i)
		for range r.IntN(3) { // labels that are names in the zone, too
			origin = []string{"a", "b", "v", "ns", "www"}[r.IntN(5)] + "." + origin
		}
		mode := []zonegen.Mode{zonegen.Plain, zonegen.Plain, zonegen.NSEC, zonegen.NSEC, zonegen.NSEC3, zonegen.OptOut}[r.IntN(6)]
		zones[i] = zonegen.Random(seed+uint64(i), origin, mode)
		if err := zones[i].Imitate(dir); err != nil {
			t.Fatalf("%s: %v", origin, err)
		}
	}
	var others []*peers.Server
	for _, kind := range []string{peers.NSD, peers.Knot, peers.BIND} {
		if kind == subjectKind() {
			continue
		}
		if _, err := peers.Find(kind); err != nil {
			missing(t, err)
		}
		others = append(others, start(t, kind, peers.Options{Zones: served(zones, kind), Unready: true}))
	}
	subject := startSubject(t, peers.Options{Zones: served(zones, subjectKind()), Unready: true})
	for _, s := range append(slices.Clone(others), subject) {
		for _, z := range awaitZones(t, s, zones) {
			refused[s.Kind]++
			z.Refused = append(z.Refused, s.Kind)
			if refused[s.Kind] < 4 {
				t.Logf("%s does not load %s:\n%s", s.Kind, z.Origin, saidOf(s, z.Origin))
			}
		}
	}
	c := newComparison()
	c.whole = true
	r := rand.New(rand.NewPCG(seed, 79))
	for part := range slices.Chunk(zones, randomPart) {
		var questions []asked
		for _, z := range part {
			if slices.Contains(z.Refused, subject.Kind) {
				if len(z.Refused) == 1 {
					text, _ := os.ReadFile(z.File)
					t.Errorf("%s is not loaded, and by all others:\n%s", z.Origin, text)
				}
				continue
			}
			if len(z.Refused) < len(others) {
				questions = append(questions, askRandomZone(r, z)...)
			}
		}
		gone := c.ask(t, subject, others, questions)
		if gone == "" {
			continue
		}
		i := slices.IndexFunc(others, func(s *peers.Server) bool { return s.Kind == gone })
		if i < 0 {
			t.Fatalf("%s has ceased to answer:\n%s", gone, subject.Tail())
		}
		refused[gone+" hung"]++
		others[i].Stop()
		others[i] = start(t, gone, peers.Options{Zones: served(zones, gone), Unready: true})
		awaitZones(t, others[i], zones)
	}
	c.report(t)
	return c.sum
}

// saidOf returns what a server printed about a zone.
func saidOf(s *peers.Server, origin string) string {
	text, _ := os.ReadFile(s.Log)
	var b strings.Builder
	for line := range strings.Lines(string(text)) {
		if strings.Contains(strings.ToLower(line), strings.ToLower(strings.TrimSuffix(origin, "."))) {
			b.WriteString(line)
		}
	}
	return b.String()
}

// awaitZones waits until a server answers for all zones, or has answered for no more of them
// for some seconds, and returns those that it does not answer for.
func awaitZones(t *testing.T, s *peers.Server, zones []*zonegen.Zone) []*zonegen.Zone {
	t.Helper()
	const patience = 6 * time.Second
	c := &probe.Client{Server: s.Addr, Timeout: time.Second, Tries: 1}
	defer c.Close()
	left := slices.Clone(zones)
	for last := time.Now(); len(left) > 0 && time.Since(last) < patience; {
		before := len(left)
		silent := false
		left = slices.DeleteFunc(left, func(z *zonegen.Zone) bool {
			if silent {
				return false
			}
			m, err := c.Ask(&probe.Question{Name: probe.MustName(z.Origin), Type: probe.TypeSOA, ID: 53})
			silent = err != nil
			return err == nil && m.Rcode == probe.NoError && m.AA
		})
		if len(left) < before {
			last = time.Now()
		} else {
			time.Sleep(20 * time.Millisecond)
		}
		select {
		case <-s.Ended():
			t.Fatalf("%s has ended:\n%s", s.Kind, s.Tail())
		default:
		}
	}
	return left
}

// askRandomZone draws questions for a zone: for names that are there, above, below and
// beside them.
func askRandomZone(r *rand.Rand, z *zonegen.Zone) []asked {
	types := map[string][]uint16{}
	var names []string
	for _, rec := range z.Records {
		owner := strings.ToLower(rec.Owner)
		for name := owner; strings.HasSuffix(name, "."+strings.ToLower(z.Origin)); _, name, _ = strings.Cut(name, ".") {
			names = append(names, name) // empty non-terminals, too
		}
		types[owner] = append(types[owner], typeNumber(rec.Type))
		if f := strings.Fields(rec.Data); rec.Type == "NS" {
			names = append(names, strings.ToLower(f[0]))
		}
	}
	slices.Sort(names)
	names = append(slices.Compact(names), strings.ToLower(z.Origin))
	origin := string(probe.Lower(probe.MustName(z.Origin)))
	var cuts []string
	for name, at := range types {
		if slices.Contains(at, probe.TypeNS) && name != strings.ToLower(z.Origin) {
			cuts = append(cuts, name)
		}
	}
	slices.Sort(cuts)
	usual := []uint16{
		probe.TypeA, probe.TypeAAAA, probe.TypeNS, probe.TypeDS, probe.TypeMX, probe.TypeTXT, probe.TypeCNAME, probe.TypeSOA, probe.TypeSRV,
		probe.TypeDNAME, probe.TypeDNSKEY, 51, 65280,
	}
	labels := []string{"a", "b", "v", "ns", "www", "*", "q"}
	var out []asked
	for range randomQuestions {
		name := names[r.IntN(len(names))]
		if len(cuts) > 0 && r.IntN(3) == 0 {
			name = cuts[r.IntN(len(cuts))]
		}
		at := types[name]
		typ, note := usual[r.IntN(len(usual))], "a name"
		switch r.IntN(6) {
		case 0:
			name, note = labels[r.IntN(len(labels))]+"."+name, "below"
		case 1:
			name, note = labels[r.IntN(len(labels))]+"."+labels[r.IntN(len(labels))]+"."+name, "two below"
		case 2:
			if _, above, _ := strings.Cut(name, "."); len(above) >= len(z.Origin) {
				name, note = labels[r.IntN(len(labels))]+"."+above, "beside"
			}
		}
		if len(at) > 0 && r.IntN(2) == 0 {
			typ = at[r.IntN(len(at))]
		}
		octets, err := probe.Name(name)
		if err != nil || !strings.HasSuffix(string(probe.Lower(octets)), origin) {
			continue // a server elsewhere, or a name that is too long
		}
		if z.Mode != zonegen.Plain && strings.Contains(name, "*") && types[name] == nil {
			continue // Knot 3.2 loops for some of these, and never answers again
		}
		q := dress(r, octets, typ, "random "+z.Mode.String()+", "+note)
		q.zone, q.without = origin, z.Refused
		for _, c := range cuts {
			q.cuts = append(q.cuts, string(probe.Lower(probe.MustName(c))))
		}
		out = append(out, q)
	}
	return out
}
