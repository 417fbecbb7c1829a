package convert

import (
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
)

// attribute is the name of a section or of what is set in one.
var attribute = regexp.MustCompile(`^[a-z][a-z0-9-]*:$`)

func (c *converter) nsdWords(path string, from *word) ([]word, error) {
	if c.files++; c.files > maxFiles {
		return nil, from.fail("more than %d files are included", maxFiles)
	}
	text, err := readFile(path)
	if err != nil {
		if from != nil {
			return nil, from.fail("%v", err)
		}
		return nil, err
	}
	var out []word
	for n, line := range strings.Split(text, "\n") {
		words, err := lineWords(path, n+1, line)
		if err != nil {
			return nil, err
		}
		if len(words) != 2 || words[0].text != "include:" {
			out = append(out, words...)
			continue
		}
		files, _ := filepath.Glob(words[1].text)
		if len(files) == 0 && !strings.ContainsAny(words[1].text, "*?[") {
			return nil, words[1].fail("there is no file %s", words[1].text)
		}
		c.note(&stmt{words: words}, Taken, "")
		for _, f := range files {
			more, err := c.nsdWords(f, &words[1])
			if err != nil {
				return nil, err
			}
			out = append(out, more...)
		}
	}
	return out, nil
}

// lineWords splits a line into words, some in quotes, until a #.
func lineWords(file string, line int, text string) ([]word, error) {
	var out []word
	for i := 0; i < len(text); {
		w := word{file: file, line: line, col: i + 1}
		switch ch := text[i]; {
		case ch == ' ' || ch == '\t' || ch == '\r':
			i++
			continue
		case ch == '#':
			return out, nil
		case ch == '"' || ch == '\'':
			n := strings.IndexByte(text[i+1:], ch)
			if n < 0 {
				return nil, w.fail("a string without an end")
			}
			w.text, w.quoted = text[i+1:i+1+n], true
			i += n + 2
		case strings.IndexByte("[],", ch) >= 0:
			w.text = string(ch)
			i++
		default:
			n := strings.IndexAny(text[i:], " \t\r[],")
			if n < 0 {
				n = len(text) - i
			}
			w.text = text[i : i+n]
			i += n
		}
		out = append(out, w)
	}
	return out, nil
}

// nsd …
// In one piece: it is a table of options and what becomes of each.
func (c *converter) nsd(path string) error {
	words, err := c.nsdWords(path, nil)
	if err != nil {
		return err
	}
	var top []*stmt
	patterns := map[string]*stmt{}
	for i, w := range words {
		switch {
		case !attribute.MatchString(w.text) || w.quoted:
			if len(top) == 0 || len(top[len(top)-1].block) == 0 {
				return w.fail("%s is the value of nothing", w.text)
			}
			last := top[len(top)-1].block
			last[len(last)-1].words = append(last[len(last)-1].words, w)
			continue
		case i+1 == len(words) || attribute.MatchString(words[i+1].text) && !words[i+1].quoted:
			w.text = strings.TrimSuffix(w.text, ":")
			top = append(top, &stmt{words: []word{w}})
			continue
		case len(top) == 0:
			return w.fail("%s stands in no section", w.text)
		}
		w.text = strings.TrimSuffix(w.text, ":")
		s := top[len(top)-1]
		s.block = append(s.block, &stmt{words: []word{w}})
	}
	server := &stmt{}
	for _, s := range top {
		switch s.name() {
		case "server":
			server.block = append(server.block, s.block...)
		case "pattern":
			if n := find(s.block, "name"); n != nil {
				patterns[n.arg(1)] = s
			}
			c.note(s, Taken, "")
		case "key":
			name, algorithm, secret := find(s.block, "name"), find(s.block, "algorithm"), find(s.block, "secret")
			if name == nil || secret == nil || algorithm == nil {
				return s.words[0].fail("a key without name, algorithm or secret")
			}
			c.key(s, name.arg(1), algorithm.arg(1), secret.arg(1))
		}
	}
	dir := "/etc/nsd"
	port := ""
	if s := find(server.block, "port"); s != nil {
		port = s.arg(1)
	}
	for _, s := range server.block {
		switch s.name() {
		case "zonesdir":
			dir = s.arg(1)
			c.note(s, Taken, "")
		case "ip-address":
			addr, p, ok := strings.Cut(s.arg(1), "@")
			if !ok {
				p = port
			}
			c.listen(addr, p)
			c.note(s, Taken, "")
		case "port":
			c.note(s, Taken, "")
		default:
			c.other(s, nsdOwn)
		}
	}
	if len(c.out.listen) == 0 {
		c.listen("0.0.0.0", port)
		c.listen("::", port)
	}
	for _, s := range top {
		switch s.name() {
		case "zone":
			c.nsdZone(s, patterns, dir)
		case "server", "pattern", "key":
		default:
			c.note(s, Changed, "port53 has its own: control, metrics and log")
		}
	}
	return nil
}

