package doh_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"port53/internal/certs"
	"port53/internal/server"
	"port53/internal/server/doh"
)

// A rawConn is a client of HTTP/2 that keeps to no rule.
type rawConn struct {
	*testing.T
	conn  *tls.Conn
	out   bytes.Buffer
	f     *http2.Framer
	block bytes.Buffer
	hpack *hpack.Encoder
	read  *hpack.Decoder
}

// raw connects, and says nothing but the preface.
func (s *site) raw() *rawConn {
	s.Helper()
	c, err := tls.Dial("tcp", s.addr(), s.peer.Client(certs.H2))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	r := &rawConn{T: s.T, conn: c}
	r.f = http2.NewFramer(&r.out, c)
	r.f.AllowIllegalWrites = true
	r.hpack = hpack.NewEncoder(&r.block)
	r.read = hpack.NewDecoder(4096, nil)
	r.out.WriteString(http2.ClientPreface)
	return r
}

// greeted connects and sends settings.
func (s *site) greeted(settings ...http2.Setting) *rawConn {
	s.Helper()
	r := s.raw()
	_ = r.f.WriteSettings(settings...)
	return r
}

// fields returns the block of a header.
func (r *rawConn) fields(list ...string) []byte {
	r.block.Reset()
	for i := 0; i < len(list); i += 2 {
		_ = r.hpack.WriteField(hpack.HeaderField{Name: list[i], Value: list[i+1]})
	}
	return bytes.Clone(r.block.Bytes())
}

// get asks a question of a stream.
func (r *rawConn) get(id uint32, size int) {
	b := r.fields(":method", "GET", ":scheme", "https", ":authority", "dns.test", ":path", encode(question(size)))
	_ = r.f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: b, EndStream: true, EndHeaders: true})
}

// post begins to send a question of so many octets.
func (r *rawConn) post(id uint32, more ...string) {
	b := r.fields(append([]string{":method", "POST", ":scheme", "https", ":authority", "dns.test", ":path", "/dns-query", "content-type", media}, more...)...)
	_ = r.f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: b, EndHeaders: true})
}

func (r *rawConn) send() {
	r.Helper()
	if _, err := r.out.WriteTo(r.conn); err != nil {
		r.Fatal(err)
	}
}

// next returns the next frame but settings, window updates and what is read of headers: status is theirs.
func (r *rawConn) next() (f http2.Frame, status string) {
	r.Helper()
	for {
		f, err := r.f.ReadFrame()
		if err != nil {
			r.Fatal(err)
		}
		switch f := f.(type) {
		case *http2.SettingsFrame, *http2.WindowUpdateFrame:
			continue
		case *http2.HeadersFrame:
			fields, err := r.read.DecodeFull(f.HeaderBlockFragment())
			if err != nil {
				r.Fatal(err)
			}
			return f, fields[0].Value
		}
		return f, ""
	}
}

// answered reads the response of a stream, whose body comes in frames of its own, and returns the body.
func (r *rawConn) answered(id uint32, want string) []byte {
	r.Helper()
	f, status := r.next()
	if status != want || f.Header().StreamID != id {
		r.Fatalf("%v with status %q, want %s for stream %d", f, status, want, id)
	}
	var body []byte
	for {
		f, _ := r.next()
		d, ok := f.(*http2.DataFrame)
		if !ok || d.StreamID != id {
			r.Fatalf("%v, want data of stream %d", f, id)
		}
		if body = append(body, d.Data()...); d.StreamEnded() {
			return body
		}
	}
}

