package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"port53/internal/app"
	"port53/internal/config"
	"port53/internal/console"
	"port53/internal/grant"
)

// A consoleUser is somebody who may sign in, as the server tells of them, and is told.
type consoleUser struct {
	Name     string                `json:"name"`
	Role     string                `json:"role,omitempty"`
	Grants   []config.GrantedRight `json:"grants,omitempty"`
	Password string                `json:"password,omitempty"`
}

// A consoleLink is where somebody signs in.
type consoleLink struct {
	URL   string    `json:"url"`
	User  string    `json:"user,omitempty"`
	Until time.Time `json:"until"`
}

// consoleCall asks the running server to do something with its console.
func consoleCall(ctx context.Context, file, socket, action string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return reach(ctx, file, socket, func(ctx context.Context, at string) error {
		return console.Send(ctx, at, "/console/"+action, bytes.NewReader(body), out)
	})
}

func newConsole(s *streams) *cobra.Command {
	var file, socket, user string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "console [--user NAME]",
		Short: "Print a one-time link that signs in to the web console",
		Long: `port53 console makes the running server create a one-time link to its web console, valid for ten
minutes. The first person to open the link is signed in: as the user given with --user, or else as
an administrator. A signed-in user can create a passkey in the console, and then needs no link to
sign in.

The configuration says where the console is: console: {listen: 127.0.0.1:8080}.
Exit codes: 0 printed, 1 the server has no console, 2 no server was reached.`,
		Example: "  port53 console\n  port53 console --user anna",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var l consoleLink
			if err := consoleCall(cmd.Context(), file, socket, "link", consoleUser{Name: user}, &l); err != nil {
				return err
			}
			if asJSON {
				return s.printJSON(l)
			}
			fmt.Fprintf(s.out, "%s\n", l.URL)
			fmt.Fprintf(s.err, "port53: the link works once, until %s\n", l.Until.Local().Format("15:04"))
			return nil
		},
	}
	cmd.Flags().StringVar(&user, "user", "", "sign in as this user")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	socketFlags(cmd, &file, &socket)
	return cmd
}

func newUser(s *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user",
		Short: "Manage the users of the web console",
		Long: `port53 user adds, lists and removes the users of the web console, which are kept in state_dir. A
user signs in with a passkey or, if port53 user add sets one, with a password. Users create the
passkey themselves, with the link that port53 user add prints.`,
		Example: "  port53 user add anna --role admin\n  port53 user list\n  port53 user remove anna",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newUserAdd(s), newUserList(s), newUserRemove(s))
	return cmd
}

func newUserAdd(s *streams) *cobra.Command {
	var file, socket string
	var u consoleUser
	var r config.GrantedRight
	var password, asJSON bool
	cmd := &cobra.Command{
		Use:   "add NAME --role ROLE | --zone ZONE…",
		Short: "Add a user of the web console",
		Long: `port53 user add creates a user, and prints a one-time link with which the user signs in and
creates a passkey. With --password, port53 user add instead reads a password of at least 12 characters from
standard input.

A role applies to all zones: reader sees all zones and the server's state, editor also changes
records and DNSSEC keys, admin may do everything. Instead of a role, --zone, with --name, --type
and --verb, grants access to some zones, names or types only.
Exit codes: 0 the user was created, 1 the user was refused, 2 no server was reached.`,
		Example: `  port53 user add anna --role admin
  port53 user add berta --zone example.com --verb read --verb change
  port53 user add ops --role reader --password < password.txt`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			u.Name = args[0]
			if len(r.Zones) > 0 {
				u.Grants = []config.GrantedRight{r}
			} else if u.Role == "" {
				return failure(exitUsage, "write --role admin, or --zone example.com", "the user could do nothing")
			}
			if password {
				var err error
				if u.Password, err = readPassword(s); err != nil {
					return err
				}
				if err := consoleCall(cmd.Context(), file, socket, "add", u, nil); err != nil {
					return err
				}
				fmt.Fprintf(s.out, "user %s: made, with a password\n", u.Name)
				return nil
			}
			var l consoleLink
			if err := consoleCall(cmd.Context(), file, socket, "add", u, &l); err != nil {
				return err
			}
			if asJSON {
				return s.printJSON(l)
			}
			fmt.Fprintf(
				s.out,
				"user %s: made. To sign in once, until %s, and make a passkey:\n%s\n",
				u.Name,
				l.Until.Local().Format("15:04"),
				l.URL,
			)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&u.Role, "role", "", "reader, editor or admin")
	f.StringSliceVar(&r.Zones, "zone", nil, `a zone, *.name for all below it, or "*" for all; may be repeated`)
	f.StringSliceVar(&r.Names, "name", []string{"*"}, "names in the zones; may be repeated")
	f.StringSliceVar(&r.Types, "type", nil, "types of records; may be repeated (default all)")
	f.StringSliceVar(&r.Verbs, "verb", []string{"read", "change"}, strings.Join(grant.VerbNames(), ", ")+"; may be repeated")
	f.StringVar(&r.Until, "until", "", "the last day of the grant, such as 2027-01-31")
	f.BoolVar(&password, "password", false, "read a password from standard input")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	socketFlags(cmd, &file, &socket)
	return cmd
}

// readPassword reads a line from standard input.
func readPassword(s *streams) (string, error) {
	in := s.in
	if in == nil {
		in = os.Stdin
	}
	line, err := bufio.NewReader(io.LimitReader(in, 4096)).ReadString('\n')
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", failure(exitUsage, "write it on standard input: port53 user add NAME --password < FILE", "there is no password: %v", err)
	}
	return line, nil
}

func newUserList(s *streams) *cobra.Command {
	var file, socket string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List those who may sign in to the web console",
		Long: `port53 user list prints the users of the web console, what each may do, and how they sign in.
People who sign in through a provider (console.oidc) are not listed.
Exit codes: 0 printed, 2 no server was reached.`,
		Example: "  port53 user list",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list []struct {
				Name     string                `json:"name"`
				Role     string                `json:"role,omitempty"`
				Grants   []config.GrantedRight `json:"grants,omitempty"`
				Password bool                  `json:"password"`
				Passkeys []string              `json:"passkeys"`
				Made     time.Time             `json:"made"`
			}
			if err := consoleCall(cmd.Context(), file, socket, "users", consoleUser{}, &list); err != nil {
				return err
			}
			if asJSON {
				return s.printJSON(list)
			}
			for _, u := range list {
				var may []string
				if u.Role != "" {
					may = append(may, u.Role)
				}
				for _, g := range u.Grants {
					may = append(may, describeGrant(g, app.UsersFile))
				}
				ways := count(len(u.Passkeys), "passkey")
				if u.Password {
					ways += ", password"
				}
				fmt.Fprintf(s.out, "%s: %s; %s\n", u.Name, strings.Join(may, "; "), ways)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	socketFlags(cmd, &file, &socket)
	return cmd
}

func newUserRemove(s *streams) *cobra.Command {
	var file, socket string
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove a user of the web console, and end their sessions",
		Long: `port53 user remove deletes a user with their passkeys and password, and ends their sessions.
Exit codes: 0 the user no longer exists, 1 the removal was refused, 2 no server was reached.`,
		Example: "  port53 user remove anna",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := consoleCall(cmd.Context(), file, socket, "remove", consoleUser{Name: args[0]}, nil); err != nil {
				return err
			}
			fmt.Fprintf(s.out, "user %s: removed\n", args[0])
			return nil
		},
	}
	socketFlags(cmd, &file, &socket)
	return cmd
}
