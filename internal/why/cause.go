package why

import (
	"bytes"
	"fmt"
	"strings"

	"port53/internal/dnssec"
	"port53/internal/wire"
)

// Code returns the code of a cause, which programs can rely on.
func (c Cause) Code() string {
	if c < causeCount {
		return causeCodes[c]
	}
	return causeCodes[Unknown]
}

var causeCodes = [causeCount]string{
	Unknown:            "unknown",
	ServersSilent:      "servers-silent",
	ServersUnreachable: "servers-unreachable",
	ServersRefuse:      "servers-refuse",
	ServersFail:        "servers-fail",
	ServersReject:      "servers-reject-question",
	ServersLame:        "servers-lame",
	ServersGarbled:     "servers-garbled",
	NoServerAddress:    "server-without-address",
	DelegationCircle:   "delegation-circle",
	AddressForbidden:   "server-address-forbidden",
	AliasLoop:          "alias-loop",
	AliasChain:         "alias-chain",
	ReferralChain:      "referral-chain",
	LimitPackets:       "limit-packets",
	LimitOctets:        "limit-octets",
	LimitDepth:         "limit-depth",
	LimitTime:          "limit-time",
	LimitServers:       "limit-servers-without-address",
	LimitZone:          "limit-questions-of-zone",
	FailedBefore:       "failed-before",
	LocalZone:          "local-zone",
	ShuttingDown:       "shutting-down",
	SignatureExpired:   "signature-expired",
	SignatureEarly:     "signature-not-yet-valid",
	SignatureMissing:   "signature-missing",
	SignatureWrong:     "signature-wrong",
	SignatureSigner:    "signature-wrong-signer",
	KeyMissing:         "key-missing",
	DSMismatch:         "ds-mismatch",
	NoKeys:             "dnskey-missing",
	NoZoneKey:          "no-zone-key",
	ProofMissing:       "proof-missing",
	ProofWrong:         "proof-wrong",
	Iterations:         "nsec3-iterations",
	Unsupported:        "algorithm-unsupported",
	LimitValidation:    "limit-validation",
	ClockWrong:         "clock-wrong",
	PrivateAddress:     "private-address",
	NegativeAnchor:     "negative-trust-anchor",
	Blocked:            "blocked",
	Tunnel:             "tunnel",
	RateLimited:        "rate-limited",
	Overloaded:         "overloaded",
	NotAllowed:         "client-not-allowed",
	NoRecursion:        "recursion-not-allowed",
	CacheOnly:          "no-recursion-desired",
	ZoneNotAllowed:     "zone-not-allowed",
	NotServed:          "zone-not-served",
	NotLoaded:          "zone-not-loaded",
	BadTSIG:            "tsig",
	FormatError:        "query-malformed",
	NotSupported:       "query-not-offered",
	PortRefused:        "port-refused",
	WaitedTooLong:      "late",
	Stale:              "stale",
	Answered:           "answered",
}

// OfReason returns the cause that a reason of validation is.
func OfReason(r dnssec.Reason) Cause {
	switch r {
	case dnssec.NoSignature:
		return SignatureMissing
	case dnssec.Expired, dnssec.ExpiredBeforeValid:
		return SignatureExpired
	case dnssec.NotYetValid:
		return SignatureEarly
	case dnssec.NoKey:
		return KeyMissing
	case dnssec.NoZoneKey:
		return NoZoneKey
	case dnssec.BadSignature:
		return SignatureWrong
	case dnssec.WrongSigner:
		return SignatureSigner
	case dnssec.UnsupportedAlgorithm, dnssec.UnsupportedDigest, dnssec.UnsupportedKey:
		return Unsupported
	case dnssec.NoProof:
		return ProofMissing
	case dnssec.BadProof:
		return ProofWrong
	case dnssec.TooManyIterations:
		return Iterations
	case dnssec.WorkLimit:
		return LimitValidation
	}
	return Unknown
}

