package resolver_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"port53/internal/cache"
	"port53/internal/dnstest"
	"port53/internal/resolver"
	"port53/internal/upstream"
	"port53/internal/wire"
)

// That a name is in no zone of its own is kept as well where NSEC records of other names say so (RFC 8198).
func TestFindServersDenied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := attack(t, `
-- zone . 192.0.2.1 --
! signed
-- zone com. 192.0.2.2 --
! signed
-- zone example.com. 192.0.2.3 --
! signed
a A 198.51.100.1
z A 198.51.100.3
`)
		client := upstream.New(upstream.Options{Network: w.Net, Cookies: true})
		defer client.Close()
		c, config := cache.New(cache.Options{Size: 4 << 20}), resolver.Compile(s)
		r := resolver.New(resolver.Options{Cache: c, Exchanger: client}, config)
		defer r.Close()
		ask(t, r, "b.example.com.", wire.TypeA)
		sent := r.Counters().Sent.Load()
		name := wire.Lower(nil, dnstest.Name(t, "d.example.com."))
		r.FindServers(config, resolver.Wanted{Name: name}, wire.TypeA)
		var told roll
		new(resolver.NSFinder).Find(config, c, name, wire.TypeA, c.Now(), false, &told)
		if got := strings.Join(told, " "); got != "ns1.example.com." || r.Counters().NSUnknown.Load() != 0 || r.Counters().Sent.Load() != sent {
			t.Errorf("%s; %d not found, %d packets", got, r.Counters().NSUnknown.Load(), r.Counters().Sent.Load()-sent)
		}
	})
}
