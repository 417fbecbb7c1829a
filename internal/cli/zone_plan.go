package cli

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"port53/internal/console"
	"port53/internal/wire"
)

// What the API at /v1 takes and gives (docs/API.md).
type (
	apiRecord struct {
		Content  string `json:"content"`
		Disabled bool   `json:"disabled,omitempty"`
	}
	apiSet struct {
		Change  string      `json:"change,omitempty"`
		Name    string      `json:"name"`
		Type    string      `json:"type"`
		TTL     uint32      `json:"ttl"`
		Records []apiRecord `json:"records"`
	}
	apiRecords struct {
		Zone   string   `json:"zone"`
		Serial uint32   `json:"serial"`
		Total  int      `json:"total"`
		Sets   []apiSet `json:"sets"`
	}
	apiFollow struct {
		Level string `json:"level"`
		Kind  string `json:"kind"`
		Name  string `json:"name"`
		Text  string `json:"text"`
	}
	apiPlan struct {
		Zone     string      `json:"zone"`
		Serial   uint32      `json:"serial"`
		Next     uint32      `json:"next_serial"`
		Removed  []string    `json:"removed"`
		Added    []string    `json:"added"`
		Accepted bool        `json:"accepted"`
		Follows  []apiFollow `json:"follows"`
		Caches   int64       `json:"caches_keep_old_seconds"`
	}
	apiEdited struct {
		Zone string `json:"zone"`
		From uint32 `json:"from"`
		To   uint32 `json:"to"`
	}
	apiHistory struct {
		Zone    string      `json:"zone"`
		Serial  uint32      `json:"serial"`
		Changes []apiChange `json:"changes"`
	}
	apiChange struct {
		From    uint32    `json:"from"`
		To      uint32    `json:"to"`
		At      time.Time `json:"at,omitzero"`
		By      string    `json:"by,omitempty"`
		Removed []string  `json:"removed"`
		Added   []string  `json:"added"`
		Notes   int       `json:"notes"`
	}
)

// A zoneAt is where the API has a zone.
type zoneAt struct {
	apex []byte // in lower case
	view string // empty: the zone has to be the only one of its name
}

func newZoneAt(name, view string) (zoneAt, error) {
	apex, err := parseZone(name)
	if err != nil {
		return zoneAt{}, failure(exitUsage, "", "zone %s: %v", name, err)
	}
	return zoneAt{wire.Lower(nil, apex), view}, nil
}

// path returns the path of what is below the zone, with its query.
func (z *zoneAt) path(below string, query url.Values) string {
	if query == nil {
		query = url.Values{}
	}
	query.Set("view", z.view)
	return "/v1/zones/" + url.PathEscape(wire.NameText(z.apex)) + below + "?" + query.Encode()
}

// pageSize is how many sets are asked for at once.
const pageSize = 10_000

// recordsOf returns all sets of a zone, and the version that they are of.
func recordsOf(ctx context.Context, socket string, z *zoneAt, at string) (all apiRecords, tag string, err error) {
	for {
		var page apiRecords
		where := z.path("/records", url.Values{
			"limit": {strconv.Itoa(pageSize)}, "offset": {strconv.Itoa(len(all.Sets))}, "at": {at},
		})
		t, err := console.CallAPI(ctx, socket, "GET", where, "", nil, &page)
		switch {
		case err != nil:
			return all, "", err
		case tag != "" && t != tag:
			all, tag = apiRecords{}, "" // somebody has changed it
			continue
		}
		tag = t
		page.Sets = append(all.Sets, page.Sets...)
		if all = page; len(all.Sets) >= all.Total {
			return all, tag, nil
		}
	}
}

