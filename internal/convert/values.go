package convert

import (
	"slices"
	"strconv"
	"strings"
)

// A kind is what a value has to be, lest the server whose configuration it is in refuses to start.
type kind struct {
	expects string
	takes   func(value string) bool
}

// kinds has the kinds of the values of options, by their names.
type kinds map[string]kind

// of adds options whose values are of one kind.
func (k kinds) of(one kind, names string) kinds {
	for _, name := range strings.Fields(names) {
		k[name] = one
	}
	return k
}

// vet notes the options of a block whose values their own server refuses, and returns the others. One that is
// in instead is read as what it has there, since its default would allow more.
func (c *converter) vet(block []*stmt, of kinds, instead map[string]string) []*stmt {
	var good []*stmt
	for _, s := range block {
		k, known := of[s.name()]
		if !known || k.takes(s.arg(1)) {
			good = append(good, s)
			continue
		}
		c.note(s, Unsupported, "expected "+k.expects)
		if value, ok := instead[s.name()]; ok {
			good = append(good, s.with(s.name(), value))
		}
	}
	return good
}

// oneOfWords is the kind of values that are one of some words, in any case where fold says so.
func oneOfWords(fold bool, words ...string) kind {
	last := len(words) - 1
	return kind{strings.Join(words[:last], ", ") + " or " + words[last], func(v string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return w == v || fold && strings.EqualFold(w, v) })
	}}
}

// isNumber reports whether a value is a decimal number of up to 32 bits.
func isNumber(v string) bool {
	_, err := strconv.ParseUint(v, 10, 32)
	return err == nil
}

// beginsNumber reports whether a value is read as a number by atoi of C, which ignores what follows the digits.
func beginsNumber(v string) bool {
	v = strings.TrimLeft(v, "+-")
	return v != "" && v[0] >= '0' && v[0] <= '9'
}

// withUnit returns a check for a number, and one of some letters behind it.
func withUnit(letters string) func(string) bool {
	return func(v string) bool {
		if v != "" && strings.IndexByte(letters, v[len(v)-1]) >= 0 {
			v = v[:len(v)-1]
		}
		_, err := strconv.ParseUint(v, 10, 64)
		return err == nil
	}
}

// Numbers, by how strictly they are read: PowerDNS takes nothing for 0.
var (
	aNumber      = kind{"a number", isNumber}
	aLooseNumber = kind{"a number", beginsNumber}
	aPDNSNumber  = kind{"a number", func(v string) bool { return v == "" || beginsNumber(v) }}
)

