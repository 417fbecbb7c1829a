package query

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"port53/internal/dnssec"
	"port53/internal/exchange"
	"port53/internal/wire"
)

// linkTo returns the zone that a name is in: the deepest whose delegation is found on
// the way down from the closest anchor. Once a zone is not secure, nothing below it is
// looked at.
func (r *run) linkTo(ctx context.Context, name []byte) (*link, error) {
	var anchor *Anchor
	for i := range r.Anchors {
		a := &r.Anchors[i]
		if wire.Subdomain(name, a.Zone) && (anchor == nil || len(a.Zone) > len(anchor.Zone)) {
			anchor = a
		}
	}
	if anchor == nil {
		return &link{zone: wire.Root, sec: Indeterminate, ede: wire.EDEIndeterminate, why: "no trust anchor is at or above it"}, nil
	}
	l, err := r.anchored(ctx, anchor)
	for n := wire.LabelCount(anchor.Zone) + 1; err == nil && n <= wire.LabelCount(name) && l.sec == Secure && !l.gone; n++ {
		at := name
		for wire.LabelCount(at) > n {
			at = wire.Parent(at)
		}
		l, err = r.below(ctx, l, at)
	}
	return l, err
}

// anchored returns the link of a zone with an anchor.
func (r *run) anchored(ctx context.Context, a *Anchor) (*link, error) {
	zone := wire.Lower(nil, a.Zone)
	if l, ok := r.links[string(zone)]; ok {
		return l, nil
	}
	l, err := r.keys(ctx, zone, a.DS, a.Keys)
	if err == nil {
		r.links[string(zone)] = l
	}
	return l, err
}

// below returns the link of a name one label below what parent was found for: another
// zone if there is a delegation, else parent's.
func (r *run) below(ctx context.Context, parent *link, name []byte) (*link, error) {
	if l, ok := r.links[string(name)]; ok {
		return l, nil
	}
	l, err := r.delegation(ctx, parent, name)
	if err == nil {
		r.links[string(name)] = l
	}
	return l, err
}

// delegation looks for the DS records of a name, in the zone of parent, or for the
// proof that there are none.
func (r *run) delegation(ctx context.Context, parent *link, name []byte) (*link, error) {
	reply, err := r.ask(ctx, name, wire.TypeDS)
	if err != nil {
		return nil, err
	}
	c := Check{Zone: parent.zone, Name: name, Type: wire.TypeDS, Security: Secure, EDE: -1}
	defer func() {
		if err == nil && c.Text != "" {
			r.report(&c)
		}
	}()
	broken := func(why dnssec.Reason, format string, args ...any) *link {
		c.Text = fmt.Sprintf(format, args...)
		c.fail(why)
		return &link{zone: name, sec: c.Security, ede: c.EDE, why: fmt.Sprintf("the chain of trust breaks at %s DS", NameText(name))}
	}
	for _, set := range setsOf(&reply.Message, wire.Answer) {
		if !bytes.Equal(set.Owner, name) || set.Type != wire.TypeDS && set.Type != wire.TypeCNAME {
			continue
		}
		good, text, why := r.verify(set, parent)
		if why == 0 && good.Wildcard {
			why, text = dnssec.BadProof, "made from a wildcard, which delegations never are"
		}
		if why != 0 {
			return broken(why, "%s", text), nil
		}
		if set.Type == wire.TypeCNAME {
			return parent, nil // an alias is no delegation (RFC 2181, section 10.1)
		}
		c.Text = fmt.Sprintf("%s; DS of key %s", text, dsTags(set.Data))
		r.report(&c)
		c.Text = ""
		return r.keys(ctx, name, set.Data, nil)
	}
	for _, set := range setsOf(&reply.Message, wire.Answer) {
		if set.Type == wire.TypeDNAME && len(set.Owner) < len(name) && wire.Subdomain(name, set.Owner) {
			if _, text, why := r.verify(set, parent); why != 0 {
				return broken(why, "%s", text), nil
			}
			return parent, nil // nothing is below a DNAME record (RFC 6672, section 2.3)
		}
	}
	d, said := r.denial(reply, parent)
	var proof dnssec.Proof
	var why dnssec.Reason
	if reply.Message.Rcode == wire.NXDomain {
		proof, why = d.NXDomain(name, &r.work)
	} else {
		proof, why = d.NoDS(name, &r.work)
	}
	open := func(ede int, text string) *link {
		c.Security, c.EDE, c.Text = Insecure, ede, text
		return &link{zone: name, sec: Insecure, ede: ede, why: NameText(name) + " is not signed"}
	}
	switch {
	case why != 0:
		l := broken(why, "there is no DS record, and that is not proven: %s%s%s", why.String(), said, r.unsignedServer())
		return l, nil
	case proof.Insecure:
		return open(dnssec.TooManyIterations.EDE(), "the proof has too many NSEC3 iterations to check"), nil
	case proof.Delegation:
		return open(-1, "an insecure delegation: proven to have no DS record"+said), nil
	case proof.OptOut:
		return open(-1, "an insecure delegation may be there: it is within an opt-out range of NSEC3"), nil
	case reply.Message.Rcode == wire.NXDomain:
		gone := *parent
		gone.gone = true
		return &gone, nil
	}
	return parent, nil // a name of the same zone
}

