module port53/oracle

go 1.26.4

require (
	github.com/AdguardTeam/golibs v0.35.13
	github.com/AdguardTeam/urlfilter v0.23.4
	github.com/dnstap/golang-dnstap v0.4.0
	github.com/farsightsec/golang-framestream v0.3.0
	github.com/miekg/dns v1.1.73
	google.golang.org/protobuf v1.36.11
	port53 v0.0.0
)

require (
	github.com/c2h5oh/datasize v0.0.0-20231215233829-aa82cc1e6500 // indirect
	github.com/cloudflare/circl v1.6.5 // indirect
	github.com/dchest/siphash v1.2.3 // indirect
	github.com/quic-go/qpack v0.6.0 // indirect
	github.com/quic-go/quic-go v0.65.0 // indirect
	golang.org/x/crypto v0.59.0 // indirect
	golang.org/x/exp v0.0.0-20260611194520-c48552f49976 // indirect
	golang.org/x/net v0.62.0 // indirect
	golang.org/x/sys v0.50.0 // indirect
	golang.org/x/text v0.44.0 // indirect
	golang.org/x/tools v0.52.0 // indirect
)

replace port53 => ../
