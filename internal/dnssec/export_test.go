package dnssec

import (
	"bytes"

	"port53/internal/wire"
)

// SignedData returns the octets that a signature, the RDATA of an RRSIG record, is over
// (RFC 4034, section 3.1.8.1), and the signature itself: to check the canonical form
// against vectors of algorithms that are not supported.
func SignedData(set *wire.RRset, rrsig []byte) (data, signature []byte) {
	sig, ok := parseSig(rrsig)
	if !ok {
		return nil, nil
	}
	buf := getBuffer()
	defer buf.put()
	buf.signed(set, rrsig[:sigHead], sig.signer, sig.ttl, sig.cut(set.Owner))
	return bytes.Clone(buf.b), sig.signature
}