// What is against the protocol ends the connection, with the reason.
func TestHTTP2Violations(t *testing.T) {
	s := open(t, doh.Options{}, server.Limits{PerAddr: 100, PerPrefix: 100}, nil)
	raw := func(kind http2.FrameType, flags http2.Flags, id uint32, b string) func(*rawConn) {
		return func(r *rawConn) { _ = r.f.WriteRawFrame(kind, flags, id, []byte(b)) }
	}
	u32 := func(v uint32) string { return string(binary.BigEndian.AppendUint32(nil, v)) }
	setting := func(k byte, v uint32) string { return "\x00" + string([]byte{k}) + u32(v) }
	for _, tt := range []struct {
		name  string
		first bool // no settings go before
		do    func(r *rawConn)
		want  http2.ErrCode
	}{
		{"a ping first", true, raw(http2.FramePing, 0, 0, "12345678"), http2.ErrCodeProtocol},
		{"an acknowledgement first", true, raw(http2.FrameSettings, 1, 0, ""), http2.ErrCodeProtocol},
		{"a long frame", false, raw(http2.FrameData, 0, 1, strings.Repeat("x", 16385)), http2.ErrCodeFrameSize},
		{"headers of the connection", false, raw(http2.FrameHeaders, 5, 0, "\x82"), http2.ErrCodeProtocol},
		{"headers of the server's streams", false, raw(http2.FrameHeaders, 5, 2, "\x82"), http2.ErrCodeProtocol},
		{"a header that is none", false, raw(http2.FrameHeaders, 5, 1, "\xff\xff\xff\xff\xff\xff"), http2.ErrCodeCompression},
		{"a header cut off", false, raw(http2.FrameHeaders, 5, 1, "\x40\x05ab"), http2.ErrCodeCompression},
		{"headers without a priority", false, raw(http2.FrameHeaders, 0x25, 1, "\x82"), http2.ErrCodeFrameSize},
		{"padding beyond the frame", false, raw(http2.FrameHeaders, 0xd, 1, "\x05\x82"), http2.ErrCodeProtocol},
		{"data of the connection", false, raw(http2.FrameData, 0, 0, "x"), http2.ErrCodeProtocol},
		{"data of a stream that has not begun", false, raw(http2.FrameData, 0, 1, "x"), http2.ErrCodeProtocol},
		{"a continuation of nothing", false, raw(http2.FrameContinuation, 4, 1, "\x82"), http2.ErrCodeProtocol},
		{"something in a header", false, func(r *rawConn) {
			_ = r.f.WriteRawFrame(http2.FrameHeaders, 1, 1, []byte("\x82"))
			_ = r.f.WritePing(false, [8]byte{})
		}, http2.ErrCodeProtocol},
		{"a continuation of another", false, func(r *rawConn) {
			_ = r.f.WriteRawFrame(http2.FrameHeaders, 1, 1, []byte("\x82"))
			_ = r.f.WriteContinuation(3, true, nil)
		}, http2.ErrCodeProtocol},
		{"a header in many pieces", false, func(r *rawConn) {
			_ = r.f.WriteRawFrame(http2.FrameHeaders, 1, 1, nil)
			for range 16 {
				_ = r.f.WriteContinuation(1, false, nil)
			}
		}, http2.ErrCodeEnhanceYourCalm},
		{"a header without end", false, func(r *rawConn) {
			_ = r.f.WriteRawFrame(http2.FrameHeaders, 1, 1, make([]byte, 16384))
			_ = r.f.WriteContinuation(1, false, []byte{0})
		}, http2.ErrCodeEnhanceYourCalm},
		{"a reset of nothing", false, raw(http2.FrameRSTStream, 0, 1, u32(8)), http2.ErrCodeProtocol},
		{"a short reset", false, raw(http2.FrameRSTStream, 0, 1, "x"), http2.ErrCodeFrameSize},
		{"a short priority", false, raw(http2.FramePriority, 0, 1, "x"), http2.ErrCodeFrameSize},
		{"settings of a stream", false, raw(http2.FrameSettings, 0, 1, ""), http2.ErrCodeProtocol},
		{"short settings", false, raw(http2.FrameSettings, 0, 0, "12345"), http2.ErrCodeFrameSize},
		{"an acknowledgement that has something", false, raw(http2.FrameSettings, 1, 0, "123456"), http2.ErrCodeFrameSize},
		{"a window too large", false, raw(http2.FrameSettings, 0, 0, setting(4, 1<<31)), http2.ErrCodeFlowControl},
		{"push that is neither", false, raw(http2.FrameSettings, 0, 0, setting(2, 2)), http2.ErrCodeProtocol},
		{"frames too short", false, raw(http2.FrameSettings, 0, 0, setting(5, 16383)), http2.ErrCodeProtocol},
		{"a short ping", false, raw(http2.FramePing, 0, 0, "1234567"), http2.ErrCodeFrameSize},
		{"a ping of a stream", false, raw(http2.FramePing, 0, 1, "12345678"), http2.ErrCodeProtocol},
		{"a push", false, raw(http2.FramePushPromise, 4, 1, u32(2)), http2.ErrCodeProtocol},
		{"a farewell of a stream", false, raw(http2.FrameGoAway, 0, 1, u32(0)+u32(0)), http2.ErrCodeProtocol},
		{"a window of nothing more", false, raw(http2.FrameWindowUpdate, 0, 0, u32(0)), http2.ErrCodeProtocol},
		{"a window that overflows", false, raw(http2.FrameWindowUpdate, 0, 0, u32(1<<31-1)), http2.ErrCodeFlowControl},
		{"a window of a stream that has not begun", false, raw(http2.FrameWindowUpdate, 0, 1, u32(1)), http2.ErrCodeProtocol},
		{"a short window", false, raw(http2.FrameWindowUpdate, 0, 0, "x"), http2.ErrCodeFrameSize},
		{"more bodies than are taken", false, func(r *rawConn) {
			for id := uint32(1); id < 7; id += 2 {
				r.post(id)
				for range 3 {
					_ = r.f.WriteData(id, false, make([]byte, 16384))
				}
			}
		}, http2.ErrCodeFlowControl},
	} {
		r := s.raw()
		if !tt.first {
			_ = r.f.WriteSettings()
		}
		tt.do(r)
		r.send()
		f, _ := r.next()
		if g, ok := f.(*http2.GoAwayFrame); !ok || g.ErrCode != tt.want {
			t.Errorf("%s: %v, want GOAWAY with %v", tt.name, f, tt.want)
			continue
		}
		if _, err := io.Copy(io.Discard, r.conn); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: %v, want the end", tt.name, err)
		}
		r.conn.Close()
	}
}

