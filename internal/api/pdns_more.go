package api

import (
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"port53/internal/grant"
	"port53/internal/wire"
)

// metadataKinds returns the kinds of metadata that PowerDNS knows; false: requests do not change it.
func metadataKinds() map[string]bool {
	kinds := map[string]bool{"API-RECTIFY": false, "NSEC3NARROW": false, "NSEC3PARAM": false, "PRESIGNED": false, "LUA-AXFR-SCRIPT": false}
	for _, k := range []string{
		"ALLOW-AXFR-FROM", "AXFR-SOURCE", "ALLOW-DNSUPDATE-FROM", "TSIG-ALLOW-DNSUPDATE", "FORWARD-DNSUPDATE", "SOA-EDIT-DNSUPDATE",
		"NOTIFY-DNSUPDATE", "ALSO-NOTIFY", "AXFR-MASTER-TSIG", "GSS-ALLOW-AXFR-PRINCIPAL", "GSS-ACCEPTOR-PRINCIPAL", "IXFR",
		"PUBLISH-CDNSKEY", "PUBLISH-CDS", "SLAVE-RENOTIFY", "SOA-EDIT", "TSIG-ALLOW-AXFR",
	} {
		kinds[k] = true
	}
	return kinds
}

// A metadatum is what is noted of a zone under one word.
type metadatum struct {
	Type   string   `json:"type"`
	Kind   string   `json:"kind"`
	Values []string `json:"metadata"`
}

func newMetadatum(kind string, values []string) metadatum {
	return metadatum{"Metadata", kind, append([]string{}, values...)}
}

// all returns the metadata of a zone, those among them that are fields of it as well.
func (i *zoneInfo) all() map[string][]string {
	all := map[string][]string{}
	for k, v := range i.Metadata {
		all[k] = v
	}
	for k, v := range map[string]string{"SOA-EDIT-API": i.SOAEditAPI, "SOA-EDIT": i.SOAEdit, "NSEC3PARAM": i.NSEC3Param} {
		if v != "" {
			all[k] = []string{v}
		}
	}
	if i.APIRectify != nil {
		all["API-RECTIFY"] = []string{map[bool]string{true: "1", false: "0"}[*i.APIRectify]}
	}
	return all
}

// kindFor returns a kind of metadata that a request may read, or change.
func kindFor(kind string, change bool) error {
	changes, known := metadataKinds()[kind]
	if strings.HasPrefix(kind, "X-") || known && (changes || !change) && kind != "API-RECTIFY" {
		return nil
	}
	return invalid("Unsupported metadata kind '" + kind + "'")
}

func pdnsMetadata(c *call) error {
	v, err := c.administered()
	if err != nil {
		return err
	}
	info := infoOf(notesOf(v.Zone))
	list := []metadatum{}
	for k, values := range info.all() {
		list = append(list, newMetadatum(k, values))
	}
	slices.SortFunc(list, func(a, b metadatum) int { return strings.Compare(a.Kind, b.Kind) })
	return c.json(http.StatusOK, list)
}

func pdnsMetadataOne(c *call) error {
	v, err := c.administered()
	if err != nil {
		return err
	}
	if err := kindFor(c.params[2], false); err != nil {
		return err
	}
	info := infoOf(notesOf(v.Zone))
	return c.json(http.StatusOK, newMetadatum(c.params[2], info.all()[c.params[2]]))
}

// readMetadata reads the values of a request.
func readMetadata(d document) (values []string, err error) {
	list, there := d.list("metadata")
	if !there {
		return nil, invalid("metadata is not specified or not an array")
	}
	for _, v := range list {
		text, ok := v.(string)
		if !ok {
			return nil, invalid("metadata must be strings")
		}
		values = append(values, text)
	}
	return values, nil
}

// setMetadata notes values under a word; change is given those that there are.
func (c *call) setMetadata(key []byte, kind string, change func(had []string) []string) (values []string, err error) {
	_, err = c.edit(key, noted(func(i *zoneInfo) error {
		if values = change(i.all()[kind]); kind == "SOA-EDIT" {
			if i.SOAEdit = ""; len(values) > 0 {
				i.SOAEdit = values[0]
			}
			return nil
		}
		metadata := map[string][]string{}
		for k, v := range i.Metadata {
			metadata[k] = v
		}
		if i.Metadata = metadata; len(values) == 0 {
			delete(metadata, kind)
		} else {
			metadata[kind] = values
		}
		return nil
	}))
	return values, err
}

