package dnstest

import (
	"bytes"
	"crypto"
	"crypto/dsa" //lint:ignore SA1019 old files are signed with it, and nothing is signed here
	"crypto/rsa"
	"crypto/sha1" // as old files are signed
	"encoding/binary"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"port53/internal/dnssec"
	"port53/internal/lab"
	"port53/internal/wire"
	"port53/internal/zonefile"
)

// Most of the files are signed by algorithms that nobody validates any more (RFC 9905), and
// by Unbound only with an option for tests, which takes any of their signatures for good.
// So that they show what they are about, each such key is replaced by one of today: what
// was well signed is so again, by the new key.

// modern is the algorithm that stands for an old one.
var modern = map[uint8]uint8{3: 13, 5: 15, 6: 16, 7: 14}

// A twin is an old key and the one in its place.
type twin struct {
	old []byte // RDATA of DNSKEY
	new *lab.Key
}

// A rekeying is the replacement of one file's keys: if one is old, of all of them, since those
// of today sign what has old ones in it.
type rekeying struct {
	r       *replay
	any     bool
	fake    bool // all signatures of old algorithms are good
	twins   map[string]*twin
	entries []*entry
}

func twinKey(zone []byte, tag uint16, algorithm uint8) string {
	return fmt.Sprintf("%s %d %d", wire.Lower(nil, zone), tag, algorithm)
}

