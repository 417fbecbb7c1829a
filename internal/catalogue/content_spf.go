package catalogue

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"port53/internal/finding"
	"port53/internal/wire"
)

// The limits of SPF (RFC 7208, section 4.6.4), and where counting ends.
const (
	spfLookups = 10
	spfVoid    = 2
	spfHosts   = 10 // address lookups for one mx term
	spfMost    = 40 // lookups after which nobody wants to know how many more there are
)

// An spfTerm is a mechanism or a modifier of an SPF record.
type spfTerm struct {
	text      string
	qualifier byte   // of a mechanism: one of + - ~ ?
	name      string // in lower case
	domain    string // with macros; empty: the domain of the record
	network   netip.Prefix
	four, six int // prefix lengths of a and mx
}

// An spfRecord is a record that was read.
type spfRecord struct {
	terms    []spfTerm // mechanisms, in their order
	redirect *spfTerm
}

// all returns the mechanism that ends the evaluation, or nil.
func (r *spfRecord) all() *spfTerm {
	for i := range r.terms {
		if r.terms[i].name == "all" {
			return &r.terms[i]
		}
	}
	return nil
}

// isSPF reports whether a text is an SPF record: its version section is "v=spf1", in any case, and ends with
// a space or the record (RFC 7208, section 4.5).
func isSPF(text string) bool {
	const version = "v=spf1"
	return len(text) >= len(version) && strings.EqualFold(text[:len(version)], version) &&
		(len(text) == len(version) || text[len(version)] == ' ')
}

// nearSPF reports whether a text was meant to be an SPF record.
func nearSPF(text string) bool {
	text = strings.ToLower(strings.TrimLeft(text, " \"'"))
	return strings.HasPrefix(text, "v=spf") || strings.HasPrefix(text, "spf1 ") || strings.HasPrefix(text, "v= spf1")
}

// readSPF reads a record (RFC 7208, section 4.6.1). Any error in it is a permerror.
func readSPF(text string) (*spfRecord, error) {
	r := new(spfRecord)
	names := map[string]bool{}
	for _, c := range []byte(text) {
		if c < 0x20 || c > 0x7E {
			return nil, errors.New("it has octets that are no printable ASCII")
		}
	}
	for _, word := range strings.Split(text, " ")[1:] {
		if word == "" {
			continue
		}
		if name, value, ok := modifier(word); ok {
			known := name == "redirect" || name == "exp"
			if known && names[name] {
				return nil, fmt.Errorf("%s= is there twice (section 6)", name)
			}
			names[name] = true
			if err := macroString(value, known); err != nil {
				return nil, fmt.Errorf("%s: %w", word, err)
			}
			if name == "redirect" {
				r.redirect = &spfTerm{text: word, name: name, domain: value}
			}
			continue
		}
		t, err := readMechanism(word)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", word, err)
		}
		r.terms = append(r.terms, *t)
	}
	return r, nil
}

// modifier splits a term that is one: a name and = before any : or /.
func modifier(word string) (name, value string, ok bool) {
	at := strings.IndexAny(word, "=:/")
	if at < 1 || word[at] != '=' {
		return "", "", false
	}
	name = strings.ToLower(word[:at])
	for i, c := range []byte(name) {
		letter := c-'a' < 26
		if !letter && (i == 0 || c-'0' > 9 && !strings.ContainsRune("-_.", rune(c))) {
			return "", "", false
		}
	}
	return name, word[at+1:], true
}

