package server

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// longAsk returns a framed question of 5,000 octets for an answer of 100.
func longAsk(id int) []byte {
	q := append(ask(id, 100), make([]byte, 5000-headerLen)...)
	binary.BigEndian.PutUint16(q, 5000)
	return q
}

// hogs has connections from so many networks, each address with as many as it may, send the
// beginning of a long question and no more.
func hogs(s *Server, networks int) {
	for i := range networks {
		for range defaultPerAddr {
			c, _ := connect(s, fmt.Sprintf("10.1.%d.1", i))
			go func() {
				_, _ = c.Write(longAsk(1)[:4000])
				_, _ = io.Copy(io.Discard, c)
			}()
		}
	}
}

// TestSimLongQuestions has a client ask a long question while others, each with as many
// connections as it may have, begin long questions and do not end them: it is answered at once.
func TestSimLongQuestions(t *testing.T) {
	for _, tt := range []struct {
		name     string
		networks int
		from     string
		others   string // from where one more long question was begun before
	}{
		{"others from a few networks", 13, "192.0.2.1", ""},
		{"others from many networks", 60, "192.0.2.1", ""},
		{"from a network of the others", 13, "10.1.0.99", ""},
		{"beside one that began in time", 13, "192.0.2.1", "198.51.100.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := sim(t, Limits{})
				var early net.Conn
				if tt.others != "" {
					early, _ = connect(s, tt.others)
					_, _ = early.Write(longAsk(1)[:4000])
				}
				hogs(s, tt.networks)
				synctest.Wait()
				if n := len(s.tcp.long); n != longReads {
					t.Fatalf("%d long questions are being read, want %d", n, longReads)
				}
				c, _ := connect(s, tt.from)
				begin := time.Now()
				go func() { _, _ = c.Write(longAsk(7)) }()
				reads(t, c, 7, 100)
				if took := time.Since(begin); took != 0 {
					t.Errorf("answered after %v", took)
				}
				if early != nil {
					_, _ = early.Write(longAsk(1)[4000:])
					if _, err := io.ReadFull(early, make([]byte, 102)); err != nil {
						t.Errorf("the one that began in time: %v", err)
					}
				}
				time.Sleep(2 * defaultQuestion)
				until(c)
				if early != nil {
					until(early)
				}
				s.conns.Wait()
				if n := len(s.tcp.long); n != 0 {
					t.Errorf("%d long questions are still being read", n)
				}
			})
		})
	}
}

// TestSimOwedAnswer has an answer that takes its time, and a client that meanwhile sends what
// ends the connection: it gets the answer all the same.
func TestSimOwedAnswer(t *testing.T) {
	for _, tt := range []struct {
		name string
		then []byte
	}{
		{"half a question", ask(2, 100)[:9]},
		{"half a length", []byte{0}},
		{"half a long question", longAsk(2)[:4000]},
		{"a frame of length 0", []byte{0, 0}},
		{"a frame shorter than a header", []byte{0, 11, 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, later := simLater(t, Limits{})
				c, _ := connect(s, "192.0.2.1")
				_, _ = c.Write(ask(1, 100))
				r := <-later
				go func() { _, _ = c.Write(tt.then) }()
				go func() {
					defer r.Close()
					time.Sleep(2 * defaultQuestion)
					if err := r.Reply(message(1, 100)); err != nil {
						t.Error(err)
					}
				}()
				reads(t, c, 1, 100)
				until(c)
				s.conns.Wait()
			})
		})
	}
}
