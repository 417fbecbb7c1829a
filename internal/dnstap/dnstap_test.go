package dnstap_test

import (
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"port53/internal/dnstap"
	"port53/internal/event"
)

// A collector is where messages are sent to.
type collector struct {
	*testing.T
	l    net.Listener
	path string
}

func newCollector(t *testing.T) *collector {
	path := filepath.Join(t.TempDir(), "tap.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &collector{t, l, path}
}

// frame reads one frame; that of a control frame is its type alone.
func (c *collector) frame(conn net.Conn) (data []byte, control uint32) {
	c.Helper()
	var head [12]byte
	if _, err := io.ReadFull(conn, head[:4]); err != nil {
		c.Fatal(err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 {
		if _, err := io.ReadFull(conn, head[4:]); err != nil {
			c.Fatal(err)
		}
		n, control = binary.BigEndian.Uint32(head[4:])-4, binary.BigEndian.Uint32(head[8:])
	}
	data = make([]byte, n)
	if _, err := io.ReadFull(conn, data); err != nil {
		c.Fatal(err)
	}
	return data, control
}

// accept waits for the sender and agrees with it.
func (c *collector) accept() net.Conn {
	c.Helper()
	conn, err := c.l.Accept()
	if err != nil {
		c.Fatal(err)
	}
	ready, control := c.frame(conn)
	if control != 4 {
		c.Fatalf("control frame %d, want READY", control)
	}
	reply := binary.BigEndian.AppendUint32(make([]byte, 4), uint32(4+len(ready)))
	if _, err := conn.Write(append(binary.BigEndian.AppendUint32(reply, 1), ready...)); err != nil {
		c.Fatal(err)
	}
	if _, control = c.frame(conn); control != 2 {
		c.Fatalf("control frame %d, want START", control)
	}
	return conn
}

func (c *collector) until(what string, f func() bool) {
	c.Helper()
	for end := time.Now().Add(time.Minute); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			c.Fatal("not within a minute: " + what)
		}
	}
}

func start(t *testing.T, kinds dnstap.Kind) (*collector, *event.Hub, *dnstap.Sender) {
	c, h := newCollector(t), event.New()
	s := dnstap.New(dnstap.Options{Network: "unix", Address: c.path, Kinds: kinds, Hub: h, Log: slog.New(slog.DiscardHandler)})
	return c, h, s
}

func sample() *event.Record {
	return &event.Record{
		Path: event.Zone, Time: 1, Remote: netip.MustParseAddrPort("192.0.2.1:4000"), Query: make([]byte, 100), Response: make([]byte, 1000),
	}
}

// TestReconnects has a collector go, and the sender come back by itself; while there is none, nothing is taken.
func TestReconnects(t *testing.T) {
	c, h, s := start(t, dnstap.All)
	w := h.NewShared()
	conn := c.accept()
	c.until("records are taken", func() bool { return w.Wants()&event.Messages != 0 })
	w.Put(sample())
	for range 2 {
		if data, control := c.frame(conn); control != 0 || len(data) < 100 {
			t.Fatalf("frame of %d octets, control %d", len(data), control)
		}
	}
	conn.Close()
	c.until("nothing is taken", func() bool { return w.Wants() == 0 })
	conn = c.accept()
	c.until("records are taken again", func() bool { return w.Wants() != 0 })
	w.Put(sample())
	c.frame(conn)
	c.frame(conn)
	go s.Close()
	if _, control := c.frame(conn); control != 3 {
		t.Errorf("control frame %d, want STOP", control)
	}
	conn.Close()
}

// TestStoppedReader has a collector that reads nothing: what comes is bounded and counted, whoever puts it waits
// for nothing, and after a while nothing is taken any more.
func TestStoppedReader(t *testing.T) {
	c, h, s := start(t, dnstap.All)
	defer s.Close()
	w := h.NewShared()
	conn := c.accept()
	defer conn.Close()
	c.until("records are taken", func() bool { return w.Wants() != 0 })
	begun := time.Now()
	for i := range 20_000 { // 22 MB
		w.Put(sample())
		if i%100 == 0 {
			h.Flush()
		}
	}
	if took := time.Since(begun); took > 4*time.Second {
		t.Errorf("20,000 records took %v", took)
	}
	if _, lost, _ := s.Counts(); lost == 0 {
		t.Error("nothing was lost")
	}
	c.until("nothing is taken", func() bool { return w.Wants() == 0 })
}

// TestKinds has those messages alone be sent that are wanted.
func TestKinds(t *testing.T) {
	c, h, s := start(t, dnstap.Client)
	defer s.Close()
	w := h.NewShared()
	conn := c.accept()
	defer conn.Close()
	c.until("records are taken", func() bool { return w.Wants() != 0 })
	for i := range 3 {
		r := sample()
		r.Response = nil
		if i == 1 {
			r.Path, r.Recursive, r.Query = event.Cache, true, make([]byte, 77)
		}
		w.Put(r)
	}
	if data, _ := c.frame(conn); len(data) > 130 || len(data) < 77 {
		t.Errorf("a frame of %d octets", len(data))
	}
	time.Sleep(150 * time.Millisecond)
	if sent, _, _ := s.Counts(); sent != 1 {
		t.Errorf("%d messages were sent, want 1", sent)
	}
}

// TestBadCollectors has what is no collector be left alone, and tried again.
func TestBadCollectors(t *testing.T) {
	for _, says := range []string{
		"", "HTTP/1.1 400 Bad Request\r\n\r\n", "\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x02", "\x00\x00\x00\x00\xff\xff\xff\xff\x00\x00\x00\x01",
		"\x00\x00\x00\x00\x00\x00\x00\x0f\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x03abc",
	} {
		c, h, s := start(t, dnstap.All)
		conn, err := c.l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c.frame(conn)
		_, _ = conn.Write([]byte(says))
		conn.Close()
		again := c.accept()
		w := h.NewShared()
		c.until("records are taken", func() bool { return w.Wants() != 0 })
		again.Close()
		s.Close()
	}
}
