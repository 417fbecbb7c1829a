package zones_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/dnstest"
	"port53/internal/transfer"
	"port53/internal/tsig"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zones"
)

// followers are servers that are told of changes, in fake time. They answer, unless they
// are down.
type followers struct {
	mu   sync.Mutex
	down bool
	told []string // when, who, and of which serial
	keys []string // that signed, or -
	from time.Time
}

func (f *followers) dial(_ context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		f.told = append(f.told, fmt.Sprintf("%v %s", time.Since(f.from), to.Addr()))
		return nil, errors.New("nobody is there")
	}
	if network != "udp" {
		return nil, errors.New("NOTIFY goes over UDP")
	}
	here, there := net.Pipe()
	go func() {
		defer there.Close()
		buf := make([]byte, wire.MaxMessage)
		n, err := there.Read(buf)
		var m wire.Message
		if err != nil || m.Parse(buf[:n]) != 0 || m.Opcode != wire.OpcodeNotify || len(m.Records) == 0 {
			return
		}
		key := "-"
		if c, _ := tsig.Verify(tsig.NewRing(*transferKey), buf[:n], time.Now()); c != nil && c.Error == 0 {
			key = string(wire.AppendName(nil, c.Key.Name))
			defer func() {
				_, _ = there.Write(c.Sign(wire.AppendQuery(nil, m.ID, wire.FlagQR|uint16(wire.OpcodeNotify)<<11, m.Name, m.Type), time.Now()))
			}()
		} else {
			reply := bytes.Clone(buf[:n])
			reply[2] |= 0x80
			defer func() { _, _ = there.Write(reply) }()
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.told = append(f.told, fmt.Sprintf("%v %s %d", time.Since(f.from), to.Addr(), zone.SerialOf(m.Records[0].Data)))
		f.keys = append(f.keys, key)
	}()
	return here, nil
}

// take returns who was told what since the last call, in order of the text.
func (f *followers) take() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	told := f.told
	f.told, f.from = nil, time.Now()
	slices.Sort(told)
	return told
}

// bubbled returns how many goroutines the caller's bubble has: the runtime's own, and those of other tests, come
// and go as they like.
func bubbled() int {
	buf := make([]byte, 1<<20)
	stacks := string(buf[:runtime.Stack(buf, true)]) // the caller's comes first
	mark := stacks[strings.Index(stacks, "synctest bubble"):strings.Index(stacks, "]:\n")]
	return strings.Count(stacks, mark+"]:\n")
}

