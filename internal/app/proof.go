package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"port53/internal/config"
	"port53/internal/console"
	"port53/internal/firewall"
	"port53/internal/fwrun"
	"port53/internal/policy"
	"port53/internal/proof"
	"port53/internal/telemetry"
	"port53/internal/wire"
)

// ProofOf returns what a server of c has to be like, for who proves that it is.
func ProofOf(c *config.Config) (*proof.Server, error) {
	who, err := seers(c)
	if err != nil {
		return nil, err
	}
	s := &proof.Server{
		Listen: c.WithoutProxies(c.Listen), DoT: c.WithoutProxies(c.Encrypted.DoT), DoH: c.WithoutProxies(c.Encrypted.DoH.Listen),
		Recurses: c.Recurses(),
		Version:  c.Identity.Version, UDPSize: c.EDNS.UDPSize, Socket: c.Control.Socket, Files: filesOf(c), State: c.Firewall.StateDir,
		MayQuery:   func(a netip.Addr) bool { return who.of(a).access.MayQuery(a) },
		MayRecurse: func(a netip.Addr) bool { v := who.of(a); return v.recurses && v.access.MayRecurse(a) },
	}
	if r := c.Policy.RateLimit; r.Enabled && !r.LogOnly {
		s.Burst, s.Rate = r.Burst, int(r.PerSecond)
	}
	s.Zones = provedZones(c, who)
	for _, d := range []struct {
		may, key string
		at       netip.AddrPort
		list     []netip.Prefix
	}{{"scrape", "metrics.listen", c.Metrics.Listen, c.Expose.Scrape}, {"control", "api.listen", c.API.Listen, c.Expose.Control}} {
		if !d.at.IsValid() {
			continue
		}
		_, said := c.Expose.PlaceOf(d.may)
		s.HTTPListeners = append(s.HTTPListeners, proof.HTTPListener{
			Kind:   d.may,
			Addr:   d.at,
			Remedy: "set " + d.key + " to a loopback address, or list the clients in expose." + d.may,
			Allows: func(a netip.Addr) bool {
				return !said || slices.ContainsFunc(d.list, func(n netip.Prefix) bool { return n.Contains(a) })
			},
		})
	}
	return s, rulesOf(c, s)
}

// rulesOf adds the rules of the firewall that are to be loaded: those that the server keeps, or that were
// applied.
func rulesOf(c *config.Config, s *proof.Server) error {
	b := firewall.Nftables
	if !c.Firewall.Manage {
		applied, ok := (&fwrun.System{State: c.Firewall.StateDir}).Applied()
		if b = applied; !ok {
			return nil
		}
	}
	p, err := FirewallPlan(c)
	if err == nil {
		err = p.Check()
	}
	if err != nil {
		return fmt.Errorf("firewall: %w", err)
	}
	if c.Firewall.Manage {
		g, err := planGuard(c)
		if err != nil {
			return err
		}
		s.Plan, s.Rules = p, g.rules
		return nil
	}
	if s.Rules, err = p.Render(b); err != nil {
		return fmt.Errorf("firewall: %w", err)
	}
	s.Plan = p
	return nil
}

// A seer is what a view lets its clients do.
type seer struct {
	name     string
	match    *policy.ACL // whose view it is; nil: everybody's
	never    bool        // it is for keys, or for some listeners, alone
	access   *policy.Access
	recurses bool
}

type seerList []seer

// of returns the view of an address, of clients that sign nothing.
func (l seerList) of(a netip.Addr) *seer {
	for i := range l[1:] {
		if v := &l[i+1]; !v.never && (v.match == nil || v.match.Allows(a)) {
			return v
		}
	}
	return &l[0]
}

// seers returns the views, the default one first.
func seers(c *config.Config) (list seerList, err error) {
	for i, in := range views(c) {
		n, err := networksOf(in)
		if err != nil {
			return nil, err
		}
		v := seer{name: in.View(), recurses: in.Recurses()}
		if v.access, err = access(in, n); err != nil {
			return nil, err
		}
		if i > 0 {
			m := &c.Views[i-1].Match
			v.recurses = v.recurses && c.Views[i-1].Resolver.Recursion
			v.never = len(m.Key)+len(m.Listen) > 0 || len(m.ClientKeys) > 0 && len(m.Clients) == 0
			if len(m.Clients)+len(m.Except) > 0 {
				if v.match, err = policy.NewACL(policy.ACLOptions{Allow: m.Clients, Deny: m.Except}); err != nil {
					return nil, err
				}
			}
		}
		list = append(list, v)
	}
	return list, nil
}

