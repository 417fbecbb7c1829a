package app_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"port53/internal/api"
	"port53/internal/top"
)

// TestTop has queries counted once somebody has asked for it, and nothing counted where the configuration
// says so; only who may do all may ask.
func TestTop(t *testing.T) {
	grants := map[string]string{"admin": `{zone: "*", verbs: [admin]}`, "reader": `{zone: "*", verbs: [read]}`}
	r := start(t, apiConfig(grants), "state")
	r.expect("reader", "GET", "/v1/top", "", 403)
	r.expect("reader", "GET", "/v1/queries", "", 403)
	r.expect("admin", "GET", "/v1/top?limit=1001", "", 400)
	r.expect("admin", "GET", "/v1/top?window=ever", "", 400)
	look := func() (report top.Report) {
		t.Helper()
		text := r.expect("admin", "GET", "/v1/top?window=all", "", 200)
		if err := json.Unmarshal([]byte(text), &report); err != nil {
			t.Fatal(err)
		}
		return report
	}
	r.ask("udp", "ns.test. A")
	if n := look().Queries; n != 0 {
		t.Errorf("%d queries were counted before anybody asked for it", n)
	}
	for _, network := range []string{"udp", "tcp"} {
		r.ask(network, "ns.test. A")
	}
	r.ask("udp", "elsewhere. A")
	report := look()
	if report.Queries != 3 || report.Clients[0].Key != "127.0.0.1" || report.Clients[0].Count != 3 || report.Clients[0].Failed != 1 || len(report.Rcodes) != 2 {
		t.Errorf("%+v", report)
	}
	r.write("port53.yaml", r.read("port53.yaml")+"top: {record: off}\n")
	if _, err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.expect("admin", "GET", "/v1/top", "", 422, "top.record")
}

// TestFollowQueries has queries told of as they are answered, those alone that fit.
func TestFollowQueries(t *testing.T) {
	r := start(t, apiConfig(map[string]string{"admin": `{zone: "*", verbs: [admin]}`}), "state")
	for _, bad := range []string{"name=a..b", "client=x", "rcode=NONE", "type=NOTYPE", "path=away"} {
		r.expect("admin", "GET", "/v1/queries?"+bad, "", 400)
	}
	req, err := http.NewRequest("GET", "http://"+r.API().String()+"/v1/queries?name=TEST&client=127.0.0.0/8&rcode=nxdomain&type=aaaa&path=zone", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-API-Key", "admin-secret")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Scan() // it follows from here on
	r.ask("udp", "ns.test. A")
	r.ask("udp", "elsewhere. AAAA")
	before := time.Now().Add(-time.Minute)
	r.ask("tcp", "Nothing.test. AAAA")
	for lines.Scan() {
		text, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var q api.Query
		if err := json.Unmarshal([]byte(text), &q); err != nil {
			t.Fatal(err)
		}
		if q.Name != "nothing.test." || q.Rcode != "NXDOMAIN" || q.Transport != "tcp" || q.Path != "zone" || q.Outcome != "replied" ||
			q.Time.Before(before) || q.Time.After(time.Now().Add(time.Minute)) || q.Reply == 0 || q.Size == 0 {
			t.Errorf("%s", text)
		}
		return
	}
	t.Error("nothing came")
}

// TestTunnelsOff has the API say that nobody watches: an authoritative server does not.
func TestTunnelsOff(t *testing.T) {
	grants := map[string]string{"admin": `{zone: "*", verbs: [admin]}`, "reader": `{zone: "*", verbs: [read]}`}
	r := start(t, apiConfig(grants), "state")
	r.expect("admin", "GET", "/v1/tunnels", "", 200, `"action":"off"`)
	r.expect("reader", "GET", "/v1/tunnels", "", 403)
}