// A request that is against the protocol ends its stream alone.
func TestHTTP2BadStreams(t *testing.T) {
	s := open(t, doh.Options{Streams: 2}, server.Limits{}, nil)
	r := s.greeted()
	whole := func(list ...string) func(uint32) {
		return func(id uint32) {
			_ = r.f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: r.fields(list...), EndStream: true, EndHeaders: true})
		}
	}
	usual := []string{":method", "GET", ":scheme", "https", ":path", "/dns-query"}
	id := uint32(1)
	for _, tt := range []struct {
		name string
		do   func(id uint32)
		want http2.ErrCode
	}{
		{"no path", whole(":method", "GET", ":scheme", "https"), http2.ErrCodeProtocol},
		{"no scheme", whole(":method", "GET", ":path", "/"), http2.ErrCodeProtocol},
		{"no method", whole(":scheme", "https", ":path", "/"), http2.ErrCodeProtocol},
		{"two methods", whole(append(usual, ":method", "GET")...), http2.ErrCodeProtocol},
		{"two paths", whole(append(usual, ":path", "/")...), http2.ErrCodeProtocol},
		{"an empty path", whole(":method", "GET", ":scheme", "https", ":path", ""), http2.ErrCodeProtocol},
		{"a status", whole(append(usual, ":status", "200")...), http2.ErrCodeProtocol},
		{"the path last", whole(":method", "GET", ":scheme", "https", "accept", "x", ":path", "/"), http2.ErrCodeProtocol},
		{"the authority last", whole(append(usual, "accept", "x", ":authority", "dns.test")...), http2.ErrCodeProtocol},
		{"upper case", whole(append(usual, "Accept", "x")...), http2.ErrCodeProtocol},
		{"no name", whole(append(usual, "", "x")...), http2.ErrCodeProtocol},
		{"a line break", whole(append(usual, "accept", "x\r\ny")...), http2.ErrCodeProtocol},
		{"of the connection", whole(append(usual, "connection", "close")...), http2.ErrCodeProtocol},
		{"an encoding of transfers", whole(append(usual, "te", "gzip")...), http2.ErrCodeProtocol},
		{"no length", whole(append(usual, "content-length", "-1")...), http2.ErrCodeProtocol},
		{"two lengths", whole(append(usual, "content-length", "0", "content-length", "1")...), http2.ErrCodeProtocol},
		{"a length without a body", whole(append(usual, "content-length", "1")...), http2.ErrCodeProtocol},
		{"a body shorter than told", func(id uint32) {
			r.post(id, "content-length", "3")
			_ = r.f.WriteData(id, true, []byte("xx"))
		}, http2.ErrCodeProtocol},
		{"a body longer than told", func(id uint32) {
			r.post(id, "content-length", "3")
			_ = r.f.WriteData(id, false, []byte("xxxx"))
		}, http2.ErrCodeProtocol},
		{"a trailer that is not the end", func(id uint32) {
			r.post(id)
			_ = r.f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: r.fields("a", "b"), EndHeaders: true})
		}, http2.ErrCodeProtocol},
		{"a window of nothing more", func(id uint32) {
			r.post(id)
			_ = r.f.WriteWindowUpdate(id, 0)
		}, http2.ErrCodeProtocol},
		{"a window that overflows", func(id uint32) {
			r.post(id)
			_ = r.f.WriteWindowUpdate(id, 1<<31-1)
		}, http2.ErrCodeFlowControl},
		{"a stream too many", func(id uint32) { // both others are left open
			r.post(id - 4)
			r.post(id - 2)
			r.get(id, 1)
		}, http2.ErrCodeRefusedStream},
	} {
		if tt.want == http2.ErrCodeRefusedStream {
			id += 4
		}
		tt.do(id)
		r.send()
		f, status := r.next()
		if e, ok := f.(*http2.RSTStreamFrame); !ok || e.StreamID != id || e.ErrCode != tt.want {
			t.Errorf("%s: %v %s, want a reset of stream %d with %v", tt.name, f, status, id, tt.want)
		}
		id += 2
	}
	_ = r.f.WriteRSTStream(id-4, http2.ErrCodeCancel)
	r.get(id, 1)
	r.send()
	r.answered(id, "200")
}

