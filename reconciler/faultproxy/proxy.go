// Package faultproxy stands between a client and a real API server and spoils
// what passes, by rules that a test gives:
//
//	proxy := faultproxy.Start(cluster.Config())
//	defer proxy.Stop()
//	lost := proxy.Inject(faultproxy.Rule{Verbs: []string{"apply"}, Times: 1, Fault: faultproxy.LoseAnswer()})
//	…                                  // work through proxy.Config()
//	if lost.Hits() != 1 { … }          // the fault really happened
//
// It ends TLS: clients come with a certificate authority of its own, and it
// asks the API server as whoever the configuration given to [Start] is. So one
// proxy is one user. With [StartForTokens] the client's own bearer token goes
// through instead. It speaks HTTP/2 as an API server does: a fault of one
// request ends its stream, and [Proxy.Cut] ends the connections.
//
// Every request is on record with what became of it ([Proxy.Log]), which is how
// a test says "once" and "nothing more was written".
//
// What it refuses: to listen anywhere but on 127.0.0.1.
package faultproxy

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"
)

// Proxy is a running proxy.
type Proxy struct {
	server *httptest.Server
	away   atomic.Bool

	mu        sync.Mutex
	target    *url.URL
	transport http.RoundTripper
	rules     []*Injected
	log       []*Seen
	// parted is closed when a partition is healed; nil while there is none.
	parted chan struct{}
	// identity is what Rotate gave; nil before.
	identity *identity
}

// Start begins to pass requests on as the user of cfg.
func Start(cfg *rest.Config) (*Proxy, error) { return start(cfg) }

// StartForTokens passes requests on with the bearer token that they bring.
func StartForTokens(cfg *rest.Config) (*Proxy, error) { return start(rest.AnonymousClientConfig(cfg)) }

func start(cfg *rest.Config) (*Proxy, error) {
	p := &Proxy{}
	if err := p.Turn(cfg); err != nil {
		return nil, err
	}
	p.server = httptest.NewUnstartedServer(http.HandlerFunc(p.serve))
	p.server.Listener = &door{p.server.Listener, p}
	p.server.EnableHTTP2 = true
	p.server.TLS = &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: p.identify}
	p.server.Config.ErrorLog = log.New(io.Discard, "", 0) // connections that break are what is tried
	p.server.StartTLS()
	return p, nil
}

// door lets nobody in while the proxy is away.
type door struct {
	net.Listener
	proxy *Proxy
}

func (d *door) Accept() (net.Conn, error) {
	for {
		conn, err := d.Listener.Accept()
		if err != nil || !d.proxy.away.Load() {
			return conn, err
		}
		conn.Close()
	}
}

// Turn makes another API server, or another user, the one that is asked.
func (p *Proxy) Turn(cfg *rest.Config) error {
	target, err := url.Parse(cfg.Host)
	if err != nil {
		return fmt.Errorf("reading the address of the API server: %w", err)
	}
	transport, err := rest.TransportFor(cfg)
	if err != nil {
		return fmt.Errorf("preparing the connection to the API server: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target, p.transport = target, transport
	return nil
}

// Config is the way through the proxy.
func (p *Proxy) Config() *rest.Config {
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw})
	return &rest.Config{Host: p.server.URL, QPS: -1, TLSClientConfig: rest.TLSClientConfig{CAData: authority}}
}

// Stop ends the proxy and all that passes through it.
func (p *Proxy) Stop() {
	p.Away(true) // what a fault holds back ends with its connection
	p.server.Close()
}

// Away makes the API server seem to be down, or back: connections end and new
// ones are not taken.
func (p *Proxy) Away(away bool) {
	p.away.Store(away)
	if away {
		p.Cut()
	}
}

// Cut ends all connections; new ones are taken.
func (p *Proxy) Cut() { p.server.CloseClientConnections() }

// Part makes the API server seem to hang: nothing is passed on in any
// direction, and nothing ends, until heal is called.
func (p *Proxy) Part() (heal func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	parted := make(chan struct{})
	p.parted = parted
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		close(parted)
		if p.parted == parted {
			p.parted = nil
		}
	})
}

