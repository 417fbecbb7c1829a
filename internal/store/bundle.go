package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"port53/internal/wire"
	"port53/internal/zone"
)

// A bundle is one file with the versions of many small zones that somebody else has as well,
// such as the members of a catalog: a directory, a file and two syncs for each of ten thousand
// that are fetched at the same time is most of what that costs. Those that come at the same time are
// written and synced together. A zone that changes gets a directory of its own, which counts
// from then on.
//
// The file begins as a journal does (see journal.go), with a line, a life and a checksum of
// both, and has the same frames. A frame has entries: a version with when it was checked, that
// alone, or that a zone is not there any more. The last of a zone counts. Not all frames are
// synced, so any part of the file may be missing after a loss of power: what can be read is
// used, and the rest transferred again.
type bundle struct {
	files // of which it has what writes files, and their sizes; they are whoever's who writes

	mu      sync.Mutex
	next    *batch           // that is written once the one that is under way has ended; nil: nobody waits
	busy    bool             // one is under way
	entries map[string]entry // of the zones that are there
	used    int              // octets of these, in the file
	loose   bool             // not all frames are synced
	foreign error            // the file is of a newer version, and left as it is

	read  atomic.Bool  // the file has been
	place sync.RWMutex // held while it is read as a whole, or replaced, and for reading while one of its entries is
}

// An entry is where the version of a zone stands in the file, and when it was checked.
type entry struct {
	at, size int
	checked  int64 // as Unix time
	expire   int64 // seconds
}

// A batch is what is written at the same time.
type batch struct {
	ops    []op
	synced bool // it lasts when it is done
	done   chan struct{}
	err    error
}

// An op is one entry that is to be written.
type op struct {
	kind            byte
	key             string
	checked, expire int64
	records         []byte // as a Delta has them
}

// The kinds of entries.
const (
	opVersion byte = 'v'
	opChecked byte = 'c'
	opGone    byte = 'g'
)

const (
	bundleName  = "=bundle" // no zone's directory has it
	bundleLine  = "port53 bundle 1\n"
	bundleHead  = len(bundleLine) + lifeLen + 4
	entryHead   = 1 + 2 + 8 + 8 + 4 + 4 // kind, lengths of key and records, time and lifetime of the last check, checksum
	maxBundled  = 16 << 10              // octets of a version; a larger one has a directory from the first
	maxBundle   = 64 << 20              // octets of the file
	maxBody     = 1 << 20               // octets of a frame's body, as a rule
	bundleWaste = 1 << 20               // unused bytes; beyond these the file is rewritten
)

func newBundle(fsys fileSystem, dir string, shared *shelf, log *slog.Logger) *bundle {
	return &bundle{
		files:   files{dir: dir, fsys: fsys, shared: shared, log: log, limits: limits{waste: bundleWaste}, state: current},
		entries: map[string]entry{},
	}
}

// append appends the entry.
func (o *op) append(dst []byte) []byte {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint16(append(dst, o.kind), uint16(len(o.key)))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(o.checked))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(o.expire))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(o.records)))
	dst = append(append(append(dst, 0, 0, 0, 0), o.key...), o.records...)
	binary.LittleEndian.PutUint32(
		dst[start+entryHead-4:],
		crc32.Checksum(append(dst[start:start+entryHead-4:start+entryHead-4], dst[start+entryHead:]...), table()),
	)
	return dst
}

func (o *op) size() int { return entryHead + len(o.key) + len(o.records) }

// readOp reads the entry at the start of b, and returns its octets.
func readOp(b []byte) (o op, n int, ok bool) {
	if len(b) < entryHead {
		return o, 0, false
	}
	o.kind = b[0]
	key := int(binary.LittleEndian.Uint16(b[1:]))
	o.checked, o.expire = int64(binary.LittleEndian.Uint64(b[3:])), int64(binary.LittleEndian.Uint64(b[11:]))
	records := uint64(binary.LittleEndian.Uint32(b[19:]))
	if uint64(len(b)-entryHead) < uint64(key)+records {
		return o, 0, false
	}
	n = entryHead + key + int(records)
	sum := crc32.Update(crc32.Checksum(b[:entryHead-4], table()), table(), b[entryHead:n])
	if sum != binary.LittleEndian.Uint32(b[entryHead-4:]) {
		return o, 0, false
	}
	o.key, o.records = string(b[entryHead:entryHead+key]), b[entryHead+key:n]
	return o, n, true
}

