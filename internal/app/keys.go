package app

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"port53/internal/chain"
	"port53/internal/config"
	"port53/internal/parent"
	"port53/internal/resolver"
	"port53/internal/signer"
	"port53/internal/store"
	"port53/internal/telemetry"
	"port53/internal/tsig"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zones"
)

// A watching is what of a zone and of its parent is looked at, and how the parent is told.
type watching struct {
	target parent.Target
	names  bool             // servers of the zone's NS set are looked at
	push   []netip.AddrPort // tried in turn
	key    *tsig.Key        // of push
	dsync  bool
	dsTTL  time.Duration
}

// watched returns what p has of z looked at.
func watched(c *config.Config, z *config.Zone, p *config.DNSSECPolicy) watching {
	w := watching{names: p.Watch == "all", dsync: p.Publish.DSYNC && p.Publish.CDS != "never", dsTTL: p.Parent.DSTTL}
	w.target = parent.Target{Zone: wire.Lower(nil, z.Name), Parent: p.Parent.Check}
	if p.Watch != "self" {
		w.target.Servers = z.Secondaries
	}
	if len(p.Parent.Push.To) > 0 {
		w.push, w.key = p.Parent.Push.To, keyRing(c).Key(p.Parent.Push.TSIG)
	}
	return w
}

// How often servers are looked at: while a key comes or goes, and else.
const (
	lookMoving = 10 * time.Minute
	lookSteady = 6 * time.Hour
	lookAsking = time.Hour   // nothing but the parent's DS records is to change
	lookFirst  = time.Minute // after a start, and after a step
	lookEnd    = time.Minute // that one look may take
	lookTick   = 10 * time.Second
	maxLooks   = 16 // at the same time
)

// keyWatch looks at the servers of the zones that are signed here, and at those of their parents.
type keyWatch struct {
	mu    sync.Mutex
	zones map[string]*zoneWatch // by their names in lower case
	slots chan struct{}
}

// A zoneWatch is what is known of one zone.
type zoneWatch struct {
	due    time.Time
	busy   bool
	looked time.Time
	life   *signer.Lifecycle
	policy signer.StagePolicy
	asked  string // what the parent was told last
	told   string // and how it went, for people
}

func newKeyWatch() *keyWatch {
	return &keyWatch{zones: map[string]*zoneWatch{}, slots: make(chan struct{}, maxLooks)}
}

// of returns what is known of a zone.
func (k *keyWatch) of(apex []byte) *zoneWatch {
	k.mu.Lock()
	defer k.mu.Unlock()
	w := k.zones[string(apex)]
	if w == nil {
		w = &zoneWatch{due: time.Now().Add(lookFirst)}
		k.zones[string(apex)] = w
	}
	return w
}

// watchKeys looks until the server ends.
func (a *App) watchKeys() {
	tick := time.NewTicker(lookTick)
	defer tick.Stop()
	var looks sync.WaitGroup
	defer looks.Wait()
	var warned time.Time
	for {
		select {
		case <-a.ctx.Done():
			return
		case <-tick.C:
		}
		signers := map[string]*zoneSigner{}
		for i := range a.current.Load().sources {
			s := &a.current.Load().sources[i]
			if z, ok := s.Signer.(*zoneSigner); ok {
				signers[string(z.key)] = z
			}
		}
		a.keys.forget(signers)
		a.refreshSignals(signers)
		if now := time.Now(); now.Sub(warned) >= warnEvery {
			warned = now
			a.warnExpiring(signers, now)
		}
		for apex, s := range signers {
			if !a.keys.take([]byte(apex), time.Now()) {
				continue
			}
			looks.Go(func() {
				a.keys.slots <- struct{}{}
				defer func() { <-a.keys.slots }()
				ctx, cancel := context.WithTimeout(a.ctx, lookEnd)
				defer cancel()
				if err := a.look(ctx, s); err != nil && a.ctx.Err() == nil {
					a.log.Error("a zone's key rollover cannot be managed", "zone", wire.NameText(s.stage.Zone), "error", err.Error())
				}
			})
		}
	}
}

// warnEvery is how often the log says that signatures run out.
const warnEvery = time.Hour

// warnExpiring says of zones that their signatures run out: the first has less left than half of what
// all should have, so that renewing them must have failed for days.
func (a *App) warnExpiring(signers map[string]*zoneSigner, now time.Time) {
	for key, s := range signers {
		v, ok := a.manager.Snapshot([]byte(key))
		if !ok || v.Status.Signing == nil || v.Status.Signing.Expires.IsZero() {
			continue
		}
		if left := v.Status.Signing.Expires.Sub(now); left < s.stage.Policy.Refresh/2 {
			a.log.Error("signatures could not be renewed: the zone becomes bogus when they expire", "zone", wire.NameText(s.stage.Zone),
				"left", left.Round(time.Minute).String(), "error", cmp.Or(v.Status.Signing.LastError, "unknown"))
		}
	}
}