// rekey replaces old keys everywhere in a file. anchors are its trust anchors; those to use
// are returned.
func (r *replay) rekey(anchors []zonefile.Record) ([]zonefile.Record, error) {
	k := &rekeying{r: r, twins: map[string]*twin{}}
	for _, c := range r.config {
		k.fake = k.fake || (c.key == "fake-sha1" || c.key == "fake-dsa") && c.value == "yes"
	}
	for i := range r.ranges {
		k.entries = append(k.entries, r.ranges[i].entries...)
	}
	for i := range r.steps {
		if e := r.steps[i].entry; e != nil {
			k.entries = append(k.entries, e)
		}
	}
	_ = k.each(func(_ *entry, _ int, r *wire.Record) error {
		k.any = k.any || r.Type == wire.TypeDNSKEY && len(r.Data) > 4 && modern[r.Data[3]] != 0 ||
			r.Type == wire.TypeDS && len(r.Data) > 4 && modern[r.Data[2]] != 0
		return nil
	})
	anchors = slices.Clone(anchors)
	for i := range anchors {
		if a := &anchors[i]; a.Type == wire.TypeDNSKEY {
			if err := k.meet(a.Owner, a.Data); err != nil {
				return nil, err
			}
		}
	}
	if err := k.each(func(_ *entry, _ int, r *wire.Record) error {
		if r.Type == wire.TypeDNSKEY {
			return k.meet(r.Owner, r.Data)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	replace := func(_ *entry, _ int, r *wire.Record) error {
		switch r.Type {
		case wire.TypeDNSKEY:
			r.Data = k.key(r.Owner, r.Data)
		case wire.TypeDS:
			r.Data = k.digest(r.Owner, r.Data)
		}
		return nil
	}
	_ = k.each(replace)
	for i := range anchors {
		rec := wire.Record{Owner: anchors[i].Owner, Type: anchors[i].Type, Data: anchors[i].Data}
		_ = replace(nil, 0, &rec)
		anchors[i].Data = rec.Data
	}
	return anchors, k.each(k.signature)
}

// each calls f for all records of all entries.
func (k *rekeying) each(f func(e *entry, section int, r *wire.Record) error) error {
	for _, e := range k.entries {
		for s := range e.sections {
			for i := range e.sections[s] {
				if err := f(e, s, &e.sections[s][i]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// algorithm returns what stands for an algorithm, or 0 if its keys stay as they are.
func (k *rekeying) algorithm(old uint8) uint8 {
	if m := modern[old]; m != 0 {
		return m
	}
	if k.any && dnssec.SupportedAlgorithm(old) {
		return old
	}
	return 0
}

// meet makes the twin of a key, unless there is one or it needs none.
func (k *rekeying) meet(zone, data []byte) error {
	if len(data) < 5 || k.algorithm(data[3]) == 0 {
		return nil
	}
	id := twinKey(zone, dnssec.KeyTag(data), data[3])
	if k.twins[id] != nil {
		return nil
	}
	made, err := lab.NewKey(fmt.Sprintf("%s %x", id, data), k.algorithm(data[3]), binary.BigEndian.Uint16(data))
	if err != nil {
		return err
	}
	made.DNSKEY[2] = data[2]
	made.Tag = dnssec.KeyTag(made.DNSKEY)
	k.twins[id] = &twin{old: data, new: made}
	return nil
}

func (k *rekeying) key(zone, data []byte) []byte {
	if len(data) < 5 || k.algorithm(data[3]) == 0 {
		return data
	}
	t := k.twins[twinKey(zone, dnssec.KeyTag(data), data[3])]
	if t == nil || !bytes.Equal(t.old, data) { // another key with the same tag
		made, err := lab.NewKey(fmt.Sprintf("%x", data), k.algorithm(data[3]), binary.BigEndian.Uint16(data))
		if err != nil {
			return data
		}
		return made.DNSKEY
	}
	return t.new.DNSKEY
}

// digest returns the data of a DS record that stands for the twin as the old one did for the
// old key.
func (k *rekeying) digest(zone, data []byte) []byte {
	if len(data) < 5 || k.algorithm(data[2]) == 0 {
		return data
	}
	out := bytes.Clone(data)
	out[2] = k.algorithm(data[2])
	t := k.twins[twinKey(zone, binary.BigEndian.Uint16(data), data[2])]
	if t == nil {
		return out
	}
	binary.BigEndian.PutUint16(out, t.new.Tag)
	lower := wire.Lower(nil, zone)
	if k.fake && data[3] == dnssec.DigestSHA1 || dnssec.MatchDS(data, lower, t.old) {
		if ds, ok := dnssec.AppendDS(nil, lower, t.new.DNSKEY, data[3]); ok {
			return ds
		}
	}
	return out
}

// signature replaces an RRSIG record of an old key.
func (k *rekeying) signature(e *entry, section int, r *wire.Record) error {
	if r.Type != wire.TypeRRSIG || len(r.Data) < 19 || k.algorithm(r.Data[2]) == 0 {
		return nil
	}
	n, err := wire.CheckName(r.Data[18:])
	if err != nil {
		return err
	}
	if len(r.Data) == 18+n {
		return nil // there is no signature in it
	}
	signer := r.Data[18 : 18+n]
	t := k.twins[twinKey(signer, binary.BigEndian.Uint16(r.Data[16:]), r.Data[2])]
	old := r.Data
	head := bytes.Clone(old[:18+n])
	head[2] = k.algorithm(old[2])
	if t == nil {
		r.Data = append(head, old[18+n:]...)
		return nil
	}
	fake := k.fake && modern[old[2]] != 0
	binary.BigEndian.PutUint16(head[16:], t.new.Tag)
	was, is := k.covered(e, section, r)
	sig, err := t.new.Sign(signedData(head, r.Owner, is))
	if err != nil {
		return err
	}
	good := fake
	switch {
	case fake:
	case modern[old[2]] == 0:
		good = verifies(t.old, r, was)
	default:
		good = verifySHA1(t.old, signedData(old[:18+n], r.Owner, was), old[18+n:])
	}
	if !good {
		sig[len(sig)/2] ^= 1
	}
	r.Data = append(head, sig...)
	return nil
}

// covered returns the data of the set that a signature is for, before and after keys were
// replaced: it stands in the same section, or else somewhere in the file.
func (k *rekeying) covered(e *entry, section int, r *wire.Record) (was, is [][]byte) {
	take := func(e *entry, s int) bool {
		for i := range e.sections[s] {
			x := &e.sections[s][i]
			if x.Type == wire.Covered(r.Data) && wire.EqualFold(x.Owner, r.Owner) {
				is = append(is, x.Data)
				was = append(was, e.original[s][i].Data)
			}
		}
		return len(is) > 0
	}
	if take(e, section) {
		return was, is
	}
	for _, e := range append([]*entry{e}, k.entries...) {
		for s := range e.sections {
			if take(e, s) {
				return was, is
			}
		}
	}
	return nil, nil
}

// signedData is what a signature with the fields of head is made over (RFC 4034, section 3.1.8.1).
func signedData(head, owner []byte, set [][]byte) []byte {
	b := append(bytes.Clone(head[:18]), wire.Lower(nil, head[18:])...)
	owner = wire.Lower(nil, owner)
	if labels := int(head[3]); labels < wire.LabelCount(owner) {
		for wire.LabelCount(owner) > labels {
			owner = wire.Parent(owner)
		}
		owner = append([]byte{1, '*'}, owner...)
	}
	covered := wire.Covered(head)
	var list [][]byte
	for _, d := range set {
		list = append(list, wire.AppendCanonical(nil, covered, d))
	}
	slices.SortFunc(list, bytes.Compare)
	list = slices.CompactFunc(list, bytes.Equal)
	for _, d := range list {
		rec := wire.Record{Owner: owner, Type: covered, Class: wire.ClassIN, TTL: binary.BigEndian.Uint32(head[4:]), Data: d}
		b = appendRecord(b, &rec)
	}
	return b
}

// verifies reports whether a signature by a key of today is right, whenever it is valid.
func verifies(dnskey []byte, sig *wire.Record, set [][]byte) bool {
	key, ok := dnssec.ParseKey(dnskey)
	if !ok {
		return false
	}
	key.Flags |= dnssec.FlagZone
	n, err := wire.CheckName(sig.Data[18:])
	if err != nil {
		return false
	}
	s := &wire.RRset{
		Owner: wire.Lower(
			nil,
			sig.Owner,
		),
		Type: wire.Covered(sig.Data),
		TTL:  binary.BigEndian.Uint32(sig.Data[4:]),
		Data: set,
		Sigs: [][]byte{sig.Data},
	}
	then := time.Unix(int64(binary.BigEndian.Uint32(sig.Data[12:])), 0).Add(time.Second)
	_, why := dnssec.Verify(s, wire.Lower(nil, sig.Data[18:18+n]), []dnssec.Key{key}, then, &dnssec.Work{Signatures: 1, Failures: 1})
	return why == 0
}

// verifySHA1 verifies a signature of RSASHA1 or DSA (RFC 3110, RFC 2536).
func verifySHA1(dnskey, data, sig []byte) bool {
	sum := sha1.Sum(data)
	b := dnskey[4:]
	if alg := dnskey[3]; alg == 5 || alg == 7 {
		if len(b) < 3 {
			return false
		}
		n, at := int(b[0]), 1
		if n == 0 {
			n, at = int(binary.BigEndian.Uint16(b[1:])), 3
		}
		if len(b) < at+n {
			return false
		}
		// Package rsa refuses keys as short as these.
		e, m := new(big.Int).SetBytes(b[at:at+n]), new(big.Int).SetBytes(b[at+n:])
		if m.Sign() == 0 {
			return false
		}
		return rsaSHA1(&rsa.PublicKey{N: m, E: int(e.Int64())}, sum[:], sig)
	}
	if len(b) < 1 || len(sig) != 41 {
		return false
	}
	size := 64 + int(b[0])*8
	if len(b) != 21+3*size {
		return false
	}
	number := func(from, to int) *big.Int { return new(big.Int).SetBytes(b[from:to]) }
	key := dsa.PublicKey{
		Parameters: dsa.Parameters{Q: number(1, 21), P: number(21, 21+size), G: number(21+size, 21+2*size)},
		Y:          number(21+2*size, 21+3*size),
	}
	return dsa.Verify(&key, sum[:], new(big.Int).SetBytes(sig[1:21]), new(big.Int).SetBytes(sig[21:]))
}

// rsaSHA1 verifies PKCS #1, version 1.5.
func rsaSHA1(key *rsa.PublicKey, sum, sig []byte) bool {
	size := (key.N.BitLen() + 7) / 8
	prefix := "\x30\x21\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x14"
	if size < len(prefix)+crypto.SHA1.Size()+11 {
		return false
	}
	want := "\x00\x01" + strings.Repeat("\xff", size-3-len(prefix)-crypto.SHA1.Size()) + "\x00" + prefix + string(sum)
	m := new(big.Int).Exp(new(big.Int).SetBytes(sig), big.NewInt(int64(key.E)), key.N)
	return string(m.FillBytes(make([]byte, size))) == want
}
