package conformance_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"port53/conformance/peers"
)

const digSecret = "c2VjcmV0IG9mIHRoZSB0ZXN0cyBvZiBkaWc="

// digLines are command lines of dig: @ stands for the server's, which is one of zones that gives
// one of them to whoever signs.
const digLines = `
@ www.good.test
@ www.good.test A
@ A www.good.test
@ good.test MX
@ -t MX good.test
@ -t MX -q good.test
@ good.test IN NS
@ good.test TYPE15
@ good.test ANY
@ good.test TXT +tcp
@ good.test TXT +vc
@ good.test HTTPS
@ good.test TYPE65
@ good.test CAA
@ _sip._tcp.good.test SRV
@ alias.good.test
@ alias.good.test CNAME
@ missing.good.test
@ missing.good.test MX +dnssec
@ x.wild.good.test
@ x.sub.good.test +norecurse
@ x.sub.good.test +norec
@ -x 192.0.2.1
@ -x 2001:db8::1
@ big.good.test TXT
@ big.good.test TXT +ignore
@ big.good.test TXT +bufsize=512
@ big.good.test TXT +bufsize=512 +ignore
@ big.good.test TXT +noedns
@ big.good.test TXT +noedns +ignore
@ big.good.test TXT +notcp
@ good.test +edns=0
@ good.test +noedns
@ good.test +cookie
@ good.test +nocookie
@ good.test +nsid
@ good.test +expire SOA
@ good.test +keepalive +tcp
@ good.test +padding=128 +tcp
@ good.test +cdflag +noadflag
@ good.test +aaflag
@ good.test +zflag
@ good.test +coflag
@ good.test +qid=99
@ good.test +ednsflags=0x4000
@ good.test +ednsopt=65001:0102
@ good.test +ednsopt=8:00011800c00002
@ www.good.test +subnet=192.0.2.0/24
@ www.good.test +subnet=192.0.2.1
@ www.good.test +subnet=2001:db8::/33
@ www.good.test +subnet=0
@ www.good.test +subnet=0/0
@ www.good.test +subnet=::/0
@ www +domain=good.test
@ www +search
@ www +search +ndots=0
@ www.good.test +search
@ www.good +search +domain=test
@ www.good.test. +search
@ nosuch +search
@ www +defname
@ www +nosearch
@ good.test AXFR
@ good.test IXFR=1
@ good.test IXFR=2026010101
@ good.test -t IXFR=1
@ good.test IXFR=1 +tcp
@ ww +search +domain=good.test +ndots=1
@ good.test IXFR=2026010101 -k key
@ good.test ANY +notcp
@ good.test AXFR -y hmac-sha256:xfr:` + digSecret + `
@ good.test AXFR -y hmac-sha256:xfr.:` + digSecret + `
@ good.test AXFR -k key
@ good.test AXFR -k commented
@ good.test IXFR=1 -k key
@ good.test SOA -k key
@ good.test SOA -k key +tcp
@ big.good.test TXT -k key
@ good.test AXFR -y hmac-sha256:other:` + digSecret + `
@ good.test AXFR -k key +onesoa
@ www.good.test +short
@ alias.good.test +short
@ good.test MX +short
@ good.test +noall +answer
@ version.bind CH TXT
@ . NS
@ nothing.elsewhere
@ -4 www.good.test
@ www.good.test +tries=1 +time=2
@ www.good.test +retry=0
@ www.good.test mail.good.test
@ www.good.test A mail.good.test AAAA +tcp
@ www.good.test +multiline
@ good.test SOA +multiline
@ good.test SOA +ttlunits
@ good.test SOA +nottlid
@ good.test SOA +unknownformat +nosplit
@ good.test SOA +besteffort
@ -r good.test SOA
@ -m good.test SOA
@ -u good.test SOA
`

// wordsOf returns of what dig or port53 query prints the records, with the section that they are
// in, and the transports, in words. Columns and layout are not compared, and what is by chance.
func wordsOf(out string) []string {
	var list []string
	section := ""
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.Contains(line, "SECTION:") && !strings.Contains(line, "PSEUDO"):
			section = strings.Fields(strings.TrimPrefix(line, ";; "))[0]
		case strings.Contains(line, "->>HEADER<<-"):
			section = ""
			list = append(list, regexp.MustCompile(`status: \w+`).FindString(line))
		case strings.HasPrefix(line, ";; flags:"):
			list = append(list, strings.Split(line, ";")[2])
		case strings.HasPrefix(line, ";; SERVER:"):
			list = append(list, regexp.MustCompile(`\((UDP|TCP)\)`).FindString(line))
		case strings.HasPrefix(line, "; CLIENT-SUBNET"):
			list = append(list, line)
		case strings.HasPrefix(line, "SOA ") && strings.Contains(line, " from server "):
			list = append(list, line[:strings.LastIndex(line, " in ")])
		case line == "" || line[0] == ';' || strings.Contains(line, "\tTSIG\t"):
		default:
			line, _, _ = strings.Cut(line, " ; ") // the comments of +multiline
			line = strings.NewReplacer("( ", "", " )", "", "(", "", ")", "").Replace(line)
			list = append(list, section+" "+strings.Join(strings.Fields(line), " "))
		}
	}
	return list
}

