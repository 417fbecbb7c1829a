package app_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"port53/internal/app"
	"port53/internal/config"
	"port53/internal/lab"
)

// filterNet is a network with a server that answers every question for an address with 198.51.100.1.
func filterNet() *lab.Net {
	net := lab.NewNet(lab.Options{Seed: 53})
	net.Handle(netip.MustParseAddrPort("192.0.2.1:53"), forwarder(1))
	return net
}

const filterYAML = `role: internal-resolver
listen: ["127.0.0.1:0"]
state_dir: state
metrics: {listen: off}
resolver:
  validation: false
  allow: [127.0.0.0/8]
  forward: [{zone: ., to: [192.0.2.1], only: true}]
`

// eventually waits until a question has an answer with a part.
func (r *running) eventually(line, part string) {
	r.Helper()
	var got string
	for range 200 {
		if got = r.ask("udp", line); strings.Contains(got, part) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	r.Errorf("%s: got %q, want %q", line, got, part)
}

const answered = "198.51.100.1"

// Lists of the configuration, of a view, and names that are allowed; a name that a list has in place of
// another; a reload with other lists; a list that is broken meanwhile.
func TestFilters(t *testing.T) {
	r := &running{T: t, dir: t.TempDir(), reload: make(chan os.Signal, 1), done: make(chan error, 1)}
	r.write("ads.txt", "||ads.example^\n||search.example^$dnsrewrite=NOERROR;CNAME;safe.example\n")
	r.write("kids.txt", "game.example\n*.game.example\n")
	text := filterYAML + `policy:
  lists: [{name: ads, file: ads.txt}, {name: kids, file: kids.txt}]
  block: [{list: ads}]
  allow_names: ["*.good.ads.example"]
views:
  - {name: kids, match: {clients: [127.0.0.9]}, policy: {block: [{list: ads, answer: refuse}, {list: kids, answer: {address: 192.0.2.99}, reason: filtered}], allow_names: []}}
`
	r.run(filterNet(), text)
	for line, want := range map[string]string{
		"www.example. A +rd":        answered,
		"ads.example. A +rd":        "NXDOMAIN",
		"x.ads.example. AAAA +rd":   "NXDOMAIN",
		"x.good.ads.example. A +rd": answered,
		"game.example. A +rd":       answered,
		"search.example. A +rd":     "CNAME safe.example.",
	} {
		r.want(line, want)
	}
	if got := r.ask("udp", "search.example. A +rd"); !strings.Contains(got, "safe.example. 10 A "+answered) {
		t.Errorf("what an alias leads to: %s", got)
	}
	for name, want := range map[string]string{
		"ads.example": "refuse ads 1 ||ads.example^", "x.good.ads.example": "refuse ads 1 ||ads.example^", "game.example": "address kids 1 game.example",
		"a.game.example": "address kids 2 *.game.example", "www.example": "pass  0 ", "search.example": "alias ads 2 ||search.example^$dnsrewrite=NOERROR;CNAME;safe.example",
	} {
		result, err := r.TestFilter(name, "A", "127.0.0.9")
		if err != nil {
			t.Fatal(err)
		}
		f := result.(app.FilterTestResult)
		if got := fmt.Sprint(f.Action, " ", f.List, " ", f.Line, " ", f.Rule); got != want || f.View != "kids" {
			t.Errorf("%s: %q in view %s, want %q", name, got, f.View, want)
		}
	}

	// Another list is what counts at once; a list that is broken goes on as it was.
	r.write("kids.txt", "<!DOCTYPE html>\n")
	r.write("ads.txt", "other.example\n")
	if _, err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.want("ads.example. A +rd", answered)
	r.want("other.example. A +rd", "NXDOMAIN")
	if f, err := r.TestFilter("game.example", "A", "127.0.0.9"); err != nil || f.(app.FilterTestResult).Action != "address" {
		t.Errorf("a list whose file is broken: %+v, %v", f, err)
	}
	status, err := r.FilterLists()
	if err != nil {
		t.Fatal(err)
	}
	if s := status.(app.FilterStatus); len(s.Lists) != 2 || s.Lists[0].Problem != "" || !strings.Contains(s.Lists[1].Problem, "an HTML page") || s.Lists[1].Stats.Rules != 2 {
		t.Errorf("%+v", status)
	}
	r.write("port53.yaml", filterYAML)
	if _, err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.want("other.example. A +rd", answered)
	if _, err := r.FilterLists(); err == nil {
		t.Error("there are lists after all are gone")
	}
}

// Names of one's own are not filtered, but what an alias of a zone leads to elsewhere is.
func TestFiltersOwnNames(t *testing.T) {
	r := &running{T: t, dir: t.TempDir(), reload: make(chan os.Signal, 1), done: make(chan error, 1)}
	r.write("ads.txt", "||own.example^\n||nas.example^\n||ads.example^\n||localhost^\n192.0.2.0/24\n127.0.0.1\n||three.example^\n")
	r.write("two.zone", "$TTL 300\n@ SOA ns h 1 2h 1h 2w 5m\n@ NS ns\nown CNAME www.own.example.\nnas CNAME nas.example.\nhere CNAME localhost.\n")
	r.write("three.zone", "$TTL 300\n@ SOA ns h 1 2h 1h 2w 5m\n@ NS ns\nns A 192.0.2.53\nsub NS ns\nwww A 192.0.2.80\n")
	r.write("own.zone", "$TTL 300\n@ SOA ns h 1 2h 1h 2w 5m\n@ NS ns\nns A 192.0.2.53\nwww A 192.0.2.80\nalias CNAME x.ads.example.\nfine CNAME x.example.\n")
	r.run(filterNet(), filterYAML+`zones: [{name: own.example, file: own.zone}, {name: two.example, file: two.zone}, {name: three.example, file: three.zone}]
names: {nas.example: 192.0.2.81}
policy: {lists: [{name: ads, file: ads.txt}], block: [{list: ads}]}
`)
	for line, want := range map[string]string{
		"www.own.example. A +rd": "192.0.2.80", "nas.example. A +rd": "192.0.2.81", "localhost. A +rd": "127.0.0.1", "alias.own.example. A +rd": "NXDOMAIN",
		"fine.own.example. A +rd": answered, "no.own.example. A +rd": "SOA ns.own.example.", "nas2.example. A +rd": answered, "x.nas.example. A +rd": "NXDOMAIN",
		"own.two.example. A +rd": "192.0.2.80", "nas.two.example. A +rd": "192.0.2.81", "here.two.example. A +rd": "127.0.0.1",
		"www.three.example. A +rd": "192.0.2.80", "x.sub.three.example. A +rd": "x.sub.three.example. 10 SOA",
	} {
		r.want(line, want)
	}
}

// TestFilteringDocument reads the configurations of docs/FILTERING.md.
func TestFilteringDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/FILTERING.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) < 5 {
		t.Errorf("%d configurations", len(blocks))
	}
	for _, b := range blocks {
		dir := t.TempDir()
		body := b[1]
		if !strings.Contains(body, "role:") {
			body = "role: internal-resolver\n" + body
		}
		for name, text := range map[string]string{"lists/own": "", "keys/feed": "c2VjcmV0LW9mLTMyLW9jdGV0cy10aGlzLWlzLWl0LiE=\n", "rpz.corp.zone": soaOf("1")} {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, m := range regexp.MustCompile(`file: (lists/[a-z.-]+)`).FindAllStringSubmatch(body, -1) {
			if err := os.WriteFile(filepath.Join(dir, m[1]), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		path := filepath.Join(dir, "port53.yaml")
		if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := config.Load(path); err != nil {
			t.Errorf("%v\n%s", err, body)
		}
	}
}

// A file is followed, and a pause lets all pass until it is ended.
func TestFiltersFollow(t *testing.T) {
	r := &running{T: t, dir: t.TempDir(), reload: make(chan os.Signal, 1), done: make(chan error, 1)}
	r.write("ads.txt", "ads.example\n")
	r.run(filterNet(), filterYAML+"policy: {lists: [{name: ads, file: ads.txt}], block: [{list: ads}]}\n")
	r.want("ads.example. A +rd", "NXDOMAIN")
	r.write("ads.txt", "ads.example\nmore.example\n")
	r.eventually("more.example. A +rd", "NXDOMAIN")
	if _, err := r.PauseFilters(time.Hour); err != nil {
		t.Fatal(err)
	}
	r.want("ads.example. A +rd", answered)
	r.write("ads.txt", "third.example\n") // what changes meanwhile counts afterwards
	if _, err := r.UpdateLists(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.want("third.example. A +rd", answered)
	if _, err := r.PauseFilters(0); err != nil {
		t.Fatal(err)
	}
	r.want("third.example. A +rd", "NXDOMAIN")
	r.want("ads.example. A +rd", answered)
	if _, err := r.PauseFilters(48 * time.Hour); err == nil {
		t.Error("a pause of two days is taken")
	}
	if err := os.Remove(filepath.Join(r.dir, "ads.txt")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.UpdateLists(t.Context(), "ads"); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a file that is gone: %v", err)
	}
	r.want("third.example. A +rd", "NXDOMAIN")
}

// A list is fetched, kept when its server has something else in its place, and there after a restart
// without the server.
func TestFiltersFetch(t *testing.T) {
	var text atomic.Value
	text.Store("ads.example\n")
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, text.Load().(string))
	}))
	r := &running{T: t, dir: t.TempDir(), reload: make(chan os.Signal, 1), done: make(chan error, 1)}
	yaml := filterYAML + fmt.Sprintf("policy: {lists: [{name: ads, url: %q}], block: [{list: ads}]}\n", web.URL)
	r.run(filterNet(), yaml)
	r.eventually("ads.example. A +rd", "NXDOMAIN")
	for _, wrong := range []string{"<html>gone</html>", "", strings.Repeat("no list at all\n", 50)} {
		text.Store(wrong)
		if _, err := r.UpdateLists(t.Context(), ""); err == nil {
			t.Errorf("%.20q is taken for a list", wrong)
		}
		r.want("ads.example. A +rd", "NXDOMAIN")
	}
	text.Store("ads.example\nmore.example\n")
	if _, err := r.UpdateLists(t.Context(), "ads"); err != nil {
		t.Fatal(err)
	}
	r.want("more.example. A +rd", "NXDOMAIN")
	web.Close()
	r.stop()
	again := &running{T: t, dir: r.dir, reload: make(chan os.Signal, 1), done: make(chan error, 1)}
	if err := <-r.done; err != nil {
		t.Fatal(err)
	}
	r.done <- nil
	again.run(filterNet(), yaml)
	again.want("more.example. A +rd", "NXDOMAIN")
	again.want("www.example. A +rd", answered)
}
