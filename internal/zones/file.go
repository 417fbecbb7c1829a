package zones

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zonefile"
)

// A file is the [Origin] of a zone that is read from a zone file.
type file struct {
	apex     []byte
	path     string
	generate int
	records  int
	size     int64
	policy   bool // nobody is answered from it, nor looks for its name servers
}

// Candidate implements [Origin]: the file is read again if the last verdict was bad, or if
// anything that it rested on has changed.
func (f *file) Candidate(_ context.Context, known Known) (*Candidate, error) {
	if b, ok := known.Basis.(*fileBasis); ok && b.of.equal(f) && b.Holds() {
		return nil, nil
	}
	l := f.load(known.Seed)
	c := &Candidate{Zone: l.Zone, Problems: l.Problems, Digest: DigestWarns}
	if l.Zone != nil {
		c.Basis = &fileBasis{f, l.files}
	}
	return c, nil
}

// Continues implements [Origin]: another file of the same zone is an edit of the first.
func (f *file) Continues(prior Origin) bool {
	_, ok := prior.(*file)
	return ok
}

// Traits implements [Origin]: the file is there at the next start.
func (f *file) Traits() Traits { return Traits{} }

func (f *file) equal(g *file) bool {
	return string(f.apex) == string(g.apex) && f.path == g.path && f.generate == g.generate && f.records == g.records && f.size == g.size &&
		f.policy == g.policy
}

// A fileBasis is what a good verdict on a file rested on: how it was read, and each file
// that was.
type fileBasis struct {
	of    *file
	files []fileStamp
}

// Holds implements [Basis].
func (b *fileBasis) Holds() bool {
	return !slices.ContainsFunc(b.files, func(s fileStamp) bool { return !s.holds() })
}

// edited reports whether somebody has written to one of the files, or replaced one, since.
// Other rights are no edit.
func (b *fileBasis) edited() bool {
	return slices.ContainsFunc(b.files, func(s fileStamp) bool {
		now := stamp(s.path)
		return s.info == nil || now.info == nil || !now.info.ModTime().Equal(s.info.ModTime()) || now.info.Size() != s.info.Size()
	})
}

// A fileStamp recognizes a file that is as it was when it was read.
type fileStamp struct {
	path    string
	info    os.FileInfo // nil: it was not there
	changed time.Time   // its status was changed last; zero where the system does not tell
}

func stamp(path string) fileStamp {
	info, err := os.Stat(path)
	if err != nil {
		return fileStamp{path: path}
	}
	return fileStamp{path, info, changeTime(info)}
}

func (s *fileStamp) holds() bool {
	if s.info == nil {
		return false
	}
	now := stamp(s.path)
	return now.info != nil && now.info.ModTime().Equal(s.info.ModTime()) && now.info.Size() == s.info.Size() &&
		now.changed.Equal(s.changed) && os.SameFile(now.info, s.info)
}

// A Loaded is what reading a zone file gave.
type Loaded struct {
	Zone     *zone.Zone // nil if it cannot be served
	Problems []Problem  // in the order of the file, errors and warnings
	files    []fileStamp
}

// bytesPerName is about how much of a zone file one name takes, delegations with their
// glue: a guess that only saves work.
const bytesPerName = 64

// Load reads and compiles the zone file of s. It returns no error: what is wrong is in the
// problems.
func Load(s Source, seed wire.Seed) Loaded {
	return s.file().load(seed)
}

