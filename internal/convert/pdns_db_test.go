package convert_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"port53/internal/convert"
)

// dumps is one database as three programs write it.
func dumps() map[string]string {
	const secret = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	return map[string]string{
		"sqlite": `PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE domains (
  id                    INTEGER PRIMARY KEY,
  name                  VARCHAR(255) NOT NULL COLLATE NOCASE,
  master                VARCHAR(128) DEFAULT NULL,
  last_check            INTEGER DEFAULT NULL,
  type                  VARCHAR(8) NOT NULL
);
INSERT INTO domains VALUES(1,'a.example',NULL,NULL,'NATIVE');
INSERT INTO domains VALUES(2,'signed.example',NULL,NULL,'MASTER'),(3,'second.example','192.0.2.1:5300, 192.0.2.2',NULL,'SLAVE');
CREATE TABLE records (id INTEGER PRIMARY KEY, domain_id INTEGER DEFAULT NULL, name VARCHAR(255) DEFAULT NULL, type VARCHAR(10), content VARCHAR(65535), ttl INTEGER, prio INTEGER, disabled BOOLEAN DEFAULT 0, FOREIGN KEY(domain_id) REFERENCES domains(id));
INSERT INTO records VALUES(1,1,'a.example','SOA','ns.a.example hostmaster.a.example 7',300,0,0);
INSERT INTO records VALUES(2,1,'a.example','NS','ns.a.example',300,0,0);
INSERT INTO records VALUES(3,1,'a.example','MX','mail.a.example',300,10,0);
INSERT INTO records VALUES(4,1,'_x._tcp.a.example','SRV','5 5060 sip.a.example',300,1,0);
INSERT INTO records VALUES(5,1,'t.a.example','TXT','"it''s; a text"',NULL,NULL,0);
INSERT INTO records VALUES(6,1,'off.a.example','A','192.0.2.9',300,0,1);
INSERT INTO records VALUES(7,1,'alias.a.example','ALIAS','www.b.example',300,0,0);
INSERT INTO records VALUES(8,1,'ent.a.example',NULL,NULL,NULL,NULL,0);
INSERT INTO records VALUES(9,2,'signed.example','SOA','ns.a.example hostmaster.a.example 7',300,0,0);
CREATE TABLE domainmetadata (id INTEGER PRIMARY KEY, domain_id INT, kind VARCHAR(32), content TEXT);
INSERT INTO domainmetadata VALUES(1,1,'ALLOW-AXFR-FROM','10.0.0.0/8'),(2,3,'AXFR-MASTER-TSIG','xfr');
CREATE TABLE cryptokeys (id INTEGER PRIMARY KEY, domain_id INT, flags INT, active BOOL, published BOOL, content TEXT);
INSERT INTO cryptokeys VALUES(1,2,257,1,1,'Private-key-format: v1.2' || char(10));
CREATE TABLE tsigkeys (id INTEGER PRIMARY KEY, name VARCHAR(255), algorithm VARCHAR(50), secret VARCHAR(255));
INSERT INTO tsigkeys VALUES(1,'xfr','hmac-sha256','` + secret + `');
COMMIT;
`,
		"mysqldump": "-- MySQL dump 10.19  Distrib 10.11.6-MariaDB\n--\nDROP TABLE IF EXISTS `domains`;\n/*!40101 SET character_set_client = utf8 */;\nCREATE TABLE `domains` (\n  `id` int(11) NOT NULL AUTO_INCREMENT,\n  `name` varchar(255) NOT NULL,\n  `master` varchar(128) DEFAULT NULL,\n  `type` varchar(8) NOT NULL,\n  PRIMARY KEY (`id`),\n  UNIQUE KEY `name_index` (`name`)\n) ENGINE=InnoDB DEFAULT CHARSET=latin1;\nLOCK TABLES `domains` WRITE;\nINSERT INTO `domains` VALUES (1,'a.example',NULL,'NATIVE'),(2,'signed.example',NULL,'MASTER'),(3,'second.example','192.0.2.1:5300, 192.0.2.2','SLAVE');\nUNLOCK TABLES;\n" +
			"CREATE TABLE `records` (\n  `id` bigint(20) NOT NULL,\n  `domain_id` int(11),\n  `name` varchar(255),\n  `type` varchar(10),\n  `content` varchar(64000),\n  `ttl` int(11),\n  `prio` int(11),\n  `disabled` tinyint(1) DEFAULT 0,\n  KEY `nametype_index` (`name`,`type`)\n);\n" +
			"INSERT INTO `records` VALUES (1,1,'a.example','SOA','ns.a.example hostmaster.a.example 7',300,0,0),(2,1,'a.example','NS','ns.a.example',300,0,0),\n(3,1,'a.example','MX','mail.a.example',300,10,0),(4,1,'_x._tcp.a.example','SRV','5 5060 sip.a.example',300,1,0),(5,1,'t.a.example','TXT','\\\"it\\'s; a text\\\"',NULL,NULL,0),(6,1,'off.a.example','A','192.0.2.9',300,0,1),(7,1,'alias.a.example','ALIAS','www.b.example',300,0,0),(9,2,'signed.example','SOA','ns.a.example hostmaster.a.example 7',300,0,0);\n" +
			"CREATE TABLE `domainmetadata` (`id` int, `domain_id` int, `kind` varchar(32), `content` text);\nINSERT INTO `domainmetadata` VALUES (1,1,'ALLOW-AXFR-FROM','10.0.0.0/8'),(2,3,'AXFR-MASTER-TSIG','xfr');\nCREATE TABLE `cryptokeys` (`id` int, `domain_id` int, `active` tinyint(1), `content` text);\nINSERT INTO `cryptokeys` VALUES (1,2,1,'Private-key-format: v1.2\\nAlgorithm: 13');\nINSERT INTO `tsigkeys` (`id`, `name`, `algorithm`, `secret`) VALUES (1,'xfr','hmac-sha256','" + secret + "');\n",
		"pg_dump": "--\n-- PostgreSQL database dump\n--\n\\restrict abc\nSET statement_timeout = 0;\nCREATE TABLE public.domains (\n    id integer NOT NULL,\n    name character varying(255) NOT NULL,\n    CONSTRAINT c CHECK (((name)::text = lower((name)::text)))\n);\nALTER TABLE public.domains OWNER TO pdns;\nCOPY public.domains (id, name, master, type) FROM stdin;\n1\ta.example\t\\N\tNATIVE\n2\tsigned.example\t\\N\tMASTER\n3\tsecond.example\t192.0.2.1:5300, 192.0.2.2\tSLAVE\n\\.\n\nCOPY public.other (x) FROM stdin;\nINSERT INTO domains VALUES (9)\n\\.\n" +
			"COPY public.records (id, domain_id, name, type, content, ttl, prio, disabled) FROM stdin;\n1\t1\ta.example\tSOA\tns.a.example hostmaster.a.example 7\t300\t0\tf\n2\t1\ta.example\tNS\tns.a.example\t300\t0\tf\n3\t1\ta.example\tMX\tmail.a.example\t300\t10\tf\n4\t1\t_x._tcp.a.example\tSRV\t5 5060 sip.a.example\t300\t1\tf\n5\t1\tt.a.example\tTXT\t\"it's; a text\"\t\\N\t\\N\tf\n6\t1\toff.a.example\tA\t192.0.2.9\t300\t0\tt\n7\t1\talias.a.example\tALIAS\twww.b.example\t300\t0\tf\n9\t2\tsigned.example\tSOA\tns.a.example hostmaster.a.example 7\t300\t0\tf\n\\.\n" +
			"COPY public.domainmetadata (id, domain_id, kind, content) FROM stdin;\n1\t1\tALLOW-AXFR-FROM\t10.0.0.0/8\n2\t3\tAXFR-MASTER-TSIG\txfr\n\\.\nCOPY public.cryptokeys (id, domain_id, flags, active, content) FROM stdin;\n1\t2\t257\tt\tPrivate-key-format: v1.2\\nAlgorithm: 13\n\\.\nINSERT INTO public.tsigkeys (id, name, algorithm, secret) VALUES (1, 'xfr', 'hmac-sha256', '" + secret + "');\n",
	}
}

