// Package store keeps zones on disk: of each its last whole version, and a journal of
// the differences that came after it.
//
// A version is written beside the one before, synced and put in its place, so that
// there always is one. A difference is in the journal, and synced, when [Dir.Append]
// returns. Whatever a crash leaves behind it, [Dir.Load] finds the last state that was
// acknowledged: the end of a journal that a crash has torn is cut off. That alone is: a
// file that is damaged, or in a format of a newer version, is an error, and stays as it is
// (see journal.go).
package store

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"port53/internal/wire"
	"port53/internal/zone"
)

// A Dir is a directory with zones. Others than its owner cannot look into it: zones may
// be of nobody else's business. Zones are named by their apex, in wire form and lower
// case, or by a [Key]. Calls for one zone come one after the other, calls for several at the same time.
type Dir struct {
	path string
	log  *slog.Logger
	fsys fileSystem

	limits limits
	shelf  *shelf
	bundle *bundle // of small zones that others have as well

	mu    sync.Mutex
	swept bool              // what Remove left has been removed
	zones map[string]*files // that are in use
}

const (
	dirMode  = 0o700
	fileMode = 0o600
)

// limits bound files, in bytes.
type limits struct {
	journal int // up to which one is kept, however small the zone
	whole   int // of a version
	waste   int // of a bundle, that nobody needs
}

const (
	minJournal = 1 << 20
	maxWhole   = 1 << 30
)

// StoredZone is what a store has of a zone.
type StoredZone struct {
	Zone   *zone.Zone    // nil: nothing is kept
	Deltas []*zone.Delta // that led to the version, as far as they are known, the oldest first
	Meta   Meta
}

// Meta is what is kept beside the version of a zone.
type Meta struct {
	Checked time.Time     // when the zone was last known to be the newest
	Expire  time.Duration // for how long it may be served from then on; 0: not known
	Frozen  bool          // its updates are refused for now
}

// ErrBroken is wrapped by what Load returns for files that are not what was written, and
// for those of a newer version. They are left as they are.
var ErrBroken = errors.New("the files of a zone cannot be used")

// Open returns the directory at path. It is made when something is to be kept there.
// What is found to be unfinished or unknown there is told to log, which may be nil.
func Open(path string, log *slog.Logger) *Dir { return openOn(system{}, path, log) }

func openOn(fsys fileSystem, path string, log *slog.Logger) *Dir {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	shared := &shelf{fsys: fsys}
	return &Dir{
		path: path, log: log, fsys: fsys, shelf: shared, bundle: newBundle(fsys, path, shared, log),
		limits: limits{minJournal, maxWhole, bundleWaste}, zones: map[string]*files{},
	}
}

// Key returns what stands for a zone among several of one name: of is what tells it from the others,
// such as the view that it is in; empty: nothing has to. All calls for a zone are given its key.
func Key(apex []byte, of string) []byte { return append(wire.Lower(nil, apex), of...) }

// Apex returns the name of the zone that a key is of.
func Apex(key []byte) []byte {
	n, err := wire.CheckName(key)
	if err != nil {
		return key
	}
	return key[:n:n]
}

// of returns the files of a zone. They need not exist.
func (d *Dir) of(key []byte) *files {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.swept {
		d.swept = true
		d.sweep()
	}
	z := d.zones[string(key)]
	if z == nil {
		key = append([]byte(nil), key...)
		apex := Apex(key)
		z = &files{
			apex: apex, dir: d.Place(key), fsys: d.fsys, limits: d.limits, shared: d.shelf,
			log: d.log.With("zone", string(wire.AppendName(nil, apex))),
		}
		if of := key[len(apex):]; len(of) > 0 {
			z.log = z.log.With("view", string(of))
		}
		d.zones[string(key)] = z
	}
	return z
}

