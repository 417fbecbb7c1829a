package lab

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"port53/internal/wire"
)

// A rule is one "when" of a host's script: which questions, and what they get.
type rule struct {
	at     *Section
	line   int
	name   []byte // in lower case
	below  bool   // names below name, not name itself
	any    bool   // every name
	typ    wire.Type
	every  bool // every type
	need   []string
	times  int // how often it is still good for; negative: always
	skip   int // questions that it lets pass first
	action []action
}

// An action is what a rule does: a reply, forgeries, or silence.
type action struct {
	line     int
	kind     string // reply, serve, silence, raw, forge
	words    []string
	sections [3][]source
	raw      []byte
}

// A source is a line that becomes records when the question is known: of a master file,
// whose origin is the question's name, or one that copies what a zone says.
type source struct {
	line int
	text string
	copy *copied // nil: text is of a master file
}

// A copied is the line
//
//	copy ZONE NAME TYPE SECTION [as NAME]
//
// which stands for the records that the zone itself puts into a section of its answer to a
// question with DO, signatures too, and whose owner's name may be replaced: a reply that was
// heard before, or that is for something else.
type copied struct {
	zone, name []byte
	typ        wire.Type
	section    wire.Section
	as         []byte // nil: the owners stay
	question   bool   // the owners become the name asked for
}

var sectionWords = map[string]wire.Section{"answer": wire.Answer, "authority": wire.Authority, "additional": wire.Additional}

// parseCopy reads the words behind copy.
func parseCopy(f []string) (*copied, error) {
	if len(f) != 4 && (len(f) != 6 || f[4] != "as") {
		return nil, fmt.Errorf("want: copy ZONE NAME TYPE SECTION [as NAME]")
	}
	c := &copied{}
	names := []string{f[0], f[1]}
	if c.question = len(f) == 6 && f[5] == "@"; len(f) == 6 && !c.question {
		names = append(names, f[5])
	}
	for i, to := range []*[]byte{&c.zone, &c.name, &c.as}[:len(names)] {
		name, err := wire.ParseName(names[i])
		if err != nil {
			return nil, fmt.Errorf("name %q: %w", names[i], err)
		}
		*to = wire.Lower(nil, name)
	}
	var known bool
	if c.typ, known = wire.ParseType(f[2]); !known {
		return nil, fmt.Errorf("type %q is not known", f[2])
	}
	if c.section, known = sectionWords[f[3]]; !known {
		return nil, fmt.Errorf("section %q is not known; there are answer, authority and additional", f[3])
	}
	return c, nil
}

// conditions are the words that a "when" may end in.
var conditions = []string{"udp", "tcp", "edns", "noedns", "do", "nodo", "cd", "nocd", "rd", "nord", "cookie", "nocookie"}

// actionWords are the words behind reply, serve and forge; those that end in = take
// a value.
var actionWords = []string{
	"aa",
	"noaa",
	"tc",
	"ra",
	"ad",
	"noqr",
	"noquestion",
	"noopt",
	"opt",
	"big",
	"udp",
	"reverse",
	"corrupt=",
	"id=",
	"ids=",
	"name=",
	"type=",
	"opcode=",
	"version=",
	"case=",
	"from=",
	"delay=",
	"after=",
	"every=",
	"strip=",
	"rcode=",
	"sign=",
	"cookie=",
	"labels=",
}

