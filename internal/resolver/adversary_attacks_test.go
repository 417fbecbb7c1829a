package resolver_test

import (
	"fmt"
	"strings"
)

// An assault is what the adversary does to the names of one zone. It may forge, replay,
// strip or delay any message of any server; it has the keys of its own zones.
type assault struct {
	*tree
	v *realm // the victim
}

// attack has the adversary do something to a zone, and clients ask for what is in it.
func (t *tree) attack() {
	v := t.victim()
	a := &assault{t, v}
	for range 1 + t.IntN(3) {
		pick(t.Rand, a.referral, a.referral, a.referral, a.answer, a.denial, a.denialOfDS, a.noAnswer, a.strip, a.extra, a.alias, a.star)()
	}
	a.poison()
	for range 3 + t.IntN(4) {
		t.ask(v)
	}
}

// victim returns a zone that the adversary has no right to.
func (t *tree) victim() *realm {
	for range 50 {
		if z := t.realms[t.IntN(len(t.realms))]; z.secure && !z.evil && z.up != nil {
			return z
		}
	}
	return t.realms[0]
}

// rule has servers answer a question so.
func (a *assault) rule(servers []string, when string, lines ...string) {
	if a.chance(15) {
		when += pick(a.Rand, " times=1", " times=2", " skip=1", " udp")
	}
	if a.routed && a.chance(60) {
		servers = append(servers[:len(servers):len(servers)], forwarder)
	}
	for _, s := range servers {
		a.hosts[s] = append(append(a.hosts[s], "when "+when), lines...)
	}
}

// all returns the addresses of a zone's servers, or now and then of one of them.
func (a *assault) all(z *realm) []string {
	s := z.servers
	if z.old != "" {
		s = append(s[:len(s):len(s)], z.old)
	}
	if a.chance(20) {
		s = s[:1]
	}
	return s
}

// any returns one of the zones, the victim and those around it above all.
func (a *assault) any() *realm {
	if a.v.up != nil && a.chance(30) {
		return a.v.up
	}
	if a.chance(25) {
		return a.v
	}
	return a.realms[a.IntN(len(a.realms))]
}

// above returns a zone above the victim, or the victim itself if there is none.
func (a *assault) above() *realm {
	z := a.v
	for z.up != nil {
		if z = z.up; a.chance(70) {
			break
		}
	}
	return z
}

// signer returns the name of one who may be said to have signed.
func (a *assault) signer() string {
	z := a.any()
	if a.chance(15) {
		return z.in(pick(a.Rand, "www", "x", "ent", "sub"))
	}
	return z.name
}

func below(name, label string) string {
	if name == "." {
		return label + "."
	}
	return label + "." + name
}

// junk is a signature that nobody made.
func (a *assault) junk(owner, typ, signer string) string {
	labels := strings.Count(strings.TrimSuffix(owner, "."), ".") + 1
	if owner == "@" {
		labels = pick(a.Rand, 1, 2, 3)
	}
	alg := pick(a.Rand, 13, 13, 13, 8, 15, 5, 200)
	return fmt.Sprintf("%s 3600 RRSIG %s %d %d 3600 20300101000000 19990101000000 %d %s AAAA", owner, typ, alg, labels, a.IntN(65536), signer)
}

// nsec is a record that denies something, as a zone might have it.
func (a *assault) nsec(owner, signer string) []string {
	types := pick(a.Rand, "A RRSIG NSEC", "NS RRSIG NSEC", "NS SOA RRSIG NSEC DNSKEY", "TXT", "NS DS RRSIG NSEC", "DNAME RRSIG NSEC", "CNAME RRSIG NSEC")
	lines := []string{fmt.Sprintf("%s 3600 NSEC %s %s", owner, pick(a.Rand, `\000.`+owner, below(signer, "zzz"), owner, below(a.v.name, "zzzz")), types)}
	return append(lines, a.junk(owner, "NSEC", signer))
}

// nsec3 is one by hashes.
func (a *assault) nsec3(signer string) []string {
	owner := below(signer, pick(a.Rand, "0P9MHAVEQVM6T7VBL5LOP2U3T2RP3TOM", "00000000000000000000000000000001"))
	line := fmt.Sprintf("%s 3600 NSEC3 1 %d %d - %s %s", owner, a.IntN(2), pick(a.Rand, 0, 0, 1, 60, 200, 600),
		pick(a.Rand, "VVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVV", "00000000000000000000000000000002", "2T7B4G4VSA5SMI47K61MV5BV1A22BOJR"), pick(a.Rand, "NS", "A RRSIG", "NS SOA"))
	return []string{line, a.junk(owner, "NSEC3", signer)}
}

