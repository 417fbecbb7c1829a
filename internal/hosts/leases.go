package hosts

import (
	"bytes"
	"encoding/csv"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"port53/internal/wire"
)

// A lease is one line or block of a file. The last one of an address counts.
type lease struct {
	addr netip.Addr
	name string
	ends time.Time // zero: never
	gone bool      // released, declined or expired
}

// leaseFile reads the leases that hold now.
func (r *Result) leaseFile(b *builder, s *Sources, source int, f LeaseFile, text []byte, now time.Time) {
	var all []lease
	switch f.Format.of(text) {
	case Kea:
		all = keaLeases(text)
	case ISC:
		all = iscLeases(text)
	default:
		all = dnsmasqLeases(text)
	}
	last := make(map[netip.Addr]int, len(all))
	for i := range all {
		last[all[i].addr] = i
	}
	for i, l := range all {
		if last[l.addr] != i || l.gone || l.name == "" || !l.addr.IsValid() || l.addr.IsLoopback() {
			continue
		}
		if !l.ends.IsZero() {
			if !now.Before(l.ends) {
				continue
			}
			if r.Expires.IsZero() || l.ends.Before(r.Expires) {
				r.Expires = l.ends
			}
		}
		name, ok := clientName(l.name, s.Domain)
		if !ok {
			r.note("%s: %q of %v is not taken for a name", f.Path, l.name, l.addr)
			continue
		}
		full := append(name[:len(name)-1:len(name)-1], s.Domain...)
		if len(s.Domain) < 2 {
			full = name
		}
		if s.Reserved != nil && (s.Reserved(full) || s.Reserved(name)) {
			r.note("%s: %q of %v is not a valid name for a lease", f.Path, l.name, l.addr)
			continue
		}
		if !b.addBoth(s, source, name, l.addr, true) {
			r.note("%s: more than %d names", f.Path, MaxNames)
			return
		}
	}
}

// clientName returns the bare name of a client: of what it calls itself, the first label, if the
// rest is the domain. Names by which programs look for services are none that a client may have
// (wpad: CERT VU#598349).
func clientName(text string, domain []byte) ([]byte, bool) {
	name, err := wire.ParseName(strings.TrimSuffix(text, "."))
	if err != nil || len(name) < 2 {
		return nil, false
	}
	name = wire.Lower(nil, name)
	if wire.LabelCount(name) > 1 {
		if len(domain) < 2 || !bytes.Equal(wire.Parent(name), wire.Lower(nil, domain)) {
			return nil, false
		}
		name = append(name[:1+int(name[0]):1+int(name[0])], 0)
	}
	for i, c := range name[1 : len(name)-1] {
		digit := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !digit && (c != '-' || i == 0) {
			return nil, false
		}
	}
	switch string(name[1 : len(name)-1]) {
	case "localhost", "wpad", "isatap", "local", "invalid", "arpa":
		return nil, false
	}
	return name, true
}

// of returns the format of a text, if it is not said.
func (f Format) of(text []byte) Format {
	if f != Auto {
		return f
	}
	switch head := text[:min(len(text), 4096)]; {
	case bytes.HasPrefix(head, []byte("address,")):
		return Kea
	case bytes.Contains(head, []byte("lease ")) && bytes.Contains(head, []byte("{")),
		bytes.HasPrefix(head, []byte("# The format of this file is documented in the dhcpd.leases")):
		return ISC
	}
	return Dnsmasq
}

// dnsmasqLeases reads dnsmasq's file: EXPIRY MAC ADDRESS NAME CLIENT-ID, or for IPv6 EXPIRY IAID
// ADDRESS NAME DUID. An expiry of 0 is never, a name of * none.
func dnsmasqLeases(text []byte) (all []lease) {
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) < 4 {
			continue // such as duid …
		}
		seconds, err := strconv.ParseInt(words[0], 10, 64)
		addr, addrErr := netip.ParseAddr(words[2])
		if err != nil || addrErr != nil {
			continue
		}
		l := lease{addr: addr, name: strings.TrimPrefix(words[3], "*")}
		if seconds != 0 {
			l.ends = time.Unix(seconds, 0)
		}
		all = append(all, l)
	}
	return all
}

// keaLeases reads the memfile of Kea for IPv4 or IPv6: a line for each event, whose columns the
// first line names.
func keaLeases(text []byte) (all []lease) {
	in := csv.NewReader(bytes.NewReader(text))
	in.FieldsPerRecord, in.ReuseRecord, in.LazyQuotes = -1, true, true
	column := map[string]int{}
	for {
		row, err := in.Read()
		if row == nil {
			break
		}
		if err != nil {
			continue
		}
		if row[0] == "address" {
			clear(column)
			for i, name := range row {
				column[name] = i
			}
			continue
		}
		get := func(name string) string {
			if i, ok := column[name]; ok && i < len(row) {
				return row[i]
			}
			return ""
		}
		addr, err := netip.ParseAddr(row[0])
		if err != nil || get("lease_type") != "" && get("lease_type") != "0" { // IA_NA; the others are no addresses of machines
			continue
		}
		l := lease{addr: addr, name: get("hostname")}
		lifetime, _ := strconv.ParseUint(get("valid_lifetime"), 10, 32)
		expire, err := strconv.ParseInt(get("expire"), 10, 64)
		l.gone = lifetime == 0 || err != nil || get("state") != "" && get("state") != "0" // 1 declined, 2 expired, 3 released
		if lifetime != 0xFFFFFFFF {
			l.ends = time.Unix(expire, 0)
		}
		all = append(all, l)
	}
	return all
}

// iscLeases reads dhcpd.leases: lease ADDRESS { …; }, and for IPv6 iaaddr ADDRESS { …; } within
// ia-na. Names are what the client says, or what dhcpd has made of it.
func iscLeases(text []byte) (all []lease) {
	var l *lease
	depth := 0
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") {
			continue
		}
		words := strings.Fields(strings.TrimSuffix(line, ";"))
		switch {
		case len(words) >= 3 && (words[0] == "lease" || words[0] == "iaaddr") && strings.HasSuffix(line, "{"):
			depth++
			if addr, err := netip.ParseAddr(words[1]); err == nil {
				all = append(all, lease{addr: addr})
				l = &all[len(all)-1]
			}
		case strings.HasSuffix(line, "{"):
			depth++
		case line == "}":
			if depth--; depth <= 0 {
				depth, l = 0, nil
			}
		case l == nil || len(words) < 2:
		case words[0] == "ends" && words[1] == "never":
			l.ends = time.Time{}
		case words[0] == "ends" && words[1] == "epoch" && len(words) > 2:
			if n, err := strconv.ParseInt(words[2], 10, 64); err == nil {
				l.ends = time.Unix(n, 0)
			}
		case words[0] == "ends" && len(words) > 3:
			at, err := time.Parse("2006/01/02 15:04:05", words[2]+" "+words[3])
			l.ends, l.gone = at, l.gone || err != nil
		case words[0] == "binding" && len(words) > 2:
			l.gone = words[2] != "active"
		case words[0] == "client-hostname":
			l.name = strings.Trim(words[1], `"`)
		case words[0] == "set" && len(words) > 3 && words[1] == "ddns-fwd-name":
			l.name = strings.Trim(words[3], `"`)
		}
	}
	return all
}