// find returns the entry of a zone. The file is read first, if it has not been.
func (b *bundle) find(key []byte) (entry, bool, error) {
	if err := b.open(); err != nil {
		return entry{}, false, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	e, ok := b.entries[string(key)]
	return e, ok, nil
}

// has reports whether a zone is there, as far as that is known.
func (b *bundle) has(key []byte) bool {
	_, ok, _ := b.find(key)
	return ok
}

// version returns the version of a zone; nil: it is not there.
func (b *bundle) version(key []byte, seed wire.Seed) (*zone.Zone, Meta, error) {
	if _, ok, err := b.find(key); !ok {
		return nil, Meta{}, err
	}
	b.place.RLock()
	defer b.place.RUnlock()
	b.mu.Lock()
	e, ok := b.entries[string(key)]
	b.mu.Unlock()
	if !ok {
		return nil, Meta{}, nil
	}
	o, err := b.entry(string(key), e)
	if err != nil {
		return nil, Meta{}, err
	}
	v, err := b.compile(Apex(key), o.records, seed)
	if err != nil {
		return nil, Meta{}, err
	}
	return v, Meta{Checked: time.Unix(e.checked, 0), Expire: time.Duration(e.expire) * time.Second}, nil
}

// entry reads an entry from the file. b.place is held.
func (b *bundle) entry(key string, e entry) (op, error) {
	f, err := b.fsys.OpenFile(b.path(bundleName), os.O_RDONLY, 0)
	if err != nil {
		return op{}, err
	}
	defer f.Close()
	raw := make([]byte, e.size)
	if _, err := f.ReadAt(raw, int64(e.at)); err != nil {
		return op{}, fmt.Errorf("%s: %w", b.path(bundleName), err)
	}
	o, n, ok := readOp(raw)
	if !ok || n != e.size || o.key != key || o.kind != opVersion {
		return op{}, b.broken(bundleName, "damaged from byte %d on", e.at)
	}
	return o, nil
}

// compile makes a version of its records.
func (b *bundle) compile(apex, records []byte, seed wire.Seed) (*zone.Zone, error) {
	v, err := compileRecords(apex, records, seed)
	if err != nil {
		return nil, b.broken(bundleName, "%v", err)
	}
	return v, nil
}

// compileRecords makes a version of the records of a file.
func compileRecords(apex, records []byte, seed wire.Seed) (*zone.Zone, error) {
	build := zone.NewBuilder(apex, seed)
	var r zone.Record
	if err := zone.EachRecord(records, func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		r.Owner, r.Type, r.TTL, r.Data = owner, t, ttl, data
		build.Add(&r)
		return true
	}); err != nil {
		return nil, err
	}
	v, problems := build.Build()
	if v == nil {
		return nil, fmt.Errorf("%v", problems)
	}
	return v, nil
}

// put keeps a version, durably. It reports false if the version is none for a bundle.
func (b *bundle) put(key []byte, v *zone.Zone, m Meta) (bool, error) {
	if v.Size() > 2*maxBundled || v.Notes().Len() > 0 || m.Frozen || b.open() != nil {
		return false, nil
	}
	if m.Checked.IsZero() {
		m.Checked = time.Now()
	}
	o := op{kind: opVersion, key: string(key), checked: m.Checked.Unix(), expire: int64(m.Expire / time.Second)}
	v.Each(func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		o.records = zone.AppendRecord(o.records, owner, t, ttl, data)
		return len(o.records) <= maxBundled
	})
	b.mu.Lock()
	full := b.foreign != nil || b.used+o.size() > maxBundle
	b.mu.Unlock()
	if full || len(o.records) > maxBundled {
		return false, nil
	}
	return true, b.do(true, o)
}

// setChecked writes down when a zone that is there was checked. It need not last.
func (b *bundle) setChecked(key []byte, m Meta) error {
	if m.Checked.IsZero() {
		return nil
	}
	return b.do(false, op{kind: opChecked, key: string(key), checked: m.Checked.Unix(), expire: int64(m.Expire / time.Second)})
}

// drop has a zone not be there any more. With synced, that lasts, whatever came of it before.
func (b *bundle) drop(key []byte, synced bool) error {
	_, ok, err := b.find(key)
	if err != nil || !ok && !synced {
		return err
	}
	return b.do(synced, op{kind: opGone, key: string(key)})
}

