package wire

import "strconv"

// ErrorText returns the name of an Extended DNS Error in the IANA registry
// (RFC 8914, section 5.2; RFC 9824, section 6), or its number.
func ErrorText(code uint16) string {
	if int(code) < len(errorTexts) && errorTexts[code] != "" {
		return errorTexts[code]
	}
	return "error " + strconv.Itoa(int(code))
}

//nolint:gochecknoglobals // read-only
var errorTexts = [...]string{
	0: "Other Error", 1: "Unsupported DNSKEY Algorithm", 2: "Unsupported DS Digest Type", 3: "Stale Answer",
	4: "Forged Answer", 5: "DNSSEC Indeterminate", 6: "DNSSEC Bogus", 7: "Signature Expired",
	8: "Signature Not Yet Valid", 9: "DNSKEY Missing", 10: "RRSIGs Missing", 11: "No Zone Key Bit Set",
	12: "NSEC Missing", 13: "Cached Error", 14: "Not Ready", 15: "Blocked", 16: "Censored", 17: "Filtered",
	18: "Prohibited", 19: "Stale NXDOMAIN Answer", 20: "Not Authoritative", 21: "Not Supported",
	22: "No Reachable Authority", 23: "Network Error", 24: "Invalid Data",
	25: "Signature Expired before Valid", 26: "Too Early", 27: "Unsupported NSEC3 Iterations Value",
	28: "Unable to conform to policy", 29: "Synthesized", 30: "Invalid Query Type",
}
