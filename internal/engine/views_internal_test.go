package engine

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"port53/internal/server"
)

// TestChosen has one worker asked by clients that come once or several times in a row, at several addresses
// and ports, with keys and without, while generations change: each has the view that it would have alone.
func TestChosen(t *testing.T) {
	r := rand.New(rand.NewPCG(53, 4))
	address := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}) }
	var generations []*Generation
	for range 4 {
		list, match := make([]View, 3), make([]Match, 3)
		for i := range match {
			switch r.IntN(3) {
			case 0:
				match[i].Listen = []netip.AddrPort{netip.AddrPortFrom(address(r.IntN(2)), uint16(r.IntN(2))*53)}
			case 1:
				match[i].Keys = [][]byte{[]byte("\x01a\x00")}
			}
			match[i].Clients.Allow = []netip.Prefix{netip.PrefixFrom(address(100+r.IntN(4)), 32), netip.PrefixFrom(address(100+r.IntN(4)), 32)}
		}
		v, err := NewViews(list, match)
		if err != nil {
			t.Fatal(err)
		}
		generations = append(generations, &Generation{Views: v})
	}
	w := New(Options{}, Generation{}).newWorker()
	peer := server.Peer{Transport: server.UDP, Local: address(0), LocalPort: 53}
	g, seen := generations[0], map[*View]int{}
	for i := range 20_000 {
		switch r.IntN(8) {
		case 0, 1:
			peer.Remote = netip.AddrPortFrom(address(100+r.IntN(5)), uint16(1024+i%60_000))
		case 2:
			peer.Local = address(r.IntN(2))
		case 3:
			peer.LocalPort = uint16(53 + r.IntN(2)*800)
		case 4:
			g = generations[r.IntN(len(generations))]
		}
		var key []byte
		if r.IntN(4) == 0 {
			key = []byte("\x01a\x00")
		}
		got, want := w.chosen(g, &peer, key), g.view(&peer, key)
		if got != want {
			t.Fatalf("query %d of %v at %v:%d with key %q: another client's view", i, peer.Remote, peer.Local, peer.LocalPort, key)
		}
		seen[want]++
	}
	w.begin(&Generation{}, &peer, nil)
	if w.last.gen != nil {
		t.Error("a generation that is over is kept")
	}
	if len(seen) < 12 {
		t.Errorf("%d views were chosen, of 16", len(seen))
	}
}
