package catalogue

import (
	"context"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"port53/internal/check"
	"port53/internal/finding"
	"port53/internal/wire"
)

// A tag is a name and its value in a record of tags (RFC 6376, section 3.2).
type tag struct{ name, value string }

// readTags reads a list of tags, with semicolons between them. An error is what makes the list invalid as a whole.
func readTags(text string) ([]tag, error) {
	var out []tag
	for _, part := range strings.Split(text, ";") {
		if strings.Trim(part, " \t\r\n") == "" {
			continue
		}
		name, value, ok := strings.Cut(part, "=")
		name = strings.Trim(name, " \t\r\n")
		if !ok || name == "" || strings.ContainsAny(name, " \t\"") {
			return nil, fmt.Errorf("%q is no tag: expected name=value", wire.Printable(strings.TrimSpace(part)))
		}
		if slices.ContainsFunc(out, func(t tag) bool { return t.name == name }) {
			return nil, fmt.Errorf("the tag %s= is there twice", wire.Printable(name))
		}
		out = append(out, tag{name, strings.Trim(value, " \t\r\n")})
	}
	return out, nil
}

func tagOf(list []tag, name string) (value string, ok bool) {
	for _, t := range list {
		if t.name == name {
			return t.value, true
		}
	}
	return "", false
}

// judgeMX judges the MX records of a zone (RFC 5321, section 5.1; RFC 7505).
func judgeMX(zone []byte, data [][]byte) []remark {
	const key = "MX"
	var out []remark
	null := false
	for _, d := range data {
		name := rdataName(d, 2)
		if name == nil {
			continue
		}
		text := wire.NameText(name)
		switch {
		case len(name) == 1:
			null = true
			if pref := binary.BigEndian.Uint16(d); pref != 0 {
				out = append(
					out,
					warns(key, finding.SevLow, "the null MX has preference %d, and should have 0 (RFC 7505, section 3)", pref),
				)
			}
		case addressLike(name):
			out = append(out, fails(key, 0, "MX %s is an address, and has to be a name (RFC 5321, section 5.1)", text))
		default:
			if what, sold := specialUse(name, zone); what != "" && !sold {
				out = append(out, fails(key, 0, "MX %s is no host on the Internet: the name is for %s", text, what))
			}
		}
	}
	switch {
	case null && len(data) > 1:
		out = append(
			out,
			fails(key, 0, "a null MX beside others: the domain says that it takes no mail, and who does (RFC 7505, section 3)"),
		)
	case len(out) > 0:
	case null:
		out = append(out, passes(key, "the domain takes no mail (null MX)"))
	case len(data) > 0:
		out = append(out, passes(key, "%d MX", len(data)))
	}
	return out
}

// A dmarcRecord is what a DMARC record comes to.
type dmarcRecord struct {
	domain            []byte // whose record it is
	policy            string // p
	subs, absent      string // sp and np; empty: not said
	psd               string
	testing           bool
	reports, failures []mailbox
	notes             []remark
}

// A mailbox is where reports go.
type mailbox struct {
	uri    string
	domain []byte // in wire form; nil: the URI names none
}

// isDMARC reports whether a text is a DMARC record: v=DMARC1 is its first tag, its value in this case (RFC 9989,
// section 4.8; RFC 7489, section 6.4).
func isDMARC(text string) bool {
	first, _, _ := strings.Cut(text, ";")
	name, value, ok := strings.Cut(first, "=")
	return ok && strings.EqualFold(strings.TrimSpace(name), "v") && strings.TrimSpace(value) == "DMARC1"
}

