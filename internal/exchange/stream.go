package exchange

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"port53/internal/wire"
)

const (
	// streamBuffer is how many octets of a stream are read at once: most replies are
	// shorter, and what is longer is read past the buffer.
	streamBuffer = 2048
	// MaxUnwanted is how many messages that nobody waits for are read from a stream, more
	// than come late.
	MaxUnwanted = 128
)

// A Stream is one connection, on which each message stands behind its length (RFC 1035,
// section 4.2.2). One goroutine may send while another reads.
type Stream struct {
	Conn   net.Conn
	Limit  int64  // octets that may be read in all, with the lengths; 0: any number
	Counts Counts // Octets are those that were read, with the lengths

	Messages int // that were read

	reader *bufio.Reader
	buf    []byte // of the last message
	out    []byte // the message that is sent, behind its length
}

// NewStream returns a stream on a connection, which Close closes.
func NewStream(c net.Conn) *Stream {
	return &Stream{Conn: c, reader: bufio.NewReaderSize(c, streamBuffer)}
}

// Buffered returns the octets that were read of the connection, and of no message.
func (s *Stream) Buffered() int { return s.reader.Buffered() }

// Close closes the connection.
func (s *Stream) Close() error { return s.Conn.Close() }

// AppendFrame appends a message behind its length, which is at most 65,535.
func AppendFrame(dst, msg []byte) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(msg))), msg...)
}

// Send sends a message in one piece with its length (RFC 7766, section 8), until a
// deadline or the end of ctx.
func (s *Stream) Send(ctx context.Context, msg []byte, deadline time.Time) error {
	if len(msg) > wire.MaxMessage {
		return ErrTooLarge
	}
	stop := until(ctx, s.Conn.SetWriteDeadline, deadline)
	defer stop()
	s.out = AppendFrame(s.out[:0], msg)
	_, err := s.Conn.Write(s.out)
	return ended(ctx, err)
}

// Next reads the next message, until a deadline or the end of ctx. The message is valid
// until the one after it. io.EOF is the end of the connection between two messages.
func (s *Stream) Next(ctx context.Context, deadline time.Time) ([]byte, error) {
	stop := until(ctx, s.Conn.SetReadDeadline, deadline)
	defer stop()
	n, err := readLength(s.reader)
	if err != nil {
		return nil, ended(ctx, err)
	}
	if s.Counts.Octets += int64(n) + lengthSize; s.Limit > 0 && s.Counts.Octets > s.Limit {
		return nil, fmt.Errorf("%w: over %d", ErrTooLarge, s.Limit)
	}
	if cap(s.buf) < n {
		s.buf = make([]byte, n)
	}
	if err := readBody(s.reader, s.buf[:n]); err != nil {
		return nil, ended(ctx, err)
	}
	s.Messages++
	return s.buf[:n], nil
}

// Receive reads messages until one fits query, and counts the others: replies to what
// was asked before (RFC 7766, section 7). The message is valid until the next one is
// read.
func (s *Stream) Receive(ctx context.Context, query []byte, deadline time.Time) (msg []byte, fit Fit, err error) {
	for range MaxUnwanted {
		if msg, err = s.Next(ctx, deadline); err != nil {
			return nil, Unrelated, err
		}
		switch fit = Match(query, msg); fit {
		case Unrelated:
			s.Counts.Unrelated++
		case NearMiss:
			s.Counts.NearMisses++
		default:
			return msg, fit, nil
		}
	}
	return nil, Unrelated, ErrFlooded
}

// ReadMessage reads one message of a stream, in memory of its own.
func ReadMessage(r io.Reader) ([]byte, error) {
	n, err := readLength(r)
	if err != nil {
		return nil, err
	}
	msg := make([]byte, n)
	return msg, readBody(r, msg)
}

// lengthSize is the octets of a length.
const lengthSize = 2

// readLength reads the length before a message, and refuses one that no message has.
func readLength(r io.Reader) (int, error) {
	var length [lengthSize]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return 0, err
	}
	n := int(binary.BigEndian.Uint16(length[:]))
	if n < wire.HeaderLen {
		return 0, ErrShort
	}
	return n, nil
}

// readBody reads a message behind its length.
func readBody(r io.Reader, msg []byte) error {
	_, err := io.ReadFull(r, msg)
	if err == io.EOF { // ReadFull returns it as it is
		err = io.ErrUnexpectedEOF
	}
	return err
}
