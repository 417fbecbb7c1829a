// Package dnstest is for tests only: zones from text, questions, replies as text,
// and scenarios, which are txtar files that read like the examples of an RFC.
package dnstest

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zonefile"
)

// Seed is the seed of all zones in tests.
const Seed wire.Seed = 53

// Name returns the wire form of a name in presentation form.
func Name(t testing.TB, s string) []byte {
	t.Helper()
	n, err := wire.ParseName(s)
	if err != nil {
		t.Fatalf("name %q: %v", s, err)
	}
	return n
}

// Build compiles the zone in text.
func Build(t testing.TB, origin, text string) (*zone.Zone, []zone.Problem) {
	t.Helper()
	apex := Name(t, origin)
	b := zone.NewBuilder(apex, Seed)
	_, err := zonefile.Read(strings.NewReader(text), zonefile.Options{Origin: apex, Name: origin}, func(r *zonefile.Record) error {
		b.Add(&zone.Record{
			Owner: r.Owner, SameOwner: r.SameOwner, Type: r.Type, TTL: r.TTL, Data: r.Data,
			Pos: zone.Pos{File: r.File, Line: r.Line, Col: uint16(r.Col)},
		})
		return nil
	})
	if err != nil {
		t.Fatalf("zone %s: %v", origin, err)
	}
	return b.Build()
}

// Zone compiles the zone in text, which must be good.
func Zone(t testing.TB, origin, text string) *zone.Zone {
	t.Helper()
	z, problems := Build(t, origin, text)
	if z == nil {
		t.Fatalf("zone %s: %v", origin, problems)
	}
	return z
}

// A Question is a query in words, such as "www.example. A +do +size=512".
type Question struct {
	Name  []byte
	Type  wire.Type
	Class wire.Class
	EDNS  bool
	DO    bool
	Size  uint16
	TCP   bool
	RD    bool
}

// ParseQuestion reads a question. +do and +size=N imply EDNS; +tcp lifts the limit
// of UDP; +rd asks for recursion.
func ParseQuestion(t testing.TB, line string) Question {
	t.Helper()
	f := strings.Fields(line)
	if len(f) < 2 {
		t.Fatalf("question %q: want NAME TYPE [+FLAG]", line)
	}
	q := Question{Name: Name(t, f[0]), Class: wire.ClassIN, Size: 1232}
	var ok bool
	if q.Type, ok = wire.ParseType(f[1]); !ok {
		t.Fatalf("question %q: type %s is not known", line, f[1])
	}
	for _, flag := range f[2:] {
		size, isSize := strings.CutPrefix(flag, "+size=")
		switch {
		case flag == "+do":
			q.EDNS, q.DO = true, true
		case flag == "+edns":
			q.EDNS = true
		case flag == "+tcp":
			q.TCP = true
		case flag == "+rd":
			q.RD = true
		case isSize:
			n, err := strconv.ParseUint(size, 10, 16)
			if err != nil {
				t.Fatalf("question %q: %v", line, err)
			}
			q.EDNS, q.Size = true, uint16(n)
		default:
			t.Fatalf("question %q: flag %s is not known", line, flag)
		}
	}
	return q
}

// Message returns the query as it goes on the wire, with ID 0x0035.
func (q Question) Message() []byte {
	additional := uint16(0)
	if q.EDNS {
		additional = 1
	}
	rd := byte(0)
	if q.RD {
		rd = 1
	}
	b := []byte{0, 53, rd, 0, 0, 1, 0, 0, 0, 0, 0, byte(additional)}
	b = append(b, q.Name...)
	b = binary.BigEndian.AppendUint16(b, uint16(q.Type))
	b = binary.BigEndian.AppendUint16(b, uint16(q.Class))
	if q.EDNS {
		do := byte(0)
		if q.DO {
			do = 0x80
		}
		b = append(b, 0, 0, byte(wire.TypeOPT), byte(q.Size>>8), byte(q.Size), 0, 0, do, 0, 0, 0)
	}
	return b
}

