package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
)

// checkAsked reports addresses that may transfer a zone, or announce one, and that get no
// further than REFUSED: whom policy does not let ask at all, allow_transfer does not let in.
func (d *decoder) checkAsked() {
	c := d.config
	allow, key := c.Policy.Allow, "policy.allow"
	if len(allow) == 0 && c.Recurses() && c.Internal() {
		allow, key = c.Resolver.Allow, "resolver.allow"
	}
	if len(c.Policy.AllowInterfaces)+len(c.Resolver.AllowInterfaces) > 0 {
		allow = nil // nobody knows what networks they will have
	}
	var peers []netip.Prefix // they may ask whatever policy.allow says
	for i := range c.Zones {
		z := &c.Zones[i]
		for _, a := range slices.Concat(z.Primaries, z.Secondaries, z.Members.Primaries, z.Members.Secondaries) {
			peers = append(peers, netip.PrefixFrom(a.Addr(), a.Addr().BitLen()))
		}
	}
	for i := range c.Zones {
		z := &c.Zones[i]
		d.checkMayAsk(i, "allow_transfer", z.AllowTransfer, allow, peers, key)
		d.checkMayAsk(i, "allow_transfer", z.TransferAlone, allow, peers, key)
		d.checkMayAsk(i, "allow_notify", z.AllowNotify, allow, peers, key)
	}
}

func (d *decoder) checkMayAsk(zone int, name string, listed, allow, peers []netip.Prefix, key string) {
	for j, n := range listed {
		let := len(allow) == 0 || slices.ContainsFunc(slices.Concat(allow, peers), n.Overlaps)
		where := fmt.Sprintf("zone %s: %s[%d]: no address of %s", quote(nameText(d.config.Zones[zone].Name)), name, j, n)
		at := d.item("zones."+name, int32(zone), j)
		switch {
		case within(d.config.Policy.Deny, n):
			d.fail(at, where+" may query at all: policy.deny has all of them"+d.seen("policy.deny", at), "remove it from one of them")
		case !let:
			d.fail(at, where+" may query at all: "+key+" has none of them"+d.seen(key, at), "add it to "+key+", or remove it here")
		}
	}
}

// maxMemory32 is the most that one table may take where addresses have 32 bits: there are 2 to
// 4 GiB for all of a process.
const maxMemory32 = 1 << 30

// checkMemory reports tables that are larger than a process of this machine's kind can have.
func (d *decoder) checkMemory(addressBits int) {
	if addressBits > 32 {
		return
	}
	for _, t := range []struct {
		path string
		size Size
	}{{"resolver.cache.size", d.config.Resolver.Cache.Size}, {"policy.rate_limit.table", d.config.Policy.RateLimit.Table}} {
		if at, set := d.at(t.path); set && t.size > maxMemory32 {
			d.fail(
				at,
				fmt.Sprintf("%s: %s is more than this 32-bit program can have", t.path, t.size),
				"write at most 1GiB, or use the 64-bit program",
			)
		}
	}
}

// addressBits is how many bits the addresses of this program have.
const addressBits = strconv.IntSize
