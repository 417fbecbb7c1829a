package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"port53/internal/wire"
	"port53/internal/zone"
)

// files are those of one zone. None stays open.
type files struct {
	apex []byte
	dir  string
	log  *slog.Logger
	fsys fileSystem

	limits limits
	shared *shelf

	state  state
	lasts  bool   // no crash takes away what is there
	life   life   // which journal belongs to the version
	serial uint32 // of the newest version
	size   int    // of the journal, its head too; 0: there is none
	whole  int    // of the version
	form   form   // of the journal
	retry  int    // of the journal, above which shortening it is tried again
}

// What is known of the files of a zone.
type state uint8

const (
	unread  state = iota // nothing, or that they cannot be used
	current              // the fields of files
	stale                // to be rewritten: missing, in an old format, or left half-written
)

const (
	wholeName   = "zone"
	journalName = "journal"
	checkedName = "checked"
	frozenName  = "frozen"
	newSuffix   = ".new"   // of a file that is being written
	oldSuffix   = ".old"   // of the file before it, until the new one lasts
	asideSuffix = ".aside" // and a number: of a file that was there and could not be used

	// A whole version is a line with the number of the format, the life, the length of
	// the records, a checksum of all but the length, and the records as a Delta has them.
	// In the format before this one the checksum leaves out the line. An older program,
	// which knows nothing of this format's journals, is to know nothing of its versions.
	wholeLine    = "port53 zone 3\n"
	oldWholeLine = "port53 zone 2\n"

	// A version that has notes: they stand behind the records, as a journal has changes of them.
	notedWholeLine = "port53 zone 4\n"
	wholeHead      = len(wholeLine) + lifeLen + 8

	checkedLine = "port53 checked 1\n" // then when, as Unix time, and for how many seconds it holds
	frozenLine  = "port53 frozen 1\n"  // that the file is there says all
)

func table() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

func (z *files) path(name string) string { return filepath.Join(z.dir, name) }

// broken is the error of files that cannot be used.
type broken struct{ path, problem string }

func (b *broken) Error() string { return b.path + ": " + b.problem }
func (b *broken) Unwrap() error { return ErrBroken }

func (z *files) broken(name, format string, args ...any) error {
	return &broken{z.path(name), fmt.Sprintf(format, args...)}
}

// save does what [Dir.Save] does. The journal goes.
func (z *files) save(v *zone.Zone) error {
	if err := z.makeDir(); err != nil {
		return err
	}
	if z.state == unread {
		for _, name := range []string{wholeName, journalName} {
			if err := z.putAside(name, "it could not be used"); err != nil {
				return err
			}
		}
	}
	l := newLife()
	size, err := z.writeWhole(v, l)
	if err != nil {
		z.tidy()
		return err
	}
	z.state, z.life, z.serial, z.whole, z.size, z.retry, z.form = current, l, v.Serial(), size, 0, 0, dated
	_ = z.fsys.Remove(z.path(journalName)) // one that stays is of another life
	return nil
}

// saveWith does what [Dir.Save] does: a journal of the version's own has what led to it.
func (z *files) saveWith(v *zone.Zone, history []*zone.Delta) error {
	if err := z.save(v); err != nil || len(history) == 0 || history[len(history)-1].To != v.Serial() {
		return err
	}
	f := formOf(history)
	content := appendJournalHead(nil, z.life, f)
	content = appendFrame(content, z.life, len(content), history, f)
	if err := z.replace(journalName, content); err != nil {
		z.log.Warn("the history of a zone is kept in memory only", "error", err.Error())
		return nil
	}
	z.size, z.form = len(content), f
	return nil
}

// putAside gives a file, if it is there, a name that no other has.
func (z *files) putAside(name, why string) error {
	path := z.path(name)
	if there, err := exists(z.fsys, path); !there {
		return err
	}
	for n := 1; ; n++ {
		aside := path + asideSuffix + strconv.Itoa(n)
		taken, err := exists(z.fsys, aside)
		if err != nil {
			return err
		}
		if taken {
			continue
		}
		if err := z.fsys.Rename(path, aside); err != nil {
			return err
		}
		z.log.Warn("a zone's file was set aside", "file", path, "as", aside, "error", why)
		return z.fsys.SyncDir(z.dir)
	}
}

