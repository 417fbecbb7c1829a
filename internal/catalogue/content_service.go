package catalogue

import (
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"port53/internal/finding"
	"port53/internal/wire"
)

// A tlsaPlace is what is known of where TLSA records are.
type tlsaPlace struct {
	owner  []byte
	base   *lookup // the addresses of the base name; nil: they were not asked for
	secure bool    // the zone is signed, and so is all above it
	known  bool    // secure was found out
}

// portPrefix reads the labels of a port and a protocol before a name, as TLSA and SRV records have them (RFC 6698, section 3).
func portPrefix(owner []byte) (port, proto string, base []byte) {
	if wire.LabelCount(owner) < 3 {
		return "", "", owner
	}
	first, second := owner[1:1+int(owner[0])], wire.Parent(owner)
	second = second[1 : 1+int(second[0])]
	if len(first) < 2 || first[0] != '_' || len(second) < 2 || second[0] != '_' {
		return "", "", owner
	}
	return string(first[1:]), strings.ToLower(string(second[1:])), wire.Parent(wire.Parent(owner))
}

// judgeTLSA judges a set of TLSA records (RFC 6698, section 2.1; RFC 7671; RFC 7672, section 3.1).
func judgeTLSA(place tlsaPlace, data [][]byte) []remark {
	key := wire.NameText(place.owner)
	port, proto, base := portPrefix(place.owner)
	var out []remark
	usable := 0
	for _, d := range data {
		bad := func(format string, args ...any) {
			out = append(out, fails(key, finding.SevMedium, "%s TLSA: %s", key, fmt.Sprintf(format, args...)))
		}
		if len(d) < 4 {
			bad("the record is cut off (RFC 6698, section 2.1)")
			continue
		}
		usage, selector, matching, value := d[0], d[1], d[2], d[3:]
		before := len(out)
		text := fmt.Sprintf("%d %d %d", usage, selector, matching)
		switch {
		case usage > 3:
			bad("%s: there is no usage %d (RFC 6698, section 2.1.1)", text, usage)
		case selector > 1:
			bad("%s: there is no selector %d (RFC 6698, section 2.1.2)", text, selector)
		case matching > 2:
			bad("%s: there is no matching type %d (RFC 6698, section 2.1.3)", text, matching)
		case matching == 1 && len(value) != 32:
			bad("%s: %d octets, where SHA-256 has 32 (RFC 6698, section 2.1.3)", text, len(value))
		case matching == 2 && len(value) != 64:
			bad("%s: %d octets, where SHA-512 has 64 (RFC 6698, section 2.1.3)", text, len(value))
		case matching == 0 && selector == 0:
			if _, err := x509.ParseCertificate(value); err != nil {
				bad("%s: it is no certificate: %v (RFC 6698, section 2.1.4)", text, err)
			}
		case matching == 0 && selector == 1:
			if _, err := x509.ParsePKIXPublicKey(value); err != nil {
				bad("%s: it is no public key: %v (RFC 6698, section 2.1.4)", text, err)
			}
		}
		if len(out) == before && usage < 2 && proto == "tcp" && (port == "25" || port == "465" || port == "587") {
			out = append(
				out,
				warns(key, finding.SevLow, "%s TLSA: %s: mail servers do not use usage %d (RFC 7672, section 3.1.3)", key, text, usage),
			)
		}
		if len(out) == before {
			usable++
		}
	}
	if port == "" {
		out = append(
			out,
			warns(
				key,
				finding.SevLow,
				"%s TLSA: the name does not begin with a port and a protocol, as _443._tcp (RFC 6698, section 3)",
				key,
			),
		)
	} else {
		out = append(out, place.around(key, base)...)
	}
	if len(out) == 0 {
		out = append(out, passes(key, "%s: %d TLSA", key, usable))
	}
	return out
}

