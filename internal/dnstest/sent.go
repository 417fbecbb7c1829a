package dnstest

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"port53/internal/lab"
	"port53/internal/wire"
)

// selection reads "[to ADDRESS] [tcp] [all]" out of words and returns what is left, and
// the questions that were sent so.
func (p *player) selection(words []string) (rest []string, sent []lab.Packet, to bool, err error) {
	var server netip.AddrPort
	from, tcp := p.mark, false
	for i := 0; i < len(words); i++ {
		switch {
		case words[i] == "to" && i+1 < len(words):
			i++
			if server, err = addrPort(words[i]); err != nil {
				return nil, nil, false, err
			}
		case words[i] == "all":
			from = 0
		case words[i] == "tcp":
			tcp = true
		default:
			rest = append(rest, words[i])
		}
	}
	for _, packet := range p.world.Net.Packets()[from:] {
		if !packet.Reply && packet.Message != nil && (!server.IsValid() || packet.To == server) && (!tcp || packet.TCP) {
			sent = append(sent, packet)
		}
	}
	return rest, sent, server.IsValid(), nil
}

func (p *player) sent(s *step) error {
	rest, packets, to, err := p.selection(s.words[1:])
	if err != nil || len(rest) > 0 {
		return fmt.Errorf("want [to ADDRESS] [tcp] [all]: %w", err)
	}
	var got []string
	for i := range packets {
		got = append(got, sentLine(&packets[i], !to))
	}
	if sameSent(got, s.below) {
		return nil
	}
	if p.update {
		var lines []string
		for _, g := range got {
			lines = append(lines, "  "+g)
		}
		p.edit(s, lines)
		return nil
	}
	p.errorf(s.at, "%s:\n%swant:\n%s", strings.Join(s.words, " "), indent(got), indent(s.below))
	return nil
}

func (p *player) askedFor(s *step) error {
	rest, packets, _, err := p.selection(s.words[1:])
	if err != nil {
		return err
	}
	op, want := ">=", 1
	if s.words[0] == "unsent" {
		op, want = "==", 0
	} else if n := len(rest); n >= 3 {
		if want, err = strconv.Atoi(rest[n-1]); err != nil {
			return err
		}
		op, rest = rest[n-2], rest[:n-2]
	}
	if len(rest) < 1 || len(rest) > 2 {
		return fmt.Errorf("want NAME [TYPE] [to ADDRESS] [all]")
	}
	name, err := wire.ParseName(rest[0])
	if err != nil {
		return err
	}
	var typ wire.Type
	if len(rest) == 2 {
		var ok bool
		if typ, ok = wire.ParseType(rest[1]); !ok {
			return fmt.Errorf("type %q is not known", rest[1])
		}
	}
	got := 0
	for i := range packets {
		if n, t := packets[i].Question(); wire.EqualFold(n, name) && (len(rest) < 2 || t == typ) {
			got++
		}
	}
	if !compare(int64(got), op, int64(want)) {
		p.errorf(s.at, "%s: it was sent %d times, want %s %d", strings.Join(s.words, " "), got, op, want)
	}
	return nil
}

func (p *player) packets(s *step) error {
	rest, packets, _, err := p.selection(s.words[1:])
	if err != nil {
		return err
	}
	if len(rest) != 2 {
		return fmt.Errorf("want [to ADDRESS] [tcp] [all] <= NUMBER")
	}
	want, err := strconv.Atoi(rest[1])
	if err != nil {
		return err
	}
	if !compare(int64(len(packets)), rest[0], int64(want)) {
		p.errorf(s.at, "%s: %d were sent", strings.Join(s.words, " "), len(packets))
	}
	return nil
}
