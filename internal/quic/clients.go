//go:build !lean

package quic

import (
	"context"
	"sync"
	"time"

	quicgo "github.com/quic-go/quic-go"
)

// lastTime is how long a connection is open after the last answer, so that it arrives.
const lastTime = 100 * time.Millisecond

// Clients are the connections of a service.
type Clients struct {
	Idle time.Duration               // until a connection without a stream is closed
	Code quicgo.ApplicationErrorCode // by which a connection is closed that nothing is wrong with

	begin sync.Once
	open  context.Context // ends when nobody is taken in any more
	stop  context.CancelFunc
	mu    sync.Mutex
	all   map[*client]struct{}
	done  sync.WaitGroup
}

// A client is one connection.
type client struct {
	quic    *quicgo.Conn
	streams sync.WaitGroup
}

func (s *Clients) init() {
	s.begin.Do(func() {
		s.all = map[*client]struct{}{}
		s.open, s.stop = context.WithCancel(context.Background())
	})
}

// Serve takes clients in until Shutdown is called, and returns nil then. each is called for each
// connection, on a goroutine of its own, and returns what serves its streams, each on a goroutine
// of its own; nil closes the connection.
func (s *Clients) Serve(l *Listener, each func(*quicgo.Conn, ClientConn) func(*quicgo.Stream)) error {
	s.init()
	for {
		c, guest, err := l.Accept(s.open)
		if err != nil {
			break
		}
		s.done.Add(1)
		go func() {
			defer s.done.Done()
			s.serve(c, each(c, guest))
		}()
	}
	s.done.Wait() // Shutdown ends them
	return l.Close()
}

func (s *Clients) serve(q *quicgo.Conn, serve func(*quicgo.Stream)) {
	c := &client{quic: q}
	s.mu.Lock()
	late := s.open.Err() != nil // it came while Shutdown went through the others
	s.all[c] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.all, c)
		s.mu.Unlock()
	}()
	if late || serve == nil {
		_ = q.CloseWithError(s.Code, "")
		return
	}
	idle := time.AfterFunc(s.Idle, func() { _ = q.CloseWithError(s.Code, "") })
	defer idle.Stop()
	for {
		stream, err := q.AcceptStream(context.Background())
		if err != nil {
			break
		}
		idle.Reset(s.Idle)
		c.streams.Add(1)
		go func() {
			defer c.streams.Done()
			serve(stream)
			stream.ReleaseStreamCredit()
			idle.Reset(s.Idle)
		}()
	}
	c.streams.Wait()
}

// Shutdown closes each connection once its streams have ended, or ctx does, and does not wait.
func (s *Clients) Shutdown(ctx context.Context) {
	s.init()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop()
	for c := range s.all {
		ended := make(chan struct{})
		go func() {
			c.streams.Wait()
			close(ended)
		}()
		go func() {
			select {
			case <-ended:
				// What was written last is on its way: closing would overtake it.
				select {
				case <-c.quic.Context().Done():
				case <-time.After(lastTime):
				case <-ctx.Done():
				}
			case <-ctx.Done():
			}
			_ = c.quic.CloseWithError(s.Code, "")
		}()
	}
}
