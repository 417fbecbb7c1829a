package app_test

import (
	"encoding/json"
	"strings"
	"testing"

	"port53/internal/why"
)

// whys asks why an answer was as it was.
func (r *running) whys(path string) (reports []why.Report) {
	r.Helper()
	text := r.expect("admin", "GET", path, "", 200)
	if err := json.Unmarshal([]byte(text), &reports); err != nil {
		r.Fatal(err)
	}
	return reports
}

// TestWhy has the server tell why it refused what it refused itself, by name and by the id that the query
// log has, to who administers it and nobody else; and nothing where the configuration says so.
func TestWhy(t *testing.T) {
	grants := map[string]string{"admin": `{zone: "*", verbs: [admin]}`, "reader": `{zone: "*", verbs: [read]}`}
	r := start(t, apiConfig(grants)+"log: {queries: json, queries_file: q.json}\n", "state")
	r.expect("reader", "GET", "/v1/why", "", 403)
	r.expect("reader", "GET", "/v1/why/elsewhere", "", 403)
	r.expect("admin", "GET", "/v1/why/00000001", "", 404, "by that id")
	for _, bad := range []string{"/v1/why/a..b", "/v1/why?since=yesterday", "/v1/why?type=NONE", "/v1/why?client=x", "/v1/why?limit=1000"} {
		r.expect("admin", "GET", bad, "", 400)
	}
	r.ask("udp", "ns.test. A")
	if got := r.whys("/v1/why"); len(got) != 0 {
		t.Errorf("a good answer is told of: %+v", got)
	}
	for _, c := range []struct{ question, code string }{
		{"elsewhere. A", "zone-not-served"},
		{"other.example. TXT", "zone-not-served"},
		{"test. AXFR", "client-not-allowed"},
	} {
		r.ask("tcp", c.question)
		name, typ, _ := strings.Cut(c.question, " ")
		got := r.whys("/v1/why/" + name + "?type=" + typ + "&client=127.0.0.0/8&since=1m")
		if len(got) != 1 || got[0].Code != c.code || got[0].Cause == "" || len(got[0].Advice) == 0 || got[0].Transport != "tcp" || len(got[0].ID) != 8 {
			t.Fatalf("%s: %+v, want %s", c.question, got, c.code)
		}
		if by := r.whys("/v1/why/" + got[0].ID); len(by) != 1 || by[0].Name != got[0].Name || by[0].Type != typ {
			t.Errorf("%s: by its id %+v", c.question, by)
		}
		until(t, "the id in the query log", func() string { return r.read("q.json") }, func() bool {
			return strings.Contains(r.read("q.json"), `"why":"`+got[0].ID+`"`)
		})
	}
	if got := r.whys("/v1/why?limit=2"); len(got) != 2 || got[0].Type != "AXFR" {
		t.Errorf("of all: %+v", got)
	}
	if got := r.whys("/v1/why/elsewhere?client=192.0.2.1"); len(got) != 0 {
		t.Errorf("of another client: %+v", got)
	}
	r.write("port53.yaml", r.read("port53.yaml")+"why: {record: off}\n")
	if _, err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.expect("admin", "GET", "/v1/why", "", 422, "why.record")
}
