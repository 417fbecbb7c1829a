package console

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"port53/internal/securepath"
)

const (
	socketMode  = 0o660           // owner and group
	dirMode     = 0o755           // of a directory that is made for the socket
	lockWait    = 5 * time.Second // for others who start just now
	knockWait   = time.Second     // for a server that may be behind a socket
	listenTries = 4               // to take the place of a socket that nobody serves
)

// Owner is the user and the group that a socket is given to. KeepOwner leaves it to whoever
// makes it.
type Owner struct{ UID, GID int }

// KeepOwner is no other owner.
var KeepOwner = Owner{-1, -1}

// Listen makes the socket at path, which owner and its group may use, in place of one that
// nobody serves any more. Anything else in its place is left there, and is an error. As
// root it follows no link on the way, and changes nothing in its place, that others than
// root can have put there. The error wraps securepath.ErrShared if root was to give the
// socket away where others than root can put something else in its place: then owner is to
// make it.
func Listen(path string, owner Owner) (net.Listener, error) {
	l, err := listen(path, owner)
	if err != nil {
		return nil, fmt.Errorf("control socket %s: %w", path, cause(err))
	}
	return l, nil
}

func listen(path string, owner Owner) (_ net.Listener, err error) {
	dir, made, err := securepath.Make(filepath.Dir(path), dirMode)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			dir.Close()
		}
	}()
	if owner != KeepOwner {
		if err := dir.Exclusive(); err != nil {
			if made {
				err = errors.Join(err, dir.Chown(owner.UID, owner.GID))
			}
			return nil, err
		}
	}
	name := filepath.Base(path)
	at, err := dir.SocketPath(name)
	if err != nil {
		return nil, err
	}
	// Who finds a socket that nobody serves must not remove the one that somebody has put in
	// its place since.
	unlock, err := dir.Lock(lockWait)
	if err != nil {
		return nil, err
	}
	defer unlock()
	l, err := net.Listen("unix", at)
	for range listenTries {
		if !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
		if err := makeRoom(dir, name, at); err != nil {
			return nil, err
		}
		l, err = net.Listen("unix", at)
	}
	if err != nil {
		return nil, err
	}
	socket := l.(*net.UnixListener)
	socket.SetUnlinkOnClose(false) // by Close, which looks at what it unlinks
	file, err := dir.GiveSocket(name, socketMode, owner.UID, owner.GID)
	if err != nil {
		socket.Close()
		return nil, err
	}
	return &listener{UnixListener: socket, dir: dir, name: name, file: file}, nil
}

// makeRoom removes a socket that nobody serves any more. at is its path.
func makeRoom(dir *securepath.Dir, name, at string) error {
	socket, err := dir.IsSocket(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it went by itself
	}
	if err != nil {
		return err
	}
	if !socket {
		return errors.New("the path exists and is not a socket: remove it, or choose another path")
	}
	c, err := net.DialTimeout("unix", at, knockWait)
	switch {
	case err == nil:
		c.Close()
		return errRunning
	case errors.Is(err, syscall.ECONNREFUSED):
		return dir.Remove(name)
	case errors.Is(err, syscall.EAGAIN): // its queue is full, so somebody holds it
		return errRunning
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return err
}

var errRunning = errors.New("another port53 is using it")

// A listener removes its socket when it is closed, and nobody else's.
type listener struct {
	*net.UnixListener
	dir   *securepath.Dir
	name  string
	file  securepath.SocketFile
	close sync.Once
}

func (l *listener) Close() error {
	l.close.Do(func() {
		// It stays in a directory that only root can change, and the next start removes it.
		_ = l.dir.RemoveSocket(l.name, l.file)
		l.dir.Close()
	})
	return l.UnixListener.Close()
}
