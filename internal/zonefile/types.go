package zonefile

import "port53/internal/wire"

// Mnemonics of up to eight letters are found by their letters as one number, in a
// small table; the rest, and TYPEnnn, by package wire.

const typeSlots = 512

type typeSlot struct {
	key uint64
	t   wire.Type
}

var typeTable = makeTypeTable()

func makeTypeTable() *[typeSlots]typeSlot {
	var table [typeSlots]typeSlot
	for t, name := range wire.Mnemonics {
		if len(name) > 8 {
			continue
		}
		var padded [8]byte
		copy(padded[:], name)
		key := letters(word(padded[:]))
		slot := typeHash(key)
		for table[slot].key != 0 {
			slot = (slot + 1) % typeSlots
		}
		table[slot] = typeSlot{key, t}
	}
	return &table
}

// letters makes upper and lower case the same. It makes others the same too, but of
// what is plain in a word only such as no mnemonic has.
func letters(w uint64) uint64 { return w &^ (0x20 * ones) }

func typeHash(key uint64) uint64 { return key * 0x9E3779B97F4A7C15 >> 55 % typeSlots }

// typeOf reads a type.
func (p *parser) typeOf(t token) (wire.Type, error) {
	if n := t.size(); n <= 8 && n > 0 && !t.is(quoted) {
		key := letters(firstN(word(p.buf[t.from():]), n))
		for slot := typeHash(key); typeTable[slot].key != 0; slot = (slot + 1) % typeSlots {
			if typeTable[slot].key == key {
				return typeTable[slot].t, nil
			}
		}
	}
	text := p.text(t)
	if found, ok := wire.ParseType(string(text)); ok && !t.is(quoted) {
		return found, nil
	}
	return 0, faultf(t.from(), "%q is not a record type", text)
}
