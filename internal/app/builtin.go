package app

import (
	"fmt"
	"strconv"
	"strings"

	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zonefile"
)

// builtinZones returns the names that a resolver answers itself and never asks others
// for: those that mean this host or network, and those that do not exist by decree
// (RFC 6303, section 4; RFC 6761; RFC 6762, section 22.1; RFC 7686; RFC 7793; RFC 8375;
// RFC 8880; RFC 9462; RFC 9476; RFC 9665). With a root of the operator's own, test is
// his as well: laboratories are where it is used.
func builtinZones(ownRoot bool) []string {
	names := []string{
		"localhost", "invalid", "onion", "local", "alt", "home.arpa", ownZone, "service.arpa", "ipv4only.arpa",
		"10.in-addr.arpa", "168.192.in-addr.arpa", "0.in-addr.arpa", "127.in-addr.arpa", "254.169.in-addr.arpa",
		"2.0.192.in-addr.arpa", "100.51.198.in-addr.arpa", "113.0.203.in-addr.arpa", "255.255.255.255.in-addr.arpa",
		"170.0.0.192.in-addr.arpa", "171.0.0.192.in-addr.arpa",
		strings.Repeat("0.", 32) + "ip6.arpa", "1." + strings.Repeat("0.", 31) + "ip6.arpa",
		"d.f.ip6.arpa", "8.e.f.ip6.arpa", "9.e.f.ip6.arpa", "a.e.f.ip6.arpa", "b.e.f.ip6.arpa", "8.b.d.0.1.0.0.2.ip6.arpa",
	}
	for i := 16; i < 32; i++ {
		names = append(names, strconv.Itoa(i)+".172.in-addr.arpa")
	}
	for i := 64; i < 128; i++ {
		names = append(names, strconv.Itoa(i)+".100.in-addr.arpa")
	}
	if !ownRoot {
		names = append(names, "test")
	}
	return names
}

// ownZone is where each resolver tells of itself. What another would say there is about that one, so
// that it is built in whatever the configuration says (RFC 9462, section 6.4).
const ownZone = "resolver.arpa"

// prefixZones are those by which clients find out what addresses are made with (RFC 7050).
func prefixZones() []string {
	return []string{"ipv4only.arpa", "170.0.0.192.in-addr.arpa", "171.0.0.192.in-addr.arpa"}
}

// builtinRecords are what some of these zones hold beside their apex.
func builtinRecords(name string) string {
	switch name {
	case "localhost":
		return "@ A 127.0.0.1\n@ AAAA ::1\n* A 127.0.0.1\n* AAAA ::1\n" // RFC 6761, section 6.3
	case ownZone:
		return "* TYPE65400 \\# 0\n" // every name is there and has nothing (RFC 9462, section 6.4)
	case "ipv4only.arpa":
		return "@ A 192.0.0.170\n@ A 192.0.0.171\n" // RFC 8880, section 7.1
	case "127.in-addr.arpa":
		return "1.0.0 PTR localhost.\n"
	case "1." + strings.Repeat("0.", 31) + "ip6.arpa":
		return "@ PTR localhost.\n"
	case "170.0.0.192.in-addr.arpa", "171.0.0.192.in-addr.arpa":
		return "@ PTR ipv4only.arpa.\n"
	}
	return ""
}

// builtinApex is what each of the zones begins with (RFC 6303, section 3).
const builtinApex = "$TTL 10800\n@ SOA localhost. nobody.invalid. 1 3600 1200 604800 10800\n@ NS localhost.\n"

// builtin compiles the zones that are built in.
func builtin(seed wire.Seed, names []string) (*zone.View, error) {
	var changes []zone.Change
	for _, name := range names {
		apex, err := wire.ParseName(name)
		if err != nil {
			return nil, fmt.Errorf("built-in zone %s: %w", name, err)
		}
		b := zone.NewBuilder(apex, seed)
		text := strings.NewReader(builtinApex + builtinRecords(name))
		_, err = zonefile.Read(text, zonefile.Options{Origin: apex, Name: name}, func(r *zonefile.Record) error {
			b.Add(&zone.Record{Owner: r.Owner, SameOwner: r.SameOwner, Type: r.Type, TTL: r.TTL, Data: r.Data})
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("built-in zone: %w", err)
		}
		z, problems := b.Build()
		if z == nil {
			return nil, fmt.Errorf("built-in zone %s: %v", name, problems)
		}
		changes = append(changes, zone.Change{Apex: apex, Zone: z})
	}
	return zone.NewView(seed).With(changes...), nil
}
