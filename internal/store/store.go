// Package store keeps zones on disk: of each its last whole version, and a journal of
// the differences that came after it.
//
// A version is written beside the one before, synced and put in its place, so that
// there always is one. A difference is in the journal, and synced, when [Zone.Append]
// returns. Whatever a crash leaves behind it, [Zone.Load] finds the last state that
// was acknowledged: records carry checksums, and a torn end is cut off.
//
// Package store is used for one zone by one goroutine at a time.
package store

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"port53/internal/wire"
	"port53/internal/zone"
)

// A Dir is a folder with zones. Others than its owner cannot look into it: zones may be
// of nobody else's business.
type Dir struct {
	path  string
	mu    sync.Mutex
	zones map[string]*Zone // whose files are in use
}

const (
	dirMode  = 0o700
	fileMode = 0o600
)

// Open returns the folder at path. It is made when something is to be kept there.
func Open(path string) *Dir { return &Dir{path: path} }

// A Zone is the files of one zone. No file stays open.
type Zone struct {
	apex  []byte
	dir   string
	life  [lifeLen]byte // which journal belongs to the version
	size  int64         // of the journal, its head too; 0: there is none
	whole int64         // of the version
}

// Zone returns the files of a zone, whose name is in lower case. They need not exist.
func (d *Dir) Zone(apex []byte) *Zone {
	return &Zone{apex: apex, dir: filepath.Join(d.path, fileName(apex))}
}

// maxFileName leaves room in the 255 octets that file systems allow.
const maxFileName = 200

// fileName returns a name for a folder that no other zone has.
func fileName(apex []byte) string {
	var b strings.Builder
	for _, c := range []byte(strings.TrimSuffix(string(wire.AppendName(nil, apex)), ".")) {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' && b.Len() > 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	switch {
	case b.Len() == 0:
		return "%root"
	case b.Len() > maxFileName:
		sum := sha256.Sum256(apex)
		return "%" + hex.EncodeToString(sum[:])
	}
	return b.String()
}

// A version and its journal have the same life, a random number: a version that did not
// come about by differences begins a new one, so that a journal which a crash left beside
// it is not taken for its own.
const lifeLen = 8

const (
	wholeName   = "zone"
	journalName = "journal"
	checkedName = "checked"
	frozenName  = "frozen"
	magic       = "port53 zone 2\n"
	journalHead = "port53 journal 2\n"
	entryHead   = 8  // length and checksum
	deltaHead   = 12 // serials, and the length of what is removed
	maxEntry    = 1 << 30
)

// ErrBroken is wrapped by what Load returns for files that are not what was written.
var ErrBroken = errors.New("the zone's files are damaged")

func table() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// Save makes v the version on disk. With keep the journal stays, as the history of how
// v came about; without it the journal goes.
func (z *Zone) Save(v *zone.Zone, keep bool) error {
	if err := z.makeDir(); err != nil {
		return err
	}
	life := z.life
	if !keep || life == [lifeLen]byte{} {
		_, _ = rand.Read(life[:]) // it never fails
	}
	const head = len(magic) + lifeLen
	buf := make([]byte, head+entryHead, v.Size()+head+entryHead)
	copy(buf, magic)
	copy(buf[len(magic):], life[:])
	v.Each(func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		buf = zone.AppendRecord(buf, owner, t, ttl, data)
		return true
	})
	if len(buf) > maxEntry {
		return fmt.Errorf("the zone takes %d octets, more than can be stored", len(buf))
	}
	binary.LittleEndian.PutUint32(buf[head:], uint32(len(buf)-head-entryHead))
	binary.LittleEndian.PutUint32(buf[head+4:], crc32.Update(crc32.Checksum(life[:], table()), table(), buf[head+entryHead:]))
	if err := z.replace(wholeName, buf); err != nil {
		return err
	}
	z.whole = int64(len(buf))
	if life == z.life {
		return z.trim()
	}
	z.life = life
	return z.dropJournal()
}

// makeDir makes the zone's folder, which lasts when it returns.
func (z *Zone) makeDir() error {
	if _, err := os.Stat(z.dir); err == nil {
		return nil
	}
	above := filepath.Dir(z.dir)
	_, err := os.Stat(above)
	if err := os.MkdirAll(z.dir, dirMode); err != nil {
		return err
	}
	if err != nil { // it is new as well
		return errors.Join(syncDir(above), syncDir(filepath.Dir(above)))
	}
	return syncDir(above)
}

