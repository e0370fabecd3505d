package attest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
)

// MaxReferrers bounds how many referrers of one artifact are looked at.
const MaxReferrers = 100

// maxResponse bounds each answer of a registry while evidence is fetched.
const maxResponse = MaxBundle + 1<<20

// Repository is one repository of an OCI registry.
type Repository struct {
	repo      name.Repository
	keychain  authn.Keychain
	transport http.RoundTripper
}

// RepositoryOptions are optional.
type RepositoryOptions struct {
	// Keychain finds credentials; nil means anonymous.
	Keychain authn.Keychain
	// Transport of requests; nil means the default one.
	Transport http.RoundTripper
	// Plain are hosts, with their port if they have one, to which evidence may go in
	// the clear: a registry there may be one without https.
	Plain []string
}

// OpenRepository parses a repository's name, such as
// registry.example.org/factory/rendered. It talks to nobody.
func OpenRepository(ref string, opts RepositoryOptions) (*Repository, error) {
	repo, err := name.NewRepository(ref, name.StrictValidation)
	if err != nil {
		return nil, fmt.Errorf("reading the repository's name: %w", err)
	}
	if slices.Contains(opts.Plain, repo.RegistryStr()) {
		if repo, err = name.NewRepository(ref, name.StrictValidation, name.Insecure); err != nil {
			return nil, fmt.Errorf("reading the repository's name: %w", err)
		}
	}
	// The library also takes private addresses and *.localhost for plain-HTTP
	// hosts: evidence goes in the clear to this machine only.
	if repo.Scheme() == "http" {
		if err := requireConfidential("registry", "http://"+repo.RegistryStr(), opts.Plain); err != nil {
			return nil, err
		}
	}
	r := &Repository{repo: repo, keychain: opts.Keychain, transport: opts.Transport}
	if r.keychain == nil {
		r.keychain = anonymous{}
	}
	if r.transport == nil {
		r.transport = remote.DefaultTransport
	}
	return r, nil
}

type anonymous struct{}

func (anonymous) Resolve(authn.Resource) (authn.Authenticator, error) { return authn.Anonymous, nil }

// String is the repository's name.
func (r *Repository) String() string { return r.repo.String() }

// Reference is the full name of an artifact, REPO@DIGEST.
func (r *Repository) Reference(digest string) string { return r.repo.String() + "@" + digest }

func (r *Repository) options(ctx context.Context, transport http.RoundTripper) []remote.Option {
	return []remote.Option{
		remote.WithContext(ctx), remote.WithAuthFromKeychain(r.keychain), remote.WithTransport(transport),
		remote.WithUserAgent("millwright"), remote.WithJobs(2),
	}
}

// Push stores the artifact and returns its reference. Pushing again what is
// there already changes nothing.
func (r *Repository) Push(ctx context.Context, a Artifact) (string, error) {
	if a.image == nil {
		return "", errors.New("pushing the manifests: there is no artifact")
	}
	if err := remote.Write(r.repo.Digest(a.digest), a.image, r.options(ctx, r.transport)...); err != nil {
		return "", fmt.Errorf("pushing the manifests: %w", err)
	}
	return r.Reference(a.digest), nil
}

// Attach stores a verified bundle as a referrer of an artifact that is in the
// repository, and returns the referrer's reference. The statement's own
// subject decides what it is attached to. Attaching again changes nothing.
func (r *Repository) Attach(ctx context.Context, v Verified) (string, error) {
	s := v.Statement
	if v.bundle.JSON == nil {
		return "", errors.New("attaching the bundle: nothing was verified")
	}
	return r.attach(ctx, v.bundle, s.PredicateType, s)
}

// AttachCompanion stores a companion as a referrer of the artifact of the record
// that names it.
func (r *Repository) AttachCompanion(ctx context.Context, v VerifiedCompanion, record Statement) (string, error) {
	named := slices.ContainsFunc(record.Predicate.Inputs, func(i Input) bool { return i.Attestation == v.bundle.Digest })
	if v.bundle.JSON == nil || !named {
		return "", errors.New("attaching a companion: the record does not name it")
	}
	return r.attach(ctx, v.bundle, v.Companion.predicateType, record)
}

func (r *Repository) attach(ctx context.Context, bundle Bundle, predicateType string, record Statement) (string, error) {
	opts := r.options(ctx, r.transport)
	subject, err := remote.Head(r.repo.Digest(record.Artifact()), opts...)
	if err != nil {
		return "", fmt.Errorf("looking for the artifact: %w", err)
	}
	config := static.NewLayer([]byte("{}"), "application/vnd.oci.image.config.v1+json")
	layer := static.NewLayer(bundle.JSON, bundleMediaType)
	described, err := r.blobs(opts, config, layer)
	if err != nil {
		return "", fmt.Errorf("pushing the bundle: %w", err)
	}
	described[0].MediaType, described[0].ArtifactType = emptyConfig, bundleMediaType
	m := newReferrer(bundleMediaType, described[0], described[1:],
		v1.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size},
		map[string]string{
			"dev.sigstore.bundle.content":       "dsse-envelope",
			"dev.sigstore.bundle.predicateType": predicateType,
			"org.opencontainers.image.created":  record.Place().Until.Format(time.RFC3339),
			"dev.millwright.sequence":           fmt.Sprint(record.Place().Sequence),
		})
	return r.put(m, opts)
}

