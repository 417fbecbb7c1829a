package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"port53/internal/config"
	"port53/internal/hosts"
	"port53/internal/netif"
	"port53/internal/server"
	"port53/internal/top"
	"port53/internal/zones"
)

// A CheckResult is what there is to say of a configuration that a server could start with.
type CheckResult struct {
	Zones      []zones.Status // as the server would have them
	Precedence []string       // which of zones, forwards, stubs and names wins where they overlap
	Notes      []string       // what the server would log, and serve all the same
}

// Check finds out what a server of c would do and say, without serving, and without
// disturbing one that runs: it looks for the user, tries the addresses, reads the files and
// loads the zones. The error is why it would not start.
//
// With becoming, a process that root started becomes the user that c names, for good: what
// the server reads at its start and at each reload is read as that user.
func Check(ctx context.Context, c *config.Config, becoming bool) (*CheckResult, error) {
	r := &CheckResult{}
	who, err := lookUp(c)
	if err != nil {
		return nil, err
	}
	a := &App{}
	g, err := a.build(nil, c)
	if err != nil {
		return nil, err
	}
	if err := r.tryAddresses(c); err != nil {
		return nil, err
	}
	if err := stateIsDirectory(c.StateDir); err != nil {
		return nil, err
	}
	r.lookAtState(c, who)
	r.lookAtControl(c.Control.Socket)
	if becoming && who != nil && os.Geteuid() == 0 {
		if err := a.become(who); err != nil {
			return nil, err
		}
		if err := who.mayRead(c); err != nil {
			return nil, err
		}
	}
	if err := mayAppend(c.Log.QueriesFile); err != nil {
		return nil, err
	}
	if c, err = r.lookAtAdded(c, g); err != nil {
		return nil, err
	}
	for _, n := range g.networks.left {
		r.note("clients in %s, a public network of this host, are refused: to allow them, list that network: resolver: {allow: […]}", n)
	}
	for _, zone := range unexcepted(c) {
		r.note(
			"names in %s fail whenever the root servers cannot be reached, because the public DNS must prove that the "+
				"zone is unsigned: if it is a private zone, exempt it: resolver: {negative_trust_anchors: [{name: %s}]}",
			zone,
			zone,
		)
	}
	if list := unvalidated(c); c.Recurses() && len(list) > 0 {
		r.note("zones with a permanent negative trust anchor are not validated: %s", strings.Join(list, ", "))
	}
	r.lookAtLearned(c)
	all, err := netif.List()
	if err != nil {
		return nil, err
	}
	for _, risk := range risks(c, all) {
		r.note("%s", risk)
	}
	r.Precedence = c.Precedence()
	if c.Recurses() {
		for _, n := range hosts.Read(hostSources(c, nil), time.Now()).Notes {
			r.note("%s", n)
		}
	}
	m := zones.New(zones.Options{})
	for i := range g.sources {
		g.sources[i].Signer = nil // it makes keys, and keeps their states
	}
	if _, err := m.Load(ctx, g.sources, nil); err != nil {
		return nil, err
	}
	r.Zones = m.Status()
	return r, nil
}

// lookAtAdded returns c with the zones that were added to the server that runs, for g to load.
// Whoever may not look into the state directory is told so.
func (r *CheckResult) lookAtAdded(c *config.Config, g *generation) (*config.Config, error) {
	more, err := WithAdded(c)
	var wrong config.Errors
	switch {
	case errors.As(err, &wrong):
		return nil, err
	case err != nil:
		r.note("%v: they are not checked", err)
		return c, nil
	}
	if n := len(more.Zones) - len(c.Zones); n > 0 {
		r.note("%d zones were added with port53 zone add and are stored in %s", n, filepath.Join(c.StateDir, AddedFile))
	}
	return more, g.enlarge(more, signingRoom{})
}

// lookAtLearned reads the file of domains that look like tunnels, as a start does.
func (r *CheckResult) lookAtLearned(c *config.Config) {
	if !c.Learns() {
		return
	}
	path := filepath.Join(c.StateDir, LearnedFile)
	text, err := os.ReadFile(path)
	if err == nil {
		_, _, err = top.CountLearned(text)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.note("%s: %v: no domain is learned, and what was learned does not count", path, err)
	}
}

