package dnstest

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"port53/internal/lab"
	"port53/internal/wire"
)

// An outcome is what became of a question, in the words of a scenario.
type outcome struct {
	header   string // rcode, flags and Extended DNS Errors, or "nothing"
	sections [3][]string
	texts    []string // of Extended DNS Errors
	size     int
	took     time.Duration
}

var sectionNames = [3]string{"answer", "authority", "additional"}

// describe puts a reply into words. query is what it must fit.
func describe(query, reply []byte, took time.Duration) (*outcome, error) {
	o := &outcome{header: "nothing", size: len(reply), took: took}
	if reply == nil {
		return o, nil
	}
	var m, q wire.Message
	if bad := m.Parse(reply); bad != 0 {
		return nil, fmt.Errorf("the reply cannot be read: %v", bad)
	}
	if bad := q.Parse(query); bad != 0 {
		return nil, fmt.Errorf("the query cannot be read: %v", bad)
	}
	if m.ID != q.ID || m.Flags&wire.FlagQR == 0 || !m.HasQuestion || string(m.Name) != string(q.Name) || m.Type != q.Type {
		return nil, fmt.Errorf("the reply %s %v with ID %d, QR %t does not fit the query %s %v with ID %d",
			wire.AppendName(nil, m.Name), m.Type, m.ID, m.Flags&wire.FlagQR != 0, wire.AppendName(nil, q.Name), q.Type, q.ID)
	}
	words := []string{m.Rcode.String()}
	for _, f := range []struct {
		bit  uint16
		name string
	}{{wire.FlagAD, "ad"}, {wire.FlagAA, "aa"}, {wire.FlagTC, "tc"}, {wire.FlagCD, "cd"}} {
		if m.Flags&f.bit != 0 {
			words = append(words, f.name)
		}
	}
	if m.Flags&wire.FlagRA == 0 {
		words = append(words, "nora")
	}
	codes, texts := errorsOf(m.Options)
	o.texts = texts
	if len(codes) > 0 {
		words = append(words, "ede="+strings.Join(codes, ","))
	}
	o.header = strings.Join(words, " ")
	for i := range m.Records {
		r := &m.Records[i]
		o.sections[r.Section] = append(o.sections[r.Section], line(r))
	}
	return o, nil
}

// errorsOf returns the Extended DNS Errors among EDNS options.
func errorsOf(options []byte) (codes, texts []string) {
	for len(options) >= 4 {
		code, n := binary.BigEndian.Uint16(options), int(binary.BigEndian.Uint16(options[2:]))
		if len(options) < 4+n {
			break
		}
		if code == wire.OptionEDE && n >= 2 {
			codes = append(codes, strconv.Itoa(int(binary.BigEndian.Uint16(options[4:]))))
			texts = append(texts, string(options[6:4+n]))
		}
		options = options[4+n:]
	}
	return codes, texts
}

// line returns a record in words, names in lower case, and without what is different
// in every run or too long to read.
func line(r *wire.Record) string {
	owner := wire.AppendName(nil, wire.Lower(nil, r.Owner))
	data := wire.AppendCanonical(nil, r.Type, r.Data)
	var text string
	switch {
	case r.Type == wire.TypeRRSIG && len(data) > 18:
		n, err := wire.CheckName(data[18:])
		if err == nil {
			text = fmt.Sprintf("%v %d %d %s", wire.Covered(data), data[2], data[3], wire.AppendName(nil, data[18:18+n]))
		}
	case r.Type == wire.TypeDNSKEY && len(data) > 4:
		text = fmt.Sprintf("%d %d", binary.BigEndian.Uint16(data), data[3])
	case r.Type == wire.TypeDS && len(data) > 4:
		text = fmt.Sprintf("%d %d", data[2], data[3])
	}
	if text == "" {
		text = string(wire.AppendRdataText(nil, r.Type, data))
	}
	return fmt.Sprintf("%s %d %v %s", owner, r.TTL, r.Type, text)
}

