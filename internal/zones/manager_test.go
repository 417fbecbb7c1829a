package zones_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"port53/internal/dnstest"
	"port53/internal/telemetry"
	"port53/internal/zone"
	"port53/internal/zones"
)

const head = "$TTL 60\n@ SOA ns admin %d 7200 3600 1209600 300\n@ NS ns\nns A 192.0.2.1\n"

// write writes a file of dir, with a time of its own so that a change is seen
// however coarse the clock of the file system is.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	stamp += time.Second
	at := time.Unix(1700000000, 0).Add(stamp)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
	return path
}

var stamp time.Duration

// A server is a manager with what it has published.
type server struct {
	*testing.T
	manager *zones.Manager
	view    atomic.Pointer[zone.View]
	log     *slog.Logger // nil: nobody reads it
}

func newServer(t *testing.T, o zones.Options) *server {
	s := &server{T: t}
	s.start(o)
	return s
}

// start makes the manager again, as a restart does.
func (s *server) start(o zones.Options) {
	s.view.Store(zone.NewView(dnstest.Seed))
	o.Seed, o.Log = dnstest.Seed, s.log
	o.Publish = func(views zone.Views) { s.view.Store(views.View(zone.DefaultView)) }
	if s.log != nil {
		o.Audit = telemetry.NewAudit(s.log)
	}
	s.manager = zones.New(o)
}

func (s *server) load(sources ...zones.Source) zones.Report {
	s.Helper()
	r, err := s.manager.Load(context.Background(), sources, nil)
	if err != nil {
		s.Fatal(err)
	}
	return r
}

// serial returns what is published of a zone: its serial, 0 for a zone without a
// version, -1 for one that is not there.
func (s *server) serial(name string) int {
	e := s.view.Load().Get(dnstest.Name(s, name))
	if e == nil {
		return -1
	}
	if z := e.Zone(); z != nil { // it may expire at any moment
		return int(z.Serial())
	}
	return 0
}

func source(t *testing.T, name, file string) zones.Source {
	return zones.Source{Apex: dnstest.Name(t, name), File: file}
}

func TestReload(t *testing.T) {
	dir := t.TempDir()
	a := write(t, dir, "a.zone", fmt.Sprintf(head, 1))
	b := write(t, dir, "b.zone", fmt.Sprintf(head, 1)+"$INCLUDE sub/more\n")
	write(t, dir, "sub/more", "x A 192.0.2.9\n")
	s := newServer(t, zones.Options{})
	sources := []zones.Source{source(t, "a.test.", a), source(t, "B.test.", b)}

	if r := s.load(sources...); r.Loaded != 2 || len(r.Failed) != 0 {
		t.Fatalf("first load: %+v", r)
	}
	if r := s.load(sources...); r.Unchanged != 2 || r.Loaded != 0 {
		t.Errorf("nothing changed: %+v", r)
	}
	write(t, dir, "a.zone", fmt.Sprintf(head, 2))
	if r := s.load(sources...); r.Unchanged != 1 || r.Loaded != 1 || s.serial("a.test.") != 2 {
		t.Errorf("one file changed: %+v, serial %d", r, s.serial("a.test."))
	}
	write(t, dir, "sub/more", "x A 192.0.2.10\n")
	if r := s.load(sources...); r.Unchanged != 1 || r.Loaded != 1 {
		t.Errorf("an included file changed: %+v", r)
	}
	if r := s.load(sources[0]); r.Removed != 1 || s.serial("b.test.") != -1 {
		t.Errorf("a zone is gone: %+v", r)
	}
}

