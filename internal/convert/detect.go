package convert

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// A format is one kind of configuration.
type format struct {
	kind, what string
	fits       func(f *found) bool
	read       func(c *converter, path string) error
}

// A found is a file whose format is looked for.
type found struct {
	path, base string
	text       string
	dir        bool
}

func (f *found) has(pattern string) bool { return regexp.MustCompile(pattern).MatchString(f.text) }

// formats returns all that can be read. Of several that fit, the first counts.
func formats() []format {
	return []format{
		{"bind", "BIND's named.conf", func(f *found) bool {
			return f.has(`(?m)^\s*(options|zone\s+"?[^"\s]+"?(\s+(IN|in))?|acl\s+\S+|view\s+\S+|key\s+\S+|logging|controls|masters|primaries)\s*\{`) || f.has(`(?m)^\s*include\s+"[^"]+"\s*;`)
		}, readBIND},
		{"knot", "Knot DNS's knot.conf", func(f *found) bool {
			return f.has(`(?m)^\s+- domain:`) || f.has(`(?m)^(zone|template|remote|acl|database|log|control):\s*(#.*)?$`) && !f.has(`(?m)^\s*(zonefile|name|ip-address|provide-xfr|forward-addr|control-enable):`)
		}, readKnot},
		{"nsd", "NSD's nsd.conf", func(f *found) bool {
			return f.has(`(?m)^\s*(zonefile|provide-xfr|request-xfr|ip-address|zonesdir|zonelistfile|include-pattern|server-count|hide-version):`) ||
				f.has(`(?m)^\s*(pattern|zone):\s*(#.*)?$`)
		}, readNSD},
	}
}

// Kinds returns what the configurations are called that can be read.
func Kinds() []string {
	var out []string
	for _, f := range formats() {
		out = append(out, f.kind)
	}
	return out
}

// Detect returns whose configuration a file or a directory is, by what is in it.
func Detect(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", reason(path, err)
	}
	f := &found{path: path, base: strings.ToLower(filepath.Base(path)), dir: info.IsDir()}
	if !f.dir {
		text, err := (&converter{}).readFile(path, nil)
		if err != nil {
			return "", err
		}
		f.text = text
	}
	for _, format := range formats() {
		if format.fits(f) {
			return format.kind, nil
		}
	}
	var known []string
	for _, f := range formats() {
		known = append(known, f.kind+" ("+f.what+")")
	}
	return "", fmt.Errorf("%s: it is not clear whose configuration this is; known are %s", Printable(path), strings.Join(known, ", "))
}
