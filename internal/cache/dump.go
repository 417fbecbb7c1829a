package cache

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"port53/internal/wire"
)

// anyMagic begins dumps of all formats.
const anyMagic = "port53 cache "

// dumpMagic begins a dump. Its last number is the version of the format: for each entry
// its octets as a 32-bit number, a CRC-32C of them, and the words, little endian. A
// zero length ends the dump.
const dumpMagic = anyMagic + "3\n"

// ErrDump is wrapped by what Load returns for something that is not a whole dump.
var ErrDump = errors.New("not a whole dump of a cache")

// IsDump reports whether a file that begins with head is a dump, in whatever format. One
// that a crash has left empty, or without what was written, is.
func IsDump(head []byte) bool {
	n := min(len(head), len(anyMagic))
	return string(head[:n]) == anyMagic[:n] || bytes.Count(head, []byte{0}) == len(head)
}

// Dump writes all entries but failures, with the times at which they expire by the system's
// clock, the oldest of each shard first. Each shard is locked while it is copied, not while it is written;
// readers never wait.
func (c *Cache) Dump(w io.Writer) error {
	out := bufio.NewWriterSize(w, 1<<16)
	_, _ = out.WriteString(dumpMagic) // the last write tells
	var octets []byte
	var positions []uint64
	ahead := c.ahead()
	for i := range c.shards {
		octets, positions = c.shards[i].dump(octets[:0], positions[:0], ahead)
		if _, err := out.Write(octets); err != nil {
			return err
		}
	}
	_, _ = out.Write(make([]byte, 8))
	return out.Flush()
}

// dump appends the entries of a shard to dst, their times set back by so many seconds. It uses,
// and returns, room for positions.
func (s *shard) dump(dst []byte, positions []uint64, ahead uint32) ([]byte, []uint64) {
	table := crc32.MakeTable(crc32.Castagnoli)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.used() {
		if v := s.slot(i); v != 0 {
			positions = append(positions, v&slotPos)
		}
	}
	slices.SortFunc(positions, cmp.Compare)
	for _, pos := range positions {
		e := s.entry(pos)
		if kindIn(e[wordKey]) == kindFailure {
			continue
		}
		start := len(dst)
		dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0)
		for i, w := range e {
			switch {
			case i == wordTime:
				w = shift(w, -ahead)
			case i == wordMeta && kindIn(e[wordKey]) == kindAnswer:
				w = withMark(w, 0) // it is of this run
			}
			dst = binary.LittleEndian.AppendUint64(dst, w)
		}
		binary.LittleEndian.PutUint32(dst[start:], uint32(len(e)*8))
		binary.LittleEndian.PutUint32(dst[start+4:], crc32.Checksum(dst[start+8:], table))
	}
	return dst, positions
}

// Load reads a dump, and keeps what has not expired by now, the system's time, nor longer ago than what
// is stale may be, and of which nothing newer is known. It returns the number of
// entries it kept. What comes before a fault is kept; the error wraps [ErrDump], or is
// the reader's.
func (c *Cache) Load(r io.Reader, now int64) (kept int, err error) {
	in := bufio.NewReaderSize(r, 1<<16)
	table := crc32.MakeTable(crc32.Castagnoli)
	fault := func(err error, where string) error {
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("reading the dump of a cache: %w", err)
		}
		return fmt.Errorf("%w: %s", ErrDump, where)
	}
	var magic [len(dumpMagic)]byte
	if _, err := io.ReadFull(in, magic[:]); err != nil || string(magic[:]) != dumpMagic {
		return 0, fault(err, fmt.Sprintf("it does not begin with %q", dumpMagic))
	}
	var head [8]byte
	room, words, ahead := make([]byte, maxEntry), make([]uint64, maxWords), c.ahead()
	for {
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return kept, fault(err, fmt.Sprintf("it ends early, after %d entries that were kept", kept))
		}
		n := int(binary.LittleEndian.Uint32(head[:]))
		if n == 0 {
			return kept, nil
		}
		if n > maxEntry || n%8 != 0 || n < headWords*8 {
			return kept, fault(nil, fmt.Sprintf("an entry of %d octets", n))
		}
		if _, err := io.ReadFull(in, room[:n]); err != nil {
			return kept, fault(err, "it ends within an entry")
		}
		if crc32.Checksum(room[:n], table) != binary.LittleEndian.Uint32(head[4:]) {
			return kept, fault(nil, "an entry does not have its checksum")
		}
		for i := range n / 8 {
			words[i] = binary.LittleEndian.Uint64(room[8*i:])
		}
		words[wordTime] = shift(words[wordTime], ahead)
		if kindIn(words[wordKey]) == kindAnswer {
			words[wordMeta] = withMark(words[wordMeta], 0)
		}
		if c.restore(words[:n/8], now+int64(ahead)) {
			kept++
		}
	}
}

// restore puts one entry of a dump back. What this version cannot have written, or is
// not wanted any more, is left out.
func (c *Cache) restore(words []uint64, now int64) bool {
	first, meta, times, sizes := words[wordKey], words[wordMeta], words[wordTime], words[wordBody]
	k := Key{typ: wire.Type(first >> 16), part: uint16(first), variant: uint8(first >> 32), kind: kindIn(first)}
	if viewIn(first) != 0 {
		return false // which views there are, and by what numbers, may be others now
	}
	size := headWords + wordsOf(nameLenIn(first)) + wordsOf(int(sizes>>16&0xFFFF))
	switch k.kind {
	case kindAnswer:
		if k.part != 0 {
			return false // it was made for some clients, by settings that may be others now
		}
		size += 1 + (int(sizes&0xFFFF)+3)/4
	case kindRRset:
	case kindDenial, kindDelegation:
		if k.typ != 0 {
			return false
		}
	default:
		return false
	}
	if wordsIn(first) != len(words) || size != len(words) || securityIn(meta) > Bogus {
		return false
	}
	var room nameRoom
	k.name = nameOf(words, &room)
	if n, err := wire.CheckName(k.name); err != nil || n != len(k.name) {
		return false
	}
	ttl, left := uint32(sizes>>32), left(times, now)
	if left < -int64(c.o.Stale) || left > int64(ttl) || ttl > c.o.MaxTTL || expiresIn(times)-storedIn(times) != ttl {
		return false
	}
	s, hash := c.locate(&k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if slot, _, _ := s.find(hash, &k); slot != nil {
		return false
	}
	s.reserve(c, len(words), 0, uint32(now))
	pos := s.place(hash, k.kind, len(words))
	at := s.offset(pos)
	copyWords(s.ring[at:at+len(words)], words)
	s.publish(c, hash.key, pos)
	return true
}
