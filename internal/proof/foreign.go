package proof

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"port53/internal/firewall"
	"port53/internal/fwrun"
	"port53/internal/netif"
	"port53/internal/wire"
)

// Bounds of a proof.
const (
	maxTargets = 16  // addresses of one family
	maxZones   = 200 // each is tried at one address; the first few at all
	everywhere = 2
	maxBurst   = 2000 // questions that try the limit of replies
)

// targetsOf returns the addresses of this machine, but for those of loopback and of single links.
func targetsOf(*Server) ([]netip.Addr, error) {
	all, err := netif.List()
	if err != nil {
		return nil, err
	}
	var list []netip.Addr
	count := map[bool]int{}
	for _, a := range all {
		addr := a.Prefix.Addr()
		if fwrun.IsProverInterface(a.Interface) || addr.IsLoopback() || addr.IsLinkLocalUnicast() || addr.IsMulticast() ||
			slices.Contains(list, addr) ||
			count[addr.Is4()] == maxTargets {
			continue
		}
		count[addr.Is4()]++
		list = append(list, addr)
	}
	return list, nil
}

// at reports whether a list of listeners has an address.
func at(listen []netip.AddrPort, a netip.AddrPort) bool {
	return slices.ContainsFunc(listen, func(l netip.AddrPort) bool {
		return l.Port() == a.Port() && (l.Addr().WithZone("") == a.Addr() || l.Addr().IsUnspecified() && l.Addr().Is4() == a.Addr().Is4())
	})
}

// ports returns the ports of listeners, and those that are there in any case.
func ports(listen []netip.AddrPort, more ...uint16) []uint16 {
	for _, l := range listen {
		more = append(more, l.Port())
	}
	slices.Sort(more)
	return slices.Compact(more)
}

// always are the ports that are looked at whatever is configured: where no server is to be, those of encrypted
// transports that no web server has are closed as well, as by firewall apply.
func (r *run) always() []uint16 {
	if r.NotRunning {
		return []uint16{53, portDoQ}
	}
	return []uint16{53}
}

// foreign has a stranger try all that strangers try.
func (r *run) foreign(_ context.Context, s *fwrun.Stranger, targets []netip.Addr) {
	if s.NoSix != "" {
		r.unknown("ask", "what a stranger sees over IPv6", s.NoSix)
	}
	first := map[bool]bool{} // of a family has had all zones
	r.eachTarget(s, targets, func(v *vantage, a netip.Addr) {
		for _, port := range ports(r.Listen, r.always()...) {
			to := netip.AddrPortFrom(a, port)
			if r.NotRunning || !at(r.Listen, to) {
				r.mustBeClosed(v, to, overUDP)
				r.mustBeClosed(v, to, overTCP)
				continue
			}
			r.tryServer(v, to, overUDP, !first[a.Is6()])
			r.tryServer(v, to, overTCP, !first[a.Is6()])
			first[a.Is6()] = true
			r.tryLimit(v, to)
		}
		for _, l := range []struct {
			listen    []netip.AddrPort
			transport string
			port      uint16
		}{{r.DoT, overTLS, 853}, {r.DoH, overHTTPS, 443}} {
			if len(l.listen) == 0 && !r.NotRunning {
				continue
			}
			for _, port := range ports(l.listen) {
				if to := netip.AddrPortFrom(a, port); at(l.listen, to) {
					r.tryServer(v, to, l.transport, false)
				}
			}
		}
		for _, d := range r.HTTPListeners {
			r.tryDoor(v, netip.AddrPortFrom(a, d.Addr.Port()), &d)
		}
	})
}

// eachTarget calls f for each address that a stranger can try, with the vantage of its family.
func (r *run) eachTarget(s *fwrun.Stranger, targets []netip.Addr, f func(v *vantage, a netip.Addr)) {
	targets = append(slices.Clone(targets), s.HereFour)
	if s.HereSix.IsValid() {
		targets = append(targets, s.HereSix)
	}
	for _, a := range targets {
		from := s.Four
		if a.Is6() {
			from = s.Six
		}
		if from.IsValid() {
			f(&vantage{name: "a stranger", from: from, do: s.Do}, a)
		}
	}
}