// parseScript reads the body of a host section.
func parseScript(s *Section) ([]*rule, error) {
	var rules []*rule
	var r *rule
	var a *action
	sec := wire.Answer
	for i, line := range s.Body {
		f := strings.Fields(line)
		if len(f) == 0 || f[0][0] == ';' || f[0][0] == '#' {
			continue
		}
		word := f[0]
		if word != "when" && r == nil {
			return nil, s.Errorf(i, "%q before the first \"when\"", word)
		}
		switch word {
		case "when":
			var err error
			if r, err = parseWhen(s, i, f[1:]); err != nil {
				return nil, err
			}
			rules = append(rules, r)
			a = nil
		case "reply", "serve", "silence", "forge", "raw":
			if slices.Contains(actionKindsOf(r), kindClass(word)) {
				return nil, s.Errorf(i, "a second %s for one \"when\"", word)
			}
			r.action = append(r.action, action{line: i, kind: word, words: f[1:]})
			a = &r.action[len(r.action)-1]
			sec = wire.Answer
			if err := a.check(s); err != nil {
				return nil, err
			}
		case "answer", "authority", "additional":
			if a == nil || len(f) > 1 {
				return nil, s.Errorf(i, "%s stands alone, below reply, serve or forge", word)
			}
			sec = sectionWords[word]
		default:
			if a == nil || a.kind == "raw" || a.kind == "silence" {
				return nil, s.Errorf(i, "%q: expected when, reply, serve, silence, raw or forge, or records below one of them", word)
			}
			src := source{line: i, text: strings.TrimLeft(line, " \t")}
			if word == "copy" {
				var err error
				if src.copy, err = parseCopy(f[1:]); err != nil {
					return nil, s.Errorf(i, "%w", err)
				}
			} else if _, err := readRecords(s.File, s.Line+1+i, []string{src.text}, []byte("\x01q\x07example\x00")); err != nil {
				return nil, err
			}
			a.sections[sec] = append(a.sections[sec], src)
		}
	}
	for _, r := range rules {
		if len(r.action) == 0 {
			return nil, s.Errorf(r.line, "\"when\" without a reply, serve, silence, raw or forge")
		}
	}
	return rules, nil
}

// kindClass tells apart what a rule may have once each.
func kindClass(kind string) string {
	if kind == "forge" {
		return "forge"
	}
	return "reply"
}

func actionKindsOf(r *rule) []string {
	var kinds []string
	for i := range r.action {
		kinds = append(kinds, kindClass(r.action[i].kind))
	}
	return kinds
}

func parseWhen(s *Section, line int, f []string) (*rule, error) {
	r := &rule{at: s, line: line, times: -1}
	if len(f) < 2 {
		return nil, s.Errorf(line, "want: when NAME TYPE [CONDITION...], with * for any")
	}
	name := f[0]
	switch {
	case name == "*":
		r.any = true
	case strings.HasPrefix(name, "*."):
		r.below = true
		name = name[1:]
		if name != "." {
			name = name[1:]
		}
	}
	if !r.any {
		n, err := wire.ParseName(name)
		if err != nil {
			return nil, s.Errorf(line, "name %q: %w", f[0], err)
		}
		r.name = wire.Lower(nil, n)
	}
	var ok bool
	if r.typ, ok = wire.ParseType(f[1]); !ok && f[1] != "*" {
		return nil, s.Errorf(line, "type %q is not known", f[1])
	}
	r.every = f[1] == "*"
	for _, w := range f[2:] {
		key, value, _ := strings.Cut(w, "=")
		switch {
		case key == "times" || key == "skip":
			n, err := strconv.Atoi(value)
			if err != nil || n < 0 {
				return nil, s.Errorf(line, "%q: want a number", w)
			}
			if key == "times" {
				r.times = n
			} else {
				r.skip = n
			}
		case slices.Contains(conditions, w):
			r.need = append(r.need, w)
		default:
			return nil, s.Errorf(line, "condition %q is not known; there are times=N, skip=N and %s", w, strings.Join(conditions, " "))
		}
	}
	return r, nil
}

