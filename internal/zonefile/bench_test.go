package zonefile_test

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"port53/internal/wire"
	"port53/internal/zonefile"
)

// registryZone makes a zone such as a registry has: hosts with addresses, and
// delegations with glue. It has about 2.9 records a name.
func registryZone(names int) []byte {
	var b bytes.Buffer
	b.WriteString("$ORIGIN bench.example.\n$TTL 3600\n@ SOA ns1 hostmaster 1 7200 3600 1209600 300\n@ NS ns1\nns1 A 192.0.2.1\n")
	for i := range names {
		name := fmt.Sprintf("%x", uint64(i+1)*0x9E3779B97F4A7C15>>16)
		if i%10 == 0 {
			fmt.Fprintf(&b, "%s A 203.0.113.%d\n%s AAAA 2001:db8::%x:%x\n", name, i%256, name, i>>16, i&0xFFFF)
			continue
		}
		fmt.Fprintf(&b, "%s NS ns1.%s\n%s NS ns2.dns%d.example.net.\nns1.%s A 198.51.%d.%d\n", name, name, name, i%97, name, i>>8&255, i%256)
	}
	return b.Bytes()
}

// signedZone makes a zone such as a signer writes: absolute names, TTL and class
// with every record, signatures and keys.
func signedZone(names int) []byte {
	const signature = "JBJVkjW8kqUm2GZFKoD9HVpZqJTDhpqMqEjwGkxjTGhrKsH9wQZzYqYbLsmDVLQz0pMpYqTQzKqvH1eYmbVYpQ=="
	var b bytes.Buffer
	b.WriteString("bench.example.\t3600\tIN\tSOA\tns1.bench.example. hostmaster.bench.example. 1 7200 3600 1209600 300\n")
	for i := range names {
		fmt.Fprintf(&b, "n%d.bench.example.\t3600\tIN\tNS\tns1.n%d.bench.example.\n", i, i)
		fmt.Fprintf(&b, "n%d.bench.example.\t3600\tIN\tDS\t%d 13 2 %064x\n", i, i%65536, uint64(i)*0x9E3779B97F4A7C15)
		fmt.Fprintf(&b, "n%d.bench.example.\t3600\tIN\tRRSIG\tDS 13 3 3600 20300101000000 20260101000000 %d bench.example. %s\n", i, i%65536, signature)
		fmt.Fprintf(&b, "n%d.bench.example.\t300\tIN\tNSEC\tn%d.bench.example. NS DS RRSIG NSEC\n", i, i+1)
	}
	return b.Bytes()
}

func BenchmarkRead(b *testing.B) {
	zones := map[string][]byte{"registry": registryZone(100_000), "signed": signedZone(25_000)}
	if file := os.Getenv("PORT53_BENCH_ZONE"); file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			b.Fatal(err)
		}
		zones["file"] = text
	}
	for name, text := range zones {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			records := 0
			for b.Loop() {
				_, err := zonefile.Read(bytes.NewReader(text), zonefile.Options{Origin: wire.Root, Name: "bench.zone"}, func(*zonefile.Record) error {
					records++
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(records)/b.Elapsed().Seconds(), "records/s")
		})
	}
}
