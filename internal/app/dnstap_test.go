package app_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"
)

// TestDnstap has what a client asks, and is told, come to the collector that the configuration names.
func TestDnstap(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := start(t, "metrics: {listen: off}\ndnstap: {address: \""+l.Addr().String()+"\", identity: ns1}\n")
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	ready := make([]byte, 42)
	if _, err := io.ReadFull(c, ready); err != nil {
		t.Fatal(err)
	}
	ready[11] = 1 // READY becomes ACCEPT
	if _, err := c.Write(ready); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, ready); err != nil || ready[11] != 2 {
		t.Fatalf("%x, %v: want START", ready, err)
	}
	done := make(chan bool)
	go func() {
		defer close(done)
		for {
			select {
			case done <- true:
				return
			case <-time.After(10 * time.Millisecond):
				r.ask("tcp", "ns.test. A") // which has no rate limit
			}
		}
	}()
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		t.Fatal(err)
	}
	frame := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(c, frame); err != nil || !bytes.Contains(frame, []byte("ns1")) || !bytes.Contains(frame, []byte("\x02ns\x04test\x00")) {
		t.Errorf("%q, %v", frame, err)
	}
	<-done
}
