// Package config reads port53's one configuration file: YAML to a typed,
// positioned, checked [Config]. It has no behaviour of its own: it opens no
// socket and reads no zone.
//
// The structs of this file are the table of all keys. Their tags carry each
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
//	is       the kind of value, where the Go type does not tell it
//	default  the default, without quotes; a list's values are parted by ", "
//	min max  the bounds of a number, a duration or a size
//	words    the words that is:"word" allows
//	port     the port of an address that names none
//	required the key has to be written
package config

import (
	"net/netip"
	"time"
)

// A Size is a number of octets.
type Size int64

// A Rate is a number of events in one second.
type Rate int

// The roles. Only RoleAuthoritative works in this version.
const (
	RoleAuthoritative    = "authoritative"
	RolePublicResolver   = "public-resolver"
	RoleInternalResolver = "internal-resolver"
	RoleDomainController = "domain-controller"
)

// A Config is one whole, checked configuration. It is not changed once Parse or
// Load has returned it; paths in it are absolute.
type Config struct {
	Role       string           `yaml:"role" is:"role" required:"true" doc:"What this server is for. Every other key has a default that is safe for the role."`
	Listen     []netip.AddrPort `yaml:"listen" default:"127.0.0.1:53, [::1]:53" port:"53" doc:"Addresses to serve on, UDP and TCP on each. Port 53 unless given; port 0 takes a free one."`
	User       string           `yaml:"user" default:"" is:"user" doc:"The user to become once the sockets are bound, when started by root. Empty: stay who started the server."`
	StateDir   string           `yaml:"state_dir" default:"/var/lib/port53" is:"path" doc:"The folder of what the server keeps between runs."`
	Zones      []Zone           `yaml:"zones" doc:"The zones that are served."`
	ZoneLimits ZoneLimits       `yaml:"zone_limits" doc:"Bounds of each zone that is loaded. A zone beyond one of them is not loaded; the others are served."`
	Policy     Policy           `yaml:"policy" doc:"Who may ask, and how often."`
	EDNS       EDNS             `yaml:"edns" doc:"The extension mechanism: reply sizes, cookies, padding."`
	Identity   Identity         `yaml:"identity" doc:"What the server tells of itself. Nothing, unless it is written here."`
	TCP        TCP              `yaml:"tcp" doc:"Bounds of connections."`
	UDP        UDP              `yaml:"udp" doc:"How datagrams are read."`
	Metrics    Metrics          `yaml:"metrics" doc:"Counters for Prometheus, at /metrics over HTTP."`
	Control    Control          `yaml:"control" doc:"The socket through which port53 reload and its like reach the server."`
	Log        Log              `yaml:"log" doc:"What is written to the log, and how."`
	Shutdown   Shutdown         `yaml:"shutdown" doc:"How the server stops."`

	file    string          // as given to Load or Parse
	origins map[place]int32 // lines of the values that the file sets
}

// File returns the name of the configuration file, as it was given.
func (c *Config) File() string { return c.file }

// A Zone is one zone to serve. Its name is in wire form, with the case of the
// file.
type Zone struct {
	Name []byte `yaml:"name" is:"name" required:"true" doc:"The zone's name, such as example.com, or . for the root."`
	File string `yaml:"file" is:"path" required:"true" doc:"Its zone file, seen from the folder of the configuration."`
}

// ZoneLimits are the bounds of one zone.
type ZoneLimits struct {
	Generate int  `yaml:"generate" default:"0" min:"0" max:"4096" doc:"Records that $GENERATE may make in one zone. 0 refuses the directive."`
	Records  int  `yaml:"records" default:"20000000" min:"1" max:"1000000000" doc:"Records in one zone."`
	Size     Size `yaml:"size" default:"4GiB" min:"1KiB" max:"1TiB" doc:"Octets of a zone's file and the files that it includes."`
}

// Policy is who may ask, and how often.
type Policy struct {
	Allow     []netip.Prefix `yaml:"allow" default:"" doc:"Who may ask. Empty: everyone. Others get REFUSED."`
	Deny      []netip.Prefix `yaml:"deny" default:"" doc:"Who may not ask, even where allow has a wider network."`
	RateLimit RateLimit      `yaml:"rate_limit" doc:"Response rate limiting: the defence against being used as an amplifier. It counts UDP replies by client network and kind of answer; TCP and clients with a valid cookie are exempt."`
}

// RateLimit is response rate limiting.
type RateLimit struct {
	Enabled      bool           `yaml:"enabled" default:"true" doc:"Whether replies are limited."`
	PerSecond    Rate           `yaml:"per_second" default:"20" min:"1" max:"1000000" doc:"Replies a second to one client network for one kind of answer."`
	Burst        int            `yaml:"burst" default:"100" min:"1" max:"10000000" doc:"Replies that may come at once before per_second holds."`
	Slip         int            `yaml:"slip" default:"2" min:"0" max:"100" doc:"Every n-th reply beyond the limit goes out empty with TC=1, so that a real client can ask over TCP. 1 is each, 0 is none."`
	Ceiling      Rate           `yaml:"ceiling" default:"1000" min:"1" max:"10000000" doc:"Replies a second to one client network, all kinds together."`
	CeilingBurst int            `yaml:"ceiling_burst" default:"2000" min:"1" max:"100000000" doc:"Replies that may come at once before ceiling holds."`
	IPv4Prefix   int            `yaml:"ipv4_prefix" default:"24" min:"8" max:"32" doc:"Length of the prefix that is one IPv4 client network."`
	IPv6Prefix   int            `yaml:"ipv6_prefix" default:"56" min:"16" max:"128" doc:"Length of the prefix that is one IPv6 client network."`
	Table        Size           `yaml:"table" default:"8MiB" min:"64KiB" max:"16GiB" doc:"Memory of the counters. It is taken at the start and does not grow."`
	LogOnly      bool           `yaml:"log_only" default:"false" doc:"Count what would be limited, and limit nothing."`
	Exempt       []netip.Prefix `yaml:"exempt" default:"" doc:"Networks that are not limited."`
}

