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
	"crypto/x509"
	"net/netip"
	"slices"
	"time"

	"port53/internal/certs"
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
	Include            []string            `yaml:"include" is:"files" lone:"true" join:"true" default:""`
	Role               string              `yaml:"role" is:"role" required:"true"`
	Listen             []netip.AddrPort    `yaml:"listen" default:"127.0.0.1:53, [::1]:53" port:"53"`
	Proxies            []Proxies           `yaml:"proxies"`
	User               string              `yaml:"user" default:"" is:"user"`
	Sandbox            string              `yaml:"sandbox" is:"word" words:"on files off" default:"on"`
	StateDir           string              `yaml:"state_dir" default:"/var/lib/port53" is:"path"`
	Zones              []Zone              `yaml:"zones"`
	Networks           []Network           `yaml:"networks"`
	Views              []View              `yaml:"views"`
	Templates          []Template          `yaml:"templates"`
	Remotes            []Remote            `yaml:"remotes"`
	Keys               []Key               `yaml:"keys"`
	Tokens             []Token             `yaml:"tokens"`
	ClientCertificates []ClientCertificate `yaml:"client_certificates"`
	API                API                 `yaml:"api"`
	Console            Console             `yaml:"console"`
	DNSSEC             []DNSSECPolicy      `yaml:"dnssec_policies"`
	KeyStores          []KeyStore          `yaml:"key_stores"`
	Online             OnlineSigning       `yaml:"online_signing"`
	Transfers          Transfers           `yaml:"transfers"`
	Resolver           Resolver            `yaml:"resolver"`
	Hosts              []HostsFile         `yaml:"hosts"`
	Names              []LocalName         `yaml:"names" map:"true"`
	Leases             []LeaseFile         `yaml:"leases"`
	Domain             []byte              `yaml:"domain" is:"name" default:""`
	RRsetOrder         string              `yaml:"rrset_order" is:"word" words:"fixed cyclic random" default:"fixed"`
	ZoneLimits         ZoneLimits          `yaml:"zone_limits"`
	Expose             Expose              `yaml:"expose"`
	Policy             Policy              `yaml:"policy"`
	EDNS               EDNS                `yaml:"edns"`
	Identity           Identity            `yaml:"identity"`
	TCP                TCP                 `yaml:"tcp"`
	Encrypted          Encrypted           `yaml:"encrypted"`
	UDP                UDP                 `yaml:"udp"`
	Metrics            Metrics             `yaml:"metrics"`
	Control            Control             `yaml:"control"`
	Firewall           Firewall            `yaml:"firewall"`
	Audit              Audit               `yaml:"audit"`
	Log                Log                 `yaml:"log"`
	Top                Top                 `yaml:"top"`
	Why                Why                 `yaml:"why"`
	Dnstap             Dnstap              `yaml:"dnstap"`
	Shutdown           Shutdown            `yaml:"shutdown"`

	files     []string           // as given to Load or Parse, and those that are included
	folders   []string           // that patterns of include look into
	origins   map[place]position // of the values that the files set
	templates []int32            // for each zone which of Templates it has, or none
	zoneName  int32              // the key of the table that zones have their names from
	granted   granted            // keys and tokens that no file of its own has
	view      string             // whose configuration it is; empty: the default one's
	added     int                // of the zones, the last, which no file of its own has
	late      []lateZone         // where each of these stands
	tail      *tail              // of the array of the zones; nil: nobody else has it
	hasAdded  bool               // the last of files has these
	warnings  Errors             // of files
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

// IncludeDirs returns the directories in which patterns of include look for files.
func (c *Config) IncludeDirs() []string { return c.folders }

// Recurses reports whether the role resolves names outside of the zones.
func (c *Config) Recurses() bool { return c.Role != RoleAuthoritative }

// Internal reports whether the role answers known networks only: those of
// Resolver.Allow, or loopback and the private networks of this machine's interfaces.
func (c *Config) Internal() bool {
	return c.Role == RoleInternalResolver || c.Role == RoleDomainController
}

// A Zone is one zone to serve. Its name is in wire form, with the case of the
// file.
type Zone struct {
	Name     []byte `yaml:"name" is:"name" required:"true"`
	Template string `yaml:"template" is:"label" value:"the name of a template" default:""`
	ZoneSettings
}

