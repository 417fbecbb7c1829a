package telemetry

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"port53/internal/policy"
	"port53/internal/server"
	"port53/internal/wire"
)

//go:generate go test -run TestMetricsDocument -update .

// A metric is a row of the table from which the exposition and docs/METRICS.md are
// made.
//
// A label with a question mark is left out where its value is empty.
type metric struct {
	name, kind, labels, help string
}

var metrics = []metric{
	{"port53_build_info", "gauge", "version", "1, with the version as a label."},
	{"port53_start_time_seconds", "gauge", "", "When the server started, in seconds since 1970."},
	{
		"port53_received_total",
		"counter",
		"transport",
		"Messages received. Once handled, each is counted in port53_queries_total or port53_dropped_total.",
	},
	{"port53_queries_total", "counter", "transport", "Queries answered."},
	{
		"port53_view_queries_total",
		"counter",
		"view",
		"Queries answered, by view, if views are configured. Views beyond the 63rd are counted together as other.",
	},
	{
		"port53_view_blocked_total",
		"counter",
		"view",
		"Answers blocked by a filter list, by view, if views are configured.",
	},
	{"port53_queries_by_type_total", "counter", "type", "Queries answered, by query type. Types that were never queried are left out."},
	{"port53_replies_total", "counter", "rcode", "Replies by response code."},
	{"port53_replies_truncated_total", "counter", "", "Replies with TC=1."},
	{"port53_query_duration_seconds", "histogram", "", "Time to answer a query. One query in 64 is measured."},
	{"port53_query_bytes_total", "counter", "", "Bytes of queries received."},
	{"port53_reply_bytes_total", "counter", "", "Bytes of replies sent."},
	{
		"port53_malformed_total",
		"counter",
		"reason",
		"Malformed messages, by reason. Those with a header and a question got FORMERR and are also in " +
			"port53_queries_total; the others are in port53_dropped_total.",
	},
	{
		"port53_dropped_total",
		"counter",
		"reason transport",
		"Messages dropped without a reply, by reason: rate_limit, port (source port of a known reflector), port_zero, " +
			"short (less than a header), oversize, proxy_sender (not a listed proxy), proxy_header (no valid PROXY " +
			"header), malformed (a response), late (the answer took longer than clients wait), load (too many " +
			"recursive clients), fault (internal error).",
	},
	{"port53_slipped_total", "counter", "", "Replies that response rate limiting turned into TC=1 or BADCOOKIE."},
	{"port53_rate_limited_total", "counter", "class", "Answers over the rate limit, by kind of answer. Log-only mode counts them too."},
	{"port53_cookies_total", "counter", "kind", "DNS cookies in queries: client (client cookie only), valid, bad."},
	{"port53_panics_total", "counter", "", "Queries answered SERVFAIL because of an internal error."},
	{
		"port53_listener_up",
		"gauge",
		"address",
		"1 if a listen address is on an interface of this machine. 0: port53 listens on it as soon as it appears.",
	},
	{"port53_sent_total", "counter", "transport", "Messages sent. A zone transfer counts each of its messages."},
	{"port53_send_errors_total", "counter", "transport", "Messages that the system failed to send or the client did not accept."},
	{"port53_tcp_connections", "gauge", "", "Open TCP connections."},
	{"port53_tcp_connections_total", "counter", "", "TCP connections accepted."},
	{"port53_tcp_closed_total", "counter", "reason", "TCP connections closed by the server, by reason: refused, " +
		"evicted, timeout, stalled."},
	{"port53_certificate_expiry_timestamp_seconds", "gauge", "names", "When a served certificate expires, in seconds since 1970."},
	{"port53_acme_orders_total", "counter", "result", "Certificates ordered by encrypted.acme, by result: issued, failed."},
	{"port53_acme_failing", "gauge", "", "Failed orders since the last successful one."},
	{
		"port53_acme_next_order_timestamp_seconds",
		"gauge",
		"",
		"When the next certificate is ordered, in seconds since 1970.",
	},
	{
		"port53_tls_handshakes_total",
		"counter",
		"result",
		"TLS and QUIC handshakes, by result: full, resumed, failed, refused (over encrypted.limits.handshakes), retried " +
			"(address validation, QUIC Retry).",
	},
	{"port53_tls_unknown_names_total", "counter", "", "TLS handshakes with a server name that no certificate covers."},
	{"port53_encrypted_connections", "gauge", "", "Open encrypted connections."},
	{"port53_encrypted_connections_total", "counter", "", "Encrypted connections accepted."},
	{
		"port53_encrypted_closed_total",
		"counter",
		"reason",
		"Encrypted connections closed by the server, by reason: refused, evicted, timeout, stalled.",
	},
	{"port53_zones", "gauge", "state", "Zones, by state: served, stale (an older version is served because the zone " +
		"file has errors), broken (SERVFAIL)."},
	{"port53_zone_serial", "gauge", "zone view?", "SOA serial; for at most 1,000 zones."},
	{"port53_zone_age_seconds", "gauge", "zone view?", "Time since the served version was loaded; for at most 1,000 zones."},
	{
		"port53_zone_failed",
		"gauge",
		"zone view?",
		"1 if the last attempt to load the zone failed; for at most 1,000 zones, failed ones first.",
	},
	{
		"port53_dnssec_signatures_expire_seconds",
		"gauge",
		"zone view?",
		"Time until the first signature of a zone signed by port53 expires; for at most 1,000 zones.",
	},
	{
		"port53_dnssec_keys",
		"gauge",
		"state",
		"DNSSEC keys by the state of their DNSKEY records: hidden, rumoured, omnipresent, unretentive.",
	},
	{"port53_dnssec_zones_waiting", "gauge", "", "Signed zones whose key rollover is waiting: for a time, for " +
		"secondaries or for the parent."},
	{
		"port53_dnssec_next_event_seconds",
		"gauge",
		"zone view?",
		"Time until the next scheduled key event of a zone; for at most 1,000 zones.",
	},
	{"port53_zones_not_kept", "gauge", "", "Secondary zones served from memory only, because state_dir cannot be written."},
	{"port53_zone_bytes", "gauge", "", "Memory used by all zones."},
	{"port53_updates_total", "counter", "result", "Dynamic updates (RFC 2136), by result: accepted, refused, failed, " +
		"forwarded (to the primary)."},
	{
		"port53_transfers_total",
		"counter",
		"result",
		"Outgoing zone transfers, by result: accepted (sent), refused, failed (aborted).",
	},
	{"port53_notifies_total", "counter", "result", "NOTIFY messages received, by result: accepted, refused."},
	{"port53_commands_total", "counter", "result", "Control commands that change something, by result: accepted, refused."},
	{"port53_tsig_errors_total", "counter", "error", "Messages with a TSIG error: badsig, badkey, badtime, badtrunc."},
	{"port53_audit_left_out_total", "counter", "", "Audit events left out because too many came at once."},
	{"port53_audit_lost_total", "counter", "", "Audit events that could not be written to audit.file."},
	{"port53_reloads_total", "counter", "result", "Reloads, by result: ok, failed."},
	{"port53_last_reload_success", "gauge", "", "1 if the last reload applied everything."},
	{
		"port53_contract_violations",
		"gauge",
		"",
		"Lines of the contract that the last proof found violated (port53 prove --watch). Absent until the first proof.",
	},
	{"port53_contract_unknown", "gauge", "", "Lines of the contract that the last proof could not decide."},
	{"port53_contract_proved_timestamp_seconds", "gauge", "", "When the contract was last proved."},
	{
		"port53_resolver_questions_total",
		"counter",
		"outcome",
		"Queries that needed recursion: asked (all), joined (shared an identical query in flight), failed (SERVFAIL), " +
			"synthetic (answered from cached NSEC and NSEC3 records, RFC 8198), shed (too many recursive clients).",
	},
	{
		"port53_resolver_nameserver_lookups_total",
		"counter",
		"outcome",
		"Lookups of the name servers of a name's zones, for rules of response policy zones about these: asked (all), " +
			"incomplete (not all were found, and the rules did without).",
	},
	{
		"port53_resolver_failures_total",
		"counter",
		"error",
		"Queries that the resolver answered SERVFAIL, by Extended DNS Error (RFC 8914) or none. Cached failures are not counted again.",
	},
	{"port53_resolver_bogus_total", "counter", "", "RRsets and proofs of nonexistence that failed DNSSEC validation."},
	{
		"port53_resolver_unvalidated_zones",
		"gauge",
		"end",
		"Negative trust anchors in effect, by end: never (permanent), later (expires).",
	},
	{
		"port53_cache_lookups_total",
		"counter",
		"outcome",
		"Cache lookups, by outcome: hit, stale (expired, being refreshed), failed (cached SERVFAIL), miss.",
	},
	{"port53_cache_stale_answers_total", "counter", "", "Stale answers served (RFC 8767)."},
	{
		"port53_filter_answers_total",
		"counter",
		"list outcome",
		"Queries that matched a filter list, by outcome: blocked, allowed, logged.",
	},
	{"port53_filter_rules", "gauge", "list", "Rules in a filter list."},
	{
		"port53_filter_list_failed",
		"gauge",
		"list",
		"1 if a filter list could not be read or fetched the last time. The previous version stays in use.",
	},
	{"port53_filter_list_age_seconds", "gauge", "list", "Time since the filter list in use was read."},
	{"port53_filter_paused", "gauge", "", "1 while filtering is paused (port53 filter pause)."},
	{"port53_cache_entries", "gauge", "", "Entries in the cache, including expired ones not yet replaced."},
	{"port53_cache_bytes", "gauge", "", "Bytes used by cache entries."},
	{"port53_cache_limit_bytes", "gauge", "", "Size limit of the cache in bytes."},
	{
		"port53_cache_evictions_total",
		"counter",
		"state",
		"Cache entries evicted to make room: fresh (not yet expired), expired.",
	},
	{"port53_upstream_questions_total", "counter", "transport", "Queries sent to other servers, by transport: udp, tcp."},
	{"port53_upstream_timeouts_total", "counter", "", "Queries over UDP that timed out."},
	{
		"port53_upstream_ignored_total",
		"counter",
		"reason",
		"Replies ignored: mismatched (ID, question, case or cookie), oversized.",
	},
	{"port53_upstream_guessed_total", "counter", "", "Queries moved to TCP after a suspected spoofing attempt."},
	{"port53_upstream_truncated_total", "counter", "", "Queries repeated over TCP because the reply was truncated."},
	{"port53_upstream_replies_total", "counter", "rcode", "Replies from other servers, by response code."},
	{
		"port53_upstream_failures_total",
		"counter",
		"reason",
		"Queries to other servers without a usable reply: timeout, closed (port closed), unreachable (no route), socket " +
			"(out of descriptors or connections), connection (closed by the server), reply (malformed).",
	},
	{"port53_upstream_rtt_seconds", "histogram", "", "Round-trip time of queries to other servers, over UDP or TCP."},
	{"port53_tunnels", "gauge", "", "Clients flagged now as moving data through DNS to a domain. Absent unless policy.tunnel is on."},
	{"port53_tunnels_total", "counter", "", "Clients and domains flagged so far."},
	{"port53_tunnel_refused_total", "counter", "", "Queries of such clients that were refused (policy.tunnel.action)."},
	{
		"port53_tunnel_domains", "gauge", "verdict",
		"Domains that look like tunnels, by what they are taken for: learned and accepted (no tunnels), rejected, seen. " +
			"Absent unless policy.tunnel.learn is on.",
	},
	{"port53_tunnel_learning", "gauge", "", "1 during the period of policy.tunnel.learn, 0 after it. Absent unless that is on."},
	{
		"port53_events_lost_total",
		"counter",
		"",
		"Query events lost because port53 top or another reader was too slow. Counted only while there is a reader.",
	},
	{
		"port53_dnstap_messages_total", "counter", "result",
		"Messages for the dnstap collector: sent, or lost since it did not read them. Only where dnstap is configured.",
	},
	{"port53_dnstap_connected", "gauge", "", "1 while there is a dnstap collector, else 0. Only where dnstap is configured."},
	{"port53_why_bytes", "gauge", "", "Memory of what is remembered for port53 why; at most why.size."},
	{
		"port53_query_log_dropped_total",
		"counter",
		"",
		"Queries left out of the query log because it could not keep up or reached its rate limit.",
	},
	{"port53_log_lost_total", "counter", "", "Log lines lost because the reader was too slow or gone."},
	{"port53_memory_bytes", "gauge", "", "Memory obtained from the system by the Go runtime, less what was given back."},
	{"port53_goroutines", "gauge", "", "Number of goroutines."},
	{"process_cpu_seconds_total", "counter", "", "Processor time used, in seconds."},
	{"process_resident_memory_bytes", "gauge", "", "Resident memory of the process."},
	{"process_virtual_memory_bytes", "gauge", "", "Virtual memory of the process."},
	{"process_open_fds", "gauge", "", "Open file descriptors."},
	{"process_max_fds", "gauge", "", "Maximum number of open file descriptors."},
	{"process_start_time_seconds", "gauge", "", "When the process started, in seconds since 1970."},
	{"go_info", "gauge", "version", "1, with the Go release as a label."},
	{"go_goroutines", "gauge", "", "Number of goroutines."},
	{"go_gc_cycles_total", "counter", "", "Garbage collections."},
	{"go_memstats_heap_alloc_bytes", "gauge", "", "Bytes of heap objects."},
	{"go_memstats_sys_bytes", "gauge", "", "Memory obtained from the system by the Go runtime."},
}

