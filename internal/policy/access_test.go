package policy_test

import (
	"net/netip"
	"testing"

	"port53/internal/policy"
	"port53/internal/wire"
)

func peer(addr, key string) policy.Peer {
	p := policy.Peer{Addr: netip.MustParseAddr(addr)}
	if key != "" {
		p.Key = name(key)
	}
	return p
}

func name(text string) []byte {
	n, err := wire.ParseName(text)
	if err != nil {
		panic(err)
	}
	return n
}

func acl(t *testing.T, allow ...string) *policy.ACL {
	t.Helper()
	var o policy.ACLOptions
	for _, p := range allow {
		o.Allow = append(o.Allow, netip.MustParsePrefix(p))
	}
	a, err := policy.NewACL(o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestAccess has one row for each reason to admit or refuse a peer.
func TestAccess(t *testing.T) {
	grants := []policy.Grant{{Key: name("ddns."), Names: []policy.Pattern{{Name: name("a.test.")}}}}
	for _, c := range []struct {
		what string
		a    policy.Access
		op   policy.Op
		p    policy.Peer
		want bool
	}{
		{"no list: everyone asks", policy.Access{}, policy.Query, peer("192.0.2.1", ""), true},
		{"listed", policy.Access{Query: acl(t, "192.0.2.0/24")}, policy.Query, peer("192.0.2.1", ""), true},
		{"not listed", policy.Access{Query: acl(t, "192.0.2.0/24")}, policy.Query, peer("198.51.100.1", ""), false},
		{"the list of queries says nothing of recursion", policy.Access{Query: acl(t, "192.0.2.0/24")}, policy.Recurse, peer("198.51.100.1", ""), true},
		{"may recurse", policy.Access{Recurse: acl(t, "192.0.2.0/24")}, policy.Recurse, peer("192.0.2.1", ""), true},
		{"may not recurse", policy.Access{Recurse: acl(t, "192.0.2.0/24")}, policy.Recurse, peer("198.51.100.1", ""), false},
		{"the list of recursion says nothing of queries", policy.Access{Recurse: acl(t, "192.0.2.0/24")}, policy.Query, peer("198.51.100.1", ""), true},

		{"no rule: nobody transfers", policy.Access{}, policy.Transfer, peer("192.0.2.1", "k."), false},
		{"a rule without networks admits nobody", policy.Access{Transfer: []policy.Rule{{Unsigned: true}}}, policy.Transfer, peer("192.0.2.1", ""), false},
		{"address and key", policy.Access{Transfer: []policy.Rule{{Networks: prefixes("192.0.2.1/32"), Key: name("k.")}}}, policy.Transfer, peer("192.0.2.1", "k."), true},
		{"right key, other address", policy.Access{Transfer: []policy.Rule{{Networks: prefixes("192.0.2.1/32"), Key: name("k.")}}}, policy.Transfer, peer("192.0.2.2", "k."), false},
		{"right address, no key", policy.Access{Transfer: []policy.Rule{{Networks: prefixes("192.0.2.1/32"), Key: name("k.")}}}, policy.Transfer, peer("192.0.2.1", ""), false},
		{"right address, other key", policy.Access{Transfer: []policy.Rule{{Networks: prefixes("192.0.2.1/32"), Key: name("k.")}}}, policy.Transfer, peer("192.0.2.1", "other."), false},
		{"unsigned where that is allowed", policy.Access{Transfer: []policy.Rule{{Networks: prefixes("192.0.2.0/24"), Unsigned: true}}}, policy.Transfer, peer("192.0.2.1", ""), true},
		{"unsigned allowed does not widen the key", policy.Access{Notify: []policy.Rule{{Networks: prefixes("192.0.2.0/24"), Key: name("k."), Unsigned: true}}}, policy.Notify, peer("192.0.2.1", "other."), false},
		{"neither key nor unsigned: any signature", policy.Access{Transfer: []policy.Rule{{Networks: prefixes("192.0.2.0/24")}}}, policy.Transfer, peer("192.0.2.1", "any."), true},
		{"neither key nor unsigned: a signature is needed", policy.Access{Transfer: []policy.Rule{{Networks: prefixes("192.0.2.0/24")}}}, policy.Transfer, peer("192.0.2.1", ""), false},
		{"the second rule", policy.Access{Transfer: []policy.Rule{{Networks: prefixes("192.0.2.1/32"), Key: name("k.")}, {Networks: prefixes("192.0.2.2/32"), Key: name("l.")}}}, policy.Transfer, peer("192.0.2.2", "l."), true},
		{"rules are not mixed", policy.Access{Transfer: []policy.Rule{{Networks: prefixes("192.0.2.1/32"), Key: name("k.")}, {Networks: prefixes("192.0.2.2/32"), Key: name("l.")}}}, policy.Transfer, peer("192.0.2.2", "k."), false},
		{"who may transfer may not notify", policy.Access{Transfer: []policy.Rule{{Networks: prefixes("192.0.2.0/24"), Unsigned: true}}}, policy.Notify, peer("192.0.2.1", ""), false},
		{"who may notify", policy.Access{Notify: []policy.Rule{{Networks: prefixes("192.0.2.0/24"), Unsigned: true}}}, policy.Notify, peer("192.0.2.1", ""), true},
		{"who may notify with a key", policy.Access{Notify: []policy.Rule{{Networks: prefixes("192.0.2.0/24"), Key: name("k.")}}}, policy.Notify, peer("192.0.2.1", "k."), true},
		{"who may notify may not transfer", policy.Access{Notify: []policy.Rule{{Networks: prefixes("192.0.2.0/24"), Unsigned: true}}}, policy.Transfer, peer("192.0.2.1", ""), false},

		{"no grant: nobody updates", policy.Access{}, policy.Update, peer("192.0.2.1", "ddns."), false},
		{"a grant", policy.Access{Updates: grants}, policy.Update, peer("192.0.2.1", "ddns."), true},
		{"another's key", policy.Access{Updates: grants}, policy.Update, peer("192.0.2.1", "k."), false},
		{"unsigned", policy.Access{Updates: grants}, policy.Update, peer("192.0.2.1", ""), false},
		{"a grant without a key is nobody's", policy.Access{Updates: []policy.Grant{{Names: grants[0].Names}}}, policy.Update, peer("192.0.2.1", ""), false},
		{"the primary judges", policy.Access{Forward: true}, policy.Update, policy.Peer{Signed: true}, true},
		{"the primary is not bothered with what is not signed", policy.Access{Forward: true}, policy.Update, peer("192.0.2.1", ""), false},
		{"a signature by a key that is not known is no grant", policy.Access{Updates: grants}, policy.Update, policy.Peer{Signed: true}, false},
		{"an operation that is none", policy.Access{}, policy.Update + 1, peer("192.0.2.1", "k."), false},
	} {
		if got := c.a.Allows(c.op, c.p); got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}

// TestGrants holds each part of a grant: whose key, which names, which types.
func TestGrants(t *testing.T) {
	pattern := func(texts ...string) (list []policy.Pattern) {
		for _, text := range texts {
			p, err := policy.ParsePattern(text, name("Zone.test."))
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, p...)
		}
		return list
	}
	a := policy.Access{Updates: []policy.Grant{
		{Key: name("one."), Names: pattern("Host.zone.test.", "*.Dyn.zone.test."), Types: []wire.Type{wire.TypeA, wire.TypeAAAA}},
		{Key: name("all."), Names: pattern("*")},
	}}
	for _, c := range []struct {
		key, name string
		t         wire.Type
		want      bool
	}{
		{"one.", "host.zone.test.", wire.TypeA, true},
		{"one.", "host.zone.test.", wire.TypeAAAA, true},
		{"one.", "host.zone.test.", wire.TypeTXT, false},
		{"one.", "host.zone.test.", wire.TypeANY, false}, // all types are more than two
		{"one.", "x.host.zone.test.", wire.TypeA, false},
		{"one.", "x.dyn.zone.test.", wire.TypeA, true},
		{"one.", "y.x.dyn.zone.test.", wire.TypeA, true},
		{"one.", "dyn.zone.test.", wire.TypeA, false},
		{"one.", "xdyn.zone.test.", wire.TypeA, false},
		{"one.", "zone.test.", wire.TypeA, false},
		{"two.", "host.zone.test.", wire.TypeA, false},
		{"all.", "zone.test.", wire.TypeSOA, true},
		{"all.", "a.b.zone.test.", wire.TypeANY, true},
		{"all.", "other.test.", wire.TypeA, false},
		{"all.", "test.", wire.TypeA, false},
	} {
		if got := a.MayChange(policy.Peer{Key: name(c.key)}, name(c.name), c.t); got != c.want {
			t.Errorf("%s %s %v: %v, want %v", c.key, c.name, c.t, got, c.want)
		}
	}
	if a.MayChange(policy.Peer{}, name("zone.test."), wire.TypeA) {
		t.Error("a message without a key changes a zone")
	}
	// An asterisk is a wildcard alone in its label.
	for text, want := range map[string]policy.Pattern{
		"*.zone.test.":  {Name: name("zone.test."), Below: true},
		"**.zone.test.": {Name: name("**.zone.test.")},
		"*a.zone.test.": {Name: name("*a.zone.test.")},
		"a.zone.test.":  {Name: name("a.zone.test.")},
		".":             {Name: name(".")},
	} {
		if got := pattern(text); len(got) != 1 || string(got[0].Name) != string(want.Name) || got[0].Below != want.Below {
			t.Errorf("%s: %+v", text, got)
		}
	}
	if _, err := policy.ParsePattern("a..b", name("zone.test.")); err == nil {
		t.Error("a name with an empty label is a pattern")
	}
}
