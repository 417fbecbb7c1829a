//go:build pkcs11

package pkcs11

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/pkcs11"
)

// Bounds of what is asked of a token.
const (
	// patience is how long a module may take for one thing, such as to make an RSA key on a smart card.
	patience = time.Minute
	// maxSessions is how many sessions sign at once: what all CPUs keep busy, and fewer than tokens have.
	maxSessions = 16
	// tries is how often something is tried that a token refused: in the session at hand, in one that is
	// new, and in that after another goroutine has brought the token back.
	tries = 3
	// maxPIN is more octets than a PIN has.
	maxPIN = 255
)

// A module is a library. All calls of it but those that start it hold mu for reading.
type module struct {
	path string

	mu    sync.RWMutex
	ctx   *pkcs11.Ctx // nil: it is not loaded
	start int         // how often it was initialised: handles are good until the next time

	hung atomic.Int32 // calls that nobody waits for any more, and that have not returned
}

// load loads the library, the first time, and initialises it. mu is held for writing.
func (m *module) load() error {
	if m.ctx == nil {
		if _, err := os.Stat(m.path); err != nil {
			return err
		}
		if m.ctx = pkcs11.New(m.path); m.ctx == nil {
			return fmt.Errorf("%s cannot be loaded: it is no PKCS#11 module for this architecture, or lacks a library", m.path)
		}
	}
	err := m.ctx.Initialize()
	if errors.Is(err, pkcs11.Error(pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED)) {
		err = nil
	}
	m.start++
	if err != nil {
		return fmt.Errorf("%s cannot be initialised: %w", m.path, err)
	}
	return nil
}

// restart initialises the library again, if nobody has since start: one that has lost its token, or had
// none, may not look for it otherwise.
func (m *module) restart(start int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.start != start {
		return nil
	}
	if m.ctx != nil {
		_ = m.ctx.Finalize() // as far as it was initialised
	}
	return m.load()
}

// A store is one token.
type store struct {
	Options
	module *module

	mu      sync.Mutex
	link    *link    // nil: there is none
	refused [32]byte // of the PIN that the token refused last, SHA-256; zero: none
}

// A link is a token that is there, and logged in to.
type link struct {
	start int // of the module
	slot  uint
	busy  chan struct{} // has as many places as there may be sessions

	mu   sync.Mutex
	idle []pkcs11.SessionHandle
	keys map[string]pkcs11.ObjectHandle // by URI
	dead bool
}

// A session is where one goroutine has the token do something.
type session struct {
	*pkcs11.Ctx
	handle pkcs11.SessionHandle
	link   *link
	store  *store
}

// await runs what calls the module, and gives up on it after a while: a network may be in between, and
// whoever waits holds a zone. Until the call returns all others fail at once.
func (s *store) await(f func() error) error {
	hangs := fmt.Errorf("key store %q: the module %s does not answer", s.Name, s.Module)
	if s.module.hung.Load() > 0 {
		return hangs
	}
	done := make(chan error, 1)
	go func() { done <- f() }()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		s.module.hung.Add(1)
		go func() {
			<-done
			s.module.hung.Add(-1)
		}()
		return hangs
	}
}

// do has f work in a session, logged in to the token. What the token refuses is tried again in another:
// it may have been removed and put back, or has closed them all.
func (s *store) do(write bool, f func(session) error) (err error) {
	for range tries {
		var l *link
		if l, err = s.connect(); err != nil {
			return fmt.Errorf("key store %q: %w", s.Name, err)
		}
		err = s.in(l, write, f)
		if code := pkcs11.Error(0); !errors.As(err, &code) && !errors.Is(err, errNoKey) {
			return err
		}
		s.drop(l)
	}
	return fmt.Errorf("key store %q: %w", s.Name, err)
}

// in runs f in a session of a link.
func (s *store) in(l *link, write bool, f func(session) error) error {
	s.module.mu.RLock()
	defer s.module.mu.RUnlock()
	if l.start != s.module.start {
		return pkcs11.Error(pkcs11.CKR_SESSION_HANDLE_INVALID)
	}
	l.busy <- struct{}{}
	defer func() { <-l.busy }()
	h, err := l.take(s.module.ctx, write)
	if err != nil {
		return err
	}
	if err = f(session{s.module.ctx, h, l, s}); err == nil && !write {
		l.mu.Lock()
		defer l.mu.Unlock()
		if !l.dead {
			l.idle = append(l.idle, h)
			return nil
		}
	}
	_ = s.module.ctx.CloseSession(h) // it may be gone
	return err
}

