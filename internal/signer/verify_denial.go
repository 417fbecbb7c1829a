package signer

import (
	"bytes"
	"crypto/sha1" // the only hash of NSEC3 (RFC 5155, section 11)
	"encoding/binary"
	"fmt"
	"slices"
	"sort"
	"strings"

	"port53/internal/dnssec"
	"port53/internal/wire"
	"port53/internal/zone"
)

// denial verifies the chains by which the zone proves what is absent. There has to be one:
// of NSEC, or of NSEC3 for each NSEC3PARAM record.
func (v *verifier) denial() {
	apex := v.z.Apex()
	hashes := v.hashes()
	params := v.apex[wire.TypeNSEC3PARAM]
	nsec := v.apex[wire.TypeNSEC] != nil || params == nil && v.anyNSEC()
	if nsec {
		v.out.Denial = "nsec"
		v.nsecChain()
	}
	known := map[string]bool{}
	if params != nil {
		for _, p := range params.Data {
			if p[1] != 0 {
				continue // it is not for servers: the chain is being made or removed (RFC 5155, section 4.1.2)
			}
			known[string(p)] = true
			if p[0] != 1 {
				v.warn(0, apex, wire.TypeNSEC3PARAM, "its hash %d is not known", p[0])
				continue
			}
			v.nsec3Chain(p, hashes[string(p)])
		}
	}
	for p, list := range hashes {
		if !known[p] {
			v.fault(list[0].place, list[0].owner, wire.TypeNSEC3, "no NSEC3PARAM record is for its chain of %d records", len(list))
		}
	}
	if v.out.Denial == "" && v.o.Compact {
		v.out.Denial = Compact.String()
		return
	}
	if v.out.Denial == "" {
		v.fault(0, apex, 0, "the zone has neither NSEC nor NSEC3 records: nothing proves what is absent")
	}
}

// anyNSEC reports whether any name has an NSEC record.
func (v *verifier) anyNSEC() bool {
	return slices.ContainsFunc(v.nodes, func(n zone.Node) bool { _, ok := v.z.RRset(n, wire.TypeNSEC); return ok })
}

// signedTypes returns the types that a name's proof has to list besides its own: those that
// the zone has authority for (RFC 4034, section 4.1.2), in rising order. It is empty for an
// empty non-terminal.
func signedTypes(z *zone.Zone, n zone.Node, types []wire.Type) []wire.Type {
	types = types[:0]
	cut := z.IsCut(n)
	z.EachType(n, func(t wire.Type) {
		if t != wire.TypeNSEC && t != wire.TypeNSEC3 && (!cut || t == wire.TypeNS || t == wire.TypeDS) {
			types = append(types, t)
		}
	})
	slices.Sort(types)
	return types
}

// nsecChain verifies that each name with records has an NSEC record that lists them, and
// names the next (RFC 4035, section 2.3).
func (v *verifier) nsecChain() {
	var u zone.Unpacked
	var types []wire.Type
	var bitmap []byte
	var name, last []byte // the name, and the next one that the record before gave
	lastPlace := -1
	soa, told := v.apex[wire.TypeSOA], false
	for place, n := range v.nodes {
		if v.z.Occluded(n) || v.z.IsHash(n) {
			continue
		}
		types = signedTypes(v.z, n, types)
		has := v.z.UnpackType(&u, n, wire.TypeNSEC)
		name = wire.Lower(name[:0], v.z.AppendName(name[:0], n))
		if len(types) == 0 {
			if has {
				v.fault(place, name, wire.TypeNSEC, "the name has nothing else, and does not exist")
			}
			continue
		}
		if lastPlace >= 0 && !bytes.Equal(last, name) {
			v.fault(
				lastPlace,
				v.nameAt(lastPlace),
				wire.TypeNSEC,
				"it says that the next name is %s, and that is %s",
				text(last),
				text(name),
			)
		}
		lastPlace = -1
		if !has {
			v.fault(place, name, wire.TypeNSEC, "there is none")
			continue
		}
		data := u.Data[0]
		size, err := wire.CheckName(data)
		if err != nil {
			continue
		}
		last, lastPlace = wire.Lower(last[:0], data[:size]), place
		types = withProof(types, wire.TypeRRSIG, wire.TypeNSEC)
		bitmap = wire.AppendBitmap(bitmap[:0], types)
		if !bytes.Equal(bitmap, data[size:]) {
			v.fault(place, name, wire.TypeNSEC, "%s", bitmapDiffers(bitmap, data[size:]))
		}
		if u.TTL > negativeTTL(soa) && !told {
			told = true // once: it is so for all, as a rule
			v.warn(place, name, wire.TypeNSEC, longTTL, u.TTL, negativeTTL(soa))
		}
	}
	if lastPlace >= 0 && !bytes.Equal(last, v.z.Apex()) {
		v.fault(
			lastPlace,
			v.nameAt(lastPlace),
			wire.TypeNSEC,
			"it is the last, and says that the next name is %s: that is the apex",
			text(last),
		)
	}
}

