package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"port53/internal/wire"
	"port53/internal/zone"
)

// A Verdict is what a file of a state directory is found to be.
type Verdict string

// The verdicts.
const (
	Intact        Verdict = "ok"
	Torn          Verdict = "torn"    // its end is of what was never acknowledged: the next start cuts it off
	Damaged       Verdict = "damaged" // it is not what was written, and refused
	UnknownFormat Verdict = "foreign" // it is in a format that this version does not know, and refused
	Leftover      Verdict = "left"    // it is left over, and not used
	Unknown       Verdict = "unknown" // it is nothing of port53's
)

// A FileStatus is one file of a state directory.
type FileStatus struct {
	Path    string  `json:"path"`           // relative to the directory
	Zone    string  `json:"zone,omitempty"` // whose it is
	View    string  `json:"view,omitempty"` // that tells the zone from others of its name
	Verdict Verdict `json:"verdict"`
	Serial  *uint32 `json:"serial,omitempty"` // of the version that the next start serves, or leads on from
	Text    string  `json:"text"`             // what it has, or what is wrong
}

// Bad reports whether a start refuses the file.
func (e *FileStatus) Bad() bool { return e.Verdict == Damaged || e.Verdict == UnknownFormat }

// A DirStatus is a state directory as it is.
type DirStatus struct {
	InUse bool         `json:"in_use"` // a server has it: what it is writing may look torn
	Files []FileStatus `json:"files"`  // in the order of their paths
}

// A Classifier says what a file is that is not a zone's, by its path relative to the state
// directory, or has nothing to say.
type Classifier func(name, path string) (verdict Verdict, text string, known bool)

// The directories of zones in a state directory: as they come, and the signed versions of those
// that are signed here.
const (
	zonesName  = "zones"
	signedName = "signed"
)

// Examine looks at a state directory and changes nothing. judge knows the files that are
// not zones'. The error is why that could not be done.
func Examine(dir string, judge Classifier) (*DirStatus, error) {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "examine", Path: dir, Err: syscall.ENOTDIR}
	}
	if err != nil {
		return nil, err
	}
	x := &DirStatus{InUse: inUse(filepath.Join(dir, lockName))}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name := e.Name()
		switch path := filepath.Join(dir, name); {
		case (name == zonesName || name == signedName) && e.IsDir():
			if err := x.zones(path, name); err != nil {
				return nil, err
			}
		case name == lockName && e.Type().IsRegular():
		default:
			verdict, text, known := judge(name, path)
			if !known {
				verdict, text = Unknown, "it is not a file of port53's state"
			}
			x.Files = append(x.Files, FileStatus{Path: name, Verdict: verdict, Text: text})
		}
	}
	slices.SortStableFunc(x.Files, func(a, b FileStatus) int { return strings.Compare(a.Path, b.Path) })
	return x, nil
}

// inUse reports whether a server has locked a state directory.
func inUse(lock string) bool {
	f, err := os.OpenFile(lock, os.O_RDONLY|asIs, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(flock(f, false), errBusy)
}

func (x *DirStatus) zones(dir, above string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := filepath.Join(above, e.Name())
		switch {
		case strings.HasSuffix(e.Name(), goneSuffix):
			x.Files = append(
				x.Files,
				FileStatus{Path: name, Verdict: Leftover, Text: "of a zone that was being removed: the next start removes it"},
			)
		case e.Name() == bundleName && e.Type().IsRegular():
			x.Files = append(x.Files, examineBundle(dir, name))
		case strings.HasPrefix(e.Name(), bundleName+asideSuffix) && e.Type().IsRegular():
			x.Files = append(x.Files, FileStatus{Path: name, Verdict: Leftover, Text: "it was set aside because it could not be used"})
		case (e.Name() == bundleName+newSuffix || e.Name() == bundleName+oldSuffix) && e.Type().IsRegular():
			x.Files = append(x.Files, FileStatus{Path: name, Verdict: Leftover, Text: "an incomplete write: the next start removes it"})
		case !e.IsDir():
			x.Files = append(x.Files, FileStatus{Path: name, Verdict: Unknown, Text: "it is not a zone's directory"})
		default:
			files, err := examineZone(filepath.Join(dir, e.Name()), above, e.Name())
			if err != nil {
				return err
			}
			x.Files = append(x.Files, files...)
		}
	}
	return nil
}

// examineZone looks at the files of one zone.
func examineZone(dir, above, name string) (list []FileStatus, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	z := &files{
		dir:    dir,
		fsys:   system{},
		shared: &shelf{fsys: system{}},
		limits: limits{minJournal, maxWhole, bundleWaste},
		log:    slog.New(slog.DiscardHandler),
	}
	content, err := readFile(z.fsys, z.path(wholeName))
	if err != nil {
		return nil, err
	}
	plain, of, _ := strings.Cut(name, ofMark)
	if z.apex = apexOf(content); z.apex == nil || fileName(z.apex) != plain {
		z.apex = []byte{0}
	}
	v, whole := z.examineWhole(content, name)
	journal := z.examineJournal(v, content)
	if v != nil && journal.Serial == nil {
		serial := v.Serial()
		whole.Serial = &serial
	}
	for _, e := range entries {
		one := FileStatus{Verdict: Intact}
		switch n := e.Name(); {
		case n == wholeName:
			one = whole
		case n == journalName:
			one = journal
		case n == historyName:
			one = z.examineHistory()
		case n == checkedName:
			if _, _, ok := z.readChecked(); !ok {
				one.Verdict, one.Text = Damaged, "the time of the last refresh cannot be read: the time the zone was written is used"
			} else {
				one.Text = "when the zone was checked"
			}
		case n == frozenName:
			one.Text = "updates of the zone are refused for now"
		case strings.Contains(n, asideSuffix):
			one.Verdict, one.Text = Leftover, "it was set aside because it could not be used"
		case strings.HasSuffix(n, newSuffix), strings.HasSuffix(n, oldSuffix):
			one.Verdict, one.Text = Leftover, "an incomplete write: the next start that serves the zone removes it"
		default:
			one.Verdict, one.Text = Unknown, "it is not a file of port53's state"
		}
		one.Path = filepath.Join(above, name, e.Name())
		if one.Zone = ""; len(z.apex) > 1 || plain == "%root" {
			one.Zone, one.View = string(wire.AppendName(nil, z.apex)), of
		}
		list = append(list, one)
	}
	return list, nil
}