// forget drops zones that are not signed any more.
func (k *keyWatch) forget(signers map[string]*zoneSigner) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for apex := range k.zones {
		if signers[apex] == nil {
			delete(k.zones, apex)
		}
	}
}

// take reports whether it is time to look at a zone, and that it is being looked at.
func (k *keyWatch) take(apex []byte, now time.Time) bool {
	w := k.of(apex)
	k.mu.Lock()
	defer k.mu.Unlock()
	if w.busy || now.Before(w.due) {
		return false
	}
	w.busy = true
	return true
}

// looker returns what asks servers.
func (a *App) looker() *parent.Checker {
	g := a.current.Load()
	c := g.config
	l := &parent.Checker{IPv4: true, IPv6: true}
	hints, anchors := resolver.Hints(), resolver.Anchors()
	if c.Recurses() {
		l.IPv4, l.IPv6 = c.Resolver.IPv4, c.Resolver.IPv6
		l.Now = c.Resolver.ValidationTime
		anchors = nil
		if c.Resolver.Validation {
			anchors = g.resolver.Anchors // as they have rolled
		}
		if own, err := resolver.LoadHints(c.Resolver.RootHints); err == nil {
			hints = own
		}
	}
	for _, h := range hints {
		l.Roots = append(l.Roots, chain.Server{Name: h.Name, Addrs: h.Addrs})
	}
	for _, t := range anchors {
		l.Anchors = append(l.Anchors, chain.Anchor{Zone: t.Zone, DS: t.DS, Keys: t.Keys})
	}
	return l
}

// look sees what all servers have, takes the steps that follow, and tells the parent what it is to
// have.
func (a *App) look(ctx context.Context, s *zoneSigner) error {
	w := a.keys.of(s.key)
	defer func() {
		a.keys.mu.Lock()
		w.busy = false
		w.due = nextLook(w, time.Now())
		a.keys.mu.Unlock()
	}()
	l := a.looker()
	target := s.watch.target
	if s.watch.names {
		err := a.manager.Signing(s.key, func(_ zones.Signer, served *zone.Zone) (bool, error) {
			target.Names = serversOf(served)
			return false, nil
		})
		if err != nil {
			return err
		}
	}
	sight := l.Check(ctx, &target)
	var life *signer.Lifecycle
	err := a.manager.Signing(s.key, func(now zones.Signer, served *zone.Zone) (bool, error) {
		s, ok := now.(*zoneSigner) // the configuration may be another by now
		if !ok || served == nil {
			return false, nil
		}
		sight.Zone = append(sight.Zone, here(served))
		again, err := s.stage.Observe(sight)
		if err == nil {
			life, err = s.stage.Lifecycle(time.Now())
		}
		return again, err
	})
	if life != nil {
		a.keys.mu.Lock()
		w.life, w.policy, w.looked = life, s.stage.Policy, time.Now()
		a.keys.mu.Unlock()
		a.tellParent(ctx, l, s, w)
	}
	return err
}

// serversOf returns the servers of the NS set of a zone, with those addresses that the zone has.
func serversOf(z *zone.Zone) (list []chain.Server) {
	if z == nil {
		return nil
	}
	var ns, addrs zone.Unpacked
	z.UnpackType(&ns, z.Root(), wire.TypeNS)
	for _, name := range ns.Data {
		s := chain.Server{Name: bytes.Clone(name)}
		var split wire.SplitName
		split.Set(name)
		if wire.Subdomain(wire.Lower(nil, name), z.Apex()) {
			for _, t := range []wire.Type{wire.TypeA, wire.TypeAAAA} {
				if n := z.Lookup(&split); n != 0 && z.UnpackType(&addrs, n, t) {
					for _, d := range addrs.Data {
						if a, ok := netip.AddrFromSlice(d); ok {
							s.Addrs = append(s.Addrs, a)
						}
					}
				}
			}
		}
		list = append(list, s)
	}
	return list
}

// nextLook returns when a zone is looked at next.
func nextLook(w *zoneWatch, now time.Time) time.Time {
	wait := lookSteady
	switch {
	case w.life == nil || w.life.Moves():
		wait = lookMoving
	case w.life.Asks():
		wait = lookAsking
	}
	at := now.Add(wait)
	if w.life != nil {
		if next := w.life.Next(&w.policy.Lifecycle); next.After(now) && next.Before(at) {
			at = next.Add(time.Second)
		}
	}
	return at
}

