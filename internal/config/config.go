// Package config reads port53's one configuration file: YAML to a typed,
// positioned, checked [Config]. It has no behaviour of its own: it opens no
// socket and reads no zone.
//
// The structs of this package with yaml tags are the table of all keys. Their tags carry each
// key's name, default, bounds and sentence of documentation; the decoder, the
// effective values ([Config.Effective]), the JSON Schema ([Schema]) and the
// reference ([Reference]) are all read from it, so that none can differ from
// the others. Whatever is wrong with a file is an [Error] that says where, what
// was expected and what to do; up to 20 are collected in [Errors].
//
// The tags:
//
//	yaml     the key's name
//	doc      one or more sentences for the reference
//	why      the reason of the default, or its source
//	is       the kind of value, where the Go type does not tell it
//	default  the default, without quotes; a list's values are parted by ", "
//	internal the default in the roles internal-resolver and domain-controller, if another
//	public   the default in the role public-resolver, if another
//	min max  the bounds of a number, a duration or a size
//	words    the words that is:"word" allows
//	port     the port of an address that names none
//	required the key has to be written
//	beside   blocks that a list takes among its values, as interface=FIELD for {interface: NAME}
//	remote   true: a list of servers takes names of remotes, too
//	join     true: a list that may be in several files is one
//	lone     true: a list of one value may be written without brackets
package config

import (
	"net/netip"
	"slices"
	"time"
)

// A Size is a number of octets.
type Size int64

// A Rate is a number of events in one second.
type Rate int

// The roles.
const (
	RoleAuthoritative    = "authoritative"
	RolePublicResolver   = "public-resolver"
	RoleInternalResolver = "internal-resolver"
	RoleDomainController = "domain-controller"
)

// A Config is one whole, checked configuration. It is not changed once Parse or
// Load has returned it; paths in it are absolute.
//
// In one piece: it has a field for each key of the file, as the reference lists them.
type Config struct {
	Include    []string         `yaml:"include" is:"files" lone:"true" join:"true" default:"" doc:"More files of the configuration, seen from the folder of the file that names them: paths, or patterns with * ? and [ ] for names of files and folders, in the order of their names. Each has keys as this file has. Lists of blocks, such as zones and keys, are joined; every other key may be in one file only. A pattern may fit nothing; a file that is named has to be there. No file is read twice." why:"One file is whole by itself."`
	Role       string           `yaml:"role" is:"role" required:"true" doc:"What this server is for. Every other key has a default that is safe for the role: see above."`
	Listen     []netip.AddrPort `yaml:"listen" default:"127.0.0.1:53, [::1]:53" port:"53" doc:"Addresses to serve on, UDP and TCP on each. Port 53 unless given; port 0 takes a free one. On Linux an address that no interface has yet is served as soon as one has it; so is one of a link that is not there, or of IPv6 on a machine without it, if the server may still bind it, else after a restart." why:"Nobody is served by accident: strangers reach the server once its addresses are written."`
	User       string           `yaml:"user" default:"" is:"user" doc:"The user to become once the sockets are bound, when started by root. Empty: stay who started the server." why:"A service manager starts it as its user already."`
	Sandbox    string           `yaml:"sandbox" is:"word" words:"on files off" default:"on" doc:"on: once it serves, the server keeps to the directories of the files that this file names and to state_dir (Landlock), and is refused system calls that it has no use for, such as starting programs, tracing and mounting (seccomp), where the Linux kernel has these. files: only files are confined. Files elsewhere that a reload names need a restart. With firewall.manage the programs of the system can be started and read as well, and firewall.state_dir written." why:"A fault in a server that reads packets from everywhere should open nothing else of the machine."`
	StateDir   string           `yaml:"state_dir" default:"/var/lib/port53" is:"path" doc:"The directory of what the server keeps between runs. A server that root starts makes it for user. One server at a time has it: a second one does not start. What in it is damaged, or written by a newer version, is refused and left as it is; port53 store check says what is." why:"Where Linux systems keep what a service writes (FHS)."`
	Zones      []Zone           `yaml:"zones" doc:"The zones that are served. In the roles that resolve, they come before all else and may be none."`
	Networks   []Network        `yaml:"networks" doc:"Lists of networks by name: wherever networks are listed, the name stands for all of them."`
	Views      []View           `yaml:"views" doc:"Other answers for other clients: each view has its clients, and says what is different for them. The first view that fits a client is its view; whoever fits none is in the view default, which is what the rest of this file says. Zones say in views which of them see them."`
	Templates  []Template       `yaml:"templates" doc:"What zones have in common: every key of a zone, but its name and template. What a zone writes itself replaces what its template has, key by key; in members, too. A zone that writes file, primaries or catalog takes none of these three from its template."`
	Remotes    []Remote         `yaml:"remotes" doc:"Servers by name: wherever zones and templates list servers, the name of a remote stands for its addresses, and its key signs what goes to them and comes from them."`
	Keys       []Key            `yaml:"keys" doc:"Keys that zone transfers are signed with (TSIG, RFC 8945)."`
	Tokens     []Token          `yaml:"tokens" doc:"Secrets by which clients of the API show who they are, and what each may do. port53 grant add makes one while the server runs."`
	API        API              `yaml:"api" doc:"The HTTP API: that of PowerDNS at /api, and one of its own at /v1."`
	DNSSEC     []DNSSECPolicy   `yaml:"dnssec_policies" doc:"Ways of signing zones, by name: dnssec.policy of a zone names one. The policy default signs with one key, ECDSA P-256, and NSEC; one that is written here under that name takes its place."`
	Transfers  Transfers        `yaml:"transfers" doc:"Bounds of zone transfers."`
	Resolver   Resolver         `yaml:"resolver" doc:"How names outside of the zones are resolved. Not in the role authoritative."`
	Hosts      []HostsFile      `yaml:"hosts" doc:"Files of names and addresses, such as /etc/hosts, in the roles that resolve. They are followed as they change. A name in them has the addresses there and no other data; addresses of loopback are left out, and each address has the first of its names as its reverse."`
	Names      []LocalName      `yaml:"names" map:"true" doc:"Single names and their addresses, in the roles that resolve: nas.home.arpa: 192.168.1.5, or a list. Below *.lab.home.arpa all names have the addresses. What is closer to a name wins, whether it is one of these, a zone, forward or stub; of equals the zone, then these."`
	Leases     []LeaseFile      `yaml:"leases" doc:"Files in which a DHCP server keeps its leases, in the roles that resolve. They are followed as they change. Clients have names without a domain: see domain. A lease never has a name that is in a zone here, or stands in names or hosts."`
	Domain     []byte           `yaml:"domain" is:"name" default:"" doc:"The domain of names that have none in hosts and leases, such as home.arpa. With it, single labels are never asked of others, and names of the domain that are nowhere here do not exist, unless a zone, forward or stub is at or above them and within the domain." why:"Nobody knows which domain is yours."`
	RRsetOrder string           `yaml:"rrset_order" is:"word" words:"fixed cyclic random" default:"fixed" doc:"In which order the records of a set are sent, such as the addresses of a name, from zones, the cache and names of machines: as they are stored, which is the order of the zone file; in turn, each reply beginning with the next record; or in any order. Each worker has turns of its own. Sets whose data has names, such as NS and MX, are always sent as they are stored." why:"It costs nothing, and clients that choose by themselves (RFC 6724, section 6) do not look at it. NSD and Knot do the same; BIND, Unbound and PowerDNS change it."`
	ZoneLimits ZoneLimits       `yaml:"zone_limits" doc:"Bounds of each zone that is loaded. A zone beyond one of them is not loaded; the others are served."`
	Policy     Policy           `yaml:"policy" doc:"Who may ask, and how often."`
	EDNS       EDNS             `yaml:"edns" doc:"The extension mechanism: reply sizes, cookies, padding."`
	Identity   Identity         `yaml:"identity" doc:"What the server tells of itself. Nothing, unless it is written here."`
	TCP        TCP              `yaml:"tcp" doc:"Bounds of connections."`
	Encrypted  Encrypted        `yaml:"encrypted" doc:"What is served over TLS. [ENCRYPTED.md](ENCRYPTED.md) has it step by step."`
	UDP        UDP              `yaml:"udp" doc:"How datagrams are read."`
	Metrics    Metrics          `yaml:"metrics" doc:"Counters for Prometheus, at /metrics over HTTP."`
	Control    Control          `yaml:"control" doc:"The socket through which port53 reload and its like reach the server."`
	Firewall   Firewall         `yaml:"firewall" doc:"Rules of nftables that fit this file. port53 firewall has the other ways."`
	Audit      Audit            `yaml:"audit" doc:"A file of who changed which zone, took it away, gave a command, or tried."`
	Log        Log              `yaml:"log" doc:"What is written to the log, and how."`
	Shutdown   Shutdown         `yaml:"shutdown" doc:"How the server stops."`

	files     []string           // as given to Load or Parse, and those that are included
	folders   []string           // that patterns of include look into
	origins   map[place]position // of the values that the files set
	templates []int32            // for each zone which of Templates it has, or none
	zoneName  int32              // the key of the table that zones have their names from
	granted   granted            // keys and tokens that no file of its own has
	view      string             // whose configuration it is; empty: the default one's
	added     int                // of the zones, the last, which no file of its own has
	hasAdded  bool               // the last of files has these
	doubts    Errors             // of files
}

