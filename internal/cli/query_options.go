package cli

import (
	"fmt"
	"slices"
	"strings"

	"port53/internal/query"
	"port53/internal/wire"
)

// queryOptions returns all options of query, in the order of its help. What has no
// help is accepted and left out of it.
func queryOptions() []queryOption {
	return slices.Concat(questionOptions(), mannerOptions(), tlsOptions(), wayOptions(), printOptions(), digOptions())
}

// questionOptions say what is asked, and whom.
func questionOptions() []queryOption {
	return []queryOption{
		{
			long: "server",
			arg:  "SERVER",
			help: "the server: an address or a name, with #PORT or :PORT if not 53 (also @SERVER)",
			set:  text(func(a *asking) *string { return &a.server }),
		},
		{long: "port", short: 'p', arg: "PORT", help: "the server's port", set: setPort},
		{long: "name", short: 'q', arg: "NAME", help: "the name, even if it looks like a type", set: setName},
		{long: "type", short: 't', arg: "TYPE", help: "the type (default A); IXFR=SERIAL for a transfer", set: setType},
		{long: "class", short: 'c', arg: "CLASS", help: "the class (default IN)", set: setClass},
		{long: "reverse", short: 'x', arg: "ADDRESS", help: "reverse lookup of an address", set: setReverse},
		{long: "ipv4", short: '4', help: "use IPv4 only", set: setFamily(4)},
		{long: "ipv6", short: '6', help: "use IPv6 only", set: setFamily(6)},
		{long: "source", short: 'b', arg: "ADDRESS[#PORT]", help: "send from this address", set: setSource},
	}
}

// mannerOptions say how it is asked.
func mannerOptions() []queryOption {
	return []queryOption{
		{long: "tcp", plus: "tcp vc", help: "use TCP", set: func(a *asking, _ string, on bool) error {
			a.route.TCP, a.noTCP = on, !on
			return nil
		}},
		{
			long: "ignore-tc",
			plus: "ignore",
			help: "accept a truncated reply",
			set:  onOff(func(a *asking) *bool { return &a.route.UDPOnly }),
		},
		{long: "timeout", plus: "time timeout", arg: "SECONDS", help: "how long to wait for a reply (default 5)", set: setTimeout},
		{long: "tries", plus: "tries", arg: "N", help: "how many times to ask each server (default 3)", set: setTries(0)},
		{long: "retry", plus: "retry", arg: "N", help: "how many times to retry: one less than --tries", set: setTries(1)},
		{
			long: "fail",
			plus: "fail",
			help: "accept SERVFAIL instead of trying the next server",
			set:  func(a *asking, _ string, on bool) error { a.next = !on; return nil },
		},
		{long: "recurse", plus: "rdflag recurse rd", help: "request recursion (default: on)", set: flag(wire.FlagRD)},
		{long: "dnssec", plus: "dnssec do doflag", help: "request DNSSEC records (DO)", set: setDNSSEC},
		{long: "cd", plus: "cdflag cd", help: "ask the server not to validate (CD)", set: flag(wire.FlagCD)},
		{long: "ad", plus: "adflag ad", help: "ask whether the server validated (AD; default: on)", set: flag(wire.FlagAD)},
		{plus: "aaflag aaonly", set: flag(wire.FlagAA)},
		{plus: "tcflag", set: flag(wire.FlagTC)},
		{plus: "raflag", set: flag(wire.FlagRA)},
		{plus: "zflag", set: flag(0x40)},
		{long: "edns", plus: "edns", arg: "[VERSION]", help: "use EDNS (default: on, version 0)", set: setEDNS},
		{long: "bufsize", plus: "bufsize", arg: "OCTETS", help: "the largest reply over UDP (default 1232)", set: setBufsize},
		{plus: "ednsflags", arg: "[FLAGS]", set: func(a *asking, arg string, on bool) error {
			if !on || arg == "" {
				arg = "0"
			}
			v, err := number(arg, 0, 65535)
			a.q.DO = a.q.DO || v&0x8000 != 0
			a.q.EDNSFlags = uint16(v &^ 0x8000)
			return err
		}},
		{long: "nsid", plus: "nsid", help: "ask for the name server identifier", set: emptyOption(wire.OptionNSID)},
		{long: "cookie", plus: "cookie", arg: "[HEX]", help: "send a DNS cookie (default: on, with a fresh cookie)", set: setCookie},
		{
			long: "expire", plus: "expire", help: "ask a secondary how long until its copy of the zone expires",
			set: emptyOption(wire.OptionExpire),
		},
		{long: "keepalive", plus: "keepalive", help: "ask how long a TCP connection may stay idle", set: emptyOption(wire.OptionKeepalive)},
		{long: "padding", plus: "padding", arg: "OCTETS", help: "pad the query to a multiple of this", set: setPadding},
		{long: "option", plus: "ednsopt", arg: "CODE[:HEX]", help: "send any other EDNS option", set: setOption},
		{long: "subnet", plus: "subnet", arg: "NETWORK", help: "send this client subnet (ECS); 0: none", set: setSubnet},
		{long: "opcode", plus: "opcode", arg: "OPCODE", help: "the opcode (default QUERY)", set: setOpcode},
		{long: "id", plus: "qid", arg: "ID", help: "the query's ID (default: random)", set: setID},
		{long: "header-only", plus: "header-only", help: "send no question", set: onOff(func(a *asking) *bool { return &a.q.NoQuestion })},
	}
}

