package zones_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/dnstest"
	"port53/internal/store"
	"port53/internal/transfer"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zones"
)

// A primary answers, behind a dialler, for the zones that it has. It speaks TCP alone.
type primary struct {
	mu      sync.Mutex
	zones   map[string]*zone.Zone
	history func(from uint32) []*zone.Delta
	gate    chan struct{} // the next transfer says so in held, and waits for it
	held    chan struct{}
	silent  bool // it refuses connections
	expire  *uint32
	asked   []wire.Type
}

func newPrimary(zones ...*zone.Zone) *primary {
	p := &primary{zones: map[string]*zone.Zone{}, held: make(chan struct{}, 1)}
	p.serve(zones...)
	return p
}

func (p *primary) serve(zones ...*zone.Zone) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, z := range zones {
		p.zones[string(z.Apex())] = z
	}
}

// with changes what the primary does, or looks at what it did.
func (p *primary) with(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *primary) dial(_ context.Context, network string, _ netip.AddrPort) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if network == "udp" || p.silent {
		return nil, errors.New("connection refused")
	}
	here, there := net.Pipe()
	go func() {
		defer there.Close()
		for p.answer(there) == nil {
		}
	}()
	return here, nil
}

func (p *primary) answer(conn net.Conn) error {
	msg, err := readMessage(conn)
	if err != nil {
		return err
	}
	var m wire.Message
	if m.Parse(msg) != 0 {
		return io.ErrUnexpectedEOF
	}
	p.mu.Lock()
	z, history, gate, expire := p.zones[string(wire.Lower(nil, m.Name))], p.history, p.gate, p.expire
	if p.asked = append(p.asked, m.Type); m.Type == wire.TypeSOA {
		gate = nil
	} else {
		p.gate = nil
	}
	p.mu.Unlock()
	reply := func(r []byte) error { return writeMessage(conn, r) }
	if z == nil {
		return reply(wire.AppendQuery(nil, m.ID, wire.FlagQR|uint16(wire.Refused), m.Name, m.Type))
	}
	if m.Type == wire.TypeSOA {
		ttl, soa := z.SOA()
		r := zone.AppendRecord(wire.AppendQuery(nil, m.ID, wire.FlagQR|wire.FlagAA, m.Name, m.Type), z.Apex(), wire.TypeSOA, ttl, soa)
		r[7] = 1
		if expire != nil {
			r = wire.AppendOPT(r, 1232, false, binary.BigEndian.AppendUint32([]byte{0, wire.OptionExpire, 0, 4}, *expire))
			r[11] = 1
		}
		return reply(r)
	}
	if gate != nil {
		p.held <- struct{}{}
		<-gate
	}
	request, err := transfer.ParseRequest(msg)
	if err != nil {
		return err
	}
	return transfer.Send(request, transfer.Outgoing{Zone: z, History: history, Expire: expire}, reply)
}

func readMessage(conn net.Conn) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	msg := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err := io.ReadFull(conn, msg)
	return msg, err
}

func writeMessage(conn net.Conn, msg []byte) error {
	_, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...))
	return err
}

// A world is a manager with its primary, in a bubble of fake time.
type world struct {
	server
	primary *primary
	dir     *store.Dir
	path    string // of dir
	stop    func()
}

func (w *world) start(bounds zones.Bounds) {
	w.startWith(zones.Options{Store: w.dir, Client: transfer.Client{Dial: w.primary.dial}, Bounds: bounds})
}

func (w *world) startWith(o zones.Options) {
	w.server.start(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.manager.Run(ctx)
	}()
	w.stop = func() {
		cancel()
		<-done
	}
}

func inWorld(t *testing.T, p *primary, f func(w *world)) {
	path := filepath.Join(t.TempDir(), "zones")
	dir := store.Open(path, nil)
	synctest.Test(t, func(t *testing.T) {
		w := &world{server: server{T: t}, primary: p, dir: dir, path: path}
		if p.held != nil {
			p.held = make(chan struct{}, 1) // of the bubble
		}
		w.start(zones.Bounds{})
		f(w)
		w.stop()
		synctest.Wait()
	})
}