// A Template is what zones have in common. The paths in it have percent signs as the file
// has them.
type Template struct {
	Name string `yaml:"name" is:"label" required:"true"`
	ZoneSettings
}

// ZoneSettings are what can be said of a zone, in the zone itself or in its template.
//
// In one piece: it has a field for each key of the file, as the reference lists them.
type ZoneSettings struct {
	Stored          bool             `yaml:"stored" default:"false"`
	Views           []string         `yaml:"views" is:"label" value:"the name of a view" lone:"true" default:""`
	File            string           `yaml:"file" is:"path" default:""`
	Primaries       []netip.AddrPort `yaml:"primaries" is:"upstream" remote:"true" port:"53" default:""`
	Secondaries     []netip.AddrPort `yaml:"secondaries" is:"upstream" remote:"true" port:"53" default:""`
	AllowTransfer   []netip.Prefix   `yaml:"allow_transfer" beside:"key=TransferKeys address=TransferAlone remote=TransferRemotes" default:""`
	AllowQuery      []netip.Prefix   `yaml:"allow_query" default:""`
	TransferKeys    [][]byte         // those of allow_transfer, in lower case
	TransferAlone   []netip.Prefix   // the addresses of allow_transfer that need no signature
	TransferRemotes []string         // the remotes of allow_transfer
	Keyed           []KeyedServer    // servers that have keys of their own, since a remote is named
	Notify          []netip.AddrPort `yaml:"notify" is:"upstream" remote:"true" port:"53" default:""`
	TSIG            [][]byte         `yaml:"tsig" is:"name" value:"the name of an entry in keys" lone:"true" default:""`
	Updates         []Grant          `yaml:"updates"`
	Serial          string           `yaml:"serial" is:"word" words:"increment date unixtime" default:"increment"`
	RRsetOrder      string           `yaml:"rrset_order" is:"word" words:"server fixed cyclic random" default:"server"`
	DNSSEC          ZoneDNSSEC       `yaml:"dnssec"`
	Insecure        bool             `yaml:"insecure" default:"false"`
	AllowNotify     []netip.Prefix   `yaml:"allow_notify" remote:"true" default:""`
	Forward         bool             `yaml:"forward_updates" default:"false"`
	Catalog         string           `yaml:"catalog" is:"word" words:"none consume produce" default:"none"`
	Members         Members          `yaml:"members"`
	InCatalog       []byte           `yaml:"in_catalog" is:"name" value:"the name of an entry in zones" default:""`
	Group           string           `yaml:"group" is:"label" default:""`
}

// ZoneDNSSEC says whether and how a zone is signed.
type ZoneDNSSEC struct {
	Sign     bool   `yaml:"sign" default:"false"`
	Policy   string `yaml:"policy" is:"label" value:"the name of an entry in dnssec_policies, or default" default:""`
	KeysFrom string `yaml:"keys_from" is:"path" default:""`
}

// Signs reports whether the zone is to be signed here.
func (z *ZoneDNSSEC) Signs() bool { return z.Sign || z.Policy != "" }

// A DNSSECPolicy is a way of signing zones.
type DNSSECPolicy struct {
	Name       string         `yaml:"name" is:"label" required:"true"`
	Algorithm  string         `yaml:"algorithm" is:"word" words:"ecdsap256sha256 ecdsap384sha384 ed25519 rsasha256" default:"ecdsap256sha256"`
	Keys       string         `yaml:"keys" is:"word" words:"csk split" default:"csk"`
	Denial     string         `yaml:"denial" is:"word" words:"nsec nsec3 nsec3-opt-out compact" default:"nsec"`
	ZONEMD     bool           `yaml:"zonemd" default:"false"`
	Signatures SignatureTimes `yaml:"signatures"`

	DNSKEYTTL   time.Duration `yaml:"dnskey_ttl" default:"1h" min:"1s" max:"7d"`
	KSKLifetime time.Duration `yaml:"ksk_lifetime" default:"0s" max:"36500d"`
	ZSKLifetime time.Duration `yaml:"zsk_lifetime" default:"0s" max:"36500d"`
	Stores      PolicyStores  `yaml:"stores"`
	Propagation time.Duration `yaml:"propagation" default:"1h" max:"30d"`
	Purge       time.Duration `yaml:"purge" default:"90d" max:"36500d"`
	Watch       string        `yaml:"watch" is:"word" words:"all secondaries self" default:"all"`
	Publish     PublishKeys   `yaml:"publish"`
	Parent      ParentZone    `yaml:"parent"`
}

