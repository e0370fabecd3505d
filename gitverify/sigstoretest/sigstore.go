package sigstoretest

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"millwright.dev/millwright/tools/assets"
	"millwright.dev/millwright/tools/process"
)

// Options of [Start]. The zero value is fine.
type Options struct {
	// Progress gets a line for each program that has to be built first.
	Progress io.Writer
	// TrustDomain is the SPIFFE trust domain of workloads; factory.test if empty.
	TrustDomain string
	// SearchIndex gives the log a search index, and a server to keep it in: what
	// gitsign logs with rekorMode=online is found by it only.
	SearchIndex bool
	// keepLogs is for the test that takes Trillian away and gives it back.
	keepLogs bool
}

// Kind is what a token stands for; each kind has an issuer of its own.
type Kind string

const (
	// Person is somebody with an e-mail address.
	Person Kind = "person"
	// Workload is a program with a SPIFFE ID.
	Workload Kind = "workload"
)

// Sigstore is a private Sigstore on loopback ports.
type Sigstore struct {
	// FulcioURL, RekorURL and TimestampURL are what clients are given; a
	// timestamp client posts to TimestampURL + "/api/v1/timestamp".
	FulcioURL, RekorURL, TimestampURL string
	// TilesURL is a second log, of Rekor's version 2, once [Sigstore.StartTiles] has
	// started it. The trusted root knows it before that.
	TilesURL string
	// TrustedRootPath is the file that a verifier needs, and all it needs.
	TrustedRootPath string
	// RekorKeyPath is the log's public key, PEM: gitsign wants it to sign.
	RekorKeyPath string

	dir         string
	bin         assets.Bin
	client      *http.Client
	trustDomain string
	searchIndex bool
	keepLogs    bool
	ports       ports
	keys        keys
	processes   map[string]*process.Process
}

// ports of the servers, all of 127.0.0.1.
type ports struct {
	people, workloads, trillian, ct, rekor, stamps int
	fulcio, fulcioGRPC, fulcioMetrics, index       int
	tiles, tilesGRPC, tilesMetrics                 int
}

// Start builds the servers if need be and starts them; dir takes keys, logs and
// trusted_root.json. Whoever starts a Sigstore ends it with Stop.
func Start(ctx context.Context, dir string, o Options) (*Sigstore, error) {
	programs := []string{"oidc-issuer", "trillian-memory", "ct_server", "rekor-server", "timestamp-server", "fulcio", "gitsign"}
	if o.SearchIndex {
		programs = append(programs, "redis")
	}
	bin, err := assets.Ensure(ctx, o.Progress, programs...)
	if err != nil {
		return nil, err
	}
	if o.TrustDomain == "" {
		o.TrustDomain = "factory.test"
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	s := &Sigstore{
		dir: dir, bin: bin, client: &http.Client{Timeout: 10 * time.Second},
		trustDomain: o.TrustDomain, searchIndex: o.SearchIndex, keepLogs: o.keepLogs, processes: map[string]*process.Process{},
		TrustedRootPath: filepath.Join(dir, "trusted_root.json"), RekorKeyPath: filepath.Join(dir, "rekor.pub"),
	}
	if err := s.choosePorts(); err != nil {
		return nil, err
	}
	addresses := Addresses{Fulcio: s.FulcioURL, CT: loopbackURL(s.ports.ct), Rekor: s.RekorURL, Tiles: s.TilesURL, Timestamp: s.TimestampURL}
	if s.keys, err = makeKeys(dir, addresses, time.Now()); err != nil {
		return nil, fmt.Errorf("making keys: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	if err := s.startAll(ctx); err != nil {
		s.Stop()
		return nil, fmt.Errorf("starting sigstore: %w", err)
	}
	return s, nil
}

func (s *Sigstore) choosePorts() error {
	p, err := process.Ports(13)
	if err != nil {
		return err
	}
	s.ports = ports{
		people: p[0], workloads: p[1], trillian: p[2], ct: p[3], rekor: p[4], stamps: p[5],
		fulcio: p[6], fulcioGRPC: p[7], fulcioMetrics: p[8], index: p[9],
		tiles: p[10], tilesGRPC: p[11], tilesMetrics: p[12],
	}
	s.FulcioURL = loopbackURL(s.ports.fulcio)
	s.RekorURL = loopbackURL(s.ports.rekor)
	s.TilesURL = loopbackURL(s.ports.tiles)
	s.TimestampURL = loopbackURL(s.ports.stamps)
	return nil
}

func loopbackURL(port int) string { return "http://" + process.Addr(port) }

// IssuerURL is what stands in the certificates of that kind as their issuer.
func (s *Sigstore) IssuerURL(kind Kind) string {
	if kind == Workload {
		return loopbackURL(s.ports.workloads)
	}
	return loopbackURL(s.ports.people)
}

// Token is an identity token for Fulcio: of a person by e-mail address, or of a
// workload by SPIFFE ID.
func (s *Sigstore) Token(ctx context.Context, kind Kind, subject string, ttl time.Duration) (string, error) {
	q := url.Values{"sub": {subject}, "aud": {"sigstore"}, "ttl": {ttl.String()}}
	if kind == Person {
		q.Set("email", subject)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.IssuerURL(kind)+"/token?"+q.Encode(), nil)
	if err != nil {
		return "", err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return "", fmt.Errorf("asking for a token: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return "", fmt.Errorf("reading a token: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("asking for a token: %s: %s", resp.Status, body)
	}
	return string(body), nil
}

// TrustedRootJSON is the content of the file at TrustedRootPath.
func (s *Sigstore) TrustedRootJSON() ([]byte, error) { return os.ReadFile(s.TrustedRootPath) }

// Server is one of the running servers, for tests that take it away: "fulcio",
// "rekor", "ct", "timestamps", "trillian", "people", "workloads", "index", "tiles".
func (s *Sigstore) Server(name string) (*process.Process, error) {
	if p, ok := s.processes[name]; ok {
		return p, nil
	}
	return nil, errors.New("sigstore has no server " + name)
}

// Stop ends all servers. It may be called twice.
func (s *Sigstore) Stop() {
	for _, name := range []string{"fulcio", "rekor", "ct", "timestamps", "people", "workloads", "trillian", "index", "tiles"} {
		s.processes[name].Stop(3 * time.Second)
	}
}

// keys of the servers.
type keys struct {
	fulcio, ct, rekor, tiles, tsaRoot, tsa *ecdsa.PrivateKey
}
