package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"
)

// The pages, as npm run build in console/ makes them; building this program needs no npm.
//
//go:embed static
var static embed.FS

// A file is one of the pages.
type file struct {
	kind, tag    string
	text, zipped []byte
	alwaysPlain  bool // it would not become shorter
}

func readFiles() (map[string]*file, error) {
	files := map[string]*file{}
	err := fs.WalkDir(static, "static", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := static.ReadFile(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(text)
		f := &file{kind: mime.TypeByExtension(path.Ext(name)), tag: `"` + hex.EncodeToString(sum[:8]) + `"`, text: text}
		var b bytes.Buffer
		z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // the level is a good one
		if _, err := z.Write(text); err != nil {
			return err
		}
		if err := z.Close(); err != nil {
			return err
		}
		f.zipped, f.alwaysPlain = b.Bytes(), b.Len() >= len(text)
		files["/"+strings.TrimPrefix(name, "static/")] = f
		return nil
	})
	if f := files["/index.html"]; f != nil {
		files["/"] = f
	}
	return files, err
}

// static sends one of the pages.
func (s *Server) static(w http.ResponseWriter, r *http.Request) {
	f := s.files[r.URL.Path]
	if f == nil || r.Method != http.MethodGet && r.Method != http.MethodHead {
		s.refuse(w, http.StatusNotFound, "there is no such page")
		return
	}
	h := w.Header()
	h.Set("Content-Type", f.kind)
	h.Set("Cache-Control", "no-cache") // it is asked whether it is new, which costs an empty answer
	h.Set("ETag", f.tag)
	h.Set("Vary", "Accept-Encoding")
	if r.Header.Get("If-None-Match") == f.tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	text := f.text
	if !f.alwaysPlain && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		text = f.zipped
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(text))
}

// plain is the page for browsers without scripts. It tells strangers nothing that an answer of the server
// does not tell.
func (s *Server) plain(w http.ResponseWriter, _ *http.Request) {
	about := s.o.About()
	since, failed := "", ""
	if !about.Started.IsZero() {
		since = " since " + about.Started.UTC().Format("2006-01-02 15:04 UTC")
	}
	if !about.Healthy {
		failed = "; its last reload has failed: see the log"
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	// There is nothing in it that anybody else has written. A template engine would cost a binary all
	// methods that could be called by their names.
	_, _ = io.WriteString(w, `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>port53</title>
<h1>port53</h1>
<p>The server runs`+since+failed+`.</p>
<p>The console needs scripts. Without them, <code>port53 status</code> and <code>port53 zone status</code> tell how the server is,
on the machine that it runs on.</p>
</html>
`)
}