func pdnsMetadataAdd(c *call) error {
	v, err := c.administered()
	if err != nil {
		return err
	}
	d, err := c.document()
	if err != nil {
		return err
	}
	kind, there := d.has("kind")
	if !there {
		return invalid("kind is not specified or not a string")
	}
	if err := kindFor(kind, true); err != nil {
		return err
	}
	more, err := readMetadata(d)
	if err != nil {
		return err
	}
	values, err := c.setMetadata(v.Key, kind, func(had []string) []string {
		had = slices.Clone(had)
		for _, text := range more {
			if !slices.Contains(had, text) {
				had = append(had, text)
			}
		}
		return had
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, newMetadatum(kind, values))
}

func pdnsMetadataSet(c *call) error {
	v, err := c.administered()
	if err != nil {
		return err
	}
	d, err := c.document()
	if err != nil {
		return err
	}
	if err := kindFor(c.params[2], true); err != nil {
		return err
	}
	values, err := readMetadata(d)
	if err != nil {
		return err
	}
	if _, err := c.setMetadata(v.Key, c.params[2], func([]string) []string { return values }); err != nil {
		return err
	}
	return c.json(http.StatusOK, newMetadatum(c.params[2], values))
}

func pdnsMetadataDrop(c *call) error {
	v, err := c.administered()
	if err != nil {
		return err
	}
	if err := kindFor(c.params[2], true); err != nil {
		return err
	}
	if _, err := c.setMetadata(v.Key, c.params[2], func([]string) []string { return nil }); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// A pdnsTSIG is a key of transfers and updates.
type pdnsTSIG struct {
	Type      string `json:"type"`
	ID        string `json:"id"`
	Name      string `json:"name"`
	Algorithm string `json:"algorithm"`
	Key       string `json:"key"`
}

func shownTSIG(k TSIGKey, secret bool) pdnsTSIG {
	s := pdnsTSIG{"TSIGKey", k.Name + ".", k.Name, k.Algorithm, ""}
	if secret {
		s.Key = k.Secret
	}
	return s
}

// tsigKey returns a key by its name, with or without the last dot.
func (c *call) tsigKey(id string) (TSIGKey, error) {
	if err := c.server(grant.Admin); err != nil {
		return TSIGKey{}, err
	}
	for _, k := range c.host.TSIGKeys() {
		if strings.EqualFold(k.Name, strings.TrimSuffix(id, ".")) {
			return k, nil
		}
	}
	return TSIGKey{}, notFound()
}

func pdnsTSIGKeys(c *call) error {
	if err := c.server(grant.Admin); err != nil {
		return err
	}
	list := []pdnsTSIG{}
	for _, k := range c.host.TSIGKeys() {
		list = append(list, shownTSIG(k, false))
	}
	return c.json(http.StatusOK, list)
}

func pdnsTSIGKey(c *call) error {
	k, err := c.tsigKey(c.params[1])
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, shownTSIG(k, k.Place == "")) // whose secret the configuration has, its owner knows
}

// readTSIG reads the secret of a request; empty: there is none.
func readTSIG(d document, k *TSIGKey) error {
	if text, there := d.has("key"); there {
		octets, err := base64.StdEncoding.DecodeString(text)
		switch {
		case err != nil:
			return invalid("TSIG content '" + text + "' cannot be base64-decoded")
		case text != "" && len(octets) < 16:
			return invalid("a secret has at least 16 octets")
		}
		k.Secret = text
	}
	return nil
}

func pdnsTSIGKeyAdd(c *call) error {
	if err := c.server(grant.Admin); err != nil {
		return err
	}
	d, err := c.document()
	if err != nil {
		return err
	}
	var k TSIGKey
	if k.Name, err = d.text("name"); err != nil {
		return err
	}
	if k.Algorithm, err = d.text("algorithm"); err != nil {
		return err
	}
	k.Name = strings.TrimSuffix(k.Name, ".")
	if err := readTSIG(d, &k); err != nil {
		return err
	}
	if k, err = c.host.SetTSIGKey(c.by(), "", k); errors.Is(err, ErrAlgorithm) {
		return &problem{status: http.StatusBadRequest}
	} else if err != nil {
		return err
	}
	return c.json(http.StatusCreated, shownTSIG(k, true))
}

func pdnsTSIGKeySet(c *call) error {
	old, err := c.tsigKey(c.params[1])
	if err != nil {
		return err
	}
	d, err := c.document()
	if err != nil {
		return err
	}
	k := old
	if name, there := d.has("name"); there {
		k.Name = strings.TrimSuffix(name, ".")
	}
	if algorithm, there := d.has("algorithm"); there {
		k.Algorithm = algorithm
	}
	if err := readTSIG(d, &k); err != nil {
		return err
	}
	if k, err = c.host.SetTSIGKey(c.by(), old.Name, k); errors.Is(err, ErrAlgorithm) {
		return invalid("Unknown TSIG algorithm: " + k.Algorithm)
	} else if err != nil {
		return err
	}
	return c.json(http.StatusOK, shownTSIG(k, true))
}

func pdnsTSIGKeyDrop(c *call) error {
	k, err := c.tsigKey(c.params[1])
	if err != nil {
		return err
	}
	if err := c.host.DropTSIGKey(c.by(), k.Name); err != nil {
		return err
	}
	return c.none()
}

// A pdnsCryptokey is a DNSSEC key.
type pdnsCryptokey struct {
	Type      string   `json:"type"`
	ID        int      `json:"id"`
	KeyType   string   `json:"keytype"`
	Algorithm string   `json:"algorithm"`
	Bits      int      `json:"bits"`
	Flags     int      `json:"flags"`
	Active    bool     `json:"active"`
	Published bool     `json:"published"`
	DNSKEY    string   `json:"dnskey"`
	DS        []string `json:"ds,omitempty"`
	Private   string   `json:"privatekey,omitempty"`
}

func shownKey(k *Key, secret bool) pdnsCryptokey {
	s := pdnsCryptokey{"Cryptokey", k.ID, k.Type, k.Algorithm, k.Bits, k.Flags, k.Active, k.Published, k.DNSKEY, k.DS, ""}
	if secret {
		s.Private = k.Private
	}
	return s
}

// keys returns the keys of a zone whose keys the caller may see.
func (c *call) keys(id string) (zone []byte, keys []Key, err error) {
	v, err := c.find(id)
	if err != nil {
		return nil, nil, err
	}
	if !c.holder.MayAny(grant.Sign, v.Apex, c.now) {
		return nil, nil, forbidden(c.credential() + " may not see keys of zone " + wire.NameText(v.Apex))
	}
	keys, err = c.host.Keys(v.Key)
	return v.Key, keys, err
}

// key returns one of them.
func (c *call) key() (zone []byte, k *Key, err error) {
	zone, keys, err := c.keys(c.params[1])
	if err != nil {
		return nil, nil, err
	}
	id, err := strconv.Atoi(c.params[2])
	if err != nil {
		return nil, nil, notFound()
	}
	for i := range keys {
		if keys[i].ID == id {
			return zone, &keys[i], nil
		}
	}
	return nil, nil, notFound()
}

func pdnsKeys(c *call) error {
	_, keys, err := c.keys(c.params[1])
	if err != nil {
		return err
	}
	list := []pdnsCryptokey{}
	for i := range keys {
		list = append(list, shownKey(&keys[i], false))
	}
	return c.json(http.StatusOK, list)
}

func pdnsKey(c *call) error {
	_, k, err := c.key()
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, shownKey(k, true))
}

