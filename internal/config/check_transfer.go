package config

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"

	"port53/internal/wire"
)

// minSecret is the octets of the shortest secret: 128 bits, which nobody guesses.
const minSecret = 16

// checkTransfers reports keys that are no good, zones that come from nowhere or from two
// places, and transfers that anybody could have or forge.
func (d *decoder) checkTransfers() {
	keys := map[string]bool{}
	for i := range d.config.Keys {
		k := &d.config.Keys[i]
		name := string(wire.Lower(nil, k.Name))
		at := d.keyAt("keys.name", i)
		if keys[name] {
			d.fail(at, fmt.Sprintf("key %s is already defined", quote(nameText(k.Name))), "remove one of them")
		}
		keys[name] = true
		switch {
		case k.Secret != "" && k.SecretFile != "":
			d.fail(at, fmt.Sprintf("key %s has both secret and secret_file", quote(nameText(k.Name))), "remove secret")
		case d.config.KeyGranted(i): // whose secret is in state_dir
		case k.Secret == "" && k.SecretFile == "":
			d.fail(
				at,
				fmt.Sprintf("key %s has no secret", quote(nameText(k.Name))),
				"add secret_file: "+yamlText("keys/"+nameText(k.Name))+", and fill it with openssl rand -base64 32",
			)
		case k.Secret != "":
			octets, err := secret(k.Secret)
			if err != nil {
				d.fail(
					d.keyAt("keys.secret", i),
					fmt.Sprintf("key %s: the secret %v", quote(nameText(k.Name)), err),
					"openssl rand -base64 32 makes a good one",
				)
			}
			k.Octets = octets
		}
	}
	for i := range d.config.Zones {
		d.checkTransfer(i, keys)
	}
}

// keyAt returns where the file has a key of the section at index i of a list, or where
// the list begins.
func (d *decoder) keyAt(path string, i int) position {
	if at, ok := d.atIndex(path, int32(i)); ok {
		return at
	}
	at, _ := d.at("keys")
	return at
}

func (d *decoder) checkTransfer(i int, keys map[string]bool) {
	z := &d.config.Zones[i]
	zone := "zone " + quote(nameText(z.Name)) + ": "
	at := func(key string) position {
		if p, ok := d.atIndex("zones."+key, int32(i)); ok {
			return p
		}
		return d.zones[i]
	}
	if z.Catalog == "none" {
		z.Catalog = ""
	}
	d.checkCatalog(i, keys)
	switch {
	case z.Stored && (z.File != "" || len(z.Primaries) > 0 || z.Catalog == "produce"):
		d.fail(at("stored"), zone+"with stored: true it comes from state_dir alone, but it has another source, too", "remove stored")
	case z.File == "" && len(z.Primaries) == 0 && z.Catalog != "produce" && !z.Stored:
		d.fail(d.zones[i], zone+"it has neither a file nor primaries", "add file: "+fileOf(z.Name))
	case len(z.Primaries) == 0 && z.Forward:
		d.fail(
			at("forward_updates"),
			zone+"it has no primaries to forward updates to",
			"remove it: updates says who may change a zone that is primary here",
		)
	case len(z.Primaries) == 0 && len(z.AllowNotify) > 0:
		d.fail(at("allow_notify"), zone+"it has no primaries that could send NOTIFY", "remove it")
	case z.File != "" && len(z.Primaries) > 0:
		d.fail(
			at("primaries"), zone+"it has both a file and primaries",
			"remove one of them (a secondary needs no file: it keeps the zone in state_dir)",
		)
	}
	d.checkUpdates(i, keys)
	z.TSIG = slices.DeleteFunc(z.TSIG, func(name []byte) bool { return len(bytes.Trim(name, "\x00")) == 0 })
	for key, names := range map[string][][]byte{"tsig": z.TSIG, "allow_transfer": z.TransferKeys} {
		for j, name := range names {
			if names[j] = wire.Lower(nil, name); !keys[string(names[j])] {
				d.noKey(at(key), zone, name)
			}
		}
	}
	d.checkKeyed(d.zones[i], zone, z.Keyed)
	d.checkKeyed(d.zones[i], zone+"members: ", z.Members.Keyed)
	if len(z.TSIG) > 0 || z.Insecure {
		return
	}
	bare := func(servers []netip.AddrPort) bool {
		return slices.ContainsFunc(servers, func(a netip.AddrPort) bool { return z.KeyOf(a) == nil && d.config.TLSRemote(a) == nil })
	}
	const remedy = "add tsig and the key's name, or insecure: true if the other side does not support TSIG and you trust the network"
	switch {
	case bare(z.Primaries):
		d.fail(
			at("primaries"),
			zone+"it would be transferred without TSIG: anyone on the path could change the zone",
			remedy,
		)
	case bare(z.Secondaries):
		d.fail(at("secondaries"), zone+"whoever has the address would get the zone, and an address can be forged or taken over", remedy)
	case len(z.AllowTransfer) > 0:
		d.fail(
			at("allow_transfer"),
			zone+"whoever has the address would get the zone, and an address can be forged or taken over",
			"add tsig and the key's name, or write {address: "+yamlText(z.AllowTransfer[0].String())+"}",
		)
	}
	for _, name := range z.TransferRemotes {
		if r := d.config.Remote(name); r != nil && len(r.TSIG) < 2 && !r.TLS.Set() {
			d.fail(
				at("allow_transfer"),
				zone+"remote "+quote(
					name,
				)+" has no key: whoever has its address would get the zone, and an address can be forged or taken over",
				"give the remote a tsig, or add tsig to the zone, or insecure: true if you trust the network",
			)
		}
	}
}

