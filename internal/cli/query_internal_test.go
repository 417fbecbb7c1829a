package cli

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"port53/internal/exchange"
	"port53/internal/query"
	"port53/internal/wire"
)

// say writes what an asking differs in from one that asks for an address.
func (a *asking) say() string {
	plain := newAsking()
	var b strings.Builder
	fmt.Fprintf(&b, "%s %v", query.NameText(a.q.Name), a.q.Type)
	add := func(on bool, format string, args ...any) {
		if on {
			b.WriteByte(' ')
			fmt.Fprintf(&b, format, args...)
		}
	}
	add(a.q.Class != wire.ClassIN, "%v", a.q.Class)
	add(a.q.Serial != 0, "serial=%d", a.q.Serial)
	add(a.q.Opcode != 0, "%v", a.q.Opcode)
	add(a.q.Flags != plain.q.Flags, "flags=%s", strings.Join(query.Flags(a.q.Flags), ","))
	add(a.q.NoQuestion, "headeronly")
	add(a.q.ID != nil, "id")
	add(!a.q.EDNS, "noedns")
	add(a.q.Version != 0, "version=%d", a.q.Version)
	add(a.q.DO, "do")
	add(a.q.UDPSize != exchange.UDPSize, "size=%d", a.q.UDPSize)
	add(!a.q.Cookie, "nocookie")
	add(a.q.Padding != 0, "padding=%d", a.q.Padding)
	for _, o := range a.q.Options {
		add(true, "option=%d:%x", o.Code, o.Data)
	}
	add(a.server != "", "@%s", a.server)
	add(a.port != 53, "port=%d", a.port)
	add(a.family != 0, "ipv%d", a.family)
	add(a.route.Dialer.Source.IsValid(), "from=%v", a.route.Dialer.Source)
	add(a.route.TCP, "tcp")
	add(a.route.UDPOnly, "ignore")
	add(a.route.Timeout != 0, "timeout=%v", a.route.Timeout)
	add(a.route.Tries != 0, "tries=%d", a.route.Tries)
	add(!a.next, "fail")
	add(a.way != askServer, "%s", [...]string{"", "trace", "validate", "explain"}[a.way])
	add(!a.when.IsZero(), "when=%s", a.when.UTC().Format(time.RFC3339))
	add(a.asJSON, "json")
	add(a.style.Short, "short")
	add(a.style != plain.style && !a.style.Short, "style=%s", sayStyle(a.style))
	return b.String()
}

func sayStyle(s query.Style) string {
	var b strings.Builder
	for _, f := range []struct {
		on     bool
		letter string
	}{
		{s.Command, "c"},
		{s.Comments, "C"},
		{s.Question, "q"},
		{s.Sections[0], "1"},
		{s.Sections[1], "2"},
		{s.Sections[2], "3"},
		{s.Stats, "s"},
		{s.Meaning, "M"},
		{s.Multiline, "m"},
		{s.Units, "u"},
		{s.NoTTL, "T"},
		{s.NoClass, "I"},
		{s.Query, "Q"},
		{s.NoCrypto, "K"},
		{s.Notes, "n"},
		{s.Generic, "g"},
		{s.OneSOA, "1"},
		{s.Micro, "µ"},
		{s.Identify, "i"},
	} {
		if f.on {
			b.WriteString(f.letter)
		}
	}
	return b.String()
}

