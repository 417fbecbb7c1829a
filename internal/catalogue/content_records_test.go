package catalogue_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"port53/internal/check"
	"port53/internal/finding"
)

// A record is lines of the sound zone, and what the RFC says of them.
type record struct {
	zone  string
	state finding.State
	has   string // of a finding in that state
}

func judgeRecords(t *testing.T, id string, list []record, change func(*check.Options)) {
	t.Helper()
	for i, x := range list {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			got := inWorld(t, id, "victim.com", with(x.zone), change)
			worst := finding.Pass
			for _, f := range got {
				if f.State == finding.Fail || f.State == finding.Warn && worst == finding.Pass || f.State == finding.Unknown {
					worst = f.State
				}
			}
			if worst != x.state || !slices.ContainsFunc(got, func(f finding.Finding) bool { return f.State == x.state && strings.Contains(f.Detail, x.has) }) {
				t.Errorf("%s\nwant %v %s\n%s", x.zone, x.state, x.has, lines(got))
			}
		})
	}
}

// spf is the sound zone with another SPF record.
func spf(text string) string { return `@ TXT "` + text + `"` }

func dmarc(text string) string { return `_dmarc TXT "` + text + `"` }

// TestSPF has SPF records with the verdict of RFC 7208.
func TestSPF(t *testing.T) {
	t.Parallel()
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, " a:h%d.many.net", i)
		}
		return b.String()
	}
	hosts := "\n-- zone many.net. 5.0.0.3 --\n$GENERATE 0-30 h$ A 5.0.3.$\n$GENERATE 0-11 i$ TXT \"v=spf1 ip4:5.0.3.$ -all\"\n$GENERATE 0-11 mx MX $ h$\n"
	judgeRecords(t, "ZONE-MAIL", []record{
		{spf("v=spf1 -all"), finding.Pass, "v=spf1 -all"},
		{spf("v=spf1 mx a ip4:5.0.0.0/24 ip6:2a00::/32 ~all") + "\n@ A 5.0.0.80\n@ MX 10 mail.partner.com.", finding.Pass, "~all"},
		{spf("V=SpF1 IP4:5.0.0.1 -ALL"), finding.Pass, "0 lookups"},                                                         // 4.5, 4.6.1
		{spf("v=spf10 -all"), finding.Fail, "section 4.5"},                                                                  // 4.5
		{"@ TXT v=spf1 include:txt.partner.com -all", finding.Fail, "no SPF"},                                               // 3.3: joined without spaces
		{"@ TXT \"v=spf1 -all\"\n@ TXT \"v=spf1 ~all\"", finding.Fail, "2 SPF records"},                                     // 4.5
		{spf("nothing"), finding.Warn, "no SPF"},                                                                            // 4.5
		{spf("v=spf1 +all"), finding.Fail, "lets everyone send: +all"},                                                      // 5.1
		{spf("v=spf1 all"), finding.Fail, "lets everyone send: all"},                                                        // 4.6.2: + is the default
		{spf("v=spf1 ALL"), finding.Fail, "lets everyone send"},                                                             // 4.6.1
		{spf("v=spf1 ip4:0.0.0.0/0 -all"), finding.Fail, "ip4:0.0.0.0/0"},                                                   // 5.6
		{spf("v=spf1 a:www.partner.com/0 -all"), finding.Fail, "lets everyone send"},                                        // 5.3
		{spf("v=spf1 ?all"), finding.Warn, "?all"},                                                                          // 8.2
		{spf("v=spf1 ip4:5.0.0.1"), finding.Warn, "there is no all"},                                                        // 4.7
		{spf("v=spf1 ip4:5.0.0.256 -all"), finding.Fail, "no address of its family"},                                        // 5.6
		{spf("v=spf1 ip4:5.0.0.0/33 -all"), finding.Fail, "prefix length"},                                                  // 5.6
		{spf("v=spf1 ip6:5.0.0.1 -all"), finding.Fail, "no address of its family"},                                          // 5.6
		{spf("v=spf1 include -all"), finding.Fail, "expected : and a domain"},                                               // 5.2
		{spf("v=spf1 inklude:txt.partner.com -all"), finding.Fail, "no mechanism"},                                          // 4.6.1
		{spf("v=spf1 a: -all"), finding.Fail, "domain is missing"},                                                          // 7.1
		{spf("v=spf1 include:partner -all"), finding.Fail, "two labels"},                                                    // 7.1
		{spf("v=spf1 include:www.partner.com -all"), finding.Fail, "has no SPF record (section 5.2)"},                       // 5.2
		{spf("v=spf1 include:gone.partner.com -all"), finding.Fail, "does not exist (section 5.2)"},                         // 5.2
		{spf("v=spf1 redirect=www.partner.com"), finding.Fail, "section 6.1"},                                               // 6.1
		{spf("v=spf1 redirect=txt.partner.com redirect=txt.partner.com"), finding.Fail, "there twice"},                      // 6
		{spf("v=spf1 -all redirect=txt.partner.com"), finding.Warn, "ignored beside all"},                                   // 6.1
		{spf("v=spf1 -all ip4:5.0.0.1"), finding.Warn, "what follows all is ignored"},                                       // 5.1
		{spf("v=spf1 ptr -all"), finding.Warn, "section 5.5"},                                                               // 5.5
		{spf("v=spf1 exists:%{i -all"), finding.Fail, "macro is malformed"},                                                 // 7.1
		{spf("v=spf1 exists:%{q}.partner.com -all"), finding.Fail, "macro is malformed"},                                    // 7.2
		{spf("v=spf1 exists:%{ir}.%{v}._spf.%{d2} moo.x=%{l} -all"), finding.Pass, "SPF"},                                   // 7, 6: unknown modifiers are passed over
		{spf("v=spf1" + many(10) + " -all" + `"` + hosts + `;"`), finding.Pass, "10 lookups"},                               // 4.6.4
		{spf("v=spf1" + many(11) + " -all" + `"` + hosts + `;"`), finding.Fail, "needs 11 lookups"},                         // 4.6.4
		{spf("v=spf1 mx:mx.many.net -all" + `"` + hosts + `;"`), finding.Fail, "12 MX records"},                             // 4.6.4
		{spf("v=spf1 a:none1.partner.com a:none2.partner.com -all"), finding.Pass, "SPF"},                                   // 4.6.4
		{spf("v=spf1 a:none1.partner.com a:none2.partner.com mx:partner.com -all"), finding.Fail, "3 lookups find nothing"}, // 4.6.4
		{spf("v=spf1 include:loop.victim.com -all") + "\nloop TXT \"v=spf1 include:loop.victim.com -all\"", finding.Fail, "leads back"},
	}, nil)
}

