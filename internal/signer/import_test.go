package signer_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"port53/internal/dnssec"
	"port53/internal/signer"
)

// An amid is a zone in the middle of a roll that another server began: what it has now, and what it had
// until now, which caches go on having for a day.
type amid struct {
	states   []signer.KeyState // of K0, K1, ... with the SEP flag, as many as ksks, and then the others
	ksks     int
	ds       []int // keys that the parent points at
	wasKeys  []int // the DNSKEY set until now; nil: the same
	wasData  []int // keys that signed data until now
	wasDS    []int
	withdraw int // key that has to be gone in the end
}

var (
	stays     = signer.KeyState{DNSKEY: signer.Omnipresent, Signatures: signer.Omnipresent}
	staysKSK  = signer.KeyState{DNSKEY: signer.Omnipresent}
	comes     = signer.KeyState{DNSKEY: signer.Rumoured}
	leaves    = signer.KeyState{DNSKEY: signer.Omnipresent, Signatures: signer.Omnipresent, Retiring: true}
	leavesKSK = signer.KeyState{DNSKEY: signer.Omnipresent, Retiring: true}
	retired   = signer.KeyState{DNSKEY: signer.Omnipresent, Signatures: signer.Unretentive, Retiring: true}
)

// TestTakeOverAmid takes over zones amid a roll of another server, by the states that it kept: the roll goes on,
// its old key leaves, and at no moment is anything bogus that caches may have.
func TestTakeOverAmid(t *testing.T) {
	for what, a := range map[string]amid{
		"ZSK published":    {states: []signer.KeyState{staysKSK, leaves, comes}, ksks: 1, ds: []int{0}, wasKeys: []int{0, 1}, withdraw: 1},
		"ZSK switched":     {states: []signer.KeyState{staysKSK, retired, stays}, ksks: 1, ds: []int{0}, wasData: []int{1}, withdraw: 1},
		"KSK published":    {states: []signer.KeyState{leavesKSK, comes, stays}, ksks: 2, ds: []int{0}, wasKeys: []int{0, 2}, withdraw: 0},
		"DS just replaced": {states: []signer.KeyState{leavesKSK, staysKSK, stays}, ksks: 2, ds: []int{1}, wasDS: []int{0}, withdraw: 0},
		"CSK published":    {states: []signer.KeyState{leaves, comes}, ksks: 2, ds: []int{0}, wasKeys: []int{0}, withdraw: 0},
		"CSK, DS replaced": {states: []signer.KeyState{retired, stays}, ksks: 2, ds: []int{1}, wasDS: []int{0}, wasData: []int{0}, withdraw: 0},
	} {
		t.Run(what, func(t *testing.T) { a.run(t) })
	}
}

