package filter

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"strconv"

	"port53/internal/wire"
	"port53/internal/zonefile"
)

// Labels that end what a response policy zone has beside names of questions
// (draft-vixie-dnsop-dns-rpz-00, section 4).
var triggers = map[string]space{
	"rpz-ip": spaceAddress, "rpz-client-ip": spaceClient, "rpz-nsdname": spaceServer, "rpz-nsip": spaceServerAddress,
}

// readRPZ takes the rules of a response policy zone in a list: what it has passed through is
// allowed, and what else it says is that a name is to be blocked, or what to answer.
func (b *Builder) readRPZ(in io.Reader, o ReadOptions) (st Stats, err error) {
	var origin []byte
	var bad error
	_, errs, err := zonefileRead(in, func(r *zonefile.Record) error {
		st.Lines = int(r.Line)
		if r.Type == wire.TypeSOA && origin == nil {
			origin = wire.Lower(nil, r.Owner)
		}
		if origin == nil || !wire.Subdomain(r.Owner, origin) || len(r.Owner) == len(origin) {
			return nil // the apex has what every zone has
		}
		owner := wire.Lower(nil, r.Owner)
		owner = append(owner[:len(owner)-len(origin)], 0)
		switch err := b.policyRecord(owner, r, &o, &st); {
		case err != nil:
			st.Wrong++
			st.note(int(r.Line), string(wire.AppendName(nil, r.Owner))+": "+err.Error())
		case b.full:
			bad = ErrFull
			return bad
		}
		return nil
	})
	switch {
	case bad != nil:
		return st, bad
	case err != nil:
		return st, err
	case len(errs) > 0:
		return st, fmt.Errorf("%w: %w", ErrNoList, errs[0])
	case origin == nil:
		return st, fmt.Errorf("%w: a response policy zone has a SOA record", ErrNoList)
	}
	return st, nil
}

func zonefileRead(in io.Reader, handle func(*zonefile.Record) error) ([]string, []error, error) {
	files, err := zonefile.Read(in, zonefile.Options{Name: "list", Origin: []byte("\x03rpz\x00"), DefaultTTL: 60}, handle)
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return files, joined.Unwrap(), nil
	}
	return files, nil, err
}

// policyRecord takes one record, whose owner is below the zone's apex and relative to it.
func (b *Builder) policyRecord(owner []byte, r *zonefile.Record, o *ReadOptions, st *Stats) error {
	rule := rule{scope: Exact, list: o.List, line: r.Line, allow: o.Allow}
	prefix, of, err := splitTrigger(owner)
	if err != nil {
		return err
	}
	if of != spaceName && of != spaceAddress || !rule.says(owner, r) {
		st.NoZone++ // for zones that are followed
		return nil
	}
	if of == spaceAddress {
		rule.space = spaceAddress
		p, err := parseTrigger(prefix)
		if err != nil {
			return err
		}
		st.count(b.addPrefix(p, &rule))
		return nil
	}
	if bytes.HasPrefix(prefix, []byte("\x01*")) {
		rule.scope, prefix = Below, prefix[2:]
		if len(prefix) == 1 && !rule.allow {
			return errWide
		}
	}
	st.count(b.add(prefix, &rule))
	return nil
}

// says gives a rule what a record has for its owner, which is relative to the apex. It reports false if that is
// nothing that lists can say.
func (r *rule) says(owner []byte, rec *zonefile.Record) bool {
	switch rec.Type {
	case wire.TypeA, wire.TypeAAAA:
		addr, _ := netip.AddrFromSlice(rec.Data)
		r.extra = &extra{rewrite: &rewrite{action: Address, addr: addr}}
		return true
	case wire.TypeCNAME:
	default:
		return false
	}
	switch target := wire.Lower(nil, rec.Data); {
	case len(target) == 1: // it is blocked
	case string(target) == "\x01*\x00":
		r.extra = &extra{answer: NoData}
	case string(target) == "\x08rpz-drop\x00":
		r.extra = &extra{answer: Drop}
	case string(target) == "\x0crpz-passthru\x00", string(target) == string(owner): // the latter is the old way
		r.allow = true
	case bytes.HasPrefix(target, []byte("\x01*")), lastLabel(target, "rpz-"): // rpz-tcp-only, and actions to come
		return false
	default:
		r.extra = &extra{rewrite: &rewrite{action: Alias, target: target}}
	}
	return true
}

// lastLabel reports whether the last label of a name begins with text.
func lastLabel(name []byte, text string) bool {
	at := 0
	for i := 0; name[i] != 0; i += 1 + int(name[i]) {
		at = i
	}
	return bytes.HasPrefix(name[at+1:at+1+int(name[at])], []byte(text))
}

// splitTrigger returns what an owner is about: a name, or what stands before the label that says so.
func splitTrigger(owner []byte) (prefix []byte, of space, err error) {
	at := 0
	for i := 0; owner[i] != 0; i += 1 + int(owner[i]) {
		at = i
	}
	of, ok := triggers[string(owner[at+1:len(owner)-1])]
	if !ok {
		return owner, spaceName, nil
	}
	return append(bytes.Clone(owner[:at]), 0), of, nil
}

// parseTrigger reads an address and the length of its prefix, the labels in reverse, as in
// 24.0.2.0.192 or 48.zz.db8.2001 (section 4.1.1 of the draft).
func parseTrigger(name []byte) (netip.Prefix, error) {
	var labels []string
	for i := 0; name[i] != 0; i += 1 + int(name[i]) {
		labels = append(labels, string(name[i+1:i+1+int(name[i])]))
	}
	wrong := fmt.Errorf("%q is not a network", wire.NameText(name))
	if len(labels) < 2 {
		return netip.Prefix{}, wrong
	}
	bits, err := strconv.Atoi(labels[0])
	if err != nil || labels[0] != strconv.Itoa(bits) || bits < 1 {
		return netip.Prefix{}, wrong
	}
	labels = labels[1:]
	if len(labels) == 4 && !containsZZ(labels) {
		var a [4]byte
		for i, l := range labels {
			n, err := strconv.ParseUint(l, 10, 8)
			if err != nil {
				return netip.Prefix{}, wrong
			}
			a[3-i] = byte(n)
		}
		p := netip.PrefixFrom(netip.AddrFrom4(a), bits)
		if bits > 32 || p.Masked() != p {
			return netip.Prefix{}, wrong
		}
		return p, nil
	}
	if len(labels) > 9 { // eight of two octets, and zz, which may stand for none
		return netip.Prefix{}, wrong
	}
	var a [16]byte
	at, zz := 8, false
	for _, l := range labels {
		if l == "zz" {
			if zz {
				return netip.Prefix{}, wrong
			}
			zz = true
			at -= 8 - (len(labels) - 1)
			continue
		}
		n, err := strconv.ParseUint(l, 16, 16)
		if at--; err != nil || at < 0 {
			return netip.Prefix{}, wrong
		}
		binary.BigEndian.PutUint16(a[2*at:], uint16(n))
	}
	p := netip.PrefixFrom(netip.AddrFrom16(a), bits)
	if at != 0 || bits > 128 || p.Masked() != p {
		return netip.Prefix{}, wrong
	}
	return p, nil
}

func containsZZ(labels []string) bool {
	for _, l := range labels {
		if l == "zz" {
			return true
		}
	}
	return false
}