// settle lets time pass until all is quiet.
func (w *world) settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func at(t *testing.T, name string, serial int) *zone.Zone {
	return dnstest.Zone(t, name, fmt.Sprintf("@ 60 SOA ns admin %d 7200 3600 86400 300\n@ 60 NS ns\nns 60 A 192.0.2.1\nx%d 60 A 192.0.2.2\n", serial, serial))
}

func secondary(t *testing.T, name string) zones.Source {
	return zones.Source{Apex: dnstest.Name(t, name), Primaries: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53")}, Insecure: true}
}

// A reload that changes the bounds of a zone while it is being fetched, slowly: the zone
// does not fall back, on disk neither.
func TestReloadDuringATransfer(t *testing.T) {
	p := newPrimary(at(t, "a.test.", 1))
	inWorld(t, p, func(w *world) {
		s := secondary(t, "a.test.")
		w.load(s)
		w.settle(time.Second)
		gate := make(chan struct{})
		p.with(func() { p.gate = gate })
		p.serve(at(t, "a.test.", 2))
		if err := w.manager.Refresh(s.Apex, true); err != nil {
			t.Fatal(err)
		}
		<-p.held
		p.serve(at(t, "a.test.", 3))
		s.MaxRecords = 1000
		w.load(s)
		if err := w.manager.Refresh(s.Apex, false); err != nil {
			t.Fatal(err)
		}
		close(gate)
		w.settle(10 * time.Second)
		if got := w.serial("a.test."); got != 3 {
			t.Errorf("serial %d is served", got)
		}
		w.stop()
		w.start(zones.Bounds{})
		p.with(func() { p.silent = true })
		w.load(s)
		if got := w.serial("a.test."); got != 3 {
			t.Errorf("serial %d after a restart", got)
		}
	})
}

// A zone that leaves while it is fetched, and comes again from a file: what is fetched
// is neither served nor written.
func TestZoneThatLeaves(t *testing.T) {
	p := newPrimary(at(t, "a.test.", 9))
	file := write(t, t.TempDir(), "a.zone", fmt.Sprintf(head, 1))
	inWorld(t, p, func(w *world) {
		gate := make(chan struct{})
		p.with(func() { p.gate = gate })
		w.load(secondary(t, "a.test."))
		<-p.held
		w.load(source(t, "a.test.", file))
		close(gate)
		w.settle(time.Minute)
		if got := w.serial("a.test."); got != 1 {
			t.Errorf("serial %d is served", got)
		}
		if v, err := w.dir.Load(dnstest.Name(t, "a.test."), dnstest.Seed); v.Zone != nil || err != nil {
			t.Errorf("on disk: %v %v", v, err)
		}
	})
}

// There is room for one transfer, and the zone that takes it is removed: the next has its
// turn when it ends.
func TestRoomAfterARemovedZone(t *testing.T) {
	p := newPrimary(at(t, "gone.test.", 1), at(t, "stays.test.", 1))
	inWorld(t, p, func(w *world) {
		w.manager.SetBounds(zones.Bounds{In: 1})
		gone, stays := secondary(t, "gone.test."), secondary(t, "stays.test.")
		gate := make(chan struct{})
		p.with(func() { p.gate = gate })
		w.load(gone)
		<-p.held
		w.load(gone, stays)
		w.load(stays)
		close(gate)
		w.settle(time.Second)
		if got := w.serial("stays.test."); got != 1 {
			t.Errorf("serial %d a second after there was room", got)
		}
	})
}

func TestRetransferDuringARefresh(t *testing.T) {
	p := newPrimary(at(t, "a.test.", 1))
	inWorld(t, p, func(w *world) {
		s := secondary(t, "a.test.")
		w.load(s)
		w.settle(time.Second)
		gate := make(chan struct{})
		p.with(func() { p.gate, p.asked = gate, nil })
		p.serve(at(t, "a.test.", 2))
		if err := w.manager.Refresh(s.Apex, false); err != nil {
			t.Fatal(err)
		}
		<-p.held
		// The whole zone is asked for still when it is asked for anything once more.
		for _, whole := range []bool{true, false} {
			if err := w.manager.Refresh(s.Apex, whole); err != nil {
				t.Fatal(err)
			}
		}
		close(gate)
		w.settle(10 * time.Second)
		if !slices.Equal(p.asked, []wire.Type{wire.TypeSOA, wire.TypeIXFR, wire.TypeAXFR}) {
			t.Errorf("asked %v", p.asked)
		}
	})
}

// TestRetransferFails asks for a whole transfer of a primary that does not answer: when it
// does, the zone is fetched whole.
func TestRetransferFails(t *testing.T) {
	p := newPrimary(at(t, "a.test.", 5))
	inWorld(t, p, func(w *world) {
		s := secondary(t, "a.test.")
		w.load(s)
		w.settle(time.Second)
		p.with(func() { p.silent = true })
		p.serve(at(t, "a.test.", 3))
		if err := w.manager.Refresh(s.Apex, true); err != nil {
			t.Fatal(err)
		}
		w.settle(time.Second)
		p.with(func() { p.silent = false })
		w.settle(2 * time.Hour)
		if got := w.serial("a.test."); got != 3 {
			t.Errorf("serial %d", got)
		}
	})
}

// A primary that was set back is not followed, until somebody says so.
func TestPrimaryFallsBack(t *testing.T) {
	p := newPrimary(at(t, "a.test.", 5))
	inWorld(t, p, func(w *world) {
		s := secondary(t, "a.test.")
		w.load(s)
		w.settle(time.Second)
		p.serve(at(t, "a.test.", 3))
		if err := w.manager.Refresh(s.Apex, false); err != nil {
			t.Fatal(err)
		}
		w.settle(time.Second)
		if z := w.manager.Status()[0]; z.Serial != 5 || !strings.Contains(z.LastError, "serial 3, not 5") {
			t.Errorf("serial %d, trouble %q", z.Serial, z.LastError)
		}
		if err := w.manager.Refresh(s.Apex, true); err != nil {
			t.Fatal(err)
		}
		w.settle(time.Second)
		if got := w.serial("a.test."); got != 3 {
			t.Errorf("serial %d after a whole transfer", got)
		}
	})
}

// A zone whose primary is gone is served until it expires, over a restart too, and again
// when the primary is back.
func TestExpiry(t *testing.T) {
	p := newPrimary(at(t, "a.test.", 1))
	inWorld(t, p, func(w *world) {
		s := secondary(t, "a.test.")
		w.load(s)
		w.settle(time.Second)
		p.with(func() { p.silent = true })
		w.settle(23 * time.Hour)
		if got := w.serial("a.test."); got != 1 {
			t.Fatalf("serial %d within the time", got)
		}
		w.stop()
		w.start(zones.Bounds{})
		w.load(s)
		if got := w.serial("a.test."); got != 1 {
			t.Fatalf("serial %d within the time, after a restart", got)
		}
		w.settle(2 * time.Hour)
		if z := w.manager.Status()[0]; w.serial("a.test.") != 0 || !z.Expired {
			t.Errorf("serial %d is served after the time: %+v", w.serial("a.test."), z)
		}
		w.stop()
		w.start(zones.Bounds{})
		w.load(s)
		if got := w.serial("a.test."); got != 0 {
			t.Errorf("serial %d is served after the time, after a restart", got)
		}
		p.with(func() { p.silent = false })
		w.settle(3 * time.Hour)
		if got := w.serial("a.test."); got != 1 {
			t.Errorf("serial %d when the primary is back", got)
		}
	})
}

func catalog(t *testing.T, serial int, records string) *zone.Zone {
	return dnstest.Zone(t, "cat.test.", fmt.Sprintf("@ 0 SOA invalid. invalid. %d 3600 600 86400 0\n@ 0 NS invalid.\n%s", serial, records))
}

// TestCatalog follows a catalog through all that may happen to it.
func TestCatalog(t *testing.T) {
	const two = "version 0 TXT \"2\"\n"
	p := newPrimary(at(t, "a.test.", 1), at(t, "b.test.", 1), at(t, "c.test.", 1))
	inWorld(t, p, func(w *world) {
		cat := secondary(t, "cat.test.")
		other := netip.MustParseAddrPort("192.0.2.99:53")
		cat.Consumes = &zones.Template{Groups: map[string]*zones.Template{"special": {Primaries: cat.Primaries, Insecure: true, Notify: []netip.AddrPort{other}}}}
		serial := 0
		change := func(records string) {
			t.Helper()
			serial++
			p.serve(catalog(t, serial, records))
			if serial == 1 {
				w.load(cat)
			} else if err := w.manager.Refresh(cat.Apex, false); err != nil {
				t.Fatal(err)
			}
			w.settle(time.Minute)
		}
		expect := func(what string, want ...string) {
			t.Helper()
			var got []string
			for _, z := range w.manager.Status() {
				if z.Catalog != "" && z.Serving {
					got = append(got, z.Name)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: members %v, want %v", what, got, want)
			}
		}
		change(two + "one.zones 0 PTR a.test.\ntwo.zones 0 PTR b.test.\ngroup.two.zones 0 TXT special\n")
		expect("at first", "a.test.", "b.test.")
		for _, z := range w.manager.Status() {
			if special := len(z.Secondaries) == 1; special != (z.Name == "b.test.") {
				t.Errorf("%s: secondaries %v", z.Name, z.Secondaries)
			}
		}
		change(two + "two.zones 0 PTR b.test.\nthree.zones 0 PTR C.test.\n")
		expect("one leaves, another comes", "b.test.", "c.test.")
		if v, err := w.dir.Load(dnstest.Name(t, "a.test."), dnstest.Seed); v.Zone != nil || err != nil {
			t.Errorf("the state of a member that left: %v %v", v, err)
		}
		for what, records := range map[string]string{
			"no version":      "two.zones 0 PTR b.test.\n",
			"another version": "version 0 TXT \"1\"\n",
			"two versions":    "version 0 TXT \"2\"\nversion 0 TXT \"3\"\n",
			"a member twice":  two + "two.zones 0 PTR b.test.\nthree.zones 0 PTR b.test.\n",
			"two of a label":  two + "two.zones 0 PTR b.test.\ntwo.zones 0 PTR a.test.\n",
		} {
			change(records)
			expect(what, "b.test.", "c.test.")
		}
		// A member that comes under another label starts over (RFC 9432, section 5.4).
		change(two + "two.zones 0 PTR b.test.\nthree.zones 0 PTR c.test.\n")
		p.serve(at(t, "b.test.", 7))
		p.with(func() { p.asked = nil })
		change(two + "four.zones 0 PTR b.test.\nthree.zones 0 PTR c.test.\n")
		expect("another label", "b.test.", "c.test.")
		if !slices.Contains(p.asked, wire.TypeAXFR) || w.serial("b.test.") != 7 {
			t.Errorf("asked %v, serial %d", p.asked, w.serial("b.test."))
		}
		// What is served comes from disk after a restart.
		w.stop()
		w.start(zones.Bounds{})
		p.with(func() { p.silent = true })
		w.load(cat)
		expect("after a restart", "b.test.", "c.test.")
		// What a member left that went as the server was killed is not the next one's of that name.
		if err := w.dir.Save(dnstest.Name(t, "e.test."), at(t, "e.test.", 9)); err != nil {
			t.Fatal(err)
		}
		p.with(func() { p.silent = false })
		p.serve(at(t, "e.test.", 3))
		change(two + "four.zones 0 PTR b.test.\nthree.zones 0 PTR c.test.\nfive.zones 0 PTR e.test.\n")
		expect("a name that was there before", "b.test.", "c.test.", "e.test.")
		if got := w.serial("e.test."); got != 3 {
			t.Errorf("serial %d, want 3: it was another zone's", got)
		}
		// A zone that the configuration has is not the catalog's.
		own := secondary(t, "b.test.")
		w.load(cat, own)
		expect("a zone of the configuration", "c.test.", "e.test.")
		w.load()
		if n := w.view.Load().Len(); n != 0 {
			t.Errorf("%d zones without the catalog", n)
		}
	})
}

// TestCatalogOwners has a member that two catalogs claim: it stays where it is until its
// catalog gives it to the other (RFC 9432, section 4.4.1).
func TestCatalogOwners(t *testing.T) {
	list := func(name string, serial int, records string) *zone.Zone {
		return dnstest.Zone(t, name, fmt.Sprintf("@ 0 SOA invalid. invalid. %d 3600 600 86400 0\n@ 0 NS invalid.\nversion 0 TXT \"2\"\n%s", serial, records))
	}
	p := newPrimary(at(t, "a.test.", 1), list("x.test.", 1, "one.zones 0 PTR a.test.\n"), list("y.test.", 1, ""))
	inWorld(t, p, func(w *world) {
		x, y := secondary(t, "x.test."), secondary(t, "y.test.")
		x.Consumes, y.Consumes = &zones.Template{}, &zones.Template{}
		w.load(y, x)
		w.settle(time.Minute)
		step := func(what, owner string, z *zone.Zone) {
			t.Helper()
			if z != nil {
				p.serve(z)
				if err := w.manager.Refresh(z.Apex(), false); err != nil {
					t.Fatal(err)
				}
				w.settle(time.Minute)
			}
			for _, z := range w.manager.Status() {
				if z.Name == "a.test." && z.Catalog != owner {
					t.Errorf("%s: the zone is %s's", what, z.Catalog)
				}
			}
		}
		step("at first", "x.test.", nil)
		step("another claims it", "x.test.", list("y.test.", 2, "two.zones 0 PTR a.test.\n"))
		step("it is given away", "y.test.", list("x.test.", 2, "one.zones 0 PTR a.test.\ncoo.one.zones 0 PTR y.test.\n"))
		step("the old one leaves it", "y.test.", list("x.test.", 3, ""))
	})
}

// TestProducedCatalog makes a catalog of zones, and reads it as a consumer does.
func TestProducedCatalog(t *testing.T) {
	inWorld(t, newPrimary(), func(w *world) {
		p := zones.Source{Apex: dnstest.Name(t, "cat.test."), Produces: true, Insecure: true, Transfer: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
		contents := func(names ...string) (serial uint32, labels map[string]string) {
			t.Helper()
			p.Listed = nil
			for _, name := range names {
				p.Listed = append(p.Listed, zones.Listed{Apex: dnstest.Name(t, name), Group: name[:1]})
			}
			w.load(p)
			z := w.view.Load().Get(p.Apex).Zone()
			labels = map[string]string{}
			z.Each(func(owner []byte, t wire.Type, _ uint32, data []byte) bool {
				if t == wire.TypePTR {
					labels[string(wire.AppendName(nil, data))] = string(owner[1 : 1+owner[0]])
				}
				return true
			})
			return z.Serial(), labels
		}
		first, before := contents("a.test.", "b.test.")
		if again, _ := contents("a.test.", "b.test."); again != first || len(before) != 2 {
			t.Errorf("serials %d and %d, members %v", first, again, before)
		}
		w.stop()
		w.start(zones.Bounds{})
		second, after := contents("b.test.", "c.test.")
		if !zone.Newer(second, first) || after["b.test."] != before["b.test."] || after["c.test."] == "" || after["a.test."] != "" {
			t.Errorf("serial %d after %d, labels %v after %v", second, first, after, before)
		}
		if third, back := contents("a.test.", "b.test."); back["a.test."] == before["a.test."] || !zone.Newer(third, second) {
			t.Errorf("a zone that comes again has its old label: %v", back)
		}
	})
}

// TestWholeBecomesDifferences has a primary without a history: what comes whole is given on
// as differences, so that those below are not sent the whole as well.
func TestWholeBecomesDifferences(t *testing.T) {
	p := newPrimary(at(t, "a.test.", 1))
	inWorld(t, p, func(w *world) {
		s := secondary(t, "a.test.")
		s.Secondaries = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.9:53")}
		w.load(s)
		w.settle(time.Second)
		for serial := 2; serial < 4; serial++ {
			p.serve(at(t, "a.test.", serial))
			if err := w.manager.Refresh(s.Apex, false); err != nil {
				t.Fatal(err)
			}
			w.settle(time.Second)
		}
		if z := w.manager.Status()[0]; z.Serial != 3 || z.History != 2 {
			t.Errorf("serial %d, %d differences", z.Serial, z.History)
		}
	})
}
