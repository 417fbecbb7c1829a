package report

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestMarkup reads all that this package writes into pages: each piece of markup is a constant, whole, and has its
// places in text or in attributes where a browser takes text for text.
func TestMarkup(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	pieces, places := 0, 0
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, f.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			at := fset.Position(call.Pos())
			if id, ok := call.Fun.(*ast.Ident); ok && id.Name == "markup" {
				t.Errorf("%v: something becomes markup", at)
			}
			method, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || method.Sel.Name != "put" && method.Sel.Name != "with" {
				return true
			}
			text, ok := literal(call.Args[0])
			if id, is := call.Args[0].(*ast.Ident); is && (id.Name == "style" || id.Name == "icons" || f.Name() == "markup.go") {
				return true // without places, or put would panic; and a method's own parameter
			}
			if !ok {
				t.Errorf("%v: not a literal", at)
				return true
			}
			found, fault := placesOf(text)
			if fault != "" {
				t.Errorf("%v: %s: %s", at, fault, text)
			}
			if found != len(call.Args)-1 {
				t.Errorf("%v: %d places, %d values", at, found, len(call.Args)-1)
			}
			pieces, places = pieces+1, places+found
			return true
		})
		if reads := regexp.MustCompile(`\.b = append`); f.Name() != "markup.go" && reads.MatchString(source(t, f.Name())) {
			t.Errorf("%s writes past the page's methods", f.Name())
		}
	}
	if pieces < 80 || places < 80 {
		t.Errorf("only %d pieces with %d places were found", pieces, places)
	}
}

func source(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// literal returns the text of a literal, or of some that are added up.
func literal(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, err == nil && e.Kind == token.STRING
	case *ast.BinaryExpr:
		a, ok := literal(e.X)
		b, fine := literal(e.Y)
		return a + b, ok && fine && e.Op == token.ADD
	}
	return "", false
}

var (
	tagForm       = regexp.MustCompile(`^(/?[a-zA-Z][a-zA-Z0-9]*|!DOCTYPE html)((?: [a-zA-Z:-]+="[^"<>]*"| [a-z]+)*)/?$`)
	attributeForm = regexp.MustCompile(` ([a-zA-Z:-]+)="([^"]*)"`)

	// inText are attributes whose values are read as text, numbers or names.
	inText = map[string]bool{
		"class": true, "id": true, "aria-label": true, "width": true, "height": true, "x": true, "y": true, "stroke-dasharray": true,
	}
)

// placesOf returns how many places a piece of markup has, and what is wrong with it.
func placesOf(m string) (n int, fault string) {
	raw := "" // the element whose content is no text
	for m != "" {
		text, rest, more := strings.Cut(m, "<")
		here := strings.Count(text, "{}")
		n += here
		switch {
		case here > 0 && raw != "":
			return n, "a place in " + raw
		case strings.Contains(text, ">"):
			return n, "a tag that begins elsewhere"
		case !more:
			m = ""
			continue
		}
		tag, after, ok := strings.Cut(rest, ">")
		form := tagForm.FindStringSubmatch(tag)
		if !ok || form == nil {
			return n, "not a tag: <" + tag
		}
		inside := 0
		for _, a := range attributeForm.FindAllStringSubmatch(tag, -1) {
			k := strings.Count(a[2], "{}")
			if k == 0 {
				continue
			}
			inside += k
			address := a[1] == "href" && (strings.HasPrefix(a[2], "#") || m == `<a href="{}" rel="noreferrer noopener">{}</a>`)
			if !inText[a[1]] && !address {
				return n, "a place in the attribute " + a[1]
			}
		}
		if inside != strings.Count(tag, "{}") {
			return n, "a place outside an attribute's value"
		}
		n += inside
		raw = ""
		if name := strings.ToLower(form[1]); name == "style" || name == "script" || name == "iframe" || name == "textarea" || name == "xmp" {
			raw = name
		}
		m = after
	}
	return n, ""
}

// TestMarkupStrict has TestMarkup's judge find each kind of place that would not be safe.
func TestMarkupStrict(t *testing.T) {
	for _, m := range []string{
		`<a href="{}">x</a>`, `<a href='{}'>`, `<a class={}>`, `<b {}>`, `<{}>`, `<p onclick="{}">`, `<p style="{}">`, `<script>{}</script>`,
		`<style>{}`, `<p class="{}`, `{}">`, `<!-- {} -->`, `<img src="{}">`, `<a href="javascript:{}">`, `<a href="{}#x">x</a>`, `<p class='a' id="{}">`,
	} {
		if _, fault := placesOf(m); fault == "" {
			t.Errorf("%s passes", m)
		}
	}
	for _, m := range []string{`{}`, `<p>{}</p>`, `<p class="a {}">{}`, `<a href="#t{}-{}">`, `</p>`, `<rect x="{}" width="{}"/>`} {
		if n, fault := placesOf(m); fault != "" || n != strings.Count(m, "{}") {
			t.Errorf("%s: %d, %s", m, n, fault)
		}
	}
}

// TestMarkupValues has each octet as a value: none ends the text or the attribute that it is in, and what is no address of the Web
// is no link.
func TestMarkupValues(t *testing.T) {
	for c := range 256 {
		var p page
		p.put(`<p class="{}">{}</p>`, string([]byte{byte(c)}), string([]byte{byte(c)}))
		if n := strings.Count(string(p.b), "<") + strings.Count(string(p.b), ">") + strings.Count(string(p.b), `"`); n != 6 {
			t.Errorf("%#x: %s", c, p.b)
		}
	}
	for _, address := range []string{"", "javascript:alert(1)", "data:text/html,x", "//host", " https://x", "HTTPS://x", "http://x", "/x"} {
		var p page
		p.link("<b>", address)
		if string(p.b) != "&lt;b&gt;" {
			t.Errorf("%q: %s", address, p.b)
		}
	}
	for _, wrong := range []func(p *page){
		func(p *page) { p.put(`<p>{}</p>`) }, func(p *page) { p.put(`<p></p>`, "x") }, func(p *page) { p.put(`{}`, []byte("x")) }, func(p *page) { p.put(`{}`, markup("<b>")) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("what does not fit is taken")
				}
			}()
			wrong(&page{})
		}()
	}
}