// keys fetches the keys of a zone and finds those that the DS records, or an anchor,
// vouch for.
func (r *run) keys(ctx context.Context, zone []byte, ds, trusted [][]byte) (*link, error) {
	c := Check{Zone: zone, Name: zone, Type: wire.TypeDNSKEY, Security: Secure, EDE: -1}
	broken := func(why dnssec.Reason, format string, args ...any) *link {
		c.Text = fmt.Sprintf(format, args...)
		c.fail(why)
		r.report(&c)
		return &link{zone: zone, sec: c.Security, ede: c.EDE, why: fmt.Sprintf("the chain of trust breaks at %s DNSKEY", NameText(zone))}
	}
	if unknown := unsupported(ds); len(trusted) == 0 && unknown != 0 {
		c.Security, c.EDE, c.Text = Insecure, unknown.EDE(), "none of the DS records has an algorithm and digest that are supported: the zone counts as unsigned (RFC 6840, section 5.2)"
		r.report(&c)
		return &link{zone: zone, sec: Insecure, ede: c.EDE, why: fmt.Sprintf("%s is signed in a way that is not supported", NameText(zone))}, nil
	}
	reply, err := r.ask(ctx, zone, wire.TypeDNSKEY)
	if err != nil {
		return nil, err
	}
	var set *wire.RRset
	for _, s := range setsOf(&reply.Message, wire.Answer) {
		if s.Type == wire.TypeDNSKEY && bytes.Equal(s.Owner, zone) {
			set = s
		}
	}
	if set == nil {
		return broken(dnssec.NoKey, "the zone should be signed and has no DNSKEY records"), nil
	}
	var all, entry []dnssec.Key
	for _, data := range set.Data {
		k, ok := dnssec.ParseKey(data)
		if !ok || !k.Zone() || k.Revoked() {
			continue
		}
		all = append(all, k)
		if vouched(zone, data, ds, trusted) {
			entry = append(entry, k)
		}
	}
	if len(entry) == 0 {
		return broken(dnssec.NoKey, "none of the zone's keys (%s) fits %s", keyTags(set.Data), voucher(ds, trusted)), nil
	}
	_, text, why := r.verify(set, &link{zone: zone, keys: entry})
	if why != 0 {
		return broken(why, "%s", text), nil
	}
	c.Text = fmt.Sprintf("%s; keys %s, trusted by %s", text, keyTags(set.Data), voucher(ds, trusted))
	r.report(&c)
	return &link{zone: zone, sec: Secure, ede: -1, keys: all}, nil
}

// vouched tells whether a DS record or an anchor stands for the key. SHA-1 digests do
// only where there is no other (RFC 4509, section 3).
func vouched(zone, key []byte, ds, trusted [][]byte) bool {
	for _, t := range trusted {
		if bytes.Equal(t, key) {
			return true
		}
	}
	better := false
	for _, d := range ds {
		better = better || usable(d) && d[3] != dnssec.DigestSHA1
	}
	for _, d := range ds {
		if usable(d) && (d[3] != dnssec.DigestSHA1 || !better) && dnssec.MatchDS(d, zone, key) {
			return true
		}
	}
	return false
}

