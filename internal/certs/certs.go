// Package certs is how this program shows who it is over TLS, and finds out who others are.
//
// A [Manager] has the certificates of a server: one for all clients, and more by the names that
// they ask for (SNI). It reads their files again when they change, so that whoever renews them
// has nothing to restart; what cannot be read leaves what is served as it is. [Manager.Server]
// is the configuration of one protocol: TLS 1.2 and later, the protocol's own name (ALPN), no
// early data, and session tickets whose keys change daily ([Tickets]).
//
// A [Peer] is another server or client as the configuration knows it: by a name that a trusted
// authority vouches for, or by the public key itself (RFC 7858, section 4.2; RFC 8310). It
// judges servers that are asked, and clients that have a certificate. There is no way of
// leaving that out.
//
// [Check] says what is wrong with the files of a certificate before anybody is served by it.
package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The names of the protocols (ALPN).
const (
	DoT = "dot"      // RFC 7858
	DoQ = "doq"      // RFC 9250
	H2  = "h2"       // RFC 9113
	H1  = "http/1.1" // RFC 9112
	H3  = "h3"       // RFC 9114

	proving = "acme-tls/1" // RFC 8737: of an authority, that reads a certificate and says nothing
)

// maxFile is the octets of the largest file that is read: a chain has a few certificates of a
// few KiB each.
const maxFile = 1 << 20

// A Pair is a certificate, with those that lead from it to an authority behind it, and its
// private key: the paths of two files in PEM, which may be one.
type Pair struct {
	Certificate string
	Key         string
	Ordered     bool // the files need not be there, or good, yet: a certificate has been ordered
}

// A Set is certificates that were read together. It is immutable.
type Set struct {
	all    []*tls.Certificate // the first is shown to who asks for no name, or for one of nobody
	byName map[string][]*tls.Certificate
	coming bool // one is not there yet
}

// Load reads pairs of files. The error names the file.
func Load(pairs []Pair) (*Set, error) {
	s := &Set{byName: map[string][]*tls.Certificate{}}
	for _, p := range pairs {
		c, err := load(p)
		if err != nil && p.Ordered {
			s.coming = true
			continue
		}
		if err != nil {
			return nil, err
		}
		s.all = append(s.all, c)
		for _, name := range c.Leaf.DNSNames {
			name = strings.ToLower(name)
			s.byName[name] = append(s.byName[name], c)
		}
	}
	if len(s.all) == 0 && !s.coming {
		return nil, errors.New("no certificate")
	}
	return s, nil
}

func load(p Pair) (*tls.Certificate, error) {
	for _, problem := range Check(p, nil, time.Now()) {
		if problem.Fatal {
			return nil, errors.New(problem.in(p))
		}
	}
	chain, err := readFile(p.Certificate)
	if err != nil {
		return nil, err
	}
	key, err := readFile(p.Key)
	if err != nil {
		return nil, err
	}
	c, err := tls.X509KeyPair(chain, key)
	if err != nil { // it was renewed while it was read
		return nil, fmt.Errorf("%s: %w", p.Certificate, err)
	}
	return &c, nil
}

// readFile reads a file that is not too large to be one of PEM.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case info.Size() > maxFile:
		return nil, fmt.Errorf("%s has %d octets, more than %d", path, info.Size(), maxFile)
	}
	return os.ReadFile(path)
}

// pick returns the certificate for what a client asks, and whether it asks for a name that
// none has. It is nil while there is none at all.
func (s *Set) pick(hello *tls.ClientHelloInfo) (c *tls.Certificate, unknown bool) {
	if len(s.all) == 0 {
		return nil, false
	}
	list, unknown := s.named(hello.ServerName)
	for _, c := range list {
		if hello.SupportsCertificate(c) == nil {
			return c, unknown
		}
	}
	return list[0], unknown
}

// named returns the certificates that one is chosen of for a client that asks for name, and whether
// none has it.
func (s *Set) named(name string) (list []*tls.Certificate, unknown bool) {
	if len(s.all) == 0 {
		return nil, false
	}
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	list = s.byName[name]
	if _, parent, found := strings.Cut(name, "."); len(list) == 0 && found {
		list = s.byName["*."+parent]
	}
	if unknown = len(list) == 0 && name != ""; len(list) == 0 {
		list = s.all[:1]
		if name == "" {
			list = s.all // of several for one name the client may bear but one
		}
	}
	return list, unknown
}

