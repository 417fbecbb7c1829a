package filter

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"port53/internal/wire"
)

// A Format is how a list is written.
type Format string

// The formats.
const (
	Auto    Format = "auto"    // each line tells by itself
	Hosts   Format = "hosts"   // an address, and names
	Names   Format = "names"   // a name a line; *. and a name are the names below it
	Domains Format = "domains" // a name a line, with or without *., which means the names below it, too
	Adblock Format = "adblock" // ||name^ and what else names can be told by
	RPZ     Format = "rpz"     // a response policy zone, as text
)

// ReadOptions say how a list is read.
type ReadOptions struct {
	List   uint8
	Format Format // "": Auto
	Regex  bool   // regular expressions count

	// Networks returns the networks of a name that $client has; nil: no names are known.
	Networks func(name string) []netip.Prefix
	// Allow has each rule be one that allows.
	Allow bool
}

// Stats are what was found in a list.
type Stats struct {
	Lines      int `json:"lines"`
	Rules      int `json:"rules"`
	Duplicates int `json:"duplicates,omitempty"`
	Patterns   int `json:"patterns,omitempty"` // that no name stands for, among Rules
	Regex      int `json:"regex,omitempty"`    // regular expressions, among Patterns
	Skipped    int `json:"skipped,omitempty"`  // for web pages and URLs
	NoRegex    int `json:"regex_skipped,omitempty"`
	NoZone     int `json:"rpz_skipped,omitempty"` // rules of response policy zones that lists cannot have
	Wrong      int `json:"wrong,omitempty"`

	// Notes are the first lines that are wrong, and rules that are about more than a list should be.
	Notes []Note `json:"notes,omitempty"`
}

// A Note is about one line.
type Note struct {
	Line int    `json:"line"`
	Text string `json:"text"`
}

// maxNotes is how many notes are kept of a list.
const maxNotes = 10

func (s *Stats) note(line int, text string) {
	if len(s.Notes) < maxNotes {
		s.Notes = append(s.Notes, Note{line, text})
	}
}

func (s *Stats) wide(line uint32, name []byte) {
	s.note(int(line), "blocks every name below "+string(wire.AppendName(nil, name)))
}

func (s *Stats) count(added bool) {
	if added {
		s.Rules++
	} else {
		s.Duplicates++
	}
}

// Bounds of a list.
const (
	maxLine  = 4096     // octets of a line that is read
	maxLines = 50 << 20 // lines of a list
)

// ErrNoList is wrapped by what Read returns for something that is no list: a page of HTML, what is
// not text, or text in which hardly any line is a rule.
var ErrNoList = errors.New("it is not a list")

// ErrFull is returned when rules find no room: they take at most 4 GiB.
var ErrFull = errors.New("the lists have too many rules")

// Read adds the rules of a list. What is no rule is counted, and the first such lines noted.
func (b *Builder) Read(in io.Reader, o ReadOptions) (st Stats, err error) {
	r := bufio.NewReaderSize(in, 64<<10)
	if err := sniff(r); err != nil {
		return st, err
	}
	b.crowded = 0
	defer func() {
		if b.crowded > 0 {
			st.note(
				int(b.crowded),
				fmt.Sprintf("a name has more than %d conditional rules: this one and the following ones are left out", maxAlike),
			)
		}
	}()
	if o.Format == RPZ {
		return b.readRPZ(r, o)
	}
	l := lineReader{b: b, o: &o, st: &st}
	for {
		line, err := r.ReadSlice('\n')
		long := false
		for errors.Is(err, bufio.ErrBufferFull) { // a line longer than any rule: its rest is passed over
			long = true
			_, err = r.ReadSlice('\n')
		}
		if len(line) == 0 && err != nil {
			if !errors.Is(err, io.EOF) {
				return st, err
			}
			break
		}
		if st.Lines++; st.Lines > maxLines {
			return st, fmt.Errorf("%w: more than %d lines", ErrNoList, maxLines)
		}
		if long || len(line) > maxLine {
			l.wrong(fmt.Errorf("the line has more than %d octets", maxLine), nil)
		} else {
			l.line(line)
		}
		if b.full {
			return st, ErrFull
		}
		if st.Wrong > 100 && st.Wrong > 4*(st.Rules+st.Duplicates+st.Skipped+st.NoRegex) {
			break
		}
	}
	if good := st.Rules + st.Duplicates + st.Skipped + st.NoRegex; st.Wrong > 4*good && st.Wrong > 10 || good == 0 && st.Wrong > 0 {
		return st, fmt.Errorf(
			"%w: %d of the first %d lines are not rules, line %d: %s",
			ErrNoList,
			st.Wrong,
			st.Lines,
			st.Notes[0].Line,
			st.Notes[0].Text,
		)
	}
	return st, nil
}

