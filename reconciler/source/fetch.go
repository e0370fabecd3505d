package source

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"

	"millwright.dev/millwright/gitverify"
)

// Remote is where to fetch from.
type Remote struct {
	// URL with scheme https, http, ssh or file.
	URL string
	// Ref is a full branch name, refs/heads/….
	Ref string
	// Timeout of the whole fetch.
	Timeout time.Duration
	// Credentials are the data of the Secret, or nil.
	Credentials map[string][]byte
}

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
	if !validURL.MatchString(r.URL) {
		return Checkout{}, refuse(ReasonSourceUnsupported, fmt.Errorf("the URL is not of the form https://, http://, ssh:// or file://"))
	}
	if !validRef.MatchString(r.Ref) || strings.Contains(r.Ref, "..") {
		return Checkout{}, refuse(ReasonSourceUnsupported, fmt.Errorf("ref %q is not a branch name of the form refs/heads/NAME", r.Ref))
	}
	with, err := authFor(r)
	if err != nil {
		return Checkout{}, refuse(ReasonSourceUnauthorized, err)
	}
	if r.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.Timeout)
		defer cancel()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	tip, err := s.fetchLocked(ctx, r, with)
	if err != nil {
		return Checkout{}, classify(err)
	}
	return Checkout{Commit: gitverify.ID(tip.String()), Ref: r.Ref, store: s}, nil
}

func (s *Store) fetchLocked(ctx context.Context, r Remote, with access) (plumbing.Hash, error) {
	remote := git.NewRemote(s.disk, &config.RemoteConfig{Name: "source", URLs: []string{r.URL}})
	advertised, err := remote.ListContext(ctx, &git.ListOptions{Auth: with.auth, CABundle: with.ca, PeelingOption: git.IgnorePeeled})
	if err != nil {
		return plumbing.ZeroHash, fmt.Errorf("listing the refs of the source: %w", err)
	}
	tip := plumbing.ZeroHash
	for _, ref := range advertised {
		if ref.Name() == plumbing.ReferenceName(r.Ref) && ref.Type() == plumbing.HashReference {
			tip = ref.Hash()
		}
	}
	if tip.IsZero() {
		return tip, refuse(ReasonSourceRefMissing, fmt.Errorf("the source has no ref %s", r.Ref))
	}
	if have, err := s.disk.Reference(localRef); err == nil && have.Hash() == tip && s.disk.HasEncodedObject(tip) == nil {
		return tip, nil
	}
	spec := config.RefSpec("+" + r.Ref + ":" + localRef.String())
	err = remote.FetchContext(ctx, &git.FetchOptions{
		RefSpecs: []config.RefSpec{spec}, Auth: with.auth, CABundle: with.ca, Tags: git.NoTags, Force: true,
	})
	if err != nil && !errors.Is(err, git.NoErrAlreadyUpToDate) {
		// A half-written pack must not be looked at again: start from the disk.
		s.reopen()
		return plumbing.ZeroHash, fmt.Errorf("fetching %s: %w", r.Ref, err)
	}
	// The ref may have moved between the two requests; the one fetched counts.
	have, err := s.disk.Reference(localRef)
	if err != nil {
		return plumbing.ZeroHash, fmt.Errorf("reading the fetched ref: %w", err)
	}
	return have.Hash(), nil
}
