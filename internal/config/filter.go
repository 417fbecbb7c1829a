package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// A FilterList is a list of names that others publish, or of one's own.
type FilterList struct {
	Name    string        `yaml:"name" is:"label" required:"true"`
	File    string        `yaml:"file" is:"path" default:""`
	URL     string        `yaml:"url" is:"url" default:""`
	Format  string        `yaml:"format" is:"word" words:"auto hosts names domains adblock rpz" default:"auto"`
	Regex   bool          `yaml:"regex" default:"false"`
	Every   time.Duration `yaml:"every" default:"1d" min:"10m" max:"30d"`
	MaxSize Size          `yaml:"max_size" default:"64MiB" min:"1KiB" max:"4GiB"`
}

// A FilterBlock says for whom a list counts, and what is answered then.
type FilterBlock struct {
	List      string         `yaml:"list" is:"label" value:"the name of an entry in policy.lists" required:"true"`
	Answer    []string       `yaml:"answer" is:"answer" lone:"true" beside:"address=Addresses" default:"nxdomain"`
	Addresses []netip.Addr   // of answer
	Clients   []netip.Prefix `yaml:"clients" default:""`
	Hours     []Hours        `yaml:"hours" is:"hours" lone:"true" default:""`
	TimeZone  string         `yaml:"time_zone" is:"time-zone" default:""`
	Reason    string         `yaml:"reason" is:"word" words:"blocked censored filtered" default:"blocked"`
}

// Addrs returns the addresses of an answer that is some, nil of any other.
func (b *FilterBlock) Addrs() []netip.Addr {
	list := slices.Clone(b.Addresses)
	for _, text := range b.Answer {
		if a, err := netip.ParseAddr(text); err == nil {
			list = append(list, a)
		}
	}
	return list
}

// Hours are a part of some days of the week.
type Hours struct {
	Days     uint8 // bit d is set for weekday d, Sunday being 0
	From, To int   // minutes since midnight, To not being one of them; To before From is in the next day
	text     string
}

// String returns the hours as they were written.
func (h Hours) String() string { return h.text }

// filterText says what a value looks like that lists and blocks have.
func (f form) filterText() string {
	switch f {
	case formAnswer:
		return "nxdomain, nodata, refuse, drop, log, or {address: 192.0.2.9}"
	case formHours:
		return "days, hours or both, such as mon-fri 08:00-16:00"
	case formAnyHost:
		return `an address such as 192.0.2.9, 0.0.0.0 or "::"`
	case formURL:
		return "a URL such as https://lists.example/ads.txt"
	}
	return "a time zone such as Europe/Berlin"
}

// parseFilter reads a value of one of these forms.
func (k *key) parseFilter(s scalar) (any, *problem) {
	switch k.form {
	case formAnswer:
		return k.parseAnswer(s)
	case formHours:
		return k.parseHours(s)
	case formURL:
		return k.parseURL(s)
	case formAnyHost:
		return k.parseAnyHost(s)
	}
	return k.parseTimeZone(s)
}

// weekdays are the days as hours name them.
func weekdays() []string { return []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"} }

const allDay = 24 * 60

// parseHours reads hours such as "mon-fri 08:00-16:00", "sat,sun" or "22:00-06:00".
func (k *key) parseHours(s scalar) (any, *problem) {
	h := Hours{Days: 0x7F, To: allDay, text: s.text}
	fields := strings.Fields(strings.ToLower(s.text))
	if len(fields) > 0 && !strings.Contains(fields[0], ":") {
		var bad string
		if h.Days, bad = parseDays(fields[0]); bad != "" {
			return nil, expected(k, s, quote(bad)+" is not a day of the week, nor a range of them: they are "+oneOf(weekdays()))
		}
		if fields = fields[1:]; len(fields) == 0 {
			return h, nil
		}
	}
	if len(fields) != 1 {
		return nil, expected(k, s, "")
	}
	from, to, _ := strings.Cut(fields[0], "-")
	var ok1, ok2 bool
	h.From, ok1 = parseMinute(from)
	h.To, ok2 = parseMinute(to)
	switch {
	case !ok1 || !ok2:
		return nil, expected(k, s, "times are written 08:00, the end of a day 24:00")
	case h.From == h.To || h.From == allDay:
		return nil, expected(k, s, "that is no time at all; leave the hours out for the whole day")
	}
	return h, nil
}

func parseDays(text string) (days uint8, bad string) {
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		a := slices.Index(weekdays(), first)
		b := a
		if isRange {
			b = slices.Index(weekdays(), last)
		}
		if a < 0 || b < 0 {
			return 0, part
		}
		for d := a; ; d = (d + 1) % 7 {
			days |= 1 << d
			if d == b {
				break
			}
		}
	}
	return days, ""
}

