package signer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"port53/internal/dnssec"
	"port53/internal/wire"
)

// ImportTTL is taken for the TTL of the DNSKEY set of a server that does not say, in seconds.
const ImportTTL = unknownTTL

// An Imported is a key of another server, and what became of it.
type Imported struct {
	Key  *Key   // nil: it is not taken
	Note string // what the key is there, or why it is not taken
}

// A knotKey is a key as keymgr lists it.
type knotKey struct {
	id         string
	ksk, zsk   bool
	tag        uint64
	publicOnly bool
	phase      int // index of knotPhases, -1: it is not used yet
	times      [len(knotPhases)]time.Time
	algorithm  uint8 // as far as it is said, 0 if not
}

// knotPhases are the times that Knot DNS has of a key, in the order of its life.
var knotPhases = [...]string{
	"pre-active", "publish", "ready", "active", "retire-active", "retire", "post-active", "revoke", "remove",
}

const (
	knotPreActive = iota
	knotPublish
	knotReady
	knotActive
	knotRetireActive
	knotRetire
	knotPostActive
	knotRevoke
	knotRemove
)

// coming reports whether the key is on its way in.
func (k *knotKey) coming() bool { return k.phase >= knotPreActive && k.phase <= knotReady }

// signing reports whether the key signs because it is its time.
func (k *knotKey) signing() bool { return k.phase == knotActive || k.phase == knotRetireActive }

// ImportKnot returns the keys of a zone of Knot DNS: list is what keymgr lists, as JSON (keymgr -j) or as
// text (keymgr -e); the private keys are NAME.pem in a directory. A key whose private key has another tag
// than the list says is an error.
func ImportKnot(name string, list []byte, pems string, zone []byte, ttl uint32, now time.Time) (imported []Imported, err error) {
	var keys []*knotKey
	if trimmed := bytes.TrimSpace(list); len(trimmed) > 0 && trimmed[0] == '[' {
		keys, err = knotJSON(name, trimmed, zone)
	} else {
		keys, err = knotText(name, list)
	}
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		for i, t := range k.times {
			if passed(t, now) {
				k.phase = i
			}
		}
	}
	for _, k := range keys {
		i, err := k.take(name, keys, pems, zone, ttl, now)
		if err != nil {
			return nil, err
		}
		imported = append(imported, i)
	}
	return imported, nil
}

// take returns the key as it goes on here.
func (k *knotKey) take(name string, all []*knotKey, pems string, zone []byte, ttl uint32, now time.Time) (Imported, error) {
	said := "not in use"
	if k.phase >= 0 {
		said = knotPhases[k.phase]
	}
	left := func(why string) (Imported, error) {
		return Imported{Note: fmt.Sprintf("key %d (%s) is not taken: %s", k.tag, said, why)}, nil
	}
	switch {
	case k.phase < 0:
		return left("nothing of it is published yet")
	case k.phase == knotRemove:
		return left("it has been removed")
	case k.phase == knotRevoke:
		return left("it is revoked")
	case k.publicOnly:
		return left("it has no private key; put its DNSKEY record into the zone")
	}
	path := filepath.Join(pems, k.id+".pem")
	b, err := readSmall(path)
	if err != nil {
		return Imported{}, err
	}
	key, err := Import(path, b, zone, k.ksk, k.algorithm, now)
	if err != nil {
		return Imported{}, err
	}
	if uint64(key.Tag()) != k.tag {
		return Imported{}, fmt.Errorf("%s: the key's tag is %d, but %s says %d", path, key.Tag(), name, k.tag)
	}
	key.TTL, key.State, key.Times = ttl, &KeyState{}, Times{Publish: k.times[knotPublish]}
	s := key.State
	if k.phase >= knotPublish && k.phase < knotPostActive {
		s.DNSKEY = Rumoured
	} else if k.phase == knotPostActive {
		s.DNSKEY = Unretentive
	}
	if k.zsk {
		s.Signatures = k.signatures(all)
	}
	if s.Signatures != Hidden {
		if key.Times.Activate = k.times[knotActive]; !passed(key.Times.Activate, now) {
			key.Times.Activate = now.UTC().Truncate(time.Second)
		}
	}
	if k.ksk && s.DNSKEY == Rumoured && key.Times.Activate.IsZero() {
		key.Times.Activate = key.Times.Publish // it signs the keys as long as it is one of them
	}
	if s.Signatures == Unretentive {
		key.Times.Inactive = k.times[knotRetire]
	}
	s.Retiring = k.phase > knotActive || k.phase == knotActive && slices.ContainsFunc(all, func(o *knotKey) bool {
		return o.coming() && (o.ksk && k.ksk || o.zsk && k.zsk)
	})
	return Imported{Key: key, Note: said}, nil
}