// ofResolution finds the cause in the steps of the resolution: the clock before all, then what validation says, then the
// failure of the question itself, which is the last, and what lies behind it.
func (f *finding) ofResolution() {
	w := f.resolution
	judged, failed, noted := -1, -1, -1
	for i := range w.Steps {
		switch s := &w.Steps[i]; s.Kind {
		case Clock:
			f.step = s
			f.say(ClockWrong, s.Text)
			return
		case Validated:
			judged = i
		case Failed:
			failed = i
		case Filtered, Untrusted:
			noted = i
		}
	}
	bogus := judged >= 0 && (w.EDE == w.Steps[judged].EDE || judged > failed)
	switch {
	case noted >= 0 && w.Rcode != wire.ServFail:
		f.step = &w.Steps[noted]
		f.say(NegativeAnchor, f.step.tell().Text)
		if f.step.Kind == Filtered {
			f.say(PrivateAddress, f.step.tell().Text+
				": a name of the internet must not lead a browser behind the firewall (DNS rebinding)")
		}
	case w.Cause == AliasLoop || w.Cause == AliasChain:
		f.say(w.Cause, w.Text)
	case bogus:
		f.ofJudgement(&w.Steps[judged])
	case failed >= 0:
		f.ofFailure(failed)
	case w.Partial:
		f.ofSilence()
	case w.Rcode != wire.ServFail:
		f.say(Answered, "the question was answered")
	default:
		f.say(w.Cause, w.Text)
	}
	if f.text == "" {
		f.text = "the resolver says: " + w.Text
	}
}

func (f *finding) ofJudgement(s *Step) {
	f.step = s
	switch f.cause = OfReason(s.Reason); {
	case s.Cause != 0:
		f.cause = s.Cause
	case s.Reason != 0:
	case s.EDE == wire.EDEUnsupportedAlgorithm, s.EDE == wire.EDEUnsupportedDigest:
		f.cause = Unsupported
	case s.EDE == wire.EDEUnsupportedIterations:
		f.cause = Iterations
	}
	of := ""
	if s.Zone != nil {
		of = " (zone " + wire.NameText(s.Zone) + ")"
	}
	f.text = wire.NameText(s.Name) + " " + s.Type.String() + of + " does not validate: " + s.judgement()
	if f.resolution.Rcode != wire.ServFail {
		f.text = wire.NameText(s.Name) + " " + s.Type.String() + of + " counts as not signed: " + s.judgement()
	}
}

// ofFailure finds the cause of a failed lookup. What failed on the way to it, such as keys that validation
// needs, or addresses of name servers, comes before it.
func (f *finding) ofFailure(at int) {
	s := &f.resolution.Steps[at]
	f.step, f.cause = s, s.Cause
	zone := "the zone"
	if s.Zone != nil {
		zone = wire.NameText(s.Zone)
	}
	switch s.Cause {
	case NoServerAddress, LimitServers:
		f.ofAddresses(s, zone)
	case ServersSilent, ServersUnreachable, ServersRefuse, ServersFail, ServersReject, ServersLame, ServersGarbled:
		who := "the servers of "
		if last := f.lastServer(s.Zone, at); last != nil {
			if f.step = last; last.Forward {
				who = "the forwarders for "
			}
		}
		f.text = fmt.Sprintf("%s%s %s, asked for %s %s", who, zone, causeWords[s.Cause], wire.NameText(s.Name), s.Type)
		if list := f.servers(s.Zone, at); list != "" {
			f.text += " (" + list + ")"
		}
	default:
		f.text = fmt.Sprintf("%s, asked for %s %s of %s", s.Text, wire.NameText(s.Name), s.Type, zone)
	}
}

var causeWords = map[Cause]string{
	ServersSilent:      "do not answer",
	ServersUnreachable: "cannot be reached",
	ServersRefuse:      "refuse",
	ServersFail:        "fail",
	ServersReject:      "do not understand the question",
	ServersLame:        "do not have the zone (lame delegation)",
	ServersGarbled:     "send what cannot be read",
}

