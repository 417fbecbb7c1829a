package convert

// Options that say how the other server does what port53 does in its own way, or does
// not need to be told. What is in none of these lists may matter, or is misspelt.
const (
	bindOwn = ` server-id pid-file session-keyfile managed-keys-directory dump-file statistics-file
		memstatistics-file recursing-file secroots-file key-directory bindkeys-file listen-backlog
		tcp-initial-timeout tcp-keepalive-timeout
		minimal-responses minimal-any edns-udp-size auth-nxdomain check-names check-integrity check-mx
		empty-zones-enable notify-delay serial-query-rate transfers-per-ns transfer-format
		masterfile-format ixfr-from-differences provide-ixfr request-ixfr
		max-journal-size zone-statistics interface-interval cookie-secret answer-cookie geoip-directory
		fetch-quota-params zero-no-soa-ttl lame-ttl managed-keys tkey-dhkey tkey-domain tkey-gssapi-keytab
		trust-anchor-telemetry require-server-cookie nta-lifetime nta-recheck notify-rate startup-notify-rate
		max-rsa-exponent-size heartbeat-interval lock-file memstatistics reuseport root-key-sentinel message-compression
		nocookie-udp-size clients-per-query max-clients-per-query max-recursion-queries tcp-advertised-timeout
		tcp-receive-buffer tcp-send-buffer udp-receive-buffer udp-send-buffer transfer-source transfer-source-v6 notify-source
		notify-source-v6 use-v4-udp-ports use-v6-udp-ports max-transfer-time-in max-transfer-idle-in max-transfer-time-out
		max-transfer-idle-out dnssec-accept-expired disable-algorithms keep-response-order glue-cache allow-new-zones dnstap
		dnstap-output preferred-glue datasize stacksize coresize files port dscp masterfile-style max-zone-ttl key-store
		servfail-ttl min-ncache-ttl resolver-query-timeout`
	nsdOwn = `username chroot pidfile database zonelistfile xfrdfile xfrdir logfile log-only-syslog verbosity server-count
		cpu-affinity tcp-query-count tcp-mss outgoing-tcp-mss tcp-reject-overflow ipv4-edns-size
		ipv6-edns-size nsid hide-version hide-identity minimal-responses refuse-any reuseport do-ip4 do-ip6
		ip-transparent ip-freebind send-buffer-size receive-buffer-size debug-mode statistics zone-stats-file rrl-size
		rrl-ipv4-prefix-length rrl-ipv6-prefix-length rrl-whitelist-ratelimit zonefiles-check
		zonefiles-write confine-to-zone log-time-ascii drop-updates xfrd-reload-timeout answer-cookie cookie-secret
		cookie-secret-file xfrd-tcp-max xfrd-tcp-pipeline`
	knotOwn = `rundir user pidfile udp-workers tcp-workers background-workers async-start
		tcp-idle-timeout tcp-io-timeout tcp-remote-io-timeout tcp-reuseport tcp-fastopen remote-pool-limit
		remote-pool-timeout remote-retry-delay socket-affinity udp-max-payload udp-max-payload-ipv4 udp-max-payload-ipv6
		edns-client-subnet automatic-acl dbus-event dbus-init-delay`
)
