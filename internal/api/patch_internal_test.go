package api

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"port53/internal/dnstest"
	"port53/internal/wire"
)

// A set of very many records is changed in time that grows with their number, and not with the square of
// it: whoever may change one name has no use of the server's processors for a minute.
func TestManyRecords(t *testing.T) {
	owner := []byte("\x01a\x04test\x00")
	change := func(kind string, n int) *change {
		c := &change{kind: kind, owner: owner, t: wire.TypeA, sets: true}
		for i := range n {
			data := []byte{10, byte(i >> 16), byte(i >> 8), byte(i)}
			c.records = append(c.records, record{Content: contentOf(wire.TypeA, data), data: data})
		}
		return c
	}
	least := func(n int) time.Duration {
		best := time.Hour
		for range 5 {
			extend, prune := change("EXTEND", n), change("PRUNE", n)
			had := newRRset(owner, wire.TypeA)
			had.Records = slices.Clone(extend.records)
			from := time.Now()
			if repeated(wire.TypeA, extend.records) != nil {
				t.Fatal("a record is there twice")
			}
			s, err := extend.apply(had)
			if err != nil || len(s.Records) != n {
				t.Fatal(len(s.Records), err)
			}
			if s, err = prune.apply(s); err != nil || len(s.Records) != 0 {
				t.Fatal(len(s.Records), err)
			}
			best = min(best, time.Since(from))
		}
		return best
	}
	// Each with each would be a thousand times as much; other work on the machine makes a few times as much of it.
	if few, many := least(2000), least(64_000); many > 512*few {
		t.Errorf("2,000 records took %v, and 64,000 %v", few, many)
	}
}

// What is there twice is found whatever its case is, and what goes is found likewise.
func TestRepeated(t *testing.T) {
	c := &change{kind: "REPLACE", owner: []byte("\x01a\x04test\x00"), t: wire.TypeNS}
	list := func(names ...string) (docs []document) {
		for _, n := range names {
			docs = append(docs, document{"content": n})
		}
		return docs
	}
	ttl := document{"ttl": json.Number("60")}
	if err := c.readRecords(ttl, list("b.test.", "c.test.", "B.test.")); err == nil || fmt.Sprint(err) != `Duplicate record in RRset a.test. IN NS with content "B.test"` {
		t.Error(err)
	}
	of := func(names ...string) (list []record) {
		for _, n := range names {
			list = append(list, record{Content: n, data: dnstest.Name(t, n)})
		}
		return list
	}
	if left := without(wire.TypeNS, of("b.test.", "C.test.", "d.test."), of("c.test.", "D.test.")); len(left) != 1 || left[0].Content != "b.test." {
		t.Error(left)
	}
	c.t = wire.TypeTXT // in which case counts
	if c.records = nil; c.readRecords(ttl, list(`"v"`, `"V"`)) != nil || len(c.records) != 2 {
		t.Error("texts that differ in case are taken for one")
	}
}
