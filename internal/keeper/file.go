package keeper

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

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

// Freeze makes updates of a zone be refused, over restarts too, so that its file can be
// edited, or with false be taken again.
func (k *Keeper) Freeze(apex []byte, frozen bool) error {
	z, err := k.lock(apex)
	if err != nil {
		return err
	}
	defer z.mu.Unlock()
	if len(z.source.Updates) == 0 {
		return errors.New("nobody may update the zone: its file can be edited at any time")
	}
	if z.disk == nil && frozen && k.disk != nil && z.zone != nil {
		disk := k.disk.Zone([]byte(z.key))
		if err := disk.Save(z.zone, false); err != nil {
			return fmt.Errorf("that cannot be written down: %w", err)
		}
		z.disk = disk
	}
	if z.disk != nil {
		if err := z.disk.SetFrozen(frozen); err != nil {
			return fmt.Errorf("that cannot be written down: %w", err)
		}
	}
	k.state.Lock()
	z.frozen = frozen
	k.state.Unlock()
	return nil
}

// lock returns a zone, locked.
func (k *Keeper) lock(apex []byte) (*kept, error) {
	k.state.Lock()
	z := k.find(apex)
	k.state.Unlock()
	if z != nil {
		z.mu.Lock()
		if !z.gone {
			return z, nil
		}
		z.mu.Unlock()
	}
	return nil, errors.New("the zone is not served here")
}

// Sync writes a zone as it is served into its zone file, in place of what is there:
// comments and included files are not kept.
func (k *Keeper) Sync(apex []byte) error {
	z, err := k.lock(apex)
	if err != nil {
		return err
	}
	defer z.mu.Unlock()
	switch {
	case z.zone == nil:
		return errors.New("the zone has no version that could be served")
	case z.source.File == "":
		return errors.New("the zone has no file: port53 zone export prints it")
	}
	if err := replaceFile(z.source.File, z.zone); err != nil {
		return err
	}
	var l Loaded
	l.stamp(z.source.File)
	k.state.Lock()
	z.files = l.files // it is what was read, as it were
	z.synced, z.inFile = z.zone.Serial(), true
	k.state.Unlock()
	return nil
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
	err = WriteZone(f, z)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("the zone file cannot be written: %w", err)
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("the zone file cannot be written: %w", err)
	}
	return nil
}
