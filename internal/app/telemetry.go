package app

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"time"

	"port53/internal/config"
	"port53/internal/securepath"
	"port53/internal/server"
	"port53/internal/telemetry"
	"port53/internal/upstream"
	"port53/internal/wire"
	"port53/internal/zones"
)

// queryLog is the query log and the file it goes to; nil: off.
type queryLog struct {
	log  *telemetry.QueryLog
	path string // of the file; empty: standard output
}

// queryLogMode is for the query log's file: it tells what people have asked for.
const queryLogMode = 0o640

// newQueryLog returns the query log that l wants, which has yet to be opened. That it cannot
// be written is told to log.
func newQueryLog(l config.Log, log *slog.Logger) *queryLog {
	if l.Queries == "off" || l.Queries == "" {
		return nil
	}
	trouble := func(err error) {
		if err != nil {
			log.Error(
				"the query log cannot be written: lines are lost, and counted in port53_query_log_dropped_total",
				"error",
				err.Error(),
			)
		} else {
			log.Info("the query log is written again")
		}
	}
	return &queryLog{
		log:  telemetry.NewQueryLog(nil, telemetry.QueryLogOptions{JSON: l.Queries == "json", Sample: l.QueriesSample, OnError: trouble}),
		path: l.QueriesFile,
	}
}

// open opens the file of the query log, as the user who serves: root opens none where that
// user may have put a link.
func (q *queryLog) open() error {
	if q == nil {
		return nil
	}
	if q.path == "" || q.path == "/dev/stdout" {
		q.log.SetOutput(stdout{})
		return nil
	}
	f, err := securepath.Append(q.path, queryLogMode)
	if err != nil {
		return fmt.Errorf("log.queries_file: %w", err)
	}
	q.log.SetOutput(f)
	return nil
}

// reopen opens the file again: logrotate has moved the one that is open. If that fails, the
// one before goes on.
func (q *queryLog) reopen(log *slog.Logger) {
	if q == nil || q.path == "" {
		return
	}
	if err := q.open(); err != nil {
		log.Error("cannot reopen the query log: the open file stays in use", "error", err.Error())
	}
}

// stdout is standard output, which stays open.
type stdout struct{}

func (stdout) Write(p []byte) (int, error) { return os.Stdout.Write(p) }

func (q *queryLog) sink() *telemetry.QueryLog {
	if q == nil {
		return nil
	}
	return q.log
}

func (q *queryLog) close() {
	if q == nil {
		return
	}
	q.log.Close()
}

// collect gives telemetry what is not counted query by query.
func (a *App) collect() {
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
	}
	a.telemetry.Collect(func(w *telemetry.Writer) {
		w.Set("port53_build_info", 1, "version", version)
		w.Set("port53_start_time_seconds", float64(a.started.UnixMilli())/1000)
		a.collectProcess(w)
		w.Set("port53_goroutines", float64(runtime.NumGoroutine()))
		samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
		metrics.Read(samples)
		w.Set("port53_memory_bytes", float64(samples[0].Value.Uint64()-samples[1].Value.Uint64()))
		if a.logLost != nil {
			w.Set("port53_log_lost_total", float64(a.logLost()))
		}
		if a.queries != nil {
			w.Set("port53_query_log_dropped_total", float64(a.queries.log.Dropped()))
		}
		w.Set("port53_events_lost_total", float64(a.watch.hub.Lost()))
		if t := a.watch.tap; t != nil {
			sent, lost, connected := t.Counts()
			w.Set("port53_dnstap_messages_total", float64(sent), "result", "sent")
			w.Set("port53_dnstap_messages_total", float64(lost), "result", "lost")
			w.Set("port53_dnstap_connected", number(connected))
		}
		w.Set("port53_why_bytes", float64(a.watch.why.Octets()))
		a.audit.Collect(w)
		ok, failed := a.reloads.counts()
		w.Set("port53_reloads_total", float64(ok), "result", "ok")
		w.Set("port53_reloads_total", float64(failed), "result", "failed")
		w.Set("port53_last_reload_success", number(a.reloads.healthy()))
		st := a.server.Stats()
		a.present(func(at netip.AddrPort, there bool) {
			w.Set("port53_listener_up", number(there), "address", at.String())
		})
		collectTraffic(w, st.UDP, "udp")
		collectTraffic(w, st.TCP, "tcp")
		w.Set("port53_tcp_connections", float64(st.Open))
		w.Set("port53_tcp_connections_total", float64(st.Accepted))
		a.collectEncrypted(w, &st)
		for reason, n := range closed(&st.Connections) {
			w.Set("port53_tcp_closed_total", float64(n), "reason", reason)
		}
		a.collectZones(w, a.manager.Status())
		a.collectFilters(w)
		a.keys.collect(w, time.Now())
		a.collectProof(w)
		a.collectTunnels(w)
		if a.recursion != nil {
			a.recursion.collect(w)
			never, later := anchorsInEffect(a.current.Load().config, time.Now())
			w.Set("port53_resolver_unvalidated_zones", float64(never), "end", "never")
			w.Set("port53_resolver_unvalidated_zones", float64(later), "end", "later")
		}
	})
}

