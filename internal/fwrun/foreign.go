package fwrun

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"port53/internal/firewall"
)

// A Foreign is a rule of somebody else that meets packets for port 53 before a server does.
type Foreign struct {
	Where      string `json:"where"` // the table and chain
	Rule       string `json:"rule"`
	Translates bool   `json:"translates"` // to another port or machine; else it lets none through
	Tracks     bool   `json:"tracks"`     // unless UDP stays in connection tracking
	UDP        bool   `json:"udp"`
	TCP        bool   `json:"tcp"`
	Remedy     string `json:"remedy"`
	Guarded    bool   `json:"-"` // of Docker: a rule of DOCKER-USER drops what it translates
}

// String says what the rule does, where it is, and what to do.
func (f *Foreign) String() string {
	does := "lets no packet for port 53 through"
	switch {
	case f.Translates:
		does = "sends packets for port 53 elsewhere"
	case f.Tracks:
		does = "lets packets of port 53 through by the state of their connections"
	}
	return fmt.Sprintf("%s %s: %s; %s", f.Where, does, f.Rule, f.Remedy)
}

// dnsPort is the port that rules of others are looked through for.
const dnsPort = 53

// A packet is what rules are read for: a question that comes or a reply that goes.
type packet struct {
	hook, device string // where it is met, and how its interface is called there
	port         string // which of its ports is 53
	state        string // that connection tracking gives it
}

// Packets of port 53, by what becomes of UDP: without tracking, neither is of a connection.
var (
	question, trackless   = packet{"input", "iif", "dport", "new"}, packet{"input", "iif", "dport", "untracked"}
	reply, tracklessReply = packet{"output", "oif", "sport", "established"}, packet{"output", "oif", "sport", "untracked"}
)

// Foreign returns the rules of others that translate port 53 or let nothing through to it, as far
// as rules can be read without packets: sets that are named, and what other programs decide, are
// passed over. Rules that the backend stands among are its own business, and not among them.
func (s *System) Foreign(ctx context.Context, b firewall.Backend) ([]Foreign, error) {
	if err := needRoot(); err != nil {
		return nil, err
	}
	saved, ruleset := map[string]string{}, ""
	for _, name := range []string{"iptables-save", "ip6tables-save", "iptables-legacy-save", "ip6tables-legacy-save"} {
		path, err := find(name, "iptables")
		if err != nil {
			continue
		}
		if out, err := run(ctx, "", path); err == nil { // a kernel without it has no rules of it
			saved[strings.TrimSuffix(name, "-save")] = out
		}
	}
	if path, err := find("nft", "nftables"); err == nil {
		if ruleset, err = run(ctx, "", path, "-j", "list", "ruleset"); err != nil {
			return nil, err
		}
	}
	read := func(p packet) (list []Foreign, err error) {
		for _, name := range slices.Sorted(maps.Keys(saved)) {
			// Where port53's rules are of iptables as well, they come first and let questions in.
			list = append(list, savedRules(name, saved[name], b == firewall.Nftables || p.hook == "output", p)...)
		}
		if ruleset == "" {
			return list, nil
		}
		more, err := nftRules([]byte(ruleset), p)
		return append(list, more...), err
	}
	list, err := read(question)
	if err != nil {
		return nil, err
	}
	for _, way := range [][2]packet{{question, trackless}, {reply, tracklessReply}} {
		with, err := read(way[0])
		if err != nil {
			return nil, err
		}
		without, err := read(way[1])
		if err != nil {
			return nil, err
		}
		list = append(list, byTracking(with, without)...)
	}
	var once []Foreign // iptables-save is one of the two families
	seen := map[string]bool{}
	for _, f := range list {
		key := strings.Replace(f.Where, "-legacy", "", 1) + f.Rule
		if !seen[key] {
			seen[key] = true
			once = append(once, f)
		}
	}
	return once, nil
}

// byTracking returns what lets UDP through with connection tracking, and not without it.
func byTracking(with, without []Foreign) (list []Foreign) {
	for _, f := range without {
		same := func(o Foreign) bool { return o.Where == f.Where && o.UDP }
		if f.UDP && !f.Translates && !slices.ContainsFunc(with, same) {
			f.Tracks, f.TCP, f.Remedy = true, false, tracked
			list = append(list, f)
		}
	}
	return list
}

