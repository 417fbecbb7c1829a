package zone

import (
	"sync/atomic"

	"port53/internal/wire"
)

// An OnlineSigner signs, while a query waits, what cannot be signed before it is asked for: the
// proof of what is absent at one name alone (RFC 9824), and records made from a wildcard.
//
// Its methods append the RDATA of one RRSIG record for each key that signs the zone's data, each
// behind two octets with its length. They return false, and dst, if there are too many signatures to
// be made now. verified says that the client's address is not forged.
type OnlineSigner interface {
	// SignNSEC signs the NSEC record of a name, in lower case.
	SignNSEC(dst, owner []byte, ttl uint32, rdata []byte, verified bool) ([]byte, bool)

	// SignExpansion signs the set of a type at a node, a wildcard, as that of owner, in lower case.
	SignExpansion(dst, owner []byte, z *Zone, n Node, t wire.Type, verified bool) ([]byte, bool)
}

// Online returns what signs answers of the zone while queries wait, or nil: all is signed already.
func (z *Zone) Online() OnlineSigner {
	if z.online == nil {
		return nil
	}
	return *z.online.Load()
}

// SetOnline says what signs answers while queries wait. The first time it is called before anybody
// else reads the zone.
func (z *Zone) SetOnline(o OnlineSigner) {
	if z.online == nil {
		z.online = &atomic.Pointer[OnlineSigner]{}
	}
	z.online.Store(&o)
}

// SignsDenial reports whether answers of the zone prove what is absent: it has NSEC or NSEC3 records, or
// they are made when they are asked for.
func (z *Zone) SignsDenial() bool { return z.Signed() || z.online != nil }

// AppendTypes appends the types of a node that the zone has authority for, in rising order, to none.
func (z *Zone) AppendTypes(types []wire.Type, n Node) []wire.Type {
	cut := z.IsCut(n)
	for i := range z.sets(n) {
		t := z.setAt(n, i).Type
		if cut && t != wire.TypeNS && t != wire.TypeDS {
			continue
		}
		types = append(types, t)
		for k := len(types) - 1; k > 0 && types[k-1] > t; k-- {
			types[k-1], types[k] = types[k], types[k-1]
		}
	}
	return types
}
