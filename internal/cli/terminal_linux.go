package cli

import (
	"errors"
	"io"
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
)

// A terminal is one whose keys come one by one, without being shown, and that shows its other screen.
type terminal struct {
	in, out *os.File
	before  unix.Termios
	changes chan os.Signal
	once    sync.Once
}

// openTerminal makes the terminal ready. restore has it as it was.
func openTerminal(in io.Reader, out io.Writer) (*terminal, error) {
	i, okIn := in.(*os.File)
	o, okOut := out.(*os.File)
	if !okIn || !okOut {
		return nil, errors.New("the screen wants a terminal")
	}
	before, err := unix.IoctlGetTermios(int(i.Fd()), unix.TCGETS)
	if err != nil {
		return nil, errors.New("the keys need a terminal")
	}
	t := &terminal{in: i, out: o, before: *before, changes: make(chan os.Signal, 1)}
	raw := *before
	raw.Lflag &^= unix.ECHO | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Iflag &^= unix.ICRNL | unix.IXON
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(int(i.Fd()), unix.TCSETS, &raw); err != nil {
		return nil, err
	}
	signal.Notify(t.changes, unix.SIGWINCH)
	_, _ = o.WriteString(screenOther)
	return t, nil
}

// restore may be called again.
func (t *terminal) restore() {
	t.once.Do(func() {
		signal.Stop(t.changes)
		_, _ = t.out.WriteString(screenBack)
		_ = unix.IoctlSetTermios(int(t.in.Fd()), unix.TCSETS, &t.before)
	})
}

// resized is sent something when the size has changed.
func (t *terminal) resized() <-chan os.Signal { return t.changes }

// size returns columns and lines.
func (t *terminal) size() (width, height int) {
	s, err := unix.IoctlGetWinsize(int(t.out.Fd()), unix.TIOCGWINSZ)
	if err != nil || s.Col == 0 || s.Row == 0 {
		return 80, 24
	}
	return int(s.Col), int(s.Row)
}
