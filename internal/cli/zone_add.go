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
		Use:   "add NAME [--file FILE | --primary SERVER…] [--template TEMPLATE]",
		Short: "Add a zone to the running server",
		Long: `port53 zone add makes the running server serve a zone that its configuration does not have: from a
file, or as a secondary of the given primaries. Everything that is not given comes from a template
of the configuration: the one given, or else the one named "default", if there is one. A template
may also have the file or the primaries.

When the command returns, the zone is served and stored in state_dir: it survives reloads and
restarts. A zone that is already in the configuration or in a catalog zone is refused, and so is a
file that cannot be served.

Similar: rndc addzone, nsd-control addzone, knotc conf-set.
Exit codes: 0 the zone is served, 1 refused, 2 no server was reached.`,
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
	cmd.Flags().StringVar(&z.File, "file", "", "the zone file, relative to the current directory")
	cmd.Flags().StringArrayVar(&z.Primaries, "primary", nil, "an address or remote to transfer the zone from; may be repeated")
	cmd.Flags().StringArrayVar(&z.Secondaries, "secondary", nil, "an address or remote of a secondary; may be repeated")
	cmd.Flags().StringArrayVar(&z.Views, "view", nil, "a view that has the zone; may be repeated")
	cmd.Flags().StringVar(&template, "template", "", "the template for everything that the other flags do not give")
	cmd.Flags().StringArrayVar(&z.TSIG, "tsig", nil, "the key for transfers; may be repeated")
	cmd.Flags().BoolVar(&z.Insecure, "insecure", false, "transfer the zone without TSIG, by address alone")
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
		Short: "Remove a zone added by zone add",
		Long: `port53 zone remove permanently stops serving a zone that was added with port53 zone add. Its data
in state_dir is kept in case it is added again, unless --purge is given; its zone file is not
touched. To remove a zone that the configuration has, delete it there and reload; a member of a
catalog zone is removed at the catalog's primary.

Similar: rndc delzone (--purge: -clean), nsd-control delzone, knotc conf-unset.
Exit codes: 0 the zone is no longer served, 1 refused, 2 no server was reached.`,
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
	cmd.Flags().BoolVar(&purge, "purge", false, "also delete its data in state_dir")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	viewFlag(cmd, &view)
	socketFlags(cmd, &file, &socket)
	return cmd
}