// writeWhole puts a version in the place of the one before, and returns the file's size.
func (z *files) writeWhole(v *zone.Zone, l life) (int, error) {
	buf := make([]byte, wholeHead, v.Size()+wholeHead)
	copy(buf, wholeLine)
	if v.Notes().Len() > 0 {
		copy(buf, notedWholeLine)
	}
	copy(buf[len(wholeLine):], l[:])
	v.Each(func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		buf = zone.AppendRecord(buf, owner, t, ttl, data)
		return true
	})
	records := len(buf)
	v.Notes().Each(func(key, value string) bool {
		buf = zone.AppendNotes(buf, []zone.Note{{Key: key, Value: value}})
		return true
	})
	if len(buf) > z.limits.whole {
		return 0, fmt.Errorf("the zone takes %d bytes, too large to store", len(buf))
	}
	binary.LittleEndian.PutUint32(buf[wholeHead-8:], uint32(records-wholeHead))
	binary.LittleEndian.PutUint32(buf[wholeHead-4:], wholeSum(buf))
	return len(buf), z.replace(wholeName, buf)
}

// wholeSum returns the checksum of the content of a whole version.
func wholeSum(content []byte) uint32 {
	from := 0
	if bytes.HasPrefix(content, []byte(oldWholeLine)) {
		from = len(oldWholeLine)
	}
	return crc32.Update(crc32.Checksum(content[from:wholeHead-8], table()), table(), content[wholeHead:])
}

// makeDir makes the zone's directory, which lasts when it returns.
func (z *files) makeDir() error {
	there, err := exists(z.fsys, z.dir)
	if err != nil || there && z.lasts {
		return err
	}
	if there {
		return z.settle()
	}
	if err := z.shared.make(filepath.Dir(z.dir)); err != nil {
		return err
	}
	if err := z.fsys.MkdirAll(z.dir, dirMode); err != nil {
		return err
	}
	if err := z.shared.sync(filepath.Dir(z.dir)); err != nil {
		return err
	}
	z.lasts = true // what is put into it is synced then
	return nil
}

// settle makes last what is there. A server that was killed may have left what a crash
// of the machine would still take away, and what comes next rests on it.
func (z *files) settle() error {
	above := filepath.Dir(z.dir)
	if err := z.shared.make(above); err != nil {
		return err
	}
	if err := z.shared.sync(above); err != nil {
		return err
	}
	if err := z.fsys.SyncDir(z.dir); err != nil {
		return err
	}
	if err := syncFile(z.fsys, z.path(journalName)); err != nil {
		return err
	}
	z.lasts = true
	return nil
}

// replace writes a file and puts it in the place of the one before, or fails and leaves
// that.
func (z *files) replace(name string, content []byte) error {
	path := z.path(name)
	before := path + oldSuffix
	if err := write(z.fsys, path+newSuffix, content); err != nil {
		return err
	}
	err := z.fsys.Link(path, before)
	if errors.Is(err, fs.ErrExist) {
		_ = z.fsys.Remove(before)
		err = z.fsys.Link(path, before)
	}
	first, kept := errors.Is(err, fs.ErrNotExist), err == nil // not every file system has links
	if err = z.fsys.Rename(path+newSuffix, path); err != nil {
		_ = z.fsys.Remove(path + newSuffix)
	} else if err = z.fsys.SyncDir(z.dir); err != nil {
		z.lasts = false // which of the two a crash would leave, nobody knows
		undone := errors.New("it cannot be undone")
		switch {
		case kept:
			undone = z.fsys.Rename(before, path)
		case first:
			undone = z.fsys.Remove(path)
		}
		if undone != nil && z.state == current {
			z.state = stale
		}
		return errors.Join(err, undone)
	}
	if kept {
		_ = z.fsys.Remove(before)
	}
	return err
}