// TestNotify tells followers of changes (RFC 1996): each once, not before the server can be
// asked, and of changes in quick succession the first and the last.
func TestNotify(t *testing.T) {
	var log lockedBuffer
	one, two := netip.MustParseAddrPort("192.0.2.8:53"), netip.MustParseAddrPort("192.0.2.9:53")
	synctest.Test(t, func(t *testing.T) {
		f := &followers{from: time.Now()}
		w := &world{server: server{T: t, log: slog.New(slog.NewTextHandler(&log, nil))}}
		o := &memoryOrigin{zone: at(t, "test.", 1)}
		source := zones.Source{Apex: dnstest.Name(t, "test."), Origin: o, Insecure: true, Secondaries: []netip.AddrPort{one, two}, Notify: []netip.AddrPort{one}}
		lonely := zones.Source{Apex: dnstest.Name(t, "lonely."), Origin: &memoryOrigin{zone: at(t, "lonely.", 1)}}
		empty := zones.Source{Apex: dnstest.Name(t, "empty."), File: "/none", Secondaries: source.Secondaries}
		w.server.start(zones.Options{Client: transfer.Client{Dial: f.dial}})
		w.load(source, lonely, empty)
		change := func(serial int) {
			t.Helper()
			o.set(at(t, "test.", serial), nil)
			w.load(source, lonely, empty)
		}
		wants := func(what string, wait time.Duration, want ...string) {
			t.Helper()
			w.settle(wait)
			if got := f.take(); !slices.Equal(got, want) {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
		change(2)
		wants("before the server runs", time.Minute)
		ctx, cancel := context.WithCancel(context.Background())
		var runs sync.WaitGroup
		runs.Go(func() { w.manager.Run(ctx) })
		wants("as it begins to run", time.Minute, "0s 192.0.2.8 2", "0s 192.0.2.9 2")
		change(3)
		wants("a change", 0, "0s 192.0.2.8 3", "0s 192.0.2.9 3")
		waiting := 0
		for serial := 4; serial < 9; serial++ {
			change(serial)
			w.settle(time.Millisecond)
			if n := bubbled(); serial == 4 {
				waiting = n
			} else if n > waiting {
				t.Errorf("%d goroutines wait to tell of serial %d, and %d of the first", n, serial, waiting)
			}
		}
		wants("changes in quick succession", time.Minute, "1s 192.0.2.8 8", "1s 192.0.2.9 8")
		change(9)
		w.settle(time.Millisecond)
		if err := w.manager.Announce(source.Apex); err != nil {
			t.Error(err)
		}
		wants("an operator's word does not wait", time.Minute, "0s 192.0.2.8 9", "0s 192.0.2.9 9", "1ms 192.0.2.8 9", "1ms 192.0.2.9 9")
		change(10)
		w.settle(time.Millisecond)
		change(11)
		w.load(lonely)
		wants("a zone that has gone", time.Minute, "0s 192.0.2.8 10", "0s 192.0.2.9 10")
		w.load(source, lonely)
		change(12)
		w.settle(0)
		if log.String() != "" && strings.Contains(log.String(), "was not told") {
			t.Errorf("the log has\n%s", log.String())
		}
		f.take()

		// Who does not answer is told five times, and then the log is (RFC 1996, section 3.6).
		f.mu.Lock()
		f.down = true
		f.mu.Unlock()
		w.settle(time.Minute)
		f.take()
		source.Secondaries, source.Notify = nil, []netip.AddrPort{one}
		change(13)
		wants("nobody is there", 2*time.Minute, "0s 192.0.2.8", "14s 192.0.2.8", "2s 192.0.2.8", "30s 192.0.2.8", "6s 192.0.2.8")
		if got := log.String(); strings.Count(got, `level=WARN msg="NOTIFY failed" zone=test. server=192.0.2.8:53 error="`) != 1 {
			t.Errorf("the log has\n%s", got)
		}
		// A zone that goes is not spoken of any more.
		change(14)
		w.settle(time.Second)
		w.load(lonely)
		f.take()
		wants("a zone that went while nobody was there", time.Minute)
		w.load(source, lonely)
		w.settle(time.Minute)
		// A newer version ends the word of the older, and the end of the server ends all.
		change(14)
		w.settle(time.Second)
		change(15)
		w.settle(time.Second)
		before := len(log.String())
		cancel()
		runs.Wait()
		if strings.Contains(log.String()[before:], "was not told") {
			t.Errorf("the log has\n%s", log.String()[before:])
		}
		f.take()
		change(16)
		wants("when the server has ended", time.Minute)
		synctest.Wait()
	})
}

// TestNotifyAtTheEnd has the server end while a change waits to be told.
func TestNotifyAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &followers{from: time.Now()}
		w := &world{server: server{T: t}}
		o := &memoryOrigin{zone: at(t, "test.", 1)}
		source := zones.Source{Apex: dnstest.Name(t, "test."), Origin: o, Key: transferKey, Secondaries: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.8:53")}}
		w.startWith(zones.Options{Client: transfer.Client{Dial: f.dial}})
		w.settle(0)
		w.load(source)
		for serial := 2; serial < 4; serial++ {
			o.set(at(t, "test.", serial), nil)
			w.load(source)
			w.settle(0)
		}
		w.stop()
		synctest.Wait()
		if got := f.take(); !slices.Equal(got, []string{"0s 192.0.2.8 2"}) || !slices.Equal(f.keys, []string{"k."}) {
			t.Errorf("%q, signed by %q", got, f.keys)
		}
	})
}

// TestExpiredIsNotAnnounced starts with a secondary zone that has expired: nobody is told of
// what is not served.
func TestExpiredIsNotAnnounced(t *testing.T) {
	p := newPrimary(at(t, "a.test.", 1))
	inWorld(t, p, func(w *world) {
		s := secondary(t, "a.test.")
		w.load(s)
		w.settle(time.Second)
		w.stop()
		w.settle(48 * time.Hour)
		f := &followers{from: time.Now()}
		w.server.start(zones.Options{Store: w.dir, Client: transfer.Client{Dial: f.dial}})
		f.down = true
		s.Notify = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.8:53")}
		w.load(s)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.manager.Run(ctx)
		}()
		w.settle(0)
		w.stop = func() {
			cancel()
			<-done
		}
		for _, told := range f.take() {
			if strings.Contains(told, "192.0.2.8") {
				t.Errorf("told: %s", told)
			}
		}
	})
}

