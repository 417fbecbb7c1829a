// Package signer verifies signed zones.
//
// [Verify] judges a whole zone as a validator would that asked for every name in it: each
// set's signatures, the chain of NSEC or NSEC3 records (RFC 4035, section 2; RFC 5155,
// section 7), the keys, the digest (RFC 8976), and whether the parent's DS records lead to
// the keys.
//
// Package signer reads no files, asks nobody, and takes the time from its caller.
package signer
