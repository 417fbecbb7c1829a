package convert

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Of zone files: the name of the zone in an origin, the record of a zone's start, and the time
// that Windows writes into its exports.
var (
	originLine = regexp.MustCompile(`(?mi)^\$ORIGIN[ \t]+(\S+)`)
	soaLine    = regexp.MustCompile(`(?mi)^([^\s;$]*)[ \t]+(?:\d+[a-z0-9]*[ \t]+)?(?:IN[ \t]+)?(?:\d+[a-z0-9]*[ \t]+)?SOA[ \t]`)
	windowsAge = regexp.MustCompile(`\[AGE:\d+\]`)
	windowsRR  = regexp.MustCompile(`(?mi)^.*[ \t](WINS|WINSR|WINS-R)[ \t][^\n(]*(\([^)]*\))?.*$`)
	windowsTop = regexp.MustCompile(`(?mi)^;[ \t]*Database file (\S+) for (\S+) zone`)
)

// zoneName returns the zone that a file holds, by its origin, its SOA record, or its name.
func zoneName(base, text string) string {
	soa := soaLine.FindStringSubmatchIndex(text)
	if soa == nil {
		return ""
	}
	owner := text[soa[2]:soa[3]]
	if strings.HasSuffix(owner, ".") {
		return domain(owner)
	}
	if m := windowsTop.FindStringSubmatch(text); m != nil {
		return domain(m[2])
	}
	if m := originLine.FindStringSubmatchIndex(text); m != nil && m[0] < soa[0] {
		if origin := domain(text[m[2]:m[3]]); owner == "@" || owner == "" {
			return origin
		} else if owner != "" {
			return domain(owner + "." + origin)
		}
	}
	name := strings.ToLower(base)
	for _, prefix := range []string{"db.", "named.", "zone."} {
		name = strings.TrimPrefix(name, prefix)
	}
	for _, suffix := range []string{".zone", ".db", ".hosts", ".txt", ".dns", ".bind", ".master", ".signed"} {
		name = strings.TrimSuffix(name, suffix)
	}
	return name
}

// readFolder takes a directory of zone files, or one file. What Windows exports is written
// again, without what only Windows reads.
func readFolder(c *converter, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return reason(path, err)
	}
	files := []string{path}
	if info.IsDir() {
		entries, err := os.ReadDir(path)
		if err != nil {
			return reason(path, err)
		}
		files = nil
		for _, e := range entries {
			if e.Type().IsRegular() {
				files = append(files, filepath.Join(path, e.Name()))
			}
		}
	}
	for _, f := range files {
		c.zoneFrom(f)
	}
	return nil
}

func (c *converter) zoneFrom(path string) {
	c.files = 0 // nothing includes anything here
	s := lineStmt(path, 1, filepath.Base(path))
	text, err := c.readFile(path, nil)
	if err != nil {
		c.note(s, Unsupported, "it cannot be read, or is too large: name it in zones yourself")
		return
	}
	name := zoneName(filepath.Base(path), text)
	if name == "" {
		c.note(s, Unsupported, "it has no SOA record")
		return
	}
	c.cleaned(s, &zone{name: name, file: path}, text)
}

// zoneFile takes a zone from a file of the server that it was served by.
func (c *converter) zoneFile(s *stmt, z *zone, path string) {
	text, err := c.readFile(path, nil)
	if err != nil {
		c.note(s, Unsupported, err.Error())
		return
	}
	z.file = path
	c.cleaned(s, z, text)
}

// cleaned takes a zone from its file, or from one beside the result without what only Windows
// reads.
func (c *converter) cleaned(s *stmt, z *zone, text string) {
	if !windowsAge.MatchString(text) && !windowsRR.MatchString(text) {
		c.addZone(s, z)
		return
	}
	clean := windowsAge.ReplaceAllString(text, "")
	if windowsRR.MatchString(clean) {
		c.note(s, Changed, "records that look names up in WINS are left out")
		clean = windowsRR.ReplaceAllStringFunc(clean, func(record string) string {
			return "; " + strings.ReplaceAll(record, "\n", "\n; ")
		})
	}
	if originLine.FindStringIndex(clean) == nil {
		clean = "$ORIGIN " + z.name + ".\n" + clean
	}
	if z.file = c.zonePath(s, z.name); z.file != "" && c.addZone(s, z) {
		c.write(z.file, clean)
		c.note(s, Changed, "times of Windows's aging are left out, in a file beside the result")
	}
}
