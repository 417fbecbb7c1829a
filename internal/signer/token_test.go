package signer_test

import (
	"context"
	"crypto"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"port53/internal/dnssec"
	"port53/internal/signer"
)

// A fakeToken has keys in memory.
type fakeToken struct {
	keys   map[string]crypto.Signer // by URI
	labels []string
	broken error // why nothing can be done with it
	most   int   // keys that it makes, and no more; 0: any number
}

func (f *fakeToken) Generate(store string, alg uint8, label func(crypto.PublicKey) string) (string, crypto.Signer, error) {
	switch {
	case f.broken != nil:
		return "", nil, f.broken
	case store != "hsm" || f.most > 0 && len(f.keys) >= f.most:
		return "", nil, errors.New("the token makes no key")
	}
	made, err := dnssec.GenerateKey([]byte{0}, alg, dnssec.FlagZone)
	if err != nil {
		return "", nil, err
	}
	name := label(made.Private.Public())
	if name == "" {
		return "", nil, nil
	}
	uri := "pkcs11:token=a;object=" + strings.ReplaceAll(name, " ", "%20")
	f.keys[uri], f.labels = made.Private, append(f.labels, name)
	return uri, made.Private, nil
}

func (f *fakeToken) Key(uri string, _ crypto.PublicKey) (crypto.Signer, error) {
	if k := f.keys[uri]; k != nil && f.broken == nil {
		return k, nil
	}
	return nil, errors.Join(f.broken, errors.New("the token has no key "+uri))
}

func (f *fakeToken) Destroy(uri string) error {
	if f.broken == nil {
		delete(f.keys, uri)
	}
	return f.broken
}

func tokenStage(t *testing.T) (*signer.Stage, *fakeToken) {
	s, f := newStage(t, true, signer.NSEC), &fakeToken{keys: map[string]crypto.Signer{}}
	s.Tokens, s.Policy.KSKStore = f, "hsm"
	return s, f
}

// TestTokenKeys has the KSK in a token and the ZSK in a file, as the policy says. The key's file names it
// and has no private half; without the token nothing is signed, no key is made, and what waits for the
// parent can be read all the same.
func TestTokenKeys(t *testing.T) {
	s, f := tokenStage(t)
	plain := load(t, "example.", everyKind)
	v := at(t, s, nil, plain, now)
	if len(f.keys) != 1 || len(f.labels) != 1 || !strings.HasPrefix(f.labels[0], "example. ksk ") {
		t.Fatalf("the token has %q, want one KSK", f.labels)
	}
	files, _ := filepath.Glob(filepath.Join(s.Dir, "*.private"))
	named := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		k, err := signer.ReadKey(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := f.keys[k.URI]; ok {
			named++
			if strings.Contains(string(text), "PrivateKey") {
				t.Errorf("%s has a private half", file)
			}
			if err := k.Rewrite(); err != nil {
				t.Error(err)
			}
		}
	}
	if named != 1 || len(files) != 2 {
		t.Errorf("%d of %d keys are in the token, want 1 of 2", named, len(files))
	}
	for _, broken := range []func(){
		func() { f.broken = errors.New("the token is gone") },
		func() { f.broken, f.keys = nil, map[string]crypto.Signer{} },
		func() { s.Tokens = nil },
	} {
		broken()
		when := now.Add(time.Hour)
		if _, err := s.Sign(context.Background(), 1, v.Zone, plain, when); err == nil ||
			!strings.Contains(err.Error(), "a private key cannot be reached, and no other is made in its place") {
			t.Errorf("got %v", err)
		}
		if again, _ := filepath.Glob(filepath.Join(s.Dir, "*.private")); len(again) != 2 {
			t.Errorf("keys %q were made in its place", again)
		}
		if keys, _, err := s.EntryKeys(when); err != nil || len(keys) != 1 {
			t.Errorf("the keys for the parent: %v, %v", keys, err)
		}
	}
}

// TestTokenRollUndone has a roll fail of whose two keys the token makes one: nothing is left of it.
func TestTokenRollUndone(t *testing.T) {
	s, f := tokenStage(t)
	s.Policy.ZSKStore = "hsm"
	v := at(t, s, nil, load(t, "example.", everyKind), now)
	f.most = 3
	if err := s.Roll(signer.Roll{Force: true}, now.Add(time.Minute)); err == nil || !strings.Contains(err.Error(), "the token makes no key") {
		t.Errorf("got %v", err)
	}
	if files, _ := filepath.Glob(filepath.Join(s.Dir, "K*")); len(files) != 4 || len(f.keys) != 2 {
		t.Errorf("files %q and %d keys in the token, want those of two keys", files, len(f.keys))
	}
	at(t, s, v.Zone, load(t, "example.", everyKind), now.Add(2*time.Minute))
}

// TestTokenCompact has no query wait for a token.
func TestTokenCompact(t *testing.T) {
	s, _ := tokenStage(t)
	s.Policy.ZSKStore, s.Policy.Denial, s.Online = "hsm", signer.Compact, signer.NewOnline(1<<20, 100)
	if _, err := s.Sign(context.Background(), 1, nil, load(t, "example.", everyKind), now); err == nil || !strings.Contains(err.Error(), "is in a token") {
		t.Errorf("got %v", err)
	}
}

// TestTokenPurge has a key whose time is over be destroyed in its token, as soon as that can be: until then
// it is an alert, and the zone is signed all the same.
func TestTokenPurge(t *testing.T) {
	s, f := tokenStage(t)
	s.Policy.KSKStore, s.Policy.ZSKStore = "", "hsm"
	s.Policy.Lifecycle.Purge = time.Hour
	plain := load(t, "example.", everyKind)
	v, when := at(t, s, nil, plain, now), now
	s.Policy.ZSKStore = ""
	pass := func() {
		t.Helper()
		when = when.Add(2 * days)
		if _, err := s.Observe(here(v.Zone, when)); err != nil {
			t.Fatal(err)
		}
		v = at(t, s, v.Zone, plain, when)
	}
	pass()
	pass()
	if err := s.Roll(signer.Roll{ZSK: true}, when); err != nil {
		t.Fatal(err)
	}
	signs := func() bool {
		life, err := s.Lifecycle(when)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range life.Keys {
			if k.Retiring != "" && k.Removed.IsZero() {
				return true
			}
		}
		return false
	}
	for n := 0; signs(); n++ {
		if pass(); n > 30 {
			t.Fatal("the key does not leave")
		}
	}
	f.broken = errors.New("the token is gone")
	pass()
	if len(v.Alerts) == 0 || !strings.Contains(v.Alerts[0], "cannot be destroyed: the token is gone") {
		t.Errorf("alerts %q", v.Alerts)
	}
	f.broken = nil
	pass()
	if len(f.keys) != 0 {
		t.Errorf("the token has %d keys", len(f.keys))
	}
}
