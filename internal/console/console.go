// Package console is the control socket: how the commands of the same machine
// reach the running server. It speaks HTTP over a Unix socket, whose permissions
// guard it, and sees the server through [Admin] alone.
package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"port53/internal/securepath"
)

// Bounds of the socket.
const (
	maxBody   = 1 << 20          // octets of a request (SECURITY: API)
	maxReply  = 64 << 20         // octets of an answer: the status of 100,000 zones
	ioTimeout = 10 * time.Second // to read a request
)

// An Admin does what the commands ask. What it returns is sent as JSON; an error
// is sent as its text.
type Admin interface {
	// Reload reads the configuration and the zones again.
	Reload(ctx context.Context) (any, error)
	// Status tells of the server, and of the zones called name, or all if it is empty, that a view
	// sees, or any if that is empty.
	Status(name, view string) (any, error)
	// Zone does something with a zone: refresh or retransfer it from its primaries,
	// notify those who follow it, sync its file with it, or freeze or thaw its updates.
	// Where views have zones of their own of that name, view says which is meant, here as below.
	Zone(action, name, view string) (any, error)
	// AddZone adds a zone, as what describes it in JSON, and RemoveZone takes one away that was
	// added; with purge what is kept of it too. Both last.
	AddZone(name string, what []byte) (any, error)
	RemoveZone(name, view string, purge bool) (any, error)
	// Keys tells of the DNSSEC keys of a zone that is signed here.
	Keys(name, view string) (any, error)
	// ChangeKeys does with them what command says in JSON, for the command zone keys.
	ChangeKeys(ctx context.Context, name, view string, command []byte) (any, error)
	// Records changes records of a zone, for by: add, set (in place of the sets that they are
	// of) or remove. text has one a line: as in a zone file to add and to set, a name, perhaps
	// a type, and perhaps data to remove.
	Records(by Caller, action, name, view, text string) (any, error)
	// Grants tells of all keys and tokens, and what each may do. Grant makes one, as what
	// describes it in JSON, and tells its secret, once. Revoke takes away one that was so made.
	Grants() (any, error)
	Grant(what []byte) (any, error)
	Revoke(name string) (any, error)
	// Console does something with the web console: link makes a link to sign in with, users tells who
	// may, add and remove change that. what describes in JSON whom it is about.
	Console(by Caller, action string, what []byte) (any, error)
	// CallAPI answers a request of the API at /v1, for by, who may do all.
	Own(w http.ResponseWriter, r *http.Request, by Caller)
	// Export writes a zone as it is served, as a zone file.
	Export(name, view string, w io.Writer) error
	// Changes tells what changed a zone since a serial, by its last change if since is
	// empty, or what its file would change if since is file.
	Changes(name, view, since string) (any, error)
	// RecordProof takes what became of proving the contract, in JSON, from by.
	RecordProof(by Caller, what []byte) (any, error)
	// Flush makes the cache forget a name, with tree what is below it too.
	Flush(name string, tree bool) error
	// DumpCache writes the cache in the form that LoadCache reads.
	DumpCache(w io.Writer) error
	LoadCache(r io.Reader) (any, error)
	// FilterLists tells of the lists that answers are filtered by; UpdateLists reads them again, and
	// fetches those that have a URL: that called name, or all if it is empty.
	FilterLists() (any, error)
	UpdateLists(ctx context.Context, name string) (any, error)
	// PauseFilters lets all answers pass for a time; 0 ends that.
	PauseFilters(d time.Duration) (any, error)
	// TestFilter tells what becomes of a question of a client.
	TestFilter(name, typ, client string) (any, error)
	// JudgeTunnel says that a registered domain is not a tunnel, or that it may be one.
	JudgeTunnel(domain string, accept bool) (any, error)
	// Explain resolves a name and tells how. do asks for signatures, cd for an answer
	// that is not validated. view is whose answer is asked for; empty: that of clients whom no
	// view matches.
	Explain(name, typ, view string, do, cd bool) (any, error)
	// ViewOf tells which view a client of an address gets that asks at one of the server's, and
	// signs with a key; the last two may be empty.
	ViewOf(client, listen, key string) (any, error)
}

