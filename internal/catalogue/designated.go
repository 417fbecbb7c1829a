package catalogue

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"port53/internal/certs"
	"port53/internal/check"
	"port53/internal/finding"
	"port53/internal/quic"
	"port53/internal/wire"
)

// maxDesignated is how many services are connected to: resolvers have a handful, and whoever lists
// more has the check go from port to port.
const maxDesignated = 8

// runDesignated connects to the services that a resolver announces, as a client would that knows it
// by its address (RFC 9462, section 4.2). Only the resolver's own address is connected to: others are
// not its to name.
func runDesignated(ctx context.Context, r *check.Run) []finding.Finding {
	if r.Derived {
		return nil // nobody has it for his resolver
	}
	q := check.RD(mustName("_dns.resolver.arpa"), wire.TypeSVCB)
	m, err := r.Ask(ctx, q)
	ev := seen(r.Server, q, m)
	if err != nil {
		return finding.Unmeasured(ev, err)
	}
	var faults, doubts, good []string
	var untried error
	state := finding.Pass
	records := m.In(wire.Answer, wire.TypeSVCB)
	for _, rr := range records[:min(len(records), maxDesignated)] {
		s := readSvc(rr.Data)
		if s == nil || s.alias() {
			continue
		}
		for _, protocol := range protocolsOf(s) {
			at, here := serviceAt(s, protocol, r.Server.Addr.Addr())
			if !here {
				continue
			}
			what := fmt.Sprintf("%s on port %d", protocol, at.Port())
			fault, doubt, err := connectDesignated(ctx, r, s, protocol, at)
			switch {
			case err != nil:
				untried = err
			case fault != "":
				faults, state = append(faults, what+": "+fault), finding.Fail
			case doubt != "":
				doubts = append(doubts, what+": "+doubt)
			default:
				good = append(good, what)
			}
		}
	}
	switch {
	case len(faults)+len(doubts) > 0:
		if state != finding.Fail {
			state = finding.Warn
		}
		return finding.Verdict(state, ev, "%s", strings.Join(append(faults, doubts...), "; "))
	case len(good) == 0 && untried != nil:
		return finding.Unmeasured(ev, untried)
	case len(good) == 0:
		return finding.Unmeasured(ev, fmt.Errorf("no encrypted service is announced at this address: %w", finding.ErrInapplicable))
	}
	return finding.Verdict(finding.Pass, ev, "%s", strings.Join(good, ", "))
}

// protocolsOf returns the protocols of a service that are known, by their names in ALPN.
func protocolsOf(s *svcRecord) (list []string) {
	for d := s.params[keyALPN]; len(d) > 0 && len(d) > int(d[0]); d = d[1+int(d[0]):] {
		p := string(d[1 : 1+int(d[0])])
		if slices.Contains([]string{certs.DoT, certs.DoQ, certs.H2, certs.H3}, p) && !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	return list
}

// serviceAt returns where a client finds a service, if that is the address that was asked: one of the
// hints, or there are none.
func serviceAt(s *svcRecord, protocol string, asked netip.Addr) (netip.AddrPort, bool) {
	port := uint16(853)
	if protocol == certs.H2 || protocol == certs.H3 {
		port = 443
	}
	if p := s.params[keyPort]; len(p) == 2 {
		port = binary.BigEndian.Uint16(p)
	}
	var hints []netip.Addr
	for key, size := range map[int]int{keyIPv4Hint: 4, keyIPv6Hint: 16} {
		for d := s.params[key]; len(d) >= size; d = d[size:] {
			a, _ := netip.AddrFromSlice(d[:size])
			hints = append(hints, a)
		}
	}
	here := len(hints) == 0 || slices.Contains(hints, asked.Unmap().WithZone(""))
	return netip.AddrPortFrom(asked, port), here && port != 0
}

// connectDesignated connects to a service. fault is why clients cannot use it, doubt why some will not; err is
// why that is not known.
func connectDesignated(
	ctx context.Context, r *check.Run, s *svcRecord, protocol string, at netip.AddrPort,
) (fault, doubt string, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.StepTimeout())
	defer cancel()
	// The certificate is judged, not trusted: nothing is said over the connection.
	config := &tls.Config{
		InsecureSkipVerify: true, NextProtos: []string{protocol}, MinVersion: tls.VersionTLS12,
		ServerName: strings.TrimSuffix(wire.NameText(s.target), "."),
	}
	var st tls.ConnectionState
	if protocol == certs.DoT || protocol == certs.H2 {
		c, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", at.String())
		if err != nil {
			return "announced, and does not answer: " + check.StableError(err).Error(), "", nil
		}
		defer c.Close()
		st = c.(*tls.Conn).ConnectionState()
	} else {
		socket, err := (&net.Dialer{}).DialContext(ctx, "udp", at.String())
		if err != nil {
			return "", "", check.StableError(err)
		}
		c, err := quic.Dial(ctx, socket, config)
		if errors.Is(err, quic.ErrNotBuilt) {
			return "", "", err
		}
		if err != nil {
			return "announced, and does not answer: " + check.StableError(err).Error(), "", nil
		}
		defer c.Close()
		st = c.State()
	}
	// The client knows an address: that is what the certificate has to have.
	state, detail := judgeCert(st, protocol, at.Addr().Unmap().WithZone("").String(), r.Options.Lab.TLSRoots, r.Clock())
	switch {
	case state == finding.Fail:
		return detail, "", nil
	case state == finding.Warn:
		return "", strings.Replace(detail, "is another name's", "does not have this address", 1), nil
	}
	return "", "", nil
}