// around judges what TLSA records need beside them.
func (p *tlsaPlace) around(key string, base []byte) []remark {
	var out []remark
	if p.base != nil && (p.base.is == noData || p.base.is == noName) {
		out = append(
			out,
			fails(
				key+" base",
				finding.SevLow,
				"%s TLSA: %s %s, so that nobody connects there (RFC 6698, section 3)",
				key,
				wire.NameText(base),
				p.base.why(wire.TypeA),
			),
		)
	}
	if p.known && !p.secure {
		out = append(
			out,
			warns(
				key+" signed",
				finding.SevLow,
				"%s TLSA: the zone is not signed, so that the records are ignored (RFC 6698, section 4.1)",
				key,
			),
		)
	}
	return out
}

// A svcRecord is a HTTPS or SVCB record that was read.
type svcRecord struct {
	priority uint16
	target   []byte // "." as it is
	params   map[int][]byte
}

// alias reports whether the record is in AliasMode.
func (s *svcRecord) alias() bool { return s.priority == 0 }

// to returns the name that a record of an owner leads to. In ServiceMode "." is the owner; in AliasMode it is that there
// is no service (RFC 9460, section 2.5).
func (s *svcRecord) to(owner []byte) []byte {
	if len(s.target) > 1 {
		return s.target
	}
	if s.alias() {
		return nil
	}
	return owner
}

// readSvc reads RDATA that is well formed (RFC 9460, section 2.2).
func readSvc(data []byte) *svcRecord {
	if len(data) < 3 {
		return nil
	}
	target := rdataName(data, 2)
	if target == nil {
		return nil
	}
	s := &svcRecord{priority: binary.BigEndian.Uint16(data), target: target, params: map[int][]byte{}}
	for d := data[2+len(target):]; len(d) >= 4; {
		n := int(binary.BigEndian.Uint16(d[2:]))
		if 4+n > len(d) {
			return nil
		}
		s.params[int(binary.BigEndian.Uint16(d))] = d[4 : 4+n]
		d = d[4+n:]
	}
	return s
}

// The keys of service parameters that are judged (RFC 9460, section 14.3.2; RFC 9461).
const (
	keyMandatory     = 0
	keyALPN          = 1
	keyNoDefaultALPN = 2
	keyPort          = 3
	keyIPv4Hint      = 4
	keyECH           = 5
	keyIPv6Hint      = 6
	keyDoHPath       = 7
	keysPrivate      = 65280
)

// judgeSVCB judges a set of HTTPS or SVCB records at a name of a zone (RFC 9460; RFC 9461 for dohpath). addresses tells
// those of a name, and false where they are not known.
func judgeSVCB(owner, zone []byte, t wire.Type, data [][]byte, addresses func(name []byte) ([]netip.Addr, bool)) []remark {
	var out []remark
	where := wire.NameText(owner) + " " + t.String()
	key := where
	var list []*svcRecord
	for _, d := range data {
		err := wire.CheckRdata(t, d)
		s := readSvc(d)
		if err != nil || s == nil {
			out = append(
				out,
				fails(
					key+" malformed",
					0,
					"%s is malformed, so that clients take none of the set: %s (RFC 9460, section 2.2)",
					where,
					svcFault(d, err),
				),
			)
			continue
		}
		list = append(list, s)
	}
	aliases := 0
	for _, s := range list {
		if s.alias() {
			aliases++
			out = append(out, s.judgeAlias(owner, zone, where)...)
			continue
		}
		out = append(out, s.judgeService(owner, where, addresses)...)
		if what, sold := specialUse(s.to(owner), zone); what != "" && !sold {
			out = append(
				out,
				fails(key, 0, "%s: %s is no host on the Internet: the name is for %s", where, wire.NameText(s.to(owner)), what),
			)
		}
	}
	switch {
	case aliases > 0 && aliases < len(list):
		out = append(
			out,
			fails(
				key+" modes",
				0,
				"%s: AliasMode beside ServiceMode: the records in ServiceMode are ignored (RFC 9460, section 2.4.1)",
				where,
			),
		)
	case aliases > 1:
		out = append(
			out,
			warns(
				key+" modes",
				0,
				"%s: %d records in AliasMode, of which one is chosen by chance (RFC 9460, section 2.4.2)",
				where,
				aliases,
			),
		)
	}
	if port, proto, base := portPrefix(owner); t == wire.TypeHTTPS && proto == "https" && (port == "443" || port == "80") {
		out = append(
			out,
			warns(
				key+" prefix",
				0,
				"%s is asked for by nobody: without a port of its own HTTPS is at %s (RFC 9460, section 9.1)",
				where,
				wire.NameText(base),
			),
		)
	}
	if len(out) == 0 {
		out = append(out, passes(key, "%s: %d records", where, len(list)))
	}
	return out
}

