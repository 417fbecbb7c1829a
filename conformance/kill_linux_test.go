package conformance_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"port53/conformance/peers"
)

// What TestKills takes from the environment.
const (
	envKills = "PORT53_KILLS" // how many; 24 unless set
	envOld   = "PORT53_OLD"   // a program of an earlier version, which takes turns with this one
)

// A smallDisk is a file system of few MiB, in a mount namespace that ends with the process.
type smallDisk struct {
	dir   string
	calls chan func()
}

// newSmallDisk mounts one at dir.
func newSmallDisk(t *testing.T, dir, size string) *smallDisk {
	d := &smallDisk{dir: dir, calls: make(chan func())}
	mounted := make(chan error)
	go func() {
		runtime.LockOSThread() // and ends with it: nobody else is to be in the namespace
		err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700,size="+size)
		}
		if mounted <- err; err != nil {
			return
		}
		for f := range d.calls {
			f()
		}
	}()
	if err := <-mounted; err != nil {
		missing(t, fmt.Errorf("a small disk: %w", err))
	}
	t.Cleanup(func() { close(d.calls) })
	return d
}

// run runs f where the disk is.
func (d *smallDisk) run(f func() error) (err error) {
	done := make(chan struct{})
	d.calls <- func() {
		defer close(done)
		err = f()
	}
	<-done
	return err
}

// fill leaves so many bytes on the disk.
func (d *smallDisk) fill(room int) error {
	return d.run(func() error {
		f, err := os.Create(filepath.Join(d.dir, "fill"))
		if err != nil {
			return err
		}
		size := int64(0)
		for {
			n, err := f.Write(make([]byte, 4096))
			if size += int64(n); err != nil {
				break
			}
		}
		return errors.Join(f.Truncate(max(0, size-int64(room))), f.Close())
	})
}

func (d *smallDisk) empty() error {
	return d.run(func() error { return os.RemoveAll(filepath.Join(d.dir, "fill")) })
}

// A victim is a server that is killed again and again, and what it has promised.
type victim struct {
	t       *testing.T
	draw    *rand.Rand
	dir     string
	addr    netip.AddrPort
	primary netip.AddrPort
	disk    *smallDisk // nil: its state is on a healthy disk
	server  *peers.Server

	mu           sync.Mutex
	acknowledged []string          // names that updates have added
	sent         int               // updates
	recorded     int               // records that were to be added by commands
	done         int               // of them, that were
	newest       int               // files that were made to be of a newer version
	refused      int               // starts of an earlier version
	kept         int               // names that were acknowledged before the zone began again
	last         string            // what the server printed before it was killed
	labels       map[string]string // of the members of its catalog, as somebody saw them
	served       uint32            // serial of the zone that it fetches, as somebody saw it
	serial       int               // of its file
	members      int               // of its catalog, beside the zones
}

func (v *victim) write() string {
	var b strings.Builder
	fmt.Fprintf(&b, "role: authoritative\nlisten: [%q]\nstate_dir: state\nmetrics: {listen: off}\ncontrol: {socket: control}\n", v.addr.String())
	fmt.Fprintf(&b, "log: {level: warn}\npolicy: {rate_limit: {enabled: false}}\nkeys: [{name: xfr, secret: %s}]\nzones:\n", xferSecret)
	b.WriteString("  - {name: big.test, file: big.zone, allow_transfer: [127.0.0.1], tsig: xfr, updates: [{key: xfr, names: [\"*\"]}]}\n")
	b.WriteString("  - {name: cat.test, catalog: produce, allow_transfer: [127.0.0.1], tsig: xfr}\n")
	for n := range v.members {
		fmt.Fprintf(&b, "  - {name: m%d.test, file: m.zone, allow_transfer: [127.0.0.1], tsig: xfr, in_catalog: cat.test}\n", n)
	}
	fmt.Fprintf(&b, "  - {name: sec.test, primaries: [%q], allow_transfer: [127.0.0.1], tsig: xfr}\n", v.primary.String())
	fmt.Fprintf(&b, "  - {name: ccat.test, primaries: [%q], tsig: xfr, catalog: consume}\n", v.primary.String())
	putFile(v.t, v.dir, "port53.yaml", b.String())
	putFile(v.t, v.dir, "m.zone", fmt.Sprintf("$TTL 60\n@ SOA ns.invalid. admin.invalid. %d 3600 600 86400 60\n@ NS ns.invalid.\nv%[1]d A 192.0.2.1\n", v.serial))
	return filepath.Join(v.dir, "port53.yaml")
}