// provedZones returns the zones by name: of several of one name, what any lets is let.
func provedZones(c *config.Config, who seerList) (list []proof.Zone) {
	in := c.ZoneViews()
	byName := map[string][]int{}
	for i := range c.Zones {
		name := string(wire.Lower(nil, c.Zones[i].Name))
		if byName[name] == nil {
			list = append(list, proof.Zone{Name: c.Zones[i].Name})
		}
		byName[name] = append(byName[name], i)
	}
	for j := range list {
		zones := byName[string(wire.Lower(nil, list[j].Name))]
		any := func(f func(i int, a netip.Addr) bool) func(netip.Addr) bool {
			return func(a netip.Addr) bool { return slices.ContainsFunc(zones, func(i int) bool { return f(i, a) }) }
		}
		has := func(list []netip.Prefix, a netip.Addr) bool {
			return slices.ContainsFunc(list, func(n netip.Prefix) bool { return n.Contains(a) })
		}
		list[j].MayQuery = any(func(i int, a netip.Addr) bool {
			z := &c.Zones[i]
			if in != nil && !slices.Contains(in[i], who.of(a).name) {
				return false
			}
			return len(z.AllowQuery) == 0 || has(slices.Concat(z.AllowQuery, peersOf(z.Primaries, z.Secondaries)), a)
		})
		// A stranger is let have a zone without a key only by who has said so.
		list[j].Transfer = any(func(i int, a netip.Addr) bool {
			z := &c.Zones[i]
			networks, _, _, said := c.Expose.Peers("transfer")
			alone := z.Insecure && len(z.TSIG) == 0
			return said && has(networks, a) && (has(z.TransferAlone, a) || alone && has(z.AllowTransfer, a))
		})
		list[j].Notify = any(func(i int, a netip.Addr) bool {
			z := &c.Zones[i]
			return len(z.Primaries) > 0 && has(slices.Concat(z.AllowNotify, peersOf(z.Primaries)), a)
		})
	}
	return list
}

// filesOf returns the files that others than the server must not read, or not write.
func filesOf(c *config.Config) (list []proof.File) {
	secret := func(what string, paths ...string) {
		for _, p := range paths {
			if p != "" && !slices.ContainsFunc(list, func(f proof.File) bool { return f.Path == p }) {
				list = append(list, proof.File{Path: p, What: what, Secret: true})
			}
		}
	}
	inline := slices.ContainsFunc(c.Keys, func(k config.Key) bool { return k.Secret != "" })
	for _, f := range c.Files() {
		list = append(list, proof.File{Path: f, What: "the configuration", Secret: inline})
	}
	for i := range c.Keys {
		secret("a key", c.Keys[i].SecretFile)
	}
	for i := range c.Tokens {
		secret("a token", c.Tokens[i].SecretFile)
	}
	for i := range c.KeyStores {
		secret("the PIN of a key store", c.KeyStores[i].PINFile)
	}
	secret("the cookie secrets", c.EDNS.CookieSecretsFile)
	secret("the TLS session ticket secrets", c.Encrypted.Tickets)
	secret("the key of an account at the authority", c.Encrypted.ACME.EAB.HMACFile)
	for _, p := range c.Encrypted.Pairs() {
		secret("a key of TLS", p.Key)
	}
	for i := range c.Remotes {
		secret("a key of TLS", c.Remotes[i].TLS.Key)
	}
	list = append(list, proof.File{Path: c.StateDir, What: "the state"})
	keys, _ := filepath.Glob(filepath.Join(c.StateDir, KeysDir, "*", "*.private"))
	more, _ := filepath.Glob(filepath.Join(c.StateDir, KeysDir, "*", "*", "*.private"))
	secret("a DNSSEC key", append(keys, more...)...)
	secret("grants", globbed(filepath.Join(c.StateDir, GrantsFile))...)
	for i := range c.Zones {
		if from := c.Zones[i].DNSSEC.KeysFrom; from != "" {
			more, _ := filepath.Glob(filepath.Join(from, "*.private"))
			secret("a DNSSEC key", more...)
		}
	}
	return list
}

