package cli

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"

	"port53/internal/exchange"
	"port53/internal/tsig"
	"port53/internal/wire"
)

// setKey reads [ALGORITHM:]NAME:SECRET, as dig's -y.
func setKey(a *asking, arg string, _ bool) error {
	parts := strings.Split(arg, ":")
	if len(parts) == 2 {
		parts = append([]string{"hmac-sha256"}, parts...)
	}
	if len(parts) != 3 {
		return errors.New("expected [ALGORITHM:]NAME:SECRET, the secret in base64")
	}
	return a.signWith(parts[0], parts[1], parts[2])
}

// maxKeyFile is the most that is read of a file of a key.
const maxKeyFile = 64 << 10

// The forms of files that have a key: BIND's, as tsig-keygen and rndc-confgen write it, and
// dnssec-keygen's of old.
var (
	keyClause  = regexp.MustCompile(`(?s)key\s+"?([^"\s{]+)"?\s*\{(.*?)\}`)
	keyOption  = regexp.MustCompile(`(algorithm|secret)\s+"?([^";\s]+)"?\s*;`)
	keyComment = regexp.MustCompile(`(?s)/\*.*?\*/|//[^\n]*|#[^\n]*`)
)

// setKeyFile reads the first key of a file in BIND's syntax, as dig's -k.
func setKeyFile(a *asking, arg string, _ bool) error {
	f, err := os.Open(arg)
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return err
	}
	clause := keyClause.FindStringSubmatch(keyComment.ReplaceAllString(string(text), " "))
	if clause == nil {
		return fmt.Errorf(
			"%s has no key in it: expected key NAME { algorithm hmac-sha256; secret \"…\"; }; a secret alone goes with -y NAME:SECRET",
			arg,
		)
	}
	algorithm, secret := "", ""
	for _, m := range keyOption.FindAllStringSubmatch(clause[2], -1) {
		if m[1] == "secret" {
			secret = m[2]
		} else {
			algorithm = m[2]
		}
	}
	return a.signWith(algorithm, clause[1], secret)
}

func (a *asking) signWith(algorithm, name, secret string) error {
	alg, ok := tsig.ParseAlgorithm(strings.ToLower(strings.TrimSuffix(algorithm, ".")))
	if !ok {
		return fmt.Errorf(
			"algorithm %q: expected hmac-sha224, hmac-sha256, hmac-sha384 or hmac-sha512; MD5 and SHA-1 are not offered",
			algorithm,
		)
	}
	n, err := wire.ParseName(name)
	if err != nil {
		return fmt.Errorf("key %q: %w", name, err)
	}
	octets, err := base64.StdEncoding.DecodeString(secret)
	if err != nil || len(octets) == 0 {
		return fmt.Errorf("key %q: the secret is not base64", name)
	}
	key := &tsig.Key{Name: wire.Lower(nil, n), Algorithm: alg, Secret: octets}
	a.route.Sign = func(query []byte) ([]byte, exchange.Verifier) {
		signed, v := tsig.SignRequest(key, query, time.Now())
		return signed, v
	}
	return nil
}

// hidden returns the words of a command line without the secrets in them.
func hidden(words []string) []string {
	shown := append([]string(nil), words...)
	for i, w := range shown {
		if at := strings.LastIndex(w, ":"); strings.HasPrefix(w, "-y") && len(w) > 2 && at > 0 {
			shown[i] = w[:at] + ":…"
		} else if i > 0 && words[i-1] == "-y" && at >= 0 {
			shown[i] = w[:at] + ":…"
		}
	}
	return shown
}
