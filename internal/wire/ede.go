package wire

import "strconv"

// Extended DNS Errors, by the names of the IANA registry (RFC 8914, section 5.2;
// RFC 9824, section 6).
const (
	EDEOther                 = 0
	EDEUnsupportedAlgorithm  = 1 // of all DNSKEY records
	EDEUnsupportedDigest     = 2 // of all DS records
	EDEStaleAnswer           = 3
	EDEForgedAnswer          = 4
	EDEIndeterminate         = 5
	EDEBogus                 = 6
	EDESignatureExpired      = 7
	EDESignatureNotYetValid  = 8
	EDEDNSKEYMissing         = 9
	EDERRSIGsMissing         = 10
	EDENoZoneKeyBit          = 11
	EDENSECMissing           = 12
	EDECachedError           = 13
	EDENotReady              = 14
	EDEBlocked               = 15
	EDECensored              = 16
	EDEFiltered              = 17
	EDEProhibited            = 18
	EDEStaleNXDomain         = 19
	EDENotAuthoritative      = 20
	EDENotSupported          = 21
	EDENoReachableAuthority  = 22
	EDENetworkError          = 23
	EDEInvalidData           = 24
	EDEExpiredBeforeValid    = 25 // before it became valid
	EDETooEarly              = 26
	EDEUnsupportedIterations = 27 // of NSEC3
	EDEPolicy                = 28
	EDESynthesized           = 29
	EDEInvalidType           = 30
)

// ErrorText returns the name of an Extended DNS Error in the IANA registry, or its
// number.
func ErrorText(code uint16) string {
	if int(code) < len(errorTexts) && errorTexts[code] != "" {
		return errorTexts[code]
	}
	return "error " + strconv.Itoa(int(code))
}

var errorTexts = [...]string{
	EDEOther:                 "Other Error",
	EDEUnsupportedAlgorithm:  "Unsupported DNSKEY Algorithm",
	EDEUnsupportedDigest:     "Unsupported DS Digest Type",
	EDEStaleAnswer:           "Stale Answer",
	EDEForgedAnswer:          "Forged Answer",
	EDEIndeterminate:         "DNSSEC Indeterminate",
	EDEBogus:                 "DNSSEC Bogus",
	EDESignatureExpired:      "Signature Expired",
	EDESignatureNotYetValid:  "Signature Not Yet Valid",
	EDEDNSKEYMissing:         "DNSKEY Missing",
	EDERRSIGsMissing:         "RRSIGs Missing",
	EDENoZoneKeyBit:          "No Zone Key Bit Set",
	EDENSECMissing:           "NSEC Missing",
	EDECachedError:           "Cached Error",
	EDENotReady:              "Not Ready",
	EDEBlocked:               "Blocked",
	EDECensored:              "Censored",
	EDEFiltered:              "Filtered",
	EDEProhibited:            "Prohibited",
	EDEStaleNXDomain:         "Stale NXDOMAIN Answer",
	EDENotAuthoritative:      "Not Authoritative",
	EDENotSupported:          "Not Supported",
	EDENoReachableAuthority:  "No Reachable Authority",
	EDENetworkError:          "Network Error",
	EDEInvalidData:           "Invalid Data",
	EDEExpiredBeforeValid:    "Signature Expired before Valid",
	EDETooEarly:              "Too Early",
	EDEUnsupportedIterations: "Unsupported NSEC3 Iterations Value",
	EDEPolicy:                "Unable to conform to policy",
	EDESynthesized:           "Synthesized",
	EDEInvalidType:           "Invalid Query Type",
}