// refusal is what the rules of the firewall leave of a packet, if there are rules.
func (r *run) refusal(v *vantage, to netip.AddrPort) string {
	if r.Plan != nil && r.Plan.Decide(v.from, to.Addr()) != firewall.Answered {
		return "silence (the firewall)"
	}
	return "REFUSED, or silence"
}

// mustBeClosed has nobody answer.
func (r *run) mustBeClosed(v *vantage, to netip.AddrPort, transport string) {
	r.add(Line{Kind: "closed", From: v.who(), At: tried(to, transport), Expected: "nobody"}, func(l *Line) {
		msg := question(wire.Root, wire.TypeNS, flagRD, 0)
		if transport == overUDP && to.Port() == portDoQ {
			msg = ofNoVersion()
		}
		o := v.twice(transport, to, msg, r.timeout)
		if o.reply == nil && !o.open {
			l.judge(true, o.words())
			return
		}
		l.Remedy = "ss -lnptu 'sport = :" + fmt.Sprint(to.Port()) + "' tells who it is: stop it, or add the address to listen"
		if r.MayQuery == nil {
			l.Remedy = "port53 doctor and port53 firewall status tell whose rules let it through"
		}
		seen := "an open port: " + o.words()
		if transport == overUDP && to.Port() == portDoQ {
			seen = "an open port: QUIC"
		}
		l.judge(false, seen)
	})
}

// who names the vantage.
func (v *vantage) who() string { return v.name + " (" + v.from.String() + ")" }

// tryServer tries all at one address, with all zones or the first few.
func (r *run) tryServer(v *vantage, to netip.AddrPort, transport string, all bool) {
	r.tryRecursion(v, to, transport)
	r.tryVersion(v, to, transport)
	for i := range r.Zones {
		if i >= maxZones || !all && i >= everywhere {
			break
		}
		z := &r.Zones[i]
		if i < everywhere {
			r.tryAsk(v, to, transport, z)
		}
		if transport != overUDP && transport != overHTTPS {
			r.tryTransfer(v, to, transport, z)
		}
		if transport == overUDP || transport == overTCP {
			r.tryUpdate(v, to, transport, z)
			r.tryNotify(v, to, transport, z)
		}
	}
}

// tryAsk asks for a zone.
func (r *run) tryAsk(v *vantage, to netip.AddrPort, transport string, z *Zone) {
	may := r.MayQuery(v.from) && z.MayQuery(v.from)
	l := Line{Kind: "ask", From: v.who(), At: tried(to, transport), Zone: wire.NameText(z.Name), Expected: "an answer"}
	if !may {
		l.Expected = r.refusal(v, to)
	}
	r.add(l, func(l *Line) {
		answered := func(o *outcome) bool { return o.reply != nil && o.rcode() != int(wire.Refused) }
		if may {
			o := v.until(transport, to, func() []byte { return question(z.Name, wire.TypeSOA, 0, 0) }, r.timeout, answered)
			l.Remedy = "port53 status, port53 firewall status and ss -lnptu say why"
			l.judge(answered(&o), o.words())
			return
		}
		o := v.twice(transport, to, question(z.Name, wire.TypeSOA, 0, 0), r.timeout)
		l.Remedy = "port53 reload has the server do as the file says; port53 config check --client " + v.from.String() +
			" tells what that is"
		l.judge(!answered(&o) && r.silent(v, to, &o), o.words())
	})
}

// silent reports whether the firewall does what its rules say.
func (r *run) silent(v *vantage, to netip.AddrPort, o *outcome) bool {
	return r.Plan == nil || v.local() || r.Plan.Decide(v.from, to.Addr()) == firewall.Answered || o.reply == nil
}

// local reports whether packets go by way of loopback, which no rule is about.
func (v *vantage) local() bool { return v.name == thisMachine }

