package source

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"

	"millwright.dev/millwright/gitverify"
)

// Remote is where to fetch from.
type Remote struct {
	// URL with scheme https, http, ssh or file.
	URL string
	// Ref is a full branch name, refs/heads/….
	Ref string
	// Timeout of the whole fetch; DefaultTimeout if it is zero.
	Timeout time.Duration
	// MaxPack is the largest pack, in bytes, that is taken from the remote;
	// DefaultMaxPack if it is zero.
	MaxPack int64
	// Credentials are the data of the Secret, or nil.
	Credentials map[string][]byte
}

// Bounds of a fetch whose Remote names none: without them a server that stalls
// or never stops sending would hold the loop, or fill the disk, for ever.
const (
	DefaultTimeout = 5 * time.Minute
	DefaultMaxPack = 512 << 20
)

// maxHaves bounds the commits that the server is told we have. More than the
// tip is of use only after a force-push.
const maxHaves = 64

// localRef is where the followed ref is kept in the store.
const localRef = plumbing.ReferenceName("refs/millwright/source")

// Names that could be read as an option or leave the ref namespace are refused
// before any transport sees them (CVE-2025-21613, attack row E02).
var (
	validRef = regexp.MustCompile(`^refs/heads/[A-Za-z0-9._][A-Za-z0-9._/-]{0,200}$`)
	validURL = regexp.MustCompile(`^(https?|ssh|file)://[^\s\x00-\x1f-][^\s\x00-\x1f]*$`)
)

// Fetch asks the remote for the ref and fetches what is missing. When the ref
// has not moved, the cost is one round trip.
func (s *Store) Fetch(ctx context.Context, r Remote) (Checkout, error) {
	if err := r.check(); err != nil {
		return Checkout{}, refuse(ReasonSourceUnsupported, err)
	}
	with, err := authFor(r)
	if err != nil {
		return Checkout{}, refuse(ReasonSourceUnauthorized, err)
	}
	if r.Timeout <= 0 {
		r.Timeout = DefaultTimeout
	}
	if r.MaxPack <= 0 {
		r.MaxPack = DefaultMaxPack
	}
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	tip, err := s.fetchLocked(ctx, r, with)
	if ctx.Err() != nil && err != nil {
		// What a transport says when it is cut off differs; why it was does not.
		err = fmt.Errorf("the source did not answer in full within %s: %w", r.Timeout, errors.Join(ctx.Err(), err))
	}
	if err != nil {
		return Checkout{}, classify(err)
	}
	return Checkout{Commit: gitverify.ID(tip.String()), Ref: r.Ref, store: s}, nil
}

func (r Remote) check() error {
	u, err := url.Parse(r.URL)
	if err != nil || !validURL.MatchString(r.URL) {
		return errors.New("the URL is not of the form https://, http://, ssh:// or file://")
	}
	// The URL is shown to people and published with the manifests.
	if _, secret := u.User.Password(); secret || u.User != nil && u.Scheme != "ssh" {
		return errors.New("the URL holds credentials; put them into the Secret that spec.source.secretRef names")
	}
	// What is percent-encoded is decoded before it gets to the far side's shell.
	if strings.ContainsFunc(u.Path, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return errors.New("the URL holds control characters")
	}
	if !validRef.MatchString(r.Ref) || strings.Contains(r.Ref, "..") {
		return fmt.Errorf("ref %q is not a branch name of the form refs/heads/NAME", r.Ref)
	}
	return nil
}

func (s *Store) fetchLocked(ctx context.Context, r Remote, with access) (plumbing.Hash, error) {
	session, err := connect(ctx, r, with)
	if err != nil {
		return plumbing.ZeroHash, fmt.Errorf("connecting to the source: %w", err)
	}
	defer session.Close() //nolint:errcheck // what counts was read before
	advertised, err := session.AdvertisedReferencesContext(ctx)
	if err != nil {
		return plumbing.ZeroHash, fmt.Errorf("listing the refs of the source: %w", err)
	}
	tip, ok := advertised.References[r.Ref]
	if !ok || tip.IsZero() {
		return tip, refuse(ReasonSourceRefMissing, fmt.Errorf("the source has no ref %s", r.Ref))
	}
	if have, err := s.disk.Reference(localRef); !s.whole && err == nil && have.Hash() == tip && s.disk.HasEncodedObject(tip) == nil {
		return tip, nil
	}
	if s.whole || s.disk.HasEncodedObject(tip) != nil {
		if err := s.receive(ctx, session, s.request(advertised, tip), r.MaxPack); err != nil {
			return plumbing.ZeroHash, fmt.Errorf("fetching %s: %w", r.Ref, err)
		}
		if err := s.disk.HasEncodedObject(tip); err != nil {
			return plumbing.ZeroHash, fmt.Errorf("fetching %s: the pack came without the commit that was asked for: %w", r.Ref, err)
		}
	}
	// Force-pushes are fetched too: whether the line may turn is the verifier's
	// question (T10), and it can only say no to what it can see.
	if err := s.disk.SetReference(plumbing.NewHashReference(localRef, tip)); err != nil {
		return plumbing.ZeroHash, fmt.Errorf("keeping the fetched ref: %w", err)
	}
	s.whole = false
	return tip, nil
}

// request asks for the tip, and says what is here already.
func (s *Store) request(advertised *packp.AdvRefs, tip plumbing.Hash) *packp.UploadPackRequest {
	request := packp.NewUploadPackRequestFromCapabilities(advertised.Capabilities)
	if advertised.Capabilities.Supports(capability.NoProgress) {
		_ = request.Capabilities.Set(capability.NoProgress) // saves bytes only
	}
	request.Wants = []plumbing.Hash{tip}
	request.Haves = s.haves()
	return request
}

// haves walks the history that the store holds, newest first. It ends at the
// first commit that is not there, so that a damaged store asks for more and
// not for less.
func (s *Store) haves() []plumbing.Hash {
	tip, err := s.disk.Reference(localRef)
	if err != nil || s.whole {
		return nil
	}
	var found []plumbing.Hash
	for queue := []plumbing.Hash{tip.Hash()}; len(queue) > 0 && len(found) < maxHaves; queue = queue[1:] {
		commit, err := object.GetCommit(s.disk, queue[0])
		if err != nil {
			return found
		}
		if !slices.Contains(found, commit.Hash) {
			found = append(found, commit.Hash)
			queue = append(queue, commit.ParentHashes...)
		}
	}
	return found
}
