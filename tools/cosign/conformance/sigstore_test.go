package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ct "github.com/google/certificate-transparency-go"
	"github.com/google/certificate-transparency-go/tls"
	"github.com/google/certificate-transparency-go/x509util"
	"github.com/google/go-containerregistry/pkg/name"
	ociregistry "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	cosignstatic "github.com/sigstore/cosign/v2/pkg/oci/static"
)

// authority is a Sigstore without servers: a certificate authority, a log of
// certificates and a log of signatures, which are three keys.
type authority struct {
	t             *testing.T
	root          *x509.Certificate
	ca, ct, rekor *ecdsa.PrivateKey
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return key
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, ca: newKey(t), ct: newKey(t), rekor: newKey(t)}
	a.root = a.issue(&x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}, &a.ca.PublicKey)
	return a
}

// issue signs with the root; the root itself, while there is none.
func (a *authority) issue(template *x509.Certificate, key *ecdsa.PublicKey) *x509.Certificate {
	a.t.Helper()
	parent := a.root
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, a.ca)
	must(a.t, err)
	cert, err := x509.ParseCertificate(der)
	must(a.t, err)
	return cert
}

// trust writes what is trusted into a folder, as the ConfigMap has it.
func (a *authority) trust() string {
	a.t.Helper()
	dir := a.t.TempDir()
	write := func(file, kind string, der []byte) {
		must(a.t, os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	}
	write("fulcio.crt", "CERTIFICATE", a.root.Raw)
	write("ct.pub", "PUBLIC KEY", public(a.t, a.ct))
	write("rekor.pub", "PUBLIC KEY", public(a.t, a.rekor))
	return dir
}

func public(t *testing.T, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	must(t, err)
	return der
}

// certificate is what Fulcio gives to a workload that signed in with that issuer.
func (a *authority) certificate(subject, issuer string, key *ecdsa.PublicKey) *x509.Certificate {
	a.t.Helper()
	who, err := url.Parse(subject)
	must(a.t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(9 * time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, URIs: []*url.URL{who},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}, Value: []byte(issuer)}},
	}
	// What a log of certificates signs is the certificate without its own promise.
	template.ExtraExtensions = append(template.ExtraExtensions, a.promise(a.issue(template, key)))
	return a.issue(template, key)
}

func (a *authority) promise(draft *x509.Certificate) pkix.Extension {
	a.t.Helper()
	sct := ct.SignedCertificateTimestamp{SCTVersion: ct.V1, LogID: ct.LogID{KeyID: sha256.Sum256(public(a.t, a.ct))}, Timestamp: uint64(time.Now().UnixMilli())}
	signed, err := ct.SerializeSCTSignatureInput(sct, ct.LogEntry{Leaf: ct.MerkleTreeLeaf{
		Version: ct.V1, LeafType: ct.TimestampedEntryLeafType, TimestampedEntry: &ct.TimestampedEntry{
			Timestamp: sct.Timestamp, EntryType: ct.PrecertLogEntryType,
			PrecertEntry: &ct.PreCert{IssuerKeyHash: sha256.Sum256(a.root.RawSubjectPublicKeyInfo), TBSCertificate: draft.RawTBSCertificate},
		},
	}})
	must(a.t, err)
	signature, err := tls.CreateSignature(*a.ct, tls.SHA256, signed)
	must(a.t, err)
	sct.Signature = ct.DigitallySigned(signature)
	list, err := x509util.MarshalSCTsIntoSCTList([]*ct.SignedCertificateTimestamp{&sct})
	must(a.t, err)
	octets, err := tls.Marshal(*list)
	must(a.t, err)
	value, err := asn1.Marshal(octets)
	must(a.t, err)
	return pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}, Value: value}
}

func sign(t *testing.T, key *ecdsa.PrivateKey, message []byte) []byte {
	t.Helper()
	digest := sha256.Sum256(message)
	signature, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	must(t, err)
	return signature
}

// attest makes an attestation as cosign and Chains store it.
func (a *authority) attest(subject, issuer string, statement any) attestation {
	a.t.Helper()
	payload := marshal(a.t, statement)
	key := newKey(a.t)
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate(subject, issuer, &key.PublicKey).Raw})
	const kind = "application/vnd.in-toto+json"
	signature := sign(a.t, key, fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(kind), kind, len(payload), payload))
	envelope := marshal(a.t, map[string]any{"payloadType": kind, "payload": payload, "signatures": []any{map[string]any{"sig": signature}}})
	hash := func(b []byte) map[string]any {
		sum := sha256.Sum256(b)
		return map[string]any{"algorithm": "sha256", "value": hex.EncodeToString(sum[:])}
	}
	entry := map[string]any{
		"body": marshal(a.t, map[string]any{"apiVersion": "0.0.1", "kind": "dsse", "spec": map[string]any{
			"envelopeHash": hash(envelope), "payloadHash": hash(payload), "signatures": []any{map[string]any{"signature": base64.StdEncoding.EncodeToString(signature), "verifier": certificate}},
		}}),
		"integratedTime": time.Now().Unix(), "logIndex": 7, "logID": hash(public(a.t, a.rekor))["value"],
	}
	return attestation{envelope: envelope, annotations: map[string]string{
		cosignstatic.CertificateAnnotationKey: string(certificate), cosignstatic.ChainAnnotationKey: "",
		cosignstatic.BundleAnnotationKey: string(marshal(a.t, map[string]any{"SignedEntryTimestamp": sign(a.t, a.rekor, marshal(a.t, entry)), "Payload": entry})),
	}}
}

// marshal writes JSON with sorted keys and no space.
func marshal(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	must(t, err)
	return bytes.TrimSpace(data)
}

// of is a statement about an image.
func of(hex, kind string, predicate any) map[string]any {
	return map[string]any{
		"_type": "https://in-toto.io/Statement/v1", "predicateType": kind, "predicate": predicate,
		"subject": []any{map[string]any{"name": "image", "digest": map[string]any{"sha256": hex}}},
	}
}

// built is provenance as Chains writes it.
func built(builder, pipeline, uid string) map[string]any {
	return map[string]any{
		"buildDefinition": map[string]any{"resolvedDependencies": []any{map[string]any{"name": "pipelineTask", "uri": "/x"}, map[string]any{"name": "pipeline", "uri": pipeline}}},
		"runDetails":      map[string]any{"builder": map[string]any{"id": builder}, "metadata": map[string]any{"invocationId": uid}},
	}
}

// shelf is a registry in this process.
type shelf struct {
	t      *testing.T
	server *httptest.Server
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	s := httptest.NewServer(ociregistry.New(ociregistry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(s.Close)
	return &shelf{t: t, server: s}
}

func (s *shelf) host() string { return strings.TrimPrefix(s.server.URL, "http://") }

// put stores attestations of an image; the image itself is of no interest to anybody.
func (s *shelf) put(i image, all ...attestation) {
	s.t.Helper()
	stored := empty.Image
	for _, a := range all {
		var err error
		layer := static.NewLayer(a.envelope, typeEnvelope)
		stored, err = mutate.Append(stored, mutate.Addendum{Layer: layer, Annotations: a.annotations})
		must(s.t, err)
	}
	must(s.t, remote.Write(s.tag(i), stored))
}

func (s *shelf) remove(i image) {
	s.t.Helper()
	must(s.t, remote.Delete(s.tag(i)))
}

func (s *shelf) tag(i image) name.Tag {
	s.t.Helper()
	tag, err := name.NewTag(i.repository + ":sha256-" + i.hex + ".att")
	must(s.t, err)
	return tag
}
