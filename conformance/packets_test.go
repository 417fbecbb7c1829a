package conformance_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"port53/conformance/peers"
	"port53/conformance/probe"
	"port53/conformance/zonegen"
)

// packetZone is a small zone with something for every odd packet.
func packetZone(t *testing.T) []*zonegen.Zone {
	t.Helper()
	z := zonegen.New("packets.test.", zonegen.Plain)
	z.Add("www", "A", "192.0.2.1")
	z.Add("*.wild", "TXT", `"wild"`)
	for i := range 20 {
		z.Add("big", "TXT", fmt.Sprintf(`"%d %s"`, i, strings.Repeat("x", 200)))
	}
	for i := range 4 {
		z.Add("middle", "TXT", fmt.Sprintf(`"%d %s"`, i, strings.Repeat("x", 200)))
	}
	z.Add("cut", "NS", "ns.cut.@")
	z.Add("ns.cut", "A", "192.0.2.2")
	if err := z.Write(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	return []*zonegen.Zone{z}
}

// header returns 12 octets: an ID, flags and the four counts.
func header(flags uint16, counts ...uint16) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0x53, 0x53}, flags)
	for i := range 4 {
		n := uint16(0)
		if i < len(counts) {
			n = counts[i]
		}
		b = binary.BigEndian.AppendUint16(b, n)
	}
	return b
}

var (
	wwwName  = string(probe.MustName("www.packets.test."))
	apexName = string(probe.MustName("packets.test."))
)

// question is the octets of one question.
func question(name string, typ, class uint16) string {
	b := binary.BigEndian.AppendUint16([]byte(name), typ)
	return string(binary.BigEndian.AppendUint16(b, class))
}

// opt is an OPT record with the given owner, size, version and options.
func opt(owner string, size uint16, version byte, options string) string {
	b := append([]byte(owner), 0, 41)
	b = binary.BigEndian.AppendUint16(b, size)
	b = append(b, 0, version, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(options)))
	return string(b) + options
}

func option(code uint16, data string) string {
	b := binary.BigEndian.AppendUint16(nil, code)
	return string(binary.BigEndian.AppendUint16(b, uint16(len(data)))) + data
}

