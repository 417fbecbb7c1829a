package app_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// madeTypes are records that signing makes, with data.
var madeTypes = map[string]string{
	"NSEC":  "made.test. RRSIG NSEC",
	"NSEC3": "1 0 0 - 2t7b4g4vsa5smi47k61mv5bv1a22bojr A",
	"RRSIG": "A 13 4 60 20300101000000 20200101000000 1 made.test. AAAA",
	"NXT":   `\\# 14 046d616465047465737400 400001`,
}

// signedZone makes a zone by the API, and has it signed.
func signedZone(r *running) {
	r.Helper()
	r.expect("admin", "POST", pdnsZones, newZone, 201)
	r.expect("admin", "POST", pdnsZones+"/made.test./cryptokeys", `{"keytype":"csk","active":true}`, 201)
}

const export = pdnsZones + "/made.test./export"

// TestAPINeverUnsigned: no record that comes by either API, as a change of any kind, takes the signatures from a zone
// that is signed here, nor is it taken by one that is not.
func TestAPINeverUnsigned(t *testing.T) {
	r := start(t, apiConfig(map[string]string{
		"admin": `{zone: "*", verbs: [admin]}`, "dyn": `{zone: made.test, names: ["*.dyn.made.test"], verbs: [change]}`,
	}), "state")
	r.expect("admin", "POST", pdnsZones, newZone, 201)
	refused := func() {
		t.Helper()
		before := r.expect("admin", "GET", export, "", 200)
		for typ, data := range madeTypes {
			for _, kind := range []string{"replace", "extend", "prune"} {
				set := fmt.Sprintf(`"name":"y.dyn.made.test.","type":%q,"ttl":60,"records":[{"content":"%s"}]`, typ, data)
				r.expect("dyn", "PATCH", "/v1/zones/made.test/records", `{"changes":[{"change":"`+kind+`",`+set+`}]}`, 422, "made by whoever signs the zone")
				r.expect("dyn", "PATCH", pdnsZones+"/made.test.", `{"rrsets":[{"changetype":"`+strings.ToUpper(kind)+`",`+set+`}]}`, 422, "made by whoever signs")
				r.expect("dyn", "POST", "/v1/zones/made.test/plan", `{"changes":[{"change":"`+kind+`",`+set+`}]}`, 422, "made by whoever signs the zone")
			}
			gone := fmt.Sprintf(`{"changes":[{"change":"delete","name":"y.dyn.made.test.","type":%q}]}`, typ)
			r.expect("dyn", "PATCH", "/v1/zones/made.test/records", gone, 422, "made by whoever signs the zone")
			// Beside a CNAME they may stand, and are refused all the same.
			pair := fmt.Sprintf(`{"changes":[{"change":"replace","name":"c.dyn.made.test.","type":"CNAME","ttl":60,"records":[{"content":"made.test."}]},
				{"change":"replace","name":"c.dyn.made.test.","type":%q,"ttl":60,"records":[{"content":"%s"}]}]}`, typ, data)
			r.expect("dyn", "PATCH", "/v1/zones/made.test/records", pair, 422, "!Conflicts", "made by whoever signs the zone")
		}
		if now := r.expect("admin", "GET", export, "", 200); now != before {
			t.Errorf("it was\n%s\nand is\n%s", before, now)
		}
	}
	refused()
	param := `{"changes":[{"change":"replace","name":"made.test.","type":"NSEC3PARAM","ttl":60,"records":[{"content":"1 0 0 -"}]}]}`
	r.expect("admin", "PATCH", "/v1/zones/made.test/records", param, 200) // an unsigned zone may say what it likes
	r.expect("admin", "POST", "/v1/zones/made.test/undo", `{}`, 200)
	r.expect("admin", "POST", pdnsZones+"/made.test./cryptokeys", `{"keytype":"csk","active":true}`, 201)
	r.expect("admin", "GET", export, "", 200, "\tDNSKEY\t", "RRSIG\tSOA")
	refused()
	r.expect("admin", "PATCH", "/v1/zones/made.test/records", param, 422, "DNSSEC policy says how absence is proven")
	r.expect("dyn", "PATCH", "/v1/zones/made.test/records", `{"changes":[{"change":"replace","name":"y.dyn.made.test.","type":"A","ttl":60,"records":[{"content":"192.0.2.5"}]}]}`, 200)
	r.expect("admin", "GET", export, "", 200, "\tDNSKEY\t", "RRSIG\tSOA", "y.dyn.made.test.")
}