// TestHTTP2Past sends for streams that are not there any more, or never were, and has them depend on
// themselves. What was under way when a stream was ended here is passed over.
func TestHTTP2Past(t *testing.T) {
	s := open(t, doh.Options{}, server.Limits{PerAddr: 100, PerPrefix: 100}, nil)
	get := func(r *rawConn, id uint32) {
		r.get(id, 1)
		r.send()
		r.answered(id, "200")
	}
	refused := func(r *rawConn, id uint32) {
		_ = r.f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: r.fields(":method", "POST"), EndHeaders: true})
		r.send()
		if f, _ := r.next(); f.Header().Type != http2.FrameRSTStream {
			t.Fatal(f)
		}
	}
	looped := func(r *rawConn, id uint32) {
		b := r.fields(":method", "GET", ":scheme", "https", ":path", encode(question(1)))
		_ = r.f.WriteHeaders(http2.HeadersFrameParam{
			StreamID: id, BlockFragment: b, EndStream: true, EndHeaders: true, Priority: http2.PriorityParam{StreamDep: id, Weight: 1},
		})
	}
	for _, tt := range []struct {
		name   string
		do     func(r *rawConn)
		stream uint32 // that is reset; 0: the connection ends; from 99 on: that is asked, and answered
		want   http2.ErrCode
	}{
		{"data after the answer", func(r *rawConn) { get(r, 1); _ = r.f.WriteData(1, true, []byte("x")) }, 0, http2.ErrCodeStreamClosed},
		{"a header after the answer", func(r *rawConn) { get(r, 1); r.get(1, 1) }, 0, http2.ErrCodeStreamClosed},
		{"data after a reset", func(r *rawConn) {
			r.post(1)
			_ = r.f.WriteRSTStream(1, http2.ErrCodeCancel)
			_ = r.f.WriteData(1, true, []byte("x"))
		}, 0, http2.ErrCodeStreamClosed},
		{"a header of what was left out", func(r *rawConn) { get(r, 5); r.get(3, 1) }, 0, http2.ErrCodeProtocol},
		{"data of what was left out", func(r *rawConn) { get(r, 5); _ = r.f.WriteData(3, true, []byte("x")) }, 0, http2.ErrCodeProtocol},
		{"data of the server's streams", func(r *rawConn) { get(r, 5); _ = r.f.WriteData(4, true, []byte("x")) }, 0, http2.ErrCodeProtocol},
		{"a priority of the connection", func(r *rawConn) { _ = r.f.WriteRawFrame(http2.FramePriority, 0, 0, make([]byte, 5)) }, 0, http2.ErrCodeProtocol},
		{"a priority below itself", func(r *rawConn) { _ = r.f.WritePriority(3, http2.PriorityParam{StreamDep: 3}) }, 3, http2.ErrCodeProtocol},
		{"a header below itself", func(r *rawConn) { looped(r, 1) }, 1, http2.ErrCodeProtocol},
		{"a body under way of what is refused", func(r *rawConn) {
			refused(r, 1)
			get(r, 3)
			_ = r.f.WriteData(1, false, []byte("x"))
			_ = r.f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: r.fields("a", "b"), EndStream: true, EndHeaders: true})
		}, 99, 0},
		{"data long after", func(r *rawConn) {
			for id := uint32(1); id <= 131; id += 2 {
				get(r, id)
			}
			_ = r.f.WriteData(1, true, []byte("x"))
		}, 199, 0},
	} {
		r := s.greeted()
		tt.do(r)
		if tt.stream >= 99 {
			get(r, tt.stream)
			continue
		}
		r.send()
		switch f, _ := r.next(); f := f.(type) {
		case *http2.GoAwayFrame:
			if tt.stream != 0 || f.ErrCode != tt.want {
				t.Errorf("%s: %v, want %v for stream %d", tt.name, f, tt.want, tt.stream)
			}
		case *http2.RSTStreamFrame:
			if f.StreamID != tt.stream || f.ErrCode != tt.want {
				t.Errorf("%s: %v, want %v for stream %d", tt.name, f, tt.want, tt.stream)
			}
			get(r, 7)
		default:
			t.Errorf("%s: %v, want %v", tt.name, f, tt.want)
		}
	}
}

