package catalogue

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"port53/internal/finding"
	"port53/internal/wire"
)

// caaCritical is the only flag of CAA that means something (RFC 8659, section 4.1).
const caaCritical = 0x80

// caaTags are the properties that are registered with IANA, and what they are for.
func caaTags() map[string]string {
	return map[string]string{
		"issue": "RFC 8659", "issuewild": "RFC 8659", "iodef": "RFC 8659", "issuemail": "RFC 9495",
		"issuevmc": "Verified Mark Certificates", "contactemail": "CA/Browser Forum", "contactphone": "CA/Browser Forum",
	}
}

// judgeCAA judges a set of CAA records (RFC 8659; RFC 8657; RFC 9495). where is in whose name it is lookup.
func judgeCAA(where string, data [][]byte) []remark {
	var out []remark
	restricted, may := false, []string{}
	for _, d := range data {
		if len(d) < 2 || int(d[1]) > len(d)-2 {
			out = append(out, fails("malformed", finding.SevMedium, "%s: a CAA record is cut off (RFC 8659, section 4.1)", where))
			continue
		}
		flags, name, value := d[0], string(d[2:2+d[1]]), string(d[2+d[1]:])
		name = strings.ToLower(name)
		key := name + " " + wire.Printable(value)
		text := fmt.Sprintf("%s: CAA %d %s %q", where, flags, wire.Printable(name), wire.Printable(value))
		if flags&^caaCritical != 0 {
			out = append(out, warns(key+" flags", 0, "%s: the flags are 0 or 128; the others are reserved (RFC 8659, section 4.1)", text))
		}
		if _, known := caaTags()[name]; !known {
			switch {
			case name == "" || strings.ContainsFunc(name, func(r rune) bool { return r > 127 || byte(r)-'a' >= 26 && byte(r)-'0' >= 10 }):
				out = append(
					out,
					fails(key, finding.SevMedium, "%s: the tag has other octets than letters and digits (RFC 8659, section 4.1)", text),
				)
			case flags&caaCritical != 0:
				out = append(
					out,
					fails(
						key,
						finding.SevMedium,
						"%s: the tag is not known, and critical: nobody may issue certificates (RFC 8659, section 4.5)",
						text,
					),
				)
			default:
				out = append(out, warns(key, finding.SevMedium, "%s: the tag is not known, and ignored%s", text, meant(name)))
			}
			continue
		}
		switch name {
		case "issue", "issuewild", "issuemail", "issuevmc":
			restricted = restricted || name == "issue"
			ca, err := readIssue(value)
			switch {
			case err != nil:
				out = append(out, fails(key, finding.SevMedium, "%s: %v; it lets nobody issue (RFC 8659, section 4.2)", text, err))
			case ca != "" && name == "issue":
				may = append(may, ca)
			}
		case "iodef":
			if u, err := url.Parse(value); err != nil || !slices.Contains([]string{"mailto", "http", "https"}, strings.ToLower(u.Scheme)) {
				out = append(out, warns(key, finding.SevLow, "%s: expected a mailto:, http: or https: URI (RFC 8659, section 4.4)", text))
			}
		case "contactemail":
			if at := strings.IndexByte(value, '@'); at < 1 || at == len(value)-1 {
				out = append(out, warns(key, finding.SevLow, "%s: expected an address of mail", text))
			}
		}
	}
	if !restricted && len(out) == 0 {
		out = append(
			out,
			warns("issue", 0, "%s: CAA has no issue property, so that any authority may issue (RFC 8659, section 4.2)", where),
		)
	}
	if len(out) == 0 {
		who := "nobody"
		if len(may) > 0 {
			slices.Sort(may)
			who = strings.Join(slices.Compact(may), ", ")
		}
		out = append(out, passes("", "%s: %s may issue certificates", where, who))
	}
	return out
}

