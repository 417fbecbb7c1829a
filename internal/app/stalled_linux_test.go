package app_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"port53/internal/dnstest"
	"port53/internal/lab"
	"port53/internal/wire"
)

// upstreams answers names with "big" in them with 47 KB of TXT, over TCP; those with
// "slow" in them not at all; and others with an address.
func upstreams(query []byte, from netip.AddrPort, tcp bool) []byte {
	var q wire.Query
	if q.Parse(query) != 0 {
		return nil
	}
	name := string(q.Name.Name())
	switch {
	case strings.Contains(name, "slow"):
		return nil
	case !strings.Contains(name, "big"):
		return forwarder(80)(query, from, tcp)
	}
	var b wire.Builder
	b.Start(make([]byte, wire.MaxMessage), wire.MaxMessage, 0, &q)
	b.SetFlags(wire.FlagRA)
	if !tcp {
		b.SetFlags(wire.FlagTC)
		return b.Finish(nil, 0)
	}
	for i := range 90 {
		rr := []byte{0xC0, 12, 0, 16, 0, 1, 0, 0, 1, 0, 2, 0, 255}
		rr = append(append(rr, make([]byte, 255)...), 255)
		rr = append(rr, make([]byte, 255)...)
		rr[13] = byte(i)
		copy(b.Grow(wire.Answer, len(rr), 1), rr)
	}
	return b.Finish(nil, 0)
}

// TestStalledClients has clients that pipeline questions for answers of 47 KB over TCP
// and never read, again and again, and a flood of questions that nobody upstream answers.
// Others get what they ask for: what is in the cache, and what is not.
func TestStalledClients(t *testing.T) {
	if testing.Short() {
		t.Skip("it measures whether answers come in time, which says nothing under the race detector: make test runs it")
	}
	const attackers, rounds, tries = 24, 20, 3
	network := lab.NewNet(lab.Options{Seed: 53})
	network.Handle(netip.MustParseAddrPort("192.0.2.1:53"), upstreams)
	r := startResolver(t, network, fmt.Sprintf(resolverYAML, "", 1))
	server := r.Addrs()[0]
	if reply := r.ask("udp", "cached.example. A +rd"); !strings.Contains(reply, "198.51.100.80") {
		t.Fatal(reply)
	}

	stop := make(chan struct{})
	var attack sync.WaitGroup
	defer attack.Wait()
	defer close(stop)
	var number, there atomic.Int64
	wait := func(d time.Duration) (stopped bool) {
		select {
		case <-stop:
			return true
		case <-time.After(d):
			return false
		}
	}
	for a := range attackers {
		attack.Go(func() {
			dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, byte(a%4), byte(1+a%2))}}
			for stopped := false; !stopped; {
				c, err := dialer.Dial("tcp", server.String())
				if err != nil { // its address has too many, whose end the server does not know yet
					stopped = wait(100 * time.Millisecond)
					continue
				}
				_ = c.(*net.TCPConn).SetReadBuffer(2048)
				_ = c.SetDeadline(time.Now().Add(time.Minute))
				for range 40 {
					msg := dnstest.ParseQuestion(t, fmt.Sprintf("big%d.example. TXT +rd", number.Add(1))).Message()
					_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)) // it may be reset
				}
				there.Add(1)
				stopped = wait(4 * time.Second)
				c.Close()
			}
		})
	}
	attack.Go(func() {
		c, err := net.Dial("udp", server.String())
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		for !wait(10 * time.Millisecond) {
			_, _ = c.Write(dnstest.ParseQuestion(t, fmt.Sprintf("slow%d.example. A +rd", number.Add(1))).Message())
		}
	})
	until(t, "the clients that do not read", func() string { return "" }, func() bool { return there.Load() >= attackers })
	for range rounds {
		if reply := r.ask("udp", "cached.example. A +rd"); !strings.Contains(reply, "198.51.100.80") {
			t.Fatalf("a cached name: %q", reply)
		}
		// What comes too late is dropped, and on a busy machine something is late at
		// times: then another name is asked for. The same would be in the cache by now.
		reply := ""
		for try := 0; reply == "" && try < tries; try++ {
			reply = r.ask("udp", fmt.Sprintf("miss%d.example. A +rd", number.Add(1)))
		}
		if !strings.Contains(reply, "198.51.100.80") {
			t.Fatalf("%d names, one after the other, that are not in the cache: %q", tries, reply)
		}
		wait(100 * time.Millisecond) // so that the attack goes on meanwhile
	}
}