// readMechanism reads a term that is no modifier (RFC 7208, section 5).
func readMechanism(word string) (*spfTerm, error) {
	t := &spfTerm{text: word, qualifier: '+', four: 32, six: 128}
	if strings.IndexByte("+-~?", word[0]) >= 0 {
		t.qualifier, word = word[0], word[1:]
	}
	at := strings.IndexAny(word, ":/")
	rest := ""
	if at >= 0 {
		word, rest = word[:at], word[at:]
	}
	t.name = strings.ToLower(word)
	value, given := strings.CutPrefix(rest, ":")
	switch t.name {
	case "all":
		if rest != "" {
			return nil, errors.New("nothing may follow all (section 5.1)")
		}
	case "include", "exists":
		if !given {
			return nil, fmt.Errorf("%s: expected : and a domain", t.name)
		}
		t.domain = value
		return t, macroString(value, true)
	case "ptr":
		if given {
			t.domain = value
			return t, macroString(value, true)
		}
		if rest != "" {
			return nil, errors.New("expected : and a domain, or nothing")
		}
	case "a", "mx":
		return t, t.lengths(value, rest, given)
	case "ip4", "ip6":
		if !given {
			return nil, errors.New("expected : and a network")
		}
		return t, t.net(value)
	default:
		return nil, fmt.Errorf("there is no mechanism %q (section 4.6.1)", t.name)
	}
	return t, nil
}

// lengths reads the domain and the prefix lengths of a and mx (RFC 7208, section 5.6).
func (t *spfTerm) lengths(value, rest string, given bool) error {
	if !given {
		value = rest
	}
	domain, six, both := strings.Cut(value, "//")
	if both {
		n, err := prefixLength(six, 128)
		if err != nil {
			return err
		}
		t.six = n
	}
	// A / within a macro is a delimiter, and ends with it.
	if at := strings.LastIndexByte(domain, '/'); at > strings.LastIndexByte(domain, '}') {
		n, err := prefixLength(domain[at+1:], 32)
		if err != nil {
			return err
		}
		t.four, domain = n, domain[:at]
	}
	t.domain = domain
	if !given && domain == "" {
		return nil
	}
	return macroString(domain, true)
}

// net reads the network of ip4 and ip6 (RFC 7208, section 5.6).
func (t *spfTerm) net(value string) error {
	host, bits, cut := strings.Cut(value, "/")
	a, err := netip.ParseAddr(host)
	most := 32
	if t.name == "ip6" {
		most = 128
	}
	if err != nil || a.Zone() != "" || a.Is4() != (most == 32) {
		return fmt.Errorf("%q is no address of its family", host)
	}
	n := most
	if cut {
		if n, err = prefixLength(bits, most); err != nil {
			return err
		}
	}
	t.network = netip.PrefixFrom(a, n)
	return nil
}

func prefixLength(text string, most int) (int, error) {
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil || int(n) > most || len(text) > 1 && text[0] == '0' {
		return 0, fmt.Errorf("%q is no prefix length of 0 to %d", text, most)
	}
	return int(n), nil
}

// macroString checks the syntax of a macro-string, or of a domain-spec, which ends with a top label or a
// macro (RFC 7208, section 7.1).
func macroString(text string, domain bool) error {
	end := 0 // of the last macro
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			continue
		}
		if i+1 < len(text) && strings.IndexByte("%_-", text[i+1]) >= 0 {
			i++
			continue
		}
		n := strings.IndexByte(text[i:], '}')
		if n < 0 || text[i+1] != '{' || !macro(text[i+2:i+n]) {
			return fmt.Errorf("a macro is malformed (section 7.1): %q", text[i:])
		}
		i += n
		end = i + 1
	}
	if !domain || text != "" && end == len(text) {
		return nil
	}
	if text == "" {
		return errors.New("a domain is missing")
	}
	text = strings.TrimSuffix(text, ".")
	at := strings.LastIndexByte(text, '.')
	last := text[at+1:]
	if at < end-1 || at < 0 || last == "" || !ldh(last) || strings.Trim(last, "0123456789") == "" {
		return fmt.Errorf("%q is no domain: expected a name of two labels or more, its last one not a number (section 7.1)", text)
	}
	return nil
}

// macro reports whether the inside of a macro is well formed.
func macro(s string) bool {
	if s == "" || !strings.ContainsRune("slodiphv", rune(s[0]|0x20)) {
		return false
	}
	s = s[1:]
	digits := strings.TrimLeft(s, "0123456789")
	if number := s[:len(s)-len(digits)]; number != "" && strings.Trim(number, "0") == "" {
		return false
	}
	s = strings.TrimPrefix(strings.TrimPrefix(digits, "r"), "R")
	return strings.Trim(s, ".-+,/_=") == ""
}