// bindKinds are what values of named.conf have to be, as named-checkconf has it.
func bindKinds() kinds {
	yesNo := oneOfWords(true, "yes", "no", "true", "false", "1", "0")
	yesNo.expects = "yes or no"
	duration := kind{"a time such as 3600, 1h or PT1H", isBindTime}
	size := kind{"a size such as 256m, or unlimited", func(v string) bool {
		return v == "unlimited" || v == "default" || withUnit("kKmMgG")(v) || withUnit("%")(v)
	}}
	return kinds{}.
		of(yesNo, `recursion querylog answer-cookie synth-from-dnssec stale-answer-enable send-cookie auth-nxdomain provide-ixfr
			request-ixfr empty-zones-enable require-server-cookie minimal-any notify-to-soa check-integrity check-sibling root-key-sentinel
			trust-anchor-telemetry message-compression memstatistics dnssec-accept-expired allow-new-zones flush-zones-on-shutdown
			zero-no-soa-ttl check-wildcard multi-master match-mapped-addresses try-tcp-refresh inline-signing stale-cache-enable glue-cache
			match-recursive-only log-only bogus edns`).
		of(aNumber, `recursive-clients max-recursion-depth max-recursion-queries tcp-clients tcp-listen-queue
			tcp-idle-timeout tcp-initial-timeout tcp-keepalive-timeout tcp-advertised-timeout max-udp-size edns-udp-size
			nocookie-udp-size transfers-in transfers-out transfers-per-ns serial-query-rate notify-rate startup-notify-rate
			clients-per-query max-clients-per-query notify-delay resolver-query-timeout port prefetch fetches-per-zone fetches-per-server
			responses-per-second referrals-per-second nodata-per-second nxdomains-per-second errors-per-second all-per-second window slip
			ipv4-prefix-length ipv6-prefix-length max-table-size min-table-size`).
		of(duration, `max-cache-ttl min-cache-ttl max-ncache-ttl min-ncache-ttl stale-answer-ttl max-stale-ttl servfail-ttl lame-ttl
			stale-refresh-time nta-lifetime nta-recheck`).
		of(size, "max-cache-size max-journal-size").
		of(kind{"a number of milliseconds, or off", func(v string) bool { return v == "off" || v == "disabled" || isNumber(v) }},
			"stale-answer-client-timeout").
		of(oneOfWords(true, "yes", "no", "explicit", "primary-only", "master-only", "true", "false", "1", "0"), "notify").
		of(oneOfWords(true, "yes", "no", "auto", "true", "false", "1", "0"), "dnssec-validation").
		of(oneOfWords(true, "strict", "relaxed", "disabled", "off"), "qname-minimization").
		of(oneOfWords(true, "first", "only"), "forward").
		of(oneOfWords(true, "date", "increment", "unixtime"), "serial-update-method").
		of(oneOfWords(true, "text", "raw", "map"), "masterfile-format")
}

// isBindTime reports whether BIND reads a value as a time: a number, with units, or as ISO 8601 has it.
func isBindTime(v string) bool {
	t := strings.ToLower(v)
	letters := "wdhms"
	if rest, iso := strings.CutPrefix(t, "p"); iso {
		t, letters = rest, "wdhmsyt"
	}
	return t != "" && strings.Trim(t, "0123456789"+letters) == "" && strings.ContainsAny(t, "0123456789")
}

// vetBIND notes wrong values in the blocks of named.conf that have options.
func (c *converter) vetBIND(list []*stmt, of kinds) {
	for _, s := range list {
		switch s.name() {
		case "options", "view", "zone", "server", "rate-limit":
			s.block = c.vet(s.block, of, map[string]string{"recursion": "no", "forward": "only", "inline-signing": "yes"})
			c.vetBIND(s.block, of)
		}
	}
}

// unboundKinds are what values of unbound.conf have to be, as unbound-checkconf has it.
func unboundKinds() kinds {
	return kinds{}.
		of(oneOfWords(false, "yes", "no"), `do-udp do-tcp tcp-upstream so-reuseport ip-transparent ip-freebind use-systemd do-daemonize
			use-syslog log-time-ascii log-queries log-replies log-servfail log-tag-queryreply log-local-actions hide-identity hide-version
			hide-trustanchor hide-http-user-agent harden-short-bufsize harden-large-queries harden-glue harden-dnssec-stripped
			harden-below-nxdomain harden-referral-path harden-algo-downgrade harden-unknown-additional deny-any minimal-responses
			rrset-roundrobin unblock-lan-zones insecure-lan-zones disable-dnssec-lame-check trust-anchor-signaling root-key-sentinel
			val-clean-additional val-permissive-mode ignore-cd-flag serve-expired serve-expired-ttl-reset prefetch prefetch-key
			qname-minimisation qname-minimisation-strict aggressive-nsec use-caps-for-id do-not-query-localhost interface-automatic do-ip4
			do-ip6 prefer-ip4 prefer-ip6 statistics-cumulative extended-statistics ede ede-serve-expired pad-responses pad-queries
			answer-cookie zonemd-permissive-mode shm-enable edns-tcp-keepalive infra-keep-probing udp-connect
			forward-first forward-tls-upstream forward-ssl-upstream forward-tcp-upstream forward-no-cache
			stub-first stub-prime stub-no-cache stub-tls-upstream stub-ssl-upstream stub-tcp-upstream tls-upstream ssl-upstream
			for-downstream for-upstream fallback-enabled zonemd-check zonemd-reject-absence view-first`).
		of(aLooseNumber, `cache-max-ttl cache-min-ttl cache-max-negative-ttl serve-expired-ttl serve-expired-reply-ttl
			serve-expired-client-timeout incoming-num-tcp tcp-idle-timeout port num-threads outgoing-range edns-buffer-size
			num-queries-per-thread val-bogus-ttl infra-host-ttl`).
		of(kind{"a size such as 4m", func(v string) bool {
			return withUnit("kKmMgG")(strings.TrimRight(v, "bB"))
		}}, "rrset-cache-size msg-cache-size key-cache-size neg-cache-size")
}