// PolicyStores say in which key stores keys are made.
type PolicyStores struct {
	KSK string `yaml:"ksk" is:"label" value:"the name of an entry in key_stores" default:""`
	ZSK string `yaml:"zsk" is:"label" value:"the name of an entry in key_stores" default:""`
}

// A KeyStore is a PKCS#11 token that makes and keeps DNSSEC keys.
type KeyStore struct {
	Name    string   `yaml:"name" is:"label" required:"true"`
	URI     string   `yaml:"uri" is:"label" value:"a URI such as pkcs11:token=dnssec" required:"true"`
	Module  string   `yaml:"module" is:"path" required:"true"`
	PINFile string   `yaml:"pin_file" is:"path" default:""`
	Paths   []string `yaml:"paths" is:"path" lone:"true" default:""`
}

// OnlineSigning bounds what is signed while queries wait.
type OnlineSigning struct {
	Cache Size `yaml:"cache" default:"16MiB" min:"64KiB" max:"16GiB"`
	Rate  Rate `yaml:"rate" default:"2000" min:"10" max:"1000000"`
}

// PublishKeys says how the parent zone is asked for DS records.
type PublishKeys struct {
	CDS   string `yaml:"cds" is:"word" words:"on_roll never always" default:"on_roll"`
	DSYNC bool   `yaml:"dsync" default:"true"`

	Signal bool `yaml:"signal" default:"true"`
}

// ParentZone says how the parent zone's DS records are found, and changed.
type ParentZone struct {
	Check       []netip.AddrPort `yaml:"check" is:"upstream" port:"53" default:""`
	DSTTL       time.Duration    `yaml:"ds_ttl" default:"1d" max:"30d"`
	Propagation time.Duration    `yaml:"propagation" default:"1h" max:"30d"`
	Push        PushDS           `yaml:"push"`
}

// PushDS says where DS records are changed by update messages.
type PushDS struct {
	To   []netip.AddrPort `yaml:"to" is:"upstream" port:"53" default:""`
	TSIG []byte           `yaml:"tsig" is:"name" value:"the name of an entry in keys" default:""`
}

// SignatureTimes are the times of signatures.
type SignatureTimes struct {
	Valid   time.Duration `yaml:"valid" default:"14d" min:"1h" max:"1825d"`
	Refresh time.Duration `yaml:"refresh" default:"5d" min:"1m"`
	Before  time.Duration `yaml:"before" default:"1h" max:"7d"`
}

// Members say how the zones of a catalog are served.
type Members struct {
	Primaries       []netip.AddrPort `yaml:"primaries" is:"upstream" remote:"true" port:"53" default:""`
	Secondaries     []netip.AddrPort `yaml:"secondaries" is:"upstream" remote:"true" port:"53" default:""`
	AllowTransfer   []netip.Prefix   `yaml:"allow_transfer" beside:"remote=TransferRemotes" default:""`
	Notify          []netip.AddrPort `yaml:"notify" is:"upstream" remote:"true" port:"53" default:""`
	TSIG            []byte           `yaml:"tsig" is:"name" value:"the name of an entry in keys" default:""`
	TransferRemotes []string         // the remotes of allow_transfer
	Keyed           []KeyedServer    // as in ZoneSettings
	Groups          []Group          `yaml:"groups"`
}

// A Group is how the members of one group are served.
type Group struct {
	Name          string           `yaml:"name" is:"label" required:"true"`
	Primaries     []netip.AddrPort `yaml:"primaries" is:"upstream" remote:"true" port:"53" default:""`
	Secondaries   []netip.AddrPort `yaml:"secondaries" is:"upstream" remote:"true" port:"53" default:""`
	AllowTransfer []netip.Prefix   `yaml:"allow_transfer" beside:"remote=TransferRemotes" default:""`
	Notify        []netip.AddrPort `yaml:"notify" is:"upstream" remote:"true" port:"53" default:""`
	TSIG          []byte           `yaml:"tsig" is:"name" value:"the name of an entry in keys" default:""`

	TransferRemotes []string      // the remotes of allow_transfer
	Keyed           []KeyedServer // as in ZoneSettings
}

