package dnstest

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"port53/internal/lab"
	"port53/internal/wire"
	"port53/internal/zonefile"
)

// A replay is a file in the replay format of Unbound and Deckard: what servers answer, by
// range of steps, and the steps. SCENARIOS.md says what of it is understood.
type replay struct {
	file    string
	config  []configLine
	deckard bool // the dialect; else Unbound's
	ranges  []replayRange
	steps   []replayStep

	snooping  bool   // what asks for the cache alone is left out
	expired   bool   // and it has stale answers
	minimised bool   // servers are shown parts of names, and are asked for NS records of them in the file
	staleTTL  uint32 // of stale answers, in the file; 0: it does not matter

	unplayable string // why it cannot be played; empty: it can
}

// A configLine is one "key: value" of the head. Clauses such as stub-zone have no value.
type configLine struct{ key, value string }

type replayRange struct {
	from, to int
	addrs    []netip.Addr // none: any server
	entries  []*entry
}

type replayStep struct {
	number int
	kind   string
	words  []string
	entry  *entry // nil: none
}

// An entry is one message: of a client, of a server, or as it should be.
type entry struct {
	line     int
	match    []string
	adjust   []string
	flags    uint16 // of the header, without opcode and rcode
	opcode   int
	rcode    wire.Rcode
	do       bool
	name     []byte // of the question, as spelled; nil: none
	typ      wire.Type
	sections [3][]wire.Record
	original [3][]wire.Record // before keys were replaced
	options  []byte           // of OPT; nil: the file says nothing of them
	raw      []byte           // instead of all this, the ID aside
}

func (e *entry) wants(word string) bool { return slices.Contains(e.match, word) }

// replayFlags are the words of a REPLY line that are bits of the header.
var replayFlags = map[string]uint16{
	"QR": wire.FlagQR, "AA": wire.FlagAA, "TC": wire.FlagTC, "RD": wire.FlagRD, "RA": wire.FlagRA, "AD": wire.FlagAD, "CD": wire.FlagCD,
}

// A replayReader is where the reading of a file stands.
type replayReader struct {
	r       *replay
	lines   []string
	at      int
	section string
	pending string // a record whose parentheses are open
}

// readReplay reads a file. The error is about the file; what cannot be played of it is said
// by unplayable.
func readReplay(file string) (*replay, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	rd := &replayReader{r: &replay{file: file, deckard: true}, lines: strings.Split(string(b), "\n")}
	if err := rd.read(); err != nil {
		return nil, fmt.Errorf("%s:%d: %w", file, rd.at, err)
	}
	return rd.r, nil
}

// next returns the words of the next line that has any, without its comment.
func (rd *replayReader) next() ([]string, bool) {
	for rd.at < len(rd.lines) {
		line := rd.lines[rd.at]
		rd.at++
		if f := strings.Fields(cutComment(line, ';')); len(f) > 0 {
			return f, true
		}
	}
	return nil, false
}

// cutComment cuts a line at a mark that does not stand within quotes.
func cutComment(line string, mark byte) string {
	quoted := false
	for i := range len(line) {
		switch {
		case line[i] == '"':
			quoted = !quoted
		case line[i] == mark && !quoted:
			return line[:i]
		}
	}
	return line
}

func (rd *replayReader) cannot(format string, args ...any) {
	if rd.r.unplayable == "" {
		rd.r.unplayable = fmt.Sprintf(format, args...)
	}
}

func (rd *replayReader) read() error {
	if err := rd.readConfig(); err != nil {
		return err
	}
	for {
		f, ok := rd.next()
		if !ok {
			return nil
		}
		switch {
		case f[0] == "SCENARIO_BEGIN":
		case f[0] == "SCENARIO_END":
			return nil
		case f[0] == "RANGE_BEGIN":
			if err := rd.readRange(f[1:]); err != nil {
				return err
			}
		case f[0] == "STEP" && len(f) > 2:
			n, err := strconv.Atoi(f[1])
			if err != nil {
				return err
			}
			rd.r.steps = append(rd.r.steps, replayStep{number: n, kind: f[2], words: f[3:]})
		case strings.HasPrefix(f[0], "ENTRY_BEGIN"):
			e, err := rd.readEntry()
			if err != nil {
				return err
			}
			if len(rd.r.steps) == 0 {
				return fmt.Errorf("an entry of no step")
			}
			rd.r.steps[len(rd.r.steps)-1].entry = e
		case f[0] == "FILE_BEGIN", f[0] == "TEMPFILE_CONTENTS", f[0] == "AUTOTRUST_FILE":
			rd.skip("FILE_END", "TEMPFILE_END", "AUTOTRUST_END")
		default:
			return fmt.Errorf("%q is not known", strings.Join(f, " "))
		}
	}
}