// TestHTTP2Forms asks as clients may: in pieces, padded, with a priority, with trailers, and with what nobody knows.
func TestHTTP2Forms(t *testing.T) {
	s := open(t, doh.Options{}, server.Limits{}, nil)
	r := s.greeted(http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0}, http2.Setting{ID: 99, Val: 1})
	_ = r.f.WriteRawFrame(99, 0xff, 7, []byte("what"))
	_ = r.f.WritePriority(9, http2.PriorityParam{Weight: 3})
	_ = r.f.WritePing(false, [8]byte{5})
	r.send()
	if f, _ := r.next(); f.Header().Type != http2.FramePing || !f.Header().Flags.Has(http2.FlagPingAck) || f.(*http2.PingFrame).Data[0] != 5 {
		t.Errorf("%v, want the answer to a ping", f)
	}

	b := r.fields(":method", "GET", ":scheme", "https", ":authority", "dns.test", ":path", "/%64ns-query"+strings.TrimPrefix(encode(question(1)), "/dns-query"))
	_ = r.f.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 1, BlockFragment: b[:10], EndStream: true, PadLength: 7,
		Priority: http2.PriorityParam{StreamDep: 3, Weight: 200},
	})
	_ = r.f.WriteContinuation(1, false, nil)
	_ = r.f.WriteContinuation(1, true, b[10:])
	r.send()
	r.answered(1, "200")

	q := question(65000)
	r.post(3)
	_ = r.f.WriteDataPadded(3, false, q[:5], make([]byte, 200))
	_ = r.f.WriteData(3, false, q[5:])
	_ = r.f.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: r.fields("some", "trailer"), EndStream: true, EndHeaders: true})
	r.send()
	if got := r.answered(3, "200"); len(got) < 65000 {
		t.Errorf("%d octets", len(got))
	}

	b = r.fields(append([]string{":method", "GET", ":scheme", "https", ":path", "/dns-query"}, "x", strings.Repeat("y", 7000), "z", strings.Repeat("y", 2000))...)
	_ = r.f.WriteHeaders(http2.HeadersFrameParam{StreamID: 5, BlockFragment: b, EndStream: true, EndHeaders: true})
	r.send()
	r.answered(5, "431")

	// More than a message can have is not waited for.
	_ = r.f.WriteWindowUpdate(0, 1<<20)
	r.post(7)
	for range 4 {
		_ = r.f.WriteData(7, false, make([]byte, 16384))
	}
	r.send()
	r.answered(7, "413")
	r.get(9, 1) // what had come of it may come again
	r.send()
	if f, _ := r.next(); f.Header().Type != http2.FrameRSTStream {
		t.Errorf("%v, want a reset", f)
	}
	r.answered(9, "200")
}

