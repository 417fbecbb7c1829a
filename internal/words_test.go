package internal_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

// unusedWords are not written in what people read, with what to write: docs/GLOSSARY.md has the
// terms. They are looked for in the strings of the product and in its documents.
var unusedWords = []struct {
	word *regexp.Regexp
	use  string
}{
	{regexp.MustCompile(`(?i)\bfolders?\b`), "directory"},
	{regexp.MustCompile(`(?i)\blook-ups?\b`), "lookup"},
	{regexp.MustCompile(`(?i)\ba fault of port53\b|\ban error in port53\b`), "internal error"},
	{regexp.MustCompile(`(?i)\btells? whether\b`), "reports whether"},
	{regexp.MustCompile(`(?i)\bat one time\b`), "at the same time, or at once"},
	{regexp.MustCompile(`(?i)\banew\b`), "again"},
	{regexp.MustCompile(`(?i)\bkeepers?\b`), "zone manager"},
	{regexp.MustCompile(`(?i)\bflights\b`), "queries in flight"},
	{regexp.MustCompile(`(?i)\bNSEC spans?\b|\bspans of (NSEC|proofs)\b`), "NSEC cache"},
	{regexp.MustCompile(`(?i)\boctets of (memory|the heap|(a|the) file)\b`), "bytes"},
	{regexp.MustCompile(`(?i)\blocks (himself|themselves) out\b`), "you cannot lock yourself out"},
	{regexp.MustCompile(`(?i)\bkept over a (re)?start\b`), "survives a restart"},
	{regexp.MustCompile(`(?i)\bseen from the (folder|directory)\b`), "relative to the directory"},
	{regexp.MustCompile(`(?i)\bthe one before goes on\b|\bthose before go on\b`), "the previous one stays in effect"},
	{regexp.MustCompile(`(?i)\bnothing is kept between runs\b`), "nothing is stored across restarts"},
	{regexp.MustCompile(`(?i)\bstands (odd|malformed) packets\b`), "survives malformed packets"},
	{regexp.MustCompile(`(?i)\bkeeps (the|its) zone to (itself|himself)\b`), "refuses zone transfers"},
	{regexp.MustCompile(`\b(master|slave) (server|zone)s?\b`), "primary, secondary"},
	{regexp.MustCompile(`(?i)\b(resolving|internal) roles?\b`), "the roles that resolve, or the roles by name"},
	{regexp.MustCompile(`(?i)\bchanges of the files?\b`), "changes to the file"},
	{regexp.MustCompile(`\b(expected|found|each) a mapping\b`), "block"},
}

// ownNames are identifiers that no exported name has as a word, with the field's.
var ownNames = map[string]string{
	"Keeper": "Manager", "Spans": "NSECCache", "Span": "NSECCache", "Flights": "InFlight", "Flight": "InFlight",
	"Taste": "Check", "Strangers": "Unexpected", "Gives": "AllowTransfer", "Hears": "AllowNotify",
	"Folder": "Directory", "Folders": "Directories", "Deed": "Operation", "Deeds": "Operations",
	"Oddities": "Probes", "Doubt": "Mismatch",
	"Sealed": "Transport or Encrypted", "Nearly": "NearMiss", "Strays": "Unwanted", "Voucher": "TrustPoint", "Vouches": "Trusts",
	"Fate": "Outcome", "Because": "Reason", "Told": "Step", "Mend": "Remedy", "Reading": "Result", "Understand": "Classify",
	"Part": "Partition", "Door": "Listener", "Doors": "Listeners",
	"Visitor": "ClientConn", "Guest": "ClientConn", "Trouble": "Error", "Sight": "Observation",
	"Leaves": "Retiring", "Flaw": "Vulnerability", "Flaws": "Vulnerabilities",
	"Doubts": "Warnings", "Looker": "Checker", "Stopper": "Blocker", "Stops": "Blocks", "Swept": "FromRange", "Grave": "Fatal",
	"Uncontained": "PropagatePanics", "Hiding": "EncryptedPadding", "Unheard": "TCPUnlessUDPKnown",
}

// exemptWords are where another product's word, or one of ours in a list of such, has to be.
var exemptWords = map[string]bool{
	"../docs/GLOSSARY.md": true, // it has them in order to say what to write instead
	"../CHANGELOG.md":     true, // it says what was
	"../docs/RFC.md":      true, // it quotes comments
}

