package why_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/dnstest"
	"port53/internal/dnstest/subject"
	"port53/internal/event"
	"port53/internal/lab"
	"port53/internal/why"
	"port53/internal/wire"
)

// A fault is something that is planted into a small internet, and what is to be told of it.
type fault struct {
	name  string
	world string // beside a signed root and a signed com.
	set   string // settings
	ask   string // name, type, and norec: without recursion; www.a.com. A unless given
	code  string // of the cause
	says  string // a part of the cause: whose fault it is
}

// signedZone is a zone with a fault in its signing.
func signedZone(signing, order string) string {
	return "-- zone a.com. 192.0.2.10 --\n! signed " + signing + "\n" + order + "\nwww A 198.51.100.1\n*.wild TXT \"x\"\n"
}

// serverLike is a zone whose only server behaves so.
func serverLike(words, script string) string {
	return "-- zone a.com. 192.0.2.10 --\nwww A 198.51.100.1\n-- host 192.0.2.10 " + words + " --\n" + script + "\n"
}

// faults returns the table. In one piece: it is a list.
func faults() []fault {
	var all []fault
	add := func(f fault) {
		if f.ask == "" {
			f.ask = "www.a.com. A"
		}
		all = append(all, f)
	}
	for _, signing := range []string{"nsec", "nsec3", "optout", "alg=15", "csk", "alg=8"} {
		for _, x := range [][2]string{
			{"expired www A", "signature-expired"},
			{"early www A", "signature-not-yet-valid"},
			{"corrupt www A", "signature-wrong"},
			{"alter www A 192.0.2.66", "signature-wrong"},
			{"unsigned www A", "signature-missing"},
			{"foreign www A", "key-missing"},
		} {
			if signing == "csk" && x[0] == "foreign www A" {
				continue
			}
			add(fault{name: x[0] + " in " + signing, world: signedZone(signing, "! "+x[0]), code: x[1], says: "www.a.com. A"})
		}
	}
	for _, signing := range []string{"nsec", "alg=15 nsec3"} {
		for _, x := range [][2]string{
			{"! expired @ DNSKEY", "signature-expired"},
			{"! early @ DNSKEY", "signature-not-yet-valid"},
			{"! corrupt @ DNSKEY", "signature-wrong"},
			{"! unsigned @ DNSKEY", "signature-missing"},
			{"! drop @ DNSKEY", "dnskey-missing"},
			{"! ds wrong", "ds-mismatch"},
			{"! ds tag", "ds-mismatch"},
			{"! ds key=other", "ds-mismatch"},
		} {
			add(fault{name: x[0] + " in " + signing, world: signedZone(signing, x[0]), code: x[1], says: "a.com. DNSKEY"})
		}
		add(fault{name: "revoked in " + signing, world: signedZone(signing+" revoked", ""), code: "ds-mismatch", says: "a.com. DNSKEY"})
		add(fault{name: "no zone key in " + signing, world: signedZone(signing+" nozonebit", ""), code: "no-zone-key", says: "a.com. DNSKEY"})
	}
	for _, x := range []fault{
		{name: "no denial", world: signedZone("nsec", "") + "-- host 192.0.2.10 strip=NSEC --\n", ask: "none.a.com. A", code: "proof-missing", says: "none.a.com."},
		{name: "no denial, NSEC3", world: signedZone("nsec3", "") + "-- host 192.0.2.10 strip=NSEC3 --\n", ask: "none.a.com. A", code: "proof-missing", says: "none.a.com."},
		{name: "a denial that has expired", world: signedZone("nsec", "! expired * NSEC"), ask: "none.a.com. A", code: "signature-expired", says: "none.a.com."},
		{name: "a denial that is altered", world: signedZone("nsec", "! corrupt * NSEC"), ask: "none.a.com. A", code: "signature-wrong", says: "none.a.com."},
		{name: "a SOA record that has expired", world: signedZone("nsec", "! expired @ SOA"), ask: "none.a.com. A", code: "signature-expired", says: "none.a.com."},
		{name: "iterations beyond all bounds", world: signedZone("nsec3 iterations=2500", ""), ask: "none.a.com. A", code: "nsec3-iterations", says: "a.com."},
		{name: "iterations that make it insecure", world: signedZone("nsec3 iterations=100", ""), ask: "none.a.com. A", code: "nsec3-iterations", says: "none.a.com."},
		{name: "an old algorithm", world: signedZone("alg=5", ""), code: "algorithm-unsupported", says: "a.com."},
		{name: "an unknown algorithm", world: signedZone("alg=200", ""), code: "algorithm-unsupported", says: "a.com."},
		{name: "an unknown digest", world: signedZone("nsec", "! ds digest=99"), code: "algorithm-unsupported", says: "a.com."},
		{name: "a wildcard without its proof", world: signedZone("nsec", "") + "-- host 192.0.2.10 strip=NSEC --\n", ask: "x.wild.a.com. TXT", code: "proof-missing", says: "x.wild.a.com."},
		{name: "a signer that cannot be", world: signedZone("nsec", "! signer www A other."), code: "signature-wrong-signer", says: "www.a.com. A"},
		{name: "too many signatures", world: signedZone("alg=8", "! keytrap www A 30 30"), code: "signature-wrong", says: "www.a.com. A"},
		{name: "a server without DNSSEC", world: signedZone("nsec", "") + "-- host 192.0.2.10 strip=RRSIG --\n", code: "signature-missing", says: "a.com."},
		{name: "a server that ignores DO", world: signedZone("nsec", "") + "-- host 192.0.2.10 nodnssec --\n", code: "signature-missing", says: "a.com."},
		{name: "a key server that refuses", world: signedZone("nsec", "") + "-- host 192.0.2.10 --\nwhen * DNSKEY\n  reply REFUSED\n", code: "servers-refuse", says: "a.com. DNSKEY"},
		{name: "a key server that is silent", world: signedZone("nsec", "") + "-- host 192.0.2.10 --\nwhen * DNSKEY\n  silence\n", code: "servers-silent", says: "a.com. DNSKEY"},

		{name: "a clock that is behind", world: signedZone("nsec", ""), set: "clock -2000h\nunsynchronized on", code: "clock-wrong", says: "not yet valid"},
		{name: "a clock that is ahead", world: signedZone("nsec", ""), set: "clock 20000h\nunsynchronized on", code: "clock-wrong", says: "expired"},
		{name: "a clock before the program", world: signedZone("nsec", ""), set: "clock -2000h\nbuilt 2000-01-01T00:00:00Z", code: "clock-wrong", says: "build time"},
		{name: "a negative trust anchor", world: signedZone("nsec", "! expired www A"), set: "negative-anchor a.com.", code: "negative-trust-anchor", says: "www.a.com."},
		{
			name: "a negative trust anchor that has ended", world: signedZone("nsec", "! expired www A"), set: "negative-anchor a.com. -1s",
			code: "signature-expired", says: "www.a.com.",
		},

		{name: "nothing arrives", world: serverLike("deaf", ""), code: "servers-silent", says: "192.0.2.10:53"},
		{name: "nothing comes back", world: serverLike("mute", ""), code: "servers-silent", says: "192.0.2.10:53"},
		{name: "the server is down", world: serverLike("down", ""), code: "servers-silent", says: "a.com."},
		{name: "it says nothing", world: serverLike("silent", ""), code: "servers-silent", says: "192.0.2.10:53"},
		{name: "it says nothing of one type", world: serverLike("", "when www.a.com. A\n  silence"), code: "servers-silent", says: "192.0.2.10:53"},
		{name: "it answers from elsewhere", world: serverLike("tcp=silent", "when * *\n  serve from=192.0.2.77"), code: "servers-silent", says: "192.0.2.10:53"},
		{name: "it answers something else", world: serverLike("", "when * *\n  serve name=other.a.com."), code: "servers-garbled", says: "192.0.2.10:53"},
		{name: "its IDs are wrong", world: serverLike("", "when * *\n  serve id=wrong"), code: "servers-silent", says: "192.0.2.10:53"},
		{name: "it takes too long", world: serverLike("", "when * *\n  serve delay=20s"), code: "servers-silent", says: "192.0.2.10:53"},
		{name: "its port is closed", world: serverLike("closed", ""), code: "servers-unreachable", says: "192.0.2.10:53"},
		{name: "it has another zone", world: serverLike("lame", ""), code: "servers-refuse", says: "REFUSED"},
		{name: "it refuses", world: serverLike("rcode=REFUSED", ""), code: "servers-refuse", says: "192.0.2.10:53"},
		{name: "it refuses one type", world: serverLike("", "when www.a.com. A\n  reply REFUSED"), code: "servers-refuse", says: "192.0.2.10:53"},
		{name: "it is no authority", world: serverLike("rcode=NOTAUTH", ""), code: "servers-refuse", says: "NOTAUTH"},
		{name: "it fails", world: serverLike("rcode=SERVFAIL", ""), code: "servers-fail", says: "SERVFAIL"},
		{name: "it fails for one name", world: serverLike("", "when www.a.com. *\n  reply SERVFAIL"), code: "servers-fail", says: "SERVFAIL"},
		{name: "it does not know questions", world: serverLike("rcode=NOTIMP", ""), code: "servers-reject-question", says: "NOTIMP"},
		{name: "it finds them broken", world: serverLike("rcode=FORMERR", ""), code: "servers-reject-question", says: "FORMERR"},
		{
			name: "it sends one up", world: serverLike("", "when * *\n  reply NOERROR\n  authority\n  . 300 NS a.root."),
			code: "servers-lame", says: "a referral upwards",
		},
		{name: "it sends what cannot be read", world: serverLike("", "when * *\n  raw 8180000100010000000003777777016103636f6d0000010001c0ff"), code: "servers-garbled", says: "a.com."},
		{
			name: "two servers, both dead", world: "-- zone a.com. 192.0.2.10 192.0.2.11 --\nwww A 198.51.100.1\n-- host 192.0.2.10 deaf --\n-- host 192.0.2.11 deaf --\n",
			code: "servers-silent", says: "192.0.2.11:53",
		},
		{
			name: "two servers, both lame", world: "-- zone a.com. 192.0.2.10 192.0.2.11 --\nwww A 198.51.100.1\n-- host 192.0.2.10 lame --\n-- host 192.0.2.11 lame --\n",
			code: "servers-refuse", says: "192.0.2.11:53",
		},
		{
			name: "a zone in between is dead", world: "-- zone a.com. 192.0.2.10 --\n-- zone b.a.com. 192.0.2.11 --\nwww A 198.51.100.1\n-- host 192.0.2.10 deaf --\n",
			ask: "www.b.a.com. A", code: "servers-silent", says: "servers of a.com.",
		},
		{name: "the zone above is dead", world: "-- host 192.0.2.2 deaf --\n", code: "servers-silent", says: "servers of com."},
		{name: "the root is dead", world: "-- host 192.0.2.1 deaf --\n", code: "servers-silent", says: "servers of ."},
		{name: "the root refuses", world: "-- host 192.0.2.1 lame --\n", code: "servers-refuse", says: "servers of ."},

		{name: "glue is missing", world: "-- zone a.com. 192.0.2.10 --\n! glue none\nwww A 198.51.100.1\n", code: "server-without-address", says: "ns1.a.com."},
		{
			name: "glue is wrong", world: "-- zone com. 192.0.2.2 --\n! signed\na NS ns1.a\nns1.a A 192.0.2.66\n-- zone a.com. 192.0.2.10 --\n! orphan\nwww A 198.51.100.1\n-- host 192.0.2.66 deaf --\n",
			code: "servers-silent", says: "192.0.2.66:53",
		},
		{
			name: "the wrong server", world: "-- zone com. 192.0.2.2 --\n! signed\na NS ns1.a\nns1.a A 192.0.2.66\n-- zone a.com. 192.0.2.10 --\n! orphan\nwww A 198.51.100.1\n-- zone b.com. 192.0.2.66 --\n",
			code: "servers-refuse", says: "192.0.2.66:53",
		},
		{
			name: "a circle of delegations", world: "-- zone com. 192.0.2.2 --\n! signed\na NS ns.b\nb NS ns.a\n",
			code: "delegation-circle", says: "ns.",
		},
		{name: "a name server that does not exist", world: "-- zone com. 192.0.2.2 --\n! signed\na NS ns.none\n", code: "server-without-address", says: "ns.none.com."},
		{
			name: "a hundred of them", world: "-- zone com. 192.0.2.2 --\n! signed\n$GENERATE 0-99 a NS ns$.none\n",
			code: "server-without-address", says: "a.com.",
		},
		{name: "servers that may not be asked", world: serverLike("", ""), set: "do-not-query 192.0.2.10/32", code: "server-address-forbidden", says: "192.0.2.10"},
		{
			name: "servers with IPv6 alone", world: "-- zone a.com. 2001:db8::10 --\nwww A 198.51.100.1\n", set: "ipv6 off",
			code: "server-address-forbidden", says: "2001:db8::10",
		},

		{name: "an alias of itself", world: "-- zone a.com. 192.0.2.10 --\nwww CNAME www\n", code: "alias-loop", says: "alias"},
		{name: "aliases in a circle", world: "-- zone a.com. 192.0.2.10 --\nwww CNAME w\nw CNAME www\n", code: "alias-loop", says: "alias"},
		{
			name: "aliases across zones", world: "-- zone a.com. 192.0.2.10 --\nwww CNAME www.b.com.\n-- zone b.com. 192.0.2.10 --\nwww CNAME www.a.com.\n",
			code: "alias-loop", says: "alias",
		},
		{
			name: "too many aliases", world: "-- zone a.com. 192.0.2.10 --\nwww CNAME 1\n1 CNAME 2\n2 CNAME 3\n3 CNAME 4\n4 A 198.51.100.1\n", set: "aliases 2",
			code: "alias-chain", says: "too many aliases",
		},
		{
			name: "an alias for a dead zone", world: "-- zone a.com. 192.0.2.10 --\nwww CNAME www.b.com.\n-- zone b.com. 192.0.2.11 --\n-- host 192.0.2.11 deaf --\n",
			code: "servers-silent", says: "servers of b.com.",
		},
		{
			name: "an alias for a bogus name", world: "-- zone a.com. 192.0.2.11 --\n! signed\nwww CNAME www.b.com.\n-- zone b.com. 192.0.2.10 --\n! signed\n! expired www A\nwww A 198.51.100.1\n",
			code: "signature-expired", says: "www.b.com. A",
		},

		{name: "a limit of packets", world: serverLike("", ""), set: "packets 2", code: "limit-packets", says: "packets"},
		{name: "a limit of octets", world: serverLike("", ""), set: "octets 200", code: "limit-octets", says: "bytes"},
		{
			name: "name servers that lead too deep", world: "-- zone com. 192.0.2.2 --\n! signed\na NS ns.b\nb NS ns.c\nc NS ns.d\n-- zone d.com. 192.0.2.11 --\n", set: "depth 2",
			code: "server-without-address", says: "a.com.",
		},
		{name: "a limit of time", world: serverLike("rtt=900ms", ""), set: "time 500ms\nreply 400ms", code: "servers-silent", says: "192.0.2.10:53: no answer"},
		{name: "a limit of time, in the midst of waiting", world: serverLike("rtt=900ms", ""), set: "time 500ms\nreply 300ms", code: "servers-silent", says: "192.0.2.10:53: no answer yet, after 300 ms"},

		{name: "a forwarder that is down", set: "forward . 192.0.2.99", world: "-- host 192.0.2.99 deaf --\n", code: "servers-silent", says: "the forwarders for . do not answer"},
		{name: "a forwarder that refuses", set: "forward . 192.0.2.99", world: "-- host 192.0.2.99 rcode=REFUSED --\n", code: "servers-refuse", says: "192.0.2.99:53"},
		{name: "a forwarder that fails", set: "forward . 192.0.2.99", world: "-- host 192.0.2.99 rcode=SERVFAIL --\n", code: "servers-fail", says: "192.0.2.99:53"},
		{name: "a forwarder that is closed", set: "forward . 192.0.2.99", world: "-- host 192.0.2.99 closed --\n", code: "servers-unreachable", says: "192.0.2.99:53"},
		{name: "a stub zone's server that is down", set: "stub a.com. 192.0.2.99", world: "-- host 192.0.2.99 deaf --\n", code: "servers-silent", says: "192.0.2.99:53"},
		{name: "a stub zone's server that refuses", set: "stub a.com. 192.0.2.99", world: "-- host 192.0.2.99 lame --\n", code: "servers-refuse", says: "192.0.2.99:53"},

		{name: "a private address", world: "-- zone a.com. 192.0.2.10 --\nwww A 10.0.0.1\n", set: "rebinding on", code: "private-address", says: "www.a.com. A"},
		{name: "a client that moves data in names", world: serverLike("", ""), set: "stops a.com.", code: "tunnel", says: "client 192.0.2.200 seems to move data"},
		{name: "a client that may not ask", world: serverLike("", ""), set: "allow 10.0.0.0/8", code: "recursion-not-allowed", says: "resolver.allow"},
		{name: "a query without RD", world: serverLike("", ""), ask: "www.a.com. A norec", code: "no-recursion-desired", says: "RD"},
		{name: "a type that nobody has", world: serverLike("", ""), ask: "www.a.com. TYPE200", code: "query-not-offered", says: "not answered"},
		{name: "a type that is none", world: serverLike("", ""), ask: "www.a.com. OPT", code: "query-malformed", says: "protocol"},
	} {
		add(x)
	}
	return all
}

