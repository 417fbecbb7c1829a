package conformance_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A drilled is what a drill reports.
type drilled struct {
	Drill   string
	Held    bool
	Figures []drillFigure
}

type drillFigure struct {
	Name, Unit   string
	Value, Limit float64
	AtLeast      bool `json:"at_least"`
}

// holds reports whether a value is within the figure's limit.
func (f drillFigure) holds(v float64) bool {
	return f.Limit < 0 || v == f.Limit || v > f.Limit == f.AtLeast
}

// runDrills runs drills with a configuration, and returns what they report by name. It leaves nothing.
func runDrills(t *testing.T, yaml string, exit int, names ...string) map[string]drilled {
	t.Helper()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	dir, temporary := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{"port53.yaml": yaml, "test.zone": "$TTL 60\n@ SOA ns admin 1 2 3 4 5\n@ NS ns\nns A 192.0.2.53\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(bin, append([]string{"drill", "--json", "--time", "1s", "--config", filepath.Join(dir, "port53.yaml")}, names...)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+temporary)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run()
	if strings.Contains(errs.String(), "a network namespace cannot be made") {
		missing(t, errNamespaces(errs.String()))
	}
	if got := cmd.ProcessState.ExitCode(); got != exit {
		t.Fatalf("exit code %d, want %d\n%s%s", got, exit, out.String(), errs.String())
	}
	if left, _ := os.ReadDir(temporary); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	// The group is empty: no process is left.
	if err := syscall.Kill(-cmd.Process.Pid, 0); err != syscall.ESRCH {
		t.Errorf("processes are left: %v", err)
	}
	var list []drilled
	if out.Len() > 0 {
		if err := json.Unmarshal(out.Bytes(), &list); err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
	}
	all := map[string]drilled{}
	for _, d := range list {
		all[d.Drill] = d
	}
	return all
}

type errNamespaces string

func (e errNamespaces) Error() string { return string(e) }

func (d drilled) find(name string) (drillFigure, bool) {
	for _, f := range d.Figures {
		if f.Name == name {
			return f, true
		}
	}
	return drillFigure{Value: -1}, false
}

func (d drilled) figure(name string) float64 {
	f, _ := d.find(name)
	return f.Value
}

// TestDrills has a server with the defaults hold in every drill, and one with other limits be told so: what is
// attacked has the limits of the configuration.
func TestDrills(t *testing.T) {
	t.Run("defaults", func(t *testing.T) {
		t.Parallel()
		begun := time.Now()
		all := runDrills(t, "role: internal-resolver\n", 0, "all")
		if took := time.Since(begun); took > time.Minute {
			t.Errorf("it took %s", took)
		}
		for _, name := range []string{"nxns", "keytrap", "flood", "poison", "tunnel", "slowtcp", "axfr"} {
			if d := all[name]; !d.Held || d.figure("others answered") < 90 {
				t.Errorf("%s: %+v", name, d)
			}
		}
		// As the resolver's own tests have it: six addresses of name servers are looked up for a question.
		if n := all["nxns"].figure("packets to the victim for a question"); n < 5 || n > 8 {
			t.Errorf("nxns: %v packets for a question, want some 6", n)
		}
		if n := all["slowtcp"].figure("still open at the end, of one address"); n != 20 {
			t.Errorf("slowtcp: %v connections of one address, want 20", n)
		}
	})
	t.Run("other limits", func(t *testing.T) {
		t.Parallel()
		all := runDrills(t, "role: internal-resolver\npolicy: {tunnel: {action: off}}\ntcp: {per_client: 300, per_network: 400}\n"+
			"resolver: {limits: {glueless: 2}}\n", 1, "tunnel", "slowtcp", "nxns")
		if all["tunnel"].Held || all["slowtcp"].Held {
			t.Errorf("%+v", all)
		}
		if n := all["nxns"].figure("packets to the victim for a question"); n > 4 {
			t.Errorf("nxns: %v packets for a question with a limit of 2", n)
		}
	})
	t.Run("authoritative", func(t *testing.T) {
		t.Parallel()
		const yaml = "role: authoritative\nzones: [{name: test, file: test.zone}]\n"
		all := runDrills(t, yaml, 0, "all")
		if len(all) != 3 || !all["flood"].Held || !all["axfr"].Held || all["flood"].figure("octets back for each sent") > 1 {
			t.Errorf("%+v", all)
		}
		runDrills(t, yaml, 2, "nxns")
	})
}
