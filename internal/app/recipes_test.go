package app_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"port53/internal/config"
)

// TestRecipes reads the configurations of the documents for users, with the files that they name in
// place.
func TestRecipes(t *testing.T) {
	const secret, soa = "c2VjcmV0IG9mIHRoZSB0ZXN0cyBvZiBkaWc=\n", "$TTL 1h\n@ SOA ns h 1 2h 1h 2w 5m\n@ NS ns\nns A 192.0.2.53\n"
	files := map[string]string{
		"dnsmasq.leases": "", "kea-leases4.csv": "", "kea-leases6.csv": "", "customers/a.yaml": "",
		"keys/externaldns": secret, "keys/acme": secret, "keys/kea": secret, "keys/xfr": secret, "keys/panel": strings.Repeat("secret-", 8) + "\n",
		"lists/games.txt": "games.example\n", "zones/k8s.example.com.zone": soa, "zones/office.example.zone": soa, "zones/inside.zone": soa, "zones/example.com.zone": soa,
		"zones/0.0.10.in-addr.arpa.zone": "$TTL 1h\n@ SOA ns.office.example. h.office.example. 1 2h 1h 2w 5m\n@ NS ns.office.example.\n",
	}
	for document, least := range map[string]int{"RECIPES": 8, "HOME": 1, "OFFICE": 1, "HOSTING": 1, "CLOUD": 1} {
		text, err := os.ReadFile("../../docs/" + document + ".md")
		if err != nil {
			t.Fatal(err)
		}
		blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1)
		if len(blocks) < least {
			t.Errorf("%s: %d configurations", document, len(blocks))
		}
		for _, b := range blocks {
			dir := t.TempDir()
			files["port53.yaml"] = regexp.MustCompile(`/var/lib/(?:misc|kea)/`).ReplaceAllString(b[1], dir+"/")
			for name, content := range files {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := config.Load(filepath.Join(dir, "port53.yaml")); err != nil {
				t.Errorf("%s: %v\n%s", document, err, b[1])
			}
		}
	}
}

// TestDashboards fails on an alert or a panel that asks for a metric which is not in
// docs/METRICS.md, or for a label that Prometheus does not have.
func TestDashboards(t *testing.T) {
	read := func(file string) string {
		text, err := os.ReadFile("../../docs/" + file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	known := read("METRICS.md")
	dashboard, alerts := read("grafana-dashboard.json"), read("prometheus-alerts.yml")
	var v any
	if err := json.Unmarshal([]byte(dashboard), &v); err != nil {
		t.Error(err)
	}
	if err := yaml.Unmarshal([]byte(alerts), &v); err != nil {
		t.Error(err)
	}
	asked := 0
	for _, name := range regexp.MustCompile(`\b(?:port53|process|go)_[a-z0-9_]+`).FindAllString(dashboard+alerts, -1) {
		asked++
		for _, part := range []string{"_bucket", "_sum", "_count"} { // of a histogram
			if whole, cut := strings.CutSuffix(name, part); cut && strings.Contains(known, "`"+whole+"` | histogram") {
				name = whole
			}
		}
		if !strings.Contains(known, "`"+name+"`") {
			t.Errorf("there is no metric %s", name)
		}
	}
	if asked < 20 {
		t.Errorf("%d metrics are asked for", asked)
	}
}

// TestProcessMetrics looks at what dashboards of any program look at, and asks whether the server
// is ready while it serves, and when it has no zone.
func TestProcessMetrics(t *testing.T) {
	r := start(t, "state_dir: state\nmetrics: {listen: \"127.0.0.1:0\"}\n")
	get := func(path string) (int, string) {
		t.Helper()
		resp, err := http.Get("http://" + r.Metrics().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	r.want("ns.test. A", "192.0.2.1")
	until(t, "the server", func() string { _, text := get("/ready"); return text }, func() bool { code, _ := get("/ready"); return code == http.StatusOK })
	for _, path := range []string{"/health", "/healthz"} {
		if code, text := get(path); code != http.StatusOK {
			t.Errorf("%s: %d %s", path, code, text)
		}
	}
	_, text := get("/metrics")
	for _, name := range []string{"process_start_time_seconds", "go_goroutines", "go_memstats_heap_alloc_bytes"} {
		if !regexp.MustCompile("(?m)^" + name + " [1-9]").MatchString(text) {
			t.Errorf("no %s", name)
		}
	}
	if _, err := os.Stat("/proc/self/stat"); err == nil {
		for _, name := range []string{"process_resident_memory_bytes", "process_virtual_memory_bytes", "process_open_fds", "process_max_fds"} {
			if !regexp.MustCompile("(?m)^" + name + " [1-9+]").MatchString(text) {
				t.Errorf("no %s", name)
			}
		}
	}
	r.write("port53.yaml", "role: authoritative\nstate_dir: state\nlisten: [\"127.0.0.1:0\"]\nmetrics: {listen: \"127.0.0.1:0\"}\ncontrol: {socket: control.sock}\nzones: [{name: late, primaries: [\"127.0.0.1:1\"], insecure: true}]\n")
	if _, err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if code, text := get("/ready"); code != http.StatusServiceUnavailable || !strings.Contains(text, "no zone is served yet") {
		t.Errorf("without a zone: %d %s", code, text)
	}
}