func pdnsKeyAdd(c *call) error {
	zone, _, err := c.keys(c.params[1])
	if err != nil {
		return err
	}
	d, err := c.document()
	if err != nil {
		return err
	}
	k := Key{Published: true, Algorithm: "ECDSAP256SHA256"}
	if k.Type, err = d.text("keytype"); err != nil {
		return err
	}
	if !slices.Contains([]string{"ksk", "zsk", "csk"}, k.Type) {
		return invalid("Invalid keytype " + k.Type)
	}
	k.Active, _ = d.flag("active")
	if published, there := d.flag("published"); there {
		k.Published = published
	}
	if name, there := d.has("algorithm"); there {
		k.Algorithm = name
	} else if n, err := d.number("algorithm"); err == nil {
		k.Algorithm = strconv.FormatInt(n, 10)
	}
	if bits, err := d.number("bits"); err == nil {
		k.Bits = int(min(max(bits, 0), 1<<20))
	}
	if k.Private, _ = d.has("privatekey"); k.Private == "" {
		k.Private, _ = d.has("content")
	}
	made, err := c.host.MakeKey(c.by(), zone, k)
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, shownKey(&made, true))
}

func pdnsKeySet(c *call) error {
	zone, k, err := c.key()
	if err != nil {
		return err
	}
	d, err := c.document()
	if err != nil {
		return err
	}
	active, there := d.flag("active")
	if !there {
		return invalid("Key 'active' not present or not a Bool")
	}
	next := *k
	next.Active = active
	if published, there := d.flag("published"); there {
		next.Published = published
	}
	if err := c.host.ChangeKey(c.by(), zone, next); err != nil {
		return err
	}
	return c.none()
}

func pdnsKeyDrop(c *call) error {
	zone, k, err := c.key()
	if err != nil {
		return err
	}
	if err := c.host.DropKey(c.by(), zone, k.ID); err != nil {
		return err
	}
	return c.none()
}
