//go:build unix

package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"port53/internal/config"
	"port53/internal/console"
	"port53/internal/securepath"
)

// An account is the user that a server which was started by root becomes; nil: it stays
// who it is.
type account struct {
	name     string
	uid, gid int
	groups   []int // gid, and those that the user is a member of
}

// accountOf returns the account that a server of c becomes.
func accountOf(c *config.Config) (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil // it stays who it is
	}
	return lookUp(c)
}

// lookUp returns the account that c names; nil: none.
func lookUp(c *config.Config) (*account, error) {
	if c.User == "" {
		return nil, nil
	}
	u, err := user.Lookup(c.User)
	if err != nil {
		return nil, fmt.Errorf("%w; create it with: useradd --system --no-create-home %s", err, c.User)
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err1 != nil || err2 != nil {
		return nil, fmt.Errorf("user %s has non-numeric IDs, %s and %s", c.User, u.Uid, u.Gid)
	}
	groups := []int{gid}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("user: groups of %s: %w", c.User, err)
	}
	for _, text := range ids {
		if id, err := strconv.Atoi(text); err == nil && id != gid {
			groups = append(groups, id)
		}
	}
	return &account{c.User, uid, gid, groups}, nil
}

// owner returns who gets the control socket.
func (who *account) owner() console.Owner {
	if who == nil {
		return console.KeepOwner
	}
	return console.Owner{UID: who.uid, GID: who.gid}
}

// makeState makes the state directory while there is the right to, and gives it to who. One
// that was there is given only if root owns it and nothing is in it: it may be any
// directory, and what is in it somebody else's. That nothing can be kept is logged, and no
// reason not to serve.
func (a *App) makeState(c *config.Config, who *account) {
	dir, made, err := securepath.Make(c.StateDir, stateMode)
	if err != nil {
		a.log.Warn("nothing is stored across restarts: no state directory", "error", err.Error())
		return
	}
	defer dir.Close()
	if who == nil {
		if err := dir.Exclusive(); err != nil {
			a.log.Warn("the server runs as root and its state_dir is writable by others: set user, or choose another state_dir",
				"error", err.Error())
		}
		return
	}
	owner, err := dir.Owner()
	give := made
	if err == nil && !made && owner == 0 {
		give, err = dir.Empty()
	}
	if err == nil && give {
		err = dir.Chown(who.uid, who.gid)
	}
	if err != nil {
		a.log.Warn("nothing is stored across restarts", "error", err.Error())
	}
}

// checkState logs if nothing can be kept in the state directory, by now as the user who
// serves.
func (a *App) checkState(c *config.Config, who *account) {
	err := unix.Access(c.StateDir, unix.W_OK|unix.X_OK)
	if who == nil || err == nil || errors.Is(err, unix.ENOENT) {
		return
	}
	a.log.Error(
		"the user cannot write to the state directory: nothing is stored across restarts, zones cannot be updated and "+
			"secondary zones are not stored",
		"error",
		fmt.Sprintf("%s: %v; chown -R %s: %[1]s", c.StateDir, err, who.name),
	)
}

// mayWrite reports whether who can make entries in a directory, by its permissions; nil is
// who it is.
func (who *account) mayWrite(dir string, info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	if who == nil || !ok || os.Geteuid() != 0 {
		return writable(dir) == nil
	}
	mode, need := info.Mode().Perm(), fs.FileMode(0o003)
	switch {
	case int(st.Uid) == who.uid:
		need = 0o300
	case slices.Contains(who.groups, int(st.Gid)):
		need = 0o030
	}
	if mode&need == need {
		return true
	}
	names, err := os.ReadDir(dir)
	return st.Uid == 0 && err == nil && len(names) == 0 // it will be given to who
}

// writable returns why this process cannot write to a file, or make entries in a directory.
func writable(path string) error { return unix.Access(path, unix.W_OK) }

// become gives up root for who, for good: groups first, then the group, then the user. It
// keeps the groups that who is a member of, as a login does, and no capability.
func (a *App) become(who *account) error {
	if who == nil {
		if os.Geteuid() == 0 {
			a.log.Warn("running as root, which is not needed once the sockets are bound: set user: in the configuration")
		}
		return nil
	}
	dropBounds()
	if err := syscall.Setgroups(who.groups); err != nil {
		return fmt.Errorf("give up groups: %w", err)
	}
	if err := syscall.Setgid(who.gid); err != nil {
		return fmt.Errorf("become group %d: %w", who.gid, err)
	}
	if err := syscall.Setuid(who.uid); err != nil {
		return fmt.Errorf("become user %s: %w", who.name, err)
	}
	if syscall.Setuid(0) == nil && who.uid != 0 {
		return fmt.Errorf("changed to user %s but could still become root again", who.name)
	}
	if err := keepNothing(); err != nil {
		return err
	}
	if a.log != nil {
		a.log.Info("dropped root privileges", "user", who.name)
	}
	return nil
}

// mayRead fails if who, who has taken root's place, cannot read what c names: root has read
// it, and no reload could.
func (who *account) mayRead(c *config.Config) error {
	if who == nil || c.File() == "" {
		return nil
	}
	_, _, err := config.LoadToServe(c.File())
	if err == nil {
		_, err = (&App{}).build(nil, c)
	}
	if err != nil {
		return fmt.Errorf(
			"user %s cannot read a file that the configuration names, so every reload would fail: %w; make it readable "+
				"by one of the user's groups (chgrp, chmod g+r)",
			who.name,
			err,
		)
	}
	return nil
}
