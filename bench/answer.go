package main

import (
	"bytes"
	"encoding/binary"
	"hash/fnv"

	"port53/conformance/probe"
)

// address returns what a name in the zones of the resolvers' suites resolves to:
// its first label tells, so that an answer to another question shows. It lies in
// the network for benchmarks (RFC 2544, appendix C.2.2).
func address(label []byte) [4]byte {
	h := fnv.New32a()
	h.Write(label)
	sum := h.Sum32()
	sum ^= sum >> 16 // 17 bits are kept
	return [4]byte{198, 18 | byte(sum>>16&1), byte(sum >> 8), byte(sum)}
}

// right says whether reply answers query, which has one question of type A: with
// the same question, NOERROR and the address that belongs to the name, and with
// AD if that is wanted.
func right(query, reply []byte, secure bool) bool {
	end := nameEnd(query, 12) + 4
	if end > len(query) || end > len(reply) || !bytes.Equal(query[12:end], reply[12:end]) {
		return false
	}
	if reply[3]&15 != 0 || binary.BigEndian.Uint16(reply[4:]) != 1 || secure && reply[3]&0x20 == 0 {
		return false
	}
	want := address(query[13 : 13+int(query[12])])
	off := end
	for range binary.BigEndian.Uint16(reply[6:]) {
		fixed := nameEnd(reply, off)
		data := fixed + 10
		if data > len(reply) {
			return false
		}
		n := int(binary.BigEndian.Uint16(reply[fixed+8:]))
		if off = data + n; off > len(reply) {
			return false
		}
		if binary.BigEndian.Uint16(reply[fixed:]) == probe.TypeA {
			return n == 4 && bytes.Equal(reply[data:off], want[:])
		}
	}
	return false
}

// nameEnd returns where the name at off ends, at most behind the message.
func nameEnd(b []byte, off int) int {
	for off < len(b) {
		switch n := int(b[off]); {
		case n == 0:
			return off + 1
		case n >= 0xc0:
			return off + 2
		default:
			off += 1 + n
		}
	}
	return off
}