// TestHTTP2Windows has a client let little be sent: it gets as much, and is cut off if it takes no more.
func TestHTTP2Windows(t *testing.T) {
	s := open(t, doh.Options{Stall: 200 * time.Millisecond}, server.Limits{}, nil)
	r := s.greeted(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 100})
	r.get(1, 1000)
	r.send()
	if _, status := r.next(); status != "200" {
		t.Fatal(status)
	}
	got := 0
	for _, more := range []func(){
		func() {},
		func() { _ = r.f.WriteWindowUpdate(1, 50) },
		func() { _ = r.f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 170}) },
	} {
		more()
		r.send()
		f, _ := r.next()
		d, ok := f.(*http2.DataFrame)
		if !ok || d.StreamEnded() {
			t.Fatalf("%v, want a part", f)
		}
		got += len(d.Data())
	}
	// Settings are acknowledged before what they let come.
	a := s.greeted(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	a.get(1, 1000)
	_ = a.f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
	a.send()
	for acks := 0; acks < 2; {
		f, err := a.f.ReadFrame()
		if err != nil || f.Header().Type == http2.FrameData {
			t.Fatalf("%v, %v after %d acknowledgements of 2", f, err, acks)
		}
		if set, ok := f.(*http2.SettingsFrame); ok && set.IsAck() {
			acks++
		}
	}
	if got != 220 {
		t.Errorf("%d octets have come of 220 that may", got)
	}
	if _, err := r.f.ReadFrame(); err == nil { // the settings are acknowledged, perhaps
		_, err = r.f.ReadFrame()
		if err == nil {
			t.Error("a client that takes nothing is not cut off")
		}
	}

	// All connections begin with 65,535 octets for all streams.
	r = s.greeted()
	r.get(1, 60000)
	r.get(3, 60000)
	r.send()
	r.answered(1, "200")
	if _, status := r.next(); status != "200" {
		t.Fatal(status)
	}
	const whole = 60000 + 38
	for got = 0; got < 65535-whole; {
		f, _ := r.next()
		got += len(f.(*http2.DataFrame).Data())
	}
	if got != 65535-whole {
		t.Errorf("%d octets have come of %d that may", got, 65535-whole)
	}
	_ = r.f.WriteWindowUpdate(0, 1<<20)
	r.send()
	for got < whole {
		f, _ := r.next()
		got += len(f.(*http2.DataFrame).Data())
	}
}

// What is asked together and answered at once is sent together, in one record of TLS.
func TestHTTP2Together(t *testing.T) {
	s := open(t, doh.Options{}, server.Limits{}, nil)
	r := s.greeted()
	r.send()
	if f, err := r.f.ReadFrame(); err != nil || f.Header().Type != http2.FrameSettings {
		t.Fatal(f, err)
	}
	for { // the rest of the greeting
		f, err := r.f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if s, ok := f.(*http2.SettingsFrame); ok && s.IsAck() {
			break
		}
	}
	const many = 8
	for i := range uint32(many) {
		r.get(2*i+1, 20)
	}
	r.send()
	b := make([]byte, 16<<10)
	n, err := r.conn.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	f, data := http2.NewFramer(io.Discard, bytes.NewReader(b[:n])), 0
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			break
		}
		if _, ok := frame.(*http2.DataFrame); ok {
			data++
		}
	}
	if data != many {
		t.Errorf("%d answers came together, of %d", data, many)
	}
}

