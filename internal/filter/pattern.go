package filter

import (
	"regexp"
	"strings"

	"port53/internal/wire"
)

// A glob is a pattern of AdBlock lists that is not just a name: text in which * stands for anything.
type glob struct {
	parts  []string // between the stars, none of them empty
	labels bool     // the first part begins where a label does
	anchor bool     // the first part begins where the name does
	end    bool     // the last part ends where the name does
}

// match reports whether the pattern is about a host name in text form.
func (g *glob) match(host string) bool {
	if g.end && !strings.HasSuffix(host, g.parts[len(g.parts)-1]) {
		return false
	}
	if !g.labels {
		return g.from(host, g.anchor)
	}
	for {
		if g.from(host, true) {
			return true
		}
		dot := strings.IndexByte(host, '.')
		if dot < 0 {
			return false
		}
		host = host[dot+1:]
	}
}

// from reports whether the parts follow each other in text, the first at its begin if anchored.
func (g *glob) from(text string, anchored bool) bool {
	for i, part := range g.parts {
		switch last := g.end && i == len(g.parts)-1; {
		case anchored && i == 0 && last:
			return text == part
		case anchored && i == 0:
			if !strings.HasPrefix(text, part) {
				return false
			}
			text = text[len(part):]
		case last:
			return strings.HasSuffix(text, part)
		default:
			at := strings.Index(text, part)
			if at < 0 {
				return false
			}
			text = text[at+len(part):]
		}
	}
	return true
}

// A pattern is a rule that no name can stand for.
type pattern struct {
	rule
	glob *glob
	re   *regexp.Regexp
	text string // as it was written
}

func (p *pattern) match(host string) bool {
	if p.re != nil {
		return p.re.MatchString(host)
	}
	return p.glob.match(host)
}

// appendText appends a name in lower case as lists write it, without the last dot. A dot within a
// label becomes an octet that no list has.
func appendText(dst []byte, name []byte) []byte {
	for i := 0; name[i] != 0; i += 1 + int(name[i]) {
		if i > 0 {
			dst = append(dst, '.')
		}
		for _, c := range name[i+1 : i+1+int(name[i])] {
			if c == '.' {
				c = 0
			}
			dst = append(dst, c)
		}
	}
	return dst
}

// An extra is the conditions of a rule that few have.
type extra struct {
	types, notTypes     []wire.Type
	clients, notClients *clientSet
	except              [][]byte // names, in wire form, that it is not for, nor for those below
	glob                *glob    // that the name has to fit
	rewrite             *rewrite
	answer              Action // in place of what the block says; Pass: none
}

// fits reports whether the conditions hold for what is looked for.
func (x *extra) fits(s *search) bool {
	if len(x.types) > 0 && !containsType(x.types, s.q.Type) || containsType(x.notTypes, s.q.Type) {
		return false
	}
	if x.clients != nil && !x.clients.has(s.q.Client) || x.notClients != nil && x.notClients.has(s.q.Client) {
		return false
	}
	if len(x.except) > 0 {
		if s.name == nil {
			return false
		}
		for _, name := range x.except {
			if wire.Subdomain(s.name.Name(), name) {
				return false
			}
		}
	}
	return x.glob == nil || s.name != nil && x.glob.match(s.host())
}

func containsType(list []wire.Type, t wire.Type) bool {
	for _, x := range list {
		if x == t {
			return true
		}
	}
	return false
}
