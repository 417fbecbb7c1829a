package zones_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/dnstest"
	"port53/internal/store/storetest"
	"port53/internal/transfer"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zones"
)

// The kinds of silence of a server.
const (
	blackHole = iota // nothing comes back
	mute             // connections are accepted, and questions not answered
	halting          // the serial is told, and the zone never comes
	kinds
)

// silence is a network in which the addresses of 10.0.0.0/8 are silent, each kind in its
// own 10.n.0.0/16, and a primary has all others.
type silence struct {
	*primary
	open chan int // 1 for each socket that is opened, -1 for each that is closed; nil: nobody counts
}

func (s *silence) dial(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	ip := to.Addr().As4()
	if ip[0] != 10 {
		return s.primary.dial(ctx, network, to)
	}
	if s.open != nil {
		s.open <- 1
	}
	here, there := net.Pipe()
	conn := &closingConn{Conn: here, closed: func() {
		if s.open != nil {
			s.open <- -1
		}
	}}
	switch {
	case network == "udp", ip[1] == mute:
		go func() { // takes all, and says nothing
			buf := make([]byte, 1<<16)
			for {
				if _, err := there.Read(buf); err != nil {
					return
				}
			}
		}()
		return conn, nil
	case ip[1] == blackHole:
		<-ctx.Done()
		_ = conn.Close()
		return nil, os.ErrDeadlineExceeded
	}
	go func() {
		defer there.Close()
		for s.answerSerial(there) == nil {
		}
	}()
	return conn, nil
}

// answerSerial answers questions for serials, and no others.
func (s *silence) answerSerial(conn net.Conn) error {
	msg, err := readMessage(conn)
	if err != nil {
		return err
	}
	var m wire.Message
	if m.Parse(msg) != 0 || m.Type != wire.TypeSOA {
		return nil
	}
	soa := append(make([]byte, 2), "\x00\x00\x00\x09\x00\x00\x1c\x20\x00\x00\x0e\x10\x00\x01\x51\x80\x00\x00\x01\x2c"...)
	r := zone.AppendRecord(wire.AppendQuery(nil, m.ID, wire.FlagQR|wire.FlagAA, m.Name, m.Type), m.Name, wire.TypeSOA, 60, soa)
	r[7] = 1
	return writeMessage(conn, r)
}

func silent(kind, n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(kind), byte(n >> 8), byte(n)}), 53)
}

// TestSilentPrimaries has 1,000 secondary zones, 900 of them with primaries that are silent
// in all ways: those of the others are served within seconds of the start, and each change
// as well, whether it is announced or asked for. Sockets stay within their bound.
func TestSilentPrimaries(t *testing.T) {
	for _, shared := range []bool{false, true} { // all silent zones have primaries of their own, or the same three
		t.Run(fmt.Sprintf("shared %v", shared), func(t *testing.T) {
			p := newPrimary()
			synctest.Test(t, func(t *testing.T) {
				var sources []zones.Source
				for n := range 1000 {
					s := secondary(t, fmt.Sprintf("z%d.test.", n))
					if n%10 != 0 {
						of := n
						if shared {
							of = 0
						}
						s.Primaries = []netip.AddrPort{silent(n%kinds, of)}
					} else {
						p.serve(at(t, fmt.Sprintf("z%d.test.", n), 1))
						if n%20 == 0 { // one of two is silent
							s.Primaries = append([]netip.AddrPort{silent(n%kinds, 7)}, s.Primaries...)
						}
					}
					sources = append(sources, s)
				}
				open := make(chan int, 100)
				sockets, most, lately := 0, 0, 0
				quiet := make(chan struct{})
				counted := make(chan struct{})
				go func() {
					defer close(counted)
					for d := range open {
						sockets += d
						most = max(most, sockets)
						select {
						case <-quiet:
							lately = max(lately, sockets)
						default:
						}
					}
				}()
				w := &world{server: server{T: t}}
				w.startWith(zones.Options{Client: transfer.Client{Dial: (&silence{p, open}).dial}})
				w.load(sources...)
				served := func(serial int) (count int) {
					for n := 0; n < 1000; n += 10 {
						if w.serial(fmt.Sprintf("z%d.test.", n)) == serial {
							count++
						}
					}
					return count
				}
				w.settle(15 * time.Second)
				if got := served(1); got != 100 {
					t.Errorf("%d of 100 zones are served 15 s after the start", got)
				}
				for serial := 2; serial < 12; serial++ {
					w.settle(7 * time.Second)
					for n := 0; n < 1000; n += 10 {
						name := fmt.Sprintf("z%d.test.", n)
						p.serve(at(t, name, serial))
						if serial%2 == 0 {
							e := w.view.Load().Get(dnstest.Name(t, name))
							w.manager.Notify(&zones.Request{Entry: e, Client: netip.MustParseAddrPort("192.0.2.1:4711")})
						} else if err := w.manager.Refresh(dnstest.Name(t, name), false); err != nil {
							t.Fatal(err)
						}
					}
					w.settle(5 * time.Second)
					if got := served(serial); got != 100 {
						t.Errorf("serial %d: %d of 100 zones have the change after 5 s", serial, got)
					}
				}
				close(quiet)
				w.settle(time.Hour)
				w.stop()
				synctest.Wait()
				close(open)
				<-counted
				if most > zones.MaxRefreshes {
					t.Errorf("%d sockets at the same time", most)
				}
				if shared && lately > 2*kinds {
					t.Errorf("%d sockets at the same time to %d servers that are known to be silent", lately, kinds)
				}
				t.Logf("%d sockets at most, %d lately", most, lately)
			})
		})
	}
}

