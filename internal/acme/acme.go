// Package acme has an authority issue the server's certificate, and renews it (RFC 8555).
//
// A [Manager] keeps the account's key and the certificate in a directory of its own, which nobody
// else can read. [Manager.Run] orders a certificate when there is none, or one for other names, and
// renews it when a third of its lifetime is left, or when the authority suggests it (RFC 9773). The
// certificate before is replaced in one step, and only by one that can be used: while the authority
// cannot be reached, nothing changes but the time of the next attempt. Attempts grow rarer, and a
// restart does not make them more frequent.
//
// How the authority is shown that the names are this server's is up to the [Solver].
package acme

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mholt/acmez/v3/acme"
)

// The challenges.
const (
	HTTP01    = "http-01"     // RFC 8555, section 8.3
	DNS01     = "dns-01"      // RFC 8555, section 8.4
	TLSALPN01 = "tls-alpn-01" // RFC 8737
)

const (
	orderTime  = 10 * time.Minute // for one order, from the account to the certificate
	askTime    = time.Minute      // for the authority's suggestion
	suggestMin = time.Hour        // between two questions for the suggestion, whatever Retry-After says
	suggestMax = 24 * time.Hour
	suggestOft = 6 * time.Hour // where it says nothing
	maxAhead   = 24 * time.Hour
)

// Options make a Manager.
type Options struct {
	Dir       string         // of the account; made if it is not there
	File      string         // of the certificate and its key
	Directory string         // the URL where the authority tells what it has
	Roots     *x509.CertPool // by whom the authority is known; nil: those of the system
	Email     string         // where the authority writes to; may be empty
	Names     []string       // that the certificate is for: names as in ASCII, and addresses
	Binding   *Binding       // another account that vouches for this one; nil: none
	Profile   string         // which of its certificates the authority is to issue; empty: its default
	Challenge string         // HTTP01, DNS01 or TLSALPN01
	Solver    Solver
	Log       *slog.Logger
	Renewed   func() // called when there is another certificate
}

// A Binding is an account that the authority knows by other ways (RFC 8555, section 7.3.4).
type Binding struct {
	KeyID string
	Key   []byte // of HMAC-SHA256
}

// A Proof is what shows an authority that a name is this server's.
type Proof struct {
	Name        string           // or an address
	Path, Text  string           // of http-01: what is asked for, and the answer
	Record, TXT string           // of dns-01: the owner, and the text of its TXT record
	Certificate *tls.Certificate // of tls-alpn-01: what is shown to who asks with the protocol acme-tls/1
}

// A Solver has proofs be seen by the authority.
type Solver interface {
	// Present has p be seen from when it returns.
	Present(ctx context.Context, p *Proof) error
	// Withdraw takes back what Present has done, or has begun.
	Withdraw(p *Proof)
}

// Stats says how it goes.
type Stats struct {
	Renewed, Failed uint64    // orders
	Failing         int       // orders that have failed since the last that has not
	Next            time.Time // when the next order is due
}

// A Manager has one certificate. It is made by [New].
type Manager struct {
	o      Options
	client *acme.Client
	now    func() time.Time

	mu    sync.Mutex
	stats Stats
}

// New makes a Manager. It does nothing before [Manager.Run].
func New(o Options) *Manager {
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		TLSClientConfig:        &tls.Config{RootCAs: o.Roots, MinVersion: tls.VersionTLS12},
		DialContext:            (&net.Dialer{Timeout: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:    30 * time.Second,
		ResponseHeaderTimeout:  30 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		IdleConnTimeout:        30 * time.Second,
		ForceAttemptHTTP2:      true,
	}
	m := &Manager{o: o, now: time.Now}
	m.client = &acme.Client{
		Directory:  o.Directory,
		UserAgent:  "port53",
		HTTPClient: &http.Client{Transport: transport, Timeout: time.Minute},
	}
	return m
}

// Stats returns how it goes.
func (m *Manager) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stats
}

