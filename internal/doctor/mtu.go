package doctor

import (
	"context"
	"fmt"
	"net/netip"
)

// Sizes of datagrams, in octets of DNS message.
const (
	plain   = 512  // what everything carries
	advised = 1232 // what port53 sends and takes at most over UDP, as it comes
	full    = 1452 // what an Ethernet carries, over IPv6 too
)

// pathMTU looks for servers to which large datagrams do not get: a link carries less than its ends
// believe, and who should say so is not heard (RFC 8900).
func (p *patient) pathMTU(ctx context.Context) {
	const id, title = "mtu-hole", "large datagrams reach the servers that are asked"
	for _, to := range p.Probe {
		size, err := p.largest(ctx, to)
		switch {
		case err != nil:
			p.add(Finding{ID: id, Title: title, State: Unknown, Object: to.String(), Seen: fmt.Sprintf("%s: %v", to, err)})
		case size >= full:
			p.add(Finding{ID: id, Title: title, State: OK, Object: to.String(), Seen: fmt.Sprintf("%d octets reach %s", size, to)})
		default:
			p.add(hole(id, title, to, size))
		}
	}
}

// hole is the finding of a server that datagrams of size octets reach, and no larger ones.
func hole(id, title string, to netip.AddrPort, size int) Finding {
	header := 28
	if to.Addr().Is6() {
		header = 48
	}
	f := Finding{
		ID:     id,
		Title:  title,
		State:  Problem,
		Object: to.String(),
		Seen:   fmt.Sprintf("messages of %d octets reach %s, larger ones vanish, and nobody says why", size, to),
		Remedy: fmt.Sprintf(
			"ip route replace %s $(ip -o route get %[1]s | grep -oE '(via|dev) [^ ]+' | tr '\\n' ' ') mtu lock %d",
			to.Addr(),
			size+header,
		),
		Persist: "let ICMP \"fragmentation needed\" and ICMPv6 \"packet too big\" through, wherever they are dropped on the way",
	}
	if size < advised {
		f.Impact = "answers vanish that are larger: questions go on to TCP after a wait, and some fail"
	} else {
		f.Impact = "DNS over UDP works with port53's sizes; transfers and TLS over TCP may hang"
	}
	return f
}
