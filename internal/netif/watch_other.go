//go:build !linux

package netif

import "context"

func watch(ctx context.Context, changed func()) error { return look(ctx, changed) }