func putFile(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := errors.Join(os.WriteFile(path+".new", []byte(text), 0o644), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
}

// there runs a function where the state is.
func (v *victim) there(f func() error) error {
	if v.disk != nil {
		return v.disk.run(f)
	}
	return f()
}

// launch starts the server with a program.
func (v *victim) launch(binary string) {
	v.t.Helper()
	var err error
	if v.server, err = peers.Start(context.Background(), peers.Port53, peers.Options{
		Dir: v.dir, Addr: v.addr, Command: []string{binary, "serve", "--config", v.write()}, Run: v.there, Unready: true,
	}); err != nil {
		v.t.Fatal(err)
	}
}

// start starts the server with a program, and waits until its zones answer. An earlier
// version may find state that it does not know, and has to say so: then this one is started.
func (v *victim) start(binary, newest string) string {
	v.t.Helper()
	v.launch(binary)
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		if binary != newest && v.unknown() {
			v.refused++
			_ = v.server.Signal(syscall.SIGKILL)
			<-v.server.Ended()
			return v.start(newest, newest)
		}
		if s, ok := serialOf(v.addr, "big.test."); ok && s > 0 && (binary == newest || !v.unknown()) { // zones are published together
			return binary
		}
		select {
		case <-v.server.Ended():
			v.t.Fatalf("it does not start:\n%s", v.server.Tail())
		default:
		}
		if time.Since(began) > 20*time.Second {
			v.t.Fatalf("big.test is not served:\n%s", v.server.Tail())
		}
	}
}

func serialOf(addr netip.AddrPort, zone string) (uint32, bool) {
	c := dns.Client{Timeout: 200 * time.Millisecond}
	var r *dns.Msg
	var err error
	for range 10 { // a busy machine answers late; one where nobody is does at once
		if r, _, err = c.Exchange(new(dns.Msg).SetQuestion(zone, dns.TypeSOA), addr.String()); err == nil || errors.Is(err, syscall.ECONNREFUSED) {
			break
		}
	}
	if err != nil || len(r.Answer) == 0 {
		return 0, false
	}
	soa, ok := r.Answer[0].(*dns.SOA)
	if !ok {
		return 0, false
	}
	return soa.Serial, true
}

// fetch returns the records of a zone.
func (v *victim) fetch(zone string) ([]dns.RR, error) {
	m := new(dns.Msg).SetAxfr(zone)
	m.SetTsig(xferKey, dns.HmacSHA256, 300, time.Now().Unix())
	tr := &dns.Transfer{TsigSecret: map[string]string{xferKey: xferSecret}, DialTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second}
	ch, err := tr.In(m, v.addr.String())
	if err != nil {
		return nil, err
	}
	var list []dns.RR
	for e := range ch {
		if e.Error != nil {
			return nil, e.Error
		}
		list = append(list, e.RR...)
	}
	return list, nil
}

