package filter

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"port53/internal/policy"
	"port53/internal/wire"
)

// An Action is what becomes of a question.
type Action uint8

// The actions.
const (
	Pass     Action = iota // no rule is about it
	Allow                  // a rule says that it is to pass
	NXDomain               // the name is said not to exist
	NoData                 // the name is said to have no such records
	Refuse                 // REFUSED
	Drop                   // no answer
	Address                // addresses of the policy, or of the rule
	Alias                  // the rule's name is the answer, and what that has
	Fail                   // SERVFAIL
	Log                    // it passes, and is told of
)

// String returns the action in a word, as the configuration has it.
func (a Action) String() string {
	names := [...]string{
		Pass: "pass", Allow: "allow", NXDomain: "nxdomain", NoData: "nodata", Refuse: "refuse", Drop: "drop", Address: "address",
		Alias: "alias", Fail: "servfail", Log: "log",
	}
	if int(a) < len(names) {
		return names[a]
	}
	return "unknown"
}

// Blocks reports whether the answer that there is does not go out.
func (a Action) Blocks() bool { return a > Allow && a != Log }

// A Block says for whom the rules of a list count, and what is answered then.
type Block struct {
	List    uint8
	Action  Action
	Addrs   []netip.Addr // of Address; what has none of the family that is asked for has no data
	Clients []netip.Prefix
	Hours   []Hours        // when it counts; none: always
	Zone    *time.Location // of Hours; nil: the system's
	EDE     int            // Extended DNS Error that goes with the answer
	Text    string         // its text
}

// Hours are a part of some days of the week.
type Hours struct {
	Days     uint8 // bit d is set for weekday d, Sunday being 0
	From, To int   // minutes since midnight, To not being one of them; To before From is in the next day
}

// holds reports whether a minute of a weekday is within h.
func (h *Hours) holds(day time.Weekday, minute int) bool {
	on := func(d time.Weekday) bool { return h.Days>>d&1 != 0 }
	switch {
	case h.From < h.To:
		return on(day) && minute >= h.From && minute < h.To
	case minute >= h.From:
		return on(day)
	default:
		return on((day+6)%7) && minute < h.To
	}
}

// ParseHours reads hours as "mon-fri 08:00-16:00", "sat,sun" or "22:00-06:00".
func ParseHours(text string) (h Hours, err error) {
	fields := strings.Fields(strings.ToLower(text))
	h = Hours{Days: 0x7F, To: 24 * 60}
	if len(fields) > 0 && !strings.Contains(fields[0], ":") {
		if h.Days, err = parseDays(fields[0]); err != nil {
			return h, err
		}
		fields = fields[1:]
		if len(fields) == 0 {
			return h, nil
		}
	}
	if len(fields) != 1 {
		return h, fmt.Errorf("want days, hours, or both, such as mon-fri 08:00-16:00")
	}
	from, to, ok := strings.Cut(fields[0], "-")
	if !ok {
		return h, fmt.Errorf("want a start and an end time, such as 08:00-16:00")
	}
	if h.From, err = parseMinute(from); err == nil {
		h.To, err = parseMinute(to)
	}
	if err == nil && h.From == h.To {
		err = fmt.Errorf("%s to %s is not a time", from, to)
	}
	if err == nil && h.From == 24*60 {
		err = fmt.Errorf("no time begins at 24:00")
	}
	return h, err
}

func parseMinute(text string) (int, error) {
	hour, minute, ok := strings.Cut(text, ":")
	h, herr := parseTwo(hour)
	m, merr := parseTwo(minute)
	if !ok || herr != nil || merr != nil || m > 59 || h*60+m > 24*60 {
		return 0, fmt.Errorf("%q is not a time of the day such as 08:00", text)
	}
	return h*60 + m, nil
}

func parseTwo(text string) (int, error) {
	if len(text) < 1 || len(text) > 2 || strings.Trim(text, "0123456789") != "" {
		return 0, fmt.Errorf("%q is not a number", text)
	}
	n := 0
	for _, c := range text {
		n = 10*n + int(c-'0')
	}
	return n, nil
}

