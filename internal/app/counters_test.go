package app_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"port53/internal/dnstest"
	"port53/internal/lab"
	"port53/internal/wire"
)

// sum returns the sum of the samples of a metric whose labels match a pattern.
func sum(t *testing.T, text, name, labels string) (n int) {
	t.Helper()
	for _, m := range regexp.MustCompile(`(?m)^`+name+`\{[^}]*`+labels+`[^}]*\} (\d+)$`).FindAllStringSubmatch(text, -1) {
		v, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		n += v
	}
	return n
}

// TestReceivedIsRepliedOrDropped sends all sorts of messages over each transport: each that
// arrives is counted as replied to, or as dropped for a reason, and as nothing else.
func TestReceivedIsRepliedOrDropped(t *testing.T) {
	question := func(line string) []byte { return dnstest.ParseQuestion(t, line).Message() }
	response := question("ns.test. A")
	response[2] |= 0x80
	broken := question("ns.test. A")
	broken[5] = 3
	axfr := message(1, wire.OpcodeQuery, wire.TypeAXFR)
	refused := sign(&wrong, axfr, time.Now())
	messages := [][]byte{
		question("ns.test. A"), question("nothing.test. A"), question("elsewhere. A"), question("version.bind. TXT"),
		response, broken, axfr, sign(&xfr, axfr, time.Now()), refused,
		sign(&ddns, update(1, "one"), time.Now()), sign(&xfr, update(2, "two"), time.Now()), update(3, "three"),
		message(4, wire.OpcodeNotify, wire.TypeSOA), make([]byte, 12), make([]byte, 11),
		{},
		{1},
		make([]byte, 4097), make([]byte, 65535)[:60000],
	}
	for name, more := range map[string]string{"batches": "", "portable": "udp: {portable: true}\n"} {
		t.Run(name, func(t *testing.T) {
			r := prepared(t, "state", "  - {name: test, file: test.zone, tsig: xfr, allow_transfer: [127.0.0.1], updates: [{key: ddns, names: [\"*\"]}]}\n")
			r.write("port53.yaml", strings.Replace(r.read("port53.yaml"), "metrics: {listen: off}", "metrics: {listen: \"127.0.0.1:0\"}", 1)+more+
				"policy: {rate_limit: {per_second: 1, burst: 2}}\n")
			if err := r.serve(io.Discard); err != nil {
				t.Fatal(err)
			}
			addr := r.Addrs()[0].String()
			for range 3 {
				for _, m := range messages {
					c, err := net.Dial("udp", addr)
					if err != nil {
						t.Fatal(err)
					}
					_, _ = c.Write(m)
					c.Close()
					if c, err = net.Dial("tcp", addr); err != nil {
						t.Fatal(err)
					}
					_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(m))), m...))
					_ = c.(*net.TCPConn).CloseWrite()
					_, _ = io.Copy(io.Discard, c)
					c.Close()
				}
			}
			counts := func() (text string, received, told [2]int) {
				text = metrics(t, r)
				for i, transport := range []string{"udp", "tcp"} {
					label := fmt.Sprintf("transport=%q", transport)
					received[i] = sum(t, text, "port53_received_total", label)
					told[i] = sum(t, text, "port53_queries_total", label) + sum(t, text, "port53_dropped_total", label)
				}
				return text, received, told
			}
			want := [2]int{3 * len(messages), 3 * len(messages)}
			until(t, "counters that add up", func() string {
				text, received, told := counts()
				return fmt.Sprintf("received %v, replied or dropped %v, sent %v\n%s", received, told, want, text)
			}, func() bool {
				_, received, told := counts()
				return received == want && told == want
			})
			text2, _, _ := counts()
			for _, label := range []string{`reason="short",transport="udp"`, `reason="oversize",transport="udp"`, `reason="short",transport="tcp"`, `reason="malformed",transport="tcp"`, `reason="rate_limit",transport="udp"`} {
				if sum(t, text2, "port53_dropped_total", label) == 0 {
					t.Errorf("nothing is counted as %s", label)
				}
			}
			if n := sum(t, text2, "port53_queries_by_type_total", `type="AXFR"`); n < 3*3 {
				t.Errorf("%d questions for AXFR are counted", n)
			}
		})
	}
}

// TestResolverMetrics asks for names that are answered, that are answered out of the cache and
// that fail, and looks for each in the metrics.
func TestResolverMetrics(t *testing.T) {
	net := lab.NewNet(lab.Options{Seed: 53})
	server := netip.MustParseAddrPort("192.0.2.1:53")
	net.SetLink(server.Addr(), lab.Link{RTT: 2 * time.Millisecond})
	net.Handle(server, func(query []byte, from netip.AddrPort, tcp bool) []byte {
		if query[13]|0x20 == 'f' { // its case is random
			msg := bytes.Clone(query)
			msg[2] |= 0x80
			msg[3] |= byte(wire.Refused)
			return msg
		}
		return forwarder(1)(query, from, tcp)
	})
	r := startResolver(t, net, strings.Replace(fmt.Sprintf(resolverYAML, "", 1), "metrics: {listen: off}", "metrics: {listen: \"127.0.0.1:0\"}", 1))
	for question, want := range map[string]string{"www.example. A +rd": "198.51.100.1", "fails.example. A +rd": "SERVFAIL"} {
		for range 3 {
			if got := r.ask("udp", question); !strings.Contains(got, want) {
				t.Errorf("%s: %s", question, got)
			}
		}
	}
	text := metrics(t, r)
	for _, line := range []string{
		`port53_cache_lookups_total{outcome="hit"} 2`,
		`port53_cache_lookups_total{outcome="miss"} 2`,
		`port53_cache_lookups_total{outcome="failed"} 2`,
		`port53_cache_lookups_total{outcome="stale"} 0`,
		`port53_resolver_failures_total{error="No Reachable Authority"} 1`,
		`port53_upstream_replies_total{rcode="NOERROR"} 1`,
		`port53_upstream_failures_total{reason="timeout"} 0`,
		`port53_cache_evictions_total{state="fresh"} 0`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	for _, name := range []string{"port53_cache_entries", "port53_cache_bytes", "port53_cache_limit_bytes", "port53_upstream_rtt_seconds_count", "port53_upstream_rtt_seconds_sum"} {
		m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(text)
		if m == nil || m[1] == "0" {
			t.Errorf("%s: %q", name, m)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}