// TestMailRecords has MX, DMARC, DKIM, MTA-STS, TLS-RPT and BIMI records with the verdict of their RFCs.
func TestMailRecords(t *testing.T) {
	t.Parallel()
	const short = "MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKj34GkxFhD90vcNLYLInFEX6Ppy1tPf9Cnzj4p4WGeKLs1Pt8QuKUpRKfFLfRYC9AIKjbJTWit+CqvjWYzvQwECAwEAAQ=="
	judgeRecords(t, "ZONE-MAIL", []record{
		{"@ MX 0 .", finding.Pass, "takes no mail"},                                                                                          // RFC 7505, section 3
		{"@ MX 10 .", finding.Warn, "should have 0"},                                                                                         // RFC 7505, section 3
		{"@ MX 0 .\n@ MX 10 mail.partner.com.", finding.Fail, "null MX beside others"},                                                       // RFC 7505, section 3
		{"@ MX 10 5.0.0.80.", finding.Fail, "is an address"},                                                                                 // RFC 5321, section 5.1
		{"@ MX 10 localhost.", finding.Fail, "no host on the Internet"},                                                                      // RFC 6761, section 6.3
		{dmarc("v=DMARC1; p=none"), finding.Warn, "only watches"},                                                                            // RFC 9989, section 4.7
		{dmarc("V = DMARC1 ; p = Reject"), finding.Pass, "reject"},                                                                           // RFC 9989, section 4.8
		{dmarc("v=dmarc1; p=reject"), finding.Fail, "no DMARC"},                                                                              // RFC 9989, section 4.8
		{dmarc("p=reject; v=DMARC1"), finding.Warn, "no DMARC"},                                                                              // RFC 9989, section 4.8
		{"_dmarc TXT v=DMARC1; p=reject", finding.Fail, "no DMARC"},                                                                          // the file's comment: no p=
		{dmarc("v=DMARC1; p=rejekt"), finding.Fail, "no DMARC"},                                                                              // RFC 7489, section 6.6.3
		{dmarc("v=DMARC1; p=rejekt; rua=mailto:d@victim.com"), finding.Warn, "taken for p=none"},                                             // RFC 7489, section 6.6.3
		{dmarc("v=DMARC1; rua=mailto:d@victim.com"), finding.Warn, "taken for p=none"},                                                       // RFC 7489, section 6.6.3
		{"_dmarc TXT \"v=DMARC1; p=reject\"\n_dmarc TXT \"v=DMARC1; p=none\"", finding.Fail, "2 DMARC records"},                              // RFC 9989, section 4.10.1
		{dmarc("v=DMARC1; p=reject; p=none"), finding.Fail, "there twice"},                                                                   // RFC 6376, section 3.2
		{dmarc("v=DMARC1; p=reject; sp=none"), finding.Warn, "sp=none"},                                                                      // RFC 9989, section 4.7
		{dmarc("v=DMARC1; p=reject; np=none"), finding.Warn, "np=none"},                                                                      // RFC 9989, section 4.7
		{dmarc("v=DMARC1; p=reject; t=y"), finding.Warn, "t=y"},                                                                              // RFC 9989, section 4.7
		{dmarc("v=DMARC1; p=reject; pct=10"), finding.Warn, "pct"},                                                                           // RFC 9989, appendix
		{dmarc("v=DMARC1; p=reject; rua=d@victim.com"), finding.Warn, "is no URI"},                                                           // RFC 9990, section 3
		{dmarc("v=DMARC1; p=reject; rua=mailto:d@relay.net") + "\n-- zone relay.net. 5.0.0.3 --", finding.Warn, "_report._dmarc.relay.net."}, // RFC 9990, section 4
		{dmarc("v=DMARC1; p=reject; rua=mailto:d@partner.com"), finding.Pass, "reject"},                                                      // RFC 9990, section 4
		{dmarc("v=DMARC1; p=reject; adkim=x"), finding.Warn, "neither r nor s"},                                                              // RFC 9989, section 4.7
		{dmarc("v=DMARC1; p=reject; unknown=1"), finding.Warn, "not known"},                                                                  // RFC 9989, section 4.7
		{"google._domainkey TXT \"v=DKIM1; k=rsa; p=" + short + "\"", finding.Fail, "512 bits"},                                              // RFC 8301, section 3.2
		{"google._domainkey TXT \"v=DKIM1; k=ed25519; p=AAAA\"", finding.Fail, "3 octets"},                                                   // RFC 8463, section 4
		{"google._domainkey TXT \"v=DKIM1; p=\"", finding.Pass, "revoked"},                                                                   // RFC 6376, section 3.6.1
		{"google._domainkey TXT \"k=rsa; v=DKIM1; p=AAAA\"", finding.Fail, "the first tag"},                                                  // RFC 6376, section 3.6.1
		{"google._domainkey TXT \"v=DKIM1; p=!!\"", finding.Fail, "no base64"},                                                               // RFC 6376, section 3.6.1
		{"_mta-sts TXT \"v=STSv1; id=20260101\"\nmta-sts A 5.0.0.80", finding.Pass, "MTA-STS"},                                               // RFC 8461, section 3.1
		{"_mta-sts TXT \"v=STSv1; id=2026-01-01\"\nmta-sts A 5.0.0.80", finding.Fail, "letters and digits"},                                  // RFC 8461, section 3.1
		{"_mta-sts TXT \"v=STSv1; id=1\"", finding.Fail, "policy's host"},                                                                    // RFC 8461, section 3.3
		{"_mta-sts TXT \"v=STSv1; id=1\"\n_mta-sts TXT \"v=STSv1; id=2\"\nmta-sts A 5.0.0.80", finding.Fail, "as good as none"},              // RFC 8461, section 3.1
		{"_smtp._tls TXT \"v=TLSRPTv1; rua=mailto:t@victim.com,https://victim.com/t\"", finding.Pass, "TLS-RPT"},                             // RFC 8460, section 3
		{"_smtp._tls TXT \"v=TLSRPTv1; rua=t@victim.com\"", finding.Fail, "neither mailto: nor https:"},                                      // RFC 8460, section 3
		{"_smtp._tls TXT \"v=TLSRPTv1;\"", finding.Fail, "no rua="},                                                                          // RFC 8460, section 3
		{"default._bimi TXT \"v=BIMI1; l=http://victim.com/m.svg\"", finding.Fail, "no https: URI"},
		{"default._bimi TXT \"v=BIMI1; l=https://victim.com/m.svg; a=\"", finding.Pass, "BIMI"},
	}, nil)
	named := func(o *check.Options) { o.Selectors = []string{"own"} }
	judgeRecords(t, "ZONE-MAIL", []record{
		{"", finding.Fail, "no DKIM key is at the selector own"},
		{"own._domainkey TXT \"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"", finding.Pass, "own: Ed25519"},
		{"own._domainkey TXT \"hello\"", finding.Fail, "no tag"},
	}, named)
}

// TestCAARecords has CAA records with the verdict of RFC 8659, RFC 8657 and RFC 9495.
func TestCAARecords(t *testing.T) {
	t.Parallel()
	judgeRecords(t, "ZONE-CAA", []record{
		{`@ CAA 0 issue "ca.example.net"`, finding.Pass, "ca.example.net may issue"}, // RFC 8659, section 4.2
		{`@ CAA 0 issue ";"`, finding.Pass, "nobody may issue"},                      // RFC 8659, section 4.2
		{"@ CAA 0 issue \"a.example.net\"\n@ CAA 0 issue \"b.example.net\"", finding.Pass, "a.example.net, b.example.net"},
		{"@ CAA 0 issue \";\"\n@ CAA 0 issue \"b.example.net\"", finding.Pass, "b.example.net may"},                // additive
		{`@ CAA 0 ISSUE "ca.example.net"`, finding.Pass, "ca.example.net"},                                         // RFC 8659, section 4.1: matching in any case
		{`@ CAA 0 issue "%%%%%"`, finding.Fail, "it lets nobody issue"},                                            // RFC 8659, section 4.2
		{`@ CAA 0 issue "ca.example.net; account=1234"`, finding.Pass, "ca.example.net"},                           // RFC 8659, section 4.2
		{`@ CAA 0 issue "ca.example.net account=1234"`, finding.Fail, "is no domain"},                              // RFC 8659, section 4.2
		{`@ CAA 0 issue "ca.example.net; policy"`, finding.Fail, "expected tag=value"},                             // RFC 8659, section 4.2
		{`@ CAA 0 isue "ca.example.net"`, finding.Warn, "is issue meant?"},                                         // RFC 8659, section 4.1
		{`@ CAA 128 tbs "Unknown"`, finding.Fail, "nobody may issue certificates"},                                 // RFC 8659, section 4.5
		{`@ CAA 0 tbs "Unknown"`, finding.Warn, "not known"},                                                       // RFC 8659, section 4.1
		{`@ CAA 128 issue "ca.example.net"`, finding.Pass, "ca.example.net"},                                       // RFC 8659, section 4.5
		{`@ CAA 1 issue "ca.example.net"`, finding.Warn, "reserved"},                                               // RFC 8659, section 4.1
		{"@ CAA 0 issue \"ca.example.net\"\n@ CAA 0 issuewild \";\"", finding.Pass, "ca.example.net"},              // RFC 8659, section 4.3
		{`@ CAA 0 iodef "mailto:ca@partner.com"`, finding.Warn, "no issue property"},                               // RFC 8659, section 4.2
		{"@ CAA 0 issue \"ca.example.net\"\n@ CAA 0 iodef \"ca@partner.com\"", finding.Warn, "section 4.4"},        // RFC 8659, section 4.4
		{`@ CAA 0 issue "ca.example.net; accounturi=https://ca.example.net/a/1"`, finding.Pass, "ca.example.net"},  // RFC 8657, section 3
		{`@ CAA 0 issue "ca.example.net; accounturi=1"`, finding.Fail, "RFC 8657, section 3"},                      // RFC 8657, section 3
		{`@ CAA 0 issue "ca.example.net; validationmethods=dns-01,http-01"`, finding.Pass, "ca.example.net"},       // RFC 8657, section 4
		{`@ CAA 0 issue "ca.example.net; validationmethods=dns_01"`, finding.Fail, "RFC 8657, section 4"},          // RFC 8657, section 4
		{"@ CAA 0 issue \"ca.example.net\"\n@ CAA 0 issuemail \"ca.example.net\"", finding.Pass, "ca.example.net"}, // RFC 9495, section 3
		{"@ CAA 0 issue \"ca.example.net\"\n@ CAA 0 issuemail \"%%\"", finding.Fail, "issuemail"},                  // RFC 9495, section 3
	}, nil)
}
