package conformance_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// envInTime is how often TestZonesInTime looks at each zone, with the limits that hold on a machine that has nothing
// else to do; unset: once at some of them, with six times as long.
const envInTime = "PORT53_IN_TIME"

// TestZonesInTime has sound zones on each kind of server, zones one of whose servers is silent, to all or to most, and one whose
// servers limit their rates: how long each takes, and that the same is said each time.
func TestZonesInTime(t *testing.T) {
	l := newWholeLab(t)
	hosts := unusual{name: "hosts", records: "+"}
	l.unusual(t, 0, &hosts)
	silent := func(_, _ *dns.Msg, _ bool) bool { return false }
	udp := func(_, _ *dns.Msg, tcp bool) bool { return tcp }
	edns := func(q, _ *dns.Msg, _ bool) bool { return q.IsEdns0() == nil }
	list := []struct {
		sibling
		first bool // the first server has the manner, not the second
		limit time.Duration
	}{
		{sibling{name: "sound0"}, false, 2500 * time.Millisecond},
		{sibling{name: "sound1"}, false, 2500 * time.Millisecond},
		{sibling{name: "sound2"}, false, 2500 * time.Millisecond},
		{sibling{name: "signed", signed: true}, false, 2500 * time.Millisecond},
		{sibling{name: "signed3", nsec3: true}, false, 2500 * time.Millisecond},
		{sibling{name: "second", says: silent}, false, 15 * time.Second},
		{sibling{name: "first", says: silent}, true, 15 * time.Second},
		{sibling{name: "signedsecond", says: silent, signed: true}, false, 15 * time.Second},
		{sibling{name: "signedfirst", says: silent, nsec3: true}, true, 15 * time.Second},
		{sibling{name: "noudp", says: udp}, false, 15 * time.Second},
		{sibling{name: "noedns", says: edns}, true, 15 * time.Second},
		{sibling{name: "both", says: silent, both: true}, false, 30 * time.Second},
	}
	limits := map[string]time.Duration{}
	for i := range list {
		x := &list[i]
		x.origin = "time-" + x.name + ".zone."
		l.sibling(t, i, &x.sibling)
		if x.first {
			one, two := l.manners[fmt.Sprintf("5.11.%d.1", i)], l.manners[fmt.Sprintf("6.11.%d.1", i)]
			one["."], one[x.origin] = manner{then: x.says}, manner{then: x.says}
			two["."], two[x.origin] = manner{}, manner{}
		}
		for _, address := range []string{fmt.Sprintf("5.11.%d.1", i), fmt.Sprintf("6.11.%d.1", i)} {
			l.manners[address]["com."] = l.manners[address]["."] // names elsewhere are not answered, either
		}
		limits[x.origin] = x.limit
	}
	l.serve(t)
	runs := numberFrom(t, envInTime, 1)
	slack := time.Duration(1)
	if os.Getenv(envInTime) == "" {
		slack = 6
		maps.DeleteFunc(limits, func(zone string, _ time.Duration) bool {
			return !slices.Contains([]string{"time-sound0.zone.", "time-second.zone.", "time-signedfirst.zone."}, zone)
		})
	}
	first, times := map[string]string{}, map[string][]time.Duration{}
	var mu sync.Mutex
	look := func(run int, zone string) {
		said, took := l.inTime(t, zone)
		mu.Lock()
		defer mu.Unlock()
		times[zone] = append(times[zone], took.Round(10*time.Millisecond))
		if took > slack*limits[zone] {
			t.Errorf("run %d: %s took %v", run+1, zone, took)
		}
		if run == 0 {
			first[zone] = said
		} else if zone == "time-noudp.zone." || zone == "time-noedns.zone." {
			return // who drops one question in two has some left in the time that there is, not the same each time
		} else if unlike := firstUnlike(first[zone], said); unlike != "" {
			t.Errorf("run %d: %s: %s", run+1, zone, unlike)
		}
	}
	for run := range runs {
		var wg sync.WaitGroup
		for zone, limit := range limits {
			if limit > 5*time.Second { // most of it is waiting
				wg.Go(func() { look(run, zone) })
			}
		}
		wg.Wait()
		for zone, limit := range limits {
			if limit < 5*time.Second {
				look(run, zone)
			}
		}
	}
	for _, zone := range slices.Sorted(maps.Keys(times)) {
		t.Logf("%s: %v", zone, times[zone])
	}
}