// take returns a session that nobody uses. One that writes is new, and closed after it.
func (l *link) take(ctx *pkcs11.Ctx, write bool) (pkcs11.SessionHandle, error) {
	if write {
		return ctx.OpenSession(l.slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	}
	l.mu.Lock()
	if n := len(l.idle); n > 1 { // the first stays: who closes all is logged out
		defer l.mu.Unlock()
		h := l.idle[n-1]
		l.idle = l.idle[:n-1]
		return h, nil
	}
	l.mu.Unlock()
	return ctx.OpenSession(l.slot, pkcs11.CKF_SERIAL_SESSION)
}

// drop forgets a link that does not work.
func (s *store) drop(l *link) {
	s.mu.Lock()
	if s.link == l {
		s.link = nil
	}
	s.mu.Unlock()
	s.module.mu.RLock()
	defer s.module.mu.RUnlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = true
	for _, h := range l.idle {
		if l.start == s.module.start { // else the number may be another's by now
			_ = s.module.ctx.CloseSession(h)
		}
	}
	l.idle = nil
}

// connect returns the link to the token, which it makes if there is none.
func (s *store) connect() (*link, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != nil {
		return s.link, nil
	}
	s.module.mu.RLock()
	start := s.module.start
	l, err := s.dial()
	s.module.mu.RUnlock()
	if errors.Is(err, errPIN) {
		return nil, err
	}
	if err != nil {
		if err := s.module.restart(start); err != nil {
			return nil, err
		}
		s.module.mu.RLock()
		l, err = s.dial()
		s.module.mu.RUnlock()
	}
	s.link = l
	return l, err
}

// errNotLoaded is that a module has to be loaded first.
var errNotLoaded = errors.New("the module is not loaded")

// dial finds the token and logs in. The module and the store are held.
func (s *store) dial() (*link, error) {
	ctx := s.module.ctx
	if ctx == nil || s.module.start == 0 {
		return nil, errNotLoaded
	}
	slot, info, err := s.find()
	if err != nil {
		return nil, err
	}
	h, err := ctx.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION)
	if err != nil {
		return nil, err
	}
	if err := s.login(h); err != nil {
		_ = ctx.CloseSession(h)
		return nil, err
	}
	most := maxSessions
	if n := info.MaxSessionCount; n > 2 && n < maxSessions { // 0 and all ones say nothing
		most = int(n) - 2 // the one that stays, and one that writes
	}
	return &link{
		start: s.module.start, slot: slot, busy: make(chan struct{}, most),
		idle: []pkcs11.SessionHandle{h}, keys: map[string]pkcs11.ObjectHandle{},
	}, nil
}

// find returns the slot of the token that the store's URI names.
func (s *store) find() (uint, *pkcs11.TokenInfo, error) {
	slots, err := s.module.ctx.GetSlotList(true)
	if err != nil {
		return 0, nil, err
	}
	var others []string
	for _, slot := range slots {
		info, err := s.module.ctx.GetTokenInfo(slot)
		if err != nil || info.Flags&pkcs11.CKF_TOKEN_INITIALIZED == 0 {
			continue
		}
		has := map[string]string{
			"token": info.Label, "manufacturer": info.ManufacturerID, "serial": info.SerialNumber, "model": info.Model,
			"slot-id": strconv.FormatUint(uint64(slot), 10),
		}
		if !slices.ContainsFunc(s.URI.values, func(a attribute) bool { return strings.TrimRight(has[a.name], " \x00") != a.value }) {
			return slot, &info, nil
		}
		others = append(others, strconv.Quote(strings.TrimRight(info.Label, " \x00")))
	}
	if others == nil {
		others = []string{"none"}
	}
	return 0, nil, fmt.Errorf("there is no token %s: those that %s has are %s", s.URI, s.Module, strings.Join(others, ", "))
}

// errPIN is that the token is there, and lets nobody in by the PIN at hand.
var errPIN = errors.New("PIN")

// login logs in to the token by the PIN in the file, unless the token has refused that one: tokens are
// locked after a few.
func (s *store) login(h pkcs11.SessionHandle) error {
	if s.PINFile == "" {
		return nil
	}
	info, err := os.Stat(s.PINFile)
	if err != nil {
		return fmt.Errorf("the %w cannot be read: %w", errPIN, err)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return fmt.Errorf("the %w is readable by every user: chmod o= %s", errPIN, s.PINFile)
	}
	text, err := os.ReadFile(s.PINFile)
	if err != nil {
		return fmt.Errorf("the %w cannot be read: %w", errPIN, err)
	}
	pin := strings.TrimRight(string(text), "\r\n")
	if pin == "" || len(pin) > maxPIN {
		return fmt.Errorf("the %w in %s is empty or too long: want the PIN, and nothing else", errPIN, s.PINFile)
	}
	sum := sha256.Sum256([]byte(pin))
	if sum == s.refused {
		return fmt.Errorf("the token has refused the %w in %s, which is not tried again so that the token is not locked: "+
			"change the file", errPIN, s.PINFile)
	}
	err = s.module.ctx.Login(h, pkcs11.CKU_USER, pin)
	switch code := pkcs11.Error(0); {
	case err == nil:
		s.refused = [32]byte{}
	case !errors.As(err, &code):
	case code == pkcs11.CKR_USER_ALREADY_LOGGED_IN:
		return nil
	case code == pkcs11.CKR_PIN_INCORRECT, code == pkcs11.CKR_PIN_LEN_RANGE, code == pkcs11.CKR_PIN_INVALID:
		s.refused = sum
		return fmt.Errorf("the token refuses the %w in %s: put the right one there, which is read again", errPIN, s.PINFile)
	case code == pkcs11.CKR_PIN_LOCKED, code == pkcs11.CKR_PIN_EXPIRED:
		s.refused = sum
		return fmt.Errorf("the %w is locked or has expired: the token's security officer has to set it again", errPIN)
	}
	return err
}

// errNoKey is that a token has no such key, or shows none: it does not to whom it has logged out.
var errNoKey = errors.New("the token has no private key")

// key returns the private key that a URI names.
func (c session) key(uri URI) (pkcs11.ObjectHandle, error) {
	name := uri.String()
	c.link.mu.Lock()
	object, ok := c.link.keys[name]
	c.link.mu.Unlock()
	if ok {
		return object, nil
	}
	found, err := c.objects(uri, pkcs11.CKO_PRIVATE_KEY)
	switch {
	case err != nil:
		return 0, err
	case len(found) == 0:
		return 0, fmt.Errorf("%w %s: bring it back from a backup of the token", errNoKey, name)
	case len(found) > 1:
		return 0, fmt.Errorf("key store %q: the token has more than one private key %s", c.store.Name, name)
	}
	c.link.mu.Lock()
	c.link.keys[name] = found[0]
	c.link.mu.Unlock()
	return found[0], nil
}
