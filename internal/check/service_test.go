package check_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"port53/internal/check"
	"port53/internal/finding"
)

// TestService has what else may listen on the port: it is named, and no check waits for it.
func TestService(t *testing.T) {
	for _, x := range []struct{ first, answer, want string }{
		{"", "HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP"},
		{"SSH-2.0-OpenSSH_9.2\r\n", "", "SSH"},
		{"220 mail.example ESMTP\r\n", "", "SMTP or FTP"},
		{"+OK ready\r\n", "", "POP3"},
		{"* OK IMAP4rev1\r\n", "", "IMAP"},
		{"hello\x1b[31m\r\n", "", `something that says "hello?[31m"`},
		{"", "", ""},
	} {
		t.Run(x.want, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					go func() {
						defer c.Close()
						_ = c.SetDeadline(time.Now().Add(5 * time.Second))
						_, _ = c.Write([]byte(x.first))
						buf := make([]byte, 512)
						if n, _ := c.Read(buf); n > 0 && x.answer != "" {
							_, _ = c.Write([]byte(x.answer))
						}
					}()
				}
			}()
			at := l.Addr().(*net.TCPAddr).AddrPort()
			ran := 0
			r := check.Examine(t.Context(), finding.Target{Text: "t", Server: finding.Server{Addr: at}}, &check.Options{Timeout: 300 * time.Millisecond, PortDoT: at.Port(), PortDoH: at.Port()},
				[]*check.Check{asked("D", check.PortDNS, &ran)}, func(int, int) {})
			if r.Service != x.want || !r.Unreachable || ran != 0 {
				t.Errorf("%q, dead %t, ran %d", r.Service, r.Unreachable, ran)
			}
			if x.want != "" && !strings.Contains(r.Problem, x.want+" answers on port ") {
				t.Errorf("%q", r.Problem)
			}
		})
	}
}

// TestLeft has checks that disturb more than is allowed: those that would apply are named.
func TestLeft(t *testing.T) {
	made := func(id string, mode finding.Mode, scope check.Scope) *check.Check {
		c := asked(id, check.PortAny, new(int))
		c.Mode, c.Scope = mode, scope
		return c
	}
	list := []*check.Check{made("P", finding.Polite, check.ScopeServer), made("A", finding.Active, check.ScopeServer), made("I", finding.Intrusive, check.ScopeServer), made("Z", finding.Active, check.ScopeZone)}
	at := netip.MustParseAddrPort("127.0.0.1:1")
	for mode, want := range map[finding.Mode]string{finding.Polite: "A I", finding.Active: "I", finding.Intrusive: ""} {
		r := check.Examine(t.Context(), finding.Target{Text: "t", Server: finding.Server{Addr: at}}, &check.Options{Mode: mode, PortDoT: 1, PortDoH: 1}, list, func(int, int) {})
		var got []string
		for _, c := range r.NotRun {
			got = append(got, c.ID)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q are left, want %q", mode, got, want)
		}
	}
}

// TestRanges has ranges, and what they may not be.
func TestRanges(t *testing.T) {
	f := check.Finder{Options: &check.Options{}, Max: 300}
	for text, want := range map[string]string{
		"10.0.0.1-13":               "10.0.0.1 10.0.0.13 13",
		"10.0.0.250-10.0.1.5":       "10.0.0.250 10.0.1.5 12",
		"10.0.0.7-7":                "10.0.0.7 10.0.0.7 1",
		"2001:db8::1-f":             "2001:db8::1 2001:db8::f 15",
		"2001:db8::1-2001:db8::3":   "2001:db8::1 2001:db8::3 3",
		"10.0.0.0-10.0.1.255":       "it has more than 300",
		"255.255.255.254-255":       "255.255.255.254 255.255.255.255 2",
		"10.0.0.9-3":                "! ends before",
		"10.0.0.1-2001:db8::1":      "! ",
		"10.0.0.1-x":                "! not the end of a range",
		"10.0.0.1-":                 "! not the end of a range",
		"10.0.0.1-300":              "! not the end of a range",
		"fe80::1%eth0-fe80::3%eth0": "! ",
	} {
		w, err := check.ParseTarget(text)
		if reason, bad := strings.CutPrefix(want, "! "); bad {
			if err == nil || !strings.Contains(err.Error(), reason) {
				t.Errorf("%s: %v, want %q", text, err, reason)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		list := f.Find(t.Context(), w)
		if list[0].Problem != "" {
			if !strings.Contains(list[0].Problem, want) {
				t.Errorf("%s: %s", text, list[0].Problem)
			}
			continue
		}
		first, last := list[0].Server.Addr.Addr().String(), list[len(list)-1].Server.Addr.Addr().String()
		if fields := strings.Fields(want); fields[0] != first || fields[1] != last || !list[0].FromRange {
			t.Errorf("%s: %s to %s, swept %t", text, first, last, list[0].FromRange)
		}
	}
	if w, err := check.ParseTarget("my-host.example"); err != nil || w.Text != "my-host.example" {
		t.Errorf("a name with a hyphen: %v", err)
	}
}

// TestExcludes has what each word leaves out.
func TestExcludes(t *testing.T) {
	server := func(s string) *finding.Target {
		return &finding.Target{Server: finding.Server{Addr: netip.MustParseAddrPort(s), Name: []byte("\x02ns\x04test\x00")}, Zone: []byte("\x01z\x04test\x00")}
	}
	zone := &finding.Target{Zone: []byte("\x01z\x04test\x00")}
	for _, x := range []struct {
		word string
		t    *finding.Target
		want bool
	}{
		{"10.0.0.1", server("10.0.0.1:53"), true},
		{"10.0.0.1", server("10.0.0.2:53"), false},
		{"10.0.0.1:54", server("10.0.0.1:53"), false},
		{"10.0.0.0/24", server("10.0.0.9:53"), true},
		{"10.0.0.0/24", server("10.0.1.9:53"), false},
		{"10.0.0.0/24", zone, false},
		{"10.0.0.3-5", server("10.0.0.5:53"), true},
		{"10.0.0.3-5", server("10.0.0.6:53"), false},
		{"10.0.0.3-5", server("[::1]:53"), false},
		{"10.0.0.3-5", zone, false},
		{"ns.test", server("10.0.0.1:53"), true},
		{"z.test", zone, true},
		{"z.test", server("10.0.0.1:53"), false},
		{"other.test", zone, false},
	} {
		w, err := check.ParseTarget(x.word)
		if err != nil {
			t.Fatal(err)
		}
		if got := w.Excludes(x.t); got != x.want {
			t.Errorf("%s: %t of %+v", x.word, got, x.t)
		}
	}
}
