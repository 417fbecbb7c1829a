package zones

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"port53/internal/store"
	"port53/internal/telemetry"
	"port53/internal/wire"
	"port53/internal/zone"
)

// WriteZone writes a zone as a zone file, a record a line, the SOA first.
func WriteZone(w io.Writer, z *zone.Zone) error {
	out := bufio.NewWriter(w)
	var line []byte
	var err error
	z.Each(func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		line = wire.AppendName(line[:0], owner)
		line = fmt.Appendf(line, "\t%d\tIN\t%s\t", ttl, t)
		line = append(wire.AppendRdataText(line, t, data), '\n')
		_, err = out.Write(line)
		return err == nil
	})
	return errors.Join(err, out.Flush())
}

// errNotServed is what commands on zones that are not here return.
var errNotServed = errors.New("the zone is not served here")

// held returns a zone, held; its caller releases it.
func (m *Manager) held(apex []byte) (*managed, error) {
	z := m.find(apex)
	if z == nil {
		return nil, errNotServed
	}
	z.hold()
	if z.gone {
		z.release()
		return nil, errNotServed
	}
	return z, nil
}

// remember writes down what is known of a zone beside its version, if anything is written
// down of it at all. What is lost makes it expire sooner. z is held.
func (m *Manager) remember(z *managed) {
	if m.store == nil || !z.stored || z.unkept != "" {
		return
	}
	if err := m.store.SetMeta([]byte(z.key), z.meta()); err != nil {
		m.log.Warn("the time of a zone's last refresh cannot be stored", "zone", z.name(), "error", err.Error())
	}
}

func (z *managed) meta() store.Meta {
	return store.Meta{Checked: z.checked, Expire: z.expire, Frozen: z.frozen}
}

// Freeze writes a zone into its file and makes updates be refused, over restarts too, so
// that the file can be edited. See [Manager.Thaw].
func (m *Manager) Freeze(apex []byte) error {
	z, err := m.held(apex)
	if err != nil {
		return err
	}
	defer z.release()
	if z.frozen {
		return nil // somebody may be editing the file already
	}
	if err := m.mayFreeze(z, true); err != nil {
		return err
	}
	// First the file: a zone that is found frozen with an older one, after a crash, would
	// have that taken for an edit when it thaws, and all updates since would be undone. No
	// update comes between, as z is held.
	if err := m.sync(z); err != nil {
		return err
	}
	return m.setFrozen(z, true)
}

// mayFreeze reports why updates of a zone cannot be refused or taken for a time. z is held.
func (m *Manager) mayFreeze(z *managed, frozen bool) error {
	switch {
	case !z.source.changes():
		return errNobodyUpdates
	case frozen && z.zone == nil:
		return errors.New("the zone is not loaded, so it cannot be updated")
	case m.store != nil && !z.restored:
		return errNotRestored
	}
	return nil
}

// setFrozen has updates refused or taken, and writes that down. z is held.
func (m *Manager) setFrozen(z *managed, frozen bool) (err error) {
	if err := m.mayFreeze(z, frozen); err != nil {
		return err
	}
	was := z.frozen
	z.frozen = frozen
	if m.store != nil && (z.stored || frozen && z.zone != nil) {
		if !z.stored {
			err = m.store.Save([]byte(z.key), z.zone)
		}
		if err == nil {
			z.stored = true
			err = m.store.SetMeta([]byte(z.key), z.meta())
		}
	}
	if err != nil {
		z.frozen = was
		return fmt.Errorf("that cannot be written down: %w", err)
	}
	return nil
}

// Sync writes a zone as it is served into its zone file, in place of what is there:
// comments and included files are not kept.
func (m *Manager) Sync(apex []byte) error {
	z, err := m.held(apex)
	if err != nil {
		return err
	}
	defer z.release()
	return m.sync(z)
}

