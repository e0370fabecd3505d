package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	"github.com/go-git/go-git/v5/storage/memory"

	"millwright.dev/millwright/tools/pods/internal/refusal"
)

// maxRefs bounds what is asked for when a server gives out tips only.
const maxRefs = 1000

// fetchCommit gets a commit and its tree into memory: without its history where
// the server gives it out by its id, or with that of all branches and tags.
func fetchCommit(ctx context.Context, source string, commit plumbing.Hash, limit int64) (storer.EncodedObjectStorer, error) {
	endpoint, err := transport.NewEndpoint(source)
	if err != nil {
		return nil, refusal.New(reasonURL, "write http://HOST/PATH", "%q: %v", source, err)
	}
	bound := &boundedTransport{left: limit, next: &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: time.Minute,
	}}
	client := githttp.NewClientWithOptions(&http.Client{Transport: bound}, &githttp.ClientOptions{RedirectPolicy: githttp.NoFollowRedirects})
	session, err := client.NewUploadPackSession(endpoint, nil)
	if err != nil {
		return nil, fmt.Errorf("preparing to fetch: %w", err)
	}
	defer func() { _ = session.Close() }()
	objects := memory.NewStorage()
	if err := receive(ctx, session, commit, objects); err != nil {
		if errors.Is(err, errTooMuch) || bound.exceeded() {
			return nil, refusal.New(reasonSize, "raise -max-bytes, or make the repository smaller", "the server sends more than %d bytes", limit)
		}
		return nil, err
	}
	if _, err := objects.EncodedObject(plumbing.CommitObject, commit); err != nil {
		return nil, noSuchCommit(commit)
	}
	return objects, nil
}

func noSuchCommit(commit plumbing.Hash) error {
	return refusal.New(reasonNoCommit, "push the commit to a branch of this repository", "the server has no branch or tag with commit %s", commit)
}

func receive(ctx context.Context, session transport.UploadPackSession, commit plumbing.Hash, into storer.Storer) error {
	advertised, err := session.AdvertisedReferencesContext(ctx)
	if err != nil {
		return fmt.Errorf("asking the server for its branches: %w", err)
	}
	// Only what this client speaks: no side band, no negotiation.
	req := packp.NewUploadPackRequest()
	if err := req.Capabilities.Set(capability.OFSDelta); err != nil {
		return err
	}
	req.Wants, err = wants(advertised, commit)
	if err != nil {
		return err
	}
	if len(req.Wants) == 1 && req.Wants[0] == commit && advertised.Capabilities.Supports(capability.Shallow) {
		if err := req.Capabilities.Set(capability.Shallow); err != nil {
			return err
		}
		req.Depth = packp.DepthCommits(1)
	}
	pack, err := session.UploadPack(ctx, req)
	if err != nil {
		return fmt.Errorf("fetching: %w", err)
	}
	defer func() { _ = pack.Close() }()
	if err := packfile.UpdateObjectStorage(into, pack); err != nil {
		return fmt.Errorf("reading what the server sent: %w", err)
	}
	return nil
}

// wants is the commit, if the server gives it out, and else all that it does.
func wants(advertised *packp.AdvRefs, commit plumbing.Hash) ([]plumbing.Hash, error) {
	var tips []plumbing.Hash
	for _, hash := range advertised.References {
		tips = append(tips, hash)
	}
	capabilities := advertised.Capabilities
	if slices.Contains(tips, commit) || capabilities.Supports(capability.AllowReachableSHA1InWant) || capabilities.Supports("allow-any-sha1-in-want") {
		return []plumbing.Hash{commit}, nil
	}
	slices.SortFunc(tips, func(a, b plumbing.Hash) int { return slices.Compare(a[:], b[:]) })
	tips = slices.Compact(tips)
	if len(tips) == 0 {
		return nil, noSuchCommit(commit)
	}
	if len(tips) > maxRefs {
		return nil, refusal.New(reasonSize, "let the server give out commits by their id (uploadpack.allowReachableSHA1InWant)", "the repository has more than %d branches and tags", maxRefs)
	}
	return tips, nil
}

var errTooMuch = errors.New("too much")

// boundedTransport bounds all that comes from the server, together.
type boundedTransport struct {
	next http.RoundTripper
	left int64
}

func (b *boundedTransport) exceeded() bool { return b.left <= 0 }

func (b *boundedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(req)
	if err == nil {
		resp.Body = &boundedBody{ReadCloser: resp.Body, of: b}
	}
	return resp, err
}

type boundedBody struct {
	io.ReadCloser

	of *boundedTransport
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.of.left <= 0 {
		return 0, errTooMuch
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.of.left)])
	b.of.left -= int64(n)
	return n, err
}
