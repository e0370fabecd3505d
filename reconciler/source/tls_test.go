package source_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"millwright.dev/millwright/e2e/gittest"
	"millwright.dev/millwright/reconciler/source"
)

func withCA(r source.Remote, ca []byte) source.Remote {
	r.Credentials = map[string][]byte{"ca.crt": ca}
	return r
}

func TestHTTPSIsFetchedWithTheAuthorityOfTheSecret(t *testing.T) {
	t.Parallel()
	f := newForge(t, gittest.Options{TLS: &gittest.TLS{}, User: "reader", Password: "correct horse"})
	tip := f.commit("one")
	store, _ := open(t)
	r := withPassword(remote(f.url), "correct horse")
	r.Credentials["ca.crt"] = f.server.CA
	checkout, err := store.Fetch(t.Context(), r)
	if err != nil || checkout.Commit != tip {
		t.Fatalf("%v, %v; want %s", checkout.Commit, err, tip)
	}
}

func TestAServerWhoseCertificateDoesNotHoldIsNotTalkedTo(t *testing.T) { // row E03
	t.Parallel()
	serves := func(o gittest.TLS) *forge { return newForge(t, gittest.Options{TLS: &o}) }
	other := serves(gittest.TLS{})
	for name, c := range map[string]struct {
		f     *forge
		trust *forge // whose authority is in the Secret
	}{
		"an authority that nobody knows":      {serves(gittest.TLS{}), nil},
		"an authority of another server":      {serves(gittest.TLS{}), other},
		"a certificate for another name":      {serves(gittest.TLS{Host: "git.factory.test"}), nil},
		"a certificate for another address":   {serves(gittest.TLS{Host: "127.0.0.2"}), nil},
		"a certificate that is past its time": {serves(gittest.TLS{NotAfter: time.Now().Add(-time.Hour)}), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.f.commit("one")
			r := withPassword(remote(c.f.url), "correct horse")
			switch {
			case c.trust != nil:
				r.Credentials["ca.crt"] = c.trust.server.CA
			case name != "an authority that nobody knows":
				r.Credentials["ca.crt"] = c.f.server.CA
			}
			store, _ := open(t)
			_, err := store.Fetch(t.Context(), r)
			if text := wantReason(t, err, source.ReasonSourceUnreachable); !strings.Contains(text, "certificate") {
				t.Errorf("the message does not name the certificate: %s", text)
			}
			if n := c.f.server.Requests(); n != 0 {
				t.Errorf("%d requests were made of a server that did not prove who it is", n)
			}
		})
	}
}

func TestAnAuthorityThatIsNoneIsRefused(t *testing.T) {
	t.Parallel()
	f := newForge(t, gittest.Options{TLS: &gittest.TLS{}})
	store, _ := open(t)
	_, err := store.Fetch(t.Context(), withCA(remote(f.url), []byte("none")))
	if text := wantReason(t, err, source.ReasonSourceUnauthorized); !strings.Contains(text, "ca.crt") {
		t.Errorf("the message does not name ca.crt: %s", text)
	}
}

// witness is a server at another address that records all it is asked.
type witness struct {
	URL  string
	mu   sync.Mutex
	seen []string
}

func newWitness(t *testing.T, address string) *witness {
	t.Helper()
	w := &witness{}
	w.URL = serve(t, address, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.seen = append(w.seen, fmt.Sprintf("%s %s %q", r.Method, r.URL, r.Header))
	}))
	return w
}

func (w *witness) wantNothing(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, request := range w.seen {
		t.Errorf("the other server was asked: %s", request)
	}
}

// serve serves at a loopback address and returns the URL.
func serve(t *testing.T, address string, handler http.Handler) string {
	t.Helper()
	lis, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(handler)
	s.Listener.Close()
	s.Listener = lis
	s.Start()
	t.Cleanup(s.Close)
	return s.URL
}

// redirectTo sends everything to another server.
func redirectTo(base string) func(http.Handler) http.Handler {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, base+r.URL.RequestURI(), http.StatusMovedPermanently)
		})
	}
}

