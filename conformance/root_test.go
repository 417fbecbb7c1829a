package conformance_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"port53/conformance/peers"
	"port53/conformance/probe"
	"port53/conformance/zonegen"
)

// rootQuestions is how many random questions are asked of a root zone.
const rootQuestions = 20000

// TestRealRoot compares the servers on the root zone as it was published.
func TestRealRoot(t *testing.T) {
	file := os.Getenv(envRoot)
	if file == "" {
		t.Skipf("missing: a published root zone (set %s)", envRoot)
	}
	file, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	root := &zonegen.Zone{Origin: ".", File: file}
	if root.Records, err = readRecords(file); err != nil {
		t.Fatal(err)
	}
	compareRoot(t, root)
}

// TestImitatedRoot compares the servers on a signed root zone of our own, so
// that the questions are asked where no published zone is at hand.
func TestImitatedRoot(t *testing.T) {
	if _, err := zonegen.Signer(); err != nil {
		missing(t, err)
	}
	for _, mode := range []zonegen.Mode{zonegen.NSEC, zonegen.OptOut} {
		t.Run(mode.String(), func(t *testing.T) {
			root := zonegen.Root(seed(t), 1200, mode)
			if err := root.Write(t.TempDir()); err != nil {
				t.Fatal(err)
			}
			compareRoot(t, root)
		})
	}
}

func compareRoot(t *testing.T, root *zonegen.Zone) {
	t.Helper()
	others := startPeers(t, []*zonegen.Zone{root})
	subject := startSubject(t, peers.Options{Zones: []peers.Zone{{Name: ".", File: root.File}}})
	differential(t, subject, others, askRoot(root, seed(t), scale(t, rootQuestions)))
}

// readRecords reads owners and types of a file with one record on each line.
func readRecords(file string) ([]zonegen.Record, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var records []zonegen.Record
	in := bufio.NewScanner(f)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		w := strings.Fields(in.Text())
		if len(w) < 5 || strings.HasPrefix(w[0], ";") {
			continue
		}
		records = append(records, zonegen.Record{Owner: strings.ToLower(w[0]), Type: w[3], Data: strings.Join(w[4:], " ")})
	}
	return records, in.Err()
}

// ednsSizes are the payload sizes that questions announce.
var ednsSizes = []uint16{512, 513, 600, 800, 1000, 1220, 1231, 1232, 1233, 1400, 1452, 2048, 4096}

// dress gives a question its random header, EDNS, transport and case.
func dress(r *rand.Rand, name []byte, typ uint16, note string) asked {
	q := probe.Question{
		Name: name, Type: typ, ID: uint16(r.Uint32()), Note: note,
		RD: r.IntN(2) == 0, AD: r.IntN(4) == 0, CD: r.IntN(4) == 0, TCP: r.IntN(5) == 0,
	}
	if r.IntN(5) > 0 {
		q.EDNS, q.DO, q.Size = true, r.IntN(2) == 0, ednsSizes[r.IntN(len(ednsSizes))]
	}
	if r.IntN(3) == 0 {
		q.Name = mixCase(r, name)
	}
	return asked{Question: q, zone: "\x00"}
}

// mixCase returns a copy of a name with letters in random case.
func mixCase(r *rand.Rand, name []byte) []byte {
	out := append([]byte(nil), name...)
	for i := 0; i < len(out) && out[i] != 0; i += 1 + int(out[i]) {
		for j := i + 1; j <= i+int(out[i]); j++ {
			if c := out[j] | 0x20; c >= 'a' && c <= 'z' {
				out[j] = c &^ byte(r.IntN(2)*0x20)
			}
		}
	}
	return out
}

// askRoot makes n random questions of every kind for a root zone.
func askRoot(root *zonegen.Zone, seed uint64, n int) []asked {
	r := rand.New(rand.NewPCG(seed, 1))
	var tlds, glue, apex []string
	seen := map[string]bool{}
	for _, rec := range root.Records {
		key := rec.Owner + " " + rec.Type
		if seen[key] {
			continue
		}
		seen[key] = true
		switch {
		case rec.Owner == ".":
			apex = append(apex, rec.Type)
		case rec.Type == "NS":
			tlds = append(tlds, rec.Owner)
		case rec.Type == "A" || rec.Type == "AAAA":
			glue = append(glue, rec.Owner)
		}
	}
	_ = apex
	pick := func(names []string) string { return names[r.IntN(len(names))] }
	common := []uint16{probe.TypeA, probe.TypeAAAA, probe.TypeNS, probe.TypeMX, probe.TypeTXT, probe.TypeSOA, 65, probe.TypeCNAME}
	every := []uint16{1, 2, 5, 6, 12, 15, 16, 28, 33, 35, 39, 43, 46, 47, 48, 50, 51, 52, 59, 60, 63, 64, 65, 99, 250, 251, 255, 256, 257, 32768, 65280, 0, 41, 128, 200}
	kinds := []struct {
		note  string
		share int
		make  func() (string, uint16)
	}{
		{"below a TLD", 30, func() (string, uint16) {
			return zonegen.Word(r, 3+r.IntN(12)) + "." + pick(tlds), common[r.IntN(len(common))]
		}},
		{"deep below a TLD", 5, func() (string, uint16) { return "a.b.c.d.e." + pick(tlds), common[r.IntN(len(common))] }},
		{"a TLD", 10, func() (string, uint16) { return pick(tlds), common[r.IntN(len(common))] }},
		{"DS of a TLD", 10, func() (string, uint16) { return pick(tlds), probe.TypeDS }},
		{"DS below a TLD", 3, func() (string, uint16) { return zonegen.Word(r, 5) + "." + pick(tlds), probe.TypeDS }},
		{"glue", 8, func() (string, uint16) { return pick(glue), common[r.IntN(3)] }},
		{"missing TLD", 15, func() (string, uint16) { return zonegen.Word(r, 2+r.IntN(20)) + ".", common[r.IntN(len(common))] }},
		{"below a missing TLD", 8, func() (string, uint16) {
			return zonegen.Word(r, 5) + "." + zonegen.Word(r, 6+r.IntN(10)) + ".", common[r.IntN(len(common))]
		}},
		{"near a TLD", 4, func() (string, uint16) {
			tld := pick(tlds)
			return strings.TrimSuffix(tld, ".") + []string{"-", "0", "z", `\000`}[r.IntN(4)] + ".", probe.TypeA
		}},
		{"apex", 4, func() (string, uint16) { return ".", every[r.IntN(len(every))] }},
		{"any type", 3, func() (string, uint16) { return pick(tlds), every[r.IntN(len(every))] }},
	}
	sum := 0
	for _, k := range kinds {
		sum += k.share
	}
	questions := make([]asked, 0, n)
	for len(questions) < n {
		k, at := r.IntN(sum), 0
		for ; k >= kinds[at].share; at++ {
			k -= kinds[at].share
		}
		text, typ := kinds[at].make()
		name, err := probe.Name(text)
		if err != nil {
			panic(fmt.Sprintf("%s: %v", text, err)) // a name that was made here
		}
		questions = append(questions, dress(r, name, typ, kinds[at].note))
	}
	return questions
}

// typeNumber returns the number of a type by its mnemonic.
func typeNumber(text string) uint16 {
	if t, ok := dns.StringToType[text]; ok {
		return t
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(text, "TYPE"), 10, 16)
	if err != nil {
		panic(err) // a type that was written here
	}
	return uint16(n)
}
