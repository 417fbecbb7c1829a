package lab

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"port53/internal/authority"
	"port53/internal/wire"
	"port53/internal/zone"
)

// ednsSize is the EDNS size of all hosts, and the longest datagram they send unless
// told otherwise (the DNS flag day of 2020).
const ednsSize = 1232

// A host is a server of a laboratory: zones, a script that answers before they do,
// and manners.
type host struct {
	at      netip.AddrPort
	world   *World
	section *Section // what it was made from; nil: a zone's heading alone

	mu      sync.Mutex
	manners manners
	link    Link
	rules   []*rule
	zones   *zone.View
}

// manners are how a host treats all questions.
type manners struct {
	silent   bool
	rcode    int    // answers everything with it; negative: it does not
	edns     string // what becomes of questions with OPT
	fold     string // what it does to the case of names
	cookie   string // "", on, wrong, require
	tc       bool   // over UDP all is cut off
	noaa     bool
	ra       bool
	nodnssec bool // DO means nothing to it
	resolver bool // it answers for all zones of the laboratory
	ent      bool // empty non-terminals are NXDOMAIN to it
	size     int
	strip    []wire.Type
}

// mannerWords are the words of a host's heading that are not about its link.
const mannerWords = "silent rcode= lame edns= case= cookie= tc noaa ra nodnssec resolver ent size= strip="

// linkWords are those that are.
const linkWords = "rtt= jitter= loss= lose= dup= mtu= deaf mute down closed tcp= up"

// configure changes a host by the words of its heading.
func (h *host) configure(words []string) error {
	m, l := h.manners, h.link
	for _, w := range words {
		if err := configureOne(&m, &l, w); err != nil {
			return err
		}
	}
	h.manners, h.link = m, l
	return nil
}

// configureOne …
// In one piece: it is a table of words and what each does.
func configureOne(m *manners, l *Link, word string) error {
	key, value, _ := strings.Cut(word, "=")
	var err error
	number := func(max int) int {
		n, e := strconv.Atoi(value)
		if e != nil || n < 0 || n > max {
			err = errValue
		}
		return n
	}
	oneOf := func(list ...string) string {
		if !slices.Contains(list, value) {
			err = fmt.Errorf("want one of %s", strings.Join(list, ", "))
		}
		return value
	}
	switch key {
	case "rtt":
		l.RTT, err = seconds(value)
	case "jitter":
		l.Jitter, err = seconds(value)
	case "loss":
		l.Loss, err = share(value)
	case "dup":
		l.Duplicate, err = share(value)
	case "lose":
		l.Lose = number(1 << 20)
	case "mtu":
		l.MTU = number(wire.MaxMessage)
	case "deaf", "down":
		l.DropQueries = true
	case "mute":
		l.DropReplies = true
	case "closed":
		l.Unreachable, l.TCP = true, TCPRefused
	case "tcp":
		l.TCP = TCPMode(slices.Index(tcpModes, oneOf(tcpModes...)))
	case "up":
		*l = Link{RTT: l.RTT}
		m.silent, m.rcode = false, -1
	case "silent":
		m.silent = true
	case "lame":
		m.rcode = int(wire.Refused)
	case "rcode":
		r, ok := ParseRcode(value)
		if !ok {
			err = errValue
		}
		m.rcode = int(r)
	case "edns":
		m.edns = oneOf("yes", "formerr", "notimp", "badvers", "servfail", "drop", "ignore", "bare-formerr")
	case "case":
		m.fold = oneOf("keep", "lower", "upper", "swap", "strict")
	case "cookie":
		m.cookie = oneOf("off", "on", "wrong", "require")
	case "tc":
		m.tc = true
	case "noaa":
		m.noaa = true
	case "ra":
		m.ra = true
	case "nodnssec":
		m.nodnssec = true
	case "resolver":
		m.resolver, m.ra = true, true
	case "ent":
		m.ent = true
	case "size":
		m.size = number(wire.MaxMessage)
	case "strip":
		types, ok := parseTypes(value)
		if !ok {
			err = errValue
		}
		m.strip = types
	default:
		return fmt.Errorf("word %q is not known; there are %s %s", word, linkWords, mannerWords)
	}
	if err != nil {
		return fmt.Errorf("%q: %w", word, err)
	}
	return nil
}

