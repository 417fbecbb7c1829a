package conformance_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-acme/lego/v5/challenge/dns01"
	"github.com/go-acme/lego/v5/providers/dns/pdns"
	"github.com/joeig/go-powerdns/v3"
	"github.com/miekg/dns"

	"port53/conformance/peers"
)

// answers asks the server for a name until it has, or has not, a text.
func (s *apiSide) answers(t *testing.T, name string, typ uint16, text string, there bool) {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, typ)
	r, err := dns.Exchange(m, s.server.Addr.String())
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(r.Answer); strings.Contains(got, text) != there {
		t.Errorf("%s: %s, want %q %v", name, got, text, there)
	}
}

// TestAPIClients: the clients of PowerDNS' API do at port53 what they are for. DNS answers as they say
// once they are told that it is done.
func TestAPIClients(t *testing.T) {
	if subjectKind() != peers.Port53 {
		t.Skip("the subject has no such API")
	}
	s := startAPI(t, peers.Port53)
	if status, answer := s.do(t, "POST", apiZones, apiZone); status != 201 {
		t.Fatal(status, answer)
	}
	t.Run("lego", func(t *testing.T) { s.lego(t) })
	t.Run("go-powerdns", func(t *testing.T) { s.goPowerDNS(t) })
	t.Run("DNSControl", func(t *testing.T) { s.dnscontrol(t) })
}

// lego has lego answer a challenge: it finds the zone by asking for SOA records, and reads back what it
// wrote.
func (s *apiSide) lego(t *testing.T) {
	o := dns01.NewOptions()
	o.RecursiveNameservers = []string{s.server.Addr.String()}
	before := dns01.DefaultClient()
	dns01.SetDefaultClient(dns01.NewClient(o)) // else it asks whom /etc/resolv.conf names
	defer dns01.SetDefaultClient(before)
	c := pdns.NewDefaultConfig()
	c.Host, _ = url.Parse(s.url)
	c.APIKey = apiSecret
	p, err := pdns.NewDNSProviderConfig(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, domain := range []string{"z.test", "www.z.test", "a.b.z.test"} {
		var value string
		for _, authorization := range []string{"one", "two"} { // a name and its wildcard have a challenge each
			value = dns01.GetChallengeInfo(t.Context(), domain, authorization).Value
			if err := p.Present(t.Context(), domain, "token", authorization); err != nil {
				t.Fatalf("%s: %v", domain, err)
			}
			s.answers(t, "_acme-challenge."+domain+".", dns.TypeTXT, value, true)
		}
		if err := p.CleanUp(t.Context(), domain, "token", "two"); err != nil {
			t.Fatalf("%s: %v", domain, err)
		}
		s.answers(t, "_acme-challenge."+domain+".", dns.TypeTXT, value, false)
	}
}

// goPowerDNS runs the flow of the library that external-dns and others stand on.
func (s *apiSide) goPowerDNS(t *testing.T) {
	ctx := t.Context()
	c := powerdns.New(s.url, "localhost", powerdns.WithAPIKey(apiSecret))
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	server, err := c.Servers.Get(ctx, "localhost")
	check(err)
	if !strings.HasPrefix(*server.Version, "5.") {
		t.Errorf("version %s", *server.Version)
	}
	zone, err := c.Zones.AddNative(ctx, "go.test", false, "", false, "", "DEFAULT", true, []string{"ns.go.test."})
	check(err)
	if *zone.Name != "go.test." || *zone.Kind != powerdns.NativeZoneKind {
		t.Errorf("%+v", zone)
	}
	check(c.Records.Add(ctx, "go.test", "www.go.test", powerdns.RRTypeA, 60, []string{"192.0.2.5"}))
	s.answers(t, "www.go.test.", dns.TypeA, "192.0.2.5", true)
	check(c.Records.Change(ctx, "go.test", "www.go.test", powerdns.RRTypeA, 60, []string{"192.0.2.6", "192.0.2.7"}))
	sets, err := c.Records.Get(ctx, "go.test", "www.go.test", powerdns.RRTypePtr(powerdns.RRTypeA))
	check(err)
	if len(sets) != 1 || len(sets[0].Records) != 2 {
		t.Errorf("%+v", sets)
	}
	check(c.Records.Delete(ctx, "go.test", "www.go.test", powerdns.RRTypeA))
	s.answers(t, "www.go.test.", dns.TypeA, "192.0.2.", false)
	list, err := c.Zones.List(ctx)
	check(err)
	if len(list) < 2 {
		t.Errorf("%d zones", len(list))
	}
	text, err := c.Zones.Export(ctx, "go.test")
	check(err)
	if !strings.Contains(string(text), "SOA") {
		t.Errorf("%s", text)
	}
	_, err = c.Zones.Notify(ctx, "go.test")
	check(err)
	check(c.Zones.Change(ctx, "go.test", &powerdns.Zone{Kind: powerdns.ZoneKindPtr(powerdns.MasterZoneKind)}))
	key, err := c.TSIGKeys.Create(ctx, "lib", "hmac-sha256", "")
	check(err)
	check(c.TSIGKeys.Delete(ctx, *key.ID))
	if _, err := c.Statistics.Get(ctx, "uptime"); err != nil {
		t.Error(err)
	}
	_, err = c.Servers.CacheFlush(ctx, "localhost", "www.go.test")
	check(err)
	check(c.Zones.Delete(ctx, "go.test"))
	if _, err := c.Zones.Get(ctx, "go.test"); err == nil {
		t.Error("the zone is there still")
	}
}

// TestAPILoad measures what CONFORMANCE_API_LOAD=1 asks for: durable changes of 64 clients in one zone, and
// the list of 100,000 zones, the first octet of which comes while the rest is made.
func TestAPILoad(t *testing.T) {
	if os.Getenv("CONFORMANCE_API_LOAD") == "" {
		t.Skip("CONFORMANCE_API_LOAD=1 measures it")
	}
	for _, kind := range []string{peers.Port53, peers.PDNS} {
		s := startAPI(t, kind)
		if status, answer := s.do(t, "POST", apiZones, apiZone); status != 201 {
			t.Fatal(status, answer)
		}
		var done, failed atomic.Int64
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		var wg sync.WaitGroup
		for i := range 64 {
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
			wg.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					body := fmt.Sprintf(`{"rrsets":[{"name":"h%d.z.test.","type":"A","ttl":60,"changetype":"REPLACE","records":[{"content":"192.0.2.%d","disabled":false}]}]}`, i, n%250)
					req, _ := http.NewRequest("PATCH", s.url+apiZones+"/z.test.", strings.NewReader(body))
					req.Header.Set("X-API-Key", apiSecret)
					resp, err := client.Do(req)
					if err != nil {
						failed.Add(1)
						continue
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					if resp.Body.Close(); resp.StatusCode == 204 {
						done.Add(1)
					} else {
						failed.Add(1)
					}
				}
			})
		}
		wg.Wait()
		cancel()
		t.Logf("%s: %d changes a second, %d failed", kind, done.Load()/5, failed.Load())
	}
	manyZones(t)
}

