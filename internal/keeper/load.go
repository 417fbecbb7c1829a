// Package keeper is the only writer of zones: it loads them, has them checked,
// and publishes the versions that are good.
//
// A zone that cannot be loaded never takes others with it, and never takes its own
// last good version: that one keeps serving, and [Keeper.Status] says what is
// wrong. Several zones that change at once are published at once.
package keeper

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"port53/internal/tsig"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zonefile"
)

// A Source is where a zone comes from.
type Source struct {
	Apex []byte // in wire form
	File string // the zone file's path

	// Limits of the file; zero values mean the defaults of package zonefile.
	Generate   int   // records that $GENERATE may make in all; 0: refused
	MaxRecords int   // records of the zone
	MaxSize    int64 // octets of the file and all that it includes

	Primaries   []netip.AddrPort           // the zone is fetched from; it has no file then
	Secondaries []netip.AddrPort           // who is told of changes, and may have the zone
	Notify      []netip.AddrPort           // who is told of changes as well
	Transfer    []netip.Prefix             // who may have the zone as well
	Key         *tsig.Key                  // that transfers are signed with; nil: see Insecure
	Insecure    bool                       // transfers are not signed
	Updates     []Grant                    // who may change the zone
	Next        func(serial uint32) uint32 // the serial that follows when an update changes the zone; nil: one more

	AllowNotify []netip.Prefix // who may tell of changes of a secondary zone, beside its primaries
	Forward     bool           // updates of a secondary zone go to its primaries

	Consumes *Template // the zone is a catalog (RFC 9432): its members are served as this says
	Produces bool      // the zone is a catalog that is made here: it has no file
	Listed   []Listed  // its members
	Group    string    // of the zone in the catalog that named it
	Catalog  []byte    // the catalog that named the zone; nil: the configuration did
	Member   string    // the unique label that it has there
}

// A Listed is a zone that a catalog made here names.
type Listed struct {
	Apex  []byte
	Group string // at most 255 octets; empty: none
}

// A Problem is something wrong with a zone file.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`
	Col     int    `json:"column,omitempty"`
	Warning bool   `json:"warning,omitempty"`
	Text    string `json:"text"`
}

// String returns the problem as file:line:column: text.
func (p Problem) String() string {
	place := p.File
	if p.Line > 0 {
		place = fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
	}
	if p.Warning {
		return place + ": warning: " + p.Text
	}
	return place + ": " + p.Text
}

// A Loaded is what reading a zone file gave.
type Loaded struct {
	Zone     *zone.Zone // nil if it cannot be served
	Problems []Problem  // in the order of the file, errors and warnings
	files    []fileStamp
}

// A fileStamp tells whether a file is the one that was read.
type fileStamp struct {
	path string
	time time.Time
	size int64
	id   os.FileInfo
}

// octetsPerName is about how much of a zone file one name takes, delegations with
// their glue: a guess that only saves work.
const octetsPerName = 64

// Load reads and compiles one zone. It returns no error: what is wrong is in the
// problems.
func Load(s Source, seed wire.Seed) Loaded {
	var l Loaded
	fail := func(err error) Loaded {
		l.Problems = append(l.Problems, Problem{File: s.File, Text: err.Error()})
		return l
	}
	// Stamps are taken before reading: a change meanwhile is seen the next time.
	l.stamp(s.File)
	f, err := os.Open(s.File)
	if err != nil {
		return fail(fmt.Errorf("cannot be opened: %w", cause(err)))
	}
	defer f.Close()
	// The root keeps $INCLUDE within the zone's folder, symbolic links too.
	root, err := os.OpenRoot(filepath.Dir(s.File))
	if err != nil {
		return fail(fmt.Errorf("its folder cannot be opened: %w", cause(err)))
	}
	defer root.Close()

	b := zone.NewBuilder(s.Apex, seed)
	if info, err := f.Stat(); err == nil {
		b.Expect(int(min(info.Size()/octetsPerName, 1<<26)))
	}
	var record zone.Record
	files, err := zonefile.Read(f, zonefile.Options{
		Origin: s.Apex, Name: s.File, FS: root.FS(),
		Generate: s.Generate, MaxRecords: s.MaxRecords, MaxBytes: s.MaxSize,
	}, func(r *zonefile.Record) error {
		record.Owner, record.SameOwner, record.Type = r.Owner, r.SameOwner, r.Type
		record.TTL, record.Data = r.TTL, r.Data
		record.Pos = zone.Pos{File: r.File, Line: r.Line, Col: uint16(min(r.Col, 1<<16-1))}
		b.Add(&record)
		return nil
	})
	for _, name := range files[min(1, len(files)):] {
		l.stamp(filepath.Join(filepath.Dir(s.File), name))
	}
	if err != nil {
		l.fileErrors(s.File, err)
		return l
	}
	z, problems := b.Build()
	for _, p := range problems {
		at := Problem{File: s.File, Warning: p.Warning, Text: p.Text}
		if p.Pos.Line > 0 {
			at.File, at.Line, at.Col = files[p.Pos.File], int(p.Pos.Line), int(p.Pos.Col)
		}
		l.Problems = append(l.Problems, at)
	}
	l.Zone = z
	return l
}

// fileErrors takes apart what zonefile.Read returned.
func (l *Loaded) fileErrors(file string, err error) {
	var several interface{ Unwrap() []error }
	if errors.As(err, &several) {
		for _, e := range several.Unwrap() {
			l.fileErrors(file, e)
		}
		return
	}
	p := Problem{File: file, Text: err.Error()}
	var at *zonefile.Error
	if errors.As(err, &at) {
		p = Problem{File: at.Pos.File, Line: at.Pos.Line, Col: at.Pos.Col, Text: at.Text}
	}
	l.Problems = append(l.Problems, p)
}

// cause strips the operation and the path from err: the place is said already.
func cause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

func (l *Loaded) stamp(path string) {
	s := fileStamp{path: path}
	if info, err := os.Stat(path); err == nil {
		s.time, s.size, s.id = info.ModTime(), info.Size(), info
	}
	l.files = append(l.files, s)
}

// unchanged tells whether all files are as they were.
func unchanged(files []fileStamp) bool {
	return len(files) > 0 && !slices.ContainsFunc(files, func(s fileStamp) bool {
		info, err := os.Stat(s.path)
		if err != nil || s.id == nil {
			return true
		}
		return !info.ModTime().Equal(s.time) || info.Size() != s.size || !os.SameFile(info, s.id)
	})
}
