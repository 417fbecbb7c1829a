package conformance_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"port53/conformance/peers"
)

// apiSecret is the key of both servers' APIs.
const apiSecret = "a-key-that-is-long-enough"

// An apiSide is a server with the API of PowerDNS.
type apiSide struct {
	kind, url string
	server    *peers.Server
}

// startAPI starts a server with the API, and no zones.
func startAPI(t *testing.T, kind string) *apiSide {
	t.Helper()
	dir := t.TempDir()
	dns, web := freeAddr(t), freeAddr(t)
	var args []string
	o := peers.Options{Dir: dir, Addr: dns}
	switch kind {
	case peers.Port53:
		o.Zones = []peers.Zone{{Name: "seed."}}
		file := filepath.Join(dir, "port53.yaml")
		write := func(name, text string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("seed.zone", "$TTL 60\n@ SOA ns.seed. h.seed. 1 2 3 4 5\n@ NS ns.seed.\nns.seed. A 192.0.2.1\n")
		write("token", apiSecret)
		write("port53.yaml", fmt.Sprintf("role: authoritative\nlisten: [%q]\nstate_dir: state\nmetrics: {listen: off}\napi: {listen: %q}\n"+
			"tokens: [{name: all, secret_file: token, grants: [{zone: \"*\", verbs: [admin]}]}]\nzones: [{name: seed, file: seed.zone}]\n", dns, web))
		args = []string{subjectBinary(t, peers.Port53), "serve", "--config", file}
	default:
		program, err := peers.Find(peers.PDNS)
		if err != nil {
			missing(t, err)
		}
		db := filepath.Join(dir, "p.db")
		schema := "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql"
		sql, err := os.ReadFile(schema)
		if err != nil {
			missing(t, err)
		}
		cmd := exec.Command("sqlite3", db)
		cmd.Stdin = bytes.NewReader(sql)
		if out, err := cmd.CombinedOutput(); err != nil {
			missing(t, fmt.Errorf("sqlite3: %w: %s", err, out))
		}
		conf := fmt.Sprintf("launch=gsqlite3\ngsqlite3-database=%s\ngsqlite3-dnssec=yes\nlocal-address=%s\nlocal-port=%d\napi=yes\napi-key=%s\nwebserver=yes\n"+
			"webserver-address=%s\nwebserver-port=%d\nwebserver-loglevel=none\nsocket-dir=%s\nsetuid=\nsetgid=\nsecurity-poll-suffix=\nquery-local-address=127.0.0.1\ngsqlite3-pragma-synchronous=0\n",
			db, dns.Addr(), dns.Port(), apiSecret, web.Addr(), web.Port(), dir)
		if err := os.WriteFile(filepath.Join(dir, "pdns.conf"), []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
		args = []string{program, "--config-dir=" + dir, "--daemon=no", "--guardian=no", "--disable-syslog"}
	}
	o.Command = args
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	server, err := peers.Start(ctx, kind, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	s := &apiSide{kind, "http://" + web.String(), server}
	for {
		if status, _ := s.do(t, "GET", "/api", ""); status == 200 {
			return s
		}
		if ctx.Err() != nil {
			t.Fatalf("%s: no API: %s", kind, server.Tail())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// do sends a request; 0 is a server that is not there.
func (s *apiSide) do(t *testing.T, method, path, body string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if raw, _, ok := strings.Cut(path, "?"); ok || raw != "" {
		req.URL.Opaque = "" // the path goes as it is written
	}
	req.Header.Set("X-API-Key", apiSecret)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text)
}

// made are values that each server makes for itself.
var made = regexp.MustCompile(`"(key|dnskey|privatekey|version)":"[^"]+"|"edited_serial":[0-9]+|"modified_at":1[0-9]{9}|"(id)":[0-9]+|"(ds)":\[[^\]]*\]`)

// plain returns an answer in one form: objects by their keys, lists of sets and records in order, and what
// each server makes for itself left out.
func plain(answer string) string {
	var v any
	if json.Unmarshal([]byte(answer), &v) != nil {
		return strings.TrimSpace(answer)
	}
	var order func(v any) any
	order = func(v any) any {
		switch x := v.(type) {
		case map[string]any:
			for k := range x {
				x[k] = order(x[k])
			}
		case []any:
			for i := range x {
				x[i] = order(x[i])
			}
			slices.SortFunc(x, func(a, b any) int {
				m, _ := json.Marshal(a)
				n, _ := json.Marshal(b)
				return bytes.Compare(m, n)
			})
		}
		return v
	}
	text, _ := json.Marshal(order(v))
	return made.ReplaceAllString(string(text), "($1$2$3 made)")
}

// An apiRequest is one of the requests, and why PowerDNS answers it otherwise, if it does: a number of
// DIALECT.md.
type apiRequest struct{ method, path, body, differs string }

const apiZones = "/api/v1/servers/localhost/zones"

// apiZone is the zone that most requests are about.
const apiZone = `{"name":"z.test.","kind":"Native","nameservers":[],"soa_edit_api":"INCREASE","rrsets":[
 {"name":"z.test.","type":"SOA","ttl":3600,"records":[{"content":"ns.z.test. h.z.test. 10 7200 3600 1209600 300","disabled":false}]},
 {"name":"z.test.","type":"NS","ttl":3600,"records":[{"content":"ns.z.test.","disabled":false}]},
 {"name":"ns.z.test.","type":"A","ttl":3600,"records":[{"content":"192.0.2.1","disabled":false}]}]}`

// set returns a request that changes one set of that zone.
func set(kind, name, typ, ttl, records, more string) string {
	parts := []string{fmt.Sprintf(`"name":%q,"type":%q`, name, typ)}
	if kind != "" {
		parts = append(parts, fmt.Sprintf(`"changetype":%q`, kind))
	}
	if ttl != "" {
		parts = append(parts, `"ttl":`+ttl)
	}
	if records != "" {
		parts = append(parts, `"records":[`+records+`]`)
	}
	if more != "" {
		parts = append(parts, more)
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// contents returns records with contents.
func contents(list ...string) string {
	var all []string
	for _, c := range list {
		text, _ := json.Marshal(c)
		all = append(all, fmt.Sprintf(`{"content":%s,"disabled":false}`, text))
	}
	return strings.Join(all, ",")
}

// TestPowerDNSAPI replays requests, good and bad, at pdns_server with SQLite and at port53: status and body
// have to be equal, and the zone after each. What differs is wanted, and has a number in DIALECT.md.
func TestPowerDNSAPI(t *testing.T) {
	if subjectKind() != peers.Port53 {
		t.Skip("the subject has no such API")
	}
	one, other := startAPI(t, peers.Port53), startAPI(t, peers.PDNS)
	list := apiRequests()
	if len(list) < 300 {
		t.Errorf("%d requests", len(list))
	}
	different := map[string]int{}
	for i, r := range list {
		status, answer := one.do(t, r.method, r.path, r.body)
		want, wanted := other.do(t, r.method, r.path, r.body)
		answer, wanted = plain(answer), plain(wanted)
		same := status == want && answer == wanted
		if same && r.method != "GET" {
			_, a := one.do(t, "GET", apiZones+"/z.test.", "")
			_, b := other.do(t, "GET", apiZones+"/z.test.", "")
			if a, b = plain(a), plain(b); a != b {
				same, answer, wanted = false, "the zone is "+a, b
			}
		}
		switch {
		case !same && r.differs == "":
			t.Errorf("%d: %s %s %s\nport53: %d %s\npdns:   %d %s", i, r.method, r.path, r.body, status, answer, want, wanted)
		case same && r.differs != "":
			t.Errorf("%d: %s %s %s: it does not differ as %s says: %d %s", i, r.method, r.path, r.body, r.differs, status, answer)
		case !same:
			different[r.differs]++
			if r.method != "GET" && strings.HasPrefix(r.path, apiZones+"/z.test.") { // both start over
				for _, s := range []*apiSide{one, other} {
					s.do(t, "DELETE", apiZones+"/z.test.", "")
					s.do(t, "POST", apiZones, apiZone)
				}
			}
		}
	}
	t.Logf("%d requests; different, and wanted so: %v", len(list), different)
}

// apiRequests returns the requests, in their order.
func apiRequests() (list []apiRequest) {
	add := func(method, path, body string, differs ...string) {
		list = append(list, apiRequest{method, path, body, strings.Join(differs, "")})
	}
	const server = "/api/v1/servers/localhost"
	for _, path := range []string{"/api", "/api/v1", "/api/v1/servers", server, "/api/v1/servers/other", "/api/v2", server + "/nothing", server + "/", "/api/v1/servers/localhost/zones/", server + "/config/nothing", server + "/autoprimaries"} {
		add("GET", path, "")
	}
	for _, path := range []string{"/api", "/api/v1", "/api/v1/servers", server, server + "/zones/none./export"} {
		add("POST", path, "{}")
		add("DELETE", path, "")
	}
	patches(add)
	creations(add)
	others(add)
	return list
}

type adder func(method, path, body string, differs ...string)

// patches are requests that change sets.
//
// In one piece: it is the list of them.
func patches(add adder) {
	const zone = apiZones + "/z.test."
	patch := func(sets string, differs ...string) {
		add("PATCH", zone, `{"rrsets":[`+sets+`]}`, differs...)
	}
	add("POST", apiZones, apiZone)
	add("POST", apiZones, apiZone)
	good := map[string][]string{
		"A": {"192.0.2.1"}, "AAAA": {"2001:db8::1"}, "MX": {"10 mail.z.test."}, "TXT": {`"text"`, `"two" "parts"`, `"with \"quotes\""`},
		"SRV": {"1 2 53 ns.z.test."}, "CAA": {`0 issue "ca.example"`}, "PTR": {"host.z.test."}, "NS": {"ns.else.example."},
		"HINFO": {`"cpu" "os"`}, "TLSA": {"3 1 1 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		"SSHFP": {"1 1 da39a3ee5e6b4b0d3255bfef95601890afd80709"}, "NAPTR": {`10 20 "u" "sip" "!^.*$!sip:x@z.test!" .`},
		"DNAME": {"other.example."}, "SPF": {`"v=spf1 -all"`}, "RP": {"mail.z.test. txt.z.test."}, "AFSDB": {"1 afs.z.test."},
		"KX": {"1 kx.z.test."}, "DS": {"1 13 2 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		"URI": {`10 1 "https://z.test/"`}, "EUI48": {"00-00-5e-00-53-2a"}, "EUI64": {"00-00-5e-ef-10-00-00-2a"}, "CNAME": {"host.z.test."}, "LOC": {"51 56 0.123 N 5 54 0.000 E 4.00m 1.00m 10000.00m 10.00m"},
	}
	types := make([]string, 0, len(good))
	for typ := range good {
		types = append(types, typ)
	}
	slices.Sort(types)
	for _, typ := range types {
		name := strings.ToLower(typ) + ".z.test."
		patch(set("REPLACE", name, typ, "300", contents(good[typ]...), ""))
		patch(set("REPLACE", name, typ, "60", contents(good[typ][0]), `"comments":[{"content":"a comment","account":"me","modified_at":5}]`))
		patch(set("DELETE", name, typ, "", "", ""))
		patch(set("REPLACE", name, typ, "300", contents("nonsense here"), ""), map[bool]string{true: "190"}[typ != "AAAA" && typ != "RP"])
		patch(set("REPLACE", name, typ, "", contents(good[typ][0]), ""))
		patch(set("REPLACE", name, typ, `"x"`, contents(good[typ][0]), ""), "190")
		patch(set("", name, typ, "60", contents(good[typ][0]), ""))
		patch(set("REPLACE", name, typ, "60", "", ""))
		patch(set("REPLACE", name, typ, "60", contents(good[typ][0], good[typ][0]), ""))
	}
	const a = "a.z.test."
	for _, name := range []string{"a.z.test", "a.other.test.", "a b.z.test.", "x*.z.test.", "", ".", "A.z.test.", "*.z.test.", "_s._tcp.z.test.", "a..z.test.", "z.test."} {
		switch name {
		case "a..z.test.":
			patch(set("REPLACE", name, "A", "60", contents("192.0.2.1"), ""), "190")
		default:
			patch(set("REPLACE", name, "A", "60", contents("192.0.2.1"), ""))
			patch(set("DELETE", name, "A", "", "", ""), map[bool]string{true: "191"}[name == "a.other.test." || name == "."])
		}
	}
	for _, typ := range []string{"NOPE", "", "ANY", "AXFR", "OPT"} {
		patch(set("REPLACE", a, typ, "60", contents("192.0.2.1"), ""), map[bool]string{true: "190"}[typ == "ANY" || typ == "AXFR" || typ == "OPT"])
	}
	for _, kind := range []string{"FLY", "", "replace", "delete", "Replace"} {
		patch(set(kind, a, "A", "60", contents("192.0.2.1"), ""))
	}
	for _, ttl := range []string{"-1", "2147483648", "4294967296"} {
		patch(set("REPLACE", a, "A", ttl, contents("192.0.2.1"), ""), "192")
	}
	for _, ttl := range []string{"0", "1", "2147483647"} {
		patch(set("REPLACE", a, "A", ttl, contents("192.0.2.1"), ""))
	}
	for _, body := range []string{"", "nonsense", "[]", "{}", `"x"`, `{"rrsets":{}}`, `{"rrsets":"x"}`, `{"rrsets":[]}`, `{"rrsets":[{}]}`, `{"rrsets":[1]}`, `{"rrsets":[{"name":5}]}`, `{"rrsets":[{"name":"a.z.test."}]}`} {
		add("PATCH", zone, body)
	}
	// Disabled records, comments, and sets beside others.
	patch(set("REPLACE", a, "A", "60", `{"content":"192.0.2.1","disabled":true},{"content":"192.0.2.2","disabled":false}`, ""))
	patch(set("REPLACE", a, "A", "60", `{"content":"192.0.2.1","disabled":true}`, ""))
	patch(set("REPLACE", a, "A", "60", `{"content":"192.0.2.1"}`, ""))
	patch(set("REPLACE", a, "A", "60", `{"disabled":false}`, ""))
	patch(set("REPLACE", a, "A", "60", `{"content":5}`, ""))
	patch(set("REPLACE", a, "A", "", "", `"comments":[{"content":"c","account":"x","modified_at":7},{"content":"d","account":"","modified_at":8}]`))
	patch(set("REPLACE", a, "A", "", "", `"comments":[]`))
	patch(set("REPLACE", a, "A", "", "", `"comments":[{"content":"c"}]`))
	patch(set("REPLACE", a, "A", "", "", `"comments":[{"account":"c"}]`))
	patch(set("REPLACE", "only.z.test.", "TXT", "", "", `"comments":[{"content":"c","account":"x","modified_at":7}]`))
	patch(set("DELETE", "only.z.test.", "TXT", "", "", ""))
	patch(set("REPLACE", a, "A", "60", contents("192.0.2.1"), `"comments":[{"content":"kept","account":"x","modified_at":7}]`))
	patch(set("REPLACE", a, "A", "90", contents("192.0.2.9"), ""))
	patch(set("REPLACE", a, "A", "90", contents(), `"comments":[]`))
	patch(set("REPLACE", "c.z.test.", "CNAME", "60", contents("a.z.test."), ""))
	patch(set("REPLACE", "c.z.test.", "A", "60", contents("192.0.2.1"), ""))
	patch(set("REPLACE", "c.z.test.", "CNAME", "60", contents("a.z.test.", "b.z.test."), ""))
	patch(set("REPLACE", "c.z.test.", "CNAME", "60", contents("a.z.test"), ""))
	patch(set("DELETE", "c.z.test.", "CNAME", "", "", "") + "," + set("REPLACE", "c.z.test.", "A", "60", contents("192.0.2.1"), ""))
	patch(set("REPLACE", "c.z.test.", "CNAME", "60", contents("a.z.test."), ""))
	patch(set("REPLACE", "d.z.test.", "A", "60", contents("192.0.2.1"), "") + "," + set("REPLACE", "d.z.test.", "A", "60", contents("192.0.2.2"), ""))
	patch(set("REPLACE", "e.z.test.", "A", "60", contents("192.0.2.1"), "")+","+set("REPLACE", "f.z.test.", "A", "60", contents("bad"), ""), "190")
	patch(set("REPLACE", "e.z.test.", "A", "60", contents("192.0.2.1"), "") + "," + set("REPLACE", "f.z.test.", "AAAA", "60", contents("2001:db8::2", "2001:DB8::3"), ""))
	patch(set("REPLACE", "g.z.test.", "TXT", "60", contents("unquoted"), ""))
	patch(set("REPLACE", "g.z.test.", "TXT", "60", contents(`"`+strings.Repeat("x", 250)+`"`), ""))
	patch(set("REPLACE", "g.z.test.", "MX", "60", contents("10 mail"), ""))
	patch(set("REPLACE", "g.z.test.", "AAAA", "60", contents("::ffff:192.0.2.1"), ""))
	patch(set("REPLACE", "g.z.test.", "A", "60", contents("192.0.2.01"), ""), "190")
	patch(set("EXTEND", "g.z.test.", "A", "60", contents("192.0.2.1"), ""), "193")
	patch(set("PRUNE", "g.z.test.", "A", "60", contents("192.0.2.1"), ""), "193")
	patch(set("REPLACE", "z.test.", "SOA", "3600", contents("ns.z.test. h.z.test. 900 7200 3600 1209600 300"), ""))
	patch(set("REPLACE", "z.test.", "SOA", "3600", contents("ns.z.test. h.z.test. 900 7200"), ""), "190")
	patch(set("REPLACE", "z.test.", "CNAME", "60", contents("a.z.test."), ""))
	add("PATCH", apiZones+"/none.", `{"rrsets":[]}`)
	add("PATCH", apiZones+"/z.test", `{"rrsets":[]}`)
	add("PATCH", apiZones+"/Z.TEST.", `{"rrsets":[]}`)
	for _, query := range []string{"", "?rrsets=false", "?rrsets=true", "?rrset_name=a.z.test.", "?rrset_name=a.z.test.&rrset_type=A", "?rrset_name=none.z.test."} {
		add("GET", zone+query, "")
	}
}

// creations are requests that make zones, list and remove them.
func creations(add adder) {
	ns := func(name string) string {
		return fmt.Sprintf(`"rrsets":[{"name":%q,"type":"SOA","ttl":60,"records":[{"content":"ns.x. h.x. 5 1 2 3 4"}]},{"name":%q,"type":"NS","ttl":60,"records":[{"content":"ns.x."}]}]`, name, name)
	}
	for i, kind := range []string{"Native", "Master", "Fly", "native", "MASTER"} {
		name := fmt.Sprintf("k%d.test.", i)
		add("POST", apiZones, fmt.Sprintf(`{"name":%q,"kind":%q,%s}`, name, kind, ns(name)))
		add("GET", apiZones+"/"+name, "")
		add("DELETE", apiZones+"/"+name, "")
		add("DELETE", apiZones+"/"+name, "")
	}
	for i, edit := range []string{"DEFAULT", "INCREASE", "EPOCH", "SOA-EDIT"} {
		name := fmt.Sprintf("e%d.test.", i)
		body := fmt.Sprintf(`{"name":%q,"kind":"Native","soa_edit_api":%q,"account":"acc",%s}`, name, edit, ns(name))
		if edit == "EPOCH" {
			continue // it is the second in which each was asked
		}
		add("POST", apiZones, body)
		add("DELETE", apiZones+"/"+name, "")
	}
	for _, body := range []string{
		`{"name":"bad.test","kind":"Native","nameservers":[]}`, `{"kind":"Native"}`, `{"name":"bad.test."}`, `{"name":"bad.test.","kind":5}`, `{"name":5,"kind":"Native"}`,
		`{"name":"","kind":"Native"}`, `{"name":"a b.test.","kind":"Native"}`, `{"name":"x*.test.","kind":"Native"}`, `[]`, `{`, ``, `"x"`,
		`{"name":"bad.test.","kind":"Native","nameservers":"x"}`, `{"name":"bad.test.","kind":"Native","nameservers":["ns.x"]}`,
		`{"name":"bad.test.","kind":"Native","nameservers":["ns.x."],"rrsets":[{"name":"bad.test.","type":"NS","ttl":60,"records":[{"content":"ns.x."}]}]}`,
		`{"name":"bad.test.","kind":"Native","nameservers":["ns.x."],"rrsets":[{"name":"out.","type":"A","ttl":60,"records":[{"content":"192.0.2.1"}]}]}`,
		`{"name":"bad.test.","kind":"Native","nameservers":["ns.x."],"rrsets":[{"name":"bad.test.","type":"A","ttl":60,"records":[{"content":"192.0.2.1"}]},{"name":"bad.test.","type":"CNAME","ttl":60,"records":[{"content":"x."}]}]}`,
		`{"name":"bad.test.","kind":"Slave","masters":["bad"]}`, `{"name":"bad.test.","kind":"Slave","masters":[""]}`,
		`{"name":"bad.test.","kind":"Native","nsec3param":"1 0 0 -","nameservers":["ns.x."]}`,
	} {
		add("POST", apiZones, body)
	}
	add("POST", apiZones, `{"name":"lone.test.","kind":"Native","nameservers":[]}`, "194")
	add("POST", apiZones, `{"name":"lone.test.","kind":"Native"}`, "194")
	add("DELETE", apiZones+"/lone.test.", "", "194")
	add("POST", apiZones, `{"name":"served.test.","kind":"Native","nameservers":["ns1.x.","ns2.x."]}`, "195")
	add("DELETE", apiZones+"/served.test.", "")
	add("POST", apiZones, `{"name":"s.test.","kind":"Slave","masters":["127.0.0.1:1"],"nameservers":[]}`, "196")
	add("PUT", apiZones+"/s.test./notify", "")
	add("DELETE", apiZones+"/s.test.", "")
	add("POST", apiZones, `{"name":"text.test.","kind":"Native","nameservers":[],"soa_edit_api":"INCREASE","zone":"text.test. 60 IN SOA a. b. 1 2 3 4 5\ntext.test. 60 IN NS ns.x.\nwww.text.test. 60 IN A 192.0.2.5\n"}`)
	add("GET", apiZones+"/text.test.", "")
	add("GET", apiZones+"?zone=text.test.", "")
	add("GET", apiZones+"?zone=none.", "")
	add("GET", apiZones+"?zone=text.test.&dnssec=false", "")
	add("DELETE", apiZones+"/text.test.", "")
	add("GET", apiZones+"/text.test.", "")
	add("POST", apiZones, `{"name":"a/b.test.","kind":"Native","soa_edit_api":"INCREASE",`+ns("a/b.test.")+`}`)
	add("GET", apiZones+"/a=2Fb.test.", "")
	add("DELETE", apiZones+"/a=2Fb.test.", "")
	for _, id := range []string{"none.", "a=", "a=2", "=2E", "bad..name"} {
		add("GET", apiZones+"/"+id, "", map[bool]string{true: "190"}[id == "a=" || id == "a=2" || id == "bad..name"])
	}
}

// others are requests about the rest.
//
// In one piece: it is the list of them.
func others(add adder) {
	const server, zone = "/api/v1/servers/localhost", apiZones + "/z.test."
	for _, body := range []string{
		`{"kind":"Master"}`, `{"kind":"Native"}`, `{"account":"acc"}`, `{"account":5}`, `{"soa_edit":"INCEPTION-INCREMENT"}`, `{"api_rectify":true}`, `{"api_rectify":"x"}`, `{}`, `[]`, `{`, ``,
		`{"masters":[""]}`, `{"nsec3param":"1 0 0 -"}`, `{"dnssec":false}`, `{"name":"other."}`, `{"soa_edit_api":"INCREASE"}`,
	} {
		add("PUT", zone, body)
		add("GET", zone+"?rrsets=false", "")
	}
	add("PUT", apiZones+"/none.", `{"kind":"Native"}`)
	const metadata = zone + "/metadata"
	add("GET", metadata, "")
	for _, body := range []string{
		`{"kind":"ALLOW-AXFR-FROM","metadata":["AUTO-NS","192.0.2.0/24"]}`, `{"kind":"ALLOW-AXFR-FROM","metadata":["192.0.2.1"]}`, `{"kind":"X-MINE","metadata":["a"]}`,
		`{"kind":"X-MINE","metadata":["a"]}`, `{"kind":"NOPE","metadata":["a"]}`, `{"kind":"X-A","metadata":"a"}`, `{"kind":"X-A","metadata":[1]}`, `{"kind":"X-A"}`, `{"metadata":["a"]}`, `[]`, `{`,
		`{"kind":"API-RECTIFY","metadata":["1"]}`, `{"kind":"NSEC3PARAM","metadata":["1 0 0 -"]}`, `{"kind":"ALSO-NOTIFY","metadata":["192.0.2.1"]}`, `{"kind":"IXFR","metadata":["1"]}`,
	} {
		add("POST", metadata, body)
	}
	add("GET", metadata, "")
	for _, kind := range []string{"X-MINE", "X-NONE", "NOPE", "ALLOW-AXFR-FROM", "API-RECTIFY", "SOA-EDIT", "IXFR"} {
		add("GET", metadata+"/"+kind, "")
		add("PUT", metadata+"/"+kind, `{"metadata":["b","c"]}`)
		add("PUT", metadata+"/"+kind, `{"metadata":"b"}`)
		add("DELETE", metadata+"/"+kind, "")
		add("DELETE", metadata+"/"+kind, "")
	}
	add("DELETE", metadata, "")
	add("GET", apiZones+"/none./metadata", "")
	const keys = server + "/tsigkeys"
	const secret = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
	add("GET", keys, "")
	for _, body := range []string{
		`{"name":"k1","algorithm":"hmac-sha256"}`, `{"name":"k2","algorithm":"hmac-sha256","key":"` + secret + `"}`, `{"name":"k2","algorithm":"hmac-sha256","key":"` + secret + `"}`,
		`{"name":"k3","algorithm":"nope"}`, `{"name":"k4"}`, `{"algorithm":"hmac-sha256"}`, `{"name":"k5","algorithm":"hmac-sha256","key":"!!"}`, `{`, `[]`, `{"name":"k6.","algorithm":"hmac-sha512","key":"` + secret + `"}`,
	} {
		add("POST", keys, body)
	}
	add("POST", keys, `{"name":"k7","algorithm":"hmac-sha256","key":"MDEy"}`, "197")
	add("DELETE", keys+"/k7.", "", "197")
	for _, id := range []string{"k1.", "k2", "k2.", "none", "k6."} {
		add("GET", keys+"/"+id, "")
	}
	add("PUT", keys+"/k2.", `{"name":"k9"}`)
	add("PUT", keys+"/k9.", `{"algorithm":"hmac-sha512"}`)
	add("PUT", keys+"/k9.", `{"key":"`+secret+`"}`, "199")
	add("PUT", keys+"/k9.", `{`)
	add("PUT", keys+"/none.", `{"name":"k8"}`)
	for _, id := range []string{"k9.", "k9.", "k1.", "k6."} {
		add("DELETE", keys+"/"+id, "")
	}
	add("GET", keys, "")
	const crypto = zone + "/cryptokeys"
	for _, body := range []string{`{"keytype":"nope","active":true}`, `{"active":true}`, `{"keytype":"ksk","algorithm":"nope"}`, `{`, `[]`} {
		add("POST", crypto, body)
	}
	add("GET", crypto, "")
	add("GET", crypto+"/99", "")
	add("PUT", crypto+"/99", `{"active":true}`)
	add("DELETE", crypto+"/99", "")
	add("GET", crypto+"/x", "", "190")
	for _, query := range []string{
		"?q=*z.test*", "?q=z.test&object_type=zone", "?q=none", "?max=10", "?q=x&max=0", "?q=x&object_type=nope", "?q=*.z.test&object_type=record",
		"?q=?.z.test&object_type=record", "?q=MAIL*&object_type=record", "?q=c&object_type=comment",
	} {
		add("GET", server+"/search-data"+query, "")
	}
	add("GET", server+"/search-data?q=x&max=x", "", "190")
	for _, query := range []string{"?domain=z.test", "", "?domain=x..", "?domain="} {
		add("PUT", server+"/cache/flush"+query, "", map[bool]string{true: "190"}[query == "?domain=x.."])
	}
	add("GET", server+"/statistics?statistic=nope", "")
	add("POST", server+"/autoprimaries", `{"ip":"192.0.2.1"}`)
	add("POST", server+"/autoprimaries", `{"nameserver":"ns."}`)
	add("DELETE", server+"/autoprimaries/192.0.2.1/ns.", "")
	add("PUT", zone+"/axfr-retrieve", "")
	add("PUT", zone+"/rectify", "")
	add("PUT", zone+"/notify", "", "198")
	add("PUT", apiZones+"/none./notify", "")
	add("PUT", apiZones+"/none./axfr-retrieve", "")
	add("PUT", apiZones+"/none./rectify", "")
	add("GET", apiZones+"/none./export", "")
	add("POST", zone+"/export", "")
	add("DELETE", zone, "")
	add("GET", zone, "")
}