// Format returns a reply in words: its rcode and flags, then each section's records
// in the order of the message. OPT is left out.
func Format(msg []byte) (string, error) {
	if len(msg) < wire.HeaderLen {
		return "", fmt.Errorf("reply of %d octets has no header", len(msg))
	}
	var out strings.Builder
	flags := binary.BigEndian.Uint16(msg[2:])
	out.WriteString(wire.Rcode(flags & 15).String())
	for _, f := range []struct {
		bit  uint16
		name string
	}{{wire.FlagAA, "aa"}, {wire.FlagTC, "tc"}, {wire.FlagRA, "ra"}, {wire.FlagAD, "ad"}, {wire.FlagCD, "cd"}} {
		if flags&f.bit != 0 {
			out.WriteString(" " + f.name)
		}
	}
	out.WriteString("\n")
	pos := wire.HeaderLen
	for range binary.BigEndian.Uint16(msg[4:]) {
		_, n, err := nameAt(msg, pos)
		if err != nil {
			return "", err
		}
		pos += n + 4
	}
	for i, title := range []string{"ANSWER", "AUTHORITY", "ADDITIONAL"} {
		first := true
		for range binary.BigEndian.Uint16(msg[6+2*i:]) {
			owner, n, err := nameAt(msg, pos)
			if err != nil {
				return "", err
			}
			pos += n
			if pos+10 > len(msg) {
				return "", fmt.Errorf("record cut off at %d", pos)
			}
			t := wire.Type(binary.BigEndian.Uint16(msg[pos:]))
			ttl := binary.BigEndian.Uint32(msg[pos+4:])
			length := int(binary.BigEndian.Uint16(msg[pos+8:]))
			pos += 10
			if pos+length > len(msg) {
				return "", fmt.Errorf("data cut off at %d", pos)
			}
			if t != wire.TypeOPT {
				data, err := wire.Expand(msg, pos, length, t, nil)
				if err != nil {
					return "", fmt.Errorf("data of %s at %d: %w", t, pos, err)
				}
				if first {
					out.WriteString(title + "\n")
					first = false
				}
				fmt.Fprintf(&out, "%s %d %s %s\n", wire.AppendName(nil, owner), ttl, t, wire.AppendRdataText(nil, t, data))
			}
			pos += length
		}
	}
	if pos != len(msg) {
		return "", fmt.Errorf("%d octets behind the last record", len(msg)-pos)
	}
	return out.String(), nil
}

// nameAt reads the name at pos and returns it and the octets it takes there.
func nameAt(msg []byte, pos int) (name []byte, n int, err error) {
	start, jumped := pos, false
	for limit := pos; ; {
		if pos >= len(msg) {
			return nil, 0, fmt.Errorf("name at %d is cut off", start)
		}
		l := int(msg[pos])
		switch {
		case l == 0:
			if !jumped {
				n = pos + 1 - start
			}
			if len(name)+1 > wire.MaxName {
				return nil, 0, fmt.Errorf("name at %d is longer than %d octets", start, wire.MaxName)
			}
			return append(name, 0), n, nil
		case l >= 0xC0:
			if pos+2 > len(msg) {
				return nil, 0, fmt.Errorf("name at %d is cut off", start)
			}
			to := int(binary.BigEndian.Uint16(msg[pos:])) & wire.MaxPointer
			if !jumped {
				n = pos + 2 - start
			}
			if to >= limit {
				return nil, 0, fmt.Errorf("pointer at %d does not point backwards: %d", pos, to)
			}
			jumped, limit, pos = true, to, to
		case l > wire.MaxLabel || pos+l+1 > len(msg):
			return nil, 0, fmt.Errorf("bad label at %d", pos)
		default:
			name = append(name, msg[pos:pos+l+1]...)
			pos += l + 1
		}
	}
}

// A Scenario is one txtar file: a comment that cites its source, zones in files
// named "zone NAME", and any number of "ask" and "want" pairs.
type Scenario struct {
	Zones map[string]string // text by origin
}

// Scenarios runs each file that pattern matches: answer gets the scenario and a
// question, and returns the reply. With update, the wanted parts are rewritten
// from what was answered, for a person to review.
func Scenarios(t *testing.T, pattern string, update bool, answer func(*testing.T, *Scenario, Question) []byte) {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenario matches %s: %v", pattern, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := Scenario{Zones: map[string]string{}}
			var question string
			changed := false
			for i, f := range archive.Files {
				origin, isZone := strings.CutPrefix(f.Name, "zone ")
				switch {
				case isZone:
					s.Zones[origin] = string(f.Data)
				case f.Name == "ask":
					question = strings.TrimSpace(string(f.Data))
				case f.Name == "want":
					got, err := Format(answer(t, &s, ParseQuestion(t, question)))
					if err != nil {
						t.Errorf("%s: %v", question, err)
						continue
					}
					if got == string(f.Data) {
						continue
					}
					if update {
						archive.Files[i].Data = []byte(got)
						changed = true
						continue
					}
					t.Errorf("%s\ngot:\n%s\nwant:\n%s", question, got, f.Data)
				default:
					t.Fatalf("%s: part %q is not known", file, f.Name)
				}
			}
			if changed {
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
