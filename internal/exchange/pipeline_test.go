package exchange_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/exchange"
	"port53/internal/wire"
)

// A line is a pipeline in a bubble, and the server's end of its connection.
type line struct {
	t     *testing.T
	pipe  *exchange.Pipeline
	there net.Conn
	ended chan error // what Run returns
	id    uint16     // the next new one
}

func newLine(t *testing.T, wrap ...func(net.Conn) net.Conn) *line {
	here, there := net.Pipe()
	for _, f := range wrap {
		here = f(here)
	}
	l := &line{t: t, there: there, ended: make(chan error, 1), id: 0x5000}
	l.pipe = exchange.NewPipeline(here, func() uint16 { l.id++; return l.id })
	go func() { l.ended <- l.pipe.Run() }()
	t.Cleanup(func() { here.Close(); there.Close() })
	return l
}

// An asked is what came of a question.
type asked struct {
	msg       []byte
	overtaken bool
	err       error
}

// ask asks with an ID in the background.
func (l *line) ask(ctx context.Context, id uint16) chan asked {
	q := query(0)
	binary.BigEndian.PutUint16(q, id)
	c := make(chan asked, 1)
	go func() {
		var a asked
		a.msg, a.overtaken, a.err = l.pipe.Ask(ctx, q)
		c <- a
	}()
	return c
}

// read returns the ID of the next query at the server.
func (l *line) read() uint16 {
	q, err := exchange.ReadMessage(l.there)
	if err != nil {
		l.t.Fatal(err)
	}
	return binary.BigEndian.Uint16(q)
}

// reply sends replies with IDs.
func (l *line) reply(ids ...uint16) {
	for _, id := range ids {
		r := reply(query(0), nil)
		binary.BigEndian.PutUint16(r, id)
		if _, err := l.there.Write(exchange.AppendFrame(nil, r)); err != nil {
			l.t.Fatal(err)
		}
	}
}

func (l *line) want(c chan asked, id uint16) {
	l.t.Helper()
	if a := <-c; a.err != nil || binary.BigEndian.Uint16(a.msg) != id || len(a.msg) != len(query(0)) {
		l.t.Errorf("%+v, want a reply with ID %#x", a, id)
	}
}

// TestPipeline has replies come in another order than their questions, between others.
func TestPipeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t)
		for range 3 { // the memory of calls is used again
			a, b := l.ask(t.Context(), 1), l.ask(t.Context(), 2)
			l.read()
			l.read()
			l.reply(7, 2, 1, 1)
			l.want(a, 1)
			l.want(b, 2)
		}
		// An ID that is waited for is not sent again.
		a := l.ask(t.Context(), 9)
		l.read()
		b := l.ask(t.Context(), 9)
		if id := l.read(); id != 0x5001 {
			t.Errorf("ID %#x, want the new one", id)
		}
		l.reply(0x5001, 9)
		l.want(b, 0x5001)
		l.want(a, 9)
	})
}

// TestPipelineLate has a question given up, and its reply come after all: nobody else
// gets it, not even the next one to ask, with the memory of the first.
func TestPipelineLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t)
		why := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, why)
		defer cancel()
		a := l.ask(ctx, 1)
		l.read()
		if got := <-a; !errors.Is(got.err, why) || got.overtaken {
			t.Errorf("%+v", got)
		}
		b := l.ask(t.Context(), 2)
		l.read()
		l.reply(1)
		synctest.Wait()
		select {
		case got := <-b:
			t.Errorf("another question's reply: %+v", got)
		default:
		}
		l.reply(2)
		l.want(b, 2)
		// That replies to others came meanwhile is told.
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		a = l.ask(ctx, 3)
		l.read()
		b = l.ask(t.Context(), 4)
		l.read()
		l.reply(4)
		l.want(b, 4)
		if got := <-a; !errors.Is(got.err, context.DeadlineExceeded) || !got.overtaken {
			t.Errorf("%+v", got)
		}
	})
}

// A gated connection keeps a Write that is done from returning.
type gated struct {
	net.Conn
	gate chan struct{}
}

func (g gated) Write(b []byte) (int, error) {
	n, err := g.Conn.Write(b)
	<-g.gate
	return n, err
}