// Serve answers commands until ctx ends. What goes wrong with a connection goes to log. Of
// each command that changes something told is called once it is done, unless it is nil: who
// gave it, what it was and, if the result has a Note, what came of it, the zone that it named,
// and why it was refused.
//
// In one piece: a connection is read, told of and answered in one order.
func Serve(
	ctx context.Context,
	l net.Listener,
	admin Admin,
	told func(by Caller, command, zone string, err error),
	log *slog.Logger,
) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /reload", func(w http.ResponseWriter, r *http.Request) {
		send(w)(admin.Reload(r.Context()))
	})
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		send(w)(admin.Status(q.Get("zone"), q.Get("view")))
	})
	zoneCommands(mux, admin)
	mux.HandleFunc("POST /record/{action}", func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		q := r.URL.Query()
		switch action := r.PathValue("action"); {
		case err != nil:
			send(w)(nil, fmt.Errorf("the records cannot be read: %w", err))
		case action != "add" && action != "set" && action != "remove":
			send(w)(nil, errors.New("unknown record command"))
		default:
			send(w)(admin.Records(callerFrom(r.Context()), action, q.Get("zone"), q.Get("view"), string(text)))
		}
	})
	grants(mux, admin)
	mux.HandleFunc("/v1/", func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // what is followed is followed for long
		admin.Own(w, r, callerFrom(r.Context()))
	})
	proofs(mux, admin)
	mux.HandleFunc("POST /cache/flush", func(w http.ResponseWriter, r *http.Request) {
		send(w)(nil, admin.Flush(r.URL.Query().Get("name"), r.URL.Query().Has("tree")))
	})
	mux.HandleFunc("GET /filter/lists", func(w http.ResponseWriter, _ *http.Request) {
		send(w)(admin.FilterLists())
	})
	mux.HandleFunc("POST /filter/update", func(w http.ResponseWriter, r *http.Request) {
		send(w)(admin.UpdateLists(r.Context(), r.URL.Query().Get("list")))
	})
	mux.HandleFunc("POST /filter/pause", func(w http.ResponseWriter, r *http.Request) {
		minutes, err := strconv.Atoi(r.URL.Query().Get("minutes"))
		if err != nil {
			send(w)(nil, errors.New("a pause is a number of minutes"))
			return
		}
		send(w)(admin.PauseFilters(time.Duration(minutes) * time.Minute))
	})
	mux.HandleFunc("GET /filter/test", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		send(w)(admin.TestFilter(q.Get("name"), q.Get("type"), q.Get("client")))
	})
	mux.HandleFunc("POST /tunnel/accept", func(w http.ResponseWriter, r *http.Request) {
		send(w)(admin.JudgeTunnel(r.URL.Query().Get("domain"), true))
	})
	mux.HandleFunc("POST /tunnel/reject", func(w http.ResponseWriter, r *http.Request) {
		send(w)(admin.JudgeTunnel(r.URL.Query().Get("domain"), false))
	})
	mux.HandleFunc("GET /explain", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		send(w)(admin.Explain(q.Get("name"), q.Get("type"), q.Get("view"), q.Has("do"), q.Has("cd")))
	})
	mux.HandleFunc("GET /view", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		send(w)(admin.ViewOf(q.Get("client"), q.Get("listen"), q.Get("key")))
	})
	mux.HandleFunc("GET /cache/dump", func(w http.ResponseWriter, _ *http.Request) {
		_ = admin.DumpCache(w) // a dump that is cut off lacks its end, and whoever reads it sees that
	})
	all := http.NewServeMux()
	all.Handle("/", http.MaxBytesHandler(mux, maxBody))
	// A dump is as large as the cache; its reader stops at the first octet that is wrong.
	all.HandleFunc("POST /cache/load", func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
		send(w)(admin.LoadCache(r.Body))
	})
	s := &http.Server{
		Handler:           tell(all, told),
		ConnContext:       withCaller,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ReadHeaderTimeout: ioTimeout, ReadTimeout: ioTimeout, MaxHeaderBytes: 16 << 10,
	}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// proofs takes what a prover tells.
