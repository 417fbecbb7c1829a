package app

import (
	"runtime"

	"port53/internal/config"
)

// Descriptors that are nobody's from outside: a flood of clients, or of questions to servers,
// leaves them for the operator.
const (
	spareDescriptors = 96   // metrics, the control socket, logs, zones that are read, and the runtime
	upstreamConns    = 1024 // connections to servers that are kept
	leastDescriptors = 16   // of each kind, however few there are
)

// descriptors is how the file descriptors of the process are shared.
type descriptors struct {
	need     int // for all that the configuration allows at one time
	conns    int // of clients over TCP
	upstream int // to servers, for the resolver; 0: as many as it takes
}

// share shares out limit descriptors. What the configuration allows is cut where they do not
// suffice: clients and questions to servers have a half each of what is left of them.
func share(c *config.Config, limit int) descriptors {
	workers := c.UDP.Workers
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	own := spareDescriptors + len(c.Listen)*(1+workers) + c.Transfers.MaxIn
	d := descriptors{conns: c.TCP.MaxConnections}
	asked := 0
	if c.Recurses() {
		asked = c.Resolver.Limits.Waiting + upstreamConns
	}
	if d.need = own + d.conns + asked; d.need <= limit {
		return d
	}
	rest := max(limit-own, 2*leastDescriptors)
	if asked > 0 {
		d.conns = min(d.conns, rest/2)
		d.upstream = max(rest-d.conns, leastDescriptors)
	} else {
		d.conns = min(d.conns, rest)
	}
	return d
}

// budget returns the shares of this process, and says so if they are less than the
// configuration allows.
func (a *App) budget(c *config.Config) descriptors {
	limit, ok := descriptorLimit()
	if !ok {
		return descriptors{conns: c.TCP.MaxConnections}
	}
	d := share(c, limit)
	if d.need > limit {
		a.log.Warn("the process may open fewer files and sockets than the configuration allows: raise the limit (ulimit -n, LimitNOFILE), or lower tcp.max_connections and resolver.limits.waiting",
			"limit", limit, "needed", d.need, "tcp_connections", d.conns, "sockets_to_servers", d.upstream)
	}
	return d
}