// differences returns the changes that make of sets what is wanted. Disabled records stay; the serial of a
// file does not count.
func (w wanted) differences(have []apiSet) []apiSet {
	changes, seen := []apiSet{}, map[string]bool{}
	for _, s := range have {
		key := placeOf(s.Name, s.Type)
		seen[key] = true
		next := w[key]
		var off []apiRecord
		on := []string{}
		for _, r := range s.Records {
			if r.Disabled {
				off = append(off, r)
			} else {
				on = append(on, countable(s.Type, r.Content))
			}
		}
		switch {
		case next == nil && len(on) == 0:
		case next == nil:
			changes = append(
				changes,
				apiSet{Change: "replace", Name: s.Name, Type: s.Type, TTL: s.TTL, Records: append([]apiRecord{}, off...)},
			)
		default:
			wants := []string{}
			for _, r := range next.Records {
				wants = append(wants, countable(s.Type, r.Content))
			}
			slices.Sort(on)
			slices.Sort(wants)
			if !slices.Equal(on, wants) || s.TTL != next.TTL {
				changes = append(
					changes,
					apiSet{Change: "replace", Name: s.Name, Type: s.Type, TTL: next.TTL, Records: append(next.Records, off...)},
				)
			}
		}
	}
	for key, s := range w {
		if !seen[key] {
			changes = append(changes, apiSet{Change: "replace", Name: s.Name, Type: s.Type, TTL: s.TTL, Records: s.Records})
		}
	}
	slices.SortFunc(changes, func(a, b apiSet) int { return strings.Compare(placeOf(a.Name, a.Type), placeOf(b.Name, b.Type)) })
	return changes
}

// countable returns what of a record's data counts: of a SOA record all but its serial.
func countable(typ, content string) string {
	if words := strings.Fields(content); typ == "SOA" && len(words) == 7 {
		words[2] = "0"
		return strings.Join(words, " ")
	}
	return content
}

func newZonePlan(s *streams, apply bool) *cobra.Command {
	var file, socket, view string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "plan NAME FILE",
		Short: "Show what a zone file would change, and the consequences",
		Long: `port53 zone plan compares a zone file, "-" for standard input, with the zone of the running
server. port53 zone plan prints the records that would be removed and added, whether the server
would accept the file, and the consequences: records whose target does not exist or has no
address, delegations whose servers have no address, DS records that do not match, and how long
resolvers keep the old data. Nothing is changed. The file's serial is ignored. port53 zone apply
makes the change.

Exit codes: 0 nothing to object to, 1 the server would refuse the file, or a consequence is an error
or a warning, 2 no server was reached.`,
		Example: "  port53 zone plan example.com example.com.zone\n  port53 zone export example.com | sed " +
			"s/192.0.2.1/192.0.2.9/ | port53 zone plan example.com -",
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			where, err := newZoneAt(args[0], view)
			if err != nil {
				return err
			}
			return s.planZone(cmd.Context(), file, socket, &where, args[1], apply, asJSON)
		},
	}
	if apply {
		cmd.Use, cmd.Short = "apply NAME FILE", "Make a zone match a zone file"
		cmd.Long = `port53 zone apply makes the changes that port53 zone plan shows: the running server's zone gets
the content of the file, in one version with an increased serial, stored when the command returns.
If the server signs the zone, RRSIG, NSEC and NSEC3 records and the zone's own DNSKEY records in the
file are ignored.
If the zone changes while port53 zone apply runs, nothing is applied. Changes made between port53
zone plan and port53 zone apply are not noticed: the zone gets the content of the file. Disabled
records, and the comments of the PowerDNS-compatible API, are not in any file; they are kept.
port53 zone undo reverts the change.

Exit codes: 0 done, 1 refused, 2 no server was reached.`
		cmd.Example = "  port53 zone apply example.com example.com.zone"
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	viewFlag(cmd, &view)
	socketFlags(cmd, &file, &socket)
	return cmd
}