// TestPipelineRace gives questions up when their replies have just come. The next
// question gets its own.
func TestPipelineRace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		l := newLine(t, func(c net.Conn) net.Conn { return gated{c, gate} })
		given := 0
		for id := range uint16(100) {
			ctx, cancel := context.WithCancel(t.Context())
			a := l.ask(ctx, 2*id)
			l.read()
			l.reply(2 * id)
			cancel()
			synctest.Wait()
			gate <- struct{}{}
			if (<-a).err != nil {
				given++
			}
			b := l.ask(t.Context(), 2*id+1)
			l.read()
			gate <- struct{}{}
			l.reply(2*id + 1)
			l.want(b, 2*id+1)
		}
		if given == 0 || given == 100 {
			t.Errorf("%d of 100 were given up", given)
		}
	})
}

// TestPipelineEnd ends connections under questions that wait.
func TestPipelineEnd(t *testing.T) {
	broken := errors.New("broken")
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t)
		a, b := l.ask(t.Context(), 1), l.ask(t.Context(), 2)
		first := l.read()
		l.read()
		l.reply(first)
		if first == 2 {
			a, b = b, a
		}
		l.want(a, first)
		c := l.ask(t.Context(), 3)
		l.read()
		l.there.Close()
		if err := <-l.ended; !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		if !l.pipe.End(broken) {
			t.Error("a question was there when another one's reply came")
		}
		if got := <-b; !errors.Is(got.err, broken) || !got.overtaken {
			t.Errorf("%+v", got)
		}
		if got := <-c; !errors.Is(got.err, broken) || got.overtaken {
			t.Errorf("%+v", got)
		}
		if got := <-l.ask(t.Context(), 4); !errors.Is(got.err, broken) || got.overtaken {
			t.Errorf("after the end: %+v", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t)
		a := l.ask(t.Context(), 1)
		l.read()
		l.there.Close()
		<-l.ended
		if l.pipe.End(broken) {
			t.Error("overtaken, without a reply")
		}
		<-a
	})
}

// TestPipelineStrays has a server send what nobody waits for, and what is no message.
func TestPipelineStrays(t *testing.T) {
	for what, c := range map[string]struct {
		strays int
		raw    []byte
		want   error
	}{
		"as many as come late": {exchange.MaxUnwanted, nil, nil},
		"more":                 {exchange.MaxUnwanted + 1, nil, exchange.ErrFlooded},
		"no header":            {0, []byte{0, 11}, exchange.ErrShort},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := newLine(t)
			a := l.ask(t.Context(), 1)
			l.read()
			for range c.strays {
				l.reply(2)
			}
			if len(c.raw) > 0 {
				send(l.there, false, c.raw)
			}
			if c.want == nil {
				l.reply(1)
				l.want(a, 1)
				return
			}
			if err := <-l.ended; !errors.Is(err, c.want) {
				t.Errorf("%s: %v", what, err)
			}
			l.pipe.End(c.want)
			<-a
		})
	}
}

// TestPipelineUnread has a server that reads nothing. A query that is under way in part
// ends the connection.
func TestPipelineUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t)
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got := <-l.ask(ctx, 1); !errors.Is(got.err, os.ErrDeadlineExceeded) && !errors.Is(got.err, context.DeadlineExceeded) || time.Since(begin) != time.Second {
			t.Errorf("%+v after %v", got, time.Since(begin))
		}
		if err := <-l.ended; !errors.Is(err, io.ErrClosedPipe) {
			t.Error(err)
		}
	})
}

// TestPipelineManyAtOnce asks from many goroutines, with few IDs, and gives up at random
// moments.
func TestPipelineManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t)
		go func() {
			for n := 0; ; n++ {
				q, err := exchange.ReadMessage(l.there)
				if err != nil {
					return
				}
				if n%7 == 0 {
					continue
				}
				q[2] |= 0x80
				time.AfterFunc(time.Duration(n%5)*time.Millisecond, func() { _, _ = l.there.Write(exchange.AppendFrame(nil, q)) })
			}
		}()
		var wg sync.WaitGroup
		for g := range 20 {
			wg.Go(func() {
				for i := range 50 {
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
					name := append([]byte{2, byte('a' + g), byte('a' + i%26)}, name...)
					q := wire.AppendQuery(nil, uint16(i%3), 0, name, wire.TypeA)
					msg, _, err := l.pipe.Ask(ctx, q)
					if err == nil && !bytes.Equal(msg[wire.HeaderLen:], q[wire.HeaderLen:]) {
						t.Errorf("%x for %x", msg, q)
					}
					cancel()
				}
			})
		}
		wg.Wait()
	})
}
