package fwrun

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"port53/internal/firewall"
	"port53/internal/securepath"
)

// requireRoot skips the test if it is not run by root, unless all must be run.
func requireRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("PORT53_REQUIRE_PEERS") == "1" {
		t.Fatal("required: root")
	}
	t.Skip("only root loads rules")
}

// nobody is a user who is not root.
const nobody = 65534

// TestStateIsRoots has what is remembered lie where others than root could have changed it,
// or put a link to something else: it is neither believed nor written.
func TestStateIsRoots(t *testing.T) {
	requireRoot(t)
	const planted = `{"backend":"nftables","before":["table inet planted {}"]}`
	for _, s := range []struct {
		what    string
		plant   func(dir string) error // in dir there are roots, theirs, a victim, and roots/applied.json
		state   string
		read    bool // it is believed
		written bool // it can be replaced
	}{
		{"root's", nil, "roots", true, true},
		{"not there yet", nil, "roots/new", false, true},
		{"a link of root", func(dir string) error { return os.Symlink("roots", dir+"/l") }, "l", true, true},
		{"somebody's directory", nil, "theirs", false, false},
		{"below it", nil, "theirs/firewall", false, false},
		{"not there yet, below it", nil, "theirs/new", false, false},
		{"where everybody writes", func(dir string) error { return os.Chmod(dir+"/roots", 0o777) }, "roots", false, false},
		{"where a group writes", func(dir string) error {
			return errors.Join(os.Chown(dir+"/roots", 0, nobody), os.Chmod(dir+"/roots", 0o770))
		}, "roots", false, false},
		{"somebody's link", func(dir string) error {
			return errors.Join(os.Symlink("roots", dir+"/l"), os.Lchown(dir+"/l", nobody, nobody))
		}, "l", false, false},
		{"a record of somebody", func(dir string) error { return os.Chown(dir+"/roots/applied.json", nobody, 0) }, "roots", false, true},
		{"a record that everybody may write", func(dir string) error { return os.Chmod(dir+"/roots/applied.json", 0o606) }, "roots", false, true},
		{"a record with a second name", func(dir string) error { return os.Link(dir+"/roots/applied.json", dir+"/theirs/a") }, "roots", false, true},
		{"a link for a record", func(dir string) error {
			return errors.Join(os.Rename(dir+"/roots/applied.json", dir+"/theirs/a"), os.Symlink("../theirs/a", dir+"/roots/applied.json"))
		}, "roots", false, true},
		{"a FIFO for a record", func(dir string) error {
			return errors.Join(os.Remove(dir+"/roots/applied.json"), unix.Mkfifo(dir+"/roots/applied.json", 0o600))
		}, "roots", false, true},
		{"a link where it is written first", func(dir string) error { return os.Symlink("../victim", dir+"/roots/applied.json.new") }, "roots", true, true},
		{"links where changes are written", func(dir string) error {
			return errors.Join(os.Symlink("../victim", dir+"/roots/to.v4"), os.Symlink("../victim", dir+"/roots/to.v4.new"))
		}, "roots", true, true},
	} {
		t.Run(s.what, func(t *testing.T) {
			dir := t.TempDir()
			err := errors.Join(
				os.Mkdir(dir+"/roots", 0o700), os.Mkdir(dir+"/theirs", 0o755), os.Mkdir(dir+"/theirs/firewall", 0o700),
				os.WriteFile(dir+"/roots/applied.json", []byte(planted), 0o600), os.WriteFile(dir+"/theirs/applied.json", []byte(planted), 0o600),
				os.WriteFile(dir+"/theirs/firewall/applied.json", []byte(planted), 0o600),
				os.WriteFile(dir+"/victim", []byte("root's\n"), 0o600), os.Chown(dir+"/theirs", nobody, nobody),
			)
			if err == nil && s.plant != nil {
				err = s.plant(dir)
			}
			if err != nil {
				t.Fatal(err)
			}
			system := &System{State: filepath.Join(dir, s.state)}
			r, err := system.readRecord()
			if (r != nil) != s.read || (err == nil) != (s.read || strings.HasPrefix(s.what, "not there yet")) {
				t.Errorf("read: %+v, %v", r, err)
			}
			if err != nil && !s.written && !errors.Is(err, securepath.ErrShared) && !errors.Is(err, securepath.ErrLink) && !errors.Is(err, os.ErrNotExist) {
				t.Errorf("it does not say why: %v", err)
			}
			err = errors.Join(
				system.writeRecord(&record{Backend: firewall.UFW}),
				system.withState(func(d *securepath.Dir) error { return d.Write("to.v4", nil, fileMode) }),
			)
			if (err == nil) != s.written {
				t.Errorf("written: %v", err)
			}
			if r, err = system.readRecord(); s.written && (err != nil || r.Backend != firewall.UFW) {
				t.Errorf("after it was written: %+v %v", r, err)
			}
			if err := system.forget(append(changeFiles(), recordName)...); (err == nil) != s.written {
				t.Errorf("forgotten: %v", err)
			}
			if text, err := os.ReadFile(dir + "/victim"); err != nil || string(text) != "root's\n" {
				t.Errorf("the victim: %q %v", text, err)
			}
			if text, err := os.ReadFile(dir + "/theirs/applied.json"); err != nil || string(text) != planted {
				t.Errorf("somebody's file: %q %v", text, err)
			}
		})
	}
}

