// Command manpages writes the manual pages of port53 into a directory: port53(1), one page for
// each of its commands, and port53.yaml(5).
//
//	manpages [-date 2026-01-31] DIRECTORY
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/spf13/cobra/doc"

	"port53/internal/cli"
	"port53/internal/config"
)

func main() {
	date := flag.String("date", "1970-01-01", "the `day` that the pages carry")
	flag.Parse()
	day, err := time.Parse(time.DateOnly, *date)
	if err == nil && flag.NArg() != 1 {
		err = errors.New("which directory?")
	}
	if err == nil {
		err = write(flag.Arg(0), day)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "manpages:", err)
		os.Exit(1)
	}
}

// write writes all pages into a directory, which it makes.
func write(dir string, day time.Time) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root := cli.Root(io.Discard)
	root.DisableAutoGenTag = true
	if err := doc.GenManTree(
		root,
		&doc.GenManHeader{Section: "1", Date: &day, Source: "port53", Manual: "port53 manual"},
		dir,
	); err != nil {
		return err
	}
	// The reference has a title of its own, which a page has in its head.
	_, text, _ := bytes.Cut(config.Reference(), []byte("\n"))
	head := "% \"PORT53.YAML\" \"5\" \"\" \"port53\" \"port53 manual\"\n# NAME\nport53.yaml - configuration of the DNS " +
		"server port53\n\n# DESCRIPTION\n"
	if err := os.WriteFile(filepath.Join(dir, "port53.yaml.5"), md2man.Render([]byte(head+definitions(string(text)))), 0o644); err != nil {
		return err
	}
	pages, err := filepath.Glob(filepath.Join(dir, "*.[15]"))
	for _, page := range pages {
		err = errors.Join(err, tidy(page, day))
	}
	return err
}

// definitions turns the rows of Markdown's tables, which are wider than a terminal, into lists
// of terms: the key with its value and default, and below it what it is and why.
func definitions(markdown string) string {
	var b strings.Builder
	lines := strings.SplitAfter(markdown, "\n")
	for i, line := range lines {
		row, ok := strings.CutPrefix(strings.TrimSpace(line), "| ")
		if !ok {
			b.WriteString(line)
			continue
		}
		if strings.HasPrefix(row, "---") || i+1 < len(lines) && strings.HasPrefix(lines[i+1], "| ---") {
			continue // the head of a table
		}
		cells := strings.Split(strings.ReplaceAll(strings.TrimSuffix(row, "|"), "\\|", "\x00"), "|")
		for i := range cells {
			cells[i] = strings.ReplaceAll(strings.TrimSpace(cells[i]), "\x00", "|")
		}
		key, _, _ := strings.Cut(strings.TrimPrefix(cells[0], "["), "](")
		fmt.Fprintf(&b, "\n**%s** ", strings.Trim(key, "`"))
		if len(cells) > 1 && cells[1] != "" {
			fmt.Fprintf(&b, "(%s) ", strings.ReplaceAll(cells[1], "`", ""))
		}
		if len(cells) > 2 && cells[2] != "" {
			fmt.Fprintf(&b, "[%s]", strings.ReplaceAll(cells[2], "`", ""))
		}
		b.WriteString("\n: ")
		b.WriteString(strings.TrimSpace(strings.Join(cells[min(3, len(cells)):], " ")))
		b.WriteString("\n")
	}
	return b.String()
}

// tidy gives a page its date in the form of mdoc(7), and spaces for tabs, which are not for text.
func tidy(page string, day time.Time) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	lines := strings.Split(strings.ReplaceAll(string(text), "\t", "    "), "\n")
	for i, line := range lines {
		if fields := strings.Split(line, `" "`); strings.HasPrefix(line, ".TH ") && len(fields) > 2 {
			fields[2] = day.Format(time.DateOnly)
			lines[i] = strings.Join(fields, `" "`)
		}
		if i > 0 && line == ".PP" && strings.HasPrefix(lines[i-1], ".SH ") {
			lines[i] = `.\"`
		}
	}
	return os.WriteFile(page, []byte(strings.Join(lines, "\n")), 0o644)
}
