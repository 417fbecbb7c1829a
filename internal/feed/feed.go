// Package feed has where lists of names come from: files, and URLs, of which the last good copy is
// kept in a directory.
//
// A list that is fetched is a [Candidate] until somebody has read it and found it good: then it is
// kept in the place of the one before, which is otherwise left as it is.
//
// Package feed does not know what is in a list.
package feed

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Bounds of a fetch.
const (
	fetchTime    = 10 * time.Minute // in all
	headerTime   = 30 * time.Second // until the reply begins
	maxRedirects = 5
	maxHeader    = 64 << 10

	// After a failure it is tried again after firstRetry, then twice as long each time, up to the
	// time between fetches that go well.
	firstRetry = time.Minute
)

// A Source is where one list comes from.
type Source struct {
	Name    string // letters, digits, - and _: files are named by it
	File    string // or
	URL     string
	Every   time.Duration // a URL is asked for changes so often
	MaxSize int64         // octets of the list
}

// A Meta is what is known of the copy of a list.
type Meta struct {
	URL      string    `json:"url"`
	ETag     string    `json:"etag,omitempty"`
	Modified string    `json:"last_modified,omitempty"`
	Fetched  time.Time `json:"fetched"` // when the copy came
	Asked    time.Time `json:"asked"`   // when its server last said that it is good still
	Octets   int64     `json:"octets"`
}

// A Store keeps copies of lists.
type Store struct {
	client *http.Client
	agent  string

	above *os.Root // nil: nothing is kept
	name  string
	mu    sync.Mutex
	below *os.Root // nil: the directory was not needed yet
}

// Open opens the store in the directory called name below dir, which is made once it is needed.
// Without dir, or with one that cannot be written, nothing is kept: the error says why, and the
// store can be used. Somebody else may own the directory: no link leads out of it. transport is
// how lists are fetched; nil is the system's. agent is what servers are told of the program.
func Open(dir, name string, transport http.RoundTripper, agent string) (*Store, error) {
	if transport == nil {
		transport = &http.Transport{
			Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConns: 1, IdleConnTimeout: time.Second,
			TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: headerTime, MaxResponseHeaderBytes: maxHeader,
		}
	}
	s := &Store{name: name, agent: agent, client: &http.Client{Transport: transport, Timeout: fetchTime, CheckRedirect: redirect}}
	if dir == "" {
		return s, nil
	}
	var err error
	s.above, err = os.OpenRoot(dir)
	return s, err
}

// dir returns the directory of the copies; nil: there is none, and there cannot be, or make is false.
func (s *Store) dir(make bool) *os.Root {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.below != nil || s.above == nil {
		return s.below
	}
	if make {
		if err := s.above.Mkdir(s.name, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil
		}
	}
	if d, err := s.above.OpenRoot(s.name); err == nil {
		s.below = d
	}
	return s.below
}

// redirect follows a few redirects, none of which leaves TLS.
func redirect(to *http.Request, via []*http.Request) error {
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	case via[0].URL.Scheme == "https" && to.URL.Scheme != "https":
		return fmt.Errorf("it leads to %s, without TLS", to.URL.Redacted())
	}
	return nil
}

// Close gives back what the store has open.
func (s *Store) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range []*os.Root{s.above, s.below} {
		if d != nil {
			d.Close()
		}
	}
}

func (s *Source) copyName() string { return s.Name + ".list" }
func (s *Source) metaName() string { return s.Name + ".json" }

// ErrTooLarge is wrapped when a list has more octets than it may have.
var ErrTooLarge = errors.New("the list is too large")

// regular opens what open opens, if that is a regular file of at most limit octets.
func regular(open func(flag int) (*os.File, error), limit int64) (*os.File, fs.FileInfo, error) {
	f, err := open(os.O_RDONLY | syscall.O_NONBLOCK) // a pipe is not waited for
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = &fs.PathError{Op: "read", Path: f.Name(), Err: errors.New("it is not a regular file")}
	case info.Size() > limit:
		err = fmt.Errorf("%w: %d octets, and max_size is %d", ErrTooLarge, info.Size(), limit)
	default:
		return f, info, nil
	}
	f.Close()
	return nil, nil, err
}

// Read opens a list: the file, or the copy of what was fetched. The error wraps [fs.ErrNotExist] if
// there is none.
func (s *Store) Read(src *Source) (io.ReadCloser, fs.FileInfo, error) {
	if src.File != "" {
		return regular(func(flag int) (*os.File, error) { return os.OpenFile(src.File, flag, 0) }, src.MaxSize)
	}
	dir := s.dir(false)
	if dir == nil {
		return nil, nil, &fs.PathError{Op: "open", Path: src.copyName(), Err: fs.ErrNotExist}
	}
	if m := s.Meta(src); m.URL != src.URL {
		return nil, nil, &fs.PathError{Op: "open", Path: src.copyName(), Err: fs.ErrNotExist} // it is of another
	}
	return regular(func(flag int) (*os.File, error) { return dir.OpenFile(src.copyName(), flag, 0) }, src.MaxSize)
}

