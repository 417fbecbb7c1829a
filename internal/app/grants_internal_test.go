package app

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"port53/internal/certs"
	"port53/internal/certs/certtest"
	"port53/internal/config"
	"port53/internal/grant"
	"port53/internal/policy"
	"port53/internal/wire"
	"port53/internal/zones"
)

func wireName(t *testing.T, text string) []byte {
	t.Helper()
	name, err := wire.ParseName(text)
	if err != nil {
		t.Fatal(err)
	}
	return wire.Lower(nil, name)
}

// grantCase is one grant, and what its holder may and may not do. A line is VERB ZONE NAME TYPE.
type grantCase struct {
	right    config.Right
	may, not []string
}

func grantCases() []grantCase {
	all := []string{"*"}
	return []grantCase{
		{
			config.Right{Zone: []string{"example.com"}, Names: all, Verbs: []string{"read", "change"}},
			[]string{"change example.com example.com SOA", "change example.com www.example.com A", "change example.com a.b.c.example.com TXT", "change example.com www.example.com ANY", "transfer example.com", "change EXAMPLE.com WWW.example.COM A"},
			[]string{"change example.net www.example.net A", "change sub.example.com sub.example.com A", "transfer example.net", "transfer sub.example.com", "notify example.com", "change com com A", "change myexample.com myexample.com A"},
		},
		{
			config.Right{Zone: []string{"*.example.com"}, Names: all, Verbs: []string{"read", "change"}},
			[]string{"change sub.example.com www.sub.example.com A", "change a.b.example.com a.b.example.com MX", "transfer sub.example.com"},
			[]string{"change example.com www.example.com A", "transfer example.com", "change example.net example.net A", "change xexample.com xexample.com A"},
		},
		{
			config.Right{Zone: []string{"example.com", "*.example.net"}, Names: all, Verbs: []string{"change"}},
			[]string{"change example.com x.example.com A", "change sub.example.net x.sub.example.net A"},
			[]string{"change example.net x.example.net A", "transfer example.com", "transfer sub.example.net", "notify example.com"},
		},
		{
			config.Right{Zone: []string{"*"}, Names: all, Verbs: []string{"admin"}},
			[]string{"change example.com x.example.com A", "transfer example.net", "notify example.com", "change sub.example.com sub.example.com NS"},
			nil,
		},
		{
			config.Right{Zone: []string{"*"}, Names: all, Verbs: []string{"read"}},
			[]string{"transfer example.com", "transfer example.net", "transfer sub.example.com"},
			[]string{"change example.com x.example.com A", "notify example.com", "change example.net example.net TXT"},
		},
		{
			config.Right{Zone: []string{"example.com"}, Names: all, Types: []string{"A", "AAAA", "TXT"}, Verbs: []string{"read", "change"}},
			[]string{"change example.com x.example.com A", "change example.com x.example.com AAAA", "change example.com x.example.com TXT", "change example.com example.com A"},
			[]string{"change example.com x.example.com MX", "change example.com x.example.com CNAME", "change example.com x.example.com ANY", "change example.com example.com NS", "transfer example.com", "change example.com example.com SOA"},
		},
		{
			config.Right{Zone: []string{"example.com"}, Names: []string{"*.k8s.example.com"}, Verbs: []string{"read", "change"}},
			[]string{"change example.com x.k8s.example.com A", "change example.com a.b.k8s.example.com TXT", "change example.com x.K8S.example.com ANY"},
			[]string{"change example.com k8s.example.com A", "change example.com x.example.com A", "change example.com xk8s.example.com A", "transfer example.com", "change example.net x.k8s.example.com A"},
		},
		{
			config.Right{Zone: []string{"example.com"}, Names: []string{"www.example.com", "@"}, Types: []string{"A"}, Verbs: []string{"read", "change"}},
			[]string{"change example.com www.example.com A", "change example.com example.com A"},
			[]string{"change example.com x.www.example.com A", "change example.com www.example.com AAAA", "change example.com ww.example.com A", "transfer example.com"},
		},
		{
			config.Right{Zone: []string{"*"}, Names: []string{"_acme-challenge.*"}, Types: []string{"TXT"}, Verbs: []string{"change"}},
			[]string{"change example.com _acme-challenge.example.com TXT", "change example.com _acme-challenge.www.example.com TXT", "change example.net _acme-challenge.a.b.example.net TXT", "change example.com _ACME-Challenge.example.com TXT"},
			[]string{"change example.com example.com TXT", "change example.com x._acme-challenge.example.com TXT", "change example.com _acme-challenge.example.com A", "change example.com _acme-challenge2.example.com TXT", "transfer example.com", "notify example.com"},
		},
		{
			config.Right{Zone: []string{"example.com"}, Names: all, Verbs: []string{"read", "change"}, Until: "2001-01-01"},
			nil,
			[]string{"change example.com x.example.com A", "transfer example.com", "change example.com example.com SOA"},
		},
		{
			config.Right{Zone: []string{"example.com"}, Names: all, Verbs: []string{"read", "change", "notify"}, Until: "2999-12-31"},
			[]string{"change example.com x.example.com A", "transfer example.com", "notify example.com"},
			[]string{"notify example.net"},
		},
		{
			config.Right{Zone: []string{"."}, Names: all, Verbs: []string{"read", "change"}},
			[]string{"change . com A", "transfer ."},
			[]string{"change com com A", "change example.com example.com A", "transfer example.com"},
		},
		{
			config.Right{Zone: []string{"example.com"}, Names: []string{"a.example.com", "*.b.example.com", "_x.*"}, Verbs: []string{"change"}},
			[]string{"change example.com a.example.com MX", "change example.com c.b.example.com MX", "change example.com _x.c.example.com SRV", "change example.com _x.example.com A"},
			[]string{"change example.com b.example.com A", "change example.com example.com A", "change example.com _y.example.com A", "change example.com a.a.example.com A", "transfer example.com"},
		},
		{
			config.Right{Zone: []string{"example.com"}, Names: all, Verbs: []string{"sign"}},
			nil,
			[]string{"change example.com x.example.com A", "transfer example.com", "notify example.com"},
		},
		{
			config.Right{Zone: []string{"example.com"}, Names: all, Verbs: []string{"notify"}},
			[]string{"notify example.com"},
			[]string{"change example.com x.example.com A", "transfer example.com", "notify sub.example.com"},
		},
		{
			config.Right{Zone: []string{"example.com"}, Names: all, Types: []string{"TYPE65280"}, Verbs: []string{"change"}},
			[]string{"change example.com x.example.com TYPE65280"},
			[]string{"change example.com x.example.com TYPE65281", "change example.com x.example.com A"},
		},
	}
}

