package zonefile_test

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/tools/txtar"

	"port53/internal/wire"
	"port53/internal/zonefile"
)

var update = flag.Bool("update", false, "rewrite the want part of each scenario from what is read")

// TestGolden reads the file called zone of each archive in testdata, with the others
// to include, and compares the records and errors with the file called want. Lines
// of the comment such as "generate: 10" set options.
func TestGolden(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, path := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var zone, want string
			files := fstest.MapFS{}
			for _, f := range archive.Files {
				switch f.Name {
				case "zone":
					zone = string(f.Data)
				case "want":
					want = string(f.Data)
				default:
					files[f.Name] = &fstest.MapFile{Data: f.Data}
				}
			}
			o := zonefile.Options{Origin: []byte("\x07example\x00"), Name: "zone", FS: files}
			for line := range strings.Lines(string(archive.Comment)) {
				key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
				value = strings.TrimPrefix(value, " ")
				n, _ := strconv.Atoi(value)
				switch key {
				case "generate":
					o.Generate = n
				case "max records":
					o.MaxRecords = n
				case "max bytes":
					o.MaxBytes = int64(n)
				case "max errors":
					o.MaxErrors = n
				case "default ttl":
					o.DefaultTTL = uint32(n)
				case "no files":
					o.FS = nil
				case "end":
					zone = strings.TrimSuffix(zone, "\n") + strings.NewReplacer(`\r`, "\r", `\n`, "\n", `\\`, `\`).Replace(value)
				case "crlf":
					zone = strings.ReplaceAll(zone, "\n", "\r\n")
				case "bom":
					zone = "\xef\xbb\xbf" + zone
				}
			}
			got := read(zone, o)
			if got == want {
				return
			}
			if !*update {
				t.Errorf("got\n%s\nwant\n%s", got, want)
				return
			}
			archive.Files = append(archive.Files[:0:0], archive.Files...)
			for i, f := range archive.Files {
				if f.Name == "want" {
					archive.Files = append(archive.Files[:i], archive.Files[i+1:]...)
					break
				}
			}
			archive.Files = append(archive.Files, txtar.File{Name: "want", Data: []byte(got)})
			if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// read returns a line for each record and each error. A record whose owner is said to
// be that of the one before begins with a quotation mark.
func read(zone string, o zonefile.Options) string {
	var out []byte
	files, err := zonefile.Read(strings.NewReader(zone), o, func(r *zonefile.Record) error {
		out = fmt.Appendf(out, "%d:%d:%d ", r.File, r.Line, r.Col)
		if r.SameOwner {
			out = append(out, '"')
		}
		line := zonefile.AppendRecord(nil, r.Owner, r.TTL, r.Type, r.Data)
		out = append(out, strings.ReplaceAll(string(line), "\t", " ")...)
		return nil
	})
	if len(files) > 1 {
		out = fmt.Appendf(out, "files: %s\n", strings.Join(files, " "))
	}
	if err != nil {
		out = append(out, "errors:\n"+err.Error()+"\n"...)
	}
	return string(out)
}

func TestErrors(t *testing.T) {
	var many strings.Builder
	for range 30 {
		many.WriteString("a 1 A x\n")
	}
	_, err := zonefile.Read(strings.NewReader(many.String()), zonefile.Options{Origin: wire.Root, Name: "z"}, func(*zonefile.Record) error { return nil })
	if !errors.Is(err, zonefile.ErrTooMany) {
		t.Errorf("30 errors: %v is not ErrTooMany", err)
	}
	if got := strings.Count(err.Error(), "\n"); got != 20 {
		t.Errorf("%d errors and the one that ends them, want 20", got)
	}
	var one *zonefile.Error
	if !errors.As(err, &one) || one.Pos != (zonefile.Pos{File: "z", Line: 1, Col: 7}) || one.Pos.String() != "z:1:7" {
		t.Errorf("the first error is %+v", one)
	}

	_, err = zonefile.Read(strings.NewReader("$INCLUDE none\n"), zonefile.Options{Origin: wire.Root, Name: "z", FS: fstest.MapFS{}}, nil)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is not fs.ErrNotExist", err)
	}

	stop := errors.New("stop")
	_, err = zonefile.Read(strings.NewReader("a 1 A 192.0.2.1\nb 1 A 192.0.2.1\n"), zonefile.Options{Origin: wire.Root}, func(*zonefile.Record) error { return stop })
	if err != stop {
		t.Errorf("got %v, want the error of handle", err)
	}

	for _, origin := range []string{"", "example.", "\x07example", "\x00\x00"} {
		if _, err := zonefile.Read(strings.NewReader(""), zonefile.Options{Origin: []byte(origin)}, nil); err == nil {
			t.Errorf("origin %q is accepted", origin)
		}
	}
}
