package config

import (
	"net/netip"
	"time"
)

// Resolver is how names outside of the zones are answered, in the roles that do so.
//
// In one piece: it has a field for each key of the file, as the reference lists them.
type Resolver struct {
	AllowInterfaces      []string              // of allow
	Allow                []netip.Prefix        `yaml:"allow" beside:"interface=AllowInterfaces" default:"" doc:"Who may have names resolved; others get REFUSED. {interface: lan0} is the networks of an interface of this machine, and this machine itself, and follows them as they change. Empty: loopback and the private networks of this machine's own interfaces (RFC 1918, RFC 4193, link-local), in the role public-resolver everyone. A public network is served only if it is listed, or its interface." why:"An open resolver attacks others for whoever forges their addresses (RFC 5358): only public-resolver answers strangers."`
	Forward              []Forward             `yaml:"forward" doc:"Zones whose names are asked of other resolvers. The longest zone that fits a name counts. What forwarders say is kept apart from what is found by iteration."`
	Stub                 []Stub                `yaml:"stub" doc:"Zones whose authoritative servers are named here, not found through their parents."`
	RootHints            string                `yaml:"root_hints" default:"" is:"path" doc:"File of the root's name servers: NS, A and AAAA records. Empty: those of the Internet, which are built in." why:"The root's servers change once in years, and are asked for their own list at the start (RFC 9609)."`
	TrustAnchors         string                `yaml:"trust_anchors" default:"" is:"path" doc:"File of DS or DNSKEY records that are trusted. Empty: the root's keys of 2017 and 2024, which are built in, and what has followed them (RFC 5011)." why:"RFC 9718."`
	Validation           bool                  `yaml:"validation" default:"true" doc:"Whether answers are validated (DNSSEC, RFC 4033 to 4035)." why:"What is not validated can be forged."`
	ValidationTime       time.Time             `yaml:"validation_time" default:"now" is:"time-or-now" doc:"The time at which signatures have to be valid: for laboratories that live in the past." why:"The machine's clock."`
	NegativeTrustAnchors []NegativeTrustAnchor `yaml:"negative_trust_anchors" doc:"Zones that are not validated: for a time, because their signatures are broken and somebody has made sure that it is no attack (RFC 7646), or without an end, because they are private and have to be answered even when the public tree that denies them is out of reach. What has no end is logged at the start, and counted in port53_resolver_unvalidated_zones."`
	Exceptions           []Exception           `yaml:"exceptions" doc:"Zones and servers that do not bear what others do. Most of that is found out and remembered; what is written here is never tried."`
	TimeNames            [][]byte              `yaml:"time_names" default:"" is:"name" doc:"Names of time servers whose A, AAAA and CNAME records are answered without validation, with a TTL of 10 seconds and error 5, as long as the clock is known to be wrong: so that it can be set. It is known to be wrong if it is earlier than this program was built, or than when the root's signatures were last valid (kept in state_dir), or if the kernel says that nobody sets it and the root's signatures are not of its time. Replies alone never make it wrong." why:"Whoever forges the address of a time server sets the clock, and an old clock takes old signatures: nobody is trusted so far unless he is listed."`
	QNAMEMinimization    string                `yaml:"qname_minimization" default:"relaxed" is:"word" words:"relaxed strict off" doc:"Whether servers are told no more of a name than they need (RFC 9156). relaxed: servers that stumble over it are asked for the whole name; strict: they are not; off: each is told the whole name." why:"Servers near the root learn less of what people do, and names behind broken servers are found."`
	CaseRandomization    bool                  `yaml:"case_randomization" default:"true" doc:"Ask with random upper and lower case (0x20): whoever forges an answer has to guess it." why:"A bit for each letter against forgers. Servers that break it are told by TCP, and remembered."`
	DoNotQuery           []netip.Prefix        `yaml:"do_not_query" default:"127.0.0.0/8, ::1" doc:"Networks that are never asked, whatever delegations say. Addresses that forward and stub name are asked nevertheless. Empty in laboratories." why:"A stranger's delegation is not to make this server ask its neighbours on the machine."`
	Outgoing             []netip.Addr          `yaml:"outgoing" default:"" doc:"Addresses that questions are sent from. Empty: the system chooses. Of several of one family, one is drawn for each question." why:"The route tells which address fits."`
	IPv4                 bool                  `yaml:"ipv4" default:"true" doc:"Whether servers are asked over IPv4." why:"Either family is enough; a server that does not answer over one is asked over the other."`
	IPv6                 bool                  `yaml:"ipv6" default:"true" doc:"Whether servers are asked over IPv6." why:"As ipv4."`
	Port                 int                   `yaml:"port" default:"53" min:"1" max:"65535" doc:"The port of name servers that are found by iteration: another one is for laboratories only." why:"Delegations have no ports."`
	SpecialNames         bool                  `yaml:"special_names" default:"true" doc:"Answer localhost, invalid, onion and their like, and the reverse zones of private networks, without asking anyone (RFC 6303, RFC 6761). Zones, forward and stub come first." why:"Nobody outside can answer for them, and is told less."`
	Rebinding            string                `yaml:"rebinding" default:"auto" is:"word" words:"auto on off" doc:"Whether addresses of private networks and of loopback are taken out of answers that were found by iteration, so that a stranger's name does not lead a browser to machines behind the firewall. auto: on, unless root_hints names a root of one's own." why:"No name of the public tree needs them but those that private_zones lists; a root of one's own has names of one's own."`
	PrivateZones         [][]byte              `yaml:"private_zones" default:"" is:"name" doc:"Zones whose names may have private addresses, although their answers are found by iteration." why:"Only the operator knows which names of the public tree are for inside. Zones, forward and stub need not be listed."`
	DNS64                DNS64                 `yaml:"dns64" doc:"Addresses of IPv6 that are made of those of IPv4, for clients that reach IPv4 through a NAT64 alone (RFC 6147). It is on where prefix is written. Names that have addresses of IPv6 get no others; names of addresses that were made lead to those of IPv4; ipv4only.arpa tells clients the prefix (RFC 7050). Whoever asks with CD makes addresses himself."`
	AggressiveNSEC       bool                  `yaml:"aggressive_nsec" default:"true" doc:"Answer for names that validated NSEC and NSEC3 records prove missing without asking again (RFC 8198)." why:"Floods of random names in signed zones end here."`
	Sentinel             bool                  `yaml:"sentinel" default:"true" doc:"Let clients find out which root key this server trusts (RFC 8509)." why:"Who changes the root's key has to know who would be cut off; RFC 8509, section 4, advises it."`
	ErrorReporting       bool                  `yaml:"error_reporting" default:"false" doc:"Tell zones that name a reporting agent that they failed validation or resolution (RFC 9567)." why:"It tells others which names are asked for here."`
	SharedClients        []netip.Prefix        `yaml:"shared_clients" default:"" doc:"Networks in which many share one address, such as those behind another resolver or a NAT: each address may have as many questions waiting as one with a cookie (limits.per_client_with_cookie). In internal roles only." why:"Elsewhere an address in a datagram is nobody's."`
	Cache                Cache                 `yaml:"cache" doc:"What is kept of what was found."`
	Limits               Limits                `yaml:"limits" doc:"Bounds of the work that questions make. Each is set by an attack or a fault that made resolvers work without end."`
}