// meant says which tag was meant, if one is near.
func meant(name string) string {
	for _, known := range []string{"issuewild", "issuemail", "issue", "iodef"} {
		if near(name, known) {
			return ": is " + known + " meant?"
		}
	}
	return " (RFC 8659, section 4.1)"
}

// near reports whether two words differ by one octet that is missing, there too much, or another, or by two
// that changed places.
func near(a, b string) bool {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	a, b = a[i:], b[i:]
	switch {
	case len(a) == 0 || len(b) == 0:
		return len(a)+len(b) == 1
	case a[1:] == b[1:], a[1:] == b, a == b[1:]:
		return true
	}
	return len(a) > 1 && len(b) > 1 && a[0] == b[1] && a[1] == b[0] && a[2:] == b[2:]
}

// readIssue reads the value of issue and its like: the authority's domain, or "" for nobody (RFC 8659, section 4.2;
// RFC 8657).
func readIssue(value string) (ca string, err error) {
	const blank = " \t"
	ca, rest, _ := strings.Cut(value, ";")
	if ca = strings.Trim(ca, blank); ca != "" {
		for _, label := range strings.Split(ca, ".") {
			if !ldh(label) {
				return "", fmt.Errorf("%q is no domain", wire.Printable(ca))
			}
		}
	}
	rest = strings.Trim(rest, blank)
	if rest == "" {
		return strings.ToLower(ca), nil
	}
	parts := strings.Split(rest, ";")
	for i, part := range parts {
		part = strings.Trim(part, blank)
		if part == "" && i == len(parts)-1 {
			break // a semicolon at the end is not in the grammar, and does no harm
		}
		name, v, ok := strings.Cut(part, "=")
		name, v = strings.Trim(name, blank), strings.Trim(v, blank)
		if !ok || !ldh(name) || strings.ContainsFunc(v, func(r rune) bool { return r < 0x21 || r > 0x7E }) {
			return "", fmt.Errorf("%q is no parameter: expected tag=value", wire.Printable(part))
		}
		switch strings.ToLower(name) {
		case "accounturi":
			if u, err := url.Parse(v); err != nil || u.Scheme == "" {
				return "", fmt.Errorf("accounturi=%s is no URI (RFC 8657, section 3)", wire.Printable(v))
			}
		case "validationmethods":
			for _, m := range strings.Split(v, ",") {
				if v != "" && !ldh(m) {
					return "", fmt.Errorf("validationmethods=%s: %q is no label (RFC 8657, section 4)", wire.Printable(v), m)
				}
			}
		}
	}
	return strings.ToLower(ca), nil
}

// findCAA finds the CAA records that are for a name: its own, aliases followed, or those of the closest name above it
// that has some (RFC 8659, section 3).
func findCAA(ctx context.Context, t teller, name []byte) (at []byte, heard *lookup) {
	for at = name; len(at) > 1; at = wire.Parent(at) {
		if heard = t.tell(ctx, at, wire.TypeCAA); heard.is != noData && heard.is != noName {
			return at, heard
		}
	}
	return nil, heard
}

// judgeIssuers judges who may issue certificates for a domain.
func judgeIssuers(ctx context.Context, t teller, domain []byte) []remark {
	at, heard := findCAA(ctx, t, domain)
	switch {
	case at == nil:
		return []remark{warns("", 0, "any authority may issue certificates: neither %s nor a name above it has CAA", wire.NameText(domain))}
	case heard.is == unasked:
		return []remark{unknown("", heard.err)}
	case heard.is == broken && wire.EqualFold(at, domain):
		return []remark{unknown("", heard.err)}
	case heard.is == broken:
		return []remark{warns("", 0, "%s CAA cannot be looked up, so that authorities may refuse: %v", wire.NameText(at), heard.err)}
	}
	where := wire.NameText(at)
	if heard.aliases > 0 {
		where += " (an alias for " + wire.NameText(heard.final) + ")"
	}
	return judgeCAA(where, heard.data)
}
