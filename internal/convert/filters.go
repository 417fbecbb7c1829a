package convert

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A filters is the lists of a server, and whom they are for.
type filters struct {
	lists  []filterList
	answer string // to what is blocked, in YAML; "": as it is here
	off    bool   // nothing is blocked now
	views  []filterView
	named  []filterView // networks that rules may name
	rows   int          // of a database that were told of
}

// row stands for a row of a database: notes are told apart by their lines.
func (f *filters) row(path, text string) *stmt {
	f.rows++
	return lineStmt(path, f.rows, text)
}

// A filterList is one list.
type filterList struct {
	name, url, file string
	allow, regex    bool
	groups          []string // of clients, in Pi-hole
}

// A filterView is clients that are filtered otherwise.
type filterView struct {
	name    string
	clients []string
	blocks  []string // names of lists
}

// listName returns a name for a list that no other has.
func (f *filters) listName(text, instead string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, text)
	for strings.Contains(name, "--") {
		name = strings.ReplaceAll(name, "--", "-")
	}
	if name = strings.Trim(name[:min(len(name), 24)], "-"); name == "" {
		name = instead
	}
	taken := func(n string) bool {
		return slices.ContainsFunc(f.lists, func(l filterList) bool { return l.name == n }) ||
			slices.ContainsFunc(f.views, func(v filterView) bool { return v.name == n }) ||
			slices.ContainsFunc(f.named, func(v filterView) bool { return v.name == n })
	}
	for n, i := name, 2; ; i++ {
		if !taken(n) {
			return n
		}
		n = name + "-" + strconv.Itoa(i)
	}
}

// addList takes a list that is at a URL, or is a file.
func (c *converter) addList(s *stmt, f *filters, title, at string, allow bool, groups []string) {
	l := filterList{name: f.listName(title, "list"+strconv.Itoa(len(f.lists)+1)), allow: allow, groups: groups}
	at = strings.TrimPrefix(at, "file://")
	switch {
	case strings.HasPrefix(at, "https://"):
		l.url = at
	case strings.HasPrefix(at, "http://"):
		l.url = "https://" + strings.TrimPrefix(at, "http://")
		c.note(s, Changed, "it is fetched with TLS: "+l.url)
	case filepath.IsAbs(at):
		l.file = at
	default:
		c.note(s, Unsupported, "a list is a file, or comes from a https URL: "+at)
		return
	}
	f.lists = append(f.lists, l)
	c.note(s, Converted, "")
}

// ownList has rules of one's own be a list that is a file beside the result.
func (c *converter) ownList(f *filters, name string, lines []string, regex bool, groups []string) {
	if len(lines) == 0 {
		return
	}
	l := filterList{name: f.listName(name, name), regex: regex, groups: groups}
	l.file = "lists/" + l.name + ".txt"
	if c.written == nil {
		c.written = map[string][]byte{}
	}
	c.written[l.file] = []byte(strings.Join(lines, "\n") + "\n")
	f.lists = append(f.lists, l)
}

// filter writes the lists into the configuration.
func (c *converter) filter(f *filters) {
	if len(f.lists) == 0 {
		return
	}
	var lists, blocks strings.Builder
	block := func(name string) string {
		text := "\n    - {list: " + name
		if f.answer != "" {
			text += ", answer: " + f.answer
		}
		return text + "}"
	}
	var allowed []string
	for _, l := range f.lists {
		fmt.Fprintf(&lists, "\n    - {name: %s, ", l.name)
		if l.url != "" {
			fmt.Fprintf(&lists, "url: %s", quote(l.url))
		} else {
			fmt.Fprintf(&lists, "file: %s", quote(l.file))
		}
		if l.regex {
			lists.WriteString(", regex: true")
		}
		lists.WriteString("}")
		switch {
		case l.allow:
			allowed = append(allowed, l.name)
		case !f.off && (l.groups == nil || slices.Contains(l.groups, "0")):
			blocks.WriteString(block(l.name))
		}
	}
	c.out.set("policy.lists", lists.String())
	if blocks.Len() > 0 {
		c.out.set("policy.block", blocks.String())
	}
	if len(allowed) > 0 {
		c.out.set("policy.allow_lists", list(allowed))
	}
	var networks, views strings.Builder
	for _, v := range f.named {
		fmt.Fprintf(&networks, "\n  - {name: %s, list: %s}", quote(v.name), list(v.clients))
	}
	for _, v := range f.views {
		var own []string
		for _, name := range v.blocks {
			own = append(own, strings.TrimPrefix(block(name), "\n    - "))
		}
		if f.off {
			own = nil
		}
		fmt.Fprintf(
			&views,
			"\n  - {name: %s, match: {clients: %s}, policy: {block: [%s]}}",
			v.name,
			list(v.clients),
			strings.Join(own, ", "),
		)
	}
	if networks.Len() > 0 {
		c.out.set("networks", networks.String())
	}
	if views.Len() > 0 {
		c.out.set("views", views.String())
	}
}

