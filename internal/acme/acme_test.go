package acme_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"port53/internal/acme"
	"port53/internal/acme/acmetest"
)

// A prover has proofs be seen by the authority of a test.
type prover struct {
	mu   sync.Mutex
	seen map[string]*acme.Proof
}

func (p *prover) Present(_ context.Context, x *acme.Proof) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen[x.Name] = x
	return nil
}

func (p *prover) Withdraw(x *acme.Proof) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.seen, x.Name)
}

// look is what the authority does.
func (p *prover) look(c *acmetest.Challenge) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.seen[c.Name]
	switch {
	case x == nil:
	case c.Kind == acme.HTTP01 && x.Path == "/.well-known/acme-challenge/"+c.Token && x.Text == c.Proof,
		c.Kind == acme.DNS01 && x.Record == "_acme-challenge."+c.Name && x.TXT == c.Digest(),
		c.Kind == acme.TLSALPN01 && x.Certificate != nil:
		return nil
	}
	return errors.New("no proof")
}

// A bench is a manager and its authority.
type bench struct {
	*testing.T
	*acmetest.Authority
	prover
	o   acme.Options
	log *bytes.Buffer
}

func newBench(t *testing.T, challenge string, names ...string) *bench {
	b := &bench{T: t, prover: prover{seen: map[string]*acme.Proof{}}, log: &bytes.Buffer{}}
	b.Authority = acmetest.New(t, b.look)
	dir := filepath.Join(t.TempDir(), "acme")
	b.o = acme.Options{
		Dir: dir, File: filepath.Join(dir, "certificate.pem"), Directory: b.Directory(), Roots: b.Roots(), Names: names, Challenge: challenge,
		Solver: b, Log: slog.New(slog.NewTextHandler(b.log, nil)),
	}
	return b
}

// until runs a manager until it says that something is so, and returns what it says then.
func (b *bench) until(so func(acme.Stats) bool) acme.Stats {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	m, done := acme.New(b.o), make(chan struct{})
	go func() {
		defer close(done)
		m.Run(ctx)
	}()
	deadline := time.Now().Add(20 * time.Second)
	for !so(m.Stats()) && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	<-done
	if !so(m.Stats()) {
		b.Fatalf("%+v; %s", m.Stats(), b.log)
	}
	return m.Stats()
}

func (b *bench) certificate() *tls.Certificate {
	b.Helper()
	c, err := tls.LoadX509KeyPair(b.o.File, b.o.File)
	if err != nil {
		b.Fatal(err)
	}
	return &c
}

func waiting(s acme.Stats) bool { return s.Next.After(time.Now()) }

