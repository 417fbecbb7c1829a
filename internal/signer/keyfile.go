package signer

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"port53/internal/dnssec"
	"port53/internal/wire"
	"port53/internal/zonefile"
)

// Key files are a pair, as BIND has them: NAME.key with the DNSKEY record, for everybody, and
// NAME.private with the private key and the times, for its owner alone. NAME is K, the zone's
// name, the algorithm and the tag.

// noTTL is the TTL of a record in a key file that says none.
const noTTL = 1<<31 - 1

// maxKeyFile is more than any key file has, in bytes.
const maxKeyFile = 1 << 16

// maxLifeFile is more than the states of a thousand keys take, in bytes.
const maxLifeFile = 1 << 20

// fileName returns what a key's files are called, without their endings.
func (k *Key) fileName() string {
	var b strings.Builder
	b.WriteByte('K')
	for name := k.Zone; name[0] != 0; name = wire.Parent(name) {
		for _, c := range name[1 : 1+int(name[0])] {
			if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
				b.WriteByte(c)
			} else {
				fmt.Fprintf(&b, "%%%02X", c)
			}
		}
		b.WriteByte('.')
	}
	if len(k.Zone) == 1 {
		b.WriteByte('.')
	}
	return fmt.Sprintf("%s+%03d+%05d", b.String(), k.Algorithm(), k.Tag())
}

// DirName returns a name for the directory of a zone's keys: the zone's own, without what a
// file system would not take.
func DirName(zone []byte) string {
	name := (&Key{Zone: zone, DNSKEY: make([]byte, 5)}).fileName()
	name = name[1 : strings.IndexByte(name, '+')-1]
	switch {
	case name == "":
		return "@" // which no name has
	case len(name) > maxDirName:
		sum := sha256.Sum256(zone)
		return name[:maxDirName-len(sum)*2] + hex.EncodeToString(sum[:])
	}
	return name
}

// maxDirName leaves room in the 255 bytes that file systems allow.
const maxDirName = 240

// timeForm is how key files write times, in UTC.
const timeForm = "20060102150405"

// A timeField is one of a key's times, and its name in a key file.
type timeField struct {
	name string
	at   *time.Time
}

func (t *Times) fields() []timeField {
	return []timeField{
		{"Created", &t.Created},
		{"Publish", &t.Publish},
		{"Activate", &t.Activate},
		{"Revoke", &t.Revoke},
		{"Inactive", &t.Inactive},
		{"Delete", &t.Delete},
		{"SyncPublish", &t.SyncPublish},
		{"SyncDelete", &t.SyncDelete},
	}
}

// Named returns the times that are set by their names in a key file.
func (t Times) Named() map[string]time.Time {
	named := map[string]time.Time{}
	for _, f := range t.fields() {
		if !f.at.IsZero() {
			named[f.name] = *f.at
		}
	}
	return named
}

// ReadKeys returns the keys of a zone whose files are in a directory, in the order of their
// algorithms and tags. A key without a private file can only be published. Problems are what
// keeps files of the zone from being used; the error is of the directory.
func ReadKeys(dir string, zone []byte) (keys []*Key, problems []error, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	prefix := (&Key{Zone: wire.Lower(nil, zone), DNSKEY: make([]byte, 5)}).fileName()
	prefix = prefix[:strings.IndexByte(prefix, '+')+1]
	for _, e := range entries {
		base, ok := strings.CutSuffix(e.Name(), ".key")
		if !ok || !strings.HasPrefix(strings.ToLower(base), strings.ToLower(prefix)) {
			continue
		}
		k, err := ReadKey(filepath.Join(dir, base))
		switch {
		case err != nil:
			problems = append(problems, err)
		case !wire.EqualFold(k.Zone, zone):
			problems = append(problems, fmt.Errorf("%s: the key is of zone %s, and not of %s", k.File+".key", text(k.Zone), text(zone)))
		default:
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b *Key) int {
		return cmp.Or(cmp.Compare(a.Algorithm(), b.Algorithm()), cmp.Compare(a.Tag(), b.Tag()), bytes.Compare(a.DNSKEY, b.DNSKEY))
	})
	return keys, problems, nil
}

