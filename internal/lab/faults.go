package lab

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"port53/internal/dnssec"
	"port53/internal/wire"
	"port53/internal/zonefile"
)

// A Fault is one thing that is wrong with a signed zone.
type Fault struct {
	Kind  string    // one of those that internal/dnstest/SCENARIOS.md lists
	Owner []byte    // in lower case; nil: every name
	Type  wire.Type // 0: every type
	Args  []string
	Data  [][]byte // of replace and alter
}

// Validity of signatures that nobody said anything about, around the time of
// signing: long enough for any scenario and for a laboratory that runs for weeks.
const (
	validBefore = 24 * time.Hour
	validAfter  = 60 * 24 * time.Hour
	awayFrom    = 30 * 24 * time.Hour // how far expired and early signatures are off
)

// faultArgs says how many words stand behind the owner and type of each fault;
// negative: at least as many.
var faultArgs = map[string]int{
	"expired": 0, "early": 0, "valid": 2, "foreign": 0, "signer": 1, "labels": 1, "replace": -1,
	"unsigned": 0, "corrupt": 0, "alter": -1, "drop": 0, "algorithm": 1, "ttl": 1, "keytrap": 2, "add": -1, "signed-by": 1,
}

// signings reads the orders of a zone: how it is signed, its faults, and its DS.
func (p *plan) signings(now time.Time) error {
	for _, o := range p.orders {
		var err error
		switch o.words[0] {
		case "signed":
			if p.signing != nil {
				err = fmt.Errorf("signed stands twice")
				break
			}
			p.signing, err = p.parseSigning(o.words[1:], now)
		case "ds", "orphan", "glue", "anchor":
		default:
			if _, ok := faultArgs[o.words[0]]; !ok {
				err = fmt.Errorf("order %q is not known; there are signed, ds, orphan, glue, anchor and the faults", o.words[0])
			} else if p.signing == nil {
				err = fmt.Errorf("%s has no meaning above \"signed\"", o.words[0])
			} else {
				var f Fault
				if f, err = p.parseFault(&o); err == nil {
					p.signing.Faults = append(p.signing.Faults, f)
				}
			}
		}
		var placed *zonefile.Error
		switch {
		case errors.As(err, &placed):
			return err
		case err != nil:
			return p.at.Errorf(o.line, "%w", err)
		}
	}
	if p.signing == nil {
		return nil
	}
	for _, k := range p.signing.KSKs {
		p.signing.anchors = append(p.signing.anchors, appendDS(p.apex, k, 2))
	}
	return p.parseDS()
}

func appendDS(apex []byte, k *Key, digest uint8) []byte {
	ds, ok := dnssec.AppendDS(nil, apex, k.DNSKEY, digest)
	if !ok { // a digest that nobody knows
		ds = append(binary.BigEndian.AppendUint16(nil, k.Tag), k.algorithm, digest)
		ds = append(ds, make([]byte, 32)...)
	}
	return ds
}