// signatures returns what there is of the key's signatures of data. A key that is coming signs already if
// it is of an algorithm that nothing else signs with.
func (k *knotKey) signatures(all []*knotKey) Presence {
	switch {
	case k.signing() || k.phase == knotPostActive:
		return Rumoured
	case k.phase == knotRetire:
		return Unretentive
	case slices.ContainsFunc(all, func(o *knotKey) bool { return o.zsk && o.algorithm == k.algorithm && o.signing() }):
		return Hidden
	}
	return Rumoured
}

// knotJSON reads the list of keymgr -j.
func knotJSON(name string, b []byte, zone []byte) (keys []*knotKey, err error) {
	var rows []map[string]any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&rows); err != nil {
		return nil, fmt.Errorf("%s: expected the JSON that keymgr -j prints: %w", name, err)
	}
	for i, row := range rows {
		at := fmt.Sprintf("%s: key %d", name, i+1)
		if of, ok := row["zone"].(string); ok {
			if n, err := wire.ParseName(of); err != nil || !wire.EqualFold(n, zone) {
				return nil, fmt.Errorf("%s: it is of zone %s, and not of %s", at, of, text(zone))
			}
		}
		fields := map[string]string{}
		for field, v := range row {
			fields[field] = fmt.Sprint(v)
		}
		k, err := newKnotKey(at, fields["id"], fields)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// knotText reads the list of keymgr -e: a line for each key, its ID and then fields. That without -e says
// the tag, what the key is for and the algorithm in the second to fourth words.
func knotText(name string, b []byte) (keys []*knotKey, err error) {
	number := 0
	for line := range strings.Lines(string(b)) {
		number++
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		at, fields := fmt.Sprintf("%s:%d", name, number), map[string]string{}
		rest := words[1:]
		if len(rest) >= 3 && !strings.Contains(rest[0], "=") {
			alg, _ := wire.ParseAlgorithm(rest[2])
			ksk, zsk := rest[1] == "KSK" || rest[1] == "CSK", rest[1] == "ZSK" || rest[1] == "CSK"
			fields["tag"], fields["algorithm"] = rest[0], strconv.Itoa(int(alg))
			fields["ksk"], fields["zsk"] = strconv.FormatBool(ksk), strconv.FormatBool(zsk)
			rest = rest[3:]
		}
		for _, w := range rest {
			field, value, ok := strings.Cut(w, "=")
			if !ok {
				return nil, fmt.Errorf(
					"%s: %q: expected a line of keymgr -e ZONE list, such as ID ksk=yes zsk=no tag=4711 algorithm=13", at, w)
			}
			fields[field] = value
		}
		k, err := newKnotKey(at, words[0], fields)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// newKnotKey makes a key of the fields that are listed.
func newKnotKey(at, id string, fields map[string]string) (*knotKey, error) {
	is := func(field string) bool { return fields[field] == "yes" || fields[field] == "true" }
	k := &knotKey{id: id, ksk: is("ksk"), zsk: is("zsk"), publicOnly: is("public-only"), phase: -1}
	if id == "" || strings.Trim(id, "0123456789abcdefABCDEF") != "" {
		return nil, fmt.Errorf("%s: %q is not the ID of a key: expected the list that keymgr -j or -e prints", at, id)
	}
	if !k.ksk && !k.zsk {
		return nil, fmt.Errorf("%s: key %s is neither KSK nor ZSK: expected the list that keymgr -j or -e prints", at, id)
	}
	var err error
	if k.tag, err = strconv.ParseUint(fields["tag"], 10, 16); err != nil {
		return nil, fmt.Errorf("%s: tag %q: expected a number up to 65535", at, fields["tag"])
	}
	alg, err := strconv.ParseUint(fields["algorithm"], 10, 8)
	if err != nil || !CanSign(uint8(alg)) {
		return nil, fmt.Errorf("%s: key %d: algorithm %q cannot sign here", at, k.tag, fields["algorithm"])
	}
	k.algorithm = uint8(alg)
	for i, field := range knotPhases {
		value := fields[field]
		if value == "" || value == "0" {
			continue
		}
		if seconds, err := strconv.ParseInt(value, 10, 64); err == nil {
			k.times[i] = time.Unix(seconds, 0).UTC()
		} else if k.times[i], err = time.Parse(time.RFC3339, value); err != nil {
			return nil, fmt.Errorf(
				"%s: key %d: %s=%s: expected seconds since 1970, or a time such as 2026-01-31T12:00:00Z", at, k.tag, field, value)
		}
	}
	return k, nil
}

// A PowerDNSKey is a key of PowerDNS, a row of its table cryptokeys.
type PowerDNSKey struct {
	ID                string
	Flags             uint16
	Active, Published bool
	Content           string // a private key in BIND's format
}

// ImportPowerDNS returns the keys of a zone of PowerDNS. Those that are active and published go on; of one
// that is only the one or the other nobody can say whether it comes or goes, and it goes, when it is safe.
func ImportPowerDNS(name string, rows []PowerDNSKey, zone []byte, ttl uint32, now time.Time) (imported []Imported, err error) {
	for _, r := range rows {
		at := fmt.Sprintf("%s: cryptokeys %s", name, r.ID)
		key, err := Import(at, []byte(r.Content), zone, r.Flags&dnssec.FlagSEP != 0, 0, now)
		if err != nil {
			return nil, err
		}
		i := Imported{Key: key, Note: "active and published"}
		key.TTL, key.State = ttl, &KeyState{DNSKEY: Rumoured, Signatures: Rumoured}
		switch {
		case !r.Active && !r.Published:
			i = Imported{Note: fmt.Sprintf("key %d (inactive, unpublished) is not taken: nothing of it is published", key.Tag())}
		case !r.Active:
			key.State.Signatures, key.State.Retiring, i.Note = Unretentive, true, "published only"
			key.Times.Activate = time.Time{}
		case !r.Published:
			key.State.DNSKEY, key.State.Retiring, i.Note = Unretentive, true, "active only"
		}
		imported = append(imported, i)
	}
	settleKinds(imported)
	return imported, nil
}

// settleKinds has keys that are both KSK and ZSK by their flags sign only what is theirs: a key with the SEP
// flag signs no data where another of its algorithm without it does.
func settleKinds(imported []Imported) {
	for _, i := range imported {
		if i.Key == nil || !i.Key.SEP() {
			continue
		}
		if slices.ContainsFunc(imported, func(o Imported) bool {
			return o.Key != nil && !o.Key.SEP() && o.Key.Algorithm() == i.Key.Algorithm() &&
				o.Key.State.Signatures.out() && o.Key.State.DNSKEY.out()
		}) {
			i.Key.State.Signatures = Hidden
		}
	}
}

// ImportBIND returns the keys of a zone in a directory of BIND: with the states that it keeps, if they are of a
// dnssec-policy, and else with the times in their files.
func ImportBIND(dir string, zone []byte, ttl uint32, now time.Time) (imported []Imported, err error) {
	keys, problems, err := ReadKeys(dir, zone)
	if err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		return nil, problems[0]
	}
	for _, k := range keys {
		switch {
		case k.over(now):
			imported = append(imported, Imported{Note: fmt.Sprintf("key %d is not taken: it has been removed", k.Tag())})
			continue
		case k.Private == nil:
			why := "it has no private key; put its DNSKEY record into the zone"
			imported = append(imported, Imported{Note: fmt.Sprintf("key %d is not taken: %s", k.Tag(), why)})
			continue
		}
		if k.TTL == 0 {
			k.TTL = ttl
		}
		imported = append(imported, Imported{Key: k, Note: "as its files say"})
	}
	return imported, nil
}

// WriteImported writes keys of another server into a directory, all or none as far as it is known before.
func WriteImported(dir string, imported []Imported) error {
	for _, i := range imported {
		if i.Key == nil {
			continue
		}
		for _, end := range []string{".key", ".private"} {
			path := filepath.Join(dir, i.Key.fileName()+end)
			if _, err := os.Lstat(path); err == nil {
				return fmt.Errorf("%s: %w", path, os.ErrExist)
			}
		}
	}
	for _, i := range imported {
		if i.Key != nil {
			if err := i.Key.Write(dir); err != nil {
				return err
			}
		}
	}
	return nil
}