// tracked is the remedy for rules that go by connections.
const tracked = "UDP stays in connection tracking, without which it would be dead; a rule that accepts port 53 whatever " +
	"the state is, for questions and replies, spares that work"

// translated is the remedy for rules that translate.
const translated = "UDP stays in connection tracking, without which it would be dead; packets come with the port that " +
	"they are sent to, so add --port for it, or remove the rule"

// dockerGuard is a rule that drops what comes to a published port 53, whichever port of a container it goes on to.
var dockerGuard = regexp.MustCompile(`(?m)^-A DOCKER-USER .*--ctorigdstport 53 .*-j (DROP|REJECT)`)

// savedRules looks through what iptables-save prints. drops reports whether what lets nothing
// through counts as well.
func savedRules(program, text string, drops bool, p packet) (list []Foreign) {
	table, policy, chain := "", "", strings.ToUpper(p.hook)
	accepted := map[string]bool{}
	remedy := fmt.Sprintf("%s -I INPUT -p udp --dport 53 -j ACCEPT, and for tcp, lets port53's own rules decide", program)
	var last *Foreign // the end of the chain, if it is one
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		words := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "*"):
			table = line[1:]
		case table == "filter" && strings.HasPrefix(line, ":"+chain+" DROP"):
			policy = line
		case len(words) < 4 || words[0] != "-A" || strings.HasPrefix(words[1], "PORT53-") ||
			(words[1] == "OUTPUT" || words[1] == "INPUT") && words[1] != chain:
		default:
			m := matchOf(words[2:], p)
			where := program + " " + table + " " + words[1]
			switch m.target {
			case "REDIRECT", "DNAT", "TPROXY":
				if m.covers() {
					guarded := strings.HasPrefix(words[1], "DOCKER") && dockerGuard.MatchString(text)
					list = append(list, Foreign{
						Where: where, Rule: line, Translates: true, UDP: m.udp, TCP: m.tcp, Remedy: translated, Guarded: guarded,
					})
				}
			case "ACCEPT":
				if table == "filter" && words[1] != "FORWARD" && m.lets() {
					accepted["udp"], accepted["tcp"] = accepted["udp"] || m.udp, accepted["tcp"] || m.tcp
				}
			case "DROP", "REJECT":
				if table == "filter" && words[1] != "FORWARD" && m.ports && m.covers() && drops {
					list = append(list, Foreign{Where: where, Rule: line, UDP: m.udp, TCP: m.tcp, Remedy: remedy})
				} else if table == "filter" && words[1] == chain && !m.narrow && !m.ports {
					last = &Foreign{Where: where, Rule: line, UDP: m.udp, TCP: m.tcp, Remedy: remedy}
				}
			}
		}
	}
	if last == nil && policy != "" {
		last = &Foreign{Where: program + " filter " + chain, Rule: policy, UDP: true, TCP: true, Remedy: remedy}
	}
	if last != nil && drops {
		if last.UDP, last.TCP = last.UDP && !accepted["udp"], last.TCP && !accepted["tcp"]; last.UDP || last.TCP {
			list = append(list, *last)
		}
	}
	return list
}

// A match is what of a rule decides whether it is about port 53.
type match struct {
	udp, tcp bool
	ports    bool // it names ports,
	has      bool // and 53 is one of them
	narrow   bool // it is about some packets alone: connections, interfaces
	from     bool // it is about some clients
	target   string
}

// covers reports whether packets of new questions meet the rule.
func (m *match) covers() bool { return (m.udp || m.tcp) && (!m.ports || m.has) && !m.narrow }

// lets reports whether a rule that accepts may be for questions.
func (m *match) lets() bool { return m.covers() && (m.ports || m.from || !m.narrow) }

