//go:build pkcs11

package pkcs11

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const softHSM = "/usr/lib/softhsm/libsofthsm2.so"

// newStores returns the stores of a token that is new, and the file of its PIN.
func newStores(t *testing.T) (*Stores, string) {
	t.Helper()
	if _, err := exec.LookPath("softhsm2-util"); err != nil {
		if os.Getenv("PORT53_REQUIRE_PEERS") == "1" {
			t.Fatalf("required: %v", err)
		}
		t.Skipf("missing: %v", err)
	}
	dir := t.TempDir()
	pin, conf := filepath.Join(dir, "pin"), filepath.Join(dir, "conf")
	text := "directories.tokendir = " + dir + "\nobjectstore.backend = file\n"
	if os.WriteFile(pin, []byte("1907\n"), 0o600) != nil || os.WriteFile(conf, []byte(text), 0o600) != nil {
		t.Fatal("no files")
	}
	t.Setenv("SOFTHSM2_CONF", conf)
	if out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", "a", "--so-pin", "8765", "--pin", "1907").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	uri, err := ParseToken("pkcs11:token=a")
	if err != nil {
		t.Fatal(err)
	}
	s := New([]Options{{Name: "hsm", URI: uri, Module: softHSM, PINFile: pin}})
	t.Cleanup(func() {
		if m := s.list[0].module; m.ctx != nil {
			_ = m.ctx.Finalize()
		}
	})
	return s, pin
}

func (s *Stores) make(t *testing.T) (string, crypto.Signer) {
	t.Helper()
	uri, key, err := s.Generate("hsm", ecdsaP256, func(crypto.PublicKey) string { return "k" })
	if err != nil {
		t.Fatal(err)
	}
	return uri, key
}

func sign(key crypto.Signer) error {
	sum := sha256.Sum256([]byte("x"))
	sig, err := key.Sign(nil, sum[:], crypto.SHA256)
	if err == nil && !ecdsa.VerifyASN1(key.Public().(*ecdsa.PublicKey), sum[:], sig) {
		err = fmt.Errorf("a bad signature")
	}
	return err
}

// TestSessions has more goroutines sign than there are sessions, while somebody closes all sessions, logs
// out and has the module start again.
func TestSessions(t *testing.T) {
	s, _ := newStores(t)
	_, key := s.make(t)
	one := s.list[0]
	for _, breaks := range []func(l *link) error{
		func(l *link) error { return one.module.ctx.CloseAllSessions(l.slot) },
		func(l *link) error { return one.module.ctx.Logout(l.idle[0]) },
		func(*link) error { return one.module.restart(one.module.start) },
	} {
		l, err := one.connect()
		if err != nil {
			t.Fatal(err)
		}
		if err := breaks(l); err != nil {
			t.Fatal(err)
		}
		if err := sign(key); err != nil {
			t.Error(err)
		}
		var wg sync.WaitGroup
		for range 2 * maxSessions {
			wg.Go(func() {
				for range 20 {
					if err := sign(key); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		if n := len(one.link.idle); n == 0 || n > maxSessions+1 {
			t.Errorf("%d sessions are open", n)
		}
	}
}

// TestPIN has a PIN that the token has refused not be tried again until the file has another: tokens are
// locked after a few.
func TestPIN(t *testing.T) {
	s, file := newStores(t)
	put := func(pin string) {
		if err := os.WriteFile(file, []byte(pin), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("9999")
	for _, want := range []string{"the token refuses the PIN in ", "is not tried again"} {
		problems := s.Open()
		if len(problems) != 1 || !strings.Contains(problems[0].Error(), want) || strings.Contains(problems[0].Error(), "9999") {
			t.Errorf("got %v, want %q", problems, want)
		}
	}
	put("1907")
	if problems := s.Open(); len(problems) > 0 {
		t.Error(problems)
	}
}

// TestKey has a key that is not the one of its DNSKEY record be refused, one that nobody wants be gone, and
// one that is destroyed be missed.
func TestKey(t *testing.T) {
	s, _ := newStores(t)
	uri, key := s.make(t)
	if _, err := s.Key(uri, key.Public()); err != nil {
		t.Error(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Key(uri, other.Public()); err == nil || !strings.Contains(err.Error(), "does not match the DNSKEY record") {
		t.Errorf("another public half: %v", err)
	}
	if uri, key, err := s.Generate("hsm", ecdsaP256, func(crypto.PublicKey) string { return "" }); uri != "" || key != nil || err != nil {
		t.Errorf("a key that is not wanted: %v, %v, %v", uri, key, err)
	}
	if err := s.list[0].do(false, func(c session) error {
		// By its label: what is left of the one that is not wanted would have none, and the count is of all.
		if err := c.FindObjectsInit(c.handle, nil); err != nil {
			return err
		}
		found, _, err := c.FindObjects(c.handle, 10)
		if len(found) != 2 {
			t.Errorf("%d objects are in the token, want 2 of one key", len(found))
		}
		_ = c.FindObjectsFinal(c.handle)
		return err
	}); err != nil {
		t.Error(err)
	}
	for range 2 { // the second time there is none
		if err := s.Destroy(uri); err != nil {
			t.Error(err)
		}
	}
	if err := sign(key); err == nil || !strings.Contains(err.Error(), "the token has no private key pkcs11:token=a;object=k;id=") {
		t.Errorf("a key that was destroyed: %v", err)
	}
}

// TestHung has a module that does not answer be waited for once, and not by each who comes after.
func TestHung(t *testing.T) {
	s, _ := newStores(t)
	one := s.list[0]
	one.module.hung.Add(1)
	if problems := s.Open(); len(problems) != 1 || !strings.Contains(problems[0].Error(), "does not answer") {
		t.Errorf("got %v", problems)
	}
	one.module.hung.Add(-1)
	if problems := s.Open(); len(problems) > 0 {
		t.Error(problems)
	}
}