// KeyOf returns the name of the key that a server has of its own for a zone, in lower case, or
// nil: its messages are signed as tsig says.
func (z *ZoneSettings) KeyOf(a netip.AddrPort) []byte { return keyOf(z.Keyed, a) }

func keyOf(keyed []KeyedServer, a netip.AddrPort) []byte {
	for _, s := range keyed {
		if s.Addr == a {
			return s.Key
		}
	}
	return nil
}

// checkCatalog reports catalogs that come from nowhere, and zones in those that are not
// made here.
func (d *decoder) checkCatalog(i int, keys map[string]bool) {
	z := &d.config.Zones[i]
	zone := "zone " + quote(nameText(z.Name)) + ": "
	at := func(key string) position {
		if p, ok := d.atIndex("zones."+key, int32(i)); ok {
			return p
		}
		return d.zones[i]
	}
	switch {
	case z.Catalog == "consume" && len(z.Primaries) == 0:
		d.fail(at("catalog"), zone+"a catalog is consumed from its primaries", "add primaries: [ADDRESS], and tsig")
	case z.Catalog == "produce" && (z.File != "" || len(z.Primaries) > 0):
		d.fail(at("catalog"), zone+"a catalog that is made here has neither a file nor primaries", "remove them, or write catalog: consume")
	case z.Catalog == "produce" && !z.Transfers():
		d.fail(at("catalog"), zone+"no server may transfer the catalog", "add secondaries: [ADDRESS], and tsig")
	}
	named := []*[]byte{&z.Members.TSIG}
	for g := range z.Members.Groups {
		named = append(named, &z.Members.Groups[g].TSIG)
	}
	for _, name := range named {
		if len(bytes.Trim(*name, "\x00")) == 0 {
			*name = nil
		} else if *name = wire.Lower(nil, *name); !keys[string(*name)] {
			d.noKey(at("members"), zone, *name)
		}
	}
	if len(bytes.Trim(z.InCatalog, "\x00")) == 0 {
		z.InCatalog = nil
		if z.Group != "" {
			d.fail(at("group"), zone+"it has a group and is in no catalog", "add in_catalog: NAME")
		}
		return
	}
	for j := range d.config.Zones {
		if c := &d.config.Zones[j]; c.Catalog == "produce" && wire.EqualFold(c.Name, z.InCatalog) {
			return
		}
	}
	d.fail(
		at("in_catalog"),
		zone+"no catalog "+quote(nameText(z.InCatalog))+" is made here",
		"add {name: "+yamlText(nameText(z.InCatalog))+", catalog: produce, secondaries: [ADDRESS], tsig: KEY} to zones",
	)
}

