module port53/bench

go 1.26.0

require (
	github.com/miekg/dns v1.1.73
	golang.org/x/sys v0.49.0
	port53/conformance v0.0.0
)

require golang.org/x/net v0.62.0 // indirect

replace port53/conformance => ../conformance