// File returns the name of the configuration file, as it was given; "" for Default.
func (c *Config) File() string {
	if len(c.files) == 0 {
		return ""
	}
	return c.files[0]
}

// Files returns the names of all files that the configuration was read from, the one that
// includes the others first.
func (c *Config) Files() []string { return c.files }

// IncludeFolders returns the directories in which patterns of include look for files.
func (c *Config) IncludeFolders() []string { return c.folders }

// Recurses tells whether the role resolves names outside of the zones.
func (c *Config) Recurses() bool { return c.Role != RoleAuthoritative }

// Internal tells whether the role answers known networks only: those of
// Resolver.Allow, or loopback and the private networks of this machine's interfaces.
func (c *Config) Internal() bool {
	return c.Role == RoleInternalResolver || c.Role == RoleDomainController
}

// A Zone is one zone to serve. Its name is in wire form, with the case of the
// file.
type Zone struct {
	Name     []byte `yaml:"name" is:"name" required:"true" doc:"The zone's name, such as example.com, or . for the root."`
	Template string `yaml:"template" is:"label" default:"" doc:"The template that the zone takes what it does not say itself from. Without this key it is the template default, if there is one; an empty text takes none." why:"Zones say everything themselves, unless templates are written."`
	ZoneSettings
}

// A Template is what zones have in common. The paths in it have percent signs as the file
// has them.
type Template struct {
	Name string `yaml:"name" is:"label" required:"true" doc:"The template's name. The template default is taken by each zone that names none."`
	ZoneSettings
}

