// Package doctor finds what on this machine keeps DNS from working, beside the server's own
// configuration: a port that another program has, a loop of forwarders, a clock that is wrong, a
// kernel table that is full. Each problem comes with the command that remedies it.
//
// [Examine] only reads, but for the packets that look for the path MTU of the servers it is given
// ([Options.Probe]). It changes nothing, and what it may not read it calls unknown, with the reason.
package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Options say what to look at. The zero value looks at this machine, as a server on port 53 of all
// addresses that forwards nothing.
type Options struct {
	Listen  []netip.AddrPort // addresses that are, or are to be, served; none: port 53 of all
	Forward []netip.AddrPort // servers that questions are forwarded to
	Probe   []netip.AddrPort // servers whose path MTU is looked for with packets
	IPv6    bool             // servers are asked over IPv6
	Built   time.Time        // when the program was built: the clock is not earlier; zero: not known
	Root    string           // the directory that /etc, /proc and /sys are below; "": /

	// Written returns the file, and the line in it, from which on a server of Forward is named; "": it is not
	// known. nil: of none.
	Written func(netip.AddrPort) (file string, line int)
	// Clock returns the time, and whether something keeps it right; nil: as this machine says.
	Clock func() (now time.Time, kept bool)

	// Foreign returns rules of others that translate port 53 ([fwrun.System.Foreign] as text); nil: they
	// are not looked at.
	Foreign func(context.Context) ([]Rule, error)
}

// A Rule is one of the machine's firewall that is not ours.
type Rule struct {
	Text       string // where it is, and the rule
	Docker     bool   // a published port of Docker
	Translates bool   // to another port or machine; else it lets nothing through
	Guarded    bool   // a rule of DOCKER-USER drops what comes to it
}

// A State is what was found.
type State string

// The states of a finding.
const (
	OK      State = "ok"
	Problem State = "problem"
	Unknown State = "unknown"
)

// A Finding is one thing that was looked at.
type Finding struct {
	ID      string `json:"id"`               // stable, such as "port-taken"
	Title   string `json:"title"`            // what was looked at
	State   State  `json:"state"`            //
	Seen    string `json:"seen"`             // what was found, or why it is unknown
	Impact  string `json:"harm,omitempty"`   // what it does to DNS; of problems
	Remedy  string `json:"remedy,omitempty"` // the command that remedies it; of problems
	Persist string `json:"keep,omitempty"`   // how it stays so after a reboot, where the command alone does not
	Object  string `json:"object,omitempty"` // which address, interface or program; two findings of one ID differ in it
}

// A patient is the machine that is examined.
type patient struct {
	Options
	found []Finding
}

// Examine looks at the machine and returns what was found, in the order in which it is best mended:
// what keeps a server from starting comes first.
func Examine(ctx context.Context, o Options) []Finding {
	if len(o.Listen) == 0 {
		o.Listen = []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:53"), netip.MustParseAddrPort("[::]:53")}
	}
	p := &patient{Options: o}
	p.port()
	p.loop()
	p.resolvConf()
	p.clock()
	p.docker(ctx)
	p.conntrack()
	p.buffers()
	p.ports()
	p.ipv6()
	p.pathMTU(ctx)
	p.denials()
	p.kernel()
	return p.found
}

func (p *patient) add(f Finding) { p.found = append(p.found, f) }

func (p *patient) ok(id, title, seen string, args ...any) {
	p.add(Finding{ID: id, Title: title, State: OK, Seen: fmt.Sprintf(seen, args...)})
}

func (p *patient) unknown(id, title string, err error) {
	p.add(Finding{ID: id, Title: title, State: Unknown, Seen: err.Error()})
}

// path returns where a file of the machine is.
func (p *patient) path(name string) string { return filepath.Join("/", p.Root, name) }

// maxRead bounds what is read of any file: logs are read from their end.
const maxRead = 1 << 20

// read returns a file of the machine, or the last of it.
func (p *patient) read(name string) (string, error) {
	f, err := os.Open(p.path(name))
	if err != nil {
		return "", err
	}
	defer f.Close()
	if s, err := f.Stat(); err == nil && s.Mode().IsRegular() && s.Size() > maxRead {
		if _, err := f.Seek(-maxRead, 2); err != nil {
			return "", err
		}
	}
	var b strings.Builder
	buf := make([]byte, 64<<10)
	for b.Len() < maxRead {
		n, err := f.Read(buf)
		b.Write(buf[:n])
		if err != nil || n == 0 {
			break
		}
	}
	return b.String(), nil
}

// number returns the number that a file of the machine has.
func (p *patient) number(name string) (int64, error) {
	text, err := p.read(name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s has no number", name)
	}
	return n, nil
}

// sysctl returns the command that sets a value, and the one that keeps it over a reboot.
func sysctl(name, value string) (mend, keep string) {
	return fmt.Sprintf("sysctl -w %s='%s'", name, value),
		fmt.Sprintf("echo '%s = %s' > /etc/sysctl.d/53-%s.conf", name, value, name[strings.LastIndexByte(name, '.')+1:])
}

// served reports whether a server of ours answers, or is to answer, at a.
func (p *patient) served(a netip.AddrPort) bool {
	for _, l := range p.Listen {
		same := l.Addr() == a.Addr() || l.Addr().IsUnspecified() && l.Addr().Is4() == a.Addr().Is4()
		if same && l.Port() == a.Port() {
			return true
		}
	}
	return false
}