// inTime checks a zone, and returns what is said of it and its servers, and how long that took.
func (l *wholeLab) inTime(t *testing.T, zone string) (said string, took time.Duration) {
	t.Helper()
	began := time.Now()
	text := output(t, l.ns.Do, l.bin, "check", "--roots", l.hints, "--anchors", l.anchors, "--json", zone)
	took = time.Since(began)
	var d struct {
		Reports []struct {
			Target, Verdict, Problem string
			Checks                   []finding
		}
	}
	if err := json.Unmarshal([]byte(text), &d); err != nil || len(d.Reports) != 3 {
		t.Errorf("%s: %v, %d reports", zone, err, len(d.Reports))
	}
	var lines []string
	for _, r := range d.Reports {
		at, _, _ := strings.Cut(r.Target, " (") // what stands in brackets is not compared
		verdict, _, _ := strings.Cut(r.Verdict, ":")
		lines = append(lines, at+" verdict "+verdict+" "+r.Problem)
		for _, f := range r.Checks {
			// All zones have one BIND behind many addresses, and that answers three questions of class CHAOS a second.
			if f.State != "skipped" && !strings.HasPrefix(f.ID, "ID-") {
				lines = append(lines, at+" "+f.ID+" "+f.State+" "+f.Severity+" ("+f.Detail+")")
			}
		}
	}
	return strings.Join(lines, "\n"), took
}

// TestInterruptedAtServers has check end early, in each form of its report, while one server of a zone is silent: whoever reads the
// report is told, and what it says of the other server stands. What ends by itself is one object, and no check that does not
// apply makes it end with 3.
func TestInterruptedAtServers(t *testing.T) {
	l := newWholeLab(t)
	hosts := unusual{name: "hosts", records: "+"}
	l.unusual(t, 0, &hosts)
	var silent, sound []string
	for i := range 6 { // Knot, NSD and PowerDNS first, BIND and port53 second
		x := sibling{origin: fmt.Sprintf("silent%d.zone.", i), says: func(_, _ *dns.Msg, _ bool) bool { return false }}
		l.sibling(t, i, &x)
		silent = append(silent, x.origin)
		x = sibling{origin: fmt.Sprintf("sound%d.zone.", i)}
		l.sibling(t, 6+i, &x)
		sound = append(sound, x.origin)
	}
	l.serve(t)
	common := []string{"check", "--roots", l.hints, "--anchors", l.anchors}
	marks := []struct{ form, mark string }{
		{"--json", `"interrupted": true`},
		{"--ndjson", `"interrupted":true`},
		{"--sarif", `"executionSuccessful":false`},
		{"--junit", "INTERRUPTED"},
		{"--html", "INTERRUPTED"},
		{"--plain", "interrupted\t"},
		{"--nmap", "INTERRUPTED"},
		{"--color=never", "INTERRUPTED"},
	}
	var wg sync.WaitGroup
	for i, x := range marks {
		wg.Go(func() {
			file := filepath.Join(l.dir, "report"+x.form)
			ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
			defer cancel()
			cmd := exec.CommandContext(ctx, l.bin, append(slices.Clone(common), x.form, "--output", file, silent[i%len(silent)])...)
			var complaints bytes.Buffer
			cmd.Stderr = &complaints
			if err := l.ns.Do(cmd.Start); err != nil {
				t.Error(err)
				return
			}
			time.Sleep(3 * time.Second) // of the ten that it takes: nothing tells that it has begun
			_ = cmd.Process.Signal(syscall.SIGINT)
			_ = cmd.Wait()
			code := cmd.ProcessState.ExitCode()
			text, err := os.ReadFile(file)
			if code == 0 || code == 2 || err == nil && !strings.Contains(strings.ReplaceAll(string(text), `"executionSuccessful": false`, `"executionSuccessful":false`), x.mark) {
				t.Errorf("%s: exit code %d, %v, not marked:\n%.400s\n%s", x.form, code, err, text, complaints.String())
			}
			if err != nil && !strings.Contains(complaints.String(), "interrupted") {
				t.Errorf("%s: %v, and only %q is said", x.form, err, complaints.String())
			}
		})
	}
	for _, zone := range sound {
		wg.Go(func() {
			var d struct {
				Schema  string
				Reports []struct{ Checks []finding }
			}
			cmd := exec.CommandContext(t.Context(), l.bin, append(slices.Clone(common), "--json", zone)...)
			var out bytes.Buffer
			cmd.Stdout = &out
			if err := l.ns.Do(cmd.Start); err != nil {
				t.Error(err)
				return
			}
			_ = cmd.Wait()
			code := cmd.ProcessState.ExitCode()
			// Fourteen of them run at the same time: that something could not be measured in time is said, and no fault.
			if err := json.Unmarshal(out.Bytes(), &d); err != nil || len(d.Reports) != 3 || d.Schema == "" || code != 0 && code != 3 {
				t.Errorf("%s: exit code %d, %v, %d reports, schema %q", zone, code, err, len(d.Reports), d.Schema)
			}
		})
	}
	wg.Wait()
}
