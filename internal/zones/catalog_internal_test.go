package zones

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"port53/internal/dnstest"
	"port53/internal/tsig"
	"port53/internal/wire"
)

// TestReadCatalog has catalogs with what RFC 9432, sections 4 and 5, asks for, and without:
// one that is broken has no members at all.
func TestReadCatalog(t *testing.T) {
	const version = "version 0 TXT \"2\"\n"
	for _, c := range []struct {
		what, records string
		want          []string // label, zone, group and new owner of each member
		err           string
	}{
		{"no members", version, nil, ""},
		{"two", version + "one.zones 0 PTR a.test.\nTwo.Zones 0 PTR B.test.\n", []string{"one a.test.  ", "two b.test.  "}, ""},
		{
			"properties", version + "one.zones 0 PTR a.test.\ngroup.one.zones 0 TXT \"g\"\ncoo.one.zones 0 PTR Other.test.\n",
			[]string{"one a.test. g other.test."},
			"",
		},
		{"properties of nobody", version + "group.one.zones 0 TXT \"g\"\ncoo.one.zones 0 PTR other.test.\n", nil, ""},
		{"a group of several strings", version + "one.zones 0 PTR a.test.\ngroup.one.zones 0 TXT \"g\" \"h\"\n", []string{"one a.test. g "}, ""},
		{
			"what the RFC does not know", version + "one.zones 0 PTR a.test.\nx.one.zones 0 TXT \"g\"\nx.one.zones 0 PTR y.\ncoo.one.zones 0 TXT \"c\"\ngroup.one.zones 0 PTR g.\n" +
				"zones 0 PTR b.test.\none.others 0 PTR b.test.\nx.group.one.zones 0 TXT \"g\"\ngroup.one.others 0 TXT \"h\"\ncoo.one.others 0 PTR h.\nother 0 TXT \"1\"\nversion 0 A 192.0.2.1\n",
			[]string{"one a.test.  "},
			"",
		},
		{"as many as may be", version + "one.zones 0 PTR a.test.\ntwo.zones 0 PTR b.test.\nthree.zones 0 PTR c.test.\n", []string{"one a.test.  ", "three c.test.  ", "two b.test.  "}, ""},
		{"one more", version + "one.zones 0 PTR a.test.\ntwo.zones 0 PTR b.test.\nthree.zones 0 PTR c.test.\nfour.zones 0 PTR d.test.\n", nil, "it has more than 3 members"},
		{"no version", "one.zones 0 PTR a.test.\n", nil, "it says no version"},
		{"another version", "version 0 TXT \"1\"\n", nil, "it has not the version 2, and only that"},
		{"a longer version", "version 0 TXT \"22\"\n", nil, "it has not the version 2, and only that"},
		{"a version of two strings", "version 0 TXT \"2\" \"\"\n", nil, "it has not the version 2, and only that"},
		{"two versions", "version 0 TXT \"2\"\nversion 0 TXT \"1\"\n", nil, "it has not the version 2, and only that"},
		{"one zone under two labels", version + "one.zones 0 PTR a.test.\ntwo.zones 0 PTR A.test.\n", nil, "a.test. stands there twice"},
		{"two zones under one label", version + "one.zones 0 PTR a.test.\none.zones 0 PTR b.test.\n", nil, "stands there twice"},
	} {
		z := dnstest.Zone(t, "cat.test.", "@ 0 SOA invalid. invalid. 1 3600 600 86400 0\n@ 0 NS invalid.\n"+c.records)
		list, err := readCatalog(z, 3)
		if c.err != "" {
			if err == nil || list != nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), "broken and ignored") {
				t.Errorf("%s: %v, %v, want %q", c.what, list, err, c.err)
			}
			continue
		}
		var got []string
		for _, m := range list {
			owner := ""
			if m.owner != nil {
				owner = string(wire.AppendName(nil, m.owner))
			}
			got = append(got, fmt.Sprintf("%s %s %s %s", m.label, wire.AppendName(nil, m.apex), m.group, owner))
		}
		slices.Sort(got)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q %v, want %q", c.what, got, err, c.want)
		}
	}
}

// TestMemberSource has members of catalogs whose templates say much or little: what they do
// not say is as the catalog's own.
func TestMemberSource(t *testing.T) {
	addr := func(n int) []netip.AddrPort {
		return []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}), 53)}
	}
	own, other := &tsig.Key{Name: []byte("\x03own\x00")}, &tsig.Key{Name: []byte("\x05other\x00")}
	apex := dnstest.Name(t, "a.test.")
	for _, c := range []struct {
		what     string
		template Template
		group    string
		want     Source
	}{
		{"nothing", Template{}, "", Source{Primaries: addr(1), Key: own}},
		{"other primaries", Template{Primaries: addr(2)}, "", Source{Primaries: addr(2), Key: own}},
		{"another key", Template{Key: other}, "", Source{Primaries: addr(1), Key: other}},
		{"no key", Template{Insecure: true}, "", Source{Primaries: addr(1), Insecure: true}},
		{
			"all",
			Template{Secondaries: addr(3), Notify: addr(4), Transfer: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
			"",
			Source{Primaries: addr(1), Key: own, Secondaries: addr(3), Notify: addr(4), Transfer: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
		},
		{"a group", Template{Notify: addr(4), Groups: map[string]*Template{"g": {Primaries: addr(5)}}}, "g", Source{Primaries: addr(5), Key: own}},
		{"an unknown group", Template{Notify: addr(4), Groups: map[string]*Template{"g": {Primaries: addr(5)}}}, "h", Source{Primaries: addr(1), Key: own, Notify: addr(4)}},
	} {
		s := &Source{Apex: dnstest.Name(t, "cat.test."), Primaries: addr(1), Key: own, MaxRecords: 7, MaxSize: 8, Consumes: &c.template}
		c.want.Apex, c.want.Catalog, c.want.Member, c.want.Group = apex, s.Apex, "one", c.group
		c.want.MaxRecords, c.want.MaxSize = 7, 8
		if got := s.memberSource(member{label: "one", apex: apex, group: c.group}); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\n%+v, want\n%+v", c.what, got, c.want)
		}
	}
}
