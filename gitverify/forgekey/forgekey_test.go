package forgekey_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"millwright.dev/millwright/gitverify/forgekey"
	"millwright.dev/millwright/gitverify/forgekey/forgekeytest"
)

const payload = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor A <a@factory.test> 1700000000 +0000\n\nmerge\r\nline \n"

// forges are one of each algorithm.
func forges(t testing.TB) map[string]*forgekeytest.Forge {
	t.Helper()
	made := map[string]*forgekeytest.Forge{}
	for name, config := range map[string]packet.Config{
		"PGP EdDSA":                {Algorithm: packet.PubKeyAlgoEdDSA},
		"PGP EdDSA, SHA-512":       {Algorithm: packet.PubKeyAlgoEdDSA, DefaultHash: crypto.SHA512},
		"PGP Ed25519 of RFC 9580":  {Algorithm: packet.PubKeyAlgoEd25519},
		"PGP ECDSA P-256":          {Algorithm: packet.PubKeyAlgoECDSA, Curve: packet.CurveNistP256},
		"PGP ECDSA P-384, SHA-384": {Algorithm: packet.PubKeyAlgoECDSA, Curve: packet.CurveNistP384, DefaultHash: crypto.SHA384},
		"PGP ECDSA P-521":          {Algorithm: packet.PubKeyAlgoECDSA, Curve: packet.CurveNistP521, DefaultHash: crypto.SHA512},
		"PGP RSA 2048":             {Algorithm: packet.PubKeyAlgoRSA, RSABits: 2048},
	} {
		made[name] = must(forgekeytest.NewPGP(config))(t)
	}
	for name, key := range must(forgekeytest.SSHKeys())(t) {
		made["SSH "+name] = must(forgekeytest.NewSSH(key))(t)
	}
	return made
}

// must takes a result and its error.
func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func TestASignatureByAListedKeyNamesTheKey(t *testing.T) {
	t.Parallel()
	all := forges(t)
	var listed []forgekey.Key
	for name, forge := range all {
		listed = append(listed, forge.Key(name))
	}
	for name, forge := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := forgekey.Check(forge.Key(name)); err != nil {
				t.Errorf("cannot be listed: %v", err)
			}
			armored := must(forge.Sign([]byte(payload)))(t)
			got, err := forgekey.Verify(listed, []byte(payload), armored)
			if err != nil || got != forge.Key(name) {
				t.Fatalf("got %q, %v", got.Name, err)
			}
			for _, other := range []string{payload + "\n", strings.ReplaceAll(payload, "\r", ""), strings.ReplaceAll(payload, " \n", "\n"), ""} {
				if _, err := forgekey.Verify(listed, []byte(other), armored); !errors.Is(err, forgekey.ErrBadSignature) {
					t.Errorf("over other bytes: %v", err)
				}
			}
		})
	}
}

func TestAKeyThatIsNotListedIsUnknown(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{forgekey.PGP, forgekey.SSH} {
		listed, stranger := must(forgekeytest.New(kind))(t), must(forgekeytest.New(kind))(t)
		armored := must(stranger.Sign([]byte(payload)))(t)
		for _, keys := range [][]forgekey.Key{nil, {}, {listed.Key("listed")}} {
			if got, err := forgekey.Verify(keys, []byte(payload), armored); !errors.Is(err, forgekey.ErrUnknownKey) || got.Name != "" {
				t.Errorf("%s: got %q, %v", kind, got.Name, err)
			}
		}
		// A fingerprint alone does not make other material the listed key.
		liar := stranger.Key("liar")
		liar.PublicKey = listed.Key("").PublicKey
		if err := forgekey.Check(liar); !errors.Is(err, forgekey.ErrKey) {
			t.Errorf("%s: a key with another's fingerprint can be listed: %v", kind, err)
		}
		if kind == forgekey.PGP {
			if _, err := forgekey.Verify([]forgekey.Key{liar}, []byte(payload), armored); !errors.Is(err, forgekey.ErrKey) {
				t.Errorf("a key with another's fingerprint verifies: %v", err)
			}
		}
		// The type of a key is not looked for in its looks.
		wrong := stranger.Key("wrong")
		wrong.Type = map[string]string{forgekey.PGP: forgekey.SSH, forgekey.SSH: forgekey.PGP}[kind]
		if _, err := forgekey.Verify([]forgekey.Key{wrong}, []byte(payload), armored); !errors.Is(err, forgekey.ErrUnknownKey) {
			t.Errorf("%s listed as %s: %v", kind, wrong.Type, err)
		}
	}
}

