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
)

// Remote is where to fetch from.
type Remote struct {
	// URL with scheme https, http, ssh or file.
	URL string
	// Ref is the full name of a branch or a tag, refs/heads/… or refs/tags/….
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

// isTag says whether a ref is a tag by its full name.
func isTag(ref string) bool { return strings.HasPrefix(ref, "refs/tags/") }

// Names that could be read as an option or leave the ref namespace are refused
// before any transport sees them (CVE-2025-21613, attack row E02).
var (
	validRef = regexp.MustCompile(`^refs/(heads|tags)/[A-Za-z0-9._][A-Za-z0-9._/-]{0,200}$`)
	validURL = regexp.MustCompile(`^(https?|ssh|file)://[^\s\x00-\x1f-][^\s\x00-\x1f]*$`)
)

// Fetch asks the remote for the ref and fetches what is missing, and with it
// the heartbeat if the remote has one. When nothing has moved, the cost is one
// round trip.
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
	got, err := s.fetchLocked(ctx, r, with)
	if ctx.Err() != nil && err != nil {
		// What a transport says when it is cut off differs; why it was does not.
		err = fmt.Errorf("the source did not answer in full within %s: %w", r.Timeout, errors.Join(ctx.Err(), err))
	}
	if err != nil {
		return Checkout{}, classify(err)
	}
	return s.checkout(r.Ref, got), nil
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
		return fmt.Errorf("ref %q is neither a branch nor a tag: refs/heads/NAME or refs/tags/NAME", r.Ref)
	}
	return nil
}

// tips are what the refs of a fetch point at; the heartbeat may be zero.
type tips struct{ ref, heartbeat plumbing.Hash }

// fetchLocked takes the heartbeat along where that costs nothing. Whoever may
// push one must not be able to stop the ref by it: when the two do not come
// together, the ref is fetched alone.
func (s *Store) fetchLocked(ctx context.Context, r Remote, with access) (tips, error) {
	pulse := s.pulse.due()
	got, err := s.converse(ctx, r, with, pulse)
	if err == nil {
		return got, nil
	}
	if !got.heartbeat.IsZero() {
		s.pulse.missed()
		if ctx.Err() == nil {
			return s.converse(ctx, r, with, false)
		}
	}
	return tips{}, err
}

// converse is one session with the remote. After an error the heartbeat in
// the answer says that it was asked for together with the ref.
func (s *Store) converse(ctx context.Context, r Remote, with access, pulse bool) (tips, error) {
	session, err := connect(ctx, r, with)
	if err != nil {
		return tips{}, fmt.Errorf("connecting to the source: %w", err)
	}
	defer session.Close() //nolint:errcheck // what counts was read before
	advertised, err := session.AdvertisedReferencesContext(ctx)
	if err != nil {
		return tips{}, fmt.Errorf("listing the refs of the source: %w", err)
	}
	got := tips{ref: advertised.References[r.Ref]}
	if got.ref.IsZero() {
		return got, refuse(ReasonSourceRefMissing, fmt.Errorf("the source has no ref %s", r.Ref))
	}
	// A history that ends early looks like one that begins there (row C09).
	if n := len(advertised.Shallows); n > 0 {
		return got, refuse(ReasonSourceShallow, fmt.Errorf("the source holds a part of the history only: %d commits come without their parents, first %s", n, advertised.Shallows[0]))
	}
	if pulse {
		got.heartbeat = advertised.References[heartbeatRef]
	}
	if s.has(got.ref) && !s.whole {
		got.heartbeat = s.beat(ctx, session, advertised, got.heartbeat)
	} else if err := s.bring(ctx, session, advertised, &got, r.MaxPack); err != nil {
		return got, fmt.Errorf("fetching %s: %w", r.Ref, err)
	}
	return got, s.keep(got.ref)
}

// bring fetches what the ref points at, and the heartbeat in the same pack.
func (s *Store) bring(ctx context.Context, from session, advertised *packp.AdvRefs, got *tips, maxPack int64) error {
	if s.whole {
		s.mend()
	}
	wants := []plumbing.Hash{got.ref}
	if !got.heartbeat.IsZero() && !s.has(got.heartbeat) {
		wants = append(wants, got.heartbeat)
	}
	if err := s.receive(ctx, from, s.request(advertised, wants), maxPack); err != nil {
		if len(wants) == 1 {
			got.heartbeat = plumbing.ZeroHash // it is not to blame
		}
		return err
	}
	if !s.has(got.ref) {
		return errors.New("the pack came without the object that was asked for")
	}
	s.whole = false
	return nil
}

// keep remembers what the ref points at. Force-pushes are kept too: whether the
// line may turn is the verifier's question (T10), and it can only say no to what
// it can see.
func (s *Store) keep(tip plumbing.Hash) error {
	if have, err := s.disk.Reference(localRef); err == nil && have.Hash() == tip {
		return nil
	}
	if err := s.disk.SetReference(plumbing.NewHashReference(localRef, tip)); err != nil {
		return fmt.Errorf("keeping the fetched ref: %w", err)
	}
	return nil
}

func (s *Store) has(id plumbing.Hash) bool { return s.disk.HasEncodedObject(id) == nil }

// request asks for objects, and says what is here already.
func (s *Store) request(advertised *packp.AdvRefs, wants []plumbing.Hash) *packp.UploadPackRequest {
	request := packp.NewUploadPackRequestFromCapabilities(advertised.Capabilities)
	if advertised.Capabilities.Supports(capability.NoProgress) {
		_ = request.Capabilities.Set(capability.NoProgress) // saves bytes only
	}
	request.Wants = wants
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
	for queue := []plumbing.Hash{s.peel(tip.Hash())}; len(queue) > 0 && len(found) < maxHaves; queue = queue[1:] {
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
