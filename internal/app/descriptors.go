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
	need     int // for all that the configuration allows at the same time
	conns    int // of clients over TCP
	secure   int // of clients over TLS
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
	if c.Encrypted.Listens() {
		own += len(encryptedAddrs(c)) + len(c.Encrypted.QUIC()) + len(c.Encrypted.ACME.Listen)*(1+acmeConns)
		d.secure = c.Encrypted.Limits.Connections
	}
	asked := 0
	if c.Recurses() {
		asked = c.Resolver.Limits.Waiting + upstreamConns
	}
	if d.need = own + d.conns + d.secure + asked; d.need <= limit {
		return d
	}
	rest := max(limit-own, 4*leastDescriptors)
	clients := min(d.conns+d.secure, rest)
	if asked > 0 {
		clients = min(clients, rest/2)
		d.upstream = max(rest-clients, leastDescriptors)
	}
	if d.secure > 0 { // each as much of what there is as it may have of what it asks for
		d.secure = max(clients*d.secure/(d.conns+d.secure), leastDescriptors)
	}
	d.conns = max(clients-d.secure, 1)
	return d
}

// budget returns the shares of this process, and says so if they are less than the
// configuration allows.
func (a *App) budget(c *config.Config) descriptors {
	limit, ok := descriptorLimit()
	if !ok {
		return descriptors{conns: c.TCP.MaxConnections, secure: c.Encrypted.Limits.Connections}
	}
	d := share(c, limit)
	if d.need > limit {
		a.log.Warn(
			"the limit of open files is too low for the configuration: raise it (ulimit -n, LimitNOFILE), or lower "+
				"tcp.max_connections, encrypted.limits.connections and resolver.limits.waiting",
			"limit",
			limit,
			"needed",
			d.need,
			"tcp_connections",
			d.conns,
			"encrypted_connections",
			d.secure,
			"sockets_to_servers",
			d.upstream,
		)
	}
	return d
}
