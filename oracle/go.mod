module port53/oracle

go 1.26.0

require (
	github.com/miekg/dns v1.1.73
	port53 v0.0.0
)

require (
	github.com/cloudflare/circl v1.6.5 // indirect
	github.com/dchest/siphash v1.2.3 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/net v0.61.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/tools v0.52.0 // indirect
)

replace port53 => ../
