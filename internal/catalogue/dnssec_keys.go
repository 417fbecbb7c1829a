package catalogue

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"port53/internal/check"
	"port53/internal/dnssec"
	"port53/internal/finding"
	"port53/internal/wire"
)

// noDS reports whether CDS or CDNSKEY data asks the parent to remove all DS records (RFC 8078, section 4).
func noDS(t wire.Type, data []byte) bool {
	if t == wire.TypeCDS {
		return len(data) > 3 && data[2] == 0
	}
	return len(data) > 3 && data[3] == 0
}

// runCDS compares what the zone asks its parent for with its keys: a parent that acts on a CDS record of no key
// makes the zone bogus (RFC 7344, section 4.1).
func runCDS(ctx context.Context, r *check.Run) []finding.Finding {
	m, ev, err := keysOf(ctx, r)
	if err != nil {
		return finding.Unmeasured(ev, err)
	}
	keys := m.Answers(r.Zone, wire.TypeDNSKEY)
	asks := map[wire.Type][][]byte{}
	for _, t := range []wire.Type{wire.TypeCDS, wire.TypeCDNSKEY} {
		m, ev, err := atApex(ctx, r, t)
		if err != nil {
			return finding.Unmeasured(ev, err)
		}
		asks[t] = m.Answers(r.Zone, t)
	}
	cds, cdnskeys := asks[wire.TypeCDS], asks[wire.TypeCDNSKEY]
	if len(cds)+len(cdnskeys) == 0 {
		return finding.Unmeasured(ev, fmt.Errorf("the zone has no CDS or CDNSKEY records: %w", finding.ErrInapplicable))
	}
	for t, list := range asks {
		if len(list) > 1 && slices.ContainsFunc(list, func(d []byte) bool { return noDS(t, d) }) {
			return finding.Verdict(finding.Fail, ev, "a %s record asks for no DS record, and others for some", t)
		}
	}
	for _, d := range cds {
		if !noDS(wire.TypeCDS, d) && !slices.ContainsFunc(keys, func(k []byte) bool { return dnssec.MatchDS(d, r.Zone, k) }) {
			return finding.Verdict(finding.Fail, ev, "a CDS record asks for a DS record of key %d, and the zone has no such key", dsTag(d))
		}
	}
	for _, d := range cdnskeys {
		if !noDS(wire.TypeCDNSKEY, d) && !slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, d) }) {
			return finding.Verdict(finding.Fail, ev, "the CDNSKEY record of key %d is not among the DNSKEY records", dnssec.KeyTag(d))
		}
	}
	if why := unlikeCDS(r.Zone, cds, cdnskeys); why != "" {
		return finding.Verdict(finding.Warn, ev, "%s", why)
	}
	return finding.Verdict(finding.Pass, ev, "%d CDS and %d CDNSKEY records are of keys of the zone", len(cds), len(cdnskeys))
}

func dsTag(ds []byte) uint16 {
	if len(ds) < 2 {
		return 0
	}
	return binary.BigEndian.Uint16(ds)
}

// unlikeCDS says how CDS and CDNSKEY records, of which both are there, ask for different keys (RFC 7344,
// section 4); empty: they do not.
func unlikeCDS(zone []byte, cds, cdnskeys [][]byte) string {
	if len(cds) == 0 || len(cdnskeys) == 0 {
		return ""
	}
	same := func(d, k []byte) bool {
		if noDS(wire.TypeCDS, d) || noDS(wire.TypeCDNSKEY, k) {
			return noDS(wire.TypeCDS, d) && noDS(wire.TypeCDNSKEY, k)
		}
		return dnssec.MatchDS(d, zone, k)
	}
	for _, d := range cds {
		if !slices.ContainsFunc(cdnskeys, func(k []byte) bool { return same(d, k) }) {
			return fmt.Sprintf("the CDS record of key %d has no CDNSKEY record beside it", dsTag(d))
		}
	}
	for _, k := range cdnskeys {
		if !slices.ContainsFunc(cds, func(d []byte) bool { return same(d, k) }) {
			return fmt.Sprintf("the CDNSKEY record of key %d has no CDS record beside it", dnssec.KeyTag(k))
		}
	}
	return ""
}

// runAlgSig looks whether each algorithm of the keys signs the zone (RFC 4035, section 2.2): some validators
// refuse what one of them does not sign.
func runAlgSig(ctx context.Context, r *check.Run) []finding.Finding {
	m, ev, err := keysOf(ctx, r)
	if err != nil {
		return finding.Unmeasured(ev, err)
	}
	soa, sev, err := atApex(ctx, r, wire.TypeSOA)
	if err != nil {
		return finding.Unmeasured(sev, err)
	}
	var algorithms []string
	for _, d := range m.Answers(r.Zone, wire.TypeDNSKEY) {
		k, ok := dnssec.ParseKey(d)
		if !ok || !k.Zone() || k.Revoked() {
			continue
		}
		name := wire.AlgorithmName(k.Algorithm)
		if slices.Contains(algorithms, name) {
			continue
		}
		algorithms = append(algorithms, name)
		signs := func(sig []byte) bool { return len(sig) > 2 && sig[2] == k.Algorithm }
		if !slices.ContainsFunc(m.Signatures(r.Zone, wire.TypeDNSKEY), signs) {
			return finding.Verdict(finding.Fail, ev, "there are keys of %s, and none signs the DNSKEY records", name)
		}
		if !slices.ContainsFunc(soa.Signatures(r.Zone, wire.TypeSOA), signs) {
			return finding.Verdict(finding.Fail, sev, "there are keys of %s, and none signs the zone's records", name)
		}
	}
	return finding.Verdict(finding.Pass, ev, "signed by keys of %s", strings.Join(algorithms, ", "))
}
