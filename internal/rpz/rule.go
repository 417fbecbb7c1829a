package rpz

import (
	"bytes"

	"port53/internal/wire"
	"port53/internal/zone"
)

// decide returns what a rule does for a name, with the target of an alias.
func (s *Searcher) decide(z *Zone, v *zone.Zone, rule zone.Node, name *wire.SplitName) Action {
	switch z.Override {
	case Given, Disabled:
	case Alias:
		return s.leads(z.Target, name.Name())
	default:
		return z.Override
	}
	if !v.HasCNAME(rule) {
		t := s.q.Type
		if t == wire.TypeANY {
			return Local
		}
		if _, ok := v.RRset(rule, t); ok {
			return Local
		}
		return NoData
	}
	set, _ := v.RRset(rule, wire.TypeCNAME)
	owner := v.AppendName(s.owner[:0], rule)
	target := set.AppendTarget(s.room[:0], owner, 0)
	switch {
	case len(target) == 1:
		return NXDomain
	case string(target) == "\x01*\x00":
		return NoData
	case wire.EqualFold(target, passthru):
		return Passthru
	case wire.EqualFold(target, drop):
		return Drop
	case wire.EqualFold(target, tcpOnly):
		return TCPOnly
	case future(target):
		return Miss
	}
	return s.leads(target, name.Name())
}

// What a rule's CNAME record may lead to.
var (
	passthru = []byte("\x0crpz-passthru\x00")
	drop     = []byte("\x08rpz-drop\x00")
	tcpOnly  = []byte("\x0crpz-tcp-only\x00")
)

// future reports whether a target's last label is of those that are kept for actions to come.
func future(target []byte) bool {
	last := 0
	for i := 0; target[i] != 0; i += 1 + int(target[i]) {
		last = i
	}
	return target[last] > 4 && bytes.EqualFold(target[last+1:last+5], []byte("rpz-"))
}

// leads makes a target that of the verdict, with the name in place of its star. What would lead a name to itself lets
// it pass: as a rule's record that is the old way to say so.
func (s *Searcher) leads(target, name []byte) Action {
	if len(target) > 2 && target[0] == 1 && target[1] == '*' {
		rest := target[2:]
		if len(name)-1+len(rest) > wire.MaxName {
			return NXDomain // there is no such name
		}
		s.v.Target = append(append(s.target[:0], name[:len(name)-1]...), rest...)
		return Alias
	}
	if wire.EqualFold(target, name) {
		return Passthru
	}
	s.v.Target = append(s.target[:0], target...)
	return Alias
}
