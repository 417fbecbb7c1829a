package check

import (
	"bytes"
	"context"
	"net/netip"
	"strings"
	"sync"
	"time"

	"port53/internal/wire"
)

// The bounds of looking at what listens where a name server should.
const (
	bannerWait = time.Second // for a service that speaks first
	bannerMost = 512         // octets of what it says
)

// A banner is how a service begins that is no name server.
type banner struct{ begins, service string }

func banners() []banner {
	return []banner{
		{"HTTP/", "HTTP"},
		{"<!DOCTYPE", "HTTP"},
		{"<html", "HTTP"},
		{"SSH-", "SSH"},
		{"220 ", "SMTP or FTP"},
		{"220-", "SMTP or FTP"},
		{"+OK", "POP3"},
		{"* OK", "IMAP"},
		{"RFB ", "VNC"},
		{"\x16\x03", "TLS"},
		{"\x15\x03", "TLS"},
		{"-ERR", "Redis"},
		{"ERROR", "memcached"},
	}
}

// stranger tells what listens at the server's TCP port, which is open, and does not answer questions;
// "" is nothing that says so.
func stranger(ctx context.Context, r *Run) string {
	// It may speak first, or want to be spoken to; a question is nothing that HTTP knows.
	says := [...]string{"", "GET / HTTP/1.0\r\n\r\n", "\r\n\r\n"}
	var heard [len(says)][]byte
	var wg sync.WaitGroup
	for i, say := range says {
		wg.Go(func() { heard[i] = hear(ctx, r, r.Server.Addr, say) })
	}
	wg.Wait()
	for _, said := range heard {
		for _, b := range banners() {
			if bytes.HasPrefix(said, []byte(b.begins)) {
				return b.service
			}
		}
	}
	for _, said := range heard {
		if len(said) > 0 {
			first, _, _ := strings.Cut(string(said[:min(len(said), 40)]), "\n")
			return "something that says \"" + wire.Printable(strings.TrimSpace(first)) + "\""
		}
	}
	return ""
}

// hear connects, says something, and returns what comes back.
func hear(ctx context.Context, r *Run, at netip.AddrPort, say string) []byte {
	d := r.dialer()
	d.Timeout = min(d.Timeout, bannerWait)
	c, err := d.Open(ctx, "tcp", at)
	if err != nil {
		return nil
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(min(bannerWait, r.Timeout())))
	if _, err := c.Write([]byte(say)); err != nil {
		return nil
	}
	buf := make([]byte, bannerMost)
	n, _ := c.Read(buf)
	return buf[:n]
}
