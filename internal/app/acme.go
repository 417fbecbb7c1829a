package app

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"port53/internal/acme"
	"port53/internal/authority"
	"port53/internal/certs"
	"port53/internal/config"
	"port53/internal/server"
	"port53/internal/store"
	"port53/internal/telemetry"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zones"
)

const (
	acmeConns = 64               // that ask for http-01 at the same time: authorities look from a few places
	acmeAsk   = 10 * time.Second // to ask, and to be answered
	proofTTL  = 60               // seconds: a record that nobody needs for longer
)

// An issuance has an authority issue the certificate that is shown.
type issuance struct {
	manager   *acme.Manager
	listeners []net.Listener // where http-01 is answered

	mu    sync.Mutex
	paths map[string]string // of http-01, and what is answered
}

// listenACME binds where http-01 is answered, and reads what root alone may read.
func (a *App) listenACME(c *config.Config) error {
	o := &c.Encrypted.ACME
	if !o.Set() || a.encryption == nil {
		return nil
	}
	var roots *x509.CertPool
	if o.CA != "" {
		var err error
		if roots, err = certs.ReadRoots(o.CA); err != nil {
			return fmt.Errorf("encrypted.acme.ca: %w", err)
		}
	}
	i := &issuance{paths: map[string]string{}}
	a.encryption.issuance = i
	for _, addr := range o.Listen {
		l, err := server.ListenTCP(addr)
		if err != nil {
			return fmt.Errorf("encrypted.acme: %w", err)
		}
		i.listeners = append(i.listeners, netutil.LimitListener(l, acmeConns))
	}
	var binding *acme.Binding
	if o.EAB.KeyID != "" {
		key, err := certs.ReadMACKey(o.EAB.HMACFile)
		if err != nil {
			return fmt.Errorf("encrypted.acme.eab: %w", err)
		}
		binding = &acme.Binding{KeyID: o.EAB.KeyID, Key: key}
	}
	i.manager = acme.New(acme.Options{
		Binding: binding,
		Dir:     o.Dir(), File: o.File(), Directory: o.Directory, Roots: roots, Email: o.Email, Names: o.Names, Profile: o.Profile,
		Challenge: o.Challenge, Solver: a, Log: a.log, Renewed: func() { a.lookAtCertificates(time.Now()) },
	})
	return nil
}

// close gives back the addresses.
func (i *issuance) close() {
	for _, l := range i.listeners {
		l.Close()
	}
}

// followACME has the certificate issued and renewed until the server ends.
func (a *App) followACME() {
	if a.encryption == nil || a.encryption.issuance == nil {
		return
	}
	i := a.encryption.issuance
	if err := a.state.refusal(); err != nil {
		a.log.Error("no certificate is ordered or renewed: the state directory cannot be used", "error", err.Error())
		return
	}
	var side sync.WaitGroup
	for _, l := range i.listeners {
		s := &http.Server{
			Handler: i, ReadTimeout: acmeAsk, WriteTimeout: acmeAsk, IdleTimeout: acmeAsk, MaxHeaderBytes: 8 << 10,
		}
		context.AfterFunc(a.ctx, func() { s.Close() })
		side.Go(func() { _ = s.Serve(l) }) // it ends with the server
	}
	i.manager.Run(a.ctx)
	side.Wait()
}

// ServeHTTP answers http-01, and nothing else.
func (i *issuance) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	text, found := i.paths[r.URL.Path]
	i.mu.Unlock()
	if !found || r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream") // RFC 8555, section 8.3
	_, _ = w.Write([]byte(text))
}

// Present implements [acme.Solver].
func (a *App) Present(ctx context.Context, p *acme.Proof) error {
	i := a.encryption.issuance
	switch {
	case p.Path != "":
		i.mu.Lock()
		defer i.mu.Unlock()
		i.paths[p.Path] = p.Text
	case p.Certificate != nil:
		a.encryption.keeper.SetChallenge(provedName(p.Name), p.Certificate)
	default:
		return a.presentRecord(ctx, p)
	}
	return nil
}

