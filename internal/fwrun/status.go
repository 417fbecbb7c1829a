package fwrun

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"port53/internal/firewall"
)

// A Status is how what is loaded compares with what should be.
type Status struct {
	Backend firewall.Backend `json:"backend"`
	Loaded  bool             `json:"loaded"`
	Equal   bool             `json:"equal"`
	Missing []string         `json:"missing,omitempty"` // lines that should be loaded and are not
	Extra   []string         `json:"extra,omitempty"`   // lines that are and should not
	Until   time.Time        `json:"until,omitzero"`    // the rules go then, unless they are confirmed
	Notes   []string         `json:"notes,omitempty"`
}

// Compare compares what is loaded with the rules.
func (s *System) Compare(ctx context.Context, r *firewall.Rules) (*Status, error) {
	if err := needRoot(); err != nil {
		return nil, err
	}
	loaded, err := s.loaded(ctx, r.Backend)
	if err != nil {
		return nil, err
	}
	wanted, err := s.canonical(ctx, r)
	if err != nil {
		return nil, err
	}
	st := &Status{Backend: r.Backend, Loaded: strings.Join(loaded, "") != "", Equal: slices.Equal(loaded, wanted)}
	for i := range wanted {
		have, want := lines(loaded[i]), lines(wanted[i])
		for _, l := range want {
			if !slices.Contains(have, l) {
				st.Missing = append(st.Missing, l)
			}
		}
		for _, l := range have {
			if !slices.Contains(want, l) {
				st.Extra = append(st.Extra, l)
			}
		}
	}
	if rec, err := s.readRecord(); err == nil && rec != nil {
		st.Until = rec.Until
		if rec.Backend != r.Backend {
			st.Notes = append(st.Notes, fmt.Sprintf("rules for %s were applied", rec.Backend))
		}
	}
	if r.Backend == firewall.UFW {
		if ufw, err := find("ufw", "ufw"); err == nil {
			if active, err := ufwActive(ctx, ufw); err == nil && !active {
				st.Equal = false
				st.Notes = append(st.Notes, "ufw is disabled: its rules do not count")
			}
		}
	}
	return st, nil
}

func lines(text string) []string {
	var list []string
	for l := range strings.SplitSeq(text, "\n") {
		if l = strings.TrimSpace(l); l != "" && l != "}" {
			list = append(list, l)
		}
	}
	return list
}

// canonical returns rules as loaded would return them if they were loaded, by loading them
// into a network namespace of their own.
func (s *System) canonical(ctx context.Context, r *firewall.Rules) ([]string, error) {
	if r.Backend == firewall.UFW {
		var list []string
		for _, c := range r.Commands {
			list = append(list, canonicalUFW(c))
		}
		slices.Sort(list)
		return []string{strings.Join(list, "\n")}, nil
	}
	ns, err := newNamespace()
	if err != nil {
		return nil, err
	}
	defer ns.close()
	var out []string
	err = ns.do(func() error {
		if err := s.load(ctx, r); err != nil {
			return err
		}
		out, err = s.loaded(ctx, r.Backend)
		return err
	})
	return out, err
}

// canonicalUFW returns a rule as ufw show added prints it.
func canonicalUFW(c []string) string {
	last := len(c) - 1
	return strings.Join(c[:last-1], " ") + " comment '" + c[last] + "'"
}

// load loads rules where there are none of ours: into a namespace.
func (s *System) load(ctx context.Context, r *firewall.Rules) error {
	switch r.Backend {
	case firewall.Nftables:
		nft, err := find("nft", "nftables")
		if err != nil {
			return err
		}
		_, err = run(ctx, r.Files[0].Text, nft, "-f", "-")
		return err
	case firewall.Iptables:
		for i, six := range []bool{false, true} {
			restore, err := s.iptables(six, "restore")
			if err != nil {
				return err
			}
			if _, err := run(ctx, change("", r.Files[i].Text), restore, "--wait", "--noflush"); err != nil {
				return err
			}
		}
		return nil
	}
	return s.loadUFW(ctx, r)
}

// Applied returns what rules were applied for, as far as it is remembered.
func (s *System) Applied() (b firewall.Backend, ok bool) {
	r, err := s.readRecord()
	if err != nil || r == nil {
		return "", false
	}
	return r.Backend, true
}
