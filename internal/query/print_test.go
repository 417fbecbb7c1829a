package query_test

import (
	"testing"

	"port53/internal/query"
	"port53/internal/wire"
)

// TestPrint prints one reply in several styles, column by column as dig does.
func TestPrint(t *testing.T) {
	q := question(t, "www.example.", wire.TypeA)
	soa := record(t, wire.Authority, "example.", wire.TypeSOA, string(name(t, "ns.example."))+string(name(t, "a.example."))+
		"\x00\x00\x00\x01\x00\x00\x1c\x20\x00\x00\x0e\x10\x00\x12\x75\x00\x00\x00\x01\x2c")
	key := record(t, wire.Additional, "example.", wire.TypeDNSKEY, "\x01\x01\x03\x0dkey")
	r := reply(q, answer(q.Append(nil, 1, nil), wire.FlagAA, record(t, wire.Answer, "www.example.", wire.TypeA, "\xc0\x00\x02\x01"), soa, key))
	parts := query.Style{Sections: [3]bool{true, true, true}}
	with := func(change func(*query.Style)) query.Style {
		s := parts
		change(&s)
		return s
	}
	tests := []struct {
		what  string
		style query.Style
		want  string
	}{
		{"usual", query.DefaultStyle(), `;; Got answer:
;; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: 1
;; flags: qr aa rd; QUERY: 1, ANSWER: 1, AUTHORITY: 1, ADDITIONAL: 1
;; WARNING: recursion requested but not available

;; QUESTION SECTION:
;www.example.			IN	A

;; ANSWER SECTION:
www.example.		3600	IN	A	192.0.2.1

;; AUTHORITY SECTION:
example.		3600	IN	SOA	ns.example. a.example. 1 7200 3600 1209600 300

;; ADDITIONAL SECTION:
example.		3600	IN	DNSKEY	257 3 13 a2V5

;; Query time: 1 msec
;; SERVER: 192.0.2.53#53(192.0.2.53) (UDP)
;; WHEN: Sun Nov 01 12:00:00 UTC 2026
;; MSG SIZE  rcvd: 144

`},
		{"short", query.Style{Short: true}, "192.0.2.1\n"},
		{"short, identified", query.Style{Short: true, Identify: true, Micro: true}, "192.0.2.1 from server 192.0.2.53 in 1500 us.\n"},
		{"many lines", with(func(s *query.Style) { s.Multiline, s.Units = true, true }), `www.example.		1h	IN	A	192.0.2.1
example.		1h	IN	SOA	ns.example. a.example. (
				1          ; serial
				7200       ; refresh (2h)
				3600       ; retry (1h)
				1209600    ; expire (2w)
				300        ; minimum (5m)
				)
example.		1h	IN	DNSKEY	257 3 13 (
				a2V5
				) ; KSK; alg = ECDSAP256SHA256 ; key id = 59507
`},
		{"without TTL, class and keys", with(func(s *query.Style) { s.NoTTL, s.NoClass, s.NoCrypto = true, true, true }), `www.example.		A	192.0.2.1
example.		SOA	ns.example. a.example. 1 7200 3600 1209600 300
example.		DNSKEY	257 3 13 [key id = 59507]
`},
		{"unknown", query.Style{Sections: [3]bool{true, false, false}, Generic: true}, "www.example.		3600	CLASS1	TYPE1	\\# 4 C0000201\n"},
		{"comments", query.Style{Sections: [3]bool{false, false, true}, Notes: true}, "example.		3600	IN	DNSKEY	257 3 13 a2V5  ; KSK; alg = ECDSAP256SHA256 ; key id = 59507\n"},
	}
	for _, tt := range tests {
		if got := string(tt.style.AppendReply(nil, r)); got != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.what, got, tt.want)
		}
	}
}
