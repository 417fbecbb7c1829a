// Package fwrun loads what package firewall writes: it finds the backend of the machine,
// proves rules in a network namespace of their own before they bite, loads them at once,
// compares what is loaded with what should be, and takes it all back.
//
// Rules of others are never written: in nftables port53 has a table of its own, in
// iptables chains of its own and the jumps to them, in ufw rules with its mark.
package fwrun

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"port53/internal/firewall"
)

// A System is the machine whose rules are looked after.
type System struct {
	// State is the directory of what has to be remembered until rules are taken back, over a
	// restart of the machine too. Root loads what is in it, so root alone may be able to
	// change it.
	State string
	// Iptables is the family of programs: iptables, iptables-nft or iptables-legacy. Empty:
	// iptables.
	Iptables string
}

// The errors that say what is missing.
var (
	ErrPrivileges = errors.New("only root can look at the rules of the machine and change them")
	ErrTool       = errors.New("a program is missing")
)

// sbin is where the programs are, also where PATH does not say so.
func sbin() []string { return []string{"/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin", "/bin"} }

// find returns the path of a program.
func find(name, packages string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range sbin() {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w: %s, of the package %s", ErrTool, name, packages)
}

// iptables returns the path of a program of the family: save or restore, for a version.
func (s *System) iptables(six bool, what string) (string, error) {
	name := s.Iptables
	if name == "" {
		name = "iptables"
	}
	if six {
		name = "ip6" + strings.TrimPrefix(name, "ip")
	}
	if what != "" {
		name += "-" + what
	}
	return find(name, "iptables")
}

// A CommandError is a program that did not do what it should.
type CommandError struct {
	Command string
	Output  string
	Err     error
}

func (e *CommandError) Error() string {
	text := strings.TrimSpace(e.Output)
	if text == "" {
		text = e.Err.Error()
	}
	return e.Command + ": " + text
}

func (e *CommandError) Unwrap() error { return e.Err }

// run runs a program and returns what it printed. It is not killed with us: what it has
// begun it ends.
func run(ctx context.Context, stdin string, path string, args ...string) (string, error) {
	return runIn(ctx, nil, stdin, path, args...)
}

func runIn(ctx context.Context, attr *syscall.SysProcAttr, stdin, path string, args ...string) (string, error) {
	if attr == nil {
		attr = &syscall.SysProcAttr{}
	}
	ownSession(attr)
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.SysProcAttr = attr
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), &CommandError{filepath.Base(path) + " " + strings.Join(args, " "), errs.String() + out.String(), err}
	}
	return out.String(), nil
}

// needRoot is an error for everybody but root.
func needRoot() error {
	if os.Geteuid() != 0 {
		return ErrPrivileges
	}
	return nil
}

// Detect returns the backend that the machine uses: ufw where it is enabled, else nftables,
// else iptables. Notes say what a person should know of that.
func (s *System) Detect(ctx context.Context) (b firewall.Backend, notes []string, err error) {
	if path, err := find("ufw", "ufw"); err == nil && needRoot() == nil {
		switch active, err := ufwActive(ctx, path); {
		case err != nil:
			notes = append(notes, "ufw is installed and does not say whether it is enabled: "+err.Error())
		case active:
			return firewall.UFW, notes, nil
		default:
			notes = append(notes, "ufw is installed and disabled: its rules do not count (--backend ufw --enable would enable it)")
		}
	}
	if _, err := find("nft", "nftables"); err == nil {
		return firewall.Nftables, notes, nil
	}
	if _, err := s.iptables(false, "restore"); err == nil {
		return firewall.Iptables, notes, nil
	}
	return "", notes, fmt.Errorf("%w: nft, of the package nftables, or iptables-restore, of the package iptables", ErrTool)
}

func ufwActive(ctx context.Context, path string) (bool, error) {
	out, err := run(ctx, "", path, "status")
	if err != nil {
		return false, err
	}
	return strings.Contains(out, "Status: active"), nil
}

// Test has the backend read the rules without loading them.
func (s *System) Test(ctx context.Context, r *firewall.Rules) error {
	if err := needRoot(); err != nil {
		return err
	}
	switch r.Backend {
	case firewall.Nftables:
		nft, err := find("nft", "nftables")
		if err != nil {
			return err
		}
		_, err = run(ctx, r.Files[0].Text, nft, "-c", "-f", "-")
		return err
	case firewall.Iptables:
		for i, six := range []bool{false, true} {
			restore, err := s.iptables(six, "restore")
			if err != nil {
				return err
			}
			if _, err := run(ctx, r.Files[i].Text, restore, "--test", "--noflush"); err != nil {
				return err
			}
		}
		return nil
	}
	ufw, err := find("ufw", "ufw")
	if err != nil {
		return err
	}
	for _, c := range r.Commands {
		if _, err := run(ctx, "", ufw, append([]string{"--dry-run"}, c[1:]...)...); err != nil {
			return err
		}
	}
	return nil
}

