package cli

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"port53/internal/app"
	"port53/internal/config"
)

// A viewChoice is which view a command is about: one by its name, or that of a client.
type viewChoice struct{ name, client, listen, key string }

// viewFlag adds the flag that tells zones of one name apart.
func viewFlag(cmd *cobra.Command, view *string) {
	cmd.Flags().StringVar(view, "view", "", "the view, if several views have a zone of this name")
}

// clientFlags adds the flags by which a client is told; client says what --client is for.
func (v *viewChoice) clientFlags(cmd *cobra.Command, client string) {
	cmd.Flags().StringVar(&v.client, "client", "", client)
	cmd.Flags().StringVar(&v.listen, "at", "", "the address of this server that the client queries")
	cmd.Flags().StringVar(&v.key, "key", "", "the name of the key the client signs with")
}

// resolve finds the name of the view, which the server at a socket knows.
func (v *viewChoice) resolve(ctx context.Context, file, socket string) error {
	if v.client == "" {
		if v.listen+v.key != "" {
			return failure(exitUsage, "add --client ADDRESS", "--at and --key are about a client")
		}
		return nil
	}
	if v.name != "" {
		return failure(exitUsage, "leave one of them out", "--view and --client exclude each other")
	}
	var r app.ViewOf
	values := url.Values{"client": {v.client}, "listen": {v.listen}, "key": {v.key}}
	if err := call(ctx, file, socket, "GET", "/view?"+values.Encode(), &r); err != nil {
		return err
	}
	v.name = r.View
	return nil
}

// whichView tells which view a client gets of a server of a configuration.
func (s *streams) whichView(c *config.Config, v *viewChoice, asJSON bool) error {
	if v.client == "" {
		return failure(exitUsage, "add --client ADDRESS", "--at and --key are about a client")
	}
	r, err := app.WhichView(c, v.client, v.listen, v.key)
	switch {
	case err != nil:
		return failure(exitUsage, "", "%v", err)
	case asJSON:
		return s.printJSON(r)
	}
	s.printViewOf(r)
	return nil
}

// printViewOf tells which view a client gets.
func (s *streams) printViewOf(r *app.ViewOf) {
	fmt.Fprintf(s.out, "client %s", r.Client)
	if r.Listen != "" {
		fmt.Fprintf(s.out, " at %s", r.Listen)
	}
	if r.Key != "" {
		fmt.Fprintf(s.out, " with key %s", r.Key)
	}
	fmt.Fprintf(s.out, ": view %s\n", r.View)
	switch {
	case !r.MayQuery:
		fmt.Fprintln(s.out, "  it may not ask: REFUSED")
	case r.MayRecurse:
		fmt.Fprintln(s.out, "  it may ask, and have names resolved")
	default:
		fmt.Fprintln(s.out, "  it may ask for names in zones")
	}
	if len(r.Zones) > 0 {
		fmt.Fprintf(s.out, "  zones that not all views see: %s\n", strings.Join(r.Zones, ", "))
	}
}
