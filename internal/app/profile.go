package app

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"port53/internal/config"
	"port53/internal/server"
	"port53/internal/wire"
)

// Codes of the options that tell of encrypted resolvers (RFC 9463).
const (
	optionV4DNR = 162
	optionV6DNR = 144
)

// ErrProfile is wrapped by the errors of Profile: what the configuration lacks for clients to be told of it.
var ErrProfile = errors.New("there is nothing to tell clients")

// ProfileFormats are what Profile writes.
func ProfileFormats() []string {
	return []string{"apple", "dnr", "kea", "dnsmasq", "dhcpd", "networkd"}
}

// Profile returns the text that tells clients of the encrypted transports of a server of c: a profile
// of Apple's systems, or the options of a DHCP server (DNR). addrs are where clients reach it; none:
// the addresses that it listens on, as far as they are written.
func Profile(c *config.Config, format string, addrs []netip.Addr) ([]byte, error) {
	switch {
	case len(c.Encrypted.Names()) == 0:
		return nil, fmt.Errorf("%w: encrypted.name is not set", ErrProfile)
	case !c.Encrypted.Listens():
		return nil, fmt.Errorf("%w: no encrypted transport is served", ErrProfile)
	case format == "apple":
		return appleProfile(c, addrs)
	}
	four, six := instances(c, addrs, true), instances(c, addrs, false)
	switch {
	case len(four)+len(six) == 0:
		return nil, fmt.Errorf("%w: no address is written that others reach", ErrProfile)
	case len(four) == 0 && format == "networkd":
		return nil, fmt.Errorf("%w: systemd-networkd serves DHCPv4, and there is no IPv4 address", ErrProfile)
	}
	var b bytes.Buffer
	if format == "dnr" {
		for _, i := range slices.Concat(four, six) {
			fmt.Fprintln(&b, i.text())
		}
	}
	if len(four) > 0 {
		var data []byte
		for _, i := range four {
			data = append(data, i.data()...)
		}
		if len(data) > maxOption {
			return nil, fmt.Errorf("%w: a DHCPv4 option has at most %d octets, and this needs %d", ErrProfile, maxOption, len(data))
		}
		writeOption(&b, format, optionV4DNR, data)
	}
	if len(six) > 0 {
		writeOption(&b, format, optionV6DNR, six[0].data()) // DHCP servers send an option once
	}
	return b.Bytes(), nil
}

// maxOption is the octets of the longest option of DHCPv4 that clients need not join of parts.
const maxOption = 255

// writeOption writes the option of a DHCP server. networkd has none of IPv6.
func writeOption(b *bytes.Buffer, format string, code int, data []byte) {
	spaced := func(between string) string {
		parts := make([]string, len(data))
		for i := range data {
			parts[i] = hex.EncodeToString(data[i : i+1])
		}
		return strings.Join(parts, between)
	}
	six := code == optionV6DNR
	switch format {
	case "dnr":
		fmt.Fprintf(b, "%s option %d: %s\n", map[bool]string{false: "DHCPv4", true: "DHCPv6"}[six], code, hex.EncodeToString(data))
	case "kea":
		fmt.Fprintf(b, "{ \"code\": %d, \"space\": \"%s\", \"csv-format\": false, \"data\": \"%s\" }\n",
			code, map[bool]string{false: "dhcp4", true: "dhcp6"}[six], strings.ToUpper(hex.EncodeToString(data)))
	case "dnsmasq":
		fmt.Fprintf(b, "dhcp-option=%s%d,%s\n", map[bool]string{true: "option6:"}[six], code, spaced(":"))
	case "dhcpd":
		name := map[bool]string{false: "v4-dnr", true: "dhcp6.v6-dnr"}[six]
		fmt.Fprintf(b, "option %s code %d = string;\noption %[1]s %[3]s;\n", name, code, spaced(":"))
	case "networkd":
		if !six {
			fmt.Fprintf(b, "[DHCPServer]\nSendOption=%d:string:\\x%s\n", code, spaced(`\x`))
		}
	}
}

// An instance is one encrypted transport as DHCP tells of it.
type instance struct {
	offer offer
	name  []byte
	port  uint16
	addrs []netip.Addr // of one family
}

// instances returns what clients of one family are told, the first to try first.
func instances(c *config.Config, addrs []netip.Addr, four bool) (list []instance) {
	e := &c.Encrypted
	for _, o := range offers(c) {
		listen := map[server.Transport][]netip.AddrPort{server.DoT: e.DoT, server.DoH: e.DoH.Listen, server.DoQ: e.DoQ}[o.over]
		listen = c.WithoutProxies(listen)
		if len(listen) == 0 {
			continue
		}
		i := instance{offer: o, name: wire.Lower(nil, e.Name), port: listen[0].Port()}
		for _, a := range reached(listen, addrs, i.port) {
			if a.Is4() == four {
				i.addrs = append(i.addrs, a)
			}
		}
		if len(i.addrs) > 0 {
			list = append(list, i)
		}
	}
	return list
}