func TestBrokenFileKeepsTheOldZone(t *testing.T) {
	dir := t.TempDir()
	good := write(t, dir, "good.zone", fmt.Sprintf(head, 1))
	bad := write(t, dir, "bad.zone", "$TTL 60\n@ NONSENSE\n")
	s := newServer(t, zones.Options{})
	sources := []zones.Source{source(t, "good.test.", good), source(t, "bad.test.", bad), source(t, "gone.test.", dir+"/gone.zone")}
	r := s.load(sources...)
	if len(r.Failed) != 2 || s.serial("good.test.") != 1 || s.serial("bad.test.") != 0 || s.serial("gone.test.") != 0 {
		t.Fatalf("%+v, serials %d %d", r, s.serial("good.test."), s.serial("bad.test."))
	}
	for i, want := range []string{bad + ":2:3: ", dir + "/gone.zone: cannot be opened: no such file or directory"} {
		if got := r.Failed[i].Problems[0].String(); !strings.HasPrefix(got, want) {
			t.Errorf("problem %q, want %q…", got, want)
		}
	}
	write(t, dir, "good.zone", fmt.Sprintf(head, 2)+"ns CNAME x\n")
	if r := s.load(sources...); len(r.Failed) != 3 || s.serial("good.test.") != 1 {
		t.Errorf("broken: %+v, serial %d", r, s.serial("good.test."))
	}
	for _, z := range s.manager.Status() {
		if z.Name == "good.test." && (!z.Serving || !z.Failed || z.Serial != 1) {
			t.Errorf("status %+v", z)
		}
	}
	write(t, dir, "good.zone", fmt.Sprintf(head, 3))
	if r := s.load(sources...); r.Loaded != 1 || s.serial("good.test.") != 3 {
		t.Errorf("mended: %+v, serial %d", r, s.serial("good.test."))
	}
	if err := os.Remove(good); err != nil {
		t.Fatal(err)
	}
	if s.load(sources...); s.serial("good.test.") != 3 {
		t.Errorf("file removed: serial %d", s.serial("good.test."))
	}
}

// An include can neither name nor reach a file outside the zone file's folder.
func TestIncludeStaysInItsFolder(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "secret", "secret TXT \"x\"\n")
	if err := os.MkdirAll(filepath.Join(dir, "zones"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "secret"), filepath.Join(dir, "zones", "link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"../secret", filepath.Join(dir, "secret"), "link", "a/../../secret", "missing"} {
		file := write(t, dir, "zones/test.zone", fmt.Sprintf(head, 1)+"$INCLUDE "+name+"\n")
		l := zones.Load(source(t, "test.", file), dnstest.Seed)
		if l.Zone != nil || len(l.Problems) != 1 || l.Problems[0].Line != 5 {
			t.Errorf("$INCLUDE %s: %v", name, l.Problems)
		}
	}
}

func TestProblemsHaveTheirPlace(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "inc", "\nx CNAME y\nx A 192.0.2.1\n")
	file := write(t, dir, "test.zone", fmt.Sprintf(head, 1)+"$INCLUDE inc\nout.example. A 192.0.2.1\n")
	l := zones.Load(source(t, "test.", file), dnstest.Seed)
	var got []string
	for _, p := range l.Problems {
		got = append(got, p.String())
	}
	text := strings.Join(got, "\n")
	for _, want := range []string{"inc:3:1: x.test.: CNAME and A at the same name", file + ":6:1: warning: owner out.example. is outside"} {
		if !strings.Contains(text, want) {
			t.Errorf("got\n%s\nwant %q", text, want)
		}
	}
}