// FiltersPrivate tells whether private addresses are taken out of answers: what
// Rebinding says, and what RootHints tells where it leaves that open.
func (r *Resolver) FiltersPrivate() bool {
	return r.Rebinding == "on" || r.Rebinding == "auto" && r.RootHints == ""
}

// DNS64 is how addresses of IPv6 are made of those of IPv4.
type DNS64 struct {
	Prefix  []netip.Prefix `yaml:"prefix" lone:"true" default:"" quiet:"true" doc:"The prefix that the NAT64 translates, of 32, 40, 48, 56, 64 or 96 bits (RFC 6052), such as 64:ff9b::/96; several, for several translators: each gives an address. 64:ff9b::/96 stands for no private address (RFC 6052, section 3.1). Empty: no addresses are made." why:"Clients with IPv4 are better off with what there is."`
	Clients []netip.Prefix `yaml:"clients" default:"" quiet:"true" doc:"For whom. Empty: for all who may have names resolved." why:"Networks with IPv6 alone have resolvers, or views, of their own most of the time."`
	Exclude []netip.Prefix `yaml:"exclude" default:"::ffff:0:0/96" quiet:"true" doc:"Networks that such clients cannot reach: addresses of IPv6 in them count as if they were not there, and of those of IPv4 in them nothing is made." why:"RFC 6147, section 5.1.4."`
}

