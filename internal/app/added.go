package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"port53/internal/config"
	"port53/internal/securepath"
	"port53/internal/store"
	"port53/internal/wire"
	"port53/internal/zone"
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
	shut error  // why the directory cannot be looked into: nothing of it is used
	text []byte // of the file, as the configuration in use has its zones
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
	s.text = text
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
	if catalog := a.memberOf(apex); catalog != "" {
		return nil, fmt.Errorf("zone %s is a member of the catalog zone %s", name, catalog)
	}
	e, err := a.adding(&z)
	if err != nil {
		return nil, fmt.Errorf("zone %s: %w", name, err)
	}
	c, i := e.config, len(e.config.Zones)-1
	result := zoneChange{Zone: name, Place: c.ZonePlace(i)}
	if file := c.Zones[i].File; file != "" {
		result.From = "file " + file
		loaded := zones.Load(newSourcer(c, a.signing).source(i), a.seed)
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
	if err := a.change(e); err != nil {
		return nil, fmt.Errorf("zone %s: %w", name, err)
	}
	return result, nil
}

// memberOf returns the catalog zone that apex is a member of; "": of none.
func (a *App) memberOf(apex []byte) string {
	if !slices.ContainsFunc(a.current.Load().sources, func(s zones.Source) bool { return s.Consumes != nil }) {
		return ""
	}
	for _, s := range a.manager.Status() {
		if s.Catalog != "" && s.Name == string(wire.AppendName(nil, wire.Lower(nil, apex))) {
			return s.Catalog
		}
	}
	return ""
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
	return a.removeZone(name, apex, purge, func(c *config.Config) (int, error) { return a.findAdded(c, name, view, apex) })
}

// removeZone removes the zone that find has the index of.
func (a *App) removeZone(name string, apex []byte, purge bool, find func(*config.Config) (int, error)) (any, error) {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	now, text, err := a.addedNow()
	if err != nil {
		return nil, fmt.Errorf("zone %s: %w", name, err)
	}
	i, err := find(now)
	if err != nil {
		return nil, err
	}
	e, err := a.removing(now, text, i)
	if err == nil {
		err = a.change(e)
	}
	if err != nil {
		return nil, fmt.Errorf("zone %s: %w", name, err)
	}
	result := zoneChange{Zone: name, Place: now.ZonePlace(i)}
	apex = store.Key(apex, now.Zones[i].Qualifier())
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
			names := slices.Concat(views[found], views[i])
			slices.Sort(names)
			return 0, fmt.Errorf("zone %s: %w", name, &zones.SeveralError{Views: slices.Compact(names)})
		default:
			found = i
		}
	}
	return a.removable(c, name, apex, found)
}

// addedOf is as findAdded, of the zone of a key.
func (a *App) addedOf(c *config.Config, name string, key []byte) (int, error) {
	found := slices.IndexFunc(c.Zones, func(z config.Zone) bool {
		return bytes.Equal(store.Key(wire.Lower(nil, z.Name), z.Qualifier()), key)
	})
	return a.removable(c, name, store.Apex(key), found)
}

// removable returns the index of a zone, -1 if it is in no file, or why a command cannot remove it.
func (a *App) removable(c *config.Config, name string, apex []byte, found int) (int, error) {
	switch {
	case found >= 0 && c.Added(found):
		return found, nil
	case found >= 0:
		return 0, fmt.Errorf("zone %s is in the configuration, at %s: remove it there and run port53 reload", name, c.ZonePlace(found))
	}
	if catalog := a.memberOf(apex); catalog != "" {
		return 0, fmt.Errorf("zone %s is a member of the catalog zone %s: remove it from the catalog on the primary", name, catalog)
	}
	return 0, fmt.Errorf("zone %s is not served here", name)
}

// A setChange is a change to the zones that were added, made ready: the configuration with it, the text of the
// file before and after, and how the configuration is put into use.
type setChange struct {
	config    *config.Config
	was, text []byte
	adopt     func(ctx context.Context, old *generation, c *config.Config) error
}

// addedNow returns the configuration with what the file of added zones has now, and its text.
func (a *App) addedNow() (c *config.Config, text []byte, err error) {
	if text, err = a.added.read(); err != nil {
		return nil, nil, err
	}
	if c = a.current.Load().config; bytes.Equal(text, a.added.text) {
		return c, text, nil
	}
	c, err = c.WithZones(a.added.file(), text) // somebody has edited it
	return c, text, err
}

