package engine

import (
	"encoding/binary"
	"fmt"
	"time"

	"port53/internal/event"
	"port53/internal/policy"
	"port53/internal/server"
	"port53/internal/telemetry"
	"port53/internal/tsig"
	"port53/internal/wire"
)

// Octets of what OPT may hold.
const (
	optHeader    = 11 // root, type, class, TTL, length (RFC 6891, section 6.1.2)
	optionHeader = 4
	cookieSize   = 24 // client's 8 and ours of 16 (RFC 9018, section 4)
	maxNSID      = 128
	maxPadding   = 512
	maxEDEText   = 64 // no longer than a line
	maxWhy       = len(" why=") + event.IDLen
	tailSize     = optHeader + 6*optionHeader + 4 + cookieSize + maxNSID + 2 + 2 + maxEDEText + maxWhy + maxPadding
)

// reserve returns the octets that OPT and TSIG will take, but for an Extended DNS Error,
// which only goes with replies that are otherwise short, and for padding, which
// takes what is left.
func (w *worker) reserve() int {
	q, g := &w.query, w.gen
	n := 0
	if q.TSIG != nil {
		n = q.TSIGErrorLen() + tsig.SizeOf(q.TSIGAlgorithm()) // with BADTIME goes a time, and with no error a record
	}
	if !q.EDNS {
		return n
	}
	n += optHeader
	if q.Cookie != nil && g.Limits.Cookies != nil {
		n += optionHeader + cookieSize
	}
	if q.NSID && len(g.Identity.NSID) > 0 {
		n += optionHeader + min(len(g.Identity.NSID), maxNSID)
	}
	if w.keepsAlive() {
		n += optionHeader + 2
	}
	if q.Expire && q.Opcode == wire.OpcodeQuery && q.Type == wire.TypeSOA {
		n += optionHeader + 4
	}
	return n
}

// checkCookie verifies the client's cookie. Whoever has one of ours did receive a
// reply at its address before.
func (w *worker) checkCookie() {
	w.cookie = true
	c := w.query.Cookie
	if len(c) == 8 {
		w.record.Cookie(telemetry.CookieClient)
		return
	}
	valid, _ := w.gen.Limits.Cookies.Verify([8]byte(c), w.peer.Remote.Addr(), c[8:], uint32(time.Now().Unix()))
	if !valid {
		w.record.Cookie(telemetry.CookieBad)
		return
	}
	w.record.Cookie(telemetry.CookieValid)
	w.limited, w.genuine = false, true
}

// buildTail writes what ends a reply before it is signed: OPT if the query had one.
func (w *worker) buildTail(rcode wire.Rcode) (tail []byte, records int) {
	q := &w.query
	t := w.tail[:0]
	if q.EDNS {
		t = w.appendOPT(t, rcode)
		records++
	}
	return t, records
}

func (w *worker) appendOPT(t []byte, rcode wire.Rcode) []byte {
	q, g := &w.query, w.gen
	t = t[:optHeader]
	t[0] = 0
	binary.BigEndian.PutUint16(t[1:], uint16(wire.TypeOPT))
	binary.BigEndian.PutUint16(t[3:], uint16(g.Limits.UDPSize))
	t[5], t[6], t[7], t[8] = byte(rcode>>4), 0, 0, 0
	if q.DO {
		t[7] = 0x80 // RFC 3225, section 3
	}
	if w.compact {
		t[7] |= 0x40 // RFC 9824, section 5.1
	}
	if w.cookie {
		t = append(t, 0, wire.OptionCookie, 0, cookieSize)
		t = append(t, q.Cookie[:8]...)
		t = g.Limits.Cookies.Append(t, [8]byte(q.Cookie), w.peer.Remote.Addr(), uint32(time.Now().Unix()))
	}
	if q.NSID && len(g.Identity.NSID) > 0 {
		id := g.Identity.NSID[:min(len(g.Identity.NSID), maxNSID)]
		t = append(t, 0, wire.OptionNSID, 0, byte(len(id)))
		t = append(t, id...)
	}
	if w.keepsAlive() {
		t = append(t, 0, wire.OptionKeepalive, 0, 2, byte(w.peer.Idle>>8), byte(w.peer.Idle))
	}
	if q.Expire && q.Opcode == wire.OpcodeQuery && q.Type == wire.TypeSOA && rcode == wire.NoError {
		if e := w.view.Zones.Get(q.Name.Name()); e != nil {
			if left, ok := e.Expire(time.Now()); ok {
				t = append(t, 0, wire.OptionExpire, 0, 4)
				t = binary.BigEndian.AppendUint32(t, left)
			}
		}
	}
	if w.ede >= 0 {
		var space [maxEDEText + maxWhy]byte
		text := w.appendWhy(append(space[:0], w.edeText[:min(len(w.edeText), maxEDEText)]...))
		if room := w.builder.Room() - len(t) - optionHeader - 2; room >= 0 {
			text = text[:min(len(text), room)]
			t = append(t, 0, wire.OptionEDE, 0, byte(2+len(text)), byte(w.ede>>8), byte(w.ede))
			t = append(t, text...)
		}
	}
	if block := w.padding(); q.Padding && block > 0 {
		n := w.builder.Len() + len(t) + optionHeader
		n = (block - n%block) % block
		n = min(n, maxPadding, w.builder.Room()-len(t)-optionHeader)
		if n >= 0 {
			t = append(t, 0, wire.OptionPadding, byte(n>>8), byte(n))
			t = append(t, zeros[:n]...)
		}
	}
	binary.BigEndian.PutUint16(t[9:], uint16(len(t)-optHeader))
	return t
}

