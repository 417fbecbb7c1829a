//go:build lean

package quic

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
)

// Built reports whether QUIC is spoken by this program.
const Built = false

// A Conn is a connection to a server, of which there is none.
type Conn struct{}

// Dial closes c, and returns ErrNotBuilt.
func Dial(_ context.Context, c net.Conn, _ *tls.Config) (*Conn, error) {
	_ = c.Close()
	return nil, ErrNotBuilt
}

// Done returns nil.
func (*Conn) Done() <-chan struct{} { return nil }

// Err returns ErrNotBuilt.
func (*Conn) Err() error { return ErrNotBuilt }

// State returns nothing.
func (*Conn) State() tls.ConnectionState { return tls.ConnectionState{} }

// Close does nothing.
func (*Conn) Close() error { return nil }

// RoundTrip returns ErrNotBuilt.
func (*Conn) RoundTrip(*http.Request) (*http.Response, error) { return nil, ErrNotBuilt }

// Ask returns ErrNotBuilt.
func (*Conn) Ask(context.Context, []byte, int, func([]byte) error) error { return ErrNotBuilt }
