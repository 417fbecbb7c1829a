package chain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"port53/internal/dnssec"
	"port53/internal/exchange"
	"port53/internal/wire"
)

// Security is what DNSSEC says of data (RFC 4035, section 4.3). The words are part of
// the JSON schema.
type Security string

// The states.
const (
	Secure        Security = "secure"        // signed, all the way from an anchor
	Insecure      Security = "insecure"      // proven not to be signed
	Bogus         Security = "bogus"         // it should be signed, and is not, or wrongly
	Indeterminate Security = "indeterminate" // it could not be found out
)

// rank orders the states by how bad they are: the worst link of a chain counts.
func (s Security) rank() int {
	switch s {
	case Secure:
		return 0
	case Insecure:
		return 1
	case Indeterminate:
		return 2
	}
	return 3
}

// Bounds of a validation. Package dnssec bounds what one set may cost; these bound the
// chain, well above what any real one needs.
const (
	maxValidateQueries = 128
	workSignatures     = 512
	workFailures       = 128
	workHashes         = 4096
)

// An Anchor is what a zone is trusted by (RFC 4035, section 4.4).
type Anchor struct {
	Zone []byte
	DS   [][]byte // RDATA
	Keys [][]byte // RDATA of DNSKEY
}

// A Check is one link of the chain.
type Check struct {
	Zone     []byte // that signs, or should
	Name     []byte
	Type     wire.Type
	Security Security
	EDE      int           // the Extended DNS Error of what is not secure, or -1
	Reason   dnssec.Reason // why it is not secure; 0: nothing failed
	Text     string
	Reply    *exchange.Reply // that was judged; nil if there was none
}

// A Validator walks the chain of trust.
type Validator struct {
	// Ask asks a resolver that is told not to validate, or what each zone's own servers
	// say ([Walk.Fetch]), for signatures too.
	Ask     func(ctx context.Context, name []byte, typ wire.Type) (*exchange.Reply, error)
	Anchors []Anchor
	Now     time.Time
	// Cut tells of a name whether the zone above delegates it, as who has walked there
	// knows. Nil: every name may be a zone, and is asked for.
	Cut func(name []byte) bool
	// Check is called with each link when it is done.
	Check func(*Check)
}

// Validated is what a validation came to.
type Validated struct {
	Security Security
	Broken   *Check          // the first link of the worst kind; nil if all is secure
	Reply    *exchange.Reply // to the question itself, or to that for the last alias
	First    *exchange.Reply // to the question itself
	Zones    []*ZoneKeys     // whose keys were looked at, from the anchor down
	Queries  int
	Err      error // why it could not be found out
}

// A link is a zone and what is known of its keys.
type link struct {
	dnssec.Zone
	sec  Security
	ede  int
	gone bool   // a name was proven not to exist: there are no zones below it
	why  string // it is not secure
}

func (l *link) is(zone []byte) bool { return bytes.Equal(l.Name, zone) }

// run is one validation.
type run struct {
	*Validator
	work  dnssec.Work      // of judging
	told  dnssec.Work      // of saying more of it: what of each signature
	links map[string]*link // by name: the zone that the name is in, by its DS or their absence
	done  Validated

	signed bool // a reply had a signature
	silent bool // links are not reported
}

// errQueries is the end of a chain that somebody made long on purpose.
var errQueries = errors.New("too many questions for one chain of trust")

// Validate asks for name and type and checks everything on the way from the anchors.
func (v *Validator) Validate(ctx context.Context, name []byte, typ wire.Type) *Validated {
	r := &run{
		Validator: v,
		links:     map[string]*link{},
		work:      dnssec.Work{Signatures: workSignatures, Failures: workFailures, Hashes: workHashes},
	}
	r.told = r.work
	r.done.Security = Secure
	if err := r.question(ctx, name, typ); err != nil {
		r.done.Err = err
		r.report(
			&Check{Zone: wire.Root, Name: name, Type: typ, Security: Indeterminate, EDE: wire.EDENoReachableAuthority, Text: err.Error()},
		)
	}
	return &r.done
}