// svcFault says what is wrong with data that is malformed, as far as can be lookup.
func svcFault(d []byte, err error) string {
	name := rdataName(d, min(2, len(d)))
	if name == nil {
		return fmt.Sprint(err)
	}
	last, keys := -1, map[int]bool{}
	var mandatory []byte
	for p := d[2+len(name):]; len(p) > 0; {
		if len(p) < 4 || 4+int(binary.BigEndian.Uint16(p[2:])) > len(p) {
			return "a parameter is cut off"
		}
		k, n := int(binary.BigEndian.Uint16(p)), int(binary.BigEndian.Uint16(p[2:]))
		if k <= last {
			return "the keys are not in rising order, each once: " + wire.ParamName(k) + " follows " + wire.ParamName(last)
		}
		if keys[k] = true; k == keyMandatory {
			mandatory = p[4 : 4+n]
		}
		last, p = k, p[4+n:]
	}
	for ; len(mandatory) >= 2; mandatory = mandatory[2:] {
		switch k := int(binary.BigEndian.Uint16(mandatory)); {
		case k == keyMandatory:
			return "mandatory names itself (section 8)"
		case !keys[k]:
			return "mandatory names " + wire.ParamName(k) + ", which is not there (section 8)"
		}
	}
	return fmt.Sprint(err)
}

// judgeAlias judges a record in AliasMode (RFC 9460, section 2.4.2).
func (s *svcRecord) judgeAlias(owner, zone []byte, where string) []remark {
	var out []remark
	switch {
	case len(s.target) == 1:
		out = append(
			out,
			warns(
				where,
				finding.SevLow,
				"%s: AliasMode with the target \".\" says that there is no such service (RFC 9460, section 2.5.1)",
				where,
			),
		)
	case wire.EqualFold(s.target, owner):
		out = append(out, fails(where, 0, "%s: AliasMode leads to itself (RFC 9460, section 2.4.2)", where))
	default:
		if what, sold := specialUse(s.target, zone); what != "" && !sold {
			out = append(
				out,
				fails(where, 0, "%s: %s is no host on the Internet: the name is for %s", where, wire.NameText(s.target), what),
			)
		}
	}
	if len(s.params) > 0 {
		out = append(
			out,
			warns(where+" params", finding.SevLow, "%s: parameters in AliasMode are ignored (RFC 9460, section 2.4.2)", where),
		)
	}
	return out
}