// matchOf reads a rule of iptables for a packet.
func matchOf(words []string, p packet) match {
	m := match{udp: true, tcp: true}
	not := false
	for i := 0; i < len(words); i++ {
		next := ""
		if i+1 < len(words) {
			next = words[i+1]
		}
		switch words[i] {
		case "!":
			not = true
			continue
		case "-p":
			m.udp, m.tcp = (next == "udp" || next == "all") != not, (next == "tcp" || next == "all") != not
		case "--" + p.port, "--" + p.port + "s":
			m.ports = true
			for part := range strings.SplitSeq(next, ",") {
				low, high, is := strings.Cut(part, ":")
				if !is {
					high = low
				}
				a, errA := strconv.Atoi(low)
				b, errB := strconv.Atoi(high)
				m.has = m.has || errA == nil && errB == nil && a <= dnsPort && dnsPort <= b
			}
			m.has = m.has != not
		case "--state", "--ctstate":
			m.narrow = m.narrow || slices.Contains(strings.Split(strings.ToLower(next), ","), p.state) == not
		case "--sport", "--sports", "--dport", "--dports", "--icmp-type", "--icmpv6-type", "--pkt-type":
			m.narrow = true
		case "-" + p.device[:1]:
			m.narrow = m.narrow || next == "lo" && !not
		case "-s":
			m.from = true
		case "-j", "-g":
			m.target = next
		}
		not = false
	}
	return m
}

// iptablesChains are what iptables calls its chains; anybody may call one of nftables in capitals.
var iptablesChains = []string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}

// nftRules looks, for a packet, through the tables of nftables that are neither port53's nor those of iptables.
// In one piece: it is the form of the JSON of nft, and one walk through it.
func nftRules(text []byte, p packet) (list []Foreign, err error) {
	var set struct {
		Nftables []struct {
			Chain *nftChain
			Rule  *nftRule
		}
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("nft -j list ruleset: %w", err)
	}
	type at struct{ family, table, chain string }
	bases, accepts, ends := map[at]*nftChain{}, map[at]match{}, map[at]string{}
	var order []at
	saved := map[at]bool{} // tables of iptables, which iptables-save has told of
	for _, item := range set.Nftables {
		if c := item.Chain; c != nil && c.Hook != "" && slices.Contains(iptablesChains, c.Name) {
			saved[at{c.Family, c.Table, ""}] = true
		}
	}
	for _, item := range set.Nftables {
		if c := item.Chain; c != nil && c.Hook != "" && c.Table != firewall.Table && !saved[at{c.Family, c.Table, ""}] {
			bases[at{c.Family, c.Table, c.Name}] = c
			order = append(order, at{c.Family, c.Table, c.Name})
		}
	}
	for _, item := range set.Nftables {
		r := item.Rule
		if r == nil || r.Table == firewall.Table || saved[at{r.Family, r.Table, ""}] {
			continue
		}
		base := bases[at{r.Family, r.Table, r.Chain}]
		if base != nil && (base.Hook == "forward" || (base.Hook == "output" || base.Hook == "postrouting") != (p.hook == "output")) {
			continue
		}
		m := r.match(p)
		where := fmt.Sprintf("nft table %s %s, chain %s", r.Family, r.Table, r.Chain)
		remedy := fmt.Sprintf(
			"nft insert rule %s %s %s th dport 53 meta l4proto { tcp, udp } accept lets port53's own rules decide",
			r.Family,
			r.Table,
			r.Chain,
		)
		switch m.target {
		case "redirect", "dnat", "tproxy":
			if m.covers() {
				list = append(list, Foreign{Where: where, Rule: r.text(), Translates: true, UDP: m.udp, TCP: m.tcp, Remedy: translated})
			}
		case "accept":
			if m.lets() {
				table := at{r.Family, r.Table, ""}
				had := accepts[table]
				had.udp, had.tcp = had.udp || m.udp, had.tcp || m.tcp
				accepts[table] = had
			}
		case "drop", "reject":
			if m.ports && m.covers() {
				list = append(list, Foreign{Where: where, Rule: r.text(), UDP: m.udp, TCP: m.tcp, Remedy: remedy})
			} else if base != nil && base.Hook == p.hook && m.covers() && !m.from {
				ends[at{r.Family, r.Table, r.Chain}] = r.text()
			}
		}
	}
	for _, a := range order {
		c := bases[a]
		end, ok := ends[a]
		if !ok && c.Policy == "drop" {
			end, ok = "policy drop", true
		}
		had := accepts[at{a.family, a.table, ""}]
		if !ok || c.Hook != p.hook || had.udp && had.tcp {
			continue
		}
		list = append(list, Foreign{
			Where: fmt.Sprintf("nft table %s %s, chain %s", a.family, a.table, a.chain),
			Rule:  end,
			UDP:   !had.udp,
			TCP:   !had.tcp,
			Remedy: fmt.Sprintf(
				"nft insert rule %s %s %s th dport 53 meta l4proto { tcp, udp } accept lets port53's own rules decide",
				a.family,
				a.table,
				a.chain,
			),
		})
	}
	return list, nil
}