// readDMARC reads a record (RFC 9989, sections 4.7 and 4.10; RFC 7489, sections 6.3 and 6.6.3). An error is why it is
// as if it were not there.
func readDMARC(domain []byte, text string) (*dmarcRecord, error) {
	list, err := readTags(text)
	if err != nil {
		return nil, err
	}
	r := &dmarcRecord{domain: domain}
	note := func(format string, args ...any) {
		r.notes = append(r.notes, warns("DMARC", finding.SevLow, format, args...))
	}
	policies := []string{"none", "quarantine", "reject"}
	valid := true
	for i, t := range list {
		value := strings.ToLower(t.value)
		switch t.name = strings.ToLower(t.name); t.name {
		case "v":
		case "p":
			if i != 1 {
				note("DMARC: p= is to follow v= (RFC 7489, section 6.4)")
			}
			if r.policy = value; !slices.Contains(policies, value) {
				valid, r.policy = false, ""
				note("DMARC: p=%s is none of none, quarantine and reject", wire.Printable(t.value))
			}
		case "sp", "np":
			if !slices.Contains(policies, value) {
				valid = false
				note("DMARC: %s=%s is none of none, quarantine and reject", t.name, wire.Printable(t.value))
				continue
			}
			if t.name == "sp" {
				r.subs = value
			} else {
				r.absent = value
			}
		case "psd":
			if r.psd = value; !slices.Contains([]string{"y", "n", "u"}, value) {
				note("DMARC: psd=%s is none of y, n and u (RFC 9989, section 4.7)", wire.Printable(t.value))
			}
		case "t":
			r.testing = value == "y"
		case "adkim", "aspf":
			if value != "r" && value != "s" {
				note("DMARC: %s=%s is neither r nor s", t.name, wire.Printable(t.value))
			}
		case "rua", "ruf":
			boxes := readMailboxes(t.value, note)
			if t.name == "rua" {
				r.reports = boxes
			} else {
				r.failures = boxes
			}
		case "fo", "ri", "rf":
		case "pct":
			if value != "100" {
				note("DMARC: pct=%s: RFC 9989 has no pct any more, and receivers judge all mail or none", wire.Printable(t.value))
			}
		default:
			note("DMARC: the tag %s= is not known, and ignored (RFC 9989, section 4.7)", wire.Printable(t.name))
		}
	}
	if r.policy == "" || !valid {
		// RFC 7489, section 6.6.3; RFC 9989, section 4.10.1.
		if len(r.reports) == 0 {
			return nil, errors.New(
				"it has no valid p=, and nowhere to report to: it is ignored (RFC 9989, section 4.7; RFC 7489, section 6.6.3)",
			)
		}
		r.policy, r.subs, r.absent = "none", "", ""
		note("DMARC: without a valid policy it is taken for p=none (RFC 7489, section 6.6.3)")
	}
	return r, nil
}

// readMailboxes reads a list of URIs (RFC 7489, section 6.3; RFC 9990, section 3).
func readMailboxes(text string, note func(string, ...any)) []mailbox {
	var out []mailbox
	for _, one := range strings.Split(text, ",") {
		one = strings.TrimSpace(one)
		bare := one
		if at := strings.LastIndexByte(one, '!'); at > 0 { // a size: RFC 9990 has none any more
			bare = one[:at]
		}
		box, err := readMailbox(bare)
		if err != nil {
			note("DMARC: %q %v", wire.Printable(one), err)
			continue
		}
		out = append(out, box)
	}
	return out
}

func readMailbox(uri string) (mailbox, error) {
	box := mailbox{uri: uri}
	u, err := url.Parse(uri)
	if err != nil || u.Scheme == "" {
		return box, errors.New("is no URI: expected mailto:USER@DOMAIN")
	}
	switch strings.ToLower(u.Scheme) {
	case "mailto":
		address, err := url.PathUnescape(u.Opaque)
		at := strings.LastIndexByte(address, '@')
		if err != nil || at < 1 || at == len(address)-1 {
			return box, errors.New("is no address of mail")
		}
		name, err := wire.ParseName(address[at+1:])
		if err != nil {
			return box, fmt.Errorf("has no domain: %w", err)
		}
		box.domain = wire.Lower(nil, name)
	case "https", "http":
		if name, err := wire.ParseName(u.Hostname()); err == nil && u.Hostname() != "" && !addressLike(name) {
			box.domain = wire.Lower(nil, name)
		}
	default:
		return box, fmt.Errorf("has the scheme %q: expected mailto", u.Scheme)
	}
	return box, nil
}

