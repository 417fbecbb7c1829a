package upstream

import (
	"crypto/rand"
	"encoding/binary"
	"sync"
)

// Entropy hands out random bits of the system's generator, which it asks for many at a
// time. What was handed out is wiped. The zero value is ready.
type Entropy struct {
	mu  sync.Mutex
	buf [512]byte
	n   int // octets left at the end of buf
}

// Uint64 returns 64 random bits.
func (e *Entropy) Uint64() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.n < 8 {
		_, _ = rand.Read(e.buf[:]) // it never fails
		e.n = len(e.buf)
	}
	b := e.buf[len(e.buf)-e.n:][:8]
	e.n -= 8
	v := binary.NativeEndian.Uint64(b)
	clear(b)
	return v
}

// Below returns a random number below n.
func (e *Entropy) Below(n uint32) uint32 {
	return uint32(e.Uint64() >> 32 * uint64(n) >> 32)
}

// mixCase copies name to dst with each letter's case at random.
func (e *Entropy) mixCase(dst, name []byte) {
	var bits uint64
	left := 0
	for i := 0; i < len(name); {
		n := int(name[i])
		dst[i] = name[i]
		i++
		for end := i + n; i < end; i++ {
			c := name[i]
			if c|0x20 >= 'a' && c|0x20 <= 'z' {
				if left == 0 {
					bits, left = e.Uint64(), 64
				}
				c = c&^0x20 | byte(bits&1)<<5
				bits >>= 1
				left--
			}
			dst[i] = c
		}
	}
}
