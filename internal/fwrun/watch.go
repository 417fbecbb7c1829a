package fwrun

import (
	"context"
	"time"
)

const (
	settle = time.Second // from a first change until the rest of it is taken to have come
	rest   = 3 * time.Second
	look   = time.Minute // for rules that nobody tells of: those of iptables-legacy
)

// Watch calls changed when rules of this machine may have changed, one call after the other, until
// ctx ends: soon after the kernel tells of it, not again within some seconds, and from time to time
// for rules that it does not tell of.
func Watch(ctx context.Context, changed func()) {
	told := make(chan struct{}, 1)
	listen(ctx, func() {
		select {
		case told <- struct{}{}:
		default: // what is told of already has not been looked at yet
		}
	})
	go func() {
		timer := time.NewTimer(look)
		defer timer.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-told:
			case <-timer.C:
			}
			changed()
			select {
			case <-ctx.Done():
				return
			case <-time.After(rest):
			}
			timer.Reset(look)
		}
	}()
}