func TestCutsOff(t *testing.T) {
	p := &firewall.Plan{Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Closed: []firewall.Port{{Proto: "tcp", Number: 9153, Use: "metrics"}}}
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	for connection, cut := range map[string]bool{
		"": false, "nonsense": false, "192.0.2.7 4000 192.0.2.53 22": false, "192.0.2.7 4000 192.0.2.53 53": true,
		"10.1.2.3 4000 192.0.2.53 53": false, "::ffff:10.1.2.3 4000 ::ffff:192.0.2.53 53": false, "10.1.2.3 4000 192.0.2.53 9153": true,
	} {
		if err := CheckSSH(p, connection); (err != nil) != cut {
			t.Errorf("%q: %v", connection, err)
		}
	}
	const session = "192.0.2.7 4000 192.0.2.53 22"
	for added, in := range map[string]bool{
		"": false, "ufw allow 22": true, "ufw allow 22/tcp": true, "ufw limit OpenSSH": true, "ufw allow ssh": true,
		"ufw deny 22/tcp": false, "ufw allow 2222/tcp": false, "ufw allow out 22/tcp": false, "ufw allow from 192.0.2.0/24 to any port 22 proto tcp": true,
	} {
		if err := sshAllowed("Added user rules:\n"+added+"\n", session); (err == nil) != in {
			t.Errorf("%q: %v", added, err)
		}
	}
}

// TestChange has what iptables-restore is given make one set of the other: jumps are there
// once, chains that go are emptied first, and what is not ours is not mentioned.
func TestChange(t *testing.T) {
	saved := "*nat\n:PREROUTING ACCEPT [0:0]\n:PORT53-REDIRECT - [0:0]\n-A PREROUTING -j PORT53-REDIRECT\n-A PORT53-REDIRECT -p udp -j REDIRECT --to-ports 53\nCOMMIT\n" +
		"*filter\n:INPUT DROP [1:2]\n:PORT53-IN - [0:0]\n:DOCKER - [0:0]\n-A INPUT -j PORT53-IN\n-A INPUT -j DOCKER\n-A PORT53-IN -j RETURN\nCOMMIT\n"
	wanted := "*filter\n:PORT53-IN - [0:0]\n:PORT53-DNS - [0:0]\n-I INPUT 1 -j PORT53-IN\n-A PORT53-IN -p udp -j PORT53-DNS\nCOMMIT\n"
	want := "*filter\n:PORT53-IN - [0:0]\n:PORT53-DNS - [0:0]\n-A PORT53-IN -p udp -j PORT53-DNS\nCOMMIT\n" +
		"*nat\n-D PREROUTING -j PORT53-REDIRECT\n:PORT53-REDIRECT - [0:0]\n-X PORT53-REDIRECT\nCOMMIT\n"
	if got := change(ours(saved), wanted); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := ours(saved); strings.Contains(got, "DOCKER") || !strings.HasPrefix(got, "*filter") {
		t.Errorf("of ours:\n%s", got)
	}
	if got := change("", ""); got != "" {
		t.Errorf("nothing of nothing: %q", got)
	}
}