func parseDays(text string) (days uint8, err error) {
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		a := weekday(first)
		b := a
		if isRange {
			b = weekday(last)
		}
		if a < 0 || b < 0 {
			return 0, fmt.Errorf("%q is not a weekday such as mon, nor a range such as mon-fri", part)
		}
		for d := a; ; d = (d + 1) % 7 {
			days |= 1 << d
			if d == b {
				break
			}
		}
	}
	return days, nil
}

func weekday(text string) int {
	return slices.Index([]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}, text)
}

// PolicyOptions make a Policy.
type PolicyOptions struct {
	Blocks []Block // in order: of two whose lists have a name, the first says what is answered
	Allow  []uint8 // lists whose names pass, whatever others say
}

// A Policy is which lists count for whom. It is immutable.
type Policy struct {
	blocks  []block
	uses    [][]uint8 // for each list the blocks that it counts by
	allow   [MaxLists + 1]bool
	negated map[uint32]bool // offsets of rules that a $badfilter takes away
	without []bool          // and patterns
}

// A block is a Block, made ready.
type block struct {
	Block
	clients *policy.ACL // nil: all
}

// NewPolicy returns a policy for the rules of a table.
func NewPolicy(t *Table, o PolicyOptions) (*Policy, error) {
	p := &Policy{uses: make([][]uint8, MaxLists+1)}
	if len(o.Blocks) > MaxLists {
		return nil, fmt.Errorf("%d blocks, and at most %d can be", len(o.Blocks), MaxLists)
	}
	for i, b := range o.Blocks {
		ready := block{Block: b}
		if len(b.Clients) > 0 {
			var err error
			if ready.clients, err = policy.NewACL(policy.ACLOptions{Allow: b.Clients}); err != nil {
				return nil, err
			}
		}
		if ready.Zone == nil {
			ready.Zone = time.Local
		}
		p.blocks = append(p.blocks, ready)
		p.uses[b.List] = append(p.uses[b.List], uint8(i))
	}
	for _, l := range o.Allow {
		p.allow[l] = true
	}
	p.takeAway(t)
	return p, nil
}

// active reports whether a block counts for a question.
func (b *block) active(q *Question) bool {
	if b.clients != nil && !b.clients.Allows(q.Client) {
		return false
	}
	if len(b.Hours) == 0 {
		return true
	}
	now := time.Unix(q.Now, 0).In(b.Zone)
	minute := now.Hour()*60 + now.Minute()
	for i := range b.Hours {
		if b.Hours[i].holds(now.Weekday(), minute) {
			return true
		}
	}
	return false
}

// A Question is what is judged.
type Question struct {
	Name   *wire.SplitName
	Type   wire.Type
	Client netip.Addr
	Now    int64 // seconds since 1970, for hours

	// Reply is the reply as it would go out, to where its records end, and Body where they
	// begin. Without it the question alone is judged.
	Reply   []byte
	Body    int
	Answers int // records of the answer section

	Local bool  // the question's name is one of ours: only what it leads to is judged
	Own   Owner // tells of what aliases lead to whether it is ours; nil: it is not

	// DNS64 knows which addresses of IPv6 stand for those of IPv4, which are judged as well; nil: none do.
	DNS64 Embedding
}

// An Owner tells whether a name is one of ours, which nobody judges: neither it nor what it has.
type Owner interface {
	Ours(name *wire.SplitName, t wire.Type) bool
}

// An Embedding tells for which address of IPv4 one of IPv6 stands (RFC 6052).
type Embedding interface {
	Embedded(six netip.Addr) (v4 netip.Addr, ok bool)
}

// A Cause is by what of a question and its answer a rule was found.
type Cause uint8

// The causes.
const (
	ByName    Cause = iota // the question's name
	ByAlias                // what an alias leads to
	ByTarget               // what an SVCB or HTTPS record leads to
	ByAddress              // an address in the answer
)

// String returns the cause in a word.
func (c Cause) String() string {
	return [...]string{ByName: "name", ByAlias: "alias", ByTarget: "target", ByAddress: "address"}[c&3]
}

// A Verdict is what becomes of a question, and by which rule.
type Verdict struct {
	Action  Action
	List    uint8  // that has the rule
	Line    uint32 // of the list
	Cause   Cause
	Block   int // number of the block that counted, or -1
	EDE     int
	Text    string
	Addrs   []netip.Addr // of Address
	Target  []byte       // of Alias, in wire form
	Logged  bool         // a block of the action Log has a rule for it, too:
	LogList uint8        // of this list
	LogLine uint32
}