// check reports whether the words of an action are good.
func (a *action) check(s *Section) error {
	words := a.words
	switch a.kind {
	case "silence":
		if len(words) > 0 {
			return s.Errorf(a.line, "silence stands alone")
		}
		return nil
	case "raw":
		b, err := hex.DecodeString(strings.Join(words, ""))
		if err != nil {
			return s.Errorf(a.line, "raw: want octets in hexadecimal, those behind the ID")
		}
		a.raw = b
		return nil
	case "reply":
		if len(words) == 0 {
			return s.Errorf(a.line, "reply: want a response code, such as NOERROR")
		}
		if _, ok := ParseRcode(words[0]); !ok {
			return s.Errorf(a.line, "response code %q is not known", words[0])
		}
		words = words[1:]
	case "forge":
		if len(words) > 0 {
			if _, err := strconv.Atoi(words[0]); err == nil {
				words = words[1:]
			}
		}
	}
	for _, w := range words {
		key, value, hasValue := strings.Cut(w, "=")
		if hasValue {
			key += "="
		}
		if !slices.Contains(actionWords, key) {
			return s.Errorf(a.line, "word %q is not known; there are %s", w, strings.Join(actionWords, " "))
		}
		var bad bool
		switch key {
		case "from=":
			_, err := addrPort(value)
			bad = err != nil
		case "delay=", "after=", "every=":
			_, err := seconds(value)
			bad = err != nil
		case "name=", "sign=":
			_, err := wire.ParseName(value)
			bad = err != nil
		case "type=":
			_, ok := wire.ParseType(value)
			bad = !ok
		case "rcode=":
			_, ok := ParseRcode(value)
			bad = !ok
		case "strip=", "corrupt=":
			_, ok := parseTypes(value)
			bad = !ok
		case "opcode=", "version=", "labels=":
			_, err := strconv.ParseUint(value, 10, 8)
			bad = err != nil
		case "id=":
			bad = value != "wrong"
		case "ids=":
			bad = !slices.Contains([]string{"right", "random", "all"}, value)
		case "case=":
			bad = !slices.Contains([]string{"lower", "upper", "swap"}, value)
		case "cookie=":
			bad = !slices.Contains([]string{"wrong", "none", "good"}, value)
		}
		if bad {
			return s.Errorf(a.line, "%q: %w", w, errValue)
		}
	}
	return nil
}

func parseTypes(s string) ([]wire.Type, bool) {
	var types []wire.Type
	for w := range strings.SplitSeq(s, ",") {
		t, ok := wire.ParseType(w)
		if !ok {
			return nil, false
		}
		types = append(types, t)
	}
	return types, true
}

// matches reports whether a rule is for a question. The host's lock is held.
func (r *rule) matches(q *wire.Query, tcp bool) bool {
	name := q.Name.Name()
	switch {
	case r.any:
	case r.below:
		if len(name) <= len(r.name) || !wire.Subdomain(name, r.name) {
			return false
		}
	case string(name) != string(r.name):
		return false
	}
	if !r.every && r.typ != q.Type || r.times == 0 {
		return false
	}
	for _, need := range r.need {
		var ok bool
		switch need {
		case "udp":
			ok = !tcp
		case "tcp":
			ok = tcp
		case "edns":
			ok = q.EDNS
		case "noedns":
			ok = !q.EDNS
		case "do":
			ok = q.DO
		case "nodo":
			ok = !q.DO
		case "cd":
			ok = q.Flags&wire.FlagCD != 0
		case "nocd":
			ok = q.Flags&wire.FlagCD == 0
		case "rd":
			ok = q.Flags&wire.FlagRD != 0
		case "nord":
			ok = q.Flags&wire.FlagRD == 0
		case "cookie":
			ok = q.Cookie != nil
		case "nocookie":
			ok = q.Cookie == nil
		}
		if !ok {
			return false
		}
	}
	if r.skip > 0 {
		r.skip--
		return false
	}
	if r.times > 0 {
		r.times--
	}
	return true
}

// value returns the value of a word KEY=VALUE, or "".
func (a *action) value(key string) string {
	for _, w := range a.words {
		if v, ok := strings.CutPrefix(w, key+"="); ok {
			return v
		}
	}
	return ""
}

func (a *action) has(word string) bool { return slices.Contains(a.words, word) }

// duration returns the value of a word that is known to be a good duration.
func (a *action) duration(key string) time.Duration {
	d, _ := seconds(a.value(key))
	return d
}

// records adds the records that stand below the action to m.
func (a *action) records(w *World, s *Section, q *wire.Query, m *message) {
	origin := q.Name.Name()
	for sec := range a.sections {
		for _, src := range a.sections[sec] {
			if src.copy != nil {
				m.sections[sec] = append(m.sections[sec], w.copied(src.copy, q)...)
				continue
			}
			// That it can be read with another origin was checked; with this one names
			// may be too long, and then there is no record.
			records, _ := readRecords(s.File, s.Line+1+src.line, []string{src.text}, origin)
			m.sections[sec] = append(m.sections[sec], records...)
		}
	}
}