// ofAddresses is for a zone none of whose servers has an address that can be asked.
func (f *finding) ofAddresses(failed *Step, zone string) {
	var names []string
	for i := range f.resolution.Steps {
		s := &f.resolution.Steps[i]
		switch {
		case s.Kind == Skipped && string(s.Zone) == string(failed.Zone):
			f.say(s.Cause, "server "+s.Server.String()+" of "+zone+" was not asked: "+s.Text)
			return
		case s.Kind != NoAddress:
		case string(s.Zone) == string(failed.Zone) || s.Cause == DelegationCircle:
			text := wire.NameText(s.Name) + ": " + s.Text
			if s.Cause == DelegationCircle {
				f.cause = DelegationCircle
			} else if s.Cause == AddressForbidden {
				f.cause = AddressForbidden
			}
			if len(names) < 4 {
				names = append(names, text)
			}
		}
	}
	f.text = "no name server of " + zone + " has an address that can be asked"
	if f.cause == DelegationCircle {
		f.text = "the name servers of " + zone + " lie in zones that need each other to be found"
	}
	if len(names) > 0 {
		f.text += " (" + strings.Join(names, "; ") + ")"
	}
}

// ofSilence is for a question that nobody has answered yet.
func (f *finding) ofSilence() {
	for i := len(f.resolution.Steps) - 1; i >= 0; i-- {
		s := &f.resolution.Steps[i]
		if s.Kind != Silent && (s.Kind != Replied || s.Cause == 0) {
			continue
		}
		f.step, f.cause = s, s.Cause
		f.text = fmt.Sprintf("there was no answer in time, and the servers of %s, asked for %s %s, have not answered yet (%s)",
			wire.NameText(s.Zone), wire.NameText(s.Name), s.Type, f.servers(s.Zone, len(f.resolution.Steps)))
		return
	}
	f.say(LimitTime, "there was no answer in time (resolver.limits.reply_time)")
}

// dnsPort is the port that commands need not name.
const dnsPort = 53

// advice says what can be done.
func (f *finding) advice(t *Report) []Advice {
	name, zone, server := t.Name, t.Name, ""
	if s := f.step; s != nil {
		if s.Zone != nil {
			zone = wire.NameText(s.Zone)
		}
		if s.Server.IsValid() {
			server = s.Server.Addr().String()
			if s.Server.Port() != dnsPort {
				server += fmt.Sprintf(" --port %d", s.Server.Port())
			}
		}
	}
	ask := name + " " + t.Type
	check := Advice{"look at the zone as a stranger does", "port53 check " + zone}
	again := Advice{"ask once more, past the cache, and see each step", "port53 query --explain " + ask}
	flush := Advice{"once it is mended, forget what is known of it", "port53 cache flush --tree " + zone}
	anchor := Advice{
		"the zone's operator has to mend it; until then, if you know that it is a mistake, have the zone not validated for a while: " +
			"resolver.negative_trust_anchors", "",
	}
	switch f.cause {
	case ServersSilent, ServersUnreachable, LimitTime, WaitedTooLong:
		way := Advice{"see whether this machine reaches the servers at all", "port53 query --trace " + ask}
		if server != "" {
			way.Command = "port53 query " + ask + " @" + server
		}
		if f.forwarder() {
			return []Advice{way, {"if it has moved, change resolver.forward, and reload", "port53 reload"}, again}
		}
		return []Advice{way, check, again}
	case ServersRefuse, ServersFail, ServersReject, ServersLame, ServersGarbled, NoServerAddress, DelegationCircle, LimitServers:
		if f.forwarder() {
			return []Advice{
				{"see what the forwarder answers", "port53 query " + ask + " @" + server},
				{"its operator has to mend it, or resolver.forward has to name another", ""},
				again,
			}
		}
		return []Advice{{"the zone's operator, or the one above it, has to mend the delegation or the servers", ""}, check, again}
	case AddressForbidden:
		return []Advice{
			{"resolver.do_not_query has the address: if it is a server of yours, list the zone in resolver.stub or resolver.forward", ""},
			again,
		}
	case SignatureExpired, SignatureEarly, SignatureMissing, SignatureWrong, SignatureSigner, KeyMissing, DSMismatch, NoKeys, NoZoneKey,
		ProofMissing, ProofWrong, Iterations, Unsupported:
		return []Advice{{"see how the zone is signed, from the root down", "port53 query --validate " + ask}, anchor, flush}
	case ClockWrong:
		return []Advice{{"set the clock, and have something keep it right", "chronyc makestep"}}
	case Blocked:
		return []Advice{
			{"see which rule it is", "port53 filter test " + name + " --type " + t.Type + clientFlag(f.reply)},
			f.unblock(name),
		}
	case PrivateAddress:
		return []Advice{{"if the zone may name machines of your own networks, list it in resolver.private_zones", ""}}
	case NegativeAnchor:
		return []Advice{{"take the zone out of resolver.negative_trust_anchors when it is mended", ""}}
	case AliasLoop, AliasChain, ReferralChain:
		return []Advice{{"the operators of the names on the way have to mend the aliases", "port53 query --trace " + ask}}
	case LimitPackets, LimitOctets, LimitDepth, LimitZone, LimitValidation:
		return []Advice{{"names that cost so much are mostly made to; if this one is not, raise the limit of resolver.limits", ""}, again}
	}
	return f.adviceHere(again)
}