// report hands out a link and remembers the worst one.
func (r *run) report(c *Check) {
	if r.silent {
		return
	}
	if c.Security.rank() > r.done.Security.rank() {
		r.done.Security, r.done.Broken = c.Security, c
	}
	if r.Check != nil {
		r.Check(c)
	}
}

func (r *run) ask(ctx context.Context, name []byte, typ wire.Type) (*exchange.Reply, error) {
	if r.done.Queries == maxValidateQueries {
		return nil, errQueries
	}
	r.done.Queries++
	reply, err := r.Ask(ctx, name, typ)
	if err != nil {
		return nil, err
	}
	m := &reply.Message
	r.signed = r.signed || slices.ContainsFunc(m.Records, func(rr wire.Record) bool { return rr.Type == wire.TypeRRSIG })
	switch {
	case reply.Fault != 0:
		return nil, fmt.Errorf("%s %v: the reply is malformed: %v", wire.NameText(name), typ, reply.Fault)
	case m.Rcode != wire.NoError && m.Rcode != wire.NXDomain:
		return nil, fmt.Errorf("%s %v: %v answers %v, even without validation", wire.NameText(name), typ, reply.Server, m.Rcode)
	}
	if f := Classify(reply); f.Outcome == Referred {
		return nil, fmt.Errorf(
			"%s %v: %v only refers to the servers of %s: the chain of trust needs a server that resolves",
			wire.NameText(name),
			typ,
			reply.Server,
			wire.NameText(f.Zone),
		)
	}
	return reply, nil
}

// question validates the answer to a question, along its aliases.
func (r *run) question(ctx context.Context, name []byte, typ wire.Type) error {
	at := wire.Lower(nil, name)
	for hops := 0; hops <= maxAliases; {
		reply, err := r.ask(ctx, at, typ)
		if err != nil {
			return err
		}
		if r.done.Reply = reply; r.done.First == nil {
			r.done.First = reply
		}
		if typ == wire.TypeRRSIG && Classify(reply).Outcome == Answered {
			r.report(
				&Check{
					Zone:     at,
					Name:     at,
					Type:     typ,
					Security: Insecure,
					EDE:      -1,
					Text:     "signatures are not signed themselves (RFC 4035, section 2.2)",
					Reply:    reply,
				},
			)
			return nil
		}
		next, n, err := r.reply(ctx, reply, at, typ)
		if err != nil || next == nil {
			return err
		}
		at = next
		hops += max(n, 1)
	}
	return fmt.Errorf("more than %d aliases", maxAliases)
}

// reply validates what a reply says of name. It returns the name to go on with if an
// alias leads out of the reply, and how many aliases there were.
func (r *run) reply(ctx context.Context, reply *exchange.Reply, name []byte, typ wire.Type) (next []byte, hops int, err error) {
	sets := Sets(&reply.Message, wire.Answer)
	f := Classify(reply)
	at := name
	for ; hops <= maxAliases; hops++ {
		found := false
		for _, set := range sets {
			if bytes.Equal(set.Owner, at) && asked(set.Type, typ) {
				found = true
				if err := r.positive(ctx, reply, set); err != nil {
					return nil, hops, err
				}
			}
		}
		if found {
			return nil, hops, nil
		}
		target, err := r.alias(ctx, reply, sets, at)
		if err != nil {
			return nil, hops, err
		}
		if target == nil {
			break
		}
		at = target
	}
	if hops > 0 && (f.Outcome == Alias || !wire.EqualFold(at, f.Final)) {
		return at, hops, nil
	}
	return nil, hops, r.negative(ctx, reply, at, typ)
}