// judgeService judges a record in ServiceMode (RFC 9460, sections 7 and 8).
func (s *svcRecord) judgeService(owner []byte, where string, addresses func([]byte) ([]netip.Addr, bool)) []remark {
	var out []remark
	key := fmt.Sprintf("%s %d %s", where, s.priority, wire.NameText(s.target))
	say := func(format string, args ...any) {
		out = append(out, fails(key, 0, "%s: %s", where, fmt.Sprintf(format, args...)))
	}
	alpn, has := s.params[keyALPN]
	if _, no := s.params[keyNoDefaultALPN]; no && !has {
		say("no-default-alpn without alpn leaves no protocol (RFC 9460, section 7.1.1)")
	}
	if p := s.params[keyPort]; len(p) == 2 && binary.BigEndian.Uint16(p) == 0 {
		say("port 0 is nobody's (RFC 9460, section 7.2)")
	}
	if ech, ok := s.params[keyECH]; ok {
		if why := badECH(ech); why != "" {
			say("ech is no ECHConfigList: %s (RFC 9848; RFC 9849, section 4)", why)
		}
	}
	if path, ok := s.params[keyDoHPath]; ok {
		switch {
		case !strings.HasPrefix(string(path), "/") || !strings.Contains(string(path), "{?dns}"):
			say("dohpath %q is no relative template with {?dns} (RFC 9461, section 5)", wire.Printable(string(path)))
		case !alpnHas(alpn, "h2") && !alpnHas(alpn, "h3"):
			say("dohpath without h2 or h3 in alpn (RFC 9461, section 5)")
		}
	}
	for m := s.params[keyMandatory]; len(m) >= 2; m = m[2:] {
		if k := int(binary.BigEndian.Uint16(m)); k >= keysPrivate {
			out = append(
				out,
				warns(
					key+" mandatory",
					finding.SevLow,
					"%s: mandatory names %s, which is for private use: clients that do not know it ignore the record (RFC 9460, section 8)",
					where,
					wire.ParamName(k),
				),
			)
		}
	}
	return append(out, s.hints(owner, key, where, addresses)...)
}

// hints compares the addresses that a record brings along with those of its target (RFC 9460, section 7.3).
func (s *svcRecord) hints(owner []byte, key, where string, addresses func([]byte) ([]netip.Addr, bool)) []remark {
	var out []remark
	target := s.to(owner)
	for _, h := range []struct{ param, size int }{{keyIPv4Hint, 4}, {keyIPv6Hint, 16}} {
		p, ok := s.params[h.param]
		if !ok {
			continue
		}
		var hinted []netip.Addr
		for ; len(p) >= h.size; p = p[h.size:] {
			a, _ := netip.AddrFromSlice(p[:h.size])
			hinted = append(hinted, a)
			if kind, what := specialAddress(a); kind != blockNone {
				out = append(out, warns(key+" "+a.String(), 0, "%s: %s has %s, which is %s", where, wire.ParamName(h.param), a, what))
			}
		}
		have, known := addresses(target)
		have = slices.DeleteFunc(slices.Clone(have), func(a netip.Addr) bool { return a.BitLen() != h.size*8 })
		if !known {
			continue
		}
		for _, a := range hinted {
			if !slices.Contains(have, a) {
				out = append(
					out,
					warns(
						key+" hint "+a.String(),
						0,
						"%s: %s has %s, and %s has not: %v (RFC 9460, section 7.3)",
						where,
						wire.ParamName(h.param),
						a,
						wire.NameText(target),
						have,
					),
				)
			}
		}
	}
	return out
}

func alpnHas(alpn []byte, proto string) bool {
	for len(alpn) > 0 && 1+int(alpn[0]) <= len(alpn) {
		if string(alpn[1:1+int(alpn[0])]) == proto {
			return true
		}
		alpn = alpn[1+int(alpn[0]):]
	}
	return false
}

// badECH says why a value is no list of ECH configurations, or "" (RFC 9849, section 4).
func badECH(v []byte) string {
	if len(v) < 2 || int(binary.BigEndian.Uint16(v)) != len(v)-2 || len(v) == 2 {
		return "its length is not that of what follows"
	}
	const version = 0xfe0d
	known := false
	for v = v[2:]; len(v) > 0; {
		if len(v) < 4 || 4+int(binary.BigEndian.Uint16(v[2:])) > len(v) {
			return "a configuration is cut off"
		}
		known = known || binary.BigEndian.Uint16(v) == version
		v = v[4+int(binary.BigEndian.Uint16(v[2:])):]
	}
	if !known {
		return "it has no configuration of the version that clients know (0xfe0d)"
	}
	return ""
}
