package wire

// The bounds of messages and names. A bound that an operator may move is an
// option of the package that applies it, not here.
const (
	HeaderLen  = 12    // RFC 1035, section 4.1.1
	MaxMessage = 65535 // the length field of TCP has 16 bits (RFC 1035, section 4.2.2)
	MaxName    = 255   // octets of a name in wire form (RFC 1035, section 2.3.4)
	MaxLabel   = 63    // octets of a label (RFC 1035, section 2.3.4)
	MaxLabels  = 127   // labels of a name before the root's: 255 octets, two a label

	// MaxPointer is the furthest offset that a compression pointer can name: 14 bits
	// (RFC 1035, section 4.1.4).
	MaxPointer = 0x3FFF

	// MinUDP is what every client takes over UDP (RFC 1035, section 4.2.1), and the
	// least that an EDNS size may mean (RFC 6891, section 6.2.3).
	MinUDP = 512

	// maxQueryRecords is how many records after the question are looked at in search
	// of OPT and TSIG. A query has two at most; the rest is a message bomb. Updates are
	// bounded by the octets of a message alone.
	maxQueryRecords = 16

	// maxOptions is how many EDNS options of a query are read (CVE-2026-41292: long
	// lists made a server slow). Those behind it are ignored.
	maxOptions = 16
)
