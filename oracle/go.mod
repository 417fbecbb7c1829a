module port53/oracle

go 1.26.0

require (
	github.com/miekg/dns v1.1.73
	port53 v0.0.0
)

require (
	golang.org/x/net v0.57.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

replace port53 => ../