// base is what each fault is planted into.
const base = "-- zone . 192.0.2.1 --\n! signed\n-- zone com. 192.0.2.2 --\n! signed\n"

// told asks for what has a fault, and returns what the client got and what is told of it.
func (f *fault) told(t *testing.T) (*why.Report, string) {
	w := lab.NewWorld(lab.Options{Seed: 53})
	_, own := lab.Split(f.name, []byte(f.world))
	_, sections := lab.Split("base", []byte(base))
	for _, s := range own { // it may have another com.
		for i := range sections {
			if sections[i].Key() == s.Key() {
				sections = append(sections[:i], sections[i+1:]...)
				break
			}
		}
	}
	if err := w.Put(append(sections, own...)...); err != nil {
		t.Fatal(err)
	}
	sub := subject.Make(t, dnstest.NewSetup(w, strings.Split(f.set+"\nwhy on", "\n")...))
	defer sub.Close()
	words := strings.Fields(f.ask)
	typ, _ := wire.ParseType(words[1])
	flags := wire.FlagRD
	if len(words) > 2 {
		flags = 0
	}
	query := wire.AppendOPT(wire.AppendQuery(nil, 7, flags, dnstest.Name(t, words[0]), typ), 1232, true, nil)
	query[11] = 1
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	reply := sub.Ask(ctx, query, netip.MustParseAddrPort("192.0.2.200:4000"), false)
	var m wire.Message
	if bad := m.Parse(reply); bad != 0 {
		t.Fatalf("the reply cannot be read: %v", bad)
	}
	got := m.Rcode.String()
	q := why.Question{Name: dnstest.Name(t, words[0]), Type: typ}
	if ede, ok := m.Option(wire.OptionEDE); ok {
		got += fmt.Sprintf(" EDE %d %q", int(ede[0])<<8|int(ede[1]), ede[2:])
		if _, id, found := strings.Cut(string(ede), "why="); found {
			if q.ID, ok = event.ParseID(id); !ok {
				t.Fatalf("%q is no id", id)
			}
		}
	}
	reports := sub.Why(q)
	if len(reports) == 0 {
		return nil, got
	}
	return &reports[0], got
}

