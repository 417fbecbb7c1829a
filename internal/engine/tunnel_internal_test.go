package engine

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/cache"
	"port53/internal/event"
	"port53/internal/resolver"
	"port53/internal/server"
	"port53/internal/top"
	"port53/internal/wire"
)

// TestTunnelActions has the watch for tunnels find one, and the engine do what is to be done about it: nothing, an
// answer a second, or REFUSED with EDE 15. Other clients, other domains and what the cache has are answered.
func TestTunnelActions(t *testing.T) {
	for _, action := range []string{top.TunnelWatch, top.TunnelLimit, top.TunnelBlock} {
		synctest.Test(t, func(t *testing.T) { tryTunnel(t, action) })
	}
}

func tryTunnel(t *testing.T, action string) {
	store := cache.New(cache.Options{Size: 1 << 20})
	config := resolver.Compile(resolver.Settings{IPv4: true})
	r := resolver.New(resolver.Options{Cache: store, Exchanger: deadNetwork{}}, config)
	defer r.Close()
	tunnels := top.NewTunnels(top.TunnelOptions{Action: action})
	e := New(Options{PropagatePanics: true, Blocker: tunnels}, Generation{View: View{Recursion: &Recursion{Cache: store, Resolver: r, Config: config}}})
	w, buf, begun, asked := e.newWorker(), make([]byte, wire.MaxMessage), time.Now(), 0
	late := &stuck{may: make(chan struct{})}
	close(late.may)
	ask := func(client, text string) string {
		t.Helper()
		name, err := wire.ParseName(text)
		if err != nil {
			t.Fatal(err)
		}
		peer := server.Peer{Remote: netip.MustParseAddrPort(client + ":4000"), Transport: server.UDP}
		peer.Later = func(*server.Peer) (server.Responder, error) { return late, nil }
		msg := wire.AppendOPT(wire.AppendQuery(nil, 7, wire.FlagRD, name, wire.TypeTXT), 1232, false, nil)
		msg[11]++
		n := w.Handle(msg, &peer, int64(time.Hour+time.Since(begun)), buf)
		synctest.Wait()
		if n == server.Pending {
			return "asked"
		}
		var m wire.Message
		if bad := m.Parse(buf[:n]); bad != 0 {
			t.Fatal(bad)
		}
		ede := ""
		if data, ok := m.Option(wire.OptionEDE); ok && len(data) >= 2 {
			ede = fmt.Sprintf(" EDE %d", binary.BigEndian.Uint16(data))
		}
		return m.Rcode.String() + ede
	}
	fresh := func(domain string) string { asked++; return fmt.Sprintf("x%d.%s", asked, domain) }
	const bad, good = "192.0.2.7", "192.0.2.8"
	if got := ask(bad, fresh("t.evil.example")); got != "asked" {
		t.Errorf("%s: before it is found: %s", action, got)
	}
	random := rand.New(rand.NewPCG(53, 1))
	for range 300 {
		label := func() (b []byte) {
			for range 60 {
				b = append(b, "abcdefghijklmnopqrstuvwxyz234567"[random.IntN(32)])
			}
			return b
		}
		name, err := wire.ParseName(fmt.Sprintf("%s.%s.%s.t.evil.example", label(), label(), label()))
		if err != nil {
			t.Fatal(err)
		}
		tunnels.Take(&event.Record{
			Path: event.Miss, Remote: netip.MustParseAddrPort(bad + ":4000"), Time: time.Now().UnixNano(), Type: wire.TypeTXT, Name: name, Reply: 300,
		})
	}
	const refused = "REFUSED EDE 15"
	want := map[string][3]string{
		top.TunnelWatch: {"asked", "asked", "asked"}, top.TunnelLimit: {"asked", refused, "asked"}, top.TunnelBlock: {refused, refused, refused},
	}[action]
	var got [3]string
	got[0], got[1] = ask(bad, fresh("t.evil.example")), ask(bad, fresh("t.evil.example"))
	time.Sleep(1100 * time.Millisecond)
	got[2] = ask(bad, fresh("t.evil.example"))
	if got != want {
		t.Errorf("%s: %q, want %q", action, got, want)
	}
	if a, b := ask(good, fresh("t.evil.example")), ask(bad, fresh("good.example")); a != "asked" || b != "asked" {
		t.Errorf("%s: another client: %s, another domain: %s", action, a, b)
	}
	name, _ := wire.ParseName("known.t.evil.example")
	store.Writer().PutAnswer(config.Key(name, wire.TypeTXT, resolver.Wants{}), &cache.Answer{EDE: -1, TTL: 60, Rcode: wire.NXDomain}, store.Now())
	if got := ask(bad, "known.t.evil.example"); got != "NXDOMAIN" {
		t.Errorf("%s: what the cache has: %s", action, got)
	}
}