// TestDatabases reads what three programs write of one database of PowerDNS.
func TestDatabases(t *testing.T) {
	for name, text := range dumps() {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "pdns.sql")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			r, err := convert.File(convert.Options{Path: path, Addrs: machine})
			if err != nil {
				t.Fatal(err)
			}
			if r.Kind != "pdns-database" {
				t.Errorf("it is taken for %s", r.Kind)
			}
			for _, want := range []string{`"10.0.0.0/8"`, `primaries: ["192.0.2.1:5300", "192.0.2.2"]`, `tsig: "xfr"`, "file: \"zones/a.example.zone\""} {
				if !strings.Contains(string(r.YAML), want) {
					t.Errorf("without %s:\n%s", want, r.YAML)
				}
			}
			want := "; Made by port53 import.\na.example. 300 IN SOA ns.a.example. hostmaster.a.example. 7 10800 3600 604800 3600\na.example. 300 IN NS ns.a.example.\na.example. 300 IN MX 10 mail.a.example.\n_x._tcp.a.example. 300 IN SRV 1 5 5060 sip.a.example.\nt.a.example. 3600 IN TXT \"it's; a text\"\n"
			if got := string(r.Files["zones/a.example.zone"]); got != want {
				t.Errorf("zone file:\n%swant\n%s", got, want)
			}
			told := ""
			for _, n := range r.Notes {
				told += n.String() + "\n"
			}
			for _, want := range []string{"changed: zone signed.example: signing is taken over", "port53 zone keys import --dir keys/signed.example signed.example. ", "ALIAS is left out (1)"} {
				if !strings.Contains(told, want) {
					t.Errorf("notes without %s:\n%s", want, told)
				}
			}
			if strings.Contains(told, "MDEyMzQ1") {
				t.Error("a note has the secret")
			}
		})
	}
}

// TestDatabaseDamaged cuts and changes a database at every place: it is read, or refused.
func TestDatabaseDamaged(t *testing.T) {
	whole, err := os.ReadFile("testdata/pdns.sqlite3")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "pdns.sqlite3")
	read := func(text []byte) (*convert.Result, error) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return convert.File(convert.Options{Path: path, Kind: "pdns-database", Addrs: machine})
	}
	r, err := read(whole)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(r.Files["zones/long.example.zone"]); !strings.Contains(got, strings.Repeat("x", 200)) || strings.Count(got, "\n") != 44 {
		t.Errorf("a zone with long records has %d lines:\n%.600s", strings.Count(got, "\n"), got)
	}
	refused := 0
	for i := 97; i < len(whole); i += 487 {
		if _, err := read(whole[:i]); err == nil && i < len(whole)/2 {
			t.Errorf("cut at %d it is read", i)
		}
		changed := append([]byte(nil), whole...)
		changed[i] ^= 0xff
		if _, err := read(changed); err != nil {
			refused++
		}
	}
	if refused == 0 {
		t.Error("no change is noticed")
	}
}
