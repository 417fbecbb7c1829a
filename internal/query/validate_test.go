package query_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/chain"
	"port53/internal/exchange"
	"port53/internal/lab"
	"port53/internal/query"
	"port53/internal/resolver"
	"port53/internal/wire"
)

// A labAsker asks the hosts of a laboratory, over UDP and, where that is truncated,
// TCP.
type labAsker struct{ net *lab.Net }

// Ask implements query.Asker.
func (l labAsker) Ask(ctx context.Context, server netip.AddrPort, q *exchange.Question) (*exchange.Reply, error) {
	r := &exchange.Reply{Question: q, Sent: q.Append(nil, 1, nil), Server: server, At: time.Now()}
	s, err := l.net.Socket(server)
	if err != nil {
		return nil, &exchange.NoReplyError{Attempts: []exchange.Attempt{{Server: server, Err: err}}}
	}
	defer s.Close()
	buf := make([]byte, wire.MaxMessage)
	n := 0
	if err = s.Send(r.Sent); err == nil {
		n, err = s.Recv(ctx, buf, r.At.Add(time.Second))
	}
	if err != nil {
		return nil, &exchange.NoReplyError{Attempts: []exchange.Attempt{{Server: server, Err: err}}}
	}
	r.RTT = time.Since(r.At)
	r.Raw = buf[:n]
	r.Fault = r.Message.Parse(r.Raw)
	return r, nil
}

func newWorld(t *testing.T, file string) *lab.World {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	w := lab.NewWorld(lab.Options{})
	_, sections := lab.Split(file, text)
	var world []lab.Section
	for _, s := range sections {
		if s.Kind == "zone" || s.Kind == "host" {
			world = append(world, s)
		}
	}
	if err := w.Put(world...); err != nil {
		t.Fatal(err)
	}
	return w
}