// Withdraw implements [acme.Solver].
func (a *App) Withdraw(p *acme.Proof) {
	i := a.encryption.issuance
	switch {
	case p.Path != "":
		i.mu.Lock()
		defer i.mu.Unlock()
		delete(i.paths, p.Path)
	case p.Certificate != nil:
		a.encryption.keeper.SetChallenge(provedName(p.Name), nil)
	default:
		if err := a.changeRecord(p, false); err != nil {
			a.log.Warn("the record that proved a name could not be removed", "name", p.Record, "error", err.Error())
		}
	}
}

// provedName returns what an authority asks for by SNI that looks for a name or an address: the name that
// an address has in the tree of DNS (RFC 8738, section 6).
func provedName(name string) string {
	if ip, err := netip.ParseAddr(name); err == nil {
		return strings.TrimSuffix(wire.NameText(wire.ReverseName(ip)), ".")
	}
	return strings.ToLower(name)
}

// presentRecord puts the record of dns-01 into a zone, and gives secondaries time to fetch it.
func (a *App) presentRecord(ctx context.Context, p *acme.Proof) error {
	if err := a.changeRecord(p, true); err != nil {
		return err
	}
	c := a.current.Load().config
	owner, err := wire.ParseName(p.Record)
	if err != nil {
		return err
	}
	wait := time.Duration(0)
	for _, n := range proofZones(c, owner) {
		if z := &c.Zones[n]; len(z.Secondaries)+len(z.Notify)+len(z.TransferRemotes)+len(z.AllowTransfer) > 0 {
			wait = c.Encrypted.ACME.DNSWait
		}
	}
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// proofZones returns the zones that have the owner of a proof.
func proofZones(c *config.Config, owner []byte) []int {
	return c.ChallengeZones(owner[1+len("_acme-challenge"):])
}

// changeRecord adds the record of dns-01 to the zones that have its name, or removes it.
func (a *App) changeRecord(p *acme.Proof, add bool) error {
	c := a.current.Load().config
	owner, err := wire.ParseName(p.Record)
	if err != nil {
		return err
	}
	data := append([]byte{byte(len(p.TXT))}, p.TXT...)
	list := proofZones(c, owner)
	if len(list) == 0 {
		return errors.New("no primary zone of this server has " + p.Record)
	}
	var errs []error
	for _, n := range list {
		z := &c.Zones[n]
		_, err := a.manager.Edit(store.Key(z.Name, z.Qualifier()), "encrypted.acme", proofPlan(owner, data, add))
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// proofPlan adds a TXT record beside those that there are, or removes it.
func proofPlan(owner, data []byte, add bool) zones.Plan {
	return func(now *authority.Updater, _ *zone.Notes) (zones.Changes, error) {
		set := now.Set(owner, wire.TypeTXT)
		if len(now.Set(owner, wire.TypeCNAME).Data) > 0 {
			return zones.Changes{}, errors.New("there is a CNAME record: have a zone of this server be delegated instead")
		}
		set.Data = slices.DeleteFunc(slices.Clone(set.Data), func(d []byte) bool { return string(d) == string(data) })
		if add {
			set.Data = append(set.Data, data)
		}
		set.Owner, set.Type, set.TTL = owner, wire.TypeTXT, proofTTL
		return zones.Changes{Sets: []authority.Set{set}}, nil
	}
}

// provesIn returns which zones of c are changed to prove names.
func provesIn(c *config.Config) (list []int) {
	o := &c.Encrypted.ACME
	if o.Challenge != config.DNS01 {
		return nil
	}
	for _, text := range o.Names {
		if name, err := wire.ParseName(strings.TrimPrefix(text, "*.")); err == nil {
			list = append(list, c.ChallengeZones(name)...)
		}
	}
	return list
}

// collect writes how it goes with the authority.
func (i *issuance) collect(w *telemetry.Writer) {
	st := i.manager.Stats()
	w.Set("port53_acme_orders_total", float64(st.Renewed), "result", "issued")
	w.Set("port53_acme_orders_total", float64(st.Failed), "result", "failed")
	w.Set("port53_acme_failing", float64(st.Failing))
	if !st.Next.IsZero() {
		w.Set("port53_acme_next_order_timestamp_seconds", float64(st.Next.Unix()))
	}
}