// clientText returns what stands for a client that another server tells by an address or a network;
// "" if it is told by something else.
func clientText(text string) string {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		return a.String()
	}
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Masked().String()
	}
	return ""
}

// nullAnswer is what Pi-hole and AdGuard Home answer unless they are told otherwise.
const nullAnswer = `[{address: 0.0.0.0}, {address: "::"}]`

// adguardFilters takes the lists, the rules and the clients of AdGuard Home.
func (c *converter) adguardFilters(root *stmt) {
	f := &filters{}
	settings := root.at("filtering")
	switch mode := settings.at("blocking_mode").arg(1) + root.at("dns").at("blocking_mode").arg(1); mode {
	case "nxdomain":
	case "refused":
		f.answer = "refuse"
	case "custom_ip":
		var to []string
		for _, key := range []string{"blocking_ipv4", "blocking_ipv6"} {
			if a, err := netip.ParseAddr(settings.at(key).arg(1) + root.at("dns").at(key).arg(1)); err == nil {
				to = append(to, "{address: "+quote(a.String())+"}")
			}
		}
		if f.answer = nullAnswer; len(to) > 0 {
			f.answer = "[" + strings.Join(to, ", ") + "]"
		}
	default:
		f.answer = nullAnswer
	}
	for _, key := range []string{"filtering_enabled", "protection_enabled"} {
		if text := settings.at(key).arg(1) + root.at("dns").at(key).arg(1); text != "" && !yes(text) {
			f.off = true
		}
	}
	for _, key := range []string{"filters", "whitelist_filters"} {
		for _, e := range root.at(key).block {
			if !yes(e.at("enabled").arg(1)) {
				c.note(e, Changed, "it is switched off")
				continue
			}
			c.addList(e, f, e.at("name").arg(1), e.at("url").arg(1), key == "whitelist_filters", nil)
		}
	}
	c.ownList(f, "user-rules", c.adguardOwnRules(root.at("user_rules")), true, nil)
	for _, e := range root.at("clients").at("persistent").block {
		c.adguardClient(f, e)
	}
	c.filter(f)
}

// adguardOwnRules returns the rules of one's own that are not just a name with an address.
func (c *converter) adguardOwnRules(s *stmt) (lines []string) {
	if s == nil || len(s.words) == 0 {
		return nil
	}
	for _, w := range s.words[1:] {
		fields := strings.Fields(w.text)
		if len(fields) >= 2 {
			if a, err := netip.ParseAddr(fields[0]); err == nil && !nullAddress(a) {
				for _, name := range fields[1:] {
					c.addName(&stmt{words: []word{w}}, name, a, adguardTTL, false, false)
				}
				continue
			}
		}
		lines = append(lines, w.text)
	}
	return lines
}

// adguardClient takes a client: a name for its addresses, and a view of its own if it is not filtered.
func (c *converter) adguardClient(f *filters, e *stmt) {
	name := e.at("name").arg(1)
	var clients, others []string
	for _, id := range e.at("ids").args() {
		if text := clientText(id); text != "" {
			clients = append(clients, text)
		} else {
			others = append(others, id)
		}
	}
	if len(others) > 0 {
		c.note(e, Unsupported, "clients are told by their addresses, not by "+strings.Join(others, ", "))
	} else {
		c.note(e, Converted, "")
	}
	if len(clients) == 0 {
		return
	}
	f.named = append(f.named, filterView{name: f.listName(name, "client"), clients: clients})
	if global := e.at("use_global_settings").arg(1); global != "" && !yes(global) && !yes(e.at("filtering_enabled").arg(1)) {
		f.views = append(f.views, filterView{name: f.listName(name+"-unfiltered", "unfiltered"), clients: clients})
	}
	if len(e.at("upstreams").args()) > 0 {
		c.note(e, Unsupported, "servers of its own: write them into resolver.forward of a view")
	}
	if s := e.at("blocked_services"); s != nil && len(s.at("ids").args())+len(s.args()) > 0 {
		c.note(e, Unsupported, "a service is a list of its names: write one for it")
	}
}