// verify wants all that was promised to be there. kept: the disk has taken all of it.
func (v *victim) verify(what string, kept bool) {
	v.t.Helper()
	list, err := v.fetch("big.test.")
	if err != nil {
		v.t.Fatalf("%s: %v\n%s", what, err, v.server.Tail())
	}
	have := map[string]bool{}
	for _, rr := range list {
		have[rr.Header().Name] = true
	}
	for _, name := range v.acknowledged {
		if !have[name] {
			var out []byte
			_ = v.there(func() (err error) {
				out, err = exec.Command(subjectBinary(v.t, peers.Port53), "store", "check", filepath.Join(v.dir, "state")).CombinedOutput()
				return err
			})
			v.t.Fatalf("%s: %s was acknowledged and is gone\n%s\nbefore it was killed:\n%s\nits state:\n%s", what, name, v.server.Tail(), v.last, out)
		}
	}
	for name, label := range v.catalog() {
		if !slices.Contains([]string{"m0.test.", "m1.test.", "m2.test."}, name) {
			continue // one that has left, and comes again, starts over
		}
		if before := v.labels[name]; before != "" && before != label {
			v.t.Fatalf("%s: the member %s has another label, and loses its state elsewhere", what, name)
		}
		v.labels[name] = label
	}
	for _, n := range []int{0, v.members - 1} {
		if s, ok := serialOf(v.addr, fmt.Sprintf("m%d.test.", n)); !ok || int(s) != v.serial {
			v.t.Fatalf("%s: the file has serial %d, and %d %v is served", what, v.serial, s, ok)
		}
	}
	if list, err = v.fetch("sec.test."); err != nil || len(list) == 0 {
		if kept && v.served > 0 {
			v.t.Fatalf("%s: serial %d of sec.test was served and kept: %v\n%s", what, v.served, err, v.server.Tail())
		}
		return
	}
	serial := list[0].(*dns.SOA).Serial
	if kept && serial < v.served {
		v.t.Fatalf("%s: serial %d of sec.test was served and kept, and now it is %d", what, v.served, serial)
	}
	texts := 0
	for _, rr := range list {
		if txt, ok := rr.(*dns.TXT); ok {
			if texts++; txt.Txt[0] != fmt.Sprint(serial) {
				v.t.Fatalf("%s: serial %d of sec.test has %v", what, serial, txt)
			}
		}
	}
	if texts != 200 {
		v.t.Fatalf("%s: serial %d of sec.test has %d records", what, serial, texts)
	}
}

// catalog returns the labels of the members of the catalog that is made.
func (v *victim) catalog() map[string]string {
	v.t.Helper()
	labels := map[string]string{}
	list, err := v.fetch("cat.test.")
	if err != nil {
		return labels // it could not be written down on a full disk, and so it is not served
	}
	for _, rr := range list {
		if ptr, ok := rr.(*dns.PTR); ok {
			labels[ptr.Ptr] = dns.SplitDomainName(ptr.Hdr.Name)[0]
		}
	}
	return labels
}

// unknown reports whether the server has said that it does not know the format of a file.
func (v *victim) unknown() bool {
	text, err := os.ReadFile(v.server.Log)
	return err == nil && strings.Contains(string(text), "which this version of port53 does not know")
}

// stillToCome is a version of every format that no program knows.
const stillToCome = 9

// newer has the state be of a version that is still to come, which the server is not to serve,
// to change or to lose: it says what it has found.
func (v *victim) newer(what, binary string) {
	v.t.Helper()
	for _, name := range []string{"zone", "journal"} {
		path := filepath.Join(v.dir, "state", "zones", "big.test", name)
		var content, changed, after []byte
		if err := v.there(func() (err error) {
			content, err = os.ReadFile(path)
			return err
		}); err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				v.t.Fatal(err)
			}
			continue // nothing has been changed since it was shortened
		}
		v.newest++
		line, rest, _ := strings.Cut(string(content), "\n")
		at := strings.LastIndex(line, " ") + 1
		if version, err := strconv.Atoi(line[at:]); err != nil || version >= stillToCome {
			v.t.Fatalf("%s: %s begins with %q", what, path, line)
		}
		newest := line[:at] + strconv.Itoa(stillToCome)
		changed = []byte(newest + "\n" + rest)
		if err := v.there(func() error { return os.WriteFile(path, changed, 0o600) }); err != nil {
			v.t.Fatal(err)
		}
		v.launch(binary)
		c := dns.Client{Timeout: time.Second}
		for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
			r, _, err := c.Exchange(new(dns.Msg).SetQuestion("big.test.", dns.TypeSOA), v.addr.String())
			if err == nil && r.Rcode == dns.RcodeServerFailure {
				break
			}
			if err == nil && len(r.Answer) > 0 || time.Since(began) > 20*time.Second {
				v.t.Fatalf("%s: with %q the zone is answered for: %v\n%s", what, newest, r, v.server.Tail())
			}
		}
		if said := v.server.Tail(); !strings.Contains(said, newest) {
			v.t.Fatalf("%s: it does not say that it found %q:\n%s", what, newest, said)
		}
		_ = v.server.Signal(syscall.SIGKILL)
		<-v.server.Ended()
		if err := v.there(func() (err error) {
			after, err = os.ReadFile(path)
			return errors.Join(err, os.WriteFile(path, content, 0o600))
		}); err != nil || string(after) != string(changed) {
			v.t.Fatalf("%s: %q was changed: %v", what, newest, err)
		}
	}
}

