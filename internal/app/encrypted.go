package app

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"port53/internal/certs"
	"port53/internal/config"
	"port53/internal/server"
	"port53/internal/server/doh"
	"port53/internal/server/doq"
	"port53/internal/telemetry"
	"port53/internal/transfer"
	"port53/internal/upstream"
)

// lookTime is how often the files of certificates are looked at.
const lookTime = 10 * time.Second

// An encryption is what the server shows over TLS.
type encryption struct {
	keeper  *certs.Manager
	tickets *certs.Tickets
	looking sync.Mutex // held while the files are looked at
	told    time.Time  // when the log was told last of what expires; under looking

	issuance *issuance // nil: the files are somebody else's
}

// newEncryption reads what a server of c shows; nil: it serves nothing over TLS.
func newEncryption(c *config.Config) (*encryption, error) {
	if !c.Encrypted.Listens() {
		return nil, nil
	}
	keeper, err := certs.NewManager(c.Encrypted.Pairs())
	if err != nil {
		return nil, fmt.Errorf("encrypted: %w", err)
	}
	tickets, err := certs.NewTickets(c.Encrypted.Tickets)
	if err != nil {
		return nil, fmt.Errorf("encrypted.tickets: %w", err)
	}
	return &encryption{keeper: keeper, tickets: tickets}, nil
}

// encrypt returns what is served over TLS by a server of c, which may have so many connections.
func (a *App) encrypt(c *config.Config, conns int) (e server.Encrypted, err error) {
	a.encryption, err = newEncryption(c)
	if err != nil || a.encryption == nil {
		return e, err
	}
	limits := &c.Encrypted.Limits
	e = server.Encrypted{
		DoT: c.Encrypted.DoT, Handshakes: int(limits.Handshakes),
		Limits: server.Limits{
			Conns: conns, PerAddr: limits.PerClient, PerPeer: c.TCP.PerPeer, PerPrefix: limits.PerNetwork,
			Pending: c.TCP.InFlight, Idle: c.TCP.Idle, Question: c.TCP.Question, Stall: c.TCP.WriteStall,
		},
	}
	if len(e.DoT) > 0 {
		e.TLS = a.encryption.keeper.Server(a.knowsClients, certs.DoT)
		a.encryption.tickets.Attach(e.TLS)
	}
	over := func(addrs []netip.AddrPort, service server.PacketService, mutual func() bool, protocol string) {
		l := server.ServiceBinding{Addrs: addrs, TLS: a.encryption.keeper.Server(mutual, protocol), Packets: service}
		a.encryption.tickets.Attach(l.TLS)
		e.Services = append(e.Services, l)
	}
	if len(c.Encrypted.DoQ) > 0 {
		over(
			c.Encrypted.DoQ,
			doq.New(doq.Options{Streams: limits.Streams, Question: c.TCP.Question, Stall: c.TCP.WriteStall, Log: a.log}),
			a.knowsClients,
			certs.DoQ,
		)
	}
	if h := &c.Encrypted.DoH; len(h.Listen) > 0 {
		// Nobody is asked for a certificate here: browsers give a resolver up that asks for one.
		l := server.ServiceBinding{Addrs: h.Listen, TLS: a.encryption.keeper.Server(nil, certs.H2, certs.H1)}
		a.encryption.tickets.Attach(l.TLS)
		web := doh.New(doh.Options{
			Path:     h.Path,
			Proxies:  h.Proxies,
			Streams:  limits.Streams,
			Idle:     c.TCP.Idle,
			Question: c.TCP.Question,
			Stall:    c.TCP.WriteStall,
			Log:      a.log,
		})
		l.Service = web
		e.Services = append(e.Services, l)
		if h.HTTP3 {
			over(h.Listen, web.HTTP3(), nil, certs.H3)
		}
	}
	return e, a.encryption.tickets.Rotate(time.Now())
}

// proxied returns the listeners that are behind proxies.
func proxied(c *config.Config) (list []server.Proxied) {
	for _, p := range c.Proxies {
		for _, a := range p.Listen {
			list = append(list, server.Proxied{Addr: a, From: p.From})
		}
	}
	return list
}

// followCertificates reads certificates and secrets again when their files change, and gives
// tickets new keys, until the server ends.
func (a *App) followCertificates() {
	if a.encryption == nil {
		return
	}
	a.encryption.looking.Lock()
	a.tellCertificates(time.Now())
	a.encryption.looking.Unlock()
	a.tellDiscovery(nil)
	tick := time.NewTicker(lookTime)
	defer tick.Stop()
	for {
		select {
		case <-a.ctx.Done():
			return
		case now := <-tick.C:
			a.lookAtCertificates(now)
		}
	}
}

