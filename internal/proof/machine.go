package proof

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"

	"port53/internal/firewall"
	"port53/internal/fwrun"
	"port53/internal/server"
)

// thisMachine is the name of the vantage of loopback.
const thisMachine = "this machine"

// loopback has this machine ask at its own addresses, from the same.
func (r *run) loopback(context.Context) {
	for _, to := range r.Listen {
		if to.Addr().IsUnspecified() {
			a := netip.IPv6Loopback()
			if to.Addr().Is4() {
				a = netip.AddrFrom4([4]byte{127, 0, 0, 1})
			}
			to = netip.AddrPortFrom(a, to.Port())
		}
		v := &vantage{name: thisMachine, from: to.Addr(), do: func(f func() error) error { return f() }}
		for _, transport := range []string{overUDP, overTCP} {
			r.tryRecursion(v, to, transport)
			for i := range r.Zones {
				if i == everywhere {
					break
				}
				r.tryAsk(v, to, transport, &r.Zones[i])
			}
		}
	}
}

// files looks at the modes of what is secret, and of the control socket.
func (r *run) files() {
	if r.Socket != "" {
		r.add(Line{Kind: "control", At: r.Socket, Expected: "a socket for its owner and group alone"}, func(l *Line) {
			info, err := os.Stat(r.Socket)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				l.Seen, l.State = "it is not there", Unknown
				return
			case err != nil:
				l.Seen, l.State = err.Error(), Unknown
				return
			}
			l.Remedy = "chmod 660 " + r.Socket
			l.judge(info.Mode().Perm()&0o007 == 0, "mode "+fmt.Sprintf("%04o", info.Mode().Perm()))
		})
	}
	for _, f := range r.Files {
		bits, expected, remedy := fs.FileMode(0o002), "nobody else writes it", "chmod o-w "
		if f.Secret {
			bits, expected, remedy = 0o007, "nobody else reads or writes it", "chmod o= "
		}
		r.add(Line{Kind: "files", At: f.Path, Expected: f.What + ": " + expected}, func(l *Line) {
			info, err := os.Stat(f.Path)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return // the configuration's own check tells of it
			case err != nil:
				l.Seen, l.State = err.Error(), Unknown
				return
			}
			l.Remedy = remedy + f.Path
			l.judge(info.Mode().Perm()&bits == 0, "mode "+fmt.Sprintf("%04o", info.Mode().Perm()))
		})
	}
}

// owners looks for programs beside the server at its addresses, and at port 53 of others that strangers reach.
func (r *run) owners() {
	wanted := slices.Clone(r.Listen)
	for _, all := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		for _, port := range r.always() {
			wanted = append(wanted, netip.AddrPortFrom(all, port))
		}
	}
	r.add(Line{Kind: "owner", At: "port 53", Expected: "this server alone"}, func(l *Line) {
		if r.NotRunning {
			l.At, l.Expected = "ports 53 and 853", "no program"
		}
		var others []string
		pids := map[int]bool{}
		for _, a := range wanted {
			for _, h := range server.SocketHolders(a) {
				served := at(r.Listen, netip.AddrPortFrom(h.Addr.Addr().Unmap(), h.Addr.Port())) || h.Addr.Addr().IsUnspecified()
				if h.Addr.Addr().Unmap().IsLoopback() && !served {
					continue // of this machine alone, as that of systemd-resolved
				}
				pids[h.PID] = true
				if text := h.String(); (r.NotRunning || r.PID != 0 && h.PID != r.PID) && !slices.Contains(others, text) {
					others = append(others, text)
					l.Remedy = h.Remedy()
				}
			}
		}
		switch {
		case len(others) > 0:
			l.judge(false, strings.Join(others, "; "))
		case r.NotRunning:
			l.judge(true, "no program")
		case r.PID == 0:
			l.Seen, l.State = "the control socket is off: nobody knows which process it is", Unknown
		default:
			l.judge(true, fmt.Sprintf("process %d", r.PID))
		}
	})
}

// firewall compares the rules that are loaded with those that should be, and looks for rules of others that lead
// port 53 elsewhere.
func (r *run) firewall(ctx context.Context) {
	r.add(Line{Kind: "firewall", At: "rules of others", Expected: "none that leads port 53 elsewhere"}, func(l *Line) {
		found, err := (&fwrun.System{State: r.State}).Foreign(ctx, firewall.Nftables)
		if err != nil {
			l.Seen, l.State = err.Error(), Unknown
			return
		}
		for i := range found {
			if f := &found[i]; f.Translates {
				l.Remedy = "publish the container's port at another address or port, or take the rule away"
				l.judge(false, f.Where+": "+f.Rule)
				return
			}
		}
		l.judge(true, "none")
	})
	if r.Rules == nil {
		return
	}
	r.add(Line{Kind: "firewall", At: "rules of port53", Expected: "those of the contract"}, func(l *Line) {
		st, err := (&fwrun.System{State: r.State}).Compare(ctx, r.Rules)
		if err != nil {
			l.Seen, l.State = err.Error(), Unknown
			return
		}
		l.Remedy = "port53 firewall apply --config FILE loads them again"
		switch {
		case st.Equal:
			l.judge(true, "those")
		case !st.Loaded:
			l.judge(false, "no rules: they were flushed")
		default:
			l.judge(false, difference("gone", st.Missing)+difference("more", st.Extra))
		}
	})
}

// difference tells of the first of some lines of rules.
func difference(what string, lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	more := ""
	if len(lines) > 1 {
		more = fmt.Sprintf(" and %d more", len(lines)-1)
	}
	return fmt.Sprintf("%s: %s%s. ", what, lines[0], more)
}