const longTTL = "its TTL, %d, is above that of negative answers, %d (RFC 9077, section 3)"

// negativeTTL returns the TTL of what proves that something is absent (RFC 9077, section 3).
func negativeTTL(soa *wire.RRset) uint32 {
	d := soa.Data[0]
	return min(soa.TTL, binary.BigEndian.Uint32(d[len(d)-4:]))
}

func (v *verifier) nameAt(place int) []byte { return v.z.AppendName(nil, v.nodes[place]) }

func text(name []byte) string { return string(wire.AppendName(nil, name)) }

// withProof adds types to a list, which stays in rising order, each once.
func withProof(types []wire.Type, more ...wire.Type) []wire.Type {
	for _, t := range more {
		if at, there := slices.BinarySearch(types, t); !there {
			types = slices.Insert(types, at, t)
		}
	}
	return types
}

// bitmapDiffers tells how a bit map differs from what it has to be.
func bitmapDiffers(want, got []byte) string {
	var parts []string
	list := func(what string, of, without []byte) {
		var names []string
		for _, t := range wire.BitmapTypes(nil, of) {
			if !wire.BitmapHas(without, t) {
				names = append(names, t.String())
			}
		}
		if len(names) > 0 {
			parts = append(parts, what+" "+strings.Join(names, ", "))
		}
	}
	list("it lacks", want, got)
	list("it lists", got, want)
	s := strings.Join(parts, ", and ")
	if strings.HasPrefix(s, "it lists") || len(parts) == 2 {
		s += ", which the name does not have"
	}
	if s == "" {
		s = "its list of types is malformed"
	}
	return s
}

// A hashed is an NSEC3 record.
type hashed struct {
	hash, next [sha1.Size]byte
	types      []byte
	owner      []byte
	ttl        uint32
	place      int
	optOut     bool
	used       bool
}

// hashes returns the NSEC3 records by their parameters, which have the form of NSEC3PARAM
// data, those of each in the order of their hashes.
func (v *verifier) hashes() map[string][]hashed {
	lists := map[string][]hashed{}
	var u zone.Unpacked
	for place, n := range v.nodes {
		if !v.z.IsHash(n) {
			continue
		}
		v.z.UnpackType(&u, n, wire.TypeNSEC3)
		if len(u.Data) != 1 {
			v.fault(place, u.Owner, wire.TypeNSEC3, "the name has %d records", len(u.Data))
		}
		for _, d := range u.Data {
			h := hashed{owner: bytes.Clone(u.Owner), ttl: u.TTL, place: place, optOut: d[1]&1 != 0}
			salt := 5 + int(d[4])
			end := salt + 1 + int(d[salt])
			label := bytes.ToUpper(u.Owner[1 : 1+int(u.Owner[0])])
			if n, err := wire.Base32Hex.Decode(
				h.hash[:],
				label[:min(len(label), 32)],
			); err != nil || n != sha1.Size || len(label) != 32 ||
				int(d[salt]) != sha1.Size ||
				len(u.Owner) != 33+len(v.z.Apex()) {
				v.fault(place, u.Owner, wire.TypeNSEC3, "its name or its next is no hash")
				continue
			}
			if d[1]&^1 != 0 {
				v.fault(
					place,
					u.Owner,
					wire.TypeNSEC3,
					"its flags, %d, are not known: validators do not use it (RFC 5155, section 8.2)",
					d[1],
				)
			}
			copy(h.next[:], d[salt+1:end])
			h.types = bytes.Clone(d[end:])
			p := string(d[0]) + "\x00" + string(d[2:salt])
			lists[p] = append(lists[p], h)
		}
	}
	return lists
}

// maxIterations is above how many iterations validators take a zone for unsigned (RFC 9276,
// section 3.2).
const maxIterations = 50

