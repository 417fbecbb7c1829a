package store

import (
	"path/filepath"
	"sync"
)

// A shelf is the directory that the directories of all zones are in. Many that are made at
// one time are made to last together.
type shelf struct {
	fsys fileSystem

	mu    sync.Mutex
	lasts bool  // the shelf itself does
	next  *turn // that begins once the one that is under way has ended; nil: nobody waits
	busy  bool
}

// A turn is one sync for all who came before it began.
type turn struct {
	done chan struct{}
	err  error
}

// make makes the shelf, which lasts when it returns.
func (s *shelf) make(dir string) error {
	there, err := exists(s.fsys, dir)
	if err != nil {
		return err
	}
	s.mu.Lock()
	lasts := s.lasts && there
	s.mu.Unlock()
	if lasts {
		return nil
	}
	if err := s.fsys.MkdirAll(dir, dirMode); err != nil {
		return err
	}
	if err := s.fsys.SyncDir(filepath.Dir(dir)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lasts = true
	return nil
}

// sync makes the names last that are on the shelf by now.
func (s *shelf) sync(dir string) error {
	s.mu.Lock()
	if s.next == nil {
		s.next = &turn{done: make(chan struct{})}
	}
	mine := s.next
	lead := !s.busy
	s.busy = true
	s.mu.Unlock()
	if lead {
		s.lead(dir, mine)
	}
	<-mine.done
	return mine.err
}

// lead syncs until nobody waits; the turns after the first by a goroutine of their own.
func (s *shelf) lead(dir string, t *turn) {
	s.mu.Lock()
	s.next = nil
	s.mu.Unlock()
	t.err = s.fsys.SyncDir(dir)
	close(t.done)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next != nil {
		go s.lead(dir, s.next)
		return
	}
	s.busy = false
}
