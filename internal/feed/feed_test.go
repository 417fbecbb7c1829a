package feed_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"port53/internal/feed"
)

// A publisher is a server with one list.
type publisher struct {
	*httptest.Server
	text, etag, kind string
	status           int
	to               string // where it sends those who ask
	asked            []string
}

func publish(t *testing.T) *publisher {
	t.Helper()
	p := &publisher{text: "ads.example\n", etag: `"1"`, kind: "text/plain"}
	p.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.asked = append(p.asked, r.Header.Get("If-None-Match")+" "+r.UserAgent())
		switch {
		case p.to != "":
			http.Redirect(w, r, p.to, http.StatusFound)
		case p.status != 0:
			w.WriteHeader(p.status)
		case p.etag != "" && r.Header.Get("If-None-Match") == p.etag:
			w.WriteHeader(http.StatusNotModified)
		default:
			w.Header().Set("ETag", p.etag)
			w.Header().Set("Content-Type", p.kind)
			_, _ = io.WriteString(w, p.text)
		}
	}))
	p.Config.ErrorLog = nil
	t.Cleanup(p.Close)
	return p
}

func (p *publisher) source() *feed.Source {
	return &feed.Source{Name: "ads", URL: p.URL + "/ads.txt", Every: time.Hour, MaxSize: 1000}
}