// edit changes m as the words of the action say.
func (a *action) edit(q *wire.Query, m *message) {
	for _, w := range a.words {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "aa":
			m.flags |= wire.FlagAA
		case "noaa":
			m.flags &^= wire.FlagAA
		case "tc":
			m.flags |= wire.FlagTC
		case "ra":
			m.flags |= wire.FlagRA
		case "ad":
			m.flags |= wire.FlagAD
		case "noqr":
			m.flags &^= wire.FlagQR
		case "opcode":
			n, _ := strconv.Atoi(value)
			m.flags = m.flags&^0x7800 | uint16(n&15)<<11
		case "rcode":
			m.rcode, _ = ParseRcode(value)
		case "noquestion":
			m.question = nil
		case "noopt":
			m.edns = false
		case "opt":
			m.edns, m.size = true, ednsSize
		case "version":
			n, _ := strconv.Atoi(value)
			m.version = uint8(n)
		case "id":
			m.id ^= 0x5353
		case "strip":
			types, _ := parseTypes(value)
			m.strip(types)
		case "corrupt":
			types, _ := parseTypes(value)
			m.corrupt(types)
		case "reverse":
			for _, records := range m.sections {
				slices.Reverse(records)
			}
		case "name":
			name, _ := wire.ParseName(value)
			m.question = append(name, m.question[max(0, len(m.question)-4):]...)
		case "type":
			t, _ := wire.ParseType(value)
			if n := len(m.question); n > 4 {
				binary.BigEndian.PutUint16(m.question[n-4:], uint16(t))
			}
		case "case":
			recase(m.question, value)
		case "cookie":
			m.options = cookieOption(q, value)
		}
	}
}

// recase changes the case of a question's name: lower, upper or swap; anything else
// keeps it.
func recase(question []byte, how string) {
	if how == "" || how == "keep" || how == "strict" {
		return
	}
	for i := 0; i+4 < len(question); i++ {
		switch c := question[i]; {
		case c >= 'A' && c <= 'Z' && how != "upper", c >= 'a' && c <= 'z' && how != "lower":
			question[i] ^= 0x20
		}
	}
}

// cookieOption returns the COOKIE option of a reply (RFC 7873, section 4): the
// client's own eight octets and eight of the server, or a client's that is wrong.
func cookieOption(q *wire.Query, how string) []byte {
	if len(q.Cookie) < 8 || how == "none" {
		return nil
	}
	c := append([]byte{0, wire.OptionCookie, 0, 16}, q.Cookie[:8]...)
	if how == "wrong" {
		c[4] ^= 0xFF
	}
	return append(c, serverCookie...)
}

// serverCookie is the server's half of every cookie of the laboratory.
const serverCookie = "lab-53-!"

// forge adds the forgeries of the action to r.
func (a *action) forge(w *World, s *Section, q *wire.Query, r *Reply) {
	count := 1
	if len(a.words) > 0 {
		if n, err := strconv.Atoi(a.words[0]); err == nil {
			count = n
		}
	}
	m := replyTo(q)
	m.flags |= wire.FlagAA
	a.records(w, s, q, m)
	a.edit(q, m)
	source := r.Server
	if v := a.value("from"); v != "" {
		source, _ = addrPort(v)
	}
	template := m.append(nil)
	at, every := a.duration("after"), a.duration("every")
	for i := range count {
		b := slices.Clone(template)
		switch a.value("ids") {
		case "right":
		case "all":
			binary.BigEndian.PutUint16(b, uint16(i))
		default: // a guess, and never the right one
			id := uint16(w.Net.chanceOf())
			if id == q.ID {
				id++
			}
			binary.BigEndian.PutUint16(b, id)
		}
		r.Forged = append(r.Forged, Forgery{Source: source, Message: b, After: at + time.Duration(i)*every})
	}
}