// anyTTL puts a star in the place of a record's TTL.
func anyTTL(record string) string {
	f := strings.SplitN(record, " ", 3)
	if len(f) < 3 {
		return record
	}
	return f[0] + " * " + f[2]
}

// sameRecords reports whether got is want in any order.
func sameRecords(got, want []string) bool {
	if len(got) != len(want) {
		return false
	}
	rest := slices.Clone(got)
	// Those with a TTL first: a star takes what is left.
	ordered := slices.Clone(want)
	slices.SortStableFunc(ordered, func(a, b string) int {
		return strings.Count(anyTTLMark(a), "*") - strings.Count(anyTTLMark(b), "*")
	})
	for _, w := range ordered {
		i := slices.IndexFunc(rest, func(g string) bool { return g == w || anyTTL(g) == w })
		if i < 0 {
			return false
		}
		rest = slices.Delete(rest, i, i+1)
	}
	return true
}

// anyTTLMark is "*" for a record whose TTL is a star.
func anyTTLMark(record string) string {
	if f := strings.SplitN(record, " ", 3); len(f) == 3 && f[1] == "*" {
		return "*"
	}
	return ""
}

// An expectation is the lines below a question.
type expectation struct {
	header   string
	sections [3][]string
	named    [3]bool
	extra    []string // text, took and size lines
}

// parseExpectation reads the lines below a question.
func parseExpectation(lines []string) *expectation {
	e := &expectation{named: [3]bool{true, false, false}}
	sec := 0
	for i, l := range lines {
		f := strings.Fields(l)
		text := strings.Join(f, " ")
		switch {
		case slices.Contains(sectionNames[:], text):
			sec = slices.Index(sectionNames[:], text)
			e.named[sec] = true
		case f[0] == "text" || f[0] == "took" || f[0] == "size":
			e.extra = append(e.extra, text)
		case i == 0:
			e.header = text
		default:
			e.sections[sec] = append(e.sections[sec], text)
		}
	}
	return e
}

// check compares what became of a question with what was expected, and returns what
// is wrong.
func (e *expectation) check(o *outcome) (wrong []string) {
	if e.header != o.header {
		wrong = append(wrong, fmt.Sprintf("got %q, want %q", o.header, e.header))
	}
	for s := range sectionNames {
		if e.named[s] && !sameRecords(o.sections[s], e.sections[s]) {
			wrong = append(wrong, fmt.Sprintf("%s:\n%swant:\n%s", sectionNames[s], indent(o.sections[s]), indent(e.sections[s])))
		}
	}
	return append(wrong, e.checkExtra(o)...)
}

// checkVerdict compares the response code and AD alone.
func (e *expectation) checkVerdict(o *outcome) (wrong []string) {
	verdict := func(header string) string {
		f := strings.Fields(header)
		if slices.Contains(f, "ad") {
			return f[0] + " ad"
		}
		return f[0]
	}
	if got, want := verdict(o.header), verdict(e.header); got != want {
		wrong = append(wrong, fmt.Sprintf("got %q, want %q", o.header, e.header))
	}
	return wrong
}

func (e *expectation) checkExtra(o *outcome) (wrong []string) {
	for _, x := range e.extra {
		word, rest, _ := strings.Cut(x, " ")
		op, value, ok := strings.Cut(rest, " ")
		if !ok {
			op, value = "==", rest
		}
		switch word {
		case "text":
			if !slices.ContainsFunc(o.texts, func(t string) bool { return strings.Contains(t, rest) }) {
				wrong = append(wrong, fmt.Sprintf("no Extended DNS Error has the text %q, but %q", rest, o.texts))
			}
		case "took":
			d, err := time.ParseDuration(value)
			if err != nil || !compare(int64(o.took), op, int64(d)) {
				wrong = append(wrong, fmt.Sprintf("took %v, want %s", o.took, rest))
			}
		case "size":
			n, err := strconv.Atoi(value)
			if err != nil || !compare(int64(o.size), op, int64(n)) {
				wrong = append(wrong, fmt.Sprintf("size is %d, want %s", o.size, rest))
			}
		}
	}
	return wrong
}

