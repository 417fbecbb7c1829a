package store_test

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/dnstest"
	"port53/internal/store"
)

// TestManyAtOneTime has many zones come at the same time, as from a new catalog: their directories
// are made to last together, and no call returns before its own lasts.
func TestManyAtOneTime(t *testing.T) {
	const count = 400
	synctest.Test(t, func(t *testing.T) {
		m := store.NewMemory()
		var syncs atomic.Int64
		slow := &slowDirs{FileSystem: m, dir: dir, syncs: &syncs}
		d := store.OpenOnAny(slow, dir)
		var wg sync.WaitGroup
		began := time.Now()
		for n := range count {
			wg.Go(func() {
				name := fmt.Sprintf("z%d.test.", n)
				apex := dnstest.Name(t, name)
				if _, err := d.Load(apex, dnstest.Seed); err != nil {
					t.Error(err)
				}
				if err := d.Save(apex, dnstest.Zone(t, name, "@ 60 SOA ns admin 1 1 2 3 4\n@ 60 NS ns\n")); err != nil {
					t.Error(err)
				}
				if !slow.lasting(filepath.Join(dir, fmt.Sprintf("z%d.test", n))) {
					t.Errorf("%s is saved, and a crash takes it away", name)
				}
			})
		}
		wg.Wait()
		if got := syncs.Load(); got > 3 {
			t.Errorf("%d syncs of the directory of %d zones, which came at the same time, in %v", got, count, time.Since(began))
		}
		synctest.Wait()
	})
}

// slowDirs is a file system that takes 10 ms to sync dir, and knows which names in it last.
type slowDirs struct {
	store.FileSystem
	dir   string
	syncs *atomic.Int64

	mu   sync.Mutex
	made []string // not synced yet
	last map[string]bool
}

func (s *slowDirs) MkdirAll(path string, mode fs.FileMode) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if filepath.Dir(path) == s.dir {
		s.made = append(s.made, path)
	}
	return s.FileSystem.MkdirAll(path, mode)
}

func (s *slowDirs) SyncDir(path string) error {
	if path != s.dir {
		return s.FileSystem.SyncDir(path)
	}
	s.syncs.Add(1)
	s.mu.Lock()
	made := s.made
	s.mu.Unlock()
	time.Sleep(10 * time.Millisecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		s.last = map[string]bool{}
	}
	for _, path := range made {
		s.last[path] = true
	}
	return s.FileSystem.SyncDir(path)
}

func (s *slowDirs) lasting(path string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last[path]
}
