package doh

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/http2/hpack"
)

// http2Fields are those of a header that matter here.
type http2Fields struct {
	method, path, query string
	scheme              string
	types               []string
	encoding            string
	length              int64 // -1: it is not told
	proxies             http.Header
	size                int
	long                bool // there is more than a header may have
	wrong               bool // it is against the protocol
	regular             bool // fields that are no pseudo-header fields have begun
	pathed              bool
	authority, host     string
}

func (f *http2Fields) clear() { *f = http2Fields{length: -1} }

// right reports whether a request can be what the fields are (RFC 9113, section 8.3.1).
func (f *http2Fields) right() bool {
	return f.long || !f.wrong && f.method != "" && f.scheme != "" && f.pathed
}

// right3 is right in HTTP/3 (RFC 9114, section 4.3.1), which asks for the host as well.
func (f *http2Fields) right3() bool {
	return f.right() && (f.long || f.authority+f.host != "" && (f.authority == "" || f.host == "" || f.authority == f.host))
}

// emit takes a field from the decoder.
func (c *http2Conn) emit(h hpack.HeaderField) {
	if c.fields.add(h); c.fields.long {
		c.hpack.SetEmitEnabled(false)
	}
}

// add takes a field.
func (f *http2Fields) add(h hpack.HeaderField) {
	if f.size += int(h.Size()); f.size > maxHeader {
		f.long = true
		return
	}
	if strings.HasPrefix(h.Name, ":") {
		f.pseudo(h)
		return
	}
	f.regular = true
	if !plain(h.Value) {
		f.wrong = true
		return
	}
	switch h.Name {
	case "content-type":
		f.types = append(f.types, h.Value)
	case "content-encoding":
		f.encoding = h.Value
	case "content-length":
		n, err := strconv.ParseUint(h.Value, 10, 62)
		if err != nil || f.length >= 0 && f.length != int64(n) {
			f.wrong = true
		}
		f.length = int64(n)
	case "forwarded", "x-forwarded-for":
		if f.proxies == nil {
			f.proxies = http.Header{}
		}
		f.proxies.Add(h.Name, h.Value)
	case "host":
		f.host = h.Value
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
		f.wrong = true // RFC 9113, section 8.2.2
	case "te":
		f.wrong = f.wrong || h.Value != "trailers"
	default:
		if !lower(h.Name) {
			f.wrong = true
		}
	}
}

// pseudo takes a pseudo-header field.
func (f *http2Fields) pseudo(h hpack.HeaderField) {
	once := func(to *string) {
		if *to != "" || h.Value == "" || f.regular {
			f.wrong = true
		}
		*to = h.Value
	}
	switch h.Name {
	case ":method":
		once(&f.method)
	case ":scheme":
		once(&f.scheme)
	case ":path":
		var path string
		if once(&path); f.pathed {
			f.wrong = true
		}
		f.pathed = true
		f.path, f.query, _ = strings.Cut(path, "?")
		if clean, err := url.PathUnescape(f.path); err == nil {
			f.path = clean
		}
	case ":authority":
		if f.regular {
			f.wrong = true
		}
		f.authority = h.Value
	default:
		f.wrong = true
	}
}

// plain reports whether a value has no octet that would end it elsewhere (RFC 9113, section 8.2.1).
func plain(v string) bool {
	return !strings.ContainsAny(v, "\x00\r\n")
}

// lower reports whether a name can be one of a field (RFC 9113, section 8.2.1).
func lower(name string) bool {
	if name == "" {
		return false
	}
	for _, b := range []byte(name) {
		if b <= ' ' || b >= 0x7f || b >= 'A' && b <= 'Z' || b == ':' {
			return false
		}
	}
	return true
}