// ldh reports whether a text is a label of letters, digits and hyphens, with no hyphen at its ends.
func ldh(s string) bool {
	for _, c := range []byte(s) {
		if c|0x20-'a' >= 26 && c-'0' >= 10 && c != '-' {
			return false
		}
	}
	return s != "" && len(s) <= wire.MaxLabel && s[0] != '-' && s[len(s)-1] != '-'
}

// target returns the domain that a term is about, evaluated for a domain. ok is false if it depends on
// the message.
func (t *spfTerm) target(domain []byte) (name []byte, ok bool, err error) {
	if t.domain == "" {
		return domain, true, nil
	}
	text := strings.TrimSuffix(wire.NameText(domain), ".")
	spec := strings.NewReplacer("%{d}", text, "%{D}", text, "%%", "%", "%_", " ", "%-", "%20").Replace(t.domain)
	if strings.Contains(spec, "%{") {
		return nil, false, nil
	}
	name, err = wire.ParseName(spec)
	return wire.Lower(nil, name), true, err
}

// An spfLead is a domain that a term leads to.
type spfLead struct {
	term string
	name []byte
	t    wire.Type // that is asked for
}

// An spfEvaluation is what evaluating a record comes to for a message that no mechanism matches.
type spfEvaluation struct {
	teller  teller
	lookups int
	void    []string
	leads   []spfLead
	faults  []string // why it is a permerror
	trouble []error  // why it could be a temperror
	unasked error
	open    string // the term that lets everyone send
	wide    []string
	ptr     bool
	seen    map[string]int // domains under way
}

// evaluate goes through the record of a domain, as far as it depends on no message. result is "none", "permerror"
// or "".
func (e *spfEvaluation) evaluate(ctx context.Context, domain []byte) (result, text string) {
	heard := e.teller.tell(ctx, domain, wire.TypeTXT)
	switch heard.is {
	case broken:
		e.trouble = append(e.trouble, fmt.Errorf("%s %s", wire.NameText(domain), heard.why(wire.TypeTXT)))
		return "", ""
	case unasked:
		e.unasked = heard.err
		return "", ""
	case isThere, noData, noName:
	}
	var records []string
	for _, s := range heard.texts() {
		if isSPF(s) {
			records = append(records, s)
		}
	}
	switch {
	case len(records) == 0:
		return "none", ""
	case len(records) > 1:
		e.fault("%s has %d SPF records, where there may be one (section 4.5)", wire.NameText(domain), len(records))
		return "permerror", records[0]
	}
	r, err := readSPF(records[0])
	if err != nil {
		e.fault("the SPF record of %s: %v", wire.NameText(domain), err)
		return "permerror", records[0]
	}
	e.prefetch(ctx, r, domain)
	for i := range r.terms {
		t := &r.terms[i]
		if t.name == "all" {
			break
		}
		e.term(ctx, t, domain)
	}
	switch all := r.all(); {
	case all != nil && all.qualifier == '+':
		e.lets(all)
	case all == nil && r.redirect != nil:
		e.term(ctx, r.redirect, domain)
	}
	return "", records[0]
}

func (e *spfEvaluation) fault(format string, args ...any) {
	if f := fmt.Sprintf(format, args...); !slices.Contains(e.faults, f) {
		e.faults = append(e.faults, f)
	}
}

// lets notes a term by which everyone may send.
func (e *spfEvaluation) lets(t *spfTerm) {
	if e.open == "" {
		e.open = t.text
	}
}