// alias validates the alias at a name and returns its target, or nil if there is none.
func (r *run) alias(ctx context.Context, reply *exchange.Reply, sets []*wire.RRset, at []byte) (target []byte, err error) {
	var cname, dname *wire.RRset
	for _, set := range sets {
		switch {
		case set.Type == wire.TypeCNAME && bytes.Equal(set.Owner, at):
			cname = set
		case set.Type == wire.TypeDNAME && len(set.Owner) < len(at) && wire.Subdomain(at, set.Owner):
			dname = set
		}
	}
	if dname != nil && (cname == nil || len(cname.Sigs) == 0) {
		// The CNAME record that it makes is not signed (RFC 6672, section 5.3.1).
		if err := r.positive(ctx, reply, dname); err != nil {
			return nil, err
		}
		if dnssec.FromWildcard(dname) {
			r.report(&Check{
				Zone: dname.Owner, Name: dname.Owner, Type: wire.TypeDNAME, Security: Bogus, EDE: dnssec.NoProof.EDE(),
				Text: "made from a wildcard, whose record is that of the whole name and renames nothing below it (RFC 4592, section 4.4)",
			})
		}
		target = substitute(at, dname.Owner, wire.Lower(nil, dname.Data[0]))
		if target == nil {
			return nil, fmt.Errorf(
				"the DNAME record of %s leads from %s to a name that is too long",
				wire.NameText(dname.Owner),
				wire.NameText(at),
			)
		}
		if cname != nil && slices.ContainsFunc(cname.Data, func(d []byte) bool { return !wire.EqualFold(d, target) }) {
			r.report(&Check{
				Zone:     dname.Owner,
				Name:     at,
				Type:     wire.TypeCNAME,
				Security: Bogus,
				EDE:      wire.EDEBogus,
				Text: fmt.Sprintf(
					"it does not lead to %s, as the DNAME record of %s makes it",
					wire.NameText(target),
					wire.NameText(dname.Owner),
				),
			})
		}
		return target, nil
	}
	if cname == nil {
		return nil, nil
	}
	if err := r.positive(ctx, reply, cname); err != nil {
		return nil, err
	}
	return wire.Lower(nil, cname.Data[0]), nil
}

// holder returns the zone that speaks for what the zone of the name at holds: signer, if
// that is a zone, else the one that at is in (dnssec.SignerOf).
func (r *run) holder(ctx context.Context, at, signer []byte) (*link, error) {
	if signer != nil {
		if l, err := r.linkTo(ctx, signer); err != nil || l.sec != Secure || l.is(signer) {
			return l, err
		}
	}
	return r.linkTo(ctx, at)
}

// positive validates a set of an answer.
func (r *run) positive(ctx context.Context, reply *exchange.Reply, set *wire.RRset) error {
	at := dnssec.ParentSide(set.Owner, set.Type)
	l, err := r.holder(ctx, at, dnssec.SignerOf(at, set))
	if err != nil {
		return err
	}
	c := Check{Zone: l.Name, Name: set.Owner, Type: set.Type, Security: l.sec, EDE: l.ede, Reply: reply}
	defer r.report(&c)
	r.answering(l.Name)
	if l.sec != Secure {
		c.Text = "not checked: " + l.why
		return nil
	}
	good, text, why := r.verify(set, l)
	c.Text = text
	if why != 0 {
		c.fail(why)
		if why == dnssec.NoSignature {
			c.Text += r.unsignedServer()
		}
		return nil
	}
	if !good.Wildcard {
		return nil
	}
	_, proof, why := l.VerifyWildcard(set.Owner, good.Labels, Sets(&reply.Message, wire.Authority), r.Now, &r.work)
	switch {
	case why != 0:
		c.Text += "; made from a wildcard, but that the name itself does not exist is not proven: " + why.String()
		c.fail(why)
	case proof.Insecure:
		c.Text += "; made from a wildcard, whose proof has too many NSEC3 iterations to check"
		return r.unlooked(ctx, &c, l, at)
	case proof.OptOut:
		c.Security = Insecure
		c.Text += "; made from a wildcard, within an opt-out range of NSEC3: an unsigned name may be there"
	default:
		c.Text += fmt.Sprintf(
			"; made from the wildcard *.%s, and the name itself is proven not to exist",
			strings.TrimPrefix(wire.NameText(proof.ClosestEncloser), "."),
		)
	}
	return nil
}