// aClient returns a certificate that a table may know, as a connection shows it, and who that is.
func aClient(t *testing.T) ([]*x509.Certificate, *certs.Client) {
	t.Helper()
	ca := certtest.New(t)
	file, _ := ca.Issue(t.TempDir(), "client", "client.example")
	_, leaf, err := certs.ReadPin(file)
	if err != nil {
		t.Fatal(err)
	}
	return []*x509.Certificate{leaf}, &certs.Client{Hostname: "client.example", Roots: ca.Pool}
}

// TestGrantsAlike holds a key, a token and a client certificate with the same grant beside each other:
// what the one may by UPDATE, AXFR and NOTIFY, the other may by the API and the console, and no more.
func TestGrantsAlike(t *testing.T) {
	cases := 0
	chain, client := aClient(t)
	foreign, _ := aClient(t)
	for i, c := range grantCases() {
		token := grant.Holder{Kind: grant.Token, Name: "t", Grants: grantsOf([]config.Right{c.right})}
		key := grant.Holder{Kind: grant.Key, Name: "k.example", Grants: token.Grants}
		certificate := grant.Holder{Kind: grant.Certificate, Name: "c", Client: client, Grants: token.Grants}
		table := grant.Table{key, token, certificate}
		user := table.Certificate(chain, time.Now()) // as the API and the console know them
		if user == nil || user.Name != "c" || table.Certificate(foreign, time.Now()) != nil || table.Certificate(nil, time.Now()) != nil {
			t.Fatalf("the certificate is %v's", user)
		}
		if len(token.Grants) != 1 {
			t.Fatalf("grant %d is not a good: %+v", i, c.right)
		}
		for want, lines := range map[bool][]string{true: c.may, false: c.not} {
			for _, line := range lines {
				cases++
				var verb, zone, name, typ string
				_, _ = fmt.Sscan(line, &verb, &zone, &name, &typ)
				apex := wireName(t, zone)
				s := zones.Source{Apex: apex, File: "x"}
				addRights(&s, table)
				bearer := policy.Peer{Addr: netip.MustParseAddr("2001:db8::1"), Certificates: chain, Holder: user.Name}
				peer := policy.Peer{Addr: netip.MustParseAddr("2001:db8::1"), Key: wireName(t, "k.example"), Signed: true}
				var byKey, byToken, byCertificate, byUser bool
				switch now := time.Now(); verb {
				case "change":
					rr, ok := wire.ParseType(typ)
					if !ok {
						rr = wire.TypeANY
					}
					a := policy.Access{Updates: s.Updates}
					byKey = a.Allows(policy.Update, peer) && a.MayChange(peer, wireName(t, name), rr)
					byCertificate = a.Allows(policy.Update, bearer) && a.MayChange(bearer, wireName(t, name), rr)
					byToken = token.May(grant.Change, apex, wireName(t, name), rr, now)
					byUser = user.May(grant.Change, apex, wireName(t, name), rr, now)
				case "transfer":
					byKey = (&policy.Access{Transfer: s.TransferBy}).Allows(policy.Transfer, peer)
					byCertificate = (&policy.Access{Transfer: s.TransferBy}).Allows(policy.Transfer, bearer)
					byToken = token.MayWholeZone(grant.Read, apex, now)
					byUser = user.MayWholeZone(grant.Read, apex, now)
				case "notify":
					byKey = (&policy.Access{Notify: s.NotifyBy}).Allows(policy.Notify, peer)
					byCertificate = (&policy.Access{Notify: s.NotifyBy}).Allows(policy.Notify, bearer)
					byToken = token.MayAny(grant.Notify, apex, now)
					byUser = user.MayAny(grant.Notify, apex, now)
				default:
					t.Fatalf("%q", line)
				}
				if byKey != want || byToken != want || byCertificate != want || byUser != want {
					t.Errorf("grant %d: %s: by key %v, by token %v, by certificate %v and %v, want %v", i, line, byKey, byToken, byCertificate, byUser, want)
				}
				for what, other := range map[string]policy.Peer{
					"another key":                 {Addr: peer.Addr, Key: wireName(t, "other.example"), Signed: true},
					"another certificate":         {Addr: peer.Addr, Certificates: foreign},
					"a certificate of nobody":     {Addr: peer.Addr, Certificates: chain},
					"another's":                   {Addr: peer.Addr, Certificates: chain, Holder: "t"},
					"a key named as its holder":   {Addr: peer.Addr, Key: wireName(t, "c"), Signed: true},
					"a holder named as a key":     {Addr: peer.Addr, Holder: "k.example"},
					"who has shown nothing":       {Addr: peer.Addr},
					"who has signed with nothing": {Addr: peer.Addr, Signed: true},
				} {
					if a := (policy.Access{Updates: s.Updates, Transfer: s.TransferBy, Notify: s.NotifyBy}); a.Allows(policy.Update, other) || a.Allows(policy.Transfer, other) || a.Allows(policy.Notify, other) || a.MayChange(other, apex, wire.TypeA) {
						t.Errorf("grant %d: %s has it too", i, what)
					}
				}
			}
		}
	}
	if cases < 100 {
		t.Errorf("%d cases", cases)
	}
}