// again takes the zone that updates change away, with all that was promised of it.
func (v *victim) again() {
	v.t.Helper()
	if err := v.there(func() error { return os.RemoveAll(filepath.Join(v.dir, "state", "zones", "big.test")) }); err != nil {
		v.t.Fatal(err)
	}
	putFile(v.t, v.dir, "big.zone", updateZone)
	v.kept += len(v.acknowledged)
	v.acknowledged = nil
}

// command runs a command of port53 at the server that runs, and reports whether it was done.
func (v *victim) command(binary string, args ...string) bool {
	return exec.Command(binary, append(args, "--config", filepath.Join(v.dir, "port53.yaml"))...).Run() == nil
}

// operate does by commands what an operator does, until the server is gone. What record has
// said is done counts as what an update has.
func (v *victim) operate(binary string) {
	for n := 0; ; n++ {
		select {
		case <-v.server.Ended():
			return
		default:
		}
		name := fmt.Sprintf("r%d", v.recorded)
		v.recorded++
		switch n % 10 {
		case 1:
			v.command(binary, "zone", "sync", "big.test")
		case 3:
			v.command(binary, "zone", "freeze", "big.test")
			v.command(binary, "zone", "thaw", "big.test")
		case 5:
			v.command(binary, "zone", "refresh", "sec.test")
		case 6:
			v.command(binary, "zone", "retransfer", "sec.test")
		case 8:
			v.command(binary, "reload")
		default:
			if v.command(binary, "record", "add", "big.test", name, "60", "A", "192.0.2.1") {
				v.mu.Lock()
				v.acknowledged = append(v.acknowledged, name+".big.test.")
				v.done++
				v.mu.Unlock()
			}
		}
	}
}

// change changes all that can be changed until the server is gone.
func (v *victim) change(p *killPrimary, binary string) {
	var wg sync.WaitGroup
	wg.Go(func() {
		v.command(binary, "zone", "thaw", "big.test") // it may have been killed while it was frozen
		v.operate(binary)
	})
	wg.Go(func() {
		c := dns.Client{Net: "tcp", Timeout: 2 * time.Second, TsigSecret: map[string]string{xferKey: xferSecret}}
		conn, err := c.Dial(v.addr.String())
		if err != nil {
			return
		}
		defer conn.Close()
		for {
			name := fmt.Sprintf("u%d.big.test.", v.sent)
			v.sent++
			m := new(dns.Msg).SetUpdate("big.test.")
			m.Insert([]dns.RR{&dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: []byte{192, 0, 2, 1}}})
			m.SetTsig(xferKey, dns.HmacSHA256, 300, time.Now().Unix())
			r, _, err := c.ExchangeWithConn(m, &dns.Conn{Conn: conn.Conn})
			if err != nil {
				return
			}
			if r.Rcode == dns.RcodeSuccess {
				v.mu.Lock()
				v.acknowledged = append(v.acknowledged, name)
				v.mu.Unlock()
			}
		}
	})
	wg.Go(func() {
		for {
			select {
			case <-v.server.Ended():
				return
			case <-time.After(30 * time.Millisecond):
			}
			p.next()
			_ = p.server.Signal(syscall.SIGHUP)
			if s, ok := serialOf(v.addr, "sec.test."); ok {
				v.mu.Lock()
				v.served = max(v.served, s)
				v.mu.Unlock()
			}
		}
	})
	wg.Go(func() {
		for {
			select {
			case <-v.server.Ended():
				return
			case <-time.After(20 * time.Millisecond):
			}
			v.serial++
			v.members = 3 + v.serial%4
			v.write()
			_ = v.server.Signal(syscall.SIGHUP)
		}
	})
	<-v.server.Ended()
	wg.Wait()
}

