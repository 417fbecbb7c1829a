package acme

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// version is the format of the state.
const version = "acme 1"

// A state is what outlives a restart beside the certificate: when the authority may be asked again.
type state struct {
	Port53    string    `json:"port53"`
	Directory string    `json:"directory"` // of the authority it is about
	Failed    int       `json:"failed"`    // attempts in a row
	NotBefore time.Time `json:"not_before"`
}

// readState returns the state. One that cannot be read, that is about another authority, or whose time
// a clock that was wrong has put far ahead, does not count.
func (m *Manager) readState() (st state) {
	text, err := os.ReadFile(filepath.Join(m.o.Dir, "state.json"))
	if err != nil || json.Unmarshal(text, &st) != nil || st.Port53 != version || st.Directory != m.o.Directory || st.Failed < 0 {
		return state{}
	}
	if st.NotBefore.Sub(m.now()) > maxAhead {
		st.NotBefore = m.now().Add(backoff(1, true))
	}
	return st
}

func (m *Manager) writeState(st *state) error {
	st.Port53, st.Directory = version, m.o.Directory
	text, err := json.Marshal(st)
	if err != nil {
		return err
	}
	return replace(filepath.Join(m.o.Dir, "state.json"), append(text, '\n'))
}

// leaf returns the certificate that there is; nil: there is none for all of the names.
func (m *Manager) leaf() *x509.Certificate {
	pair, err := tls.LoadX509KeyPair(m.o.File, m.o.File)
	if err != nil || !covers(pair.Leaf, m.o.Names) {
		return nil
	}
	return pair.Leaf
}

// accountKey returns the key of the account in a directory. It is made if there is none; one that cannot
// be read is an error, since an authority binds names to accounts.
func accountKey(dir string) (crypto.Signer, error) {
	path := filepath.Join(dir, "account.key")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, err
		}
		return key, replace(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s is not PEM: put it back from a backup, or remove it for a new account", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if s, ok := key.(crypto.Signer); ok {
		return s, nil
	}
	return nil, fmt.Errorf("%s is not a key that signs", path)
}

// replace writes a file that nobody else may read, as a whole: after a crash there is the old one or
// the new one.
func replace(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.new") // 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