// Run obtains and renews the certificate until ctx ends.
func (m *Manager) Run(ctx context.Context) {
	st := m.readState()
	var suggested suggestion
	for {
		now := m.now()
		leaf := m.leaf()
		if leaf != nil && !now.Before(suggested.again) {
			suggested = m.suggestion(ctx, leaf, suggested)
		}
		at := m.due(leaf, suggested.at, now)
		if at.Before(st.NotBefore) {
			at = st.NotBefore
		}
		m.mu.Lock()
		m.stats.Next, m.stats.Failing = at, st.Failed
		m.mu.Unlock()
		if !at.After(now) {
			m.attempt(ctx, leaf, &st)
			suggested = suggestion{}
			if ctx.Err() != nil {
				return
			}
			continue
		}
		wake := at
		if leaf != nil && suggested.again.Before(wake) {
			wake = suggested.again
		}
		if !sleep(ctx, min(wake.Sub(now), maxAhead)) { // the clock may be set meanwhile
			return
		}
	}
}

// sleep waits, and reports whether ctx has not ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// attempt orders a certificate, and says when the next attempt may be.
func (m *Manager) attempt(ctx context.Context, leaf *x509.Certificate, st *state) {
	// Written down before: a server that dies in the attempt, and is started again, waits as well.
	now := m.now()
	if st.NotBefore = now.Add(backoff(st.Failed+1, true)); m.writeState(st) != nil {
		m.o.Log.Warn("the state of certificates cannot be written: attempts are not counted over a restart", "dir", m.o.Dir)
	}
	got, err := m.order(ctx, leaf)
	m.mu.Lock()
	if err == nil {
		m.stats.Renewed++
	} else if ctx.Err() == nil {
		m.stats.Failed++
	}
	m.mu.Unlock()
	switch {
	case ctx.Err() != nil && err != nil:
		st.NotBefore = now // the server ends: that is nobody's fault
	case err != nil:
		var problem acme.Problem
		st.Failed++
		st.NotBefore = m.now().Add(backoff(st.Failed, errors.As(err, &problem)))
		attrs := []any{"error", err.Error(), "names", m.o.Names, "next", st.NotBefore.UTC().Format(time.RFC3339), "failed", st.Failed}
		if leaf != nil {
			attrs = append(attrs, "days", int(leaf.NotAfter.Sub(now).Hours()/24))
		}
		m.o.Log.Error("no certificate was issued: the one before is shown as long as it is valid", attrs...)
	default:
		*st = state{}
		// An authority whose certificates are due at once must not be asked without end.
		st.NotBefore = now.Add(min(backoff(1, true), got.NotAfter.Sub(now)/2))
		m.o.Log.Info("a certificate was issued", "names", m.o.Names, "expires", got.NotAfter.UTC().Format(time.RFC3339))
	}
	_ = m.writeState(st) // said above
	if err == nil && m.o.Renewed != nil {
		m.o.Renewed()
	}
}

// backoff returns how long nothing is asked for after so many failures in a row. An authority that
// answered no is asked at most five times an hour for a name: more is counted against the account.
func backoff(failed int, answered bool) time.Duration {
	const most = 6 * time.Hour
	d := 30 * time.Second
	if answered {
		d = 10 * time.Minute
	}
	if d <<= min(failed-1, 16); d > most {
		d = most
	}
	return d + time.Duration(float64(d)/4*fraction())
}

// fraction returns a number from 0 to 1 that nobody foresees: clients that were stopped together
// must not come together.
func fraction() float64 {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return float64(binary.BigEndian.Uint64(b[:])>>11) / (1 << 53)
}

// due returns when a certificate is to be renewed.
func (m *Manager) due(leaf *x509.Certificate, suggested, now time.Time) time.Time {
	switch {
	case leaf == nil:
		return now
	case !suggested.IsZero():
		return suggested
	}
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	early := time.Duration(float64(life) / 30 * share(leaf))
	return leaf.NotAfter.Add(-life/3 - early)
}

// share returns a number from 0 to 1 that is each certificate's own, and the same after a restart.
func share(leaf *x509.Certificate) float64 {
	sum := sha256.Sum256(leaf.Raw)
	return float64(binary.BigEndian.Uint32(sum[:])) / (1 << 32)
}

// A suggestion is when the authority would have a certificate renewed.
type suggestion struct {
	at    time.Time // zero: it has not said
	again time.Time // when to ask again
}

