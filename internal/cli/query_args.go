package cli

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"port53/internal/certs"
	"port53/internal/exchange"
	"port53/internal/query"
	"port53/internal/wire"
)

// A way is what is done with a question.
type way uint8

const (
	askServer way = iota
	traceIt
	validateIt
	explainIt
)

// An asking is one question of the command line and all that was said about it.
//
// In one piece: it has a field for each thing that can be said about a question.
type asking struct {
	q     exchange.Question
	route exchange.Route
	style query.Style

	named, typed bool   // the name, the type was given
	notType      string // the name as it was written, if a type may have been meant
	own          bool   // the type was given for this name, not for all
	server       string
	port         uint16
	family       int // 4, 6 or 0: both
	way          way
	asJSON       bool
	asYAML       bool
	noTCP        bool // +notcp was said
	seal         sealing
	written      string
	idnIn        bool // names beyond ASCII are meant as people write them (IDNA); else as octets
	nssearch     bool
	search       searching
	next         bool // SERVFAIL: ask the next server

	resolvConf string
	rootHints  string
	anchors    string
	when       time.Time // zero: now
	config     string    // of the port53 that --explain asks
	socket     string
	view       viewChoice // whose answer --explain is about
}

// newAsking returns what holds unless something else is said.
func newAsking() asking {
	return asking{
		q: exchange.Question{
			Name: wire.Root, Type: wire.TypeA, Class: wire.ClassIN, Flags: wire.FlagRD | wire.FlagAD,
			EDNS: true, UDPSize: exchange.UDPSize, Cookie: true,
		},
		style: query.DefaultStyle(), port: 53, next: true, resolvConf: query.ResolvConf, config: defaultConfig,
		search: searching{ndots: -1}, idnIn: true,
	}
}

// clone returns a copy to which options can be added.
func (a *asking) clone() asking {
	c := *a
	c.q.Options = append([]exchange.Option(nil), a.q.Options...)
	c.seal.pins = append([]certs.Pin(nil), a.seal.pins...)
	return c
}

// A queryOption is one option, by its own name and by dig's. Those without arg are
// on or off.
type queryOption struct {
	long  string // --long, and --no-long if it is on or off
	short byte   // -s
	plus  string // dig's names: +plus, and +noplus
	arg   string // what it takes, as in help; in brackets if it may be left out; "" if nothing
	help  string
	set   func(a *asking, arg string, on bool) error
}

// onOff returns a setter of a field.
func onOff(field func(*asking) *bool) func(*asking, string, bool) error {
	return func(a *asking, _ string, on bool) error {
		*field(a) = on
		return nil
	}
}

// flag returns a setter of a header flag.
func flag(bit uint16) func(*asking, string, bool) error {
	return func(a *asking, _ string, on bool) error {
		a.q.Flags &^= bit
		if on {
			a.q.Flags |= bit
		}
		return nil
	}
}

// text returns a setter of a string.
func text(field func(*asking) *string) func(*asking, string, bool) error {
	return func(a *asking, arg string, _ bool) error {
		*field(a) = arg
		return nil
	}
}

// refuse returns a setter that says why not.
func refuse(format string, args ...any) func(*asking, string, bool) error {
	return func(_ *asking, _ string, on bool) error {
		if !on {
			return nil // it is off already
		}
		return fmt.Errorf(format, args...)
	}
}

// nothing accepts what is so anyway, or would change nothing.
func nothing(*asking, string, bool) error { return nil }

// number parses arg within bounds.
func number(arg string, low, high uint64) (uint64, error) {
	v, err := strconv.ParseUint(arg, 0, 64)
	if err != nil || v < low || v > high {
		return 0, fmt.Errorf("%q: expected a number from %d to %d", arg, low, high)
	}
	return v, nil
}

// parseName reads a name, which people may write in letters beyond ASCII, or, where that is
// switched off, in octets.
func (a *asking) parseName(s string) ([]byte, error) {
	ascii := s
	if a.idnIn {
		var err error
		if ascii, err = query.ToASCII(s); err != nil {
			return nil, err
		}
	}
	name, err := wire.ParseName(ascii)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", s, err)
	}
	return name, nil
}

// setIDNIn reads the name again, which may stand before.
func setIDNIn(a *asking, _ string, on bool) error {
	if a.idnIn = on; a.written == "" {
		return nil
	}
	return setName(a, a.written, true)
}

func setName(a *asking, arg string, _ bool) error {
	name, err := a.parseName(arg)
	a.q.Name, a.named, a.written = name, err == nil, arg
	a.search.absolute = strings.HasSuffix(arg, ".") && !strings.HasSuffix(arg, `\.`)
	return err
}