// ZoneSettings are what can be said of a zone, in the zone itself or in its template.
//
// In one piece: it has a field for each key of the file, as the reference lists them.
type ZoneSettings struct {
	Stored          bool             `yaml:"stored" default:"false" doc:"Whether the zone has no file: its records are in state_dir alone, where the API has made it, and are changed by the API and by updates." why:"A zone comes from its file, or from its primaries."`
	Views           []string         `yaml:"views" is:"label" lone:"true" default:"" doc:"The views that see the zone, of views; default is that of all other clients. Zones of one name in different views are zones of their own, each with a journal and a history. What is kept of it in state_dir goes by the first of the list." why:"All views see it that have no other zone of its name."`
	File            string           `yaml:"file" is:"path" default:"" doc:"Its zone file, seen from the folder of the file that names it. A zone has either a file or primaries. In a template, %s stands for the zone's name without the last dot, and %% for a percent sign." why:"A zone comes from one place."`
	Primaries       []netip.AddrPort `yaml:"primaries" is:"upstream" remote:"true" port:"53" default:"" doc:"Servers that the zone is fetched from: this server is a secondary of it. Each is tried in turn. Port 53 unless given." why:"A zone with a file is primary here."`
	Secondaries     []netip.AddrPort `yaml:"secondaries" is:"upstream" remote:"true" port:"53" default:"" doc:"Servers that are told of changes (NOTIFY, RFC 1996), and may transfer the zone from these addresses." why:"Nobody may have a zone whole unless it is written."`
	AllowTransfer   []netip.Prefix   `yaml:"allow_transfer" beside:"key=TransferKeys address=TransferAlone remote=TransferRemotes" default:"" doc:"More who may transfer the zone, beside its secondaries: networks, from which transfers have to be signed as tsig says; {key: NAME}, whoever signs with that key, from wherever; {address: NETWORK}, by the address alone, for servers that cannot sign; {remote: NAME} or the name alone, a remote, from its addresses and with its key if it has one." why:"As secondaries."`
	AllowQuery      []netip.Prefix   `yaml:"allow_query" default:"" doc:"Clients that may ask for names in the zone, of those that policy.allow lets ask at all. Others get REFUSED; its primaries and secondaries may always. If some clients may use recursion and not ask for this zone, the resolver does not look into it: what leads there from elsewhere is resolved as if the zone were not here." why:"policy.allow is for all zones; a zone for some clients beside zones for everyone says so itself."`
	TransferKeys    [][]byte         // those of allow_transfer, in lower case
	TransferAlone   []netip.Prefix   // the addresses of allow_transfer that need no signature
	TransferRemotes []string         // the remotes of allow_transfer
	Keyed           []KeyedServer    // servers that have keys of their own, since a remote is named
	Notify          []netip.AddrPort `yaml:"notify" is:"upstream" remote:"true" port:"53" default:"" doc:"More servers that are told of changes, beside the secondaries." why:"The secondaries are told."`
	TSIG            [][]byte         `yaml:"tsig" is:"name" lone:"true" default:"" doc:"The names of the keys that transfers of the zone have to be signed with (RFC 8945): any of them those that are given away, and the first those that are asked for, and NOTIFY." why:"There is no key that everybody has: see insecure."`
	Updates         []Grant          `yaml:"updates" doc:"Who may change the zone by messages (RFC 2136), which have to be signed. What is acknowledged is in a journal in state_dir; the file stays as it is."`
	Serial          string           `yaml:"serial" is:"word" words:"increment date unixtime" default:"increment" doc:"Which serial follows when an update changes the zone: the next number; the date and two digits, as 2026112300; or the seconds since 1970." why:"It always works; date has a hundred changes a day before it runs ahead."`
	RRsetOrder      string           `yaml:"rrset_order" is:"word" words:"server fixed cyclic random" default:"server" doc:"In which order the records of a set are sent, as rrset_order for the whole server has it." why:"One way for all."`
	DNSSEC          ZoneDNSSEC       `yaml:"dnssec" doc:"Whether the zone is signed here. Zones that come signed are served as they are."`
	Insecure        bool             `yaml:"insecure" default:"false" doc:"Whether the zone is transferred without signatures, by addresses alone: for servers that cannot sign, as Active Directory's, on a network that you trust. Whoever can send from a listed address gets the zone, and whoever can change packets on the way changes it. Only without tsig." why:"The explicit word for what is unsafe where strangers are on the way."`
	AllowNotify     []netip.Prefix   `yaml:"allow_notify" remote:"true" default:"" doc:"More who may say that the zone has changed at its primary, beside the primaries." why:"A stranger's word leads to nothing."`
	Forward         bool             `yaml:"forward_updates" default:"false" doc:"Whether updates of this secondary zone go on to its primaries, if they are signed. The primary judges the signature." why:"Nobody changes a zone by way of a server that does not own it, unless it is written."`
	Catalog         string           `yaml:"catalog" is:"word" words:"none consume produce" default:"none" doc:"Whether the zone is a catalog (RFC 9432): consume serves the zones that it names as secondary zones, see members; produce makes it of the zones here that name it in in_catalog." why:"A zone is data, and no list of zones to be served."`
	Members         Members          `yaml:"members" doc:"How the zones that a consumed catalog names are served."`
	InCatalog       []byte           `yaml:"in_catalog" is:"name" default:"" doc:"The catalog made here that names this zone to its consumers." why:"Which servers have a zone is for you to say."`
	Group           string           `yaml:"group" is:"label" default:"" doc:"The zone's group in that catalog, by which consumers choose how they serve it." why:"One way for all."`
}

// ZoneDNSSEC says whether and how a zone is signed.
type ZoneDNSSEC struct {
	Sign     bool   `yaml:"sign" default:"false" doc:"Whether the zone is signed, by the policy default unless policy names another. Keys are made when there are none, in state_dir, and signatures renewed in time. The DS record that port53 zone ds prints is for the parent." why:"A zone that is signed needs a parent that knows its key."`
	Policy   string `yaml:"policy" is:"label" default:"" doc:"The policy by which the zone is signed, of dnssec_policies. It means sign: true." why:"The policy default does for most zones."`
	KeysFrom string `yaml:"keys_from" is:"path" default:"" doc:"A directory with the zone's key files as BIND has them (K*.key and K*.private), of the server that signed it until now. They are copied into state_dir before the zone is signed for the first time; if there are none, or they cannot be read, it is not signed, and no key is made." why:"A zone that nobody has signed needs no keys of others."`
}

// Signs tells whether the zone is to be signed here.
func (z *ZoneDNSSEC) Signs() bool { return z.Sign || z.Policy != "" }