// apexOf returns the name of the zone in a whole version, which begins with the SOA record.
func apexOf(content []byte) (apex []byte) {
	if len(content) < wholeHead {
		return nil
	}
	_ = zone.EachRecord(content[wholeHead:], func(owner []byte, _ wire.Type, _ uint32, _ []byte) bool {
		apex = wire.Lower(nil, owner)
		return false
	})
	return apex
}

// verdictOf tells damage from another format, by the first line of a file.
func verdictOf(content []byte, kind string) Verdict {
	line, _, whole := bytes.Cut(content[:min(len(content), 64)], []byte{'\n'})
	if version, ok := bytes.CutPrefix(
		line,
		[]byte("port53 "+kind+" "),
	); ok && whole && len(version) > 0 &&
		len(bytes.Trim(version, "0123456789")) == 0 {
		return UnknownFormat
	}
	return Damaged
}

func (z *files) examineWhole(content []byte, name string) (*zone.Zone, FileStatus) {
	if content == nil {
		return nil, FileStatus{}
	}
	v, err := z.read(content, wire.Seed(1))
	if err != nil {
		e := FileStatus{Verdict: Damaged, Text: problemOf(err)}
		if !hasWholeLine(content) {
			e.Verdict = verdictOf(content, "zone")
		}
		return nil, e
	}
	if fileName(z.apex) != name {
		return nil, FileStatus{
			Verdict: Damaged,
			Text:    fmt.Sprintf("it belongs to zone %s, which has another directory", wire.AppendName(nil, apexOf(content))),
		}
	}
	return v, FileStatus{Verdict: Intact, Text: fmt.Sprintf("serial %d, %d records", v.Serial(), v.Records())}
}

// problemOf returns what is wrong with a file, whose path is said already.
func problemOf(err error) string {
	var b *broken
	if errors.As(err, &b) {
		return b.problem
	}
	return err.Error()
}

func (z *files) examineJournal(v *zone.Zone, whole []byte) FileStatus {
	content, err := readFile(z.fsys, z.path(journalName))
	switch {
	case err != nil:
		return FileStatus{Verdict: Damaged, Text: err.Error()}
	case content == nil:
		return FileStatus{}
	}
	j := readJournal(content, bytes.HasPrefix(whole, []byte(oldWholeLine)))
	switch {
	case j.damage != "":
		e := FileStatus{Verdict: Damaged, Text: j.damage + "; " + j.serials()}
		if j.beyond != nil {
			e.Text += fmt.Sprintf("; what follows led to serial %d at least", *j.beyond)
		}
		if !hasJournalLine(content) && !bytes.HasPrefix(content, []byte(oldJournalLine)) {
			e.Verdict = verdictOf(content, "journal")
		}
		return e
	case v == nil:
		return FileStatus{Verdict: Damaged, Text: "the zone version it applies to is missing or cannot be used; " + j.serials()}
	case j.life != z.life && !j.old:
		return FileStatus{
			Verdict: Leftover,
			Text: fmt.Sprintf(
				"it belongs to a version that serial %d has replaced: the next start sets it aside; %s",
				v.Serial(),
				j.serials(),
			),
		}
	case j.life != z.life && j.torn < len(content):
		return FileStatus{
			Verdict: Damaged,
			Text: fmt.Sprintf(
				"it belongs to another version of the zone than the stored one, which has serial %d; %s",
				v.Serial(),
				j.serials(),
			),
		}
	}
	next, _, err := z.replay(v, j)
	if err != nil {
		return FileStatus{Verdict: Damaged, Text: problemOf(err)}
	}
	serial := next.Serial()
	e := FileStatus{Verdict: Intact, Serial: &serial, Text: "no changes"}
	if len(j.deltas) > 0 {
		e.Text = fmt.Sprintf("changes from serial %d to %d", j.deltas[0].From, j.deltas[len(j.deltas)-1].To)
	}
	if j.torn > 0 {
		e.Verdict = Torn
		e.Text += fmt.Sprintf("; its last %d bytes are a change that was never acknowledged, which the next start removes", j.torn)
	}
	return e
}

func (z *files) examineHistory() FileStatus {
	content, err := readFile(z.fsys, z.path(historyName))
	if err != nil {
		return FileStatus{Verdict: Damaged, Text: err.Error()}
	}
	text, err := historySerials(content)
	if err == nil {
		return FileStatus{Verdict: Intact, Text: text}
	}
	e := FileStatus{Verdict: Damaged, Text: err.Error() + ": it is not used"}
	if !hasHistoryLine(content) {
		e.Verdict = verdictOf(content, "history")
	}
	return e
}

// FirstLine returns the first line of a file, for those who know files by it: at most 64
// bytes of it.
func FirstLine(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", errors.Join(errors.New("it is not a regular file"), err)
	}
	head := make([]byte, 64)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return "", err
	}
	line, _, _ := bytes.Cut(head[:n], []byte{'\n'})
	return string(line), nil
}