// TestExpiryInTime has zones expire within 2 s of their time, whatever their primaries do
// meanwhile, and other zones' as well.
func TestExpiryInTime(t *testing.T) {
	p := newPrimary()
	synctest.Test(t, func(t *testing.T) {
		var sources []zones.Source
		network := &silence{primary: p}
		var kind atomic.Int32 // of silence; -1: none
		kind.Store(-1)
		dial := func(ctx context.Context, over string, to netip.AddrPort) (net.Conn, error) {
			switch kind := int(kind.Load()); {
			case kind == kinds:
				return nil, errors.New("connection refused")
			case kind >= 0:
				to = silent(kind, int(to.Addr().As4()[3]))
			}
			return network.dial(ctx, over, to)
		}
		const count = 60
		for n := range count {
			name := fmt.Sprintf("z%d.test.", n)
			p.serve(dnstest.Zone(t, name, fmt.Sprintf("@ 60 SOA ns admin 1 3600 1800 %d 300\n@ 60 NS ns\n", 7200+300*n)))
			sources = append(sources, secondary(t, name))
		}
		w := &world{server: server{T: t}}
		w.startWith(zones.Options{Client: transfer.Client{Dial: dial}})
		w.load(sources...)
		w.settle(time.Minute)
		for silence := range kinds + 1 {
			kind.Store(int32(silence))
			expires := map[string]time.Time{}
			for _, z := range w.manager.Status() {
				expires[z.Name] = z.Expires
			}
			for range 15 * 3600 {
				time.Sleep(time.Second)
				now := time.Now()
				for name, at := range expires {
					switch served := w.serial(name) != 0; {
					case served && now.After(at.Add(2*time.Second)):
						t.Fatalf("silence %d: %s is served %v after its time", silence, name, now.Sub(at))
					case !served && now.Before(at):
						t.Fatalf("silence %d: %s has expired %v too early", silence, name, at.Sub(now))
					case !served:
						delete(expires, name)
					}
				}
				if len(expires) == 0 {
					break
				}
			}
			kind.Store(-1)
			w.settle(3 * time.Hour)
			for n := range count {
				if w.serial(fmt.Sprintf("z%d.test.", n)) == 0 {
					t.Fatalf("zone %d does not come back", n)
				}
			}
		}
		w.stop()
		synctest.Wait()
	})
}

// An expiring primary says for how long its zone may be served (RFC 7314).
func expiring(p *primary, seconds uint32) { p.with(func() { p.expire = &seconds }) }