// TestRightsOfSecondaries: a zone that comes from its primaries is changed there.
func TestRightsOfSecondaries(t *testing.T) {
	right := []config.Right{{Zone: []string{"*"}, Names: []string{"*"}, Verbs: []string{"admin"}}}
	table := grant.Table{
		{Kind: grant.Key, Name: "k", Grants: grantsOf(right)},
		{Kind: grant.Token, Name: "t", Grants: grantsOf(right)},
		{Kind: grant.Certificate, Name: "c", Grants: grantsOf(right)},
	}
	s := zones.Source{Apex: wireName(t, "example.com"), Primaries: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53")}}
	if addRights(&s, table); len(s.Updates) > 0 || s.Changes || len(s.TransferBy) != 2 || len(s.NotifyBy) != 2 {
		t.Errorf("%+v", s)
	}
}

// TestTable finds the holder of a token, and keeps what is revoked from counting.
func TestTable(t *testing.T) {
	one, two := grant.NewToken(), grant.NewToken()
	if one == two || len(one) != len(grant.Prefix)+43 {
		t.Errorf("tokens %s and %s", one, two)
	}
	table := grant.Table{{Kind: grant.Token, Name: "one", Secret: grant.Hash(one)}, {Kind: grant.Key, Name: "two", Secret: grant.Hash(two)}}
	if h := table.Token(one); h == nil || h.Name != "one" {
		t.Errorf("%v", h)
	}
	for _, shown := range []string{two, "", one + "x", one[:len(one)-1]} {
		if h := table.Token(shown); h != nil {
			t.Errorf("%q is %s's", shown, h.Name)
		}
	}
}

// TestGrantedText: what is kept is read again, and nothing else is taken for it.
func TestGrantedText(t *testing.T) {
	g := &config.Granted{Tokens: []config.GrantedToken{{Name: "t", Hash: fmt.Sprintf("%x", grant.Hash("x")), Grants: []config.GrantedRight{{Zones: []string{"*"}, Names: []string{"*"}, Verbs: []string{"read"}}}}}}
	text, err := g.Text()
	if err != nil {
		t.Fatal(err)
	}
	again, err := config.ParseGranted(text)
	a, _ := json.Marshal(g)
	b, _ := json.Marshal(again)
	if err != nil || string(a) != string(b) {
		t.Errorf("%s, %v: want %s", b, err, a)
	}
	for _, bad := range []string{"port53 grants 3\n{}", "x", "port53 grants 1\n{\"keys\": [{\"nam\": 1}]}", "port53 grants 1\n"} {
		if _, err := config.ParseGranted([]byte(bad)); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}

// TestContractOfCertificates: what the contract says of certificates bounds their grants, those that are
// made while the server runs, too.
func TestContractOfCertificates(t *testing.T) {
	const pin = "Gpm64IbYHLRIaycoypxht4aWoZ63v6+dF0/BCldbOmM="
	c, err := config.Parse("port53.yaml", []byte("role: authoritative\nzones: [{name: test, file: a.zone}]\n"+
		"encrypted: {certificate: c.pem, key: k.pem, dot: 192.0.2.1}\n"+
		"expose: {transfer: [{certificate: a}], update: nobody, notify: [{certificate: a}, 192.0.2.9]}\n"+
		"client_certificates: [{name: a, pins: \""+pin+"\", grants: [{zone: test, verbs: [read, notify]}]}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	contract, far := contractOf(c), netip.MustParseAddr("198.51.100.1")
	for _, tt := range []struct {
		op   policy.Op
		peer policy.Peer
		want bool
	}{
		{policy.Transfer, policy.Peer{Addr: far, Holder: "a"}, true},
		{policy.Transfer, policy.Peer{Addr: far, Holder: "b"}, false},
		{policy.Transfer, policy.Peer{Addr: far}, false},
		{policy.Transfer, policy.Peer{Addr: far, Key: wireName(t, "a"), Signed: true}, false},
		{policy.Update, policy.Peer{Addr: far, Holder: "a"}, false},
		{policy.Notify, policy.Peer{Addr: far, Holder: "a"}, true},
		{policy.Notify, policy.Peer{Addr: netip.MustParseAddr("192.0.2.9"), Holder: "b"}, true},
	} {
		if got := contract.Allows(tt.op, tt.peer); got != tt.want {
			t.Errorf("%v of %+v: %v", tt.op, tt.peer, got)
		}
	}
	terms, err := Terms(c)
	if err != nil || !strings.Contains(fmt.Sprint(terms), "certificate a") {
		t.Errorf("%v, %v", terms, err)
	}
}

// TestUnreadAuthority: an authority whose file was not read vouches for nobody, also beside a pin.
func TestUnreadAuthority(t *testing.T) {
	chain, _ := aClient(t)
	k := config.ClientCertificate{Name: "a", Pins: []string{certs.PinOf(chain[0]).String()}}
	if err := k.Client().Verify(chain, time.Now()); err != nil {
		t.Error(err)
	}
	k.CA = "ca.pem"
	if k.Client().Verify(chain, time.Now()) == nil {
		t.Error("it is taken")
	}
}
