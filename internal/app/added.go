package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"port53/internal/config"
	"port53/internal/securepath"
	"port53/internal/store"
	"port53/internal/wire"
	"port53/internal/zones"
)

// AddedFile is the file in the state directory with the zones that were added to the running
// server.
const AddedFile = "added-zones"

// WithAdded returns c with the zones that commands have added to the server whose state
// directory it names. The error is a config.Errors if they do not fit the configuration.
func WithAdded(c *config.Config) (*config.Config, error) {
	s := added{path: c.StateDir}
	defer s.close()
	c, err := s.with(c)
	if err == nil && s.shut != nil {
		return nil, fmt.Errorf("zones that were added: %w", s.shut)
	}
	return c, err
}

// An added is the file of added zones in a state directory. The directory is opened once: a
// server that is confined may not walk there again from the root.
type added struct {
	path string // of the state directory; "": there is none
	dir  *securepath.Dir
	shut error // why the directory cannot be looked into: nothing of it is used
}

// open opens the directory, unless it is open, or not there.
func (s *added) open() error {
	if s.dir != nil || s.path == "" {
		return nil
	}
	d, err := securepath.Open(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, fs.ErrPermission):
		s.shut = err
		return nil
	}
	s.dir, s.shut = d, nil
	return err
}

func (s *added) close() {
	if s.dir != nil {
		s.dir.Close()
		s.dir = nil
	}
}

func (s *added) file() string { return filepath.Join(s.path, AddedFile) }

// with returns c with the zones of the file.
func (s *added) with(c *config.Config) (*config.Config, error) {
	text, err := s.read()
	if err != nil {
		return nil, fmt.Errorf("zones that were added: %w", err)
	}
	if c, err = c.WithZones(s.file(), text); err != nil {
		return nil, err
	}
	g, err := s.granted()
	if err == nil {
		c, err = c.WithGranted(g)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(s.path, GrantsFile), err)
	}
	return c, nil
}

// read returns the text of the file; none if there is no file.
func (s *added) read() ([]byte, error) { return s.readFile(AddedFile) }

// readFile returns the text of a file of the directory; none if there is no file.
func (s *added) readFile(name string) ([]byte, error) {
	if err := s.open(); err != nil || s.dir == nil {
		return nil, err
	}
	text, err := s.dir.Read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return text, err
}

// writeFile puts text in the place of a file of the directory, which lasts when it returns; without
// text there is no file.
func (s *added) writeFile(name string, text []byte) error {
	err := s.open()
	switch {
	case err != nil:
		return err
	case s.shut != nil:
		return s.shut
	case s.dir == nil:
		return &fs.PathError{Op: "open", Path: s.path, Err: fs.ErrNotExist}
	case len(text) == 0:
		return s.dir.Remove(name)
	}
	return s.dir.Write(name, text, 0o600)
}

// addZones gives the first generation the zones that were added, and returns the configuration
// with them.
func (a *App) addZones(first *generation) (*config.Config, error) {
	c, err := a.added.with(first.config)
	if a.added.shut != nil {
		a.log.Error("zones added with port53 zone add are not served", "error", a.added.shut.Error())
	}
	if err == nil {
		err = first.enlarge(c, a.signing)
	}
	return c, err
}

// A zoneChange is what a command did to the set of zones.
type zoneChange struct {
	Zone   string   `json:"zone"`
	Place  string   `json:"configured_at"`
	From   string   `json:"from,omitempty"` // its file, or its primaries
	Kept   string   `json:"kept,omitempty"` // the directory of what is kept of a zone that was removed
	Notes  []string `json:"notes,omitempty"`
	Serial uint32   `json:"serial,omitempty"`
}

// Note is what the audit has of it.
func (z zoneChange) Note() string { return z.From }

// AddZone implements [console.Admin].
func (a *App) AddZone(name string, what []byte) (any, error) {
	apex, err := wire.ParseName(name)
	if err != nil {
		return nil, fmt.Errorf("zone %s: %w", name, err)
	}
	z := config.AddedZone{Name: strings.TrimSuffix(name, ".")}
	if len(apex) == 1 {
		z.Name = "."
	}
	if err := json.Unmarshal(what, &z); err != nil {
		return nil, fmt.Errorf("zone %s: %w", name, err)
	}
	a.reloading.Lock()
	defer a.reloading.Unlock()
	for _, s := range a.manager.Status() {
		if s.Catalog != "" && s.Name == string(wire.AppendName(nil, wire.Lower(nil, apex))) {
			return nil, fmt.Errorf("zone %s is a member of the catalog zone %s", name, s.Catalog)
		}
	}
	text, err := a.added.read()
	if err != nil {
		return nil, fmt.Errorf("zone %s: %w", name, err)
	}
	c, err := a.current.Load().config.WithZones(a.added.file(), config.AppendZone(text, &z))
	if err != nil {
		return nil, fmt.Errorf("zone %s: %w", name, withoutPlaces(err))
	}
	i := len(c.Zones) - 1
	result := zoneChange{Zone: name, Place: c.ZonePlace(i)}
	if file := c.Zones[i].File; file != "" {
		result.From = "file " + file
		loaded := zones.Load(sources(c, a.signing)[i], a.seed)
		if loaded.Zone == nil {
			return nil, fmt.Errorf("zone %s: it would not be served: %w", name, firstProblem(loaded.Problems))
		}
		result.Serial = loaded.Zone.Serial()
		for _, p := range loaded.Problems {
			result.Notes = append(result.Notes, p.String())
		}
	} else if len(c.Zones[i].Primaries) > 0 {
		result.From = fmt.Sprintf("primaries %v", c.Zones[i].Primaries)
	}
	if err := a.change(c, text, config.AppendZone(text, &z)); err != nil {
		return nil, fmt.Errorf("zone %s: %w", name, err)
	}
	return result, nil
}

