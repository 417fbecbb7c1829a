package wire

import (
	"errors"
	"fmt"
)

// AppendName appends a name in presentation form, absolute, with what is not plain
// escaped as \X or \DDD (RFC 1035, section 5.1; RFC 4343, section 2.1). It never
// ends a line, opens a quote or controls a terminal.
func AppendName(dst, name []byte) []byte {
	if len(name) == 0 || name[0] == 0 {
		return append(dst, '.')
	}
	for i := 0; i < len(name) && name[i] != 0; {
		end := min(i+int(name[i])+1, len(name))
		for _, c := range name[i+1 : end] {
			dst = appendNameOctet(dst, c)
		}
		dst = append(dst, '.')
		i = end
	}
	return dst
}

func appendNameOctet(dst []byte, c byte) []byte {
	switch {
	case c <= ' ' || c >= 0x7F:
		return appendDecimal(dst, c)
	case c == '.' || c == '\\' || c == '"' || c == ';' || c == '(' || c == ')' || c == '@' || c == '$':
		return append(dst, '\\', c)
	}
	return append(dst, c)
}

func appendDecimal(dst []byte, c byte) []byte {
	return append(dst, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
}

// ErrEmptyName is the fault of a name without any character.
var ErrEmptyName = errors.New("name is empty; the root is written as a dot")

// ParseName reads a name in presentation form. It is taken as absolute whether or
// not it ends in a dot. The error says what is wrong, without the name.
func ParseName(s string) ([]byte, error) {
	name := make([]byte, 0, len(s)+2)
	name, absolute, err := AppendParsedName(name, s)
	if err != nil {
		return nil, err
	}
	if !absolute {
		name = append(name, 0)
	}
	if len(name) > MaxName {
		return nil, fmt.Errorf("name has %d octets, the limit is %d", len(name), MaxName)
	}
	return name, nil
}

// AppendParsedName appends the labels of a name in presentation form, and the
// root's if it ends in a dot; else absolute is false and the caller appends an
// origin, and checks the length of the whole.
func AppendParsedName[S string | []byte](dst []byte, s S) (name []byte, absolute bool, err error) {
	if len(s) == 0 {
		return dst, false, ErrEmptyName
	}
	if len(s) == 1 && s[0] == '.' {
		return append(dst, 0), true, nil
	}
	start := len(dst) // of the present label
	dst = append(dst, 0)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch c {
		case '.':
			n := len(dst) - start - 1
			if n == 0 {
				return dst, false, errors.New("empty label: two dots in a row, or one at the start")
			}
			if n > MaxLabel {
				return dst, false, fmt.Errorf("label has %d octets, the limit is %d", n, MaxLabel)
			}
			dst[start] = byte(n)
			start = len(dst)
			dst = append(dst, 0)
			if i == len(s)-1 {
				return dst, true, nil
			}
			continue
		case '\\':
			if i+1 >= len(s) {
				return dst, false, errors.New(`\ at the end of a name: an octet must follow`)
			}
			i++
			c = s[i]
			if c-'0' <= 9 {
				if i+2 >= len(s) || s[i+1]-'0' > 9 || s[i+2]-'0' > 9 {
					return dst, false, errors.New(`escape wants three digits, as in \032`)
				}
				v := int(c-'0')*100 + int(s[i+1]-'0')*10 + int(s[i+2]-'0')
				if v > 255 {
					return dst, false, fmt.Errorf(`escape \%d is larger than 255`, v)
				}
				c = byte(v)
				i += 2
			}
		}
		dst = append(dst, c)
	}
	n := len(dst) - start - 1
	if n > MaxLabel {
		return dst, false, fmt.Errorf("label has %d octets, the limit is %d", n, MaxLabel)
	}
	dst[start] = byte(n)
	return dst, false, nil
}