// unboundInstead is what is read for values that are none: what hides queries, or serves fewer, goes on.
func unboundInstead() map[string]string {
	return map[string]string{
		"forward-tls-upstream": "yes", "forward-ssl-upstream": "yes", "stub-tls-upstream": "yes", "stub-ssl-upstream": "yes",
		"tls-upstream": "yes", "ssl-upstream": "yes", "for-downstream": "no",
	}
}

// Words of Unbound: who is served how, and how names of a zone are.
const (
	unboundActions = "deny refuse deny_non_local refuse_non_local allow allow_setrd allow_snoop allow_cookie"
	unboundZones   = `static deny refuse redirect transparent typetransparent inform inform_deny inform_redirect always_transparent
		block_a always_refuse always_nxdomain always_nodata always_deny always_null noview nodefault truncate ipset`
)

// goodLocalZone reports whether the type of a local zone is one, and notes it otherwise. Other statements are good.
func (c *converter) goodLocalZone(s *stmt) bool {
	types := oneOfWords(false, strings.Fields(unboundZones)...)
	if s.name() != "local-zone" || types.takes(s.arg(2)) {
		return true
	}
	c.note(s, Unsupported, "expected "+types.expects)
	return false
}

// nsdKinds are what values of nsd.conf have to be, as nsd-checkconf has it.
func nsdKinds() kinds {
	return kinds{}.
		of(oneOfWords(false, "yes", "no"), `ip-transparent ip-freebind reuseport debug-mode do-ip4 do-ip6 hide-version hide-identity
			drop-updates log-time-ascii log-only-syslog round-robin minimal-responses confine-to-zone refuse-any zonefiles-check
			tcp-reject-overflow answer-cookie allow-axfr-fallback multi-primary-check multi-master-check store-ixfr create-ixfr`).
		of(aNumber, `server-count tcp-count tcp-query-count tcp-timeout tcp-mss outgoing-tcp-mss ipv4-edns-size ipv6-edns-size statistics
			port verbosity rrl-size rrl-ratelimit rrl-slip rrl-whitelist-ratelimit rrl-ipv4-prefix-length rrl-ipv6-prefix-length
			xfrd-reload-timeout xfrd-tcp-max xfrd-tcp-pipeline zonefiles-write send-buffer-size receive-buffer-size notify-retry
			max-refresh-time min-refresh-time max-retry-time min-retry-time size-limit-xfr ixfr-size ixfr-number`)
}

// knotKinds are what values of knot.conf have to be, as knotc conf-check has it.
func knotKinds() kinds {
	onOff := oneOfWords(true, "on", "off", "true", "false")
	onOff.expects = "on or off"
	return kinds{}.
		of(onOff, `answer-rotation automatic-acl tcp-reuseport async-start edns-client-subnet dnssec-signing dnssec-validation
			disable-any deny nsec3 single-type-signing manual offline-ksk nsec3-opt-out`).
		of(aNumber, "tcp-max-clients udp-workers tcp-workers background-workers rate-limit slip nsec3-iterations").
		of(oneOfWords(true, "none", "interpret", "generate", "member"), "catalog-role").
		of(oneOfWords(true, "increment", "unixtime", "dateserial"), "serial-policy")
}