// here is what this server has of a zone.
func here(z *zone.Zone) signer.ZoneServer {
	var keys, soa zone.Unpacked
	z.UnpackType(&keys, z.Root(), wire.TypeDNSKEY)
	z.UnpackType(&soa, z.Root(), wire.TypeSOA)
	return signer.ZoneServer{Server: "this server", Keys: keys.Data, Sigs: soa.Sigs, Serial: z.Serial()}
}

// tellParent tells the parent, once, what it is to have.
func (a *App) tellParent(ctx context.Context, l *parent.Checker, s *zoneSigner, w *zoneWatch) {
	ds, known := w.life.Wanted()
	asked := fmt.Sprint(ds)
	if !known || w.life.ParentHasWanted() || w.asked == asked {
		return
	}
	told, err := "", error(nil)
	apex := wire.NameText(s.stage.Zone)
	switch {
	case len(s.watch.push) > 0:
		for _, to := range s.watch.push {
			told = "DS records pushed to " + to.String()
			if err = l.Push(ctx, s.stage.Zone, to, s.watch.key, ds, uint32(s.watch.dsTTL/time.Second)); err == nil {
				break
			}
		}
	case s.watch.dsync && len(s.watch.target.Parent) == 0:
		var whom string
		if whom, err = l.NotifyCDS(ctx, s.stage.Zone); whom != "" {
			told = "NOTIFY(CDS) sent to " + whom
		}
	}
	a.keys.mu.Lock()
	defer a.keys.mu.Unlock()
	if err != nil {
		w.told = err.Error()
		a.log.Warn("cannot notify the parent zone of new DS records", "zone", apex, "error", err.Error())
		return
	}
	w.asked, w.told = asked, told
	a.log.Warn("the DS records in the parent zone must be changed: port53 zone ds prints the new ones", "zone", apex, "told",
		cmp.Or(told, "nobody"))
}

// errSigner is why nothing can be done with the keys of a zone.
var errSigner = errors.New("the zone is not signed by this server: set dnssec: {sign: true} on it")

// A KeyStatus is a key, and how far its records have come.
type KeyStatus struct {
	Tag        uint16             `json:"tag"`
	Algorithm  string             `json:"algorithm"`
	Kind       string             `json:"kind"`
	Goal       string             `json:"goal"` // stays, or why it leaves
	File       string             `json:"file"`
	DNSKEY     signer.RecordState `json:"dnskey"`
	Signatures signer.RecordState `json:"signatures"`
	DS         signer.RecordState `json:"ds"`
	Published  time.Time          `json:"published_since,omitzero"`
}

// A KeysStatus is what zone keys prints.
type KeysStatus struct {
	Zone        string                `json:"zone"`
	Keys        []KeyStatus           `json:"keys"`
	Wanted      []string              `json:"ds_wanted"` // that the parent is to have
	Parent      []signer.ParentServer `json:"parent"`
	Servers     []signer.ZoneServer   `json:"servers"`
	Waits       []string              `json:"waits,omitempty"` // what the next step waits for
	Next        time.Time             `json:"next,omitzero"`   // when one comes by itself
	LastChecked time.Time             `json:"looked,omitzero"`
	Notified    string                `json:"parent_told,omitempty"`
	State       string                `json:"state"` // signed, going unsigned, unsigned
}

// Keys implements [console.Admin].
func (a *App) Keys(name, view string) (any, error) {
	key, err := a.zoneKey(name, view)
	if err != nil {
		return nil, err
	}
	var st *KeysStatus
	err = a.manager.Signing(key, func(s zones.Signer, _ *zone.Zone) (bool, error) {
		z, ok := s.(*zoneSigner)
		if !ok {
			return false, errSigner
		}
		life, err := z.stage.Lifecycle(time.Now())
		if err == nil {
			st = a.keysStatus(z, life)
		}
		return false, err
	})
	if err != nil {
		return nil, fmt.Errorf("zone %s: %w", name, err)
	}
	return st, nil
}

// keysStatus tells of the keys of a zone.
func (a *App) keysStatus(z *zoneSigner, life *signer.Lifecycle) *KeysStatus {
	st := &KeysStatus{
		Zone: wire.NameText(z.stage.Zone), Keys: []KeyStatus{}, Wanted: []string{}, Parent: life.Parent, Servers: life.Servers,
		Waits: life.Waits(&z.stage.Policy.Lifecycle), Next: life.Next(&z.stage.Policy.Lifecycle), State: "signed",
	}
	switch {
	case life.Unsigned:
		st.State = "unsigned"
	case life.Insecure:
		st.State = "going unsigned"
	}
	for _, k := range life.Keys {
		st.Keys = append(st.Keys, KeyStatus{
			Tag: k.Tag, Algorithm: wire.AlgorithmName(k.Algorithm), Kind: life.Kind(k), Goal: cmp.Or(k.Retiring, "stays"), File: k.Name,
			DNSKEY: k.DNSKEY, Signatures: k.Signatures, DS: k.DS, Published: k.Published,
		})
	}
	ds, _ := life.Wanted()
	for _, d := range ds {
		st.Wanted = append(st.Wanted, string(wire.AppendRdataText(nil, wire.TypeDS, d)))
	}
	w := a.keys.of(z.key)
	a.keys.mu.Lock()
	defer a.keys.mu.Unlock()
	st.LastChecked, st.Notified = w.looked, w.told
	return st
}