// skip goes behind the next line that begins with one of the words.
func (rd *replayReader) skip(ends ...string) {
	for {
		if f, ok := rd.next(); !ok || slices.Contains(ends, f[0]) {
			return
		}
	}
}

func (rd *replayReader) readConfig() error {
	for rd.at < len(rd.lines) {
		line := strings.TrimSpace(cutComment(cutComment(rd.lines[rd.at], '#'), ';'))
		rd.at++
		word, _, _ := strings.Cut(line, " ")
		switch {
		case line == "":
			continue
		case word == "CONFIG_END":
			return nil
		case word == "AUTOTRUST_FILE", word == "TEMPFILE_CONTENTS":
			rd.cannot("it is about files of Unbound")
			rd.skip("TEMPFILE_END", "AUTOTRUST_END")
			continue
		case word == "TEMPFILE_NAME", word == "COMMANDLINE", word == "SCENARIO_BEGIN":
			rd.cannot("%s", word)
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			return fmt.Errorf("%q is no setting", line)
		}
		value = strings.Trim(strings.TrimSpace(value), `"'`)
		if key == "server" || key == "stub-zone" || key == "forward-zone" {
			rd.r.deckard = false
		}
		if f := strings.Fields(value); len(f)%2 == 0 && len(f) > 1 && strings.HasSuffix(f[0], ":") { // a whole clause
			rd.r.config = append(rd.r.config, configLine{key: key})
			for i := 0; i < len(f); i += 2 {
				rd.r.config = append(rd.r.config, configLine{strings.TrimSuffix(f[i], ":"), strings.Trim(f[i+1], `"'`)})
			}
			continue
		}
		rd.r.config = append(rd.r.config, configLine{strings.TrimSpace(key), value})
	}
	return fmt.Errorf("no CONFIG_END")
}

func (rd *replayReader) readRange(f []string) error {
	if len(f) < 2 {
		return fmt.Errorf("want the first and the last step")
	}
	var g replayRange
	var err, err2 error
	g.from, err = strconv.Atoi(f[0])
	g.to, err2 = strconv.Atoi(f[1])
	if err != nil || err2 != nil {
		return fmt.Errorf("want the first and the last step")
	}
	address := func(s string) {
		a, err := netip.ParseAddr(s)
		if err != nil {
			rd.cannot("address %s", s)
			return
		}
		g.addrs = append(g.addrs, a)
	}
	if len(f) > 2 {
		address(f[2])
	}
	for {
		f, ok := rd.next()
		switch {
		case !ok:
			return fmt.Errorf("no RANGE_END")
		case f[0] == "RANGE_END":
			rd.r.ranges = append(rd.r.ranges, g)
			return nil
		case f[0] == "ADDRESS" && len(f) > 1:
			address(f[1])
		case strings.HasPrefix(f[0], "ENTRY_BEGIN"):
			e, err := rd.readEntry()
			if err != nil {
				return err
			}
			g.entries = append(g.entries, e)
		default:
			return fmt.Errorf("%q within a range", f[0])
		}
	}
}

// readEntry reads what stands before ENTRY_END.
//
// In one piece: it is a table of keywords and what each does.
func (rd *replayReader) readEntry() (*entry, error) {
	e := &entry{line: rd.at}
	rd.section = ""
	for {
		f, ok := rd.next()
		if !ok {
			return nil, fmt.Errorf("no ENTRY_END")
		}
		switch word := f[0]; {
		case word == "ENTRY_END":
			for s := range e.sections {
				e.original[s] = slices.Clone(e.sections[s])
			}
			return e, nil
		case word == "MATCH":
			e.match = append(e.match, f[1:]...)
		case word == "ADJUST":
			e.adjust = append(e.adjust, f[1:]...)
		case word == "REPLY" || word == "FLAGS":
			for _, w := range f[1:] {
				rd.replyWord(e, w)
			}
		case word == "SECTION" && len(f) == 2:
			rd.section = f[1]
		case word == "HEX_ANSWER_BEGIN" || word == "RAW":
			if err := rd.readRaw(e, word == "RAW"); err != nil {
				return nil, err
			}
		case word == "HEX_EDNSDATA_BEGIN":
			b, err := rd.hex("HEX_EDNSDATA_END")
			if err != nil {
				return nil, err
			}
			e.options = append([]byte{}, b...)
		case word == "EXTRA_PACKET", word == "TSIG":
			rd.cannot("%s", word)
		case word == "MANDATORY" || strings.HasPrefix(word, "$") || strings.HasPrefix(word, "ENTRY_BEGIN"):
		case rd.section == "QUESTION":
			if err := e.question(f); err != nil {
				return nil, err
			}
		case rd.section != "":
			rd.record(e, rd.lines[rd.at-1])
		default:
			return nil, fmt.Errorf("%q within an entry", word)
		}
	}
}