// wayOptions are other ways to an answer.
func wayOptions() []queryOption {
	return []queryOption{
		{long: "trace", plus: "trace", help: "follow delegations from the root, and show each step", set: setWay(traceIt)},
		{
			long: "root-hints",
			arg:  "FILE",
			help: "root hints for --trace, instead of the built-in ones",
			set:  text(func(a *asking) *string { return &a.rootHints }),
		},
		{
			long: "validate",
			plus: "validate",
			help: "validate from the root's keys down, and show where the chain breaks",
			set:  setWay(validateIt),
		},
		{
			long: "anchors",
			arg:  "FILE",
			help: "trusted DS or DNSKEY records for --validate, instead of the built-in root keys",
			set:  text(func(a *asking) *string { return &a.anchors }),
		},
		{
			long: "time", arg: "TIME", set: setWhen,
			help: "validate as of this time: 2020-10-20, RFC 3339, or seconds since 1970 (dig's +time is --timeout)",
		},
		{long: "explain", plus: "explain", help: "ask the port53 running here how it arrives at its answer", set: setWay(explainIt)},
		{
			long: "view",
			arg:  "VIEW",
			help: "explain the answer for clients of this view",
			set:  text(func(a *asking) *string { return &a.view.name }),
		},
		{
			long: "client",
			arg:  "ADDRESS",
			help: "explain the answer for this client",
			set:  text(func(a *asking) *string { return &a.view.client }),
		},
		{
			long: "config",
			arg:  "FILE",
			help: "with --explain: the running port53's configuration",
			set:  text(func(a *asking) *string { return &a.config }),
		},
		{
			long: "socket",
			arg:  "PATH",
			help: "with --explain: the running port53's control socket",
			set:  text(func(a *asking) *string { return &a.socket }),
		},
	}
}

