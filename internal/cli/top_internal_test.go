package cli

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"port53/internal/top"
)

func reportOf(rows int) *top.Report {
	r := &top.Report{Seconds: 8, Queries: 1000, Upstream: 10, Lost: 3, Paths: []top.Row{{Key: "cache", Count: 1000, Failed: 20}}}
	for i := range rows {
		r.Clients = append(r.Clients, top.Row{Key: fmt.Sprintf("10.0.0.%d", i), Count: uint64(1000 - i), Blocked: uint64(i), Error: uint64(i % 2), Micros: uint64(i * 100)})
	}
	r.Names = []top.Row{{Key: "evil\x1b[2J\u202e.example.", Count: 1}}
	return r
}

var sequences = regexp.MustCompile("\x1b\\[[?0-9;]*[A-Za-z]")

// TestFrame has a picture fill a screen of any size and not more: no line is longer, none is beyond the last,
// and nothing that a name has reaches the terminal as it is.
func TestFrame(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {40, 10}, {200, 60}, {1, 1}, {20, 3}, {0, 0}} {
		for table := range topTables {
			v := topView{report: reportOf(100), table: table}
			text := string(v.frame(size[0], size[1], fmt.Errorf("away\x1b[2J")))
			if !strings.HasPrefix(text, screenHome) || strings.Contains(text, "\x1b[2J") || strings.ContainsRune(text, '\u202e') {
				t.Errorf("%v: %q", size, text)
			}
			lines := strings.Split(sequences.ReplaceAllString(text, ""), "\r\n")
			if len(lines) > max(size[1], 1) {
				t.Errorf("%v: %d lines", size, len(lines))
			}
			for i, line := range lines {
				if i == len(lines)-1 {
					break // the keys stand behind it, at a place of their own
				}
				if len([]rune(line)) > size[0] {
					t.Errorf("%v: line %d has %d columns: %q", size, i, len(line), line)
				}
			}
		}
	}
	v := topView{report: reportOf(5)}
	text := string(v.frame(80, 24, nil))
	for _, want := range []string{"125.0 q/s", "failed 2.0%", "lost 3", "[clients]", "10.0.0.4", "~999", "q quit"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q has no %q", text, want)
		}
	}
}

// TestTopKeys presses each key.
func TestTopKeys(t *testing.T) {
	v := topView{report: reportOf(5)}
	for _, c := range []struct {
		keys string
		want string
	}{
		{"\t", "1 0 false false"},
		{"\x1b[C", "2 0 false false"},
		{"\x1b[D\x1b[D", "0 0 false false"},
		{"\x1b[D", "7 0 false false"},
		{"1", "0 0 false false"},
		{"ss", "0 2 false false"},
		{"ssp", "0 0 true false"},
		{" a", "0 0 false true"},
		{"9?\x1b[5~", "0 0 false true"},
		{"8", "7 0 false true"},
	} {
		keys := make(chan byte, 100)
		readKeys(t.Context(), strings.NewReader(c.keys), keys)
		for key := range keys {
			if v.press(key) {
				t.Errorf("%q quits", c.keys)
			}
		}
		if got := fmt.Sprint(v.table, v.order, v.paused, v.all); got != c.want {
			t.Errorf("%q: %s, want %s", c.keys, got, c.want)
		}
	}
	for _, key := range []byte{'q', 3, 4} {
		if !v.press(key) {
			t.Errorf("%d does not quit", key)
		}
	}
	v = topView{report: reportOf(5), order: 1}
	if rows := v.rows(); !slices.IsSortedFunc(rows, func(a, b top.Row) int { return int(b.Blocked) - int(a.Blocked) }) {
		t.Errorf("%v", rows)
	}
}

// TestTopWantsATerminal has the live screen refuse what is none.
func TestTopWantsATerminal(t *testing.T) {
	if _, err := openTerminal(strings.NewReader(""), io.Discard); err == nil {
		t.Error("a terminal was found")
	}
}
