package check

import (
	"net/netip"
	"sync"

	"port53/internal/wire"
)

// Facts are what is known of one target, each found out once for all of its checks. The zero
// value knows nothing. It is safe for concurrent use.
type Facts struct {
	known sync.Map // a func() V for each Fact[V]
}

// A Fact names what can be known: a V, which the type alone tells from what else can be known of
// the same server, name or type. What a Fact does not speak of is zero.
type Fact[V any] struct {
	Server netip.AddrPort
	Name   string // in wire form and lower case
	Type   wire.Type
}

// Once returns what find returns, which is called once for all runs that share their facts.
func Once[V any](r *Run, of Fact[V], find func() V) V {
	if r.Facts == nil {
		r.Facts = new(Facts)
	}
	return once(r.Facts, of, find)
}

// onceOfServer is Once for all targets that share the gate, as they may share servers.
func onceOfServer[V any](r *Run, of Fact[V], find func() V) V {
	if r.Options == nil || r.Options.Limiter == nil {
		return Once(r, of, find)
	}
	return once(&r.Options.Limiter.servers, of, find)
}

func once[V any](f *Facts, of Fact[V], find func() V) V {
	v, _ := f.known.LoadOrStore(of, sync.OnceValue(find))
	return v.(func() V)() // nothing else is kept under a Fact[V]
}