var zeros [maxPadding]byte

// keepsAlive reports whether the client is told how long its connection may be idle, which only
// TCP and TLS have (RFC 7828, section 3.2; RFC 9250, section 5.5.2).
func (w *worker) keepsAlive() bool {
	return w.query.Keepalive && (w.peer.Transport == server.TCP || w.peer.Transport == server.DoT)
}

// padding returns what replies that are padded are a multiple of; 0: they are not padded.
func (w *worker) padding() int {
	switch w.peer.Transport {
	case server.UDP:
		return 0
	case server.TCP:
		return w.gen.Limits.Padding
	}
	return w.gen.Limits.EncryptedPadding
}

// What answers of the server itself are limited by, all together, and what replies are that
// bring a cookie and answer nothing else.
const (
	chaosKey     = 1
	cookieKey    = 2
	discoveryKey = 3
)

// chaos answers what may be known of the server itself (RFC 4892), which is
// nothing unless configured.
func (w *worker) chaos() int {
	q := &w.query
	var text string
	switch string(q.Name.Name()) {
	case "\x07version\x04bind\x00", "\x07version\x06server\x00":
		text = w.gen.Identity.Version
	case "\x08hostname\x04bind\x00", "\x02id\x06server\x00":
		text = w.gen.Identity.Hostname
	}
	if text == "" || q.Type != wire.TypeTXT && q.Type != wire.TypeANY {
		w.reason = event.NotSupported
		return w.fail(wire.Refused, wire.EDEProhibited)
	}
	text = text[:min(len(text), 255)]
	rr := w.builder.Grow(wire.Answer, 13+len(text), 1)
	if rr == nil {
		w.builder.Truncate()
		return w.deliver(policy.Positive, chaosKey)
	}
	copy(
		rr,
		[]byte{0xC0, wire.HeaderLen, 0, byte(wire.TypeTXT), 0, byte(wire.ClassCH), 0, 0, 0, 0, 0, byte(1 + len(text)), byte(len(text))},
	)
	copy(rr[13:], text)
	return w.deliver(policy.Positive, chaosKey)
}

// contain answers SERVFAIL for a query that made us panic: one query is lost, not
// the server. It is counted, and the first is logged with its packet, so that the
// fault can be mended.
func (w *worker) contain(fault any, msg, reply []byte) int {
	w.record.Panic()
	if w.engine.panicked.CompareAndSwap(false, true) {
		w.engine.log.Error("internal error: a query caused a panic: please report it",
			"fault", fmt.Sprint(fault), "packet", fmt.Sprintf("%x", msg))
	}
	if len(msg) < wire.HeaderLen || len(reply) < wire.HeaderLen {
		w.record.Drop(telemetry.DropFault, w.peer.Transport, len(msg))
		return 0
	}
	n := copy(reply, msg[:wire.HeaderLen])
	clear(reply[4:n])
	reply[2] = reply[2]&0x79 | 0x80 // opcode and RD stay, QR is set
	reply[3] = byte(wire.ServFail)
	w.record.Record(&telemetry.Event{Transport: w.peer.Transport, Rcode: wire.ServFail, Query: len(msg), Reply: n, Nanos: -1})
	if w.events.Wants() != 0 {
		w.query.Msg, w.query.HasQuestion = msg, false // its name may be what is wrong
		w.tellEvent(wire.ServFail, n, reply[:n])
	}
	return n
}
