package convert

import (
	"slices"
	"strings"
)

// Options that say how the other server does what port53 does in its own way, or does
// not need to be told. What is in none of these lists may matter, or is misspelt.
const (
	bindOwn = `version hostname server-id pid-file session-keyfile managed-keys-directory dump-file statistics-file
		memstatistics-file recursing-file secroots-file key-directory bindkeys-file querylog listen-backlog tcp-clients
		tcp-idle-timeout tcp-initial-timeout tcp-keepalive-timeout recursive-clients max-cache-size max-cache-ttl max-ncache-ttl
		minimal-responses minimal-any edns-udp-size max-udp-size auth-nxdomain check-names check-integrity check-mx
		empty-zones-enable prefetch notify-delay serial-query-rate transfers-in transfers-out transfers-per-ns transfer-format
		masterfile-format qname-minimization stale-answer-enable max-stale-ttl ixfr-from-differences provide-ixfr request-ixfr
		max-journal-size zone-statistics interface-interval cookie-secret answer-cookie send-cookie geoip-directory
		fetches-per-zone fetches-per-server fetch-quota-params zero-no-soa-ttl lame-ttl resolver-query-timeout`
	nsdOwn = `username chroot pidfile database zonelistfile xfrdfile xfrdir logfile log-only-syslog verbosity server-count
		cpu-affinity tcp-count tcp-timeout tcp-query-count tcp-mss outgoing-tcp-mss tcp-reject-overflow ipv4-edns-size
		ipv6-edns-size identity version nsid hide-version hide-identity minimal-responses refuse-any reuseport do-ip4 do-ip6
		ip-transparent ip-freebind send-buffer-size receive-buffer-size debug-mode statistics zone-stats-file rrl-size
		rrl-ratelimit rrl-slip rrl-ipv4-prefix-length rrl-ipv6-prefix-length rrl-whitelist-ratelimit zonefiles-check
		zonefiles-write round-robin confine-to-zone log-time-ascii drop-updates xfrd-reload-timeout answer-cookie cookie-secret
		cookie-secret-file xfrd-tcp-max xfrd-tcp-pipeline`
	knotOwn = `identity version nsid rundir user pidfile udp-workers tcp-workers background-workers async-start
		tcp-idle-timeout tcp-io-timeout tcp-remote-io-timeout tcp-max-clients tcp-reuseport tcp-fastopen remote-pool-limit
		remote-pool-timeout remote-retry-delay socket-affinity udp-max-payload udp-max-payload-ipv4 udp-max-payload-ipv6
		edns-client-subnet answer-rotation automatic-acl dbus-event dbus-init-delay`
)

// other notes an option that has no part in the result.
func (c *converter) other(s *stmt, own string) {
	if slices.Contains(strings.Fields(own), s.name()) {
		c.note(s, Changed, "port53 has its own default or need of it")
		return
	}
	c.note(s, NotTaken, "nothing stands for it: look whether it matters")
}
