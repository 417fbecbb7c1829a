package convert

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// pdnsTables are the tables of PowerDNS's databases that are read.
func pdnsTables() []string {
	return []string{"domains", "records", "domainmetadata", "cryptokeys", "tsigkeys"}
}

// readPDNSDatabase takes the zones of a database of PowerDNS: a file of SQLite, or what sqlite3
// .dump, mysqldump and pg_dump write.
func readPDNSDatabase(c *converter, path string) error {
	if err := c.pdnsDatabase(lineStmt(path, 1, path), path, nil); err != nil {
		return err
	}
	c.listen("0.0.0.0", "")
	c.listen("::", "")
	return nil
}

// pdnsDatabase takes the zones of a database. from is what names it; may are those who may have
// zones whole, by default this machine. Notes name the row of the domain instead of a line.
func (c *converter) pdnsDatabase(from *stmt, path string, may netset) error {
	tables, err := pdnsRows(path)
	if err != nil {
		return err
	}
	if tables["domains"] == nil {
		c.note(from, Unsupported, "it has no table of domains, or an empty one")
		return nil
	}
	if may == nil {
		may = loopback()
	}
	row := func(n, column int, words ...string) *stmt {
		s := from.with(words...)
		for i := range s.words {
			s.words[i].file, s.words[i].line, s.words[i].col = path, n+1, column
		}
		return s
	}
	for i, k := range tables["tsigkeys"] {
		c.key(row(i, 2, "key", k["name"]), k["name"], k["algorithm"], k["secret"])
	}
	records, meta, signed := map[string][]sqlRow{}, map[string]map[string][]string{}, map[string]bool{}
	for _, r := range tables["records"] {
		records[r["domain_id"]] = append(records[r["domain_id"]], r)
	}
	for _, m := range tables["domainmetadata"] {
		of := meta[m["domain_id"]]
		if of == nil {
			of = map[string][]string{}
			meta[m["domain_id"]] = of
		}
		of[strings.ToUpper(m["kind"])] = append(of[strings.ToUpper(m["kind"])], m["content"])
	}
	for _, k := range tables["cryptokeys"] {
		signed[k["domain_id"]] = signed[k["domain_id"]] || sqlTrue(k["active"])
	}
	c.note(from, Converted, "")
	for i, d := range tables["domains"] {
		id := d["id"]
		s := row(i, 1, "zone", d["name"])
		keys := ""
		if signed[id] && !slices.Contains(meta[id]["PRESIGNED"], "1") {
			keys = path
		}
		c.pdnsZone(s, d, records[id], meta[id], may, keys)
	}
	return nil
}

// pdnsSigning takes over that PowerDNS signs a zone: its keys stay, whatever the policy would make.
func (c *converter) pdnsSigning(s *stmt, z *zone, meta map[string][]string, keys string) {
	z.policy, z.keysFrom = "default", keysDir(z.name)
	if p := strings.Fields(strings.Join(meta["NSEC3PARAM"], " ")); len(p) > 1 {
		z.policy = "pdns-nsec3"
		text := "{name: \"pdns-nsec3\", denial: nsec3}"
		if p[1] == "1" {
			z.policy, text = "pdns-nsec3-opt-out", "{name: \"pdns-nsec3-opt-out\", denial: nsec3-opt-out}"
		}
		if !slices.Contains(c.out.policies, text) {
			c.out.policies = append(c.out.policies, text)
		}
	}
	c.note(s, Changed, bringKeys(z, "PowerDNS", fmt.Sprintf("port53 zone keys import --dir %s %s. %s", z.keysFrom, z.name, keys)))
}

// pdnsRows reads the tables of a database.
func pdnsRows(path string) (sqlTables, error) {
	text, err := readDatabase(path)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(string(text[:min(len(text), len(sqliteMagic))]), sqliteMagic) {
		return sqlDump(string(text), pdnsTables()), nil
	}
	d, err := openSQLite(path)
	if err != nil {
		return nil, err
	}
	return d.tables(pdnsTables())
}

