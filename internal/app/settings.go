package app

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"reflect"
	"slices"

	"port53/internal/config"
	"port53/internal/engine"
	"port53/internal/keeper"
	"port53/internal/policy"
	"port53/internal/tsig"
	"port53/internal/wire"
)

func randomSeed() (wire.Seed, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return 0, fmt.Errorf("random numbers: %w", err)
	}
	return wire.Seed(binary.LittleEndian.Uint64(b[:])), nil
}

// settings makes what the engine needs of c. What has state, the limiter's table
// and the cookies' secrets, is kept from before if its part of c is the same. On
// an error nothing has changed.
func (a *App) settings(c *config.Config) (engine.Settings, error) {
	s := engine.Settings{
		UDPSize: c.EDNS.UDPSize, NSID: []byte(c.Identity.NSID), Padding: c.EDNS.Padding,
		Version: c.Identity.Version, Hostname: c.Identity.Hostname,
	}
	var err error
	allow := c.Policy.Allow
	if a.recursion != nil && c.Recurses() {
		clients, err := recursionClients(c)
		if err != nil {
			return s, err
		}
		if s.Recursion, err = a.engineRecursion(c, clients); err != nil {
			return s, err
		}
		if len(allow) == 0 && c.Internal() {
			allow = clients // zones beside a resolver for a network are for the network
		}
	}
	if len(allow) > 0 {
		allow = append(slices.Clip(allow), transferPeers(c)...) // what else they may is the keeper's to say
	}
	if len(allow)+len(c.Policy.Deny) > 0 {
		if s.Clients, err = policy.NewACL(policy.ACLOptions{Allow: allow, Deny: c.Policy.Deny}); err != nil {
			return s, err
		}
	}
	r := c.Policy.RateLimit
	rates := a.rates
	switch {
	case !r.Enabled:
		rates = nil
	case rates == nil || !reflect.DeepEqual(r, a.config.Policy.RateLimit):
		slip := r.Slip
		if slip == 0 {
			slip = policy.NeverSlip
		}
		rates, err = policy.NewRateLimiter(policy.RateOptions{
			PerSecond: int(r.PerSecond), Burst: r.Burst, Slip: slip,
			Ceiling: int(r.Ceiling), CeilingBurst: r.CeilingBurst,
			IPv4Prefix: r.IPv4Prefix, IPv6Prefix: r.IPv6Prefix,
			Memory: int(r.Table), LogOnly: r.LogOnly, Exempt: r.Exempt,
		})
		if err != nil {
			return s, err
		}
	}
	cookies := a.cookies
	switch {
	case !c.EDNS.Cookies:
		cookies = nil
	case cookies == nil || c.EDNS.CookieSecretsFile != a.config.EDNS.CookieSecretsFile || c.EDNS.CookieSecretsFile != "":
		secrets, err := cookieSecrets(c.EDNS.CookieSecretsFile)
		if err != nil {
			return s, err
		}
		if cookies, err = policy.NewCookies(policy.CookieOptions{Secrets: secrets}); err != nil {
			return s, err
		}
	}
	if len(c.Keys) > 0 {
		s.Keys = keyRing(c)
	}
	s.Keeper = zoneKeeper{a}
	a.rates, a.cookies = rates, cookies
	s.Rates, s.Cookies = rates, cookies
	return s, nil
}

// cookieSecrets reads the secrets that servers of one address share: one or two
// lines of 32 hexadecimal digits.
func cookieSecrets(file string) ([][16]byte, error) {
	if file == "" {
		return nil, nil
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("cookie secrets: %w", err)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("cookie secrets: %s may be read by everyone: chmod o= %s", file, file)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cookie secrets: %w", err)
	}
	var secrets [][16]byte
	for _, line := range bytes.Fields(text) {
		secret, err := hex.DecodeString(string(line))
		if err != nil || len(secret) != 16 {
			return nil, fmt.Errorf("cookie secrets: %s: want lines of 32 hexadecimal digits", file)
		}
		secrets = append(secrets, [16]byte(secret))
	}
	if len(secrets) == 0 || len(secrets) > 2 {
		return nil, fmt.Errorf("cookie secrets: %s: want one or two secrets, found %d", file, len(secrets))
	}
	return secrets, nil
}

// sources returns where the zones of c come from.
func sources(c *config.Config) []keeper.Source {
	ring := keyRing(c)
	all := make([]keeper.Source, len(c.Zones))
	listed := map[string][]keeper.Listed{}
	for i, z := range c.Zones {
		all[i] = keeper.Source{
			Apex: z.Name, File: z.File,
			Generate: c.ZoneLimits.Generate, MaxRecords: c.ZoneLimits.Records, MaxSize: int64(c.ZoneLimits.Size),
			Primaries: z.Primaries, Secondaries: z.Secondaries, Notify: z.Notify, Transfer: z.AllowTransfer,
			Key: ring.Key(z.TSIG), Insecure: z.Insecure, Updates: grants(&z), Next: serials(z.Serial),
			AllowNotify: z.AllowNotify, Forward: z.Forward, Produces: z.Catalog == "produce",
		}
		if z.Catalog == "consume" {
			all[i].Consumes = members(ring, &z)
		}
		if z.InCatalog != nil {
			key := string(wire.Lower(nil, z.InCatalog))
			listed[key] = append(listed[key], keeper.Listed{Apex: z.Name, Group: z.Group})
		}
	}
	for i := range all {
		if all[i].Produces {
			all[i].Listed = listed[string(wire.Lower(nil, all[i].Apex))]
		}
	}
	return all
}

// members returns how the zones are served that the catalog z names.
func members(ring *tsig.Ring, z *config.Zone) *keeper.Template {
	m := &z.Members
	t := &keeper.Template{
		Primaries: m.Primaries, Secondaries: m.Secondaries, Notify: m.Notify, Transfer: m.AllowTransfer,
		Key: ring.Key(m.TSIG), Insecure: m.TSIG == nil && z.Insecure, Groups: map[string]*keeper.Template{},
	}
	for _, g := range m.Groups {
		group := &keeper.Template{
			Primaries: g.Primaries, Secondaries: g.Secondaries, Notify: g.Notify, Transfer: g.AllowTransfer,
			Key: ring.Key(g.TSIG), Insecure: t.Insecure && g.TSIG == nil,
		}
		if g.TSIG == nil {
			group.Key = t.Key
		}
		if len(group.Primaries) == 0 {
			group.Primaries = t.Primaries
		}
		t.Groups[g.Name] = group
	}
	return t
}
