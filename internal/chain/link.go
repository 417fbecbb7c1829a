package chain

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
		return &link{
			Zone: dnssec.Zone{Name: wire.Root},
			sec:  Indeterminate,
			ede:  wire.EDEIndeterminate,
			why:  "no trust anchor is at or above it",
		}, nil
	}
	l, err := r.anchored(ctx, anchor)
	for n := wire.LabelCount(anchor.Zone) + 1; err == nil && n <= wire.LabelCount(name) && l.sec == Secure && !l.gone; n++ {
		at := name
		for wire.LabelCount(at) > n {
			at = wire.Parent(at)
		}
		if r.Cut == nil || r.Cut(at) {
			l, err = r.below(ctx, l, at)
		}
	}
	return l, err
}

// anchored returns the link of a zone with an anchor.
func (r *run) anchored(ctx context.Context, a *Anchor) (*link, error) {
	zone := wire.Lower(nil, a.Zone)
	if l, ok := r.links[string(zone)]; ok {
		return l, nil
	}
	l, err := r.keys(ctx, zone, &dnssec.TrustPoint{DS: a.DS, DNSKEYs: a.Keys})
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
	c := Check{Zone: parent.Name, Name: name, Type: wire.TypeDS, Security: Secure, EDE: -1, Reply: reply}
	defer func() {
		if err == nil && c.Text != "" {
			r.report(&c)
		}
	}()
	broken := func(why dnssec.Reason, format string, args ...any) *link {
		c.Text = fmt.Sprintf(format, args...)
		c.fail(why)
		return &link{
			Zone: dnssec.Zone{Name: name},
			sec:  c.Security,
			ede:  c.EDE,
			why:  fmt.Sprintf("the chain of trust breaks at %s DS", wire.NameText(name)),
		}
	}
	for _, set := range Sets(&reply.Message, wire.Answer) {
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
		return r.keys(ctx, name, &dnssec.TrustPoint{DS: set.Data})
	}
	for _, set := range Sets(&reply.Message, wire.Answer) {
		if set.Type == wire.TypeDNAME && len(set.Owner) < len(name) && wire.Subdomain(name, set.Owner) {
			if _, text, why := r.verify(set, parent); why != 0 {
				return broken(why, "%s", text), nil
			}
			return parent, nil // nothing is below a DNAME record (RFC 6672, section 2.3)
		}
	}
	proof, why := r.absent(reply, parent, name, wire.TypeDS)
	switch {
	case why != 0:
		return broken(
			why,
			"there is no DS record, and that is not proven: %s%s%s",
			why.String(),
			r.proofText(reply, parent),
			r.unsignedServer(),
		), nil
	case proof.Unsigned():
		c.Security = Insecure
		switch {
		case proof.Insecure:
			c.EDE, c.Text = dnssec.TooManyIterations.EDE(), "the proof has too many NSEC3 iterations to check"
		case proof.Delegation:
			c.Text = "an insecure delegation: proven to have no DS record" + r.proofText(reply, parent)
		default:
			c.Text = "an insecure delegation may be there: it is within an opt-out range of NSEC3"
		}
		return &link{Zone: dnssec.Zone{Name: name}, sec: Insecure, ede: c.EDE, why: wire.NameText(name) + " is not signed"}, nil
	case reply.Message.Rcode == wire.NXDomain:
		gone := *parent
		gone.gone = true
		return &gone, nil
	}
	return parent, nil // a name of the same zone
}