// TestFaults plants faults, and has the cause of what clients get be told.
func TestFaults(t *testing.T) {
	all := faults()
	wrong := 0
	for i := range all {
		f := &all[i]
		var r *why.Report
		var got string
		synctest.Test(t, func(t *testing.T) { r, got = f.told(t) })
		if r == nil {
			wrong++
			t.Logf("%s: nothing is told of %s (%s)", f.name, f.ask, got)
			continue
		}
		if r.Code != f.code || !strings.Contains(r.Cause, f.says) {
			wrong++
			t.Logf("%s: %s: told is %s: %s\n  want %s, %q\n  steps %v", f.name, got, r.Code, r.Cause, f.code, f.says, steps(r))
		}
		if strings.HasPrefix(f.name, "a limit of time") && r.Code != f.code {
			t.Errorf("%s: told is %s: whom the resolver waits for when the reply is due is known", f.name, r.Code)
		}
		if len(r.Advice) == 0 {
			t.Errorf("%s: nothing can be done", f.name)
		}
		if strings.HasPrefix(f.name, "a forwarder") && !slices.ContainsFunc(r.Advice, func(a why.Advice) bool { return strings.HasSuffix(a.Command, "@192.0.2.99") }) {
			t.Errorf("%s: nobody is told to ask the forwarder: %v", f.name, r.Advice)
		}
	}
	t.Logf("of %d faults the cause of %d is told", len(all), len(all)-wrong)
	if len(all) < 100 || wrong*50 > len(all) {
		t.Errorf("of %d faults the cause of %d is told: want 98 of 100 at least", len(all), len(all)-wrong)
	}
}

func steps(r *why.Report) string {
	var b strings.Builder
	for _, s := range r.Steps {
		fmt.Fprintf(&b, "\n    %d %s", s.Micros/1000, s.Text)
	}
	return b.String()
}
