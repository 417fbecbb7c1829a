package catalogue

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"port53/internal/certs"
	"port53/internal/check"
	"port53/internal/finding"
	"port53/internal/quic"
	"port53/internal/wire"
)

// What the checks of encrypted transports judge by.
const (
	certSoon = 14 * 24 * time.Hour // two weeks: a renewal that failed twice
	dohGet   = 4096                // octets of a GET that a question can need
	dohBody  = 65536
)

// encryptedChecks returns the checks of encrypted transports.
func encryptedChecks() []*check.Check {
	return described(GroupEncrypted, check.ScopeServer, "encrypted.txt", []*check.Check{
		{Check: finding.Check{ID: "DOT-CERT", Severity: finding.SevMedium}, Needs: check.Needs{Port: check.PortTLS}, Run: runDoT},
		{
			Check: finding.Check{ID: "DOH-GET", Severity: finding.SevMedium},
			Needs: check.Needs{Port: check.PortTLS},
			Run:   dohRun("GET", "?dns="+strings.Repeat("A", dohGet+512), "", 0, judgeGET),
		},
		{
			Check: finding.Check{ID: "DOH-POST", Severity: finding.SevMedium},
			Needs: check.Needs{Port: check.PortTLS},
			Run:   dohRun("POST", "", "application/dns-message", dohBody, judgePOST),
		},
		{
			Check: finding.Check{ID: "DOH-TYPE", Severity: finding.SevMedium},
			Needs: check.Needs{Port: check.PortTLS},
			Run:   dohRun("POST", "", "text/plain", 40, judgeMedia),
		},
		{
			Check: finding.Check{ID: "DOH-HEADERS", Severity: finding.SevLow},
			Needs: check.Needs{Port: check.PortTLS},
			Run:   dohRun("POST", "", "application/dns-message", 1, judgeHeaders),
		},
		{Check: finding.Check{ID: "DOQ-CERT", Severity: finding.SevMedium}, Needs: check.Needs{Port: check.PortTLS}, Run: runDoQ},
		{
			Check: finding.Check{ID: "DDR", Severity: finding.SevLow},
			Needs: check.Needs{Port: check.PortTLS},
			Run:   single(func(*check.Run) check.Query { return check.RD(mustName("_dns.resolver.arpa"), wire.TypeSVCB) }, judgeDDR),
		},
		{Check: finding.Check{ID: "DDR-LISTEN", Severity: finding.SevMedium}, Run: runDesignated},
	})
}

// tlsPort returns where the server has an encrypted service.
func tlsPort(r *check.Run, usual, set uint16) netip.AddrPort {
	if set != 0 {
		usual = set
	}
	return netip.AddrPortFrom(r.Server.Addr.Addr(), usual)
}

func runDoT(ctx context.Context, r *check.Run) []finding.Finding {
	addr := tlsPort(r, 853, r.Options.PortDoT)
	host := strings.TrimSuffix(wire.NameText(r.Server.Name), ".")
	ev := finding.Evidence{
		N:       1,
		Command: fmt.Sprintf("openssl s_client -connect %s -alpn dot -servername '%s'", addr, strings.ReplaceAll(host, "'", "")),
	}
	// The certificate is judged, not trusted: nothing is said over the connection.
	d := tls.Dialer{
		NetDialer: &net.Dialer{Timeout: r.StepTimeout()},
		Config:    &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"dot"}, ServerName: host, MinVersion: tls.VersionTLS10},
	}
	c, err := d.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return finding.Unmeasured(ev, check.StableError(err))
	}
	defer c.Close()
	st := c.(*tls.Conn).ConnectionState()
	s, detail := judgeCert(st, certs.DoT, host, r.Options.Lab.TLSRoots, r.Clock())
	return finding.Verdict(s, ev, "%s", detail)
}

// judgeCert judges what a TLS connection shows.
func judgeCert(st tls.ConnectionState, protocol, host string, roots *x509.CertPool, now time.Time) (finding.State, string) {
	if len(st.PeerCertificates) == 0 {
		return finding.Fail, "no certificate"
	}
	leaf := st.PeerCertificates[0]
	between := x509.NewCertPool()
	for _, c := range st.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now})
	switch {
	case now.After(leaf.NotAfter):
		return finding.Fail, "expired on " + leaf.NotAfter.Format(time.DateOnly)
	case now.Before(leaf.NotBefore):
		return finding.Fail, "not valid before " + leaf.NotBefore.Format(time.DateOnly)
	case err != nil:
		return finding.Warn, "the certificate is not trusted"
	case host != "" && leaf.VerifyHostname(host) != nil:
		return finding.Warn, "the certificate is another name's"
	case leaf.NotAfter.Sub(now) < certSoon:
		return finding.Warn, "it expires on " + leaf.NotAfter.Format(time.DateOnly)
	case st.Version < tls.VersionTLS12:
		return finding.Warn, "TLS before 1.2"
	case st.NegotiatedProtocol != protocol:
		return finding.Warn, "no ALPN " + protocol
	}
	return finding.Pass, "good until " + leaf.NotAfter.Format(time.DateOnly)
}