// followFiles reads the certificates of whose again when their files change, until ctx ends.
func (a *App) followFiles(ctx context.Context, keeper *certs.Manager, whose string) {
	tick := time.NewTicker(lookTime)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if _, err := keeper.Refresh(); err != nil {
				a.log.Error("the certificate of "+whose+" changed and cannot be used: the previous one stays in use", "error", err.Error())
			}
		}
	}
}

// lookAtCertificates does so once.
func (a *App) lookAtCertificates(now time.Time) {
	e := a.encryption
	e.looking.Lock()
	defer e.looking.Unlock()
	changed, err := e.keeper.Refresh()
	if err != nil {
		a.log.Error("a certificate changed and cannot be used: the previous one stays in use", "error", err.Error())
	}
	if err := e.tickets.Rotate(now); err != nil {
		a.log.Error("the session ticket secrets cannot be read: the previous ones stay in use", "error", err.Error())
	}
	if changed {
		a.log.Info("certificate replaced", "certificates", shownText(e.keeper.Certificates()))
		e.told = time.Time{}
	}
	a.tellCertificates(now)
	a.rediscover(now)
}

func shownText(list []certs.Info) (texts []string) {
	for _, s := range list {
		texts = append(texts, fmt.Sprintf("%s until %s", strings.Join(s.Names, " "), s.NotAfter.UTC().Format(time.DateOnly)))
	}
	return texts
}

// soon is how long before its end a certificate is spoken of, each day: those of authorities
// that renew by themselves have been renewed by then. Of one that lasts for a few days it is a quarter.
const soon = 14 * 24 * time.Hour

// tellCertificates logs once a day which certificates expire soon, or have expired.
func (a *App) tellCertificates(now time.Time) {
	e := a.encryption
	if now.Sub(e.told) < 24*time.Hour {
		return
	}
	e.told = now
	for _, s := range e.keeper.Certificates() {
		if left := s.NotAfter.Sub(now); left <= 0 {
			a.log.Error("a certificate has expired: clients reject it", "names", s.Names, "expired", s.NotAfter.UTC().Format(time.RFC3339))
		} else if left < min(soon, s.NotAfter.Sub(s.NotBefore)/4) {
			a.log.Warn(
				"a certificate expires soon: renew it",
				"names",
				s.Names,
				"expires",
				s.NotAfter.UTC().Format(time.RFC3339),
				"days",
				int(left.Hours()/24),
			)
		}
	}
}

// showOthers shows the certificates of another configuration.
func (a *App) showOthers(c *config.Config) {
	e := a.encryption
	if e == nil || !c.Encrypted.Listens() {
		return
	}
	before := shownText(e.keeper.Certificates())
	if err := e.keeper.Replace(c.Encrypted.Pairs()); err != nil {
		a.log.Error("the configured certificates cannot be used: the previous ones stay in use", "error", err.Error())
	} else if now := shownText(e.keeper.Certificates()); !slices.Equal(before, now) {
		a.log.Info("certificate replaced", "certificates", now)
	}
	a.rediscover(time.Now())
}

// encryptedDiffers reports whether what is served over TLS differs in what only counts at a start.
func encryptedDiffers(running, c *config.Config) bool {
	fixed := func(c *config.Config) config.Encrypted {
		e := c.Encrypted
		e.Name, e.Certificate, e.Key, e.Certificates, e.Padding, e.DDR = nil, "", "", nil, 0, false
		return e
	}
	return !reflect.DeepEqual(fixed(running), fixed(c))
}

// encryptedAddrs returns where something encrypted is to be served over TCP.
func encryptedAddrs(c *config.Config) []netip.AddrPort {
	return slices.Concat(c.Encrypted.DoT, c.Encrypted.DoH.Listen)
}

// collectEncrypted writes what is to be told of encrypted transports.
func (a *App) collectEncrypted(w *telemetry.Writer, st *server.Stats) {
	e := a.encryption
	if e == nil {
		return
	}
	for _, s := range e.keeper.Certificates() {
		w.Set("port53_certificate_expiry_timestamp_seconds", float64(s.NotAfter.Unix()), "names", strings.Join(s.Names, " "))
	}
	if e.issuance != nil {
		e.issuance.collect(w)
	}
	w.Set("port53_tls_unknown_names_total", float64(e.keeper.Unknown()))
	h := &st.Handshakes
	for result, n := range map[string]uint64{
		"full": h.Done - h.Resumed, "resumed": h.Resumed, "failed": h.Failed,
		"refused": h.Refused, "retried": h.Retried,
	} {
		w.Set("port53_tls_handshakes_total", float64(n), "result", result)
	}
	w.Set("port53_encrypted_connections", float64(st.Secure.Open))
	w.Set("port53_encrypted_connections_total", float64(st.Secure.Accepted))
	for reason, n := range closed(&st.Secure) {
		w.Set("port53_encrypted_closed_total", float64(n), "reason", reason)
	}
	for _, l := range a.server.Encrypted() {
		switch l.Transport { // DoH is there twice, if HTTP/3 is served as well, and told once
		case server.DoT:
			collectTraffic(w, st.DoT, "dot")
		case server.DoH:
			collectTraffic(w, st.DoH, "doh")
		case server.DoQ:
			collectTraffic(w, st.DoQ, "doq")
		}
	}
}