// tryRecursion asks for what no zone has.
func (r *run) tryRecursion(v *vantage, to netip.AddrPort, transport string) {
	if slices.ContainsFunc(r.Zones, func(z Zone) bool { return len(z.Name) == 1 }) {
		return // the root is served here
	}
	may := r.Recurses && r.MayQuery(v.from) && r.MayRecurse(v.from)
	l := Line{Kind: "recurse", From: v.who(), At: tried(to, transport), Expected: "recursion"}
	if !may {
		l.Expected = "no recursion"
	}
	r.add(l, func(l *Line) {
		// Of a name that a resolver knows by itself first (RFC 6761): one that finds nobody to ask is silent
		// about others for longer than is waited.
		offered := func(o *outcome) bool { return o.recursion() && o.rcode() != int(wire.Refused) }
		ask := func() []byte { return question([]byte("\x09localhost\x00"), wire.TypeA, flagRD, 0) }
		if may {
			o := v.until(transport, to, ask, r.timeout, offered)
			l.Remedy = "port53 status says why"
			l.judge(offered(&o), o.words())
			return
		}
		o := v.twice(transport, to, ask(), r.timeout)
		if !offered(&o) && o.reply != nil {
			o = v.exchange(transport, to, question(wire.Root, wire.TypeNS, flagRD, 0), r.timeout)
		}
		if offered(&o) {
			l.Remedy = "an open resolver attacks others: port53 reload, and name in expose.recurse whom it is for"
			l.judge(false, "recursion for strangers: "+o.words())
			return
		}
		l.judge(true, o.words())
	})
}

// tryVersion asks which server it is.
func (r *run) tryVersion(v *vantage, to netip.AddrPort, transport string) {
	want := "nothing told"
	if r.Version != "" && r.MayQuery(v.from) {
		want = "what identity.version has"
	}
	r.add(Line{Kind: "version", From: v.who(), At: tried(to, transport), Expected: want}, func(l *Line) {
		o := v.twice(transport, to, chaos(), r.timeout)
		if r.Version == "" && o.records() > 0 && o.rcode() == 0 {
			l.Remedy = "write identity: {version: hidden} and port53 reload; or another server answers here: port53 doctor"
			l.judge(false, "an answer")
			return
		}
		l.judge(true, o.words())
	})
}

// tryTransfer asks for a zone whole, without a key.
func (r *run) tryTransfer(v *vantage, to netip.AddrPort, transport string, z *Zone) {
	may := z.Transfer(v.from)
	l := Line{Kind: "transfer", From: v.who(), At: tried(to, transport), Zone: wire.NameText(z.Name), Expected: "REFUSED without a key"}
	if may {
		l.Expected = "the zone, if it is asked for"
	}
	r.add(l, func(l *Line) {
		o := v.twice(transport, to, question(z.Name, wire.TypeAXFR, 0, 0), r.timeout)
		l.Remedy = "write expose: {transfer: [{key: NAME}]}, and port53 reload"
		l.judge(may || o.records() == 0, transferred(&o))
	})
}

func transferred(o *outcome) string {
	if o.records() > 0 {
		return "the zone, without a key"
	}
	return o.words()
}

// tryUpdate asks to change a zone, without a key.
func (r *run) tryUpdate(v *vantage, to netip.AddrPort, transport string, z *Zone) {
	r.add(
		Line{Kind: "update", From: v.who(), At: tried(to, transport), Zone: wire.NameText(z.Name), Expected: "REFUSED without a key"},
		func(l *Line) {
			o := v.twice(transport, to, updateThatNeverIs(z.Name), r.timeout)
			taken := o.rcode() == int(wire.NoError) || o.rcode() == int(wire.NXDomain)
			if l.Remedy = "write expose: {update: [{key: NAME}]}, and port53 reload"; taken {
				l.judge(false, "taken without a key: "+o.words())
				return
			}
			l.judge(true, o.words())
		},
	)
}

// tryNotify says that a zone has changed.
func (r *run) tryNotify(v *vantage, to netip.AddrPort, transport string, z *Zone) {
	may := z.Notify(v.from)
	l := Line{Kind: "notify", From: v.who(), At: tried(to, transport), Zone: wire.NameText(z.Name), Expected: "REFUSED"}
	if may {
		l.Expected = "taken, if it is announced"
	}
	r.add(l, func(l *Line) {
		o := v.twice(transport, to, announcement(z.Name), r.timeout)
		l.Remedy = "write expose: {notify: [ADDRESS]}, and port53 reload"
		l.judge(may || o.rcode() != int(wire.NoError), o.words())
	})
}

