package zonefile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"port53/internal/wire"
)

// A parser reads a zone file and what it includes.
//
// In one piece: it is the state of one reading, of which every token may change any part.
type parser struct {
	options Options
	handle  func(*Record) error
	files   []string
	errs    []error

	buffers [maxDepth + 1][]byte // of files by their depth of inclusion
	src     *source
	buf     []byte // of the tokens' source
	tokens  []token
	next    int // token to take

	origin    []byte
	owner     []byte // of the last record; empty: none yet
	ownerText []byte // as it was written, to see it again
	ownerNew  bool   // no record was handed out since owner changed
	ttl       uint32
	haveTTL   bool // $TTL was there, or a default
	lastTTL   uint32
	haveLast  bool

	record    Record
	data      []byte
	records   int
	octets    int64
	generated int
	names     []byte         // scratch
	windows   *[256][32]byte // of a bitmap of types; zero between records
}

// byteOrderMark is how some editors begin a file in UTF-8.
const byteOrderMark = "\xef\xbb\xbf"

// file reads one file, at a depth of inclusion.
func (p *parser) file(r io.Reader, number uint16, depth int) error {
	if p.buffers[depth] == nil {
		p.buffers[depth] = make([]byte, min(p.options.buffer, firstBuffer)+slack)
	}
	s := &source{r: r, buf: p.buffers[depth], full: p.options.buffer, number: number, line: 1}
	outer := p.src
	p.src = s
	defer func() { p.src, p.buffers[depth] = outer, s.buf }()
	for s.end < len(byteOrderMark) && s.more() { // a reader may give it in pieces
	}
	if bytes.HasPrefix(s.buf[:s.end], []byte(byteOrderMark)) {
		return p.report(faultf(0, "file begins with a byte order mark: save it without"))
	}
	for {
		p.octets += s.rest(p.options.MaxBytes - p.octets)
		if p.octets > p.options.MaxBytes {
			return p.stop(faultf(s.start, "zone is larger than %d octets: raise the limit if that is right", p.options.MaxBytes))
		}
		end, lines, indented, err := p.scan(s)
		if err == io.EOF {
			return nil
		}
		if s.err != nil {
			return p.report(faultf(s.end, "cannot be read: %w", cause(s.err)))
		}
		if err == nil && len(p.tokens) > 0 {
			err = p.entry(indented, depth)
		}
		if err != nil {
			if err = p.report(err); err != nil {
				return err
			}
		}
		p.octets += int64(end - s.start)
		s.line += lines
		s.start = end
	}
}

// cause strips the operation and the path from err: the place is said already.
func cause(err error) error {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		return pathError.Err
	}
	return err
}

// report collects a fault. What is no fault, or one too many, ends reading.
func (p *parser) report(err error) error {
	var f *fault
	if !errors.As(err, &f) {
		return err
	}
	p.errs = append(p.errs, &Error{Pos: p.pos(f.at), Text: f.text, Err: f.err})
	if len(p.errs) >= p.options.MaxErrors {
		p.errs = append(p.errs, ErrTooMany)
		return errStop
	}
	return nil
}

func (p *parser) stop(f *fault) error {
	p.errs = append(p.errs, &Error{Pos: p.pos(f.at), Text: f.text, Err: f.err})
	return errStop
}

// pos returns the place of offset at of the buffer, which is in the present entry.
func (p *parser) pos(at int) Pos {
	s := p.src
	text := s.buf[s.start:max(min(at, s.end), s.start)]
	line := int(s.line) + bytes.Count(text, []byte{'\n'})
	return Pos{File: p.files[s.number], Line: line, Col: len(text) - bytes.LastIndexByte(text, '\n')}
}

func (p *parser) text(t token) []byte { return p.buf[t.from():t.to()] }

// more reports whether there is another token.
func (p *parser) more() bool { return p.next < len(p.tokens) }

// take returns the next token; what says what it should be.
func (p *parser) take(what string) (token, error) {
	if p.next == len(p.tokens) {
		return 0, p.ends(what)
	}
	p.next++
	return p.tokens[p.next-1], nil
}

// end returns the offset behind the last token.
func (p *parser) end() int {
	if len(p.tokens) == 0 {
		return p.src.start
	}
	last := p.tokens[len(p.tokens)-1]
	if last.is(quoted) {
		return last.to() + 1
	}
	return last.to()
}