// sniff looks at the begin of a list.
func sniff(r *bufio.Reader) error {
	head, err := r.Peek(1024)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if rest, ok := bytes.CutPrefix(head, []byte("\xEF\xBB\xBF")); ok {
		_, _ = r.Discard(3)
		head = rest
	}
	text := bytes.ToLower(bytes.TrimLeft(head, " \t\r\n"))
	for _, tag := range []string{"<!doctype", "<html", "<?xml", "<head", "<body", "{\""} {
		if bytes.HasPrefix(text, []byte(tag)) {
			return fmt.Errorf("%w: it begins with %q, like an HTML page or a binary file", ErrNoList, tag)
		}
	}
	if bytes.HasPrefix(head, []byte{0x1F, 0x8B}) {
		return fmt.Errorf("%w: it is compressed by gzip", ErrNoList)
	}
	for i, c := range head {
		if c < ' ' && c != '\t' && c != '\r' && c != '\n' && c != '\f' {
			return fmt.Errorf("%w: octet %d is not text", ErrNoList, i+1)
		}
	}
	return nil
}

// A lineReader reads lines of any format but RPZ.
type lineReader struct {
	b    *Builder
	o    *ReadOptions
	st   *Stats
	name []byte
}

func (l *lineReader) rule(scope Scope) *rule {
	return &rule{scope: scope, list: l.o.List, line: uint32(l.st.Lines), allow: l.o.Allow}
}

func (l *lineReader) wrong(err error, line []byte) {
	l.st.Wrong++
	if l.st.Wrong <= 3 {
		text := err.Error()
		if line != nil {
			text = wire.Printable(string(line[:min(len(line), 60)])) + ": " + text
		}
		l.st.note(l.st.Lines, text)
	}
}

var (
	errName = errors.New("it is not a name")
	errHost = errors.New("it is not an address with names")
)

// line reads a line.
func (l *lineReader) line(line []byte) {
	line = bytes.TrimSpace(line)
	if len(line) == 0 || line[0] == '!' || line[0] == '[' && line[len(line)-1] == ']' || line[0] == ';' {
		return
	}
	if line[0] == '#' {
		if cosmetic(line) {
			l.st.Skipped++
		}
		return
	}
	format := l.o.Format
	if format == "" || format == Auto || format == Adblock {
		switch {
		case mayBeCosmetic(line) && cosmetic(line):
			l.st.Skipped++
			return
		case line[0] == '@' || line[0] == '|' || line[0] == '/' || bytes.ContainsAny(line, "^$|*=") && !star(line):
			l.adblock(line)
			return
		}
	}
	if at := bytes.IndexByte(line, '#'); at > 0 {
		line = bytes.TrimSpace(line[:at])
	}
	first, rest := cutField(line)
	switch {
	case format == Domains:
		if len(rest) > 0 {
			l.wrong(errName, line)
			return
		}
		name, _ := bytes.CutPrefix(first, []byte("*."))
		l.host(name, Subtree, line)
	case format == Hosts || len(rest) > 0 && format != Names:
		l.hosts(first, rest, line)
	case len(rest) > 0:
		l.wrong(errName, line)
	case star(first):
		l.host(first[2:], Below, line)
	default:
		l.single(first, line)
	}
}