func TestAnSSHKeyCanBeListedByItsFingerprintAlone(t *testing.T) {
	t.Parallel()
	forge := must(forgekeytest.New(forgekey.SSH))(t)
	key := forge.Key("forge")
	key.PublicKey = ""
	if err := forgekey.Check(key); err != nil {
		t.Error(err)
	}
	if got, err := forgekey.Verify([]forgekey.Key{key}, []byte(payload), must(forge.Sign([]byte(payload)))(t)); err != nil || got != key {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestNoByteOfASignatureCanBeChanged(t *testing.T) {
	t.Parallel()
	for name, forge := range forges(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			keys := []forgekey.Key{forge.Key(name)}
			good := must(forge.Sign([]byte(payload)))(t)
			for i := range good {
				for _, mask := range []byte{1, 1 << (1 + i%7)} {
					bad := bytes.Clone(good)
					bad[i] ^= mask
					if _, err := forgekey.Verify(keys, []byte(payload), bad); err == nil {
						t.Errorf("byte %d (%q) became %q, and it verifies still", i, good[i], bad[i])
					}
				}
				if _, err := forgekey.Verify(keys, []byte(payload), good[:i]); err == nil {
					t.Errorf("the first %d bytes of %d verify", i, len(good))
				}
			}
		})
	}
}

func TestOnlyTheFirstLineTellsTheKind(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"-----BEGIN PGP SIGNATURE-----\n\nAAAA": "pgp", "-----BEGIN PGP MESSAGE-----\n": "pgp",
		"-----BEGIN SSH SIGNATURE-----\n": "ssh", "-----BEGIN SIGNED MESSAGE-----\n": "x509",
		"": "", "\n-----BEGIN SSH SIGNATURE-----\n": "", "-----BEGIN SSH SIGNATURE----- \n": "", "-----BEGIN CMS-----\n": "",
	} {
		if got := forgekey.Kind([]byte(text)); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

// run runs a program, which CI need not have.
func run(t *testing.T, dir, stdin, name string, args ...string) string {
	t.Helper()
	program, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not on PATH; the same is tested with libraries", name)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env, cmd.Stdin = dir, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GNUPGHOME=" + dir, "LC_ALL=C"}, strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %v: %v\n%s%s", name, args, err, stdout.String(), stderr.String())
	}
	return stdout.String()
}

func TestRealSSHKeygenSignaturesVerify(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"ed25519", "ecdsa", "rsa"} {
		dir := t.TempDir()
		run(t, dir, "", "ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "forge", "-f", filepath.Join(dir, "key"))
		public := must(os.ReadFile(filepath.Join(dir, "key.pub")))(t)
		listing := strings.Fields(run(t, dir, "", "ssh-keygen", "-l", "-f", filepath.Join(dir, "key.pub")))
		key := forgekey.Key{Name: kind, Type: forgekey.SSH, Fingerprint: listing[1], PublicKey: string(public)}
		if err := forgekey.Check(key); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		armored := run(t, dir, payload, "ssh-keygen", "-q", "-Y", "sign", "-n", "git", "-f", filepath.Join(dir, "key"))
		if _, err := forgekey.Verify([]forgekey.Key{key}, []byte(payload), []byte(armored)); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		file := run(t, dir, payload, "ssh-keygen", "-q", "-Y", "sign", "-n", "file", "-f", filepath.Join(dir, "key"))
		if _, err := forgekey.Verify([]forgekey.Key{key}, []byte(payload), []byte(file)); !errors.Is(err, forgekey.ErrMalformed) {
			t.Errorf("%s: the signature of a file: %v", kind, err)
		}
	}
}