// entry reads the entry in p.tokens: a record or a directive.
func (p *parser) entry(indented bool, depth int) error {
	p.next = 0
	first := p.tokens[0]
	if !indented {
		text := p.text(first)
		if len(text) > 0 && text[0] == '$' && !first.is(quoted) {
			return p.directive(string(text), depth)
		}
	}
	return p.entryRecord(indented)
}

// entryRecord reads a record, whose owner is left out if the line is indented
// (RFC 1035, section 5.1).
//
// In one piece: it is the grammar of one entry (RFC 1035, section 5.1), whose parts come in
// either order.
func (p *parser) entryRecord(indented bool) error {
	r := &p.record
	first := p.tokens[0]
	if indented {
		switch {
		case len(p.owner) > 0:
		case len(p.errs) > 0:
			return nil // it may have been on a line that was refused
		default:
			return faultf(first.from(), "line begins with a space, which repeats the owner before, and there is none")
		}
	} else {
		p.next = 1
		text := p.text(first)
		if !bytes.Equal(text, p.ownerText) || first.is(quoted) || len(p.ownerText) == 0 {
			p.ownerText = p.ownerText[:0]
			var err error
			if p.names, err = p.name(p.names[:0], first); err != nil {
				return err
			}
			if !bytes.Equal(p.names, p.owner) {
				p.owner, p.names = p.names, p.owner
				p.ownerNew = true
			}
			p.ownerText = append(p.ownerText, text...)
		}
	}
	// TTL and class in either order, then the type.
	ttl, haveTTL, haveClass := uint32(0), false, false
	for {
		t, err := p.take("a type")
		if err != nil {
			return err
		}
		text := p.text(t)
		if len(text) == 2 && text[0]|0x20 == 'i' && text[1]|0x20 == 'n' && !haveClass && !t.is(quoted) {
			haveClass = true
			continue
		}
		if len(text) > 0 && text[0]-'0' < 10 && !haveTTL && !t.is(quoted) {
			if ttl, err = p.seconds(t, maxTTL); err != nil {
				return err
			}
			haveTTL = true
			p.lastTTL, p.haveLast = ttl, true
			continue
		}
		if r.Type, err = p.typeOf(t); err != nil {
			c, ok := class(text)
			switch {
			case !ok || haveClass || t.is(quoted):
				return err
			case c != wire.ClassIN:
				return faultf(t.from(), "class %s: only IN is served", c)
			}
			haveClass = true
			continue
		}
		if r.Type.IsMeta() {
			return faultf(t.from(), "type %s is for questions, not for zones", r.Type)
		}
		break
	}
	typeToken := p.tokens[p.next-1]
	if err := p.rdata(r.Type); err != nil {
		return err
	}
	if p.more() {
		extra := p.tokens[p.next]
		return faultf(extra.from(), "%q behind the data of %s: the entry should end here", p.text(extra), r.Type)
	}
	if len(p.data) > 0xFFFF {
		return faultf(typeToken.from(), "%s data has %d octets, the limit is 65535", r.Type, len(p.data))
	}
	switch {
	case haveTTL:
	case p.haveTTL:
		ttl = p.ttl
	case p.haveLast:
		ttl = p.lastTTL
	case r.Type == wire.TypeSOA:
		// Before TTLs could be left out they came from the SOA (RFC 1035, section 3.3.13).
		d := p.data[len(p.data)-4:]
		ttl = uint32(d[0])<<24 | uint32(d[1])<<16 | uint32(d[2])<<8 | uint32(d[3])
		p.lastTTL, p.haveLast = ttl, true
	case len(p.errs) > 0:
		return nil // a TTL may have come before, on a line that was refused
	default:
		return faultf(typeToken.from(), "record has no TTL, and none came before: begin the file with $TTL 3600, say")
	}
	if p.records++; p.records > p.options.MaxRecords {
		return p.stop(faultf(first.from(), "zone has more than %d records: raise the limit if that is right", p.options.MaxRecords))
	}
	r.Owner, r.SameOwner, r.TTL, r.Data = p.owner, !p.ownerNew, ttl, p.data
	p.ownerNew = false
	r.Line, r.File = p.src.line, p.src.number
	r.Col = uint32(first.from() - p.src.start + 1)
	return p.handle(r)
}