// A KeysCommand is what can be done with the keys of a zone.
type KeysCommand struct {
	Action    string `json:"action"` // roll, seen, gone, look
	Tag       uint16 `json:"tag,omitempty"`
	KSK       bool   `json:"ksk,omitempty"`
	ZSK       bool   `json:"zsk,omitempty"`
	Algorithm string `json:"algorithm,omitempty"`
	Force     bool   `json:"force,omitempty"`
}

// ChangeKeys implements [console.Admin].
func (a *App) ChangeKeys(ctx context.Context, name, view string, command []byte) (any, error) {
	var c KeysCommand
	if err := json.Unmarshal(command, &c); err != nil {
		return nil, fmt.Errorf("the command cannot be read: %w", err)
	}
	key, err := a.zoneKey(name, view)
	if err != nil {
		return nil, err
	}
	if c.Action == "look" {
		err = a.lookNow(ctx, key)
	} else {
		err = a.manager.Signing(key, func(s zones.Signer, _ *zone.Zone) (bool, error) {
			z, ok := s.(*zoneSigner)
			if !ok {
				return false, errSigner
			}
			return true, z.change(c)
		})
		a.keys.soon(key)
	}
	if err != nil {
		return nil, fmt.Errorf("zone %s: %w", name, err)
	}
	return a.Keys(name, view)
}

// change does what a command says.
func (s *zoneSigner) change(c KeysCommand) error {
	switch c.Action {
	case "roll":
		r := signer.Roll{Tag: c.Tag, KSK: c.KSK, ZSK: c.ZSK, Force: c.Force}
		if c.Algorithm != "" {
			var ok bool
			if r.Algorithm, ok = wire.ParseAlgorithm(c.Algorithm); !ok {
				return fmt.Errorf("algorithm %s is not known", c.Algorithm)
			}
		}
		return s.stage.Roll(r, time.Now())
	case "seen", "gone":
		return s.stage.State(c.Tag, c.Action == "seen", time.Now())
	}
	return fmt.Errorf("unknown key command %s", c.Action)
}

// lookNow looks at the servers of a zone now.
func (a *App) lookNow(ctx context.Context, key []byte) error {
	list := a.current.Load().sources
	i := slices.IndexFunc(list, func(s zones.Source) bool {
		z, ok := s.Signer.(*zoneSigner)
		return ok && bytes.Equal(z.key, key)
	})
	if i < 0 {
		return errSigner
	}
	ctx, cancel := context.WithTimeout(ctx, lookEnd)
	defer cancel()
	return a.look(ctx, list[i].Signer.(*zoneSigner))
}

// soon has a zone looked at soon: something has changed.
func (k *keyWatch) soon(apex []byte) {
	w := k.of(apex)
	k.mu.Lock()
	defer k.mu.Unlock()
	w.due = time.Now().Add(lookTick)
}

// collect writes what is known of the keys.
func (k *keyWatch) collect(w *telemetry.Writer, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	states := map[signer.Presence]int{}
	waiting := 0
	for _, z := range k.zones {
		if z.life == nil {
			continue
		}
		for _, key := range z.life.Keys {
			states[key.DNSKEY.State]++
		}
		if len(z.life.Waits(&z.policy.Lifecycle)) > 0 {
			waiting++
		}
	}
	for _, p := range []signer.Presence{signer.Hidden, signer.Rumoured, signer.Omnipresent, signer.Unretentive} {
		w.Set("port53_dnssec_keys", float64(states[p]), "state", p.String())
	}
	w.Set("port53_dnssec_zones_waiting", float64(waiting))
	listed := 0
	for key, z := range k.zones {
		if z.life == nil || listed == telemetry.MaxListed {
			continue
		}
		listed++
		apex := store.Apex([]byte(key))
		if next := z.life.Next(&z.policy.Lifecycle); !next.IsZero() {
			w.Set("port53_dnssec_next_event_seconds", max(0, next.Sub(now).Seconds()), "zone", wire.NameText(apex), "view", key[len(apex):])
		}
	}
}