// add does what [Dir.Append] does, in the journal. One that has grown larger than the
// version is shortened.
func (z *files) add(v *zone.Zone, deltas []*zone.Delta) error {
	if z.state != current || len(deltas) == 0 || deltas[0].From != z.serial {
		return z.save(v)
	}
	if !z.lasts {
		if err := z.settle(); err != nil {
			z.state = stale
			return err
		}
	}
	need := formOf(deltas)
	if z.size == 0 {
		head := appendJournalHead(nil, z.life, need)
		if err := z.replace(journalName, head); err != nil {
			return err
		}
		z.size, z.form = len(head), need
	}
	if z.form == plain || z.form < need {
		if err := z.renew(need); err != nil {
			return err
		}
	}
	f, err := z.fsys.OpenFile(z.path(journalName), os.O_WRONLY, fileMode)
	if errors.Is(err, fs.ErrNotExist) {
		return z.save(v) // somebody has removed it
	}
	if err != nil {
		return err
	}
	frame := appendFrame(nil, z.life, z.size, deltas, z.form)
	if _, err = f.WriteAt(frame, int64(z.size)); err == nil {
		err = f.Sync()
	}
	if err != nil {
		undone := f.Truncate(int64(z.size))
		if undone != nil {
			z.state = stale
		}
		return errors.Join(err, undone, f.Close())
	}
	_ = f.Close() // all of it is on disk
	z.size += len(frame)
	z.serial = v.Serial()
	if z.size > max(z.whole, z.limits.journal, z.retry) {
		if err := z.shorten(v); err != nil {
			z.retry = z.size + z.size/retryShare
			z.log.Warn("the journal of a zone could not be compacted", "error", err.Error())
		}
	}
	return nil
}

// renew writes the journal in another form, in the place of the one that there is.
func (z *files) renew(f form) error {
	content, err := readFile(z.fsys, z.path(journalName))
	if err != nil {
		return err
	}
	j := readJournal(content, false)
	if j.damage != "" || j.torn > 0 || content == nil {
		return z.broken(journalName, "it is not what was read at the start: %s", j.damage)
	}
	fresh := j.newest(z.life, math.MaxInt, f)
	if err := z.replace(journalName, fresh); err != nil {
		return err
	}
	z.size, z.form = len(fresh), f
	return nil
}

// retryShare is how much a journal grows, one part in so many, before shortening it is tried
// again.
const retryShare = 8

// shorten writes v, which the journal leads to, and leaves the newer half of the journal,
// as the history of how v came about.
func (z *files) shorten(v *zone.Zone) error {
	size, err := z.writeWhole(v, z.life)
	if err != nil {
		return err
	}
	z.whole = size
	content, err := readFile(z.fsys, z.path(journalName))
	if err != nil {
		return err
	}
	j := readJournal(content, false)
	f := formOf(j.deltas)
	short := j.newest(z.life, max(z.whole, z.limits.journal)/2, f)
	if j.damage != "" || j.torn > 0 {
		// All that it led to is in the version by now.
		z.log.Error("the journal of a zone was damaged: a new one was started", "file", z.path(journalName), "error", j.damage)
		short = appendJournalHead(nil, z.life, f)
	}
	if err = z.replace(journalName, short); err != nil {
		return err
	}
	z.size, z.retry, z.form = len(short), 0, f
	return nil
}

