package app_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"port53/internal/api"
	"port53/internal/app"
	"port53/internal/certs/certtest"
	"port53/internal/grant"
	"port53/internal/telemetry"
)

// apiConfig is a configuration with the API, and a token for each of the names that have grants.
func apiConfig(grants map[string]string) string {
	var b strings.Builder
	b.WriteString("state_dir: state\nmetrics: {listen: off}\napi: {listen: \"127.0.0.1:0\"}\ntokens:\n")
	for name, text := range grants {
		fmt.Fprintf(&b, "  - {name: %s, hash: \"%x\", grants: [%s]}\n", name, grant.Hash(name+"-secret"), text)
	}
	return b.String()
}

// do sends a request of the API as the token of a name does, and returns the answer. headers are pairs.
func (r *running) do(as, method, path, body string, headers ...string) (status int, answer string, head http.Header) {
	r.Helper()
	req, err := http.NewRequest(method, "http://"+r.API().String()+path, strings.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	req.Header.Set("X-API-Key", as+"-secret")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.Fatal(err)
	}
	return resp.StatusCode, string(text), resp.Header
}

// expect sends a request and wants a status, and texts in the answer; those that begin with ! not.
func (r *running) expect(as, method, path, body string, status int, texts ...string) string {
	r.Helper()
	got, answer, _ := r.do(as, method, path, body)
	if got != status {
		r.Errorf("%s %s %s: %d %s, want %d", method, path, body, got, answer, status)
	}
	for _, text := range texts {
		if without, not := strings.CutPrefix(text, "!"); strings.Contains(answer, without) == not {
			r.Errorf("%s %s: %s, want %q", method, path, answer, text)
		}
	}
	return answer
}

const pdnsZones = "/api/v1/servers/localhost/zones"

const newZone = `{"name":"made.test.","kind":"Native","nameservers":["ns.made.test."],"soa_edit_api":"INCREASE",
"rrsets":[{"name":"ns.made.test.","type":"A","ttl":60,"records":[{"content":"192.0.2.1"}]}]}`

// TestAPIZones: what the API makes is served, and there after a restart with all that is said of it;
// one request is one write.
func TestAPIZones(t *testing.T) {
	r := start(t, apiConfig(map[string]string{"admin": `{zone: "*", verbs: [admin]}`}), "state")
	r.expect("admin", "POST", pdnsZones, newZone, 201, `"serial":1`, "ns.made.test.")
	r.expect("admin", "POST", pdnsZones, newZone, 409)
	r.expect("admin", "PATCH", pdnsZones+"/made.test.", `{"rrsets":[{"name":"www.made.test.","type":"A","ttl":60,"changetype":"REPLACE",
		"records":[{"content":"192.0.2.7"},{"content":"192.0.2.8","disabled":true}],"comments":[{"content":"seven","account":"me","modified_at":7}]}]}`, 204)
	r.expect("admin", "PUT", pdnsZones+"/made.test.", `{"account":"somebody"}`, 204)
	r.expect("admin", "POST", pdnsZones+"/made.test./metadata", `{"kind":"X-A","metadata":["b"]}`, 201)
	r.expect("admin", "PATCH", pdnsZones+"/made.test.", `{"rrsets":[{"name":"only.made.test.","type":"TXT","changetype":"REPLACE","comments":[{"content":"alone","account":""}]}]}`, 204)
	check := func() {
		t.Helper()
		r.expect("admin", "GET", pdnsZones+"/made.test.", "", 200, `"serial":3`, `{"content":"192.0.2.8","disabled":true}`, `{"content":"seven","account":"me","modified_at":7}`, `"account":"somebody"`, `"alone"`)
		r.expect("admin", "GET", pdnsZones+"/made.test./metadata/X-A", "", 200, `["b"]`)
		if reply := r.ask("udp", "www.made.test. A"); !strings.Contains(reply, "192.0.2.7") || strings.Contains(reply, "192.0.2.8") {
			t.Errorf("%s", reply)
		}
	}
	check()
	r.end()
	if err := r.serve(io.Discard); err != nil {
		t.Fatal(err)
	}
	check()
	// All or nothing.
	r.expect("admin", "PATCH", pdnsZones+"/made.test.", `{"rrsets":[{"name":"x.made.test.","type":"A","ttl":60,"changetype":"REPLACE","records":[{"content":"192.0.2.9"}]},
		{"name":"www.made.test.","type":"CNAME","ttl":60,"changetype":"REPLACE","records":[{"content":"x.made.test."}]}]}`, 422, "Conflicts with pre-existing RRset")
	r.expect("admin", "GET", pdnsZones+"/made.test.", "", 200, `"serial":3`, "!192.0.2.9")
	// EXTEND and PRUNE, which PowerDNS has since 4.9 and 5.0.
	r.expect("admin", "PATCH", pdnsZones+"/made.test.", `{"rrsets":[{"name":"www.made.test.","type":"A","ttl":60,"changetype":"EXTEND","records":[{"content":"192.0.2.10"}]}]}`, 204)
	r.expect("admin", "PATCH", pdnsZones+"/made.test.", `{"rrsets":[{"name":"www.made.test.","type":"A","ttl":60,"changetype":"PRUNE","records":[{"content":"192.0.2.7"}]}]}`, 204)
	r.expect("admin", "GET", pdnsZones+"/made.test.", "", 200, "192.0.2.10", "192.0.2.8", "seven", "!192.0.2.7")
	// A zone of the configuration is not removed, but changed: somebody has been granted that.
	r.expect("admin", "DELETE", pdnsZones+"/test.", "", 422, "is in the configuration")
	r.expect("admin", "PATCH", pdnsZones+"/test.", `{"rrsets":[{"name":"new.test.","type":"A","ttl":60,"changetype":"REPLACE","records":[{"content":"192.0.2.9"}]}]}`, 204)
	r.expect("admin", "DELETE", pdnsZones+"/made.test.", "", 204)
	r.expect("admin", "GET", pdnsZones+"/made.test.", "", 404)
	if reply := r.ask("udp", "www.made.test. A"); !strings.Contains(reply, "NXDOMAIN") {
		t.Errorf("%s", reply)
	}
}