// replace writes a file and puts it in the place of the one before, or fails and leaves
// that.
func (z *Zone) replace(name string, content []byte) error {
	path := filepath.Join(z.dir, name)
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, fileMode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Rename(path+".new", path); err != nil {
		return err
	}
	return syncDir(z.dir)
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (z *Zone) dropJournal() error {
	z.size = 0
	err := os.Remove(filepath.Join(z.dir, journalName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, syncDir(z.dir))
}

// Append puts differences into the journal of a version that was saved or loaded. They
// are durable when it returns without an error; with one none of them is there.
func (z *Zone) Append(deltas ...*zone.Delta) (err error) {
	f, err := os.OpenFile(filepath.Join(z.dir, journalName), os.O_CREATE|os.O_RDWR, fileMode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var buf []byte
	if z.size == 0 {
		buf = append(append(buf, journalHead...), z.life[:]...)
		if err = errors.Join(f.Truncate(0), syncDir(z.dir)); err != nil {
			return err
		}
	}
	for _, d := range deltas {
		buf = appendEntry(buf, d)
	}
	if _, err = f.WriteAt(buf, z.size); err == nil {
		err = f.Sync()
	}
	if err != nil {
		return errors.Join(err, f.Truncate(z.size))
	}
	z.size += int64(len(buf))
	return nil
}

func appendEntry(buf []byte, d *zone.Delta) []byte {
	start := len(buf)
	buf = append(buf, make([]byte, entryHead)...)
	buf = binary.LittleEndian.AppendUint32(buf, d.From)
	buf = binary.LittleEndian.AppendUint32(buf, d.To)
	buf = binary.LittleEndian.AppendUint32(buf, uint32(len(d.Removed)))
	buf = append(append(buf, d.Removed...), d.Added...)
	binary.LittleEndian.PutUint32(buf[start:], uint32(len(buf)-start-entryHead))
	binary.LittleEndian.PutUint32(buf[start+4:], crc32.Checksum(buf[start+entryHead:], table()))
	return buf
}

// minJournal is up to which size a journal is kept, however small the zone.
const minJournal = 1 << 20

// Full tells whether the journal has grown beyond the size of the version, so that it
// is time to save one with keep.
func (z *Zone) Full() bool { return z.size > max(z.whole, minJournal) }

// trim leaves the newer half of the journal, if it is full.
func (z *Zone) trim() error {
	if !z.Full() {
		return nil
	}
	content, err := os.ReadFile(filepath.Join(z.dir, journalName))
	if err != nil {
		return err
	}
	const head = len(journalHead) + lifeLen
	if len(content) < head {
		return nil
	}
	entries, _ := split(content[head:])
	from := len(content)
	for _, e := range entries {
		if int64(len(content)-head-e.start) <= max(z.whole, minJournal)/2 {
			from = head + e.start
			break
		}
	}
	if err = z.replace(journalName, slices.Concat(content[:head], content[from:])); err != nil {
		return err
	}
	z.size = int64(head + len(content) - from)
	return nil
}

type entry struct {
	start int
	delta *zone.Delta
}

// split reads the entries of a journal until the first that is not whole, and returns
// where that begins.
func split(content []byte) (entries []entry, end int) {
	for {
		rest := content[end:]
		if len(rest) < entryHead {
			return entries, end
		}
		n := int(binary.LittleEndian.Uint32(rest))
		if n < deltaHead || n > len(rest)-entryHead || crc32.Checksum(rest[entryHead:entryHead+n], table()) != binary.LittleEndian.Uint32(rest[4:]) {
			return entries, end
		}
		body := rest[entryHead : entryHead+n]
		removed := int(binary.LittleEndian.Uint32(body[8:]))
		if removed > n-deltaHead {
			return entries, end
		}
		entries = append(entries, entry{end, &zone.Delta{
			From: binary.LittleEndian.Uint32(body), To: binary.LittleEndian.Uint32(body[4:]),
			Removed: body[deltaHead : deltaHead+removed], Added: body[deltaHead+removed:],
		}})
		end += entryHead + n
	}
}

// Load returns the newest version, made with seed, and the differences that led to it as
// far as they are known, the oldest first. Without files, the version is nil. What a
// crash left unfinished is taken away.
func (z *Zone) Load(seed wire.Seed) (*zone.Zone, []*zone.Delta, error) {
	content, err := os.ReadFile(filepath.Join(z.dir, wholeName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	_ = os.Remove(filepath.Join(z.dir, wholeName+".new"))
	_ = os.Remove(filepath.Join(z.dir, journalName+".new"))
	v, err := z.read(content, seed)
	if err != nil {
		return nil, nil, err
	}
	z.whole = int64(len(content))
	journal, err := os.ReadFile(filepath.Join(z.dir, journalName))
	if errors.Is(err, fs.ErrNotExist) {
		return v, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	const head = len(journalHead) + lifeLen
	if !bytes.HasPrefix(journal, slices.Concat([]byte(journalHead), z.life[:])) {
		// Another version's, or a head that was not written whole: nothing in it was
		// acknowledged for this one.
		return v, nil, z.dropJournal()
	}
	entries, end := split(journal[head:])
	if end += head; end < len(journal) {
		if err = os.Truncate(filepath.Join(z.dir, journalName), int64(end)); err != nil {
			return nil, nil, err
		}
	}
	z.size = int64(end)
	return z.replay(v, entries)
}

// replay applies those entries that come after the version.
func (z *Zone) replay(v *zone.Zone, entries []entry) (*zone.Zone, []*zone.Delta, error) {
	var history, later []*zone.Delta
	serial := v.Serial()
	for _, e := range entries {
		if n := len(history); n > 0 && history[n-1].To != e.delta.From {
			history = nil // another life of the zone
		}
		history = append(history, e.delta)
		if e.delta.From == serial {
			later = append(later, e.delta)
			serial = e.delta.To
		}
	}
	if len(later) > 0 {
		next, problems := v.Apply(later...)
		if next == nil {
			return nil, nil, fmt.Errorf("%w: the journal does not fit the zone: %v", ErrBroken, problems)
		}
		v = next
	}
	if n := len(history); n > 0 && history[n-1].To != v.Serial() {
		history = nil
	}
	return v, history, nil
}

func (z *Zone) read(content []byte, seed wire.Seed) (*zone.Zone, error) {
	body, ok := bytes.CutPrefix(content, []byte(magic))
	if !ok || len(body) < lifeLen+entryHead {
		return nil, fmt.Errorf("%w: %s", ErrBroken, filepath.Join(z.dir, wholeName))
	}
	copy(z.life[:], body)
	head, records := body[lifeLen:lifeLen+entryHead], body[lifeLen+entryHead:]
	sum := crc32.Update(crc32.Checksum(z.life[:], table()), table(), records)
	if int(binary.LittleEndian.Uint32(head)) != len(records) || sum != binary.LittleEndian.Uint32(head[4:]) {
		return nil, fmt.Errorf("%w: %s does not have its checksum", ErrBroken, filepath.Join(z.dir, wholeName))
	}
	b := zone.NewBuilder(z.apex, seed)
	var r zone.Record
	if err := zone.EachRecord(records, func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		r.Owner, r.Type, r.TTL, r.Data = owner, t, ttl, data
		b.Add(&r)
		return true
	}); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	v, problems := b.Build()
	if v == nil {
		return nil, fmt.Errorf("%w: %v", ErrBroken, problems)
	}
	return v, nil
}

// SetChecked remembers when the zone was last known to be the newest, and for how long
// it may be served from then on. It is not synced: what is lost makes it expire sooner.
func (z *Zone) SetChecked(at time.Time, expire time.Duration) error {
	if err := z.makeDir(); err != nil {
		return err
	}
	path := filepath.Join(z.dir, checkedName)
	if err := os.WriteFile(path+".new", fmt.Appendf(nil, "%d %d\n", at.Unix(), int64(expire/time.Second)), fileMode); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// Checked returns what SetChecked was given last. If that is not known, the version was
// the newest when it was written.
func (z *Zone) Checked() (at time.Time, expire time.Duration) {
	text, err := os.ReadFile(filepath.Join(z.dir, checkedName))
	first, second, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	a, err1 := strconv.ParseInt(first, 10, 64)
	b, err2 := strconv.ParseInt(second, 10, 64)
	if err == nil && err1 == nil && err2 == nil {
		return time.Unix(a, 0), time.Duration(b) * time.Second
	}
	for _, name := range []string{wholeName, journalName} {
		if info, err := os.Stat(filepath.Join(z.dir, name)); err == nil && info.ModTime().After(at) {
			at = info.ModTime()
		}
	}
	return at, 0
}

// SetFrozen remembers whether the zone's updates are refused for now.
func (z *Zone) SetFrozen(frozen bool) error {
	path := filepath.Join(z.dir, frozenName)
	if frozen {
		return errors.Join(z.makeDir(), os.WriteFile(path, nil, fileMode))
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Frozen returns what SetFrozen was given last.
func (z *Zone) Frozen() bool {
	_, err := os.Stat(filepath.Join(z.dir, frozenName))
	return err == nil
}

// Remove takes all files of the zone away.
func (z *Zone) Remove() error { return os.RemoveAll(z.dir) }
