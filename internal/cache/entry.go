package cache

import (
	"encoding/binary"
	"sync/atomic"

	"port53/internal/wire"
)

// The words of an entry's head. What follows is the name; for an answer a word with
// its header's flags (16) and counts (3 × 16), and then the offsets of its TTLs, four
// to a word; and the body. Name, offsets and body are each filled up to whole words.
const (
	wordKey  = iota // words 12, name's length 8, kind 4, variant 8, type 16, partition 16
	wordMeta        // mark 8, security 8, rank 8, negative 8 (an answer's mark fills rank and negative too), rcode 16, EDE+1 16
	wordTime        // expires 32, stored 32
	wordBody        // TTL 32, body's length 16, number of TTL offsets 16
	headWords
)

const (
	wordsShift = 52
	maxWords   = maxEntry / 8 // fits into 12 bits
)

// An entry is what is written, unpacked.
type entry struct {
	Key
	security Security
	rank     Rank
	negative uint8
	rcode    wire.Rcode
	ede      int16
	expires  uint32
	stored   uint32
	ttl      uint32
	flags    uint16
	counts   [3]uint16
	ttls     []uint16
	body     []byte
}

// words returns how many words the entry takes.
func (e *entry) words() int {
	n := headWords + wordsOf(len(e.name)) + wordsOf(len(e.body))
	if e.kind == kindAnswer {
		n += 1 + (len(e.ttls)+3)/4
	}
	return n
}

func wordsOf(octets int) int { return (octets + 7) / 8 }

// word returns the first word of an entry with the key, without its size.
func (k *Key) word() uint64 {
	return uint64(len(k.name))<<44 | uint64(k.kind)<<40 | uint64(k.variant)<<32 | uint64(k.typ)<<16 | uint64(k.part)
}

func wordsIn(first uint64) int      { return int(first >> wordsShift) }
func nameLenIn(first uint64) int    { return int(first >> 44 & 0xFF) }
func kindIn(first uint64) kind      { return kind(first >> 40 & 0xF) }
func viewIn(first uint64) uint8     { return uint8(first>>32) >> viewShift }
func expiresIn(times uint64) uint32 { return uint32(times >> 32) }
func storedIn(times uint64) uint32  { return uint32(times) }
func rankIn(meta uint64) Rank       { return Rank(meta >> 40) }
func rcodeIn(meta uint64) wire.Rcode {
	return wire.Rcode(meta >> 16)
}
func securityIn(meta uint64) Security { return Security(meta >> 48) }
func negativeIn(meta uint64) bool     { return meta>>32&0xFF != 0 }

// An answer's mark has 24 bits.
func markIn(meta uint64) uint32 { return uint32(meta>>56)<<16 | uint32(meta>>32)&0xFFFF }

func withMark(meta uint64, mark uint32) uint64 {
	return meta&^(0xFF<<56|0xFFFF<<32) | uint64(mark>>16&0xFF)<<56 | uint64(mark&0xFFFF)<<32
}

func edeIn(meta uint64) int { return int(uint16(meta)) - 1 }

// left returns the seconds until an entry expires, or since then, negative. It counts
// on with 32 bits: no entry is half of 2^32 seconds away from now.
func left(times uint64, now int64) int64 { return int64(int32(expiresIn(times) - uint32(now))) }

// age returns the seconds since an entry was stored: none if the clock was set back.
func age(times uint64, now int64) uint32 {
	return uint32(max(int32(uint32(now)-storedIn(times)), 0))
}

// pack writes the entry into the words of a ring, which are as many as it takes.
func (e *entry) pack(room []uint64) {
	store := func(i int, w uint64) { atomic.StoreUint64(&room[i], w) }
	store(wordKey, e.word()|uint64(len(room))<<wordsShift)
	store(wordMeta, uint64(e.security)<<48|uint64(e.rank)<<40|uint64(e.negative)<<32|uint64(e.rcode)<<16|uint64(uint16(e.ede+1)))
	store(wordTime, uint64(e.expires)<<32|uint64(e.stored))
	store(wordBody, uint64(e.ttl)<<32|uint64(len(e.body))<<16|uint64(len(e.ttls)))
	at := headWords
	at += packBytes(room[at:], e.name)
	if e.kind == kindAnswer {
		store(at, uint64(e.flags)<<48|uint64(e.counts[0])<<32|uint64(e.counts[1])<<16|uint64(e.counts[2]))
		at++
		for ttls := e.ttls; len(ttls) > 0; at++ {
			n := min(len(ttls), 4)
			var w uint64
			for j, t := range ttls[:n] {
				w |= uint64(t) << (16 * j)
			}
			store(at, w)
			ttls = ttls[n:]
		}
	}
	packBytes(room[at:], e.body)
}

func packBytes(room []uint64, b []byte) (words int) {
	for ; len(b) >= 8; words++ {
		atomic.StoreUint64(&room[words], binary.LittleEndian.Uint64(b))
		b = b[8:]
	}
	if len(b) > 0 {
		atomic.StoreUint64(&room[words], word(b))
		words++
	}
	return words
}

// copyWords copies a whole entry to its place in a ring.
func copyWords(room, e []uint64) {
	for i, w := range e {
		atomic.StoreUint64(&room[i], w)
	}
}

// unpack copies n octets out of words to dst, which has room for them. It may write up
// to the next multiple of eight.
func unpack(dst []byte, n int, words []uint64) {
	whole := len(dst) >= wordsOf(n)*8
	i := 0
	for ; n >= 8 || n > 0 && whole; i++ {
		binary.LittleEndian.PutUint64(dst, atomic.LoadUint64(&words[i]))
		dst, n = dst[8:], n-8
	}
	if n > 0 {
		var last [8]byte
		binary.LittleEndian.PutUint64(last[:], atomic.LoadUint64(&words[i]))
		copy(dst[:n], last[:])
	}
}

// word returns fewer than eight octets as the word that they are packed into.
func word(b []byte) uint64 {
	switch n := len(b); {
	case n >= 4:
		return uint64(binary.LittleEndian.Uint32(b)) | uint64(binary.LittleEndian.Uint32(b[n-4:]))<<(8*(n-4))
	case n > 0:
		return uint64(b[0]) | uint64(b[n/2])<<(8*(n/2)) | uint64(b[n-1])<<(8*(n-1))
	}
	return 0
}

// nameIs reports whether the name that begins at words is this one, of the same length.
func nameIs(words []uint64, name []byte) bool {
	for len(name) >= 8 {
		if atomic.LoadUint64(&words[0]) != binary.LittleEndian.Uint64(name) {
			return false
		}
		words, name = words[1:], name[8:]
	}
	return len(name) == 0 || atomic.LoadUint64(&words[0]) == word(name)
}

// nameRoom is room for the longest name, in whole words.
type nameRoom [(wire.MaxName + 7) / 8 * 8]byte

// nameOf copies the name of an entry into room.
func nameOf(e []uint64, room *nameRoom) []byte {
	n := nameLenIn(e[wordKey])
	unpack(room[:], n, e[headWords:])
	return room[:n]
}
