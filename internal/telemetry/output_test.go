package telemetry_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/telemetry"
)

// A reader takes what is written to it while it is willing.
type reader struct {
	mu    sync.Mutex
	text  bytes.Buffer
	fail  error // that Write returns,
	after int   // when it has taken so many bytes
	stuck chan struct{}
}

func (r *reader) Write(p []byte) (int, error) {
	r.mu.Lock()
	stuck, fail, after := r.stuck, r.fail, r.after
	r.mu.Unlock()
	if stuck != nil {
		<-stuck
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if fail == nil {
		return r.text.Write(p)
	}
	n := min(after, len(p))
	r.after -= n
	r.text.Write(p[:n])
	return n, fail
}

func (r *reader) set(fail error, after int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail, r.after = fail, after
}

// TestOutput writes lines in their order, until it is closed.
func TestOutput(t *testing.T) {
	r := &reader{}
	o := telemetry.NewOutput(r)
	var want strings.Builder
	for i := range 1000 {
		line := fmt.Sprintf("line %d\n", i)
		want.WriteString(line)
		if n, err := io.WriteString(o, line); n != len(line) || err != nil {
			t.Fatal(n, err)
		}
	}
	o.Close(time.Minute)
	if got := r.text.String(); got != want.String() || o.Lost() != 0 {
		t.Errorf("%d lost, got\n%s", o.Lost(), got)
	}
	_, _ = io.WriteString(o, "too late\nand more")
	if o.Lost() != 2 || strings.Contains(r.text.String(), "late") {
		t.Errorf("%d lost after it was closed", o.Lost())
	}
}

// TestOutputNeverWaits has a reader that takes nothing: as much waits as may, what comes
// then is lost, and the end does not wait for ever.
func TestOutputNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reader{stuck: make(chan struct{})}
		o := telemetry.NewOutput(r)
		_, _ = io.WriteString(o, "first\n") // with whoever reads
		synctest.Wait()
		line := []byte(strings.Repeat("x", 1<<10-1) + "\n")
		for range 1 << 10 { // a megabyte
			_, _ = o.Write(line)
		}
		if o.Lost() != 0 {
			t.Errorf("%d lost of what fits", o.Lost())
		}
		for range 3 {
			_, _ = io.WriteString(o, "\n")
		}
		if o.Lost() != 3 {
			t.Errorf("%d lost beyond", o.Lost())
		}
		began := time.Now()
		o.Close(time.Second)
		if took := time.Since(began); took != time.Second {
			t.Errorf("closing took %v", took)
		}
		close(r.stuck)
		o.Close(time.Hour)
		if want := len("first\n") + 1<<20; r.text.Len() != want {
			t.Errorf("%d bytes of %d were written in the end", r.text.Len(), want)
		}
	})
}

// TestOutputErrors goes on when its reader does not: lines are counted, and the next whole one
// begins on a line of its own.
func TestOutputErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reader{}
		o := telemetry.NewOutput(r)
		write := func(text string) {
			_, _ = io.WriteString(o, text)
			synctest.Wait()
		}
		broken := errors.New("broken pipe")
		for _, s := range []struct {
			after int // bytes that are taken before the error; below 0: no error
			text  string
			lost  uint64
			all   string // what has been written
		}{
			{-1, "one\n", 0, "one\n"},
			{0, "two\n", 1, "one\n"},
			{-1, "three\n", 1, "one\nthree\n"},
			{2, "four\n", 2, "one\nthree\nfo"},
			{0, "five\n", 3, "one\nthree\nfo"},
			{1, "six\n", 4, "one\nthree\nfo\n"},
			{-1, "seven\n", 4, "one\nthree\nfo\nseven\n"},
			{6, "eight\nnine\nten\n", 6, "one\nthree\nfo\nseven\neight\n"},
			{-1, "eleven\n", 6, "one\nthree\nfo\nseven\neight\neleven\n"},
			{-1, "", 6, "one\nthree\nfo\nseven\neight\neleven\n"},
		} {
			r.set(nil, 0)
			if s.after >= 0 {
				r.set(broken, s.after)
			}
			write(s.text)
			if got := r.text.String(); got != s.all || o.Lost() != s.lost {
				t.Errorf("after %q: %d lost, want %d; wrote %q, want %q", s.text, o.Lost(), s.lost, got, s.all)
			}
		}
		o.Close(time.Second)
	})
}

// TestOutputConcurrently has many writers: no line is torn or lost without being counted.
func TestOutputConcurrently(t *testing.T) {
	r := &reader{}
	o := telemetry.NewOutput(r)
	var wg sync.WaitGroup
	const writers, each = 8, 500
	for w := range writers {
		wg.Go(func() {
			for range each {
				_, _ = io.WriteString(o, strings.Repeat(string(rune('a'+w)), 50)+"\n")
			}
		})
	}
	wg.Wait()
	o.Close(time.Minute)
	lines := strings.SplitAfter(r.text.String(), "\n")
	for _, l := range lines[:len(lines)-1] {
		if len(l) != 51 || strings.Trim(l, l[:1]) != "\n" {
			t.Errorf("a line %q", l)
		}
	}
	if n := uint64(len(lines) - 1); n+o.Lost() != writers*each {
		t.Errorf("%d lines and %d lost", n, o.Lost())
	}
}

// TestQueryLogClose ends though nobody takes the lines, and after lines that were torn.
func TestQueryLogClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reader{stuck: make(chan struct{})}
		l := telemetry.NewQueryLog(r, telemetry.QueryLogOptions{})
		l.Offer(entry("\x01a\x00", "192.0.2.1:1"))
		began := time.Now()
		l.Close()
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("closing took %v", took)
		}
		close(r.stuck)
		synctest.Wait()
		if got := r.text.String(); !strings.HasSuffix(got, " a. IN A NXDOMAIN 99\n") {
			t.Errorf("%q", got)
		}

		r = &reader{}
		l = telemetry.NewQueryLog(nil, telemetry.QueryLogOptions{})
		l.Offer(entry("\x01a\x00", "192.0.2.1:1"))
		synctest.Wait()
		l.SetOutput(r)
		r.set(errors.New("disk full"), 4)
		l.Offer(entry("\x01b\x00", "192.0.2.1:1"))
		synctest.Wait()
		r.set(nil, 0)
		l.Offer(entry("\x01c\x00", "192.0.2.1:1"))
		l.Close()
		if got := r.text.String(); l.Dropped() != 2 || !strings.HasPrefix(got, "2026\n2026-") || strings.Count(got, "\n") != 2 {
			t.Errorf("%d dropped, wrote %q", l.Dropped(), got)
		}
	})
}
