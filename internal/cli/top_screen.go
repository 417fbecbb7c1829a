package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"port53/internal/top"
)

// topTables are the tables of port53 top, in the order of their keys.
var topTables = [...]struct {
	title string
	of    func(*top.Report) []top.Row
}{
	{"clients", func(r *top.Report) []top.Row { return r.Clients }},
	{"names", func(r *top.Report) []top.Row { return r.Names }},
	{"blocked", func(r *top.Report) []top.Row { return r.Blocked }},
	{"lists", func(r *top.Report) []top.Row { return r.Lists }},
	{"upstreams", func(r *top.Report) []top.Row { return r.Upstreams }},
	{"rcodes", func(r *top.Report) []top.Row { return r.Rcodes }},
	{"types", func(r *top.Report) []top.Row { return r.Types }},
	{"paths", func(r *top.Report) []top.Row { return r.Paths }},
}

// topOrders are what rows can be sorted by.
var topOrders = [...]struct {
	name string
	of   func(*top.Row) uint64
}{
	{"count", func(r *top.Row) uint64 { return r.Count }},
	{"blocked", func(r *top.Row) uint64 { return r.Blocked }},
	{"failed", func(r *top.Row) uint64 { return r.Failed }},
	{"time", func(r *top.Row) uint64 { return r.Micros }},
}

// A topView is what is shown of a report.
type topView struct {
	report *top.Report
	table  int
	order  int
	all    bool
	paused bool
}

// topHead is the line above the rows.
const topHead = "     q/s   share     count blocked  failed      ms  "

// press does what a key says, and reports whether that is to quit.
func (v *topView) press(key byte) (quit bool) {
	n := len(topTables)
	switch key {
	case 'q', 'Q', 3, 4: // and Ctrl-C, Ctrl-D
		return true
	case '\t', keyRight, 'l', 'j':
		v.table = (v.table + 1) % n
	case keyLeft, 'h', 'k':
		v.table = (v.table + n - 1) % n
	case 's', 'S':
		v.order = (v.order + 1) % len(topOrders)
	case 'p', 'P', ' ':
		v.paused = !v.paused
	case 'a':
		v.all = !v.all
	default:
		if i := int(key) - '1'; i >= 0 && i < n {
			v.table = i
		}
	}
	return false
}

// rows returns the rows of the table, in order.
func (v *topView) rows() []top.Row {
	rows := slices.Clone(topTables[v.table].of(v.report))
	by := topOrders[v.order].of
	slices.SortStableFunc(rows, func(a, b top.Row) int { return cmp.Compare(by(&b), by(&a)) })
	return rows
}

// rate returns how many that is in a second.
func (v *topView) rate(n uint64) float64 { return float64(n) / max(v.report.Seconds, 0.1) }

func share(n, of uint64) float64 { return 100 * float64(n) / float64(max(of, 1)) }

// summary is the line above all.
func (v *topView) summary() string {
	r := v.report
	failed, blocked := uint64(0), uint64(0)
	for i := range r.Paths {
		failed, blocked = failed+r.Paths[i].Failed, blocked+r.Paths[i].Blocked
	}
	text := fmt.Sprintf("port53 top: %.1f q/s in %.0f s, blocked %.1f%%, failed %.1f%%, upstream %.1f/s",
		v.rate(r.Queries), r.Seconds, share(blocked, r.Queries), share(failed, r.Queries), v.rate(r.Upstream))
	if r.Lost > 0 {
		text += fmt.Sprintf(", lost %d", r.Lost)
	}
	return text
}

// line is a row as text.
func (v *topView) line(r *top.Row) string {
	total := v.report.Queries
	if topTables[v.table].title == "upstreams" {
		total = v.report.Upstream
	}
	count := fmt.Sprint(r.Count)
	if r.Error > 0 {
		count = "~" + count
	}
	ms := "-"
	if r.Micros > 0 {
		ms = fmt.Sprintf("%.1f", float64(r.Micros)/1000)
	}
	return fmt.Sprintf("%8.1f %6.1f%% %9s %6.1f%% %6.1f%% %7s  %s",
		v.rate(r.Count), share(r.Count, total), count, share(r.Blocked, r.Count), share(r.Failed, r.Count), ms, printable(r.Key))
}

// Sequences of a terminal (ECMA-48).
const (
	screenHome  = "\x1b[H"
	screenRest  = "\x1b[J" // clears what is below
	lineRest    = "\x1b[K" // clears what is behind
	reverse     = "\x1b[7m"
	plain       = "\x1b[0m"
	screenOther = "\x1b[?1049h\x1b[?25l" // the other screen, without a cursor
	screenBack  = "\x1b[0m\x1b[?25h\x1b[?1049l"
)

// frame is one picture of so many columns and lines: it is written over the one before, so that nothing
// flickers.
func (v *topView) frame(width, height int, failed error) []byte {
	var b strings.Builder
	b.WriteString(screenHome)
	lines := 0
	put := func(text string, styled bool) {
		if lines >= height {
			return
		}
		if lines > 0 {
			b.WriteString("\r\n")
		}
		lines++
		if r := []rune(text); len(r) > width {
			text = string(r[:max(width, 0)])
		}
		if styled {
			text = reverse + text + strings.Repeat(" ", max(width-len([]rune(text)), 0)) + plain
		}
		b.WriteString(text + lineRest)
	}
	put(v.summary(), false)
	var tabs []string
	for i := range topTables {
		if title := topTables[i].title; i == v.table {
			tabs = append(tabs, "["+title+"]")
		} else {
			tabs = append(tabs, title)
		}
	}
	put(strings.Join(tabs, " "), false)
	state := "by " + topOrders[v.order].name
	if v.all {
		state += ", all that is kept"
	}
	if v.paused {
		state += ", paused"
	}
	if failed != nil {
		state += ": " + printable(failed.Error())
	}
	put(topHead+state, true)
	rows := v.rows()
	for i := range rows[:min(len(rows), max(height-4, 0))] {
		put(v.line(&rows[i]), false)
	}
	if len(rows) == 0 {
		put("  nothing yet", false)
	}
	b.WriteString(screenRest)
	if lines < height {
		fmt.Fprintf(&b, "\x1b[%d;1H%.*s", height, width, "tab table  s order  a all or recent  p pause  q quit")
	}
	return []byte(b.String())
}