// MaxListed is how many zones have metrics of their own.
const MaxListed = 1000

// A Writer takes values of metrics and writes them in the order of the table.
type Writer struct {
	rows map[string][]string // by metric
}

// Set takes the value of a metric and its labels as name, value, name, value. A
// metric or a label that is not in the table is a bug, and panics.
func (w *Writer) Set(name string, value float64, labels ...string) {
	i := slices.IndexFunc(metrics, func(m metric) bool { return m.name == name })
	if i < 0 {
		panic("telemetry: metric " + name + " is not in the table")
	}
	var given []string
	for want := range strings.FieldsSeq(metrics[i].labels) {
		label, optional := strings.CutSuffix(want, "?")
		there := len(labels) > 1 && labels[0] == label
		if !there && !optional {
			panic("telemetry: metric " + name + " wants the labels " + metrics[i].labels)
		}
		if there && (!optional || labels[1] != "") {
			given = append(given, labels[:2]...)
		}
		if there {
			labels = labels[2:]
		}
	}
	if len(labels) > 0 {
		panic("telemetry: metric " + name + " has no label " + labels[0])
	}
	w.put(name, name, value, given)
}

// Histogram takes the values of a histogram: counts has what was at most each of bounds and more
// than the one before, and behind them what was more than the last; sum is of all values.
func (w *Writer) Histogram(name string, bounds []float64, counts []uint64, sum float64) {
	total := uint64(0)
	for i, n := range counts {
		total += n
		le := "+Inf"
		if i < len(bounds) {
			le = strconv.FormatFloat(bounds[i], 'g', -1, 64)
		}
		w.put(name, name+"_bucket", float64(total), []string{"le", le})
	}
	w.put(name, name+"_sum", sum, nil)
	w.put(name, name+"_count", float64(total), nil)
}

