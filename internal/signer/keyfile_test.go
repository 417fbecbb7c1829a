package signer_test

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"port53/internal/dnssec"
	"port53/internal/signer"
)

// TestKeyFiles writes keys of every algorithm and reads them back, times and all.
func TestKeyFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	var keys []*signer.Key
	for _, alg := range []uint8{dnssec.RSASHA256, dnssec.ECDSAP256, dnssec.ECDSAP384, dnssec.ED25519} {
		k := newKey(t, "Example.", alg, alg == dnssec.ECDSAP256, keys...)
		k.Times.Inactive, k.Times.SyncPublish = now.Add(time.Hour), now
		if err := k.Write(dir); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
		if err := k.Write(dir); !errors.Is(err, fs.ErrExist) {
			t.Errorf("written twice: %v", err)
		}
		for end, mode := range map[string]os.FileMode{".private": 0o600, ".key": 0o644} {
			if info, err := os.Stat(k.File + end); err != nil || info.Mode().Perm() != mode {
				t.Errorf("%s%s: %v, %v", k.File, end, info.Mode(), err)
			}
		}
	}
	if err := newKey(t, `odd\/na\.me.example.`, dnssec.ED25519, true).Write(dir); err != nil {
		t.Fatal(err)
	}
	read, problems, err := signer.ReadKeys(dir, name(t, "EXAMPLE."))
	if err != nil || len(problems) > 0 || len(read) != len(keys) {
		t.Fatalf("%d keys, %v, %v", len(read), problems, err)
	}
	for i, k := range read {
		if string(k.DNSKEY) != string(keys[i].DNSKEY) || k.Times != keys[i].Times || k.File != keys[i].File {
			t.Errorf("key %v: got %v", keys[i], k)
		}
		if records, _ := sign(t, load(t, "example.", everyKind), []*signer.Key{k}, signer.Policy{}, signer.SignOptions{}); !verify(t, build(t, k.Zone, records), signer.VerifyOptions{DS: [][]byte{must(k.DS(dnssec.DigestSHA384))}}).Good() {
			t.Errorf("key %v signs badly", k)
		}
	}
	if odd, problems, err := signer.ReadKeys(dir, name(t, `odd\/na\.me.example.`)); len(odd) != 1 || len(problems) > 0 || err != nil {
		t.Errorf("a name with odd octets: %d keys, %v, %v", len(odd), problems, err)
	}
}

func must(ds []byte, ok bool) []byte {
	if !ok {
		panic("no DS")
	}
	return ds
}

// bindPrivate is a private key as BIND writes it, with a field that port53 does not use.
const bindPrivate = `Private-key-format: v1.3
Algorithm: 13 (ECDSAP256SHA256)
PrivateKey: Cd2y7XVO0xN/S8I+brxgwmGQNBJxkl2Yid2uvpIX3Vs=
Created: 20261129223856
Publish: 20261129223856
Activate: 20261129223856
Predecessor: 4711
`

const bindPublic = "; This is a key-signing key, keyid 26, for example.com.\nexample.com. IN DNSKEY 257 3 13 0qI1UORlWV51iDYaDVQ8TbwOBPWuXri82D8ESwVwNrWIWsy7Dh+UC5+L +q//8CTKk2+ZOeKjzy4lDkbFz6awEw==\n"

