// Package netif is the addresses of this machine's network interfaces, and their changes: an
// address comes when a link or a tunnel goes up, and the prefix of a home's IPv6 network is
// another one every day.
//
// [List] reads them as they are, and [Watch] tells when they may have changed: on Linux the
// kernel says so (rtnetlink(7)), elsewhere they are looked at from time to time.
package netif

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// An Address is an address of an interface, with the length of its on-link prefix.
type Address struct {
	Interface string
	Prefix    netip.Prefix // not masked: its address is the interface's
}

// List returns the addresses of all interfaces, in the order of the system. Those of no
// family, with a mask that is no prefix or that is everything, are left out.
func List() ([]Address, error) {
	links, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("interfaces of this machine: %w", err)
	}
	var all []Address
	for _, l := range links {
		addrs, err := l.Addrs()
		if err != nil {
			continue // it is gone by now
		}
		for _, a := range addrs {
			if p, ok := prefixOf(a); ok {
				all = append(all, Address{l.Name, p})
			}
		}
	}
	return all, nil
}

func prefixOf(a net.Addr) (netip.Prefix, bool) {
	n, ok := a.(*net.IPNet)
	if !ok {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	addr = addr.Unmap()
	ones, bits := n.Mask.Size()
	if !ok || bits != addr.BitLen() || ones == 0 {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(addr, ones), true
}

// Prefixes returns the on-link prefixes of the interface of a name, each once.
func Prefixes(all []Address, name string) (list []netip.Prefix) {
	for _, a := range all {
		if p := a.Prefix.Masked(); a.Interface == name && !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	return list
}

// Has reports whether an interface has the address; all have the unspecified ones.
func Has(all []Address, addr netip.Addr) bool {
	addr = addr.Unmap()
	return addr.IsUnspecified() || slices.ContainsFunc(all, func(a Address) bool {
		// All of 127.0.0.0/8 is there if one of it is.
		return a.Prefix.Addr() == addr.WithZone("") || a.Prefix.Addr().IsLoopback() && a.Prefix.Contains(addr)
	})
}

const (
	// settle is how long changes may go on before they are told: those of one event come
	// one after the other.
	settle = 100 * time.Millisecond
	// lookTime is how often the addresses are looked at where the system does not tell.
	lookTime = 15 * time.Second
)

// Watch calls changed, from one goroutine, when addresses may have changed, until ctx ends.
// It may be called for nothing. What changes after Watch was called is told.
func Watch(ctx context.Context, changed func()) error {
	return watch(ctx, changed)
}

// look is Watch for systems that do not tell.
func look(ctx context.Context, changed func()) error {
	last, err := List()
	if err != nil {
		return err
	}
	go func() {
		tick := time.NewTicker(lookTime)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if now, err := List(); err == nil && !slices.Equal(now, last) {
				last = now
				changed()
			}
		}
	}()
	return nil
}