// load returns the newest version and the differences that led to it.
func (z *files) load(seed wire.Seed) (*zone.Zone, []*zone.Delta, error) {
	z.state = unread
	content, err := readFile(z.fsys, z.path(wholeName))
	if err != nil {
		return nil, nil, err
	}
	changes, err := readFile(z.fsys, z.path(journalName))
	if err != nil {
		return nil, nil, err
	}
	if content == nil && changes != nil {
		j := readJournal(changes, false)
		return nil, nil, z.broken(journalName, "the version that it changes is gone; %s", j.serials())
	}
	var v *zone.Zone
	var history []*zone.Delta
	old := bytes.HasPrefix(content, []byte(oldWholeLine))
	z.size, z.whole, z.retry, z.form = 0, len(content), 0, dated
	if content != nil {
		if v, err = z.read(content, seed); err != nil {
			return nil, nil, err
		}
		if changes != nil {
			if v, history, err = z.follow(v, changes, old); err != nil {
				return nil, nil, err
			}
		}
		z.serial = v.Serial()
	}
	for _, name := range []string{wholeName, journalName, checkedName} {
		for _, suffix := range []string{newSuffix, oldSuffix} {
			_ = z.fsys.Remove(z.path(name) + suffix)
		}
	}
	if z.state = current; old || v == nil {
		z.state = stale
	}
	if z.lasts = false; v != nil {
		if err := z.settle(); err != nil {
			z.state = stale // what the system could not write it may have forgotten
			z.log.Warn("a zone is not synced to disk: a crash may lose changes", "error", err.Error())
		}
	}
	return v, history, nil
}

// read compiles a whole version.
func (z *files) read(content []byte, seed wire.Seed) (*zone.Zone, error) {
	if len(content) < wholeHead || !hasWholeLine(content) {
		line, _, _ := bytes.Cut(content[:min(len(content), len(wholeLine))], []byte{'\n'})
		return nil, z.broken(
			wholeName,
			"it begins with %q; this version of port53 reads files that begin with %q",
			line,
			strings.TrimSpace(wholeLine),
		)
	}
	copy(z.life[:], content[len(wholeLine):])
	length, sum := binary.LittleEndian.Uint32(content[wholeHead-8:]), binary.LittleEndian.Uint32(content[wholeHead-4:])
	records, notes := content[wholeHead:], []byte(nil)
	if bytes.HasPrefix(content, []byte(notedWholeLine)) && uint64(length) < uint64(len(records)) {
		records, notes = records[:length], records[length:]
	}
	if uint64(length) != uint64(len(records)) || sum != wholeSum(content) {
		return nil, z.broken(wholeName, "it does not have its length and checksum")
	}
	v, err := compileRecords(z.apex, records, seed)
	if err != nil {
		return nil, z.broken(wholeName, "%v", err)
	}
	list, ok := zone.ReadNotes(notes)
	if !ok {
		return nil, z.broken(wholeName, "its notes cannot be read")
	}
	return v.WithNotes(v.Notes().With(list...)), nil
}

// hasWholeLine reports whether a whole version is in a format that is read.
func hasWholeLine(content []byte) bool {
	return bytes.HasPrefix(content, []byte(wholeLine)) || bytes.HasPrefix(content, []byte(notedWholeLine)) ||
		bytes.HasPrefix(content, []byte(oldWholeLine))
}

// follow applies the differences of a journal that come after the version, and returns
// with the newest version all that led to it.
func (z *files) follow(v *zone.Zone, content []byte, old bool) (*zone.Zone, []*zone.Delta, error) {
	j := readJournal(content, old)
	switch {
	case j.damage != "":
		last, more := v.Serial(), ""
		if n := len(j.deltas); n > 0 {
			last = j.deltas[n-1].To
		}
		if j.beyond != nil {
			more = fmt.Sprintf(", which led to serial %d at least,", *j.beyond)
		}
		return nil, nil, z.broken(journalName, "%s: the changes after serial %d%s cannot be read", j.damage, last, more)
	case j.old && j.torn == len(content):
		return v, nil, z.fsys.Remove(z.path(journalName)) // nothing was ever in it
	case j.life != z.life && j.old:
		return nil, nil, z.broken(
			journalName,
			"it belongs to another version of the zone than the stored one, which has serial %d; %s",
			v.Serial(),
			j.serials(),
		)
	case j.life != z.life:
		// A crash came after a version that replaced all was in its place.
		return v, nil, z.putAside(
			journalName,
			fmt.Sprintf("it belongs to a version that serial %d has replaced; %s", v.Serial(), j.serials()),
		)
	}
	next, history, err := z.replay(v, j)
	if err != nil {
		return nil, nil, err
	}
	if j.torn > 0 {
		if err := z.cut(journalName, j.end); err != nil {
			return nil, nil, err
		}
		z.log.Warn("a journal had an incomplete last change, never acknowledged, which was removed",
			"file", z.path(journalName), "serial", next.Serial(), "bytes", j.torn)
	}
	z.size, z.form = j.end, j.form
	return next, history, nil
}