// star reports whether a word is a star and a name.
func star(word []byte) bool {
	return len(word) > 2 && word[0] == '*' && word[1] == '.' && !bytes.ContainsAny(word[2:], "^$|*=/ \t")
}

// single takes a word that stands alone: a name, or an address or network that answers have.
func (l *lineReader) single(word, line []byte) {
	if c := word[len(word)-1]; word[0] >= '0' && word[0] <= '9' && c >= '0' && c <= '9' || bytes.IndexByte(word, ':') >= 0 ||
		bytes.IndexByte(word, '/') >= 0 {
		if p, ok := parsePrefix(string(word)); ok {
			if p.Bits() == 0 {
				l.wrong(errWide, line)
				return
			}
			r := l.rule(Exact)
			r.space = spaceAddress
			l.st.count(l.b.addPrefix(p, r))
			return
		}
	}
	if c := word[len(word)-1]; word[0] == '.' || word[0] == '-' || c == '-' || bytes.IndexByte(word, '/') >= 0 { // part of a name
		if l.o.Format != Names {
			l.adblock(word)
			return
		}
	}
	l.host(word, Exact, line)
}

// host takes a name.
func (l *lineReader) host(text []byte, scope Scope, line []byte) {
	name, ok := appendHost(l.name[:0], text)
	if !ok {
		l.wrong(errName, line)
		return
	}
	l.name = name
	r := l.rule(scope)
	if scope&Below != 0 && !r.allow && wire.LabelCount(name) == 1 {
		l.st.wide(r.line, name)
	}
	l.st.count(l.b.add(name, r))
}

// own are names that lists in the form of /etc/hosts have since that file has them.
const own = " localhost localhost.localdomain local broadcasthost ip6-localhost ip6-loopback ip6-localnet " +
	"ip6-mcastprefix ip6-allnodes ip6-allrouters ip6-allhosts 0.0.0.0 "

func (l *lineReader) hosts(first, rest, line []byte) {
	if _, err := netip.ParseAddr(string(first)); err != nil || len(rest) == 0 {
		l.wrong(errHost, line)
		return
	}
	for len(rest) > 0 {
		var word []byte
		if word, rest = cutField(rest); strings.Contains(own, " "+strings.ToLower(string(word))+" ") {
			continue
		}
		l.host(word, Exact, line)
	}
}

func cutField(line []byte) (first, rest []byte) {
	at := bytes.IndexAny(line, " \t")
	if at < 0 {
		return line, nil
	}
	return line[:at], bytes.TrimLeft(line[at:], " \t")
}

func (l *lineReader) adblock(line []byte) {
	if name, ok := simple(line); ok { // most lines of most lists
		if at := len(name); at > 0 {
			l.host(name, Subtree, line)
			return
		}
	}
	text := string(line)
	if strings.IndexFunc(text, func(r rune) bool { return r >= utf8.RuneSelf }) >= 0 {
		text = asciiPattern(text)
	}
	a, err := l.b.parseAdblock(text, l.o.Networks)
	if err == nil {
		a.allow = a.allow || l.o.Allow
		err = l.b.addAdblock(&a, *l.rule(0), l.o.Regex, l.st)
	}
	switch {
	case err == nil:
	case errors.Is(err, errURL):
		l.st.Skipped++
	case errors.Is(err, errRegex):
		if l.st.NoRegex++; l.st.NoRegex == 1 {
			l.st.note(l.st.Lines, "regular expressions are skipped: set regex: true to use them")
		}
	default:
		l.wrong(err, line)
	}
}

// simple returns the name of ||name^.
func simple(line []byte) ([]byte, bool) {
	n := len(line)
	if n < 5 || line[0] != '|' || line[1] != '|' || line[n-1] != '^' {
		return nil, false
	}
	for _, c := range line[2 : n-1] {
		if !plain[c] {
			return nil, false
		}
	}
	return line[2 : n-1], line[2] != '.' && line[n-2] != '.'
}

