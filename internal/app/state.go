package app

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"

	"port53/internal/config"
	"port53/internal/store"
	"port53/internal/zone"
	"port53/internal/zones"
)

// A state is the state directory of a server. Nothing is written there before it is this
// server's alone: it is the zone manager's store, which refuses until then.
type state struct {
	*store.Dir            // of zones
	signed     *store.Dir // of the signed versions of those that are signed here
	path       string
	log        *slog.Logger

	mu    sync.Mutex
	lock  *store.Lock
	fault error // why there is no lock
}

// errNotTaken is why nothing is written if nothing was to be.
var errNotTaken = errors.New("the state directory is not in use")

func newState(path string, log *slog.Logger) *state {
	return &state{
		Dir:    store.Open(filepath.Join(path, "zones"), log),
		signed: store.Open(filepath.Join(path, "signed"), log),
		path:   path,
		log:    log,
		fault:  errNotTaken,
	}
}

// keepsState reports whether a server of c has anything to keep over a restart.
func keepsState(c *config.Config) bool {
	for i := range c.Zones {
		if z := &c.Zones[i]; z.Stored || signed(c, z) || len(z.Updates) > 0 || len(z.Primaries) > 0 || z.Catalog != "" || c.Added(i) {
			return true
		}
	}
	return followsAnchors(c) || c.Learns() || slices.ContainsFunc(c.Policy.Lists, func(l config.FilterList) bool { return l.URL != "" }) ||
		len(c.Tokens) > 0 ||
		len(c.ClientCertificates) > 0 ||
		c.Encrypted.ACME.Set() ||
		c.Console.Listen.IsValid() ||
		slices.ContainsFunc(c.Keys, func(k config.Key) bool { return len(k.Grants) > 0 })
}

// keepsHistory reports whether a server of c has the history of zone files to keep, without
// which it can do.
func keepsHistory(c *config.Config) bool {
	return slices.ContainsFunc(c.Zones, func(z config.Zone) bool { return z.Transfers() || len(z.Notify) > 0 })
}

// takeIfFree makes the directory this server's if nobody else has it.
func (s *state) takeIfFree() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lock != nil {
		return
	}
	if s.lock, s.fault = store.TakeLock(s.path); s.fault != nil {
		s.log.Info("the history of zone files is kept in memory only", "state_dir", s.path, "error", s.fault.Error())
	}
}

// signatures returns the state directory as the store of signed versions. It has the same lock.
func (s *state) signatures() zones.Store { return &signatures{s.signed, s} }

// A signatures is the store of signed versions: it refuses what its state does.
type signatures struct {
	*store.Dir
	state *state
}

// Save implements [zones.Store], as Append does.
func (s *signatures) Save(apex []byte, v *zone.Zone, history ...*zone.Delta) error {
	if err := s.state.refusal(); err != nil {
		return err
	}
	return s.Dir.Save(apex, v, history...)
}

// Append adds differences.
func (s *signatures) Append(apex []byte, v *zone.Zone, deltas ...*zone.Delta) error {
	if err := s.state.refusal(); err != nil {
		return err
	}
	return s.Dir.Append(apex, v, deltas...)
}

// Move has what is kept of one zone be of another.
func (s *signatures) Move(from, to []byte) (bool, error) {
	if err := s.state.refusal(); err != nil {
		return false, err
	}
	return s.Dir.Move(from, to)
}

// followsAnchors reports whether a server of c follows the rolls of its trust anchors.
// Anchors of a laboratory in the past do not roll.
func followsAnchors(c *config.Config) bool {
	return c.Recurses() && c.Resolver.Validation && c.Resolver.ValidationTime.IsZero()
}

// take makes the directory this server's. That nothing can be written there is logged, and
// no reason not to serve. That another server has it is an error.
func (s *state) take() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lock != nil {
		return nil
	}
	lock, err := store.TakeLock(s.path)
	s.lock = lock
	switch s.fault = err; {
	case errors.Is(err, fs.ErrNotExist): // that there is none has been said
	case errors.Is(err, store.ErrUnwritable):
		s.log.Warn(
			"nothing is stored across restarts, zones cannot be updated and secondary zones are not stored",
			"state_dir",
			s.path,
			"error",
			err.Error(),
		)
	case errors.Is(err, store.ErrLocked):
		return fmt.Errorf("state_dir %s: %w; stop it, or give this server its own state_dir", s.path, err)
	case err != nil:
		return fmt.Errorf("state_dir %s: %w", s.path, err)
	}
	return nil
}

// close gives the directory to the next server.
func (s *state) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lock != nil {
		_ = s.lock.Close()
		s.lock, s.fault = nil, errNotTaken
	}
}

// refusal returns why nothing can be written, or nil.
func (s *state) refusal() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault
}

// Save implements [zones.Store], as the methods that follow it do.
func (s *state) Save(apex []byte, v *zone.Zone, history ...*zone.Delta) error {
	if err := s.refusal(); err != nil {
		return err
	}
	return s.Dir.Save(apex, v, history...)
}

// SaveFetched makes a version that was fetched the one that is kept.
func (s *state) SaveFetched(apex []byte, v *zone.Zone, m store.Meta) error {
	if err := s.refusal(); err != nil {
		return err
	}
	return s.Dir.SaveFetched(apex, v, m)
}

// Append adds differences.
func (s *state) Append(apex []byte, v *zone.Zone, deltas ...*zone.Delta) error {
	if err := s.refusal(); err != nil {
		return err
	}
	return s.Dir.Append(apex, v, deltas...)
}

// SetMeta keeps what is known beside the version.
func (s *state) SetMeta(apex []byte, m store.Meta) error {
	if err := s.refusal(); err != nil {
		return err
	}
	return s.Dir.SetMeta(apex, m)
}

// SaveHistory keeps the differences that led to a version.
func (s *state) SaveHistory(apex []byte, v *zone.Zone, deltas []*zone.Delta) error {
	if err := s.refusal(); err != nil {
		return err
	}
	return s.Dir.SaveHistory(apex, v, deltas)
}

// Move has what is kept of one zone be of another.
func (s *state) Move(from, to []byte) (bool, error) {
	if err := s.refusal(); err != nil {
		return false, err
	}
	return s.Dir.Move(from, to)
}

// Remove forgets a zone.
func (s *state) Remove(apex []byte) error {
	if err := s.refusal(); err != nil {
		return err
	}
	return s.Dir.Remove(apex)
}