// piholeFilters takes the lists, the names and the groups of Pi-hole's database.
func (c *converter) piholeFilters(path string, root *stmt) {
	f := &filters{}
	at := f.row(path, filepath.Base(path))
	blocking := root.at("dns").at("blocking")
	switch strings.ToUpper(blocking.at("mode").arg(1)) {
	case "NXDOMAIN", "NX":
	case "NODATA", "IP_NODATA_AAAA":
		f.answer = "nodata"
	default:
		f.answer = nullAnswer
	}
	f.off = blocking.at("active").arg(1) != "" && !yes(blocking.at("active").arg(1))
	d, err := openSQLite(path)
	var tables sqlTables
	if err == nil {
		tables, err = d.tables(
			[]string{"adlist", "adlist_by_group", "domainlist", "domainlist_by_group", "client", "client_by_group", "group"},
		)
	}
	if err != nil {
		c.note(at, Unsupported, "the lists cannot be read: "+err.Error())
		return
	}
	enabled := map[string]bool{"0": true}
	for _, g := range tables["group"] {
		enabled[g["id"]] = g["enabled"] != "0"
	}
	groups := func(table, key, id string) []string {
		in := []string{}
		for _, r := range tables[table] {
			if r[key] == id && enabled[r["group_id"]] {
				in = append(in, r["group_id"])
			}
		}
		return in
	}
	for _, r := range tables["adlist"] {
		s := f.row(path, r["address"])
		if r["enabled"] == "0" {
			c.note(s, Changed, "it is switched off")
			continue
		}
		_, host, _ := strings.Cut(r["address"], "://")
		host, _, _ = strings.Cut(host, "/")
		c.addList(s, f, host, r["address"], r["type"] == "1", groups("adlist_by_group", "adlist_id", r["id"]))
	}
	c.piholeDomains(f, path, tables, groups)
	c.piholeGroups(f, path, tables, groups)
	c.filter(f)
	c.note(at, Converted, "")
}

// piholeDomains takes names and expressions that are allowed and blocked, a list for those of the
// same groups.
func (c *converter) piholeDomains(f *filters, path string, tables sqlTables, groups func(table, key, id string) []string) {
	lines, in := map[string][]string{}, map[string][]string{}
	var order []string
	for _, r := range tables["domainlist"] {
		if r["enabled"] == "0" {
			continue
		}
		text := r["domain"]
		if _, more, ok := strings.Cut(text, ";"); ok && r["type"] >= "2" {
			c.note(f.row(path, text), Unsupported, "an expression with ;"+more+": write it as a rule with a modifier, such as $dnstype")
			continue
		}
		switch r["type"] {
		case "0":
			text = "@@|" + text + "^"
		case "2":
			text = "@@/" + text + "/"
		case "3":
			text = "/" + text + "/"
		}
		of := groups("domainlist_by_group", "domainlist_id", r["id"])
		key := strings.Join(of, " ")
		if lines[key] == nil {
			order = append(order, key)
		}
		lines[key], in[key] = append(lines[key], text), of
	}
	for _, key := range order {
		c.ownList(f, "own", lines[key], true, in[key])
	}
}

// piholeGroups takes clients that have groups: those with the same are one view.
func (c *converter) piholeGroups(f *filters, path string, tables sqlTables, groups func(table, key, id string) []string) {
	names := map[string]string{}
	for _, g := range tables["group"] {
		names[g["id"]] = g["name"]
	}
	at := map[string]int{}
	for _, r := range tables["client"] {
		in := groups("client_by_group", "client_id", r["id"])
		if len(in) == 1 && in[0] == "0" {
			continue // as everybody
		}
		text := clientText(r["ip"])
		if text == "" {
			c.note(f.row(path, r["ip"]), Unsupported, "clients are told by their addresses")
			continue
		}
		key := strings.Join(in, " ")
		i, ok := at[key]
		if !ok {
			i = len(f.views)
			at[key] = i
			var titles []string
			for _, g := range in {
				titles = append(titles, names[g])
			}
			v := filterView{name: f.listName(strings.Join(titles, "-"), "nobody")}
			for _, l := range f.lists {
				if !l.allow && slices.ContainsFunc(l.groups, func(g string) bool { return slices.Contains(in, g) }) {
					v.blocks = append(v.blocks, l.name)
				}
			}
			f.views = append(f.views, v)
		}
		f.views[i].clients = append(f.views[i].clients, text)
	}
}