// tsig is a TSIG record of HMAC-SHA256 with a MAC of so many octets.
func tsig(class uint16, mac int) string {
	data := append(probe.MustName("hmac-sha256."), 0, 0, 0x65, 0, 0, 0, 1, 0x2c)
	data = binary.BigEndian.AppendUint16(data, uint16(mac))
	data = append(data, make([]byte, mac)...)
	data = append(data, 0x53, 0x53, 0, 0, 0, 0)
	b := append(probe.MustName("key."), 0, 250)
	b = binary.BigEndian.AppendUint16(b, class)
	b = append(b, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
	return string(b) + string(data)
}

// record is an A record.
func record(owner string) string {
	return owner + "\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01"
}

type packet struct {
	name string
	data []byte
	// want is what port53 sends: a response code, with aa where that is set, or
	// silent; several that will do stand with | between them.
	want string
}

// packets are the odd packets of docs/DIALECT.md and of RFC 8906.
func packets() []packet {
	www := question(wwwName, 1, 1)
	join := func(h []byte, parts ...string) []byte { return append(h, strings.Join(parts, "")...) }
	plain := func(flags uint16) []byte { return join(header(flags, 1), www) }
	withOPT := func(options string) []byte { return join(header(0, 1, 0, 0, 1), www, opt("\x00", 1232, 0, options)) }
	ask := func(typ, class uint16) []byte { return join(header(0, 1), question(wwwName, typ, class)) }
	apex := func(flags, typ uint16) []byte { return join(header(flags, 1), question(apexName, typ, 1)) }
	long := strings.Repeat("\x3f"+strings.Repeat("x", 63), 4) + "\x00" // 257 octets
	list := []packet{
		{"ordinary", plain(0), "NOERROR aa"},
		{"ordinary with OPT", withOPT(""), "NOERROR aa"},
		{"outside the zones", join(header(0, 1), question("\x05other\x00", 1, 1)), "REFUSED"},
		{"25: no question", header(0), "FORMERR"},
		{"25: no question, octets follow", join(header(0, 0), www), "FORMERR"},
		{"25: two questions", join(header(0, 2), www, www), "FORMERR"},
		{"25: two questions promised", join(header(0, 2), www), "FORMERR"},
		{"25: 65535 questions promised", join(header(0, 65535), www), "FORMERR"},
		{"26: pointer to itself", join(header(0, 1), "\xc0\x0c\x00\x01\x00\x01"), "FORMERR"},
		{"26: pointer to the header", join(header(0, 1), "\x03www\xc0\x00\x00\x01\x00\x01"), "FORMERR"},
		{"26: pointer forwards", join(header(0, 1), "\xc0\x20\x00\x01\x00\x01", apexName), "FORMERR"},
		{"26: pointer loop behind a label", join(header(0, 1), "\x01a\xc0\x0c\x00\x01\x00\x01"), "FORMERR"},
		{"26: label type 01", join(header(0, 1), "\x41a\x00\x00\x01\x00\x01"), "FORMERR"},
		{"26: label type 10", join(header(0, 1), "\x81a\x00\x00\x01\x00\x01"), "FORMERR"},
		{"26: name of 257 octets", join(header(0, 1), long, "\x00\x01\x00\x01"), "FORMERR"},
		{"27: octets behind", join(plain(0), "junk"), "NOERROR aa"},
		{"28: a record in answer", join(header(0, 1, 1), www, record(wwwName)), "NOERROR aa"},
		{"28: a record in authority", join(header(0, 1, 0, 1), www, record(wwwName)), "NOERROR aa"},
		{"28: a record in additional", join(header(0, 1, 0, 0, 1), www, record("\xc0\x0c")), "NOERROR aa"},
		{"28: records promised that are not there", join(header(0, 1, 3, 0, 0), www), "FORMERR"},
		{"29: rcode bits", plain(0x000f), "NOERROR aa"},
		{"30: QR", plain(0x8000), "silent"},
		{"30: QR, malformed", join(header(0x8000, 1), "\xc0\x0c"), "silent"},
		{"31: OPT twice", join(header(0, 1, 0, 0, 2), www, opt("\x00", 1232, 0, ""), opt("\x00", 1232, 0, "")), "FORMERR"},
		{"31: OPT in answer", join(header(0, 1, 1), www, opt("\x00", 1232, 0, "")), "FORMERR"},
		{"31: OPT in authority", join(header(0, 1, 0, 1), www, opt("\x00", 1232, 0, "")), "FORMERR"},
		{"31: OPT with an owner", join(header(0, 1, 0, 0, 1), www, opt(apexName, 1232, 0, "")), "FORMERR"},
		{"31: TSIG twice", join(header(0, 1, 0, 0, 2), www, tsig(255, 32), tsig(255, 32)), "FORMERR"},
		{"33: OPT beyond the count", join(header(0, 1), www, opt("\x00", 1232, 0, "")), "NOERROR aa"},
		{"33: OPT promised, not there", join(header(0, 1, 0, 0, 1), www), "FORMERR"},
		{"33: OPT cut off", join(header(0, 1, 0, 0, 1), www, opt("\x00", 1232, 0, "")[:8]), "FORMERR"},
		{"33: option cut off", join(header(0, 1, 0, 0, 1), www, opt("\x00", 1232, 0, "\x00\x0a\x00\x08abcd")), "FORMERR"},
		{"34: size 0", join(header(0, 1, 0, 0, 1), www, opt("\x00", 0, 0, "")), "NOERROR aa"},
		{"34: size 1", join(header(0, 1, 0, 0, 1), www, opt("\x00", 1, 0, "")), "NOERROR aa"},
		{"35: cookie of 7 octets", withOPT(option(10, "1234567")), "FORMERR"},
		{"35: cookie of 8 octets", withOPT(option(10, "12345678")), "NOERROR aa"},
		{"35: cookie of 15 octets", withOPT(option(10, "123456789012345")), "FORMERR"},
		{"35: cookie of 41 octets", withOPT(option(10, strings.Repeat("c", 41))), "FORMERR"},
		{"35: cookie that is not ours", withOPT(option(10, strings.Repeat("c", 24))), "NOERROR aa|BADCOOKIE"},
		{"35: malformed client subnet", withOPT(option(8, "\x00\x09\xff\xff\x01")), "NOERROR aa"},
		{"35: LLQ", withOPT(option(1, strings.Repeat("q", 18))), "NOERROR aa"},
		{"35: unknown options", withOPT(option(100, "") + option(65535, "data")), "NOERROR aa"},
		{"35: 30 options", withOPT(strings.Repeat(option(100, "x"), 30)), "NOERROR aa"},
		{"36: cookie without a question", join(header(0, 0, 0, 0, 1), opt("\x00", 1232, 0, option(10, "12345678"))), "NOERROR"},
		{"37: NOTIFY", apex(4<<11|0x0400, 6), "REFUSED"},
		{"38: UPDATE", join(header(5<<11, 1, 0, 1), question(apexName, 6, 1), record(wwwName)), "REFUSED"},
		{"39: TSIG with a MAC of 4 octets", join(header(0, 1, 0, 0, 1), www, tsig(255, 4)), "FORMERR"},
		{"39: TSIG of class IN", join(header(0, 1, 0, 0, 1), www, tsig(1, 32)), "FORMERR"},
		{"40: TSIG with an unknown key", join(header(0, 1, 0, 0, 1), www, tsig(255, 32)), "NOTAUTH"},
		{"42: CD", plain(0x0010), "NOERROR aa"},
		{"44: EDNS version 1", join(header(0, 1, 0, 0, 1), www, opt("\x00", 1232, 1, "")), "BADVERS"},
		{"44: EDNS version 255", join(header(0, 1, 0, 0, 1), www, opt("\x00", 1232, 255, "")), "BADVERS"},
		{"flags: AA", plain(0x0400), "NOERROR aa"},
		{"flags: TC", plain(0x0200), "NOERROR aa"},
		{"flags: RA and Z", plain(0x00c0), "NOERROR aa"},
		{"flags: all but QR", plain(0x07ff), "NOERROR aa"},
		{"16: class CH", ask(1, 3), "REFUSED"},
		{"16: class HS", ask(1, 4), "REFUSED"},
		{"16: class 0", ask(1, 0), "REFUSED"},
		{"16: class NONE", ask(1, 254), "REFUSED"},
		{"16: class 65280", ask(1, 65280), "REFUSED"},
		{"17: class ANY", ask(1, 255), "REFUSED"},
		{"18: version.bind", join(header(0, 1), question("\x07version\x04bind\x00", 16, 3)), "REFUSED"},
		{"18: id.server", join(header(0, 1), question("\x02id\x06server\x00", 16, 3)), "REFUSED"},
		{"20: NXNAME", ask(128, 1), "FORMERR"},
		{"21: AXFR over UDP", apex(0, 252), "NOTIMP"},
		{"21: IXFR over UDP", join(header(0, 1, 0, 1), question(apexName, 251, 1), apexName+"\x00\x06\x00\x01\x00\x00\x00\x00\x00\x16\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), "REFUSED|NOTIMP"},
	}
	for _, op := range []uint16{1, 2, 3, 6, 7, 15} {
		list = append(list, packet{fmt.Sprintf("41: opcode %d", op), plain(op << 11), "NOTIMP"})
	}
	list = append(list, packet{"41: opcode 2, bare", header(2 << 11), "NOTIMP|FORMERR"}) // as scanners send it
	whole := plain(0)
	for n := range len(whole) {
		p := packet{fmt.Sprintf("26: cut off at %d", n), whole[:n], "FORMERR"}
		if n < 12 {
			p.want = "silent"
		}
		list = append(list, p)
	}
	return list
}

// outcome is a reply in a few words.
func inShort(raw []byte, err error) string {
	if errors.Is(err, probe.ErrSilent) {
		return "silent"
	}
	if err != nil {
		return err.Error()
	}
	m, err := probe.Parse(raw)
	if err != nil {
		return "unreadable"
	}
	text := probe.RcodeText(m.Rcode)
	if m.Rcode == probe.BadVers {
		text = "BADVERS" // a number with two names
	}
	if m.AA {
		text += " aa"
	}
	return text
}

// silence is how long nothing may come until that counts as silence.
const silence = 300 * time.Millisecond

// TestPackets sends odd packets over UDP. What port53 does is fixed; what the
// peers do is printed beside it.
func TestPackets(t *testing.T) {
	zones := packetZone(t)
	subject := startSubject(t, peers.Options{Zones: served(zones, subjectKind())})
	var others []*peers.Server
	for _, kind := range []string{peers.NSD, peers.Knot, peers.BIND} {
		if _, err := peers.Find(kind); err == nil && kind != subjectKind() {
			others = append(others, start(t, kind, peers.Options{Zones: served(zones, kind)}))
		}
	}
	var table bytes.Buffer
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	list, servers := packets(), append([]*peers.Server{subject}, others...)
	type result struct {
		raw  []byte
		text string
	}
	results := make([][]result, len(list))
	var wg sync.WaitGroup
	for i, p := range list {
		results[i] = make([]result, len(servers))
		for j, s := range servers {
			wg.Go(func() { // all at once, for silence takes its time
				c := &probe.Client{Server: s.Addr, Timeout: silence, Tries: 2}
				defer c.Close()
				raw, err := c.Exchange(p.data, false)
				results[i][j] = result{raw, inShort(raw, err)}
			})
		}
	}
	wg.Wait()
	fmt.Fprint(w, "packet\twanted")
	for _, s := range servers {
		fmt.Fprintf(w, "\t%s", s.Kind)
	}
	fmt.Fprintln(w)
	for i, p := range list {
		got := results[i][0]
		if !slices.Contains(strings.Split(p.want, "|"), got.text) {
			t.Errorf("%s: got %s, want %s: %x", p.name, got.text, p.want, p.data)
		}
		if subject.Kind == peers.Port53 && len(got.raw) > 0 {
			checkReply(t, p, got.raw)
		}
		fmt.Fprintf(w, "%s\t%s", p.name, p.want)
		for _, r := range results[i] {
			fmt.Fprintf(w, "\t%s", r.text)
		}
		fmt.Fprintln(w)
	}
	w.Flush()
	t.Logf("\n%s", &table)
	c := &probe.Client{Server: subject.Addr}
	defer c.Close()
	raw, err := c.Exchange(packets()[0].data, false)
	if got := inShort(raw, err); got != "NOERROR aa" {
		t.Errorf("after all: got %s to an ordinary question", got)
	}
}

// checkReply checks what holds for any reply: its opcode, that the question is
// kept where it can be read (DIALECT 43), and that it is no amplifier.
func checkReply(t *testing.T, p packet, raw []byte) {
	t.Helper()
	m, err := probe.Parse(raw)
	if err != nil {
		t.Errorf("%s: unreadable reply: %v: %x", p.name, err, raw)
		return
	}
	if !m.QR || m.Opcode != int(p.data[2]>>3)&15 || m.RD != (p.data[2]&1 != 0) || m.CD || m.RA || m.Z || m.AD {
		t.Errorf("%s: got flags %s and opcode %d", p.name, m.Flags(), m.Opcode)
	}
	if m.Rcode != probe.NoError && len(raw) > len(p.data)+40 {
		t.Errorf("%s: an error of %d octets for a packet of %d", p.name, len(raw), len(p.data))
	}
	if binary.BigEndian.Uint16(p.data[4:]) == 1 && m.Rcode != probe.FormErr && m.QDCount != 1 {
		t.Errorf("%s: the question is missing in the reply", p.name)
	}
}

// TestReflectors asks from ports whose owners would answer an answer.
func TestReflectors(t *testing.T) {
	zones := packetZone(t)
	subject := startSubject(t, peers.Options{Zones: served(zones, subjectKind())})
	query := packets()[0].data
	for _, port := range []uint16{7, 13, 19, 37} {
		conn, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)), net.UDPAddrFromAddrPort(subject.Addr))
		if errors.Is(err, os.ErrPermission) {
			t.Skip("missing: the right to use low ports, which root has")
		}
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(query); err != nil {
			t.Fatal(err)
		}
		conn.SetReadDeadline(time.Now().Add(silence))
		if n, err := conn.Read(make([]byte, 512)); err == nil {
			t.Errorf("a reply of %d octets to port %d", n, port)
		}
		conn.Close()
	}
}