// firstProblem returns the first error among problems.
func firstProblem(list []zones.Problem) error {
	for _, p := range list {
		if !p.Warning {
			return errors.New(p.String())
		}
	}
	return errors.New("it has no records")
}

// withoutPlaces returns errors of a text that was not written, without its lines.
func withoutPlaces(err error) error {
	var all config.Errors
	if !errors.As(err, &all) {
		return err
	}
	texts := make([]string, len(all))
	for i, e := range all {
		if texts[i] = e.Text; e.Hint != "" {
			texts[i] += "; " + e.Hint
		}
	}
	return errors.New(strings.Join(texts, "; "))
}

// RemoveZone implements [console.Admin].
func (a *App) RemoveZone(name, view string, purge bool) (any, error) {
	apex, err := wire.ParseName(name)
	if err != nil {
		return nil, fmt.Errorf("zone %s: %w", name, err)
	}
	apex = wire.Lower(nil, apex)
	a.reloading.Lock()
	defer a.reloading.Unlock()
	text, err := a.added.read()
	if err != nil {
		return nil, fmt.Errorf("zone %s: %w", name, err)
	}
	path := a.added.file()
	now, err := a.current.Load().config.WithZones(path, text)
	if err != nil {
		return nil, fmt.Errorf("zone %s: %w", name, err)
	}
	i, err := a.findAdded(now, name, view, apex)
	if err != nil {
		return nil, err
	}
	rest, err := now.WithoutZone(text, i)
	if err != nil {
		return nil, fmt.Errorf("zone %s: %w", name, err)
	}
	c, err := now.WithZones(path, rest)
	if err != nil {
		return nil, fmt.Errorf("zone %s: %w", name, withoutPlaces(err))
	}
	if err := a.change(c, text, rest); err != nil {
		return nil, fmt.Errorf("zone %s: %w", name, err)
	}
	result := zoneChange{Zone: name, Place: now.ZonePlace(i)}
	apex = store.Key(apex, now.Zones[i].Home())
	if purge {
		result.From = "including its stored data"
		if err := a.state.Remove(apex); err != nil {
			return nil, fmt.Errorf("zone %s is removed, but its stored data is not: %w", name, err)
		}
	} else if a.state.Has(apex) {
		result.Kept = a.state.Place(apex)
	}
	return result, nil
}

// findAdded returns the index of a zone that was added, or why it cannot be removed by a command. view
// tells which of several of one name; empty: there is to be but one.
func (a *App) findAdded(c *config.Config, name, view string, apex []byte) (int, error) {
	views, found := c.ZoneViews(), -1
	for i := range c.Zones {
		switch {
		case !wire.EqualFold(c.Zones[i].Name, apex), view != "" && (views == nil || !slices.Contains(views[i], view)):
		case found >= 0:
			return 0, fmt.Errorf("zone %s exists in several views: choose one with --view", name)
		default:
			found = i
		}
	}
	switch {
	case found >= 0 && c.Added(found):
		return found, nil
	case found >= 0:
		return 0, fmt.Errorf("zone %s is in the configuration, at %s: remove it there and run port53 reload", name, c.ZonePlace(found))
	}
	for _, s := range a.manager.Status() {
		if s.Catalog != "" && s.Name == string(wire.AppendName(nil, apex)) {
			return 0, fmt.Errorf("zone %s is a member of the catalog zone %s: remove it from the catalog on the primary", name, s.Catalog)
		}
	}
	return 0, fmt.Errorf("zone %s is not served here", name)
}

// change makes c, whose added zones are those of text, what is served, and makes it last. was
// is the text until now. a.reloading is held.
func (a *App) change(c *config.Config, was, text []byte) error {
	return a.changeFile(c, AddedFile, was, text)
}

// changeFile is change for what one of the files of the state directory has.
func (a *App) changeFile(c *config.Config, name string, was, text []byte) error {
	if err := a.ownState(); err != nil {
		return err
	}
	if err := a.added.writeFile(name, text); err != nil {
		return err
	}
	_, err := a.adopt(a.ctx, a.current.Load(), c)
	if err != nil && a.current.Load().config != c {
		return errors.Join(err, a.added.writeFile(name, was)) // nothing has changed
	}
	return nil // what is wrong with other zones is theirs
}

// ownState makes the state directory this server's, or says why nothing can be written there.
func (a *App) ownState() error {
	if err := a.added.open(); err != nil {
		return err
	}
	if a.added.dir == nil {
		a.makeState(a.startedWith, nil)
	}
	if err := a.state.take(); err != nil {
		return err
	}
	return a.state.refusal()
}