func (rd *replayReader) replyWord(e *entry, w string) {
	if bit, ok := replayFlags[w]; ok {
		e.flags |= bit
		return
	}
	r, isRcode := lab.ParseRcode(w)
	switch {
	case w == "DO":
		e.do = true
	case w == "QUERY":
	case w == "NOTIFY":
		e.opcode = 4
	case w == "NOTIMPL":
		e.rcode = wire.NotImp
	case isRcode:
		e.rcode = r
	default:
		rd.cannot("REPLY %s", w)
	}
}

// readRaw reads a message in hexadecimal, of which the ID counts for nothing.
func (rd *replayReader) readRaw(e *entry, oneLine bool) error {
	if !oneLine {
		b, err := rd.hex("HEX_ANSWER_END")
		e.raw = append([]byte{}, b...)
		return err
	}
	f, _ := rd.next()
	text := strings.Join(f, "")
	if text == "NULL" {
		text = ""
	}
	b, err := hex.DecodeString(text)
	e.raw = append([]byte{}, b...)
	return err
}

// hex reads lines of hexadecimal digits up to one that begins with end.
func (rd *replayReader) hex(end string) ([]byte, error) {
	text := ""
	for {
		f, ok := rd.next()
		if !ok || f[0] == end {
			return hex.DecodeString(text)
		}
		text += strings.Join(f, "")
	}
}

func (e *entry) question(f []string) error {
	name, err := wire.ParseName(f[0])
	if err != nil {
		return fmt.Errorf("name %q: %w", f[0], err)
	}
	var ok bool
	if e.typ, ok = wire.ParseType(f[len(f)-1]); !ok {
		return fmt.Errorf("type %q is not known", f[len(f)-1])
	}
	e.name = name
	return nil
}

// record adds a record, which may go on over several lines.
func (rd *replayReader) record(e *entry, line string) {
	line = strings.TrimSpace(cutComment(line, ';'))
	if rd.pending != "" {
		line = rd.pending + " " + line
	}
	rd.pending = ""
	if strings.Count(line, "(") > strings.Count(line, ")") {
		rd.pending = line
		return
	}
	at := slices.Index([]string{"ANSWER", "AUTHORITY", "ADDITIONAL"}, rd.section)
	if at < 0 {
		rd.cannot("section %s", rd.section)
		return
	}
	o := zonefile.Options{Origin: wire.Root, Name: rd.r.file, DefaultTTL: 3600}
	_, err := zonefile.Read(strings.NewReader(line+"\n"), o, func(r *zonefile.Record) error {
		e.sections[at] = append(e.sections[at], wire.Record{
			Owner: slices.Clone(
				r.Owner,
			),
			Type:    r.Type,
			Class:   wire.ClassIN,
			Section: wire.Section(at),
			TTL:     r.TTL,
			Data:    slices.Clone(r.Data),
		})
		return nil
	})
	if err == nil {
		return
	}
	if r, ok := oddRecord(line); ok {
		r.Section = wire.Section(at)
		e.sections[at] = append(e.sections[at], r)
		return
	}
	rd.cannot("line %d cannot be read: %v", rd.at, err)
}

func readRecord(r *wire.Record, line string) error {
	_, err := zonefile.Read(
		strings.NewReader(line+"\n"),
		zonefile.Options{Origin: wire.Root, Name: "record", DefaultTTL: 3600},
		func(z *zonefile.Record) error {
			*r = wire.Record{Owner: slices.Clone(z.Owner), Type: z.Type, Class: wire.ClassIN, TTL: z.TTL, Data: slices.Clone(z.Data)}
			return nil
		},
	)
	return err
}