// TestQueryArguments reads command lines in dig's spelling and in the tool's own.
func TestQueryArguments(t *testing.T) {
	tests := []struct{ line, want string }{
		// Names, types, classes, in any order.
		{"", ". NS"},
		{"mx", ". MX"},
		{"www.example.com", "www.example.com. A"},
		{"www.example.com mx", "www.example.com. MX"},
		{"mx www.example.com", "www.example.com. MX"},
		{"www.example.com TYPE65280 CH", "www.example.com. TYPE65280 CH"},
		{"version.bind CH TXT", "version.bind. TXT CH"},
		{"example.com A AAAA", "example.com. A; example.com. AAAA"},
		{"mx a.test b.test ns", "a.test. MX; b.test. NS"},
		{"-q mx", "mx. A"},
		{"-- mx", "mx. A"},
		{"--name mx txt", "mx. TXT"},
		{"-t mx example.com", "example.com. MX"},
		{"-tmx example.com", "example.com. MX"},
		{"example.com -t mx", "example.com. MX"},
		{"--type=MX example.com", "example.com. MX"},
		{"-c ch example.com", "example.com. A CH"},
		{"--class HS example.com", "example.com. A HS"},
		{"example.com IXFR=7", "example.com. IXFR serial=7"},
		{"-t ixfr=7 example.com", "example.com. IXFR serial=7"},
		{"-x 192.0.2.1", "1.2.0.192.in-addr.arpa. PTR"},
		{"-x 192.0.2.1 any", "1.2.0.192.in-addr.arpa. ANY"},
		{"-t any -x 192.0.2.1", "1.2.0.192.in-addr.arpa. ANY"},
		{"--reverse 192.0.2.1", "1.2.0.192.in-addr.arpa. PTR"},
		{`a\.b.example`, `a\.b.example. A`},
		// Where options hold.
		{"+short a.test b.test", "a.test. A short; b.test. A short"},
		{"a.test +short b.test", "a.test. A short; b.test. A"},
		{"a.test A AAAA +tcp", "a.test. A tcp; a.test. AAAA tcp"},
		{"@192.0.2.1 a.test @192.0.2.2 b.test", "a.test. A @192.0.2.2; b.test. A @192.0.2.1"},
		// Whom and how.
		{"a.test @192.0.2.1 -p 5353", "a.test. A @192.0.2.1 port=5353"},
		{"--server ns.test --port 54 a.test", "a.test. A @ns.test port=54"},
		{"-4 a.test", "a.test. A ipv4"},
		{"--ipv6 a.test", "a.test. A ipv6"},
		{"-b 192.0.2.7#99 a.test", "a.test. A from=192.0.2.7:99"},
		{"a.test +tcp", "a.test. A tcp"},
		{"a.test +vc", "a.test. A tcp"},
		{"--tcp a.test", "a.test. A tcp"},
		{"+tcp a.test +notcp", "a.test. A"},
		{"--tcp --no-tcp a.test", "a.test. A"},
		{"--tcp=false a.test", "a.test. A"},
		{"a.test +ignore", "a.test. A ignore"},
		{"a.test --ignore-tc", "a.test. A ignore"},
		{"a.test +time=2", "a.test. A timeout=2s"},
		{"a.test +timeout=300ms", "a.test. A timeout=300ms"},
		{"a.test --timeout 1.5", "a.test. A timeout=1.5s"},
		{"a.test +tries=2", "a.test. A tries=2"},
		{"a.test +retry=2", "a.test. A tries=3"},
		{"a.test +retry=0", "a.test. A tries=1"},
		{"a.test +fail", "a.test. A fail"},
		{"a.test +nofail", "a.test. A"},
		{"a.test +dnssec", "a.test. A do"},
		{"a.test +do", "a.test. A do"},
		{"a.test --dnssec", "a.test. A do"},
		{"a.test +cd", "a.test. A flags=rd,ad,cd"},
		{"a.test +cdflag", "a.test. A flags=rd,ad,cd"},
		{"a.test --cd", "a.test. A flags=rd,ad,cd"},
		{"a.test +norec", "a.test. A flags=ad"},
		{"a.test +nord", "a.test. A flags=ad"},
		{"a.test +norecurse", "a.test. A flags=ad"},
		{"a.test --no-recurse", "a.test. A flags=ad"},
		{"a.test +noad", "a.test. A flags=rd"},
		{"a.test +aaflag +tcflag +raflag +zflag", "a.test. A flags=aa,tc,rd,ra,z,ad"},
		{"a.test +noedns", "a.test. A noedns"},
		{"a.test --no-edns", "a.test. A noedns"},
		{"a.test +edns=1", "a.test. A version=1"},
		{"a.test +edns", "a.test. A"},
		{"a.test +bufsize=512", "a.test. A size=512"},
		{"a.test +bufsize=0", "a.test. A noedns size=0"},
		{"a.test +noedns +dnssec", "a.test. A do"},
		{"a.test +dnssec +noedns", "a.test. A noedns"},
		{"a.test +nsid", "a.test. A option=3:"},
		{"a.test +nsid +nonsid", "a.test. A"},
		{"a.test +expire +keepalive", "a.test. A option=9: option=11:"},
		{"a.test +nocookie", "a.test. A nocookie"},
		{"a.test +cookie=0102030405060708", "a.test. A nocookie option=10:0102030405060708"},
		{"a.test --cookie", "a.test. A"},
		{"a.test +ednsopt=65001:ab", "a.test. A option=65001:ab"},
		{"a.test --option 65001", "a.test. A option=65001:"},
		{"a.test +ednsflags=0xc000", "a.test. A do"},
		{"a.test +padding=128", "a.test. A padding=128"},
		{"a.test +opcode=notify", "a.test. A NOTIFY"},
		{"a.test +opcode=2", "a.test. A STATUS"},
		{"a.test +header-only", "a.test. A headeronly"},
		{"a.test +qid=7", "a.test. A id"},
		{"a.test +subnet=0 +nosubnet", "a.test. A"},
		// Other ways.
		{"a.test +trace", "a.test. A trace"},
		{"--trace a.test --root-hints x", "a.test. A trace"},
		{"--validate a.test --time 2020-10-20", "a.test. A validate when=2020-10-20T00:00:00Z"},
		{"--time 1600000000 a.test", "a.test. A when=2020-09-13T12:26:40Z"},
		{"--time 20201020000000 a.test", "a.test. A when=2020-10-20T00:00:00Z"},
		{"--explain a.test", "a.test. A explain"},
		// What is printed.
		{"a.test +noall +answer", "a.test. A style=1"},
		{"+noall +answer +comments a.test", "a.test. A style=C1"},
		{"a.test +nomeaning", "a.test. A style=cCq123s"},
		{"a.test --no-meaning --no-stats", "a.test. A style=cCq123"},
		{"a.test +multi", "a.test. A style=cCq123sMm"},
		{"a.test +ttlunits", "a.test. A style=cCq123sMu"},
		{"a.test +nottlid +noclass", "a.test. A style=cCq123sMTI"},
		{"a.test +nottl +ttlunits", "a.test. A style=cCq123sMu"},
		{"a.test +qr -u", "a.test. A style=cCq123sMQµ"},
		{"a.test +nocrypto +rrcomments +unknownformat +onesoa", "a.test. A style=cCq123sMKng1"},
		{"a.test +nocmd +nocomm +noque +noauth +noadd", "a.test. A style=1sM"},
		{"a.test +json", "a.test. A json"},
		{"--json a.test", "a.test. A json"},
		{"a.test +besteffort +nosearch +nobadcookie -r", "a.test. A"},
		// What is wrong.
		{"a.test +nonsense", "error: +nonsense: there is no such option"},
		{"a.test +t", "error: +t: more than one option begins so"},
		{"a.test --nonsense", "error: --nonsense: there is no such flag"},
		{"a.test -z", "error: -z: there is no such flag"},
		{"a.test -4x", "error: -4x: there is no such flag"},
		{"-t", "error: -t needs TYPE"},
		{"--type", "error: --type needs TYPE"},
		{"a.test +bufsize", "error: +bufsize needs OCTETS"},
		{"-t nonsense a.test", `error: -t: "nonsense" is not a type: expected one like MX, TYPE65280 or IXFR=SERIAL`},
		{"-c nonsense a.test", `error: -c: "nonsense" is not a class: expected IN, CH, HS, ANY or CLASS and a number`},
		{"-p 0 a.test", `error: -p: "0": expected a number from 1 to 65535`},
		{"-x nonsense", `error: -x: "nonsense" is not an address`},
		{"a.test +tries=0", `error: +tries: "0": expected a number from 1 to 100`},
		{"a.test +time=0", `error: +time: "0": expected seconds, or a time such as 300ms, up to 5m0s`},
		{"a.test +short=x", "error: +short takes no value"},
		{"a.test +noedns=1", "error: +noedns: what is switched off takes no value"},
		{"a.test --no-type", "error: --no-type: there is no such flag"},
		{"a.test +cookie=xyz", `error: +cookie: "xyz": expected hexadecimal`},
		{"a..test", `error: "a..test": empty label: two dots in a row, or one at the start`},
		{"bücher.test", "xn--bcher-kva.test. A"},
		{"--trace --validate a.test", "error: --validate: only one of --trace, --validate and --explain at a time"},
		{"a.test +http-plain", "error: +http-plain: this command does not use HTTP without TLS: write +https"},
		{"a.test +https=x", "error: +https: \"x\": expected a path such as /dns-query"},
		{"a.test +tls-pin=x", "error: +tls-pin: \"x\" is no SHA-256 digest in base64"},
		{"a.test +proxy", "error: +proxy: the PROXY protocol is not supported; UDP, TCP, TLS, HTTPS and QUIC are"},
		{"a.test --subnet 192.0.2.0/33", `error: --subnet: "192.0.2.0/33": expected an address, or a network such as 192.0.2.0/24`},
		{"a.test +subnet=x", `error: +subnet: "x": expected an address, or a network such as 192.0.2.0/24`},
		{"a.test +ndots=16", `error: +ndots: "16": expected a number from 0 to 15`},
		{"a.test -y a", "error: -y: expected [ALGORITHM:]NAME:SECRET, the secret in base64"},
	}
	p := newQueryParser()
	for _, tt := range tests {
		line, err := p.parse(newAsking(), strings.Fields(tt.line))
		var got string
		if err != nil {
			got = "error: " + err.Error()
		} else {
			var each []string
			for _, a := range line.askings {
				each = append(each, a.say())
			}
			got = strings.Join(each, "; ")
		}
		if got != tt.want {
			t.Errorf("%s\ngot  %s\nwant %s", tt.line, got, tt.want)
		}
	}
}