type nftChain struct{ Family, Table, Name, Hook, Policy string }

type nftRule struct {
	Family, Table, Chain string
	Expr                 []map[string]json.RawMessage
}

// text returns the rule in short: its words, as JSON has them.
func (r *nftRule) text() string {
	var words []string
	for _, e := range r.Expr {
		for name, value := range e {
			if name != "counter" {
				words = append(words, strings.Trim(name+" "+string(value), " "))
			}
		}
	}
	text := strings.NewReplacer(`"`, "", "null", "").Replace(strings.Join(words, " "))
	return strings.TrimSpace(text[:min(len(text), 200)])
}

// match reads a rule of nftables for a packet.
func (r *nftRule) match(p packet) match {
	m := match{udp: true, tcp: true}
	for _, e := range r.Expr {
		for name, value := range e {
			switch name {
			case "match":
				m.add(value, p)
			case "vmap":
				m.target = verdict(value, p)
			case "accept", "drop", "reject", "redirect", "dnat", "tproxy":
				m.target = name
			}
		}
	}
	return m
}

// verdict returns what a map of verdicts by the state of connections says of a packet, or "".
func verdict(text json.RawMessage, p packet) string {
	var x struct {
		Key  struct{ Ct struct{ Key string } }
		Data struct{ Set [][2]json.RawMessage }
	}
	if json.Unmarshal(text, &x) != nil || x.Key.Ct.Key != "state" {
		return ""
	}
	for _, e := range x.Data.Set {
		var verdicts map[string]any
		if string(e[0]) == strconv.Quote(p.state) && json.Unmarshal(e[1], &verdicts) == nil {
			for name := range verdicts {
				return name
			}
		}
	}
	return ""
}

func (m *match) add(text json.RawMessage, p packet) {
	var x struct {
		Op   string
		Left struct {
			Payload *struct{ Protocol, Field string }
			Meta    *struct{ Key string }
			Ct      *struct{ Key string }
		}
		Right any
	}
	if json.Unmarshal(text, &x) != nil {
		m.narrow = true
		return
	}
	not := x.Op == "!="
	switch {
	case x.Left.Payload != nil && x.Left.Payload.Field == p.port:
		switch x.Left.Payload.Protocol {
		case "udp":
			m.tcp = false
		case "tcp":
			m.udp = false
		}
		m.ports, m.has = true, holds(x.Right, dnsPort) != not
	case x.Left.Payload != nil && (x.Left.Payload.Field == "saddr" || x.Left.Payload.Field == "daddr"):
		m.from = true
	case x.Left.Meta != nil && (x.Left.Meta.Key == "l4proto" || x.Left.Meta.Key == "protocol" || x.Left.Meta.Key == "nfproto"):
		if x.Left.Meta.Key == "l4proto" {
			m.udp = m.udp && (names(x.Right, "udp") || names(x.Right, "17")) != not
			m.tcp = m.tcp && (names(x.Right, "tcp") || names(x.Right, "6")) != not
		}
	case x.Left.Ct != nil && x.Left.Ct.Key == "state":
		m.narrow = m.narrow || names(x.Right, p.state) == not
	case x.Left.Meta != nil && strings.HasPrefix(x.Left.Meta.Key, p.device):
		m.narrow = m.narrow || names(x.Right, "lo") && !not
		m.from = true
	default:
		m.narrow = true // connections, ICMP and what else there is
	}
}

// holds reports whether a value, a range or a set of them has a number.
func holds(v any, n float64) bool {
	switch v := v.(type) {
	case float64:
		return v == n
	case map[string]any:
		if r, ok := v["range"].([]any); ok && len(r) == 2 {
			low, okLow := r[0].(float64)
			high, okHigh := r[1].(float64)
			return okLow && okHigh && low <= n && n <= high
		}
		list, _ := v["set"].([]any)
		for _, x := range list {
			if holds(x, n) {
				return true
			}
		}
	}
	return false
}

// names reports whether a value or a set has a name.
func names(v any, name string) bool {
	switch v := v.(type) {
	case string:
		return v == name
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64) == name
	case []any: // of flags
		return slices.ContainsFunc(v, func(x any) bool { return names(x, name) })
	case map[string]any:
		return v["set"] != nil && names(v["set"], name)
	}
	return false
}