// A DNSSECPolicy is a way of signing zones.
type DNSSECPolicy struct {
	Name       string         `yaml:"name" is:"label" required:"true" doc:"The policy's name."`
	Algorithm  string         `yaml:"algorithm" is:"word" words:"ecdsap256sha256 ecdsap384sha384 ed25519 rsasha256" default:"ecdsap256sha256" doc:"The algorithm of keys that are made." why:"Every validator knows it, and its signatures are small and quick."`
	Keys       string         `yaml:"keys" is:"word" words:"csk split" default:"csk" doc:"Which keys are made: one that signs all, or a KSK for the keys and a ZSK for the data." why:"Two keys are twice the work, and protect little unless the KSK lies elsewhere."`
	Denial     string         `yaml:"denial" is:"word" words:"nsec nsec3 nsec3-opt-out" default:"nsec" doc:"How absent names are proven: by NSEC, by NSEC3 without iterations and salt (RFC 9276), or by that without delegations that have no DS." why:"NSEC is the smallest and the quickest; NSEC3 makes it dearer to list the names, and not impossible."`
	ZONEMD     bool           `yaml:"zonemd" default:"false" doc:"Whether the zone gets a digest of all of it (RFC 8976), which secondaries may check." why:"It costs a pass over the zone for each version."`
	Signatures SignatureTimes `yaml:"signatures" doc:"How long signatures are valid, and when they are renewed."`

	DNSKEYTTL   time.Duration `yaml:"dnskey_ttl" default:"1h" min:"1s" max:"7d" doc:"The TTL of the DNSKEY, CDS and CDNSKEY sets. Each step of a roll waits for as long." why:"Quick rolls, and a question an hour from each resolver."`
	KSKLifetime time.Duration `yaml:"ksk_lifetime" default:"0s" max:"36500d" doc:"After how long a KSK, or a key that signs all, is rolled. 0: only by hand (port53 zone keys roll)." why:"A roll needs the parent, and nothing is gained by it that is worth a mistake there."`
	ZSKLifetime time.Duration `yaml:"zsk_lifetime" default:"0s" max:"36500d" doc:"After how long a ZSK is rolled. 0: only by hand." why:"A key of today's algorithms does not wear out."`
	Propagation time.Duration `yaml:"propagation" default:"1h" max:"30d" doc:"How long is waited beside the TTLs before a step of a roll, for servers of the zone that cannot be seen: behind others, or of one address in many places." why:"An hour costs nothing, and secondaries have the zone within minutes."`
	Purge       time.Duration `yaml:"purge" default:"90d" max:"36500d" doc:"How long after nobody has anything of a key any more its files are removed. 0: never." why:"Long enough to look into what happened."`
	Watch       string        `yaml:"watch" is:"word" words:"all secondaries self" default:"all" doc:"Which servers of the zone have to be seen to have a step of a roll before the next: all that the parent zone names and the zone's secondaries, the secondaries alone, or this server alone." why:"What only some servers have, some caches lack."`
	Publish     PublishKeys   `yaml:"publish" doc:"How the parent zone is asked for DS records."`
	Parent      ParentZone    `yaml:"parent" doc:"How the parent zone's DS records are found, and changed."`
}

// PublishKeys says how the parent zone is asked for DS records.
type PublishKeys struct {
	CDS   string `yaml:"cds" is:"word" words:"on_roll never always" default:"on_roll" doc:"When the zone has CDS and CDNSKEY records (RFC 7344), of which a parent that reads them makes DS records: while it has others than it should, never, or always." why:"Parents that read them need nothing else, and others do not mind."`
	DSYNC bool   `yaml:"dsync" default:"true" doc:"Whether the parent is told that they have changed, by NOTIFY to where its DSYNC record says (RFC 9859)." why:"It saves the parent's next look, a day as a rule."`
}

// ParentZone says how the parent zone's DS records are found, and changed.
type ParentZone struct {
	Check       []netip.AddrPort `yaml:"check" is:"upstream" port:"53" default:"" doc:"Servers that are asked for the zone's DS records: a step of a roll is taken when all have what it needs. Port 53 unless given. Empty: all servers of the parent zone, which are found from the root down." why:"The parent's own servers know best."`
	DSTTL       time.Duration    `yaml:"ds_ttl" default:"1d" max:"30d" doc:"The TTL of the DS records, or more. One that is seen to be longer counts." why:"As of most parents."`
	Propagation time.Duration    `yaml:"propagation" default:"1h" max:"30d" doc:"How long is waited beside that TTL, for servers of the parent that cannot be seen." why:"As propagation."`
	Push        PushDS           `yaml:"push" doc:"Has DS records changed at the parent by update messages (RFC 2136)."`
}

// PushDS says where DS records are changed by update messages.
type PushDS struct {
	To   []netip.AddrPort `yaml:"to" is:"upstream" port:"53" default:"" doc:"The server, one that takes updates of the parent zone. Empty: DS records are not pushed." why:"Most parents do not take them."`
	TSIG []byte           `yaml:"tsig" is:"name" default:"" doc:"The key that the message is signed with." why:"There is no key that everybody has."`
}

// SignatureTimes are the times of signatures.
type SignatureTimes struct {
	Valid   time.Duration `yaml:"valid" default:"14d" min:"1h" max:"1825d" doc:"For how long from when it is made a signature is valid. Those of a zone that is signed for the first time are spread over the time until refresh, so that they are not renewed all at once." why:"Long enough for a week in which nobody looks, short enough that what is withdrawn is soon forgotten."`
	Refresh time.Duration `yaml:"refresh" default:"5d" min:"1m" doc:"How long before it expires a signature is renewed, at the latest. Less than valid." why:"Secondaries that are cut off go on for that long."`
	Before  time.Duration `yaml:"before" default:"1h" max:"7d" doc:"How far in the past signatures begin." why:"Clocks of validators may be late."`
}

// Members say how the zones of a catalog are served.
type Members struct {
	Primaries       []netip.AddrPort `yaml:"primaries" is:"upstream" remote:"true" port:"53" default:"" doc:"Servers that the members are fetched from. Empty: those of the catalog." why:"A primary that gives a catalog has its zones."`
	Secondaries     []netip.AddrPort `yaml:"secondaries" is:"upstream" remote:"true" port:"53" default:"" doc:"Servers that are told of changes of the members, and may transfer them." why:"Nobody may have a zone whole unless it is written."`
	AllowTransfer   []netip.Prefix   `yaml:"allow_transfer" beside:"remote=TransferRemotes" default:"" doc:"More who may transfer the members." why:"As secondaries."`
	Notify          []netip.AddrPort `yaml:"notify" is:"upstream" remote:"true" port:"53" default:"" doc:"More servers that are told of changes." why:"The secondaries are told."`
	TSIG            []byte           `yaml:"tsig" is:"name" default:"" doc:"The key that transfers of the members, in and out, have to be signed with. Empty: that of the catalog." why:"One key for a pair of servers is the rule."`
	TransferRemotes []string         // the remotes of allow_transfer
	Keyed           []KeyedServer    // as in ZoneSettings
	Groups          []Group          `yaml:"groups" doc:"Members of these groups are served otherwise."`
}