func (a *amid) run(t *testing.T) {
	w := newWorld(t, 11, yearsPolicy())
	w.stage.From = t.TempDir()
	var keys []*signer.Key
	for i := range a.states {
		k := newKey(t, "example.", dnssec.ECDSAP256, i < a.ksks, keys...)
		long := w.now.Add(-300 * days)
		k.TTL, k.State, k.Times = 86400, &a.states[i], signer.Times{Created: long, Publish: long}
		if s := k.State.Signatures; k.SEP() && a.ksks < len(a.states) || s != signer.Hidden {
			k.Times.Activate = long
			if s == signer.Unretentive && !k.SEP() {
				k.Times.Inactive = w.now.Add(-time.Hour)
			}
		}
		if err := k.Write(w.stage.From); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	records, _ := sign(t, w.plain, keys, signer.Policy{}, signer.SignOptions{Now: w.now})
	before := build(t, w.plain.Apex(), records)
	w.now = w.now.Add(2 * days) // and nobody remembers that it was unsigned
	for _, f := range w.follows {
		w.show(before, 1)
		w.show(f.has, -1)
		f.has = before
	}
	w.keys.sets, w.data.sets = nil, nil
	for range w.follows {
		w.show(before, 1)
	}
	a.was(w, keys)
	w.judge("before")
	w.sign()
	w.still("taken over")
	if w.version.Lifecycle.Keys[slices.IndexFunc(w.version.Lifecycle.Keys, func(k *signer.KeyLifecycle) bool { return k.Tag == keys[a.withdraw].Tag() })].DNSKEY.State != signer.Hidden {
		t.Errorf("the old key is there still: %s", w.states())
	}
	if n := len(w.version.Keys); n != len(keys)-1 {
		t.Errorf("signed by %v", w.version.Keys)
	}
	if err := w.stage.Roll(signer.Roll{}, w.now); err != nil {
		t.Fatal(err)
	}
	w.still("rolled")
	w.good()
}

// was has caches have what was until now, for a day.
func (a *amid) was(w *world, keys []*signer.Key) {
	id := func(list []int) (ids []uint32) {
		for _, i := range list {
			ids = append(ids, keyID(keys[i].Algorithm(), keys[i].Tag()))
		}
		return ids
	}
	if a.wasKeys != nil {
		v := &keyView{}
		for _, i := range a.wasKeys {
			v.keys = append(v.keys, keys[i].DNSKEY)
			if i < a.ksks {
				v.signers = append(v.signers, keyID(keys[i].Algorithm(), keys[i].Tag()))
			}
		}
		w.keys.put("was", v, yearDay)
		w.keys.take("was", w.now)
	}
	if a.wasData != nil {
		w.data.put("was", id(a.wasData), yearDay)
		w.data.take("was", w.now)
	}
	points := func(list []int) (ds [][]byte) {
		for _, i := range list {
			ds = append(ds, dsOf(keys[i:i+1])...)
		}
		return ds
	}
	w.ds.sets = nil
	ds := points(a.ds)
	for _, p := range w.parents {
		p.ds = ds
		w.ds.put(fmt.Sprint(ds), ds, dsTTL)
	}
	if a.wasDS != nil {
		w.ds.put("was", points(a.wasDS), dsTTL)
		w.ds.take("was", w.now)
	}
}

// TestKeyState reads BIND's state files, and says what is wrong with one.
func TestKeyState(t *testing.T) {
	const base = "Kexample.com.+013+00026"
	for what, c := range map[string]struct{ text, want string }{
		"of a dnssec-policy": {"; This is the state of key 26, for example.com.\nAlgorithm: 13\nLength: 256\nLifetime: 0\nKSK: yes\nZSK: yes\nGenerated: 20261130221112 (Mon Nov 30 22:11:12 2026)\nDNSKEYChange: 20261130221112 (Mon Nov 30 22:11:12 2026)\nDNSKEYState: omnipresent\nZRRSIGState: rumoured\nKRRSIGState: omnipresent\nDSState: hidden\nGoalState: hidden\n", "omnipresent rumoured true"},
		"without states":     {"; This is the state of key 26, for example.com.\nAlgorithm: 13\nKSK: yes\n", "none"},
		"damaged":            {"Algorithm: 13\nDNSKEYState: everywhere\n", base + `.state:2: DNSKEYState: "everywhere" is not a key state: expected hidden, rumoured`},
		"binary":             {"\x00\x01\n", base + ".state:1: expected a field and its value, such as DNSKEYState: omnipresent"},
	} {
		dir := t.TempDir()
		for end, text := range map[string]string{".key": bindPublic, ".private": bindPrivate, ".state": c.text} {
			if err := os.WriteFile(filepath.Join(dir, base+end), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		k, err := signer.ReadKey(filepath.Join(dir, base))
		got := "none"
		switch {
		case err != nil:
			got = err.Error()
		case k.State != nil:
			got = fmt.Sprint(k.State.DNSKEY, " ", k.State.Signatures, " ", k.State.Retiring)
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", what, got, c.want)
		}
	}
}

// TestImportRefused has lists and databases of other programs that are not what they should be.
func TestImportRefused(t *testing.T) {
	const line = "0ff09370c1b82ad91b5b1c067e78238298516252 ksk=no zsk=yes tag=48302 algorithm=13 size=256 public-only=no publish=1 active=1"
	for list, want := range map[string]string{
		"[{": "list: expected the JSON that keymgr -j prints",
		`[{"zone": "other.example.", "id": "0f", "ksk": true, "tag": 1, "algorithm": 13}]`: "it is of zone other.example., and not of example.",
		"hello a=b\n": `"hello" is not the ID of a key`,
		"0f what\n":   `list:1: "what": expected a line of keymgr -e`,
		strings.Replace(line, "=48302", "=70000", 1):             `tag "70000": expected a number up to 65535`,
		strings.Replace(line, "algorithm=13", "algorithm=5", 1):  `algorithm "5" cannot sign here`,
		strings.Replace(line, "publish=1", "publish=-2h", 1):     "publish=-2h: expected seconds since 1970",
		strings.Replace(line, "0ff09370", "../../etc/passwd", 1): "is not the ID of a key",
		strings.Replace(line, "ksk=no zsk=yes", "x=y", 1):        "neither KSK nor ZSK",
		line: "0ff09370c1b82ad91b5b1c067e78238298516252.pem: no such file or directory",
	} {
		if _, err := signer.ImportKnot("list", []byte(list), t.TempDir(), name(t, "example."), 3600, now); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got error %v, want %q", list, err, want)
		}
	}
	row := signer.PowerDNSKey{ID: "7", Flags: 257, Active: true, Published: true, Content: "Private-key-format: v1.2\nAlgorithm: 5\n"}
	if _, err := signer.ImportPowerDNS("db", []signer.PowerDNSKey{row}, name(t, "example."), 3600, now); err == nil || !strings.Contains(err.Error(), "db: cryptokeys 7: algorithm RSASHA1 cannot sign here") {
		t.Errorf("PowerDNS: %v", err)
	}
}
