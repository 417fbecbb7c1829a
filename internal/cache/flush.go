package cache

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync/atomic"

	"port53/internal/wire"
)

// Flush forgets all that is known of a name, which is in lower case.
func (c *Cache) Flush(name []byte) {
	hash := c.hash(name)
	s := c.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(func(at int) bool {
		return int(s.load(at+wordKey)>>40&0xFF) == len(name) && s.nameIs(at, name)
	})
}

// FlushTree forgets all that is known of a name, which is in lower case, and of those
// below it. It looks at every entry, shard by shard.
func (c *Cache) FlushTree(name []byte) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		var room [wire.MaxName + 9]byte
		s.drop(func(at int) bool { return wire.Subdomain(s.name(at, room[:]), name) })
		s.mu.Unlock()
	}
}

// FlushAll forgets everything.
func (c *Cache) FlushAll() {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.drop(func(int) bool { return true })
		s.mu.Unlock()
	}
}

// drop takes out of the index what match says. The lock is held.
func (s *shard) drop(match func(at int) bool) {
	tail := s.tail.Load()
	for i := range s.index {
		v := atomic.LoadUint64(&s.index[i]) & slotPos
		if v != 0 && v-1 >= tail && match(s.at(v-1)) {
			atomic.StoreUint64(&s.index[i], 0)
		}
	}
}

// Stats are the sizes of a cache.
type Stats struct {
	Entries int   // those that have expired and were not replaced, too
	Octets  int64 // of these entries
	Size    int64 // of all memory that the cache may touch
}

// Stats counts what is in the cache, looking at every entry.
func (c *Cache) Stats() Stats {
	var st Stats
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		st.Size += int64(len(s.ring)+len(s.index)) * 8
		tail := s.tail.Load()
		for i := range s.index {
			if v := atomic.LoadUint64(&s.index[i]) & slotPos; v != 0 && v-1 >= tail {
				st.Entries++
				st.Octets += int64(s.load(s.at(v-1))>>wordsShift)*8 + 8
			}
		}
		s.mu.Unlock()
	}
	return st
}

// dumpMagic begins a dump. Its last digit is the version of the format: for each entry
// its octets as a 32-bit number, a CRC-32C of them, and the words, little endian. A
// zero length ends the dump.
const dumpMagic = "port53 cache 1\n"

// ErrDump is wrapped by what Load returns for something that is not a whole dump.
var ErrDump = errors.New("not a whole dump of a cache")

// Dump writes all entries, with the times at which they expire.
func (c *Cache) Dump(w io.Writer) error {
	out := bufio.NewWriterSize(w, 1<<16)
	_, _ = out.WriteString(dumpMagic) // the last write tells
	table := crc32.MakeTable(crc32.Castagnoli)
	var words []byte
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		tail := s.tail.Load()
		words = words[:0]
		for i := range s.index {
			v := atomic.LoadUint64(&s.index[i]) & slotPos
			if v == 0 || v-1 < tail {
				continue
			}
			at := s.at(v - 1)
			n := int(s.load(at) >> wordsShift)
			start := len(words)
			words = append(words, 0, 0, 0, 0, 0, 0, 0, 0)
			for j := range n {
				words = binary.LittleEndian.AppendUint64(words, s.load(at+j))
			}
			binary.LittleEndian.PutUint32(words[start:], uint32(n*8))
			binary.LittleEndian.PutUint32(words[start+4:], crc32.Checksum(words[start+8:], table))
		}
		s.mu.Unlock()
		_, _ = out.Write(words)
	}
	_, _ = out.Write(make([]byte, 8))
	return out.Flush()
}

// Load reads a dump, and keeps what has not expired by now, nor longer ago than what
// is stale may be. It returns the number of entries it kept. What comes before a
// fault is kept; the error wraps [ErrDump], or is the reader's.
func (c *Cache) Load(r io.Reader, now int64) (kept int, err error) {
	in := bufio.NewReaderSize(r, 1<<16)
	table := crc32.MakeTable(crc32.Castagnoli)
	magic := make([]byte, len(dumpMagic))
	if _, err := io.ReadFull(in, magic); err != nil || string(magic) != dumpMagic {
		return 0, fmt.Errorf("%w: it does not begin with %q", ErrDump, dumpMagic)
	}
	var head [8]byte
	room := make([]byte, maxEntry)
	for {
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return kept, fmt.Errorf("%w: it ends after %d entries", ErrDump, kept)
		}
		n := int(binary.LittleEndian.Uint32(head[:]))
		if n == 0 {
			return kept, nil
		}
		if n > maxEntry || n%8 != 0 || n < headWords*8 {
			return kept, fmt.Errorf("%w: an entry of %d octets", ErrDump, n)
		}
		if _, err := io.ReadFull(in, room[:n]); err != nil {
			return kept, fmt.Errorf("%w: it ends within an entry", ErrDump)
		}
		if crc32.Checksum(room[:n], table) != binary.LittleEndian.Uint32(head[4:]) {
			return kept, fmt.Errorf("%w: an entry does not have its checksum", ErrDump)
		}
		if c.restore(room[:n], now) {
			kept++
		}
	}
}

// restore puts one entry of a dump back.
func (c *Cache) restore(b []byte, now int64) bool {
	words := make([]uint64, len(b)/8)
	for i := range words {
		words[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	first, meta, body := words[wordKey], words[wordMeta], words[wordBody]
	kind := uint8(first >> 32)
	nameLen, bodyLen, marks := int(first>>40&0xFF), int(body>>16&0xFFFF), int(body&0xFFFF)
	size := headWords + (nameLen+7)/8 + (marks+3)/4 + (bodyLen+7)/8
	if int(first>>wordsShift) != len(words) || size != len(words) || kind < kindAnswer || kind > kindFailure {
		return false
	}
	name := b[headWords*8 : headWords*8+nameLen]
	if n, err := wire.CheckName(name); err != nil || n != nameLen {
		return false
	}
	expires, stored := uint32(words[wordTime]>>32), uint32(words[wordTime])
	if int64(int32(expires-uint32(now))) < -int64(c.o.Stale) || int32(stored-uint32(now)) > 0 {
		return false
	}
	k := Key{name, wire.Type(first >> 16), uint16(first), uint8(meta >> 56), kind}
	hash := c.hash(name)
	s := c.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if slot, _, _ := s.find(hash, &k); slot != nil {
		return false // what was learned since is better
	}
	s.append(c, hash, words, 0)
	return true
}
