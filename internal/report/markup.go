package report

import (
	"fmt"
	"html"
	"strconv"
	"strings"
)

// A markup is HTML of our own, which goes into a page as it is. Constants alone become one by themselves: what was
// measured, read or received is a string, and a test holds that nothing in this package is converted.
type markup string

// A page is HTML as it grows. Its zero value is empty.
//
// What is written with html/template keeps every exported method of the program from being left out by the linker,
// a tenth of its size, since templates call methods by name. Here each piece of markup has its places, "{}", and is
// whole: it begins and ends between two tags. A place stands in text or in an attribute's value within double
// quotes, never where a browser reads code, a style or the scheme of an address; what is put there is escaped for
// both. A test reads all pieces of the package and holds that.
type page struct{ b []byte }

// put appends a piece of markup with values, strings or ints, in its places. As many as there are places, or
// it panics.
func (p *page) put(m markup, values ...any) {
	rest := string(m)
	for _, v := range values {
		before, after, ok := strings.Cut(rest, "{}")
		if !ok {
			panic(fmt.Sprintf("report: no place for %v in %s", v, m))
		}
		p.b = append(p.b, before...)
		switch v := v.(type) {
		case string:
			p.b = append(p.b, html.EscapeString(v)...)
		case int:
			p.b = strconv.AppendInt(p.b, int64(v), 10)
		default:
			panic(fmt.Sprintf("report: %T in a page", v))
		}
		rest = after
	}
	if strings.Contains(rest, "{}") {
		panic("report: too few values for " + string(m))
	}
	p.b = append(p.b, rest...)
}

// with appends a piece of markup with a text in its place, or nothing if there is no text.
func (p *page) with(m markup, text string) {
	if text != "" {
		p.put(m, text)
	}
}

// link appends a text that leads to an address, which is one of the Web or none.
func (p *page) link(text, address string) {
	if strings.HasPrefix(address, "https://") {
		p.put(`<a href="{}" rel="noreferrer noopener">{}</a>`, address, text)
		return
	}
	p.put(`{}`, text)
}