// collectTraffic writes what the sockets of a transport counted.
func collectTraffic(w *telemetry.Writer, t server.Traffic, transport string) {
	w.Set("port53_received_total", float64(t.Received), "transport", transport)
	w.Set("port53_sent_total", float64(t.Sent), "transport", transport)
	w.Set("port53_send_errors_total", float64(t.SendErrors), "transport", transport)
	for reason, n := range map[string]uint64{
		"short": t.Short, "oversize": t.Long, "port_zero": t.NoPort, "proxy_sender": t.ProxySender, "proxy_header": t.ProxyHeader,
	} {
		w.Set("port53_dropped_total", float64(n), "reason", reason, "transport", transport)
	}
}

// collect writes what the resolver and its questions to servers counted.
func (r *recursion) collect(w *telemetry.Writer) {
	c, u := r.resolver.Counters(), r.client.Counters()
	for outcome, n := range map[string]uint64{
		"asked": c.Questions.Load(), "joined": c.Joined.Load(), "failed": c.Failed.Load(), "synthetic": c.Synthetic.Load(),
		"shed": c.Shed.Load(),
	} {
		w.Set("port53_resolver_questions_total", float64(n), "outcome", outcome)
	}
	w.Set("port53_resolver_nameserver_lookups_total", float64(c.NSLookups.Load()), "outcome", "asked")
	w.Set("port53_resolver_nameserver_lookups_total", float64(c.NSUnknown.Load()), "outcome", "incomplete")
	w.Set("port53_resolver_bogus_total", float64(c.Bogus.Load()))
	w.Set("port53_upstream_questions_total", float64(u.UDP.Load()), "transport", "udp")
	w.Set("port53_upstream_questions_total", float64(u.TCP.Load()), "transport", "tcp")
	w.Set("port53_upstream_timeouts_total", float64(u.Timeouts.Load()))
	w.Set("port53_upstream_ignored_total", float64(u.Mismatched.Load()), "reason", "mismatched")
	w.Set("port53_upstream_ignored_total", float64(u.Oversized.Load()), "reason", "oversized")
	for i := range c.Failures {
		if n := c.Failures[i].Load(); n > 0 {
			text := "none"
			if i > 0 {
				text = wire.ErrorText(uint16(i - 1))
			}
			w.Set("port53_resolver_failures_total", float64(n), "error", text)
		}
	}
	st := r.cache.Stats()
	w.Set("port53_cache_entries", float64(st.Entries))
	w.Set("port53_cache_bytes", float64(st.Octets))
	w.Set("port53_cache_limit_bytes", float64(st.Size))
	w.Set("port53_cache_evictions_total", float64(st.EvictedFresh), "state", "fresh")
	w.Set("port53_cache_evictions_total", float64(st.EvictedExpired), "state", "expired")
	collectReplies(w, u)
	w.Set("port53_upstream_guessed_total", float64(u.SuspectedSpoofs.Load()))
	w.Set("port53_upstream_truncated_total", float64(u.Truncated.Load()))
}

// collectReplies writes what came of questions to servers.
func collectReplies(w *telemetry.Writer, u *upstream.Counters) {
	for i := range u.Replies {
		rcode := wire.Rcode(i)
		name := rcode.String()
		if i == len(u.Replies)-1 {
			name = "other"
		}
		if n := u.Replies[i].Load(); n > 0 || rcode <= wire.Refused {
			w.Set("port53_upstream_replies_total", float64(n), "rcode", name)
		}
	}
	for i := range u.Failures {
		w.Set("port53_upstream_failures_total", float64(u.Failures[i].Load()), "reason", upstream.Failure(i).String())
	}
	var bounds [len(upstream.RTTBounds)]float64
	var counts [len(bounds) + 1]uint64
	for i := range counts {
		if counts[i] = u.RTT[i].Load(); i < len(bounds) {
			bounds[i] = upstream.RTTBounds[i].Seconds()
		}
	}
	w.Histogram("port53_upstream_rtt_seconds", bounds[:], counts[:], time.Duration(u.RTTSum.Load()).Seconds())
}

func (a *App) collectZones(w *telemetry.Writer, list []zones.Status) {
	served, stale, broken, octets, unkept := 0, 0, 0, 0, 0
	for _, z := range list {
		unkept += int(number(z.NotStored != ""))
		octets += z.Octets
		switch {
		case !z.Serving:
			broken++
		case z.Failed:
			stale++
		default:
			served++
		}
	}
	for state, n := range map[string]int{"served": served, "stale": stale, "broken": broken} {
		w.Set("port53_zones", float64(n), "state", state)
	}
	w.Set("port53_zone_bytes", float64(octets))
	w.Set("port53_zones_not_kept", float64(unkept))
	// What is wrong is listed first, so that the bound hides what is well.
	slices.SortStableFunc(list, func(x, y zones.Status) int { return int(number(y.Failed) - number(x.Failed)) })
	for _, z := range list[:min(len(list), telemetry.MaxListed)] {
		w.Set("port53_zone_failed", number(z.Failed), "zone", z.Name, "view", z.View)
		if z.Serving {
			w.Set("port53_zone_serial", float64(z.Serial), "zone", z.Name, "view", z.View)
			w.Set("port53_zone_age_seconds", time.Since(z.Loaded).Seconds(), "zone", z.Name, "view", z.View)
			if s := z.Signing; s != nil && !s.Expires.IsZero() {
				w.Set("port53_dnssec_signatures_expire_seconds", time.Until(s.Expires).Seconds(), "zone", z.Name, "view", z.View)
			}
		}
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
