package fwrun

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// listen calls changed for rules that come and go, as the kernel tells of them (nf_tables, which
// iptables-nft, firewalld, ufw and Docker load their rules into as well). It reports whether it can.
func listen(ctx context.Context, changed func()) bool {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return false
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (unix.NFNLGRP_NFTABLES - 1)}); err != nil {
		unix.Close(fd)
		return false
	}
	f := os.NewFile(uintptr(fd), "nfnetlink")
	stop := context.AfterFunc(ctx, func() { f.Close() })
	go func() {
		defer stop()
		defer f.Close()
		b := make([]byte, 64<<10)
		for {
			n, err := f.Read(b)
			lost := errors.Is(err, unix.ENOBUFS)
			if err != nil && !lost {
				return
			}
			if !lost && !aboutRules(b[:n]) {
				continue
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
	return true
}

// aboutRules reports whether messages tell of tables, chains or rules: elements of sets come and go
// by the thousand.
func aboutRules(b []byte) bool {
	const header = unix.SizeofNlMsghdr
	for len(b) >= header {
		size, kind := int(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint16(b[4:])
		if kind>>8 == unix.NFNL_SUBSYS_NFTABLES {
			switch kind & 0xff {
			case unix.NFT_MSG_NEWTABLE,
				unix.NFT_MSG_DELTABLE,
				unix.NFT_MSG_NEWCHAIN,
				unix.NFT_MSG_DELCHAIN,
				unix.NFT_MSG_NEWRULE,
				unix.NFT_MSG_DELRULE:
				return true
			}
		}
		size = (size + 3) &^ 3
		if size < header || size > len(b) {
			return false
		}
		b = b[size:]
	}
	return false
}
