package catalogue

import (
	"encoding/base32"
	"fmt"
	"strings"
	"testing"

	"port53/internal/check"
	"port53/internal/wire"
)

func inWire(t *testing.T, text string) []byte {
	t.Helper()
	n, err := wire.ParseName(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// said makes a server that has answered one question with the denials "owner next types".
func said(t *testing.T, records ...wire.Record) (*sight, []question) {
	t.Helper()
	q := question{string(inWire(t, "nobody.example.")), wire.TypeA}
	x := &sight{said: map[question]*[variants]echo{q: {}}}
	x.said[q][withDO].m = &check.Reply{Message: wire.Message{Records: records}}
	return x, []question{q}
}

// TestContradictions has denials that deny what another of the same server has, by NSEC and by
// NSEC3, and those that merely look like that.
func TestContradictions(t *testing.T) {
	bits := wire.AppendBitmap(nil, []wire.Type{wire.TypeA})
	nsec := func(owner, next string, bitmap []byte) wire.Record {
		return wire.Record{Section: wire.Authority, Type: wire.TypeNSEC, Owner: inWire(t, owner), Data: append(inWire(t, next), bitmap...)}
	}
	hashed := func(owner, next byte, salt string, bitmap []byte) wire.Record {
		name := fmt.Sprintf("%s.example.", strings.ToLower(hashText(owner)))
		data := append([]byte{1, 0, 0, 0, byte(len(salt))}, salt...)
		data = append(append(data, 20), hashOf(next)...)
		return wire.Record{Section: wire.Authority, Type: wire.TypeNSEC3, Owner: inWire(t, name), Data: append(data, bitmap...)}
	}
	for name, c := range map[string]struct {
		list []wire.Record
		want int
	}{
		"a chain":                  {[]wire.Record{nsec("example.", "b.example.", bits), nsec("b.example.", "example.", bits)}, 0},
		"a name between":           {[]wire.Record{nsec("example.", "c.example.", bits), nsec("b.example.", "c.example.", bits)}, 1},
		"behind the last":          {[]wire.Record{nsec("b.example.", "example.", bits), nsec("c.example.", "example.", bits)}, 1},
		"by order, and not as is":  {[]wire.Record{nsec("example.", "Z.example.", bits), nsec("z.example.", "example.", bits)}, 0},
		"below, and not beside":    {[]wire.Record{nsec("a.example.", "x.a.example.", bits), nsec("b.example.", "example.", bits)}, 0},
		"of another zone":          {[]wire.Record{nsec("test.", "z.test.", bits), nsec("b.test.", "z.test.", bits)}, 0},
		"hashes":                   {[]wire.Record{hashed(10, 40, "", bits), hashed(40, 10, "", bits)}, 0},
		"a hash between":           {[]wire.Record{hashed(10, 40, "", bits), hashed(20, 40, "", bits)}, 1},
		"a hash, salted otherwise": {[]wire.Record{hashed(10, 40, "", bits), hashed(20, 40, "ab", bits)}, 0},
		"an empty non-terminal":    {[]wire.Record{hashed(10, 40, "", bits), hashed(20, 40, "", nil)}, 0},
	} {
		x, list := said(t, c.list...)
		n := 0
		for range x.contradictions(inWire(t, "example."), list) {
			n++
		}
		if n != c.want {
			t.Errorf("%s: %d contradictions, want %d", name, n, c.want)
		}
	}
}

func hashOf(first byte) []byte { return append([]byte{first}, make([]byte, 19)...) }

func hashText(first byte) string {
	return base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(hashOf(first))
}

// TestAlike has replies over two transports whose order and TTLs differ, and one without signatures.
func TestAlike(t *testing.T) {
	a := wire.Record{Section: wire.Answer, Type: wire.TypeA, Owner: inWire(t, "WWW.example."), TTL: 1, Data: []byte{192, 0, 2, 1}}
	b := wire.Record{Section: wire.Answer, Type: wire.TypeRRSIG, Owner: inWire(t, "www.example."), TTL: 2, Data: make([]byte, 40)}
	a2 := a
	a2.Owner, a2.TTL = inWire(t, "www.example."), 9
	one := &check.Reply{Message: wire.Message{Records: []wire.Record{a, b}}}
	if other := (&check.Reply{Message: wire.Message{Records: []wire.Record{b, a2}}}); !alike(one, other) {
		t.Error("the order and the TTL count")
	}
	if other := (&check.Reply{Message: wire.Message{Records: []wire.Record{a}}}); alike(one, other) {
		t.Error("a reply without its signature is the same")
	}
	q := question{string(inWire(t, "www.example.")), wire.TypeA}
	x := &sight{said: map[question]*[variants]echo{q: {}}}
	x.said[q][withDO].m, x.said[q][overTCP].m = one, &check.Reply{TCP: true, Message: wire.Message{Records: []wire.Record{a}}}
	n := 0
	for range x.replies(q) {
		n++
	}
	if n != 2 || x.onlyOver(q, overTCP) == "" || x.onlyOver(q, withDO) != "" {
		t.Errorf("%d replies", n)
	}
}
