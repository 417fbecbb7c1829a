package telemetry

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"sync/atomic"
)

const (
	clientSets = 1024 // of four words: 4,096 client networks are told apart in a second
	clientWays = 4

	// Operation is one client network, as in response rate limiting.
	prefix4 = 24
	prefix6 = 56
)

// A clientTable counts the log lines of each client network in the present second,
// in fixed memory. Where more networks come than fit, the one with the fewest lines
// is forgotten: a flood from many networks gets more lines than it should, which the
// limit in octets bounds, and costs no other network its own.
type clientTable struct {
	limit uint64
	seed  [3]uint64
	sets  [clientSets][clientWays]atomic.Uint64
}

// A word of the table: tag 24, second 20 (modulo 12 days), lines 20.
const (
	lineBits   = 20
	lineMask   = 1<<lineBits - 1
	secondMask = 1<<20 - 1
	tagShift   = 40

	clientTries = 4 // of a change that another worker got ahead of; then the line is dropped
)

func newClientTable(limit int) *clientTable {
	t := &clientTable{limit: min(uint64(limit), lineMask)}
	var random [8 * len(t.seed)]byte
	rand.Read(random[:]) // never fails
	for i := range t.seed {
		t.seed[i] = binary.LittleEndian.Uint64(random[8*i:]) | 1
	}
	return t
}

// admit reports whether client may have one more line in the second, and counts it.
func (t *clientTable) admit(client netip.Addr, second int64) bool {
	var x, family uint64
	if client = client.Unmap(); client.Is4() {
		a := client.As4()
		x, family = uint64(binary.BigEndian.Uint32(a[:])>>(32-prefix4)), 4
	} else {
		a := client.As16()
		x, family = binary.BigEndian.Uint64(a[:8])>>(64-prefix6), 6
	}
	hi, lo := bits.Mul64(x^t.seed[0], t.seed[1]+2*family)
	hi, lo = bits.Mul64(hi^lo, t.seed[2])
	h := hi ^ lo
	set := &t.sets[h%clientSets]
	now := uint64(second) & secondMask
	fresh := h>>tagShift<<tagShift | now<<lineBits | 1
	for range clientTries {
		victim, old := 0, uint64(0)
		fewest := ^uint64(0)
		for i := range set {
			word := set[i].Load()
			lines := word & lineMask
			if word>>lineBits&secondMask != now {
				lines = 0 // of another second: free
			}
			if lines > 0 && word>>tagShift == h>>tagShift {
				victim, old, fewest = i, word, lines
				break
			}
			if lines < fewest {
				victim, old, fewest = i, word, lines
			}
		}
		next := fresh
		if fewest > 0 && old>>tagShift == h>>tagShift {
			if fewest >= t.limit {
				return false
			}
			next = old + 1
		}
		if set[victim].CompareAndSwap(old, next) {
			return true
		}
	}
	return false
}
