package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"

	"port53/internal/zone"
)

// A history is a line that has the format's number, the fingerprint of the version that its
// differences lead to, a checksum of that and of all that follows, and the differences as
// they are in a frame of a journal. It is of a zone whose versions are kept elsewhere, in a
// zone file, and all that is lost with it is that others fetch the zone whole: it is not
// synced, and one that cannot be used is none.
const (
	historyName = "history"
	historyLine = "port53 history 2\n"
	plainLine   = "port53 history 1\n" // of the format before, which is read: see plainJournalLine
	historyHead = len(historyLine) + len(zone.Fingerprint{}) + 4
)

// SaveHistory keeps the differences that led to v, the oldest first, in place of those that
// were kept. They need not outlast a crash of the machine.
func (d *Dir) SaveHistory(apex []byte, v *zone.Zone, deltas []*zone.Delta) error {
	return d.of(apex).saveHistory(v, deltas)
}

// LoadHistory returns the differences that are known to lead to v, or none. The error wraps
// [ErrBroken] for a file that is not what was written, which is left as it is until it is
// replaced.
func (d *Dir) LoadHistory(apex []byte, v *zone.Zone) ([]*zone.Delta, error) {
	return d.of(apex).loadHistory(v)
}

func (z *files) saveHistory(v *zone.Zone, deltas []*zone.Delta) error {
	if err := z.fsys.MkdirAll(z.dir, dirMode); err != nil {
		return err
	}
	print := v.Fingerprint()
	buf := append(append([]byte(historyLine), print[:]...), 0, 0, 0, 0)
	buf = appendDeltas(buf, deltas, dated) // a zone with notes is in the store itself
	binary.LittleEndian.PutUint32(buf[historyHead-4:], historySum(buf))
	return z.unsynced(historyName, buf)
}

// hasHistoryLine reports whether a history is in this format, or in the one before.
func hasHistoryLine(content []byte) bool {
	return bytes.HasPrefix(content, []byte(historyLine)) || bytes.HasPrefix(content, []byte(plainLine))
}

// historyForm returns the form of the differences of a history.
func historyForm(content []byte) form {
	if bytes.HasPrefix(content, []byte(plainLine)) {
		return plain
	}
	return dated
}

// historySum returns the checksum of the content of a history.
func historySum(content []byte) uint32 {
	return crc32.Update(crc32.Checksum(content[:historyHead-4], table()), table(), content[historyHead:])
}

// unsynced puts a file in the place of another, which need not outlast a crash of the
// machine. If it fails, nothing is left of it.
func (z *files) unsynced(name string, content []byte) error {
	path := z.path(name)
	f, err := z.fsys.OpenFile(path+newSuffix, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, fileMode)
	if err != nil {
		z.tidy()
		return err
	}
	_, err = f.WriteAt(content, 0)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = z.fsys.Rename(path+newSuffix, path)
	}
	if err != nil {
		_ = z.fsys.Remove(path + newSuffix)
		z.tidy()
	}
	return err
}

// tidy removes the zone's directory if nothing is in it.
func (z *files) tidy() {
	if names, err := z.fsys.ReadNames(z.dir); err == nil && len(names) == 0 {
		_ = z.fsys.Remove(z.dir)
		z.lasts = false
	}
}

func (z *files) loadHistory(v *zone.Zone) ([]*zone.Delta, error) {
	_ = z.fsys.Remove(z.path(historyName) + newSuffix)
	content, err := readFile(z.fsys, z.path(historyName))
	if err != nil || content == nil {
		return nil, err
	}
	if len(content) < historyHead || !hasHistoryLine(content) {
		line, _, _ := bytes.Cut(content[:min(len(content), len(historyLine))], []byte{'\n'})
		return nil, z.broken(
			historyName,
			"it begins with %q; this version of port53 reads files that begin with %q",
			line,
			historyLine[:len(historyLine)-1],
		)
	}
	deltas, ok := readDeltas(content[historyHead:], historyForm(content))
	if historySum(content) != binary.LittleEndian.Uint32(content[historyHead-4:]) || !ok {
		return nil, z.broken(historyName, "it does not have its checksum")
	}
	if print := v.Fingerprint(); len(deltas) == 0 || !bytes.Equal(print[:], content[len(historyLine):historyHead-4]) {
		return nil, nil // of another version: the file has been edited meanwhile
	}
	return deltas, nil
}

// historySerials says what there is in a history, for who looks at files.
func historySerials(content []byte) (string, error) {
	if len(content) < historyHead || !hasHistoryLine(content) {
		return "", fmt.Errorf("it does not begin with %q", historyLine[:len(historyLine)-1])
	}
	deltas, ok := readDeltas(content[historyHead:], historyForm(content))
	if historySum(content) != binary.LittleEndian.Uint32(content[historyHead-4:]) || !ok {
		return "", fmt.Errorf("it does not have its checksum")
	}
	if len(deltas) == 0 {
		return "no changes", nil
	}
	return fmt.Sprintf("changes from serial %d to %d", deltas[0].From, deltas[len(deltas)-1].To), nil
}
