package engine_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"port53/internal/engine"
	"port53/internal/tsig"
	"port53/internal/wire"
)

// TestNoOctetIsKeptForNothing has clients that take exactly as much as the reply to them is
// long: it goes out whole. For one octet less it is truncated.
func TestNoOctetIsKeptForNothing(t *testing.T) {
	expire := []byte{0, wire.OptionExpire, 0, 0}
	asked := func(size int, option []byte) []byte {
		q := dropOPT(query(t, "text.example. TXT"))
		q = wire.AppendOPT(q, uint16(size), false, option)
		return patch(q, 11, 1)
	}
	for _, algorithm := range []tsig.Algorithm{tsig.HMACSHA224, tsig.HMACSHA256, tsig.HMACSHA384, tsig.HMACSHA512} {
		key := tsig.Key{Name: []byte("\x03key\x00"), Algorithm: algorithm, Secret: []byte("0123456789abcdef")}
		for what, option := range map[string][]byte{"nothing": nil, "EXPIRE": expire} {
			t.Run(fmt.Sprintf("%s with %s", algorithm, what), func(t *testing.T) {
				w := newWorker(t, engine.Generation{Keys: tsig.NewRing(key)})
				signed := func(size int) []byte {
					msg, _ := tsig.SignRequest(&key, asked(size, option), time.Now())
					return handle(w, msg, udpPeer)
				}
				whole := len(signed(1232))
				if got := signed(whole); len(got) != whole || got[2]&2 != 0 {
					t.Errorf("%d octets for a client that takes %d, flags %x", len(got), whole, got[2])
				}
				if got := signed(whole - 1); got[2]&2 == 0 {
					t.Errorf("%d octets, not truncated, for a client that takes %d", len(got), whole-1)
				}
			})
		}
	}
	w := newWorker(t, engine.Generation{})
	whole := len(handle(w, asked(1232, expire), udpPeer))
	if got := handle(w, asked(whole, expire), udpPeer); len(got) != whole || got[2]&2 != 0 {
		t.Errorf("EXPIRE with TXT: %d octets for a client that takes %d, flags %x", len(got), whole, got[2])
	}
}

// dropOPT returns a question without its OPT record.
func dropOPT(msg []byte) []byte {
	msg = bytes.Clone(msg)
	if binary.BigEndian.Uint16(msg[10:]) == 1 {
		msg = msg[:len(msg)-11]
		binary.BigEndian.PutUint16(msg[10:], 0)
	}
	return msg
}

// TestCookieAloneIsNoError has clients that ask for a cookie and nothing else, oftener than
// errors may be had: what is beyond the limit of such replies is a cookie too, every other
// time, and no error of the same network counts for it.
func TestCookieAloneIsNoError(t *testing.T) {
	alone := append([]byte{0, 53, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 12, 0, 10, 0, 8}, "8octets!"...)
	w := newWorker(t, engine.Generation{Limits: limiting(t)})
	for range 5 {
		handle(w, query(t, "www.example.com. A"), udpPeer) // REFUSED, and soon nothing
	}
	got := 0
	for i := range 6 {
		reply := handle(w, alone, udpPeer)
		if len(reply) == 0 {
			continue
		}
		got++
		rcode, opts := options(t, reply)
		if len(opts[wire.OptionCookie]) != 24 || i < 2 && rcode != wire.NoError {
			t.Errorf("reply %d: %s, %v", i, rcode, opts)
		}
	}
	if got != 4 {
		t.Errorf("%d replies of 6, want 2 and every other one of 4", got)
	}
	for range 3 {
		if reply := handle(w, alone, tcpPeer); len(reply) == 0 {
			t.Error("over TCP: nothing")
		}
	}
}
