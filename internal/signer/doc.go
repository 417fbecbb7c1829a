// Package signer signs zones, and verifies signed ones.
//
// [Sign] makes a signed zone of one without DNSSEC: it needs keys, which lie in files as BIND
// writes them ([ReadKeys], [Key.Write], [Import]), and a [Policy]. All CPUs sign, and the signed
// zone is handed out piece by piece in canonical order: it need not fit into memory. What the
// zone holds of an earlier signing is replaced; signatures that are still good can be kept.
//
// [Verify] judges a whole zone as a validator would that asked for every name in it: each
// set's signatures, the chain of NSEC or NSEC3 records (RFC 4035, section 2; RFC 5155,
// section 7), the keys, the digest (RFC 8976), and whether the parent's DS records lead to
// the keys.
//
// Package signer reads and writes key files and no other, asks nobody, and takes the time from
// its caller.
package signer