// TestAPIViews: where views have zones of their own of a name, ?view= chooses, in both APIs, and is never ignored.
func TestAPIViews(t *testing.T) {
	r := start(t, "", "state")
	r.write("v.zone", "$TTL 60\n@ SOA ns.v.test. h 1 2 3 4 5\n@ NS ns.v.test.\nns A 192.0.2.1\n")
	r.write("port53.yaml", "role: authoritative\nlisten: [\"127.0.0.1:0\"]\ncontrol: {socket: control.sock}\n"+
		apiConfig(map[string]string{"admin": `{zone: "*", verbs: [admin]}`})+
		"views: [{name: inside, match: {clients: [10.0.0.0/8]}}]\n"+
		"zones: [{name: v.test, file: v.zone}, {name: v.test, file: v.zone, views: inside}]\n")
	r.end()
	if err := r.serve(io.Discard); err != nil {
		t.Fatal(err)
	}
	const set = `{"rrsets":[{"name":"a.v.test.","type":"A","ttl":60,"changetype":"REPLACE","records":[{"content":"192.0.2.7"}]}]}`
	const own = `{"changes":[{"change":"replace","name":"b.v.test.","type":"A","ttl":60,"records":[{"content":"192.0.2.8"}]}]}`
	const there, in, out = pdnsZones + "/v.test.", `"192.0.2.7"`, `!"192.0.2.7"`
	r.expect("admin", "PATCH", there+"?view=inside", set, 204)
	r.expect("admin", "GET", there, "", 200, out)
	r.expect("admin", "GET", there+"?view=default", "", 200, out)
	r.expect("admin", "GET", there+".inside", "", 200, in)
	r.expect("admin", "PATCH", "/v1/zones/v.test/records?view=inside", own, 200)
	r.expect("admin", "GET", "/v1/zones/v.test/records", "", 200, "!192.0.2.8")
	r.expect("admin", "GET", "/v1/zones/v.test..inside/records?view=inside", "", 200, "192.0.2.8")
	r.expect("admin", "GET", "/v1/zones/v.test..inside/records?view=default", "", 422, "leave one of them out")
	r.expect("admin", "GET", "/v1/zones/v.test/records?view=", "", 422, "?view=, of default, inside", "!--view")
	r.expect("admin", "POST", "/v1/zones/v.test/undo?view=nowhere", "{}", 404)
	r.expect("admin", "GET", "/v1/zones?view=inside", "", 400, "?view= is for")
	r.expect("admin", "DELETE", there, "", 422, "is in the configuration", "!--view")
}

// TestAPIDialect: where PowerDNS does otherwise, and is meant to (docs/DIALECT.md).
func TestAPIDialect(t *testing.T) {
	r := start(t, apiConfig(map[string]string{"admin": `{zone: "*", verbs: [admin]}`}), "state")
	r.expect("admin", "POST", pdnsZones, newZone, 201)
	const zone, keys = pdnsZones + "/made.test.", "/api/v1/servers/localhost/tsigkeys"
	set := func(more string) string {
		return `{"rrsets":[{"name":"a.made.test.","type":"A",` + more + `}]}`
	}
	const records = `"records":[{"content":"192.0.2.1"}]`
	for _, c := range []struct {
		method, path, body string
		status             int
		text               string
	}{
		{"PATCH", zone, set(`"changetype":"REPLACE","ttl":"x",` + records), 422, "Key 'ttl' not an Integer"},
		{"GET", zone + "/cryptokeys/x", "", 404, ""},
		{"GET", "/api/v1/servers/localhost/search-data?q=x&max=x", "", 422, "a number"},
		{"PATCH", zone, `{"rrsets":[{"name":"a.other.","type":"A","changetype":"DELETE"}]}`, 422, "Name is out of zone"},
		{"PATCH", zone, set(`"changetype":"REPLACE","ttl":-1,` + records), 422, "a TTL is between"},
		{"PATCH", zone, set(`"changetype":"REPLACE","ttl":2147483648,` + records), 422, "a TTL is between"},
		{"PATCH", zone, set(`"changetype":"EXTEND","ttl":60,` + records), 204, ""},
		{"PATCH", zone, set(`"changetype":"PRUNE","ttl":60,` + records), 204, ""},
		{"POST", pdnsZones, `{"name":"lone.","kind":"Native","nameservers":[]}`, 422, "no NS record at its apex"},
		{"POST", pdnsZones, `{"name":"soa.","kind":"Native","nameservers":["ns1.x."]}`, 201, "ns1.x. hostmaster.soa."},
		{"POST", pdnsZones, `{"name":"sec.","kind":"Slave","account":"me","masters":["127.0.0.1:1"]}`, 201, `"account":""`},
		{"POST", pdnsZones, `{"name":"sec2.","kind":"Slave"}`, 422, "has masters"},
		{"POST", keys, `{"name":"short","algorithm":"hmac-sha256","key":"MDEy"}`, 422, "at least 16 octets"},
		{"PUT", zone + "/notify", "", 200, "queued"},
		{"POST", keys, `{"name":"k","algorithm":"hmac-sha256"}`, 201, ""},
		{"PUT", keys + "/k.", `{"algorithm":"hmac-sha512"}`, 200, "hmac-sha512"},
		{"PUT", keys + "/k.", `{"key":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"}`, 200, "hmac-sha512"},
		{"PATCH", zone, `{"rrsets":[{"name":"made.test.","type":"SOA","ttl":60,"changetype":"REPLACE","records":[{"content":"ns.made.test. h.made.test. 1 2 3 4 5"}]}]}`, 204, ""},
		{"GET", zone, "", 200, `"serial":4`},
		{"POST", zone + "/metadata", `{"kind":"ALLOW-AXFR-FROM","metadata":["0.0.0.0/0"]}`, 201, ""},
		{"PATCH", zone, set(`"changetype":"REPLACE","ttl":60,"records":[{"content":"192.0.2.1","set-ptr":true}]`), 422, "set-ptr is not there"},
		{"PUT", zone, `{"catalog":"cat.test."}`, 422, "catalog: it is"},
		{"PUT", zone, `{"catalog":"made.test."}`, 422, "catalog: it is"},
		{"PUT", zone, `{"nsec3narrow":true}`, 422, "nsec3narrow: it is not there"},
		{"PUT", zone, `{"catalog":"","nsec3param":"","nsec3narrow":false}`, 204, ""},
		{"POST", pdnsZones, `{"name":"three.","kind":"Native","dnssec":true,"nsec3param":"1 0 0 -","nameservers":["ns1.x."]}`, 422, "denial: nsec3"},
		{"POST", pdnsZones, `{"name":"mem.","kind":"Native","catalog":"cat.test.","nameservers":["ns1.x."]}`, 422, "catalog: it is"},
		{"GET", zone + "/export?view=default", "", 200, "SOA"},
		{"GET", zone + "?view=nowhere", "", 404, ""},
		{"PATCH", zone + "?view=nowhere", set(`"changetype":"REPLACE","ttl":60,` + records), 404, ""},
		{"DELETE", zone + "?view=nowhere", "", 404, ""},
		{"POST", pdnsZones + "?view=default", `{"name":"v.","kind":"Native","nameservers":["ns1.x."]}`, 400, "?view= is for"},
		{"POST", "/api/v1/servers/localhost/autoprimaries", `{"ip":"192.0.2.1","nameserver":"ns."}`, 422, "consume a catalog"},
	} {
		r.expect("admin", c.method, c.path, c.body, c.status, c.text)
	}
	if reply := r.ask("tcp", "made.test. AXFR"); !strings.Contains(reply, "REFUSED") {
		t.Errorf("metadata has given the zone away: %s", reply)
	}
}

