package zonefile

import (
	"bytes"
	"io"
)

// A token is a piece of an entry: buffer[from:to], without its quotes.
type token struct {
	from, to int32
	quoted   bool
	glued    bool // follows the token before without a space
	escaped  bool // has a \; not told of one that is quoted
}

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

//nolint:gochecknoglobals // read-only
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
func (p *parser) scan(s *source) (end int, lines uint32, indented bool, err error) {
again:
	p.tokens = p.tokens[:0]
	buf := s.buf[:s.end]
	i, depth, opened := s.start, 0, 0
	lines = 0
	indented = i < len(buf) && classes[buf[i]] == space
	last := -1 // where the token before ended
	full := s.buf
	p.buf = full
entry:
	for {
		if i >= len(buf) {
			if len(buf)-s.start > maxEntry {
				end, lines = s.skipLine(i-1, lines)
				return end, lines, indented, faultf(s.start, "entry is longer than %d octets: is a parenthesis or a quote not closed?", maxEntry)
			}
			if s.more() {
				goto again
			}
			if s.err != nil {
				return i, lines, indented, nil // the caller looks at s.err
			}
			if depth > 0 {
				return i, lines, indented, faultf(opened, "parenthesis is not closed")
			}
			if i == s.start {
				return i, lines, indented, io.EOF
			}
			return i, lines, indented, nil
		}
		switch c := buf[i]; classes[c] {
		case space:
			i++
		case newline:
			i++
			lines++
			if depth == 0 {
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
			from, open := i+1, true
			for i++; i < len(buf) && open; {
				m := notQuoted(word(full[i:]))
				if m == 0 {
					i += 8
					continue
				}
				i += octetAt(m)
				switch {
				case i >= len(buf):
				case buf[i] == '"':
					open = false
				case buf[i] == '\\' && (i+1 >= len(buf) || buf[i+1] != '\n'):
					i += 2
				default:
					end, lines = s.skipLine(i, lines)
					return end, lines, indented, faultf(from-1, "quote is not closed on its line")
				}
			}
			if open {
				if s.eof {
					return len(buf), lines, indented, faultf(from-1, "quote is not closed")
				}
				i = len(buf)
				continue // more is wanted
			}
			p.tokens = append(p.tokens, token{from: int32(from), to: int32(i), quoted: true, glued: from-1 == last})
			i++
			last = i
		case control:
			end, lines = s.skipLine(i, lines)
			return end, lines, indented, faultf(i, "control character 0x%02x: write it as \\%03d", c, c)
		default:
			from, escaped := i, false
		word:
			for i <= len(buf) {
				m := notPlain(word(full[i:]))
				if m == 0 {
					i += 8
					continue
				}
				i += octetAt(m)
				if i >= len(buf) {
					break
				}
				switch classes[buf[i]] {
				case plain:
					i++
				case escape:
					if rest := buf[i+1:]; len(rest) > 0 && rest[0] == '\n' || len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n' {
						end, lines = s.skipLine(i, lines)
						return end, lines, indented, faultf(i, `\ at the end of a line: an octet must follow`)
					}
					escaped = true
					if i += 2; i > len(buf) {
						if s.eof {
							return len(buf), lines, indented, faultf(from, `\ at the end of the file: an octet must follow`)
						}
						continue entry // more is wanted
					}
				default:
					break word
				}
			}
			i = min(i, len(buf))
			p.tokens = append(p.tokens, token{from: int32(from), to: int32(i), escaped: escaped, glued: from == last})
			last = i
		}
	}
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
