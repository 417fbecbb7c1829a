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
		"Messages that arrived: each is in port53_queries_total or in port53_dropped_total, once it has been dealt with.",
	},
	{"port53_queries_total", "counter", "transport", "Queries that were replied to."},
	{
		"port53_view_queries_total",
		"counter",
		"view",
		"The same by the client's view, where there are views; of views that came after 63 others, together, as other.",
	},
	{
		"port53_view_blocked_total",
		"counter",
		"view",
		"Answers that a rule of a list has blocked, by the client's view, where there are views.",
	},
	{"port53_queries_by_type_total", "counter", "type", "The same by question type; types that were never asked for are left out."},
	{"port53_replies_total", "counter", "rcode", "Replies by response code."},
	{"port53_replies_truncated_total", "counter", "", "Replies with TC=1."},
	{"port53_query_duration_seconds", "histogram", "", "Time to make a reply; one query in 64 is measured."},
	{"port53_query_bytes_total", "counter", "", "Octets of queries."},
	{"port53_reply_bytes_total", "counter", "", "Octets of replies."},
	{
		"port53_malformed_total",
		"counter",
		"reason",
		"Messages that could not be read, by what is wrong with them. Those with a header and a question got FORMERR " +
			"and are in port53_queries_total, the others are in port53_dropped_total.",
	},
	{
		"port53_dropped_total",
		"counter",
		"reason transport",
		"Messages that got no reply: rate_limit, port (of a known reflector), port_zero, short (less than a header), " +
			"oversize, proxy_sender (not of a listed proxy), proxy_header (no valid PROXY header), malformed (a response), " +
			"late (the answer took longer than clients wait), load (too many were waiting), fault (of port53).",
	},
	{"port53_slipped_total", "counter", "", "Replies that response rate limiting made TC=1 or BADCOOKIE."},
	{"port53_rate_limited_total", "counter", "class", "Answers beyond a limit, by kind of answer; also counted in log-only mode."},
	{"port53_cookies_total", "counter", "kind", "Cookies in queries: client (alone), valid, bad."},
	{"port53_panics_total", "counter", "", "Queries that ran into a fault of port53 and got SERVFAIL."},
	{
		"port53_listener_up",
		"gauge",
		"address",
		"1 if an interface of this machine has an address that is to be served; 0: it is served once one has.",
	},
	{"port53_sent_total", "counter", "transport", "Messages sent. A zone transfer is many."},
	{"port53_send_errors_total", "counter", "transport", "Messages that the system did not send, or the client did not take."},
	{"port53_tcp_connections", "gauge", "", "Connections now."},
	{"port53_tcp_connections_total", "counter", "", "Connections taken."},
	{"port53_tcp_closed_total", "counter", "reason", "Connections that the server ended: refused, evicted, timeout, stalled."},
	{"port53_certificate_expiry_timestamp_seconds", "gauge", "names", "When a certificate that is shown expires, in seconds since 1970."},
	{"port53_acme_orders_total", "counter", "result", "Certificates that were ordered by encrypted.acme: issued, failed."},
	{"port53_acme_failing", "gauge", "", "Orders that have failed since the last that has not."},
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
		"Beginnings of TLS and QUIC: full, resumed, failed, refused (beyond encrypted.limits.handshakes), retried (who " +
			"had to prove its address first).",
	},
	{"port53_tls_unknown_names_total", "counter", "", "Clients that asked for a name that no certificate has."},
	{"port53_encrypted_connections", "gauge", "", "Connections over TLS now."},
	{"port53_encrypted_connections_total", "counter", "", "Connections over TLS taken."},
	{
		"port53_encrypted_closed_total",
		"counter",
		"reason",
		"Connections over TLS that the server ended: refused, evicted, timeout, stalled.",
	},
	{"port53_zones", "gauge", "state", "Zones: served, stale (served, but the file is broken) and broken (SERVFAIL)."},
	{"port53_zone_serial", "gauge", "zone view?", "The SOA's serial number; of up to 1,000 zones."},
	{"port53_zone_age_seconds", "gauge", "zone view?", "Time since the served version was loaded; of up to 1,000 zones."},
	{
		"port53_zone_failed",
		"gauge",
		"zone view?",
		"1 if the last attempt to load the zone failed; of up to 1,000 zones, failed ones first.",
	},
	{
		"port53_dnssec_signatures_expire_seconds",
		"gauge",
		"zone view?",
		"Time until the first signature of a zone that is signed here expires; of up to 1,000 zones.",
	},
	{
		"port53_dnssec_keys",
		"gauge",
		"state",
		"DNSSEC keys by the state of their DNSKEY records: hidden, rumoured, omnipresent, unretentive.",
	},
	{"port53_dnssec_zones_waiting", "gauge", "", "Signed zones with a step of a roll that waits, for time, for servers or for the parent."},
	{
		"port53_dnssec_next_event_seconds",
		"gauge",
		"zone view?",
		"Time until the next step of a zone's keys that comes by itself; of up to 1,000 zones.",
	},
	{"port53_zones_not_kept", "gauge", "", "Secondary zones served from memory alone, since state_dir takes nothing."},
	{"port53_zone_bytes", "gauge", "", "Memory of all zones, compiled."},
	{"port53_updates_total", "counter", "result", "Update messages: accepted, refused, failed, forwarded (to the zone's primary)."},
	{
		"port53_transfers_total",
		"counter",
		"result",
		"Transfers of zones that were asked for: accepted (sent), refused, failed (broken off).",
	},
	{"port53_notifies_total", "counter", "result", "NOTIFY messages that came: accepted, refused."},
	{"port53_commands_total", "counter", "result", "Commands of the control socket that change something: accepted, refused."},
	{"port53_tsig_errors_total", "counter", "error", "Messages whose signature was not good: badsig, badkey, badtime, badtrunc."},
	{"port53_audit_left_out_total", "counter", "", "Lines that the audit left out, which were too many at one time."},
	{"port53_audit_lost_total", "counter", "", "Lines that could not be written into the file of the audit (audit.file)."},
	{"port53_reloads_total", "counter", "result", "Reloads: ok, failed."},
	{"port53_last_reload_success", "gauge", "", "1 if the last reload did all that the files say."},
	{
		"port53_contract_violations",
		"gauge",
		"",
		"Lines of the contract that the last proof has found violated (port53 prove --watch). There is none as long as " +
			"nobody has proved it.",
	},
	{"port53_contract_unknown", "gauge", "", "Lines of the contract that the last proof could not prove."},
	{"port53_contract_proved_timestamp_seconds", "gauge", "", "When the contract was last proved."},
	{
		"port53_resolver_questions_total",
		"counter",
		"outcome",
		"Questions that neither zones nor the cache answered: asked, and of these joined to an equal one, failed " +
			"(SERVFAIL), synthetic (from proofs of other names), shed (too many were waiting).",
	},
	{
		"port53_resolver_failures_total",
		"counter",
		"error",
		"Questions that the resolver answered SERVFAIL, by Extended DNS Error (RFC 8914), or none. What is remembered " +
			"to have failed is not counted again.",
	},
	{"port53_resolver_bogus_total", "counter", "", "Sets and denials that did not validate."},
	{
		"port53_resolver_unvalidated_zones",
		"gauge",
		"end",
		"Zones that negative_trust_anchors has not validated: never again (end never), for a time (later).",
	},
	{
		"port53_cache_lookups_total",
		"counter",
		"outcome",
		"Queries that were looked up in the cache: hit, stale (expired: it is asked for again), failed (asking failed a " +
			"moment ago, SERVFAIL is remembered), miss.",
	},
	{"port53_cache_stale_answers_total", "counter", "", "Expired answers that were given, since nothing better came in time."},
	{
		"port53_filter_answers_total",
		"counter",
		"list outcome",
		"Answers that a rule of a list is about: blocked (something else was answered, or nothing), allowed (a rule lets it pass), logged.",
	},
	{"port53_filter_rules", "gauge", "list", "Rules of a list."},
	{
		"port53_filter_list_failed",
		"gauge",
		"list",
		"1 if a list could not be read or fetched the last time: what was there before goes on.",
	},
	{"port53_filter_list_age_seconds", "gauge", "list", "Time since the list in use was read."},
	{"port53_filter_paused", "gauge", "", "1 while nothing is filtered, as port53 filter pause has it."},
	{"port53_cache_entries", "gauge", "", "Entries of the cache, those that have expired and were not replaced too."},
	{"port53_cache_bytes", "gauge", "", "Octets that the cache's entries take."},
	{"port53_cache_limit_bytes", "gauge", "", "Octets that they may take: the cache's size."},
	{
		"port53_cache_evictions_total",
		"counter",
		"state",
		"Entries that went to make room for others: fresh (before they had expired), expired.",
	},
	{"port53_upstream_questions_total", "counter", "transport", "Questions to servers: udp, tcp."},
	{"port53_upstream_timeouts_total", "counter", "", "Questions over UDP that nothing came back for."},
	{
		"port53_upstream_ignored_total",
		"counter",
		"reason",
		"Replies that were not believed: mismatched (ID, question, case or cookie), oversized.",
	},
	{"port53_upstream_guessed_total", "counter", "", "Questions taken to TCP because somebody seemed to guess."},
	{"port53_upstream_truncated_total", "counter", "", "Questions asked again over TCP because the reply was cut off."},
	{"port53_upstream_replies_total", "counter", "rcode", "Replies of servers, by response code."},
	{
		"port53_upstream_failures_total",
		"counter",
		"reason",
		"Questions to servers that got no reply: timeout, closed (nobody listens), unreachable (no way to the server), " +
			"socket (too few descriptors, or too many connections), connection (ended by the server), reply (it made no sense).",
	},
	{"port53_upstream_rtt_seconds", "histogram", "", "Time until servers reply, over UDP or TCP."},
	{"port53_tunnels", "gauge", "", "Clients that are taken to move data through DNS to a domain, now. Absent: nobody watches."},
	{"port53_tunnels_total", "counter", "", "The same, of each that was found."},
	{"port53_tunnel_refused_total", "counter", "", "Questions of such clients that were refused (policy.tunnel.action)."},
	{
		"port53_events_lost_total",
		"counter",
		"",
		"Queries that port53 top, those who follow them and others were not told of, since they came too fast. Only " +
			"counted while somebody wants to be told.",
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
		"Queries that the query log left out because it could not keep up or would have been too long.",
	},
	{"port53_log_lost_total", "counter", "", "Lines of the log that nobody read, or not fast enough."},
	{"port53_memory_bytes", "gauge", "", "Memory obtained from the system by the Go runtime, less what was given back."},
	{"port53_goroutines", "gauge", "", "Goroutines now."},
	{"process_cpu_seconds_total", "counter", "", "Processor time used, in seconds."},
	{"process_resident_memory_bytes", "gauge", "", "Memory of the process that is in RAM."},
	{"process_virtual_memory_bytes", "gauge", "", "Address space of the process."},
	{"process_open_fds", "gauge", "", "Files and sockets that are open."},
	{"process_max_fds", "gauge", "", "How many may be open."},
	{"process_start_time_seconds", "gauge", "", "When the process started, in seconds since 1970."},
	{"go_info", "gauge", "version", "1, with the Go release as a label."},
	{"go_goroutines", "gauge", "", "Goroutines now."},
	{"go_gc_cycles_total", "counter", "", "Garbage collections."},
	{"go_memstats_heap_alloc_bytes", "gauge", "", "Octets of objects in the heap."},
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
