package doh

import (
	"bytes"
	"net"
	"net/http/httptest"
	"testing"
	"time"

	"port53/internal/wire"
)

func TestFreshness(t *testing.T) {
	name := []byte("\x01a\x04test\x00")
	record := func(typ wire.Type, ttl uint32, data ...byte) []byte {
		b := append(bytes.Clone(name), 0, byte(typ), 0, 1, byte(ttl>>24), byte(ttl>>16), byte(ttl>>8), byte(ttl), 0, byte(len(data)))
		return append(b, data...)
	}
	soa := func(ttl uint32, minimum byte) []byte {
		return record(wire.TypeSOA, ttl, append(make([]byte, 21), minimum)...)
	}
	message := func(answers, authority int, records ...[]byte) []byte {
		b := wire.AppendQuery(nil, 0, wire.FlagQR, name, wire.TypeA)
		b[7], b[9] = byte(answers), byte(authority)
		return append(b, bytes.Join(records, nil)...)
	}
	for _, tt := range []struct {
		name string
		msg  []byte
		want uint32
	}{
		{"the smallest", message(3, 0, record(wire.TypeA, 600, 1, 2, 3, 4), record(wire.TypeA, 30, 1, 2, 3, 4), record(wire.TypeA, 300, 1, 2, 3, 4)), 30},
		{"of the answer alone", message(1, 1, record(wire.TypeA, 600, 1, 2, 3, 4), record(wire.TypeNS, 5, 0)), 600},
		{"a denial", message(0, 1, soa(900, 60)), 60},
		{"a denial that ends sooner", message(0, 1, soa(9, 60)), 9},
		{"nothing", message(0, 0), 0},
		{"a referral", message(0, 1, record(wire.TypeNS, 900, 0)), 0},
		{"cut off", message(2, 0, record(wire.TypeA, 600, 1, 2, 3, 4)), 0},
		{"no message", []byte{1, 2, 3}, 0},
		{"more than there is", message(1, 0, record(wire.TypeA, 1<<31, 1, 2, 3, 4)), 1<<31 - 1},
	} {
		if got := freshness(tt.msg); got != tt.want {
			t.Errorf("%s: %d seconds, want %d", tt.name, got, tt.want)
		}
	}
}

// FuzzRequest reads anything as a question in a URL, in a body, and as an answer whose lifetime
// is looked for: what is not refused is a message that DNS can have.
func FuzzRequest(f *testing.F) {
	f.Add("dns=AAABAAABAAAAAAAAA3d3dwR0ZXN0AAABAAE", []byte("body"), "for=192.0.2.1")
	f.Add("dns=&dns=%", []byte{}, `for="[::1]:4"`)
	f.Fuzz(func(t *testing.T, raw string, body []byte, chain string) {
		if q, why := fromURL(raw); why.status == 0 && len(q) > wire.MaxMessage || why.status != 0 && why.text == "" {
			t.Errorf("%d octets, status %d", len(q), why.status)
		}
		r := httptest.NewRequest("POST", "/", bytes.NewReader(body))
		r.Header.Set("Content-Type", mediaType)
		b := &request{types: r.Header["Content-Type"], body: r.Body}
		if q, why := fromBody(b); why.status == 0 && !bytes.Equal(q, body) || why.status != 0 && len(body) <= wire.MaxMessage {
			t.Errorf("%d octets of %d, status %d", len(q), len(body), why.status)
		}
		if n := freshness(body); n > 1<<31-1 {
			t.Errorf("%d seconds", n)
		}
		r.Header.Set("Forwarded", chain)
		for _, node := range forwarded(r.Header) {
			if a, ok := address(node); ok && (!a.IsValid() || a.Zone() != "") {
				t.Errorf("%q is %v", node, a)
			}
		}
	})
}

// A sink is a connection to nobody.
type sink struct{ net.Conn }

func (sink) Write(b []byte) (int, error)      { return len(b), nil }
func (sink) SetWriteDeadline(time.Time) error { return nil }
func (sink) SetReadDeadline(time.Time) error  { return nil }
func (sink) Close() error                     { return nil }

// FuzzHTTP2 reads anything as frames of HTTP/2: what is kept of it has its bounds.
func FuzzHTTP2(f *testing.F) {
	f.Add([]byte("\x00\x00\x03\x01\x05\x00\x00\x00\x01\x82\x87\x84"), 5)
	f.Add([]byte("\x00\x00\x03\x01\x04\x00\x00\x00\x01\x83\x87\x84\x00\x00\x01\x00\x01\x00\x00\x00\x01x"), 100)
	f.Add([]byte("\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x01\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x01"), 3)
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		if size <= 0 {
			return
		}
		s := New(Options{Path: "/of-nobody", Streams: 3}) // it is never asked: there is no client
		c := newHTTP2Conn(s, sink{})
		c.greet = true
		for len(b) > 0 {
			n := copy(c.buf[c.have:], b[:min(size, len(b))])
			c.have, b = c.have+n, b[n:]
			if c.frames(time.Now()) != codeNone {
				return
			}
			held := 0
			for _, s := range c.streams {
				if !s.read {
					held += len(s.body)
				}
			}
			if len(c.streams) > 3 || held != c.held || held > connBuffer || c.taken < 0 || len(c.buf) > frameHead+frameMost || c.have == len(c.buf) {
				t.Fatalf("%d streams, %d octets of bodies counted as %d, %d taken, %d of %d read", len(c.streams), held, c.held, c.taken, c.have, len(c.buf))
			}
		}
	})
}