// A Grant lets the owner of a key change some of a zone.
type Grant struct {
	Key   []byte   `yaml:"key" is:"name" value:"the name of an entry in keys" required:"true"`
	Names []string `yaml:"names" is:"label" value:"a domain name, *.name, label.*, @ or *" required:"true"`
	Types []string `yaml:"types" is:"label" value:"a record type such as A or TXT" default:""`
}

// Transfers reports whether anybody may have the zone whole.
func (z *ZoneSettings) Transfers() bool {
	return len(z.Secondaries)+len(z.AllowTransfer)+len(z.TransferKeys)+len(z.TransferAlone)+len(z.TransferRemotes) > 0
}

// Unsigned reports whether the zone is transferred, in or out, without a signature.
func (z *ZoneSettings) Unsigned() bool {
	bare := func(a netip.AddrPort) bool { return z.KeyOf(a) == nil }
	alone := z.Insecure && len(z.TSIG) == 0
	return len(z.TransferAlone) > 0 || alone && (len(z.AllowTransfer)+len(z.TransferRemotes) > 0 ||
		slices.ContainsFunc(z.Primaries, bare) || slices.ContainsFunc(z.Secondaries, bare))
}

// A Remote is a server that has a name.
type Remote struct {
	Name      string           `yaml:"name" is:"label" required:"true"`
	Addresses []netip.AddrPort `yaml:"addresses" is:"upstream" port:"53" lone:"true" required:"true"`
	TSIG      []byte           `yaml:"tsig" is:"name" value:"the name of an entry in keys" default:""`
	TLS       RemoteTLS        `yaml:"tls"`
}

// RemoteTLS is how a remote is known over TLS, and what it is shown.
type RemoteTLS struct {
	Name string `yaml:"name" is:"label" value:"a host name" default:""`
	UpstreamTLS
	Certificate string `yaml:"certificate" is:"path" default:""`
	Key         string `yaml:"key" is:"path" default:""`
}

// Set reports whether the remote is known over TLS.
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

// TLSRemote returns the remote that is asked over TLS at an address, or nil.
func (c *Config) TLSRemote(a netip.AddrPort) *Remote {
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
	Name       []byte  `yaml:"name" is:"name" value:"a name such as xfr or xfr.example.com" required:"true"`
	Algorithm  string  `yaml:"algorithm" is:"word" words:"hmac-sha224 hmac-sha256 hmac-sha384 hmac-sha512" default:"hmac-sha256"`
	Secret     string  `yaml:"secret" is:"secret" default:""`
	SecretFile string  `yaml:"secret_file" is:"path" default:""`
	Grants     []Right `yaml:"grants"`

	Octets []byte // the secret, from the one or the other
}

// A Token is a secret that a client of the API sends, and what it may do.
type Token struct {
	Name       string  `yaml:"name" is:"label" required:"true"`
	Hash       string  `yaml:"hash" is:"label" value:"64 hexadecimal digits" default:""`
	SecretFile string  `yaml:"secret_file" is:"path" default:""`
	Grants     []Right `yaml:"grants"`

	Sum [32]byte // the SHA-256, from the one or the other
}

// A ClientCertificate is whose a client certificate is (mutual TLS), and what they may do.
type ClientCertificate struct {
	Name     string   `yaml:"name" is:"label" required:"true"`
	Hostname string   `yaml:"hostname" is:"label" value:"a host name or an address" default:""`
	CA       string   `yaml:"ca" is:"path" default:""`
	Pins     []string `yaml:"pins" is:"label" value:"a SHA-256 digest in base64" lone:"true" default:""`
	Grants   []Right  `yaml:"grants"`

	Roots *x509.CertPool // of ca; nil: there is none
}

// Client returns who that is.
func (k *ClientCertificate) Client() *certs.Client {
	t := UpstreamTLS{Pins: k.Pins}
	roots := k.Roots
	if roots == nil && k.CA != "" {
		roots = x509.NewCertPool() // nobody is vouched for by a file that was not read
	}
	return &certs.Client{Hostname: k.Hostname, Roots: roots, Pins: t.Digests()}
}

// A Right lets a key, a token or the holder of a certificate do something.
type Right struct {
	Zone  []string `yaml:"zone" is:"label" value:"a domain name, *.name or *" lone:"true" required:"true"`
	Names []string `yaml:"names" is:"label" value:"a domain name, *.name, label.*, @ or *" default:"*"`
	Types []string `yaml:"types" is:"label" value:"a record type such as A or TXT" default:""`
	Verbs []string `yaml:"verbs" is:"word" words:"read change notify sign admin" default:"read, change"`
	Until string   `yaml:"until" is:"label" value:"a date such as 2027-01-31, or a time such as 2027-01-31T12:00:00Z" default:""`
}