func name(t *testing.T, s string) []byte {
	t.Helper()
	n, err := wire.ParseName(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestValidate walks chains of trust of every kind, whole and broken.
func TestValidate(t *testing.T) {
	tests := []struct {
		what     string
		question string
		security chain.Security
		where    string // the broken link
		ede      int
		text     string // in that link
	}{
		{"an answer", "www.good.test. A", "secure", "", 0, ""},
		{"no such type", "www.good.test. MX", "secure", "", 0, ""},
		{"no such name", "nope.good.test. A", "secure", "", 0, ""},
		{"an empty non-terminal", "ent.good.test. A", "secure", "", 0, ""},
		{"an alias", "alias.good.test. A", "secure", "", 0, ""},
		{"an alias into an unsigned zone", "away.good.test. A", "insecure", "plain.test. DS", -1, "an insecure delegation: proven to have no DS record"},
		{"a wildcard", "q.wild.good.test. A", "secure", "", 0, ""},
		{"no such type of a wildcard", "q.wild.good.test. MX", "secure", "", 0, ""},
		{"a wildcard alias", "q.wildalias.good.test. A", "secure", "", 0, ""},
		{"a DNAME", "x.d.good.test. A", "secure", "", 0, ""},
		{"DS", "good.test. DS", "secure", "", 0, ""},
		{"DNSKEY", "good.test. DNSKEY", "secure", "", 0, ""},
		{"the anchor's own keys", ". DNSKEY", "secure", "", 0, ""},
		{"every type", "www.good.test. ANY", "secure", "", 0, ""},
		{"a top-level domain that does not exist", "nope. A", "secure", "", 0, ""},
		{"the proof that there is no DS", "plain.test. DS", "secure", "", 0, ""},
		{"NSEC3", "www.three.test. A", "secure", "", 0, ""},
		{"NSEC3: no such name", "nope.three.test. A", "secure", "", 0, ""},
		{"NSEC3: no such type", "www.three.test. MX", "secure", "", 0, ""},
		{"NSEC3: a wildcard", "q.wild.three.test. A", "secure", "", 0, ""},
		{"NSEC3 with opt-out", "www.optout.test. A", "secure", "", 0, ""},
		{"no such name within an opt-out range", "nope.optout.test. A", "insecure", "nope.optout.test. A", -1, "opt-out"},
		{"an unsigned zone within an opt-out range", "www.plain.optout.test. A", "insecure", "plain.optout.test. DS", -1, "opt-out"},
		{"no DS within an opt-out range", "plain.optout.test. DS", "insecure", "plain.optout.test. DS", -1, "opt-out"},
		{"an unsigned zone", "www.plain.test. A", "insecure", "plain.test. DS", -1, "(by plain.test. NSEC)"},
		{"no such name in an unsigned zone", "nope.plain.test. A", "insecure", "plain.test. DS", -1, ""},
		{"NSEC3 with many iterations: an answer", "www.iterations.test. A", "secure", "", 0, ""},
		{"NSEC3 with many iterations: no such name", "nope.iterations.test. A", "insecure", "nope.iterations.test. A", 27, "too many NSEC3 iterations"},
		{"an expired signature", "expired.bad.test. A", "bogus", "expired.bad.test. A", 7, "4w2d ago: the signature has expired"},
		{"a signature before its time", "early.bad.test. A", "bogus", "early.bad.test. A", 8, "in 4w2d: the signature is not valid yet"},
		{"a signature by a key of nobody's", "foreign.bad.test. A", "bogus", "foreign.bad.test. A", 9, "not among the keys of bad.test."},
		{"a wrong signature", "corrupt.bad.test. A", "bogus", "corrupt.bad.test. A", 6, "the signature is wrong"},
		{"no signature", "unsigned.bad.test. A", "bogus", "unsigned.bad.test. A", 10, "there is no signature, and the zone bad.test. is signed"},
		{"changed data", "alter.bad.test. A", "bogus", "alter.bad.test. A", 6, "the signature is wrong"},
		{"a signature of another zone", "signer.bad.test. A", "bogus", "signer.bad.test. A", 9, "not among the keys of test."},
		{"a denial without its record", "gap.bad.test. MX", "bogus", "gap.bad.test. MX", 6, "that there is no MX record of this name is not proven"},
		{"a DS with a wrong digest", "www.wrongds.test. A", "bogus", "wrongds.test. DNSKEY", 9, "fits DS"},
		{"an algorithm that nobody knows", "www.unknown.test. A", "insecure", "unknown.test. DNSKEY", 1, "RFC 6840"},
		{"keys without a signature", "www.unsignedkeys.test. A", "bogus", "unsignedkeys.test. DNSKEY", 10, "there is no signature"},
		{"a signed zone without keys", "www.nokeys.test. A", "bogus", "nokeys.test. DNSKEY", 9, "has no DNSKEY records"},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v, shown := validate(t, tt.question, "")
				where, ede := "", 0
				if b := v.Broken; b != nil {
					where, ede = fmt.Sprintf("%s %v", query.NameText(b.Name), b.Type), b.EDE
				}
				if v.Security != tt.security || where != tt.where || ede != tt.ede || v.Broken != nil && !strings.Contains(v.Broken.Text, tt.text) {
					t.Errorf("%s:\n%s%s\nwant %s at %q, EDE %d, %q", tt.question, shown, strings.Join(query.ValidationMeaning(v), "\n"), tt.security, tt.where, tt.ede, tt.text)
				}
			})
		})
	}
}