func parseMinute(text string) (int, bool) {
	var h, m int
	if n, err := fmt.Sscanf(text, "%d:%d", &h, &m); n != 2 || err != nil || len(text) > 5 || text[len(text)-3] != ':' ||
		h < 0 || m < 0 || m > 59 || h*60+m > allDay || strings.Trim(text, "0123456789:") != "" {
		return 0, false
	}
	return h*60 + m, true
}

// answerWords are the answers that are no addresses.
func answerWords() []string { return []string{"nxdomain", "nodata", "refuse", "drop", "log"} }

func (k *key) parseAnswer(s scalar) (any, *problem) {
	if slices.Contains(answerWords(), s.text) {
		return s.text, nil
	}
	if a, err := netip.ParseAddr(s.text); err == nil && a.Zone() == "" {
		return a.String(), nil
	}
	return nil, expected(k, s, meant(nearest(s.text, answerWords())))
}

// parseAnyHost reads an address, also one that no machine has.
func (k *key) parseAnyHost(s scalar) (any, *problem) {
	if a, err := netip.ParseAddr(s.text); err == nil && a.Zone() == "" {
		return a, nil
	}
	return nil, expected(k, s, "")
}

func (k *key) parseURL(s scalar) (any, *problem) {
	if s.text == "" && k.hasDef {
		return "", nil
	}
	u, err := url.Parse(s.text)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "" || len(s.text) > maxPath ||
		strings.ContainsFunc(s.text, func(r rune) bool { return r <= ' ' || r == 0x7F }):
		return nil, expected(k, s, "")
	case u.Scheme == "http" && !loopbackHost(u.Hostname()):
		return nil, expected(k, s, "without TLS, anyone on the path can put names into the list: write https")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, expected(k, s, "")
	case u.User != nil:
		return nil, expected(k, s, "many people can read a configuration: leave the password out")
	}
	return s.text, nil
}

func loopbackHost(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback() || host == "localhost"
}

func (k *key) parseTimeZone(s scalar) (any, *problem) {
	if s.text == "" {
		return "", nil
	}
	if _, err := time.LoadLocation(s.text); err != nil || s.text == "Local" {
		return nil, expected(k, s, "names are those of the files in /usr/share/zoneinfo, which this machine needs to have")
	}
	return s.text, nil
}

// Location returns the time zone of hours.
func (b *FilterBlock) Location() *time.Location {
	if b.TimeZone != "" {
		if zone, err := time.LoadLocation(b.TimeZone); err == nil {
			return zone
		}
	}
	return time.Local
}

// maxFilterLists is how many lists there can be: package filter tells 250 apart, and some are for
// names that are allowed.
const maxFilterLists = 128

// checkFilters reports lists that are none, or that nobody uses, and blocks of lists that are not there.
func (d *decoder) checkFilters() {
	c := d.config
	p := &c.Policy
	if !c.Recurses() {
		for _, path := range []string{"policy.lists", "policy.block", "policy.allow_names", "policy.allow_lists"} {
			at, set := d.at(path)
			if n := map[string]int{
				"policy.lists": len(p.Lists), "policy.block": len(p.Block),
				"policy.allow_names": len(p.AllowNames), "policy.allow_lists": len(p.AllowLists),
			}[path]; set &&
				n > 0 {
				d.fail(
					at,
					path+": an authoritative server filters nothing: what is in its zones is its own",
					"remove it, or choose role: internal-resolver",
				)
			}
		}
		return
	}
	known := map[string]position{}
	for i := range p.Lists {
		l := &p.Lists[i]
		at, _ := d.atIndex("policy.lists.name", int32(i))
		switch first, again := known[l.Name]; {
		case again:
			d.fail(at, fmt.Sprintf("list %s is already defined at %s", quote(l.Name), d.line(first, at)), "remove one of them")
		case !filterName(l.Name):
			d.fail(
				at,
				fmt.Sprintf("policy.lists[%d].name: expected at most 32 letters, digits, and - _ between them, found %s", i, quote(l.Name)),
				"",
			)
		case i >= maxFilterLists:
			d.fail(
				at,
				fmt.Sprintf("there are %d lists, and at most %d can be", len(p.Lists), maxFilterLists),
				"put your own lists into one file",
			)
			return
		}
		known[l.Name] = at
		switch {
		case l.File == "" && l.URL == "":
			d.fail(at, "list "+quote(l.Name)+": it has neither a file nor a url", "add file: lists/"+l.Name+".txt, or url: https://…")
		case l.File != "" && l.URL != "":
			d.fail(at, "list "+quote(l.Name)+": it has a file and a url", "remove one of them")
		}
	}
	d.checkBlocks(c, "policy", -1, known)
	for i := range c.Views {
		d.checkBlocks(c.InView(i), "views.policy", int32(i), known)
	}
}