// put stores a referrer's manifest under its own digest.
func (r *Repository) put(m referrer, opts []remote.Option) (string, error) {
	raw, err := m.RawManifest()
	if err != nil {
		return "", fmt.Errorf("encoding the referrer: %w", err)
	}
	ref := r.repo.Digest(Digest(raw))
	if err := remote.Put(ref, m, opts...); err != nil {
		return "", fmt.Errorf("pushing the referrer: %w", err)
	}
	return ref.String(), nil
}

// blobs stores blobs and describes them.
func (r *Repository) blobs(opts []remote.Option, layers ...v1.Layer) ([]v1.Descriptor, error) {
	described := make([]v1.Descriptor, 0, len(layers))
	for _, l := range layers {
		if err := remote.WriteLayer(r.repo, l, opts...); err != nil {
			return nil, err
		}
		d, err := describe(l)
		if err != nil {
			return nil, err
		}
		described = append(described, d)
	}
	return described, nil
}

func describe(l v1.Layer) (v1.Descriptor, error) {
	digest, err := l.Digest()
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("hashing a layer: %w", err)
	}
	size, err := l.Size()
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("measuring a layer: %w", err)
	}
	mediaType, err := l.MediaType()
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("describing a layer: %w", err)
	}
	return v1.Descriptor{MediaType: mediaType, Digest: digest, Size: size}, nil
}

// Bundles fetches the bundles attached to an artifact, unverified, in the
// registry's order. Referrers of other kinds are passed over. More than
// [MaxReferrers] are an error: anyone who may push could bury the evidence,
// and half an answer would look like a whole one.
func (r *Repository) Bundles(ctx context.Context, artifact string) ([]Bundle, error) {
	opts := r.options(ctx, limited{r.transport, maxResponse})
	index, err := remote.Referrers(r.repo.Digest(artifact), opts...)
	if err != nil {
		return nil, fmt.Errorf("listing the artifact's referrers: %w", err)
	}
	list, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("reading the artifact's referrers: %w", err)
	}
	mayBe := slices.DeleteFunc(slices.Clone(list.Manifests), isForeign)
	if len(mayBe) > MaxReferrers {
		return nil, fmt.Errorf("artifact has %d referrers that may be bundles, more than %d", len(mayBe), MaxReferrers)
	}
	var bundles []Bundle
	for _, d := range mayBe {
		b, ok, err := r.bundle(d.Digest.String(), opts)
		if err != nil {
			return nil, err
		}
		if ok {
			bundles = append(bundles, b)
		}
	}
	return bundles, nil
}

// isForeign tells by what the registry says of a referrer that it is no
// bundle. Some registries give the type of the config instead, or none.
func isForeign(d v1.Descriptor) bool {
	return !slices.Contains([]string{"", bundleMediaType, string(emptyConfig)}, d.ArtifactType)
}

// bundle reads one referrer; false means that it is of another kind.
func (r *Repository) bundle(digest string, opts []remote.Option) (Bundle, bool, error) {
	image, err := remote.Image(r.repo.Digest(digest), opts...)
	if err != nil {
		return Bundle{}, false, fmt.Errorf("fetching referrer %s: %w", digest, err)
	}
	m, err := image.Manifest()
	if err != nil {
		return Bundle{}, false, fmt.Errorf("reading referrer %s: %w", digest, err)
	}
	if len(m.Layers) != 1 || m.Layers[0].MediaType != bundleMediaType || m.Layers[0].Size > MaxBundle {
		return Bundle{}, false, nil
	}
	layer, err := image.LayerByDigest(m.Layers[0].Digest)
	if err != nil {
		return Bundle{}, false, fmt.Errorf("fetching the bundle of referrer %s: %w", digest, err)
	}
	rc, err := layer.Compressed()
	if err != nil {
		return Bundle{}, false, fmt.Errorf("fetching the bundle of referrer %s: %w", digest, err)
	}
	data, err := io.ReadAll(io.LimitReader(rc, MaxBundle+1))
	if err := errors.Join(err, rc.Close()); err != nil {
		return Bundle{}, false, fmt.Errorf("reading the bundle of referrer %s: %w", digest, err)
	}
	if got := Digest(data); got != m.Layers[0].Digest.String() {
		return Bundle{}, false, fmt.Errorf("bundle of referrer %s has another digest than its manifest says", digest)
	}
	return NewBundle(data), true, nil
}

// limited bounds every answer's body.
type limited struct {
	next  http.RoundTripper
	bytes int64
}

func (l limited) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := l.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, l.bytes), resp.Body}
	return resp, nil
}
