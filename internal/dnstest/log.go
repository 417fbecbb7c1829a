package dnstest

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
)

// A logBook keeps what a subject logs.
type logBook struct {
	mu    sync.Mutex
	lines []string
}

// Enabled implements [slog.Handler], as the methods that follow it do.
func (b *logBook) Enabled(context.Context, slog.Level) bool { return true }

// Handle keeps a line.
func (b *logBook) Handle(_ context.Context, r slog.Record) error {
	text := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		text += " " + a.String()
		return true
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, text)
	return nil
}

// WithAttrs has no part in lines.
func (b *logBook) WithAttrs([]slog.Attr) slog.Handler { return b }

// WithGroup has none either.
func (b *logBook) WithGroup(string) slog.Handler { return b }

// logged compares how many lines of the log have a text with what a step says.
func (p *player) logged(s *step) error {
	if len(s.words) < 3 {
		return fmt.Errorf("want a number and a text")
	}
	want, err := strconv.Atoi(s.words[1])
	if err != nil {
		return err
	}
	text := strings.Join(s.words[2:], " ")
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	got := 0
	for _, l := range p.log.lines {
		if strings.Contains(l, text) {
			got++
		}
	}
	if got != want {
		p.errorf(s.at, "%d lines of the log have %q, want %d; it is\n%s", got, text, want, indent(p.log.lines))
	}
	return nil
}
