package app_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"port53/internal/app"
	"port53/internal/zones"
)

// standing returns what the zones are, as status has it, without what changes by itself.
func (r *running) standing() map[string]zones.Status {
	r.Helper()
	status, err := r.App.Status("", "")
	if err != nil {
		r.Fatal(err)
	}
	text, err := json.Marshal(status)
	if err != nil {
		r.Fatal(err)
	}
	var s struct {
		Zones []zones.Status `json:"zones"`
	}
	if err := json.Unmarshal(text, &s); err != nil {
		r.Fatal(err)
	}
	all := map[string]zones.Status{}
	for _, z := range s.Zones {
		all[z.Name] = z
	}
	return all
}

// TestZonesOneByOne: zones that come and go one by one are served as those that are loaded all at once: a
// reload changes nothing, and finds nothing new.
func TestZonesOneByOne(t *testing.T) {
	const config = "templates: [{name: default, secondaries: [127.0.0.9], insecure: true}]\npolicy: {allow: [127.0.0.0/8]}\n"
	r := start(t, config+apiConfig(map[string]string{"admin": `{zone: "*", verbs: [admin]}`}), "state")
	make := func(name string) {
		r.Helper()
		r.expect("admin", "POST", pdnsZones, `{"name":"`+name+`","kind":"Native","nameservers":["ns1.`+name+`"]}`, 201)
	}
	for i := range 5 {
		make(fmt.Sprintf("z%d.test.", i))
	}
	r.expect("admin", "POST", pdnsZones, `{"name":"second.test.","kind":"Slave","masters":["127.0.0.8"]}`, 201)
	r.expect("admin", "POST", pdnsZones, `{"name":"Z1.test.","kind":"Native"}`, 409)
	if _, err := r.App.AddZone("file.test.", []byte(`{"file":"test.zone"}`)); err == nil {
		t.Error("a file that is not of the zone is served")
	}
	r.write("file.zone", strings.ReplaceAll(r.read("test.zone"), "test.", "file.test."))
	if _, err := r.App.AddZone("file.test.", []byte(`{"file":"`+filepath.Join(r.dir, "file.zone")+`"}`)); err != nil {
		t.Fatal(err)
	}
	r.want("z2.test. SOA", "NOERROR")
	for _, gone := range []string{"z0.test.", "z3.test."} {
		r.expect("admin", "DELETE", pdnsZones+"/"+gone, "", 204)
		r.want(gone+" SOA", "NXDOMAIN") // of the zone test
	}
	make("z0.test.")
	r.want("z0.test. SOA", "NOERROR")
	had := r.standing()
	reloaded, err := r.App.Reload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	report := reloaded.(*app.Reloaded)
	if report.Loaded != 0 || report.Removed != 0 || report.Unchanged != len(had) {
		t.Errorf("a reload finds %+v of %d zones", report.Report, len(had))
	}
	if now := r.standing(); !reflect.DeepEqual(now, had) {
		t.Errorf("status after the reload: %+v\nbefore: %+v", now, had)
	}
	// Whoever edits the file is heard at the next change.
	text := r.read("state/added-zones")
	if err := os.WriteFile(filepath.Join(r.dir, "state/added-zones"), []byte(text+"  - {name: \"hand.test\", file: \""+filepath.Join(r.dir, "hand.zone")+"\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.write("hand.zone", strings.ReplaceAll(r.read("test.zone"), "test.", "hand.test."))
	make("z7.test.")
	r.want("hand.test. SOA", "NOERROR")
	r.want("z7.test. SOA", "NOERROR")
	r.expect("admin", "DELETE", pdnsZones+"/z7.test.", "", 204)
	r.want("hand.test. SOA", "NOERROR")
}

// TestManyZonesMade: one zone more or less costs a server of many zones hardly more than one of few: to make one
// reads a line, to remove one copies the lists.
func TestManyZonesMade(t *testing.T) {
	r := start(t, apiConfig(map[string]string{"admin": `{zone: "*", verbs: [admin]}`}), "state")
	n := 0
	cost := func(number int) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range number {
			r.expect("admin", "POST", pdnsZones, fmt.Sprintf(`{"name":"z%d.test.","kind":"Native","nameservers":["ns1.test."]}`, n), 201)
			n++
		}
		runtime.ReadMemStats(&after)
		return (after.TotalAlloc - before.TotalAlloc) / uint64(number)
	}
	cost(5)
	few := cost(20)
	cost(300)
	if many := cost(20); many > 2*few {
		t.Errorf("a zone beside %d others takes %d bytes of work, beside 5 %d", n-20, many, few)
	}
	removed := func(from, number int) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for i := range number {
			r.expect("admin", "DELETE", fmt.Sprintf("%s/z%d.test.", pdnsZones, from+i), "", 204)
		}
		runtime.ReadMemStats(&after)
		return (after.TotalAlloc - before.TotalAlloc) / uint64(number)
	}
	// The lists of some hundred zones are copied, and nothing is read: reading them would take tens of times as much.
	if each := removed(100, 20); each > 16*few {
		t.Errorf("to remove a zone of %d takes %d bytes of work, to make one of 5 %d", n, each, few)
	}
}