// manyZones lists 100,000 zones.
func manyZones(t *testing.T) {
	dir, addr, web := t.TempDir(), freeAddr(t), freeAddr(t)
	const zones = 100_000
	var b strings.Builder
	fmt.Fprintf(&b, "role: authoritative\nlisten: [%q]\nstate_dir: state\nmetrics: {listen: off}\napi: {listen: %q}\ntokens: [{name: all, secret_file: token, grants: [{zone: \"*\", verbs: [read]}]}]\nzones:\n", addr, web)
	for i := range zones {
		fmt.Fprintf(&b, "  - {name: z%d.test, file: one.zone}\n", i)
	}
	for name, text := range map[string]string{"port53.yaml": b.String(), "token": apiSecret, "one.zone": "$TTL 60\n@ SOA ns.x. h.x. 1 2 3 4 5\n@ NS ns.x.\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	server, err := peers.Start(ctx, peers.Port53, peers.Options{
		Dir: dir, Addr: addr, Zones: []peers.Zone{{Name: "z1.test."}}, Command: []string{subjectBinary(t, peers.Port53), "serve", "--config", filepath.Join(dir, "port53.yaml")},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	for range 3 {
		before, _ := server.Memory()
		start := time.Now()
		req, _ := http.NewRequest("GET", "http://"+web.String()+apiZones, nil)
		req.Header.Set("X-API-Key", apiSecret)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var first [1]byte
		_, _ = io.ReadFull(resp.Body, first[:])
		byFirst := time.Since(start)
		n, _ := io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		after, _ := server.Memory()
		t.Logf("%d zones: first octet after %s, %d octets after %s, memory %d MiB more", zones, byFirst, n, time.Since(start), (after-before)>>20)
		if byFirst > 50*time.Millisecond {
			t.Errorf("the first octet came after %s", byFirst)
		}
	}
}