// API is the HTTP API.
type API struct {
	Listen      netip.AddrPort `yaml:"listen" is:"address-or-off" default:"off" port:"8053"`
	PowerDNS    bool           `yaml:"powerdns" default:"true"`
	Expose      bool           `yaml:"expose" default:"false"`
	Certificate string         `yaml:"certificate" is:"path" default:""`
	Key         string         `yaml:"key" is:"path" default:""`
}

// Pairs returns the API's certificate, if it has one.
func (a *API) Pairs() []certs.Pair {
	if a.Certificate == "" {
		return nil
	}
	return []certs.Pair{{Certificate: a.Certificate, Key: a.Key}}
}

// granted is how many of the last keys, tokens and certificates of a configuration were granted to a
// running server, and are in none of its own files.
type granted struct{ keys, tokens, certificates int }

// Transfers are the bounds of zone transfers.
type Transfers struct {
	MaxOut     int  `yaml:"max_out" default:"32" min:"1" max:"10000"`
	MaxOutPeer int  `yaml:"max_out_per_peer" default:"4" min:"1" max:"10000"`
	MaxMemory  Size `yaml:"max_memory" default:"1GiB" min:"16MiB" max:"1TiB"`
	MaxIn      int  `yaml:"max_in" default:"16" min:"1" max:"1000"`
}

// A HostsFile is a file of names and addresses.
type HostsFile struct {
	File string `yaml:"file" is:"path" required:"true"`
}

// A LocalName is a name, or a star and the name above it, and its addresses.
type LocalName struct {
	Name    []byte       `yaml:"name" is:"pattern" required:"true"`
	Address []netip.Addr `yaml:"address" required:"true"`
}

// A LeaseFile is a file in which a DHCP server keeps its leases.
type LeaseFile struct {
	File   string `yaml:"file" is:"path" required:"true"`
	Format string `yaml:"format" is:"word" words:"auto dnsmasq kea isc" default:"auto"`
}

// ZoneLimits are the bounds of one zone.
type ZoneLimits struct {
	Generate int  `yaml:"generate" default:"0" min:"0" max:"4096"`
	Records  int  `yaml:"records" default:"5000000" min:"1" max:"1000000000"`
	Size     Size `yaml:"size" default:"1GiB" min:"1KiB" max:"1TiB"`
}

// Policy is who may ask, and how often.
type Policy struct {
	AllowInterfaces []string
	Allow           []netip.Prefix `yaml:"allow" beside:"interface=AllowInterfaces" default:""`
	Deny            []netip.Prefix `yaml:"deny" default:""`
	Lists           []FilterList   `yaml:"lists"`
	Block           []FilterBlock  `yaml:"block"`
	AllowNames      [][]byte       `yaml:"allow_names" is:"pattern" default:""`
	AllowLists      []string       `yaml:"allow_lists" is:"label" value:"the name of an entry in policy.lists" default:""`
	RPZ             []RPZ          `yaml:"rpz"`
	RateLimit       RateLimit      `yaml:"rate_limit"`
	Tunnel          TunnelWatch    `yaml:"tunnel"`
}

// TunnelWatch is what is done about tunnels through DNS.
type TunnelWatch struct {
	Action string   `yaml:"action" is:"word" words:"off watch limit block" default:"off" internal:"watch" public:"watch"`
	Exempt [][]byte `yaml:"exempt" is:"pattern" default:""`
	Learn  Learning `yaml:"learn"`
}

// Learning is how a server learns which domains look like tunnels but are not.
type Learning struct {
	Period  time.Duration `yaml:"period" default:"0s" min:"0s" max:"90d"`
	Clients int           `yaml:"clients" default:"3" min:"2" max:"32"`
	Days    int           `yaml:"days" default:"3" min:"1" max:"30"`
}

// Learns reports whether which domains are no tunnels is learned, or was and counts.
func (c *Config) Learns() bool {
	return c.Recurses() && c.Policy.Tunnel.Action != "off" && c.Policy.Tunnel.Learn.Period > 0
}