func (w *Writer) put(family, name string, value float64, labels []string) {
	b := []byte(name)
	for i := 0; i+1 < len(labels); i += 2 {
		if i == 0 {
			b = append(b, '{')
		} else {
			b = append(b, ',')
		}
		b = append(append(b, labels[i]...), '=', '"')
		b = append(appendLabel(b, labels[i+1]), '"')
	}
	if len(labels) > 0 {
		b = append(b, '}')
	}
	b = append(b, ' ')
	w.rows[family] = append(w.rows[family], string(appendValue(b, value)))
}

// appendValue appends a number, a whole one in digits, so that a serial number can
// be read.
func appendValue(b []byte, v float64) []byte {
	const exact = 1 << 53 // up to here a float64 holds every whole number
	if v == math.Trunc(v) && math.Abs(v) <= exact {
		return strconv.AppendInt(b, int64(v), 10)
	}
	return strconv.AppendFloat(b, v, 'g', -1, 64)
}

// appendLabel keeps a value within its quotes and its line, whatever it holds: the
// format asks for three escapes and for UTF-8. Other control characters have no
// business in a label, and an escape sequence must not reach a terminal.
func appendLabel(b []byte, s string) []byte {
	for _, r := range s {
		switch {
		case r == '\\' || r == '"':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, '\\', 'n')
		case unicode.IsControl(r):
			b = utf8.AppendRune(b, utf8.RuneError)
		default:
			b = utf8.AppendRune(b, r) // U+FFFD for what is not UTF-8
		}
	}
	return b
}