// closed returns why connections were closed, and how many.
func closed(c *server.Connections) map[string]uint64 {
	return map[string]uint64{"refused": c.Refused, "evicted": c.Evicted, "timeout": c.TimedOut, "stalled": c.Stalled}
}

// transports returns where servers are, and how those are asked that are not asked in the clear.
func transports(
	list []config.Upstream,
	t *config.UpstreamTLS,
) (addrs []netip.AddrPort, byAddr map[netip.AddrPort]*upstream.Transport, err error) {
	var roots *x509.CertPool
	var what []byte
	if t.CA != "" {
		if roots, err = certs.ReadRoots(t.CA); err != nil {
			return nil, nil, err
		}
		what, _ = os.ReadFile(t.CA) // to tell authorities apart; it was read just now
	}
	for _, u := range list {
		addrs = append(addrs, u.Addr)
		if u.Scheme == "" {
			continue
		}
		p := &certs.Peer{Name: u.Name, Roots: roots, Pins: t.Digests()}
		if len(p.Pins) > 0 && u.Name == u.Addr.Addr().WithZone("").String() {
			p.Name = "" // nobody wrote a name: the key says who it is
		}
		if byAddr == nil {
			byAddr = map[netip.AddrPort]*upstream.Transport{}
		}
		if byAddr[u.Addr] = upstream.NewTransport(p, u.Name, u.Path, string(what)); u.Scheme == config.SchemeQUIC {
			byAddr[u.Addr] = upstream.NewQUICTransport(p, string(what))
		}
	}
	return addrs, byAddr, nil
}

// peerOf returns how a remote is known over TLS.
func peerOf(r *config.Remote) (*certs.Peer, error) {
	p := &certs.Peer{Name: r.TLS.Name, Pins: r.TLS.Digests()}
	var err error
	if r.TLS.CA != "" {
		if p.Roots, err = certs.ReadRoots(r.TLS.CA); err != nil {
			return nil, err
		}
	}
	if r.TLS.Certificate != "" {
		if p.Own, err = certs.NewManager([]certs.Pair{{Certificate: r.TLS.Certificate, Key: r.TLS.Key}}); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// peerAt returns who a remote has to be at one of its addresses, which its certificate has if neither a name nor keys are
// configured. What cannot be read, as checked before, leaves a peer that fits nobody, so that nothing goes in the clear.
func peerAt(r *config.Remote, addr netip.Addr) *certs.Peer {
	p, err := peerOf(r)
	if err != nil {
		return &certs.Peer{}
	}
	if p.Name == "" && len(p.Pins) == 0 {
		p.Name = addr.WithZone("").String()
	}
	return p
}

// sealedServers returns the servers that are spoken with over TLS alone.
func sealedServers(c *config.Config) map[netip.AddrPort]*transfer.TLS {
	var all map[netip.AddrPort]*transfer.TLS
	for i := range c.Remotes {
		r := &c.Remotes[i]
		if !r.TLS.Set() {
			continue
		}
		if all == nil {
			all = map[netip.AddrPort]*transfer.TLS{}
		}
		for _, a := range r.Addresses {
			all[a] = transfer.NewTLS(peerAt(r, a.Addr()))
		}
	}
	return all
}

// knowsClients reports whether clients of DoT and DoQ may be known by certificates of their own, so
// that they are asked for one.
func (a *App) knowsClients() bool {
	g := a.current.Load()
	return g != nil && (len(g.config.ClientCertificates) > 0 ||
		slices.ContainsFunc(g.config.Remotes, func(r config.Remote) bool { return r.TLS.Set() && len(r.TSIG) < 2 }))
}

// knowsCertificates reports whether grants know anybody by a certificate, so that clients of the API
// and of the console are asked for one.
func (a *App) knowsCertificates() bool {
	g := a.current.Load()
	return g != nil && len(g.config.ClientCertificates) > 0
}