// class reads a class that a record may have.
func class(text []byte) (wire.Class, bool) {
	c, ok := wire.ParseClass(string(text))
	return c, ok && c != wire.ClassNONE && c != wire.ClassANY
}

// name appends the name in t, completed by the origin if it is relative.
func (p *parser) name(dst []byte, t token) ([]byte, error) {
	if t.is(quoted) {
		return dst, faultf(t.from()-1, "name is quoted: write it bare")
	}
	start, n := len(dst), t.size()
	in := p.buf[t.from():]
	if n == 1 && in[0] == '@' {
		return append(dst, p.origin...), nil
	}
	// Most names have neither escapes nor faults; the others go the slow way.
	if t.is(escaped) || n > wire.MaxName {
		return p.nameSlowly(dst, t)
	}
	// The text is copied behind the first length octet, so that each dot stands where
	// the length of the label behind it goes.
	if cap(dst)-start < 2*wire.MaxName+slack {
		dst = slices.Grow(dst, 2*wire.MaxName+slack)
	}
	out := dst[start : start+1+n+slack]
	label := 0
	for i := 0; i < n; i += 8 {
		w := word(in[i:])
		binary.LittleEndian.PutUint64(out[i+1:], w)
		for dots := firstN(equal(w, '.'), n-i); dots != 0; dots &= dots - 1 {
			dot := i + octetAt(dots)
			size := dot - label
			if size == 0 || size > wire.MaxLabel {
				return p.nameSlowly(dst, t)
			}
			out[label] = byte(size)
			label = dot + 1
		}
	}
	size := n - label
	if size > wire.MaxLabel {
		return p.nameSlowly(dst, t)
	}
	out[label] = byte(size)
	dst = dst[:start+1+n]
	if size > 0 {
		dst = append(dst, p.origin...)
	}
	if len(dst)-start > wire.MaxName {
		return p.nameSlowly(dst[:start], t)
	}
	return dst, nil
}

func (p *parser) nameSlowly(dst []byte, t token) ([]byte, error) {
	start := len(dst)
	text := p.text(t)
	dst, absolute, err := wire.AppendParsedName(dst, text)
	if err != nil {
		return dst, faultf(t.from(), "name %q: %w", text, err)
	}
	if !absolute {
		dst = append(dst, p.origin...)
	}
	if n := len(dst) - start; n > wire.MaxName {
		return dst, faultf(
			t.from(),
			"name %q has %d octets with its origin, the limit is %d (RFC 1035, section 2.3.4)",
			text,
			n,
			wire.MaxName,
		)
	}
	return dst, nil
}

// seconds reads a TTL or the like, of at most limit: a number of seconds, or numbers
// each with its unit (w d h m s).
func (p *parser) seconds(t token, limit uint64) (uint32, error) {
	if n := t.size(); n > 0 && n <= 8 {
		if v, ok := decimal(word(p.buf[t.from():]), n); ok {
			return v, nil // eight digits pass no limit
		}
	}
	const ceiling = 1 << 40 // far beyond any limit, far from overflow
	total, n, digits, units := uint64(0), uint64(0), false, false
	for i, c := range p.text(t) {
		switch {
		case c-'0' < 10:
			n = min(n*10+uint64(c-'0'), ceiling)
			digits = true
			continue
		case !digits:
			c = 0 // a unit without a number
		}
		switch c | 0x20 {
		case 'w':
			n *= 7 * 86400
		case 'd':
			n *= 86400
		case 'h':
			n *= 3600
		case 'm':
			n *= 60
		case 's':
		default:
			return 0, faultf(t.from()+i, "TTL %q: expected seconds, or numbers each with its unit w, d, h, m or s", p.text(t))
		}
		total = min(total+n, ceiling)
		n, digits, units = 0, false, true
	}
	switch {
	case digits == units: // the last number has no unit though others have, or there is none
		return 0, faultf(t.from(), "TTL %q: expected seconds, or numbers each with its unit w, d, h, m or s", p.text(t))
	case total+n <= limit:
		return uint32(total + n), nil
	case limit == maxTTL:
		return 0, faultf(t.from(), "TTL %s is larger than %d (RFC 2181, section 8)", p.text(t), limit)
	}
	return 0, faultf(t.from(), "%s is larger than %d seconds", p.text(t), limit)
}