func proofs(mux *http.ServeMux, admin Admin) {
	mux.HandleFunc("POST /proof", func(w http.ResponseWriter, r *http.Request) {
		what, err := io.ReadAll(r.Body)
		if err != nil {
			send(w)(nil, fmt.Errorf("the proof cannot be read: %w", err))
			return
		}
		send(w)(admin.RecordProof(callerFrom(r.Context()), what))
	})
}

// grants takes the commands about keys, tokens and users of the web console.
func grants(mux *http.ServeMux, admin Admin) {
	mux.HandleFunc("POST /console/{action}", func(w http.ResponseWriter, r *http.Request) {
		what, err := io.ReadAll(r.Body)
		if err != nil {
			send(w)(nil, fmt.Errorf("the request cannot be read: %w", err))
			return
		}
		send(w)(admin.Console(callerFrom(r.Context()), r.PathValue("action"), what))
	})
	mux.HandleFunc("GET /grant", func(w http.ResponseWriter, _ *http.Request) { send(w)(admin.Grants()) })
	mux.HandleFunc("POST /grant/add", func(w http.ResponseWriter, r *http.Request) {
		what, err := io.ReadAll(r.Body)
		if err != nil {
			send(w)(nil, fmt.Errorf("the grant cannot be read: %w", err))
			return
		}
		send(w)(admin.Grant(what))
	})
	mux.HandleFunc("POST /grant/revoke", func(w http.ResponseWriter, r *http.Request) {
		send(w)(admin.Revoke(r.URL.Query().Get("name")))
	})
}

// zoneCommands has the commands answered that are about one zone.
func zoneCommands(mux *http.ServeMux, admin Admin) {
	mux.HandleFunc("POST /zone/add", func(w http.ResponseWriter, r *http.Request) {
		what, err := io.ReadAll(r.Body)
		if err != nil {
			send(w)(nil, fmt.Errorf("the zone cannot be read: %w", err))
			return
		}
		send(w)(admin.AddZone(r.URL.Query().Get("zone"), what))
	})
	mux.HandleFunc("POST /zone/remove", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		send(w)(admin.RemoveZone(q.Get("zone"), q.Get("view"), q.Has("purge")))
	})
	mux.HandleFunc("POST /zone/{action}", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		send(w)(admin.Zone(r.PathValue("action"), q.Get("zone"), q.Get("view")))
	})
	mux.HandleFunc("GET /zone/export", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if err := admin.Export(q.Get("zone"), q.Get("view"), w); err != nil {
			send(w)(nil, err)
		}
	})
	mux.HandleFunc("GET /zone/diff", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		send(w)(admin.Changes(q.Get("zone"), q.Get("view"), q.Get("since")))
	})
	mux.HandleFunc("GET /zone/keys", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		send(w)(admin.Keys(q.Get("zone"), q.Get("view")))
	})
	mux.HandleFunc("POST /zone/keys", func(w http.ResponseWriter, r *http.Request) {
		command, err := io.ReadAll(r.Body)
		if err != nil {
			send(w)(nil, fmt.Errorf("the command cannot be read: %w", err))
			return
		}
		q := r.URL.Query()
		send(w)(admin.ChangeKeys(r.Context(), q.Get("zone"), q.Get("view"), command))
	})
}

