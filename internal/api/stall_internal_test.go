package api

import (
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"
)

// A client that asks and takes no answer does not keep its place: whoever has no token, too, could have
// taken all of them for good.
func TestStalledClient(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &bounded{Listener: l, free: make(chan struct{}, 1), stall: 50 * time.Millisecond}
	failed := make(chan error, 1)
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		var err error
		for room := make([]byte, 1<<16); err == nil; {
			_, err = w.Write(room)
		}
		failed <- err
	})}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(b) }()
	defer func() {
		s.Close()
		<-ended
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-failed:
	case <-time.After(20 * time.Second):
		t.Fatal("the client keeps its place")
	}
}