func TestARedirectElsewhereIsNotFollowedAndTakesNoCredentials(t *testing.T) { // row E01
	t.Parallel()
	for name, c := range map[string]struct{ at, scheme string }{
		"another host":               {"127.0.0.2:0", "http"},
		"another port":               {"127.0.0.1:0", "http"},
		"a file":                     {"127.0.0.2:0", "file"},
		"a URL with a user in it":    {"127.0.0.2:0", "user"},
		"a host without a scheme":    {"127.0.0.2:0", "none"},
		"another host, over the way": {"127.0.0.2:0", "twice"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			other := newWitness(t, c.at)
			to := map[string]string{
				"http": other.URL, "file": "file:///etc",
				"user": strings.Replace(other.URL, "://", "://reader:secret@", 1),
				"none": strings.TrimPrefix(other.URL, "http:"), "twice": "/hop",
			}[c.scheme]
			around := redirectTo(to)
			if c.scheme == "twice" {
				around = func(http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if !strings.HasPrefix(r.URL.Path, "/hop/") {
							http.Redirect(w, r, "/hop"+r.URL.RequestURI(), http.StatusFound)
							return
						}
						http.Redirect(w, r, other.URL+strings.TrimPrefix(r.URL.RequestURI(), "/hop"), http.StatusFound)
					})
				}
			}
			f := newForge(t, gittest.Options{User: "reader", Password: "correct horse", Around: around})
			f.commit("one")
			store, _ := open(t)
			_, err := store.Fetch(t.Context(), withPassword(remote(f.url), "correct horse"))
			text := wantReason(t, err, source.ReasonSourceUnreachable)
			if strings.Contains(text, "horse") || strings.Contains(text, "secret") {
				t.Errorf("the message holds a password: %s", text)
			}
			other.wantNothing(t)
		})
	}
}

func TestARedirectFromHTTPSToHTTPIsNotFollowed(t *testing.T) { // row E01
	t.Parallel()
	other := newWitness(t, "127.0.0.1:0")
	f := newForge(t, gittest.Options{TLS: &gittest.TLS{}, User: "reader", Password: "correct horse", Around: redirectTo(other.URL)})
	f.commit("one")
	r := withPassword(remote(f.url), "correct horse")
	r.Credentials["ca.crt"] = f.server.CA
	store, _ := open(t)
	_, err := store.Fetch(t.Context(), r)
	if text := wantReason(t, err, source.ReasonSourceUnreachable); !strings.Contains(text, "redirect") {
		t.Errorf("the message does not speak of a redirect: %s", text)
	}
	other.wantNothing(t)
}

func TestThePackIsNotAskedForElsewhereEither(t *testing.T) { // row E01
	t.Parallel()
	other := newWitness(t, "127.0.0.2:0")
	f := newForge(t, gittest.Options{Around: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				http.Redirect(w, r, other.URL+r.URL.RequestURI(), http.StatusTemporaryRedirect)
				return
			}
			next.ServeHTTP(w, r)
		})
	}})
	f.commit("one")
	store, _ := open(t)
	_, err := store.Fetch(t.Context(), remote(f.url))
	wantReason(t, err, source.ReasonSourceUnreachable)
	other.wantNothing(t)
}

func TestARepositoryThatMovedOnItsServerIsFollowed(t *testing.T) {
	t.Parallel()
	f := newForge(t, gittest.Options{User: "reader", Password: "correct horse", Around: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if to, moved := strings.CutPrefix(r.URL.RequestURI(), "/old"); moved {
				http.Redirect(w, r, "/factory"+to, http.StatusMovedPermanently)
				return
			}
			next.ServeHTTP(w, r)
		})
	}})
	tip := f.commit("one")
	store, _ := open(t)
	checkout, err := store.Fetch(t.Context(), withPassword(remote(f.server.RepoURL("old")), "correct horse"))
	if err != nil || checkout.Commit != tip {
		t.Fatalf("%v, %v; want %s", checkout.Commit, err, tip)
	}
}