// TestWords reads the strings and the exported names of the product, the texts that it embeds, and
// the documents, and fails on a word that the glossary has another one for. In a log line the key
// of an error is error.
func TestWords(t *testing.T) {
	files, names := 0, 0
	for _, root := range []string{".", "../cmd"} {
		walk(t, root, ".go", func(path string, text []byte) {
			if strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "lab/") || strings.HasPrefix(path, "dnstest/") {
				return
			}
			files++
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, path, text, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			faults, n := wrongWords(fset, file)
			names += n
			for _, fault := range faults {
				t.Error(fault)
			}
		})
	}
	for _, root := range []string{"catalogue/prose", "config/keys", "../docs", "../packaging"} {
		for _, ext := range []string{".txt", ".md"} {
			walk(t, root, ext, func(path string, text []byte) {
				files++
				for i, line := range strings.Split(string(text), "\n") {
					if fault := wrongWord(line); fault != "" && !exemptWords[path] {
						t.Errorf("%s:%d: %s", path, i+1, fault)
					}
				}
			})
		}
	}
	for _, path := range []string{"../README.md", "../CONTRIBUTING.md", "../SECURITY.md"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			if fault := wrongWord(line); fault != "" {
				t.Errorf("%s:%d: %s", path, i+1, fault)
			}
		}
	}
	if files < 300 || names < 3000 {
		t.Fatalf("%d files, %d names: is the test run from internal?", files, names)
	}
}

// walk calls f for each file below root that ends in ext, but for test data.
func walk(t *testing.T, root, ext string, f func(path string, text []byte)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == "testdata" {
			return filepath.SkipDir
		}
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ext) {
			return err
		}
		text, err := os.ReadFile(path)
		if err == nil {
			f(filepath.ToSlash(path), text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// wrongWord says which word of a text is not used, and which to use.
func wrongWord(text string) string {
	for _, u := range unusedWords {
		if m := u.word.FindString(text); m != "" {
			return fmt.Sprintf("%q: write %s (docs/GLOSSARY.md)", m, u.use)
		}
	}
	return ""
}

// wrongWords returns what is wrong with the strings, the exported names and the log calls of a
// file, and how many names it has.
func wrongWords(fset *token.FileSet, file *ast.File) (faults []string, names int) {
	name := func(id *ast.Ident) {
		if !id.IsExported() {
			return
		}
		names++
		for _, word := range words(strings.ReplaceAll(id.Name, "InFlight", "")) {
			if use, ok := ownNames[word]; ok {
				faults = append(faults, fmt.Sprintf("%s: the exported name %s: say %s", fset.Position(id.Pos()), id.Name, use))
			}
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.FuncDecl:
			name(n.Name)
		case *ast.TypeSpec:
			name(n.Name)
		case *ast.ValueSpec:
			for _, id := range n.Names {
				name(id)
			}
		case *ast.Field:
			for _, id := range n.Names {
				name(id)
			}
			if n.Tag != nil {
				return false
			}
		case *ast.BasicLit:
			if text, err := strconv.Unquote(n.Value); n.Kind == token.STRING && err == nil {
				if fault := wrongWord(text); fault != "" {
					faults = append(faults, fmt.Sprintf("%s: %s", fset.Position(n.Pos()), fault))
				}
			}
		case *ast.CallExpr:
			if at := problemKey(n); at != nil {
				faults = append(faults, fmt.Sprintf("%s: the key of an error in a log line is error", fset.Position(at.Pos())))
			}
		}
		return true
	})
	return faults, names
}

// problemKey returns the argument "problem" of a call that logs, or nil.
func problemKey(call *ast.CallExpr) ast.Node {
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !strings.Contains(" Debug Info Warn Error Log ", " "+f.Sel.Name+" ") {
		return nil
	}
	for _, arg := range call.Args {
		if lit, ok := arg.(*ast.BasicLit); ok && lit.Value == `"problem"` {
			return lit
		}
	}
	return nil
}

// words cuts an identifier at its capitals.
func words(name string) (out []string) {
	start := 0
	for i, r := range name {
		if i > 0 && unicode.IsUpper(r) && !unicode.IsUpper(rune(name[i-1])) {
			out = append(out, name[start:i])
			start = i
		}
	}
	return append(out, name[start:])
}

// TestWordsAreSeen has one fault of each kind, and what is none.
func TestWordsAreSeen(t *testing.T) {
	const text = "package p\n" +
		"type Keeper struct{ Spans, spans int }\n" +
		"func (k *keeper) SpansOf() {}\n" +
		"func Spanning() {}\n" +
		"var a, b = \"in a folder\", \"in the directory\"\n" +
		"func f() { log.Warn(\"m\", \"problem\", 1); log.Warn(\"m\", \"error\", 1); json(\"problem\", 1) }\n"
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "p.go", text, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	faults, names := wrongWords(fset, file)
	got := strings.Join(faults, "\n")
	for _, want := range []string{"p.go:2:6", "p.go:2:21", "p.go:3:18", "p.go:5:12", "p.go:6:26"} {
		if !strings.Contains(got, want+":") {
			t.Errorf("nothing at %s", want)
		}
	}
	if len(faults) != 5 || names != 4 {
		t.Errorf("%d faults, %d names:\n%s", len(faults), names, got)
	}
}