// EDNS is how the extension mechanism (RFC 6891) is served.
type EDNS struct {
	UDPSize           int    `yaml:"udp_size" default:"1232" min:"512" max:"4096" doc:"The largest UDP reply, in octets, and the size advertised to clients. Above 1232 replies may be cut into fragments on the way."`
	Cookies           bool   `yaml:"cookies" default:"true" doc:"Whether DNS cookies (RFC 7873, RFC 9018) are answered."`
	CookieSecretsFile string `yaml:"cookie_secrets_file" default:"" is:"path" doc:"File of the secrets that cookies are made with, for servers that share an address: one or two lines of 32 hexadecimal digits, the first is used, both are accepted. Others may not be able to read it. Empty: a random secret that changes daily."`
	Padding           int    `yaml:"padding" default:"0" min:"0" max:"512" doc:"Replies to queries with the padding option are padded to a multiple of this (RFC 8467 advises 468). 0: never."`
}

// Identity is what the server tells of itself. An empty string is hidden.
type Identity struct {
	Version  string `yaml:"version" default:"hidden" is:"hidden" doc:"The answer to CH TXT version.bind and version.server, or hidden: REFUSED."`
	Hostname string `yaml:"hostname" default:"hidden" is:"hidden" doc:"The answer to CH TXT hostname.bind and id.server, or hidden: REFUSED."`
	NSID     string `yaml:"nsid" default:"" is:"label" doc:"The name server identifier (RFC 5001) that is told to clients who ask for it. Empty: none."`
}

// TCP is the bounds of connections (RFC 7766, RFC 9210).
type TCP struct {
	MaxConnections int           `yaml:"max_connections" default:"4096" min:"1" max:"1000000" doc:"Connections at one time. At the ceiling the one that has been idle longest is closed for the new one."`
	PerClient      int           `yaml:"per_client" default:"20" min:"1" max:"1000000" doc:"Connections of one address."`
	PerNetwork     int           `yaml:"per_network" default:"64" min:"1" max:"1000000" doc:"Connections of one network, /24 or /56."`
	Idle           time.Duration `yaml:"idle" default:"10s" min:"100ms" max:"1h" doc:"How long a connection may stay without a question. Shorter while connections are scarce."`
	Question       time.Duration `yaml:"question" default:"3s" min:"100ms" max:"1m" doc:"How long a question may take from its first octet to its last."`
	InFlight       int           `yaml:"in_flight" default:"16" min:"1" max:"1024" doc:"Questions of one connection that are worked on at one time."`
	WriteStall     time.Duration `yaml:"write_stall" default:"5s" min:"100ms" max:"5m" doc:"How long a reader may take nothing before it is cut off."`
}

// UDP is how datagrams are read.
type UDP struct {
	Workers  int  `yaml:"workers" default:"0" min:"0" max:"1024" doc:"Sockets and goroutines for each address. 0: one for each CPU."`
	Portable bool `yaml:"portable" default:"false" doc:"Read one datagram at a time through Go's net package, as other systems than Linux do."`
}

// Metrics is where Prometheus finds the counters.
type Metrics struct {
	Listen netip.AddrPort `yaml:"listen" is:"address-or-off" default:"127.0.0.1:9153" port:"9153" doc:"The address to listen on, or off."`
	Expose bool           `yaml:"expose" default:"false" doc:"Has to be true for an address other than loopback: there is no password, and the counters tell who asks for what."`
}

// Control is the control socket.
type Control struct {
	Socket string `yaml:"socket" is:"path-or-off" default:"/run/port53/control.sock" doc:"Path of the Unix socket, or off. If state_dir is written in the file, the default is control.sock in that folder."`
}

// Log is what is logged.
type Log struct {
	Level         string `yaml:"level" is:"word" words:"debug info warn error" default:"info" doc:"The least important messages that are written."`
	Format        string `yaml:"format" is:"word" words:"text json" default:"text" doc:"How messages are written."`
	Queries       string `yaml:"queries" is:"word" words:"off text json" default:"off" doc:"Whether and how each query is logged."`
	QueriesFile   string `yaml:"queries_file" is:"path" default:"" doc:"The file that the query log is appended to. Empty: standard output."`
	QueriesSample int    `yaml:"queries_sample" default:"1" min:"1" max:"1000000000" doc:"One query in so many is logged."`
}

// Shutdown is how the server stops.
type Shutdown struct {
	Drain time.Duration `yaml:"drain" default:"2s" min:"1ms" max:"5m" doc:"How long questions that have arrived may take to be answered after SIGTERM."`
}
