package app

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/config"
	"port53/internal/event"
	"port53/internal/top"
	"port53/internal/wire"
)

// TestLearnedEachMinute has the file written, and read again, within a minute of what has changed, and the log say once
// what happens: that it is learned, until when, and that the time is over; that the file was edited or removed, cannot be
// read or written, and is in use again.
func TestLearnedEachMinute(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, LearnedFile)
	file := filepath.Join(dir, "port53.yaml")
	put := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(file, "role: internal-resolver\nstate_dir: .\npolicy: {tunnel: {learn: {period: 7d}}}\n")
	c, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		log := slog.New(slog.NewTextHandler(&logged, nil))
		a := &App{log: log, kept: kept{state: newState(dir, log)}}
		a.added.path = dir
		defer a.added.close()
		if err := a.state.take(); err != nil {
			t.Fatal(err)
		}
		defer a.state.close()
		var cancel context.CancelFunc
		a.ctx, cancel = context.WithCancel(t.Context())
		defer cancel()
		a.followLearning(c)
		go a.watchLearned()
		says := func(times int, text string) (all string) {
			t.Helper()
			a.reloading.Lock() // it is held by whoever logs
			defer a.reloading.Unlock()
			all = logged.String()
			if n := strings.Count(all, text); n != times {
				t.Errorf("%q is logged %d times, want %d:\n%s", text, n, times, all)
			}
			logged.Reset()
			return all
		}
		minutes := func(n int) {
			time.Sleep(time.Duration(n)*learnedTime + time.Second)
			synctest.Wait()
		}
		says(1, "learning which domains look like tunnels but are not")
		watch := top.NewTunnels(top.TunnelOptions{Action: top.TunnelWatch, Learned: a.watch.learning.Learned})
		for day := range 3 {
			for i := range 3 * 60 {
				name, _ := wire.ParseName(fmt.Sprintf("%s%d.%s%d.t.busy.example", strings.Repeat("a", 50), i, strings.Repeat("b", 50), day))
				client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i % 3)}), 53)
				watch.Take(&event.Record{Path: event.Miss, Remote: client, Time: time.Now().UnixNano(), Type: wire.TypeTXT, Name: name, Reply: 300})
			}
			if day < 2 {
				says(0, "learned")
				time.Sleep(24 * time.Hour)
			}
		}
		says(1, "level=WARN msg=\"many clients look like a tunnel to this domain: it is not reported or blocked any more; "+
			"port53 tunnel reject undoes this\" domain=busy.example. days=3 clients=3")
		minutes(3)
		says(0, "learn")
		if _, err := a.watch.learning.Judge("cdn.example", true, time.Now()); err != nil {
			t.Fatal(err)
		}
		minutes(1)
		good, _ := os.ReadFile(path)
		if !strings.Contains(string(good), "accepted cdn.example.") {
			t.Errorf("the file has\n%s", good)
		}
		put(path, string(good)+"accepted more.example\n")
		minutes(3)
		says(1, "was edited")
		if n := len(a.watch.learning.Report(time.Now()).Domains); n != 3 {
			t.Errorf("%d domains are known", n)
		}
		put(path, "spoiled")
		minutes(3)
		says(1, "cannot read the file of learned domains")
		put(path, string(good))
		minutes(3)
		says(1, "is in use again")
		if err := os.MkdirAll(path+".new/full", 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := a.watch.learning.Judge("late.example", true, time.Now()); err != nil {
			t.Fatal(err)
		}
		minutes(3)
		says(1, "cannot write the file of learned domains")
		if err := os.RemoveAll(path + ".new"); err != nil {
			t.Fatal(err)
		}
		minutes(3)
		says(1, "is in use again")
		if text, _ := os.ReadFile(path); !strings.Contains(string(text), "accepted late.example.") {
			t.Errorf("the file has\n%s", text)
		}
		time.Sleep(7 * 24 * time.Hour)
		minutes(3)
		if text := says(1, "has ended"); !strings.Contains(text, " domains=3\n") {
			t.Errorf("%s", text)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		minutes(3)
		text := says(1, "was removed: learning begins again")
		if strings.Count(text, "learning which domains look like tunnels but are not") != 1 {
			t.Errorf("%s", text)
		}
		a.state.close() // another server may have it now
		if _, err := a.watch.learning.Judge("cdn.example", true, time.Now()); err != nil {
			t.Fatal(err)
		}
		minutes(1)
		says(1, errNotTaken.Error())
		if text, _ := os.ReadFile(path); strings.Contains(string(text), "cdn.example") {
			t.Error("the file of another server was written")
		}
	})
}

// TestLearnedWithoutRoom has what is learned last in memory where nothing can be written from the first, and where there is
// no directory; a server that learns nothing is not bothered.
func TestLearnedWithoutRoom(t *testing.T) {
	for what, spoil := range map[string]func(t *testing.T, dir string){
		"a full disk": func(t *testing.T, dir string) {
			if err := os.MkdirAll(filepath.Join(dir, LearnedFile+".new", "full"), 0o700); err != nil {
				t.Fatal(err)
			}
		},
		"no directory": func(t *testing.T, dir string) {
			if err := os.Remove(dir); err != nil {
				t.Fatal(err)
			}
		},
	} {
		dir := filepath.Join(t.TempDir(), "state")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		spoil(t, dir)
		c := &config.Config{Role: config.RoleInternalResolver}
		c.Policy.Tunnel = config.TunnelWatch{Action: "watch", Learn: config.Learning{Period: time.Hour, Clients: 2, Days: 1}}
		log := slog.New(slog.DiscardHandler)
		a := &App{log: log, kept: kept{state: newState(dir, log)}}
		a.added.path = dir
		a.syncLearned() // which has nothing to do
		if what == "a full disk" {
			if err := a.state.take(); err != nil {
				t.Fatal(err)
			}
		}
		a.followLearning(c)
		if _, err := a.watch.learning.Judge("cdn.example", true, time.Now()); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			a.syncLearned()
		}
		if r := a.watch.learning.Report(time.Now()); len(r.Domains) != 1 || !r.Active || r.Error == "" {
			t.Errorf("%s: %+v", what, r)
		}
		a.state.close()
		a.added.close()
	}
}