// An Info is a certificate as people know it.
type Info struct {
	Names     []string // and addresses
	NotBefore time.Time
	NotAfter  time.Time
	Subject   string
}

// shown returns what certificates say.
func (s *Set) shown() []Info {
	var list []Info
	for _, c := range s.all {
		l := c.Leaf
		list = append(list, Info{Names: namesOf(l), NotBefore: l.NotBefore, NotAfter: l.NotAfter, Subject: l.Subject.String()})
	}
	return list
}

func namesOf(c *x509.Certificate) []string {
	names := slices.Clone(c.DNSNames)
	for _, a := range c.IPAddresses {
		names = append(names, a.String())
	}
	return names
}

// A Manager has the certificates that a server shows. It is safe for use by many goroutines.
type Manager struct {
	set     atomic.Pointer[Set]
	proofs  sync.Map // of strings and *tls.Certificate: what is shown to authorities, by name
	unknown atomic.Uint64

	mu    sync.Mutex
	pairs []Pair
	marks []mark // of the files that the set was read from
}

// NewManager reads the certificates of pairs.
func NewManager(pairs []Pair) (*Manager, error) {
	k := &Manager{}
	return k, k.Replace(pairs)
}

// Replace reads the certificates of other pairs. On an error what is shown stays.
func (k *Manager) Replace(pairs []Pair) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.read(pairs, marksOf(pairs))
}

func (k *Manager) read(pairs []Pair, marks []mark) error {
	s, err := Load(pairs)
	if err != nil {
		return err
	}
	if before := k.set.Load(); s.coming && before != nil && !before.coming {
		return errGone
	}
	k.set.Store(s)
	k.pairs, k.marks = pairs, marks
	return nil
}

// Refresh reads the certificates again if one of their files has changed, and reports whether
// others are shown now. On an error those before stay, and the next call tries again.
func (k *Manager) Refresh() (changed bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	marks := marksOf(k.pairs)
	if slices.Equal(marks, k.marks) {
		return false, nil
	}
	before := k.set.Load()
	if err := k.read(k.pairs, marks); err != nil {
		return false, err
	}
	return !before.equal(k.set.Load()), nil
}

func (s *Set) equal(other *Set) bool {
	return slices.EqualFunc(s.all, other.all, func(a, b *tls.Certificate) bool {
		return slices.EqualFunc(a.Certificate, b.Certificate, bytes.Equal)
	})
}

// Info returns the certificates that are shown, the one for all clients first.
func (k *Manager) Certificates() []Info { return k.set.Load().shown() }

// Unknown returns how many clients have asked for a name that no certificate has.
func (k *Manager) Unknown() uint64 { return k.unknown.Load() }

// Covers reports why the certificate that a client gets who asks for name would not satisfy
// it, by the client's trust in roots; nil roots are the system's. name may be an address.
func (k *Manager) Covers(name string, roots *x509.CertPool, now time.Time) error {
	s := k.set.Load()
	c, _ := s.pick(&tls.ClientHelloInfo{ServerName: name})
	if c == nil {
		return ErrNone
	}
	between := x509.NewCertPool()
	for _, der := range c.Certificate[1:] {
		if issuer, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(issuer)
		}
	}
	_, err := c.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: between, CurrentTime: now})
	return err
}

// VerifiableAddrs returns the addresses that a client can verify which asks for name: those that are, with
// the name itself, in each certificate that it could be shown, from now until then. What a chain
// ends with is taken to be trusted: which authorities a client trusts is not known here.
func (k *Manager) VerifiableAddrs(name string, now, then time.Time) (addrs []netip.Addr) {
	list, _ := k.set.Load().named(name)
	for i, c := range list {
		has := func(a netip.Addr) bool {
			return slices.ContainsFunc(c.Leaf.IPAddresses, func(ip net.IP) bool { b, _ := netip.AddrFromSlice(ip); return b.Unmap() == a })
		}
		if !holds(c, name, now) || !holds(c, name, then) {
			return nil
		}
		if i == 0 {
			for _, ip := range c.Leaf.IPAddresses {
				a, _ := netip.AddrFromSlice(ip)
				addrs = append(addrs, a.Unmap())
			}
		}
		addrs = slices.DeleteFunc(addrs, func(a netip.Addr) bool { return !has(a) })
	}
	return addrs
}

