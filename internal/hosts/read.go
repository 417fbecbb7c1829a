package hosts

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"port53/internal/wire"
)

// Bounds of what is read.
const (
	MaxNames = 200_000  // of all sources together
	MaxFile  = 16 << 20 // octets of one file
)

// A Name is a name of the configuration, or a subtree.
type Name struct {
	Name  []byte // in wire form; below a label * all names
	Addrs []netip.Addr
}

// A Format is how a file of leases is written.
type Format uint8

// The formats.
const (
	Auto    Format = iota // told from the text
	Dnsmasq               // dnsmasq.leases
	Kea                   // the memfile of Kea, CSV
	ISC                   // dhcpd.leases
)

// A LeaseFile is a file in which a DHCP server keeps its leases.
type LeaseFile struct {
	Path   string
	Format Format
}

// Sources are where names come from, in the order of their rank: a name has the data of the first
// that has it.
type Sources struct {
	Names  []Name
	Files  []string // such as /etc/hosts
	Leases []LeaseFile
	Domain []byte // of bare names in files and leases, and of names that are nowhere else; empty: none

	// Authoritative has names below Domain that are nowhere else not exist: nobody else is asked.
	Authoritative bool

	// Reserved tells of names that a lease may not have, since a client chooses what it is called.
	Reserved func(name []byte) bool
}

// Empty reports whether there is nothing to read, and no domain.
func (s *Sources) Empty() bool {
	return len(s.Names)+len(s.Files)+len(s.Leases)+len(s.Domain) == 0
}

// A Result is what was read.
type Result struct {
	Table   *Table
	Notes   []string  // what was left out, and why
	Failed  bool      // a file could not be read: its names are missing
	Expires time.Time // when the first of its leases ends; zero: none does
	stamps  []stamp
}

// A stamp reports whether a file has changed.
type stamp struct {
	path string
	info os.FileInfo // nil: there was none
}

func stampOf(path string) stamp {
	info, err := os.Stat(path)
	if err != nil {
		info = nil
	}
	return stamp{path, info}
}

func (s stamp) same(t stamp) bool {
	if s.info == nil || t.info == nil {
		return s.info == nil && t.info == nil
	}
	return os.SameFile(s.info, t.info) && s.info.Size() == t.info.Size() && s.info.ModTime().Equal(t.info.ModTime())
}

// Changed reports whether a file is another than when it was read, or a lease has ended.
func (r *Result) Changed(now time.Time) bool {
	if !r.Expires.IsZero() && !now.Before(r.Expires) {
		return true
	}
	for _, s := range r.stamps {
		if !s.same(stampOf(s.path)) {
			return true
		}
	}
	return false
}

// Read reads the sources as they are now. A file that cannot be read is a note, and its names are
// missing.
func Read(s *Sources, now time.Time) *Result {
	r := &Result{}
	if s.Empty() {
		return r
	}
	b := newBuilder(s)
	for _, n := range s.Names {
		if above, star := bytes.CutPrefix(n.Name, []byte("\x01*")); star {
			b.addStar(above, n.Addrs)
			continue
		}
		for _, a := range n.Addrs {
			b.add(0, n.Name, a)
			b.addReverse(0, a, n.Name)
		}
	}
	source := 0
	for _, path := range s.Files {
		source++
		text, err := r.read(path)
		if err != nil {
			r.fail(err)
			continue
		}
		r.hostsFile(b, s, source, path, text)
	}
	for _, f := range s.Leases {
		source++
		text, err := r.read(f.Path)
		if err != nil {
			r.fail(err)
			continue
		}
		r.leaseFile(b, s, source, f, text, now)
	}
	r.Table = b.t
	return r
}

// maxNotes is how many notes a reading has.
const maxNotes = 20

func (r *Result) note(format string, args ...any) {
	if len(r.Notes) < maxNotes {
		r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
	}
}

func (r *Result) fail(err error) {
	r.Failed = true
	r.note("%v", err)
}

// read reads a regular file, and no more of it than MaxFile. What it was like before is kept,
// so that a change meanwhile is seen.
func (r *Result) read(path string) ([]byte, error) {
	r.stamps = append(r.stamps, stampOf(path))
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe is not waited for
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > MaxFile {
		return nil, fmt.Errorf("%s has more than %d octets", path, MaxFile)
	}
	return text, nil
}

// hostsFile reads lines of an address and names (hosts(5)). Addresses of loopback are the
// machine's own business and left out.
func (r *Result) hostsFile(b *builder, s *Sources, source int, path string, text []byte) {
	line := 0
	for l := range strings.Lines(string(text)) {
		line++
		l, _, _ = strings.Cut(l, "#")
		words := strings.Fields(l)
		if len(words) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(words[0])
		if err != nil {
			r.note("%s:%d: %q is not an address", path, line, words[0])
			continue
		}
		if addr.Zone() != "" || addr.IsLoopback() || addr.IsMulticast() {
			continue
		}
		for i, w := range words[1:] {
			name, err := wire.ParseName(w)
			if err != nil || len(name) < 2 || name[1] == '*' {
				r.note("%s:%d: %q is not a name of a machine", path, line, w)
				continue
			}
			if !b.addBoth(s, source, name, addr, i == 0) {
				r.note("%s:%d: more than %d names", path, line, MaxNames)
				return
			}
		}
	}
}

// addBoth adds a name, and if it is bare, the one in the domain. first reports whether it is the
// name of the address.
func (b *builder) addBoth(s *Sources, source int, name []byte, addr netip.Addr, first bool) bool {
	full := name
	if wire.LabelCount(name) == 1 && len(s.Domain) > 1 {
		full = append(name[:len(name)-1:len(name)-1], s.Domain...)
		if len(full) > wire.MaxName {
			full = name
		}
	}
	ok := b.add(source, name, addr)
	if len(full) != len(name) {
		ok = ok && b.add(source, full, addr)
	}
	if first {
		b.addReverse(source, addr, full)
	}
	return ok
}