// A Group is how the members of one group are served.
type Group struct {
	Name          string           `yaml:"name" is:"label" required:"true" doc:"The group."`
	Primaries     []netip.AddrPort `yaml:"primaries" is:"upstream" remote:"true" port:"53" default:"" doc:"As members.primaries." why:"As members.primaries."`
	Secondaries   []netip.AddrPort `yaml:"secondaries" is:"upstream" remote:"true" port:"53" default:"" doc:"As members.secondaries." why:"As members.secondaries."`
	AllowTransfer []netip.Prefix   `yaml:"allow_transfer" beside:"remote=TransferRemotes" default:"" doc:"As members.allow_transfer." why:"As members.allow_transfer."`
	Notify        []netip.AddrPort `yaml:"notify" is:"upstream" remote:"true" port:"53" default:"" doc:"As members.notify." why:"As members.notify."`
	TSIG          []byte           `yaml:"tsig" is:"name" default:"" doc:"As members.tsig." why:"As members.tsig."`

	TransferRemotes []string      // the remotes of allow_transfer
	Keyed           []KeyedServer // as in ZoneSettings
}

// A Grant lets the owner of a key change some of a zone.
type Grant struct {
	Key   []byte   `yaml:"key" is:"name" required:"true" doc:"The name of the key that the message has to be signed with."`
	Names []string `yaml:"names" is:"label" required:"true" doc:"Which names may be changed: a name, *.name for all below it, or * for all of the zone."`
	Types []string `yaml:"types" is:"label" default:"" doc:"Which types of records may be changed. Empty: all. Whoever may change each type that a name has may take the name away." why:"Names are what grants are about; a client of DHCP or ACME needs A, AAAA, PTR, DHCID or TXT."`
}

// Transfers tells whether anybody may have the zone whole.
func (z *ZoneSettings) Transfers() bool {
	return len(z.Secondaries)+len(z.AllowTransfer)+len(z.TransferKeys)+len(z.TransferAlone)+len(z.TransferRemotes) > 0
}

// Unsigned tells whether the zone is transferred, in or out, without a signature.
func (z *ZoneSettings) Unsigned() bool {
	bare := func(a netip.AddrPort) bool { return z.KeyOf(a) == nil }
	alone := z.Insecure && len(z.TSIG) == 0
	return len(z.TransferAlone) > 0 || alone && (len(z.AllowTransfer)+len(z.TransferRemotes) > 0 ||
		slices.ContainsFunc(z.Primaries, bare) || slices.ContainsFunc(z.Secondaries, bare))
}

// A Remote is a server that has a name.
type Remote struct {
	Name      string           `yaml:"name" is:"label" required:"true" doc:"The name that lists of servers have: letters, digits, and - _ . between them; no address."`
	Addresses []netip.AddrPort `yaml:"addresses" is:"upstream" port:"53" lone:"true" required:"true" doc:"Its addresses. Port 53 unless given."`
	TSIG      []byte           `yaml:"tsig" is:"name" default:"" doc:"The name of the key that transfers, and NOTIFY, between this server and the remote are signed with, whatever tsig the zone has. Empty: the zone's." why:"One key for a pair of servers is the rule, and a zone has several."`
	TLS       RemoteTLS        `yaml:"tls" doc:"With it, zones are fetched from the remote over TLS (RFC 9103), and it is told of changes, and asked, over TLS alone; the port of addresses that name none is 853. Where the remote has no tsig, it may have zones only over TLS, by a certificate of its own that fits."`
}

// RemoteTLS is how a remote is known over TLS, and what it is shown.
type RemoteTLS struct {
	Name string `yaml:"name" is:"label" default:"" doc:"The name that its certificate has to have, as a server and as a client. Empty: the address that it is asked at; as a client it has to have a pin then." why:"Servers are known by names."`
	UpstreamTLS
	Certificate string `yaml:"certificate" is:"path" default:"" doc:"File of the certificate that this server shows to the remote, if it asks for one (mutual TLS)." why:"Most servers know others by keys (TSIG)."`
	Key         string `yaml:"key" is:"path" default:"" doc:"File of that certificate's private key." why:"As certificate."`
}

// Set tells whether the remote is known over TLS.
func (t *RemoteTLS) Set() bool {
	return t.Name != "" || t.CA != "" || len(t.Pins) > 0 || t.Certificate != ""
}

// servers returns the addresses of the remote with the ports that it is asked at.
func (r *Remote) servers() []netip.AddrPort {
	if !r.TLS.Set() {
		return r.Addresses
	}
	list := slices.Clone(r.Addresses)
	for i, a := range list {
		if a.Port() == 53 { // what those have that name none
			list[i] = netip.AddrPortFrom(a.Addr(), 853)
		}
	}
	return list
}

// Sealed returns the remote that is asked over TLS at an address, or nil.
func (c *Config) Sealed(a netip.AddrPort) *Remote {
	for i := range c.Remotes {
		if r := &c.Remotes[i]; r.TLS.Set() && slices.Contains(r.servers(), a) {
			return r
		}
	}
	return nil
}

// A KeyedServer is a server whose messages about a zone are signed with a key of its own.
type KeyedServer struct {
	Addr netip.AddrPort
	Key  []byte // the key's name, in lower case

	list   int32 // the key of the table whose list names the server
	remote string
}

// Remote returns the remote of a name, or nil.
func (c *Config) Remote(name string) *Remote {
	for i := range c.Remotes {
		if c.Remotes[i].Name == name {
			return &c.Remotes[i]
		}
	}
	return nil
}

// A Key is a secret shared with others, by which they sign what they send (TSIG).
type Key struct {
	Name       []byte  `yaml:"name" is:"name" required:"true" doc:"The key's name, which both sides have to use."`
	Algorithm  string  `yaml:"algorithm" is:"word" words:"hmac-sha224 hmac-sha256 hmac-sha384 hmac-sha512" default:"hmac-sha256" doc:"How signatures are made. MD5 and SHA-1 are not offered." why:"RFC 8945, section 6: every implementation has it."`
	Secret     string  `yaml:"secret" is:"secret" default:"" doc:"The secret in base64, at least 16 octets. A file is safer: configurations are read by many." why:"Either secret or secret_file has it."`
	SecretFile string  `yaml:"secret_file" is:"path" default:"" doc:"File with the secret in base64, or with a key clause as port53 key new, tsig-keygen and nsupdate -k have it, which others may not be able to read." why:"As secret."`
	Grants     []Right `yaml:"grants" doc:"What whoever signs with the key may do, beside what zones say of it in updates and allow_transfer."`

	Octets []byte // the secret, from the one or the other
}

