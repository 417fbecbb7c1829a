package fwrun

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"port53/internal/firewall"
	"port53/internal/securepath"
)

// A record is what is remembered of an apply, to take it back.
type record struct {
	Backend  firewall.Backend `json:"backend"`
	Iptables string           `json:"iptables,omitempty"`
	Before   []string         `json:"before"`             // what was loaded of ours
	Commands [][]string       `json:"commands,omitempty"` // of ufw, that were applied,
	Earlier  [][]string       `json:"earlier,omitempty"`  // and before
	Made     []string         `json:"made,omitempty"`     // tables that iptables made for us
	Profile  bool             `json:"profile,omitempty"`  // of ufw
	Enabled  bool             `json:"enabled,omitempty"`  // ufw, by us
	Until    time.Time        `json:"until,omitzero"`     // it is taken back then, unless it was confirmed
}

const (
	recordName = "applied.json"
	recordLine = "port53 firewall 1\n" // begins it; earlier versions wrote no line
	stateMode  = 0o700
	fileMode   = 0o600
)

// openState opens the directory of what is remembered, and makes it if it is not there. What
// is in it is loaded by root: nobody else may be able to change it.
func (s *System) openState(open func(path string) (*securepath.Dir, error)) (*securepath.Dir, error) {
	d, err := open(s.State)
	if err != nil {
		return nil, fmt.Errorf("state of the firewall: %w", err)
	}
	if err := d.Exclusive(); err != nil {
		d.Close()
		return nil, fmt.Errorf("state of the firewall, which root acts on: %w", err)
	}
	return d, nil
}

// withState has f use the directory of what is remembered, which is made if it is not there.
func (s *System) withState(f func(d *securepath.Dir) error) error {
	d, err := s.openState(func(path string) (*securepath.Dir, error) {
		d, _, err := securepath.Make(path, stateMode)
		return d, err
	})
	if err != nil {
		return err
	}
	defer d.Close()
	return f(d)
}

// readRecord returns what is remembered of the last apply; nil: nothing was applied.
func (s *System) readRecord() (*record, error) {
	d, err := s.openState(securepath.Open)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // nothing was applied
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	text, err := d.Read(recordName)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // nothing was applied
	}
	if err != nil {
		return nil, err
	}
	r := &record{}
	text, ok := bytes.CutPrefix(text, []byte(recordLine))
	if !ok && bytes.HasPrefix(text, []byte("port53 ")) {
		line, _, _ := bytes.Cut(text, []byte{'\n'})
		return nil, fmt.Errorf(
			"%s: it begins with %.40q, not with %q as what this version of port53 reads",
			filepath.Join(s.State, recordName),
			line,
			recordLine[:len(recordLine)-1],
		)
	}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(s.State, recordName), err)
	}
	return r, nil
}

func (s *System) writeRecord(r *record) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return s.withState(func(d *securepath.Dir) error {
		return d.Write(recordName, slices.Concat([]byte(recordLine), text, []byte{'\n'}), fileMode)
	})
}

// forget removes files of what is remembered.
func (s *System) forget(names ...string) error {
	d, err := s.openState(securepath.Open)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	for _, name := range names {
		if err := d.Remove(name); err != nil {
			return err
		}
	}
	return nil
}

// maxParents is how many processes above ours are asked for the session.
const maxParents = 16

