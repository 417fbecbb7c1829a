//go:build unix

package app

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"port53/internal/config"
)

// become gives up root for the configured user, for good: groups first, then the
// group, then the user. It does nothing for a server that was not started by root.
func (a *App) become(c *config.Config) error {
	if os.Geteuid() != 0 {
		return nil
	}
	if c.User == "" {
		a.log.Warn("serving as root: nothing needs it once the sockets are bound; set user: in the configuration")
		return nil
	}
	u, err := user.Lookup(c.User)
	if err != nil {
		return fmt.Errorf("user: %w; make it with: useradd --system --no-create-home %s", err, c.User)
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err1 != nil || err2 != nil {
		return fmt.Errorf("user %s has the IDs %s and %s, which are no numbers", c.User, u.Uid, u.Gid)
	}
	if c.Control.Socket != "" && a.control != nil {
		if err := os.Chown(c.Control.Socket, uid, gid); err != nil {
			return fmt.Errorf("control socket: %w", err)
		}
	}
	if a.recursion != nil {
		if err := os.Chown(c.StateDir, uid, gid); err != nil {
			a.log.Warn("nothing is kept between runs", "problem", err.Error())
		}
	}
	if err := syscall.Setgroups([]int{gid}); err != nil {
		return fmt.Errorf("give up groups: %w", err)
	}
	if err := syscall.Setgid(gid); err != nil {
		return fmt.Errorf("become group %d: %w", gid, err)
	}
	if err := syscall.Setuid(uid); err != nil {
		return fmt.Errorf("become user %s: %w", c.User, err)
	}
	if syscall.Setuid(0) == nil && uid != 0 {
		return fmt.Errorf("became user %s and could be root again", c.User)
	}
	a.log.Info("gave up root", "user", c.User)
	return nil
}
