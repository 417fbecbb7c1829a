package netif

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// watch listens to the kernel. It needs no right, and no file system.
func watch(ctx context.Context, changed func()) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return look(ctx, changed) // a sandbox of a container may have none
	}
	const groups = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		unix.Close(fd)
		return look(ctx, changed)
	}
	f := os.NewFile(uintptr(fd), "rtnetlink")
	stop := context.AfterFunc(ctx, func() { f.Close() })
	go func() {
		defer stop()
		defer f.Close()
		b := make([]byte, 64<<10)
		for {
			// What was told is of no interest: the addresses are read again. Neither is that
			// some was lost (ENOBUFS).
			if _, err := f.Read(b); err != nil && !errors.Is(err, unix.ENOBUFS) {
				return
			}
			for end := time.Now().Add(settle); ; {
				_ = f.SetReadDeadline(end)
				if _, err := f.Read(b); err != nil && !errors.Is(err, unix.ENOBUFS) {
					break
				}
			}
			_ = f.SetReadDeadline(time.Time{})
			if ctx.Err() != nil {
				return
			}
			changed()
		}
	}()
	return nil
}