func TestLoadEndsWithItsContext(t *testing.T) {
	s := newServer(t, zones.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.manager.Load(ctx, []zones.Source{source(t, "a.", "x")}, nil); err == nil || s.serial("a.") != -1 {
		t.Errorf("error %v, serial %d", err, s.serial("a."))
	}
}

// Many small zones: the cost of each is small, and they are found.
func BenchmarkManyZones(b *testing.B) {
	dir := b.TempDir()
	const count = 2000
	sources := make([]zones.Source, count)
	for i := range sources {
		file := filepath.Join(dir, fmt.Sprintf("z%d.zone", i))
		if err := os.WriteFile(file, fmt.Appendf(nil, head, i+1), 0o644); err != nil {
			b.Fatal(err)
		}
		sources[i] = zones.Source{Apex: dnstest.Name(b, fmt.Sprintf("z%d.test.", i)), File: file}
	}
	for b.Loop() {
		n := 0
		publish := func(v zone.Views) { n = v.View(zone.DefaultView).Len() }
		if _, err := zones.New(zones.Options{Seed: dnstest.Seed}).Load(context.Background(), sources, publish); err != nil || n != count {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/count, "µs/zone")
}

// TestVerdictsAreNotKeptTooLong mends or breaks what a verdict on a zone rested on, other
// than the content of the zone file: a reload sees it.
func TestVerdictsAreNotKeptTooLong(t *testing.T) {
	dir := t.TempDir()
	inc := filepath.Join(dir, "inc")
	link := filepath.Join(dir, "link.zone")
	include := write(t, dir, "include.zone", fmt.Sprintf(head, 1)+"$INCLUDE inc\n")
	plain := write(t, dir, "plain.zone", fmt.Sprintf(head, 1))
	s := newServer(t, zones.Options{})
	sources := []zones.Source{source(t, "include.test.", include), source(t, "link.test.", link), source(t, "plain.test.", plain)}
	wants := func(what string, include, link, plain int) {
		t.Helper()
		s.load(sources...)
		if got := [3]int{s.serial("include.test."), s.serial("link.test."), s.serial("plain.test.")}; got != [3]int{include, link, plain} {
			t.Errorf("%s: serials %v, want %d %d %d", what, got, include, link, plain)
		}
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	wants("a missing include, a missing file", 0, 0, 1)
	check(os.WriteFile(inc, []byte("x A 192.0.2.9\n"), 0o644))
	check(os.Symlink(plain, link))
	wants("both are there", 1, 1, 1)
	check(os.Remove(inc))
	wants("the include has gone: the version before serves", 1, 1, 1)
	if st := s.manager.Status(); !st[0].Failed || st[1].Failed {
		t.Errorf("%+v", st)
	}
	check(os.WriteFile(inc, []byte("x A 192.0.2.9\n"), 0o644))
	wants("and is back", 1, 1, 1)
	if s.manager.Status()[0].Failed {
		t.Error("the include is back, and the zone still fails")
	}

	// An edit that keeps size and time, as a copy with its times does.
	info, err := os.Stat(plain)
	check(err)
	check(os.WriteFile(plain, fmt.Appendf(nil, head, 7), 0o644))
	check(os.Chtimes(plain, info.ModTime(), info.ModTime()))
	wants("an edit of the same size and time", 1, 7, 7)
	other := write(t, dir, "other.zone", fmt.Sprintf(head, 8))
	check(os.Remove(link))
	check(os.Symlink(other, link))
	wants("the link leads elsewhere", 1, 8, 7)
	limited := sources[2]
	limited.MaxRecords = 1
	sources[2] = limited
	wants("a limit that the file exceeds", 1, 8, 7)
	if !s.manager.Status()[2].Failed {
		t.Error("the new limit does not count")
	}
}

// TestNobodyWaitsForAPipe has zone files that nobody writes to, and devices.
func TestNobodyWaitsForAPipe(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o644); err != nil {
		t.Fatal(err)
	}
	include := write(t, dir, "include.zone", fmt.Sprintf(head, 1)+"$INCLUDE pipe\n")
	good := write(t, dir, "good.zone", fmt.Sprintf(head, 1))
	s := newServer(t, zones.Options{})
	r := s.load(source(t, "pipe.test.", pipe), source(t, "include.test.", include), source(t, "zero.test.", "/dev/zero"),
		source(t, "dir.test.", dir), source(t, "good.test.", good))
	if len(r.Failed) != 4 || s.serial("good.test.") != 1 {
		t.Errorf("%+v", r)
	}
	for _, z := range s.manager.Status() {
		if z.Failed && len(z.Problems) == 0 {
			t.Errorf("%s: no reason is given", z.Name)
		}
	}
}
