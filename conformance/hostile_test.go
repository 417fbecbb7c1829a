package conformance_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"port53/conformance/peers"
	"port53/conformance/probe"
	"port53/conformance/zonegen"
)

// hostileQuestions bounds how many questions are asked of the hostile zones;
// all that could be asked are about twenty times as many; CONFORMANCE_SCALE has more of them asked.
const hostileQuestions = 24000

// TestHostileZones compares the servers on zones that gather what is rare
// elsewhere: wildcards, aliases, cuts, empty non-terminals, odd names, all types
// and large sets, unsigned and signed in every way.
func TestHostileZones(t *testing.T) {
	if _, err := zonegen.Signer(); err != nil {
		missing(t, err)
	}
	zones := zonegen.Hostile()
	dir := t.TempDir()
	for _, z := range zones {
		if err := z.Write(dir); err != nil {
			t.Fatal(err)
		}
	}
	others := startPeers(t, zones)
	subject := startSubject(t, peers.Options{Zones: served(zones, subjectKind())})
	r := rand.New(rand.NewPCG(seed(t), 2))
	var questions []asked
	for _, z := range zones {
		questions = append(questions, askZone(r, z)...)
	}
	most := scale(t, hostileQuestions)
	if len(questions) > most {
		t.Logf("%d of %d possible questions", most, len(questions))
		r.Shuffle(len(questions), func(i, j int) { questions[i], questions[j] = questions[j], questions[i] })
		questions = questions[:most]
	}
	differential(t, subject, others, questions)
}

// askZone makes the questions for one zone: each name with the types that it
// has and those that every name is asked for, and names above, below and beside
// it.
func askZone(r *rand.Rand, z *zonegen.Zone) []asked {
	usual := []uint16{probe.TypeA, probe.TypeAAAA, probe.TypeTXT, probe.TypeMX, probe.TypeNS, probe.TypeDS, probe.TypeCNAME, probe.TypeSOA, probe.TypeSRV}
	rare := []uint16{probe.TypeDNAME, probe.TypeANY, probe.TypeRRSIG, probe.TypeNSEC, probe.TypeNSEC3, 51, probe.TypeDNSKEY, 65, 65280, 0, 41, 128, 200, 249, 253, 254}
	types := z.Types()
	origin := string(probe.Lower(probe.MustName(z.Origin)))
	var cuts []string
	for name, at := range types {
		if name != z.Origin && slices.Contains(at, "NS") {
			cuts = append(cuts, string(probe.Lower(probe.MustName(name))))
		}
	}
	var out []asked
	add := func(name []byte, typ uint16, note string) {
		if len(name) <= probe.MaxName {
			q := dress(r, name, typ, note)
			q.zone, q.cuts, q.without = origin, cuts, z.Refused
			out = append(out, q)
		}
	}
	some := func(types []uint16, n int) []uint16 {
		picked := make([]uint16, n)
		for i := range picked {
			picked[i] = types[r.IntN(len(types))]
		}
		return picked
	}
	for _, text := range z.Names() {
		name := probe.MustName(text)
		label := z.Origin + " "
		for _, t := range types[text] {
			add(name, typeNumber(t), label+"its type")
			add(name, typeNumber(t), label+"its type")
		}
		for _, t := range slices.Concat(usual, rare) {
			add(name, t, label+"its name")
		}
		below := append([]byte{3, 'q', '5', '3'}, name...)
		for _, t := range some(usual, 3) {
			add(below, t, label+"below")
		}
		add(append([]byte{1, '*'}, name...), probe.TypeA, label+"star below")
		add(append([]byte{3, 'a', 'b', 'c'}, below...), probe.TypeTXT, label+"two below")
		add(below, rare[r.IntN(len(rare))], label+"below, rare")
		if parent, ok := probe.Parent(name); ok {
			for _, t := range some(usual, 2) {
				add(parent, t, label+"parent")
			}
			// Beside: a label that sorts just after, and a random one.
			beside := append([]byte{name[0] + 1}, name[1:1+name[0]]...)
			if name[0] < 63 {
				add(append(append(beside, 0), parent...), probe.TypeA, label+"just after")
			}
			add(append(append([]byte{6}, zonegen.Word(r, 6)...), parent...), usual[r.IntN(len(usual))], label+"sibling")
		}
		for _, typ := range types[text] {
			add(append(append([]byte{4}, zonegen.Word(r, 4)...), name...), typeNumber(typ), label+"below, its type")
		}
	}
	return out
}
