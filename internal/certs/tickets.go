package certs

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// ticketTime is for how long one key makes tickets; tickets that it has made are good for as
// long again. Whoever learns the keys of a day reads nothing of days before.
const ticketTime = 24 * time.Hour

// Tickets are the keys of session tickets, by which clients that come again need no new
// handshake (RFC 8446, section 2.2; RFC 5077). Without a file they are random, and die with the
// process.
//
// Servers that one name stands for share a file: one or two lines of 64 hexadecimal digits. Each
// day's key is made from the first; the keys of the second are good as well, so that the secret
// can be replaced on one server after the other.
type Tickets struct {
	file string

	mu      sync.Mutex
	secrets [][]byte // of the file
	made    []dayKey // without a file, the latest first
	configs []*tls.Config
}

type dayKey struct {
	day int64
	key [32]byte
}

// NewTickets returns keys that no configuration has yet. file is "" or the path of the secrets.
func NewTickets(file string) (*Tickets, error) {
	t := &Tickets{file: file}
	return t, t.read()
}

// Attach has the keys set in a configuration from now on.
func (t *Tickets) Attach(c *tls.Config) {
	t.mu.Lock()
	t.configs = append(t.configs, c)
	t.mu.Unlock()
}

// Rotate sets the keys of a time in all configurations, after it has read the file. It is to be
// called every few minutes. On an error the secrets before are used.
func (t *Tickets) Rotate(now time.Time) error {
	err := t.read()
	t.mu.Lock()
	defer t.mu.Unlock()
	keys := t.keys(now)
	for _, c := range t.configs {
		c.SetSessionTicketKeys(keys)
	}
	return err
}

// read reads the file, if there is one.
func (t *Tickets) read() error {
	if t.file == "" {
		return nil
	}
	secrets, err := ReadSecrets(t.file)
	if err != nil {
		return err
	}
	t.mu.Lock()
	t.secrets = secrets
	t.mu.Unlock()
	return nil
}

// ReadSecrets reads a file of secrets that tickets are made with.
func ReadSecrets(path string) (secrets [][]byte, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("%s is readable by every user; chmod o= %s", path, path)
	}
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	for _, line := range strings.Fields(string(text)) {
		secret, err := hex.DecodeString(line)
		if err != nil || len(secret) != sha256.Size {
			return nil, fmt.Errorf("%s: expected lines of 64 hexadecimal digits; make one with openssl rand -hex 32", path)
		}
		secrets = append(secrets, secret)
	}
	if len(secrets) == 0 || len(secrets) > 2 {
		return nil, fmt.Errorf("%s: expected one or two secrets, found %d", path, len(secrets))
	}
	return secrets, nil
}

// minMAC is the octets of the shortest key that authorities give: half of HMAC-SHA256's.
const minMAC = 16

// ReadMACKey reads the key by which an account of ACME is bound to another: base64url, as authorities
// give it (RFC 8555, section 7.3.4). The error says what is wrong with the file.
func ReadMACKey(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("%s is readable by every user; chmod o= %s", path, path)
	}
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	plain := strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(strings.TrimSpace(string(text)), "="))
	key, err := base64.RawURLEncoding.DecodeString(plain)
	if err != nil || len(key) < minMAC {
		return nil, fmt.Errorf(
			"%s: expected a line of base64url with at least %d octets; copy the key that the authority shows", path, minMAC)
	}
	return key, nil
}

// keys returns the keys of a time, the one that makes tickets first. The lock is held.
func (t *Tickets) keys(now time.Time) (keys [][32]byte) {
	day := now.Unix() / int64(ticketTime/time.Second)
	if t.file == "" {
		if len(t.made) == 0 || t.made[0].day < day {
			k := dayKey{day: day}
			_, _ = rand.Read(k.key[:]) // it never fails
			t.made = append([]dayKey{k}, t.made...)
		}
		kept := t.made[:0]
		for _, k := range t.made {
			if k.day >= day-1 {
				kept = append(kept, k)
				keys = append(keys, k.key)
			}
		}
		t.made = kept
		return keys
	}
	for _, secret := range t.secrets {
		for _, d := range [...]int64{day, day - 1, day + 1} { // clocks of servers differ
			h := hmac.New(sha256.New, secret)
			h.Write([]byte("port53 session tickets of day "))
			h.Write(binary.BigEndian.AppendUint64(nil, uint64(d)))
			keys = append(keys, [32]byte(h.Sum(nil)))
		}
	}
	return keys
}