// prefetch asks for what the terms need at the same time; the teller remembers it.
func (e *spfEvaluation) prefetch(ctx context.Context, r *spfRecord, domain []byte) {
	list := r.terms
	if r.redirect != nil && r.all() == nil {
		list = append(slices.Clone(list), *r.redirect)
	}
	var wg sync.WaitGroup
	for i := range list {
		t := &list[i]
		if t.name == "all" || i >= spfMost {
			break
		}
		what := map[string]wire.Type{
			"include": wire.TypeTXT, "redirect": wire.TypeTXT, "a": wire.TypeA, "mx": wire.TypeMX,
			"exists": wire.TypeA,
		}[t.name]
		if name, ok, err := t.target(domain); ok && err == nil && what != 0 {
			wg.Go(func() { e.teller.tell(ctx, name, what) })
		}
	}
	wg.Wait()
}

// term goes through one term (RFC 7208, sections 5 and 6.1).
func (e *spfEvaluation) term(ctx context.Context, t *spfTerm, domain []byte) {
	pass := t.qualifier == '+'
	switch t.name {
	case "ip4", "ip6":
		switch {
		case pass && t.network.Bits() == 0:
			e.lets(t)
		case pass && t.network.Bits() < 8+8*btoi(t.name == "ip6"):
			e.wide = append(e.wide, t.text)
		}
		return
	case "ptr":
		e.ptr = true
		e.lookups++
		return
	}
	if e.lookups++; e.lookups > spfMost {
		return
	}
	name, ok, err := t.target(domain)
	if !ok {
		return
	}
	if err != nil || len(name) == 1 {
		e.fault("%s: its domain is malformed (section 4.3)", t.text)
		return
	}
	if pass && (t.name == "a" || t.name == "mx") && (t.four == 0 || t.six == 0) {
		e.lets(t)
	}
	switch t.name {
	case "include", "redirect":
		e.lead(t, name, wire.TypeTXT)
		if e.seen[string(name)] > 0 {
			e.fault("%s leads back to itself", t.text)
			return
		}
		e.seen[string(name)]++
		before := e.open
		result, _ := e.evaluate(ctx, name)
		if e.seen[string(name)]--; result == "none" {
			heard := e.teller.tell(ctx, name, wire.TypeTXT)
			why := "has no SPF record"
			if heard.is == noName {
				why = "does not exist"
			}
			section := "5.2"
			if t.name == "redirect" {
				section = "6.1"
			}
			e.fault("%s: %s %s (section %s)", t.text, wire.NameText(name), why, section)
		}
		if t.name == "include" && !pass {
			e.open = before // what it lets in is not let in here
		}
	case "a", "exists":
		e.lead(t, name, wire.TypeA)
		e.look(ctx, t, name, wire.TypeA)
	case "mx":
		e.lead(t, name, wire.TypeMX)
		if n := len(e.look(ctx, t, name, wire.TypeMX)); n > spfHosts {
			e.fault("%s: %d MX records, where %d may be looked up (section 4.6.4)", t.text, n, spfHosts)
		}
	}
}

func (e *spfEvaluation) lead(t *spfTerm, name []byte, what wire.Type) {
	e.leads = append(e.leads, spfLead{t.text, name, what})
}