// printOptions say what is printed.
//
// In one piece: it is a table of options.
func printOptions() []queryOption {
	style := func(field func(*query.Style) *bool) func(*asking, string, bool) error {
		return onOff(func(a *asking) *bool { return field(&a.style) })
	}
	section := func(s wire.Section) func(*asking, string, bool) error {
		return onOff(func(a *asking) *bool { return &a.style.Sections[s] })
	}
	return []queryOption{
		{long: "short", plus: "short", help: "print only the answer's data", set: style(func(s *query.Style) *bool { return &s.Short })},
		{long: "json", plus: "json", help: "print JSON", set: onOff(func(a *asking) *bool { return &a.asJSON })},
		{
			long: "all",
			plus: "all",
			help: "print all parts; to print only some, give --no-all and then their flags, such as --no-all --answer",
			set:  func(a *asking, _ string, on bool) error { a.style.All(on); return nil },
		},
		{
			long: "meaning",
			plus: "meaning",
			help: "print what the answer means (default: on)",
			set:  style(func(s *query.Style) *bool { return &s.Meaning }),
		},
		{
			long: "comments",
			plus: "comments",
			help: "print header, EDNS and section titles (default: on)",
			set:  style(func(s *query.Style) *bool { return &s.Comments }),
		},
		{
			long: "question",
			plus: "question",
			help: "print the question (default: on)",
			set:  style(func(s *query.Style) *bool { return &s.Question }),
		},
		{long: "answer", plus: "answer", help: "print the answer section (default: on)", set: section(wire.Answer)},
		{long: "authority", plus: "authority", help: "print the authority section (default: on)", set: section(wire.Authority)},
		{long: "additional", plus: "additional", help: "print the additional section (default: on)", set: section(wire.Additional)},
		{
			long: "stats",
			plus: "stats",
			help: "print time, server and size (default: on)",
			set:  style(func(s *query.Style) *bool { return &s.Stats }),
		},
		{
			long: "command",
			plus: "cmd",
			help: "print the command line (default: on)",
			set:  style(func(s *query.Style) *bool { return &s.Command }),
		},
		{long: "query", plus: "qr", help: "print the query too", set: style(func(s *query.Style) *bool { return &s.Query })},
		{
			long: "multiline",
			plus: "multiline",
			help: "print long records over several lines, with comments",
			set:  style(func(s *query.Style) *bool { return &s.Multiline }),
		},
		{long: "ttl-units", plus: "ttlunits", help: "print TTLs as 1h30m", set: func(a *asking, _ string, on bool) error {
			a.style.Units = on
			a.style.NoTTL = a.style.NoTTL && !on
			return nil
		}},
		{plus: "ttlid ttl", set: func(a *asking, _ string, on bool) error { a.style.NoTTL = !on; return nil }},
		{plus: "class", set: func(a *asking, _ string, on bool) error { a.style.NoClass = !on; return nil }},
		{plus: "crypto", set: func(a *asking, _ string, on bool) error { a.style.NoCrypto = !on; return nil }},
		{plus: "rrcomments", set: style(func(s *query.Style) *bool { return &s.Notes })},
		{plus: "unknownformat generic", set: style(func(s *query.Style) *bool { return &s.Generic })},
		{
			long: "identify",
			plus: "identify",
			help: "with --short: print which server answered",
			set:  style(func(s *query.Style) *bool { return &s.Identify }),
		},
		{plus: "expandaaaa", set: style(func(s *query.Style) *bool { return &s.LongAAAA })},
		{plus: "onesoa", set: style(func(s *query.Style) *bool { return &s.OneSOA })},
		{short: 'u', set: style(func(s *query.Style) *bool { return &s.Micro })},
		{
			long: "resolv-conf",
			arg:  "FILE",
			help: "where the system's servers are listed (default " + query.ResolvConf + ")",
			set:  text(func(a *asking) *string { return &a.resolvConf }),
		},
	}
}

// digOptions are what dig has and this does not, or does anyway.
func digOptions() []queryOption {
	return []queryOption{
		{long: "search", plus: "search defname", help: "use the search list of resolv.conf", set: setSearch},
		{plus: "showsearch", set: func(a *asking, _ string, on bool) error {
			a.search.show, a.search.on = on, a.search.on || on
			return nil
		}},
		{long: "domain", plus: "domain", arg: "DOMAIN", help: "append this domain to names", set: setDomain},
		{long: "ndots", plus: "ndots", arg: "N", help: "names with fewer dots use the search list", set: setNdots},
		{long: "key-file", short: 'k', arg: "FILE", help: "sign with the TSIG key in a file, in BIND's format", set: setKeyFile},
		{long: "key", short: 'y', arg: "[ALGORITHM:]NAME:SECRET", help: "sign with this TSIG key (default hmac-sha256)", set: setKey},
		{long: "yaml", plus: "yaml", help: "print YAML, as dig does", set: onOff(func(a *asking) *bool { return &a.asYAML })},
		{plus: "idnin", set: setIDNIn},
		{
			long: "idn",
			plus: "idnout",
			help: "print internationalized names (xn--…) in Unicode",
			set:  onOff(func(a *asking) *bool { return &a.style.Unicode }),
		},
		{plus: "idn", set: func(a *asking, _ string, on bool) error {
			a.style.Unicode = on
			return setIDNIn(a, "", on)
		}},
		{
			long: "nssearch",
			plus: "nssearch",
			help: "query each of the zone's servers for its SOA record",
			set:  onOff(func(a *asking) *bool { return &a.nssearch }),
		},
		{plus: "coflag co", set: func(a *asking, _ string, on bool) error {
			if a.q.EDNSFlags &^= 0x4000; on {
				a.q.EDNSFlags, a.q.EDNS = a.q.EDNSFlags|0x4000, true
			}
			return nil
		}},
		{plus: "proxy proxy-plain", arg: "[X]", set: refuse("the PROXY protocol is not supported; UDP, TCP, TLS, HTTPS and QUIC are")},
		{short: 'D', set: setDNSSEC},             // drill
		{short: 'T', set: setWay(traceIt)},       // drill
		{short: 'S', set: setWay(validateIt)},    // drill
		{short: 'd', set: nothing},               // kdig: tells what it does
		{short: 'm', set: nothing},               // dig: looks at its memory
		{short: 'i', set: nothing},               // dig: IP6.INT, which is no more
		{plus: "dscp", arg: "[X]", set: nothing}, // dig has it no more
		{
			plus: "besteffort badcookie ednsnegotiation keepopen mapped dns64prefix fuzzytime showallmessages " +
				"showbadcookie showbadvers split svcparamkeycompat",
			arg: "[X]",
			set: nothing,
		},
		{short: 'r', set: nothing}, // there is no ~/.digrc
	}
}

