package zonegen

import (
	"fmt"
	"strings"
)

// emptyNonTerminals has names that exist only because of what is below them,
// many levels deep (RFC 8020, RFC 4592 section 2.2.2).
func emptyNonTerminals(z *Zone) {
	z.Add("a.b.c.d.e.f.g.h", "A", "192.0.2.60")
	z.Add("x.c.d.e.f.g.h", "TXT", `"side"`)
	z.Add("*.wild.ent", "A", "192.0.2.61")
	z.Add("one.two", "A", "192.0.2.62")
	z.Add("deep."+strings.TrimSuffix(strings.Repeat("e.", 60), "."), "TXT", `"sixty labels down"`)
	z.Add("cut.only.by.insecure", "NS", "ns.outside.example.")
	z.Add("cut.only.by.secure", "NS", "ns.outside.example.")
	z.Add("cut.only.by.secure", "DS", "815 13 2 "+strings.Repeat("5a", 32))
	z.Add("_443._tcp.www", "TLSA", "3 1 1 "+strings.Repeat("c0", 32))
	z.Add("_25._tcp.www", "TLSA", "3 1 1 "+strings.Repeat("c1", 32))
	z.Add("www", "A", "192.0.2.63")
	for _, n := range []string{"h", "g.h", "b.c.d.e.f.g.h", "c.d.e.f.g.h", "ent", "wild.ent", "q.wild.ent", "two", "only.by.insecure", "by.insecure", "insecure", "by.secure", "_tcp.www", "x.g.h"} {
		z.Extra = append(z.Extra, z.Abs(n))
	}
	for i := range 60 {
		z.Extra = append(z.Extra, z.Abs(strings.TrimSuffix(strings.Repeat("e.", i+1), ".")))
	}
}

