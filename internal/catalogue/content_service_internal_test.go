package catalogue

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"port53/internal/finding"
	"port53/internal/wire"
	"port53/internal/zonefile"
)

// rdata reads the data of records, each a line of a zone file behind the owner.
func rdata(t *testing.T, owner string, lines ...string) [][]byte {
	t.Helper()
	var out [][]byte
	text := "$TTL 60\n"
	for _, l := range lines {
		text += owner + " " + l + "\n"
	}
	if _, err := zonefile.Read(strings.NewReader(text), zonefile.Options{Origin: mustName("victim.com"), Name: "test"}, func(r *zonefile.Record) error {
		out = append(out, slices.Clone(r.Data))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func worstOf(list []remark) finding.State {
	worst := finding.Pass
	for _, v := range list {
		if v.state == finding.Fail || v.state == finding.Warn && worst == finding.Pass {
			worst = v.state
		}
	}
	return worst
}

func says(list []remark, state finding.State, has string) bool {
	return slices.ContainsFunc(list, func(v remark) bool { return v.state == state && strings.Contains(v.text, has) })
}

func toldOf(list []remark) string {
	var b strings.Builder
	for _, v := range list {
		fmt.Fprintf(&b, "%s %s\n", v.state, v.text)
	}
	return b.String()
}

// TestTLSARecords has TLSA records with the verdict of RFC 6698, RFC 7671 and RFC 7672.
func TestTLSARecords(t *testing.T) {
	sha256, sha512 := strings.Repeat("ab", 32), strings.Repeat("cd", 64)
	// An Ed25519 key as SubjectPublicKeyInfo (RFC 8410, section 10.1).
	key := "302a300506032b6570032100" + strings.Repeat("19", 32)
	there := &lookup{data: [][]byte{{5, 0, 0, 80}}}
	for i, x := range []struct {
		owner string
		lines []string
		place tlsaPlace
		state finding.State
		has   string
	}{
		{"_443._tcp.www", []string{"TLSA 3 1 1 " + sha256}, tlsaPlace{base: there, secure: true, known: true}, finding.Pass, "1 TLSA"},
		{"_443._tcp.www", []string{"TLSA 2 0 2 " + sha512}, tlsaPlace{base: there, secure: true, known: true}, finding.Pass, "1 TLSA"},
		{"_25._tcp.mail", []string{"TLSA 3 1 1 " + sha256, "TLSA 2 1 1 " + sha256}, tlsaPlace{base: there, secure: true, known: true}, finding.Pass, "2 TLSA"},
		{"_443._tcp.www", []string{"TLSA 0 0 1 " + sha256}, tlsaPlace{base: there, secure: true, known: true}, finding.Pass, "1 TLSA"},                        // RFC 6698, section 2.1.1
		{"_443._tcp.www", []string{"TLSA 1 1 2 " + sha512}, tlsaPlace{base: there, secure: true, known: true}, finding.Pass, "1 TLSA"},                        // RFC 6698, section 2.1.1
		{"_443._tcp.www", []string{"TLSA 3 1 0 " + key}, tlsaPlace{base: there, secure: true, known: true}, finding.Pass, "1 TLSA"},                           // RFC 6698, section 2.1.4
		{"_853._udp.ns1", []string{"TLSA 3 1 1 " + sha256}, tlsaPlace{base: there, secure: true, known: true}, finding.Pass, "1 TLSA"},                        // RFC 6698, section 3
		{"_443._tcp.www", []string{"TLSA 4 1 1 " + sha256}, tlsaPlace{}, finding.Fail, "section 2.1.1"},                                                       // RFC 6698, section 2.1.1
		{"_443._tcp.www", []string{"TLSA 255 1 1 " + sha256}, tlsaPlace{}, finding.Fail, "section 2.1.1"},                                                     // RFC 7218, section 2.1: private use
		{"_443._tcp.www", []string{"TLSA 3 2 1 " + sha256}, tlsaPlace{}, finding.Fail, "section 2.1.2"},                                                       // RFC 6698, section 2.1.2
		{"_443._tcp.www", []string{"TLSA 3 1 3 " + sha256}, tlsaPlace{}, finding.Fail, "section 2.1.3"},                                                       // RFC 6698, section 2.1.3
		{"_443._tcp.www", []string{"TLSA 3 1 1 " + sha256[2:]}, tlsaPlace{}, finding.Fail, "31 octets"},                                                       // RFC 6698, section 2.1.3
		{"_443._tcp.www", []string{"TLSA 3 1 1 " + sha512}, tlsaPlace{}, finding.Fail, "64 octets"},                                                           // RFC 6698, section 2.1.3
		{"_443._tcp.www", []string{"TLSA 3 1 2 " + sha256}, tlsaPlace{}, finding.Fail, "32 octets"},                                                           // RFC 6698, section 2.1.3
		{"_443._tcp.www", []string{"TLSA 3 0 0 " + sha256}, tlsaPlace{}, finding.Fail, "no certificate"},                                                      // RFC 6698, section 2.1.4
		{"_443._tcp.www", []string{"TLSA 3 1 0 " + sha256}, tlsaPlace{}, finding.Fail, "no public key"},                                                       // RFC 6698, section 2.1.4
		{"_443._tcp.www", []string{"TLSA 3 1 1 " + sha256, "TLSA 3 1 1 ab"}, tlsaPlace{}, finding.Fail, "1 octets"},                                           // one of two
		{"_25._tcp.mail", []string{"TLSA 1 1 1 " + sha256}, tlsaPlace{}, finding.Warn, "RFC 7672, section 3.1.3"},                                             // RFC 7672, section 3.1.3
		{"_25._tcp.mail", []string{"TLSA 0 0 1 " + sha256}, tlsaPlace{}, finding.Warn, "RFC 7672, section 3.1.3"},                                             // RFC 7672, section 3.1.3
		{"_443._tcp.www", []string{"TLSA 3 1 1 " + sha256}, tlsaPlace{base: &lookup{is: noName}, secure: true, known: true}, finding.Fail, "does not exist"},  // RFC 6698, section 3
		{"_443._tcp.www", []string{"TLSA 3 1 1 " + sha256}, tlsaPlace{base: &lookup{is: noData}, secure: true, known: true}, finding.Fail, "has no A record"}, // RFC 6698, section 3
		{"_443._tcp.www", []string{"TLSA 3 1 1 " + sha256}, tlsaPlace{base: there, known: true}, finding.Warn, "not signed"},                                  // RFC 6698, section 4.1
		{"www", []string{"TLSA 3 1 1 " + sha256}, tlsaPlace{}, finding.Warn, "does not begin with a port"},                                                    // RFC 6698, section 3
		{"_443._tcp.www", []string{"TLSA 3 1 1 " + sha256}, tlsaPlace{base: &lookup{is: broken}, secure: true, known: true}, finding.Pass, "1 TLSA"},          // what is not known is no fault
	} {
		x.place.owner = rawOwner(t, x.owner)
		got := judgeTLSA(x.place, rdata(t, x.owner, x.lines...))
		if worstOf(got) != x.state || !says(got, x.state, x.has) {
			t.Errorf("%d: %s %v: want %v %s\n%s", i, x.owner, x.lines, x.state, x.has, toldOf(got))
		}
	}
	if got := judgeTLSA(tlsaPlace{owner: rawOwner(t, "_443._tcp.www")}, [][]byte{{3, 1}}); worstOf(got) != finding.Fail {
		t.Errorf("cut off: %s", toldOf(got))
	}
}

func rawOwner(t *testing.T, owner string) []byte {
	t.Helper()
	return mustName(strings.TrimSuffix(strings.ReplaceAll(owner, "@", ""), ".") + map[bool]string{true: "victim.com", false: ".victim.com"}[owner == "@"])
}

// param is one service parameter in wire form.
func param(key int, value string) string {
	return fmt.Sprintf("%04x%04x", key, len(value)) + hex.EncodeToString([]byte(value))
}

// TestHTTPSRecords has HTTPS and SVCB records with the verdict of RFC 9460 and RFC 9461.
func TestHTTPSRecords(t *testing.T) {
	addrs := map[string][]netip.Addr{"victim.com.": {netip.MustParseAddr("5.0.0.80"), netip.MustParseAddr("2a00::80")}, "www.victim.com.": {netip.MustParseAddr("5.0.0.81")}}
	addresses := func(name []byte) ([]netip.Addr, bool) {
		a, ok := addrs[wire.NameText(name)]
		return a, ok
	}
	ech := "AEX+DQBBAQAgACBYf7Y5bVWv0N0v4Yd8kVn3GJ6GQh9Mr9pV2yJ5e3pYcQAEAAEAAQASY2xvdWRmbGFyZS1lY2guY29tAAA="
	raw := func(priority int, params ...string) string { // with the target "."
		data := fmt.Sprintf("%04x00", priority) + strings.Join(params, "")
		return data
	}
	for i, x := range []struct {
		owner string
		lines []string
		wire  []string // hexadecimal
		state finding.State
		has   string
	}{
		{"@", []string{"HTTPS 1 . alpn=h2,h3"}, nil, finding.Pass, "1 records"},
		{"@", []string{"HTTPS 0 www"}, nil, finding.Pass, "1 records"},                                                       // section 2.4.2
		{"@", []string{"HTTPS 1 . alpn=h2 ipv4hint=5.0.0.80 ipv6hint=2a00::80"}, nil, finding.Pass, "1 records"},             // section 7.3
		{"@", []string{"HTTPS 1 . alpn=h2 port=8443 mandatory=port", "HTTPS 2 www alpn=h2"}, nil, finding.Pass, "2 records"}, // section 8
		{"@", []string{"HTTPS 1 . alpn=h3 no-default-alpn"}, nil, finding.Pass, "1 records"},                                 // section 7.1.1
		{"_8443._https", []string{"HTTPS 1 www alpn=h2"}, nil, finding.Pass, "1 records"},                                    // section 9.1
		{"@", []string{"HTTPS 1 . key65500=x"}, nil, finding.Pass, "1 records"},                                              // section 14.3.1
		{"@", []string{"HTTPS 1 . alpn=h2 ech=" + ech}, nil, finding.Pass, "1 records"},                                      // RFC 9848
		{"_dns", []string{"SVCB 1 www alpn=h2 dohpath=/dns-query{?dns}"}, nil, finding.Pass, "1 records"},                    // RFC 9461, section 5
		{"@", []string{"HTTPS 0 ."}, nil, finding.Warn, "no such service"},                                                   // section 2.5.1
		{"@", []string{"HTTPS 0 @"}, nil, finding.Fail, "leads to itself"},                                                   // section 2.4.2
		{"@", []string{"HTTPS 0 www alpn=h2"}, nil, finding.Warn, "parameters in AliasMode"},                                 // section 2.4.2
		{"@", []string{"HTTPS 0 www", "HTTPS 1 . alpn=h2"}, nil, finding.Fail, "AliasMode beside ServiceMode"},               // section 2.4.1
		{"@", []string{"HTTPS 0 www", "HTTPS 0 ftp"}, nil, finding.Warn, "chosen by chance"},                                 // section 2.4.2
		{"@", []string{"HTTPS 1 . no-default-alpn"}, nil, finding.Fail, "section 7.1.1"},                                     // section 7.1.1
		{"@", []string{"HTTPS 1 . alpn=h2 ipv4hint=5.0.0.99"}, nil, finding.Warn, "5.0.0.99, and victim.com. has not"},       // section 7.3
		{"@", []string{"HTTPS 1 . alpn=h2 ipv4hint=127.0.0.1"}, nil, finding.Warn, "loopback"},                               // section 7.3
		{"@", []string{"HTTPS 1 . alpn=h2 port=0"}, nil, finding.Fail, "port 0"},                                             // section 7.2
		{"@", []string{"HTTPS 1 . alpn=h2 ech=AAAA"}, nil, finding.Fail, "ECHConfigList"},                                    // RFC 9848
		{"_443._https", []string{"HTTPS 1 www alpn=h2"}, nil, finding.Warn, "section 9.1"},                                   // section 9.1
		{"_dns", []string{"SVCB 1 www alpn=h2 dohpath=/dns-query"}, nil, finding.Fail, "{?dns}"},                             // RFC 9461, section 5
		{"_dns", []string{"SVCB 1 www alpn=dot dohpath=/dns-query{?dns}"}, nil, finding.Fail, "without h2 or h3"},            // RFC 9461, section 5
		{"@", []string{"HTTPS 1 www.corp.internal. alpn=h2"}, nil, finding.Fail, "private networks"},                         // RFC 6761
		{"@", nil, []string{raw(1, param(3, "\x01\xbb"), param(1, "\x02h2"))}, finding.Fail, "rising order"},                 // section 2.2
		{"@", nil, []string{raw(1, param(1, "\x02h2"), param(1, "\x02h3"))}, finding.Fail, "rising order"},                   // section 2.2
		{"@", nil, []string{raw(1, param(0, "\x00\x03"), param(1, "\x02h2"))}, finding.Fail, "mandatory names port"},         // section 8
		{"@", nil, []string{raw(1, param(0, "\x00\x00"), param(1, "\x02h2"))}, finding.Fail, "mandatory names itself"},       // section 8
		{"@", nil, []string{raw(1, param(4, "\x05\x00\x00"))}, finding.Fail, "malformed"},                                    // section 7.3
		{"@", nil, []string{raw(1) + "0001"}, finding.Fail, "cut off"},                                                       // section 2.2
	} {
		typ := wire.TypeHTTPS
		if len(x.lines) > 0 && strings.HasPrefix(x.lines[0], "SVCB") {
			typ = wire.TypeSVCB
		}
		data := rdata(t, x.owner, x.lines...)
		for _, h := range x.wire {
			d, err := hex.DecodeString(h)
			if err != nil {
				t.Fatal(err)
			}
			data = append(data, d)
		}
		got := judgeSVCB(rawOwner(t, x.owner), mustName("victim.com"), typ, data, addresses)
		if worstOf(got) != x.state || !says(got, x.state, x.has) {
			t.Errorf("%d: %s %v %v: want %v %s\n%s", i, x.owner, x.lines, x.wire, x.state, x.has, toldOf(got))
		}
	}
}

// TestSpecial has addresses and names of IANA's registries, and some that are in none.
func TestSpecial(t *testing.T) {
	for text, want := range map[string]blockKind{
		"0.0.0.0": blockSelf, "127.255.0.1": blockSelf, "::1": blockSelf, "::": blockSelf,
		"10.1.2.3": blockPrivate, "172.31.0.1": blockPrivate, "172.32.0.1": blockNone, "192.168.0.1": blockPrivate, "100.64.0.1": blockPrivate, "100.128.0.1": blockNone, "fd00::1": blockPrivate,
		"169.254.0.1": blockLink, "fe80::1": blockLink,
		"192.0.2.1": blockText, "198.51.100.1": blockText, "203.0.113.1": blockText, "198.19.0.1": blockText, "2001:db8::1": blockText, "3fff::1": blockText,
		"224.0.0.1": blockGroup, "255.255.255.255": blockGroup, "ff02::1": blockGroup,
		"240.0.0.1": blockNobody, "192.0.0.1": blockNobody, "192.0.0.9": blockNone, "192.88.99.1": blockNobody, "100::1": blockNobody, "2002::1": blockNobody, "2001::1": blockNobody, "2001:20::1": blockNone,
		"::ffff:127.0.0.1": blockSelf, "::ffff:8.8.8.8": blockNobody, "64:ff9b::8.8.8.8": blockNone, "64:ff9b:1::1": blockPrivate,
		"8.8.8.8": blockNone, "2a00::1": blockNone, "192.0.1.1": blockNone,
	} {
		if got, what := specialAddress(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: %d %s, want %d", text, got, what, want)
		}
	}
	for text, want := range map[string][2]string{
		"www.example-x.com": {"example-x.com.", "com."}, "a.b.example-x.co.uk": {"example-x.co.uk.", "co.uk."}, "co.uk": {"", "co.uk."}, "com": {"", "com."},
		"x.github.io": {"github.io.", "io."}, "a.s3.amazonaws.com": {"amazonaws.com.", "com."}, "host.nosuchtld": {"host.nosuchtld.", "nosuchtld."},
		"x.y.kobe.jp": {"x.y.kobe.jp.", "y.kobe.jp."},
	} {
		d, s := registrable(mustName(text))
		got := [2]string{"", wire.NameText(s)}
		if d != nil {
			got[0] = wire.NameText(d)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