// nsdExpand puts patterns in the place of include-pattern.
func nsdExpand(block []*stmt, patterns map[string]*stmt, depth int) []*stmt {
	var out []*stmt
	for _, s := range block {
		if p := patterns[s.arg(1)]; s.name() == "include-pattern" && p != nil && depth < maxDepth {
			for _, e := range nsdExpand(p.block, patterns, depth+1) {
				if e.name() != "name" {
					out = append(out, e)
				}
			}
			continue
		}
		out = append(out, s)
	}
	return out
}

func (c *converter) nsdZone(s *stmt, patterns map[string]*stmt, dir string) {
	z := &zone{}
	block := nsdExpand(s.block, patterns, 0)
	if n := find(block, "name"); n != nil {
		z.name = domain(n.arg(1))
	}
	allowNotify, blocked := []*stmt{}, false
	for _, e := range block {
		args := e.args()
		if len(args) > 0 && (args[0] == "AXFR" || args[0] == "UDP") {
			args = args[1:]
		}
		text, k := "", ""
		if len(args) > 1 {
			text, k = args[0], args[1]
		}
		text, port, _ := strings.Cut(text, "@")
		addr, err := netip.ParseAddr(text)
		signed := k != "NOKEY"
		switch e.name() {
		case "name":
			c.note(e, Taken, "")
		case "zonefile":
			z.file = zoneFile(e.arg(1), z.name, dir)
			c.note(e, Taken, "")
		case "request-xfr":
			if err != nil || signed && !c.sign(e, z, k) {
				c.note(e, NotTaken, "the zone is not fetched from there")
				continue
			}
			z.primaries = append(z.primaries, server(addr, port))
			c.note(e, Taken, "")
		case "provide-xfr":
			switch {
			case k == "BLOCKED":
				blocked = true
				c.note(e, NotTaken, "exceptions are not known: nobody may have zone "+z.name)
			case !network(text):
				c.note(e, NotTaken, "only networks and addresses are known")
			case !signed || c.sign(e, z, k):
				z.allowTransfer = append(z.allowTransfer, text)
				c.note(e, Taken, "")
			}
		case "notify":
			if err != nil || signed && !c.sign(e, z, k) {
				c.note(e, NotTaken, "nobody is told of changes there")
				continue
			}
			z.notify = append(z.notify, server(addr, port))
			c.note(e, Taken, "")
		case "allow-notify":
			allowNotify = append(allowNotify, e)
		default:
			c.note(e, NotTaken, "port53 has nothing like it for a zone")
		}
	}
	if blocked {
		z.allowTransfer = nil
	}
	for _, e := range allowNotify {
		host, _, _ := strings.Cut(e.arg(1), "@")
		outcome, why := NotTaken, "only primaries are heard when they tell of changes"
		for _, p := range z.primaries {
			if p == host || strings.HasPrefix(p, host+":") || strings.HasPrefix(p, "["+host+"]") {
				outcome, why = Taken, ""
			}
		}
		c.note(e, outcome, why)
	}
	c.addZone(s, z)
}

// addZone takes a zone that comes from somewhere.
func (c *converter) addZone(s *stmt, z *zone) {
	if z.name == "" || z.file == "" && len(z.primaries) == 0 {
		c.note(s, NotTaken, "zone "+z.name+" comes from nowhere")
		return
	}
	c.out.zones = append(c.out.zones, z)
	c.note(s, Taken, "")
}

func zoneFile(file, name, dir string) string {
	file = strings.ReplaceAll(file, "%s", name)
	if !filepath.IsAbs(file) {
		file = filepath.Join(dir, file)
	}
	return file
}