// Session returns SSH_CONNECTION of this process, or of the nearest one above it that has
// it: sudo leaves it out.
func Session() string {
	const name = "SSH_CONNECTION="
	if text := os.Getenv(strings.TrimSuffix(name, "=")); text != "" {
		return text
	}
	pid := os.Getppid()
	for range maxParents {
		environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err != nil {
			return ""
		}
		for variable := range strings.SplitSeq(string(environ), "\x00") {
			if text, ok := strings.CutPrefix(variable, name); ok && text != "" {
				return text
			}
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if err != nil || len(fields) < 2 {
			return ""
		}
		if pid, err = strconv.Atoi(fields[1]); err != nil || pid <= 1 {
			return ""
		}
	}
	return ""
}

// CheckSSH returns an error if the rules would cut the connection that SSH_CONNECTION
// describes.
func CheckSSH(p *firewall.Plan, connection string) error {
	fields := strings.Fields(connection)
	if len(fields) != 4 {
		return nil
	}
	client, err1 := netip.ParseAddr(fields[0])
	server, err2 := netip.ParseAddr(fields[2])
	if err1 != nil || err2 != nil {
		return nil // it is no connection
	}
	here := func(port firewall.Port) bool { return port.Proto == "tcp" && fmt.Sprint(port.Number) == fields[3] }
	if slices.ContainsFunc(p.Closed, here) ||
		slices.ContainsFunc(p.Ports, here) && p.Decide(client.Unmap(), server.Unmap()) != firewall.Answered {
		return fmt.Errorf(
			"the rules would cut off this very session, from %s to port %s: allow that address, or come another way",
			client,
			fields[3],
		)
	}
	return nil
}

// sshAllowed is an error if nothing in the rules of ufw lets the session in.
func sshAllowed(added, connection string) error {
	fields := strings.Fields(connection)
	if len(fields) != 4 {
		return nil
	}
	port := fields[3]
	for line := range strings.SplitSeq(added, "\n") {
		words := strings.Fields(line)
		if len(words) < 3 || words[1] != "allow" && words[1] != "limit" || slices.Contains(words, "out") {
			continue
		}
		if slices.Contains(words, port) || slices.Contains(words, port+"/tcp") ||
			port == "22" && (slices.Contains(words, "ssh") || slices.Contains(words, "OpenSSH") || slices.Contains(words, "SSH")) {
			return nil
		}
	}
	return fmt.Errorf("enabling ufw would cut off this very session, to port %s: ufw allow %[1]s/tcp first", port)
}

// Apply makes the rules those that are loaded, at once or not at all. With confirm, they
// are taken back when that time is over, unless Confirm is called: arm has to start what
// calls Expire, before anything is loaded. What was loaded before rules that nobody has confirmed yet is what is
// gone back to. changed is false if they were loaded already.
func (s *System) Apply(
	ctx context.Context,
	r *firewall.Rules,
	confirm time.Duration,
	enable bool,
	arm func() error,
) (changed bool, err error) {
	if err := needRoot(); err != nil {
		return false, err
	}
	if err := s.Test(ctx, r); err != nil {
		return false, fmt.Errorf("the rules are not accepted, and nothing was changed: %w", err)
	}
	before, err := s.loaded(ctx, r.Backend)
	if err != nil {
		return false, err
	}
	wanted, err := s.canonical(ctx, r)
	if err != nil {
		return false, err
	}
	old, err := s.readRecord()
	if err != nil {
		return false, err
	}
	if old != nil && old.Backend != r.Backend {
		return false, fmt.Errorf("rules for %s are loaded: port53 firewall remove takes them back first", old.Backend)
	}
	if slices.Equal(before, wanted) && old != nil && old.Until.IsZero() && confirm == 0 {
		return false, nil
	}
	rec := &record{Backend: r.Backend, Iptables: s.Iptables, Before: before}
	if old != nil {
		rec.Made, rec.Profile, rec.Enabled, rec.Earlier = old.Made, old.Profile, old.Enabled, old.Commands
		if !old.Until.IsZero() {
			rec.Before, rec.Earlier = old.Before, old.Earlier
		}
	}
	rec.Commands = r.Commands
	remember := func() error {
		if confirm > 0 {
			rec.Until = time.Now().Add(confirm + loadTime)
		}
		if err := s.writeRecord(rec); err != nil || confirm == 0 {
			return err
		}
		err := arm()
		if err == nil {
			return nil
		}
		// Nothing was loaded: what was remembered holds.
		err = fmt.Errorf("nobody could be charged with taking the rules back, and nothing was changed: %w", err)
		if old != nil {
			return errors.Join(err, s.writeRecord(old))
		}
		return errors.Join(err, s.forget(recordName))
	}
	switch r.Backend {
	case firewall.Nftables:
		if err = remember(); err == nil {
			var nft string
			if nft, err = find("nft", "nftables"); err == nil {
				_, err = run(ctx, r.Files[0].Text, nft, "-f", "-")
			}
		}
	case firewall.Iptables:
		err = s.applyIptables(ctx, r, rec, remember)
	default:
		err = s.applyUFW(ctx, r, rec, enable, remember)
	}
	if err == nil && confirm > 0 {
		rec.Until = time.Now().Add(confirm) // from now on, however long loading took
		err = s.writeRecord(rec)
	}
	return err == nil, err
}

// loadTime is how long loading may take: ufw takes a while for each rule.
const loadTime = time.Minute

func (s *System) applyIptables(ctx context.Context, r *firewall.Rules, rec *record, remember func() error) error {
	tables, err := s.tables(ctx)
	if err != nil {
		return err
	}
	if err := remember(); err != nil {
		return err
	}
	wanted := []string{r.Files[0].Text, r.Files[1].Text}
	loaded, err := s.loaded(ctx, firewall.Iptables)
	if err == nil {
		err = s.swap(ctx, loaded, wanted)
	}
	if err != nil {
		return err
	}
	s.dropMade(ctx, rec)
	after, err := s.tables(ctx)
	if err != nil {
		return err
	}
	for _, t := range after {
		if !slices.Contains(tables, t) && !slices.Contains(rec.Made, t) {
			rec.Made = append(rec.Made, t)
		}
	}
	return s.writeRecord(rec)
}

// changeFiles are the files of what swap loads: IPv4, IPv6, and IPv4 as it was.
func changeFiles() []string { return []string{"to.v4", "to.v6", "back.v4"} }

// swap makes wanted of what is loaded, in one shell that goes on without us: IPv4 goes back
// if IPv6 fails.
func (s *System) swap(ctx context.Context, loaded, wanted []string) error {
	texts := []string{change(loaded[0], wanted[0]), change(loaded[1], wanted[1]), change(wanted[0], loaded[0])}
	err := s.withState(func(d *securepath.Dir) error {
		for i, name := range changeFiles() {
			if err := d.Write(name, []byte(texts[i]), fileMode); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	four, err := s.iptables(false, "restore")
	if err != nil {
		return err
	}
	six, err := s.iptables(true, "restore")
	if err != nil {
		return err
	}
	// By its path: only root can make it lead elsewhere.
	script := `cd "$1" && "$2" --wait --noflush < to.v4 && ` +
		`{ "$3" --wait --noflush < to.v6 || { "$2" --wait --noflush < back.v4; exit 1; }; }`
	_, err = run(ctx, "", "/bin/sh", "-c", script, "sh", s.State, four, six)
	return err
}

// tables returns the tables of nftables, where iptables makes such.
func (s *System) tables(ctx context.Context) ([]string, error) {
	nft, err := find("nft", "nftables")
	if err != nil {
		return nil, nil // then iptables is the old one
	}
	out, err := run(ctx, "", nft, "list", "tables")
	return strings.Split(strings.TrimSpace(out), "\n"), err
}

func (s *System) applyUFW(ctx context.Context, r *firewall.Rules, rec *record, enable bool, remember func() error) error {
	ufw, err := find("ufw", "ufw")
	if err != nil {
		return err
	}
	active, err := ufwActive(ctx, ufw)
	if err != nil {
		return err
	}
	if !active && !enable {
		return errors.New(
			"ufw is disabled, and its rules would not count: --enable enables it, which cuts off all that its other " +
				"rules do not allow (allow ssh first)",
		)
	}
	if !active {
		added, err := run(ctx, "", ufw, "show", "added")
		if err == nil {
			err = sshAllowed(added, Session())
		}
		if err != nil {
			return err
		}
	}
	if err := s.foreignFirst(ctx, ufw, r); err != nil {
		return err
	}
	rec.Profile, rec.Enabled = true, rec.Enabled || !active
	if err := remember(); err != nil {
		return err
	}
	loaded, err := s.loaded(ctx, firewall.UFW)
	if err == nil {
		err = s.swapUFW(ctx, ufw, loaded[0], r.Commands, r.Files[0].Text)
	}
	if err != nil {
		return err
	}
	if !active {
		_, err = run(ctx, "", ufw, "--force", "enable")
	}
	return err
}

// foreignFirst is an error if somebody else's rule for our ports comes before ours.
func (s *System) foreignFirst(ctx context.Context, ufw string, r *firewall.Rules) error {
	text, err := run(ctx, "", ufw, "show", "added")
	if err != nil {
		return err
	}
	for line := range strings.SplitSeq(text, "\n") {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "ufw" || strings.Contains(line, firewall.Mark) || slices.Contains(fields, "out") {
			continue
		}
		for _, port := range []string{"53", "53/udp", "53/tcp", "DNS"} {
			if slices.Contains(fields, port) {
				return fmt.Errorf("ufw has a rule of its own for port 53, which would come first: %q; delete it (ufw delete ...)", line)
			}
		}
	}
	return nil
}

// profileFile is where ufw reads of applications.
const profileFile = "/etc/ufw/applications.d/port53"

// deletes returns the commands that take rules out, as ufw show added prints them.
func deletes(loaded string) string {
	script := ""
	for line := range strings.SplitSeq(loaded, "\n") {
		if rule, ok := strings.CutPrefix(line, "ufw "); ok {
			rule, _, _ = strings.Cut(rule, " comment ")
			script += "ufw --force delete " + rule + "\n"
		}
	}
	return script
}

// swapUFW takes our rules out and adds those that are wanted, in one shell that goes on
// without us.
func (s *System) swapUFW(ctx context.Context, ufw, loaded string, wanted [][]string, profile string) error {
	script := "set -e\n" + deletes(loaded)
	for _, c := range wanted {
		script += firewall.Shell(c) + "\n"
	}
	if profile != "" {
		if err := os.WriteFile(profileFile, []byte(profile), 0o644); err != nil {
			return err
		}
	} else if err := os.Remove(profileFile); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	_, err := run(ctx, "", "/bin/sh", "-c", `PATH="$1:$PATH"`+"\n"+script, "sh", filepath.Dir(ufw))
	return err
}

// Remove takes all of ours away.
func (s *System) Remove(ctx context.Context) (removed bool, err error) {
	return s.back(ctx, func(r *record) []string {
		if r.Backend == firewall.Iptables {
			return []string{"", ""}
		}
		return []string{""}
	})
}

// back makes what to returns loaded, and forgets the apply.
func (s *System) back(ctx context.Context, to func(r *record) []string) (bool, error) {
	if err := needRoot(); err != nil {
		return false, err
	}
	r, err := s.readRecord()
	if err != nil {
		return false, err
	}
	if r == nil {
		if r = s.orphan(ctx); r == nil {
			return false, nil
		}
	}
	s.Iptables = r.Iptables
	loaded, err := s.loaded(ctx, r.Backend)
	if err != nil {
		return false, err
	}
	wanted := to(r)
	whole := strings.Join(wanted, "") == ""
	switch r.Backend {
	case firewall.Nftables:
		nft, err := find("nft", "nftables")
		if err != nil {
			return false, err
		}
		// Made if it is not there, so that it can be deleted, and filled as it was.
		text := fmt.Sprintf("table inet %s\ndelete table inet %[1]s\n%s\n", firewall.Table, wanted[0])
		if _, err := run(ctx, text, nft, "-f", "-"); err != nil {
			return false, err
		}
	case firewall.Iptables:
		if err := s.swap(ctx, loaded, wanted); err != nil {
			return false, err
		}
		s.dropMade(ctx, r)
	case firewall.UFW:
		ufw, err := find("ufw", "ufw")
		if err != nil {
			return false, err
		}
		profile := ""
		if whole {
			r.Earlier = nil
		} else {
			text, err := os.ReadFile(profileFile)
			if err != nil {
				return false, err
			}
			profile = string(text)
		}
		// What ufw prints is not in the order in which its rules count.
		if err := s.swapUFW(ctx, ufw, loaded[0], r.Earlier, profile); err != nil {
			return false, err
		}
		r.Commands, r.Earlier = r.Earlier, nil
		if whole && r.Enabled {
			if _, err := run(ctx, "", ufw, "disable"); err != nil {
				return false, err
			}
		}
	}
	if !whole {
		r.Until = time.Time{}
		return true, s.writeRecord(r)
	}
	return true, s.forget(append(changeFiles(), recordName)...)
}

// orphan returns a record of rules that are loaded though nothing is remembered of them,
// or nil.
func (s *System) orphan(ctx context.Context) *record {
	for _, b := range firewall.Backends() {
		if loaded, err := s.loaded(ctx, b); err == nil && strings.Join(loaded, "") != "" {
			return &record{Backend: b, Iptables: s.Iptables}
		}
	}
	return nil
}

// dropMade deletes the tables that iptables made in nftables for our chains, if nobody has
// put a rule into them since.
func (s *System) dropMade(ctx context.Context, r *record) {
	nft, err := find("nft", "nftables")
	if err != nil {
		return
	}
	for _, t := range r.Made {
		words := strings.Fields(t) // table ip raw
		if len(words) != 3 || words[1] != "ip" && words[1] != "ip6" {
			continue
		}
		text, err := run(ctx, "", nft, "-s", "list", "table", words[1], words[2])
		if err != nil || strings.Contains(text, "policy drop") {
			continue
		}
		empty := true
		for line := range strings.SplitSeq(text, "\n") {
			line = strings.TrimSpace(line)
			empty = empty &&
				(line == "" || line == "}" || strings.HasPrefix(line, "table ") || strings.HasPrefix(line, "chain ") ||
					strings.HasPrefix(line, "type ") || strings.HasPrefix(line, "#"))
		}
		if empty {
			_, _ = run(ctx, "", nft, "delete", "table", words[1], words[2]) // it is empty: nothing depends on it
		}
	}
}

// Confirm says that the rules are to stay.
func (s *System) Confirm() error {
	if err := needRoot(); err != nil {
		return err
	}
	r, err := s.readRecord()
	switch {
	case err != nil:
		return err
	case r == nil || r.Until.IsZero():
		return errors.New("there is nothing to confirm")
	}
	r.Until = time.Time{}
	return s.writeRecord(r)
}

// Expire waits until the time to confirm is over, and puts back what was loaded before if
// nobody has. It may be called before Apply, with the time that this is given: then it
// waits for as long.
func (s *System) Expire(ctx context.Context, after time.Duration) (back bool, err error) {
	wait := after
	for {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return false, ctx.Err()
		case <-timer.C:
		}
		r, err := s.readRecord()
		if err != nil || r == nil || r.Until.IsZero() {
			return false, err
		}
		// It may be sooner than it says, once the rules are loaded.
		if wait = min(time.Until(r.Until), time.Second); wait <= 0 {
			return s.back(ctx, func(r *record) []string { return r.Before })
		}
	}
}
