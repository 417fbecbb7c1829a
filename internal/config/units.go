package config

import (
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// A unit is what may stand behind a number.
type unit struct {
	name string
	size int64
}

// sizeUnits and timeUnits are ordered from the largest.
func sizeUnits() []unit {
	return []unit{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}
}

// maxFraction is the most digits behind the point of a number with a unit.
const maxFraction = 3

func timeUnits() []unit {
	const day = 24 * int64(time.Hour)
	return []unit{
		{"w", 7 * day},
		{"d", day},
		{"h", int64(time.Hour)},
		{"m", int64(time.Minute)},
		{"s", int64(time.Second)},
		{"ms", int64(time.Millisecond)},
	}
}

// measure reads text as numbers that each carry one of units, such as 1h30m or
// 1.5s. It reports false for all else, a bare number too.
func measure(text string, units []unit) (int64, bool) {
	var sum int64
	if text == "" {
		return 0, false
	}
	for text != "" {
		digits := len(text) - len(strings.TrimLeft(text, "0123456789"))
		n, err := strconv.ParseInt(text[:digits], 10, 64)
		if err != nil {
			return 0, false
		}
		text = text[digits:]
		fraction := ""
		if strings.HasPrefix(text, ".") {
			digits = 1 + len(text[1:]) - len(strings.TrimLeft(text[1:], "0123456789"))
			fraction, text = text[1:digits], text[digits:]
			if len(fraction) == 0 || len(fraction) > maxFraction {
				return 0, false
			}
		}
		letters := strings.IndexAny(text, "0123456789")
		if letters < 0 {
			letters = len(text)
		}
		var size int64
		for _, u := range units {
			if u.name == text[:letters] {
				size = u.size
			}
		}
		if size == 0 || n > (math.MaxInt64-sum)/size {
			return 0, false
		}
		sum += n * size
		if fraction != "" {
			part, _ := strconv.ParseInt(fraction, 10, 64)
			part *= size // below 10^18, for the largest unit is a week
			whole := int64(math.Pow10(len(fraction)))
			if part%whole != 0 || part/whole > math.MaxInt64-sum {
				return 0, false
			}
			sum += part / whole
		}
		text = text[letters:]
	}
	return sum, true
}

// inUnits writes n with the largest unit that leaves a whole number.
func inUnits(n int64, units []unit) string {
	for _, u := range units {
		if n != 0 && n%u.size == 0 {
			return strconv.FormatInt(n/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10) + units[len(units)-1].name
}

// String returns the size as it is written in the file, such as 64MiB.
func (s Size) String() string { return inUnits(int64(s), sizeUnits()) }

// String returns the rate as it is written in the file, such as 20/s.
func (r Rate) String() string { return strconv.Itoa(int(r)) + "/s" }

// ParseDuration reads a duration as the file has them, such as 14d or 1h30m.
func ParseDuration(text string) (time.Duration, bool) {
	n, ok := measure(text, timeUnits())
	return time.Duration(n), ok
}

func durationText(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	if d >= 2*day && d%day == 0 {
		return inUnits(int64(d), timeUnits()[1:]) // 90d: nobody reads 2160h
	}
	return inUnits(int64(d), timeUnits()[2:]) // 24h is clearer than 1d beside 1h
}

func (k *key) parseSize(s scalar) (any, *problem) {
	n, ok := measure(s.text, sizeUnits())
	if !ok {
		hint := ""
		if digits := strings.TrimRight(s.text, "kKmMgGtTbB"); digits != "" && strings.Trim(digits, "0123456789") == "" {
			letters := strings.ToUpper(strings.TrimSuffix(strings.ToUpper(s.text[len(digits):]), "B"))
			if len(letters) == 1 {
				hint = k.propose("write "+digits+letters+"iB", digits+letters+"iB")
			} else if letters == "" {
				hint = "write the unit: B, KiB, MiB, GiB or TiB"
			}
		}
		return nil, expected(k, s, hint)
	}
	if p := k.bounds(s, n, func(t string) int64 { m, _ := measure(t, sizeUnits()); return m }); p != nil {
		return nil, p
	}
	return Size(n), nil
}

func (k *key) parseDuration(s scalar) (any, *problem) {
	n, ok := measure(s.text, timeUnits())
	if !ok {
		hint := ""
		if s.number {
			hint = "write the unit: ms, s, m, h, d or w"
		}
		return nil, expected(k, s, hint)
	}
	if p := k.bounds(s, n, func(t string) int64 { m, _ := measure(t, timeUnits()); return m }); p != nil {
		return nil, p
	}
	return time.Duration(n), nil
}

func (k *key) parsePrefix(s scalar) (any, *problem) {
	prefix, err := netip.ParsePrefix(s.text)
	if err != nil {
		addr, err := netip.ParseAddr(s.text)
		if err != nil || addr.Zone() != "" {
			return nil, expected(k, s, "")
		}
		prefix = netip.PrefixFrom(addr, addr.BitLen())
	}
	if prefix.Addr().Is4In6() {
		return nil, expected(k, s, "write IPv4 networks as IPv4")
	}
	if masked := prefix.Masked(); masked != prefix {
		return nil, expected(k, s, k.masked(masked))
	}
	return prefix, nil
}

func (k *key) parseAddress(s scalar) (any, *problem) {
	if k.form == formAddressOrOff && s.text == "off" {
		return netip.AddrPort{}, nil
	}
	text := s.text
	at, err := netip.ParseAddrPort(text)
	if err != nil {
		if strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
			text = text[1 : len(text)-1]
		}
		addr, err := netip.ParseAddr(text)
		if err != nil {
			if p := badPort(s, k.form == formUpstream || k.form == formServer); p != nil {
				return nil, p
			}
			hint := ""
			switch {
			case strings.HasPrefix(text, "*"), strings.HasPrefix(text, ":"):
				hint = k.allAddresses(text)
			case strings.ContainsAny(text, "abcdefghijklmnopqrstuvwxyz"):
				hint = "names are not looked up: write the address"
			}
			return nil, expected(k, s, hint)
		}
		at = netip.AddrPortFrom(addr, k.port)
	}
	switch {
	case at.Addr().Is4In6():
		return nil, expected(k, s, "write IPv4 addresses as IPv4")
	case at.Addr().IsMulticast() && k.form != formUpstream && k.form != formServer:
		return nil, expected(k, s, "a multicast address cannot be listened on")
	}
	return at, nil
}

// badPort says what is wrong with the port of an address that is right otherwise; else it returns nil.
// A server that is asked has no port 0.
func badPort(s scalar, asked bool) *problem {
	i := strings.LastIndexByte(s.text, ':')
	if i < 0 {
		return nil
	}
	host, port := s.text[:i], s.text[i+1:]
	if _, err := netip.ParseAddrPort(host + ":1"); err != nil {
		return nil
	}
	first := "0"
	if asked {
		first = "1"
	}
	if n, err := strconv.ParseUint(port, 10, 16); err == nil && (n > 0 || !asked) {
		return nil
	}
	return &problem{quote(port) + " in " + s.found() + " is not a port", "ports are numbers from " + first + " to 65535"}
}

// parseUpstream reads the address of a server to ask.
func (k *key) parseUpstream(s scalar) (any, *problem) {
	if before, _, found := strings.Cut(s.text, "://"); found {
		return nil, expected(k, s, k.plainServer(s.text, before+"://"))
	}
	if _, name, found := strings.Cut(s.text, "#"); found {
		return nil, expected(k, s, k.plainServer(s.text, "#"+name))
	}
	v, p := k.parseAddress(s)
	if p != nil {
		return nil, p
	}
	at := v.(netip.AddrPort)
	if hint := unaskable(at.Addr()); hint != "" {
		return nil, expected(k, s, hint)
	}
	if at.Port() == 0 {
		return nil, badPort(s, true)
	}
	return at, nil
}

// unaskable says why an address can be no server's, or nobody's own; else "".
func unaskable(a netip.Addr) string {
	switch {
	case a.IsUnspecified():
		return a.String() + " is the address of no machine"
	case a.IsMulticast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return a.String() + " is the address of many"
	}
	return ""
}

// parseHost reads an address of this machine.
func (k *key) parseHost(s scalar) (any, *problem) {
	a, err := netip.ParseAddr(s.text)
	if err != nil {
		hint := ""
		if _, err := netip.ParseAddrPort(s.text); err == nil {
			hint = k.propose("leave the port out: each query has a source port of its own", netip.MustParseAddrPort(s.text).Addr().String())
		}
		return nil, expected(k, s, hint)
	}
	if a.Is4In6() {
		return nil, expected(k, s, "write IPv4 addresses as IPv4")
	}
	if hint := unaskable(a); hint != "" {
		return nil, expected(k, s, hint)
	}
	return a, nil
}

// The years that the 32 bits of a signature's times can tell apart (RFC 4034,
// section 3.1.5).
const (
	firstYear = 1970
	lastYear  = 2105
)

// parseTime reads a moment (RFC 3339); a date is its beginning in UTC.
func (k *key) parseTime(s scalar) (any, *problem) {
	if k.form == formTimeOrNow && s.text == "now" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.DateOnly, s.text)
	if err != nil {
		if at, err = time.Parse(time.RFC3339, s.text); err != nil {
			hint := ""
			if _, err := time.Parse("2006-01-02T15:04:05", s.text); err == nil {
				hint = k.propose("write the time zone: "+s.text+"Z is in UTC", s.text+"Z")
			}
			return nil, expected(k, s, hint)
		}
	}
	if at = at.UTC(); at.Year() < firstYear || at.Year() > lastYear {
		return nil, expected(k, s, "signatures know the years from "+strconv.Itoa(firstYear)+" to "+strconv.Itoa(lastYear))
	}
	return at, nil
}
