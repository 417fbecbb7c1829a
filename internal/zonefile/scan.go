package zonefile

import (
	"bytes"
	"io"
)

// A token is a piece of an entry: where it begins and ends in the buffer, without its
// quotes, and what it is. It is one word, because many are made.
type token uint64

// What a token is.
const (
	quoted  token = 1 << (2*tokenBits + iota)
	glued         // follows the token before without a space
	escaped       // has a backslash; not told of one that is quoted

	tokenBits = 28 // an entry is far shorter
)

func newToken(from, to int, flags token) token { return token(from) | token(to)<<tokenBits | flags }

func (t token) from() int          { return int(t & (1<<tokenBits - 1)) }
func (t token) to() int            { return int(t >> tokenBits & (1<<tokenBits - 1)) }
func (t token) size() int          { return t.to() - t.from() }
func (t token) is(flag token) bool { return t&flag != 0 }

// Classes of octets.
const (
	plain = iota
	space
	newline
	comment
	open
	shut
	quote
	escape
	control
)

var classes = [256]uint8{
	0: control, 1: control, 2: control, 3: control, 4: control, 5: control, 6: control, 7: control, 8: control,
	11: control, 12: control, 14: control, 15: control, 16: control, 17: control, 18: control, 19: control,
	20: control, 21: control, 22: control, 23: control, 24: control, 25: control, 26: control, 27: control,
	28: control, 29: control, 30: control, 31: control, 127: control,
	' ': space, '\t': space, '\r': space,
	'\n': newline, ';': comment, '(': open, ')': shut, '"': quote, '\\': escape,
}

// A source is one file and the part of it that is in memory.
type source struct {
	r     io.Reader
	buf   []byte // with slack behind what can be read
	full  int    // octets that buf grows to for a file that goes on
	start int    // of what is not yet taken
	end   int    // of what was read
	eof   bool
	err   error

	number uint16
	line   uint32 // of buf[start]
	within bool   // buf[start] is within a line that is skipped
}

// more reads on, moving what is not yet taken to the front. It returns false if
// the end was there before: then nothing has changed, and no offset either.
func (s *source) more() bool {
	if s.eof {
		return false
	}
	if s.start > 0 {
		copy(s.buf, s.buf[s.start:s.end])
		s.end -= s.start
		s.start = 0
	}
	// It begins small, because most zones are, and grows as the file turns out large
	// or an entry long.
	if size := len(s.buf) - slack; s.end == size || size < s.full && s.line > 1 {
		grown := make([]byte, max(2*size, min(s.full, 8*size))+slack)
		copy(grown, s.buf[:s.end])
		s.buf = grown
	}
	// The buffer is filled as far as it goes: an entry that is not whole is scanned
	// again from its start.
	n, err := io.ReadFull(s.r, s.buf[s.end:len(s.buf)-slack])
	s.end += n
	if err != nil {
		s.eof = true
		if err != io.EOF && err != io.ErrUnexpectedEOF {
			s.err = err
		}
	}
	return true
}

