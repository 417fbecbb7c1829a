package app

import (
	"path/filepath"
	"slices"

	"port53/internal/config"
)

// places are the directories that a server needs once it serves, each with what is below it.
type places struct {
	read  []string // of what the configuration names
	write []string // of what the server keeps
	token []string // files and directories that modules of key stores use, devices among them
}

// placesOf returns the places of a server of c: a reload reads the files that are named
// again, or others beside them.
func placesOf(c *config.Config) (p places) {
	beside := func(list *[]string, files ...string) {
		for _, f := range files {
			if f == "" || f == "/dev/stdout" {
				continue
			}
			*list = append(*list, filepath.Dir(f))
			if target, err := filepath.EvalSymlinks(f); err == nil {
				*list = append(*list, filepath.Dir(target)) // a link leads there at the next reload too, as a rule
			}
		}
	}
	beside(&p.read, c.Files()...)
	p.read = append(p.read, c.IncludeDirs()...)
	beside(&p.read, c.Resolver.RootHints, c.Resolver.TrustAnchors, c.EDNS.CookieSecretsFile)
	beside(&p.read, c.Encrypted.Tickets, c.Encrypted.ACME.CA, c.Encrypted.ACME.EAB.HMACFile)
	for _, pair := range slices.Concat(c.Encrypted.Pairs(), c.Console.Pairs(), c.API.Pairs()) {
		beside(&p.read, pair.Certificate, pair.Key)
	}
	beside(&p.read, c.Console.OIDC.SecretFile)
	for i := range c.Remotes {
		t := &c.Remotes[i].TLS
		beside(&p.read, t.CA, t.Certificate, t.Key)
	}
	for i := range c.ClientCertificates {
		beside(&p.read, c.ClientCertificates[i].CA)
	}
	for _, f := range c.Resolver.Forward {
		beside(&p.read, f.TLS.CA)
	}
	for _, f := range c.Resolver.Stub {
		beside(&p.read, f.TLS.CA)
	}
	for _, f := range c.Hosts {
		beside(&p.read, f.File)
	}
	for _, f := range c.Leases {
		beside(&p.read, f.File) // a DHCP server puts another in its place
	}
	for _, l := range c.Policy.Lists {
		beside(&p.read, l.File)
	}
	for _, k := range c.Keys {
		beside(&p.read, k.SecretFile)
	}
	for _, t := range c.Tokens {
		beside(&p.read, t.SecretFile)
	}
	for i := range c.KeyStores {
		beside(&p.read, c.KeyStores[i].Module, c.KeyStores[i].PINFile)
		p.token = append(p.token, c.KeyStores[i].Paths...)
	}
	for i := range c.Zones {
		if from := c.Zones[i].DNSSEC.KeysFrom; from != "" {
			p.read = append(p.read, from)
		}
		if z := &c.Zones[i]; len(z.Updates)+len(c.Tokens)+len(c.ClientCertificates) > 0 || c.Console.Listen.IsValid() {
			beside(&p.write, z.File) // port53 zone sync
		} else {
			beside(&p.read, z.File)
		}
	}
	beside(&p.write, c.Log.QueriesFile, c.Dnstap.Socket, c.Audit.File, c.Resolver.Cache.Dump, c.Control.Socket)
	p.write = append(p.write, c.StateDir)
	if c.Firewall.Manage {
		// nft, ip and the save commands of iptables, with what they load and read. All of it
		// is the system's, and none of it a secret.
		p.read = append(p.read, "/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/iproute2", "/etc/alternatives", "/etc/nftables")
		p.write = append(p.write, c.Firewall.StateDir)
	}
	for _, list := range []*[]string{&p.read, &p.write} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return p
}

// Sandbox is what a server has given up beside its rights.
type Sandbox struct {
	Files string `json:"files"` // by what files are confined; off, or that the kernel cannot
	Calls string `json:"calls"` // which system calls are refused: strict, or fewer; off, or that the kernel cannot
}