// RateLimit is response rate limiting.
type RateLimit struct {
	Enabled      bool           `yaml:"enabled" default:"true" internal:"false"`
	PerSecond    Rate           `yaml:"per_second" default:"20" public:"100" min:"1" max:"1000000"`
	Burst        int            `yaml:"burst" default:"100" public:"500" min:"1" max:"10000000"`
	Slip         int            `yaml:"slip" default:"2" min:"0" max:"100"`
	Ceiling      Rate           `yaml:"ceiling" default:"1000" public:"2000" min:"1" max:"10000000"`
	CeilingBurst int            `yaml:"ceiling_burst" default:"2000" public:"4000" min:"1" max:"100000000"`
	IPv4Prefix   int            `yaml:"ipv4_prefix" default:"24" min:"8" max:"32"`
	IPv6Prefix   int            `yaml:"ipv6_prefix" default:"56" min:"16" max:"128"`
	Table        Size           `yaml:"table" default:"8MiB" min:"64KiB" max:"16GiB"`
	LogOnly      bool           `yaml:"log_only" default:"false"`
	Exempt       []netip.Prefix `yaml:"exempt" default:""`
}

// EDNS is how the extension mechanism (RFC 6891) is served.
type EDNS struct {
	UDPSize           int    `yaml:"udp_size" default:"1232" min:"512" max:"4096"`
	Cookies           bool   `yaml:"cookies" default:"true"`
	CookieSecretsFile string `yaml:"cookie_secrets_file" default:"" is:"path"`
	Padding           int    `yaml:"padding" default:"0" min:"0" max:"512"`
}

// Identity is what the server tells of itself. An empty string is hidden.
type Identity struct {
	Version  string `yaml:"version" default:"hidden" is:"hidden"`
	Hostname string `yaml:"hostname" default:"hidden" is:"hidden"`
	NSID     string `yaml:"nsid" default:"" is:"label"`
}

// TCP is the bounds of connections (RFC 7766, RFC 9210).
type TCP struct {
	MaxConnections int           `yaml:"max_connections" default:"4096" min:"1" max:"1000000"`
	PerClient      int           `yaml:"per_client" default:"20" min:"1" max:"1000000"`
	PerPeer        int           `yaml:"per_peer" default:"256" min:"1" max:"1000000"`
	PerNetwork     int           `yaml:"per_network" default:"64" min:"1" max:"1000000"`
	Idle           time.Duration `yaml:"idle" default:"10s" min:"100ms" max:"1h"`
	Question       time.Duration `yaml:"question" default:"3s" min:"100ms" max:"1m"`
	InFlight       int           `yaml:"in_flight" default:"16" min:"1" max:"1024"`
	WriteStall     time.Duration `yaml:"write_stall" default:"5s" min:"100ms" max:"5m"`
}

// UDP is how datagrams are read.
type UDP struct {
	Workers  int  `yaml:"workers" default:"0" min:"0" max:"1024"`
	Portable bool `yaml:"portable" default:"false"`
}

// Metrics is where Prometheus finds the counters.
type Metrics struct {
	Listen netip.AddrPort `yaml:"listen" is:"address-or-off" default:"127.0.0.1:9153" port:"9153"`
	Expose bool           `yaml:"expose" default:"false"`
}

// Control is the control socket.
type Control struct {
	Socket string `yaml:"socket" is:"path-or-off" default:"/run/port53/control.sock"`
}

// Firewall is what the server does with rules itself.
type Firewall struct {
	Manage   bool   `yaml:"manage" default:"false"`
	StateDir string `yaml:"state_dir" is:"path" default:"/var/lib/port53-firewall"`
}

// Audit is where the audit goes beside the log.
type Audit struct {
	File string `yaml:"file" is:"path" default:""`
}

// Log is what is logged.
type Log struct {
	Level         string `yaml:"level" is:"word" words:"debug info warn error" default:"info"`
	Format        string `yaml:"format" is:"word" words:"text json" default:"text"`
	Queries       string `yaml:"queries" is:"word" words:"off text json" default:"off"`
	QueriesFile   string `yaml:"queries_file" is:"path" default:""`
	QueriesSample int    `yaml:"queries_sample" default:"1" min:"1" max:"1000000000"`
}

// Shutdown is how the server stops.
type Shutdown struct {
	Drain time.Duration `yaml:"drain" default:"2s" min:"1ms" max:"5m"`
}
