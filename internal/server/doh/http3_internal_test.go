//go:build !lean

package doh

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/quic-go/qpack"
	"github.com/quic-go/quic-go/quicvarint"

	"port53/internal/wire"
)

// frame3 is a frame of HTTP/3.
func frame3(kind uint64, b []byte) []byte {
	return append(quicvarint.Append(quicvarint.Append(nil, kind), uint64(len(b))), b...)
}

// fields3 is a frame of a header, of pairs of names and values.
func fields3(pairs ...string) []byte {
	var block bytes.Buffer
	e := qpack.NewEncoder(&block)
	for p := range slices.Chunk(pairs, 2) {
		_ = e.WriteField(qpack.HeaderField{Name: p[0], Value: p[1]}) // a buffer takes all
	}
	return frame3(http3Headers, block.Bytes())
}

// post3 are the fields of a request.
func post3(more ...string) []byte {
	return fields3(append([]string{":method", "POST", ":scheme", "https", ":authority", "dns.test", ":path", "/dns-query"}, more...)...)
}

// TestHTTP3Message reads requests that are right and wrong in one piece, octet by octet, and cut at every octet.
func TestHTTP3Message(t *testing.T) {
	data, longest := frame3(http3Data, []byte("body")), string(make([]byte, wire.MaxMessage))
	for _, tt := range []struct {
		name string
		in   []byte
		want error
		body string
	}{
		{"a body", slices.Concat(post3("content-length", "4"), data), nil, "body"},
		{"none", post3(), nil, ""},
		{
			"in parts, and frames that nobody knows",
			slices.Concat(frame3(0x21, make([]byte, 9000)), post3(), frame3(0x40, []byte("x")), data, frame3(http3Data, nil), data), nil, "bodybody",
		},
		{"a trailer", slices.Concat(post3(), data, fields3("x", "y"), frame3(0x21, []byte("z"))), nil, "body"},
		{"host in the place of authority", fields3(":method", "GET", ":scheme", "https", ":path", "/", "host", "dns.test"), nil, ""},
		{"the longest body", slices.Concat(post3(), frame3(http3Data, []byte(longest))), nil, longest},
		{"a body that is cut", slices.Concat(post3(), data[:len(data)-1]), errFrameCut, ""},
		{"a body that does not begin", slices.Concat(post3(), data[:2]), errFrameCut, ""},
		{"a header that is cut", post3()[:9], errFrameCut, ""},
		{"a type without a length", slices.Concat(post3(), data, []byte{http3Data}), errFrameCut, ""},
		{"nothing", nil, errRequestIncomplete, ""},
		{"no header", frame3(0x21, []byte("x")), errRequestIncomplete, ""},
		{"a body first", slices.Concat(data, post3()), errFrameUnexpected, ""},
		{"a body behind the trailer", slices.Concat(post3(), data, fields3("x", "y"), data), errFrameUnexpected, ""},
		{"two trailers", slices.Concat(post3(), fields3("x", "y"), fields3("x", "y")), errFrameUnexpected, ""},
		{"SETTINGS", slices.Concat(frame3(4, nil), post3()), errFrameUnexpected, ""},
		{"PUSH_PROMISE", slices.Concat(post3(), frame3(5, []byte{0})), errFrameUnexpected, ""},
		{"GOAWAY", slices.Concat(post3(), frame3(7, []byte{0})), errFrameUnexpected, ""},
		{"CANCEL_PUSH", slices.Concat(post3(), frame3(3, []byte{0})), errFrameUnexpected, ""},
		{"MAX_PUSH_ID", slices.Concat(post3(), frame3(0xd, []byte{0})), errFrameUnexpected, ""},
		{"PRIORITY_UPDATE", slices.Concat(post3(), frame3(0xf0700, []byte{0})), errFrameUnexpected, ""},
		{"PRIORITY_UPDATE of a push", slices.Concat(post3(), frame3(0xf0701, []byte{0})), errFrameUnexpected, ""},
		{"PING of HTTP/2", slices.Concat(post3(), frame3(6, nil)), errFrameUnexpected, ""},
		{"CONTINUATION of HTTP/2", slices.Concat(post3(), frame3(9, nil)), errFrameUnexpected, ""},
		{"less than its length", slices.Concat(post3("content-length", "5"), data), errMessage, ""},
		{"more than its length", slices.Concat(post3("content-length", "3"), data), errMessage, ""},
		{"two lengths", post3("content-length", "4", "content-length", "5"), errMessage, ""},
		{"no method", fields3(":scheme", "https", ":authority", "dns.test", ":path", "/"), errMessage, ""},
		{"no path", fields3(":method", "GET", ":scheme", "https", ":authority", "dns.test"), errMessage, ""},
		{"no scheme", fields3(":method", "GET", ":authority", "dns.test", ":path", "/"), errMessage, ""},
		{"no host", fields3(":method", "GET", ":scheme", "https", ":path", "/"), errMessage, ""},
		{"two hosts", post3("host", "other.test"), errMessage, ""},
		{"two methods", post3(":method", "GET"), errMessage, ""},
		{"a status", post3(":status", "200"), errMessage, ""},
		{"a pseudo-header field behind others", fields3(":method", "GET", ":scheme", "https", "x", "y", ":authority", "dns.test", ":path", "/"), errMessage, ""},
		{"upper case", post3("Accept", "*/*"), errMessage, ""},
		{"a line in a value", post3("accept", "a\r\nb: c"), errMessage, ""},
		{"connection", post3("connection", "close"), errMessage, ""},
		{"te", post3("te", "gzip"), errMessage, ""},
		{"a pseudo-header field in the trailer", slices.Concat(post3(), fields3(":path", "/")), errMessage, ""},
		{"upper case in the trailer", slices.Concat(post3(), fields3("X", "y")), errMessage, ""},
		{"an empty block", frame3(http3Headers, nil), errDecompression, ""},
		{"the table of the connection", frame3(http3Headers, []byte{1, 0, 0x80}), errDecompression, ""},
		{"an index beyond the table", frame3(http3Headers, []byte{0, 0, 0xff, 0x7f}), errDecompression, ""},
		{"a value that is cut", frame3(http3Headers, []byte{0, 0, 0x51, 5, 'x'}), errDecompression, ""},
		{"a trailer that is none", slices.Concat(post3(), frame3(http3Headers, []byte{0, 0, 0x80})), errDecompression, ""},
	} {
		whole := read3(bytes.NewReader(tt.in))
		one := read3(iotest.OneByteReader(bytes.NewReader(tt.in)))
		for _, got := range []read3ed{whole, one} {
			if got.err != tt.want || got.err == nil && got.body != tt.body {
				t.Errorf("%s: %v, a body of %d octets; want %v and %d", tt.name, got.err, len(got.body), tt.want, len(tt.body))
			}
		}
		if len(tt.in) > 1000 || tt.want != nil {
			continue
		}
		for n := range tt.in { // between two frames it is a request as well
			if err := read3(bytes.NewReader(tt.in[:n])).err; err != nil && err != errFrameCut && err != errRequestIncomplete && err != errMessage {
				t.Errorf("%s, %d octets: %v", tt.name, n, err)
			}
		}
	}
}