// A killPrimary is a server that is not killed, with what the victim fetches.
type killPrimary struct {
	t      *testing.T
	dir    string
	addr   netip.AddrPort
	to     netip.AddrPort
	serial int
	server *peers.Server
}

// next writes the next version, and another list of members.
func (p *killPrimary) next() {
	p.serial++
	var b strings.Builder
	fmt.Fprintf(&b, "$TTL 60\n@ SOA ns.invalid. admin.invalid. %d 3600 600 86400 60\n@ NS ns.invalid.\n", p.serial)
	for n := range 200 {
		fmt.Fprintf(&b, "h%d TXT \"%d\"\n", n, p.serial)
	}
	putFile(p.t, p.dir, "sec.zone", b.String())
	b.Reset()
	fmt.Fprintf(&b, "role: authoritative\nlisten: [%q]\nstate_dir: state\nmetrics: {listen: off}\ncontrol: {socket: off}\nlog: {level: error}\npolicy: {rate_limit: {enabled: false}}\nkeys: [{name: xfr, secret: %s}]\nzones:\n", p.addr.String(), xferSecret)
	fmt.Fprintf(&b, "  - {name: sec.test, file: sec.zone, secondaries: [%q], tsig: xfr}\n  - {name: ccat.test, catalog: produce, secondaries: [%[1]q], tsig: xfr}\n", p.to.String())
	members := 2 + p.serial%5
	if p.serial%6 < 2 {
		members += 20 // so many at the same time are kept together
	}
	for n := range members {
		fmt.Fprintf(&b, "  - {name: c%d.test, file: sec.zone, secondaries: [%q], tsig: xfr, in_catalog: ccat.test}\n", n, p.to.String())
	}
	putFile(p.t, p.dir, "port53.yaml", b.String())
}