// dmarcAt returns the DMARC record at a name, by which several are as good as none (RFC 9989, section 4.10.1). A
// record that is ignored is nil with a remark why.
func dmarcAt(ctx context.Context, t teller, domain []byte) (*dmarcRecord, []remark, error) {
	const key = "DMARC"
	at := check.Below("_dmarc", domain)
	heard := t.tell(ctx, at, wire.TypeTXT)
	if heard.is == broken || heard.is == unasked {
		return nil, nil, fmt.Errorf("%s TXT %s", wire.NameText(at), heard.why(wire.TypeTXT))
	}
	var records []string
	for _, s := range heard.texts() {
		if isDMARC(s) {
			records = append(records, s)
		}
	}
	switch {
	case len(records) > 1:
		return nil, []remark{
			fails(
				key,
				0,
				"no DMARC: %s has %d DMARC records, and only a single one counts (RFC 9989, section 4.10.1; RFC 7489, section 6.6.3)",
				wire.NameText(at),
				len(records),
			),
		}, nil
	case len(records) == 1:
		r, err := readDMARC(domain, records[0])
		if err != nil {
			return nil, []remark{
				fails(key, 0, "no DMARC: %s has %q: %v", wire.NameText(at), wire.Printable(records[0][:min(len(records[0]), 80)]), err),
			}, nil
		}
		return r, nil, nil
	}
	for _, s := range heard.texts() {
		if strings.HasPrefix(strings.ToLower(strings.TrimLeft(s, " \"'")), "v=dmarc") || strings.HasPrefix(strings.ToLower(s), "dmarc1") {
			return nil, []remark{
				fails(
					key,
					0,
					"no DMARC: %q at %s is no DMARC record, which begins with v=DMARC1 (RFC 9989, section 4.8)",
					wire.Printable(s[:min(len(s), 60)]),
					wire.NameText(at),
				),
			}, nil
		}
	}
	return nil, nil, nil
}

// dmarcWalk is how many names the tree walk asks at most (RFC 9989, section 4.10).
const dmarcWalk = 8

// findDMARC finds the record that is for a domain: its own, or that of its organizational domain, by the tree walk
// (RFC 9989, section 4.10). above is that it is another domain's.
func findDMARC(ctx context.Context, t teller, domain []byte) (r *dmarcRecord, above bool, said []remark, err error) {
	if r, said, err = dmarcAt(ctx, t, domain); r != nil || err != nil {
		return r, false, said, err
	}
	at := domain
	if n := wire.LabelCount(at); n >= dmarcWalk {
		at = lastLabels(at, dmarcWalk)
	}
	var found []*dmarcRecord
	for n := 1; n < dmarcWalk && wire.LabelCount(at) > 1; n++ {
		at = wire.Parent(at)
		up, _, err := dmarcAt(ctx, t, at)
		if err != nil {
			return nil, false, said, err
		}
		if up != nil {
			if found = append(found, up); up.psd == "n" || up.psd == "y" {
				break
			}
		}
	}
	if len(found) == 0 {
		return nil, false, said, nil
	}
	// The organizational domain is that with psd=n, the one below psd=y, or else the shortest with a record.
	r = found[len(found)-1]
	if r.psd == "y" && len(found) > 1 {
		below := found[len(found)-2]
		if wire.LabelCount(below.domain) == wire.LabelCount(r.domain)+1 {
			r = below
		}
	}
	return r, true, said, nil
}

// judgeDMARC judges the DMARC record that is for a domain, and whether those who are to get its reports want
// them (RFC 9989; RFC 9990, section 4; RFC 7489, sections 6 and 7.1).
func judgeDMARC(ctx context.Context, t teller, domain []byte) []remark {
	const key = "DMARC"
	r, above, out, err := findDMARC(ctx, t, domain)
	if err != nil {
		return append(out, unknown(key, err))
	}
	if r == nil {
		if len(out) == 0 {
			out = append(out, warns(key, 0, "no DMARC"))
		}
		return out
	}
	policy, by := r.policy, ""
	if above {
		by = " (by " + wire.NameText(r.domain) + ")"
		if r.subs != "" {
			policy = r.subs
		}
	} else {
		out = append(out, r.notes...)
		out = append(out, r.authorized(ctx, t)...)
	}
	switch {
	case policy == "none":
		out = append(out, warns(key, 0, "DMARC only watches: the policy is none%s", by))
	case !above && r.subs == "none":
		out = append(out, warns(key, 0, "DMARC only watches mail of names below: sp=none"))
	case r.absent == "none" && policy != "none":
		out = append(out, warns(key, 0, "DMARC only watches mail of names that do not exist: np=none%s", by))
	case r.testing:
		out = append(out, warns(key, finding.SevLow, "DMARC is being tested: t=y%s", by))
	}
	if !slices.ContainsFunc(out, func(v remark) bool { return v.state != finding.Pass }) {
		out = append(out, passes(key, "DMARC: %s%s", policy, by))
	}
	return out
}