// Meta returns what is known of the copy of a list; nothing of one that there is not.
func (s *Store) Meta(src *Source) (m Meta) {
	dir := s.dir(false)
	if dir == nil || src.URL == "" {
		return m
	}
	f, _, err := regular(func(flag int) (*os.File, error) { return dir.OpenFile(src.metaName(), flag, 0) }, 1<<16)
	if err != nil {
		return m
	}
	defer f.Close()
	if json.NewDecoder(f).Decode(&m) != nil {
		return Meta{}
	}
	return m
}

// A Candidate is a list that was fetched, and is not yet kept. It is to be kept or discarded.
type Candidate struct {
	store *Store
	src   Source
	meta  Meta
	name  string        // of the file; empty: it is in
	room  *bytes.Buffer // memory
}

// Fetch asks for a list, if it is another than the copy that there is; nil: it is not. force has it
// come in any case.
func (s *Store) Fetch(ctx context.Context, src *Source, force bool) (*Candidate, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, src.URL, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", s.agent)
	meta := s.Meta(src)
	if f, _, err := s.Read(src); err == nil && !force {
		f.Close()
		if meta.ETag != "" {
			req.Header.Set("If-None-Match", meta.ETag)
		}
		if meta.Modified != "" {
			req.Header.Set("If-Modified-Since", meta.Modified)
		}
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, cause(err)
	}
	defer resp.Body.Close()
	switch kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";"); {
	case resp.StatusCode == http.StatusNotModified && req.Header.Get("If-None-Match")+req.Header.Get("If-Modified-Since") != "":
		meta.Asked = time.Now().UTC()
		return nil, s.writeMeta(src, &meta)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("the server says %s", resp.Status)
	case strings.EqualFold(strings.TrimSpace(kind), "text/html"):
		return nil, errors.New("the server sent an HTML page instead of a list")
	case resp.ContentLength > src.MaxSize:
		return nil, fmt.Errorf("%w: %d octets, and max_size is %d", ErrTooLarge, resp.ContentLength, src.MaxSize)
	}
	now := time.Now().UTC()
	c := &Candidate{
		store: s,
		src:   *src,
		meta:  Meta{URL: src.URL, ETag: resp.Header.Get("ETag"), Modified: resp.Header.Get("Last-Modified"), Fetched: now, Asked: now},
	}
	if err := c.fill(resp.Body); err != nil {
		c.Discard()
		return nil, err
	}
	return c, nil
}

// cause leaves out what was asked for, which whoever asks knows.
func cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// fill takes the octets of a list.
func (c *Candidate) fill(from io.Reader) error {
	var to io.Writer
	if dir := c.store.dir(true); dir != nil {
		name := c.src.copyName() + ".new"
		_ = dir.Remove(name)
		f, err := dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
		if err != nil {
			return err
		}
		defer f.Close()
		c.name, to = name, f
	} else {
		c.room = new(bytes.Buffer)
		to = c.room
	}
	n, err := io.Copy(to, io.LimitReader(from, c.src.MaxSize+1))
	switch {
	case err != nil:
		return cause(err)
	case n > c.src.MaxSize:
		return fmt.Errorf("%w: more than %d octets, which is max_size", ErrTooLarge, c.src.MaxSize)
	}
	c.meta.Octets = n
	if f, ok := to.(*os.File); ok {
		return f.Sync()
	}
	return nil
}

// Open opens the list.
func (c *Candidate) Open() (io.ReadCloser, error) {
	if c.name == "" {
		return io.NopCloser(bytes.NewReader(c.room.Bytes())), nil
	}
	return c.store.dir(false).Open(c.name)
}

// Commit puts the list in the place of the copy that there was.
func (c *Candidate) Commit() error {
	if c.name == "" {
		return nil
	}
	if err := c.store.dir(false).Rename(c.name, c.src.copyName()); err != nil {
		return err
	}
	return c.store.writeMeta(&c.src, &c.meta)
}

// Discard forgets the list.
func (c *Candidate) Discard() {
	if c.name != "" {
		_ = c.store.dir(false).Remove(c.name) // the next one removes it
	}
}

// writeMeta writes what is known of a copy. A crash leaves the one before, or this.
func (s *Store) writeMeta(src *Source, m *Meta) error {
	dir := s.dir(false)
	if dir == nil {
		return nil
	}
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	name := src.metaName() + ".new"
	_ = dir.Remove(name)
	f, err := dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return dir.Rename(name, src.metaName())
}

// Due returns when a list is to be asked for: after so many failures, or after the time at which its
// server last said something good. What many fetch at the same time of the day they fetch at many.
func Due(src *Source, asked, now time.Time, failures int) time.Time {
	if failures > 0 {
		wait := min(firstRetry<<min(failures-1, 20), src.Every)
		return now.Add(wait + jitter(wait/4))
	}
	if asked.IsZero() || asked.After(now) { // by a clock that was wrong
		return now
	}
	return asked.Add(src.Every - src.Every/10 + jitter(src.Every/5))
}

// jitter returns a random time up to most.
func jitter(most time.Duration) time.Duration {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	return time.Duration(binary.LittleEndian.Uint64(b[:]) % uint64(most+1))
}