// nsec3Chain verifies that each name has an NSEC3 record that lists its types, but for
// unsigned delegations that are opted out, that no other has, and that each record names the
// next hash (RFC 5155, section 7.1). p is the data of the NSEC3PARAM record.
func (v *verifier) nsec3Chain(p []byte, list []hashed) {
	apex := v.z.Apex()
	iterations, salt := binary.BigEndian.Uint16(p[2:]), p[5:]
	v.out.Denial = "nsec3"
	if slices.ContainsFunc(list, func(h hashed) bool { return h.optOut }) {
		v.out.Denial = "nsec3-opt-out"
	}
	switch {
	case len(list) == 0:
		v.fault(0, apex, wire.TypeNSEC3PARAM, "the zone has no NSEC3 records of these parameters")
		return
	case iterations > maxIterations:
		v.fault(
			0,
			apex,
			wire.TypeNSEC3PARAM,
			"with %d iterations validators take the zone for unsigned (RFC 9276, section 3.2)",
			iterations,
		)
	case iterations > 0 || len(salt) > 0:
		v.warn(
			0,
			apex,
			wire.TypeNSEC3PARAM,
			"%d iterations and a salt of %d octets cost time and protect nothing: 0 and none are right (RFC 9276, section 3.1)",
			iterations,
			len(salt),
		)
	}
	needed := neededHashes(v.z, v.nodes)
	var types []wire.Type
	var name, bitmap []byte
	for place, n := range v.nodes {
		if v.z.Occluded(n) || v.z.IsHash(n) {
			continue
		}
		name = wire.Lower(name[:0], v.z.AppendName(name[:0], n))
		types = signedTypes(v.z, n, types)
		h := [sha1.Size]byte(dnssec.HashName(nil, name, iterations, salt))
		at := sort.Search(len(list), func(i int) bool { return bytes.Compare(list[i].hash[:], h[:]) >= 0 })
		if at < len(list) && list[at].hash == h {
			list[at].used = true
			bitmap = wire.AppendBitmap(bitmap[:0], hashTypes(v.z, n, types))
			if !bytes.Equal(bitmap, list[at].types) {
				v.fault(list[at].place, list[at].owner, wire.TypeNSEC3, "for %s, %s", text(name), bitmapDiffers(bitmap, list[at].types))
			}
			continue
		}
		cover := list[(at+len(list)-1)%len(list)]
		switch {
		case needed.has(place):
			v.fault(place, name, wire.TypeNSEC3, "there is none: its hash is %s", hashText(h))
		case !cover.optOut:
			v.fault(
				place,
				name,
				wire.TypeNSEC3,
				"there is none, and the one that covers its hash, %s, has no opt-out flag",
				hashText(cover.hash),
			)
		}
	}
	ttl, told := negativeTTL(v.apex[wire.TypeSOA]), false
	for i := range list {
		h := &list[i]
		if next := list[(i+1)%len(list)].hash; h.next != next {
			v.fault(h.place, h.owner, wire.TypeNSEC3, "it says that the next hash is %s, and that is %s", hashText(h.next), hashText(next))
		}
		if !h.used {
			v.fault(h.place, h.owner, wire.TypeNSEC3, "it is for no name of the zone")
		}
		if h.ttl > ttl && !told {
			told = true // once: it is so for all, as a rule
			v.warn(h.place, h.owner, wire.TypeNSEC3, longTTL, h.ttl, ttl)
		}
	}
}

// hashTypes returns what an NSEC3 record lists for a name that has types to be signed: RRSIG
// too, unless nothing there is signed (RFC 5155, section 7.1).
func hashTypes(z *zone.Zone, n zone.Node, types []wire.Type) []wire.Type {
	if len(types) == 0 || z.IsCut(n) && !slices.Contains(types, wire.TypeDS) {
		return types
	}
	return withProof(types, wire.TypeRRSIG)
}

func hashText(h [sha1.Size]byte) string {
	return strings.ToLower(wire.Base32Hex.EncodeToString(h[:]))
}

// A placeSet is places in canonical order.
type placeSet []uint64

func (s placeSet) has(place int) bool { return s[place/64]>>(place%64)&1 != 0 }
func (s placeSet) add(place int)      { s[place/64] |= 1 << (place % 64) }

// neededHashes returns the places of the names that need an NSEC3 record even with opt-out:
// all but delegations without DS, and the empty non-terminals that only these make.
func neededHashes(z *zone.Zone, nodes []zone.Node) placeSet {
	needed := make(placeSet, (len(nodes)+63)/64)
	var below [wire.MaxLabels + 2]bool // at each depth: a name that was passed needs one
	for place := len(nodes) - 1; place >= 0; place-- {
		n := nodes[place]
		if z.Occluded(n) || z.IsHash(n) {
			continue
		}
		depth := z.Labels(n)
		need := below[depth+1]
		below[depth+1] = false
		if !need && !z.Empty(n) {
			_, secure := z.RRset(n, wire.TypeDS)
			need = !z.IsCut(n) || secure
		}
		if need {
			needed.add(place)
			below[depth] = true
		}
	}
	return needed
}

// String tells a key as people do: tag, algorithm, what it is for.
func (k KeyUse) String() string {
	kind := "ZSK"
	if k.Flags&dnssec.FlagSEP != 0 {
		kind = "KSK"
	}
	switch {
	case k.SignsKeys && k.SignsData:
		kind = "CSK"
	case k.Flags&dnssec.FlagRevoke != 0:
		kind = "revoked"
	}
	return fmt.Sprintf("%d %s %s", k.Tag, wire.AlgorithmName(k.Algorithm), kind)
}