// TestValidateTampered has a resolver that leaves things out, or lies.
func TestValidateTampered(t *testing.T) {
	tests := []struct {
		what, question, script string
		security               chain.Security
		where                  string
		ede                    int
		text                   string
	}{
		{"no signatures at all", "www.good.test. A", "when * *\n  serve strip=RRSIG", "bogus", ". DNSKEY", 10, "is signed"},
		{
			"the DS record hidden", "www.good.test. A", "when good.test. DS\n  serve strip=DS,RRSIG,NSEC,SOA\nwhen www.good.test. A\n  reply NOERROR ra\n  answer\n  @ 60 A 192.0.2.66",
			"bogus", "good.test. DS", 12, "there is no DS record, and that is not proven: the proof is missing",
		},
		{"a forged answer without a signature", "www.good.test. A", "when www.good.test. A\n  reply NOERROR ra\n  answer\n  @ 60 A 192.0.2.66", "bogus", "www.good.test. A", 10, "there is no signature"},
		{"a denial without a proof", "www.good.test. A", "when www.good.test. A\n  reply NXDOMAIN ra", "bogus", "www.good.test. A", 12, "that the name does not exist is not proven: the proof is missing"},
		{"a wildcard without its proof", "q.wild.good.test. A", "when q.wild.good.test. A\n  serve strip=NSEC", "bogus", "q.wild.good.test. A", 12, "made from a wildcard, but that the name itself does not exist is not proven"},
		{"the DNAME's alias changed", "x.d.good.test. A", "when x.d.good.test. A\n  serve\n  answer\n  @ 60 CNAME evil.test.", "bogus", "x.d.good.test. CNAME", 6, "it does not lead to x.www.good.test., as the DNAME record of d.good.test. makes it"},
		{"SERVFAIL", "www.good.test. A", "when www.good.test. A\n  reply SERVFAIL ra", "indeterminate", "www.good.test. A", 22, "answers SERVFAIL, even without validation"},
		{"SERVFAIL for the keys", "www.good.test. A", "when good.test. DNSKEY\n  reply SERVFAIL ra", "indeterminate", "www.good.test. A", 22, "good.test. DNSKEY: "},
		{"a server that does not resolve", "www.good.test. A", "when www.good.test. A\n  reply NOERROR\n  authority\n  test. 60 NS ns1.test.", "indeterminate", "www.good.test. A", 22, "needs a server that resolves"},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v, shown := validate(t, tt.question, tt.script)
				if b := v.Broken; b == nil || v.Security != tt.security || fmt.Sprintf("%s %v", query.NameText(b.Name), b.Type) != tt.where || b.EDE != tt.ede || !strings.Contains(b.Text, tt.text) {
					t.Errorf("%s:\n%s%s\nwant %s at %q, EDE %d, %q", tt.question, shown, strings.Join(query.ValidationMeaning(v), "\n"), tt.security, tt.where, tt.ede, tt.text)
				}
				if v.Usable() {
					t.Error("it may be believed")
				}
			})
		})
	}
}

// TestValidateAnchors begins at anchors of all kinds.
func TestValidateAnchors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		whole := validator(t, "")
		var root *exchange.Reply
		ask := whole.Ask
		root, err := ask(t.Context(), wire.Root, wire.TypeDNSKEY)
		if err != nil {
			t.Fatal(err)
		}
		var keys [][]byte
		for _, rr := range root.Message.Records {
			if rr.Type == wire.TypeDNSKEY {
				keys = append(keys, rr.Data)
			}
		}
		wrong := append([]byte(nil), whole.Anchors[0].DS[0]...)
		wrong[len(wrong)-1] ^= 1
		for _, tt := range []struct {
			what     string
			anchors  []chain.Anchor
			now      time.Time
			security chain.Security
		}{
			{"DS", whole.Anchors, time.Now(), chain.Secure},
			{"keys", []chain.Anchor{{Zone: wire.Root, Keys: keys}}, time.Now(), chain.Secure},
			{"another DS", []chain.Anchor{{Zone: wire.Root, DS: [][]byte{wrong}}}, time.Now(), chain.Bogus},
			{"another DS beside", []chain.Anchor{{Zone: wire.Root, DS: [][]byte{wrong, whole.Anchors[0].DS[0]}}}, time.Now(), chain.Secure},
			{"an anchor of another zone", []chain.Anchor{{Zone: name(t, "other."), Keys: keys}}, time.Now(), chain.Indeterminate},
			{"a wrong anchor closer", []chain.Anchor{whole.Anchors[0], {Zone: name(t, "good.test."), Keys: keys}}, time.Now(), chain.Bogus},
			{"none", nil, time.Now(), chain.Indeterminate},
			{"too late", whole.Anchors, time.Now().AddDate(1, 0, 0), chain.Bogus},
			{"too early", whole.Anchors, time.Now().AddDate(-1, 0, 0), chain.Bogus},
		} {
			v := chain.Validator{Ask: ask, Anchors: tt.anchors, Now: tt.now}
			if got := v.Validate(t.Context(), name(t, "www.good.test."), wire.TypeA); got.Security != tt.security {
				t.Errorf("%s: %s, want %s\n%s", tt.what, got.Security, tt.security, strings.Join(query.ValidationMeaning(got), "\n"))
			}
		}
	})
}

