package resolver

import (
	"bytes"
	"encoding/binary"
	"strconv"

	"port53/internal/dnssec"
	"port53/internal/wire"
)

// The labels by which a client finds out whether a root key is trusted here (RFC 8509,
// section 2), in front of five digits.
const (
	sentinelIs  = "root-key-sentinel-is-ta-"
	sentinelNot = "root-key-sentinel-not-ta-"
)

// sentinel makes a secure answer for such a name, also that it does not exist, a failure if the
// key is not trusted, or if it is (RFC 8509, sections 2.1 and 2.2).
func (t *task) sentinel(name []byte, typ wire.Type, res *result) {
	if !t.s.Sentinel || res.sec != secSecure || typ != wire.TypeA && typ != wire.TypeAAAA || len(name) == 1 {
		return
	}
	label := name[1 : 1+int(name[0])]
	digits, is := bytes.CutPrefix(label, []byte(sentinelIs))
	if !is {
		var not bool
		if digits, not = bytes.CutPrefix(label, []byte(sentinelNot)); !not {
			return
		}
	}
	tag, err := strconv.ParseUint(string(digits), 10, 16)
	if err != nil || len(digits) != 5 {
		return
	}
	if t.s.trusts(uint16(tag)) != is {
		res.fail(wire.EDEOther, "root key sentinel")
		res.passing = true
	}
}

// trusts reports whether an anchor of the root has a key tag.
func (s *Config) trusts(tag uint16) bool {
	root := s.anchors["\x00"]
	if root == nil {
		return false
	}
	for _, ds := range root.DS {
		if len(ds) > 2 && binary.BigEndian.Uint16(ds) == tag {
			return true
		}
	}
	for _, key := range root.Keys {
		if dnssec.KeyTag(key) == tag {
			return true
		}
	}
	return false
}