func TestRealGPGSignaturesVerify(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"ed25519", "nistp256", "nistp384", "rsa2048", "rsa4096"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			defer run(t, dir, "", "gpgconf", "--kill", "gpg-agent") // gpg starts one for each home
			gpg := func(stdin string, args ...string) string {
				return run(t, dir, stdin, "gpg", append([]string{"--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", ""}, args...)...)
			}
			gpg("", "--quick-generate-key", "forge <noreply@forge.test>", kind, "sign", "never")
			_, rest, _ := strings.Cut(gpg("", "--with-colons", "--list-keys"), "\nfpr:")
			key := forgekey.Key{Name: kind, Type: forgekey.PGP, Fingerprint: strings.Split(rest, ":")[8], PublicKey: gpg("", "--armor", "--export")}
			if err := forgekey.Check(key); err != nil {
				t.Error(err)
			}
			armored := gpg(payload, "--armor", "--detach-sign")
			for _, text := range []string{armored, armored + "\n"} {
				if _, err := forgekey.Verify([]forgekey.Key{key}, []byte(payload), []byte(text)); err != nil {
					t.Error(err)
				}
			}
			refused := map[string][]string{
				"of text":       {"--armor", "--textmode", "--detach-sign"},
				"with an end":   {"--armor", "--default-sig-expire", "1d", "--detach-sign"},
				"not detached":  {"--armor", "--sign"},
				"with comments": {"--armor", "--comment", "x", "--detach-sign"},
			}
			if !strings.HasPrefix(kind, "nist") { // gpg itself refuses there
				refused["with SHA-1"] = []string{"--armor", "--digest-algo", "SHA1", "--detach-sign"}
			}
			for name, args := range refused {
				if _, err := forgekey.Verify([]forgekey.Key{key}, []byte(payload), []byte(gpg(payload, args...))); !errors.Is(err, forgekey.ErrMalformed) {
					t.Errorf("a signature %s: %v", name, err)
				}
			}
		})
	}
}

