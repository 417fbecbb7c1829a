package zonefile

import (
	"strings"

	"port53/internal/wire"
)

// Mnemonics of up to eight letters are found by their letters as one number, in a
// small table; the rest, and TYPEnnn, by package wire.

const typeSlots = 512

type typeSlot struct {
	key uint64
	t   wire.Type
}

//nolint:gochecknoglobals // read-only
var typeTable = makeTypeTable()

func makeTypeTable() *[typeSlots]typeSlot {
	var table [typeSlots]typeSlot
	for n := range 1 << 16 {
		t := wire.Type(n)
		name := t.String()
		if len(name) > 8 || strings.HasPrefix(name, "TYPE") {
			continue
		}
		key := letters([]byte(name))
		slot := typeHash(key)
		for table[slot].key != 0 {
			slot = (slot + 1) % typeSlots
		}
		table[slot] = typeSlot{key, t}
	}
	return &table
}

// letters packs up to eight octets, ASCII letters in upper case.
func letters(text []byte) uint64 {
	var key uint64
	for _, c := range text {
		if c-'a' < 26 {
			c -= 'a' - 'A'
		}
		key = key<<8 | uint64(c)
	}
	return key
}

func typeHash(key uint64) uint64 { return key * 0x9E3779B97F4A7C15 >> 55 % typeSlots }

// typeOf reads a type.
func (p *parser) typeOf(t token) (wire.Type, error) {
	text := p.text(t)
	if len(text) <= 8 && len(text) > 0 && !t.quoted {
		key := letters(text)
		for slot := typeHash(key); typeTable[slot].key != 0; slot = (slot + 1) % typeSlots {
			if typeTable[slot].key == key {
				return typeTable[slot].t, nil
			}
		}
	}
	if found, ok := wire.ParseType(string(text)); ok && !t.quoted {
		return found, nil
	}
	return 0, faultf(int(t.from), "%q is not a record type", text)
}
