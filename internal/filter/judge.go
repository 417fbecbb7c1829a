package filter

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"unsafe"

	"port53/internal/wire"
)

// A Set is the rules that are served by.
type Set struct {
	Table *Table
	Lists []string // names of the lists, by their numbers
	Mark  uint32   // is another for each Set of a server, and never 0
}

// List returns the name of a list.
func (s *Set) List(number uint8) string {
	if int(number) < len(s.Lists) {
		return s.Lists[number]
	}
	return ""
}

// MatchesAny reports whether any rule of any list is about a question or, where there is one, its
// answer, whoever asks and whatever the time is. It allocates nothing.
func (s *Set) MatchesAny(q *Question, by *Searcher) bool {
	by.p, by.q = nil, q
	return by.each(s.Table)
}

// Judge tells what a policy does with a question, or with its answer where there is one. It
// allocates nothing. What the verdict has in slices is valid until by is used again.
func (s *Set) Judge(p *Policy, q *Question, by *Searcher) Verdict {
	by.p, by.q = p, q
	by.rank, by.v, by.seen = rankNone, Verdict{Block: -1}, [len(by.seen)]uint64{}
	by.plain.rewrites, by.plain.exceptions = 0, 0
	by.each(s.Table)
	return by.v
}

// each looks for all that a question and its answer have. With a policy it ends with the first that
// it blocks, and lets all pass if it allows the question's name; without, it reports whether there
// is a rule.
func (s *Searcher) each(t *Table) bool {
	q := s.q
	if !q.Local && s.lookup(t, q.Name, ByName) {
		return true
	}
	if q.Reply == nil {
		return false
	}
	at, ours := q.Body, false // whether an alias led to a name of ours
	for range q.Answers {
		owner := skip(q.Reply, at)
		if owner < 0 || owner+10 > len(q.Reply) {
			return false
		}
		typ := wire.Type(binary.BigEndian.Uint16(q.Reply[owner:]))
		data := owner + 10
		at = data + int(binary.BigEndian.Uint16(q.Reply[owner+8:]))
		if at > len(q.Reply) {
			return false
		}
		done := false
		if typ == wire.TypeCNAME && q.Own != nil {
			ours = s.leadsHome(data)
		}
		if ours {
			continue
		}
		switch typ {
		case wire.TypeA:
			if at-data == 4 {
				done = s.lookupAddress(t, netip.AddrFrom4([4]byte(q.Reply[data:at])))
			}
		case wire.TypeAAAA:
			if at-data == 16 {
				done = s.lookupAddress(t, netip.AddrFrom16([16]byte(q.Reply[data:at])))
			}
		case wire.TypeCNAME:
			done = s.lookupAt(t, data, ByAlias)
		case wire.TypeHTTPS, wire.TypeSVCB:
			done = s.service(t, data, at)
		}
		if done {
			return true
		}
	}
	return false
}

// skip returns the offset behind the name at pos, or -1.
func skip(msg []byte, pos int) int {
	for pos < len(msg) {
		switch l := int(msg[pos]); {
		case l == 0:
			return pos + 1
		case l >= 0xC0:
			return pos + 2
		default:
			pos += l + 1
		}
	}
	return -1
}

// lookup looks for a name, and reports whether that is all there is to know.
func (s *Searcher) lookup(t *Table, name *wire.SplitName, cause Cause) bool {
	s.name, s.cause, s.text = name, cause, 0
	if t.name(spaceName, name, &s.search) {
		return true
	}
	for i := range t.patterns {
		p := &t.patterns[i]
		if s.p != nil && i < len(s.p.without) && s.p.without[i] || !p.match(s.host()) {
			continue
		}
		if s.p == nil {
			return true
		}
		if p.extra == nil || p.extra.fits(&s.search) {
			s.weigh(p.allow, p.important, p.list, p.line, p.extra)
		}
	}
	return s.settled(cause == ByName)
}

