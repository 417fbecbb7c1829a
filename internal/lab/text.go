package lab

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"port53/internal/wire"
	"port53/internal/zonefile"
)

// A Section is one part of a text, headed by a line such as
//
//	-- zone example. 192.0.2.1 --
//
// as in a txtar archive.
type Section struct {
	Kind string   // the first word of the heading
	Args []string // the others
	Tag  string   // of a zone or host: what stood behind "as"
	File string
	Line int      // of the heading, from 1
	Body []string // the lines below, without their ends
}

// At returns the place of a line of the body, 0 being the first, or of the heading
// with -1, as file:line.
func (s *Section) At(line int) string { return s.File + ":" + strconv.Itoa(s.Line+1+line) }

// Errorf returns an error about a line of the body, or with -1 of the heading.
func (s *Section) Errorf(line int, format string, args ...any) error {
	return fmt.Errorf("%s: "+format, append([]any{s.At(line)}, args...)...)
}

// Split takes a text apart: the lines above the first heading, and the sections.
func Split(file string, text []byte) (comment []string, sections []Section) {
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	for i, line := range lines {
		line = strings.TrimSuffix(line, "\r")
		if strings.HasPrefix(line, "-- ") && strings.HasSuffix(line, " --") && len(line) > 5 {
			s := Section{File: file, Line: i + 1}
			words := strings.Fields(line[3 : len(line)-3])
			if len(words) > 0 {
				s.Kind, s.Args = words[0], words[1:]
			}
			if i := slices.Index(s.Args, "as"); (s.Kind == "zone" || s.Kind == "host") && i > 0 && i+1 < len(s.Args) {
				s.Tag = s.Args[i+1]
				s.Args = slices.Concat(s.Args[:i], s.Args[i+2:])
			}
			sections = append(sections, s)
			continue
		}
		if n := len(sections); n > 0 {
			sections[n-1].Body = append(sections[n-1].Body, line)
		} else {
			comment = append(comment, line)
		}
	}
	return comment, sections
}

// A Record is a record of class IN outside of any message.
type Record struct {
	Owner []byte // as spelled
	Type  wire.Type
	TTL   uint32
	Data  []byte // its names uncompressed
}

// Bounds of the texts of laboratories.
const (
	defaultTTL  = 3600
	maxGenerate = 1 << 16 // records made by $GENERATE: attacks have some thousands
)

// readRecords reads master-file lines that stand at firstLine of a file.
func readRecords(file string, firstLine int, lines []string, origin []byte) ([]Record, error) {
	var text bytes.Buffer
	for range firstLine - 1 {
		text.WriteByte('\n') // so that errors have the right place
	}
	for _, l := range lines {
		text.WriteString(l)
		text.WriteByte('\n')
	}
	var records []Record
	o := zonefile.Options{Origin: origin, Name: file, DefaultTTL: defaultTTL, Generate: maxGenerate}
	_, err := zonefile.Read(&text, o, func(r *zonefile.Record) error {
		records = append(records, Record{Owner: bytes.Clone(r.Owner), Type: r.Type, TTL: r.TTL, Data: bytes.Clone(r.Data)})
		return nil
	})
	return records, err
}

// addrPort reads an address with or without a port; 53 if there is none.
func addrPort(s string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(a, 53), nil
	}
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return ap, fmt.Errorf("%q is not an address, with or without a port", s)
	}
	return ap, nil
}

var errValue = errors.New("its value is not good")

// seconds reads a duration in Go's form, or with d for days.
func seconds(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseFloat(days, 64)
		if err != nil {
			return 0, errValue
		}
		return time.Duration(n * float64(24*time.Hour)), nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, errValue
	}
	return d, nil
}

// share reads a chance: 0.5 or 50%.
func share(s string) (float64, error) {
	percent, isPercent := strings.CutSuffix(s, "%")
	f, err := strconv.ParseFloat(percent, 64)
	if isPercent {
		f /= 100
	}
	if err != nil || f < 0 || f > 1 {
		return 0, errValue
	}
	return f, nil
}

// ParseRcode reads the name of a response code, or its number.
func ParseRcode(s string) (wire.Rcode, bool) {
	if n, err := strconv.ParseUint(s, 10, 12); err == nil {
		return wire.Rcode(n), true
	}
	for r := wire.NoError; r <= wire.BadCookie; r++ {
		if r.String() == s {
			return r, true
		}
	}
	return 0, false
}