// usable tells whether a DS record's algorithm and digest are supported.
func usable(ds []byte) bool {
	return len(ds) > 4 && dnssec.SupportedAlgorithm(ds[2]) && dnssec.SupportedDigest(ds[3])
}

// unsupported returns why none of the DS records can be used, or 0 if one can.
func unsupported(ds [][]byte) dnssec.Reason {
	why := dnssec.UnsupportedAlgorithm
	for _, d := range ds {
		if usable(d) {
			return 0
		}
		if len(d) > 4 && dnssec.SupportedAlgorithm(d[2]) {
			why = dnssec.UnsupportedDigest
		}
	}
	return why
}

// denial collects the NSEC and NSEC3 records of a reply that the zone signed. said
// tells of those that cannot be used.
func (r *run) denial(reply *exchange.Reply, l *link) (d *dnssec.Denial, said string) {
	d = &dnssec.Denial{Zone: l.zone}
	var wrong, used []string
	for _, set := range setsOf(&reply.Message, wire.Authority) {
		if set.Type != wire.TypeNSEC && set.Type != wire.TypeNSEC3 {
			continue
		}
		if s := signerOf(set); s != nil && !bytes.Equal(s, l.zone) {
			continue // another zone's, for an alias on the way
		}
		_, text, why := r.verify(set, l)
		if why != 0 {
			wrong = append(wrong, fmt.Sprintf("%s %v: %s", NameText(set.Owner), set.Type, text))
			continue
		}
		used = append(used, fmt.Sprintf("%s %v", NameText(set.Owner), set.Type))
		for _, data := range set.Data {
			if set.Type == wire.TypeNSEC {
				d.AddNSEC(set.Owner, data)
			} else {
				d.AddNSEC3(set.Owner, data)
			}
		}
	}
	switch {
	case len(wrong) > 0:
		said = " (" + strings.Join(wrong, "; ") + ")"
	case len(used) > 0:
		said = " (by " + strings.Join(used, ", ") + ")"
	}
	return d, said
}

// verify checks a set with the keys of a zone and says by which key it is good, or of
// each signature what is wrong.
func (r *run) verify(set *wire.RRset, l *link) (good dnssec.Verified, text string, why dnssec.Reason) {
	good, why = dnssec.Verify(set, l.zone, l.keys, r.Now, &r.work)
	if why == dnssec.NoSignature {
		return good, "there is no signature, and the zone " + NameText(l.zone) + " is signed", why
	}
	var said []string
	for _, sig := range set.Sigs {
		if len(sig) < 18 || len(said) == maxSigsShown {
			continue
		}
		one := *set
		one.Sigs = [][]byte{sig}
		_, because := dnssec.Verify(&one, l.zone, l.keys, r.Now, &r.work)
		key := fmt.Sprintf("key %d (%s)", binary.BigEndian.Uint16(sig[16:]), wire.AlgorithmName(sig[2]))
		switch {
		case because == 0 && why == 0:
			return good, fmt.Sprintf("signed by %s, %s", key, r.validity(sig)), 0
		case because == dnssec.WrongSigner && signerOf(&one) != nil && !bytes.Equal(signerOf(&one), l.zone):
			said = append(said, fmt.Sprintf("the signature by %s names %s as its zone, and the name is in %s", key, NameText(signerOf(&one)), NameText(l.zone)))
		case because == dnssec.NoKey:
			said = append(said, fmt.Sprintf("signed by %s, which is not among the keys of %s", key, NameText(l.zone)))
		default:
			said = append(said, fmt.Sprintf("signed by %s, %s: %s", key, r.validity(sig), because.String()))
		}
	}
	if len(said) == 0 {
		said = append(said, why.String())
	}
	return good, strings.Join(said, "; "), why
}

// maxSigsShown is how many signatures of one set are told of: as many as are tried.
const maxSigsShown = 4

