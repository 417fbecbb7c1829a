package resolver

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"os"

	"port53/internal/dnssec"
	"port53/internal/wire"
	"port53/internal/zonefile"
)

// A Hint is one server of the root (RFC 9609, section 2).
type Hint struct {
	Name  []byte
	Addrs []netip.Addr
}

// Hints returns the servers of the root, as of 2026-08-22.
func Hints() []Hint {
	hints := make([]Hint, 0, len(rootServers))
	for i, s := range rootServers {
		name := append([]byte{1, byte('a' + i)}, "\x0croot-servers\x03net\x00"...)
		hints = append(hints, Hint{name, []netip.Addr{netip.MustParseAddr(s[0]), netip.MustParseAddr(s[1])}})
	}
	return hints
}

var rootServers = [...][2]string{
	{"198.41.0.4", "2001:503:ba3e::2:30"},
	{"170.247.170.2", "2801:1b8:10::b"},
	{"192.33.4.12", "2001:500:2::c"},
	{"199.7.91.13", "2001:500:2d::d"},
	{"192.203.230.10", "2001:500:a8::e"},
	{"192.5.5.241", "2001:500:2f::f"},
	{"192.112.36.4", "2001:500:12::d0d"},
	{"198.97.190.53", "2001:500:1::53"},
	{"192.36.148.17", "2001:7fe::53"},
	{"192.58.128.30", "2001:503:c27::2:30"},
	{"193.0.14.129", "2001:7fd::1"},
	{"199.7.83.42", "2001:500:9f::42"},
	{"202.12.27.33", "2001:dc3::35"},
}

// fileTTL is for records that are written without one, as tools print them: nothing
// depends on it.
const fileTTL = 3600

// LoadHints returns the root's servers of a file, as [ReadHints] does; without a name those
// of [Hints]. The error names the file.
func LoadHints(file string) ([]Hint, error) {
	if file == "" {
		return Hints(), nil
	}
	return load(file, ReadHints)
}

// load reads a file.
func load[T any](file string, read func(io.Reader, string) (T, error)) (t T, err error) {
	f, err := os.Open(file)
	if err != nil {
		return t, err
	}
	defer f.Close()
	return read(f, file)
}

// ReadHints reads the root's servers from a master file: NS records of the root,
// and the addresses of those names. file is its name in errors, which have the
// form file:line:column.
func ReadHints(r io.Reader, file string) ([]Hint, error) {
	var hints []Hint
	addrs := map[string][]netip.Addr{}
	_, err := zonefile.Read(r, zonefile.Options{Origin: wire.Root, Name: file, DefaultTTL: fileTTL}, func(rr *zonefile.Record) error {
		switch rr.Type {
		case wire.TypeNS:
			if len(rr.Owner) != 1 {
				return fmt.Errorf(
					"%s:%d:%d: NS record of %s; root hints have only those of the root",
					file,
					rr.Line,
					rr.Col,
					wire.AppendName(nil, rr.Owner),
				)
			}
			hints = append(hints, Hint{Name: wire.Lower(nil, rr.Data)})
		case wire.TypeA, wire.TypeAAAA:
			a, _ := netip.AddrFromSlice(rr.Data)
			owner := string(wire.Lower(nil, rr.Owner))
			addrs[owner] = append(addrs[owner], a)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	found := 0
	for i := range hints {
		hints[i].Addrs = addrs[string(hints[i].Name)]
		found += len(hints[i].Addrs)
	}
	switch {
	case len(hints) == 0:
		return nil, fmt.Errorf("%s: no NS record of the root; expected lines such as \". 3600000 NS a.root-servers.net.\"", file)
	case found == 0:
		return nil, fmt.Errorf("%s: no address of any server; expected lines such as \"a.root-servers.net. 3600000 A 198.41.0.4\"", file)
	}
	return hints, nil
}

// An Anchor is what a zone is trusted by: DS records, DNSKEY records or both
// (RFC 4035, section 4.4).
type Anchor struct {
	Zone []byte // in lower case
	DS   [][]byte
	Keys [][]byte // RDATA of DNSKEY
}

// Anchors returns those of the root that are built in.
func Anchors() []Anchor { return []Anchor{{Zone: wire.Root, DS: dnssec.RootDS()}} }

// LoadAnchors returns the trust anchors of a file, as [ReadAnchors] does; without a name
// those of [Anchors]. The error names the file.
func LoadAnchors(file string) ([]Anchor, error) {
	if file == "" {
		return Anchors(), nil
	}
	return load(file, ReadAnchors)
}

// ReadAnchors reads DS and DNSKEY records from a master file. file is its name in
// errors, which have the form file:line:column.
func ReadAnchors(r io.Reader, file string) ([]Anchor, error) {
	var anchors []Anchor
	_, err := zonefile.Read(r, zonefile.Options{Origin: wire.Root, Name: file, DefaultTTL: fileTTL}, func(rr *zonefile.Record) error {
		if rr.Type != wire.TypeDS && rr.Type != wire.TypeDNSKEY {
			return fmt.Errorf("%s:%d:%d: %v record; expected DS or DNSKEY records", file, rr.Line, rr.Col, rr.Type)
		}
		zone := wire.Lower(nil, rr.Owner)
		var a *Anchor
		for i := range anchors {
			if bytes.Equal(anchors[i].Zone, zone) {
				a = &anchors[i]
			}
		}
		if a == nil {
			anchors = append(anchors, Anchor{Zone: zone})
			a = &anchors[len(anchors)-1]
		}
		data := bytes.Clone(rr.Data)
		if rr.Type == wire.TypeDS {
			a.DS = append(a.DS, data)
		} else {
			a.Keys = append(a.Keys, data)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(anchors) == 0 {
		return nil, fmt.Errorf("%s: no DS or DNSKEY record; validation needs at least one", file)
	}
	for _, a := range anchors {
		if v := (dnssec.TrustPoint{DS: a.DS, DNSKEYs: a.Keys}); v.Unsupported() != 0 {
			return nil, fmt.Errorf(
				"%s: no trust anchor of %s has a supported algorithm and digest; the zone would not be validated",
				file,
				wire.AppendName(nil, a.Zone),
			)
		}
	}
	return anchors, nil
}

func indexAnchors(list []Anchor) map[string]*Anchor {
	m := make(map[string]*Anchor, len(list))
	for i := range list {
		m[string(wire.Lower(nil, list[i].Zone))] = &list[i]
	}
	return m
}