// holds reports whether the certificate has the name, and is good for a server, as is each up to the
// last of its chain.
func holds(c *tls.Certificate, name string, now time.Time) bool {
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	last := c.Leaf
	for _, der := range c.Certificate[1:] {
		issuer, err := x509.ParseCertificate(der)
		if err != nil {
			return false
		}
		between.AddCert(issuer)
		last = issuer
	}
	roots.AddCert(last)
	_, err := c.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: between, CurrentTime: now})
	return err == nil
}

// ErrNone is why nobody is served yet: the certificate has been ordered, and is not there.
var ErrNone = errors.New("there is no certificate yet")

// errGone is why what is shown stays when the file of an ordered certificate is lost, or damaged.
var errGone = errors.New("the file of a certificate that was ordered is gone, or cannot be used")

// SetChallenge has the server show c to an authority that asks for name by the protocol of tls-alpn-01
// (RFC 8737); nil: no more.
func (k *Manager) SetChallenge(name string, c *tls.Certificate) {
	if c == nil {
		k.proofs.Delete(name)
	} else {
		k.proofs.Store(name, c)
	}
}

// proof returns what an authority is shown, if one asks.
func (k *Manager) proof(hello *tls.ClientHelloInfo) *tls.Config {
	if len(hello.SupportedProtos) != 1 || hello.SupportedProtos[0] != proving {
		return nil
	}
	c, found := k.proofs.Load(strings.ToLower(hello.ServerName))
	if !found {
		return nil // there is no protocol that both speak then
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{proving}, Certificates: []tls.Certificate{*c.(*tls.Certificate)},
		SessionTicketsDisabled: true,
	}
}

// A mark tells one content of a file from another.
type mark struct {
	changed time.Time
	size    int64
}

func marksOf(pairs []Pair) []mark {
	var marks []mark
	for _, p := range pairs {
		for _, path := range []string{p.Certificate, p.Key} {
			m := mark{size: -1}
			if info, err := os.Stat(path); err == nil {
				m = mark{info.ModTime(), info.Size()}
			}
			marks = append(marks, m)
		}
	}
	return marks
}

// asked is in a session whose client was asked for a certificate, whether it has shown one or not.
const asked = "port53: asked for a certificate"

// Server returns the configuration of a server of protocols that has the certificates of k.
// mutual, which may be nil, reports whether clients are asked for a certificate of their own;
// whose it is is for who uses the connection to judge. The keys of session tickets are to be
// set by [Tickets.Rotate].
func (k *Manager) Server(mutual func() bool, protocols ...string) *tls.Config {
	get := func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		c, unknown := k.set.Load().pick(hello)
		if unknown {
			k.unknown.Add(1)
		}
		if c == nil {
			return nil, ErrNone
		}
		return c, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: protocols, GetCertificate: get}
	if mutual == nil {
		if slices.Contains(protocols, H2) { // over TCP, where authorities ask
			c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) { return k.proof(hello), nil }
		}
		return c
	}
	asking := &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: protocols, GetCertificate: get,
		ClientAuth: tls.RequestClientCert, VerifyPeerCertificate: bounded,
	}
	// A session from when nobody was asked has no certificate: it is not resumed, so that its client
	// is asked. The keys of tickets are those of c.
	asking.WrapSession = func(st tls.ConnectionState, session *tls.SessionState) ([]byte, error) {
		session.Extra = append(session.Extra, []byte(asked))
		return c.EncryptTicket(st, session)
	}
	asking.UnwrapSession = func(ticket []byte, st tls.ConnectionState) (*tls.SessionState, error) {
		session, err := c.DecryptTicket(ticket, st)
		if session == nil || !slices.ContainsFunc(session.Extra, func(b []byte) bool { return string(b) == asked }) {
			return nil, err
		}
		return session, err
	}
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		if mutual() {
			return asking, nil
		}
		return nil, nil
	}
	return c
}
