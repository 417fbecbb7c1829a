package zonegen

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"port53/conformance/probe"
)

// The peers read different dialects of the master file: one knows fewer types,
// another allows fewer characters in names. normalize therefore rewrites a file
// into what all of them read: owners with every unusual octet as \DDD, and
// RDATA in its own form where that is plain, else in the generic one (RFC 3597,
// section 5).
func normalize(in, out string) error {
	r, err := os.Open(in)
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	zp := dns.NewZoneParser(bufio.NewReader(r), ".", in)
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		line, err := commonForm(rr)
		if err != nil {
			f.Close()
			return fmt.Errorf("%s: %w", rr, err)
		}
		fmt.Fprintln(w, line)
	}
	if err := zp.Err(); err != nil {
		f.Close()
		return err
	}
	if err := w.Flush(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// commonTypes are those whose own form every server reads.
var commonTypes = []uint16{
	dns.TypeA, dns.TypeNS, dns.TypeCNAME, dns.TypeSOA, dns.TypePTR, dns.TypeMX, dns.TypeTXT, dns.TypeAAAA, dns.TypeSRV, dns.TypeNAPTR,
	dns.TypeDNAME, dns.TypeDS, dns.TypeSSHFP, dns.TypeRRSIG, dns.TypeNSEC, dns.TypeDNSKEY, dns.TypeNSEC3, dns.TypeNSEC3PARAM, dns.TypeTLSA, dns.TypeCAA,
}

// plainText is text in which no server finds anything to object to.
var plainText = regexp.MustCompile(`^[A-Za-z0-9 ._"*+/=:-]*$`)

func commonForm(rr dns.RR) (string, error) {
	h := rr.Header()
	buf := make([]byte, 1<<16+512)
	n, err := dns.PackRR(rr, buf, 0, nil, false)
	if err != nil {
		return "", err
	}
	owner, err := probe.Name(h.Name)
	if err != nil {
		return "", err
	}
	head := fmt.Sprintf("%s %d IN ", strictName(owner), h.Ttl)
	text := strings.ReplaceAll(strings.TrimPrefix(rr.String(), h.String()), "\t", " ")
	mentioned := []uint16{h.Rrtype}
	switch rr := rr.(type) {
	case *dns.RRSIG:
		mentioned = append(mentioned, rr.TypeCovered)
	case *dns.NSEC:
		mentioned = append(mentioned, rr.TypeBitMap...)
	case *dns.NSEC3:
		mentioned = append(mentioned, rr.TypeBitMap...)
	}
	common := plainText.MatchString(text)
	for _, t := range mentioned {
		common = common && slices.Contains(commonTypes, t)
	}
	if common {
		return head + dns.TypeToString[h.Rrtype] + " " + text, nil
	}
	data := buf[len(owner)+10 : n]
	return fmt.Sprintf(`%sTYPE%d \# %d %s`, head, h.Rrtype, len(data), hex.EncodeToString(data)), nil
}

// strictName prints a name with every octet escaped that is not a letter, a
// digit, a hyphen, an underscore or a star.
func strictName(wire []byte) string {
	if wire[0] == 0 {
		return "."
	}
	var b strings.Builder
	for ; wire[0] != 0; wire = wire[1+wire[0]:] {
		for _, c := range wire[1 : 1+wire[0]] {
			if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '*' {
				b.WriteByte(c)
			} else {
				fmt.Fprintf(&b, `\%03d`, c)
			}
		}
		b.WriteByte('.')
	}
	return b.String()
}