// parseSigning reads the words behind "signed".
//
// In one piece: it is a table of words and what each does.
func (p *plan) parseSigning(words []string, now time.Time) (*Signing, error) {
	s := &Signing{Inception: now.Add(-validBefore), Expiration: now.Add(validAfter), now: now}
	algorithms := []uint8{algECDSAP256}
	label, csk := "", false
	kskFlags, zskFlags, protocol := uint16(flagZone|flagSEP), uint16(flagZone), uint8(3)
	var published []string
	form := usualRSA
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=")
		var err error
		switch key {
		case "nsec":
		case "nsec3":
			s.NSEC3 = true
		case "optout":
			s.NSEC3, s.OptOut = true, true
		case "iterations":
			var n uint64
			n, err = strconv.ParseUint(value, 10, 16)
			s.NSEC3, s.Iterations = true, uint16(n)
		case "salt":
			s.NSEC3 = true
			s.Salt, err = hex.DecodeString(value)
			if len(s.Salt) > 255 {
				err = errValue
			}
		case "from", "until":
			var d time.Duration
			d, err = seconds(value)
			if key == "from" {
				s.Inception = now.Add(d)
			} else {
				s.Expiration = now.Add(d)
			}
		case "alg":
			algorithms = algorithms[:0]
			for a := range strings.SplitSeq(value, ",") {
				n, ok := wire.ParseAlgorithm(a)
				if !ok {
					err = errValue
				}
				algorithms = append(algorithms, n)
			}
		case "rsa":
			bits, exponent, _ := strings.Cut(value, "/")
			if form.bits, err = strconv.Atoi(bits); err == nil {
				form.exponent, err = strconv.ParseInt(exponent, 10, 64)
			}
			if form.bits < 512 || form.bits > 4608 || form.bits%16 != 0 || form.exponent < 3 || form.exponent%2 == 0 {
				err = errValue
			}
		case "csk":
			csk = true
		case "key":
			label = value
		case "publish":
			published = strings.Split(value, ",")
		case "revoked":
			kskFlags |= flagRevoke
		case "nozonebit":
			kskFlags, zskFlags = flagSEP, 0
		case "protocol":
			var n uint64
			n, err = strconv.ParseUint(value, 10, 8)
			protocol = uint8(n)
		default:
			return nil, fmt.Errorf(
				"word %q is not known; there are nsec nsec3 optout iterations= salt= from= until= alg= rsa= csk key= "+
					"publish= revoked nozonebit protocol=",
				w,
			)
		}
		if err != nil {
			return nil, fmt.Errorf("%q: %w", w, errValue)
		}
	}
	for _, alg := range algorithms {
		ksk, err := newKey(p.name+" "+label+" ksk", alg, kskFlags, protocol, form)
		if err != nil {
			return nil, err
		}
		s.KSKs = append(s.KSKs, ksk)
		if csk {
			s.ZSKs = append(s.ZSKs, ksk)
			continue
		}
		zsk, err := newKey(p.name+" "+label+" zsk", alg, zskFlags, protocol, form)
		if err != nil {
			return nil, err
		}
		s.ZSKs = append(s.ZSKs, zsk)
	}
	for _, l := range published {
		k, err := newKey(p.name+" "+l+" ksk", algorithms[0], kskFlags&^flagRevoke, protocol, form)
		if err != nil {
			return nil, err
		}
		s.Published = append(s.Published, k)
	}
	return s, nil
}

// parseFault reads KIND OWNER TYPE ARGS.
func (p *plan) parseFault(o *order) (Fault, error) {
	f := Fault{Kind: o.words[0]}
	if len(o.words) < 3 {
		return f, fmt.Errorf("want: %s OWNER TYPE, with * for all", f.Kind)
	}
	if o.words[1] != "*" {
		owner, err := p.owner(o.words[1])
		if err != nil {
			return f, fmt.Errorf("name %q: %w", o.words[1], err)
		}
		f.Owner = owner
	}
	if o.words[2] != "*" {
		t, ok := wire.ParseType(o.words[2])
		if !ok {
			return f, fmt.Errorf("type %q is not known", o.words[2])
		}
		f.Type = t
	}
	f.Args = o.words[3:]
	want := faultArgs[f.Kind]
	if want >= 0 && len(f.Args) != want || want < 0 && len(f.Args) < -want {
		return f, fmt.Errorf("%s takes %d words behind owner and type", f.Kind, max(want, -want))
	}
	bad := false
	switch f.Kind {
	case "valid":
		for _, a := range f.Args {
			_, err := seconds(a)
			bad = bad || err != nil
		}
	case "signer":
		_, err := wire.ParseName(f.Args[0])
		bad = err != nil
	case "labels", "algorithm":
		_, err := strconv.ParseUint(f.Args[0], 10, 8)
		bad = err != nil
	case "ttl":
		_, err := strconv.ParseUint(f.Args[0], 10, 32)
		bad = err != nil
	case "keytrap":
		for _, a := range f.Args {
			_, err := strconv.ParseUint(a, 10, 10)
			bad = bad || err != nil
		}
	case "replace", "alter", "add":
		if f.Owner == nil || f.Type == 0 {
			return f, fmt.Errorf("%s takes one owner and one type", f.Kind)
		}
		line := p.at.Body[o.line]
		data := strings.TrimSpace(line[strings.Index(line, f.Kind)+len(f.Kind):])
		for range 2 { // owner and type
			data = strings.TrimLeft(data[strings.IndexAny(data, " \t"):], " \t")
		}
		records, err := readRecords(p.at.File, p.at.Line+1+o.line, []string{"@ " + o.words[2] + " " + data}, p.apex)
		if err != nil {
			return f, err
		}
		for _, r := range records {
			f.Data = append(f.Data, r.Data)
		}
	}
	if bad {
		return f, fmt.Errorf("%s: %w", f.Kind, errValue)
	}
	return f, nil
}