// validate asks the laboratory's resolver, which has a script. It returns the chain as
// text too.
func validate(t *testing.T, question, script string) (*chain.Validated, string) {
	t.Helper()
	v := validator(t, script)
	var shown []byte
	v.Check = func(c *chain.Check) { shown = query.AppendCheck(shown, c) }
	owner, kind, _ := strings.Cut(question, " ")
	typ, ok := wire.ParseType(kind)
	if !ok {
		t.Fatalf("no type %s", kind)
	}
	done := v.Validate(t.Context(), name(t, owner), typ)
	return done, string(shown)
}

func validator(t *testing.T, script string) *chain.Validator {
	t.Helper()
	w := newWorld(t, "testdata/world.txtar")
	if script != "" {
		if err := w.Put(lab.Section{Kind: "host", Args: []string{"192.0.2.99", "resolver"}, File: "script", Body: strings.Split(script, "\n")}); err != nil {
			t.Fatal(err)
		}
	}
	anchors, err := resolver.ReadAnchors(strings.NewReader(w.Anchors()), "anchors")
	if err != nil {
		t.Fatal(err)
	}
	v := &chain.Validator{Now: time.Now()}
	for _, a := range anchors {
		v.Anchors = append(v.Anchors, chain.Anchor{Zone: a.Zone, DS: a.DS, Keys: a.Keys})
	}
	ask := labAsker{w.Net}
	v.Ask = func(ctx context.Context, name []byte, typ wire.Type) (*exchange.Reply, error) {
		return ask.Ask(ctx, netip.MustParseAddrPort("192.0.2.99:53"), &exchange.Question{
			Name: name, Type: typ, Class: wire.ClassIN, Flags: wire.FlagRD | wire.FlagCD, EDNS: true, DO: true, UDPSize: 4096,
		})
	}
	return v
}

// TestKeysShown shows what each key of a zone is and does, whether the parent has a DS record of it, and how
// long its signatures are good.
func TestKeysShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for question, want := range map[string]string{
			"www.good.test. A":      `^;; KEYS of good.test.:\n; KSK +\d+ ECDSAP256SHA256 active    DS     signs DNSKEY \(8w left\)\n; ZSK +\d+ ECDSAP256SHA256 active    -      signs A \(8w left\)\n$`,
			"nope.good.test. A":     `; ZSK .* signs NSEC \(8w left\)\n$`,
			"expired.bad.test. A":   `(?s)KEYS of bad.test.:.*; ZSK .* signs .*A \(expired\)`,
			"www.wrongds.test. A":   `(?s)KEYS of wrongds.test.:\n; KSK +\d+ ECDSAP256SHA256 active    no DS  signs DNSKEY .*; DS +\d+ ECDSAP256SHA256 digest 2: no key here is the one that it is of\n$`,
			"www.plain.test. A":     "^$",
			"away.good.test. CNAME": `^;; KEYS of good.test.:\n`,
		} {
			done, _ := validate(t, question, "")
			if got := string(query.AppendKeys(nil, done, time.Now())); !regexp.MustCompile(want).MatchString(got) {
				t.Errorf("%s: got\n%swant %s", question, got, want)
			}
		}
		done, _ := validate(t, "www.good.test. A", "")
		r := query.ReportValidation(done, &exchange.Question{Name: name(t, "www.good.test."), Type: wire.TypeA}, time.Now(), nil)
		if z := r.Zones[len(r.Zones)-1]; len(r.Zones) != 3 || z.Zone != "good.test." || !z.Answers || r.Zones[0].Answers || len(z.Keys) != 2 || !z.Keys[0].DS || z.Keys[1].DS ||
			z.Keys[1].Signs[0].Type != "A" || !z.Keys[1].Signs[0].Good || z.Keys[1].Signs[0].Left < 86400 || len(z.DS) != 1 || !z.DS[0].Key {
			t.Errorf("as JSON: %+v", r.Zones)
		}
	})
}