// directive reads an entry that begins with $.
func (p *parser) directive(word string, depth int) error {
	at := p.tokens[0].from()
	p.next = 1
	switch strings.ToUpper(word) {
	case "$ORIGIN":
		t, err := p.take("a name")
		if err != nil {
			return err
		}
		origin, err := p.name(nil, t)
		if err == nil {
			err = p.endOf(word)
		}
		if err != nil {
			return err
		}
		if w := p.options.Warn; w != nil && len(p.origin) > 1 && len(origin) == 2*len(p.origin)-1 &&
			wire.EqualFold(origin[:len(p.origin)-1], p.origin[:len(p.origin)-1]) {
			w(
				&Error{
					Pos:  p.pos(t.from()),
					Text: "$ORIGIN is " + string(wire.AppendName(nil, origin)) + ", which is the name twice: a dot is missing at its end",
				},
			)
		}
		p.setOrigin(origin)
		return nil
	case "$TTL":
		t, err := p.take("a TTL")
		if err != nil {
			return err
		}
		ttl, err := p.seconds(t, maxTTL)
		if err == nil {
			err = p.endOf(word)
		}
		if err != nil {
			return err
		}
		p.ttl, p.haveTTL = ttl, true
		return nil
	case "$INCLUDE":
		return p.include(depth)
	case "$GENERATE":
		return p.generate()
	}
	return faultf(at, "directive %s is not known: expected $ORIGIN, $TTL, $INCLUDE or $GENERATE", printable(word))
}

// printable returns s without its quotes but with what is not printable escaped.
func printable(s string) string {
	quoted := strconv.Quote(s)
	return quoted[1 : len(quoted)-1]
}

// endOf wants the entry of a directive to end.
func (p *parser) endOf(word string) error {
	if !p.more() {
		return nil
	}
	extra := p.tokens[p.next]
	return faultf(extra.from(), "%q behind %s: the line should end here", p.text(extra), word)
}

// setOrigin replaces the origin; what was written relative to the old one is not the
// same name any more.
func (p *parser) setOrigin(origin []byte) {
	p.origin = append(p.origin[:0], origin...)
	p.ownerText = p.ownerText[:0]
}

// include reads another file in place of the entry. Origin and owner are what they
// were when it ends (RFC 1035, section 5.1).
func (p *parser) include(depth int) error {
	t, err := p.take("a file name")
	if err != nil {
		return err
	}
	name, err := p.unescape(nil, t)
	if err != nil {
		return err
	}
	file := string(name)
	at := t.from()
	origin := bytes.Clone(p.origin)
	if p.more() {
		if t, err = p.take("a name"); err != nil {
			return err
		}
		if origin, err = p.name(nil, t); err != nil {
			return err
		}
	}
	if err := p.endOf("$INCLUDE"); err != nil {
		return err
	}
	switch {
	case p.options.FS == nil:
		return faultf(at, "$INCLUDE is not possible here")
	case depth >= maxDepth:
		return faultf(at, "$INCLUDE nested deeper than %d files", maxDepth)
	case file == "" || path.IsAbs(file) || !fs.ValidPath(path.Clean(file)):
		return faultf(at, "$INCLUDE %q: only files in the zone file's own directory or below can be included", file)
	case len(p.files) == maxFiles:
		return faultf(at, "more than %d files are included", maxFiles-1)
	}
	// The path is relative to the zone file, not to the file that includes. What is no
	// plain file is not even opened: that could wait for ever.
	file = path.Clean(file)
	info, err := fs.Stat(p.options.FS, file)
	if err != nil {
		return faultf(at, "$INCLUDE %q: %w", file, cause(err))
	}
	if !info.Mode().IsRegular() {
		return faultf(at, "$INCLUDE %q: not a plain file", file)
	}
	f, err := p.options.FS.Open(file)
	if err != nil {
		return faultf(at, "$INCLUDE %q: %w", file, cause(err))
	}
	defer f.Close() // it was only read
	number := uint16(len(p.files))
	p.files = append(p.files, file)
	oldOrigin, oldOwner := bytes.Clone(p.origin), bytes.Clone(p.owner)
	p.setOrigin(origin)
	tokens := p.tokens // those of the outer file are done with
	err = p.file(f, number, depth+1)
	p.tokens = tokens
	p.setOrigin(oldOrigin)
	p.owner = append(p.owner[:0], oldOwner...)
	p.ownerNew = true // what was handed out last may be the included file's
	return err
}