// proofs returns records that deny something: a few of what is made up, and of what some
// zone says of something else.
func (a *assault) proofs() (lines []string) {
	if a.chance(40) {
		lines = append(lines, fmt.Sprintf("%s 3600 SOA a. b. 1 2 3 4 300", a.signer()))
	}
	for range 1 + a.IntN(2) {
		switch a.IntN(6) {
		case 0, 1:
			signer := a.signer()
			lines = append(lines, a.nsec(pick(a.Rand, below(signer, "x"), signer, a.v.name, below(a.v.name, "x")), signer)...)
		case 2:
			lines = append(lines, a.nsec3(a.signer())...)
		case 3, 4:
			z := a.any()
			name := z.in(pick(a.Rand, labels...))
			if a.chance(30) {
				name = a.v.name
			}
			typ := pick(a.Rand, "A", "DS", "DS", "TXT", "TLSA")
			lines = append(lines, fmt.Sprintf("copy %s %s %s authority", z.name, name, typ))
		}
	}
	return lines
}

// sign has, now and then, one of the adversary's zones sign a reply.
func (a *assault) sign() string {
	if !a.chance(25) {
		return ""
	}
	for _, z := range a.realms {
		if z.evil && a.chance(60) {
			return " sign=" + z.name
		}
	}
	return ""
}

// referral leads the victim's names to the adversary's server.
func (a *assault) referral() {
	lines := []string{"reply NOERROR" + pick(a.Rand, "", " aa") + a.sign(), "authority", a.v.name + " 3600 NS " + below(a.v.name, "ns.gone")}
	switch a.IntN(6) {
	case 0, 1, 2, 3:
		lines = append(lines, a.proofs()...)
	case 4: // the DS records of a zone of its own
		lines = append(lines, "copy "+a.above().name+" "+a.any().name+" DS answer as "+a.v.name)
	}
	lines = append(lines, "additional", below(a.v.name, "ns.gone")+" 3600 A "+attacker)
	up := a.above()
	a.rule(a.all(up), pick(a.Rand, "*.", "*.", "")+strings.TrimPrefix(a.v.name, ".")+" "+pick(a.Rand, "*", "A"), lines...)
	a.rule(a.all(up), strings.TrimPrefix(a.v.name, "")+" A", lines...)
	if a.chance(60) {
		a.denialOfDS()
	}
}

// denialOfDS has a server above the victim deny its DS records.
func (a *assault) denialOfDS() {
	lines := append([]string{"reply " + pick(a.Rand, "NOERROR", "NOERROR", "NXDOMAIN") + " aa" + a.sign(), "authority"}, a.proofs()...)
	if a.chance(10) {
		lines = []string{pick(a.Rand, "silence", "reply SERVFAIL", "reply REFUSED", "reply NOERROR aa")}
	}
	a.rule(a.all(a.above()), a.v.name+" DS", lines...)
}

// answer has the victim's servers say something else.
func (a *assault) answer() {
	lines := []string{"reply NOERROR aa" + a.sign(), "answer", "@ 300 A 203.0.113.66"}
	switch a.IntN(4) {
	case 0:
		lines = append(lines, a.junk("@", "A", a.signer()))
	case 1: // what is signed for another name
		z := a.any()
		lines[2] = fmt.Sprintf("copy %s %s A answer as @", z.name, z.in(pick(a.Rand, "www", "x.wild", "mail", "moved", "alias")))
	}
	if a.chance(50) {
		lines = append(append(lines, "authority"), a.proofs()...)
	}
	a.rule(a.all(a.place()), pick(a.Rand, "*."+strings.TrimPrefix(a.v.name, "."), a.v.in("www"), a.v.in("nothing"))+" A", lines...)
}

// place returns a zone whose servers may be asked for a name of the victim.
func (a *assault) place() *realm {
	if a.chance(30) {
		return a.above()
	}
	return a.v
}

// denial has servers say that something is not there.
func (a *assault) denial() {
	lines := append([]string{"reply " + pick(a.Rand, "NOERROR", "NXDOMAIN") + " aa" + a.sign(), "authority"}, a.proofs()...)
	a.rule(a.all(a.place()), a.v.in(pick(a.Rand, labels...))+" *", lines...)
	if a.chance(50) {
		a.rule(a.all(a.place()), "*."+strings.TrimPrefix(a.v.name, ".")+" "+pick(a.Rand, "A", "TXT", "*"), lines...)
	}
}

// noAnswer keeps back what validation needs: that is never permission.
func (a *assault) noAnswer() {
	what := pick(a.Rand, "silence", "reply SERVFAIL", "reply REFUSED", "reply NOERROR aa", "reply NXDOMAIN aa", "serve corrupt=DNSKEY,DS,NSEC,NSEC3")
	a.rule(a.all(a.place()), a.v.name+" "+pick(a.Rand, "DNSKEY", "DS", "*"), what)
}