// scan splits the entry at s.start into p.tokens and returns where it ends, how
// many lines it takes and whether it begins with a space. It returns io.EOF if
// there is none.
//
// In one piece: it is one automaton, and its states share the position.
func (p *parser) scan(s *source) (end int, lines uint32, indented bool, err error) {
again:
	buf, full := s.buf[:s.end], s.buf
	tokens := p.tokens[:0]
	i, depth, opened := s.start, 0, 0
	lines = 0
	indented = i < len(buf) && classes[buf[i]] == space
	last := -1 // where the token before ended
	p.buf = full
	for {
		if i >= len(buf) {
			if len(buf)-s.start > maxEntry {
				end, lines = s.skipLine(i-1, lines)
				return end, lines, indented, faultf(
					s.start,
					"entry is longer than %d octets: is a parenthesis or a quote not closed?",
					maxEntry,
				)
			}
			p.tokens = tokens
			switch {
			case s.more():
				goto again
			case s.err != nil: // the caller looks at it
			case depth > 0:
				err = faultf(opened, "parenthesis is not closed")
			case i == s.start:
				err = io.EOF
			}
			return i, lines, indented, err
		}
		// Nearly all are plain words and the spaces between them.
		class := classes[buf[i]]
		if class == space {
			i++
			continue
		}
		if class == plain || class == escape {
			from, flags := i, token(0)
			for i < len(buf) {
				m := notPlain(word(full[i:]))
				if m == 0 {
					i += 8
					continue
				}
				if i += octetAt(m); i >= len(buf) {
					break
				}
				if class = classes[buf[i]]; class == plain {
					i++
					continue
				}
				if class != escape {
					break
				}
				flags |= escaped
				if i, err = p.escape(s, i); err != nil {
					end, lines = s.skipLine(min(i, len(buf)-1), lines)
					return end, lines, indented, err
				}
			}
			i = min(i, len(buf))
			if from == last {
				flags |= glued
			}
			tokens = append(tokens, newToken(from, i, flags))
			last = i
			continue
		}
		switch class {
		case newline:
			i++
			lines++
			if depth == 0 {
				p.tokens = tokens
				return i, lines, indented, nil
			}
		case comment:
			if n := bytes.IndexByte(buf[i:], '\n'); n >= 0 {
				i += n
			} else {
				i = len(buf)
			}
		case open:
			if depth == 0 {
				opened = i
			}
			depth++
			i++
		case shut:
			if depth == 0 {
				end, lines = s.skipLine(i, lines)
				return end, lines, indented, faultf(i, "parenthesis is closed but was not opened")
			}
			depth--
			i++
		case quote:
			from, flags := i+1, quoted
			if i == last {
				flags |= glued
			}
			if i, err = p.quoted(s, from); err != nil {
				end, lines = s.skipLine(min(i, len(buf)-1), lines)
				return end, lines, indented, err
			}
			if i < len(buf) {
				tokens = append(tokens, newToken(from, i, flags))
				i++
				last = i
			}
		default:
			end, lines = s.skipLine(i, lines)
			return end, lines, indented, faultf(i, "control character 0x%02x: write it as \\%03d", buf[i], buf[i])
		}
	}
}

// escape returns where the word goes on behind the backslash at i; at the end of the
// buffer if there is more to read.
func (p *parser) escape(s *source, i int) (int, error) {
	rest := s.buf[i+1 : s.end]
	switch {
	case len(rest) > 0 && rest[0] == '\n' || len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n':
		return i, faultf(i, `\ at the end of a line: an octet must follow`)
	case len(rest) == 0 && s.eof:
		return i, faultf(i, `\ at the end of the file: an octet must follow`)
	}
	return min(i+2, s.end), nil
}

// quoted returns where the quoted string that begins at i ends; at the end of the
// buffer if there is more to read.
func (p *parser) quoted(s *source, i int) (int, error) {
	from := i
	for i < s.end {
		m := notQuoted(word(s.buf[i:]))
		if m == 0 {
			i += 8
			continue
		}
		if i += octetAt(m); i >= s.end {
			break
		}
		switch c := s.buf[i]; {
		case c == '"':
			return i, nil
		case c == '\\' && (i+1 >= s.end || s.buf[i+1] != '\n'):
			i += 2
		default:
			return i, faultf(from-1, "the quotation mark is not closed on this line: add the closing \"")
		}
	}
	if s.eof {
		return s.end, faultf(from-1, "the quotation mark is not closed: add the closing \"")
	}
	return s.end, nil
}

// skipLine returns the end of the line that i is in, and lines with it counted. If
// the end is not in memory yet, what is left of the line is for rest to take.
func (s *source) skipLine(i int, lines uint32) (end int, counted uint32) {
	if n := bytes.IndexByte(s.buf[i:s.end], '\n'); n >= 0 {
		return i + n + 1, lines + 1
	}
	s.within = true
	return s.end, lines
}

// rest takes what is left of a line that is skipped, or as much of it as passes
// limit, and returns how much it was.
func (s *source) rest(limit int64) (octets int64) {
	for s.within && octets <= limit {
		n := bytes.IndexByte(s.buf[s.start:s.end], '\n')
		if n < 0 {
			octets += int64(s.end - s.start)
			s.start = s.end
			if !s.more() {
				return octets
			}
			continue
		}
		octets += int64(n + 1)
		s.start += n + 1
		s.line++
		s.within = false
	}
	return octets
}