// Load returns what is kept of a zone, its version made with seed. What a crash left
// unfinished is taken away, and told. The error wraps [ErrBroken] for files that cannot be
// used.
func (d *Dir) Load(apex []byte, seed wire.Seed) (StoredZone, error) {
	if there, err := exists(d.fsys, d.Place(apex)); err != nil || !there {
		d.unread(apex, err == nil)
		if err != nil {
			return StoredZone{}, err
		}
		v, m, err := d.bundle.version(apex, seed) // most zones of a catalog that is new are not there either
		return StoredZone{Zone: v, Meta: m}, err
	}
	z := d.of(apex)
	v, deltas, err := z.load(seed)
	if err != nil {
		return StoredZone{}, err
	}
	if v == nil {
		v, m, err := d.bundle.version(apex, seed)
		if err == nil {
			m.Frozen, err = exists(d.fsys, z.path(frozenName))
		}
		if at, expire, ok := z.readChecked(); ok {
			m.Checked, m.Expire = at, expire
		}
		if err != nil {
			return StoredZone{}, err
		}
		return StoredZone{Zone: v, Meta: m}, nil
	}
	k := StoredZone{Zone: v, Deltas: deltas}
	if k.Meta.Frozen, err = exists(d.fsys, z.path(frozenName)); err != nil {
		return StoredZone{}, err
	}
	k.Meta.Checked, k.Meta.Expire = z.checked()
	return k, nil
}

// unread forgets what is known of the files of a zone, but that there are none.
func (d *Dir) unread(key []byte, none bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.swept {
		d.swept = true
		d.sweep()
	}
	if z := d.zones[string(key)]; z != nil {
		z.state, z.lasts = unread, false
		if none {
			z.state = stale
		}
	}
}

// Save makes v the version that is kept, which came about by history, the oldest difference
// first, as far as that is known; it is kept with the version, and need not be. Files that were
// not loaded, or could not be, are put aside. With an error, what Load would return is what it
// was.
func (d *Dir) Save(apex []byte, v *zone.Zone, history ...*zone.Delta) error {
	return d.instead(apex, d.of(apex).saveWith(v, history))
}

// SaveFetched makes v the version that is kept, with what is known beside it, of a zone that
// somebody else has as well. Of a small one of which nothing was kept, that costs a part of a
// write and a sync, if many come at the same time: see bundle.go.
func (d *Dir) SaveFetched(apex []byte, v *zone.Zone, m Meta) error {
	there, err := exists(d.fsys, d.Place(apex))
	if err == nil && !there {
		d.unread(apex, true)
		if taken, err := d.bundle.put(apex, v, m); taken {
			return err
		}
	}
	if err := d.Save(apex, v); err != nil {
		return err
	}
	if err := d.SetMeta(apex, m); err != nil {
		d.log.Warn(
			"the time of a zone's last refresh cannot be stored",
			"zone",
			string(wire.AppendName(nil, Apex(apex))),
			"error",
			err.Error(),
		)
	}
	return nil
}

// instead has what is in a directory of its own now not be in the bundle any more. What is there
// counts for less, and does no harm.
func (d *Dir) instead(key []byte, err error) error {
	if err == nil && d.bundle.has(key) {
		if err := d.bundle.drop(key, false); err != nil {
			d.log.Warn("a zone is stored twice", "zone", string(wire.AppendName(nil, Apex(key))), "error", err.Error())
		}
	}
	return err
}

// Append puts the differences that lead to v from the version that is kept behind that.
// They are durable when it returns without an error; with one, none of them is there. If
// they begin with another version than the one that is kept, v is saved.
func (d *Dir) Append(apex []byte, v *zone.Zone, deltas ...*zone.Delta) error {
	return d.instead(apex, d.of(apex).add(v, deltas))
}

