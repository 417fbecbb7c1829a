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
		"allowrecursion": recursion, "allowquerycache": recursion,
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
		"blocking": lists, "denylists": lists, "adlists": lists,
		"ratelimit": rate, "responseratelimiting": rate, "rrl": rate,
		"logging": log, "verbosity": log, "loglevel": log,
		"dnssecpolicy": signing, "dnssecpolicies": signing, "dnssecsigning": signing,
		"prometheus": `metrics: {listen: "127.0.0.1:9153"}`, "statisticschannels": `metrics: {listen: "127.0.0.1:9153"}`,
		"remotecontrol": "control: {socket: /run/port53/control.sock}", "controls": "control: {socket: /run/port53/control.sock}",
		"tls": "encrypted: {certificate: FILE, key: FILE, dot: [192.0.2.1]}",
	}
}

// foreign returns how what another server calls name is written here, or "".
func foreign(name string) string {
	return foreignKeys()[plainKey(name)]
}

// plainKey returns a name in lower case, without what separates its words.
func plainKey(name string) string {
	return strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(name))
}

// foreignIn returns what to do about a key of another server, or one that is guessed, in the block at path: a whole sentence, or "".
func foreignIn(path, name string) string {
	const (
		lists    = "write the lists into policy.lists, and what each of them blocks, for whom and when, into policy.block"
		policies = "response policy zones are zones that policy.rpz names: policy: {rpz: [{zone: rpz.example}]}"
		limit    = "clients that may query are in policy.allow, clients that may use recursion in resolver.allow"
		transfer = "who may transfer the zone, besides its secondaries, is set with allow_transfer"
		updates  = "who may update the zone is set with updates: [{key: NAME, names: [\"*\"]}]"
		kind     = "remove it: a zone with file is a primary zone, a zone with primaries is a secondary zone"
		masters  = "the servers that the zone is transferred from are in primaries"
		query    = `who may query is set with "ask"`
		recurse  = `who may use recursion is set with "recurse"`
		role     = "remove it: the role decides whether names are resolved, and resolver.allow for whom"
	)
	zone := map[string]string{
		"transfer": transfer, "transfers": transfer, "xfr": transfer, "providexfr": transfer, "allowtransfers": transfer,
		"update": updates, "allowupdate": updates, "updatepolicy": updates, "type": kind,
		"masters": masters, "requestxfr": masters,
		"alsonotify": "other servers that get NOTIFY are in notify", "query": "who may query the zone is set with allow_query",
		"sign": "write dnssec: {sign: true}", "dnssecpolicy": "write dnssec: {policy: NAME}, with the name of an entry in dnssec_policies",
		"zone": "the zone's name is in name",
	}
	return map[string]map[string]string{
		"": {
			"dnssec": "dnssec is set in each zone or in a template, as dnssec: {sign: true}; " +
				"algorithms and lifetimes are set in dnssec_policies",
			"grants": "write grants in each of keys, tokens and client_certificates", "recursion": role, "recursive": role,
			"blocklists": lists, "blocklist": lists, "filter": lists, "filters": lists, "rpz": policies, "responsepolicy": policies,
			"transfer": "for one zone: allow_transfer in that zone; a bound for all zones: expose.transfer",
			"query":    limit, "recurse": limit, "ask": limit,
		},
		"expose": {
			"query": query, "queries": query, "allowquery": query, "recursion": recurse, "allowrecursion": recurse,
			"axfr": `who may transfer zones is set with "transfer"`, "allowtransfer": `who may transfer zones is set with "transfer"`,
			"api": `who may use the API is set with "control"`, "metrics": `who may read the metrics is set with "scrape"`,
		},
		"zones": zone, "templates": zone,
		"policy": {
			"rules": lists, "services": lists, "clients": lists, "allowquery": `who may query is set with "allow"`,
			"query": `who may query is set with "allow"`, "recursion": limit, "allowrecursion": limit,
		},
		"resolver": {
			"recursion": role, "recursive": role, "allowrecursion": `who may use recursion is set with "allow"`,
			"dnssec": `DNSSEC validation is set with "validation"`,
		},
	}[strings.TrimSuffix(path, "[]")][plainKey(name)]
}

// foreignRole returns what to do about a role that other servers, or people, call otherwise, or "".
func foreignRole(text string) string {
	switch plainKey(text) {
	case "resolver", "recursive", "recursor", "recursiveresolver", "cache", "caching", "cachingresolver", "forwarder", "forwarding":
		return "write " + RoleInternalResolver + " for the machines of your own networks, or " + RolePublicResolver + " for everybody"
	case "auth", "primary", "secondary", "master", "slave", "nameserver", "hidden", "hiddenprimary":
		return "write " + RoleAuthoritative
	case "dc", "activedirectory", "ad":
		return "write " + RoleDomainController
	}
	return ""
}

// foreignNetwork returns what to do about a word that other servers have for some networks, in a list of k, or "".
func (d *decoder) foreignNetwork(k *key, name string) string {
	everybody, nobody := `for everybody, write 0.0.0.0/0 and "::/0"`, ""
	recurse := k.path == "expose.recurse" || strings.HasSuffix(k.path, "resolver.allow")
	switch {
	case k.form != formPrefix || strings.HasSuffix(k.path, "dns64.prefix"):
		return ""
	case k.who:
		everybody, nobody = `write "everybody"`, `write "nobody"`
		if d.role != RoleAuthoritative && (k.name == "ask" || recurse) {
			nobody = "list those who may: a resolver is there for somebody"
		}
	case k.name == "allow_transfer":
		everybody, nobody = `for everybody, write {address: 0.0.0.0/0} and {address: "::/0"}`, "leave the list empty"
	}
	if recurse && d.role != RolePublicResolver {
		everybody = "list your networks; only role public-resolver is for everybody"
	}
	switch plainKey(name) {
	case "any", "all", "everyone", "everybody", "world", "public":
		return everybody
	case "none", "nobody", "noone":
		return nobody
	case "localhost", "loopback":
		return `write 127.0.0.0/8 and "::1"`
	}
	return ""
}