// pass waits while there is a partition.
func (p *Proxy) pass(r *http.Request) {
	p.mu.Lock()
	parted := p.parted
	p.mu.Unlock()
	if parted == nil {
		return
	}
	select {
	case <-parted:
	case <-r.Context().Done():
		abort()
	}
}

// Seen is a request and what became of it.
type Seen struct {
	Request
	// Status is the answer of the API server; 0 means that it was not asked or
	// gave none. Delivered says that the client got an answer as it was.
	Status    int
	Delivered bool
	// At is when it arrived, Done when the API server had answered.
	At, Done time.Time
	// Fault is the name of what was done to it, empty for nothing.
	Fault string
}

// Accepted says that the API server carried the request out.
func (s Seen) Accepted() bool { return s.Status >= 200 && s.Status < 300 }

// Log is all that was asked so far, in the order of arrival.
func (p *Proxy) Log() []Seen {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]Seen, 0, len(p.log))
	for _, s := range p.log {
		out = append(out, *s)
	}
	return out
}

// Forget empties the log.
func (p *Proxy) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log = nil
}

// Writes are the requests that changed something, in the order of arrival.
func (p *Proxy) Writes() []Seen {
	return slices.DeleteFunc(p.Log(), func(s Seen) bool { return !s.Write() || !s.Accepted() })
}

// Count says how often the API server carried out each write, by verb and object.
func (p *Proxy) Count() map[string]int {
	out := map[string]int{}
	for _, s := range p.Writes() {
		out[s.Verb+" "+s.Object()]++
	}
	return out
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	seen := &Seen{Request: parse(r), At: time.Now()}
	p.mu.Lock()
	p.log = append(p.log, seen)
	rules := slices.Clone(p.rules)
	p.mu.Unlock()
	x := &Exchange{proxy: p, w: w, r: r, seen: seen}
	p.pass(r)
	for _, rule := range rules {
		if rule.meets(seen.Request) {
			p.note(func() { seen.Fault = rule.rule.Fault.name })
			rule.hit()
			rule.rule.Fault.do(x)
			return
		}
	}
	x.Forward()
}

// note changes the log.
func (p *Proxy) note(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

func (p *Proxy) upstream() (*url.URL, http.RoundTripper) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.target, p.transport
}

// abort ends a request without an answer: the stream is reset.
func abort() { panic(http.ErrAbortHandler) }

// Exchange is one request on its way.
type Exchange struct {
	proxy *Proxy
	w     http.ResponseWriter
	r     *http.Request
	seen  *Seen
}

// Ask has the API server carry the request out.
func (x *Exchange) Ask() *http.Response {
	target, transport := x.proxy.upstream()
	out := x.r.Clone(x.r.Context())
	out.URL.Scheme, out.URL.Host, out.Host, out.RequestURI = target.Scheme, target.Host, "", ""
	answer, err := transport.RoundTrip(out)
	if err != nil {
		abort()
	}
	x.proxy.note(func() { x.seen.Status, x.seen.Done = answer.StatusCode, time.Now() })
	return answer
}

// Forward passes the request on and the answer back.
func (x *Exchange) Forward() {
	answer := x.Ask()
	defer answer.Body.Close()
	x.begin(answer)
	buffer := make([]byte, 32<<10)
	for {
		n, err := answer.Body.Read(buffer)
		if n > 0 {
			x.send(buffer[:n])
		}
		if err == io.EOF {
			x.proxy.note(func() { x.seen.Delivered = true })
			return
		}
		if err != nil {
			abort()
		}
	}
}

// begin sends the head of an answer.
func (x *Exchange) begin(answer *http.Response) {
	maps.Copy(x.w.Header(), answer.Header)
	x.w.Header().Del("Content-Length") // a fault may change it
	x.w.WriteHeader(answer.StatusCode)
	x.flush()
}

func (x *Exchange) send(b []byte) {
	x.proxy.pass(x.r)
	if _, err := x.w.Write(b); err != nil {
		abort()
	}
	x.flush()
}

func (x *Exchange) flush() {
	if f, ok := x.w.(http.Flusher); ok {
		f.Flush()
	}
}