// adding makes ready that z is served beside the others.
func (a *App) adding(z *config.AddedZone) (e setChange, err error) {
	if e.was, err = a.added.read(); err != nil {
		return e, err
	}
	e.text = config.AppendZone(e.was, z)
	c := a.current.Load().config
	if next, ok := c.WithZone(e.was, z); ok && bytes.Equal(e.was, a.added.text) {
		e.config, e.adopt = next, a.adoptZone
		return e, nil
	}
	e.adopt = a.adoptAll
	if e.config, err = c.WithZones(a.added.file(), e.text); err != nil {
		return e, withoutPlaces(err)
	}
	return e, nil
}

// removing makes ready that the zone at index i of now, whose added zones are those of text, is not served.
func (a *App) removing(now *config.Config, text []byte, i int) (e setChange, err error) {
	e = setChange{was: text, adopt: a.adoptAll}
	if e.text, err = now.WithoutZone(text, i); err != nil {
		return e, err
	}
	if next, ok := now.WithoutAdded(i); ok && now == a.current.Load().config {
		e.config = next
		e.adopt = func(ctx context.Context, old *generation, c *config.Config) error {
			return a.adoptWithout(ctx, old, c, i)
		}
		return e, nil
	}
	if e.config, err = now.WithZones(a.added.file(), e.text); err != nil {
		return e, withoutPlaces(err)
	}
	return e, nil
}

// change carries out e, and makes it last. a.reloading is held.
func (a *App) change(e setChange) error {
	err := a.changeFile(e, AddedFile)
	if err == nil {
		a.added.text = e.text
	}
	return err
}

// changeFile is change for what one of the files of the state directory has.
func (a *App) changeFile(e setChange, name string) error {
	if err := a.ownState(); err != nil {
		return err
	}
	if err := a.added.writeFile(name, e.text); err != nil {
		return err
	}
	err := e.adopt(a.ctx, a.current.Load(), e.config)
	if err != nil && a.current.Load().config != e.config {
		return errors.Join(err, a.added.writeFile(name, e.was)) // nothing has changed
	}
	return nil // what is wrong with other zones is theirs
}

func (a *App) adoptAll(ctx context.Context, old *generation, c *config.Config) error {
	_, err := a.adopt(ctx, old, c)
	return err
}

// adoptZone is adopt for a configuration that has one zone more, the last: nothing else of old is made again,
// so that a server with many zones takes another at once.
func (a *App) adoptZone(ctx context.Context, old *generation, c *config.Config) error {
	if !a.zonesAlone(c) {
		return a.adoptAll(ctx, old, c)
	}
	list := append(old.sources, newSourcer(c, a.signing).source(len(c.Zones)-1)) // only the newest generation grows
	return a.adoptZones(c, &c.Zones[len(c.Zones)-1], list, func(publish func(zone.Views)) (zones.Report, error) {
		return a.manager.Add(ctx, list, publish)
	})
}

// adoptWithout is adopt for a configuration that does not have the zone at index i any more.
func (a *App) adoptWithout(ctx context.Context, old *generation, c *config.Config, i int) error {
	if !a.zonesAlone(c) || len(old.sources) != len(c.Zones)+1 {
		return a.adoptAll(ctx, old, c)
	}
	gone := old.sources[i]
	list := slices.Concat(old.sources[:i], old.sources[i+1:])
	return a.adoptZones(c, &old.config.Zones[i], list, func(publish func(zone.Views)) (zones.Report, error) {
		return a.manager.Remove(ctx, list, &gone, publish)
	})
}

// zonesAlone reports whether of a generation of c only the zones depend on which zones there are, beside who
// they are exchanged with.
func (a *App) zonesAlone(c *config.Config) bool {
	return !c.Firewall.Manage && provesIn(c) == nil && (!c.Recurses() || hostSources(c, nil).Empty())
}

// adoptZones puts c into use, which has other zones than the configuration until now: z came or went, and list
// is where they come from.
func (a *App) adoptZones(c *config.Config, z *config.Zone, list []zones.Source, load func(func(zone.Views)) (zones.Report, error)) error {
	rights := a.current.Load().engine.Access
	exchanged := z.Transfers() || len(z.Notify)+len(z.TransferRemotes)+len(z.AllowNotify) > 0
	if exchanged {
		var err error
		if rights, err = access(c, a.current.Load().networks); err != nil {
			return err
		}
	}
	report, err := load(func(views zone.Views) {
		a.swapping.Lock()
		defer a.swapping.Unlock()
		g := *a.current.Load()
		g.config, g.sources, g.applied = c, list, time.Now()
		g.engine.Access = rights
		a.swap(&g, views)
	})
	if err != nil {
		return err
	}
	if exchanged {
		a.server.SetPeers(peerAddrs(c))
		a.followNetworks() // they may have changed while the access list was made
	}
	a.tellZoneRisks(c, z)
	if a.recursion != nil {
		a.recursion.resolver.Flush(wire.Root, true)
	}
	if len(report.Failed) > 0 {
		return failedZones(report.Failed)
	}
	return nil
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