// everyType has a record of each type that the peers know, each at a name of
// its own and, where they may stand together, all at one name.
func everyType(z *Zone) {
	hex32 := strings.Repeat("0f", 32)
	for _, r := range []struct{ typ, data string }{
		{"A", "192.0.2.70"},
		{"AAAA", "2001:db8::70"},
		{"AFSDB", "1 AfsDB.@"},
		{"APL", "1:192.0.2.0/24 !2:2001:db8::/32"},
		{"AVC", `"app-name:WOLFGANG|app-class:OAM"`},
		{"CAA", `0 issue "ca.example; policy=ev"`},
		{"CDNSKEY", "257 3 13 oJMRESz5E4gYzS/q6XDrvU1qMPYIjCWzJaOau8XNEZeqCYKD5ar0IRd8KqXXFJkqmVfRvMGPmM1x8fGAa2XhSA=="},
		{"CDS", "60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118"},
		{"CERT", "PKIX 1 RSASHA256 AQIDBAUG"},
		{"CSYNC", "66 3 A NS AAAA"},
		{"DHCID", "AAIBY2/AuCccgoJbsaxcQc9TUapptP69lOjxfNuVAA2kjEA="},
		{"EUI48", "00-00-5e-00-53-2a"},
		{"EUI64", "00-00-5e-ef-10-00-00-2a"},
		{"HINFO", `"PC-Intel-700mhz" "Redhat Linux 7.1"`},
		{"HTTPS", "1 svc.@ alpn=h3,h2 port=8443 ipv4hint=192.0.2.71"},
		{"KX", "10 Kx.@"},
		{"L32", "10 10.1.2.0"},
		{"L64", "10 2001:1db8:1140:1000"},
		{"LOC", "42 21 54.000 N 71 06 18.000 W -24.00m 30m 1m 1m"},
		{"LP", "10 l64-subnet.@"},
		{"MX", "10 Svc.@"},
		{"NAPTR", `100 50 "s" "http+I2L+I2C+I2R" "" _http._tcp.@`},
		{"NID", "10 1014:4fff:ff20:ee64"},
		{"OPENPGPKEY", "AQMFVXFzAQ=="},
		{"PTR", "Svc.@"},
		{"PX", "10 Map822.@ MapX400.@"},
		{"RP", "Mbox.@ Txt.@"},
		{"RT", "10 Relay.@"},
		{"SMIMEA", "3 1 1 " + hex32},
		{"SPF", `"v=spf1 -all"`},
		{"SRV", "1 2 5060 Svc.@"},
		{"SSHFP", "4 2 " + hex32},
		{"SVCB", "2 Svc.@ alpn=h2 key65333=ex1"},
		{"TLSA", "3 1 1 " + hex32},
		{"TXT", `"one" "" "three \"quoted\" \\ \000\255" "four"`},
		{"URI", `10 1 "ftp://ftp1.example.com/public"`},
		{"ZONEMD", "2026010101 1 1 " + strings.Repeat("ab", 48)},
		{"TYPE65280", `\# 4 DEADBEEF`},
		{"TYPE65281", `\# 0`},
		{"TYPE731", `\# 12 C00C00000000C0FFEE000001`},
		{"TYPE1", `\# 4 C0000248`}, // known types in the generic form (RFC 3597, section 5)
	} {
		name := "t-" + strings.ToLower(r.typ)
		z.Add(name, r.typ, r.data)
		if r.typ != "TYPE1" && r.typ != "ZONEMD" {
			z.Add("all", r.typ, r.data)
		}
		z.Add("*.w-"+strings.ToLower(r.typ), r.typ, r.data)
		z.Extra = append(z.Extra, z.Abs("q.w-"+strings.ToLower(r.typ)))
	}
	z.Add("t-hip", "TYPE55", `\# 10 0402000201020304AABB`) // in the generic form, for NSD 4.6 does not know HIP
	z.Add("svc", "A", "192.0.2.71")
	z.Add("svc", "AAAA", "2001:db8::71")
	z.Add("https-alias", "HTTPS", "0 svc.@")
	z.Add("https-self", "HTTPS", "1 . alpn=h2")
	z.Add("https-self", "A", "192.0.2.72")
	z.Add("mx-null", "MX", "0 .")
	z.Add("mx-many", "MX", "10 svc.@")
	z.Add("mx-many", "MX", "20 ns1.@")
	z.Add("mx-many", "MX", "30 mail.outside.example.")
	z.Add("mx-many", "MX", "40 missing.@")
	z.Add("srv-null", "SRV", "0 0 0 .")
	z.Add("@", "MX", "10 svc.@")
	z.Add("@", "SRV", "0 0 53 ns1.@")
	z.Add("@", "TXT", `"apex"`)
	z.Add("@", "CAA", `0 iodef "mailto:security@example.com"`)
	z.AddTTL("ttl-zero", 0, "A", "192.0.2.73")
	z.AddTTL("ttl-most", 2147483647, "A", "192.0.2.74")
}

// bigSets has answers on both sides of every limit of size.
func bigSets(z *Zone) {
	// One record each, around 512 and 1232 octets of message.
	for n := 400; n <= 500; n += 4 {
		z.Add(fmt.Sprintf("t%d", n), "TXT", txt(n))
	}
	for n := 1090; n <= 1230; n += 4 {
		z.Add(fmt.Sprintf("t%d", n), "TXT", txt(n))
	}
	for _, n := range []int{3000, 4000, 8000, 16000, 32000, 60000, 64000, 65200} {
		z.Add(fmt.Sprintf("t%d", n), "TXT", txt(n))
	}
	for i := range 1000 {
		z.Add("thousand", "A", fmt.Sprintf("10.0.%d.%d", i/250, i%250))
	}
	for i := range 60 { // 60 kB: TCP carries it
		z.Add("sixty-kb", "TXT", fmt.Sprintf(`"%03d" `, i)+txt(1000))
	}
	z.Add("alias-t4000", "CNAME", "t4000.@")
	for i := range 40 {
		z.Add("many-mx", "MX", fmt.Sprintf("%d mail%d.@", i, i))
		z.Add(fmt.Sprintf("mail%d", i), "A", fmt.Sprintf("192.0.2.%d", i))
	}
	for i := range 60 { // names that compress, and names that do not
		z.Add("many-ptr", "PTR", fmt.Sprintf("host%d.some.where.far.away.@", i))
		z.Add("many-far", "PTR", fmt.Sprintf("host%d.domain-%d.example.", i, i*7919%997))
	}
	z.Add("*.wild-big", "TXT", txt(4000))
	z.Extra = []string{z.Abs("q.wild-big")}
}

