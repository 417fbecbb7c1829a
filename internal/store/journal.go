package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"time"

	"port53/internal/zone"
)

// A journal begins with a line that has the format's number, the life of the version that
// it belongs to, and a checksum of both. It is written with these, synced and given its
// name at once, so that no crash leaves a part of them.
//
// Frames follow. Each is what one Append wrote, with a checksum of it, and one of the
// frame's head, which covers the life and the place in the file as well: a frame is one
// only where it was written. What follows the last whole frame is either
//
//   - torn: a crash came while it was written, nobody was told that it is there, and it is
//     cut off. Its end is missing, or a sector of it is: file systems show what was not
//     written in time as zeros (etcd's log tells them apart in the same way).
//   - or damaged: a later frame was begun after it, which is done only once it is synced; or
//     it is complete and does not have its checksum. It was acknowledged, and nothing of the
//     file is used or changed.
//
// All numbers are little endian.
const (
	journalLine = "port53 journal 4\n"
	journalHead = len(journalLine) + lifeLen + 4
	marker      = "\xd5fr\n"         // begins a frame
	frameHead   = len(marker) + 12   // then the length of the body, its checksum, that of the head
	frameEnd    = '\n'               // ends the body: its last sector is never all zeros
	deltaHead   = 28                 // serials, the lengths of what is removed and added, when, and the length of by whom
	minFrame    = frameHead + 16 + 1 // of any format
	sector      = 512                // bytes, which a disk writes all or none of

	// The format before this one, which is read, and written again before more comes: its
	// differences do not say who made them, and when.
	plainJournalLine = "port53 journal 3\n"
	plainDeltaHead   = 16 // serials, and the lengths of what is removed and added

	// The format of journals with differences that change notes, which programs without the
	// API do not know: others are written as those read them.
	notedJournalLine = "port53 journal 5\n"
	notedDeltaHead   = deltaHead + 4 // and the length of the changes of notes, which come last

	// The format before that, which is read: its head has no checksum, and a frame is
	// one difference, its head the length and checksum of what follows.
	oldJournalLine = "port53 journal 2\n"
	oldJournalHead = len(oldJournalLine) + lifeLen
	oldFrameHead   = 8
	oldDeltaHead   = 12 // serials, and the length of what is removed

	anyJournalLine = "port53 journal " // and a number
)

// A form is how a journal has its differences.
type form uint8

const (
	dated form = iota // the usual one
	plain             // without who made them, and when
	noted             // with changes of notes
)

// formOf returns the form that differences need.
func formOf(deltas []*zone.Delta) form {
	if slices.ContainsFunc(deltas, func(d *zone.Delta) bool { return len(d.Notes) > 0 }) {
		return noted
	}
	return dated
}

// line returns the first line of a journal.
func (f form) line() string { return [...]string{journalLine, plainJournalLine, notedJournalLine}[f] }

// head returns the octets of a difference before its records.
func (f form) head() int { return [...]int{deltaHead, plainDeltaHead, notedDeltaHead}[f] }

// A journal is what a journal's file has.
type journal struct {
	life   life
	form   form
	old    bool          // it is in the format before that
	deltas []*zone.Delta // the oldest first
	frames []frame
	end    int     // of the last whole frame
	torn   int     // bytes after that, which a crash left
	damage string  // what is wrong with the file; empty: nothing is, and all above is so
	beyond *uint32 // the serial that what can be read after the damage leads to; nil: nothing can be
}

// A frame is differences that were written at the same time.
type frame struct{ start, deltas int } // where in the file, and how many

// serials says what can be read of a journal.
func (j *journal) serials() string {
	if len(j.deltas) == 0 {
		return "no change of it can be read"
	}
	return fmt.Sprintf("its changes from serial %d to %d can be read", j.deltas[0].From, j.deltas[len(j.deltas)-1].To)
}

func appendJournalHead(dst []byte, life life, f form) []byte { return appendHead(dst, f.line(), life) }

// appendHead appends the head of a file of frames.
func appendHead(dst []byte, line string, life life) []byte {
	start := len(dst)
	dst = append(append(dst, line...), life[:]...)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], table()))
}

// headSum returns the checksum of the head of a frame that is at a place in the file.
func headSum(life life, at int, head []byte) uint32 {
	sum := crc32.Checksum(life[:], table())
	sum = crc32.Update(sum, table(), binary.LittleEndian.AppendUint64(nil, uint64(at)))
	return crc32.Update(sum, table(), head[:frameHead-4])
}

// appendFrame appends the frame of deltas that is to be at a place in the file.
func appendFrame(dst []byte, life life, at int, deltas []*zone.Delta, f form) []byte {
	start := len(dst)
	return endFrame(appendDeltas(beginFrame(dst), deltas, f), start, life, at)
}

// beginFrame appends the head of a frame. Its body is to follow.
func beginFrame(dst []byte) []byte {
	return append(append(dst, marker...), make([]byte, frameHead-len(marker))...)
}

