package telemetry

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// maxAuditLine is more than any line of an audit has in bytes.
const maxAuditLine = 64 << 10

// hashOf returns the hash of a line, without its end, as the next line has it.
func hashOf(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}

// lastLine returns the last line of a file, without its end, and whether that is there. Of a file that has
// none the line is empty.
func lastLine(f *os.File) (line []byte, ended bool, err error) {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, true, err
	}
	tail := make([]byte, min(info.Size(), maxAuditLine))
	if _, err := f.ReadAt(tail, info.Size()-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return nil, true, err
	}
	if len(tail) == 0 {
		return nil, true, nil
	}
	line, ended = bytes.CutSuffix(tail, []byte{'\n'})
	return line[bytes.LastIndexByte(line, '\n')+1:], ended, nil
}

// Follow has the lines that are written from now on follow on the last one of a file, which is open for
// reading: what an earlier run of the server has written.
func (f *AuditFile) Follow(file *os.File) error {
	line, ended, err := lastLine(file)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.torn = !ended
	if len(line) > 0 {
		f.before = hashOf(line)
	}
	return nil
}

// An AuditChain checks that each line of an audit has the hash of the line before it, over files that follow
// on each other, the oldest first.
type AuditChain struct {
	Lines     int    // that were read
	Unchained int    // the first ones, without hashes
	Last      string // the hash of the last line
	Faults    []AuditFault
	Begins    []string // where a chain begins that follows on nothing, as FILE:LINE

	hashes map[string]bool // of all lines, if they are wanted
}

// An AuditFault is a place where an audit is not as it was written.
type AuditFault struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Text string `json:"text"`
}

// String returns the fault with its place.
func (f AuditFault) String() string { return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Text) }

// RememberHashes has the chain remember each line's hash, for [AuditChain.Has].
func (c *AuditChain) RememberHashes() { c.hashes = map[string]bool{} }

// Has reports whether a line with the hash was read.
func (c *AuditChain) Has(hash string) bool { return c.hashes[hash] }

// Read checks a file. The error is one of reading.
func (c *AuditChain) Read(name string, r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxAuditLine)
	n := 0
	for lines.Scan() {
		n++
		if line := lines.Bytes(); len(line) > 0 {
			c.line(name, n, line)
		}
	}
	return lines.Err()
}

// line checks one line.
func (c *AuditChain) line(name string, n int, line []byte) {
	fault := func(text string) { c.Faults = append(c.Faults, AuditFault{name, n, text}) }
	var l chainedLine
	switch err := json.Unmarshal(line, &l); {
	case err != nil:
		fault("this is no line of the audit: it was changed, or the server ended while it wrote it")
	case l.Before == "" && c.Unchained == c.Lines:
		c.Unchained++
	case l.Before == "" && n == 1:
		c.Begins = append(c.Begins, fmt.Sprintf("%s:%d", name, n))
	case l.Before == "":
		fault("this line has no hash of the line before it: it was added, or changed")
	case c.Lines == 0:
		c.Begins = append(c.Begins, fmt.Sprintf("%s:%d", name, n))
	case l.Before != c.Last:
		fault("the line before this one was changed, or lines between the two were removed or added")
	}
	c.Lines++
	c.Last = hashOf(line)
	if c.hashes != nil {
		c.hashes[c.Last] = true
	}
}
