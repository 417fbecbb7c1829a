package chain_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"time"

	"port53/internal/chain"
	"port53/internal/dnstest"
	"port53/internal/exchange"
	"port53/internal/lab"
	"port53/internal/resolver"
	"port53/internal/wire"
)

// TestVerdicts plays the resolver's scenarios of DNSSEC: whatever it says is secure,
// insecure or bogus, a walk from the root says too.
func TestVerdicts(t *testing.T) {
	for _, file := range []string{"signatures", "denial", "chains", "downgrade", "delegations", "types_signed", "verdicts", "attacks_signed", "aggressive", "aggressive_nsec3", "keys"} {
		dnstest.Verdicts(t, "../resolver/testdata/"+file+".txtar", except[file], newSubject)
	}
}

// except are the scenarios, by file, that are not about one walk.
var except = map[string]map[string]string{
	"signatures": {"one server of two": "a walk believes the first server that answers; the resolver asks another"},
	"downgrade": {
		"a referral with the NSEC of an insecure zone":           "the forger waits for a minimised question, which a walk does not ask",
		"a denial of DS with the NSEC3 of an insecure zone":      "the forger waits for a minimised question, which a walk does not ask",
		"a wildcard of the zone above whose hashes are too dear": "the resolver still knows the delegation that is withdrawn",
	},
	"denial":     {"NODATA with another RCODE": "a walk tells that the server says one thing and proves another"},
	"aggressive": {"below a zone with a forwarder": "a walk asks no forwarder"},
	"attacks_signed": {
		"NSEC3 hashes of one question": "one walk may cost more than one question of many",
		"signatures of a chain":        "one walk may cost more than one question of many",
	},
	"delegations": {
		"a child that answers for its parent":        "without an anchor a walk judges nothing",
		"negative anchor":                            "a walk has none",
		"a forwarder that drops signatures":          "a walk asks no forwarder",
		"a private zone that the public tree denies": "a walk follows the public tree",
	},
}

// A subject answers with what a walk from the root and a validation along it come to. It
// has no cache.
type subject struct {
	t       testing.TB
	tracer  chain.Tracer
	anchors []chain.Anchor
	now     func() time.Time
}

func newSubject(t testing.TB, s *dnstest.Setup) dnstest.Subject {
	sub := &subject{t: t, now: time.Now}
	sub.tracer = chain.Tracer{Asker: labAsker{s.Net}, Port: 53, IPv4: true, IPv6: true}
	hints, err := resolver.ReadHints(strings.NewReader(s.Hints), "hints")
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hints {
		sub.tracer.Roots = append(sub.tracer.Roots, chain.Server{Name: h.Name, Addrs: h.Addrs})
	}
	if s.Anchors != "" && s.Validate {
		anchors, err := resolver.ReadAnchors(strings.NewReader(s.Anchors), "anchors")
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range anchors {
			sub.anchors = append(sub.anchors, chain.Anchor{Zone: a.Zone, DS: a.DS, Keys: a.Keys})
		}
	}
	if at := s.Time("validation-time"); !at.IsZero() {
		sub.now = func() time.Time { return at }
	}
	return sub
}

// Ask implements [dnstest.Subject].
func (s *subject) Ask(ctx context.Context, query []byte, _ netip.AddrPort, _ bool) []byte {
	var q wire.Message
	if q.Parse(query) != 0 {
		return nil
	}
	walk := s.tracer.Walk(&exchange.Question{Class: wire.ClassIN, Flags: wire.FlagCD, EDNS: true, DO: true, UDPSize: exchange.UDPSize})
	v := chain.Validator{Ask: walk.Fetch, Anchors: s.anchors, Now: s.now()}
	v.Check = func(c *chain.Check) {
		s.t.Logf("%s %s %v: %s (EDE %d)", c.Security, wire.NameText(c.Name), c.Type, c.Text, c.EDE)
	}
	done := v.Validate(ctx, q.Name, q.Type)
	flags := wire.FlagQR | wire.FlagRA | q.Flags&wire.FlagRD
	var options []byte
	switch done.Security {
	case chain.Secure:
		if flags |= uint16(done.Reply.Message.Rcode); q.DO || q.Flags&wire.FlagAD != 0 {
			flags |= wire.FlagAD
		}
	case chain.Insecure:
		flags |= uint16(done.Reply.Message.Rcode)
	case chain.Indeterminate:
		if len(s.anchors) == 0 && done.Err == nil { // to the resolver that is insecure
			flags |= uint16(done.Reply.Message.Rcode)
			break
		}
		fallthrough
	default:
		flags |= uint16(wire.ServFail)
		options = binary.BigEndian.AppendUint16([]byte{0, byte(wire.OptionEDE), 0, 2}, uint16(done.Broken.EDE))
	}
	reply := wire.AppendQuery(nil, q.ID, flags, q.Name, q.Type)
	if q.EDNS {
		reply = wire.AppendOPT(reply, exchange.UDPSize, q.DO, options)
		reply[11]++
	}
	return reply
}

// Close implements [dnstest.Subject].
func (s *subject) Close() {}

// A labAsker asks the hosts of a laboratory, over UDP and, where that is truncated, TCP.
type labAsker struct{ net *lab.Net }

// Ask implements [chain.Asker].
func (l labAsker) Ask(ctx context.Context, server netip.AddrPort, q *exchange.Question) (*exchange.Reply, error) {
	var failed []exchange.Attempt
	for range 3 {
		r := &exchange.Reply{Question: q, Sent: q.Append(nil, uint16(len(failed)+1), nil), Server: server, At: time.Now()}
		msg, err := l.overUDP(ctx, r)
		if err == nil && msg[2]&2 != 0 {
			r.TCP = true
			msg, err = l.overTCP(ctx, r)
		}
		if err == nil {
			r.Raw = bytes.Clone(msg)
			r.Fault = r.Message.Parse(r.Raw)
			return r, nil
		}
		failed = append(failed, exchange.Attempt{Server: server, TCP: r.TCP, Err: err})
	}
	return nil, &exchange.NoReplyError{Attempts: failed}
}

func (l labAsker) overUDP(ctx context.Context, r *exchange.Reply) ([]byte, error) {
	s, err := l.net.Socket(r.Server)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if err := s.Send(r.Sent); err != nil {
		return nil, err
	}
	var d exchange.DatagramReceiver
	msg, _, err := d.Receive(ctx, s, r.Sent, make([]byte, wire.MaxMessage), r.At.Add(time.Second))
	return msg, err
}

func (l labAsker) overTCP(ctx context.Context, r *exchange.Reply) ([]byte, error) {
	c, err := l.net.DialTCP(ctx, r.Server)
	if err != nil {
		return nil, err
	}
	s := exchange.NewStream(c)
	defer s.Close()
	until := time.Now().Add(time.Second)
	if err := s.Send(ctx, r.Sent, until); err != nil {
		return nil, err
	}
	msg, _, err := s.Receive(ctx, r.Sent, until)
	return msg, err
}
