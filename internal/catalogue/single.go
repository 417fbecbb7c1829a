package catalogue

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"strings"

	"port53/internal/check"
	"port53/internal/finding"
	"port53/internal/wire"
)

// single returns a check's Run which asks one question over UDP and judges the
// reply.
func single(ask func(r *check.Run) check.Query, judge func(r *check.Run, m *check.Reply) (finding.State, string)) func(context.Context, *check.Run) []finding.Finding {
	return func(ctx context.Context, r *check.Run) []finding.Finding {
		q := ask(r)
		m, err := r.Ask(ctx, q)
		if err != nil {
			return finding.Unmeasured(finding.Evidence{Command: check.Dig(r.Server, q)}, err)
		}
		s, detail := judge(r, m)
		if m.Bad != 0 && s != finding.Fail {
			return finding.Unmeasured(seen(r.Server, q, m), check.Malformed(m.Bad))
		}
		return []finding.Finding{{State: s, Detail: detail, Evidence: seen(r.Server, q, m)}}
	}
}

// singleTCP is single over TCP.
func singleTCP(ask func(r *check.Run) check.Query, judge func(r *check.Run, m *check.Reply) (finding.State, string)) func(context.Context, *check.Run) []finding.Finding {
	return func(ctx context.Context, r *check.Run) []finding.Finding {
		q := ask(r)
		cmd := check.Dig(r.Server, q) + " +tcp"
		m, err := r.AskTCP(ctx, q)
		if err != nil {
			return finding.Unmeasured(finding.Evidence{Command: cmd}, err)
		}
		s, detail := judge(r, m)
		ev := seen(r.Server, q, m)
		ev.Command = cmd
		if m.Bad != 0 && s != finding.Fail {
			return finding.Unmeasured(ev, check.Malformed(m.Bad))
		}
		return []finding.Finding{{State: s, Detail: detail, Evidence: ev}}
	}
}

// seen returns the evidence of one exchange.
func seen(s finding.Server, q check.Query, m *check.Reply) finding.Evidence {
	ev := finding.Evidence{N: 1, Command: check.Dig(s, q)}
	if m != nil {
		ev.Received, ev.RTT = m.Raw, m.RTT
	}
	return ev
}

// mustName reads a name that is written in this package.
func mustName(s string) []byte {
	n, err := wire.ParseName(s)
	if err != nil {
		panic("check: bad name in the program: " + s)
	}
	return n
}

// randomLabel returns a label that nobody has, of 80 random bits.
func randomLabel() string {
	var b [10]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

// randomBytes returns n random octets.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// optFlags returns the flags of a reply's OPT record, and whether it has one.
func optFlags(raw []byte) (uint16, bool) {
	if len(raw) < wire.HeaderLen {
		return 0, false
	}
	off := wire.HeaderLen
	count := func(i int) int { return int(binary.BigEndian.Uint16(raw[4+2*i:])) }
	for range count(0) {
		_, n, bad := wire.AppendExpanded(nil, raw, off)
		if bad != 0 {
			return 0, false
		}
		off += n + 4
	}
	for range count(1) + count(2) + count(3) {
		if off >= len(raw) {
			return 0, false
		}
		_, n, bad := wire.AppendExpanded(nil, raw, off)
		if bad != 0 || off+n+10 > len(raw) {
			return 0, false
		}
		off += n
		if wire.Type(binary.BigEndian.Uint16(raw[off:])) == wire.TypeOPT {
			return binary.BigEndian.Uint16(raw[off+6:]), true
		}
		off += 10 + int(binary.BigEndian.Uint16(raw[off+8:]))
	}
	return 0, false
}

// rdataName returns the name at the start of RDATA, or nil.
func rdataName(data []byte, at int) []byte {
	if at > len(data) {
		return nil
	}
	n, err := wire.CheckName(data[at:])
	if err != nil {
		return nil
	}
	return data[at : at+n]
}
