package attest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin"
	"github.com/sigstore/sigstore/pkg/signature/options"
)

// kmsTimeout bounds one call of a plugin.
const kmsTimeout = 30 * time.Second

// kept is a key that somebody else keeps.
type kept struct {
	signer signature.Signer
	public *ecdsa.PublicKey
}

// OpenKMS finds a key in a key management service, through a plugin of sigstore:
// for name://key the program sigstore-kms-name on the PATH, which is run for each
// signature and is the only one that talks to the service. The key stays there.
func OpenKMS(ctx context.Context, ref string) (Key, error) {
	ctx, cancel := context.WithTimeout(ctx, kmsTimeout)
	defer cancel()
	service, err := cliplugin.LoadSignerVerifier(ctx, ref, crypto.SHA256)
	if err != nil {
		return Key{}, fmt.Errorf("finding the plugin of the key management service: %w", err)
	}
	public, err := service.PublicKey(options.WithContext(ctx))
	if err != nil {
		return Key{}, fmt.Errorf("asking the key management service for the public key: %s", clean(err.Error(), maxText))
	}
	key, ok := public.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return Key{}, errors.New("asking the key management service for the public key: only ECDSA P-256 is accepted")
	}
	// The one that signs must not end with the call that found it.
	service, err = cliplugin.LoadSignerVerifier(context.WithoutCancel(ctx), ref, crypto.SHA256)
	if err != nil {
		return Key{}, fmt.Errorf("finding the plugin of the key management service: %w", err)
	}
	return Key{kept: &kept{signer: service, public: key}}, nil
}

// sign asks the service. What comes back is verified by whoever asked.
func (r *kept) sign(ctx context.Context, data []byte) (sig, digest []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, kmsTimeout)
	defer cancel()
	sig, err = r.signer.SignMessage(bytes.NewReader(data), options.WithContext(ctx))
	if err != nil {
		return nil, nil, fmt.Errorf("signing by the key management service: %s", clean(err.Error(), maxText))
	}
	sum := sha256.Sum256(data)
	return sig, sum[:], nil
}