func open(t *testing.T, dir string, p *publisher) *feed.Store {
	t.Helper()
	s, err := feed.Open(dir, "lists", p.Client().Transport, "port53/test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func read(t *testing.T, s *feed.Store, src *feed.Source) string {
	t.Helper()
	f, _, err := s.Read(src)
	if err != nil {
		return "no: " + err.Error()
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A list is fetched once, kept when it is found good, not fetched again while it is the same, and
// there after a restart.
func TestFetch(t *testing.T) {
	p, dir := publish(t), t.TempDir()
	s, src := open(t, dir, p), p.source()
	if got := read(t, s, src); !strings.HasPrefix(got, "no: ") {
		t.Errorf("before: %q", got)
	}
	c, err := s.Fetch(t.Context(), src, false)
	if err != nil {
		t.Fatal(err)
	}
	f, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(f)
	f.Close()
	if string(text) != p.text || !strings.HasPrefix(read(t, s, src), "no: ") {
		t.Errorf("candidate %q, and before it is kept %q", text, read(t, s, src))
	}
	if err := c.Commit(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, p) // another run
	if c, err := s.Fetch(t.Context(), src, false); c != nil || err != nil {
		t.Errorf("the same again: %v, %v", c, err)
	}
	p.text, p.etag = "worse.example\n", `"2"`
	c, err = s.Fetch(t.Context(), src, false)
	if err != nil {
		t.Fatal(err)
	}
	c.Discard()
	if got := read(t, s, src); got != "ads.example\n" {
		t.Errorf("after one that is discarded: %q", got)
	}
	if c, err := s.Fetch(t.Context(), src, true); c == nil || err != nil {
		t.Errorf("by force: %v, %v", c, err)
	}
	if want := ` port53/test|"1" port53/test|"1" port53/test| port53/test`; strings.Join(p.asked, "|") != want {
		t.Errorf("asked %q, want %q", strings.Join(p.asked, "|"), want)
	}
	other := *src
	other.URL += "?other"
	if got := read(t, s, &other); !strings.HasPrefix(got, "no: ") {
		t.Errorf("the copy of another URL: %q", got)
	}
	if m := s.Meta(src); m.ETag != `"1"` || m.Octets != 12 || time.Since(m.Asked) > time.Minute {
		t.Errorf("%+v", m)
	}
}

// What is no list leaves the copy as it is, and says why.
func TestFailures(t *testing.T) {
	p, dir := publish(t), t.TempDir()
	s, src := open(t, dir, p), p.source()
	c, err := s.Fetch(t.Context(), src, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Commit(); err != nil {
		t.Fatal(err)
	}
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	for want, set := range map[string]func(){
		"the server says 503":           func() { p.status = 503 },
		"the server says 304":           func() { p.status = 304 },
		"an HTML page":                  func() { p.kind = "text/HTML; charset=utf-8" },
		"which is max_size":             func() { p.text = strings.Repeat("a", 3000) },
		"1001 octets, and max_size":     func() { p.text = strings.Repeat("a", 1001) },
		"without TLS":                   func() { p.to = plain.URL },
		"more than 5 redirects":         func() { p.to = p.URL + "/again" },
		"context canceled":              nil,
		"certificate signed by unknown": nil,
	} {
		p.status, p.kind, p.to, p.text, p.etag = 0, "text/plain", "", "ads.example\n", ""
		ctx, cancel := context.WithCancel(t.Context())
		of := s
		switch {
		case set != nil:
			set()
		case strings.HasPrefix(want, "context"):
			cancel()
		default:
			if of, err = feed.Open(dir, "lists", &http.Transport{TLSClientConfig: &tls.Config{}}, ""); err != nil {
				t.Fatal(err)
			}
		}
		if c, err := of.Fetch(ctx, src, true); c != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v", want, c, err)
		}
		cancel()
		if got := read(t, s, src); got != "ads.example\n" {
			t.Errorf("%s: the copy is %q", want, got)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "lists", "*.new"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// Files are read if they are regular, and not too large; a directory that cannot be written keeps
// nothing, and lists are in memory.
func TestPlaces(t *testing.T) {
	p, dir := publish(t), t.TempDir()
	s, err := feed.Open(filepath.Join(dir, "none"), "lists", p.Client().Transport, "")
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	c, err := s.Fetch(t.Context(), p.source(), false)
	if err != nil {
		t.Fatal(err)
	}
	f, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	if text, _ := io.ReadAll(f); string(text) != p.text || c.Commit() != nil {
		t.Errorf("in memory: %q", text)
	}
	path := filepath.Join(dir, "list")
	src := &feed.Source{Name: "own", File: path, MaxSize: 10}
	for want, set := range map[string]func() error{
		"no such file":       func() error { return nil },
		"not a regular file": func() error { return os.Mkdir(path, 0o755) },
		"11 octets, and max": func() error { return os.WriteFile(path, make([]byte, 11), 0o644) },
	} {
		if err := errors.Join(os.RemoveAll(path), set()); err != nil {
			t.Fatal(err)
		}
		if got := read(t, s, src); !strings.Contains(got, want) {
			t.Errorf("%s: %q", want, got)
		}
	}
	// A link of whoever owns the directory leads nowhere else.
	victim := filepath.Join(dir, "victim")
	if err := errors.Join(os.WriteFile(victim, []byte("precious"), 0o600), os.MkdirAll(filepath.Join(dir, "state", "lists"), 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ads.list", "ads.list.new", "ads.json", "ads.json.new"} {
		if err := os.Symlink(victim, filepath.Join(dir, "state", "lists", name)); err != nil {
			t.Skip(err)
		}
	}
	s = open(t, filepath.Join(dir, "state"), p)
	if c, err = s.Fetch(t.Context(), p.source(), false); err == nil {
		err = c.Commit()
	}
	text, _ := os.ReadFile(victim)
	if err != nil || string(text) != "precious" || read(t, s, p.source()) != p.text {
		t.Errorf("%v; the file outside is %q, the list %q", err, text, read(t, s, p.source()))
	}
}

// When a list is asked for again.
func TestDue(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	src := &feed.Source{Every: 10 * time.Hour}
	for _, c := range []struct {
		asked    time.Time
		failures int
		from, to time.Duration
	}{
		{time.Time{}, 0, 0, 0},
		{now.AddDate(30, 0, 0), 0, 0, 0}, // a clock was wrong
		{now, 0, 9 * time.Hour, 11 * time.Hour},
		{now, 1, time.Minute, 75 * time.Second},
		{now, 4, 8 * time.Minute, 10 * time.Minute},
		{now, 1000, 10 * time.Hour, 12*time.Hour + 30*time.Minute},
	} {
		seen := map[string]bool{}
		for range 100 {
			in := feed.Due(src, c.asked, now, c.failures).Sub(now)
			if in < c.from || in > c.to {
				t.Errorf("%+v: in %v", c, in)
			}
			seen[fmt.Sprint(in)] = true
		}
		if c.to > c.from && len(seen) < 10 {
			t.Errorf("%+v: always at the same time", c)
		}
	}
}
