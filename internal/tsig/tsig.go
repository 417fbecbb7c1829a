package tsig

import (
	"crypto/hmac"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"time"

	"port53/internal/wire"
)

// Fudge is by how many seconds clocks may differ (RFC 8945, section 10).
const Fudge = 300

// A Context is what is known of one signed request, to sign the replies to it.
type Context struct {
	Key   *Key       // who signed it; nil unless the request was accepted or its time alone is wrong
	Error wire.Rcode // 0: the request was accepted; else BADKEY, BADSIG, BADTIME or BADTRUNC

	key    *Key // to sign with; nil for replies that are not signed
	record record
}

// decoy is the key that requests with an unknown one are checked with, so that they
// take as long as others with the same algorithm.
func decoy(algorithm []byte) *Key {
	k := &Key{Algorithm: HMACSHA256, Secret: make([]byte, 32)}
	for a := HMACSHA256; a <= HMACSHA512; a++ {
		if wire.EqualFold(algorithm, a.Name()) {
			k.Algorithm = a
		}
	}
	return k
}

// Verify checks the signature of a request. Without one, the context is nil and the
// rcode NoError. FORMERR means that the record is malformed, and there is no context;
// NOTAUTH that the request is not to be acted on, and the context's Error says why
// (RFC 8945, section 5.2).
func Verify(keys Keys, msg []byte, now time.Time) (*Context, wire.Rcode) {
	r, err := find(msg)
	switch {
	case err != nil:
		return nil, wire.FormErr
	case r == nil:
		return nil, wire.NoError
	case len(r.mac) < minMAC:
		return nil, wire.FormErr
	}
	c := &Context{record: record{
		name: append([]byte(nil), r.name...), algorithm: append([]byte(nil), r.algorithm...),
		mac: append([]byte(nil), r.mac...), signed: r.signed, fudge: r.fudge, id: r.id,
	}}
	key := keys.Key(wire.Lower(nil, r.name))
	if key != nil && !wire.EqualFold(r.algorithm, key.Algorithm.Name()) {
		key = nil
	}
	use := key
	if use == nil {
		use = decoy(r.algorithm)
	}
	if len(r.mac) > use.Algorithm.Size() && key != nil {
		return nil, wire.FormErr // RFC 8945, section 5.2.2.1
	}
	h := use.mac()
	head, rest := r.bare(msg)
	h.Write(head[:])
	h.Write(rest)
	h.Write(r.appendVariables(nil))
	sum := h.Sum(nil)
	same := hmac.Equal(sum[:min(len(r.mac), len(sum))], r.mac)
	switch {
	case key == nil:
		c.Error = wire.BadKey
	case !same || 2*len(r.mac) < len(sum):
		c.Error = wire.BadSig
	case r.apart(now) > int64(min(r.fudge, Fudge)):
		c.Error, c.Key, c.key = wire.BadTime, key, key
	case len(r.mac) < len(sum):
		c.Error, c.key = wire.BadTrunc, key // a shorter code protects less than the key's owner asked for
	default:
		c.Key, c.key = key, key
		return c, wire.NoError
	}
	return c, wire.NotAuth
}

// Replayed makes replies say BADTIME: the request was acted on before (RFC 8945, section
// 5.2.3).
func (c *Context) Replayed() { c.Error = wire.BadTime }

// Overhead returns the octets that Sign and Stream.Sign append at most.
func (c *Context) Overhead() int {
	n := len(c.record.name) + 10 + len(c.record.algorithm) + 16
	if c.Error == wire.BadTime {
		n += timeLen
	}
	if c.key != nil {
		n += c.key.Algorithm.Size()
	}
	return n
}

// timeLen is the octets of a time, which is sent beside BADTIME.
const timeLen = 6

// Sign appends the TSIG record of a reply to the request. Those that the request was
// refused with for its key or its signature are not signed (RFC 8945, section 5.3.2).
func (c *Context) Sign(msg []byte, now time.Time) []byte { return c.Stream().Sign(msg, now) }

// Stream returns what signs the messages of one reply, in their order.
func (c *Context) Stream() *Stream { return &Stream{c: c, prior: c.record.mac} }

// A Stream signs the messages of one reply.
type Stream struct {
	c     *Context
	prior []byte
	later bool
}

// Overhead returns the octets that Sign appends at most.
func (s *Stream) Overhead() int { return s.c.Overhead() }

// Sign appends the TSIG record of the next message.
func (s *Stream) Sign(msg []byte, now time.Time) []byte {
	c := s.c
	r := record{
		name: c.record.name, algorithm: c.record.algorithm, signed: uint64(now.Unix()), fudge: Fudge,
		id: binary.BigEndian.Uint16(msg), err: c.Error,
	}
	if c.Error == wire.BadTime {
		// The client's time, so that it can verify this, and ours beside it (RFC 8945,
		// section 5.2.3).
		r.signed, r.other = c.record.signed, appendTime(nil, uint64(now.Unix()))
	}
	if c.key == nil {
		r.signed = c.record.signed
		return r.append(msg)
	}
	h := c.key.mac()
	writePrior(h, s.prior)
	h.Write(msg)
	if s.later {
		h.Write(r.appendTimers(nil))
	} else {
		h.Write(r.appendVariables(nil))
	}
	r.mac = h.Sum(nil)
	s.prior, s.later = r.mac, true
	return r.append(msg)
}

