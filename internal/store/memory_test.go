package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// OpenOn is Open with a file system of the tests.
func OpenOn(m *Memory, path string, log *slog.Logger) *Dir {
	d := openOn(m, path, log)
	d.limits, d.bundle.limits = m.limits, m.limits
	return d
}

// A FileSystem is what a store works on.
type FileSystem = fileSystem

// OpenOnAny is Open with any file system.
func OpenOnAny(fsys FileSystem, path string) *Dir { return openOn(fsys, path, nil) }

// SyncDir syncs a directory of the machine.
func SyncDir(path string) error { return system{}.SyncDir(path) }

// FrameOf returns a frame with any body, and right checksums, that follows a journal.
func FrameOf(journal, body []byte) []byte {
	frame := slices.Concat([]byte(marker), make([]byte, frameHead-len(marker)), body)
	binary.LittleEndian.PutUint32(frame[len(marker):], uint32(len(body)))
	binary.LittleEndian.PutUint32(frame[len(marker)+4:], crc32.Checksum(body, table()))
	binary.LittleEndian.PutUint32(frame[len(marker)+8:], headSum(life(journal[len(journalLine):]), len(journal), frame))
	return frame
}

// OldFrameOf is FrameOf for the format before this one.
func OldFrameOf(body []byte) []byte {
	head := binary.LittleEndian.AppendUint32(nil, uint32(len(body)))
	return append(binary.LittleEndian.AppendUint32(head, crc32.Checksum(body, table())), body...)
}

// WholeOf returns the file of a version with other records, and the right checksum.
func WholeOf(content, records []byte) []byte {
	content = append(slices.Clone(content[:wholeHead]), records...)
	binary.LittleEndian.PutUint32(content[wholeHead-8:], uint32(len(records)))
	binary.LittleEndian.PutUint32(content[wholeHead-4:], wholeSum(content))
	return content
}

// Claim is what TakeLock does with a file that it has opened.
func Claim(f *os.File, name string) error { return claim(f, name) }

// Bound has the stores on the file system shorten journals, and refuse versions, of more
// than so many bytes.
func (m *Memory) Bound(journal, whole int) { m.limits = limits{journal, whole, journal} }

// A Memory is a file system in memory, for tests. It knows of each file what was synced,
// and of each directory the names that were: a crash loses the rest, in whole or in part.
type Memory struct {
	mu   sync.Mutex
	root *node
	room int // bytes that can be written yet; negative: any number
	open int // files that are open

	limits limits // of the stores on it

	// Fail is asked before each operation that changes something, and before each file is
	// opened or looked at: its error is the operation's. It may be nil. The operations are
	// lstat, open, create, write, truncate, sync, close, link, rename, remove, mkdir and syncdir. A sync for which
	// it returns ErrNothingDone does nothing, and tells nobody; for ErrForgotten it fails, and
	// the next does not write what this one should have, as on Linux.
	Fail func(op, path string) error
}

// The errors that have a meaning for Memory.Fail.
var (
	ErrNothingDone = errors.New("nothing done")
	ErrForgotten   = errors.New("a fault of the disk")
)

// A node is a file or a directory.
type node struct {
	data, synced []byte
	lost         []bool           // bytes of data that a sync which failed has forgotten, as Linux does
	names        map[string]*node // of a directory
	lasting      map[string]*node // as of the last sync
	undone       []change         // since then
}

// A change of a directory takes a name away, enters one, or both.
type change struct {
	remove, name string // "": none
	node         *node
}

func (c change) to(names map[string]*node) {
	delete(names, c.remove)
	if c.name != "" {
		names[c.name] = c.node
	}
}

// NewMemory returns a file system with an empty directory /state.
func NewMemory() *Memory {
	root := newDir()
	root.names["state"] = newDir()
	root.lasting["state"] = root.names["state"]
	return &Memory{root: root, room: -1, limits: limits{minJournal, maxWhole, bundleWaste}}
}

func newDir() *node { return &node{names: map[string]*node{}, lasting: map[string]*node{}} }

// Limit lets so many bytes more be written, before the disk is full.
func (m *Memory) Limit(bytes int) { m.room = bytes }

// StillOpen returns how many files are open.
func (m *Memory) StillOpen() int { return m.open }

func (m *Memory) failing(op, path string) error {
	if m.Fail != nil {
		if err := m.Fail(op, path); err != nil {
			return &fs.PathError{Op: op, Path: path, Err: err}
		}
	}
	return nil
}

// find returns what is at a path, or nil, and the directory that it is in.
func (m *Memory) find(path string) (n, dir *node, name string) {
	n = m.root
	for part := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if part == "" {
			continue
		}
		if n == nil || n.names == nil {
			return nil, nil, part
		}
		dir, name = n, part
		n = n.names[part]
	}
	return n, dir, name
}

// change changes the names of a directory, so that a crash may undo it.
func (n *node) change(remove, name string, to *node) {
	c := change{remove, name, to}
	c.to(n.names)
	n.undone = append(n.undone, c)
}

