package config

import "time"

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
	Keep   time.Duration `yaml:"keep" default:"1h" min:"1m" max:"168h"`
}