// parseQueryType reads a type, or IXFR=SERIAL.
func parseQueryType(arg string) (t wire.Type, serial uint32, ok bool) {
	word, rest, has := strings.Cut(arg, "=")
	if has {
		v, err := strconv.ParseUint(rest, 10, 32)
		return wire.TypeIXFR, uint32(v), err == nil && strings.EqualFold(word, "IXFR")
	}
	t, ok = wire.ParseType(arg)
	return t, 0, ok
}

func setType(a *asking, arg string, _ bool) error {
	t, serial, ok := parseQueryType(arg)
	if !ok {
		return fmt.Errorf("%q is not a type: expected one like MX, TYPE65280 or IXFR=SERIAL", arg)
	}
	a.q.Type, a.q.Serial, a.typed, a.own = t, serial, true, true
	return nil
}

func setClass(a *asking, arg string, _ bool) error {
	c, ok := wire.ParseClass(arg)
	if !ok {
		return fmt.Errorf("%q is not a class: expected IN, CH, HS, ANY or CLASS and a number", arg)
	}
	a.q.Class = c
	return nil
}

// setReverse asks for the name of an address (RFC 1035, section 3.5; RFC 3596,
// section 2.5).
func setReverse(a *asking, arg string, _ bool) error {
	addr, err := netip.ParseAddr(arg)
	if err != nil {
		return fmt.Errorf("%q is not an address", arg)
	}
	a.q.Name, a.named, a.search.absolute = wire.ReverseName(addr), true, true
	if !a.typed {
		a.q.Type = wire.TypePTR // unless a type follows
	}
	return nil
}

func setPort(a *asking, arg string, _ bool) error {
	v, err := number(arg, 1, 65535)
	a.port = uint16(v)
	return err
}

// setSource reads ADDRESS[#PORT], as dig does.
func setSource(a *asking, arg string, _ bool) error {
	host, port, _ := strings.Cut(arg, "#")
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return fmt.Errorf("%q is not an address", host)
	}
	v := uint64(0)
	if port != "" {
		if v, err = number(port, 0, 65535); err != nil {
			return err
		}
	}
	a.route.Dialer.Source = netip.AddrPortFrom(addr, uint16(v))
	return nil
}

func setTries(more uint64) func(*asking, string, bool) error {
	return func(a *asking, arg string, _ bool) error {
		v, err := number(arg, 1-more, exchange.MaxTries)
		a.route.Tries = int(v + more)
		return err
	}
}

// maxTimeout is the longest wait for one reply: dig's own bound is far over it, and
// no resolver takes so long.
const maxTimeout = 5 * time.Minute

// setTimeout reads seconds, or a duration with its unit.
func setTimeout(a *asking, arg string, _ bool) error {
	d, err := time.ParseDuration(arg)
	if err != nil {
		d, err = time.ParseDuration(arg + "s")
	}
	if err != nil || d <= 0 || d > maxTimeout {
		return fmt.Errorf("%q: expected seconds, or a time such as 300ms, up to %v", arg, maxTimeout)
	}
	a.route.Timeout = d
	return nil
}

func setBufsize(a *asking, arg string, on bool) error {
	if !on {
		arg = "0"
	}
	v, err := number(arg, 0, 65535)
	a.q.EDNS, a.q.UDPSize = v > 0, uint16(v)
	return err
}

func setEDNS(a *asking, arg string, on bool) error {
	a.q.EDNS = on
	if !on {
		a.q.DO = false
		return nil
	}
	v, err := uint64(0), error(nil)
	if arg != "" {
		v, err = number(arg, 0, 255)
	}
	a.q.Version = uint8(v)
	return err
}

func setDNSSEC(a *asking, _ string, on bool) error {
	a.q.DO = on
	a.q.EDNS = a.q.EDNS || on
	return nil
}

func setCookie(a *asking, arg string, on bool) error {
	a.q.Options = without(a.q.Options, wire.OptionCookie)
	if a.q.Cookie = on; arg == "" {
		a.q.EDNS = a.q.EDNS || on
		return nil
	}
	data, err := hex.DecodeString(arg)
	if err != nil {
		return fmt.Errorf("%q: expected hexadecimal", arg)
	}
	a.q.Cookie, a.q.EDNS = false, true
	a.q.Options = append(a.q.Options, exchange.Option{Code: wire.OptionCookie, Data: data})
	return nil
}

// emptyOption returns a setter of an option that asks by being there.
func emptyOption(code uint16) func(*asking, string, bool) error {
	return func(a *asking, _ string, on bool) error {
		a.q.Options = without(a.q.Options, code)
		if on {
			a.q.EDNS = true
			a.q.Options = append(a.q.Options, exchange.Option{Code: code})
		}
		return nil
	}
}

func without(list []exchange.Option, code uint16) []exchange.Option {
	kept := list[:0]
	for _, o := range list {
		if o.Code != code {
			kept = append(kept, o)
		}
	}
	return kept
}

