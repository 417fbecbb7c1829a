package report

import (
	"bytes"
	"io"
	"os"
)

// spoolMemory is how many octets of a report wait in memory for its summary, which is written
// before them. The rest waits in a file.
const spoolMemory = 8 << 20

// A spool keeps what is written until it is asked for: the reports of a network may be more than
// fits into memory.
type spool struct {
	b    bytes.Buffer
	file *os.File // without a name where that can be; nil until it is needed
	size int64
}

// Write appends. It fails where the disk does.
func (s *spool) Write(p []byte) (int, error) {
	if s.file == nil && s.b.Len()+len(p) <= spoolMemory {
		s.size += int64(len(p))
		return s.b.Write(p)
	}
	if s.file == nil {
		f, err := os.CreateTemp("", "port53-report-*")
		if err != nil {
			return 0, err
		}
		_ = os.Remove(f.Name()) // a file that is open needs no name; where it does, close removes it
		s.file = f
		if _, err := f.Write(s.b.Bytes()); err != nil {
			return 0, err
		}
		s.b = bytes.Buffer{}
	}
	n, err := s.file.Write(p)
	s.size += int64(n)
	return n, err
}

// copy writes a part of what was written.
func (s *spool) copy(w io.Writer, from, to int64) error {
	if s.file == nil {
		_, err := w.Write(s.b.Bytes()[from:to])
		return err
	}
	_, err := io.Copy(w, io.NewSectionReader(s.file, from, to-from))
	return err
}

// close gives back what the spool took.
func (s *spool) close() {
	if s.file != nil {
		_ = s.file.Close()
		_ = os.Remove(s.file.Name()) // gone already, but for systems that keep the names of open files
		s.file = nil
	}
	s.b = bytes.Buffer{}
}

// A part is where in a spool one report is.
type part struct{ from, to int64 }
