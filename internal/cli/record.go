package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"port53/internal/console"
	"port53/internal/zones"
)

func newRecord(s *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "record",
		Short: "Change records of a running server's zone",
		Long: `port53 record changes a primary zone of the running server through the control socket: anyone who
may use the socket may change every zone that can be changed. When the command returns, the change
is served and stored in state_dir, the serial has increased, and the secondaries get NOTIFY;
port53 zone diff and the log show who made the change. The zone file is not changed: port53 zone
sync writes it. A zone can be changed, even with this command, only if its setting "updates" in
the configuration, or a grant, lets at least one client change the zone. For other zones the
server keeps no journal, and refuses changes.`,
		Example: "  port53 record add example.com www 300 A 192.0.2.1",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		recordAction(
			s,
			"add",
			"add ZONE [NAME TTL TYPE DATA…]",
			"Add records",
			"port53 record add adds a record, written as in a zone file, to the existing records. Without a\nrecord on "+
				"the command line, records are read from standard input, one per line.\n\nSimilar: update add in nsupdate.",
			"  port53 record add example.com www 300 A 192.0.2.1\n  port53 record add example.com @ 300 MX 10 mail\n  "+
				"port53 record add example.com < records",
		),
		recordAction(
			s,
			"set",
			"set ZONE [NAME TTL TYPE DATA…]",
			"Replace the records of a name and type",
			"port53 record set replaces all records of a name and type with the given record, written as in a\nzone file. "+
				"Without a record on the command line, records are read from standard input, one per\nline; together these "+
				"records form the new RRsets.\n\nSimilar: pdnsutil replace-rrset.",
			"  port53 record set example.com www 300 A 192.0.2.1\n  printf 'www 60 A 192.0.2.1\\nwww 60 A 192.0.2.2\\n' "+
				"| port53 record set example.com",
		),
		recordAction(
			s,
			"remove",
			"remove ZONE [NAME [TYPE [DATA…]]]",
			"Remove records",
			"port53 record remove deletes all records of a name, those of one type, or one record. Without a\nname, lines "+
				"of names, types and data are read from standard input. A zone's SOA record and its\nlast NS record cannot be "+
				"removed.\n\nSimilar: update delete in nsupdate.",
			"  port53 record remove example.com www\n  port53 record remove example.com www A 192.0.2.1",
		))
	return cmd
}

// recordAction is a command that changes records.
func recordAction(s *streams, action, use, short, long, example string) *cobra.Command {
	var file, socket, view string
	var asJSON bool
	cmd := &cobra.Command{
		Use:     use,
		Short:   short,
		Long:    long + "\nExit codes: 0 done, 1 refused, 2 no server was reached.",
		Example: example,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := zoneQuery(args[0], view)
			if err != nil {
				return failure(exitUsage, "", "zone %s: %v", args[0], err)
			}
			text := strings.Join(args[1:], " ") + "\n"
			if len(args) == 1 {
				octets, err := io.ReadAll(io.LimitReader(s.in, maxRecordText))
				if err != nil {
					return failure(exitUsage, "", "standard input: %v", err)
				}
				text = string(octets)
			}
			var list []zones.Change
			err = reach(cmd.Context(), file, socket, func(ctx context.Context, at string) error {
				return console.Send(ctx, at, "/record/"+action+name, strings.NewReader(text), &list)
			})
			if err != nil {
				s.printChanges(list) // what came of the rest
				return err
			}
			if asJSON {
				return s.printJSON(list)
			}
			if len(list) == 0 {
				fmt.Fprintln(s.out, "nothing changed: it was so already")
			}
			s.printChanges(list)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	viewFlag(cmd, &view)
	socketFlags(cmd, &file, &socket)
	return cmd
}

// maxRecordText is the most that is read from standard input.
const maxRecordText = 1 << 20