// writePrior writes the code that came before, with its length (RFC 8945, section
// 4.3.1).
func writePrior(h hash.Hash, mac []byte) {
	h.Write(binary.BigEndian.AppendUint16(nil, uint16(len(mac))))
	h.Write(mac)
}

// SignRequest appends the TSIG record of a request, and returns what verifies the
// reply.
func SignRequest(k *Key, msg []byte, now time.Time) ([]byte, *Verifier) {
	r := record{
		name: k.Name, algorithm: k.Algorithm.Name(), signed: uint64(now.Unix()), fudge: Fudge,
		id: binary.BigEndian.Uint16(msg),
	}
	h := k.mac()
	h.Write(msg)
	h.Write(r.appendVariables(nil))
	r.mac = h.Sum(nil)
	return r.append(msg), &Verifier{key: k, prior: r.mac}
}

// RequestOverhead returns the octets that SignRequest appends.
func RequestOverhead(k *Key) int {
	return len(k.Name) + 10 + len(k.Algorithm.Name()) + 16 + k.Algorithm.Size()
}

// A Verifier checks the messages of the reply to a signed request.
type Verifier struct {
	key      *Key
	prior    []byte
	h        hash.Hash // over what came since the last signature
	unsigned int
	later    bool
}

// maxUnsigned is how many messages of a stream may come between two signatures
// (RFC 8945, section 5.3.1).
const maxUnsigned = 99

// The errors of replies, which Verify wraps.
var (
	ErrUnsigned = errors.New("tsig: the reply is not signed")
	ErrBadSig   = errors.New("tsig: BADSIG: the signature is wrong")
	ErrBadTime  = errors.New("tsig: BADTIME")
	ErrRefused  = errors.New("tsig: the server refused the signature")
)

// Verify checks the next message of the reply.
func (v *Verifier) Verify(msg []byte, now time.Time) error {
	r, err := find(msg)
	if err != nil {
		return err
	}
	if v.h == nil {
		v.h = v.key.mac()
		writePrior(v.h, v.prior)
	}
	if r == nil {
		if v.unsigned++; !v.later || v.unsigned > maxUnsigned {
			return ErrUnsigned
		}
		v.h.Write(msg)
		return nil
	}
	if !wire.EqualFold(r.name, v.key.Name) || !wire.EqualFold(r.algorithm, v.key.Algorithm.Name()) {
		return fmt.Errorf("%w: it has another key or algorithm", ErrBadSig)
	}
	if len(r.mac) == 0 && (r.err == wire.BadKey || r.err == wire.BadSig) {
		return fmt.Errorf("%w: %s", ErrRefused, explain(r))
	}
	head, rest := r.bare(msg)
	v.h.Write(head[:])
	v.h.Write(rest)
	if v.later {
		v.h.Write(r.appendTimers(nil))
	} else {
		v.h.Write(r.appendVariables(nil))
	}
	sum := v.h.Sum(nil)
	if !hmac.Equal(sum, r.mac) {
		return ErrBadSig
	}
	v.prior, v.h, v.unsigned, v.later = sum, nil, 0, true
	if r.err != 0 {
		return fmt.Errorf("%w: %s", ErrRefused, explain(r))
	}
	if d := r.apart(now); d > int64(r.fudge) {
		return fmt.Errorf("%w: the clocks differ by %d s", ErrBadTime, d)
	}
	return nil
}

// Done reports whether the last message was signed, as the last of a stream has to be.
func (v *Verifier) Done() error {
	if !v.later || v.unsigned > 0 {
		return fmt.Errorf("%w at its end", ErrUnsigned)
	}
	return nil
}

// explain says what a server's TSIG error means.
func explain(r *record) string {
	switch r.err {
	case wire.BadKey:
		return "BADKEY: it does not know key " + string(wire.AppendName(nil, r.name)) + ", or has it with another algorithm"
	case wire.BadSig:
		return "BADSIG: its secret is another"
	case wire.BadTime:
		if len(r.other) == timeLen {
			theirs := int64(binary.BigEndian.Uint16(r.other))<<32 | int64(binary.BigEndian.Uint32(r.other[2:]))
			return fmt.Sprintf("BADTIME: its clock differs from ours by %d s", theirs-int64(r.signed))
		}
		return "BADTIME: the clocks differ"
	case wire.BadTrunc:
		return "BADTRUNC: it wants a longer signature"
	}
	return "TSIG error " + r.err.String()
}