// Each challenge leads to a certificate for all names, once; nobody else can read what is kept, and what
// was shown is taken back.
func TestIssued(t *testing.T) {
	for _, challenge := range []string{acme.HTTP01, acme.DNS01, acme.TLSALPN01} {
		t.Run(challenge, func(t *testing.T) {
			names := []string{"dns.test", "other.test"}
			if challenge != acme.DNS01 {
				names = append(names, "127.0.0.1")
			}
			b := newBench(t, challenge, names...)
			b.o.Profile = "shortlived"
			told := 0
			b.o.Renewed = func() { told++ }
			st := b.until(func(s acme.Stats) bool { return s.Renewed == 1 && waiting(s) })
			leaf := b.certificate().Leaf
			if len(leaf.DNSNames) != 2 || len(leaf.IPAddresses) != len(names)-2 || told != 1 || len(b.seen) != 0 {
				t.Errorf("%v %v, told %d times, %d proofs are left", leaf.DNSNames, leaf.IPAddresses, told, len(b.seen))
			}
			if left := time.Until(st.Next); left > 61*24*time.Hour || left < 56*24*time.Hour {
				t.Errorf("renewed in %v, want a third of 90 days before the end, and up to 3 days earlier", left)
			}
			if !slices.Equal(b.Profiles, []string{"shortlived"}) || b.Replaced[0] != "" {
				t.Errorf("orders for profiles %q that replace %q", b.Profiles, b.Replaced)
			}
			err := filepath.WalkDir(b.o.Dir, func(path string, d fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				if info, err := d.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
					t.Errorf("%s: %v %v", path, info.Mode(), err)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			before := b.certificate().Certificate[0]
			b.until(waiting) // a restart
			if b.Orders != 1 || !bytes.Equal(before, b.certificate().Certificate[0]) {
				t.Errorf("%d orders after a restart", b.Orders)
			}
			if b.o.Names = append(b.o.Names, "third.test"); challenge == acme.DNS01 {
				st := b.until(func(s acme.Stats) bool { return waiting(s) })
				if st.Renewed != 0 { // an order was made a moment ago: that is waited for
					t.Error("the name that is new was ordered at once after another order")
				}
			}
		})
	}
}

// An authority that suggests another time is followed, if the certificate does not run out by that.
func TestSuggestion(t *testing.T) {
	b := newBench(t, acme.DNS01, "dns.test")
	b.until(func(s acme.Stats) bool { return s.Renewed == 1 })
	old := b.certificate().Leaf
	b.o.Directory += "/ari"
	soon := time.Now().Add(3 * 24 * time.Hour)
	b.Window = [2]time.Time{soon, soon.Add(24 * time.Hour)}
	at := b.until(waiting).Next
	if at.Before(soon) || at.After(soon.Add(24*time.Hour)) {
		t.Errorf("renewed at %v, want within a day from %v", at, soon)
	}
	if again := b.until(waiting).Next; !again.Equal(at) {
		t.Errorf("another time after a restart: %v, then %v", at, again)
	}
	b.Window = [2]time.Time{old.NotAfter, old.NotAfter.Add(time.Hour)}
	if at := b.until(waiting).Next; at.After(old.NotAfter.Add(-8 * 24 * time.Hour)) {
		t.Errorf("renewed at %v, and it ends at %v", at, old.NotAfter)
	}
	// Now: as if it were revoked.
	b.Window = [2]time.Time{time.Now().Add(-time.Hour), time.Now().Add(-time.Minute)}
	b.until(func(s acme.Stats) bool { return s.Renewed == 1 })
	if len(b.Replaced) != 2 || b.Replaced[1] == "" {
		t.Errorf("the order replaces %q", b.Replaced)
	}
	if b.certificate().Leaf.SerialNumber.Cmp(old.SerialNumber) == 0 {
		t.Error("the certificate is the same")
	}
}

// forget has the time of the last order be of no account.
func (b *bench) forget() {
	b.Helper()
	if err := os.Remove(filepath.Join(b.o.Dir, "state.json")); err != nil {
		b.Fatal(err)
	}
}

// While the authority is gone, or says no, the certificate stays as it is; the next attempt is later each
// time, also if the server is started again and again.
func TestAuthorityGone(t *testing.T) {
	b := newBench(t, acme.DNS01, "dns.test")
	b.Life = 24 * time.Hour
	b.until(func(s acme.Stats) bool { return s.Renewed == 1 })
	before := b.certificate().Certificate[0]
	b.o.Names = []string{"dns.test", "new.test"} // it is due at once
	for _, tt := range []struct {
		name      string
		set       func()
		least, at time.Duration
	}{
		{"it cannot be reached", func() { b.Down = true }, 30 * time.Second, 40 * time.Second},
		{"it says no", func() { b.Down, b.Refusal = false, "rateLimited" }, 10 * time.Minute, 13 * time.Minute},
		{"it sees no proof", func() { b.Refusal, b.Look = "", func(*acmetest.Challenge) error { return errors.New("nothing there") } }, 10 * time.Minute, 13 * time.Minute},
	} {
		b.Lock()
		tt.set()
		b.Unlock()
		b.forget()
		b.log.Reset()
		st := b.until(func(s acme.Stats) bool { return s.Failed == 1 && s.Failing == 1 && waiting(s) })
		if left := time.Until(st.Next); left < tt.least-5*time.Second || left > tt.at {
			t.Errorf("%s: again in %v, want from %v to %v", tt.name, left, tt.least, tt.at)
		}
		if !strings.Contains(b.log.String(), "level=ERROR") {
			t.Errorf("%s: nothing is logged: %s", tt.name, b.log)
		}
		b.Lock()
		asked := b.Requests
		b.Unlock()
		for range 5 {
			b.until(func(s acme.Stats) bool { return s.Failing == 1 && waiting(s) })
		}
		if asked != b.Requests {
			t.Errorf("%s: %d more requests by five restarts", tt.name, b.Requests-asked)
		}
	}
	if !bytes.Equal(before, b.certificate().Certificate[0]) {
		t.Error("the certificate is not what it was")
	}
}

// A clock that is wrong does not lead to an order, and what it left in the state counts for a day at most.
func TestClock(t *testing.T) {
	b := newBench(t, acme.DNS01, "dns.test")
	b.until(func(s acme.Stats) bool { return s.Renewed == 1 })
	far := `{"port53":"acme 1","directory":"` + b.Directory() + `","failed":3,"not_before":"2099-01-01T00:00:00Z"}`
	if err := os.WriteFile(filepath.Join(b.o.Dir, "state.json"), []byte(far), 0o600); err != nil {
		t.Fatal(err)
	}
	b.o.Names = []string{"another.test"}
	if st := b.until(waiting); time.Until(st.Next) > time.Hour {
		t.Errorf("the next order is at %v", st.Next)
	}
	if acme.OrderBefore(b.o, b.certificate().Leaf, b.certificate().Leaf.NotBefore.Add(-time.Hour)) == nil || b.Orders != 1 {
		t.Error("a certificate was ordered that begins in the future")
	}
}

// Attempts grow rarer up to six hours; those to an authority that has said no are never more than five an hour.
func TestBackoff(t *testing.T) {
	for _, answered := range []bool{false, true} {
		var total time.Duration
		inHour := 0
		for n := 1; n < 40; n++ {
			d := acme.Backoff(n, answered)
			if d > 6*time.Hour*5/4 || n > 15 && d < 6*time.Hour {
				t.Errorf("%d failures: %v", n, d)
			}
			if total += d; total < time.Hour {
				inHour++
			}
		}
		if answered && inHour > 4 {
			t.Errorf("%d attempts in an hour after the first", inHour)
		}
	}
}

// An account whose key cannot be read is not replaced by another.
func TestAccountDamaged(t *testing.T) {
	b := newBench(t, acme.DNS01, "dns.test")
	if err := os.MkdirAll(b.o.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(b.o.Dir, "account.key")
	if err := os.WriteFile(path, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.until(func(s acme.Stats) bool { return s.Failed == 1 })
	if text, _ := os.ReadFile(path); string(text) != "damaged" || !strings.Contains(b.log.String(), "account.key is not PEM") {
		t.Errorf("%q; %s", text, b.log)
	}
}

// An authority that wants another account to vouch for this one gets its key's signature.
func TestBinding(t *testing.T) {
	for name, tt := range map[string]struct {
		binding *acme.Binding
		log     string
	}{
		"bound":       {&acme.Binding{KeyID: "customer 7", Key: []byte("a key of an authority's customer")}, ""},
		"unknown":     {&acme.Binding{KeyID: "customer 8", Key: []byte("a key of an authority's customer")}, "unauthorized"},
		"another key": {&acme.Binding{KeyID: "customer 7", Key: []byte("not that of the customer")}, "unauthorized"},
		"none":        {nil, "externalAccountRequired"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, acme.HTTP01, "dns.test")
			b.Keys = map[string][]byte{"customer 7": []byte("a key of an authority's customer")}
			b.o.Binding = tt.binding
			st := b.until(func(s acme.Stats) bool { return s.Renewed+s.Failed == 1 && waiting(s) })
			if good := tt.log == ""; good != (st.Renewed == 1) || good != slices.Equal(b.Bound, []string{"customer 7"}) {
				t.Errorf("%+v, bound by %q", st, b.Bound)
			}
			if !strings.Contains(b.log.String(), tt.log) || strings.Contains(b.log.String(), "a key of") {
				t.Errorf("the log says %s", b.log)
			}
		})
	}
}