// strip takes something out of true replies, or reorders and delays them.
func (a *assault) strip() {
	what := pick(a.Rand, "strip=RRSIG", "strip=DS", "strip=NSEC,NSEC3", "strip=SOA", "strip=RRSIG,NSEC,NSEC3", "strip=DNAME", "strip=CNAME",
		"corrupt=A,TXT", "corrupt=NSEC,NSEC3", "corrupt=SOA", "reverse", "delay=300ms", "delay=2s", "rcode=NXDOMAIN", "rcode=NOERROR", "noaa", "tc")
	a.rule(a.all(a.place()), pick(a.Rand, "*", "*."+strings.TrimPrefix(a.v.name, "."), a.v.in("www"))+" "+pick(a.Rand, "*", "*", "A", "DS"), "serve "+what)
}

// extra puts something into true replies.
func (a *assault) extra() {
	lines := []string{"serve"}
	switch a.IntN(4) {
	case 0:
		lines = append(lines, "authority", a.v.name+" 3600 NS "+below(a.v.name, "ns.gone"), "additional", below(a.v.name, "ns.gone")+" 3600 A "+attacker)
	case 1:
		lines = append(lines, "additional", a.v.in("ns1")+" 3600 A "+attacker)
	case 2:
		lines = append(append(lines, "authority"), a.proofs()...)
	case 3:
		lines = append(lines, "answer", a.v.in("www")+" 300 A 203.0.113.66", a.v.in("nothing")+" 300 A 203.0.113.66",
			fmt.Sprintf("%s 300 TYPE%d \\# 16 %032x", a.v.name, 65500+a.IntN(8), a.Uint64()))
	}
	a.rule(a.all(a.place()), "* "+pick(a.Rand, "*", "A", "DS"), lines...)
	if a.chance(30) { // and in a forgery that comes first
		forged := append([]string{"forge 1 ids=right"}, lines[1:]...)
		a.rule(a.all(a.place()), "*."+strings.TrimPrefix(a.v.name, ".")+" *", forged...)
	}
}

// alias renames the victim's names.
func (a *assault) alias() {
	from := pick(a.Rand, a.v.name, a.above().name, a.v.in("ent"), a.v.in("wild"))
	lines := []string{"reply NOERROR aa" + a.sign(), "answer", from + " 300 DNAME " + pick(a.Rand, "evil.", "www.evil.", a.any().name)}
	switch a.IntN(4) {
	case 0:
		lines = append(lines, a.junk(from, "DNAME", a.signer()))
	case 1:
		lines = []string{lines[0], "answer", "@ 300 CNAME www.evil.", a.junk("@", "CNAME", a.signer())}
	case 2:
		z := a.any()
		lines[2] = fmt.Sprintf("copy %s %s A answer as %s", z.name, z.in("www.moved"), from)
	}
	a.rule(a.all(a.place()), "*."+strings.TrimPrefix(a.v.name, ".")+" "+pick(a.Rand, "*", "A", "CNAME"), lines...)
}

// star plays back what a wildcard's DNAME record once was asked for.
func (a *assault) star() {
	made := a.v.in("x.star")
	lines := []string{"reply NOERROR aa", "answer", fmt.Sprintf("copy %s %s DNAME answer", a.v.name, made)}
	if a.chance(80) {
		lines = append(lines, "authority", fmt.Sprintf("copy %s %s DNAME authority", a.v.name, made))
	}
	a.rule(a.all(a.place()), "*."+strings.TrimPrefix(made, ".")+" "+pick(a.Rand, "*", "A", "A"), lines...)
}

// poison is what the adversary's own server says of the victim's names.
func (a *assault) poison() {
	answer := []string{"reply NOERROR aa" + a.sign(), "answer", "@ 300 A 203.0.113.66"}
	if a.chance(30) {
		answer = append(answer, a.junk("@", "A", a.signer()))
	}
	a.rule([]string{attacker}, "*."+strings.TrimPrefix(a.v.name, ".")+" A", answer...)
	if a.chance(50) {
		a.rule([]string{attacker}, a.v.name+" DNSKEY", "reply NOERROR aa", "answer", "copy evil. evil. DNSKEY answer as "+a.v.name)
	}
	if a.chance(50) {
		a.rule([]string{attacker}, "*."+strings.TrimPrefix(a.v.name, ".")+" *", append([]string{"reply " + pick(a.Rand, "NOERROR", "NXDOMAIN") + " aa" + a.sign(), "authority"}, a.proofs()...)...)
	}
}