var tcpModes = []string{"open", "refused", "hang", "reset", "silent", "close"}

// respond answers one question. It is what the Net calls.
func (h *host) respond(r *Reply) {
	h.mu.Lock()
	m, zones := h.manners, h.zones
	var q wire.Query
	bad := q.Parse(r.Query)
	var chosen *rule
	if bad == 0 && !m.silent {
		for _, rule := range h.rules {
			if rule.matches(&q, r.TCP) {
				chosen = rule
				break
			}
		}
	}
	h.mu.Unlock()
	switch {
	case m.silent, bad == wire.ShortHeader, bad == wire.IsResponse:
		return
	case bad != 0 || q.Opcode != wire.OpcodeQuery:
		reply := replyTo(&q)
		if reply.rcode = wire.FormErr; bad == 0 {
			reply.rcode = wire.NotImp
		}
		r.Message = reply.append(nil)
		return
	}
	limit := m.limit(&q, r.TCP)
	if chosen == nil {
		r.Message = h.plain(&q, &m, zones, limit, r.TCP)
		return
	}
	served := false
	for i := range chosen.action {
		a := &chosen.action[i]
		switch a.kind {
		case "silence":
			served = true
		case "raw":
			served = true
			r.Message = append([]byte{byte(q.ID >> 8), byte(q.ID)}, a.raw...)
		case "forge":
			if !r.TCP || a.has("udp") {
				a.forge(h.world, chosen.at, &q, r)
			}
		default:
			served = true
			h.scripted(chosen.at, a, &q, &m, zones, limit, r)
		}
	}
	if !served {
		r.Message = h.plain(&q, &m, zones, limit, r.TCP)
	}
}

// scripted answers as a reply or serve of the script says.
func (h *host) scripted(at *Section, a *action, q *wire.Query, m *manners, zones *zone.View, limit int, r *Reply) {
	var reply *message
	if a.kind == "serve" {
		b := h.plain(q, m, zones, wire.MaxMessage, true)
		var ok bool
		if reply, ok = split(b); !ok {
			return // the host keeps silent by its manners
		}
		a.records(h.world, at, q, reply)
	} else {
		reply = replyTo(q)
		reply.rcode, _ = ParseRcode(a.words[0])
		if m.ra {
			reply.flags |= wire.FlagRA
		}
		reply.options = cookieOf(q, m.cookie)
		reply.edns = reply.edns && m.edns != "ignore"
		a.records(h.world, at, q, reply)
		if v := a.value("sign"); v != "" && q.DO {
			h.world.signMessage(v, a.value("labels"), reply)
		}
		recase(reply.question, m.fold)
	}
	a.edit(q, reply)
	if a.has("big") {
		limit = wire.MaxMessage
	}
	r.Message = reply.fit(limit)
	r.Delay = a.duration("delay")
	if v := a.value("from"); v != "" {
		r.Source, _ = addrPort(v)
	}
}

// limit returns the octets that a reply may have.
func (m *manners) limit(q *wire.Query, tcp bool) int {
	switch {
	case tcp:
		return wire.MaxMessage
	case !q.EDNS || m.edns == "ignore":
		return wire.MinUDP
	case m.size > 0:
		return min(m.size, max(wire.MinUDP, int(q.UDPSize)))
	}
	return min(ednsSize, max(wire.MinUDP, int(q.UDPSize)))
}