// owner reads a name relative to the apex.
func (p *plan) owner(text string) ([]byte, error) {
	if text == "@" {
		return p.apex, nil
	}
	name, absolute, err := wire.AppendParsedName(nil, text)
	if err != nil {
		return nil, err
	}
	if !absolute {
		name = append(name, p.apex...)
	}
	return wire.Lower(nil, name), nil
}

// parseDS makes the DS records that the zone above gets. Each order makes one kind of
// them; without any there is a good one for each KSK.
func (p *plan) parseDS() error {
	s := p.signing
	ordered := false
	for _, o := range p.orders {
		if o.words[0] != "ds" {
			continue
		}
		ordered = true
		keys, digests, how, label := s.KSKs, []uint8{2}, "", ""
		alg := -1
		for _, w := range o.words[1:] {
			key, value, _ := strings.Cut(w, "=")
			bad := false
			switch key {
			case "none", "wrong", "tag", "good":
				how = key
			case "digest":
				digests = digests[:0]
				for d := range strings.SplitSeq(value, ",") {
					n, err := strconv.ParseUint(d, 10, 8)
					bad = bad || err != nil
					digests = append(digests, uint8(n))
				}
			case "alg":
				n, ok := wire.ParseAlgorithm(value)
				alg, bad = int(n), !ok
			case "key":
				label = value
			default:
				return p.at.Errorf(o.line, "word %q is not known; there are none, good, wrong, tag, digest=, alg= and key=", w)
			}
			if bad {
				return p.at.Errorf(o.line, "%q: %w", w, errValue)
			}
		}
		if how == "none" {
			continue
		}
		if label != "" {
			k, err := NewKey(p.name+" "+label+" ksk", s.KSKs[0].algorithm, flagZone|flagSEP)
			if err != nil {
				return p.at.Errorf(o.line, "%w", err)
			}
			keys = []*Key{k}
		}
		for _, k := range keys {
			for _, digest := range digests {
				ds := appendDS(p.apex, k, digest)
				switch how {
				case "wrong":
					ds[len(ds)-1] ^= 0xFF
				case "tag":
					ds[1] ^= 0xFF
				}
				if alg >= 0 {
					ds[2] = byte(alg)
				}
				s.ds = append(s.ds, ds)
			}
		}
	}
	if !ordered {
		s.ds = s.anchors
	}
	return nil
}

// targets calls f with each set that a fault is about. NSEC3 records are named by
// the names that they are the hashes of.
func (z *signer) targets(f *Fault, do func(*rrset)) error {
	owner := f.Owner
	if owner != nil && f.Type == wire.TypeNSEC3 {
		owner = hashName(z.hash(owner), z.apex)
	}
	found := false
	for i := range z.sets {
		set := &z.sets[i]
		if owner != nil && !bytes.Equal(set.owner, owner) || f.Type != 0 && set.typ != f.Type {
			continue
		}
		found = true
		do(set)
	}
	if !found {
		name := "any name"
		if f.Owner != nil {
			name = string(wire.AppendName(nil, f.Owner))
		}
		return fmt.Errorf("%s: no %s at %s", f.Kind, f.Type, name)
	}
	return nil
}

