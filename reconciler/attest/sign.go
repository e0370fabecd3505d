package attest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/rekor-tiles/v2/pkg/client"
	"github.com/sigstore/rekor-tiles/v2/pkg/client/write"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"google.golang.org/protobuf/encoding/protojson"
)

const payloadType = "application/vnd.in-toto+json"

// DefaultTimeout bounds each request to a service when none is given.
const DefaultTimeout = 15 * time.Second

// Bundle is a signed statement: Sigstore bundle v0.3 as JSON, and the digest
// of these very bytes. They are stored as they are and never encoded again.
type Bundle struct {
	JSON []byte
	// Digest is "sha256:<hex>" of JSON: what the next record links to.
	Digest string
}

// NewBundle wraps stored bytes; it verifies nothing.
func NewBundle(data []byte) Bundle {
	return Bundle{JSON: bytes.Clone(data), Digest: Digest(data)}
}

// Signer signs statements. A bundle that is returned has been verified against
// the signer's trusted root and policy. An error means that it could not be
// told whether the services will sign; retry.
type Signer interface {
	Sign(ctx context.Context, s Statement) (Bundle, error)
	SignCompanion(ctx context.Context, c Companion) (Bundle, error)
}

// Services are the parts of a Sigstore that a signature goes through.
type Services struct {
	// Fulcio and Rekor are base URLs; TimestampAuthority is the full URL of the
	// RFC 3161 endpoint.
	Fulcio, Rekor, TimestampAuthority string
	// RekorVersion is 1 or 2; 0 means 1. Version 2 gives no time of its own, so
	// that nothing verifies without a timestamp authority, and answers only when a
	// checkpoint has the entry (up to ten seconds by its default).
	RekorVersion uint32
	// Timeout of each request; 0 means DefaultTimeout.
	Timeout time.Duration
	// Transport of requests to Fulcio and the timestamp authority; nil means
	// the default one.
	Transport http.RoundTripper
}

// Keyless signs with a short-lived certificate for the controller's own
// identity, and an ephemeral key that is in memory only: for one signature, or
// with Certificates for those of two minutes.
type Keyless struct {
	Services Services
	// Token returns an identity token (OIDC, JWT-SVID) with Fulcio's audience.
	Token func(ctx context.Context) (string, error)
	// TrustedRoot and Identity are what the result must verify against: a
	// token of another identity signs nothing.
	TrustedRoot root.TrustedMaterial
	Identity    Identity
	// Plain are hosts, with their port if they have one, to which the token may go
	// in the clear.
	Plain []string
	// Certificates, if any, has the certificate that is used, while it may be.
	Certificates *Certificates
}

// Sign asks Fulcio for a certificate, signs, logs and verifies.
func (k Keyless) Sign(ctx context.Context, s Statement) (Bundle, error) {
	if k.Services.Rekor == "" {
		return Bundle{}, errors.New("keyless signing needs Rekor")
	}
	keypair, opts, err := k.prepare(ctx)
	if err != nil {
		return Bundle{}, err
	}
	bundle, err := signStatement(s, keypair, opts, k.TrustedRoot, Policy{Identity: k.Identity})
	return bundle, k.forget(err)
}

// prepare finds a key and what certifies it.
func (k Keyless) prepare(ctx context.Context) (sign.Keypair, sign.BundleOptions, error) {
	c, err := k.certificate(ctx)
	if err != nil {
		return nil, sign.BundleOptions{}, err
	}
	opts := k.Services.options(ctx)
	opts.CertificateProvider = c
	return c.keypair, opts, nil
}

// KeyFile signs with a private key, for a factory that has no workload
// identity yet. The log is optional: set Services.Rekor to have the signature
// logged, which is what auditors ask for.
type KeyFile struct {
	// Key is made by [ParseKey].
	Key      Key
	Services Services
	// TrustedRoot is needed when there is a log or a timestamp authority.
	TrustedRoot root.TrustedMaterial
}

// Sign signs with the key, logs if there is a log, and verifies.
func (k KeyFile) Sign(ctx context.Context, s Statement) (Bundle, error) {
	keypair, err := k.Key.keypair()
	if err != nil {
		return Bundle{}, err
	}
	policy := Policy{Key: k.Key.Public(), UnsafeWithoutLog: k.Services.Rekor == ""}
	return signStatement(s, keypair, k.Services.options(ctx), k.TrustedRoot, policy)
}

