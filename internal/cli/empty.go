package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// errEmpty is why an empty value is refused. It comes from a shell variable that is not set, and would stand for
// what a missing flag does: of many flags all that there is.
var errEmpty = errors.New("it is empty: write a value, or leave out the flag to have its default")

// A filled is a flag's value that is refused if it is empty.
type filled struct{ pflag.Value }

// Set implements [pflag.Value].
func (f filled) Set(text string) error {
	if strings.TrimSpace(text) == "" {
		return errEmpty
	}
	return f.Value.Set(text)
}

// A filledList is a flag's list, of which nothing is empty.
type filledList struct {
	pflag.Value
	pflag.SliceValue
}

// Set implements [pflag.Value].
func (f filledList) Set(text string) error {
	if strings.TrimSpace(text) == "" {
		return errEmpty
	}
	if err := f.Value.Set(text); err != nil {
		return err
	}
	for _, one := range f.GetSlice() {
		if strings.TrimSpace(one) == "" {
			return errEmpty
		}
	}
	return nil
}

// refuseEmpty has cmd, and all commands below it, refuse flags and arguments that are given and empty. Those of a
// command that reads its arguments itself are left to it.
func refuseEmpty(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if list, ok := f.Value.(pflag.SliceValue); ok {
			f.Value = filledList{f.Value, list}
			f.DefValue = strings.TrimSuffix(f.DefValue, "[]") // help knows an empty list by types of its own alone
		} else if f.Value.Type() == "string" {
			f.Value = filled{f.Value}
		}
	})
	if valid := cmd.Args; valid != nil && !cmd.DisableFlagParsing {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := valid(cmd, args); err != nil {
				return err
			}
			return filledArguments(args)
		}
	}
	for _, c := range cmd.Commands() {
		refuseEmpty(c)
	}
}

func filledArguments(args []string) error {
	for i, arg := range args {
		if strings.TrimSpace(arg) == "" {
			return fmt.Errorf(`argument %d is empty: write a value; an empty character string of a record is '""', in both quotes`,
				i+1)
		}
	}
	return nil
}