// endFrame ends the frame that begins at start, and is to be at a place in the file.
func endFrame(dst []byte, start int, life life, at int) []byte {
	dst = append(dst, frameEnd)
	head, body := dst[start:], dst[start+frameHead:]
	binary.LittleEndian.PutUint32(head[len(marker):], uint32(len(body)))
	binary.LittleEndian.PutUint32(head[len(marker)+4:], crc32.Checksum(body, table()))
	binary.LittleEndian.PutUint32(head[len(marker)+8:], headSum(life, at, head))
	return dst
}

// maxBy is the most bytes that are kept of who made a difference: the longest name of a key,
// escaped, and more.
const maxBy = 2048

// appendDeltas appends differences as they are in a frame of a form, dated or noted.
func appendDeltas(dst []byte, deltas []*zone.Delta, f form) []byte {
	for _, d := range deltas {
		by, at := d.By[:min(len(d.By), maxBy)], int64(0)
		if !d.At.IsZero() {
			at = d.At.Unix()
		}
		for _, n := range []uint32{d.From, d.To, uint32(len(d.Removed)), uint32(len(d.Added))} {
			dst = binary.LittleEndian.AppendUint32(dst, n)
		}
		dst = binary.LittleEndian.AppendUint64(dst, uint64(at))
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(by)))
		var notes []byte
		if f == noted {
			notes = zone.AppendNotes(nil, d.Notes)
			dst = binary.LittleEndian.AppendUint32(dst, uint32(len(notes)))
		}
		dst = append(append(append(append(dst, d.Removed...), d.Added...), by...), notes...)
	}
	return dst
}

// readDeltas reads what appendDeltas appends, and the plain form. The differences lie in body.
func readDeltas(body []byte, f form) (deltas []*zone.Delta, ok bool) {
	head := f.head()
	for len(body) > 0 {
		if len(body) < head {
			return nil, false
		}
		number := func(i int) uint32 { return binary.LittleEndian.Uint32(body[4*i:]) }
		d := &zone.Delta{From: number(0), To: number(1)}
		removed, added, by, notes := uint64(number(2)), uint64(number(3)), uint64(0), uint64(0)
		if f != plain {
			if at := int64(binary.LittleEndian.Uint64(body[16:])); at != 0 {
				d.At = time.Unix(at, 0)
			}
			by = uint64(number(6))
		}
		if f == noted {
			notes = uint64(number(7))
		}
		if body = body[head:]; removed+added+by+notes > uint64(len(body)) {
			return nil, false
		}
		d.Removed, d.Added, body = body[:removed], body[removed:removed+added], body[removed+added:]
		d.By, body = string(body[:by]), body[by:]
		if d.Notes, ok = zone.ReadNotes(body[:notes]); !ok {
			return nil, false
		}
		body = body[notes:]
		deltas = append(deltas, d)
	}
	return deltas, true
}

// newest returns a journal of a form, dated or noted, that has of the frames the last, as many as take
// so many bytes.
func (j *journal) newest(life life, bytes int, f form) []byte {
	first, left := len(j.frames), j.deltas
	for first > 0 && j.end-j.frames[first-1].start <= bytes {
		first--
	}
	for _, f := range j.frames[:first] {
		left = left[f.deltas:]
	}
	dst := appendJournalHead(nil, life, f)
	for _, frame := range j.frames[first:] {
		dst = appendFrame(dst, life, len(dst), left[:frame.deltas], f)
		left = left[frame.deltas:]
	}
	return dst
}

// readJournal reads a journal. If the version beside it is in the format before this one,
// so is the journal.
func readJournal(content []byte, old bool) *journal {
	j := &journal{}
	switch {
	case hasJournalLine(content) && len(content) >= journalHead:
		j.form = lineForm(content)
		if crc32.Checksum(content[:journalHead-4], table()) != binary.LittleEndian.Uint32(content[journalHead-4:]) {
			j.damage = "its head does not have its checksum"
			return j
		}
		copy(j.life[:], content[len(journalLine):])
		j.read(content, journalHead, j.frame)
	case bytes.HasPrefix(content, []byte(oldJournalLine)) && len(content) >= oldJournalHead:
		j.old = true
		copy(j.life[:], content[len(oldJournalLine):])
		j.read(content, oldJournalHead, oldFrame)
	case old && len(content) < oldJournalHead && bytes.HasPrefix([]byte(oldJournalLine), content[:min(len(content), len(oldJournalLine))]):
		j.old, j.torn = true, len(content) // its head was written with the first frame
	case bytes.HasPrefix(content, []byte(anyJournalLine)) && len(content) >= oldJournalHead:
		line, _, _ := bytes.Cut(content, []byte{'\n'})
		j.damage = fmt.Sprintf("it is in the format %.40q, which this version of port53 does not know", line)
	default:
		j.damage = fmt.Sprintf("its %d bytes do not begin with %q", len(content), journalLine)
	}
	return j
}

// hasJournalLine reports whether a journal is in a form that is read.
func hasJournalLine(content []byte) bool {
	return bytes.HasPrefix(content, []byte(lineForm(content).line()))
}

// lineForm returns the form that the first line of a journal says.
func lineForm(content []byte) form {
	for _, f := range []form{plain, noted} {
		if bytes.HasPrefix(content, []byte(f.line())) {
			return f
		}
	}
	return dated
}