func TestWeakAndForeignKeysCannotBeListed(t *testing.T) {
	t.Parallel()
	pgp, ssh := must(forgekeytest.New(forgekey.PGP))(t).Key("forge"), must(forgekeytest.New(forgekey.SSH))(t).Key("forge")
	weak := must(forgekeytest.NewSSH(must(rsa.GenerateKey(rand.Reader, 1024))(t)))(t)
	ed448 := must(forgekeytest.NewPGP(packet.Config{Algorithm: packet.PubKeyAlgoEd448}))(t)
	curve := must(forgekeytest.NewPGP(packet.Config{Algorithm: packet.PubKeyAlgoECDSA, Curve: packet.CurveSecP256k1}))(t)
	edit := func(k forgekey.Key, change func(*forgekey.Key)) forgekey.Key {
		change(&k)
		return k
	}
	for name, key := range map[string]forgekey.Key{
		"SSH RSA of 1024 bits":              weak.Key("forge"),
		"PGP Ed448":                         ed448.Key("forge"),
		"PGP on the curve of Bitcoin":       curve.Key("forge"),
		"of no type":                        edit(pgp, func(k *forgekey.Key) { k.Type = "" }),
		"X.509":                             edit(pgp, func(k *forgekey.Key) { k.Type = forgekey.X509 }),
		"PGP with a key id as fingerprint":  edit(pgp, func(k *forgekey.Key) { k.Fingerprint = k.Fingerprint[24:] }),
		"PGP without material":              edit(pgp, func(k *forgekey.Key) { k.PublicKey = "" }),
		"PGP with an SSH key":               edit(pgp, func(k *forgekey.Key) { k.PublicKey = ssh.PublicKey }),
		"PGP, cut":                          edit(pgp, func(k *forgekey.Key) { k.PublicKey = k.PublicKey[:100] }),
		"PGP, huge":                         edit(pgp, func(k *forgekey.Key) { k.PublicKey = strings.Repeat(k.PublicKey, 200) }),
		"two PGP blocks":                    edit(pgp, func(k *forgekey.Key) { k.PublicKey += k.PublicKey }),
		"SSH with an MD5 fingerprint":       edit(ssh, func(k *forgekey.Key) { k.Fingerprint = "MD5:00:11" }),
		"SSH with padding":                  edit(ssh, func(k *forgekey.Key) { k.Fingerprint += "=" }),
		"SSH with a line end":               edit(ssh, func(k *forgekey.Key) { k.Fingerprint, k.PublicKey = "SHA256:"+strings.Repeat("A", 42)+"\n", "" }),
		"SSH with other material":           edit(ssh, func(k *forgekey.Key) { k.PublicKey = weak.Key("").PublicKey }),
		"SSH with options":                  edit(ssh, func(k *forgekey.Key) { k.PublicKey = "no-pty " + k.PublicKey }),
		"SSH with two lines":                edit(ssh, func(k *forgekey.Key) { k.PublicKey += k.PublicKey }),
		"SSH, commented out":                edit(ssh, func(k *forgekey.Key) { k.PublicKey = "# " + k.PublicKey }),
		"SSH, listed by a fingerprint only": edit(ssh, func(k *forgekey.Key) { k.Fingerprint, k.PublicKey = "SHA256:", "" }),
	} {
		if err := forgekey.Check(key); !errors.Is(err, forgekey.ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Listed by its fingerprint, which does not show the size, it is still refused.
	bare := weak.Key("forge")
	bare.PublicKey = ""
	if _, err := forgekey.Verify([]forgekey.Key{bare}, []byte(payload), must(weak.Sign([]byte(payload)))(t)); !errors.Is(err, forgekey.ErrAlgorithm) {
		t.Errorf("a signature by a weak SSH key: %v", err)
	}
}

func TestAPrivateKeyInThePolicyIsRefused(t *testing.T) {
	t.Parallel()
	forge := must(forgekeytest.New(forgekey.PGP))(t)
	var secret bytes.Buffer
	if err := forge.Entity().SerializePrivate(&secret, nil); err != nil {
		t.Fatal(err)
	}
	key := forge.Key("forge")
	key.PublicKey = string(forgekeytest.ArmorPGP("PGP PUBLIC KEY BLOCK", secret.Bytes()))
	if err := forgekey.Check(key); !errors.Is(err, forgekey.ErrKey) || !strings.Contains(err.Error(), "does not belong") {
		t.Errorf("got %v", err)
	}
}

func TestASubkeyCountsOnlyUnderItsOwnFingerprint(t *testing.T) {
	t.Parallel()
	forge := must(forgekeytest.New(forgekey.PGP))(t)
	if err := forge.Entity().AddSigningSubkey(&packet.Config{Algorithm: packet.PubKeyAlgoEdDSA}); err != nil {
		t.Fatal(err)
	}
	subs := forge.Entity().Subkeys
	sub := subs[len(subs)-1]
	primary, own := forge.Key("primary"), forge.Key("own")
	own.Fingerprint = strings.ToLower(fingerprint(sub.PublicKey))
	packets := forgery(t, sub.PrivateKey, packet.Signature{Hash: crypto.SHA256}, payload)
	armored := forgekeytest.ArmorPGP("PGP SIGNATURE", packets)
	if _, err := forgekey.Verify([]forgekey.Key{primary}, []byte(payload), armored); !errors.Is(err, forgekey.ErrUnknownKey) {
		t.Errorf("under the primary key's fingerprint: %v", err)
	}
	if got, err := forgekey.Verify([]forgekey.Key{primary, own}, []byte(payload), armored); err != nil || got.Name != "own" {
		t.Errorf("under its own: %q, %v", got.Name, err)
	}
}