// SetMeta keeps what is known beside the version. Whether updates are refused is durable
// when it returns without an error, and as it was with one. When the zone was checked is
// not durable: what is lost makes it expire sooner.
func (d *Dir) SetMeta(apex []byte, m Meta) error {
	if !m.Frozen && d.bundle.has(apex) {
		if there, err := exists(d.fsys, d.Place(apex)); err != nil || !there {
			return errors.Join(err, d.bundle.setChecked(apex, m))
		}
	}
	z := d.of(apex)
	if err := z.makeDir(); err != nil {
		return err
	}
	if !m.Checked.IsZero() {
		if err := z.setChecked(m.Checked, m.Expire); err != nil {
			return err
		}
	}
	return z.setFrozen(m.Frozen)
}

// goneSuffix is of a directory that is being removed. No zone's has it.
const goneSuffix = "=gone"

// sweep removes what is left of zones that were being removed: they are, whatever comes. What
// is left of a bundle that was being written goes as it is read.
func (d *Dir) sweep() {
	_ = d.bundle.open() // which is tried again by whoever needs it
	names, err := d.fsys.ReadNames(d.path)
	names = slices.DeleteFunc(names, func(name string) bool { return !strings.HasSuffix(name, goneSuffix) })
	if len(names) > 0 {
		err = d.fsys.SyncDir(d.path)
	}
	for _, name := range names {
		if err == nil {
			err = d.fsys.RemoveAll(filepath.Join(d.path, name))
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.log.Warn("leftover data of removed zones cannot be deleted", "error", err.Error())
	}
}

// Remove forgets a zone, durably. With an error it is there.
func (d *Dir) Remove(apex []byte) error {
	there, err := exists(d.fsys, d.Place(apex))
	if err == nil {
		err = d.bundle.drop(apex, true)
	}
	z := d.of(apex)
	if err != nil || !there {
		return err
	}
	gone := z.dir + goneSuffix
	if err := d.fsys.RemoveAll(gone); err != nil {
		return err
	}
	if err := d.fsys.Rename(z.dir, gone); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	if err := d.fsys.SyncDir(d.path); err != nil {
		return errors.Join(err, d.fsys.Rename(gone, z.dir))
	}
	if err := d.fsys.RemoveAll(gone); err != nil {
		z.log.Warn("leftover data of a removed zone cannot be deleted", "directory", gone, "error", err.Error())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.zones, string(apex))
	return nil
}

// Move has what is kept of one zone be of another, by their keys, if anything is kept of the first and
// nothing of the other. It lasts when it returns true.
func (d *Dir) Move(from, to []byte) (moved bool, err error) {
	if !d.Has(from) || d.Has(to) {
		return false, nil
	}
	if there, err := exists(d.fsys, d.Place(from)); err != nil || !there {
		if err == nil {
			err = d.bundle.move(from, to)
		}
		return err == nil, err
	}
	if err := d.fsys.Rename(d.Place(from), d.Place(to)); err != nil {
		return false, err
	}
	d.mu.Lock()
	delete(d.zones, string(from))
	delete(d.zones, string(to))
	d.mu.Unlock()
	return true, d.instead(from, d.fsys.SyncDir(d.path))
}

// Place returns the directory of a zone, which need not exist.
func (d *Dir) Place(key []byte) string { return filepath.Join(d.path, fileName(key)) }

// Has reports whether anything is kept of a zone.
func (d *Dir) Has(apex []byte) bool {
	there, err := exists(d.fsys, d.Place(apex))
	return err == nil && (there || d.bundle.has(apex))
}

// maxFileName leaves room in the 255 bytes that file systems allow.
const maxFileName = 200

// ofMark parts the name of a zone's directory from what tells the zone from others of its name. No
// name has it.
const ofMark = "@"

// fileName returns a name for a directory that no other zone has.
func fileName(key []byte) string {
	apex := Apex(key)
	if of := key[len(apex):]; len(of) > 0 {
		return fileName(apex) + ofMark + string(of)
	}
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

// A life is a random number that a version has, and its journal: a version that did not
// come about by differences begins a new one, so that a journal which a crash left beside
// it is not taken for its own.
type life [lifeLen]byte

const lifeLen = 8

func newLife() (l life) {
	_, _ = rand.Read(l[:]) // it never fails
	return l
}
