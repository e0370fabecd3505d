package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"millwright.dev/millwright/gitverify/sigstoretest"
)

// inside are the addresses of the Sigstore in the cluster. People sign with the
// one that was there before, workloads with this one.
var inside = sigstoretest.Addresses{
	Fulcio:    "http://fulcio.sigstore.svc.cluster.local",
	CT:        "http://ct-server.sigstore.svc.cluster.local/factory",
	Rekor:     "http://rekor.sigstore.svc.cluster.local",
	Timestamp: "http://timestamp.sigstore.svc.cluster.local",
}

// makeKeys makes all that is secret and all that is trusted, outside of Git: the
// keys of the Sigstore inside, one trusted root of both, a TUF repository that
// gives out the one inside, the key with which the controller signs until it has an
// identity, and the key of the catalog.
func (f *floor) makeKeys() error {
	dir := f.options.path("keys")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := sigstoretest.MakeKeys(dir, inside, f.began); err != nil {
		return err
	}
	// The servers ask for a password, whether a key is encrypted or not.
	if err := os.WriteFile(filepath.Join(dir, "password"), []byte("unused"), 0o600); err != nil {
		return err
	}
	if err := mergeRoots(f.options.path("trusted_root.json"), f.site.Sigstore.TrustedRootPath, filepath.Join(dir, "trusted_root.json")); err != nil {
		return fmt.Errorf("making one trusted root: %w", err)
	}
	for _, name := range []string{"attest", "catalog"} {
		if err := keyPair(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	targets := map[string]string{
		"trusted_root.json": "", "fulcio.crt": "Fulcio", "ct.pub": "CTFE", "rekor.pub": "Rekor", "tsa.crt": "TSA",
	}
	return publishTUF(dir, filepath.Join(dir, "tuf"), targets, f.began.AddDate(0, 6, 0))
}

// mergeRoots writes a trusted root with the authorities and logs of several.
func mergeRoots(to string, from ...string) error {
	merged := map[string]any{}
	for _, file := range from {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var one map[string]any
		if err := json.Unmarshal(data, &one); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		for name, value := range one {
			list, isList := value.([]any)
			before, _ := merged[name].([]any)
			if isList {
				merged[name] = append(before, list...)
			} else {
				merged[name] = value
			}
		}
	}
	data, err := json.Marshal(merged)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o600)
}

// keyPair makes a key: name.key and name.pub.
func keyPair(name string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600),
		os.WriteFile(name+".pub", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o600))
}

// publishTUF writes a TUF repository (consistent snapshots, one key for each
// role) of files in a folder. A usage marks a target as clients of Sigstore that
// know no trusted_root.json look for it.
func publishTUF(from, to string, targets map[string]string, expires time.Time) error {
	if err := os.MkdirAll(filepath.Join(to, "targets"), 0o700); err != nil {
		return err
	}
	root, signed := metadata.Root(expires), metadata.Targets(expires)
	snapshot, timestamp := metadata.Snapshot(expires), metadata.Timestamp(expires)
	signers := map[string]signature.Signer{}
	for _, role := range []string{"root", "targets", "snapshot", "timestamp"} {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return err
		}
		key, err := metadata.KeyFromPublicKey(public)
		if err != nil {
			return err
		}
		if err := root.Signed.AddKey(key, role); err != nil {
			return err
		}
		if signers[role], err = signature.LoadED25519Signer(private); err != nil {
			return err
		}
	}
	for name, usage := range targets {
		info, err := addTarget(filepath.Join(from, name), filepath.Join(to, "targets"), usage)
		if err != nil {
			return err
		}
		signed.Signed.Targets[name] = info
	}
	return errors.Join(
		write(root, signers["root"], filepath.Join(to, "1.root.json"), filepath.Join(to, "root.json")),
		write(signed, signers["targets"], filepath.Join(to, "1.targets.json")),
		write(snapshot, signers["snapshot"], filepath.Join(to, "1.snapshot.json")),
		write(timestamp, signers["timestamp"], filepath.Join(to, "timestamp.json")))
}

// addTarget writes the file under its digest, as consistent snapshots want it.
func addTarget(file, dir, usage string) (*metadata.TargetFiles, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	name := filepath.Base(file)
	info, err := metadata.TargetFile().FromBytes(name, data, "sha256")
	if err != nil {
		return nil, err
	}
	if usage != "" {
		custom := json.RawMessage(fmt.Sprintf(`{"sigstore":{"status":"Active","usage":%q}}`, usage))
		info.Custom = &custom
	}
	return info, os.WriteFile(filepath.Join(dir, info.Hashes["sha256"].String()+"."+name), data, 0o600)
}

func write[T metadata.Roles](m *metadata.Metadata[T], signer signature.Signer, files ...string) error {
	if _, err := m.Sign(signer); err != nil {
		return err
	}
	for _, file := range files {
		if err := m.ToFile(file, false); err != nil {
			return err
		}
	}
	return nil
}