// TestExpireOption has a primary say for how long its zone may be served (RFC 7314, section
// 4): a refresh that finds it current prolongs and never shortens the time, a transfer sets
// it, and neither goes beyond what the SOA record says.
func TestExpireOption(t *testing.T) {
	for _, c := range []struct {
		what        string
		first, then uint32 // seconds that the primary says; 1<<31: it says nothing
		transfer    bool   // the zone has changed meanwhile
		want        time.Duration
	}{
		{"a transfer", 5000, 1 << 31, false, 0},
		{"current, and more than is left", 5000, 6000, false, 6000 * time.Second},
		{"current, and less than is left", 5000, 1000, false, 4000 * time.Second},
		{"current, and nothing", 5000, 0, false, 4000 * time.Second},
		{"current, and more than the SOA record says", 5000, 100_000, false, 86400 * time.Second},
		{"current, and not said", 5000, 1 << 31, false, 86400 * time.Second},
		{"changed, and less than was left", 5000, 2000, true, 2000 * time.Second},
		{"changed, and more than the SOA record says", 5000, 100_000, true, 86400 * time.Second},
	} {
		p := newPrimary(at(t, "a.test.", 1))
		expiring(p, c.first)
		inWorld(t, p, func(w *world) {
			s := secondary(t, "a.test.")
			w.load(s)
			w.settle(0)
			left := func() time.Duration { return time.Until(w.manager.Status()[0].Expires).Round(time.Second) }
			if got := left(); got != 5000*time.Second {
				t.Errorf("%s: %v after the first transfer", c.what, got)
			}
			if c.want == 0 {
				return
			}
			w.settle(1000 * time.Second)
			if expiring(p, c.then); c.then == 1<<31 {
				p.with(func() { p.expire = nil })
			}
			if c.transfer {
				p.serve(at(t, "a.test.", 2))
			}
			if err := w.manager.Refresh(s.Apex, false); err != nil {
				t.Fatal(err)
			}
			w.settle(0)
			if got := left(); got != c.want {
				t.Errorf("%s: %v are left, want %v", c.what, got, c.want)
			}
		})
	}
}

// TestExpiredTakesAnySerial has a primary whose serial fell: the zone is not taken while the
// one here counts, and once that has expired it is, whole (RFC 1034, section 4.3.5), over a
// restart too.
func TestExpiredTakesAnySerial(t *testing.T) {
	for _, restart := range []bool{false, true} {
		for _, serial := range []int{1, 5, 1<<31 + 4} { // older, equal, and neither older nor newer (RFC 1982)
			p := newPrimary(at(t, "a.test.", 5))
			inWorld(t, p, func(w *world) {
				s := secondary(t, "a.test.")
				w.load(s)
				w.settle(time.Second)
				p.serve(at(t, "a.test.", serial))
				if p.with(func() { p.silent, p.asked = true, nil }); restart {
					w.stop()
				}
				w.settle(25 * time.Hour)
				if restart {
					w.start(zones.Bounds{})
					w.load(s)
				}
				if got := w.serial("a.test."); got != 0 {
					t.Fatalf("serial %d is served after its time", got)
				}
				p.with(func() { p.silent = false })
				w.settle(3 * time.Hour)
				if got := w.serial("a.test."); got != serial {
					t.Errorf("restart %v: serial %d is served, the primary has %d: %+v", restart, got, serial, w.manager.Status()[0])
				}
				for _, typ := range p.asked {
					if typ == wire.TypeIXFR {
						t.Errorf("restart %v, serial %d: differences were asked for", restart, serial)
					}
				}
			})
		}
	}
}

// TestOlderWhileItCounts keeps a version that its primary has an older one of, as long as
// it may be served.
func TestOlderWhileItCounts(t *testing.T) {
	kept := storetest.NewMemory()
	p := newPrimary(at(t, "a.test.", 5))
	synctest.Test(t, func(t *testing.T) {
		w := &world{server: server{T: t}, primary: p}
		w.startWith(zones.Options{Store: kept, Client: transfer.Client{Dial: p.dial}})
		w.load(secondary(t, "a.test."))
		w.settle(time.Second)
		p.serve(at(t, "a.test.", 4))
		w.settle(23 * time.Hour)
		z := w.manager.Status()[0]
		if w.serial("a.test.") != 5 || !strings.Contains(z.LastError, "older") {
			t.Errorf("serial %d, %q", w.serial("a.test."), z.LastError)
		}
		w.settle(2 * time.Hour)
		if got := w.serial("a.test."); got != 4 {
			t.Errorf("serial %d after its time", got)
		}
		w.stop()
		synctest.Wait()
	})
}