// TestAuditFile: who changed what is a line of JSON, with the serials before and after; what was refused is
// one too. Tokens are in none, nor in the log. A reload opens the file again.
func TestAuditFile(t *testing.T) {
	r := start(t, apiConfig(map[string]string{"admin": `{zone: "*", verbs: [admin]}`})+"audit: {file: audit.json}\n", "state")
	var log bytes.Buffer
	r.end()
	if err := r.serve(&log); err != nil {
		t.Fatal(err)
	}
	r.expect("admin", "POST", pdnsZones, newZone, 201)
	const patch = `{"rrsets":[{"name":"www.made.test.","type":"A","ttl":60,"changetype":"REPLACE","records":[{"content":"192.0.2.7"}]}]}`
	r.expect("admin", "PATCH", pdnsZones+"/made.test.", patch, 204)
	r.expect("admin", "PATCH", pdnsZones+"/made.test.", strings.ReplaceAll(patch, `"A"`, `"CNAME"`), 422)
	lines := strings.Split(strings.TrimSpace(r.read("audit.json")), "\n")
	var got []map[string]any
	for _, line := range lines {
		var one map[string]any
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if one["zone"] == "made.test." && one["what"] == "update" {
			got = append(got, one)
		}
	}
	if !strings.Contains(r.read("audit.json"), `"what":"command","outcome":"accepted","zone":"made.test.","by":"token admin from 127.0.0.1","text":"zone added by the API"`) {
		t.Errorf("%s", lines)
	}
	if len(got) != 1 || got[0]["serial_before"] != 1.0 || got[0]["serial"] != 2.0 || got[0]["added"] != 1.0 || got[0]["outcome"] != "accepted" || got[0]["by"] != "token admin from 127.0.0.1" || got[0]["at"] == nil {
		t.Errorf("%v", got)
	}
	if err := os.Rename(filepath.Join(r.dir, "audit.json"), filepath.Join(r.dir, "audit.1")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.expect("admin", "POST", "/v1/zones/made.test/undo", `{}`, 200)
	if text := r.read("audit.json"); !strings.Contains(text, `"serial_before":2,"serial":3`) {
		t.Errorf("%s", text)
	}
	r.end()
	if err := r.serve(io.Discard); err != nil { // another run goes on where this one has ended
		t.Fatal(err)
	}
	r.expect("admin", "POST", "/v1/zones/made.test/undo", `{}`, 200)
	r.end()
	var chain telemetry.AuditChain
	for _, name := range []string{"audit.1", "audit.json"} {
		if err := chain.Read(name, strings.NewReader(r.read(name))); err != nil {
			t.Fatal(err)
		}
	}
	if chain.Lines != 4 || chain.Unchained != 1 || len(chain.Faults)+len(chain.Begins) > 0 {
		t.Errorf("the lines do not follow on each other: %+v", chain)
	}
	for _, text := range []string{r.read("audit.json"), r.read("audit.1"), log.String()} {
		if strings.Contains(text, "admin-secret") {
			t.Errorf("a token is in %s", text)
		}
	}
}

// TestAPISigned: a key that is made has the zone signed, and the last one does not go.
func TestAPISigned(t *testing.T) {
	r := start(t, apiConfig(map[string]string{"admin": `{zone: "*", verbs: [admin]}`}), "state")
	r.expect("admin", "POST", pdnsZones, newZone, 201)
	var key struct{ ID int }
	if err := json.Unmarshal([]byte(r.expect("admin", "POST", pdnsZones+"/made.test./cryptokeys", `{"keytype":"csk","active":true}`, 201, "257 3 13")), &key); err != nil {
		t.Fatal(err)
	}
	one := fmt.Sprintf("%s/made.test./cryptokeys/%d", pdnsZones, key.ID)
	r.expect("admin", "GET", pdnsZones+"/made.test.?rrsets=false", "", 200, `"dnssec":true`)
	r.expect("admin", "DELETE", one, "", 422, "no key would be left to sign the zone")
	r.expect("admin", "PUT", one, `{"active":false}`, 422, "no key would be left to sign")
	var two struct{ ID int }
	if err := json.Unmarshal([]byte(r.expect("admin", "POST", pdnsZones+"/made.test./cryptokeys", `{"keytype":"csk","active":true}`, 201)), &two); err != nil {
		t.Fatal(err)
	}
	r.expect("admin", "DELETE", one, "", 204)
	r.expect("admin", "GET", one, "", 404)
	r.expect("admin", "GET", "/v1/zones/made.test/keys", "", 200, fmt.Sprint(two.ID), "!"+fmt.Sprintf(`"id":%d,`, key.ID))
	r.expect("admin", "PUT", pdnsZones+"/made.test.", `{"dnssec":false}`, 204)
	r.expect("admin", "GET", pdnsZones+"/made.test.?rrsets=false", "", 200, `"dnssec":false`)
}

// TestAPIRoll: whoever may sign a zone has its keys rolled, once at a time, and the audit says so; nobody else
// does.
func TestAPIRoll(t *testing.T) {
	r := start(t, apiConfig(map[string]string{
		"admin": `{zone: "*", verbs: [admin]}`, "signer": `{zone: made.test, verbs: [sign]}`,
		"elsewhere": `{zone: test, verbs: [read, sign]}`, "changer": `{zone: made.test, verbs: [read, change, notify]}`,
	})+"audit: {file: state/audit}\n", "state")
	r.expect("admin", "POST", pdnsZones, newZone, 201)
	r.expect("admin", "POST", pdnsZones+"/made.test./cryptokeys", `{"keytype":"csk","active":true}`, 201)
	state := func() (st app.KeysStatus) {
		t.Helper()
		if err := json.Unmarshal([]byte(r.expect("signer", "GET", "/v1/zones/made.test/signing", "", 200)), &st); err != nil {
			t.Fatal(err)
		}
		return st
	}
	if n := len(state().Keys); n != 1 {
		t.Fatalf("%d keys", n)
	}
	tag := state().Keys[0].Tag
	path := fmt.Sprintf("/v1/zones/made.test/keys/%d/roll", tag)
	r.expect("changer", "POST", path, "", 403, "may not roll keys")
	r.expect("elsewhere", "POST", path, "", 404)
	r.expect("signer", "POST", fmt.Sprintf("/v1/zones/made.test/keys/%d/roll", tag^1), "", 409, "there is no key")
	for _, bad := range []string{"0", "-1", "65536", "x"} {
		r.expect("signer", "POST", "/v1/zones/made.test/keys/"+bad+"/roll", "", 404)
	}
	r.expect("signer", "POST", path, `{"force":1}`, 400)
	r.expect("signer", "POST", fmt.Sprintf("/v1/zones/test/keys/%d/roll", tag), "", 404)
	if n := len(state().Keys); n != 1 || strings.Contains(r.read("state/audit"), "keys/roll") {
		t.Fatalf("what was refused was done: %d keys", n)
	}
	r.expect("signer", "POST", path, "", 409, "is under way") // the key is new, and not in all caches yet
	r.expect("signer", "POST", path, "{}", 409, "is under way")
	r.expect("signer", "POST", path, `{"force":true}`, 200, fmt.Sprint(tag))
	if st := state(); len(st.Keys) != 2 {
		t.Errorf("after a roll has begun there are %d keys", len(st.Keys))
	}
	for _, part := range []string{fmt.Sprintf("keys/roll: %d", tag), `"by":"token signer`, `"zone":"made.test."`} {
		until(t, part, func() string { return r.read("state/audit") }, func() bool { return strings.Contains(r.read("state/audit"), part) })
	}
}

// TestAPIKeepsKey: a zone whose transfers are signed goes on so, whatever else of it is changed; the key
// changes, and goes, where a request says so.
func TestAPIKeepsKey(t *testing.T) {
	r := start(t, apiConfig(map[string]string{"admin": `{zone: "*", verbs: [admin]}`}), "state")
	for _, name := range []string{"one", "two"} {
		r.expect("admin", "POST", "/api/v1/servers/localhost/tsigkeys", `{"name":"`+name+`","algorithm":"hmac-sha256"}`, 201)
	}
	zone := pdnsZones + "/sec.test."
	line := func() string {
		_, rest, _ := strings.Cut(r.read("state/added-zones"), "sec.test\"")
		return rest
	}
	for i, c := range []struct{ method, path, body, want string }{
		{"POST", pdnsZones, `{"name":"sec.test.","kind":"Slave","masters":["127.0.0.1:1"],"master_tsig_key_ids":["one"]}`, `tsig: ["one"]`},
		{"POST", zone + "/cryptokeys", `{"keytype":"csk","active":true}`, `tsig: ["one"], dnssec: {sign: true}`},
		{"PUT", zone, `{"dnssec":false}`, `tsig: ["one"]}`},
		{"PUT", zone, `{"masters":["127.0.0.1:2"]}`, `"127.0.0.1:2"], tsig: ["one"]}`},
		{"PUT", zone, `{"master_tsig_key_ids":["two."]}`, `"127.0.0.1:2"], tsig: ["two"]}`},
		{"PUT", zone, `{"master_tsig_key_ids":[]}`, `"127.0.0.1:2"], insecure: true}`},
	} {
		status, answer, _ := r.do("admin", c.method, c.path, c.body) // what is noted of a zone that did not come yet is refused
		if got := line(); !strings.Contains(got, c.want) {
			t.Errorf("%d: %d %s: %q, want %q", i, status, answer, got, c.want)
		}
	}
}

// TestAPIGrants: tokens see, read and change what they were granted, and nothing else.
func TestAPIGrants(t *testing.T) {
	r := start(t, apiConfig(map[string]string{
		"admin":  `{zone: "*", verbs: [admin]}`,
		"web":    `{zone: made.test, names: ["www.made.test"], types: [A], verbs: [read, change]}`,
		"reader": `{zone: "*", verbs: [read]}`,
		"other":  `{zone: other.test, verbs: [admin]}`,
		"past":   `{zone: "*", verbs: [admin], until: "2001-01-01"}`,
		"none":   ``,
	}), "state")
	r.expect("admin", "POST", pdnsZones, newZone, 201)
	r.expect("admin", "POST", pdnsZones+"/made.test./metadata", `{"kind":"X-SECRET","metadata":["hidden"]}`, 201)
	const patch = `{"rrsets":[{"name":"%s.made.test.","type":"%s","ttl":60,"changetype":"REPLACE","records":[{"content":"%s"}]}]}`
	a := func(name string) string { return fmt.Sprintf(patch, name, "A", "192.0.2.9") }
	for _, c := range []struct {
		as, method, path, body string
		status                 int
		texts                  []string
	}{
		{"nobody", "GET", pdnsZones, "", 401, nil},
		{"nobody", "GET", "/v1/zones", "", 401, []string{"X-API-Key"}},
		{"web", "PATCH", pdnsZones + "/made.test.", a("www"), 204, nil},
		{"web", "PATCH", pdnsZones + "/made.test.", a("WWW"), 204, nil},
		{"web", "PATCH", pdnsZones + "/made.test.", a("ww"), 403, []string{"may not change A of ww.made.test."}},
		{"web", "PATCH", pdnsZones + "/made.test.", fmt.Sprintf(patch, "www", "TXT", `\"x\"`), 403, nil},
		{"web", "PATCH", pdnsZones + "/test.", `{"rrsets":[]}`, 404, nil},
		{"web", "PATCH", "/v1/zones/made.test/records", `{"changes":[{"change":"delete","name":"ns.made.test.","type":"A"}]}`, 403, nil},
		{"web", "GET", pdnsZones + "/made.test.", "", 200, []string{"192.0.2.9", "!192.0.2.1", "!SOA"}},
		{"web", "GET", "/v1/zones/made.test/records", "", 200, []string{"192.0.2.9", "!192.0.2.1", `"total":1`}},
		{"web", "GET", pdnsZones, "", 200, []string{"made.test.", `!"test."`}},
		{"web", "GET", "/v1/zones", "", 200, []string{"made.test.", `!"test."`}},
		{"web", "GET", "/v1/zones/made.test", "", 200, []string{"!X-SECRET"}},
		{"web", "GET", "/v1/zones", "", 200, []string{"!X-SECRET"}},
		{"admin", "GET", "/v1/zones/made.test", "", 200, []string{"X-SECRET", "hidden"}},
		{"web", "GET", pdnsZones + "/made.test./export", "", 403, nil},
		{"web", "GET", pdnsZones + "/made.test./metadata", "", 403, nil},
		{"web", "GET", pdnsZones + "/made.test./cryptokeys", "", 403, nil},
		{"web", "PUT", pdnsZones + "/made.test./notify", "", 403, nil},
		{"web", "DELETE", pdnsZones + "/made.test.", "", 403, nil},
		{"web", "PUT", pdnsZones + "/made.test.", `{"kind":"Master"}`, 403, nil},
		{"web", "POST", pdnsZones, newZone, 403, nil},
		{"web", "GET", "/api/v1/servers/localhost/search-data?q=*", "", 200, []string{"192.0.2.9", "!ns.made.test"}},
		{"web", "GET", "/api/v1/servers/localhost/config", "", 403, nil},
		{"web", "GET", "/api/v1/servers/localhost/tsigkeys", "", 403, nil},
		{"web", "GET", "/api/v1/servers/localhost/statistics", "", 403, nil},
		{"web", "GET", "/v1/status", "", 403, nil},
		{"web", "GET", "/v1/settings", "", 403, nil},
		{"web", "GET", "/v1/keys", "", 403, nil},
		{"web", "GET", "/v1", "", 200, []string{`"name":"web"`, `"admin":false`}},
		{"web", "PUT", "/api/v1/servers/localhost/cache/flush?domain=x.", "", 403, nil},
		{"reader", "GET", pdnsZones + "/made.test./export", "", 200, []string{"192.0.2.1"}},
		{"reader", "GET", pdnsZones + "/test.", "", 200, nil},
		{"reader", "GET", "/v1/status", "", 200, nil},
		{"reader", "PATCH", pdnsZones + "/made.test.", a("x"), 403, nil},
		{"reader", "PATCH", pdnsZones + "/made.test.", `{"rrsets":[]}`, 403, nil},
		{"reader", "DELETE", pdnsZones + "/made.test.", "", 403, nil},
		{"reader", "GET", "/v1/settings", "", 403, nil},
		{"other", "GET", pdnsZones + "/made.test.", "", 404, nil},
		{"other", "GET", pdnsZones, "", 200, []string{"!made.test"}},
		{"other", "POST", pdnsZones, `{"name":"other.test.","kind":"Native","nameservers":["ns.made.test."]}`, 201, nil},
		{"other", "POST", pdnsZones, `{"name":"third.test.","kind":"Native","nameservers":["ns.made.test."]}`, 403, nil},
		{"other", "DELETE", pdnsZones + "/other.test.", "", 204, nil},
		{"past", "GET", pdnsZones + "/made.test.", "", 404, nil},
		{"past", "GET", pdnsZones, "", 200, []string{"!made.test"}},
		{"past", "POST", pdnsZones, newZone, 403, nil},
		{"none", "GET", pdnsZones, "", 200, []string{"!made.test"}},
		{"none", "GET", "/api/v1/servers", "", 200, nil},
	} {
		t.Run(c.as+" "+c.method+" "+c.path, func(t *testing.T) {
			inner := *r
			inner.T = t
			inner.expect(c.as, c.method, c.path, c.body, c.status, c.texts...)
		})
	}
}

// TestAPIOwn: pages, versions and what they are refused for.
func TestAPIOwn(t *testing.T) {
	r := start(t, apiConfig(map[string]string{"admin": `{zone: "*", verbs: [admin]}`}), "state")
	for _, name := range []string{"a", "b", "c"} {
		r.expect("admin", "POST", pdnsZones, strings.ReplaceAll(newZone, "made.test", name+".made"), 201)
	}
	r.expect("admin", "GET", "/v1/zones?limit=2", "", 200, "a.made.", "b.made.", "!c.made.", `"more":true`)
	r.expect("admin", "GET", "/v1/zones?limit=2&after=b.made.", "", 200, "c.made.", "test.", "!a.made.", `"more":false`)
	r.expect("admin", "GET", "/v1/zones?q=c.*", "", 200, "c.made.", "!a.made.")
	r.expect("admin", "GET", "/v1/zones?limit=x", "", 400, `"status":400`)
	_, _, head := r.do("admin", "GET", "/v1/zones/a.made/records?offset=1&limit=1", "")
	tag := head.Get("ETag")
	const change = `{"changes":[{"change":"replace","name":"x.a.made.","type":"TXT","ttl":60,"records":[{"content":"\"hi\""}]}]}`
	status, answer, head := r.do("admin", "PATCH", "/v1/zones/a.made/records", change, "If-Match", tag)
	if status != 200 || head.Get("ETag") == tag {
		t.Errorf("%d %s %q", status, answer, head.Get("ETag"))
	}
	if status, answer, _ = r.do("admin", "PATCH", "/v1/zones/a.made/records", change, "If-Match", tag); status != 412 || !strings.Contains(answer, "the zone has changed") {
		t.Errorf("%d %s", status, answer)
	}
	r.expect("admin", "GET", "/v1/zones/a.made/records?q=*hi*", "", 200, `\"hi\"`, `"total":1`)
	r.expect("admin", "GET", "/v1/zones/a.made/records?type=ns&name=a.made", "", 200, `"total":1`)
	for body, want := range map[string]string{`{"changes":[]}`: "there is no change", `{"chances":[]}`: "unknown field", `{`: "body", `{"changes":[{"change":"fly","name":"a.made.","type":"A"}]}`: "Changetype"} {
		if _, answer, _ := r.do("admin", "PATCH", "/v1/zones/a.made/records", body); !strings.Contains(answer, want) {
			t.Errorf("%s: %s", body, answer)
		}
	}
	r.expect("admin", "GET", "/v1/nothing", "", 404, `"title":"Not Found"`)
	r.expect("admin", "PUT", "/v1/zones", "", 405)
	deep := strings.Repeat("[", 100) + strings.Repeat("]", 100)
	r.expect("admin", "PATCH", pdnsZones+"/a.made.", deep, 400)
	r.expect("admin", "PATCH", pdnsZones+"/a.made.", `{"x":"`+strings.Repeat("x", 3<<20)+`"}`, 413)
	if status, _, _ := r.do("admin", "GET", "/v1", "", "Host", "x"); status != 200 {
		t.Errorf("%d", status) // the header is not the host
	}
	req, _ := http.NewRequest("GET", "http://"+r.API().String()+"/v1", nil)
	req.Host = "evil.example"
	if resp, err := http.DefaultClient.Do(req); err != nil || resp.StatusCode != 403 {
		t.Errorf("a name that leads here: %v %v", resp, err)
	}
}

// TestAPIPlan: what changes would do and what follows of it, without doing it; then it is done and taken
// back.
func TestAPIPlan(t *testing.T) {
	r := start(t, apiConfig(map[string]string{
		"admin": `{zone: "*", verbs: [admin]}`, "reader": `{zone: "*", verbs: [read]}`, "blind": `{zone: made.test, names: [host.made.test], verbs: [change]}`,
	}), "state")
	r.expect("admin", "POST", pdnsZones, newZone, 201)
	const zone = "/v1/zones/made.test"
	r.expect("admin", "PATCH", zone+"/records", `{"changes":[
		{"change":"replace","name":"www.made.test.","type":"CNAME","ttl":900,"records":[{"content":"host.made.test."}]},
		{"change":"replace","name":"host.made.test.","type":"A","ttl":900,"records":[{"content":"192.0.2.5"}]},
		{"change":"replace","name":"sub.made.test.","type":"NS","ttl":900,"records":[{"content":"ns.sub.made.test."}]},
		{"change":"replace","name":"ns.sub.made.test.","type":"A","ttl":900,"records":[{"content":"192.0.2.6"}]},
		{"change":"replace","name":"sub.made.test.","type":"DS","ttl":900,"records":[{"content":"1 13 2 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}]}]}`, 200)
	before := r.expect("admin", "GET", zone+"/records", "", 200, `"serial":2`)
	for changes, texts := range map[string][]string{
		`{"change":"delete","name":"host.made.test.","type":"A"}`:                                                                                                             {`"kind":"dangling"`, "www.made.test.", "which does not exist", `"caches_keep_old_seconds":900`, `"accepted":true`, `"serial":2`, `"next_serial":3`},
		`{"change":"delete","name":"ns.sub.made.test.","type":"A"}`:                                                                                                           {`"kind":"lame"`, "ns.sub.made.test. has no address"},
		`{"change":"delete","name":"ns.made.test.","type":"A"}`:                                                                                                               {`"kind":"lame"`, "ns.made.test. has no address"},
		`{"change":"delete","name":"sub.made.test.","type":"NS"}`:                                                                                                             {`"kind":"ds"`, "DS records and no NS records"},
		`{"change":"delete","name":"sub.made.test.","type":"DS"}`:                                                                                                             {`"kind":"ds"`, "not secure any more"},
		`{"change":"replace","name":"new.made.test.","type":"MX","ttl":60,"records":[{"content":"10 nowhere.made.test."}]}`:                                                   {"dangling", "nowhere.made.test."},
		`{"change":"replace","name":"new.made.test.","type":"MX","ttl":60,"records":[{"content":"10 host.made.test."}]}`:                                                      {"!dangling", `"caches_keep_old_seconds":3600`, "new.made.test. 60 IN MX 10 host.made.test."},
		`{"change":"delete","name":"made.test.","type":"NS"}`:                                                                                                                 {`"accepted":false`, `"kind":"refused"`, "no NS record at its apex"},
		`{"change":"replace","name":"made.test.","type":"TXT","ttl":60,"records":[{"content":"\"x\""}]}`:                                                                      {`"accepted":true`, "!warning", "!error"},
		`{"change":"delete","name":"host.made.test.","type":"A"},{"change":"delete","name":"www.made.test.","type":"CNAME"}`:                                                  {"!dangling"},
		`{"change":"replace","name":"made.test.","type":"NS","ttl":60,"records":[{"content":"ns.elsewhere.example."}]}`:                                                       {"the parent zone has NS records of its own", "!lame"},
		`{"change":"replace","name":"sub.made.test.","type":"DS","ttl":60,"records":[{"content":"2 13 2 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}]}`: {"bogus for who validates"},
	} {
		r.expect("admin", "POST", zone+"/plan", `{"changes":[`+changes+`]}`, 200, texts...)
	}
	r.expect("admin", "POST", zone+"/plan", `{"changes":[{"change":"replace","name":"www.made.test.","type":"A","ttl":60,"records":[{"content":"192.0.2.1"}]}]}`, 422, "Conflicts")
	if now := r.expect("admin", "GET", zone+"/records", "", 200); now != before {
		t.Errorf("a plan has changed something: %s", now)
	}
	// Who may change what he may not read is not told of it, nor of other names that lead there.
	r.expect("blind", "POST", zone+"/plan", `{"changes":[{"change":"delete","name":"host.made.test.","type":"A"}]}`, 200, `"accepted":true`, "!192.0.2.5", "!www.made.test.")
	r.expect("reader", "POST", zone+"/plan", `{"changes":[{"change":"delete","name":"host.made.test.","type":"A"}]}`, 403)
	r.expect("reader", "POST", zone+"/undo", `{}`, 403)
	r.expect("admin", "PATCH", zone+"/records", `{"changes":[{"change":"delete","name":"host.made.test.","type":"A"}]}`, 200, `"to":3`)
	r.expect("admin", "GET", zone+"/records?at=2&name=host.made.test", "", 200, "192.0.2.5", `"serial":2`)
	r.expect("admin", "GET", zone+"/records?at=77", "", 404, "not in the history")
	r.expect("admin", "GET", zone+"/history", "", 200, `"by":"token admin from 127.0.0.1"`, "host.made.test. 900 IN A 192.0.2.5")
	if status, answer, _ := r.do("admin", "POST", zone+"/undo", `{}`, "If-Match", `"2"`); status != 412 {
		t.Errorf("%d %s", status, answer)
	}
	r.expect("admin", "POST", zone+"/undo", `{}`, 200, `"from":3`, `"to":4`)
	after := r.expect("admin", "GET", zone+"/records", "", 200)
	if strip := strings.NewReplacer(`"serial":4`, `"serial":2`, " 4 10800", " 2 10800"); strip.Replace(after) != before {
		t.Errorf("undone it is %s, and was %s", after, before)
	}
	r.expect("admin", "POST", zone+"/undo", `{"serial":1}`, 200, `"to":5`)
	r.expect("admin", "GET", zone+"/records?name=www.made.test", "", 200, `"total":0`)
}

// TestAPIEvents follows a change.
func TestAPIEvents(t *testing.T) {
	r := start(t, apiConfig(map[string]string{"admin": `{zone: "*", verbs: [admin]}`, "web": `{zone: elsewhere.test}`}), "state")
	follow := func(as string) io.ReadCloser {
		req, _ := http.NewRequest("GET", "http://"+r.API().String()+"/v1/events", nil)
		req.Header.Set("Authorization", "Bearer "+as+"-secret")
		resp, err := http.DefaultClient.Do(req)
		if err != nil || resp.Header.Get("Content-Type") != "text/event-stream" {
			t.Fatal(resp, err)
		}
		hello := make([]byte, len(": hello\n\n"))
		if _, err := io.ReadFull(resp.Body, hello); err != nil {
			t.Fatal(err)
		}
		return resp.Body
	}
	admin := follow("admin")
	defer admin.Close()
	r.expect("admin", "POST", pdnsZones, newZone, 201)
	buf := make([]byte, 4096)
	n, err := admin.Read(buf)
	if text := string(buf[:n]); err != nil || !strings.Contains(text, "event: zone added") || !strings.Contains(text, `"zone":"made.test."`) || !strings.Contains(text, "token admin from 127.0.0.1") {
		t.Errorf("%q %v", text, err)
	}
}

// TestAPIDocument holds the document beside what the handlers send.
func TestAPIDocument(t *testing.T) {
	r := start(t, apiConfig(map[string]string{"admin": `{zone: "*", verbs: [admin]}`}), "state")
	r.expect("admin", "POST", pdnsZones, newZone, 201)
	var doc map[string]any
	if err := json.Unmarshal([]byte(r.expect("admin", "GET", "/v1/openapi.json", "", 200, `"openapi":"3.1.0"`)), &doc); err != nil {
		t.Fatal(err)
	}
	schemas := doc["components"].(map[string]any)["schemas"].(map[string]any)
	seen := 0
	for path, item := range doc["paths"].(map[string]any) {
		get, ok := item.(map[string]any)["get"].(map[string]any)
		if !ok {
			continue
		}
		content, _ := get["responses"].(map[string]any)["200"].(map[string]any)["content"].(map[string]any)
		of, ok := content["application/json"].(map[string]any)
		if !ok || path == "/v1/openapi.json" {
			continue
		}
		var got any
		where := strings.NewReplacer("{zone}", "made.test").Replace(path)
		wrong := http.StatusBadRequest // nothing passes over a view in silence
		if strings.HasPrefix(path, "/v1/zones/{zone}") {
			wrong = http.StatusNotFound
		}
		if params, _ := json.Marshal(get["parameters"]); bytes.Contains(params, []byte(`"name":"view"`)) != (wrong == http.StatusNotFound) {
			t.Errorf("%s: parameters %s", path, params)
		}
		if !strings.HasSuffix(where, "}") {
			r.expect("admin", "GET", where+"?view=nowhere", "", wrong)
		}
		if strings.Contains(where, "{") || path == "/v1/filters/test" || path == "/v1/zones/{zone}/signing" {
			continue // there is no list, and the zone is not signed
		}
		if err := json.Unmarshal([]byte(r.expect("admin", "GET", where, "", 200)), &got); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		seen++
		for _, fault := range against(schemas, of["schema"].(map[string]any), got, path) {
			t.Error(fault)
		}
	}
	if seen < 7 {
		t.Errorf("%d paths were asked for", seen)
	}
	if text, _ := json.Marshal(api.Document()); !bytes.Contains(text, []byte("editRequest")) {
		t.Error("the document lacks the form of requests")
	}
}

// against returns where a value is not of a schema's form.
func against(schemas, schema map[string]any, v any, at string) (faults []string) {
	if ref, ok := schema["$ref"].(string); ok {
		schema = schemas[ref[strings.LastIndex(ref, "/")+1:]].(map[string]any)
	}
	var kinds []string
	switch k := schema["type"].(type) {
	case string:
		kinds = []string{k}
	case []any:
		for _, x := range k {
			kinds = append(kinds, x.(string))
		}
	default:
		return nil
	}
	is := map[string]string{"bool": "boolean", "string": "string", "float64": "number", "map[string]interface {}": "object", "[]interface {}": "array", "<nil>": "null"}[fmt.Sprint(reflect.TypeOf(v))]
	if !slices.Contains(kinds, is) && !(is == "number" && slices.Contains(kinds, "integer")) {
		return []string{fmt.Sprintf("%s is %s, and the document says %v", at, is, kinds)}
	}
	switch x := v.(type) {
	case []any:
		items, _ := schema["items"].(map[string]any)
		for _, one := range x {
			faults = append(faults, against(schemas, items, one, at+"[]")...)
		}
	case map[string]any:
		properties, _ := schema["properties"].(map[string]any)
		if properties == nil {
			return nil
		}
		for key, one := range x {
			p, ok := properties[key].(map[string]any)
			if !ok {
				faults = append(faults, at+"."+key+" is not in the document")
				continue
			}
			faults = append(faults, against(schemas, p, one, at+"."+key)...)
		}
		required, _ := schema["required"].([]any)
		for _, key := range required {
			if _, there := x[key.(string)]; !there {
				faults = append(faults, fmt.Sprintf("%s.%s is missing", at, key))
			}
		}
	}
	return faults
}

// TestAPIOverTLS has the API served with a certificate: to who asks over TLS alone, and by the name
// that the certificate has.
func TestAPIOverTLS(t *testing.T) {
	ca, dir := certtest.New(t), t.TempDir()
	certificate, key := ca.Issue(dir, "api", "127.0.0.1")
	r := start(t, strings.Replace(apiConfig(map[string]string{"admin": `{zone: "*", verbs: [admin]}`}),
		`{listen: "127.0.0.1:0"}`, `{listen: "127.0.0.1:0", certificate: `+certificate+`, key: `+key+`}`, 1))
	get := func(scheme string, roots *x509.CertPool) (int, error) {
		req, err := http.NewRequest("GET", scheme+"://"+r.API().String()+"/v1/zones", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-API-Key", "admin-secret")
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}, Timeout: patience}
		resp, err := client.Do(req)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		return resp.StatusCode, nil
	}
	if status, err := get("https", ca.Pool); err != nil || status != http.StatusOK {
		t.Errorf("over TLS: %d %v", status, err)
	}
	if status, err := get("https", x509.NewCertPool()); err == nil {
		t.Errorf("to a client that does not trust it: %d", status)
	}
	if status, _ := get("http", nil); status == http.StatusOK {
		t.Error("it is served in the clear")
	}
}