// Append appends all metrics in Prometheus's text format, version 0.0.4.
func (t *Telemetry) Append(dst []byte) []byte {
	w := &Writer{rows: map[string][]string{}}
	t.write(w)
	t.mu.Lock()
	collectors := slices.Clone(t.collectors)
	t.mu.Unlock()
	for _, f := range collectors {
		f(w)
	}
	for _, m := range metrics {
		rows := w.rows[m.name]
		if len(rows) == 0 {
			continue
		}
		dst = fmt.Appendf(dst, "# HELP %s %s\n# TYPE %s %s\n", m.name, m.help, m.name, m.kind)
		if m.kind != "histogram" {
			slices.SortFunc(rows, func(a, b string) int { return cmp.Compare(a, b) })
		}
		for _, r := range rows {
			dst = append(append(dst, r...), '\n')
		}
	}
	return dst
}

// writeViews sets the metrics of the workers by view, if there ever were views.
func (t *Telemetry) writeViews(w *Writer, s *Worker) {
	t.mu.Lock()
	names := t.views[:len(t.views):len(t.views)]
	t.mu.Unlock()
	for i, name := range names {
		w.Set("port53_view_queries_total", float64(s.views[i+1].load()), "view", name)
		w.Set("port53_view_blocked_total", float64(s.blocked[i+1].load()), "view", name)
	}
	if n := s.views[viewSlots-1].load(); n > 0 {
		w.Set("port53_view_queries_total", float64(n), "view", otherViews)
		w.Set("port53_view_blocked_total", float64(s.blocked[viewSlots-1].load()), "view", otherViews)
	}
}