// plain answers from the zones, as the host's manners are.
func (h *host) plain(q *wire.Query, m *manners, zones *zone.View, limit int, tcp bool) []byte {
	options := cookieOf(q, m.cookie)
	fail := func(rcode wire.Rcode, edns bool) []byte {
		reply := replyTo(q)
		reply.rcode, reply.edns, reply.options = rcode, reply.edns && edns, options
		recase(reply.question, m.fold)
		return reply.append(nil)
	}
	if q.EDNS {
		switch m.edns {
		case "drop":
			return nil
		case "formerr":
			return fail(wire.FormErr, false)
		case "bare-formerr": // the header alone, as old servers have it
			return (&message{id: q.ID, flags: wire.FlagQR, rcode: wire.FormErr}).append(nil)
		case "notimp":
			return fail(wire.NotImp, false)
		case "servfail":
			return fail(wire.ServFail, false)
		case "badvers":
			return fail(wire.BadVers, true)
		case "ignore":
			q.EDNS, q.DO = false, false
		}
	}
	if m.nodnssec {
		q.DO = false
	}
	switch {
	case m.cookie == "require" && q.EDNS && !tcp && len(q.Cookie) < 16: // RFC 7873, section 5.2.3
		return fail(wire.BadCookie, true)
	case m.rcode >= 0:
		return fail(wire.Rcode(m.rcode), true)
	case m.fold == "strict" && !bytes.Equal(q.Question(), bytes.ToLower(q.Question())): // names in lower case alone are there
		reply := replyTo(q)
		reply.rcode = wire.NXDomain
		reply.flags |= wire.FlagAA
		return reply.append(nil)
	case m.tc && !tcp:
		reply := replyTo(q)
		reply.flags |= wire.FlagTC | wire.FlagAA
		reply.options = options
		recase(reply.question, m.fold)
		return reply.append(nil)
	case m.resolver:
		reply := h.world.resolve(q)
		reply.options = options
		reply.strip(m.strip)
		recase(reply.question, m.fold)
		return reply.fit(limit)
	}
	b, result, ok := answer(zones, q, limit, options)
	if !ok {
		return fail(wire.Refused, true)
	}
	if !m.noaa && !m.ra && !m.ent && m.strip == nil && (m.fold == "" || m.fold == "keep" || m.fold == "strict") {
		return b
	}
	reply, _ := split(b)
	if m.noaa {
		reply.flags &^= wire.FlagAA
	}
	if m.ra {
		reply.flags |= wire.FlagRA
	}
	if m.ent && result.Kind == authority.NoData && len(reply.sections[wire.Answer]) == 0 && emptyName(zones, q) {
		reply.rcode = wire.NXDomain
	}
	reply.strip(m.strip)
	recase(reply.question, m.fold)
	return reply.fit(limit)
}

// cookieOf returns the COOKIE option of a host's reply.
func cookieOf(q *wire.Query, how string) []byte {
	switch how {
	case "on", "require":
		return cookieOption(q, "good")
	case "wrong":
		return cookieOption(q, "wrong")
	}
	return nil
}

// find returns the zone that answers q: for DS the one above a cut.
func find(zones *zone.View, q *wire.Query) *zone.Zone {
	if zones == nil {
		return nil
	}
	e := zones.Find(&q.Name)
	if e != nil && q.Type == wire.TypeDS && len(e.Apex) == q.Name.Len() {
		if above := zones.FindAbove(&q.Name); above != nil {
			e = above
		}
	}
	if e == nil {
		return nil
	}
	return e.Zone()
}

// answer answers q from the zones, or not if none of them is at or above the name.
func answer(zones *zone.View, q *wire.Query, limit int, options []byte) ([]byte, authority.Result, bool) {
	z := find(zones, q)
	if z == nil {
		return nil, authority.Result{}, false
	}
	var tail []byte
	records := 0
	if q.EDNS {
		tail, records = wire.AppendOPT(nil, ednsSize, q.DO, options), 1
	}
	var b wire.Builder
	var r authority.Responder
	b.Start(make([]byte, limit), limit, len(tail), q)
	result := r.Answer(z, q, &b)
	return b.Finish(tail, records), result, true
}

// emptyName reports whether the name asked for exists without any records.
func emptyName(zones *zone.View, q *wire.Query) bool {
	z := find(zones, q)
	if z == nil {
		return false
	}
	node := z.Lookup(&q.Name)
	return node != 0 && z.Empty(node)
}

// chanceOf is random for those who do not hold the lock.
func (n *Net) chanceOf() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.random()
}
