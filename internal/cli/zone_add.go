package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"port53/internal/config"
	"port53/internal/console"
)

// changedZone is what the server answers to zone add and zone remove.
type changedZone struct {
	Zone   string   `json:"zone"`
	Place  string   `json:"configured_at"`
	From   string   `json:"from,omitempty"`
	Kept   string   `json:"kept,omitempty"`
	Notes  []string `json:"notes,omitempty"`
	Serial uint32   `json:"serial,omitempty"`
}

func newZoneAdd(s *streams) *cobra.Command {
	var file, socket, template string
	var z config.AddedZone
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "add NAME [--file FILE | --primary SERVER… | --template TEMPLATE]",
		Short: "Add a zone to the running server",
		Long: `add has the running server serve a zone that its configuration does not have: from a
file, as a secondary of the primaries, or as a template of the configuration says. The
zone is served, and in state_dir, when the command ends: it is there after a reload and
a restart. A zone that is in the configuration, or a member of a catalog, is refused, as
is a file that would not be served. The template default counts as for other zones.

This is what rndc addzone, nsd-control addzone and knotc conf-set do.
Exit codes: 0 it is served, 1 it was refused, 2 no server was reached.`,
		Example: `  port53 zone add example.com --file /srv/zones/example.com.zone
  port53 zone add example.net --primary 192.0.2.1 --primary ns2 --tsig xfr
  port53 zone add example.org --template customers`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := zoneQuery(args[0], "")
			if err != nil {
				return failure(exitUsage, "", "zone %s: %v", args[0], err)
			}
			if cmd.Flags().Changed("template") {
				z.Template = &template
			}
			if z.File != "" {
				if z.File, err = filepath.Abs(z.File); err != nil {
					return failure(exitUsage, "", "--file: %v", err)
				}
			}
			body, err := json.Marshal(z)
			if err != nil {
				return err
			}
			var r changedZone
			err = reach(cmd.Context(), file, socket, func(ctx context.Context, at string) error {
				return console.Send(ctx, at, "/zone/add"+name, bytes.NewReader(body), &r)
			})
			if err != nil {
				return err
			}
			if asJSON {
				return s.printJSON(r)
			}
			for _, n := range r.Notes {
				fmt.Fprintln(s.out, n)
			}
			fmt.Fprintf(s.out, "added: %s", args[0])
			if r.From != "" {
				fmt.Fprintf(s.out, ", %s", r.From)
			}
			if r.Serial > 0 {
				fmt.Fprintf(s.out, ", serial %d", r.Serial)
			}
			fmt.Fprintln(s.out)
			return nil
		},
	}
	cmd.Flags().StringVar(&z.File, "file", "", "its zone file, seen from here")
	cmd.Flags().StringArrayVar(&z.Primaries, "primary", nil, "the address, or the remote, to fetch it from; again for more")
	cmd.Flags().StringArrayVar(&z.Secondaries, "secondary", nil, "the address, or the remote, of a secondary; again for more")
	cmd.Flags().StringArrayVar(&z.Views, "view", nil, "a view that sees it; again for more")
	cmd.Flags().StringVar(&template, "template", "", "the template to take what is not said here from")
	cmd.Flags().StringArrayVar(&z.TSIG, "tsig", nil, "the key that transfers are signed with; again for more")
	cmd.Flags().BoolVar(&z.Insecure, "insecure", false, "transfer it without signatures")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.MarkFlagsMutuallyExclusive("file", "primary")
	socketFlags(cmd, &file, &socket)
	return cmd
}

func newZoneRemove(s *streams) *cobra.Command {
	var file, socket, view string
	var purge, asJSON bool
	cmd := &cobra.Command{
		Use:   "remove NAME [--purge]",
		Short: "Take a zone away that zone add has added",
		Long: `remove has the running server end to serve a zone that port53 zone add has added, for
good. What is kept of it in state_dir stays there, for whoever adds it again, unless
--purge is given; its zone file is left alone. Zones of the configuration are taken out
there, and members of a catalog at its primary.

This is what rndc delzone (--purge: -clean), nsd-control delzone and knotc conf-unset do.
Exit codes: 0 it is not served any more, 1 it was refused, 2 no server was reached.`,
		Example: "  port53 zone remove example.com\n  port53 zone remove example.net --purge",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := zoneQuery(args[0], view)
			if err != nil {
				return failure(exitUsage, "", "zone %s: %v", args[0], err)
			}
			if purge {
				name += "&purge"
			}
			var r changedZone
			if err := call(cmd.Context(), file, socket, "POST", "/zone/remove"+name, &r); err != nil {
				return err
			}
			if asJSON {
				return s.printJSON(r)
			}
			fmt.Fprintf(s.out, "removed: %s\n", args[0])
			if r.Kept != "" {
				fmt.Fprintf(s.out, "what is kept of it stays in %s\n", r.Kept)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&purge, "purge", false, "remove what is kept of it in state_dir, too")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	viewFlag(cmd, &view)
	socketFlags(cmd, &file, &socket)
	return cmd
}
