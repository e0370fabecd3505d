package forgekey

import (
	"bytes"
	"crypto/rsa"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// The smallest RSA key that is safe to rely on, and the largest that is worth the
// time of a hostile signature.
const (
	minRSA = 2048
	maxRSA = 8192
)

// pgpKey finds the key with the listed fingerprint, primary or subkey, in the
// listed material.
func pgpKey(k Key) (*packet.PublicKey, error) {
	want, err := hex.DecodeString(k.Fingerprint)
	if err != nil || len(want) != 20 {
		return nil, keyError(k, "the fingerprint of a PGP key has 40 hex digits")
	}
	if k.PublicKey == "" || len(k.PublicKey) > MaxSize {
		return nil, keyError(k, "a PGP key needs its armored public key, of at most %d bytes", MaxSize)
	}
	data, err := unarmor("PGP PUBLIC KEY BLOCK", strings.TrimRight(k.PublicKey, "\n")+"\n")
	if err != nil {
		return nil, keyError(k, "%w", err)
	}
	var found *packet.PublicKey
	for len(data) > 0 {
		var p framed
		if p, data, err = nextPacket(data); err != nil {
			return nil, keyError(k, "%w", err)
		}
		switch p.tag {
		case packetPublicKey, packetPublicSubkey:
			if public, ok := publicKey(p); ok && bytes.Equal(public.Fingerprint, want) {
				found = public
			}
		case packetSignature, packetUserID, packetUserAttribute:
			// What keys say of one another does not count.
		default:
			return nil, keyError(k, "a packet of type %d does not belong into a public key", p.tag)
		}
	}
	if found == nil {
		return nil, keyError(k, "none of the keys in the block has the fingerprint %s", k.Fingerprint)
	}
	if err := checkPGPKey(found); err != nil {
		return nil, keyError(k, "%w", err)
	}
	return found, nil
}

// publicKey reads a key; one that go-crypto does not know is not the listed one,
// and may stand beside it.
func publicKey(p framed) (*packet.PublicKey, bool) {
	read, err := packet.Read(bytes.NewReader(p.whole))
	if err != nil {
		return nil, false
	}
	public, ok := read.(*packet.PublicKey)
	return public, ok && public.Version == 4
}

func checkPGPKey(public *packet.PublicKey) error {
	switch public.PubKeyAlgo {
	case packet.PubKeyAlgoRSA:
		key, ok := public.PublicKey.(*rsa.PublicKey)
		if !ok {
			return errors.New("an RSA key that cannot be read")
		}
		return checkRSA(key)
	case packet.PubKeyAlgoECDSA, packet.PubKeyAlgoEdDSA, packet.PubKeyAlgoEd25519:
		curve, err := public.Curve()
		if err != nil {
			return err
		}
		return checkCurve(public.PubKeyAlgo, curve)
	default:
		return fmt.Errorf("%w: PGP algorithm %d", ErrAlgorithm, public.PubKeyAlgo)
	}
}

func checkCurve(algorithm packet.PublicKeyAlgorithm, curve packet.Curve) error {
	edwards := algorithm != packet.PubKeyAlgoECDSA
	switch curve {
	case packet.Curve25519:
		if edwards {
			return nil
		}
	case packet.CurveNistP256, packet.CurveNistP384, packet.CurveNistP521:
		if !edwards {
			return nil
		}
	default:
	}
	return fmt.Errorf("%w: PGP algorithm %d on the curve %s", ErrAlgorithm, algorithm, curve)
}

func checkRSA(key *rsa.PublicKey) error {
	if n := key.N.BitLen(); n < minRSA || n > maxRSA {
		return fmt.Errorf("%w: an RSA key of %d bits; %d to %d are", ErrAlgorithm, n, minRSA, maxRSA)
	}
	return nil
}