// settled says whether a verdict stands: one that blocks, and one that allows the question's name.
// What allows anything else allows just that.
func (s *Searcher) settled(question bool) bool {
	if s.p == nil {
		return false
	}
	s.settle()
	if s.v.Action.Blocks() || s.v.Action == Allow && question {
		return true
	}
	if s.rank != rankNone {
		logged, list, line := s.v.Logged, s.v.LogList, s.v.LogLine
		s.rank, s.v = rankNone, Verdict{Block: -1, Logged: logged, LogList: list, LogLine: line}
	}
	return false
}

// leadsHome reports whether the target of an alias at an offset of the reply is one of ours.
func (s *Searcher) leadsHome(at int) bool {
	name, _, bad := wire.AppendExpanded(s.room[:0], s.q.Reply, at)
	if bad != 0 {
		return false
	}
	s.target.Set(name)
	return s.q.Own.Ours(&s.target, s.q.Type)
}

// lookupAt looks for the name at an offset of the reply.
func (s *Searcher) lookupAt(t *Table, at int, cause Cause) bool {
	name, _, bad := wire.AppendExpanded(s.room[:0], s.q.Reply, at)
	if bad != 0 || len(name) == 1 {
		return false
	}
	s.target.Set(name)
	return s.lookup(t, &s.target, cause)
}

func (s *Searcher) lookupAddress(t *Table, addr netip.Addr) bool {
	s.name, s.cause = nil, ByAddress
	if t.address(spaceAddress, addr.As16(), addr.Is4(), &s.search) || s.settled(false) {
		return true
	}
	if s.q.DNS64 == nil || addr.Is4() {
		return false
	}
	v4, ok := s.q.DNS64.Embedded(addr)
	return ok && s.lookupAddress(t, v4)
}

// Parameters of SVCB records that have addresses (RFC 9460, section 7.3).
const (
	keyIPv4Hint = 4
	keyIPv6Hint = 6
)

// service looks for the target and the addresses of an SVCB or HTTPS record.
func (s *Searcher) service(t *Table, data, end int) bool {
	msg := s.q.Reply[:end]
	if data+3 > end || s.lookupAt(t, data+2, ByTarget) {
		return data+3 <= end
	}
	at := skip(msg, data+2)
	for at >= 0 && at+4 <= end {
		key, n := binary.BigEndian.Uint16(msg[at:]), int(binary.BigEndian.Uint16(msg[at+2:]))
		if at += 4; at+n > end {
			return false
		}
		value := msg[at : at+n]
		for key == keyIPv4Hint && len(value) >= 4 {
			if s.lookupAddress(t, netip.AddrFrom4([4]byte(value))) {
				return true
			}
			value = value[4:]
		}
		for key == keyIPv6Hint && len(value) >= 16 {
			if s.lookupAddress(t, netip.AddrFrom16([16]byte(value))) {
				return true
			}
			value = value[16:]
		}
		at += n
	}
	return false
}

// host returns the name that is looked for as lists write it. It is valid until the next is.
func (s *search) host() string {
	if s.text == 0 {
		s.text = len(appendText(s.textRoom[:0], s.name.Name()))
	}
	return unsafe.String(&s.textRoom[0], s.text)
}

// Bounds of what is known of one name at the same time.
const (
	maxRewrites   = 32 // Address records of one name
	maxExceptions = 8
)

// A rewriteState is the $dnsrewrite rules about one name.
type rewriteState struct {
	rewrites   int
	exceptions int
	list       [maxRewrites]found
	except     [maxExceptions]found
	addrs      [maxRewrites]netip.Addr
}

// A found is a $dnsrewrite rule.
type found struct {
	r         *rewrite
	important bool
	list      uint8
	line      uint32
	by        int
}

// rewrite notes a $dnsrewrite rule.
func (s *search) rewrite(allow, important bool, list uint8, line uint32, by int, r *rewrite) {
	f, st := found{r, important, list, line, by}, &s.plain
	switch {
	case allow && st.exceptions < maxExceptions:
		st.except[st.exceptions] = f
		st.exceptions++
	case !allow && st.rewrites < maxRewrites:
		st.list[st.rewrites] = f
		st.rewrites++
	}
}

// excepted reports whether an exception takes a rewrite away.
func (st *rewriteState) excepted(f *found) bool {
	for i := range st.except[:st.exceptions] {
		e := &st.except[i]
		if f.important && !e.important {
			continue
		}
		if e.r.action == Pass || e.r.equal(f.r) {
			return true
		}
	}
	return false
}

