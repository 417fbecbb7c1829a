package signer

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

// A KeyState is what a server that signed a zone made of a key: what it had published, and whether
// the key was on its way out. The parent's DS records are seen, and not stated.
type KeyState struct {
	DNSKEY     Presence
	Signatures Presence // of the zone's data
	Retiring   bool     // another key is to take its place
}

// readState reads a key's state file, as BIND has it: NAME.state beside the other two. It is nil if
// there is none, or one that says nothing of states yet.
func readState(path string) (*KeyState, error) {
	b, err := readSmall(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s, states, number := &KeyState{}, 0, 0
	for line := range strings.Lines(string(b)) {
		number++
		field, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		if field == "" || field[0] == ';' {
			continue
		}
		if !ok {
			return nil, fmt.Errorf("%s:%d: expected a field and its value, such as DNSKEYState: omnipresent", path, number)
		}
		value = strings.TrimSpace(value)
		var p *Presence
		var goal Presence
		switch field {
		case "DNSKEYState":
			p = &s.DNSKEY
		case "ZRRSIGState":
			p = &s.Signatures
		case "GoalState":
			p = &goal
		default:
			continue
		}
		if err := p.UnmarshalText([]byte(value)); err != nil {
			return nil, fmt.Errorf("%s:%d: %s: %w", path, number, field, err)
		}
		states++
		s.Retiring = s.Retiring || p == &goal && goal == Hidden
	}
	if states == 0 {
		return nil, nil
	}
	return s, nil
}

// appendState appends the key's state file.
func (k *Key) appendState(dst []byte) []byte {
	goal := Omnipresent
	if k.State.Retiring {
		goal = Hidden
	}
	dst = fmt.Appendf(dst, "; This is the state of key %d, for %s\nAlgorithm: %d\n", k.Tag(), text(k.Zone), k.Algorithm())
	return fmt.Appendf(dst, "DNSKEYState: %s\nZRRSIGState: %s\nGoalState: %s\n", k.State.DNSKEY, k.State.Signatures, goal)
}

// over reports whether the server that had the key has taken it away.
func (k *Key) over(now time.Time) bool {
	return passed(k.Times.Delete, now) && (k.State == nil || k.State.DNSKEY == Hidden && k.State.Signatures == Hidden)
}