// tryDoor asks over HTTP.
func (r *run) tryDoor(v *vantage, to netip.AddrPort, d *HTTPListener) {
	may := d.Addr.IsValid() && at([]netip.AddrPort{d.Addr}, to) && d.Allows(v.from)
	if may {
		return // whether the firewall lets it through is not port 53's to say
	}
	r.add(Line{Kind: d.Kind, From: v.who(), At: tried(to, overTCP), Expected: "nothing over HTTP"}, func(l *Line) {
		o := v.web(to, r.timeout)
		if l.Remedy = d.Remedy; o.reply != nil {
			l.judge(false, "an answer over HTTP")
			return
		}
		l.judge(true, o.words())
	})
}

// tryLimit asks for large answers, and for more than the limit lets out. It comes after all else, since it uses
// the limit up for a time.
func (r *run) tryLimit(v *vantage, to netip.AddrPort) {
	name, may := wire.Root, false
	for i := range r.Zones {
		if z := &r.Zones[i]; r.MayQuery(v.from) && z.MayQuery(v.from) {
			name, may = z.Name, true
			break
		}
	}
	l := Line{Kind: "amplify", From: v.who(), At: tried(to, overUDP), Expected: fmt.Sprintf("at most %d octets for a question", r.UDPSize)}
	r.late = append(r.late, job{l, func(l *Line) {
		q := question(name, 255, flagRD, 4096)
		o := v.twice(overUDP, to, q, r.timeout)
		limit := r.UDPSize
		if !may && !(r.Recurses && r.MayQuery(v.from) && r.MayRecurse(v.from)) {
			limit = 2 * len(q)
			l.Expected = fmt.Sprintf("at most %d octets for a question that is refused", limit)
		}
		l.Remedy = "write edns: {udp_size: 1232}, and port53 reload"
		if o.reply == nil {
			l.judge(true, o.words())
			return
		}
		l.judge(len(o.reply) <= limit, fmt.Sprintf("%d octets for %d", len(o.reply), len(q)))
	}})
	if r.Burst == 0 || r.Burst > maxBurst/2 || !may {
		return
	}
	l.Expected = "a limit of answers to one network"
	r.late = append(r.late, job{l, func(l *Line) {
		sent, full, took := v.burst(to, name, 2*r.Burst+r.Rate, r.timeout)
		most := r.Burst + int(float64(r.Rate)*(took.Seconds()+1)) + r.Burst/4
		l.Remedy = "write policy: {rate_limit: {enabled: true}}, and port53 reload"
		l.judge(full <= most, fmt.Sprintf("%d answers to %d questions in %s", full, sent, took.Round(time.Millisecond)))
	}})
}

// burst asks many times at once, and counts the answers that are whole.
func (v *vantage) burst(to netip.AddrPort, name []byte, n int, timeout time.Duration) (sent, full int, took time.Duration) {
	c, err := v.dial(overUDP, to, timeout)
	if err != nil {
		return 0, 0, 0
	}
	defer c.Close()
	begun := time.Now()
	done := make(chan int)
	_ = c.SetReadDeadline(begun.Add(2 * timeout))
	go func() {
		buf, whole := make([]byte, 65535), 0
		for {
			n, err := c.Read(buf)
			if err != nil {
				break
			}
			if o := (outcome{reply: buf[:n]}); !o.truncated() && o.rcode() == 0 {
				whole++
			}
			_ = c.SetReadDeadline(time.Now().Add(timeout / 2))
		}
		done <- whole
	}()
	for range n {
		if _, err := c.Write(question(name, wire.TypeSOA, 0, 0)); err == nil {
			sent++
		}
		if sent%50 == 0 {
			time.Sleep(time.Millisecond) // not more than the socket's buffer holds
		}
	}
	full = <-done
	return sent, full, time.Since(begun)
}