// TestHTTP3Long reads what is too long: it is answered before all of it has come.
func TestHTTP3Long(t *testing.T) {
	never := iotest.ErrReader(errors.New("it is read on"))
	for name, in := range map[string][]byte{
		"a frame":     {http3Headers, 0x80, 0, maxHeader >> 8, 1},
		"many fields": post3("a", string(make([]byte, maxHeader-300))),
		"a body":      slices.Concat(post3(), frame3(http3Data, make([]byte, wire.MaxMessage+1))),
	} {
		m := &http3Message{}
		m.clear()
		err := m.read(io.MultiReader(bytes.NewReader(in), never), make([]byte, http3Most))
		if err != nil || !m.over() || len(m.body) > wire.MaxMessage+http3Most {
			t.Errorf("%s: %v, %v, %d octets", name, err, m.over(), len(m.body))
		}
	}
}

// A read3ed is what came of a request.
type read3ed struct {
	err          error
	path, method string
	body         string
	long         bool
}

func read3(r io.Reader) read3ed {
	m := &http3Message{}
	m.clear()
	err := m.read(r, make([]byte, http3Most))
	return read3ed{err, m.fields.path, m.fields.method, string(m.body), m.over()}
}

// FuzzHTTP3 has a request read in one piece and in parts: it is the same request, or wrong in the same way.
func FuzzHTTP3(f *testing.F) {
	f.Add(slices.Concat(post3("content-length", "4"), frame3(http3Data, []byte("body"))))
	f.Add(slices.Concat(frame3(0x21, make([]byte, 90)), post3(), fields3("x", "y")))
	f.Add([]byte{http3Headers, 3, 0, 0, 0xd1})
	f.Fuzz(func(t *testing.T, b []byte) {
		whole, one := read3(bytes.NewReader(b)), read3(iotest.OneByteReader(bytes.NewReader(b)))
		if whole.long || one.long { // how much of a long body was read is chance
			whole.body, one.body = "", ""
		}
		if whole != one {
			t.Fatalf("in one piece %+v, in parts %+v", whole, one)
		}
		if len(whole.body) > wire.MaxMessage {
			t.Fatalf("a body of %d octets", len(whole.body))
		}
	})
}

// TestHTTP3Fields has a decoder read the fields that are written.
func TestHTTP3Fields(t *testing.T) {
	for _, n := range []int{0, 1, 6, 7, 14, 15, 126, 127, 128, 254, 255, 300, 20000} {
		m := &http3Room{block: []byte{0, 0}}
		value := string(bytes.Repeat([]byte("v"), n))
		m.named(http3Status, "431")
		m.named(http3Length, value)
		m.unnamed("allow"+value, value)
		m.block = append(m.block, http3Indexed|http3OK, http3Indexed|http3NoStore, http3Indexed|http3Type, http3Indexed|http3NoSniff)
		next, got := qpack.NewDecoder().Decode(m.block), []string{}
		for {
			h, err := next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%d octets: %v", n, err)
			}
			got = append(got, h.Name, h.Value)
		}
		want := []string{
			":status", "431", "content-length", value, "allow" + value, value, ":status", "200", "cache-control", "no-store",
			"content-type", mediaType, "x-content-type-options", "nosniff",
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d octets: %.300q", n, got)
		}
	}
}