// IsDatabase reports whether a file is a database of SQLite, or what programs write of one as SQL.
func IsDatabase(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	b := make([]byte, databaseHead)
	n, _ := io.ReadFull(f, b)
	text := string(b[:n])
	return strings.HasPrefix(text, sqliteMagic) || strings.Contains(text, "CREATE TABLE") ||
		strings.Contains(text, "-- MySQL dump") || strings.Contains(text, "-- PostgreSQL database dump")
}

// databaseHead is how much of a file shows what it is, in bytes.
const databaseHead = 4096

// A CryptoKey is a row of PowerDNS's table cryptokeys.
type CryptoKey struct {
	ID                string
	Flags             uint16
	Active, Published bool
	Content           string
}

// CryptoKeys returns the keys of a zone in a database of PowerDNS.
func CryptoKeys(path, zone string) (keys []CryptoKey, err error) {
	tables, err := pdnsRows(path)
	if err != nil {
		return nil, err
	}
	if tables["cryptokeys"] == nil {
		return nil, fmt.Errorf("%s: it has no table cryptokeys, or an empty one: expected a database of PowerDNS", path)
	}
	at := slices.IndexFunc(tables["domains"], func(d sqlRow) bool { return domain(d["name"]) == domain(zone) })
	if at < 0 {
		return nil, fmt.Errorf("%s: it has no zone %s", path, zone)
	}
	for _, k := range tables["cryptokeys"] {
		if k["domain_id"] != tables["domains"][at]["id"] {
			continue
		}
		flags, err := strconv.ParseUint(k["flags"], 10, 16)
		if err != nil {
			return nil, fmt.Errorf("%s: cryptokeys %s: flags %q: expected 256 or 257", path, k["id"], k["flags"])
		}
		_, says := k["published"] // which PowerDNS has since 4.3
		keys = append(keys, CryptoKey{k["id"], uint16(flags), sqlTrue(k["active"]), !says || sqlTrue(k["published"]), k["content"]})
	}
	return keys, nil
}

func loopback() netset {
	return setOf(netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))
}

func sqlTrue(s string) bool { return s == "1" || s == "t" || strings.EqualFold(s, "true") }

// pdnsZone takes a zone of a database, whose records are written into a file beside the result. keys is the
// database if PowerDNS signs the zone.
func (c *converter) pdnsZone(s *stmt, d sqlRow, records []sqlRow, meta map[string][]string, may netset, keys string) {
	z := &zone{name: domain(d["name"]), given: given{alone: may}}
	if list := meta["ALLOW-AXFR-FROM"]; list != nil {
		for _, text := range list {
			if n, ok := parseNet(text); ok {
				z.alone = z.alone.union(n)
			} else {
				c.note(s, Unsupported, "ALLOW-AXFR-FROM "+text+": list the addresses of the secondaries")
			}
		}
	}
	for _, name := range meta["TSIG-ALLOW-AXFR"] {
		if name = domain(name); c.keys[name] == nil {
			c.note(s, Unsupported, "there is no key "+name+" that could be taken")
		} else if !slices.Contains(z.transferKeys, name) {
			z.transferKeys = append(z.transferKeys, name)
		}
	}
	z.notify = c.servers(s, meta["ALSO-NOTIFY"])
	if keys != "" {
		c.pdnsSigning(s, z, meta, keys)
	}
	switch kind := strings.ToUpper(d["type"]); kind {
	case "SLAVE", "SECONDARY":
		z.primaries = c.servers(s, commas(d["master"]))
		for _, name := range meta["AXFR-MASTER-TSIG"] {
			if !c.sign(s, z, name) {
				c.note(s, Unsupported, "it would be fetched without the key that it was fetched with")
				return
			}
		}
		if len(z.primaries) == 0 {
			c.note(s, Unsupported, "it has no primaries that could be taken")
			return
		}
		c.addZone(s, z)
		return
	case "CONSUMER", "PRODUCER":
		c.note(s, Unsupported, "write catalog: consume or produce, and members, yourself")
		return
	}
	for _, kind := range []string{
		"LUA-AXFR-SCRIPT", "ALLOW-DNSUPDATE-FROM", "TSIG-ALLOW-DNSUPDATE", "FORWARD-DNSUPDATE",
		"GSS-ALLOW-AXFR-PRINCIPAL",
	} {
		if meta[kind] != nil {
			c.note(s, Unsupported, kind+" has no part in the result: write updates at the zone")
		}
	}
	text := c.pdnsRecords(s, z.name, records)
	if text == "" {
		c.note(s, Unsupported, "it has no SOA record")
		return
	}
	if z.file = c.zonePath(s, z.name); z.file != "" && c.addZone(s, z) {
		c.write(z.file, text)
	}
}