func (r *CheckResult) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// tryAddresses tries to bind what the server would listen on. What a port53 has that runs is
// taken for the server's own, and what only root may bind is not tried by others.
func (r *CheckResult) tryAddresses(c *config.Config) error {
	addrs := c.Listen
	if c.Metrics.Listen.IsValid() {
		addrs = append(slices.Clip(addrs), c.Metrics.Listen)
	}
	secure := encryptedAddrs(c)
	for i, a := range slices.Concat(addrs, secure, c.Encrypted.QUIC()) {
		try := server.Try
		switch {
		case i >= len(addrs)+len(secure):
			try = server.TryUDP
		case i >= len(addrs):
			try = server.TryTCP
		}
		err := try(a)
		var held *server.AddrInUseError
		switch {
		case err == nil, errors.Is(err, os.ErrPermission):
		case errors.As(err, &held) && slices.ContainsFunc(held.Holders, ours):
		case errors.Is(err, syscall.EADDRNOTAVAIL) && server.CanFreebind():
			r.note("listen: no interface has the address %s yet; port53 starts listening on it as soon as one does", a.Addr())
		case errors.Is(err, syscall.EAFNOSUPPORT), errors.Is(err, syscall.ENODEV):
			r.note("listen: %s cannot be used on this host and is skipped", a)
		default:
			return err
		}
	}
	return nil
}

// ours reports whether a program is a port53, or one that may not be seen.
func ours(h server.SocketHolder) bool { return h.Program == "port53" || h.PID == 0 }

// lookAtState says if nothing could be kept in the state directory. who is nil if it stays
// who it is.
func (r *CheckResult) lookAtState(c *config.Config, who *account) {
	if !keepsState(c) {
		return
	}
	const lost = "nothing is stored across restarts, zones cannot be updated and secondary zones are not stored"
	info, err := os.Stat(c.StateDir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if os.Geteuid() != 0 && !mayMake(c.StateDir) {
			r.note("state_dir: %s does not exist and cannot be created: %s", c.StateDir, lost)
		}
	case err != nil:
		r.note("state_dir: %v: %s", err, lost)
	case !who.mayWrite(c.StateDir, info):
		r.note("state_dir: the server's user cannot write to %s: %s; chown -R the directory to that user", c.StateDir, lost)
	}
}

// stateIsDirectory fails if something else than a directory has the state directory's name:
// nothing was or could be kept there, and no server starts as if that were meant.
func stateIsDirectory(path string) error {
	info, err := os.Stat(path)
	const remedy = "move it away, or set another state_dir"
	switch {
	case err == nil && !info.IsDir():
		return fmt.Errorf("state_dir: %s is not a directory; %s", path, remedy)
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ELOOP):
		return fmt.Errorf("state_dir: %w; %s", err, remedy)
	}
	return nil
}

// lookAtControl says if there could be no control socket, since something else than a directory
// is on the way to it.
func (r *CheckResult) lookAtControl(socket string) {
	if socket == "" {
		return
	}
	info, err := os.Lstat(socket)
	switch {
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ELOOP):
		r.note("control.socket: %v: port53 reload and status cannot reach the server", err)
	case err == nil && info.Mode().Type() != os.ModeSocket:
		r.note("control.socket: %s is not a socket and is left alone: port53 reload and status cannot reach the server", socket)
	}
}

// mayMake reports whether a directory can be made: there is one above that can be written to.
func mayMake(dir string) bool {
	for dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
		if _, err := os.Stat(dir); err == nil {
			return writable(dir) == nil
		}
	}
	return false
}

// mayAppend fails if a server could not append to the file at path, or make it.
func mayAppend(path string) error {
	if path == "" || strings.HasPrefix(path, "/dev/") {
		return nil
	}
	at := path
	switch info, err := os.Lstat(path); {
	case errors.Is(err, os.ErrNotExist):
		at = filepath.Dir(path)
	case err == nil && info.IsDir():
		return fmt.Errorf("log.queries_file: %s is a directory: name a file in it", path)
	}
	if err := writable(at); err != nil {
		return fmt.Errorf("log.queries_file: %s: %w", path, err)
	}
	return nil
}