// TestQueryOptions fails if two options have one name, or one without help has a name
// of the tool's own.
func TestQueryOptions(t *testing.T) {
	seen := map[string]bool{}
	for _, o := range queryOptions() {
		names := []string{}
		if o.long != "" {
			names = append(names, "--"+o.long)
			if o.help == "" {
				t.Errorf("--%s has no help", o.long)
			}
		}
		if o.short != 0 {
			names = append(names, "-"+string(o.short))
		}
		for n := range strings.FieldsSeq(o.plus) {
			names = append(names, "+"+n)
		}
		for _, n := range names {
			if seen[n] {
				t.Errorf("%s is there twice", n)
			}
			seen[n] = true
		}
	}
}

// TestSplitServer takes servers and ports apart.
func TestSplitServer(t *testing.T) {
	for s, want := range map[string]string{
		"192.0.2.1": "192.0.2.1 0", "192.0.2.1#5353": "192.0.2.1 5353", "192.0.2.1:5353": "192.0.2.1 5353",
		"2001:db8::1": "2001:db8::1 0", "[2001:db8::1]": "2001:db8::1 0", "[2001:db8::1]:5353": "2001:db8::1 5353",
		"2001:db8::1#5353": "2001:db8::1 5353", "ns.example": "ns.example 0", "ns.example:54": "ns.example 54",
		"fe80::1%eth0#54": "fe80::1%eth0 54", "": "error", "#53": "error", "192.0.2.1#0": "error", "ns:x": "error", "[::1": "error",
	} {
		host, port, err := splitServer(s)
		got := fmt.Sprintf("%s %d", host, port)
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
	}
}

// TestLookupCause reads what the system says when the name of a server cannot be looked up: the address in it is
// that of the system's resolver, and must not be taken for the server's.
func TestLookupCause(t *testing.T) {
	const at = "192.0.2.53:53"
	for want, err := range map[string]error{
		"no such host": &net.DNSError{Err: "no such host", Server: at, IsNotFound: true},
		"the system's resolver 192.0.2.53 cannot be used: network is unreachable": &net.DNSError{
			Err: "dial udp 192.0.2.53:53: connect: network is unreachable", Server: at,
		},
		"the system's resolver 192.0.2.53 cannot be used: server misbehaving": &net.DNSError{Err: "server misbehaving", Server: at},
		"the system's resolver 192.0.2.53 does not answer": &net.DNSError{
			Err: "read udp 192.0.2.1:40000->192.0.2.53:53: i/o timeout", Server: at, IsTimeout: true,
		},
		"no server": &net.DNSError{Err: "no server"},
		"another":   errors.New("another"),
	} {
		if got := lookupCause(err).Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
