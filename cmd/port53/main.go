// Command port53 serves, checks and guards port 53.
package main

import (
	"context"
	"os"

	"port53/internal/cli"
)

func main() {
	os.Exit(cli.Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