// authorized asks whether those whom reports are sent to, and who are of another organization, take them (RFC 9990,
// section 4; RFC 7489, section 7.1).
func (r *dmarcRecord) authorized(ctx context.Context, t teller) []remark {
	const key = "DMARC"
	var out []remark
	var done [][]byte
	own := organization(r.domain)
	for _, box := range slices.Concat(r.reports, r.failures) {
		if box.domain == nil || wire.EqualFold(own, organization(box.domain)) ||
			slices.ContainsFunc(done, func(d []byte) bool { return wire.EqualFold(d, box.domain) }) {
			continue
		}
		done = append(done, box.domain)
		prefix := append(slices.Clone(r.domain[:len(r.domain)-1]), "\x07_report\x06_dmarc"...)
		at := append(prefix, box.domain...)
		if len(at) > wire.MaxName {
			continue
		}
		heard := t.tell(ctx, at, wire.TypeTXT)
		switch {
		case heard.is == unasked:
		case heard.is == broken:
			out = append(
				out,
				warns(key, finding.SevLow, "DMARC: whether %s takes reports cannot be looked up: %v", wire.NameText(box.domain), heard.err),
			)
		case !slices.ContainsFunc(heard.texts(), isDMARC):
			out = append(
				out,
				warns(
					key,
					finding.SevLow,
					"DMARC: no reports are sent to %s, which does not say that it takes them: %s TXT \"v=DMARC1\" is "+
						"missing (RFC 9990, section 4; RFC 7489, section 7.1)",
					box.uri,
					wire.NameText(at),
				),
			)
		}
	}
	return out
}

// organization returns the domain of the organization that has a name, as the public suffix list has it.
func organization(name []byte) []byte {
	if d, _ := registrable(name); d != nil {
		return d
	}
	return name
}

// dkimSelectors are the names under which keys are commonly kept.
func dkimSelectors() []string {
	return []string{"default", "dkim", "google", "k1", "k2", "key1", "mail", "s1", "s2", "selector1", "selector2", "smtp"}
}

// judgeDKIM judges what a selector has (RFC 6376, section 3.6.1; RFC 8301; RFC 8463). named is that somebody said that
// there is a key.
func judgeDKIM(selector string, heard *lookup, named bool) []remark {
	key := "DKIM " + selector
	switch heard.is {
	case broken, unasked:
		if !named {
			return nil
		}
		return []remark{unknown(key, fmt.Errorf("DKIM %s %s", selector, heard.why(wire.TypeTXT)))}
	case noName, noData:
		if !named {
			return nil
		}
		return []remark{fails(key, 0, "no DKIM key is at the selector %s", selector)}
	case isThere:
	}
	var records []string
	for _, s := range heard.texts() {
		if list, err := readTags(s); err == nil {
			if _, ok := tagOf(list, "p"); ok {
				records = append(records, s)
				continue
			}
		}
		if named || strings.HasPrefix(strings.ToLower(s), "v=dkim") {
			records = append(records, s)
		}
	}
	switch {
	case len(records) == 0:
		return nil
	case len(records) > 1:
		return []remark{
			fails(key, 0, "DKIM %s: %d records, of which verifiers may take any (RFC 6376, section 3.6.2.2)", selector, len(records)),
		}
	}
	return judgeDKIMKey(key, selector, records[0])
}