// settle makes a verdict of the rewrites: an alias, or else an error, or else all addresses.
func (s *search) settle() {
	st := &s.plain
	if st.rewrites == 0 {
		st.exceptions = 0
		return
	}
	best, addrs := -1, 0
	weight := func(a Action) int {
		switch a {
		case Alias:
			return 2
		case Address, NoData:
			return 0
		}
		return 1
	}
	for i := range st.list[:st.rewrites] {
		f := &st.list[i]
		if st.excepted(f) {
			continue
		}
		if f.r.action == Address {
			st.addrs[addrs] = f.r.addr
			addrs++
		}
		if best < 0 || weight(f.r.action) > weight(st.list[best].r.action) {
			best = i
		}
	}
	st.rewrites, st.exceptions = 0, 0
	if best < 0 {
		return
	}
	f := &st.list[best]
	if addrs > 0 && weight(f.r.action) == 0 {
		f.r = anyAddress
	}
	if s.better(rankRewrite, f.r.action, f.list, f.line, f.by) {
		s.v.Addrs, s.v.Target = nil, f.r.target
		if f.r.action == Address {
			s.v.Addrs = st.addrs[:addrs]
		}
	}
}

var anyAddress = &rewrite{action: Address}

// takeAway finds what the $badfilter rules of the lists that count take away.
func (p *Policy) takeAway(t *Table) {
	for i := range t.bads {
		x := &t.bads[i]
		if len(p.uses[x.list]) == 0 && !p.allow[x.list] {
			continue
		}
		if p.without == nil {
			p.negated, p.without = map[uint32]bool{}, make([]bool, len(t.patterns))
		}
		if x.name == nil {
			for j := range t.patterns {
				o := &t.patterns[j]
				if o.text == x.pattern && o.allow == x.allow && o.important == x.important && o.extra.clientText() == x.clients {
					p.without[j] = true
				}
			}
			continue
		}
		t.walkName(x.name, func(offset uint32, it *item) {
			var e *extra
			if it.flags&flagExtra != 0 {
				e = t.extras[it.extra]
			}
			if Scope(it.flags&flagScope) == x.scope && (it.flags&flagAllow != 0) == x.allow &&
				(it.flags&flagImportant != 0) == x.important &&
				e.clientText() == x.clients &&
				(e == nil || e.glob == nil) {
				p.negated[offset] = true
			}
		})
	}
}

// clientText returns what stands in the rule's $client.
func (x *extra) clientText() string {
	switch {
	case x == nil:
	case x.clients != nil:
		return x.clients.text
	case x.notClients != nil:
		return x.notClients.text
	}
	return ""
}

// walkName calls f with each rule for a name.
func (t *Table) walkName(name []byte, f func(offset uint32, it *item)) {
	var split wire.SplitName
	split.Set(name)
	if len(t.groups) == 0 {
		return
	}
	at, tag := t.place(split.Hash(seedOf(t.seed, spaceName), 0))
	for {
		g := &t.groups[at]
		for i := range g.tags {
			if g.tags[i] != tag {
				continue
			}
			e := t.entry(g.at[i])
			if rest, ok := t.nameIs(e, split.Name()); ok && space(e[1]&flagSpace>>spaceShift) == spaceName {
				var it item
				it.read(e[1], rest)
				f(g.at[i], &it)
			}
		}
		if g.over == 0 {
			return
		}
		if at++; at == len(t.groups) {
			at = 0
		}
	}
}

// Describe says which rule a verdict is by, and what it does.
func (s *Set) Describe(v *Verdict) string {
	text := fmt.Sprintf("%v: list %s, line %d", v.Action, s.List(v.List), v.Line)
	switch v.Action {
	case Pass:
		return fmt.Sprintf("log: list %s, line %d", s.List(v.LogList), v.LogLine)
	case Address:
		for _, a := range v.Addrs {
			text += ", " + a.String()
		}
	case Alias:
		text += ", " + wire.NameText(v.Target)
	}
	if v.Cause != ByName {
		text += ", by the " + v.Cause.String() + " in the answer"
	}
	return text
}
