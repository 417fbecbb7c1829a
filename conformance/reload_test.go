package conformance_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"port53/conformance/peers"
	"port53/conformance/probe"
)

const (
	// reloads is how many times the zones change under load.
	reloads = 200
	// reloadTime is how long one reload may take until it shows.
	reloadTime = 5 * time.Second
	// reloadGrowth is how much more memory the server may hold after the last
	// reload than after the first quarter of them.
	reloadGrowth = 16 << 20
)

// serialZone is a zone in which everything says its serial, so that an answer
// from two versions shows.
func serialZone(origin string, serial int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s 3600 IN SOA ns.%[1]s h.%[1]s %d 7200 3600 1209600 300\n", origin, serial)
	fmt.Fprintf(&b, "%s 3600 IN NS ns.%[1]s\nns.%[1]s 3600 IN A 192.0.2.1\n", origin)
	for i := range 10 {
		fmt.Fprintf(&b, "set.%s 3600 IN TXT \"%d %d\"\n", origin, serial, i)
	}
	fmt.Fprintf(&b, "alias.%s 3600 IN CNAME v%d.%[1]s\nv%[2]d.%[1]s 3600 IN TXT \"%[2]d 0\"\n", origin, serial)
	fmt.Fprintf(&b, "mx.%s 3600 IN MX %d host.%[1]s\nhost.%[1]s 3600 IN A 10.0.%[3]d.%[4]d\n", origin, serial, serial/256, serial%256)
	for i := range 300 { // so that loading takes a moment
		fmt.Fprintf(&b, "n%d.%s 3600 IN TXT \"%d %[1]d\"\n", i, origin, serial)
	}
	return b.String()
}

// replace puts a new file in the place of another, whole.
func replace(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// TestReload changes two zones 200 times under load: no question may be lost,
// no answer mix two versions, no client see time run backwards, and the server
// must not grow. A broken file leaves the old version serving.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	origins := []string{"one.reload.test.", "two.reload.test."}
	var zones []peers.Zone
	for _, o := range origins {
		file := filepath.Join(dir, o+"zone")
		replace(t, file, serialZone(o, 1))
		zones = append(zones, peers.Zone{Name: o, File: file})
	}
	s := startSubject(t, peers.Options{Zones: zones})

	stop := make(chan struct{})
	var asked atomic.Int64
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			w := &witness{t: t, c: &probe.Client{Server: s.Addr, Timeout: 2 * time.Second, Tries: 1}, tcp: i == 3}
			defer w.c.Close()
			for {
				select {
				case <-stop:
					asked.Add(w.asked)
					return
				default:
					w.look(origins[w.asked%2])
				}
			}
		})
	}
	stopped := sync.OnceFunc(func() { close(stop); wg.Wait() })
	defer stopped()

	var before int64
	var err error
	began := time.Now()
	for serial := 2; serial <= reloads+1; serial++ {
		for i, o := range origins {
			replace(t, zones[i].File, serialZone(o, serial))
		}
		if err := s.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		for _, o := range origins {
			awaitSerial(t, s, o, serial)
		}
		if serial == reloads/4 {
			if before, err = s.Memory(); err != nil {
				t.Fatal(err)
			}
		}
		if t.Failed() {
			return
		}
	}
	took := time.Since(began)
	after, err := s.Memory()
	if err != nil {
		t.Fatal(err)
	}

	// A broken file: the old version serves on, and the log says where.
	text := serialZone(origins[0], 1000)
	replace(t, zones[0].File, text+"broken.one.reload.test. 3600 IN A 192.0.2.256\n")
	place := filepath.Base(zones[0].File)
	if s.Kind == peers.Port53 { // others say it in other words
		place += fmt.Sprintf(":%d:", strings.Count(text, "\n")+1)
	}
	if err := s.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	awaitLog(t, s, place)
	awaitSerial(t, s, origins[0], reloads+1)
	replace(t, zones[0].File, serialZone(origins[0], 1001))
	if err := s.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	awaitSerial(t, s, origins[0], 1001)

	stopped()
	t.Logf("%d reloads in %s with %d questions meanwhile; memory %d KiB after a quarter, %d KiB at the end",
		reloads, took.Round(time.Millisecond), asked.Load(), before>>10, after>>10)
	if after > before+reloadGrowth {
		t.Errorf("memory grew from %d to %d KiB", before>>10, after>>10)
	}
	if err := s.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Ended():
		if code := s.ExitCode(); code != 0 {
			t.Errorf("SIGTERM: exit code %d, want 0", code)
		}
	case <-time.After(reloadTime):
		t.Error("SIGTERM: the server is still there")
	}
}