// move has a version be of another zone.
func (b *bundle) move(from, to []byte) error {
	e, ok, err := b.find(from)
	if err != nil || !ok {
		return err
	}
	b.place.RLock()
	o, err := b.entry(string(from), e)
	b.place.RUnlock()
	if err != nil {
		return err
	}
	o.key, o.checked, o.expire = string(to), e.checked, e.expire
	return b.do(true, o, op{kind: opGone, key: string(from)})
}

// do writes entries with all others that come at the time.
func (b *bundle) do(synced bool, ops ...op) error {
	b.mu.Lock()
	if b.next == nil {
		b.next = &batch{done: make(chan struct{})}
	}
	mine := b.next
	mine.ops, mine.synced = append(mine.ops, ops...), mine.synced || synced
	lead := !b.busy
	b.busy = true
	b.mu.Unlock()
	if lead {
		b.lead()
	}
	<-mine.done
	return mine.err
}

// lead writes until nobody waits; what comes after the first by a goroutine of its own.
func (b *bundle) lead() {
	b.mu.Lock()
	t := b.next
	b.next = nil
	b.mu.Unlock()
	t.err = b.write(t)
	close(t.done)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next != nil {
		go b.lead()
		return
	}
	b.busy = false
}

// write writes a batch behind what there is, or all again where much is of no use.
func (b *bundle) write(t *batch) error {
	if err := b.open(); err != nil {
		return err
	}
	b.mu.Lock()
	foreign, used := b.foreign, b.used
	b.mu.Unlock()
	switch something := slices.ContainsFunc(t.ops, func(o op) bool { return o.kind == opVersion }); {
	case !something && (foreign != nil || b.size == 0):
		return nil // nothing of the zones is there
	case foreign != nil:
		return foreign
	case b.size == 0 || b.state == stale:
		return b.rewrite(t.ops)
	case b.size > max(bundleHead+2*used+b.limits.waste, b.retry):
		err := b.rewrite(t.ops)
		if err == nil {
			return nil
		}
		b.log.Warn("the store of secondary zones could not be compacted", "file", b.path(bundleName), "error", err.Error())
		if err := b.open(); err != nil {
			return err
		}
		b.retry = b.size + b.size/retryShare
	}
	if err := b.extend(t); err != nil {
		return err
	}
	b.mu.Lock()
	nothing := len(b.entries) == 0 && !b.loose
	b.mu.Unlock()
	// What a crash brings back of the file says that all has gone.
	if nothing && b.fsys.Remove(b.path(bundleName)) == nil {
		b.size, b.lasts = 0, false
	}
	return nil
}

// extend writes a batch behind what there is.
func (b *bundle) extend(t *batch) error {
	var frames []byte
	places := make([]int, 0, len(t.ops))
	for ops := t.ops; len(ops) > 0; {
		var n int
		frames, n = b.frame(frames, b.size, ops, &places)
		ops = ops[n:]
	}
	f, err := b.fsys.OpenFile(b.path(bundleName), os.O_WRONLY, fileMode)
	if err != nil {
		b.read.Store(false) // somebody may have removed it
		return err
	}
	if _, err = f.WriteAt(frames, int64(b.size)); err == nil && t.synced {
		err = f.Sync()
	}
	if err == nil && t.synced && !b.lasts {
		err = b.settle()
	}
	if err != nil {
		// What the system could not write it may have forgotten, and say of it later that it is synced.
		b.mu.Lock()
		forgotten := b.loose
		b.mu.Unlock()
		undone := f.Truncate(int64(b.size))
		if err = errors.Join(err, undone, f.Close()); undone != nil || forgotten {
			b.state = stale
			b.read.Store(false) // what is there counts
		}
		return err
	}
	_ = f.Close()
	b.size += len(frames)
	b.mu.Lock()
	b.loose = (b.loose || len(t.ops) > 0) && !t.synced
	b.mu.Unlock()
	b.enter(t.ops, places)
	return nil
}