// ReadKey reads a key's two files; path is either's, or what both have in common. The private
// one may be absent. One that others than its owner and group can read is refused: its key is
// no secret.
func ReadKey(path string) (*Key, error) {
	path = strings.TrimSuffix(strings.TrimSuffix(path, ".private"), ".key")
	b, err := readSmall(path + ".key")
	if err != nil {
		return nil, err
	}
	k := &Key{File: path}
	_, err = zonefile.Read(
		bytes.NewReader(b),
		zonefile.Options{Origin: wire.Root, Name: path + ".key", DefaultTTL: noTTL},
		func(r *zonefile.Record) error {
			switch {
			case r.Type != wire.TypeDNSKEY:
				return fmt.Errorf("%s.key:%d:%d: expected a DNSKEY record, not %s", path, r.Line, r.Col, r.Type)
			case k.DNSKEY != nil:
				return fmt.Errorf("%s.key:%d:%d: a second record: expected one", path, r.Line, r.Col)
			}
			k.Zone, k.DNSKEY, k.TTL = wire.Lower(nil, r.Owner), bytes.Clone(r.Data), r.TTL
			return nil
		},
	)
	switch {
	case err != nil:
		return nil, err
	case k.DNSKEY == nil:
		return nil, fmt.Errorf("%s.key: there is no DNSKEY record in it", path)
	}
	if _, ok := dnssec.ParseKey(k.DNSKEY); !ok {
		return nil, fmt.Errorf("%s.key: its record is not a DNSSEC key", path)
	}
	if k.TTL == noTTL {
		k.TTL = 0
	}
	k.DNSKEY[1] &^= dnssec.FlagRevoke
	if k.State, err = readState(path + ".state"); err != nil {
		return nil, err
	}
	if err := k.readPrivate(path + ".private"); err != nil {
		return nil, err
	}
	return k, nil
}

// readPrivate reads the private file of a key whose public half is known, if there is one.
func (k *Key) readPrivate(private string) error {
	info, err := os.Stat(private)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && info.Mode().Perm()&0o007 != 0 {
		return fmt.Errorf(
			"%s: every user can read or write it (mode %04o): chmod 600, and create a new key if others may have read it",
			private,
			info.Mode().Perm(),
		)
	}
	b, err := readSmall(private)
	if err != nil {
		return err
	}
	f, err := parsePrivate(private, b)
	if err != nil {
		return err
	}
	if f.algorithm != k.Algorithm() {
		return fmt.Errorf(
			"%s: its algorithm is %s, but that of %s.key is %s",
			private,
			wire.AlgorithmName(f.algorithm),
			k.File,
			wire.AlgorithmName(k.Algorithm()),
		)
	}
	k.Times, k.kept = f.times, f.kept
	if f.uri != "" {
		public, _ := dnssec.ParseKey(k.DNSKEY)
		k.URI, k.Private = f.uri, &distant{f.uri, public.Public()}
		return nil
	}
	made, err := dnssec.NewSigner(k.Zone, f.algorithm, k.Flags(), f.key)
	if err != nil {
		return fmt.Errorf("%s: %w", private, err)
	}
	if !bytes.Equal(made.Key.Data, k.DNSKEY) {
		return fmt.Errorf("%s: the private key does not match the DNSKEY record in %s.key", private, k.File)
	}
	k.Private = f.key
	return nil
}

// readSmall reads a key file, which is a regular file of a few lines.
func readSmall(path string) ([]byte, error) { return readBounded(path, maxKeyFile) }

// readBounded reads a regular file that is not larger than that.
func readBounded(path string, most int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > most {
		return nil, fmt.Errorf("%s: not a key file: not a regular file, or larger than %d bytes", path, most)
	}
	return os.ReadFile(path)
}

// A privateFile is what a private key file says.
type privateFile struct {
	algorithm uint8
	key       crypto.Signer
	uri       string // of the key, which is in a token; empty: it is key
	times     Times
	kept      []string
}

