package cli

import (
	"context"
	"io"
	"slices"
	"strings"

	"port53/internal/console"
	"port53/internal/wire"
	"port53/internal/zonefile"
)

// A wanted is a zone as a file has it: its sets, by name in lower case and type.
type wanted map[string]*apiSet

func placeOf(name, typ string) string { return strings.ToLower(name) + " " + typ }

// readWanted reads a zone file as the server reads it: a record that is there twice counts once (RFC 2181, section
// 5), the first record's TTL is that of its set, and records outside the zone are left out. It returns the owners of
// those.
func readWanted(r io.Reader, name string, apex []byte) (all wanted, outside []string, err error) {
	all = wanted{}
	seen := map[string]bool{}
	_, err = zonefile.Read(r, zonefile.Options{Origin: apex, Name: name}, func(r *zonefile.Record) error {
		owner := wire.NameText(r.Owner)
		if !wire.Subdomain(r.Owner, apex) {
			outside = append(outside, owner)
			return nil
		}
		place := placeOf(owner, r.Type.String())
		key := place + " " + string(wire.AppendCanonical(nil, r.Type, r.Data))
		if seen[key] {
			return nil
		}
		seen[key] = true
		s := all[place]
		if s == nil {
			s = &apiSet{Name: owner, Type: r.Type.String(), TTL: r.TTL}
			all[place] = s
		}
		if r.Type == wire.TypeRRSIG { // each has the TTL of the set that it is about
			s.TTL = min(s.TTL, r.TTL)
		}
		s.Records = append(s.Records, apiRecord{Content: string(wire.AppendRdataText(nil, r.Type, r.Data))})
		return nil
	})
	return all, outside, err
}

// leaveOut takes out of a file what the server makes itself of a zone that it signs: an export has it.
func (w wanted) leaveOut(ctx context.Context, socket string, z *zoneAt, have []apiSet) error {
	var zone struct {
		Signing  *struct{} `json:"signing"`
		Editable bool      `json:"editable"`
	}
	if _, err := console.CallAPI(ctx, socket, "GET", z.path("", nil), "", nil, &zone); err != nil || zone.Signing == nil || !zone.Editable {
		return err
	}
	var keys []struct {
		DNSKEY string   `json:"dnskey"`
		DS     []string `json:"ds"`
	}
	if _, err := console.CallAPI(ctx, socket, "GET", z.path("/keys", nil), "", nil, &keys); err != nil {
		return err
	}
	squeeze := func(text string) string { return strings.ToLower(strings.Join(strings.Fields(text), "")) }
	ours := map[string]bool{}
	for _, k := range keys {
		ours["DNSKEY "+squeeze(k.DNSKEY)], ours["CDNSKEY "+squeeze(k.DNSKEY)] = true, true
		for _, ds := range k.DS {
			ours["CDS "+squeeze(ds)] = true
		}
	}
	exported := false
	for place, s := range w {
		switch s.Type {
		case "RRSIG", "NSEC", "NSEC3", "NSEC3PARAM":
			exported = true
			delete(w, place)
		case "DNSKEY", "CDNSKEY", "CDS":
			s.Records = slices.DeleteFunc(s.Records, func(r apiRecord) bool { return ours[s.Type+" "+squeeze(r.Content)] })
			if len(s.Records) == 0 {
				delete(w, place)
			}
		}
	}
	if !exported {
		return nil
	}
	// The digest of what was served says nothing of what is not signed: whether there is one stays as it is.
	had := map[string]*apiSet{}
	for i := range have {
		had[placeOf(have[i].Name, have[i].Type)] = &have[i]
	}
	for place, s := range w {
		if s.Type == "ZONEMD" {
			if delete(w, place); had[place] != nil {
				w[place] = had[place]
			}
		}
	}
	return nil
}