// firm makes last what was found. A server that was killed may have left what a crash of the
// machine would still take away, and what is served rests on it.
func (b *bundle) firm() {
	if b.foreign != nil || b.size == 0 {
		return
	}
	err := syncFile(b.fsys, b.path(bundleName))
	if err == nil && !b.lasts {
		err = b.settle()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.loose = err != nil || b.state == stale; err != nil {
		b.state = stale
		b.log.Warn(
			"the store of secondary zones is not synced to disk: a crash may lose changes",
			"file",
			b.path(bundleName),
			"error",
			err.Error(),
		)
	}
}

// settle makes the file's name last.
func (b *bundle) settle() error {
	if err := b.shared.make(b.dir); err != nil {
		return err
	}
	if err := b.shared.sync(b.dir); err != nil {
		return err
	}
	b.lasts = true
	return nil
}

// frame appends the frame with as many entries as it takes, which is to be at a place in the file
// if dst is; their places are appended to places.
func (b *bundle) frame(dst []byte, size int, ops []op, places *[]int) ([]byte, int) {
	n, start := 0, len(dst)
	dst = beginFrame(dst)
	for ; n < len(ops) && (n == 0 || len(dst)-start < maxBody); n++ {
		*places = append(*places, size+len(dst))
		dst = ops[n].append(dst)
	}
	return endFrame(dst, start, b.life, size+start), n
}

// enter has the entries count that stand at the places.
func (b *bundle) enter(ops []op, places []int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range ops {
		b.apply(&ops[i], places[i])
	}
}

// apply has an entry count. b.mu is held.
func (b *bundle) apply(o *op, at int) {
	was, there := b.entries[o.key]
	switch {
	case o.kind == opVersion:
		b.used += o.size() - was.size
		b.entries[o.key] = entry{at, o.size(), o.checked, o.expire}
	case there && o.kind == opChecked:
		was.checked, was.expire = o.checked, o.expire
		b.entries[o.key] = was
	case there && o.kind == opGone:
		b.used -= was.size
		delete(b.entries, o.key)
	}
}

// rewrite writes what there is and a batch in the place of the file, or fails and leaves that.
func (b *bundle) rewrite(ops []op) error {
	b.place.Lock()
	defer b.place.Unlock()
	return b.renew(ops)
}

// renew does what rewrite does. b.place is held.
func (b *bundle) renew(ops []op) error {
	if err := b.shared.make(b.dir); err != nil {
		return err
	}
	list, err := b.list()
	if err != nil {
		return err
	}
	list = append(list, ops...)
	before := b.life
	b.life = newLife()
	content := appendHead(nil, bundleLine, b.life)
	places := make([]int, 0, len(list))
	for rest := list; len(rest) > 0; {
		var n int
		content, n = b.frame(content, 0, rest, &places)
		rest = rest[n:]
	}
	if err := b.replace(bundleName, content); err != nil {
		b.life = before
		b.read.Store(false) // which of the two is there is seen when it is read
		return err
	}
	b.size, b.retry, b.lasts, b.state = len(content), 0, true, current
	b.forget()
	b.enter(list, places)
	return nil
}

// forget forgets what there is.
func (b *bundle) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.entries)
	b.used, b.loose, b.foreign = 0, false, nil
}

// list returns the entries that count, in the order of the file. b.place is held.
func (b *bundle) list() ([]op, error) {
	b.mu.Lock()
	entries := maps.Clone(b.entries)
	b.mu.Unlock()
	if len(entries) == 0 {
		return nil, nil
	}
	content, err := readFile(b.fsys, b.path(bundleName))
	if err != nil {
		return nil, err
	}
	keys := slices.SortedFunc(maps.Keys(entries), func(x, y string) int { return cmp.Compare(entries[x].at, entries[y].at) })
	list := make([]op, 0, len(keys))
	for _, key := range keys {
		e := entries[key]
		if e.at+e.size > len(content) {
			return nil, b.broken(bundleName, "it is shorter than it was")
		}
		o, _, ok := readOp(content[e.at : e.at+e.size])
		if !ok || o.key != key {
			return nil, b.broken(bundleName, "damaged from byte %d on", e.at)
		}
		o.checked, o.expire = e.checked, e.expire
		list = append(list, o)
	}
	return list, nil
}

// open reads the file, if that has not been done.
func (b *bundle) open() error {
	if b.read.Load() {
		return nil
	}
	b.place.Lock()
	defer b.place.Unlock()
	if b.read.Load() {
		return nil
	}
	content, err := readFile(b.fsys, b.path(bundleName))
	if err != nil {
		return err
	}
	for _, suffix := range []string{newSuffix, oldSuffix} {
		if err := b.fsys.Remove(b.path(bundleName) + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			b.state = stale // what is written again takes it away
		}
	}
	b.forget()
	b.size, b.retry, b.lasts = len(content), 0, false
	if content != nil {
		if err := b.take(content); err != nil {
			return err
		}
		b.firm()
	}
	b.read.Store(true)
	return nil
}