// A Token is a secret that a client of the API sends, and what it may do.
type Token struct {
	Name       string  `yaml:"name" is:"label" required:"true" doc:"The token's name, which logs and the history of zones have."`
	Hash       string  `yaml:"hash" is:"label" default:"" doc:"The SHA-256 of the token, in hexadecimal digits, as port53 grant new prints it." why:"Either hash or secret_file has it. Whoever reads a hash cannot use it."`
	SecretFile string  `yaml:"secret_file" is:"path" default:"" doc:"File with the token, which others may not be able to read. A token has at least 22 characters." why:"As hash."`
	Grants     []Right `yaml:"grants" doc:"What whoever sends the token may do. Without grants, nothing."`

	Sum [32]byte // the SHA-256, from the one or the other
}

// A Right lets a key or a token do something.
type Right struct {
	Zone  []string `yaml:"zone" is:"label" lone:"true" required:"true" doc:"The zones: a name, *.name for all zones below it, or \"*\" for all; or a list of these."`
	Names []string `yaml:"names" is:"label" default:"*" doc:"Which names in them: a name, *.name for all below it, label.* for all that begin with that label, as _acme-challenge.*, @ for the zone's own name, or * for all." why:"A zone is what most grants are about."`
	Types []string `yaml:"types" is:"label" default:"" doc:"Which types of records. Empty: all." why:"As in updates of a zone."`
	Verbs []string `yaml:"verbs" is:"word" words:"read change notify sign admin" default:"read, change" doc:"What may be done: read records, and transfer the zone if all of it is granted; change records; notify, which is to say that the zone has changed; sign, which is to see, make and remove keys; admin is all of it, and to add and remove the zone. Admin of all zones may do all that the API has." why:"What a client of DNS automation needs."`
	Until string   `yaml:"until" is:"label" default:"" doc:"When the grant ends: a day such as 2027-01-31, which is the last, or a moment. Empty: never." why:"Most grants are taken back when their holder goes."`
}

// API is the HTTP API.
type API struct {
	Listen   netip.AddrPort `yaml:"listen" is:"address-or-off" default:"off" port:"8053" doc:"The address to listen on, or off. Requests show a token of tokens, or of port53 grant add, in X-API-Key or as Authorization: Bearer." why:"Nobody changes zones over the network unless it is written."`
	PowerDNS bool           `yaml:"powerdns" default:"true" doc:"Whether /api is there, as PowerDNS has it, for the tools that speak it." why:"It is what external-dns, lego, octoDNS, DNSControl and others know."`
	Expose   bool           `yaml:"expose" default:"false" doc:"Has to be true for an address other than loopback: tokens go over it in the clear, unless there is a TLS proxy in front." why:"The explicit word for what is unsafe on a network that others listen on."`
}

// granted is how many of the last keys and tokens of a configuration were granted to a running
// server, and are in none of its own files.
type granted struct{ keys, tokens int }

// Transfers are the bounds of zone transfers.
type Transfers struct {
	MaxOut     int  `yaml:"max_out" default:"32" min:"1" max:"10000" doc:"Transfers that are sent at one time. More wait in line. A reader that takes nothing gives its place to others." why:"Each takes processor time from queries. BIND 10, Knot as many as there are workers for TCP."`
	MaxOutPeer int  `yaml:"max_out_per_peer" default:"4" min:"1" max:"10000" doc:"Transfers that are sent to one address at one time. More wait in line, up to 4,096." why:"One slow secondary does not keep the others from theirs."`
	MaxMemory  Size `yaml:"max_memory" default:"1GiB" min:"16MiB" max:"1TiB" doc:"Octets of memory that transfers take that are received, all together, with the versions that come of them. A transfer that would take more ends; the version before goes on." why:"A primary that sends without end, or names that are made to be costly, take no more than this. A zone of five million records takes about 1 GiB."`
	MaxIn      int  `yaml:"max_in" default:"16" min:"1" max:"1000" doc:"Transfers that are received at one time, of all zones. One whose primary sends nothing gives its place to others." why:"Each builds a version beside the one that serves. BIND 10."`
}

// A HostsFile is a file of names and addresses.
type HostsFile struct {
	File string `yaml:"file" is:"path" required:"true" doc:"The file: lines of an address and names, as hosts(5) has it. At most 16 MiB, and 200,000 names of all files together."`
}

// A LocalName is a name, or a star and the name above it, and its addresses.
type LocalName struct {
	Name    []byte       `yaml:"name" is:"pattern" required:"true" doc:"The name, or *. and the name whose subtree is meant."`
	Address []netip.Addr `yaml:"address" required:"true" doc:"Its address, or a list of them."`
}

// A LeaseFile is a file in which a DHCP server keeps its leases.
type LeaseFile struct {
	File   string `yaml:"file" is:"path" required:"true" doc:"The file, such as /var/lib/misc/dnsmasq.leases. Others than root have to be able to read it, as user."`
	Format string `yaml:"format" is:"word" words:"auto dnsmasq kea isc" default:"auto" doc:"How it is written: by dnsmasq, by Kea (the memfile, for IPv4 or IPv6), by ISC's dhcpd." why:"The text tells."`
}

// ZoneLimits are the bounds of one zone.
type ZoneLimits struct {
	Generate int  `yaml:"generate" default:"0" min:"0" max:"4096" doc:"Records that $GENERATE may make in one zone. 0 refuses the directive." why:"One line can make any number of records; PowerDNS refuses the directive as well."`
	Records  int  `yaml:"records" default:"5000000" min:"1" max:"1000000000" doc:"Records in one zone." why:"A file that a generator filled by mistake ends here; a registry sets what it has."`
	Size     Size `yaml:"size" default:"1GiB" min:"1KiB" max:"1TiB" doc:"Octets of a zone's file and the files that it includes." why:"Five million records as text, with much to spare."`
}