// parsePrivate reads the private key format of BIND, versions 1.2 and 1.3, which PowerDNS
// writes as well.
func parsePrivate(name string, b []byte) (*privateFile, error) {
	f := &privateFile{}
	values := map[string]string{}
	times := map[string]*time.Time{}
	for _, t := range f.times.fields() {
		times[t.name] = t.at
	}
	number := 0
	for line := range strings.Lines(string(b)) {
		number++
		line = strings.TrimRight(line, "\r\n \t")
		if line == "" || line[0] == ';' || line[0] == '#' {
			continue
		}
		field, value, ok := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		at := fmt.Sprintf("%s:%d", name, number)
		if number == 1 || len(values) == 0 {
			if field != "Private-key-format" || !strings.HasPrefix(value, "v1.") {
				return nil, fmt.Errorf("%s: expected Private-key-format: v1.3", at)
			}
			values[field] = value
			continue
		}
		switch t := times[field]; {
		case !ok:
			return nil, fmt.Errorf("%s: expected a field and its value, such as Algorithm: 13", at)
		case t != nil:
			parsed, err := time.Parse(timeForm, value)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: expected a time YYYYMMDDHHMMSS", at, field)
			}
			*t = parsed
		case keyField(field):
			if values[field] != "" {
				return nil, fmt.Errorf("%s: a second %s", at, field)
			}
			values[field] = value
		default:
			f.kept = append(f.kept, line)
		}
	}
	word, _, _ := strings.Cut(values["Algorithm"], " ")
	alg, err := strconv.ParseUint(word, 10, 8)
	if err != nil {
		return nil, fmt.Errorf("%s: Algorithm: expected a number", name)
	}
	if f.algorithm = uint8(alg); !CanSign(f.algorithm) {
		return nil, fmt.Errorf("%s: algorithm %s cannot sign here", name, wire.AlgorithmName(f.algorithm))
	}
	if values["Engine"] != "" || values["Label"] != "" {
		if f.uri, err = labelURI(values["Label"]); err != nil {
			return nil, fmt.Errorf("%s: Label: %w", name, err)
		}
		return f, nil
	}
	if f.key, err = privateKey(f.algorithm, values); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}

// rsaFields are the parts of an RSA key in the order of a private file.
var rsaFields = [...]string{"Modulus", "PublicExponent", "PrivateExponent", "Prime1", "Prime2", "Exponent1", "Exponent2", "Coefficient"}

func keyField(name string) bool {
	return name == "Algorithm" || name == "PrivateKey" || name == "Engine" || name == "Label" || slices.Contains(rsaFields[:], name)
}

// privateKey makes a private key of the fields of its file.
func privateKey(alg uint8, values map[string]string) (crypto.Signer, error) {
	octets := func(field string) ([]byte, error) {
		b, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(values[field], " ", ""))
		if err != nil || len(b) == 0 {
			return nil, fmt.Errorf("%s: expected base64", field)
		}
		return b, nil
	}
	if alg == dnssec.RSASHA256 || alg == dnssec.RSASHA512 {
		var n [len(rsaFields)]*big.Int
		for i, field := range rsaFields[:5] {
			b, err := octets(field)
			if err != nil {
				return nil, err
			}
			n[i] = new(big.Int).SetBytes(b)
		}
		if !n[1].IsInt64() || n[1].Int64() > 1<<31-1 {
			return nil, errors.New("PublicExponent: it is too large")
		}
		k := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: n[0], E: int(n[1].Int64())}, D: n[2], Primes: []*big.Int{n[3], n[4]}}
		if err := k.Validate(); err != nil {
			return nil, fmt.Errorf("its numbers are no RSA key: %w", err)
		}
		k.Precompute()
		return k, nil
	}
	b, err := octets("PrivateKey")
	if err != nil {
		return nil, err
	}
	if alg == dnssec.ED25519 {
		if len(b) != ed25519.SeedSize {
			return nil, fmt.Errorf("PrivateKey: expected %d octets, not %d", ed25519.SeedSize, len(b))
		}
		return ed25519.NewKeyFromSeed(b), nil
	}
	curve, size := elliptic.P256(), 32
	if alg == dnssec.ECDSAP384 {
		curve, size = elliptic.P384(), 48
	}
	if len(b) > size {
		return nil, fmt.Errorf("PrivateKey: expected %d octets, not %d", size, len(b))
	}
	k, err := ecdsa.ParseRawPrivateKey(curve, append(make([]byte, size-len(b)), b...))
	if err != nil {
		return nil, fmt.Errorf("PrivateKey: %w", err)
	}
	return k, nil
}

