// Package zonefile reads and writes master files (RFC 1035, section 5).
//
// [Read] goes through a file of any size with a small buffer and hands out one
// record after the other, in wire form, without allocating for each. What it
// accepts is well formed by the table of types of package wire. Every fault has
// its place, file:line:column, and says what was expected; reading goes on with the
// next entry until there are enough of them.
//
// Files that a zone file includes come from the [io/fs.FS] that the caller gives,
// and from nowhere else. $GENERATE makes nothing unless it is allowed to.
package zonefile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"

	"port53/internal/wire"
)

// Limits of one zone file and what it includes; where Options has a field of the
// name, this is what its zero value means.
const (
	maxDepth       = 4        // files included by included files (SECURITY: $INCLUDE bombs)
	maxErrors      = 20       // collected before reading stops
	maxEntry       = 1 << 20  // octets of one entry: 64 KiB of data, each octet as \DDD, fits
	maxRecords     = 20 << 20 // MaxRecords
	maxBytes       = 4 << 30  // MaxBytes
	maxTTL         = 1<<31 - 1
	bufferSize     = 256 << 10
	firstBuffer    = 4 << 10
	generateTokens = 64 // tokens of what $GENERATE repeats
	maxFiles       = 1 << 16
)

// A Pos is a place in a file; Line and Col count from 1, Col in octets.
type Pos struct {
	File      string
	Line, Col int
}

// String returns file:line:column.
func (p Pos) String() string {
	return p.File + ":" + strconv.Itoa(p.Line) + ":" + strconv.Itoa(p.Col)
}

// An Error is a fault in a zone file.
type Error struct {
	Pos  Pos
	Text string // lower case, no full stop: what is wrong and what was expected
	Err  error  // underlying cause, or nil
}

// Error implements error.
func (e *Error) Error() string { return e.Pos.String() + ": " + e.Text }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ErrTooMany ends the list of errors of a file that has more.
var ErrTooMany = errors.New("too many errors: the rest was not read")

// A Record is one record as it stands in the file. Its slices are valid until the
// function that got it returns.
type Record struct {
	Owner     []byte // wire form, case as spelled
	SameOwner bool   // certainly the same name, in the same case, as that of the record handed out before
	Type      wire.Type
	TTL       uint32 // seconds
	Data      []byte // uncompressed
	Line      uint32 // where the entry begins
	Col       uint32
	File      uint16 // number of the file, as in what Read returns
}

// Options tell how to read a file. Origin and Name are required.
type Options struct {
	Origin []byte // in wire form
	Name   string // how the file is called in errors
	FS     fs.FS  // where $INCLUDE finds files; nil: it is refused

	DefaultTTL uint32 // as if $TTL stood before the first line; 0: none
	Generate   int    // records that $GENERATE may make in all; 0: it is refused
	MaxRecords int    // 0: 20,971,520
	MaxBytes   int64  // of the file and all it includes; 0: 4 GiB
	MaxErrors  int    // 0: 20

	// Warn is told of what can hardly be meant, and is read as it stands. It may be nil.
	Warn func(*Error)

	buffer int // octets read at once; 0: 256 KiB. Tests make it small
}

// Read calls handle with each record of the file, in its order. It returns the names
// of the file and those it included, by number, and what was wrong: several [*Error]
// joined, and [ErrTooMany] if there may be more. An error of handle ends reading and
// is returned as it is.
func Read(r io.Reader, o Options, handle func(*Record) error) (files []string, err error) {
	if n, err := wire.CheckName(o.Origin); err != nil || n != len(o.Origin) {
		return []string{o.Name}, fmt.Errorf("zonefile: origin %q is not a name in wire form", o.Origin)
	}
	if o.MaxRecords == 0 {
		o.MaxRecords = maxRecords
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = maxBytes
	}
	if o.MaxErrors == 0 {
		o.MaxErrors = maxErrors
	}
	if o.buffer == 0 {
		o.buffer = bufferSize
	}
	p := &parser{options: o, handle: handle, files: []string{o.Name}}
	p.origin = append(p.origin, o.Origin...)
	p.ttl, p.haveTTL = o.DefaultTTL, o.DefaultTTL > 0
	p.data = make([]byte, 0, 512)
	p.tokens = make([]token, 0, 64)
	err = p.file(r, 0, 0)
	switch {
	case err == errStop:
		return p.files, errors.Join(p.errs...)
	case err != nil:
		return p.files, err
	}
	return p.files, errors.Join(p.errs...)
}

// errStop ends reading when p.errs says why.
var errStop = errors.New("zonefile: stop")

// A fault is an error on its way to its position. It is only made when something
// is wrong.
type fault struct {
	at   int // offset in the buffer
	text string
	err  error

	missing string // what the entry ends before; empty: something else is wrong
}

func (f *fault) Error() string { return f.text }

func faultf(at int, format string, args ...any) *fault {
	err := fmt.Errorf(format, args...)
	return &fault{at: at, text: err.Error(), err: errors.Unwrap(err)}
}

// AppendRecord appends a record as one line of a zone file that Read takes back.
func AppendRecord(dst, owner []byte, ttl uint32, t wire.Type, data []byte) []byte {
	dst = append(wire.AppendName(dst, owner), '\t')
	dst = append(strconv.AppendUint(dst, uint64(ttl), 10), "\tIN\t"...)
	dst = append(append(dst, t.String()...), '\t')
	return append(wire.AppendRdataText(dst, t, data), '\n')
}