// awaitSerial asks until a zone has the serial.
func awaitSerial(t *testing.T, s *peers.Server, origin string, serial int) {
	t.Helper()
	c := &probe.Client{Server: s.Addr}
	defer c.Close()
	q := &probe.Question{Name: probe.MustName(origin), Type: probe.TypeSOA, ID: 1}
	got := 0
	for end := time.Now().Add(reloadTime); time.Now().Before(end); time.Sleep(time.Millisecond) {
		m, err := c.Ask(q)
		if err != nil {
			t.Error(err)
			return
		}
		if got = soaSerial(m.Answer); got == serial {
			return
		}
	}
	t.Errorf("%s has serial %d, want %d", origin, got, serial)
}

// awaitLog waits until the server has printed a text.
func awaitLog(t *testing.T, s *peers.Server, text string) {
	t.Helper()
	for end := time.Now().Add(reloadTime); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if strings.Contains(s.Tail(), text) {
			return
		}
	}
	t.Errorf("the log does not say %q:\n%s", text, s.Tail())
}

// soaSerial returns the serial of the SOA in a section, or 0.
func soaSerial(section []probe.RR) int {
	for _, rr := range section {
		if rr.Type == probe.TypeSOA {
			d := rr.Data[len(rr.Data)-20:]
			return int(d[0])<<24 | int(d[1])<<16 | int(d[2])<<8 | int(d[3])
		}
	}
	return 0
}

// A witness asks and checks that each answer is of one version, and of none
// before the last one that it saw.
type witness struct {
	t     *testing.T
	c     *probe.Client
	tcp   bool
	asked int64
	last  map[string]int
}

func (w *witness) look(origin string) {
	if w.last == nil {
		w.last = map[string]int{}
	}
	questions := []struct {
		name string
		typ  uint16
	}{
		{"set.", probe.TypeTXT}, {"alias.", probe.TypeTXT}, {"alias.", probe.TypeAAAA}, {"mx.", probe.TypeMX}, {"missing.", probe.TypeA}, {"", probe.TypeSOA}, {"n7.", probe.TypeTXT},
	}
	q := questions[w.asked%int64(len(questions))]
	w.asked++
	m, err := w.c.Ask(&probe.Question{Name: probe.MustName(q.name + origin), Type: q.typ, ID: uint16(w.asked), TCP: w.tcp, EDNS: true, Size: peers.MaxUDP})
	if err != nil {
		w.t.Errorf("a question was lost: %s%s: %v", q.name, origin, err)
		return
	}
	serials := map[int]bool{}
	for _, section := range [][]probe.RR{m.Answer, m.Authority, m.Additional} {
		if n := soaSerial(section); n > 0 {
			serials[n] = true
		}
		for _, rr := range section {
			if n := said(rr); n > 0 {
				serials[n] = true
			}
		}
	}
	if len(serials) != 1 {
		w.t.Errorf("an answer of %d versions: %s%s: %s", len(serials), q.name, origin, m)
		return
	}
	for n := range serials {
		if n < w.last[origin] && n < 1000 {
			w.t.Errorf("%s%s: version %d after %d", q.name, origin, n, w.last[origin])
		}
		w.last[origin] = n
	}
}

// said returns the serial that a record of serialZone tells, or 0.
func said(rr probe.RR) int {
	text := rr.String()
	switch {
	case rr.Type == probe.TypeTXT:
		n, _ := strconv.Atoi(strings.Fields(rr.Data[1:])[0])
		return n
	case rr.Type == probe.TypeCNAME:
		n, _ := strconv.Atoi(strings.SplitN(text[strings.LastIndex(text, " v")+2:], ".", 2)[0])
		return n
	case rr.Type == probe.TypeMX:
		return int(rr.Data[0])<<8 | int(rr.Data[1])
	case rr.Type == probe.TypeA && rr.Data[0] == 10:
		return int(rr.Data[2])<<8 | int(rr.Data[3])
	}
	return 0
}
