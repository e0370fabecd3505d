package tufroot

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"regexp"
	"sync"
	"time"

	"millwright.dev/millwright/gitverify"
)

// DefaultTarget is the file that Sigstore repositories publish.
const DefaultTarget = "trusted_root.json"

// Options say what to follow. Root, Dir and Clock are required; URL only to
// refresh.
type Options struct {
	// URL of the repository: metadata beside it, targets under targets/.
	URL string
	// Root is the initial root metadata (root.json), which is believed as given.
	Root []byte
	// Dir is a folder of this client's own; it is made where it is missing.
	Dir string
	// Target is the name of the trusted root; empty means [DefaultTarget].
	Target string
	// Transport makes requests; nil means one with bounds, which takes its
	// proxies from the environment.
	Transport http.RoundTripper
	// Timeout bounds one refresh; zero means one minute.
	Timeout time.Duration
	Clock   func() time.Time
}

// defaultTimeout lets a slow repository answer, and a dripping one not hold
// the refresher for ever.
const defaultTimeout = time.Minute

// plain is what a target may be called: it becomes part of a URL.
var plain = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

// Client follows one repository. Its methods may be called at the same time.
type Client struct {
	opts Options
	repo repository

	refreshing sync.Mutex // one refresh at a time
	mu         sync.Mutex // guards what follows
	seen       [sha256.Size]byte
	data       []byte
	status     Status
}

// New checks the options. It asks nobody and writes nothing.
func New(o Options) (*Client, error) {
	if o.Target == "" {
		o.Target = DefaultTarget
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	switch {
	case o.Dir == "", o.Clock == nil:
		return nil, errors.New("a client of a TUF repository needs a folder and a clock")
	case !plain.MatchString(o.Target):
		return nil, errors.New("the name of the target may have letters, digits, dots, hyphens and underscores only")
	}
	if _, err := openChain(o.Root, nil, 0); err != nil {
		return nil, err
	}
	repo, err := newRepository(o.URL, o.Transport)
	if err != nil {
		return nil, err
	}
	return &Client{opts: o, repo: repo}, nil
}

// Current is the last good trusted root with what vouches for it. It reads the
// cache, verifies it from the initial root on, and asks nobody. That metadata
// has expired is no error here: [Status.State] tells.
func (c *Client) Current() ([]byte, Status, error) {
	raw, err := readCache(c.opts.Dir)
	if err != nil {
		return nil, Status{}, err
	}
	sum := sha256.Sum256(raw)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.data != nil && sum == c.seen {
		return c.data, c.status, nil
	}
	cached, err := decodeCache(raw)
	if err != nil {
		return nil, Status{}, err
	}
	if cached.Target == nil {
		return nil, Status{}, bad(CodeAway, "cache", "no trusted root was fetched yet")
	}
	status, err := c.verify(cached)
	if err != nil {
		return nil, Status{}, err
	}
	c.seen, c.data, c.status = sum, cached.Target, status
	return c.data, c.status, nil
}

// verify checks a whole cache as if it came from the network, expiry aside.
func (c *Client) verify(cached record) (status Status, err error) {
	defer recovered("cache", &err)
	set, err := openChain(c.opts.Root, cached.Roots, cached.Under)
	if err != nil {
		return Status{}, err
	}
	if err := set.take("timestamp", cached.Timestamp); err != nil {
		return Status{}, err
	}
	if err := set.take("snapshot", cached.Snapshot); err != nil {
		return Status{}, err
	}
	if err := set.take("targets", cached.Targets); err != nil {
		return Status{}, err
	}
	if err := set.accept(c.opts.Target, cached.Target); err != nil {
		return Status{}, err
	}
	return set.status(cached.Fetched), nil
}

// accept checks a target against the metadata, and that it is a trusted root:
// an operator's mistake must not take the last good one away.
func (s *set) accept(name string, data []byte) error {
	info, err := s.target(name)
	if err != nil {
		return err
	}
	if err := info.VerifyLengthHashes(data); err != nil {
		return because(name, err)
	}
	if _, err := gitverify.ParseTrustedRoot(data); err != nil {
		return bad(CodeMalformed, name, "%w", err)
	}
	return nil
}

// Run refreshes at once and then at every interval until the context ends. A
// failed attempt, or a cache that broke, is tried again within a minute. What
// came of each attempt is told.
func (c *Client) Run(ctx context.Context, every time.Duration, tell func(Status, error)) {
	pause := min(max(every, time.Second), retry)
	for due := time.Duration(0); ; due -= pause {
		if _, _, broken := c.Current(); broken != nil || due <= 0 {
			due = pause
			err := c.Refresh(ctx)
			if ctx.Err() != nil {
				return
			}
			if err == nil {
				due = every
			}
			_, status, unusable := c.Current()
			tell(status, errors.Join(err, unusable))
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// retry is how soon a failed refresh is tried again.
const retry = time.Minute