// dohRun makes a Run that sends one request to /dns-query.
func dohRun(
	method, query, media string,
	size int,
	judge func(*http.Response) (finding.State, string),
) func(context.Context, *check.Run) []finding.Finding {
	return func(ctx context.Context, r *check.Run) []finding.Finding {
		url := "https://" + tlsPort(r, 443, r.Options.PortDoH).String() + "/dns-query" + query
		ev := finding.Evidence{
			N: 1,
			Command: fmt.Sprintf(
				"curl -sk -o /dev/null -w '%%{http_code}\\n' -X %s -H 'content-type: %s' --data-binary @<(head -c %d /dev/zero) '%s'",
				method,
				media,
				size,
				url,
			),
		}
		ctx, cancel := context.WithTimeout(ctx, 4*r.StepTimeout()) // to connect, TLS, to send and to be answered
		defer cancel()
		var body io.Reader
		if size > 0 {
			body = bytes.NewReader(make([]byte, size))
		}
		req, err := http.NewRequestWithContext(ctx, method, url, body)
		if err != nil {
			return finding.Unmeasured(ev, err)
		}
		if media != "" {
			req.Header.Set("Content-Type", media)
		}
		tr := &http.Transport{
			TLSClientConfig:        &tls.Config{InsecureSkipVerify: true},
			ForceAttemptHTTP2:      true,
			DisableKeepAlives:      true,
			MaxResponseHeaderBytes: dohBody,
			TLSHandshakeTimeout:    r.StepTimeout(),
			ResponseHeaderTimeout:  r.StepTimeout(),
		}
		defer tr.CloseIdleConnections()
		res, err := tr.RoundTrip(req)
		if err != nil {
			return finding.Unmeasured(ev, check.StableError(err))
		}
		defer res.Body.Close()
		if res.StatusCode == http.StatusNotFound {
			return finding.Unmeasured(ev, fmt.Errorf("no DNS over HTTPS at /dns-query: %w", finding.ErrInapplicable))
		}
		s, detail := judge(res)
		return finding.Verdict(s, ev, "%s", detail)
	}
}

func judgeGET(res *http.Response) (finding.State, string) {
	if res.StatusCode < 300 {
		return finding.Warn, "a GET of over 4 kB is accepted"
	}
	return finding.Pass, res.Status
}

func judgePOST(res *http.Response) (finding.State, string) {
	if res.StatusCode < 300 {
		return finding.Warn, "a body of 64 kB is accepted"
	}
	return finding.Pass, res.Status
}

func judgeMedia(res *http.Response) (finding.State, string) {
	if res.StatusCode < 300 {
		return finding.Warn, "text is accepted"
	}
	return finding.Pass, res.Status
}

func judgeHeaders(res *http.Response) (finding.State, string) {
	if res.Header.Get("Set-Cookie") != "" {
		return finding.Warn, "clients are tracked by cookies"
	}
	return finding.Pass, "no cookie; HSTS: " + fmt.Sprint(res.Header.Get("Strict-Transport-Security") != "")
}

func runDoQ(ctx context.Context, r *check.Run) []finding.Finding {
	addr := tlsPort(r, 853, r.Options.PortDoT)
	host := strings.TrimSuffix(wire.NameText(r.Server.Name), ".")
	ev := finding.Evidence{N: 1, Command: fmt.Sprintf("kdig +quic @%s -p %d -t SOA .", addr.Addr(), addr.Port())}
	ctx, cancel := context.WithTimeout(ctx, r.StepTimeout())
	defer cancel()
	socket, err := (&net.Dialer{}).DialContext(ctx, "udp", addr.String())
	if err != nil {
		return finding.Unmeasured(ev, check.StableError(err))
	}
	// As with TLS, the certificate is judged, not trusted: nothing is asked.
	config := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{certs.DoQ}, ServerName: host, MinVersion: tls.VersionTLS13}
	c, err := quic.Dial(ctx, socket, config)
	if err != nil {
		return finding.Unmeasured(ev, check.StableError(err))
	}
	defer c.Close()
	s, detail := judgeCert(c.State(), certs.DoQ, host, r.Options.Lab.TLSRoots, r.Clock())
	return finding.Verdict(s, ev, "%s", detail)
}

func judgeDDR(_ *check.Run, m *check.Reply) (finding.State, string) {
	for _, rr := range m.In(wire.Answer, wire.TypeSVCB) {
		if !bytes.Contains(rr.Data, []byte{0, 1}) ||
			!bytes.Contains(rr.Data, []byte("dot")) && !bytes.Contains(rr.Data, []byte("h2")) && !bytes.Contains(rr.Data, []byte("doq")) {
			return finding.Warn, "a service without a known protocol"
		}
	}
	return finding.Pass, fmt.Sprintf("%d designated resolvers", len(m.In(wire.Answer, wire.TypeSVCB)))
}
