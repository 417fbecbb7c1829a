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
@ -p 53 www.good.test
@ -p53 www.good.test
@ -tMX good.test
@ -t SOA -c IN good.test
@ -c CH -t TXT version.bind
@ -b 127.0.0.2 www.good.test
@ -b 127.0.0.2#0 www.good.test
@ -q www.good.test -t AAAA
@ -q www.good.test -q mail.good.test
@ -x 192.0.2.1 +short
@ -x 10.0.0.1 -x 192.0.2.1
@ MX good.test +short
@ IN MX good.test
@ MX IN good.test
@ good.test MX IN
@ TYPE1 www.good.test
@ CLASS1 www.good.test
@ www.good.test CLASS1
@ www.good.test. A
@ WwW.GoOd.TeSt A
@ -f list
-f list
@ www.good.test +noall
@ www.good.test +noall +question
@ www.good.test +noall +comments
@ www.good.test +nocomments
@ www.good.test +noquestion
@ x.sub.good.test +norecurse +noauthority
@ x.sub.good.test +norecurse +noadditional
@ good.test MX +noadditional
@ www.good.test +nocmd +nostats
@ www.good.test +short +identify
@ good.test MX +nocl
@ good.test SOA +noclass
@ good.test SOA +nottl
@ good.test DNSKEY +nocrypto
@ good.test SOA +norrcomments
@ good.test SOA +multi
@ good.test SOA +nomultiline
@ good.test SOA +ttlu
@ good.test TXT +tcp +keepopen
@ good.test +rdflag
@ good.test +nordflag
@ good.test +rec
@ good.test +norecurse +cd
@ good.test +noad
@ good.test +ad
@ good.test +cd
@ good.test +aaonly
@ good.test +raflag
@ good.test +tcflag
@ good.test +dnssec
@ good.test +do
@ good.test +nodnssec
@ good.test +bufsize=4096
@ big.good.test TXT +buf=4096
@ big.good.test TXT +bufsize=0
@ good.test +noednsflags
@ good.test +ednsopt=nsid
@ good.test +ednsopt=10:0011223344556677
@ good.test +cookie=0011223344556677
@ good.test +nocookie +nsid
@ good.test +nonsid
@ good.test +padding=512
@ good.test +noexpire
@ good.test +timeout=2
@ good.test +time=1 +tries=2 +retry=1
@ good.test +fail
@ good.test +nofail
@ good.test +besteffort +nobesteffort
@ good.test +badcookie +mapped +expandaaaa
@ good.test +ednsnegotiation
@ mail.good.test AAAA +expandaaaa
@ good.test +split=4
@ good.test +nosplit
@ good.test +nosearch +noshowsearch
@ www +showsearch +domain=good.test
@ ww +showsearch
@ nosuch +search +domain=good.test
@ www +search +nodefname
@ good.test IXFR=0
@ good.test ixfr=1 +nocomments
@ good.test axfr +nocookie
@ good.test AXFR -y hmac-sha256:xfr:` + digSecret + ` +noall +answer
@ good.test SOA -y hmac-sha256:xfr:` + digSecret + ` +tcp
@ good.test TXT +short +tcp
@ good.test CAA +short
@ good.test HTTPS +short
@ good.test TYPE257 +short
@ good.test CAA +unknownformat
@ nothing.elsewhere +short
@ bücher.test +noidnin
@ bücher.test +idnin
@ bücher.test +idnin +idnout
@ xn--bcher-kva.test +idnout
@ xn--bcher-kva.test +noidnout
@ alias.xn--bcher-kva.test +idnin +idnout
@ alias.xn--bcher-kva.test CNAME +idnout +short
@ bücher.test MX +idnin +idnout
@ straße.test +idnin
@ BÜCHER.test +idnin
@ _sip._tcp.bücher.test SRV +idnin +idnout
`

// yamlLines are what dig +yaml is asked.
const yamlLines = `good.test MX
good.test TXT +tcp +nsid
nope.good.test +dnssec
x.sub.good.test +norec +noedns
x.sub.good.test +norec
good.test +noall +answer
good.test SOA +qr
good.test SOA +qr +norec
good.test +nocomments
good.test HTTPS +noquestion
good.test CAA
`

// otherLines are command lines of kdig and drill, and the same to port53 query.
const otherLines = `
kdig @127.0.0.1 good.test MX
kdig @127.0.0.1 -t MX -q good.test
kdig @127.0.0.1 -p 53 good.test SOA
kdig @127.0.0.1 good.test SOA +tcp
kdig @127.0.0.1 good.test +dnssec
kdig @127.0.0.1 good.test TXT +noedns
kdig @127.0.0.1 big.good.test TXT +bufsize=512 +ignore
kdig @127.0.0.1 -x 192.0.2.1
kdig @127.0.0.1 good.test SOA +norec
kdig @127.0.0.1 good.test SOA +nordflag
kdig @127.0.0.1 good.test +cdflag +adflag
kdig @127.0.0.1 good.test SOA +nsid
kdig @127.0.0.1 good.test SOA +padding=128
kdig @127.0.0.1 good.test SOA +cookie
kdig @127.0.0.1 www.good.test +subnet=192.0.2.0/24
kdig @127.0.0.1 good.test SOA +time=2 +retry=1
kdig @127.0.0.1 good.test SOA +timeout=2
kdig @127.0.0.1 good.test MX +short
kdig @127.0.0.1 -d good.test SOA
kdig @127.0.0.1 -c CH -t TXT version.bind
kdig @127.0.0.1 -4 good.test MX
kdig @127.0.0.1 -b 127.0.0.2 good.test MX
drill good.test @127.0.0.1 MX
drill -D good.test @127.0.0.1 SOA
drill -4 good.test @127.0.0.1 SOA
drill -x 192.0.2.1 @127.0.0.1
drill @127.0.0.1 www.good.test
drill -p 53 good.test @127.0.0.1 TXT
`

// recordsOf returns the records that a program has printed, without columns, and the transports.
func recordsOf(out string) []string {
	list := regexp.MustCompile(`\((?:UDP|TCP)\)`).FindAllString(out, 1)
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); line != "" && line[0] != ';' && !strings.Contains(line, "\tTSIG\t") {
			list = append(list, strings.ReplaceAll(strings.Join(strings.Fields(line), " "), `" "`, `"  "`))
		}
	}
	slices.Sort(list)
	return list
}

// asOthers runs command lines of kdig and drill, and port53 query with the same words.
func asOthers(t *testing.T, s *shell, dir, bin string) {
	for line := range strings.Lines(otherLines) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		program, args, _ := strings.Cut(line, " ")
		path, err := peers.Find(program)
		if err != nil {
			missing(t, err)
		}
		theirs, _ := s.run(dir, path+" "+args)
		ours, code := s.run(dir, bin+" query "+args+" 2>/dev/null")
		got, want := recordsOf(ours), recordsOf(theirs)
		if program == "drill" {
			got = slices.DeleteFunc(got, func(w string) bool { return w == "(UDP)" || w == "(TCP)" }) // drill does not say
		}
		if !slices.Equal(got, want) || len(want) == 0 {
			t.Errorf("%s: exit code %d\n  %s\nwant\n  %s\n%s", line, code, strings.Join(got, "\n  "), strings.Join(want, "\n  "), theirs)
		}
	}
}

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
			line = regexp.MustCompile(` in \d+ ms\.$`).ReplaceAllString(line, "")
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
		"root.zone": "$TTL 1h\n@ SOA ns.good.test. h.good.test. 1 2h 1h 2w 5m\n@ NS ns.good.test.\ngood.test NS ns.good.test.\nns.good.test A 127.0.0.1\n1.2.0.192.in-addr.arpa PTR www.good.test.\nx.test A 192.0.2.7\n" +
			"xn--bcher-kva.test A 192.0.2.8\nxn--bcher-kva.test MX 10 mail.xn--bcher-kva.test.\nalias.xn--bcher-kva.test CNAME xn--bcher-kva.test.\n_sip._tcp.xn--bcher-kva.test SRV 0 5 5060 xn--bcher-kva.test.\nxn--strae-oqa.test A 192.0.2.9\nxn--zzzzzz.test A 192.0.2.10\n",
		"list": "# names\n@127.0.0.1 www.good.test\n@127.0.0.1 good.test MX +noall +answer\n",
		"good.zone": "$TTL 1h\n@ SOA ns h 2026010101 2h 1h 2w 5m\n@ NS ns\n@ NS ns2\nns A 127.0.0.1\nns2 A 127.0.0.1\n@ A 192.0.2.1\n@ MX 10 mail\n@ TXT \"a b\" c\n" +
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
	t.Run("yaml", func(t *testing.T) {
		// What is by chance, and when it was.
		chance := regexp.MustCompile(`(?m)(_time: !!timestamp |^      id: |          COOKIE: )\S+`)
		for line := range strings.Lines(yamlLines) {
			args := "@127.0.0.1 " + strings.TrimSpace(line) + " +yaml"
			theirs, _ := s.run(dir, mounted(dig+" "+args))
			ours, code := s.run(dir, mounted(bin+" query "+args))
			got, want := chance.ReplaceAllString(ours, "$1-"), chance.ReplaceAllString(theirs, "$1-")
			if got != want {
				t.Errorf("%s: exit code %d\n%s\nwant\n%s", args, code, got, want)
			}
		}
	})
	t.Run("nssearch", func(t *testing.T) {
		// With a single name server dig ends before its answer.
		took := regexp.MustCompile(`in \d+ ms`)
		for _, args := range []string{"good.test +nssearch", "+nssearch good.test", "good.test +nssearch +tcp", "good.test +nssearch +nocookie"} {
			theirs, _ := s.run(dir, mounted(dig+" "+args))
			ours, code := s.run(dir, mounted(bin+" query "+args))
			if got, want := took.ReplaceAllString(ours, ""), took.ReplaceAllString(theirs, ""); got != want || !strings.HasPrefix(got, "SOA ") {
				t.Errorf("%s: exit code %d: %q, want %q", args, code, ours, theirs)
			}
		}
	})
	t.Run("kdig and drill", func(t *testing.T) { asOthers(t, s, dir, bin) })
	if out, code := s.run(dir, bin+" query @127.0.0.1 good.test +nssearch"); code != 0 || !strings.Contains(out, "SOA ns.good.test. h.good.test. 2026010101 7200 3600 1209600 300 from server 127.0.0.1 in ") {
		t.Errorf("+nssearch: exit code %d: %s", code, out)
	}
	if out, code := s.run(dir, bin+" query @127.0.0.1 www.good.test +yaml"); code != 0 || !strings.Contains(out, "        - 'www.good.test. 3600 IN A 192.0.2.1'\n") {
		t.Errorf("+yaml: exit code %d: %s", code, out)
	}
	if lines < 152 {
		t.Error(fmt.Sprint(lines), "lines")
	}
}
