package telemetry_test

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"port53/internal/telemetry"
)

// auditTo returns an audit that appends to a file, as a run of the server does.
func auditTo(t *testing.T, path string) *telemetry.Audit {
	t.Helper()
	f := telemetry.NewAuditFile(nil)
	out, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	f.SetOutput(out)
	if err := f.Follow(out); err != nil {
		t.Fatal(err)
	}
	a := telemetry.NewAudit(slog.New(slog.NewTextHandler(io.Discard, nil)))
	a.SetFile(f)
	t.Cleanup(func() { f.SetOutput(nil) })
	return a
}

func chainOf(t *testing.T, texts ...string) *telemetry.AuditChain {
	t.Helper()
	c := &telemetry.AuditChain{}
	c.RememberHashes()
	for i, text := range texts {
		if err := c.Read(fmt.Sprint("f", i), strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// TestAuditChain: each line has the hash of the one before it, over restarts, a line that was torn and another
// file; every line that is changed, removed, added or moved is found, at its place.
func TestAuditChain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	for run := range 3 {
		a := auditTo(t, path)
		for i := range 4 {
			a.Record(&telemetry.AuditRecord{Operation: telemetry.Commanded, By: "uid 0", Text: fmt.Sprintf("run %d, command %d", run, i)})
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	good := string(b)
	lines := strings.SplitAfter(strings.TrimSuffix(good, "\n"), "\n")
	c := chainOf(t, good)
	if c.Lines != 12 || len(c.Faults) > 0 || c.Unchained != 1 || !c.Has(c.Last) || c.Has("") {
		t.Fatalf("as it was written: %+v", c)
	}
	middle := slices.Clone(lines)
	middle = append(middle[:6:6], middle[5:]...)
	for _, x := range []struct {
		name, text string
		line       int // of the fault
		says       string
	}{
		{"a word is changed", strings.Replace(good, "run 1, command 1", "run 1, command 9", 1), 7, "was changed"},
		{"the first is changed", strings.Replace(good, "run 0, command 0", "run 0, command 9", 1), 2, "was changed"},
		{"one is removed", strings.Join(slices.Delete(slices.Clone(lines), 5, 6), ""), 6, "removed"},
		{"two are exchanged", lines[0] + lines[2] + lines[1] + strings.Join(lines[3:], ""), 2, "removed or added"},
		{"one stands twice", strings.Join(middle, ""), 7, "added"},
		{"one is added", strings.Join(lines[:3], "") + `{"at":"2026-01-01T00:00:00Z","what":"command","outcome":"accepted"}` + "\n" + strings.Join(lines[3:], ""), 4, "no hash"},
		{"one is cut off", strings.Join(lines[:3], "") + lines[3][:20] + "\n" + strings.Join(lines[4:], ""), 4, "no line of the audit"},
		{"a space is added", strings.Replace(good, `"command","outcome"`, `"command", "outcome"`, 1), 2, "was changed"},
	} {
		c := chainOf(t, x.text)
		if len(c.Faults) == 0 || c.Faults[0].Line != x.line || !strings.Contains(c.Faults[0].Text, x.says) {
			t.Errorf("%s: %v, want line %d, %q", x.name, c.Faults, x.line, x.says)
		}
	}
	// Cut off at an end it is whole in itself: what was seen last says so, and what it follows on.
	if cut := chainOf(t, strings.Join(lines[:9], "")); len(cut.Faults) > 0 || cut.Has(c.Last) {
		t.Errorf("cut off at the end: %v", cut.Faults)
	}
	if cut := chainOf(t, strings.Join(lines[3:], "")); len(cut.Faults) > 0 || !slices.Equal(cut.Begins, []string{"f0:1"}) {
		t.Errorf("cut off at the beginning: %v, %v", cut.Faults, cut.Begins)
	}
	// Files that follow on each other, and one that is missing between them.
	one, two, three := strings.Join(lines[:4], ""), strings.Join(lines[4:8], ""), strings.Join(lines[8:], "")
	if c := chainOf(t, one, two, three); len(c.Faults) > 0 {
		t.Errorf("of three files: %v", c.Faults)
	}
	if c := chainOf(t, one, three); len(c.Faults) != 1 || c.Faults[0].String() != "f1:1: the line before this one was changed, or lines between the two were removed or added" {
		t.Errorf("of two of three files: %v", c.Faults)
	}
	// A run that ended within a line: the next begins a line of its own, and the torn one is named.
	if err := os.Truncate(path, int64(len(good)-30)); err != nil {
		t.Fatal(err)
	}
	auditTo(t, path).Record(&telemetry.AuditRecord{Operation: telemetry.Commanded, Text: "after"})
	b, err = os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if c := chainOf(t, string(b)); c.Lines != 13 || len(c.Faults) != 1 || c.Faults[0].Line != 12 {
		t.Errorf("after a torn line: %d lines, %v", c.Lines, c.Faults)
	}
}

// TestAuditChainFull: a file that takes no more leaves no hole in the chain once it takes lines again.
func TestAuditChainFull(t *testing.T) {
	f := telemetry.NewAuditFile(nil)
	a := telemetry.NewAudit(slog.New(slog.NewTextHandler(io.Discard, nil)))
	a.SetFile(f)
	w := &fullNow{}
	f.SetOutput(w)
	for i := range 9 {
		w.full = i%3 == 1
		a.Record(&telemetry.AuditRecord{Operation: telemetry.Commanded, Text: fmt.Sprint("command ", i)})
	}
	if c := chainOf(t, w.text.String()); c.Lines != 6 || len(c.Faults) > 0 {
		t.Errorf("%d lines, %v", c.Lines, c.Faults)
	}
}

type fullNow struct {
	full bool
	text strings.Builder
}

func (w *fullNow) Write(b []byte) (int, error) {
	if w.full {
		return 0, io.ErrShortWrite
	}
	return w.text.Write(b)
}

func (w *fullNow) Close() error { return nil }