// Policy is who may ask, and how often.
type Policy struct {
	AllowInterfaces []string
	Allow           []netip.Prefix `yaml:"allow" beside:"interface=AllowInterfaces" default:"" doc:"Who may ask. {interface: lan0} is the networks of an interface, as in resolver.allow. Others get REFUSED, but the servers in primaries and secondaries of zones may ask, too. Empty: everyone; in the roles internal-resolver and domain-controller, whoever may have names resolved." why:"An authoritative server is asked by resolvers everywhere; zones beside a resolver for a network are for the network."`
	Deny            []netip.Prefix `yaml:"deny" default:"" doc:"Who may not ask, even where allow has a wider network." why:"Nobody is shut out unless it is written."`
	Lists           []FilterList   `yaml:"lists" doc:"Lists of names, and of addresses in answers, for policy.block and policy.allow_lists. Names in zones here, of machines, and those that are built in are not filtered."`
	Block           []FilterBlock  `yaml:"block" doc:"Which lists block, for whom and when. Of two that have a name the first says what is answered."`
	AllowNames      [][]byte       `yaml:"allow_names" is:"pattern" default:"" doc:"Names that pass whatever lists say, or *.name for all below one." why:"A list is somebody else's."`
	AllowLists      []string       `yaml:"allow_lists" is:"label" default:"" doc:"Lists whose names pass whatever others say." why:"As allow_names."`
	RateLimit       RateLimit      `yaml:"rate_limit" doc:"Response rate limiting: the defence against being used as an amplifier. It counts UDP replies by client network and kind of answer; TCP and clients with a valid cookie are exempt."`
}

// RateLimit is response rate limiting.
type RateLimit struct {
	Enabled      bool           `yaml:"enabled" default:"true" internal:"false" doc:"Whether replies are limited. In the role public-resolver it cannot be switched off." why:"Without it a server is an amplifier for whoever forges addresses. Internal roles answer known networks only, where many may ask for one name at a time."`
	PerSecond    Rate           `yaml:"per_second" default:"20" public:"100" min:"1" max:"1000000" doc:"Replies a second to one client network for one kind of answer." why:"No resolver asks for one thing as often: it caches. NSD 200, Knot 50, BIND unlimited. The clients of a public resolver do not all cache, and many share a network behind a NAT: 100 large answers are 1 Mbit/s."`
	Burst        int            `yaml:"burst" default:"100" public:"500" min:"1" max:"10000000" doc:"Replies that may come at once before per_second holds." why:"Resolvers that start with an empty cache ask much at once. Knot 125. Five seconds of per_second."`
	Slip         int            `yaml:"slip" default:"2" min:"0" max:"100" doc:"Every n-th reply beyond the limit goes out empty with TC=1, so that a real client can ask over TCP. 1 is each, 0 is none." why:"Half of a flood gets no reply at all, and a real client gets through in a few tries. BIND and NSD: 2."`
	Ceiling      Rate           `yaml:"ceiling" default:"1000" public:"2000" min:"1" max:"10000000" doc:"Replies a second to one client network, all kinds together." why:"A flood with many names is one of many kinds of answer; 50 times per_second is beyond any one network. A public resolver's clients ask for many names: Google's lets one address ask 1,500 times."`
	CeilingBurst int            `yaml:"ceiling_burst" default:"2000" public:"4000" min:"1" max:"100000000" doc:"Replies that may come at once before ceiling holds." why:"Two seconds of ceiling."`
	IPv4Prefix   int            `yaml:"ipv4_prefix" default:"24" min:"8" max:"32" doc:"Length of the prefix that is one IPv4 client network." why:"The smallest network that is routed: forged addresses of one victim count together. BIND: 24."`
	IPv6Prefix   int            `yaml:"ipv6_prefix" default:"56" min:"16" max:"128" doc:"Length of the prefix that is one IPv6 client network." why:"What one site gets (RFC 6177). BIND: 56."`
	Table        Size           `yaml:"table" default:"8MiB" min:"64KiB" max:"16GiB" doc:"Memory of the counters. It is taken at the start and does not grow." why:"A million counters: NSD has as many."`
	LogOnly      bool           `yaml:"log_only" default:"false" doc:"Count what would be limited, and limit nothing." why:"A limit that limits nothing is for trying it out."`
	Exempt       []netip.Prefix `yaml:"exempt" default:"" doc:"Networks that are not limited." why:"Addresses of UDP can be forged: exempt networks can be attacked through this server."`
}

// EDNS is how the extension mechanism (RFC 6891) is served.
type EDNS struct {
	UDPSize           int    `yaml:"udp_size" default:"1232" min:"512" max:"4096" doc:"The largest UDP reply, in octets, and the size advertised to clients. Above 1232 replies may be cut into fragments on the way." why:"DNS flag day 2020: one packet on nearly every path, for fragments can be forged (RFC 9715)."`
	Cookies           bool   `yaml:"cookies" default:"true" doc:"Whether DNS cookies (RFC 7873, RFC 9018) are answered." why:"They tell real clients from forged ones, who are then never limited."`
	CookieSecretsFile string `yaml:"cookie_secrets_file" default:"" is:"path" doc:"File of the secrets that cookies are made with, for servers that share an address: one or two lines of 32 hexadecimal digits, the first is used, both are accepted. Others may not be able to read it. Empty: a random secret that changes daily." why:"Only servers that share an address need to know the same."`
	Padding           int    `yaml:"padding" default:"0" min:"0" max:"512" doc:"Replies over TCP to queries with the padding option are padded to a multiple of this. 0: never. For encrypted transports there is encrypted.padding." why:"Without encryption the size hides nothing (RFC 8467, section 4.1)."`
}