func (f *file) load(seed wire.Seed) Loaded {
	var l Loaded
	fail := func(err error) Loaded {
		l.Problems = append(l.Problems, Problem{File: f.path, Text: err.Error()})
		return l
	}
	// Stamps are taken before reading: a change meanwhile is seen the next time.
	l.files = append(l.files, stamp(f.path))
	in, err := os.OpenFile(f.path, os.O_RDONLY|nonblocking, 0)
	if err != nil {
		return fail(fmt.Errorf("cannot be opened: %w", cause(err)))
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return fail(fmt.Errorf("cannot be read: %w", cause(err)))
	}
	if !readable(info) {
		return fail(errNotAFile)
	}
	// The root keeps $INCLUDE within the zone's directory, symbolic links too.
	root, err := os.OpenRoot(filepath.Dir(f.path))
	if err != nil {
		return fail(fmt.Errorf("its directory cannot be opened: %w", cause(err)))
	}
	defer root.Close()

	b := zone.NewBuilder(f.apex, seed)
	b.Expect(int(min(info.Size()/bytesPerName, 1<<26)))
	var record zone.Record
	files, err := zonefile.Read(in, zonefile.Options{
		Origin: f.apex, Name: f.path, FS: regularFiles{root},
		Generate: f.generate, MaxRecords: f.records, MaxBytes: f.size,
		Warn: func(e *zonefile.Error) {
			l.Problems = append(l.Problems, Problem{File: e.Pos.File, Line: e.Pos.Line, Col: e.Pos.Col, Warning: true, Text: e.Text})
		},
	}, func(r *zonefile.Record) error {
		record.Owner, record.SameOwner, record.Type = r.Owner, r.SameOwner, r.Type
		record.TTL, record.Data = r.TTL, r.Data
		record.Pos = zone.Pos{File: r.File, Line: r.Line, Col: uint16(min(r.Col, 1<<16-1))}
		b.Add(&record)
		return nil
	})
	for _, name := range files[min(1, len(files)):] {
		l.files = append(l.files, stamp(filepath.Join(filepath.Dir(f.path), name)))
	}
	if err != nil {
		l.fileErrors(f.path, err)
		return l
	}
	z, problems := b.Build()
	for _, p := range problems {
		if f.policy && p.NameServer {
			continue
		}
		at := Problem{File: f.path, Warning: p.Warning, Text: p.Text, Signature: p.Signature}
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

var errNotAFile = errors.New("cannot be read: neither a regular file nor a pipe with a writer")

// readable reports whether reading comes to an end by itself: a directory and a device have
// none. A pipe that was opened without blocking ends when nobody writes to it.
func readable(info os.FileInfo) bool {
	return info.Mode().IsRegular() || info.Mode()&os.ModeNamedPipe != 0
}

// regularFiles opens files below a directory for $INCLUDE, and never waits for whoever is
// on the other end of one.
type regularFiles struct{ root *os.Root }

// Open implements [fs.FS].
func (r regularFiles) Open(name string) (fs.File, error) {
	f, err := r.root.OpenFile(name, os.O_RDONLY|nonblocking, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: name, Err: errors.New("not a regular file")}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// cause strips the operation and the path from err: the place is said already.
func cause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// byFile says of a change that the zone file made it.
const byFile = "the zone file"

// beside decides what a file's candidate is to a zone that has been changed by other ways
// than its file: what updates made counts, unless the file has a newer serial. It returns
// the candidate to serve, or with Zone nil none: then the version served is still right,
// and inFile reports whether the file has it.
//
// z.mu is held.
func (z *managed) beside(source *Source, c *Candidate) (inFile bool) {
	have := z.zone
	if have == nil || !z.stored && !source.shared() {
		return true
	}
	say := func(format string, args ...any) {
		c.Problems = append(c.Problems, Problem{File: source.File, Warning: true, Text: fmt.Sprintf(format, args...)})
	}
	d := zone.Diff(have, c.Zone)
	if d == nil || z.stored && !zone.Newer(d.To, d.From) && d.OnlySerial() {
		c.Zone = have
		return true
	}
	newer := zone.Newer(d.To, d.From)
	switch {
	case !z.stored && newer:
	case !z.stored:
		say("the zone changed but its serial did not: secondaries keep their version")
		return true
	case d.From == d.To && z.inFile && z.synced == d.From:
		say("the file changed but its serial %d did not: raise it to load the file", d.To)
		c.unused = true
		c.Zone = have
		return z.inFile
	case !newer:
		say("the zone has serial %d through updates: the file with serial %d is ignored until its serial is newer", d.From, d.To)
		b, known := z.basis.(*fileBasis)
		c.unused = known && b.edited()
		c.Zone = have
		return false
	case z.overwrites(d.From):
		say(
			"the file with its newer serial %d replaces the zone, and updates made since the file was written are lost; "+
				"to keep them, use port53 zone freeze before editing",
			d.To,
		)
	}
	d.By = byFile
	c.Deltas = []*zone.Delta{d}
	return true
}