// keys fetches the keys of a zone and judges them by what vouches for them.
func (r *run) keys(ctx context.Context, zone []byte, point *dnssec.TrustPoint) (*link, error) {
	c := Check{Zone: zone, Name: zone, Type: wire.TypeDNSKEY, Security: Secure, EDE: -1}
	if why := point.Unsupported(); why != 0 {
		c.Security, c.EDE, c.Reason = Insecure, why.EDE(), why
		c.Text = "none of the DS records has an algorithm and digest that are supported: the zone counts as unsigned " +
			"(RFC 6840, section 5.2)"
		r.report(&c)
		return &link{
			Zone: dnssec.Zone{Name: zone},
			sec:  Insecure,
			ede:  c.EDE,
			why:  fmt.Sprintf("%s is signed in a way that is not supported", wire.NameText(zone)),
		}, nil
	}
	reply, err := r.ask(ctx, zone, wire.TypeDNSKEY)
	if err != nil {
		return nil, err
	}
	c.Reply = reply
	var set *wire.RRset
	for _, s := range Sets(&reply.Message, wire.Answer) {
		if s.Type == wire.TypeDNSKEY && bytes.Equal(s.Owner, zone) {
			set = s
		}
	}
	keys, _, why := point.Keys(set, r.Now, &r.work)
	if set != nil {
		r.seeKeys(zone, set, point)
	}
	if why == dnssec.UnsupportedKey {
		c.Security, c.EDE, c.Reason = Insecure, why.EDE(), why
		c.Text = fmt.Sprintf("%v: the zone counts as unsigned", why)
		r.report(&c)
		return &link{
			Zone: dnssec.Zone{Name: zone},
			sec:  Insecure,
			ede:  c.EDE,
			why:  fmt.Sprintf("%s is signed in a way that is not supported", wire.NameText(zone)),
		}, nil
	}
	c.Text = r.keysText(set, point, why)
	if why != 0 {
		c.fail(why)
		r.report(&c)
		return &link{
			Zone: dnssec.Zone{Name: zone},
			sec:  c.Security,
			ede:  c.EDE,
			why:  fmt.Sprintf("the chain of trust breaks at %s DNSKEY", wire.NameText(zone)),
		}, nil
	}
	r.report(&c)
	return &link{Zone: dnssec.Zone{Name: zone, Keys: keys}, sec: Secure, ede: -1}, nil
}

// keysText says what a zone's DNSKEY set, which may be nil, came to.
func (r *run) keysText(set *wire.RRset, point *dnssec.TrustPoint, why dnssec.Reason) string {
	if set == nil {
		return "the zone should be signed and has no DNSKEY records"
	}
	entry := link{Zone: dnssec.Zone{Name: set.Owner}}
	for _, data := range set.Data {
		if k, ok := dnssec.ParseKey(data); ok && k.Zone() && !k.Revoked() && point.Trusts(set.Owner, data) {
			entry.Keys = append(entry.Keys, k)
		}
	}
	if len(entry.Keys) == 0 {
		return fmt.Sprintf("none of the zone's keys (%s) fits %s", keyTags(set.Data), trustPointText(point))
	}
	text := r.signatureText(set, &entry, why)
	if why != 0 {
		return text
	}
	return fmt.Sprintf("%s; keys %s, trusted by %s", text, keyTags(set.Data), trustPointText(point))
}

// proofText tells by which NSEC and NSEC3 records of a reply something is proven, or of
// those that cannot be used what is wrong.
func (r *run) proofText(reply *exchange.Reply, l *link) string {
	var wrong, used []string
	for _, set := range Sets(&reply.Message, wire.Authority) {
		if set.Type != wire.TypeNSEC && set.Type != wire.TypeNSEC3 {
			continue
		}
		if s := dnssec.SignerOf(set.Owner, set); s != nil && !l.is(s) {
			continue // another zone's, for an alias on the way
		}
		name := fmt.Sprintf("%s %v", wire.NameText(set.Owner), set.Type)
		r.seeSignatures(set, l.Name, l.Keys)
		if _, why := dnssec.Verify(set, l.Name, l.Keys, r.Now, &r.told); why != 0 {
			wrong = append(wrong, name+": "+r.signatureText(set, l, why))
		} else {
			used = append(used, name)
		}
	}
	switch {
	case len(wrong) > 0:
		return " (" + strings.Join(wrong, "; ") + ")"
	case len(used) > 0:
		return " (by " + strings.Join(used, ", ") + ")"
	}
	return ""
}