// A Forward is a zone whose names are asked of other resolvers.
type Forward struct {
	Zone []byte     `yaml:"zone" is:"name" required:"true" doc:"The zone, with all names below it; . for all names."`
	To   []Upstream `yaml:"to" is:"server" port:"53" required:"true" doc:"The resolvers. The quickest is asked, and others where it fails. Port 53 unless given. tls://ADDRESS#NAME is asked over TLS (port 853), https://ADDRESS/dns-query#NAME over HTTPS (port 443), and never in the clear; its certificate has to have the name, or, where none is written, the address. An empty list makes an exception of a wider zone: names in this one are resolved by iteration."`
	// First and Only say the same: Only is false where First is true, and the other way.
	First bool        `yaml:"first" default:"false" doc:"Whether names that no forwarder answers for are resolved by iteration then (BIND: forward first). What others deny of the zone meanwhile is not kept under it, and what is stale is answered first." why:"Nobody else is to learn the names of a private zone, or to deny them, while its forwarder is away. Unbound, dnsmasq and CoreDNS do the same."`
	Only  bool        `yaml:"only" default:"true" quiet:"true" doc:"The opposite of first, for who is used to that. One of the two may be written." why:"As first."`
	TCP   bool        `yaml:"tcp" default:"false" doc:"Ask over TCP only." why:"UDP takes one packet each way, and large answers come over TCP anyway."`
	TLS   UpstreamTLS `yaml:"tls" doc:"How servers that are asked over TLS are known, beside their names."`
}

// A Stub is a zone whose authoritative servers are known.
type Stub struct {
	Zone []byte      `yaml:"zone" is:"name" required:"true" doc:"The zone. Zones that it delegates are found by iteration."`
	To   []Upstream  `yaml:"to" is:"server" port:"53" required:"true" doc:"Its authoritative servers, as resolver.forward.to has them. Port 53 unless given."`
	TCP  bool        `yaml:"tcp" default:"false" doc:"Ask over TCP only." why:"As forward."`
	TLS  UpstreamTLS `yaml:"tls" doc:"As resolver.forward.tls."`
}

// A NegativeTrustAnchor is a zone that is not validated, for a time or without an end.
type NegativeTrustAnchor struct {
	Name  []byte    `yaml:"name" is:"name" required:"true" doc:"The zone, with all names below it."`
	Until time.Time `yaml:"until" quiet:"true" doc:"When it is validated again. Left out: never." why:"A private zone has no signatures that somebody will mend."`
}

