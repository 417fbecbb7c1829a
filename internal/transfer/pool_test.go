package transfer_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/certs"
	"port53/internal/certs/certtest"
	"port53/internal/dnstest"
	"port53/internal/transfer"
	"port53/internal/tsig"
)

// counted is a connection that counts itself as long as it is open.
type counted struct {
	net.Conn
	open *atomic.Int64
}

func (c *counted) Close() error {
	err := c.Conn.Close()
	if c.open != nil {
		c.open.Add(-1)
		c.open = nil
	}
	return err
}

// A fewer is a primary that answers so many questions on each connection, and then does
// something else.
type fewer struct {
	*primary
	most int                    // 0: any number
	then func(conn net.Conn)    // instead of an answer
	more func(conn net.Conn)    // after each
	open atomic.Int64           // connections
	made int                    // so far
	fail func(number int) error // of the n-th connection
}

func (f *fewer) dial(context.Context, string, netip.AddrPort) (net.Conn, error) {
	if f.made++; f.fail != nil && f.fail(f.made) != nil {
		return nil, f.fail(f.made)
	}
	here, there := net.Pipe()
	f.open.Add(1)
	go func() {
		defer there.Close()
		for n := 0; ; n++ {
			var length [2]byte
			if _, err := readFull(there, length[:]); err != nil {
				return
			}
			msg := make([]byte, binary.BigEndian.Uint16(length[:]))
			if _, err := readFull(there, msg); err != nil {
				return
			}
			if f.most > 0 && n >= f.most {
				f.then(there)
				return
			}
			if !f.answer(there, msg) {
				return
			}
			if f.more != nil {
				f.more(there)
			}
		}
	}()
	return &counted{here, &f.open}, nil
}

func readFull(c net.Conn, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var more int
		more, err = c.Read(b[n:])
		n += more
	}
	return n, err
}

// TestPool fetches zones one after the other from servers that keep connections open, end them,
// or answer once on each: whatever they do, each zone comes, over as few connections as they let.
func TestPool(t *testing.T) {
	closes := func(net.Conn) {}
	for name, c := range map[string]*struct {
		server   fewer
		key      *tsig.Key
		pause    time.Duration // between the transfers
		conns    int           // of ten transfers
		most     time.Duration // that all take
		unpooled bool
	}{
		"keeps open":          {conns: 1},
		"with a key":          {key: &key, conns: 1},
		"ends after three":    {server: fewer{most: 3, then: closes}, conns: 8}, // and then each has one of its own
		"ends after each":     {server: fewer{most: 1, then: closes}, conns: 10},
		"does not hear twice": {server: fewer{most: 1, then: func(c net.Conn) { _, _ = c.Read(make([]byte, 1)) }}, conns: 10, most: 3 * time.Second},
		"says more": {server: fewer{more: func(c net.Conn) {
			go func() { _, _ = c.Write(append([]byte{0, 12}, make([]byte, 12)...)) }() // which nobody may read
		}}, conns: 10},
		"is asked seldom": {pause: time.Second, conns: 10, most: 10 * time.Second},
		"no pool":         {conns: 10, unpooled: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &c.server
				s.primary = &primary{t: t, zone: version(t, 7, 3, ""), keys: tsig.NewRing(key)}
				client := transfer.Client{Dial: s.dial, Pool: &transfer.Pool{}}
				if c.unpooled {
					client.Pool = nil
				}
				begun := time.Now()
				for range 10 {
					r, err := client.Fetch(t.Context(), transfer.Primary{Key: c.key}, apex, nil, dnstest.Seed)
					if err != nil || r.Zone.Records() != s.zone.Records() || r.Messages != 1 {
						t.Errorf("%+v %v", r, err)
					}
					synctest.Wait()
					time.Sleep(c.pause)
				}
				if took := time.Since(begun); s.made != c.conns || took > c.most {
					t.Errorf("%d connections, want %d; %v, want %v at most", s.made, c.conns, took, c.most)
				}
				time.Sleep(time.Minute)
				if n := s.open.Load(); n != 0 {
					t.Errorf("%d connections stay open", n)
				}
			})
		})
	}
}

// TestPoolBounds has many transfers at the same time: so many connections are kept, for each server
// and in all, none when the pool is closed, and none afterwards.
func TestPoolBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fewer{}
		s.primary = &primary{t: t, zone: version(t, 7, 3, ""), keys: tsig.NewRing(key)}
		gate := make(chan struct{})
		s.spoil = func(_ int, msg []byte) [][]byte {
			<-gate
			return [][]byte{msg}
		}
		client := transfer.Client{Dial: s.dial, Pool: &transfer.Pool{}}
		fetch := func(servers, each int) {
			for i := range servers * each {
				go func() {
					p := transfer.Primary{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i % servers)}), 53)}
					if _, err := client.Fetch(t.Context(), p, apex, nil, dnstest.Seed); err != nil {
						t.Error(err)
					}
				}()
				synctest.Wait()
			}
			for range servers * each {
				gate <- struct{}{}
				synctest.Wait()
			}
		}
		for _, c := range [][3]int{{1, 40, 16}, {10, 16, 64}} {
			fetch(c[0], c[1])
			if n := s.open.Load(); n != int64(c[2]) {
				t.Errorf("%d servers: %d connections are kept, want %d", c[0], n, c[2])
			}
			time.Sleep(time.Second)
		}
		fetch(1, 3)
		client.Pool.Close()
		if n := s.open.Load(); n != 0 {
			t.Errorf("%d connections are open though the pool is closed", n)
		}
		fetch(1, 3)
		if n := s.open.Load(); n != 0 {
			t.Errorf("%d connections are kept though the pool is closed", n)
		}
		synctest.Wait()
	})
}

// TestPoolTLS fetches a zone from one address as two servers over TLS: what was known of the one is not taken for the other.
func TestPoolTLS(t *testing.T) {
	ca := certtest.New(t)
	c, key := ca.Issue(t.TempDir(), "own", "ns.test")
	own, err := certs.NewManager([]certs.Pair{{Certificate: c, Key: key}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := &primary{t: t, zone: version(t, 7, 3, ""), keys: tsig.NewRing()}
	made := 0
	client := transfer.Client{Pool: &transfer.Pool{}, Dial: func(context.Context, string, netip.AddrPort) (net.Conn, error) {
		made++
		here, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return nil, err
		}
		there, err := l.Accept()
		if err != nil {
			return nil, err
		}
		go func() {
			conn := tls.Server(there, own.Server(nil, certs.DoT))
			defer conn.Close()
			for {
				var length [2]byte
				if _, err := readFull(conn, length[:]); err != nil {
					return
				}
				msg := make([]byte, binary.BigEndian.Uint16(length[:]))
				if _, err := readFull(conn, msg); err != nil || !s.answer(conn, msg) {
					return
				}
			}
		}()
		return here, nil
	}}
	defer client.Pool.Close()
	right, wrong := transfer.NewTLS(&certs.Peer{Name: "ns.test", Roots: ca.Pool}), transfer.NewTLS(&certs.Peer{Name: "other.test", Roots: ca.Pool})
	for i, step := range []struct {
		tls  *transfer.TLS
		may  bool
		made int
	}{{right, true, 1}, {wrong, false, 2}} {
		_, err := client.Fetch(t.Context(), transfer.Primary{TLS: step.tls}, apex, nil, dnstest.Seed)
		if (err == nil) != step.may || made != step.made {
			t.Errorf("step %d: %v, want the zone: %v; %d connections, want %d", i, err, step.may, made, step.made)
		}
	}
}
