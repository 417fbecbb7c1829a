package policy

// ReflectorPort reports whether a UDP query from port p is to get no answer at all.
//
// A query "from" one of these ports is forged, to make an answer of ours arrive at
// a service which answers whatever it gets: then the two would talk for ever
// (CVE-1999-0103, CVE-2002-2443, CVE-2024-2169), or we would be made to poke the
// service. Port 0 cannot be answered.
//
// The list is BIND's (echo, daytime, chargen, time, kpasswd) with the other
// services of those reports, all of which lie below 1024, where no client takes its
// port from. Ports that clients do use are not in it, whatever else may live there
// (1900, 5353, 11211): a resolver that takes its ports at random would lose a query
// now and then. Nor is port 53, which old resolvers send from, or those of services
// that ignore what is not a well-formed request (SNMP, CLDAP).
func ReflectorPort(p uint16) bool {
	switch p {
	case 0, // no port
		7,   // echo
		11,  // active users
		13,  // daytime
		17,  // quote of the day
		19,  // chargen
		37,  // time
		69,  // TFTP
		123, // NTP
		464: // kpasswd
		return true
	}
	return false
}