func globbed(pattern string) []string {
	list, _ := filepath.Glob(pattern) // the pattern is good
	return list
}

// A Proof is what became of proving the contract of a server that runs.
type Proof struct {
	At       time.Time    `json:"at"`
	Lines    int          `json:"lines"`
	Violated []proof.Line `json:"violated,omitempty"`
	Unknown  []proof.Line `json:"unknown,omitempty"`
}

// NewProof returns the proof that lines are.
func NewProof(lines []proof.Line, at time.Time) *Proof {
	p := &Proof{At: at.UTC().Truncate(time.Second), Lines: len(lines)}
	for _, l := range lines {
		switch l.State {
		case proof.Violated:
			p.Violated = append(p.Violated, l)
		case proof.Unknown:
			p.Unknown = append(p.Unknown, l)
		}
	}
	return p
}

// proofAge is for how long a proof counts: it is made again each hour.
const proofAge = 2 * time.Hour

// proved is the last proof, and whether readiness goes by it.
type proved struct {
	last   atomic.Pointer[Proof]
	needed bool
}

// Bounds of what a prover tells.
const (
	maxProof  = 1000 // lines
	maxToldOf = 20   // that are logged
)

// RecordProof implements [console.Admin].
func (a *App) RecordProof(by console.Caller, what []byte) (any, error) {
	p := &Proof{}
	if err := json.Unmarshal(what, p); err != nil {
		return nil, err
	}
	if p.At.IsZero() || p.At.After(time.Now().Add(time.Minute)) || len(p.Violated)+len(p.Unknown) > maxProof {
		return nil, errors.New("the proof cannot be read")
	}
	was := a.proof.last.Swap(p)
	a.tellProof(was, p, by)
	return nil, nil
}

// tellProof logs what a proof has found that the one before had not, and what is mended.
func (a *App) tellProof(was, now *Proof, by console.Caller) {
	if was == nil {
		was = &Proof{}
		for _, l := range now.Unknown {
			a.log.Info("part of the contract cannot be proved", "what", l.Expected, "why", l.Seen)
		}
	}
	gone := func(from, to []proof.Line) (list []string) {
		for i := range from {
			if text := from[i].String(); !slices.ContainsFunc(to, func(l proof.Line) bool { return l.String() == text }) {
				list = append(list, text)
			}
		}
		return list[:min(len(list), maxToldOf)]
	}
	for _, text := range gone(now.Violated, was.Violated) {
		a.log.Error("the contract is violated", "line", text)
	}
	for _, text := range gone(was.Violated, now.Violated) {
		a.log.Info("a contract violation is resolved", "line", text)
	}
	if was.At.IsZero() || len(was.Violated) != len(now.Violated) {
		a.log.Info(
			"the contract was proved",
			"lines",
			now.Lines,
			"violated",
			len(now.Violated),
			"unknown",
			len(now.Unknown),
			"by",
			by.String(),
		)
	}
}

// proofError says why the server is not ready as long as its contract is not proved, or nil.
func (a *App) proofError() error {
	if !a.proof.needed {
		return nil
	}
	p := a.proof.last.Load()
	switch {
	case p == nil:
		return errors.New("the contract is not proved yet: port53 prove --watch, as root, does it")
	case len(p.Violated) > 0:
		return fmt.Errorf("the contract is violated: %s", strings.TrimSpace(p.Violated[0].String()))
	case time.Since(p.At) > proofAge:
		return fmt.Errorf("the contract was last proved at %s: is port53 prove --watch running?", p.At.Format(time.RFC3339))
	}
	return nil
}

// collectProof writes what became of proving the contract.
func (a *App) collectProof(w *telemetry.Writer) {
	p := a.proof.last.Load()
	if p == nil {
		return
	}
	w.Set("port53_contract_violations", float64(len(p.Violated)))
	w.Set("port53_contract_unknown", float64(len(p.Unknown)))
	w.Set("port53_contract_proved_timestamp_seconds", float64(p.At.Unix()))
}