// A closingConn says when it is closed.
type closingConn struct {
	net.Conn
	once   sync.Once
	closed func()
}

func (c *closingConn) Close() error {
	c.once.Do(c.closed)
	return c.Conn.Close()
}

// TestNotifyFanOut has thousands of zones, each with two secondaries that are dead and one that
// lives, change together: sockets and memory stay within their bounds, who lives is told
// within seconds, and who is dead is when it comes back.
func TestNotifyFanOut(t *testing.T) {
	for _, own := range []bool{false, true} { // the dead are two servers, or two for each zone
		count := 3000
		if own {
			count = 1000
		}
		synctest.Test(t, func(t *testing.T) {
			f := &followers{from: time.Now()}
			var mu sync.Mutex
			sockets, most, alive := 0, 0, false
			dead := func(n, i int) netip.AddrPort {
				if !own {
					n = 0
				}
				return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i), byte(n >> 8), byte(n)}), 53)
			}
			dial := func(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
				mu.Lock()
				defer mu.Unlock()
				sockets++
				most = max(most, sockets)
				closed := func() {
					mu.Lock()
					defer mu.Unlock()
					sockets--
				}
				if to.Addr().As4()[0] != 10 || alive {
					c, err := f.dial(ctx, network, to)
					return &closingConn{Conn: c, closed: closed}, err
				}
				here, there := net.Pipe()
				go func() { _, _ = there.Read(make([]byte, 512)) }()
				return &closingConn{Conn: here, closed: closed}, nil
			}
			w := &world{server: server{T: t}}
			w.startWith(zones.Options{Client: transfer.Client{Dial: dial}})
			w.settle(0)
			live := netip.MustParseAddrPort("192.0.2.8:53")
			var sources []zones.Source
			var origins []*memoryOrigin
			for n := range count {
				name := fmt.Sprintf("z%d.test.", n)
				o := &memoryOrigin{zone: at(t, name, 1)}
				origins = append(origins, o)
				sources = append(sources, zones.Source{Apex: dnstest.Name(t, name), Origin: o, Insecure: true, Secondaries: []netip.AddrPort{dead(n, 1), dead(n, 2), live}})
			}
			w.load(sources...)
			var before, after runtime.MemStats
			for serial := 2; serial < 4; serial++ {
				for n, o := range origins {
					o.set(at(t, fmt.Sprintf("z%d.test.", n), serial), nil)
				}
				runtime.GC()
				runtime.ReadMemStats(&before)
				w.load(sources...)
				w.settle(3 * time.Second)
				if got := len(f.take()); got != count {
					t.Errorf("own %v, serial %d: %d zones were told to who lives", own, serial, got)
				}
				runtime.GC()
				runtime.ReadMemStats(&after)
			}
			if grown := int64(after.HeapAlloc+after.StackInuse) - int64(before.HeapAlloc+before.StackInuse); grown > 20<<20 {
				t.Errorf("own %v: %d bytes more", own, grown)
			}
			mu.Lock()
			alive = true
			mu.Unlock()
			w.settle(time.Minute)
			if got := len(f.take()); got != 2*count {
				t.Errorf("own %v: %d of %d were told when they came back", own, got, 2*count)
			}
			w.stop()
			synctest.Wait()
			if most > 200 {
				t.Errorf("own %v: %d sockets at the same time", own, most)
			}
			t.Logf("own %v: %d sockets", own, most)
		})
	}
}

// TestNotifyAtTheStart announces the zones one after the other when the server starts.
func TestNotifyAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &followers{from: time.Now()}
		w := &world{server: server{T: t}}
		w.server.start(zones.Options{Client: transfer.Client{Dial: f.dial}})
		var sources []zones.Source
		for n := range 1000 {
			name := fmt.Sprintf("z%d.test.", n)
			sources = append(sources, zones.Source{Apex: dnstest.Name(t, name), Origin: &memoryOrigin{zone: at(t, name, 1)}, Insecure: true, Secondaries: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.8:53")}})
		}
		w.load(sources...)
		ctx, cancel := context.WithCancel(context.Background())
		var runs sync.WaitGroup
		runs.Go(func() { w.manager.Run(ctx) })
		w.settle(time.Second - time.Millisecond)
		if got := len(f.take()); got != 200 {
			t.Errorf("%d zones in the first second", got)
		}
		w.settle(5 * time.Second)
		if got := len(f.take()); got != 800 {
			t.Errorf("%d zones after that", got)
		}
		cancel()
		runs.Wait()
		synctest.Wait()
	})
}
