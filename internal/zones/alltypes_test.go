package zones_test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"port53/internal/dnstest"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zones"
)

// rdataOf returns good data of every type that has a form, and nothing of the others.
func rdataOf(t *testing.T) map[wire.Type][][]byte {
	f, err := os.Open("../wire/testdata/rdata.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := map[wire.Type][][]byte{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		mnemonic, _, _ := strings.Cut(lines.Text(), "\t")
		typ, ok := wire.ParseType(mnemonic)
		lines.Scan()
		data, err := hex.DecodeString(strings.TrimPrefix(lines.Text(), "\t"))
		if !ok || err != nil {
			t.Fatal(mnemonic, err)
		}
		lines.Scan()
		all[typ] = append(all[typ], data)
	}
	return all
}

// appendChange appends an update's record of any class.
func appendChange(m, owner []byte, t wire.Type, class wire.Class, ttl uint32, data []byte) []byte {
	at := len(m) + len(owner) + 2
	m = zone.AppendRecord(m, owner, t, ttl, data)
	m[at], m[at+1] = byte(class>>8), byte(class)
	return m
}

// TestUpdatesOfAllTypes sends records of every type, at the apex and at names of their own.
// What is accepted is the same in what is served, the journal, an export, the file and after
// a restart, and can be taken back; what is refused leaves a zone that is taken care of as
// before.
func TestUpdatesOfAllTypes(t *testing.T) {
	samples, random := rdataOf(t), rand.New(rand.NewPCG(1, 2))
	sampled := func(n int) bool {
		return n < 600 || n > 65500 || n%97 == 0 || len(samples[wire.Type(n)]) > 0
	}
	for _, where := range []string{"at names of their own", "at the apex"} {
		t.Run(where, func(t *testing.T) {
			s, source, again := newUpdated(t)
			apex := dnstest.Name(t, "test.")
			begin := wire.AppendQuery(nil, 1, uint16(wire.OpcodeUpdate)<<11, apex, wire.TypeSOA)
			var added, removed [][]byte // changes that were accepted, and those that take them back
			for n := range 1 << 16 {
				typ := wire.Type(n)
				if !sampled(n) || typ == wire.TypeOPT || // which is no record: wire.Query wants none there
					where == "at the apex" && (typ == wire.TypeNS || typ == wire.TypeSOA) {
					continue
				}
				list := samples[typ]
				if len(list) == 0 {
					data := make([]byte, random.IntN(40))
					for i := range data {
						data[i] = byte(random.Uint32())
					}
					list = [][]byte{data}
				}
				owner := apex
				if where != "at the apex" {
					owner = dnstest.Name(t, fmt.Sprintf("t%d.test.", n))
				}
				forbidden := typ.IsMeta() || typ == wire.TypeNSEC || typ == wire.TypeNSEC3 || typ == wire.TypeRRSIG ||
					typ == wire.TypeNXT || typ == wire.TypeSIG
				for _, data := range list {
					m := appendChange(bytes.Clone(begin), owner, typ, wire.ClassIN, 60, data)
					m[9] = 1
					if forbidden || typ == wire.TypeDNAME && where == "at the apex" {
						// One by one: each has to be refused, for its type or for what it would hide.
						if rcode := s.change(m, updater); forbidden && rcode != wire.FormErr && rcode != wire.Refused {
							t.Errorf("%s: %s", typ, rcode)
						}
						continue
					}
					added = append(added, m[len(begin):])
					removed = append(removed, appendChange(nil, owner, typ, wire.ClassNONE, 0, data))
				}
			}
			before := s.view.Load().Get(apex).Zone()
			s.several(begin, added)
			full := s.view.Load().Get(apex).Zone()
			if full.Records() < before.Records()+len(added)-20 { // SOA off the apex, a second CNAME and the like are left out
				t.Errorf("of %d records %d were taken", len(added), full.Records()-before.Records())
			}
			s.update(1, wire.NoError)
			full = s.view.Load().Get(apex).Zone()
			same := func(what string, got *zone.Zone) {
				t.Helper()
				if got == nil {
					t.Fatalf("%s: no zone: %s", what, s.problems())
				}
				if d := zone.Diff(full, got); d != nil {
					t.Errorf("%s: other records: %+v", what, d)
				}
			}
			again()
			same("after a restart, by the journal", s.view.Load().Get(apex).Zone())
			file := source
			file.File = filepath.Join(t.TempDir(), "export")
			var text bytes.Buffer
			if err := errors.Join(s.manager.Export(apex, &text), os.WriteFile(file.File, text.Bytes(), 0o644)); err != nil {
				t.Fatal(err)
			}
			l := zones.Load(file, dnstest.Seed)
			for _, p := range l.Problems {
				if !p.Warning {
					t.Error(p)
				}
			}
			same("exported", l.Zone)
			if err := s.manager.Sync(apex); err != nil {
				t.Fatal(err)
			}
			same("the file", zones.Load(source, dnstest.Seed).Zone)
			again()
			same("after a restart, with the file", s.view.Load().Get(apex).Zone())
			if err := os.RemoveAll(filepath.Join(filepath.Dir(source.File), "state")); err != nil {
				t.Fatal(err)
			}
			again()
			same("after a restart, by the file alone", s.view.Load().Get(apex).Zone())

			s.several(begin, removed)
			if got := s.view.Load().Get(apex).Zone(); got.Records() != before.Records()+1 {
				t.Errorf("all was taken back, and of %d records there are %d", before.Records()+1, got.Records())
			}
			s.update(2, wire.NoError)
		})
	}
}

// several sends changes, as many in each message as fit.
func (s *server) several(begin []byte, changes [][]byte) {
	s.Helper()
	for len(changes) > 0 {
		m, n := bytes.Clone(begin), 0
		for n < len(changes) && len(m)+len(changes[n]) <= wire.MaxMessage {
			m = append(m, changes[n]...)
			n++
		}
		m[8], m[9] = byte(n>>8), byte(n)
		if rcode := s.change(m, updater); rcode != wire.NoError {
			s.Fatalf("%d changes: %s", n, rcode)
		}
		changes = changes[n:]
	}
}
