package zonefile

// WKS records name protocols and services (RFC 1035, section 3.4.2; RFC 1010). Servers look
// them up in /etc/protocols and /etc/services of their machine; these are the ones that every
// machine has, so that a zone file means the same everywhere.

func protocols() map[string]uint8 {
	return map[string]uint8{
		"icmp": 1, "igmp": 2, "ggp": 3, "ipencap": 4, "st": 5, "tcp": 6, "egp": 8, "igp": 9, "pup": 12, "udp": 17, "hmp": 20,
		"xns-idp": 22, "rdp": 27, "iso-tp4": 29, "dccp": 33, "xtp": 36, "ddp": 37, "ipv6": 41, "rsvp": 46, "gre": 47, "esp": 50, "ah": 51,
		"ipv6-icmp": 58, "vmtp": 81, "eigrp": 88, "ospf": 89, "pim": 103, "sctp": 132,
	}
}

func services() map[string]uint16 {
	return map[string]uint16{
		"tcpmux": 1, "rje": 5, "echo": 7, "discard": 9, "systat": 11, "daytime": 13, "netstat": 15, "qotd": 17, "chargen": 19, "ftp-data": 20,
		"ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25, "time": 37, "rlp": 39, "nameserver": 42, "nicname": 43, "whois": 43, "mpm": 45,
		"domain": 53, "bootps": 67, "bootpc": 68, "tftp": 69, "gopher": 70, "finger": 79, "http": 80, "www": 80, "hosts2-ns": 81,
		"link": 87, "kerberos": 88, "supdup": 95, "hostnames": 101, "hostname": 101, "iso-tsap": 102, "csnet-ns": 105, "rtelnet": 107, "pop2": 109,
		"pop-2": 109, "pop3": 110, "pop-3": 110, "sunrpc": 111, "auth": 113, "sftp": 115, "uucp-path": 117, "nntp": 119, "ntp": 123,
		"loc-srv": 135, "netbios-ns": 137, "netbios-dgm": 138, "netbios-ssn": 139, "imap": 143, "imap2": 143, "snmp": 161, "snmp-trap": 162,
		"xdmcp": 177, "bgp": 179, "irc": 194, "imap3": 220, "ldap": 389, "https": 443, "microsoft-ds": 445, "submission": 587,
		"ldaps": 636, "domain-s": 853, "imaps": 993, "pop3s": 995,
	}
}
