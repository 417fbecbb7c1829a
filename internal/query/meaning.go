package query

import (
	"fmt"
	"strings"

	"port53/internal/chain"
	"port53/internal/exchange"
	"port53/internal/wire"
)

// A telling is a reply put into sentences.
type telling struct {
	*exchange.Reply
	chain.Classification
	say []string
}

func (r *telling) add(format string, args ...any) {
	r.say = append(r.say, fmt.Sprintf(format, args...))
}

// Meaning says in plain sentences, the most important first, what a reply means.
func Meaning(reply *exchange.Reply) []string {
	r := &telling{Reply: reply, Classification: chain.Classify(reply)}
	name, kind := NameText(r.Question.Name), r.Question.Type.String()
	if len(r.Chain) > 0 {
		names := make([]string, len(r.Chain))
		for i, n := range r.Chain {
			names[i] = NameText(n)
		}
		r.add("%s is an alias of %s", name, strings.Join(names, ", that of "))
		name = NameText(r.Final)
	}
	r.sayOutcome(name, kind)
	r.sayErrors()
	if r.Outcome.Usable() && r.Question.Opcode == wire.OpcodeQuery && !r.Question.NoQuestion {
		r.sayWhose()
		r.sayValidated()
	}
	r.sayWay()
	return r.say
}

func (r *telling) sayOutcome(name, kind string) {
	m := &r.Message
	remember := ""
	if r.Zone != nil && r.Outcome != chain.Referred {
		remember = fmt.Sprintf(", says the SOA record of %s; this may be remembered for %s", NameText(r.Zone), units(r.TTL))
	}
	switch r.Outcome {
	case chain.Answered:
		switch {
		case r.Question.Type == wire.TypeANY:
			r.add("%s has these records; ANY may leave others out (RFC 8482)", name)
		case r.Records == 1:
			r.add("%s has 1 %s record", name, kind)
		default:
			r.add("%s has %d %s records", name, r.Records, kind)
		}
	case chain.Alias:
		r.add("the server does not tell what %s has: ask for it", name)
	case chain.NXDomain:
		r.add("%s does not exist, and no name below it%s", name, remember)
	case chain.NoData:
		r.add("%s exists, but has no %s record%s", name, kind, remember)
	case chain.Referred:
		servers := make([]string, 0, len(r.Servers))
		for _, s := range r.Servers {
			servers = append(servers, NameText(s))
		}
		if len(r.Zone) == 1 {
			r.add("lame: the server does not know the name and points at the root, which helps nobody")
			return
		}
		r.add("no answer but a referral: the servers of %s know more: %s", NameText(r.Zone), strings.Join(servers, " "))
	case chain.Empty:
		if r.Question.NoQuestion || r.Question.Opcode != wire.OpcodeQuery {
			r.add("the server replied to %v with %v", r.Question.Opcode, m.Rcode)
			return
		}
		r.add("the server reports no error and says nothing: no record, no SOA, no referral; it is probably lame for %s", name)
	case chain.Malformed:
		r.add("the reply is malformed: %v", r.Fault)
	case chain.Failed:
		r.add("%v: %s", m.Rcode, r.cause())
	}
}

// cause says what mostly is behind a response code.
func (r *telling) cause() string {
	edns := ""
	if r.Question.EDNS {
		edns = "; if it does not understand EDNS, --no-edns helps"
	}
	switch r.Message.Rcode {
	case wire.FormErr:
		return "the server could not read the query" + edns
	case wire.ServFail:
		if r.Question.Flags&wire.FlagCD != 0 {
			return "the server tried and failed, although validation was off: the name's servers do not answer or are " +
				"lame, or it has a zone that it cannot load"
		}
		return "the server tried and failed: the name's servers do not answer or are lame, its DNSSEC is broken (+cd " +
			"would get an answer then, --validate says where), or a zone is not loaded"
	case wire.NotImp:
		return fmt.Sprintf("the server does not do what was asked (%v)", r.Question.Opcode) + edns
	case wire.Refused:
		return "the server will not answer you: it does not have the zone and does no recursion for your address, or an " +
			"access list leaves you out"
	case wire.NotAuth:
		return "the server does not have the zone, or does not accept the key"
	case wire.YXDomain:
		return "a DNAME record leads to a name that is too long (RFC 6672, section 2.2)"
	case wire.BadVers:
		return fmt.Sprintf("the server knows EDNS up to version %d", r.Message.Version)
	case wire.BadCookie:
		return "the server wants its cookie back and did not accept it"
	}
	return "the server reports an error"
}