// An Exception is what a zone or a server does not bear.
type Exception struct {
	Zone         []byte       `yaml:"zone" is:"name" quiet:"true" doc:"The zone, with all names below it. Either this or server is written." why:"An exception is for one of the two."`
	Server       netip.Prefix `yaml:"server" quiet:"true" doc:"The server, or a network of servers." why:"As zone."`
	Case         string       `yaml:"case" default:"on" is:"word" words:"on off" doc:"off: ask without upper-case letters (case_randomization)." why:"A server that finds lower-case names only is found out, over TCP; one without TCP is not."`
	Cookies      string       `yaml:"cookies" default:"on" is:"word" words:"on off" doc:"off: send no DNS cookies (RFC 7873)." why:"A device that drops EDNS options is found out, which takes a moment every five minutes."`
	EDNS         string       `yaml:"edns" default:"on" is:"word" words:"on off" doc:"off: ask without EDNS. Signatures do not come then: a zone that is signed fails." why:"A server that says it knows no EDNS is found out; one that is silent is not, or whoever drops packets could switch DNSSEC off."`
	Minimization string       `yaml:"minimization" default:"on" is:"word" words:"on off" doc:"off: tell the servers of the zone, and of those below, the whole name (qname_minimization). Of zones only." why:"Servers that stumble over a part of a name are asked for the whole name; some give a wrong answer instead."`
	Forward      string       `yaml:"forward" default:"on" is:"word" words:"on off" doc:"off: resolve the zone's names by iteration although a wider zone is forwarded. Of zones only." why:"What is forwarded is forwarded whole, unless it is written."`
}

// Cache is the bounds of the resolver's memory.
type Cache struct {
	Size               Size          `yaml:"size" default:"64MiB" public:"256MiB" min:"1MiB" max:"1TiB" doc:"The most memory that it takes. It grows as it fills." why:"Some hundred thousand answers fit a small machine; what is left out is what nobody has asked for lately."`
	MaxTTL             time.Duration `yaml:"max_ttl" default:"1d" min:"1s" max:"7d" doc:"How long what was found is kept at most." why:"Unbound, PowerDNS Recursor and Knot Resolver: 1 d. RFC 8767, section 4, caps at 7 d."`
	MinTTL             time.Duration `yaml:"min_ttl" default:"0s" min:"0s" max:"1h" doc:"How long it is kept at least. More than a few seconds breaks services that move." why:"Zones know how fast they move. dnsmasq caps at 1 h as well."`
	MaxNegativeTTL     time.Duration `yaml:"max_negative_ttl" default:"1h" min:"1s" max:"1d" doc:"How long it is kept at most that there is nothing." why:"RFC 2308, section 5: one to three hours work well, more than a day makes trouble."`
	ServeStale         bool          `yaml:"serve_stale" default:"true" doc:"Answer with what has expired while nothing fresh can be had (RFC 8767)." why:"Stale bread is better than no bread: an outage elsewhere does not become one here."`
	StaleTTL           time.Duration `yaml:"stale_ttl" default:"30s" min:"1s" max:"1h" doc:"The time to live that expired answers are given." why:"RFC 8767, section 4."`
	StaleKeep          time.Duration `yaml:"stale_keep" default:"1d" min:"1m" max:"7d" doc:"How long after its end an answer may be served." why:"RFC 8767, section 5: one to three days; addresses move on."`
	StaleClientTimeout time.Duration `yaml:"stale_client_timeout" default:"1800ms" min:"10ms" max:"10s" doc:"How long a client waits for fresh data before it gets what has expired." why:"RFC 8767, section 5: shortly before clients ask again."`
	Prefetch           bool          `yaml:"prefetch" default:"true" doc:"Ask again for an answer that is asked for in the last tenth of its life." why:"Nobody waits for names that are asked for all the time. Unbound: 10 % as well."`
	Dump               string        `yaml:"dump" is:"file-or-off" default:"off" doc:"File that keeps the cache while the server does not run, or off." why:"The file tells what people have asked for."`
}