// validity says when a signature is valid, as seen from the time of validation.
func (r *run) validity(sig []byte) string {
	expires := int32(be32(sig[8:]) - uint32(r.Now.Unix())) // RFC 4034, section 3.1.5: serial arithmetic
	begins := int32(be32(sig[12:]) - uint32(r.Now.Unix()))
	at := func(v int32) string {
		return r.Now.Add(time.Duration(v) * time.Second).UTC().Format("2006-01-02 15:04:05")
	}
	span := func(v int32) string { return roughly(uint32(max(v, -v))) }
	switch {
	case expires < 0:
		return fmt.Sprintf("valid until %s, %s ago", at(expires), span(expires))
	case begins > 0:
		return fmt.Sprintf("valid from %s, in %s", at(begins), span(begins))
	}
	return fmt.Sprintf("valid until %s", at(expires))
}

// setsOf collects the RRsets of class IN of a section, with their signatures.
func setsOf(m *wire.Message, section wire.Section) []*wire.RRset {
	var sets []*wire.RRset
	index := map[string]*wire.RRset{}
	find := func(owner []byte, typ wire.Type) *wire.RRset {
		key := string(owner) + typ.String()
		set := index[key]
		if set == nil {
			set = &wire.RRset{Owner: owner, Type: typ}
			index[key] = set
			sets = append(sets, set)
		}
		return set
	}
	for i := range m.Records {
		rr := &m.Records[i]
		if rr.Section != section || rr.Class != wire.ClassIN {
			continue
		}
		owner := wire.Lower(nil, rr.Owner)
		if rr.Type == wire.TypeRRSIG {
			if len(rr.Data) > 18 {
				set := find(owner, wire.Covered(rr.Data))
				set.Sigs = append(set.Sigs, rr.Data)
			}
			continue
		}
		set := find(owner, rr.Type)
		if set.TTL = rr.TTL; !set.Has(rr.Data) {
			set.Data = append(set.Data, rr.Data)
		}
	}
	full := sets[:0]
	for _, set := range sets {
		if len(set.Data) > 0 {
			full = append(full, set)
		}
	}
	return full
}

// signerOf returns the zone, in lower case, that a set's first signature names, or nil
// if there is none that could be: it must be at or above the owner, and above it for
// DS (RFC 4035, section 5.3.1).
func signerOf(set *wire.RRset) []byte {
	for _, sig := range set.Sigs {
		n, err := wire.CheckName(sig[18:])
		if err != nil {
			continue
		}
		signer := wire.Lower(nil, sig[18:18+n])
		if wire.Subdomain(above(set.Owner, set.Type), signer) {
			return signer
		}
	}
	return nil
}

// above returns the name whose zone has the records of name and type: DS is the
// parent's.
func above(name []byte, typ wire.Type) []byte {
	if typ == wire.TypeDS && len(name) > 1 {
		return wire.Parent(name)
	}
	return name
}

// unsignedServer adds to a missing signature that the server may be the cause: no
// reply of its had any.
func (r *run) unsignedServer() string {
	if r.signed {
		return ""
	}
	return "; the server seems not to pass signatures on, and cannot be used to validate then"
}

func keyTags(keys [][]byte) string {
	tags := make([]string, 0, len(keys))
	for _, k := range keys {
		tags = append(tags, fmt.Sprint(dnssec.KeyTag(k)))
	}
	return listed(tags)
}

func dsTags(ds [][]byte) string {
	tags := make([]string, 0, len(ds))
	for _, d := range ds {
		if len(d) > 4 {
			tags = append(tags, fmt.Sprintf("%d (algorithm %s, digest %d)", binary.BigEndian.Uint16(d), wire.AlgorithmName(d[2]), d[3]))
		}
	}
	return listed(tags)
}

// listed joins words, and only counts those that are too many to read.
func listed(words []string) string {
	const most = 8
	if len(words) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(words[:most], ", "), len(words)-most)
	}
	return strings.Join(words, ", ")
}

// voucher names the DS records or keys that a zone is trusted by.
func voucher(ds, trusted [][]byte) string {
	var by []string
	if len(ds) > 0 {
		by = append(by, "DS "+dsTags(ds))
	}
	if len(trusted) > 0 {
		by = append(by, "the anchor's key "+keyTags(trusted))
	}
	return strings.Join(by, " and ")
}
