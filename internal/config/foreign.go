package config

import "strings"

// foreignKeys returns how keys of other servers are written here, by their names without hyphens and underscores.
func foreignKeys() map[string]string {
	const (
		forward   = "resolver: {forward: [{zone: ., to: [192.0.2.1]}]}"
		stub      = "resolver: {stub: [{zone: example.com, to: [192.0.2.1]}]}"
		listen    = "listen: [192.0.2.1]"
		port      = `listen: ["192.0.2.1:5353"]`
		allow     = "policy: {allow: [10.0.0.0/8]}"
		recursion = "resolver: {allow: [10.0.0.0/8]}"
		cache     = "resolver: {cache: {size: 64MiB}}"
		anchors   = "resolver: {trust_anchors: FILE}"
		insecure  = "resolver: {negative_trust_anchors: [{name: example.com}]}"
		networks  = "networks: [{name: office, list: [10.0.0.0/8]}]"
		keys      = "keys: [{name: ns2.example.com, secret_file: keys/ns2}]"
		names     = "names: {nas.home.arpa: 192.168.1.2}"
		lists     = "policy: {lists: [{name: ads, file: ads.txt}], block: [{list: ads}]}"
		rate      = "policy: {rate_limit: {per_second: 20/s}}"
		log       = "log: {level: info}"
		signing   = "zones: [{name: example.com, file: example.com.zone, dnssec: {sign: true}}]"
		primaries = "zones: [{name: example.com, primaries: [192.0.2.1], tsig: ns2.example.com}]"
		remotes   = "remotes: [{name: ns2, addresses: [192.0.2.1]}]"
	)
	return map[string]string{
		"upstream": forward, "upstreams": forward, "upstreamdns": forward, "forwarders": forward, "forwarder": forward,
		"forwardzone": forward, "forwardzones": forward, "forwardaddr": forward, "server": forward, "servers": forward,
		"nameserver": forward, "nameservers": forward, "bootstrapdns": forward,
		"stubzone": stub, "stubzones": stub, "stubs": stub,

		"interface": listen, "interfaces": listen, "listenon": listen, "listenonv6": listen, "listenaddress": listen,
		"ipaddress": listen, "localaddress": listen, "bind": listen, "bindhosts": listen, "bindaddress": listen,
		"port": port, "localport": port, "ports": port,

		"accesscontrol": allow, "allowfrom": allow, "allowquery": allow, "allowedclients": allow,
		"allowrecursion": recursion, "allowquerycache": recursion, "recursion": recursion, "recursive": recursion,
		"acl": networks, "acls": networks, "namedacl": networks,

		"maxcachesize": cache, "msgcachesize": cache, "rrsetcachesize": cache, "cachesize": cache,
		"autotrustanchorfile": anchors, "trustanchorfile": anchors, "trustanchor": anchors, "trustedkeys": anchors,
		"domaininsecure": insecure, "validateexcept": insecure, "nta": insecure, "ntas": insecure,
		"dnssecvalidation": "resolver: {validation: true}",

		"directory": "state_dir: /var/lib/port53", "workingdirectory": "state_dir: /var/lib/port53",
		"zonesdir": "zones: [{name: example.com, file: zones/example.com.zone}]",
		"zone":     "zones: [{name: example.com, file: example.com.zone}]",
		"masters":  primaries, "primary": primaries, "slaves": primaries,
		"remote": remotes, "tsig": keys, "key": keys, "tsigkeys": keys,
		"username": "user: port53", "setuid": "user: port53",
		"localzone": names, "localdata": names, "rewrites": names, "records": names,
		"blocklists": lists, "blocklist": lists, "blocking": lists, "denylists": lists, "adlists": lists, "filter": lists, "filters": lists,
		"ratelimit": rate, "responseratelimiting": rate, "rrl": rate,
		"logging": log, "verbosity": log, "loglevel": log,
		"dnssecpolicy": signing, "dnssecpolicies": signing, "dnssecsigning": signing, "dnssec": signing,
		"prometheus": `metrics: {listen: "127.0.0.1:9153"}`, "statisticschannels": `metrics: {listen: "127.0.0.1:9153"}`,
		"remotecontrol": "control: {socket: /run/port53/control.sock}", "controls": "control: {socket: /run/port53/control.sock}",
		"tls": "encrypted: {certificate: FILE, key: FILE, dot: [192.0.2.1]}",
	}
}

// foreign returns how what another server calls name is written here, or "".
func foreign(name string) string {
	return foreignKeys()[strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(name))]
}