// signStatement signs and verifies with the same function that every auditor
// uses: what would not verify later is not handed out now.
func signStatement(s Statement, keypair sign.Keypair, opts sign.BundleOptions, trusted root.TrustedMaterial, policy Policy) (Bundle, error) {
	payload, err := s.Encode()
	if err != nil {
		return Bundle{}, err
	}
	bundle, err := signPayload(payload, keypair, opts)
	if err != nil {
		return Bundle{}, err
	}
	policy.Commit, policy.Artifact = s.Commit(), s.Artifact()
	if _, err := VerifyBundle(bundle.JSON, trusted, policy); err != nil {
		// Not wrapped: a fresh signature that does not verify is a fault of the
		// services or of the configuration, not a definite no about evidence.
		return Bundle{}, errors.New("verifying the new bundle before it is stored: " + err.Error())
	}
	return bundle, nil
}

// signCompanion does the same for a companion.
func signCompanion(c Companion, keypair sign.Keypair, opts sign.BundleOptions, trusted root.TrustedMaterial, policy Policy) (Bundle, error) {
	bundle, err := signPayload(c.payload, keypair, opts)
	if err != nil {
		return Bundle{}, err
	}
	if _, err := VerifyCompanion(bundle.JSON, trusted, policy); err != nil {
		return Bundle{}, errors.New("verifying the new bundle before it is stored: " + err.Error())
	}
	return bundle, nil
}

func signPayload(payload []byte, keypair sign.Keypair, opts sign.BundleOptions) (Bundle, error) {
	pb, err := sign.Bundle(&sign.DSSEData{Data: payload, PayloadType: payloadType}, keypair, opts)
	if err != nil {
		return Bundle{}, fmt.Errorf("signing the statement: %w", err)
	}
	return encodeBundle(pb)
}

// encodeBundle removes the white space that protojson varies on purpose.
func encodeBundle(pb *protobundle.Bundle) (Bundle, error) {
	loose, err := protojson.Marshal(pb)
	if err != nil {
		return Bundle{}, fmt.Errorf("encoding the bundle: %w", err)
	}
	var tight bytes.Buffer
	if err := json.Compact(&tight, loose); err != nil {
		return Bundle{}, fmt.Errorf("encoding the bundle: %w", err)
	}
	return NewBundle(tight.Bytes()), nil
}

func (s Services) options(ctx context.Context) sign.BundleOptions {
	opts := sign.BundleOptions{Context: ctx}
	if s.Rekor != "" {
		log := &sign.RekorOptions{BaseURL: s.Rekor, Timeout: s.timeout(), Version: s.RekorVersion}
		if s.RekorVersion == rekorTiles {
			log.ClientV2 = tilesLog{url: s.Rekor, timeout: max(s.timeout(), checkpointTimeout)}
		}
		opts.TransparencyLogs = []sign.Transparency{sign.NewRekor(log)}
	}
	if s.TimestampAuthority != "" {
		opts.TimestampAuthorities = []*sign.TimestampAuthority{sign.NewTimestampAuthority(&sign.TimestampAuthorityOptions{
			URL: s.TimestampAuthority, Timeout: s.timeout(), Transport: s.transport(ctx),
		})}
	}
	return opts
}

// rekorTiles is the version of Rekor that keeps its log in tiles.
const rekorTiles = 2

// checkpointTimeout is what a log in tiles gets at least, whose answers wait for its
// next checkpoint.
const checkpointTimeout = 30 * time.Second

// tilesLog asks a log in tiles, for no longer than that: sigstore-go's own client
// knows no other timeout than its default.
type tilesLog struct {
	url     string
	timeout time.Duration
}

// Add implements [sign.RekorV2Client].
func (l tilesLog) Add(ctx context.Context, entry any) (*protorekor.TransparencyLogEntry, error) {
	log, err := write.NewWriter(l.url, client.WithTimeout(l.timeout))
	if err != nil {
		return nil, err
	}
	return log.Add(ctx, entry)
}

func (s Services) timeout() time.Duration {
	if s.Timeout > 0 {
		return s.Timeout
	}
	return DefaultTimeout
}

func (s Services) transport(ctx context.Context) http.RoundTripper {
	next := s.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	return boundTransport{ctx: ctx, next: next}
}

// boundTransport ends requests with the caller's context: sigstore-go makes
// them without one.
type boundTransport struct {
	ctx  context.Context
	next http.RoundTripper
}

func (t boundTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := t.ctx.Err(); err != nil {
		return nil, err
	}
	// The client's own deadline lives in the request's context: both must end it.
	ctx, cancel := context.WithCancel(req.Context())
	stop := context.AfterFunc(t.ctx, cancel)
	req = req.Clone(ctx)
	// To ask twice does no harm, so that a connection which the server closes just now,
	// because it was idle for too long, is made again. This is not sent (net/http).
	req.Header["X-Idempotency-Key"] = nil
	resp, err := t.next.RoundTrip(req)
	if err != nil {
		stop()
		cancel()
		return nil, err
	}
	resp.Body = &boundBody{ReadCloser: resp.Body, release: func() { stop(); cancel() }}
	return resp, nil
}