// sync writes a zone into its file. z is held.
func (m *Manager) sync(z *managed) error {
	f, ok := z.origin.(*file)
	switch {
	case z.zone == nil:
		return errors.New("the zone is not loaded")
	case !ok:
		return errors.New("the zone has no file: port53 zone export prints it")
	case z.edited():
		return errors.New("its file was edited since it was loaded, and the edit would be lost: raise its serial and " +
			"run port53 reload, or move the file away to have it written again")
	}
	if err := replaceFile(f.path, z.zone); err != nil {
		return err
	}
	z.basis = &fileBasis{f, []fileStamp{stamp(f.path)}} // it is what was read, as it were
	z.synced, z.inFile, z.unused = z.zone.Serial(), true, false
	return nil
}

// edited reports whether the zone's file has something that somebody has written there and
// that is not served. z is held.
func (z *managed) edited() bool {
	b, ok := z.basis.(*fileBasis)
	if !ok {
		return false
	}
	if info := stamp(b.files[0].path).info; info == nil || !info.Mode().IsRegular() {
		return false
	}
	return z.unused || b.edited()
}

// Refresh asks the primaries of a zone now. With whole, the zone is fetched whole,
// whatever its serial.
func (m *Manager) Refresh(apex []byte, whole bool) error {
	z := m.find(apex)
	switch {
	case z == nil:
		return errNotServed
	case !z.polled:
		return errors.New("the zone has no primaries: port53 reload reads its file")
	}
	m.schedule.now(&z.refresh, whole)
	return nil
}

// Notify is told that the primary of a zone has a new version (RFC 1996), by a peer that
// may say so. It reports whether the zone is here and has primaries.
func (m *Manager) Notify(r *Request) bool {
	z := m.of(r.Entry)
	if z == nil || !z.polled {
		act := r.act(telemetry.Notified, telemetry.Refused)
		act.Reason = "the zone has no primaries here"
		m.audit.Record(&act)
		return false
	}
	m.schedule.announced(&z.refresh, r.Client.Addr())
	act := r.act(telemetry.Notified, telemetry.Accepted)
	m.audit.Record(&act)
	return true
}

// Announce sends NOTIFY for a zone now.
func (m *Manager) Announce(apex []byte) error {
	z := m.find(apex)
	if z == nil {
		return errNotServed
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	n := notice{z.shown(), z.source.followers(), z.source.signers()}
	switch {
	case len(n.followers) == 0:
		return errors.New("the zone has neither secondaries nor notify: no server to send NOTIFY to")
	case n.zone == nil:
		return errors.New("the zone is not loaded")
	}
	m.notifier.announce(z.key, n, 0, true)
	return nil
}

// Export writes a zone as it is served, as a zone file.
func (m *Manager) Export(apex []byte, w io.Writer) error {
	z := m.find(apex)
	if z == nil {
		return errNotServed
	}
	p := z.past.Load()
	if p == nil {
		return errNotServed
	}
	return WriteZone(w, p.zone)
}

// replaceFile puts a zone in the place of a file, whole or not at all, with the rights
// of the file.
func replaceFile(path string, z *zone.Zone) error {
	mode := os.FileMode(0o644)
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("the zone file cannot be written: %w", err)
	}
	defer os.Remove(f.Name()) // it is gone once it has its name
	if err = fill(f, z, mode); err != nil {
		return fmt.Errorf("the zone file cannot be written: %w", err)
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("the zone file cannot be written: %w", err)
	}
	// What is written down next, as that the zone is frozen, may rest on it.
	if dir, err := os.Open(filepath.Dir(path)); err == nil {
		_ = dir.Sync() // not every system and file system knows that
		dir.Close()
	}
	return nil
}

// A newFile is a file that has not got its name yet.
type newFile interface {
	io.WriteCloser
	Chmod(mode os.FileMode) error
	Sync() error
}

// fill writes a zone into a file and closes it. Without an error all of it is on the disk,
// so that the name of the file before may go to it.
func fill(f newFile, z *zone.Zone, mode os.FileMode) error {
	err := WriteZone(f, z)
	return errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
}
