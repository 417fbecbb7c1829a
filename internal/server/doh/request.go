package doh

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/netip"

	"port53/internal/server"
	"port53/internal/wire"
)

// A request is what of one matters here, whatever version of HTTP it comes by.
type request struct {
	method   string
	path     string
	query    string   // of the URL
	types    []string // Content-Type
	encoding string   // Content-Encoding
	length   int64    // Content-Length; -1: unknown
	body     io.Reader
	whole    []byte // the body, if it has been read
}

// A refusal is why a request has no answer; the zero value is none.
type refusal struct {
	status int
	text   string
}

// question returns the question of a request.
func (s *Server) question(r *request) ([]byte, refusal) {
	if r.path != s.o.Path {
		return nil, refusal{http.StatusNotFound, "there is nothing here"}
	}
	switch r.method {
	case http.MethodGet, http.MethodHead:
		return fromURL(r.query)
	case http.MethodPost:
		return fromBody(r)
	}
	return nil, refusal{http.StatusMethodNotAllowed, "questions come by GET or POST"}
}

// allowed is what a refused method is told.
const allowed = "GET, HEAD, POST"

// asker returns who asks, for a request that comes from an address.
func (s *Server) asker(from netip.AddrPort, h http.Header) (netip.AddrPort, refusal) {
	client, ok := s.client(from, h)
	if !ok {
		return client, refusal{
			http.StatusBadRequest,
			"Forwarded and X-Forwarded-For name different clients: configure the proxy to remove the one it does not set",
		}
	}
	return client, refusal{}
}

// refused says why a question is not answered.
func refused(err error) refusal {
	if errors.Is(err, server.ErrShort) || errors.Is(err, server.ErrSilence) {
		return refusal{http.StatusBadRequest, "this is no question"}
	}
	return refusal{http.StatusServiceUnavailable, "there is no answer"}
}

// fromBody reads a question from the body of a request.
func fromBody(r *request) ([]byte, refusal) {
	right := len(r.types) == 1 && r.types[0] == mediaType
	if !right && len(r.types) == 1 {
		media, _, err := mime.ParseMediaType(r.types[0])
		right = err == nil && media == mediaType
	}
	switch {
	case !right:
		return nil, refusal{http.StatusUnsupportedMediaType, "a question has the type " + mediaType}
	case r.encoding != "":
		return nil, refusal{http.StatusUnsupportedMediaType, "a question is not compressed"}
	case r.length > wire.MaxMessage:
		return nil, tooLong
	}
	if r.whole != nil {
		return r.whole, refusal{}
	}
	// As much memory as has come, whatever the length says.
	query, err := io.ReadAll(io.LimitReader(r.body, wire.MaxMessage+1))
	switch {
	case err != nil:
		return nil, refusal{http.StatusBadRequest, "the question did not come"}
	case len(query) > wire.MaxMessage:
		return nil, tooLong
	}
	return query, refusal{}
}

var tooLong = refusal{http.StatusRequestEntityTooLarge, "a question has at most 65,535 octets"}