// rewrite returns the lines that e would be, had it foreseen o.
func (e *expectation) rewrite(o *outcome) []string {
	lines := []string{"  " + o.header}
	for s, name := range sectionNames {
		if s > 0 {
			if !e.named[s] {
				continue
			}
			lines = append(lines, "  "+name)
		}
		records := o.sections[s]
		if sameRecords(records, e.sections[s]) {
			records = e.sections[s] // with its stars, in its order
		}
		for _, r := range records {
			lines = append(lines, "  "+r)
		}
	}
	for _, x := range e.extra {
		lines = append(lines, "  "+x)
	}
	return lines
}

func indent(lines []string) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString("\t" + l + "\n")
	}
	if len(lines) == 0 {
		return "\t(none)\n"
	}
	return b.String()
}

// compare reports whether a op b; an operator that is not known never holds.
func compare(a int64, op string, b int64) bool {
	switch op {
	case "==", "=":
		return a == b
	case "<=":
		return a <= b
	case ">=":
		return a >= b
	case "<":
		return a < b
	case ">":
		return a > b
	}
	return false
}

// sentLine returns a question on its way to a server, in words.
func sentLine(p *lab.Packet, withServer bool) string {
	name, typ := p.Question()
	words := []string{"(none)"}
	if name != nil {
		words = []string{string(wire.AppendName(nil, name)), typ.String()}
	}
	if withServer {
		words = append([]string{serverText(p)}, words...)
	}
	if p.TCP {
		words = append(words, "+tcp")
	}
	flags := binary.BigEndian.Uint16(p.Message[2:])
	if flags&wire.FlagRD != 0 {
		words = append(words, "+rd")
	}
	if flags&wire.FlagCD != 0 {
		words = append(words, "+cd")
	}
	var m wire.Message
	if m.Parse(p.Message) == 0 && !m.EDNS {
		words = append(words, "+noedns")
	}
	return strings.Join(words, " ")
}

func serverText(p *lab.Packet) string {
	if p.To.Port() == 53 {
		return p.To.Addr().String()
	}
	return p.To.String()
}

// sameSent reports whether questions are those wanted, in which a star stands for any
// one word.
func sameSent(got, want []string) bool {
	return slices.EqualFunc(got, want, func(g, w string) bool {
		return slices.EqualFunc(strings.Fields(g), strings.Fields(w), func(a, b string) bool { return b == "*" || a == b })
	})
}

// logLine returns a packet in words, for a person who looks for what went wrong.
func logLine(p *lab.Packet, start time.Time) string {
	at := fmt.Sprintf("%9.3fs", p.At.Sub(start).Seconds())
	transport := "udp"
	if p.TCP {
		transport = "tcp"
	}
	fate := ""
	if p.Fate != lab.Delivered {
		fate = "  (" + p.Fate.String() + ")"
	}
	if p.Message == nil {
		return fmt.Sprintf("%s -> %v %s%s", at, p.To, transport, fate)
	}
	name, typ := p.Question()
	question := fmt.Sprintf("%s %v", wire.AppendName(nil, name), typ)
	if name == nil {
		question = "(no question)"
	}
	if !p.Reply {
		return fmt.Sprintf("%s -> %v %s %s%s", at, p.To, transport, question, fate)
	}
	var m wire.Message
	if bad := m.Parse(p.Message); bad != 0 {
		return fmt.Sprintf("%s <- %v %s %s: %v%s", at, p.From, transport, question, bad, fate)
	}
	var counts [3]int
	for i := range m.Records {
		counts[m.Records[i].Section]++
	}
	flags := ""
	if m.Flags&wire.FlagAA != 0 {
		flags += " aa"
	}
	if m.Flags&wire.FlagTC != 0 {
		flags += " tc"
	}
	return fmt.Sprintf("%s <- %v %s %s: %v%s %d/%d/%d, %d octets%s", at, p.From, transport, question, m.Rcode, flags,
		counts[0], counts[1], counts[2], len(p.Message), fate)
}
