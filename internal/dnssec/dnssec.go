// Package dnssec is the cryptography and the logic of DNSSEC as pure functions: keys
// and DS records (RFC 4034), signing and verifying one RRset (RFC 4035, section 5.3),
// and what NSEC and NSEC3 records prove (RFC 4035, section 5.4; RFC 5155, section 8).
//
// Whatever costs time is charged to a [Work], which the caller hands from one call to
// the next: a question has only so much (KeyTrap, CVE-2023-50387; CVE-2023-50868).
// What cannot be believed is a [Reason], one byte, which knows its Extended DNS Error.
//
// A [TrustPoint] and a [Zone] judge one step of trust from an anchor down: whether what the
// zone above gave proves the keys of a zone, and what those prove of a name.
//
// Package dnssec asks nobody for anything, and takes no second step: that is for those who
// walk, package resolver to an answer and package chain for a person.
package dnssec

import "port53/internal/wire"

// Work is what may still be spent on one question. It is handed from one call to the
// next, by one goroutine at a time, and what is used is taken off. Where nothing is
// left, the reason is WorkLimit.
type Work struct {
	Signatures int // to verify
	Failures   int // verifications that may fail
	Hashes     int // of NSEC3; one with many iterations or a long salt counts more than once

	// Iterations of NSEC3 hashes up to which a zone is validated (RFC 9276, section
	// 3.2). 0 means 50.
	Iterations int
}

// A Reason is why something is not secure; 0 is that it is.
type Reason uint8

// The reasons.
const (
	NoSignature          Reason = iota + 1 // signed zones sign everything
	Expired                                // RFC 4035, section 5.3.1
	NotYetValid                            // the same
	ExpiredBeforeValid                     // it expires before it begins
	NoKey                                  // no key fits the signature, or the parent's DS
	NoZoneKey                              // the key is not for zones (RFC 4034, section 2.1.1)
	BadSignature                           // it is not by the key over the data
	WrongSigner                            // the signer's name or the label count cannot be
	UnsupportedAlgorithm                   // none of the signatures has one that we know
	UnsupportedDigest
	UnsupportedKey    // all keys that count have sizes that are not verified
	NoProof           // the records that would prove it are not there
	BadProof          // they are, and prove something else
	TooManyIterations // of NSEC3 (RFC 9276)
	WorkLimit         // the question costs more than one may
)

// EDE returns the Extended DNS Error for the reason (RFC 8914, section 4; RFC 9276,
// section 3.2).
func (r Reason) EDE() int {
	switch r {
	case NoSignature:
		return wire.EDERRSIGsMissing
	case Expired:
		return wire.EDESignatureExpired
	case NotYetValid:
		return wire.EDESignatureNotYetValid
	case ExpiredBeforeValid:
		return wire.EDEExpiredBeforeValid
	case NoKey:
		return wire.EDEDNSKEYMissing
	case NoZoneKey:
		return wire.EDENoZoneKeyBit
	case UnsupportedAlgorithm, UnsupportedKey:
		return wire.EDEUnsupportedAlgorithm
	case UnsupportedDigest:
		return wire.EDEUnsupportedDigest
	case NoProof:
		return wire.EDENSECMissing
	case TooManyIterations:
		return wire.EDEUnsupportedIterations
	case WorkLimit:
		return wire.EDEOther
	}
	return wire.EDEBogus
}

// Error implements error.
func (r Reason) Error() string { return "dnssec: " + r.String() }

// String returns the reason in words.
func (r Reason) String() string {
	if int(r) < len(reasonTexts) {
		return reasonTexts[r]
	}
	return "unknown reason"
}

var reasonTexts = [...]string{
	0:                    "secure",
	NoSignature:          "there is no signature",
	Expired:              "the signature has expired",
	NotYetValid:          "the signature is not valid yet",
	ExpiredBeforeValid:   "the signature expires before it is valid",
	NoKey:                "no key fits",
	NoZoneKey:            "the key is not a zone key",
	BadSignature:         "the signature is wrong",
	WrongSigner:          "the signer's name is not the zone's",
	UnsupportedAlgorithm: "the algorithm is not supported",
	UnsupportedDigest:    "the digest is not supported",
	UnsupportedKey:       "keys of this size are not supported",
	NoProof:              "the proof is missing",
	BadProof:             "the proof does not prove it",
	TooManyIterations:    "NSEC3 has too many iterations",
	WorkLimit:            "validation would cost too much",
}