func (m *Memory) MkdirAll(path string, _ fs.FileMode) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.failing("mkdir", path); err != nil {
		return err
	}
	at := m.root
	for part := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if at.names[part] == nil {
			at.change("", part, newDir())
		}
		at = at.names[part]
	}
	return nil
}

type handle struct {
	m    *Memory
	n    *node
	path string
	at   int
}

func (m *Memory) OpenFile(path string, flag int, _ fs.FileMode) (file, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, dir, name := m.find(path)
	op := "open"
	if n == nil && flag&os.O_CREATE != 0 {
		op = "create"
	}
	if err := m.failing(op, path); err != nil {
		return nil, err
	}
	switch {
	case n != nil:
		if flag&os.O_TRUNC != 0 {
			n.data, n.lost = nil, nil
		}
	case flag&os.O_CREATE == 0 || dir == nil:
		return nil, &fs.PathError{Op: op, Path: path, Err: fs.ErrNotExist}
	default:
		n = &node{}
		dir.change("", name, n)
	}
	m.open++
	return &handle{m, n, path, 0}, nil
}

func (m *Memory) Link(path, as string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.failing("link", path); err != nil {
		return err
	}
	n, _, _ := m.find(path)
	other, dir, name := m.find(as)
	switch {
	case n == nil || dir == nil:
		return &fs.PathError{Op: "link", Path: path, Err: fs.ErrNotExist}
	case other != nil:
		return &fs.PathError{Op: "link", Path: as, Err: fs.ErrExist}
	}
	dir.change("", name, n)
	return nil
}

// Rename is within one directory.
func (m *Memory) Rename(path, as string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.failing("rename", path); err != nil {
		return err
	}
	n, dir, name := m.find(path)
	if n == nil || filepath.Dir(path) != filepath.Dir(as) {
		return &fs.PathError{Op: "rename", Path: path, Err: fs.ErrNotExist}
	}
	dir.change(name, filepath.Base(as), n)
	return nil
}

func (m *Memory) Remove(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.failing("remove", path); err != nil {
		return err
	}
	n, dir, name := m.find(path)
	switch {
	case n == nil:
		return &fs.PathError{Op: "remove", Path: path, Err: fs.ErrNotExist}
	case len(n.names) > 0:
		return &fs.PathError{Op: "remove", Path: path, Err: syscall.ENOTEMPTY}
	}
	dir.change(name, "", nil)
	return nil
}

