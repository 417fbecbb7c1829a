package query_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"port53/internal/chain"
	"port53/internal/exchange"
	"port53/internal/lab"
	"port53/internal/query"
	"port53/internal/wire"
)

// trace follows a question through a laboratory made of sections, and returns the
// steps as text.
func trace(t *testing.T, world, question string) (done *chain.TraceResult, shown string, w *lab.World, err error) {
	t.Helper()
	w = lab.NewWorld(lab.Options{})
	_, sections := lab.Split("world", []byte(world))
	if err := w.Put(sections...); err != nil {
		t.Fatal(err)
	}
	var steps []byte
	style := query.Style{}
	tr := chain.Tracer{
		Asker: labAsker{w.Net}, Port: 53, IPv4: true, IPv6: true,
		Roots: []chain.Server{{Name: name(t, "root."), Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}},
		Step:  func(s *chain.Step) { steps = style.AppendStep(steps, s) },
	}
	owner, kind, _ := strings.Cut(question, " ")
	typ, ok := wire.ParseType(kind)
	if !ok {
		t.Fatalf("no type %s", kind)
	}
	done, err = tr.Trace(t.Context(), &exchange.Question{Name: name(t, owner), Type: typ, Class: wire.ClassIN, EDNS: true, UDPSize: 4096})
	return done, string(steps), w, err
}

// TestTrace goes through delegations good and hostile, and never far.
func TestTrace(t *testing.T) {
	var many, circle strings.Builder
	for i := range 1500 {
		fmt.Fprintf(&many, "nxns NS n%d.victim.\n", i)
	}
	for i := range 40 {
		fmt.Fprintf(&circle, "c%d CNAME c%d\n", i, i+1)
	}
	tests := []struct {
		what, world, question string
		outcome               chain.Outcome // "" if there is no reply
		err                   string
		steps                 string // a part of them
		most                  int    // questions
	}{
		{"a child on the same server is answered for at once", `
-- zone . 192.0.2.1 --
-- zone test. 192.0.2.1 --
www A 192.0.2.80`, "www.test. A", chain.Answered, "", ";; .: asked root. 192.0.2.1 (UDP, 0 msec): the answer", 1},
		{"DS is asked of the parent's servers", `
-- zone . 192.0.2.1 --
-- zone test. 192.0.2.2 --`, "test. DS", chain.NoData, "", ";; .: asked root.", 1},
		{"the next server is asked when one is down", `
-- zone . 192.0.2.1 --
-- zone test. 192.0.2.2 192.0.2.3 --
www A 192.0.2.80
-- host 192.0.2.2 down --
-- host 192.0.2.3 lame --`, "www.test. A", "", "none of the servers of test. gives a usable answer", "lame: it answers REFUSED", 3},
		{"a referral upwards is lame", `
-- zone . 192.0.2.1 --
-- zone test. 192.0.2.2 --
-- host 192.0.2.2 --
when * *
  reply NOERROR
  authority
  . 3600 NS a.root.`, "www.test. A", "", "none of the servers of test.", "lame: it refers to ., which is not below test.", 2},
		{"a referral sideways is lame", `
-- zone . 192.0.2.1 --
-- zone test. 192.0.2.2 --
-- host 192.0.2.2 --
when * *
  reply NOERROR
  authority
  bank. 3600 NS a.bank.
  additional
  a.bank. 3600 A 192.0.2.66`, "www.test. A", "", "none of the servers of test.", "lame: it says nothing", 2},
		{"the address of a server outside of the zone asked is not believed", `
-- zone . 192.0.2.1 --
-- zone test. 192.0.2.2 --
-- zone bank. 192.0.2.3 --
ns A 192.0.2.4
-- zone sub.test. 192.0.2.4 --
www A 192.0.2.80
-- host 192.0.2.2 --
when *.sub.test. *
  reply NOERROR
  authority
  sub.test. 3600 NS ns.bank.
  additional
  ns.bank. 3600 A 192.0.2.66`, "www.sub.test. A", chain.Answered, "", ";;   bank.: asked ns1.bank. 192.0.2.3 for ns.bank. A (UDP, 0 msec): the answer", 6},
		{"delegations in a circle end", `
-- zone . 192.0.2.1 --
-- zone test. 192.0.2.2 --
a NS ns.b
b NS ns.a`, "www.a.test. A", "", "none of the servers of a.test. has an address that can be found", "", 8},
		{"NXNS: few of many servers are looked up", `
-- zone . 192.0.2.1 --
-- zone victim. 192.0.2.9 --
-- zone test. 192.0.2.2 --
` + many.String(), "www.nxns.test. A", "", "", "", 20},
		{"aliases in a circle end", `
-- zone . 192.0.2.1 --
-- zone test. 192.0.2.2 --
a CNAME b
b CNAME a`, "a.test. A", "", "more than 11 aliases", "", 4},
		{"a long chain of aliases ends", `
-- zone . 192.0.2.1 --
-- zone test. 192.0.2.2 --
` + circle.String(), "c0.test. A", "", "more than 11 aliases", "", 4},
		{"an alias to another zone is asked there", `
-- zone . 192.0.2.1 --
-- zone test. 192.0.2.2 --
-- zone bank. 192.0.2.3 --
www A 192.0.2.80
-- host 192.0.2.2 --
when www.test. A
  reply NOERROR aa
  answer
  @ 3600 CNAME www.bank.
  www.bank. 3600 A 192.0.2.66`, "www.test. A", chain.Answered, "", ";; bank.: asked ns1.bank. 192.0.2.3 (UDP, 0 msec): the answer", 4},
		{"0.0.0.0 and multicast are never asked", `
-- zone . 192.0.2.1 --
test NS a.test.
a.test. A 0.0.0.0
a.test. A 224.0.0.1
a.test. AAAA ::
a.test. AAAA ff02::1`, "www.test. A", "", "none of the servers of test. has an address", "", 5},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				done, steps, w, err := trace(t, tt.world, tt.question)
				outcome := chain.Outcome("")
				if done.Reply != nil {
					outcome = chain.Classify(done.Reply).Outcome
				}
				if tt.outcome != "" && (outcome != tt.outcome || err != nil) || tt.outcome == "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
					t.Errorf("%s, %v; want %s, %s", outcome, err, tt.outcome, tt.err)
				}
				if sent := w.Net.Counts(netip.Addr{}).Queries; done.Queries > tt.most || sent > tt.most {
					t.Errorf("%d questions, %d sent, want at most %d", done.Queries, sent, tt.most)
				}
				if !strings.Contains(steps, tt.steps) {
					t.Errorf("got\n%s\nwant %q in it", steps, tt.steps)
				}
				if w.Net.Counts(netip.MustParseAddr("192.0.2.66")).Queries > 0 {
					t.Error("the forged address was asked")
				}
			})
		})
	}
}