// sayErrors puts the Extended DNS Errors (RFC 8914) into words.
func (r *telling) sayErrors() {
	for _, o := range exchange.Options(&r.Message) {
		if o.Code == wire.OptionEDE && len(o.Data) >= 2 {
			text := "the server adds: " + errorLine(o.Data)
			if why := errorMeaning(be16(o.Data)); why != "" {
				text += ": " + why
			}
			r.add("%s", text)
		}
	}
}

// errorMeaning says what an Extended DNS Error means, where its name does not.
func errorMeaning(code uint16) string {
	switch code {
	case 1, 2, 27:
		return "the zone is signed in a way that the server does not check, and counts as unsigned"
	case 3, 19:
		return "the zone's servers cannot be reached, and an old answer is better than none"
	case 5:
		return "the server could not find out whether the zone is signed"
	case 6:
		return "the answer does not agree with its signatures"
	case 7:
		return "the zone was not signed again in time, or the server's clock is wrong"
	case 8:
		return "the signature's time has not come, or the server's clock is wrong"
	case 9:
		return "the parent's DS record fits none of the zone's keys"
	case 10:
		return "the parent says that the zone is signed, and it is not"
	case 12:
		return "what does not exist was not proven not to"
	case 13:
		return "it failed a moment ago and was not tried again"
	case 15, 16, 17:
		return "the answer is kept from you on purpose"
	case 18:
		return "your address may not ask this"
	case 20:
		return "the server does not have the zone and does not ask others"
	case 22, 23:
		return "the zone's servers could not be reached or did not answer"
	}
	return ""
}

func (r *telling) sayWhose() {
	flags := r.Message.Flags
	switch {
	case flags&wire.FlagAA != 0:
		r.add("authoritative: the server has the zone itself")
	case r.Outcome == chain.Referred || r.Outcome == chain.Empty:
	case flags&wire.FlagRA != 0:
		r.add("not authoritative: a resolver's answer, from its cache or asked for you")
	default:
		r.add("not authoritative, and the server says that it is no resolver: an answer to doubt")
	}
	if flags&wire.FlagRD != 0 && flags&wire.FlagRA == 0 && r.Outcome == chain.Referred {
		r.add("the server does not follow the referral for you: it does no recursion")
	}
}

func (r *telling) sayValidated() {
	flags := r.Message.Flags
	switch {
	case flags&wire.FlagAD != 0:
		r.add("validated by the server: it says that it checked the signatures (AD); that is worth as much as the server and the way to it")
	case flags&wire.FlagAA != 0 || r.Outcome == chain.Referred || r.Outcome == chain.Empty:
		// Whoever has the zone does not validate it.
	case flags&wire.FlagCD != 0 && r.Question.Flags&wire.FlagCD != 0:
		r.add("not validated: you asked not to (CD)")
	case r.Signed:
		r.add("not validated by the server, though there are signatures; --validate checks them")
	default:
		r.add("not validated: the zone is not signed, or the server does not check")
	}
}

func (r *telling) sayWay() {
	if r.Truncated {
		r.add("the reply over UDP was truncated, so the question went over TCP")
	} else if r.Message.Flags&wire.FlagTC != 0 {
		r.add("truncated: this is not the whole answer; ask over TCP")
	}
	if r.NewCookie {
		r.add("the server wanted its cookie first, so the question went twice")
	}
	if r.Unexpected > 0 {
		r.add(
			"%d packets came that did not answer the question (wrong ID or question) and were ignored: old ones, or somebody guesses",
			r.Unexpected,
		)
	}
	if r.Question.EDNS && !r.Message.EDNS && r.Fault == 0 {
		r.add("the server does not do EDNS")
	}
	for _, a := range r.Failed {
		r.add("tried before: %v", a)
	}
}

// AppendMeaning appends the meaning as comment lines, of a section of its own.
func AppendMeaning(dst []byte, r *exchange.Reply) []byte {
	return AppendLines(dst, "MEANING", Meaning(r))
}

// AppendLines appends a title and lines below it, as comments of a master file.
func AppendLines(dst []byte, title string, lines []string) []byte {
	dst = append(append(append(dst, ";; "...), title...), ":\n"...)
	for _, line := range lines {
		dst = append(dst, "; "...)
		dst = append(dst, line...)
		dst = append(dst, '\n')
	}
	return append(dst, '\n')
}