// TestAPISignedElsewhere: a zone that comes signed as a whole is made as it is, its serial too, and nobody but its
// signer changes it; one that has single records of a signed zone is not made.
func TestAPISignedElsewhere(t *testing.T) {
	r := start(t, apiConfig(map[string]string{"admin": `{zone: "*", verbs: [admin]}`}), "state")
	signedZone(r)
	text := r.expect("admin", "GET", export, "", 200)
	r.expect("admin", "DELETE", pdnsZones+"/made.test.", "", 204)
	quoted, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, extra := range []string{"", `,"soa_edit_api":"EPOCH"`} {
		r.expect("admin", "POST", pdnsZones, `{"name":"made.test.","kind":"Native","zone":`+string(quoted)+extra+`}`, 201)
		if now := r.expect("admin", "GET", export, "", 200); now != text {
			t.Errorf("made as\n%s\nand not\n%s", now, text)
		}
		r.expect("admin", "GET", "/v1/zones/made.test", "", 200, `"editable":false`)
		set := `"name":"www.made.test.","type":"A","ttl":60,"records":[{"content":"192.0.2.5"}]`
		r.expect("admin", "PATCH", "/v1/zones/made.test/records", `{"changes":[{"change":"replace",`+set+`}]}`, 422, "signed elsewhere")
		r.expect("admin", "PATCH", pdnsZones+"/made.test.", `{"rrsets":[{"changetype":"REPLACE",`+set+`}]}`, 422, "signed elsewhere")
		r.expect("admin", "POST", "/v1/zones/made.test/plan", `{"changes":[{"change":"replace",`+set+`}]}`, 422, "signed elsewhere")
		r.expect("admin", "PUT", pdnsZones+"/made.test.", `{"account":"somebody"}`, 204) // which is no record
		r.expect("admin", "DELETE", pdnsZones+"/made.test.", "", 204)
	}
	for typ, data := range madeTypes {
		zone := strings.Replace(newZone, `"rrsets":[`, fmt.Sprintf(`"rrsets":[{"name":"y.made.test.","type":"A","ttl":60,"records":[{"content":"192.0.2.1"}]},
			{"name":"y.made.test.","type":%q,"ttl":60,"records":[{"content":"%s"}]},`, typ, data), 1)
		r.expect("admin", "POST", pdnsZones, zone, 422, "made by whoever signs the zone")
	}
}

// TestAPIUnsignable: what cannot be signed is no fault of the server, and a plan says so before.
func TestAPIUnsignable(t *testing.T) {
	r := start(t, apiConfig(map[string]string{"admin": `{zone: "*", verbs: [admin]}`}), "state")
	signedZone(r)
	const ds = `"ttl":60,"records":[{"content":"1 13 2 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}]`
	ns := func(name string) string {
		return `{"change":"replace","name":"` + name + `","type":"NS","ttl":60,"records":[{"content":"ns.made.test."}]}`
	}
	const zone = "/v1/zones/made.test"
	r.expect("admin", "PATCH", zone+"/records", `{"changes":[`+ns("a.b.made.test.")+`,{"change":"replace","name":"a.b.made.test.","type":"DS",`+ds+`}]}`, 200)
	before := r.expect("admin", "GET", export, "", 200)
	for what, changes := range map[string]string{
		"the NS of a DS go":     `{"change":"delete","name":"a.b.made.test.","type":"NS"}`,
		"DS without NS":         `{"change":"replace","name":"www.made.test.","type":"DS",` + ds + `}`,
		"DS below a cut":        `{"change":"replace","name":"x.a.b.made.test.","type":"DS",` + ds + `}`,
		"a cut above a DS":      ns("b.made.test."),
		"a key that no one has": `{"change":"replace","name":"made.test.","type":"DNSKEY","ttl":60,"records":[{"content":"257 3 8 AwEAAcBPxIk="}]}`,
	} {
		t.Run(what, func(t *testing.T) {
			_, answer, _ := r.do("admin", "POST", zone+"/plan", `{"changes":[`+changes+`]}`)
			status, text, _ := r.do("admin", "PATCH", zone+"/records", `{"changes":[`+changes+`]}`)
			if taken := strings.Contains(answer, `"accepted":true`); taken != (status == 200) || !taken && (status != 422 || !strings.Contains(text, "cannot be signed") || !strings.Contains(answer, `"kind":"refused"`)) {
				t.Errorf("planned: %s; done: %d %s", answer, status, text)
			}
			if status == 200 {
				r.expect("admin", "POST", zone+"/undo", `{}`, 200)
			} else if now := r.expect("admin", "GET", export, "", 200); now != before {
				t.Errorf("what was refused has changed the zone to %s", now)
			}
			before = r.expect("admin", "GET", export, "", 200)
		})
	}
}

// TestAPIIfMatch: a change is for one of several versions (RFC 9110, section 13.1.1).
func TestAPIIfMatch(t *testing.T) {
	r := start(t, apiConfig(map[string]string{"admin": `{zone: "*", verbs: [admin]}`}), "state")
	r.expect("admin", "POST", pdnsZones, newZone, 201)
	const zone = "/v1/zones/made.test"
	change := `{"changes":[{"change":"replace","name":"x.made.test.","type":"A","ttl":60,"records":[{"content":"192.0.2.9"}]}]}`
	serial := 1
	for _, c := range []struct {
		want  int
		lines []string
	}{
		{200, []string{`"999", "N"`}},
		{200, []string{`"N"`, `"999"`}},
		{200, []string{`"999"`, `"N"`}},
		{200, []string{`*`}},
		{200, []string{`,"1,2" ,"N",`}},
		{412, []string{`"999"`, `"998"`}},
		{412, []string{`W/"N"`}},
		{412, []string{`""`}},
		{400, []string{`N`}},
		{400, []string{`"N`}},
		{400, []string{`"N""999"`}},
		{400, []string{`"N", *`}},
	} {
		var head []string
		for _, l := range c.lines {
			head = append(head, "If-Match", strings.ReplaceAll(l, "N", fmt.Sprint(serial)))
		}
		for _, path := range []string{"POST /plan", "PATCH /records", "POST /undo"} {
			method, where, _ := strings.Cut(path, " ")
			body := change
			if where == "/undo" {
				body = `{}`
			}
			if where == "/undo" && c.want == 200 {
				for i := range head {
					head[i] = strings.ReplaceAll(head[i], fmt.Sprintf(`"%d"`, serial-1), fmt.Sprintf(`"%d"`, serial))
				}
			}
			status, answer, _ := r.do("admin", method, zone+where, body, head...)
			if status != c.want {
				t.Errorf("%s with %q: %d %s", path, head, status, answer)
			}
			if status == 200 && method != "POST" || status == 200 && where == "/undo" {
				serial++
			}
		}
	}
}
