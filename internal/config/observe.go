package config

import (
	"net/netip"
	"time"
)

// What is remembered of answers.
const (
	WhyOff      = "off"
	WhyProblems = "problems"
	WhyMisses   = "misses"
)

// Why is what port53 why can tell of.
type Why struct {
	Record string `yaml:"record" is:"word" words:"problems misses off" default:"problems"`
	Size   Size   `yaml:"size" default:"16MiB" min:"64KiB" max:"1GiB"`
	Tell   bool   `yaml:"tell" default:"true"`
}

// When port53 top counts.
const (
	TopAsked  = "asked"
	TopAlways = "always"
	TopOff    = "off"
)

// Top is what port53 top counts.
type Top struct {
	Record string        `yaml:"record" is:"word" words:"asked always off" default:"asked"`
	Keep   time.Duration `yaml:"keep" default:"1h" min:"1m" max:"7d"`
}

// Dnstap is where queries and replies are sent with their octets.
type Dnstap struct {
	Socket   string         `yaml:"socket" is:"path" default:""`
	Address  netip.AddrPort `yaml:"address" is:"address-or-off" port:"6000" default:"off"`
	Kinds    []string       `yaml:"kinds" is:"word" words:"client auth resolver forwarder update" default:"client, auth, resolver"`
	Identity string         `yaml:"identity" default:""`
	Version  bool           `yaml:"version" default:"false"`
}

// On reports whether anything is sent.
func (d *Dnstap) On() bool { return d.Socket != "" || d.Address.IsValid() }

func (d *decoder) checkDnstap() {
	if t := d.config.Dnstap; t.Socket != "" && t.Address.IsValid() {
		d.contradiction(
			"dnstap.address", "dnstap.socket", "dnstap has a socket and an address", "remove one of them: there is one collector",
		)
	}
}