// verify checks a set with the keys of a zone and says what of it.
func (r *run) verify(set *wire.RRset, l *link) (good dnssec.Verified, text string, why dnssec.Reason) {
	good, why = dnssec.Verify(set, l.Name, l.Keys, r.Now, &r.work)
	r.seeSignatures(set, l.Name, l.Keys)
	return good, r.signatureText(set, l, why), why
}

// signatureText says by which key of a zone a set is good, if why is 0, or of each
// signature what is wrong.
func (r *run) signatureText(set *wire.RRset, l *link, why dnssec.Reason) string {
	if why == dnssec.NoSignature {
		return "there is no signature, and the zone " + wire.NameText(l.Name) + " is signed"
	}
	var said []string
	for _, sig := range set.Sigs {
		if len(sig) < 18 || len(said) == maxSigsShown {
			continue
		}
		one := *set
		one.Sigs = [][]byte{sig}
		_, because := dnssec.Verify(&one, l.Name, l.Keys, r.Now, &r.told)
		key := fmt.Sprintf("key %d (%s)", binary.BigEndian.Uint16(sig[16:]), wire.AlgorithmName(sig[2]))
		signer := dnssec.SignerOf(dnssec.ParentSide(set.Owner, set.Type), &one)
		switch {
		case because == 0 && why == 0:
			return fmt.Sprintf("signed by %s, %s", key, r.validity(sig))
		case because == dnssec.WrongSigner && signer != nil && !l.is(signer):
			said = append(
				said,
				fmt.Sprintf(
					"the signature by %s names %s as its zone, and the name is in %s",
					key,
					wire.NameText(signer),
					wire.NameText(l.Name),
				),
			)
		case because == dnssec.NoKey:
			said = append(said, fmt.Sprintf("signed by %s, which is not among the keys of %s", key, wire.NameText(l.Name)))
		default:
			said = append(said, fmt.Sprintf("signed by %s, %s: %s", key, r.validity(sig), because.String()))
		}
	}
	if len(said) == 0 {
		said = append(said, why.String())
	}
	return strings.Join(said, "; ")
}

// maxSigsShown is how many signatures of one set are told of: as many as are tried.
const maxSigsShown = 4

// validity says when a signature is valid, as seen from the time of validation.
func (r *run) validity(sig []byte) string {
	expires := int32(binary.BigEndian.Uint32(sig[8:]) - uint32(r.Now.Unix())) // RFC 4034, section 3.1.5: serial arithmetic
	begins := int32(binary.BigEndian.Uint32(sig[12:]) - uint32(r.Now.Unix()))
	at := func(v int32) string {
		return r.Now.Add(time.Duration(v) * time.Second).UTC().Format("2006-01-02 15:04:05")
	}
	span := func(v int32) string { return DurationText(uint32(max(v, -v)), 2) }
	switch {
	case expires < 0:
		return fmt.Sprintf("valid until %s, %s ago", at(expires), span(expires))
	case begins > 0:
		return fmt.Sprintf("valid from %s, in %s", at(begins), span(begins))
	}
	return fmt.Sprintf("valid until %s", at(expires))
}

// Sets collects the RRsets of class IN of a section, with their signatures.
func Sets(m *wire.Message, section wire.Section) []*wire.RRset {
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

// trustPointText names the DS records or keys that a zone is trusted by.
func trustPointText(v *dnssec.TrustPoint) string {
	var by []string
	if len(v.DS) > 0 {
		by = append(by, "DS "+dsTags(v.DS))
	}
	if len(v.DNSKEYs) > 0 {
		by = append(by, "the anchor's key "+keyTags(v.DNSKEYs))
	}
	return strings.Join(by, " and ")
}
