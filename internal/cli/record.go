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
		Short: "Change records of a zone of the running server",
		Long: `record changes a zone that is primary here, through the control socket: whoever may use
that may change every zone. A change is served, and in state_dir, when the command
ends; the zone's serial rises, its secondaries are told, and zone diff and the log say
who it was. The zone file stays as it is: port53 zone sync writes it. The zone has to
have updates in the configuration, for whatever key: then changes outlive a restart.`,
		Example: "  port53 record add example.com www 300 A 192.0.2.1",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		recordAction(s, "add", "add ZONE [NAME TTL TYPE DATA…]", "Add records",
			"add adds a record, written as in a zone file, beside those that are there. Without one\nit reads records from standard input, one a line.\n\nThis is what nsupdate's update add does.",
			"  port53 record add example.com www 300 A 192.0.2.1\n  port53 record add example.com @ 300 MX 10 mail\n  port53 record add example.com < records"),
		recordAction(s, "set", "set ZONE [NAME TTL TYPE DATA…]", "Put records in place of those of the same name and type",
			"set puts a record, written as in a zone file, in place of all of its name and type.\nWithout one it reads records from standard input, one a line: together they are the\nnew sets.\n\nThis is what pdnsutil replace-rrset does.",
			"  port53 record set example.com www 300 A 192.0.2.1\n  printf 'www 60 A 192.0.2.1\\nwww 60 A 192.0.2.2\\n' | port53 record set example.com"),
		recordAction(s, "remove", "remove ZONE [NAME [TYPE [DATA…]]]", "Take records away",
			"remove takes away all records of a name, those of one type, or one record. Without a\nname it reads lines of names, types and data from standard input. The SOA record and\nthe last NS record of a zone stay.\n\nThis is what nsupdate's update delete does.",
			"  port53 record remove example.com www\n  port53 record remove example.com www A 192.0.2.1"))
	return cmd
}

// recordAction is a command that changes records.
func recordAction(s *streams, action, use, short, long, example string) *cobra.Command {
	var file, socket, view string
	var asJSON bool
	cmd := &cobra.Command{
		Use:     use,
		Short:   short,
		Long:    long + "\nExit codes: 0 it is so, 1 it was refused, 2 no server was reached.",
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
