package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	cosignstatic "github.com/sigstore/cosign/v2/pkg/oci/static"
)

// scene is a registry, an authority that is trusted, and one that is not.
type scene struct {
	shelf    *shelf
	trusted  *authority
	stranger *authority
	keys     *verifier
	want     expected
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{shelf: newShelf(t), trusted: newAuthority(t), stranger: newAuthority(t)}
	s.want = want(s.shelf.host())
	var err error
	s.keys, err = loadVerifier(s.trusted.trust())
	must(t, err)
	return s
}

func (s *scene) image(name string) image { return image{s.shelf.host() + "/" + name, digest} }

func (s *scene) provenance(uid string) attestation {
	return s.trusted.attest(s.want.chains, s.want.issuer, of(digest, typeProvenance, built(s.want.builder, s.want.pipeline+"1", uid)))
}

func (s *scene) contents() attestation {
	return s.trusted.attest(s.want.publish, s.want.issuer, of(digest, typeContents, map[string]any{}))
}

func TestOnlyAttestationsOfTheFactorysSignersAboutTheImageCount(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	chains, issuer := s.want.chains, s.want.issuer
	statement := of(digest, typeProvenance, built(s.want.builder, s.want.pipeline, "1"))
	good := s.provenance("1")
	edit := func(key, value string) attestation {
		a := s.provenance("1")
		a.annotations[key] = value
		return a
	}
	tampered := s.provenance("1")
	tampered.envelope = []byte(strings.Replace(string(tampered.envelope), "payloadType", "payloadtype", 1))
	for name, row := range map[string]struct {
		attestation     attestation
		chains, publish int
		refusal         string
	}{
		"provenance":                    {good, 1, 0, ""},
		"contents":                      {s.contents(), 0, 1, ""},
		"by somebody else":              {s.trusted.attest("spiffe://factory.test/other", issuer, statement), 0, 0, "expected identities"},
		"by another issuer":             {s.trusted.attest(chains, "http://else.test", statement), 0, 0, "expected identities"},
		"by another authority":          {s.stranger.attest(chains, issuer, statement), 0, 0, "rekor log public key not found"},
		"about another image":           {s.trusted.attest(chains, issuer, of(strings.Repeat("0", 64), typeProvenance, nil)), 0, 0, "no matching subject"},
		"without a log":                 {edit(cosignstatic.BundleAnnotationKey, ""), 0, 0, "no entry of a log"},
		"with another entry":            {edit(cosignstatic.BundleAnnotationKey, s.contents().annotations[cosignstatic.BundleAnnotationKey]), 0, 0, "public key"},
		"with another certificate":      {edit(cosignstatic.CertificateAnnotationKey, s.contents().annotations[cosignstatic.CertificateAnnotationKey]), 0, 0, "public key"},
		"without a certificate":         {edit(cosignstatic.CertificateAnnotationKey, ""), 0, 0, "empty key"},
		"with a certificate of nothing": {edit(cosignstatic.CertificateAnnotationKey, "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"), 0, 0, ""},
		"with an entry of nothing":      {edit(cosignstatic.BundleAnnotationKey, `{}`), 0, 0, "malformed"},
		"with an entry that is a list":  {edit(cosignstatic.BundleAnnotationKey, `{"Payload":{"body":[1]}}`), 0, 0, "malformed"},
		"with another envelope":         {tampered, 0, 0, "matching bundle to payload"},
		"with no envelope":              {attestation{envelope: []byte("x"), annotations: good.annotations}, 0, 0, "matching bundle to payload"},
		"with nothing":                  {attestation{envelope: []byte("{}")}, 0, 0, "no entry of a log"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := s.keys.answer(t.Context(), s.image("x"), []attestation{row.attestation}, s.want)
			if len(got.chains) != row.chains || len(got.publish) != row.publish || !strings.Contains(strings.Join(got.refusals, " "), row.refusal) {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestTheRegistrySaysWhatThereIsOrNothing(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	r := newRegistry()
	if all, err := r.attestations(t.Context(), s.image("none")); err != nil || len(all) != 0 {
		t.Errorf("an image without attestations: %v %v", all, err)
	}
	s.shelf.put(s.image("one"), s.provenance("1"), s.contents())
	all, err := r.attestations(t.Context(), s.image("one"))
	if err != nil || len(all) != 2 {
		t.Fatalf("%d, %v", len(all), err)
	}
	if a := s.keys.answer(t.Context(), s.image("one"), all, s.want); len(a.chains) != 1 || len(a.publish) != 1 {
		t.Errorf("%+v", a)
	}
	many := make([]attestation, maxAttestations+1)
	for i := range many {
		many[i] = attestation{envelope: []byte{byte(i)}}
	}
	s.shelf.put(s.image("many"), many...)
	if _, err := r.attestations(t.Context(), s.image("many")); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("too many: %v", err)
	}
	s.shelf.put(s.image("large"), attestation{envelope: make([]byte, maxAnswer+1)})
	if _, err := r.attestations(t.Context(), s.image("large")); err == nil {
		t.Error("an attestation without end was read")
	}
	s.shelf.server.Close()
	if _, err := r.attestations(t.Context(), s.image("one")); err == nil {
		t.Error("a registry that is away has none")
	}
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer broken.Close()
	if _, err := r.attestations(t.Context(), image{strings.TrimPrefix(broken.URL, "http://") + "/x", digest}); err == nil {
		t.Error("a registry that is broken has none")
	}
}