// hugeSet has an RRset of 100 kB, more than any message can hold.
func hugeSet(z *Zone) {
	for i := range 100 {
		z.Add("hundred-kb", "TXT", fmt.Sprintf(`"%03d" `, i)+txt(1000))
	}
	z.Add("alias", "CNAME", "hundred-kb.@")
	z.Add("*.wild", "CNAME", "hundred-kb.@")
	z.Extra = []string{z.Abs("q.wild")}
}

// txt returns TXT RDATA of n octets, n above 1.
func txt(n int) string {
	var parts []string
	for n > 0 {
		l := min(n-1, 255)
		if n-1-l == 1 { // one octet that no string could fill would be left
			l--
		}
		parts = append(parts, `"`+strings.Repeat("x", l)+`"`)
		n -= l + 1
	}
	return strings.Join(parts, " ")
}

// manyLabels needs an origin of labels of one octet: with it, names have 127
// labels, the most there can be.
func manyLabels(z *Zone) {
	labels := (255 - 1 - len(z.Origin)) / 2
	if z.Mode >= NSEC3 { // as in oddNames
		labels--
	}
	name := strings.TrimSuffix(strings.Repeat("l.", labels), ".")
	z.Add(name, "TXT", `"127 labels"`)
	z.Add(name, "A", "192.0.2.80")
	z.Add("*."+name[8:], "A", "192.0.2.81")
	z.Add("d", "DNAME", z.Abs(name[8:]))
	z.Extra = []string{z.Abs(name[2:]), z.Abs(name[4:]), z.Abs(name[8:]), z.Abs("q.l." + name[8:]), z.Abs(name[20:]), z.Abs("x.d"), z.Abs("l.l.l.l.d"), z.Abs("l.l.l.l.l.l.d"), z.Abs("l.l.l.l.l.d")}
}

// apexDNAME is a zone whose apex is a DNAME, with nothing below it but what
// must be.
func apexDNAME(z *Zone) {
	z.Add("@", "SOA", "ns.outside.example. hostmaster.outside.example. 1 7200 3600 1209600 300")
	z.Add("@", "NS", "ns.outside.example.")
	z.Add("@", "DNAME", "wild."+z.Mode.String()+".test.")
	z.Add("@", "MX", "10 mail.outside.example.")
	z.Extra = []string{z.Abs("host.w1"), z.Abs("w1"), z.Abs("a.b.c"), z.Abs("missing")}
}

// family is a parent zone, its child that is delegated to, and one that is
// served below the parent without being delegated to.
func family(m Mode) []*Zone {
	parent := New(fmt.Sprintf("parent.%s.test.", m), m)
	parent.Add("child", "NS", "ns1.child.@")
	parent.Add("ns1.child", "A", "192.0.2.90")
	parent.Add("www", "A", "192.0.2.91")
	parent.Add("to-child", "CNAME", "www.child.@")
	parent.Add("to-child-missing", "CNAME", "missing.child.@")
	parent.Add("into-child", "DNAME", "child.@")
	if m != Plain {
		parent.Add("child", "DS", "31337 13 2 "+strings.Repeat("77", 32))
	}
	child := New("child."+parent.Origin, m)
	child.Add("www", "A", "192.0.2.92")
	child.Add("to-parent", "CNAME", "www."+parent.Origin)
	child.Add("*", "TXT", `"wild"`)
	lone := New("lone.ent."+parent.Origin, m)
	lone.Add("www", "A", "192.0.2.93")
	parent.Extra = []string{parent.Abs("ent"), parent.Abs("x.ent"), parent.Abs("www.into-child"), parent.Abs("missing")}
	return []*Zone{parent, child, lone}
}
