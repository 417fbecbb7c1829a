package config

import "time"

// When port53 top counts.
const (
	TopAsked  = "asked"
	TopAlways = "always"
	TopOff    = "off"
)

// Top is what port53 top counts.
type Top struct {
	Record string        `yaml:"record" is:"word" words:"asked always off" default:"asked"`
	Keep   time.Duration `yaml:"keep" default:"1h" min:"1m" max:"168h"`
}