// unlooked finishes a check of a proof whose NSEC3 records have too many iterations to be
// looked at. They may be any of the zone's: they are good for what is in it, and not for
// what is below a secure delegation out of it.
func (r *run) unlooked(ctx context.Context, c *Check, l *link, at []byte) error {
	c.Security, c.EDE = Insecure, dnssec.TooManyIterations.EDE()
	r.silent = true // what is found on the way down says nothing more
	own, err := r.linkTo(ctx, at)
	r.silent = false
	switch {
	case err != nil:
		return err
	case own.sec == Bogus:
		c.Security, c.EDE, c.Text = own.sec, own.ede, "not checked: "+own.why
	case own.sec == Secure && !own.is(l.Name):
		c.Text += fmt.Sprintf(", and it is not by the zone %s that the name is in", wire.NameText(own.Name))
		c.fail(dnssec.NoProof)
	}
	return nil
}

// negative validates that a name, or a type of it, does not exist.
func (r *run) negative(ctx context.Context, reply *exchange.Reply, name []byte, typ wire.Type) error {
	at := dnssec.ParentSide(name, typ)
	l, err := r.holder(ctx, at, dnssec.SignerOf(at, Sets(&reply.Message, wire.Authority)...))
	if err != nil {
		return err
	}
	proof, why := dnssec.Proof{}, dnssec.Reason(0)
	if l.sec == Secure {
		if proof, why = r.absent(reply, l, name, typ); why == dnssec.NoProof {
			// Nothing in the reply is of that zone: the name may lie in another.
			if l, err = r.linkTo(ctx, at); err != nil {
				return err
			}
		}
	}
	c := Check{Zone: l.Name, Name: name, Type: typ, Security: l.sec, EDE: l.ede, Reply: reply}
	defer r.report(&c)
	r.answering(l.Name)
	what := fmt.Sprintf("there is no %v record of this name", typ)
	if reply.Message.Rcode == wire.NXDomain {
		what = "the name does not exist"
	}
	switch {
	case l.sec != Secure:
		c.Text = "not checked: " + l.why
	case why != 0:
		c.Text = fmt.Sprintf("that %s is not proven: %s%s%s", what, why.String(), r.proofText(reply, l), r.unsignedServer())
		c.fail(why)
	case proof.Insecure:
		c.Text = "the proof has too many NSEC3 iterations to check"
		return r.unlooked(ctx, &c, l, at)
	case proof.OptOut:
		c.Security = Insecure
		c.Text = what + ", as far as an opt-out range of NSEC3 can say: an unsigned name may be there"
	default:
		c.Text = "proven: " + what + r.proofText(reply, l)
	}
	return nil
}

// absent judges what a reply says that there is not, in a zone whose keys are trusted.
func (r *run) absent(reply *exchange.Reply, l *link, name []byte, typ wire.Type) (dnssec.Proof, dnssec.Reason) {
	sets := Sets(&reply.Message, wire.Authority)
	_, proof, why := l.VerifyNegative(name, typ, reply.Message.Rcode == wire.NXDomain, sets, r.Now, &r.work)
	return proof, why
}

// fail makes the check one that failed for a reason.
func (c *Check) fail(why dnssec.Reason) {
	c.EDE, c.Security, c.Reason = why.EDE(), Bogus, why
	if why == dnssec.WorkLimit {
		c.Security = Indeterminate
	}
}

// Usable reports that the answer may be believed as far as DNSSEC is concerned.
func (v *Validated) Usable() bool {
	return v.First != nil && (v.Security == Secure || v.Security == Insecure)
}