func (s *streams) planZone(ctx context.Context, file, socket string, where *zoneAt, path string, apply, asJSON bool) error {
	in := s.in
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return failure(exitUsage, "", "%v", err)
		}
		defer f.Close()
		in = f
	}
	want, outside, err := readWanted(in, path, where.apex)
	if err != nil {
		return failure(exitUsage, "port53 zone check says more", "%v", err)
	}
	if len(outside) > 0 {
		fmt.Fprintf(s.err, "warning: %d records outside the zone are left out, the first of %s\n", len(outside), outside[0])
	}
	var plan apiPlan
	var done apiEdited
	changes := []apiSet{}
	err = reach(ctx, file, socket, func(ctx context.Context, at string) error {
		have, tag, err := recordsOf(ctx, at, where, "")
		if err != nil {
			return err
		}
		if err := want.leaveOut(ctx, at, where, have.Sets); err != nil {
			return err
		}
		if changes = want.differences(have.Sets); len(changes) == 0 {
			plan = apiPlan{
				Zone:     have.Zone,
				Serial:   have.Serial,
				Next:     have.Serial,
				Removed:  []string{},
				Added:    []string{},
				Accepted: true,
				Follows:  []apiFollow{},
			}
			return nil
		}
		request := map[string]any{"changes": changes}
		if apply {
			_, err = console.CallAPI(ctx, at, "PATCH", where.path("/records", nil), tag, request, &done)
			return err
		}
		_, err = console.CallAPI(ctx, at, "POST", where.path("/plan", nil), tag, request, &plan)
		return err
	})
	switch {
	case err != nil:
		return err
	case apply && len(changes) == 0:
		done = apiEdited{Zone: plan.Zone, From: plan.Serial, To: plan.Serial}
		fallthrough
	case apply:
		return s.printEdited(done, asJSON)
	}
	return s.printPlan(&plan, asJSON)
}

func (s *streams) printEdited(e apiEdited, asJSON bool) error {
	switch {
	case asJSON:
		return s.printJSON(e)
	case e.From == e.To:
		fmt.Fprintf(s.out, "%s serial %d: nothing changed\n", e.Zone, e.To)
	default:
		fmt.Fprintf(s.out, "%s serial %d to %d\n", e.Zone, e.From, e.To)
	}
	return nil
}

func (s *streams) printPlan(p *apiPlan, asJSON bool) error {
	against := !p.Accepted
	for _, f := range p.Follows {
		against = against || f.Level == "error" || f.Level == "warning"
	}
	if asJSON {
		if err := s.printJSON(p); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(
			s.out,
			"; %s serial %d to %d, %d removed, %d added\n",
			p.Zone,
			p.Serial,
			p.Next,
			max(0, len(p.Removed)-1),
			max(0, len(p.Added)-1),
		)
		for _, line := range p.Removed {
			fmt.Fprintln(s.out, "-"+line)
		}
		for _, line := range p.Added {
			fmt.Fprintln(s.out, "+"+line)
		}
		for _, f := range p.Follows {
			fmt.Fprintf(s.out, "%s: %s %s\n", f.Level, f.Name, f.Text)
		}
		if !p.Accepted {
			fmt.Fprintln(s.out, "the server would refuse it")
		}
	}
	if against {
		return &exit{code: exitFindings}
	}
	return nil
}

func newZoneUndo(s *streams) *cobra.Command {
	var file, socket, view, to string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "undo NAME [--to SERIAL|TIME]",
		Short: "Revert a zone's last change, or all since a version",
		Long: `port53 zone undo restores a zone's content from before its last change, or as of the serial or
time given with --to. The serial increases, so that secondaries follow. The history goes back as
far as the journal: see port53 zone history.

Exit codes: 0 done, 1 refused, 2 no server was reached.`,
		Example: "  port53 zone undo example.com\n  port53 zone undo example.com --to 2026113007\n  port53 zone undo " +
			"example.com --to 2026-11-30T12:00:00Z",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			where, err := newZoneAt(args[0], view)
			if err != nil {
				return err
			}
			request := map[string]any{}
			if n, err := strconv.ParseUint(to, 10, 32); err == nil {
				request["serial"] = n
			} else if to != "" {
				request["at"] = to
			}
			var done apiEdited
			err = reach(cmd.Context(), file, socket, func(ctx context.Context, at string) error {
				_, err := console.CallAPI(ctx, at, "POST", where.path("/undo", nil), "", request, &done)
				return err
			})
			if err != nil {
				return err
			}
			return s.printEdited(done, asJSON)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "the version's serial, or a time such as 2026-11-30T12:00:00Z")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	viewFlag(cmd, &view)
	socketFlags(cmd, &file, &socket)
	return cmd
}

