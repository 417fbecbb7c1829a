package catalogue

import (
	"encoding/binary"
	"fmt"
	"strings"

	"port53/internal/finding"
	"port53/internal/wire"
)

// The rules of this file judge what is in a zone, wherever its records come from: they know no
// server and no question. The checks of zones ask for the records and hand them over; what
// looks at a zone file without a network, as port53 zone check does, can hand over its own.

// What the rules judge by.
const (
	refreshMin = 14400  // seconds (RIPE-203 and RFC 1912, section 2.2)
	expireMin  = 604800 // a week
	negMin     = 300
	negMax     = 86400
	ttlMin     = 60
	ttlMax     = 7 * 86400
)

// A rule judges one set at a zone's apex. A set without records is one that is not there.
type rule func(set *wire.RRset) (finding.State, string)

// judgeSOA judges the times of a SOA record (RFC 1912, section 2.2).
func judgeSOA(set *wire.RRset) (finding.State, string) {
	data := set.Data
	if len(data) == 0 || len(data[0]) < 22 {
		return finding.Unknown, "no SOA"
	}
	n := data[0][len(data[0])-20:]
	refresh, retry, expire, neg := binary.BigEndian.Uint32(
		n[4:],
	), binary.BigEndian.Uint32(
		n[8:],
	), binary.BigEndian.Uint32(
		n[12:],
	), binary.BigEndian.Uint32(
		n[16:],
	)
	detail := fmt.Sprintf("refresh %d, retry %d, expire %d, minimum %d", refresh, retry, expire, neg)
	if refresh < refreshMin || retry >= refresh || expire < expireMin || neg < negMin || neg > negMax {
		return finding.Warn, detail
	}
	return finding.Pass, detail
}

// judgeTTL judges the TTL of the set of name servers.
func judgeTTL(set *wire.RRset) (finding.State, string) {
	if set.TTL < ttlMin || set.TTL > ttlMax {
		return finding.Warn, fmt.Sprintf("NS has TTL %d", set.TTL)
	}
	return finding.Pass, fmt.Sprintf("NS has TTL %d", set.TTL)
}

// judgeTXT looks for secrets in TXT records, and at their size.
func judgeTXT(set *wire.RRset) (finding.State, string) {
	size := 0
	for _, d := range set.Data {
		size += len(d)
		s := strings.ToLower(joinTXT(d))
		for _, p := range []string{
			"-----begin", "aws_secret", "password=", "passwd=", "private_key", "api_key=", "apikey=",
			"ghp_", "xoxb-", "akia",
		} {
			if strings.Contains(s, p) {
				return finding.Warn, "TXT holds what looks like a secret (" + p + ")"
			}
		}
	}
	if size > udpMax {
		return finding.Warn, fmt.Sprintf("%d octets of TXT at the apex", size)
	}
	return finding.Pass, fmt.Sprintf("%d octets of TXT at the apex", size)
}

// strings of TXT data, joined (RFC 7208, section 3.3).
func joinTXT(data []byte) string {
	var b strings.Builder
	for len(data) > 0 {
		n := min(int(data[0]), len(data)-1)
		b.Write(data[1 : 1+n])
		data = data[1+n:]
	}
	return b.String()
}