// appendPrivate appends the private key file of the key.
func (k *Key) appendPrivate(dst []byte) ([]byte, error) {
	dst = fmt.Appendf(dst, "Private-key-format: v1.3\nAlgorithm: %d (%s)\n", k.Algorithm(), wire.AlgorithmName(k.Algorithm()))
	field := func(name string, value []byte) {
		dst = append(append(dst, name...), ": "...)
		dst = append(base64.StdEncoding.AppendEncode(dst, value), '\n')
	}
	private := k.Private
	if k.URI != "" {
		field("Label", append([]byte(k.URI), 0)) // as BIND has it
		private = nil
	}
	switch p := private.(type) {
	case nil:
	case *rsa.PrivateKey:
		if len(p.Primes) != 2 {
			return nil, errors.New("an RSA key of more than two primes cannot be written")
		}
		p.Precompute()
		numbers := []*big.Int{
			p.N,
			big.NewInt(int64(p.E)),
			p.D,
			p.Primes[0],
			p.Primes[1],
			p.Precomputed.Dp,
			p.Precomputed.Dq,
			p.Precomputed.Qinv,
		}
		for i, n := range numbers {
			field(rsaFields[i], n.Bytes())
		}
	case *ecdsa.PrivateKey:
		b, err := p.Bytes()
		if err != nil {
			return nil, err
		}
		field("PrivateKey", b)
	case ed25519.PrivateKey:
		field("PrivateKey", p.Seed())
	default:
		return nil, fmt.Errorf("a key of type %T cannot be written", p)
	}
	for _, t := range k.Times.fields() {
		if !t.at.IsZero() {
			dst = fmt.Appendf(dst, "%s: %s\n", t.name, t.at.UTC().Format(timeForm))
		}
	}
	for _, line := range k.kept {
		dst = append(append(dst, line...), '\n')
	}
	return dst, nil
}

// appendPublic appends the key file with the DNSKEY record.
func (k *Key) appendPublic(dst []byte) []byte {
	kind := "zone-signing"
	if k.SEP() {
		kind = "key-signing"
	}
	dst = fmt.Appendf(dst, "; This is a %s key, keyid %d, for %s\n", kind, k.Tag(), text(k.Zone))
	for _, t := range k.Times.fields() {
		if !t.at.IsZero() {
			dst = fmt.Appendf(dst, "; %s: %s (%s)\n", t.name, t.at.UTC().Format(timeForm), t.at.UTC().Format(time.ANSIC))
		}
	}
	dst = wire.AppendName(dst, k.Zone)
	if k.TTL > 0 {
		dst = fmt.Appendf(dst, " %d", k.TTL)
	}
	dst = append(dst, " IN DNSKEY "...)
	return append(wire.AppendRdataText(dst, wire.TypeDNSKEY, k.DNSKEY), '\n')
}

// Write writes the key's files into a directory, which it makes if there is none: the private
// one first, readable by its owner alone, and both are on the disk before it returns. A crash leaves
// each whole or none of it. Files that are there are not replaced: the error is [fs.ErrExist] then.
func (k *Key) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	path := filepath.Join(dir, k.fileName())
	private, err := k.appendPrivate(nil)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(path + ".key"); err == nil {
		return fmt.Errorf("%s.key: %w", path, fs.ErrExist)
	}
	if k.State != nil {
		// Before the others: a key whose state got lost would be taken for one that only has times.
		if err := errors.Join(ignoreAbsent(os.Remove(path+".state")), putNew(path+".state", k.appendState(nil), 0o644)); err != nil {
			return err
		}
	}
	if err := putNew(path+".private", private, 0o600); err != nil {
		return err
	}
	if err := putNew(path+".key", k.appendPublic(nil), 0o644); err != nil {
		return errors.Join(err, os.Remove(path+".private"))
	}
	k.File = path
	return syncDir(dir)
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// putNew writes a file that is not there yet: after a crash it is there whole, or not at all.
func putNew(path string, b []byte, mode os.FileMode) error {
	part := path + ".new"
	_ = os.Remove(part) // which a crash may have left
	if err := writeNew(part, b, mode); err != nil {
		return err
	}
	err := os.Link(part, path) // which, unlike a rename, replaces nothing
	if err != nil && !errors.Is(err, fs.ErrExist) {
		// A file system without links.
		if _, gone := os.Lstat(path); errors.Is(gone, fs.ErrNotExist) {
			return os.Rename(part, path)
		}
	}
	return errors.Join(err, os.Remove(part))
}

// writeNew writes a file that is not there yet; a crash may leave a part of it.
func writeNew(path string, b []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Rewrite puts the key's files, with the times that it has now, in the place of those that it was read
// from or written as. Both are on the disk before it returns; a crash leaves the one or the other whole.
func (k *Key) Rewrite() error {
	private, err := k.appendPrivate(nil)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		text []byte
		mode os.FileMode
	}{{k.File + ".private", private, 0o600}, {k.File + ".key", k.appendPublic(nil), 0o644}} {
		_ = os.Remove(f.name + ".new") // which a crash may have left
		if err := writeNew(f.name+".new", f.text, f.mode); err != nil {
			return err
		}
		if err := os.Rename(f.name+".new", f.name); err != nil {
			return err
		}
	}
	return syncDir(filepath.Dir(k.File))
}
