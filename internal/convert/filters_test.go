package convert_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"port53/internal/config"
	"port53/internal/convert"
)

// importedLists returns what becomes of a file of a kind, with the notes.
func importedLists(t *testing.T, kind, path string) (*convert.Result, *config.Config, string) {
	t.Helper()
	r, err := convert.File(convert.Options{Path: path, Kind: kind, Addrs: machine})
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse("port53.yaml", r.YAML)
	if err != nil {
		t.Fatalf("%v\n%s", err, r.YAML)
	}
	var notes strings.Builder
	for _, n := range r.Notes {
		notes.WriteString(n.Outcome + ": " + n.What + ": " + n.Why + "\n")
	}
	return r, c, notes.String()
}

// Pi-hole's lists, names, expressions, groups and clients: clients of other groups than all are views.
func TestPiholeGroups(t *testing.T) {
	dir := t.TempDir()
	db, err := os.ReadFile("testdata/gravity.sqlite3")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"pihole.toml": "[dns]\nupstreams = [\"192.0.2.1\"]\n[dns.blocking]\nactive = true\nmode = \"NULL\"\n", "gravity.db": string(db)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r, c, notes := importedLists(t, "pihole", filepath.Join(dir, "pihole.toml"))
	for _, want := range []string{
		`{name: lists-example, url: "https://lists.example/ads.txt"}`, `{name: lists-example-2, url: "https://lists.example/games.txt"}`,
		`{name: good-example, url: "https://good.example/allow.txt"}`, `file: "/etc/pihole/own.list"`, `{name: own, file: "lists/own.txt", regex: true}`,
		`{name: own-2, file: "lists/own-2.txt", regex: true}`, `allow_lists: ["good-example"]`, `- {list: lists-example, answer: [{address: 0.0.0.0}, {address: "::"}]}`,
		`{name: kids, match: {clients: ["192.168.1.50", "192.168.1.51"]}, policy: {block: [{list: lists-example, answer: [{address: 0.0.0.0}, {address: "::"}]}, {list: lists-example-2, `,
		`{name: free, match: {clients: ["192.168.2.0/24"]}, policy: {block: []}}`,
	} {
		if !strings.Contains(string(r.YAML), want) {
			t.Errorf("no %s in\n%s", want, r.YAML)
		}
	}
	if len(c.Policy.Block) != 3 || len(c.Policy.Lists) != 6 || len(c.Views) != 2 || len(c.Views[0].Policy.Block) != 4 {
		t.Errorf("%d blocks, %d lists, %d views in\n%s", len(c.Policy.Block), len(c.Policy.Lists), len(c.Views), r.YAML)
	}
	for file, want := range map[string]string{"lists/own.txt": "@@|shop.example^\nbad.example\n@@/^ok[0-9]\\.example$/\n/(^|\\.)ads\\./\n", "lists/own-2.txt": "game.example\n"} {
		if got := string(r.Files[file]); got != want {
			t.Errorf("%s: %q, want %q", file, got, want)
		}
	}
	for _, want := range []string{"not converted: aa:bb:cc:dd:ee:ff", "not converted: ^x;querytype=A", "changed: https://off.example/off.txt: it is switched off", "converted: gravity.db"} {
		if !strings.Contains(notes, want) {
			t.Errorf("no %q in\n%s", want, notes)
		}
	}
}

// AdGuard Home's lists, rules, clients that are not filtered, and what is answered.
func TestAdGuardFilters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "AdGuardHome.yaml")
	text := `dns:
  upstream_dns: [192.0.2.1]
filters:
  - {enabled: true, url: "https://lists.example/1.txt", name: AdGuard DNS filter, id: 1}
  - {enabled: false, url: "https://lists.example/2.txt", name: Off, id: 2}
  - {enabled: true, url: /opt/lists/own.txt, name: Own, id: 3}
  - {enabled: true, url: "http://plain.example/x.txt", name: Own, id: 4}
whitelist_filters:
  - {enabled: true, url: "https://lists.example/good.txt", name: Good, id: 5}
user_rules:
  - '||ads.example^$client=laptop'
  - '@@||good.example^'
filtering:
  blocking_mode: custom_ip
  blocking_ipv4: 192.0.2.99
  blocking_ipv6: ""
  protection_enabled: true
  filtering_enabled: true
  safe_search: {enabled: true}
  blocked_services: {ids: [tiktok]}
clients:
  persistent:
    - {name: Laptop, ids: [192.168.1.7, "fd00::7", "02:00:00:00:00:01"], use_global_settings: true}
    - {name: TV, ids: [192.168.1.0/28], use_global_settings: false, filtering_enabled: false}
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r, c, notes := importedLists(t, "adguard", path)
	for _, want := range []string{
		`{name: adguard-dns-filter, url: "https://lists.example/1.txt"}`, `{name: own, file: "/opt/lists/own.txt"}`, `{name: own-2, url: "https://plain.example/x.txt"}`,
		`allow_lists: ["good"]`, `{list: user-rules, answer: [{address: "192.0.2.99"}]}`, `- {name: "laptop", list: ["192.168.1.7", "fd00::7"]}`,
		`- {name: tv-unfiltered, match: {clients: ["192.168.1.0/28"]}, policy: {block: []}}`,
	} {
		if !strings.Contains(string(r.YAML), want) {
			t.Errorf("no %s in\n%s", want, r.YAML)
		}
	}
	if len(c.Policy.Block) != 4 || string(r.Files["lists/user-rules.txt"]) != "||ads.example^$client=laptop\n@@||good.example^\n" {
		t.Errorf("%d blocks, rules %q", len(c.Policy.Block), r.Files["lists/user-rules.txt"])
	}
	for _, want := range []string{"not by 02:00:00:00:00:01", "it is switched off", "it is fetched with TLS", "safe search is a list", "a service is a list"} {
		if !strings.Contains(notes, want) {
			t.Errorf("no %q in\n%s", want, notes)
		}
	}
}