// TestByTracking has rules of others that go by the state of connections: without tracking, what of port 53
// they would let through no more is told, and nothing else is.
func TestByTracking(t *testing.T) {
	const established = `{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":["established","related"]}},{"accept":null}`
	port := func(field, rest string) string {
		return `{"match":{"op":"==","left":{"payload":{"protocol":"udp","field":"` + field + `"}},"right":53}},` + rest
	}
	for name, c := range map[string]struct {
		hook, policy string
		rules        []string
		saved        string
		want         string
	}{
		"replies":                     {"output", "drop", []string{established}, "", "policy drop"},
		"replies, by a map":           {"output", "drop", []string{`{"vmap":{"key":{"ct":{"key":"state"}},"data":{"set":[["established",{"accept":null}],["invalid",{"drop":null}]]}}}`}, "", "policy drop"},
		"replies, in any state":       {"output", "drop", []string{established, port("sport", `{"accept":null}`)}, "", ""},
		"replies that go nowhere":     {"output", "drop", nil, "", ""},
		"replies, for all":            {"output", "accept", []string{established}, "", ""},
		"new questions":               {"input", "drop", []string{`{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":"new"}},` + port("dport", `{"accept":null}`)}, "", "policy drop"},
		"questions, in any state":     {"input", "drop", []string{established, port("dport", `{"accept":null}`)}, "", ""},
		"questions of no other state": {"input", "accept", []string{`{"match":{"op":"!=","left":{"ct":{"key":"state"}},"right":{"set":["established","new"]}}},{"drop":null}`}, "", "drop"},
		"questions of none":           {"input", "accept", []string{`{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":"invalid"}},{"drop":null}`}, "", ""},
		"iptables, questions":         {saved: ":INPUT DROP [0:0]\n-A INPUT -p udp -m udp --dport 53 -m state --state NEW -j ACCEPT\n", want: "INPUT DROP"},
		"iptables, any question":      {saved: ":INPUT DROP [0:0]\n-A INPUT -m state --state ESTABLISHED -j ACCEPT\n-A INPUT -p udp -m udp --dport 53 -j ACCEPT\n"},
		"iptables, replies":           {saved: ":OUTPUT DROP [0:0]\n-A OUTPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n", want: "OUTPUT DROP"},
		"iptables, replies at an end": {saved: ":OUTPUT ACCEPT [0:0]\n-A OUTPUT -o lo -j ACCEPT\n-A OUTPUT -m conntrack ! --ctstate INVALID,UNTRACKED -j ACCEPT\n-A OUTPUT -j REJECT\n", want: "-j REJECT"},
		"iptables, any reply":         {saved: ":OUTPUT DROP [0:0]\n-A OUTPUT -p udp -m udp --sport 53 -j ACCEPT\n"},
	} {
		t.Run(name, func(t *testing.T) {
			read := func(p packet) []Foreign {
				if c.saved != "" {
					return savedRules("iptables", "*filter\n"+c.saved+"COMMIT\n", true, p)
				}
				text := `{"nftables":[{"chain":{"family":"inet","table":"f","name":"c","hook":"` + c.hook + `","policy":"` + c.policy + `"}}`
				for _, r := range c.rules {
					text += `,{"rule":{"family":"inet","table":"f","chain":"c","expr":[` + r + `]}}`
				}
				list, err := nftRules([]byte(text+"]}"), p)
				if err != nil {
					t.Fatal(err, text)
				}
				return list
			}
			list := append(byTracking(read(question), read(trackless)), byTracking(read(reply), read(tracklessReply))...)
			switch {
			case c.want == "" && len(list) > 0:
				t.Errorf("told: %+v", list)
			case c.want != "" && (len(list) != 1 || !list[0].Tracks || !list[0].UDP || list[0].TCP || !strings.Contains(list[0].Rule, c.want)):
				t.Errorf("told: %+v", list)
			}
		})
	}
}

// TestExpireWaits has somebody wait before rules are applied: as long as it was told, and
// takes nothing back once they are confirmed.
func TestExpireWaits(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := &System{State: dir}
		began := time.Now()
		if err := s.writeRecord(&record{Backend: firewall.Nftables, Until: began.Add(time.Minute)}); err != nil {
			t.Fatal(err)
		}
		done := make(chan bool)
		go func() {
			back, err := s.Expire(t.Context(), 30*time.Second)
			if err != nil {
				t.Error(err)
			}
			done <- back
		}()
		time.Sleep(45 * time.Second)
		if err := s.writeRecord(&record{Backend: firewall.Nftables}); err != nil { // confirmed
			t.Fatal(err)
		}
		if back := <-done; back || time.Since(began) < 30*time.Second {
			t.Errorf("taken back %v after %v", back, time.Since(began))
		}
	})
}