// unblock says how a name is let pass. Lists and policy zones do not know each other's exceptions.
func (f *finding) unblock(name string) Advice {
	if f.reply != nil && f.reply.Line == 0 && bytes.Contains(f.reply.Text, []byte("policy zone")) {
		record := name + "ZONE CNAME rpz-passthru."
		return Advice{"to let the name pass, put a zone of your own before the others in policy.rpz, with the record " + record, ""}
	}
	return Advice{"to let the name pass, add it to policy.allow_names, or to that of the client's view, and reload", "port53 reload"}
}

// forwarder reports whether it is a forwarder that failed.
func (f *finding) forwarder() bool { return f.step != nil && f.step.Forward }

// adviceHere is advice for causes that lie in this server.
func (f *finding) adviceHere(again Advice) []Advice {
	switch f.cause {
	case NotAllowed, NoRecursion, ZoneNotAllowed:
		return []Advice{
			{"see what the client may do, and which line of the configuration says so", "port53 config check" + clientFlag(f.reply)},
		}
	case CacheOnly:
		return []Advice{{"ask with recursion desired: dig does unless it is given +norecurse", ""}}
	case NotServed, NotLoaded, LocalZone:
		return []Advice{{"see which zones are served, and what is wrong with those that are not", "port53 zone list"}}
	case BadTSIG:
		return []Advice{{"compare name, algorithm and secret of the key on both sides, and the clocks", ""}}
	case RateLimited:
		return []Advice{{"if the client is one of yours, let it use cookies or TCP, or list it in policy.rate_limit.exempt", ""}}
	case Tunnel:
		return []Advice{
			{"see what the client asks for, and how much", "port53 top --tunnels"},
			{"if it is meant to, list the domain in policy.tunnel.exempt, and reload", "port53 reload"},
		}
	case Overloaded, ShuttingDown:
		return []Advice{{"see who asks for what", "port53 top"}}
	case FormatError, NotSupported, PortRefused:
		return []Advice{{"look at the client that sends it", ""}}
	case Answered:
		return []Advice{}
	}
	return []Advice{again}
}

// clientFlag returns the flag that names the client of a reply.
func clientFlag(r *reply) string {
	if r == nil || !r.Remote.IsValid() {
		return ""
	}
	return " --client " + r.Remote.Addr().String()
}