func judgeDKIMKey(key, selector, text string) []remark {
	bad := func(format string, args ...any) []remark {
		return []remark{fails(key, 0, "DKIM %s: %s", selector, fmt.Sprintf(format, args...))}
	}
	list, err := readTags(text)
	if err != nil {
		return bad("%v (RFC 6376, section 3.2)", err)
	}
	if v, ok := tagOf(list, "v"); ok && (v != "DKIM1" || list[0].name != "v") {
		return bad("v= has to be DKIM1, and the first tag (RFC 6376, section 3.6.1)")
	}
	p, ok := tagOf(list, "p")
	if !ok {
		return bad("there is no p= (RFC 6376, section 3.6.1)")
	}
	p = strings.NewReplacer(" ", "", "\t", "", "\r", "", "\n", "").Replace(p)
	if p == "" {
		return []remark{passes(key, "DKIM %s: the key is revoked", selector)}
	}
	raw, err := base64.StdEncoding.DecodeString(p)
	if err != nil {
		return bad("p= is no base64")
	}
	kind, _ := tagOf(list, "k")
	if kind == "" {
		kind = "rsa"
	}
	var out []remark
	size := ""
	switch kind {
	case "rsa":
		bits, err := dkimBits(raw)
		switch {
		case err != nil:
			return bad("p= is no RSA key: %v", err)
		case bits < 1024:
			return bad("an RSA key of %d bits, which verifiers do not take (RFC 8301, section 3.2)", bits)
		case bits < 2048:
			out = append(
				out,
				warns(key, finding.SevLow, "DKIM %s: an RSA key of %d bits; 2048 are recommended (RFC 8301, section 3.2)", selector, bits),
			)
		}
		size = fmt.Sprintf("RSA, %d bits", bits)
	case "ed25519":
		if len(raw) != ed25519.PublicKeySize {
			return bad("an Ed25519 key of %d octets, where it has %d (RFC 8463, section 4)", len(raw), ed25519.PublicKeySize)
		}
		size = "Ed25519"
	default:
		return bad("k=%s is neither rsa nor ed25519", wire.Printable(kind))
	}
	if h, ok := tagOf(
		list,
		"h",
	); ok &&
		!slices.ContainsFunc(strings.Split(h, ":"), func(s string) bool { return strings.TrimSpace(s) == "sha256" }) {
		return bad("h=%s does not allow sha256 (RFC 8301, section 3.1)", wire.Printable(h))
	}
	if flags, _ := tagOf(
		list,
		"t",
	); slices.ContainsFunc(
		strings.Split(flags, ":"),
		func(s string) bool { return strings.TrimSpace(s) == "y" },
	) {
		out = append(out, warns(key, finding.SevLow, "DKIM %s: t=y, so that verifiers treat mail as if it were not signed", selector))
	}
	if len(out) == 0 {
		out = append(out, passes(key, "DKIM %s: %s", selector, size))
	}
	return out
}

// dkimBits returns the size of an RSA key, as SubjectPublicKeyInfo or bare (RFC 6376, erratum 3017).
func dkimBits(raw []byte) (int, error) {
	if k, err := x509.ParsePKIXPublicKey(raw); err == nil {
		if r, ok := k.(*rsa.PublicKey); ok {
			return r.N.BitLen(), nil
		}
		return 0, errors.New("it is another kind of key")
	}
	k, err := x509.ParsePKCS1PublicKey(raw)
	if err != nil {
		return 0, errors.New("it cannot be read")
	}
	return k.N.BitLen(), nil
}

// versioned returns the only record of those that begin with a version, in this case.
func versioned(texts []string, version string) (text string, n int) {
	for _, s := range texts {
		if rest, ok := strings.CutPrefix(s, version); ok && (rest == "" || strings.ContainsRune("; \t", rune(rest[0]))) {
			text, n = s, n+1
		}
	}
	return text, n
}

// begins reports whether a text begins in a way, in any case.
func begins(texts []string, with string) bool {
	return slices.ContainsFunc(texts, func(s string) bool { return strings.HasPrefix(strings.ToLower(strings.TrimLeft(s, " \"'")), with) })
}

// judgeSTS judges the record that says that the domain has a policy of MTA-STS, and the host that has it (RFC 8461,
// section 3). The policy itself is fetched by nobody here.
func judgeSTS(ctx context.Context, t teller, domain []byte) []remark {
	const key = "MTA-STS"
	at := check.Below("_mta-sts", domain)
	heard := t.tell(ctx, at, wire.TypeTXT)
	if heard.is == broken {
		return []remark{warns(key, finding.SevLow, "MTA-STS: %s TXT %s", wire.NameText(at), heard.why(wire.TypeTXT))}
	}
	text, n := versioned(heard.texts(), "v=STSv1")
	switch {
	case heard.is != isThere, n == 0 && !begins(heard.texts(), "v=sts"):
		return nil // other texts, as of a wildcard, are passed over
	case n == 0:
		return []remark{
			fails(key, finding.SevLow, "MTA-STS: %s has no record that begins with v=STSv1; (RFC 8461, section 3.1)", wire.NameText(at)),
		}
	case n > 1:
		return []remark{fails(key, finding.SevLow, "MTA-STS: %d records, which are as good as none (RFC 8461, section 3.1)", n)}
	}
	list, err := readTags(text)
	if err != nil {
		return []remark{fails(key, finding.SevLow, "MTA-STS: %v (RFC 8461, section 3.1)", err)}
	}
	id, _ := tagOf(list, "id")
	if id == "" || len(id) > 32 ||
		strings.ContainsFunc(id, func(r rune) bool { return r > 127 || byte(r)|0x20-'a' >= 26 && byte(r)-'0' >= 10 }) {
		return []remark{
			fails(key, finding.SevLow, "MTA-STS: id=%s is not 1 to 32 letters and digits (RFC 8461, section 3.1)", wire.Printable(id)),
		}
	}
	host := check.Below("mta-sts", domain)
	a := t.tell(ctx, host, wire.TypeA)
	if a.is == noData {
		a = t.tell(ctx, host, wire.TypeAAAA)
	}
	if a.is == noData || a.is == noName || a.is == broken {
		return []remark{
			fails(key, finding.SevLow, "MTA-STS: the policy's host %s %s (RFC 8461, section 3.3)", wire.NameText(host), a.why(wire.TypeA)),
		}
	}
	return []remark{passes(key, "MTA-STS: id %s", wire.Printable(id))}
}