// checkBlocks reports what is wrong with the blocks of a configuration, that of the view at index
// view, or of none, and lists that are not known.
func (d *decoder) checkBlocks(c *Config, path string, view int32, known map[string]position) {
	p, of, what := &c.Policy, int32(0), path
	if view >= 0 {
		of, what = view, "view "+quote(c.View())+": policy"
	}
	missing := func(at position, what, name string) {
		names := make([]string, 0, len(known))
		for n := range known {
			names = append(names, n)
		}
		slices.Sort(names)
		hint := meant(nearest(name, names))
		if hint == "" {
			hint = "define it: policy: {lists: [{name: " + yamlText(name) + ", file: lists/" + name + ".txt}]}"
		}
		d.fail(at, what+"there is no list "+quote(name), hint)
	}
	if _, own := d.atIndex(path+".block", of); own || view < 0 {
		section := d.table.find(path + ".block")
		for i := range p.Block {
			d.checkBlock(&p.Block[i], path+".block", section.nested(view, i), fmt.Sprintf("%s.block[%d]: ", what, i), known, missing)
		}
	}
	if _, own := d.atIndex(path+".allow_lists", of); !own && view >= 0 {
		return
	}
	for i, name := range p.AllowLists {
		if _, ok := known[name]; !ok {
			missing(d.item(path+".allow_lists", of, i), fmt.Sprintf("%s.allow_lists[%d]: ", what, i), name)
		}
	}
}

// checkBlock reports what is wrong with one block.
func (d *decoder) checkBlock(
	b *FilterBlock,
	path string,
	index int32,
	what string,
	known map[string]position,
	missing func(at position, what, name string),
) {
	if _, ok := known[b.List]; !ok {
		at, _ := d.atIndex(path+".list", index)
		missing(at, what, b.List)
	}
	words := 0
	for _, a := range b.Answer {
		if slices.Contains(answerWords(), a) {
			words++
		}
	}
	if words > 1 || words == 1 && len(b.Addrs()) > 0 || words+len(b.Addrs()) == 0 {
		at, _ := d.atIndex(path+".answer", index)
		d.fail(at, what+"answer: expected one word, or addresses", "of "+oneOf(answerWords())+" there can be one")
	}
	if zone, set := d.atIndex(path+".time_zone", index); set && len(b.Hours) == 0 {
		d.fail(zone, what+"time_zone is set, and there are no hours", "add hours: mon-fri 08:00-16:00, or remove it")
	}
}

// filterName reports whether a list can have a name: files are named by it.
func filterName(name string) bool {
	ok := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_'
	}
	return name != "" && len(name) <= 32 && strings.Trim(name, "-_") == name &&
		!strings.ContainsFunc(name, func(r rune) bool { return !ok(r) })
}

// checkFilterFiles reports files of lists that cannot be read.
func (d *decoder) checkFilterFiles() {
	for i, l := range d.config.Policy.Lists {
		if l.File == "" {
			continue
		}
		if p := unreadable(l.File); p != nil {
			at, _ := d.atIndex("policy.lists.file", int32(i))
			d.fail(at, fmt.Sprintf("list %s: %s %s", quote(l.Name), printable(l.File), p.text), p.hint)
		}
	}
}