// ranks of rules, by which one has its way against another.
const (
	rankNone = iota
	rankBlock
	rankAllow
	rankImportant
	rankImportantAllow
	rankRewrite
	rankOwn // names that the policy allows
)

// A search is one look for rules. It belongs to one goroutine.
type search struct {
	p *Policy // nil: any rule will do
	q *Question

	name  *wire.SplitName // looked for; nil: an address is
	text  int             // octets of it in textRoom, once it is asked for
	cause Cause
	rank  int
	v     Verdict

	seen   [256 / 64]uint64 // blocks of which it is known whether they count,
	counts [256 / 64]uint64 // and those that do
	plain  rewriteState

	textRoom [wire.MaxName]byte
}

// A Searcher is the memory that judging takes. It is used by one goroutine at a time.
type Searcher struct {
	search
	target wire.SplitName
	room   [wire.MaxName + 9]byte
}

// counting reports whether a block counts for the question in hand.
func (s *search) counting(i uint8) bool {
	if s.seen[i>>6]>>(i&63)&1 == 0 {
		s.seen[i>>6] |= 1 << (i & 63)
		if s.p.blocks[i].active(s.q) {
			s.counts[i>>6] |= 1 << (i & 63)
		}
	}
	return s.counts[i>>6]>>(i&63)&1 != 0
}

// rule takes a rule that is about what is looked for into account.
func (s *search) rule(t *Table, offset uint32, it *item) {
	if len(s.p.negated) > 0 && s.p.negated[offset] {
		return
	}
	var x *extra
	if it.flags&flagExtra != 0 {
		if x = t.extras[it.extra]; !x.fits(s) {
			return
		}
	}
	s.weigh(it.flags&flagAllow != 0, it.flags&flagImportant != 0, it.list, it.line, x)
}

// weigh compares a rule, all of whose conditions hold, with the one that has its way so far.
func (s *search) weigh(allow, important bool, list uint8, line uint32, x *extra) {
	if s.p.allow[list] {
		s.better(rankOwn, Allow, list, line, -1)
		return
	}
	if x != nil && x.rewrite != nil && x.rewrite.action == Alias && s.name != nil && wire.EqualFold(x.rewrite.target, s.name.Name()) {
		return // the name would be an alias for itself: the rule is about the others
	}
	rank, action := rankBlock, NXDomain
	switch {
	case allow && important:
		rank, action = rankImportantAllow, Allow
	case important:
		rank = rankImportant
	case allow:
		rank, action = rankAllow, Allow
	}
	for _, i := range s.p.uses[list] {
		if !s.counting(i) {
			continue
		}
		b := &s.p.blocks[i]
		switch {
		case b.Action == Log:
			if !allow && !s.v.Logged {
				s.v.Logged, s.v.LogList, s.v.LogLine = true, list, line
			}
		case x != nil && x.rewrite != nil:
			s.rewrite(allow, important, list, line, int(i), x.rewrite)
		case allow:
			s.better(rank, action, list, line, int(i))
		case x != nil && x.answer != Pass:
			s.better(rank, x.answer, list, line, int(i))
		default:
			s.better(rank, b.Action, list, line, int(i))
		}
	}
}

// better makes a rule the one that has its way, if it ranks higher, or as high and its block comes
// before. Of two of one list that say different things of a name, the later is that of the closer name.
func (s *search) better(rank int, action Action, list uint8, line uint32, by int) bool {
	if rank < s.rank || rank == s.rank && (by < 0 || by > s.v.Block || by == s.v.Block && (s.name == nil || action == s.v.Action)) {
		return false
	}
	s.rank = rank
	s.v.Action, s.v.List, s.v.Line, s.v.Cause, s.v.Block = action, list, line, s.cause, by
	s.v.Addrs, s.v.Target, s.v.EDE, s.v.Text = nil, nil, wire.EDEBlocked, ""
	if by >= 0 {
		b := &s.p.blocks[by]
		s.v.Addrs, s.v.EDE, s.v.Text = b.Addrs, b.EDE, b.Text
	}
	return true
}