// pdnsNames are the words of a record's content that are names, which stand there without their
// last dot.
func pdnsNames(typ string, words int) []int {
	switch typ {
	case "NS", "CNAME", "PTR", "DNAME", "NSEC", "MX", "KX", "AFSDB", "RT":
		return []int{0}
	case "SOA", "RP", "MINFO", "PX":
		return []int{0, 1}
	case "HTTPS", "SVCB":
		return []int{1}
	case "SRV":
		return []int{2}
	case "RRSIG":
		return []int{7}
	case "NAPTR":
		return []int{words - 1}
	}
	return nil
}

// pdnsRecords returns the records of a zone in the form of zone files, "" without an SOA record.
func (c *converter) pdnsRecords(s *stmt, apex string, records []sqlRow) string {
	var soa string
	var lines []string
	left := map[string]int{}
	for _, r := range records {
		typ, content := strings.ToUpper(r["type"]), strings.TrimSpace(r["content"])
		switch {
		case sqlTrue(r["disabled"]) || typ == "" || typ == "ENT":
			continue
		case typ == "ALIAS" || typ == "LUA" || typ == "URL" || typ == "MBOXFW" || typ == "CURL":
			left[typ]++
			continue
		case !goodName(r["name"]) || strings.ContainsAny(r["name"], "\";()$@") || strings.ContainsAny(content+typ, "\n\r\x00"):
			left["records whose names or data cannot be written"]++
			continue
		}
		f := strings.Fields(content)
		if typ == "SOA" {
			f = c.pdnsSOA(s, f)
		}
		for _, i := range pdnsNames(typ, len(f)) {
			if i >= 0 && i < len(f) && f[i] != "." && !strings.HasSuffix(f[i], ".") {
				f[i] += "."
			}
		}
		if pdnsNames(typ, len(f)) != nil {
			content = strings.Join(f, " ")
		}
		if typ == "MX" || typ == "SRV" || typ == "KX" || typ == "AFSDB" || typ == "RT" || typ == "NAPTR" && len(f) == 5 {
			content = cmp.Or(r["prio"], "0") + " " + content
		}
		ttl := cmp.Or(r["ttl"], "3600")
		if _, err := strconv.ParseUint(ttl, 10, 31); err != nil {
			ttl = "3600"
		}
		line := fmt.Sprintf("%s. %s IN %s %s\n", strings.TrimSuffix(r["name"], "."), ttl, typ, content)
		if typ == "SOA" && domain(r["name"]) == apex {
			soa = line
		} else {
			lines = append(lines, line)
		}
	}
	for typ, n := range left {
		c.note(s, Unsupported, fmt.Sprintf("records are served as they are: %s is left out (%d)", typ, n))
	}
	if soa == "" {
		return ""
	}
	return "; Made by port53 import.\n" + soa + strings.Join(lines, "")
}

// pdnsSOA returns the seven words of an SOA record, of which PowerDNS leaves the last to its
// defaults.
func (c *converter) pdnsSOA(s *stmt, f []string) []string {
	own := []string{"localhost.", "hostmaster.localhost.", "1", "10800", "3600", "604800", "3600"}
	if len(f) < len(own) {
		c.note(s, Changed, "what its SOA record does not say has PowerDNS's defaults")
		f = append(slices.Clone(f), own[len(f):]...)
	}
	if f[2] == "0" {
		c.note(s, Changed, "PowerDNS makes its serial of what has changed: here it begins with 1, or say serial: unixtime")
		f[2] = "1"
	}
	return f
}