// reached returns the addresses of listeners on one port: those that are given, else those written that
// others may reach.
func reached(listen []netip.AddrPort, given []netip.Addr, port uint16) (addrs []netip.Addr) {
	if len(given) > 0 {
		return given
	}
	for _, l := range listen {
		if a := l.Addr(); l.Port() == port && !a.IsUnspecified() && !a.IsLoopback() && a.Zone() == "" {
			addrs = append(addrs, l.Addr())
		}
	}
	return addrs
}

// data returns the content of the option (RFC 9463, sections 4.1 and 5.1): of DHCPv4 it has its length
// before it, since there may be several.
func (i *instance) data() []byte {
	size := 2 // octets of the lengths
	if i.addrs[0].Is4() {
		size = 1
	}
	length := func(b []byte, n int) []byte {
		if size == 2 {
			b = append(b, byte(n>>8))
		}
		return append(b, byte(n))
	}
	data := binary.BigEndian.AppendUint16(nil, i.offer.priority)
	data = append(length(data, len(i.name)), i.name...)
	data = length(data, len(i.addrs)*len(i.addrs[0].AsSlice()))
	for _, a := range i.addrs {
		data = append(data, a.AsSlice()...)
	}
	data = i.offer.params(data, i.port, netip.Addr{})
	if size == 1 {
		data = append(binary.BigEndian.AppendUint16(nil, uint16(len(data))), data...)
	}
	return data
}

// text returns the instance for people.
func (i *instance) text() string {
	var protocols []string
	for p := i.offer.alpn; p != ""; p = p[1+int(p[0]):] {
		protocols = append(protocols, p[1:1+int(p[0])])
	}
	var addrs []string
	for _, a := range i.addrs {
		addrs = append(addrs, a.String())
	}
	text := fmt.Sprintf("%d %s %s alpn=%s port=%d", i.offer.priority, wire.NameText(i.name), strings.Join(addrs, ","),
		strings.Join(protocols, ","), i.port)
	if i.offer.path != "" {
		text += " dohpath=" + i.offer.path
	}
	return text
}

// appleProfile returns a profile that has Apple's systems ask over HTTPS, or over TLS if that is what
// is served. Its identifiers come from the name, so that a new one takes the place of the one before.
func appleProfile(c *config.Config, given []netip.Addr) ([]byte, error) {
	e := &c.Encrypted
	name := strings.TrimSuffix(e.Names()[0], ".")
	settings := [][2]string{}
	https, tls := c.WithoutProxies(e.DoH.Listen), c.WithoutProxies(e.DoT)
	var addrs []netip.Addr
	switch {
	case len(https) > 0:
		port := https[0].Port()
		url := "https://" + name
		if port != 443 {
			url += ":" + strconv.Itoa(int(port))
		}
		settings = append(settings, [2]string{"DNSProtocol", "HTTPS"}, [2]string{"ServerURL", url + e.DoH.Path})
		addrs = reached(https, given, port)
	case slices.ContainsFunc(tls, func(a netip.AddrPort) bool { return a.Port() == 853 }):
		settings = append(settings, [2]string{"DNSProtocol", "TLS"}, [2]string{"ServerName", name})
		addrs = reached(tls, given, 853)
	default:
		return nil, fmt.Errorf("%w: Apple's systems speak DNS over HTTPS, and DNS over TLS on port 853", ErrProfile)
	}
	var b bytes.Buffer
	text := func(key, value string) {
		b.WriteString("<key>" + key + "</key><string>")
		_ = xml.EscapeText(&b, []byte(value))
		b.WriteString("</string>\n")
	}
	payload := func(kind, what string) {
		text("PayloadType", kind)
		text("PayloadIdentifier", "port53."+name+what)
		text("PayloadUUID", uuidOf(kind+" "+name))
		text("PayloadDisplayName", "Encrypted DNS of "+name)
		b.WriteString("<key>PayloadVersion</key><integer>1</integer>\n")
	}
	b.WriteString(xml.Header + "<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" " +
		"\"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n<plist version=\"1.0\">\n<dict>\n")
	payload("Configuration", "")
	b.WriteString("<key>PayloadContent</key>\n<array>\n<dict>\n")
	payload("com.apple.dnsSettings.managed", ".dns")
	b.WriteString("<key>DNSSettings</key>\n<dict>\n")
	for _, s := range settings {
		text(s[0], s[1])
	}
	if len(addrs) > 0 {
		b.WriteString("<key>ServerAddresses</key>\n<array>\n")
		for _, a := range addrs {
			b.WriteString("<string>" + a.String() + "</string>\n")
		}
		b.WriteString("</array>\n")
	}
	b.WriteString("</dict>\n</dict>\n</array>\n</dict>\n</plist>\n")
	return b.Bytes(), nil
}

// namespaceDNS is that of names in the DNS (RFC 9562, section 6.6).
const namespaceDNS = "\x6b\xa7\xb8\x10\x9d\xad\x11\xd1\x80\xb4\x00\xc0\x4f\xd4\x30\xc8"

// uuidOf returns the UUID that always comes of text (RFC 9562, section 5.5).
func uuidOf(text string) string {
	sum := sha1.Sum([]byte(namespaceDNS + text))
	u := sum[:16]
	u[6], u[8] = u[6]&0x0F|0x50, u[8]&0x3F|0x80
	return strings.ToUpper(fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:]))
}