// setOption reads CODE[:HEX], as dig's +ednsopt.
func setOption(a *asking, arg string, on bool) error {
	if !on {
		a.q.Options = nil
		return nil
	}
	code, value, _ := strings.Cut(arg, ":")
	v, err := optionCode(code)
	if err != nil {
		return err
	}
	data, err := hex.DecodeString(value)
	if err != nil {
		return fmt.Errorf("%q: expected hexadecimal", value)
	}
	a.q.EDNS = true
	a.q.Options = append(a.q.Options, exchange.Option{Code: uint16(v), Data: data})
	return nil
}

// optionCode reads the number of an EDNS option, or its name as dig has them.
func optionCode(text string) (uint64, error) {
	for code, names := range map[uint16]string{
		3: "nsid", 5: "dau", 6: "dhu", 7: "n3u", 8: "ecs", 9: "expire", 10: "cookie", 11: "keepalive", 12: "padding",
		13: "chain", 14: "key-tag", 15: "ede", 16: "client-tag", 17: "server-tag",
	} {
		if strings.EqualFold(text, names) {
			return uint64(code), nil
		}
	}
	return number(text, 0, 65535)
}

// setSubnet reads ADDRESS[/BITS], and sends it as the network of a client (RFC 7871, section 6): to
// see what a server says to others. 0 asks that nobody's network be told.
func setSubnet(a *asking, arg string, on bool) error {
	a.q.Options = without(a.q.Options, wire.OptionSubnet)
	if !on {
		return nil
	}
	a.q.EDNS = true
	data := []byte{0, 0, 0, 0}
	if arg != "0" {
		text, bits, has := strings.Cut(arg, "/")
		addr, err := netip.ParseAddr(text)
		if text == "0" && has {
			addr, err = netip.IPv4Unspecified(), nil
		}
		n := uint64(addr.BitLen())
		if err == nil && has {
			n, err = number(bits, 0, uint64(addr.BitLen()))
		}
		if err != nil || addr.Zone() != "" {
			return fmt.Errorf("%q: expected an address, or a network such as 192.0.2.0/24", arg)
		}
		data = []byte{0, 1, byte(n), 0}
		if addr.Is6() {
			data[1] = 2
		}
		data = append(data, netip.PrefixFrom(addr, int(n)).Masked().Addr().AsSlice()[:(n+7)/8]...)
	}
	a.q.Options = append(a.q.Options, exchange.Option{Code: wire.OptionSubnet, Data: data})
	return nil
}

func setPadding(a *asking, arg string, on bool) error {
	if !on {
		a.q.Padding = 0
		return nil
	}
	v, err := number(arg, 0, 512) // dig's bound
	a.q.Padding = int(v)
	a.q.EDNS = a.q.EDNS || v > 0
	return err
}

func setOpcode(a *asking, arg string, on bool) error {
	if !on {
		a.q.Opcode = wire.OpcodeQuery
		return nil
	}
	for o := range wire.Opcode(16) {
		if strings.EqualFold(arg, o.String()) {
			a.q.Opcode = o
			return nil
		}
	}
	v, err := number(arg, 0, 15)
	if err != nil {
		return fmt.Errorf("%q is not an opcode: expected QUERY, STATUS, NOTIFY, UPDATE or a number to 15", arg)
	}
	a.q.Opcode = wire.Opcode(v)
	return nil
}

func setID(a *asking, arg string, on bool) error {
	if !on {
		a.q.ID = nil
		return nil
	}
	v, err := number(arg, 0, 65535)
	id := uint16(v)
	a.q.ID = &id
	return err
}

func setWay(w way) func(*asking, string, bool) error {
	return func(a *asking, _ string, on bool) error {
		switch {
		case on && a.way != askServer && a.way != w:
			return fmt.Errorf("only one of --trace, --validate and --explain at a time")
		case on:
			a.way = w
		case a.way == w:
			a.way = askServer
		}
		return nil
	}
}

func setWhen(a *asking, arg string, _ bool) error {
	for _, layout := range []string{time.RFC3339, time.DateTime, time.DateOnly, "20060102150405"} {
		if t, err := time.Parse(layout, arg); err == nil {
			a.when = t
			return nil
		}
	}
	v, err := strconv.ParseInt(arg, 10, 64)
	if err != nil {
		return fmt.Errorf("%q: expected 2026-10-20, 2026-10-20T12:00:00Z or seconds since 1970", arg)
	}
	a.when = time.Unix(v, 0)
	return nil
}

func setFamily(family int) func(*asking, string, bool) error {
	return func(a *asking, _ string, on bool) error {
		if a.family = 0; on {
			a.family = family
		}
		return nil
	}
}