// A reply is what goes over the socket.
type reply struct {
	Error  string          `json:"error,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
}

func send(w http.ResponseWriter) func(any, error) {
	return func(result any, err error) {
		var r reply
		if n, ok := result.(interface{ Note() string }); ok {
			if f, ok := w.(*fate); ok {
				f.note = n.Note()
			}
		}
		if result != nil {
			b, marshalErr := json.Marshal(result)
			err = errors.Join(err, marshalErr)
			r.Result = b
		}
		if err != nil {
			r.Error = err.Error()
			if f, ok := w.(*fate); ok {
				f.err = err
			}
			w.WriteHeader(http.StatusConflict)
		}
		_ = json.NewEncoder(w).Encode(r) // a client that went away needs no answer
	}
}

// ErrRefused is wrapped by what [Call] returns when the server was reached and
// could not do what was asked.
var ErrRefused = errors.New("the server refused")

// Call asks the server at the socket: method and path as in "POST", "/reload". It
// decodes the result into result, also beside an error that wraps ErrRefused.
func Call(ctx context.Context, socket, method, path string, result any) error {
	return exchange(ctx, socket, method, path, http.NoBody, result)
}

// Send is Call with a body.
func Send(ctx context.Context, socket, path string, body io.Reader, result any) error {
	return exchange(ctx, socket, "POST", path, body, result)
}

// Fetch copies what the server at the socket has at path to w.
func Fetch(ctx context.Context, socket, path string, w io.Writer) error {
	resp, done, err := request(ctx, socket, "GET", path, http.NoBody)
	if err != nil {
		return err
	}
	defer done()
	if resp.StatusCode != http.StatusOK {
		var r reply
		if err := json.NewDecoder(io.LimitReader(resp.Body, maxReply)).Decode(&r); err != nil {
			return fmt.Errorf("control socket %s: answer cannot be read: %w", socket, err)
		}
		return fmt.Errorf("%w: %s", ErrRefused, r.Error)
	}
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("control socket %s: %w", socket, err)
	}
	return nil
}

// CallAPI asks the API at /v1 of the server at the socket: in is sent as JSON, unless it is nil, and the answer
// decoded into out, unless that is nil. match is what If-Match says; empty: nothing. It returns the ETag. The
// error wraps ErrRefused if the server was reached and could not do what was asked.
func CallAPI(ctx context.Context, socket, method, path, match string, in, out any) (tag string, err error) {
	var body io.Reader = http.NoBody
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return "", err
		}
		body = bytes.NewReader(text)
	}
	head := http.Header{}
	if match != "" {
		head.Set("If-Match", match)
	}
	resp, done, err := requestWith(ctx, socket, method, path, body, head)
	if err != nil {
		return "", err
	}
	defer done()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		return "", fmt.Errorf("control socket %s: %w", socket, err)
	}
	if resp.StatusCode >= http.StatusBadRequest {
		var problem struct{ Detail string }
		if err := json.Unmarshal(text, &problem); err != nil || problem.Detail == "" {
			problem.Detail = resp.Status
		}
		return "", fmt.Errorf("%w: %s", ErrRefused, problem.Detail)
	}
	if out != nil {
		if err := json.Unmarshal(text, out); err != nil {
			return "", fmt.Errorf("control socket %s: answer cannot be read: %w", socket, err)
		}
	}
	return resp.Header.Get("ETag"), nil
}

// request sends a request; done frees what it took.
func request(ctx context.Context, socket, method, path string, body io.Reader) (resp *http.Response, done func(), err error) {
	return requestWith(ctx, socket, method, path, body, nil)
}

// requestWith is request with a head.
func requestWith(
	ctx context.Context,
	socket, method, path string,
	body io.Reader,
	head http.Header,
) (resp *http.Response, done func(), err error) {
	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, method, "http://port53"+path, body)
	if err == nil {
		for key, values := range head {
			req.Header[key] = values
		}
		resp, err = client.Do(req)
	}
	if err != nil {
		client.CloseIdleConnections()
		return nil, nil, fmt.Errorf("control socket %s: %w", socket, cause(err))
	}
	return resp, func() {
		resp.Body.Close()
		client.CloseIdleConnections()
	}, nil
}

func exchange(ctx context.Context, socket, method, path string, body io.Reader, result any) error {
	resp, done, err := request(ctx, socket, method, path, body)
	if err != nil {
		return err
	}
	defer done()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		return fmt.Errorf("control socket %s: %w", socket, err)
	}
	var r reply
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&r); err != nil {
		return fmt.Errorf("control socket %s: answer cannot be read: %w", socket, err)
	}
	if len(r.Result) > 0 && result != nil {
		if err := json.Unmarshal(r.Result, result); err != nil {
			return fmt.Errorf("control socket %s: answer cannot be read: %w", socket, err)
		}
	}
	if r.Error != "" {
		return fmt.Errorf("%w: %s", ErrRefused, r.Error)
	}
	return nil
}

// cause returns the system's reason without what was tried and where, which is
// said already, unless it is the way there that is wrong.
func cause(err error) error {
	var path *fs.PathError
	var sys syscall.Errno
	switch {
	case errors.Is(err, securepath.ErrLink), errors.Is(err, securepath.ErrShared):
	case errors.As(err, &path):
		return path.Err
	case errors.As(err, &sys):
		return sys
	}
	return err
}