// checkUpdates reports grants to keys that are not there, and of names and types that
// are none of the zone's.
func (d *decoder) checkUpdates(i int, keys map[string]bool) {
	z := &d.config.Zones[i]
	if len(z.Updates) == 0 {
		return
	}
	at, _ := d.atIndex("zones.updates", int32(i))
	what := "zone " + quote(nameText(z.Name)) + ": updates: "
	if z.File == "" && !z.Stored {
		d.fail(at, what+"a secondary is changed at its primary", "remove them, or give the zone a file")
	}
	for _, g := range z.Updates {
		if !keys[string(wire.Lower(nil, g.Key))] {
			d.noKey(at, what, g.Key)
		}
		if len(g.Names) == 0 {
			d.fail(at, what+"names is empty: nothing may be changed", `write names: ["*"] for all of the zone`)
		}
		for _, text := range g.Names {
			if label, first := strings.CutSuffix(text, ".*"); text == "*" || text == "@" || first && oneLabel(label) {
				continue
			}
			if name, err := wire.ParseName(text); err != nil || !wire.Subdomain(name, z.Name) {
				apex := strings.TrimPrefix(nameText(z.Name), ".") // the root's is empty
				d.fail(at, what+quote(text)+" is not a name in the zone", "write it in full, such as *.dyn."+apex)
			}
		}
		for _, text := range g.Types {
			if _, ok := wire.ParseType(text); !ok {
				d.fail(at, what+quote(text)+" is not a record type", "write types like A, AAAA or TXT")
			}
		}
	}
}

// secret reads a secret in base64.
func secret(text string) ([]byte, error) {
	octets, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("is not base64")
	}
	if len(octets) < minSecret {
		return nil, fmt.Errorf("has %d octets, fewer than %d", len(octets), minSecret)
	}
	return octets, nil
}

// keyClause is a key as BIND's tools, and port53 key new, write one.
var keyClause = regexp.MustCompile(`^key\s+"?([^"\s{]+)"?\s*\{\s*algorithm\s+"?([A-Za-z0-9.-]+)"?\s*;\s*secret\s+"([^"]*)"\s*;\s*\}\s*;?$`)

// fromFile reads what the file of a key has: the secret in base64, or a key clause, which
// has to be of this key.
func (k *Key) fromFile(text string) ([]byte, error) {
	m := keyClause.FindStringSubmatch(text)
	if m == nil {
		return secret(text)
	}
	if name, err := wire.ParseName(m[1]); err != nil || !wire.EqualFold(name, k.Name) {
		return nil, fmt.Errorf("is of key %s", quote(m[1]))
	}
	if algorithm := strings.TrimSuffix(strings.ToLower(m[2]), "."); algorithm != k.Algorithm {
		return nil, fmt.Errorf("is for %s, and the key's algorithm is %s", printable(algorithm), k.Algorithm)
	}
	octets, err := secret(m[3])
	if err != nil {
		return nil, fmt.Errorf("has a secret that %w", err)
	}
	return octets, nil
}

// checkKeyFiles reads the files of secrets.
func (d *decoder) checkKeyFiles() {
	for i := range d.config.Keys {
		k := &d.config.Keys[i]
		if k.SecretFile == "" {
			continue
		}
		at, what := d.keyAt("keys.secret_file", i), "key "+quote(nameText(k.Name))+": "+printable(k.SecretFile)+" "
		if p := unreadable(k.SecretFile); p != nil {
			d.fail(at, what+p.text, p.hint)
			continue
		}
		if info, err := os.Stat(k.SecretFile); err == nil && info.Mode().Perm()&0o007 != 0 {
			d.fail(at, what+"is readable by every user", "chmod o= "+printable(k.SecretFile))
			continue
		}
		text, err := os.ReadFile(k.SecretFile)
		if err == nil {
			k.Octets, err = k.fromFile(string(bytes.TrimSpace(text)))
		}
		if err != nil {
			d.fail(
				at,
				what+err.Error(),
				"port53 key new "+nameText(k.Name)+" writes a good one; or write the secret in base64, and nothing else",
			)
		}
	}
}