// TestKills kills a server at moments that are drawn, amid updates, transfers, catalogs,
// commands and reloads, on a healthy disk and on a small one that fills up, and has an
// earlier version take turns if there is one: whatever was acknowledged is there when it runs
// again, what was served and kept is, versions are whole, and nothing unfinished stays
// behind. State of a version still to come is left as it is.
func TestKills(t *testing.T) {
	kills := scale(t, 24)
	if s := os.Getenv(envKills); s != "" {
		var err error
		if kills, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv(envSeed); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	binaries := []string{subjectBinary(t, peers.Port53)}
	if old := os.Getenv(envOld); old != "" {
		binaries = append(binaries, old)
	}
	for _, small := range []bool{false, true} {
		t.Run(map[bool]string{false: "healthy disk", true: "small disk"}[small], func(t *testing.T) {
			t.Logf("%s=%d", envSeed, seed)
			killAgainAndAgain(t, kills/2, small, binaries, rand.New(rand.NewPCG(seed, 0)))
		})
	}
}

func killAgainAndAgain(t *testing.T, kills int, small bool, binaries []string, draw *rand.Rand) {
	p := &killPrimary{t: t, dir: t.TempDir(), addr: freeAddr(t), to: freeAddr(t)}
	v := &victim{t: t, draw: draw, dir: t.TempDir(), addr: p.to, primary: p.addr, labels: map[string]string{}, serial: 1, members: 3}
	putFile(t, v.dir, "big.zone", updateZone)
	state := filepath.Join(v.dir, "state")
	for _, dir := range []string{state, filepath.Join(p.dir, "state")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if small {
		v.disk = newSmallDisk(t, state, "3m")
	}
	p.next()
	var err error
	if p.server, err = peers.Start(t.Context(), peers.Port53, peers.Options{
		Dir: p.dir, Addr: p.addr, Command: []string{binaries[0], "serve", "--config", filepath.Join(p.dir, "port53.yaml")}, Unready: true,
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.server.Stop)
	kept := true
	for round := range kills {
		binary := binaries[draw.IntN(len(binaries))]
		if len(binaries) > 1 && round%25 == 0 { // what the earlier version leaves is taken over
			v.again()
			binary = binaries[1]
		}
		// What comes from the primary would hide what was lost.
		_ = p.server.Signal(syscall.SIGSTOP)
		if draw.IntN(12) == 0 && (!small || v.disk.empty() == nil) {
			v.newer(fmt.Sprintf("round %d, a newer version", round), binary)
		}
		binary = v.start(binary, binaries[0])
		what := fmt.Sprintf("round %d, %s", round, filepath.Base(binary))
		v.verify(what, kept)
		v.clean(what, binaries[0], binary == binaries[0])
		if small {
			_ = v.disk.empty() // before anything comes that is to be kept
		}
		_ = p.server.Signal(syscall.SIGCONT)
		v.served, kept = 0, true // from now on
		var filled sync.WaitGroup
		after := time.Duration(draw.IntN(700)) * time.Millisecond
		if small {
			if draw.IntN(3) > 0 {
				kept = false // as it may not be
				room, wait := draw.IntN(40_000), time.Duration(draw.IntN(300))*time.Millisecond
				filled.Add(1)
				time.AfterFunc(wait, func() {
					defer filled.Done()
					_ = v.disk.fill(room)
				})
				after += wait
			}
		}
		kill := time.AfterFunc(after, func() { _ = v.server.Signal(syscall.SIGKILL) })
		v.change(p, binaries[0])
		kill.Stop()
		filled.Wait()
		v.last = v.server.Tail()
		// What has been acknowledged fills the disk as well.
		if said, err := os.ReadFile(v.server.Log); err != nil || strings.Contains(string(said), "cannot be stored") {
			kept = false
		}
		if small && draw.IntN(2) == 0 {
			time.Sleep(50 * time.Millisecond)
			_ = v.disk.empty() // else it starts with a full disk
		}
	}
	v.kept += len(v.acknowledged)
	t.Logf("%d kills; %d updates sent, %d records to be added by commands, %d acknowledged, %d of these by commands; serial %d fetched",
		kills, v.sent, v.recorded, v.kept, v.done, p.serial)
	t.Logf("files of a newer version met: %d; starts that an earlier version refused: %d", v.newest, v.refused)
	if v.newest == 0 && kills >= 100 {
		t.Error("no state of a newer version was met")
	}
	if v.kept < 2*kills {
		t.Errorf("%d updates were acknowledged: too few to say anything", v.kept)
	}
}

// clean wants nothing unfinished or refused in the state directory of a server that runs.
func (v *victim) clean(what, binary string, newest bool) {
	v.t.Helper()
	var out []byte
	check := func() (err error) {
		out, err = exec.Command(binary, "store", "check", filepath.Join(v.dir, "state")).Output()
		return err
	}
	if err := v.there(check); err != nil {
		v.t.Fatalf("%s: %v\n%s", what, err, out)
	}
	for line := range strings.Lines(string(out)) {
		// What an earlier version does not know stays until the next start of this one.
		if !newest || !strings.Contains(line, ".new: left") {
			continue
		}
		// What is fetched may be being written, and what is served no more is looked after by nobody.
		zone, n := strings.Split(line, "/")[1], 0
		_, fetched := fmt.Sscanf(zone, "c%d.test", &n)
		if _, served := serialOf(v.addr, zone+"."); served && fetched != nil && zone != "sec.test" && zone != "ccat.test" {
			v.t.Errorf("%s: %s", what, line)
		}
	}
}
