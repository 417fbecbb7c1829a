//go:build !linux || mips || mipsle || mips64 || mips64le

package hangup

type action struct{}

func hold() *action { return nil }

func (*action) restore() {}