// Limits are the bounds of the resolver's work.
//
// In one piece: it has a field for each key of the file, as the reference lists them.
type Limits struct {
	Packets             int           `yaml:"packets" default:"128" min:"8" max:"10000" doc:"Packets sent for one client question, whatever it takes: sub-questions and retries count." why:"CAMP (USENIX Security 2024) multiplies chains with fan-out. Unbound and BIND 200, PowerDNS Recursor 50 questions."`
	Octets              Size          `yaml:"octets" default:"100KiB" min:"8KiB" max:"64MiB" doc:"Octets sent and received for one client question." why:"PowerDNS Recursor: 100 kB."`
	Aliases             int           `yaml:"aliases" default:"11" min:"1" max:"100" doc:"CNAME and DNAME records followed for one client question." why:"BIND and Unbound since 2024, after CAMP; others 10 to 18."`
	Depth               int           `yaml:"depth" default:"7" min:"1" max:"32" doc:"Questions that are asked in order to ask another." why:"BIND: 7. Delegations in circles (TsuNAME, 2021) end here."`
	Glueless            int           `yaml:"glueless" default:"6" min:"1" max:"20" doc:"Name servers of one delegation whose addresses are looked up." why:"NXNSAttack (CVE-2020-12662) sends a resolver after the addresses of its victims. Knot Resolver 5, Unbound 16."`
	NameServers         int           `yaml:"name_servers" default:"20" min:"1" max:"100" doc:"Name servers kept of one delegation." why:"NRDelegation (CVE-2022-3204) lists 1,500. Unbound 20, BIND 13."`
	Time                time.Duration `yaml:"time" default:"10s" min:"100ms" max:"1m" doc:"How long one client question is worked on. What is found after reply_time is there for the next question." why:"BIND and Knot Resolver 10 s."`
	ReplyTime           time.Duration `yaml:"reply_time" default:"4s" min:"100ms" max:"1m" doc:"By when a client gets an answer, what is stale, or SERVFAIL. Over UDP, to clients without a cookie, replies more than a second old are paced: in 50 ms a client address (IPv6: /56) gets at most twice the octets of its questions, the rest in the next, and what is larger alone comes truncated." why:"Most clients ask again after 5 s. DNSBomb (CVE-2024-33655) has replies held and then sent at once: Unbound drops what is older than 1.9 s."`
	Signatures          int           `yaml:"signatures" default:"32" min:"4" max:"1000" doc:"Signatures verified for one client question." why:"KeyTrap (CVE-2023-50387). Knot Resolver 32, PowerDNS Recursor 30."`
	NSEC3Hashes         int           `yaml:"nsec3_hashes" default:"1000" min:"50" max:"100000" doc:"Hashes computed for the NSEC3 proofs of one client question." why:"CVE-2023-50868. PowerDNS Recursor 600."`
	NSEC3Iterations     int           `yaml:"nsec3_iterations" default:"50" min:"0" max:"500" doc:"Iterations of NSEC3 hashes that are validated. Zones with more are insecure, those with more than 500 fail." why:"RFC 9276, section 3.2. BIND, PowerDNS Recursor and Knot Resolver 50, Unbound 150."`
	PerZone             int           `yaml:"per_zone" default:"200" min:"1" max:"100000" doc:"Questions outstanding to the servers of one zone. It falls while they do not answer." why:"Floods of random names make resolvers flood a zone's servers. BIND knows it as fetches-per-zone."`
	PerServer           int           `yaml:"per_server" default:"100" min:"1" max:"100000" doc:"Questions outstanding to one server." why:"As per_zone, for servers of many zones. BIND knows it as fetches-per-server."`
	Waiting             int           `yaml:"waiting" default:"10000" min:"10" max:"10000000" doc:"Client questions that wait for an answer, all together. Beyond, the oldest of clients without a cookie go first." why:"Some KiB each. BIND 1,000, Unbound 2,048 for each thread; answers from the cache do not wait."`
	PerClient           int           `yaml:"per_client" default:"64" min:"1" max:"1000000" doc:"Questions over UDP that wait for one client address (IPv6: /56)." why:"DNSBomb (CVE-2024-33655) collects answers and has them sent at once. Unbound 1,000."`
	PerClientWithCookie int           `yaml:"per_client_with_cookie" default:"512" min:"1" max:"1000000" doc:"The same for a client with a valid cookie." why:"Its address is not forged; many may share it behind a NAT."`
}