// judgeTLSRPT judges the record that says where reports on TLS go (RFC 8460, section 3).
func judgeTLSRPT(ctx context.Context, t teller, domain []byte) []remark {
	const key = "TLS-RPT"
	at := check.Below("_smtp", check.Below("_tls", domain))
	heard := t.tell(ctx, at, wire.TypeTXT)
	text, n := versioned(heard.texts(), "v=TLSRPTv1")
	switch {
	case heard.is != isThere, n == 0 && !begins(heard.texts(), "v=tlsrpt"):
		return nil // other texts, as of a wildcard, are passed over
	case n != 1:
		return []remark{
			fails(
				key,
				finding.SevLow,
				"TLS-RPT: %s has %d records that begin with v=TLSRPTv1; and a single one counts (RFC 8460, section 3)",
				wire.NameText(at),
				n,
			),
		}
	}
	list, err := readTags(text)
	if err != nil {
		return []remark{fails(key, finding.SevLow, "TLS-RPT: %v (RFC 8460, section 3)", err)}
	}
	rua, ok := tagOf(list, "rua")
	if !ok || rua == "" {
		return []remark{fails(key, finding.SevLow, "TLS-RPT: there is no rua= (RFC 8460, section 3)")}
	}
	for _, uri := range strings.Split(rua, ",") {
		uri = strings.TrimSpace(uri)
		if _, err := readMailbox(uri); err != nil || strings.HasPrefix(strings.ToLower(uri), "http:") {
			return []remark{
				fails(key, finding.SevLow, "TLS-RPT: %q is neither mailto: nor https: (RFC 8460, section 3)", wire.Printable(uri)),
			}
		}
	}
	return []remark{passes(key, "TLS-RPT: %s", wire.Printable(rua))}
}

// judgeBIMI judges the record that says where the domain's mark is (draft-brand-indicators-for-message-identification).
func judgeBIMI(ctx context.Context, t teller, domain []byte) []remark {
	const key = "BIMI"
	heard := t.tell(ctx, check.Below("default", check.Below("_bimi", domain)), wire.TypeTXT)
	text, n := versioned(heard.texts(), "v=BIMI1")
	switch {
	case heard.is != isThere || n == 0:
		return nil
	case n > 1:
		return []remark{fails(key, finding.SevLow, "BIMI: %d records, which are as good as none", n)}
	}
	list, err := readTags(text)
	if err != nil {
		return []remark{fails(key, finding.SevLow, "BIMI: %v", err)}
	}
	for _, name := range []string{"l", "a"} {
		if v, _ := tagOf(list, name); v != "" && !strings.HasPrefix(strings.ToLower(v), "https://") {
			return []remark{fails(key, finding.SevLow, "BIMI: %s=%s is no https: URI", name, wire.Printable(v))}
		}
	}
	if _, ok := tagOf(list, "l"); !ok {
		return []remark{fails(key, finding.SevLow, "BIMI: there is no l=")}
	}
	if r, above, _, err := findDMARC(ctx, t, domain); err == nil && (r == nil || r.policy == "none" || above && r.subs == "none") {
		return []remark{warns(key, finding.SevLow, "BIMI: nobody shows the mark of a domain whose DMARC policy is not enforced")}
	}
	return []remark{passes(key, "BIMI: a mark is published")}
}