// Half a body ends its stream, and others of the connection do not notice; half a header ends the connection.
func TestHTTP2Slow(t *testing.T) {
	s := open(t, doh.Options{Question: 50 * time.Millisecond}, server.Limits{}, nil)
	r := s.greeted()
	r.post(1)
	_ = r.f.WriteData(1, false, question(1)[:5])
	r.get(3, 1)
	r.send()
	r.answered(3, "200")
	f, _ := r.next()
	if e, ok := f.(*http2.RSTStreamFrame); !ok || e.StreamID != 1 || e.ErrCode != http2.ErrCodeCancel {
		t.Errorf("%v, want a reset", f)
	}
	r.get(5, 1)
	r.send()
	r.answered(5, "200")

	for _, part := range []func(r *rawConn){
		func(r *rawConn) { _ = r.f.WriteRawFrame(http2.FrameHeaders, 1, 7, []byte{0x82}) },
		func(r *rawConn) { r.out.WriteString("\x00\x00\x08\x06") },
	} {
		r := s.greeted()
		part(r)
		r.send()
		for {
			if _, err := r.f.ReadFrame(); err != nil {
				if !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
					t.Error(err)
				}
				break
			}
		}
	}
}

// A connection that nobody asks on is closed, with a farewell; so is each when the server ends.
func TestHTTP2Farewell(t *testing.T) {
	s := open(t, doh.Options{Idle: 50 * time.Millisecond}, server.Limits{}, nil)
	r := s.greeted()
	r.get(1, 1)
	r.send()
	r.answered(1, "200")
	f, _ := r.next()
	if g, ok := f.(*http2.GoAwayFrame); !ok || g.ErrCode != http2.ErrCodeNo || g.LastStreamID != 1 {
		t.Errorf("%v, want GOAWAY behind stream 1", f)
	}
	if _, err := r.f.ReadFrame(); !errors.Is(err, io.EOF) {
		t.Errorf("%v, want the end", err)
	}
	if c := s.client(true); c != nil { // and net/http's client comes again
		for range 2 {
			if res, _ := s.do(c, "GET", encode(question(1)), nil); res.StatusCode != http.StatusOK {
				t.Error(res.Status)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
}

// Headers of answers are right however often, and in whatever order, they are like others, and whatever the client's
// table of headers has room for.
func TestHTTP2Headers(t *testing.T) {
	s := open(t, doh.Options{}, server.Limits{}, nil)
	r := s.greeted()
	id := uint32(1)
	go func() { // nobody looks at them here
		for range 4 * 304 {
			<-s.peers
		}
	}()
	for i, room := range []uint32{4096, 0, 4096, 100} {
		_ = r.f.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: room})
		r.get(id, 7) // as the last one
		id += 2
		for range 3 {
			for size := range 99 {
				r.get(id, 1+size*(i+1)%90)
				id += 2
			}
			r.get(id, 7)
			r.get(id+2, 7)
			id += 4
		}
		r.send()
		lengths := map[uint32]int{}
		for answers := 0; answers < 304; {
			f, err := r.f.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			switch f := f.(type) {
			case *http2.HeadersFrame:
				// What comes first says that the table has another size (RFC 7541, section 4.2).
				if len(lengths) == 0 && i > 0 && f.HeaderBlockFragment()[0]&0xe0 != 0x20 {
					t.Errorf("%d octets of room: the header is %x", room, f.HeaderBlockFragment())
				}
				fields, err := r.read.DecodeFull(f.HeaderBlockFragment())
				if err != nil {
					t.Fatal(err)
				}
				got := map[string]string{}
				for _, h := range fields {
					got[h.Name] = h.Value
				}
				if len(fields) != 5 || got[":status"] != "200" || got["content-type"] != media || got["cache-control"] != "max-age=300, private" ||
					got["date"] == "" {
					t.Fatalf("stream %d: %v", f.StreamID, fields)
				}
				lengths[f.StreamID], _ = strconv.Atoi(got["content-length"])
			case *http2.DataFrame:
				if answers++; len(f.Data()) != lengths[f.StreamID] {
					t.Fatalf("stream %d: %d octets, and its header says %d", f.StreamID, len(f.Data()), lengths[f.StreamID])
				}
			}
		}
		_ = r.f.WriteWindowUpdate(0, 1<<20)
	}
}