func (m *Memory) RemoveAll(path string) error {
	for _, name := range m.Names(path) {
		if err := m.RemoveAll(filepath.Join(path, name)); err != nil {
			return err
		}
	}
	if err := m.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (m *Memory) ReadNames(path string) ([]string, error) { return m.Names(path), nil }

// Names returns what is in a directory.
func (m *Memory) Names(path string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, _, _ := m.find(path)
	if n == nil {
		return nil
	}
	var list []string
	for name := range n.names {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

func (m *Memory) Lstat(path string) (fs.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.failing("lstat", path); err != nil {
		return nil, err
	}
	n, _, _ := m.find(path)
	if n == nil {
		return nil, &fs.PathError{Op: "lstat", Path: path, Err: fs.ErrNotExist}
	}
	return n, nil
}

func (m *Memory) SyncDir(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.failing("syncdir", path); errors.Is(err, ErrNothingDone) {
		return nil
	} else if err != nil {
		return err
	}
	n, _, _ := m.find(path)
	if n == nil {
		return &fs.PathError{Op: "syncdir", Path: path, Err: fs.ErrNotExist}
	}
	for _, c := range n.undone {
		c.to(n.lasting)
	}
	n.undone = nil
	return nil
}

// Put writes a file that lasts, and its directory.
func (m *Memory) Put(path string, content []byte) {
	fail, room := m.Fail, m.room
	m.Fail, m.room = nil, -1
	defer func() { m.Fail, m.room = fail, room }()
	dir := filepath.Dir(path)
	err := m.MkdirAll(dir, 0)
	if err == nil {
		err = write(m, path, content)
	}
	for ; err == nil && dir != "/"; dir = filepath.Dir(dir) {
		err = errors.Join(m.SyncDir(dir), m.SyncDir(filepath.Dir(dir)))
	}
	if err != nil {
		panic(err)
	}
}

// Get returns what a file has.
func (m *Memory) Get(path string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, _, _ := m.find(path)
	if n == nil {
		return nil
	}
	return slices.Clone(n.data)
}

// Copy returns the file system as another process finds it.
func (m *Memory) Copy() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	made := map[*node]*node{}
	var copyOf func(n *node) *node
	copyOf = func(n *node) *node {
		if made[n] != nil {
			return made[n]
		}
		c := &node{data: slices.Clone(n.data), synced: slices.Clone(n.synced), lost: slices.Clone(n.lost)}
		made[n] = c
		if n.names == nil {
			return c
		}
		c.names, c.lasting = map[string]*node{}, map[string]*node{}
		for name, x := range n.lasting {
			c.lasting[name] = copyOf(x)
		}
		for name, x := range n.names {
			c.names[name] = copyOf(x)
		}
		for _, u := range n.undone {
			c.undone = append(c.undone, change{u.remove, u.name, nil})
			if u.node != nil {
				c.undone[len(c.undone)-1].node = copyOf(u.node)
			}
		}
		return c
	}
	return &Memory{root: copyOf(m.root), room: m.room, limits: m.limits}
}

// Crash returns the file system as a machine finds it that lost its power and got it back.
// Of what was not synced each file and directory has nothing if r is nil; else as much as
// r draws: the names that were changed first, all of a file, its beginning, or zeros.
func (m *Memory) Crash(r *rand.Rand) *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	left := map[*node]*node{}
	var copyOf func(n *node) *node
	copyOf = func(n *node) *node {
		if left[n] != nil {
			return left[n]
		}
		c := &node{data: slices.Clone(n.synced)}
		left[n] = c
		if n.names == nil {
			if r != nil && string(n.data) != string(n.synced) {
				switch r.IntN(4) {
				case 0:
					c.data = slices.Clone(n.data)
				case 1: // in the order of their places
					c.data = slices.Clone(n.data[:min(len(n.data), len(n.synced)+r.IntN(len(n.data)+1))])
				case 2: // the size, and a sector, did not
					c.data = slices.Clone(n.data)
					at := (len(n.synced)/sector + r.IntN(1+len(n.data)/sector)) * sector
					if from, to := max(at, len(n.synced)), min(len(n.data), at+sector); from < to {
						clear(c.data[from:to])
					}
				}
			}
			c.synced = slices.Clone(c.data)
			return c
		}
		names := map[string]*node{}
		for name, x := range n.lasting {
			names[name] = x
		}
		if r != nil {
			for _, f := range n.undone[:r.IntN(len(n.undone)+1)] {
				f.to(names)
			}
		}
		c.names, c.lasting = map[string]*node{}, map[string]*node{}
		for name, x := range names {
			c.names[name] = copyOf(x)
			c.lasting[name] = c.names[name]
		}
		return c
	}
	return &Memory{root: copyOf(m.root), room: -1, limits: m.limits}
}

func (h *handle) Read(b []byte) (int, error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	n := copy(b, h.n.data[min(h.at, len(h.n.data)):])
	h.at += n
	if n == 0 && len(b) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (h *handle) ReadAt(b []byte, at int64) (int, error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	n := copy(b, h.n.data[min(at, int64(len(h.n.data))):])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (h *handle) WriteAt(b []byte, at int64) (int, error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	err := h.m.failing("write", h.path)
	if err != nil {
		b = b[:len(b)/2]
	}
	if h.m.room >= 0 && len(b) > h.m.room {
		b, err = b[:h.m.room], &fs.PathError{Op: "write", Path: h.path, Err: syscall.ENOSPC}
	}
	if h.m.room >= 0 {
		h.m.room -= len(b)
	}
	if missing := int(at) + len(b) - len(h.n.data); missing > 0 {
		h.n.data = append(slices.Clone(h.n.data), make([]byte, missing)...)
	}
	copy(h.n.data[at:], b)
	for i := range b {
		if int(at)+i < len(h.n.lost) {
			h.n.lost[int(at)+i] = false
		}
	}
	return len(b), err
}

func (h *handle) Truncate(size int64) error {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if err := h.m.failing("truncate", h.path); err != nil {
		return err
	}
	if int(size) > len(h.n.data) {
		return fmt.Errorf("%s is to grow", h.path)
	}
	h.n.data = slices.Clone(h.n.data[:size])
	h.n.lost = h.n.lost[:min(len(h.n.lost), int(size))]
	return nil
}

func (h *handle) Sync() error {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if err := h.m.failing("sync", h.path); errors.Is(err, ErrNothingDone) {
		return nil
	} else if err != nil {
		if errors.Is(err, ErrForgotten) {
			h.n.lost = make([]bool, len(h.n.data))
			for i, c := range h.n.data {
				h.n.lost[i] = i >= len(h.n.synced) || h.n.synced[i] != c
			}
		}
		return err
	}
	h.n.synced = h.n.lasts()
	return nil
}

// lasts returns what a file has on the disk after a sync.
func (n *node) lasts() []byte {
	content := slices.Clone(n.data)
	for i, lost := range n.lost {
		if lost && i < len(n.synced) {
			content[i] = n.synced[i]
		} else if lost {
			content[i] = 0
		}
	}
	return content
}

func (h *handle) Close() error {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	h.m.open--
	return h.m.failing("close", h.path)
}

func (h *handle) Stat() (fs.FileInfo, error) { return h.n, nil }

func (n *node) Name() string { return "" }
func (n *node) Size() int64  { return int64(len(n.data)) }
func (n *node) Mode() fs.FileMode {
	if n.names != nil {
		return fs.ModeDir
	}
	return 0
}
func (n *node) ModTime() time.Time { return time.Time{} }
func (n *node) IsDir() bool        { return n.names != nil }
func (n *node) Sys() any           { return nil }
