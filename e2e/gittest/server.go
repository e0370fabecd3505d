// Package gittest serves Git repositories over smart HTTP(S) and SSH on free
// ports of 127.0.0.1, with git's own http-backend and upload-pack, so that what
// fetches is tried on the protocols that forges speak.
//
// The server reads and writes bare repositories in one folder: the repository
// NAME.git is at URL/NAME.git. It can ask for a password, answer slowly, and
// stop answering, which is all that a fault test needs of a forge.
//
// What it refuses: addresses other than loopback, and repositories outside its
// folder.
package gittest

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

// Options of [Start]. The zero value serves everybody, to read only.
type Options struct {
	// User and Password, if set, are demanded of everybody (RFC 7617).
	User, Password string
	// Push allows pushes; without it http-backend refuses them.
	Push bool
	// TLS, if set, makes it an HTTPS server.
	TLS *TLS
	// Around, if set, stands between the guard and the repositories, to answer
	// as a broken server would.
	Around func(http.Handler) http.Handler
}

// Server is a running Git server.
type Server struct {
	// URL is where the repositories are: URL + "/NAME.git".
	URL string
	// Root is the folder of the bare repositories.
	Root string
	// CA is the authority of an HTTPS server's certificate, as PEM.
	CA []byte

	options  Options
	http     *http.Server
	requests atomic.Int64
	away     atomic.Bool
	done     chan struct{}
}

// Start serves the repositories in root until Stop.
func Start(ctx context.Context, root string, o Options) (*Server, error) {
	backend, err := findBackend(ctx)
	if err != nil {
		return nil, err
	}
	if root, err = filepath.Abs(root); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(root, 0o750); err != nil {
		return nil, fmt.Errorf("making the folder of the repositories: %w", err)
	}
	lis, err := listen(ctx, "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{URL: "http://" + lis.Addr().String(), Root: root, options: o, done: make(chan struct{})}
	if o.TLS != nil {
		certificate, authority, err := o.TLS.certify(lis.Addr().String())
		if err != nil {
			lis.Close()
			return nil, err
		}
		s.URL, s.CA = "https://"+lis.Addr().String(), authority
		lis = tls.NewListener(lis, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}})
	}
	handler := serveGit(backend, root, o.Push)
	if o.Around != nil {
		handler = o.Around(handler)
	}
	s.http = &http.Server{
		ReadHeaderTimeout: 5 * time.Second, Handler: s.guard(handler),
		ErrorLog: log.New(io.Discard, "", 0), // clients that hang up are what is tried
	}
	go func() {
		defer close(s.done)
		_ = s.http.Serve(lis)
	}()
	return s, nil
}

// listen takes loopback addresses only.
func listen(ctx context.Context, address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("%s is no loopback address", host)
	}
	lis, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	return lis, nil
}

func serveGit(backend, root string, push bool) http.Handler {
	return &cgi.Handler{
		Path: backend, Dir: root, Stderr: os.Stderr,
		Env: []string{
			"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1",
			"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "HOME=" + root,
			// http-backend allows pushes to those who are named only.
			"GIT_CONFIG_COUNT=2",
			"GIT_CONFIG_KEY_0=http.receivepack", fmt.Sprintf("GIT_CONFIG_VALUE_0=%t", push),
			// Commits are fetched by name, so that a test may ask for an old one.
			"GIT_CONFIG_KEY_1=uploadpack.allowAnySHA1InWant", "GIT_CONFIG_VALUE_1=true",
		},
	}
}

// Create makes an empty bare repository and returns its URL.
func (s *Server) Create(ctx context.Context, name string) (string, error) {
	if name == "" || strings.ContainsAny(name, "/\\") || strings.HasPrefix(name, ".") {
		return "", fmt.Errorf("%q is no name for a repository", name)
	}
	cmd := exec.CommandContext(ctx, "git", "init", "--quiet", "--bare", "--initial-branch=main", s.Path(name))
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "HOME=" + s.Root}
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("git init: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return s.RepoURL(name), nil
}

// RepoURL is the URL of a repository.
func (s *Server) RepoURL(name string) string { return s.URL + "/" + name + ".git" }

// Path is the folder of a repository.
func (s *Server) Path(name string) string { return filepath.Join(s.Root, name+".git") }

// Requests counts what was asked so far, answered or not.
func (s *Server) Requests() int64 { return s.requests.Load() }

// SetAway makes the server answer 503 to everything, or serve again.
func (s *Server) SetAway(away bool) { s.away.Store(away) }

// Stop ends the server and the requests that it is answering.
func (s *Server) Stop() {
	_ = s.http.Close()
	<-s.done
}

// guard counts, turns away, and asks for the password.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		if s.away.Load() {
			http.Error(w, "away", http.StatusServiceUnavailable)
			return
		}
		if s.options.User != "" && !s.authorized(r) {
			w.Header().Set("WWW-Authenticate", `Basic realm="gittest"`)
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) authorized(r *http.Request) bool {
	user, password, ok := r.BasicAuth()
	return ok && subtle.ConstantTimeCompare([]byte(user+"\x00"+password), []byte(s.options.User+"\x00"+s.options.Password)) == 1
}

// findBackend finds http-backend where git keeps its programs.
func findBackend(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "git", "--exec-path").Output()
	if err != nil {
		return "", fmt.Errorf("asking git for its programs: %w", err)
	}
	path := filepath.Join(strings.TrimSpace(string(out)), "git-http-backend")
	if _, err := os.Stat(path); err != nil {
		return "", errors.New("this git comes without http-backend: install the whole git package")
	}
	return path, nil
}
