package server

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
)

// header makes a PROXY header of a command and a family whose length says what it has.
func header(command, family byte, block ...[]byte) []byte {
	body := bytes.Join(block, nil)
	b := append([]byte(proxySignature), command, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	return append(b, body...)
}

// addresses makes the block of two addresses and the ports 40000 and 53.
func addresses(from, to string) []byte {
	b := netip.MustParseAddr(from).AsSlice()
	b = append(b, netip.MustParseAddr(to).AsSlice()...)
	return append(b, 40000>>8, 40000&0xff, 0, 53)
}

// claimed gives a header another length than it has.
func claimed(b []byte, n int) []byte {
	binary.BigEndian.PutUint16(b[14:], uint16(n))
	return b
}

// aHeader is a header, and whom it names: an address, "proxy" for the proxy itself, or "" if it is not to be believed.
type aHeader struct {
	name string
	head []byte
	want string
}

// headers are good and bad ones.
//
// In one piece: it is a table.
func headers() []aHeader {
	v4, v6 := addresses("192.0.2.7", "198.51.100.53"), addresses("2001:db8::7", "2001:db8::53")
	tlv := func(n int) []byte { return append([]byte{0xEA, byte(n >> 8), byte(n)}, make([]byte, n)...) }
	spoiled := func(i int) []byte {
		b := header(0x21, 0x12, v4)
		b[i] ^= 1
		return b
	}
	const ip4, ip6 = "192.0.2.7:40000", "[2001:db8::7]:40000"
	return []aHeader{
		{"IPv4, datagram", header(0x21, 0x12, v4), ip4},
		{"IPv4, stream", header(0x21, 0x11, v4), ip4},
		{"IPv6, datagram", header(0x21, 0x22, v6), ip6},
		{"IPv6, stream", header(0x21, 0x21, v6), ip6},
		{"IPv4-mapped", header(0x21, 0x22, addresses("::ffff:192.0.2.7", "::ffff:198.51.100.53")), ip4},
		{"an empty TLV", header(0x21, 0x12, v4, tlv(0)), ip4},
		{"a TLV", header(0x21, 0x12, v4, tlv(100)), ip4},
		{"several TLVs", header(0x21, 0x22, v6, tlv(10), tlv(300), tlv(0)), ip6},
		{"padding (NOOP)", header(0x21, 0x12, v4, []byte{4, 0, 5, 0, 0, 0, 0, 0}), ip4},
		{"TLVs that end in the middle of one", header(0x21, 0x12, v4, []byte{1, 0, 9}), ip4},
		{"as many TLVs as are read", header(0x21, 0x12, v4, make([]byte, proxyMost-proxyFixed-len(v4))), ip4},
		{"port 0", header(0x21, 0x12, v4[:8], []byte{0, 0, 0, 53}), "192.0.2.7:0"},
		{"client and server are one", header(0x21, 0x12, addresses("192.0.2.7", "192.0.2.7")), ip4},
		{"loopback", header(0x21, 0x12, addresses("127.0.0.1", "127.0.0.1")), "127.0.0.1:40000"},
		{"link-local", header(0x21, 0x22, addresses("fe80::1", "fe80::2")), "[fe80::1]:40000"},
		{"no server named", header(0x21, 0x12, addresses("192.0.2.7", "0.0.0.0")), ip4},
		{"LOCAL", header(0x20, 0x00), "proxy"},
		{"LOCAL with addresses", header(0x20, 0x11, v4), "proxy"},
		{"LOCAL of IPv6", header(0x20, 0x22, v6), "proxy"},
		{"LOCAL with a family that is none", header(0x20, 0xff, []byte("whatever")), "proxy"},
		{"LOCAL with TLVs", header(0x20, 0x00, tlv(20)), "proxy"},

		{"nothing", nil, ""},
		{"one octet", []byte(proxySignature[:1]), ""},
		{"signature alone", []byte(proxySignature), ""},
		{"cut before the length", header(0x21, 0x12, v4)[:15], ""},
		{"cut before the addresses", header(0x21, 0x12, v4)[:16], ""},
		{"cut in the addresses", header(0x21, 0x12, v4)[:20], ""},
		{"cut before the last octet", header(0x21, 0x12, v4)[:27], ""},
		{"cut in the TLVs", header(0x21, 0x12, v4, tlv(100))[:60], ""},
		{"a length of nothing", claimed(header(0x21, 0x12, v4), 0), ""},
		{"a length that is one too small", claimed(header(0x21, 0x12, v4), 11), ""},
		{"a length of IPv4 for IPv6", claimed(header(0x21, 0x22, v6), 12), ""},
		{"a length that is one too small for IPv6", claimed(header(0x21, 0x22, v6), 35), ""},
		{"a length beyond the end", claimed(header(0x21, 0x12, v4), 13), ""},
		{"64 KiB of TLVs", header(0x21, 0x12, v4, make([]byte, 65535-len(v4))), ""},
		{"64 KiB that are not there", claimed(header(0x21, 0x12, v4), 65535), ""},
		{"one octet of TLVs more than are read", header(0x21, 0x12, v4, make([]byte, proxyMost-proxyFixed-len(v4)+1)), ""},
		{"LOCAL with 64 KiB", header(0x20, 0x00, make([]byte, 65535)), ""},
		{"LOCAL that is cut", claimed(header(0x20, 0x00), 4), ""},
		{"UNSPEC", header(0x21, 0x00), ""},
		{"UNSPEC with addresses", header(0x21, 0x00, v4), ""},
		{"UNSPEC over a stream", header(0x21, 0x01, v4), ""},
		{"IPv4 over nothing", header(0x21, 0x10, v4), ""},
		{"IPv4 over a third", header(0x21, 0x13, v4), ""},
		{"IPv6 over nothing", header(0x21, 0x20, v6), ""},
		{"a Unix socket", header(0x21, 0x31, make([]byte, 216)), ""},
		{"Unix datagrams", header(0x21, 0x32, make([]byte, 216)), ""},
		{"a family that is none", header(0x21, 0x42, v6), ""},
		{"a command that is none", header(0x22, 0x12, v4), ""},
		{"version 0", header(0x01, 0x12, v4), ""},
		{"version 1 in binary", header(0x11, 0x12, v4), ""},
		{"version 3", header(0x31, 0x12, v4), ""},
		{"version 1", []byte("PROXY TCP4 192.0.2.7 198.51.100.53 40000 53\r\n"), ""},
		{"version 1, unknown", []byte("PROXY UNKNOWN\r\n"), ""},
		{"signature with another first octet", spoiled(0), ""},
		{"signature with another last octet", spoiled(11), ""},
		{"text", []byte("GET / HTTP/1.1\r\n\r\n"), ""},
		{"from nobody", header(0x21, 0x12, addresses("0.0.0.0", "198.51.100.53")), ""},
		{"from nobody of IPv6", header(0x21, 0x22, addresses("::", "2001:db8::53")), ""},
		{"from a group", header(0x21, 0x12, addresses("224.0.0.1", "198.51.100.53")), ""},
		{"from a group of IPv6", header(0x21, 0x22, addresses("ff02::1", "2001:db8::53")), ""},
		{"from a group, IPv4-mapped", header(0x21, 0x22, addresses("::ffff:224.0.0.1", "2001:db8::53")), ""},
		{"from all", header(0x21, 0x12, addresses("255.255.255.255", "198.51.100.53")), ""},
	}
}

// names says whom a header names, as aHeader does.
func names(client netip.AddrPort, err error) string {
	switch {
	case err != nil:
		return ""
	case !client.IsValid():
		return "proxy"
	}
	return client.String()
}

func TestProxyHeaders(t *testing.T) {
	p := &proxies{from: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd00::/64")}}
	sender, query := netip.MustParseAddr("10.0.0.5"), bytes.Repeat([]byte("q"), 30)
	table := headers()
	if len(table) < 40 {
		t.Errorf("%d headers, want at least 40", len(table))
	}
	for _, tt := range table {
		_, client, err := proxyHeader(tt.head, true)
		if got := names(client, err); got != tt.want {
			t.Errorf("%s: header of %q, want %q", tt.name, got, tt.want)
		}
		if strings.Contains(tt.name, "cut") || strings.Contains(tt.name, "beyond") {
			continue // with more behind it, it is a header of other octets
		}
		rest, client, err := p.strip(append(bytes.Clone(tt.head), query...), sender)
		if got := names(client, err); got != tt.want || err == nil && !bytes.Equal(rest, query) {
			t.Errorf("%s: query %q of %q, want %q of %q", tt.name, rest, got, query, tt.want)
		}
		if tt.want == "" {
			continue
		}
		if _, _, err := p.strip(append(bytes.Clone(tt.head), tt.head...), sender); err == nil {
			t.Errorf("%s: believed when it came twice", tt.name)
		}
		for _, stranger := range []string{"10.0.1.5", "192.0.2.7", "fd00:0:0:1::5", "127.0.0.1"} {
			if _, _, err := p.strip(append(bytes.Clone(tt.head), query...), netip.MustParseAddr(stranger)); err == nil {
				t.Errorf("%s: believed from %s", tt.name, stranger)
			}
		}
		for n := range tt.head {
			if _, _, err := proxyHeader(tt.head[:n], true); err == nil {
				t.Errorf("%s: its first %d octets are believed", tt.name, n)
			}
		}
	}
	if _, _, err := p.strip(query, sender); err == nil {
		t.Error("a query without a header is believed")
	}
}

// FuzzProxyHeader wants that no octets are read beyond what a header says, that its length says where the
// query begins, and that a client is an address that can ask.
func FuzzProxyHeader(f *testing.F) {
	for _, tt := range headers() {
		f.Add(tt.head)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		size, client, err := proxyHeader(b, true)
		if err != nil {
			return
		}
		if size < proxyFixed || size > len(b) || size > proxyMost {
			t.Fatalf("a header of %d octets in %d", size, len(b))
		}
		if again, same, err := proxyHeader(b[:size:size], true); err != nil || again != size || same != client {
			t.Errorf("without what follows: %d, %v, %v; want %d, %v", again, same, err, size, client)
		}
		if fixed, _, err := proxyHeader(b[:proxyFixed:proxyFixed], false); err != nil || fixed != size {
			t.Errorf("the fixed part says %d, %v, want %d", fixed, err, size)
		}
		if a := client.Addr(); client.IsValid() && (a.Is4In6() || a.IsMulticast() || a.IsUnspecified()) {
			t.Errorf("client %v", client)
		}
	})
}