// take takes what can be read of the file. What cannot is put aside, or cut off where it is
// the end that a crash has torn. b.place is held.
func (b *bundle) take(content []byte) error {
	c := readBundle(content)
	b.life = c.life
	b.enter(c.ops, c.places)
	b.mu.Lock()
	b.loose = true // as the server that wrote it may have left it
	if c.foreign {
		b.foreign = b.broken(bundleName, "%s", c.damage)
	}
	zones := len(b.entries)
	b.mu.Unlock()
	switch {
	case c.foreign:
		b.log.Error("the store of secondary zones cannot be used: they are transferred again, and the file is left alone",
			"file", b.path(bundleName), "error", c.damage)
		return nil
	case c.damage == "" && c.torn == 0:
		return nil
	case c.damage == "":
		if err := b.cut(bundleName, c.end); err != nil {
			return err
		}
		b.size = c.end
		b.log.Warn("the store of secondary zones had an incomplete last write, which was removed",
			"file", b.path(bundleName), "bytes", c.torn)
		return nil
	}
	b.log.Error("the store of secondary zones is damaged: unreadable zones are transferred again", "file", b.path(bundleName),
		"error", c.damage, "zones", zones)
	list, err := b.list()
	if err == nil {
		err = b.putAside(bundleName, c.damage)
	}
	if err != nil {
		return err
	}
	b.forget()
	if b.size = 0; len(list) > 0 {
		return b.renew(list)
	}
	return nil
}

// A bundled is what the file of a bundle has.
type bundled struct {
	life    life
	ops     []op
	places  []int  // of them
	end     int    // of the last whole frame
	torn    int    // octets after it
	damage  string // what is wrong with the file; empty: nothing is
	foreign bool   // it is of another version
}

// readBundle reads what can be read.
func readBundle(content []byte) *bundled {
	c := &bundled{}
	if !bytes.HasPrefix(content, []byte(bundleLine)) || len(content) < bundleHead {
		c.foreign = verdictOf(content, "bundle") == UnknownFormat && !bytes.HasPrefix(content, []byte(bundleLine))
		c.damage = fmt.Sprintf("its %d bytes do not begin with %q", len(content), bundleLine)
		return c
	}
	if crc32.Checksum(content[:bundleHead-4], table()) != binary.LittleEndian.Uint32(content[bundleHead-4:]) {
		c.damage = "its head does not have its checksum"
		return c
	}
	copy(c.life[:], content[len(bundleLine):])
	c.end = bundleHead
	for at := bundleHead; at < len(content); {
		v, end, body := frameAt(c.life, content, at)
		if v == whole {
			if c.torn > 0 && c.damage == "" {
				c.damage = fmt.Sprintf("damaged from byte %d on", c.end)
			}
			c.entries(body, end-1-len(body))
			at, c.end, c.torn = end, end, 0
			continue
		}
		next := bytes.Index(content[at+1:], []byte(marker))
		if next < 0 {
			next = len(content) - at - 1
		}
		at += 1 + next
		c.torn = at - c.end
	}
	return c
}

// entries takes the entries of a frame, whose body begins at a place in the file.
func (c *bundled) entries(body []byte, at int) {
	for len(body) > 0 {
		o, n, ok := readOp(body)
		if !ok {
			c.damage = fmt.Sprintf("damaged from byte %d on", at)
			return
		}
		c.ops, c.places = append(c.ops, o), append(c.places, at)
		body, at = body[n:], at+n
	}
}

// examineBundle says what the file of a bundle is.
func examineBundle(dir, name string) FileStatus {
	e := FileStatus{Path: name, Verdict: Intact}
	content, err := readFile(system{}, filepath.Join(dir, bundleName))
	if err != nil {
		e.Verdict, e.Text = Damaged, err.Error()
		return e
	}
	c := readBundle(content)
	b := newBundle(system{}, dir, &shelf{fsys: system{}}, slog.New(slog.DiscardHandler))
	b.enter(c.ops, c.places)
	e.Text = fmt.Sprintf("versions of %d secondary zones", len(b.entries))
	switch {
	case c.foreign:
		e.Verdict, e.Text = UnknownFormat, c.damage+": the file is left alone, and the zones are transferred again"
	case c.damage != "":
		e.Verdict, e.Text = Damaged, fmt.Sprintf(
			"%s; %s can be read: the next start sets the file aside and transfers the rest again",
			c.damage,
			e.Text,
		)
	case c.torn > 0:
		e.Verdict = Torn
		e.Text += fmt.Sprintf("; its last %d bytes are an incomplete write, which the next start removes", c.torn)
	}
	return e
}