// asciiPattern puts the words of a line that are beyond ASCII into the form that DNS has.
func asciiPattern(line string) string {
	isName := func(r rune) bool { return r >= utf8.RuneSelf || r < utf8.RuneSelf && plain[byte(r)] }
	var out strings.Builder
	for len(line) > 0 {
		end := strings.IndexFunc(line, func(r rune) bool { return !isName(r) })
		if end < 0 {
			end = len(line)
		}
		if word := line[:end]; word != "" {
			if ascii, err := toASCII(word); err == nil {
				word = ascii
			}
			out.WriteString(word)
		}
		if line = line[end:]; line != "" {
			out.WriteByte(line[0])
			line = line[1:]
		}
	}
	return out.String()
}

// plain are the octets of names of hosts.
var plain = func() (t [256]bool) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") {
		t[c] = true
	}
	return t
}()

// appendHost appends the wire form of a name of a host, in lower case.
func appendHost(dst, text []byte) ([]byte, bool) {
	if n := len(text); n > 1 && text[n-1] == '.' {
		text = text[:n-1]
	}
	start := len(dst)
	dst = append(dst, 0)
	at := start
	for _, c := range text {
		switch {
		case c == '.':
			if n := len(dst) - at - 1; n == 0 || n > wire.MaxLabel {
				return dst, false
			} else {
				dst[at] = byte(n)
			}
			at = len(dst)
			dst = append(dst, 0)
		case c >= utf8.RuneSelf:
			ascii, err := toASCII(string(text))
			if err != nil {
				return dst, false
			}
			return appendHost(dst[:start], []byte(ascii))
		case !plain[c]:
			return dst, false
		case c >= 'A' && c <= 'Z':
			dst = append(dst, c+'a'-'A')
		default:
			dst = append(dst, c)
		}
	}
	n := len(dst) - at - 1
	if n == 0 || n > wire.MaxLabel || len(dst)-start+1 > wire.MaxName {
		return dst, false
	}
	dst[at] = byte(n)
	return append(dst, 0), true
}

// maxSpelled is the most octets of a label before it is brought to ASCII: as many letters as a label may
// have, each in four.
const maxSpelled = 4 * wire.MaxLabel

// toASCII returns a name beyond ASCII with its labels as xn--…. What that takes grows with the square of a
// label's length: one that is too long is not looked at.
func toASCII(name string) (string, error) {
	if !utf8.ValidString(name) {
		return "", errName
	}
	for label := range strings.FieldsFuncSeq(name, func(r rune) bool { return strings.ContainsRune(".。．｡", r) }) {
		if len(label) > maxSpelled {
			return "", errName
		}
	}
	ascii, err := idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(false), idna.BidiRule()).ToASCII(name)
	for _, c := range []byte(ascii) {
		if !plain[c] {
			return "", errName
		}
	}
	return ascii, err
}

// mayBeCosmetic is a quick look at whether a line can be a rule for web pages.
func mayBeCosmetic(line []byte) bool {
	return bytes.IndexByte(line, '#') >= 0 || bytes.Contains(line, []byte("$$")) || bytes.Contains(line, []byte("$@$"))
}

// cosmetic reports whether a line is a rule for web pages, with one of the marks of these.
func cosmetic(line []byte) bool {
	for _, mark := range []string{"##", "#@#", "#?#", "#@?#", "#$#", "#@$#", "#$?#", "#@$?#", "#%#", "#@%#", "$$", "$@$"} {
		if at := bytes.Index(
			line,
			[]byte(mark),
		); at >= 0 && at+len(mark) < len(line) && line[at+len(mark)] != ' ' &&
			(at > 0 || mark != "##" || line[2] != '#') {
			return true
		}
	}
	return false
}

// Line returns a line of a list, cut off where no rule is as long.
func Line(in io.Reader, number int) (string, error) {
	r := bufio.NewReaderSize(in, maxLine)
	for {
		line, err := r.ReadSlice('\n')
		if number--; number == 0 && len(line) > 0 {
			return string(bytes.TrimSpace(line)), nil
		}
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = r.ReadSlice('\n')
		}
		if err != nil {
			return "", err
		}
	}
}
