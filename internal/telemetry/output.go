package telemetry

import (
	"bytes"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// outputWaiting is how many bytes of lines wait for whoever reads them.
const outputWaiting = 1 << 20

// An Output writes lines to where the reader may be slow or gone, such as a pipe or the
// journal of the service manager. Write never waits: a goroutine of the Output writes the
// lines. Those that do not fit, and those that cannot be written, are lost and counted.
type Output struct {
	out  lineWriter
	more chan struct{} // something waits, or it is closed
	done chan struct{} // all is written
	lost atomic.Uint64

	mu      sync.Mutex // held for as long as it takes to copy a line
	waiting []byte
	closed  bool
}

// NewOutput returns an output to out and starts its writer.
func NewOutput(out io.Writer) *Output {
	o := &Output{out: lineWriter{out: out}, more: make(chan struct{}, 1), done: make(chan struct{})}
	go o.run()
	return o
}

// Write takes whole lines. It takes all or none of them, and returns no error: nobody could
// be told.
func (o *Output) Write(lines []byte) (int, error) {
	o.mu.Lock()
	fits := !o.closed && len(o.waiting)+len(lines) <= outputWaiting
	if fits {
		o.waiting = append(o.waiting, lines...)
	}
	o.mu.Unlock()
	if fits {
		o.wake()
	} else {
		o.lose(lines)
	}
	return len(lines), nil
}

func (o *Output) wake() {
	select {
	case o.more <- struct{}{}:
	default: // the writer will look
	}
}

// lose counts lines that nobody will read, the rest of a line too.
func (o *Output) lose(lines []byte) {
	n := bytes.Count(lines, []byte{'\n'})
	if len(lines) > 0 && lines[len(lines)-1] != '\n' {
		n++
	}
	o.lost.Add(uint64(n))
}

// Lost returns how many lines were lost.
func (o *Output) Lost() uint64 { return o.lost.Load() }

// Close writes what waits, for as long as limit, and then gives it up. Lines that come later
// are lost.
func (o *Output) Close(limit time.Duration) {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	o.wake()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-o.done:
	case <-timer.C:
	}
}

func (o *Output) run() {
	defer close(o.done)
	var lines []byte
	for range o.more {
		o.mu.Lock()
		lines, o.waiting = o.waiting, lines[:0]
		closed := o.closed
		o.mu.Unlock()
		o.lose(o.out.write(lines))
		if closed {
			return
		}
	}
}

// A lineWriter writes whole lines: what an error leaves of a line in a file is taken back,
// and elsewhere the next line begins on a line of its own.
type lineWriter struct {
	out  io.Writer
	torn bool  // the last write ended within a line
	err  error // of the last write; nil: it was good
}

// write writes lines and returns what it could not write.
func (w *lineWriter) write(lines []byte) []byte {
	if len(lines) == 0 {
		return nil
	}
	if w.torn {
		n, err := w.out.Write([]byte{'\n'})
		if w.torn = n == 0; err != nil {
			w.err = err
			return lines
		}
	}
	var n int
	if n, w.err = w.out.Write(lines); w.err == nil {
		w.torn = lines[len(lines)-1] != '\n'
		return nil
	}
	if torn := n - bytes.LastIndexByte(lines[:n], '\n') - 1; torn > 0 {
		w.torn = !w.takeBack(torn)
	}
	return lines[n:]
}

// takeBack removes the last n bytes that were written, and reports whether that was
// possible: from a file to which nobody else has written since.
func (w *lineWriter) takeBack(n int) bool {
	f, ok := w.out.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil || at != info.Size() || f.Truncate(at-int64(n)) != nil {
		return false
	}
	_, err = f.Seek(at-int64(n), io.SeekStart)
	return err == nil
}
