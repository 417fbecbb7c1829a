package app

import (
	"net/netip"
	"reflect"
	"time"

	"port53/internal/event"
	"port53/internal/telemetry"
	"port53/internal/top"
)

// blocking tells the engine whose questions are not asked of others.
type blocking struct{ watch *watch }

// Blocks implements [engine.Blocker].
func (s blocking) Blocks(client netip.Addr, name []byte) bool {
	t := s.watch.tunnels.Load()
	return t != nil && t.Blocks(client, name)
}

// followTunnels begins or ends the watch for tunnels as the configuration says, after a reload too.
func (a *App) followTunnels() {
	w, c := &a.watch, a.current.Load().config
	a.followLearning(c)
	w.mu.Lock()
	defer w.mu.Unlock()
	policy := c.Policy.Tunnel
	if !c.Recurses() || w.closed {
		policy.Action = top.TunnelOff
	}
	if w.tunnels.Load() != nil && reflect.DeepEqual(w.tunnelPolicy, policy) {
		return
	}
	w.stopTunnels()
	if w.tunnelPolicy = policy; policy.Action == top.TunnelOff {
		return
	}
	t := top.NewTunnels(top.TunnelOptions{
		Action: policy.Action, Exempt: policy.Exempt, Learned: w.learning.Learned,
		Found: func(x *top.Tunnel) {
			a.log.Warn("a client may be moving data through DNS: port53 top --tunnels shows more",
				"client", x.Client, "domain", x.Domain, "action", policy.Action, "why", x.Why,
				"octets_in_names", x.Octets, "octets_in_answers", x.Answers, "samples", x.Samples)
		},
	})
	w.endTunnels = w.hub.Subscribe(event.Misses, t.Take)
	w.tunnels.Store(t)
}

// stopTunnels ends the watch. The lock is held.
func (w *watch) stopTunnels() {
	if w.endTunnels != nil {
		w.endTunnels()
		w.endTunnels = nil
	}
	w.tunnels.Store(nil)
}

// Tunnels returns what the watch for tunnels has found. It implements [api.Host].
func (a *App) Tunnels() top.TunnelReport {
	t := a.watch.tunnels.Load()
	if t == nil {
		return top.TunnelReport{Action: top.TunnelOff, Tunnels: []top.Tunnel{}}
	}
	a.watch.hub.Flush()
	r := top.TunnelReport{Action: t.Action(), Tunnels: t.List()}
	if l := t.Learned(); l != nil {
		r.Learning = l.Report(time.Now())
	}
	return r
}

// collectTunnels writes what the watch has found.
func (a *App) collectTunnels(w *telemetry.Writer) {
	t := a.watch.tunnels.Load()
	if t == nil {
		return
	}
	now, total, refused := t.Counts()
	w.Set("port53_tunnels", float64(now))
	w.Set("port53_tunnels_total", float64(total))
	w.Set("port53_tunnel_refused_total", float64(refused))
	if l := t.Learned(); l != nil {
		by, active := l.Count(time.Now())
		for _, verdict := range []string{top.DomainLearned, top.DomainAccepted, top.DomainRejected, top.DomainSeen} {
			w.Set("port53_tunnel_domains", float64(by[verdict]), "verdict", verdict)
		}
		learning := 0.0
		if active {
			learning = 1
		}
		w.Set("port53_tunnel_learning", learning)
	}
}
