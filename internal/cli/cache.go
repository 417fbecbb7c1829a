package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"port53/internal/app"
	"port53/internal/console"
	"port53/internal/wire"
)

func newCache(s *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "Flush, dump and load the running resolver's cache",
		Long: `port53 cache flushes, dumps or loads the running resolver's cache.

Similar: rndc flush, unbound-control flush, rec_control wipe-cache,
unbound-control dump_cache.`,
		Example: "  port53 cache flush --tree example.com\n  port53 cache dump cache.dump",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCacheFlush(s), newCacheDump(s), newCacheLoad(s))
	return cmd
}

// socketFlags are how a command finds the running server.
func socketFlags(cmd *cobra.Command, file, socket *string) {
	cmd.Flags().StringVarP(file, "config", "c", defaultConfig, "the running server's configuration, to find its control socket")
	cmd.Flags().StringVar(socket, "socket", "", "the server's control socket, instead of the configured one")
}

func newCacheFlush(s *streams) *cobra.Command {
	var file, socket string
	var tree, all bool
	cmd := &cobra.Command{
		Use:   "flush NAME | flush --tree NAME | flush --all",
		Short: "Remove a name, a subtree or everything from the cache",
		Long: `port53 cache flush removes a name from the running resolver's cache: its records of all types,
negative answers and remembered failures. --tree also removes the names below it, --all removes
everything.

Similar: rndc flushname, rndc flushtree, rndc flush.`,
		Example: "  port53 cache flush www.example.com\n  port53 cache flush --tree example.com\n  port53 cache flush --all",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) == 1) {
				return failure(exitUsage, "", "name what to forget, or everything with --all")
			}
			name := "."
			if !all {
				name = args[0]
				if _, err := wire.ParseName(name); err != nil {
					return failure(exitUsage, "", "name %s: %v", name, err)
				}
			}
			q := url.Values{"name": {name}}
			if tree || all {
				q.Set("tree", "")
			}
			if err := call(cmd.Context(), file, socket, "POST", "/cache/flush?"+q.Encode(), nil); err != nil {
				return err
			}
			switch {
			case all:
				fmt.Fprintln(s.out, "flushed everything")
			case tree:
				fmt.Fprintf(s.out, "flushed %s and the names below it\n", name)
			default:
				fmt.Fprintf(s.out, "flushed %s\n", name)
			}
			return nil
		},
	}
	socketFlags(cmd, &file, &socket)
	cmd.Flags().BoolVar(&tree, "tree", false, "also the names below NAME")
	cmd.Flags().BoolVar(&all, "all", false, "everything")
	return cmd
}

func newCacheDump(s *streams) *cobra.Command {
	var file, socket string
	cmd := &cobra.Command{
		Use:   "dump FILE",
		Short: "Write the cache to a file that port53 cache load reads",
		Long: `port53 cache dump writes the running resolver's cache, with expiry times, to a file in port53's
own format. The file reveals what people have looked up.

Similar: unbound-control dump_cache, rndc dumpdb.`,
		Example: "  port53 cache dump cache.dump",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			f, err := os.CreateTemp(filepath.Dir(args[0]), filepath.Base(args[0])+".*")
			if err != nil {
				return failure(exitUsage, "", "%v", err)
			}
			defer os.Remove(f.Name()) // it is gone once it has its name
			err = reach(cmd.Context(), file, socket, func(ctx context.Context, at string) error {
				return console.Fetch(ctx, at, "/cache/dump", f)
			})
			size, _ := f.Seek(0, 1)
			if closeErr := f.Close(); err == nil && closeErr != nil {
				return failure(exitUsage, "", "%v", closeErr)
			}
			if err != nil {
				return err
			}
			if size == 0 {
				return failure(exitFindings, "", "the server has no cache: its role does not resolve")
			}
			if err := os.Rename(f.Name(), args[0]); err != nil {
				return failure(exitUsage, "", "%v", err)
			}
			fmt.Fprintf(s.out, "dumped %d octets to %s\n", size, args[0])
			return nil
		},
	}
	socketFlags(cmd, &file, &socket)
	return cmd
}

func newCacheLoad(s *streams) *cobra.Command {
	var file, socket string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "load FILE",
		Short: "Load a dump into the running resolver's cache",
		Long: `port53 cache load reads a dump into the running resolver's cache, except for what has expired.
Data the resolver already has is kept. A damaged dump is read up to the damage, which is reported.

Similar: unbound-control load_cache.`,
		Example: "  port53 cache load cache.dump",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := os.Open(args[0])
			if err != nil {
				return failure(exitUsage, "", "%v", err)
			}
			defer f.Close()
			var r app.CacheLoaded
			refused := false
			err = reach(cmd.Context(), file, socket, func(ctx context.Context, at string) error {
				err := console.Send(ctx, at, "/cache/load", f, &r)
				refused = errors.Is(err, console.ErrRefused)
				return err
			})
			if err != nil && !refused {
				return err
			}
			if asJSON {
				if err := s.printJSON(r); err != nil {
					return err
				}
			} else {
				fmt.Fprintf(s.out, "loaded %d entries from %s\n", r.Entries, args[0])
			}
			return err
		},
	}
	socketFlags(cmd, &file, &socket)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