// write sets the metrics of the workers.
func (t *Telemetry) write(w *Writer) {
	s := t.sum()
	for i := range s.queries {
		transport := server.Transport(i)
		if n := s.queries[i].load(); n > 0 || transport <= server.TCP {
			w.Set("port53_queries_total", float64(n), "transport", transport.String())
		}
	}
	t.writeViews(w, s)
	for i := range s.types {
		n := s.types[i].load()
		if n == 0 {
			continue
		}
		name := wire.Type(i).String()
		if i == typeSlots-1 {
			name = "other"
		}
		w.Set("port53_queries_by_type_total", float64(n), "type", name)
	}
	for i := range s.rcodes {
		name := wire.Rcode(i).String()
		if i == rcodes-1 {
			name = "other"
		}
		if n := s.rcodes[i].load(); n > 0 || i <= int(wire.Refused) {
			w.Set("port53_replies_total", float64(n), "rcode", name)
		}
	}
	var bounds [buckets]float64
	var counts [buckets + 1]uint64
	for i := range counts {
		if counts[i] = s.latency[i].load(); i < buckets {
			bounds[i] = float64(int64(1)<<(firstBucket+i)) / 1e9
		}
	}
	w.Histogram("port53_query_duration_seconds", bounds[:], counts[:], float64(s.nanos.load())/1e9)
	w.Set("port53_replies_truncated_total", float64(s.truncated.load()))
	w.Set("port53_query_bytes_total", float64(s.in.load()))
	w.Set("port53_reply_bytes_total", float64(s.out.load()))
	w.Set("port53_panics_total", float64(s.panics.load()))
	for i := 1; i < len(s.malformed); i++ {
		w.Set("port53_malformed_total", float64(s.malformed[i].load()), "reason", wire.Malformed(i).String())
	}
	for i := range s.drops {
		transport := server.Transport(i)
		for j := range s.drops[i] {
			if n := s.drops[i][j].load(); n > 0 || transport <= server.TCP {
				w.Set("port53_dropped_total", float64(n), "reason", Drop(j).String(), "transport", transport.String())
			}
		}
	}
	w.Set("port53_slipped_total", float64(s.slipped.load()))
	for i := range s.limited {
		w.Set("port53_rate_limited_total", float64(s.limited[i].load()), "class", policy.Class(i).String())
	}
	for i := range s.lookups {
		w.Set("port53_cache_lookups_total", float64(s.lookups[i].load()), "outcome", Lookup(i).String())
	}
	w.Set("port53_cache_stale_answers_total", float64(s.stale.load()))
	for i := range s.cookies {
		w.Set("port53_cookies_total", float64(s.cookies[i].load()), "kind", Cookie(i).String())
	}
}

// Document returns docs/METRICS.md.
func Document() []byte {
	b := []byte("<!-- made from internal/telemetry/metrics.go by go generate: do not edit -->\n# Metrics\n\n" +
		"At `http://127.0.0.1:9153/metrics` (key `metrics` of the configuration), in Prometheus's text format.\n\n" +
		"| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n")
	for _, m := range metrics {
		b = fmt.Appendf(b, "| `%s` | %s | %s | %s |\n", m.name, m.kind, cmp.Or(strings.ReplaceAll(m.labels, "?", ""), "-"), m.help)
	}
	return b
}
