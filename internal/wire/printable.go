package wire

import (
	"strings"
	"unicode"
)

// Printable returns text that came from the network for people to read: what controls a
// terminal, ends a line or cannot be seen becomes a question mark, and what is no UTF-8
// the replacement character.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r != ' ' && !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// NameText returns a name in presentation form, as [AppendName] writes it.
func NameText(name []byte) string { return string(AppendName(nil, name)) }
