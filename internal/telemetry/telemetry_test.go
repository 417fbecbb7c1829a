package telemetry_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"port53/internal/telemetry"
	"port53/internal/wire"
)

var update = flag.Bool("update", false, "rewrite the generated documents")

func TestMetricsDocument(t *testing.T) {
	const file = "../../docs/METRICS.md"
	want := telemetry.Document()
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is stale (%v): run go generate ./internal/telemetry", file, err)
	}
}

func TestCountersAddUp(t *testing.T) {
	tel := telemetry.New()
	a, b := tel.NewWorker(), tel.NewWorker()
	for range 3 {
		a.Record(&telemetry.Event{Type: wire.TypeA, Query: 40, Reply: 100, Nanos: -1})
	}
	b.Record(&telemetry.Event{Transport: 1, Type: wire.TypeA, Rcode: wire.NXDomain, Query: 40, Reply: 50, Truncated: true, Nanos: 3000})
	b.Record(&telemetry.Event{Transport: 1, Type: 65280, Rcode: 4000, Nanos: 1 << 62})
	b.Malformed(wire.BadPointer)
	b.Drop(telemetry.DropRate, 1, 40)
	b.Slip()
	b.Cookie(telemetry.CookieValid)
	b.Limited(2)
	text := string(tel.Append(nil))
	for _, want := range []string{
		`port53_queries_total{transport="udp"} 3`,
		`port53_queries_total{transport="tcp"} 2`,
		`port53_queries_by_type_total{type="A"} 4`,
		`port53_queries_by_type_total{type="other"} 1`,
		`port53_replies_total{rcode="NXDOMAIN"} 1`,
		`port53_replies_truncated_total 1`,
		`port53_query_duration_seconds_bucket{le="2.048e-06"} 0`,
		`port53_query_duration_seconds_bucket{le="4.096e-06"} 1`,
		`port53_query_duration_seconds_bucket{le="+Inf"} 2`,
		`port53_query_duration_seconds_count 2`,
		`port53_query_bytes_total 200`,
		`port53_reply_bytes_total 350`,
		`port53_malformed_total{reason="compression pointer does not point backwards"} 1`,
		`port53_dropped_total{reason="rate_limit",transport="tcp"} 1`,
		`port53_dropped_total{reason="rate_limit",transport="udp"} 0`,
		`port53_slipped_total 1`,
		`port53_cookies_total{kind="valid"} 1`,
		`port53_rate_limited_total{class="nxdomain"} 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no line %q in\n%s", want, text)
		}
	}
}

// Every line is a comment or a sample of a metric in the table, whatever a label holds.
func TestLabelsCannotBreakLines(t *testing.T) {
	tel := telemetry.New()
	tel.Collect(func(w *telemetry.Writer) {
		w.Set("port53_zone_serial", 1, "zone", "evil\"} 1\nport53_up{x=\"\\")
		w.Set("port53_zone_serial", 2, "zone", "tab\tand\rreturn")
	})
	sample := regexp.MustCompile(`^port53_[a-z_0-9]+(\{([a-z]+="([^"\\\n]|\\\\|\\"|\\n)*",?)*\})? [-+.0-9eInf]+$`)
	for line := range strings.SplitSeq(strings.TrimSuffix(string(tel.Append(nil)), "\n"), "\n") {
		if !strings.HasPrefix(line, "# HELP port53_") && !strings.HasPrefix(line, "# TYPE port53_") && !sample.MatchString(line) {
			t.Errorf("line %q is no sample", line)
		}
	}
}

func TestReadingWhileCounting(t *testing.T) {
	tel := telemetry.New()
	var wg sync.WaitGroup
	for range 4 {
		w := tel.NewWorker()
		wg.Go(func() {
			for range 1000 {
				w.Record(&telemetry.Event{Type: wire.TypeNS, Nanos: -1})
			}
		})
	}
	wg.Go(func() {
		for range 50 {
			tel.Append(nil)
		}
	})
	wg.Wait()
	if text := string(tel.Append(nil)); !strings.Contains(text, `port53_queries_by_type_total{type="NS"} 4000`) {
		t.Errorf("counts are lost:\n%s", text)
	}
}

func TestRecordAllocatesNothing(t *testing.T) {
	w := telemetry.New().NewWorker()
	e := telemetry.Event{Type: wire.TypeA, Nanos: 100}
	if n := testing.AllocsPerRun(100, func() { w.Record(&e) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRecord(b *testing.B) {
	w := telemetry.New().NewWorker()
	e := telemetry.Event{Type: wire.TypeA, Nanos: -1}
	b.ReportAllocs()
	for b.Loop() {
		w.Record(&e)
	}
}

func TestServeHTTP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- telemetry.New().ServeHTTP(ctx, l, slog.New(slog.DiscardHandler)) }()
	resp, err := http.Get("http://" + l.Addr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); got != "text/plain; version=0.0.4; charset=utf-8" || !bytes.Contains(body, []byte("port53_panics_total 0")) {
		t.Errorf("content type %q, body %s", got, body)
	}
	if resp, err = http.Get("http://" + l.Addr().String() + "/other"); err != nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("other path: %v %v", resp, err)
	} else {
		resp.Body.Close()
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func entry(name string, client string) *telemetry.Entry {
	e := &telemetry.Entry{
		Time: time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC), Client: netip.MustParseAddrPort(client),
		Type: wire.TypeA, Class: wire.ClassIN, Rcode: wire.NXDomain, Reply: 99,
	}
	e.SetName([]byte(name))
	return e
}

func TestQueryLogLines(t *testing.T) {
	var text, js bytes.Buffer
	for _, l := range []*telemetry.QueryLog{
		telemetry.NewQueryLog(&text, telemetry.QueryLogOptions{}),
		telemetry.NewQueryLog(&js, telemetry.QueryLogOptions{JSON: true}),
	} {
		l.Offer(entry("\x06a\n\" \xff.\x04test\x00", "192.0.2.1:99"))
		l.Close()
	}
	if got, want := text.String(), `2026-01-02T03:04:05.006Z 192.0.2.1:99 udp a\010\"\032\255\..test. IN A NXDOMAIN 99`+"\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := js.String(), `{"time":"2026-01-02T03:04:05.006Z","client":"192.0.2.1:99","transport":"udp","name":"a\\010\\\"\\032\\255\\..test.","class":"IN","type":"A","rcode":"NXDOMAIN","reply_bytes":99}`+"\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestQueryLogBounds(t *testing.T) {
	var out bytes.Buffer
	l := telemetry.NewQueryLog(&out, telemetry.QueryLogOptions{PerPrefix: 10})
	for range 30 {
		l.Offer(entry("\x01a\x00", "192.0.2.1:1"))
		l.Offer(entry("\x01a\x00", "198.51.100.1:1"))
	}
	l.Close()
	if got := bytes.Count(out.Bytes(), []byte("\n")); got != 20 || l.Dropped() != 40 {
		t.Errorf("%d lines, %d dropped: want 10 for each of two networks, and 40", got, l.Dropped())
	}
	out.Reset()
	l = telemetry.NewQueryLog(&out, telemetry.QueryLogOptions{PerPrefix: -1, BytesPerSecond: 500})
	for range 100 {
		l.Offer(entry("\x01a\x00", "192.0.2.1:1"))
	}
	l.Close()
	if out.Len() < 400 || out.Len() > 600 {
		t.Errorf("%d octets in a second, want about 500", out.Len())
	}
}

// blocked is a sink that takes nothing until it is released.
type blocked struct{ release chan struct{} }

func (b *blocked) Write(p []byte) (int, error) {
	<-b.release
	return 0, errors.New("late")
}

// A sink that does not take anything costs entries, never time.
func TestQueryLogNeverBlocks(t *testing.T) {
	sink := &blocked{make(chan struct{})}
	l := telemetry.NewQueryLog(sink, telemetry.QueryLogOptions{Queue: 4, PerPrefix: -1})
	e := entry("\x01a\x00", "192.0.2.1:1")
	for range 100 {
		l.Offer(e)
	}
	if d := l.Dropped(); d < 90 {
		t.Errorf("%d dropped of 100 with a queue of 4", d)
	}
	if n := testing.AllocsPerRun(100, func() { l.Offer(e) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	close(sink.release)
	l.Close()
}

func TestQueryLogSample(t *testing.T) {
	l := telemetry.NewQueryLog(io.Discard, telemetry.QueryLogOptions{Sample: 10})
	defer l.Close()
	wanted := 0
	for range 100 {
		if l.Wanted() {
			wanted++
		}
	}
	if wanted != 10 {
		t.Errorf("%d of 100 wanted, want 10", wanted)
	}
}