// What there is at a place in a journal.
type verdict uint8

const (
	noFrame verdict = iota // nothing that looks like one
	unended                // one that is longer than the file
	spoilt                 // one that does not have its checksum
	whole
)

// A reader says what there is at a place in a journal, where it ends, and what it has.
type reader func(content []byte, at int) (v verdict, end int, deltas []*zone.Delta)

// read reads the frames from a place on.
func (j *journal) read(content []byte, at int, frameAt reader) {
	for j.end = at; j.end < len(content); {
		v, end, deltas := frameAt(content, j.end)
		if v != whole {
			j.judge(content, v, end, frameAt)
			return
		}
		for _, d := range deltas {
			if n := len(j.deltas); n > 0 && !j.old && j.deltas[n-1].To != d.From {
				j.damage = fmt.Sprintf(
					"at byte %d a change starts at serial %d, but the previous one ends at %d",
					j.end,
					d.From,
					j.deltas[n-1].To,
				)
				return
			}
			j.deltas = append(j.deltas, d)
		}
		j.frames = append(j.frames, frame{j.end, len(deltas)})
		j.end = end
	}
}

// judge says whether what follows the last whole frame is torn or damaged.
func (j *journal) judge(content []byte, v verdict, end int, frameAt reader) {
	rest := len(content) - j.end
	begun := false
	for at := j.end + 1; at < len(content); at++ {
		if !j.old {
			next := bytes.Index(content[at:], []byte(marker))
			if next < 0 {
				break
			}
			at += next
		}
		switch v, end, deltas := frameAt(content, at); {
		case v == whole:
			begun, j.beyond = true, &deltas[len(deltas)-1].To
			at = end - 1
		case v != noFrame && !j.old:
			begun = true
		}
	}
	torn := false
	switch {
	case begun:
	case zeros(content[j.end:]):
		torn = true
	case v == unended:
		torn = true
	case v == spoilt:
		torn = zeros(content[end:]) && zeroSector(content, j.end, end)
	case v == noFrame:
		torn = rest < oldFrameHead || !j.old && rest < minFrame || zeroSector(content, j.end, len(content))
	}
	if torn {
		j.torn = rest
		return
	}
	j.damage = fmt.Sprintf("damaged from byte %d on", j.end)
}

func zeros(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// zeroSector reports whether a sector of a part of a file, as much of it as is of that
// part, has zeros alone.
func zeroSector(content []byte, from, to int) bool {
	for from < to {
		next := min((from/sector+1)*sector, to)
		if zeros(content[from:next]) {
			return true
		}
		from = next
	}
	return false
}

// frame is the reader of the format.
func (j *journal) frame(content []byte, at int) (verdict, int, []*zone.Delta) {
	v, end, body := frameAt(j.life, content, at)
	if v != whole {
		return v, end, nil
	}
	deltas, ok := readDeltas(body, j.form)
	if !ok || deltas == nil {
		return spoilt, end, nil
	}
	return whole, end, deltas
}

// frameAt says what there is at a place in a file of frames, where it ends, and what it has.
func frameAt(life life, content []byte, at int) (verdict, int, []byte) {
	rest := content[at:]
	if len(rest) < frameHead || string(rest[:len(marker)]) != marker ||
		headSum(life, at, rest) != binary.LittleEndian.Uint32(rest[frameHead-4:]) {
		return noFrame, 0, nil
	}
	n := uint64(binary.LittleEndian.Uint32(rest[len(marker):]))
	rest = rest[frameHead:]
	if n > uint64(len(rest)) {
		return unended, 0, nil
	}
	body, end := rest[:n], at+frameHead+int(n)
	if crc32.Checksum(body, table()) != binary.LittleEndian.Uint32(content[at+len(marker)+4:]) || len(body) == 0 {
		return spoilt, end, nil
	}
	return whole, end, body[:n-1]
}

// oldFrame is the reader of the format before. What it says of a frame that is not whole
// rests on a length that has no checksum of its own.
func oldFrame(content []byte, at int) (verdict, int, []*zone.Delta) {
	rest := content[at:]
	if len(rest) < oldFrameHead {
		return noFrame, 0, nil
	}
	n, sum := uint64(binary.LittleEndian.Uint32(rest)), binary.LittleEndian.Uint32(rest[4:])
	rest = rest[oldFrameHead:]
	switch {
	case n < oldDeltaHead:
		return noFrame, 0, nil
	case n > uint64(len(rest)):
		return unended, 0, nil
	}
	body, end := rest[:n], at+oldFrameHead+int(n)
	if crc32.Checksum(body, table()) != sum {
		return spoilt, end, nil
	}
	removed := uint64(binary.LittleEndian.Uint32(body[8:]))
	if removed > n-oldDeltaHead {
		return spoilt, end, nil
	}
	return whole, end, []*zone.Delta{{
		From: binary.LittleEndian.Uint32(body), To: binary.LittleEndian.Uint32(body[4:]),
		Removed: body[oldDeltaHead : oldDeltaHead+removed], Added: body[oldDeltaHead+removed:],
	}}
}
