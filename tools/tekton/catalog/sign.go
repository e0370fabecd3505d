package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"os"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/tektoncd/pipeline/pkg/apis/pipeline/v1alpha1"
	"github.com/tektoncd/pipeline/pkg/trustedresources"
	"sigs.k8s.io/yaml"
)

// key is what a catalog is signed with.
type key struct {
	private *ecdsa.PrivateKey
	public  string // in PEM, as a VerificationPolicy has it
	name    string // digest of the public key, to know it by
}

// loadKey reads the key of a file. What cosign or openssl made may have a password.
func loadKey(file string, env func(string) string) (*key, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	private, err := cryptoutils.UnmarshalPEMToPrivateKey(content, func(bool) ([]byte, error) { return []byte(env("COSIGN_PASSWORD")), nil })
	if err != nil {
		return nil, refuse("key/unreadable", "give a private key in PEM, and its password in COSIGN_PASSWORD", "%v", err)
	}
	ec, ok := private.(*ecdsa.PrivateKey)
	if !ok || ec.Curve != elliptic.P256() {
		return nil, refuse("key/kind", "make one with: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256", "the key is not an EC key on P-256")
	}
	der, err := x509.MarshalPKIXPublicKey(ec.Public())
	if err != nil {
		return nil, err
	}
	return &key{
		private: ec,
		public:  string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
		name:    fmt.Sprintf("sha256:%x", sha256.Sum256(der)),
	}, nil
}

// patch is one document of the file for kustomize.
type patch struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name        string            `json:"name"`
		Namespace   string            `json:"namespace"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
}

// sign writes a signature for each resource, each of which Tekton's own verification
// has accepted.
func (k *key) sign(ctx context.Context, found *objects, out io.Writer) error {
	fmt.Fprintf(out, "# Written by tekton-catalog sign, with the key %s.\n# Of what the catalog is without it: after a change, sign again.\n", k.name)
	for i, s := range found.resources {
		if err := means(s); err != nil {
			return err
		}
		signature, err := k.signature(ctx, s)
		if err != nil {
			return err
		}
		p := patch{APIVersion: "tekton.dev/v1", Kind: s.kind}
		p.Metadata.Name, p.Metadata.Namespace = s.GetName(), s.GetNamespace()
		p.Metadata.Annotations = map[string]string{trustedresources.SignatureAnnotation: signature}
		document, err := yaml.Marshal(p)
		if err != nil {
			return err
		}
		if i > 0 {
			fmt.Fprintln(out, "---")
		}
		if _, err := out.Write(document); err != nil {
			return err
		}
	}
	return nil
}

// signature signs what Tekton will compute of the resource when a run asks for it.
func (k *key) signature(ctx context.Context, s signable) (string, error) {
	s.SetDefaults(ctx)
	checksum, err := s.Checksum()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", s.kind, s.GetName(), err)
	}
	// Tekton's verifier hashes the checksum like any message. Without randomness the
	// same catalog has the same signatures, and a commit shows what changed.
	digest := sha256.Sum256(checksum)
	made, err := k.private.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("signing %s %s: %w", s.kind, s.GetName(), err)
	}
	signature := base64.StdEncoding.EncodeToString(made)
	annotations := map[string]string{}
	maps.Copy(annotations, s.GetAnnotations())
	annotations[trustedresources.SignatureAnnotation] = signature
	s.SetAnnotations(annotations)
	own := &v1alpha1.VerificationPolicy{Spec: v1alpha1.VerificationPolicySpec{
		Resources:   []v1alpha1.ResourcePattern{{Pattern: ".*"}},
		Authorities: []v1alpha1.Authority{{Name: "catalog", Key: &v1alpha1.KeyRef{Data: k.public}}},
		Mode:        v1alpha1.ModeEnforce,
	}}
	return signature, accepted(ctx, s, []*v1alpha1.VerificationPolicy{own})
}