// knotInstead is what is read for values that are none: a zone that may be signed is left out, and a rule that may
// deny denies.
func knotInstead() map[string]string {
	return map[string]string{"dnssec-signing": "on", "deny": "on", "catalog-role": "interpret"}
}

// recursorKinds are what values of recursor.conf have to be. Whatever is not no or off is yes there.
func recursorKinds() kinds {
	return kinds{}.
		of(aPDNSNumber, `max-cache-ttl max-negative-ttl minimum-ttl-override max-recursion-depth max-total-msec nsec3-max-iterations
			max-tcp-clients client-tcp-timeout udp-truncation-threshold local-port threads max-cache-entries max-packetcache-entries
			packetcache-ttl packetcache-servfail-ttl network-timeout loglevel max-mthreads stack-size max-qperq`).
		of(oneOfWords(true, "off", "process-no-validate", "process", "log-fail", "validate"), "dnssec")
}

// recursorYAMLKinds are those of recursor.yml, where what is on or off is true or false.
func recursorYAMLKinds() kinds {
	return recursorKinds().of(oneOfWords(false, "true", "false"),
		"qname-minimization export-etc-hosts serve-rfc1918 quiet webserver root-nx-trust")
}

// pdnsYes reports what PowerDNS makes of a value: it knows no and off, and YAML false.
func pdnsYes(v string) bool { return v != "no" && v != "off" && v != "false" }

// pdnsKinds are what values of pdns.conf have to be; see recursorKinds.
func pdnsKinds() kinds {
	return kinds{}.of(aPDNSNumber, `udp-truncation-threshold max-tcp-connections tcp-idle-timeout local-port webserver-port cache-ttl
		query-cache-ttl negquery-cache-ttl default-ttl receiver-threads retrieval-threads signing-threads distributor-threads loglevel
		max-cache-entries max-packet-cache-entries max-queue-length xfr-cycle-interval slave-cycle-interval zone-cache-refresh-interval`)
}

// dnsmasqKinds are what values of dnsmasq.conf have to be: numbers, and nothing behind an option that has none.
func dnsmasqKinds() kinds {
	nothing := kind{"nothing behind it", func(v string) bool { return v == "" }}
	return kinds{}.
		of(aNumber, `port cache-size local-ttl neg-ttl max-ttl max-cache-ttl min-cache-ttl auth-ttl edns-packet-max dns-forward-max
			min-port max-port max-tcp-connections`).
		of(nothing, `domain-needed bogus-priv expand-hosts no-resolv no-hosts dnssec stop-dns-rebind strict-order
			all-servers no-poll no-negcache bind-interfaces bind-dynamic localise-queries local-service-only read-ethers selfmx localmx
			clear-on-reload proxy-dnssec dnssec-no-timecheck rebind-localhost-ok keep-in-foreground no-daemon dhcp-authoritative`)
}

// adguardKinds are what values of AdGuardHome.yaml have to be.
func adguardKinds() kinds {
	yaml := oneOfWords(true, "true", "false", "yes", "no", "on", "off")
	yaml.expects = "true or false"
	return kinds{}.
		of(yaml, "hostsfile_enabled aaaa_disabled use_dns64 cache_optimistic cache_enabled refuse_any enable_dnssec serve_plain_dns").
		of(aNumber, "port ratelimit cache_ttl_min cache_ttl_max cache_size max_goroutines")
}

// piholeKinds are what values of pihole.toml have to be.
func piholeKinds() kinds {
	return kinds{}.
		of(oneOfWords(false, "true", "false"), "dnssec queryLogging domainNeeded expandHosts bogusPriv blockESNI EDNS0ECS ignoreLocalhost").
		of(aNumber, "port")
}

// Kinds of values in the blocks of a Corefile.
func corefileKinds() kinds {
	return kinds{}.
		of(aNumber, "ttl max_fails max_concurrent max_idle_conns").
		of(oneOfWords(false, "random", "round_robin", "sequential"), "policy")
}
