package sigstoretest

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"time"

	trustroot "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"google.golang.org/protobuf/encoding/protojson"
)

// Addresses are where the servers of a Sigstore are, as its trusted root names
// them. Tiles is empty where there is no log of Rekor's version 2.
type Addresses struct{ Fulcio, CT, Rekor, Tiles, Timestamp string }

// MakeKeys makes every key and certificate of a Sigstore that somebody else
// starts, and the trusted root of them, as files in dir: fulcio.crt, fulcio.key,
// ct.key, ct.pub, rekor.key, rekor.pub, tsa.crt (the chain, leaf first), tsa.key
// and trusted_root.json. Keys are PKCS #8, unencrypted.
func MakeKeys(dir string, a Addresses, now time.Time) error {
	_, err := makeKeys(dir, a, now)
	return err
}

func makeKeys(dir string, a Addresses, now time.Time) (keys, error) {
	var k keys
	for _, place := range []**ecdsa.PrivateKey{&k.fulcio, &k.ct, &k.rekor, &k.tiles, &k.tsaRoot, &k.tsa} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return keys{}, err
		}
		*place = key
	}
	window := validity{from: now.Add(-time.Hour), to: now.AddDate(10, 0, 0)}
	ca, err := selfSigned("fulcio", k.fulcio, window)
	if err != nil {
		return keys{}, err
	}
	tsaRoot, err := selfSigned("timestamping root", k.tsaRoot, window)
	if err != nil {
		return keys{}, err
	}
	tsaLeaf, err := timestampingCert(&k.tsa.PublicKey, tsaRoot, k.tsaRoot, window)
	if err != nil {
		return keys{}, err
	}
	for name, certs := range map[string][]*x509.Certificate{"fulcio.crt": {ca}, "tsa.crt": {tsaLeaf, tsaRoot}} {
		if err := writeCerts(filepath.Join(dir, name), certs); err != nil {
			return keys{}, err
		}
	}
	private := map[string]*ecdsa.PrivateKey{"fulcio.key": k.fulcio, "ct.key": k.ct, "rekor.key": k.rekor, "tsa.key": k.tsa}
	if a.Tiles != "" {
		private["tiles.key"] = k.tiles
	}
	for name, key := range private {
		if err := writeKey(filepath.Join(dir, name), key); err != nil {
			return keys{}, err
		}
	}
	for name, key := range map[string]crypto.PublicKey{"ct.pub": k.ct.Public(), "rekor.pub": k.rekor.Public()} {
		if err := writePublic(filepath.Join(dir, name), key); err != nil {
			return keys{}, err
		}
	}
	tr, err := trustedRoot(anchors{
		window: window, fulcio: ca, tsaRoot: tsaRoot, tsaLeaf: tsaLeaf,
		ct: k.ct.Public(), rekor: k.rekor.Public(), tiles: k.tiles.Public(),
		fulcioURL: a.Fulcio, ctURL: a.CT, rekorURL: a.Rekor, tilesURL: a.Tiles, tsaURL: a.Timestamp,
	})
	if err != nil {
		return keys{}, err
	}
	b, err := logFirst(tr, a.Rekor)
	if err != nil {
		return keys{}, err
	}
	return k, os.WriteFile(filepath.Join(dir, "trusted_root.json"), b, 0o600)
}

// logFirst is a trusted_root.json in which the log at url stands before others, as
// those expect who know of one log only. The library keeps logs in a map and would
// write them in another order each time.
func logFirst(tr *root.TrustedRoot, url string) ([]byte, error) {
	b, err := tr.MarshalJSON()
	if err != nil {
		return nil, err
	}
	var sorted trustroot.TrustedRoot
	if err := protojson.Unmarshal(b, &sorted); err != nil {
		return nil, err
	}
	place := func(log *trustroot.TransparencyLogInstance) int {
		if log.GetBaseUrl() == url {
			return 0
		}
		return 1
	}
	slices.SortFunc(sorted.Tlogs, func(x, y *trustroot.TransparencyLogInstance) int { return cmp.Compare(place(x), place(y)) })
	return protojson.Marshal(&sorted)
}

func writeCerts(file string, certs []*x509.Certificate) error {
	var b []byte
	for _, cert := range certs {
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	return os.WriteFile(file, b, 0o600)
}

func writeKey(file string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

func writePublic(file string, key crypto.PublicKey) error {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600)
}
