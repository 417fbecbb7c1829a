package wire

import (
	"strconv"
	"strings"
)

// A numbered is a value that has a mnemonic.
type numbered struct {
	number uint16
	name   string
}

// algorithms are DNSSEC's by the IANA registry, and other names that BIND reads.
// The first name of a number is the one that is written.
var algorithms = [...]numbered{
	{1, "RSAMD5"},
	{2, "DH"},
	{3, "DSA"},
	{5, "RSASHA1"},
	{6, "DSA-NSEC3-SHA1"},
	{6, "NSEC3DSA"},
	{7, "RSASHA1-NSEC3-SHA1"},
	{7, "NSEC3RSASHA1"},
	{8, "RSASHA256"},
	{10, "RSASHA512"},
	{12, "ECC-GOST"},
	{12, "ECCGOST"},
	{13, "ECDSAP256SHA256"},
	{14, "ECDSAP384SHA384"},
	{15, "ED25519"},
	{16, "ED448"},
	{252, "INDIRECT"},
	{253, "PRIVATEDNS"},
	{254, "PRIVATEOID"},
}

// certificates are the types of CERT (RFC 4398, section 2.1).
var certificates = [...]numbered{
	{1, "PKIX"},
	{2, "SPKI"},
	{3, "PGP"},
	{4, "IPKIX"},
	{5, "ISPKI"},
	{6, "IPGP"},
	{7, "ACPKIX"},
	{8, "IACPKIX"},
	{253, "URI"},
	{254, "OID"},
}

func nameOf(table []numbered, n uint16) string {
	for _, one := range table {
		if one.number == n {
			return one.name
		}
	}
	return strconv.Itoa(int(n))
}

func numberOf(table []numbered, s string, bits int) (uint16, bool) {
	for _, one := range table {
		if strings.EqualFold(one.name, s) {
			return one.number, true
		}
	}
	n, err := strconv.ParseUint(s, 10, bits)
	return uint16(n), err == nil
}

// AlgorithmName returns the mnemonic of a DNSSEC algorithm, or its number.
func AlgorithmName(n uint8) string { return nameOf(algorithms[:], uint16(n)) }

// ParseAlgorithm reads the mnemonic of a DNSSEC algorithm, without regard to case,
// or its number.
func ParseAlgorithm(s string) (uint8, bool) {
	n, ok := numberOf(algorithms[:], s, 8)
	return uint8(n), ok
}

// ParseCertificate reads the mnemonic of a type of CERT, without regard to case, or
// its number.
func ParseCertificate(s string) (uint16, bool) { return numberOf(certificates[:], s, 16) }