// oddRecord reads what is wrong on purpose: data of no meaning (RFC 3597, section 5) where the
// type has one, and signatures that are no base64, which are cut off.
func oddRecord(line string) (r wire.Record, ok bool) {
	f := strings.Fields(line)
	if at := slices.Index(f, `\#`); at > 1 && at+1 < len(f) {
		name, err := wire.ParseName(f[0])
		typ, known := wire.ParseType(f[at-1])
		data, err2 := hex.DecodeString(strings.Join(f[at+2:], ""))
		r = wire.Record{Owner: name, Type: typ, Class: wire.ClassIN, TTL: 3600, Data: data}
		return r, err == nil && err2 == nil && known
	}
	at := slices.Index(f, "RRSIG")
	if at < 0 || len(f) < at+9 {
		return r, false
	}
	text := strings.Join(f[at+9:], "")
	if end := strings.IndexByte(text, '='); end >= 0 {
		text = strings.TrimRight(text[:end], "=") + strings.Repeat("=", -end&3) // what stands behind the end is nothing
	}
	if err := readRecord(&r, strings.Join(f[:at+9], " ")+" "+text); err == nil && text != "" {
		return r, true
	}
	err := readRecord(&r, strings.Join(f[:at+9], " ")+" AA==")
	if err == nil {
		r.Data = r.Data[:len(r.Data)-1] // without any
	}
	return r, err == nil
}

// message returns the entry as the reply to a query.
func (e *entry) message(q *wire.Message, edns bool) []byte {
	if e.raw != nil {
		if len(e.raw) < 2 {
			return slices.Clone(e.raw)
		}
		return append([]byte{byte(q.ID >> 8), byte(q.ID)}, e.raw[2:]...)
	}
	name, typ := e.name, e.typ
	if slices.Contains(e.adjust, "copy_query") || wire.EqualFold(name, q.Name) {
		name, typ = q.Name, q.Type
	}
	b := wire.AppendQuery(nil, q.ID, e.flags|uint16(e.opcode)<<11|uint16(e.rcode&15), name, typ)
	if name == nil {
		b = b[:wire.HeaderLen]
		b[5] = 0
	}
	for s, records := range e.sections {
		b[6+2*s], b[7+2*s] = byte(len(records)>>8), byte(len(records))
		for i := range records {
			b = appendRecord(b, &records[i])
		}
	}
	if edns {
		b = wire.AppendOPT(b, 4096, e.do, e.options)
		b[11]++
	}
	return b
}

func appendRecord(b []byte, r *wire.Record) []byte {
	b = append(b, r.Owner...)
	b = append(b, byte(r.Type>>8), byte(r.Type), byte(r.Class>>8), byte(r.Class))
	b = append(b, byte(r.TTL>>24), byte(r.TTL>>16), byte(r.TTL>>8), byte(r.TTL))
	return append(append(b, byte(len(r.Data)>>8), byte(len(r.Data))), r.Data...)
}

// shows reports whether the entry is what a server says of a part of a name where NS records are
// asked for it. By any other type the same comes of it (RFC 9156, section 2.3), but for such an answer.
func (e *entry) shows(q *wire.Message) bool {
	return e.typ == wire.TypeNS && q.Type == wire.TypeA && wire.EqualFold(e.name, q.Name) && len(e.sections[0]) == 0
}

// fits reports whether a server that has the entry answers a query with it.
func (e *entry) fits(q *wire.Message, tcp bool) bool {
	for _, w := range e.match {
		ok := true
		switch w {
		case "qtype":
			ok = e.typ == q.Type
		case "qname":
			ok = wire.EqualFold(e.name, q.Name)
		case "qcase":
			ok = string(e.name) == string(q.Name)
		case "question", "all":
			ok = e.typ == q.Type && wire.EqualFold(e.name, q.Name)
		case "subdomain":
			ok = e.name == nil || wire.Subdomain(wire.Lower(nil, q.Name), wire.Lower(nil, e.name))
		case "DO":
			ok = q.DO
		case "noedns":
			ok = !q.EDNS
		case "UDP":
			ok = !tcp
		case "TCP":
			ok = tcp
		}
		if !ok {
			return false
		}
	}
	return true
}