func newZoneHistory(s *streams) *cobra.Command {
	var file, socket, view string
	var limit int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "history NAME",
		Short: "Print a zone's change history, newest first",
		Long: `port53 zone history prints who changed a zone, when and how: the changes the server keeps for IXFR
and undo. The oldest are dropped once all changes together take more space than the zone, and more
than 1 MiB. port53 zone diff prints the changes since a serial, oldest first.

Exit codes: 0 printed, 1 refused, 2 no server was reached.`,
		Example: "  port53 zone history example.com\n  port53 zone history example.com --limit 1 --json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			where, err := newZoneAt(args[0], view)
			if err != nil {
				return err
			}
			var h apiHistory
			err = reach(cmd.Context(), file, socket, func(ctx context.Context, at string) error {
				_, err := console.CallAPI(ctx, at, "GET", where.path("/history", url.Values{"limit": {strconv.Itoa(limit)}}), "", nil, &h)
				return err
			})
			if err != nil {
				return err
			}
			if asJSON {
				return s.printJSON(h)
			}
			for _, c := range h.Changes {
				fmt.Fprint(s.out, "; serial ", c.From, " to ", c.To)
				if c.By != "" {
					fmt.Fprint(s.out, ", by ", c.By)
				}
				if !c.At.IsZero() {
					fmt.Fprint(s.out, ", at ", c.At.UTC().Format(time.RFC3339))
				}
				if c.Notes > 0 {
					fmt.Fprintf(s.out, ", %d comments or the like", c.Notes)
				}
				fmt.Fprintln(s.out)
				if c.From == c.To {
					continue
				}
				for _, line := range c.Removed {
					fmt.Fprintln(s.out, "-"+line)
				}
				for _, line := range c.Added {
					fmt.Fprintln(s.out, "+"+line)
				}
			}
			return nil
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 100, "how many changes to print at most")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	viewFlag(cmd, &view)
	socketFlags(cmd, &file, &socket)
	return cmd
}

func newZoneShow(s *streams) *cobra.Command {
	var file, socket, view, at string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show NAME [--at SERIAL|TIME]",
		Short: "Print a zone as it is now, or as it was",
		Long: `port53 zone show prints a zone's current records, or those of the serial or time given with --at,
as in a zone file. DNSSEC records that this server adds are not printed. Disabled
records, which the PowerDNS-compatible API stores but does not serve, are printed as comments.
port53 zone export prints what is served, including signatures.

Exit codes: 0 printed, 1 refused, 2 no server was reached.`,
		Example: "  port53 zone show example.com\n  port53 zone show example.com --at 2026113007 | diff - <(port53 zone show example.com)",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			where, err := newZoneAt(args[0], view)
			if err != nil {
				return err
			}
			var all apiRecords
			err = reach(cmd.Context(), file, socket, func(ctx context.Context, socket string) (err error) {
				all, _, err = recordsOf(ctx, socket, &where, at)
				return err
			})
			if err != nil {
				return err
			}
			if asJSON {
				return s.printJSON(all)
			}
			var b bytes.Buffer
			for _, set := range all.Sets {
				for _, r := range set.Records {
					if r.Disabled {
						b.WriteString("; disabled: ")
					}
					fmt.Fprintf(&b, "%s\t%d\tIN\t%s\t%s\n", set.Name, set.TTL, set.Type, r.Content)
				}
			}
			_, err = s.out.Write(b.Bytes())
			return err
		},
	}
	cmd.Flags().StringVar(&at, "at", "", "the version's serial, or a time such as 2026-11-30T12:00:00Z")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	viewFlag(cmd, &view)
	socketFlags(cmd, &file, &socket)
	return cmd
}
