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
	Allow                []netip.Prefix        `yaml:"allow" beside:"interface=AllowInterfaces" default:""`
	Forward              []Forward             `yaml:"forward"`
	Stub                 []Stub                `yaml:"stub"`
	RootHints            string                `yaml:"root_hints" default:"" is:"path"`
	TrustAnchors         string                `yaml:"trust_anchors" default:"" is:"path"`
	Validation           bool                  `yaml:"validation" default:"true"`
	ValidationTime       time.Time             `yaml:"validation_time" default:"now" is:"time-or-now"`
	NegativeTrustAnchors []NegativeTrustAnchor `yaml:"negative_trust_anchors"`
	Exceptions           []Exception           `yaml:"exceptions"`
	TimeNames            [][]byte              `yaml:"time_names" default:"" is:"name"`
	QNAMEMinimization    string                `yaml:"qname_minimization" default:"relaxed" is:"word" words:"relaxed strict off"`
	CaseRandomization    bool                  `yaml:"case_randomization" default:"true"`
	DoNotQuery           []netip.Prefix        `yaml:"do_not_query" default:"127.0.0.0/8, ::1"`
	Outgoing             []netip.Addr          `yaml:"outgoing" default:""`
	IPv4                 bool                  `yaml:"ipv4" default:"true"`
	IPv6                 bool                  `yaml:"ipv6" default:"true"`
	Port                 int                   `yaml:"port" default:"53" min:"1" max:"65535"`
	SpecialNames         bool                  `yaml:"special_names" default:"true"`
	Rebinding            string                `yaml:"rebinding" default:"auto" is:"word" words:"auto on off"`
	PrivateZones         [][]byte              `yaml:"private_zones" default:"" is:"name"`
	DNS64                DNS64                 `yaml:"dns64"`
	AggressiveNSEC       bool                  `yaml:"aggressive_nsec" default:"true"`
	Sentinel             bool                  `yaml:"sentinel" default:"true"`
	ErrorReporting       bool                  `yaml:"error_reporting" default:"false"`
	InfoURL              string                `yaml:"info_url" is:"label" default:""`
	SharedClients        []netip.Prefix        `yaml:"shared_clients" default:""`
	Cache                Cache                 `yaml:"cache"`
	Limits               Limits                `yaml:"limits"`
}

// FiltersPrivate reports whether private addresses are taken out of answers: what
// Rebinding says, and what RootHints tells where it leaves that open.
func (r *Resolver) FiltersPrivate() bool {
	return r.Rebinding == "on" || r.Rebinding == "auto" && r.RootHints == ""
}

// DNS64 is how addresses of IPv6 are made of those of IPv4.
type DNS64 struct {
	Prefix  []netip.Prefix `yaml:"prefix" lone:"true" default:"" quiet:"true"`
	Clients []netip.Prefix `yaml:"clients" default:"" quiet:"true"`
	Exclude []netip.Prefix `yaml:"exclude" default:"::ffff:0:0/96" quiet:"true"`
}

// A Forward is a zone whose names are asked of other resolvers.
type Forward struct {
	Zone []byte     `yaml:"zone" is:"name" required:"true"`
	To   []Upstream `yaml:"to" is:"server" port:"53" required:"true"`
	// First and Only say the same: Only is false where First is true, and the other way.
	First bool        `yaml:"first" default:"false"`
	Only  bool        `yaml:"only" default:"true" quiet:"true"`
	TCP   bool        `yaml:"tcp" default:"false"`
	TLS   UpstreamTLS `yaml:"tls"`
}

// A Stub is a zone whose authoritative servers are known.
type Stub struct {
	Zone []byte      `yaml:"zone" is:"name" required:"true"`
	To   []Upstream  `yaml:"to" is:"server" port:"53" required:"true"`
	TCP  bool        `yaml:"tcp" default:"false"`
	TLS  UpstreamTLS `yaml:"tls"`
}

// A NegativeTrustAnchor is a zone that is not validated, for a time or without an end.
type NegativeTrustAnchor struct {
	Name  []byte    `yaml:"name" is:"name" required:"true"`
	Until time.Time `yaml:"until" quiet:"true"`
}

// An Exception is what a zone or a server does not bear.
type Exception struct {
	Zone         []byte       `yaml:"zone" is:"name" quiet:"true"`
	Server       netip.Prefix `yaml:"server" quiet:"true"`
	Case         string       `yaml:"case" default:"on" is:"word" words:"on off"`
	Cookies      string       `yaml:"cookies" default:"on" is:"word" words:"on off"`
	EDNS         string       `yaml:"edns" default:"on" is:"word" words:"on off"`
	Minimization string       `yaml:"minimization" default:"on" is:"word" words:"on off"`
	Forward      string       `yaml:"forward" default:"on" is:"word" words:"on off"`
}

// Cache is the bounds of the resolver's memory.
type Cache struct {
	Size               Size          `yaml:"size" default:"64MiB" public:"256MiB" min:"1MiB" max:"1TiB"`
	MaxTTL             time.Duration `yaml:"max_ttl" default:"1d" min:"1s" max:"7d"`
	MinTTL             time.Duration `yaml:"min_ttl" default:"0s" min:"0s" max:"1h"`
	MaxNegativeTTL     time.Duration `yaml:"max_negative_ttl" default:"1h" min:"1s" max:"1d"`
	ServeStale         bool          `yaml:"serve_stale" default:"true"`
	StaleTTL           time.Duration `yaml:"stale_ttl" default:"30s" min:"1s" max:"1h"`
	StaleKeep          time.Duration `yaml:"stale_keep" default:"1d" min:"1m" max:"7d"`
	StaleClientTimeout time.Duration `yaml:"stale_client_timeout" default:"1800ms" min:"10ms" max:"10s"`
	Prefetch           bool          `yaml:"prefetch" default:"true"`
	Dump               string        `yaml:"dump" is:"file-or-off" default:"off"`
}

// Limits are the bounds of the resolver's work.
//
// In one piece: it has a field for each key of the file, as the reference lists them.
type Limits struct {
	Packets             int           `yaml:"packets" default:"128" min:"8" max:"10000"`
	Octets              Size          `yaml:"octets" default:"100KiB" min:"8KiB" max:"64MiB"`
	Aliases             int           `yaml:"aliases" default:"11" min:"1" max:"100"`
	Depth               int           `yaml:"depth" default:"7" min:"1" max:"32"`
	Glueless            int           `yaml:"glueless" default:"6" min:"1" max:"20"`
	NameServers         int           `yaml:"name_servers" default:"20" min:"1" max:"100"`
	Time                time.Duration `yaml:"time" default:"10s" min:"100ms" max:"1m"`
	ReplyTime           time.Duration `yaml:"reply_time" default:"4s" min:"100ms" max:"1m"`
	Signatures          int           `yaml:"signatures" default:"32" min:"4" max:"1000"`
	NSEC3Hashes         int           `yaml:"nsec3_hashes" default:"1000" min:"50" max:"100000"`
	NSEC3Iterations     int           `yaml:"nsec3_iterations" default:"50" min:"0" max:"500"`
	PerZone             int           `yaml:"per_zone" default:"200" min:"1" max:"100000"`
	PerServer           int           `yaml:"per_server" default:"100" min:"1" max:"100000"`
	Waiting             int           `yaml:"waiting" default:"10000" min:"10" max:"10000000"`
	PerClient           int           `yaml:"per_client" default:"64" min:"1" max:"1000000"`
	PerClientWithCookie int           `yaml:"per_client_with_cookie" default:"512" min:"1" max:"1000000"`
}