// look asks for what a term needs, and counts what is not there (RFC 7208, section 4.6.4).
func (e *spfEvaluation) look(ctx context.Context, t *spfTerm, name []byte, what wire.Type) [][]byte {
	heard := e.teller.tell(ctx, name, what)
	if heard.is == noData && t.name == "a" {
		heard = e.teller.tell(ctx, name, wire.TypeAAAA)
	}
	switch heard.is {
	case noData, noName:
		e.void = append(e.void, t.text)
	case broken:
		e.trouble = append(e.trouble, fmt.Errorf("%s: %s %s", t.text, wire.NameText(name), heard.why(what)))
	case unasked:
		e.unasked = heard.err
	case isThere:
	}
	return heard.data
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// evaluateSPF evaluates the SPF record of a domain.
func evaluateSPF(ctx context.Context, t teller, domain []byte) (e *spfEvaluation, result, text string) {
	e = &spfEvaluation{teller: t, seen: map[string]int{string(wire.Lower(nil, domain)): 1}}
	result, text = e.evaluate(ctx, wire.Lower(nil, domain))
	return e, result, text
}

// judgeSPF judges the SPF record of a domain with all that it includes (RFC 7208).
// In one piece: it is one walk, and each remark is made where it is come upon.
func judgeSPF(ctx context.Context, t teller, domain []byte) []remark {
	const key = "SPF"
	e, result, text := evaluateSPF(ctx, t, domain)
	if result == "none" {
		for _, s := range t.tell(ctx, domain, wire.TypeTXT).texts() {
			if nearSPF(s) {
				return []remark{
					fails(
						key,
						0,
						"no SPF: %q is no SPF record, which begins with \"v=spf1\" and a space (RFC 7208, section 4.5; "+
							"strings of one record are joined without spaces)",
						wire.Printable(s[:min(len(s), 60)]),
					),
				}
			}
		}
		return []remark{warns(key, 0, "no SPF")}
	}
	if text == "" {
		switch {
		case e.unasked != nil:
			return []remark{unknown(key, e.unasked)}
		case len(e.trouble) > 0:
			return []remark{unknown(key, e.trouble[0])}
		}
	}
	var out []remark
	for _, f := range e.faults {
		out = append(out, fails(key, 0, "SPF is a permanent error: %s", f))
	}
	switch {
	case e.lookups > spfMost:
		out = append(
			out,
			fails(
				key,
				0,
				"SPF is a permanent error: it needs more than %d lookups, and %d are allowed (RFC 7208, section 4.6.4)",
				spfMost,
				spfLookups,
			),
		)
	case e.lookups > spfLookups:
		out = append(
			out,
			fails(
				key,
				0,
				"SPF is a permanent error: it needs %d lookups, and %d are allowed (RFC 7208, section 4.6.4)",
				e.lookups,
				spfLookups,
			),
		)
	}
	if len(e.void) > spfVoid {
		out = append(
			out,
			fails(
				key,
				0,
				"SPF is a permanent error: %d lookups find nothing, and %d may (RFC 7208, section 4.6.4): %s",
				len(e.void),
				spfVoid,
				strings.Join(e.void, " "),
			),
		)
	}
	if e.open != "" {
		out = append(out, fails(key, finding.SevHigh, "SPF lets everyone send: %s", e.open))
	}
	for _, err := range e.trouble {
		out = append(out, warns(key, 0, "SPF may be a temporary error: %v", err))
	}
	if len(out) == 0 {
		out = append(out, e.weak(text)...)
	}
	if len(out) == 0 && e.unasked != nil {
		return []remark{unknown(key, e.unasked)}
	}
	if len(out) == 0 {
		out = append(out, passes(key, "SPF: %s (%d lookups)", wire.Printable(text), e.lookups))
	}
	return out
}

// weak tells what a record that is well formed leaves open.
func (e *spfEvaluation) weak(text string) []remark {
	const key = "SPF"
	r, err := readSPF(text)
	if err != nil {
		return nil
	}
	var out []remark
	all := r.all()
	switch {
	case all == nil && r.redirect == nil:
		out = append(
			out,
			warns(key, finding.SevLow, "SPF says nothing of others: there is no all, which is neutral (RFC 7208, section 4.7)"),
		)
	case all != nil && all.qualifier == '?':
		out = append(out, warns(key, finding.SevLow, "SPF says nothing of others: ?all"))
	case all != nil && r.redirect != nil:
		out = append(out, warns(key, finding.SevLow, "%s is ignored beside all (RFC 7208, section 6.1)", r.redirect.text))
	}
	if e.ptr {
		out = append(out, warns(key, finding.SevLow, "ptr is not to be used (RFC 7208, section 5.5)"))
	}
	if all != nil {
		if i := slices.IndexFunc(r.terms, func(t spfTerm) bool { return t.name == "all" }); i < len(r.terms)-1 {
			out = append(out, warns(key, finding.SevLow, "what follows all is ignored (RFC 7208, section 5.1): %s", r.terms[i+1].text))
		}
	}
	if len(e.wide) > 0 {
		out = append(out, warns(key, 0, "SPF lets much of the Internet send: %s", strings.Join(e.wide, " ")))
	}
	return out
}