// Identity is what the server tells of itself. An empty string is hidden.
type Identity struct {
	Version  string `yaml:"version" default:"hidden" is:"hidden" doc:"The answer to CH TXT version.bind and version.server, or hidden: REFUSED." why:"A version tells attackers which faults to try."`
	Hostname string `yaml:"hostname" default:"hidden" is:"hidden" doc:"The answer to CH TXT hostname.bind and id.server, or hidden: REFUSED." why:"Names of machines are nobody's business until an operator wants to tell servers of one address apart."`
	NSID     string `yaml:"nsid" default:"" is:"label" doc:"The name server identifier (RFC 5001) that is told to clients who ask for it. Empty: none." why:"As hostname."`
}

// TCP is the bounds of connections (RFC 7766, RFC 9210).
type TCP struct {
	MaxConnections int           `yaml:"max_connections" default:"4096" min:"1" max:"1000000" doc:"Connections at one time. At the ceiling the one that has been idle longest is closed for the new one. Fewer where the process may not open as many files: the start says so." why:"A connection costs a few KiB, and too low a number is an attack made easy. BIND 150, NSD 100."`
	PerClient      int           `yaml:"per_client" default:"20" min:"1" max:"1000000" doc:"Connections of one address." why:"A resolver needs one or two (RFC 7766, section 6.2.2); many share one address behind a NAT."`
	PerPeer        int           `yaml:"per_peer" default:"256" min:"1" max:"1000000" doc:"Connections of one address that zones are exchanged with: that of a primary, secondary or remote, or an address alone in notify, allow_transfer or allow_notify. per_client and per_network do not count for it." why:"Whoever has thousands of zones from here fetches many at a time: BIND up to transfers-per-ns, which people set to 100."`
	PerNetwork     int           `yaml:"per_network" default:"64" min:"1" max:"1000000" doc:"Connections of one network, /24 or /56." why:"Several resolvers of one network, and no more of an attacker who has all of it."`
	Idle           time.Duration `yaml:"idle" default:"10s" min:"100ms" max:"1h" doc:"How long a connection may stay without a question. Shorter while connections are scarce." why:"Some seconds (RFC 7766, section 6.2.3); Knot 10 s, BIND 30 s."`
	Question       time.Duration `yaml:"question" default:"3s" min:"100ms" max:"1m" doc:"How long a question may take from its first octet to its last." why:"A question is one packet; a sender of single octets is cut off. Knot 2 s."`
	InFlight       int           `yaml:"in_flight" default:"16" min:"1" max:"1024" doc:"Questions of one connection that are worked on, or whose answers are not read, at one time." why:"Pipelining (RFC 7766, section 6.2.1.1) for resolvers, and a bound for each connection. BIND 23."`
	WriteStall     time.Duration `yaml:"write_stall" default:"5s" min:"100ms" max:"5m" doc:"How long a client may take to read an answer before it is cut off." why:"Several retransmissions; a client that reads nothing holds memory."`
}

// UDP is how datagrams are read.
type UDP struct {
	Workers  int  `yaml:"workers" default:"0" min:"0" max:"1024" doc:"Sockets and goroutines for each address. 0: one for each CPU." why:"The kernel spreads clients over the sockets, and no CPU waits for another."`
	Portable bool `yaml:"portable" default:"false" doc:"Read one datagram at a time through Go's net package, as other systems than Linux do." why:"A batch of datagrams is one system call."`
}

// Metrics is where Prometheus finds the counters.
type Metrics struct {
	Listen netip.AddrPort `yaml:"listen" is:"address-or-off" default:"127.0.0.1:9153" port:"9153" doc:"The address to listen on, or off." why:"Only this machine can read it. The port is the one that Prometheus lists for DNS servers."`
	Expose bool           `yaml:"expose" default:"false" doc:"Has to be true for an address other than loopback: there is no password, and the counters tell who asks for what." why:"The explicit word for what is unsafe without a firewall."`
}

// Control is the control socket.
type Control struct {
	Socket string `yaml:"socket" is:"path-or-off" default:"/run/port53/control.sock" doc:"Path of the Unix socket, or off. If state_dir is written in the file, the default is control.sock in that folder." why:"A Unix socket has an owner and needs no password; other machines cannot reach it."`
}

// Firewall is what the server does with rules itself.
type Firewall struct {
	Manage   bool   `yaml:"manage" default:"false" doc:"Whether the server keeps a table of its own in nftables in step with this file, at the start and at each reload: who may ask, and the peers of transfers. It has to stay root for that: user is empty." why:"Rules of a machine are its owner's; port53 firewall apply loads them when told to."`
	StateDir string `yaml:"state_dir" is:"path" default:"/var/lib/port53-firewall" doc:"The directory of what port53 firewall remembers to take rules back, over a restart of the machine too. Root loads what is in it: root owns it, and nobody else can write to it or on the way to it." why:"The user that the server runs as owns its state_dir, and must not say what root loads."`
}

// Audit is where the audit goes beside the log.
type Audit struct {
	File string `yaml:"file" is:"path" default:"" doc:"The file that a line of JSON is appended to for each update, transfer, notification, request of the API and command: when, who (key, token, user), what, and the serials before and after. Each reload opens it anew, so that logrotate can move it. Empty: the log alone has them." why:"The log has them, as many as it bears in a second; a file has all that was done."`
}

// Log is what is logged.
type Log struct {
	Level         string `yaml:"level" is:"word" words:"debug info warn error" default:"info" doc:"The least important messages that are written." why:"What an operator should see, and nothing for each query."`
	Format        string `yaml:"format" is:"word" words:"text json" default:"text" doc:"How messages are written." why:"For people; collectors want json."`
	Queries       string `yaml:"queries" is:"word" words:"off text json" default:"off" doc:"Whether and how each query is logged." why:"Queries tell what people do, and a log of all takes more time than answering."`
	QueriesFile   string `yaml:"queries_file" is:"path" default:"" doc:"The file that the query log is appended to. Each reload opens it anew, so that logrotate can move it. Empty: standard output." why:"The service manager collects what is printed."`
	QueriesSample int    `yaml:"queries_sample" default:"1" min:"1" max:"1000000000" doc:"One query in so many is logged." why:"Who switches the log on wants all that its bounds let through."`
}

// Shutdown is how the server stops.
type Shutdown struct {
	Drain time.Duration `yaml:"drain" default:"2s" min:"1ms" max:"5m" doc:"How long questions that have arrived may take to be answered after SIGTERM." why:"Clients ask again after about as long."`
}