// replay applies those differences of a journal to the version that come after it.
func (z *files) replay(v *zone.Zone, j *journal) (*zone.Zone, []*zone.Delta, error) {
	var history, later []*zone.Delta
	serial := v.Serial()
	fits := len(j.deltas) == 0 || j.deltas[len(j.deltas)-1].To == serial
	for _, d := range j.deltas {
		if n := len(history); n > 0 && history[n-1].To != d.From {
			history = nil // in the format before this one a change that was tried again is there twice
		}
		history = append(history, d)
		if d.From == serial {
			later, fits = append(later, d), true
			serial = d.To
		}
	}
	if !fits {
		return nil, nil, z.broken(journalName, "none of its changes starts at the zone's serial %d; %s", serial, j.serials())
	}
	if len(later) > 0 {
		next, problems := v.Apply(later...)
		if next == nil {
			return nil, nil, z.broken(
				journalName,
				"its changes do not fit the version with serial %d: %v; %s",
				v.Serial(),
				problems,
				j.serials(),
			)
		}
		v = next
	}
	if n := len(history); n > 0 && history[n-1].To != v.Serial() {
		history = nil
	}
	return v, history, nil
}

// cut shortens a file.
func (z *files) cut(name string, size int) error {
	f, err := z.fsys.OpenFile(z.path(name), os.O_WRONLY, fileMode)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(int64(size)), f.Sync(), f.Close())
}

// setChecked writes down when the zone was checked, without syncing it.
func (z *files) setChecked(at time.Time, expire time.Duration) error {
	path := z.path(checkedName)
	f, err := z.fsys.OpenFile(path+newSuffix, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, fileMode)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(fmt.Appendf(nil, checkedLine+"%d %d\n", at.Unix(), int64(expire/time.Second)), 0)
	if err = errors.Join(err, f.Close()); err == nil {
		err = z.fsys.Rename(path+newSuffix, path)
	}
	if err != nil {
		_ = z.fsys.Remove(path + newSuffix)
	}
	return err
}

// checked returns what setChecked was given last. If that is not known, the version was
// the newest when it was written.
func (z *files) checked() (at time.Time, expire time.Duration) {
	if at, expire, ok := z.readChecked(); ok {
		return at, expire
	}
	for _, name := range []string{wholeName, journalName} {
		if info, err := z.fsys.Lstat(z.path(name)); err == nil && info.ModTime().After(at) {
			at = info.ModTime()
		}
	}
	return at, 0
}

// readChecked reads what setChecked was given last, with its line or, as earlier versions
// wrote it, without.
func (z *files) readChecked() (at time.Time, expire time.Duration, ok bool) {
	text, err := readFile(z.fsys, z.path(checkedName))
	first, second, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(string(text), checkedLine)), " ")
	a, err1 := strconv.ParseInt(first, 10, 64)
	b, err2 := strconv.ParseInt(second, 10, 64)
	return time.Unix(a, 0), time.Duration(b) * time.Second, err == nil && err1 == nil && err2 == nil
}

// setFrozen writes down, durably, whether the zone's updates are refused for now.
func (z *files) setFrozen(frozen bool) error {
	path := z.path(frozenName)
	there, err := exists(z.fsys, path)
	if err != nil || there == frozen {
		return err
	}
	undo := func() { _ = z.fsys.Remove(path) }
	if frozen {
		err = write(z.fsys, path, []byte(frozenLine))
	} else {
		err = z.fsys.Remove(path)
		undo = func() { _ = write(z.fsys, path, []byte(frozenLine)) }
	}
	if err != nil {
		return err
	}
	if err = z.fsys.SyncDir(z.dir); err != nil {
		undo()
	}
	return err
}
