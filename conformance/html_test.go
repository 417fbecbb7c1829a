package conformance_test

import (
	"bytes"
	"context"
	"image"
	_ "image/png"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"port53/conformance/netns"
	"port53/conformance/peers"
)

// browserTime is how long a browser may take for one picture.
const browserTime = 60 * time.Second

// TestReportInABrowser has a real browser draw the HTML report: by day, by night, on a
// phone and for print. What is drawn is text on its ground, and nothing is cut off.
func TestReportInABrowser(t *testing.T) {
	browser, err := peers.Find("chromium")
	if err != nil {
		t.Skipf("missing: %v", err)
	}
	if os.Getuid() != 0 {
		missing(t, os.ErrPermission)
	}
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	ns, err := netns.New() // a browser asks for things of its own
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ns.Close)
	dir := t.TempDir()
	put(t, filepath.Join(dir, "test.zone"), "$TTL 60\n@ SOA ns admin 1 2 3 4 5\n@ NS ns\nns A 127.0.0.1\n")
	conf := put(t, filepath.Join(dir, "port53.yaml"), "role: authoritative\nlisten: [\"127.0.0.1:53\"]\nstate_dir: %s\nmetrics: {listen: off}\nzones: [{name: test, file: test.zone, allow_transfer: [127.0.0.1], insecure: true}]\n", dir)
	s, err := peers.Start(context.Background(), peers.Port53, peers.Options{
		Dir: dir, Zones: []peers.Zone{{Name: "test.", File: "test.zone"}}, Addr: loopback(53), Command: []string{bin, "serve", "--config", conf}, Run: ns.Do,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	run := func(name string, args ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), browserTime)
		defer cancel()
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Env = append(os.Environ(), "HOME="+dir)
		var out []byte
		err := ns.Do(func() error {
			var err error
			out, err = cmd.CombinedOutput()
			return err
		})
		if err != nil && (name != bin || cmd.ProcessState.ExitCode() != 1) { // 1: something was found, as it should be
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
	}
	report := filepath.Join(dir, "report.html")
	run(bin, "check", "127.0.0.1", "--zone", "test", "--html", "-o", report)
	draw := func(name string, args ...string) {
		t.Helper()
		common := []string{"--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--user-data-dir=" + filepath.Join(dir, "browser-"+name)}
		run(browser, append(append(common, args...), "file://"+report)...)
	}
	for name, c := range map[string]struct {
		args  []string
		night bool
	}{
		"day":         {[]string{"--window-size=1280,900"}, false},
		"night":       {[]string{"--window-size=1280,900", "--force-dark-mode", "--blink-settings=preferredColorScheme=0"}, true},
		"phone":       {[]string{"--window-size=390,844"}, false},
		"phone-night": {[]string{"--window-size=390,844", "--force-dark-mode", "--blink-settings=preferredColorScheme=0"}, true},
	} {
		file := filepath.Join(dir, name+".png")
		draw(name, append(c.args, "--screenshot="+file)...)
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		picture, _, err := image.Decode(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		ground, text, edge := look(picture)
		if c.night != (ground < 64) || !c.night && ground < 192 {
			t.Errorf("%s: the ground has brightness %d of 255", name, ground)
		}
		if text < 1 || text > 25 {
			t.Errorf("%s: %.1f %% of the picture stand out from the ground by as much as text has to", name, text)
		}
		if edge > 0 {
			t.Errorf("%s: %d dots at the right edge: something is cut off", name, edge)
		}
	}
	// Every finding is on paper, whatever the screen folds away.
	pdf := filepath.Join(dir, "report.pdf")
	draw("print", "--print-to-pdf="+pdf)
	paper, err := os.ReadFile(pdf)
	if err != nil || !bytes.HasPrefix(paper, []byte("%PDF-")) || bytes.Count(paper, []byte("/Type /Page\n")) < 1 {
		t.Errorf("print: %v, %d octets", err, len(paper))
	}
}

// look returns the brightness of most of a picture, how many dots of a hundred differ from
// that as text has to, and how many do so at the right edge.
func look(picture image.Image) (ground int, text float64, edge int) {
	b := picture.Bounds()
	at := func(x, y int) int {
		r, g, b, _ := picture.At(x, y).RGBA()
		return int((299*r + 587*g + 114*b) / 1000 >> 8)
	}
	var count [256]int
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			count[at(x, y)]++
		}
	}
	for v, n := range count {
		if n > count[ground] {
			ground = v
		}
	}
	const contrast = 96 // of 255: less is hard to read
	dots := 0
	for v, n := range count {
		if d := v - ground; d > contrast || -d > contrast {
			dots += n
		}
	}
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Max.X - 3; x < b.Max.X; x++ {
			if d := at(x, y) - ground; d > contrast || -d > contrast {
				edge++
			}
		}
	}
	return ground, 100 * float64(dots) / float64(b.Dx()*b.Dy()), edge
}

func loopback(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
}