// suggestion asks for it. What cannot be had leaves what was said before.
func (m *Manager) suggestion(ctx context.Context, leaf *x509.Certificate, before suggestion) suggestion {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	now := m.now()
	s := suggestion{at: before.at, again: now.Add(suggestOft)}
	info, err := m.client.GetRenewalInfo(ctx, leaf)
	if err != nil || !info.HasWindow() || info.SuggestedWindow.End.Before(info.SuggestedWindow.Start) {
		return s
	}
	window := info.SuggestedWindow
	s.at = window.Start.Add(time.Duration(share(leaf) * float64(window.End.Sub(window.Start))))
	if last := leaf.NotAfter.Add(-leaf.NotAfter.Sub(leaf.NotBefore) / 10); s.at.After(last) {
		s.at = last // a suggestion does not have a certificate run out
	}
	if info.RetryAfter != nil {
		s.again = now.Add(min(max(info.RetryAfter.Sub(now), suggestMin), suggestMax))
	}
	return s
}

// order has a certificate issued, and puts it in the place of the one before.
func (m *Manager) order(ctx context.Context, before *x509.Certificate) (*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, orderTime)
	defer cancel()
	if before != nil && m.now().Before(before.NotBefore) {
		return nil, errors.New("the clock is before the certificate's beginning: set the clock")
	}
	own, err := m.account()
	if err != nil {
		return nil, err
	}
	account := acme.Account{TermsOfServiceAgreed: true, PrivateKey: own}
	if m.o.Email != "" {
		account.Contact = []string{"mailto:" + m.o.Email}
	}
	if b := m.o.Binding; b != nil {
		eab := acme.EAB{KeyID: b.KeyID, MACKey: base64.RawURLEncoding.EncodeToString(b.Key)}
		if err := account.SetExternalAccountBinding(ctx, m.client, eab); err != nil {
			return nil, fmt.Errorf("account: %w", err)
		}
	}
	// Who has an account already, by the same key, is told which.
	if account, err = m.client.NewAccount(ctx, account); err != nil {
		return nil, fmt.Errorf("account: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	o, err := m.authorized(ctx, account, before)
	if err != nil {
		return nil, err
	}
	request := &x509.CertificateRequest{}
	for _, name := range m.o.Names {
		if a, err := netip.ParseAddr(name); err == nil {
			request.IPAddresses = append(request.IPAddresses, a.AsSlice())
		} else {
			request.DNSNames = append(request.DNSNames, name)
		}
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, request, key)
	if err != nil {
		return nil, err
	}
	if o, err = m.client.FinalizeOrder(ctx, account, o, csr); err != nil {
		return nil, fmt.Errorf("finalize: %w", err)
	}
	chains, err := m.client.GetCertificateChain(ctx, account, o.Certificate)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	if len(chains) == 0 {
		return nil, errors.New("the authority has issued nothing")
	}
	leaf, text, err := m.judge(chains[0].ChainPEM, key)
	if err != nil {
		return nil, fmt.Errorf("the certificate that was issued cannot be used: %w", err)
	}
	return leaf, replace(m.o.File, text)
}

// judge reports why a chain is not what was ordered, or returns what is written of it.
func (m *Manager) judge(chain []byte, key *ecdsa.PrivateKey) (*x509.Certificate, []byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	text := slices.Concat(chain, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, nil, err
	}
	if !covers(pair.Leaf, m.o.Names) {
		return nil, nil, fmt.Errorf("it is for %v %v", pair.Leaf.DNSNames, pair.Leaf.IPAddresses)
	}
	if now := m.now(); now.After(pair.Leaf.NotAfter) {
		return nil, nil, fmt.Errorf("it expired on %s, by this machine's clock", pair.Leaf.NotAfter.UTC().Format(time.DateOnly))
	}
	return pair.Leaf, text, nil
}

// covers reports whether a certificate is for all of the names.
func covers(leaf *x509.Certificate, names []string) bool {
	return !slices.ContainsFunc(names, func(name string) bool {
		if a, err := netip.ParseAddr(name); err == nil {
			return !slices.ContainsFunc(leaf.IPAddresses, func(ip net.IP) bool { return ip.Equal(a.AsSlice()) })
		}
		return !slices.ContainsFunc(leaf.DNSNames, func(have string) bool { return strings.EqualFold(have, name) })
	})
}

// account returns the key of the account, which is made if there is none.
func (m *Manager) account() (crypto.Signer, error) { return accountKey(m.o.Dir) }
