package zones_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"port53/internal/dnstest"
	"port53/internal/store/storetest"
	"port53/internal/zone"
	"port53/internal/zones"
)

// logged returns a server whose log is read.
func logged(t *testing.T, o zones.Options) (*server, *bytes.Buffer) {
	var log bytes.Buffer
	s := &server{T: t, log: slog.New(slog.NewTextHandler(&log, nil))}
	s.start(o)
	return s, &log
}

func logTo(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// Nobody is answered from a policy zone: that its name servers have no addresses is not told. Other warnings are.
func TestPolicyZoneIsLogged(t *testing.T) {
	s, log := logged(t, zones.Options{})
	soa := "$TTL 300\n@ SOA ns h 1 2h 1h 2w 5m\n@ NS ns\n@ NS ns.policy.test.\nads NS ns.ads\nout.example. A 192.0.2.1\n"
	a := source(t, "policy.test.", write(t, t.TempDir(), "a.zone", soa))
	lost := []string{"NS: ns.policy.test. has no address in this zone", "ads.policy.test. NS: ns.ads.policy.test. has no glue"}
	for _, a.Policy = range []bool{false, true, false} { // what it is may change while its file stays
		log.Reset()
		s.load(a)
		for _, text := range lost {
			if strings.Contains(log.String(), text) == a.Policy {
				t.Errorf("policy %v, %q: the log has\n%s", a.Policy, text, log.String())
			}
		}
		if !strings.Contains(log.String(), "owner out.example. is outside the zone") {
			t.Errorf("policy %v: the log has\n%s", a.Policy, log.String())
		}
	}
}

// TestLoadIsLogged has a load say in the log what became of each zone, and of many only how
// many they are.
func TestLoadIsLogged(t *testing.T) {
	dir := t.TempDir()
	s, log := logged(t, zones.Options{})
	wants := func(what string, lines ...string) {
		t.Helper()
		for _, line := range lines {
			if !strings.Contains(log.String(), line) {
				t.Errorf("%s: the log has\n%swant %s", what, log.String(), line)
			}
		}
		log.Reset()
	}
	a := source(t, "a.test.", write(t, dir, "a.zone", fmt.Sprintf(head, 1)+"out.example. A 192.0.2.1\n"))
	s.load(a, source(t, "b.test.", dir+"/none"))
	wants("first", `level=ERROR msg="zone not loaded" zone=b.test. error="`+dir+`/none: cannot be opened: no such file or directory" effect="the zone answers SERVFAIL until its file is fixed"`,
		`level=WARN msg="zone loaded with a warning" zone=a.test. error="`+a.File+`:5:1: warning: `,
		`level=INFO msg="zone loaded" zone=a.test. serial=1 names=2 records=3`,
		`msg="zones ready" loaded=1 unchanged=0 removed=0 failed=1 `)
	write(t, dir, "a.zone", "@ NONSENSE\n")
	s.load(a)
	wants("broken", `effect="the version before keeps serving"`, `loaded=0 unchanged=0 removed=1 failed=1 `)
	write(t, dir, "a.zone", fmt.Sprintf(head, 2))
	s.load(a)
	log.Reset()
	if s.load(a); strings.Contains(log.String(), "zone loaded") {
		t.Errorf("nothing has changed, and the log has\n%s", log.String())
	}
	wants("unchanged", `loaded=0 unchanged=1 removed=0 failed=0 `)
	var many []zones.Source
	for n := range 101 {
		name := fmt.Sprintf("z%d.", n)
		many = append(many, zones.Source{Apex: dnstest.Name(t, name), Origin: &memoryOrigin{zone: at(t, name, 1)}})
	}
	s.load(many[:100]...)
	if got := strings.Count(log.String(), `msg="zone loaded" `); got != 100 {
		t.Errorf("%d lines for 100 zones", got)
	}
	s.start(zones.Options{})
	log.Reset()
	if s.load(many...); strings.Contains(log.String(), `msg="zone loaded" `) {
		t.Error("a line for each of 101 zones")
	}
	wants("many", "loaded=101 ")
}

// TestFailuresAreReportedAgain reloads a zone that is as broken as it was: whoever reloads
// hears of it, though the origin has nothing new to say.
func TestFailuresAreReportedAgain(t *testing.T) {
	o := &silentOrigin{}
	s := newServer(t, zones.Options{})
	src := zones.Source{Apex: dnstest.Name(t, "test."), Origin: o}
	for range 3 {
		if r := s.load(src); len(r.Failed) != 1 || r.Failed[0].Problems[0].Text != "broken" || r.Unchanged+r.Loaded != 0 {
			t.Errorf("%+v", r)
		}
	}
}

// A silentOrigin has a bad verdict once, and then that nothing has changed.
type silentOrigin struct {
	memoryOrigin
	said bool
}

func (o *silentOrigin) Candidate(context.Context, zones.Known) (*zones.Candidate, error) {
	if o.said {
		return nil, nil
	}
	o.said = true
	return &zones.Candidate{Problems: []zones.Problem{{Text: "broken"}}}, nil
}

func (o *silentOrigin) Continues(zones.Origin) bool { return true }

// TestNobodyAsks has a manager made of no options at all.
func TestNobodyAsks(t *testing.T) {
	m := zones.New(zones.Options{})
	good := source(t, "a.test.", write(t, t.TempDir(), "a.zone", fmt.Sprintf(head, 1)))
	r, err := m.Load(context.Background(), []zones.Source{good, source(t, "b.test.", "/none"), secondary(t, "c.test.")}, nil)
	if err != nil || r.Loaded != 1 || len(r.Failed) != 1 {
		t.Errorf("%+v %v", r, err)
	}
}

// TestPublishOnce has a load publish with its own function, once, whatever the manager has.
func TestPublishOnce(t *testing.T) {
	s := newServer(t, zones.Options{})
	before := s.view.Load()
	var views []*zone.View
	_, err := s.manager.Load(context.Background(), []zones.Source{{Apex: dnstest.Name(t, "test."), Origin: &memoryOrigin{zone: at(t, "test.", 1)}}}, func(v zone.Views) { views = append(views, v.View(zone.DefaultView)) })
	if err != nil || len(views) != 1 || views[0].Len() != 1 || s.view.Load() != before {
		t.Errorf("%v, published %d times", err, len(views))
	}
}

// TestWhatCannotBeWritten loads a version that the store does not take, and one that cannot
// be signed: the version before is served, and the report says why.
func TestWhatCannotBeWritten(t *testing.T) {
	kept, o, sign := storetest.NewMemory(), &memoryOrigin{zone: at(t, "test.", 1)}, &marker{events: &events{}}
	o.traits.Kept = true
	source := zones.Source{Apex: dnstest.Name(t, "test."), Origin: o, Signer: sign}
	s := newServer(t, zones.Options{Store: kept})
	s.load(source)
	fails := func(what, want string) {
		t.Helper()
		r := s.load(source)
		if len(r.Failed) != 1 || !strings.Contains(r.Failed[0].Problems[0].Text, want) || s.serial("test.") != 1 {
			t.Errorf("%s: %+v, serial %d, want %q", what, r, s.serial("test."), want)
		}
	}
	o.set(at(t, "test.", 2), nil)
	kept.Watch(func(string) error { return errors.New("disk full") })
	fails("no room", "it cannot be kept on disk: disk full")
	kept.Watch(nil)
	sign.fail = errors.New("no key")
	fails("no key", "it cannot be signed: no key")
	sign.fail = nil
	if r := s.load(source); r.Loaded != 1 || s.serial("test.") != 2 {
		t.Errorf("%+v, serial %d", r, s.serial("test."))
	}
}

// TestOtherPrimaries gives a secondary zone other primaries: they are asked at once, and not
// at the next refresh; without a change nobody is asked.
func TestOtherPrimaries(t *testing.T) {
	p := newPrimary(at(t, "a.test.", 1))
	inWorld(t, p, func(w *world) {
		s := secondary(t, "a.test.")
		w.load(s)
		w.settle(time.Second)
		asked := func() (n int) {
			w.settle(time.Second)
			p.with(func() { n, p.asked = len(p.asked), nil })
			return n
		}
		asked()
		if w.load(s); asked() != 0 {
			t.Error("asked, and nothing has changed")
		}
		s.Primaries = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.2:53")}
		if w.load(s); asked() == 0 {
			t.Error("the new primary was not asked")
		}
	})
}

// TestWarningOfDigest serves a file whose ZONEMD record is wrong with a warning, since whoever
// wrote it wants it so, and refuses such a version of a primary (RFC 8976, section 4).
func TestWarningOfDigest(t *testing.T) {
	wrong := "@ ZONEMD 1 1 1 " + strings.Repeat("00", 48) + "\n"
	s := newServer(t, zones.Options{})
	if r := s.load(source(t, "test.", write(t, t.TempDir(), "test.zone", fmt.Sprintf(head, 1)+wrong))); r.Loaded != 1 || !strings.Contains(s.problems(), "servers that verify it reject the zone") {
		t.Errorf("%+v, problems %q", r, s.problems())
	}
	bad := dnstest.Zone(t, "a.test.", "@ 60 SOA ns admin 1 7200 3600 86400 300\n@ 60 NS ns\n@ 60 "+wrong[2:])
	p := newPrimary(bad)
	inWorld(t, p, func(w *world) {
		w.load(secondary(t, "a.test."))
		w.settle(time.Second)
		if z := w.manager.Status()[0]; w.serial("a.test.") != 0 || !strings.Contains(z.LastError, "ZONEMD") {
			t.Errorf("serial %d, trouble %q", w.serial("a.test."), z.LastError)
		}
		p.serve(at(t, "a.test.", 2))
		w.settle(time.Minute)
		if got := w.serial("a.test."); got != 2 {
			t.Errorf("serial %d once it is right", got)
		}
	})
}

// TestStateThatStays has a store that cannot forget a member that left its catalog: that is
// said in the log, and the member leaves all the same.
func TestStateThatStays(t *testing.T) {
	kept := storetest.NewMemory()
	s, log := logged(t, zones.Options{Store: kept})
	member := zones.Source{Apex: dnstest.Name(t, "test."), Origin: &memoryOrigin{zone: at(t, "test.", 1), traits: zones.Traits{Kept: true}}, Member: "one", Catalog: dnstest.Name(t, "cat.")}
	s.load(member)
	calls := 0
	kept.Watch(func(call string) error {
		if calls++; call != "remove" {
			t.Errorf("%s", call)
		}
		return errors.New("disk full")
	})
	if s.load(); s.serial("test.") != -1 || calls != 1 || !strings.Contains(log.String(), `msg="the stored data of a zone that left its catalog zone cannot be deleted" zone=test. error="disk full"`) {
		t.Errorf("serial %d, %d calls, the log has\n%s", s.serial("test."), calls, log.String())
	}
	// What the configuration had is not forgotten: it may come again.
	kept.Watch(nil)
	plain := member
	plain.Member, plain.Catalog = "", nil
	s.load(plain)
	kept.Watch(func(call string) error {
		t.Errorf("%s of a zone of the configuration", call)
		return nil
	})
	s.load()
}

// TestMetaIsWrittenDown has what a refresh learned be written down of a zone that is on disk,
// and of no other; if that fails it is said, and the zone is served all the same.
func TestMetaIsWrittenDown(t *testing.T) {
	for _, c := range []struct {
		kept bool
		fail error
	}{{true, nil}, {true, errors.New("disk full")}, {false, nil}} {
		memory := storetest.NewMemory()
		metas := 0
		memory.Watch(func(call string) error {
			if call == "setmeta" {
				metas++
				return c.fail
			}
			return nil
		})
		o := &memoryOrigin{zone: at(t, "test.", 1), traits: zones.Traits{Polled: true, Kept: c.kept}}
		var log lockedBuffer
		inWorld(t, newPrimary(), func(w *world) {
			w.stop()
			w.log = slog.New(slog.NewTextHandler(&log, nil))
			w.startWith(zones.Options{Store: memory})
			w.load(zones.Source{Apex: dnstest.Name(t, "test."), Origin: o})
			w.settle(time.Second)
			if said := strings.Contains(log.String(), "the time of a zone's last refresh cannot be stored"); w.serial("test.") != 1 || metas != map[bool]int{true: 1}[c.kept] || said != (c.fail != nil) {
				t.Errorf("%+v: serial %d, written down %d times, the log has\n%s", c, w.serial("test."), metas, log.String())
			}
		})
	}
}

// TestOddFiles has files that no zone can be read from, and such as pass a bound by one: the
// problem says why, and of which file.
func TestOddFiles(t *testing.T) {
	dir := t.TempDir()
	for what, c := range map[string]struct {
		source zones.Source
		want   string
	}{
		"no directory":   {source(t, "test.", filepath.Join(dir, "no", "file")), "cannot be opened: no such file"},
		"a device":       {source(t, "test.", "/dev/null"), "neither a regular file"},
		"a directory":    {source(t, "test.", dir), "neither a regular file"},
		"an empty file":  {source(t, "test.", write(t, dir, "empty", "")), "SOA"},
		"too large":      {zones.Source{Apex: dnstest.Name(t, "test."), File: write(t, dir, "large", fmt.Sprintf(head, 1)), MaxSize: 10}, "10"},
		"too many":       {zones.Source{Apex: dnstest.Name(t, "test."), File: write(t, dir, "many", fmt.Sprintf(head, 1)), MaxRecords: 2}, "2"},
		"makes too many": {zones.Source{Apex: dnstest.Name(t, "test."), File: write(t, dir, "generate", fmt.Sprintf(head, 1)+"$GENERATE 1-9 h$ A 192.0.2.1\n"), Generate: 8}, "limit of 8 records"},
	} {
		l := zones.Load(c.source, dnstest.Seed)
		if l.Zone != nil || len(l.Problems) == 0 || !strings.Contains(l.Problems[0].Text, c.want) || l.Problems[0].File != c.source.File || l.Problems[0].Warning {
			t.Errorf("%s: %v, want %q", what, l.Problems, c.want)
		}
	}
	made := zones.Source{Apex: dnstest.Name(t, "test."), File: write(t, dir, "made", fmt.Sprintf(head, 1)+"$GENERATE 1-9 h$ A 192.0.2.1\n"), Generate: 9, MaxRecords: 12}
	if l := zones.Load(made, dnstest.Seed); l.Zone == nil || l.Zone.Records() != 12 || len(l.Problems) != 0 {
		t.Errorf("as many as may be: %v", l.Problems)
	}
	// A slot in a line that is longer than columns are counted.
	wide := source(t, "test.", write(t, dir, "wide", fmt.Sprintf(head, 1)+"x CNAME y\n"+strings.Repeat(" ", 1<<16+9)+"A 192.0.2.1\n"))
	if l := zones.Load(wide, dnstest.Seed); len(l.Problems) != 1 || l.Problems[0].Line != 6 || l.Problems[0].Col != 1<<16-1 {
		t.Errorf("%v", l.Problems)
	}
	// Several mistakes, each at its place.
	several := source(t, "test.", write(t, dir, "several", "$TTL 60\n@ NONSENSE\n@ A 1\n"))
	if l := zones.Load(several, dnstest.Seed); len(l.Problems) != 2 || l.Problems[0].Line != 2 || l.Problems[1].Line != 3 || l.Problems[1].Col == 0 {
		t.Errorf("%v", l.Problems)
	}
}