// TestDig runs dig's command lines with dig and with port53 query: they print the same records,
// over the same transport.
func TestDig(t *testing.T) {
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	dig, err := peers.Find("dig")
	if err != nil {
		missing(t, err)
	}
	dir := t.TempDir()
	big := strings.Repeat(`"0123456789012345678901234567890123456789" `, 35)
	for name, text := range map[string]string{
		"secret": digSecret + "\n", "resolv.conf": "nameserver 127.0.0.1\nsearch nowhere.test good.test\n",
		"key":       "key \"xfr\" {\n\talgorithm hmac-sha256;\n\tsecret \"" + digSecret + "\";\n};\n",
		"commented": "// key \"other\" {};\n/* key x { secret y; }; */\nkey xfr { secret \"" + digSecret + "\"; algorithm HMAC-SHA256; # end\n};\n",
		"port53.yaml": "role: authoritative\nlisten: [127.0.0.1]\nstate_dir: " + dir + "\nmetrics: {listen: off}\ncontrol: {socket: off}\n" +
			"keys: [{name: xfr, secret_file: secret}]\nzones:\n  - {name: good.test, file: good.zone, tsig: xfr, allow_transfer: [127.0.0.0/8]}\n  - {name: ., file: root.zone}\n",
		"root.zone": "$TTL 1h\n@ SOA ns.good.test. h.good.test. 1 2h 1h 2w 5m\n@ NS ns.good.test.\ngood.test NS ns.good.test.\nns.good.test A 127.0.0.1\n1.2.0.192.in-addr.arpa PTR www.good.test.\nx.test A 192.0.2.7\n",
		"good.zone": "$TTL 1h\n@ SOA ns h 2026010101 2h 1h 2w 5m\n@ NS ns\nns A 127.0.0.1\n@ A 192.0.2.1\n@ MX 10 mail\n@ TXT \"a b\" c\n" +
			"@ CAA 0 issue \"ca.test\"\n@ HTTPS 1 . alpn=h2\nwww A 192.0.2.1\nmail A 192.0.2.25\nmail AAAA 2001:db8::25\nalias CNAME www\n" +
			"_sip._tcp SRV 0 5 5060 mail\n*.wild A 192.0.2.9\nsub NS ns.sub\nns.sub A 192.0.2.53\nbig TXT " + big + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := newShell(t)
	// dig reads /etc/resolv.conf alone: its own stands there in a mount namespace of its own.
	mounted := func(line string) string {
		return "exec unshare -m sh -c 'mount --bind resolv.conf /etc/resolv.conf && exec \"$@\"' sh " + line
	}
	if out, code := s.run(dir, mounted("cat /etc/resolv.conf")); code != 0 || !strings.Contains(out, "nowhere.test") {
		missing(t, errors.New("a mount namespace: "+out))
	}
	s.until(s.start(dir, bin+" serve --config port53.yaml"), "msg=listening", startTimeout)
	lines := 0
	for line := range strings.Lines(digLines) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		lines++
		t.Run(line, func(t *testing.T) {
			args := strings.Replace(line, "@", "@127.0.0.1", 1)
			theirs, code := s.run(dir, mounted(dig+" "+args))
			ours, ourCode := s.run(dir, mounted(bin+" query "+args+" 2>/dev/null"))
			got, want := slices.Compact(wordsOf(ours)), slices.Compact(wordsOf(theirs))
			if strings.Contains(theirs, "Transfer failed.") {
				got = slices.DeleteFunc(got, func(w string) bool { return w == "(TCP)" }) // dig does not say so
			}
			if strings.Contains(line, " ANY") || strings.Contains(line, "XFR") {
				slices.Sort(got)
				slices.Sort(want)
			}
			if !slices.Equal(got, want) {
				t.Errorf("exit codes %d, dig %d; got\n  %s\nwant\n  %s\n%s\n%s", ourCode, code, strings.Join(got, "\n  "), strings.Join(want, "\n  "), ours, theirs)
			}
			if strings.Contains(ours, digSecret) {
				t.Error("it shows the secret")
			}
		})
	}
	if out, code := s.run(dir, bin+" query @127.0.0.1 good.test +nssearch"); code != 0 || !strings.Contains(out, "SOA ns.good.test. h.good.test. 2026010101 7200 3600 1209600 300 from server 127.0.0.1 in ") {
		t.Errorf("+nssearch: exit code %d: %s", code, out)
	}
	if out, code := s.run(dir, bin+" query @127.0.0.1 www.good.test +yaml"); code != 0 || !strings.Contains(out, "        - 'www.good.test. 3600 IN A 192.0.2.1'\n") {
		t.Errorf("+yaml: exit code %d: %s", code, out)
	}
	if lines < 80 {
		t.Error(fmt.Sprint(lines), "lines")
	}
}