// TestKeyFilesRefused has files that cannot be used, each with its place and what was expected.
func TestKeyFilesRefused(t *testing.T) {
	const base = "Kexample.com.+013+00026"
	for what, c := range map[string]struct {
		public, private string
		mode            os.FileMode
		want            string
	}{
		"good":                 {bindPublic, bindPrivate, 0o600, ""},
		"for the group":        {bindPublic, bindPrivate, 0o640, ""},
		"for everybody":        {bindPublic, bindPrivate, 0o644, base + ".private: every user can read or write it (mode 0644): chmod 600"},
		"written by all":       {bindPublic, bindPrivate, 0o602, "every user can read or write it"},
		"of another zone":      {strings.ReplaceAll(bindPublic, "example.com. IN", "example.net. IN"), bindPrivate, 0o600, "the key is of zone example.net., and not of example.com."},
		"not a key":            {"example.com. IN A 192.0.2.1\n", bindPrivate, 0o600, base + ".key:1:1: expected a DNSKEY record, not A"},
		"empty":                {"", bindPrivate, 0o600, base + ".key: there is no DNSKEY record in it"},
		"two keys":             {bindPublic + bindPublic, bindPrivate, 0o600, base + ".key:4:1: a second record: expected one"},
		"of another key":       {bindPublic, strings.Replace(bindPrivate, "Cd2y", "Cd2z", 1), 0o600, "the private key does not match the DNSKEY record"},
		"no format":            {bindPublic, "Algorithm: 13\n", 0o600, base + ".private:1: expected Private-key-format: v1.3"},
		"other algorithm":      {bindPublic, strings.Replace(bindPrivate, "13 (ECDSAP256SHA256)", "15", 1), 0o600, "its algorithm is ED25519"},
		"unknown":              {bindPublic, strings.Replace(bindPrivate, "Algorithm: 13", "Algorithm: 5", 1), 0o600, "algorithm RSASHA1 cannot sign here"},
		"a wrong time":         {bindPublic, strings.Replace(bindPrivate, "Activate: 2026", "Activate: tomorrow", 1), 0o600, base + ".private:6: Activate: expected a time YYYYMMDDHHMMSS"},
		"not base64":           {bindPublic, strings.Replace(bindPrivate, "Cd2y", "C*2y", 1), 0o600, "PrivateKey: expected base64"},
		"too short":            {bindPublic, strings.Replace(bindPrivate, "Cd2y7XVO0xN/S8I+brxgwmGQNBJxkl2Yid2uvpIX3Vs=", "AAAA", 1), 0o600, base + ".private: "},
		"in a hardware module": {bindPublic, "Private-key-format: v1.3\nAlgorithm: 13\nEngine: cGtjczEx\nLabel: a2V5\n", 0o600, "the key is in hardware, and not named by a PKCS#11 URI"},
		"garbage":              {bindPublic, bindPrivate + "what\n", 0o600, base + ".private:8: expected a field and its value"},
		"no private file":      {bindPublic, "", 0o600, ""},
		"a large one":          {bindPublic + strings.Repeat(";\n", 1<<16), bindPrivate, 0o600, "not a key file"},
		"twice":                {bindPublic, bindPrivate + "PrivateKey: AAAA\n", 0o600, base + ".private:8: a second PrivateKey"},
	} {
		dir := t.TempDir()
		write := func(end, text string, mode os.FileMode) {
			if err := os.WriteFile(filepath.Join(dir, base+end), []byte(text), mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(filepath.Join(dir, base+end), mode); err != nil { // whatever the umask
				t.Fatal(err)
			}
		}
		write(".key", c.public, 0o644)
		if c.private != "" {
			write(".private", c.private, c.mode)
		}
		keys, problems, err := signer.ReadKeys(dir, name(t, "example.com."))
		switch {
		case err != nil:
			t.Errorf("%s: %v", what, err)
		case c.want == "" && (len(keys) != 1 || len(problems) > 0 || (keys[0].Private != nil) != (c.private != "")):
			t.Errorf("%s: %d keys, %v", what, len(keys), problems)
		case c.want != "" && (len(problems) != 1 || !strings.Contains(problems[0].Error(), c.want)):
			t.Errorf("%s: got %v, want %q", what, problems, c.want)
		}
	}
	if _, _, err := signer.ReadKeys(filepath.Join(t.TempDir(), "none"), name(t, "example.com.")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

// TestImport takes private keys of other programs: their tags are those that the zone has.
func TestImport(t *testing.T) {
	powerdns := "Private-key-format: v1.2\nAlgorithm: 13 (ECDSAP256SHA256)\nPrivateKey: Cd2y7XVO0xN/S8I+brxgwmGQNBJxkl2Yid2uvpIX3Vs=\n"
	k, err := signer.Import("stdin", []byte(powerdns), name(t, "example.com."), true, 0, now)
	if err != nil || k.Tag() != 26 || !k.Published(now) || !k.Active(now) {
		t.Errorf("from PowerDNS: %v, %v", k, err)
	}
	if k, err := signer.Import("stdin", []byte(bindPrivate), name(t, "example.com."), true, 0, now); err != nil || k.Tag() != 26 || k.Times.Activate.Year() != 2026 {
		t.Errorf("from BIND: %v, %v", k, err)
	}
	for _, alg := range []uint8{dnssec.RSASHA256, dnssec.RSASHA512, dnssec.ECDSAP256, dnssec.ECDSAP384, dnssec.ED25519} {
		made := newKey(t, "example.com.", alg, false)
		der, err := x509.MarshalPKCS8PrivateKey(made.Private)
		if err != nil {
			t.Fatal(err)
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
		k, err := signer.Import("key.pem", text, name(t, "example.com."), false, alg, now)
		if err != nil || k.Tag() != made.Tag() || k.Algorithm() != alg {
			t.Errorf("algorithm %d in PEM: %v, %v", alg, k, err)
		}
	}
	for text, want := range map[string]string{
		"":        "stdin",
		"hello\n": "stdin:1: expected Private-key-format",
		"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n": `expected a private key in PEM, got "CERTIFICATE"`,
		"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n": "asn1",
	} {
		if _, err := signer.Import("stdin", []byte(text), name(t, "example.com."), true, 0, now); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got error %v, want %q", text, err, want)
		}
	}
	if _, err := signer.Import("stdin", []byte(powerdns), name(t, "example.com."), true, dnssec.ED25519, now); err == nil {
		t.Error("a key of another algorithm than was said is taken")
	}
}

// TestKeyTimes has keys published, active and revoked as their times say.
func TestKeyTimes(t *testing.T) {
	at := func(days int) time.Time { return now.Add(time.Duration(days) * 24 * time.Hour) }
	k := newKey(t, "example.", dnssec.ED25519, true)
	k.Times = signer.Times{Publish: at(1), Activate: at(2), Revoke: at(4), Inactive: at(6), Delete: at(8)}
	want := []string{"", "p", "pa", "pa", "pr", "pr", "pr", "pr", "r"}
	for day, w := range want {
		got := ""
		if k.Published(at(day)) {
			got += "p"
		}
		if k.Active(at(day)) {
			got += "a"
		}
		if k.Revoked(at(day)) {
			got += "r"
		}
		if got != w {
			t.Errorf("day %d: %q, want %q", day, got, w)
		}
	}
	// A revoked key signs the keys, and says so by its flags.
	other := newKey(t, "example.", dnssec.ED25519, true, k)
	other.Times = signer.Times{}
	records, s := sign(t, load(t, "example.", everyKind), []*signer.Key{k, other}, signer.Policy{}, signer.SignOptions{Now: at(5)})
	if v := verify(t, build(t, k.Zone, records), signer.VerifyOptions{Now: at(5), DS: dsOf([]*signer.Key{other})}); !v.Good() || len(s.Keys) != 2 {
		t.Errorf("with a revoked key: %v, signed by %v", v.Faults, s.Keys)
	}
}