// loaded returns what is loaded of ours, in a form that can be compared and, but for ufw,
// loaded again; empty: nothing.
func (s *System) loaded(ctx context.Context, b firewall.Backend) ([]string, error) {
	switch b {
	case firewall.Nftables:
		nft, err := find("nft", "nftables")
		if err != nil {
			return nil, err
		}
		tables, err := run(ctx, "", nft, "list", "tables")
		if err != nil || !slices.Contains(strings.Split(tables, "\n"), "table inet "+firewall.Table) {
			return []string{""}, err
		}
		text, err := run(ctx, "", nft, "-s", "list", "table", "inet", firewall.Table)
		return []string{withoutDynamic(text)}, err
	case firewall.Iptables:
		var both []string
		for _, six := range []bool{false, true} {
			save, err := s.iptables(six, "save")
			if err != nil {
				return nil, err
			}
			text, err := run(ctx, "", save)
			if err != nil {
				return nil, err
			}
			both = append(both, ours(text))
		}
		return both, nil
	}
	ufw, err := find("ufw", "ufw")
	if err != nil {
		return nil, err
	}
	text, err := run(ctx, "", ufw, "show", "added")
	var lines []string
	for line := range strings.SplitSeq(text, "\n") {
		if strings.Contains(line, "comment '"+firewall.Mark) {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines) // it lists those of IPv6 behind the others
	return []string{strings.Join(lines, "\n")}, err
}

// withoutDynamic leaves out what packets have entered into sets.
func withoutDynamic(table string) string {
	var out []string
	dynamic, skip := false, false
	for line := range strings.SplitSeq(table, "\n") {
		text := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(text, "set "):
			dynamic = false
		case strings.HasPrefix(text, "flags ") && strings.Contains(text, "dynamic"):
			dynamic = true
		case dynamic && strings.HasPrefix(text, "elements = {"):
			skip = true
		}
		if !skip {
			out = append(out, line)
		}
		if skip && strings.HasSuffix(text, "}") {
			skip = false
		}
	}
	return strings.Join(out, "\n")
}

// ours returns the part of what iptables-save prints that is ours, as iptables-restore
// --noflush reads it, the tables in an order of its own.
func ours(saved string) string {
	var b strings.Builder
	for _, table := range ourTables() {
		var lines []string
		inTable(saved, table, func(line string) {
			switch {
			case strings.HasPrefix(line, ":PORT53-"):
				name, _, _ := strings.Cut(line, " ")
				lines = append(lines, name+" - [0:0]")
			case strings.HasPrefix(line, "-A ") && strings.Contains(line, "PORT53-"):
				lines = append(lines, line)
			}
		})
		if len(lines) > 0 {
			b.WriteString("*" + table + "\n" + strings.Join(lines, "\n") + "\nCOMMIT\n")
		}
	}
	return b.String()
}

// ourTables returns the tables of iptables in which there may be chains of ours.
func ourTables() []string { return []string{"raw", "filter", "nat"} }

// jumps returns which jumps to our chains stand in what ours returned.
func jumps(text string) []firewall.Jump {
	var list []firewall.Jump
	table := ""
	for line := range strings.SplitSeq(text, "\n") {
		if name, ok := strings.CutPrefix(line, "*"); ok {
			table = name
		}
		for _, j := range firewall.Jumps() {
			if j.Table == table && (line == "-A "+j.From+" -j "+j.To || line == "-I "+j.From+" 1 -j "+j.To) && !slices.Contains(list, j) {
				list = append(list, j)
			}
		}
	}
	return list
}

// change returns what iptables-restore --noflush makes wanted of what is loaded: both as
// ours returns them, or as rules are written.
func change(loaded, wanted string) string {
	var b strings.Builder
	have, want := jumps(loaded), jumps(wanted)
	for _, table := range ourTables() {
		var lines []string
		for _, j := range have {
			if j.Table == table && !slices.Contains(want, j) {
				lines = append(lines, "-D "+j.From+" -j "+j.To)
			}
		}
		wantChains, haveChains := chains(wanted, table), chains(loaded, table)
		for _, c := range slices.Concat(wantChains, haveChains) { // made, or emptied
			if line := ":" + c + " - [0:0]"; !slices.Contains(lines, line) {
				lines = append(lines, line)
			}
		}
		lines = append(lines, rules(wanted, table)...)
		for _, j := range want {
			if j.Table == table && !slices.Contains(have, j) {
				lines = append(lines, "-I "+j.From+" 1 -j "+j.To)
			}
		}
		for _, c := range haveChains {
			if !slices.Contains(wantChains, c) {
				lines = append(lines, "-X "+c)
			}
		}
		if len(lines) > 0 {
			b.WriteString("*" + table + "\n" + strings.Join(lines, "\n") + "\nCOMMIT\n")
		}
	}
	return b.String()
}

func inTable(text, table string, f func(line string)) {
	now := ""
	for line := range strings.SplitSeq(text, "\n") {
		if name, ok := strings.CutPrefix(line, "*"); ok {
			now = name
		} else if now == table {
			f(line)
		}
	}
}

func chains(text, table string) []string {
	var list []string
	inTable(text, table, func(line string) {
		if name, ok := strings.CutPrefix(line, ":PORT53-"); ok {
			name, _, _ = strings.Cut(name, " ")
			list = append(list, "PORT53-"+name)
		}
	})
	return list
}

// rules returns the rules of our chains.
func rules(text, table string) []string {
	var list []string
	inTable(text, table, func(line string) {
		if strings.HasPrefix(line, "-A PORT53-") {
			list = append(list, line)
		}
	})
	return list
}

// ExpireLater starts this program as a process of its own, which outlives us and takes the
// rules back if nobody confirms them in time.
func ExpireLater(state string, after time.Duration) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, "firewall", "expire", "--state-dir", state, "--after", after.String())
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	ownSession(cmd.SysProcAttr)
	if err := cmd.Start(); err != nil {
		return err
	}
	return cmd.Process.Release()
}