// A queryParser turns command lines into askings.
type queryParser struct {
	options []queryOption
	long    map[string]*queryOption
	short   map[byte]*queryOption
	plus    map[string]*queryOption
}

func newQueryParser() *queryParser {
	p := &queryParser{
		options: queryOptions(),
		long:    map[string]*queryOption{},
		short:   map[byte]*queryOption{},
		plus:    map[string]*queryOption{},
	}
	for i := range p.options {
		o := &p.options[i]
		if o.long != "" {
			p.long[o.long] = o
		}
		if o.short != 0 {
			p.short[o.short] = o
		}
		for name := range strings.FieldsSeq(o.plus) {
			p.plus[name] = o
		}
	}
	return p
}

func (o *queryOption) optional() bool { return strings.HasPrefix(o.arg, "[") }

// apply sets o: value is what stood behind =, if has is set. name is how the user
// spelled it.
func (o *queryOption) apply(a *asking, name, value string, has, on bool) error {
	switch {
	case has && o.arg == "" && o.long != "":
		switch value {
		case "true", "yes", "on":
		case "false", "no", "off":
			on = !on
		default:
			return fmt.Errorf("%s takes no value", name)
		}
		value = ""
	case has && o.arg == "":
		return fmt.Errorf("%s takes no value", name)
	case has && !on:
		return fmt.Errorf("%s: what is switched off takes no value", name)
	case !has && on && o.arg != "" && !o.optional():
		return fmt.Errorf("%s needs %s", name, o.arg)
	}
	if err := o.set(a, value, on); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// plusOption finds dig's option by its name or an abbreviation that fits one only.
func (p *queryParser) plusOption(name string) (o *queryOption, on bool, err error) {
	if o, ok := p.plus[name]; ok {
		return o, true, nil
	}
	if bare, is := strings.CutPrefix(name, "no"); is {
		if o, ok := p.plus[bare]; ok {
			return o, false, nil
		}
	}
	fit := map[*queryOption]bool{}
	for _, prefix := range [...]string{"", "no"} {
		bare, is := strings.CutPrefix(name, prefix)
		for full, q := range p.plus {
			if is && bare != "" && strings.HasPrefix(full, bare) && !fit[q] {
				fit[q], o, on = true, q, prefix == ""
			}
		}
	}
	switch len(fit) {
	case 0:
		return nil, false, fmt.Errorf("+%s: there is no such option", name)
	case 1:
		return o, on, nil
	}
	return nil, false, fmt.Errorf("+%s: more than one option begins so", name)
}

// longOption finds an option of the tool's own.
func (p *queryParser) longOption(name string) (o *queryOption, on bool, err error) {
	if o, ok := p.long[name]; ok {
		return o, true, nil
	}
	if bare, is := strings.CutPrefix(name, "no-"); is {
		if o, ok := p.long[bare]; ok && (o.arg == "" || o.optional() || bare == "padding" || bare == "bufsize") {
			return o, false, nil
		}
	}
	return nil, false, fmt.Errorf("--%s: there is no such flag", name)
}
