// Package wire is the bytes of DNS: names, types, records, EDNS options and
// whole messages, read in place and built into buffers that the caller lends.
//
// A name is a []byte in wire form (RFC 1035, section 3.1): length octets and
// labels up to the root's zero octet, never compressed once it has left a
// message. Its text form exists only at the edges: zone files, logs, reports.
//
// Nothing from the network is trusted before it is checked: lengths are
// compared before reads, compression pointers must point strictly backwards,
// and counts in a header never decide an allocation. What cannot be parsed is
// a [Malformed], one byte that costs nothing to return.
//
// One table of record types drives parsing, printing, canonical form and
// compression. Package wire knows no policy, no zones and no sockets.
package wire