// before makes the faults of data and of what is signed.
func (z *signer) before(f *Fault) error {
	around := func(from, until time.Duration) error {
		return z.targets(f, func(s *rrset) {
			s.how.inception, s.how.expiration = uint32(z.s.now.Add(from).Unix()), uint32(z.s.now.Add(until).Unix())
		})
	}
	switch f.Kind {
	case "expired":
		return around(-2*awayFrom, -awayFrom)
	case "early":
		return around(awayFrom, 2*awayFrom)
	case "valid":
		from, _ := seconds(f.Args[0])
		until, _ := seconds(f.Args[1])
		return around(from, until)
	case "foreign":
		return z.signedBy(f, "foreign")
	case "signed-by":
		return z.signedBy(f, f.Args[0])
	case "signer":
		name, _ := wire.ParseName(f.Args[0])
		return z.targets(f, func(s *rrset) { s.how.signer = wire.Lower(nil, name) })
	case "labels":
		n, _ := strconv.Atoi(f.Args[0])
		return z.targets(f, func(s *rrset) { s.how.labels = n })
	case "replace":
		return z.targets(f, func(s *rrset) { s.data = f.Data })
	case "add": // nothing is denied around it, but it is signed
		s := z.add(Record{f.Owner, f.Type, defaultTTL, f.Data[0]})
		s.signed = true
		s.keys, s.how = z.s.ZSKs, sigFields{z.apex, -1, uint32(z.s.Inception.Unix()), uint32(z.s.Expiration.Unix()), -1}
	case "keytrap":
		return z.keytrap(f)
	}
	return nil
}

// signedBy has sets signed by a key that is made from a label.
func (z *signer) signedBy(f *Fault, label string) error {
	name := string(wire.AppendName(nil, z.apex)) + " " + label + " ksk"
	k, err := NewKey(name, z.s.KSKs[0].algorithm, flagZone|flagSEP)
	if err != nil {
		return err
	}
	return z.targets(f, func(s *rrset) { s.keys = []*Key{k} })
}

// keytrap adds keys with the tag of the last key that signs a set, and makes its
// signatures many wrong ones: all pairs would have to be tried (CVE-2023-50387).
func (z *signer) keytrap(f *Fault) error {
	count, _ := strconv.Atoi(f.Args[0])
	if len(z.s.ZSKs) != 1 || z.s.ZSKs[0].algorithm != algRSASHA256 && z.s.ZSKs[0].algorithm != algRSASHA512 {
		return fmt.Errorf("keytrap: the zone must be signed with alg=RSASHA256 or RSASHA512")
	}
	if err := z.targets(f, func(*rrset) {}); err != nil {
		return err
	}
	keys := z.find(z.apex, wire.TypeDNSKEY)
	for n := range count {
		keys.data = append(keys.data, z.s.ZSKs[0].collide(n))
	}
	return nil
}

// behind makes the faults of what has been signed.
func (z *signer) behind(f *Fault) error {
	switch f.Kind {
	case "unsigned":
		return z.targets(f, func(s *rrset) { s.sigs = nil })
	case "corrupt":
		return z.targets(f, func(s *rrset) {
			for _, sig := range s.sigs {
				sig[len(sig)-9] ^= 0x10
			}
		})
	case "alter":
		return z.targets(f, func(s *rrset) { s.data = f.Data })
	case "drop":
		return z.targets(f, func(s *rrset) { s.data, s.sigs = nil, nil })
	case "algorithm":
		n, _ := strconv.Atoi(f.Args[0])
		return z.targets(f, func(s *rrset) {
			for _, sig := range s.sigs {
				sig[2] = byte(n)
			}
		})
	case "ttl":
		n, _ := strconv.ParseUint(f.Args[0], 10, 32)
		return z.targets(f, func(s *rrset) { s.ttl = uint32(n) })
	case "keytrap":
		count, _ := strconv.Atoi(f.Args[1])
		return z.targets(f, func(s *rrset) {
			if len(s.sigs) == 0 {
				return
			}
			good := s.sigs[0]
			s.sigs = nil
			for n := range count {
				wrong := slices.Clone(good)
				binary.BigEndian.PutUint32(wrong[len(wrong)-8:], uint32(n))
				s.sigs = append(s.sigs, wrong)
			}
		})
	}
	return nil
}
